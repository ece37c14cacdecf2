/**
 * The commonest case of SSE arithmetic, told apart in the translated code itself: the operands and the native result are normal numbers,
 * rounding is to nearest, and PE is set already (which holds soon in any program that computes with fractions). Then the native result is
 * the exact one and nothing else changes. Everything else is left to the routines (routines/float-sse.ts).
 */
import type { BlockBuilder, F32, F64, I32, I64, V128 } from '../../../ir/index.js';
import { rounding } from '../../float/core.js';
import { double, single } from '../../float/pack.js';
import { areNormal, bitsOf, type Found, isNormal, unlessFound } from '../../float/quick.js';
import { fromInteger, toInteger } from '../../float/quick-conversions.js';
import { unlessConverted, unlessSettled } from '../routines/float-sse.js';
import { field } from '../state.js';

type Binary = 'add' | 'sub' | 'mul' | 'div';

/** MXCSR's RC, PM and PE, and how they must be. */
const CONTROL = 0x7020;
const CONTROL_QUICK = 0x1020;

/** Rounding is to nearest, and an inexact result changes nothing. */
function controlIsQuick(b: BlockBuilder): I32 {
  const control = b.i32_and(b.i32_load(b.state(), field.mxcsr), b.i32(CONTROL));
  return b.i32_eq(control, b.i32(CONTROL_QUICK));
}

const all = (b: BlockBuilder, conditions: readonly I32[]): I32 => conditions.reduce((x, y) => b.i32_and(x, y));

function settledNumber<T extends F32 | F64>(
  b: BlockBuilder,
  type: 'f32' | 'f64',
  name: Binary | 'sqrt',
  value: T,
  operands: readonly T[],
): T {
  const f = type === 'f64' ? double : single;
  const normal = [...operands, value].map((number) => isNormal(b, f, number));
  return unlessFound(
    b,
    unlessSettled[type][name],
    { isSettled: all(b, [...normal, controlIsQuick(b)]), value },
    operands,
  );
}

export const arithmetic64 = (b: BlockBuilder, name: Binary, x: F64, y: F64): F64 =>
  settledNumber(b, 'f64', name, b[`f64_${name}`](x, y), [x, y]);
export const arithmetic32 = (b: BlockBuilder, name: Binary, x: F32, y: F32): F32 =>
  settledNumber(b, 'f32', name, b[`f32_${name}`](x, y), [x, y]);
export const root64 = (b: BlockBuilder, x: F64): F64 => settledNumber(b, 'f64', 'sqrt', b.f64_sqrt(x), [x]);
export const root32 = (b: BlockBuilder, x: F32): F32 => settledNumber(b, 'f32', 'sqrt', b.f32_sqrt(x), [x]);

function settledVector(
  b: BlockBuilder,
  type: 'f32x4' | 'f64x2',
  name: Binary | 'addsub' | 'sqrt',
  value: V128,
  operands: readonly V128[],
): V128 {
  const isSettled = all(b, [areNormal(b, type, [...operands, value]), controlIsQuick(b)]);
  return unlessFound(b, unlessSettled[type][name], { isSettled, value }, operands);
}

/** `addsub`: even lanes subtract. */
export function packed(b: BlockBuilder, type: 'f32x4' | 'f64x2', name: Binary | 'addsub', x: V128, y: V128): V128 {
  if (name !== 'addsub') return settledVector(b, type, name, b[`${type}_${name}`](x, y), [x, y]);
  const signs = type === 'f64x2' ? b.v128(0, -0x80000000, 0, 0) : b.v128(-0x80000000, 0, -0x80000000, 0);
  return settledVector(b, type, name, b[`${type}_add`](x, b.v128_xor(y, signs)), [x, y]);
}
export const packedRoot = (b: BlockBuilder, type: 'f32x4' | 'f64x2', x: V128): V128 =>
  settledVector(b, type, 'sqrt', b[`${type}_sqrt`](x), [x]);

/** Neither is denormal or a NaN: comparing them raises nothing. */
function isOrdered(b: BlockBuilder, type: 'f32' | 'f64', x: F32 | F64, y: F32 | F64): I32 {
  // Magnitudes less one: zero goes to the top, denormals stay below the smallest normal number's.
  const isDenormal = (value: F32 | F64): I32 => {
    if (type === 'f64') {
      const magnitude = b.i64_shl(b.i64_reinterpret_f64(value as F64), b.i64(1));
      return b.i64_lt_u(b.i64_sub(magnitude, b.i64(1)), b.i64((1n << 53n) - 1n));
    }
    const magnitude = b.i32_shl(b.i32_reinterpret_f32(value as F32), b.i32(1));
    return b.i32_lt_u(b.i32_sub(magnitude, b.i32(1)), b.i32((1 << 24) - 1));
  };
  const isNumber = (value: F32 | F64): I32 => relation(b, type, 'eq', value, value);
  const numbers = b.i32_and(isNumber(x), isNumber(y));
  return b.select(b.i32_or(isDenormal(x), isDenormal(y)), b.i32(0), numbers);
}
const relation = (b: BlockBuilder, type: 'f32' | 'f64', name: 'eq' | 'lt' | 'le', x: F32 | F64, y: F32 | F64): I32 =>
  type === 'f64' ? b[`f64_${name}`](x as F64, y as F64) : b[`f32_${name}`](x as F32, y as F32);

/** The status flags of a comparison. */
export function compared(
  b: BlockBuilder,
  type: 'f32' | 'f64',
  name: 'comi' | 'ucomi',
  x: F32 | F64,
  y: F32 | F64,
): I32 {
  const flags = b.i32_or(relation(b, type, 'lt', x, y), b.i32_shl(relation(b, type, 'eq', x, y), b.i32(6)));
  return unlessFound(b, unlessSettled[type][name], { isSettled: isOrdered(b, type, x, y), value: flags }, [x, y]);
}

/** All ones where CMPSS's or CMPSD's predicate, 0 to 7, holds. */
export function compareMask(b: BlockBuilder, type: 'f32' | 'f64', x: F32 | F64, y: F32 | F64, predicate: number): I32 {
  const name = (['eq', 'lt', 'le', undefined] as const)[predicate & 3];
  // Of two numbers none is unordered.
  const isTrue = name ? relation(b, type, name, x, y) : b.i32(0);
  const holds = predicate & 4 ? b.i32_eqz(isTrue) : isTrue;
  const value = b.i32_sub(b.i32(0), holds);
  return unlessFound(b, unlessSettled[type].cmp, { isSettled: isOrdered(b, type, x, y), value }, [
    x,
    y,
    b.i32(predicate),
  ]);
}

/** The second one where both are zero. */
export function chosen<T extends F32 | F64>(b: BlockBuilder, type: 'f32' | 'f64', name: 'min' | 'max', x: T, y: T): T {
  const first = name === 'min' ? relation(b, type, 'lt', x, y) : relation(b, type, 'lt', y, x);
  return unlessFound(
    b,
    unlessSettled[type][name],
    { isSettled: isOrdered(b, type, x, y), value: b.select(first, x, y) },
    [x, y],
  );
}

/** PE and PM in the lowest bit: an inexact result changes nothing. */
function inexact(b: BlockBuilder): I32 {
  const control = b.i32_load(b.state(), field.mxcsr);
  return b.i32_and(b.i32_shr_u(control, b.i32(5)), b.i32_shr_u(control, b.i32(12)));
}

/** CVTTSS2SI, CVTTSD2SI. */
export function truncated(b: BlockBuilder, type: 'f32' | 'f64', x: F32 | F64, bits: 32 | 64): I32 | I64 {
  const f = type === 'f64' ? double : single;
  const found = toInteger(b, f, bitsOf(b, f, x), rounding.zero, true, bits, inexact(b)) as Found<I64>;
  const rest = [x, b.i32(1)];
  const { isSettled } = found;
  if (bits === 64) return unlessFound(b, unlessSettled[type].toI64, found, rest);
  return unlessFound(b, unlessSettled[type].toI32, { isSettled, value: b.i32_wrap_i64(found.value) }, rest);
}

/** From 64 bits. */
export function fromI64(b: BlockBuilder, type: 'f32' | 'f64', x: I64): F32 | F64 {
  const found = fromInteger(b, type === 'f64' ? double : single, x, true, 64, controlIsQuick(b));
  return unlessFound(b, unlessSettled[type].fromI64, found, [x]);
}
export function f32FromI32(b: BlockBuilder, x: I32): F32 {
  const found = fromInteger(b, single, b.i64_extend_i32_s(x), true, 32, controlIsQuick(b));
  return unlessFound(b, unlessConverted.f32FromI32, found as Found<F32>, [x]);
}

export function f32ToF64(b: BlockBuilder, x: F32): F64 {
  const isSettled = b.i32_or(isNormal(b, single, x), b.f32_eq(x, b.f32(0)));
  return unlessFound(b, unlessConverted.f32ToF64, { isSettled, value: b.f64_promote_f32(x) }, [x]);
}
export function f64ToF32(b: BlockBuilder, x: F64): F32 {
  const value = b.f32_demote_f64(x);
  const isSettled = all(b, [isNormal(b, double, x), isNormal(b, single, value), controlIsQuick(b)]);
  return unlessFound(b, unlessConverted.f64ToF32, { isSettled, value }, [x]);
}
