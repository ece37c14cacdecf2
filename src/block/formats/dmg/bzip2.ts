/**
 * Decompressor for bzip2 streams: blocks of up to 900,000 bytes, each run-length coded, sorted by Burrows and Wheeler, moved to front,
 * run-length coded again and Huffman coded. After the description in J. Seward's bzip2 manual and the informal format specification
 * by J. Tsai (2016). The input is hostile: every index is checked, output never exceeds what was asked for.
 */
import { BlockError } from '../../errors.js';

const blockMagic = 0x314159265359;
const endMagic = 0x177245385090;
const maxSelectors = 18002;
const groupSymbols = 50;
const maxCodeBits = 20;
const maxBlockBytes = 900_000;

function corrupt(): never {
  throw new BlockError('EIO');
}

/** Bits from the most significant on. */
class BitReader {
  readonly #bytes: Uint8Array;
  #at = 0;
  #held = 0;
  #count = 0;
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  bit(): number {
    if (this.#count === 0) {
      if (this.#at >= this.#bytes.length) corrupt();
      this.#held = this.#bytes[this.#at++]!;
      this.#count = 8;
    }
    return (this.#held >> --this.#count) & 1;
  }

  /** Up to 48 bits as a number. */
  bits(count: number): number {
    let value = 0;
    for (let left = count; left > 0; ) {
      if (this.#count === 0) {
        if (this.#at >= this.#bytes.length) corrupt();
        this.#held = this.#bytes[this.#at++]!;
        this.#count = 8;
      }
      const take = Math.min(left, this.#count);
      this.#count -= take;
      value = value * 2 ** take + ((this.#held >> this.#count) & ((1 << take) - 1));
      left -= take;
    }
    return value;
  }

  align(): void {
    this.#count = 0;
  }
}

/** Canonical Huffman codes: for each length the first code, the first symbol's index and how many there are. */
interface CodeTable {
  readonly first: Int32Array;
  readonly index: Int32Array;
  readonly count: Int32Array;
  readonly symbols: Uint16Array;
}

function makeTable(lengths: Uint8Array): CodeTable {
  const count = new Int32Array(maxCodeBits + 1);
  for (const length of lengths) count[length]!++;
  const first = new Int32Array(maxCodeBits + 1);
  const index = new Int32Array(maxCodeBits + 1);
  const symbols = new Uint16Array(lengths.length);
  let code = 0;
  let at = 0;
  for (let length = 1; length <= maxCodeBits; length++) {
    first[length] = code;
    index[length] = at;
    for (let symbol = 0; symbol < lengths.length; symbol++) if (lengths[symbol] === length) symbols[at++] = symbol;
    code = (code + count[length]!) << 1;
  }
  return { first, index, count, symbols };
}

function readSymbol(reader: BitReader, table: CodeTable): number {
  let code = 0;
  for (let length = 1; length <= maxCodeBits; length++) {
    code = (code << 1) | reader.bit();
    const within = code - table.first[length]!;
    if (within >= 0 && within < table.count[length]!) return table.symbols[table.index[length]! + within]!;
  }
  return corrupt();
}

/** One block's sorted bytes, in `room`, and where the first one is. */
function readBlock(
  reader: BitReader,
  room: Uint8Array,
  maxBytes: number,
): { readonly sorted: Uint8Array; readonly origin: number } {
  // Randomised blocks come from versions before 1.0 only.
  reader.bits(32);
  if (reader.bit() !== 0) corrupt();
  const origin = reader.bits(24);
  const used: number[] = [];
  const groups = reader.bits(16);
  for (let group = 0; group < 16; group++) {
    if (!(groups & (0x8000 >> group))) continue;
    const members = reader.bits(16);
    for (let member = 0; member < 16; member++) if (members & (0x8000 >> member)) used.push(group * 16 + member);
  }
  if (used.length === 0) corrupt();
  const symbolCount = used.length + 2;
  const tableCount = reader.bits(3);
  const selectorCount = reader.bits(15);
  if (tableCount < 2 || tableCount > 6 || selectorCount < 1) corrupt();
  const selectors = new Uint8Array(Math.min(selectorCount, maxSelectors));
  const recent = [0, 1, 2, 3, 4, 5];
  for (let index = 0; index < selectorCount; index++) {
    let rank = 0;
    while (reader.bit()) if (++rank >= tableCount) corrupt();
    const [chosen] = recent.splice(rank, 1);
    recent.unshift(chosen!);
    // Some compressors write more than can be used.
    if (index < maxSelectors) selectors[index] = chosen!;
  }
  const tables: CodeTable[] = [];
  for (let table = 0; table < tableCount; table++) {
    const lengths = new Uint8Array(symbolCount);
    let length = reader.bits(5);
    for (let symbol = 0; symbol < symbolCount; symbol++) {
      for (;;) {
        if (length < 1 || length > maxCodeBits) corrupt();
        if (!reader.bit()) break;
        length += reader.bit() ? -1 : 1;
      }
      lengths[symbol] = length;
    }
    tables.push(makeTable(lengths));
  }

  const end = symbolCount - 1;
  const front = Uint8Array.from(used);
  const sorted = room;
  let filled = 0;
  let group = -1;
  let left = 0;
  let table = tables[0]!;
  let run = 0;
  let runUnit = 1;
  for (;;) {
    if (left === 0) {
      if (++group >= selectors.length) corrupt();
      table = tables[selectors[group]!] ?? corrupt();
      left = groupSymbols;
    }
    left--;
    const symbol = readSymbol(reader, table);
    if (symbol <= 1) {
      // A run's length in bijective base 2.
      run += runUnit << symbol;
      runUnit *= 2;
      if (run > maxBytes) corrupt();
      continue;
    }
    if (run > 0) {
      if (filled + run > maxBytes) corrupt();
      sorted.fill(front[0]!, filled, filled + run);
      filled += run;
      run = 0;
      runUnit = 1;
    }
    if (symbol === end) break;
    const rank = symbol - 1;
    const value = front[rank]!;
    front.copyWithin(1, 0, rank);
    front[0] = value;
    if (filled >= maxBytes) corrupt();
    sorted[filled++] = value;
  }
  if (origin >= filled) corrupt();
  return { sorted: sorted.subarray(0, filled), origin };
}

/** Exactly `size` bytes of output, or EIO. What follows them is ignored. */
export function bunzip2(input: Uint8Array, size: number): Uint8Array {
  const reader = new BitReader(input);
  const output = new Uint8Array(size);
  const room = new Uint8Array(maxBlockBytes);
  let filled = 0;
  // Blocks are as large as they can be but for the last: a stream of tiny ones only costs time.
  let blocksLeft = 16 + Math.ceil(size / 1000);
  while (filled < size) {
    if (--blocksLeft < 0 || reader.bits(24) !== 0x425a68) corrupt();
    const level = reader.bits(8) - 0x30;
    if (level < 1 || level > 9) corrupt();
    for (;;) {
      const magic = reader.bits(48);
      if (magic === endMagic) {
        reader.bits(32);
        reader.align();
        break;
      }
      if (magic !== blockMagic) corrupt();
      if (--blocksLeft < 0) corrupt();
      const { sorted, origin } = readBlock(reader, room, level * 100_000);
      // Where each byte of the sorted column goes in the original order.
      const starts = new Int32Array(256);
      for (const byte of sorted) starts[byte]!++;
      for (let byte = 0, sum = 0; byte < 256; byte++) {
        const count = starts[byte]!;
        starts[byte] = sum;
        sum += count;
      }
      const next = new Int32Array(sorted.length);
      for (let index = 0; index < sorted.length; index++) next[starts[sorted[index]!]!++] = index;
      let at = next[origin]!;
      let repeats = 0;
      let before = -1;
      for (let index = 0; index < sorted.length && filled < size; index++) {
        const byte = sorted[at]!;
        at = next[at]!;
        if (repeats === 4) {
          // Four equal bytes are followed by how many more there are.
          const more = Math.min(byte, size - filled);
          output.fill(before, filled, filled + more);
          filled += more;
          repeats = 0;
          before = -1;
          continue;
        }
        repeats = byte === before ? repeats + 1 : 1;
        before = byte;
        output[filled++] = byte;
      }
      if (filled >= size) break;
    }
  }
  return output;
}
