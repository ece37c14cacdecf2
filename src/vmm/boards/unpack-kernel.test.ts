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

test('damage and other packers are told in a sentence', () => {
  assert.throws(() => unpackKernel(gzipSync(plain).subarray(0, 50)), /damaged gzip file/);
  assert.throws(() => unpackKernel(zboot('zstd22', plain)), /packed with zstd22: only gzip/);
  assert.throws(() => unpackKernel(zboot('gzip', gzipSync(plain)).subarray(0, 0x220)), /cut short/);
});
