/**
 * State of one open qcow2 image: header, L1 table, caches of L2 tables and refcounts, and the order in which changes reach the file.
 *
 * **Flush order**, the image's whole crash story: (1) refcount blocks, whose counts only went up; (2) barrier, which also covers
 * guest data; (3) L2 tables; (4) barrier and L1 entries, where new L2 tables exist; (5) barrier, then queued frees go into the
 * refcounts in memory, written by the next flush. A cut between any two writes leaves leaks at most.
 */

import type { VolumeCipher } from '../../crypto/volume-cipher.js';
import { BlockError, errorText, toBlockError } from '../../errors.js';
import type { BlockHost } from '../../host.js';
import type { BlockNode, StatusRuns } from '../../node.js';
import { Mutex, RangeLocks } from '../locks.js';
import { type CachedTable, TableCache } from '../table-cache.js';
import { entryRun } from './entry-run.js';
import {
  CryptMethod,
  compressedBit,
  copiedBit,
  IncompatibleFeature,
  offsetHighMask,
  offsetLowMask,
  type Qcow2Header,
  serializeHeader,
  set64,
  zeroBit,
} from './layout.js';
import { type FreeKind, Refcounts, type RefcountsOwner } from './refcounts.js';

const l2CacheBytes = 32 * 2 ** 20;
const maxSliceBytes = 16384;
/** Frees that wait for a flush; more of them force one. */
const maxQueuedClusters = 65536;

/** What a subcluster (without extended L2: a cluster) is. */
export const ClusterType = {
  unallocated: 0,
  /** Extended L2 only: the cluster has a place, this part of it shows the backing file. */
  unallocatedPlaced: 1,
  zero: 2,
  zeroPlaced: 3,
  normal: 4,
  compressed: 5,
} as const;

/** A run of subclusters of one type, host-contiguous where they have a place. */
export interface Run {
  readonly type: number;
  readonly length: number;
  /** Host offset of the first byte (normal and placed types). */
  readonly host: number;
  /** The L2 entry of a compressed cluster. */
  readonly high: number;
  readonly low: number;
}

export class Qcow2Image implements RefcountsOwner {
  readonly host: BlockHost;
  readonly node: BlockNode;
  readonly file: BlockNode;
  dataFile: BlockNode;
  header: Qcow2Header;
  readonly clusterBits: number;
  readonly clusterBytes: number;
  readonly isExtended: boolean;
  readonly subclusterBytes: number;
  readonly subclustersPerCluster: number;
  readonly entryBytes: number;
  readonly entriesPerTable: number;
  readonly entriesPerSlice: number;
  readonly l2: TableCache;
  readonly mutex = new Mutex();
  readonly ranges = new RangeLocks();
  refcounts: Refcounts;
  cipher: VolumeCipher | undefined;
  /** Offset of each L2 table, plus 1 when its refcount is exactly one (the entry's COPIED bit). */
  l1: Float64Array;
  /** Writes of data go to `file` unless there is a data file. */
  hasDataFile = false;
  /** Discards of freed clusters that are passed to the file. */
  passDiscards: ReadonlySet<FreeKind> = new Set<FreeKind>(['snapshot']);
  isCorrupt = false;
  /** Checking must see all of a broken image rather than mark it at the first fault. */
  isChecking = false;
  /** Where the next compressed cluster may start in a partly used host cluster; 0: nowhere. */
  freeByteOffset = 0;
  readonly metadata = new Set<number>();
  readonly #dirtyL1 = new Set<number>();

  constructor(
    host: BlockHost,
    node: BlockNode,
    file: BlockNode,
    header: Qcow2Header,
    l1: Float64Array,
    refcountTable: Float64Array,
  ) {
    this.host = host;
    this.node = node;
    this.file = file;
    this.dataFile = file;
    this.header = header;
    this.clusterBits = header.clusterBits;
    this.clusterBytes = 2 ** header.clusterBits;
    this.isExtended = (header.incompatible & IncompatibleFeature.extendedL2) !== 0;
    this.subclustersPerCluster = this.isExtended ? 32 : 1;
    this.subclusterBytes = this.clusterBytes / this.subclustersPerCluster;
    this.entryBytes = this.isExtended ? 16 : 8;
    this.entriesPerTable = this.clusterBytes / this.entryBytes;
    const slice = Math.min(this.clusterBytes, maxSliceBytes);
    this.entriesPerSlice = slice / this.entryBytes;
    this.l2 = new TableCache(file, slice, l2CacheBytes);
    this.l1 = l1;
    this.refcounts = new Refcounts(
      this,
      header.refcountOrder,
      refcountTable,
      header.refcountTableOffset,
      header.refcountTableClusters,
    );
    this.#collectMetadata();
  }

  get hasBacking(): boolean {
    return this.node.backing !== undefined;
  }

  /** Overrules what the image says while it is open. */
  lazyOption: boolean | undefined;

  get isLazy(): boolean {
    return (this.lazyOption ?? (this.header.compatible & 1) !== 0) && this.header.version >= 3;
  }

  /** Guest bytes that one L2 table maps. */
  get tableSpan(): number {
    return this.entriesPerTable * this.clusterBytes;
  }

  event(name: string): void | Promise<void> {
    return this.file.instance.onEvent?.(name);
  }

  /**
   * Waits until nothing is under way in the range and keeps it so. Taken with the mutex, as writers are between finding a place for
   * what they write and holding the range for it.
   */
  async holdExclusively(start: number, end: number): Promise<() => void> {
    for (;;) {
      const conflict = this.ranges.conflict(start, end, true);
      if (conflict) {
        await conflict;
        continue;
      }
      const wait = this.mutex.lock();
      if (wait) await wait;
      const release = this.ranges.conflict(start, end, true) ? undefined : this.ranges.hold(start, end, true);
      this.mutex.unlock();
      if (release) return release;
    }
  }

  barrier(): Promise<void> {
    return this.file.flush();
  }

  // ---- what must never be overwritten by guest data

  #collectMetadata(): void {
    const { header } = this;
    this.metadataAllocated(0, 1);
    this.metadataAllocated(header.refcountTableOffset, header.refcountTableClusters * this.clusterBytes);
    if (header.l1Entries > 0) this.metadataAllocated(header.l1Offset, header.l1Entries * 8);
    for (const offset of this.refcounts.table) if (offset !== 0) this.metadataAllocated(offset, 1);
    for (const entry of this.l1) if (entry !== 0) this.metadataAllocated(entry, 1);
  }

  metadataAllocated(offset: number, bytes: number): void {
    // A full 32 MiB L1 table gives 4 M clusters; past that the check is not worth its memory.
    if (this.metadata.size > 5_000_000) return;
    const last = Math.floor((offset + bytes - 1) / this.clusterBytes);
    for (let cluster = Math.floor(offset / this.clusterBytes); cluster <= last; cluster++) this.metadata.add(cluster);
  }

  metadataFreed(offset: number, bytes: number): void {
    const last = Math.floor((offset + bytes - 1) / this.clusterBytes);
    for (let cluster = Math.floor(offset / this.clusterBytes); cluster <= last; cluster++)
      this.metadata.delete(cluster);
  }

  /** Refuses, and marks the image corrupt, when a data write would hit metadata. */
  checkOverlap(offset: number, bytes: number): void {
    const cluster = this.metadataIn(offset, bytes);
    if (cluster >= 0)
      throw this.corrupt(
        `Preventing invalid write on metadata (overlaps with ${this.#tableName(cluster) ?? 'snapshot table'})`,
        true,
      );
  }

  /**
   * Refuses, and marks the image corrupt, when what is counted as free is the header or a table in use: `what`, to be put there, would
   * destroy it.
   */
  checkAllocation(first: number, count: number, what: string): void {
    for (let cluster = first; cluster < first + count; cluster++) {
      if (!this.metadata.has(cluster)) continue;
      const name = this.#tableName(cluster);
      if (name === undefined) continue;
      throw this.corrupt(
        cluster === 0 && first === 0 && what !== 'data'
          ? `Preventing invalid allocation of ${what} at offset 0`
          : `Preventing invalid write on metadata (overlaps with ${name})`,
        true,
      );
    }
  }

  /** The first cluster in a range of the data's file that holds metadata, or -1. */
  metadataIn(offset: number, bytes: number): number {
    if (this.hasDataFile) return -1;
    const last = Math.floor((offset + bytes - 1) / this.clusterBytes);
    for (let cluster = Math.floor(offset / this.clusterBytes); cluster <= last; cluster++)
      if (this.metadata.has(cluster)) return cluster;
    return -1;
  }

  /** What lies in a cluster: the header or a table that is in use for the disk itself. */
  #tableName(cluster: number): string | undefined {
    if (cluster === 0) return 'qcow2_header';
    const offset = cluster * this.clusterBytes;
    const within = (start: number, bytes: number) =>
      bytes > 0 && offset + this.clusterBytes > start && offset < start + bytes;
    if (within(this.header.l1Offset, this.header.l1Entries * 8)) return 'active L1 table';
    if (within(this.refcounts.tableOffset, this.refcounts.tableClusters * this.clusterBytes)) return 'refcount table';
    if (this.refcounts.table.includes(offset)) return 'refcount block';
    if (this.l1.includes(offset) || this.l1.includes(offset + 1)) return 'active L2 table';
    return undefined;
  }

  /** Notes that metadata is impossible; `isFatal`: marks the image so that it won't be written again. Gives the error to throw. */
  corrupt(message: string, isFatal = !this.node.readOnly): BlockError {
    if (!this.isCorrupt && !this.isChecking) {
      this.isCorrupt = true;
      const fatal = isFatal && !this.node.readOnly;
      this.host.report(
        'plain',
        fatal
          ? `qcow2: Marking image as corrupt: ${message}; further corruption events will be suppressed`
          : `qcow2: Image is corrupt: ${message}; further non-fatal corruption events will be suppressed`,
      );
      if (fatal && this.header.version >= 3) {
        this.header.incompatible |= IncompatibleFeature.corrupt;
        this.markedCorrupt = this.writeHeader().catch(() => undefined);
      }
    }
    return new BlockError('EIO');
  }

  markedCorrupt: Promise<void> | undefined;
  /** Clusters became free: what was remembered of their contents no longer holds. */
  onFreed: (() => void) | undefined;

  get mustNotWrite(): boolean {
    return (this.header.incompatible & IncompatibleFeature.corrupt) !== 0 && !this.isChecking;
  }

  // ---- header and tables

  /** Writes the first cluster's header part; the caller adds barriers. */
  async writeHeader(): Promise<void> {
    await this.file.write(0, serializeHeader(this.header));
  }

  async tableMoved(offset: number, clusters: number): Promise<void> {
    this.header.refcountTableOffset = offset;
    this.header.refcountTableClusters = clusters;
    await this.writeHeader();
  }

  /** Lazy refcounts: before refcounts may lag behind, the image says so. */
  async markDirty(): Promise<void> {
    if (this.header.incompatible & IncompatibleFeature.dirty || this.header.version < 3) return;
    this.header.incompatible |= IncompatibleFeature.dirty;
    try {
      await this.writeHeader();
      await this.barrier();
    } catch (error) {
      // Whoever is next must not take the mark for written.
      this.header.incompatible &= ~IncompatibleFeature.dirty;
      throw error;
    }
  }

  async clearDirty(): Promise<void> {
    if (!(this.header.incompatible & IncompatibleFeature.dirty)) return;
    await this.barrier();
    this.header.incompatible &= ~IncompatibleFeature.dirty;
    await this.writeHeader();
  }

  setL1(index: number, value: number): void {
    this.l1[index] = value;
    this.#dirtyL1.add(index);
  }

  get hasDirty(): boolean {
    return this.l2.hasDirty || this.refcounts.hasDirty || this.#dirtyL1.size > 0 || this.refcounts.hasQueue;
  }

  /** Brings everything to the file in crash-safe order. With the mutex held. `isFinal` writes lazy refcounts too. */
  async flushMetadata(isFinal = false): Promise<void> {
    if (!this.hasDirty) return;
    const queue = this.refcounts.takeQueue();
    try {
      if (!this.isLazy || isFinal) await this.refcounts.write();
      if (this.l2.hasDirty || this.#dirtyL1.size > 0) {
        if (this.hasDataFile) await this.dataFile.flush();
        await this.barrier();
        await this.event('l2_update');
        await this.l2.writeDirty();
        await this.#writeL1();
      }
      if (queue.length > 0) await this.barrier();
    } catch (error) {
      for (const run of queue)
        this.refcounts.queueFree(run.cluster * this.clusterBytes, run.count * this.clusterBytes, run.kind);
      throw error;
    }
    if (queue.length > 0) {
      await this.event('cluster_free');
      await this.refcounts.applyQueue(queue, async (offset, bytes, kind) => {
        this.metadataFreed(offset, bytes);
        this.onFreed?.();
        if (this.freeByteOffset >= offset && this.freeByteOffset < offset + bytes) this.freeByteOffset = 0;
        if (this.passDiscards.has(kind))
          await this.file
            .discard(offset, Math.min(bytes, Math.max(0, this.file.length - offset)))
            .catch(() => undefined);
      });
    }
  }

  /** What a failed last flush leaves unwritten, in QEMU's sentences: all but the last are reported here. */
  unwrittenTables(error: unknown): BlockError {
    const { code } = toBlockError(error);
    const names = [
      ...(this.l2.hasDirty || this.#dirtyL1.size > 0 ? ['L2 table'] : []),
      ...(this.refcounts.hasDirty ? ['refcount block'] : []),
    ];
    const sentences = names.map((name) => `Failed to flush the ${name} cache: ${errorText(code)}`);
    const last = sentences.pop();
    for (const sentence of sentences) this.host.report('error', sentence);
    return new BlockError(code, last);
  }

  async #writeL1(): Promise<void> {
    if (this.#dirtyL1.size === 0) return;
    await this.barrier();
    await this.event('l1_update');
    const indexes = [...this.#dirtyL1].sort((a, b) => a - b);
    for (let at = 0; at < indexes.length; ) {
      let end = at + 1;
      while (end < indexes.length && indexes[end] === indexes[end - 1]! + 1) end++;
      const first = indexes[at]!;
      await this.file.write(this.header.l1Offset + first * 8, serializeL1(this.l1.subarray(first, first + end - at)));
      for (const index of indexes.slice(at, end)) this.#dirtyL1.delete(index);
      at = end;
    }
  }

  /** After a change, keeps what is only in memory bounded. With the mutex held. */
  async relieve(): Promise<void> {
    if (this.l2.isPressed || this.refcounts.isPressed || this.refcounts.queuedClusters > maxQueuedClusters)
      await this.flushMetadata();
  }

  // ---- L2 tables

  #tableOffset(index: number): number {
    const entry = this.l1[index]!;
    const offset = entry - (entry % 2);
    if (offset % this.clusterBytes !== 0) {
      throw this.corrupt(`L2 table offset 0x${offset.toString(16)} unaligned (L1 index: 0x${index.toString(16)})`);
    }
    return offset;
  }

  /** The slice that maps a guest cluster; undefined where no table exists. */
  slice(cluster: number): CachedTable | undefined | Promise<CachedTable> {
    const offset = this.#sliceOffset(cluster);
    if (offset === 0) return undefined;
    const known = this.file.instance.onEvent ? this.l2.peek(offset) : this.l2.loadNow(offset);
    return known ?? this.#loadSlice(offset);
  }

  /** 0 where no table exists. */
  #sliceOffset(cluster: number): number {
    const index = Math.floor(cluster / this.entriesPerTable);
    if (index >= this.l1.length) return 0;
    const table = this.#tableOffset(index);
    if (table === 0) return 0;
    return table + Math.floor((cluster % this.entriesPerTable) / this.entriesPerSlice) * this.l2.tableBytes;
  }

  /** The slice in memory, if this image alone has its table. */
  peekPrivateSlice(cluster: number): CachedTable | undefined {
    const index = Math.floor(cluster / this.entriesPerTable);
    if (index >= this.l1.length || this.l1[index]! % 2 === 0) return undefined;
    const slice = this.slice(cluster);
    if (!(slice instanceof Promise)) return slice;
    slice.catch(() => undefined);
    return undefined;
  }

  async #loadSlice(offset: number): Promise<CachedTable> {
    await this.event('l2_load');
    return this.l2.load(offset);
  }

  /** The slice for changing: its table exists and is this image's alone. With the mutex held. */
  async sliceForWrite(cluster: number): Promise<CachedTable> {
    if (this.mustNotWrite) throw new BlockError('EIO');
    const index = Math.floor(cluster / this.entriesPerTable);
    if (index >= this.l1.length) throw new BlockError('EIO');
    // A damaged entry may say that a table is this image's alone and name none.
    if (this.l1[index]! % 2 === 0 || this.#tableOffset(index) === 0) await this.#newTable(index);
    return (await this.slice(cluster))!;
  }

  async #newTable(index: number): Promise<void> {
    const old = this.#tableOffset(index);
    await this.event('l2_alloc_write');
    const offset = await this.refcounts.allocate(1, 'L2 table');
    // Refcounts that lag behind are those of data: what is found in a table that is in use without a count would not be trusted.
    if (this.isLazy) await this.refcounts.write();
    const step = this.l2.tableBytes;
    try {
      for (let at = 0; at < this.clusterBytes; at += step) {
        const bytes = old === 0 ? new Uint8Array(step) : (await this.l2.load(old + at)).bytes.slice();
        this.l2.create(offset + at, bytes);
      }
    } catch (error) {
      this.l2.dropRange(offset, this.clusterBytes);
      await this.refcounts.release(offset, this.clusterBytes);
      throw error;
    }
    this.metadataAllocated(offset, this.clusterBytes);
    this.setL1(index, offset + 1);
    if (old !== 0) {
      this.refcounts.queueFree(old, this.clusterBytes, 'other');
      this.l2.dropRange(old, this.clusterBytes);
    }
  }

  // ---- mapping

  /** Byte offset of a guest cluster's entry in its slice. */
  entryAt(cluster: number): number {
    return (cluster % this.entriesPerSlice) * this.entryBytes;
  }

  /** Type of one subcluster from its entry; throws on impossible ones. */
  typeOf(high: number, low: number, allocated: number, zeroes: number, subcluster: number, cluster: number): number {
    if (high & compressedBit) {
      if (this.hasDataFile) throw this.corrupt(`Compressed cluster encountered in an image with an external data file`);
      return ClusterType.compressed;
    }
    const offset = (high & offsetHighMask) * 2 ** 32 + ((low & offsetLowMask) >>> 0);
    // In a data file offset 0 is as good as any other; the COPIED bit tells.
    const isPlaced = offset !== 0 || (this.hasDataFile && (high & copiedBit) !== 0);
    if (isPlaced && offset % this.clusterBytes !== 0) {
      throw this.corrupt(
        `Cluster allocation offset 0x${offset.toString(16)} unaligned (guest cluster 0x${cluster.toString(16)})`,
      );
    }
    if (!this.isExtended) {
      if (low & zeroBit) {
        if (this.header.version < 3)
          throw this.corrupt(
            `Preallocated zero cluster found in pre-v3 image (guest cluster 0x${cluster.toString(16)})`,
          );
        return isPlaced ? ClusterType.zeroPlaced : ClusterType.zero;
      }
      return isPlaced ? ClusterType.normal : ClusterType.unallocated;
    }
    const isAllocated = (allocated >>> subcluster) & 1;
    const isZero = (zeroes >>> subcluster) & 1;
    if ((allocated & zeroes) !== 0 || (!isPlaced && allocated !== 0)) {
      throw this.corrupt(`Invalid cluster entry found (guest cluster 0x${cluster.toString(16)})`);
    }
    if (isPlaced)
      return isZero ? ClusterType.zeroPlaced : isAllocated ? ClusterType.normal : ClusterType.unallocatedPlaced;
    return isZero ? ClusterType.zero : ClusterType.unallocated;
  }

  map(offset: number, most: number): Run | Promise<Run> {
    const cluster = Math.floor(offset / this.clusterBytes);
    const slice = this.slice(cluster);
    if (slice === undefined) return this.#unmapped(offset, most);
    return slice instanceof Promise
      ? slice.then((loaded) => this.mapIn(loaded, offset, most))
      : this.mapIn(slice, offset, most);
  }

  /** `map` without keeping the table, for who goes over the whole disk. Undefined where it can't be had at once. */
  glance(offset: number, most: number): Run | undefined {
    const place = this.#sliceOffset(Math.floor(offset / this.clusterBytes));
    if (place === 0) return this.#unmapped(offset, most);
    const table = this.#glanceTable(place);
    return table && this.mapIn(table, offset, most);
  }

  /** The L2 slice at `place`, or all of the table that it is of. */
  #glanceTable(place: number): CachedTable | undefined {
    if (this.file.instance.onEvent) return this.l2.peek(place);
    const bytes = this.entriesPerTable * this.entryBytes;
    return this.l2.glanceNow(place - (place % bytes), bytes) ?? this.l2.glanceNow(place);
  }

  /** Adds the runs from `offset` on that one table tells of, none beyond `end`, to `runs`, with their ClusterType for a kind. */
  glanceRuns(offset: number, end: number, runs: StatusRuns): void {
    const { clusterBytes } = this;
    let cluster = Math.floor(offset / clusterBytes);
    const place = this.#sliceOffset(cluster);
    if (place === 0 || this.isExtended) {
      const run = this.glance(offset, end - offset);
      if (run) addRun(runs, run.type, run.length, run.host);
      return;
    }
    const table = this.#glanceTable(place);
    if (!table) return;
    const { view } = table;
    const entries = view.byteLength / 8;
    let index = cluster % entries;
    const last = Math.min(entries, index + Math.ceil(end / clusterBytes) - cluster);
    let inCluster = offset % clusterBytes;
    while (index < last && runs.count < runs.kinds.length) {
      const high = view.getUint32(index * 8);
      const low = view.getUint32(index * 8 + 4);
      const type = this.typeOf(high, low, 0, 0, 0, cluster);
      const count = this.#likeEntries(view, index, last, cluster, type);
      const length = Math.min(count * clusterBytes, end - cluster * clusterBytes) - inCluster;
      addRun(runs, type, length, placeIn(high, low) + inCluster);
      inCluster = 0;
      index += count;
      cluster += count;
    }
  }

  #unmapped(offset: number, most: number): Run {
    const span = this.tableSpan;
    return { type: ClusterType.unallocated, length: Math.min(most, span - (offset % span)), host: 0, high: 0, low: 0 };
  }

  /** How many entries of 8 bytes from `index` on, none from `last` on, make one run; the first is of this type and of guest cluster `cluster`. */
  #likeEntries(view: DataView, index: number, last: number, cluster: number, type: number): number {
    if (type === ClusterType.compressed) return 1;
    const isPlaced = type === ClusterType.normal || type === ClusterType.zeroPlaced;
    const step = isPlaced ? this.clusterBytes : 0;
    let count = entryRun(view, index * 8, last * 8, step);
    if (index + count === last) return count;
    // Entries with other flags may be of the same kind.
    const place = placeIn(view.getUint32(index * 8), view.getUint32(index * 8 + 4));
    for (let at = index + count; at < last; at++, count++) {
      const high = view.getUint32(at * 8);
      const low = view.getUint32(at * 8 + 4);
      if (isPlaced && placeIn(high, low) !== place + count * step) break;
      if (this.typeOf(high, low, 0, 0, 0, cluster + count) !== type) break;
    }
    return count;
  }

  /** The run at `offset`, as far as `slice` tells. */
  mapIn(slice: CachedTable, offset: number, most: number): Run {
    const clusterBytes = this.clusterBytes;
    const view = slice.view;
    const entries = view.byteLength / this.entryBytes;
    const cluster = Math.floor(offset / clusterBytes);
    const inCluster = offset % clusterBytes;
    let index = cluster % entries;
    const high = view.getUint32(index * this.entryBytes);
    const low = view.getUint32(index * this.entryBytes + 4);
    const first = Math.floor(inCluster / this.subclusterBytes);
    const zeroes = this.isExtended ? view.getUint32(index * 16 + 8) : 0;
    const allocated = this.isExtended ? view.getUint32(index * 16 + 12) : 0;
    const type = this.typeOf(high, low, allocated, zeroes, first, cluster);
    const place = placeIn(high, low);
    if (type === ClusterType.compressed)
      return { type, length: Math.min(most, clusterBytes - inCluster), host: 0, high, low };
    const isPlaced =
      type === ClusterType.normal || type === ClusterType.zeroPlaced || type === ClusterType.unallocatedPlaced;
    if (!this.isExtended) {
      const last = Math.min(entries, index + Math.ceil((most + inCluster) / clusterBytes));
      const count = this.#likeEntries(view, index, last, cluster, type);
      const length = Math.min(most, count * clusterBytes - inCluster);
      return { type, length, host: isPlaced ? place + inCluster : 0, high, low };
    }
    let length = -inCluster;
    let subcluster = first;
    scan: for (let at = cluster; length < most && index < entries; at++, index++) {
      const [h, l] = [view.getUint32(index * 16), view.getUint32(index * 16 + 4)];
      if (isPlaced && placeIn(h, l) !== place + (at - cluster) * clusterBytes) break;
      const z = view.getUint32(index * 16 + 8);
      const a = view.getUint32(index * 16 + 12);
      for (; subcluster < 32; subcluster++) {
        if (this.typeOf(h, l, a, z, subcluster, at) !== type) {
          length += subcluster * this.subclusterBytes;
          break scan;
        }
      }
      length += clusterBytes;
      subcluster = 0;
    }
    return { type, length: Math.min(most, length), host: isPlaced ? place + inCluster : 0, high, low };
  }

  /** Host byte range of a compressed cluster: where its data start and how many bytes up to the end of the last sector. */
  compressedPlace(high: number, low: number): { readonly offset: number; readonly bytes: number } {
    const shift = 62 - (this.clusterBits - 8);
    const offset = (high & (2 ** (shift - 32) - 1)) * 2 ** 32 + low;
    const sectors = ((high >>> (shift - 32)) & (2 ** (this.clusterBits - 8) - 1)) + 1;
    return { offset, bytes: sectors * 512 - (offset % 512) };
  }

  /** Queues the clusters that an entry about to be replaced refers to. With the mutex held, after the entry was changed. */
  freeEntry(high: number, low: number, kind: FreeKind): void {
    if (high & compressedBit) {
      const { offset, bytes } = this.compressedPlace(high, low);
      this.refcounts.queueFree(offset, bytes, kind);
      return;
    }
    const offset = (high & offsetHighMask) * 2 ** 32 + ((low & offsetLowMask) >>> 0);
    if (this.hasDataFile) {
      if ((offset !== 0 || high & copiedBit) && kind === 'request') this.discardedInDataFile(offset);
      return;
    }
    if (offset !== 0) this.refcounts.queueFree(offset, this.clusterBytes, kind);
  }

  /** Clusters of a data file have no counts: freed ones are passed on as discards right away where wanted. */
  discardedInDataFile(offset: number): void {
    if (this.passDiscards.has('request'))
      this.dataFile.discard(offset, Math.min(this.clusterBytes, this.dataFile.length - offset)).catch(() => undefined);
  }

  get isEncrypted(): boolean {
    return this.header.cryptMethod !== CryptMethod.none;
  }
}

function addRun(runs: StatusRuns, type: number, length: number, host: number): void {
  const index = runs.count++;
  runs.kinds[index] = type;
  runs.lengths[index] = length;
  runs.offsets[index] = host;
}

/** The host offset in an L2 entry. */
function placeIn(high: number, low: number): number {
  return (high & offsetHighMask) * 2 ** 32 + ((low & offsetLowMask) >>> 0);
}

/** L1 entries (offset plus copied flag in bit 0) as on disk. */
export function serializeL1(l1: Float64Array): Uint8Array {
  const bytes = new Uint8Array(l1.length * 8);
  const view = new DataView(bytes.buffer);
  l1.forEach((entry, index) => {
    const isCopied = entry % 2 === 1;
    set64(view, index * 8, entry - (isCopied ? 1 : 0));
    if (isCopied) bytes[index * 8]! |= 0x80;
  });
  return bytes;
}

/** The reverse; reserved bits are dropped, misaligned offsets stay to be refused on use. */
export function parseL1(bytes: Uint8Array): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const l1 = new Float64Array(bytes.length / 8);
  for (let index = 0; index < l1.length; index++) {
    const high = view.getUint32(index * 8);
    const low = view.getUint32(index * 8 + 4);
    if ((high | low) === 0) continue;
    l1[index] = (high & offsetHighMask) * 2 ** 32 + ((low & offsetLowMask) >>> 0) + (high & copiedBit ? 1 : 0);
  }
  return l1;
}
