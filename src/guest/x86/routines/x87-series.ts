/**
 * The transcendental functions for usual operands, in IR: argument reduction and power series on 128-bit fixed point, so that
 * the result before rounding is good to some 2^-110 of itself. What is not usual is left to x87-functions.ts.
 *
 * Q0.128 is a fraction of 2^128, Q1.127 has a bit before the point; both are pairs (hi, lo) of i64. The product's upper half of
 * a Q1.127 and a Q0.128 is a Q1.127.
 */
import type { I32, I64, RoutineBuilder } from '../../../ir/index.js';
import {
  addTo,
  and,
  BIAS,
  bit64,
  divideWide,
  flag,
  multiplyWide,
  normalizeWide,
  SIGN,
  shiftOut,
  TOP_BIT,
  type Wide,
  wideLocals,
} from '../../float/core.js';
import { round80 } from './float80.js';
import { routines } from './set.js';

interface Pair {
  readonly hi: I64;
  readonly lo: I64;
}
const pair = (hi: I64, lo: I64): Pair => ({ hi, lo });
const LOW64 = (1n << 64n) - 1n;
const constant = (r: RoutineBuilder, value: bigint): Pair => pair(r.i64(value >> 64n), r.i64(value & LOW64));

function add(r: RoutineBuilder, a: Pair, b: Pair): Pair {
  const lo = r.i64_add(a.lo, b.lo);
  return pair(r.i64_add(r.i64_add(a.hi, b.hi), bit64(r, r.i64_lt_u(lo, a.lo))), lo);
}
function subtract(r: RoutineBuilder, a: Pair, b: Pair): Pair {
  const borrow = bit64(r, r.i64_lt_u(a.lo, b.lo));
  return pair(r.i64_sub(r.i64_sub(a.hi, b.hi), borrow), r.i64_sub(a.lo, b.lo));
}
const choose = (r: RoutineBuilder, condition: I32, a: Pair, b: Pair): Pair =>
  pair(r.select(condition, a.hi, b.hi), r.select(condition, a.lo, b.lo));
const negate = (r: RoutineBuilder, a: Pair): Pair => subtract(r, pair(r.i64(0), r.i64(0)), a);

const four = ['i64', 'i64', 'i64', 'i64'] as const;
const two = ['i64', 'i64'] as const;

/** Upper half of a product, at most 3 too small in the last place. */
const multiplyRoutine = routines.define('fixed_multiply', four, two, { pure: true }, (r, aHi, aLo, bHi, bLo) => {
  const top = multiplyWide(r, aHi, bHi);
  const first = multiplyWide(r, aHi, bLo).hi;
  const second = multiplyWide(r, aLo, bHi).hi;
  const middle = r.i64_add(first, second);
  const carry = bit64(r, r.i64_lt_u(middle, first));
  const { hi, lo } = add(r, pair(top.hi, top.lo), pair(carry, middle));
  r.ret(hi, lo);
});

function multiply(r: RoutineBuilder, a: Pair, b: Pair): Pair {
  const [hi, lo] = r.call(multiplyRoutine, a.hi, a.lo, b.hi, b.lo);
  return pair(hi, lo);
}

/**
 * Quotient a / b as Q0.128 for a < b, both with b's top bit set: two digits of 64 bits (Knuth's algorithm D with one
 * correction step each; the second digit may be a few too large).
 */
const divideRoutine = routines.define('fixed_divide', four, two, { pure: true }, (r, aHi, aLo, bHi, bLo) => {
  /** One digit of rest / b, rest < b: the digit and what is left, shifted up by it. */
  const digit = (rest: Pair): { digit: I64; rest: Pair } => {
    const q = r.local('i64', r.i64(-1));
    r.if(r.i64_lt_u(rest.hi, bHi), () => r.assign(q, divideWide(r, rest.hi, rest.lo, bHi).quotient));
    // rest * 2^64 - q * b, modulo 2^192: its upper word tells the sign.
    const low = multiplyWide(r, r.read(q), bLo);
    const high = multiplyWide(r, r.read(q), bHi);
    const middle = r.i64_add(high.lo, low.hi);
    const carry = bit64(r, r.i64_lt_u(middle, low.hi));
    const w0 = r.local('i64', r.i64_sub(r.i64(0), low.lo));
    const borrow0 = bit64(r, r.i64_ne(low.lo, r.i64(0)));
    const lower = r.i64_sub(rest.lo, middle);
    const w1 = r.local('i64', r.i64_sub(lower, borrow0));
    const borrow1 = r.i64_add(bit64(r, r.i64_lt_u(rest.lo, middle)), bit64(r, r.i64_lt_u(lower, borrow0)));
    const w2 = r.local('i64', r.i64_sub(r.i64_sub(r.i64_sub(rest.hi, high.hi), carry), borrow1));
    r.loop((again) => {
      r.if(r.i64_lt_s(r.read(w2), r.i64(0)), () => {
        r.assign(q, r.i64_sub(r.read(q), r.i64(1)));
        const old = pair(r.read(w1), r.read(w0));
        const sum = add(r, old, pair(bHi, bLo));
        const carried = r.i32_or(
          r.i64_lt_u(sum.hi, old.hi),
          r.i32_and(r.i64_eq(sum.hi, old.hi), r.i64_lt_u(sum.lo, old.lo)),
        );
        r.assign(w0, sum.lo);
        r.assign(w1, sum.hi);
        r.assign(w2, r.i64_add(r.read(w2), bit64(r, carried)));
        r.br(again);
      });
    });
    return { digit: r.read(q), rest: pair(r.read(w1), r.read(w0)) };
  };
  const first = digit(pair(aHi, aLo));
  const second = digit(first.rest);
  r.ret(first.digit, second.digit);
});

/** c[0] -+ z * (c[1] -+ z * (c[2] -+ …)), Q1.127, z in Q0.128; `minus` not 0: the signs alternate. */
function series(r: RoutineBuilder, coefficients: readonly bigint[], z: Pair, minus: I32 | boolean): Pair {
  const last = coefficients.length - 1;
  let sum = constant(r, coefficients[last]);
  for (let n = last - 1; n >= 0; n--) {
    const term = multiply(r, sum, z);
    const c = constant(r, coefficients[n]);
    if (typeof minus === 'boolean') sum = minus ? subtract(r, c, term) : add(r, c, term);
    else sum = choose(r, minus, subtract(r, c, term), add(r, c, term));
  }
  return sum;
}

const Q127 = 1n << 127n;
/** 1 / first!, 1 / (first + step)!, … as Q1.127, down to what 2^-124 does not see. */
function inverseFactorials(first: number, step: number): bigint[] {
  const made: bigint[] = [];
  let value = Q127;
  for (let n = 2; n <= first; n++) value /= BigInt(n);
  for (let n = first; value > 8n; n += step) {
    made.push(value);
    for (let k = 1; k <= step; k++) value /= BigInt(n + k);
  }
  return made;
}

/** A significand with the top bit set and its unbiased exponent. */
interface Scaled {
  readonly value: Pair;
  readonly exp: I32;
}

/** Shifts a pair that is not 0 until its top bit is set. */
function normalize(r: RoutineBuilder, value: Pair, exp: I32): Scaled {
  const w: Wide = wideLocals(r);
  r.assign(w.hi, value.hi);
  r.assign(w.lo, value.lo);
  r.assign(w.exp, exp);
  normalizeWide(r, w);
  return { value: pair(r.read(w.hi), r.read(w.lo)), exp: r.read(w.exp) };
}

/** Rounds sign, value / 2^127 * 2^exp; `more` joins the flags. */
function finish(r: RoutineBuilder, sign: I32, scaled: Scaled, more: I32): void {
  const { value, exp } = normalize(r, scaled.value, scaled.exp);
  const [sig, se, flags] = r.call(round80, sign, addTo(r, exp, BIAS), value.hi, value.lo, r.i32(0x300));
  r.ret(sig, se, r.i32_or(flags, more));
}

/** The product of two values of this form. */
function product(r: RoutineBuilder, a: Scaled, b: Scaled): Scaled {
  return { value: multiply(r, a.value, b.value), exp: addTo(r, r.i32_add(a.exp, b.exp), 1) };
}

const result80 = ['i64', 'i32', 'i32'] as const;
/** Every result but an exact one is called inexact by processors. */
const inexact = (r: RoutineBuilder): I32 => r.i32(flag.PE);

// --- sine, cosine, tangent

/** pi / 2 to 66 bits as a multiple of 2^-67; 2 / pi as Q0.64. */
const HALF_PI = 0xc90fdaa22168c234cn;
const TWO_OVER_PI = 0xa2f9836e4e441529n;

/**
 * (significand, biased exponent) of a number from 2^-34 to 2^63 to (rest as Q0.128, 1 if the rest is negative, quadrant):
 * number = quadrant * pi / 2 + rest, the rest at most pi / 4 in size.
 */
const reduce = routines.define(
  'x87_reduce',
  ['i64', 'i32'],
  ['i64', 'i64', 'i32', 'i32'],
  { pure: true },
  (r, sig, exp) => {
    const unbiased = addTo(r, exp, -BIAS);
    // Below pi / 4 as it is; the comparison of significands is for exponents equal to that of pi / 4.
    const small = r.i32_or(
      r.i32_lt_s(unbiased, r.i32(-1)),
      r.i32_and(r.i32_eq(unbiased, r.i32(-1)), r.i64_lt_u(sig, r.i64(HALF_PI >> 4n))),
    );
    r.if(small, () => {
      const { kept, out } = shiftOut(r, sig, r.i32_sub(r.i32(-1), unbiased));
      r.ret(kept, out, r.i32(0), r.i32(0));
    });
    const places = r.i64_extend_i32_u(r.i32_sub(r.i32(62), unbiased)); // 63 - unbiased - 1
    const turns = r.i64_shr_u(multiplyWide(r, sig, r.i64(TWO_OVER_PI)).hi, places);
    const q = r.i64_shr_u(r.i64_add(turns, r.i64(1)), r.i64(1));
    // The number in units of 2^-67, modulo 2^128: shifted left by 3 to 66.
    const shift = r.i64_extend_i32_u(addTo(r, unbiased, 4));
    const far = r.i64_gt_u(shift, r.i64(63));
    const near = pair(r.i64_shr_u(r.i64_shr_u(sig, r.i64(1)), r.i64_xor(shift, r.i64(63))), r.i64_shl(sig, shift));
    const value = choose(r, far, pair(r.i64_shl(sig, shift), r.i64(0)), near);
    const part = multiplyWide(r, q, r.i64(HALF_PI & LOW64));
    const whole = pair(r.i64_add(part.hi, r.i64_mul(q, r.i64(HALF_PI >> 64n))), part.lo);
    const rest = subtract(r, value, whole);
    const hi = r.local('i64', rest.hi);
    const lo = r.local('i64', rest.lo);
    const count = r.local('i64', q);
    const step = constant(r, HALF_PI);
    const adjust = (changed: Pair, by: number) => {
      r.assign(hi, changed.hi);
      r.assign(lo, changed.lo);
      r.assign(count, r.i64_add(r.read(count), r.i64(by)));
    };
    const current = () => pair(r.read(hi), r.read(lo));
    // The estimate may be one off: rest beyond half a step.
    const half = constant(r, HALF_PI >> 1n);
    r.if(r.i64_ge_s(subtract(r, current(), half).hi, r.i64(0)), () => adjust(subtract(r, current(), step), 1));
    r.if(r.i64_lt_s(add(r, current(), half).hi, r.i64(0)), () => adjust(add(r, current(), step), -1));
    const negative = r.i64_lt_s(r.read(hi), r.i64(0));
    const size = choose(r, negative, negate(r, current()), current());
    const top = r.i64_or(r.i64_shl(size.hi, r.i64(61)), r.i64_shr_u(size.lo, r.i64(3)));
    r.ret(top, r.i64_shl(size.lo, r.i64(61)), negative, and(r, r.i32_wrap_i64(r.read(count)), 3));
  },
);

/** (square of the rest as Q0.128) to sin(rest) / rest, and to cos(rest), as Q1.127. */
const sineRatio = routines.define('x87_sine_series', two, two, { pure: true }, (r, hi, lo) => {
  const sum = series(r, inverseFactorials(1, 2), pair(hi, lo), true);
  r.ret(sum.hi, sum.lo);
});
const cosine = routines.define('x87_cosine_series', two, two, { pure: true }, (r, hi, lo) => {
  const sum = series(r, inverseFactorials(0, 2), pair(hi, lo), true);
  r.ret(sum.hi, sum.lo);
});

function scaledSine(r: RoutineBuilder, rest: Pair, square: Pair): Scaled {
  const [hi, lo] = r.call(sineRatio, square.hi, square.lo);
  // Q0.128 has half the weight of what `normalize` takes.
  return product(r, normalize(r, rest, r.i32(-1)), { value: pair(hi, lo), exp: r.i32(0) });
}

function scaledCosine(r: RoutineBuilder, square: Pair): Scaled {
  const [hi, lo] = r.call(cosine, square.hi, square.lo);
  return { value: pair(hi, lo), exp: r.i32(0) };
}

/** (significand, sign and exponent, 0 for the sine or 1 for the cosine); the exponent from -34 to 62. */
export const quickSine = routines.define('x87_quick_sine', ['i64', 'i32', 'i32'], result80, {}, (r, sig, se, ahead) => {
  const [hi, lo, negative, turns] = r.call(reduce, sig, and(r, se, 0x7fff));
  const quadrant = r.i32_add(turns, ahead);
  const rest = pair(hi, lo);
  const square = multiply(r, rest, rest);
  const isOdd = r.select(ahead, r.i32(0), and(r, se, SIGN));
  const turned = r.i32_xor(isOdd, r.i32_shl(and(r, quadrant, 2), r.i32(14)));
  r.if(
    and(r, quadrant, 1),
    () => finish(r, turned, scaledCosine(r, square), inexact(r)),
    () => finish(r, r.i32_xor(turned, r.i32_shl(negative, r.i32(15))), scaledSine(r, rest, square), inexact(r)),
  );
  r.ret(r.i64(0), r.i32(0), r.i32(0));
});

/** a / b as a scaled value, both scaled and normalized. */
function quotient(r: RoutineBuilder, a: Scaled, b: Scaled): Scaled {
  // Half of a is below b.
  const half = pair(
    r.i64_shr_u(a.value.hi, r.i64(1)),
    r.i64_or(r.i64_shr_u(a.value.lo, r.i64(1)), r.i64_shl(a.value.hi, r.i64(63))),
  );
  const [hi, lo] = r.call(divideRoutine, half.hi, half.lo, b.value.hi, b.value.lo);
  return { value: pair(hi, lo), exp: r.i32_sub(a.exp, b.exp) };
}

/** (significand, sign and exponent): the tangent, the exponent from -34 to 62. */
export const quickTangent = routines.define('x87_quick_tangent', ['i64', 'i32'], result80, {}, (r, sig, se) => {
  const [hi, lo, negative, turns] = r.call(reduce, sig, and(r, se, 0x7fff));
  const rest = pair(hi, lo);
  const square = multiply(r, rest, rest);
  const sine = scaledSine(r, rest, square);
  const cosineOf = scaledCosine(r, square);
  const s = normalize(r, sine.value, sine.exp);
  const c = normalize(r, cosineOf.value, cosineOf.exp);
  const odd = and(r, turns, 1);
  const sign = r.i32_xor(and(r, se, SIGN), r.i32_shl(r.i32_xor(negative, odd), r.i32(15)));
  const above = choose(r, odd, c.value, s.value);
  const below = choose(r, odd, s.value, c.value);
  const a = { value: above, exp: r.select(odd, c.exp, s.exp) };
  finish(r, sign, quotient(r, a, { value: below, exp: r.select(odd, s.exp, c.exp) }), inexact(r));
});

// --- powers and logarithms

/** Shifts a pair right by any count >= 0; what falls out is lost. */
function shiftRight(r: RoutineBuilder, a: Pair, count: I32): Pair {
  const n = r.i64_extend_i32_u(and(r, count, 63));
  const upper = r.i64_shr_u(a.hi, n);
  const carried = r.i64_shl(r.i64_shl(a.hi, r.i64(1)), r.i64_xor(n, r.i64(63)));
  const near = pair(upper, r.i64_or(r.i64_shr_u(a.lo, n), carried));
  const far = pair(r.i64(0), upper);
  const shifted = choose(r, r.i32_lt_u(count, r.i32(64)), near, far);
  const none = r.i32_gt_u(count, r.i32(127));
  return choose(r, none, pair(r.i64(0), r.i64(0)), shifted);
}

/** A scaled value as a fraction with `places` bits before the point more than Q0.128 has. */
function toFixed(r: RoutineBuilder, a: Scaled, places: number): Pair {
  return shiftRight(r, a.value, r.i32_sub(r.i32(places - 1), a.exp));
}

/** ln 2 and its inverse, by the series of atanh(1/3); pi and arctangents below likewise: 192 bits are computed, 127 or 128 kept. */
const FINE = 192n;
function seriesOfRatio(numerator: bigint, denominator: bigint, alternating: boolean): bigint {
  let power = (numerator << FINE) / denominator;
  let sum = 0n;
  for (let n = 1n; power > 0n; n += 2n) {
    sum += alternating && n & 2n ? -(power / n) : power / n;
    power = (power * numerator * numerator) / (denominator * denominator);
  }
  return sum;
}
const LN2 = 2n * seriesOfRatio(1n, 3n, false);
const PI = 16n * seriesOfRatio(1n, 5n, true) - 4n * seriesOfRatio(1n, 239n, true);

/** 2^x - 1 for x = (significand, sign and exponent) with an exponent of -64 to -1. */
export const quickPower = routines.define('x87_quick_power', ['i64', 'i32'], result80, {}, (r, sig, se) => {
  const exp = addTo(r, and(r, se, 0x7fff), -BIAS);
  const ln2 = { value: constant(r, LN2 >> (FINE - 128n)), exp: r.i32(-1) };
  const raw = product(r, { value: pair(sig, r.i64(0)), exp }, ln2);
  const z = normalize(r, raw.value, raw.exp);
  const sign = and(r, se, SIGN);
  const sum = series(r, inverseFactorials(1, 1), toFixed(r, z, 0), sign);
  finish(r, sign, product(r, z, { value: sum, exp: r.i32(0) }), inexact(r));
});

/** 1 / ((2n + 1) ln 2) as Q1.127: half of the terms of the logarithm to base 2 of (1 + s) / (1 - s), s at most 0.2. */
const logarithmTerms = Array.from({ length: 24 }, (_, n) => (Q127 << FINE) / LN2 / BigInt(2 * n + 1));

/** log2((1 + s) / (1 - s)) for a scaled s, at most 0.2. */
function logarithm(r: RoutineBuilder, s: Scaled): Scaled {
  const fixed = toFixed(r, s, 0);
  const sum = series(r, logarithmTerms, multiply(r, fixed, fixed), false);
  const half = product(r, s, { value: sum, exp: r.i32(0) });
  return { value: half.value, exp: addTo(r, half.exp, 1) };
}

const SQRT2 = 0xb504f333f9de6484n;

/**
 * (significand of x, biased exponent of x, significand of y, sign and exponent of y): y * log2(x) for x positive, normal and no
 * power of two, y normal.
 */
export const quickLogarithm = routines.define(
  'x87_quick_logarithm',
  ['i64', 'i32', 'i64', 'i32'],
  result80,
  {},
  (r, sigX, expX, sigY, seY) => {
    // x = 2^k * m, m from 0.7 to 1.4: the ratio s = (m - 1) / (m + 1).
    const high = r.i64_gt_u(sigX, r.i64(SQRT2));
    const k = r.i32_add(addTo(r, expX, -BIAS), high);
    const above = r.i64_sub(sigX, r.i64(TOP_BIT));
    const numerator = r.select(high, r.i64_sub(r.i64(0), sigX), above);
    const sum = r.select(high, sigX, r.i64_add(sigX, r.i64(TOP_BIT)));
    // The sum has a 65th bit, which is set.
    const denominator = {
      value: pair(r.i64_or(r.i64_shr_u(sum, r.i64(1)), r.i64(TOP_BIT)), r.i64_shl(sum, r.i64(63))),
      exp: r.i32(64),
    };
    const count = r.i64_clz(numerator);
    const top = {
      value: pair(r.i64_shl(numerator, count), r.i64(0)),
      exp: r.i32_sub(r.i32(63), r.i32_wrap_i64(count)),
    };
    const ratio = quotient(r, top, denominator);
    const log = logarithm(r, normalize(r, ratio.value, ratio.exp));
    const value = { hi: r.local('i64', log.value.hi), lo: r.local('i64', log.value.lo) };
    const exp = r.local('i32', log.exp);
    const sign = r.local('i32', high);
    r.if(k, () => {
      // |k| is at least 1 and the logarithm at most a half: 16 bits before the point.
      const negative = r.i32_shr_u(k, r.i32(31));
      const size = r.select(negative, r.i32_sub(r.i32(0), k), k);
      const whole = pair(r.i64_shl(r.i64_extend_i32_u(size), r.i64(48)), r.i64(0));
      const normal = normalize(r, log.value, log.exp);
      const part = toFixed(r, normal, 16);
      const total = choose(r, r.i32_eq(negative, high), add(r, whole, part), subtract(r, whole, part));
      r.assign(value.hi, total.hi);
      r.assign(value.lo, total.lo);
      r.assign(exp, r.i32(15));
      r.assign(sign, negative);
    });
    const total = normalize(r, pair(r.read(value.hi), r.read(value.lo)), r.read(exp));
    const y = { value: pair(sigY, r.i64(0)), exp: addTo(r, and(r, seY, 0x7fff), -BIAS) };
    const resultSign = r.i32_xor(and(r, seY, SIGN), r.i32_shl(r.read(sign), r.i32(15)));
    finish(r, resultSign, product(r, total, y), inexact(r));
  },
);

/** (x, y): y * log2(1 + x) for x with an exponent of -64 to -2 and above -0.29, y normal. */
export const quickLogarithmPlusOne = routines.define(
  'x87_quick_logarithm_plus_one',
  ['i64', 'i32', 'i64', 'i32'],
  result80,
  {},
  (r, sigX, seX, sigY, seY) => {
    const exp = addTo(r, and(r, seX, 0x7fff), -BIAS);
    const x: Scaled = { value: pair(sigX, r.i64(0)), exp };
    // s = x / (2 + x), the sum with two bits before the point
    const two = pair(r.i64(TOP_BIT), r.i64(0));
    const fixed = toFixed(r, x, 2);
    const negative = and(r, seX, SIGN);
    const sum = choose(r, negative, subtract(r, two, fixed), add(r, two, fixed));
    const ratio = quotient(r, x, normalize(r, sum, r.i32(1)));
    const log = logarithm(r, normalize(r, ratio.value, ratio.exp));
    const y = { value: pair(sigY, r.i64(0)), exp: addTo(r, and(r, seY, 0x7fff), -BIAS) };
    const total = normalize(r, log.value, log.exp);
    finish(r, r.i32_xor(negative, and(r, seY, SIGN)), product(r, total, y), inexact(r));
  },
);

// --- arctangent

/** atan(j / 8) as Q2.126, by atan(a) + atan(b) = atan((a + b) / (1 - a b)): each from the one before and a small angle. */
const arctangents: bigint[] = [0n];
for (let j = 1n; j <= 8n; j++) {
  // atan(j/8) - atan((j-1)/8) = atan(8 / (64 + j (j - 1)))
  arctangents.push(arctangents[Number(j) - 1] + seriesOfRatio(8n, 64n + j * (j - 1n), true));
}
const toQ126 = (fine: bigint): bigint => fine >> (FINE - 126n);
const arctangentTerms = Array.from({ length: 16 }, (_, n) => Q127 / BigInt(2 * n + 1));

/** (x, y): the angle of (x, y), both normal, their exponents at most 60 apart. */
export const quickArctangent = routines.define(
  'x87_quick_arctangent',
  ['i64', 'i32', 'i64', 'i32'],
  result80,
  {},
  (r, sigX, seX, sigY, seY) => {
    const expX = and(r, seX, 0x7fff);
    const expY = and(r, seY, 0x7fff);
    const steep = r.select(r.i32_eq(expX, expY), r.i64_gt_u(sigY, sigX), r.i32_gt_u(expY, expX));
    const large = { value: pair(r.select(steep, sigY, sigX), r.i64(0)), exp: r.select(steep, expY, expX) };
    const small = { value: pair(r.select(steep, sigX, sigY), r.i64(0)), exp: r.select(steep, expX, expY) };
    const raw = quotient(r, small, large);
    const t = normalize(r, raw.value, raw.exp);
    // Near j / 8: atan(t) = atan(j / 8) + atan(u), u = (t - j / 8) / (1 + t j / 8), at most 1 / 16.
    const fixed = toFixed(r, t, 1);
    const j = r.i64_shr_u(r.i64_add(fixed.hi, r.i64(1n << 59n)), r.i64(60));
    const u = { hi: r.local('i64', t.value.hi), lo: r.local('i64', t.value.lo) };
    const expU = r.local('i32', t.exp);
    const below = r.local('i32', r.i32(0));
    const base = { hi: r.local('i64', r.i64(0)), lo: r.local('i64', r.i64(0)) };
    r.if(r.i32_eqz(r.i64_eqz(j)), () => {
      for (let n = 1; n <= 8; n++) {
        r.if(r.i64_eq(j, r.i64(n)), () => {
          const table = constant(r, toQ126(arctangents[n]));
          r.assign(base.hi, table.hi);
          r.assign(base.lo, table.lo);
        });
      }
      const difference = subtract(r, fixed, pair(r.i64_shl(j, r.i64(60)), r.i64(0)));
      const negative = r.i64_lt_s(difference.hi, r.i64(0));
      const size = choose(r, negative, negate(r, difference), difference);
      r.assign(below, negative);
      r.assign(u.hi, size.hi);
      r.assign(u.lo, size.lo);
      r.assign(expU, r.i32(0));
      r.if(r.i32_eqz(r.i64_eqz(r.i64_or(size.hi, size.lo))), () => {
        // 1 + t j / 8 with two bits before the point
        const eighth = shiftRight(r, fixed, r.i32(4));
        const low = multiplyWide(r, eighth.lo, j);
        const part = pair(r.i64_add(r.i64_mul(eighth.hi, j), low.hi), low.lo);
        const divisor = add(r, part, pair(r.i64(1n << 62n), r.i64(0)));
        const ratio = quotient(r, normalize(r, size, r.i32(0)), normalize(r, divisor, r.i32(1)));
        const normal = normalize(r, ratio.value, ratio.exp);
        r.assign(u.hi, normal.value.hi);
        r.assign(u.lo, normal.value.lo);
        r.assign(expU, normal.exp);
      });
    });
    const scaledU = { value: pair(r.read(u.hi), r.read(u.lo)), exp: r.read(expU) };
    const fixedU = toFixed(r, scaledU, 0);
    const sum = series(r, arctangentTerms, multiply(r, fixedU, fixedU), true);
    const angle = product(r, scaledU, { value: sum, exp: r.i32(0) });
    const sign = and(r, seY, SIGN);
    const left = and(r, seX, SIGN);
    r.if(r.i32_eqz(r.i32_or(r.i32_or(steep, left), r.i32_eqz(r.i64_eqz(j)))), () => finish(r, sign, angle, inexact(r)));
    const isZero = r.i64_eqz(r.i64_or(angle.value.hi, angle.value.lo));
    const part = choose(r, isZero, pair(r.i64(0), r.i64(0)), toFixed(r, angle, 2));
    const start = pair(r.read(base.hi), r.read(base.lo));
    const first = choose(r, r.read(below), subtract(r, start, part), add(r, start, part));
    const upright = choose(r, steep, subtract(r, constant(r, toQ126(PI >> 1n)), first), first);
    const whole = choose(r, left, subtract(r, constant(r, toQ126(PI)), upright), upright);
    finish(r, sign, normalize(r, whole, r.i32(1)), inexact(r));
  },
);
