/**
 * Rounding to half, single and double precision and taking their bits apart: shared by all guests.
 * IEEE 754-2019 7.4, 7.5 (Intel SDM vol. 1 ch. 4.9); tininess is detected after rounding, or before it where a guest says so.
 */
import type { I32, I64, RoutineBuilder, RoutineSet } from '../../ir/index.js';
import {
  addTo,
  and,
  BIAS,
  bit64,
  flag,
  nonZero,
  or,
  rounding,
  roundsUp,
  SIGN,
  shiftOut,
  shiftRightSticky,
  TOP_BIT,
} from './core.js';

/** A binary interchange format, its bits held in an i64. */
export interface Format {
  readonly name: 'f16' | 'f32' | 'f64';
  /** Bits of the fraction field, and of the exponent field. */
  readonly fraction: number;
  readonly exponent: number;
  readonly bias: number;
}

export const half: Format = { name: 'f16', fraction: 10, exponent: 5, bias: 15 };
export const single: Format = { name: 'f32', fraction: 23, exponent: 8, bias: 127 };
export const double: Format = { name: 'f64', fraction: 52, exponent: 11, bias: 1023 };

export const maxExponent = (f: Format): number => (1 << f.exponent) - 1;
export const infinityBits = (f: Format): bigint => BigInt(maxExponent(f)) << BigInt(f.fraction);
export const quietBit = (f: Format): bigint => 1n << BigInt(f.fraction - 1);
export const signBit = (f: Format): bigint => 1n << BigInt(f.fraction + f.exponent);

/** The sign of the bits as the routines carry it. */
export const signOfBits = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  and(r, r.i32_wrap_i64(r.i64_shr_u(bits, r.i64(f.fraction + f.exponent - 15))), SIGN);
export const exponentOfBits = (r: RoutineBuilder, f: Format, bits: I64): I32 =>
  and(r, r.i32_wrap_i64(r.i64_shr_u(bits, r.i64(f.fraction))), maxExponent(f));
export const fractionOfBits = (r: RoutineBuilder, f: Format, bits: I64): I64 =>
  r.i64_and(bits, r.i64((1n << BigInt(f.fraction)) - 1n));
export const magnitudeOfBits = (r: RoutineBuilder, f: Format, bits: I64): I64 =>
  r.i64_and(bits, r.i64(signBit(f) - 1n));
/** The sign as the format has it. */
export const signToBits = (r: RoutineBuilder, f: Format, sign: I32): I64 =>
  r.i64_shl(r.i64_extend_i32_u(sign), r.i64(f.fraction + f.exponent - 15));

/** What `pack` is told beside the rounding mode (bits 0-1). */
export const packMode = { underflowUnmasked: 4, flushToZero: 8, overflowUnmasked: 16 } as const;
/** Where the rounding mode may be `tiesAway`, that is bit 2, and nothing else is told. */
const MODE_WITH_TIES_AWAY = 7;

/**
 * (sign, exponent, hi, lo, mode) → (bits, flags with C1): a wide number rounded. With an unmasked OE or UE the bits mean nothing.
 * `tiesAway`: rounding may be `rounding.tiesAway` too.
 */
export function definePack(
  routines: RoutineSet,
  f: Format,
  tiesAway = false,
  tininess: 'before' | 'after' = 'after',
  name = `${f.name}_pack`,
) {
  const dropped = 63 - f.fraction;
  return routines.define(
    name,
    ['i32', 'i32', 'i64', 'i64', 'i32'],
    ['i64', 'i32'],
    {},
    (r, sign, exponent, high, low, modes) => {
      const mode = and(r, modes, tiesAway ? MODE_WITH_TIES_AWAY : 3);
      const signBits = signToBits(r, f, sign);
      const exp = addTo(r, exponent, f.bias - BIAS);
      const hi = r.local('i64', high);
      const lo = r.local('i64', low);
      const up = r.local('i32');
      const flags = r.local('i32', r.i32(0));
      const roundHere = () => {
        const { kept, out } = shiftOut(r, r.read(hi), r.i32(dropped));
        const below = r.i64_or(out, bit64(r, nonZero(r, r.read(lo))));
        r.assign(up, roundsUp(r, mode, sign, kept, below, tiesAway));
        r.assign(lo, below);
        r.assign(hi, r.i64_add(kept, bit64(r, r.read(up))));
      };
      const inexact = () => nonZero(r, r.read(lo));
      const precisionFlags = () => r.i32_or(r.i32_mul(inexact(), r.i32(flag.PE)), r.i32_shl(r.read(up), r.i32(9)));
      const carried = () => r.i64_eq(r.read(hi), r.i64(2n << BigInt(f.fraction)));
      r.if(r.i32_le_s(exp, r.i32(0)), () => {
        roundHere();
        const tiny = tininess === 'before' ? r.i32(1) : r.i32_eqz(r.i32_and(carried(), r.i32_eqz(exp)));
        if (!tiesAway) {
          r.if(r.i32_and(tiny, r.i32_shr_u(and(r, modes, packMode.flushToZero), r.i32(3))), () =>
            r.ret(signBits, r.i32(flag.UE | flag.PE)),
          );
          r.if(r.i32_and(tiny, r.i32_shr_u(and(r, modes, packMode.underflowUnmasked), r.i32(2))), () =>
            r.ret(signBits, or(r, precisionFlags(), flag.UE)),
          );
        }
        r.assign(hi, high);
        r.assign(lo, low);
        shiftRightSticky(r, hi, lo, r.i32_sub(r.i32(1), exp));
        roundHere();
        r.assign(flags, precisionFlags());
        r.if(r.i32_and(tiny, inexact()), () => r.assign(flags, or(r, r.read(flags), flag.UE)));
        r.ret(r.i64_or(signBits, r.read(hi)), r.read(flags));
      });
      roundHere();
      const top = r.i32_add(exp, carried());
      r.if(r.i32_ge_s(top, r.i32(maxExponent(f))), () => {
        const away = r.select(sign, r.i32_eq(mode, r.i32(rounding.down)), r.i32_eq(mode, r.i32(rounding.up)));
        const nearest = tiesAway ? r.i32_eqz(and(r, mode, 3)) : r.i32_eqz(mode);
        const toInfinity = r.i32_or(nearest, away);
        const magnitude = r.select(toInfinity, r.i64(infinityBits(f)), r.i64(infinityBits(f) - 1n));
        if (!tiesAway)
          r.if(and(r, modes, packMode.overflowUnmasked), () => r.ret(signBits, or(r, precisionFlags(), flag.OE)));
        const c1 = r.i32_shl(toInfinity, r.i32(9));
        r.ret(r.i64_or(signBits, magnitude), or(r, c1, flag.OE | flag.PE));
      });
      // A carry out of the significand goes into the exponent by itself.
      const base = r.i64_shl(r.i64_extend_i32_s(addTo(r, exp, -1)), r.i64(f.fraction));
      r.ret(r.i64_or(signBits, r.i64_add(base, r.read(hi))), precisionFlags());
    },
  );
}

/** A finite number other than 0 as exponent (bias 16383) and significand with the top bit set. */
export function unpackFinite(r: RoutineBuilder, f: Format, bits: I64): { exp: I32; sig: I64 } {
  const exp = r.local('i32', addTo(r, exponentOfBits(r, f, bits), BIAS - f.bias));
  const sig = r.local('i64', r.i64_shl(bits, r.i64(63 - f.fraction)));
  r.if(
    exponentOfBits(r, f, bits),
    () => r.assign(sig, r.i64_or(r.read(sig), r.i64(TOP_BIT))),
    () => {
      const fraction = r.i64_shl(r.read(sig), r.i64(1));
      const count = r.i64_clz(fraction);
      r.assign(sig, r.i64_shl(fraction, count));
      r.assign(exp, r.i32_sub(r.i32(BIAS - f.bias), r.i32_wrap_i64(count)));
    },
  );
  return { exp: r.read(exp), sig: r.read(sig) };
}
