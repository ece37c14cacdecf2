/**
 * Vector operations that WebAssembly has no instruction for, lane by lane: each takes three vectors (the last one where it
 * accumulates) and the lanes' bits, 8 to 64. Saturation sets FPSR.QC.
 */
import type { I32, I64, RoutineBuilder } from '../../../ir/index.js';
import { field } from '../state.js';
import { routines } from './set.js';

const QC = 1 << 27;
interface Lane {
  readonly r: RoutineBuilder;
  readonly x: I64;
  readonly y: I64;
  readonly z: I64;
  readonly bits: I64;
}
/** Operands are extended to 64 bits as `signed` says; of the result the low bits count. */
function define(name: string, signed: boolean, operation: (lane: Lane) => I64) {
  return routines.define(`lanes_${name}`, ['v128', 'v128', 'v128', 'i32'], ['v128'], {}, (r, a, b, c, width) => {
    const bits = r.i64_extend_i32_u(width);
    const unused = r.i64_sub(r.i64(64), bits);
    const mask = r.i64_shr_u(r.i64(-1), unused);
    const half = (n: 0 | 1): I64 => {
      const at = r.local('i64', r.i64(0));
      const out = r.local('i64', r.i64(0));
      const halves = [a, b, c].map((vector) => r.i64x2_extract_lane(vector, n));
      r.loop((again) => {
        const up = r.i64_sub(unused, r.read(at));
        const shift = signed ? r.i64_shr_s : r.i64_shr_u;
        const [x, y, z] = halves.map((all) => shift.call(r, r.i64_shl(all, up), unused));
        const value = r.i64_and(operation({ r, x, y, z, bits }), mask);
        r.assign(out, r.i64_or(r.read(out), r.i64_shl(value, r.read(at))));
        r.assign(at, r.i64_add(r.read(at), bits));
        r.brIf(again, r.i64_lt_u(r.read(at), r.i64(64)));
      });
      return r.read(out);
    };
    const low = half(0);
    r.ret(r.i64x2_replace_lane(r.i64x2_splat(low), half(1), 1));
  });
}

const lowest = ({ r, bits }: Lane): I64 => r.i64_shl(r.i64(-1), r.i64_sub(bits, r.i64(1)));
const highest = (lane: Lane): I64 => lane.r.i64_xor(lowest(lane), lane.r.i64(-1));
const highestUnsigned = ({ r, bits }: Lane): I64 => r.i64_shr_u(r.i64(-1), r.i64_sub(r.i64(64), bits));
const isNegative = (r: RoutineBuilder, value: I64): I32 => r.i64_lt_s(value, r.i64(0));

/** `instead` where the result is out of bounds, which is noted. */
function saturate({ r }: Lane, over: I32, instead: I64, value: I64): I64 {
  const s = r.state();
  r.i32_store(s, r.i32_or(r.i32_load(s, field.fpsr), r.i32_shl(over, r.i32(Math.log2(QC)))), field.fpsr);
  return r.select(over, instead, value);
}
/** The bound on a number's side. */
const boundOf = (lane: Lane, value: I64): I64 => lane.r.select(isNegative(lane.r, value), lowest(lane), highest(lane));
const outOfBounds = (lane: Lane, value: I64): I32 =>
  lane.r.i32_or(lane.r.i64_gt_s(value, highest(lane)), lane.r.i64_lt_s(value, lowest(lane)));

function unsignedSum(lane: Lane): I64 {
  const { r, x, y } = lane;
  const sum = r.i64_add(x, y);
  const bound = highestUnsigned(lane);
  return saturate(lane, r.i32_or(r.i64_lt_u(sum, x), r.i64_gt_u(sum, bound)), bound, sum);
}

/** By the low byte of y, to the right where that is negative. */
function shift(lane: Lane, signed: boolean, round: boolean, saturates: boolean): I64 {
  const { r, x, y, bits } = lane;
  const by = r.i64_extend8_s(y);
  const right = r.i64_sub(r.i64(0), by);
  const move = signed ? r.i64_shr_s : r.i64_shr_u;
  const isFar = r.i64_ge_s(by, bits);
  const moved = r.i64_shl(x, by);
  let left: I64 = r.select(isFar, r.i64(0), moved);
  if (saturates) {
    const back = move.call(r, moved, by);
    const changed = r.i64_ne(back, x);
    const bound = signed ? boundOf(lane, x) : highestUnsigned(lane);
    const outside = signed ? outOfBounds(lane, moved) : r.i64_gt_u(moved, bound);
    const over = r.select(isFar, r.i64_ne(x, r.i64(0)), r.i32_or(changed, outside));
    left = saturate(lane, r.i32_and(over, r.i64_ge_s(by, r.i64(0))), bound, left);
  }
  const small = r.select(r.i64_gt_s(right, r.i64(64)), r.i64(64), right);
  // All but one place, then the last one.
  const most = move.call(r, x, r.i64_sub(small, r.i64(1)));
  const last = move.call(r, most, r.i64(1));
  const near = round ? r.i64_add(last, r.i64_and(most, r.i64(1))) : last;
  const beyond = round || !signed ? r.i64_gt_s(right, r.i64(64)) : r.i32(0);
  const down = r.select(beyond, r.i64(0), near);
  return r.select(r.i64_lt_s(by, r.i64(0)), down, left);
}

/** All is half of what it should be, so that it fits in 64 bits. */
function doublingHighSum(lane: Lane, subtract: boolean): I64 {
  const { r, x, y, z, bits } = lane;
  const places = r.i64_sub(bits, r.i64(1));
  const product = r.i64_mul(x, y);
  const start = r.i64_shl(z, places);
  const sum = subtract ? r.i64_sub(start, product) : r.i64_add(start, product);
  const rounding = r.i64_shl(r.i64(1), r.i64_sub(bits, r.i64(2)));
  const result = r.i64_shr_s(r.i64_add(sum, rounding), places);
  return saturate(lane, outOfBounds(lane, result), boundOf(lane, result), result);
}

/** All ones in half of a lane's bits. */
const lowerHalf = ({ r, bits }: Lane): I64 => r.i64_sub(r.i64_shl(r.i64(1), r.i64_shr_u(bits, r.i64(1))), r.i64(1));

export const lanes = {
  uqadd: define('uqadd', false, unsignedSum),
  uqsub: define('uqsub', false, (lane) => {
    const { r, x, y } = lane;
    return saturate(lane, r.i64_lt_u(x, y), r.i64(0), r.i64_sub(x, y));
  }),
  sshl: define('sshl', true, (lane) => shift(lane, true, false, false)),
  ushl: define('ushl', false, (lane) => shift(lane, false, false, false)),
  srshl: define('srshl', true, (lane) => shift(lane, true, true, false)),
  urshl: define('urshl', false, (lane) => shift(lane, false, true, false)),
  sqshl: define('sqshl', true, (lane) => shift(lane, true, false, true)),
  uqshl: define('uqshl', false, (lane) => shift(lane, false, false, true)),
  sqrshl: define('sqrshl', true, (lane) => shift(lane, true, true, true)),
  uqrshl: define('uqrshl', false, (lane) => shift(lane, false, true, true)),
  // By a constant, to unsigned.
  sqshlu: define('sqshlu', true, (lane) => {
    const { r, x, y } = lane;
    const bound = highestUnsigned(lane);
    const moved = r.i64_shl(x, y);
    const negative = isNegative(r, x);
    const over = r.i32_or(r.i64_ne(r.i64_shr_u(moved, y), x), r.i64_gt_u(moved, bound));
    return saturate(lane, r.i32_or(negative, over), r.select(negative, r.i64(0), bound), moved);
  }),
  // x signed and y unsigned, and the other way round.
  suqadd: define('suqadd', true, (lane) => {
    const { r, x } = lane;
    const y = r.i64_and(lane.y, highestUnsigned(lane));
    const over = r.i64_gt_u(y, r.i64_sub(highest(lane), x));
    return saturate(lane, over, highest(lane), r.i64_add(x, y));
  }),
  usqadd: define('usqadd', false, (lane) => {
    const { r, x, bits } = lane;
    const unused = r.i64_sub(r.i64(64), bits);
    const y = r.i64_shr_s(r.i64_shl(lane.y, unused), unused);
    const negative = isNegative(r, y);
    const bound = highestUnsigned(lane);
    const under = r.i64_lt_u(x, r.i64_sub(r.i64(0), y));
    const over = r.i64_gt_u(y, r.i64_sub(bound, x));
    return saturate(lane, r.select(negative, under, over), r.select(negative, r.i64(0), bound), r.i64_add(x, y));
  }),
  // x * y doubled, its upper half added to z.
  sqrdmlah: define('sqrdmlah', true, (lane) => doublingHighSum(lane, false)),
  sqrdmlsh: define('sqrdmlsh', true, (lane) => doublingHighSum(lane, true)),
  // Of polynomials with 8 coefficients, in lanes of any width.
  pmul: define('pmul', false, ({ r, x, y }) => {
    let product = r.i64(0);
    for (let n = 0; n < 8; n++) {
      const has = r.i64_sub(r.i64(0), r.i64_and(r.i64_shr_u(x, r.i64(n)), r.i64(1)));
      product = r.i64_xor(product, r.i64_and(r.i64_shl(y, r.i64(n)), has));
    }
    return product;
  }),
  cmhi: define('cmhi', false, ({ r, x, y }) => r.i64_extend_i32_s(r.i32_sub(r.i32(0), r.i64_gt_u(x, y)))),
  cmhs: define('cmhs', false, ({ r, x, y }) => r.i64_extend_i32_s(r.i32_sub(r.i32(0), r.i64_ge_u(x, y)))),
  clz: define('clz', false, ({ r, x, bits }) => r.i64_sub(r.i64_clz(x), r.i64_sub(r.i64(64), bits))),
  cls: define('cls', true, ({ r, x, bits }) =>
    r.i64_sub(r.i64_clz(r.i64_xor(x, r.i64_shr_s(x, r.i64(63)))), r.i64_sub(r.i64(65), bits)),
  ),
  // Of lanes twice as wide as the result, which is their lower half.
  sqxtn: define('sqxtn', true, (lane) => {
    const { r, x, bits } = lane;
    const low = r.i64_shl(r.i64(-1), r.i64_sub(r.i64_shr_u(bits, r.i64(1)), r.i64(1)));
    const high = r.i64_xor(low, r.i64(-1));
    const over = r.i32_or(r.i64_gt_s(x, high), r.i64_lt_s(x, low));
    return saturate(lane, over, r.select(isNegative(r, x), low, high), x);
  }),
  uqxtn: define('uqxtn', false, (lane) => {
    const high = lowerHalf(lane);
    return saturate(lane, lane.r.i64_gt_u(lane.x, high), high, lane.x);
  }),
  sqxtun: define('sqxtun', true, (lane) => {
    const { r, x } = lane;
    const high = lowerHalf(lane);
    const negative = isNegative(r, x);
    return saturate(lane, r.i32_or(negative, r.i64_gt_s(x, high)), r.select(negative, r.i64(0), high), x);
  }),
  sqabs: define('sqabs', true, (lane) => {
    const { r, x } = lane;
    const magnitude = r.select(isNegative(r, x), r.i64_sub(r.i64(0), x), x);
    return saturate(lane, r.i64_eq(x, lowest(lane)), highest(lane), magnitude);
  }),
  sqneg: define('sqneg', true, (lane) => {
    const { r, x } = lane;
    return saturate(lane, r.i64_eq(x, lowest(lane)), highest(lane), r.i64_sub(r.i64(0), x));
  }),
} as const;
export type LaneRoutine = (typeof lanes)[keyof typeof lanes];

/** SSHL and USHL: at once where all lanes are shifted alike. */
function defineShift(sign: 's' | 'u', shape: 'i8x16' | 'i16x8' | 'i32x4' | 'i64x2', bits: number) {
  return routines.define(`${shape}_shift_${sign}`, ['v128', 'v128'], ['v128'], { pure: true }, (r, x, y) => {
    const first = r.i64x2_extract_lane(y, 0);
    const low = r.i64_and(first, r.i64(0xff));
    const count = shape === 'i64x2' ? r.i64x2_splat(low) : r[`${shape}_splat`](r.i32_wrap_i64(low));
    const byte = shape === 'i64x2' ? r.i64x2_splat(r.i64(0xff)) : r[`${shape}_splat`](r.i32(0xff));
    r.if(r[`${shape}_all_true`](r[`${shape}_eq`](r.v128_and(y, byte), count)), () => {
      const by = r.i32_wrap_i64(r.i64_extend8_s(first));
      const right = r.i32_sub(r.i32(0), by);
      r.if(r.i32_ge_s(by, r.i32(0)), () => {
        r.if(r.i32_ge_s(by, r.i32(bits)), () => r.ret(r.v128(0, 0, 0, 0)));
        r.ret(r[`${shape}_shl`](x, by));
      });
      if (sign === 'u') {
        r.if(r.i32_ge_s(right, r.i32(bits)), () => r.ret(r.v128(0, 0, 0, 0)));
        r.ret(r[`${shape}_shr_u`](x, right));
      } else {
        const most = r.i32(bits - 1);
        r.ret(r[`${shape}_shr_s`](x, r.select(r.i32_gt_s(right, most), most, right)));
      }
    });
    r.ret(r.call(lanes[sign === 's' ? 'sshl' : 'ushl'], x, y, r.v128(0, 0, 0, 0), r.i32(bits))[0]);
  });
}
const defineShifts = (sign: 's' | 'u') =>
  [
    defineShift(sign, 'i8x16', 8),
    defineShift(sign, 'i16x8', 16),
    defineShift(sign, 'i32x4', 32),
    defineShift(sign, 'i64x2', 64),
  ] as const;
/** By the size of lanes. */
export const shifts = { s: defineShifts('s'), u: defineShifts('u') } as const;
