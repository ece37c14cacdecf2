import assert from 'node:assert/strict';
import test from 'node:test';
import { ManualTime } from '../../bus/index.js';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { GOLDFISH_RTC_BYTES, GoldfishRtc } from './goldfish-rtc.js';

const at = { low: 0, high: 4, alarmLow: 8, alarmHigh: 12, enable: 16, clearAlarm: 20, status: 24, clear: 28 } as const;
const START = Date.UTC(2026, 0, 2, 3, 4, 5) * 1e6;

function make(start = START) {
  const clock = new ManualTime(start);
  const irq = new TestLine();
  const rtc = new GoldfishRtc({ clock, irq });
  const read = (offset: number) => rtc.registers.read(offset, 4);
  const write = (offset: number, value: number) => rtc.registers.write(offset, 4, value);
  const time = () => {
    const low = read(at.low);
    return (BigInt(read(at.high)) << 32n) | BigInt(low);
  };
  const alarm = (ns: bigint) => {
    write(at.alarmHigh, Number(ns >> 32n));
    write(at.alarmLow, Number(ns & 0xffffffffn));
  };
  return { clock, irq, rtc, read, write, time, alarm };
}

test('nanoseconds since 1970; the high half is of the moment at which the low one was read', () => {
  const { clock, time, read } = make();
  assert.equal(time(), BigInt(START));
  clock.advance(5e9);
  assert.equal(time(), BigInt(START) + 5_000_000_000n);
  const high = read(at.high);
  clock.advance(20e9);
  assert.equal(read(at.high), high);
});

test('the time can be set, half by half, and outlives a reset', () => {
  // A date at which a number holds single nanoseconds.
  const { clock, rtc, time, write } = make(1e15);
  write(at.high, 5);
  write(at.low, 7);
  assert.equal(time(), (5n << 32n) | 7n);
  clock.advance(100);
  rtc.reset();
  assert.equal(time(), ((5n << 32n) | 7n) + 100n);
});

test('an alarm comes when it is due, if it is enabled, until it is cleared', () => {
  const { clock, irq, read, write, time, alarm } = make();
  write(at.enable, 1);
  alarm(time() + 1000n);
  assert.equal(read(at.status), 1);
  clock.advance(999);
  assert.equal(irq.level, false);
  clock.advance(1);
  assert.equal(irq.level, true);
  assert.equal(read(at.status), 0);
  write(at.clear, 1);
  assert.equal(irq.level, false);
  alarm(time() + 1000n);
  write(at.clearAlarm, 1);
  clock.advance(2000);
  assert.equal(irq.level, false);
  alarm(time() - 1n);
  assert.equal(irq.level, true, 'one of the past comes at once');
  write(at.enable, 0);
  assert.equal(irq.level, false);
});

test('saved with an alarm under way: it comes in the machine that loads, not before its clock goes on', () => {
  const before = make();
  before.write(at.enable, 1);
  before.alarm(before.time() + 5000n);
  const saved = before.rtc.save();
  const early = make();
  early.rtc.load(saved);
  early.clock.advance(4999);
  assert.equal(early.irq.level, false);
  early.clock.advance(1);
  assert.equal(early.irq.level, true);
  const late = make(START + 1e9);
  late.rtc.load(saved);
  assert.equal(late.irq.level, false);
  late.clock.advance(1);
  assert.equal(late.irq.level, true);
});

test('random accesses of every width', () => {
  const { rtc, clock } = make();
  const random = seededRandom(3);
  fuzzAccesses(random, 5000, GOLDFISH_RTC_BYTES, rtc.registers, () => clock.advance(random(1e9)));
});
