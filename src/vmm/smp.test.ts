/** Several vCPUs: in turns in one thread under the translator, each in its own thread under KVM. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BoardDebugTarget } from '../machine/debug-target.js';
import { TestPc, type TestPcOptions } from '../machine/testing/test-pc.js';
import { createMachine, type Machine } from './index.js';
import { longModeGuest, RESULT } from './testing/guest-parts.js';
import { faultingProcessor, restartedProcessor, twoProcessors } from './testing/processor-guests.js';
import { whyNoKvm } from './testing/why-no-kvm.js';

/** Names of this process's threads. */
const threadNames = () =>
  readdirSync('/proc/self/task').map((id) => readFileSync(`/proc/self/task/${id}/comm`, 'latin1').trim());

const machineWith = (accelerator: 'kvm' | 'tcg', kernel: Uint8Array, cpus: number): Promise<Machine> =>
  createMachine({
    accelerators: [accelerator],
    cpus,
    kernel,
    ramBytes: 16 << 20,
    devices: [{ type: 'isa-debug-exit', port: 0xf4, sizeBytes: 1 }],
    onReset: 'end',
  });

// The further vCPUs' own memory lies behind the RAM: above 2 GiB of addresses of 32 bits.
for (const ramBytes of [2 ** 31, 3 * 2 ** 30])
  test(`two processors and ${ramBytes / 2 ** 20} MiB, on tcg`, { timeout: 60_000 }, async () => {
    await using machine = await createMachine({
      accelerators: ['tcg'],
      cpus: 2,
      kernel: twoProcessors.image,
      ramBytes,
      devices: [{ type: 'isa-debug-exit', port: 0xf4, sizeBytes: 1 }],
      onReset: 'end',
    });
    await machine.start();
    assert.deepEqual(await machine.ended, { why: 'exit', status: 1 });
  });

for (const accelerator of ['tcg', 'kvm'] as const) {
  const skip = accelerator === 'kvm' && whyNoKvm();

  test(`two processors share memory, reach devices and interrupt each other, on ${accelerator}`, {
    skip,
    timeout: 60_000,
  }, async () => {
    await using machine = await machineWith(accelerator, twoProcessors.image, 2);
    let text = '';
    machine.serial().onData((bytes) => {
      text += Buffer.from(bytes).toString('latin1');
    });
    const threads = threadNames();
    assert.equal(threads.includes('vcpu1'), accelerator === 'kvm', `each has a thread with a name: ${threads}`);
    await machine.start();
    assert.deepEqual(await machine.ended, { why: 'exit', status: 1 });
    assert.equal(text, 'S');
  });

  test(`vCPUs that never leave the guest are stopped, reset and ended from outside, on ${accelerator}`, {
    skip,
    timeout: 60_000,
  }, async () => {
    const { image } = longModeGuest('stuck', 'cli\n.here: jmp .here\n', []);
    await using machine = await machineWith(accelerator, image, 3);
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

  test(`a processor is stopped by INIT and started again, on ${accelerator}`, { skip, timeout: 60_000 }, async () => {
    await using machine = await machineWith(accelerator, restartedProcessor.image, 2);
    await machine.start();
    assert.deepEqual(await machine.ended, { why: 'exit', status: 1 });
  });
}

const pcWith = (options: TestPcOptions = {}) => new TestPc({ ramBytes: 16 << 20, cpus: 2, ...options });

for (const hotThreshold of [0, 16])
  test(`INIT stops a processor at once, threshold ${hotThreshold}`, () => {
    const machine = pcWith({ hotThreshold }).boot(restartedProcessor.image);
    assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
    assert.deepEqual([machine.u32(RESULT), machine.u32(RESULT + 8)], [2, 0]);
  });

test('a triple fault of the second processor resets the machine', () => {
  const machine = pcWith().boot(faultingProcessor.image);
  assert.deepEqual(machine.run(), { why: 'reset' });
  machine.boot(twoProcessors.image);
  assert.deepEqual(machine.run(), { why: 'exit', status: 1 }, 'it runs again');
});

test('with counted time turns end at the same instructions in every run and tier', () => {
  const run = (hotThreshold: number) => {
    const machine = pcWith({ hotThreshold, icount: { shift: 3 } }).boot(twoProcessors.image);
    assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
    assert.equal(machine.serial, 'S');
    return {
      instructions: machine.pc.engine.instructions,
      nowNs: machine.pc.clock.nowNs(),
      cpus: machine.pc.cpus.map((cpu) => cpu.dump({ float: true })),
    };
  };
  const cold = run(0);
  assert.deepEqual(run(0), cold);
  assert.deepEqual(run(16), cold);
});

test("a debugger sees which vCPU has stopped, and each one's registers", () => {
  const machine = pcWith().boot(twoProcessors.image);
  const target = new BoardDebugTarget(machine.pc, { resume: () => {}, interrupt: () => {}, kill: () => {} });
  const register = (name: string) => target.readRegister(target.registers.findIndex((each) => each.name === name));
  const at = twoProcessors.symbols.get('second') as bigint;
  target.vcpu = 1;
  target.step();
  assert.equal(register('rip'), 0xfff0n, 'it waits to be started');
  target.resume();
  target.setBreakpoint(at);
  assert.deepEqual(machine.run(), { why: 'debug' });
  assert.deepEqual([target.vcpus, target.vcpu, register('rip')], [2, 1, at]);
  target.step();
  assert.deepEqual([target.vcpu, register('rsp')], [1, 0x8f000n]);
  target.vcpu = 0;
  const first = register('rip');
  assert.notEqual(first, register('rsp'));
  target.step();
  assert.equal(machine.pc.engine.current, 0, 'the first has made a step');
  target.clearBreakpoint(at);
  target.resume();
  assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
});

test("the lens's times add up, and a turn's end crosses no border", () => {
  const machine = pcWith({ lens: true }).boot(twoProcessors.image);
  assert.deepEqual(machine.run(), { why: 'exit', status: 1 });
  const totals = machine.pc.lens();
  assert.ok(totals);
  const { wallNs, timeNs, crossings, interrupts } = totals;
  const sum = Object.values(timeNs).reduce((a, b) => a + b, 0);
  assert.ok(Math.abs(sum - wallNs) <= wallNs / 50, `${sum} of ${wallNs}`);
  assert.deepEqual(crossings, {}, 'both are in ring 0 all the time');
  assert.deepEqual(interrupts, { 64: 1 });
});

for (const accelerator of ['tcg', 'kvm'] as const)
  test(`monitors see all vCPUs, on ${accelerator}`, { skip: accelerator === 'kvm' && whyNoKvm() }, async () => {
    const { image } = longModeGuest('asleep', '.here: hlt\njmp .here\n', []);
    await using machine = await machineWith(accelerator, image, 3);
    await machine.start();
    while (!/CPU #0.*halted/.test(await machine.info('cpus'))) await sleep(5);
    await machine.pause();
    const lines = (await machine.info('cpus')).split('\n');
    assert.deepEqual(
      lines.map((line) => line.slice(0, 9)),
      ['* CPU #0:', '  CPU #1:', '  CPU #2:'],
    );
    assert.match(lines[2], /pc=0x0*fffffff0 \(halted\)/, 'it waits for its start');
    await machine.selectCpu(2);
    assert.equal((await machine.registers())['rip'], 0xfff0n);
    assert.match(await machine.info('registers'), /^CPU#2/);
    assert.deepEqual((await machine.info('registers-all')).match(/^CPU#\d/gm), ['CPU#0', 'CPU#1', 'CPU#2']);
    await assert.rejects(machine.selectCpu(3), { code: 'no-such-cpu' });
  });
