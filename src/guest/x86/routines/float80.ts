/**
 * 80-bit extended precision: rounding, sum, product, quotient and square root under the x87 control word. Intel SDM vol. 1
 * ch. 4.8 and 8.5; NaN results by table 4-7.
 *
 * A number travels as (significand i64, sign and exponent i32). Results carry a third value: the exception flags as in the
 * status word, with C1 (rounded up). Nothing here touches the status word. With an unmasked IE, DE or ZE the value means
 * nothing; with an unmasked OE or UE it has the exponent biased by 24576, as the manual says for register destinations.
 */
import type { I32, I64, Local, RoutineBuilder } from '../../../ir/index.js';
import {
  addTo,
  alignRight,
  and,
  bit64,
  EXP_MASK,
  emitAdd,
  emitDivide,
  emitMultiply,
  emitSquareRoot,
  flag,
  nonZero,
  or,
  QUIET_BIT,
  rounding,
  roundsUp,
  SIGN,
  shiftOut,
  shiftRightSticky,
  TOP_BIT,
  type Wide,
  within,
} from '../../float/core.js';
import { field } from '../state.js';
import { routines } from './set.js';

/** What an unmasked overflow subtracts from the exponent, and an unmasked underflow adds. */
export const BIAS_ADJUST = 24576;
export const INDEFINITE_SIG = QUIET_BIT | TOP_BIT;
export const INDEFINITE_SE = 0xffff;

const result80 = ['i64', 'i32', 'i32'] as const;
const pair80 = ['i64', 'i32', 'i64', 'i32'] as const;

export const signOf = (r: RoutineBuilder, se: I32): I32 => and(r, se, SIGN);
export const exponentOf = (r: RoutineBuilder, se: I32): I32 => and(r, se, EXP_MASK);
/** Exponent 1..0x7ffe and the top bit set. */
export const isNormal = (r: RoutineBuilder, sig: I64, se: I32): I32 =>
  r.i32_and(within(r, exponentOf(r, se), 1, 0x7ffe), r.i64_lt_s(sig, r.i64(0)));
export const isUnsupported = (r: RoutineBuilder, sig: I64, exp: I32): I32 =>
  r.i32_and(r.i32_ne(exp, r.i32(0)), r.i64_ge_s(sig, r.i64(0)));
export const isNaN80 = (r: RoutineBuilder, sig: I64, exp: I32): I32 =>
  r.i32_and(r.i32_eq(exp, r.i32(EXP_MASK)), nonZero(r, r.i64_shl(sig, r.i64(1))));
export const isQuiet = (r: RoutineBuilder, sig: I64): I32 => nonZero(r, r.i64_and(sig, r.i64(QUIET_BIT)));
/** Of something that is neither unsupported nor a NaN. */
export const isInfinite = (r: RoutineBuilder, exp: I32): I32 => r.i32_eq(exp, r.i32(EXP_MASK));
/** Denormal or pseudo-denormal. */
export const isDenormal = (r: RoutineBuilder, sig: I64, exp: I32): I32 => r.i32_and(r.i32_eqz(exp), nonZero(r, sig));

/** The conditions of two operands that arithmetic and comparisons look at first. */
export const returnIndefinite = (r: RoutineBuilder, ...more: number[]): void =>
  r.ret(r.i64(INDEFINITE_SIG), r.i32(INDEFINITE_SE), r.i32(flag.IE), ...more);

/**
 * Rounds a wide number to the precision of the control word, and packs it: (sign, exponent, hi, lo, precision) where
 * precision is the control word's field in place (0, 0x200, 0x300), so that instructions without precision control give
 * 0x300.
 */
export const round80 = routines.define(
  'f80_round',
  ['i32', 'i32', 'i64', 'i64', 'i32'],
  result80,
  {},
  (r, sign, exponent, high, low, precision) => {
    const control = r.i32_load(r.state(), field.fpControl);
    const mode = and(r, r.i32_shr_u(control, r.i32(10)), 3);
    const dropped = r.select(
      r.i32_eqz(precision),
      r.i32(40),
      r.select(r.i32_eq(precision, r.i32(0x200)), r.i32(11), r.i32(0)),
    );
    const exp = r.local('i32', exponent);
    const hi = r.local('i64', high);
    const lo = r.local('i64', low);
    const flags = r.local('i32', r.i32(0));
    const up = r.local('i32');

    /** Drops what the precision does not keep; hi is then the significand, rounded. */
    const roundHere = () => {
      const { kept, out } = shiftOut(r, r.read(hi), dropped);
      const below = r.select(r.i32_eqz(dropped), r.read(lo), r.i64_or(out, bit64(r, nonZero(r, r.read(lo)))));
      const raise = roundsUp(r, mode, sign, kept, below);
      r.assign(up, raise);
      r.assign(lo, below);
      r.assign(hi, r.i64_shl(r.i64_add(kept, bit64(r, raise)), r.i64_extend_i32_u(dropped)));
    };
    const inexact = () => nonZero(r, r.read(lo));
    const addFlags = (bits: I32) => r.assign(flags, r.i32_or(r.read(flags), bits));
    /** PE, and C1 if the magnitude was raised. */
    const precisionFlags = () => r.i32_or(r.i32_mul(inexact(), r.i32(flag.PE)), r.i32_shl(r.read(up), r.i32(9)));

    const wasTiny = r.i32_le_s(exponent, r.i32(0));
    r.if(wasTiny, () => {
      // Tiny after rounding: unless rounding to an unbounded exponent gives the smallest normal number.
      roundHere();
      const carries = r.i32_and(r.i64_eqz(r.read(hi)), r.i32_eqz(exponent));
      const tiny = r.i32_eqz(carries);
      r.assign(hi, high);
      r.assign(lo, low);
      r.if(
        and(r, control, flag.UE),
        () => {
          shiftRightSticky(r, hi, lo, r.i32_sub(r.i32(1), exponent));
          roundHere();
          addFlags(precisionFlags());
          r.if(r.i32_and(tiny, inexact()), () => addFlags(r.i32(flag.UE)));
          const normal = r.i32_wrap_i64(r.i64_shr_u(r.read(hi), r.i64(63)));
          r.ret(r.read(hi), r.i32_or(sign, normal), r.read(flags));
        },
        () => {
          r.if(tiny, () => {
            addFlags(r.i32(flag.UE));
            r.assign(exp, addTo(r, exponent, BIAS_ADJUST));
          });
        },
      );
    });
    roundHere();
    r.if(r.i64_eqz(r.read(hi)), () => {
      r.assign(hi, r.i64(TOP_BIT));
      r.assign(exp, addTo(r, r.read(exp), 1));
    });
    r.if(r.i32_ge_s(r.read(exp), r.i32(EXP_MASK)), () => {
      r.if(
        and(r, control, flag.OE),
        () => {
          const away = r.select(sign, r.i32_eq(mode, r.i32(rounding.down)), r.i32_eq(mode, r.i32(rounding.up)));
          r.if(r.i32_or(r.i32_eqz(mode), away), () =>
            r.ret(r.i64(TOP_BIT), or(r, sign, EXP_MASK), r.i32(flag.OE | flag.PE | flag.C1)),
          );
          const largest = r.i64_shl(r.i64(-1), r.i64_extend_i32_u(dropped));
          r.ret(largest, or(r, sign, EXP_MASK - 1), r.i32(flag.OE | flag.PE));
        },
        () => {
          addFlags(r.i32(flag.OE));
          r.assign(exp, addTo(r, r.read(exp), -BIAS_ADJUST));
        },
      );
    });
    addFlags(precisionFlags());
    r.ret(r.read(hi), r.i32_or(sign, and(r, r.read(exp), EXP_MASK)), r.read(flags));
  },
);

/** Rounds and returns: at once when the mode is the default (nearest, 64 bits) and the exponent has room. */
export function finish80(r: RoutineBuilder, w: Wide, flags: I32): void {
  const control = r.i32_load(r.state(), field.fpControl);
  const exp = r.read(w.exp);
  const hi = r.read(w.hi);
  const lo = r.read(w.lo);
  const sign = r.read(w.sign);
  const usual = r.i32_eq(and(r, control, 0xf00), r.i32(0x300));
  r.if(r.i32_and(usual, within(r, exp, 1, 0x7ffd)), () => {
    r.if(r.i64_eqz(lo), () => r.ret(hi, r.i32_or(sign, exp), flags));
    const even = r.i64_xor(r.i64_and(hi, r.i64(1)), r.i64(1));
    const up = r.i64_shr_u(r.i64_sub(lo, even), r.i64(63));
    const raised = r.i64_add(hi, up);
    const carried = r.i64_eqz(raised);
    const inexact = or(r, r.i32_shl(r.i32_wrap_i64(up), r.i32(9)), flag.PE);
    r.ret(r.select(carried, r.i64(TOP_BIT), raised), r.i32_or(sign, r.i32_add(exp, carried)), r.i32_or(flags, inexact));
  });
  const [sig, se, more] = r.call(round80, sign, exp, hi, lo, and(r, control, 0x300));
  r.ret(sig, se, r.i32_or(flags, more));
}

/** NaN result of two operands of which at least one is a NaN (neither unsupported). */
export const propagate80 = routines.define('f80_nan', pair80, result80, {}, (r, sigA, seA, sigB, seB) => {
  const nanA = isNaN80(r, sigA, exponentOf(r, seA));
  const nanB = isNaN80(r, sigB, exponentOf(r, seB));
  const signalingA = r.i32_and(nanA, r.i32_eqz(isQuiet(r, sigA)));
  const signalingB = r.i32_and(nanB, r.i32_eqz(isQuiet(r, sigB)));
  const flags = r.i32_or(signalingA, signalingB);
  const greater = r.i64_gt_u(sigA, sigB);
  const equal = r.i64_eq(sigA, sigB);
  const bySize = r.i32_or(greater, r.i32_and(equal, r.i32_le_u(seA, seB)));
  // A quiet NaN wins over a signaling one, then the larger significand, then the positive one.
  const both = r.select(r.i32_ne(signalingA, signalingB), signalingB, bySize);
  const useA = r.select(r.i32_and(nanA, nanB), both, nanA);
  const quiet = r.i64(QUIET_BIT);
  r.ret(r.i64_or(r.select(useA, sigA, sigB), quiet), r.select(useA, seA, seB), flags);
});

/** An operand of arithmetic after the special cases: sign, exponent (any i32), significand with the top bit set. */
interface Operand {
  readonly sign: I32;
  readonly exp: Local<'i32'>;
  readonly sig: Local<'i64'>;
}

/** Gives a denormal, or a pseudo-denormal, an exponent of 0 and below. Others stay. */
export function normalizeOperand(r: RoutineBuilder, exp: Local<'i32'>, sig: Local<'i64'>): void {
  r.if(r.i32_eqz(r.read(exp)), () => {
    const count = r.i64_clz(r.read(sig));
    r.assign(exp, r.i32_sub(r.i32(1), r.i32_wrap_i64(count)));
    r.assign(sig, r.i64_shl(r.read(sig), count));
  });
}

/** An unmasked DE stops before any other exception can arise. */
export function stopAtDenormal(r: RoutineBuilder, sig: I64, se: I32, flags: I32): void {
  const unmasked = r.i32_xor(r.i32_load(r.state(), field.fpControl), r.i32(-1));
  r.if(and(r, r.i32_and(flags, unmasked), flag.DE), () => r.ret(sig, se, flags));
}

type Special = (sigA: I64, seA: I32, sigB: I64, seB: I32, flags: I32) => void;

/**
 * An operation on two numbers: `special` handles infinities and zeros (it returns from the routine where they decide), and
 * `core` the rest. `flipB`: b's sign counts reversed (not a NaN's).
 */
function binary80(
  name: string,
  flipB: boolean,
  special: (r: RoutineBuilder, ...args: Parameters<Special>) => void,
  core: (r: RoutineBuilder, a: Operand, b: Operand, flags: I32) => Wide,
) {
  return routines.define(name, pair80, result80, {}, (r, sigA, seA, sigB, seBGiven) => {
    const seB = flipB ? r.i32_xor(seBGiven, r.i32(SIGN)) : seBGiven;
    const expA = exponentOf(r, seA);
    const expB = exponentOf(r, seB);
    const a: Operand = { sign: signOf(r, seA), exp: r.local('i32', expA), sig: r.local('i64', sigA) };
    const b: Operand = { sign: signOf(r, seB), exp: r.local('i32', expB), sig: r.local('i64', sigB) };
    const flags = r.local('i32', r.i32(0));
    const topBits = r.i64_lt_s(r.i64_and(sigA, sigB), r.i64(0));
    const usual = r.i32_and(r.i32_and(within(r, expA, 1, 0x7ffe), within(r, expB, 1, 0x7ffe)), topBits);
    r.if(r.i32_eqz(usual), () => {
      r.if(r.i32_or(isUnsupported(r, sigA, expA), isUnsupported(r, sigB, expB)), () => returnIndefinite(r));
      r.if(r.i32_or(isNaN80(r, sigA, expA), isNaN80(r, sigB, expB)), () => {
        const [sig, se, nanFlags] = r.call(propagate80, sigA, seA, sigB, seBGiven);
        r.ret(sig, se, nanFlags);
      });
      const denormal = r.i32_or(isDenormal(r, sigA, expA), isDenormal(r, sigB, expB));
      r.assign(flags, r.i32_shl(denormal, r.i32(1)));
      special(r, sigA, seA, sigB, seB, r.read(flags));
      stopAtDenormal(r, sigA, seA, r.read(flags));
      normalizeOperand(r, a.exp, a.sig);
      normalizeOperand(r, b.exp, b.sig);
    });
    const denormal = r.read(flags);
    finish80(r, core(r, a, b, denormal), denormal);
  });
}

const infinity = (r: RoutineBuilder, sign: I32, flags: I32): void =>
  r.ret(r.i64(TOP_BIT), or(r, sign, EXP_MASK), flags);
const zero = (r: RoutineBuilder, sign: I32, flags: I32): void => r.ret(r.i64(0), sign, flags);

/** The other operand is zero: the number itself, rounded as a result is. */
function roundOperand(r: RoutineBuilder, sig: I64, se: I32, flags: I32): void {
  stopAtDenormal(r, sig, se, flags);
  const exp = r.local('i32', exponentOf(r, se));
  const significand = r.local('i64', sig);
  normalizeOperand(r, exp, significand);
  const precision = and(r, r.i32_load(r.state(), field.fpControl), 0x300);
  const [resultSig, resultSe, more] = r.call(
    round80,
    signOf(r, se),
    r.read(exp),
    r.read(significand),
    r.i64(0),
    precision,
  );
  r.ret(resultSig, resultSe, r.i32_or(flags, more));
}

/** The sign of a zero that is the difference of equal numbers: negative only when rounding down. */
export function differenceZeroSign(r: RoutineBuilder): I32 {
  const control = r.i32_load(r.state(), field.fpControl);
  return r.i32_shl(r.i32_eq(and(r, control, 0xc00), r.i32(0x400)), r.i32(15));
}

function addSpecials(r: RoutineBuilder, sigA: I64, seA: I32, sigB: I64, seB: I32, flags: I32): void {
  const infiniteA = isInfinite(r, exponentOf(r, seA));
  const infiniteB = isInfinite(r, exponentOf(r, seB));
  r.if(infiniteA, () => {
    r.if(r.i32_and(infiniteB, r.i32_ne(seA, seB)), () => returnIndefinite(r));
    infinity(r, signOf(r, seA), flags);
  });
  r.if(infiniteB, () => infinity(r, signOf(r, seB), flags));
  r.if(r.i64_eqz(sigA), () => {
    r.if(r.i64_eqz(sigB), () => zero(r, r.select(r.i32_eq(seA, seB), seA, differenceZeroSign(r)), flags));
    roundOperand(r, sigB, seB, flags);
  });
  r.if(r.i64_eqz(sigB), () => roundOperand(r, sigA, seA, flags));
}

function addCore(r: RoutineBuilder, a: Operand, b: Operand, flags: I32): Wide {
  const w = emitAdd(r, a.sign, r.read(a.exp), r.read(a.sig), b.sign, r.read(b.exp), r.read(b.sig));
  r.if(r.i64_eqz(r.i64_or(r.read(w.hi), r.read(w.lo))), () => zero(r, differenceZeroSign(r), flags));
  return w;
}

export const add80 = binary80('f80_add', false, addSpecials, addCore);
export const sub80 = binary80('f80_sub', true, addSpecials, addCore);

export const mul80 = binary80(
  'f80_mul',
  false,
  (r, sigA, seA, sigB, seB, flags) => {
    const sign = signOf(r, r.i32_xor(seA, seB));
    const zeros = r.i32_or(r.i64_eqz(sigA), r.i64_eqz(sigB));
    r.if(r.i32_or(isInfinite(r, exponentOf(r, seA)), isInfinite(r, exponentOf(r, seB))), () => {
      r.if(zeros, () => returnIndefinite(r));
      infinity(r, sign, flags);
    });
    r.if(zeros, () => zero(r, sign, flags));
  },
  (r, a, b) => emitMultiply(r, a.sign, r.read(a.exp), r.read(a.sig), b.sign, r.read(b.exp), r.read(b.sig)),
);

export const div80 = binary80(
  'f80_div',
  false,
  (r, sigA, seA, sigB, seB, flags) => {
    const sign = signOf(r, r.i32_xor(seA, seB));
    const infiniteB = isInfinite(r, exponentOf(r, seB));
    r.if(isInfinite(r, exponentOf(r, seA)), () => {
      r.if(infiniteB, () => returnIndefinite(r));
      infinity(r, sign, flags);
    });
    r.if(infiniteB, () => zero(r, sign, flags));
    r.if(r.i64_eqz(sigB), () => {
      r.if(r.i64_eqz(sigA), () => returnIndefinite(r));
      infinity(r, sign, r.i32(flag.ZE));
    });
    r.if(r.i64_eqz(sigA), () => zero(r, sign, flags));
  },
  (r, a, b) => emitDivide(r, a.sign, r.read(a.exp), r.read(a.sig), b.sign, r.read(b.exp), r.read(b.sig)),
);

/**
 * The special cases of an operation on one number: unsupported formats and NaNs return; a denormal sets DE in `flags` and,
 * unmasked, returns.
 */
export function unarySpecials(r: RoutineBuilder, sig: I64, se: I32, flags: Local<'i32'>): void {
  const exp = exponentOf(r, se);
  r.if(isUnsupported(r, sig, exp), () => returnIndefinite(r));
  r.if(isNaN80(r, sig, exp), () => r.ret(r.i64_or(sig, r.i64(QUIET_BIT)), se, r.i32_eqz(isQuiet(r, sig))));
  r.if(isDenormal(r, sig, exp), () => {
    r.assign(flags, r.i32(flag.DE));
    stopAtDenormal(r, sig, se, r.i32(flag.DE));
  });
}

export const sqrt80 = routines.define('f80_sqrt', ['i64', 'i32'], result80, {}, (r, sig, se) => {
  const flags = r.local('i32', r.i32(0));
  const exp = r.local('i32', exponentOf(r, se));
  const significand = r.local('i64', sig);
  r.if(r.i32_eqz(r.i32_and(isNormal(r, sig, se), r.i32_eqz(signOf(r, se)))), () => {
    const nan = r.i32_or(isUnsupported(r, sig, r.read(exp)), isNaN80(r, sig, r.read(exp)));
    r.if(r.i32_and(signOf(r, se), r.i32_shl(r.i32_and(nonZero(r, sig), r.i32_eqz(nan)), r.i32(15))), () =>
      returnIndefinite(r),
    );
    unarySpecials(r, sig, se, flags);
    r.if(r.i32_or(r.i64_eqz(sig), isInfinite(r, r.read(exp))), () => r.ret(sig, se, r.i32(0)));
    normalizeOperand(r, exp, significand);
  });
  finish80(r, emitSquareRoot(r, r.read(exp), r.read(significand)), r.read(flags));
});

/** Rounds to an integer in the rounding mode: FRNDINT. */
export const rint80 = routines.define('f80_rint', ['i64', 'i32'], result80, {}, (r, sig, se) => {
  const flags = r.local('i32', r.i32(0));
  unarySpecials(r, sig, se, flags);
  const exp = exponentOf(r, se);
  const sign = signOf(r, se);
  // From 2^63 on (and infinity, and 0) nothing changes.
  r.if(r.i32_or(r.i32_ge_u(exp, r.i32(16383 + 63)), r.i64_eqz(sig)), () => r.ret(sig, se, r.read(flags)));
  const mode = and(r, r.i32_shr_u(r.i32_load(r.state(), field.fpControl), r.i32(10)), 3);
  const hi = r.local('i64');
  const lo = r.local('i64');
  alignRight(r, sig, r.i32_sub(r.i32(16383 + 63), exp), hi, lo);
  const up = roundsUp(r, mode, sign, r.read(hi), r.read(lo));
  const rounded = r.i64_add(r.read(hi), bit64(r, up));
  const inexact = r.i32_mul(nonZero(r, r.read(lo)), or(r, r.i32_shl(up, r.i32(9)), flag.PE));
  const all = r.i32_or(r.read(flags), inexact);
  r.if(r.i64_eqz(rounded), () => zero(r, sign, all));
  const count = r.i64_clz(rounded);
  const newExp = r.i32_sub(r.i32(16383 + 63), r.i32_wrap_i64(count));
  r.ret(r.i64_shl(rounded, count), r.i32_or(sign, newExp), all);
});
