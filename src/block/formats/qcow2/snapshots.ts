/**
 * Internal snapshots: each keeps its own L1 table; what L2 tables and data clusters it shares with the active state have a refcount
 * above one and no COPIED bit, so that writes copy first.
 *
 * While counts and COPIED bits of many clusters change, no order of single writes keeps both true at every point: a version 3
 * image carries the dirty bit meanwhile, and is repaired by whoever opens it after a cut.
 */
import { BlockError, errorText, toBlockError } from '../../errors.js';
import type { SnapshotInfo } from '../../node.js';
import type { Qcow2Node } from './driver.js';
import { parseL1, type Qcow2Image, serializeL1 } from './image.js';
import {
  compressedBit,
  copiedBit,
  get64,
  maxL1Bytes,
  maxSnapshotExtraBytes,
  maxSnapshots,
  maxSnapshotTableBytes,
  offsetHighMask,
  offsetLowMask,
  set64,
} from './layout.js';
import { growL1, l1EntriesFor } from './resize.js';

export interface Snapshot extends SnapshotInfo {
  readonly l1Offset: number;
  readonly l1Entries: number;
  /** Length of its extra data as stored, the fields known here included. */
  readonly extraBytes: number;
  /** Extra data past the fields known here. */
  readonly unknownExtra: Uint8Array;
}

const headBytes = 40;
/** Sizes of state and disk, which version 3 demands; and the instruction count. */
const neededExtraBytes = 16;
const knownExtraBytes = 24;
const noIcount = 0xffffffff;

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Loads the snapshot table. `isCheck`: what is wrong with it is left to the check. */
export async function readSnapshots(node: Qcow2Node, isCheck: boolean): Promise<void> {
  const { image } = node;
  const { header } = image;
  try {
    const snapshots: Snapshot[] = [];
    let at = header.snapshotsOffset;
    for (let index = 0; index < header.snapshotCount; index++) {
      at = Math.ceil(at / 8) * 8;
      if (at - header.snapshotsOffset > maxSnapshotTableBytes)
        throw new BlockError('EFBIG', 'Snapshot table is too big');
      // Past the end of the file all is zero, and 65,536 entries of 40 bytes are the most there can be.
      const head = await readPadded(image, at, headBytes);
      const view = new DataView(head.buffer);
      const idBytes = view.getUint16(12);
      const nameBytes = view.getUint16(14);
      const extraBytes = view.getUint32(36);
      const isSurplus = extraBytes > maxSnapshotExtraBytes;
      if (isSurplus && !isCheck) throw surplusError(index);
      if (extraBytes > maxSnapshotTableBytes) throw new BlockError('EFBIG', 'Snapshot table is too big');
      const rest = await readPadded(image, at + headBytes, extraBytes + idBytes + nameBytes);
      const extra = new DataView(rest.buffer, 0, extraBytes);
      const l1Offset = get64(view, 0);
      const l1Entries = view.getUint32(8);
      const icountHigh = extraBytes >= 24 ? extra.getUint32(16) : noIcount;
      snapshots.push({
        l1Offset,
        l1Entries,
        id: text(rest.slice(extraBytes, extraBytes + idBytes)),
        name: text(rest.slice(extraBytes + idBytes)),
        dateSeconds: view.getUint32(16),
        dateNanoseconds: view.getUint32(20),
        vmClockNs: get64(view, 24),
        vmStateBytes: extraBytes >= 8 ? get64(extra, 0) : view.getUint32(32),
        diskBytes: extraBytes >= 16 ? get64(extra, 8) : header.sizeBytes,
        ...(icountHigh === noIcount ? {} : { icount: get64(extra, 16) }),
        extraBytes,
        unknownExtra: isSurplus ? new Uint8Array(0) : rest.slice(Math.min(24, extraBytes), extraBytes),
      });
      at += headBytes + rest.length;
      if (l1Entries > 0 && l1Entries * 8 <= maxL1Bytes) image.metadataAllocated(l1Offset, l1Entries * 8);
    }
    node.snapshotTableBytes = at - header.snapshotsOffset;
    image.metadataAllocated(header.snapshotsOffset, Math.max(1, node.snapshotTableBytes));
    node.snapshotList = snapshots;
  } catch (error) {
    const { code, bare, message } = toBlockError(error);
    const failure = new BlockError(code, bare ? `Failed to read snapshot table: ${message}` : message);
    if (!isCheck) throw failure;
    node.snapshotFailure = failure;
  }
}

/** Bytes of the file, zero past its end. */
async function readPadded(image: Qcow2Image, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  const present = Math.max(0, Math.min(length, image.file.length - offset));
  if (present > 0) await image.file.read(offset, bytes.subarray(0, present));
  return bytes;
}

/** Up to the first zero byte: a C string. */
function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
}

function surplusError(index: number): BlockError {
  return new BlockError(
    'EFBIG',
    `Too much extra metadata in snapshot table entry ${index}\nYou can force-remove this extra metadata with qemu-img check -r all`,
  );
}

/**
 * First half of a check: the entries that a new table would mend, with a line for each. Throws when the table can't be known: without it
 * all that only snapshots use would look unused.
 */
export function checkSnapshots(node: Qcow2Node, isRepairing: boolean): readonly string[] {
  if (node.snapshotFailure) throw node.snapshotFailure;
  const lines: string[] = [];
  for (const [index, { extraBytes }] of node.snapshotList.entries()) {
    if (extraBytes > maxSnapshotExtraBytes) {
      if (!isRepairing) throw surplusError(index);
      lines.push(
        `Discarding too much extra metadata in snapshot table entry ${index} (${extraBytes} > ${maxSnapshotExtraBytes})`,
      );
    } else if (node.image.header.version >= 3 && extraBytes < neededExtraBytes)
      lines.push(`${isRepairing ? 'Repairing' : 'ERROR'} snapshot table entry ${index} is incomplete`);
  }
  return lines;
}

/** Second half: writes the table anew. With the mutex held. */
export async function repairSnapshots(node: Qcow2Node): Promise<void> {
  await writeSnapshots(node, node.snapshotList);
  // Frees the old table, and then writes its count.
  await node.image.flushMetadata(true);
  await node.image.flushMetadata(true);
  await node.image.barrier();
}

function serializeSnapshots(snapshots: readonly Snapshot[]): Uint8Array {
  const parts = snapshots.map((snapshot) => {
    const id = encoder.encode(snapshot.id);
    const name = encoder.encode(snapshot.name);
    const extraBytes = 24 + snapshot.unknownExtra.length;
    const bytes = new Uint8Array(Math.ceil((headBytes + extraBytes + id.length + name.length) / 8) * 8);
    const view = new DataView(bytes.buffer);
    set64(view, 0, snapshot.l1Offset);
    view.setUint32(8, snapshot.l1Entries);
    view.setUint16(12, id.length);
    view.setUint16(14, name.length);
    view.setUint32(16, snapshot.dateSeconds);
    view.setUint32(20, snapshot.dateNanoseconds);
    set64(view, 24, snapshot.vmClockNs);
    view.setUint32(32, snapshot.vmStateBytes > 0xffffffff ? 0 : snapshot.vmStateBytes);
    view.setUint32(36, extraBytes);
    set64(view, 40, snapshot.vmStateBytes);
    set64(view, 48, snapshot.diskBytes ?? 0);
    if (snapshot.icount === undefined) {
      view.setUint32(56, noIcount);
      view.setUint32(60, noIcount);
    } else set64(view, 56, snapshot.icount);
    bytes.set(snapshot.unknownExtra, 64);
    bytes.set(id, headBytes + extraBytes);
    bytes.set(name, headBytes + extraBytes + id.length);
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

/** Puts a new table in place of the old. With the mutex held. */
async function writeSnapshots(node: Qcow2Node, snapshots: readonly Snapshot[]): Promise<void> {
  const { image } = node;
  const { header, clusterBytes } = image;
  const bytes = serializeSnapshots(snapshots);
  if (snapshots.length > maxSnapshots || bytes.length > maxSnapshotTableBytes) throw new BlockError('EFBIG');
  let place = 0;
  if (bytes.length > 0) {
    place = await image.refcounts.allocate(Math.ceil(bytes.length / clusterBytes));
    await image.file.write(place, bytes);
  }
  await image.flushMetadata(true);
  await image.barrier();
  const oldOffset = header.snapshotsOffset;
  header.snapshotsOffset = place;
  header.snapshotCount = snapshots.length;
  await image.writeHeader();
  await image.barrier();
  if (place !== 0) image.metadataAllocated(place, bytes.length);
  if (oldOffset !== 0) {
    const oldBytes = Math.max(node.snapshotTableBytes, 1);
    image.metadataFreed(oldOffset, oldBytes);
    image.refcounts.queueFree(oldOffset, oldBytes, 'snapshot');
  }
  node.snapshotTableBytes = bytes.length;
  node.snapshotList = snapshots.map((snapshot) => ({
    ...snapshot,
    extraBytes: knownExtraBytes + snapshot.unknownExtra.length,
  }));
}

/** Host clusters of consecutive entries gathered to runs, so that counts change in few calls. */
class RunSink {
  #start = -1;
  #end = -1;
  readonly #take: (first: number, count: number) => Promise<void>;
  constructor(take: (first: number, count: number) => Promise<void>) {
    this.#take = take;
  }
  async add(first: number, count: number): Promise<void> {
    if (first === this.#end) {
      this.#end += count;
      return;
    }
    await this.finish();
    this.#start = first;
    this.#end = first + count;
  }
  async finish(): Promise<void> {
    if (this.#start >= 0) await this.#take(this.#start, this.#end - this.#start);
    this.#start = -1;
    this.#end = -1;
  }
}

/** Every host cluster that an L1 table leads to: its L2 tables and what they name. */
async function walkL1(
  image: Qcow2Image,
  l1: Float64Array,
  visit: (first: number, count: number) => Promise<void>,
): Promise<void> {
  const { clusterBytes } = image;
  const sink = new RunSink(visit);
  for (const entry of l1) {
    const table = entry - (entry % 2);
    if (table === 0) continue;
    if (table % clusterBytes !== 0) throw image.corrupt(`L2 table offset 0x${table.toString(16)} unaligned`);
    for (let at = 0; at < clusterBytes; at += image.l2.tableBytes) {
      const slice = await image.l2.load(table + at);
      for (let index = 0; index < image.entriesPerSlice; index++) {
        const high = slice.view.getUint32(index * image.entryBytes);
        const low = slice.view.getUint32(index * image.entryBytes + 4);
        if (high & compressedBit) {
          const { offset, bytes } = image.compressedPlace(high, low);
          const first = Math.floor(offset / clusterBytes);
          await sink.finish();
          await visit(first, Math.floor((offset + bytes - 1) / clusterBytes) - first + 1);
          continue;
        }
        const offset = (high & offsetHighMask) * 2 ** 32 + ((low & offsetLowMask) >>> 0);
        if (offset === 0) continue;
        if (offset % clusterBytes !== 0)
          throw image.corrupt(`Cluster allocation offset 0x${offset.toString(16)} unaligned`);
        await sink.add(offset / clusterBytes, 1);
      }
    }
    await sink.finish();
    await visit(table / clusterBytes, 1);
  }
}

/** Sets the COPIED bits of the active tables to what the refcounts say. With the mutex held. */
export async function refreshCopied(image: Qcow2Image): Promise<void> {
  const { clusterBytes } = image;
  for (let l1Index = 0; l1Index < image.l1.length; l1Index++) {
    const entry = image.l1[l1Index]!;
    const table = entry - (entry % 2);
    if (table === 0) continue;
    for (let at = 0; at < clusterBytes; at += image.l2.tableBytes) {
      const slice = await image.l2.load(table + at);
      for (let index = 0; index < image.entriesPerSlice; index++) {
        const high = slice.view.getUint32(index * image.entryBytes);
        const offset =
          (high & offsetHighMask) * 2 ** 32 +
          ((slice.view.getUint32(index * image.entryBytes + 4) & offsetLowMask) >>> 0);
        if (high & compressedBit || offset === 0) continue;
        const isSingle = (await image.refcounts.get(offset / clusterBytes)) === 1;
        const wanted = isSingle ? (high | copiedBit) >>> 0 : (high & ~copiedBit) >>> 0;
        if (wanted === high) continue;
        slice.view.setUint32(index * image.entryBytes, wanted);
        image.l2.markDirty(slice);
      }
    }
    const isSingle = (await image.refcounts.get(table / clusterBytes)) === 1;
    const wanted = table + (isSingle ? 1 : 0);
    if (wanted !== entry) image.setL1(l1Index, wanted);
    await image.relieve();
  }
}

export async function readL1(image: Qcow2Image, snapshot: Snapshot): Promise<Float64Array> {
  if (snapshot.l1Entries * 8 > maxL1Bytes) throw new BlockError('EFBIG', 'Snapshot L1 table too large');
  if (snapshot.l1Offset % image.clusterBytes !== 0) throw new BlockError('EINVAL', 'Snapshot L1 table offset invalid');
  const bytes = new Uint8Array(snapshot.l1Entries * 8);
  if (bytes.length > 0) await image.file.read(snapshot.l1Offset, bytes);
  return parseL1(bytes);
}

async function underDirtyMark<T>(image: Qcow2Image, work: () => Promise<T>): Promise<T> {
  if (image.hasDataFile) throw new BlockError('ENOTSUP');
  return image.mutex.run(async () => {
    await image.flushMetadata(true);
    await image.markDirty();
    const result = await work();
    await image.flushMetadata(true);
    await image.flushMetadata(true);
    await image.barrier();
    if (!image.isLazy) {
      await image.clearDirty();
      await image.barrier();
    }
    return result;
  });
}

export async function createSnapshot(
  node: Qcow2Node,
  info: Omit<SnapshotInfo, 'id'> & { readonly id?: string },
): Promise<void> {
  const { image } = node;
  if (node.snapshotList.length >= maxSnapshots) throw new BlockError('EFBIG');
  let highest = 0;
  for (const snapshot of node.snapshotList) highest = Math.max(highest, Number.parseInt(snapshot.id, 10) || 0);
  const id = info.id || String(highest + 1);
  if (node.snapshotList.some((snapshot) => snapshot.id === id)) throw new BlockError('EEXIST');
  await underDirtyMark(image, async () => {
    const l1 = image.l1.slice();
    const place = l1.length > 0 ? await image.refcounts.allocate(Math.ceil((l1.length * 8) / image.clusterBytes)) : 0;
    const shared = l1.map((entry) => entry - (entry % 2));
    if (place !== 0) await image.file.write(place, serializeL1(shared));
    await walkL1(image, l1, (first, count) => image.refcounts.add(first, count, 1));
    await refreshCopied(image);
    await image.flushMetadata(true);
    await image.barrier();
    if (place !== 0) image.metadataAllocated(place, l1.length * 8);
    const snapshot: Snapshot = {
      ...info,
      id,
      diskBytes: image.header.sizeBytes,
      l1Offset: place,
      l1Entries: l1.length,
      extraBytes: knownExtraBytes,
      unknownExtra: new Uint8Array(0),
    };
    await writeSnapshots(node, [...node.snapshotList, snapshot]);
  });
}

function findSnapshot(node: Qcow2Node, id: string | undefined, name: string | undefined): Snapshot | undefined {
  return node.snapshotList.find(
    (snapshot) => (id === undefined || snapshot.id === id) && (name === undefined || snapshot.name === name),
  );
}

export async function removeSnapshot(node: Qcow2Node, id: string | undefined, name: string | undefined): Promise<void> {
  const { image } = node;
  const snapshot = findSnapshot(node, id, name);
  if (!snapshot) throw new BlockError('ENOENT', "Can't find the snapshot");
  await underDirtyMark(image, async () => {
    const l1 = await readL1(image, snapshot);
    const others = node.snapshotList.filter((other) => other !== snapshot);
    await writeSnapshots(node, others).catch((error) => stageFailed('remove snapshot from snapshot list', error));
    try {
      await walkL1(image, l1, async (first, count) => {
        image.refcounts.queueFree(first * image.clusterBytes, count * image.clusterBytes, 'snapshot');
      });
      if (snapshot.l1Entries > 0) {
        image.metadataFreed(snapshot.l1Offset, snapshot.l1Entries * 8);
        image.refcounts.queueFree(snapshot.l1Offset, snapshot.l1Entries * 8, 'snapshot');
      }
      await image.flushMetadata(true);
    } catch (error) {
      stageFailed('free the cluster and L1 table', error);
    }
    node.requests.compressed.forget();
    await refreshCopied(image).catch((error) => stageFailed('update snapshot status in disk', error));
  });
}

function stageFailed(stage: string, error: unknown): never {
  const { code } = toBlockError(error);
  throw new BlockError(code, `Failed to ${stage}: ${errorText(code)}`);
}

export async function applySnapshot(node: Qcow2Node, idOrName: string): Promise<void> {
  const { image } = node;
  const snapshot =
    node.snapshotList.find((other) => other.id === idOrName) ??
    node.snapshotList.find((other) => other.name === idOrName);
  if (!snapshot) throw new BlockError('ENOENT');
  await underDirtyMark(image, async () => {
    const l1 = await readL1(image, snapshot);
    const old = image.l1.slice();
    await growL1(image, Math.max(l1.length, l1EntriesFor(image, snapshot.diskBytes ?? image.header.sizeBytes)));
    await walkL1(image, l1, (first, count) => image.refcounts.add(first, count, 1));
    await image.flushMetadata(true);
    await image.barrier();
    const active = new Float64Array(image.l1.length);
    l1.forEach((entry, index) => {
      active[index] = entry - (entry % 2);
    });
    for (let index = 0; index < active.length; index++)
      if (image.l1[index] !== active[index]) image.setL1(index, active[index]!);
    image.header.sizeBytes = snapshot.diskBytes ?? image.header.sizeBytes;
    await image.flushMetadata(true);
    await image.writeHeader();
    await image.barrier();
    await walkL1(image, old, async (first, count) => {
      image.refcounts.queueFree(first * image.clusterBytes, count * image.clusterBytes, 'snapshot');
    });
    for (const entry of old) if (entry !== 0) image.metadataFreed(entry, 1);
    for (const entry of active) if (entry !== 0) image.metadataAllocated(entry, 1);
    await image.flushMetadata(true);
    node.requests.compressed.forget();
    await refreshCopied(image);
  });
}

export async function loadSnapshot(node: Qcow2Node, id: string | undefined, name: string | undefined): Promise<void> {
  const { image } = node;
  if (!image.node.readOnly) throw new BlockError('EINVAL', 'Device is not readonly');
  const snapshot = findSnapshot(node, id, name);
  if (!snapshot) throw new BlockError('ENOENT', "Can't find snapshot");
  image.l1 = await readL1(image, snapshot);
  node.loadedSize = snapshot.diskBytes ?? image.header.sizeBytes;
}
