/** Deflate from node:zlib and zstd. What takes longer than a trip to the thread pool (some 40 µs) is done there, the rest in place. */
import * as zlib from 'node:zlib';
import { BlockError } from '../../block/errors.js';
import type { CompressionHost } from '../../block/host.js';
import { decompressThreads } from './decompress-threads.js';
import { chunkSize, codecFor, decompressPieces, inflateOptions } from './inflate.js';
import { loadZstd } from './zstd.js';

type Callback = (error: Error | null, result: Buffer) => void;

/** Inflating up to this takes less than 0.2 ms. */
const inPlaceBytes = 128 * 1024;

/** Fewer bytes than this are decompressed in the calling thread. */
const threadedBytes = 256 * 1024;

function call(start: (callback: Callback) => void): Promise<Uint8Array> {
  return new Promise((resolve, reject) => start((error, result) => (error ? reject(error) : resolve(result))));
}

export const nodeCompression: CompressionHost = {
  async deflateRaw(input, options) {
    const result = await call((callback) =>
      zlib.deflateRaw(
        input,
        { level: options.level ?? -1, windowBits: options.windowBits ?? 15, chunkSize: chunkSize(input.length) },
        callback,
      ),
    );
    return result.length <= options.limit ? result : undefined;
  },
  async deflateZlib(input, options) {
    const result = await call((callback) =>
      zlib.deflate(input, { level: options.level ?? -1, chunkSize: chunkSize(input.length) }, callback),
    );
    return result.length <= options.limit ? result : undefined;
  },
  async inflate(kind, input, size) {
    try {
      const options = inflateOptions(size);
      let result: Uint8Array;
      if (size <= inPlaceBytes && input.length <= inPlaceBytes)
        result = kind === 'raw' ? zlib.inflateRawSync(input, options) : zlib.inflateSync(input, options);
      else
        result = await call((callback) =>
          kind === 'raw' ? zlib.inflateRaw(input, options, callback) : zlib.inflate(input, options, callback),
        );
      if (result.length < size) throw new BlockError('EIO');
      return result.subarray(0, size);
    } catch (error) {
      throw error instanceof BlockError ? error : new BlockError('EIO', undefined, { cause: error });
    }
  },
  async zstdCompress(input, limit) {
    return (await loadZstd()).compress(input, limit);
  },
  async decompressAll(kind, input, output, pieces, size) {
    const bytes = pieces.length * size;
    if (bytes >= threadedBytes && decompressThreads.isReady && isShared(input) && isShared(output)) {
      if (await decompressThreads.run({ kind, input, output, pieces, size })) return;
    }
    decompressPieces(await codecFor(kind), input, output, pieces, size);
    decompressThreads.note(bytes);
  },
};

function isShared(bytes: Uint8Array): boolean {
  return bytes.buffer instanceof SharedArrayBuffer;
}
