/**
 * The commonest case of SSE arithmetic, told apart in few instructions: the operands and the native result are normal
 * numbers, rounding is to nearest, and PE is set already (which holds soon in any program that computes with fractions).
 * Then the native result is the exact one and nothing else changes. Everything else goes on to slower ways.
 *
 * A number's bits plus one in the exponent's lowest place, the sign shifted out, exceed 2 in the exponent's place just if
 * the number is normal and not the smallest one: zero and denormals stay below, infinities and NaNs have gone round.
 */
import type { F32, F64, I32, Label, RoutineBuilder, V128 } from '../../../ir/index.js';
import { field } from '../state.js';

/** MXCSR's RC, PM and PE, and how they must be. */
const CONTROL = 0x7020;
const CONTROL_QUICK = 0x1020;

/** Leaves the block `slow` unless rounding is to nearest and an inexact result changes nothing. */
function requireControl(r: RoutineBuilder, slow: Label): void {
  const control = r.i32_and(r.i32_load(r.state(), field.mxcsr), r.i32(CONTROL));
  r.brIf(slow, r.i32_ne(control, r.i32(CONTROL_QUICK)));
}

function requireNormal64(r: RoutineBuilder, slow: Label, values: readonly F64[]): void {
  const [one, limit, shift] = [r.i64(1n << 52n), r.i64(1n << 54n), r.i64(1)];
  for (const value of values) {
    const bits = r.i64_shl(r.i64_add(r.i64_reinterpret_f64(value), one), shift);
    r.brIf(slow, r.i64_le_u(bits, limit));
  }
}

function requireNormal32(r: RoutineBuilder, slow: Label, values: readonly F32[]): void {
  const [one, limit, shift] = [r.i32(1 << 23), r.i32(1 << 25), r.i32(1)];
  for (const value of values) {
    const bits = r.i32_shl(r.i32_add(r.i32_reinterpret_f32(value), one), shift);
    r.brIf(slow, r.i32_le_u(bits, limit));
  }
}

/** Returns `result` (with no fault) if it and the operands make the commonest case; goes on otherwise. */
export function returnIfNormal(
  r: RoutineBuilder,
  type: 'f32' | 'f64',
  result: F32 | F64,
  operands: readonly (F32 | F64)[],
): void {
  r.block((slow) => {
    const values = [...operands, result];
    if (type === 'f64') requireNormal64(r, slow, values as F64[]);
    else requireNormal32(r, slow, values as F32[]);
    requireControl(r, slow);
    r.ret(r.i32(0), result);
  });
}

/** The same on vectors: all lanes must be normal. */
export function returnIfNormalVector(
  r: RoutineBuilder,
  type: 'f32x4' | 'f64x2',
  result: V128,
  operands: readonly V128[],
): void {
  r.block((slow) => {
    const values = [...operands, result];
    if (type === 'f32x4') {
      const one = r.v128(1 << 23, 1 << 23, 1 << 23, 1 << 23);
      const limit = r.v128(1 << 25, 1 << 25, 1 << 25, 1 << 25);
      const bits = values.map((value) => r.i32x4_shl(r.i32x4_add(value, one), r.i32(1)));
      const least = bits.reduce((x, y) => r.i32x4_min_u(x, y));
      r.brIf(slow, r.i32_eqz(r.i32x4_all_true(r.i32x4_gt_u(least, limit))));
    } else {
      // there is no unsigned comparison: the sign is masked off instead
      const one = r.v128(0, 1 << 20, 0, 1 << 20);
      const magnitude = r.v128(-1, 0x7fffffff, -1, 0x7fffffff);
      const limit = r.v128(0, 1 << 21, 0, 1 << 21);
      const normal = values.map((value) => r.i64x2_gt_s(r.v128_and(r.i64x2_add(value, one), magnitude), limit));
      const all = normal.reduce((x, y) => r.v128_and(x, y));
      r.brIf(slow, r.i32_eqz(r.i64x2_all_true(all)));
    }
    requireControl(r, slow);
    r.ret(r.i32(0), result);
  });
}

/**
 * Returns the status flags of a comparison (with no fault) if neither operand is denormal or a NaN: no exception is
 * possible then. Goes on otherwise.
 */
export function returnIfOrdered(r: RoutineBuilder, type: 'f32' | 'f64', a: F32 | F64, b: F32 | F64): void {
  r.block((slow) => {
    // magnitudes less one: zero goes to the top, denormals stay below the smallest normal number's
    for (const value of [a, b]) {
      if (type === 'f64') {
        const magnitude = r.i64_shl(r.i64_reinterpret_f64(value as F64), r.i64(1));
        r.brIf(slow, r.i64_lt_u(r.i64_sub(magnitude, r.i64(1)), r.i64((1n << 53n) - 1n)));
      } else {
        const magnitude = r.i32_shl(r.i32_reinterpret_f32(value as F32), r.i32(1));
        r.brIf(slow, r.i32_lt_u(r.i32_sub(magnitude, r.i32(1)), r.i32((1 << 24) - 1)));
      }
    }
    const relation = (f64: 'f64_lt' | 'f64_eq' | 'f64_gt', f32: 'f32_lt' | 'f32_eq' | 'f32_gt'): I32 =>
      type === 'f64' ? r[f64](a as F64, b as F64) : r[f32](a as F32, b as F32);
    const [less, equal] = [relation('f64_lt', 'f32_lt'), relation('f64_eq', 'f32_eq')];
    const flags = r.i32_or(less, r.i32_shl(equal, r.i32(6)));
    r.brIf(slow, r.i32_eqz(r.i32_or(flags, relation('f64_gt', 'f32_gt'))));
    r.ret(r.i32(0), flags);
  });
}

/** Returns the truncated integer (with no fault) if it fits well and nothing is lost, or its loss changes nothing. */
export function returnIfTruncated(r: RoutineBuilder, type: 'f32' | 'f64', to: 'i32' | 'i64', value: F32 | F64): void {
  r.block((slow) => {
    const limit = to === 'i32' ? 2 ** 30 : 2 ** 62;
    const inRange =
      type === 'f64'
        ? r.f64_lt(r.f64_abs(value as F64), r.f64(limit))
        : r.f32_lt(r.f32_abs(value as F32), r.f32(limit));
    r.brIf(slow, r.i32_eqz(inRange));
    const pmAndPe = r.i32_and(r.i32_load(r.state(), field.mxcsr), r.i32(CONTROL_QUICK));
    r.brIf(slow, r.i32_ne(pmAndPe, r.i32(CONTROL_QUICK)));
    if (to === 'i32')
      r.ret(r.i32(0), type === 'f64' ? r.i32_trunc_sat_f64_s(value as F64) : r.i32_trunc_sat_f32_s(value as F32));
    else r.ret(r.i32(0), type === 'f64' ? r.i64_trunc_sat_f64_s(value as F64) : r.i64_trunc_sat_f32_s(value as F32));
  });
}
