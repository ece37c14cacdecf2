/** What Advanced SIMD does with floating point, on whole vectors and on numbers: shared by AArch64's and AArch32's rows. */
import type { I32, I64, V128 } from '../../../ir/index.js';
import { f32x4, f64x2, type VectorRoutines } from '../routines/float-vector.js';
import {
  compared,
  double,
  type FloatTranslator,
  type Format,
  fused,
  magnitude,
  modeOf,
  negate,
  type Operation,
} from './float-format.js';

/** On a format's numbers. */
export type One = (t: FloatTranslator, f: Format, x: I64) => I64;

// --- on whole vectors

/** On whole vectors of singles or doubles; d: what the destination has. */
export type Whole = (t: FloatTranslator, f: Format, x: V128, y: V128, d: () => V128) => V128;
export const wholes = (f: Format): VectorRoutines => (f === double ? f64x2 : f32x4);
export const byRoutine =
  (name: 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max' | 'minnm' | 'maxnm' | 'eq' | 'ge' | 'gt'): Whole =>
  (t, f, x, y) =>
    t.b.call(wholes(f)[name], x, y, modeOf(t, f))[0];
export const withSign = ({ b }: FloatTranslator, f: Format, x: V128): V128 =>
  (f === double ? b.f64x2_neg : b.f32x4_neg).call(b, x);
export const magnitudes = ({ b }: FloatTranslator, f: Format, x: V128): V128 =>
  (f === double ? b.f64x2_abs : b.f32x4_abs).call(b, x);
export const fusedWhole =
  (subtract: boolean): Whole =>
  (t, f, x, y, d) =>
    t.b.call(wholes(f).fma, subtract ? withSign(t, f, x) : x, y, d(), modeOf(t, f))[0];

// --- on numbers

/** All ones where the comparison's NZCV is as it must be. */
export type Holds = (t: FloatTranslator, nzcv: I32) => I32;
export const isGreater: Holds = ({ b }, nzcv) => b.i32_eq(nzcv, b.i32(0x20000000));
export const isEqual: Holds = ({ b }, nzcv) => b.i32_eq(nzcv, b.i32(0x60000000));
export const isEither: Holds = (t, nzcv) => t.b.i32_or(isGreater(t, nzcv), isEqual(t, nzcv));
export const mask =
  (signals: boolean, holds: Holds): Operation =>
  (t, f, x, y) => {
    const all = t.b.i64_sub(t.b.i64(0), t.b.i64_extend_i32_u(holds(t, compared(t, f, x, y, signals))));
    return f === double ? all : t.b.i64_and(all, t.b.i64((1n << BigInt(f.bits)) - 1n));
  };
export const withZero =
  (operation: Operation): One =>
  (t, f, x) =>
    operation(t, f, x, t.b.i64(0), x);
export const zeroWith =
  (operation: Operation): One =>
  (t, f, x) =>
    operation(t, f, t.b.i64(0), x, x);
export const ofMagnitudes =
  (operation: Operation): Operation =>
  (t, f, x, y, d) =>
    operation(t, f, magnitude(t, f, x), magnitude(t, f, y), d);
export const one =
  (operation: Operation): One =>
  (t, f, x) =>
    operation(t, f, x, x, x);

export const multiplyAdd: Operation = (t, f, x, y, d) => fused(t, f, x, y, d);
export const multiplySubtract: Operation = (t, f, x, y, d) => fused(t, f, negate(t, f, x), y, d);
