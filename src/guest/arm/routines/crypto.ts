/** AES, polynomials and the secure hashes: the steps that instructions make (J1.1.3: AESSubBytes and so on, SHA256hash, SHAhashSIGMA0). */
import type { I32, I64, RoutineBuilder, V128 } from '../../../ir/index.js';
import { forward, inverse, inverseMixColumns, mixColumns, shiftRows, substitute } from '../../crypto/aes.js';
import { carrylessHalves } from '../../crypto/carryless.js';
import { routines } from './set.js';

const pure = { pure: true } as const;
const aes = (name: string, step: (r: RoutineBuilder, x: V128) => V128) =>
  routines.define(`aes_${name}`, ['v128'], ['v128'], pure, (r, x) => r.ret(step(r, x)));
export const aesRoutines = {
  encrypt: aes('encrypt', (r, x) => substitute(r, shiftRows(r, x, 1), forward)),
  decrypt: aes('decrypt', (r, x) => substitute(r, shiftRows(r, x, -1), inverse)),
  mix: aes('mix', mixColumns),
  unmix: aes('unmix', inverseMixColumns),
} as const;

/** 64 by 64 coefficients. */
export const polynomialProduct = routines.define('polynomial_product', ['i64', 'i64'], ['v128'], pure, (r, x, y) => {
  const [low, high] = carrylessHalves(r, x, y);
  r.ret(r.i64x2_replace_lane(r.i64x2_splat(low), high, 1));
});

type Words = [I32, I32, I32, I32];
const wordsOf = (r: RoutineBuilder, x: V128): Words => {
  const word = (n: number) => r.i32x4_extract_lane(x, n);
  return [word(0), word(1), word(2), word(3)];
};
const vectorOf = (r: RoutineBuilder, words: readonly I32[]): V128 =>
  words.reduce((all, word, n) => r.i32x4_replace_lane(all, word, n), r.v128(0, 0, 0, 0));

const rotated = (r: RoutineBuilder, x: I32, ...places: readonly number[]): I32 =>
  places.map((n) => r.i32_rotr(x, r.i32(n))).reduce((a, b) => r.i32_xor(a, b));
const choose = (r: RoutineBuilder, x: I32, y: I32, z: I32): I32 => r.i32_xor(r.i32_and(r.i32_xor(y, z), x), z);
const majority = (r: RoutineBuilder, x: I32, y: I32, z: I32): I32 =>
  r.i32_or(r.i32_and(x, y), r.i32_and(r.i32_or(x, y), z));
const parity = (r: RoutineBuilder, x: I32, y: I32, z: I32): I32 => r.i32_xor(r.i32_xor(x, y), z);

/** Four rounds of SHA-1: (a to d, e, message with constants). */
const sha1 = (name: string, mix: typeof choose) =>
  routines.define(`sha1_${name}`, ['v128', 'i32', 'v128'], ['v128'], pure, (r, x, y, w) => {
    let [a, b, c, d] = wordsOf(r, x);
    let e = y;
    for (const word of wordsOf(r, w)) {
      const sum = r.i32_add(r.i32_add(r.i32_add(e, r.i32_rotl(a, r.i32(5))), mix(r, b, c, d)), word);
      [a, b, c, d, e] = [sum, a, r.i32_rotl(b, r.i32(30)), c, d];
    }
    r.ret(vectorOf(r, [a, b, c, d]));
  });
export const sha1Rounds = {
  choose: sha1('choose', choose),
  parity: sha1('parity', parity),
  majority: sha1('majority', majority),
} as const;

/** What is left of SHA1SU1 once its three words are put together: (their exclusive or). */
export const sha1Schedule = routines.define('sha1_schedule', ['v128'], ['v128'], pure, (r, x) => {
  const words = wordsOf(r, x).map((word) => r.i32_rotl(word, r.i32(1)));
  words[3] = r.i32_xor(words[3], r.i32_rotl(words[0], r.i32(1)));
  r.ret(vectorOf(r, words));
});

/** Four rounds of SHA-256: (a to d, e to h, message with constants) to the same. */
export const sha256Rounds = routines.define(
  'sha256_rounds',
  ['v128', 'v128', 'v128'],
  ['v128', 'v128'],
  pure,
  (r, x, y, w) => {
    let [a, b, c, d] = wordsOf(r, x);
    let [e, f, g, h] = wordsOf(r, y);
    for (const word of wordsOf(r, w)) {
      const first = r.i32_add(r.i32_add(h, rotated(r, e, 6, 11, 25)), r.i32_add(choose(r, e, f, g), word));
      const second = r.i32_add(rotated(r, a, 2, 13, 22), majority(r, a, b, c));
      [a, b, c, d, e, f, g, h] = [r.i32_add(first, second), a, b, c, r.i32_add(d, first), e, f, g];
    }
    r.ret(vectorOf(r, [a, b, c, d]), vectorOf(r, [e, f, g, h]));
  },
);
const small256 = (r: RoutineBuilder, x: I32, one: number, two: number, shift: number): I32 =>
  r.i32_xor(rotated(r, x, one, two), r.i32_shr_u(x, r.i32(shift)));
/** (words 0 to 3, words 4 to 7). */
export const sha256Schedule0 = routines.define('sha256_schedule0', ['v128', 'v128'], ['v128'], pure, (r, x, y) => {
  const words = wordsOf(r, x);
  const next = [words[1], words[2], words[3], r.i32x4_extract_lane(y, 0)];
  r.ret(
    vectorOf(
      r,
      words.map((word, n) => r.i32_add(word, small256(r, next[n], 7, 18, 3))),
    ),
  );
});
/** (SHA256SU0's result, words 8 to 11, words 12 to 15). */
export const sha256Schedule1 = routines.define(
  'sha256_schedule1',
  ['v128', 'v128', 'v128'],
  ['v128'],
  pure,
  (r, d, n, m) => {
    const sums = wordsOf(r, d);
    const [, n1, n2, n3] = wordsOf(r, n);
    const [m0, , m2, m3] = wordsOf(r, m);
    const added = [n1, n2, n3, m0];
    const result: I32[] = [];
    for (let k = 0; k < 4; k++) {
      const source = k < 2 ? [m2, m3][k] : result[k - 2];
      result.push(r.i32_add(r.i32_add(small256(r, source, 17, 19, 10), sums[k]), added[k]));
    }
    r.ret(vectorOf(r, result));
  },
);

// --- SHA-512: two words of 64 bits

const long = (r: RoutineBuilder, x: V128): [I64, I64] => [r.i64x2_extract_lane(x, 0), r.i64x2_extract_lane(x, 1)];
const longVector = (r: RoutineBuilder, low: I64, high: I64): V128 => r.i64x2_replace_lane(r.i64x2_splat(low), high, 1);
const rotatedLong = (r: RoutineBuilder, x: I64, ...places: readonly number[]): I64 =>
  places.map((n) => r.i64_rotr(x, r.i64(n))).reduce((a, b) => r.i64_xor(a, b));
const sum = (r: RoutineBuilder, ...terms: readonly I64[]): I64 => terms.reduce((a, b) => r.i64_add(a, b));
const chooseLong = (r: RoutineBuilder, x: I64, y: I64, z: I64): I64 => r.i64_xor(r.i64_and(r.i64_xor(y, z), x), z);
const majorityLong = (r: RoutineBuilder, x: I64, y: I64, z: I64): I64 =>
  r.i64_xor(r.i64_xor(r.i64_and(x, y), r.i64_and(x, z)), r.i64_and(y, z));

const sha512 = (name: string, body: (r: RoutineBuilder, d: V128, n: V128, m: V128) => V128) =>
  routines.define(`sha512_${name}`, ['v128', 'v128', 'v128'], ['v128'], pure, (r, d, n, m) => r.ret(body(r, d, n, m)));
export const sha512Routines = {
  h: sha512('h', (r, d, n, m) => {
    const [w, x, y] = [d, n, m].map((one) => long(r, one));
    const high = sum(r, chooseLong(r, y[1], x[0], x[1]), rotatedLong(r, y[1], 14, 18, 41), w[1]);
    const next = r.i64_add(high, y[0]);
    const low = sum(r, chooseLong(r, next, y[1], x[0]), rotatedLong(r, next, 14, 18, 41), w[0]);
    return longVector(r, low, high);
  }),
  h2: sha512('h2', (r, d, n, m) => {
    const [w, x, y] = [d, n, m].map((one) => long(r, one));
    const high = sum(r, majorityLong(r, x[0], y[1], y[0]), rotatedLong(r, y[0], 28, 34, 39), w[1]);
    const low = sum(r, majorityLong(r, high, y[0], y[1]), rotatedLong(r, high, 28, 34, 39), w[0]);
    return longVector(r, low, high);
  }),
  su0: sha512('su0', (r, d, n) => {
    const w = long(r, d);
    const small = (x: I64) => r.i64_xor(rotatedLong(r, x, 1, 8), r.i64_shr_u(x, r.i64(7)));
    return longVector(r, r.i64_add(w[0], small(w[1])), r.i64_add(w[1], small(r.i64x2_extract_lane(n, 0))));
  }),
  su1: sha512('su1', (r, d, n, m) => {
    const [w, x, y] = [d, n, m].map((one) => long(r, one));
    const small = (value: I64) => r.i64_xor(rotatedLong(r, value, 19, 61), r.i64_shr_u(value, r.i64(6)));
    return longVector(r, sum(r, w[0], small(x[0]), y[0]), sum(r, w[1], small(x[1]), y[1]));
  }),
} as const;
