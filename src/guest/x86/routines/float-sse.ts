/**
 * SSE arithmetic as the processor does it under MXCSR: rounding mode, DAZ, FTZ, sticky flags, unmasked exceptions (#XM, or
 * #UD without CR4.OSXMMEXCPT). Intel SDM vol. 1 ch. 11.5, vol. 2 the instructions' pages.
 *
 * Each routine is complete: it takes the quick way (native arithmetic) itself when MXCSR and the operands allow it, and the
 * exact one otherwise. The first result is the fault word: with a fault nothing has been written but MXCSR's flags.
 */
import {
  type F32,
  type F64,
  header,
  type I32,
  type I64,
  type Routine,
  type RoutineBuilder,
  type TempOf,
  type TypeName,
  type V128,
} from '../../../ir/index.js';
import { and, flag } from '../../float/core.js';
import { defineUnlessSettled } from '../../float/quick.js';
import { field, trapCode } from '../state.js';
import { exactF32, exactF32ToF64, exactF64, exactF64ToF32, loadMxcsr, mxcsr } from './float-sse-exact.js';
import { routines } from './set.js';

type Unary<A extends TypeName, B extends TypeName = A> = Routine<readonly [A], readonly ['i32', B]>;
type Binary<T extends TypeName> = Routine<readonly [T, T], readonly ['i32', T]>;
type WithImmediate<A extends TypeName, B extends TypeName> = Routine<readonly [A, 'i32'], readonly ['i32', B]>;
type Compare<T extends TypeName, R extends TypeName> = Routine<readonly [T, T, 'i32'], readonly ['i32', R]>;
type Comi<T extends TypeName> = Routine<readonly [T, T], readonly ['i32', 'i32']>;

/** What each element type offers on vectors (all lanes; unused lanes of an operand should be zero). */
export interface PackedFloat {
  readonly add: Binary<'v128'>;
  readonly sub: Binary<'v128'>;
  /** Even lanes subtract, odd lanes add. */
  readonly addsub: Binary<'v128'>;
  readonly mul: Binary<'v128'>;
  readonly div: Binary<'v128'>;
  /** first operand, second operand: the second is the result when both are 0 or one is a NaN. */
  readonly min: Binary<'v128'>;
  readonly max: Binary<'v128'>;
  readonly sqrt: Unary<'v128'>;
  /** Predicate 0..7 as in CMPPS: all ones or zero in each lane. */
  readonly cmp: Compare<'v128', 'v128'>;
  /** ROUNDPS's immediate. */
  readonly round: WithImmediate<'v128', 'v128'>;
  /** To 32-bit integers: f64x2 gives two in the low half and zeros. Second operand not 0: truncates, whatever MXCSR says. */
  readonly toI32: WithImmediate<'v128', 'v128'>;
}

/** The same on one number. */
export interface ScalarFloat<T extends 'f32' | 'f64'> {
  readonly add: Binary<T>;
  readonly sub: Binary<T>;
  readonly mul: Binary<T>;
  readonly div: Binary<T>;
  readonly min: Binary<T>;
  readonly max: Binary<T>;
  readonly sqrt: Unary<T>;
  /** Predicate 0..7: -1 or 0. */
  readonly cmp: Compare<T, 'i32'>;
  /** COMISx, UCOMISx: the six status flags as EFLAGS bits (OF, SF, AF are 0). */
  readonly comi: Comi<T>;
  readonly ucomi: Comi<T>;
  readonly round: WithImmediate<T, T>;
  readonly toI32: WithImmediate<T, 'i32'>;
  readonly toI64: WithImmediate<T, 'i64'>;
  readonly fromI64: Unary<'i64', T>;
}

const effects = { mayFault: true } as const;
const CR4_OSXMMEXCPT = 0x400;
const UD = 6;
const XM = 19;
/** Flags of what is found before the result is computed: one of these unmasked, in any lane, hides the others. */
const BEFORE = flag.IE | flag.DE | flag.ZE;

/** Sets the flags in MXCSR: 1 if one of them is unmasked and the instruction ends with an exception. */
const raise = routines.define('sse_raise', ['i32'], ['i32'], effects, (r, flags) => {
  const state = r.state();
  const control = loadMxcsr(r);
  const unmasked = r.i32_and(flags, r.i32_xor(r.i32_shr_u(control, r.i32(7)), r.i32(-1)));
  const before = and(r, flags, BEFORE);
  const set = r.select(and(r, unmasked, BEFORE), before, flags);
  r.i32_store(state, r.i32_or(control, set), field.mxcsr);
  r.if(and(r, unmasked, 0x3f), () => {
    const enabled = and(r, r.i32_load(state, field.cr4), CR4_OSXMMEXCPT);
    r.i32_store(state, r.select(enabled, r.i32(trapCode(XM)), r.i32(trapCode(UD))), header.trapCode);
    r.ret(r.i32(1));
  });
  r.ret(r.i32(0));
});

// --- when native arithmetic will do

/** All exceptions masked and rounding to nearest. FTZ and DAZ do not matter to normal operands and results. */
const usual = (r: RoutineBuilder, control: I32): I32 =>
  r.i32_eq(and(r, control, mxcsr.masks | mxcsr.RC), r.i32(mxcsr.masks));
/** PE is set already: an inexact result changes nothing. */
const inexactSeen = (r: RoutineBuilder, control: I32): I32 => and(r, control, flag.PE);

type Scalar = 'f32' | 'f64';
type Lane<T extends Scalar> = TempOf<T>;

/** The scalar operations by type, so that each routine is written once. */
function scalarOps<T extends Scalar>(r: RoutineBuilder, type: T) {
  type X = Lane<T>;
  const wide = type === 'f64';
  type Arithmetic = (a: X, b: X) => X;
  type Comparison = (a: X, b: X) => I32;
  const two = <M>(f32: (a: F32, b: F32) => number, f64: (a: F64, b: F64) => number) =>
    (wide ? f64.bind(r) : f32.bind(r)) as unknown as M;
  return {
    add: two<Arithmetic>(r.f32_add, r.f64_add),
    sub: two<Arithmetic>(r.f32_sub, r.f64_sub),
    mul: two<Arithmetic>(r.f32_mul, r.f64_mul),
    div: two<Arithmetic>(r.f32_div, r.f64_div),
    eq: two<Comparison>(r.f32_eq, r.f64_eq),
    lt: two<Comparison>(r.f32_lt, r.f64_lt),
    gt: two<Comparison>(r.f32_gt, r.f64_gt),
    ge: two<Comparison>(r.f32_ge, r.f64_ge),
    abs: (a: X) => (wide ? r.f64_abs(a as F64) : r.f32_abs(a as F32)) as X,
    sqrt: (a: X) => (wide ? r.f64_sqrt(a as F64) : r.f32_sqrt(a as F32)) as X,
    nearest: (a: X) => (wide ? r.f64_nearest(a as F64) : r.f32_nearest(a as F32)) as X,
    floor: (a: X) => (wide ? r.f64_floor(a as F64) : r.f32_floor(a as F32)) as X,
    ceil: (a: X) => (wide ? r.f64_ceil(a as F64) : r.f32_ceil(a as F32)) as X,
    trunc: (a: X) => (wide ? r.f64_trunc(a as F64) : r.f32_trunc(a as F32)) as X,
    constant: (value: number) => (wide ? r.f64(value) : r.f32(value)) as X,
    bits: (a: X) => (wide ? r.i64_reinterpret_f64(a as F64) : r.i64_extend_i32_u(r.i32_reinterpret_f32(a as F32))),
    fromBits: (a: I64) => (wide ? r.f64_reinterpret_i64(a) : r.f32_reinterpret_i32(r.i32_wrap_i64(a))) as X,
    smallest: wide ? 2 ** -1022 : 2 ** -126,
  };
}

/** Normal or zero. */
function isPlain<T extends Scalar>(r: RoutineBuilder, type: T, a: Lane<T>): I32 {
  const o = scalarOps(r, type);
  return r.i32_or(o.ge(o.abs(a), o.constant(o.smallest)), o.eq(a, o.constant(0)));
}

/** Finite and above the smallest normal number (which might be a tiny result rounded up). */
function isRoomy<T extends Scalar>(r: RoutineBuilder, type: T, a: Lane<T>): I32 {
  const o = scalarOps(r, type);
  const size = o.abs(a);
  return r.i32_and(o.gt(size, o.constant(o.smallest)), o.lt(size, o.constant(Number.POSITIVE_INFINITY)));
}

const exactOf = (type: Scalar) => (type === 'f64' ? exactF64 : exactF32);

/** A native result is the exact one (checked only while PE is clear). May say no where it is. */
function isExact<T extends Scalar>(
  r: RoutineBuilder,
  type: T,
  name: 'add' | 'sub' | 'mul' | 'div',
  a: Lane<T>,
  b: Lane<T>,
  result: Lane<T>,
): I32 {
  const o = scalarOps(r, type);
  if (name === 'add' || name === 'sub') {
    // Knuth's two-sum: the rounding error of a sum is itself a number of the format.
    const other = o.sub(result, a);
    const lostOfA = o.sub(a, o.sub(result, other));
    const lost = name === 'add' ? o.add(lostOfA, o.sub(b, other)) : o.sub(lostOfA, o.add(b, other));
    return o.eq(lost, o.constant(0));
  }
  if (type === 'f32') {
    const [x, y, z] = [a, b, result].map((n) => r.f64_promote_f32(n as F32));
    return name === 'mul' ? r.f64_eq(r.f64_mul(x, y), z) : r.f64_eq(r.f64_mul(z, y), x);
  }
  const zeros = (n: Lane<T>) => r.i64_ctz(r.i64_or(o.bits(n), r.i64(1n << 52n)));
  if (name === 'mul') return r.i64_ge_u(r.i64_add(zeros(a), zeros(b)), r.i64(53));
  return r.i64_eq(zeros(b), r.i64(52));
}

function defineArithmetic<T extends Scalar>(type: T, name: 'add' | 'sub' | 'mul' | 'div'): Binary<T> {
  const exact = exactOf(type)[name];
  return routines.define(`sse_${type}_${name}`, [type, type], ['i32', type], effects, (r, x, y) => {
    const [a, b] = [x, y] as [Lane<T>, Lane<T>];
    const o = scalarOps(r, type);
    const result = o[name](a, b);
    const control = loadMxcsr(r);
    const operands = r.i32_and(isPlain(r, type, a), isPlain(r, type, b));
    const zero = o.constant(0);
    // A zero result is exact unless it is an underflow.
    const zeroResult =
      name === 'add' || name === 'sub'
        ? o.eq(result, zero)
        : r.i32_and(
            o.eq(result, zero),
            name === 'mul'
              ? r.i32_or(o.eq(a, zero), o.eq(b, zero))
              : r.i32_and(o.eq(a, zero), r.i32_eqz(o.eq(b, zero))),
          );
    const plain = r.i32_and(r.i32_and(usual(r, control), operands), r.i32_or(isRoomy(r, type, result), zeroResult));
    r.if(plain, () => {
      r.if(inexactSeen(r, control), () => r.ret(r.i32(0), result));
      r.if(r.i32_or(zeroResult, isExact(r, type, name, a, b, result)), () => r.ret(r.i32(0), result));
    });
    const [bits, flags] = r.call(exact, o.bits(a), o.bits(b));
    r.ret(r.call(raise, flags)[0], o.fromBits(bits));
  }) as unknown as Binary<T>;
}

function defineChoice<T extends Scalar>(type: T, name: 'min' | 'max'): Binary<T> {
  return routines.define(`sse_${type}_${name}`, [type, type], ['i32', type], effects, (r, x, y) => {
    const [a, b] = [x, y] as [Lane<T>, Lane<T>];
    const o = scalarOps(r, type);
    r.if(r.i32_and(isPlain(r, type, a), isPlain(r, type, b)), () => {
      const useA = name === 'min' ? o.lt(a, b) : o.gt(a, b);
      r.ret(r.i32(0), r.select(useA, a, b));
    });
    const [bits, flags] = r.call(exactOf(type)[name], o.bits(a), o.bits(b));
    r.ret(r.call(raise, flags)[0], o.fromBits(bits));
  }) as unknown as Binary<T>;
}

function defineSquareRoot<T extends Scalar>(type: T): Unary<T> {
  return routines.define(`sse_${type}_sqrt`, [type], ['i32', type], effects, (r, x) => {
    const a = x as Lane<T>;
    const o = scalarOps(r, type);
    const control = loadMxcsr(r);
    const inRange = r.i32_and(o.ge(a, o.constant(o.smallest)), o.lt(a, o.constant(Number.POSITIVE_INFINITY)));
    r.if(r.i32_and(usual(r, control), inRange), () => {
      const root = o.sqrt(a);
      r.if(inexactSeen(r, control), () => r.ret(r.i32(0), root));
      if (type === 'f32') {
        const wide = r.f64_promote_f32(root as F32);
        r.if(r.f64_eq(r.f64_mul(wide, wide), r.f64_promote_f32(a as F32)), () => r.ret(r.i32(0), root));
      }
    });
    const [bits, flags] = r.call(exactOf(type).sqrt, o.bits(a));
    r.ret(r.call(raise, flags)[0], o.fromBits(bits));
  }) as unknown as Unary<T>;
}

/** Whether a CMPxx predicate holds, given the relation as COMISx's bits. */
function predicateHolds(r: RoutineBuilder, predicate: I32, bits: I32): I32 {
  const unordered = r.i32_eq(bits, r.i32(0x45));
  const equal = r.i32_eq(bits, r.i32(0x40));
  const less = r.i32_eq(bits, r.i32(0x01));
  const kind = and(r, predicate, 3);
  const lessOrEqual = r.i32_or(less, equal);
  const low = r.select(r.i32_eqz(kind), equal, less);
  const high = r.select(r.i32_eq(kind, r.i32(2)), lessOrEqual, unordered);
  const holds = r.select(and(r, kind, 2), high, low);
  return r.i32_xor(holds, and(r, r.i32_shr_u(predicate, r.i32(2)), 1));
}

/** LT, LE, NLT and NLE are signaling. */
function isSignalingPredicate(r: RoutineBuilder, predicate: I32): I32 {
  const kind = and(r, predicate, 3);
  return r.i32_xor(and(r, kind, 1), and(r, r.i32_shr_u(kind, r.i32(1)), 1));
}

/** The relation of two plain numbers as COMISx's bits. */
function relate<T extends Scalar>(r: RoutineBuilder, type: T, a: Lane<T>, b: Lane<T>): I32 {
  const o = scalarOps(r, type);
  return r.i32_or(o.lt(a, b), r.i32_shl(o.eq(a, b), r.i32(6)));
}

function defineCompare<T extends Scalar>(type: T): Compare<T, 'i32'> {
  return routines.define(`sse_${type}_cmp`, [type, type, 'i32'], ['i32', 'i32'], effects, (r, x, y, predicate) => {
    const [a, b] = [x, y] as [Lane<T>, Lane<T>];
    const o = scalarOps(r, type);
    const mask = (bits: I32) => r.i32_sub(r.i32(0), predicateHolds(r, predicate, bits));
    r.if(r.i32_and(isPlain(r, type, a), isPlain(r, type, b)), () => r.ret(r.i32(0), mask(relate(r, type, a, b))));
    const signaling = isSignalingPredicate(r, predicate);
    const [bits, flags] = r.call(exactOf(type).compare, o.bits(a), o.bits(b), signaling);
    r.ret(r.call(raise, flags)[0], mask(bits));
  }) as unknown as Compare<T, 'i32'>;
}

function defineComi<T extends Scalar>(type: T, name: 'comi' | 'ucomi'): Comi<T> {
  return routines.define(`sse_${type}_${name}`, [type, type], ['i32', 'i32'], effects, (r, x, y) => {
    const [a, b] = [x, y] as [Lane<T>, Lane<T>];
    const o = scalarOps(r, type);
    const [bits, flags] = r.call(exactOf(type).compare, o.bits(a), o.bits(b), r.i32(name === 'comi' ? 1 : 0));
    r.ret(r.call(raise, flags)[0], bits);
  }) as unknown as Comi<T>;
}

function defineRound<T extends Scalar>(type: T): WithImmediate<T, T> {
  return routines.define(`sse_${type}_round`, [type, 'i32'], ['i32', type], effects, (r, x, imm) => {
    const a = x as Lane<T>;
    const o = scalarOps(r, type);
    r.if(isPlain(r, type, a), () => {
      const mode = r.select(and(r, imm, 4), r.i32_shr_u(loadMxcsr(r), r.i32(13)), imm);
      const away = r.select(and(r, mode, 1), o.floor(a), o.nearest(a));
      const other = r.select(and(r, mode, 1), o.trunc(a), o.ceil(a));
      const result = r.select(and(r, mode, 2), other, away);
      const silent = r.i32_or(and(r, imm, 8), o.eq(result, a));
      const fine = r.i32_or(silent, r.i32_and(usualMasks(r), inexactSeen(r, loadMxcsr(r))));
      r.if(fine, () => r.ret(r.i32(0), result));
    });
    const [bits, flags] = r.call(exactOf(type).round, o.bits(a), imm);
    r.ret(r.call(raise, flags)[0], o.fromBits(bits));
  }) as unknown as WithImmediate<T, T>;
}

/** All exceptions masked: as 0 or 32, to go with inexactSeen. */
function usualMasks(r: RoutineBuilder): I32 {
  const masked = r.i32_eq(and(r, loadMxcsr(r), mxcsr.masks), r.i32(mxcsr.masks));
  return r.i32_shl(masked, r.i32(5));
}

function defineToInteger<T extends Scalar, const R extends 'i32' | 'i64'>(type: T, to: R): WithImmediate<T, R> {
  const limit = to === 'i32' ? 1n << 31n : 1n << 63n;
  return routines.define(`sse_${type}_to_${to}`, [type, 'i32'], ['i32', to], effects, (r, x, truncate) => {
    const a = x as Lane<T>;
    const o = scalarOps(r, type);
    const control = loadMxcsr(r);
    const whole = o.nearest(a);
    const value = r.select(truncate, o.trunc(a), whole);
    // Well inside the range, so that no rounding of the limit matters.
    const inRange = o.lt(o.abs(a), o.constant(to === 'i32' ? 2 ** 30 : 2 ** 62));
    const silent = r.i32_or(r.i32_and(inexactSeen(r, control), usualMasks(r)), o.eq(value, a));
    const modeFits = r.i32_or(truncate, r.i32_eqz(and(r, control, mxcsr.RC)));
    r.if(r.i32_and(r.i32_and(inRange, r.i32_ne(modeFits, r.i32(0))), r.i32_ne(silent, r.i32(0))), () => {
      const wide = type === 'f64';
      if (to === 'i32') {
        r.ret(r.i32(0), wide ? r.i32_trunc_sat_f64_s(value as F64) : r.i32_trunc_sat_f32_s(value as F32));
      } else r.ret(r.i32(0), wide ? r.i64_trunc_sat_f64_s(value as F64) : r.i64_trunc_sat_f32_s(value as F32));
    });
    const [result, flags] = r.call(exactOf(type).toInteger, o.bits(a), truncate, r.i64(limit));
    r.ret(r.call(raise, flags)[0], to === 'i32' ? r.i32_wrap_i64(result) : result);
  }) as unknown as WithImmediate<T, R>;
}

/** From a 64-bit integer, or a 32-bit one. */
function defineFromInteger<T extends Scalar, const A extends 'i32' | 'i64'>(type: T, from: A): Unary<A, T> {
  return routines.define(`sse_${type}_from_${from}`, [from], ['i32', type], effects, (r, x) => {
    const o = scalarOps(r, type);
    const value = from === 'i64' ? (x as I64) : r.i64_extend_i32_s(x as I32);
    // So many bits are exact in any mode.
    const bound = type === 'f64' ? 1n << 53n : 1n << 24n;
    const exact = r.i64_le_u(r.i64_add(value, r.i64(bound)), r.i64(2n * bound));
    const control = loadMxcsr(r);
    const native = () => (type === 'f64' ? r.f64_convert_i64_s(value) : r.f32_convert_i64_s(value));
    r.if(r.i32_or(exact, r.i32_and(r.i32_shl(usual(r, control), r.i32(5)), inexactSeen(r, control))), () =>
      r.ret(r.i32(0), native()),
    );
    const [bits, flags] = r.call(exactOf(type).fromInteger, value);
    r.ret(r.call(raise, flags)[0], o.fromBits(bits));
  }) as unknown as Unary<A, T>;
}

const f32ToF64 = routines.define('sse_f32_to_f64', ['f32'], ['i32', 'f64'], effects, (r, a) => {
  const finite = r.f32_lt(r.f32_abs(a), r.f32(Number.POSITIVE_INFINITY));
  r.if(r.i32_and(isPlain(r, 'f32', a), finite), () => r.ret(r.i32(0), r.f64_promote_f32(a)));
  const [bits, flags] = r.call(exactF32ToF64, r.i64_extend_i32_u(r.i32_reinterpret_f32(a)));
  r.ret(r.call(raise, flags)[0], r.f64_reinterpret_i64(bits));
});

const f64ToF32 = routines.define('sse_f64_to_f32', ['f64'], ['i32', 'f32'], effects, (r, a) => {
  const control = loadMxcsr(r);
  const result = r.f32_demote_f64(a);
  const silent = r.i32_or(inexactSeen(r, control), r.f64_eq(r.f64_promote_f32(result), a));
  const zero = r.f64_eq(a, r.f64(0));
  const fits = r.i32_and(r.i32_or(isRoomy(r, 'f32', result), zero), r.i32_ne(silent, r.i32(0)));
  r.if(r.i32_and(usual(r, control), fits), () => r.ret(r.i32(0), result));
  const [bits, flags] = r.call(exactF64ToF32, r.i64_reinterpret_f64(a));
  r.ret(r.call(raise, flags)[0], r.f32_reinterpret_i32(r.i32_wrap_i64(bits)));
});

// --- vectors

type Vector = 'f32x4' | 'f64x2';

function laneOps(r: RoutineBuilder, type: Vector) {
  const wide = type === 'f64x2';
  return {
    count: wide ? 2 : 4,
    get: (v: V128, lane: number): I64 =>
      wide ? r.i64x2_extract_lane(v, lane) : r.i64_extend_i32_u(r.i32x4_extract_lane(v, lane)),
    set: (v: V128, bits: I64, lane: number): V128 =>
      wide ? r.i64x2_replace_lane(v, bits, lane) : r.i32x4_replace_lane(v, r.i32_wrap_i64(bits), lane),
    allTrue: (v: V128): I32 => (wide ? r.i64x2_all_true(v) : r.i32x4_all_true(v)),
    abs: (v: V128): V128 => (wide ? r.f64x2_abs(v) : r.f32x4_abs(v)),
    ge: (a: V128, b: V128): V128 => (wide ? r.f64x2_ge(a, b) : r.f32x4_ge(a, b)),
    gt: (a: V128, b: V128): V128 => (wide ? r.f64x2_gt(a, b) : r.f32x4_gt(a, b)),
    lt: (a: V128, b: V128): V128 => (wide ? r.f64x2_lt(a, b) : r.f32x4_lt(a, b)),
    eq: (a: V128, b: V128): V128 => (wide ? r.f64x2_eq(a, b) : r.f32x4_eq(a, b)),
    splat: (value: number): V128 => (wide ? r.f64x2_splat(r.f64(value)) : r.f32x4_splat(r.f32(value))),
    smallest: wide ? 2 ** -1022 : 2 ** -126,
  };
}

/** Each lane normal or zero. */
function arePlain(r: RoutineBuilder, type: Vector, v: V128): V128 {
  const o = laneOps(r, type);
  return r.v128_or(o.ge(o.abs(v), o.splat(o.smallest)), o.eq(v, o.splat(0)));
}

/** Each lane finite and above the smallest normal number. */
function areRoomy(r: RoutineBuilder, type: Vector, v: V128): V128 {
  const o = laneOps(r, type);
  const size = o.abs(v);
  return r.v128_and(o.gt(size, o.splat(o.smallest)), o.lt(size, o.splat(Number.POSITIVE_INFINITY)));
}

/** Runs an exact operation on every lane; gives the result and all flags. */
function eachLane(
  r: RoutineBuilder,
  type: Vector,
  start: V128,
  operation: (lane: number) => readonly [I64, I32],
): { result: V128; flags: I32 } {
  const o = laneOps(r, type);
  let result = start;
  let flags = r.i32(0);
  for (let lane = 0; lane < o.count; lane++) {
    const [bits, more] = operation(lane);
    result = o.set(result, bits, lane);
    flags = r.i32_or(flags, more);
  }
  return { result, flags };
}

const exactOfVector = (type: Vector) => (type === 'f64x2' ? exactF64 : exactF32);

type VectorName = 'add' | 'sub' | 'mul' | 'div';

function nativeVector(r: RoutineBuilder, type: Vector, name: VectorName, a: V128, b: V128): V128 {
  return type === 'f64x2' ? r[`f64x2_${name}`](a, b) : r[`f32x4_${name}`](a, b);
}

function definePacked(type: Vector, name: VectorName | 'addsub'): Binary<'v128'> {
  return routines.define(`sse_${type}_${name}`, ['v128', 'v128'], ['i32', 'v128'], effects, (r, a, b) => {
    const o = laneOps(r, type);
    const control = loadMxcsr(r);
    let addend = b;
    if (name === 'addsub') {
      const signs = type === 'f64x2' ? r.v128(0, -0x80000000, 0, 0) : r.v128(-0x80000000, 0, -0x80000000, 0);
      addend = r.v128_xor(b, signs);
    }
    const native = nativeVector(r, type, name === 'addsub' ? 'add' : name, a, addend);
    const zeros = o.eq(native, o.splat(0));
    const ofZero = (v: V128) => o.eq(v, o.splat(0));
    const zeroResult =
      name === 'mul'
        ? r.v128_and(zeros, r.v128_or(ofZero(a), ofZero(b)))
        : name === 'div'
          ? r.v128_and(zeros, r.v128_andnot(ofZero(a), ofZero(b)))
          : zeros;
    const plain = r.v128_and(
      r.v128_and(arePlain(r, type, a), arePlain(r, type, b)),
      r.v128_or(areRoomy(r, type, native), zeroResult),
    );
    const quick = r.i32_and(usual(r, control), r.i32_shr_u(inexactSeen(r, control), r.i32(5)));
    r.if(r.i32_and(quick, o.allTrue(plain)), () => r.ret(r.i32(0), native));
    const exact = exactOfVector(type);
    const { result, flags } = eachLane(r, type, a, (lane) => {
      const routine = name === 'addsub' ? (lane & 1 ? exact.add : exact.sub) : exact[name];
      return r.call(routine, o.get(a, lane), o.get(b, lane));
    });
    r.ret(r.call(raise, flags)[0], result);
  });
}

function definePackedChoice(type: Vector, name: 'min' | 'max'): Binary<'v128'> {
  return routines.define(`sse_${type}_${name}`, ['v128', 'v128'], ['i32', 'v128'], effects, (r, a, b) => {
    const o = laneOps(r, type);
    r.if(o.allTrue(r.v128_and(arePlain(r, type, a), arePlain(r, type, b))), () => {
      const useA = name === 'min' ? o.lt(a, b) : o.gt(a, b);
      r.ret(r.i32(0), r.v128_bitselect(a, b, useA));
    });
    const { result, flags } = eachLane(r, type, a, (lane) =>
      r.call(exactOfVector(type)[name], o.get(a, lane), o.get(b, lane)),
    );
    r.ret(r.call(raise, flags)[0], result);
  });
}

function definePackedRoot(type: Vector): Unary<'v128'> {
  return routines.define(`sse_${type}_sqrt`, ['v128'], ['i32', 'v128'], effects, (r, a) => {
    const o = laneOps(r, type);
    const control = loadMxcsr(r);
    const inRange = r.v128_and(o.ge(a, o.splat(o.smallest)), o.lt(a, o.splat(Number.POSITIVE_INFINITY)));
    const quick = r.i32_and(usual(r, control), r.i32_shr_u(inexactSeen(r, control), r.i32(5)));
    r.if(r.i32_and(quick, o.allTrue(inRange)), () =>
      r.ret(r.i32(0), type === 'f64x2' ? r.f64x2_sqrt(a) : r.f32x4_sqrt(a)),
    );
    const { result, flags } = eachLane(r, type, a, (lane) => r.call(exactOfVector(type).sqrt, o.get(a, lane)));
    r.ret(r.call(raise, flags)[0], result);
  });
}

function definePackedCompare(type: Vector): Compare<'v128', 'v128'> {
  return routines.define(`sse_${type}_cmp`, ['v128', 'v128', 'i32'], ['i32', 'v128'], effects, (r, a, b, predicate) => {
    const o = laneOps(r, type);
    r.if(o.allTrue(r.v128_and(arePlain(r, type, a), arePlain(r, type, b))), () => {
      const kind = and(r, predicate, 3);
      const none = r.v128(0, 0, 0, 0);
      const less = o.lt(a, b);
      const equal = o.eq(a, b);
      const low = r.select(r.i32_eqz(kind), equal, less);
      const high = r.select(r.i32_eq(kind, r.i32(2)), r.v128_or(less, equal), none);
      const holds = r.select(and(r, kind, 2), high, low);
      r.ret(r.i32(0), r.select(and(r, predicate, 4), r.v128_not(holds), holds));
    });
    const signaling = isSignalingPredicate(r, predicate);
    const { result, flags } = eachLane(r, type, a, (lane) => {
      const [bits, more] = r.call(exactOfVector(type).compare, o.get(a, lane), o.get(b, lane), signaling);
      return [r.i64_sub(r.i64(0), r.i64_extend_i32_u(predicateHolds(r, predicate, bits))), more];
    });
    r.ret(r.call(raise, flags)[0], result);
  });
}

function definePackedRound(type: Vector): WithImmediate<'v128', 'v128'> {
  return routines.define(`sse_${type}_round`, ['v128', 'i32'], ['i32', 'v128'], effects, (r, a, imm) => {
    const o = laneOps(r, type);
    r.if(o.allTrue(arePlain(r, type, a)), () => {
      const wide = type === 'f64x2';
      const mode = r.select(and(r, imm, 4), r.i32_shr_u(loadMxcsr(r), r.i32(13)), imm);
      const nearest = wide ? r.f64x2_nearest(a) : r.f32x4_nearest(a);
      const floor = wide ? r.f64x2_floor(a) : r.f32x4_floor(a);
      const ceil = wide ? r.f64x2_ceil(a) : r.f32x4_ceil(a);
      const trunc = wide ? r.f64x2_trunc(a) : r.f32x4_trunc(a);
      const odd = and(r, mode, 1);
      const result = r.select(and(r, mode, 2), r.select(odd, trunc, ceil), r.select(odd, floor, nearest));
      const silent = r.i32_or(and(r, imm, 8), o.allTrue(o.eq(result, a)));
      const fine = r.i32_or(silent, r.i32_and(usualMasks(r), inexactSeen(r, loadMxcsr(r))));
      r.if(fine, () => r.ret(r.i32(0), result));
    });
    const { result, flags } = eachLane(r, type, a, (lane) => r.call(exactOfVector(type).round, o.get(a, lane), imm));
    r.ret(r.call(raise, flags)[0], result);
  });
}

function definePackedToI32(type: Vector): WithImmediate<'v128', 'v128'> {
  return routines.define(`sse_${type}_to_i32`, ['v128', 'i32'], ['i32', 'v128'], effects, (r, a, truncate) => {
    const o = laneOps(r, type);
    const wide = type === 'f64x2';
    const control = loadMxcsr(r);
    const nearest = wide ? r.f64x2_nearest(a) : r.f32x4_nearest(a);
    const trunc = wide ? r.f64x2_trunc(a) : r.f32x4_trunc(a);
    const value = r.select(truncate, trunc, nearest);
    const silent = r.i32_or(r.i32_and(inexactSeen(r, control), usualMasks(r)), o.allTrue(o.eq(value, a)));
    const modeFits = r.i32_or(truncate, r.i32_eqz(and(r, control, mxcsr.RC)));
    const inRange = o.allTrue(o.lt(o.abs(a), o.splat(2 ** 30)));
    r.if(r.i32_and(inRange, r.i32_and(r.i32_ne(modeFits, r.i32(0)), r.i32_ne(silent, r.i32(0)))), () =>
      r.ret(r.i32(0), wide ? r.i32x4_trunc_sat_f64x2_s_zero(value) : r.i32x4_trunc_sat_f32x4_s(value)),
    );
    let result = r.v128(0, 0, 0, 0);
    let flags = r.i32(0);
    for (let lane = 0; lane < o.count; lane++) {
      const [bits, more] = r.call(exactOfVector(type).toInteger, o.get(a, lane), truncate, r.i64(1n << 31n));
      result = r.i32x4_replace_lane(result, r.i32_wrap_i64(bits), lane);
      flags = r.i32_or(flags, more);
    }
    r.ret(r.call(raise, flags)[0], result);
  });
}

function packed(type: Vector): PackedFloat {
  return {
    add: definePacked(type, 'add'),
    sub: definePacked(type, 'sub'),
    addsub: definePacked(type, 'addsub'),
    mul: definePacked(type, 'mul'),
    div: definePacked(type, 'div'),
    min: definePackedChoice(type, 'min'),
    max: definePackedChoice(type, 'max'),
    sqrt: definePackedRoot(type),
    cmp: definePackedCompare(type),
    round: definePackedRound(type),
    toI32: definePackedToI32(type),
  };
}

function scalar<T extends Scalar>(type: T): ScalarFloat<T> {
  return {
    add: defineArithmetic(type, 'add'),
    sub: defineArithmetic(type, 'sub'),
    mul: defineArithmetic(type, 'mul'),
    div: defineArithmetic(type, 'div'),
    min: defineChoice(type, 'min'),
    max: defineChoice(type, 'max'),
    sqrt: defineSquareRoot(type),
    cmp: defineCompare(type),
    comi: defineComi(type, 'comi'),
    ucomi: defineComi(type, 'ucomi'),
    round: defineRound(type),
    toI32: defineToInteger(type, 'i32'),
    toI64: defineToInteger(type, 'i64'),
    fromI64: defineFromInteger(type, 'i64'),
  };
}

export const f32x4 = packed('f32x4');
export const f64x2 = packed('f64x2');
export const f32 = scalar('f32');
export const f64 = scalar('f64');

const unlessNumber = (type: Scalar, of: ScalarFloat<'f32'> | ScalarFloat<'f64'>) => {
  const made = (routine: unknown, result: 'i32' | 'i64' | Scalar = type) =>
    defineUnlessSettled(routines, routine as Routine, result);
  return {
    add: made(of.add),
    sub: made(of.sub),
    mul: made(of.mul),
    div: made(of.div),
    sqrt: made(of.sqrt),
    min: made(of.min),
    max: made(of.max),
    cmp: made(of.cmp, 'i32'),
    comi: made(of.comi, 'i32'),
    ucomi: made(of.ucomi, 'i32'),
    toI32: made(of.toI32, 'i32'),
    toI64: made(of.toI64, 'i64'),
    fromI64: made(of.fromI64),
  };
};
const unlessVector = (of: PackedFloat) => {
  const made = (routine: unknown) => defineUnlessSettled(routines, routine as Routine, 'v128');
  return {
    add: made(of.add),
    sub: made(of.sub),
    addsub: made(of.addsub),
    mul: made(of.mul),
    div: made(of.div),
    sqrt: made(of.sqrt),
  };
};
/** For translated code that tells the commonest case apart itself (table/sse-quick.ts). */
export const unlessSettled = {
  f32: unlessNumber('f32', f32),
  f64: unlessNumber('f64', f64),
  f32x4: unlessVector(f32x4),
  f64x2: unlessVector(f64x2),
} as const;

const f32x4ToF64x2 = routines.define('sse_f32x4_to_f64x2', ['v128'], ['i32', 'v128'], effects, (r, a) => {
  const low = laneOps(r, 'f32x4');
  let result = r.v128(0, 0, 0, 0);
  let flags = r.i32(0);
  // The two upper lanes have no say.
  const checked = r.i64x2_replace_lane(a, r.i64(0), 1);
  const finite = low.lt(low.abs(checked), low.splat(Number.POSITIVE_INFINITY));
  r.if(low.allTrue(r.v128_and(arePlain(r, 'f32x4', checked), finite)), () =>
    r.ret(r.i32(0), r.f64x2_promote_low_f32x4(a)),
  );
  for (let lane = 0; lane < 2; lane++) {
    const [bits, more] = r.call(exactF32ToF64, low.get(a, lane));
    result = r.i64x2_replace_lane(result, bits, lane);
    flags = r.i32_or(flags, more);
  }
  r.ret(r.call(raise, flags)[0], result);
});

const f64x2ToF32x4 = routines.define('sse_f64x2_to_f32x4', ['v128'], ['i32', 'v128'], effects, (r, a) => {
  const high = laneOps(r, 'f64x2');
  const control = loadMxcsr(r);
  const native = r.f32x4_demote_f64x2_zero(a);
  const back = r.f64x2_promote_low_f32x4(native);
  const roomy = r.v128_and(
    high.gt(high.abs(back), high.splat(2 ** -126)),
    high.lt(high.abs(back), high.splat(Number.POSITIVE_INFINITY)),
  );
  const fits = high.allTrue(r.v128_or(roomy, high.eq(a, high.splat(0))));
  const silent = r.i32_or(inexactSeen(r, control), high.allTrue(high.eq(back, a)));
  r.if(r.i32_and(r.i32_and(usual(r, control), fits), r.i32_ne(silent, r.i32(0))), () => r.ret(r.i32(0), native));
  let result = r.v128(0, 0, 0, 0);
  let flags = r.i32(0);
  for (let lane = 0; lane < 2; lane++) {
    const [bits, more] = r.call(exactF64ToF32, high.get(a, lane));
    result = r.i32x4_replace_lane(result, r.i32_wrap_i64(bits), lane);
    flags = r.i32_or(flags, more);
  }
  r.ret(r.call(raise, flags)[0], result);
});

const f32x4FromI32 = routines.define('sse_f32x4_from_i32', ['v128'], ['i32', 'v128'], effects, (r, a) => {
  const control = loadMxcsr(r);
  const quick = r.i32_and(usual(r, control), r.i32_shr_u(inexactSeen(r, control), r.i32(5)));
  r.if(quick, () => r.ret(r.i32(0), r.f32x4_convert_i32x4_s(a)));
  const { result, flags } = eachLane(r, 'f32x4', a, (lane) =>
    r.call(exactF32.fromInteger, r.i64_extend_i32_s(r.i32x4_extract_lane(a, lane))),
  );
  r.ret(r.call(raise, flags)[0], result);
});

/** Conversions between the two formats, and those from integers that may be inexact (32-bit integers to f64 are exact: native). */
const f32FromI32 = defineFromInteger('f32', 'i32');
export const convert = {
  f32ToF64,
  f64ToF32,
  f32FromI32,
  /** The two low lanes. */
  f32x4ToF64x2,
  /** Into the two low lanes, zeros above. */
  f64x2ToF32x4,
  f32x4FromI32,
} as const;
/** Conversions for translated code that tells the commonest case apart itself. */
export const unlessConverted = {
  f32ToF64: defineUnlessSettled(routines, f32ToF64 as unknown as Routine, 'f64'),
  f64ToF32: defineUnlessSettled(routines, f64ToF32 as unknown as Routine, 'f32'),
  f32FromI32: defineUnlessSettled(routines, f32FromI32 as unknown as Routine, 'f32'),
} as const;
