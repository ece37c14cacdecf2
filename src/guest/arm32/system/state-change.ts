/**
 * Changes of CPSR (B1.3) in IR, so that system calls and the ways into and out of a kernel need no JavaScript: banked registers, the
 * mode key, exception entry (B1.8.3) and return (B1.8.13), rights of domains.
 */
import { header, type I32, type RoutineBuilder } from '../../../ir/index.js';
import { engine, routines } from '../../arm/routines/set.js';
import { flushPageAt, flushTlb } from '../../arm/system/wide-pages.js';
import { FLOAT_BITS, IT_KEY, mmuIndex, modeBit } from '../mode.js';
import { bank, bankOfMode, CONTROL, cpsr, cpuMode, DACR_SLOTS, field, reg, sctlr, trapCode } from '../state.js';

const NO_BANK = 7;
/** By the lower four bits of a mode, three bits each: its bank. */
const BANKS_OF_MODES = Object.entries(bankOfMode).reduce(
  (all, [mode, of]) => all ^ (BigInt((of ?? 0) ^ NO_BANK) << BigInt(3 * (Number(mode) & 15))),
  (1n << 48n) - 1n,
);

const and = (r: RoutineBuilder, value: I32, mask: number): I32 => r.i32_and(value, r.i32(mask));
const isIn = (r: RoutineBuilder, state: I32, mode: number): I32 => r.i32_eq(and(r, state, cpsr.M), r.i32(mode));

/** The bank of a mode; 7: there is no such mode. */
function bankOf(r: RoutineBuilder, state: I32): I32 {
  const place = r.i32_mul(and(r, state, 15), r.i32(3));
  const found = r.i32_wrap_i64(r.i64_shr_u(r.i64(BANKS_OF_MODES), r.i64_extend_i32_u(place)));
  return r.select(and(r, state, 16), and(r, found, NO_BANK), r.i32(NO_BANK));
}
/** Where the state has a bank's word in one of its lists of them, before the list's offset is added. */
const wordOf = (r: RoutineBuilder, which: I32): I32 => r.i32_add(r.state(), r.i32_shl(which, r.i32(2)));

/** Where SPSR of the current mode is, before field.banked15 is added. */
export const spsrPlace = routines.define('spsr_place', [], ['i32'], {}, (r) =>
  r.ret(wordOf(r, bankOf(r, r.i32_load(r.state(), field.pstate)))),
);

/** Mode and masks. A mode that is not there changes nothing (unpredictable). */
export const setPstate = routines.define('set_pstate32', ['i32'], [], { vars: 'write' }, (r, value) => {
  const s = r.state();
  const old = r.local('i32', r.i32_load(s, field.pstate));
  const from = r.local('i32', bankOf(r, r.read(old)));
  const to = r.local('i32', bankOf(r, value));
  const next = r.local('i32', and(r, value, CONTROL));
  r.if(r.i32_eq(r.read(to), r.i32(NO_BANK)), () => {
    r.assign(to, r.read(from));
    r.assign(next, r.i32_or(and(r, r.read(next), ~cpsr.M), and(r, r.read(old), cpsr.M)));
  });
  r.if(r.i32_ne(r.read(from), r.read(to)), () => {
    for (const [n, list] of [
      [13, field.banked13],
      [14, field.banked14],
    ]) {
      r.i32_store(wordOf(r, r.read(from)), r.i32_wrap_i64(r.get(reg[n])), list);
      r.set(reg[n], r.i64_load32_u(wordOf(r, r.read(to)), list));
    }
    const isFiq = (which: I32): I32 => r.i32_eq(which, r.i32(bank.fiq));
    r.if(r.i32_or(isFiq(r.read(from)), isFiq(r.read(to))), () => {
      // Those of R8 to R12 that are not the current ones wait.
      for (let n = 8; n < 13; n++) {
        const at = field.high + 4 * (n - 8);
        const waiting = r.local('i64', r.i64_load32_u(s, at));
        r.i32_store(s, r.i32_wrap_i64(r.get(reg[n])), at);
        r.set(reg[n], r.read(waiting));
      }
    });
  });
  r.i32_store(s, r.read(next), field.pstate);
  const bit = (condition: I32, place: number): I32 => r.i32_shl(condition, r.i32(place));
  const user = r.local('i32', isIn(r, r.read(next), cpuMode.user));
  const access = and(r, r.i32_shr_u(r.i32_load(s, field.cpacr), r.i32(20)), 3);
  const denied = r.i32_and(r.i32_ne(access, r.i32(3)), r.i32_or(r.read(user), r.i32_ne(access, r.i32(1))));
  const off = r.i32_or(
    and(r, r.i32_load(s, field.floatTrapped), ~(1 << modeBit.floatDenied)),
    bit(denied, modeBit.floatDenied),
  );
  r.i32_store(s, off, field.floatTrapped);
  const changing = [modeBit.user, modeBit.noSpsr, modeBit.bigEndian, modeBit.fiq];
  const changed = changing.reduce((all, place) => all | (1 << place), FLOAT_BITS);
  const kept = and(r, r.i32_load(s, header.modeKey), ~changed);
  const key = [
    bit(r.read(user), modeBit.user),
    bit(r.i32_or(r.read(user), isIn(r, r.read(next), cpuMode.system)), modeBit.noSpsr),
    r.select(r.read(user), off, r.i32(0)),
    bit(r.i32_ne(and(r, r.read(next), cpsr.E), r.i32(0)), modeBit.bigEndian),
    bit(isIn(r, r.read(next), cpuMode.fiq), modeBit.fiq),
  ].reduce((all, one) => r.i32_or(all, one), kept);
  r.i32_store(s, key, header.modeKey);
  r.call(selectContext);
  r.ret();
});

/** The translation context that goes with the mode and the value of DACR in use. */
const selectContext = routines.define('select_context32', [], [], {}, (r) => {
  const s = r.state();
  const level = r.select(
    isIn(r, r.i32_load(s, field.pstate), cpuMode.user),
    r.i32(mmuIndex.user),
    r.i32(mmuIndex.privileged),
  );
  const slot = r.i32_mul(r.i32_load(s, field.dacrSlot), r.i32(mmuIndex.perDacr));
  const mmu = r.local('i32', r.i32_add(slot, level));
  r.if(r.i32_ne(r.read(mmu), r.i32_load(s, header.mmu)), () => r.call(engine.selectMmu, r.read(mmu)));
  r.ret();
});

/** A value that is not in use takes the place of one that is, whose translations are dropped with all. */
export const setDacr = routines.define('set_dacr', ['i64'], [], {}, (r, wide) => {
  const s = r.state();
  const value = r.i32_wrap_i64(wide);
  r.i32_store(s, value, field.dacr);
  const slot = r.local('i32', r.i32(0));
  r.block((found) => {
    r.loop((again) => {
      r.brIf(found, r.i32_eq(r.i32_load(wordOf(r, r.read(slot)), field.dacrs), value));
      r.assign(slot, r.i32_add(r.read(slot), r.i32(1)));
      r.brIf(again, r.i32_lt_u(r.read(slot), r.i32(DACR_SLOTS)));
    });
    r.assign(slot, r.i32_rem_u(r.i32_add(r.i32_load(s, field.dacrSlot), r.i32(1)), r.i32(DACR_SLOTS)));
    r.i32_store(wordOf(r, r.read(slot)), value, field.dacrs);
    r.call(flushTlb, r.i32(0));
  });
  r.i32_store(s, r.read(slot), field.dacrSlot);
  const kept = and(r, r.i32_load(s, header.modeKey), ~(3 << modeBit.dacrSlot));
  r.i32_store(s, r.i32_or(kept, r.i32_shl(r.read(slot), r.i32(modeBit.dacrSlot))), header.modeKey);
  r.call(selectContext);
  r.ret();
});

/** What follows belongs to another address space if the value is another one. */
const spaceRegister = (name: 'ttbr0' | 'ttbr1') =>
  routines.define(`set_${name}`, ['i64'], [], {}, (r, value) => {
    const s = r.state();
    r.if(r.i64_ne(r.i64_load(s, field[name]), value), () => {
      r.i64_store(s, value, field[name]);
      r.call(flushTlb, r.i32(1));
    });
    r.ret();
  });
export const setTtbr = { ttbr0: spaceRegister('ttbr0'), ttbr1: spaceRegister('ttbr1') } as const;
/** CONTEXTIDR: the same of its ASID. */
export const setContext = routines.define('set_contextidr', ['i64'], [], {}, (r, wide) => {
  const s = r.state();
  const value = r.i32_wrap_i64(wide);
  const changes = and(r, r.i32_xor(r.i32_load(s, field.contextidr), value), 255);
  r.i32_store(s, value, field.contextidr);
  r.if(changes, () => r.call(flushTlb, r.i32(1)));
  r.ret();
});
/** TLBI: all, an ASID, a page. */
export const flushAll = routines.define('tlbi_all', ['i64'], [], {}, (r) => {
  r.call(flushTlb, r.i32(0));
  r.ret();
});
export const flushAsid = routines.define('tlbi_asid', ['i64'], [], {}, (r) => {
  r.call(flushTlb, r.i32(1));
  r.ret();
});
export const flushAddress = routines.define('tlbi_address', ['i64'], [], {}, (r, value) => {
  r.call(flushPageAt, r.i64_and(value, r.i64(0xfffff000)));
  r.ret();
});

/** (mode, vector's offset, R14 of the mode, masks that are set beside I, CPSR to be saved): takes an exception. */
export const takeException = routines.define(
  'take_exception32',
  ['i32', 'i32', 'i32', 'i32', 'i32'],
  [],
  { vars: 'write' },
  (r, mode, offset, link, masks, saved) => {
    const s = r.state();
    const control = r.local('i32', r.i32_load(s, field.sctlr));
    const has = (bit: number): I32 => r.i32_ne(and(r, r.read(control), bit), r.i32(0));
    r.i32_store(s, and(r, r.i32_load(s, header.modeKey), ~IT_KEY), header.modeKey);
    const kept = and(r, r.i32_load(s, field.pstate), cpsr.F | cpsr.A);
    const order = r.select(has(sctlr.EE), r.i32(cpsr.E), r.i32(0));
    const status = [mode, kept, masks, order].reduce((all, one) => r.i32_or(all, one), r.i32(cpsr.I));
    r.call(setPstate, status);
    r.i32_store(r.call(spsrPlace)[0], saved, field.banked15);
    r.set(reg[14], r.i64_extend_i32_u(link));
    const base = r.select(has(sctlr.V), r.i32(0xffff0000 | 0), r.i32_load(s, field.vbar));
    const target = r.i32_or(r.i32_add(base, offset), r.select(has(sctlr.TE), r.i32(1), r.i32(0)));
    r.i64_store(s, r.i64_extend_i32_u(target), header.pc);
    r.ret();
  },
);

/** (R14, CPSR to be saved, vector's offset) → fault: SVC, without JavaScript unless somebody is told of exceptions. */
export const takeCall = routines.define(
  'take_call32',
  ['i32', 'i32', 'i32'],
  ['i32'],
  { vars: 'write', mayFault: true },
  (r, link, saved, offset) => {
    const s = r.state();
    r.if(r.i32_load(s, field.watched), () => {
      r.i32_store(s, r.i32(trapCode.after), header.trapCode);
      r.ret(r.i32(1));
    });
    r.call(takeException, r.i32(cpuMode.supervisor), offset, link, r.i32(0), saved);
    r.ret(r.i32(0));
  },
);

/** (status, address): returns from an exception to a state; the flags are the caller's. */
export const exceptionReturn = routines.define(
  'exception_return32',
  ['i32', 'i32'],
  [],
  { vars: 'write' },
  (r, status, target) => {
    const s = r.state();
    r.i64_store(s, r.i64(-1), field.monitor);
    r.i32_store(s, and(r, status, cpsr.Q), field.q);
    r.i32_store(s, and(r, status, cpsr.GE), field.ge);
    r.call(setPstate, status);
    const it = r.i32_or(and(r, r.i32_shr_u(status, r.i32(25)), 3), and(r, r.i32_shr_u(status, r.i32(8)), 0xfc));
    r.i32_store(s, r.i32_or(and(r, r.i32_load(s, header.modeKey), ~IT_KEY), it), header.modeKey);
    const place = r.select(and(r, status, cpsr.T), r.i32_or(target, r.i32(1)), and(r, target, ~3));
    r.i64_store(s, r.i64_extend_i32_u(place), header.pc);
    r.ret();
  },
);
