import assert from 'node:assert/strict';
import { test } from 'node:test';
import { randomFrom } from '../../testing/memory-host.js';
import { entryRun } from './entry-run.js';

/** Entry by entry, in integers without a bound. */
function slowRun(view: DataView, at: number, end: number, step: number): number {
  let count = 1;
  while (at + 8 * count < end) {
    const expected = BigInt.asUintN(64, view.getBigUint64(at) + BigInt(step) * BigInt(count));
    if (view.getBigUint64(at + 8 * count) !== expected) break;
    count++;
  }
  return count;
}

test('runs of every length, ended by the table or by one bit, wherever they begin', () => {
  const seed = Date.now() % 1e6;
  const random = randomFrom(seed);
  const entries = 1500;
  const bytes = new Uint8Array(16 + 8 * entries);
  const view = new DataView(bytes.buffer, 8);
  for (let round = 0; round < 2000; round++) {
    const step = [0, 512, 65536, 2 ** 21][random(4)]!;
    // Near a carry into the high word, now and then.
    const first = (1n << 63n) | (BigInt(random(2 ** 20)) << 32n) | BigInt(2 ** 32 - 512 * (1 + random(2 ** 20)));
    for (let i = 0; i < entries; i++) view.setBigUint64(8 * i, BigInt.asUintN(64, first + BigInt(step) * BigInt(i)));
    const broken = random(2 * entries);
    if (broken < entries) bytes[8 + 8 * broken + random(8)]! ^= 1 << random(8);
    const start = random(entries);
    const end = start + 1 + random(entries - start);
    const [at, to] = [8 * start, 8 * end];
    assert.equal(entryRun(view, at, to, step), slowRun(view, at, to, step), `seed ${seed}, round ${round}`);
  }
});
