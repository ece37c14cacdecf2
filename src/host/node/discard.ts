/** Gives pages of this process back to the host: madvise of Linux, through koffi where that is installed. */
import { loadKoffi } from './koffi.js';
import { mappingOfSize } from './resident.js';

const MADV_DONTNEED = 4;
type Madvise = (address: bigint, length: number, advice: number) => number;

let madvise: Madvise | null | undefined;

function load(): Madvise | null {
  if (process.platform !== 'linux') return null;
  try {
    return loadKoffi().load(null).func('int madvise(uintptr_t at, size_t length, int advice)') as unknown as Madvise;
  } catch {
    return null;
  }
}

/** A range of whole pages in a buffer reads as zeros from here on and takes up no memory until it is written. False: nothing happened. */
export function discardPages(buffer: ArrayBufferLike, offset: number, sizeBytes: number): boolean {
  madvise ??= load();
  if (!madvise) return false;
  // The buffer is the only mapping of its size, or its place is not known.
  const base = mappingOfSize(buffer.byteLength);
  return base !== undefined && madvise(base + BigInt(offset), sizeBytes, MADV_DONTNEED) === 0;
}
