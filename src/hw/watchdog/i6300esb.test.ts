import assert from 'node:assert/strict';
import test from 'node:test';
import { StateError } from '../../schema/index.js';
import { emptyBus, plugIn } from '../network/testing.js';
import { PvpanicPci, wirePvpanic } from '../test-devices/pvpanic.js';
import { seededRandom } from '../testing.js';
import { I6300Esb } from './i6300esb.js';

function setUp() {
  const bus = emptyBus();
  let ended = 0;
  const device = new I6300Esb({ clock: bus.time, expired: () => ended++ });
  plugIn(bus, device.function);
  const base = device.function.barAddress(device.function.barSpecs[0]!) as number;
  const write = (at: number, size: 1 | 2 | 4, value: number) => bus.memory.write(base + at, size, value);
  const open = () => {
    write(12, 2, 0x80);
    write(12, 2, 0x86);
  };
  const preload = (at: 0 | 4, value: number) => {
    open();
    write(at, 4, value);
  };
  const ping = () => {
    open();
    write(12, 2, 0x100);
  };
  const configure = (at: number, size: 1 | 2, value: number) => device.function.write(at, size, value);
  return { ...bus, device, base, write, open, preload, ping, configure, ended: () => ended };
}

/** A count of the coarse clock. */
const tickNs = (2 ** 15 / 33e6) * 1e9;

test('two stages, told once; whoever writes in time goes on', () => {
  const { time, preload, ping, configure, ended, memory, base, open, write, device } = setUp();
  preload(0, 1000);
  preload(4, 500);
  configure(0x68, 1, 2);
  for (let i = 0; i < 5; i++) {
    time.advance(1400 * tickNs);
    ping();
  }
  assert.equal(ended(), 0);
  assert.equal(memory.read(base + 12, 2), 0);
  time.advance(1501 * tickNs);
  assert.equal(ended(), 1);
  time.advance(9000 * tickNs);
  assert.equal(ended(), 1);
  assert.equal(memory.read(base + 12, 2), 0x1200);
  device.reset();
  plainRestore(device, base);
  assert.equal(memory.read(base + 12, 2), 0x1200, 'known beyond the reset');
  open();
  write(12, 2, 0x200);
  assert.equal(memory.read(base + 12, 2), 0);
});

function plainRestore(device: I6300Esb, base: number): void {
  device.function.write(0x10, 4, base);
  device.function.setCommand(6);
}

test('without the two words nothing is written; the fine clock; locked it stays on; without reboot nothing ends', () => {
  const { time, preload, write, configure, ended, device, ping } = setUp();
  preload(0, 10);
  preload(4, 10);
  write(0, 4, 0xfffff);
  configure(0x60, 2, 4);
  configure(0x68, 1, 3);
  configure(0x68, 1, 0);
  assert.equal(device.function.read(0x68, 1), 3, 'locked');
  ping();
  time.advance(21 * ((2 ** 5 / 33e6) * 1e9));
  assert.equal(ended(), 1);
  const other = setUp();
  other.configure(0x60, 2, 0x20);
  other.preload(0, 1);
  other.preload(4, 1);
  other.configure(0x68, 1, 2);
  other.time.advance(5 * tickNs);
  assert.equal(other.ended(), 0);
});

test('save and load while it counts', () => {
  const from = setUp();
  from.preload(0, 100);
  from.preload(4, 100);
  from.configure(0x68, 1, 3);
  from.time.advance(150 * tickNs);
  const to = setUp();
  to.time.advance(from.time.nowNs());
  to.device.load(from.device.save());
  assert.deepEqual(to.device.save(), from.device.save());
  to.time.advance(49 * tickNs);
  assert.equal(to.ended(), 0);
  to.time.advance(2 * tickNs);
  assert.equal(to.ended(), 1);
});

test('hostile registers and states: no throw, no hang', () => {
  const random = seededRandom(9);
  const { device, write, memory, base, time } = setUp();
  for (let step = 0; step < 3000; step++) {
    const size = ([1, 2, 4] as const)[random(3)]!;
    write(random(5) * 4, size, [0x80, 0x86, 0x100, random(0x10000)][random(4)]!);
    memory.read(base + random(16), 1);
    if (random(4) === 0) device.function.write([0x60, 0x68][random(2)]!, 1, random(256));
    time.advance(random(1e7));
    if (random(50) !== 0) continue;
    const bad = device.save();
    bad[random(bad.length)] = random(256);
    try {
      device.load(bad);
    } catch (error) {
      assert.ok(error instanceof StateError, String(error));
    }
  }
});

test('pvpanic tells of what is written, at its port and in its BAR', () => {
  const told: string[] = [];
  const bus = emptyBus();
  wirePvpanic(bus.ports, (event) => told.push(event));
  const device = new PvpanicPci({ name: 'pvpanic-pci', tell: (event) => told.push(`PCI ${event}`) });
  plugIn(bus, device.function);
  assert.equal(bus.ports.read(0x505, 1), 3);
  for (const value of [0, 4, 2, 1, 3]) bus.ports.write(0x505, 1, value);
  assert.deepEqual(told.splice(0), ['crash-loaded', 'panicked', 'panicked']);
  const base = device.function.barAddress(device.function.barSpecs[0]!) as number;
  assert.equal(bus.memory.read(base, 1), 3);
  bus.memory.write(base, 1, 1);
  bus.memory.write(base + 1, 1, 1);
  assert.deepEqual(told, ['PCI panicked']);
  device.load(device.save());
});
