import assert from 'node:assert/strict';
import test from 'node:test';
import { isUBootImage, parseUBootImage, uBootType, withoutUBootHeader } from './u-boot-image.js';

interface Header {
  readonly type?: number;
  readonly os?: number;
  readonly packing?: number;
  readonly load?: number;
  readonly entry?: number;
  readonly size?: number;
}

function image(content: Uint8Array, { type = 2, os = 5, packing = 0, load = 0, entry = 0, size }: Header = {}) {
  const bytes = new Uint8Array(64 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x27051956);
  view.setUint32(12, size ?? content.length);
  view.setUint32(16, load);
  view.setUint32(20, entry);
  bytes.set([os, 2, type, packing], 28);
  bytes.set(content, 64);
  return bytes;
}
const content = Uint8Array.of(1, 2, 3);

test('a kernel lies and begins where its header says; one that may lie anywhere has its entry counted from its start', () => {
  const fixed = parseUBootImage(image(content, { load: 0x4000_8000, entry: 0x4000_8040 }), uBootType.kernel, 0x100);
  assert.deepEqual(fixed, { content, load: 0x4000_8000, entry: 0x4000_8040, linux: true });
  const movable = parseUBootImage(image(content, { type: 14, os: 17, entry: 0x40 }), uBootType.kernel, 0x100);
  assert.deepEqual(movable, { content, load: 0x100, entry: 0x140, linux: false });
});

test('other kinds, packings and sizes are told in a sentence', () => {
  const parse = (header: Header) => parseUBootImage(image(content, header), uBootType.kernel, 0);
  assert.throws(() => parse({ type: 3 }), /of another kind \(3\)/);
  assert.throws(() => parse({ packing: 2 }), /packed by method 2: only gzip/);
  assert.throws(() => parse({ size: 4 }), /cut short/);
  assert.throws(() => parse({ size: 0 }), /cut short/);
});

test('an initial RAM disk comes without its header; any other file as it is', () => {
  assert.deepEqual(withoutUBootHeader(image(content, { type: 3, packing: 1 })), content);
  assert.equal(withoutUBootHeader(content), content);
  assert.equal(isUBootImage(image(content).subarray(0, 63)), false);
});
