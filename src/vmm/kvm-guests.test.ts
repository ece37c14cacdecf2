/** The same guests on every accelerator. What this host's KVM cannot do is skipped by name. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { VringError } from '../base/index.js';
import { probeKvm } from '../host/node/kvm/probe.js';
import { createX86Kvm } from '../host/node/kvm/x86-accelerator.js';
import { hostTime } from '../host/node/time.js';
import { TestPc } from '../machine/testing/test-pc.js';
import { acceleratorGuests, RESULT } from './testing/accelerator-guests.js';

function whyNoKvm(): string | false {
  try {
    probeKvm();
    return false;
  } catch (error) {
    if (!(error instanceof VringError)) throw error;
    return `no KVM: ${error.message}`;
  }
}
const noKvm = whyNoKvm();

function missing(needs: readonly string[]): string | false {
  const fails = needs.filter((need) => probeKvm({ thorough: true }).fails.includes(need));
  return fails.length > 0 && `this host's KVM does not run ${fails.join(', ')}`;
}

/** Plain features: what every KVM has. */
const CPU =
  'base,+fpu,+tsc,+msr,+pae,+cx8,+apic,+pge,+pat,+mtrr,+cmov,+pse,+fxsr,+sse,+sse2,+lm,+syscall,+nx,+hypervisor';

function machineOn(accelerator: 'tcg' | 'kvm', service?: () => boolean): TestPc {
  const end = performance.now() + 20_000;
  const machine = new TestPc({
    cpu: CPU,
    time: hostTime,
    maxPolls: 1e9,
    service: () => performance.now() > end || (service?.() ?? false),
  });
  if (accelerator === 'kvm') {
    const { pc } = machine;
    pc.tscHz = probeKvm().tscHz;
    pc.setAccelerator(
      createX86Kvm({
        cpu: pc.cpu,
        model: pc.cpu.model,
        host: pc.acceleratorHost,
        interrupts: pc.lapic,
        memory: pc.engine.memory.buffer,
        attention: { begin: () => false, end: () => {} },
        apicId: 0,
        cpus: 1,
        tscHz: pc.tscHz,
      }),
    );
  }
  return machine;
}

for (const accelerator of ['tcg', 'kvm'] as const) {
  for (const guest of acceleratorGuests) {
    const skip = accelerator === 'kvm' && (noKvm || missing(guest.needs));
    test(`${guest.name}, on ${accelerator}`, { skip, timeout: 60_000 }, () => {
      const machine = machineOn(accelerator).boot(guest.image);
      assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
      const results = guest.results.map((_, i) => machine.u32(RESULT + 4 * i));
      assert.deepEqual(
        results,
        guest.results.map((value, i) => value ?? results[i]),
      );
      assert.equal(machine.serial, guest.serial);
      machine.pc.accelerator.close();
    });
  }
}
