/** Conversions of numbers: to and from integers, to whole numbers, between formats (J1.3: FPToFixed, FixedToFP, FPRoundInt, FPConvert). */
import type { I32, I64, RoutineBuilder } from '../../../ir/index.js';
import {
  alignRight,
  and,
  BIAS,
  bit64,
  nonZero,
  rounding,
  roundsUp,
  SIGN,
  type Wide,
  wideLocals,
} from '../../float/core.js';
import {
  definePack,
  double,
  exponentOfBits,
  type Format,
  fractionOfBits,
  half,
  infinityBits,
  magnitudeOfBits,
  signBit,
  signOfBits,
  signToBits,
  single,
  unpackFinite,
} from '../../float/pack.js';
import { defineQuickConversion } from '../../float/quick.js';
import {
  finish,
  flag,
  floatMode,
  holdsNaN,
  isInfinite,
  isSignaling,
  isZero,
  operand,
  pack,
  packFlags,
  quieted,
  raise,
  raiseAlways,
  returnFlushed,
  returnNaN,
} from './float-common.js';
import { routines } from './set.js';

/** To an integer of -`lowest` to `highest` (both unsigned), times 2^places: NaN is 0, what is too large the nearest bound, with IOC. */
export function defineToInteger(f: Format) {
  return routines.define(
    `${f.name}_to_integer`,
    ['i64', 'i32', 'i64', 'i64', 'i32'],
    ['i64'],
    {},
    (r, x0, mode, lowest, highest, places) => {
      const bits = operand(r, f, x0, mode);
      r.if(holdsNaN(r, f, bits), () => {
        raiseAlways(r, flag.IOC);
        r.ret(r.i64(0));
      });
      r.if(isZero(r, f, bits), () => r.ret(r.i64(0)));
      const sign = signOfBits(r, f, bits);
      const outside = () => {
        raiseAlways(r, flag.IOC);
        r.ret(r.select(sign, r.i64_sub(r.i64(0), lowest), highest));
      };
      const exponent = r.i32_add(exponentOfBits(r, f, bits), places);
      r.if(isInfinite(r, f, bits), outside);
      r.if(r.i32_ge_s(exponent, r.i32(f.bias + 64)), outside);
      const { exp, sig } = unpackFinite(r, f, bits);
      const hi = r.local('i64');
      const lo = r.local('i64');
      alignRight(r, sig, r.i32_sub(r.i32(BIAS + 63), r.i32_add(exp, places)), hi, lo);
      const up = roundsUp(r, and(r, mode, 7), sign, r.read(hi), r.read(lo), true);
      const value = r.i64_add(r.read(hi), bit64(r, up));
      const wrapped = r.i32_and(up, r.i64_eqz(value));
      r.if(r.i32_or(wrapped, r.i64_gt_u(value, r.select(sign, lowest, highest))), outside);
      raise(r, r.i32_mul(nonZero(r, r.read(lo)), r.i32(flag.IXC)));
      r.ret(r.select(sign, r.i64_sub(r.i64(0), value), value));
    },
  );
}

/** From an integer divided by 2^places; `signed`: not 0 if it is. */
export function defineFromInteger(f: Format) {
  return routines.define(
    `${f.name}_from_integer`,
    ['i64', 'i32', 'i32', 'i32'],
    ['i64'],
    {},
    (r, value, signed, places, mode) => {
      r.if(r.i64_eqz(value), () => r.ret(r.i64(0)));
      const negative = r.i32_and(r.i64_lt_s(value, r.i64(0)), signed);
      const magnitude = r.select(negative, r.i64_sub(r.i64(0), value), value);
      const count = r.i64_clz(magnitude);
      const w = wideLocals(r);
      r.assign(w.sign, r.i32_mul(negative, r.i32(SIGN)));
      r.assign(w.exp, r.i32_sub(r.i32_sub(r.i32(BIAS + 63), r.i32_wrap_i64(count)), places));
      r.assign(w.hi, r.i64_shl(magnitude, count));
      r.assign(w.lo, r.i64(0));
      finish(r, f, w, mode);
    },
  );
}

/** A whole number with a sign, from one without fraction: returned. */
function returnWhole(r: RoutineBuilder, f: Format, sign: I32, value: I64): void {
  const signBits = signToBits(r, f, sign);
  r.if(r.i64_eqz(value), () => r.ret(signBits));
  const count = r.i64_clz(value);
  const significand = r.i64_shr_u(r.i64_shl(value, count), r.i64(63 - f.fraction));
  const exponent = r.i64_sub(r.i64(f.bias + 63), count);
  const magnitude = r.i64_or(r.i64_shl(exponent, r.i64(f.fraction)), fractionOfBits(r, f, significand));
  r.ret(r.i64_or(signBits, magnitude));
}

/** To a whole number in the same format; `exact`: a change raises IXC. */
export function defineRound(f: Format) {
  return routines.define(`${f.name}_round`, ['i64', 'i32', 'i32'], ['i64'], {}, (r, x0, exact, mode) => {
    const bits = operand(r, f, x0, mode);
    returnNaN(r, f, [bits], mode);
    const isWhole = r.i32_ge_u(exponentOfBits(r, f, bits), r.i32(f.bias + f.fraction));
    r.if(r.i32_or(isZero(r, f, bits), isWhole), () => r.ret(bits));
    const sign = signOfBits(r, f, bits);
    const { exp, sig } = unpackFinite(r, f, bits);
    const hi = r.local('i64');
    const lo = r.local('i64');
    alignRight(r, sig, r.i32_sub(r.i32(BIAS + 63), exp), hi, lo);
    const up = roundsUp(r, and(r, mode, 7), sign, r.read(hi), r.read(lo), true);
    r.if(r.i32_and(r.i32_ne(exact, r.i32(0)), nonZero(r, r.read(lo))), () => raiseAlways(r, flag.IXC));
    returnWhole(r, f, sign, r.i64_add(r.read(hi), bit64(r, up)));
  });
}

/** FRINT32X and so on: to a whole number that an integer of so many bits holds; the lowest one, with IOC, where there is none. */
function defineRoundTo(f: Format, width: 32 | 64) {
  return routines.define(`${f.name}_round_to_${width}`, ['i64', 'i32'], ['i64'], {}, (r, x0, mode) => {
    const bits = operand(r, f, x0, mode);
    const sign = signOfBits(r, f, bits);
    const lowest = BigInt(f.bias + width - 1) << BigInt(f.fraction);
    const invalidly = () => {
      raiseAlways(r, flag.IOC);
      r.ret(r.i64(signBit(f) | lowest));
    };
    r.if(r.i32_or(holdsNaN(r, f, bits), isInfinite(r, f, bits)), invalidly);
    r.if(isZero(r, f, bits), () => r.ret(bits));
    const { exp, sig } = unpackFinite(r, f, bits);
    r.if(r.i32_ge_s(exp, r.i32(BIAS + width)), invalidly);
    const hi = r.local('i64');
    const lo = r.local('i64');
    alignRight(r, sig, r.i32_sub(r.i32(BIAS + 63), exp), hi, lo);
    const up = roundsUp(r, and(r, mode, 7), sign, r.read(hi), r.read(lo), true);
    const value = r.i64_add(r.read(hi), bit64(r, up));
    const most = 1n << BigInt(width - 1);
    r.if(r.i64_gt_u(value, r.select(sign, r.i64(most), r.i64(most - 1n))), invalidly);
    r.if(nonZero(r, r.read(lo)), () => raiseAlways(r, flag.IXC));
    returnWhole(r, f, sign, value);
  });
}

/** FJCVTZS: a double to 32 bits as ECMAScript does it, that is modulo 2^32; the second result is 1 if nothing was lost. */
export const toScriptInteger = routines.define(
  'f64_to_script_integer',
  ['i64', 'i32'],
  ['i64', 'i32'],
  {},
  (r, x0, mode) => {
    const f = double;
    const bits = operand(r, f, x0, mode);
    r.if(r.i32_or(holdsNaN(r, f, bits), isInfinite(r, f, bits)), () => {
      raiseAlways(r, flag.IOC);
      r.ret(r.i64(0), r.i32(0));
    });
    const sign = signOfBits(r, f, bits);
    // -0 and what is flushed to 0 are not exact.
    r.if(isZero(r, f, bits), () => r.ret(r.i64(0), r.i64_eqz(x0)));
    const { exp, sig } = unpackFinite(r, f, bits);
    const hi = r.local('i64');
    const lo = r.local('i64', r.i64(0));
    const above = r.i32_sub(exp, r.i32(BIAS + 63));
    r.if(
      r.i32_gt_s(above, r.i32(0)),
      // From 2^64 on; the significand's bits lie higher than any that count from 2^84 on.
      () => r.assign(hi, r.select(r.i32_lt_s(above, r.i32(64)), r.i64_shl(sig, r.i64_extend_i32_u(above)), r.i64(0))),
      () => alignRight(r, sig, r.i32_sub(r.i32(0), above), hi, lo),
    );
    const value = r.i64_low32(r.select(sign, r.i64_sub(r.i64(0), r.read(hi)), r.read(hi)));
    const most = r.select(sign, r.i64(0x80000000), r.i64(0x7fffffff));
    const outside = r.i32_or(r.i32_gt_s(above, r.i32(0)), r.i64_gt_u(r.read(hi), most));
    r.if(outside, () => {
      raiseAlways(r, flag.IOC);
      r.ret(value, r.i32(0));
    });
    r.if(nonZero(r, r.read(lo)), () => {
      raiseAlways(r, flag.IXC);
      r.ret(value, r.i32(0));
    });
    r.ret(value, r.i32(1));
  },
);

/** A number's sign, and its bits in another format as payload of a NaN. */
export function convertNaN(r: RoutineBuilder, from: Format, to: Format, bits: I64, signBits: I64, mode: I32): void {
  r.if(isSignaling(r, from, bits), () => raiseAlways(r, flag.IOC));
  const fraction = fractionOfBits(r, from, bits);
  const places = to.fraction - from.fraction;
  const moved = places > 0 ? r.i64_shl(fraction, r.i64(places)) : r.i64_shr_u(fraction, r.i64(-places));
  const payload = r.i64_or(r.i64_or(signBits, r.i64(infinityBits(to))), moved);
  r.ret(quieted(r, to, payload, mode));
}
export function wideOf(r: RoutineBuilder, f: Format, bits: I64, sign: I32): Wide {
  const { exp, sig } = unpackFinite(r, f, bits);
  const w = wideLocals(r);
  r.assign(w.sign, sign);
  r.assign(w.exp, exp);
  r.assign(w.hi, sig);
  r.assign(w.lo, r.i64(0));
  return w;
}

/** FZ16 does not concern conversions, nor FZ numbers of half precision. */
function defineConvert(from: Format, to: Format) {
  return routines.define(`${from.name}_to_${to.name}`, ['i64', 'i32'], ['i64'], {}, (r, x0, mode) => {
    const bits = from === half ? x0 : operand(r, from, x0, mode);
    const sign = signOfBits(r, from, bits);
    const signBits = signToBits(r, to, sign);
    r.if(holdsNaN(r, from, bits), () => convertNaN(r, from, to, bits, signBits, mode));
    r.if(isInfinite(r, from, bits), () => r.ret(r.i64_or(signBits, r.i64(infinityBits(to)))));
    r.if(isZero(r, from, bits), () => r.ret(signBits));
    finish(r, to, wideOf(r, from, bits, sign), to === half ? and(r, mode, 7) : mode);
  });
}

/**
 * Arm's alternative half precision (FPCR.AHP) has neither infinities nor NaNs: its largest exponent is one of numbers. Here it has
 * one bit of exponent more, so that nothing is special, and its sign lies one place higher.
 */
const alternative: Format = { ...half, exponent: half.exponent + 1 };
const LARGEST_ALTERNATIVE = 0x7fffn;
const packAlternative = definePack(routines, alternative, false, 'before', 'f16_pack_alternative');

function defineFromAlternative(to: Format) {
  return routines.define(`f16_alternative_to_${to.name}`, ['i64', 'i32'], ['i64'], {}, (r, x0, mode) => {
    const sign = signOfBits(r, half, x0);
    const bits = magnitudeOfBits(r, half, x0);
    r.if(r.i64_eqz(bits), () => r.ret(signToBits(r, to, sign)));
    finish(r, to, wideOf(r, alternative, bits, sign), mode);
  });
}
function defineToAlternative(from: Format) {
  return routines.define(`${from.name}_to_f16_alternative`, ['i64', 'i32'], ['i64'], {}, (r, x0, mode) => {
    const bits = operand(r, from, x0, mode);
    const sign = signOfBits(r, from, bits);
    const signBits = signToBits(r, half, sign);
    const invalidly = (value: I64) => {
      raiseAlways(r, flag.IOC);
      r.ret(value);
    };
    const largest = r.i64_or(signBits, r.i64(LARGEST_ALTERNATIVE));
    r.if(holdsNaN(r, from, bits), () => invalidly(signBits));
    r.if(isInfinite(r, from, bits), () => invalidly(largest));
    r.if(isZero(r, from, bits), () => r.ret(signBits));
    const w = wideOf(r, from, bits, sign);
    const [packed, flags] = r.call(
      packAlternative,
      r.read(w.sign),
      r.read(w.exp),
      r.read(w.hi),
      r.read(w.lo),
      and(r, mode, 3),
    );
    const magnitude = magnitudeOfBits(r, alternative, packed);
    r.if(r.i64_gt_u(magnitude, r.i64(LARGEST_ALTERNATIVE)), () => invalidly(largest));
    raise(r, packFlags(r, flags));
    r.ret(r.i64_or(signBits, magnitude));
  });
}

/**
 * A half-precision number as a single that is the same number or the same NaN, signaling or not: what FMLAL multiplies. FZ16 makes 0 of a
 * subnormal one.
 */
export const widenHalf = routines.define('widen_half', ['i64', 'i32'], ['i64'], { pure: true }, (r, bits, mode) => {
  const signBits = signToBits(r, single, signOfBits(r, half, bits));
  const fraction = fractionOfBits(r, half, bits);
  const exponent = exponentOfBits(r, half, bits);
  r.if(r.i32_eqz(exponent), () => {
    const flushed = r.i32_ne(and(r, mode, floatMode.flushToZero), r.i32(0));
    // Its unit is 2^-24: a single that holds so many is exact.
    const count = r.f32_convert_i32_u(r.i32_wrap_i64(fraction));
    const small = r.i64_extend_i32_u(r.i32_reinterpret_f32(r.f32_mul(count, r.f32(2 ** -24))));
    r.ret(r.i64_or(signBits, r.select(flushed, r.i64(0), small)));
  });
  const isSpecial = r.i32_eq(exponent, r.i32(31));
  const wide = r.select(isSpecial, r.i32(255), r.i32_add(exponent, r.i32(single.bias - half.bias)));
  const magnitude = r.i64_or(
    r.i64_shl(r.i64_extend_i32_u(wide), r.i64(single.fraction)),
    r.i64_shl(fraction, r.i64(single.fraction - half.fraction)),
  );
  r.ret(r.i64_or(signBits, magnitude));
});

/** A double as a single, rounded to odd (FCVTXN): the last bit of what is not exact is one. */
export const f64ToF32Odd = routines.define('f64_to_f32_odd', ['i64', 'i32'], ['i64'], {}, (r, x0, mode) => {
  const bits = operand(r, double, x0, mode);
  const sign = signOfBits(r, double, bits);
  const signBits = signToBits(r, single, sign);
  r.if(holdsNaN(r, double, bits), () => convertNaN(r, double, single, bits, signBits, mode));
  r.if(isInfinite(r, double, bits), () => r.ret(r.i64_or(signBits, r.i64(infinityBits(single)))));
  r.if(isZero(r, double, bits), () => r.ret(signBits));
  const w = wideOf(r, double, bits, sign);
  returnFlushed(r, single, w, mode);
  const [packed, flags] = r.call(
    pack.f32,
    r.read(w.sign),
    r.read(w.exp),
    r.read(w.hi),
    r.read(w.lo),
    r.i32(rounding.zero),
  );
  const accrued = packFlags(r, flags);
  raise(r, accrued);
  r.ret(r.i64_or(packed, bit64(r, r.i32_ne(and(r, accrued, flag.IXC), r.i32(0)))));
});

export const roundTo = {
  s: { 32: defineRoundTo(single, 32), 64: defineRoundTo(single, 64) },
  d: { 32: defineRoundTo(double, 32), 64: defineRoundTo(double, 64) },
} as const;

export const convert = {
  f16: { f32: defineConvert(half, single), f64: defineConvert(half, double) },
  f32: { f16: defineConvert(single, half), f64: defineConvert(single, double) },
  f64: { f16: defineConvert(double, half), f32: defineConvert(double, single) },
} as const;
/** Those that a quick way may settle. */
export const quickConvert = {
  promote: defineQuickConversion(routines, double, convert.f32.f64),
  demote: defineQuickConversion(routines, single, convert.f64.f32),
} as const;
export const fromAlternative = { f32: defineFromAlternative(single), f64: defineFromAlternative(double) } as const;
export const toAlternative = { f32: defineToAlternative(single), f64: defineToAlternative(double) } as const;
