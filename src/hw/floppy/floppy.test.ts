import assert from 'node:assert/strict';
import test from 'node:test';
import { StateError } from '../../schema/index.js';
import { MemoryDrive } from '../disk/testing.js';
import { fuzzAccesses, seededRandom } from '../testing.js';
import { FloppyDrive } from './floppy-drive.js';
import { type FloppyKind, floppyFormat, floppyFormats, formatBytes, kindFor } from './floppy-format.js';
import { floppyMachine } from './testing.js';

const content = (bytes: number) => Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + (i >> 9) * 13) & 0xff);
const disk144 = (options: { readonly?: boolean; later?: boolean } = {}) => new MemoryDrive(content(1474560), options);
const sectorOf = (bytes: Uint8Array, lba: number, count = 1) => bytes.subarray(lba * 512, (lba + count) * 512);

async function started(backend: MemoryDrive, kind?: FloppyKind) {
  const machine = floppyMachine([new FloppyDrive({ backend, kind }), undefined]);
  await machine.driver.reset();
  return { ...machine, backend };
}

test('reset interrupts, and answers for each of four drives', async () => {
  const { driver, irq, ports } = floppyMachine([new FloppyDrive({ backend: disk144() }), undefined]);
  assert.equal(irq.level, false);
  ports.write(0x3f2, 1, 0);
  assert.equal(await driver.status(), 0, 'held in reset');
  ports.write(0x3f2, 1, 0x0c);
  assert.equal(irq.level, true);
  for (let i = 0; i < 4; i++) assert.deepEqual(await driver.command(8), [0xc0 + i, 0]);
  assert.equal(irq.level, false);
  assert.deepEqual(await driver.command(8), [0x80], 'nothing more to say');
  assert.equal(await driver.status(), 0x80);
});

test('what the chip is', async () => {
  const { driver } = await started(disk144());
  assert.deepEqual(await driver.command(0x10), [0x90]);
  assert.deepEqual(await driver.command(0x18), [0x41]);
  assert.deepEqual(await driver.command(0x94), [0x10], 'locked');
  assert.deepEqual(await driver.command(0x14), [0]);
  await driver.send(0x03, 0xaf, 0x02);
  await driver.send(0x13, 0, 0x57, 0x20);
  await driver.send(0x12, 0x86);
  assert.deepEqual(await driver.command(0x0e), [0, 0, 0, 0, 0xaf, 2, 0, 0x06, 0x57, 0x20]);
  for (const code of [0x00, 0x01, 0x0b, 0x1f, 0xff]) assert.deepEqual(await driver.command(code), [0x80]);
  const saved = await driver.command(0x2e);
  assert.equal(saved.length, 16);
  await driver.send(0x03, 0x11, 0x22);
  await driver.send(0x4e, ...saved);
  assert.deepEqual((await driver.command(0x0e)).slice(4, 6), [0xaf, 2], 'restored');
});

test('seek, recalibrate, the change line, sense drive status', async () => {
  const { driver, ports, irq, fdc } = await started(disk144());
  const changed = () => ports.read(0x3f7, 1);
  assert.equal(changed(), 0x80, 'as after power-on');
  assert.deepEqual(await driver.command(0x04, 0x04), [0x3c]);
  await driver.send(0x0f, 0, 33);
  assert.equal(irq.level, true);
  assert.deepEqual(await driver.command(8), [0x20, 33]);
  assert.equal(irq.level, false);
  assert.equal(changed(), 0, 'a step clears it');
  assert.deepEqual(await driver.command(0x04, 0), [0x28]);
  await driver.send(0xcf, 0, 5);
  assert.deepEqual(await driver.command(8), [0x20, 38], 'inwards');
  await driver.send(0x8f, 0, 40);
  assert.deepEqual(await driver.command(8), [0x20, 0], 'outwards, as far as it goes');
  await driver.send(0x07, 0);
  assert.deepEqual(await driver.command(8), [0x20, 0]);
  await driver.send(0x07, 1);
  assert.deepEqual(await driver.command(8), [0x71, 0], 'there is no second drive');
  fdc.driveAt(0)!.mediumChanged();
  assert.equal(changed(), 0x80);
});

test('reading by DMA: a sector, several, both heads, and what ends it', async () => {
  const { driver, ram, backend, irq } = await started(disk144());
  await driver.seek(0, 2);
  await driver.setDma(0x46, 0x20000, 512);
  await driver.send(0xe6, 0, 2, 0, 3, 2, 18, 0x1b, 0xff);
  assert.equal(irq.level, true);
  assert.deepEqual(await driver.result(), [0, 0, 0, 2, 0, 4, 2]);
  assert.equal(irq.level, false);
  assert.deepEqual(ram.subarray(0x20000, 0x20200), sectorOf(backend.bytes, 74));
  assert.equal((await driver.ports.in(8)) & 0x44, 4, 'terminal count of channel 2');
  // 17 and 18 of head 0, 1 to 18 of head 1: the cylinder's end and terminal count come together.
  await driver.setDma(0x46, 0x30000, 20 * 512);
  assert.deepEqual(await driver.command(0xe6, 0, 2, 0, 17, 2, 18, 0x1b, 0xff), [0, 0, 0, 3, 0, 1, 2]);
  assert.deepEqual(ram.subarray(0x30000, 0x30000 + 20 * 512), sectorOf(backend.bytes, 88, 20));
  // Terminal count within a sector.
  await driver.setDma(0x46, 0x40000, 700);
  assert.deepEqual(await driver.command(0x66, 4, 2, 1, 1, 2, 18, 0x1b, 0xff), [4, 0, 0, 2, 1, 3, 2]);
  assert.deepEqual(ram.subarray(0x40000, 0x40000 + 700), backend.bytes.subarray(90 * 512, 90 * 512 + 700));
  assert.equal(ram[0x40000 + 700], 0);
  // No terminal count: the end of the cylinder is met.
  await driver.setDma(0x46, 0x40000, 4096);
  assert.deepEqual(await driver.command(0x66, 0, 2, 0, 18, 2, 18, 0x1b, 0xff), [0x40, 0x80, 0, 3, 0, 1, 2]);
});

test('a transfer waits for its channel to be opened', async () => {
  const { driver, ports, ram, backend, irq } = await started(disk144());
  await driver.setDma(0x46, 0x20000, 512);
  ports.write(0x0a, 1, 6);
  await driver.send(0xe6, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
  assert.deepEqual([irq.level, await driver.status()], [false, 0x10]);
  assert.equal(ports.read(8, 1) & 0x40, 0x40, 'it is asked for');
  ports.write(0x0a, 1, 2);
  assert.equal(irq.level, true);
  assert.deepEqual(await driver.result(), [0, 0, 0, 0, 0, 2, 2]);
  assert.deepEqual(ram.subarray(0x20000, 0x20200), sectorOf(backend.bytes, 0));
});

test('writing by DMA, and what is left of the last sector', async () => {
  const { driver, ram, backend } = await started(disk144());
  ram.set(content(1200).reverse(), 0x20000);
  await driver.setDma(0x4a, 0x20000, 1200);
  assert.deepEqual(await driver.command(0xc5, 0, 0, 0, 18, 2, 18, 0x1b, 0xff), [4, 0, 0, 0, 1, 3, 2]);
  assert.deepEqual(backend.bytes.subarray(17 * 512, 17 * 512 + 1200), ram.subarray(0x20000, 0x20000 + 1200));
  assert.ok(backend.bytes.subarray(17 * 512 + 1200, 20 * 512).every((byte) => byte === 0));
  assert.deepEqual(sectorOf(backend.bytes, 20), sectorOf(content(1474560), 20));
});

test('without DMA: a byte at a time, an interrupt for each sector', async () => {
  const { driver, ports, irq, backend } = await started(disk144());
  await driver.send(0x03, 0xaf, 0x03);
  await driver.send(0x66, 0, 0, 0, 1, 2, 2, 0x1b, 0xff);
  const got: number[] = [];
  for (let i = 0; i < 1024; i++) {
    assert.equal(await driver.status(), 0xf0);
    assert.equal(irq.level, true);
    got.push(ports.read(0x3f5, 1));
  }
  assert.deepEqual(Uint8Array.from(got), sectorOf(backend.bytes, 0, 2));
  assert.deepEqual(await driver.result(), [0, 0, 0, 0, 0, 2, 2]);
  await driver.send(0x45, 0, 0, 0, 5, 2, 5, 0x1b, 0xff);
  for (let i = 0; i < 512; i++) {
    assert.equal(await driver.status(), 0xb0);
    ports.write(0x3f5, 1, i & 0xff);
  }
  assert.deepEqual(await driver.result(), [0, 0, 0, 0, 0, 5, 2]);
  assert.deepEqual(
    sectorOf(backend.bytes, 4),
    Uint8Array.from({ length: 512 }, (_, i) => i & 0xff),
  );
});

test('verify, read track, read ID, deleted marks', async () => {
  const { driver, backend, ram } = await started(disk144());
  assert.deepEqual(await driver.command(0x56, 0, 0, 0, 1, 2, 18, 0x1b, 0xff), [0, 0, 0, 1, 0, 1, 2]);
  assert.deepEqual(await driver.command(0x56, 0x80, 0, 0, 3, 2, 18, 0x1b, 4), [0, 0, 0, 0, 0, 7, 2], 'counted');
  assert.deepEqual(await driver.command(0x56, 0, 0, 0, 17, 2, 19, 0x1b, 0xff), [0x40, 4, 0, 0, 0, 19, 2]);
  await driver.setDma(0x46, 0x20000, 18 * 512);
  assert.deepEqual((await driver.command(0x42, 4, 0, 1, 7, 2, 18, 0x1b, 0xff)).slice(0, 3), [4, 0, 0]);
  assert.deepEqual(ram.subarray(0x20000, 0x20000 + 18 * 512), sectorOf(backend.bytes, 18, 18));
  const first = await driver.command(0x4a, 4);
  const second = await driver.command(0x4a, 4);
  assert.deepEqual(first.slice(0, 5), [4, 0, 0, 0, 1]);
  assert.equal(second[5], (first[5]! % 18) + 1, 'the next that comes by');
  await driver.setDma(0x46, 0x20000, 1024);
  assert.deepEqual((await driver.command(0x4c, 0, 0, 0, 1, 2, 18, 0x1b, 0xff)).slice(0, 3), [0, 0, 0x40]);
  assert.deepEqual((await driver.command(0x6c, 0, 0, 0, 1, 2, 18, 0x1b, 0xff)).slice(0, 3), [0x40, 4, 0]);
});

test('scans', async () => {
  const { driver, ram, backend } = await started(disk144());
  backend.bytes.fill(5, 0, 18 * 512);
  backend.bytes.fill(9, 3 * 512, 4 * 512);
  const scan = async (code: number, value: number, options: { from?: number; step?: number; odd?: number } = {}) => {
    ram.fill(value, 0x20000, 0x22400);
    if (options.odd !== undefined) ram[0x20000 + 100] = options.odd;
    await driver.setDma(0x4a, 0x20000, 0x2400);
    const [a, b, c, , , r] = await driver.command(code, 0, 0, 0, options.from ?? 1, 2, 18, 0x1b, options.step ?? 1);
    return [a, b, c, r];
  };
  assert.deepEqual(await scan(0x51, 9), [0, 0, 8, 4], 'equal');
  assert.deepEqual(await scan(0x51, 9, { step: 2 }), [0, 0, 4, 1], 'steps over it');
  assert.deepEqual(await scan(0x51, 9, { from: 2, step: 2 }), [0, 0, 8, 4]);
  assert.deepEqual(await scan(0x51, 5, { odd: 0xff }), [0, 0, 8, 1], 'FFh fits all');
  assert.deepEqual(await scan(0x59, 6), [0, 0, 0, 1], 'lower');
  assert.deepEqual(await scan(0x59, 4), [0, 0, 4, 1], 'none is lower or equal');
  assert.deepEqual(await scan(0x5d, 6), [0, 0, 0, 4], 'higher');
  assert.deepEqual(await scan(0x5d, 9), [0, 0, 8, 4], 'equal is enough');
});

test('format fills the sectors that the headers name', async () => {
  const { driver, ram, backend } = await started(disk144());
  await driver.seek(0, 10);
  const headers = (...change: [number, number][]) => {
    for (let i = 0; i < 18; i++) ram.set([10, 1, ((i * 5) % 18) + 1, 2], 0x20000 + 4 * i);
    for (const [at, value] of change) ram[0x20000 + at] = value;
  };
  headers();
  await driver.setDma(0x4a, 0x20000, 72);
  assert.deepEqual((await driver.command(0x4d, 4, 2, 18, 0x6c, 0xe5)).slice(0, 3), [4, 0, 0]);
  assert.ok(sectorOf(backend.bytes, 378, 18).every((byte) => byte === 0xe5));
  assert.deepEqual(sectorOf(backend.bytes, 396), sectorOf(content(1474560), 396));
  for (const change of [
    [0, 11],
    [3, 3],
    [2, 19],
  ] as [number, number][]) {
    headers(change);
    await driver.setDma(0x4a, 0x20000, 72);
    assert.deepEqual((await driver.command(0x4d, 4, 2, 18, 0x6c, 0xf6)).slice(0, 3), [0x44, 4, 0], String(change));
  }
});

test('what cannot be done: wrong rate, no disk, write protection, seeks, errors of the medium', async () => {
  const { driver, ports, backend } = await started(disk144());
  await driver.send(0x13, 0, 0x10, 0);
  const read = (...bytes: number[]) => driver.command(0x46, ...bytes, 0x1b, 0xff);
  ports.write(0x3f7, 1, 2);
  assert.deepEqual((await read(0, 0, 0, 1, 2, 18)).slice(0, 3), [0x40, 1, 0], 'the rate of double density');
  assert.deepEqual((await driver.command(0x4a, 0)).slice(0, 3), [0x40, 1, 0]);
  ports.write(0x3f7, 1, 0);
  assert.deepEqual((await read(0, 5, 0, 1, 2, 18)).slice(0, 3), [0x40, 4, 0x10], 'the heads are elsewhere');
  assert.deepEqual((await read(0, 0, 0, 19, 2, 19)).slice(0, 3), [0x40, 4, 0], 'no such sector');
  assert.deepEqual((await read(0, 0, 0, 1, 3, 18)).slice(0, 3), [0x40, 4, 0], 'sectors of 1024 bytes');
  assert.deepEqual((await read(0, 0, 1, 1, 2, 18)).slice(0, 3), [0x40, 4, 0], "the other side's mark");
  assert.deepEqual((await read(1, 0, 0, 1, 2, 18)).slice(0, 3), [0x41, 0, 0], 'no such drive');
  await driver.send(0x13, 0, 0x50, 0);
  await driver.setDma(0x46, 0x20000, 512);
  assert.deepEqual(await read(0, 79, 0, 1, 2, 18), [0x20, 0, 0, 79, 0, 2, 2], 'an implied seek');
  backend.failures.push('io');
  await driver.setDma(0x46, 0x20000, 512);
  assert.deepEqual((await read(0, 79, 0, 1, 2, 18)).slice(0, 3), [0x40, 0x20, 0x20]);
  backend.inserted = false;
  assert.deepEqual((await read(0, 0, 0, 1, 2, 18)).slice(0, 3), [0x40, 0, 0], 'no disk');

  const locked = await started(disk144({ readonly: true }));
  assert.deepEqual(await locked.driver.command(0x04, 0), [0x78]);
  assert.deepEqual((await locked.driver.command(0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff)).slice(0, 3), [0x40, 2, 0]);
  assert.deepEqual((await locked.driver.command(0x4d, 0, 2, 18, 0x6c, 0)).slice(0, 3), [0x40, 2, 0]);
});

test('formats by their size, and drives that take them', async () => {
  for (const [kib, kind, rate] of [
    [160, '360', 2],
    [180, '360', 2],
    [320, '360', 2],
    [360, '360', 2],
    [720, '144', 2],
    [1200, '120', 0],
    [1440, '144', 0],
    [1680, '144', 0],
    [2880, '288', 3],
  ] as const) {
    const backend = new MemoryDrive(content(kib * 1024));
    const { driver, ports, ram, fdc } = await started(backend);
    const drive = fdc.driveAt(0)!;
    assert.equal(drive.kind, kind, `${kib} KiB`);
    const { cylinders, heads, sectors } = drive.format!;
    ports.write(0x3f7, 1, rate);
    await driver.setDma(0x46, 0x20000, 512);
    const [head, last] = [heads - 1, cylinders - 1];
    const result = await driver.command(0x46, head << 2, last, head, sectors, 2, sectors, 0x1b, 0xff);
    assert.deepEqual(result.slice(0, 3), [0x20 | (head << 2), 0, 0], `${kib} KiB`);
    assert.deepEqual(ram.subarray(0x20000, 0x20200), backend.bytes.subarray(-512));
  }
  for (const format of floppyFormats)
    assert.ok(floppyFormat(formatBytes(format), kindFor(format)), JSON.stringify(format));
});

test("an image of no disk's size is the beginning of the disk that its drive is made for", async () => {
  for (const [given, kind, rate, cylinders, sectors] of [
    [undefined, '288', 3, 80, 36],
    ['144', '144', 0, 80, 18],
    ['120', '120', 0, 80, 15],
    ['360', '360', 2, 40, 9],
  ] as const) {
    const { driver, ports, ram, fdc, backend } = await started(new MemoryDrive(content(512 * 5)), given);
    const drive = fdc.driveAt(0)!;
    assert.equal(drive.kind, kind);
    assert.deepEqual([drive.format!.cylinders, drive.format!.sectors], [cylinders, sectors]);
    ports.write(0x3f7, 1, rate);
    await driver.setDma(0x46, 0x20000, 512 * 7);
    ram.fill(0xee, 0x20000, 0x21000);
    const result = await driver.command(0x46, 0, 0, 0, 1, 2, 36, 0x1b, 0xff);
    assert.deepEqual(result, [0, 0, 0, 0, 0, 8, 2], kind);
    assert.deepEqual(ram.subarray(0x20000, 0x20a00), backend.bytes, kind);
    assert.ok(
      ram.subarray(0x20a00, 0x20e00).every((byte) => byte === 0),
      'zeros behind its end',
    );
    await driver.setDma(0x4a, 0x30000, 512);
    assert.equal((await driver.command(0x45, 0, 0, 0, 5, 2, sectors, 0x1b, 0xff))[0], 0);
    assert.deepEqual(backend.bytes.subarray(-512), ram.subarray(0x30000, 0x30200));
    await driver.setDma(0x4a, 0x30000, 512);
    const behind = await driver.command(0x45, 0, 0, 0, 6, 2, sectors, 0x1b, 0xff);
    assert.deepEqual(behind.slice(0, 3), [0x40, 0x20, 0x20], 'nothing is written there');
    await driver.send(0x0f, 0, cylinders - 1);
    await driver.command(8);
    await driver.setDma(0x46, 0x20000, 512);
    assert.equal((await driver.command(0x46, 4, cylinders - 1, 1, sectors, 2, sectors, 0x1b, 0xff))[0], 4);
  }
});

test('a disk of 40 cylinders in a drive of 80: two steps each', async () => {
  const { driver, ports, ram, backend } = await started(new MemoryDrive(content(368640)), '120');
  ports.write(0x3f7, 1, 1);
  await driver.send(0x13, 0, 0x10, 0);
  await driver.seek(0, 20);
  await driver.setDma(0x46, 0x20000, 512);
  assert.deepEqual((await driver.command(0x46, 0, 10, 0, 1, 2, 9, 0x1b, 0xff)).slice(0, 3), [0, 0, 0]);
  assert.deepEqual(ram.subarray(0x20000, 0x20200), sectorOf(backend.bytes, 180));
});

test('saved and loaded in the middle of a read, a write, a format and a result', async () => {
  const disk = () => disk144({ later: true });
  const cases: [string, number[], number, number][] = [
    ['read', [0xe6, 0, 0, 0, 17, 2, 18, 0x1b, 0xff], 0x46, 4 * 512],
    ['write', [0xc5, 0, 0, 0, 17, 2, 18, 0x1b, 0xff], 0x4a, 4 * 512],
    ['format', [0x4d, 0, 2, 18, 0x6c, 0x11], 0x4a, 72],
  ];
  for (const [name, command, mode, bytes] of cases) {
    for (let steps = 0; steps < 5; steps++) {
      const a = await started(disk());
      a.ram.set(content(4096), 0x20000);
      for (let i = 0; i < 18 && name === 'format'; i++) a.ram.set([0, 0, i + 1, 2], 0x20000 + 4 * i);
      await a.driver.setDma(mode, 0x20000, bytes);
      await a.driver.send(...command);
      for (let i = 0; i < steps; i++) a.backend.runLater();
      const b = floppyMachine([new FloppyDrive({ backend: a.backend }), undefined]);
      b.ram.set(a.ram);
      // Requests of the first machine end with it.
      a.backend.later!.splice(0);
      b.dma.load(a.dma.save());
      b.fdc.load(a.fdc.save());
      for (let i = 0; i < 40 && !b.irq.level; i++) a.backend.runLater();
      assert.equal(b.irq.level, true, `${name} ${steps}`);
      const result = await b.driver.result();
      assert.deepEqual(
        result.slice(0, 3).map((value, i) => (i === 0 ? value & 0xc3 : value)),
        [0, 0, 0],
        `${name} ${steps}`,
      );
      if (name === 'read') assert.deepEqual(b.ram.subarray(0x20000, 0x20800), sectorOf(a.backend.bytes, 16, 4));
      if (name === 'write') assert.deepEqual(sectorOf(a.backend.bytes, 16, 4), content(2048));
      if (name === 'format') assert.ok(sectorOf(a.backend.bytes, 0, 18).every((byte) => byte === 0x11));
    }
  }
  const a = await started(disk144());
  await a.driver.send(0x0e);
  a.ports.read(0x3f5, 1);
  const b = floppyMachine([new FloppyDrive({ backend: a.backend }), undefined]);
  b.fdc.load(a.fdc.save());
  assert.equal((await b.driver.result()).length, 9);
});

test('random accesses, changed states, media that come and go', () => {
  const ports = [0x3f1, 0x3f2, 0x3f3, 0x3f4, 0x3f5, 0x3f5, 0x3f5, 0x3f7, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15, 0x81];
  const commands = [0x02, 0x05, 0x06, 0x09, 0x0a, 0x0c, 0x0d, 0x0f, 0x11, 0x16, 0x19, 0x1d, 0x4e, 0xc5, 0xe6];
  let taken = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const random = seededRandom(seed);
    const backend = new MemoryDrive(content(random(2) === 0 ? 1474560 : 368640), { later: seed % 2 === 0 });
    const empty = new MemoryDrive(737280);
    const drives = () => [new FloppyDrive({ backend }), new FloppyDrive({ backend: empty })];
    let machine = floppyMachine(drives());
    machine.ports.write(0x3f2, 1, 0x1c);
    const at = (offset: number) => ports[offset % ports.length]!;
    const access = {
      read: (offset: number, size: 1 | 2 | 4) => machine.ports.read(at(offset), size),
      write: (offset: number, size: 1 | 2 | 4, value: number) => machine.ports.write(at(offset), size, value),
    };
    for (let round = 0; round < 6; round++) {
      fuzzAccesses(random, 200, ports.length, access, () => {
        if (random(6) === 0) machine.ports.write(0x3f5, 1, commands[random(commands.length)]!);
        if (random(4) === 0) for (let i = 0; i < 6; i++) machine.ports.write(0x3f5, 1, random(20));
        if (random(4) === 0) backend.runLater();
        if (random(60) === 0) empty.inserted = !empty.inserted;
        if (random(90) === 0) machine.ports.write(0x3f2, 1, 0x1c | random(2));
      });
      const saved = machine.fdc.save();
      for (let k = random(4); k > 0; k--) saved[random(saved.length)] = [0, 1, 2, 3, 0xff, random(256)][random(6)]!;
      const next = floppyMachine(drives());
      backend.later?.splice(0);
      try {
        next.fdc.load(saved);
        taken++;
      } catch (error) {
        assert.ok(error instanceof StateError, String(error));
        continue;
      }
      machine = next;
    }
  }
  assert.ok(taken > 60, `${taken} of 360 were loadable`);
});
