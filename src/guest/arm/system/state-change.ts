/**
 * Changes of the process state (D1.3, D1.4) in IR, so that system calls, exception returns and what kernels do around every access to a
 * user's memory need no JavaScript: the mode key, exception entry, exception return.
 */
import { header, type I32, type I64, type RoutineBuilder } from '../../../ir/index.js';
import { mmuIndex, modeBit } from '../mode.js';
import { engine, routines } from '../routines/set.js';
import type { Translator } from '../row.js';
import { BANK_BYTES, BT0, BT1, DSSBS, field, fpcr, hcr, pstate, scr, sctlr, stackPointer, trapCode } from '../state.js';
import { branchTypeAt } from './branch-type.js';
import { stepped } from './debug-exceptions.js';
import { bankOfRegime, hasHcr, isHost, regime } from './regime.js';
import { flushTlb } from './wide-pages.js';

const and = (r: RoutineBuilder, value: I32, mask: number): I32 => r.i32_and(value, r.i32(mask));
/** Bits of a field of the state, the lowest of them moved to a place. */
function moved(r: RoutineBuilder, value: I32, mask: number, to: number): I32 {
  const from = 31 - Math.clz32((mask & -mask) >>> 0);
  const bits = and(r, value, mask);
  if (to === from) return bits;
  return to > from ? r.i32_shl(bits, r.i32(to - from)) : r.i32_shr_u(bits, r.i32(from - to));
}
const flagAt = (r: RoutineBuilder, condition: I32, place: number): I32 => r.i32_shl(condition, r.i32(place));

/** How far an exception level's registers are from EL1's in the state. */
const bankOf = (r: RoutineBuilder, el: I32): I32 => r.i32_mul(r.i32_sub(el, r.i32(1)), r.i32(BANK_BYTES));
const levelIn = (r: RoutineBuilder, state: I32): I32 => moved(r, state, 3 << pstate.EL_SHIFT, 0);
const low = (r: RoutineBuilder, value: I64): I32 => r.i32_wrap_i64(value);

/** SCTLR's BT0 and BT1 in its upper half. */
const BT0_HIGH = Number(BT0 >> 32n);
const BT1_HIGH = Number(BT1 >> 32n);

/** CPTR's bit that traps floating point; FPEN, which stands in CPTR_EL2 of a host too. */
const TFP = 1 << 10;
const FPEN = 3 << 20;

/**
 * (exception level) → (translation regime, bits of the mode key): what EL2 and EL3 make of it, where the CPU has them.
 */
const upperLevels = routines.define('upper_levels', ['i32'], ['i32', 'i32'], {}, (r, el) => {
  const s = r.state();
  const levels = r.i32_load(s, field.levels);
  const isUser = r.i32_eqz(el);
  const secure = r.i32_eqz(low(r, r.i64_and(r.i64_load(s, field.scr), r.i64(scr.NS))));
  const hasEl3 = r.i32_ne(and(r, levels, 2), r.i32(0));
  const hasEl2 = r.i32_and(and(r, levels, 1), r.i32_eqz(r.i32_and(hasEl3, secure)));
  const vhe = r.i32_ne(low(r, r.i64_and(r.i64_shr_u(r.i64_load(s, field.hcr), r.i64(34)), r.i64(1))), r.i32(0));
  const atEl2 = r.i32_eq(el, r.i32(2));
  const hostUser = r.i32_and(isUser, isHost(r));
  const which = r.local('i32', r.i32(regime.el1));
  r.if(hostUser, () => r.assign(which, r.i32(regime.host)));
  r.if(atEl2, () => r.assign(which, r.select(vhe, r.i32(regime.host), r.i32(regime.el2))));
  r.if(r.i32_eq(el, r.i32(3)), () => r.assign(which, r.i32(regime.el3)));

  // Floating point: CPTR_EL2, which has FPEN for a host; CPTR_EL3.
  const ofEl2 = r.i32_or(atEl2, r.i32_and(hasEl2, r.i32_lt_u(el, r.i32(2))));
  const control = r.i32_load(s, field.cpacr + BANK_BYTES);
  const enabled = moved(r, control, FPEN, 0);
  const forUser = r.i32_and(isUser, isHost(r));
  const hostTraps = r.i32_or(r.i32_eqz(and(r, enabled, 1)), r.i32_and(forUser, r.i32_ne(enabled, r.i32(3))));
  const trappedBy2 = r.i32_and(ofEl2, r.select(vhe, hostTraps, r.i32_ne(and(r, control, TFP), r.i32(0))));
  const trappedBy3 = r.i32_and(hasEl3, r.i32_ne(and(r, r.i32_load(s, field.cpacr + 2 * BANK_BYTES), TFP), r.i32(0)));
  const below2 = r.i32_and(hasEl2, r.i32_lt_u(el, r.i32(2)));
  const below3 = r.i32_and(hasEl3, r.i32_lt_u(el, r.i32(3)));
  // Pointer authentication: HCR_EL2.API, which a host's EL0 does not heed; SCR_EL3.API.
  const keysBy2 = r.i32_and(r.i32_and(below2, r.i32_eqz(hostUser)), r.i32_eqz(hasHcr(r, hcr.API)));
  const keysBy3 = r.i32_and(below3, r.i64_eqz(r.i64_and(r.i64_load(s, field.scr), r.i64(scr.API))));
  const key = [
    flagAt(r, r.i32_or(trappedBy2, trappedBy3), modeBit.floatTrapped),
    flagAt(r, r.i32_or(r.i32_and(below2, r.i32_eqz(hostUser)), below3), modeBit.trapped),
    flagAt(r, r.i32_or(keysBy2, keysBy3), modeBit.keysTrapped),
    flagAt(r, r.i32_and(atEl2, vhe), modeBit.hostKernel),
    flagAt(r, hostUser, modeBit.hostUser),
  ].reduce((a, b) => r.i32_or(a, b));
  r.ret(r.read(which), key);
});

/** Makes mode key and translation context anew from the state: whoever changes what they are made of calls it, and ends its block. */
export const updateMode = routines.define('update_mode', [], [], {}, (r) => {
  const s = r.state();
  const state = r.i32_load(s, field.pstate);
  const float = r.i32_load(s, field.fpcr);
  const el = levelIn(r, state);
  const user = r.i32_eqz(el);
  const which = r.local('i32', r.i32(regime.el1));
  const more = r.local('i32', r.i32_load(s, field.modeBits));
  r.if(r.i32_load(s, field.levels), () => {
    const [found, bits] = r.call(upperLevels, el);
    r.assign(which, found);
    r.assign(more, r.i32_or(r.read(more), bits));
    r.i32_store(s, found, field.regime);
    // The translation contexts hold pages of one regime each.
    const isUpper = r.i32_ge_u(found, r.i32(regime.el2));
    const home = r.i32_add(s, r.select(isUpper, r.i32(field.upperRegime), r.i32(field.lowerRegime)));
    r.if(r.i32_ne(r.i32_load(home), found), () => {
      r.call(flushTlb, r.i32(0));
      r.i32_store(home, found);
    });
  });
  const bank = r.i32_add(s, bankOfRegime(r, r.read(which)));
  const control = r.i32_load(bank, field.sctlr);
  const high = r.i32_load(bank, field.sctlr + 4);
  r.i32_store(s, r.select(user, moved(r, high, BT0_HIGH, 0), moved(r, high, BT1_HIGH, 0)), field.strictLanding);
  const keys = [sctlr.EnIA, sctlr.EnIB, sctlr.EnDA, sctlr.EnDB]
    .map((bit, n) => moved(r, control, bit, n))
    .reduce((a, b) => r.i32_or(a, b));
  r.i32_store(s, keys, field.enabledKeys);
  // CPACR_EL1.FPEN: 3 traps nothing, 1 traps EL0, 0 and 2 trap both. EL2 and EL3 and a host's EL0 do not heed it.
  const enabled = moved(r, r.i32_load(s, field.cpacr), 3 << 20, 0);
  const trapped = r.i32_and(
    r.i32_eqz(r.read(which)),
    r.i32_and(r.i32_ne(enabled, r.i32(3)), r.i32_or(user, r.i32_ne(enabled, r.i32(1)))),
  );
  const denied = (bit: number, place: number): I32 =>
    flagAt(r, r.i32_and(user, r.i32_eqz(and(r, control, bit))), place);
  // Unprivileged accesses are such where there is an EL0 below: at EL1, and at EL2 of a host.
  const isHypervisor = r.i32_ge_u(el, r.i32(2));
  const noUser = r.i32_or(
    user,
    r.i32_and(isHypervisor, r.i32_or(r.i32_ne(r.read(which), r.i32(regime.host)), r.i32_eqz(hasHcr(r, hcr.TGE)))),
  );
  const floatTrapped = r.i32_or(
    flagAt(r, trapped, modeBit.floatTrapped),
    and(r, r.read(more), 1 << modeBit.floatTrapped),
  );
  r.i32_store(s, floatTrapped, field.floatTrapped);
  const isKernel = r.i32_eq(el, r.i32(1));
  const key = [
    el,
    r.select(isKernel, r.i32(0), floatTrapped),
    moved(r, float, 3 << fpcr.RMODE_SHIFT, modeBit.roundingMode),
    moved(r, float, fpcr.FZ, modeBit.flushToZero),
    moved(r, float, fpcr.DN, modeBit.defaultNaN),
    moved(r, float, fpcr.FZ16, modeBit.flushHalf),
    moved(r, float, fpcr.AHP, modeBit.alternativeHalf),
    r.i32_or(
      flagAt(r, noUser, modeBit.ordinaryUnprivileged),
      moved(r, state, pstate.UAO, modeBit.ordinaryUnprivileged),
    ),
    denied(sctlr.DZE, modeBit.zeroTrapped),
    denied(sctlr.nTWI, modeBit.wfiTrapped),
    moved(r, state, pstate.IL, modeBit.illegalState),
    moved(r, state, pstate.SPSEL, modeBit.ownStack),
    flagAt(r, r.i32_or(isKernel, r.i32_ne(keys, r.i32(0))), modeBit.pointerKeys),
    and(r, r.read(more), ~(1 << modeBit.floatTrapped)),
  ].reduce((a, b) => r.i32_or(a, b));
  r.i32_store(s, key, header.modeKey);
  // Debug exceptions: at the level that they go to PSTATE.D masks them, and what is left says that it does.
  const debug = r.i32_load(r.i32_add(s, r.i32_shl(el, r.i32(2))), field.debugOf);
  r.if(debug, () => {
    const own = r.i32_ne(and(r, debug, 1 << modeBit.ownDebug), r.i32(0));
    const isMasked = r.i32_and(own, r.i32_ne(and(r, state, pstate.D), r.i32(0)));
    const armed = r.select(and(r, debug, 1 << modeBit.step), moved(r, state, pstate.SS, modeBit.stepArmed), r.i32(0));
    const some = r.select(isMasked, r.i32(1 << modeBit.ownDebug), r.i32_or(debug, armed));
    r.i32_store(s, r.i32_or(r.i32_load(s, header.modeKey), some), header.modeKey);
  });
  const kernel = r.i32_add(r.i32(mmuIndex.el1), moved(r, state, pstate.PAN, 0));
  const lower = r.select(user, r.i32(mmuIndex.el0), kernel);
  const mmu = r.local('i32', r.select(r.i32_ge_u(r.read(which), r.i32(regime.el2)), r.i32(mmuIndex.upper), lower));
  r.if(r.i32_ne(r.read(mmu), r.i32_load(s, header.mmu)), () => r.call(engine.selectMmu, r.read(mmu)));
  r.ret();
});

/** A process state that may differ in PSTATE.D, by which debug exceptions are masked. Ends the block. */
export function setDebugMask(t: Translator, state: I32): void {
  const { b } = t;
  const s = b.state();
  if (!t.mode.step) {
    b.i32_store(s, state, field.pstate);
    b.call(updateMode);
    t.endBlock(true);
    return;
  }
  // Masked, the step that this is ends without an exception (D2.10.4).
  const masked = b.i32_and(state, b.i32(pstate.D));
  b.i32_store(s, b.select(masked, b.i32_and(state, b.i32(~pstate.SS)), state), field.pstate);
  b.i32_store(s, b.select(masked, b.i32(0), b.i32(stepped.DONE)), field.stepped);
  b.call(updateMode);
  b.i64_store(s, t.pcPlus(4), header.pc);
  t.resume();
}

/** Makes a process state the current one: stack pointer, mode key and translation context follow. */
export const setPstate = routines.define('set_pstate', ['i32'], [], { vars: 'write' }, (r, value) => {
  const s = r.state();
  // SP_EL0, or that of the exception level.
  const home = (state: I32): I32 => {
    const own = r.i32_and(levelIn(r, state), r.i32_sub(r.i32(0), and(r, state, pstate.SPSEL)));
    return r.i32_add(s, r.i32_shl(own, r.i32(3)));
  };
  r.i64_store(home(r.i32_load(s, field.pstate)), r.get(stackPointer), field.sp);
  r.i32_store(s, value, field.pstate);
  r.set(stackPointer, r.i64_load(home(value), field.sp));
  r.call(updateMode);
  r.ret();
});

/**
 * (vector, return address, NZCV, whether there is FEAT_PAN, exception level): takes an exception (D1.3.1). `vector`: what kind it is, 0
 * for a synchronous one.
 */
export const takeException = routines.define(
  'take_exception',
  ['i32', 'i64', 'i32', 'i32', 'i32'],
  [],
  { vars: 'write' },
  (r, vector, returnTo, nzcv, hasPan, to) => {
    const s = r.state();
    const bank = r.i32_add(s, bankOf(r, to));
    const from = r.local('i32', r.i32_load(s, field.pstate));
    // What has been stepped is not stepped once more on return.
    r.if(r.i32_load(s, field.stepped), () => {
      r.assign(from, and(r, r.read(from), ~pstate.SS));
      r.i32_store(s, r.i32(0), field.stepped);
    });
    r.i64_store(bank, returnTo, field.elr);
    const branchType = r.i32_shl(branchTypeAt(r, returnTo), r.i32(pstate.BTYPE_SHIFT));
    r.i64_store(bank, r.i64_extend_i32_u(r.i32_or(r.i32_or(r.read(from), nzcv), branchType)), field.spsr);
    r.i64_store(s, r.i64(0), field.branched);
    const isLower = r.i32_lt_u(levelIn(r, r.read(from)), to);
    const same = moved(r, r.read(from), pstate.SPSEL, 9);
    const target = r.local('i32', r.i32_add(vector, r.select(isLower, r.i32(0x400), same)));
    const control = r.i64_load(bank, field.sctlr);
    // PAN is set at EL1, and at EL2 of a host, unless SPAN says otherwise.
    const sets = r.i32_or(r.i32_eq(to, r.i32(1)), r.i32_and(r.i32_eq(to, r.i32(2)), isHost(r)));
    const keepsPan = r.i32_or(r.i32_ne(and(r, low(r, control), sctlr.SPAN), r.i32(0)), r.i32_eqz(sets));
    const pan = r.select(keepsPan, and(r, r.read(from), pstate.PAN), r.i32(pstate.PAN));
    const safe = r.i64_ne(r.i64_and(control, r.i64(DSSBS)), r.i64(0));
    const extensions = r.i32_or(r.select(hasPan, pan, r.i32(0)), r.select(safe, r.i32(pstate.SSBS), r.i32(0)));
    const kept = and(r, r.read(from), pstate.DIT);
    const level = r.i32_or(kept, r.i32_shl(to, r.i32(pstate.EL_SHIFT)));
    const entered = r.i32_or(r.i32(pstate.DAIF | pstate.SPSEL), level);
    r.call(setPstate, r.i32_or(extensions, entered));
    r.i64_store(s, r.i64_add(r.i64_load(bank, field.vbar), r.i64_extend_i32_u(r.read(target))), header.pc);
    r.ret();
  },
);

/**
 * (bits of a saved state that come back as they are, address) → NZCV: ERET (D1.4.4). AArch32 is not there, nor may it go to a higher
 * exception level, or to one that is not there; other states leave the mode as it is, with PSTATE.IL.
 */
export const exceptionReturn = routines.define(
  'exception_return',
  ['i32', 'i64'],
  ['i32'],
  { vars: 'write' },
  (r, kept, target) => {
    const s = r.state();
    const state = r.i32_load(s, field.pstate);
    const el = levelIn(r, state);
    const saved = r.local('i32', r.i32_load(r.i32_add(s, bankOf(r, el)), field.spsr));
    const mode = and(r, r.read(saved), pstate.MODE);
    const to = levelIn(r, r.read(saved));
    const isUser = r.i32_eqz(to);
    // AArch64; no reserved bit; EL0 has no stack pointer but its own.
    const isForm = r.i32_and(
      r.i32_eqz(and(r, mode, pstate.AARCH32 | 2)),
      r.i32_eqz(r.i32_and(isUser, and(r, mode, pstate.SPSEL))),
    );
    const legal = r.local('i32', r.i32_and(isForm, r.i32_le_u(to, el)));
    const levels = r.i32_load(s, field.levels);
    r.if(levels, () => {
      const toEl2 = r.i32_eq(to, r.i32(2));
      const secure = r.i64_eqz(r.i64_and(r.i64_load(s, field.scr), r.i64(scr.NS)));
      const noEl2 = r.i32_or(r.i32_eqz(and(r, levels, 1)), r.i32_and(secure, r.i32_ne(and(r, levels, 2), r.i32(0))));
      const bad = r.i32_or(r.i32_and(toEl2, noEl2), r.i32_and(r.i32_eq(to, r.i32(1)), hasHcr(r, hcr.TGE)));
      r.if(bad, () => r.assign(legal, r.i32(0)));
    });
    const same = r.i32_or(and(r, state, pstate.MODE), r.i32(pstate.IL));
    r.i64_store(s, r.i64(-1), field.monitor);
    const back = r.local('i32', r.i32_and(r.read(saved), kept));
    // Who steps is not stepped itself.
    const isStepping = r.i32_ne(and(r, r.i32_load(s, header.modeKey), 1 << modeBit.step), r.i32(0));
    const plain = r.i32_and(
      r.read(back),
      r.select(isStepping, r.i32(~(pstate.BTYPE | pstate.SS)), r.i32(~pstate.BTYPE)),
    );
    r.call(setPstate, r.i32_or(r.select(r.read(legal), mode, same), plain));
    r.i32_store(s, r.i32(0), field.stepped);
    r.if(and(r, r.i32_load(s, field.pstate), pstate.SS), () =>
      r.if(r.i32_eqz(and(r, r.i32_load(s, header.modeKey), 1 << modeBit.step)), () =>
        r.i32_store(s, and(r, r.i32_load(s, field.pstate), ~pstate.SS), field.pstate),
      ),
    );
    const type = r.i64_extend_i32_u(moved(r, r.read(back), pstate.BTYPE, 0));
    r.i64_store(s, r.i64_add(target, type), field.branched);
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
    const el = levelIn(r, r.i32_load(s, field.pstate));
    const lowest = r.select(hasHcr(r, hcr.TGE), r.i32(2), r.i32(1));
    const to = r.local('i32', r.select(el, el, lowest));
    r.i64_store(r.i32_add(s, bankOf(r, r.read(to))), r.i64_extend_i32_u(syndrome), field.esr);
    r.call(takeException, r.i32(0), returnTo, nzcv, hasPan, r.read(to));
    r.ret(r.i32(0));
  },
);
