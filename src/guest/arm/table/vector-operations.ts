/** What Advanced SIMD does with whole vectors of integers: shared by AArch64's and AArch32's rows. */
import type { I64, V128 } from '../../../ir/index.js';
import { type LaneRoutine, lanes, shifts } from '../routines/lanes.js';
import {
  apply,
  type Binary,
  byLanes,
  laneCount,
  lanesOf,
  native,
  noteSaturation,
  type Size,
  splat,
  type Unary,
  unaryByLanes,
  type VectorTranslator,
  zero,
} from './vector.js';

// --- lanes

export function extract({ b }: VectorTranslator, x: V128, size: Size, lane: number, signed: boolean): I64 {
  if (size === 3) return b.i64x2_extract_lane(x, lane);
  if (size === 2) {
    const value = b.i32x4_extract_lane(x, lane);
    return signed ? b.i64_extend_i32_s(value) : b.i64_extend_i32_u(value);
  }
  const value = size === 1 ? b.i16x8_extract_lane_u(x, lane) : b.i8x16_extract_lane_u(x, lane);
  const bits = b.i64_extend_i32_u(value);
  if (!signed) return bits;
  return size === 1 ? b.i64_extend16_s(bits) : b.i64_extend8_s(bits);
}
export function insert({ b }: VectorTranslator, x: V128, size: Size, lane: number, value: I64): V128 {
  if (size === 3) return b.i64x2_replace_lane(x, value, lane);
  const bits = b.i32_wrap_i64(value);
  return [b.i8x16_replace_lane, b.i16x8_replace_lane, b.i32x4_replace_lane][size].call(b, x, bits, lane);
}

// --- lanes of one size

export const multiply: Binary = (t, x, y, size) => {
  if (size > 0) return apply(t, 'mul', size, x, y);
  // Bytes of even and of odd numbers, each in its half of 16 bits.
  const { b } = t;
  const even = b.v128_and(b.i16x8_mul(x, y), b.v128(0x00ff00ff, 0x00ff00ff, 0x00ff00ff, 0x00ff00ff));
  const odd = b.i16x8_mul(b.i16x8_shr_u(x, b.i32(8)), b.i16x8_shr_u(y, b.i32(8)));
  return b.v128_or(even, b.i16x8_shl(odd, b.i32(8)));
};
/** Half of a sum that does not overflow: what both have, and half of what one has. */
export const halved =
  (sign: 's' | 'u', round: boolean): Binary =>
  (t, x, y, size) => {
    const { b } = t;
    const half = apply(t, `shr_${sign}`, size, b.v128_xor(x, y), b.i32(1));
    return round ? apply(t, 'sub', size, b.v128_or(x, y), half) : apply(t, 'add', size, b.v128_and(x, y), half);
  };
/** Half of a difference: a borrow from the last places where only y has one. */
export const halvedDifference =
  (sign: 's' | 'u'): Binary =>
  (t, x, y, size) => {
    const { b } = t;
    const half = (value: V128) => apply(t, `shr_${sign}`, size, value, b.i32(1));
    const borrow = b.v128_and(b.v128_andnot(y, x), splat(t, size, b.i64(1)));
    return apply(t, 'sub', size, apply(t, 'sub', size, half(x), half(y)), borrow);
  };
/** WebAssembly saturates lanes of 8 and 16 bits. Where saturation changes something, FPSR.QC is set. */
export const saturating =
  (name: 'add' | 'sub', sign: 's' | 'u'): Binary =>
  (t, x, y, size) => {
    const { b } = t;
    if (size < 2) {
      const value = apply(t, `${name}_sat_${sign}`, size, x, y);
      noteSaturation(t, b.v128_any_true(b.v128_xor(value, apply(t, name, size, x, y))));
      return value;
    }
    // Unsigned lanes of 64 bits cannot be compared.
    if (sign === 'u' && size === 3) return byLanes(lanes[`uq${name}`])(t, x, y, size);
    const value = apply(t, name, size, x, y);
    if (sign === 'u') {
      const wraps = name === 'add' ? apply(t, 'lt_u', size, value, x) : apply(t, 'lt_u', size, x, y);
      noteSaturation(t, b.v128_any_true(wraps));
      return name === 'add' ? b.v128_or(value, wraps) : b.v128_andnot(value, wraps);
    }
    const places = b.i32((8 << size) - 1);
    const other = b.v128_xor(name === 'add' ? y : x, name === 'add' ? value : y);
    const wraps = apply(t, 'shr_s', size, b.v128_and(b.v128_xor(x, value), other), places);
    noteSaturation(t, b.v128_any_true(wraps));
    const highest = b.v128_not(ones(t, size, 1, true));
    return b.v128_bitselect(b.v128_xor(apply(t, 'shr_s', size, x, places), highest), value, wraps);
  };
/** The upper half of a doubled product, of lanes of 16 or 32 bits; that of the two lowest numbers does not fit. */
export const doublingHigh =
  (round: boolean): Binary =>
  (t, x, y, size) => {
    const { b } = t;
    const lowest = ones(t, size, 1, true);
    const over = b.v128_and(apply(t, 'eq', size, x, lowest), apply(t, 'eq', size, y, lowest));
    noteSaturation(t, b.v128_any_true(over));
    if (size === 1 && round) return b.i16x8_q15mulr_sat_s(x, y);
    const places = (8 << size) - 1;
    const half = (q: 0 | 1): V128 => {
      const once = product(t, x, y, size, q, 's');
      const near = round
        ? apply(t, 'add', wider(size), once, splat(t, wider(size), b.i64(1n << BigInt(places - 1))))
        : once;
      return apply(t, 'shr_s', wider(size), near, b.i32(places));
    };
    if (size === 1) return b.i16x8_narrow_i32x4_s(half(0), half(1));
    // What does not fit is the lowest number here, and becomes the highest.
    return b.v128_xor(lanesOf(t, half(0), half(1), 2, [0, 2, 4, 6]), over);
  };
/** Shifts by a register's lanes, which mostly are all the same. */
export const shifted =
  (sign: 's' | 'u'): Binary =>
  (t, x, y, size) =>
    t.b.call(shifts[sign][size], x, y)[0];
export const swapped =
  (operation: Binary): Binary =>
  (t, x, y, size) =>
    operation(t, y, x, size);
/** WebAssembly compares unsigned lanes up to 32 bits. */
export const unsignedOr =
  (name: string, routine: LaneRoutine): Binary =>
  (t, x, y, size) =>
    size === 3 ? byLanes(routine)(t, x, y, size) : apply(t, name, size, x, y);
export const distance =
  (sign: 's' | 'u'): Binary =>
  (t, x, y, size) =>
    apply(t, 'sub', size, apply(t, `max_${sign}`, size, x, y), apply(t, `min_${sign}`, size, x, y));

export const withZero =
  (operation: Binary): Unary =>
  (t, x, size) =>
    operation(t, x, zero(t), size);
/** Lanes of `size` in reverse order within pieces of `bytes`. */
export const reversed =
  (bytes: number): Unary =>
  (t, x, size) => {
    const count = bytes >> size;
    const numbers = Array.from({ length: laneCount(size, 1) }, (_, n) => n - (n % count) + (count - 1 - (n % count)));
    return lanesOf(t, x, x, size, numbers);
  };
export const reversedBits: Unary = ({ b }, value) => {
  let x = value;
  for (const [places, pattern] of [
    [1, 0x55555555],
    [2, 0x33333333],
    [4, 0x0f0f0f0f],
  ] as const) {
    const mask = b.v128(pattern, pattern, pattern, pattern);
    const down = b.v128_and(b.i8x16_shr_u(x, b.i32(places)), mask);
    x = b.v128_or(down, b.i8x16_shl(b.v128_and(x, mask), b.i32(places)));
  }
  return x;
};

/** Lanes of even or odd number of two vectors, one after the other: which of both they are. */
export function pairNumbers(size: Size, q: number, odd: 0 | 1): number[] {
  const [count, whole] = [laneCount(size, q), laneCount(size, 1)];
  return Array.from({ length: whole }, (_, n) => {
    const at = (2 * n + odd) % (2 * count);
    return at < count ? at : whole + at - count;
  });
}
/** ZIP, UZP, TRN: which lanes of two vectors, those of the second one numbered from `count` on. */
const permutations = {
  uzp: (n: number) => 2 * n,
  trn: (n: number, count: number) => (n & 1 ? count + n - 1 : n),
  zip: (n: number, count: number) => (n & 1 ? count : 0) + (n >> 1),
} as const;
export type Permutation = keyof typeof permutations;
export function permutationNumbers(name: Permutation, part: 0 | 1, size: Size, q: number): number[] {
  const [count, whole] = [laneCount(size, q), laneCount(size, 1)];
  const offset = part === 0 ? 0 : name === 'zip' ? count >> 1 : 1;
  return Array.from({ length: whole }, (_, n) => {
    const from = permutations[name](n % count, count) + offset;
    return from < count ? from : whole + (from % count);
  });
}
/** EXT: bytes of two vectors from a place on. */
export function extractedBytes(q: number, from: number): number[] {
  const count = q ? 16 : 8;
  return Array.from({ length: 16 }, (_, n) => {
    const at = (n % count) + from;
    return at < count ? at : 16 + (at % count);
  });
}
/** Bytes of a table of one or more vectors by their numbers; those beyond it are 0. */
export function lookedUp({ b }: VectorTranslator, table: readonly V128[], index: V128): V128 {
  return table
    .map((x, n) => b.i8x16_swizzle(x, n === 0 ? index : b.i8x16_sub(index, b.i8x16_splat(b.i32(16 * n)))))
    .reduce((all, one) => b.v128_or(all, one));
}

// --- lanes of two sizes

export type Sign = 's' | 'u';
export const shapeName = (size: Size): string => ['i8x16', 'i16x8', 'i32x4'][size];
export const wider = (size: Size): Size => (size + 1) as Size;

/** Half of a vector (the upper one with Q) with lanes twice as wide. */
export const widened = (t: VectorTranslator, x: V128, size: Size, q: number, sign: Sign): V128 =>
  apply(t, `extend_${q ? 'high' : 'low'}_${shapeName(size)}_${sign}`, wider(size), x);
export const product = (t: VectorTranslator, x: V128, y: V128, size: Size, q: number, sign: Sign): V128 =>
  apply(t, `extmul_${q ? 'high' : 'low'}_${shapeName(size)}_${sign}`, wider(size), x, y);
/** Sums of neighbours, in lanes twice as wide. */
export const addPairs = (sign: 's' | 'u', x: V128, t: VectorTranslator, size: Size): V128 => {
  const { b } = t;
  if (size === 0) return sign === 's' ? b.i16x8_extadd_pairwise_i8x16_s(x) : b.i16x8_extadd_pairwise_i8x16_u(x);
  if (size === 1) return sign === 's' ? b.i32x4_extadd_pairwise_i16x8_s(x) : b.i32x4_extadd_pairwise_i16x8_u(x);
  const even = lanesOf(t, x, x, 2, [0, 2, 0, 2]);
  const odd = lanesOf(t, x, x, 2, [1, 3, 1, 3]);
  const extend = sign === 's' ? b.i64x2_extend_low_i32x4_s : b.i64x2_extend_low_i32x4_u;
  return b.i64x2_add(extend.call(b, even), extend.call(b, odd));
};
/** Twice the product, saturated; added to the destination, or subtracted from it, which saturates too. */
export const doubled = (t: VectorTranslator, x: V128, y: V128, size: Size, q: number): V128 => {
  const once = product(t, x, y, size, q === 1 ? 1 : 0, 's');
  return saturating('add', 's')(t, once, once, wider(size));
};
/** Four neighbours' products, summed to one lane of 32 bits. `other`: the sign of y, if it is not that of x. */
export function dotProduct(t: VectorTranslator, x: V128, y: V128, sign: Sign, other: Sign = sign): V128 {
  const pairs = (half: string): V128 => {
    const extended = (value: V128, s: Sign) => apply(t, `extend_${half}_i8x16_${s}`, 1, value);
    // A product of bytes of two kinds fits in 16 bits with a sign.
    const products =
      sign === other
        ? apply(t, `extmul_${half}_i8x16_${sign}`, 1, x, y)
        : apply(t, 'mul', 1, extended(x, sign), extended(y, other));
    return apply(t, `extadd_pairwise_i16x8_${sign === other ? sign : 's'}`, 2, products);
  };
  const [low, high] = [pairs('low'), pairs('high')];
  return apply(t, 'add', 2, lanesOf(t, low, high, 2, [0, 2, 4, 6]), lanesOf(t, low, high, 2, [1, 3, 5, 7]));
}
/** The lower or the upper half (`odd`) of each lane, which has twice the size: in both halves of the vector. */
export function narrow(t: VectorTranslator, x: V128, size: Size, odd: 0 | 1 = 0): V128 {
  const taken = Array.from({ length: laneCount(size, 0) }, (_, n) => 2 * n + odd);
  return lanesOf(t, x, x, size, [...taken, ...taken]);
}
/** The upper halves, after rounding if `round`. */
export function highHalves(t: VectorTranslator, x: V128, size: Size, round: boolean): V128 {
  const wide = wider(size);
  const half = t.b.i64(1n << BigInt((8 << size) - 1));
  return narrow(t, round ? apply(t, 'add', wide, x, splat(t, wide, half)) : x, size, 1);
}
export type Narrowing = 'sqxtn' | 'uqxtn' | 'sqxtun';
/** Lanes of half the width, saturated, in both halves of the vector. WebAssembly knows no lanes of 64 bits here. */
export function narrowSaturated(t: VectorTranslator, x: V128, size: Size, kind: Narrowing): V128 {
  if (size === 2) return narrow(t, unaryByLanes(lanes[kind])(t, x, 3), size);
  const wide = wider(size);
  const sign = kind === 'sqxtn' ? 's' : 'u';
  // The operand of the unsigned form is signed.
  const bound = t.b.i64((1 << (8 << size)) - 1);
  const most = kind === 'uqxtn' ? apply(t, 'min_u', wide, x, splat(t, wide, bound)) : x;
  const value = apply(t, `narrow_${shapeName(wide)}_${sign}`, size, most, most);
  noteSaturation(t, t.b.v128_any_true(t.b.v128_xor(widened(t, value, size, 0, sign), x)));
  return value;
}

// --- immediates

/** AdvSIMDExpandImm (J1): 64 bits of a byte by cmode and op, but for those of FMOV. */
export function expand(byte: number, cmode: number, op: number): bigint {
  const value = BigInt(byte);
  const twice = (word: bigint) => word | (word << 32n);
  if (cmode < 8) return twice(value << BigInt(8 * (cmode >> 1)));
  if (cmode < 12) {
    const half = value << BigInt(8 * ((cmode >> 1) & 1));
    return twice(half | (half << 16n));
  }
  if (cmode === 12) return twice((value << 8n) | 0xffn);
  if (cmode === 13) return twice((value << 16n) | 0xffffn);
  if (!op) return value * 0x0101010101010101n;
  let wide = 0n;
  for (let n = 0; n < 8; n++) if (byte & (1 << n)) wide |= 0xffn << BigInt(8 * n);
  return wide;
}

// --- shifts by a constant: immh:immb tells the size and the count

export const shiftSize = (i: { readonly imm: number }): Size => (28 - Math.clz32(i.imm)) as Size;
export const rightBy = (i: { readonly imm: number }): number => (16 << shiftSize(i)) - i.imm;
export const leftBy = (i: { readonly imm: number }): number => i.imm - (8 << shiftSize(i));
/** A count of all the lane's bits leaves the sign, or nothing. */
export function right(t: VectorTranslator, x: V128, size: Size, by: number, sign: 's' | 'u'): V128 {
  const bits = 8 << size;
  if (by === bits && sign === 'u') return zero(t);
  return apply(t, `shr_${sign}`, size, x, t.b.i32(Math.min(by, bits - 1)));
}
export const left = (t: VectorTranslator, x: V128, size: Size, by: number): V128 =>
  apply(t, 'shl', size, x, t.b.i32(by));
/** The last bit that is shifted out rounds. */
export function rounded(t: VectorTranslator, x: V128, size: Size, by: number, sign: 's' | 'u'): V128 {
  const one = splat(t, size, t.b.i64(1));
  const most = by === 1 ? x : right(t, x, size, by - 1, sign);
  return apply(t, 'add', size, right(t, x, size, by, sign), t.b.v128_and(most, one));
}
export const add = native('add');
/** Lanes whose low or high bits (`count` of them) are one. */
export function ones(t: VectorTranslator, size: Size, count: number, high: boolean): V128 {
  const bits = 8 << size;
  const low = (1n << BigInt(count)) - 1n;
  const lane = high ? low << BigInt(bits - count) : low;
  let all = 0n;
  for (let at = 0; at < 64; at += bits) all |= lane << BigInt(at);
  return t.b.i64x2_splat(t.b.i64(all));
}
export const constantShift = (by: number, size: Size, t: VectorTranslator): V128 => splat(t, size, t.b.i64(by));
