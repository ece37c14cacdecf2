/**
 * A bounded cache of equal-sized pieces of metadata tables (of qcow2: L2 slices, refcount block slices), by file offset. Pieces changed in
 * memory are *dirty* until the image's flush writes them in its order; only clean ones are evicted.
 */
import type { BlockNode } from '../node.js';

export interface CachedTable {
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  isDirty: boolean;
  lastUse: number;
}

function tableOf(offset: number, bytes: Uint8Array, lastUse: number): CachedTable {
  return {
    offset,
    bytes,
    view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    isDirty: false,
    lastUse,
  };
}

export class TableCache {
  readonly tableBytes: number;
  readonly #file: BlockNode;
  readonly #tables = new Map<number, CachedTable>();
  readonly #loading = new Map<number, Promise<CachedTable>>();
  readonly #dirty = new Set<CachedTable>();
  #maxTables: number;
  #clock = 0;
  /** Hits are mostly on the table of the request before. */
  #last: CachedTable | undefined;
  /** Outside the cache: what `glanceNow` read last, until it is loaded (and may change) or dropped. */
  #glanced: CachedTable | undefined;

  constructor(file: BlockNode, tableBytes: number, maxBytes: number) {
    this.#file = file;
    this.tableBytes = tableBytes;
    this.#maxTables = Math.max(4, Math.floor(maxBytes / tableBytes));
  }

  get hasDirty(): boolean {
    return this.#dirty.size > 0;
  }

  /** So much is dirty that evicting clean tables won't keep the bound: time to flush. */
  get isPressed(): boolean {
    return this.#dirty.size * 2 > this.#maxTables;
  }

  peek(offset: number): CachedTable | undefined {
    const last = this.#last;
    if (last && last.offset === offset) return last;
    const table = this.#tables.get(offset);
    if (table) {
      table.lastUse = ++this.#clock;
      this.#last = table;
    }
    return table;
  }

  /** A table in memory, or read at once where that is possible. */
  loadNow(offset: number): CachedTable | undefined {
    const known = this.peek(offset);
    if (known || this.#loading.has(offset)) return known;
    const bytes = this.#file.host.allocate(this.tableBytes);
    return this.#file.readNow(offset, bytes) ? this.#insert(offset, bytes) : undefined;
  }

  /**
   * The same for one look, by who goes over all tables once: `tableBytes` from `offset` on or several times that. What is not in memory is
   * not kept, and its buffer is used again for the next. Undefined also where some of several tables are in memory, and so may have changed.
   */
  glanceNow(offset: number, bytesWanted = this.tableBytes): CachedTable | undefined {
    const last = this.#glanced;
    // Dropped as soon as one of its tables is in memory.
    if (last?.offset === offset && last.bytes.length === bytesWanted) return last;
    if (bytesWanted === this.tableBytes) {
      const known = this.peek(offset);
      if (known) return known;
    }
    for (let at = offset; at < offset + bytesWanted; at += this.tableBytes)
      if (this.#tables.has(at) || this.#loading.has(at)) return undefined;
    const bytes = last?.bytes.length === bytesWanted ? last.bytes : this.#file.host.allocate(bytesWanted);
    this.#glanced = undefined;
    if (!this.#file.readNow(offset, bytes)) return undefined;
    this.#glanced = tableOf(offset, bytes, 0);
    return this.#glanced;
  }

  /** The table at `offset` is in memory now, or no longer what it was. */
  #forgetGlance(offset: number): void {
    const glanced = this.#glanced;
    if (glanced && offset >= glanced.offset && offset < glanced.offset + glanced.bytes.length)
      this.#glanced = undefined;
  }

  async load(offset: number): Promise<CachedTable> {
    const known = this.peek(offset);
    if (known) return known;
    let loading = this.#loading.get(offset);
    if (!loading) {
      loading = this.#read(offset).finally(() => this.#loading.delete(offset));
      this.#loading.set(offset, loading);
    }
    return loading;
  }

  async #read(offset: number): Promise<CachedTable> {
    const bytes = new Uint8Array(this.tableBytes);
    await this.#file.read(offset, bytes);
    return this.#tables.get(offset) ?? this.#insert(offset, bytes);
  }

  #insert(offset: number, bytes: Uint8Array): CachedTable {
    if (this.#tables.size >= this.#maxTables) this.#evict();
    this.#forgetGlance(offset);
    const table = tableOf(offset, bytes, ++this.#clock);
    this.#tables.set(offset, table);
    return table;
  }

  /** Drops the least recently used quarter of the clean tables. */
  #evict(): void {
    const clean = [...this.#tables.values()].filter((table) => !table.isDirty).sort((a, b) => a.lastUse - b.lastUse);
    for (const table of clean.slice(0, Math.max(1, clean.length >> 2))) {
      this.#tables.delete(table.offset);
      if (this.#last === table) this.#last = undefined;
    }
  }

  /** A table with new contents, not read from the file; dirty. */
  create(offset: number, bytes: Uint8Array): CachedTable {
    this.drop(offset);
    const table = this.#insert(offset, bytes);
    this.markDirty(table);
    return table;
  }

  markDirty(table: CachedTable): void {
    if (table.isDirty) return;
    table.isDirty = true;
    this.#dirty.add(table);
    // A table evicted while someone held it must come back, or its change would be lost.
    if (this.#tables.get(table.offset) === table) return;
    this.#forgetGlance(table.offset);
    this.#tables.set(table.offset, table);
  }

  /** Forgets a table whose cluster was freed or overwritten by other means. */
  drop(offset: number): void {
    this.#forgetGlance(offset);
    const table = this.#tables.get(offset);
    if (!table) return;
    this.#dirty.delete(table);
    table.isDirty = false;
    this.#tables.delete(offset);
    if (this.#last === table) this.#last = undefined;
  }

  dropRange(offset: number, length: number): void {
    for (let at = offset; at < offset + length; at += this.tableBytes) this.drop(at);
  }

  clear(): void {
    this.#tables.clear();
    this.#dirty.clear();
    this.#last = undefined;
    this.#glanced = undefined;
  }

  /** Writes all dirty tables, neighbours together. Whatever fails stays dirty. */
  async writeDirty(check?: (offset: number, length: number) => void): Promise<void> {
    const tables = [...this.#dirty].sort((a, b) => a.offset - b.offset);
    let index = 0;
    while (index < tables.length) {
      let end = index + 1;
      while (
        end < tables.length &&
        end - index < 64 &&
        tables[end]!.offset === tables[end - 1]!.offset + this.tableBytes
      )
        end++;
      const run = tables.slice(index, end);
      check?.(run[0]!.offset, run.length * this.tableBytes);
      for (const table of run) {
        table.isDirty = false;
        this.#dirty.delete(table);
      }
      try {
        // Copies, so that what changes meanwhile is written again rather than torn.
        const bytes = new Uint8Array(run.length * this.tableBytes);
        for (const [at, table] of run.entries()) bytes.set(table.bytes, at * this.tableBytes);
        await this.#file.write(run[0]!.offset, bytes);
      } catch (error) {
        for (const table of run) this.markDirty(table);
        throw error;
      }
      index = end;
    }
  }
}
