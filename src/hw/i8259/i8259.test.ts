import assert from 'node:assert/strict';
import test from 'node:test';
import { PortSpace } from '../../bus/index.js';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { PicPair } from './i8259.js';
import { wirePic } from './wiring.js';

function make(initialize = true) {
  const output = new TestLine();
  const pic = new PicPair({ output });
  const ports = new PortSpace();
  wirePic(ports, pic);
  const out = (port: number, value: number) => ports.write(port, 1, value);
  const inb = (port: number) => ports.read(port, 1);
  if (initialize) {
    for (const [base, vector, icw3] of [
      [0x20, 0x20, 4],
      [0xa0, 0x28, 2],
    ] as const) {
      out(base, 0x11);
      out(base + 1, vector);
      out(base + 1, icw3);
      out(base + 1, 0x01);
    }
  }
  const pulse = (n: number) => {
    pic.inputs[n]!.set(true);
    pic.inputs[n]!.set(false);
  };
  return { pic, ports, output, out, inb, pulse };
}

test('an edge raises INTR, the vector is ICW2 + n, and EOI opens the way for the next', () => {
  const { pic, output, out, inb, pulse } = make();
  pulse(4);
  assert.equal(output.level, true);
  assert.equal(inb(0x20), 0x10, 'IRR is what is read by default');
  assert.equal(pic.acknowledge(), 0x24);
  assert.equal(output.level, false);
  out(0x20, 0x0b);
  assert.equal(inb(0x20), 0x10, 'OCW3 selects ISR');
  pulse(5);
  assert.equal(output.level, false, 'lower priority waits');
  pulse(1);
  assert.equal(output.level, true, 'higher priority nests');
  assert.equal(pic.acknowledge(), 0x21);
  out(0x20, 0x20);
  assert.equal(inb(0x20), 0x10, 'non-specific EOI ends the highest in service');
  out(0x20, 0x64);
  assert.equal(inb(0x20), 0, 'specific EOI ends the one named');
  assert.equal(pic.acknowledge(), 0x25);
});

test('masked requests stay in IRR and come when unmasked', () => {
  const { pic, output, out, inb, pulse } = make();
  out(0x21, 0xff);
  assert.equal(inb(0x21), 0xff);
  pulse(3);
  assert.equal(output.level, false);
  out(0x21, 0xf7);
  assert.equal(output.level, true);
  assert.equal(pic.acknowledge(), 0x23);
});

test('the slave cascades through IR2', () => {
  const { pic, output, out, inb, pulse } = make();
  pulse(12);
  assert.equal(output.level, true);
  assert.equal(inb(0x20), 0x04);
  assert.equal(pic.acknowledge(), 0x2c);
  out(0x20, 0x0b);
  out(0xa0, 0x0b);
  assert.deepEqual([inb(0x20), inb(0xa0)], [0x04, 0x10]);
  pulse(8);
  assert.equal(output.level, false, 'fully nested: IR2 is in service');
  out(0xa0, 0x20);
  out(0x20, 0x20);
  assert.equal(output.level, true);
  assert.equal(pic.acknowledge(), 0x28);
});

test('special fully nested mode lets a higher slave input through', () => {
  const { pic, output, out, pulse } = make();
  out(0x20, 0x11);
  out(0x21, 0x20);
  out(0x21, 0x04);
  out(0x21, 0x11);
  pulse(12);
  assert.equal(pic.acknowledge(), 0x2c);
  pulse(8);
  assert.equal(output.level, true);
  assert.equal(pic.acknowledge(), 0x28);
});

test('two slave requests come one after the other', () => {
  const { pic, output, out, pulse } = make();
  pulse(14);
  pulse(9);
  assert.equal(pic.acknowledge(), 0x29);
  out(0xa0, 0x20);
  out(0x20, 0x20);
  assert.equal(output.level, true);
  assert.equal(pic.acknowledge(), 0x2e);
});

test('level-triggered by ELCR: asks as long as the line is up', () => {
  const { pic, output, out, inb } = make();
  out(0x4d0, 0xff);
  out(0x4d1, 0xff);
  assert.deepEqual([inb(0x4d0), inb(0x4d1)], [0xf8, 0xde], 'system inputs stay edge-triggered');
  pic.inputs[11]!.set(true);
  assert.equal(pic.acknowledge(), 0x2b);
  out(0xa0, 0x20);
  out(0x20, 0x20);
  assert.equal(output.level, true, 'still up');
  pic.inputs[11]!.set(false);
  assert.equal(output.level, false);
});

test('a request that vanished gives the spurious vectors', () => {
  const { pic, out } = make();
  assert.equal(pic.acknowledge(), 0x27);
  out(0x4d1, 0x08);
  out(0xa1, 0);
  pic.inputs[11]!.set(true);
  pic.inputs[11]!.set(false);
  assert.equal(pic.acknowledge(), 0x27);
});

test('automatic EOI, with and without rotation', () => {
  const { pic, out, inb, pulse } = make(false);
  out(0x20, 0x13);
  out(0x21, 0x08);
  out(0x21, 0x03);
  pulse(3);
  assert.equal(pic.acknowledge(), 0x0b);
  out(0x20, 0x0b);
  assert.equal(inb(0x20), 0);
  out(0x20, 0x80);
  pulse(0);
  assert.equal(pic.acknowledge(), 0x08);
  pulse(0);
  pulse(5);
  assert.equal(pic.acknowledge(), 0x0d, 'IR0 became the lowest');
  assert.equal(pic.acknowledge(), 0x08);
});

test('rotation by command', () => {
  const { pic, out, pulse } = make();
  pulse(4);
  pic.acknowledge();
  out(0x20, 0xa0);
  pulse(4);
  pulse(6);
  assert.equal(pic.acknowledge(), 0x26, 'rotate on non-specific EOI: 5 is the highest now');
  out(0x20, 0x20);
  out(0x20, 0xc0 | 7);
  pulse(1);
  assert.equal(pic.acknowledge(), 0x21, 'set priority: 0 is the highest');
});

test('special mask mode: a masked input in service does not hold back the others', () => {
  const { pic, output, out, inb, pulse } = make();
  pulse(2 + 1);
  pic.acknowledge();
  pulse(6);
  assert.equal(output.level, false);
  out(0x21, 0x08);
  out(0x20, 0x68);
  assert.equal(output.level, true);
  assert.equal(pic.acknowledge(), 0x26);
  out(0x20, 0x0b);
  out(0x20, 0x20);
  assert.equal(inb(0x20), 0x08, 'the non-specific EOI passes the masked one by');
});

test('poll', () => {
  const { out, inb, pulse, output } = make();
  out(0x20, 0x0c);
  assert.equal(inb(0x20), 0);
  pulse(5);
  out(0x20, 0x0c);
  assert.equal(inb(0x20), 0x85);
  assert.equal(output.level, false);
  out(0x20, 0x0b);
  assert.equal(inb(0x20), 0x20);
});

test('initialization clears latched edges but not level requests', () => {
  const { pic, out, inb, pulse } = make();
  pulse(4);
  out(0x4d0, 0x20);
  pic.inputs[5]!.set(true);
  out(0x20, 0x11);
  assert.equal(inb(0x20), 0x20);
  assert.equal(inb(0x21), 0);
});

test('saved and loaded in the middle of an interrupt', () => {
  const a = make();
  a.pulse(14);
  a.pulse(4);
  a.pic.acknowledge();
  const b = make(false);
  b.pic.load(a.pic.save());
  assert.equal(b.output.level, a.output.level);
  b.out(0x20, 0x20);
  assert.equal(b.pic.acknowledge(), 0x24);
  assert.throws(() => b.pic.load(a.pic.save().subarray(1)), { name: 'VringError' });
});

test('random accesses and lines', () => {
  for (let seed = 1; seed <= 4; seed++) {
    const { pic, ports } = make(false);
    const random = seededRandom(seed);
    fuzzAccesses(
      random,
      3000,
      6,
      {
        read: (o) => ports.read([0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1][o]!, 1),
        write: (o, _s, v) => ports.write([0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1][o]!, 1, v),
      },
      () => {
        pic.inputs[random(16)]!.set(random(2) === 0);
        if (random(4) === 0) assert.ok(pic.acknowledge() < 256);
      },
    );
    const state = pic.save();
    pic.load(state);
    assert.deepEqual(pic.save(), state);
  }
});
