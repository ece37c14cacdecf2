/** Machines that really run, with guest programs of a few bytes. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { after, test } from 'node:test';
import { createMachine, infoTopics, type Machine, type MachineOptions } from './index.js';
import { makeAndClose } from './testing/leaks.js';
import { programs } from './testing/programs.js';

const folder = mkdtempSync(join(tmpdir(), 'vring machine ü '));
after(() => rmSync(folder, { recursive: true }));

const small = { ramBytes: 16 << 20 };
const exitDevice = { type: 'isa-debug-exit', port: 0xf4, sizeBytes: 1 } as const;
const longMs = 60_000;

async function started(options: Partial<MachineOptions> & Pick<MachineOptions, 'kernel'>): Promise<Machine> {
  const machine = await createMachine({ ...small, ...options });
  await machine.start();
  return machine;
}

test('a program says something and ends with a status', async () => {
  await using machine = await createMachine({ ...small, kernel: programs.sayAndExit, devices: [exitDevice] });
  assert.match(machine.description, /Multiboot/);
  assert.equal(machine.state, 'ready');
  const said = machine.serial().waitForText('OK\n', { timeoutMs: longMs });
  await machine.start();
  assert.equal(await said, 'OK\n');
  assert.deepEqual(await machine.ended, { why: 'exit', status: 7 });
  assert.equal(machine.state, 'ended');
  const { engine } = await machine.statistics();
  assert.ok(engine['translated'] > 0, 'its counters outlive it');
  await assert.rejects(machine.pause(), { code: 'machine-ended' });
  await assert.rejects(machine.serial().waitForText('more'), { code: 'machine-ended' });
});

test('a kernel is read from a path with spaces and other letters', async () => {
  const path = join(folder, 'kernel é.bin');
  writeFileSync(path, programs.powerOff);
  await using machine = await started({ kernel: path });
  assert.deepEqual(await machine.ended, { why: 'poweroff' });
});

test('what is typed comes back; what was not waited for is kept', async () => {
  await using machine = await started({ kernel: programs.echo });
  const port = machine.serial();
  await port.type('hello\n');
  assert.equal(await port.waitForText(/l+o\r/, { timeoutMs: longMs }), 'hello\r');
  const text = 'x'.repeat(200_000);
  let received = 0;
  const stop = port.onData((bytes) => {
    received += bytes.length;
  });
  await Promise.all([port.write(`${text}END`), port.waitForText('END', { timeoutMs: longMs })]);
  stop();
  assert.equal(received, text.length + 3, 'more than any buffer on the way holds, and nothing is lost');
  await assert.rejects(port.waitForText('never', { timeoutMs: 50 }), { code: 'timeout' });
  await assert.rejects(port.waitForText('never', { signal: AbortSignal.timeout(20) }), { code: 'aborted' });
});

test('a paused machine stands still, and its memory can be read and written', async () => {
  await using machine = await started({ kernel: programs.count });
  const counter = async () => new DataView((await machine.readMemory(0x200000, 4)).buffer).getUint32(0, true);
  const deadline = Date.now() + longMs;
  while ((await counter()) === 0) assert.ok(Date.now() < deadline, 'the guest counts');
  await machine.pause();
  assert.equal(machine.state, 'paused');
  const first = await counter();
  await new Promise((resolve) => {
    setTimeout(resolve, 30);
  });
  assert.equal(await counter(), first);
  await machine.writeMemory(0x200000, Uint8Array.of(0, 0, 0, 0x80));
  await machine.resume();
  while ((await counter()) <= 0x8000_0000) assert.ok(Date.now() < deadline, 'it counts on from what was written');
  const large = Uint8Array.from({ length: 3 << 20 }, (_, i) => (i * 7) >> 3);
  await machine.writeMemory(0x400000, large);
  assert.deepEqual(await machine.readMemory(0x400000, large.length), large);
  await assert.rejects(machine.readMemory(0x7000_0000, 4), { code: 'memory-absent' });
  const [version] = await machine.readMemory(0xfee0_0030, 4);
  assert.equal(version, 0x14, "the local APIC's version, as a vCPU reads it");
  await assert.rejects(machine.writeMemory(0xfee0_0030, Uint8Array.of(0)), { code: 'memory-absent' });
  const registers = await machine.registers();
  assert.ok(registers['rip'] >= 0x100030n && registers['rip'] < 0x100040n, `rip is ${registers['rip']}`);
  assert.equal(await machine.translateAddress(0x1234n), 0x1234, 'paging is off');
  for (const topic of infoTopics) {
    if (topic === 'usb') await assert.rejects(machine.info(topic), { code: 'no-usb' });
    else assert.ok((await machine.info(topic)).length > 5, topic);
  }
  assert.match(await machine.info('mtree'), /pc\.ram[\s\S]*address-space: I\/O[\s\S]*serial0/);
  assert.match(await machine.info('qtree'), /dev: piix3\n[\s\S]*bus: isa\.0[\s\S]*dev: serial0/);
  const isa = (await machine.pci()).find(({ slot, functionNumber }) => slot === 1 && functionNumber === 0);
  assert.deepEqual([isa?.vendor, isa?.device, isa?.classCode], [0x8086, 0x7000, 0x601]);
  assert.match(await machine.info('registers'), /EIP=001000[34][0-9a-f] EFL=/);
  const [line, next] = await machine.disassemble(0x100030n, 2);
  assert.match(line, /^0x0000000000100030: {2}inc .*\[0x200000\]$/);
  assert.equal(next, '0x0000000000100036:  jmp 0x100030');
  assert.equal(await machine.readPort(0x3fd, 1), 0x60, 'the line status of an idle COM1');
});

test('reset starts anew, and ends the machine where that is asked for', async () => {
  const machine = await createMachine({ ...small, kernel: programs.reset });
  let resets = 0;
  machine.on('reset', () => {
    resets++;
  });
  const thrice = machine.serial().waitForText('...', { timeoutMs: longMs });
  await machine.start();
  await thrice;
  await machine.close();
  assert.ok(resets >= 2, `${resets} resets`);
  await using ending = await started({ kernel: programs.reset, onReset: 'end' });
  assert.deepEqual(await ending.ended, { why: 'reset' });
});

test('what a reset does may be changed while the machine runs', async () => {
  await using machine = await createMachine({ ...small, kernel: programs.reset });
  await machine.start();
  await machine.setActions({ onReset: 'end', onPowerOff: 'end', onPanic: 'poweroff', onWatchdog: 'reset' });
  assert.deepEqual(await machine.ended, { why: 'reset' });
});

test('the owner resets and switches off', async () => {
  await using machine = await createMachine({ ...small, kernel: programs.halt });
  const port = machine.serial();
  const up = port.waitForText('up\n', { timeoutMs: longMs });
  await machine.start();
  await up;
  await machine.reset();
  await port.waitForText('up\n', { timeoutMs: longMs });
  await machine.pressPowerButton();
  await machine.injectNmi();
  assert.deepEqual(await machine.powerOff({ timeoutMs: longMs }), { why: 'quit' });
});

test('a guest that switches off may stand still to be looked at', async () => {
  await using machine = await createMachine({ ...small, kernel: programs.powerOff, onPowerOff: 'pause' });
  const stopped = new Promise((resolve) => {
    machine.on('stopped', resolve);
  });
  await machine.start();
  assert.equal(await stopped, 'poweroff');
  assert.equal(machine.state, 'paused');
  assert.equal((await machine.readMemory(0x100000, 4))[0], 0x02);
});

test('guests that go astray leave the host in order', async () => {
  for (const kernel of [programs.tripleFault, programs.jumpNowhere]) {
    await using machine = await started({ kernel, onReset: 'end' });
    assert.deepEqual(await machine.ended, { why: 'reset' });
  }
});

test('a guest that writes without end waits for a slow reader, and ends at once all the same', async () => {
  await using machine = await createMachine({ ...small, kernel: programs.flood });
  const reader = machine.serial()[Symbol.asyncIterator]();
  await machine.start();
  let bytes = 0;
  while (bytes < 1 << 20) bytes += ((await reader.next()).value as Uint8Array).length;
  // Nobody reads now: the guest is blocked on a full stream.
  await new Promise((resolve) => {
    setTimeout(resolve, 100);
  });
  const before = Date.now();
  await machine.powerOff();
  assert.ok(Date.now() - before < 5000);
  let rest = 0;
  for (;;) {
    const { done, value } = await reader.next();
    if (done) break;
    rest += value.length;
  }
  assert.ok(rest > 0, 'what it had written can still be read');
});

test('mistakes are typed errors, and nothing is left behind', async () => {
  const build = (options: Partial<MachineOptions>) => createMachine({ ...small, kernel: programs.halt, ...options });
  await assert.rejects(build({ kernel: join(folder, 'missing') }), { code: 'image-open', message: /No such file/ });
  await assert.rejects(build({ kernel: folder }), { code: 'image-open', message: /Is a directory/ });
  await assert.rejects(build({ kernel: new Uint8Array(5000) }), { code: /BOOT|kernel/i });
  await assert.rejects(build({ ramBytes: 1024 }), { code: 'ram-size' });
  await assert.rejects(build({ ramBytes: 2 ** 33 }), { code: 'ram-size', message: /64-bit/ });
  await assert.rejects(build({ cpu: 'nonsense' }), { code: 'cpu-option' });
  const disk = { type: 'virtio-blk', image: { path: join(folder, 'no-disk') } } as const;
  await assert.rejects(build({ devices: [disk] }), { code: 'disk-open' });
  await assert.rejects(build({ devices: Array.from({ length: 40 }, () => ({ type: 'virtio-rng' }) as const) }), {
    code: 'pci-full',
  });
  await assert.rejects(build({ devices: [{ type: 'virtio-rng', slot: 1 }] }), { code: 'pci-slot' });
  await assert.rejects(createMachine({ ...small, kernel: programs.halt }, { signal: AbortSignal.abort() }), {
    code: 'aborted',
  });
  const late = new AbortController();
  const building = createMachine({ ...small, kernel: programs.halt }, { signal: late.signal });
  setTimeout(() => late.abort(), 5);
  await assert.rejects(building, { code: 'aborted' });
});

test('the owner is never held long', async () => {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const kernel = new Uint8Array(64 << 20);
  kernel.set(programs.sayAndExit);
  delay.enable();
  await using machine = await createMachine({ ...small, ramBytes: 128 << 20, kernel, devices: [exitDevice] });
  await machine.start();
  await machine.ended;
  delay.disable();
  // The loop's own delay, on a machine that does other things too: the middle of what was measured.
  assert.ok(delay.percentile(50) < 10e6, `${delay.percentile(50) / 1e6} ms`);
});

test('machines made and closed leave nothing behind', async () => {
  await makeAndClose(20);
});
