/**
 * The log of a VHDX file ([MS-VHDX] section 2.3): a ring of entries, each a set of 4 KiB sectors to be written (or ranges to be zeroed)
 * together. The header's log identifier says which entries count; with none set, the log is empty.
 *
 * Here a log never holds more than one entry, at its start: an entry is on disk before its sectors are written to their places, and
 * those are on disk before the next entry replaces it. Logs of others are replayed in full generality.
 */
import type { BlockNode } from '../../node.js';
import {
  ascii,
  fail,
  get64,
  guidAt,
  isSealed,
  mebibyte,
  seal,
  set64,
  setAscii,
  setGuid,
  type VhdxHeader,
  viewOf,
} from './layout.js';

export const logSectorBytes = 4096;
const entryHeaderBytes = 64;
const descriptorBytes = 32;

/** A 4 KiB sector and where it goes. */
export interface LoggedSector {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

interface LogEntry {
  readonly offset: number;
  readonly length: number;
  readonly tail: number;
  readonly sequence: number;
  readonly descriptors: number;
  readonly flushedFileBytes: number;
  readonly lastFileBytes: number;
}

function descriptorSectors(count: number): number {
  return Math.ceil((entryHeaderBytes + count * descriptorBytes) / logSectorBytes);
}

/** How many sectors an entry of this log may hold. */
export function logCapacity(logBytes: number): number {
  let count = logBytes / logSectorBytes - 1;
  while (descriptorSectors(count) + count > logBytes / logSectorBytes) count--;
  return count;
}

export function serializeEntry(
  header: VhdxHeader,
  sequence: number,
  fileBytes: number,
  sectors: readonly LoggedSector[],
): Uint8Array {
  const front = descriptorSectors(sectors.length) * logSectorBytes;
  const entry = new Uint8Array(front + sectors.length * logSectorBytes);
  const view = viewOf(entry);
  setAscii(entry, 0, 'loge');
  view.setUint32(8, entry.length, true);
  set64(view, 16, sequence);
  view.setUint32(24, sectors.length, true);
  setGuid(entry, 32, header.logGuid);
  set64(view, 48, Math.floor(fileBytes / mebibyte) * mebibyte);
  set64(view, 56, Math.ceil(fileBytes / mebibyte) * mebibyte);
  sectors.forEach(({ offset, bytes }, index) => {
    const at = entryHeaderBytes + index * descriptorBytes;
    setAscii(entry, at, 'desc');
    // The ends of the sector make way for signature and sequence number.
    entry.set(bytes.subarray(logSectorBytes - 4), at + 4);
    entry.set(bytes.subarray(0, 8), at + 8);
    set64(view, at + 16, offset);
    set64(view, at + 24, sequence);
    const place = front + index * logSectorBytes;
    entry.set(bytes, place);
    setAscii(entry, place, 'data');
    view.setUint32(place + 4, Math.floor(sequence / 2 ** 32), true);
    view.setUint32(place + logSectorBytes - 4, sequence % 2 ** 32, true);
  });
  return seal(entry);
}

/** Reads `length` bytes of the ring, going on at its start past its end. */
async function readRing(file: BlockNode, header: VhdxHeader, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  const first = Math.min(length, header.logBytes - offset);
  await file.read(header.logOffset + offset, bytes.subarray(0, first));
  if (first < length) await file.read(header.logOffset, bytes.subarray(first));
  return bytes;
}

function parseEntryHead(header: VhdxHeader, offset: number, bytes: Uint8Array): LogEntry | undefined {
  const view = viewOf(bytes);
  if (ascii(bytes, 0, 4) !== 'loge' || guidAt(bytes, 32) !== header.logGuid) return undefined;
  const entry: LogEntry = {
    offset,
    length: view.getUint32(8, true),
    tail: view.getUint32(12, true),
    sequence: get64(view, 16),
    descriptors: view.getUint32(24, true),
    flushedFileBytes: get64(view, 48),
    lastFileBytes: get64(view, 56),
  };
  if (entry.length === 0 || entry.length % logSectorBytes !== 0 || entry.length > header.logBytes) return undefined;
  if (entry.tail % logSectorBytes !== 0 || entry.tail >= header.logBytes) return undefined;
  if (entry.sequence === 0 || !Number.isSafeInteger(entry.sequence)) return undefined;
  if (descriptorSectors(entry.descriptors) * logSectorBytes > entry.length) return undefined;
  return entry;
}

interface Descriptor {
  readonly kind: 'data' | 'zero';
  readonly offset: number;
  /** Bytes to zero, or the sector's first 8 and last 4 bytes. */
  readonly length: number;
  readonly leading: Uint8Array;
  readonly trailing: Uint8Array;
}

/** The descriptors of a whole entry; undefined if anything in it is wrong. */
function parseDescriptors(entry: LogEntry, bytes: Uint8Array): readonly Descriptor[] | undefined {
  const view = viewOf(bytes);
  const list: Descriptor[] = [];
  let place = descriptorSectors(entry.descriptors) * logSectorBytes;
  for (let index = 0; index < entry.descriptors; index++) {
    const at = entryHeaderBytes + index * descriptorBytes;
    const signature = ascii(bytes, at, 4);
    const offset = get64(view, at + 16);
    if (get64(view, at + 24) !== entry.sequence || offset % logSectorBytes !== 0 || !Number.isSafeInteger(offset))
      return undefined;
    if (signature === 'zero') {
      const length = get64(view, at + 8);
      if (length % logSectorBytes !== 0 || !Number.isSafeInteger(offset + length)) return undefined;
      list.push({ kind: 'zero', offset, length, leading: bytes.subarray(0, 0), trailing: bytes.subarray(0, 0) });
    } else if (signature === 'desc') {
      if (place + logSectorBytes > bytes.length || ascii(bytes, place, 4) !== 'data') return undefined;
      const high = view.getUint32(place + 4, true);
      const low = view.getUint32(place + logSectorBytes - 4, true);
      if (high * 2 ** 32 + low !== entry.sequence) return undefined;
      place += logSectorBytes;
      const [trailing, leading] = [bytes.subarray(at + 4, at + 8), bytes.subarray(at + 8, at + 16)];
      list.push({ kind: 'data', offset, length: logSectorBytes, leading, trailing });
    } else return undefined;
  }
  return place === entry.length ? list : undefined;
}

/** Finds what is to be replayed: the entries from tail to head of the sequence with the highest number, oldest first. */
async function findActive(file: BlockNode, header: VhdxHeader): Promise<readonly LogEntry[]> {
  const entries = new Map<number, LogEntry>();
  // A hostile log may hold an entry in every sector, each as long as the log: only so much is summed.
  let budget = Math.max(64 * mebibyte, 4 * header.logBytes);
  for (let start = 0; start < header.logBytes; start += mebibyte) {
    const piece = await readRing(file, header, start, mebibyte);
    for (let at = 0; at < mebibyte; at += logSectorBytes) {
      const entry = parseEntryHead(header, start + at, piece.subarray(at, at + logSectorBytes));
      if (!entry) continue;
      budget -= entry.length;
      if (budget < 0) fail();
      const bytes = await readRing(file, header, entry.offset, entry.length);
      if (isSealed(bytes) && parseDescriptors(entry, bytes)) entries.set(entry.offset, entry);
    }
  }
  const after = (entry: LogEntry): LogEntry | undefined => {
    const next = entries.get((entry.offset + entry.length) % header.logBytes);
    return next && next.sequence === entry.sequence + 1 ? next : undefined;
  };
  let steps = 2 ** 20;
  for (const head of [...entries.values()].sort((a, b) => b.sequence - a.sequence)) {
    const sequence: LogEntry[] = [];
    for (let entry = entries.get(head.tail); entry; entry = after(entry)) {
      sequence.push(entry);
      if (--steps < 0) fail();
      if (entry === head) return sequence;
    }
  }
  return [];
}

/** Is there anything to replay? */
export async function hasPendingLog(file: BlockNode, header: VhdxHeader): Promise<boolean> {
  return (await findActive(file, header)).length > 0;
}

/** Writes everything in the log to its place. The caller marks the log empty. */
export async function replayLog(file: BlockNode, header: VhdxHeader): Promise<void> {
  const active = await findActive(file, header);
  const head = active.at(-1);
  if (!head) return;
  // What the entries speak of must be there: a file cut short since can't be mended by them.
  if (file.length < head.flushedFileBytes) fail();
  if (head.lastFileBytes > Number.MAX_SAFE_INTEGER) fail();
  const limit = Math.max(file.length, head.lastFileBytes);
  for (const entry of active) {
    const bytes = await readRing(file, header, entry.offset, entry.length);
    let place = descriptorSectors(entry.descriptors) * logSectorBytes;
    for (const descriptor of parseDescriptors(entry, bytes) ?? fail()) {
      if (descriptor.offset + descriptor.length > limit) fail();
      if (descriptor.kind === 'zero') {
        // Past the end of the file all is zero already.
        const end = Math.min(descriptor.offset + descriptor.length, file.length);
        if (end > descriptor.offset) await file.writeZeroes(descriptor.offset, end - descriptor.offset);
        continue;
      }
      const sector = bytes.slice(place, place + logSectorBytes);
      place += logSectorBytes;
      sector.set(descriptor.leading, 0);
      sector.set(descriptor.trailing, logSectorBytes - 4);
      await file.write(descriptor.offset, sector);
    }
  }
  if (file.length < head.lastFileBytes) await file.resize(head.lastFileBytes);
  await file.flush();
}
