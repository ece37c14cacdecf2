/**
 * A byte stream between two threads: a ring in shared memory with one writer and one reader. Neither side ever sees a
 * byte twice or out of order; a full ring is the writer's to deal with.
 */

/** Words before the data. */
const READ = 0;
const WRITTEN = 1;
const CLOSED = 2;
/** Set by a reader that has found the ring empty and wants to be woken. */
const HUNGRY = 3;
/** Set by a writer that has found it full. */
const BLOCKED = 4;
const HEADER_BYTES = 32;

export class ByteRing {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #data: Uint8Array;
  readonly #mask: number;

  /** `capacity`: a power of two. */
  static create(capacity = 65536): ByteRing {
    return new ByteRing(new SharedArrayBuffer(HEADER_BYTES + capacity));
  }

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer, 0, HEADER_BYTES / 4);
    this.#data = new Uint8Array(buffer, HEADER_BYTES);
    this.#mask = this.#data.length - 1;
  }

  /** Bytes that wait to be read. */
  get available(): number {
    return (Atomics.load(this.#words, WRITTEN) - Atomics.load(this.#words, READ)) | 0;
  }

  get space(): number {
    return this.#data.length - this.available;
  }

  /** Writes as much as fits; gives how much. */
  write(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, this.space);
    const at = Atomics.load(this.#words, WRITTEN);
    const start = at & this.#mask;
    const first = Math.min(count, this.#data.length - start);
    this.#data.set(bytes.subarray(0, first), start);
    if (first < count) this.#data.set(bytes.subarray(first, count), 0);
    Atomics.store(this.#words, WRITTEN, (at + count) | 0);
    return count;
  }

  writeByte(byte: number): boolean {
    if (this.space === 0) return false;
    const at = Atomics.load(this.#words, WRITTEN);
    this.#data[at & this.#mask] = byte;
    Atomics.store(this.#words, WRITTEN, (at + 1) | 0);
    return true;
  }

  /** Takes up to `most` bytes; a copy. */
  read(most = Infinity): Uint8Array<ArrayBuffer> {
    const count = Math.min(this.available, most);
    const at = Atomics.load(this.#words, READ);
    const start = at & this.#mask;
    const first = Math.min(count, this.#data.length - start);
    const out = new Uint8Array(count);
    out.set(this.#data.subarray(start, start + first));
    out.set(this.#data.subarray(0, count - first), first);
    Atomics.store(this.#words, READ, (at + count) | 0);
    Atomics.notify(this.#words, READ);
    return out;
  }

  /** No more will be written. */
  close(): void {
    Atomics.store(this.#words, CLOSED, 1);
  }

  get closed(): boolean {
    return Atomics.load(this.#words, CLOSED) === 1;
  }

  /** The reader goes to sleep: true if it may (the ring is still empty, and the writer will find it hungry). */
  sleep(): boolean {
    Atomics.store(this.#words, HUNGRY, 1);
    return this.available === 0;
  }

  /** The writer has written: true if the reader must be woken. */
  wake(): boolean {
    return this.available > 0 && Atomics.exchange(this.#words, HUNGRY, 0) === 1;
  }

  /** The writer waits for space: true if there is none still. */
  block(): boolean {
    Atomics.store(this.#words, BLOCKED, 1);
    return this.space === 0;
  }

  /** The reader has made space: true if the writer must be told. */
  unblock(): boolean {
    return Atomics.exchange(this.#words, BLOCKED, 0) === 1;
  }

  /** Blocks this thread until the reader has taken something, or for `milliseconds`. */
  waitForSpace(milliseconds: number): void {
    const read = Atomics.load(this.#words, READ);
    if (this.space === 0) Atomics.wait(this.#words, READ, read, milliseconds);
  }
}
