/**
 * One AES round, FIPS 197, for AES-NI (Intel SDM vol. 2; "Intel Advanced Encryption Standard New Instructions Set" white
 * paper). The state is a vector, byte 4c+r being row r of column c.
 *
 * The S-boxes are looked up in registers, sixteen entries at a time: an index outside a swizzle's sixteen gives zero, so
 * the lookups of all sixteen pieces are or-ed. Time does not depend on data.
 */
import type { RoutineBuilder, V128 } from '../../../ir/index.js';
import { routines } from './set.js';

// --- tables, computed

/** Doubling in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1. */
function double(x: number): number {
  return ((x << 1) ^ (x & 0x80 ? 0x11b : 0)) & 0xff;
}

/** The S-box and its inverse: multiplicative inverse, then the affine transformation. FIPS 197 section 5.1.1. */
function boxes(): { readonly forward: Uint8Array; readonly inverse: Uint8Array } {
  const powers = new Uint8Array(255);
  const logarithm = new Uint8Array(256);
  // 3 generates the group
  for (let i = 0, x = 1; i < 255; i++, x ^= double(x)) {
    powers[i] = x;
    logarithm[x] = i;
  }
  const forward = new Uint8Array(256);
  const inverse = new Uint8Array(256);
  for (let x = 0; x < 256; x++) {
    const inverted = x === 0 ? 0 : powers[(255 - logarithm[x]) % 255];
    let y = 0x63;
    for (let turn = 0; turn < 5; turn++) y ^= ((inverted << turn) | (inverted >> (8 - turn))) & 0xff;
    forward[x] = y;
    inverse[y] = x;
  }
  return { forward, inverse };
}

/** The table in vectors of sixteen entries, as words. */
function pieces(table: Uint8Array): readonly (readonly [number, number, number, number])[] {
  const view = new DataView(table.buffer);
  return Array.from({ length: 16 }, (_, i) => {
    const word = (n: number) => view.getInt32(16 * i + 4 * n, true);
    return [word(0), word(1), word(2), word(3)] as const;
  });
}

const { forward, inverse } = boxes();
const forwardPieces = pieces(forward);
const inversePieces = pieces(inverse);

// --- steps

function words(r: RoutineBuilder, word: number): V128 {
  return r.v128(word, word, word, word);
}

function bytes(r: RoutineBuilder, x: V128, lanes: readonly number[]): V128 {
  const word = [0, 0, 0, 0];
  for (let i = 0; i < 16; i++) word[i >> 2] |= lanes[i] << ((i & 3) * 8);
  return r.i8x16_shuffle(x, x, word[0], word[1], word[2], word[3]);
}

function substitute(r: RoutineBuilder, x: V128, table: typeof forwardPieces): V128 {
  const sixteen = words(r, 0x10101010);
  let index = x;
  let result = r.i8x16_swizzle(r.v128(...table[0]), index);
  for (let i = 1; i < 16; i++) {
    index = r.i8x16_sub(index, sixteen);
    result = r.v128_or(result, r.i8x16_swizzle(r.v128(...table[i]), index));
  }
  return result;
}

/** Row r moves left by r columns (right for the inverse). */
function shiftRows(r: RoutineBuilder, x: V128, direction: 1 | -1): V128 {
  const lanes = Array.from({ length: 16 }, (_, i) => (4 * ((i >> 2) + direction * (i & 3)) + (i & 3)) & 15);
  return bytes(r, x, lanes);
}

/** Each column turned so that row r holds what row r + n held. */
function turnColumns(r: RoutineBuilder, x: V128, n: number): V128 {
  return bytes(
    r,
    x,
    Array.from({ length: 16 }, (_, i) => (i & 12) | ((i + n) & 3)),
  );
}

function doubled(r: RoutineBuilder, x: V128): V128 {
  const carry = r.v128_and(r.i8x16_lt_s(x, words(r, 0)), words(r, 0x1b1b1b1b));
  return r.v128_xor(r.i8x16_add(x, x), carry);
}

/** Row r: 2 s(r) + 3 s(r+1) + s(r+2) + s(r+3). */
function mixColumns(r: RoutineBuilder, x: V128): V128 {
  const twice = doubled(r, x);
  const threefold = turnColumns(r, r.v128_xor(twice, x), 1);
  const halfTurn = r.v128_xor(turnColumns(r, x, 2), turnColumns(r, x, 3));
  return r.v128_xor(r.v128_xor(twice, threefold), halfTurn);
}

/** The inverse's matrix is MixColumns' times that of 5 s(r) + 4 s(r+2). */
function inverseMixColumns(r: RoutineBuilder, x: V128): V128 {
  const fourfold = doubled(r, doubled(r, r.v128_xor(x, turnColumns(r, x, 2))));
  return mixColumns(r, r.v128_xor(x, fourfold));
}

// --- instructions: state, round key

function round(name: string, body: (r: RoutineBuilder, state: V128) => V128) {
  return routines.define(name, ['v128', 'v128'], ['v128'], { pure: true }, (r, state, key) => {
    r.ret(r.v128_xor(body(r, state), key));
  });
}

export const encrypt = round('aes_encrypt', (r, x) => mixColumns(r, substitute(r, shiftRows(r, x, 1), forwardPieces)));
export const encryptLast = round('aes_encrypt_last', (r, x) => substitute(r, shiftRows(r, x, 1), forwardPieces));
export const decrypt = round('aes_decrypt', (r, x) =>
  inverseMixColumns(r, substitute(r, shiftRows(r, x, -1), inversePieces)),
);
export const decryptLast = round('aes_decrypt_last', (r, x) => substitute(r, shiftRows(r, x, -1), inversePieces));

export const mixInverse = routines.define('aes_mix_inverse', ['v128'], ['v128'], { pure: true }, (r, x) => {
  r.ret(inverseMixColumns(r, x));
});

/** AESKEYGENASSIST: SubWord of words 1 and 3, each also as RotWord of it with the round constant added. */
export const keyAssist = routines.define(
  'aes_key_assist',
  ['v128', 'i32'],
  ['v128'],
  { pure: true },
  (r, x, constant) => {
    const substituted = substitute(r, x, forwardPieces);
    const arranged = bytes(r, substituted, [4, 5, 6, 7, 5, 6, 7, 4, 12, 13, 14, 15, 13, 14, 15, 12]);
    r.ret(r.v128_xor(arranged, r.v128_and(r.i32x4_splat(constant), r.v128(0, -1, 0, -1))));
  },
);
