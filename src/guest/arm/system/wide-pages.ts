/**
 * Flushes of the TLB, whose pages are of 4 KiB: larger ones, and addresses with a tag, have several entries. The range of addresses where
 * such pages were found is kept, and a flush of one address there is a flush of all.
 */
import { engine, routines } from '../routines/set.js';
import { field } from '../state.js';

/** Widens the range of addresses that TLBI of a page answers by flushing all. */
export const noteWidePage = routines.define('note_wide_page', ['i64', 'i64'], [], {}, (r, first, last) => {
  const s = r.state();
  // Empty: both 0.
  const low = r.i64_load(s, field.widePages);
  const high = r.i64_load(s, field.widePages + 8);
  const empty = r.i64_eqz(r.i64_or(low, high));
  r.if(r.i32_or(empty, r.i64_lt_u(first, low)), () => r.i64_store(s, first, field.widePages));
  r.if(r.i32_or(empty, r.i64_gt_u(last, high)), () => r.i64_store(s, last, field.widePages + 8));
  r.ret();
});

/** Flushes the whole TLB; `keepGlobal` not 0: entries of global pages stay. */
export const flushTlb = routines.define('flush_tlb_pages', ['i32'], [], {}, (r, keepGlobal) => {
  const s = r.state();
  r.call(engine.flushTlb, keepGlobal);
  r.if(r.i32_eqz(keepGlobal), () => {
    r.i64_store(s, r.i64(0), field.widePages);
    r.i64_store(s, r.i64(0), field.widePages + 8);
    r.i32_store(s, r.i32(0), field.lowGlobal);
  });
  r.ret();
});

/** Flushes the entries of the page at an address. */
export const flushPageAt = routines.define('flush_page_at', ['i64'], [], {}, (r, va) => {
  const s = r.state();
  const low = r.i64_load(s, field.widePages);
  const high = r.i64_load(s, field.widePages + 8);
  const isWide = r.i32_and(r.i64_ge_u(va, low), r.i64_le_u(va, high));
  const some = r.i64_ne(r.i64_or(low, high), r.i64(0));
  r.if(
    r.i32_and(isWide, some),
    () => r.call(flushTlb, r.i32(0)),
    () => r.call(engine.flushPage, va),
  );
  r.ret();
});

/** Forgets pages of a virtual machine, in an exception level above it: at the latest when it goes on. */
export const forgetGuest = routines.define('forget_guest', [], [], {}, (r) => {
  const s = r.state();
  r.if(r.i32_eqz(r.i32_load(s, field.lowerRegime)), () => r.i32_store(s, r.i32(-1), field.lowerRegime));
  r.ret();
});
