/**
 * An open QED image: its two levels of tables as a map of clusters, and the order of writes.
 *
 * New clusters go to the end of the file. A flush brings data to disk first, then second level entries, then first level entries, so
 * that no entry on disk points to what is not there: a power cut leaves unused clusters at most. The format's "need check" bit is thus
 * never set here; where another program left it set, opening for writing checks and repairs.
 */
import { BlockError } from '../../errors.js';
import type { BlockNode } from '../../node.js';
import { type ClusterMap, ClusterRequests, Place } from '../cluster-map/requests.js';
import { type CachedTable, TableCache } from '../table-cache.js';
import { get64, type QedHeader, serializeHeader, set64 } from './layout.js';

/** Tables are kept in pieces of this; every table is a multiple of it. */
const sliceBytes = 4096;
const l1CacheBytes = 2 ** 20;
const l2CacheBytes = 2 ** 23;

export class QedImage implements ClusterMap {
  readonly file: BlockNode;
  readonly header: QedHeader;
  readonly clusterBytes: number;
  readonly tableBytes: number;
  /** Entries of a table. */
  readonly entries: number;
  readonly requests: ClusterRequests;
  readonly #l1: TableCache;
  readonly #l2: TableCache;
  /** End of the clusters in use: the next ones go here. */
  #end: number;

  constructor(node: BlockNode, file: BlockNode, header: QedHeader) {
    this.file = file;
    this.header = header;
    this.clusterBytes = header.clusterBytes;
    this.tableBytes = header.clusterBytes * header.tableClusters;
    this.entries = this.tableBytes / 8;
    this.#l1 = new TableCache(file, sliceBytes, l1CacheBytes);
    this.#l2 = new TableCache(file, sliceBytes, l2CacheBytes);
    this.#end = Math.ceil(file.length / this.clusterBytes) * this.clusterBytes;
    this.requests = new ClusterRequests(node, file, this);
  }

  event(name: string): void | Promise<void> {
    return this.file.instance.onEvent?.(name);
  }

  /** May clusters in use lie here? */
  isPlace(offset: number, length: number): boolean {
    const first = Math.max(this.header.headerClusters, 1) * this.clusterBytes;
    return offset % this.clusterBytes === 0 && offset >= first && offset + length <= this.#end;
  }

  #slice(cache: TableCache, table: number, index: number): CachedTable | Promise<CachedTable> {
    return this.#peek(cache, table, index) ?? cache.load(sliceOffset(table, index));
  }

  /** If it is in memory. */
  #peek(cache: TableCache, table: number, index: number): CachedTable | undefined {
    return cache.peek(sliceOffset(table, index));
  }

  #tableOf(slice: CachedTable, cluster: number): number {
    const table = get64(slice.view, (Math.floor(cluster / this.entries) * 8) % sliceBytes);
    if (table !== 0 && !this.isPlace(table, this.tableBytes)) throw new BlockError('EINVAL');
    return table;
  }

  #placeIn(slice: CachedTable, cluster: number): number {
    const entry = get64(slice.view, ((cluster % this.entries) * 8) % sliceBytes);
    if (entry === 0) return Place.none;
    if (entry === 1) return Place.zero;
    if (!this.isPlace(entry, this.clusterBytes)) throw new BlockError('EINVAL');
    return entry;
  }

  find(cluster: number): number | Promise<number> {
    const upper = this.#peek(this.#l1, this.header.l1Offset, Math.floor(cluster / this.entries));
    if (!upper) return this.#findSlowly(cluster);
    const table = this.#tableOf(upper, cluster);
    if (table === 0) return Place.none;
    const lower = this.#peek(this.#l2, table, cluster % this.entries);
    return lower ? this.#placeIn(lower, cluster) : this.#findSlowly(cluster);
  }

  async #findSlowly(cluster: number): Promise<number> {
    const upper = await this.#slice(this.#l1, this.header.l1Offset, Math.floor(cluster / this.entries));
    const table = this.#tableOf(upper, cluster);
    if (table === 0) return Place.none;
    await this.event('l2_load');
    return this.#placeIn(await this.#slice(this.#l2, table, cluster % this.entries), cluster);
  }

  emptyRun(cluster: number): number {
    const upper = this.#peek(this.#l1, this.header.l1Offset, Math.floor(cluster / this.entries));
    if (!upper || this.#tableOf(upper, cluster) !== 0) return 1;
    return this.entries - (cluster % this.entries);
  }

  async allocate(_cluster: number, count: number): Promise<number> {
    await this.event('cluster_alloc');
    const place = this.#end;
    this.#end += count * this.clusterBytes;
    return place;
  }

  async link(cluster: number, place: number): Promise<void> {
    const l1Index = Math.floor(cluster / this.entries);
    let upper = await this.#slice(this.#l1, this.header.l1Offset, l1Index);
    let table = this.#tableOf(upper, cluster);
    if (table === 0) {
      table = await this.allocate(cluster, this.header.tableClusters);
      await this.event('l2_alloc_write');
      await this.file.writeZeroes(table, this.tableBytes);
      upper = await this.#slice(this.#l1, this.header.l1Offset, l1Index);
      set64(upper.view, (l1Index * 8) % sliceBytes, table);
      this.#l1.markDirty(upper);
    }
    const index = cluster % this.entries;
    const lower = await this.#slice(this.#l2, table, index);
    set64(lower.view, (index * 8) % sliceBytes, place === Place.zero ? 1 : place);
    this.#l2.markDirty(lower);
    if (this.#l2.isPressed) await this.#writeTables();
  }

  /** With the mutex held. */
  async #writeTables(): Promise<void> {
    if (!this.#l2.hasDirty && !this.#l1.hasDirty) return;
    await this.event('flush_to_os');
    await this.file.flush();
    await this.event('l2_update');
    await this.#l2.writeDirty();
    if (!this.#l1.hasDirty) return;
    await this.file.flush();
    await this.event('l1_update');
    await this.#l1.writeDirty();
  }

  async flush(): Promise<void> {
    await this.requests.mutex.run(() => this.#writeTables());
  }

  async writeHeader(): Promise<void> {
    await this.file.write(0, serializeHeader(this.header));
  }

  /** Forgets what tables held: a repair changed them in the file. */
  dropTables(): void {
    this.#l1.clear();
    this.#l2.clear();
  }
}

/** Where the slice of a table lies that holds an entry. */
function sliceOffset(table: number, index: number): number {
  return table + Math.floor((index * 8) / sliceBytes) * sliceBytes;
}
