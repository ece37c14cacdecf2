/**
 * What every x87 routine is made of: the pending-exception check, the register stack, and the end of an instruction (sticky
 * flags, unmasked exceptions). Intel SDM vol. 1 ch. 8.1, 8.5, 8.6.
 *
 * Routines return a fault word first. TOP, the status word without TOP and the empty registers are fields of their own.
 */
import { header, type I32, type I64, type RoutineBuilder } from '../../../ir/index.js';
import { and, flag, or } from '../../float/core.js';
import { field, trapCode } from '../state.js';
import { INDEFINITE_SE, INDEFINITE_SIG } from './float80.js';
import { routines } from './set.js';

const CR0_NE = 0x20;
const MF = 16;

/**
 * FERR# goes active: an unmasked exception is pending and CR0.NE is 0. The machine raises its IRQ 13; the instruction goes
 * on, as with IGNNE# active.
 */
const ferr = routines.host('x87_ferr', [], [], {});

/** The JavaScript that the routines here need. */
export function x87HostRoutines(raiseFerr: () => void): { x87_ferr: (state: number) => void } {
  return { x87_ferr: () => raiseFerr() };
}

/** A waiting instruction met a pending exception: 1 if it ends with #MF. */
const reportPending = routines.define('x87_report_pending', [], ['i32'], { mayFault: true }, (r) => {
  const state = r.state();
  r.if(and(r, r.i32_load(state, field.cr0), CR0_NE), () => {
    r.i32_store(state, r.i32(trapCode(MF)), header.trapCode);
    r.ret(r.i32(1));
  });
  r.call(ferr);
  r.ret(r.i32(0));
});

/** Checks for a pending exception: returns with a fault, or gives the status word. */
export function waitForPending(r: RoutineBuilder): I32 {
  const status = r.i32_load(r.state(), field.fpStatus);
  r.if(and(r, status, flag.ES), () => {
    r.call(reportPending);
  });
  return status;
}

/** A register: its number (R, not ST) and host address (to which field.fpr is added). */
export interface Slot {
  readonly number: I32;
  readonly address: I32;
}

export function slotAt(r: RoutineBuilder, number: I32): Slot {
  return { number, address: r.i32_add(r.state(), r.i32_shl(number, r.i32(4))) };
}

/** ST(i). */
export function slot(r: RoutineBuilder, top: I32, i?: I32): Slot {
  return slotAt(r, i === undefined ? top : and(r, r.i32_add(top, i), 7));
}

export const loadSig = (r: RoutineBuilder, s: Slot): I64 => r.i64_load(s.address, field.fpr);
export const loadSe = (r: RoutineBuilder, s: Slot): I32 => r.i32_load16_u(s.address, field.fpr + 8);
export function storeSlot(r: RoutineBuilder, s: Slot, sig: I64, se: I32): void {
  r.i64_store(s.address, sig, field.fpr);
  r.i32_store16(s.address, se, field.fpr + 8);
}

export const loadTop = (r: RoutineBuilder): I32 => r.i32_load(r.state(), field.fpTop);
export const loadEmpty = (r: RoutineBuilder): I32 => r.i32_load(r.state(), field.fpEmpty);
export const loadControl = (r: RoutineBuilder): I32 => r.i32_load(r.state(), field.fpControl);
/** 1 if one of the registers is empty (the upper bits are anything). */
export const isEmpty = (r: RoutineBuilder, empty: I32, s: Slot): I32 => and(r, r.i32_shr_u(empty, s.number), 1);

export const bitOf = (r: RoutineBuilder, s: Slot): I32 => r.i32_shl(r.i32(1), s.number);

/** The register holds something from now on. */
export function fill(r: RoutineBuilder, s: Slot): void {
  const empty = loadEmpty(r);
  r.i32_store(r.state(), r.i32_and(empty, r.i32_xor(bitOf(r, s), r.i32(-1))), field.fpEmpty);
}

/** Removes ST(0). */
export function pop(r: RoutineBuilder): void {
  const state = r.state();
  const top = loadTop(r);
  r.i32_store(state, r.i32_or(loadEmpty(r), r.i32_shl(r.i32(1), top)), field.fpEmpty);
  r.i32_store(state, and(r, r.i32_add(top, r.i32(1)), 7), field.fpTop);
}

/** Pops as often as the operand says (0, 1 or 2). */
export function popTimes(r: RoutineBuilder, times: I32): void {
  r.if(times, () => {
    pop(r);
    r.if(r.i32_gt_u(times, r.i32(1)), () => pop(r));
  });
}

/**
 * Ends an instruction: sets `flags` in the status word in place of `cleared`; an unmasked one becomes pending. If one of
 * `stops` is unmasked, returns; else `store` delivers the result. The routine then goes on.
 */
export function commit(
  r: RoutineBuilder,
  flags: I32,
  store: () => void,
  options: { readonly cleared?: number; readonly stops?: number; readonly more?: () => number[] } = {},
): void {
  const { cleared = flag.C1, stops = flag.IE | flag.DE | flag.ZE, more = () => [] } = options;
  const state = r.state();
  const status = r.i32_or(and(r, r.i32_load(state, field.fpStatus), ~cleared), flags);
  const unmasked = and(r, r.i32_and(flags, r.i32_xor(loadControl(r), r.i32(-1))), 0x3f);
  r.if(
    unmasked,
    () => {
      r.i32_store(state, or(r, status, flag.ES | flag.B), field.fpStatus);
      r.if(and(r, unmasked, stops), () => r.ret(r.i32(0), ...more()));
    },
    () => r.i32_store(state, status, field.fpStatus),
  );
  store();
}

/**
 * (C1, codes): stack underflow, or overflow with C1; clears those condition codes. 1 when IE is masked, and the masked response is
 * to follow.
 */
export const stackFault = routines.define('x87_stack_fault', ['i32', 'i32'], ['i32'], {}, (r, c1, codes) => {
  const state = r.state();
  const kept = r.i32_and(r.i32_load(state, field.fpStatus), r.i32_xor(or(r, codes, flag.C1), r.i32(-1)));
  const status = r.i32_or(kept, or(r, c1, flag.IE | flag.SF));
  const masked = and(r, loadControl(r), flag.IE);
  r.i32_store(state, r.select(masked, status, or(r, status, flag.ES | flag.B)), field.fpStatus);
  r.ret(masked);
});

export function storeIndefinite(r: RoutineBuilder, s: Slot): void {
  storeSlot(r, s, r.i64(INDEFINITE_SIG), r.i32(INDEFINITE_SE));
}

/** Stack underflow if the condition is not 0: the masked response stores the indefinite in the register, fills it and pops; returns. */
export function underflowIf(r: RoutineBuilder, condition: I32, target: Slot, pops?: I32, clearedCodes = 0): void {
  r.if(condition, () => {
    const [masked] = r.call(stackFault, r.i32(0), r.i32(clearedCodes));
    r.if(masked, () => {
      storeIndefinite(r, target);
      fill(r, target);
      if (pops !== undefined) popTimes(r, pops);
    });
    r.ret(r.i32(0));
  });
}

/** Makes room on the stack: the new ST(0), not yet filled. On overflow the masked response is a new indefinite; returns. */
export function beginPush(r: RoutineBuilder): Slot {
  const top = and(r, r.i32_add(loadTop(r), r.i32(7)), 7);
  const s = slot(r, top);
  r.if(r.i32_eqz(isEmpty(r, loadEmpty(r), s)), () => {
    const [masked] = r.call(stackFault, r.i32(flag.C1), r.i32(0));
    r.if(masked, () => {
      storeIndefinite(r, s);
      r.i32_store(r.state(), top, field.fpTop);
    });
    r.ret(r.i32(0));
  });
  return s;
}

/**
 * For instructions that replace ST(0) and push a second result (FXTRACT, FSINCOS, FPTAN): the new ST(0), not yet filled. On
 * underflow or overflow the masked response is two indefinites; returns.
 */
export function beginPair(r: RoutineBuilder, old: Slot, clearedCodes: number): Slot {
  const top = and(r, r.i32_add(loadTop(r), r.i32(7)), 7);
  const s = slot(r, top);
  const empty = loadEmpty(r);
  const underflow = isEmpty(r, empty, old);
  r.if(r.i32_or(underflow, r.i32_eqz(isEmpty(r, empty, s))), () => {
    const [masked] = r.call(stackFault, r.select(underflow, r.i32(0), r.i32(flag.C1)), r.i32(clearedCodes));
    r.if(masked, () => {
      storeIndefinite(r, old);
      storeIndefinite(r, s);
      fill(r, old);
      fill(r, s);
      r.i32_store(r.state(), top, field.fpTop);
    });
    r.ret(r.i32(0));
  });
  return s;
}

/** Fills what beginPush gave. */
export function endPush(r: RoutineBuilder, s: Slot, sig: I64, se: I32): void {
  storeSlot(r, s, sig, se);
  r.i32_store(r.state(), s.number, field.fpTop);
  r.i32_store(r.state(), r.i32_xor(loadEmpty(r), bitOf(r, s)), field.fpEmpty);
}

/** Clears C1, for instructions that raise nothing. */
export function clearC1(r: RoutineBuilder, status: I32): void {
  r.i32_store(r.state(), and(r, status, ~flag.C1), field.fpStatus);
}
