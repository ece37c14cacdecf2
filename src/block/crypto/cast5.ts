/** CAST-128, also called CAST5 (RFC 2144), with keys of 128 bits: 16 Feistel rounds over blocks of 64 bits. Words are big-endian. */
import { cast5Boxes } from './cast5-boxes.js';
import type { BlockFunction } from './software-cipher.js';

const rounds = 16;

const boxes = cast5Boxes.map((digits) =>
  Int32Array.from({ length: 256 }, (_value, index) => Number.parseInt(digits.slice(index * 8, index * 8 + 8), 16)),
);
const [s1, s2, s3, s4, s5, s6, s7, s8] = boxes as [
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
  Int32Array,
];

/**
 * The key schedule of section 2.4 turns 16 bytes x into 16 bytes z and back, a word at a time. Each row: which word of the target, which of
 * the source it starts from, the bytes that S5 to S8 take, and the box and byte that are added; bytes 0 to 15 are of the source, 16 to 31
 * those of the target made so far.
 */
const forward = [
  [0, 0, 13, 15, 12, 14, 7, 8],
  [1, 2, 16, 18, 17, 19, 8, 10],
  [2, 3, 23, 22, 21, 20, 5, 9],
  [3, 1, 26, 25, 27, 24, 6, 11],
] as const;
const backward = [
  [0, 2, 5, 7, 4, 6, 7, 0],
  [1, 0, 16, 18, 17, 19, 8, 2],
  [2, 1, 23, 22, 21, 20, 5, 1],
  [3, 3, 26, 25, 27, 24, 6, 3],
] as const;

/** Four subkeys are made of the bytes of z or x: those that S5 to S8 take, and the one that goes through the box of its place. */
const subkeyBytes = [
  [
    [8, 9, 7, 6, 2],
    [10, 11, 5, 4, 6],
    [12, 13, 3, 2, 9],
    [14, 15, 1, 0, 12],
  ],
  [
    [3, 2, 12, 13, 8],
    [1, 0, 14, 15, 13],
    [7, 6, 8, 9, 3],
    [5, 4, 10, 11, 7],
  ],
  [
    [3, 2, 12, 13, 9],
    [1, 0, 14, 15, 12],
    [7, 6, 8, 9, 2],
    [5, 4, 10, 11, 6],
  ],
  [
    [8, 9, 7, 6, 3],
    [10, 11, 5, 4, 7],
    [12, 13, 3, 2, 8],
    [14, 15, 1, 0, 13],
  ],
] as const;

function turn(source: Uint8Array, rows: typeof forward | typeof backward): Uint8Array {
  const bytes = new Uint8Array(32);
  bytes.set(source);
  const view = new DataView(bytes.buffer);
  for (const [target, from, a, b, c, d, box, extra] of rows) {
    const word =
      view.getInt32(from * 4) ^
      s5[bytes[a]!]! ^
      s6[bytes[b]!]! ^
      s7[bytes[c]!]! ^
      s8[bytes[d]!]! ^
      boxes[box - 1]![bytes[extra]!]!;
    view.setInt32(16 + target * 4, word);
  }
  return bytes.slice(16);
}

/** 16 masking keys, then 16 rotations. */
function expandKey(key: Uint8Array): Int32Array {
  const keys = new Int32Array(2 * rounds);
  let state = key;
  for (let step = 0; step < 8; step++) {
    state = turn(state, step % 2 === 0 ? forward : backward);
    subkeyBytes[step % 4]!.forEach(([a, b, c, d, extra], place) => {
      keys[step * 4 + place] =
        s5[state[a]!]! ^ s6[state[b]!]! ^ s7[state[c]!]! ^ s8[state[d]!]! ^ boxes[4 + place]![state[extra]!]!;
    });
  }
  return keys;
}

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

/** The round functions of types 1, 2 and 3 take turns. */
function round(data: number, keys: Int32Array, index: number): number {
  const mask = keys[index]!;
  const bits = keys[rounds + index]! & 31;
  const kind = index % 3;
  const i = rotateLeft(kind === 0 ? (mask + data) | 0 : kind === 1 ? mask ^ data : (mask - data) | 0, bits);
  const [a, b, c, d] = [s1[i >>> 24]!, s2[(i >>> 16) & 255]!, s3[(i >>> 8) & 255]!, s4[i & 255]!];
  return kind === 0 ? ((a ^ b) - c + d) | 0 : kind === 1 ? ((a - b + c) | 0) ^ d : (((a + b) ^ c) - d) | 0;
}

/** Keys of 16 bytes. */
export function makeCast5(key: Uint8Array): BlockFunction {
  const keys = expandKey(key);
  return {
    blockBytes: 8,
    encrypt(view, at) {
      let [left, right] = [view.getInt32(at), view.getInt32(at + 4)];
      for (let index = 0; index < rounds; index++) [left, right] = [right, left ^ round(right, keys, index)];
      view.setInt32(at, right);
      view.setInt32(at + 4, left);
    },
    decrypt(view, at) {
      let [left, right] = [view.getInt32(at), view.getInt32(at + 4)];
      for (let index = rounds - 1; index >= 0; index--) [left, right] = [right, left ^ round(right, keys, index)];
      view.setInt32(at, right);
      view.setInt32(at + 4, left);
    },
  };
}
