/**
 * Reads tar archives as they stream by: POSIX.1-1988 ustar, pax headers (POSIX.1-2001) and GNU long names, as in Debian
 * packages (deb(5)). Files are only handed on, never written anywhere, so their names can do no harm; whatever is malformed
 * gives VringError `archive-damaged`.
 *
 * Left out: sparse files, GNU base-256 numbers beyond 2^53, multi-volume archives.
 */
import { VringError } from '../base/errors.js';

export interface TarEntry {
  /** Without a leading `./` or `/` and without a trailing `/`. */
  readonly path: string;
  readonly kind: 'file' | 'directory' | 'symlink' | 'hardlink' | 'other';
  readonly sizeBytes: number;
  readonly mode: number;
  readonly linkTarget: string;
}

export interface TarFile extends TarEntry {
  readonly content: Uint8Array;
}

const blockBytes = 512;
const longNameLimit = 1 << 16;

/** Bytes from the end of content to the next block. */
const padding = (sizeBytes: number): number => (blockBytes - (sizeBytes % blockBytes)) % blockBytes;

function damaged(what: string): VringError {
  return new VringError('archive-damaged', `The tar archive is damaged: ${what}.`);
}

function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('utf8');
}

function number(field: Uint8Array, what: string): number {
  if (field[0]! & 0x80) {
    // GNU: a big-endian binary number.
    let value = field[0]! & 0x7f;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    if (!Number.isSafeInteger(value)) throw damaged(`${what} is too large`);
    return value;
  }
  const digits = text(field).trim();
  if (!/^[0-7]*$/.test(digits)) throw damaged(`${what} is not a number`);
  return digits === '' ? 0 : Number.parseInt(digits, 8);
}

function parsePax(body: Uint8Array): Map<string, string> {
  const fields = new Map<string, string>();
  let at = 0;
  while (at < body.length) {
    const space = body.indexOf(0x20, at);
    const length = space < 0 ? Number.NaN : Number(Buffer.from(body.subarray(at, space)).toString('latin1'));
    if (!Number.isInteger(length) || length < space - at + 3 || at + length > body.length)
      throw damaged('a pax header is malformed');
    const record = Buffer.from(body.subarray(space + 1, at + length - 1)).toString('utf8');
    const equals = record.indexOf('=');
    if (equals > 0) fields.set(record.slice(0, equals), record.slice(equals + 1));
    at += length;
  }
  return fields;
}

function normalize(path: string): string {
  return path.replace(/^(\.?\/)+/, '').replace(/\/+$/, '');
}

/** Chunks of any size to exact reads. */
class ByteSource {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #current: Uint8Array = new Uint8Array(0);
  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async #fill(): Promise<boolean> {
    while (this.#current.length === 0) {
      const { done, value } = await this.#chunks.next();
      if (done === true) return false;
      this.#current = value;
    }
    return true;
  }

  async read(length: number): Promise<Uint8Array> {
    const result = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      if (!(await this.#fill())) throw damaged('it ends too early');
      const part = this.#current.subarray(0, length - done);
      result.set(part, done);
      done += part.length;
      this.#current = this.#current.subarray(part.length);
    }
    return result;
  }

  async skip(length: number): Promise<void> {
    let left = length;
    while (left > 0) {
      if (!(await this.#fill())) throw damaged('it ends too early');
      const step = Math.min(left, this.#current.length);
      left -= step;
      this.#current = this.#current.subarray(step);
    }
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

/**
 * Yields the entries that `want` accepts, regular files with their content; the others are passed over without being held.
 * At most `maxBytes` of content is held over all.
 */
export async function* readTar(
  chunks: AsyncIterable<Uint8Array>,
  want: (entry: TarEntry) => boolean,
  maxBytes: number,
): AsyncGenerator<TarFile> {
  const source = new ByteSource(chunks);
  let held = 0;
  let longName: string | undefined;
  let longLink: string | undefined;
  let pax = new Map<string, string>();
  try {
    for (;;) {
      const header = await source.read(blockBytes);
      if (header.every((byte) => byte === 0)) return;
      let sum = 0;
      for (let at = 0; at < blockBytes; at++) sum += at >= 148 && at < 156 ? 0x20 : header[at]!;
      if (sum !== number(header.subarray(148, 156), 'a checksum'))
        throw damaged('the checksum of a header does not match');

      const type = String.fromCharCode(header[156]!);
      let sizeBytes = number(header.subarray(124, 136), 'a size');
      if (type === 'L' || type === 'K' || type === 'x' || type === 'g') {
        if (sizeBytes > longNameLimit) throw damaged('a name is too long');
        const body = await source.read(sizeBytes);
        await source.skip(padding(sizeBytes));
        if (type === 'L') longName = text(body);
        else if (type === 'K') longLink = text(body);
        else if (type === 'x') pax = parsePax(body);
        continue;
      }
      const isUstar = text(header.subarray(257, 262)) === 'ustar';
      const isPosix = isUstar && header[262] === 0;
      const prefix = isPosix ? text(header.subarray(345, 500)) : '';
      const name = text(header.subarray(0, 100));
      const paxSize = pax.get('size');
      if (paxSize !== undefined) {
        sizeBytes = Number(paxSize);
        if (!/^\d+$/.test(paxSize) || !Number.isSafeInteger(sizeBytes)) throw damaged('a pax size is not a number');
      }
      const kinds: Record<string, TarEntry['kind']> = {
        '0': 'file',
        '\0': 'file',
        '7': 'file',
        '5': 'directory',
        '2': 'symlink',
        '1': 'hardlink',
      };
      const kind = kinds[type] ?? 'other';
      // Links and directories have no content, whatever their size field says.
      if (kind !== 'file' && kind !== 'other') sizeBytes = 0;
      const entry: TarEntry = {
        path: normalize(pax.get('path') ?? longName ?? (prefix === '' ? name : `${prefix}/${name}`)),
        kind,
        sizeBytes,
        mode: number(header.subarray(100, 108), 'a mode') & 0o7777,
        linkTarget: pax.get('linkpath') ?? longLink ?? text(header.subarray(157, 257)),
      };
      [longName, longLink, pax] = [undefined, undefined, new Map()];
      if (want(entry)) {
        held += sizeBytes;
        if (held > maxBytes) throw damaged(`what is wanted of it is larger than ${maxBytes} bytes`);
        const content = kind === 'file' ? await source.read(sizeBytes) : new Uint8Array(0);
        if (kind === 'other') await source.skip(sizeBytes);
        await source.skip(padding(sizeBytes));
        yield { ...entry, content };
      } else {
        await source.skip(sizeBytes);
        await source.skip(padding(sizeBytes));
      }
    }
  } finally {
    await source.close();
  }
}
