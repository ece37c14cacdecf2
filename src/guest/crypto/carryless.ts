/**
 * Carry-less multiplication of two 64-bit polynomials over GF(2), as pieces of IR.
 *
 * A product of 32 by 32 bits comes from ordinary multiplications of numbers that have every fourth bit only: at most eight
 * ones meet in a column, so that carries stay within the three bits between. Three of them make 64 by 64 (Karatsuba).
 */
import type { I64, RoutineBuilder } from '../../ir/index.js';

/** Every fourth bit from bit n on. */
function everyFourth(r: RoutineBuilder, n: number): I64 {
  return r.i64pair(0x11111111 << n, 0x11111111 << n);
}

/** 32 by 32 bits: the operands' upper halves are zero. */
function product32(r: RoutineBuilder, x: I64, y: I64): I64 {
  const masks = [0, 1, 2, 3].map((n) => everyFourth(r, n));
  const xs = masks.map((mask) => r.i64_and(x, mask));
  const ys = masks.map((mask) => r.i64_and(y, mask));
  let result: I64 | undefined;
  for (let column = 0; column < 4; column++) {
    // the terms whose bits fall on the columns of this residue; the carries beside them are masked off
    let sum: I64 | undefined;
    for (let i = 0; i < 4; i++) {
      const term = r.i64_mul(xs[i], ys[(column - i) & 3]);
      sum = sum === undefined ? term : r.i64_xor(sum, term);
    }
    const kept = r.i64_and(sum as I64, masks[column]);
    result = result === undefined ? kept : r.i64_or(result, kept);
  }
  return result as I64;
}

/** Low and high half of the product. */
export function carrylessHalves(r: RoutineBuilder, x: I64, y: I64): readonly [I64, I64] {
  const half = r.i64(32);
  const lowMask = r.i64pair(-1, 0);
  const [xLow, yLow] = [r.i64_and(x, lowMask), r.i64_and(y, lowMask)];
  const [xHigh, yHigh] = [r.i64_shr_u(x, half), r.i64_shr_u(y, half)];
  const low = product32(r, xLow, yLow);
  const high = product32(r, xHigh, yHigh);
  const both = product32(r, r.i64_xor(xLow, xHigh), r.i64_xor(yLow, yHigh));
  const middle = r.i64_xor(both, r.i64_xor(low, high));
  return [r.i64_xor(low, r.i64_shl(middle, half)), r.i64_xor(high, r.i64_shr_u(middle, half))];
}
