/** Decompression in the calling thread. */
import * as zlib from 'node:zlib';
import { BlockError } from '../../block/errors.js';
import type { PackedPiece } from '../../block/host.js';
import { loadZstd, type ZstdCodec, zstdFrameLength } from './zstd.js';

/** One output buffer for all of it: each further chunk would cost a trip to the thread pool and back. */
export function chunkSize(bytes: number): number {
  return Math.max(1024, Math.min(bytes + 512, 2 ** 25));
}

export function inflateOptions(size: number): zlib.ZlibOptions {
  // Z_SYNC_FLUSH: a stream that has no end marker within the sectors it was given still yields what it holds.
  return {
    maxOutputLength: Math.max(size, 1) + 65536,
    chunkSize: chunkSize(size),
    finishFlush: zlib.constants.Z_SYNC_FLUSH,
  };
}

/** Decompresses pieces one after the other; EIO for the first that doesn't give `size` bytes. */
export function decompressPieces(
  codec: ZstdCodec | undefined,
  input: Uint8Array,
  output: Uint8Array,
  pieces: readonly PackedPiece[],
  size: number,
): void {
  const options = codec ? undefined : inflateOptions(size);
  for (const { from, length, to } of pieces) {
    const packed = input.subarray(from, from + length);
    const plain = output.subarray(to, to + size);
    if (codec) {
      codec.decompress(packed.subarray(0, zstdFrameLength(packed)), plain);
      continue;
    }
    let result: Uint8Array;
    try {
      result = zlib.inflateRawSync(packed, options);
    } catch (error) {
      throw new BlockError('EIO', undefined, { cause: error });
    }
    if (result.length < size) throw new BlockError('EIO');
    plain.set(result.length === size ? result : result.subarray(0, size));
  }
}

export function codecFor(kind: 'deflate' | 'zstd'): Promise<ZstdCodec> | undefined {
  return kind === 'zstd' ? loadZstd() : undefined;
}
