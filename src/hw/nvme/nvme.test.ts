import assert from 'node:assert/strict';
import test from 'node:test';
import { StateError } from '../../schema/index.js';
import { MemoryDrive } from '../disk/testing.js';
import { seededRandom } from '../testing.js';
import { accessOf, barBase, NvmeDriver, type NvmeMachine, nvmeMachine } from './testing.js';

const MiB = 1 << 20;
const data = 0x100000;
const random = seededRandom(3);
const pattern = (bytes: number) => Uint8Array.from({ length: bytes }, () => random(256));
const dnr = 0x4000;

async function setUp(options: { later?: boolean; drives?: number; readonly?: boolean; blockBytes?: number } = {}) {
  const drives = Array.from({ length: options.drives ?? 1 }, () => new MemoryDrive(pattern(MiB), options));
  const machine = nvmeMachine(drives, options.blockBytes);
  const driver = new NvmeDriver(accessOf(machine));
  await driver.place();
  await driver.enable();
  assert.equal(await driver.get(0x1c), 1);
  assert.deepEqual(
    (await driver.createPair(1)).map(({ status }) => status),
    [0, 0],
  );
  const io = async (opcode: number, lba: number, blocks: number, prp1 = data, prp2 = 0) =>
    (await driver.run(1, { opcode, namespace: 1, prp1, prp2, dwords: [lba, 0, blocks - 1] })).status;
  return { machine, driver, io, drives, drive: drives[0]!, ram: machine.ram };
}

function enableMsix(machine: NvmeMachine): void {
  const { function: fn } = machine.nvme;
  fn.write(0x20, 4, 0xfd000000);
  for (let at = fn.read(0x34, 1); at !== 0; at = fn.read(at + 1, 1)) {
    if (fn.read(at, 1) !== 0x11) continue;
    for (let v = 0; v < 65; v++) {
      machine.memory.write(0xfd000000 + v * 16, 4, 0xfee00000);
      machine.memory.write(0xfd000008 + v * 16, 4, 100 + v);
      machine.memory.write(0xfd00000c + v * 16, 4, 0);
    }
    fn.write(at + 2, 2, 0x8000);
  }
}

test('reads and writes by PRP entries and lists of them, published before the interrupt', async () => {
  const { driver, io, drive, ram, machine } = await setUp();
  assert.equal(await io(2, 8, 1, data + 0x800), 0);
  assert.deepEqual(ram.subarray(data + 0x800, data + 0xa00), drive.bytes.subarray(4096, 4608));
  machine.memory.dma.writeU64(data + 0x5000, data + 8);
  assert.equal(await io(2, 0, 16, data + 0x200, data + 0x5000), 0x13 | dnr, 'three pages take a list of pages');
  assert.equal(await io(2, 0, 8, data + 0x200, data + 0x5000), 0);
  assert.deepEqual(ram.subarray(data + 0x5000, data + 0x5200), drive.bytes.subarray(0xe00, 0x1000));
  // 300 KiB: 75 pages, and a list that begins 30 entries before the end of its page.
  const pages = Array.from({ length: 75 }, (_, i) => data + 0x10000 + ((i * 37) % 76) * 0x1000);
  const list = [data + 0x1000 - 30 * 8, data + 0x2000] as const;
  for (const [i, page] of pages.slice(1).entries()) {
    if (i < 29) machine.memory.dma.writeU64(list[0] + i * 8, page);
    else machine.memory.dma.writeU64(list[1] + (i - 29) * 8, page);
  }
  machine.memory.dma.writeU64(list[0] + 29 * 8, list[1]);
  machine.published.length = 0;
  assert.equal(await io(2, 100, 600, pages[0], list[0]), 0);
  for (const [i, page] of pages.entries())
    assert.deepEqual(ram.subarray(page, page + 0x1000), drive.bytes.subarray(51200 + i * 0x1000).subarray(0, 0x1000));
  assert.ok(machine.published.some(([gpa]) => gpa === pages[74]));
  const content = pattern(8192);
  ram.set(content, data);
  assert.equal(await io(1, 200, 16, data, data + 0x1000), 0);
  assert.deepEqual(drive.bytes.subarray(102400, 110592), content);
  assert.equal((await driver.run(1, { opcode: 1, namespace: 1, prp1: data, dwords: [0, 0, 2 ** 30] })).status, 0);
  assert.equal(drive.log.at(-1), 'flush', 'force unit access');
});

test('scatter gather lists: a block, segments, and what is wrong with them', async () => {
  const { driver, drive, ram, machine } = await setUp();
  const { dma } = machine.memory;
  const descriptor = (at: number, gpa: number, length: number, type: number) => {
    dma.writeU64(at, gpa);
    dma.writeU32(at + 8, length);
    dma.writeU32(at + 12, type << 24);
  };
  const read = (sgl: readonly [number, number, number], blocks = 4) =>
    driver.run(1, { opcode: 2, namespace: 1, flags: 0x40, sgl, dwords: [6, 0, blocks - 1] });
  assert.equal((await read([data + 3, 2048, 0])).status, 0);
  assert.deepEqual(ram.subarray(data + 3, data + 3 + 2048), drive.bytes.subarray(3072, 5120));
  const [first, second] = [data + 0x8000, data + 0x9000];
  descriptor(first, data + 0x1000, 1000, 0);
  descriptor(first + 16, data + 0x2001, 500, 0);
  descriptor(first + 32, second, 32, 0x30);
  descriptor(second, data + 0x3000, 500, 0);
  descriptor(second + 16, data + 0x4000, 48, 0);
  assert.equal((await read([first, 48, 0x20])).status, 0);
  const got = [
    [0x1000, 1000],
    [0x2001, 500],
    [0x3000, 500],
    [0x4000, 48],
  ].flatMap(([at, length]) => [...ram.subarray(data + at!, data + at! + length!)]);
  assert.deepEqual(got, [...drive.bytes.subarray(3072, 5120)]);
  assert.equal((await read([first, 48, 0x20], 5)).status, 0x0f | dnr, 'too short');
  assert.equal((await read([first, 40, 0x20])).status, 0x0d | dnr);
  assert.equal((await read([data, 2048, 0x40])).status, 0x0d | dnr);
  descriptor(first, data, 2048, 0x40);
  assert.equal((await read([first, 16, 0x30])).status, 0x11 | dnr);
  descriptor(first, data + 0x1000, 1000, 0);
  assert.equal((await read([0xf0000000, 2048, 0])).status, 0x04);
  // A list that leads to itself.
  descriptor(first, first, 16, 0x20);
  assert.equal((await read([first, 16, 0x20])).status, 0x0e | dnr);
});

test('compare, write zeroes, deallocation, flush', async () => {
  const { driver, io, drive, ram } = await setUp();
  ram.set(drive.bytes.subarray(0, 0x20000), data);
  const sgl = { flags: 0x40, sgl: [data, 0x20000, 0] as const };
  const compare = () => driver.run(1, { opcode: 5, namespace: 1, ...sgl, dwords: [0, 0, 255] });
  assert.equal((await compare()).status, 0);
  ram[data + 0x1ffff]! ^= 1;
  assert.equal((await compare()).status, 0x285);
  assert.equal(await io(8, 16, 16), 0);
  assert.ok(drive.bytes.subarray(8192, 16384).every((byte) => byte === 0));
  const view = new DataView(ram.buffer, data);
  view.setUint32(4, 8, true);
  view.setBigUint64(8, 64n, true);
  view.setUint32(20, 0, true);
  view.setUint32(36, 4, true);
  view.setBigUint64(40, 100n, true);
  const manage = (attributes: number) =>
    driver.run(1, { opcode: 9, namespace: 1, prp1: data, dwords: [2, attributes] });
  drive.log.length = 0;
  assert.equal((await manage(1)).status, 0);
  assert.deepEqual(drive.log, [], 'a hint');
  assert.equal((await manage(4)).status, 0);
  assert.deepEqual(drive.log, ['discard 32768+4096', 'discard 51200+2048']);
  view.setBigUint64(40, 2047n, true);
  assert.equal((await manage(4)).status, 0x80 | dnr);
  assert.equal((await driver.run(1, { opcode: 0, namespace: 0xffffffff })).status, 0);
  assert.equal(drive.log.at(-1), 'flush');
});

test('failures, ends of the disk, namespaces that are not there, a disk that is read-only', async () => {
  const { driver, io, drive } = await setUp();
  assert.equal(await io(2, 2047, 2), 0x80 | dnr);
  drive.failures.push('io');
  assert.equal(await io(2, 0, 1), 0x281);
  drive.failures.push('no-space');
  assert.equal(await io(1, 0, 1), 0x280);
  drive.failures.push('io');
  assert.equal(await io(0, 0, 1), 0x280);
  assert.equal((await driver.run(1, { opcode: 2, namespace: 2, prp1: data })).status, 0x02 | dnr);
  assert.equal((await driver.run(1, { opcode: 2, namespace: 0, prp1: data })).status, 0x0b | dnr);
  assert.equal(await io(0x7f, 0, 1), 0x01 | dnr);
  assert.equal(await io(2, 0, 1, 0xf0000000), 0x04);
  assert.equal(await io(2, 0, 1025), 0x02 | dnr, 'more than is transferred at once');
  const readonly = await setUp({ readonly: true });
  assert.equal(await readonly.io(1, 0, 1), 0x182 | dnr);
  const large = await setUp({ blockBytes: 4096 });
  assert.equal(await large.io(2, 255, 1), 0);
  assert.deepEqual(large.ram.subarray(data, data + 4096), large.drive.bytes.subarray(255 * 4096));
});

test('interrupts: the pin while a queue holds something, and its mask; MSI-X by vectors', async () => {
  const { driver, machine } = await setUp();
  assert.equal(machine.line.level, false);
  await driver.put(1, { opcode: 0, namespace: 1 });
  await driver.ring(1);
  assert.equal(machine.line.level, true);
  await driver.set(0x0c, 1);
  assert.deepEqual([machine.line.level, await driver.get(0x10)], [false, 1]);
  await driver.set(0x10, 1);
  assert.equal(machine.line.level, true);
  await driver.poll(1);
  assert.equal(machine.line.level, false);
  enableMsix(machine);
  await driver.admin({ opcode: 5, prp1: 0x40000, dwords: [9 | (7 << 16), 3 | (5 << 16)] });
  await driver.admin({ opcode: 1, prp1: 0x41000, dwords: [9 | (7 << 16), 1 | (9 << 16)] });
  machine.messages.length = 0;
  machine.ram.fill(0, 0x41000, 0x41100);
  machine.ram[0x41004] = machine.ram[0x41044] = 1;
  await driver.set(0x1000 + 9 * 8, 2);
  assert.deepEqual(machine.messages, [105], 'one for both');
});

test('a queue whose answers are not taken is fetched from no more', async () => {
  const { driver, machine } = await setUp();
  // Submissions of 16 into completions of 4.
  await driver.admin({ opcode: 5, prp1: 0x40000, dwords: [2 | (3 << 16), 1] });
  await driver.admin({ opcode: 1, prp1: 0x41000, dwords: [2 | (15 << 16), 1 | (2 << 16)] });
  machine.ram.fill(0, 0x40000, 0x42000);
  for (let i = 0; i < 15; i++) machine.ram[0x41000 + i * 64 + 4] = 1;
  await driver.set(0x1010, 15);
  const { submission, completion } = machine.nvme.state;
  assert.deepEqual([submission[2]!.head, completion[2]!.tail], [3, 3]);
  await driver.set(0x1014, 2);
  assert.deepEqual([submission[2]!.head, completion[2]!.tail], [5, 1]);
});

test('queues are made and deleted by the rules; a queue with commands under way goes when they have ended', async () => {
  const { driver, drive, machine } = await setUp({ later: true });
  const make = async (opcode: number, dwords: readonly number[], prp1 = 0x40000) =>
    (await driver.admin({ opcode, prp1, dwords })).status & ~dnr;
  assert.equal(await make(5, [0 | (7 << 16), 1]), 0x101);
  assert.equal(await make(5, [1 | (7 << 16), 1]), 0x101, 'it is there');
  assert.equal(await make(5, [65 | (7 << 16), 1]), 0x101);
  assert.equal(await make(5, [2, 1]), 0x102);
  assert.equal(await make(5, [2 | (2048 << 16), 1]), 0x102);
  assert.equal(await make(5, [2 | (7 << 16), 1], 0x40010), 0x13);
  assert.equal(await make(5, [2 | (7 << 16), 3 | (1 << 16)]), 0x108, 'without MSI-X there is one vector');
  assert.equal(await make(5, [2 | (7 << 16), 2]), 0x02);
  assert.equal(await make(1, [2 | (7 << 16), 1 | (2 << 16)]), 0x100);
  assert.equal(await make(1, [1 | (7 << 16), 1 | (1 << 16)]), 0x101);
  assert.equal(await make(4, [1]), 0x10c);
  await driver.put(1, { opcode: 2, namespace: 1, prp1: data, dwords: [0, 0, 0] });
  await driver.ring(1);
  assert.equal(machine.nvme.pendingRequests, 1);
  const deletion = await driver.put(0, { opcode: 0, dwords: [1] });
  await driver.ring(0);
  assert.equal(await driver.poll(0), undefined);
  drive.runLater();
  assert.equal((await driver.poll(1))?.status, 0);
  assert.deepEqual(await driver.poll(0), { status: 0, result: 0, identifier: deletion });
  assert.equal(await make(0, [1]), 0x101);
  assert.equal(await make(4, [1]), 0);
});

test('asynchronous events: a doorbell that is not there, a temperature, one at a time until its log is read', async () => {
  const { driver } = await setUp();
  const ask = async () => {
    const identifier = await driver.put(0, { opcode: 0x0c });
    await driver.ring(0);
    return identifier;
  };
  const log = (page: number) =>
    driver.admin({ opcode: 2, namespace: 0xffffffff, prp1: data, dwords: [page | (15 << 16)] });
  const first = await ask();
  assert.equal(await driver.poll(0), undefined);
  await driver.set(0x1000 + 20 * 8, 1);
  assert.deepEqual(await driver.poll(0), { status: 0, result: 0x10000, identifier: first });
  const second = await ask();
  await driver.set(0x1008, 99);
  assert.equal(await driver.poll(0), undefined, 'the log has not been read');
  await log(1);
  assert.deepEqual(driver.takeEarly().concat((await driver.poll(0)) ?? []), [
    { status: 0, result: 0x10100, identifier: second },
  ]);
  await ask();
  await driver.admin({ opcode: 9, dwords: [0x0b, 2] });
  await driver.admin({ opcode: 9, dwords: [4, 0x100] });
  const told = driver.takeEarly().concat((await driver.poll(0)) ?? []);
  assert.deepEqual(
    told.map(({ result }) => result),
    [0x20101],
  );
  await log(2);
  assert.equal(
    (await driver.admin({ opcode: 2, namespace: 0xffffffff, prp1: data, dwords: [0x77] })).status,
    0x109 | dnr,
  );
  for (let i = 0; i < 4; i++) await ask();
  const fifth = await ask();
  assert.deepEqual(await driver.poll(0), { status: 0x105 | dnr, result: 0, identifier: fifth });
});

test('reset and shutdown: what is under way ends first, and the rings are not touched any more', async () => {
  const { driver, drive, machine } = await setUp({ later: true });
  await driver.put(1, { opcode: 2, namespace: 1, prp1: data, dwords: [0, 0, 0] });
  await driver.ring(1);
  await driver.set(0x14, 0x00460000);
  assert.equal(await driver.get(0x1c), 1, 'not yet');
  drive.runLater();
  assert.equal(await driver.get(0x1c), 0);
  assert.equal(await driver.poll(1), undefined);
  assert.equal(machine.line.level, false);
  assert.equal(await driver.get(0x28), 0x10000, 'it keeps where its queues are');
  await driver.set(0x14, 0x00460001);
  assert.equal(await driver.get(0x1c), 1);
  await driver.set(0x14, 0x00464001);
  assert.equal(await driver.get(0x1c), 5, 'it shuts down');
  drive.runLater();
  assert.equal(await driver.get(0x1c), 9);
  assert.equal(drive.log.at(-1), 'flush');
  await driver.set(0x14, 0);
  await driver.set(0x28, 0x10000);
  await driver.set(0x24, 0);
  await driver.set(0x14, 0x00460001);
  assert.equal(await driver.get(0x1c), 2, 'no queues of one entry');
});

test('saved while commands wait in a queue and an event request is held; loaded, it goes on', async () => {
  const from = await setUp();
  await from.driver.put(0, { opcode: 0x0c });
  await from.driver.ring(0);
  await from.driver.admin({ opcode: 9, dwords: [6, 0] });
  // Rung, and not fetched: its answers have no room.
  await from.driver.admin({ opcode: 5, prp1: 0x40000, dwords: [2 | (1 << 16), 1] });
  await from.driver.admin({ opcode: 1, prp1: 0x41000, dwords: [2 | (15 << 16), 1 | (2 << 16)] });
  from.ram.fill(0, 0x40000, 0x42000);
  for (let i = 0; i < 4; i++) from.ram[0x41000 + i * 64 + 4] = 1;
  await from.driver.set(0x1010, 4);
  const saved = from.machine.nvme.save();
  const to = await setUp();
  to.ram.set(from.ram);
  to.machine.nvme.load(saved);
  assert.deepEqual(to.machine.nvme.save(), saved);
  const { state } = to.machine.nvme;
  assert.deepEqual([state.eventRequests, state.writeCache, state.submission[2]!.head], [1, false, 1]);
  to.machine.memory.write(barBase + 0x1014, 4, 1);
  assert.equal(state.submission[2]!.head, 2);
  to.machine.memory.write(barBase + 0x1000 + 30 * 8, 4, 1);
  assert.equal(state.eventRequests, 0);
});

test('hostile states are refused, or work', async () => {
  const { machine, driver } = await setUp();
  await driver.run(1, { opcode: 0, namespace: 1 });
  const saved = machine.nvme.save();
  let taken = 0;
  for (let i = 0; i < 400; i++) {
    const bad = saved.slice();
    for (let k = random(6); k >= 0; k--) bad[random(bad.length)] = [0, 0xff, 1, 0x80, random(256)][random(5)]!;
    try {
      machine.nvme.load(bad);
      taken++;
    } catch (error) {
      assert.ok(error instanceof StateError, String(error));
      continue;
    }
    for (let k = 0; k < 20; k++) machine.memory.write(barBase + 0x1000 + random(130) * 4, 4, random(20));
    machine.nvme.load(machine.nvme.save());
  }
  assert.ok(taken > 20, String(taken));
});

test('any registers, commands and lists: nothing outside the disk, and the controller can be reset', async () => {
  const { machine, driver, drives, ram } = await setUp({ later: true, drives: 2 });
  const drain = () => {
    while (drives.some(({ later }) => later!.length > 0)) for (const each of drives) each.drain();
  };
  const { memory } = machine;
  const edges = [0, 1, 2, 15, 16, 0xff, 0xfff, 0x1000, 0x10000, 0x100008, 0x7ffff8, 0xfffffff0, 0xffffffff];
  const word = () => (random(2) === 0 ? edges[random(edges.length)]! : random(2 ** 32));
  for (let i = 0; i < 8000; i++) {
    const queue = random(3) === 0 ? 0 : 1;
    const at = 0x10000 + queue * 0x2000 + random(16) * 64;
    for (let k = 0; k < 16; k++) memory.dma.writeU32(at + k * 4, random(2) === 0 ? 0 : word());
    ram[at] = [0, 1, 2, 4, 5, 6, 8, 9, 0x0a, 0x0c, random(256)][random(11)]!;
    ram[at + 1] = random(4) === 0 ? random(256) : random(2) << 6;
    if (random(3) > 0) memory.dma.writeU32(at + 4, random(4));
    if (random(3) > 0) memory.dma.writeU64(at + 24, data + random(0x1000) * 8);
    if (random(3) > 0) memory.dma.writeU64(at + 32, data + random(0x1000) * 8);
    for (let k = 0; k < 4; k++)
      memory.dma.writeU64(data + random(0x1000) * 8, random(2) === 0 ? word() : data + random(0x800) * 0x1000);
    memory.write(barBase + 0x1000 + queue * 8, 4, random(16));
    if (random(3) === 0) memory.write(barBase + 0x1000 + random(8) * 4, 4, random(20));
    if (random(4) === 0) drives[random(2)]!.runLater();
    if (random(30) === 0) memory.write(barBase + random(0x40), ([1, 2, 4] as const)[random(3)]!, word() & 0xff);
    if (random(60) === 0 || (memory.read(barBase + 0x1c, 4) & 3) !== 1) {
      memory.write(barBase + 0x14, 4, 0);
      drain();
      machine.nvme.function.setCommand(6);
      await driver.enable();
      await driver.createPair(1);
    }
  }
  drain();
  assert.equal(machine.nvme.pendingRequests, 0);
});
