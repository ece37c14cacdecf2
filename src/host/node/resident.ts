/** Which pages of this process's memory the host has given out: Linux's /proc/self/maps and pagemap. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

const PAGE_BYTES = 4096;
/** Bits of a pagemap entry: the page is in memory, or swapped out. */
const PRESENT = 0x80;
const SWAPPED = 0x40;
const CHUNK_BYTES = 1 << 16;

/** Host address of the one mapping of exactly this many bytes that can be written; undefined where that is not to be seen. */
export function mappingOfSize(sizeBytes: number): bigint | undefined {
  let maps: string;
  try {
    maps = readFileSync('/proc/self/maps', 'utf8');
  } catch {
    return undefined;
  }
  const found: bigint[] = [];
  for (const [, start, end] of maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) rw/gm)) {
    const from = BigInt(`0x${start}`);
    if (BigInt(`0x${end}`) - from === BigInt(sizeBytes)) found.push(from);
  }
  return found.length === 1 ? found[0] : undefined;
}

/** Bytes of a range of addresses that take up host memory or swap; undefined where the host does not tell. */
export function residentBytes(address: bigint, sizeBytes: number): number | undefined {
  let fd: number;
  try {
    fd = openSync('/proc/self/pagemap', 'r');
  } catch {
    return undefined;
  }
  try {
    const entries = Buffer.alloc(CHUNK_BYTES);
    const bytes = Math.ceil(sizeBytes / PAGE_BYTES) * 8;
    const from = Number(address / BigInt(PAGE_BYTES)) * 8;
    let pages = 0;
    for (let done = 0; done < bytes; ) {
      const count = readSync(fd, entries, 0, Math.min(CHUNK_BYTES, bytes - done), from + done);
      if (count <= 0) return undefined;
      for (let i = 7; i < count; i += 8) if (entries[i] & (PRESENT | SWAPPED)) pages++;
      done += count;
    }
    return pages * PAGE_BYTES;
  } catch {
    return undefined;
  } finally {
    closeSync(fd);
  }
}
