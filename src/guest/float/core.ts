/**
 * Binary floating point on integers, independent of format: pieces of IR that the guests' floating-point routines
 * are made of.
 *
 * A finite number other than zero is taken apart into a sign (0 or SIGN), a biased exponent (any i32; bias 16383) and a
 * significand of 64 bits whose top bit is set. A result before rounding is *wide*: the same with 64 more bits below
 * (`lo`), the last of them sticky. Algorithms: Knuth vol. 2, 4.3.1 (division), Zimmermann, "Karatsuba Square Root".
 */
import type { I32, I64, Local, RoutineBuilder } from '../../ir/index.js';

/** The sign as the routines carry it: where an 80-bit number's upper 16 bits have it. */
export const SIGN = 0x8000;
export const BIAS = 16383;
export const EXP_MASK = 0x7fff;
export const TOP_BIT = 1n << 63n;
export const QUIET_BIT = 1n << 62n;

/** Exception flags as in the x87 status word and MXCSR, and what else travels with them in the status word. */
export const flag = {
  IE: 1,
  DE: 2,
  ZE: 4,
  OE: 8,
  UE: 0x10,
  PE: 0x20,
  SF: 0x40,
  ES: 0x80,
  C1: 0x200,
  B: 0x8000,
} as const;

export const rounding = { nearest: 0, down: 1, up: 2, zero: 3, tiesAway: 4 } as const;

/** An unrounded result: hi has its top bit set, or hi and lo are 0. */
export interface Wide {
  readonly sign: Local<'i32'>;
  readonly exp: Local<'i32'>;
  readonly hi: Local<'i64'>;
  readonly lo: Local<'i64'>;
}

export const and = (r: RoutineBuilder, a: I32, mask: number): I32 => r.i32_and(a, r.i32(mask));
export const or = (r: RoutineBuilder, a: I32, bits: number): I32 => r.i32_or(a, r.i32(bits));
export const addTo = (r: RoutineBuilder, a: I32, n: number): I32 => r.i32_add(a, r.i32(n));
/** a <= value < a + count, signed a allowed. */
export const within = (r: RoutineBuilder, value: I32, from: number, count: number): I32 =>
  r.i32_lt_u(r.i32_sub(value, r.i32(from)), r.i32(count));
export const nonZero = (r: RoutineBuilder, a: I64): I32 => r.i64_ne(a, r.i64(0));
export const bit64 = (r: RoutineBuilder, condition: I32): I64 => r.i64_extend_i32_u(condition);

/** All bits of the 128-bit product. */
export function multiplyWide(r: RoutineBuilder, a: I64, b: I64): { hi: I64; lo: I64 } {
  const low = r.i64(0xffffffff);
  const half = r.i64(32);
  const aLow = r.i64_and(a, low);
  const aHigh = r.i64_shr_u(a, half);
  const bLow = r.i64_and(b, low);
  const bHigh = r.i64_shr_u(b, half);
  const upper = r.i64_add(r.i64_mul(aHigh, bLow), r.i64_shr_u(r.i64_mul(aLow, bLow), half));
  const lower = r.i64_add(r.i64_mul(aLow, bHigh), r.i64_and(upper, low));
  const hi = r.i64_add(r.i64_add(r.i64_mul(aHigh, bHigh), r.i64_shr_u(upper, half)), r.i64_shr_u(lower, half));
  return { hi, lo: r.i64_mul(a, b) };
}

/** value >> count and what falls out below, count 0..63. */
export function shiftOut(r: RoutineBuilder, value: I64, count: I32): { kept: I64; out: I64 } {
  const n = r.i64_extend_i32_u(count);
  const kept = r.i64_shr_u(value, n);
  const out = r.i64_shl(r.i64_shl(value, r.i64_xor(n, r.i64(63))), r.i64(1));
  return { kept, out };
}

/** Shifts a significand with nothing below it right by any count >= 0; `lo` keeps 64 bits, the last one sticky. */
export function alignRight(r: RoutineBuilder, value: I64, count: I32, hi: Local<'i64'>, lo: Local<'i64'>): void {
  r.if(
    r.i32_lt_u(count, r.i32(64)),
    () => {
      const { kept, out } = shiftOut(r, value, count);
      r.assign(hi, kept);
      r.assign(lo, out);
    },
    () => {
      r.assign(hi, r.i64(0));
      r.if(
        r.i32_lt_u(count, r.i32(128)),
        () => {
          const { kept, out } = shiftOut(r, value, addTo(r, count, -64));
          r.assign(lo, r.i64_or(kept, bit64(r, nonZero(r, out))));
        },
        () => r.assign(lo, bit64(r, nonZero(r, value))),
      );
    },
  );
}

/** Shifts (hi, lo) right by count >= 1, keeping the last bit of lo sticky. */
export function shiftRightSticky(r: RoutineBuilder, hi: Local<'i64'>, lo: Local<'i64'>, count: I32): void {
  const oldHi = r.read(hi);
  const sticky = bit64(r, nonZero(r, r.read(lo)));
  r.if(
    r.i32_lt_u(count, r.i32(64)),
    () => {
      const { kept, out } = shiftOut(r, oldHi, count);
      r.assign(hi, kept);
      const low = shiftOut(r, r.read(lo), count);
      r.assign(lo, r.i64_or(r.i64_or(out, low.kept), bit64(r, nonZero(r, low.out))));
    },
    () => {
      alignRight(r, oldHi, count, hi, lo);
      r.assign(lo, r.i64_or(r.read(lo), sticky));
    },
  );
}

/** Shifts (hi, lo), not both 0, left until the top bit is set. */
export function normalizeWide(r: RoutineBuilder, w: Wide): void {
  r.if(r.i64_eqz(r.read(w.hi)), () => {
    r.assign(w.hi, r.read(w.lo));
    r.assign(w.lo, r.i64(0));
    r.assign(w.exp, addTo(r, r.read(w.exp), -64));
  });
  const hi = r.read(w.hi);
  const count = r.i64_clz(hi);
  const lo = r.read(w.lo);
  const carried = r.i64_shr_u(r.i64_shr_u(lo, r.i64(1)), r.i64_xor(count, r.i64(63)));
  r.assign(w.hi, r.i64_or(r.i64_shl(hi, count), r.select(r.i64_eqz(count), r.i64(0), carried)));
  r.assign(w.lo, r.i64_shl(lo, count));
  r.assign(w.exp, r.i32_sub(r.read(w.exp), r.i32_wrap_i64(count)));
}

/** Locals for a wide result. */
export function wideLocals(r: RoutineBuilder): Wide {
  return { sign: r.local('i32'), exp: r.local('i32'), hi: r.local('i64'), lo: r.local('i64') };
}

/** Sum. Both 0 in hi and lo: exactly zero (its sign is the caller's to choose). */
export function emitAdd(r: RoutineBuilder, signA: I32, expA: I32, sigA: I64, signB: I32, expB: I32, sigB: I64): Wide {
  const w = wideLocals(r);
  const distance = r.i32_sub(expA, expB);
  const swap = r.i32_lt_s(distance, r.i32(0));
  const large = r.select(swap, sigB, sigA);
  const small = r.select(swap, sigA, sigB);
  r.assign(w.exp, r.select(swap, expB, expA));
  r.assign(w.sign, r.select(swap, signB, signA));
  const count = r.select(swap, r.i32_sub(r.i32(0), distance), distance);
  alignRight(r, small, count, w.hi, w.lo);
  const alignedHi = r.read(w.hi);
  const alignedLo = r.read(w.lo);
  r.if(
    r.i32_eq(signA, signB),
    () => {
      const sum = r.i64_add(large, alignedHi);
      r.assign(w.hi, sum);
      r.if(r.i64_lt_u(sum, large), () => {
        r.assign(w.hi, r.i64_or(r.i64_shr_u(sum, r.i64(1)), r.i64(TOP_BIT)));
        const lo = r.i64_or(r.i64_shr_u(alignedLo, r.i64(1)), r.i64_shl(sum, r.i64(63)));
        r.assign(w.lo, r.i64_or(lo, r.i64_and(alignedLo, r.i64(1))));
        r.assign(w.exp, addTo(r, r.read(w.exp), 1));
      });
    },
    () => {
      r.if(
        r.i64_lt_u(large, alignedHi),
        () => {
          // Only when the exponents are equal: lo is 0.
          r.assign(w.hi, r.i64_sub(alignedHi, large));
          r.assign(w.sign, r.i32_xor(r.read(w.sign), r.i32(SIGN)));
        },
        () => {
          r.assign(w.hi, r.i64_sub(r.i64_sub(large, alignedHi), bit64(r, nonZero(r, alignedLo))));
          r.assign(w.lo, r.i64_sub(r.i64(0), alignedLo));
        },
      );
      r.if(r.i64_ge_s(r.read(w.hi), r.i64(0)), () => {
        r.if(nonZero(r, r.i64_or(r.read(w.hi), r.read(w.lo))), () => normalizeWide(r, w));
      });
    },
  );
  return w;
}

/** Product. */
export function emitMultiply(
  r: RoutineBuilder,
  signA: I32,
  expA: I32,
  sigA: I64,
  signB: I32,
  expB: I32,
  sigB: I64,
): Wide {
  const w = wideLocals(r);
  const { hi, lo } = multiplyWide(r, sigA, sigB);
  r.assign(w.sign, r.i32_xor(signA, signB));
  // [1, 2) x [1, 2) gives [1, 4): one place to the left unless the top bit is set.
  const below = r.i64_ge_s(hi, r.i64(0));
  const exp = addTo(r, r.i32_add(expA, expB), 1 - BIAS);
  r.assign(w.exp, r.i32_sub(exp, below));
  const shift = bit64(r, below);
  const carried = r.i64_and(r.i64_shr_u(lo, r.i64(63)), shift);
  r.assign(w.hi, r.i64_or(r.i64_shl(hi, shift), carried));
  r.assign(w.lo, r.i64_shl(lo, shift));
  return w;
}

/**
 * Adds a number of 64 bits to a product of 128. What is shifted out below the 128 bits is sticky: that loses nothing, as it
 * only happens where the exponents are so far apart that at most one leading bit cancels.
 */
export function addToProduct(r: RoutineBuilder, p: Wide, sign: I32, exp: I32, sig: I64): Wide {
  const w = wideLocals(r);
  const hi: Local<'i64'> = r.local('i64', sig);
  const lo: Local<'i64'> = r.local('i64', r.i64(0));
  // w becomes the one with the larger exponent, (hi, lo) the other one.
  const otherSign = r.local('i32', sign);
  const distance = r.local('i32', r.i32_sub(r.read(p.exp), exp));
  r.assign(w.sign, r.read(p.sign));
  r.assign(w.exp, r.read(p.exp));
  r.assign(w.hi, r.read(p.hi));
  r.assign(w.lo, r.read(p.lo));
  r.if(r.i32_lt_s(r.read(distance), r.i32(0)), () => {
    r.assign(w.sign, sign);
    r.assign(w.exp, exp);
    r.assign(w.hi, sig);
    r.assign(w.lo, r.i64(0));
    r.assign(otherSign, r.read(p.sign));
    r.assign(hi, r.read(p.hi));
    r.assign(lo, r.read(p.lo));
    r.assign(distance, r.i32_sub(r.i32(0), r.read(distance)));
  });
  r.if(r.read(distance), () => shiftRightSticky(r, hi, lo, r.read(distance)));
  const otherHi = r.read(hi);
  const otherLo = r.read(lo);
  const ownHi = r.read(w.hi);
  const ownLo = r.read(w.lo);
  r.if(
    r.i32_eq(r.read(w.sign), r.read(otherSign)),
    () => {
      const low = r.i64_add(ownLo, otherLo);
      const carry = bit64(r, r.i64_lt_u(low, ownLo));
      const partial = r.i64_add(ownHi, otherHi);
      const high = r.i64_add(partial, carry);
      const overflow = r.i32_or(r.i64_lt_u(partial, ownHi), r.i64_lt_u(high, partial));
      r.assign(w.hi, high);
      r.assign(w.lo, low);
      r.if(overflow, () => {
        r.assign(w.hi, r.i64_or(r.i64_shr_u(high, r.i64(1)), r.i64(TOP_BIT)));
        const halved = r.i64_or(r.i64_shr_u(low, r.i64(1)), r.i64_shl(high, r.i64(63)));
        r.assign(w.lo, r.i64_or(halved, r.i64_and(low, r.i64(1))));
        r.assign(w.exp, r.i32_add(r.read(w.exp), r.i32(1)));
      });
    },
    () => {
      const less = r.i32_or(
        r.i64_lt_u(ownHi, otherHi),
        r.i32_and(r.i64_eq(ownHi, otherHi), r.i64_lt_u(ownLo, otherLo)),
      );
      const largeHi = r.select(less, otherHi, ownHi);
      const largeLo = r.select(less, otherLo, ownLo);
      const smallHi = r.select(less, ownHi, otherHi);
      const smallLo = r.select(less, ownLo, otherLo);
      r.if(less, () => r.assign(w.sign, r.read(otherSign)));
      const borrow = bit64(r, r.i64_lt_u(largeLo, smallLo));
      r.assign(w.hi, r.i64_sub(r.i64_sub(largeHi, smallHi), borrow));
      r.assign(w.lo, r.i64_sub(largeLo, smallLo));
      r.if(nonZero(r, r.i64_or(r.read(w.hi), r.read(w.lo))), () => normalizeWide(r, w));
    },
  );
  return w;
}

/** One step of a division by digits of 32 bits: (rest * 2^32 + digit) / divisor, where rest < divisor and its top bit is set. */
function divideDigit(r: RoutineBuilder, rest: I64, digit: I64, divisor: I64): { quotient: I64; rest: I64 } {
  const half = r.i64(32);
  const dHigh = r.i64_shr_u(divisor, half);
  const dLow = r.i64_and(divisor, r.i64(0xffffffff));
  const quotient = r.local('i64', r.i64_div_u(rest, dHigh));
  const left = r.local('i64', r.i64_sub(rest, r.i64_mul(r.read(quotient), dHigh)));
  r.block((done) => {
    r.loop((again) => {
      const q = r.read(quotient);
      const tooLarge = r.i32_or(
        nonZero(r, r.i64_shr_u(q, half)),
        r.i64_gt_u(r.i64_mul(q, dLow), r.i64_or(r.i64_shl(r.read(left), half), digit)),
      );
      r.brIf(done, r.i32_eqz(tooLarge));
      r.assign(quotient, r.i64_sub(q, r.i64(1)));
      const more = r.i64_add(r.read(left), dHigh);
      r.assign(left, more);
      r.brIf(again, r.i64_eqz(r.i64_shr_u(more, half)));
    });
  });
  const q = r.read(quotient);
  return { quotient: q, rest: r.i64_sub(r.i64_or(r.i64_shl(rest, half), digit), r.i64_mul(q, divisor)) };
}

/** (hi * 2^64 + lo) / divisor with hi < divisor, the divisor's top bit set. */
export function divideWide(r: RoutineBuilder, hi: I64, lo: I64, divisor: I64): { quotient: I64; rest: I64 } {
  const first = divideDigit(r, hi, r.i64_shr_u(lo, r.i64(32)), divisor);
  const second = divideDigit(r, first.rest, r.i64_and(lo, r.i64(0xffffffff)), divisor);
  return {
    quotient: r.i64_or(r.i64_shl(first.quotient, r.i64(32)), second.quotient),
    rest: second.rest,
  };
}

/** The bits below a quotient, from its remainder: 0, below, at or above one half. */
function fractionOf(r: RoutineBuilder, rest: I64, divisor: I64): I64 {
  const other = r.i64_sub(divisor, rest);
  const half = r.i64_shl(bit64(r, r.i64_ge_u(rest, other)), r.i64(63));
  const unequal = bit64(r, r.i32_and(r.i64_ne(rest, other), nonZero(r, rest)));
  return r.i64_or(half, unequal);
}

/** Quotient. */
export function emitDivide(
  r: RoutineBuilder,
  signA: I32,
  expA: I32,
  sigA: I64,
  signB: I32,
  expB: I32,
  sigB: I64,
): Wide {
  const w = wideLocals(r);
  r.assign(w.sign, r.i32_xor(signA, signB));
  const below = r.i64_lt_u(sigA, sigB);
  const exp = addTo(r, r.i32_sub(expA, expB), BIAS);
  r.assign(w.exp, r.i32_sub(exp, below));
  const shift = bit64(r, r.i32_eqz(below));
  const hi = r.i64_shr_u(sigA, shift);
  const lo = r.i64_shl(r.i64_and(sigA, shift), r.i64(63));
  const { quotient, rest } = divideWide(r, hi, lo, sigB);
  r.assign(w.hi, quotient);
  r.assign(w.lo, fractionOf(r, rest, sigB));
  return w;
}

/** Square root of a positive number. */
export function emitSquareRoot(r: RoutineBuilder, exp: I32, sig: I64): Wide {
  const w = wideLocals(r);
  const half = r.i64(32);
  const low = r.i64(0xffffffff);
  r.assign(w.sign, r.i32(0));
  // An even unbiased exponent leaves the radicand in [2^126, 2^127), an odd one in [2^127, 2^128).
  const even = and(r, exp, 1);
  const unbiased = addTo(r, exp, -BIAS);
  r.assign(w.exp, addTo(r, r.i32_shr_s(unbiased, r.i32(1)), BIAS));
  const shift = bit64(r, even);
  const high = r.i64_shr_u(sig, shift);
  const below = r.i64_shl(r.i64_and(sig, shift), r.i64(63));
  // The root's upper 32 bits: a double is near enough to be off by one at most.
  const root = r.local('i64', r.i64_trunc_sat_f64_u(r.f64_sqrt(r.f64_convert_i64_u(high))));
  r.if(nonZero(r, r.i64_shr_u(r.read(root), half)), () => r.assign(root, low));
  r.if(r.i64_gt_u(r.i64_mul(r.read(root), r.read(root)), high), () =>
    r.assign(root, r.i64_sub(r.read(root), r.i64(1))),
  );
  const excess = r.i64_sub(high, r.i64_mul(r.read(root), r.read(root)));
  const tooSmall = bit64(r, r.i64_gt_u(excess, r.i64_shl(r.read(root), r.i64(1))));
  const upper = r.i64_add(r.read(root), tooSmall);
  const rest = r.i64_sub(high, r.i64_mul(upper, upper));
  // The next 32: (rest * 2^32 + digit) / (2 * upper), halved to fit.
  const digit = r.i64_shr_u(below, half);
  const numerator = r.i64_or(r.i64_shl(rest, r.i64(31)), r.i64_shr_u(digit, r.i64(1)));
  const guess = r.i64_div_u(numerator, upper);
  const next = r.local('i64', r.select(r.i64_gt_u(guess, low), low, guess));
  const s = r.local('i64', r.i64_or(r.i64_shl(upper, half), r.read(next)));
  // What is left, 128 bits: radicand - s * s.
  const square = multiplyWide(r, r.read(s), r.read(s));
  const restLow = r.local('i64', r.i64_sub(below, square.lo));
  const restHigh = r.local('i64', r.i64_sub(r.i64_sub(high, square.hi), bit64(r, r.i64_lt_u(below, square.lo))));
  r.loop((again) => {
    r.if(r.i64_lt_s(r.read(restHigh), r.i64(0)), () => {
      const smaller = r.i64_sub(r.read(s), r.i64(1));
      r.assign(s, smaller);
      const step = r.i64_or(r.i64_shl(smaller, r.i64(1)), r.i64(1));
      const sum = r.i64_add(r.read(restLow), step);
      const carry = bit64(r, r.i64_lt_u(sum, step));
      r.assign(restLow, sum);
      r.assign(restHigh, r.i64_add(r.i64_add(r.read(restHigh), r.i64_shr_u(smaller, r.i64(63))), carry));
      r.br(again);
    });
  });
  r.assign(w.hi, r.read(s));
  const above = r.i32_or(nonZero(r, r.read(restHigh)), r.i64_gt_u(r.read(restLow), r.read(s)));
  const some = nonZero(r, r.i64_or(r.read(restHigh), r.read(restLow)));
  r.assign(w.lo, r.i64_or(r.i64_shl(bit64(r, above), r.i64(63)), bit64(r, some)));
  return w;
}

/**
 * 1 if `hi` must be raised by one in its last place, given the bits below it. `mode` as in `rounding`; the sign decides the
 * directed modes. `tiesAway`: the mode may be that too, which x86 does not have.
 */
export function roundsUp(r: RoutineBuilder, mode: I32, sign: I32, hi: I64, lo: I64, tiesAway = false): I32 {
  const even = r.i64_xor(r.i64_and(hi, r.i64(1)), r.i64(1));
  const nearest = r.i32_wrap_i64(r.i64_shr_u(r.i64_sub(lo, even), r.i64(63)));
  // down rounds negative numbers away from zero, up the positive ones
  const isDown = r.i32_eq(mode, r.i32(rounding.down));
  const isUp = r.i32_eq(mode, r.i32(rounding.up));
  const directed = r.select(sign, isDown, isUp);
  const up = r.select(r.i32_eqz(mode), nearest, directed);
  if (!tiesAway) return r.i32_and(up, nonZero(r, lo));
  const away = r.i32_wrap_i64(r.i64_shr_u(lo, r.i64(63)));
  return r.i32_and(r.select(r.i32_eq(mode, r.i32(rounding.tiesAway)), away, up), nonZero(r, lo));
}
