/**
 * MASKMOVQ and MASKMOVDQU: stores those bytes whose mask byte has its top bit set, once the whole operand is known to be
 * writable (table/masked-store.ts). A self-modifying store restarts the instruction, which stores the same bytes again.
 */
import { routines } from './set.js';

/** (linear address, what addresses are masked with, low and high half of the bytes, one mask bit a byte) */
export const storeMasked = routines.define(
  'sse_store_masked',
  ['i64', 'i64', 'i64', 'i64', 'i32'],
  ['i32'],
  { mayFault: true },
  (r, address, wrap, low, high, mask) => {
    const at = r.local('i64', address);
    const bytes = r.local('i64', low);
    const above = r.local('i64', high);
    const left = r.local('i32', mask);
    r.loop((next) => {
      const remaining = r.read(left);
      r.if(r.i32_and(remaining, r.i32(1)), () => {
        r.guest_store8(r.read(at), r.i32_wrap_i64(r.read(bytes)), 0);
      });
      r.assign(at, r.i64_and(r.i64_add(r.read(at), r.i64(1)), wrap));
      // the 128 bits move down by a byte
      r.assign(bytes, r.i64_or(r.i64_shr_u(r.read(bytes), r.i64(8)), r.i64_shl(r.read(above), r.i64(56))));
      r.assign(above, r.i64_shr_u(r.read(above), r.i64(8)));
      const rest = r.i32_shr_u(remaining, r.i32(1));
      r.assign(left, rest);
      r.brIf(next, rest);
    });
    r.ret(r.i32(0));
  },
);
