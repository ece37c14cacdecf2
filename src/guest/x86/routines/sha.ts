/**
 * The SHA extensions' steps, FIPS 180-4 sections 6.1 and 6.2 as Intel SDM vol. 2 arranges them in vectors. SHA-1's words
 * stand highest lane first, SHA-256's message words lowest lane first.
 */
import type { I32, RoutineBuilder, V128 } from '../../../ir/index.js';
import { routines } from './set.js';

/** The four lanes, lowest first. */
function lanes(r: RoutineBuilder, x: V128): [I32, I32, I32, I32] {
  const lane = (n: number) => r.i32x4_extract_lane(x, n);
  return [lane(0), lane(1), lane(2), lane(3)];
}

function vector(r: RoutineBuilder, [a, b, c, d]: readonly [I32, I32, I32, I32]): V128 {
  const ab = r.i32x4_replace_lane(r.i32x4_splat(a), b, 1);
  return r.i32x4_replace_lane(r.i32x4_replace_lane(ab, c, 2), d, 3);
}

function sum(r: RoutineBuilder, first: I32, ...rest: I32[]): I32 {
  return rest.reduce((total, term) => r.i32_add(total, term), first);
}

function rotateLeft(r: RoutineBuilder, x: I32, count: number): I32 {
  return r.i32_rotl(x, r.i32(count));
}

/** Where y differs from z, x chooses. */
function choose(r: RoutineBuilder, x: I32, y: I32, z: I32): I32 {
  return r.i32_xor(z, r.i32_and(x, r.i32_xor(y, z)));
}

function majority(r: RoutineBuilder, x: I32, y: I32, z: I32): I32 {
  return r.i32_or(r.i32_and(x, y), r.i32_and(z, r.i32_or(x, y)));
}

function parity(r: RoutineBuilder, x: I32, y: I32, z: I32): I32 {
  return r.i32_xor(r.i32_xor(x, y), z);
}

// --- SHA-1

const sha1Functions = [choose, parity, majority, parity];
const sha1Constants = [0x5a827999, 0x6ed9eba1, 0x8f1bbcdc | 0, 0xca62c1d6 | 0];

/** SHA1RNDS4 with its immediate: four rounds; the message's first word has E added already. */
export const sha1Rounds = sha1Constants.map((constant, phase) =>
  routines.define(`sha1_rounds_${phase}`, ['v128', 'v128'], ['v128'], { pure: true }, (r, x, message) => {
    let [d, c, b, a] = lanes(r, x);
    const k = r.i32(constant);
    let e: I32 | undefined;
    for (const word of lanes(r, message).reverse()) {
      const mixed = sum(r, sha1Functions[phase](r, b, c, d), rotateLeft(r, a, 5), word, k);
      const next = e === undefined ? mixed : r.i32_add(mixed, e);
      [e, d, c, b, a] = [d, c, rotateLeft(r, b, 30), a, next];
    }
    r.ret(vector(r, [d, c, b, a]));
  }),
);

/** SHA1NEXTE. */
export const sha1NextE = routines.define('sha1_next_e', ['v128', 'v128'], ['v128'], { pure: true }, (r, x, message) => {
  const e = rotateLeft(r, r.i32x4_extract_lane(x, 3), 30);
  r.ret(r.i32x4_replace_lane(message, r.i32_add(r.i32x4_extract_lane(message, 3), e), 3));
});

/** SHA1MSG1: w(t) ^ w(t+2). */
export const sha1Message1 = routines.define('sha1_message_1', ['v128', 'v128'], ['v128'], { pure: true }, (r, x, y) => {
  // y's upper half below, x's lower half above
  const later = r.i8x16_shuffle(y, x, 0x0b0a0908, 0x0f0e0d0c, 0x13121110, 0x17161514);
  r.ret(r.v128_xor(x, later));
});

/** SHA1MSG2: the last xor and the rotation; the fourth word depends on the first. */
export const sha1Message2 = routines.define('sha1_message_2', ['v128', 'v128'], ['v128'], { pure: true }, (r, x, y) => {
  const [x3, x2, x1, x0] = lanes(r, x);
  const [w15, w14, w13] = lanes(r, y);
  const w16 = rotateLeft(r, r.i32_xor(x0, w13), 1);
  const w17 = rotateLeft(r, r.i32_xor(x1, w14), 1);
  const w18 = rotateLeft(r, r.i32_xor(x2, w15), 1);
  const w19 = rotateLeft(r, r.i32_xor(x3, w16), 1);
  r.ret(vector(r, [w19, w18, w17, w16]));
});

// --- SHA-256

function rotatedXor(r: RoutineBuilder, x: I32, counts: readonly number[]): I32 {
  return counts.map((count) => r.i32_rotr(x, r.i32(count))).reduce((left, right) => r.i32_xor(left, right));
}

/** The small sigmas: two rotations and a shift. */
function sigma(r: RoutineBuilder, x: I32, first: number, second: number, shift: number): I32 {
  return r.i32_xor(rotatedXor(r, x, [first, second]), r.i32_shr_u(x, r.i32(shift)));
}

/** SHA256RNDS2: two rounds. x holds C D G H, y A B E F (highest lane first), the third the two words with constants added. */
export const sha256Rounds = routines.define(
  'sha256_rounds',
  ['v128', 'v128', 'v128'],
  ['v128'],
  { pure: true },
  (r, x, y, message) => {
    let [h, g, d, c] = lanes(r, x);
    let [f, e, b, a] = lanes(r, y);
    for (const word of lanes(r, message).slice(0, 2)) {
      const first = sum(r, choose(r, e, f, g), rotatedXor(r, e, [6, 11, 25]), word, h);
      const second = r.i32_add(majority(r, a, b, c), rotatedXor(r, a, [2, 13, 22]));
      [h, g, f, e, d, c, b, a] = [g, f, e, r.i32_add(first, d), c, b, a, r.i32_add(first, second)];
    }
    r.ret(vector(r, [f, e, b, a]));
  },
);

/** SHA256MSG1: w(t) + sigma0(w(t+1)). */
export const sha256Message1 = routines.define(
  'sha256_message_1',
  ['v128', 'v128'],
  ['v128'],
  { pure: true },
  (r, x, y) => {
    // lanes move down by one, y's lowest comes in at the top
    const next = r.i8x16_shuffle(x, y, 0x07060504, 0x0b0a0908, 0x0f0e0d0c, 0x13121110);
    const rotate = (count: number) =>
      r.v128_or(r.i32x4_shr_u(next, r.i32(count)), r.i32x4_shl(next, r.i32(32 - count)));
    const sigma0 = r.v128_xor(r.v128_xor(rotate(7), rotate(18)), r.i32x4_shr_u(next, r.i32(3)));
    r.ret(r.i32x4_add(x, sigma0));
  },
);

/** SHA256MSG2: adds sigma1(w(t-2)); the upper two words depend on the lower two. */
export const sha256Message2 = routines.define(
  'sha256_message_2',
  ['v128', 'v128'],
  ['v128'],
  { pure: true },
  (r, x, y) => {
    const [x0, x1, x2, x3] = lanes(r, x);
    const [, , w14, w15] = lanes(r, y);
    const sigma1 = (word: I32) => sigma(r, word, 17, 19, 10);
    const w16 = r.i32_add(x0, sigma1(w14));
    const w17 = r.i32_add(x1, sigma1(w15));
    const w18 = r.i32_add(x2, sigma1(w16));
    const w19 = r.i32_add(x3, sigma1(w17));
    r.ret(vector(r, [w16, w17, w18, w19]));
  },
);
