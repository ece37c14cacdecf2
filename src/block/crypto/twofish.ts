/**
 * Twofish (Schneier et al., "Twofish: A 128-Bit Block Cipher", 1998): 16 Feistel rounds whose S-boxes depend on the key. The boxes and the
 * matrix behind them are multiplied out to four tables of 256 words when the key is set. Words are little-endian.
 */
import type { BlockFunction } from './software-cipher.js';

const rounds = 16;

/** Section 4.3.5: four permutations of a nibble each for q0 and q1. */
const nibbles = [
  ['817d6f320b59eca4', 'ecb81235f4a6709d', 'ba5e6d90c8f32471', 'd7f4126e9b3085ca'],
  ['28bdf76e31940ac5', '1e2b4c376da5f908', '4c75169a0ed82b3f', 'b951c3de647f208a'],
] as const;

/** q0 and q1: permutations of a byte. */
const permutations = nibbles.map((tables) => {
  const [t0, t1, t2, t3] = tables.map((digits) => [...digits].map((digit) => Number.parseInt(digit, 16)));
  const rotate = (nibble: number): number => ((nibble >> 1) | (nibble << 3)) & 15;
  return Uint8Array.from({ length: 256 }, (_value, byte) => {
    let [a, b] = [byte >> 4, byte & 15];
    [a, b] = [a ^ b, (a ^ rotate(b) ^ (8 * a)) & 15];
    [a, b] = [t0![a]!, t1![b]!];
    [a, b] = [a ^ b, (a ^ rotate(b) ^ (8 * a)) & 15];
    return (t3![b]! << 4) | t2![a]!;
  });
});

/** Which of q0 and q1 stands at each place of h: rows from the last key word to the first, then what is nearest the matrix. */
const order = [
  [1, 0, 0, 1],
  [1, 1, 0, 0],
  [0, 1, 0, 1],
  [0, 0, 1, 1],
  [1, 0, 1, 0],
] as const;

const matrix = [
  [0x01, 0xef, 0x5b, 0x5b],
  [0x5b, 0xef, 0xef, 0x01],
  [0xef, 0x5b, 0x01, 0xef],
  [0xef, 0x01, 0xef, 0x5b],
] as const;
const matrixPolynomial = 0x169;

/** Makes the S-boxes' words of the key: a Reed-Solomon code. */
const code = [
  [0x01, 0xa4, 0x55, 0x87, 0x5a, 0x58, 0xdb, 0x9e],
  [0xa4, 0x56, 0x82, 0xf3, 0x1e, 0xc6, 0x68, 0xe5],
  [0x02, 0xa1, 0xfc, 0xc1, 0x47, 0xae, 0x3d, 0x19],
  [0xa4, 0x55, 0x87, 0x5a, 0x58, 0xdb, 0x9e, 0x03],
] as const;
const codePolynomial = 0x14d;

/** In GF(2^8). */
function multiply(a: number, b: number, polynomial: number): number {
  let product = 0;
  for (let power = a; b > 0; b >>= 1) {
    if (b & 1) product ^= power;
    power <<= 1;
    if (power & 0x100) power ^= polynomial;
  }
  return product;
}

/** The matrix's column times a byte, as a word. */
const columns = [0, 1, 2, 3].map((column) =>
  Uint32Array.from({ length: 256 }, (_value, byte) =>
    matrix.reduce((word, row, place) => word | (multiply(row[column]!, byte, matrixPolynomial) << (place * 8)), 0),
  ),
);

/** One byte's way through h before the matrix; `list` holds key words of four bytes, the one that is used first last. */
function pass(byte: number, place: number, list: readonly Uint8Array[]): number {
  let value = byte;
  for (let index = list.length - 1; index >= 0; index--)
    value = permutations[order[3 - index]![place]!]![value]! ^ list[index]![place]!;
  return permutations[order[4]![place]!]![value]!;
}

function h(byte: number, list: readonly Uint8Array[]): number {
  let word = 0;
  for (let place = 0; place < 4; place++) word ^= columns[place]![pass(byte, place, list)]!;
  return word;
}

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

/** Keys of 16, 24 or 32 bytes. */
export function makeTwofish(key: Uint8Array): BlockFunction {
  const words = key.length / 8;
  const even: Uint8Array[] = [];
  const odd: Uint8Array[] = [];
  const boxWords: Uint8Array[] = [];
  for (let index = 0; index < words; index++) {
    const part = key.subarray(index * 8, index * 8 + 8);
    even.push(part.subarray(0, 4));
    odd.push(part.subarray(4, 8));
    boxWords.unshift(
      Uint8Array.from(code, (row) =>
        row.reduce((sum, factor, at) => sum ^ multiply(factor, part[at]!, codePolynomial), 0),
      ),
    );
  }
  const keys = new Int32Array(8 + 2 * rounds);
  for (let index = 0; index < keys.length; index += 2) {
    const a = h(index, even);
    const b = rotateLeft(h(index + 1, odd), 8);
    keys[index] = a + b;
    keys[index + 1] = rotateLeft((a + 2 * b) | 0, 9);
  }
  const [s0, s1, s2, s3] = [0, 1, 2, 3].map((place) =>
    Int32Array.from({ length: 256 }, (_value, byte) => columns[place]![pass(byte, place, boxWords)]!),
  ) as [Int32Array, Int32Array, Int32Array, Int32Array];
  const g = (x: number): number => s0[x & 255]! ^ s1[(x >>> 8) & 255]! ^ s2[(x >>> 16) & 255]! ^ s3[x >>> 24]!;
  return {
    blockBytes: 16,
    encrypt(view, at) {
      let a = view.getInt32(at, true) ^ keys[0]!;
      let b = view.getInt32(at + 4, true) ^ keys[1]!;
      let c = view.getInt32(at + 8, true) ^ keys[2]!;
      let d = view.getInt32(at + 12, true) ^ keys[3]!;
      for (let round = 0; round < rounds; round++) {
        const x = g(a);
        const y = g(rotateLeft(b, 8));
        const left = rotateLeft(c ^ (x + y + keys[8 + 2 * round]!), 31);
        const right = rotateLeft(d, 1) ^ (x + 2 * y + keys[9 + 2 * round]!);
        [a, b, c, d] = [left, right, a, b];
      }
      view.setInt32(at, c ^ keys[4]!, true);
      view.setInt32(at + 4, d ^ keys[5]!, true);
      view.setInt32(at + 8, a ^ keys[6]!, true);
      view.setInt32(at + 12, b ^ keys[7]!, true);
    },
    decrypt(view, at) {
      let c = view.getInt32(at, true) ^ keys[4]!;
      let d = view.getInt32(at + 4, true) ^ keys[5]!;
      let a = view.getInt32(at + 8, true) ^ keys[6]!;
      let b = view.getInt32(at + 12, true) ^ keys[7]!;
      for (let round = rounds - 1; round >= 0; round--) {
        const x = g(c);
        const y = g(rotateLeft(d, 8));
        const left = rotateLeft(a, 1) ^ (x + y + keys[8 + 2 * round]!);
        const right = rotateLeft(b ^ (x + 2 * y + keys[9 + 2 * round]!), 31);
        [a, b, c, d] = [c, d, left, right];
      }
      view.setInt32(at, a ^ keys[0]!, true);
      view.setInt32(at + 4, b ^ keys[1]!, true);
      view.setInt32(at + 8, c ^ keys[2]!, true);
      view.setInt32(at + 12, d ^ keys[3]!, true);
    },
  };
}
