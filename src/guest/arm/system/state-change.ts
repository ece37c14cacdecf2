/**
 * Changes of the process state (D1.3, D1.4) in IR, so that system calls, exception returns and what kernels do around every access to a
 * user's memory need no JavaScript: the mode key, exception entry, exception return.
 */
import { header, type I32, type RoutineBuilder } from '../../../ir/index.js';
import { mmuIndex, modeBit } from '../mode.js';
import { engine, routines } from '../routines/set.js';
import { DSSBS, field, fpcr, pstate, sctlr, stackPointer, trapCode } from '../state.js';

const and = (r: RoutineBuilder, value: I32, mask: number): I32 => r.i32_and(value, r.i32(mask));
/** Bits of a field of the state, the lowest of them moved to a place. */
function moved(r: RoutineBuilder, value: I32, mask: number, to: number): I32 {
  const from = 31 - Math.clz32((mask & -mask) >>> 0);
  const bits = and(r, value, mask);
  if (to === from) return bits;
  return to > from ? r.i32_shl(bits, r.i32(to - from)) : r.i32_shr_u(bits, r.i32(from - to));
}
const flagAt = (r: RoutineBuilder, condition: I32, place: number): I32 => r.i32_shl(condition, r.i32(place));

/** Makes mode key and translation context anew from the state: whoever changes what they are made of calls it, and ends its block. */
export const updateMode = routines.define('update_mode', [], [], {}, (r) => {
  const s = r.state();
  const state = r.i32_load(s, field.pstate);
  const float = r.i32_load(s, field.fpcr);
  const control = r.i32_load(s, field.sctlr);
  const el = moved(r, state, 3 << pstate.EL_SHIFT, 0);
  const user = r.i32_eqz(el);
  // CPACR_EL1.FPEN: 3 traps nothing, 1 traps EL0, 0 and 2 trap both.
  const enabled = moved(r, r.i32_load(s, field.cpacr), 3 << 20, 0);
  const trapped = r.i32_and(r.i32_ne(enabled, r.i32(3)), r.i32_or(user, r.i32_ne(enabled, r.i32(1))));
  const denied = (bit: number, place: number): I32 =>
    flagAt(r, r.i32_and(user, r.i32_eqz(and(r, control, bit))), place);
  const key = [
    el,
    flagAt(r, trapped, modeBit.floatTrapped),
    moved(r, float, 3 << fpcr.RMODE_SHIFT, modeBit.roundingMode),
    moved(r, float, fpcr.FZ, modeBit.flushToZero),
    moved(r, float, fpcr.DN, modeBit.defaultNaN),
    moved(r, float, fpcr.FZ16, modeBit.flushHalf),
    moved(r, float, fpcr.AHP, modeBit.alternativeHalf),
    r.i32_or(flagAt(r, user, modeBit.ordinaryUnprivileged), moved(r, state, pstate.UAO, modeBit.ordinaryUnprivileged)),
    denied(sctlr.DZE, modeBit.zeroTrapped),
    denied(sctlr.nTWI, modeBit.wfiTrapped),
    moved(r, state, pstate.IL, modeBit.illegalState),
    moved(r, state, pstate.SPSEL, modeBit.ownStack),
    ...[sctlr.EnIA, sctlr.EnIB, sctlr.EnDA, sctlr.EnDB].map((bit, n) => moved(r, control, bit, modeBit.keys + n)),
    r.i32_load(s, field.modeBits),
  ].reduce((a, b) => r.i32_or(a, b));
  r.i32_store(s, key, header.modeKey);
  const kernel = r.i32_add(r.i32(mmuIndex.el1), moved(r, state, pstate.PAN, 0));
  const mmu = r.local('i32', r.select(user, r.i32(mmuIndex.el0), kernel));
  r.if(r.i32_ne(r.read(mmu), r.i32_load(s, header.mmu)), () => r.call(engine.selectMmu, r.read(mmu)));
  r.ret();
});

/** Makes a process state the current one: stack pointer, mode key and translation context follow. */
export const setPstate = routines.define('set_pstate', ['i32'], [], { vars: 'write' }, (r, value) => {
  const s = r.state();
  const home = (state: I32): I32 => r.i32_add(s, r.i32_shl(and(r, state, pstate.SPSEL), r.i32(3)));
  r.i64_store(home(r.i32_load(s, field.pstate)), r.get(stackPointer), field.sp);
  r.i32_store(s, value, field.pstate);
  r.set(stackPointer, r.i64_load(home(value), field.sp));
  r.call(updateMode);
  r.ret();
});

/**
 * (vector, return address, NZCV, whether there is FEAT_PAN): takes an exception to EL1 (D1.3.1). `vector`: what kind it is, 0 for a
 * synchronous one.
 */
export const takeException = routines.define(
  'take_exception',
  ['i32', 'i64', 'i32', 'i32'],
  [],
  { vars: 'write' },
  (r, vector, returnTo, nzcv, hasPan) => {
    const s = r.state();
    const from = r.local('i32', r.i32_load(s, field.pstate));
    r.i64_store(s, returnTo, field.elr);
    r.i64_store(s, r.i64_extend_i32_u(r.i32_or(r.read(from), nzcv)), field.spsr);
    const isUser = r.i32_eqz(and(r, r.read(from), 3 << pstate.EL_SHIFT));
    const same = moved(r, r.read(from), pstate.SPSEL, 9);
    const target = r.local('i32', r.i32_add(vector, r.select(isUser, r.i32(0x400), same)));
    const control = r.i64_load(s, field.sctlr);
    const keepsPan = r.i32_ne(and(r, r.i32_wrap_i64(control), sctlr.SPAN), r.i32(0));
    const pan = r.select(keepsPan, and(r, r.read(from), pstate.PAN), r.i32(pstate.PAN));
    const safe = r.i64_ne(r.i64_and(control, r.i64(DSSBS)), r.i64(0));
    const extensions = r.i32_or(r.select(hasPan, pan, r.i32(0)), r.select(safe, r.i32(pstate.SSBS), r.i32(0)));
    const entered = pstate.DAIF | (1 << pstate.EL_SHIFT) | pstate.SPSEL;
    r.call(setPstate, r.i32_or(extensions, r.i32(entered)));
    r.i64_store(s, r.i64_add(r.i64_load(s, field.vbar), r.i64_extend_i32_u(r.read(target))), header.pc);
    r.ret();
  },
);

/**
 * (bits of a saved state that come back as they are, address) → NZCV: ERET (D1.4.4). EL0 and EL1 are there, AArch32 is not; other states
 * leave the mode as it is, with PSTATE.IL.
 */
export const exceptionReturn = routines.define(
  'exception_return',
  ['i32', 'i64'],
  ['i32'],
  { vars: 'write' },
  (r, kept, target) => {
    const s = r.state();
    const saved = r.local('i32', r.i32_load(s, field.spsr));
    const mode = and(r, r.read(saved), pstate.MODE);
    const isLegal = r.i32_or(r.i32_eqz(mode), r.i32_eq(and(r, mode, ~pstate.SPSEL), r.i32(1 << pstate.EL_SHIFT)));
    const same = r.i32_or(and(r, r.i32_load(s, field.pstate), pstate.MODE), r.i32(pstate.IL));
    r.i64_store(s, r.i64(-1), field.monitor);
    r.call(setPstate, r.i32_or(r.select(isLegal, mode, same), r.i32_and(r.read(saved), kept)));
    r.i64_store(s, target, header.pc);
    r.ret(and(r, r.read(saved), 0xf0000000 | 0));
  },
);

/** (syndrome, return address, NZCV, FEAT_PAN) → fault: SVC, without JavaScript unless somebody is told of exceptions. */
export const takeCall = routines.define(
  'take_call',
  ['i32', 'i64', 'i32', 'i32'],
  ['i32'],
  { vars: 'write', mayFault: true },
  (r, syndrome, returnTo, nzcv, hasPan) => {
    const s = r.state();
    r.if(r.i32_load(s, field.watched), () => {
      r.i32_store(s, syndrome, field.syndrome);
      r.i32_store(s, r.i32(trapCode.after), header.trapCode);
      r.ret(r.i32(1));
    });
    r.i64_store(s, r.i64_extend_i32_u(syndrome), field.esr);
    r.call(takeException, r.i32(0), returnTo, nzcv, hasPan);
    r.ret(r.i32(0));
  },
);
