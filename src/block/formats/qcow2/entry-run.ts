/**
 * How far L2 entries follow each other. An image of 100 GiB has 1.6 million of them, and a tool that looks at each once is done before
 * its JavaScript has been optimized: long runs are compared by a WebAssembly function, two entries at a time.
 */

/** Entries that are looked at before it pays to copy more to where the function sees them, in pieces that grow: what a run ends before is not copied. */
const NEAR = 64;
/** An L2 table has at most 2 MiB. */
const MEMORY_PAGES = 32;
const ENTRY_BYTES = 8;

const V128 = 0x7b;
const [I32, I64] = [0x7f, 0x7e];
const section = (id: number, ...payload: readonly number[]): readonly number[] => [id, payload.length, ...payload];

/** (address, end, first entry, step) → the address of the first pair of entries that does not follow, or of which not all is there. */
const follow: readonly number[] = [
  ...[1, 3, V128],
  // local 4, the pair that should be there: first, first + step; local 5, from pair to pair: 2 · step twice
  ...[0x20, 2, 0xfd, 0x12, 0x20, 2, 0x20, 3, 0x7c, 0xfd, 0x1e, 1, 0x21, 4],
  ...[0x20, 3, 0x42, 1, 0x86, 0xfd, 0x12, 0x21, 5],
  // block, loop: is there a pair?
  ...[0x02, 0x40, 0x03, 0x40, 0x20, 0, 0x41, 16, 0x6a, 0x20, 1, 0x4b, 0x0d, 1],
  // load it, and turn the bytes of both around
  ...[0x20, 0, 0xfd, 0x00, 3, 0, 0x22, 6, 0x20, 6, 0xfd, 0x0d, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8],
  // i64x2.eq, i64x2.all_true: no? out of the loop
  ...[0x20, 4, 0xfd, 0xd6, 0x01, 0xfd, 0xc3, 0x01, 0x45, 0x0d, 1],
  // i64x2.add: the next pair, at the next address
  ...[0x20, 4, 0x20, 5, 0xfd, 0xce, 0x01, 0x21, 4, 0x20, 0, 0x41, 16, 0x6a, 0x21, 0],
  // again; end of loop and block; the address; end
  ...[0x0c, 0, 0x0b, 0x0b, 0x20, 0, 0x0b],
];
const module = Uint8Array.from([
  ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
  ...section(1, 1, 0x60, 4, I32, I32, I64, I64, 1, I32),
  ...section(3, 1, 0),
  ...section(5, 1, 0, MEMORY_PAGES),
  // exported: the memory as m, the function as f
  ...section(7, 2, 1, 0x6d, 2, 0, 1, 0x66, 0, 0),
  ...section(10, 1, follow.length, ...follow),
]);

interface Comparer {
  readonly memory: Uint8Array;
  readonly follow: (at: number, end: number, first: bigint, step: bigint) => number;
}
let made: Comparer | undefined;

function comparer(): Comparer {
  if (!made) {
    const { m, f } = new WebAssembly.Instance(new WebAssembly.Module(module)).exports;
    made = { memory: new Uint8Array((m as WebAssembly.Memory).buffer), follow: f as Comparer['follow'] };
  }
  return made;
}

/** How many 8-byte L2 entries from `at` on, at most up to `end`, follow each other: each `step` bytes on and with the same flags. */
export function entryRun(view: DataView, at: number, end: number, step: number): number {
  const near = Math.min(end, at + NEAR * ENTRY_BYTES);
  const count = shortRun(view, at, near, step);
  const last = at + (count - 1) * ENTRY_BYTES;
  if (near === end || last + ENTRY_BYTES < near) return count;
  const { memory, follow } = comparer();
  // The last that is known to follow.
  let seen = last;
  for (let most = 2 * NEAR * ENTRY_BYTES; ; most *= 2) {
    const length = Math.min(end - seen, most);
    memory.set(new Uint8Array(view.buffer, view.byteOffset + seen, length));
    const reached = follow(0, length, view.getBigUint64(seen), BigInt(step));
    const isOver = seen + length === end || reached + 2 * ENTRY_BYTES <= length;
    seen += Math.max(0, reached - ENTRY_BYTES);
    // Of the next two one may follow too.
    if (isOver) return (seen - at) / ENTRY_BYTES + shortRun(view, seen, end, step);
  }
}

function shortRun(view: DataView, at: number, end: number, step: number): number {
  let high = view.getInt32(at);
  let low = view.getInt32(at + 4);
  let next = at + ENTRY_BYTES;
  for (; next < end; next += ENTRY_BYTES) {
    low = (low + step) | 0;
    if (low >>> 0 < step) high = (high + 1) | 0;
    if (view.getInt32(next + 4) !== low || view.getInt32(next) !== high) break;
  }
  return (next - at) / ENTRY_BYTES;
}
