import assert from 'node:assert/strict';
import test from 'node:test';
import { StateError } from '../../schema/index.js';
import { MemoryDrive } from '../disk/testing.js';
import { fuzzAccesses, seededRandom } from '../testing.js';
import { IdeDriver, type IdeMachine, ideMachine, ramBytes, testCd, testDisk } from './testing.js';

const MiB = 1 << 20;
const random = seededRandom(1);
const pattern = (bytes: number) => Uint8Array.from({ length: bytes }, () => random(256));
const word = (bytes: Uint8Array, at: number) => bytes[2 * at]! | (bytes[2 * at + 1]! << 8);
const swapped = (bytes: Uint8Array, from: number, words: number) => {
  let text = '';
  for (let i = 0; i < words * 2; i++) text += String.fromCharCode(bytes[(from * 2 + i) ^ 1]!);
  return text.trimEnd();
};

function disk(content: number | Uint8Array = MiB, options: { later?: boolean; readonly?: boolean } = {}) {
  const backend = new MemoryDrive(content, options);
  const machine = ideMachine([testDisk(backend)]);
  return { backend, machine, driver: new IdeDriver(machine), line: machine.lines[0] };
}

function cd(content: number | Uint8Array = 64 * 2048, options: { later?: boolean } = {}) {
  const backend = new MemoryDrive(content, { readonly: true, ...options });
  const drive = testCd(backend);
  const machine = ideMachine([undefined, undefined, drive]);
  return { backend, drive, machine, driver: new IdeDriver(machine, 1), line: machine.lines[1] };
}

test('IDENTIFY DEVICE tells size, names and what the drive can', () => {
  const { driver, line } = disk(100 * MiB);
  driver.command(0xec);
  assert.equal(line.level, true);
  assert.equal(driver.status, 0x58);
  assert.equal(line.level, false, 'reading the status lowers the interrupt');
  const id = driver.takeData(512);
  assert.equal(driver.status, 0x50);
  assert.equal(swapped(id, 27, 20), 'VRING HARDDISK');
  assert.equal(swapped(id, 10, 10), 'VR00001');
  assert.equal(word(id, 60) | (word(id, 61) << 16), 204800);
  assert.equal(word(id, 100) | (word(id, 101) << 16), 204800);
  assert.equal(word(id, 88), 0x203f);
});

test('PIO: sectors one by one, in blocks, 48-bit; an interrupt for each block', () => {
  const content = pattern(MiB);
  const { driver, backend, line } = disk(content.slice());
  driver.command(0x20, 3, 2);
  assert.deepEqual([line.rises, driver.status], [1, 0x58]);
  assert.deepEqual(driver.takeData(512), content.subarray(3 * 512, 4 * 512));
  assert.equal(driver.status, 0x58);
  assert.deepEqual(driver.takeData(512, 4), content.subarray(4 * 512, 5 * 512));
  assert.deepEqual([driver.status, line.rises], [0x50, 2]);
  driver.command(0xc6, 0, 4);
  assert.equal(driver.status, 0x50);
  driver.command48(0x29, 5, 6);
  assert.equal(driver.status, 0x58);
  const before = line.rises;
  assert.deepEqual(driver.takeData(6 * 512), content.subarray(5 * 512, 11 * 512));
  assert.equal(line.rises - before, 1, 'two blocks: the first had its interrupt before');
  const data = pattern(3 * 512);
  driver.command48(0x34, 100, 3);
  assert.equal(driver.status, 0x58);
  driver.giveData(data);
  assert.equal(driver.status, 0x50);
  assert.deepEqual(backend.bytes.subarray(100 * 512, 103 * 512), data);
  driver.command(0xc5, 200, 3);
  driver.giveData(data);
  assert.deepEqual(backend.bytes.subarray(200 * 512, 203 * 512), data);
});

test('a block that was never asked for as CHS is the same sector', () => {
  const content = pattern(MiB);
  const { driver } = disk(content);
  driver.set(6, 0xa3); // head 3
  driver.set(2, 1);
  driver.set(3, 5);
  driver.set(4, 0);
  driver.set(5, 0);
  driver.set(7, 0x20);
  const lba = 3 * 63 + 4;
  assert.deepEqual(driver.takeData(512), content.subarray(lba * 512, lba * 512 + 512));
});

test('DMA goes straight to guest memory, in pieces, and is published before the interrupt', () => {
  const content = pattern(MiB);
  const { driver, backend, machine, line } = disk(content.slice(), { later: true });
  driver.command(0xc8, 16, 8);
  assert.equal(driver.alternateStatus & 8, 8, 'it waits for the bus master');
  driver.startDma(
    [
      [0x10000, 1000],
      [0x20000, 3096],
    ],
    true,
  );
  assert.deepEqual([driver.alternateStatus & 0x80, driver.busMasterStatus, line.level], [0x80, 1, false]);
  backend.runLater();
  assert.deepEqual([driver.busMasterStatus, line.level], [4, true]);
  assert.equal(driver.status, 0x50);
  driver.stopDma();
  assert.equal(driver.busMasterStatus, 0);
  const got = [...machine.ram.subarray(0x10000, 0x10000 + 1000), ...machine.ram.subarray(0x20000, 0x20000 + 3096)];
  assert.deepEqual(got, [...content.subarray(16 * 512, 24 * 512)]);
  assert.deepEqual(machine.published.slice(-2), [
    [0x10000, 1000],
    [0x20000, 3096],
  ]);
  // Started before the command; the table names more than is wanted.
  machine.ram.set(pattern(8192), 0x30000);
  driver.startDma([[0x30000, 8192]], false);
  driver.command48(0x35, 40, 8);
  backend.runLater();
  assert.deepEqual([driver.busMasterStatus, driver.status], [5, 0x50]);
  driver.stopDma();
  assert.deepEqual(backend.bytes.subarray(40 * 512, 48 * 512), machine.ram.subarray(0x30000, 0x30000 + 4096));
});

test('many small pieces become several requests of whole sectors', () => {
  const content = pattern(MiB);
  const { driver, backend, machine } = disk(content);
  const pieces = Array.from({ length: 512 }, (_, i) => [0x40000 + i * 64, i % 2 ? 10 : 16] as const);
  driver.command(0xc8, 0, 13);
  driver.startDma(pieces, true);
  assert.equal(driver.status, 0x50);
  const got = pieces.flatMap(([gpa, length]) => [...machine.ram.subarray(gpa, gpa + length)]);
  assert.deepEqual(got, [...content.subarray(0, 13 * 512)]);
  assert.equal(backend.log.length, 3);
});

test('tables that are too short or name no memory', () => {
  const { driver } = disk();
  driver.command(0xc8, 0, 8);
  driver.startDma([[0x10000, 256]], true);
  assert.deepEqual([driver.busMasterStatus & 1, driver.status & 0x89], [0, 0]);
  driver.stopDma();
  driver.command(0xc8, 0, 8);
  driver.startDma([[0xf0000000, 4096]], true);
  assert.deepEqual([driver.busMasterStatus & 3, driver.status, driver.register(1)], [2, 0x41, 4]);
});

test('failures, sectors beyond the end and a disk that is read-only end in an error', () => {
  const { driver, backend } = disk(64 * 512);
  driver.command(0x20, 64, 1);
  assert.deepEqual([driver.status, driver.register(1)], [0x41, 4]);
  backend.failures.push('io', 'io');
  driver.command(0x20, 3, 2);
  assert.deepEqual([driver.status, driver.register(1)], [0x41, 4]);
  backend.failures.push('io');
  driver.command(0x20, 3, 2);
  assert.equal(driver.status, 0x58, 'a sector that is good is read though one behind it is not');
  driver.takeData(1024);
  backend.failures.push('no-space');
  driver.command(0x30, 3, 1);
  driver.giveData(pattern(512));
  assert.equal(driver.status, 0x41);
  backend.failures.push('io');
  driver.command(0xe7);
  assert.equal(driver.status, 0x41);
  driver.command(0x77);
  assert.deepEqual([driver.status, driver.register(1)], [0x41, 4]);
  const fixed = disk(64 * 512, { readonly: true });
  fixed.driver.command(0x30, 0, 1);
  assert.equal(fixed.driver.status, 0x41);
});

test('without a write cache every write is flushed', () => {
  const { driver, backend } = disk();
  driver.command(0xef, 0, 0, 0x82);
  assert.deepEqual(backend.log, ['flush']);
  driver.command(0x30, 0, 1);
  driver.giveData(pattern(512));
  assert.deepEqual(backend.log.slice(1), ['write 0+512', 'flush']);
  driver.command(0xef, 0, 0, 0x02);
  driver.command(0xef, 0, 0x42, 0x03);
  driver.command(0xec);
  const id = driver.takeData(512);
  assert.deepEqual([word(id, 85) & 0x20, word(id, 88)], [0x20, 0x043f]);
});

test('DATA SET MANAGEMENT discards ranges', () => {
  const { driver, backend, machine } = disk();
  const { dma } = machine.memory;
  dma.writeU64(0x10000, 8);
  dma.writeU16(0x10006, 16);
  dma.writeU64(0x10008, 24);
  dma.writeU16(0x1000e, 1);
  driver.command48(0x06, 0, 1, 1);
  driver.startDma([[0x10000, 512]], false);
  assert.equal(driver.status, 0x50);
  assert.deepEqual(backend.log, [`discard ${8 * 512}+${17 * 512}`]);
  driver.stopDma();
  dma.writeU64(0x10000, 1 << 20);
  dma.writeU16(0x10006, 16);
  driver.command48(0x06, 0, 1, 1);
  driver.startDma([[0x10000, 512]], false);
  assert.equal(driver.status, 0x41, 'beyond the end');
});

test('READ NATIVE MAX, SMART, diagnostics, software reset', () => {
  const { driver, line } = disk(100 * MiB);
  driver.command(0xf8);
  assert.equal(driver.register(3) | (driver.register(4) << 8) | (driver.register(5) << 16), 204799);
  driver.command(0xb0, 0xc24f00, 1, 0xd0);
  assert.equal(driver.takeData(512).reduce((sum, byte) => sum + byte, 0) & 0xff, 0);
  driver.command(0xb0, 0xc24f00, 0, 0xda);
  assert.deepEqual([driver.status, driver.register(4), driver.register(5)], [0x50, 0x4f, 0xc2]);
  driver.command(0x90);
  assert.deepEqual([driver.register(1), driver.register(3), driver.register(4)], [1, 1, 0]);
  driver.command(0x20, 0, 2);
  driver.control(4);
  assert.equal(driver.alternateStatus & 0x80, 0x80);
  driver.control(0);
  assert.deepEqual([driver.status, driver.register(1), driver.register(2), line.level], [0x50, 1, 1, false]);
  driver.control(2);
  const { rises } = line;
  driver.command(0xe5);
  assert.deepEqual([line.rises, driver.register(2)], [rises, 0xff], 'no interrupt while it is disabled');
});

test('drives that are not there, and the second of two', () => {
  const { driver, machine } = disk();
  assert.equal(machine.ports.read(0x177, 1), 0);
  driver.set(6, 0xf0);
  assert.equal(driver.status, 0);
  driver.set(7, 0xec);
  assert.equal(driver.status, 0);
  const [first, second] = [new MemoryDrive(pattern(MiB)), new MemoryDrive(pattern(2 * MiB))];
  const both = new IdeDriver(ideMachine([testDisk(first), testDisk(second)]));
  both.command(0x20, 7, 1, 0, 1);
  assert.deepEqual(both.takeData(512), second.bytes.subarray(7 * 512, 8 * 512));
  both.command(0x20, 7, 1, 0, 0);
  assert.deepEqual(both.takeData(512), first.bytes.subarray(7 * 512, 8 * 512));
});

test('ATAPI: signature, identity, inquiry, capacity, table of contents', () => {
  const { driver } = cd();
  assert.deepEqual([driver.register(4), driver.register(5)], [0x14, 0xeb]);
  driver.command(0xec);
  assert.equal(driver.status, 0x41);
  driver.command(0xa1);
  const id = driver.takeData(512);
  assert.deepEqual([word(id, 0), swapped(id, 27, 20)], [0x85c0, 'VRING DVD-ROM']);
  driver.packet([0x12, 0, 0, 0, 36]);
  const inquiry = driver.takeAll();
  assert.deepEqual([inquiry.length, inquiry[0], inquiry[1]], [36, 5, 0x80]);
  assert.equal(Buffer.from(inquiry.subarray(8, 16)).toString(), 'VRING   ');
  driver.packet([0x25]);
  assert.deepEqual([...driver.takeAll()], [0, 0, 0, 63, 0, 0, 8, 0]);
  driver.packet([0x43, 2, 0, 0, 0, 0, 0, 0, 20]);
  assert.deepEqual([...driver.takeAll()], [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 2, 0, 0, 0x16, 0xaa, 0, 0, 0, 2, 64]);
  driver.packet([0x46, 2, 0, 3, 0, 0, 0, 0, 32]);
  assert.equal(driver.takeAll().length, 16);
  driver.packet([0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 64]);
  assert.equal(driver.takeAll()[8], 0x2a);
  driver.packet([0xff]);
  assert.deepEqual([driver.status, driver.register(1)], [0x41, 0x50]);
  driver.packet([3, 0, 0, 0, 18]);
  const sense = driver.takeAll();
  assert.deepEqual([sense[2], sense[12]], [5, 0x20]);
});

test('ATAPI: blocks by PIO in pieces, by DMA, and raw', () => {
  const content = pattern(64 * 2048);
  const { driver, machine } = cd(content);
  driver.packet([0x28, 0, 0, 0, 0, 5, 0, 0, 3], { limit: 1000 });
  assert.equal(driver.register(4) | (driver.register(5) << 8), 1000);
  assert.deepEqual(driver.takeAll(), content.subarray(5 * 2048, 8 * 2048));
  assert.deepEqual([driver.status, driver.register(2)], [0x50, 3]);
  driver.packet([0xa8, 0, 0, 0, 0, 2, 0, 0, 0, 4], { dma: true });
  driver.startDma([[0x10000, 8192]], true);
  assert.equal(driver.status, 0x50);
  driver.stopDma();
  assert.deepEqual(machine.ram.subarray(0x10000, 0x12000), content.subarray(2 * 2048, 6 * 2048));
  for (const dma of [false, true]) {
    driver.packet([0xbe, 0, 0, 0, 0, 9, 0, 0, 2, 0xf8], { dma });
    if (dma) driver.startDma([[0x10000, 2 * 2352]], true);
    const raw = dma ? machine.ram.slice(0x10000, 0x10000 + 2 * 2352) : driver.takeAll();
    assert.deepEqual([...raw.subarray(0, 16)], [0, ...new Array(10).fill(255), 0, 0, 2, 9, 1]);
    assert.deepEqual(raw.subarray(2352 + 16, 2352 + 16 + 2048), content.subarray(10 * 2048, 11 * 2048));
    driver.stopDma();
  }
  driver.packet([0x28, 0, 0, 0, 0, 63, 0, 0, 2]);
  assert.deepEqual([driver.status, driver.register(1)], [0x41, 0x50]);
  driver.packet([0x28, 0, 0, 0, 0, 5, 0, 0, 1], { limit: 0 });
  assert.deepEqual([driver.status, driver.register(1)], [0x41, 4]);
});

test('ATAPI: the tray, the lock, and another medium', () => {
  const { driver, drive, backend } = cd();
  const key = () => {
    driver.packet([0]);
    if ((driver.status & 1) === 0) return 'ready';
    driver.packet([3, 0, 0, 0, 18]);
    const sense = driver.takeAll();
    return `${sense[2]}/${sense[12]!.toString(16)}`;
  };
  assert.equal(key(), 'ready');
  driver.packet([0x1e, 0, 0, 0, 1]);
  assert.equal(drive.cd.pressEject(false), false, 'the guest holds it');
  driver.packet([0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]);
  assert.deepEqual([...driver.takeAll()], [0, 4, 4, 0x10, 1, 2, 0, 0], 'the guest is asked');
  driver.packet([0x1b, 0, 0, 0, 2]);
  assert.equal(driver.status, 0x41);
  driver.packet([0x1e, 0, 0, 0, 0]);
  driver.packet([0x1b, 0, 0, 0, 2]);
  assert.deepEqual([driver.status, drive.cd.isOpen, backend.trayMoves], [0x50, true, [true]]);
  assert.equal(key(), '2/3a');
  backend.bytes = new Uint8Array(4 * 2048);
  drive.cd.mediumChanged();
  assert.deepEqual(backend.trayMoves, [true, false]);
  assert.deepEqual([key(), key(), key()], ['2/3a', '6/28', 'ready']);
  driver.packet([0x25]);
  assert.deepEqual([...driver.takeAll()], [0, 0, 0, 3, 0, 0, 8, 0]);
  assert.equal(drive.cd.pressEject(true), true);
  backend.inserted = false;
  drive.cd.mediumChanged();
  assert.deepEqual([key(), key()], ['2/3a', '2/3a']);
});

/** Copies what a machine is to one that was built the same way. */
function moveTo(from: IdeMachine, to: IdeMachine): void {
  to.ram.set(from.ram);
  to.ide.load(from.ide.save());
}

test('a state that is saved in mid-work goes on where it is loaded', () => {
  const content = pattern(MiB);
  const from = disk(content.slice(), { later: true });
  const data = pattern(1024);
  const steps: [string, () => void, (driver: IdeDriver, machine: IdeMachine, backend: MemoryDrive) => void][] = [
    [
      'reading by PIO',
      () => from.driver.command(0x20, 9, 1),
      (driver) => assert.deepEqual(driver.takeData(512), content.subarray(9 * 512, 10 * 512)),
    ],
    [
      'half a block taken',
      () => {
        from.driver.command(0x20, 9, 2);
        from.backend.runLater();
        from.driver.takeData(256);
      },
      (driver) => assert.deepEqual(driver.takeData(768), content.subarray(9 * 512 + 256, 11 * 512)),
    ],
    [
      'writing by PIO',
      () => {
        from.driver.command(0x30, 20, 2);
        from.driver.giveData(data.subarray(0, 512));
      },
      (driver, _machine, backend) => {
        driver.giveData(data.subarray(512));
        assert.deepEqual(backend.bytes.subarray(20 * 512, 22 * 512), data);
      },
    ],
    [
      'DMA',
      () => {
        from.driver.command(0xc8, 30, 2);
        from.driver.startDma([[0x10000, 1024]], true);
      },
      (driver, machine) => {
        assert.equal(driver.status, 0x50);
        assert.deepEqual(machine.ram.subarray(0x10000, 0x10400), content.subarray(30 * 512, 32 * 512));
      },
    ],
    ['flushing', () => from.driver.command(0xe7), (driver) => assert.equal(driver.status, 0x50)],
  ];
  for (const [what, begin, end] of steps) {
    from.driver.control(4);
    from.driver.control(0);
    from.driver.stopDma();
    begin();
    const to = disk(content.slice());
    moveTo(from.machine, to.machine);
    end(to.driver, to.machine, to.backend);
    assert.equal(to.driver.status & 0x89, 0, what);
  }
  const discs = cd(content);
  discs.driver.packet([0x28, 0, 0, 0, 0, 5, 0, 0, 3], { limit: 2048 });
  discs.driver.takeData(100);
  const to = cd(content);
  moveTo(discs.machine, to.machine);
  to.driver.takeData(1948);
  assert.deepEqual(to.driver.takeAll(), content.subarray(6 * 2048, 8 * 2048));
});

test('a reset in mid-transfer leaves nothing under way', () => {
  const { driver, backend, machine, line } = disk(pattern(MiB), { later: true });
  driver.command(0xc8, 0, 8);
  driver.startDma([[0x10000, 4096]], true);
  driver.control(4);
  driver.control(0);
  assert.equal(backend.later?.length, 0);
  assert.deepEqual([driver.status, line.level], [0x50, false]);
  driver.command(0x20, 0, 1);
  machine.ide.reset();
  backend.runLater();
  assert.deepEqual([driver.status, line.level], [0x50, false]);
});

test('random accesses, failures and saved states: no throw, no hang, nothing outside the disk', () => {
  const next = seededRandom(77);
  const ports = [0x1f0, 0x1f1, 0x1f2, 0x1f3, 0x1f4, 0x1f5, 0x1f6, 0x1f7, 0x3f6, 0x170, 0x177, 0x176, 0x376];
  for (let i = 0; i < 16; i++) ports.push(0xc000 + i);
  let loaded = 0;
  for (let round = 0; round < 150; round++) {
    const make = () => {
      const backends = [
        new MemoryDrive(4096 * 512, { later: next(2) === 0 }),
        new MemoryDrive(64 * 2048, { readonly: true, later: next(2) === 0 }),
      ];
      const machine = ideMachine([testDisk(backends[0]!), undefined, testCd(backends[1]!)]);
      return { machine, backends };
    };
    const { machine, backends } = make();
    const commands = [0x20, 0x24, 0x25, 0x29, 0x30, 0x35, 0x39, 0xc4, 0xc5, 0xc8, 0xca, 0x06, 0xa0, 0xb0, 0xec, 0xef];
    const access = {
      read: (offset: number, size: 1 | 2 | 4) => machine.ports.read(ports[offset]!, size),
      write: (offset: number, size: 1 | 2 | 4, value: number) => machine.ports.write(ports[offset]!, size, value),
    };
    fuzzAccesses(next, 400, ports.length, access, () => {
      const base = next(2) === 0 ? 0x1f0 : 0x170;
      switch (next(8)) {
        case 0:
          machine.ports.write(base + 7, 1, commands[next(commands.length)]!);
          break;
        case 1:
          for (const backend of backends) backend.runLater();
          break;
        case 2:
          if (next(4) === 0) backends[next(2)]!.failures.push('io');
          break;
        case 3: {
          const at = next(0x1000) * 8;
          machine.memory.dma.writeU32(at, next(ramBytes * 2));
          machine.memory.dma.writeU32(at + 4, next(0x10000) | (next(2) === 0 ? 0x80000000 : 0));
          break;
        }
        case 4:
          for (let i = next(600); i > 0; i--) {
            if (next(2) === 0) machine.ports.read(base, 2);
            else machine.ports.write(base, 2, next(0x10000));
          }
      }
    });
    const saved = machine.ide.save();
    for (let k = next(4); k > 0; k--) saved[next(saved.length)] = next(256);
    const other = make();
    try {
      other.machine.ide.load(saved);
      loaded++;
    } catch (error) {
      assert.ok(error instanceof StateError, String(error));
      continue;
    }
    for (const backend of other.backends) backend.drain();
    other.machine.ide.load(other.machine.ide.save());
  }
  assert.ok(loaded > 30, `${loaded} of 150 were loadable`);
});
