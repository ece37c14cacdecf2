/**
 * Extended precision: comparison, partial remainder, scaling, taking apart. Intel SDM vol. 2 FCOM, FPREM, FPREM1, FSCALE,
 * FXTRACT. The precision control has no say in these.
 */
import type { I32, I64, Local, RoutineBuilder } from '../../../ir/index.js';
import { addTo, and, BIAS, bit64, divideWide, EXP_MASK, flag, or, QUIET_BIT, SIGN, TOP_BIT } from '../../float/core.js';
import { field } from '../state.js';
import {
  BIAS_ADJUST,
  exponentOf,
  INDEFINITE_SE,
  INDEFINITE_SIG,
  isDenormal,
  isInfinite,
  isNaN80,
  isQuiet,
  isUnsupported,
  normalizeOperand,
  propagate80,
  returnIndefinite,
  round80,
  signOf,
  stopAtDenormal,
} from './float80.js';
import { fromInteger } from './float80-convert.js';
import { routines } from './set.js';

/** Condition codes in the status word. */
export const cc = { C0: 0x100, C1: 0x200, C2: 0x400, C3: 0x4000, all: 0x4700 } as const;

/** (a, b, quiet) to (C3, C2, C0 as status bits; flags): `quiet` not 0 spares quiet NaNs the IE. */
export const compare80 = routines.define(
  'f80_compare',
  ['i64', 'i32', 'i64', 'i32', 'i32'],
  ['i32', 'i32'],
  { pure: true },
  (r, sigA, seA, sigB, seB, quiet) => {
    const expA = exponentOf(r, seA);
    const expB = exponentOf(r, seB);
    const unsupported = r.i32_or(isUnsupported(r, sigA, expA), isUnsupported(r, sigB, expB));
    const nanA = isNaN80(r, sigA, expA);
    const nanB = isNaN80(r, sigB, expB);
    r.if(r.i32_or(unsupported, r.i32_or(nanA, nanB)), () => {
      const signalingA = r.i32_and(nanA, r.i32_eqz(isQuiet(r, sigA)));
      const signalingB = r.i32_and(nanB, r.i32_eqz(isQuiet(r, sigB)));
      const invalid = r.i32_or(r.i32_or(unsupported, r.i32_eqz(quiet)), r.i32_or(signalingA, signalingB));
      r.ret(r.i32(cc.C3 | cc.C2 | cc.C0), invalid);
    });
    const denormal = r.i32_or(isDenormal(r, sigA, expA), isDenormal(r, sigB, expB));
    const flags = r.i32_shl(denormal, r.i32(1));
    r.if(r.i64_eqz(r.i64_or(sigA, sigB)), () => r.ret(r.i32(cc.C3), flags));
    const negativeA = signOf(r, seA);
    r.if(r.i32_ne(negativeA, signOf(r, seB)), () => r.ret(r.select(negativeA, r.i32(cc.C0), r.i32(0)), flags));
    // Denormals have the exponent of the smallest normal numbers.
    const a = r.i32_or(expA, r.i32_eqz(expA));
    const b = r.i32_or(expB, r.i32_eqz(expB));
    const sameExponent = r.i32_eq(a, b);
    r.if(r.i32_and(sameExponent, r.i64_eq(sigA, sigB)), () => r.ret(r.i32(cc.C3), flags));
    const smaller = r.select(sameExponent, r.i64_lt_u(sigA, sigB), r.i32_lt_s(a, b));
    const less = r.i32_xor(smaller, r.i32_shr_u(negativeA, r.i32(15)));
    r.ret(r.i32_shl(less, r.i32(8)), flags);
  },
);

const pair80 = ['i64', 'i32', 'i64', 'i32'] as const;

/** Unsupported formats and NaNs of two operands return (with `more` results); denormals give DE, and return when it is unmasked. */
function pairSpecials(r: RoutineBuilder, sigA: I64, seA: I32, sigB: I64, seB: I32): I32 {
  const expA = exponentOf(r, seA);
  const expB = exponentOf(r, seB);
  r.if(r.i32_or(isUnsupported(r, sigA, expA), isUnsupported(r, sigB, expB)), () => returnIndefinite(r));
  r.if(r.i32_or(isNaN80(r, sigA, expA), isNaN80(r, sigB, expB)), () => {
    const [sig, se, flags] = r.call(propagate80, sigA, seA, sigB, seB);
    r.ret(sig, se, flags);
  });
  return r.i32_shl(r.i32_or(isDenormal(r, sigA, expA), isDenormal(r, sigB, expB)), r.i32(1));
}

function roundExact(r: RoutineBuilder, sign: I32, exp: I32, sig: I64, flags: I32): void {
  const [resultSig, resultSe, more] = r.call(round80, sign, exp, sig, r.i64(0), r.i32(0x300));
  r.ret(resultSig, resultSe, r.i32_or(flags, more));
}

/** The operand is the result, without any exception of its own; a pseudo-denormal gets its proper exponent. */
function returnUnchanged(r: RoutineBuilder, sig: I64, se: I32, flags: I32): void {
  const pseudo = r.i32_and(r.i32_eqz(exponentOf(r, se)), r.i64_lt_s(sig, r.i64(0)));
  r.ret(sig, r.i32_or(se, pseudo), flags);
}

function defineRemainder(name: string, toNearest: boolean) {
  return routines.define(name, pair80, ['i64', 'i32', 'i32'], {}, (r, sigA, seA, sigB, seB) => {
    const denormal = pairSpecials(r, sigA, seA, sigB, seB);
    const infiniteB = isInfinite(r, exponentOf(r, seB));
    r.if(r.i32_or(isInfinite(r, exponentOf(r, seA)), r.i64_eqz(sigB)), () => returnIndefinite(r));
    r.if(r.i64_eqz(sigA), () => r.ret(sigA, seA, denormal));
    stopAtDenormal(r, sigA, seA, denormal);
    r.if(infiniteB, () => returnUnchanged(r, sigA, seA, denormal));
    const expA = r.local('i32', exponentOf(r, seA));
    const a = r.local('i64', sigA);
    const expB = r.local('i32', exponentOf(r, seB));
    const b = r.local('i64', sigB);
    normalizeOperand(r, expA, a);
    normalizeOperand(r, expB, b);
    const signA = signOf(r, seA);
    const sign = r.local('i32', signA);
    const distance = r.i32_sub(r.read(expA), r.read(expB));
    const small = r.i32_lt_s(distance, r.i32(0));
    r.if(small, () => {
      if (toNearest) {
        // Just under twice smaller: the quotient 1 may be nearer than 0.
        const near = r.i32_and(r.i32_eq(distance, r.i32(-1)), r.i64_gt_u(r.read(a), r.read(b)));
        r.if(near, () => {
          const rest = r.i64_sub(r.i64_shl(r.read(b), r.i64(1)), r.read(a));
          const count = r.i64_clz(rest);
          const exp = r.i32_sub(r.read(expA), r.i32_wrap_i64(count));
          const opposite = r.i32_xor(signA, r.i32(SIGN));
          roundExact(r, opposite, exp, r.i64_shl(rest, count), or(r, denormal, cc.C1));
        });
      }
      roundExact(r, signA, r.read(expA), r.read(a), denormal);
    });
    // A distance of 64 and more is reduced by 32 to 63 places only.
    const partial = r.i32_ge_s(distance, r.i32(64));
    const places = r.select(partial, addTo(r, and(r, distance, 31), 32), distance);
    const fits = bit64(r, r.i64_ge_u(r.read(a), r.read(b)));
    const first = r.i64_sub(r.read(a), r.i64_mul(fits, r.read(b)));
    const n = r.i64_extend_i32_u(places);
    const hi = r.i64_shr_u(r.i64_shr_u(first, r.i64(1)), r.i64_xor(n, r.i64(63)));
    const { quotient: low, rest: remainder } = divideWide(r, hi, r.i64_shl(first, n), r.read(b));
    const quotient = r.local('i64', r.i64_or(r.i64_shl(fits, n), low));
    const rest = r.local('i64', remainder);
    const unit = r.i32_sub(r.read(expA), places);
    const codes = r.local('i32', r.i32(cc.C2));
    r.if(r.i32_eqz(partial), () => {
      if (toNearest) {
        const other = r.i64_sub(r.read(b), r.read(rest));
        const tie = r.i32_and(r.i64_eq(r.read(rest), other), r.i32_wrap_i64(r.i64_and(r.read(quotient), r.i64(1))));
        r.if(r.i32_or(r.i64_gt_u(r.read(rest), other), tie), () => {
          r.assign(rest, other);
          r.assign(quotient, r.i64_add(r.read(quotient), r.i64(1)));
          r.assign(sign, r.i32_xor(signA, r.i32(SIGN)));
        });
      }
      const q = r.i32_wrap_i64(r.read(quotient));
      const bits = r.i32_or(r.i32_shl(and(r, q, 1), r.i32(9)), r.i32_shl(and(r, q, 2), r.i32(13)));
      r.assign(codes, r.i32_or(bits, r.i32_shl(and(r, q, 4), r.i32(6))));
    });
    const flags = r.i32_or(denormal, r.read(codes));
    r.if(r.i64_eqz(r.read(rest)), () => r.ret(r.i64(0), signA, flags));
    const count = r.i64_clz(r.read(rest));
    const exp = r.i32_sub(unit, r.i32_wrap_i64(count));
    roundExact(r, r.read(sign), exp, r.i64_shl(r.read(rest), count), flags);
  });
}

/** FPREM and FPREM1: the third result has the condition codes too: C2 when the reduction is incomplete, else the quotient's low bits in C0, C3, C1. */
export const rem80 = defineRemainder('f80_prem', false);
export const remNearest80 = defineRemainder('f80_prem1', true);

/** a * 2^trunc(b). */
export const scale80 = routines.define('f80_scale', pair80, ['i64', 'i32', 'i32'], {}, (r, sigA, seA, sigB, seB) => {
  const denormal = pairSpecials(r, sigA, seA, sigB, seB);
  const signA = signOf(r, seA);
  const infiniteA = isInfinite(r, exponentOf(r, seA));
  r.if(isInfinite(r, exponentOf(r, seB)), () => {
    r.if(
      signOf(r, seB),
      () => {
        r.if(infiniteA, () => returnIndefinite(r));
        r.ret(r.i64(0), signA, denormal);
      },
      () => {
        r.if(r.i64_eqz(sigA), () => returnIndefinite(r));
        r.ret(r.i64(TOP_BIT), or(r, signA, EXP_MASK), denormal);
      },
    );
  });
  r.if(r.i32_or(infiniteA, r.i64_eqz(sigA)), () => r.ret(sigA, seA, denormal));
  stopAtDenormal(r, sigA, seA, denormal);
  r.if(r.i64_eqz(sigB), () => returnUnchanged(r, sigA, seA, denormal));
  const exp = r.local('i32', exponentOf(r, seA));
  const sig = r.local('i64', sigA);
  normalizeOperand(r, exp, sig);
  // The integer part of b; beyond 2^16 all is overflow or underflow.
  const exponentB = addTo(r, exponentOf(r, seB), -BIAS);
  const large = r.i32_gt_s(exponentB, r.i32(16));
  const places = r.i64_extend_i32_u(r.i32_sub(r.i32(63), exponentB));
  const part = r.i32_wrap_i64(r.i64_shr_u(sigB, places));
  const below = r.i32_lt_s(exponentB, r.i32(0));
  const size = r.select(large, r.i32(0x10000), r.select(below, r.i32(0), part));
  const steps = r.select(signOf(r, seB), r.i32_sub(r.i32(0), size), size);
  const scaled = r.i32_add(r.read(exp), steps);
  // Too far out even for the exponent that an unmasked exception delivers.
  const unmasked = r.i32_xor(r.i32_load(r.state(), field.fpControl), r.i32(-1));
  r.if(
    r.i32_and(r.i32_ge_s(scaled, r.i32(EXP_MASK + BIAS_ADJUST)), r.i32_shr_u(and(r, unmasked, flag.OE), r.i32(3))),
    () => r.ret(r.i64(TOP_BIT), or(r, signA, EXP_MASK), or(r, denormal, flag.OE | flag.PE | flag.C1)),
  );
  r.if(r.i32_and(r.i32_le_s(scaled, r.i32(-BIAS_ADJUST)), r.i32_shr_u(and(r, unmasked, flag.UE), r.i32(4))), () =>
    r.ret(r.i64(0), signA, or(r, denormal, flag.UE | flag.PE)),
  );
  roundExact(r, signA, scaled, r.read(sig), denormal);
});

/** Exponent as a number (first pair) and significand with the exponent of 1 (second pair), then flags. */
export const extract80 = routines.define(
  'f80_extract',
  ['i64', 'i32'],
  ['i64', 'i32', 'i64', 'i32', 'i32'],
  {},
  (r, sigA, se) => {
    const expA = exponentOf(r, se);
    const sign = signOf(r, se);
    r.if(isUnsupported(r, sigA, expA), () => {
      const sig = r.i64(INDEFINITE_SIG);
      const indefinite = r.i32(INDEFINITE_SE);
      r.ret(sig, indefinite, sig, indefinite, r.i32(flag.IE));
    });
    r.if(isNaN80(r, sigA, expA), () => {
      const quiet = r.i64_or(sigA, r.i64(QUIET_BIT));
      r.ret(quiet, se, quiet, se, r.i32_eqz(isQuiet(r, sigA)));
    });
    r.if(isInfinite(r, expA), () => r.ret(r.i64(TOP_BIT), r.i32(EXP_MASK), sigA, se, r.i32(0)));
    r.if(r.i64_eqz(sigA), () => r.ret(r.i64(TOP_BIT), r.i32(SIGN | EXP_MASK), sigA, sign, r.i32(flag.ZE)));
    const flags = r.i32_shl(r.i32_eqz(expA), r.i32(1));
    const exp: Local<'i32'> = r.local('i32', expA);
    const sig: Local<'i64'> = r.local('i64', sigA);
    normalizeOperand(r, exp, sig);
    const exponent = fromInteger(r, r.i64_extend_i32_s(addTo(r, r.read(exp), -BIAS)));
    r.ret(exponent.sig, exponent.se, r.read(sig), or(r, sign, BIAS), flags);
  },
);
