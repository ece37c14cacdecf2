/**
 * Comparisons and conversions that the host's own instructions settle: of numbers in range, where nothing is lost or *inexact* has been
 * accrued already. As in quick.ts, the caller has seen to it that nothing is flushed, and calls a routine where nothing was found.
 */
import type { BlockBuilder, F32, F64, I32, I64 } from '../../ir/index.js';
import { rounding } from './core.js';
import { double, type Format } from './pack.js';
import { type Found, isNormal, nativeNumber } from './quick.js';

type Native = F32 | F64;
type Relation = 'eq' | 'lt' | 'gt' | 'le' | 'ge';
const holds = (b: BlockBuilder, f: Format, relation: Relation, x: Native, y: Native): I32 =>
  f === double ? b[`f64_${relation}`](x as F64, y as F64) : b[`f32_${relation}`](x as F32, y as F32);
const isNumber = (b: BlockBuilder, f: Format, x: Native): I32 => holds(b, f, 'eq', x, x);
const constant = (b: BlockBuilder, f: Format, value: number): Native => (f === double ? b.f64(value) : b.f32(value));

/** How two numbers compare: each 0 or 1, and all 0 if one is a NaN. */
export function related(b: BlockBuilder, f: Format, x: I64, y: I64): { less: I32; equal: I32; greater: I32 } {
  const [one, two] = [nativeNumber(b, f, x), nativeNumber(b, f, y)];
  const of = (relation: Relation) => holds(b, f, relation, one, two);
  return { less: of('lt'), equal: of('eq'), greater: of('gt') };
}

/** 1 if the relation holds; not found for a NaN. */
export function compared(b: BlockBuilder, f: Format, relation: Relation, x: I64, y: I64): Found<I64> {
  const [one, two] = [nativeNumber(b, f, x), nativeNumber(b, f, y)];
  const isSettled = b.i32_and(isNumber(b, f, one), isNumber(b, f, two));
  return { isSettled, value: b.i64_extend_i32_u(holds(b, f, relation, one, two)) };
}

/** The smaller or larger of two numbers; -0 is below +0. */
export function chosen(b: BlockBuilder, f: Format, name: 'min' | 'max', x: I64, y: I64): Found<Native> {
  const [one, two] = [nativeNumber(b, f, x), nativeNumber(b, f, y)];
  const isSettled = b.i32_and(isNumber(b, f, one), isNumber(b, f, two));
  const value = f === double ? b[`f64_${name}`](one as F64, two as F64) : b[`f32_${name}`](one as F32, two as F32);
  return { isSettled, value };
}

/** WebAssembly's name for a rounding mode; `tiesAway` has none. */
const wholeNames = new Map<number, 'nearest' | 'floor' | 'ceil' | 'trunc'>([
  [rounding.nearest, 'nearest'],
  [rounding.down, 'floor'],
  [rounding.up, 'ceil'],
  [rounding.zero, 'trunc'],
]);
function whole(b: BlockBuilder, f: Format, x: Native, mode: number): Native | undefined {
  const name = wholeNames.get(mode);
  if (!name) return undefined;
  return f === double ? b[`f64_${name}`](x as F64) : b[`f32_${name}`](x as F32);
}

/** Nothing is lost, or that has been accrued; `inexact`: in its lowest bit, which alone counts. */
const isSilent = (b: BlockBuilder, f: Format, x: Native, result: Native, inexact: I32): I32 =>
  b.i32_or(holds(b, f, 'eq', x, result), b.i32_and(inexact, b.i32(1)));

/** A whole number of the same format. `inexact`: undefined where a loss raises nothing. */
export function roundedToWhole(
  b: BlockBuilder,
  f: Format,
  x: I64,
  mode: number,
  inexact: I32 | undefined,
): Found<Native> | undefined {
  const number = nativeNumber(b, f, x);
  const value = whole(b, f, number, mode);
  if (value === undefined) return undefined;
  const isOne = isNumber(b, f, number);
  const isSettled = inexact === undefined ? isOne : b.i32_and(isOne, isSilent(b, f, number, value, inexact));
  return { isSettled, value };
}

/** An integer of so many bits, as an i64. */
export function toInteger(
  b: BlockBuilder,
  f: Format,
  x: I64,
  mode: number,
  isSigned: boolean,
  bits: number,
  inexact: I32,
): Found<I64> | undefined {
  const number = nativeNumber(b, f, x);
  const result = whole(b, f, number, mode);
  if (result === undefined) return undefined;
  const limit = constant(b, f, 2 ** (isSigned ? bits - 1 : bits));
  const least = constant(b, f, isSigned ? -(2 ** (bits - 1)) : 0);
  const fits = b.i32_and(holds(b, f, 'lt', result, limit), holds(b, f, 'ge', result, least));
  const name = `i64_trunc_sat_${f === double ? 'f64' : 'f32'}_${isSigned ? 's' : 'u'}` as const;
  const convert = b[name] as (x: Native) => I64;
  return {
    isSettled: b.i32_and(fits, isSilent(b, f, number, result, inexact)),
    value: convert.call(b, result),
  };
}

/** From an integer of 64 bits, rounded to nearest; `bits`: so many of it count, the others extend it. */
export function fromInteger(
  b: BlockBuilder,
  f: Format,
  value: I64,
  isSigned: boolean,
  bits: number,
  inexact: I32,
): Found<Native> {
  const name = `${f === double ? 'f64' : 'f32'}_convert_i64_${isSigned || bits < 64 ? 's' : 'u'}` as const;
  const number = (b[name] as (value: I64) => Native).call(b, value);
  if (bits <= f.fraction) return { isSettled: undefined, value: number };
  const most = 1n << BigInt(f.fraction + 1);
  const isSmall = isSigned
    ? b.i64_le_u(b.i64_add(value, b.i64(most)), b.i64(2n * most))
    : b.i64_le_u(value, b.i64(most));
  return { isSettled: b.i32_or(isSmall, b.i32_and(inexact, b.i32(1))), value: number };
}

/** From single to double precision. */
export function promoted(b: BlockBuilder, single: Format, x: I64): Found<F64> {
  const number = nativeNumber(b, single, x) as F32;
  return { isSettled: isNumber(b, single, number), value: b.f64_promote_f32(number) };
}

/** From double to single precision, rounded to nearest. */
export function demoted(b: BlockBuilder, single: Format, x: I64, inexact: I32): Found<F32> {
  const number = nativeNumber(b, double, x) as F64;
  const value = b.f32_demote_f64(number);
  const isExact = b.f64_eq(b.f64_promote_f32(value), number);
  return { isSettled: b.i32_or(isExact, b.i32_and(isNormal(b, single, value), inexact)), value };
}
