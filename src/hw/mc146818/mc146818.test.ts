import assert from 'node:assert/strict';
import test from 'node:test';
import { ManualTime, PortSpace } from '../../bus/index.js';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { Rtc } from './mc146818.js';
import { wireRtc } from './wiring.js';

/** Monday 2024-02-26 13:59:58.25 UTC. */
const START = Date.UTC(2024, 1, 26, 13, 59, 58, 250) * 1e6;

function make() {
  const clock = new ManualTime(START);
  const irq = new TestLine();
  const rtc = new Rtc({ clock, irq });
  const ports = new PortSpace();
  wireRtc(ports, rtc);
  const get = (index: number) => {
    ports.write(0x70, 1, index);
    return ports.read(0x71, 1);
  };
  const set = (index: number, value: number) => {
    ports.write(0x70, 1, index);
    ports.write(0x71, 1, value);
  };
  const time = () => [get(0x32), get(9), get(8), get(7), get(6), get(4), get(2), get(0)];
  return { clock, irq, rtc, ports, get, set, time };
}

test('the time in BCD and binary, 24 and 12 hours', () => {
  const { clock, get, set, time } = make();
  assert.deepEqual(time(), [0x20, 0x24, 0x02, 0x26, 2, 0x13, 0x59, 0x58]);
  clock.advance(1e9);
  assert.equal(get(0), 0x59);
  clock.advance(1e9);
  assert.deepEqual([get(4), get(2), get(0)], [0x14, 0x00, 0x00]);
  set(0x0b, 0x06);
  assert.deepEqual(time(), [20, 24, 2, 26, 2, 14, 0, 0]);
  set(0x0b, 0x00);
  assert.equal(get(4), 0x82, '2 p.m.');
  clock.advance(10 * 3600e9);
  assert.equal(get(4), 0x12, 'midnight is 12 a.m.');
  clock.advance(12 * 3600e9);
  assert.equal(get(4), 0x92, 'noon is 12 p.m.');
});

test('leap days and centuries agree with the calendar of Date', () => {
  for (const date of ['1999-12-31', '2000-02-29', '2024-02-29', '2099-12-31', '2100-03-01', '1970-01-01']) {
    const wall = Date.parse(`${date}T00:00:00Z`);
    const rtc = new Rtc({ clock: new ManualTime(wall * 1e6), irq: new TestLine() });
    rtc.writeRegister(0x0b, 0x06);
    const d = new Date(wall);
    const year = rtc.readRegister(0x32) * 100 + rtc.readRegister(9);
    assert.deepEqual(
      [year, rtc.readRegister(8), rtc.readRegister(7), rtc.readRegister(6)],
      [d.getUTCFullYear(), d.getUTCMonth() + 1, d.getUTCDate(), d.getUTCDay() + 1],
    );
  }
});

test('the guest sets the time under SET, and it runs on from there', () => {
  const { clock, get, set, time } = make();
  set(0x0b, 0x82);
  clock.advance(5e9);
  assert.equal(get(0), 0x58, 'SET holds the time');
  for (const [i, v] of [
    [0x32, 0x19],
    [9, 0x99],
    [8, 0x12],
    [7, 0x31],
    [4, 0x23],
    [2, 0x59],
    [0, 0x59],
  ] as const)
    set(i, v);
  set(0x0b, 0x02);
  assert.deepEqual(time(), [0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x59]);
  clock.advance(1e9);
  assert.deepEqual(time(), [0x20, 0x00, 0x01, 0x01, 7, 0x00, 0x00, 0x00]);
});

test('UIP comes before the update', () => {
  const { clock, get } = make();
  assert.equal(get(0x0a), 0x26);
  clock.advance(0.75e9 - 200_000);
  assert.equal(get(0x0a), 0xa6);
  clock.advance(200_000);
  assert.equal(get(0x0a), 0x26);
});

test('update-ended interrupt: once a second, until register C is read', () => {
  const { clock, irq, get, set } = make();
  set(0x0b, 0x12);
  clock.advance(0.74e9);
  assert.equal(irq.level, false);
  clock.advance(0.02e9);
  assert.equal(irq.level, true);
  assert.equal(get(0x0c) & 0xb0, 0x90);
  assert.equal(irq.level, false);
  assert.equal(get(0x0c), 0);
  clock.advance(3e9);
  assert.equal(irq.rises, 2, 'an unread flag makes no new edge');
});

test('the flags are set without their interrupts too, for those who poll', () => {
  const { clock, irq, get } = make();
  get(0x0c);
  clock.advance(1e9);
  assert.equal(get(0x0c), 0x50);
  assert.equal(irq.level, false);
});

test('periodic interrupt at 1024 Hz', () => {
  const { clock, irq, get, set } = make();
  set(0x0b, 0x42);
  for (let i = 0; i < 4096; i++) {
    clock.advance(1e9 / 4096);
    if (irq.level) assert.equal(get(0x0c) & 0xc0, 0xc0);
  }
  assert.ok(Math.abs(irq.rises - 1024) <= 1, String(irq.rises));
  set(0x0a, 0x2f);
  get(0x0c);
  irq.rises = 0;
  clock.advance(0.4e9);
  assert.equal(irq.rises, 0);
  clock.advance(0.2e9);
  assert.equal(irq.rises, 1, 'rate 15 is 2 Hz');
});

test('alarms: exact, and with "any" bytes', () => {
  const { clock, irq, get, set } = make();
  set(5, 0x14);
  set(3, 0x01);
  set(1, 0x30);
  set(0x0b, 0x22);
  clock.advance(91e9);
  assert.equal(irq.level, false);
  clock.advance(1e9);
  assert.equal(irq.level, true, '14:01:30');
  assert.equal(get(0x0c) & 0xa0, 0xa0);
  set(5, 0xff);
  set(3, 0xff);
  set(1, 0x31);
  clock.advance(1e9);
  assert.equal(irq.level, true);
  get(0x0c);
  clock.advance(59e9);
  assert.equal(irq.level, false);
  clock.advance(1e9);
  assert.equal(irq.level, true, 'once a minute');
  get(0x0c);
  set(1, 0x99);
  clock.advance(86400e9);
  assert.equal(irq.level, false, 'a byte that is no second never matches');
});

test('RAM, read-only registers and reset', () => {
  const { rtc, get, set } = make();
  rtc.setRam(0x34, 0x80);
  set(0x70, 0x55);
  set(0x0d, 0);
  set(0x0b, 0x72);
  assert.deepEqual([get(0x34), get(0x70), get(0x0d)], [0x80, 0x55, 0x80]);
  rtc.reset();
  assert.deepEqual([get(0x34), get(0x70), get(0x0d), get(0x0b)], [0x80, 0x55, 0x80, 0x02]);
  set(0x80 | 0x10, 1);
  assert.equal(rtc.state.nmiMasked, true);
});

test('saved and loaded, time and interrupts go on', () => {
  const a = make();
  a.set(0x0b, 0x12);
  a.set(9, 0x30);
  a.clock.advance(0.5e9);
  const b = make();
  b.clock.advance(0.5e9);
  b.rtc.load(a.rtc.save());
  assert.deepEqual(b.time(), a.time());
  b.clock.advance(0.5e9);
  assert.equal(b.irq.level, true);
});

test('random accesses', () => {
  for (let seed = 1; seed <= 4; seed++) {
    const { clock, rtc, ports } = make();
    const random = seededRandom(seed);
    fuzzAccesses(
      random,
      2000,
      16,
      {
        read: (o, s) => {
          ports.write(0x70, 1, o);
          return ports.read(0x71, 1) & (2 ** (8 * s) - 1);
        },
        write: (o, _s, v) => {
          ports.write(0x70, 1, random(20) === 0 ? 0x32 : o);
          ports.write(0x71, 1, v);
        },
      },
      () => clock.advance(random(8) === 0 ? random(4e9) : random(1e6)),
    );
    rtc.load(rtc.save());
  }
});
