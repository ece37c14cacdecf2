/**
 * Disk requests between a vCPU's thread and the thread of the disks: slots in shared memory, and two rings of slot numbers. Each
 * ring has one writer and one reader. A request names guest memory by its place in the machine's memory, which both threads see.
 */
import { assert } from '../base/index.js';
import type { PlacedRun } from './disk-places.js';
import type { CountedRequests, DiskStatistics, OpenDisk } from './disk-protocol.js';

/** Requests under way at most; more wait in the vCPU's thread. */
export const diskSlots = 128;
/** Pieces of guest memory in one request. A virtio disk announces 254. */
export const maxPieces = 256;
/** Disks that can be added while the machine runs. */
export const spareDisks = 32;

/** Places that the answer to a request tells at most (disk-places.ts). */
export const maxPlaces = 32;
/** Bits of a request's flags. */
export const diskFlag = { mayUnmap: 1, wantsPlaces: 2 } as const;

export const diskOp = { read: 0, write: 1, flush: 2, discard: 3, writeZeroes: 4 } as const;
export const diskStatus = { ok: 0, io: 1, noSpace: 2, unsupported: 3 } as const;

/** How the thread of the disks waits. */
export const diskWaits = {
  /** It works, and will look again. */
  not: 0,
  /** In `Atomics.wait` on the count of submissions. */
  onWord: 1,
  /** In its event loop: a message wakes it. */
  inLoop: 2,
} as const;

/** What has become of opening the disks. */
export const diskOpening = { underWay: 0, done: 1, failed: 2 } as const;

/** Words of the header. Counts only grow, modulo 2^32. */
const SUBMITTED = 0;
const TAKEN = 1;
const DONE = 2;
const COLLECTED = 3;
const WAITS = 4;
const OPENING = 5;
/** Goes up whenever the graphs change: places told before hold no longer. */
const PLACES_EPOCH = 6;
/** 1 while the vCPU's thread reads or writes at a place. */
const IN_PLACE = 7;
const HEADER_WORDS = 16;

/** Words of a slot. Offset, length and pieces are float64. */
const OP = 0;
const DISK = 1;
const FLAGS = 2;
const STATUS = 3;
const PIECES = 4;
const PLACES = 5;
const EPOCH = 6;
const SLOT_WORDS = 8;
const OFFSET = 0;
const LENGTH = 1;
const FIRST_PIECE = 2;
const SLOT_DOUBLES = FIRST_PIECE + 2 * maxPieces;
/** A place takes the room of two pieces. */
const PLACE_DOUBLES = 4;
const READONLY = 1;
const INSERTED = 2;
const CLUSTER_BYTES = 3;
/** Of reads, writes, flushes and discards each: bytes, number, nanoseconds (of failures too), number of failures. */
const READS = 4;
const WRITES = 8;
const FLUSHES = 12;
const DISCARDS = 16;
/** The end of the furthest write, and when the last request was done (milliseconds since 1970; 0: there was none). */
const HIGHEST = 20;
const LAST_DONE = 21;
const DISK_DOUBLES = 22;
/** QEMU counts zeroes that are written as writes. */
const countedAs: Readonly<Record<number, number>> = {
  [diskOp.read]: READS,
  [diskOp.write]: WRITES,
  [diskOp.writeZeroes]: WRITES,
  [diskOp.flush]: FLUSHES,
  [diskOp.discard]: DISCARDS,
};
/** A drive's own buffer (`DriveBackend.allocate`). */
const BUFFER_BYTES = 0x20000;
/** A piece of a drive's buffer has its place in the ring's memory beyond this; no guest memory lies so high. */
const OWN = 2 ** 52;

/** Of this thread's `performance.now`, since 1970. */
const timeOriginMs = performance.timeOrigin;

export class DiskRing {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #submissions: Int32Array;
  readonly #completions: Int32Array;
  readonly #slots: Int32Array;
  readonly #numbers: Float64Array;
  /** Of each disk its size, 1 if it is read-only, 1 if there is a medium, its clusters' size, and what has been done (`READS` and so on). */
  readonly #disks: Float64Array;
  /** Of each disk 1 if something was written at its places since the thread of the disks last asked. */
  readonly #written: Int32Array;
  /** Where the buffers of drives begin. */
  readonly #buffers: number;

  /** For so many disks, and some that may come. */
  static create(first: number): DiskRing {
    const disks = first + spareDisks;
    const words = HEADER_WORDS + 2 * diskSlots + diskSlots * SLOT_WORDS + disks + (disks % 2);
    const doubles = diskSlots * SLOT_DOUBLES + disks * DISK_DOUBLES;
    return new DiskRing(new SharedArrayBuffer(words * 4 + doubles * 8 + disks * BUFFER_BYTES), first);
  }

  constructor(buffer: SharedArrayBuffer, first: number) {
    const disks = first + spareDisks;
    this.buffer = buffer;
    let at = 0;
    const words = (count: number) => {
      const array = new Int32Array(buffer, at, count);
      at += count * 4;
      return array;
    };
    this.#words = words(HEADER_WORDS);
    this.#submissions = words(diskSlots);
    this.#completions = words(diskSlots);
    this.#slots = words(diskSlots * SLOT_WORDS);
    this.#written = words(disks + (disks % 2));
    this.#numbers = new Float64Array(buffer, at, diskSlots * SLOT_DOUBLES);
    at += this.#numbers.byteLength;
    this.#disks = new Float64Array(buffer, at, disks * DISK_DOUBLES);
    this.#buffers = at + this.#disks.byteLength;
  }

  // --- opening

  /** The disks are open, or could not be opened. */
  setOpened(all: boolean): void {
    Atomics.store(this.#words, OPENING, all ? diskOpening.done : diskOpening.failed);
    Atomics.notify(this.#words, OPENING);
  }

  /** Blocks until the disks are open or could not be opened, or for `milliseconds`. One of `diskOpening`. */
  waitForOpening(milliseconds: number): number {
    Atomics.wait(this.#words, OPENING, diskOpening.underWay, milliseconds);
    return Atomics.load(this.#words, OPENING);
  }

  /** Another medium is in a drive, or none. */
  setDisk(disk: number, { sizeBytes, readonly, inserted }: OpenDisk, clusterBytes: number): void {
    this.#disks.set([sizeBytes, readonly ? 1 : 0, inserted ? 1 : 0, clusterBytes], disk * DISK_DOUBLES);
  }

  sizeBytes(disk: number): number {
    return this.#disks[disk * DISK_DOUBLES];
  }
  isReadonly(disk: number): boolean {
    return this.#disks[disk * DISK_DOUBLES + READONLY] === 1;
  }
  isInserted(disk: number): boolean {
    return this.#disks[disk * DISK_DOUBLES + INSERTED] === 1;
  }

  /** A request that changes where bytes lie does so for whole clusters of this size; 0: none does. */
  clusterBytes(disk: number): number {
    return this.#disks[disk * DISK_DOUBLES + CLUSTER_BYTES];
  }

  /** The vCPU's thread: a request that began at `begunMs` (`performance.now`) is done. */
  count(disk: number, op: number, offset: number, bytes: number, begunMs: number, isFailure = false): void {
    const kind = countedAs[op];
    if (kind === undefined) return;
    const nowMs = performance.now();
    const first = disk * DISK_DOUBLES;
    const at = first + kind;
    this.#disks[at + 2] += (nowMs - begunMs) * 1e6;
    this.#disks[first + LAST_DONE] = timeOriginMs + nowMs;
    if (isFailure) {
      this.#disks[at + 3]++;
      return;
    }
    this.#disks[at] += bytes;
    this.#disks[at + 1]++;
    if (kind === WRITES) this.#disks[first + HIGHEST] = Math.max(this.#disks[first + HIGHEST], offset + bytes);
  }

  statistics(disk: number): DiskStatistics {
    const at = disk * DISK_DOUBLES;
    const counted = (kind: number): CountedRequests => {
      const [bytes, count, ns, failures] = this.#disks.slice(at + kind, at + kind + 4).map(Math.round);
      return { bytes, count, ns, failures };
    };
    const lastMs = this.#disks[at + LAST_DONE];
    return {
      reads: counted(READS),
      writes: counted(WRITES),
      flushes: counted(FLUSHES),
      discards: counted(DISCARDS),
      highestWrittenByte: this.#disks[at + HIGHEST],
      idleNs: lastMs === 0 ? undefined : Math.max(0, Math.round((timeOriginMs + performance.now() - lastMs) * 1e6)),
    };
  }

  /** Another disk is at this place. */
  forgetStatistics(disk: number): void {
    this.#disks.fill(0, disk * DISK_DOUBLES + READS, (disk + 1) * DISK_DOUBLES);
  }

  /** A drive's buffer, which requests may name beside guest memory. */
  driveBuffer(disk: number, sizeBytes: number): Uint8Array {
    assert(sizeBytes <= BUFFER_BYTES, 'a drive has a buffer of 128 KiB');
    return new Uint8Array(this.buffer, this.#buffers + disk * BUFFER_BYTES, sizeBytes);
  }

  // --- a slot's fields, for its owner at the time

  setRequest(slot: number, op: number, disk: number, flags: number, offset: number, length: number): void {
    const at = slot * SLOT_WORDS;
    this.#slots[at + OP] = op;
    this.#slots[at + DISK] = disk;
    this.#slots[at + FLAGS] = flags;
    this.#slots[at + PIECES] = 0;
    this.#slots[at + PLACES] = 0;
    this.#numbers[slot * SLOT_DOUBLES + OFFSET] = offset;
    this.#numbers[slot * SLOT_DOUBLES + LENGTH] = length;
  }

  /** Another piece, of guest memory or a drive's buffer; one that begins where the last ends lengthens it. False: there is no room for it. */
  addPiece(slot: number, piece: Uint8Array): boolean {
    const { length } = piece;
    const hva = piece.buffer === this.buffer ? OWN + piece.byteOffset : piece.byteOffset;
    const count = this.#slots[slot * SLOT_WORDS + PIECES];
    const next = slot * SLOT_DOUBLES + FIRST_PIECE + 2 * count;
    const numbers = this.#numbers;
    if (count > 0 && numbers[next - 2] + numbers[next - 1] === hva) {
      numbers[next - 1] += length;
      return true;
    }
    if (count === maxPieces) return false;
    numbers[next] = hva;
    numbers[next + 1] = length;
    this.#slots[slot * SLOT_WORDS + PIECES] = count + 1;
    return true;
  }

  /** The answer should tell places. */
  wantPlaces(slot: number): void {
    this.#slots[slot * SLOT_WORDS + FLAGS] |= diskFlag.wantsPlaces;
  }

  op(slot: number): number {
    return this.#slots[slot * SLOT_WORDS + OP];
  }
  disk(slot: number): number {
    return this.#slots[slot * SLOT_WORDS + DISK];
  }
  flags(slot: number): number {
    return this.#slots[slot * SLOT_WORDS + FLAGS];
  }
  status(slot: number): number {
    return this.#slots[slot * SLOT_WORDS + STATUS];
  }
  offset(slot: number): number {
    return this.#numbers[slot * SLOT_DOUBLES + OFFSET];
  }
  length(slot: number): number {
    return this.#numbers[slot * SLOT_DOUBLES + LENGTH];
  }
  pieces(slot: number, memory: SharedArrayBuffer): Uint8Array[] {
    const pieces: Uint8Array[] = [];
    const first = slot * SLOT_DOUBLES + FIRST_PIECE;
    for (let i = 0; i < this.#slots[slot * SLOT_WORDS + PIECES]; i++) {
      const [at, length] = this.#numbers.subarray(first + 2 * i, first + 2 * i + 2);
      pieces.push(at >= OWN ? new Uint8Array(this.buffer, at - OWN, length) : new Uint8Array(memory, at, length));
    }
    return pieces;
  }

  // --- places: told in the answer to a request, over its pieces

  get placesEpoch(): number {
    return Atomics.load(this.#words, PLACES_EPOCH);
  }

  /** For the thread of the disks, of a request that is done. False: there is no room for it. */
  addPlace(slot: number, { start, end, at, file }: PlacedRun): boolean {
    const words = slot * SLOT_WORDS;
    const count = this.#slots[words + PLACES];
    if (count === maxPlaces) return false;
    this.#numbers.set([start, end, at, file], slot * SLOT_DOUBLES + FIRST_PIECE + count * PLACE_DOUBLES);
    this.#slots[words + PLACES] = count + 1;
    this.#slots[words + EPOCH] = this.placesEpoch;
    return true;
  }

  /** The epoch in which a request's places were told; undefined: none were. */
  epochOfPlaces(slot: number): number | undefined {
    return this.#slots[slot * SLOT_WORDS + PLACES] === 0 ? undefined : this.#slots[slot * SLOT_WORDS + EPOCH];
  }

  /** For the vCPU's thread, of a request that is done. */
  places(slot: number): PlacedRun[] {
    const words = slot * SLOT_WORDS;
    const places: PlacedRun[] = [];
    for (let i = 0; i < this.#slots[words + PLACES]; i++) {
      const from = slot * SLOT_DOUBLES + FIRST_PIECE + i * PLACE_DOUBLES;
      const [start, end, at, file] = this.#numbers.subarray(from, from + PLACE_DOUBLES);
      places.push({ start, end, at, file });
    }
    return places;
  }

  /** The vCPU's thread is about to go to places of this epoch. False: they hold no longer; nothing has begun. */
  beginInPlace(epoch: number): boolean {
    const words = this.#words;
    Atomics.store(words, IN_PLACE, 1);
    if (Atomics.load(words, PLACES_EPOCH) === epoch) return true;
    this.endInPlace();
    return false;
  }

  endInPlace(): void {
    Atomics.store(this.#words, IN_PLACE, 0);
  }

  /** From the thread of the disks: nobody goes to a place that was told before, now or later. */
  revokePlaces(): void {
    const words = this.#words;
    Atomics.add(words, PLACES_EPOCH, 1);
    // It lasts as long as one system call.
    while (Atomics.load(words, IN_PLACE) === 1) Atomics.wait(words, IN_PLACE, 1, 1);
  }

  setWritten(disk: number): void {
    Atomics.store(this.#written, disk, 1);
  }

  /** Whether something was written since it was asked before. */
  takeWritten(disk: number): boolean {
    return Atomics.exchange(this.#written, disk, 0) === 1;
  }

  // --- the vCPU's thread

  /** Hands a slot over. Gives how the other thread waited: after `inLoop` it wants a message. */
  submit(slot: number): number {
    const words = this.#words;
    const at = Atomics.load(words, SUBMITTED);
    this.#submissions[at & (diskSlots - 1)] = slot;
    Atomics.store(words, SUBMITTED, (at + 1) | 0);
    const waited = Atomics.exchange(words, WAITS, diskWaits.not);
    if (waited === diskWaits.onWord) Atomics.notify(words, SUBMITTED);
    return waited;
  }

  /** A slot that is done, or -1. */
  collect(): number {
    const words = this.#words;
    const at = words[COLLECTED];
    if (at === Atomics.load(words, DONE)) return -1;
    const slot = this.#completions[at & (diskSlots - 1)];
    Atomics.store(words, COLLECTED, (at + 1) | 0);
    return slot;
  }

  /** Blocks until there is something to collect, or for `milliseconds`. */
  waitForDone(milliseconds: number): void {
    const words = this.#words;
    Atomics.wait(words, DONE, words[COLLECTED], milliseconds);
  }

  // --- the thread of the disks

  /** A slot to work on, or -1. */
  take(): number {
    const words = this.#words;
    const at = words[TAKEN];
    if (at === Atomics.load(words, SUBMITTED)) return -1;
    const slot = this.#submissions[at & (diskSlots - 1)];
    Atomics.store(words, TAKEN, (at + 1) | 0);
    return slot;
  }

  finish(slot: number, status: number): void {
    const words = this.#words;
    this.#slots[slot * SLOT_WORDS + STATUS] = status;
    const at = words[DONE];
    this.#completions[at & (diskSlots - 1)] = slot;
    Atomics.store(words, DONE, (at + 1) | 0);
    Atomics.notify(words, DONE);
  }

  /** Says that a message is wanted. False: there are submissions to take already. */
  waitInLoop(): boolean {
    Atomics.store(this.#words, WAITS, diskWaits.inLoop);
    return Atomics.load(this.#words, SUBMITTED) === this.#words[TAKEN];
  }

  /** Blocks until something is submitted, `wake` is called, or for `milliseconds`. */
  waitOnWord(milliseconds: number): void {
    const words = this.#words;
    Atomics.store(words, WAITS, diskWaits.onWord);
    Atomics.wait(words, SUBMITTED, words[TAKEN], milliseconds);
    Atomics.store(words, WAITS, diskWaits.not);
  }

  /** From any thread: ends a `waitOnWord`. */
  wake(): void {
    Atomics.notify(this.#words, SUBMITTED);
  }
}
