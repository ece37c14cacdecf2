import assert from 'node:assert/strict';
import test from 'node:test';
import { ManualTime } from '../../bus/index.js';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { ACLINT_BYTES, Aclint } from './aclint.js';

const MSIP = 0;
const MTIMECMP = 0x4000;
const MTIME = 0xbff8;

function make() {
  const clock = new ManualTime();
  const software = new TestLine();
  const timer = new TestLine();
  let jumps = 0;
  const aclint = new Aclint({ clock, harts: [{ software, timer }], timeChanged: () => jumps++ });
  aclint.reset();
  const { registers } = aclint;
  const read64 = (at: number) => (BigInt(registers.read(at + 4, 4)) << 32n) | BigInt(registers.read(at, 4));
  const write64 = (at: number, value: bigint) => {
    registers.write(at, 4, Number(value & 0xffffffffn));
    registers.write(at + 4, 4, Number(value >> 32n));
  };
  return { clock, software, timer, aclint, registers, read64, write64, jumps: () => jumps };
}

test('mtime counts 10 MHz, and can be set; who waits for a time hears of it', () => {
  const { clock, read64, write64, aclint, jumps } = make();
  assert.equal(read64(MTIME), 0n);
  clock.advance(1_000_050);
  assert.equal(read64(MTIME), 10_000n);
  write64(MTIME, 0x1_0000_0000n);
  assert.equal(read64(MTIME), 0x1_0000_0000n);
  assert.equal(jumps(), 2);
  clock.advance(100);
  assert.equal(aclint.time(), 0x1_0000_0001n);
  assert.equal(
    aclint.deadlineOf(0x1_0000_0002n),
    clock.nowNs() + 50,
    'ticks are whole multiples of 100 ns of the clock',
  );
});

test('the timer interrupts from mtimecmp on, until it is set later', () => {
  const { clock, timer, write64 } = make();
  assert.equal(timer.level, false, 'after reset mtimecmp is as late as can be');
  write64(MTIMECMP, 1000n);
  clock.advance(99_999);
  assert.equal(timer.level, false);
  clock.advance(1);
  assert.equal(timer.level, true);
  write64(MTIMECMP, 2000n);
  assert.equal(timer.level, false);
  write64(MTIMECMP, 5n);
  assert.equal(timer.level, true, 'what has passed interrupts at once');
});

test('a time that no clock reaches arms nothing', () => {
  const { clock, write64 } = make();
  write64(MTIMECMP, (1n << 64n) - 1n);
  assert.equal(clock.nextDeadlineNs(), Infinity);
});

test('msip is one bit', () => {
  const { registers, software } = make();
  registers.write(MSIP, 4, 0xffffffff);
  assert.equal(registers.read(MSIP, 4), 1);
  assert.equal(software.level, true);
  registers.write(MSIP, 4, 0);
  assert.equal(software.level, false);
});

test('every hart has msip and mtimecmp of its own', () => {
  const clock = new ManualTime();
  const harts = [0, 1, 2].map(() => ({ software: new TestLine(), timer: new TestLine() }));
  const aclint = new Aclint({ clock, harts });
  aclint.reset();
  aclint.registers.write(4, 4, 1);
  aclint.registers.write(MTIMECMP + 16, 4, 10);
  aclint.registers.write(MTIMECMP + 20, 4, 0);
  clock.advance(1000);
  assert.deepEqual(
    harts.map(({ software, timer }) => [software.level, timer.level]),
    [
      [false, false],
      [true, false],
      [false, true],
    ],
  );
  assert.equal(aclint.registers.read(12, 4), 0, 'there is no fourth hart');
});

test('saved while the timer runs, it goes off in the machine that loads', () => {
  const before = make();
  before.write64(MTIMECMP, 500n);
  before.registers.write(MSIP, 4, 1);
  before.clock.advance(10_000);
  const after = make();
  after.clock.advance(10_000);
  after.aclint.load(before.aclint.save());
  assert.equal(after.software.level, true);
  after.clock.advance(39_999);
  assert.equal(after.timer.level, false);
  after.clock.advance(1);
  assert.equal(after.timer.level, true);
});

test('random accesses of every width', () => {
  const { registers, clock } = make();
  const random = seededRandom(7);
  fuzzAccesses(random, 4000, ACLINT_BYTES, registers, () => clock.advance(random(100_000)));
  const near = (at: number) => [MSIP, MTIMECMP, MTIME][at % 3] + (at >> 2);
  for (let i = 0; i < 4000; i++) {
    const at = near(random(30));
    registers.write(at, 1, random(256));
    assert.ok(registers.read(at, 1) < 256);
    clock.advance(random(100_000));
  }
});
