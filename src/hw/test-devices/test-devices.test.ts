import assert from 'node:assert/strict';
import test from 'node:test';
import { MemorySpace, PortSpace } from '../../bus/index.js';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { wireIsaDebugExit } from './isa-debug-exit.js';
import { wireIsaDebugcon } from './isa-debugcon.js';
import { PcTestdev, wirePcTestdev } from './pc-testdev.js';

test('isa-debug-exit: (v << 1) | 1', () => {
  const ports = new PortSpace();
  const codes: number[] = [];
  wireIsaDebugExit(ports, (status) => codes.push(status));
  wireIsaDebugExit(ports, (status) => codes.push(status), { port: 0xf4, sizeBytes: 4 });
  ports.write(0x501, 1, 0);
  ports.write(0x501, 1, 0x31);
  ports.write(0xf4, 4, 0x10);
  assert.deepEqual(codes, [1, 99, 33]);
  assert.equal(ports.read(0xf4, 1), 0);
});

test('isa-debugcon: text out, 0xe9 in', () => {
  const ports = new PortSpace();
  let text = '';
  for (const port of [0xe9, 0x402]) wireIsaDebugcon(ports, (byte) => (text += String.fromCharCode(byte)), { port });
  ports.write(0xe9, 1, 0x48);
  ports.write(0x402, 1, 0x69);
  assert.equal(text, 'Hi');
  assert.equal(ports.read(0x402, 1), 0xe9);
});

function make() {
  const ports = new PortSpace();
  const space = new MemorySpace(new ArrayBuffer(0));
  const gsi = Array.from({ length: 24 }, () => new TestLine());
  const device = new PcTestdev({ gsi });
  wirePcTestdev(ports, space, device);
  return { ports, space, gsi, device };
}

test('pc-testdev: latch in any width, seen again byte by byte', () => {
  const { ports } = make();
  ports.write(0xe0, 4, 0x12345678);
  assert.equal(ports.read(0xe0, 4), 0x12345678);
  assert.equal(ports.read(0xe1, 2), 0x3456);
  assert.equal(ports.read(0xe8, 4), 0x12345678);
  ports.write(0xe9, 1, 0xab);
  assert.equal(ports.read(0xe0, 4), 0x1234ab78);
  ports.write(0xe4, 4, 0x1000);
});

test('pc-testdev: interrupt lines and memory', () => {
  const { ports, space, gsi, device } = make();
  ports.write(0x2005, 1, 1);
  ports.write(0x2017, 1, 1);
  assert.deepEqual([gsi[5]!.level, gsi[23]!.level], [true, true]);
  ports.write(0x2005, 1, 0);
  assert.equal(gsi[5]!.level, false);
  space.write(0xff00fff8, 4, 0xcafef00d);
  assert.equal(space.read(0xff00fffa, 2), 0xcafe);
  const other = make();
  other.device.load(device.save());
  assert.equal(other.gsi[23]!.level, true);
  assert.equal(other.space.read(0xff00fff8, 4), 0xcafef00d);
  device.reset();
  assert.equal(gsi[23]!.level, false);
});

test('pc-testdev: random accesses', () => {
  const { ports, space, device } = make();
  const random = seededRandom(5);
  fuzzAccesses(random, 2000, 12, {
    read: (o, s) => ports.read(0xe0 + o, s),
    write: (o, s, v) => ports.write(random(2) === 0 ? 0xe0 + o : 0x2000 + 2 * o, s, v),
  });
  fuzzAccesses(random, 2000, 0x10010, {
    read: (o, s) => space.read(0xff000000 + o, s),
    write: (o, s, v) => space.write(0xff000000 + o, s, v),
  });
  device.load(device.save());
});
