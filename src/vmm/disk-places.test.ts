import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DiskPlaces, descriptorOf, isInMemory, isWritable, placedFile } from './disk-places.js';

test('a file and what may be done with it are one number', () => {
  for (const descriptor of [0, 5, 2 ** 31 - 1]) {
    for (const writable of [false, true]) {
      for (const inMemory of [false, true]) {
        const file = placedFile(descriptor, writable, inMemory);
        assert.deepEqual([descriptorOf(file), isWritable(file), isInMemory(file)], [descriptor, writable, inMemory]);
      }
    }
  }
});

test('neighbours in disk and file are one run, others are not', () => {
  const places = new DiskPlaces();
  places.add({ start: 0, end: 10, at: 100, file: 4 });
  places.add({ start: 20, end: 30, at: 120, file: 4 });
  places.add({ start: 10, end: 20, at: 110, file: 4 });
  assert.equal(places.size, 1);
  assert.deepEqual(places.find(29), { start: 0, end: 30, at: 100, file: 4 });
  places.add({ start: 30, end: 40, at: 300, file: 4 });
  places.add({ start: 40, end: 50, at: 310, file: 5 });
  assert.equal(places.size, 3);
  assert.equal(places.find(50), undefined);
});

test('after any additions and omissions each byte is where it was last said to be', () => {
  const DISK = 64;
  const step = fc.record({
    start: fc.nat(DISK - 1),
    length: fc.integer({ min: 1, max: 24 }),
    at: fc.nat(3).map((i) => i * 16),
    file: fc.nat(1),
    forgets: fc.boolean(),
    follows: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const places = new DiskPlaces();
      const known: (string | undefined)[] = new Array<undefined>(DISK).fill(undefined);
      for (const { start, length, at, file, forgets, follows } of steps) {
        const end = Math.min(DISK, start + length);
        // Half of them lie so that they may join.
        const place = follows ? 1000 + start : at;
        if (forgets) places.forget(start, end);
        else places.add({ start, end, at: place, file });
        for (let byte = start; byte < end; byte++)
          known[byte] = forgets ? undefined : `${place + byte - start} of ${file}`;
      }
      for (let byte = 0; byte < DISK; byte++) {
        const run = places.find(byte);
        assert.equal(run && `${run.at + byte - run.start} of ${run.file}`, known[byte], `byte ${byte}`);
      }
    }),
  );
});
