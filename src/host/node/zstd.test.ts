import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import test from 'node:test';
import { portableZstd, systemZstd, type ZstdCodec, zlibZstd, zstdFrameLength } from './zstd.js';

const text = Buffer.from('the clusters of a disk image. '.repeat(3000)).subarray(0, 65536);

function unpack(codec: ZstdCodec, frame: Uint8Array, size: number): Buffer {
  const output = Buffer.alloc(size);
  codec.decompress(frame, output);
  return output;
}

const codecs: readonly (readonly [string, () => Promise<ZstdCodec | undefined>])[] = [
  ['node:zlib', async () => zlibZstd()],
  ['libzstd.so.1', async () => systemZstd()],
  ['WebAssembly and JavaScript', portableZstd],
];

for (const [name, load] of codecs) {
  test(`zstd by ${name}`, async (context) => {
    const codec = await load();
    if (!codec) return context.skip(`this Node has no zstd by ${name}`);
    const frame = codec.compress(text, text.length - 1);
    assert.ok(frame && frame.length < 2000);
    assert.equal(zstdFrameLength(Buffer.concat([frame, Buffer.alloc(300, 0xee)])), frame.length);
    assert.ok(unpack(codec, frame, text.length).equals(text));
    assert.equal(codec.compress(text, frame.length - 1), undefined, 'larger than the limit');
    assert.ok(codec.compress(text, frame.length), 'as large as the limit');
    // Neither more nor less than what is there, and no damage passes.
    for (const size of [text.length + 1, text.length - 1, 1])
      assert.throws(() => unpack(codec, frame, size), { code: 'EIO' });
    assert.throws(() => unpack(codec, frame.subarray(0, frame.length - 5), text.length), { code: 'EIO' });
    const damaged = Buffer.from(frame);
    damaged[0]! ^= 1;
    assert.throws(() => unpack(codec, damaged, text.length), { code: 'EIO' });
    assert.ok(unpack(codec, frame, text.length).equals(text), 'and it goes on');
  });

  test(`zstd by ${name} and the zstd program read each other`, async (context) => {
    const codec = await load();
    if (!codec) return context.skip(`this Node has no zstd by ${name}`);
    const packed = spawnSync('zstd', ['-c'], { input: text });
    if (packed.status !== 0) return context.skip('the zstd program is not installed');
    assert.ok(unpack(codec, packed.stdout, text.length).equals(text));
    const plain = spawnSync('zstd', ['-dc'], { input: codec.compress(text, text.length) });
    assert.ok(plain.stdout.equals(text));
  });
}
