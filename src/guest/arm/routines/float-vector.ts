/**
 * Vectors of singles and of doubles, 128 bits at a time: WebAssembly's operations where their results are right in every lane, and the
 * numbers' own routines, lane by lane, where one is not.
 */
import { fusesMultiply, type I32, type Routine, type RoutineBuilder, type V128 } from '../../../ir/index.js';
import { and, rounding } from '../../float/core.js';
import { double, type Format, infinityBits, signBit, single } from '../../float/pack.js';
import { defineUnlessSettled } from '../../float/quick.js';
import { field } from '../state.js';
import { type FloatRoutines, f32, f64, mayBeNative as numberMayBeNative } from './float.js';
import { flag, floatMode } from './float-common.js';
import { routines } from './set.js';

type Shape = 'f32x4' | 'f64x2';
const shapeOf = (f: Format): Shape => (f === single ? 'f32x4' : 'f64x2');
const own: Readonly<Record<Shape, FloatRoutines>> = { f32x4: f32, f64x2: f64 };

const splat = (r: RoutineBuilder, f: Format, bits: bigint): V128 =>
  f === double ? r.i64x2_splat(r.i64(bits)) : r.i32x4_splat(r.i32(Number(bits) | 0));
const greater = (r: RoutineBuilder, f: Format, x: V128, y: V128): V128 =>
  (f === double ? r.i64x2_gt_s : r.i32x4_gt_s).call(r, x, y);
const allTrue = (r: RoutineBuilder, f: Format, x: V128): I32 =>
  (f === double ? r.i64x2_all_true : r.i32x4_all_true).call(r, x);
const magnitude = (r: RoutineBuilder, f: Format, x: V128): V128 => r.v128_and(x, splat(r, f, signBit(f) - 1n));
/** Lanes that are numbers above the smallest normal one. */
function normal(r: RoutineBuilder, f: Format, x: V128): V128 {
  const size = magnitude(r, f, x);
  const above = greater(r, f, size, splat(r, f, 1n << BigInt(f.fraction)));
  return r.v128_and(above, greater(r, f, splat(r, f, infinityBits(f)), size));
}
const isZero = (r: RoutineBuilder, f: Format, x: V128): V128 => {
  const zero = r.v128(0, 0, 0, 0);
  return f === double ? r.i64x2_eq(magnitude(r, f, x), zero) : r.i32x4_eq(magnitude(r, f, x), zero);
};

/** Whether any lane is below the smallest normal number, and not zero. */
function anySubnormal(r: RoutineBuilder, f: Format, operands: readonly V128[]): I32 {
  const smallest = splat(r, f, 1n << BigInt(f.fraction));
  const isSubnormal = (x: V128): V128 => {
    const size = magnitude(r, f, x);
    return r.v128_and(greater(r, f, smallest, size), greater(r, f, size, r.v128(0, 0, 0, 0)));
  };
  return r.v128_any_true(operands.map(isSubnormal).reduce((a, b) => r.v128_or(a, b)));
}
const mayBeNative = (r: RoutineBuilder, f: Format, mode: I32, operands: readonly V128[]): I32 =>
  numberMayBeNative(r, mode, () => anySubnormal(r, f, operands));

/** Lane by lane. `operation` works on a number's bits. */
function byLanes(r: RoutineBuilder, f: Format, operation: (n: number) => number): V128 {
  let all = r.v128(0, 0, 0, 0);
  for (let n = 0; n < (f === double ? 2 : 4); n++) {
    const value = operation(n) as ReturnType<typeof r.i64>;
    all = f === double ? r.i64x2_replace_lane(all, value, n) : r.i32x4_replace_lane(all, r.i32_wrap_i64(value), n);
  }
  return all;
}
const lane = (r: RoutineBuilder, f: Format, x: V128, n: number) =>
  f === double ? r.i64x2_extract_lane(x, n) : r.i64_extend_i32_u(r.i32x4_extract_lane(x, n));

type Arithmetic = 'add' | 'sub' | 'mul' | 'div';
function defineArithmetic(f: Format, name: Arithmetic) {
  const shape = shapeOf(f);
  return routines.define(`${shape}_${name}`, ['v128', 'v128', 'i32'], ['v128'], {}, (r, x, y, mode) => {
    r.if(mayBeNative(r, f, mode, [x, y]), () => {
      const result = r[`${shape}_${name}`](x, y);
      // A sum that is zero is exact; so is a product or quotient of zero, unless it is a NaN.
      const zeroOperand = name === 'mul' ? r.v128_or(isZero(r, f, x), isZero(r, f, y)) : isZero(r, f, x);
      const isSum = name === 'add' || name === 'sub';
      const exactZero = isSum ? isZero(r, f, result) : r.v128_and(isZero(r, f, result), zeroOperand);
      r.if(allTrue(r, f, r.v128_or(normal(r, f, result), exactZero)), () => r.ret(result));
    });
    r.ret(byLanes(r, f, (n) => r.call(own[shape][name], lane(r, f, x, n), lane(r, f, y, n), mode)[0]));
  });
}
function defineRoot(f: Format) {
  const shape = shapeOf(f);
  return routines.define(`${shape}_sqrt`, ['v128', 'i32'], ['v128'], {}, (r, x, mode) => {
    r.if(mayBeNative(r, f, mode, [x]), () => {
      const result = r[`${shape}_sqrt`](x);
      r.if(allTrue(r, f, r.v128_or(normal(r, f, result), isZero(r, f, x))), () => r.ret(result));
    });
    r.ret(byLanes(r, f, (n) => r.call(own[shape].sqrt, lane(r, f, x, n), mode)[0]));
  });
}

/** No NaNs in either, and nothing is flushed: then order is WebAssembly's. */
function isOrdered(r: RoutineBuilder, f: Format, x: V128, y: V128, mode: I32): I32 {
  const shape = shapeOf(f);
  const numbers = r.v128_and(r[`${shape}_eq`](x, x), r[`${shape}_eq`](y, y));
  const ordered = r.local('i32', allTrue(r, f, numbers));
  r.if(and(r, mode, floatMode.flushToZero), () =>
    r.assign(ordered, r.i32_and(r.read(ordered), r.i32_eqz(anySubnormal(r, f, [x, y])))),
  );
  return r.read(ordered);
}
type Choice = 'min' | 'max' | 'minnm' | 'maxnm';
function defineChoice(f: Format, name: Choice) {
  const shape = shapeOf(f);
  const native = name.slice(0, 3) as 'min' | 'max';
  return routines.define(`${shape}_${name}`, ['v128', 'v128', 'i32'], ['v128'], {}, (r, x, y, mode) => {
    r.if(isOrdered(r, f, x, y, mode), () => r.ret(r[`${shape}_${native}`](x, y)));
    r.ret(byLanes(r, f, (n) => r.call(own[shape][name], lane(r, f, x, n), lane(r, f, y, n), mode)[0]));
  });
}

/** All ones where it holds. */
type Relation = 'eq' | 'ge' | 'gt';
function defineRelation(f: Format, name: Relation) {
  const shape = shapeOf(f);
  const signals = name === 'eq' ? 0 : 1;
  return routines.define(`${shape}_compare_${name}`, ['v128', 'v128', 'i32'], ['v128'], {}, (r, x, y, mode) => {
    r.if(isOrdered(r, f, x, y, mode), () => r.ret(r[`${shape}_${name}`](x, y)));
    const result = byLanes(r, f, (n) => {
      const [nzcv] = r.call(own[shape].compare, lane(r, f, x, n), lane(r, f, y, n), r.i32(signals), mode);
      const isGreater = r.i32_eq(nzcv, r.i32(0x20000000));
      const isEqual = r.i32_eq(nzcv, r.i32(0x60000000));
      const holds = name === 'eq' ? isEqual : name === 'gt' ? isGreater : r.i32_or(isGreater, isEqual);
      return r.i64_sub(r.i64(0), r.i64_extend_i32_u(holds));
    });
    r.ret(result);
  });
}

/** x * y + d. Singles are calculated as doubles, as the number's own routine does. */
function defineFused(f: Format) {
  const shape = shapeOf(f);
  return routines.define(`${shape}_fma`, ['v128', 'v128', 'v128', 'i32'], ['v128'], {}, (r, x, y, d, mode) => {
    if (fusesMultiply()) {
      r.if(mayBeNative(r, f, mode, [x, y, d]), () => {
        const result = r[`${shape}_relaxed_madd`](x, y, d);
        // A zero product and a zero are exact.
        const zeros = r.v128_and(r.v128_or(isZero(r, f, x), isZero(r, f, y)), isZero(r, f, d));
        const exactZero = r.v128_and(zeros, isZero(r, f, result));
        r.if(allTrue(r, f, r.v128_or(normal(r, f, result), exactZero)), () => r.ret(result));
      });
    } else if (f === single) {
      r.if(mayBeNative(r, f, mode, [x, y, d]), () => {
        const upper = (value: V128) => r.i8x16_shuffle(value, value, 0x0b0a0908, 0x0f0e0d0c, 0x0b0a0908, 0x0f0e0d0c);
        const half = (move: (value: V128) => V128): V128 => {
          const [a, b, c] = [x, y, d].map((value) => r.f64x2_promote_low_f32x4(move(value)));
          return r.f64x2_add(r.f64x2_mul(a, b), c);
        };
        const sums = [half((value) => value), half(upper)];
        const below = r.i64x2_splat(r.i64(0x1fffffff));
        const tie = r.i64x2_splat(r.i64(0x10000000));
        const noTies = sums.map((sum) => r.i64x2_ne(r.v128_and(sum, below), tie)).reduce((a, b) => r.v128_and(a, b));
        const [low, high] = sums.map((sum) => r.f32x4_demote_f64x2_zero(sum));
        const result = r.i8x16_shuffle(low, high, 0x03020100, 0x07060504, 0x13121110, 0x17161514);
        // A zero product and a zero are exact.
        const zeros = r.v128_and(r.v128_or(isZero(r, f, x), isZero(r, f, y)), isZero(r, f, d));
        const exactZero = r.v128_and(zeros, isZero(r, f, result));
        const isRight = r.i32_and(
          r.i64x2_all_true(noTies),
          r.i32x4_all_true(r.v128_or(normal(r, f, result), exactZero)),
        );
        r.if(isRight, () => r.ret(result));
      });
    }
    const numbers = (n: number) => [x, y, d].map((value) => lane(r, f, value, n));
    r.ret(
      byLanes(r, f, (n) => {
        const [a, b, c] = numbers(n);
        return r.call(own[shape].fma, a, b, c, mode)[0];
      }),
    );
  });
}

/** Between singles and integers of 32 bits, which are rounded towards zero. */
function defineConversions(isSigned: boolean) {
  const sign = isSigned ? 's' : 'u';
  return {
    from: routines.define(`f32x4_from_${sign}32`, ['v128', 'i32'], ['v128'], {}, (r, x, mode) => {
      r.if(
        numberMayBeNative(r, mode, () => r.i32(0)),
        () => r.ret(r[`f32x4_convert_i32x4_${sign}`](x)),
      );
      const extend = isSigned ? r.i64_extend_i32_s : r.i64_extend_i32_u;
      r.ret(
        byLanes(r, single, (n) => {
          const value = extend.call(r, r.i32x4_extract_lane(x, n));
          return r.call(f32.fromInteger, value, r.i32(isSigned ? 1 : 0), r.i32(0), mode)[0];
        }),
      );
    }),
    to: routines.define(`f32x4_to_${sign}32`, ['v128', 'i32'], ['v128'], {}, (r, x, mode) => {
      const seen = r.i32_ne(and(r, r.i32_load(r.state(), field.fpsr), flag.IXC), r.i32(0));
      const bound = r.f32x4_splat(r.f32(isSigned ? 2 ** 31 : 2 ** 32));
      const below = r.f32x4_lt(isSigned ? magnitude(r, single, x) : x, bound);
      const fits = isSigned ? below : r.v128_and(below, r.f32x4_ge(x, r.v128(0, 0, 0, 0)));
      const isPlain = r.i32_and(r.i32x4_all_true(fits), r.i32_eqz(anySubnormal(r, single, [x])));
      r.if(r.i32_and(seen, isPlain), () => r.ret(r[`i32x4_trunc_sat_f32x4_${sign}`](x)));
      const [lowest, highest] = isSigned ? [2 ** 31, 2 ** 31 - 1] : [0, 2 ** 32 - 1];
      const toZero = r.i32_or(and(r, mode, ~7), r.i32(rounding.zero));
      r.ret(
        byLanes(r, single, (n) => {
          const bits = lane(r, single, x, n);
          return r.call(f32.toInteger, bits, toZero, r.i64(lowest), r.i64(highest), r.i32(0))[0];
        }),
      );
    }),
  } as const;
}
export const conversions = { s: defineConversions(true), u: defineConversions(false) } as const;

function defineAll(f: Format) {
  const arithmetic = {
    add: defineArithmetic(f, 'add'),
    sub: defineArithmetic(f, 'sub'),
    mul: defineArithmetic(f, 'mul'),
    div: defineArithmetic(f, 'div'),
    fma: defineFused(f),
  };
  const { add, sub, mul, div, fma } = arithmetic;
  const quick = (routine: unknown) => defineUnlessSettled(routines, routine as Routine, 'v128');
  return {
    ...arithmetic,
    /** Called only where a quick way has found nothing (../../float/quick.ts). */
    quick: { add: quick(add), sub: quick(sub), mul: quick(mul), div: quick(div), fma: quick(fma) },
    sqrt: defineRoot(f),
    min: defineChoice(f, 'min'),
    max: defineChoice(f, 'max'),
    minnm: defineChoice(f, 'minnm'),
    maxnm: defineChoice(f, 'maxnm'),
    eq: defineRelation(f, 'eq'),
    ge: defineRelation(f, 'ge'),
    gt: defineRelation(f, 'gt'),
  } as const;
}
export type VectorRoutines = ReturnType<typeof defineAll>;
export const f32x4 = defineAll(single);
export const f64x2 = defineAll(double);
