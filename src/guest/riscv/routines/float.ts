/**
 * Floating-point arithmetic on bits in an i64 (a single in the low half, the upper half 0), by rounding mode; exceptions are
 * accrued in fflags. Unprivileged specification ch. 21 and 22: every NaN result is the canonical one; tininess is detected after
 * rounding.
 *
 * Native arithmetic is taken where it gives the same: rounding to nearest, a result that is normal, and *inexact* accrued
 * already, so that nothing has to be found out.
 */
import type { I32, I64, RoutineBuilder } from '../../../ir/index.js';
import {
  addToProduct,
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
  wideLocals,
} from '../../float/core.js';
import {
  definePack,
  double,
  exponentOfBits,
  type Format,
  half,
  infinityBits,
  magnitudeOfBits,
  maxExponent,
  quietBit,
  signBit,
  signOfBits,
  signToBits,
  single,
  unpackFinite,
} from '../../float/pack.js';
import { defineQuick, defineQuickConversion } from '../../float/quick.js';
import { field } from '../state.js';
import { routines } from './set.js';

/** fflags (21.2). */
export const fflag = { NX: 1, UF: 2, OF: 4, DZ: 8, NV: 16 } as const;

const pack = {
  f16: definePack(routines, half, true),
  f32: definePack(routines, single, true),
  f64: definePack(routines, double, true),
} as const;

const raise = (r: RoutineBuilder, flags: I32): void => {
  r.i32_store(r.state(), r.i32_or(r.i32_load(r.state(), field.fflags), flags), field.fflags);
};
const raiseAlways = (r: RoutineBuilder, flags: number): void => raise(r, r.i32(flags));

/** From the order that x86 has them in to fflags: PE, UE, OE; the others a pack does not give. */
const packFlags = (r: RoutineBuilder, flags: I32): I32 =>
  r.i32_or(
    r.i32_or(
      and(r, r.i32_shr_u(flags, r.i32(Math.log2(flag.PE))), fflag.NX),
      and(r, r.i32_shr_u(flags, r.i32(Math.log2(flag.UE / fflag.UF))), fflag.UF),
    ),
    and(r, r.i32_shr_u(flags, r.i32(Math.log2(flag.OE / fflag.OF))), fflag.OF),
  );

export const canonicalNaN = (f: Format): bigint => infinityBits(f) | quietBit(f);
const nan = (r: RoutineBuilder, f: Format): I64 => r.i64(canonicalNaN(f));
const isNaNBits = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  r.i64_gt_u(magnitudeOfBits(r, f, bits), r.i64(infinityBits(f)));
const isSignaling = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  r.i32_and(isNaNBits(r, f, bits), r.i64_eqz(r.i64_and(bits, r.i64(quietBit(f)))));
const isInfinite = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  r.i64_eq(magnitudeOfBits(r, f, bits), r.i64(infinityBits(f)));
const isZero = (r: RoutineBuilder, f: Format, bits: I64): I32 => r.i64_eqz(magnitudeOfBits(r, f, bits));
const either = (r: RoutineBuilder, a: I32, b: I32): I32 => r.i32_or(a, b);

function finish(r: RoutineBuilder, f: Format, w: Wide, mode: I32): void {
  const [bits, flags] = r.call(pack[f.name], r.read(w.sign), r.read(w.exp), r.read(w.hi), r.read(w.lo), mode);
  raise(r, packFlags(r, flags));
  r.ret(bits);
}

/** Invalid: the canonical NaN, with NV. */
function invalid(r: RoutineBuilder, f: Format): void {
  raiseAlways(r, fflag.NV);
  r.ret(nan(r, f));
}

/** Returns for a NaN among the operands; NV if one signals. */
function returnNaN(r: RoutineBuilder, f: Format, operands: readonly I64[]): void {
  const any = (test: typeof isNaNBits) => operands.map((bits) => test(r, f, bits)).reduce((a, b) => either(r, a, b));
  r.if(any(isNaNBits), () => {
    r.if(any(isSignaling), () => raiseAlways(r, fflag.NV));
    r.ret(nan(r, f));
  });
}

/** Native arithmetic by format. */
function native(r: RoutineBuilder, f: Format, name: 'add' | 'sub' | 'mul' | 'div' | 'sqrt', a: I64, b: I64): I64 {
  if (f === double) {
    const x = r.f64_reinterpret_i64(a);
    return r.i64_reinterpret_f64(name === 'sqrt' ? r.f64_sqrt(x) : r[`f64_${name}`](x, r.f64_reinterpret_i64(b)));
  }
  const number = (bits: I64) => r.f32_reinterpret_i32(r.i32_wrap_i64(bits));
  const result = name === 'sqrt' ? r.f32_sqrt(number(a)) : r[`f32_${name}`](number(a), number(b));
  return r.i64_extend_i32_u(r.i32_reinterpret_f32(result));
}

/**
 * Returns the native result if it is right. The smallest normal number is not among them: a result rounded up to it may have
 * underflowed.
 */
function returnNative(
  r: RoutineBuilder,
  f: Format,
  name: 'add' | 'sub' | 'mul' | 'div' | 'sqrt',
  a: I64,
  b: I64,
  mode: I32,
) {
  // WebAssembly has no half precision.
  if (f === half) return;
  const seen = and(r, r.i32_load(r.state(), field.fflags), fflag.NX);
  r.if(r.i32_and(r.i32_eqz(mode), seen), () => {
    const result = native(r, f, name, a, b);
    const smallest = 1n << BigInt(f.fraction);
    const above = r.i64_sub(magnitudeOfBits(r, f, result), r.i64(smallest + 1n));
    r.if(r.i64_lt_u(above, r.i64(infinityBits(f) - smallest - 1n)), () => r.ret(result));
  });
}

const signOfProduct = (r: RoutineBuilder, f: Format, a: I64, b: I64): I64 =>
  r.i64_and(r.i64_xor(a, b), r.i64(signBit(f)));
/** An exact zero that is a difference: negative only when rounding down. */
const zeroOfDifference = (r: RoutineBuilder, f: Format, mode: I32): I64 =>
  r.select(r.i32_eq(mode, r.i32(rounding.down)), r.i64(signBit(f)), r.i64(0));

function defineSum(f: Format, name: 'add' | 'sub') {
  return routines.define(`${f.name}_${name}`, ['i64', 'i64', 'i32'], ['i64'], {}, (r, a, given, mode) => {
    returnNative(r, f, name, a, given, mode);
    returnNaN(r, f, [a, given]);
    const b = name === 'sub' ? r.i64_xor(given, r.i64(signBit(f))) : given;
    const infiniteA = isInfinite(r, f, a);
    const infiniteB = isInfinite(r, f, b);
    r.if(either(r, infiniteA, infiniteB), () => {
      r.if(r.i32_and(r.i32_and(infiniteA, infiniteB), r.i64_ne(a, b)), () => invalid(r, f));
      r.ret(r.select(infiniteA, a, b));
    });
    const zeroA = isZero(r, f, a);
    const zeroB = isZero(r, f, b);
    r.if(either(r, zeroA, zeroB), () => {
      r.if(r.i32_and(r.i32_and(zeroA, zeroB), r.i64_ne(a, b)), () => r.ret(zeroOfDifference(r, f, mode)));
      r.ret(r.select(zeroA, b, a));
    });
    const x = unpackFinite(r, f, a);
    const y = unpackFinite(r, f, b);
    const w = emitAdd(r, signOfBits(r, f, a), x.exp, x.sig, signOfBits(r, f, b), y.exp, y.sig);
    r.if(r.i64_eqz(r.i64_or(r.read(w.hi), r.read(w.lo))), () => r.ret(zeroOfDifference(r, f, mode)));
    finish(r, f, w, mode);
  });
}

function defineProduct(f: Format) {
  return routines.define(`${f.name}_mul`, ['i64', 'i64', 'i32'], ['i64'], {}, (r, a, b, mode) => {
    returnNative(r, f, 'mul', a, b, mode);
    returnNaN(r, f, [a, b]);
    const sign = signOfProduct(r, f, a, b);
    const zeros = either(r, isZero(r, f, a), isZero(r, f, b));
    r.if(either(r, isInfinite(r, f, a), isInfinite(r, f, b)), () => {
      r.if(zeros, () => invalid(r, f));
      r.ret(r.i64_or(sign, r.i64(infinityBits(f))));
    });
    r.if(zeros, () => r.ret(sign));
    const x = unpackFinite(r, f, a);
    const y = unpackFinite(r, f, b);
    finish(r, f, emitMultiply(r, signOfBits(r, f, a), x.exp, x.sig, signOfBits(r, f, b), y.exp, y.sig), mode);
  });
}

function defineQuotient(f: Format) {
  return routines.define(`${f.name}_div`, ['i64', 'i64', 'i32'], ['i64'], {}, (r, a, b, mode) => {
    returnNative(r, f, 'div', a, b, mode);
    returnNaN(r, f, [a, b]);
    const sign = signOfProduct(r, f, a, b);
    const infinite = r.i64_or(sign, r.i64(infinityBits(f)));
    const infiniteB = isInfinite(r, f, b);
    const zeroA = isZero(r, f, a);
    r.if(isInfinite(r, f, a), () => {
      r.if(infiniteB, () => invalid(r, f));
      r.ret(infinite);
    });
    r.if(infiniteB, () => r.ret(sign));
    r.if(isZero(r, f, b), () => {
      r.if(zeroA, () => invalid(r, f));
      raiseAlways(r, fflag.DZ);
      r.ret(infinite);
    });
    r.if(zeroA, () => r.ret(sign));
    const x = unpackFinite(r, f, a);
    const y = unpackFinite(r, f, b);
    finish(r, f, emitDivide(r, signOfBits(r, f, a), x.exp, x.sig, signOfBits(r, f, b), y.exp, y.sig), mode);
  });
}

function defineRoot(f: Format) {
  return routines.define(`${f.name}_sqrt`, ['i64', 'i32'], ['i64'], {}, (r, a, mode) => {
    returnNative(r, f, 'sqrt', a, a, mode);
    returnNaN(r, f, [a]);
    r.if(isZero(r, f, a), () => r.ret(a));
    r.if(signOfBits(r, f, a), () => invalid(r, f));
    r.if(isInfinite(r, f, a), () => r.ret(a));
    const { exp, sig } = unpackFinite(r, f, a);
    finish(r, f, emitSquareRoot(r, exp, sig), mode);
  });
}

/** a * b + c, rounded once. */
function defineFused(f: Format) {
  return routines.define(`${f.name}_fma`, ['i64', 'i64', 'i64', 'i32'], ['i64'], {}, (r, a, b, c, mode) => {
    const infinite = either(r, isInfinite(r, f, a), isInfinite(r, f, b));
    const zeros = either(r, isZero(r, f, a), isZero(r, f, b));
    // Infinity times zero is invalid even where a quiet NaN is added (IEEE 754 leaves that open, RISC-V does not).
    r.if(r.i32_and(infinite, zeros), () => invalid(r, f));
    returnNaN(r, f, [a, b, c]);
    const signBits = signOfProduct(r, f, a, b);
    r.if(infinite, () => {
      const other = r.i32_and(isInfinite(r, f, c), r.i64_ne(r.i64_and(c, r.i64(signBit(f))), signBits));
      r.if(other, () => invalid(r, f));
      r.ret(r.i64_or(signBits, r.i64(infinityBits(f))));
    });
    r.if(isInfinite(r, f, c), () => r.ret(c));
    const zeroC = isZero(r, f, c);
    r.if(zeros, () => {
      r.if(r.i32_and(zeroC, r.i64_ne(c, signBits)), () => r.ret(zeroOfDifference(r, f, mode)));
      r.ret(c);
    });
    const x = unpackFinite(r, f, a);
    const y = unpackFinite(r, f, b);
    const p = emitMultiply(r, signOfBits(r, f, a), x.exp, x.sig, signOfBits(r, f, b), y.exp, y.sig);
    r.if(zeroC, () => finish(r, f, p, mode));
    const z = unpackFinite(r, f, c);
    const w = addToProduct(r, p, signOfBits(r, f, c), z.exp, z.sig);
    r.if(r.i64_eqz(r.i64_or(r.read(w.hi), r.read(w.lo))), () => r.ret(zeroOfDifference(r, f, mode)));
    finish(r, f, w, mode);
  });
}

/** Numbers that are no NaNs as integers in the same order; -0 just below +0. */
function orderKey(r: RoutineBuilder, f: Format, bits: I64): I64 {
  const negative = r.i64_xor(magnitudeOfBits(r, f, bits), r.i64(-1));
  return r.select(signOfBits(r, f, bits), negative, magnitudeOfBits(r, f, bits));
}

/** IEEE 754-2019 minimumNumber and maximumNumber. */
function defineChoice(f: Format, name: 'min' | 'max') {
  return routines.define(`${f.name}_${name}`, ['i64', 'i64'], ['i64'], {}, (r, a, b) => {
    r.if(either(r, isSignaling(r, f, a), isSignaling(r, f, b)), () => raiseAlways(r, fflag.NV));
    r.if(isNaNBits(r, f, a), () => r.ret(r.select(isNaNBits(r, f, b), nan(r, f), b)));
    r.if(isNaNBits(r, f, b), () => r.ret(a));
    const less = r.i64_lt_s(orderKey(r, f, a), orderKey(r, f, b));
    r.ret(r.select(less, name === 'min' ? a : b, name === 'min' ? b : a));
  });
}

/** 1 if the relation holds. `eq` raises NV for signaling NaNs only, the others for all. */
function defineCompare(f: Format, name: 'eq' | 'lt' | 'le') {
  return routines.define(`${f.name}_${name}`, ['i64', 'i64'], ['i64'], {}, (r, a, b) => {
    r.if(either(r, isNaNBits(r, f, a), isNaNBits(r, f, b)), () => {
      if (name === 'eq') r.if(either(r, isSignaling(r, f, a), isSignaling(r, f, b)), () => raiseAlways(r, fflag.NV));
      else raiseAlways(r, fflag.NV);
      r.ret(r.i64(0));
    });
    const zeros = r.i32_and(isZero(r, f, a), isZero(r, f, b));
    const x = orderKey(r, f, a);
    const y = orderKey(r, f, b);
    const holds =
      name === 'eq'
        ? either(r, r.i64_eq(a, b), zeros)
        : name === 'le'
          ? either(r, r.i64_le_s(x, y), zeros)
          : r.i32_and(r.i64_lt_s(x, y), r.i32_eqz(zeros));
    r.ret(bit64(r, holds));
  });
}

/** To an integer of -`lowest` to `highest` (both unsigned): NaN and what is too large give the nearest bound, with NV. */
function defineToInteger(f: Format) {
  return routines.define(
    `${f.name}_to_integer`,
    ['i64', 'i32', 'i64', 'i64'],
    ['i64'],
    {},
    (r, bits, mode, lowest, highest) => {
      const outside = (negative: I32) => {
        raiseAlways(r, fflag.NV);
        r.ret(r.select(negative, r.i64_sub(r.i64(0), lowest), highest));
      };
      r.if(isZero(r, f, bits), () => r.ret(r.i64(0)));
      const sign = signOfBits(r, f, bits);
      const tooLarge = Math.min(f.bias + 64, maxExponent(f));
      r.if(r.i32_ge_u(exponentOfBits(r, f, bits), r.i32(tooLarge)), () =>
        outside(r.i32_and(r.i32_ne(sign, r.i32(0)), r.i32_eqz(isNaNBits(r, f, bits)))),
      );
      const { exp, sig } = unpackFinite(r, f, bits);
      const hi = r.local('i64');
      const lo = r.local('i64');
      alignRight(r, sig, r.i32_sub(r.i32(BIAS + 63), exp), hi, lo);
      const value = r.i64_add(r.read(hi), bit64(r, roundsUp(r, mode, sign, r.read(hi), r.read(lo), true)));
      r.if(r.i64_gt_u(value, r.select(sign, lowest, highest)), () => outside(r.i32_ne(sign, r.i32(0))));
      raise(r, nonZero(r, r.read(lo)));
      r.ret(r.select(sign, r.i64_sub(r.i64(0), value), value));
    },
  );
}

/** From an integer; `signed`: not 0 if it is. */
function defineFromInteger(f: Format) {
  return routines.define(`${f.name}_from_integer`, ['i64', 'i32', 'i32'], ['i64'], {}, (r, value, signed, mode) => {
    r.if(r.i64_eqz(value), () => r.ret(r.i64(0)));
    const negative = r.i32_and(r.i64_lt_s(value, r.i64(0)), signed);
    const magnitude = r.select(negative, r.i64_sub(r.i64(0), value), value);
    const count = r.i64_clz(magnitude);
    const w = wideLocals(r);
    r.assign(w.sign, r.i32_mul(negative, r.i32(SIGN)));
    r.assign(w.exp, r.i32_sub(r.i32(BIAS + 63), r.i32_wrap_i64(count)));
    r.assign(w.hi, r.i64_shl(magnitude, count));
    r.assign(w.lo, r.i64(0));
    finish(r, f, w, mode);
  });
}

function defineConvert(from: Format, to: Format) {
  return routines.define(`${from.name}_to_${to.name}`, ['i64', 'i32'], ['i64'], {}, (r, bits, mode) => {
    r.if(isSignaling(r, from, bits), () => raiseAlways(r, fflag.NV));
    r.if(isNaNBits(r, from, bits), () => r.ret(nan(r, to)));
    const sign = signOfBits(r, from, bits);
    const signBits = signToBits(r, to, sign);
    r.if(isInfinite(r, from, bits), () => r.ret(r.i64_or(signBits, r.i64(infinityBits(to)))));
    r.if(isZero(r, from, bits), () => r.ret(signBits));
    const { exp, sig } = unpackFinite(r, from, bits);
    const w = wideLocals(r);
    r.assign(w.sign, sign);
    r.assign(w.exp, exp);
    r.assign(w.hi, sig);
    r.assign(w.lo, r.i64(0));
    finish(r, to, w, mode);
  });
}

/** FCLASS's ten classes, one bit each (table 21.5). */
function defineClassify(f: Format) {
  return routines.define(`${f.name}_class`, ['i64'], ['i64'], { pure: true }, (r, bits) => {
    r.if(isNaNBits(r, f, bits), () => r.ret(r.select(isSignaling(r, f, bits), r.i64(1 << 8), r.i64(1 << 9))));
    const sign = signOfBits(r, f, bits);
    const exponent = exponentOfBits(r, f, bits);
    // From the outside in: infinity, normal, subnormal, zero.
    const kind = r.local('i32', r.i32(1));
    r.if(r.i32_eqz(exponent), () => r.assign(kind, r.i32(2)));
    r.if(isZero(r, f, bits), () => r.assign(kind, r.i32(3)));
    r.if(isInfinite(r, f, bits), () => r.assign(kind, r.i32(0)));
    const place = r.select(sign, r.read(kind), r.i32_sub(r.i32(7), r.read(kind)));
    r.ret(r.i64_extend_i32_u(r.i32_shl(r.i32(1), place)));
  });
}

function defineAll(f: Format) {
  const numbers = {
    add: defineSum(f, 'add'),
    sub: defineSum(f, 'sub'),
    mul: defineProduct(f),
    div: defineQuotient(f),
    sqrt: defineRoot(f),
    fma: defineFused(f),
    min: defineChoice(f, 'min'),
    max: defineChoice(f, 'max'),
    fromInteger: defineFromInteger(f),
  };
  const others = {
    eq: defineCompare(f, 'eq'),
    lt: defineCompare(f, 'lt'),
    le: defineCompare(f, 'le'),
    toInteger: defineToInteger(f),
  };
  return {
    ...numbers,
    ...others,
    quick: defineQuick(routines, f, numbers, others),
    classify: defineClassify(f),
  } as const;
}

export type FloatRoutines = ReturnType<typeof defineAll>;
export const f16 = defineAll(half);
export const f32 = defineAll(single);
export const f64 = defineAll(double);
/** Between formats, by the letters of RISC-V's mnemonics: to, then from. */
export const convert = {
  d: { s: defineConvert(single, double), h: defineConvert(half, double) },
  s: { d: defineConvert(double, single), h: defineConvert(half, single) },
  h: { d: defineConvert(double, half), s: defineConvert(single, half) },
} as const;
/** Those that a quick way may settle. */
export const quickConvert = {
  promote: defineQuickConversion(routines, double, convert.d.s),
  demote: defineQuickConversion(routines, single, convert.s.d),
} as const;
