import assert from 'node:assert/strict';
import test from 'node:test';
import type { BlockBackend, BlockDone } from '../disk/block-backend.js';
import { seededRandom } from '../testing.js';
import { LegacyDriver, ModernDriver, type Piece, ramBytes, testMachine } from './testing.js';
import { VirtioBlock } from './virtio-block.js';

/** A disk in memory. With `later`, operations end when `runLater` says so, last first. */
class MemoryDisk implements BlockBackend {
  readonly bytes: Uint8Array;
  readonly readonly: boolean;
  readonly log: string[] = [];
  later: (() => void)[] | undefined;
  failNext = false;
  constructor(sizeBytes: number, options: { readonly?: boolean; later?: boolean } = {}) {
    this.bytes = new Uint8Array(sizeBytes);
    this.readonly = options.readonly ?? false;
    if (options.later) this.later = [];
  }
  get sizeBytes(): number {
    return this.bytes.length;
  }
  #end(what: string, work: () => void, done: BlockDone): void {
    this.log.push(what);
    const run = () => {
      const fails = this.failNext;
      this.failNext = false;
      if (!fails) work();
      done(fails ? 'io' : undefined);
    };
    if (this.later !== undefined) this.later.push(run);
    else run();
  }
  runLater(): void {
    for (const run of this.later!.splice(0).reverse()) run();
  }
  read(offset: number, targets: readonly Uint8Array[], done: BlockDone): void {
    const work = () => {
      let at = offset;
      for (const target of targets) {
        target.set(this.bytes.subarray(at, at + target.length));
        at += target.length;
      }
    };
    this.#end(`read ${offset}`, work, done);
  }
  write(offset: number, sources: readonly Uint8Array[], done: BlockDone): void {
    const work = () => {
      let at = offset;
      for (const source of sources) {
        this.bytes.set(source, at);
        at += source.length;
      }
    };
    this.#end(`write ${offset}`, work, done);
  }
  flush(done: BlockDone): void {
    this.#end('flush', () => {}, done);
  }
  discard(offset: number, length: number, done: BlockDone): void {
    this.#end(`discard ${offset}+${length}`, () => {}, done);
  }
  writeZeroes(offset: number, length: number, mayUnmap: boolean, done: BlockDone): void {
    this.#end(
      `zero ${offset}+${length}${mayUnmap ? ' unmap' : ''}`,
      () => this.bytes.fill(0, offset, offset + length),
      done,
    );
  }
}

const [IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES] = [0, 1, 4, 8, 11, 13];
const headerGpa = 0x8000;
const statusGpa = 0x9000;
const dataGpa = 0x10000;

function setUp(
  disk: MemoryDisk,
  start: Parameters<ModernDriver['start']>[0] = {},
  options: Partial<ConstructorParameters<typeof VirtioBlock>[0]> = {},
) {
  const model = new VirtioBlock({ backend: disk, serial: 'vring-disk', ...options });
  const machine = testMachine(model);
  const driver = new ModernDriver(machine);
  driver.start(start);
  const { dma } = machine.memory;
  /** Offers one request and kicks; the status byte is 0xee until the device writes it. */
  const request = (type: number, sector: number, data: readonly Piece[], slot = 0, indirect = false, queue = 0) => {
    const header = headerGpa + slot * 16;
    const status = statusGpa + slot;
    dma.writeU32(header, type);
    dma.writeU32(header + 4, 0);
    dma.writeU64(header + 8, sector);
    dma.writeU8(status, 0xee);
    const pieces = [{ gpa: header, length: 16 }, ...data, { gpa: status, length: 1, write: true }];
    const head = driver.queues[queue]!.add(pieces, indirect);
    driver.kick(queue);
    return { head, status: () => machine.ram[status] };
  };
  return { model, machine, driver, dma, request, queue: driver.queues[0]! };
}

test('reads and writes move verified data, in pieces, direct and indirect', () => {
  const disk = new MemoryDisk(1 << 20);
  const { machine, request, queue } = setUp(disk);
  const random = seededRandom(5);
  for (let i = 0; i < disk.bytes.length; i++) disk.bytes[i] = random(256);
  const pieces = [
    { gpa: dataGpa, length: 512 - 100 },
    { gpa: dataGpa + 0x2000, length: 100 },
    { gpa: dataGpa + 0x3000, length: 4096 },
  ];
  for (const indirect of [false, true]) {
    const read = request(
      IN,
      8,
      pieces.map((piece) => ({ ...piece, write: true })),
      0,
      indirect,
    );
    assert.equal(read.status(), 0);
    assert.deepEqual(queue.completions(), [{ head: read.head, length: 512 + 4096 + 1 }]);
    let at = 8 * 512;
    for (const { gpa, length } of pieces) {
      assert.deepEqual([...machine.ram.subarray(gpa, gpa + length)], [...disk.bytes.subarray(at, at + length)]);
      at += length;
    }
    for (const { gpa, length } of pieces) for (let i = 0; i < length; i++) machine.ram[gpa + i] = (gpa + i * 7) & 0xff;
    const write = request(OUT, 16, pieces, 0, indirect);
    assert.equal(write.status(), 0);
    assert.deepEqual(queue.completions(), [{ head: write.head, length: 1 }]);
    at = 16 * 512;
    for (const { gpa, length } of pieces) {
      assert.deepEqual([...disk.bytes.subarray(at, at + length)], [...machine.ram.subarray(gpa, gpa + length)]);
      at += length;
    }
  }
});

test('header, data and status may share descriptors', () => {
  const disk = new MemoryDisk(1 << 16);
  disk.bytes.fill(0x77);
  const { machine, driver, dma } = setUp(disk);
  dma.writeU32(0x8000, IN);
  dma.writeU64(0x8008, 1);
  driver.queues[0]!.add([
    { gpa: 0x8000, length: 6 },
    { gpa: 0x8006, length: 10 },
    { gpa: dataGpa, length: 513, write: true },
  ]);
  driver.kick(0);
  assert.equal(machine.ram[dataGpa + 511], 0x77);
  assert.equal(machine.ram[dataGpa + 512], 0);
});

test('configuration, identity, flush, discard, write zeroes', () => {
  const disk = new MemoryDisk(1 << 20);
  const { machine, driver, request, dma, model } = setUp(disk);
  const config = (at: number, size: 1 | 2 | 4) => machine.memory.read(driver.config + at, size);
  assert.equal(config(0, 4), 2048);
  assert.equal(config(12, 4), 254);
  assert.equal(config(20, 4), 512);
  assert.equal(config(32, 1), 1, 'write-back');
  assert.equal(config(36, 4), 0x3fffff);
  assert.equal(request(GET_ID, 0, [{ gpa: dataGpa, length: 20, write: true }]).status(), 0);
  assert.equal(
    Buffer.from(machine.ram.slice(dataGpa, dataGpa + 20))
      .toString()
      .replace(/\0+$/, ''),
    'vring-disk',
  );
  assert.equal(request(FLUSH, 0, []).status(), 0);
  const range = (type: number, sector: number, sectors: number, flags: number) => {
    dma.writeU64(dataGpa, sector);
    dma.writeU32(dataGpa + 8, sectors);
    dma.writeU32(dataGpa + 12, flags);
    return request(type, 0, [{ gpa: dataGpa, length: 16 }]).status();
  };
  assert.equal(range(DISCARD, 8, 16, 0), 0);
  assert.equal(range(WRITE_ZEROES, 4, 2, 1), 0);
  assert.deepEqual(disk.log.splice(0), ['flush', 'discard 4096+8192', 'zero 2048+1024 unmap']);
  assert.equal(range(DISCARD, 8, 16, 1), 2, 'discard knows no flags');
  assert.equal(range(WRITE_ZEROES, 8, 16, 2), 2);
  assert.equal(range(DISCARD, 2047, 2, 0), 1, 'beyond the end');
  assert.equal(range(DISCARD, 0, 0x400000, 0), 1, 'more than was offered');
  assert.equal(request(99, 0, []).status(), 2);
  assert.deepEqual(disk.log, []);
  // The driver turns the cache off: every write is flushed.
  machine.memory.write(driver.config + 32, 1, 0);
  request(OUT, 0, [{ gpa: dataGpa, length: 512 }]);
  assert.deepEqual(disk.log.splice(0), ['write 0', 'flush']);
  assert.equal(config(0, 4), 2048);
  model.resized();
  assert.equal(machine.memory.read(driver.isr, 1) & 2, 2);
});

test('each queue takes requests; what is switched off is neither offered nor done', () => {
  const disk = new MemoryDisk(1 << 16);
  for (let i = 0; i < disk.bytes.length; i++) disk.bytes[i] = (i >> 9) + 1;
  const { machine, driver, request, model } = setUp(disk, {}, { queues: 3, discard: false });
  assert.deepEqual(model.queueSizes, [256, 256, 256]);
  assert.deepEqual(
    [12, 13, 14].map((bit) => model.features.includes(bit)),
    [true, false, true],
  );
  assert.equal(machine.memory.read(driver.config + 34, 2), 3);
  for (const queue of [2, 0, 1]) {
    const gpa = dataGpa + queue * 512;
    assert.equal(request(IN, queue + 4, [{ gpa, length: 512, write: true }], queue, false, queue).status(), 0);
    assert.equal(machine.ram[gpa + 511], queue + 5);
    assert.equal(driver.queues[queue]!.completions().length, 1, 'on its own queue');
  }
  disk.log.length = 0;
  assert.equal(request(DISCARD, 0, [{ gpa: dataGpa, length: 16 }]).status(), 2);
  assert.deepEqual(disk.log, []);
  const plain = setUp(disk, {}, { writeZeroes: false, queueSize: 64 }).model;
  assert.deepEqual(
    [12, 13, 14].map((bit) => plain.features.includes(bit)),
    [false, true, false],
  );
  assert.deepEqual(plain.queueSizes, [64]);
});

test('errors: bounds, alignment, read-only, backend', () => {
  const disk = new MemoryDisk(1 << 16);
  const { request } = setUp(disk);
  const data = [{ gpa: dataGpa, length: 1024, write: true }];
  assert.equal(request(IN, 127, data).status(), 1, 'half of it is beyond the end');
  assert.equal(request(IN, 126, data).status(), 0);
  assert.equal(request(IN, 2 ** 52, data).status(), 1);
  assert.equal(request(IN, 0, [{ ...data[0]!, length: 100 }]).status(), 1);
  disk.failNext = true;
  assert.equal(request(OUT, 0, [{ gpa: dataGpa, length: 512 }]).status(), 1);
  const readonly = setUp(new MemoryDisk(1 << 16, { readonly: true }));
  assert.equal(readonly.driver.features() & (1n << 5n), 1n << 5n);
  assert.equal(readonly.request(OUT, 0, [{ gpa: dataGpa, length: 512 }]).status(), 1);
  assert.deepEqual((readonly.model.backend as MemoryDisk).log, []);
});

test('a request without header or status breaks the device until reset', () => {
  const { machine, driver } = setUp(new MemoryDisk(1 << 16));
  driver.queues[0]!.add([{ gpa: headerGpa, length: 16 }]);
  driver.kick(0);
  assert.equal(driver.status, 0x4f, 'needs reset');
  assert.equal(machine.memory.read(driver.isr, 1) & 2, 2);
  assert.match(machine.log[0]!, /virtio0 needs a reset: a block request lacks/);
  driver.start();
  assert.equal(driver.status, 15);
});

test('requests may end later and in any order', () => {
  const disk = new MemoryDisk(1 << 20, { later: true });
  const { request, queue, driver, machine } = setUp(disk, { msix: true });
  const requests = [0, 1, 2, 3].map((i) => request(IN, i, [{ gpa: dataGpa + i * 512, length: 512, write: true }], i));
  assert.deepEqual(queue.completions(), []);
  assert.equal(requests[0]!.status(), 0xee);
  disk.bytes.fill(0x33);
  disk.runLater();
  assert.deepEqual(
    queue.completions().map((c) => c.head),
    requests.map((r) => r.head).reverse(),
  );
  assert.ok(requests.every((r) => r.status() === 0));
  assert.ok(machine.messages.includes(1));

  // Reset while a request is under way.
  request(IN, 0, [{ gpa: dataGpa, length: 512, write: true }]);
  driver.status = 0;
  assert.notEqual(driver.status, 0);
  disk.runLater();
  assert.equal(driver.status, 0);
  driver.start();
  const again = request(IN, 0, [{ gpa: dataGpa, length: 512, write: true }]);
  disk.runLater();
  assert.equal(again.status(), 0);
});

test('one interrupt for a batch', () => {
  const { request, machine, driver, dma } = setUp(new MemoryDisk(1 << 20), { msix: true, without: [29] });
  machine.messages.length = 0;
  for (let i = 0; i < 10; i++) {
    dma.writeU32(headerGpa + i * 16, FLUSH);
    driver.queues[0]!.add([
      { gpa: headerGpa + i * 16, length: 16 },
      { gpa: statusGpa, length: 1, write: true },
    ]);
  }
  driver.kick(0);
  assert.deepEqual(machine.messages, [1]);
  request(FLUSH, 0, []);
  assert.deepEqual(machine.messages, [1, 1]);
});

test('a legacy driver that cannot flush gets write-through', () => {
  const disk = new MemoryDisk(1 << 16);
  const machine = testMachine(new VirtioBlock({ backend: disk }));
  const driver = new LegacyDriver(machine);
  driver.start({ features: 0 });
  const { dma } = machine.memory;
  dma.writeU32(headerGpa, OUT);
  dma.writeU64(headerGpa + 8, 2);
  machine.ram.fill(0x5c, dataGpa, dataGpa + 512);
  driver.queues[0]!.add([
    { gpa: headerGpa, length: 16 },
    { gpa: dataGpa, length: 512 },
    { gpa: statusGpa, length: 1, write: true },
  ]);
  driver.kick(0);
  assert.deepEqual(disk.log, ['write 1024', 'flush']);
  assert.equal(disk.bytes[1024 + 511], 0x5c);
  assert.equal(machine.ports.read(driver.base + 20, 4), 128, 'capacity');
});

test('random requests: statuses only, and what was written reads back', () => {
  const random = seededRandom(11);
  const disk = new MemoryDisk(1 << 16);
  const shadow = new Uint8Array(1 << 16);
  const { request, queue, machine, driver } = setUp(disk);
  for (let i = 0; i < 2000; i++) {
    const type = [IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES, random(2 ** 32)][random(7)]!;
    const sector = random(140);
    const length = random(4) === 0 ? 1 + random(2000) : 512 * (1 + random(8));
    for (let j = 0; j < length; j += 97) machine.ram[dataGpa + j] = random(256);
    const write = type === IN || type === GET_ID;
    const { status } = request(type, sector, [{ gpa: dataGpa, length, write }], 0, random(2) === 0);
    assert.ok(status()! <= 2, `status ${status()}`);
    assert.equal(queue.completions().length, 1);
    if (type === OUT && status() === 0) shadow.set(machine.ram.slice(dataGpa, dataGpa + length), sector * 512);
    if (type === IN && status() === 0) {
      const at = sector * 512;
      assert.deepEqual([...machine.ram.slice(dataGpa, dataGpa + length)], [...shadow.subarray(at, at + length)]);
    }
    if (type === DISCARD || type === WRITE_ZEROES) shadow.set(disk.bytes);
  }
  // Random bytes in place of headers and rings.
  for (let i = 0; i < 300; i++) {
    for (let j = 0; j < 40; j++) machine.ram[0x100000 + random(0x3000)] = random(256);
    request(random(16), random(2 ** 20), [{ gpa: random(ramBytes), length: random(5000), write: random(2) === 0 }]);
    if (driver.status !== 15) driver.start();
  }
});
