/** What Advanced SIMD does with floating point, on whole vectors and on numbers: shared by AArch64's and AArch32's rows. */
import type { I32, I64, V128 } from '../../../ir/index.js';
import { areNormal, type Found, hasQuickWay, unlessFound } from '../../float/quick.js';
import { conversions, f32x4, f64x2, type VectorRoutines } from '../routines/float-vector.js';
import { call, compared, fused, inexact, mayBeQuick, type Operation } from './float-calls.js';
import {
  double,
  type FloatTranslator,
  type Format,
  lane,
  magnitude,
  modeOf,
  negate,
  single,
  withLane,
} from './float-format.js';
import { zero } from './vector.js';

/** On a format's numbers. */
export type One = (t: FloatTranslator, f: Format, x: I64) => I64;

// --- on whole vectors

/** On whole vectors of singles or doubles; d: what the destination has. */
export type Whole = (t: FloatTranslator, f: Format, x: V128, y: V128, d: () => V128) => V128;
export const wholes = (f: Format): VectorRoutines => (f === double ? f64x2 : f32x4);
const shapeOf = (f: Format) => (f === double ? 'f64x2' : 'f32x4');
type Arithmetic = 'add' | 'sub' | 'mul' | 'div';
const isArithmetic = (name: string): name is Arithmetic => ['add', 'sub', 'mul', 'div'].includes(name);
export const byRoutine =
  (name: Arithmetic | 'min' | 'max' | 'minnm' | 'maxnm' | 'eq' | 'ge' | 'gt'): Whole =>
  (t, f, x, y) => {
    const mode = modeOf(t, f);
    if (!isArithmetic(name) || !mayBeQuick(t, f)) return t.b.call(wholes(f)[name], x, y, mode)[0];
    const value = t.b[`${shapeOf(f)}_${name}`](x, y);
    return unlessFound(t.b, wholes(f).quick[name], found(t, f, value), [x, y, mode]);
  };
/** The host's result, right where all lanes are normal. */
const found = (t: FloatTranslator, f: Format, value: V128): Found<V128> => ({
  isSettled: t.b.i32_and(areNormal(t.b, shapeOf(f), [value]), inexact(t.b)),
  value,
});
export const withSign = ({ b }: FloatTranslator, f: Format, x: V128): V128 =>
  (f === double ? b.f64x2_neg : b.f32x4_neg).call(b, x);
export const magnitudes = ({ b }: FloatTranslator, f: Format, x: V128): V128 =>
  (f === double ? b.f64x2_abs : b.f32x4_abs).call(b, x);
export const fusedWhole =
  (subtract: boolean): Whole =>
  (t, f, x, y, d) => {
    const operands = [subtract ? withSign(t, f, x) : x, y, d()] as const;
    const mode = modeOf(t, f);
    if (!mayBeQuick(t, f) || !hasQuickWay('fma')) return t.b.call(wholes(f).fma, ...operands, mode)[0];
    const value = t.b[`${shapeOf(f)}_relaxed_madd`](...operands);
    return unlessFound(t.b, wholes(f).quick.fma, found(t, f, value), [...operands, mode]);
  };

/** Between singles and integers of 32 bits, rounded towards zero. */
export const toIntegers = (t: FloatTranslator, sign: 's' | 'u', x: V128): V128 =>
  t.b.call(conversions[sign].to, x, modeOf(t, single))[0];
export const fromIntegers = (t: FloatTranslator, sign: 's' | 'u', x: V128): V128 =>
  t.b.call(conversions[sign].from, x, modeOf(t, single))[0];

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

// --- on complex numbers, their real part first

function eachOf(t: FloatTranslator, f: Format, count: number, operation: (n: number) => I64): V128 {
  return Array.from({ length: count }, (_, n) => operation(n)).reduce(
    (all, value, n) => withLane(t, f, all, n, value),
    zero(t),
  );
}
/** x plus y turned by a quarter, or by three (`isBack`: 1), in `count` lanes; the others are 0. */
export const complexSum = (t: FloatTranslator, f: Format, count: number, x: V128, y: V128, isBack: number): V128 =>
  eachOf(t, f, count, (n) => {
    const other = lane(t, f, y, n ^ 1);
    // By a quarter i * y is added: its real part is minus the imaginary one.
    const isNegative = (n & 1) === isBack;
    return call('add')(t, f, lane(t, f, x, n), isNegative ? negate(t, f, other) : other, other);
  });
/** d plus the product of y with x's real or, turned by a quarter or three, imaginary part. */
export const complexProduct = (
  t: FloatTranslator,
  f: Format,
  count: number,
  x: V128,
  y: V128,
  d: V128,
  rotation: number,
): V128 =>
  eachOf(t, f, count, (n) => {
    const part = n & 1;
    const factor = lane(t, f, x, (n & ~1) | (rotation & 1));
    const other = lane(t, f, y, rotation & 1 ? n ^ 1 : n);
    const isNegative = rotation === 2 || (rotation === 1 && part === 0) || (rotation === 3 && part === 1);
    return fused(t, f, factor, isNegative ? negate(t, f, other) : other, lane(t, f, d, n));
  });
