/**
 * Blocks that wait to be compiled: a ring in the machine's memory, written by the vCPU's thread and read by whoever writes
 * regions. One writer, one reader. Words: written, read (counts, modulo 2^32), then the entries.
 */
import { layout } from './layout.js';

/** A hot block, as it is known outside the vCPU's thread. */
export interface HotBlock {
  /** What the vCPU's thread knows it by: it comes back with the region. */
  readonly id: number;
  /** Host address of its code, mode key, and host address of the page it ends on if that is another one, else 0. */
  readonly hva: number;
  readonly key: number;
  readonly second: number;
  /** Linear address it was entered at, and where the TLBs of the vCPU lie that did so. */
  readonly address: bigint;
  readonly tlbs: number;
  /** Regions may join other blocks to it (not where the pc wraps at 64 KiB). */
  readonly follow: boolean;
  /** The region takes the place of a smaller one, which the dispatcher enters too often. */
  readonly large: boolean;
  /** The flush of all code that it is younger than: what is made of it is worthless after the next one. */
  readonly epoch: number;
}

const WRITTEN = layout.regionQueue >> 2;
const READ = WRITTEN + 1;
const FINISHED = WRITTEN + 2;
const NEVER = WRITTEN + 3;
const READY = WRITTEN + 4;
const HANDED_OVER = WRITTEN + 5;
/** The reader sleeps, or is about to: to wake nobody costs a system call. */
const SLEEPING = WRITTEN + 6;
const FIRST = WRITTEN + 8;
const ENTRY_WORDS = 9;
const ENTRIES = 256;

export class RegionQueue {
  readonly #words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer);
  }

  get waiting(): number {
    return (Atomics.load(this.#words, WRITTEN) - Atomics.load(this.#words, READ)) | 0;
  }

  /** False: it is full. A block that is as hot as that asks again. */
  push(block: HotBlock): boolean {
    if (this.waiting >= ENTRIES) return false;
    const words = this.#words;
    const count = words[WRITTEN];
    const at = FIRST + ((count >>> 0) % ENTRIES) * ENTRY_WORDS;
    words[at] = block.id;
    words[at + 1] = block.hva;
    words[at + 2] = block.key;
    words[at + 3] = block.second;
    words[at + 4] = Number(BigInt.asIntN(32, block.address));
    words[at + 5] = Number(BigInt.asIntN(32, block.address >> 32n));
    words[at + 6] = (block.follow ? 1 : 0) | (block.large ? 2 : 0);
    words[at + 7] = block.epoch;
    words[at + 8] = block.tlbs;
    Atomics.store(words, WRITTEN, (count + 1) | 0);
    if (Atomics.load(words, SLEEPING) !== 0) Atomics.notify(words, WRITTEN);
    return true;
  }

  /** Takes all that wait. */
  take(): HotBlock[] {
    const words = this.#words;
    const taken: HotBlock[] = [];
    const end = Atomics.load(words, WRITTEN);
    let count = words[READ];
    for (; count !== end; count = (count + 1) | 0) {
      const at = FIRST + ((count >>> 0) % ENTRIES) * ENTRY_WORDS;
      taken.push({
        id: words[at],
        hva: words[at + 1] >>> 0,
        key: words[at + 2],
        second: words[at + 3] >>> 0,
        address: (BigInt.asUintN(32, BigInt(words[at + 5])) << 32n) | BigInt.asUintN(32, BigInt(words[at + 4])),
        follow: (words[at + 6] & 1) !== 0,
        large: (words[at + 6] & 2) !== 0,
        epoch: words[at + 7],
        tlbs: words[at + 8] >>> 0,
      });
    }
    Atomics.store(words, READ, count);
    return taken;
  }

  /** In another thread: sleeps until something waits. */
  sleep(): void {
    const words = this.#words;
    Atomics.store(words, SLEEPING, 1);
    const written = Atomics.load(words, WRITTEN);
    if (written === Atomics.load(words, READ)) Atomics.wait(words, WRITTEN, written);
    Atomics.store(words, SLEEPING, 0);
  }

  /** In another thread: gives more blocks the time to come. */
  linger(milliseconds: number): void {
    Atomics.wait(this.#words, NEVER, 0, milliseconds);
  }

  /** In another thread: all its code has been loaded. */
  ready(): void {
    Atomics.store(this.#words, READY, 1);
    Atomics.notify(this.#words, READY);
  }

  get isReady(): boolean {
    return Atomics.load(this.#words, READY) !== 0;
  }

  /** The vCPU's thread takes no more from the queue, and has used the words for edges up to this address. */
  handOver(nextCell: number): void {
    Atomics.store(this.#words, HANDED_OVER, nextCell);
    Atomics.notify(this.#words, HANDED_OVER);
  }

  /** In another thread: waits until the queue is its own; gives what `handOver` said. */
  awaitHandOver(): number {
    Atomics.wait(this.#words, HANDED_OVER, 0);
    return Atomics.load(this.#words, HANDED_OVER);
  }

  /** Waits until `ready` has been called, or so long. */
  awaitReady(milliseconds: number): void {
    Atomics.wait(this.#words, READY, 0, milliseconds);
  }

  /** How many modules have been finished, modulo 2^32: a look here costs nothing, one for a message does. */
  get finished(): number {
    return Atomics.load(this.#words, FINISHED);
  }

  finish(): void {
    Atomics.add(this.#words, FINISHED, 1);
  }
}
