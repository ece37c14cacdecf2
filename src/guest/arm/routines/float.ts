/**
 * Floating-point arithmetic on bits in an i64 (a single in the low half, the upper half 0); exceptions are accrued in FPSR. Arm
 * Architecture Reference Manual A1.5, J1.3 (shared functions FPAdd and so on): NaNs are propagated by order of the operands
 * unless FPCR.DN, FPCR.FZ flushes operands and results, tininess is detected before rounding.
 *
 * Native arithmetic is taken where it gives the same: rounding to nearest, nothing that FZ flushes, a result that is normal, and
 * *inexact* accrued already, so that nothing has to be found out.
 */
import { type F64, fusesMultiply, type I32, type I64, type RoutineBuilder } from '../../../ir/index.js';
import { addToProduct, and, emitAdd, emitDivide, emitMultiply, emitSquareRoot } from '../../float/core.js';
import {
  double,
  exponentOfBits,
  type Format,
  half,
  infinityBits,
  magnitudeOfBits,
  signBit,
  signOfBits,
  single,
  unpackFinite,
} from '../../float/pack.js';
import { defineQuick, fusedNatively } from '../../float/quick.js';
import { field } from '../state.js';
import {
  finish,
  flag,
  floatMode,
  holdsNaN,
  invalid,
  isInfinite,
  isQuiet,
  isSignaling,
  isZero,
  operand,
  raiseAlways,
  returnNaN,
  signOfProduct,
  zeroOfDifference,
} from './float-common.js';
import { defineFromInteger, defineRound, defineToInteger } from './float-convert.js';
import { defineEstimates } from './float-estimate.js';
import { routines } from './set.js';

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
const isFlushing = (r: RoutineBuilder, mode: I32): I32 => and(r, mode, floatMode.flushToZero);
/**
 * Whether native arithmetic may be tried: rounding to nearest, IXC accrued already; where subnormal numbers are flushed, no operand may
 * be one.
 */
export function mayBeNative(r: RoutineBuilder, mode: I32, hasSubnormal: () => I32): I32 {
  const seen = r.i32_ne(and(r, r.i32_load(r.state(), field.fpsr), flag.IXC), r.i32(0));
  const may = r.local('i32', r.i32_and(r.i32_eqz(and(r, mode, 7)), seen));
  r.if(isFlushing(r, mode), () => r.assign(may, r.i32_and(r.read(may), r.i32_eqz(hasSubnormal()))));
  return r.read(may);
}
function anySubnormal(r: RoutineBuilder, f: Format, operands: readonly I64[]): I32 {
  const most = r.i64((1n << BigInt(f.fraction)) - 1n);
  const isSubnormal = (bits: I64): I32 => r.i64_lt_u(r.i64_sub(magnitudeOfBits(r, f, bits), r.i64(1)), most);
  return operands.map(isSubnormal).reduce((a, b) => r.i32_or(a, b));
}

/** Above the smallest normal number, to which one that underflows may be rounded. */
const isNormal = (r: RoutineBuilder, f: Format, bits: I64): I32 => {
  const smallest = 1n << BigInt(f.fraction);
  const above = r.i64_sub(magnitudeOfBits(r, f, bits), r.i64(smallest + 1n));
  return r.i64_lt_u(above, r.i64(infinityBits(f) - smallest - 1n));
};
/** Returns the native result if it is right. */
function returnNative(r: RoutineBuilder, f: Format, name: Native, a: I64, b: I64, mode: I32): void {
  if (f === half) return;
  const hasSubnormal = () => anySubnormal(r, f, name === 'sqrt' ? [a] : [a, b]);
  r.if(mayBeNative(r, mode, hasSubnormal), () => {
    const result = native(r, f, name, a, b);
    r.if(isNormal(r, f, result), () => r.ret(result));
  });
}

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

/** `extended`: FMULX, where 0 times infinity is 2. */
function defineProduct(f: Format, extended: boolean) {
  return routines.define(
    `${f.name}_mul${extended ? 'x' : ''}`,
    ['i64', 'i64', 'i32'],
    ['i64'],
    {},
    (r, x0, y0, mode) => {
      returnNative(r, f, 'mul', x0, y0, mode);
      const a = operand(r, f, x0, mode);
      const b = operand(r, f, y0, mode);
      returnNaN(r, f, [a, b], mode);
      const sign = signOfProduct(r, f, a, b);
      const zeros = r.i32_or(isZero(r, f, a), isZero(r, f, b));
      r.if(r.i32_or(isInfinite(r, f, a), isInfinite(r, f, b)), () => {
        r.if(zeros, () => {
          if (extended) r.ret(r.i64_or(sign, r.i64(BigInt(f.bias + 1) << BigInt(f.fraction))));
          else invalid(r, f);
        });
        r.ret(r.i64_or(sign, r.i64(infinityBits(f))));
      });
      r.if(zeros, () => r.ret(sign));
      const x = unpackFinite(r, f, a);
      const y = unpackFinite(r, f, b);
      finish(r, f, emitMultiply(r, signOfBits(r, f, a), x.exp, x.sig, signOfBits(r, f, b), y.exp, y.sig), mode);
    },
  );
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

/**
 * Singles: product and sum in double precision, whose rounding only matters where it has made a tie between two singles. Then, and
 * where the result is not normal, what follows decides.
 */
function returnFusedSingle(r: RoutineBuilder, a: I64, b: I64, c: I64, mode: I32): void {
  const hasSubnormal = () => anySubnormal(r, single, [a, b, c]);
  r.if(mayBeNative(r, mode, hasSubnormal), () => {
    const wide = (bits: I64) => r.f64_promote_f32(r.f32_reinterpret_i32(r.i32_wrap_i64(bits)));
    const sum = r.f64_add(r.f64_mul(wide(a), wide(b)), wide(c));
    const below = and(r, r.i32_wrap_i64(r.i64_reinterpret_f64(sum)), 0x1fffffff);
    const result = r.i64_extend_i32_u(r.i32_reinterpret_f32(r.f32_demote_f64(sum)));
    const isRight = r.i32_and(r.i32_ne(below, r.i32(0x10000000)), isNormal(r, single, result));
    r.if(isRight, () => r.ret(result));
  });
}

/**
 * Doubles, by S. Boldo and G. Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to odd" (2008):
 * exact sums and products as pairs; the lower part is rounded to odd, so that the last sum rounds once. The exponents are such that
 * nothing overflows or underflows.
 */
function returnFusedDouble(r: RoutineBuilder, a: I64, b: I64, c: I64, mode: I32): void {
  const hasSubnormal = () => anySubnormal(r, double, [a, b, c]);
  if (fusesMultiply()) {
    r.if(mayBeNative(r, mode, hasSubnormal), () => {
      const result = r.i64_reinterpret_f64(fusedNatively(r, double, [a, b, c]) as F64);
      r.if(isNormal(r, double, result), () => r.ret(result));
    });
    return;
  }
  const near = (bits: I64, places: number): I32 =>
    r.i32_lt_u(r.i32_sub(exponentOfBits(r, double, bits), r.i32(double.bias - places)), r.i32(2 * places + 1));
  const fitting = r.i32_and(r.i32_and(near(a, 300), near(b, 300)), r.i32_or(near(c, 600), isZero(r, double, c)));
  r.if(r.i32_and(mayBeNative(r, mode, hasSubnormal), fitting), () => {
    const [x, y, z] = [a, b, c].map((bits) => r.f64_reinterpret_i64(bits));
    const exactSum = (one: F64, two: F64): [F64, F64] => {
      const sum = r.f64_add(one, two);
      const part = r.f64_sub(sum, one);
      return [sum, r.f64_add(r.f64_sub(one, r.f64_sub(sum, part)), r.f64_sub(two, part))];
    };
    const halves = (value: F64): [F64, F64] => {
      const scaled = r.f64_mul(value, r.f64(2 ** 27 + 1));
      const high = r.f64_sub(scaled, r.f64_sub(scaled, value));
      return [high, r.f64_sub(value, high)];
    };
    const [xHigh, xLow] = halves(x);
    const [yHigh, yLow] = halves(y);
    const product = r.f64_mul(x, y);
    const first = r.f64_sub(r.f64_mul(xHigh, yHigh), product);
    const middle = r.f64_add(r.f64_add(first, r.f64_mul(xHigh, yLow)), r.f64_mul(xLow, yHigh));
    const productRest = r.f64_add(middle, r.f64_mul(xLow, yLow));
    const [low, lowRest] = exactSum(z, productRest);
    const [high, highRest] = exactSum(product, low);
    const [rest, error] = exactSum(lowRest, highRest);
    // To odd: towards what was lost, if the last bit is 0.
    const bits = r.i64_reinterpret_f64(rest);
    const errorBits = r.i64_reinterpret_f64(error);
    const isInexact = r.f64_ne(error, r.f64(0));
    const isEven = r.i32_eqz(r.i32_wrap_i64(r.i64_and(bits, r.i64(1))));
    const step = r.select(r.i64_lt_s(r.i64_xor(bits, errorBits), r.i64(0)), r.i64(-1), r.i64(1));
    const odd = r.i64_add(bits, r.select(r.i32_and(isInexact, isEven), step, r.i64(0)));
    const result = r.i64_reinterpret_f64(r.f64_add(high, r.f64_reinterpret_i64(odd)));
    r.if(isNormal(r, double, result), () => r.ret(result));
  });
}

/** a * b + c, rounded once (FPMulAdd). */
function defineFused(f: Format) {
  return routines.define(`${f.name}_fma`, ['i64', 'i64', 'i64', 'i32'], ['i64'], {}, (r, x0, y0, z0, mode) => {
    if (f === single) returnFusedSingle(r, x0, y0, z0, mode);
    if (f === double) returnFusedDouble(r, x0, y0, z0, mode);
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

function defineAll(f: Format) {
  const numbers = {
    add: defineSum(f, 'add'),
    sub: defineSum(f, 'sub'),
    mul: defineProduct(f, false),
    div: defineQuotient(f),
    sqrt: defineRoot(f),
    fma: defineFused(f),
    min: defineChoice(f, 'min', false),
    max: defineChoice(f, 'max', false),
    minnm: defineChoice(f, 'min', true),
    maxnm: defineChoice(f, 'max', true),
    fromInteger: defineFromInteger(f),
    round: defineRound(f),
  };
  const others = { compare: defineCompare(f), toInteger: defineToInteger(f) };
  return {
    ...numbers,
    ...others,
    quick: defineQuick(routines, f, numbers, others),
    mulx: defineProduct(f, true),
    ...defineEstimates(f),
  } as const;
}

export type FloatRoutines = ReturnType<typeof defineAll>;
export const f16 = defineAll(half);
export const f32 = defineAll(single);
export const f64 = defineAll(double);
