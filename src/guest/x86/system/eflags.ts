/**
 * EFLAGS as a whole, and what PUSHF, POPF, CLI and STI do to it by mode: Intel SDM vol. 2 (those pages), vol. 3 20.3 and 20.4
 * (virtual-8086 mode extensions and protected-mode virtual interrupts).
 */
import { header, type I32, type RoutineBuilder } from '../../../ir/index.js';
import { computeFlags, flagKind } from '../flags.js';
import { updateMode } from '../mode.js';
import { routines } from '../routines/set.js';
import { ccDst, ccExtra, ccOp, ccSrc, ccSrc2, field, trapCode } from '../state.js';
import { cr4, eflag, IOPL_SHIFT, STATUS_FLAGS, vector } from './bits.js';

/** EFLAGS, all of it. */
export function loadEflags(r: RoutineBuilder): I32 {
  const [status] = r.call(computeFlags, r.get(ccOp), r.get(ccDst), r.get(ccSrc), r.get(ccSrc2), r.get(ccExtra));
  return r.i32_or(r.i32_load(r.state(), field.eflags), status);
}

/** Sets all of EFLAGS; the caller sees to the mode. */
export function storeEflags(r: RoutineBuilder, value: I32): void {
  r.i32_store(r.state(), r.i32_or(r.i32_and(value, r.i32(~STATUS_FLAGS)), r.i32(2)), field.eflags);
  r.set(ccSrc, r.i64_extend_i32_u(r.i32_and(value, r.i32(STATUS_FLAGS))));
  r.set(ccOp, r.i32(flagKind.eflags << 2));
}

export const getEflags = routines.define('get_eflags', [], ['i32'], { vars: 'read' }, (r) => {
  r.ret(loadEflags(r));
});

export const setEflags = routines.define('set_eflags', ['i32'], [], { vars: 'write' }, (r, value) => {
  storeEflags(r, value);
  r.ret();
});

/** Flags that the mode key depends on. */
const modeFlags = eflag.TF | eflag.IOPL | eflag.VM | eflag.AC;

/** Bits of `value` where `mask` has ones, of EFLAGS elsewhere; recomputes the mode if it depends on what changed. */
export function mergeEflags(r: RoutineBuilder, value: I32, mask: I32): void {
  const old = loadEflags(r);
  const merged = r.i32_xor(old, r.i32_and(r.i32_xor(old, value), mask));
  storeEflags(r, merged);
  r.if(r.i32_and(r.i32_xor(old, merged), r.i32(modeFlags)), () => r.call(updateMode));
}

function fail(r: RoutineBuilder, number: number, ...zeros: number[]): void {
  r.i32_store(r.state(), r.i32(trapCode(number, 0)), header.trapCode);
  r.ret(r.i32(1), ...zeros);
}

const bitSet = (r: RoutineBuilder, value: I32, mask: number): I32 => r.i32_ne(r.i32_and(value, r.i32(mask)), r.i32(0));
const ioplOf = (r: RoutineBuilder, flags: I32): I32 => r.i32_and(r.i32_shr_u(flags, r.i32(IOPL_SHIFT)), r.i32(3));

/** What PUSHF pushes, for an operand size: (fault, value). */
export const pushFlags = routines.define(
  'push_flags',
  ['i32'],
  ['i32', 'i32'],
  { vars: 'read', mayFault: true },
  (r, size) => {
    const flags = loadEflags(r);
    r.if(r.i32_and(bitSet(r, flags, eflag.VM), r.i32_lt_u(ioplOf(r, flags), r.i32(3))), () => {
      const vme = bitSet(r, r.i32_load(r.state(), field.cr4), cr4.VME);
      r.if(r.i32_eqz(r.i32_and(vme, r.i32_eq(size, r.i32(16)))), () => fail(r, vector.GP, r.i32(0)));
      // The virtual interrupt flag stands in IF's place, and IOPL reads as 3.
      const virtual = r.i32_shr_u(r.i32_and(flags, r.i32(eflag.VIF)), r.i32(10));
      r.ret(r.i32(0), r.i32_or(r.i32_or(r.i32_and(flags, r.i32(0xffff & ~eflag.IF)), virtual), r.i32(eflag.IOPL)));
    });
    r.ret(r.i32(0), r.i32_and(flags, r.i32(~(eflag.VM | eflag.RF))));
  },
);

/** POPF of an operand size: fault. The stack pointer is the caller's. */
export const popFlags = routines.define(
  'pop_flags',
  ['i32', 'i32'],
  ['i32'],
  { vars: 'write', mayFault: true },
  (r, value, size) => {
    const s = r.state();
    const flags = r.i32_load(s, field.eflags);
    const iopl = ioplOf(r, flags);
    const vm86 = bitSet(r, flags, eflag.VM);
    const cpl = r.i32_load(s, field.cpl);
    const whole = r.select(r.i32_eq(size, r.i32(16)), r.i32(0xffff), r.i32(-1));
    const common = STATUS_FLAGS | eflag.TF | eflag.DF | eflag.NT | eflag.AC | eflag.ID;
    r.if(r.i32_and(vm86, r.i32_lt_u(iopl, r.i32(3))), () => {
      const vme = bitSet(r, r.i32_load(s, field.cr4), cr4.VME);
      r.if(r.i32_eqz(r.i32_and(vme, r.i32_eq(size, r.i32(16)))), () => fail(r, vector.GP));
      const wantsInterrupts = bitSet(r, value, eflag.IF);
      r.if(r.i32_or(bitSet(r, value, eflag.TF), r.i32_and(wantsInterrupts, bitSet(r, flags, eflag.VIP))), () =>
        fail(r, vector.GP),
      );
      const virtual = r.i32_or(r.i32_and(value, r.i32(0xffff & ~eflag.IF)), r.i32_shl(wantsInterrupts, r.i32(19)));
      mergeEflags(r, virtual, r.i32((common & 0xffff) | eflag.VIF));
      r.ret(r.i32(0));
    });
    // IF by CPL <= IOPL; IOPL by CPL 0 alone. In virtual-8086 mode (IOPL 3) CPL is 3, so the same rule gives the right answer.
    const interrupts = r.select(r.i32_le_u(cpl, iopl), r.i32(eflag.IF), r.i32(0));
    const privilege = r.select(cpl, r.i32(0), r.i32(eflag.IOPL));
    const mask = r.i32_and(r.i32_or(r.i32_or(interrupts, privilege), r.i32(common)), whole);
    mergeEflags(r, value, mask);
    // RF is cleared by POPF.
    r.i32_store(s, r.i32_and(r.i32_load(s, field.eflags), r.i32(~eflag.RF)), field.eflags);
    r.ret(r.i32(0));
  },
);

/** Virtual interrupts apply: CR4.VME in virtual-8086 mode, CR4.PVI at CPL 3 in protected mode; and CPL > IOPL. */
function usesVif(r: RoutineBuilder, flags: I32, cpl: I32): I32 {
  const control4 = r.i32_load(r.state(), field.cr4);
  const enabled = r.select(bitSet(r, flags, eflag.VM), bitSet(r, control4, cr4.VME), bitSet(r, control4, cr4.PVI));
  return r.i32_and(enabled, r.i32_eq(cpl, r.i32(3)));
}

function setFlag(r: RoutineBuilder, mask: number): void {
  r.i32_store(r.state(), r.i32_or(r.i32_load(r.state(), field.eflags), r.i32(mask)), field.eflags);
}

function clearFlag(r: RoutineBuilder, mask: number): void {
  r.i32_store(r.state(), r.i32_and(r.i32_load(r.state(), field.eflags), r.i32(~mask)), field.eflags);
}

/** CLI where the mode key does not say that it is allowed. */
export const checkedCli = routines.define('checked_cli', [], ['i32'], { mayFault: true }, (r) => {
  const flags = r.i32_load(r.state(), field.eflags);
  const cpl = r.i32_load(r.state(), field.cpl);
  r.if(
    r.i32_le_u(cpl, ioplOf(r, flags)),
    () => clearFlag(r, eflag.IF),
    () => {
      r.if(r.i32_eqz(usesVif(r, flags, cpl)), () => fail(r, vector.GP));
      clearFlag(r, eflag.VIF);
    },
  );
  r.ret(r.i32(0));
});

/** STI where the mode key does not say that it is allowed. */
export const checkedSti = routines.define('checked_sti', [], ['i32'], { mayFault: true }, (r) => {
  const flags = r.i32_load(r.state(), field.eflags);
  const cpl = r.i32_load(r.state(), field.cpl);
  r.if(
    r.i32_le_u(cpl, ioplOf(r, flags)),
    () => setFlag(r, eflag.IF),
    () => {
      r.if(r.i32_eqz(r.i32_and(usesVif(r, flags, cpl), r.i32_eqz(bitSet(r, flags, eflag.VIP)))), () =>
        fail(r, vector.GP),
      );
      setFlag(r, eflag.VIF);
    },
  );
  r.ret(r.i32(0));
});
