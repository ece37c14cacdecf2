/**
 * Frames from one thread to another: a ring of records in shared memory with one writer and one reader. A record is a header of
 * 16 bytes and the frame, which lies in one piece; what is left at the end of the ring is skipped when it is too short.
 */
import { type FrameOffload, noOffload } from '../net/index.js';

/** A power of two: about sixteen of the largest frames. */
const RING_BYTES = 1 << 20;
const RECORD_BYTES = 16;
const SKIP = 0xffffffff;

/** Words of the header. Positions only grow, modulo 2^32. */
const WRITTEN = 0;
const READ = 1;
/** The reader has taken everything, and wants to hear of more. */
const READER_WAITS = 2;
/** The writer found no room, and wants to hear of some. */
const WRITER_WAITS = 3;
/** What the reader takes in: bits of `takes`. */
const TAKES = 4;
/** Queues that the reader looks at. */
const QUEUES = 5;
const HEADER_WORDS = 16;

export class FrameRing {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #offload = noOffload();
  #at = 0;
  #next = 0;

  static create(): FrameRing {
    const ring = new FrameRing(new SharedArrayBuffer(HEADER_WORDS * 4 + RING_BYTES));
    Atomics.store(ring.#words, READER_WAITS, 1);
    ring.setQueues(1);
    return ring;
  }

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer, 0, HEADER_WORDS);
    this.#bytes = new Uint8Array(buffer, HEADER_WORDS * 4);
    this.#view = new DataView(buffer, HEADER_WORDS * 4);
  }

  get takes(): number {
    return Atomics.load(this.#words, TAKES);
  }

  get queues(): number {
    return Atomics.load(this.#words, QUEUES);
  }

  get isEmpty(): boolean {
    return Atomics.load(this.#words, READ) === Atomics.load(this.#words, WRITTEN);
  }

  get hasHalfFree(): boolean {
    return ((Atomics.load(this.#words, WRITTEN) - Atomics.load(this.#words, READ)) | 0) <= RING_BYTES / 2;
  }

  // --- the writer

  /** Room for a frame; undefined: there is none, and the reader will say when there is. */
  reserve(length: number): Uint8Array | undefined {
    const found = this.#reserve(length);
    if (found) return found;
    Atomics.store(this.#words, WRITER_WAITS, 1);
    return this.#reserve(length);
  }

  #reserve(length: number): Uint8Array | undefined {
    const words = this.#words;
    const written = words[WRITTEN];
    const free = RING_BYTES - ((written - Atomics.load(words, READ)) | 0);
    const need = RECORD_BYTES + ((length + 15) & ~15);
    let at = written & (RING_BYTES - 1);
    const toEnd = RING_BYTES - at;
    let total = need;
    if (toEnd < need) {
      total += toEnd;
      if (total > free) return undefined;
      this.#view.setUint32(at, SKIP, true);
      at = 0;
    } else if (total > free) return undefined;
    this.#view.setUint32(at, length, true);
    this.#at = at;
    this.#next = (written + total) | 0;
    return this.#bytes.subarray(at + RECORD_BYTES, at + RECORD_BYTES + length);
  }

  /** Hands over what was reserved last. True: the reader waits, and is to be woken. */
  commit(offload: FrameOffload | undefined, queue = 0): boolean {
    const view = this.#view;
    const at = this.#at;
    view.setUint8(at + 4, offload?.flags ?? 0);
    view.setUint8(at + 5, offload?.gsoType ?? 0);
    view.setUint16(at + 6, offload?.headerLength ?? 0, true);
    view.setUint16(at + 8, offload?.gsoSize ?? 0, true);
    view.setUint16(at + 10, offload?.checksumStart ?? 0, true);
    view.setUint16(at + 12, offload?.checksumOffset ?? 0, true);
    view.setUint16(at + 14, queue, true);
    Atomics.store(this.#words, WRITTEN, this.#next);
    return Atomics.load(this.#words, READER_WAITS) !== 0 && Atomics.exchange(this.#words, READER_WAITS, 0) !== 0;
  }

  // --- the reader

  /** The next frame; undefined: there is none, and the writer will say when there is. */
  peek(): { bytes: Uint8Array; offload: FrameOffload; queue: number } | undefined {
    const found = this.#peek();
    if (found) return found;
    Atomics.store(this.#words, READER_WAITS, 1);
    return this.#peek();
  }

  #peek(): { bytes: Uint8Array; offload: FrameOffload; queue: number } | undefined {
    const words = this.#words;
    const read = words[READ];
    if (read === Atomics.load(words, WRITTEN)) return undefined;
    let at = read & (RING_BYTES - 1);
    let skipped = 0;
    const view = this.#view;
    if (view.getUint32(at, true) === SKIP) {
      skipped = RING_BYTES - at;
      at = 0;
    }
    const length = view.getUint32(at, true);
    this.#next = (read + skipped + RECORD_BYTES + ((length + 15) & ~15)) | 0;
    const offload = this.#offload;
    offload.flags = view.getUint8(at + 4);
    offload.gsoType = view.getUint8(at + 5);
    offload.headerLength = view.getUint16(at + 6, true);
    offload.gsoSize = view.getUint16(at + 8, true);
    offload.checksumStart = view.getUint16(at + 10, true);
    offload.checksumOffset = view.getUint16(at + 12, true);
    const queue = view.getUint16(at + 14, true);
    return { bytes: this.#bytes.subarray(at + RECORD_BYTES, at + RECORD_BYTES + length), offload, queue };
  }

  /** Gives the room of what `peek` gave back. True: the writer waits, there is room again, and it is to be told. */
  consume(): boolean {
    const words = this.#words;
    Atomics.store(words, READ, this.#next);
    if (Atomics.load(words, WRITER_WAITS) === 0 || !this.hasHalfFree) return false;
    return Atomics.exchange(words, WRITER_WAITS, 0) !== 0;
  }

  setTakes(bits: number): void {
    Atomics.store(this.#words, TAKES, bits);
  }

  setQueues(count: number): void {
    Atomics.store(this.#words, QUEUES, count);
  }
}
