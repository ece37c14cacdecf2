/** Two vCPUs, each in its own thread. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { VringError } from '../base/index.js';
import { probeKvm } from '../host/node/kvm/probe.js';
import { createMachine, type Machine } from './index.js';
import { longModeGuest, twoProcessors } from './testing/accelerator-guests.js';

function noKvm(): string | false {
  try {
    probeKvm();
    return false;
  } catch (error) {
    if (!(error instanceof VringError)) throw error;
    return `no KVM: ${error.message}`;
  }
}
const skip = noKvm();

/** Names of this process's threads. */
const threadNames = () =>
  readdirSync('/proc/self/task').map((id) => readFileSync(`/proc/self/task/${id}/comm`, 'latin1').trim());

const machineWith = (kernel: Uint8Array, cpus: number): Promise<Machine> =>
  createMachine({
    accelerators: ['kvm'],
    cpus,
    kernel,
    ramBytes: 16 << 20,
    devices: [{ type: 'isa-debug-exit', port: 0xf4, sizeBytes: 1 }],
  });

test('two processors share memory, reach devices and interrupt each other, on kvm', {
  skip,
  timeout: 60_000,
}, async () => {
  const machine = await machineWith(twoProcessors.image, 2);
  let text = '';
  machine.serial().onData((bytes) => {
    text += Buffer.from(bytes).toString('latin1');
  });
  const threads = threadNames();
  assert.ok(threads.includes('vcpu1'), `each has a thread with a name: ${threads}`);
  await machine.start();
  assert.deepEqual(await machine.ended, { why: 'exit', status: 1 });
  assert.equal(text, 'S');
  await machine.close();
});

test('vCPUs that never leave the guest are stopped, reset and ended from outside, on kvm', {
  skip,
  timeout: 60_000,
}, async () => {
  const { image } = longModeGuest('stuck', 'cli\n.here: jmp .here\n', []);
  const machine = await machineWith(image, 3);
  for (let i = 0; i < 3; i++) {
    await machine.resume();
    await machine.pause({ timeoutMs: 10_000 });
    await machine.reset();
  }
  await machine.resume();
  await machine.close();
  const threads = threadNames();
  assert.deepEqual(
    threads.filter((name) => /^vcpu/.test(name)),
    [],
    'no thread is left',
  );
});

test('more than one vCPU where KVM is not to be had', async () => {
  await assert.rejects(
    createMachine({ accelerators: ['tcg'], cpus: 2, builtInGuest: true }),
    (error) =>
      error instanceof VringError && error.code === 'no-accelerator' && /more than one vCPU/.test(error.message),
  );
});
