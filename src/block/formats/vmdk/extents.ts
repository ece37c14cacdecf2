/**
 * The extents of a VMDK disk: pieces of it in files. A flat extent is a range of a file; a sparse one maps *grains* (64 KiB mostly)
 * through a grain directory (loaded whole) and grain tables (cached). Tables exist twice; the second set is written, never read.
 *
 * A grain is written whole before its entry, with a barrier between at flush, so that a power cut leaves at most unused space.
 */
import { BlockError, errorCode } from '../../errors.js';
import type { BlockHost } from '../../host.js';
import type { BlockNode } from '../../node.js';
import { Mutex } from '../locks.js';
import { type CachedTable, TableCache } from '../table-cache.js';
import { maxDirectoryEntries, maxExtentSectors, type SparseHeader, sectorBytes, zeroedEntry } from './layout.js';

/** Tables of one extent kept in memory. */
const cacheBytes = 2 ** 20;
/** Largest buffer in which data and what surrounds them in their grains are written together. */
const mergeBytes = 4 * 2 ** 20;
/** Grains larger than this are not taken as compressed: each needs a buffer. */
const maxCompressedGrain = 2 ** 25;
const markerBytes = 12;

export interface ExtentRun {
  readonly state: 'data' | 'zero' | 'unallocated';
  readonly length: number;
  /** Where in the file the run begins; for data. */
  readonly host: number;
}

/** Reads what lies below the disk at an offset of the disk: its backing file, or zeroes. */
export type ReadBelow = (offset: number, buffer: Uint8Array) => Promise<void>;

export interface Extent {
  readonly file: BlockNode;
  /** As the descriptor names it; empty for a file with its descriptor inside. */
  readonly type: string;
  /** Place in the disk. */
  readonly start: number;
  readonly length: number;
  readonly isFlat: boolean;
  readonly isCompressed: boolean;
  /** Undefined for flat ones. */
  readonly grainBytes: number | undefined;
  /** Offsets are relative to the extent; the run may end before `most`. */
  map(offset: number, most: number): Promise<ExtentRun>;
  readRun(run: ExtentRun, offset: number, buffer: Uint8Array): Promise<void>;
  write(offset: number, buffer: Uint8Array, below: ReadBelow): Promise<void>;
  /** Can these bytes become a zeroed grain each? */
  canZero(offset: number, length: number): boolean;
  writeZeroes(offset: number, length: number): Promise<void>;
  flush(): Promise<void>;
}

export class FlatExtent implements Extent {
  readonly file: BlockNode;
  readonly type: string;
  readonly start: number;
  readonly length: number;
  readonly isFlat = true;
  readonly isCompressed = false;
  readonly grainBytes = undefined;
  readonly #offset: number;

  constructor(file: BlockNode, type: string, start: number, sectors: number, flatSector: number) {
    this.file = file;
    this.type = type;
    this.start = start;
    this.length = sectors * sectorBytes;
    this.#offset = flatSector * sectorBytes;
  }

  async map(offset: number, most: number): Promise<ExtentRun> {
    return { state: 'data', length: Math.min(most, this.length - offset), host: this.#offset + offset };
  }

  readRun(run: ExtentRun, _offset: number, buffer: Uint8Array): Promise<void> {
    return this.file.read(run.host, buffer);
  }

  write(offset: number, buffer: Uint8Array): Promise<void> {
    return this.file.write(this.#offset + offset, buffer);
  }

  canZero(): boolean {
    return false;
  }

  async writeZeroes(): Promise<void> {
    throw new BlockError('ENOTSUP');
  }

  async flush(): Promise<void> {}
}

export interface SparseExtentOptions {
  readonly host: BlockHost;
  readonly file: BlockNode;
  readonly type: string;
  readonly start: number;
  readonly header: SparseHeader;
  readonly hasMarkers: boolean;
  readonly hasZeroGrain: boolean;
}

/** A directory, as far as the file holds it: what lies past its end reads as no table. */
async function readDirectory(file: BlockNode, sector: number, entries: number, what: string): Promise<Uint32Array> {
  const offset = sector * sectorBytes;
  const held = Number.isSafeInteger(offset + entries * 4)
    ? Math.min(entries, maxDirectoryEntries, Math.max(0, Math.ceil((file.length - offset) / 4)))
    : 0;
  const directory = new Uint32Array(held);
  const step = new Uint8Array(Math.min(2 ** 20, held * 4));
  const view = new DataView(step.buffer);
  for (let at = 0; at < held; at += step.length / 4) {
    const count = Math.min(step.length / 4, held - at);
    try {
      await file.read(offset + at * 4, step.subarray(0, count * 4));
    } catch (error) {
      throw new BlockError(errorCode(error), `Could not read ${what} from file '${file.filename}'`, { cause: error });
    }
    for (let index = 0; index < count; index++) directory[at + index] = view.getUint32(index * 4, true);
  }
  return directory;
}

export class SparseExtent implements Extent {
  readonly file: BlockNode;
  readonly type: string;
  readonly start: number;
  readonly length: number;
  readonly isFlat = false;
  readonly isCompressed: boolean;
  readonly grainBytes: number;
  readonly #host: BlockHost;
  readonly #header: SparseHeader;
  readonly #hasMarkers: boolean;
  readonly #hasZeroGrain: boolean;
  readonly #directory: Uint32Array;
  readonly #redundant: Uint32Array | undefined;
  readonly #tables: TableCache;
  readonly #mutex = new Mutex();
  /** Disk bytes that one table maps. */
  readonly #span: number;
  /** Sector at which the next grain goes. */
  #nextSector: number;
  /** The grain decompressed last: small reads come in rows. */
  #inflated: { readonly host: number; readonly bytes: Uint8Array } | undefined;

  static async open(options: SparseExtentOptions): Promise<SparseExtent> {
    const { file, header } = options;
    if (header.isCompressed && header.grainSectors * sectorBytes > maxCompressedGrain)
      throw new BlockError('EFBIG', 'Invalid granularity, image may be corrupt');
    const directory = await readDirectory(file, header.directorySector, header.directoryEntries, 'l1 table');
    const redundant =
      header.redundantSector === undefined
        ? undefined
        : await readDirectory(file, header.redundantSector, header.directoryEntries, 'l1 backup table');
    return new SparseExtent(options, directory, redundant);
  }

  private constructor(options: SparseExtentOptions, directory: Uint32Array, redundant: Uint32Array | undefined) {
    const { header } = options;
    this.#host = options.host;
    this.file = options.file;
    this.type = options.type;
    this.start = options.start;
    this.length = header.capacitySectors * sectorBytes;
    this.isCompressed = header.isCompressed;
    this.grainBytes = header.grainSectors * sectorBytes;
    this.#header = header;
    this.#hasMarkers = options.hasMarkers;
    this.#hasZeroGrain = options.hasZeroGrain;
    this.#directory = directory;
    this.#redundant = redundant;
    this.#span = header.tableEntries * this.grainBytes;
    this.#tables = new TableCache(options.file, header.tableEntries * 4, cacheBytes);
    this.#nextSector =
      Math.ceil(Math.ceil(options.file.length / sectorBytes) / header.grainSectors) * header.grainSectors;
  }

  // ---- mapping

  #table(index: number): CachedTable | undefined | Promise<CachedTable> {
    const sector = this.#directory[index];
    if (!sector) return undefined;
    const offset = sector * sectorBytes;
    return this.#tables.peek(offset) ?? this.#tables.load(offset);
  }

  async map(offset: number, most: number): Promise<ExtentRun> {
    const limit = Math.min(most, this.length - offset);
    const index = Math.floor(offset / this.#span);
    if (!this.#directory[index]) {
      // Whole tables may be absent, many in a row.
      let end = index + 1;
      const last = Math.min(this.#directory.length, Math.ceil((offset + limit) / this.#span));
      while (end < last && !this.#directory[end]) end++;
      const length = end >= this.#directory.length ? limit : Math.min(limit, end * this.#span - offset);
      return { state: 'unallocated', length, host: 0 };
    }
    const found = this.#table(index)!;
    const { view } = found instanceof Promise ? await found : found;
    const { grainBytes } = this;
    const entries = this.#header.tableEntries;
    const first = Math.floor(offset / grainBytes) % entries;
    const inGrain = offset % grainBytes;
    const entry = view.getUint32(first * 4, true);
    const state = this.#state(entry);
    let length = grainBytes - inGrain;
    for (let at = first + 1; at < entries && length < limit; at++) {
      const next = view.getUint32(at * 4, true);
      // A compressed grain is a run of its own: nothing follows from its place.
      if (state === 'data' && (this.isCompressed || next !== entry + (at - first) * this.#header.grainSectors)) break;
      if (this.#state(next) !== state) break;
      length += grainBytes;
    }
    const host = state === 'data' ? entry * sectorBytes + (this.isCompressed ? 0 : inGrain) : 0;
    return { state, length: Math.min(limit, length), host };
  }

  #state(entry: number): ExtentRun['state'] {
    if (entry === 0) return 'unallocated';
    return this.#hasZeroGrain && entry === zeroedEntry ? 'zero' : 'data';
  }

  async readRun(run: ExtentRun, offset: number, buffer: Uint8Array): Promise<void> {
    if (!this.isCompressed) return this.file.read(run.host, buffer);
    const inGrain = offset % this.grainBytes;
    const grain = await this.#inflate(run.host, offset - inGrain);
    if (inGrain + buffer.length > grain.length) throw new BlockError('EINVAL');
    buffer.set(grain.subarray(inGrain, inGrain + buffer.length));
  }

  /** What the file has from `offset` on, at most `most`. */
  async #readHeld(offset: number, most: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(Math.max(0, Math.min(most, this.file.length - offset)));
    await this.file.read(offset, bytes);
    return bytes;
  }

  async #inflate(host: number, grainStart: number): Promise<Uint8Array> {
    if (this.#inflated?.host === host) return this.#inflated.bytes;
    const { grainBytes } = this;
    let size = 2 * grainBytes;
    // Compressed contents are seldom larger than a grain: one read gets marker and all.
    let raw = await this.#readHeld(host, this.#hasMarkers ? markerBytes + grainBytes : size);
    if (this.#hasMarkers) {
      if (raw.length < markerBytes) throw new BlockError('EINVAL');
      size = new DataView(raw.buffer, raw.byteOffset).getUint32(8, true);
      if (size === 0 || size > 2 * grainBytes) throw new BlockError('EINVAL');
      if (markerBytes + size > raw.length) raw = await this.#readHeld(host, markerBytes + size);
    }
    const input = this.#hasMarkers ? raw.subarray(markerBytes, markerBytes + size) : raw;
    const compression = await this.#host.compression();
    // The disk's last grain is stored whole (VMware) or without what lies past the end (QEMU).
    const held = Math.min(grainBytes, this.length - grainStart);
    let bytes: Uint8Array;
    try {
      bytes = await compression
        .inflate('zlib', input, grainBytes)
        .catch((error) => (held < grainBytes ? compression.inflate('zlib', input, held) : Promise.reject(error)));
    } catch (error) {
      throw new BlockError('EINVAL', undefined, { cause: error });
    }
    this.#inflated = { host, bytes };
    return bytes;
  }

  // ---- writing

  async write(offset: number, buffer: Uint8Array, below: ReadBelow): Promise<void> {
    if (this.isCompressed) return this.#writeCompressed(offset, buffer);
    for (let at = 0; at < buffer.length; )
      at += await this.#writeSome(offset + at, at === 0 ? buffer : buffer.subarray(at), below);
  }

  async #writeSome(offset: number, buffer: Uint8Array, below: ReadBelow): Promise<number> {
    const wait = this.#mutex.lock();
    if (wait) await wait;
    let isLocked = true;
    try {
      // Runs of absent tables span several of them; entries change in one.
      const run = await this.map(offset, Math.min(buffer.length, this.#span - (offset % this.#span)));
      const part = run.length === buffer.length ? buffer : buffer.subarray(0, run.length);
      if (run.state === 'data') {
        this.#mutex.unlock();
        isLocked = false;
        await this.file.instance.onEvent?.('write_aio');
        await this.file.write(run.host, part);
        return run.length;
      }
      await this.#allocate(offset, part, run.state === 'zero' ? undefined : below);
      return run.length;
    } finally {
      if (isLocked) this.#mutex.unlock();
    }
  }

  /** Gives new places to the grains that `buffer` touches and writes them whole. With the mutex held. */
  async #allocate(offset: number, buffer: Uint8Array, below: ReadBelow | undefined): Promise<void> {
    const { grainBytes } = this;
    const first = Math.floor(offset / grainBytes);
    const end = Math.ceil((offset + buffer.length) / grainBytes);
    const tables = await this.#tablesToChange(first);
    await this.file.instance.onEvent?.('write_aio');
    const sector = this.#reserve((end - first) * this.#header.grainSectors);
    const place = sector * sectorBytes - first * grainBytes;
    const fill = async (from: number, piece: Uint8Array): Promise<void> => {
      // Past the extent's end there is nothing below.
      const usable = Math.max(0, Math.min(piece.length, this.length - from));
      if (below && usable > 0) await below(this.start + from, piece.subarray(0, usable));
    };
    const head = offset - first * grainBytes;
    const tail = end * grainBytes - (offset + buffer.length);
    if (head + tail === 0) await this.file.write(place + offset, buffer);
    else if (head + tail + buffer.length <= mergeBytes) {
      const whole = new Uint8Array(head + buffer.length + tail);
      if (head > 0) await fill(offset - head, whole.subarray(0, head));
      whole.set(buffer, head);
      if (tail > 0) await fill(offset + buffer.length, whole.subarray(head + buffer.length));
      await this.file.write(place + offset - head, whole);
    } else {
      const pad = async (from: number, length: number): Promise<void> => {
        for (let at = 0; at < length; at += mergeBytes) {
          const piece = new Uint8Array(Math.min(mergeBytes, length - at));
          await fill(from + at, piece);
          await this.file.write(place + from + at, piece);
        }
      };
      await pad(offset - head, head);
      await this.file.write(place + offset, buffer);
      await pad(offset + buffer.length, tail);
    }
    this.#nextSector = sector + (end - first) * this.#header.grainSectors;
    for (let grain = first; grain < end; grain++)
      this.#setEntry(tables, grain, sector + (grain - first) * this.#header.grainSectors);
    if (this.#tables.isPressed) await this.#flushTables();
  }

  #reserve(sectors: number): number {
    if (this.#nextSector + sectors > maxExtentSectors) throw new BlockError('EINVAL');
    return this.#nextSector;
  }

  /** The table that maps a grain, and its second copy. */
  async #tablesToChange(grain: number): Promise<readonly CachedTable[]> {
    if (this.#header.isAtEnd) {
      // Its tables stand before the footer that must stay last.
      throw new BlockError('ENOTSUP', 'Cannot write to a stream-optimized image whose header is at its end');
    }
    const index = Math.floor(grain / this.#header.tableEntries);
    const table = await this.#table(index);
    // All tables exist from the start.
    if (!table) throw new BlockError('EINVAL');
    const second = this.#redundant?.[index];
    if (!second || second === this.#directory[index]) return [table];
    return [table, await this.#tables.load(second * sectorBytes)];
  }

  #setEntry(tables: readonly CachedTable[], grain: number, value: number): void {
    const at = (grain % this.#header.tableEntries) * 4;
    for (const table of tables) {
      table.view.setUint32(at, value, true);
      this.#tables.markDirty(table);
    }
  }

  /** Whole grains only, each only once. */
  async #writeCompressed(offset: number, buffer: Uint8Array): Promise<void> {
    const { grainBytes } = this;
    let end = offset + buffer.length;
    // A source that ends inside the last sector of the disk.
    if (end > this.length - sectorBytes && end < this.length) end = this.length;
    if (offset % grainBytes !== 0 || (end % grainBytes !== 0 && end !== this.length) || !this.#hasMarkers)
      throw new BlockError('EINVAL');
    const compression = await this.#host.compression();
    const grains = Math.ceil((end - offset) / grainBytes);
    const compressed = await Promise.all(
      Array.from({ length: grains }, async (_unused, index) => {
        const plain = buffer.subarray(index * grainBytes, (index + 1) * grainBytes);
        const size = Math.min(grainBytes, end - offset - index * grainBytes);
        let padded = plain;
        if (plain.length < size) {
          padded = new Uint8Array(size);
          padded.set(plain);
        }
        const deflated = await compression.deflateZlib(padded, { limit: 2 * grainBytes });
        if (!deflated) throw new BlockError('EINVAL');
        return deflated;
      }),
    );
    await this.#mutex.run(async () => {
      const first = offset / grainBytes;
      for (let at = offset; at < end; at += grainBytes) {
        const run = await this.map(at, 1);
        if (run.state !== 'data') continue;
        this.#host.report('error', 'Could not write to allocated cluster for streamOptimized');
        throw new BlockError('EIO');
      }
      let size = 0;
      const sectors = compressed.map((deflated) => {
        const sector = size / sectorBytes;
        size += Math.ceil((markerBytes + deflated.length) / sectorBytes) * sectorBytes;
        return sector;
      });
      const base = this.#reserve(size / sectorBytes);
      const bytes = new Uint8Array(size);
      const view = new DataView(bytes.buffer);
      for (const [index, deflated] of compressed.entries()) {
        const at = sectors[index]! * sectorBytes;
        const lba = (offset + index * grainBytes) / sectorBytes;
        view.setUint32(at, lba % 2 ** 32, true);
        view.setUint32(at + 4, Math.floor(lba / 2 ** 32), true);
        view.setUint32(at + 8, deflated.length, true);
        bytes.set(deflated, at + markerBytes);
      }
      for (const index of sectors.keys()) await this.#tablesToChange(first + index);
      await this.file.write(base * sectorBytes, bytes);
      this.#nextSector = base + size / sectorBytes;
      for (const [index, sector] of sectors.entries())
        this.#setEntry(await this.#tablesToChange(first + index), first + index, base + sector);
      if (this.#tables.isPressed) await this.#flushTables();
    });
  }

  canZero(offset: number, length: number): boolean {
    return this.#hasZeroGrain && offset % this.grainBytes === 0 && length % this.grainBytes === 0;
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    await this.#mutex.run(async () => {
      for (let grain = offset / this.grainBytes; grain < (offset + length) / this.grainBytes; grain++)
        this.#setEntry(await this.#tablesToChange(grain), grain, zeroedEntry);
      this.#inflated = undefined;
      if (this.#tables.isPressed) await this.#flushTables();
    });
  }

  flush(): Promise<void> {
    return this.#mutex.run(() => this.#flushTables());
  }

  async #flushTables(): Promise<void> {
    if (!this.#tables.hasDirty) return;
    await this.file.flush();
    await this.#tables.writeDirty();
  }
}
