/** `check` of QED images: every cluster used at most once, every entry within the file; repairs by clearing entries that point nowhere. */
import { BlockError } from '../../errors.js';
import type { CheckFix, CheckResult } from '../../node.js';
import type { QedImage } from './image.js';
import { Feature, get64, set64 } from './layout.js';

/** Table bytes read at once. */
const pieceBytes = 2 ** 18;
const pageBits = 32768;

/** Clusters in use, in pages made as they are touched: an image may claim to be huge. */
class UsedClusters {
  readonly #pages = new Map<number, Uint8Array>();
  count = 0;

  /** False if one was marked already. */
  mark(first: number, count: number): number {
    let again = 0;
    for (let cluster = first; cluster < first + count; cluster++) {
      const index = Math.floor(cluster / pageBits);
      let page = this.#pages.get(index);
      if (!page) {
        page = new Uint8Array(pageBits / 8);
        this.#pages.set(index, page);
      }
      const bit = cluster % pageBits;
      const mask = 1 << (bit & 7);
      if (page[bit >> 3]! & mask) again++;
      else {
        page[bit >> 3]! |= mask;
        this.count++;
      }
    }
    return again;
  }
}

interface Counts {
  corruptions: number;
  corruptionsFixed: number;
  checkErrors: number;
  allocated: number;
  fragmented: number;
}

export async function checkImage(image: QedImage, fix: CheckFix): Promise<CheckResult> {
  const { header, file, clusterBytes, tableBytes } = image;
  const isFixing = fix.leaks || fix.errors;
  const used = new UsedClusters();
  const counts: Counts = { corruptions: 0, corruptionsFixed: 0, checkErrors: 0, allocated: 0, fragmented: 0 };
  let lastPlace = 0;
  await image.flush();

  /** Goes over a table's entries; one that `visit` refuses is cleared when fixing. */
  const eachEntry = async (table: number, visit: (entry: number) => Promise<boolean> | boolean): Promise<void> => {
    for (let at = 0; at < tableBytes; at += pieceBytes) {
      const piece = new Uint8Array(Math.min(pieceBytes, tableBytes - at));
      await file.read(table + at, piece);
      const view = new DataView(piece.buffer);
      let isChanged = false;
      for (let index = 0; index < piece.length; index += 8) {
        const entry = get64(view, index);
        if (entry === 0) continue;
        const verdict = visit(entry);
        if (typeof verdict === 'boolean' ? verdict : await verdict) continue;
        if (isFixing) {
          set64(view, index, 0);
          isChanged = true;
          counts.corruptionsFixed++;
        } else counts.corruptions++;
      }
      if (isChanged) await file.write(table + at, piece);
    }
  };

  const visitData = (entry: number): boolean => {
    if (entry === 1) return true;
    counts.allocated++;
    if (lastPlace !== 0 && lastPlace + clusterBytes !== entry) counts.fragmented++;
    lastPlace = entry;
    if (!image.isPlace(entry, clusterBytes)) return false;
    counts.corruptions += used.mark(entry / clusterBytes, 1);
    return true;
  };

  const visitTable = async (table: number): Promise<boolean> => {
    if (!image.isPlace(table, tableBytes)) return false;
    const again = used.mark(table / clusterBytes, header.tableClusters);
    counts.corruptions += again;
    // A table that two entries share is gone over once.
    if (again > 0) return true;
    try {
      await eachEntry(table, visitData);
    } catch (error) {
      if (!(error instanceof BlockError)) throw error;
      counts.checkErrors++;
    }
    return true;
  };

  used.mark(header.l1Offset / clusterBytes, header.tableClusters);
  await eachEntry(header.l1Offset, visitTable);
  if (counts.corruptionsFixed > 0) {
    await file.flush();
    image.dropTables();
  }
  // An error found leaves the bit set for the next who opens the image.
  if (isFixing && counts.corruptions === 0 && counts.checkErrors === 0 && header.features & Feature.needCheck) {
    await file.flush();
    header.features &= ~Feature.needCheck;
    await image.writeHeader();
  }
  const total = Math.floor(file.length / clusterBytes) - header.headerClusters;
  return {
    corruptions: counts.corruptions,
    corruptionsFixed: counts.corruptionsFixed,
    leaks: Math.max(0, total - used.count),
    leaksFixed: 0,
    checkErrors: counts.checkErrors,
    totalClusters: Math.ceil(header.sizeBytes / clusterBytes),
    allocatedClusters: counts.allocated,
    fragmentedClusters: counts.fragmented,
    lines: [],
  };
}
