import assert from 'node:assert/strict';
import test from 'node:test';
import { ManualTime, PortSpace } from '../../bus/index.js';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { PIT_HZ, Pit } from './i8254.js';
import { wirePit } from './wiring.js';

function make() {
  const clock = new ManualTime();
  const irq = new TestLine();
  const pit = new Pit({ clock, irq });
  const ports = new PortSpace();
  wirePit(ports, pit);
  const out = (port: number, value: number) => ports.write(port, 1, value);
  const inb = (port: number) => ports.read(port, 1);
  /** Moves to the start of tick n since the beginning. */
  const toTick = (n: number) => clock.advance(Math.ceil((n * 1e9) / PIT_HZ) - clock.nowNs());
  const latched = (channel: number) => {
    out(0x43, channel << 6);
    return inb(0x40 + channel) | (inb(0x40 + channel) << 8);
  };
  const out2 = () => (inb(0x61) & 0x20) !== 0;
  return { clock, irq, pit, ports, out, inb, toTick, latched, out2 };
}
type Bench = ReturnType<typeof make>;

function program(b: Bench, channel: number, mode: number, count: number, bcd = 0) {
  b.out(0x43, (channel << 6) | 0x30 | (mode << 1) | bcd);
  b.out(0x40 + channel, count & 0xff);
  b.out(0x40 + channel, count >> 8);
}

test('mode 2 on channel 0: HZ interrupts a second, none lost when the timer is late', () => {
  const b = make();
  program(b, 0, 2, 11932);
  assert.equal(b.irq.rises, 1, 'OUT is high from the control word on');
  b.irq.rises = 0;
  b.clock.advance(1e9);
  assert.equal(b.irq.rises, 99, '1193182 / 11932 = 99.998');
  b.clock.advance(1e9);
  assert.equal(b.irq.rises, 199);
  for (let i = 0; i < 10; i++) b.clock.skip(5e7);
  for (let i = 0; i < 60; i++) b.clock.skip(0);
  assert.equal(b.irq.rises, 249);
});

test('mode 2 counts N to 1, OUT is low for the last count', () => {
  const b = make();
  b.out(0x61, 1);
  program(b, 2, 2, 5);
  const seen: [number, boolean][] = [];
  for (let t = 0; t < 7; t++) {
    b.toTick(t);
    seen.push([b.latched(2), b.out2()]);
  }
  assert.deepEqual(seen, [
    [5, true],
    [4, true],
    [3, true],
    [2, true],
    [1, false],
    [5, true],
    [4, true],
  ]);
});

test('mode 3: a square wave, odd counts are high for one clock more', () => {
  const b = make();
  b.out(0x61, 1);
  program(b, 2, 3, 5);
  const wave: number[] = [];
  for (let t = 0; t < 10; t++) {
    b.toTick(t);
    wave.push(b.out2() ? 1 : 0);
  }
  assert.deepEqual(wave, [1, 1, 1, 0, 0, 1, 1, 1, 0, 0]);
  program(b, 2, 3, 1000);
  b.toTick(110);
  assert.equal(b.latched(2), 1000 - 2 * 101, 'it counts by two');
});

test('mode 0: OUT rises at the end of the count and stays, the counter wraps on', () => {
  const b = make();
  program(b, 0, 0, 100);
  assert.equal(b.irq.level, false);
  b.toTick(99);
  assert.equal(b.irq.level, false);
  b.toTick(100);
  assert.equal(b.irq.level, true);
  b.toTick(103);
  assert.equal(b.latched(0), 0xfffd);
  b.clock.advance(1e9);
  assert.equal(b.irq.rises, 1);
  b.out(0x40, 1);
  assert.equal(b.irq.level, false, 'the first byte of a new count lowers OUT');
});

test('mode 0 on channel 2: the gate of port 61h stops and continues the count (TSC calibration)', () => {
  const b = make();
  b.out(0x61, 0);
  program(b, 2, 0, 59659);
  b.toTick(1000);
  assert.equal(b.latched(2), 59659, 'the gate is low');
  b.out(0x61, 1);
  b.toTick(1500);
  assert.equal(b.latched(2), 59159);
  b.out(0x61, 0);
  b.toTick(9000);
  assert.equal(b.latched(2), 59159);
  b.out(0x61, 1);
  b.toTick(9000 + 59158);
  assert.equal(b.out2(), false);
  b.toTick(9000 + 59159);
  assert.equal(b.out2(), true);
});

test('mode 1: a rising gate starts, and restarts, the one-shot', () => {
  const b = make();
  program(b, 2, 1, 50);
  b.toTick(10);
  assert.equal(b.out2(), true);
  b.out(0x61, 1);
  assert.equal(b.out2(), false);
  b.toTick(40);
  b.out(0x61, 0);
  b.out(0x61, 1);
  b.toTick(89);
  assert.equal(b.out2(), false);
  b.toTick(90);
  assert.equal(b.out2(), true);
});

test('modes 4 and 5: a strobe of one clock', () => {
  for (const mode of [4, 5]) {
    const b = make();
    if (mode === 4) b.out(0x61, 1);
    program(b, 2, mode, 10);
    if (mode === 5) b.out(0x61, 1);
    const low: number[] = [];
    for (let t = 0; t < 25; t++) {
      b.toTick(t);
      if (!b.out2()) low.push(t);
    }
    assert.deepEqual(low, [10], `mode ${mode}`);
  }
});

test('a new count in mode 2 takes effect at the end of the cycle', () => {
  const b = make();
  b.out(0x61, 1);
  program(b, 2, 2, 100);
  b.toTick(40);
  b.out(0x42, 10);
  b.out(0x42, 0);
  assert.equal(b.latched(2), 60);
  b.toTick(103);
  assert.equal(b.latched(2), 7);
});

test('read-back latches count and status; the first latch stands until it is read', () => {
  const b = make();
  program(b, 0, 2, 1000);
  b.toTick(100);
  b.out(0x43, 0xc2);
  b.toTick(200);
  b.out(0x43, 0xc2);
  assert.equal(b.inb(0x40), 0x80 | 0x30 | 0x04, 'OUT high, count loaded, both bytes, mode 2');
  assert.equal(b.inb(0x40) | (b.inb(0x40) << 8), 900);
  assert.equal(b.inb(0x40) | (b.inb(0x40) << 8), 800);
  b.out(0x43, 0x30);
  b.out(0x43, 0xe2);
  assert.equal(b.inb(0x40), 0x40 | 0x30, 'null count until loaded; mode 0 OUT low');
});

test('BCD and single-byte access', () => {
  const b = make();
  program(b, 0, 2, 0x1000, 1);
  b.toTick(1);
  assert.equal(b.latched(0), 0x0999);
  b.out(0x43, 0x14);
  b.out(0x40, 50);
  b.toTick(11);
  assert.equal(b.inb(0x40), 40);
  assert.equal(b.inb(0x40), 40);
  b.out(0x43, 0x24);
  b.out(0x40, 0x12);
  assert.equal(b.inb(0x40), 0x12);
});

test('a count of 0 is 65536: 18.2 Hz', () => {
  const b = make();
  program(b, 0, 3, 0);
  b.clock.advance(10e9);
  assert.equal(b.irq.rises, 182 + 1, 'OUT is high from the start in mode 3');
});

test('the refresh bit of port 61h toggles with time', () => {
  const b = make();
  const first = b.inb(0x61) & 0x10;
  b.clock.advance(15085);
  assert.notEqual(b.inb(0x61) & 0x10, first);
});

test('saved and loaded, the interrupts go on in phase', () => {
  const a = make();
  program(a, 0, 2, 11932);
  a.clock.advance(123_456_789);
  const b = make();
  b.clock.advance(123_456_789);
  b.pit.load(a.pit.save());
  const before = b.irq.rises;
  a.irq.rises = 0;
  a.clock.advance(1e9);
  b.clock.advance(1e9);
  assert.equal(b.irq.rises - before, a.irq.rises);
  assert.equal(b.latched(0), a.latched(0));
});

test('random accesses', () => {
  for (let seed = 1; seed <= 4; seed++) {
    const b = make();
    const random = seededRandom(seed);
    fuzzAccesses(
      random,
      2000,
      5,
      {
        read: (o) => b.inb(o === 4 ? 0x61 : 0x40 + o),
        write: (o, _s, v) => b.out(o === 4 ? 0x61 : 0x40 + o, v),
      },
      () => b.clock.advance(random(20000)),
    );
    b.pit.load(b.pit.save());
  }
});
