/** Exact reads from and ordered writes to a byte stream: what both ends of an NBD connection stand on. */
import { BlockError, toBlockError } from '../../errors.js';
import type { ByteStream } from '../../host.js';

/** Bytes asked of the stream at once when nothing larger is awaited. */
const readAheadBytes = 256 * 1024;
/** Frames of this size and more, and the headers that follow them, are read straight to their place where the stream can. */
const bulkBytes = 64 * 1024;
/** After so many of them the event loop gets its turn, and with it other streams. */
const bulkTurns = 8;

/** Reads frames of known size. Views it gives out are valid for as long as the caller keeps them. */
export class FrameReader {
  readonly #stream: ByteStream;
  #chunk: Uint8Array = new Uint8Array(0);
  #view: DataView | undefined;
  #at = 0;
  #turns = 0;

  constructor(stream: ByteStream) {
    this.#stream = stream;
  }

  /** Bytes received and not yet taken: before TLS starts there must be none, or somebody slipped them in. */
  get buffered(): number {
    return this.#chunk.length - this.#at;
  }

  async #more(): Promise<boolean> {
    this.#chunk = await this.#stream.read(readAheadBytes);
    this.#view = undefined;
    this.#at = 0;
    return this.#chunk.length > 0;
  }

  /** What has arrived, of which the bytes from `position` on are not taken yet: for looking at frames before `advance` takes them. */
  get chunk(): Uint8Array {
    return this.#chunk;
  }

  get view(): DataView {
    this.#view ??= new DataView(this.#chunk.buffer, this.#chunk.byteOffset, this.#chunk.length);
    return this.#view;
  }

  get position(): number {
    return this.#at;
  }

  advance(count: number): void {
    this.#at += count;
  }

  /** The next `count` bytes if they have arrived already. */
  take(count: number): Uint8Array | undefined {
    if (this.#chunk.length - this.#at < count) return undefined;
    const bytes = this.#chunk.subarray(this.#at, this.#at + count);
    this.#at += count;
    return bytes;
  }

  /** The next `count` bytes, or undefined when the stream ends before the first of them. */
  async readOrEnd(count: number): Promise<Uint8Array | undefined> {
    const ready = this.take(count);
    if (ready) return ready;
    const buffer = new Uint8Array(count);
    return (await this.#fill(buffer)) ? buffer : undefined;
  }

  async read(count: number): Promise<Uint8Array> {
    const bytes = await this.readOrEnd(count);
    if (!bytes) throw new BlockError('EIO', 'Unexpected end-of-file before all bytes were read');
    return bytes;
  }

  /** Fills the whole of `buffer`. */
  async readInto(buffer: Uint8Array): Promise<void> {
    if (buffer.length > 0 && !(await this.#fill(buffer)))
      throw new BlockError('EIO', 'Unexpected end-of-file before all bytes were read');
  }

  async #fill(buffer: Uint8Array): Promise<boolean> {
    let done = 0;
    if (buffer.length >= bulkBytes) this.#turns = this.#turns || bulkTurns;
    else if (this.#turns > 0) this.#turns--;
    while (done < buffer.length) {
      if (this.#turns > 0 && this.#at === this.#chunk.length) {
        const count = this.#stream.readNow?.(done === 0 ? buffer : buffer.subarray(done)) ?? 0;
        if (count === 0) this.#turns = 0;
        done += count;
        if (count > 0) continue;
      }
      if (this.#at === this.#chunk.length && !(await this.#more())) {
        if (done === 0) return false;
        throw new BlockError('EIO', 'Unexpected end-of-file before all bytes were read');
      }
      const size = Math.min(buffer.length - done, this.#chunk.length - this.#at);
      buffer.set(this.#chunk.subarray(this.#at, this.#at + size), done);
      this.#at += size;
      done += size;
    }
    return true;
  }

  async skip(count: number): Promise<void> {
    let left = count;
    while (left > 0) {
      if (this.#at === this.#chunk.length && !(await this.#more()))
        throw new BlockError('EIO', 'Unexpected end-of-file before all bytes were read');
      const size = Math.min(left, this.#chunk.length - this.#at);
      this.#at += size;
      left -= size;
    }
  }
}

/**
 * Writes frames whole and in order. What is sent while a write is under way goes out with the next one, so that many small
 * replies cost one system call.
 */
export class FrameWriter {
  readonly #stream: ByteStream;
  #queue: Uint8Array[] = [];
  #current: Promise<void> | undefined;
  #failure: BlockError | undefined;

  constructor(stream: ByteStream) {
    this.#stream = stream;
  }

  /** Resolves when the parts are handed to the host; they must not change before. */
  send(...parts: readonly Uint8Array[]): Promise<void> {
    if (this.#failure) return Promise.reject(this.#failure);
    for (const part of parts) this.#queue.push(part);
    this.#current ??= this.#run();
    return this.#current;
  }

  /** Undefined when the host has taken the bytes; else they must not change until the promise resolves. */
  sendNow(bytes: Uint8Array): Promise<void> | undefined {
    if (this.#current || this.#failure || !this.#stream.writeNow) return this.send(bytes);
    return this.#stream.writeNow(bytes)?.catch((error) => {
      this.#failure ??= toBlockError(error);
      throw this.#failure;
    });
  }

  async #run(): Promise<void> {
    try {
      // What this turn of the event loop still sends comes along.
      await Promise.resolve();
      while (this.#queue.length > 0) {
        const parts = this.#queue;
        this.#queue = [];
        await this.#stream.write(...parts);
      }
    } catch (error) {
      this.#failure = toBlockError(error);
      this.#queue = [];
      throw this.#failure;
    } finally {
      this.#current = undefined;
    }
  }
}
