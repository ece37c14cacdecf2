import assert from 'node:assert/strict';
import test from 'node:test';
import { seededRandom } from '../hw/testing.js';
import { FrameRing } from './frame-ring.js';

test('frames come out as they went in, in order, however large; a full ring says so and wakes its writer', () => {
  const random = seededRandom(2);
  const writer = FrameRing.create();
  const reader = new FrameRing(writer.buffer);
  const waiting: { length: number; first: number; gsoSize: number }[] = [];
  let refused = 0;
  let woken = 0;
  for (let step = 0; step < 20_000; step++) {
    if (random(2) === 0) {
      const length = random(20) === 0 ? 65_500 : 14 + random(3000);
      const room = writer.reserve(length);
      if (!room) {
        refused++;
        assert.ok(waiting.length > 0);
      } else {
        room.fill(step & 255);
        const gsoSize = random(65536);
        const offload = { flags: 1, gsoType: 4, headerLength: 54, gsoSize, checksumStart: 34, checksumOffset: 16 };
        if (writer.commit(offload)) woken++;
        waiting.push({ length, first: step & 255, gsoSize });
      }
    } else if (step > 10_000 || random(3) === 0) {
      const frame = reader.peek();
      const expected = waiting.shift();
      assert.equal(frame === undefined, expected === undefined);
      if (!frame || !expected) continue;
      assert.equal(frame.bytes.length, expected.length);
      assert.ok(frame.bytes.every((byte) => byte === expected.first));
      assert.equal(frame.offload.gsoSize, expected.gsoSize);
      if (reader.consume()) assert.ok(writer.hasHalfFree && refused > 0);
    }
  }
  assert.ok(refused > 0);
  // Only a reader that has found nothing is woken.
  assert.ok(woken >= 1);
});
