/**
 * Entering a handler the common way, in IR: interrupt and trap gates of long mode, and 32-bit ones of protected mode to flat
 * stacks. Whatever is unusual or wrong is left untouched to the JavaScript in interrupts.ts, which also finds the right fault.
 * Intel SDM vol. 3, 6.12 and 6.14.
 */
import { header, type I32, type I64, type RoutineBuilder } from '../../../ir/index.js';
import { implicitAccess, updateMode, updateMode64 } from '../mode.js';
import { routines } from '../routines/set.js';
import { field, gpr, segBase } from '../state.js';
import { descriptor, efer, eflag, seg, systemType } from './bits.js';
import { loadEflags } from './eflags.js';
import { ATTRIBUTE_MASK } from './vcpu.js';

/** What is delivered, and flags beside it. */
export const eventFlag = {
  /** INT n, INT3, INTO: the gate's DPL counts. */
  software: 1,
  /** An error code is pushed. */
  errorCode: 2,
  /** The pushed EFLAGS have RF set: a fault. */
  resume: 4,
} as const;

const RSP = 4;

/** What is read of a code descriptor. */
interface CodeDescriptor {
  readonly high: I32;
  readonly dpl: I32;
}

/**
 * Reads a selector's descriptor from the GDT and leaves by `otherwise` unless it is present code in reach of the handler's
 * rules: not above CPL.
 */
function readCode(r: RoutineBuilder, selector: I32, cpl: I32, otherwise: () => void): CodeDescriptor & { low: I32 } {
  const s = r.state();
  const index = r.i32_and(selector, r.i32(0xfff8));
  const beyond = r.i32_gt_u(r.i32_or(index, r.i32(7)), r.i32_load(s, field.gdtLimit));
  r.if(r.i32_or(r.i32_or(beyond, r.i32_and(selector, r.i32(4))), r.i32_eqz(index)), otherwise);
  const loaded = r.guest_load64(r.i64_add(r.i64_load(s, field.gdtBase), r.i64_extend_i32_u(index)), implicitAccess);
  const low = r.i32_wrap_i64(loaded);
  const high = r.i32_wrap_i64(r.i64_shr_u(loaded, r.i64(32)));
  const needed = descriptor.present | descriptor.notSystem | descriptor.code | descriptor.accessed;
  // Conforming code keeps CPL: rare, so left to JavaScript.
  const right = r.i32_eq(r.i32_and(high, r.i32(needed | descriptor.conforming)), r.i32(needed));
  const dpl = r.i32_and(r.i32_shr_u(high, r.i32(descriptor.dplShift)), r.i32(3));
  r.if(r.i32_eqz(r.i32_and(right, r.i32_le_u(dpl, cpl))), otherwise);
  return { low, high, dpl };
}

function segmentBase(r: RoutineBuilder, low: I32, high: I32): I32 {
  const middle = r.i32_shl(r.i32_and(high, r.i32(0xff)), r.i32(16));
  return r.i32_or(r.i32_or(r.i32_shr_u(low, r.i32(16)), middle), r.i32_and(high, r.i32(0xff000000 | 0)));
}

function segmentLimit(r: RoutineBuilder, low: I32, high: I32): I32 {
  const raw = r.i32_or(r.i32_and(low, r.i32(0xffff)), r.i32_and(high, r.i32(0xf0000)));
  const pages = r.i32_or(r.i32_shl(raw, r.i32(12)), r.i32(0xfff));
  return r.select(r.i32_and(high, r.i32(descriptor.granular)), pages, raw);
}

/** Puts a descriptor's words into a segment register. */
function setSegment(r: RoutineBuilder, n: number, selector: I32, low: I32, high: I32): void {
  const s = r.state();
  r.i32_store(s, selector, field.selector + 4 * n);
  r.set(segBase[n], r.i64_extend_i32_u(segmentBase(r, low, high)));
  r.i32_store(s, segmentLimit(r, low, high), field.limit + 4 * n);
  r.i32_store(s, r.i32_and(high, r.i32(ATTRIBUTE_MASK)), field.attributes + 4 * n);
}

const deliverLong = routines.define(
  'deliver_long',
  ['i32', 'i32', 'i32', 'i64'],
  ['i32', 'i32'],
  { vars: 'write', mayFault: true },
  (r, number, flags, errorCode, returnPc) => {
    const s = r.state();
    const slow = () => r.ret(r.i32(0), r.i32(1));
    const cpl = r.i32_load(s, field.cpl);
    const offset = r.i32_shl(number, r.i32(4));
    r.if(r.i32_gt_u(r.i32_or(offset, r.i32(15)), r.i32_load(s, field.idtLimit)), slow);
    const gateAt = r.i64_add(r.i64_load(s, field.idtBase), r.i64_extend_i32_u(offset));
    const gate = r.guest_load64(gateAt, implicitAccess);
    const upper = r.guest_load64(r.i64_add(gateAt, r.i64(8)), implicitAccess);
    const gateHigh = r.i32_wrap_i64(r.i64_shr_u(gate, r.i64(32)));
    // Types 14 and 15: the lowest bit tells interrupt from trap gates.
    const kindBits = descriptor.present | descriptor.notSystem | (14 << descriptor.typeShift);
    const kind = descriptor.present | (systemType.interruptGate32 << descriptor.typeShift);
    const rightKind = r.i32_eq(r.i32_and(gateHigh, r.i32(kindBits)), r.i32(kind));
    const gateDpl = r.i32_and(r.i32_shr_u(gateHigh, r.i32(descriptor.dplShift)), r.i32(3));
    const allowed = r.i32_or(r.i32_eqz(r.i32_and(flags, r.i32(eventFlag.software))), r.i32_ge_u(gateDpl, cpl));
    r.if(r.i32_eqz(r.i32_and(rightKind, allowed)), slow);
    const gateLow = r.i32_wrap_i64(gate);
    const selector = r.i32_shr_u(gateLow, r.i32(16));
    const code = readCode(r, selector, cpl, slow);
    r.if(r.i32_ne(r.i32_and(code.high, r.i32(descriptor.long | descriptor.big)), r.i32(descriptor.long)), slow);
    const inner = r.i32_lt_u(code.dpl, cpl);
    const ist = r.i32_and(gateHigh, r.i32(7));
    const stack = r.local('i64', r.get(gpr[RSP]));
    r.if(r.i32_or(ist, inner), () => {
      const at = r.select(
        ist,
        r.i32_add(r.i32_shl(ist, r.i32(3)), r.i32(0x1c)),
        r.i32_add(r.i32_shl(code.dpl, r.i32(3)), r.i32(4)),
      );
      r.if(r.i32_gt_u(r.i32_add(at, r.i32(7)), r.i32_load(s, field.trLimit)), slow);
      const tss = r.i64_load(s, field.trBase);
      r.assign(stack, r.guest_load64(r.i64_add(tss, r.i64_extend_i32_u(at)), implicitAccess));
    });
    // A gate from ring 3 to ring 3 pushes as a user access does.
    r.if(r.i32_eq(code.dpl, r.i32(3)), slow);
    const old = r.get(gpr[RSP]);
    const eflags = loadEflags(r);
    const top = r.i64_and(r.read(stack), r.i64(-16));
    const wide = (value: I32): I64 => r.i64_extend_i32_u(value);
    const selectorOf = (n: number): I64 => wide(r.i32_load16_u(s, field.selector + 4 * n));
    const resume = r.select(r.i32_and(flags, r.i32(eventFlag.resume)), r.i32(eflag.RF), r.i32(0));
    const store = (below: number, value: I64) => r.guest_store64(r.i64_sub(top, r.i64(below)), value, implicitAccess);
    store(8, selectorOf(seg.SS));
    store(16, old);
    store(24, wide(r.i32_or(eflags, resume)));
    store(32, selectorOf(seg.CS));
    store(40, returnPc);
    const pushed = r.local('i64', r.i64(40));
    r.if(r.i32_and(flags, r.i32(eventFlag.errorCode)), () => {
      store(48, wide(errorCode));
      r.assign(pushed, r.i64(48));
    });
    r.set(gpr[RSP], r.i64_sub(top, r.read(pushed)));
    r.if(inner, () => {
      r.i32_store(s, code.dpl, field.selector + 4 * seg.SS);
      r.i32_store(s, r.i32_shl(code.dpl, r.i32(descriptor.dplShift)), field.attributes + 4 * seg.SS);
      r.i32_store(s, r.i32(0), field.limit + 4 * seg.SS);
      r.set(segBase[seg.SS], r.i64(0));
    });
    setSegment(r, seg.CS, r.i32_or(r.i32_and(selector, r.i32(0xfffc)), code.dpl), code.low, code.high);
    r.i32_store(s, code.dpl, field.cpl);
    enter(r, gateHigh);
    const entryLow = r.i32_or(r.i32_and(gateLow, r.i32(0xffff)), r.i32_and(gateHigh, r.i32(0xffff0000 | 0)));
    const entry = r.i64_or(wide(entryLow), r.i64_shl(upper, r.i64(32)));
    r.i64_store(s, entry, header.pc);
    r.call(updateMode64, code.dpl);
    r.ret(r.i32(0), r.i32(0));
  },
);

/** Flags and shadow on entry to a handler; interrupt gates clear IF. */
function enter(r: RoutineBuilder, gateHigh: I32): void {
  const s = r.state();
  const trap = r.i32_and(gateHigh, r.i32(1 << descriptor.typeShift));
  const cleared = eflag.TF | eflag.NT | eflag.RF | eflag.VM;
  const mask = r.select(trap, r.i32(~cleared), r.i32(~(cleared | eflag.IF)));
  r.i32_store(s, r.i32_and(r.i32_load(s, field.eflags), mask), field.eflags);
  r.i32_store(s, r.i32(0), field.interruptShadow);
}

const deliver32 = routines.define(
  'deliver_32',
  ['i32', 'i32', 'i32', 'i64'],
  ['i32', 'i32'],
  { vars: 'write', mayFault: true },
  (r, number, flags, errorCode, returnPc) => {
    const s = r.state();
    const slow = () => r.ret(r.i32(0), r.i32(1));
    const cpl = r.i32_load(s, field.cpl);
    const offset = r.i32_shl(number, r.i32(3));
    r.if(r.i32_gt_u(r.i32_or(offset, r.i32(7)), r.i32_load(s, field.idtLimit)), slow);
    const gate = r.guest_load64(r.i64_add(r.i64_load(s, field.idtBase), r.i64_extend_i32_u(offset)), implicitAccess);
    const gateHigh = r.i32_wrap_i64(r.i64_shr_u(gate, r.i64(32)));
    const kindBits = descriptor.present | descriptor.notSystem | (14 << descriptor.typeShift);
    const kind = descriptor.present | (systemType.interruptGate32 << descriptor.typeShift);
    const rightKind = r.i32_eq(r.i32_and(gateHigh, r.i32(kindBits)), r.i32(kind));
    const gateDpl = r.i32_and(r.i32_shr_u(gateHigh, r.i32(descriptor.dplShift)), r.i32(3));
    const allowed = r.i32_or(r.i32_eqz(r.i32_and(flags, r.i32(eventFlag.software))), r.i32_ge_u(gateDpl, cpl));
    r.if(r.i32_eqz(r.i32_and(rightKind, allowed)), slow);
    const gateLow = r.i32_wrap_i64(gate);
    const selector = r.i32_shr_u(gateLow, r.i32(16));
    const code = readCode(r, selector, cpl, slow);
    // Ring 0 handlers with 4 GiB segments only.
    const limit = segmentLimit(r, code.low, code.high);
    r.if(r.i32_or(code.dpl, r.i32_ne(limit, r.i32(-1))), slow);
    const inner = r.i32_ne(cpl, r.i32(0));
    const stackSelector = r.local('i32', r.i32_load16_u(s, field.selector + 4 * seg.SS));
    const stackLow = r.local('i32');
    const stackHigh = r.local('i32', r.i32_load(s, field.attributes + 4 * seg.SS));
    const stackBase = r.local('i64', r.get(segBase[seg.SS]));
    const stackLimit = r.local('i32', r.i32_load(s, field.limit + 4 * seg.SS));
    const stack = r.local('i32', r.i32_wrap_i64(r.get(gpr[RSP])));
    r.if(inner, () => {
      const tssType = r.i32_and(r.i32_shr_u(r.i32_load(s, field.trAttributes), r.i32(descriptor.typeShift)), r.i32(15));
      const usable = r.i32_and(
        r.i32_eq(tssType, r.i32(systemType.busyTss32)),
        r.i32_ge_u(r.i32_load(s, field.trLimit), r.i32(11)),
      );
      r.if(r.i32_eqz(usable), slow);
      const tss = r.i64_load(s, field.trBase);
      r.assign(stack, r.guest_load32(r.i64_add(tss, r.i64(4)), implicitAccess));
      const selected = r.guest_load16(r.i64_add(tss, r.i64(8)), implicitAccess);
      const index = r.i32_and(selected, r.i32(0xfff8));
      const beyond = r.i32_gt_u(r.i32_or(index, r.i32(7)), r.i32_load(s, field.gdtLimit));
      r.if(r.i32_or(r.i32_or(beyond, r.i32_and(selected, r.i32(7))), r.i32_eqz(index)), slow);
      const loaded = r.guest_load64(r.i64_add(r.i64_load(s, field.gdtBase), r.i64_extend_i32_u(index)), implicitAccess);
      r.assign(stackSelector, selected);
      r.assign(stackLow, r.i32_wrap_i64(loaded));
      r.assign(stackHigh, r.i32_wrap_i64(r.i64_shr_u(loaded, r.i64(32))));
      r.assign(stackLimit, segmentLimit(r, r.read(stackLow), r.read(stackHigh)));
      r.assign(stackBase, r.i64_extend_i32_u(segmentBase(r, r.read(stackLow), r.read(stackHigh))));
    });
    const needed =
      descriptor.present | descriptor.notSystem | descriptor.writable | descriptor.big | descriptor.accessed;
    const looked = needed | descriptor.code | descriptor.expandDown | descriptor.DPL;
    const flat = r.i32_and(
      r.i32_eq(r.i32_and(r.read(stackHigh), r.i32(looked)), r.i32(needed)),
      r.i32_eq(r.read(stackLimit), r.i32(-1)),
    );
    r.if(r.i32_eqz(flat), slow);
    const eflags = loadEflags(r);
    const resume = r.select(r.i32_and(flags, r.i32(eventFlag.resume)), r.i32(eflag.RF), r.i32(0));
    const base = r.read(stackBase);
    const push = (value: I32) => {
      const below = r.i32_sub(r.read(stack), r.i32(4));
      const at = r.i64_and(r.i64_add(base, r.i64_extend_i32_u(below)), r.i64(0xffffffff));
      r.guest_store32(at, value, implicitAccess);
      r.assign(stack, below);
    };
    r.if(inner, () => {
      push(r.i32_load16_u(s, field.selector + 4 * seg.SS));
      push(r.i32_wrap_i64(r.get(gpr[RSP])));
    });
    push(r.i32_or(eflags, resume));
    push(r.i32_load16_u(s, field.selector + 4 * seg.CS));
    push(r.i32_wrap_i64(returnPc));
    r.if(r.i32_and(flags, r.i32(eventFlag.errorCode)), () => push(errorCode));
    r.set(gpr[RSP], r.i64_extend_i32_u(r.read(stack)));
    r.if(inner, () => {
      setSegment(r, seg.SS, r.read(stackSelector), r.read(stackLow), r.read(stackHigh));
    });
    setSegment(r, seg.CS, r.i32_and(selector, r.i32(0xfffc)), code.low, code.high);
    r.i32_store(s, r.i32(0), field.cpl);
    enter(r, gateHigh);
    r.i64_store(
      s,
      r.i64_extend_i32_u(r.i32_or(r.i32_and(gateLow, r.i32(0xffff)), r.i32_and(gateHigh, r.i32(0xffff0000 | 0)))),
      header.pc,
    );
    r.call(updateMode);
    r.ret(r.i32(0), r.i32(0));
  },
);

/**
 * (vector, eventFlag bits, error code, pc to return to) → (fault, slow). Fault: the delivery itself faulted and the fault is
 * recorded; with trap code 0 it is to be tried again. Slow: nothing has happened, JavaScript must do it.
 */
export const deliverFast = routines.define(
  'deliver_fast',
  ['i32', 'i32', 'i32', 'i64'],
  ['i32', 'i32'],
  { vars: 'write', mayFault: true },
  (r, number, flags, errorCode, returnPc) => {
    const s = r.state();
    r.if(r.i32_and(r.i32_load(s, field.efer), r.i32(efer.LMA)), () => {
      const [fault, slow] = r.call(deliverLong, number, flags, errorCode, returnPc);
      r.ret(fault, slow);
    });
    const protectedMode = r.i32_and(r.i32_load(s, field.cr0), r.i32(1));
    const vm86 = r.i32_and(r.i32_load(s, field.eflags), r.i32(eflag.VM));
    r.if(r.i32_or(r.i32_eqz(protectedMode), vm86), () => r.ret(r.i32(0), r.i32(1)));
    const [fault, slow] = r.call(deliver32, number, flags, errorCode, returnPc);
    r.ret(fault, slow);
  },
);
