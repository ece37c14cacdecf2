import assert from 'node:assert/strict';
import test from 'node:test';
import { StateError } from '../../schema/index.js';
import { seededRandom, TestLine } from '../testing.js';
import { PLIC_SOURCES, Plic } from './plic.js';

const PENDING = 0x1000;
const ENABLE = [0x2000, 0x2080] as const;
const CONTEXT = [0x200000, 0x201000] as const;

function make() {
  const lines = [new TestLine(), new TestLine()] as const;
  const plic = new Plic({ outputs: lines });
  const read = (at: number) => plic.read(at, 4);
  const write = (at: number, value: number) => plic.write(at, 4, value);
  const enable = (context: number, ...sources: number[]) => {
    for (const source of sources) {
      const at = ENABLE[context] + 4 * (source >> 5);
      write(at, read(at) | (1 << (source & 31)));
    }
  };
  const priority = (source: number, value: number) => write(4 * source, value);
  const claim = (context: number) => read(CONTEXT[context] + 4);
  const complete = (context: number, source: number) => write(CONTEXT[context] + 4, source);
  const pending = (source: number) => (read(PENDING + 4 * (source >> 5)) >>> (source & 31)) & 1;
  return { plic, lines, read, write, enable, priority, claim, complete, pending };
}

test('a source interrupts a context that has enabled it, and no other', () => {
  const { plic, lines, enable, priority, claim, complete } = make();
  priority(10, 1);
  enable(1, 10);
  plic.inputs[10].set(true);
  assert.deepEqual([lines[0].level, lines[1].level], [false, true]);
  assert.equal(claim(0), 0);
  assert.equal(claim(1), 10);
  assert.equal(lines[1].level, false, 'what is claimed interrupts no more');
  assert.equal(claim(1), 0);
  complete(1, 10);
  assert.equal(lines[1].level, true, 'the line is still up');
  plic.inputs[10].set(false);
  assert.equal(lines[1].level, false, 'a request that nobody has claimed is gone with its line');
});

test('every hart has two contexts, each with enables, a threshold and claims of its own', () => {
  const lines = [new TestLine(), new TestLine(), new TestLine(), new TestLine()];
  const plic = new Plic({ outputs: lines });
  plic.write(4 * 10, 4, 3);
  plic.write(0x2000 + 0x80 * 3, 4, 1 << 10);
  plic.write(0x2000 + 0x80 * 2, 4, 1 << 10);
  plic.write(0x200000 + 0x1000 * 2, 4, 3);
  plic.inputs[10].set(true);
  assert.deepEqual(
    lines.map(({ level }) => level),
    [false, false, false, true],
  );
  plic.write(0x200000 + 0x1000 * 2, 4, 2);
  assert.equal(lines[2].level, true);
  assert.equal(plic.read(0x200004 + 0x1000 * 3, 4), 10);
  assert.equal(plic.read(0x200004 + 0x1000 * 2, 4), 0, 'who comes second finds nothing');
  assert.equal(plic.read(0x2000 + 0x80 * 4, 4), 0, 'no fifth context');
  plic.write(0x2000 + 0x80 * 4, 4, 0xffffffff);
  assert.equal(plic.read(0x2000 + 0x80 * 4, 4), 0);
});

test('the highest priority goes first, the lowest number among equals; a threshold holds back what is not above it', () => {
  const { plic, lines, write, enable, priority, claim, complete } = make();
  enable(0, 1, 33, 64, 95);
  for (const [source, value] of [
    [1, 2],
    [33, 5],
    [64, 5],
    [95, 7],
  ])
    priority(source, value);
  for (const source of [95, 64, 33, 1]) plic.inputs[source].set(true);
  assert.deepEqual([claim(0), claim(0), claim(0), claim(0), claim(0)], [95, 33, 64, 1, 0]);
  for (const source of [1, 33, 64, 95]) complete(0, source);
  write(CONTEXT[0], 5);
  assert.deepEqual([claim(0), claim(0)], [95, 0]);
  write(CONTEXT[0], 7);
  assert.equal(lines[0].level, false);
  write(CONTEXT[0], 4);
  assert.equal(lines[0].level, true);
});

test('priority 0 never interrupts, though it is pending', () => {
  const { plic, lines, enable, pending } = make();
  enable(0, 3);
  plic.inputs[3].set(true);
  assert.equal(pending(3), 1);
  assert.equal(lines[0].level, false);
});

test('a completion by a context that has not enabled the source is ignored', () => {
  const { plic, enable, priority, claim, complete } = make();
  priority(10, 1);
  enable(0, 10);
  plic.inputs[10].set(true);
  assert.equal(claim(0), 10);
  complete(1, 10);
  assert.equal(claim(0), 0, 'still claimed');
  complete(0, 96);
  complete(0, 0xffffffff);
  complete(0, 10);
  assert.equal(claim(0), 10);
});

test('registers are words: other accesses see nothing and change nothing', () => {
  const { plic, enable, priority, claim, read } = make();
  priority(10, 3);
  enable(0, 10);
  plic.inputs[10].set(true);
  assert.equal(plic.read(CONTEXT[0] + 4, 1), 0);
  assert.equal(plic.read(CONTEXT[0] + 6, 2), 0);
  plic.write(40, 1, 0);
  plic.write(41, 2, 0);
  assert.equal(read(40), 3);
  assert.equal(claim(0), 10, 'nobody has claimed it');
});

test('priorities have three bits; there is no source 0; pending is read-only', () => {
  const { read, write } = make();
  write(0, 7);
  write(40, 0xff);
  write(ENABLE[0], 0xffffffff);
  write(PENDING, 0xffffffff);
  assert.deepEqual([read(0), read(40), read(ENABLE[0]), read(PENDING)], [0, 7, 0xfffffffe, 0]);
  write(4 * (PLIC_SOURCES + 1), 7);
  assert.equal(read(4 * (PLIC_SOURCES + 1)), 0);
});

test('saved between claim and completion it goes on elsewhere', () => {
  const before = make();
  before.priority(10, 1);
  before.enable(1, 10);
  before.plic.inputs[10].set(true);
  assert.equal(before.claim(1), 10);
  const after = make();
  after.plic.load(before.plic.save());
  assert.equal(after.claim(1), 0);
  after.complete(1, 10);
  assert.equal(after.lines[1].level, true);
  assert.throws(() => after.plic.load(before.plic.save().subarray(0, 40)), StateError);
  assert.equal(after.lines[1].level, true, 'left as it was');
});

test('a reset keeps the levels of lines and nothing else', () => {
  const { plic, lines, enable, priority } = make();
  priority(10, 1);
  enable(0, 10);
  plic.inputs[10].set(true);
  plic.reset();
  assert.equal(lines[0].level, false);
  priority(10, 1);
  enable(0, 10);
  assert.equal(lines[0].level, true);
});

test('against a simple model, at random', () => {
  const { plic, lines, write, claim, complete } = make();
  const random = seededRandom(11);
  const sources = [1, 9, 31, 32, 63, 64, 95];
  const model = new Map(sources.map((n) => [n, { up: false, pending: false, claimed: false, priority: 0, on: false }]));
  let threshold = 0;
  const best = () => {
    let found = 0;
    let most = threshold;
    for (const [n, s] of model)
      if (s.pending && !s.claimed && s.on && s.priority > most) [found, most] = [n, s.priority];
    return found;
  };
  for (let i = 0; i < 5000; i++) {
    const n = sources[random(sources.length)];
    const source = model.get(n);
    assert.ok(source);
    switch (random(6)) {
      case 0: {
        const level = random(2) === 0;
        plic.inputs[n].set(level);
        if (level !== source.up) {
          source.up = level;
          if (!level || !source.claimed) source.pending = level;
        }
        break;
      }
      case 1:
        source.priority = random(8);
        write(4 * n, source.priority);
        break;
      case 2: {
        source.on = !source.on;
        const word = n >> 5;
        const bits = sources.reduce((sum, m) => (m >> 5 === word && model.get(m)?.on ? sum | (1 << (m & 31)) : sum), 0);
        write(ENABLE[1] + 4 * word, bits >>> 0);
        break;
      }
      case 3:
        threshold = random(8);
        write(CONTEXT[1], threshold);
        break;
      case 4: {
        const expected = best();
        assert.equal(claim(1), expected);
        const taken = model.get(expected);
        if (taken) [taken.pending, taken.claimed] = [false, true];
        break;
      }
      case 5:
        complete(1, n);
        if (source.on) {
          source.claimed = false;
          if (source.up) source.pending = true;
        }
        break;
    }
    assert.equal(lines[1].level, best() !== 0);
  }
});
