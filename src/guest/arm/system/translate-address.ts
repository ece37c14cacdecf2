/** AT: the result of a translation, in PAR_EL1 (D19.2.113). */
import { header, type I32 } from '../../../ir/index.js';
import { mmuIndex } from '../mode.js';
import { routines } from '../routines/set.js';
import { abort, field, hcr, pstate } from '../state.js';
import { walkRegime, walkStage1 } from './page-walk.js';
import { isHost, regime } from './regime.js';

/** Bits of `how`: for a write, as EL0, with PSTATE.PAN, of EL2's own addresses, of EL3's, and through stage 2. */
export const translationOf = { WRITE: 1, USER: 2, PAN: 4, EL2: 8, EL3: 16, BOTH: 32 } as const;

/** (address, how). */
export const translateAddress = routines.define('translate_address', ['i64', 'i32'], [], {}, (r, va, how) => {
  const s = r.state();
  const bit = (mask: number): I32 => r.i32_ne(r.i32_and(how, r.i32(mask)), r.i32(0));
  const pan = r.i32_and(r.i32_load(s, field.pstate), r.i32(pstate.PAN));
  const asPan = r.i32_and(r.i32_ne(pan, r.i32(0)), bit(translationOf.PAN));
  const vhe = r.i64_ne(r.i64_and(r.i64_load(s, field.hcr), r.i64(hcr.E2H)), r.i64(0));
  const atEl2 = r.i32_eq(r.i32_and(r.i32_load(s, field.pstate), r.i32(0xc)), r.i32(8));
  const ofHost = r.i32_and(atEl2, isHost(r));
  const which = r.local('i32', r.select(ofHost, r.i32(regime.host), r.i32(regime.el1)));
  r.if(bit(translationOf.EL2), () => r.assign(which, r.select(vhe, r.i32(regime.host), r.i32(regime.el2))));
  r.if(bit(translationOf.EL3), () => r.assign(which, r.i32(regime.el3)));
  const kernel = r.select(asPan, r.i32(mmuIndex.el1Pan), r.i32(mmuIndex.el1));
  const context = r.select(bit(translationOf.USER), r.i32(mmuIndex.el0), kernel);
  const fault = r.local('i32');
  const result = r.local('i64');
  r.if(
    bit(translationOf.BOTH),
    () => {
      const [failed, gpa] = r.call(walkRegime, va, bit(translationOf.WRITE), context, r.read(which));
      r.assign(fault, failed);
      r.assign(result, gpa);
    },
    () => {
      const [failed, gpa] = r.call(walkStage1, va, bit(translationOf.WRITE), context, r.read(which));
      r.assign(fault, failed);
      r.assign(result, gpa);
    },
  );
  r.if(
    r.read(fault),
    () => {
      r.i32_store(s, r.i32(0), header.trapCode);
      const syndrome = r.i32_load(s, field.syndrome);
      const status = r.i64_extend_i32_u(r.i32_and(syndrome, r.i32(63)));
      // S and PTW: it was stage 2, of stage 1's tables.
      const stage2 = r.select(r.i32_load(s, field.trapTo), r.i64(1 << 9), r.i64(0));
      const ofTables = r.select(r.i32_and(syndrome, r.i32(abort.S1PTW)), r.i64(1 << 8), r.i64(0));
      r.i32_store(s, r.i32(0), field.trapTo);
      // F, and bit 11, which is one.
      const bits = r.i64_or(r.i64_or(stage2, ofTables), r.i64_or(r.i64_shl(status, r.i64(1)), r.i64(0x801)));
      r.i64_store(s, bits, field.par);
    },
    // Normal memory, write-back, inner shareable.
    () =>
      r.i64_store(
        s,
        r.i64_or(r.i64_and(r.read(result), r.i64(0x0000fffffffff000n)), r.i64((0xffn << 56n) | 0x980n)),
        field.par,
      ),
  );
  r.ret();
});
