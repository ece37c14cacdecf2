/**
 * Guest requests on a qcow2 image: read, write, write-zeroes, discard, status. Compressed clusters: compressed.ts.
 *
 * A write that needs new clusters takes them in one run, copies what surrounds it (copy-on-write) together with the data where that
 * is one piece, and only then links the run into its L2 table; until then reads see the old mapping and other writes to these
 * clusters wait.
 */
import { BlockError, errorCode } from '../../errors.js';
import type { BlockNode, BlockStatus, HostPlace, StatusRuns } from '../../node.js';
import { RequestFlag, RunKind } from '../../node.js';
import type { CachedTable } from '../table-cache.js';
import { CompressedClusters, type PackedCluster, packedBytes } from './compressed.js';
import { ClusterType, type Qcow2Image, type Run } from './image.js';
import { compressedBit, copiedBit, offsetHighMask, offsetLowMask, zeroBit } from './layout.js';

/** Copy-on-write up to this size travels in one buffer with the data. */
const mergeBytes = 2 ** 20;

interface CopyPiece {
  /** Guest offset. */
  readonly start: number;
  readonly length: number;
}

interface ClusterPlan {
  readonly pieces: CopyPiece[];
  readonly allocated: number;
  readonly zeroes: number;
}

export class Qcow2Requests {
  readonly #image: Qcow2Image;
  readonly compressed: CompressedClusters;

  constructor(image: Qcow2Image) {
    this.#image = image;
    this.compressed = new CompressedClusters(image, (offset, buffer) => this.write(offset, buffer));
  }

  // ---- reading

  async read(offset: number, buffer: Uint8Array): Promise<void> {
    const image = this.#image;
    let pending: Promise<void>[] | undefined;
    let packed: PackedCluster[] = [];
    let at = 0;
    try {
      while (at < buffer.length) {
        const found = image.map(offset + at, buffer.length - at);
        const run = found instanceof Promise ? await found : found;
        if (run.type === ClusterType.compressed && run.length === image.clusterBytes) {
          const { offset: place, bytes } = image.compressedPlace(run.high, run.low);
          const first = packed[0]?.place ?? place;
          if (packed.length > 0 && (place < first || place + bytes - first > packedBytes)) {
            (pending ??= []).push(this.compressed.readPacked(packed, buffer));
            packed = [];
          }
          packed.push({ place, bytes, at });
          at += run.length;
          continue;
        }
        const part = run.length === buffer.length ? buffer : buffer.subarray(at, at + run.length);
        const work = this.#readRun(run, offset + at, part);
        if (work) {
          if (run.length === buffer.length) return await work;
          (pending ??= []).push(work);
        }
        at += run.length;
      }
    } catch (error) {
      if (pending) await Promise.allSettled(pending);
      throw error;
    }
    if (packed.length > 0) (pending ??= []).push(this.compressed.readPacked(packed, buffer));
    if (pending) await Promise.all(pending);
  }

  /** In place, when one run covers it and its table is at hand. */
  readNow(offset: number, buffer: Uint8Array): boolean {
    const image = this.#image;
    if (image.isEncrypted || image.file.instance.onEvent) return false;
    const run = this.#mapNow(offset, buffer.length);
    if (!run || run.length < buffer.length) return false;
    switch (run.type) {
      case ClusterType.normal:
        return image.dataFile.readNow(run.host, buffer);
      case ClusterType.compressed:
        return this.compressed.readNow(run, offset, buffer);
      case ClusterType.zero:
      case ClusterType.zeroPlaced:
        buffer.fill(0);
        return true;
      default: {
        const { backing } = image.node;
        if (backing) return backing.readNow(offset, buffer);
        buffer.fill(0);
        return true;
      }
    }
  }

  #readRun(run: Run, offset: number, part: Uint8Array): Promise<void> | undefined {
    const image = this.#image;
    switch (run.type) {
      case ClusterType.normal:
        if (image.isEncrypted) return this.#readEncrypted(run.host, offset, part);
        return image.file.instance.onEvent ? this.#readWatched(run.host, part) : image.dataFile.read(run.host, part);
      case ClusterType.compressed:
        return this.compressed.read(run, offset, part);
      case ClusterType.zero:
      case ClusterType.zeroPlaced:
        part.fill(0);
        return undefined;
      default: {
        const backing = image.node.backing;
        if (!backing) {
          part.fill(0);
          return undefined;
        }
        return this.#readBacking(offset, part);
      }
    }
  }

  async #readBacking(offset: number, part: Uint8Array): Promise<void> {
    await this.#image.event('read_backing_aio');
    await this.#image.node.backing!.read(offset, part);
  }

  async #readWatched(host: number, part: Uint8Array): Promise<void> {
    await this.#image.event('read_aio');
    await this.#image.dataFile.read(host, part);
  }

  async #readEncrypted(host: number, offset: number, part: Uint8Array): Promise<void> {
    const { cipher } = this.#image;
    if (!cipher) throw new BlockError('EIO');
    await this.#image.event('read_aio');
    await this.#image.dataFile.read(host, part);
    cipher.decrypt(this.#cryptOffset(host, offset), part);
  }

  /** LUKS counts sectors from the host offset, the legacy AES from the guest's. */
  #cryptOffset(host: number, offset: number): number {
    return this.#image.header.cryptMethod === 2 ? host : offset;
  }

  // ---- writing

  async write(offset: number, buffer: Uint8Array): Promise<void> {
    let at = 0;
    while (at < buffer.length) at += await this.#writeSome(offset + at, at === 0 ? buffer : buffer.subarray(at));
  }

  /** In place, when it changes no mapping, its table is at hand and nobody else is at work there. */
  writeNow(offset: number, buffer: Uint8Array): boolean {
    const image = this.#image;
    const { clusterBytes } = image;
    if (image.mustNotWrite || image.isEncrypted || image.mutex.isLocked || image.file.instance.onEvent) return false;
    const start = offset - (offset % clusterBytes);
    const stop = Math.ceil((offset + buffer.length) / clusterBytes) * clusterBytes;
    if (image.ranges.conflict(start, stop, false)) return false;
    try {
      const slice = image.peekPrivateSlice(start / clusterBytes);
      if (!slice) return false;
      const run = image.mapIn(slice, offset, buffer.length);
      if (run.type !== ClusterType.normal || run.length < buffer.length) return false;
      if (!(slice.view.getUint32(image.entryAt(start / clusterBytes)) & copiedBit)) return false;
      if (this.#copiedRun(slice, offset, run.length) < buffer.length) return false;
      image.checkOverlap(run.host, buffer.length);
      return image.dataFile.writeNow(run.host, buffer);
    } catch {
      return false;
    }
  }

  /** Where one run lies, if its table is at hand and nobody is at work there. */
  place(offset: number, length: number): HostPlace | undefined {
    const image = this.#image;
    const { clusterBytes } = image;
    if (image.isEncrypted || image.file.instance.onEvent || image.dataFile.instance.movesPlaces) return undefined;
    const run = this.#mapNow(offset, length);
    if (!run) return undefined;
    const start = offset - (offset % clusterBytes);
    if (image.ranges.conflict(start, Math.ceil((offset + run.length) / clusterBytes) * clusterBytes, false))
      return undefined;
    if (run.type === ClusterType.unallocated || run.type === ClusterType.unallocatedPlaced) {
      const { backing } = image.node;
      // Another user's writes to it are not heard of here.
      if (!backing || (backing.instance.movesPlaces && !backing.readOnly)) return undefined;
      const below = backing.place(offset, run.length);
      return below && { ...below, isWritable: false };
    }
    if (run.type !== ClusterType.normal) return undefined;
    const own = this.#ownRun(offset, run);
    const there = image.dataFile.place(run.host, own || run.length);
    return there && { ...there, isWritable: there.isWritable && own > 0 };
  }

  /** How much of a run of normal clusters may be overwritten by anybody. */
  #ownRun(offset: number, run: Run): number {
    const image = this.#image;
    if (image.mustNotWrite || image.mutex.isLocked) return 0;
    try {
      const cluster = Math.floor(offset / image.clusterBytes);
      const slice = image.peekPrivateSlice(cluster);
      if (!slice || !(slice.view.getUint32(image.entryAt(cluster)) & copiedBit)) return 0;
      const length = this.#copiedRun(
        slice,
        offset,
        Math.min(run.length, image.mapIn(slice, offset, run.length).length),
      );
      return image.metadataIn(run.host, length) < 0 ? length : 0;
    } catch {
      return 0;
    }
  }

  async #writeSome(offset: number, buffer: Uint8Array): Promise<number> {
    const image = this.#image;
    if (image.mustNotWrite) throw new BlockError('EIO');
    const { clusterBytes } = image;
    const start = offset - (offset % clusterBytes);
    // One L2 slice at most, so that one table changes.
    const sliceSpan = image.entriesPerSlice * clusterBytes;
    const most = Math.min(buffer.length, sliceSpan - (offset % sliceSpan));
    const stop = Math.ceil((offset + most) / clusterBytes) * clusterBytes;
    for (;;) {
      // In place, when the mapping is at hand and nobody changes it.
      const conflict = image.ranges.conflict(start, stop, false);
      if (conflict) {
        await conflict;
        continue;
      }
      const wait = image.mutex.lock();
      if (wait) await wait;
      let isLocked = true;
      try {
        const again = image.ranges.conflict(start, stop, false);
        if (again) {
          image.mutex.unlock();
          isLocked = false;
          await again;
          continue;
        }
        const slice = await image.sliceForWrite(start / clusterBytes);
        const run = image.mapIn(slice, offset, most);
        const high = slice.view.getUint32(image.entryAt(start / clusterBytes));
        if (run.type === ClusterType.normal && high & copiedBit) {
          const length = this.#copiedRun(slice, offset, run.length);
          image.checkOverlap(run.host, length);
          const release = image.ranges.hold(start, Math.ceil((offset + length) / clusterBytes) * clusterBytes, false);
          image.mutex.unlock();
          isLocked = false;
          try {
            await this.#writeData(run.host, offset, buffer.length === length ? buffer : buffer.subarray(0, length));
          } finally {
            release();
          }
          return length;
        }
        const exclusive = image.ranges.conflict(start, stop, true);
        if (exclusive) {
          image.mutex.unlock();
          isLocked = false;
          await exclusive;
          continue;
        }
        const plan = await this.#allocate(slice, offset, most);
        const release = image.ranges.hold(start, start + plan.count * clusterBytes, true);
        image.mutex.unlock();
        isLocked = false;
        const length = Math.min(most, start + plan.count * clusterBytes - offset);
        try {
          await this.#fill(plan, offset, buffer.length === length ? buffer : buffer.subarray(0, length));
        } finally {
          release();
        }
        return length;
      } finally {
        if (isLocked) image.mutex.unlock();
      }
    }
  }

  /** How much of a run of normal clusters may be written in place: as far as each is this image's alone. */
  #copiedRun(slice: CachedTable, offset: number, length: number): number {
    const image = this.#image;
    const first = Math.floor(offset / image.clusterBytes);
    const last = Math.floor((offset + length - 1) / image.clusterBytes);
    for (let cluster = first + 1; cluster <= last; cluster++) {
      if (!(slice.view.getUint32(image.entryAt(cluster)) & copiedBit)) return cluster * image.clusterBytes - offset;
    }
    return length;
  }

  async #writeData(host: number, offset: number, buffer: Uint8Array): Promise<void> {
    const image = this.#image;
    await image.event('write_aio');
    if (!image.isEncrypted) return image.dataFile.write(host, buffer);
    if (!image.cipher) throw new BlockError('EIO');
    await image.dataFile.write(host, image.cipher.encrypt(this.#cryptOffset(host, offset), buffer));
  }

  /**
   * Finds places for the clusters from `offset` on, as many as one run gives: either those that have a private place already
   * but not contents (preallocated, zeroed), or new ones. With the mutex held.
   */
  async #allocate(slice: CachedTable, offset: number, most: number): Promise<AllocationPlan> {
    const image = this.#image;
    const { clusterBytes } = image;
    const first = Math.floor(offset / clusterBytes);
    const end = offset + most;
    const wanted = Math.ceil(end / clusterBytes) - first;
    const { view } = slice;
    const placeOf = (cluster: number): number => {
      const at = image.entryAt(cluster);
      const high = view.getUint32(at);
      if (high & compressedBit || !(high & copiedBit)) return -1;
      const place = (high & offsetHighMask) * 2 ** 32 + ((view.getUint32(at + 4) & offsetLowMask) >>> 0);
      if (place === 0 && !image.hasDataFile) return -1;
      return place;
    };
    const isInPlace = (cluster: number): boolean => {
      const start = Math.max(offset, cluster * clusterBytes);
      const stop = Math.min(end, (cluster + 1) * clusterBytes);
      const run = image.mapIn(slice, start, stop - start);
      return run.type === ClusterType.normal && run.length === stop - start && placeOf(cluster) >= 0;
    };
    let count = 1;
    let host = placeOf(first);
    const isNew = host < 0;
    if (!isNew) {
      while (count < wanted && placeOf(first + count) === host + count * clusterBytes && !isInPlace(first + count))
        count++;
      image.checkOverlap(host, count * clusterBytes);
    } else {
      while (count < wanted && placeOf(first + count) < 0) count++;
      if (image.isLazy && !image.hasDataFile) await image.markDirty();
      if (image.hasDataFile) host = first * clusterBytes;
      else {
        const taken = await image.refcounts.allocateSome(count);
        host = taken.offset;
        count = taken.count;
      }
    }
    const plans: ClusterPlan[] = [];
    try {
      for (let index = 0; index < count; index++)
        plans.push(this.#planCluster(slice, first + index, offset, end, isNew));
      if (isNew) image.checkOverlap(host, count * clusterBytes);
    } catch (error) {
      if (isNew && !image.hasDataFile) await image.refcounts.release(host, count * clusterBytes);
      throw error;
    }
    return {
      first,
      count,
      host,
      isNew,
      isFresh: isNew && host >= image.dataFile.length && (image.dataFile.instance.zeroInit ?? false),
      plans,
    };
  }

  #planCluster(slice: CachedTable, cluster: number, offset: number, end: number, isNew: boolean): ClusterPlan {
    const image = this.#image;
    const { clusterBytes, subclusterBytes } = image;
    const base = cluster * clusterBytes;
    const from = Math.max(offset, base) - base;
    const to = Math.min(end, base + clusterBytes) - base;
    if (from === 0 && to === clusterBytes) return { pieces: [], allocated: 0xffffffff, zeroes: 0 };
    const at = image.entryAt(cluster);
    const { view } = slice;
    const high = view.getUint32(at);
    const low = view.getUint32(at + 4);
    let zeroes = image.isExtended ? view.getUint32(at + 8) : 0;
    let allocated = image.isExtended ? view.getUint32(at + 12) : 0;
    const pieces: CopyPiece[] = [];
    const copy = (start: number, stop: number): void => {
      if (start >= stop) return;
      const last = pieces.at(-1);
      if (last && last.start + last.length === base + start)
        pieces[pieces.length - 1] = { start: last.start, length: last.length + stop - start };
      else pieces.push({ start: base + start, length: stop - start });
    };
    for (let index = 0; index < image.subclustersPerCluster; index++) {
      const start = index * subclusterBytes;
      const stop = start + subclusterBytes;
      const type = image.typeOf(
        high,
        low,
        image.isExtended ? view.getUint32(at + 12) : 0,
        image.isExtended ? view.getUint32(at + 8) : 0,
        index,
        cluster,
      );
      const isTouched = start < to && from < stop;
      if (isTouched && !(type === ClusterType.normal && !isNew)) {
        copy(start, Math.min(stop, from));
        copy(Math.max(start, to), stop);
      } else if (!isTouched && isNew && (type === ClusterType.normal || type === ClusterType.compressed))
        copy(start, stop);
      else if (!isTouched) continue;
      allocated = (allocated | (1 << index)) >>> 0;
      zeroes = (zeroes & ~(1 << index)) >>> 0;
    }
    return { pieces, allocated, zeroes };
  }

  /** Writes data and copies to the new clusters, then links them. */
  async #fill(plan: AllocationPlan, offset: number, buffer: Uint8Array): Promise<void> {
    const image = this.#image;
    const { clusterBytes } = image;
    try {
      const pieces = plan.plans.flatMap((cluster) => cluster.pieces);
      const hostOf = (guest: number): number => plan.host + (guest - plan.first * clusterBytes);
      const copies: { readonly start: number; readonly bytes: Uint8Array }[] = [];
      for (const piece of pieces) {
        const isZero = await this.#isZeroPiece(piece);
        if (isZero && plan.isFresh && !image.isEncrypted) {
          await this.#reserve(hostOf(piece.start), piece.length);
          continue;
        }
        const bytes = new Uint8Array(piece.length);
        if (!isZero) {
          await image.event('cow_read');
          await this.read(piece.start, bytes);
        }
        copies.push({ start: piece.start, bytes });
      }
      let start = offset;
      let end = offset + buffer.length;
      const before = copies.filter((piece) => piece.start + piece.bytes.length === start);
      const after = copies.filter((piece) => piece.start === end);
      const merged = before.length + after.length > 0 && buffer.length <= mergeBytes ? [...before, ...after] : [];
      let whole = buffer;
      if (merged.length > 0) {
        start = Math.min(start, ...before.map((piece) => piece.start));
        end = Math.max(end, ...after.map((piece) => piece.start + piece.bytes.length));
        whole = new Uint8Array(end - start);
        for (const piece of merged) whole.set(piece.bytes, piece.start - start);
        whole.set(buffer, offset - start);
      }
      for (const piece of copies) {
        if (merged.includes(piece)) continue;
        await image.event('cow_write');
        await this.#writeData(hostOf(piece.start), piece.start, piece.bytes);
      }
      await this.#writeData(hostOf(start), start, whole);
    } catch (error) {
      if (plan.isNew && !image.hasDataFile)
        await image.mutex
          .run(() => image.refcounts.release(plan.host, plan.count * clusterBytes))
          .catch(() => undefined);
      throw error;
    }
    await image.mutex.run(async () => {
      const slice = await image.sliceForWrite(plan.first);
      for (let index = 0; index < plan.count; index++) {
        const cluster = plan.first + index;
        const at = image.entryAt(cluster);
        const host = plan.host + index * clusterBytes;
        const [oldHigh, oldLow] = [slice.view.getUint32(at), slice.view.getUint32(at + 4)];
        slice.view.setUint32(at, (Math.floor(host / 2 ** 32) | copiedBit) >>> 0);
        slice.view.setUint32(at + 4, host % 2 ** 32);
        if (image.isExtended) {
          slice.view.setUint32(at + 8, plan.plans[index]!.zeroes);
          slice.view.setUint32(at + 12, plan.plans[index]!.allocated);
        }
        if (plan.isNew) image.freeEntry(oldHigh, oldLow, 'never');
      }
      image.l2.markDirty(slice);
      await image.relieve();
    });
  }

  /**
   * Around data in clusters beyond the file's end, which read as zero anyway: space on the host, so that the file has no holes by which
   * the image would look preallocated, and the next write there can't run out of space. Without, where the host can't.
   */
  async #reserve(host: number, length: number): Promise<void> {
    try {
      await this.#image.dataFile.writeZeroes(host, length, RequestFlag.noFallback);
    } catch (error) {
      if (errorCode(error) !== 'ENOTSUP') throw error;
    }
  }

  async #isZeroPiece(piece: CopyPiece): Promise<boolean> {
    const image = this.#image;
    let at = piece.start;
    const end = piece.start + piece.length;
    while (at < end) {
      const run = await image.map(at, end - at);
      if (run.type === ClusterType.normal || run.type === ClusterType.compressed) return false;
      if (run.type === ClusterType.unallocated || run.type === ClusterType.unallocatedPlaced) {
        const backing = image.node.backing;
        if (backing && at < backing.length) return false;
      }
      at += run.length;
    }
    return true;
  }

  /** Does a subcluster hold no data of its own, and read as zero but for what is `asked`? */
  async #canWiden(start: number, asked: { readonly offset: number; readonly end: number }): Promise<boolean> {
    const image = this.#image;
    const { backing } = image.node;
    const end = start + image.subclusterBytes;
    for (let at = start; at < end; ) {
      const run = await image.map(at, end - at);
      if (run.type === ClusterType.normal || run.type === ClusterType.compressed) return false;
      const isUnallocated = run.type === ClusterType.unallocated || run.type === ClusterType.unallocatedPlaced;
      if (backing && isUnallocated) {
        const isZero =
          (await readsZero(backing, at, Math.min(at + run.length, asked.offset))) &&
          (await readsZero(backing, Math.max(at, asked.end), at + run.length));
        if (!isZero) return false;
      }
      at += run.length;
    }
    return true;
  }

  // ---- zeroes and discards

  /** Runs `change` over each slice that maps the range, with nothing else under way there. Offsets are cluster aligned. */
  async #changeRange(
    offset: number,
    length: number,
    change: (slice: CachedTable, first: number, count: number) => void | Promise<void>,
    skipUnmapped: boolean,
  ): Promise<void> {
    const image = this.#image;
    const { clusterBytes } = image;
    const start = offset - (offset % clusterBytes);
    const end = Math.ceil((offset + length) / clusterBytes) * clusterBytes;
    const release = await image.holdExclusively(start, end);
    try {
      await image.mutex.run(async () => {
        let cluster = start / clusterBytes;
        const last = end / clusterBytes;
        while (cluster < last) {
          if (skipUnmapped) {
            const index = Math.floor(cluster / image.entriesPerTable);
            if (index >= image.l1.length || image.l1[index] === 0) {
              cluster = (index + 1) * image.entriesPerTable;
              continue;
            }
          }
          const count = Math.min(last - cluster, image.entriesPerSlice - (cluster % image.entriesPerSlice));
          const slice = await image.sliceForWrite(cluster);
          await change(slice, cluster, count);
          await image.relieve();
          cluster += count;
        }
      });
    } finally {
      release();
    }
  }

  async writeZeroes(offset: number, length: number, flags: number): Promise<void> {
    const image = this.#image;
    const { subclusterBytes, clusterBytes } = image;
    const asked = { offset, end: offset + length };
    const head = offset % subclusterBytes;
    let end = offset + length;
    const tail = end === image.node.length ? 0 : (subclusterBytes - (end % subclusterBytes)) % subclusterBytes;
    const isWidened = head > 0 || tail > 0;
    if (isWidened) {
      // A part of a subcluster becomes the whole when the rest reads as zero anyway.
      const start = offset - head;
      const isOne = length + head + tail <= subclusterBytes;
      if (image.header.version < 3 || !isOne || !(await this.#canWiden(start, asked))) throw new BlockError('ENOTSUP');
      offset = start;
      end = start + subclusterBytes;
    } else if (end === image.node.length) end = Math.ceil(end / subclusterBytes) * subclusterBytes;
    if (image.header.version < 3) {
      if (image.hasBacking || offset % clusterBytes !== 0 || end % clusterBytes !== 0) throw new BlockError('ENOTSUP');
      await this.discard(offset, end - offset, 'request');
      return;
    }
    const isUnmap = (flags & RequestFlag.mayUnmap) !== 0;
    if (image.hasDataFile && (image.header.autoclear & 2) !== 0) {
      // A raw data file must read the same without the metadata.
      await image.dataFile.writeZeroes(
        asked.offset,
        asked.end - asked.offset,
        flags & (RequestFlag.mayUnmap | RequestFlag.noFallback),
      );
    }
    await this.#changeRange(
      offset,
      end - offset,
      async (slice, first, count) => {
        // Now that nothing else is under way there: a write to the rest may have come first.
        if (isWidened && !(await this.#canWiden(offset, asked))) throw new BlockError('ENOTSUP');
        for (let cluster = first; cluster < first + count; cluster++) {
          const from = Math.max(offset, cluster * clusterBytes) - cluster * clusterBytes;
          const to = Math.min(end, (cluster + 1) * clusterBytes) - cluster * clusterBytes;
          if (from === 0 && to === clusterBytes) this.#zeroCluster(slice, cluster, isUnmap);
          else this.#zeroSubclusters(slice, cluster, from / subclusterBytes, to / subclusterBytes);
        }
      },
      false,
    );
  }

  #zeroCluster(slice: CachedTable, cluster: number, isUnmap: boolean): void {
    const image = this.#image;
    const at = image.entryAt(cluster);
    const { view } = slice;
    const [high, low] = [view.getUint32(at), view.getUint32(at + 4)];
    image.typeOf(
      high,
      low,
      image.isExtended ? view.getUint32(at + 12) : 0,
      image.isExtended ? view.getUint32(at + 8) : 0,
      0,
      cluster,
    );
    const isPlaced =
      (high & (compressedBit | offsetHighMask)) !== 0 ||
      (low & offsetLowMask) !== 0 ||
      (image.hasDataFile && (high & copiedBit) !== 0);
    const drop = isPlaced && (isUnmap || (high & compressedBit) !== 0);
    const [newHigh, base] = drop ? [0, 0] : [high, low];
    const newLow = image.isExtended ? base : (base | zeroBit) >>> 0;
    const isSame =
      newHigh === high &&
      newLow === low &&
      (!image.isExtended || (view.getUint32(at + 8) === 0xffffffff && view.getUint32(at + 12) === 0));
    if (isSame) return;
    view.setUint32(at, newHigh);
    view.setUint32(at + 4, newLow);
    if (image.isExtended) {
      view.setUint32(at + 8, 0xffffffff);
      view.setUint32(at + 12, 0);
    }
    image.l2.markDirty(slice);
    if (drop) image.freeEntry(high, low, 'request');
  }

  #zeroSubclusters(slice: CachedTable, cluster: number, from: number, to: number): void {
    const image = this.#image;
    const at = image.entryAt(cluster);
    const { view } = slice;
    if (view.getUint32(at) & compressedBit) throw new BlockError('ENOTSUP');
    let bits = 0;
    for (let index = from; index < to; index++) bits |= 1 << index;
    view.setUint32(at + 8, (view.getUint32(at + 8) | bits) >>> 0);
    view.setUint32(at + 12, (view.getUint32(at + 12) & ~bits) >>> 0);
    image.l2.markDirty(slice);
  }

  /** Whole clusters; `isFull`: they leave the disk (or its contents), and need not read as zero over a backing file. */
  async discard(
    offset: number,
    length: number,
    kind: 'request' | 'snapshot' | 'other' | 'never',
    isFull = false,
  ): Promise<void> {
    const image = this.#image;
    const { clusterBytes } = image;
    // Without a flag for zeroes the backing file would show.
    if (!isFull && image.hasBacking && image.header.version < 3) throw new BlockError('ENOTSUP');
    // What a raw data file shows must stay what the tables say.
    if (!isFull && image.hasDataFile && image.header.autoclear & 2) throw new BlockError('ENOTSUP');
    let end = offset + length;
    if (end === image.node.length) end = Math.ceil(end / clusterBytes) * clusterBytes;
    if (offset % clusterBytes !== 0 || end % clusterBytes !== 0) throw new BlockError('ENOTSUP');
    await this.#changeRange(
      offset,
      end - offset,
      (slice, first, count) => {
        for (let cluster = first; cluster < first + count; cluster++)
          this.#discardCluster(slice, cluster, kind, isFull);
      },
      isFull || !image.hasBacking,
    );
  }

  #discardCluster(
    slice: CachedTable,
    cluster: number,
    kind: 'request' | 'snapshot' | 'other' | 'never',
    isFull: boolean,
  ): void {
    const image = this.#image;
    const at = image.entryAt(cluster);
    const { view } = slice;
    const [high, low] = [view.getUint32(at), view.getUint32(at + 4)];
    const isPlaced =
      (high & (compressedBit | offsetHighMask)) !== 0 ||
      (low & offsetLowMask) !== 0 ||
      (image.hasDataFile && (high & copiedBit) !== 0);
    let newLow = low;
    let newHigh = high;
    let zeroes = image.isExtended ? view.getUint32(at + 8) : 0;
    let allocated = image.isExtended ? view.getUint32(at + 12) : 0;
    if (isFull) [newHigh, newLow, zeroes, allocated] = [0, 0, 0, 0];
    else if (image.hasBacking || isPlaced) {
      newHigh = 0;
      newLow = 0;
      if (image.isExtended) [zeroes, allocated] = [0xffffffff, 0];
      else if (image.header.version >= 3) newLow = zeroBit;
    }
    if (
      newHigh === high &&
      newLow === low &&
      (!image.isExtended || (zeroes === view.getUint32(at + 8) && allocated === view.getUint32(at + 12)))
    )
      return;
    view.setUint32(at, newHigh);
    view.setUint32(at + 4, newLow);
    if (image.isExtended) {
      view.setUint32(at + 8, zeroes);
      view.setUint32(at + 12, allocated);
    }
    image.l2.markDirty(slice);
    if (isPlaced) image.freeEntry(high, low, kind);
  }

  // ---- status

  async blockStatus(offset: number, length: number, isPreallocated: () => Promise<boolean>): Promise<BlockStatus> {
    const image = this.#image;
    const run = await image.map(offset, length);
    let size = run.length;
    if (hasNoPlace(run.type)) {
      // Such runs go on over table borders.
      while (size < length) {
        const next = await image.map(offset + size, length - size);
        if (next.type !== run.type) break;
        size += next.length;
      }
    }
    return this.#describe(run, size, run.type === ClusterType.normal && (await isPreallocated()));
  }

  /** The same from what is in memory; runs may end early at the border of a table that isn't. */
  statusNow(offset: number, length: number, isPreallocated: boolean | undefined): BlockStatus | undefined {
    const run = this.#glance(offset, length);
    if (!run || (run.type === ClusterType.normal && isPreallocated === undefined)) return undefined;
    let size = run.length;
    if (hasNoPlace(run.type)) {
      while (size < length) {
        const next = this.#glance(offset + size, length - size);
        if (next?.type !== run.type) break;
        size += next.length;
      }
    }
    return this.#describe(run, size, isPreallocated === true);
  }

  /** As far as that is at hand, and the file (of preallocated images) has no say. */
  runsNow(offset: number, length: number, runs: StatusRuns, isPreallocated: boolean | undefined): void {
    const image = this.#image;
    runs.file = image.dataFile;
    runs.count = 0;
    const tellsPlaces = !image.isEncrypted;
    const end = offset + length;
    for (let at = offset; at < end && runs.count < runs.kinds.length; ) {
      const before = runs.count;
      try {
        image.glanceRuns(at, end, runs);
      } catch {
        // Damage, of which the asynchronous way tells.
      }
      for (let index = before; index < runs.count; index++) {
        const type = runs.kinds[index]!;
        if (type === ClusterType.normal && isPreallocated !== false) {
          runs.count = index;
          return;
        }
        runs.kinds[index] = kindOf(type);
        if (!hasPlace(type) || !tellsPlaces) runs.offsets[index] = -1;
        at += runs.lengths[index]!;
      }
      if (runs.count === before) return;
    }
  }

  /** Undefined where the table must be read first, or is damaged: then the asynchronous way tells. */
  #glance(offset: number, length: number): Run | undefined {
    try {
      return this.#image.glance(offset, length);
    } catch {
      return undefined;
    }
  }

  /** The same for requests, which come back to the table: it is kept, and on its way if it must be read first. */
  #mapNow(offset: number, length: number): Run | undefined {
    try {
      const run = this.#image.map(offset, length);
      if (!(run instanceof Promise)) return run;
      run.catch(() => undefined);
    } catch {}
    return undefined;
  }

  #describe(run: Run, length: number, isPreallocated: boolean): BlockStatus {
    const image = this.#image;
    const { type } = run;
    const kind = kindOf(type);
    const isData = (kind & RunKind.data) !== 0;
    const isZero = (kind & RunKind.zero) !== 0;
    const allocated = (kind & RunKind.allocated) !== 0;
    if (type === ClusterType.compressed) return { length, data: true, zero: false, allocated, compressed: true };
    const recurse = type === ClusterType.normal && isPreallocated;
    if (!hasPlace(type) || image.isEncrypted) return { length, data: isData, zero: isZero, allocated, recurse };
    return { length, data: isData, zero: isZero, allocated, offset: run.host, file: image.dataFile, recurse };
  }
}

/** RunKind of a ClusterType. */
function kindOf(type: number): number {
  switch (type) {
    case ClusterType.normal:
    case ClusterType.compressed:
      return RunKind.data | RunKind.allocated;
    case ClusterType.zero:
    case ClusterType.zeroPlaced:
      return RunKind.zero | RunKind.allocated;
    default:
      return 0;
  }
}

function hasPlace(type: number): boolean {
  return type === ClusterType.normal || type === ClusterType.zeroPlaced || type === ClusterType.unallocatedPlaced;
}

/** No place, or none that is told: neighbours of the type make one run. */
function hasNoPlace(type: number): boolean {
  return type === ClusterType.unallocated || type === ClusterType.zero || type === ClusterType.compressed;
}

interface AllocationPlan {
  /** First guest cluster, how many, and where on the host. */
  readonly first: number;
  readonly count: number;
  readonly host: number;
  readonly isNew: boolean;
  /** Never written before: reads as zero until it is. */
  readonly isFresh: boolean;
  readonly plans: readonly ClusterPlan[];
}

/** Is it known that a node reads as zero from `start` to `end`? What lies past its own end does. */
async function readsZero(node: BlockNode, start: number, end: number): Promise<boolean> {
  const last = Math.min(end, node.length);
  for (let at = start; at < last; ) {
    const status = await node.chainStatus(at, last - at);
    if (!status.zero) return false;
    at += status.length;
  }
  return true;
}
