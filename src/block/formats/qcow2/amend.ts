/** Changing options of an existing qcow2 image: `qemu-img amend`. */
import { BlockError, errorText, toBlockError } from '../../errors.js';
import type { AmendRequest } from '../../node.js';
import type { OptionValues } from '../../options.js';
import type { Qcow2Node } from './driver.js';
import type { Qcow2Image } from './image.js';
import {
  AutoclearFeature,
  compressedBit,
  copiedBit,
  IncompatibleFeature,
  offsetHighMask,
  offsetLowMask,
  zeroBit,
} from './layout.js';
import { getRefcount, Refcounts, serializeTable, setRefcount } from './refcounts.js';

function fail(message: string, code = 'EINVAL'): never {
  throw new BlockError(code, message);
}

export async function amendImage(node: Qcow2Node, options: OptionValues, request: AmendRequest): Promise<void> {
  const { image } = node;
  const { header } = image;
  let version = header.version;
  const compat = options.string('compat');
  if (compat !== undefined) {
    if (compat === '0.10' || compat === 'v2') version = 2;
    else if (compat === '1.1' || compat === 'v3') version = 3;
    else fail(`Unknown compatibility level ${compat}`);
  }
  const size = options.number('size');
  const isLazy = options.boolean('lazy_refcounts') ?? (header.compatible & 1) !== 0;
  const refcountBits = options.number('refcount_bits');
  if (refcountBits !== undefined && (!Number.isInteger(Math.log2(refcountBits)) || refcountBits > 64)) {
    fail('Refcount width must be a power of two and may not exceed 64 bits');
  }
  if (options.boolean('data_file_raw') && !(header.autoclear & AutoclearFeature.rawDataFile))
    fail('data-file-raw cannot be set on existing images');
  const dataFile = options.string('data_file');
  if (dataFile !== undefined && !image.hasDataFile)
    fail('data-file can only be set for images that use an external data file');
  if (options.given('backing_file') || options.given('backing_fmt')) {
    // They may be named, but only as they are.
    const changed =
      options.string('backing_file') !== header.backingFile
        ? 'file'
        : options.string('backing_fmt') !== header.backingFormat
          ? 'format'
          : undefined;
    if (changed !== undefined) fail(`Cannot amend the backing ${changed}\nYou can use 'qemu-img rebase' instead.`);
  }
  const encryptNames = options.names().filter((name) => name.startsWith('encrypt.'));
  if (encryptNames.length > 0) {
    if (header.cryptMethod === 0) fail("Can't amend encryption options - encryption not present");
    if (header.cryptMethod !== 2) fail('Only LUKS encryption options can be amended for qcow2 with amend');
    const { amendEncryption } = await import('./encryption.js');
    await amendEncryption(image, options, request.force);
  }
  // Before anything is changed: a refused amendment leaves the image as it was.
  if (refcountBits !== undefined && refcountBits !== 16 && version < 3)
    fail('Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)');
  request.progress?.(0, 1);
  if (version > header.version) {
    header.version = version;
    header.headerBytes = 112;
    await image.writeHeader();
  }
  if (refcountBits !== undefined && refcountBits !== image.refcounts.bits) {
    await image.mutex.run(() => changeRefcountBits(image, refcountBits, request));
  }
  if (options.given('data_file_raw')) {
    if (!options.boolean('data_file_raw')) header.autoclear &= ~AutoclearFeature.rawDataFile;
    await image.writeHeader();
  }
  if (dataFile !== undefined) {
    header.dataFile = dataFile === '' ? undefined : dataFile;
    await image.writeHeader();
  }
  if (isLazy !== ((header.compatible & 1) !== 0)) {
    if (isLazy) {
      if (version < 3)
        fail('Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)');
      header.compatible |= 1;
    } else {
      await image.mutex.run(async () => {
        await image.flushMetadata(true);
        await image.clearDirty();
      });
      header.compatible &= ~1;
    }
    await image.writeHeader();
  }
  if (size !== undefined) await image.node.resize(size);
  if (version < header.version) await downgrade(node, request);
  await image.barrier();
  request.progress?.(1, 1);
}

async function downgrade(node: Qcow2Node, request: AmendRequest): Promise<void> {
  const { image } = node;
  const { header } = image;
  if (image.hasDataFile) fail('Cannot downgrade an image with a data file', 'ENOTSUP');
  const features = header.incompatible & ~(IncompatibleFeature.dirty | IncompatibleFeature.corrupt);
  if (features !== 0)
    fail(`Cannot downgrade an image with incompatible features 0x${features.toString(16)} set`, 'ENOTSUP');
  if (header.refcountOrder !== 4) fail('compat=0.10 requires refcount_bits=16');
  for (const snapshot of node.snapshotList) {
    if (snapshot.vmStateBytes !== 0 || snapshot.diskBytes !== header.sizeBytes) {
      fail('Internal snapshots prevent downgrade of image', 'ENOTSUP');
    }
  }
  await removeBitmaps(image);
  await image.mutex.run(async () => {
    await image.flushMetadata(true);
    await image.clearDirty();
  });
  header.compatible = header.compatibleHigh = 0;
  header.autoclear = header.autoclearHigh = 0;
  await expandZeroes(node, request);
  await image.mutex.run(async () => {
    await image.flushMetadata(true);
    await image.barrier();
  });
  header.version = 2;
  header.headerBytes = 72;
  header.unknownFields = new Uint8Array(0);
  await image.writeHeader();
}

/** Version 2 has no bitmaps. QEMU leaves them in the file, where no one takes them for valid; here their clusters are freed. */
async function removeBitmaps(image: Qcow2Image): Promise<void> {
  const { removeStoredBitmap } = await import('./bitmaps.js');
  for (const bitmap of image.node.bitmaps.filter((candidate) => candidate.persistent)) {
    await removeStoredBitmap(image, bitmap.name);
    image.node.removeBitmap(bitmap);
  }
}

/** Version 2 has no zero clusters: they become data of zero bytes (or nothing, where no backing file would show). */
async function expandZeroes(node: Qcow2Node, request: AmendRequest): Promise<void> {
  const { image } = node;
  const { clusterBytes } = image;
  const total = image.header.sizeBytes;
  const zeroes = new Uint8Array(clusterBytes);
  for (let at = 0; at < total; ) {
    const slice = await image.slice(at / clusterBytes);
    if (!slice) {
      at = (Math.floor(at / image.tableSpan) + 1) * image.tableSpan;
      continue;
    }
    const entry = image.entryAt(at / clusterBytes);
    const high = slice.view.getUint32(entry);
    const low = slice.view.getUint32(entry + 4);
    if (!(high & compressedBit) && low & zeroBit) {
      const place = (high & offsetHighMask) * 2 ** 32 + ((low & offsetLowMask) >>> 0);
      if (!image.hasBacking) await node.requests.discard(at, Math.min(clusterBytes, total - at), 'never', true);
      else if (place !== 0 && high & copiedBit) {
        await image.dataFile.write(place, zeroes);
        await image.mutex.run(async () => {
          const fresh = await image.sliceForWrite(at / clusterBytes);
          fresh.view.setUint32(entry + 4, (low & ~zeroBit) >>> 0);
          image.l2.markDirty(fresh);
        });
      } else await node.requests.write(at, zeroes.subarray(0, Math.min(clusterBytes, total - at)));
    }
    at += clusterBytes;
    request.progress?.(at, total);
  }
  if (node.snapshotList.length > 0) await expandZeroesInSnapshots(node);
}

/**
 * The zero clusters of tables that only snapshots lead to. Such a table is changed in place, once for all that share it: what its
 * clusters show stays the same. Ends with the mutex free and the tables on disk.
 */
async function expandZeroesInSnapshots(node: Qcow2Node): Promise<void> {
  const { image } = node;
  const { readL1 } = await import('./snapshots.js');
  /** Offset of a table; how many entries of L1 tables lead there. */
  const tables = new Map<number, number>();
  for (const snapshot of node.snapshotList) {
    const l1 = await readL1(image, snapshot).catch((error) => {
      const { code, message } = toBlockError(error);
      image.host.report('error', message);
      return fail(`Failed to turn zero into data clusters: ${errorText(code)}`, code);
    });
    for (const entry of l1) {
      const table = entry - (entry % 2);
      if (table === 0) continue;
      if (table % image.clusterBytes !== 0) throw image.corrupt(`L2 table offset 0x${table.toString(16)} unaligned`);
      tables.set(table, (tables.get(table) ?? 0) + 1);
    }
  }
  await image.mutex.run(async () => {
    // The active tables have none left, and what they share with snapshots neither.
    for (const entry of image.l1) tables.delete(entry - (entry % 2));
    for (const [table, times] of tables) {
      for (let at = 0; at < image.clusterBytes; at += image.l2.tableBytes)
        await expandZeroesInSlice(image, table + at, times);
    }
    await image.flushMetadata(true);
    await image.flushMetadata(true);
  });
}

async function expandZeroesInSlice(image: Qcow2Image, offset: number, times: number): Promise<void> {
  const { clusterBytes } = image;
  const zeroes = new Uint8Array(clusterBytes);
  const slice = await image.l2.load(offset);
  for (let at = 0; at < image.l2.tableBytes; at += image.entryBytes) {
    const high = slice.view.getUint32(at);
    const low = slice.view.getUint32(at + 4);
    if (high & compressedBit || !(low & zeroBit)) continue;
    const old = (high & offsetHighMask) * 2 ** 32 + ((low & offsetLowMask) >>> 0);
    if (old % clusterBytes !== 0) throw image.corrupt(`Cluster allocation offset 0x${old.toString(16)} unaligned`);
    let place = 0;
    if (image.hasBacking) {
      const isOwn = old !== 0 && (await image.refcounts.get(old / clusterBytes)) === times;
      if (isOwn) place = old;
      else {
        place = await image.refcounts.allocate(1);
        if (times > 1) await image.refcounts.add(place / clusterBytes, 1, times - 1);
      }
      await image.file.write(place, zeroes);
    }
    slice.view.setUint32(at, Math.floor(place / 2 ** 32));
    slice.view.setUint32(at + 4, place % 2 ** 32);
    image.l2.markDirty(slice);
    if (old !== 0 && old !== place)
      for (let time = 0; time < times; time++) image.refcounts.queueFree(old, clusterBytes, 'other');
  }
  await image.relieve();
}

/** Writes a second refcount structure of the new width, switches the header to it, frees the old one. With the mutex held. */
async function changeRefcountBits(image: Qcow2Image, bits: number, request: AmendRequest): Promise<void> {
  const { header, clusterBytes } = image;
  await image.flushMetadata(true);
  await image.flushMetadata(true);
  const old = image.refcounts;
  const most = bits === 64 ? Number.MAX_SAFE_INTEGER : 2 ** bits - 1;
  const perBlock = (clusterBytes * 8) / bits;
  // Everything in use lies below this; the new structure goes behind it.
  let used = Math.ceil(image.file.length / clusterBytes);
  for (let block = old.table.length - 1; block >= 0; block--) {
    if (old.table[block] === 0) continue;
    const bytes = new Uint8Array(clusterBytes);
    await image.file.read(old.table[block]!, bytes);
    const view = new DataView(bytes.buffer);
    let index = old.perBlock - 1;
    while (index >= 0 && getRefcount(bytes, view, old.bits, index) === 0) index--;
    if (index >= 0) {
      used = Math.max(used, block * old.perBlock + index + 1);
      break;
    }
  }
  let blocks = 1;
  let tableClusters = 1;
  for (;;) {
    const needed = Math.ceil((used + blocks + tableClusters) / perBlock);
    const clusters = Math.max(1, Math.ceil((needed * 8) / clusterBytes));
    if (needed === blocks && clusters === tableClusters) break;
    blocks = needed;
    tableClusters = clusters;
  }
  const table = new Float64Array((tableClusters * clusterBytes) / 8);
  const oldClusters = new Set<number>();
  for (const offset of old.table) if (offset !== 0) oldClusters.add(offset / clusterBytes);
  for (let index = 0; index < old.tableClusters; index++) oldClusters.add(old.tableOffset / clusterBytes + index);
  for (let block = 0; block < blocks; block++) {
    const bytes = new Uint8Array(clusterBytes);
    const view = new DataView(bytes.buffer);
    for (let index = 0; index < perBlock; index++) {
      const cluster = block * perBlock + index;
      let count =
        cluster >= used && cluster < used + blocks + tableClusters ? 1 : cluster < used ? await old.get(cluster) : 0;
      // The old structure is in use until the header has switched; it is freed below, by the new one's count.
      if (oldClusters.has(cluster) && count === 0) count = 1;
      if (count > most) {
        fail(
          `Cannot decrease refcount entry width to ${bits} bits: Cluster at offset 0x${(cluster * clusterBytes).toString(16)} has a refcount of ${count}`,
        );
      }
      if (count > 0) setRefcount(bytes, view, bits, index, count);
    }
    table[block] = (used + block) * clusterBytes;
    await image.file.write(table[block]!, bytes);
    request.progress?.(block, blocks);
  }
  const place = (used + blocks) * clusterBytes;
  await image.file.write(place, serializeTable(table));
  await image.barrier();
  header.refcountOrder = Math.log2(bits);
  header.refcountTableOffset = place;
  header.refcountTableClusters = tableClusters;
  await image.writeHeader();
  await image.barrier();
  image.refcounts = new Refcounts(image, header.refcountOrder, table, place, tableClusters);
  for (const cluster of oldClusters) {
    image.metadata.delete(cluster);
    image.refcounts.queueFree(cluster * clusterBytes, clusterBytes, 'other');
  }
  for (let index = 0; index < blocks + tableClusters; index++) image.metadata.add(used + index);
  await image.flushMetadata(true);
  await image.flushMetadata(true);
}
