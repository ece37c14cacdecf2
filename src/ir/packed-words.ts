/**
 * Words of IR in few bytes: op numbers, temps and offsets are small. 0 to 239 is a byte of its own; 240 to 4,079 has two, of which
 * the first is 240 or more and the second the low 8 bits; anything else follows the byte 255, low byte first.
 */
const SMALL = 240;
const MIDDLE = SMALL + 15 * 256;
const LARGE = 255;

/** Bytes that a word takes at most. */
export const MOST_PACKED_BYTES = 5;

/** Packs the first `count` words; gives where the bytes end. */
export function packWords(words: Int32Array, count: number, bytes: Uint8Array, at: number): number {
  let to = at;
  for (let i = 0; i < count; i++) {
    const value = words[i];
    const size = value >>> 0;
    if (size < SMALL) bytes[to++] = value;
    else if (size < MIDDLE) {
      bytes[to++] = SMALL + ((value - SMALL) >> 8);
      bytes[to++] = value - SMALL;
    } else {
      bytes[to++] = LARGE;
      bytes[to++] = value;
      bytes[to++] = value >> 8;
      bytes[to++] = value >> 16;
      bytes[to++] = value >> 24;
    }
  }
  return to;
}

/** The reverse, into the first `count` words. */
export function unpackWords(bytes: Uint8Array, at: number, words: Int32Array, count: number): void {
  let from = at;
  for (let i = 0; i < count; i++) {
    const first = bytes[from++];
    if (first < SMALL) words[i] = first;
    else if (first < LARGE) words[i] = SMALL + ((first - SMALL) << 8) + bytes[from++];
    else {
      words[i] = bytes[from] | (bytes[from + 1] << 8) | (bytes[from + 2] << 16) | (bytes[from + 3] << 24);
      from += 4;
    }
  }
}
