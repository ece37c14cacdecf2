/**
 * RCPPS and RSQRTPS: reciprocal and reciprocal square root. Intel SDM vol. 2: relative error at most 1.5 * 2^-12, the bits
 * below are the processor's own affair (Intel's and AMD's differ). Here the correctly computed single-precision value is
 * given, which lies within that bound. Exceptions are never raised, MXCSR is not looked at: denormal operands count as
 * zeros, results that would be denormal become zeros, a signalling NaN becomes quiet.
 */
import type { RoutineBuilder, V128 } from '../../../ir/index.js';
import { routines } from './set.js';

const SIGN = -0x80000000;
const INFINITY = 0x7f800000;
const SMALLEST_NORMAL = 0x00800000;
const QUIET = 0x00400000;

function words(r: RoutineBuilder, word: number): V128 {
  return r.v128(word, word, word, word);
}

/** Magnitudes below a bound to zeros of the same sign. */
function flush(r: RoutineBuilder, x: V128, bound: number): V128 {
  const magnitude = r.v128_and(x, words(r, ~SIGN));
  const tiny = r.i32x4_lt_s(magnitude, words(r, bound));
  return r.v128_andnot(x, r.v128_and(tiny, words(r, ~SIGN)));
}

/** The value, but where the operand is a NaN that NaN made quiet. */
function keepNan(r: RoutineBuilder, operand: V128, value: V128): V128 {
  const magnitude = r.v128_and(operand, words(r, ~SIGN));
  const nan = r.i32x4_gt_s(magnitude, words(r, INFINITY));
  return r.v128_bitselect(r.v128_or(operand, words(r, QUIET)), value, nan);
}

const one = 0x3f800000;

export const rcp = routines.define('sse_rcp', ['v128'], ['v128'], { pure: true }, (r, x) => {
  const value = r.f32x4_div(words(r, one), flush(r, x, SMALLEST_NORMAL));
  // processors approximate the inverse of 2^126 from below, so that it is flushed too
  r.ret(keepNan(r, x, flush(r, value, SMALLEST_NORMAL + 1)));
});

export const rsqrt = routines.define('sse_rsqrt', ['v128'], ['v128'], { pure: true }, (r, x) => {
  const operand = flush(r, x, SMALLEST_NORMAL);
  const value = r.f32x4_div(words(r, one), r.f32x4_sqrt(operand));
  // below zero: the default NaN
  const negative = r.f32x4_lt(operand, words(r, 0));
  r.ret(keepNan(r, x, r.v128_bitselect(words(r, SIGN | INFINITY | QUIET), value, negative)));
});
