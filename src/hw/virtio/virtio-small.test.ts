/** The entropy device and the balloon. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { seededRandom } from '../testing.js';
import { ModernDriver, testMachine } from './testing.js';
import { type BalloonStats, VirtioBalloon } from './virtio-balloon.js';
import { VirtioEntropy } from './virtio-entropy.js';

test('entropy: fills what is offered, up to a bound, from the source it was given', () => {
  const make = () => {
    const random = seededRandom(1234);
    return testMachine(
      new VirtioEntropy((target) => {
        for (let i = 0; i < target.length; i++) target[i] = random(256);
      }),
    );
  };
  const machine = make();
  const driver = new ModernDriver(machine);
  driver.start();
  driver.queues[0]!.add([
    { gpa: 0x10000, length: 100, write: true },
    { gpa: 0x11000, length: 28, write: true },
  ]);
  driver.queues[0]!.add([{ gpa: 0x20000, length: 0x8000, write: true }]);
  driver.kick(0);
  assert.deepEqual(
    driver.queues[0]!.completions().map((c) => c.length),
    [128, 4096],
  );
  const random = seededRandom(1234);
  const expected = Array.from({ length: 128 }, () => random(256));
  assert.deepEqual([...machine.ram.slice(0x10000, 0x10064), ...machine.ram.slice(0x11000, 0x1101c)], expected);
  assert.ok(machine.ram.subarray(0x21000, 0x22000).every((byte) => byte === 0));
  // A buffer without writable room is given back empty.
  driver.queues[0]!.add([{ gpa: 0x10000, length: 8 }]);
  driver.kick(0);
  assert.deepEqual(
    driver.queues[0]!.completions().map((c) => c.length),
    [0],
  );
});

function balloon(ram?: ArrayBufferLike) {
  const log: string[] = [];
  let stats: BalloonStats | undefined;
  const model = new VirtioBalloon({
    host: {
      inflated: (gpa, size) => void log.push(`take ${gpa.toString(16)}+${size.toString(16)}`),
      deflated: (gpa, size) => void log.push(`give ${gpa.toString(16)}+${size.toString(16)}`),
      actualChanged: (size) => void log.push(`actual ${size}`),
      statsArrived: (arrived) => {
        stats = arrived;
      },
    },
  });
  const machine = testMachine(model, {}, ram);
  const driver = new ModernDriver(machine);
  return { model, machine, driver, log, stats: () => stats };
}

test('balloon: target, pages in runs, actual size', () => {
  const { model, machine, driver, log } = balloon();
  driver.start();
  assert.equal(driver.features() & 7n, 2n);
  model.setTarget(0x300000);
  assert.equal(machine.memory.read(driver.isr, 1), 2);
  assert.equal(machine.memory.read(driver.config, 4), 0x300);
  const frames = [0x10, 0x11, 0x12, 0x40, 0x3f, 0x3e, 0x80];
  frames.forEach((frame, i) => {
    machine.memory.dma.writeU32(0x10000 + i * 4, frame);
  });
  for (const queue of [0, 1]) {
    driver.queues[queue]!.add([
      { gpa: 0x10000, length: 10 },
      { gpa: 0x1000a, length: frames.length * 4 - 10 },
    ]);
    driver.kick(queue);
    assert.equal(driver.queues[queue]!.completions().length, 1);
  }
  assert.deepEqual(log.splice(0), [
    'take 10000+3000',
    'take 3e000+3000',
    'take 80000+1000',
    'give 10000+3000',
    'give 3e000+3000',
    'give 80000+1000',
  ]);
  machine.memory.write(driver.config + 4, 4, 7);
  assert.deepEqual(log, ['actual 28672']);
  machine.memory.write(driver.config, 4, 99);
  assert.equal(machine.memory.read(driver.config, 4), 0x300, "the target is the host's");
  const saved = machine.pci.save();
  const other = balloon(machine.ram.buffer);
  other.machine.pci.load(saved);
  assert.equal(other.model.actualBytes, 28672);
  assert.deepEqual(other.machine.pci.save(), saved);
});

test('balloon: statistics come when asked for', () => {
  const { model, machine, driver, stats } = balloon();
  driver.start();
  assert.equal(model.requestStats(), false, 'no buffer yet');
  const { dma } = machine.memory;
  dma.writeU16(0x10000, 4);
  dma.writeU64(0x10002, 0x123456789a);
  dma.writeU16(0x1000a, 5);
  dma.writeU64(0x1000c, 0x4000000);
  dma.writeU16(0x10014, 999);
  const queue = driver.queues[2]!;
  queue.add([{ gpa: 0x10000, length: 30 }]);
  driver.kick(2);
  assert.deepEqual(stats(), { 'free-memory': 0x123456789an, 'total-memory': 0x4000000n });
  assert.deepEqual(queue.completions(), [], 'the device keeps the buffer');
  assert.equal(model.requestStats(), true);
  assert.equal(queue.completions().length, 1);
});

test('balloon: a buffer that names too many pages breaks the device; random buffers do not throw', () => {
  const { machine, driver } = balloon();
  driver.start();
  driver.queues[0]!.add([
    { gpa: 0, length: 0x300000 },
    { gpa: 0, length: 0x300000 },
  ]);
  driver.kick(0);
  assert.match(machine.log[0]!, /too many pages/);
  const random = seededRandom(8);
  for (let i = 0; i < 500; i++) {
    if (driver.status !== 15) driver.start();
    driver.queues[random(3)]!.add([{ gpa: random(0x400000), length: random(5000), write: random(4) === 0 }]);
    driver.kick(random(4));
  }
});
