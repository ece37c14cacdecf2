import assert from 'node:assert/strict';
import test from 'node:test';
import { BounceBuffers, gather, scatter, totalLength } from './bounce-buffers.js';

test('a buffer that was given back serves again, whatever its size was; two under way are two', () => {
  let allocated = 0;
  const buffers = new BounceBuffers((sizeBytes) => {
    allocated++;
    return new Uint8Array(sizeBytes);
  });
  const first = buffers.take(1000);
  const second = buffers.take(5000);
  assert.deepEqual([first.length, second.length, allocated], [1000, 5000, 2]);
  assert.notEqual(first.buffer, second.buffer);
  buffers.give(first);
  const third = buffers.take(1 << 20);
  assert.deepEqual([third.length, third.buffer === first.buffer, allocated], [1 << 20, true, 2]);
});

test('larger ones, and more than a few, are not kept', () => {
  const buffers = new BounceBuffers((sizeBytes) => new Uint8Array(sizeBytes));
  const large = buffers.take((1 << 20) + 1);
  buffers.give(large);
  assert.notEqual(buffers.take((1 << 20) + 1).buffer, large.buffer);
  const many = Array.from({ length: 20 }, () => buffers.take(1));
  for (const each of many) buffers.give(each);
  const again = Array.from({ length: 20 }, () => buffers.take(1));
  const known = new Set(many.map(({ buffer }) => buffer));
  assert.equal(again.filter(({ buffer }) => known.has(buffer)).length, 16);
});

test('pieces are gathered and scattered in order', () => {
  const pieces = [[1, 2], [], [3], [4, 5, 6]].map((bytes) => Uint8Array.from(bytes));
  const whole = new Uint8Array(totalLength(pieces));
  gather(pieces, whole);
  assert.deepEqual([...whole], [1, 2, 3, 4, 5, 6]);
  scatter(Uint8Array.of(9, 8, 7, 6, 5, 4), pieces);
  assert.deepEqual(
    pieces.map((piece) => [...piece]),
    [[9, 8], [], [7], [6, 5, 4]],
  );
});
