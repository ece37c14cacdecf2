/**
 * A block host whose files are in memory and whose every change is logged: for tests that cut the power at each point of the log.
 * Compression, ciphers and the rest are those of a real host given to it.
 */
import { BlockError } from '../errors.js';
import type { BlockHost, FileHost, HostFile, HostFileOpenFlags, HostFileStat } from '../host.js';

export type LogEntry =
  | { readonly kind: 'write'; readonly path: string; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: 'truncate'; readonly path: string; readonly size: number }
  | { readonly kind: 'zero'; readonly path: string; readonly offset: number; readonly length: number }
  | { readonly kind: 'sync'; readonly path: string };

/** Contents of one file, growing as written. */
export class MemoryImage {
  size = 0;
  #bytes = new Uint8Array(65536);

  static from(bytes: Uint8Array): MemoryImage {
    const image = new MemoryImage();
    image.apply({ kind: 'write', path: '', offset: 0, bytes });
    return image;
  }

  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.size);
  }

  clone(): MemoryImage {
    return MemoryImage.from(this.bytes);
  }

  #reserve(size: number): void {
    if (size > 2 ** 30) throw new BlockError('ENOSPC');
    if (size <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(size, this.#bytes.length * 2));
    larger.set(this.bytes);
    this.#bytes = larger;
  }

  apply(entry: LogEntry): void {
    if (entry.kind === 'write') {
      this.#reserve(entry.offset + entry.bytes.length);
      this.#bytes.set(entry.bytes, entry.offset);
      this.size = Math.max(this.size, entry.offset + entry.bytes.length);
    } else if (entry.kind === 'truncate') {
      this.#reserve(entry.size);
      if (entry.size < this.size) this.#bytes.fill(0, entry.size, this.size);
      this.size = entry.size;
    } else if (entry.kind === 'zero')
      this.#bytes.fill(0, entry.offset, Math.min(this.size, entry.offset + entry.length));
  }
}

class MemoryFile implements HostFile {
  readonly path: string;
  readonly kind = 'regular';
  readonly writable: boolean;
  readonly direct = false;
  readonly alignment = 1;
  readonly #image: MemoryImage;
  readonly #host: MemoryFileHost;

  constructor(path: string, image: MemoryImage, writable: boolean, host: MemoryFileHost) {
    this.path = path;
    this.#image = image;
    this.writable = writable;
    this.#host = host;
  }

  stat(): HostFileStat {
    return { kind: 'regular', sizeBytes: this.#image.size, allocatedBytes: this.#image.size, blockSizeBytes: 4096 };
  }

  #change(entry: LogEntry): void {
    if (!this.writable) throw new BlockError('EBADF');
    this.#host.onRequest?.(entry.kind);
    this.#image.apply(entry);
    this.#host.log.push(entry);
  }

  readSync(offset: number, buffer: Uint8Array): number {
    this.#host.onRequest?.('read');
    const part = this.#image.bytes.subarray(offset, offset + buffer.length);
    buffer.set(part);
    return part.length;
  }

  async read(offset: number, buffer: Uint8Array): Promise<number> {
    return this.readSync(offset, buffer);
  }

  readNow(offset: number, buffer: Uint8Array): number {
    return this.readSync(offset, buffer);
  }

  writeNow(offset: number, buffer: Uint8Array): boolean {
    this.writeSync(offset, buffer);
    return true;
  }

  writeSync(offset: number, buffer: Uint8Array): void {
    this.#change({ kind: 'write', path: this.path, offset, bytes: buffer.slice() });
  }

  async write(offset: number, buffer: Uint8Array): Promise<void> {
    this.writeSync(offset, buffer);
  }

  async sync(): Promise<void> {
    this.#host.onRequest?.('sync');
    this.#host.log.push({ kind: 'sync', path: this.path });
  }

  async truncate(size: number): Promise<void> {
    this.#change({ kind: 'truncate', path: this.path, size });
  }

  async fallocate(
    mode: 'allocate' | 'keep-size' | 'punch-hole' | 'zero-range',
    offset: number,
    length: number,
  ): Promise<void> {
    if (mode === 'punch-hole' || mode === 'zero-range') this.#change({ kind: 'zero', path: this.path, offset, length });
    if (mode !== 'punch-hole' && mode !== 'keep-size' && offset + length > this.#image.size)
      await this.truncate(offset + length);
  }

  extent(): undefined {
    return undefined;
  }

  lock(): boolean {
    return true;
  }

  lockable(): boolean {
    return true;
  }

  async close(): Promise<void> {}
}

export class MemoryFileHost implements FileHost {
  readonly missing: ReadonlySet<string> = new Set(['seek-hole', 'ofd-locks']);
  readonly images = new Map<string, MemoryImage>();
  readonly log: LogEntry[] = [];
  /** Called before each request on a file's contents; what it throws is the request's failure. */
  onRequest: ((kind: LogEntry['kind'] | 'read') => void) | undefined;

  async open(path: string, flags: HostFileOpenFlags): Promise<HostFile> {
    let image = this.images.get(path);
    if (!image) {
      if (!flags.create) throw new BlockError('ENOENT');
      image = new MemoryImage();
      this.images.set(path, image);
    }
    return new MemoryFile(path, image, flags.write, this);
  }

  async stat(path: string): Promise<HostFileStat | undefined> {
    const image = this.images.get(path);
    return image && { kind: 'regular', sizeBytes: image.size, allocatedBytes: image.size, blockSizeBytes: 4096 };
  }

  async remove(path: string): Promise<void> {
    this.images.delete(path);
  }

  resolve(path: string): string {
    return path;
  }

  temporaryPath(prefix: string): string {
    return `${prefix}temporary`;
  }
}

/** `real` in all but its files. */
export function memoryHost(
  real: BlockHost,
): BlockHost & { readonly files: MemoryFileHost; readonly reports: string[] } {
  const files = new MemoryFileHost();
  const reports: string[] = [];
  return {
    files,
    reports,
    compression: () => real.compression(),
    crypto: () => real.crypto(),
    network: () => real.network(),
    http: () => real.http(),
    isZero: (bytes) => real.isZero(bytes),
    equal: (a, b) => real.equal(a, b),
    allocate: (size) => new Uint8Array(size),
    allocateShared: (size) => new Uint8Array(size),
    monotonicNs: () => real.monotonicNs(),
    wallNs: () => real.wallNs(),
    sleepMs: (ms) => real.sleepMs(ms),
    secret: (id) => real.secret(id),
    report: (_severity, message) => {
      reports.push(message);
    },
  };
}

/** mulberry32: a small generator with a fixed seed, so that a failure repeats. */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** Fails a request with EIO, counted from 1 on, and all behind it if `isLasting`, until `onRequest` is taken back. Gives what has come so far. */
export function failRequests(
  files: MemoryFileHost,
  failing: number,
  isLasting: boolean,
): { count: number; kind: string } {
  const seen = { count: 0, kind: '' };
  files.onRequest = (request) => {
    seen.count++;
    if (seen.count !== failing && !(isLasting && seen.count > failing)) return;
    if (seen.count === failing) seen.kind = request;
    throw new BlockError('EIO');
  };
  return seen;
}
