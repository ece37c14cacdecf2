/** A program that ends, or fails, while its machine's vCPUs are in the guest. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import test from 'node:test';
import { whyNoKvm } from './testing/why-no-kvm.js';

const skip = whyNoKvm();

/** The guest sleeps in HLT, with local APICs in the kernel: it hears of nothing but a signal. */
const program = (vcpus: number, end: string) => `
import { createMachine } from ${JSON.stringify(new URL('./index.js', import.meta.url))};
const machine = await createMachine({ builtInGuest: true, accelerators: ['kvm'], cpus: ${vcpus}, ramBytes: 16 << 20 });
await machine.start();
await machine.serial(0).waitForText('vring> ');
await new Promise((resolve) => setTimeout(resolve, 100));
console.log('at the prompt');
${end}
`;

for (const [what, end, wanted] of [
  ['process.exit', 'process.exit(7);', 7],
  ['an error that nobody catches', "throw new Error('of the program');", 1],
] as const)
  for (const vcpus of [1, 2])
    test(`${what} ends a process with a KVM machine of ${vcpus} vCPUs`, { skip, timeout: 60_000 }, async (t) => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program(vcpus, end)], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      t.after(() => child.kill('SIGKILL'));
      let text = '';
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (part: string) => {
          text += part;
        });
      const status = await new Promise((resolve) => child.on('close', resolve));
      assert.equal(status, wanted, text);
      assert.match(text, /at the prompt/);
    });
