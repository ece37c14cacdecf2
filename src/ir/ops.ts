/**
 * The IR's operations: one row each. From the rows come the builder's methods and types, the printer, the verifier, what
 * the optimizer may remove, the code of the JIT and the cold tier's handlers.
 *
 * Names, operands and meaning are WebAssembly's (with `_` for `.`) wherever WebAssembly has the operation; the ops that a
 * guest needs beyond it stand at the end and are implemented by the back ends.
 */
import type { TypeName } from './types.js';

export interface OpEffects {
  /** Reads memory or the guest's state: not moved over a write. */
  readonly reads: boolean;
  /** Writes memory or the guest's state: not removed. */
  readonly writes: boolean;
  /** May leave the block at the start of the current instruction. */
  readonly mayExit: boolean;
  /** Ends or structures the code. */
  readonly control: boolean;
}

export interface OpRow<
  P extends readonly TypeName[] = readonly TypeName[],
  R extends TypeName | undefined = TypeName | undefined,
> {
  readonly params: P;
  readonly result: R;
  /** Number of 32-bit immediates after the operands. */
  readonly immediates: number;
  /** How many of them, at the end, are distances from where the code is entered. */
  readonly distances: number;
  readonly effects: OpEffects;
  /** Opcode bytes; undefined: the back ends know the op by name. */
  readonly wasm: readonly number[] | undefined;
  /** What follows the opcode bytes. */
  readonly encoding: 'plain' | 'lane' | 'shuffle' | 'memarg';
  /** One sentence of meaning. */
  readonly doc: string;
}

const pure: OpEffects = { reads: false, writes: false, mayExit: false, control: false };
const reads: OpEffects = { ...pure, reads: true };
const writes: OpEffects = { ...pure, writes: true };

interface Shape {
  readonly immediates: number;
  readonly effects: OpEffects;
  readonly encoding: OpRow['encoding'];
}
const plain: Shape = { immediates: 0, effects: pure, encoding: 'plain' };
const lane: Shape = { immediates: 1, effects: pure, encoding: 'lane' };
const shuffle: Shape = { immediates: 4, effects: pure, encoding: 'shuffle' };
const load: Shape = { immediates: 1, effects: reads, encoding: 'memarg' };
const store: Shape = { immediates: 1, effects: writes, encoding: 'memarg' };
const store0: Shape = { immediates: 0, effects: writes, encoding: 'plain' };

type Encoded = readonly [number | readonly number[], string];

/** Rows of one signature. */
function group<
  const P extends readonly TypeName[],
  const R extends TypeName | undefined,
  const T extends Record<string, Encoded>,
>(params: P, result: R, shape: Shape, rows: T): { readonly [K in keyof T]: OpRow<P, R> } {
  const made: Record<string, OpRow<P, R>> = {};
  for (const [name, [code, doc]] of Object.entries(rows)) {
    made[name] = { params, result, ...shape, distances: 0, wasm: typeof code === 'number' ? [code] : code, doc };
  }
  return made as { readonly [K in keyof T]: OpRow<P, R> };
}

/** A row that the back ends implement by name. */
function special<const P extends readonly TypeName[], const R extends TypeName | undefined>(
  params: P,
  result: R,
  immediates: number,
  effects: Partial<OpEffects>,
  doc: string,
  distances = 0,
): OpRow<P, R> {
  return {
    params,
    result,
    immediates,
    distances,
    effects: { ...pure, ...effects },
    wasm: undefined,
    encoding: 'plain',
    doc,
  };
}

/** The opcode of a SIMD instruction: prefix and LEB128 number. */
function simd(code: number): readonly number[] {
  return code < 0x80 ? [0xfd, code] : [0xfd, (code & 0x7f) | 0x80, code >> 7];
}

export const opRows = {
  ...group(['i32'], 'i32', plain, {
    i32_clz: [0x67, 'Number of leading zero bits.'],
    i32_ctz: [0x68, 'Number of trailing zero bits.'],
    i32_popcnt: [0x69, 'Number of one bits.'],
    i32_extend8_s: [0xc0, 'Sign-extends the low 8 bits.'],
    i32_extend16_s: [0xc1, 'Sign-extends the low 16 bits.'],
  }),
  ...group(['i32', 'i32'], 'i32', plain, {
    i32_add: [0x6a, 'Sum modulo 2^32.'],
    i32_sub: [0x6b, 'Difference modulo 2^32.'],
    i32_mul: [0x6c, 'Product modulo 2^32.'],
    i32_and: [0x71, 'Bitwise and.'],
    i32_or: [0x72, 'Bitwise or.'],
    i32_xor: [0x73, 'Bitwise exclusive or.'],
    i32_shl: [0x74, 'Left shift; count modulo 32.'],
    i32_shr_s: [0x75, 'Arithmetic right shift; count modulo 32.'],
    i32_shr_u: [0x76, 'Logical right shift; count modulo 32.'],
    i32_rotl: [0x77, 'Left rotation; count modulo 32.'],
    i32_rotr: [0x78, 'Right rotation; count modulo 32.'],
  }),
  ...group(['i32', 'i32'], 'i32', plain, {
    i32_div_s: [
      0x6d,
      'Signed quotient, towards zero. The divisor is not 0 and the quotient fits: the translator has checked.',
    ],
    i32_div_u: [0x6e, 'Unsigned quotient. The divisor is not 0 and the quotient fits: the translator has checked.'],
    i32_rem_s: [0x6f, 'Signed remainder. The divisor is not 0 and the quotient fits: the translator has checked.'],
    i32_rem_u: [0x70, 'Unsigned remainder. The divisor is not 0 and the quotient fits: the translator has checked.'],
  }),
  ...group(['i32'], 'i32', plain, {
    i32_eqz: [0x45, '1 if zero, else 0.'],
  }),
  ...group(['i32', 'i32'], 'i32', plain, {
    i32_eq: [0x46, 'Equal.'],
    i32_ne: [0x47, 'Not equal.'],
    i32_lt_s: [0x48, 'Signed less.'],
    i32_lt_u: [0x49, 'Unsigned less.'],
    i32_gt_s: [0x4a, 'Signed greater.'],
    i32_gt_u: [0x4b, 'Unsigned greater.'],
    i32_le_s: [0x4c, 'Signed less or equal.'],
    i32_le_u: [0x4d, 'Unsigned less or equal.'],
    i32_ge_s: [0x4e, 'Signed greater or equal.'],
    i32_ge_u: [0x4f, 'Unsigned greater or equal.'],
  }),
  ...group(['i64'], 'i64', plain, {
    i64_clz: [0x79, 'Number of leading zero bits.'],
    i64_ctz: [0x7a, 'Number of trailing zero bits.'],
    i64_popcnt: [0x7b, 'Number of one bits.'],
    i64_extend8_s: [0xc2, 'Sign-extends the low 8 bits.'],
    i64_extend16_s: [0xc3, 'Sign-extends the low 16 bits.'],
    i64_extend32_s: [0xc4, 'Sign-extends the low 32 bits.'],
  }),
  ...group(['i64', 'i64'], 'i64', plain, {
    i64_add: [0x7c, 'Sum modulo 2^64.'],
    i64_sub: [0x7d, 'Difference modulo 2^64.'],
    i64_mul: [0x7e, 'Product modulo 2^64.'],
    i64_and: [0x83, 'Bitwise and.'],
    i64_or: [0x84, 'Bitwise or.'],
    i64_xor: [0x85, 'Bitwise exclusive or.'],
    i64_shl: [0x86, 'Left shift; count modulo 64.'],
    i64_shr_s: [0x87, 'Arithmetic right shift; count modulo 64.'],
    i64_shr_u: [0x88, 'Logical right shift; count modulo 64.'],
    i64_rotl: [0x89, 'Left rotation; count modulo 64.'],
    i64_rotr: [0x8a, 'Right rotation; count modulo 64.'],
  }),
  ...group(['i64', 'i64'], 'i64', plain, {
    i64_div_s: [
      0x7f,
      'Signed quotient, towards zero. The divisor is not 0 and the quotient fits: the translator has checked.',
    ],
    i64_div_u: [0x80, 'Unsigned quotient. The divisor is not 0 and the quotient fits: the translator has checked.'],
    i64_rem_s: [0x81, 'Signed remainder. The divisor is not 0 and the quotient fits: the translator has checked.'],
    i64_rem_u: [0x82, 'Unsigned remainder. The divisor is not 0 and the quotient fits: the translator has checked.'],
  }),
  ...group(['i64'], 'i32', plain, {
    i64_eqz: [0x50, '1 if zero, else 0.'],
  }),
  ...group(['i64', 'i64'], 'i32', plain, {
    i64_eq: [0x51, 'Equal.'],
    i64_ne: [0x52, 'Not equal.'],
    i64_lt_s: [0x53, 'Signed less.'],
    i64_lt_u: [0x54, 'Unsigned less.'],
    i64_gt_s: [0x55, 'Signed greater.'],
    i64_gt_u: [0x56, 'Unsigned greater.'],
    i64_le_s: [0x57, 'Signed less or equal.'],
    i64_le_u: [0x58, 'Unsigned less or equal.'],
    i64_ge_s: [0x59, 'Signed greater or equal.'],
    i64_ge_u: [0x5a, 'Unsigned greater or equal.'],
  }),
  ...group(['i64'], 'i32', plain, {
    i32_wrap_i64: [0xa7, 'The low 32 bits.'],
  }),
  ...group(['i64'], 'i64', plain, {
    i64_low32: [[0xa7, 0xad], 'The low 32 bits, zero-extended.'],
  }),
  ...group(['i32'], 'i64', plain, {
    i64_extend_i32_s: [0xac, 'Sign extension.'],
    i64_extend_i32_u: [0xad, 'Zero extension.'],
  }),
  ...group(['f32'], 'f32', plain, {
    f32_abs: [0x8b, 'Sign cleared.'],
    f32_neg: [0x8c, 'Sign flipped.'],
    f32_ceil: [0x8d, 'Rounded up.'],
    f32_floor: [0x8e, 'Rounded down.'],
    f32_trunc: [0x8f, 'Rounded towards zero.'],
    f32_nearest: [0x90, 'Rounded to nearest even.'],
    f32_sqrt: [0x91, 'Square root.'],
  }),
  ...group(['f32', 'f32'], 'f32', plain, {
    f32_add: [0x92, 'Sum.'],
    f32_sub: [0x93, 'Difference.'],
    f32_mul: [0x94, 'Product.'],
    f32_div: [0x95, 'Quotient.'],
    f32_min: [0x96, 'WebAssembly minimum.'],
    f32_max: [0x97, 'WebAssembly maximum.'],
    f32_copysign: [0x98, 'Magnitude of a, sign of b.'],
  }),
  ...group(['f32', 'f32'], 'i32', plain, {
    f32_eq: [0x5b, 'Equal.'],
    f32_ne: [0x5c, 'Not equal or unordered.'],
    f32_lt: [0x5d, 'Less.'],
    f32_gt: [0x5e, 'Greater.'],
    f32_le: [0x5f, 'Less or equal.'],
    f32_ge: [0x60, 'Greater or equal.'],
  }),
  ...group(['f64'], 'f64', plain, {
    f64_abs: [0x99, 'Sign cleared.'],
    f64_neg: [0x9a, 'Sign flipped.'],
    f64_ceil: [0x9b, 'Rounded up.'],
    f64_floor: [0x9c, 'Rounded down.'],
    f64_trunc: [0x9d, 'Rounded towards zero.'],
    f64_nearest: [0x9e, 'Rounded to nearest even.'],
    f64_sqrt: [0x9f, 'Square root.'],
  }),
  ...group(['f64', 'f64'], 'f64', plain, {
    f64_add: [0xa0, 'Sum.'],
    f64_sub: [0xa1, 'Difference.'],
    f64_mul: [0xa2, 'Product.'],
    f64_div: [0xa3, 'Quotient.'],
    f64_min: [0xa4, 'WebAssembly minimum.'],
    f64_max: [0xa5, 'WebAssembly maximum.'],
    f64_copysign: [0xa6, 'Magnitude of a, sign of b.'],
  }),
  ...group(['f64', 'f64'], 'i32', plain, {
    f64_eq: [0x61, 'Equal.'],
    f64_ne: [0x62, 'Not equal or unordered.'],
    f64_lt: [0x63, 'Less.'],
    f64_gt: [0x64, 'Greater.'],
    f64_le: [0x65, 'Less or equal.'],
    f64_ge: [0x66, 'Greater or equal.'],
  }),
  ...group(['f32'], 'i32', plain, {
    i32_trunc_sat_f32_s: [[0xfc, 0], "As WebAssembly's."],
    i32_trunc_sat_f32_u: [[0xfc, 1], "As WebAssembly's."],
    i32_reinterpret_f32: [0xbc, "As WebAssembly's."],
  }),
  ...group(['f64'], 'i32', plain, {
    i32_trunc_sat_f64_s: [[0xfc, 2], "As WebAssembly's."],
    i32_trunc_sat_f64_u: [[0xfc, 3], "As WebAssembly's."],
  }),
  ...group(['f32'], 'i64', plain, {
    i64_trunc_sat_f32_s: [[0xfc, 4], "As WebAssembly's."],
    i64_trunc_sat_f32_u: [[0xfc, 5], "As WebAssembly's."],
  }),
  ...group(['f64'], 'i64', plain, {
    i64_trunc_sat_f64_s: [[0xfc, 6], "As WebAssembly's."],
    i64_trunc_sat_f64_u: [[0xfc, 7], "As WebAssembly's."],
    i64_reinterpret_f64: [0xbd, "As WebAssembly's."],
  }),
  ...group(['i32'], 'f32', plain, {
    f32_convert_i32_s: [0xb2, "As WebAssembly's."],
    f32_convert_i32_u: [0xb3, "As WebAssembly's."],
    f32_reinterpret_i32: [0xbe, "As WebAssembly's."],
  }),
  ...group(['i64'], 'f32', plain, {
    f32_convert_i64_s: [0xb4, "As WebAssembly's."],
    f32_convert_i64_u: [0xb5, "As WebAssembly's."],
  }),
  ...group(['f64'], 'f32', plain, {
    f32_demote_f64: [0xb6, "As WebAssembly's."],
  }),
  ...group(['i32'], 'f64', plain, {
    f64_convert_i32_s: [0xb7, "As WebAssembly's."],
    f64_convert_i32_u: [0xb8, "As WebAssembly's."],
  }),
  ...group(['i64'], 'f64', plain, {
    f64_convert_i64_s: [0xb9, "As WebAssembly's."],
    f64_convert_i64_u: [0xba, "As WebAssembly's."],
    f64_reinterpret_i64: [0xbf, "As WebAssembly's."],
  }),
  ...group(['f32'], 'f64', plain, {
    f64_promote_f32: [0xbb, "As WebAssembly's."],
  }),
  ...group(['i32', 'i32', 'i32'], 'i32', plain, {
    select_i32: [0x1b, 'The first if the third is not 0, else the second.'],
  }),
  ...group(['i64', 'i64', 'i32'], 'i64', plain, {
    select_i64: [0x1b, 'The first if the third is not 0, else the second.'],
  }),
  ...group(['f32', 'f32', 'i32'], 'f32', plain, {
    select_f32: [0x1b, 'The first if the third is not 0, else the second.'],
  }),
  ...group(['f64', 'f64', 'i32'], 'f64', plain, {
    select_f64: [0x1b, 'The first if the third is not 0, else the second.'],
  }),
  ...group(['v128', 'v128', 'i32'], 'v128', plain, {
    select_v128: [[0x1c, 1, 0x7b], 'The first if the third is not 0, else the second.'],
  }),
  ...group(['v128'], 'v128', plain, {
    i8x16_abs: [simd(0x60), "As WebAssembly's."],
    i8x16_neg: [simd(0x61), "As WebAssembly's."],
    i8x16_popcnt: [simd(0x62), "As WebAssembly's."],
    i16x8_abs: [simd(0x80), "As WebAssembly's."],
    i16x8_neg: [simd(0x81), "As WebAssembly's."],
    i32x4_abs: [simd(0xa0), "As WebAssembly's."],
    i32x4_neg: [simd(0xa1), "As WebAssembly's."],
    i64x2_abs: [simd(0xc0), "As WebAssembly's."],
    i64x2_neg: [simd(0xc1), "As WebAssembly's."],
    v128_not: [simd(0x4d), "As WebAssembly's."],
    i16x8_extend_low_i8x16_s: [simd(0x87), "As WebAssembly's."],
    i16x8_extend_high_i8x16_s: [simd(0x88), "As WebAssembly's."],
    i16x8_extend_low_i8x16_u: [simd(0x89), "As WebAssembly's."],
    i16x8_extend_high_i8x16_u: [simd(0x8a), "As WebAssembly's."],
    i32x4_extend_low_i16x8_s: [simd(0xa7), "As WebAssembly's."],
    i32x4_extend_high_i16x8_s: [simd(0xa8), "As WebAssembly's."],
    i32x4_extend_low_i16x8_u: [simd(0xa9), "As WebAssembly's."],
    i32x4_extend_high_i16x8_u: [simd(0xaa), "As WebAssembly's."],
    i64x2_extend_low_i32x4_s: [simd(0xc7), "As WebAssembly's."],
    i64x2_extend_high_i32x4_s: [simd(0xc8), "As WebAssembly's."],
    i64x2_extend_low_i32x4_u: [simd(0xc9), "As WebAssembly's."],
    i64x2_extend_high_i32x4_u: [simd(0xca), "As WebAssembly's."],
    i16x8_extadd_pairwise_i8x16_s: [simd(0x7c), "As WebAssembly's."],
    i16x8_extadd_pairwise_i8x16_u: [simd(0x7d), "As WebAssembly's."],
    i32x4_extadd_pairwise_i16x8_s: [simd(0x7e), "As WebAssembly's."],
    i32x4_extadd_pairwise_i16x8_u: [simd(0x7f), "As WebAssembly's."],
    f32x4_ceil: [simd(0x67), "As WebAssembly's."],
    f32x4_floor: [simd(0x68), "As WebAssembly's."],
    f32x4_trunc: [simd(0x69), "As WebAssembly's."],
    f32x4_nearest: [simd(0x6a), "As WebAssembly's."],
    f64x2_ceil: [simd(0x74), "As WebAssembly's."],
    f64x2_floor: [simd(0x75), "As WebAssembly's."],
    f64x2_trunc: [simd(0x7a), "As WebAssembly's."],
    f64x2_nearest: [simd(0x94), "As WebAssembly's."],
    f32x4_abs: [simd(0xe0), "As WebAssembly's."],
    f32x4_neg: [simd(0xe1), "As WebAssembly's."],
    f32x4_sqrt: [simd(0xe3), "As WebAssembly's."],
    f64x2_abs: [simd(0xec), "As WebAssembly's."],
    f64x2_neg: [simd(0xed), "As WebAssembly's."],
    f64x2_sqrt: [simd(0xef), "As WebAssembly's."],
    i32x4_trunc_sat_f32x4_s: [simd(0xf8), "As WebAssembly's."],
    i32x4_trunc_sat_f32x4_u: [simd(0xf9), "As WebAssembly's."],
    f32x4_convert_i32x4_s: [simd(0xfa), "As WebAssembly's."],
    f32x4_convert_i32x4_u: [simd(0xfb), "As WebAssembly's."],
    i32x4_trunc_sat_f64x2_s_zero: [simd(0xfc), "As WebAssembly's."],
    i32x4_trunc_sat_f64x2_u_zero: [simd(0xfd), "As WebAssembly's."],
    f64x2_convert_low_i32x4_s: [simd(0xfe), "As WebAssembly's."],
    f64x2_convert_low_i32x4_u: [simd(0xff), "As WebAssembly's."],
    f32x4_demote_f64x2_zero: [simd(0x5e), "As WebAssembly's."],
    f64x2_promote_low_f32x4: [simd(0x5f), "As WebAssembly's."],
  }),
  ...group(['v128', 'v128'], 'v128', plain, {
    i8x16_swizzle: [simd(0xe), "As WebAssembly's."],
    v128_and: [simd(0x4e), "As WebAssembly's."],
    v128_andnot: [simd(0x4f), "As WebAssembly's."],
    v128_or: [simd(0x50), "As WebAssembly's."],
    v128_xor: [simd(0x51), "As WebAssembly's."],
    i8x16_eq: [simd(0x23), "As WebAssembly's."],
    i16x8_eq: [simd(0x2d), "As WebAssembly's."],
    i32x4_eq: [simd(0x37), "As WebAssembly's."],
    i8x16_ne: [simd(0x24), "As WebAssembly's."],
    i16x8_ne: [simd(0x2e), "As WebAssembly's."],
    i32x4_ne: [simd(0x38), "As WebAssembly's."],
    i8x16_lt_s: [simd(0x25), "As WebAssembly's."],
    i16x8_lt_s: [simd(0x2f), "As WebAssembly's."],
    i32x4_lt_s: [simd(0x39), "As WebAssembly's."],
    i8x16_lt_u: [simd(0x26), "As WebAssembly's."],
    i16x8_lt_u: [simd(0x30), "As WebAssembly's."],
    i32x4_lt_u: [simd(0x3a), "As WebAssembly's."],
    i8x16_gt_s: [simd(0x27), "As WebAssembly's."],
    i16x8_gt_s: [simd(0x31), "As WebAssembly's."],
    i32x4_gt_s: [simd(0x3b), "As WebAssembly's."],
    i8x16_gt_u: [simd(0x28), "As WebAssembly's."],
    i16x8_gt_u: [simd(0x32), "As WebAssembly's."],
    i32x4_gt_u: [simd(0x3c), "As WebAssembly's."],
    i8x16_le_s: [simd(0x29), "As WebAssembly's."],
    i16x8_le_s: [simd(0x33), "As WebAssembly's."],
    i32x4_le_s: [simd(0x3d), "As WebAssembly's."],
    i8x16_le_u: [simd(0x2a), "As WebAssembly's."],
    i16x8_le_u: [simd(0x34), "As WebAssembly's."],
    i32x4_le_u: [simd(0x3e), "As WebAssembly's."],
    i8x16_ge_s: [simd(0x2b), "As WebAssembly's."],
    i16x8_ge_s: [simd(0x35), "As WebAssembly's."],
    i32x4_ge_s: [simd(0x3f), "As WebAssembly's."],
    i8x16_ge_u: [simd(0x2c), "As WebAssembly's."],
    i16x8_ge_u: [simd(0x36), "As WebAssembly's."],
    i32x4_ge_u: [simd(0x40), "As WebAssembly's."],
    f32x4_eq: [simd(0x41), "As WebAssembly's."],
    f64x2_eq: [simd(0x47), "As WebAssembly's."],
    f32x4_ne: [simd(0x42), "As WebAssembly's."],
    f64x2_ne: [simd(0x48), "As WebAssembly's."],
    f32x4_lt: [simd(0x43), "As WebAssembly's."],
    f64x2_lt: [simd(0x49), "As WebAssembly's."],
    f32x4_gt: [simd(0x44), "As WebAssembly's."],
    f64x2_gt: [simd(0x4a), "As WebAssembly's."],
    f32x4_le: [simd(0x45), "As WebAssembly's."],
    f64x2_le: [simd(0x4b), "As WebAssembly's."],
    f32x4_ge: [simd(0x46), "As WebAssembly's."],
    f64x2_ge: [simd(0x4c), "As WebAssembly's."],
    i64x2_eq: [simd(0xd6), "As WebAssembly's."],
    i64x2_ne: [simd(0xd7), "As WebAssembly's."],
    i64x2_lt_s: [simd(0xd8), "As WebAssembly's."],
    i64x2_gt_s: [simd(0xd9), "As WebAssembly's."],
    i64x2_le_s: [simd(0xda), "As WebAssembly's."],
    i64x2_ge_s: [simd(0xdb), "As WebAssembly's."],
    i8x16_narrow_i16x8_s: [simd(0x65), "As WebAssembly's."],
    i8x16_narrow_i16x8_u: [simd(0x66), "As WebAssembly's."],
    i8x16_add: [simd(0x6e), "As WebAssembly's."],
    i8x16_add_sat_s: [simd(0x6f), "As WebAssembly's."],
    i8x16_add_sat_u: [simd(0x70), "As WebAssembly's."],
    i8x16_sub: [simd(0x71), "As WebAssembly's."],
    i8x16_sub_sat_s: [simd(0x72), "As WebAssembly's."],
    i8x16_sub_sat_u: [simd(0x73), "As WebAssembly's."],
    i8x16_min_s: [simd(0x76), "As WebAssembly's."],
    i8x16_min_u: [simd(0x77), "As WebAssembly's."],
    i8x16_max_s: [simd(0x78), "As WebAssembly's."],
    i8x16_max_u: [simd(0x79), "As WebAssembly's."],
    i8x16_avgr_u: [simd(0x7b), "As WebAssembly's."],
    i16x8_q15mulr_sat_s: [simd(0x82), "As WebAssembly's."],
    i16x8_narrow_i32x4_s: [simd(0x85), "As WebAssembly's."],
    i16x8_narrow_i32x4_u: [simd(0x86), "As WebAssembly's."],
    i16x8_add: [simd(0x8e), "As WebAssembly's."],
    i16x8_add_sat_s: [simd(0x8f), "As WebAssembly's."],
    i16x8_add_sat_u: [simd(0x90), "As WebAssembly's."],
    i16x8_sub: [simd(0x91), "As WebAssembly's."],
    i16x8_sub_sat_s: [simd(0x92), "As WebAssembly's."],
    i16x8_sub_sat_u: [simd(0x93), "As WebAssembly's."],
    i16x8_mul: [simd(0x95), "As WebAssembly's."],
    i16x8_min_s: [simd(0x96), "As WebAssembly's."],
    i16x8_min_u: [simd(0x97), "As WebAssembly's."],
    i16x8_max_s: [simd(0x98), "As WebAssembly's."],
    i16x8_max_u: [simd(0x99), "As WebAssembly's."],
    i16x8_avgr_u: [simd(0x9b), "As WebAssembly's."],
    i16x8_extmul_low_i8x16_s: [simd(0x9c), "As WebAssembly's."],
    i16x8_extmul_high_i8x16_s: [simd(0x9d), "As WebAssembly's."],
    i16x8_extmul_low_i8x16_u: [simd(0x9e), "As WebAssembly's."],
    i16x8_extmul_high_i8x16_u: [simd(0x9f), "As WebAssembly's."],
    i32x4_add: [simd(0xae), "As WebAssembly's."],
    i32x4_sub: [simd(0xb1), "As WebAssembly's."],
    i32x4_mul: [simd(0xb5), "As WebAssembly's."],
    i32x4_min_s: [simd(0xb6), "As WebAssembly's."],
    i32x4_min_u: [simd(0xb7), "As WebAssembly's."],
    i32x4_max_s: [simd(0xb8), "As WebAssembly's."],
    i32x4_max_u: [simd(0xb9), "As WebAssembly's."],
    i32x4_dot_i16x8_s: [simd(0xba), "As WebAssembly's."],
    i32x4_extmul_low_i16x8_s: [simd(0xbc), "As WebAssembly's."],
    i32x4_extmul_high_i16x8_s: [simd(0xbd), "As WebAssembly's."],
    i32x4_extmul_low_i16x8_u: [simd(0xbe), "As WebAssembly's."],
    i32x4_extmul_high_i16x8_u: [simd(0xbf), "As WebAssembly's."],
    i64x2_add: [simd(0xce), "As WebAssembly's."],
    i64x2_sub: [simd(0xd1), "As WebAssembly's."],
    i64x2_mul: [simd(0xd5), "As WebAssembly's."],
    i64x2_extmul_low_i32x4_s: [simd(0xdc), "As WebAssembly's."],
    i64x2_extmul_high_i32x4_s: [simd(0xdd), "As WebAssembly's."],
    i64x2_extmul_low_i32x4_u: [simd(0xde), "As WebAssembly's."],
    i64x2_extmul_high_i32x4_u: [simd(0xdf), "As WebAssembly's."],
    f32x4_add: [simd(0xe4), "As WebAssembly's."],
    f32x4_sub: [simd(0xe5), "As WebAssembly's."],
    f32x4_mul: [simd(0xe6), "As WebAssembly's."],
    f32x4_div: [simd(0xe7), "As WebAssembly's."],
    f32x4_min: [simd(0xe8), "As WebAssembly's."],
    f32x4_max: [simd(0xe9), "As WebAssembly's."],
    f32x4_pmin: [simd(0xea), "As WebAssembly's."],
    f32x4_pmax: [simd(0xeb), "As WebAssembly's."],
    f64x2_add: [simd(0xf0), "As WebAssembly's."],
    f64x2_sub: [simd(0xf1), "As WebAssembly's."],
    f64x2_mul: [simd(0xf2), "As WebAssembly's."],
    f64x2_div: [simd(0xf3), "As WebAssembly's."],
    f64x2_min: [simd(0xf4), "As WebAssembly's."],
    f64x2_max: [simd(0xf5), "As WebAssembly's."],
    f64x2_pmin: [simd(0xf6), "As WebAssembly's."],
    f64x2_pmax: [simd(0xf7), "As WebAssembly's."],
  }),
  ...group(['v128', 'v128', 'v128'], 'v128', plain, {
    v128_bitselect: [simd(0x52), 'Bits of the first where the third is 1, of the second where it is 0.'],
  }),
  ...group(['v128'], 'i32', plain, {
    v128_any_true: [simd(0x53), "As WebAssembly's."],
    i8x16_all_true: [simd(0x63), "As WebAssembly's."],
    i8x16_bitmask: [simd(0x64), "As WebAssembly's."],
    i16x8_all_true: [simd(0x83), "As WebAssembly's."],
    i16x8_bitmask: [simd(0x84), "As WebAssembly's."],
    i32x4_all_true: [simd(0xa3), "As WebAssembly's."],
    i32x4_bitmask: [simd(0xa4), "As WebAssembly's."],
    i64x2_all_true: [simd(0xc3), "As WebAssembly's."],
    i64x2_bitmask: [simd(0xc4), "As WebAssembly's."],
  }),
  ...group(['v128', 'i32'], 'v128', plain, {
    i8x16_shl: [simd(0x6b), 'Each lane shifted; count modulo the lane width.'],
    i8x16_shr_s: [simd(0x6c), 'Each lane shifted; count modulo the lane width.'],
    i8x16_shr_u: [simd(0x6d), 'Each lane shifted; count modulo the lane width.'],
    i16x8_shl: [simd(0x8b), 'Each lane shifted; count modulo the lane width.'],
    i16x8_shr_s: [simd(0x8c), 'Each lane shifted; count modulo the lane width.'],
    i16x8_shr_u: [simd(0x8d), 'Each lane shifted; count modulo the lane width.'],
    i32x4_shl: [simd(0xab), 'Each lane shifted; count modulo the lane width.'],
    i32x4_shr_s: [simd(0xac), 'Each lane shifted; count modulo the lane width.'],
    i32x4_shr_u: [simd(0xad), 'Each lane shifted; count modulo the lane width.'],
    i64x2_shl: [simd(0xcb), 'Each lane shifted; count modulo the lane width.'],
    i64x2_shr_s: [simd(0xcc), 'Each lane shifted; count modulo the lane width.'],
    i64x2_shr_u: [simd(0xcd), 'Each lane shifted; count modulo the lane width.'],
  }),
  ...group(['i32'], 'v128', plain, {
    i8x16_splat: [simd(0xf), 'All lanes the same.'],
    i16x8_splat: [simd(0x10), 'All lanes the same.'],
    i32x4_splat: [simd(0x11), 'All lanes the same.'],
  }),
  ...group(['i64'], 'v128', plain, {
    i64x2_splat: [simd(0x12), 'All lanes the same.'],
  }),
  ...group(['f32'], 'v128', plain, {
    f32x4_splat: [simd(0x13), 'All lanes the same.'],
  }),
  ...group(['f64'], 'v128', plain, {
    f64x2_splat: [simd(0x14), 'All lanes the same.'],
  }),
  ...group(['v128'], 'i32', lane, {
    i8x16_extract_lane_s: [simd(0x15), 'One lane, its index an immediate.'],
    i8x16_extract_lane_u: [simd(0x16), 'One lane, its index an immediate.'],
    i16x8_extract_lane_s: [simd(0x18), 'One lane, its index an immediate.'],
    i16x8_extract_lane_u: [simd(0x19), 'One lane, its index an immediate.'],
    i32x4_extract_lane: [simd(0x1b), 'One lane, its index an immediate.'],
  }),
  ...group(['v128'], 'i64', lane, {
    i64x2_extract_lane: [simd(0x1d), 'One lane, its index an immediate.'],
  }),
  ...group(['v128'], 'f32', lane, {
    f32x4_extract_lane: [simd(0x1f), 'One lane, its index an immediate.'],
  }),
  ...group(['v128'], 'f64', lane, {
    f64x2_extract_lane: [simd(0x21), 'One lane, its index an immediate.'],
  }),
  ...group(['v128', 'i32'], 'v128', lane, {
    i8x16_replace_lane: [simd(0x17), 'One lane replaced, its index an immediate.'],
    i16x8_replace_lane: [simd(0x1a), 'One lane replaced, its index an immediate.'],
    i32x4_replace_lane: [simd(0x1c), 'One lane replaced, its index an immediate.'],
  }),
  ...group(['v128', 'i64'], 'v128', lane, {
    i64x2_replace_lane: [simd(0x1e), 'One lane replaced, its index an immediate.'],
  }),
  ...group(['v128', 'f32'], 'v128', lane, {
    f32x4_replace_lane: [simd(0x20), 'One lane replaced, its index an immediate.'],
  }),
  ...group(['v128', 'f64'], 'v128', lane, {
    f64x2_replace_lane: [simd(0x22), 'One lane replaced, its index an immediate.'],
  }),
  ...group(['v128', 'v128', 'v128'], 'v128', plain, {
    f32x4_relaxed_madd: [simd(0x105), 'a * b + c in each lane. Only where it rounds once (fused-multiply.ts).'],
    f64x2_relaxed_madd: [simd(0x107), 'a * b + c in each lane. Only where it rounds once (fused-multiply.ts).'],
  }),
  ...group(['v128', 'v128'], 'v128', shuffle, {
    i8x16_shuffle: [
      simd(0xd),
      'Sixteen bytes chosen from both; the immediates are four little-endian words of lane indices.',
    ],
  }),
  ...group(['i32'], 'i32', load, {
    i32_load: [0x28, 'Four bytes at host address + offset.'],
    i32_load8_s: [0x2c, 'One byte, sign-extended.'],
    i32_load8_u: [0x2d, 'One byte, zero-extended.'],
    i32_load16_s: [0x2e, 'Two bytes, sign-extended.'],
    i32_load16_u: [0x2f, 'Two bytes, zero-extended.'],
  }),
  ...group(['i32'], 'i64', load, {
    i64_load: [0x29, 'Eight bytes at host address + offset.'],
    i64_load8_u: [0x31, 'One byte, zero-extended.'],
    i64_load16_u: [0x33, 'Two bytes, zero-extended.'],
    i64_load32_s: [0x34, 'Four bytes, sign-extended.'],
    i64_load32_u: [0x35, 'Four bytes, zero-extended.'],
  }),
  ...group(['i32'], 'f32', load, {
    f32_load: [0x2a, 'Four bytes at host address + offset.'],
  }),
  ...group(['i32'], 'f64', load, {
    f64_load: [0x2b, 'Eight bytes at host address + offset.'],
  }),
  ...group(['i32'], 'v128', load, {
    v128_load: [simd(0x0), 'Sixteen bytes at host address + offset.'],
  }),
  ...group(['i32', 'i32'], undefined, store, {
    i32_store: [0x36, 'Four bytes to host address + offset.'],
    i32_store8: [0x3a, 'One byte.'],
    i32_store16: [0x3b, 'Two bytes.'],
  }),
  ...group(['i32', 'i64'], undefined, store, {
    i64_store: [0x37, 'Eight bytes to host address + offset.'],
    i64_store8: [0x3c, 'One byte.'],
    i64_store16: [0x3d, 'Two bytes.'],
    i64_store32: [0x3e, 'Four bytes.'],
  }),
  ...group(['i32', 'f32'], undefined, store, {
    f32_store: [0x38, 'Four bytes to host address + offset.'],
  }),
  ...group(['i32', 'f64'], undefined, store, {
    f64_store: [0x39, 'Eight bytes to host address + offset.'],
  }),
  ...group(['i32', 'v128'], undefined, store, {
    v128_store: [simd(0xb), 'Sixteen bytes to host address + offset.'],
  }),
  ...group(['i32', 'i32', 'i32'], undefined, store0, {
    memory_copy: [[0xfc, 10, 0, 0], 'Copies bytes: destination, source, count (host addresses).'],
    memory_fill: [[0xfc, 11, 0], 'Fills bytes: destination, value, count (host addresses).'],
  }),

  const_i32: special([], 'i32', 1, {}, 'The immediate.'),
  const_i64: special([], 'i64', 2, {}, 'The immediates, low half first.'),
  const_f32: special([], 'f32', 1, {}, 'The float with these bits.'),
  const_f64: special([], 'f64', 2, {}, 'The float with these bits, low half first.'),
  const_v128: special([], 'v128', 4, {}, 'The immediates, lowest word first.'),

  state: special([], 'i32', 0, {}, "Host address of the vCPU's state."),
  pc_rel: special([], 'i64', 1, {}, 'The address at which the running code was entered, plus a signed immediate.', 1),
  get_i32: special([], 'i32', 1, { reads: true }, 'A guest variable; the immediate is its id.'),
  get_i64: special([], 'i64', 1, { reads: true }, 'A guest variable; the immediate is its id.'),
  get_f32: special([], 'f32', 1, { reads: true }, 'A guest variable; the immediate is its id.'),
  get_f64: special([], 'f64', 1, { reads: true }, 'A guest variable; the immediate is its id.'),
  get_v128: special([], 'v128', 1, { reads: true }, 'A guest variable; the immediate is its id.'),
  set_i32: special(['i32'], undefined, 1, { writes: true }, 'Sets a guest variable; the immediate is its id.'),
  set_i64: special(['i64'], undefined, 1, { writes: true }, 'Sets a guest variable; the immediate is its id.'),
  set_f32: special(['f32'], undefined, 1, { writes: true }, 'Sets a guest variable; the immediate is its id.'),
  set_f64: special(['f64'], undefined, 1, { writes: true }, 'Sets a guest variable; the immediate is its id.'),
  set_v128: special(['v128'], undefined, 1, { writes: true }, 'Sets a guest variable; the immediate is its id.'),
  set_deferred: special([], undefined, 1, { writes: true }, 'The deferred variable becomes this constant (0..254).'),

  guest_load8: special(
    ['i64'],
    'i32',
    1,
    { reads: true, mayExit: true },
    'Zero-extended byte at a guest-virtual address; the immediate says how it is accessed (access.ts).',
  ),
  guest_load16: special(['i64'], 'i32', 1, { reads: true, mayExit: true }, 'Zero-extended 2 bytes, little-endian.'),
  guest_load32: special(['i64'], 'i32', 1, { reads: true, mayExit: true }, '4 bytes.'),
  guest_load64: special(['i64'], 'i64', 1, { reads: true, mayExit: true }, '8 bytes.'),
  guest_load128: special(['i64'], 'v128', 1, { reads: true, mayExit: true }, '16 bytes.'),
  guest_store8: special(['i64', 'i32'], undefined, 1, { writes: true, mayExit: true }, 'Stores the low byte.'),
  guest_store16: special(['i64', 'i32'], undefined, 1, { writes: true, mayExit: true }, 'Stores the low 2 bytes.'),
  guest_store32: special(['i64', 'i32'], undefined, 1, { writes: true, mayExit: true }, 'Stores 4 bytes.'),
  guest_store64: special(['i64', 'i64'], undefined, 1, { writes: true, mayExit: true }, 'Stores 8 bytes.'),
  guest_store128: special(['i64', 'v128'], undefined, 1, { writes: true, mayExit: true }, 'Stores 16 bytes.'),

  insn: special(
    [],
    undefined,
    1,
    { writes: true },
    'A guest instruction starts here; the immediate is its distance from where the code is entered.',
    1,
  ),
  trap_if: special(
    ['i32'],
    undefined,
    1,
    { writes: true, mayExit: true },
    'If the operand is not 0, leaves at the start of the current instruction with the immediate as trap code.',
  ),
  call: special(
    [],
    undefined,
    0,
    { reads: true, writes: true, mayExit: true },
    'Calls a routine: word 1 is its id; results and arguments follow by its signature.',
  ),

  call_note: special(
    [],
    undefined,
    1,
    { writes: true },
    'The goto or jump that follows is a call; the immediate is the distance of the instruction it returns to.',
    1,
  ),

  goto: special(
    [],
    undefined,
    1,
    { control: true, writes: true },
    'Ends the block: the next pc lies at this distance from where the code was entered.',
    1,
  ),
  branch: special(
    ['i32'],
    undefined,
    2,
    { control: true, writes: true },
    'Ends the block: to the first distance if the operand is not 0, else to the second.',
    2,
  ),
  jump: special(
    ['i64'],
    undefined,
    1,
    { control: true, writes: true },
    'Ends the block: to the operand. The immediate tells the kind of jump (jumpKind).',
  ),
  leave: special(
    [],
    undefined,
    2,
    { control: true, writes: true },
    'Ends the block with an exit code (first immediate), next pc at a distance (second).',
    1,
  ),
  resume: special(
    [],
    undefined,
    1,
    { control: true, writes: true },
    "Ends the block with an exit code; the pc's home has been written already.",
  ),

  block: special(
    [],
    undefined,
    0,
    { control: true, writes: true },
    'Routines: opens a block; br to it goes past its end.',
  ),
  loop: special(
    [],
    undefined,
    0,
    { control: true, writes: true },
    'Routines: opens a loop; br to it goes to its start.',
  ),
  if: special(
    ['i32'],
    undefined,
    0,
    { control: true, writes: true },
    'Routines: runs what follows if the operand is not 0.',
  ),
  else: special([], undefined, 0, { control: true, writes: true }, 'Routines: the other side of an if.'),
  end: special([], undefined, 0, { control: true, writes: true }, 'Routines: closes block, loop or if.'),
  br: special(
    [],
    undefined,
    1,
    { control: true, writes: true },
    'Routines: to the block or loop this many levels out.',
  ),
  br_if: special(['i32'], undefined, 1, { control: true, writes: true }, 'Routines: br if the operand is not 0.'),
  ret: special(
    [],
    undefined,
    0,
    { control: true, writes: true },
    'Routines: returns; the results follow by the signature.',
  ),
  local_i32: special([], 'i32', 1, { reads: true }, 'Routines: value of a mutable local.'),
  local_i64: special([], 'i64', 1, { reads: true }, 'Routines: value of a mutable local.'),
  local_f32: special([], 'f32', 1, { reads: true }, 'Routines: value of a mutable local.'),
  local_f64: special([], 'f64', 1, { reads: true }, 'Routines: value of a mutable local.'),
  local_v128: special([], 'v128', 1, { reads: true }, 'Routines: value of a mutable local.'),
  assign_i32: special(['i32'], undefined, 1, { writes: true }, 'Routines: sets a mutable local.'),
  assign_i64: special(['i64'], undefined, 1, { writes: true }, 'Routines: sets a mutable local.'),
  assign_f32: special(['f32'], undefined, 1, { writes: true }, 'Routines: sets a mutable local.'),
  assign_f64: special(['f64'], undefined, 1, { writes: true }, 'Routines: sets a mutable local.'),
  assign_v128: special(['v128'], undefined, 1, { writes: true }, 'Routines: sets a mutable local.'),
  atomic_load_i32: special(
    ['i32'],
    'i32',
    1,
    { reads: true, writes: true },
    'Routines: sequentially consistent load of an aligned word at host address + offset.',
  ),
  atomic_store_i32: special(['i32', 'i32'], undefined, 1, { writes: true }, 'Routines: sequentially consistent store.'),
  call_code: special(
    ['i32'],
    'i32',
    0,
    { reads: true, writes: true },
    'Routines: calls translated code by its index in the code table; gives its exit word.',
  ),
  fence: special([], undefined, 0, { writes: true }, 'Orders guest memory accesses between vCPUs.'),
} as const;

/**
 * What a block names by its distance lies less than this far from its start, and the block at most so far from where its region is
 * entered: every distance fits a word with its sign.
 */
export const MOST_DISTANCE = 1 << 30;

export type OpName = keyof typeof opRows;

/** Rows in order of their opcode. */
export const opList: readonly OpRow[] = Object.values(opRows);
export const opNames = Object.keys(opRows) as readonly OpName[];

/** Opcode by name. */
export const Op = Object.fromEntries(opNames.map((name, code) => [name, code])) as { readonly [K in OpName]: number };

/**
 * Words an op takes in the IR: opcode, result (if any), operands, immediates. 0: the length is in the op (call, ret).
 */
export const opWords: Int32Array = Int32Array.from(opList, (row, code) =>
  code === Op.call || code === Op.ret ? 0 : 1 + (row.result ? 1 : 0) + row.params.length + row.immediates,
);

/** How many of an op's last words are distances from where the code is entered. */
export const opDistances: Uint8Array = Uint8Array.from(opList, (row) => row.distances);
