/**
 * Reads and writes that the vCPU's thread does itself, at the places that the thread of the disks has told it of: what the host has in
 * its page cache costs a microsecond there, and some hundred by way of another thread.
 *
 * A read never waits for a disk (preadv2 with RWF_NOWAIT; in a file system that does not know it, only files in memory are read).
 * A write goes to the page cache, where it seldom waits; after two that did, the next go to the thread of the disks. So does what is too
 * much for a short time: the two threads then work side by side. Whatever is not done here wholly is done there once more.
 */
import { loadVectoredIo, type VectoredIo, vectorPieces } from '../host/node/vectored.js';
import { DiskPlaces, descriptorOf, isInMemory, isWritable, type PlacedFile } from './disk-places.js';
import { type DiskRing, diskOp } from './disk-ring.js';

/** Larger requests are the other thread's. */
const MOST_BYTES = 1 << 20;
/** So much is moved here in so much time at most: copying takes about half of it. */
const WINDOW_MS = 10;
const WINDOW_BYTES = 32 << 20;
/** A write that takes longer has waited for a disk, or its thread for a processor: one such among WATCHED is let pass. */
const WAITED_MS = 8;
const WATCHED = 64;
/** So many writes go to the other thread after two that waited; twice as many if the next that is tried waits too. */
const LEAST_AWAY = 64;
const MOST_AWAY = 8192;

/** What is known of the time that writes to one disk take. */
export class Patience {
  #left = 0;
  #away = LEAST_AWAY;
  #good = 0;
  /** Writes that are still watched after one that waited. */
  #watched = 0;

  get allows(): boolean {
    if (this.#left === 0) return true;
    this.#left--;
    return false;
  }

  took(milliseconds: number): void {
    if (milliseconds > WAITED_MS) {
      if (this.#watched > 0) {
        this.#left = this.#away;
        this.#away = Math.min(2 * this.#away, MOST_AWAY);
      }
      this.#watched = WATCHED;
      this.#good = 0;
      return;
    }
    if (this.#watched > 0) this.#watched--;
    if (++this.#good === LEAST_AWAY) {
      this.#good = 0;
      this.#away = LEAST_AWAY;
    }
  }
}

class PlacedDisk {
  readonly places = new DiskPlaces();
  readonly patience = new Patience();
  /** Requests under way that may change where bytes lie, and how many there have been. */
  changing = 0;
  changes = 0;
}

/** A request as it is begun: `changes` tells when what its answer says of places is out of date. */
export interface PlacedRequest {
  readonly disk: number;
  readonly op: number;
  readonly offset: number;
  /** Bytes that it concerns. */
  readonly length: number;
  changes: number;
  isChange: boolean;
}

export class InPlaceRequests {
  readonly #ring: DiskRing;
  readonly #disks: (PlacedDisk | undefined)[] = [];
  /** Loaded when the first places are told: a start does not wait for it. */
  #io: VectoredIo | undefined;
  /** It cannot be loaded here. */
  #isUnable = false;
  /** In which the places were told. */
  #epoch = 0;
  /** Files whose system knows no reads without waiting. */
  readonly #refusing = new Set<PlacedFile>();
  #windowStart = 0;
  #windowBytes = 0;

  constructor(ring: DiskRing) {
    this.#ring = ring;
  }

  #disk(disk: number): PlacedDisk {
    const known = (this.#disks[disk] ??= new PlacedDisk());
    return known;
  }

  /** Reads or writes at once. `together`: all pieces are views of one buffer. False: nothing was done, or not all. */
  transfer(
    write: boolean,
    disk: number,
    offset: number,
    pieces: readonly Uint8Array[],
    together: boolean,
    length: number,
  ): boolean {
    const known = this.#disks[disk];
    if (!known || known.places.size === 0 || length > MOST_BYTES || pieces.length > vectorPieces) return false;
    const before = performance.now();
    if (before - this.#windowStart > WINDOW_MS) {
      this.#windowStart = before;
      this.#windowBytes = 0;
    }
    this.#windowBytes += length;
    if (this.#windowBytes > WINDOW_BYTES || (write && !known.patience.allows)) return false;
    if (!this.#ring.beginInPlace(this.#epoch)) {
      this.#forgetAll(this.#ring.placesEpoch);
      return false;
    }
    const isDone = this.#move(write, known.places, offset, pieces, together, length);
    if (write) {
      this.#ring.setWritten(disk);
      known.patience.took(performance.now() - before);
    }
    this.#ring.endInPlace();
    return isDone;
  }

  #move(
    write: boolean,
    places: DiskPlaces,
    offset: number,
    pieces: readonly Uint8Array[],
    together: boolean,
    length: number,
  ): boolean {
    const io = this.#io as VectoredIo;
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const run = places.find(at);
      if (!run || (write ? !isWritable(run.file) : this.#refusing.has(run.file))) return false;
      const count = Math.min(length - done, run.end - at);
      const mayWait = write || isInMemory(run.file);
      const from = run.at + at - run.start;
      const moved = io.transfer(write, descriptorOf(run.file), from, pieces, together, done, count, mayWait);
      if (moved === -2) this.#refusing.add(run.file);
      if (moved !== count) return false;
      done += count;
    }
    return true;
  }

  /** A request is handed over. True: its answer should tell places. */
  handOver(request: PlacedRequest): boolean {
    if (this.#isUnable) return false;
    const { disk, op, offset, length } = request;
    const known = this.#disk(disk);
    const clusterBytes = this.#ring.clusterBytes(disk);
    const isWrite = op === diskOp.write;
    const isTransfer = isWrite || op === diskOp.read;
    const isKnown = isTransfer && this.#covers(known.places, offset, length, isWrite);
    request.isChange = clusterBytes > 0 && op !== diskOp.read && op !== diskOp.flush && !(isWrite && isKnown);
    if (request.isChange) {
      known.changing++;
      known.changes++;
      const start = offset - (offset % clusterBytes);
      known.places.forget(start, Math.ceil((offset + length) / clusterBytes) * clusterBytes);
    }
    request.changes = known.changes;
    return isTransfer && !isKnown && length <= MOST_BYTES;
  }

  #covers(places: DiskPlaces, offset: number, length: number, forWrite: boolean): boolean {
    for (let at = offset; at < offset + length; ) {
      const run = places.find(at);
      if (!run || (forWrite && !isWritable(run.file))) return false;
      at = run.end;
    }
    return true;
  }

  /** The other thread is done with it, and its slot not yet used again. */
  answered(request: PlacedRequest, slot: number): void {
    if (this.#isUnable) return;
    const known = this.#disk(request.disk);
    if (request.isChange) known.changing--;
    const epoch = this.#ring.epochOfPlaces(slot);
    if (epoch === undefined || known.changing > 0 || known.changes !== request.changes) return;
    this.#io ??= loadVectoredIo();
    if (!this.#io) {
      this.#isUnable = true;
      return;
    }
    if (epoch !== this.#epoch) {
      // Of a time before what is known: out of date. Otherwise all that is known is.
      if (epoch !== this.#ring.placesEpoch) return;
      this.#forgetAll(epoch);
    }
    for (const run of this.#ring.places(slot)) known.places.add(run);
  }

  #forgetAll(epoch: number): void {
    this.#epoch = epoch;
    for (const known of this.#disks) known?.places.clear();
    this.#refusing.clear();
  }
}
