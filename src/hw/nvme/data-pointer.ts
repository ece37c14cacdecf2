/**
 * Where a command's data lie (NVM Express 1.4, 4.3 and 4.4): pages by PRP entries and lists of them, or pieces by scatter gather
 * lists. Addresses are the guest's: what is not RAM is refused, and lists are followed only as far as the data go.
 */
import type { DmaSpace } from '../../bus/index.js';
import type { ScatterList } from '../disk/index.js';
import { nvmeStatus } from './nvme-codes.js';

const sglType = { data: 0, segment: 2, lastSegment: 3 } as const;
const descriptorBytes = 16;
/** Segments that one list may be chained of, and descriptors in all: more is a list that leads nowhere. */
const maxSegments = 256;
const maxDescriptors = 0x10000;
const entriesPerRead = 512;

const address = (view: DataView, at: number) => view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;

/** The status that refuses it. */
export function mapPrp(
  dma: DmaSpace,
  list: ScatterList,
  command: DataView,
  length: number,
  pageBytes: number,
): number | undefined {
  const [first, second] = [address(command, 24), address(command, 32)];
  const head = Math.min(length, pageBytes - (first % pageBytes));
  if (!list.add(first, head)) return nvmeStatus.dataTransferError;
  let left = length - head;
  if (left === 0) return undefined;
  if (left <= pageBytes) {
    if (second % pageBytes !== 0) return nvmeStatus.prpOffset;
    return list.add(second, left) ? undefined : nvmeStatus.dataTransferError;
  }
  // A list: it may begin in the middle of a page, and its last entry in a page leads to the next one.
  let at = second;
  if (at % 8 !== 0) return nvmeStatus.prpOffset;
  while (left > 0) {
    const room = (pageBytes - (at % pageBytes)) / 8;
    const needed = Math.ceil(left / pageBytes);
    const chained = needed > room;
    const count = Math.min(needed, room);
    const entries = dma.view(at, count * 8, false);
    if (!entries) return nvmeStatus.dataTransferError;
    const view = new DataView(entries.buffer, entries.byteOffset, entries.length);
    const pages = chained ? count - 1 : count;
    for (let i = 0; i < pages; i++) {
      const page = address(view, i * 8);
      if (page % pageBytes !== 0) return nvmeStatus.prpOffset;
      const part = Math.min(left, pageBytes);
      if (!list.add(page, part)) return nvmeStatus.dataTransferError;
      left -= part;
    }
    if (!chained) break;
    at = address(view, pages * 8);
    if (at % pageBytes !== 0) return nvmeStatus.prpOffset;
  }
  return undefined;
}

/** `first`: the descriptor in the command. Gives the status that refuses it. */
export function mapSgl(dma: DmaSpace, list: ScatterList, first: Uint8Array, length: number): number | undefined {
  let left = length;
  const take = (view: DataView, at: number): number | undefined => {
    if (view.getUint8(at + 15) !== sglType.data << 4) return nvmeStatus.sglType;
    const bytes = view.getUint32(at + 8, true);
    // Data behind the command's are not asked for.
    const part = Math.min(bytes, left);
    if (part > 0 && !list.add(address(view, at), part)) return nvmeStatus.dataTransferError;
    left -= part;
    return bytes > part ? nvmeStatus.sglLength : undefined;
  };
  let view = new DataView(first.buffer, first.byteOffset, descriptorBytes);
  const kind = view.getUint8(15) >> 4;
  if (kind === sglType.data) return take(view, 0) ?? (left > 0 ? nvmeStatus.sglLength : undefined);
  let descriptors = 0;
  let link = 0;
  for (let segments = 0; ; segments++) {
    const type = view.getUint8(link + 15);
    if (type !== sglType.segment << 4 && type !== sglType.lastSegment << 4)
      return segments === 0 ? nvmeStatus.invalidSglSegment : nvmeStatus.sglType;
    const isLast = type === sglType.lastSegment << 4;
    const bytes = view.getUint32(link + 8, true);
    if (bytes === 0 || bytes % descriptorBytes !== 0) return nvmeStatus.invalidSglSegment;
    const count = bytes / descriptorBytes;
    descriptors += count;
    if (segments >= maxSegments || descriptors > maxDescriptors) return nvmeStatus.invalidSglCount;
    const gpa = address(view, link);
    // In pieces: a segment is as long as the guest likes.
    for (let i = 0; i < count; i += entriesPerRead) {
      const entries = Math.min(entriesPerRead, count - i);
      const part = dma.view(gpa + i * descriptorBytes, entries * descriptorBytes, false);
      if (!part) return nvmeStatus.dataTransferError;
      // A copy: the guest may change it meanwhile.
      const copy = part.slice();
      view = new DataView(copy.buffer);
      for (let k = 0; k < entries; k++) {
        const isLink = !isLast && i + k === count - 1;
        if (isLink) {
          link = k * descriptorBytes;
          break;
        }
        const failed = take(view, k * descriptorBytes);
        if (failed !== undefined) return failed;
      }
    }
    if (isLast) return left > 0 ? nvmeStatus.sglLength : undefined;
  }
}
