import assert from 'node:assert/strict';
import test from 'node:test';
import { MemorySpace } from '../../bus/index.js';
import { fuzzAccesses, seededRandom } from '../testing.js';
import { AcpiGed } from './acpi-ged.js';
import { wireAcpiGed } from './wiring.js';

const [SELECTOR, SLEEP, STATUS, RESET] = [0x1000, 0x2000, 0x2001, 0x2002];

function make() {
  const memory = new MemorySpace(new SharedArrayBuffer(4096));
  const seen: string[] = [];
  const levels: boolean[] = [];
  const ged = new AcpiGed({
    irq: { set: (level) => void levels.push(level) },
    events: { powerOff: () => seen.push('off'), reset: () => seen.push('reset') },
  });
  wireAcpiGed(memory, ged, SELECTOR, SLEEP);
  return { memory, seen, levels, ged };
}

test('the power button is an edge, and is told once', () => {
  const { memory, levels, ged } = make();
  assert.equal(memory.read(SELECTOR, 4), 0);
  ged.pressPowerButton();
  ged.pressPowerButton();
  assert.deepEqual(levels, [true, false, true, false]);
  memory.write(SELECTOR, 4, 0);
  assert.equal(memory.read(SELECTOR, 4), 2);
  assert.equal(memory.read(SELECTOR, 4), 0, 'forgotten');
});

test('sleep control switches off for S5 alone, the reset register takes its value alone', () => {
  const { memory, seen } = make();
  for (const value of [0, 5 << 2, 0x20, 0x20 | (3 << 2), 0x20 | (4 << 2)]) memory.write(SLEEP, 1, value);
  memory.write(STATUS, 1, 0x34);
  for (const value of [0, 0x41, 0x24]) memory.write(RESET, 1, value);
  assert.deepEqual(seen, []);
  memory.write(SLEEP, 1, 0x34);
  memory.write(RESET, 1, 0x42);
  assert.deepEqual(seen, ['off', 'reset']);
  assert.deepEqual(
    [SLEEP, STATUS, RESET].map((at) => memory.read(at, 1)),
    [0, 0, 0],
  );
});

test('a press that nobody has asked for yet is saved and loaded; a reset forgets it', () => {
  const { ged } = make();
  ged.pressPowerButton();
  const other = make();
  other.ged.load(ged.save());
  assert.equal(other.memory.read(SELECTOR, 4), 2);
  assert.deepEqual(other.levels, []);
  ged.reset();
  assert.equal(ged.state.selector, 0);
  assert.throws(() => ged.load(ged.save().subarray(0, 2)));
});

test('any access is harmless', () => {
  const { memory, ged } = make();
  for (const start of [SELECTOR, SLEEP])
    fuzzAccesses(
      seededRandom(7),
      3000,
      4,
      {
        read: (offset, size) => memory.read(start + offset, size),
        write: (offset, size, value) => memory.write(start + offset, size, value),
      },
      () => ged.pressPowerButton(),
    );
});
