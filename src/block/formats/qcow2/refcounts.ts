/**
 * Reference counts of host clusters: table, blocks, allocation.
 *
 * **Crash order.** Counts only go up at once; what goes down is queued (`queueFree`) and applied by the image's flush when no
 * table on disk refers to the clusters any more. So a count on disk is never less than the references on disk, whatever prefix of the writes
 * survives, and a freed cluster is never reused while a stale reference could come back. A cut leaks clusters at most.
 */
import { BlockError } from '../../errors.js';
import type { BlockNode } from '../../node.js';
import { type CachedTable, TableCache } from '../table-cache.js';
import { maxRefcountTableBytes, set64 } from './layout.js';

const cacheBytes = 8 * 2 ** 20;
const maxSliceBytes = 65536;
/** What a disk writes whole or not at all. */
const sectorBytes = 512;

export type FreeKind = 'request' | 'snapshot' | 'other' | 'never';

interface FreeRun {
  readonly cluster: number;
  count: number;
  readonly kind: FreeKind;
}

export interface RefcountsOwner {
  readonly file: BlockNode;
  readonly clusterBits: number;
  /** Writes the header with the table's new place. */
  tableMoved(offset: number, clusters: number): Promise<void>;
  corrupt(message: string): BlockError;
  /** Flush of the file below: orders writes. */
  barrier(): Promise<void>;
  event(name: string): void | Promise<void>;
  /** Throws when clusters that are counted as free are in use for metadata. */
  checkAllocation(first: number, count: number, what: string): void;
  /** Clusters that now hold a refcount block or table, for overlap checks. */
  metadataAllocated(offset: number, bytes: number): void;
  metadataFreed(offset: number, bytes: number): void;
}

export class Refcounts {
  readonly bits: number;
  /** Clusters that one refcount block counts. */
  readonly perBlock: number;
  readonly maxCount: number;
  table: Float64Array;
  tableOffset: number;
  tableClusters: number;
  /** No cluster below this index is free. */
  freeIndex = 0;
  readonly #owner: RefcountsOwner;
  readonly #cache: TableCache;
  readonly #clusterBytes: number;
  readonly #perSlice: number;
  readonly #dirtyTableEntries = new Set<number>();
  #queue: FreeRun[] = [];
  queuedClusters = 0;

  constructor(owner: RefcountsOwner, order: number, table: Float64Array, tableOffset: number, tableClusters: number) {
    this.#owner = owner;
    this.bits = 1 << order;
    this.#clusterBytes = 2 ** owner.clusterBits;
    this.perBlock = (this.#clusterBytes * 8) / this.bits;
    this.maxCount = this.bits === 64 ? Number.MAX_SAFE_INTEGER : 2 ** this.bits - 1;
    this.table = table;
    this.tableOffset = tableOffset;
    this.tableClusters = tableClusters;
    const slice = Math.min(this.#clusterBytes, maxSliceBytes);
    this.#cache = new TableCache(owner.file, slice, cacheBytes);
    this.#perSlice = (slice * 8) / this.bits;
  }

  get hasDirty(): boolean {
    return this.#cache.hasDirty || this.#dirtyTableEntries.size > 0;
  }

  get isPressed(): boolean {
    return this.#cache.isPressed;
  }

  #blockOffset(block: number): number {
    const offset = block < this.table.length ? this.table[block]! : 0;
    if (offset % this.#clusterBytes !== 0) {
      throw this.#owner.corrupt(
        `Refblock offset 0x${offset.toString(16)} unaligned (reftable index: 0x${block.toString(16)})`,
      );
    }
    return offset;
  }

  /** The slice that counts `cluster`; undefined where there is no block. */
  #slice(cluster: number): CachedTable | undefined | Promise<CachedTable> {
    const offset = this.#blockOffset(Math.floor(cluster / this.perBlock));
    if (offset === 0) return undefined;
    const sliceOffset = offset + Math.floor((cluster % this.perBlock) / this.#perSlice) * this.#cache.tableBytes;
    return this.#cache.peek(sliceOffset) ?? this.#cache.load(sliceOffset);
  }

  #getIn(slice: CachedTable, cluster: number): number {
    return getRefcount(slice.bytes, slice.view, this.bits, cluster % this.#perSlice);
  }

  async get(cluster: number): Promise<number> {
    const found = this.#slice(cluster);
    if (!found) return 0;
    const slice = found instanceof Promise ? await found : found;
    return this.#getIn(slice, cluster);
  }

  /** Adds `delta` to each of `count` clusters; their blocks must exist when adding. */
  async add(first: number, count: number, delta: number): Promise<void> {
    let cluster = first;
    const end = first + count;
    while (cluster < end) {
      const found = this.#slice(cluster);
      // What only a damaged table names: QEMU would make a block for it and has its caller try again.
      if (!found) throw new BlockError(cluster >= this.perBlock * (maxRefcountTableBytes / 8) ? 'EFBIG' : 'EAGAIN');
      const slice = found instanceof Promise ? await found : found;
      const stop = Math.min(end, cluster - (cluster % this.#perSlice) + this.#perSlice);
      for (; cluster < stop; cluster++) {
        const value = this.#getIn(slice, cluster) + delta;
        // Larger than numbers here are exact, and than any image has references: damage, which stays as it is.
        if (delta < 0 && value >= Number.MAX_SAFE_INTEGER) continue;
        if (value < 0 || value > this.maxCount) {
          // Undo what this call did, so that a refused addition has no effect.
          if (cluster > first) await this.add(first, cluster - first, -delta);
          throw new BlockError('EINVAL');
        }
        setRefcount(slice.bytes, slice.view, this.bits, cluster % this.#perSlice, value);
        if (value === 0 && cluster < this.freeIndex) this.freeIndex = cluster;
      }
      this.#cache.markDirty(slice);
    }
  }

  /** First of `count` neighbouring clusters with count 0, at or after `freeIndex`. Where no block exists, all is free. */
  async #findFree(count: number): Promise<number> {
    let run = 0;
    let cluster = this.freeIndex;
    let isLowest = true;
    for (;;) {
      const found = this.#slice(cluster);
      const stop = cluster - (cluster % this.#perSlice) + this.#perSlice;
      if (!found) {
        run += stop - cluster;
        isLowest = false;
        cluster = stop;
      } else {
        const slice = found instanceof Promise ? await found : found;
        for (; cluster < stop && run < count; cluster++) {
          if (this.#getIn(slice, cluster) === 0) {
            run++;
            isLowest = false;
          } else {
            run = 0;
            if (isLowest) this.freeIndex = cluster + 1;
          }
        }
      }
      if (run >= count) return cluster - run;
      if (cluster * this.#clusterBytes > 2 ** 52) throw new BlockError('EFBIG');
    }
  }

  /** How many clusters from `first` on are free, at most `most`. */
  async #countFree(first: number, most: number): Promise<number> {
    const end = first + most;
    for (let cluster = first; cluster < end; ) {
      const found = this.#slice(cluster);
      const stop = Math.min(end, cluster - (cluster % this.#perSlice) + this.#perSlice);
      if (found) {
        const slice = found instanceof Promise ? await found : found;
        for (; cluster < stop; cluster++) if (this.#getIn(slice, cluster) !== 0) return cluster - first;
      }
      cluster = stop;
    }
    return Math.max(0, most);
  }

  /** How many of the clusters below `end` are in use; stops at `enough`. */
  async countUsed(end: number, enough: number): Promise<number> {
    let used = 0;
    for (let cluster = 0; cluster < end && used < enough; ) {
      const found = this.#slice(cluster);
      const stop = Math.min(end, cluster - (cluster % this.#perSlice) + this.#perSlice);
      if (found) {
        const slice = found instanceof Promise ? await found : found;
        for (; cluster < stop; cluster++) if (this.#getIn(slice, cluster) !== 0) used++;
      }
      cluster = stop;
    }
    return used;
  }

  /** Allocates `count` neighbouring clusters, each with count 1, for `what`; gives their offset. */
  async allocate(count: number, what = 'table'): Promise<number> {
    await this.#owner.event('cluster_alloc');
    for (;;) {
      const first = await this.#findFree(count);
      if (await this.#ensureBlocks(first, count)) continue;
      this.#owner.checkAllocation(first, count, what);
      await this.add(first, count, 1);
      if (first === this.freeIndex) this.freeIndex = first + count;
      return first * this.#clusterBytes;
    }
  }

  /** Like `allocate`, but takes fewer clusters rather than look past the first gap. */
  async allocateSome(most: number): Promise<{ readonly offset: number; readonly count: number }> {
    await this.#owner.event('cluster_alloc');
    for (;;) {
      const first = await this.#findFree(1);
      const count = 1 + (await this.#countFree(first + 1, most - 1));
      if (await this.#ensureBlocks(first, count)) continue;
      this.#owner.checkAllocation(first, count, 'data');
      await this.add(first, count, 1);
      this.freeIndex = Math.max(this.freeIndex, first + count);
      return { offset: first * this.#clusterBytes, count };
    }
  }

  /** Takes up to `count` clusters at a given place as far as they are free; gives how many. */
  async allocateAt(offset: number, count: number): Promise<number> {
    const first = offset / this.#clusterBytes;
    for (;;) {
      const free = await this.#countFree(first, count);
      if (free === 0) return 0;
      if (await this.#ensureBlocks(first, free)) continue;
      await this.add(first, free, 1);
      return free;
    }
  }

  /** Makes blocks for the range where missing; true if it made any (they took clusters, so look again). */
  async #ensureBlocks(first: number, count: number): Promise<boolean> {
    let made = false;
    for (
      let block = Math.floor(first / this.perBlock);
      block <= Math.floor((first + count - 1) / this.perBlock);
      block++
    ) {
      if (block < this.table.length && this.#blockOffset(block) !== 0) continue;
      if (block >= this.table.length) await this.#growTable(block);
      else await this.#createBlock(block);
      made = true;
    }
    return made;
  }

  async #createBlock(block: number): Promise<void> {
    await this.#owner.event('refblock_alloc');
    const place = await this.#findFree(1);
    this.#owner.checkAllocation(place, 1, 'refcount block');
    const home = Math.floor(place / this.perBlock);
    if (home >= this.table.length) {
      await this.#growTable(home);
      return;
    }
    const isSelf = home === block;
    if (!isSelf && this.#blockOffset(home) === 0) {
      await this.#createBlock(home);
      return;
    }
    const offset = place * this.#clusterBytes;
    this.#newBlock(offset);
    if (!isSelf) await this.add(place, 1, 1);
    this.table[block] = offset;
    this.#dirtyTableEntries.add(block);
    if (isSelf) await this.add(place, 1, 1);
    this.#owner.metadataAllocated(offset, this.#clusterBytes);
  }

  #newBlock(offset: number): void {
    for (let at = 0; at < this.#clusterBytes; at += this.#cache.tableBytes)
      this.#cache.create(offset + at, new Uint8Array(this.#cache.tableBytes));
  }

  /**
   * Moves to a larger table. Everything below block `block` is counted already; the new blocks and the table itself go to the
   * start of that block's range, which is free, and count themselves.
   */
  async #growTable(block: number): Promise<void> {
    const entriesPerCluster = this.#clusterBytes / 8;
    let tableClusters = Math.max(Math.ceil((block + 1) / entriesPerCluster), Math.ceil(this.tableClusters * 1.5), 1);
    let blocks = 1;
    for (;;) {
      const needed = Math.ceil((blocks + tableClusters) / this.perBlock);
      if (needed > blocks) {
        blocks = needed;
        continue;
      }
      if ((block + blocks) / entriesPerCluster > tableClusters) {
        tableClusters = Math.ceil((block + blocks) / entriesPerCluster);
        continue;
      }
      break;
    }
    if (tableClusters * this.#clusterBytes > maxRefcountTableBytes) throw new BlockError('EFBIG');
    const start = block * this.perBlock;
    const oldTable = { offset: this.tableOffset, clusters: this.tableClusters };
    const table = new Float64Array(tableClusters * entriesPerCluster);
    table.set(this.table);
    for (let index = 0; index < blocks; index++) {
      const offset = (start + index) * this.#clusterBytes;
      this.#newBlock(offset);
      table[block + index] = offset;
    }
    const before = this.table;
    this.table = table;
    try {
      await this.add(start, blocks + tableClusters, 1);
      await this.#cache.writeDirty();
      const offset = (start + blocks) * this.#clusterBytes;
      await this.#owner.file.write(offset, serializeTable(table));
      await this.#owner.barrier();
      await this.#owner.tableMoved(offset, tableClusters);
      await this.#owner.barrier();
      this.tableOffset = offset;
      this.tableClusters = tableClusters;
      this.#dirtyTableEntries.clear();
      this.#owner.metadataAllocated(start * this.#clusterBytes, (blocks + tableClusters) * this.#clusterBytes);
    } catch (error) {
      this.table = before;
      throw error;
    }
    this.#owner.metadataFreed(oldTable.offset, oldTable.clusters * this.#clusterBytes);
    this.queueFree(oldTable.offset, oldTable.clusters * this.#clusterBytes, 'other');
  }

  /** One reference less on each cluster that the bytes touch, once the flush has made that safe. */
  queueFree(offset: number, bytes: number, kind: FreeKind): void {
    const first = Math.floor(offset / this.#clusterBytes);
    const count = Math.floor((offset + bytes - 1) / this.#clusterBytes) - first + 1;
    // Only a damaged table names the header, or what no file can hold.
    if (first <= 0 || !Number.isSafeInteger(offset + bytes)) {
      this.#owner.corrupt(`Cannot free cluster at offset 0x${offset.toString(16)}`);
      return;
    }
    const last = this.#queue.at(-1);
    if (last && last.cluster + last.count === first && last.kind === kind) last.count += count;
    else this.#queue.push({ cluster: first, count, kind });
    this.queuedClusters += count;
  }

  get hasQueue(): boolean {
    return this.#queue.length > 0;
  }

  takeQueue(): readonly FreeRun[] {
    const queue = this.#queue;
    this.#queue = [];
    this.queuedClusters = 0;
    return queue;
  }

  /** Gives back clusters that no table ever referred to. */
  async release(offset: number, bytes: number): Promise<void> {
    await this.add(offset / this.#clusterBytes, Math.ceil(bytes / this.#clusterBytes), -1);
  }

  /** Applies queued decrements; runs of clusters that are free now go to `freed`. */
  async applyQueue(
    queue: readonly FreeRun[],
    freed: (offset: number, bytes: number, kind: FreeKind) => Promise<void> | void,
  ): Promise<void> {
    for (const run of queue) {
      let start = -1;
      for (let cluster = run.cluster; cluster < run.cluster + run.count; cluster++) {
        const value = await this.get(cluster);
        if (value === 0) {
          this.#owner.corrupt(`Refcount of cluster ${cluster} drops below zero`);
          continue;
        }
        await this.add(cluster, 1, -1);
        if (value === 1) {
          if (start < 0) start = cluster;
          continue;
        }
        if (start >= 0) await freed(start * this.#clusterBytes, (cluster - start) * this.#clusterBytes, run.kind);
        start = -1;
      }
      if (start >= 0)
        await freed(start * this.#clusterBytes, (run.cluster + run.count - start) * this.#clusterBytes, run.kind);
    }
  }

  /**
   * Blocks first, then (behind a barrier) table entries that point to new ones. A new block may be counted by one that was made before it:
   * entries go in the order in which they were made, those that share a sector in one write, with a barrier between writes.
   */
  async write(): Promise<void> {
    if (this.#cache.hasDirty) {
      await this.#owner.event('refblock_update');
      await this.#cache.writeDirty();
    }
    if (this.#dirtyTableEntries.size === 0) return;
    await this.#owner.barrier();
    const entries = [...this.#dirtyTableEntries];
    await this.#owner.event('refblock_alloc_hookup');
    const sectorOf = (index: number): number => Math.floor((index * 8) / sectorBytes);
    for (let at = 0; at < entries.length; ) {
      if (at > 0) await this.#owner.barrier();
      let end = at + 1;
      while (end < entries.length && sectorOf(entries[end]!) === sectorOf(entries[at]!)) end++;
      const together = entries.slice(at, end);
      const [first, last] = [Math.min(...together), Math.max(...together)];
      // What lies between and comes later has no block on disk yet.
      const isLater = (index: number) => this.#dirtyTableEntries.has(index) && !together.includes(index);
      const range = this.table.slice(first, last + 1).map((entry, i) => (isLater(first + i) ? 0 : entry));
      await this.#owner.file.write(this.tableOffset + first * 8, serializeTable(range));
      for (const index of together) this.#dirtyTableEntries.delete(index);
      at = end;
    }
  }

  dropCached(): void {
    this.#cache.clear();
  }
}

export function serializeTable(table: Float64Array): Uint8Array {
  const bytes = new Uint8Array(table.length * 8);
  const view = new DataView(bytes.buffer);
  for (let index = 0; index < table.length; index++) if (table[index] !== 0) set64(view, index * 8, table[index]!);
  return bytes;
}

/** Entry `index` of a refcount block: widths below 8 bits are packed from the low bit of each byte, wider ones big-endian. */
export function getRefcount(bytes: Uint8Array, view: DataView, bits: number, index: number): number {
  switch (bits) {
    case 16:
      return (bytes[index * 2]! << 8) | bytes[index * 2 + 1]!;
    case 8:
      return bytes[index]!;
    case 32:
      return view.getUint32(index * 4);
    case 64:
      return view.getUint32(index * 8) * 2 ** 32 + view.getUint32(index * 8 + 4);
    default: {
      const perByte = 8 / bits;
      return (bytes[Math.floor(index / perByte)]! >> ((index % perByte) * bits)) & ((1 << bits) - 1);
    }
  }
}

export function setRefcount(bytes: Uint8Array, view: DataView, bits: number, index: number, value: number): void {
  switch (bits) {
    case 16:
      view.setUint16(index * 2, value);
      break;
    case 8:
      bytes[index] = value;
      break;
    case 32:
      view.setUint32(index * 4, value);
      break;
    case 64:
      set64(view, index * 8, value);
      break;
    default: {
      const perByte = 8 / bits;
      const at = Math.floor(index / perByte);
      const shift = (index % perByte) * bits;
      bytes[at] = (bytes[at]! & ~(((1 << bits) - 1) << shift)) | (value << shift);
    }
  }
}
