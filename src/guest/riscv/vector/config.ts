/** VSETVL and its like (unprivileged specification 31.6): what vtype means. */
import { header } from '../../../ir/index.js';
import { VECTOR_BITS, VECTOR_FULL, VILL, VTYPE_SHIFT } from '../mode.js';
import { routines } from '../routines/set.js';
import { field } from '../state.js';

const ELEN = 64;
/** What of vtype means something: vlmul, vsew, vta, vma. */
const VTYPE = 0xff;

/** (wanted length, vtype) → vl. Sets vtype, vl, vstart, and the bits of the mode key that they make. */
export const setVectorType = routines.define('v_set_type', ['i64', 'i64'], ['i64'], {}, (r, wanted, type) => {
  const s = r.state();
  const low = r.i32_wrap_i64(type);
  const lmul = r.i32_and(low, r.i32(7));
  const sew = r.i32_and(r.i32_shr_u(low, r.i32(3)), r.i32(7));
  const elementBits = r.i32_shl(r.i32(8), sew);
  // Fractions of a register: 4 is none, and an element must fit that part of ELEN.
  const isFraction = r.i32_ge_u(lmul, r.i32(4));
  const fits = r.i32_le_u(elementBits, r.i32_shr_u(r.i32(ELEN), r.i32_sub(r.i32(8), lmul)));
  const badFraction = r.i32_or(r.i32_eq(lmul, r.i32(4)), r.i32_eqz(fits));
  const reserved = r.i64_ne(r.i64_and(type, r.i64(~VTYPE)), r.i64(0));
  const bad = r.i32_or(r.i32_and(isFraction, badFraction), r.i32_or(r.i32_gt_u(sew, r.i32(3)), reserved));
  const kept = r.i32_and(r.i32_load(s, field.modeBits), r.i32(~VECTOR_BITS));
  const setMode = (bits: Parameters<typeof r.i32_or>[0]) => {
    const all = r.i32_or(kept, bits);
    r.i32_store(s, all, field.modeBits);
    const key = r.i32_and(r.i32_load(s, header.modeKey), r.i32(~VECTOR_BITS));
    r.i32_store(s, r.i32_or(key, bits), header.modeKey);
  };
  r.i32_store(s, r.i32(0), field.vstart);
  r.if(bad, () => {
    r.i32_store(s, r.i32(1 << 31), field.vtype);
    r.i32_store(s, r.i32(0), field.vl);
    r.i32_store(s, r.i32(0), field.vlmax);
    setMode(r.i32(VILL));
    r.ret(r.i64(0));
  });
  const perRegister = r.i32_shr_u(r.i32_load(s, field.vlenb), sew);
  const most = r.select(isFraction, r.i32_shr_u(perRegister, r.i32_sub(r.i32(8), lmul)), r.i32_shl(perRegister, lmul));
  const isAll = r.i64_ge_u(wanted, r.i64_extend_i32_u(most));
  const vl = r.select(isAll, most, r.i32_wrap_i64(wanted));
  r.i32_store(s, low, field.vtype);
  r.i32_store(s, vl, field.vl);
  r.i32_store(s, most, field.vlmax);
  const shown = r.i32_shl(r.i32_and(low, r.i32(63)), r.i32(VTYPE_SHIFT));
  setMode(r.i32_or(shown, r.select(isAll, r.i32(VECTOR_FULL), r.i32(0))));
  r.ret(r.i64_extend_i32_u(vl));
});
