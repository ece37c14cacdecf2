/**
 * The steps of an AES round, FIPS 197, as pieces of IR that all guests' instructions are made of. The state is a vector, byte 4c+r
 * being row r of column c.
 *
 * The S-boxes are computed in registers by lookups of nibbles, after M. Hamburg, "Accelerating AES with Vector Permute
 * Instructions" (CHES 2009): no tables in memory, and time does not depend on data.
 */
import type { RoutineBuilder, V128 } from '../../ir/index.js';

// --- GF(2^8) modulo x^8 + x^4 + x^3 + x + 1

function multiply(x: number, y: number): number {
  let product = 0;
  for (let left = x, bits = y; bits; bits >>= 1) {
    if (bits & 1) product ^= left;
    left = (left << 1) ^ (left & 0x80 ? 0x11b : 0);
  }
  return product;
}

/** x^254, which is 1/x, and 0 for 0. */
function invert(x: number): number {
  let result = 1;
  for (let i = 0; i < 254; i++) result = multiply(result, x);
  return result;
}

/** The S-box's affine transformation but for its constant. FIPS 197 section 5.1.1. */
function mixBits(x: number): number {
  let result = 0;
  for (let turn = 0; turn < 5; turn++) result ^= (x << turn) | (x >> (8 - turn));
  return result & 0xff;
}

const AFFINE_CONSTANT = 0x63;

// --- inversion over the subfield K of sixteen elements

/*
 * A byte is written x = i u + k with i, k in K and u^2 + a u + a = 0; then N = a i^2 + a i k + k^2 lies in K and
 * 1/x = (i u + k + a i) / N. With j = i + k two inversions in K give N/(k + a i) and N/(k + a i + a k):
 *
 *   p = 1/(1/i + a/k) + j        q = 1/(1/j + a/k) + i
 *
 * and 1/x is a linear combination of 1/p and 1/q. Infinity is a byte of 16 or more: added to anything of K it stays so, and
 * its lookup gives 0. Where both summands are infinite (x = 0) the rest comes out as 0 too.
 */
const INFINITE = 0x80;
const all = Array.from({ length: 256 }, (_, x) => x);
/** Elements of K by nibble: sums of the basis 1, g, g^2, g^3. */
const g = all.find((x) => x > 1 && power(x, 16) === x && power(x, 4) !== x) as number;
const element = Array.from({ length: 16 }, (_, nibble) =>
  [0, 1, 2, 3].reduce((sum, bit) => (nibble & (1 << bit) ? sum ^ power(g, bit) : sum), 0),
);
const nibbleOf = new Map(element.map((x, nibble) => [x, nibble]));
/** u outside K whose trace and norm are the same element a of K. */
const u = all.find((x) => !nibbleOf.has(x) && (x ^ power(x, 16)) === multiply(x, power(x, 16))) as number;
const a = u ^ power(u, 16);

function power(x: number, exponent: number): number {
  let result = 1;
  for (let i = 0; i < exponent; i++) result = multiply(result, x);
  return result;
}

type Table = readonly [number, number, number, number];

/** A vector of sixteen bytes, as words. */
function table(entry: (nibble: number) => number): Table {
  const view = new DataView(new ArrayBuffer(16));
  for (let nibble = 0; nibble < 16; nibble++) view.setUint8(nibble, entry(nibble));
  const word = (n: number) => view.getInt32(4 * n, true);
  return [word(0), word(1), word(2), word(3)];
}

/** (i, k) as the high and low nibble of a byte, by x. */
const coordinates = new Uint8Array(256);
for (const ik of all) coordinates[multiply(element[ik >> 4], u) ^ element[ik & 15]] = ik;

const inverses = table((n) => (n === 0 ? INFINITE : (nibbleOf.get(invert(element[n])) as number)));
const quotients = table((n) => (n === 0 ? INFINITE : (nibbleOf.get(multiply(a, invert(element[n]))) as number)));

/** What 1/p and 1/q are multiplied with to give 1/x. */
const squareOfA = multiply(a, a);
const qFactor = multiply(u, invert(squareOfA));
const pFactor = 1 ^ multiply(u, invert(a)) ^ qFactor;

/** A byte substitution: a linear map, inversion, a linear map and a constant. */
export interface Box {
  /** Coordinates by low and by high nibble, to be added. */
  readonly low: Table;
  readonly high: Table;
  readonly fromP: Table;
  readonly fromQ: Table;
  readonly constant: number;
}

function box(input: (x: number) => number, output: (x: number) => number, constant: number): Box {
  const start = input(0);
  return {
    low: table((n) => coordinates[input(n)]),
    high: table((n) => coordinates[input(n << 4) ^ start]),
    fromP: table((n) => output(multiply(pFactor, invert(element[n])))),
    fromQ: table((n) => output(multiply(qFactor, invert(element[n])))),
    constant,
  };
}

const unmixed = new Uint8Array(256);
for (const x of all) unmixed[mixBits(x)] = x;
export const forward = box((x) => x, mixBits, AFFINE_CONSTANT);
export const inverse = box(
  (x) => unmixed[x ^ AFFINE_CONSTANT],
  (x) => x,
  0,
);

// --- steps

function words(r: RoutineBuilder, word: number): V128 {
  return r.v128(word, word, word, word);
}

export function bytes(r: RoutineBuilder, x: V128, lanes: readonly number[]): V128 {
  const word = [0, 0, 0, 0];
  for (let i = 0; i < 16; i++) word[i >> 2] |= lanes[i] << ((i & 3) * 8);
  return r.i8x16_shuffle(x, x, word[0], word[1], word[2], word[3]);
}

export function substitute(r: RoutineBuilder, x: V128, { low, high, fromP, fromQ, constant }: Box): V128 {
  const four = r.i32(4);
  const lowNibbles = words(r, 0x0f0f0f0f);
  const look = (entries: Table, index: V128) => r.i8x16_swizzle(r.v128(...entries), index);
  const ik = r.v128_xor(look(low, r.v128_and(x, lowNibbles)), look(high, r.i8x16_shr_u(x, four)));
  const i = r.i8x16_shr_u(ik, four);
  const k = r.v128_and(ik, lowNibbles);
  const j = r.v128_xor(i, k);
  const ak = look(quotients, k);
  const p = r.v128_xor(look(inverses, r.v128_xor(look(inverses, i), ak)), j);
  const q = r.v128_xor(look(inverses, r.v128_xor(look(inverses, j), ak)), i);
  const result = r.v128_xor(look(fromP, p), look(fromQ, q));
  return constant ? r.v128_xor(result, words(r, constant * 0x01010101)) : result;
}

/** Row r moves left by r columns (right for the inverse). */
export function shiftRows(r: RoutineBuilder, x: V128, direction: 1 | -1): V128 {
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
export function mixColumns(r: RoutineBuilder, x: V128): V128 {
  const twice = doubled(r, x);
  const threefold = turnColumns(r, r.v128_xor(twice, x), 1);
  const halfTurn = r.v128_xor(turnColumns(r, x, 2), turnColumns(r, x, 3));
  return r.v128_xor(r.v128_xor(twice, threefold), halfTurn);
}

/** The inverse's matrix is MixColumns' times that of 5 s(r) + 4 s(r+2). */
export function inverseMixColumns(r: RoutineBuilder, x: V128): V128 {
  const fourfold = doubled(r, doubled(r, r.v128_xor(x, turnColumns(r, x, 2))));
  return mixColumns(r, r.v128_xor(x, fourfold));
}
