import assert from 'node:assert/strict';
import test from 'node:test';
import { StateError } from '../../schema/index.js';
import { fuzzAccesses, seededRandom } from '../testing.js';
import { ConfigBytes } from './config-bytes.js';
import { LegacyDriver, ModernDriver, ramBytes, testMachine } from './testing.js';
import type { VirtioDevice, VirtioModel } from './virtio-device.js';
import { virtioType } from './virtio-device.js';
import type { Virtqueue } from './virtqueue.js';

/** Writes each buffer's readable bytes, inverted, into its writable part. */
class Inverter implements VirtioModel {
  readonly type: number = virtioType.block;
  readonly queueSizes = [16, 16];
  readonly features = [3];
  readonly config = new ConfigBytes(8);
  readonly configBytes = 8;
  readonly parts = [];
  device!: VirtioDevice;
  starts = 0;
  pendingRequests = 0;
  attach(device: VirtioDevice): void {
    this.device = device;
    this.config.view.setUint32(0, 0x11223344, true);
  }
  started(): void {
    this.starts++;
  }
  reset(): void {}
  queueKicked(queue: Virtqueue): void {
    for (let budget = queue.state.size; budget > 0; budget--) {
      const chain = queue.pop();
      if (chain === undefined) break;
      const bytes = new Uint8Array(chain.readableBytes);
      chain.copyOut(0, bytes);
      queue.push(
        chain,
        chain.copyIn(
          0,
          bytes.map((b) => ~b),
        ),
      );
    }
    queue.signal();
  }
}

const source = { gpa: 0x10000, length: 100 };
const target = { gpa: 0x20000, length: 100, write: true };

function fill(machine: ReturnType<typeof testMachine>): void {
  for (let i = 0; i < 100; i++) machine.ram[source.gpa + i] = i;
}

function checkInverted(machine: ReturnType<typeof testMachine>): void {
  for (let i = 0; i < 100; i++) assert.equal(machine.ram[target.gpa + i], ~i & 0xff);
}

test('ids: transitional and modern-only devices are those of QEMU', () => {
  const ids = (fn: { read(offset: number, size: 4): number }) => [0, 8, 0x2c].map((at) => fn.read(at, 4).toString(16));
  const transitional = testMachine(new Inverter());
  assert.deepEqual(ids(transitional.pci.function), ['10011af4', '1000000', '21af4']);
  const modern = testMachine(new Inverter(), { legacy: false });
  assert.deepEqual(ids(modern.pci.function), ['10421af4', '1000001', '11001af4']);
  assert.deepEqual(
    modern.pci.function.barSpecs.map((bar) => bar.index),
    [1, 4],
  );
});

test('modern driver: negotiation, queues, doorbell, INTx and ISR', () => {
  const model = new Inverter();
  const machine = testMachine(model);
  const driver = new ModernDriver(machine);
  const { memory, pci, published } = machine;
  assert.equal(memory.read(driver.common + 18, 2), 2);
  const features = driver.start();
  assert.equal(features, (1n << 32n) | (1n << 29n) | (1n << 28n) | 8n);
  assert.equal(driver.status, 15);
  assert.equal(model.starts, 1);
  assert.equal(memory.read(driver.config, 4), 0x11223344);
  assert.equal(memory.read(driver.config + 1, 2), 0x2233);
  fill(machine);
  const queue = driver.queues[1]!;
  const head = queue.add([source, target]);
  published.length = 0;
  driver.kick(1);
  assert.deepEqual(queue.completions(), [{ head, length: 100 }]);
  checkInverted(machine);
  const gpas = published.map(([gpa]) => gpa);
  assert.ok(gpas.indexOf(target.gpa) >= 0, 'the data is published');
  assert.ok(gpas.indexOf(target.gpa) < gpas.indexOf(queue.used + 2), 'before the used index');
  assert.equal(pci.function.pinLevel, true);
  assert.equal(memory.read(driver.isr, 1), 1);
  assert.equal(pci.function.pinLevel, false, 'reading the ISR takes the interrupt back');
  assert.equal(memory.read(driver.isr, 1), 0);
  model.device.configChanged();
  assert.equal(memory.read(driver.common + 21, 1), 1);
  assert.equal(memory.read(driver.isr, 1), 2);
  driver.status = 0;
  assert.equal(driver.status, 0);
  queue.add([source, target]);
  driver.kick(1);
  assert.deepEqual(queue.completions(), [], 'a reset device touches nothing');
});

test('modern driver: features that were not offered are refused; VERSION_1 need not be accepted', () => {
  const { memory, ...machine } = testMachine(new Inverter());
  const driver = new ModernDriver({ memory, ...machine });
  for (const [low, high, status] of [
    [0x10, 1, 3],
    [8, 0, 11],
    [8, 3, 3],
  ] as const) {
    driver.status = 0;
    driver.status = 3;
    memory.write(driver.common + 8, 4, 0);
    memory.write(driver.common + 12, 4, low);
    memory.write(driver.common + 8, 4, 1);
    memory.write(driver.common + 12, 4, high);
    driver.status = 11;
    assert.equal(driver.status, status, `${low}, ${high}`);
  }
});

test('MSI-X: one vector per queue, INTx stays down', () => {
  const machine = testMachine(new Inverter());
  const driver = new ModernDriver(machine);
  driver.start({ msix: true });
  driver.queues[1]!.add([source, target]);
  driver.kick(1);
  assert.deepEqual(machine.messages.splice(0), [2]);
  machine.device.configChanged();
  assert.deepEqual(machine.messages.splice(0), [0]);
  assert.equal(machine.pci.function.pinLevel, false);
  // A vector beyond the table reads back as none and is silent.
  machine.memory.write(driver.common + 22, 2, 1);
  machine.memory.write(driver.common + 26, 2, 77);
  assert.equal(machine.memory.read(driver.common + 26, 2), 0xffff);
  driver.queues[1]!.add([source, target]);
  driver.kick(1);
  assert.deepEqual(machine.messages, []);
});

test('legacy driver: page frame, features without version 1, configuration moves with MSI-X', () => {
  const machine = testMachine(new Inverter());
  const { ports, pci } = machine;
  pci.function.setCommand(pci.function.command & ~4);
  const driver = new LegacyDriver(machine);
  const accepted = driver.start({ queues: 2 });
  assert.equal(accepted, (8 | (1 << 27) | (1 << 28) | (1 << 29)) >>> 0);
  assert.equal(pci.function.busMaster, true, 'an old driver gets bus mastering by starting');
  assert.equal(ports.read(driver.base + 12, 2), 16);
  assert.equal(ports.read(driver.base + 8, 4), 0x110);
  fill(machine);
  const head = driver.queues[0]!.add([source, target]);
  driver.kick(0);
  assert.deepEqual(driver.queues[0]!.completions(), [{ head, length: 100 }]);
  checkInverted(machine);
  assert.equal(ports.read(driver.base + 19, 1), 1);
  assert.equal(pci.function.pinLevel, false);
  assert.equal(ports.read(driver.base + 20, 4), 0x11223344);
  for (let at = pci.function.read(0x34, 1); at !== 0; at = pci.function.read(at + 1, 1)) {
    if (pci.function.read(at, 1) === 0x11) pci.function.write(at + 2, 2, 0x8000);
  }
  assert.equal(ports.read(driver.base + 24, 4), 0x11223344);
  ports.write(driver.base + 22, 2, 1);
  assert.equal(ports.read(driver.base + 22, 2), 1);
  ports.write(driver.base + 14, 2, 9);
  assert.equal(ports.read(driver.base + 12, 2), 0, 'no such queue');
  ports.write(driver.base + 14, 2, 0);
  ports.write(driver.base + 8, 4, 0);
  assert.equal(ports.read(driver.base + 8, 4), 0, 'stopped');
});

test('the PCI configuration access capability reaches the registers', () => {
  const machine = testMachine(new Inverter());
  const fn = machine.pci.function;
  let cap = fn.read(0x34, 1);
  while (fn.read(cap, 1) !== 9 || fn.read(cap + 3, 1) !== 5) cap = fn.read(cap + 1, 1);
  const select = (offset: number, size: number) => {
    fn.write(cap + 4, 1, 4);
    fn.write(cap + 8, 4, offset);
    fn.write(cap + 12, 4, size);
  };
  select(18, 2);
  assert.equal(fn.read(cap + 16, 4) & 0xffff, 2, 'number of queues');
  select(20, 1);
  fn.write(cap + 16, 4, 3);
  assert.equal(machine.device.status, 3);
  select(0x3ffe, 4);
  fn.write(cap + 16, 4, 0);
  select(20, 3);
  fn.write(cap + 16, 4, 0);
  assert.equal(machine.device.status, 3, 'windows that do not fit do nothing');
});

test('a reset by the driver waits for requests under way', () => {
  const model = new Inverter();
  const machine = testMachine(model);
  const driver = new ModernDriver(machine);
  driver.start();
  const queue = driver.queues[0]!;
  queue.add([source, target]);
  const chain = machine.device.queues[0]!.pop()!;
  model.pendingRequests = 1;
  driver.status = 0;
  assert.notEqual(driver.status, 0, 'not yet');
  machine.device.queues[0]!.push(chain, 10);
  model.pendingRequests = 0;
  model.device.requestsDone();
  assert.equal(driver.status, 0);
  assert.deepEqual(queue.completions(), [], 'what came too late is dropped');
});

test('save and load in the middle of work', () => {
  const ram = new SharedArrayBuffer(ramBytes);
  const from = testMachine(new Inverter(), {}, ram);
  const driver = new ModernDriver(from);
  driver.start({ msix: true });
  fill(from);
  const queue = driver.queues[0]!;
  for (let i = 0; i < 20; i++) {
    queue.add([source, target]);
    driver.kick(0);
  }
  assert.equal(queue.completions().length, 20);
  queue.setUsedEvent(20);
  const saved = from.pci.save();
  const to = testMachine(new Inverter(), {}, ram);
  to.pci.load(saved);
  assert.deepEqual(to.pci.save(), saved);
  to.ram.fill(0, target.gpa, target.gpa + 100);
  const head = queue.add([source, target]);
  to.memory.write(driver.notify, 2, 0);
  assert.deepEqual(queue.completions(), [{ head, length: 100 }]);
  checkInverted(to);
  assert.deepEqual(to.messages, [1]);

  const other = testMachine(new Inverter(), { legacy: false });
  for (const bad of [saved.subarray(0, saved.length - 1), saved.subarray(3), other.pci.save(), new Uint8Array(9)]) {
    const before = to.pci.save();
    assert.throws(() => to.pci.load(bad), StateError);
    assert.deepEqual(to.pci.save(), before);
  }
});

test('random register accesses, rings and loads never throw', () => {
  const random = seededRandom(7);
  for (let round = 0; round < 12; round++) {
    const machine = testMachine(new Inverter());
    const { memory, ports, pci } = machine;
    const driver = new ModernDriver(machine);
    if (round % 2 === 0) driver.start({ msix: round % 4 === 0 });
    const legacyBase = pci.function.barAddress(pci.function.barSpecs[0]!)!;
    const scramble = () => {
      for (let i = 0; i < 64; i++) machine.ram[0x100000 + random(0x30000)] = random(256);
    };
    const modernAccess = {
      read: (offset: number, size: 1 | 2 | 4) => memory.read(driver.common + offset, size),
      write: (offset: number, size: 1 | 2 | 4, value: number) => {
        // Half of the addresses that are written lie in RAM, so that rings are found.
        const inRam = offset >= 32 && offset < 56 && random(2) === 0;
        memory.write(driver.common + offset, size, inRam ? value % ramBytes : value);
      },
    };
    for (let burst = 0; burst < 20; burst++) {
      fuzzAccesses(random, 60, 64, modernAccess, () => {
        if (random(10) === 0) memory.write(driver.notify + random(3) * 4, 2, random(3));
      });
      fuzzAccesses(random, 20, 0x4000, modernAccess);
      scramble();
      fuzzAccesses(random, 30, 0x80, {
        read: (offset, size) => ports.read(legacyBase + offset, size),
        write: (offset, size, value) => ports.write(legacyBase + offset, size, value),
      });
      if (random(3) === 0) driver.start();
    }
    const saved = pci.save();
    for (let i = 0; i < 100; i++) {
      const bad = saved.slice();
      for (let n = random(4); n >= 0; n--) bad[random(bad.length)] = random(256);
      try {
        pci.load(bad);
        for (const queue of [0, 1]) machine.device.kick(queue);
      } catch (error) {
        assert.ok(error instanceof StateError, String(error));
      }
    }
    pci.reset();
    pci.function.setCommand(7);
  }
});
