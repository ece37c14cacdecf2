/**
 * Consistency check and repair. Counts every reference to every host cluster and compares with the refcounts; then compares the
 * COPIED bits. Sentences are qemu-img's, as scripts and people know them.
 *
 * L2 tables that several L1 tables share are read once and counted with their multiplicity, so that neither many snapshots nor
 * a hostile L1 table make the check long.
 */
import { BlockError, toBlockError } from '../../errors.js';
import type { CheckFix, CheckResult } from '../../node.js';
import type { Qcow2Node } from './driver.js';
import { entryRun } from './entry-run.js';
import { parseL1, type Qcow2Image } from './image.js';
import {
  compressedBit,
  copiedBit,
  IncompatibleFeature,
  maxL1Bytes,
  offsetHighMask,
  offsetLowMask,
  zeroBit,
} from './layout.js';
import { getRefcount, Refcounts, serializeTable, setRefcount } from './refcounts.js';

const pageClusters = 4096;

/** Counters of a page: bytes as long as these are enough. */
type Counters = Uint8Array | Uint32Array;

/** Sparse counters, one per host cluster. */
class References {
  readonly #pages = new Map<number, Counters>();
  /** The page used last: neighbours follow each other. */
  #last: Counters | undefined;
  #lastIndex = -1;
  highest = -1;
  /** The largest count of any cluster so far. */
  most = 0;
  /** Clusters of the file; references past it are errors. */
  readonly clusters: number;
  /** The largest count that the image can hold. */
  readonly #limit: number;
  /** Told of each cluster whose count would pass the limit, and stays there. */
  readonly #onOverflow: (cluster: number) => void;
  constructor(clusters: number, limit: number, onOverflow: (cluster: number) => void) {
    this.clusters = clusters;
    this.#limit = limit;
    this.#onOverflow = onOverflow;
  }
  get(cluster: number): number {
    const page = this.#pageOf(Math.floor(cluster / pageClusters));
    return page ? page[cluster % pageClusters]! : 0;
  }
  /** The counters of the page that a cluster is on; undefined: all zero. */
  pageOf(cluster: number): Counters | undefined {
    return this.#pageOf(Math.floor(cluster / pageClusters));
  }
  #pageOf(index: number): Counters | undefined {
    if (index !== this.#lastIndex) {
      this.#last = this.#pages.get(index);
      this.#lastIndex = index;
    }
    return this.#last;
  }
  add(cluster: number, count: number): void {
    this.addRun(cluster, 1, count);
  }
  /** Adds `count` to each of `length` clusters. */
  addRun(first: number, length: number, count: number): void {
    const end = first + length;
    for (let cluster = first; cluster < end; ) {
      const index = Math.floor(cluster / pageClusters);
      const start = cluster % pageClusters;
      const stop = Math.min(end, (index + 1) * pageClusters);
      let page = this.#pageOf(index);
      if (!page) page = this.#setPage(index, new Uint8Array(pageClusters));
      if (this.most + count > 255 && page instanceof Uint8Array && !fitsBytes(page, start, stop - cluster, count))
        page = this.#setPage(index, Uint32Array.from(page));
      const most = addToEach(page, start, stop - cluster, count);
      this.most = Math.max(this.most, Math.min(most, this.#limit));
      if (most > this.#limit) this.#limitEach(page, cluster, stop);
      cluster = stop;
    }
    if (end - 1 > this.highest) this.highest = end - 1;
  }
  #limitEach(page: Counters, first: number, end: number): void {
    for (let cluster = first; cluster < end; cluster++) {
      if (page[cluster % pageClusters]! <= this.#limit) continue;
      page[cluster % pageClusters] = this.#limit;
      this.#onOverflow(cluster);
    }
  }
  #setPage(index: number, page: Counters): Counters {
    this.#pages.set(index, page);
    this.#last = page;
    return page;
  }
}

/** Does no sum pass what a byte holds? */
function fitsBytes(counters: Uint8Array, start: number, length: number, count: number): boolean {
  for (let index = start; index < start + length; index++) if (counters[index]! + count > 255) return false;
  return true;
}

/** Gives the largest of the sums. */
function addToEach(counters: Counters, start: number, length: number, count: number): number {
  let most = 0;
  for (let index = start; index < start + length; index++) {
    const sum = counters[index]! + count;
    counters[index] = sum;
    if (sum > most) most = sum;
  }
  return most;
}

/** How many of `count` 16-bit refcounts are equal to the counters (all zero, if there are none). */
function equalCounts(view: DataView, at: number, counters: Counters | undefined, start: number, count: number): number {
  for (let index = 0; index < count; index++)
    if (view.getUint16(at + index * 2) !== (counters ? counters[start + index] : 0)) return index;
  return count;
}

class Check {
  readonly node: Qcow2Node;
  readonly image: Qcow2Image;
  readonly fix: CheckFix;
  references: References;
  corruptions = 0;
  leaks = 0;
  checkErrors = 0;
  corruptionsFixed = 0;
  leaksFixed = 0;
  allocated = 0;
  compressed = 0;
  fragmented = 0;
  mustRebuild = false;
  readonly lines: string[] = [];
  #nextOffset = 0;
  /** L2 tables all of whose entries have the COPIED bit or name no cluster. */
  readonly #copiedTables = new Set<number>();
  readonly #tableBytes: Uint8Array<ArrayBuffer>;

  constructor(node: Qcow2Node, fix: CheckFix) {
    this.node = node;
    this.image = node.image;
    this.fix = fix;
    this.#tableBytes = new Uint8Array(node.image.clusterBytes);
    this.references = this.#newReferences();
  }

  #newReferences(): References {
    const { clusterBytes, file, refcounts } = this.image;
    return new References(Math.ceil(file.length / clusterBytes), refcounts.maxCount, (cluster) => {
      this.corruptions++;
      this.lines.push(
        `ERROR: overflow cluster offset=0x${(cluster * clusterBytes).toString(16)}`,
        'Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the image cannot be opened for writing',
      );
    });
  }

  count(offset: number, bytes: number, times = 1): void {
    if (bytes <= 0) return;
    const { clusterBytes } = this.image;
    if (
      offset > this.image.file.length + clusterBytes * 0 &&
      Math.floor(offset / clusterBytes) >= this.references.clusters
    ) {
      this.#pastEnd(offset, bytes);
      return;
    }
    const last = Math.floor((offset + bytes - 1) / clusterBytes);
    if (last >= this.references.clusters) {
      this.#pastEnd(offset, bytes);
      return;
    }
    for (let cluster = Math.floor(offset / clusterBytes); cluster <= last; cluster++)
      this.references.add(cluster, times);
  }

  #pastEnd(offset: number, bytes: number): void {
    // The end of the file may lie in a cluster whose rest was never written; one further cluster is what a cut leaves.
    this.lines.push(
      `ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x${offset.toString(16)} size 0x${bytes.toString(16)}`,
    );
    this.corruptions++;
  }

  // ---- the snapshot table

  /** How many of its entries are to be mended. */
  async checkSnapshots(): Promise<number> {
    const { node, image } = this;
    if (image.header.snapshotCount === 0) return 0;
    try {
      const { checkSnapshots } = await import('./snapshots.js');
      const lines = checkSnapshots(node, this.fix.errors);
      this.lines.push(...lines);
      return lines.length;
    } catch (error) {
      const { code, message } = toBlockError(error);
      image.host.report('error', `ERROR failed to read the snapshot table: ${message}`);
      throw new BlockError(code);
    }
  }

  /** Once the counts are right. */
  async settleSnapshots(entries: number): Promise<void> {
    if (!this.fix.errors) {
      this.corruptions += entries;
      return;
    }
    const { repairSnapshots } = await import('./snapshots.js');
    await repairSnapshots(this.node);
    this.corruptionsFixed += entries;
  }

  // ---- what refers to clusters

  async countAll(): Promise<void> {
    const { image } = this;
    const { header, clusterBytes } = image;
    this.count(0, clusterBytes);
    const tables = new Map<number, number>();
    await this.#countL1(image.l1, header.l1Offset, header.l1Entries, tables);
    // The active tables in order, for the fragmentation figures.
    for (const [table, times] of [...tables]) await this.#countL2(table, times, true);
    const active = new Map(tables);
    if (!image.hasDataFile || this.node.snapshotList.length > 0) {
      for (const snapshot of this.node.snapshotList) {
        if (snapshot.l1Offset % clusterBytes !== 0 || snapshot.l1Entries * 8 > maxL1Bytes) {
          this.lines.push(
            snapshot.l1Offset % clusterBytes !== 0
              ? `ERROR snapshot ${snapshot.id} (${snapshot.name}) l1_offset=0x${snapshot.l1Offset.toString(16)}: L1 table is not cluster aligned; snapshot table entry corrupted`
              : `ERROR snapshot ${snapshot.id} (${snapshot.name}) l1_size=0x${snapshot.l1Entries.toString(16)}: L1 table is too large; snapshot table entry corrupted`,
          );
          this.corruptions++;
          continue;
        }
        const bytes = new Uint8Array(snapshot.l1Entries * 8);
        if (bytes.length > 0) await image.file.read(snapshot.l1Offset, bytes);
        const more = new Map<number, number>();
        await this.#countL1(parseL1(bytes), snapshot.l1Offset, snapshot.l1Entries, more);
        for (const [table, times] of more) tables.set(table, (tables.get(table) ?? 0) + times);
      }
      for (const [table, times] of tables) {
        const more = times - (active.get(table) ?? 0);
        if (more > 0) await this.#countL2(table, more, false);
      }
    }
    if (header.snapshotCount > 0) {
      this.count(header.snapshotsOffset, this.node.snapshotTableBytes);
    }
    if (header.encryption) this.count(header.encryption.offset, header.encryption.length);
    if (header.bitmaps) {
      const { countBitmaps } = await import('./bitmaps.js');
      await countBitmaps(image, (offset, bytes) => this.count(offset, bytes));
    }
    this.count(header.refcountTableOffset, header.refcountTableClusters * clusterBytes);
    await this.#countBlocks();
  }

  async #countL1(l1: Float64Array, offset: number, entries: number, tables: Map<number, number>): Promise<void> {
    if (entries > 0) this.count(offset, entries * 8);
    for (const entry of l1) {
      const table = entry - (entry % 2);
      if (table === 0) continue;
      if (table % this.image.clusterBytes !== 0) {
        this.lines.push(`ERROR l2_offset=${table.toString(16)}: Table is not cluster aligned; L1 entry corrupted`);
        this.corruptions++;
        if (table % 512 !== 0) continue;
      }
      this.count(table, this.image.clusterBytes);
      tables.set(table, (tables.get(table) ?? 0) + 1);
    }
  }

  async #countL2(table: number, times: number, isActive: boolean): Promise<void> {
    const { image } = this;
    const { clusterBytes, entryBytes } = image;
    if (table % clusterBytes !== 0 || table >= image.file.length) return;
    const bytes = this.#tableBytes;
    await image.file.read(table, bytes);
    const view = new DataView(bytes.buffer);
    let isChanged = false;
    let isCopied = true;
    // As QEMU counts fragments: within one table.
    this.#nextOffset = 0;
    const { references } = this;
    const isSimple = !image.isExtended && !image.hasDataFile;
    const lowBits = clusterBytes - 1;
    const highFactor = 2 ** (32 - image.clusterBits);
    for (let at = 0; at < clusterBytes; at += entryBytes) {
      const high = view.getUint32(at);
      const low = view.getUint32(at + 4);
      if (isSimple && (low & lowBits) === 0 && (high & compressedBit) === 0) {
        // Most entries: an aligned cluster of data within the file.
        const cluster = (high & offsetHighMask) * highFactor + (low >>> image.clusterBits);
        if (cluster > 0 && cluster < references.clusters) {
          const most = references.clusters - cluster;
          const end = Math.min(clusterBytes, at + most * entryBytes);
          const run = entryRun(view, at, end, clusterBytes);
          references.addRun(cluster, run, times);
          if (!(high & copiedBit)) isCopied = false;
          if (isActive) {
            this.allocated += run;
            const offset = cluster * clusterBytes;
            if (this.#nextOffset !== 0 && offset !== this.#nextOffset) this.fragmented++;
            this.#nextOffset = offset + run * clusterBytes;
          }
          at += (run - 1) * entryBytes;
          continue;
        }
      }
      if (image.isExtended && (view.getUint32(at + 8) & view.getUint32(at + 12)) !== 0) {
        this.lines.push(
          `ERROR l2_entry=0x${hex64(high, low)} bitmap 0x${hex64(view.getUint32(at + 8), view.getUint32(at + 12))}: subcluster is both allocated and zero`,
        );
        this.corruptions++;
      }
      if ((high | low) === 0) continue;
      if (high & compressedBit) {
        if (high & copiedBit) {
          this.lines.push(
            `ERROR: coffset=0x${hex64(high & ~copiedBit & offsetHighMask, low)}: copied flag must never be set for compressed clusters`,
          );
          if (this.fix.errors) {
            view.setUint32(at, (high & ~copiedBit) >>> 0);
            isChanged = true;
            this.corruptionsFixed++;
          } else this.corruptions++;
        }
        if (image.hasDataFile) {
          this.lines.push('ERROR compressed cluster with data file');
          this.corruptions++;
          continue;
        }
        const { offset, bytes: size } = image.compressedPlace(high, low);
        this.count(offset, size, times);
        if (isActive) {
          this.compressed++;
          this.allocated++;
          // Compressed clusters are fragmented by nature: they never end on a cluster.
          this.fragmented++;
        }
        continue;
      }
      const offset = (high & offsetHighMask) * 2 ** 32 + ((low & offsetLowMask) >>> 0);
      if (offset === 0 && !(image.hasDataFile && high & copiedBit)) continue;
      if (!(high & copiedBit)) isCopied = false;
      const isZero = !image.isExtended && (low & zeroBit) !== 0;
      if (offset % clusterBytes !== 0) {
        this.corruptions++;
        const isPlain = isZero;
        this.lines.push(
          `${this.fix.errors ? 'Repairing' : 'ERROR'} offset=${offset.toString(16)}: ${isPlain ? 'Preallocated cluster' : 'Cluster'} is not properly aligned; L2 entry corrupted.`,
        );
        if (this.fix.errors) {
          view.setUint32(at, 0);
          view.setUint32(at + 4, image.header.version >= 3 && !image.isExtended ? zeroBit : 0);
          if (image.isExtended) {
            view.setUint32(at + 8, 0xffffffff);
            view.setUint32(at + 12, 0);
          }
          isChanged = true;
          this.corruptions--;
          this.corruptionsFixed++;
        }
        continue;
      }
      if (isActive && !isZero) {
        this.allocated++;
        if (this.#nextOffset !== 0 && offset !== this.#nextOffset) this.fragmented++;
        this.#nextOffset = offset + clusterBytes;
      }
      if (!image.hasDataFile) this.count(offset, clusterBytes, times);
    }
    if (isCopied) this.#copiedTables.add(table);
    if (isChanged) {
      await image.file.write(table, bytes);
      image.l2.dropRange(table, clusterBytes);
    }
  }

  async #countBlocks(): Promise<void> {
    const { image } = this;
    const { clusterBytes } = image;
    const { table } = image.refcounts;
    for (let index = 0; index < table.length; index++) {
      const offset = table[index]!;
      if (offset === 0) continue;
      if (offset % clusterBytes !== 0) {
        this.lines.push(`ERROR refcount block ${index} is not cluster aligned; refcount table entry corrupted`);
        this.corruptions++;
        this.mustRebuild = true;
        continue;
      }
      const cluster = offset / clusterBytes;
      if (cluster >= this.references.clusters) {
        this.lines.push(`${this.fix.errors ? 'Repairing' : 'ERROR'} refcount block ${index} is outside image`);
        this.corruptions++;
        this.mustRebuild = true;
        continue;
      }
      const others = this.references.get(cluster);
      this.references.add(cluster, 1);
      if (others !== 0) {
        this.lines.push(`ERROR refcount block ${index} refcount=${others + 1}`);
        this.corruptions++;
        this.mustRebuild = true;
      }
    }
  }

  // ---- comparing

  /** Calls `visit` for each cluster of the file with its stored count; blocks are read one at a time. */
  async eachCount(visit: (cluster: number, count: number) => Promise<void> | void): Promise<void> {
    const { image } = this;
    const { refcounts, clusterBytes } = image;
    const { references } = this;
    const total = references.clusters;
    const bytes = new Uint8Array(clusterBytes);
    const view = new DataView(bytes.buffer);
    const is16Bit = refcounts.bits === 16;
    for (let block = 0; block * refcounts.perBlock < total; block++) {
      const first = block * refcounts.perBlock;
      const end = Math.min(total, first + refcounts.perBlock);
      const offset = block < refcounts.table.length ? refcounts.table[block]! : 0;
      const isThere = offset !== 0 && offset % clusterBytes === 0 && offset < image.file.length;
      if (isThere) await image.file.read(offset, bytes);
      else bytes.fill(0);
      for (let cluster = first; cluster < end; cluster++) {
        if (is16Bit) {
          const start = cluster % pageClusters;
          const most = Math.min(end - cluster, pageClusters - start);
          const equal = equalCounts(view, (cluster - first) * 2, references.pageOf(cluster), start, most);
          if (equal === most) {
            cluster += most - 1;
            continue;
          }
          cluster += equal;
        }
        const count = getRefcount(bytes, view, refcounts.bits, cluster - first);
        if (count !== references.get(cluster)) await visit(cluster, count);
      }
    }
  }

  /**
   * Tells every count that is wrong, and mends those that `fix` says. A cluster in use that has none may be given to somebody else by
   * the very act of mending: then all counts have to be made anew.
   */
  async compare(fix: CheckFix): Promise<void> {
    const { refcounts } = this.image;
    const changes: [number, number][] = [];
    await this.eachCount((cluster, count) => {
      const wanted = this.references.get(cluster);
      const isLeak = count > wanted;
      if (count === 0) this.mustRebuild = true;
      const isFixed = count !== 0 && (isLeak ? fix.leaks : fix.errors) && wanted <= refcounts.maxCount;
      this.lines.push(
        `${isFixed ? 'Repairing' : isLeak ? 'Leaked' : 'ERROR'} cluster ${cluster} refcount=${count} reference=${wanted}`,
      );
      if (isFixed) {
        changes.push([cluster, wanted - count]);
        if (isLeak) this.leaksFixed++;
        else this.corruptionsFixed++;
      } else if (isLeak) this.leaks++;
      else this.corruptions++;
    });
    for (const [cluster, delta] of changes) await refcounts.add(cluster, 1, delta);
    if (changes.length > 0) {
      await refcounts.write();
      await this.image.barrier();
    }
  }

  /** `compare`, and what its findings ask for. */
  async compareAndFix(): Promise<void> {
    const { fix } = this;
    const before = { leaks: this.leaks, corruptions: this.corruptions };
    await this.compare({ leaks: false, errors: false });
    if (this.mustRebuild && fix.errors) {
      await this.rebuild();
      const found = { leaks: this.leaks, corruptions: this.corruptions };
      this.leaks = 0;
      this.corruptions = 0;
      this.mustRebuild = false;
      // The old table and its blocks are leaked now, by this repair: they are freed and not counted.
      this.references = this.#newReferences();
      this.allocated = this.compressed = this.fragmented = 0;
      await this.countAll();
      const fixed = { leaks: this.leaksFixed, corruptions: this.corruptionsFixed };
      const left = { leaks: this.leaks, corruptions: this.corruptions };
      await this.compare({ leaks: true, errors: false });
      if (this.mustRebuild) {
        this.lines.push('ERROR rebuilt refcount structure is still broken');
        throw new CheckFailure('EIO');
      }
      this.leaks = left.leaks;
      this.corruptions = left.corruptions;
      this.leaksFixed = fixed.leaks + Math.max(0, found.leaks - this.leaks);
      this.corruptionsFixed = fixed.corruptions + Math.max(0, found.corruptions - this.corruptions);
    } else if (fix.leaks || fix.errors) {
      if (this.mustRebuild) {
        this.lines.push('ERROR need to rebuild refcount structures');
        throw new CheckFailure('EIO');
      }
      if (this.leaks > 0 || this.corruptions > 0) {
        this.leaks = before.leaks;
        this.corruptions = before.corruptions;
        await this.compare(fix);
      }
    }
  }

  /** COPIED exactly where the count is one. */
  async compareCopied(): Promise<void> {
    const { image } = this;
    const { clusterBytes, entryBytes } = image;
    // Where nothing is wrong but them, the counts are right and the bits follow from them.
    const isElseSound = this.corruptions === 0 && this.checkErrors === 0 && this.leaks === 0;
    const repair = this.fix.errors || (this.fix.leaks && isElseSound);
    // Where all counts were right (or were made so), the references are the counts, and no table need be looked at again.
    const isExact = this.corruptions === 0 && this.leaks === 0 && this.corruptionsFixed === 0;
    const countOf = (cluster: number): number | Promise<number> =>
      isExact ? this.references.get(cluster) : image.refcounts.get(cluster).catch(() => 0);
    const bytes = new Uint8Array(clusterBytes);
    const view = new DataView(bytes.buffer);
    const { references } = this;
    const isSimple = isExact && !image.hasDataFile;
    const lowBits = clusterBytes - 1;
    const highFactor = 2 ** (32 - image.clusterBits);
    for (let index = 0; index < image.l1.length; index++) {
      const entry = image.l1[index]!;
      const table = entry - (entry % 2);
      if (table === 0 || table % clusterBytes !== 0 || table >= image.file.length) continue;
      const count = await countOf(table / clusterBytes);
      if ((count === 1) !== (entry % 2 === 1)) {
        this.lines.push(
          `${repair ? 'Repairing' : 'ERROR'} OFLAG_COPIED L2 cluster: l1_index=${index} l1_entry=${hex64(Math.floor(table / 2 ** 32) | (entry % 2 ? copiedBit : 0), table % 2 ** 32)} refcount=${count}`,
        );
        if (repair) {
          image.setL1(index, table + (count === 1 ? 1 : 0));
          this.corruptionsFixed++;
        } else this.corruptions++;
      }
      // With no count above one, all that is named must have the bit.
      if (isExact && references.most <= 1 && this.#copiedTables.has(table)) continue;
      await image.file.read(table, bytes);
      let isChanged = false;
      for (let at = 0; at < clusterBytes; at += entryBytes) {
        const high = view.getUint32(at);
        if (high & compressedBit) continue;
        const low = view.getUint32(at + 4);
        if (isSimple && high & copiedBit && (low & lowBits) === 0) {
          if (references.get((high & offsetHighMask) * highFactor + (low >>> image.clusterBits)) === 1) continue;
        }
        const offset = (high & offsetHighMask) * 2 ** 32 + ((low & offsetLowMask) >>> 0);
        if (offset === 0 || offset % clusterBytes !== 0) continue;
        const found = image.hasDataFile ? 1 : countOf(offset / clusterBytes);
        const shared = typeof found === 'number' ? found : await found;
        if ((shared === 1) === ((high & copiedBit) !== 0)) continue;
        this.lines.push(
          `${repair ? 'Repairing' : 'ERROR'} OFLAG_COPIED data cluster: l2_entry=${hex64(high, low)} refcount=${shared}`,
        );
        if (repair) {
          view.setUint32(at, shared === 1 ? (high | copiedBit) >>> 0 : (high & ~copiedBit) >>> 0);
          isChanged = true;
          this.corruptionsFixed++;
        } else this.corruptions++;
      }
      if (isChanged) {
        await image.file.write(table, bytes);
        image.l2.dropRange(table, clusterBytes);
      }
    }
    if (repair) await image.flushMetadata(true);
  }

  /** The first run of clusters that nothing refers to, at the end of the file at the latest; it is taken. */
  #take(clusters: number): number {
    const { references } = this;
    let first = 0;
    for (let at = 0; at - first < clusters; at++) if (references.get(at) > 0) first = at + 1;
    references.addRun(first, clusters, 1);
    return first;
  }

  /**
   * Writes a new refcount table and blocks, made of the references found. The old ones count as in use until the new ones are: a power
   * cut in between leaves the image as it was.
   */
  async rebuild(): Promise<void> {
    const { image, references } = this;
    const { clusterBytes, header } = image;
    const { perBlock } = image.refcounts;
    this.lines.push('Rebuilding refcount structure');
    const blocks = new Map<number, number>();
    let tableClusters = 0;
    let tableCluster = 0;
    // Blocks and table may need further blocks to be counted in.
    for (let isComplete = false; !isComplete; ) {
      isComplete = true;
      for (let block = 0; block * perBlock <= references.highest; block++) {
        if (blocks.has(block) || !this.#isUsed(block * perBlock, perBlock)) continue;
        blocks.set(block, this.#take(1));
        isComplete = false;
      }
      const needed = Math.ceil((Math.floor(references.highest / perBlock + 1) * 8) / clusterBytes);
      if (needed > tableClusters) {
        if (tableClusters > 0) references.addRun(tableCluster, tableClusters, -1);
        tableClusters = needed;
        tableCluster = this.#take(needed);
        isComplete = false;
      }
    }
    const table = new Float64Array((tableClusters * clusterBytes) / 8);
    for (const [block, cluster] of blocks) {
      const bytes = new Uint8Array(clusterBytes);
      const view = new DataView(bytes.buffer);
      for (let index = 0; index < perBlock; index++) {
        const count = references.get(block * perBlock + index);
        if (count > 0) setRefcount(bytes, view, image.refcounts.bits, index, Math.min(count, image.refcounts.maxCount));
      }
      table[block] = cluster * clusterBytes;
      await image.file.write(table[block]!, bytes);
    }
    const place = tableCluster * clusterBytes;
    await image.file.write(place, serializeTable(table));
    await image.barrier();
    header.refcountTableOffset = place;
    header.refcountTableClusters = tableClusters;
    await image.writeHeader();
    await image.barrier();
    image.refcounts = new Refcounts(image, header.refcountOrder, table, place, tableClusters);
  }

  #isUsed(first: number, clusters: number): boolean {
    for (let cluster = first; cluster < first + clusters; ) {
      const page = this.references.pageOf(cluster);
      const stop = Math.min(first + clusters, cluster - (cluster % pageClusters) + pageClusters);
      if (page?.subarray(cluster % pageClusters, (cluster % pageClusters) + stop - cluster).some((count) => count > 0))
        return true;
      cluster = stop;
    }
    return false;
  }
}

/** The image can't be mended in the way asked for. */
class CheckFailure extends BlockError {}

function hex64(high: number, low: number): string {
  return `${high === 0 ? '' : (high >>> 0).toString(16)}${high === 0 ? (low >>> 0).toString(16) : (low >>> 0).toString(16).padStart(8, '0')}`;
}

export async function checkImage(node: Qcow2Node, fix: CheckFix): Promise<CheckResult> {
  const { image } = node;
  return image.mutex.run(async () => {
    image.isChecking = true;
    try {
      if (fix.leaks || fix.errors) await image.flushMetadata(true);
      const check = new Check(node, fix);
      const entries = await check.checkSnapshots();
      try {
        await check.countAll();
        await check.compareAndFix();
        await check.compareCopied();
        if (entries > 0) await check.settleSnapshots(entries);
      } catch (error) {
        if (error instanceof CheckFailure) {
          for (const line of check.lines) image.host.report('plain', line);
          throw error;
        }
        check.lines.push(`ERROR: ${(error as Error).message}`);
        check.checkErrors++;
      }
      if (
        (fix.leaks || fix.errors) &&
        check.checkErrors === 0 &&
        check.corruptions === 0 &&
        !node.image.node.readOnly
      ) {
        const bits = IncompatibleFeature.corrupt | IncompatibleFeature.dirty;
        if (image.header.incompatible & bits) {
          await image.barrier();
          image.header.incompatible &= ~bits;
          await image.writeHeader();
          await image.barrier();
        }
      }
      return {
        corruptions: check.corruptions,
        leaks: check.leaks,
        checkErrors: check.checkErrors,
        corruptionsFixed: check.corruptionsFixed,
        leaksFixed: check.leaksFixed,
        imageEndOffset: (check.references.highest + 1) * image.clusterBytes,
        totalClusters: Math.ceil(image.header.sizeBytes / image.clusterBytes),
        allocatedClusters: check.allocated,
        fragmentedClusters: check.fragmented,
        compressedClusters: check.compressed,
        lines: check.lines,
      };
    } finally {
      image.isChecking = false;
    }
  });
}
