/**
 * Estimates of reciprocals and of reciprocal square roots, and the steps that improve them (J1.3: FPRecipEstimate, FPRSqrtEstimate,
 * FPRecpX, FPRecipStepFused, FPRSqrtStepFused, RecipEstimate, RecipSqrtEstimate).
 */
import type { I32, I64, RoutineBuilder } from '../../../ir/index.js';
import { addTo, addToProduct, and, BIAS, emitMultiply, rounding, TOP_BIT } from '../../float/core.js';
import {
  exponentOfBits,
  type Format,
  infinityBits,
  magnitudeOfBits,
  maxExponent,
  signBit,
  signOfBits,
  signToBits,
  unpackFinite,
} from '../../float/pack.js';
import {
  finish,
  flag,
  floatMode,
  invalid,
  isInfinite,
  isZero,
  operand,
  raiseAlways,
  returnNaN,
  signOfProduct,
  zeroOfDifference,
} from './float-common.js';
import { routines } from './set.js';

/** Of 256 to 511 with 9 bits: 256 to 511, which stand for the reciprocal of 0.5 to 1, doubled. */
function reciprocal(r: RoutineBuilder, value: I32): I32 {
  const doubled = addTo(r, r.i32_shl(value, r.i32(1)), 1);
  return r.i32_shr_u(addTo(r, r.i32_div_u(r.i32(1 << 19), doubled), 1), r.i32(1));
}

/** Of 128 to 511 with 9 bits, which stand for 0.25 to 1: 256 to 511. */
function reciprocalRoot(r: RoutineBuilder, value: I32): I32 {
  const small = addTo(r, r.i32_shl(value, r.i32(1)), 1);
  const large = r.i32_shl(addTo(r, and(r, value, ~1), 1), r.i32(1));
  const a = r.select(r.i32_lt_u(value, r.i32(256)), small, large);
  // The largest b with a * b * b below 2^28, from one that is off by one at most.
  const b = r.local('i32');
  r.assign(b, r.i32_trunc_sat_f64_u(r.f64_sqrt(r.f64_div(r.f64(2 ** 28), r.f64_convert_i32_u(a)))));
  const tooLarge = (n: I32): I32 => r.i32_ge_u(r.i32_mul(r.i32_mul(a, n), n), r.i32(1 << 28));
  r.if(tooLarge(r.read(b)), () => r.assign(b, addTo(r, r.read(b), -1)));
  return r.i32_shr_u(addTo(r, r.read(b), 1), r.i32(1));
}

/** URECPE and URSQRTE of 32 bits. */
export const unsignedReciprocal = routines.define('u32_recpe', ['i64'], ['i64'], { pure: true }, (r, x) => {
  const value = r.i32_wrap_i64(x);
  r.if(r.i32_ge_s(value, r.i32(0)), () => r.ret(r.i64(0xffffffff)));
  const estimate = reciprocal(r, r.i32_shr_u(value, r.i32(23)));
  r.ret(r.i64_extend_i32_u(r.i32_shl(estimate, r.i32(23))));
});
export const unsignedReciprocalRoot = routines.define('u32_rsqrte', ['i64'], ['i64'], { pure: true }, (r, x) => {
  const value = r.i32_wrap_i64(x);
  r.if(r.i32_lt_u(value, r.i32(1 << 30)), () => r.ret(r.i64(0xffffffff)));
  const estimate = reciprocalRoot(r, r.i32_shr_u(value, r.i32(23)));
  r.ret(r.i64_extend_i32_u(r.i32_shl(estimate, r.i32(23))));
});

const isFlushing = (r: RoutineBuilder, mode: I32): I32 => r.i32_ne(and(r, mode, floatMode.flushToZero), r.i32(0));
/** The eight bits below the top one of an estimate, as the first ones of a fraction. */
const fractionOfEstimate = (r: RoutineBuilder, f: Format, estimate: I32): I64 => {
  const bits = r.i64_extend_i32_u(and(r, estimate, 0xff));
  return r.i64_shl(bits, r.i64(f.fraction - 8));
};
const infinityOr = (r: RoutineBuilder, f: Format, condition: I32): I64 =>
  r.select(condition, r.i64(infinityBits(f)), r.i64(infinityBits(f) - 1n));

function defineReciprocal(f: Format) {
  return routines.define(`${f.name}_recpe`, ['i64', 'i32'], ['i64'], {}, (r, x0, mode) => {
    const x = operand(r, f, x0, mode);
    returnNaN(r, f, [x], mode);
    const sign = signOfBits(r, f, x);
    const signBits = signToBits(r, f, sign);
    r.if(isInfinite(r, f, x), () => r.ret(signBits));
    r.if(isZero(r, f, x), () => {
      raiseAlways(r, flag.DZC);
      r.ret(r.i64_or(signBits, r.i64(infinityBits(f))));
    });
    // Below 2^-(bias + 1) the reciprocal is too large: a quarter of the smallest normal number.
    const magnitude = magnitudeOfBits(r, f, x);
    r.if(r.i64_lt_u(magnitude, r.i64(1n << BigInt(f.fraction - 2))), () => {
      raiseAlways(r, flag.OFC | flag.IXC);
      const way = and(r, mode, 7);
      const away = r.select(sign, r.i32_eq(way, r.i32(rounding.down)), r.i32_eq(way, r.i32(rounding.up)));
      const toInfinity = r.i32_or(away, r.i32_eqz(way));
      r.ret(r.i64_or(signBits, infinityOr(r, f, toInfinity)));
    });
    // From 2^(bias - 1) on it is below the smallest normal number.
    const tiny = r.i64_ge_u(magnitude, r.i64(BigInt(2 * f.bias - 1) << BigInt(f.fraction)));
    r.if(r.i32_and(tiny, isFlushing(r, mode)), () => {
      raiseAlways(r, flag.UFC);
      r.ret(signBits);
    });
    const { exp, sig } = unpackFinite(r, f, x);
    const estimate = reciprocal(r, r.i32_wrap_i64(r.i64_shr_u(sig, r.i64(55))));
    const exponent = r.i32_sub(r.i32(2 * f.bias - 1 + BIAS - f.bias), exp);
    const fraction = r.local('i64', fractionOfEstimate(r, f, estimate));
    // Subnormal results: the leading one becomes part of the fraction.
    const shifted = (places: number): I64 =>
      r.i64_shr_u(r.i64_or(r.read(fraction), r.i64(1n << BigInt(f.fraction))), r.i64(places));
    r.if(r.i32_le_s(exponent, r.i32(0)), () =>
      r.ret(r.i64_or(signBits, r.select(r.i32_eqz(exponent), shifted(1), shifted(2)))),
    );
    const placed = r.i64_shl(r.i64_extend_i32_u(exponent), r.i64(f.fraction));
    r.ret(r.i64_or(signBits, r.i64_or(placed, r.read(fraction))));
  });
}

function defineReciprocalRoot(f: Format) {
  return routines.define(`${f.name}_rsqrte`, ['i64', 'i32'], ['i64'], {}, (r, x0, mode) => {
    const x = operand(r, f, x0, mode);
    returnNaN(r, f, [x], mode);
    const sign = signOfBits(r, f, x);
    r.if(isZero(r, f, x), () => {
      raiseAlways(r, flag.DZC);
      r.ret(r.i64_or(signToBits(r, f, sign), r.i64(infinityBits(f))));
    });
    r.if(sign, () => invalid(r, f));
    r.if(isInfinite(r, f, x), () => r.ret(r.i64(0)));
    const { exp, sig } = unpackFinite(r, f, x);
    const biased = r.i32_add(exp, r.i32(f.bias - BIAS));
    const isOdd = and(r, biased, 1);
    const bits = r.i32_wrap_i64(r.i64_shr_u(sig, r.i64(55)));
    const estimate = reciprocalRoot(r, r.select(isOdd, r.i32_shr_u(bits, r.i32(1)), bits));
    const exponent = r.i32_shr_s(r.i32_sub(r.i32(3 * f.bias - 1), biased), r.i32(1));
    const placed = r.i64_shl(r.i64_extend_i32_u(exponent), r.i64(f.fraction));
    r.ret(r.i64_or(placed, fractionOfEstimate(r, f, estimate)));
  });
}

/** FRECPX: the exponent inverted. */
function defineExponent(f: Format) {
  return routines.define(`${f.name}_recpx`, ['i64', 'i32'], ['i64'], {}, (r, x0, mode) => {
    const x = operand(r, f, x0, mode);
    returnNaN(r, f, [x], mode);
    const exponent = exponentOfBits(r, f, x);
    const signBits = r.i64_and(x, r.i64(signBit(f)));
    const inverted = r.i32_xor(exponent, r.i32(maxExponent(f)));
    const result = r.select(exponent, inverted, r.i32(maxExponent(f) - 1));
    r.ret(r.i64_or(signBits, r.i64_shl(r.i64_extend_i32_u(result), r.i64(f.fraction))));
  });
}

/** FRECPS: 2 - x * y; FRSQRTS: (3 - x * y) / 2; rounded once. */
function defineStep(f: Format, isRoot: boolean) {
  return routines.define(
    `${f.name}_${isRoot ? 'rsqrts' : 'recps'}`,
    ['i64', 'i64', 'i32'],
    ['i64'],
    {},
    (r, x0, y0, mode) => {
      const x = r.i64_xor(operand(r, f, x0, mode), r.i64(signBit(f)));
      const y = operand(r, f, y0, mode);
      returnNaN(r, f, [x, y], mode);
      const one = BigInt(f.bias) << BigInt(f.fraction);
      const constant = isRoot ? one | (1n << BigInt(f.fraction - 1)) : one + (1n << BigInt(f.fraction));
      const zeros = r.i32_or(isZero(r, f, x), isZero(r, f, y));
      r.if(r.i32_or(isInfinite(r, f, x), isInfinite(r, f, y)), () => {
        r.if(zeros, () => r.ret(r.i64(constant)));
        r.ret(r.i64_or(signOfProduct(r, f, x, y), r.i64(infinityBits(f))));
      });
      r.if(zeros, () => r.ret(r.i64(constant)));
      const a = unpackFinite(r, f, x);
      const b = unpackFinite(r, f, y);
      const p = emitMultiply(r, signOfBits(r, f, x), a.exp, a.sig, signOfBits(r, f, y), b.exp, b.sig);
      // 3 or 2 as a number.
      const addend = isRoot ? TOP_BIT | (TOP_BIT >> 1n) : TOP_BIT;
      const w = addToProduct(r, p, r.i32(0), r.i32(BIAS + 1), r.i64(addend));
      r.if(r.i64_eqz(r.i64_or(r.read(w.hi), r.read(w.lo))), () => r.ret(zeroOfDifference(r, f, mode)));
      if (isRoot) r.assign(w.exp, addTo(r, r.read(w.exp), -1));
      finish(r, f, w, mode);
    },
  );
}

export const defineEstimates = (f: Format) =>
  ({
    recpe: defineReciprocal(f),
    rsqrte: defineReciprocalRoot(f),
    recpx: defineExponent(f),
    recps: defineStep(f, false),
    rsqrts: defineStep(f, true),
  }) as const;
