import assert from 'node:assert/strict';
import test from 'node:test';
import { ManualTime, MemorySpace } from '../../bus/index.js';
import { fuzzAccesses, seededRandom, TestLine } from '../testing.js';
import { Hpet } from './hpet.js';
import { wireHpet } from './wiring.js';

const BASE = 0xfed00000;
const [CAP, CONFIG, ISR, COUNTER] = [0x000, 0x010, 0x020, 0x0f0];
const timer = (n: number) => ({ config: 0x100 + 0x20 * n, compare: 0x108 + 0x20 * n, route: 0x110 + 0x20 * n });

function make() {
  const clock = new ManualTime();
  const gsi = Array.from({ length: 24 }, () => new TestLine());
  const messages: [number, number][] = [];
  const hpet = new Hpet({ clock, gsi, msi: { send: (address, data) => messages.push([address, data]) } });
  const space = new MemorySpace(new ArrayBuffer(0));
  wireHpet(space, hpet);
  const get = (offset: number) => space.read(BASE + offset, 4);
  const set = (offset: number, value: number) => space.write(BASE + offset, 4, value);
  return { clock, gsi, messages, hpet, space, get, set };
}

test('capabilities: 10 ns period, three 64-bit periodic timers, legacy replacement', () => {
  const { get, space } = make();
  assert.deepEqual([get(CAP), get(CAP + 4)], [0x8086a201, 10_000_000]);
  assert.equal(space.read64(BASE + timer(2).config), 0x00ff0104_00008030n);
  assert.equal(space.read64(BASE + timer(0).compare), 0xffff_ffff_ffff_ffffn);
});

test('the counter runs while enabled, and can be written', () => {
  const { clock, get, set, space } = make();
  clock.advance(1000);
  assert.equal(get(COUNTER), 0);
  set(CONFIG, 1);
  clock.advance(1009);
  assert.equal(get(COUNTER), 100);
  set(CONFIG, 0);
  clock.advance(1000);
  assert.equal(get(COUNTER), 100);
  space.write64(BASE + COUNTER, 0xffff_fff0n);
  set(CONFIG, 1);
  clock.advance(320);
  assert.equal(space.read64(BASE + COUNTER), 0x1_0000_0010n);
  set(COUNTER + 4, 7);
  assert.equal(space.read64(BASE + COUNTER), 0x7_0000_0010n);
});

test('one-shot, routed to I/O APIC pin 20, edge', () => {
  const { clock, gsi, get, set } = make();
  set(CONFIG, 1);
  set(timer(2).compare, 1000);
  set(timer(2).compare + 4, 0);
  set(timer(2).config, (20 << 9) | 0x04);
  clock.advance(9_999);
  assert.equal(gsi[20]!.rises, 0);
  clock.advance(1);
  assert.equal(gsi[20]!.rises, 1);
  assert.equal(gsi[20]!.level, false);
  assert.equal(get(ISR), 0);
  clock.advance(1e9);
  assert.equal(gsi[20]!.rises, 1);
  set(timer(2).compare, 500);
  set(timer(2).compare + 4, 0);
  clock.advance(1e9);
  assert.equal(gsi[20]!.rises, 1, 'a comparator in the past waits for the counter to come round');
});

test('level-triggered: status and line stay until acknowledged', () => {
  const { clock, gsi, get, set } = make();
  set(CONFIG, 1);
  set(timer(0).config, (16 << 9) | 0x106);
  set(timer(0).compare, 10);
  clock.advance(100);
  assert.deepEqual([gsi[16]!.level, get(ISR)], [true, 1]);
  set(ISR, 2);
  assert.equal(gsi[16]!.level, true);
  set(ISR, 1);
  assert.deepEqual([gsi[16]!.level, get(ISR)], [false, 0]);
  clock.advance(2 ** 32 * 10);
  assert.equal(gsi[16]!.level, true, 'a 32-bit comparator fires again when the counter wraps');
  set(timer(0).config, (16 << 9) | 0x102);
  assert.equal(gsi[16]!.level, false, 'disabling lowers the line');
});

test('periodic: the two writes of the set-value sequence, and no loss when late', () => {
  const { clock, gsi, get, set } = make();
  set(timer(0).config, (2 << 9) | 0x14c);
  set(timer(0).compare, 5_000);
  set(timer(0).compare, 100_000);
  assert.equal(get(timer(0).compare), 5_000);
  set(CONFIG, 1);
  clock.advance(50_000);
  assert.equal(gsi[2]!.rises, 1);
  assert.equal(get(timer(0).compare), 105_000);
  clock.advance(10e6);
  assert.equal(gsi[2]!.rises, 11);
  clock.skip(3.5e6);
  clock.skip(0);
  clock.skip(0);
  clock.skip(0);
  assert.equal(gsi[2]!.rises, 14);
});

test('legacy replacement takes IRQ 0 and 8 from the PIT and the RTC', () => {
  const { clock, gsi, hpet, set } = make();
  hpet.pitInput.set(true);
  hpet.rtcInput.set(true);
  assert.deepEqual([gsi[0]!.level, gsi[8]!.level], [true, true]);
  set(CONFIG, 3);
  assert.deepEqual([gsi[0]!.level, gsi[8]!.level], [false, false]);
  hpet.pitInput.set(false);
  hpet.pitInput.set(true);
  assert.equal(gsi[0]!.rises, 1);
  set(timer(0).config, 0x104);
  set(timer(0).compare, 100);
  set(timer(1).config, 0x104);
  set(timer(1).compare, 200);
  clock.advance(5000);
  assert.deepEqual([gsi[0]!.rises, gsi[8]!.rises], [2, 2]);
  set(CONFIG, 1);
  assert.deepEqual([gsi[0]!.level, gsi[8]!.level], [true, true], 'the old lines show through again');
});

test('without a message target there are no FSB interrupts', () => {
  const hpet = new Hpet({ clock: new ManualTime(), gsi: [], routes: 4 });
  hpet.write(timer(0).config, 4, 0xffffffff);
  assert.equal(hpet.read64(timer(0).config), 0x4_0000_3f7en);
});

test('FSB interrupts', () => {
  const { clock, messages, set, space } = make();
  space.write64(BASE + timer(1).route, 0xfee00000_00000041n);
  set(timer(1).config, 0x4104);
  set(timer(1).compare, 100);
  set(CONFIG, 1);
  clock.advance(1000);
  assert.deepEqual(messages, [[0xfee00000, 0x41]]);
});

test('saved and loaded with a periodic timer under way', () => {
  const a = make();
  a.set(timer(0).config, (2 << 9) | 0x14c);
  a.set(timer(0).compare, 1000);
  a.set(CONFIG, 1);
  a.clock.advance(12_345);
  const b = make();
  b.clock.advance(12_345);
  b.hpet.load(a.hpet.save());
  assert.equal(b.get(COUNTER), 1234);
  b.clock.advance(10_000);
  assert.equal(b.gsi[2]!.rises, 1);
});

test('random accesses', () => {
  for (let seed = 1; seed <= 4; seed++) {
    const { clock, hpet, space } = make();
    const random = seededRandom(seed);
    fuzzAccesses(
      random,
      4000,
      0x180,
      { read: (o, s) => space.read(BASE + o, s), write: (o, s, v) => space.write(BASE + o, s, v) },
      () => {
        clock.skip(random(3) === 0 ? random(1e6) : 0);
        if (random(20) === 0) space.write64(BASE + (random(0x2f) << 3), BigInt(random(2 ** 32)) << BigInt(random(33)));
      },
    );
    const saved = hpet.save();
    hpet.load(saved);
    assert.deepEqual(hpet.save(), saved);
  }
});
