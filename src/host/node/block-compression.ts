/** Deflate from node:zlib (in its thread pool), zstd from node:zlib where it has it and else from a WebAssembly build. */
import * as zlib from 'node:zlib';
import { BlockError } from '../../block/errors.js';
import type { CompressionHost } from '../../block/host.js';

type Callback = (error: Error | null, result: Buffer) => void;

interface ZstdZlib {
  zstdCompress?(input: Uint8Array, callback: Callback): void;
  zstdDecompress?(input: Uint8Array, options: { maxOutputLength: number }, callback: Callback): void;
}

const nativeZstd = zlib as unknown as ZstdZlib;

/** One output buffer for all of it: each further chunk would cost a trip to the thread pool and back. */
function chunkSize(bytes: number): number {
  return Math.max(1024, Math.min(bytes + 512, 2 ** 25));
}

function call(start: (callback: Callback) => void): Promise<Uint8Array> {
  return new Promise((resolve, reject) => start((error, result) => (error ? reject(error) : resolve(result))));
}

let wasmZstd: Promise<{ compress(input: Uint8Array, level: number): Uint8Array }> | undefined;

async function loadWasmZstd(): Promise<{ compress(input: Uint8Array, level: number): Uint8Array }> {
  const module = await import('@bokuweb/zstd-wasm');
  await module.init();
  return module;
}

function exact(result: Uint8Array, size: number): Uint8Array {
  if (result.length < size) throw new BlockError('EIO');
  return result.subarray(0, size);
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
      // Z_SYNC_FLUSH: a stream that has no end marker within the sectors it was given still yields what it holds.
      const options = {
        maxOutputLength: Math.max(size, 1) + 65536,
        chunkSize: chunkSize(size),
        finishFlush: zlib.constants.Z_SYNC_FLUSH,
      };
      const result = await call((callback) =>
        kind === 'raw' ? zlib.inflateRaw(input, options, callback) : zlib.inflate(input, options, callback),
      );
      return exact(result, size);
    } catch (error) {
      throw error instanceof BlockError ? error : new BlockError('EIO', undefined, { cause: error });
    }
  },
  async zstdCompress(input, limit) {
    let result: Uint8Array;
    if (nativeZstd.zstdCompress) result = await call((callback) => nativeZstd.zstdCompress!(input, callback));
    else {
      wasmZstd ??= loadWasmZstd();
      result = (await wasmZstd).compress(input, 3);
    }
    return result.length <= limit ? result : undefined;
  },
  async zstdDecompress(input, size) {
    try {
      const { Decompress } = await import('fzstd');
      // Streaming, so that the output is bounded by `size` whatever the frame header claims, and trailing sector bytes are ignored.
      const output = new Uint8Array(size);
      let done = 0;
      const stream = new Decompress((chunk) => {
        const part = chunk.subarray(0, size - done);
        output.set(part, done);
        done += part.length;
      });
      stream.push(input.subarray(0, zstdFrameLength(input)), true);
      if (done < size) throw new BlockError('EIO');
      return output;
    } catch (error) {
      throw error instanceof BlockError ? error : new BlockError('EIO', undefined, { cause: error });
    }
  },
};

/** Length of the zstd frame at the start of `bytes` (RFC 8878 section 3.1.1): header, then blocks up to the last, checksum. */
export function zstdFrameLength(bytes: Uint8Array): number {
  if (bytes.length < 6 || bytes[0] !== 0x28 || bytes[1] !== 0xb5 || bytes[2] !== 0x2f || bytes[3] !== 0xfd)
    throw new BlockError('EIO');
  const descriptor = bytes[4]!;
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const contentSizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!;
  let at = 5 + (isSingleSegment ? 0 : 1) + dictionaryBytes + contentSizeBytes;
  for (;;) {
    if (at + 3 > bytes.length) throw new BlockError('EIO');
    const header = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16);
    const type = (header >> 1) & 3;
    at += 3 + (type === 1 ? 1 : header >> 3);
    if (type === 3) throw new BlockError('EIO');
    if (header & 1) break;
  }
  if (descriptor & 4) at += 4;
  if (at > bytes.length) throw new BlockError('EIO');
  return at;
}
