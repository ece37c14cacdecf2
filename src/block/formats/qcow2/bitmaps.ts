/**
 * Persistent dirty bitmaps stored in a qcow2 image: a directory of bitmaps, each with a table of data clusters.
 *
 * A bitmap is loaded when the image opens and stored when it closes. While the image is open for writing its directory entry says
 * *in use*: found so at the next open, the bitmap was not stored after the last writes and is inconsistent.
 */
import { SparseBitmap } from '../../dirty-bitmap.js';
import { BlockError, errorText, toBlockError } from '../../errors.js';
import type { DirtyBitmap } from '../../node.js';
import type { Qcow2Image } from './image.js';
import { AutoclearFeature, get64, set64 } from './layout.js';

const entryHeadBytes = 24;
const maxBitmaps = 65535;
const maxNameBytes = 1023;
const maxTableEntries = 0x8000000;
/** Most bytes of bitmap data. */
const maxBitmapBytes = 0x20000000;
const minGranularityBits = 9;
const maxGranularityBits = 31;
const Flag = { inUse: 1, auto: 2, extraCompatible: 4 } as const;
const dirtyTrackingType = 1;
/** A table entry without a cluster whose bits are all ones. */
const allOnes = 1;

interface DirectoryEntry {
  readonly tableOffset: number;
  readonly tableEntries: number;
  readonly flags: number;
  readonly granularityBits: number;
  readonly extra: Uint8Array;
  readonly name: string;
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

async function readDirectory(image: Qcow2Image): Promise<DirectoryEntry[]> {
  const { bitmaps } = image.header;
  if (!bitmaps) return [];
  const bytes = new Uint8Array(bitmaps.directoryBytes);
  await image.file.read(bitmaps.directoryOffset, bytes);
  const view = new DataView(bytes.buffer);
  const entries: DirectoryEntry[] = [];
  let at = 0;
  for (let index = 0; index < bitmaps.count; index++) {
    if (at + entryHeadBytes > bytes.length) throw new BlockError('EINVAL', 'Broken bitmap directory');
    const nameBytes = view.getUint16(at + 18);
    const extraBytes = view.getUint32(at + 20);
    const size = Math.ceil((entryHeadBytes + nameBytes + extraBytes) / 8) * 8;
    if (at + size > bytes.length || nameBytes > maxNameBytes || nameBytes === 0)
      throw new BlockError('EINVAL', 'Broken bitmap directory');
    const entry: DirectoryEntry = {
      tableOffset: get64(view, at),
      tableEntries: view.getUint32(at + 8),
      flags: view.getUint32(at + 12),
      granularityBits: view.getUint8(at + 17),
      extra: bytes.slice(at + entryHeadBytes, at + entryHeadBytes + extraBytes),
      name: decoder.decode(bytes.slice(at + entryHeadBytes + extraBytes, at + entryHeadBytes + extraBytes + nameBytes)),
    };
    checkEntry(image, entry, view.getUint8(at + 16));
    entries.push(entry);
    at += size;
  }
  if (at !== bytes.length) throw new BlockError('EINVAL', 'Broken bitmap directory');
  return entries;
}

function checkEntry(image: Qcow2Image, entry: DirectoryEntry, type: number): void {
  const fail = (): never => {
    throw new BlockError('EINVAL', `Bitmap '${entry.name}' doesn't satisfy the constraints`);
  };
  if (entry.tableEntries === 0 || entry.tableOffset === 0 || entry.tableOffset % image.clusterBytes !== 0) fail();
  if (
    entry.tableEntries > maxTableEntries ||
    entry.tableEntries * image.clusterBytes > maxBitmapBytes + image.clusterBytes
  )
    fail();
  if (entry.granularityBits < minGranularityBits || entry.granularityBits > maxGranularityBits) fail();
  if (entry.flags & ~(Flag.inUse | Flag.auto | Flag.extraCompatible) || type !== dirtyTrackingType) fail();
  if (entry.extra.length > 0 && !(entry.flags & Flag.extraCompatible)) fail();
  if (
    entry.tableOffset + entry.tableEntries * 8 >
    Math.ceil(image.file.length / image.clusterBytes) * image.clusterBytes
  )
    fail();
  // While a bitmap is in use its size may not fit a disk that was resized since.
  const wanted = Math.ceil(Math.ceil(image.header.sizeBytes / 2 ** entry.granularityBits) / 8 / image.clusterBytes);
  if (!(entry.flags & Flag.inUse) && entry.tableEntries !== wanted) fail();
}

async function readTable(
  image: Qcow2Image,
  entry: DirectoryEntry,
): Promise<{ readonly offsets: Float64Array; readonly ones: Uint8Array }> {
  const bytes = new Uint8Array(entry.tableEntries * 8);
  await image.file.read(entry.tableOffset, bytes);
  const view = new DataView(bytes.buffer);
  const offsets = new Float64Array(entry.tableEntries);
  const ones = new Uint8Array(entry.tableEntries);
  for (let index = 0; index < entry.tableEntries; index++) {
    const value = get64(view, index * 8);
    const offset = value - (value % 512);
    if (offset % image.clusterBytes !== 0 || offset > 2 ** 56)
      throw new BlockError('EINVAL', `Bitmap '${entry.name}' has a broken table`);
    offsets[index] = offset;
    if (offset === 0 && value & allOnes) ones[index] = 1;
  }
  return { offsets, ones };
}

/** Adds the stored bitmaps to the node. Unless read-only, marks them in use on disk. */
export async function loadBitmaps(image: Qcow2Image, isReadOnly: boolean): Promise<void> {
  const entries = await readDirectory(image);
  for (const entry of entries) {
    const bitmap = new SparseBitmap(entry.name, 2 ** entry.granularityBits, image.header.sizeBytes);
    bitmap.persistent = true;
    bitmap.enabled = (entry.flags & Flag.auto) !== 0;
    if (entry.flags & Flag.inUse) {
      bitmap.inconsistent = true;
      bitmap.enabled = false;
      bitmap.busy = false;
    } else {
      const table = await readTable(image, entry);
      const cluster = new Uint8Array(image.clusterBytes);
      for (let index = 0; index < table.offsets.length; index++) {
        const first = index * image.clusterBytes;
        if (table.offsets[index] !== 0) {
          await image.file.read(table.offsets[index]!, cluster);
          bitmap.deserialize(first, cluster);
        } else if (table.ones[index])
          bitmap.set(first * 8 * bitmap.granularity, image.clusterBytes * 8 * bitmap.granularity);
      }
      bitmap.readOnly = isReadOnly;
    }
    image.node.addBitmap(bitmap);
  }
  for (const entry of entries) {
    image.metadataAllocated(entry.tableOffset, entry.tableEntries * 8);
  }
  if (!isReadOnly && entries.some((entry) => !(entry.flags & Flag.inUse))) await markInUse(image, entries);
}

/** In place: only the flags change. */
async function markInUse(image: Qcow2Image, entries: readonly DirectoryEntry[]): Promise<void> {
  const bytes = serializeDirectory(entries.map((entry) => ({ ...entry, flags: entry.flags | Flag.inUse })));
  await image.file.write(image.header.bitmaps!.directoryOffset, bytes);
  await image.barrier();
}

function serializeDirectory(entries: readonly DirectoryEntry[]): Uint8Array {
  const parts = entries.map((entry) => {
    const name = encoder.encode(entry.name);
    const bytes = new Uint8Array(Math.ceil((entryHeadBytes + entry.extra.length + name.length) / 8) * 8);
    const view = new DataView(bytes.buffer);
    set64(view, 0, entry.tableOffset);
    view.setUint32(8, entry.tableEntries);
    view.setUint32(12, entry.flags);
    bytes[16] = dirtyTrackingType;
    bytes[17] = entry.granularityBits;
    view.setUint16(18, name.length);
    view.setUint32(20, entry.extra.length);
    bytes.set(entry.extra, entryHeadBytes);
    bytes.set(name, entryHeadBytes + entry.extra.length);
    return bytes;
  });
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export async function canStoreBitmap(image: Qcow2Image, name: string, granularity: number): Promise<void> {
  const fail = (reason: string, code = 'EINVAL'): never => {
    throw new BlockError(code, `Can't make bitmap '${name}' persistent in '${image.node.nodeName}': ${reason}`);
  };
  const bits = Math.log2(granularity);
  if (image.header.version < 3) fail('Cannot store dirty bitmaps in qcow2 v2 files', 'ENOTSUP');
  if (encoder.encode(name).length > maxNameBytes) fail('Name length exceeds maximum (1023 characters)');
  if (!Number.isInteger(bits) || bits > maxGranularityBits)
    fail(`Granularity exceeds maximum (${2 ** maxGranularityBits} bytes)`);
  if (bits < minGranularityBits) fail(`Granularity is under minimum (${2 ** minGranularityBits} bytes)`);
  const bytes = Math.ceil(Math.ceil(image.header.sizeBytes / granularity) / 8);
  if (bytes > maxBitmapBytes || bytes > maxTableEntries * image.clusterBytes)
    fail('Too much space will be occupied by the bitmap. Use larger granularity');
  if (image.node.bitmaps.filter((bitmap) => bitmap.persistent).length >= maxBitmaps)
    fail('Maximum number of persistent bitmaps is already reached', 'EOPNOTSUPP');
}

/** Writes all persistent bitmaps and a new directory, then frees the old ones'. */
export async function storeBitmaps(image: Qcow2Image): Promise<void> {
  const wanted = image.node.bitmaps.filter(
    (bitmap): bitmap is SparseBitmap => bitmap.persistent && bitmap instanceof SparseBitmap,
  );
  const old = await readDirectory(image);
  if (wanted.length === 0 && old.length === 0) return;
  await image.mutex.run(async () => {
    const entries: DirectoryEntry[] = [];
    for (const bitmap of wanted) {
      const before = old.find((entry) => entry.name === bitmap.name);
      // What is inconsistent stays exactly as it is until it is removed.
      if (bitmap.inconsistent && before) entries.push(before);
      else
        entries.push(
          await storeBitmap(image, bitmap).catch((error) => {
            const { code } = toBlockError(error);
            throw new BlockError(code, `Failed to write bitmap '${bitmap.name}' to file: ${errorText(code)}`);
          }),
        );
    }
    await writeDirectory(image, old, entries);
    for (const entry of old) if (!entries.includes(entry)) await freeBitmap(image, entry);
  });
}

async function storeBitmap(image: Qcow2Image, bitmap: SparseBitmap): Promise<DirectoryEntry> {
  const { clusterBytes } = image;
  const bytes = Math.ceil(Math.ceil(image.header.sizeBytes / bitmap.granularity) / 8);
  const clusters = Math.max(1, Math.ceil(bytes / clusterBytes));
  const table = new Uint8Array(clusters * 8);
  const view = new DataView(table.buffer);
  for (let index = 0; index < clusters; index++) {
    const part = bitmap.serialize(index * clusterBytes, clusterBytes);
    if (!part) continue;
    const place = await image.refcounts.allocate(1);
    await image.file.write(place, part);
    set64(view, index * 8, place);
  }
  const tableOffset = await image.refcounts.allocate(Math.ceil(table.length / clusterBytes));
  await image.file.write(tableOffset, table);
  image.metadataAllocated(tableOffset, table.length);
  return {
    tableOffset,
    tableEntries: clusters,
    flags: bitmap.enabled ? Flag.auto : 0,
    granularityBits: Math.log2(bitmap.granularity),
    extra: new Uint8Array(0),
    name: bitmap.name,
  };
}

/** The header leads to the new directory once this is durable. With the mutex held. */
async function writeDirectory(
  image: Qcow2Image,
  old: readonly DirectoryEntry[],
  entries: readonly DirectoryEntry[],
): Promise<void> {
  const { header } = image;
  const before = header.bitmaps;
  const bytes = serializeDirectory(entries);
  let place = 0;
  if (entries.length > 0) {
    place = await image.refcounts.allocate(Math.ceil(bytes.length / image.clusterBytes));
    await image.file.write(place, bytes);
  }
  await image.flushMetadata(true);
  await image.barrier();
  header.bitmaps =
    entries.length > 0 ? { count: entries.length, directoryBytes: bytes.length, directoryOffset: place } : undefined;
  header.autoclear =
    entries.length > 0 ? header.autoclear | AutoclearFeature.bitmaps : header.autoclear & ~AutoclearFeature.bitmaps;
  await image.writeHeader();
  await image.barrier();
  if (before) image.refcounts.queueFree(before.directoryOffset, before.directoryBytes, 'other');
  void old;
}

async function freeBitmap(image: Qcow2Image, entry: DirectoryEntry): Promise<void> {
  const table = await readTable(image, entry);
  for (const offset of table.offsets) if (offset !== 0) image.refcounts.queueFree(offset, image.clusterBytes, 'other');
  image.refcounts.queueFree(entry.tableOffset, entry.tableEntries * 8, 'other');
  image.metadataFreed(entry.tableOffset, entry.tableEntries * 8);
}

/** Takes a bitmap out of the image at once. */
export async function removeStoredBitmap(image: Qcow2Image, name: string): Promise<void> {
  const entries = await readDirectory(image);
  const entry = entries.find((other) => other.name === name);
  if (!entry) return;
  await image.mutex.run(async () => {
    await writeDirectory(
      image,
      entries,
      entries.filter((other) => other !== entry),
    );
    await freeBitmap(image, entry);
    await image.flushMetadata(true);
  });
}

/** For the check: everything bitmaps occupy. */
export async function countBitmaps(image: Qcow2Image, count: (offset: number, bytes: number) => void): Promise<void> {
  const { bitmaps } = image.header;
  if (!bitmaps) return;
  count(bitmaps.directoryOffset, bitmaps.directoryBytes);
  for (const entry of await readDirectory(image)) {
    count(entry.tableOffset, entry.tableEntries * 8);
    const table = await readTable(image, entry);
    for (const offset of table.offsets) if (offset !== 0) count(offset, image.clusterBytes);
  }
}

/** `bitmaps` of the format specific information. */
export async function bitmapInfos(image: Qcow2Image): Promise<unknown[]> {
  const entries = await readDirectory(image);
  return entries.map((entry) => {
    const bitmap: DirtyBitmap | undefined = image.node.bitmaps.find((other) => other.name === entry.name);
    const flags: string[] = [];
    if (entry.flags & Flag.inUse) flags.push('in-use');
    if (entry.flags & Flag.auto) flags.push('auto');
    void bitmap;
    return { flags, name: entry.name, granularity: 2 ** entry.granularityBits };
  });
}
