/** DIV and IDIV of 128 bits by 64. Intel SDM vol. 2. */
import { header, type I32, type I64, type RoutineBuilder } from '../../../ir/index.js';
import { trapCode } from '../state.js';
import { routines } from './set.js';

const DE = 0;

function divideError(r: RoutineBuilder): void {
  r.i32_store(r.state(), r.i32(trapCode(DE)), header.trapCode);
  r.ret(r.i32(1), r.i64(0), r.i64(0));
}

/**
 * Quotient and remainder of high:low by `divisor`, where high < divisor: schoolbook division with two digits of 32 bits
 * (Knuth, TAOCP vol. 2, 4.3.1, algorithm D).
 */
const divideLong = routines.define(
  'divide_long',
  ['i64', 'i64', 'i64'],
  ['i64', 'i64'],
  { pure: true },
  (r, high, low, divisor) => {
    r.if(r.i64_eqz(high), () => r.ret(r.i64_div_u(low, divisor), r.i64_rem_u(low, divisor)));
    const shift = r.i64_clz(divisor);
    const by = r.i64_shl(divisor, shift);
    const byHigh = r.i64_shr_u(by, r.i64(32));
    const byLow = r.i64_low32(by);
    // shift 0 must not bring all of `low` in
    const carried = r.select(r.i64_eqz(shift), r.i64(0), r.i64_shr_u(low, r.i64_sub(r.i64(64), shift)));
    const top = r.i64_or(r.i64_shl(high, shift), carried);
    const rest = r.i64_shl(low, shift);

    /** One digit: of a three-digit number over the two-digit divisor. */
    const digit = (upper: I64, next: I64): I64 => {
      const guess = r.local('i64', r.i64_div_u(upper, byHigh));
      const left = r.local('i64', r.i64_rem_u(upper, byHigh));
      r.block((done) => {
        r.loop((again) => {
          const q = r.read(guess);
          const tooBig = r.i32_or(
            r.i64_ge_u(q, r.i64(0x100000000)),
            r.i64_gt_u(r.i64_mul(q, byLow), r.i64_or(r.i64_shl(r.read(left), r.i64(32)), next)),
          );
          r.brIf(done, r.i32_eqz(tooBig));
          r.assign(guess, r.i64_sub(q, r.i64(1)));
          r.assign(left, r.i64_add(r.read(left), byHigh));
          r.brIf(again, r.i64_lt_u(r.read(left), r.i64(0x100000000)));
        });
      });
      return r.read(guess);
    };
    const first = digit(top, r.i64_shr_u(rest, r.i64(32)));
    const middle = r.i64_sub(r.i64_or(r.i64_shl(top, r.i64(32)), r.i64_shr_u(rest, r.i64(32))), r.i64_mul(first, by));
    const second = digit(middle, r.i64_low32(rest));
    const quotient = r.i64_or(r.i64_shl(first, r.i64(32)), second);
    r.ret(quotient, r.i64_sub(low, r.i64_mul(quotient, divisor)));
  },
);

/** (high, low, divisor) → (fault, quotient, remainder). */
export const divideUnsigned128 = routines.define(
  'divide_unsigned_128',
  ['i64', 'i64', 'i64'],
  ['i32', 'i64', 'i64'],
  { mayFault: true },
  (r, high, low, divisor) => {
    // covers a divisor of 0
    r.if(r.i64_ge_u(high, divisor), () => divideError(r));
    const [quotient, remainder] = r.call(divideLong, high, low, divisor);
    r.ret(r.i32(0), quotient, remainder);
  },
);

export const divideSigned128 = routines.define(
  'divide_signed_128',
  ['i64', 'i64', 'i64'],
  ['i32', 'i64', 'i64'],
  { mayFault: true },
  (r, high, low, divisor) => {
    const zero = r.i64(0);
    const negative = (value: I64): I32 => r.i64_lt_s(value, zero);
    const minus = negative(high);
    const by = r.select(negative(divisor), r.i64_sub(zero, divisor), divisor);
    const magnitudeLow = r.select(minus, r.i64_sub(zero, low), low);
    const borrow = r.i64_extend_i32_u(r.i64_ne(low, zero));
    const magnitudeHigh = r.select(minus, r.i64_sub(r.i64_sub(zero, high), borrow), high);
    r.if(r.i64_ge_u(magnitudeHigh, by), () => divideError(r));
    const [quotient, remainder] = r.call(divideLong, magnitudeHigh, magnitudeLow, by);
    const differ = r.i32_xor(minus, negative(divisor));
    // The quotient's magnitude may be 2^63 only where it is negative.
    const limit = r.select(differ, r.i64pair(0, -0x80000000), r.i64pair(-1, 0x7fffffff));
    r.if(r.i64_gt_u(quotient, limit), () => divideError(r));
    r.ret(
      r.i32(0),
      r.select(differ, r.i64_sub(zero, quotient), quotient),
      r.select(minus, r.i64_sub(zero, remainder), remainder),
    );
  },
);
