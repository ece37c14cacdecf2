/** Words of IR as they are kept in memory. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { MOST_PACKED_BYTES, packWords, unpackWords } from './packed-words.js';

test('words come out as they went in, from any place in the bytes', () => {
  const edges = [0, 1, 239, 240, 241, 495, 496, 4079, 4080, 4081, 65535, 65536, 2 ** 31 - 1, -1, -240, -(2 ** 31)];
  const words = Int32Array.from([...edges, ...edges.toReversed()]);
  const bytes = new Uint8Array(7 + words.length * MOST_PACKED_BYTES);
  const end = packWords(words, words.length, bytes, 7);
  assert.ok(end <= bytes.length);
  assert.deepEqual(bytes.subarray(end), new Uint8Array(bytes.length - end));
  const out = new Int32Array(words.length + 1).fill(77);
  unpackWords(bytes, 7, out, words.length);
  assert.deepEqual([...out.subarray(0, words.length)], [...words]);
  assert.equal(out[words.length], 77);
});

test('small words take a byte, those of ops and offsets two', () => {
  const bytes = new Uint8Array(16);
  assert.equal(packWords(Int32Array.of(0, 239), 2, bytes, 0), 2);
  assert.equal(packWords(Int32Array.of(240, 4079), 2, bytes, 0), 4);
  assert.equal(packWords(Int32Array.of(-1), 1, bytes, 0), MOST_PACKED_BYTES);
});
