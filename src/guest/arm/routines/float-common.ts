/**
 * What all floating-point routines share: FPSR's cumulative bits, NaNs, operands and results (J1.3: FPUnpack, FPProcessNaNs, FPRound). Bits of a
 * number lie in an i64, those above it are 0.
 */
import type { I32, I64, RoutineBuilder } from '../../../ir/index.js';
import { and, BIAS, nonZero, rounding, type Wide } from '../../float/core.js';
import {
  definePack,
  double,
  exponentOfBits,
  type Format,
  half,
  infinityBits,
  magnitudeOfBits,
  quietBit,
  signBit,
  signToBits,
  single,
} from '../../float/pack.js';
import { field } from '../state.js';
import { routines } from './set.js';

/** Cumulative bits of FPSR. */
export const flag = { IOC: 1, DZC: 2, OFC: 4, UFC: 8, IXC: 16, IDC: 128 } as const;
/** A routine's mode: rounding (core.ts) in bits 0 to 2, and these. */
export const floatMode = { defaultNaN: 8, flushToZero: 16 } as const;

export const pack = {
  f16: definePack(routines, half, false, 'before'),
  f32: definePack(routines, single, false, 'before'),
  f64: definePack(routines, double, false, 'before'),
} as const;

export const raise = (r: RoutineBuilder, flags: I32): void => {
  r.i32_store(r.state(), r.i32_or(r.i32_load(r.state(), field.fpsr), flags), field.fpsr);
};
export const raiseAlways = (r: RoutineBuilder, flags: number): void => raise(r, r.i32(flags));
/** A pack's OE, UE and PE are one place above OFC, UFC and IXC. */
export const packFlags = (r: RoutineBuilder, flags: I32): I32 =>
  and(r, r.i32_shr_u(flags, r.i32(1)), flag.OFC | flag.UFC | flag.IXC);

export const defaultNaN = (f: Format): bigint => infinityBits(f) | quietBit(f);
export const holdsNaN = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  r.i64_gt_u(magnitudeOfBits(r, f, bits), r.i64(infinityBits(f)));
export const isQuiet = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  r.i32_and(holdsNaN(r, f, bits), nonZero(r, r.i64_and(bits, r.i64(quietBit(f)))));
export const isSignaling = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  r.i32_and(holdsNaN(r, f, bits), r.i64_eqz(r.i64_and(bits, r.i64(quietBit(f)))));
export const isInfinite = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  r.i64_eq(magnitudeOfBits(r, f, bits), r.i64(infinityBits(f)));
export const isZero = (r: RoutineBuilder, f: Format, bits: I64): I32 => r.i64_eqz(magnitudeOfBits(r, f, bits));

/** The operand, 0 where it is subnormal and those are flushed: that is noted, but for half precision. */
export function operand(r: RoutineBuilder, f: Format, bits: I64, mode: I32): I64 {
  const value = r.local('i64', bits);
  const subnormal = r.i32_and(r.i32_eqz(exponentOfBits(r, f, bits)), r.i32_eqz(isZero(r, f, bits)));
  r.if(r.i32_and(subnormal, r.i32_ne(and(r, mode, floatMode.flushToZero), r.i32(0))), () => {
    if (f !== half) raiseAlways(r, flag.IDC);
    r.assign(value, r.i64_and(bits, r.i64(signBit(f))));
  });
  return r.read(value);
}

export function invalid(r: RoutineBuilder, f: Format): void {
  raiseAlways(r, flag.IOC);
  r.ret(r.i64(defaultNaN(f)));
}
export const quieted = (r: RoutineBuilder, f: Format, bits: I64, mode: I32): I64 =>
  r.select(and(r, mode, floatMode.defaultNaN), r.i64(defaultNaN(f)), r.i64_or(bits, r.i64(quietBit(f))));

/** Returns for a NaN among the operands: the first that signals, else the first (FPProcessNaNs). */
export function returnNaN(r: RoutineBuilder, f: Format, operands: readonly I64[], mode: I32): void {
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

/** Returns 0 for what is below the smallest normal number, where that is flushed. */
export function returnFlushed(r: RoutineBuilder, f: Format, w: Wide, mode: I32): void {
  const tiny = r.i32_le_s(r.read(w.exp), r.i32(BIAS - f.bias));
  r.if(r.i32_and(tiny, r.i32_ne(and(r, mode, floatMode.flushToZero), r.i32(0))), () => {
    raiseAlways(r, flag.UFC);
    r.ret(signToBits(r, f, r.read(w.sign)));
  });
}
export function finish(r: RoutineBuilder, f: Format, w: Wide, mode: I32): void {
  returnFlushed(r, f, w, mode);
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

export const signOfProduct = (r: RoutineBuilder, f: Format, a: I64, b: I64): I64 =>
  r.i64_and(r.i64_xor(a, b), r.i64(signBit(f)));
/** An exact zero that is a difference: negative only when rounding down. */
export const zeroOfDifference = (r: RoutineBuilder, f: Format, mode: I32): I64 =>
  r.select(r.i32_eq(and(r, mode, 7), r.i32(rounding.down)), r.i64(signBit(f)), r.i64(0));
