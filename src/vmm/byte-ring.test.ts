import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteRing } from './byte-ring.js';

test('bytes come out as they went in, across the end of the ring', () => {
  const ring = ByteRing.create(8);
  assert.equal(ring.write(Uint8Array.of(1, 2, 3, 4, 5)), 5);
  assert.deepEqual([...ring.read(3)], [1, 2, 3]);
  assert.equal(ring.write(Uint8Array.of(6, 7, 8, 9, 10, 11, 12)), 6, 'the rest does not fit');
  assert.equal(ring.writeByte(99), false);
  assert.deepEqual([...ring.read()], [4, 5, 6, 7, 8, 9, 10, 11]);
  assert.equal(ring.available, 0);
});

test('a sleeping reader is woken once; a blocked writer is told once', () => {
  const ring = ByteRing.create(4);
  assert.equal(ring.sleep(), true);
  assert.equal(ring.wake(), false, 'nothing written yet');
  ring.write(Uint8Array.of(1, 2, 3, 4));
  assert.equal(ring.wake(), true);
  assert.equal(ring.wake(), false);
  assert.equal(ring.sleep(), false, 'there is something: no sleep');
  assert.equal(ring.block(), true);
  ring.read(1);
  assert.equal(ring.unblock(), true);
  assert.equal(ring.unblock(), false);
});
