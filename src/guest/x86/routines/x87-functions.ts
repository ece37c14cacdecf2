/**
 * The x87's transcendental functions, on big integers, for the operands that x87-series.ts does not take (special, denormal,
 * tiny, huge), and the reference that its tests compare with: near enough to the true value (relative error below 2^-100) that the
 * result is the correctly rounded one but for cases that no test finds. Intel SDM vol. 1 ch. 8.3.10, vol. 2 FSIN, FPTAN,
 * FPATAN, F2XM1, FYL2X, FYL2XP1 for the special operands.
 *
 * As in the processor, the trigonometric functions reduce their operand by pi to 66 bits: FSIN near a multiple of pi is far
 * from the sine, and equal to what processors give.
 */

import { BIAS, EXP_MASK, flag, QUIET_BIT, rounding, SIGN, TOP_BIT } from '../../float/core.js';
import { INDEFINITE_SE, INDEFINITE_SIG } from './float80.js';
import { cc } from './float80-remainder.js';
import { functionNumber } from './x87-transcendental.js';

/** significand, sign and exponent, flags */
type Result = readonly [sig: bigint, se: number, flags: number];
/** First result, second result, flags. */
type Results = readonly [bigint, number, bigint, number, number];

/** A finite number: (-1)^negative * size * 2^exp. `rough`: the true value lies strictly between this size and the next. */
interface Big {
  readonly negative: boolean;
  readonly size: bigint;
  readonly exp: number;
  readonly rough: boolean;
  /** Counts as inexact although it is taken as it stands. */
  readonly inexact?: boolean;
}

/** Bits after the point in the series. */
const P = 320;
const POINT = BigInt(P);
const ONE = 1n << POINT;
/** Below this exponent the first term of a series is the result, but for its rounding. */
const TINY = -70;

const bitLength = (value: bigint): number => {
  const digits = value.toString(16);
  return digits.length * 4 - Math.clz32(Number.parseInt(digits[0], 16)) + 28;
};

/** `size` without its last `drop` bits, rounded; `below` is not 0 if that is inexact, `up` if it was raised. */
function roundOff(value: Big, drop: number, mode: number): { sig: bigint; inexact: boolean; up: boolean } {
  let sig: bigint;
  let below = 0; // 0: exact, 1: under a half, 2: a half, 3: over
  if (drop <= 0) {
    sig = value.size << BigInt(-drop);
    if (value.rough) below = 1;
  } else {
    const shift = BigInt(drop);
    sig = value.size >> shift;
    const rest = value.size - (sig << shift);
    const half = 1n << (shift - 1n);
    if (rest > half || (rest === half && value.rough)) below = 3;
    else if (rest === half) below = 2;
    else if (rest > 0n || value.rough) below = 1;
  }
  const up =
    mode === rounding.nearest
      ? below === 3 || (below === 2 && (sig & 1n) === 1n)
      : below !== 0 && mode === (value.negative ? rounding.down : rounding.up);
  return { sig: up ? sig + 1n : sig, inexact: below !== 0, up };
}

/** Rounds as the control word says; its precision control has no say here. */
function round(value: Big, control: number): Result {
  const sign = value.negative ? SIGN : 0;
  const mode = (control >> 10) & 3;
  const length = bitLength(value.size);
  let exp = value.exp + length - 1 + BIAS;
  let drop = length - 64;
  let flags = 0;
  // Tininess is detected after rounding.
  const tiny = exp < 0 || (exp === 0 && roundOff(value, drop, mode).sig >> 64n === 0n);
  if (exp <= 0 && (!tiny || control & flag.UE)) {
    drop += 1 - exp;
    exp = 0;
  } else if (tiny) {
    flags = flag.UE;
    exp += 24576;
  }
  const { sig: rounded, inexact: dropped, up } = roundOff(value, drop, mode);
  const inexact = dropped || value.inexact === true;
  let sig = rounded;
  if (inexact) flags |= flag.PE | (up ? flag.C1 : 0) | (tiny ? flag.UE : 0);
  if (sig >> 64n) {
    sig >>= 1n;
    exp++;
  } else if (exp === 0 && sig & TOP_BIT) exp = 1;
  if (exp >= EXP_MASK) {
    if ((control & flag.OE) === 0) return [sig, sign | (exp - 24576), flags | flag.OE];
    const away = mode === rounding.nearest || mode === (value.negative ? rounding.down : rounding.up);
    if (away) return [TOP_BIT, sign | EXP_MASK, flag.OE | flag.PE | flag.C1];
    return [(1n << 64n) - 1n, sign | (EXP_MASK - 1), flag.OE | flag.PE];
  }
  return [sig, sign | exp, flags];
}

// --- series on fixed point

const multiply = (a: bigint, b: bigint): bigint => (a * b) >> POINT;

/** sin and cos of r, |r| < 1. */
function sinCos(r: bigint): [bigint, bigint] {
  const square = multiply(r, r);
  let sin = 0n;
  let cos = 0n;
  let term = ONE;
  for (let n = 1n; term !== 0n && term !== -1n; n += 2n) {
    cos += term;
    const odd = multiply(term, r) / n;
    sin += odd;
    term = -(multiply(term, square) / (n * (n + 1n)));
  }
  return [sin, cos];
}

function squareRoot(value: bigint): bigint {
  let x = 1n << BigInt((bitLength(value) + 1) >> 1);
  for (;;) {
    const next = (x + value / x) >> 1n;
    if (next >= x) return x;
    x = next;
  }
}

/** Arctangent of t, 0 <= t <= 1. */
function arctangent(t: bigint): bigint {
  let reduced = t;
  for (let i = 0; i < 3; i++) {
    const root = squareRoot((ONE << POINT) + reduced * reduced);
    reduced = (reduced << POINT) / (ONE + root);
  }
  const square = multiply(reduced, reduced);
  let power = reduced;
  let sum = 0n;
  for (let n = 1n; power !== 0n; n += 2n) {
    const term = power / n;
    sum += n & 2n ? -term : term;
    power = multiply(power, square);
  }
  return sum << 3n;
}

/** ln((1 + s) / (1 - s)), |s| < 1/2. */
function logarithmOfRatio(s: bigint): bigint {
  const square = multiply(s, s);
  let power = s;
  let sum = 0n;
  for (let n = 1n; power !== 0n && power !== -1n; n += 2n) {
    sum += power / n;
    power = multiply(power, square);
  }
  return sum << 1n;
}

const LN2 = logarithmOfRatio(ONE / 3n);
/** 4 atan(1), by Machin's formula. */
const PI = (() => {
  const inverse = (n: bigint) => {
    let power = ONE / n;
    let sum = 0n;
    for (let k = 1n; power !== 0n; k += 2n) {
      sum += k & 2n ? -(power / k) : power / k;
      power /= n * n;
    }
    return sum;
  };
  return 16n * inverse(5n) - 4n * inverse(239n);
})();
/** pi / 2 to 66 bits, times 2^67. */
const HALF_PI_66 = 0xc90fdaa22168c234cn;

// --- operands

const exponentField = (se: number): number => se & EXP_MASK;
const isNegative = (se: number): boolean => (se & SIGN) !== 0;
const isUnsupported = (sig: bigint, se: number): boolean => exponentField(se) !== 0 && (sig & TOP_BIT) === 0n;
const isNaN80 = (sig: bigint, se: number): boolean => exponentField(se) === EXP_MASK && (sig & (TOP_BIT - 1n)) !== 0n;
const isInfinite = (se: number): boolean => exponentField(se) === EXP_MASK;
const isDenormal = (sig: bigint, se: number): boolean => exponentField(se) === 0 && sig !== 0n;

const indefinite: Result = [INDEFINITE_SIG, INDEFINITE_SE, flag.IE];
const infinity = (negative: boolean, flags: number): Result => [TOP_BIT, negative ? SIGN | EXP_MASK : EXP_MASK, flags];
const zero = (negative: boolean, flags: number): Result => [0n, negative ? SIGN : 0, flags];

/** A finite number other than 0, exactly. */
function exact(sig: bigint, se: number): Big {
  return { negative: isNegative(se), size: sig, exp: (exponentField(se) || 1) - BIAS - 63, rough: false };
}

/** Floor of its binary logarithm. */
const magnitudeOf = (value: Big): number => value.exp + bitLength(value.size) - 1;

/** The first term of a series where the others are out of sight: processors take it as it stands in every rounding mode. */
const firstTerm = (value: Big): Big => ({ ...value, inexact: true });

/** A fixed-point number as a rough one. */
function fromFixed(fixed: bigint, negative: boolean): Big {
  const below = fixed < 0n;
  return { negative: below !== negative, size: below ? -fixed : fixed, exp: -P, rough: true };
}

/** The value with P bits after its point; exact for exponents that the callers let through. */
const toFixed = (value: Big): bigint => {
  const shift = value.exp + P;
  return shift >= 0 ? value.size << BigInt(shift) : value.size >> BigInt(-shift);
};

function unarySpecial(sig: bigint, se: number): Result | undefined {
  if (isUnsupported(sig, se)) return indefinite;
  if (isNaN80(sig, se)) return [sig | QUIET_BIT, se, (sig & QUIET_BIT) === 0n ? flag.IE : 0];
  return undefined;
}

function pairSpecial(sigA: bigint, seA: number, sigB: bigint, seB: number): Result | undefined {
  if (isUnsupported(sigA, seA) || isUnsupported(sigB, seB)) return indefinite;
  const nanA = isNaN80(sigA, seA);
  const nanB = isNaN80(sigB, seB);
  if (!nanA && !nanB) return undefined;
  const signalingA = nanA && (sigA & QUIET_BIT) === 0n;
  const signalingB = nanB && (sigB & QUIET_BIT) === 0n;
  const flags = signalingA || signalingB ? flag.IE : 0;
  let useA = nanA;
  if (nanA && nanB) useA = signalingA === signalingB ? sigA > sigB || (sigA === sigB && seA <= seB) : signalingB;
  return useA ? [sigA | QUIET_BIT, seA, flags] : [sigB | QUIET_BIT, seB, flags];
}

// --- the functions

/** sin, cos of a finite number other than 0, |x| < 2^63. */
function trigonometric(x: Big): { sin: Big; cos: Big; tan: Big } {
  if (magnitudeOf(x) < TINY) {
    const one: Big = { negative: false, size: 1n, exp: 0, rough: false };
    return { sin: firstTerm(x), cos: firstTerm(one), tan: firstTerm(x) };
  }
  // In units of 2^-140, which the operand is a multiple of.
  const units = 140;
  const value = x.size << BigInt(x.exp + units);
  const quarter = HALF_PI_66 << BigInt(units - 67);
  let turns = (value + (quarter >> 1n)) / quarter;
  const rest = (value - turns * quarter) << BigInt(P - units);
  turns &= 3n;
  const [s, c] = sinCos(rest);
  const [sin, cos] = turns & 1n ? [c, -s] : [s, c];
  const flip = (turns & 2n) !== 0n;
  const tan = (sin << POINT) / cos;
  return { sin: fromFixed(sin, x.negative !== flip), cos: fromFixed(cos, flip), tan: fromFixed(tan, x.negative) };
}

type Trigonometric = 'sin' | 'cos' | 'tan';

function oneOf(name: Trigonometric, sig: bigint, se: number, control: number): Result {
  const special = unarySpecial(sig, se);
  if (special) return special;
  if (isInfinite(se)) return indefinite;
  if (sig === 0n) return name === 'cos' ? [TOP_BIT, BIAS, 0] : [sig, se, 0];
  if (exponentField(se) >= BIAS + 63) return [sig, se, cc.C2];
  const denormal = isDenormal(sig, se) ? flag.DE : 0;
  if (denormal & ~control) return [sig, se, denormal];
  const [resultSig, resultSe, flags] = round(trigonometric(exact(sig, se))[name], control);
  return [resultSig, resultSe, flags | denormal];
}

function sineAndCosine(sig: bigint, se: number, control: number): Results {
  const [sinSig, sinSe, sinFlags] = oneOf('sin', sig, se, control);
  if (sinFlags & cc.C2) return [sinSig, sinSe, 0n, 0, sinFlags];
  const [cosSig, cosSe, cosFlags] = oneOf('cos', sig, se, control);
  return [sinSig, sinSe, cosSig, cosSe, (sinFlags & ~flag.C1) | cosFlags];
}

function tangent(sig: bigint, se: number, control: number): Results {
  const [tanSig, tanSe, flags] = oneOf('tan', sig, se, control);
  const one = (flags & flag.IE) === 0 && !isNaN80(tanSig, tanSe);
  return one ? [tanSig, tanSe, TOP_BIT, BIAS, flags] : [tanSig, tanSe, tanSig, tanSe, flags];
}

/** A multiple of pi / 4, plus or minus less than can be seen. */
function nearPi(quarters: bigint, negative: boolean, by: 1n | -1n | 0n): Big {
  const fixed = (PI * quarters) >> 2n;
  return fromFixed(fixed + (by === 0n ? 0n : by << BigInt(P - 200)), negative);
}

/** atan2(y, x): y is ST(1). */
function arctangent2(sigX: bigint, seX: number, sigY: bigint, seY: number, control: number): Result {
  const special = pairSpecial(sigX, seX, sigY, seY);
  if (special) return special;
  const negative = isNegative(seY);
  const left = isNegative(seX);
  const denormal = isDenormal(sigX, seX) || isDenormal(sigY, seY) ? flag.DE : 0;
  if (denormal & ~control) return [sigX, seX, denormal];
  const finish = (value: Big): Result => {
    const [sig, se, flags] = round(value, control);
    return [sig, se, flags | denormal];
  };
  if (isInfinite(seY)) return finish(nearPi(isInfinite(seX) ? (left ? 3n : 1n) : 2n, negative, 0n));
  if (sigY === 0n || isInfinite(seX)) return left ? finish(nearPi(4n, negative, 0n)) : zero(negative, denormal);
  if (sigX === 0n) return finish(nearPi(2n, negative, 0n));
  const x = exact(sigX, seX);
  const y = exact(sigY, seY);
  const distance = magnitudeOf(y) - magnitudeOf(x);
  if (distance > -TINY) return finish(nearPi(2n, negative, left ? 1n : -1n));
  if (distance < TINY) {
    if (left) return finish(nearPi(4n, negative, -1n));
    const shift = 200;
    const quotient = (y.size << BigInt(shift)) / x.size;
    const isExact = quotient * x.size === y.size << BigInt(shift);
    const value: Big = { negative, size: quotient, exp: y.exp - x.exp - shift, rough: !isExact };
    return finish(firstTerm(value));
  }
  // The quotient of the smaller by the larger, in fixed point.
  const yLarger = y.exp > x.exp ? y.size << BigInt(y.exp - x.exp) : y.size;
  const xLarger = x.exp > y.exp ? x.size << BigInt(x.exp - y.exp) : x.size;
  const steep = yLarger > xLarger;
  const ratio = steep ? (xLarger << POINT) / yLarger : (yLarger << POINT) / xLarger;
  const base = arctangent(ratio);
  const first = steep ? (PI >> 1n) - base : base;
  return finish(fromFixed(left ? PI - first : first, negative));
}

function powerOfTwoMinusOne(sig: bigint, se: number, control: number): Result {
  const special = unarySpecial(sig, se);
  if (special) return special;
  const negative = isNegative(se);
  if (isInfinite(se)) return negative ? [TOP_BIT, SIGN | BIAS, 0] : [sig, se, 0];
  if (sig === 0n) return [sig, se, 0];
  const x = exact(sig, se);
  const magnitude = magnitudeOf(x);
  // From 1 on undefined; but the ends themselves are exact.
  if (magnitude >= 0) {
    if (magnitude > 0 || sig !== TOP_BIT) return [sig, se, flag.PE];
    return negative ? [TOP_BIT, SIGN | (BIAS - 1), flag.PE] : [TOP_BIT, BIAS, flag.PE];
  }
  const denormal = isDenormal(sig, se) ? flag.DE : 0;
  if (denormal & ~control) return [sig, se, denormal];
  let value: Big;
  if (magnitude < TINY) value = { negative, size: x.size * LN2, exp: x.exp - P, rough: true };
  else {
    const z = multiply(toFixed(x), LN2) * (negative ? -1n : 1n);
    let term = z;
    let sum = 0n;
    for (let n = 2n; term !== 0n && term !== -1n; n++) {
      sum += term;
      term = multiply(term, z) / n;
    }
    value = fromFixed(sum, false);
  }
  const [resultSig, resultSe, flags] = round(value, control);
  return [resultSig, resultSe, flags | denormal];
}

/** log2 of 1 + numerator / denominator, for a quotient between -1/2 and 1. */
function logarithm(numerator: bigint, denominator: bigint): bigint {
  const s = (numerator << POINT) / (2n * denominator + numerator);
  return (logarithmOfRatio(s) << POINT) / LN2;
}

function product(y: Big, log: Big, control: number, denormal: number): Result {
  const value: Big = {
    negative: y.negative !== log.negative,
    size: y.size * log.size,
    exp: y.exp + log.exp,
    rough: log.rough,
  };
  const [sig, se, flags] = round(value, control);
  // Processors call even the product with an exact logarithm inexact.
  const underflow = (se & EXP_MASK) === 0 ? flag.UE : 0;
  return [sig, se, flags | denormal | underflow | flag.PE];
}

/** ST(1) * log2(ST(0)). */
function timesLogarithm(sigX: bigint, seX: number, sigY: bigint, seY: number, control: number): Result {
  const special = pairSpecial(sigX, seX, sigY, seY);
  if (special) return special;
  const negativeY = isNegative(seY);
  if (sigX === 0n) {
    if (sigY === 0n) return indefinite;
    return infinity(!negativeY, isInfinite(seY) ? 0 : flag.ZE);
  }
  if (isNegative(seX)) return indefinite;
  const denormal = isDenormal(sigX, seX) || isDenormal(sigY, seY) ? flag.DE : 0;
  const isOne = sigX === TOP_BIT && seX === BIAS;
  const belowOne = exponentField(seX) < BIAS;
  if (isInfinite(seX)) return sigY === 0n ? indefinite : infinity(negativeY, denormal);
  if (isInfinite(seY)) return isOne ? indefinite : infinity(negativeY !== belowOne, denormal);
  if (denormal & ~control) return [sigX, seX, denormal];
  if (isOne) return zero(negativeY, denormal);
  if (sigY === 0n) return zero(negativeY !== belowOne, denormal);
  const x = exact(sigX, seX);
  const y = exact(sigY, seY);
  let power = magnitudeOf(x);
  const lowest = BigInt(bitLength(x.size) - 1);
  const isPower = x.size === 1n << lowest;
  if (isPower) {
    const log: Big = { negative: power < 0, size: BigInt(Math.abs(power)), exp: 0, rough: false };
    return product(y, log, control, denormal);
  }
  // x = 2^power * m, m between 0.7 and 1.4
  let unit = 1n << lowest;
  if (x.size > unit + (unit >> 1n)) {
    unit <<= 1n;
    power++;
  }
  const fixed = (BigInt(power) << POINT) + logarithm(x.size - unit, unit);
  return product(y, fromFixed(fixed, false), control, denormal);
}

/** ST(1) * log2(ST(0) + 1). */
function timesLogarithmPlusOne(sigX: bigint, seX: number, sigY: bigint, seY: number, control: number): Result {
  const special = pairSpecial(sigX, seX, sigY, seY);
  if (special) return special;
  const negativeX = isNegative(seX);
  const negative = negativeX !== isNegative(seY);
  const denormal = isDenormal(sigX, seX) || isDenormal(sigY, seY) ? flag.DE : 0;
  if (isInfinite(seX)) return negativeX || sigY === 0n ? indefinite : infinity(negative, denormal);
  if (isInfinite(seY)) return sigX === 0n ? indefinite : infinity(negative, denormal);
  if (denormal & ~control) return [sigX, seX, denormal];
  if (sigX === 0n || sigY === 0n) return zero(negative, denormal);
  const x = exact(sigX, seX);
  const y = exact(sigY, seY);
  const magnitude = magnitudeOf(x);
  if (magnitude < TINY) {
    const size = (x.size << BigInt(2 * P)) / LN2;
    return product(y, { negative: negativeX, size, exp: x.exp - P, rough: true }, control, denormal);
  }
  // The manual leaves operands outside 1 - sqrt(1/2) open; at -1 and below there is no logarithm.
  if (magnitude > 62)
    return negativeX ? [sigX, seX, flag.PE | denormal] : timesLogarithm(sigX, seX, sigY, seY, control);
  const units = 140;
  const value = x.size << BigInt(x.exp + units);
  const one = 1n << BigInt(units);
  const sum = negativeX ? one - value : one + value;
  if (sum <= 0n) return [sigX, seX, flag.PE | denormal];
  let power = bitLength(sum) - 1 - units;
  let unit = 1n << BigInt(power + units);
  if (sum > unit + (unit >> 1n)) {
    unit <<= 1n;
    power++;
  }
  const numerator = sum - unit;
  const log = (BigInt(power) << POINT) + (numerator === 0n ? 0n : logarithm(numerator, unit));
  const isExact = numerator === 0n;
  return product(y, { ...fromFixed(log, false), rough: !isExact }, control, denormal);
}

/** The host routine `x87_function` (x87-transcendental.ts). The numbers it gets are any bits at all. */
export function x87Function(
  _state: number,
  name: number,
  givenA: bigint,
  seA: number,
  givenB: bigint,
  seB: number,
  control: number,
): Results {
  const sigA = BigInt.asUintN(64, givenA);
  const sigB = BigInt.asUintN(64, givenB);
  const single = ([sig, se, flags]: Result): Results => [sig, se, 0n, 0, flags];
  switch (name) {
    case functionNumber.fsin:
      return single(oneOf('sin', sigA, seA, control));
    case functionNumber.fcos:
      return single(oneOf('cos', sigA, seA, control));
    case functionNumber.fsincos:
      return sineAndCosine(sigA, seA, control);
    case functionNumber.fptan:
      return tangent(sigA, seA, control);
    case functionNumber.fpatan:
      return single(arctangent2(sigA, seA, sigB, seB, control));
    case functionNumber.f2xm1:
      return single(powerOfTwoMinusOne(sigA, seA, control));
    case functionNumber.fyl2x:
      return single(timesLogarithm(sigA, seA, sigB, seB, control));
    default:
      return single(timesLogarithmPlusOne(sigA, seA, sigB, seB, control));
  }
}
