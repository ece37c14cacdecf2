import assert from 'node:assert/strict';
import test from 'node:test';
import { gzipSync } from 'node:zlib';
import { unpackKernel } from './unpack-kernel.js';

const plain = new Uint8Array(100_000).map((_, i) => (i * 7) & 255);

/** An EFI program around a packed kernel. */
function zboot(kind: string, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(0x200 + payload.length);
  bytes.set(Buffer.from('MZ'), 0);
  bytes.set(Buffer.from('zimg'), 4);
  new DataView(bytes.buffer).setUint32(8, 0x200, true);
  new DataView(bytes.buffer).setUint32(12, payload.length, true);
  bytes.set(Buffer.from(`${kind}\0`), 24);
  bytes.set(payload, 0x200);
  return bytes;
}

test('gzip, by itself or in an EFI program; what is not packed stays as it is', () => {
  assert.deepEqual(unpackKernel(gzipSync(plain)), Buffer.from(plain));
  assert.deepEqual(unpackKernel(zboot('gzip', gzipSync(plain))), Buffer.from(plain));
  assert.equal(unpackKernel(plain), plain);
});

test("a U-Boot image's content, whose header then says so", () => {
  const content = gzipSync(plain);
  const image = new Uint8Array(64 + content.length + 3);
  const view = new DataView(image.buffer);
  view.setUint32(0, 0x27051956);
  view.setUint32(12, content.length);
  view.setUint32(16, 0x40008000);
  image.set([5, 22, 2, 1], 28);
  image.set(content, 64);
  const whole = unpackKernel(image);
  assert.deepEqual([...whole.subarray(16, 20), ...whole.subarray(28, 32)], [0x40, 0, 0x80, 0, 5, 22, 2, 0]);
  assert.equal(new DataView(whole.buffer, whole.byteOffset).getUint32(12), plain.length);
  assert.deepEqual(whole.subarray(64), plain);
  image[31] = 2;
  assert.equal(unpackKernel(image), image, 'what it does not know it leaves to the loader');
});

test('damage and other packers are told in a sentence', () => {
  assert.throws(() => unpackKernel(gzipSync(plain).subarray(0, 50)), /damaged gzip file/);
  assert.throws(() => unpackKernel(zboot('zstd22', plain)), /packed with zstd22: only gzip/);
  assert.throws(() => unpackKernel(zboot('gzip', gzipSync(plain)).subarray(0, 0x220)), /cut short/);
});
