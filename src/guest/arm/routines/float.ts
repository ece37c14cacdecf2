/**
 * Floating-point arithmetic on bits in an i64 (a single in the low half, the upper half 0); exceptions are accrued in FPSR. Arm
 * Architecture Reference Manual A1.5, J1.3 (shared functions FPAdd and so on): NaNs are propagated by order of the operands
 * unless FPCR.DN, FPCR.FZ flushes operands and results, tininess is detected before rounding.
 *
 * Native arithmetic is taken where it gives the same: rounding to nearest without FZ, a result that is normal, and *inexact*
 * accrued already, so that nothing has to be found out.
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
  infinityBits,
  magnitudeOfBits,
  quietBit,
  signBit,
  signOfBits,
  signToBits,
  single,
  unpackFinite,
} from '../../float/pack.js';
import { field } from '../state.js';
import { routines } from './set.js';

/** Cumulative bits of FPSR. */
const flag = { IOC: 1, DZC: 2, OFC: 4, UFC: 8, IXC: 16, IDC: 128 } as const;
/** A routine's mode: rounding (core.ts) in bits 0 to 2, and these. */
export const floatMode = { defaultNaN: 8, flushToZero: 16 } as const;

const pack = {
  f32: definePack(routines, single, false, 'before'),
  f64: definePack(routines, double, false, 'before'),
} as const;

const raise = (r: RoutineBuilder, flags: I32): void => {
  r.i32_store(r.state(), r.i32_or(r.i32_load(r.state(), field.fpsr), flags), field.fpsr);
};
const raiseAlways = (r: RoutineBuilder, flags: number): void => raise(r, r.i32(flags));
/** A pack's OE, UE and PE are one place above OFC, UFC and IXC. */
const packFlags = (r: RoutineBuilder, flags: I32): I32 =>
  and(r, r.i32_shr_u(flags, r.i32(1)), flag.OFC | flag.UFC | flag.IXC);

const defaultNaN = (f: Format): bigint => infinityBits(f) | quietBit(f);
const holdsNaN = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  r.i64_gt_u(magnitudeOfBits(r, f, bits), r.i64(infinityBits(f)));
const isQuiet = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  r.i32_and(holdsNaN(r, f, bits), nonZero(r, r.i64_and(bits, r.i64(quietBit(f)))));
const isSignaling = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  r.i32_and(holdsNaN(r, f, bits), r.i64_eqz(r.i64_and(bits, r.i64(quietBit(f)))));
const isInfinite = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  r.i64_eq(magnitudeOfBits(r, f, bits), r.i64(infinityBits(f)));
const isZero = (r: RoutineBuilder, f: Format, bits: I64): I32 => r.i64_eqz(magnitudeOfBits(r, f, bits));

/** The operand, 0 where it is subnormal and those are flushed. */
function operand(r: RoutineBuilder, f: Format, bits: I64, mode: I32): I64 {
  const value = r.local('i64', bits);
  const subnormal = r.i32_and(r.i32_eqz(exponentOfBits(r, f, bits)), r.i32_eqz(isZero(r, f, bits)));
  r.if(r.i32_and(subnormal, r.i32_ne(and(r, mode, floatMode.flushToZero), r.i32(0))), () => {
    raiseAlways(r, flag.IDC);
    r.assign(value, r.i64_and(bits, r.i64(signBit(f))));
  });
  return r.read(value);
}

function invalid(r: RoutineBuilder, f: Format): void {
  raiseAlways(r, flag.IOC);
  r.ret(r.i64(defaultNaN(f)));
}
const quieted = (r: RoutineBuilder, f: Format, bits: I64, mode: I32): I64 =>
  r.select(and(r, mode, floatMode.defaultNaN), r.i64(defaultNaN(f)), r.i64_or(bits, r.i64(quietBit(f))));

/** Returns for a NaN among the operands: the first that signals, else the first (FPProcessNaNs). */
function returnNaN(r: RoutineBuilder, f: Format, operands: readonly I64[], mode: I32): void {
  const any = operands.map((bits) => holdsNaN(r, f, bits)).reduce((a, b) => r.i32_or(a, b));
  r.if(any, () => {
    for (const bits of operands)
      r.if(isSignaling(r, f, bits), () => {
        raiseAlways(r, flag.IOC);
        r.ret(quieted(r, f, bits, mode));
      });
    for (const bits of operands) r.if(holdsNaN(r, f, bits), () => r.ret(quieted(r, f, bits, mode)));
  });
}

function finish(r: RoutineBuilder, f: Format, w: Wide, mode: I32): void {
  const tiny = r.i32_le_s(r.read(w.exp), r.i32(BIAS - f.bias));
  r.if(r.i32_and(tiny, r.i32_ne(and(r, mode, floatMode.flushToZero), r.i32(0))), () => {
    raiseAlways(r, flag.UFC);
    r.ret(signToBits(r, f, r.read(w.sign)));
  });
  const [bits, flags] = r.call(
    pack[f.name],
    r.read(w.sign),
    r.read(w.exp),
    r.read(w.hi),
    r.read(w.lo),
    and(r, mode, 3),
  );
  raise(r, packFlags(r, flags));
  r.ret(bits);
}

type Native = 'add' | 'sub' | 'mul' | 'div' | 'sqrt';
function native(r: RoutineBuilder, f: Format, name: Native, a: I64, b: I64): I64 {
  if (f === double) {
    const x = r.f64_reinterpret_i64(a);
    return r.i64_reinterpret_f64(name === 'sqrt' ? r.f64_sqrt(x) : r[`f64_${name}`](x, r.f64_reinterpret_i64(b)));
  }
  const number = (bits: I64) => r.f32_reinterpret_i32(r.i32_wrap_i64(bits));
  const result = name === 'sqrt' ? r.f32_sqrt(number(a)) : r[`f32_${name}`](number(a), number(b));
  return r.i64_extend_i32_u(r.i32_reinterpret_f32(result));
}
/** Returns the native result if it is right: above the smallest normal number, to which one that underflows may be rounded. */
function returnNative(r: RoutineBuilder, f: Format, name: Native, a: I64, b: I64, mode: I32): void {
  const seen = r.i32_ne(and(r, r.i32_load(r.state(), field.fpsr), flag.IXC), r.i32(0));
  r.if(r.i32_and(r.i32_eqz(and(r, mode, 7 | floatMode.flushToZero)), seen), () => {
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
  r.select(r.i32_eq(and(r, mode, 7), r.i32(rounding.down)), r.i64(signBit(f)), r.i64(0));

function defineSum(f: Format, name: 'add' | 'sub') {
  return routines.define(`${f.name}_${name}`, ['i64', 'i64', 'i32'], ['i64'], {}, (r, x0, y0, mode) => {
    returnNative(r, f, name, x0, y0, mode);
    const a = operand(r, f, x0, mode);
    const given = operand(r, f, y0, mode);
    returnNaN(r, f, [a, given], mode);
    const b = name === 'sub' ? r.i64_xor(given, r.i64(signBit(f))) : given;
    const infiniteA = isInfinite(r, f, a);
    const infiniteB = isInfinite(r, f, b);
    r.if(r.i32_or(infiniteA, infiniteB), () => {
      r.if(r.i32_and(r.i32_and(infiniteA, infiniteB), r.i64_ne(a, b)), () => invalid(r, f));
      r.ret(r.select(infiniteA, a, b));
    });
    const zeroA = isZero(r, f, a);
    const zeroB = isZero(r, f, b);
    r.if(r.i32_and(zeroA, zeroB), () => {
      r.if(r.i64_ne(a, b), () => r.ret(zeroOfDifference(r, f, mode)));
      r.ret(a);
    });
    r.if(r.i32_or(zeroA, zeroB), () => r.ret(r.select(zeroA, b, a)));
    const x = unpackFinite(r, f, a);
    const y = unpackFinite(r, f, b);
    const w = emitAdd(r, signOfBits(r, f, a), x.exp, x.sig, signOfBits(r, f, b), y.exp, y.sig);
    r.if(r.i64_eqz(r.i64_or(r.read(w.hi), r.read(w.lo))), () => r.ret(zeroOfDifference(r, f, mode)));
    finish(r, f, w, mode);
  });
}

function defineProduct(f: Format) {
  return routines.define(`${f.name}_mul`, ['i64', 'i64', 'i32'], ['i64'], {}, (r, x0, y0, mode) => {
    returnNative(r, f, 'mul', x0, y0, mode);
    const a = operand(r, f, x0, mode);
    const b = operand(r, f, y0, mode);
    returnNaN(r, f, [a, b], mode);
    const sign = signOfProduct(r, f, a, b);
    const zeros = r.i32_or(isZero(r, f, a), isZero(r, f, b));
    r.if(r.i32_or(isInfinite(r, f, a), isInfinite(r, f, b)), () => {
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
  return routines.define(`${f.name}_div`, ['i64', 'i64', 'i32'], ['i64'], {}, (r, x0, y0, mode) => {
    returnNative(r, f, 'div', x0, y0, mode);
    const a = operand(r, f, x0, mode);
    const b = operand(r, f, y0, mode);
    returnNaN(r, f, [a, b], mode);
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
      raiseAlways(r, flag.DZC);
      r.ret(infinite);
    });
    r.if(zeroA, () => r.ret(sign));
    const x = unpackFinite(r, f, a);
    const y = unpackFinite(r, f, b);
    finish(r, f, emitDivide(r, signOfBits(r, f, a), x.exp, x.sig, signOfBits(r, f, b), y.exp, y.sig), mode);
  });
}

function defineRoot(f: Format) {
  return routines.define(`${f.name}_sqrt`, ['i64', 'i32'], ['i64'], {}, (r, x0, mode) => {
    returnNative(r, f, 'sqrt', x0, x0, mode);
    const a = operand(r, f, x0, mode);
    returnNaN(r, f, [a], mode);
    r.if(isZero(r, f, a), () => r.ret(a));
    r.if(signOfBits(r, f, a), () => invalid(r, f));
    r.if(isInfinite(r, f, a), () => r.ret(a));
    const { exp, sig } = unpackFinite(r, f, a);
    finish(r, f, emitSquareRoot(r, exp, sig), mode);
  });
}

/** a * b + c, rounded once (FPMulAdd). */
function defineFused(f: Format) {
  return routines.define(`${f.name}_fma`, ['i64', 'i64', 'i64', 'i32'], ['i64'], {}, (r, x0, y0, z0, mode) => {
    const a = operand(r, f, x0, mode);
    const b = operand(r, f, y0, mode);
    const c = operand(r, f, z0, mode);
    const infinite = r.i32_or(isInfinite(r, f, a), isInfinite(r, f, b));
    const zeros = r.i32_or(isZero(r, f, a), isZero(r, f, b));
    const meaningless = r.i32_and(infinite, zeros);
    r.if(r.i32_and(meaningless, isQuiet(r, f, c)), () => invalid(r, f));
    returnNaN(r, f, [c, a, b], mode);
    r.if(meaningless, () => invalid(r, f));
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

/** `numbers`: FMAXNM and FMINNM, where a quiet NaN loses to a number. */
function defineChoice(f: Format, name: 'min' | 'max', numbers: boolean) {
  const full = `${f.name}_${name}${numbers ? 'nm' : ''}`;
  return routines.define(full, ['i64', 'i64', 'i32'], ['i64'], {}, (r, x0, y0, mode) => {
    const a = operand(r, f, x0, mode);
    const b = operand(r, f, y0, mode);
    if (numbers) {
      r.if(r.i32_and(isQuiet(r, f, a), r.i32_eqz(holdsNaN(r, f, b))), () => r.ret(b));
      r.if(r.i32_and(isQuiet(r, f, b), r.i32_eqz(holdsNaN(r, f, a))), () => r.ret(a));
    }
    returnNaN(r, f, [a, b], mode);
    const less = r.i64_lt_s(orderKey(r, f, a), orderKey(r, f, b));
    r.ret(r.select(less, name === 'min' ? a : b, name === 'min' ? b : a));
  });
}

/** NZCV in bits 31 to 28. `signals`: all NaNs raise IOC. */
function defineCompare(f: Format) {
  return routines.define(`${f.name}_compare`, ['i64', 'i64', 'i32', 'i32'], ['i32'], {}, (r, x0, y0, signals, mode) => {
    const a = operand(r, f, x0, mode);
    const b = operand(r, f, y0, mode);
    r.if(r.i32_or(holdsNaN(r, f, a), holdsNaN(r, f, b)), () => {
      const quiet = r.i32_eqz(r.i32_or(isSignaling(r, f, a), isSignaling(r, f, b)));
      r.if(r.i32_or(r.i32_eqz(quiet), signals), () => raiseAlways(r, flag.IOC));
      r.ret(r.i32(0x30000000));
    });
    const x = orderKey(r, f, a);
    const y = orderKey(r, f, b);
    const equal = r.i32_or(r.i64_eq(a, b), r.i32_and(isZero(r, f, a), isZero(r, f, b)));
    const ordered = r.select(r.i64_lt_s(x, y), r.i32(0x80000000 | 0), r.i32(0x20000000));
    r.ret(r.select(equal, r.i32(0x60000000), ordered));
  });
}

/** To an integer of -`lowest` to `highest` (both unsigned), times 2^places: NaN is 0, what is too large the nearest bound, with IOC. */
function defineToInteger(f: Format) {
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
function defineFromInteger(f: Format) {
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

/** To a whole number in the same format; `exact`: a change raises IXC. */
function defineRound(f: Format) {
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
    const value = r.i64_add(r.read(hi), bit64(r, up));
    r.if(r.i32_and(r.i32_ne(exact, r.i32(0)), nonZero(r, r.read(lo))), () => raiseAlways(r, flag.IXC));
    const signBits = signToBits(r, f, sign);
    r.if(r.i64_eqz(value), () => r.ret(signBits));
    const count = r.i64_clz(value);
    const significand = r.i64_shr_u(r.i64_shl(value, count), r.i64(63 - f.fraction));
    const exponent = r.i64_sub(r.i64(f.bias + 63), count);
    const magnitude = r.i64_or(r.i64_shl(exponent, r.i64(f.fraction)), fractionOfBits(r, f, significand));
    r.ret(r.i64_or(signBits, magnitude));
  });
}

function defineConvert(from: Format, to: Format) {
  return routines.define(`${from.name}_to_${to.name}`, ['i64', 'i32'], ['i64'], {}, (r, x0, mode) => {
    const bits = operand(r, from, x0, mode);
    const sign = signOfBits(r, from, bits);
    const signBits = signToBits(r, to, sign);
    r.if(holdsNaN(r, from, bits), () => {
      r.if(isSignaling(r, from, bits), () => raiseAlways(r, flag.IOC));
      const fraction = fractionOfBits(r, from, bits);
      const places = to.fraction - from.fraction;
      const moved = places > 0 ? r.i64_shl(fraction, r.i64(places)) : r.i64_shr_u(fraction, r.i64(-places));
      const payload = r.i64_or(r.i64_or(signBits, r.i64(infinityBits(to))), moved);
      r.ret(quieted(r, to, payload, mode));
    });
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

function defineAll(f: Format) {
  return {
    add: defineSum(f, 'add'),
    sub: defineSum(f, 'sub'),
    mul: defineProduct(f),
    div: defineQuotient(f),
    sqrt: defineRoot(f),
    fma: defineFused(f),
    min: defineChoice(f, 'min', false),
    max: defineChoice(f, 'max', false),
    minnm: defineChoice(f, 'min', true),
    maxnm: defineChoice(f, 'max', true),
    compare: defineCompare(f),
    toInteger: defineToInteger(f),
    fromInteger: defineFromInteger(f),
    round: defineRound(f),
  } as const;
}

export type FloatRoutines = ReturnType<typeof defineAll>;
export const f32 = defineAll(single);
export const f64 = defineAll(double);
export const f32ToF64 = defineConvert(single, double);
export const f64ToF32 = defineConvert(double, single);
