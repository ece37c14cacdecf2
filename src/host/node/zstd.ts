/**
 * Zstandard (RFC 8878) on Node.js, in the calling thread: a cluster takes some 60 µs, about what a trip to the thread pool costs.
 *
 * The first of these that is there does the work: `node:zlib` (Node 22.15 and later), the system's libzstd.so.1 through koffi,
 * WebAssembly to compress and JavaScript to decompress (five to ten times slower).
 */
import * as zlib from 'node:zlib';
import { BlockError } from '../../block/errors.js';
import { loadKoffi } from './koffi.js';

export interface ZstdCodec {
  /** One frame; undefined when it would be longer than `limit`. */
  compress(input: Uint8Array, limit: number): Uint8Array | undefined;
  /** The one frame that `input` consists of fills `output` exactly, else EIO. */
  decompress(input: Uint8Array, output: Uint8Array): void;
}

/** libzstd's default. */
const level = 3;

interface ZstdOfZlib {
  zstdCompressSync?(input: Uint8Array): Uint8Array;
  zstdDecompressSync?(input: Uint8Array, options: { readonly maxOutputLength: number }): Uint8Array;
}

export function zlibZstd(): ZstdCodec | undefined {
  const { zstdCompressSync, zstdDecompressSync } = zlib as unknown as ZstdOfZlib;
  if (!zstdCompressSync || !zstdDecompressSync) return undefined;
  return {
    compress(input, limit) {
      const frame = zstdCompressSync(input);
      return frame.length <= limit ? frame : undefined;
    },
    decompress: (input, output) =>
      exactly(output, () => {
        const plain = zstdDecompressSync(input, { maxOutputLength: Math.max(1, output.length) });
        output.set(plain);
        return plain.length;
      }),
  };
}

export function systemZstd(): ZstdCodec | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    const koffi = loadKoffi();
    const library = koffi.load('libzstd.so.1');
    // Errors are negative numbers (zstd.h: ZSTD_isError).
    const compress = library.func(
      'int64_t ZSTD_compressCCtx(void *context, _Out_ uint8_t *to, size_t room, const uint8_t *from, size_t size, int level)',
    );
    const decompress = library.func(
      'int64_t ZSTD_decompressDCtx(void *context, _Out_ uint8_t *to, size_t room, const uint8_t *from, size_t size)',
    );
    const compressor: unknown = library.func('void *ZSTD_createCCtx()')();
    const decompressor: unknown = library.func('void *ZSTD_createDCtx()')();
    if (!compressor || !decompressor) return undefined;
    let scratch = new Uint8Array(65536);
    return {
      compress(input, limit) {
        // With less room than for the worst result libzstd may give up although the frame would fit in the end.
        const room = input.length + (input.length >> 8) + 512;
        if (scratch.length < room) scratch = new Uint8Array(room);
        const length = Number(compress(compressor, scratch, room, input, input.length, level));
        return length < 0 || length > limit ? undefined : scratch.slice(0, length);
      },
      decompress: (input, output) =>
        exactly(output, () => Number(decompress(decompressor, output, output.length, input, input.length))),
    };
  } catch {
    return undefined;
  }
}

export async function portableZstd(): Promise<ZstdCodec> {
  const [encoder, { Decompress }] = await Promise.all([import('@bokuweb/zstd-wasm'), import('fzstd')]);
  await encoder.init();
  return {
    compress(input, limit) {
      const frame = encoder.compress(input, level);
      return frame.length <= limit ? frame : undefined;
    },
    decompress: (input, output) =>
      exactly(output, () => {
        // In pieces, so that the output is bounded whatever the frame's header claims.
        let done = 0;
        const stream = new Decompress((chunk) => {
          if (chunk.length > output.length - done) throw new BlockError('EIO');
          output.set(chunk, done);
          done += chunk.length;
        });
        stream.push(input, true);
        return done;
      }),
  };
}

function exactly(output: Uint8Array, decompress: () => number): void {
  let length: number;
  try {
    length = decompress();
  } catch (error) {
    throw new BlockError('EIO', undefined, { cause: error });
  }
  if (length !== output.length) throw new BlockError('EIO');
}

let loaded: Promise<ZstdCodec> | undefined;

export function loadZstd(): Promise<ZstdCodec> {
  loaded ??= (async () => zlibZstd() ?? systemZstd() ?? (await portableZstd()))();
  return loaded;
}

/** Length of the zstd frame at the start of `bytes` (section 3.1.1): header, then blocks up to the last, checksum. */
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
