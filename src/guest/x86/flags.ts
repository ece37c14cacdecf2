/**
 * Lazy status flags: the kinds of operation that ccOp names, and the routines that compute the flags from ccOp, ccDst, ccSrc,
 * ccSrc2 and ccExtra. Intel SDM vol. 1 section 3.4.3.1 and each instruction's page. The variables' bits above the operation's
 * size may be anything.
 *
 * ccOp = kind * 4 + log2(bytes), plus OVERLAY when CF and OF come from ccExtra.
 */
import type { I32, I64, RoutineBuilder } from '../../ir/index.js';
import { routines } from './routines/set.js';

export const statusFlag = { CF: 1, PF: 4, AF: 0x10, ZF: 0x40, SF: 0x80, OF: 0x800 } as const;
export const STATUS_FLAGS = 0x8d5;

/** Operations. dst, src, src2: ccDst, ccSrc, ccSrc2. */
export const flagKind = {
  /** src is the six flags. */
  eflags: 0,
  /** dst = a + src. */
  add: 1,
  /** dst = a + src + src2, src2 the carry in (0 or 1). */
  adc: 2,
  /** dst - src. */
  sub: 3,
  /** dst - src - src2, src2 the borrow in. */
  sbb: 4,
  /** dst is the result; CF, OF and AF are 0. */
  logic: 5,
  /** dst is the result, src CF. */
  inc: 6,
  dec: 7,
  /** dst is the result, the top bit of src what was shifted out last; OF is the change of sign. AF is 0. */
  shl: 8,
  /** dst is the result, bit 0 of src what was shifted out last. */
  shr: 9,
  /** dst is the low half of the product; CF and OF are src != 0. */
  mul: 10,
  /** dst is the result, src CF; OF and AF are 0. */
  result: 11,
  /** As shl and shr, but where src2 is not 0 the flags are its low bits (the count was 0). */
  shlCount: 12,
  shrCount: 13,
} as const;

export const OVERLAY = 64;
/** Set in ccSrc2 of shlCount and shrCount beside the flags that stay. */
export const KEPT_FLAGS = 0x10000;

/** Runs `cases[value - first]` for a value in range. */
function dispatch(r: RoutineBuilder, value: I32, first: number, cases: readonly (() => void)[]): void {
  if (cases.length === 1) {
    cases[0]();
    return;
  }
  const half = cases.length >> 1;
  r.if(
    r.i32_lt_u(value, r.i32(first + half)),
    () => dispatch(r, value, first, cases.slice(0, half)),
    () => dispatch(r, value, first + half, cases.slice(half)),
  );
}

/** The flags of an operation without overlay. */
const plainFlags = routines.define(
  'plain_flags',
  ['i32', 'i64', 'i64', 'i64'],
  ['i32'],
  { pure: true },
  (r, op, dst, src, src2) => {
    const shift = r.i64_extend_i32_u(r.i32_sub(r.i32(64), r.i32_shl(r.i32(8), r.i32_and(op, r.i32(3)))));
    const kind = r.i32_shr_u(op, r.i32(2));
    const result = r.local('i64', dst);
    const carry = r.local('i32', r.i32(0));
    const overflow = r.local('i32', r.i32(0));
    const adjust = r.local('i32', r.i32(0));
    const top = (value: I64): I32 => r.i32_wrap_i64(r.i64_shr_u(r.i64_shl(value, shift), r.i64(63)));
    const not = (value: I64): I64 => r.i64_xor(value, r.i64(-1));
    const low = (value: I64, mask: number): I32 => r.i32_and(r.i32_wrap_i64(value), r.i32(mask));
    const added = (carryIn: I64) => {
      const a = r.i64_sub(r.i64_sub(dst, src), carryIn);
      r.assign(carry, top(r.i64_or(r.i64_and(a, src), r.i64_and(r.i64_or(a, src), not(dst)))));
      r.assign(overflow, top(r.i64_and(r.i64_xor(a, dst), r.i64_xor(src, dst))));
      r.assign(adjust, low(r.i64_xor(r.i64_xor(a, src), dst), 0x10));
    };
    const subtracted = (carryIn: I64) => {
      const difference = r.i64_sub(r.i64_sub(dst, src), carryIn);
      r.assign(result, difference);
      r.assign(carry, top(r.i64_or(r.i64_and(not(dst), src), r.i64_and(r.i64_or(not(dst), src), difference))));
      r.assign(overflow, top(r.i64_and(r.i64_xor(dst, src), r.i64_xor(dst, difference))));
      r.assign(adjust, low(r.i64_xor(r.i64_xor(dst, src), difference), 0x10));
    };
    const shiftedLeft = () => {
      r.assign(carry, top(src));
      r.assign(overflow, top(r.i64_xor(src, dst)));
    };
    const shiftedRight = () => {
      r.assign(carry, low(src, 1));
      r.assign(overflow, top(r.i64_xor(src, dst)));
    };
    const unlessKept = (shifted: () => void) => () => {
      r.if(r.i32_wrap_i64(src2), () => r.ret(low(src2, STATUS_FLAGS)));
      shifted();
    };
    dispatch(r, kind, 0, [
      () => r.ret(low(src, STATUS_FLAGS)),
      () => added(r.i64(0)),
      () => added(src2),
      () => subtracted(r.i64(0)),
      () => subtracted(src2),
      () => {},
      () => {
        r.assign(carry, low(src, 1));
        r.assign(overflow, r.i64_eq(r.i64_shl(dst, shift), r.i64pair(0, -0x80000000)));
        r.assign(adjust, r.i32_shl(r.i32_eqz(low(dst, 15)), r.i32(4)));
      },
      () => {
        r.assign(carry, low(src, 1));
        r.assign(overflow, r.i64_eq(r.i64_shl(r.i64_add(dst, r.i64(1)), shift), r.i64pair(0, -0x80000000)));
        r.assign(adjust, r.i32_shl(r.i32_eq(low(dst, 15), r.i32(15)), r.i32(4)));
      },
      shiftedLeft,
      shiftedRight,
      () => {
        r.assign(carry, r.i64_ne(src, r.i64(0)));
        r.assign(overflow, r.i64_ne(src, r.i64(0)));
      },
      () => r.assign(carry, low(src, 1)),
      unlessKept(shiftedLeft),
      unlessKept(shiftedRight),
    ]);
    const value = r.read(result);
    const zero = r.i64_eqz(r.i64_shl(value, shift));
    const even = r.i32_xor(r.i32_and(r.i32_popcnt(low(value, 0xff)), r.i32(1)), r.i32(1));
    const parts = [
      r.read(carry),
      r.i32_shl(even, r.i32(2)),
      r.read(adjust),
      r.i32_shl(zero, r.i32(6)),
      r.i32_shl(top(value), r.i32(7)),
      r.i32_shl(r.read(overflow), r.i32(11)),
    ];
    r.ret(parts.reduce((x, y) => r.i32_or(x, y)));
  },
);

/** CF and OF of ccExtra as bits of EFLAGS. */
function extraBits(r: RoutineBuilder, extra: I64): I32 {
  const low = r.i32_wrap_i64(extra);
  const carry = r.i32_and(r.i32_shr_u(low, r.i32(1)), r.i32(1));
  const overflow = r.i32_and(r.i32_xor(carry, low), r.i32(1));
  return r.i32_or(carry, r.i32_shl(overflow, r.i32(11)));
}

/** The six status flags as bits of EFLAGS from the five variables' values. */
export const computeFlags = routines.define(
  'compute_flags',
  ['i32', 'i64', 'i64', 'i64', 'i64'],
  ['i32'],
  { pure: true },
  (r, op, dst, src, src2, extra) => {
    const [plain] = r.call(plainFlags, r.i32_and(op, r.i32(OVERLAY - 1)), dst, src, src2);
    r.if(r.i32_lt_u(op, r.i32(OVERLAY)), () => r.ret(plain));
    r.ret(r.i32_or(r.i32_and(plain, r.i32(~(statusFlag.CF | statusFlag.OF))), extraBits(r, extra)));
  },
);

/** CF alone, 0 or 1. */
export const computeCarry = routines.define(
  'compute_carry',
  ['i32', 'i64', 'i64', 'i64', 'i64'],
  ['i32'],
  { pure: true },
  (r, op, dst, src, src2, extra) => {
    const kind = r.i32_shr_u(op, r.i32(2));
    r.if(r.i32_ge_u(op, r.i32(OVERLAY)), () =>
      r.ret(r.i32_and(r.i32_shr_u(r.i32_wrap_i64(extra), r.i32(1)), r.i32(1))),
    );
    const given =
      (1 << flagKind.eflags) | (1 << flagKind.inc) | (1 << flagKind.dec) | (1 << flagKind.result) | (1 << flagKind.shr);
    r.if(r.i32_and(r.i32_shr_u(r.i32(given), kind), r.i32(1)), () => r.ret(r.i32_and(r.i32_wrap_i64(src), r.i32(1))));
    r.if(r.i32_eq(kind, r.i32(flagKind.logic)), () => r.ret(r.i32(0)));
    r.if(r.i32_eq(kind, r.i32(flagKind.sub)), () => {
      const shift = r.i64_extend_i32_u(r.i32_sub(r.i32(64), r.i32_shl(r.i32(8), r.i32_and(op, r.i32(3)))));
      r.ret(r.i64_lt_u(r.i64_shl(dst, shift), r.i64_shl(src, shift)));
    });
    const [plain] = r.call(plainFlags, op, dst, src, src2);
    r.ret(r.i32_and(plain, r.i32(1)));
  },
);

/** For shifts by a count in a register: the flags that stay (with KEPT_FLAGS) where the count is 0, else 0. */
export const keptFlags = routines.define(
  'kept_flags',
  ['i64', 'i32', 'i64', 'i64', 'i64', 'i64'],
  ['i64'],
  { pure: true },
  (r, count, op, dst, src, src2, extra) => {
    r.if(r.i32_eqz(r.i64_eqz(count)), () => r.ret(r.i64(0)));
    const [flags] = r.call(computeFlags, op, dst, src, src2, extra);
    r.ret(r.i64_extend_i32_u(r.i32_or(flags, r.i32(KEPT_FLAGS))));
  },
);
