/** Zbc's product of polynomials over GF(2) (unprivileged specification 29.4.3), 128 bits of it. */
import { routines } from './set.js';

/** (x, y) → (low, high) half of the carry-less product. */
export const carrylessMultiply = routines.define(
  'carryless_multiply',
  ['i64', 'i64'],
  ['i64', 'i64'],
  { pure: true },
  (r, x, y) => {
    const low = r.local('i64', r.i64(0));
    const high = r.local('i64', r.i64(0));
    const bits = r.local('i64', y);
    const place = r.local('i64', r.i64(0));
    r.loop((again) => {
      // All ones where the bit of y is set.
      const mask = r.i64_sub(r.i64(0), r.i64_and(r.read(bits), r.i64(1)));
      const left = r.i64_shl(x, r.read(place));
      // What is shifted out on the left; nothing at place 0.
      const out = r.i64_shr_u(r.i64_shr_u(x, r.i64(1)), r.i64_sub(r.i64(63), r.read(place)));
      const nextLow = r.i64_xor(r.read(low), r.i64_and(left, mask));
      const nextHigh = r.i64_xor(r.read(high), r.i64_and(out, mask));
      r.assign(low, nextLow);
      r.assign(high, nextHigh);
      r.assign(bits, r.i64_shr_u(r.read(bits), r.i64(1)));
      r.assign(place, r.i64_add(r.read(place), r.i64(1)));
      r.brIf(again, r.i64_ne(r.read(bits), r.i64(0)));
    });
    r.ret(r.read(low), r.read(high));
  },
);
