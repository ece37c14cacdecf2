/**
 * Exact SSE arithmetic on single numbers, given and returned as bits in an i64: the result for the MXCSR in the state, and the
 * exception flags it raises. With an unmasked exception the result means nothing, and an unmasked IE, DE or ZE keeps later
 * flags from being set. Intel SDM vol. 1 ch. 4.9, 10.2.3, 11.5; NaN results by table 4-7.
 */
import type { I32, I64, RoutineBuilder } from '../../../ir/index.js';
import {
  alignRight,
  and,
  BIAS,
  bit64,
  emitAdd,
  emitDivide,
  emitMultiply,
  emitSquareRoot,
  flag,
  nonZero,
  rounding,
  roundsUp,
  SIGN,
  type Wide,
} from '../../float/core.js';
import {
  double,
  exponentOfBits,
  type Format,
  fractionOfBits,
  infinityBits,
  magnitudeOfBits,
  packMode,
  quietBit,
  signBit,
  signOfBits,
  signToBits,
  single,
  unpackFinite,
} from '../../float/pack.js';
import { field } from '../state.js';
import { packF32, packF64 } from './float-pack.js';
import { routines } from './set.js';

export const mxcsr = { DAZ: 0x40, masks: 0x1f80, RC: 0x6000, FTZ: 0x8000 } as const;

export const loadMxcsr = (r: RoutineBuilder): I32 => r.i32_load(r.state(), field.mxcsr);

const roundingMode = (r: RoutineBuilder, control: I32): I32 => and(r, r.i32_shr_u(control, r.i32(13)), 3);
/** Exception flags that are not masked: to be combined with flags. */
const unmaskedFlags = (r: RoutineBuilder, control: I32): I32 =>
  and(r, r.i32_xor(r.i32_shr_u(control, r.i32(7)), r.i32(-1)), 0x3f);

const isNaNBits = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  r.i64_gt_u(magnitudeOfBits(r, f, bits), r.i64(infinityBits(f)));
const isInfiniteBits = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  r.i64_eq(magnitudeOfBits(r, f, bits), r.i64(infinityBits(f)));
const isZeroBits = (r: RoutineBuilder, f: Format, bits: I64): I32 => r.i64_eqz(magnitudeOfBits(r, f, bits));
const isDenormalBits = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  r.i32_and(r.i32_eqz(exponentOfBits(r, f, bits)), nonZero(r, fractionOfBits(r, f, bits)));
const isSignaling = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  r.i32_and(isNaNBits(r, f, bits), r.i64_eqz(r.i64_and(bits, r.i64(quietBit(f)))));
const indefinite = (r: RoutineBuilder, f: Format): I64 => r.i64(signBit(f) | infinityBits(f) | quietBit(f));

/** The operand as DAZ leaves it. */
function afterDaz(r: RoutineBuilder, f: Format, control: I32, bits: I64): I64 {
  const flush = r.i32_and(isDenormalBits(r, f, bits), and(r, r.i32_shr_u(control, r.i32(6)), 1));
  return r.select(flush, r.i64_and(bits, r.i64(signBit(f))), bits);
}

/** Modes for float-pack's routines. */
function modes(r: RoutineBuilder, control: I32): I32 {
  const underflowMasked = and(r, r.i32_shr_u(control, r.i32(11)), 1);
  const flush = r.i32_and(r.i32_shr_u(and(r, control, mxcsr.FTZ), r.i32(15)), underflowMasked);
  const underflow = r.i32_shl(r.i32_xor(underflowMasked, r.i32(1)), r.i32(2));
  const overflow = r.i32_xor(
    and(r, r.i32_shr_u(control, r.i32(6)), packMode.overflowUnmasked),
    r.i32(packMode.overflowUnmasked),
  );
  const directions = r.i32_or(roundingMode(r, control), r.i32_shl(flush, r.i32(3)));
  return r.i32_or(directions, r.i32_or(underflow, overflow));
}
const packOf = (f: Format) => (f === double ? packF64 : packF32);

/** Rounds a wide result and returns. */
function finish(r: RoutineBuilder, f: Format, control: I32, w: Wide, flags: I32): void {
  const [bits, more] = r.call(packOf(f), r.read(w.sign), r.read(w.exp), r.read(w.hi), r.read(w.lo), modes(r, control));
  r.ret(bits, r.i32_or(flags, and(r, more, 0x3f)));
}

/** NaNs of two operands: returns the first one, quieted. */
function returnNaN(r: RoutineBuilder, f: Format, a: I64, b: I64): void {
  const nanA = isNaNBits(r, f, a);
  r.if(r.i32_or(nanA, isNaNBits(r, f, b)), () => {
    const invalid = r.i32_or(isSignaling(r, f, a), isSignaling(r, f, b));
    r.ret(r.i64_or(r.select(nanA, a, b), r.i64(quietBit(f))), invalid);
  });
}

/** DE of the operands; unmasked, it returns at once. */
function denormalFlag(r: RoutineBuilder, f: Format, control: I32, a: I64, b: I64): I32 {
  const flags = r.i32_shl(r.i32_or(isDenormalBits(r, f, a), isDenormalBits(r, f, b)), r.i32(1));
  r.if(r.i32_and(flags, unmaskedFlags(r, control)), () => r.ret(a, flags));
  return flags;
}

type Core = (r: RoutineBuilder, signA: I32, expA: I32, sigA: I64, signB: I32, expB: I32, sigB: I64) => Wide;
type Special = (r: RoutineBuilder, f: Format, a: I64, b: I64, control: I32) => void;

/**
 * `special` returns for the operands whose result is not computed: infinities and zeros, after NaNs, with flags but for DE.
 * It may not return where DE is to be raised first and stops.
 */
function defineBinary(name: string, f: Format, flipB: boolean, special: Special, core: Core) {
  return routines.define(`${f.name}_${name}_exact`, ['i64', 'i64'], ['i64', 'i32'], {}, (r, givenA, givenB) => {
    const control = loadMxcsr(r);
    const a = afterDaz(r, f, control, givenA);
    const givenOrZero = afterDaz(r, f, control, givenB);
    returnNaN(r, f, a, givenOrZero);
    const b = flipB ? r.i64_xor(givenOrZero, r.i64(signBit(f))) : givenOrZero;
    special(r, f, a, b, control);
    const flags = denormalFlag(r, f, control, a, b);
    const signA = signOfBits(r, f, a);
    const signB = signOfBits(r, f, b);
    const zeroA = isZeroBits(r, f, a);
    if (core === emitAdd) {
      // One zero: the other number, rounded as a result is (FTZ).
      const zeroB = isZeroBits(r, f, b);
      r.if(r.i32_or(zeroA, zeroB), () => {
        const other = r.select(zeroA, b, a);
        const { exp, sig } = unpackFinite(r, f, other);
        const [bits, more] = r.call(packOf(f), signOfBits(r, f, other), exp, sig, r.i64(0), modes(r, control));
        r.ret(bits, r.i32_or(flags, and(r, more, 0x3f)));
      });
    }
    const first = unpackFinite(r, f, a);
    const second = unpackFinite(r, f, b);
    const w = core(r, signA, first.exp, first.sig, signB, second.exp, second.sig);
    if (core === emitAdd) {
      r.if(r.i64_eqz(r.i64_or(r.read(w.hi), r.read(w.lo))), () => r.ret(zeroOfDifference(r, f, control), flags));
    }
    finish(r, f, control, w, flags);
  });
}

/** Negative only when rounding down. */
function zeroOfDifference(r: RoutineBuilder, f: Format, control: I32): I64 {
  const down = r.i32_eq(roundingMode(r, control), r.i32(rounding.down));
  return r.select(down, r.i64(signBit(f)), r.i64(0));
}

/** A result that is exact, after DE. */
function returnAfterDenormal(r: RoutineBuilder, f: Format, control: I32, a: I64, b: I64, bits: I64): void {
  const flags = denormalFlag(r, f, control, a, b);
  r.ret(bits, flags);
}

const addSpecial: Special = (r, f, a, b, control) => {
  const infiniteA = isInfiniteBits(r, f, a);
  const infiniteB = isInfiniteBits(r, f, b);
  r.if(r.i32_or(infiniteA, infiniteB), () => {
    r.if(r.i32_and(r.i32_and(infiniteA, infiniteB), r.i64_ne(a, b)), () => r.ret(indefinite(r, f), r.i32(flag.IE)));
    returnAfterDenormal(r, f, control, a, b, r.select(infiniteA, a, b));
  });
  r.if(r.i32_and(isZeroBits(r, f, a), isZeroBits(r, f, b)), () => {
    r.ret(r.select(r.i64_eq(a, b), a, zeroOfDifference(r, f, control)), r.i32(0));
  });
};

const signOfProduct = (r: RoutineBuilder, f: Format, a: I64, b: I64): I64 =>
  r.i64_and(r.i64_xor(a, b), r.i64(signBit(f)));

const multiplySpecial: Special = (r, f, a, b, control) => {
  const sign = signOfProduct(r, f, a, b);
  const zeros = r.i32_or(isZeroBits(r, f, a), isZeroBits(r, f, b));
  r.if(r.i32_or(isInfiniteBits(r, f, a), isInfiniteBits(r, f, b)), () => {
    r.if(zeros, () => r.ret(indefinite(r, f), r.i32(flag.IE)));
    returnAfterDenormal(r, f, control, a, b, r.i64_or(sign, r.i64(infinityBits(f))));
  });
  r.if(zeros, () => returnAfterDenormal(r, f, control, a, b, sign));
};

const divideSpecial: Special = (r, f, a, b, control) => {
  const sign = signOfProduct(r, f, a, b);
  const infiniteB = isInfiniteBits(r, f, b);
  const zeroA = isZeroBits(r, f, a);
  r.if(isInfiniteBits(r, f, a), () => {
    r.if(infiniteB, () => r.ret(indefinite(r, f), r.i32(flag.IE)));
    returnAfterDenormal(r, f, control, a, b, r.i64_or(sign, r.i64(infinityBits(f))));
  });
  r.if(infiniteB, () => returnAfterDenormal(r, f, control, a, b, sign));
  r.if(isZeroBits(r, f, b), () => {
    r.if(zeroA, () => r.ret(indefinite(r, f), r.i32(flag.IE)));
    r.ret(r.i64_or(sign, r.i64(infinityBits(f))), r.i32(flag.ZE));
  });
  r.if(zeroA, () => returnAfterDenormal(r, f, control, a, b, sign));
};

function defineSquareRoot(f: Format) {
  return routines.define(`${f.name}_sqrt_exact`, ['i64'], ['i64', 'i32'], {}, (r, given) => {
    const control = loadMxcsr(r);
    const a = afterDaz(r, f, control, given);
    returnNaN(r, f, a, a);
    r.if(isZeroBits(r, f, a), () => r.ret(a, r.i32(0)));
    r.if(signOfBits(r, f, a), () => r.ret(indefinite(r, f), r.i32(flag.IE)));
    r.if(isInfiniteBits(r, f, a), () => r.ret(a, r.i32(0)));
    const flags = denormalFlag(r, f, control, a, a);
    const { exp, sig } = unpackFinite(r, f, a);
    finish(r, f, control, emitSquareRoot(r, exp, sig), flags);
  });
}

/** Orders two numbers that are no NaNs: -1, 0 or 1. */
function order(r: RoutineBuilder, f: Format, a: I64, b: I64): I32 {
  const key = (bits: I64) => {
    const magnitude = magnitudeOfBits(r, f, bits);
    return r.select(signOfBits(r, f, bits), r.i64_sub(r.i64(0), magnitude), magnitude);
  };
  const x = key(a);
  const y = key(b);
  return r.i32_sub(r.i64_gt_s(x, y), r.i64_lt_s(x, y));
}

/** MIN and MAX: the second operand is the result when one is a NaN or the two are equal. */
function defineChoice(name: 'min' | 'max', f: Format) {
  return routines.define(`${f.name}_${name}_exact`, ['i64', 'i64'], ['i64', 'i32'], {}, (r, givenA, givenB) => {
    const control = loadMxcsr(r);
    const a = afterDaz(r, f, control, givenA);
    const b = afterDaz(r, f, control, givenB);
    r.if(r.i32_or(isNaNBits(r, f, a), isNaNBits(r, f, b)), () => r.ret(b, r.i32(flag.IE)));
    const flags = denormalFlag(r, f, control, a, b);
    const useA = r.i32_eq(order(r, f, a, b), r.i32(name === 'min' ? -1 : 1));
    r.ret(r.select(useA, a, b), flags);
  });
}

/** What a comparison found: bits as COMISD sets them. */
export const relation = { less: 0x01, unordered: 0x45, equal: 0x40, greater: 0 } as const;

/** (a, b, signaling) to (CF, PF, ZF, flags): a quiet NaN raises IE if `signaling` is not 0. */
function defineCompare(f: Format) {
  return routines.define(
    `${f.name}_compare_exact`,
    ['i64', 'i64', 'i32'],
    ['i32', 'i32'],
    {},
    (r, givenA, givenB, signaling) => {
      const control = loadMxcsr(r);
      const a = afterDaz(r, f, control, givenA);
      const b = afterDaz(r, f, control, givenB);
      r.if(r.i32_or(isNaNBits(r, f, a), isNaNBits(r, f, b)), () => {
        const invalid = r.i32_or(isSignaling(r, f, a), isSignaling(r, f, b));
        r.ret(r.i32(relation.unordered), r.i32_or(invalid, r.i32_ne(signaling, r.i32(0))));
      });
      const flags = r.i32_shl(r.i32_or(isDenormalBits(r, f, a), isDenormalBits(r, f, b)), r.i32(1));
      const sign = order(r, f, a, b);
      const less = r.i32_shr_u(sign, r.i32(31));
      r.ret(r.i32_or(less, r.i32_shl(r.i32_eqz(sign), r.i32(6))), flags);
    },
  );
}

/** (a, ROUNDSD's immediate): to an integer in the format. */
function defineRound(f: Format) {
  const integer = BIAS + 63;
  return routines.define(`${f.name}_round_exact`, ['i64', 'i32'], ['i64', 'i32'], {}, (r, given, imm) => {
    const control = loadMxcsr(r);
    const a = afterDaz(r, f, control, given);
    returnNaN(r, f, a, a);
    r.if(r.i32_or(isZeroBits(r, f, a), isInfiniteBits(r, f, a)), () => r.ret(a, r.i32(0)));
    const mode = r.select(and(r, imm, 4), roundingMode(r, control), and(r, imm, 3));
    const { exp, sig } = unpackFinite(r, f, a);
    r.if(r.i32_ge_s(exp, r.i32(BIAS + f.fraction)), () => r.ret(a, r.i32(0)));
    const sign = signOfBits(r, f, a);
    const hi = r.local('i64');
    const lo = r.local('i64');
    alignRight(r, sig, r.i32_sub(r.i32(integer), exp), hi, lo);
    const value = r.i64_add(r.read(hi), bit64(r, roundsUp(r, mode, sign, r.read(hi), r.read(lo))));
    const quiet = and(r, imm, 8);
    const inexact = r.select(r.i32_or(quiet, r.i64_eqz(r.read(lo))), r.i32(0), r.i32(flag.PE));
    r.if(r.i64_eqz(value), () => r.ret(signToBits(r, f, sign), inexact));
    const count = r.i64_clz(value);
    const newExp = r.i32_sub(r.i32(integer), r.i32_wrap_i64(count));
    const [bits] = r.call(packOf(f), sign, newExp, r.i64_shl(value, count), r.i64(0), r.i32(rounding.zero));
    r.ret(bits, inexact);
  });
}

/** (a, truncate, limit) to (integer, flags): limit is 2^31 or 2^63; out of range gives -limit. */
function defineToInteger(f: Format) {
  return routines.define(
    `${f.name}_to_integer_exact`,
    ['i64', 'i32', 'i64'],
    ['i64', 'i32'],
    {},
    (r, given, truncate, limit) => {
      const control = loadMxcsr(r);
      const a = afterDaz(r, f, control, given);
      const invalid = () => r.ret(r.i64_sub(r.i64(0), limit), r.i32(flag.IE));
      r.if(isZeroBits(r, f, a), () => r.ret(r.i64(0), r.i32(0)));
      r.if(r.i32_ge_u(exponentOfBits(r, f, a), r.i32(f.bias + 64)), invalid);
      const { exp, sig } = unpackFinite(r, f, a);
      const sign = signOfBits(r, f, a);
      const hi = r.local('i64');
      const lo = r.local('i64');
      alignRight(r, sig, r.i32_sub(r.i32(BIAS + 63), exp), hi, lo);
      const mode = r.select(truncate, r.i32(rounding.zero), roundingMode(r, control));
      const value = r.i64_add(r.read(hi), bit64(r, roundsUp(r, mode, sign, r.read(hi), r.read(lo))));
      const most = r.i64_sub(limit, bit64(r, r.i32_eqz(sign)));
      r.if(r.i64_gt_u(value, most), invalid);
      const flags = r.i32_shl(nonZero(r, r.read(lo)), r.i32(5));
      r.ret(r.select(sign, r.i64_sub(r.i64(0), value), value), flags);
    },
  );
}

function defineFromInteger(f: Format) {
  return routines.define(`${f.name}_from_integer_exact`, ['i64'], ['i64', 'i32'], {}, (r, value) => {
    r.if(r.i64_eqz(value), () => r.ret(r.i64(0), r.i32(0)));
    const negative = r.i64_lt_s(value, r.i64(0));
    const magnitude = r.select(negative, r.i64_sub(r.i64(0), value), value);
    const count = r.i64_clz(magnitude);
    const exp = r.i32_sub(r.i32(BIAS + 63), r.i32_wrap_i64(count));
    const sign = r.i32_mul(negative, r.i32(SIGN));
    const mode = roundingMode(r, loadMxcsr(r));
    const [bits, flags] = r.call(packOf(f), sign, exp, r.i64_shl(magnitude, count), r.i64(0), mode);
    r.ret(bits, and(r, flags, 0x3f));
  });
}

function defineConvert(name: string, from: Format, to: Format) {
  return routines.define(name, ['i64'], ['i64', 'i32'], {}, (r, given) => {
    const control = loadMxcsr(r);
    const a = afterDaz(r, from, control, given);
    const sign = signToBits(r, to, signOfBits(r, from, a));
    r.if(r.i64_ge_u(magnitudeOfBits(r, from, a), r.i64(infinityBits(from))), () => {
      const fraction = fractionOfBits(r, from, a);
      const places = r.i64(Math.abs(to.fraction - from.fraction));
      const moved = to.fraction > from.fraction ? r.i64_shl(fraction, places) : r.i64_shr_u(fraction, places);
      const quiet = r.select(r.i64_eqz(fraction), r.i64(0), r.i64(quietBit(to)));
      const body = r.i64_or(r.i64(infinityBits(to)), r.i64_or(moved, quiet));
      r.ret(r.i64_or(sign, body), isSignaling(r, from, a));
    });
    r.if(isZeroBits(r, from, a), () => r.ret(sign, r.i32(0)));
    const flags = denormalFlag(r, from, control, a, a);
    const { exp, sig } = unpackFinite(r, from, a);
    const [bits, more] = r.call(packOf(to), signOfBits(r, from, a), exp, sig, r.i64(0), modes(r, control));
    r.ret(bits, r.i32_or(flags, and(r, more, 0x3f)));
  });
}

function defineAll(f: Format) {
  return {
    add: defineBinary('add', f, false, addSpecial, emitAdd),
    sub: defineBinary('sub', f, true, addSpecial, emitAdd),
    mul: defineBinary('mul', f, false, multiplySpecial, emitMultiply),
    div: defineBinary('div', f, false, divideSpecial, emitDivide),
    min: defineChoice('min', f),
    max: defineChoice('max', f),
    sqrt: defineSquareRoot(f),
    compare: defineCompare(f),
    round: defineRound(f),
    toInteger: defineToInteger(f),
    fromInteger: defineFromInteger(f),
  } as const;
}

export type Exact = ReturnType<typeof defineAll>;
export const exactF32 = defineAll(single);
export const exactF64 = defineAll(double);
export const exactF32ToF64 = defineConvert('f32_to_f64_exact', single, double);
export const exactF64ToF32 = defineConvert('f64_to_f32_exact', double, single);
