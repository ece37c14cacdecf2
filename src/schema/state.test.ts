import assert from 'node:assert/strict';
import test from 'node:test';
import { bool, bytes, defineState, f64, list, StateArena, StateError, u8, u16, u32, u32s, u64 } from './index.js';

const Demo = defineState('demo', 2, {
  a: u8(7),
  on: bool(true),
  word: u16(0x1234),
  deadline: f64(Infinity),
  long: u64(3n),
  fifo: bytes(5),
  irr: u32s(8),
  index: u8(0, { max: 15 }),
  battery: u32(9, { keep: true }),
  later: u8(42, { since: 2 }),
  channels: list(3, { count: u16(0xffff), latch: u32s(2), gate: bool() }),
});

test('a struct starts with its reset values and keeps what is stored, field by field', () => {
  const s = Demo.allocate();
  assert.equal(s.a, 7);
  assert.equal(s.on, true);
  assert.equal(s.deadline, Infinity);
  assert.equal(s.channels[2]!.count, 0xffff);
  s.a = 0x1ff;
  assert.equal(s.a, 0xff, 'a u8 holds eight bits');
  s.channels[1]!.latch[1] = 5;
  s.channels[1]!.gate = true;
  s.long = 0xffff_ffff_ffff_ffffn;
  s.fifo[4] = 1;
  assert.deepEqual([...s.channels[1]!.latch], [0, 5]);
  assert.deepEqual([...s.channels[0]!.latch, ...s.channels[2]!.latch], [0, 0, 0, 0]);
  assert.equal(s.on, true);
  assert.equal(s.word, 0x1234);
  assert.equal(s.long, 0xffff_ffff_ffff_ffffn);
});

test('reset restores all but what is battery-backed', () => {
  const s = Demo.allocate();
  s.a = 1;
  s.battery = 1;
  s.channels[0]!.count = 3;
  Demo.reset(s);
  assert.equal(s.a, 7);
  assert.equal(s.channels[0]!.count, 0xffff);
  assert.equal(s.battery, 1);
});

test('two threads of one arena see one state', () => {
  const buffer = new SharedArrayBuffer(4096);
  const first = new StateArena(buffer);
  const [a1, b1] = [Demo.allocate(first), Demo.allocate(first)];
  a1.word = 1;
  b1.word = 2;
  b1.channels[2]!.count = 77;
  const second = new StateArena(buffer, { attached: true });
  const [a2, b2] = [Demo.allocate(second), Demo.allocate(second)];
  assert.equal(a2.word, 1);
  assert.equal(b2.word, 2);
  assert.equal(b2.channels[2]!.count, 77);
});

test('save and load carry every field', () => {
  const s = Demo.allocate();
  s.a = 200;
  s.on = false;
  s.deadline = 1.5e12;
  s.long = 1n << 63n;
  s.fifo.set([1, 2, 3, 4, 5]);
  s.irr[7] = 0x80000000;
  s.channels[2]!.latch[0] = 0xdeadbeef;
  const t = Demo.allocate();
  Demo.load(t, Demo.save(s));
  assert.deepEqual(Demo.save(t), Demo.save(s));
  assert.equal(t.deadline, 1.5e12);
  assert.equal(t.channels[2]!.latch[0], 0xdeadbeef);
  assert.equal(t.long, 1n << 63n);
});

test('an older state loads; the field it lacks gets its reset value', () => {
  const V1 = defineState('grow', 1, { a: u8() });
  const V2 = defineState('grow', 2, { a: u8(), b: u8(42, { since: 2 }) });
  const old = V1.allocate();
  old.a = 5;
  const s = V2.allocate();
  s.b = 1;
  V2.load(s, V1.save(old));
  assert.deepEqual([s.a, s.b], [5, 42]);
  assert.throws(() => V1.load(V1.allocate(), V2.save(s)), { code: 'state-version' });
});

test('unfit states are refused by code and leave the struct alone', () => {
  const s = Demo.allocate();
  const good = Demo.save(s);
  const refused = (bytes: Uint8Array, code: string) => {
    assert.throws(
      () => Demo.load(s, bytes),
      (e) => e instanceof StateError && e.code === code,
    );
    assert.deepEqual(Demo.save(s), good);
  };
  refused(good.subarray(0, good.length - 1), 'state-truncated');
  refused(new Uint8Array(0), 'state-truncated');
  refused(new Uint8Array([...good, 0]), 'state-trailing');
  refused(defineState('other', 1, { a: u8() }).save({ a: 1, $u8: new Uint8Array(8) } as never), 'state-name');
  const bad = Demo.allocate();
  bad.index = 16;
  refused(Demo.save(bad), 'state-range');
  bad.index = 0;
  bad.deadline = Number.NaN;
  refused(Demo.save(bad), 'state-range');
  const Fewer = defineState('demo', 2, { a: u8(7) });
  refused(Fewer.save(Fewer.allocate()), 'state-missing');
  const Wider = defineState('demo', 2, { a: u16(7) });
  refused(Wider.save(Wider.allocate()), 'state-field');
});

test('no mutation of a saved state does anything but load or throw StateError', () => {
  const good = Demo.save(Demo.allocate());
  let seed = 1;
  const random = (n: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % n;
  };
  let loaded = 0;
  for (let i = 0; i < 3000; i++) {
    const mutated = good.slice(0, random(10) === 0 ? random(good.length) : good.length);
    for (let k = random(4); k >= 0 && mutated.length > 0; k--) mutated[random(mutated.length)] = random(256);
    const s = Demo.allocate();
    try {
      Demo.load(s, mutated);
      loaded++;
      assert.ok(s.index <= 15);
    } catch (e) {
      assert.ok(e instanceof StateError, String(e));
    }
  }
  assert.ok(loaded > 0 && loaded < 3000);
});
