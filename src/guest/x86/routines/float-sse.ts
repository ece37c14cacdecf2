/**
 * SSE arithmetic as the processor does it under MXCSR: rounding mode, DAZ, FTZ, sticky flags, unmasked exceptions (#XM, or
 * #UD without CR4.OSXMMEXCPT). Intel SDM vol. 1 ch. 11.5, vol. 2 the instructions' pages.
 *
 * Each routine is complete: it takes the quick way (native arithmetic) itself when MXCSR and the operands allow it, and the
 * exact one otherwise. The first result is the fault word: with a fault nothing has been written but MXCSR's flags.
 */
import type { I32, Routine, RoutineBuilder, TempOf, TypeName } from '../../../ir/index.js';
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

type Body2<T extends TypeName, R extends TypeName> = (r: RoutineBuilder, a: TempOf<T>, b: TempOf<T>) => TempOf<R>;

function unary<const A extends TypeName, const B extends TypeName>(
  name: string,
  a: A,
  b: B,
  body: (r: RoutineBuilder, a: TempOf<A>) => TempOf<B>,
): Unary<A, B> {
  return routines.define(name, [a], ['i32', b], effects, (r, x) =>
    r.ret(r.i32(0), body(r, x as TempOf<A>)),
  ) as unknown as Unary<A, B>;
}

function binary<const T extends TypeName>(name: string, type: T, body: Body2<T, T>): Binary<T> {
  return routines.define(name, [type, type], ['i32', type], effects, (r, x, y) =>
    r.ret(r.i32(0), body(r, x as TempOf<T>, y as TempOf<T>)),
  ) as unknown as Binary<T>;
}

function immediate<const A extends TypeName, const B extends TypeName>(
  name: string,
  a: A,
  b: B,
  body: (r: RoutineBuilder, a: TempOf<A>, imm: I32) => TempOf<B>,
): WithImmediate<A, B> {
  return routines.define(name, [a, 'i32'], ['i32', b], effects, (r, x, imm) =>
    r.ret(r.i32(0), body(r, x as TempOf<A>, imm)),
  ) as unknown as WithImmediate<A, B>;
}

export const f32x4: PackedFloat = {
  add: binary('sse_f32x4_add', 'v128', (r, a, b) => r.f32x4_add(a, b)),
  sub: binary('sse_f32x4_sub', 'v128', (r, a, b) => r.f32x4_sub(a, b)),
  addsub: binary('sse_f32x4_addsub', 'v128', (r, a, b) => r.f32x4_add(a, b)),
  mul: binary('sse_f32x4_mul', 'v128', (r, a, b) => r.f32x4_mul(a, b)),
  div: binary('sse_f32x4_div', 'v128', (r, a, b) => r.f32x4_div(a, b)),
  min: binary('sse_f32x4_min', 'v128', (r, a, b) => r.f32x4_pmin(b, a)),
  max: binary('sse_f32x4_max', 'v128', (r, a, b) => r.f32x4_pmax(b, a)),
  sqrt: unary('sse_f32x4_sqrt', 'v128', 'v128', (r, a) => r.f32x4_sqrt(a)),
  cmp: routines.define('sse_f32x4_cmp', ['v128', 'v128', 'i32'], ['i32', 'v128'], effects, (r, a, b) =>
    r.ret(r.i32(0), r.f32x4_eq(a, b)),
  ),
  round: immediate('sse_f32x4_round', 'v128', 'v128', (r, a) => r.f32x4_nearest(a)),
  toI32: immediate('sse_f32x4_to_i32', 'v128', 'v128', (r, a) => r.i32x4_trunc_sat_f32x4_s(a)),
};

export const f32: ScalarFloat<'f32'> = {
  add: binary('sse_f32_add', 'f32', (r, a, b) => r.f32_add(a, b)),
  sub: binary('sse_f32_sub', 'f32', (r, a, b) => r.f32_sub(a, b)),
  mul: binary('sse_f32_mul', 'f32', (r, a, b) => r.f32_mul(a, b)),
  div: binary('sse_f32_div', 'f32', (r, a, b) => r.f32_div(a, b)),
  min: binary('sse_f32_min', 'f32', (r, a, b) => r.f32_min(a, b)),
  max: binary('sse_f32_max', 'f32', (r, a, b) => r.f32_max(a, b)),
  sqrt: unary('sse_f32_sqrt', 'f32', 'f32', (r, a) => r.f32_sqrt(a)),
  cmp: routines.define('sse_f32_cmp', ['f32', 'f32', 'i32'], ['i32', 'i32'], effects, (r, a, b) =>
    r.ret(r.i32(0), r.f32_eq(a, b)),
  ),
  comi: routines.define('sse_f32_comi', ['f32', 'f32'], ['i32', 'i32'], effects, (r, a, b) =>
    r.ret(r.i32(0), r.f32_lt(a, b)),
  ),
  ucomi: routines.define('sse_f32_ucomi', ['f32', 'f32'], ['i32', 'i32'], effects, (r, a, b) =>
    r.ret(r.i32(0), r.f32_lt(a, b)),
  ),
  round: immediate('sse_f32_round', 'f32', 'f32', (r, a) => r.f32_nearest(a)),
  toI32: immediate('sse_f32_to_i32', 'f32', 'i32', (r, a) => r.i32_trunc_sat_f32_s(a)),
  toI64: immediate('sse_f32_to_i64', 'f32', 'i64', (r, a) => r.i64_trunc_sat_f32_s(a)),
  fromI64: unary('sse_f32_from_i64', 'i64', 'f32', (r, a) => r.f32_convert_i64_s(a)),
};

export const f64x2: PackedFloat = {
  add: binary('sse_f64x2_add', 'v128', (r, a, b) => r.f64x2_add(a, b)),
  sub: binary('sse_f64x2_sub', 'v128', (r, a, b) => r.f64x2_sub(a, b)),
  addsub: binary('sse_f64x2_addsub', 'v128', (r, a, b) => r.f64x2_add(a, b)),
  mul: binary('sse_f64x2_mul', 'v128', (r, a, b) => r.f64x2_mul(a, b)),
  div: binary('sse_f64x2_div', 'v128', (r, a, b) => r.f64x2_div(a, b)),
  min: binary('sse_f64x2_min', 'v128', (r, a, b) => r.f64x2_pmin(b, a)),
  max: binary('sse_f64x2_max', 'v128', (r, a, b) => r.f64x2_pmax(b, a)),
  sqrt: unary('sse_f64x2_sqrt', 'v128', 'v128', (r, a) => r.f64x2_sqrt(a)),
  cmp: routines.define('sse_f64x2_cmp', ['v128', 'v128', 'i32'], ['i32', 'v128'], effects, (r, a, b) =>
    r.ret(r.i32(0), r.f64x2_eq(a, b)),
  ),
  round: immediate('sse_f64x2_round', 'v128', 'v128', (r, a) => r.f64x2_nearest(a)),
  toI32: immediate('sse_f64x2_to_i32', 'v128', 'v128', (r, a) => r.i32x4_trunc_sat_f64x2_s_zero(a)),
};

export const f64: ScalarFloat<'f64'> = {
  add: binary('sse_f64_add', 'f64', (r, a, b) => r.f64_add(a, b)),
  sub: binary('sse_f64_sub', 'f64', (r, a, b) => r.f64_sub(a, b)),
  mul: binary('sse_f64_mul', 'f64', (r, a, b) => r.f64_mul(a, b)),
  div: binary('sse_f64_div', 'f64', (r, a, b) => r.f64_div(a, b)),
  min: binary('sse_f64_min', 'f64', (r, a, b) => r.f64_min(a, b)),
  max: binary('sse_f64_max', 'f64', (r, a, b) => r.f64_max(a, b)),
  sqrt: unary('sse_f64_sqrt', 'f64', 'f64', (r, a) => r.f64_sqrt(a)),
  cmp: routines.define('sse_f64_cmp', ['f64', 'f64', 'i32'], ['i32', 'i32'], effects, (r, a, b) =>
    r.ret(r.i32(0), r.f64_eq(a, b)),
  ),
  comi: routines.define('sse_f64_comi', ['f64', 'f64'], ['i32', 'i32'], effects, (r, a, b) =>
    r.ret(r.i32(0), r.f64_lt(a, b)),
  ),
  ucomi: routines.define('sse_f64_ucomi', ['f64', 'f64'], ['i32', 'i32'], effects, (r, a, b) =>
    r.ret(r.i32(0), r.f64_lt(a, b)),
  ),
  round: immediate('sse_f64_round', 'f64', 'f64', (r, a) => r.f64_nearest(a)),
  toI32: immediate('sse_f64_to_i32', 'f64', 'i32', (r, a) => r.i32_trunc_sat_f64_s(a)),
  toI64: immediate('sse_f64_to_i64', 'f64', 'i64', (r, a) => r.i64_trunc_sat_f64_s(a)),
  fromI64: unary('sse_f64_from_i64', 'i64', 'f64', (r, a) => r.f64_convert_i64_s(a)),
};

/** Conversions between the two formats, and those from integers that may be inexact (32-bit integers to f64 are exact: native). */
export const convert = {
  f32ToF64: unary('sse_f32_to_f64', 'f32', 'f64', (r, a) => r.f64_promote_f32(a)),
  f64ToF32: unary('sse_f64_to_f32', 'f64', 'f32', (r, a) => r.f32_demote_f64(a)),
  f32FromI32: unary('sse_f32_from_i32', 'i32', 'f32', (r, a) => r.f32_convert_i32_s(a)),
  /** The two low lanes. */
  f32x4ToF64x2: unary('sse_f32x4_to_f64x2', 'v128', 'v128', (r, a) => r.f64x2_promote_low_f32x4(a)),
  /** Into the two low lanes, zeros above. */
  f64x2ToF32x4: unary('sse_f64x2_to_f32x4', 'v128', 'v128', (r, a) => r.f32x4_demote_f64x2_zero(a)),
  f32x4FromI32: unary('sse_f32x4_from_i32', 'v128', 'v128', (r, a) => r.f32x4_convert_i32x4_s(a)),
} as const;
