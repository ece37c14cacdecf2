/**
 * The commonest case of arithmetic on singles and doubles, told apart in the translated code itself: the native result is a normal
 * number, and *inexact* has been accrued already, so that the result is right and nothing else changes. The caller has seen to it that
 * rounding is to nearest and that no subnormal number is flushed. All else is left to the routine that works on bits.
 *
 * A number's bits plus one in the exponent's lowest place, the sign shifted out, exceed 2 in the exponent's place just if the number is
 * normal and not the smallest one, to which one that underflows may have been rounded: zero and subnormal numbers stay below, infinities
 * and NaNs have gone round.
 */
import {
  type BlockBuilder,
  type Emitter,
  type F32,
  type F64,
  fusesMultiply,
  type I32,
  type I64,
  Op,
  type Routine,
  type RoutineBuilder,
  type RoutineSet,
  type TypeName,
  type V128,
} from '../../ir/index.js';
import { double, type Format, half, signBit } from './pack.js';

/** Operations with a quick way. */
export type QuickName = 'add' | 'sub' | 'mul' | 'div' | 'sqrt' | 'fma';
/** Whether this host has it: a * b + c, rounded once, not each one does. */
export const hasQuickWay = (name: QuickName): boolean => name !== 'fma' || fusesMultiply();

/**
 * Of routines on a format's bits, those that are called only where the result has not been found by a quick way (`defineUnlessSettled`).
 * `numbers` give a number's bits, `others` something else. Half precision has no quick way.
 */
export function defineQuick<N extends string, O extends string>(
  routines: RoutineSet,
  f: Format,
  numbers: Readonly<Record<N, unknown>>,
  others: Readonly<Record<O, unknown>>,
): Readonly<Record<N | O, Routine>> | undefined {
  if (f === half) return undefined;
  const type = f === double ? 'f64' : 'f32';
  const made: Record<string, Routine> = {};
  for (const name in numbers) {
    const routine = numbers[name] as Routine;
    made[name] = defineUnlessSettled(routines, routine, type, (r, bits) => numberOf(r, f, bits as I64));
  }
  for (const name in others) {
    const routine = others[name] as Routine;
    made[name] = defineUnlessSettled(routines, routine, routine.results[0]);
  }
  return made as Record<N | O, Routine>;
}

/** A conversion to a format, in the same way. */
export const defineQuickConversion = (routines: RoutineSet, to: Format, routine: unknown): Routine =>
  defineUnlessSettled(routines, routine as Routine, to === double ? 'f64' : 'f32', (r, bits) =>
    numberOf(r, to, bits as I64),
  );

/**
 * A routine for callers who may have the result already (`RoutineEffects.settles`): whether they have, the result, and the operands of
 * `routine`, whose last result it is. `convert` makes a result of type `type` of that.
 */
export function defineUnlessSettled(
  routines: RoutineSet,
  routine: Routine,
  type: TypeName,
  convert: (r: RoutineBuilder, result: number) => number = (_, result) => result,
): Routine {
  const { name, params, effects } = routine;
  const results = effects.mayFault ? (['i32', type] as const) : ([type] as const);
  const settles = { ...effects, settles: true };
  const define = routines.define as (...all: unknown[]) => Routine;
  return define.call(
    routines,
    `${name}_unless`,
    ['i32', type, ...params],
    results,
    settles,
    (r: RoutineBuilder, isSettled: I32, value: number, ...operands: number[]) => {
      r.if(isSettled, () => r.ret(...(effects.mayFault ? [r.i32(0)] : []), value));
      const called = (r.call as (...all: unknown[]) => number[]).call(r, routine, ...operands);
      const last = called.pop() as number;
      r.ret(...called, convert(r, last));
    },
  );
}

const numberOf = (b: Emitter, f: Format, bits: I64): F32 | F64 =>
  f === double ? b.f64_reinterpret_i64(bits) : b.f32_reinterpret_i32(b.i32_wrap_i64(bits));

/** The op that defines a temp, and its first two words behind that: operands or immediates. Undefined: it lies too far back. */
function definedBy(b: Emitter, temp: number): { op: number; first: number; second: number } | undefined {
  const at = b.definition(temp);
  return at < 0 ? undefined : { op: b.words[at], first: b.words[at + 2], second: b.words[at + 3] };
}

/** A number's bits with the other sign: where its negation is made of them, the temp of the bits. */
function negated(b: Emitter, f: Format, bits: I64): I64 | undefined {
  const made = definedBy(b, bits);
  const mask = made?.op === Op.i64_xor ? definedBy(b, made.second) : undefined;
  if (!made || mask?.op !== Op.const_i64) return undefined;
  const isSign = BigInt.asUintN(64, (BigInt(mask.second) << 32n) | BigInt(mask.first >>> 0)) === signBit(f);
  return isSign ? (made.first as I64) : undefined;
}

/** The number of these bits: where they have just been taken from a vector or a number, straight from there. */
export function nativeNumber(b: Emitter, f: Format, bits: I64): F32 | F64 {
  const positive = negated(b, f, bits);
  if (positive !== undefined) {
    const number = nativeNumber(b, f, positive);
    return f === double ? b.f64_neg(number as F64) : b.f32_neg(number as F32);
  }
  const number = numberBehind(b, f, bits);
  if (number !== undefined) return number;
  const made = definedBy(b, bits);
  if (f === double) {
    if (made?.op === Op.i64x2_extract_lane) return b.f64x2_extract_lane(made.first as V128, made.second);
    return b.f64_reinterpret_i64(bits);
  }
  const low = made?.op === Op.i64_extend_i32_u ? (made.first as I32) : b.i32_wrap_i64(bits);
  const source = definedBy(b, low);
  if (source?.op === Op.i32x4_extract_lane) return b.f32x4_extract_lane(source.first as V128, source.second);
  return b.f32_reinterpret_i32(low);
}

/** A vector with the number in lane 0; the others do not count. */
function nativeVector(b: Emitter, f: Format, bits: I64): V128 {
  const made = definedBy(b, bits);
  if (f === double) {
    if (made?.op === Op.i64x2_extract_lane && made.second === 0) return made.first as V128;
    return b.f64x2_splat(nativeNumber(b, f, bits) as F64);
  }
  const source = made?.op === Op.i64_extend_i32_u ? definedBy(b, made.first) : undefined;
  if (source?.op === Op.i32x4_extract_lane && source.second === 0) return source.first as V128;
  return b.f32x4_splat(nativeNumber(b, f, bits) as F32);
}

/** a * b + c, rounded once by the host, which can (`fusesMultiply`). */
export function fusedNatively(b: Emitter, f: Format, operands: readonly I64[]): F32 | F64 {
  const [x, y, z] = operands.map((bits) => nativeVector(b, f, bits));
  return f === double
    ? b.f64x2_extract_lane(b.f64x2_relaxed_madd(x, y, z), 0)
    : b.f32x4_extract_lane(b.f32x4_relaxed_madd(x, y, z), 0);
}

/** The number whose bits these are, if they have just been made of one. */
export function numberBehind(b: Emitter, f: Format, bits: I64): F32 | F64 | undefined {
  const made = definedBy(b, bits);
  if (f === double) return made?.op === Op.i64_reinterpret_f64 ? (made.first as F64) : undefined;
  const low = made?.op === Op.i64_extend_i32_u ? definedBy(b, made.first) : undefined;
  return low?.op === Op.i32_reinterpret_f32 ? (low.first as F32) : undefined;
}

/** A normal number, and not the smallest one. */
export function isNormal(b: Emitter, f: Format, value: F32 | F64): I32 {
  if (f === double) {
    const raised = b.i64_add(b.i64_reinterpret_f64(value as F64), b.i64(1n << 52n));
    return b.i64_gt_u(b.i64_shl(raised, b.i64(1)), b.i64(1n << 54n));
  }
  const raised = b.i32_add(b.i32_reinterpret_f32(value as F32), b.i32(1 << 23));
  return b.i32_gt_u(b.i32_shl(raised, b.i32(1)), b.i32(1 << 25));
}

function calculated(b: Emitter, f: Format, name: Exclude<QuickName, 'fma'>, operands: readonly I64[]): F32 | F64 {
  const numbers = operands.map((bits) => nativeNumber(b, f, bits));
  const native = b[`${f === double ? 'f64' : 'f32'}_${name}`] as (...numbers: (F32 | F64)[]) => F32 | F64;
  return native.apply(b, numbers);
}

/** All lanes of all are normal numbers, and not the smallest ones; as `isNormal`. */
export function areNormal(b: Emitter, type: 'f32x4' | 'f64x2', vectors: readonly V128[]): I32 {
  if (type === 'f32x4') {
    const [one, limit] = [b.i32x4_splat(b.i32(1 << 23)), b.i32x4_splat(b.i32(1 << 25))];
    const raised = vectors.map((vector) => b.i32x4_shl(b.i32x4_add(vector, one), b.i32(1)));
    return b.i32x4_all_true(
      b.i32x4_gt_u(
        raised.reduce((x, y) => b.i32x4_min_u(x, y)),
        limit,
      ),
    );
  }
  // There is no unsigned comparison: the sign is masked off instead.
  const [one, limit] = [b.i64x2_splat(b.i64(1n << 52n)), b.i64x2_splat(b.i64(1n << 53n))];
  const magnitude = b.i64x2_splat(b.i64((1n << 63n) - 1n));
  const normal = vectors.map((vector) => b.i64x2_gt_s(b.v128_and(b.i64x2_add(vector, one), magnitude), limit));
  return b.i64x2_all_true(normal.reduce((x, y) => b.v128_and(x, y)));
}

/** A sum that is zero is exact. */
const isZero = (b: Emitter, f: Format, value: F32 | F64): I32 =>
  f === double ? b.f64_eq(value as F64, b.f64(0)) : b.f32_eq(value as F32, b.f32(0));

/** What a quick way has found, and whether it holds; undefined: it always does. */
export interface Found<T> {
  readonly isSettled: I32 | undefined;
  readonly value: T;
}

/** The result of a routine of `defineUnlessSettled`, called only where nothing has been found. */
export function unlessFound<T extends I32 | I64 | F32 | F64 | V128>(
  b: BlockBuilder,
  routine: Routine,
  { isSettled, value }: Found<T>,
  operands: readonly (I32 | I64 | F32 | F64 | V128)[],
): T {
  if (isSettled === undefined) return value;
  const call = b.call as (routine: Routine, ...args: number[]) => number[];
  return call.call(b, routine, isSettled, value, ...operands).pop() as T;
}

export const bitsOf = (b: BlockBuilder, f: Format, number: F32 | F64): I64 =>
  f === double ? b.i64_reinterpret_f64(number as F64) : b.i64_extend_i32_u(b.i32_reinterpret_f32(number as F32));

/**
 * The result's bits. `operands`: bits, as many as the operation has; `inexact`: whether *inexact* is accrued, in its lowest bit, which alone
 * counts; `mode`: what the routine that works on bits is told.
 */
export function quickly(
  b: BlockBuilder,
  f: Format,
  name: QuickName,
  routine: Routine,
  operands: readonly I64[],
  inexact: I32,
  mode: I32,
): I64 {
  const value = name === 'fma' ? fusedNatively(b, f, operands) : calculated(b, f, name, operands);
  const isNear = isNormal(b, f, value);
  const isRight = name === 'add' || name === 'sub' ? b.i32_or(isNear, isZero(b, f, value)) : isNear;
  const isSettled = b.i32_and(isRight, inexact);
  return bitsOf(b, f, unlessFound(b, routine, { isSettled, value }, [...operands, mode]));
}
