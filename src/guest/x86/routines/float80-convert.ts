/**
 * Conversions between extended precision and the memory formats: single, double, integers, packed decimal. Intel SDM vol. 1
 * ch. 4.2 and 8.2, vol. 2 FLD, FST, FIST, FISTTP, FBLD, FBSTP. Flags as in float80.ts.
 */
import type { I32, I64, RoutineBuilder } from '../../../ir/index.js';
import {
  addTo,
  alignRight,
  and,
  BIAS,
  bit64,
  EXP_MASK,
  flag,
  nonZero,
  or,
  QUIET_BIT,
  roundsUp,
  TOP_BIT,
  within,
} from '../../float/core.js';
import {
  double,
  exponentOfBits,
  type Format,
  fractionOfBits,
  infinityBits,
  maxExponent,
  packMode,
  quietBit,
  signBit,
  signOfBits,
  signToBits,
  single,
  unpackFinite,
} from '../../float/pack.js';
import { field } from '../state.js';
import { packF32, packF64, roundingMode } from './float-pack.js';
import { exponentOf, isInfinite, isNaN80, isQuiet, isUnsupported, normalizeOperand, signOf } from './float80.js';
import { routines } from './set.js';

function defineWiden(f: Format) {
  return routines.define(`f80_from_${f.name}`, ['i64'], ['i64', 'i32', 'i32'], { pure: true }, (r, bits) => {
    const sign = signOfBits(r, f, bits);
    const exp = exponentOfBits(r, f, bits);
    const sig = r.i64_shl(bits, r.i64(63 - f.fraction));
    const withTop = r.i64_or(sig, r.i64(TOP_BIT));
    r.if(r.i32_eq(exp, r.i32(maxExponent(f))), () => {
      const fraction = nonZero(r, r.i64_shl(sig, r.i64(1)));
      const signaling = r.i32_and(fraction, r.i32_eqz(isQuiet(r, sig)));
      const quiet = r.i64_or(withTop, r.i64(QUIET_BIT));
      r.ret(r.select(fraction, quiet, withTop), or(r, sign, EXP_MASK), signaling);
    });
    r.if(r.i32_eqz(exp), () => {
      r.if(r.i64_eqz(fractionOfBits(r, f, bits)), () => r.ret(r.i64(0), sign, r.i32(0)));
      const finite = unpackFinite(r, f, bits);
      r.ret(finite.sig, r.i32_or(sign, finite.exp), r.i32(flag.DE));
    });
    r.ret(withTop, r.i32_or(sign, addTo(r, exp, BIAS - f.bias)), r.i32(0));
  });
}

/** Bits (in an i64) to (significand, sign and exponent, flags). */
export const widenF32 = defineWiden(single);
export const widenF64 = defineWiden(double);

function defineNarrow(f: Format, pack: typeof packF64) {
  return routines.define(`f80_to_${f.name}`, ['i64', 'i32'], ['i64', 'i32'], {}, (r, sig, se) => {
    const sign = signOf(r, se);
    const exp = exponentOf(r, se);
    const signBits = signToBits(r, f, sign);
    r.if(isUnsupported(r, sig, exp), () => r.ret(r.i64(signBit(f) | infinityBits(f) | quietBit(f)), r.i32(flag.IE)));
    r.if(isInfinite(r, exp), () => {
      const payload = r.i64_shr_u(r.i64_shl(sig, r.i64(1)), r.i64(64 - f.fraction));
      const nan = isNaN80(r, sig, exp);
      const body = r.i64_or(r.i64(infinityBits(f)), payload);
      const signaling = r.i32_and(nan, r.i32_eqz(isQuiet(r, sig)));
      const quieted = r.select(nan, r.i64_or(body, r.i64(quietBit(f))), body);
      r.ret(r.i64_or(signBits, quieted), signaling);
    });
    r.if(r.i64_eqz(sig), () => r.ret(signBits, r.i32(0)));
    const exponent = r.local('i32', exp);
    const significand = r.local('i64', sig);
    normalizeOperand(r, exponent, significand);
    const control = r.i32_load(r.state(), field.fpControl);
    const unmasked = r.i32_xor(r.i32_shr_u(and(r, control, flag.UE), r.i32(2)), r.i32(packMode.underflowUnmasked));
    const modes = r.i32_or(roundingMode(r), unmasked);
    const [bits, flags] = r.call(pack, sign, r.read(exponent), r.read(significand), r.i64(0), modes);
    const stop = and(r, r.i32_and(flags, r.i32_xor(control, r.i32(-1))), flag.OE | flag.UE);
    r.ret(bits, r.select(stop, stop, flags));
  });
}

/** (significand, sign and exponent) to (bits, flags), in the rounding mode. With an unmasked IE, OE or UE nothing is to be stored. */
export const narrowF32 = defineNarrow(single, packF32);
export const narrowF64 = defineNarrow(double, packF64);

/** The exponent of a number whose significand is an integer. */
const INTEGER = BIAS + 63;

/** Any i64 as an 80-bit number: exact. */
export function fromInteger(r: RoutineBuilder, value: I64): { sig: I64; se: I32 } {
  const negative = r.i64_lt_s(value, r.i64(0));
  const magnitude = r.select(negative, r.i64_sub(r.i64(0), value), value);
  const count = r.i64_clz(magnitude);
  const exp = r.i32_sub(r.i32(INTEGER), r.i32_wrap_i64(count));
  const se = r.i32_or(exp, r.i32_shl(negative, r.i32(15)));
  const isZero = r.i64_eqz(value);
  return { sig: r.i64_shl(magnitude, count), se: r.select(isZero, r.i32(0), se) };
}

/** Magnitude of a number as an integer, rounded; `large` when it needs more than 64 bits or is no number. */
function roundMagnitude(r: RoutineBuilder, sig: I64, se: I32, mode: I32): { magnitude: I64; large: I32; flags: I32 } {
  const exp = exponentOf(r, se);
  const hi = r.local('i64');
  const lo = r.local('i64');
  const distance = r.i32_sub(r.i32(INTEGER), exp);
  const beyond = r.i32_lt_s(distance, r.i32(0));
  alignRight(r, sig, r.select(beyond, r.i32(0), distance), hi, lo);
  const up = roundsUp(r, mode, signOf(r, se), r.read(hi), r.read(lo));
  const magnitude = r.i64_add(r.read(hi), bit64(r, up));
  const wrapped = r.i32_and(up, r.i64_eqz(magnitude));
  const flags = r.i32_mul(nonZero(r, r.read(lo)), or(r, r.i32_shl(up, r.i32(9)), flag.PE));
  const large = r.i32_or(r.i32_or(beyond, wrapped), isUnsupported(r, sig, exp));
  return { magnitude, large, flags };
}

/**
 * (significand, sign and exponent, mode, limit) to (integer, flags): limit is the magnitude of the most negative integer
 * (0x8000, 2^31, 2^63), which is also the result of an invalid conversion, negated.
 */
export const toInteger = routines.define(
  'f80_to_integer',
  ['i64', 'i32', 'i32', 'i64'],
  ['i64', 'i32'],
  { pure: true },
  (r, sig, se, mode, limit) => {
    const { magnitude, large, flags } = roundMagnitude(r, sig, se, mode);
    const negative = r.i32_shr_u(signOf(r, se), r.i32(15));
    const most = r.i64_sub(limit, bit64(r, r.i32_eqz(negative)));
    r.if(r.i32_or(large, r.i64_gt_u(magnitude, most)), () => r.ret(r.i64_sub(r.i64(0), limit), r.i32(flag.IE)));
    r.ret(r.select(negative, r.i64_sub(r.i64(0), magnitude), magnitude), flags);
  },
);

/** To packed decimal: (low eight bytes, upper two, flags). */
export const toDecimal = routines.define('f80_to_bcd', ['i64', 'i32'], ['i64', 'i32', 'i32'], {}, (r, sig, se) => {
  const { magnitude, large, flags } = roundMagnitude(r, sig, se, roundingMode(r));
  r.if(r.i32_or(large, r.i64_ge_u(magnitude, r.i64(10n ** 18n))), () =>
    r.ret(r.i64(0xc000000000000000n), r.i32(0xffff), r.i32(flag.IE)),
  );
  const rest = r.local('i64', magnitude);
  const digit = () => {
    const value = r.read(rest);
    const quotient = r.i64_div_u(value, r.i64(10));
    r.assign(rest, quotient);
    return r.i64_sub(value, r.i64_mul(quotient, r.i64(10)));
  };
  const low = r.local('i64', r.i64(0));
  const count = r.local('i64', r.i64(0));
  r.loop((again) => {
    r.assign(low, r.i64_or(r.read(low), r.i64_shl(digit(), r.read(count))));
    const next = r.i64_add(r.read(count), r.i64(4));
    r.assign(count, next);
    r.brIf(again, r.i64_lt_u(next, r.i64(64)));
  });
  const upper = digit();
  const top = r.i64_or(r.i64_shl(digit(), r.i64(4)), upper);
  r.ret(r.read(low), r.i32_or(r.i32_wrap_i64(top), signOf(r, se)), flags);
});

/** From packed decimal (low eight bytes, upper two): exact. Digits above 9 count as what they are. */
export const fromDecimal = routines.define(
  'f80_from_bcd',
  ['i64', 'i32'],
  ['i64', 'i32'],
  { pure: true },
  (r, low, upper) => {
    const value = r.local('i64', r.i64_extend_i32_u(and(r, r.i32_shr_u(upper, r.i32(4)), 15)));
    const append = (digit: I64) => r.assign(value, r.i64_add(r.i64_mul(r.read(value), r.i64(10)), digit));
    append(r.i64_extend_i32_u(and(r, upper, 15)));
    const count = r.local('i64', r.i64(60));
    r.loop((again) => {
      append(r.i64_and(r.i64_shr_u(low, r.read(count)), r.i64(15)));
      const next = r.i64_sub(r.read(count), r.i64(4));
      r.assign(count, next);
      r.brIf(again, r.i64_ge_s(next, r.i64(0)));
    });
    const { sig, se } = fromInteger(r, r.read(value));
    r.ret(sig, r.i32_or(se, signOf(r, upper)));
  },
);

/** A double that is a normal number, widened inline. */
export const isNormalF64 = (r: RoutineBuilder, bits: I64): I32 => within(r, exponentOfBits(r, double, bits), 1, 0x7fe);
