/** A machine whose guest waits for input does next to nothing: no thread of it polls. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { createMachine } from './index.js';
import { whyNoKvm } from './testing/why-no-kvm.js';

/** Percent of a core. The nested bed, whose processor is many times slower, allows more; who polls takes most of it. */
const PERCENT = Number(process.env['VRING_IDLE_PERCENT'] ?? 2);
const LIMIT = PERCENT / 100;
const WINDOW_MS = 2000;
/** What was begun before the guest came to rest (compiling, collection of garbage) may take some of them; who polls does so in all. */
const WINDOWS = 8;

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Share of a core that all threads of this process took. */
async function load(): Promise<number> {
  const start = performance.now();
  const before = process.cpuUsage();
  await pause(WINDOW_MS);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000 / (performance.now() - start);
}

for (const on of ['tcg', 'kvm', 'kvm, split irqchip', 'kvm, irqchip in the kernel'] as const)
  for (const cpus of [1, 2]) {
    // Several vCPUs under KVM need their local APICs in the kernel.
    if (on === 'kvm' && cpus > 1) continue;
    const skip = on !== 'tcg' && whyNoKvm();
    test(`an idle guest uses under ${PERCENT} % of a core, vCPUs: ${cpus}, on ${on}`, { skip }, async () => {
      const machine = await createMachine({
        accelerators: [on === 'tcg' ? 'tcg' : 'kvm'],
        kernelIrqchip: on.includes('split') ? 'split' : on.includes('kernel') ? 'on' : 'off',
        builtInGuest: true,
        cpus,
        ramBytes: 16 << 20,
        devices: [{ type: 'virtio-rng' }, { type: 'virtio-balloon' }],
      });
      try {
        await machine.start();
        await machine.serial(0).waitForText('vring> ');
        let least = 1;
        for (let i = 0; i < WINDOWS && least >= LIMIT; i++) least = Math.min(least, await load());
        assert.ok(least < LIMIT, `${(100 * least).toFixed(1)} %`);
      } finally {
        await machine.close();
      }
    });
  }
