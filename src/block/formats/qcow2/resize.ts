/** Changing a qcow2 image's size: L1 table, truncation, preallocation. */
import { alignUp } from '../../alignment.js';
import { BlockError, errorText, toBlockError } from '../../errors.js';
import type { BlockNode, Preallocation, ResizeOptions } from '../../node.js';
import { type Qcow2Image, serializeL1 } from './image.js';
import { AutoclearFeature, copiedBit, maxL1Bytes } from './layout.js';
import type { Qcow2Requests } from './requests.js';

/** Guest bytes preallocated between two flushes. */
const preallocationStep = 2 ** 30;

export function l1EntriesFor(image: Qcow2Image, sizeBytes: number): number {
  return Math.ceil(sizeBytes / image.tableSpan);
}

/** Moves the L1 table to a larger place. With the mutex held. */
export async function growL1(image: Qcow2Image, entries: number): Promise<void> {
  if (entries <= image.l1.length) return;
  if (entries * 8 > maxL1Bytes) throw new BlockError('EFBIG');
  await image.event('l1_grow_alloc_table');
  const old = { offset: image.header.l1Offset, bytes: image.header.l1Entries * 8 };
  const bytes = entries * 8;
  const place = await image.refcounts.allocate(Math.ceil(bytes / image.clusterBytes));
  const l1 = new Float64Array(entries);
  l1.set(image.l1);
  // Entries that name new L2 tables must not reach the disk before these: the old table first.
  await image.flushMetadata(true);
  await image.event('l1_grow_write_table');
  await image.file.write(place, serializeL1(l1));
  await image.barrier();
  image.l1 = l1;
  image.header.l1Offset = place;
  image.header.l1Entries = entries;
  await image.event('l1_grow_activate_table');
  await image.writeHeader();
  await image.barrier();
  image.metadataAllocated(place, bytes);
  if (old.bytes > 0) {
    image.metadataFreed(old.offset, old.bytes);
    image.refcounts.queueFree(old.offset, old.bytes, 'other');
  }
}

export async function resizeImage(
  image: Qcow2Image,
  requests: Qcow2Requests,
  length: number,
  options: ResizeOptions,
): Promise<void> {
  const { header } = image;
  const before = header.sizeBytes;
  const asked: Preallocation = options.preallocation ?? 'off';
  const isRaw = image.hasDataFile && (header.autoclear & AutoclearFeature.rawDataFile) !== 0;
  const mode = asked === 'off' && isRaw && length > before ? 'metadata' : asked;
  if (length % 512 !== 0) throw new BlockError('EINVAL', 'The new size must be a multiple of 512');
  if (header.snapshotCount > 0 && header.version < 3)
    throw new BlockError('ENOTSUP', "Can't resize a v2 image which has snapshots");
  if (header.bitmaps !== undefined && image.node.bitmaps.some((bitmap) => bitmap.inconsistent)) {
    throw new BlockError('ENOTSUP', `Cannot resize an image with inconsistent bitmaps`);
  }
  if (length < before) await shrink(image, requests, length, mode);
  else {
    const entries = l1EntriesFor(image, length);
    await image.mutex.run(async () => {
      try {
        if (!Number.isSafeInteger(length)) throw new BlockError('EFBIG');
        await growL1(image, entries);
      } catch (error) {
        const { code } = toBlockError(error);
        throw new BlockError(code, `Failed to grow the L1 table: ${errorText(code)}`, { cause: error });
      }
    });
    if (image.hasDataFile && (header.autoclear & 2 || image.dataFile.length < length)) {
      await image.dataFile.resize(Math.max(length, image.dataFile.length), {
        preallocation: mode === 'metadata' ? 'off' : mode,
      });
    }
    if (mode !== 'off') await preallocate(image, alignUp(before, image.clusterBytes), length, mode);
  }
  // Before the size is in the header: the area gained reads as zero even over a longer backing file.
  header.sizeBytes = length;
  const isPreallocated = mode !== 'off';
  if (length > before && (options.zero || isPreallocated)) {
    // A cluster that the old end lies in keeps what it shows before that; a place of its own it gets by being written.
    const unit = isPreallocated ? image.clusterBytes : image.subclusterBytes;
    const start = before - (before % unit);
    const firstWhole = Math.min(length, alignUp(before, unit));
    try {
      if (firstWhole > before) await requests.write(before, new Uint8Array(firstWhole - before));
      // Preallocated subclusters would show the backing file.
      if (length > firstWhole && options.zero && (!isPreallocated || image.isExtended))
        await requests.writeZeroes(firstWhole, length - firstWhole, 0).catch(async (error) => {
          if (error.code !== 'ENOTSUP') throw error;
          const zeroes = new Uint8Array(Math.min(2 ** 20, length - firstWhole));
          for (let at = firstWhole; at < length; at += zeroes.length)
            await requests.write(at, zeroes.subarray(0, Math.min(zeroes.length, length - at)));
        });
    } catch (error) {
      header.sizeBytes = before;
      throw new BlockError((error as BlockError).code ?? 'EIO', `Failed to zero out new clusters`, {
        cause: { error, start },
      });
    }
  }
  await image.mutex.run(async () => {
    await image.flushMetadata(true);
    await image.barrier();
    await image.writeHeader();
    await image.barrier();
  });
}

async function shrink(image: Qcow2Image, requests: Qcow2Requests, length: number, mode: Preallocation): Promise<void> {
  const { header, clusterBytes } = image;
  if (mode !== 'off') throw new BlockError('EINVAL', "Preallocation can't be used for shrinking an image");
  const first = Math.ceil(length / clusterBytes) * clusterBytes;
  const last = Math.ceil(header.sizeBytes / clusterBytes) * clusterBytes;
  if (last > first) await requests.discard(first, last - first, 'other', true);
  await image.mutex.run(async () => {
    // L2 tables of the area cut off are empty now: unlink, then free them.
    // The table keeps one entry, so that its cluster stays in use.
    const entries = Math.max(1, l1EntriesFor(image, length));
    const freed: number[] = [];
    for (let index = entries; index < image.l1.length; index++) {
      const entry = image.l1[index]!;
      if (entry === 0) continue;
      image.setL1(index, 0);
      freed.push(entry - (entry % 2));
    }
    for (const offset of freed) {
      image.l2.dropRange(offset, clusterBytes);
      image.metadataFreed(offset, clusterBytes);
      image.refcounts.queueFree(offset, clusterBytes, 'other');
    }
    await image.flushMetadata(true);
    await image.flushMetadata(true);
    image.l1 = image.l1.slice(0, entries);
    header.l1Entries = entries;
    await truncateTail(image);
  });
  if (image.hasDataFile && image.dataFile.length > length) await image.dataFile.resize(length);
}

/** Cuts free clusters off the end of the file. */
export async function truncateTail(image: Qcow2Image): Promise<void> {
  const total = Math.ceil(image.file.length / image.clusterBytes);
  let last = total;
  while (last > 0 && (await image.refcounts.get(last - 1)) === 0) last--;
  if (last < total && last > 0) await image.file.resize(last * image.clusterBytes).catch(() => undefined);
}

async function growFile(file: BlockNode, length: number, mode: Preallocation): Promise<void> {
  try {
    await file.resize(length, { preallocation: mode === 'metadata' ? 'off' : mode });
  } catch (error) {
    const { code, message } = toBlockError(error);
    throw new BlockError(code, `Failed to resize underlying file: ${message}`, { cause: error });
  }
}

/** Gives every cluster from `from`, the start of one, a place with zero bytes. */
async function preallocate(image: Qcow2Image, from: number, to: number, mode: Preallocation): Promise<void> {
  const { clusterBytes, file } = image;
  for (let start = from; start < to; start += preallocationStep) {
    const stop = Math.min(to, start + preallocationStep);
    await image.mutex.run(async () => {
      let cluster = start / clusterBytes;
      const end = Math.ceil(stop / clusterBytes);
      while (cluster < end) {
        const slice = await image.sliceForWrite(cluster);
        const inSlice = Math.min(end - cluster, image.entriesPerSlice - (cluster % image.entriesPerSlice));
        const at = image.entryAt(cluster);
        if (slice.view.getUint32(at) !== 0 || slice.view.getUint32(at + 4) !== 0) {
          cluster++;
          continue;
        }
        const taken = image.hasDataFile
          ? { offset: cluster * clusterBytes, count: inSlice }
          : await image.refcounts.allocateSome(inSlice);
        // What was free inside the file may hold what it held before.
        const bytes = taken.count * clusterBytes;
        const stale = Math.min(file.length - taken.offset, bytes);
        if (!image.hasDataFile) {
          try {
            if (stale > 0) await file.writeZeroes(taken.offset, stale);
            // No table may name what the file has no room for.
            if (stale < bytes) await growFile(file, taken.offset + bytes, mode);
          } catch (error) {
            await image.refcounts.release(taken.offset, bytes);
            throw error;
          }
        }
        for (let index = 0; index < taken.count; index++) {
          const entry = image.entryAt(cluster + index);
          const place = taken.offset + index * clusterBytes;
          slice.view.setUint32(entry, (Math.floor(place / 2 ** 32) | copiedBit) >>> 0);
          slice.view.setUint32(entry + 4, place % 2 ** 32);
        }
        image.l2.markDirty(slice);
        cluster += taken.count;
      }
    });
    await image.mutex.run(() => image.flushMetadata());
  }
}
