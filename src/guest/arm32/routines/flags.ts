/** The flags' carry and overflow from what flags.ts keeps of them. */
import { routines } from '../../arm/routines/set.js';

/**
 * Values of the deferred variable: what C and V are of. `bits`: they lie in flagA, at their places. `sub`, `add`: of flagA - flagB and
 * flagA + flagB, both zero-extended from 32 bits. N and Z are apart: N is flagC's sign, Z says that flagC's low half is 0.
 */
export const flagKind = { bits: 0, sub: 1, add: 2 } as const;

/** (kind, A, B): C and V in bits 29 and 28. */
export const carryOverflow = routines.define(
  'carry_overflow32',
  ['i32', 'i64', 'i64'],
  ['i32'],
  { pure: true },
  (r, kind, a, b) => {
    r.if(r.i32_eqz(kind), () => r.ret(r.i32_wrap_i64(a)));
    const isSub = r.i32_eq(kind, r.i32(flagKind.sub));
    const [x, y] = [r.i64_extend32_s(a), r.i64_extend32_s(b)];
    const result = r.select(isSub, r.i64_sub(x, y), r.i64_add(x, y));
    const ofSum = r.i32_wrap_i64(r.i64_shr_u(r.i64_add(a, b), r.i64(32)));
    const carry = r.select(isSub, r.i64_ge_u(a, b), ofSum);
    const overflow = r.i64_ne(r.i64_extend32_s(result), result);
    r.ret(r.i32_or(r.i32_shl(carry, r.i32(29)), r.i32_shl(overflow, r.i32(28))));
  },
);
