import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readHead, readImage } from './image-file.js';

test('an image that is too large is refused by its size; the head of a file is what there is', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vring-image-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'image');
  writeFileSync(file, 'abc');
  assert.deepEqual(readHead(file, 2), Uint8Array.of(0x61, 0x62));
  assert.deepEqual(readHead(file, 8), Uint8Array.of(0x61, 0x62, 0x63));
  assert.equal(readHead(folder, 8), undefined);
  assert.equal(readHead(join(folder, 'none'), 8), undefined);
  truncateSync(file, 2 ** 31 + 1);
  assert.throws(
    () => readImage('The kernel', file, 2 ** 31),
    /^VringError: The kernel '.*' is larger than 2048 MiB\.$/,
  );
});
