/**
 * The compressions of Debian's indexes and packages, as streams: xz (xz-decompress), zstd (fzstd), gzip (node:zlib), none.
 *
 * xz-decompress runs one stream at a time: a second one waits until the first is read to its end or given up. So nothing may
 * be decompressed from inside a loop over another xz stream.
 */
import { Readable } from 'node:stream';
import { setImmediate as breathe } from 'node:timers/promises';
import { createGunzip } from 'node:zlib';
import { Decompress as ZstdDecompress } from 'fzstd';
import xz from 'xz-decompress';
import { VringError } from '../base/errors.js';

export type Compression = 'xz' | 'zst' | 'gz' | 'none';

type Bytes = AsyncIterable<Uint8Array>;

function damaged(what: string, cause: unknown): VringError {
  if (cause instanceof VringError) return cause;
  return new VringError('archive-damaged', `The ${what} data is damaged.`, { cause });
}

/** From an iterator to a web stream, so that giving up the stream ends the iterator too. */
function toWebStream(source: Bytes): ReadableStream<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await iterator.next();
        if (done === true) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await iterator.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}

/** Puts an empty chunk in front: the library cannot tell an empty input from one that is still to come. */
async function* withEmptyStart(source: Bytes): AsyncGenerator<Uint8Array> {
  yield new Uint8Array(0);
  yield* source;
}

/** Decoders that work in this thread hand the event loop back this often. */
const sliceMs = 4;

async function* fromXz(source: Bytes): AsyncGenerator<Uint8Array> {
  const reader = new xz.XzReadableStream(toWebStream(withEmptyStart(source))).getReader();
  let sliceStart = performance.now();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      if (value.length > 0) yield value;
      // Neither reading nor yielding goes through the event loop.
      if (performance.now() - sliceStart > sliceMs) {
        await breathe();
        sliceStart = performance.now();
      }
    }
  } catch (error) {
    throw damaged('xz', error);
  } finally {
    await reader.cancel().catch(() => {});
  }
}

async function* fromZstd(source: Bytes): AsyncGenerator<Uint8Array> {
  let ready: Uint8Array[] = [];
  const decoder = new ZstdDecompress((chunk) => ready.push(chunk.slice()));
  const push = (chunk: Uint8Array, final: boolean): Uint8Array[] => {
    try {
      decoder.push(chunk, final);
    } catch (error) {
      throw damaged('zstd', error);
    }
    const out = ready;
    ready = [];
    return out;
  };
  for await (const chunk of source) {
    // Small steps: what one push makes is held at once.
    for (let at = 0; at < chunk.length; at += 1 << 15) {
      yield* push(chunk.subarray(at, at + (1 << 15)), false);
      await breathe();
    }
  }
  yield* push(new Uint8Array(0), true);
}

async function* fromGzip(source: Bytes): AsyncGenerator<Uint8Array> {
  const input = Readable.from(source, { objectMode: false });
  const output = createGunzip();
  input.once('error', (error) => output.destroy(error));
  try {
    for await (const chunk of input.pipe(output)) yield chunk as Uint8Array;
  } catch (error) {
    throw damaged('gzip', error);
  } finally {
    input.destroy();
    output.destroy();
  }
}

/** Decompresses; wrong data gives VringError `archive-damaged`. A loop left early gives up `source` as well. */
export function decompress(compression: Compression, source: Bytes): Bytes {
  if (compression === 'xz') return fromXz(source);
  if (compression === 'zst') return fromZstd(source);
  if (compression === 'gz') return fromGzip(source);
  return source;
}

/** All of a small object, to at most `maxBytes`. */
export async function decompressAll(
  compression: Compression,
  bytes: Uint8Array,
  maxBytes: number,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let total = 0;
  async function* whole(): AsyncGenerator<Uint8Array> {
    yield bytes;
  }
  for await (const part of decompress(compression, whole())) {
    total += part.length;
    if (total > maxBytes) throw new VringError('archive-damaged', `Compressed data grows beyond ${maxBytes} bytes.`);
    parts.push(part);
  }
  return new Uint8Array(Buffer.concat(parts));
}
