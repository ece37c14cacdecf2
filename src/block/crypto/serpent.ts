/**
 * Serpent (Anderson, Biham, Knudsen: the AES candidate's specification) in its bitsliced form: 32 rounds of key mixing, an S-box on all 32
 * nibbles and a linear mixing of four words. Words are little-endian, as in dm-crypt and in NESSIE's vectors.
 */
import { substitute, substituteBack } from './serpent-boxes.js';
import type { BlockFunction } from './software-cipher.js';

const rounds = 32;
/** The golden ratio's fraction, which the key schedule mixes in. */
const phi = 0x9e3779b9;

function rotateLeft(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

/** 33 round keys of four words. */
function expandKey(key: Uint8Array): Int32Array {
  const words = new Int32Array(8 + 4 * (rounds + 1));
  // A key shorter than 256 bits is padded with a one bit and zeroes.
  const padded = new Uint8Array(33);
  padded.set(key);
  padded[key.length] = 1;
  const view = new DataView(padded.buffer);
  for (let index = 0; index < 8; index++) words[index] = view.getInt32(index * 4, true);
  for (let index = 8; index < words.length; index++) {
    const mixed = words[index - 8]! ^ words[index - 5]! ^ words[index - 3]! ^ words[index - 1]!;
    words[index] = rotateLeft(mixed ^ phi ^ (index - 8), 11);
  }
  const keys = words.subarray(8);
  for (let round = 0; round <= rounds; round++)
    substitute[(rounds + 3 - round) % 8]!(keys.subarray(round * 4, round * 4 + 4));
  return keys;
}

function mix(w: Int32Array): void {
  let [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
  a = rotateLeft(a, 13);
  c = rotateLeft(c, 3);
  b = rotateLeft(b ^ a ^ c, 1);
  d = rotateLeft(d ^ c ^ (a << 3), 7);
  w[0] = rotateLeft(a ^ b ^ d, 5);
  w[1] = b;
  w[2] = rotateLeft(c ^ d ^ (b << 7), 22);
  w[3] = d;
}

function mixBack(w: Int32Array): void {
  let [a, b, c, d] = [w[0]!, w[1]!, w[2]!, w[3]!];
  c = rotateLeft(c, 10) ^ d ^ (b << 7);
  a = rotateLeft(a, 27) ^ b ^ d;
  d = rotateLeft(d, 25) ^ c ^ (a << 3);
  b = rotateLeft(b, 31) ^ a ^ c;
  w[0] = rotateLeft(a, 19);
  w[1] = b;
  w[2] = rotateLeft(c, 29);
  w[3] = d;
}

function mixKey(w: Int32Array, keys: Int32Array, round: number): void {
  for (let index = 0; index < 4; index++) w[index]! ^= keys[round * 4 + index]!;
}

/** Keys of 16, 24 or 32 bytes. */
export function makeSerpent(key: Uint8Array): BlockFunction {
  const keys = expandKey(key);
  const w = new Int32Array(4);
  const load = (view: DataView, at: number): void => {
    for (let index = 0; index < 4; index++) w[index] = view.getInt32(at + index * 4, true);
  };
  const store = (view: DataView, at: number): void => {
    for (let index = 0; index < 4; index++) view.setInt32(at + index * 4, w[index]!, true);
  };
  return {
    blockBytes: 16,
    encrypt(view, at) {
      load(view, at);
      for (let round = 0; round < rounds; round++) {
        mixKey(w, keys, round);
        substitute[round % 8]!(w);
        if (round < rounds - 1) mix(w);
      }
      mixKey(w, keys, rounds);
      store(view, at);
    },
    decrypt(view, at) {
      load(view, at);
      mixKey(w, keys, rounds);
      for (let round = rounds - 1; round >= 0; round--) {
        if (round < rounds - 1) mixBack(w);
        substituteBack[round % 8]!(w);
        mixKey(w, keys, round);
      }
      store(view, at);
    },
  };
}
