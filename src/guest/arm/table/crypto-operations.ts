/** The steps of AES, SHA-1 and SHA-256 that instructions make, on the destination and its operands: shared by AArch64's and AArch32's rows. */
import type { V128 } from '../../../ir/index.js';
import {
  aesRoutines,
  sha1Rounds,
  sha1Schedule,
  sha256Rounds,
  sha256Schedule0,
  sha256Schedule1,
} from '../routines/crypto.js';
import { lanesOf, type VectorTranslator, zero } from './vector.js';

/** `d`: what the destination has. */
export type TwoStep = (t: VectorTranslator, d: V128, n: V128) => V128;
export type ThreeStep = (t: VectorTranslator, d: V128, n: V128, m: V128) => V128;

export const aesSteps = {
  aese: ({ b }, d, n) => b.call(aesRoutines.encrypt, b.v128_xor(d, n))[0],
  aesd: ({ b }, d, n) => b.call(aesRoutines.decrypt, b.v128_xor(d, n))[0],
  aesmc: ({ b }, _, n) => b.call(aesRoutines.mix, n)[0],
  aesimc: ({ b }, _, n) => b.call(aesRoutines.unmix, n)[0],
} as const satisfies Readonly<Record<string, TwoStep>>;

const rounds =
  (routine: (typeof sha1Rounds)[keyof typeof sha1Rounds]): ThreeStep =>
  ({ b }, d, n, m) =>
    b.call(routine, d, b.i32x4_extract_lane(n, 0), m)[0];
export const hashSteps = {
  sha1c: rounds(sha1Rounds.choose),
  sha1p: rounds(sha1Rounds.parity),
  sha1m: rounds(sha1Rounds.majority),
  sha1su0: (t, d, n, m) => t.b.v128_xor(t.b.v128_xor(lanesOf(t, d, n, 3, [1, 2]), d), m),
  sha256h: ({ b }, d, n, m) => b.call(sha256Rounds, d, n, m)[0],
  sha256h2: ({ b }, d, n, m) => b.call(sha256Rounds, n, d, m)[1],
  sha256su1: ({ b }, d, n, m) => b.call(sha256Schedule1, d, n, m)[0],
} as const satisfies Readonly<Record<string, ThreeStep>>;
export const scheduleSteps = {
  sha1h: (t, _, n) => {
    const { b } = t;
    return b.i32x4_replace_lane(zero(t), b.i32_rotl(b.i32x4_extract_lane(n, 0), b.i32(30)), 0);
  },
  sha1su1: (t, d, n) => {
    const later = lanesOf(t, n, zero(t), 2, [1, 2, 3, 4]);
    return t.b.call(sha1Schedule, t.b.v128_xor(d, later))[0];
  },
  sha256su0: ({ b }, d, n) => b.call(sha256Schedule0, d, n)[0],
} as const satisfies Readonly<Record<string, TwoStep>>;
