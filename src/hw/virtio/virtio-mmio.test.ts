import assert from 'node:assert/strict';
import test from 'node:test';
import { MemorySpace } from '../../bus/index.js';
import { StateError } from '../../schema/index.js';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { DriverQueue, ramBytes, type TestMachine } from './testing.js';
import { VirtioDevice } from './virtio-device.js';
import { VirtioEntropy } from './virtio-entropy.js';
import { emptyVirtioMmio, VIRTIO_MMIO_BYTES, VirtioMmio } from './virtio-mmio.js';

function make(legacy = false) {
  const ram = new SharedArrayBuffer(ramBytes);
  const memory = new MemorySpace(ram);
  memory.addRam({ name: 'ram', gpa: 0, size: ramBytes, hva: 0, readonly: false });
  const irq = new TestLine();
  const log: string[] = [];
  const device = new VirtioDevice(new VirtioEntropy((target) => void target.fill(0x5a)), {
    name: 'virtio0',
    dma: memory.dma,
    log: (line) => void log.push(line),
  });
  const transport = new VirtioMmio({ device, irq, legacy });
  const read = (at: number) => transport.read(at, 4);
  const write = (at: number, value: number) => transport.write(at, 4, value);
  // What the driver's queue uses of a machine.
  const machine = { memory, ram: new Uint8Array(ram) } as unknown as TestMachine;
  return { device, transport, irq, read, write, machine, log };
}

/** As a driver does it (3.1.1). */
function start({ read, write, machine }: ReturnType<typeof make>): DriverQueue {
  write(0x70, 0);
  write(0x70, 3);
  for (const half of [0, 1]) {
    write(0x14, half);
    const offered = read(0x10);
    write(0x24, half);
    write(0x20, offered);
  }
  write(0x70, 11);
  assert.equal(read(0x70), 11, 'the features were taken');
  write(0x30, 0);
  const queue = new DriverQueue(machine, 0, read(0x34));
  write(0x38, queue.size);
  for (const [at, gpa] of [
    [0x80, queue.desc],
    [0x90, queue.avail],
    [0xa0, queue.used],
  ])
    [write(at, gpa), write(at + 4, 0)];
  write(0x44, 1);
  write(0x70, 15);
  return queue;
}

test('what it is: magic, version 2, kind and vendor; an empty slot is kind 0', () => {
  const { read } = make();
  assert.deepEqual([read(0), read(4), read(8), read(12)], [0x74726976, 2, 4, 0x554d4551]);
  for (const legacy of [false, true])
    assert.deepEqual(
      [0, 4, 8, 12, 0x70].map((at) => emptyVirtioMmio(legacy).read(at, 4)),
      [0x74726976, legacy ? 1 : 2, 0, 0x554d4551, 0],
    );
});

test('a buffer goes to the device and comes back with an interrupt, which is acknowledged', () => {
  const machine = make();
  const { read, write, irq } = machine;
  const queue = start(machine);
  queue.add([{ gpa: 0x10000, length: 64, write: true }]);
  write(0x50, 0);
  assert.deepEqual(
    queue.completions().map(({ length }) => length),
    [64],
  );
  assert.ok(machine.machine.ram.subarray(0x10000, 0x10040).every((byte) => byte === 0x5a));
  assert.equal(irq.level, true);
  assert.equal(read(0x60), 1);
  assert.equal(read(0x60), 1, 'reading takes nothing back');
  write(0x64, 2);
  assert.equal(irq.level, true);
  write(0x64, 1);
  assert.equal(irq.level, false);
});

test('a queue that is ready keeps its addresses; one that is stopped is not touched', () => {
  const machine = make();
  const { read, write } = machine;
  const queue = start(machine);
  write(0x80, 0xdead0000);
  queue.add([{ gpa: 0x10000, length: 16, write: true }]);
  write(0x50, 0);
  assert.equal(queue.completions().length, 1);
  write(0x44, 0);
  assert.equal(read(0x44), 0);
  queue.add([{ gpa: 0x10000, length: 16, write: true }]);
  write(0x50, 0);
  assert.equal(queue.completions().length, 0);
});

test('there is no queue beyond the last; registers are words', () => {
  const { transport, read, write } = make();
  write(0x30, 1);
  assert.equal(read(0x34), 0);
  write(0x44, 1);
  assert.equal(read(0x44), 0);
  write(0x30, 0xffffffff);
  assert.equal(read(0x34), 0);
  assert.equal(transport.read(0, 2), 0);
  transport.write(0x70, 1, 3);
  assert.equal(read(0x70), 0);
});

test('writing 0 to the status resets: status, interrupt, queues', () => {
  const machine = make();
  const queue = start(machine);
  queue.add([{ gpa: 0x10000, length: 16, write: true }]);
  machine.write(0x50, 0);
  assert.equal(machine.irq.level, true);
  machine.write(0x70, 0);
  assert.deepEqual([machine.read(0x70), machine.read(0x60), machine.read(0x44)], [0, 0, 0]);
  assert.equal(machine.irq.level, false);
});

/** As a legacy driver does it (4.2.4): no FEATURES_OK, and the queue by its page. */
function startLegacy({ read, write, machine }: ReturnType<typeof make>, pageBytes: number): DriverQueue {
  // As Linux, which says this before anything else.
  write(0x28, pageBytes);
  write(0x70, 0);
  write(0x70, 3);
  write(0x14, 1);
  assert.equal(read(0x10), 0, 'there are 32 features');
  write(0x14, 0);
  const offered = read(0x10);
  // Layout, indirect descriptors, event index.
  assert.equal(offered, 0x3800_0000);
  write(0x24, 0);
  write(0x20, offered);
  write(0x30, 0);
  assert.equal(read(0x40), 0);
  const queue = new DriverQueue(machine, 0, 8);
  assert.ok(read(0x34) >= 8);
  write(0x38, queue.size);
  write(0x3c, 4096);
  write(0x40, queue.desc / pageBytes);
  write(0x70, 7);
  return queue;
}

for (const pageBytes of [4096, 1024])
  test(`a legacy driver with pages of ${pageBytes} bytes: version 1, a queue by its page and size`, () => {
    const machine = make(true);
    const { read, write, irq } = machine;
    assert.deepEqual([read(0), read(4), read(8), read(12)], [0x74726976, 1, 4, 0x554d4551]);
    const queue = startLegacy(machine, pageBytes);
    assert.equal(read(0x40), queue.desc / pageBytes);
    queue.add([{ gpa: 0x10000, length: 64, write: true }]);
    write(0x50, 0);
    assert.deepEqual(
      queue.completions().map(({ length }) => length),
      [64],
    );
    assert.equal(irq.level, true);
    assert.equal(read(0x60), 1);
    write(0x64, 1);
    assert.equal(irq.level, false);
    write(0x40, 0);
    assert.equal(read(0x40), 0);
    queue.add([{ gpa: 0x10000, length: 16, write: true }]);
    write(0x50, 0);
    assert.equal(queue.completions().length, 0, 'the queue is stopped');
    // What belongs to version 2 is not there, and features beyond the 32nd cannot be taken.
    write(0x44, 1);
    assert.deepEqual([0x44, 0xfc, 0xb0].map(read), [0, 0, 0]);
    write(0x24, 1);
    write(0x20, 1);
    assert.equal(machine.device.driverFeaturesHigh, 0);
  });

test('a legacy queue far beyond RAM, with any page size and alignment, is an error alone', () => {
  for (const [pageBytes, align] of [
    [0x8000_0000, 0],
    [0, 3],
    [0xffff_ffff, 0x8000_0000],
    [4096, 0xffff_ffff],
  ]) {
    const machine = make(true);
    const { read, write } = machine;
    startLegacy(machine, 4096);
    write(0x28, pageBytes);
    write(0x3c, align);
    write(0x40, 0xffff_ffff);
    write(0x50, 0);
    read(0x40);
    assert.equal(machine.log.length, 1);
    assert.match(machine.log[0], /rings are not in RAM/);
  }
});

test('saved with an interrupt waiting, and a queue in use: both are there in the device that loads', () => {
  const before = make();
  const queue = start(before);
  queue.add([{ gpa: 0x10000, length: 16, write: true }]);
  before.write(0x50, 0);
  const after = make();
  after.machine.ram.set(before.machine.ram);
  after.transport.load(before.transport.save());
  assert.equal(after.irq.level, true);
  assert.equal(after.read(0x44), 1);
  after.write(0x64, 1);
  assert.equal(after.irq.level, false);
  assert.throws(() => after.transport.load(before.transport.save().subarray(0, 30)), StateError);
});

test('random accesses, with and without a driver that had begun', () => {
  for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
    const machine = make(seed > 4);
    if (seed % 2 === 0) seed > 4 ? startLegacy(machine, 4096) : start(machine);
    fuzzAccesses(seededRandom(seed), 5000, VIRTIO_MMIO_BYTES, machine.transport);
  }
});
