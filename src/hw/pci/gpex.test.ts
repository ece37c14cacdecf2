import assert from 'node:assert/strict';
import test from 'node:test';
import { MemorySpace, PortSpace } from '../../bus/index.js';
import { TestLine } from '../testing.js';
import { Gpex } from './gpex.js';
import { PciFunction } from './pci-function.js';

const ECAM = 0x3000_0000;
const PORTS = 0x300_0000;
const MEMORY = 0x4000_0000;

function make() {
  const memory = new MemorySpace(new SharedArrayBuffer(4096));
  const ports = new PortSpace();
  const lines = [new TestLine(), new TestLine(), new TestLine(), new TestLine()] as const;
  const gpex = new Gpex({
    memory,
    ports,
    msi: { send() {} },
    ecamGpa: ECAM,
    lastBus: 255,
    portsGpa: PORTS,
    memoryRanges: [{ gpa: MEMORY, bytes: 0x1000 }],
    lines,
  });
  const register = { value: 0 };
  const fn = new PciFunction({
    name: 'test',
    vendorId: 0x1234,
    deviceId: 0x5678,
    classCode: 0xff0000,
    interruptPin: 1,
    bars: [
      {
        index: 0,
        kind: 'io',
        size: 16,
        handler: {
          read: () => register.value,
          write: (_offset, _size, value) => {
            register.value = value;
          },
        },
      },
    ],
  });
  gpex.root.bus.add(fn, 3);
  return { memory, ports, lines, gpex, fn, register };
}

test('configuration space is memory: a megabyte for each bus, a page for each function', () => {
  const { memory } = make();
  assert.equal(memory.read(ECAM, 4), 0x00081b36, 'the host bridge');
  assert.equal(memory.read(ECAM + (3 << 15), 4), 0x56781234);
  assert.equal(memory.read(ECAM + (3 << 15) + 2, 2), 0x5678);
  assert.equal(memory.read(ECAM + (4 << 15), 4), 0xffffffff, 'nobody');
  assert.equal(memory.read(ECAM + (1 << 20), 4), 0xffffffff, 'no other bus');
  assert.equal(memory.read(ECAM + (3 << 15) + 0x100, 4), 0xffffffff, 'no extended space');
});

test('I/O ports lie in a window of memory', () => {
  const { memory, register } = make();
  const config = ECAM + (3 << 15);
  memory.write(config + 0x10, 4, 0x1000);
  memory.write(config + 4, 2, 1);
  memory.write(PORTS + 0x1004, 4, 77);
  assert.equal(register.value, 77);
  assert.equal(memory.read(PORTS + 0x1004, 4), 77);
});

test('INTA of a slot comes on the line that its number turns to, and goes with it', () => {
  const { lines, fn, memory, gpex } = make();
  fn.setIntx(true);
  assert.deepEqual(
    lines.map(({ level }) => level),
    [false, false, false, true],
  );
  memory.write(ECAM + (3 << 15) + 4, 2, 0x400);
  assert.equal(lines[3].level, false, 'the command register turns it off');
  const saved = gpex.save();
  gpex.reset();
  gpex.load(saved);
  assert.equal(memory.read(ECAM, 4), 0x00081b36);
});

test('memory behind the host reads as ones where no BAR lies', () => {
  const { memory } = make();
  assert.deepEqual([memory.read(MEMORY + 0xffc, 4), memory.read(MEMORY, 2)], [0xffff_ffff, 0xffff]);
  assert.equal(memory.answers(MEMORY + 0xffc), true);
  assert.equal(memory.answers(MEMORY + 0x1000), false);
});
