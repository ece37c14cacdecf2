/**
 * Far jumps, calls and returns, and IRET, in every mode: Intel SDM vol. 2 (JMP, CALL, RET, IRET), vol. 3, 5.8. The common IRETs
 * are in iret-fast.ts.
 */
import { header } from '../../../ir/index.js';
import { routines } from '../routines/set.js';
import { field } from '../state.js';
import { cr4, descriptor, eflag, STATUS_FLAGS, seg, systemType, vector } from './bits.js';
import { asWhom } from './guest-memory.js';
import { readInnerStack, stackSegmentOf } from './interrupts.js';
import { Stack, type StackSegment } from './stack.js';
import { switchTask } from './task-switch.js';
import {
  type Descriptor,
  dplOf,
  isCode,
  isConformingCode,
  isPresent,
  isWritableData,
  limitOf,
  type Vcpu,
} from './vcpu.js';

/** Host routines: (selector, offset, operand size, address of the next instruction) → fault. They write the pc. */
export const farJump = routines.host('far_jump', ['i32', 'i64', 'i32', 'i64'], ['i32'], {
  vars: 'write',
  mayFault: true,
});
export const farCall = routines.host('far_call', ['i32', 'i64', 'i32', 'i64'], ['i32'], {
  vars: 'write',
  mayFault: true,
});
/** (operand size, bytes to drop) → fault. */
export const farReturn = routines.host('far_return', ['i32', 'i32'], ['i32'], { vars: 'write', mayFault: true });
/** (operand size, address of the next instruction) → fault. */
export const iretSlow = routines.host('iret_slow', ['i32', 'i64'], ['i32'], { vars: 'write', mayFault: true });

type Size = 2 | 4 | 8;
const sizeOf = (opSize: number): Size => (opSize === 64 ? 8 : opSize === 32 ? 4 : 2);
const errorOf = (selector: number): number => selector & 0xfffc;
const hasNoRights = (cpu: Vcpu): boolean => !cpu.isProtected || cpu.isVm86;

/** Real and virtual-8086 mode: CS and IP as they are. */
function jumpUnchecked(cpu: Vcpu, selector: number, offset: bigint): void {
  cpu.setSegment(seg.CS, selector, BigInt(selector << 4), cpu.getLimit(seg.CS), cpu.getAttributes(seg.CS));
  cpu.pc = offset;
  cpu.updateMode();
}

/** Checks that the offset lies in the code segment. */
function checkTarget(cpu: Vcpu, d: Descriptor, offset: bigint): void {
  if (cpu.isLong && d.high & descriptor.long) {
    if (!cpu.isCanonical(offset)) cpu.raiseGp(0);
  } else if (offset > BigInt(limitOf(d))) cpu.raiseGp(0);
}

function checkLongBits(cpu: Vcpu, high: number, code: number): void {
  const both = descriptor.long | descriptor.big;
  if (cpu.isLong && (high & both) === both) cpu.raiseGp(code);
}

/** A code segment as the direct target of JMP or CALL: keeps CPL. */
function checkDirectCode(cpu: Vcpu, d: Descriptor, selector: number): void {
  const code = errorOf(selector);
  const { cpl } = cpu;
  const dpl = dplOf(d.high);
  if (isConformingCode(d.high) ? dpl > cpl : dpl !== cpl || (selector & 3) > cpl) cpu.raiseGp(code);
  if (!isPresent(d.high)) cpu.raise(vector.NP, code);
  checkLongBits(cpu, d.high, code);
}

interface CallGate {
  readonly selector: number;
  readonly offset: bigint;
  readonly size: Size;
  readonly parameters: number;
  readonly d: Descriptor;
}

/** Reads a call gate and the code descriptor it names. */
function readCallGate(cpu: Vcpu, gate: Descriptor, selector: number): CallGate {
  if (!isPresent(gate.high)) cpu.raise(vector.NP, errorOf(selector));
  const wide = ((gate.high >>> descriptor.typeShift) & 15) === systemType.callGate32;
  let offset = BigInt(wide ? ((gate.high & 0xffff0000) | (gate.low & 0xffff)) >>> 0 : gate.low & 0xffff);
  if (cpu.isLong) {
    if (cpu.descriptorAddress(selector, 16) === undefined) cpu.raiseGp(errorOf(selector));
    const upper = cpu.load(cpu.linear(gate.address + 8n), 8, asWhom.system);
    if ((upper >> 40n) & 0x1fn) cpu.raiseGp(errorOf(selector));
    offset |= (upper & 0xffffffffn) << 32n;
  }
  const target = gate.low >>> 16;
  if (errorOf(target) === 0) cpu.raiseGp(0);
  const d = cpu.readDescriptor(target);
  if (!isCode(d.high) || dplOf(d.high) > cpu.cpl) cpu.raiseGp(errorOf(target));
  const both = d.high & (descriptor.long | descriptor.big);
  if (cpu.isLong && both !== descriptor.long) cpu.raiseGp(errorOf(target));
  return { selector: target, offset, size: cpu.isLong ? 8 : wide ? 4 : 2, parameters: gate.high & 31, d };
}

/** Rights to a gate or TSS descriptor; throws #GP unless the type is one that JMP and CALL know. */
function systemTarget(cpu: Vcpu, d: Descriptor, selector: number): 'gate' | 'taskGate' | 'tss' {
  const type = (d.high >>> descriptor.typeShift) & 31;
  const code = errorOf(selector);
  const dpl = dplOf(d.high);
  if (dpl < cpu.cpl || dpl < (selector & 3)) cpu.raiseGp(code);
  if (type === systemType.callGate32 || (type === systemType.callGate16 && !cpu.isLong)) return 'gate';
  if (!cpu.isLong) {
    if (type === systemType.taskGate) return 'taskGate';
    if (type === systemType.tss16 || type === systemType.tss32) return 'tss';
  }
  return cpu.raiseGp(code);
}

function enterTask(
  cpu: Vcpu,
  kind: 'taskGate' | 'tss',
  d: Descriptor,
  selector: number,
  cause: 'jump' | 'call',
  next: bigint,
): void {
  if (!isPresent(d.high)) cpu.raise(vector.NP, errorOf(selector));
  switchTask(cpu, kind === 'tss' ? selector : d.low >>> 16, cause, next);
}

export function jumpFar(cpu: Vcpu, selector: number, offset: bigint, next: bigint): void {
  if (hasNoRights(cpu)) {
    if (offset > BigInt(cpu.getLimit(seg.CS))) cpu.raiseGp(0);
    jumpUnchecked(cpu, selector, offset);
    return;
  }
  if (errorOf(selector) === 0) cpu.raiseGp(0);
  const d = cpu.readDescriptor(selector);
  if (isCode(d.high)) {
    checkDirectCode(cpu, d, selector);
    checkTarget(cpu, d, offset);
    enterCode(cpu, selector, d, offset, cpu.cpl);
    return;
  }
  const kind = systemTarget(cpu, d, selector);
  if (kind !== 'gate') {
    enterTask(cpu, kind, d, selector, 'jump', next);
    return;
  }
  const gate = readCallGate(cpu, d, selector);
  if (!isConformingCode(gate.d.high) && dplOf(gate.d.high) !== cpu.cpl) cpu.raiseGp(errorOf(gate.selector));
  if (!isPresent(gate.d.high)) cpu.raise(vector.NP, errorOf(gate.selector));
  checkTarget(cpu, gate.d, gate.offset);
  enterCode(cpu, gate.selector, gate.d, gate.offset, cpu.cpl);
}

function enterCode(cpu: Vcpu, selector: number, d: Descriptor, offset: bigint, level: number): void {
  const marked = cpu.markAccessed(d);
  cpu.setSegmentFrom(seg.CS, errorOf(selector) | level, marked);
  cpu.cpl = level;
  cpu.pc = offset;
  cpu.updateMode();
}

export function callFar(cpu: Vcpu, selector: number, offset: bigint, opSize: number, next: bigint): void {
  const size = sizeOf(opSize);
  const oldCs = BigInt(cpu.getSelector(seg.CS));
  if (hasNoRights(cpu)) {
    if (offset > BigInt(cpu.getLimit(seg.CS))) cpu.raiseGp(0);
    const stack = Stack.current(cpu);
    stack.push(oldCs, size);
    stack.push(next, size);
    stack.commit();
    jumpUnchecked(cpu, selector, offset);
    return;
  }
  if (errorOf(selector) === 0) cpu.raiseGp(0);
  const d = cpu.readDescriptor(selector);
  if (isCode(d.high)) {
    checkDirectCode(cpu, d, selector);
    const stack = Stack.current(cpu);
    stack.push(oldCs, size);
    stack.push(next, size);
    checkTarget(cpu, d, offset);
    const marked = cpu.markAccessed(d);
    stack.commit();
    enterCode(cpu, selector, marked, offset, cpu.cpl);
    return;
  }
  const kind = systemTarget(cpu, d, selector);
  if (kind !== 'gate') enterTask(cpu, kind, d, selector, 'call', next);
  else callThroughGate(cpu, readCallGate(cpu, d, selector), next);
}

function callThroughGate(cpu: Vcpu, gate: CallGate, next: bigint): void {
  const { size, d } = gate;
  const code = errorOf(gate.selector);
  if (!isPresent(d.high)) cpu.raise(vector.NP, code);
  const oldCs = BigInt(cpu.getSelector(seg.CS));
  const level = isConformingCode(d.high) ? cpu.cpl : dplOf(d.high);
  if (level === cpu.cpl) {
    const stack = Stack.current(cpu);
    stack.push(oldCs, size);
    stack.push(next, size);
    checkTarget(cpu, d, gate.offset);
    const marked = cpu.markAccessed(d);
    stack.commit();
    enterCode(cpu, gate.selector, marked, gate.offset, level);
    return;
  }
  const oldSs = BigInt(cpu.getSelector(seg.SS));
  const oldSp = cpu.getGpr(4);
  if (cpu.isLong) {
    const at = 4 + 8 * level;
    if (at + 7 > cpu.get32(field.trLimit)) cpu.raise(vector.TS, errorOf(cpu.get32(field.trSelector)));
    const pointer = cpu.load(cpu.get64(field.trBase) + BigInt(at), 8, asWhom.system);
    const none: StackSegment = { base: 0n, limit: 0, attributes: 0 };
    const stack = new Stack(cpu, none, pointer, asWhom.system, 0, true);
    for (const value of [oldSs, oldSp, oldCs, next]) stack.push(value, 8);
    checkTarget(cpu, d, gate.offset);
    const marked = cpu.markAccessed(d);
    stack.commit();
    cpu.setSegment(seg.SS, level, 0n, 0, level << descriptor.dplShift);
    enterCode(cpu, gate.selector, marked, gate.offset, level);
    return;
  }
  const inner = readInnerStack(cpu, level, 0);
  const stack = new Stack(cpu, stackSegmentOf(inner.d), inner.pointer, asWhom.system, errorOf(inner.selector), false);
  const outer = Stack.current(cpu);
  stack.push(oldSs, size);
  stack.push(oldSp, size);
  for (let i = gate.parameters - 1; i >= 0; i--) stack.push(outer.peek(i * size, size), size);
  stack.push(oldCs, size);
  stack.push(next, size);
  checkTarget(cpu, d, gate.offset);
  const marked = cpu.markAccessed(d);
  const stackSegment = cpu.markAccessed(inner.d);
  cpu.setSegmentFrom(seg.SS, inner.selector, stackSegment);
  stack.commit();
  enterCode(cpu, gate.selector, marked, gate.offset, level);
}

/** The code segment that RET or IRET goes back to. */
function readReturnCode(cpu: Vcpu, selector: number): Descriptor {
  const code = errorOf(selector);
  if (code === 0) cpu.raiseGp(0);
  const d = cpu.readDescriptor(selector);
  const rpl = selector & 3;
  if (rpl < cpu.cpl || !isCode(d.high)) cpu.raiseGp(code);
  if (isConformingCode(d.high) ? dplOf(d.high) > rpl : dplOf(d.high) !== rpl) cpu.raiseGp(code);
  if (!isPresent(d.high)) cpu.raise(vector.NP, code);
  checkLongBits(cpu, d.high, code);
  return d;
}

/** The stack segment of an outer level: its descriptor, or undefined where 64-bit code may have a null one. */
function readReturnStack(cpu: Vcpu, selector: number, level: number, toLong: boolean): Descriptor | undefined {
  const code = errorOf(selector);
  if (code === 0) {
    if (toLong && level !== 3) return undefined;
    cpu.raiseGp(0);
  }
  const d = cpu.readDescriptor(selector);
  if ((selector & 3) !== level || !isWritableData(d.high) || dplOf(d.high) !== level) cpu.raiseGp(code);
  if (!isPresent(d.high)) cpu.raise(vector.SS, code);
  return cpu.markAccessed(d);
}

function loadReturnStack(cpu: Vcpu, selector: number, level: number, d: Descriptor | undefined): void {
  if (d) cpu.setSegmentFrom(seg.SS, selector, d);
  else cpu.setSegment(seg.SS, selector, 0n, 0, level << descriptor.dplShift);
}

/** RSP of an outer stack: as wide as that stack. */
function setOuterPointer(cpu: Vcpu, pointer: bigint, toLong: boolean): void {
  if (toLong) cpu.setGpr(4, pointer);
  else if (cpu.getAttributes(seg.SS) & descriptor.big) cpu.setGpr(4, pointer & 0xffffffffn);
  else cpu.setGpr(4, (cpu.getGpr(4) & 0xffff0000n) | (pointer & 0xffffn));
}

/** Segments that the outer level may not use become null. */
function dropInnerSegments(cpu: Vcpu): void {
  for (const n of [seg.ES, seg.DS, seg.FS, seg.GS]) {
    const attributes = cpu.getAttributes(n);
    if (!isPresent(attributes) || isConformingCode(attributes)) continue;
    if (dplOf(attributes) < cpu.cpl) cpu.setSegment(n, 0, cpu.getBase(n), 0, 0);
  }
}

export function returnFar(cpu: Vcpu, opSize: number, drop: number): void {
  const size = sizeOf(opSize);
  const stack = Stack.current(cpu);
  const offset = stack.pop(size);
  const selector = Number(stack.pop(size) & 0xffffn);
  if (hasNoRights(cpu)) {
    if (offset > BigInt(cpu.getLimit(seg.CS))) cpu.raiseGp(0);
    stack.skip(drop);
    stack.commit();
    jumpUnchecked(cpu, selector, offset);
    return;
  }
  const d = readReturnCode(cpu, selector);
  const level = selector & 3;
  stack.skip(drop);
  if (level === cpu.cpl) {
    checkTarget(cpu, d, offset);
    const marked = cpu.markAccessed(d);
    stack.commit();
    enterCode(cpu, selector, marked, offset, level);
    return;
  }
  const toLong = cpu.isLong && (d.high & descriptor.long) !== 0;
  const pointer = stack.pop(size);
  const stackSelector = Number(stack.pop(size) & 0xffffn);
  const outer = readReturnStack(cpu, stackSelector, level, toLong);
  checkTarget(cpu, d, offset);
  const marked = cpu.markAccessed(d);
  loadReturnStack(cpu, stackSelector, level, outer);
  setOuterPointer(cpu, pointer + BigInt(drop), toLong);
  enterCode(cpu, selector, marked, offset, level);
  dropInnerSegments(cpu);
  cpu.updateMode();
}

const lasting = STATUS_FLAGS | eflag.TF | eflag.DF | eflag.NT | eflag.AC | eflag.ID;

/** What IRET restores whatever the privilege. RF only for breakpoints: see restoreFlags in fast-transfers.ts. */
function restorableFlags(cpu: Vcpu): number {
  return lasting | (cpu.get32(field.dr + 8 * 7) & 0xff ? eflag.RF : 0);
}

/** Bits of EFLAGS where the mask has ones. */
function mergeFlags(cpu: Vcpu, value: number, mask: number): void {
  const old = cpu.getFlags();
  cpu.setFlags((old & ~mask) | (value & mask));
}

export function iret(cpu: Vcpu, opSize: number, next: bigint): void {
  const size = sizeOf(opSize);
  if (!cpu.isProtected) returnReal(cpu, size);
  else if (cpu.isVm86) returnVirtual(cpu, size);
  else if (cpu.get32(field.eflags) & eflag.NT) {
    if (cpu.isLong) cpu.raiseGp(0);
    const link = cpu.load16(cpu.get64(field.trBase) & 0xffffffffn);
    switchTask(cpu, link, 'return', next);
  } else returnProtected(cpu, size);
  cpu.set32(field.nmiBlocked, 0);
  if (cpu.get32(field.nmiPending) !== 0) cpu.set32(header.kick, 1);
}

function returnReal(cpu: Vcpu, size: Size): void {
  const stack = Stack.current(cpu);
  const offset = stack.pop(size);
  const selector = Number(stack.pop(size) & 0xffffn);
  const flags = Number(stack.pop(size) & 0xffffffffn);
  if (offset > BigInt(cpu.getLimit(seg.CS))) cpu.raiseGp(0);
  stack.commit();
  const mask = restorableFlags(cpu) | eflag.IF | eflag.IOPL;
  mergeFlags(cpu, flags, size === 2 ? mask & 0xffff : mask);
  jumpUnchecked(cpu, selector, offset);
}

function returnVirtual(cpu: Vcpu, size: Size): void {
  const virtual = cpu.iopl < 3;
  if (virtual && !(cpu.get32(field.cr4) & cr4.VME && size === 2)) cpu.raiseGp(0);
  const stack = Stack.current(cpu);
  const offset = stack.pop(size);
  const selector = Number(stack.pop(size) & 0xffffn);
  const flags = Number(stack.pop(size) & 0xffffffffn);
  if (offset > BigInt(cpu.getLimit(seg.CS))) cpu.raiseGp(0);
  const mask = size === 2 ? lasting & 0xffff : restorableFlags(cpu);
  if (virtual) {
    const wants = (flags & eflag.IF) !== 0;
    if (flags & eflag.TF || (wants && cpu.get32(field.eflags) & eflag.VIP)) cpu.raiseGp(0);
    stack.commit();
    mergeFlags(cpu, (flags & ~eflag.VIF) | (wants ? eflag.VIF : 0), mask | eflag.VIF);
  } else {
    stack.commit();
    mergeFlags(cpu, flags, mask | eflag.IF);
  }
  jumpUnchecked(cpu, selector, offset);
}

function returnProtected(cpu: Vcpu, size: Size): void {
  const stack = Stack.current(cpu);
  const offset = stack.pop(size);
  const selector = Number(stack.pop(size) & 0xffffn);
  const flags = Number(stack.pop(size) & 0xffffffffn);
  if (!cpu.isLong && size === 4 && flags & eflag.VM && cpu.cpl === 0) {
    enterVirtual(cpu, stack, offset, selector, flags);
    return;
  }
  const d = readReturnCode(cpu, selector);
  const level = selector & 3;
  const toLong = cpu.isLong && (d.high & descriptor.long) !== 0;
  let mask = restorableFlags(cpu);
  if (cpu.cpl <= cpu.iopl) mask |= eflag.IF;
  if (cpu.cpl === 0) mask |= eflag.IOPL | (size === 2 ? 0 : eflag.VIF | eflag.VIP);
  if (size === 2) mask &= 0xffff;
  if (level === cpu.cpl && cpu.codeSize !== 64) {
    checkTarget(cpu, d, offset);
    const marked = cpu.markAccessed(d);
    stack.commit();
    mergeFlags(cpu, flags, mask);
    enterCode(cpu, selector, marked, offset, level);
    return;
  }
  const pointer = stack.pop(size);
  const stackSelector = Number(stack.pop(size) & 0xffffn);
  const outer = readReturnStack(cpu, stackSelector, level, toLong);
  checkTarget(cpu, d, offset);
  const marked = cpu.markAccessed(d);
  loadReturnStack(cpu, stackSelector, level, outer);
  setOuterPointer(cpu, pointer, toLong);
  mergeFlags(cpu, flags, mask);
  const wasOuter = level !== cpu.cpl;
  enterCode(cpu, selector, marked, offset, level);
  if (wasOuter) {
    dropInnerSegments(cpu);
    cpu.updateMode();
  }
}

/** IRET from ring 0 into virtual-8086 mode. */
function enterVirtual(cpu: Vcpu, stack: Stack, offset: bigint, selector: number, flags: number): void {
  const pointer = stack.pop(4);
  const selectors = new Map<number, number>([[seg.CS, selector]]);
  for (const n of [seg.SS, seg.ES, seg.DS, seg.FS, seg.GS]) selectors.set(n, Number(stack.pop(4) & 0xffffn));
  if (offset > 0xffffn) cpu.raiseGp(0);
  mergeFlags(cpu, flags, restorableFlags(cpu) | eflag.IF | eflag.IOPL | eflag.VM | eflag.VIF | eflag.VIP);
  for (const [n, value] of selectors) cpu.setSegment(n, value, BigInt(value << 4), 0xffff, 0xf300);
  cpu.setGpr(4, pointer);
  cpu.cpl = 3;
  cpu.pc = offset & 0xffffn;
  cpu.updateMode();
}
