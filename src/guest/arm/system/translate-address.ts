/** AT: the result of a translation, in PAR_EL1 (D19.2.113). */
import { header, type I32 } from '../../../ir/index.js';
import { mmuIndex } from '../mode.js';
import { routines } from '../routines/set.js';
import { field, pstate } from '../state.js';
import { pageWalk } from './page-walk.js';

/** (address, bit 0: for a write, bit 1: as EL0, bit 2: with PSTATE.PAN). */
export const translateAddress = routines.define('translate_address', ['i64', 'i32'], [], {}, (r, va, how) => {
  const s = r.state();
  const bit = (n: number): I32 => r.i32_and(how, r.i32(1 << n));
  const pan = r.i32_and(r.i32_load(s, field.pstate), r.i32(pstate.PAN));
  const asPan = r.i32_and(r.i32_ne(pan, r.i32(0)), r.i32_ne(bit(2), r.i32(0)));
  const kernel = r.select(asPan, r.i32(mmuIndex.el1Pan), r.i32(mmuIndex.el1));
  const [fault, gpa] = r.call(pageWalk, va, bit(0), r.select(bit(1), r.i32(mmuIndex.el0), kernel));
  r.if(
    fault,
    () => {
      r.i32_store(s, r.i32(0), header.trapCode);
      const status = r.i64_extend_i32_u(r.i32_and(r.i32_load(s, field.syndrome), r.i32(63)));
      // F, and bit 11, which is one.
      r.i64_store(s, r.i64_or(r.i64_shl(status, r.i64(1)), r.i64(0x801)), field.par);
    },
    // Normal memory, write-back, inner shareable.
    () =>
      r.i64_store(s, r.i64_or(r.i64_and(gpa, r.i64(0x0000fffffffff000n)), r.i64((0xffn << 56n) | 0x980n)), field.par),
  );
  r.ret();
});
