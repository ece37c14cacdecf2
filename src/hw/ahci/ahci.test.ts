import assert from 'node:assert/strict';
import test from 'node:test';
import { StateError } from '../../schema/index.js';
import type { AtaDrive } from '../ata/index.js';
import { MemoryDrive } from '../disk/testing.js';
import { fuzzAccesses, seededRandom } from '../testing.js';
import {
  AhciDriver,
  type AhciMachine,
  accessOf,
  ahciMachine,
  hbaBase,
  px,
  ramBytes,
  sataCd,
  sataDisk,
} from './testing.js';

const MiB = 1 << 20;
const data = 0x100000;
const pattern = (bytes: number, seed = 1) =>
  Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + (i >> 9) * seed) & 0xff);
const code = { readDma: 0x25, writeDma: 0x35 } as const;

async function started(drives: readonly (AtaDrive | undefined)[], port = 0) {
  const machine = ahciMachine(drives);
  const driver = new AhciDriver(accessOf(machine), port);
  await driver.place();
  await driver.start();
  await driver.set(px.interrupt, 0xffffffff);
  return { machine, driver };
}

async function disk(
  content: number | Uint8Array = pattern(MiB),
  options: ConstructorParameters<typeof MemoryDrive>[1] = {},
) {
  const backend = new MemoryDrive(content, options);
  return { backend, ...(await started([sataDisk(backend)])) };
}

async function cd(content: Uint8Array) {
  const backend = new MemoryDrive(content, { readonly: true });
  return { backend, ...(await started([undefined, sataCd(backend)], 1)) };
}

const at = (machine: AhciMachine, gpa: number, bytes: number) => machine.ram.slice(gpa, gpa + bytes);
/** Interrupt status, PxTFD, PxCI, PxSACT. */
const outcome = async (driver: AhciDriver) => [
  await driver.get(px.interrupt),
  await driver.get(px.taskFile),
  await driver.get(px.issued),
  await driver.get(px.active),
];

test('a drive tells its signature when FISes are received, and after COMRESET and the software reset', async () => {
  const machine = ahciMachine([sataDisk(new MemoryDrive(MiB)), sataCd(new MemoryDrive(MiB, { readonly: true }))]);
  for (const [port, signature] of [
    [0, 0x101],
    [1, 0xeb140101],
  ] as const) {
    const driver = new AhciDriver(accessOf(machine), port);
    await driver.place();
    assert.deepEqual([await driver.get(px.signature), await driver.get(px.taskFile)], [0xffffffff, 0x7f]);
    await driver.start();
    assert.deepEqual([await driver.get(px.signature), await driver.get(px.taskFile)], [signature, 0x150]);
    await driver.set(px.linkControl, 1);
    await driver.set(px.linkControl, 0);
    assert.deepEqual([await driver.get(px.signature), await driver.get(px.interrupt)], [signature, 1]);
    await driver.set(px.interrupt, 1);
    await driver.control(4);
    assert.deepEqual(await outcome(driver), [0, 0x150, 0, 0]);
    await driver.control(0);
    assert.deepEqual(await outcome(driver), [1, 0x150, 0, 0]);
    assert.equal((await driver.received(0x40, 20))[0], 0x34);
  }
  const empty = new AhciDriver(accessOf(machine), 2);
  await empty.start();
  await empty.issue(0, { code: 0xec, pieces: [[data, 512]] });
  assert.deepEqual([await empty.get(px.link), ...(await outcome(empty))], [0, 0, 0x7f, 1, 0]);
});

test('a table of 300 descriptors: neighbours, gaps, and the last one with more room than is needed', async () => {
  const content = pattern(MiB, 5);
  const { driver, machine } = await disk(content);
  // Two of three touch each other; the third is a page away.
  const pieces = Array.from({ length: 300 }, (_, i): [number, number] => [
    data + Math.floor(i / 3) * 0x1000 + [0, 1024, 2560][i % 3]!,
    i === 299 ? 4096 : [1024, 512, 512][i % 3]!,
  ]);
  await driver.issue(0, { code: code.readDma, lba: 7, count: 400, pieces });
  assert.deepEqual([await driver.byteCount(), ...(await outcome(driver))], [400 * 512, 1, 0x50, 0, 0]);
  let from = 7 * 512;
  for (const [gpa, room] of pieces) {
    const length = Math.min(room, 407 * 512 - from);
    assert.deepEqual(Buffer.from(at(machine, gpa, length)), Buffer.from(content.subarray(from, from + length)));
    from += length;
  }
  assert.equal(from, 407 * 512);
  const [lastGpa] = pieces[299]!;
  assert.deepEqual(at(machine, lastGpa + 512, 512), new Uint8Array(512));
  // What was read is published, to the byte.
  const told = new Uint8Array(ramBytes);
  for (const [gpa, length] of machine.published) told.fill(1, gpa, gpa + length);
  assert.ok(
    pieces.slice(0, 299).every(([gpa, length]) => told.subarray(gpa, gpa + length).every((byte) => byte === 1)),
  );
  assert.deepEqual([told[data + 1536], told[lastGpa + 511], told[lastGpa + 512]], [0, 1, 0]);
});

test('a descriptor that is not in memory, after those that are, halts the port', async () => {
  const { driver } = await disk();
  const pieces = Array.from({ length: 258 }, (_, i): [number, number] => [data + i * 1024, 512]);
  pieces[257] = [0x8000_0000, 512];
  await driver.issue(0, { code: code.readDma, lba: 0, count: 258, pieces });
  assert.deepEqual(await outcome(driver), [0x2000_0000, 0x80 | 0x50, 1, 0]);
  await driver.restart();
  await driver.issue(0, { code: code.readDma, lba: 0, count: 257, pieces });
  assert.deepEqual(await outcome(driver), [1, 0x50, 0, 0]);
});

test('DMA goes to the pieces of the table, and its end is told', async () => {
  const content = pattern(MiB, 3);
  const { driver, machine, backend } = await disk(content);
  await driver.issue(3, {
    code: code.readDma,
    lba: 5,
    count: 4,
    pieces: [
      [data + 0x1002, 6],
      [data + 0x2000, 1500],
      [data + 0x3000, 542],
    ],
    interrupts: true,
  });
  const got = [at(machine, data + 0x1002, 6), at(machine, data + 0x2000, 1500), at(machine, data + 0x3000, 542)];
  assert.deepEqual(Buffer.concat(got), Buffer.from(content.subarray(5 * 512, 9 * 512)));
  assert.deepEqual([await driver.byteCount(3), ...(await outcome(driver))], [2048, 0x21, 0x50, 0, 0]);
  assert.ok(machine.published.some(([gpa, length]) => gpa === data + 0x2000 && length === 1500));
  machine.ram.fill(0x5a, data, data + 1024);
  await driver.issue(0, { code: code.writeDma, lba: 100, count: 2, pieces: [[data, 1024]], write: true });
  assert.deepEqual(
    Buffer.from(backend.bytes.subarray(99 * 512, 103 * 512)),
    Buffer.concat([
      content.subarray(99 * 512, 100 * 512),
      Buffer.alloc(1024, 0x5a),
      content.subarray(102 * 512, 103 * 512),
    ]),
  );
  // LBA 9 of four sectors from 5 on, and none left.
  await driver.issue(0, { code: 0x24, lba: 5, count: 4, pieces: [[data, 2048]] });
  assert.deepEqual(at(machine, data, 2048), content.subarray(5 * 512, 9 * 512));
  assert.deepEqual(
    (await driver.received(0x20, 20)).slice(0, 14),
    [0x5f, 0x40, 0x58, 0, 9, 0, 0, 0x40, 0, 0, 0, 0, 0, 0],
  );
});

test('the interrupt line follows what is pending and enabled; a message is sent for each event', async () => {
  const { driver, machine } = await disk();
  const global = (offset: number, value: number) => driver.access.write(hbaBase + offset, 4, value);
  await driver.set(px.enable, 1);
  await driver.issue(0, { code: 0xe7 });
  assert.equal(machine.line.level, false);
  await global(4, 2);
  assert.deepEqual([machine.line.level, await driver.access.read(hbaBase + 8, 4)], [true, 1]);
  await global(8, 1);
  assert.equal(machine.line.level, true);
  await driver.set(px.interrupt, 1);
  assert.equal(machine.line.level, true);
  await global(8, 1);
  assert.equal(machine.line.level, false);
  await driver.setConfig(0x84, 0xfee00000);
  await driver.setConfig(0x8c, 0x4041);
  await driver.setConfig(0x80, 0x10000);
  for (let i = 0; i < 2; i++) await driver.issue(0, { code: 0xe7 });
  assert.deepEqual([machine.line.level, machine.messages], [false, [0x4041, 0x4041]]);
});

test('queued commands end in whatever order, each told by its tag', async () => {
  const content = pattern(MiB, 5);
  const { driver, machine, backend } = await disk(content, { later: true });
  machine.ram.fill(0x11, data + 0x8000, data + 0x8000 + 512);
  await driver.queued(2, { lba: 8, sectors: 4, pieces: [[data, 2048]] });
  await driver.queued(31, { lba: 64, sectors: 1, pieces: [[data + 0x4000, 512]] });
  await driver.queued(0, { lba: 200, sectors: 1, pieces: [[data + 0x8000, 512]], write: true, device: 0xc0 });
  assert.deepEqual(await outcome(driver), [0, 0x50, 0, 0x80000005]);
  // A flush is not queued: it waits.
  await driver.issue(5, { code: 0xea });
  assert.deepEqual(backend.log, ['read 4096+2048', 'read 32768+512', 'write 102400+512']);
  backend.later?.splice(1, 1)[0]?.();
  assert.deepEqual(await outcome(driver), [8, 0x50, 0x20, 5]);
  assert.deepEqual(await driver.received(0x58, 8), [0xa1, 0x40, 0x50, 0, 0, 0, 0, 0x80]);
  backend.runLater();
  assert.deepEqual([await driver.get(px.active), backend.log.at(-1)], [1, 'flush']);
  backend.runLater();
  assert.deepEqual([await driver.get(px.active), await driver.get(px.issued)], [0, 0x20]);
  backend.runLater();
  assert.deepEqual(await outcome(driver), [9, 0x50, 0, 0]);
  assert.equal(backend.log.filter((line) => line === 'flush').length, 2, 'one for the forced write, one by itself');
  assert.deepEqual(at(machine, data, 2048), content.subarray(8 * 512, 12 * 512));
  assert.deepEqual(backend.bytes.subarray(200 * 512, 201 * 512), new Uint8Array(512).fill(0x11));
});

test('a queued command fails: the port halts, the log tells which, the drive refuses all until it is read', async () => {
  const { driver, machine, backend } = await disk(pattern(MiB), { later: true });
  backend.failures.push('io');
  await driver.queued(7, { lba: 0x123, sectors: 1, pieces: [[data, 512]] });
  await driver.queued(8, { lba: 9, sectors: 1, pieces: [[data, 512]] });
  backend.runLater();
  assert.deepEqual(await outcome(driver), [0x40000000, 0x441, 0, 0x180]);
  await driver.issue(1, { code: 0xe7 });
  assert.equal(await driver.get(px.issued), 2, 'nothing is fetched');
  await driver.restart();
  assert.deepEqual(await outcome(driver), [0, 0x441, 0, 0]);
  await driver.issue(0, { code: 0xec, pieces: [[data, 512]] });
  assert.deepEqual(await outcome(driver), [0x40000001, 0x441, 1, 0]);
  await driver.restart();
  await driver.issue(0, { code: 0x2f, lba: 0x10, count: 1, pieces: [[data, 512]] });
  assert.deepEqual(await outcome(driver), [3, 0x50, 0, 0]);
  const page = at(machine, data, 512);
  assert.deepEqual([...page.subarray(0, 14)], [7, 0, 0x41, 4, 0x23, 1, 0, 0x40, 0, 0, 0, 0, 0x38, 0]);
  assert.equal(page.reduce((sum, byte) => sum + byte, 0) & 0xff, 0);
  await driver.queued(8, { lba: 9, sectors: 1, pieces: [[data, 512]] });
  backend.runLater();
  assert.equal(await driver.get(px.active), 0);
  // Beyond the end; a tag that is another slot's; a drive that is no disk.
  await driver.queued(3, { lba: 2048, sectors: 1, pieces: [[data, 512]] });
  assert.deepEqual((await outcome(driver)).slice(1), [0x441, 0, 8]);
});

test('a failure of a command ends it with its bit still set; the next one waits for the port to be started anew', async () => {
  const { driver, backend } = await disk(pattern(MiB), { readonly: true });
  await driver.issue(4, { code: code.writeDma, lba: 0, count: 1, pieces: [[data, 512]], write: true });
  assert.deepEqual(await outcome(driver), [0x40000001, 0x441, 0x10, 0]);
  await driver.issue(5, { code: 0xe7 });
  assert.deepEqual(await outcome(driver), [0x40000001, 0x441, 0x30, 0]);
  assert.deepEqual(backend.log, []);
  await driver.restart();
  await driver.issue(5, { code: 0xe7 });
  assert.deepEqual(await outcome(driver), [1, 0x50, 0, 0]);
});

test('tables that are too short, not in memory, or of no list at all', async () => {
  const { driver, backend } = await disk();
  await driver.issue(0, { code: code.readDma, lba: 0, count: 4, pieces: [[data, 1024]] });
  assert.deepEqual([await driver.get(px.interrupt), await driver.get(px.issued)], [0x1000000, 1]);
  await driver.restart();
  await driver.issue(0, { code: code.readDma, lba: 0, count: 4, pieces: [[ramBytes - 512, 2048]] });
  assert.equal(await driver.get(px.interrupt), 0x20000000);
  await driver.restart();
  await driver.set(px.list, 0xf0000000);
  await driver.set(px.issued, 1);
  assert.equal(await driver.get(px.interrupt), 0x20000000);
  assert.deepEqual(backend.log, []);
  // Without the right to master the bus nothing is fetched until it is given.
  await driver.restart();
  await driver.start();
  await driver.setConfig(4, 2);
  await driver.issue(0, { code: 0xe7 });
  assert.equal(await driver.get(px.issued), 1);
  await driver.setConfig(4, 6);
  assert.equal(await driver.get(px.issued), 0);
});

test('discard by DATA SET MANAGEMENT, and flush', async () => {
  const { driver, machine, backend } = await disk();
  const ranges = new DataView(machine.ram.buffer, machine.ram.byteOffset + data, 512);
  ranges.setUint32(0, 16, true);
  ranges.setUint16(6, 8, true);
  ranges.setUint32(8, 100, true);
  ranges.setUint16(14, 4, true);
  await driver.issue(0, { code: 0x06, feature: 1, count: 1, pieces: [[data, 512]], write: true });
  await driver.issue(0, { code: 0xea });
  assert.deepEqual(backend.log, ['discard 8192+4096', 'discard 51200+2048', 'flush']);
  assert.deepEqual(await outcome(driver), [1, 0x50, 0, 0]);
});

test('packets: by PIO and DMA, raw blocks, and what cannot be done', async () => {
  const content = pattern(64 * 2048, 9);
  const { driver, machine, backend } = await cd(content);
  await driver.issue(0, { code: 0xa0, feature: 1, packet: [0x28, 0, 0, 0, 0, 5, 0, 0, 3], pieces: [[data, 6144]] });
  assert.deepEqual(at(machine, data, 6144), content.subarray(5 * 2048, 8 * 2048));
  assert.deepEqual([await driver.byteCount(), ...(await outcome(driver))], [6144, 1, 0x50, 0, 0]);
  await driver.set(px.interrupt, 0xffffffff);
  await driver.issue(0, { code: 0xa0, packet: [0x12, 0, 0, 0, 36], lba: 36 << 8, pieces: [[data, 36]] });
  assert.deepEqual([await driver.byteCount(), ...(await outcome(driver))], [36, 3, 0x50, 0, 0]);
  assert.equal(machine.ram[data], 5);
  const raw = [0xbe, 0, 0, 0, 0, 30, 0, 0, 30, 0xf8];
  await driver.issue(0, { code: 0xa0, feature: 1, packet: raw, pieces: [[data, 30 * 2352]] });
  for (let i = 0; i < 30; i++)
    assert.deepEqual(at(machine, data + i * 2352 + 16, 2048), content.subarray((30 + i) * 2048, (31 + i) * 2048));
  await driver.set(px.interrupt, 0xffffffff);
  backend.failures.push('io');
  await driver.issue(0, { code: 0xa0, feature: 1, packet: [0x28, 0, 0, 0, 0, 5, 0, 0, 3], pieces: [[data, 6144]] });
  assert.deepEqual(await outcome(driver), [0x40000001, 0x3041, 1, 0]);
  await driver.restart();
  await driver.issue(0, { code: 0xa0, packet: [3, 0, 0, 0, 18], lba: 18 << 8, pieces: [[data, 18]] });
  assert.deepEqual([machine.ram[data + 2], machine.ram[data + 12]], [3, 0x11]);
  // No byte count, and none of the disk's commands.
  await driver.issue(0, { code: 0xa0, packet: [0x12, 0, 0, 0, 36], pieces: [[data, 36]] });
  assert.equal(await driver.get(px.taskFile), 0x441);
  await driver.restart();
  await driver.queued(0, { lba: 0, sectors: 1, pieces: [[data, 512]] });
  assert.equal(await driver.get(px.taskFile), 0x441);
});

test('what is under way when the state is saved goes on where it is loaded', async () => {
  const content = pattern(MiB, 11);
  const make = () => {
    const backends = [
      new MemoryDrive(content.slice(), { later: true }),
      new MemoryDrive(content, { readonly: true, later: true }),
    ];
    const machine = ahciMachine([sataDisk(backends[0]!), sataCd(backends[1]!)]);
    return { machine, backends, disk: new AhciDriver(accessOf(machine)), cd: new AhciDriver(accessOf(machine), 1) };
  };
  for (const queued of [true, false]) {
    const from = make();
    for (const driver of [from.disk, from.cd]) {
      await driver.place();
      await driver.start();
      await driver.set(px.interrupt, 0xffffffff);
    }
    from.machine.ram.fill(0x77, data + 0x2000, data + 0x2200);
    if (queued) {
      await from.disk.queued(4, { lba: 3, sectors: 2, pieces: [[data, 1024]] });
      await from.disk.queued(9, { lba: 30, sectors: 1, pieces: [[data + 0x2000, 512]], write: true });
    } else {
      const write = { code: code.writeDma, lba: 30, count: 1, pieces: [[data + 0x2000, 512]], write: true } as const;
      await from.disk.issue(9, write);
      await from.disk.issue(10, { code: code.readDma, lba: 3, count: 2, pieces: [[data, 1024]] });
    }
    const read = {
      code: 0xa0,
      feature: 1,
      packet: [0x28, 0, 0, 0, 0, 5, 0, 0, 1],
      pieces: [[data + 0x4000, 2048]],
    } as const;
    await from.cd.issue(0, read);
    const to = make();
    to.machine.ram.set(from.machine.ram);
    to.machine.hba.load(from.machine.hba.save());
    // What ends in the old machine is nothing to the new one.
    for (const backend of from.backends) backend.drain();
    for (const backend of to.backends) backend.drain();
    assert.deepEqual(at(to.machine, data, 1024), content.subarray(3 * 512, 5 * 512));
    assert.equal(to.backends[0]!.bytes[30 * 512 + 100], 0x77);
    assert.deepEqual(at(to.machine, data + 0x4000, 2048), content.subarray(5 * 2048, 6 * 2048));
    assert.deepEqual(await outcome(to.disk), [queued ? 8 : 1, 0x50, 0, 0]);
    assert.deepEqual(await outcome(to.cd), [1, 0x50, 0, 0]);
  }
});

test('a reset in mid-transfer leaves nothing under way', async () => {
  for (const reset of ['link', 'port', 'adapter', 'power'] as const) {
    const { driver, machine, backend } = await disk(pattern(MiB), { later: true });
    await driver.queued(0, { lba: 0, sectors: 1, pieces: [[data, 512]] });
    await driver.queued(1, { lba: 8, sectors: 1, pieces: [[data, 512]] });
    if (reset === 'link') {
      await driver.set(px.linkControl, 1);
      await driver.set(px.linkControl, 0);
    } else if (reset === 'port') await driver.set(px.command, 0x10);
    else if (reset === 'adapter') await driver.access.write(hbaBase + 4, 4, 1);
    else machine.hba.reset();
    assert.equal(backend.later?.length, 0, reset);
    if (reset === 'power') await driver.place();
    assert.deepEqual([await driver.get(px.active), await driver.get(px.issued)], [0, 0], reset);
    await driver.start();
    await driver.issue(2, { code: code.readDma, lba: 0, count: 1, pieces: [[data, 512]] });
    backend.runLater();
    assert.deepEqual([await driver.get(px.taskFile), await driver.get(px.issued)], [0x50, 0], reset);
  }
});

test('random accesses, failures and saved states: no throw, no hang, nothing outside the disk', async () => {
  const next = seededRandom(99);
  const codes = [
    0x60, 0x61, 0x60, 0x61, 0x25, 0x35, 0x24, 0x34, 0x29, 0xc5, 0x06, 0xa0, 0xb0, 0xec, 0xef, 0x2f, 0xea, 0x90, 0x08,
  ];
  let loaded = 0;
  for (let round = 0; round < 120; round++) {
    const make = () => {
      const backends = [
        new MemoryDrive(4096 * 512, { later: next(2) === 0 }),
        new MemoryDrive(64 * 2048, { readonly: true, later: next(2) === 0 }),
      ];
      const machine = ahciMachine([sataDisk(backends[0]!), sataCd(backends[1]!)]);
      return { machine, backends };
    };
    const { machine, backends } = make();
    const { memory } = machine;
    const drivers = [new AhciDriver(accessOf(machine), 0), new AhciDriver(accessOf(machine), 1)];
    await drivers[0]!.place();
    const window = 0x100 + 3 * 0x80;
    const access = {
      read: (offset: number, size: 1 | 2 | 4) => memory.read(hbaBase + offset, size),
      write: (offset: number, size: 1 | 2 | 4, value: number) => memory.write(hbaBase + offset, size, value),
    };
    for (let step = 0; step < 40; step++) {
      const driver = drivers[next(2)]!;
      if (next(3) === 0) await driver.start();
      await driver.prepare(next(32), {
        code: codes[next(codes.length)]!,
        lba: next(3) === 0 ? next(2 ** 32) : next(4200),
        count: next(4) === 0 ? next(0x10000) : next(32) << 3,
        feature: next(8),
        pieces: Array.from(
          { length: next(4) },
          () => [next(ramBytes * 1.1), 1 + next(next(3) === 0 ? 1 << 22 : 8192)] as const,
        ),
        packet: Array.from({ length: 12 }, (_, i) =>
          i === 0 ? [0x28, 0xa8, 0xbe, 0x12, 3, 0x43][next(6)]! : next(next(2) === 0 ? 256 : 4),
        ),
      });
      await driver.set(px.active, next(2 ** 32));
      await driver.set(px.issued, next(2 ** 32));
      fuzzAccesses(next, 6, window, access);
      if (next(3) === 0) for (const backend of backends) backend.runLater();
      if (next(4) === 0) backends[next(2)]!.failures.push('io');
      machine.hba.function.setCommand(6);
    }
    const saved = machine.hba.save();
    for (let k = next(4); k > 0; k--) saved[next(saved.length)] = next(256);
    const other = make();
    other.machine.ram.set(machine.ram);
    try {
      other.machine.hba.load(saved);
      loaded++;
    } catch (problem) {
      assert.ok(problem instanceof StateError, String(problem));
      continue;
    }
    for (const backend of other.backends) backend.drain();
    other.machine.hba.load(other.machine.hba.save());
  }
  assert.ok(loaded > 30, `${loaded} of 120 were loadable`);
});
