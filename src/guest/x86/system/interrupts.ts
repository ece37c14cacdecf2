/**
 * Entering interrupt and exception handlers, every mode and case: Intel SDM vol. 3 ch. 6, 20.2-20.3 (real and virtual-8086
 * mode). The common cases are in deliver-fast.ts.
 */
import { header } from '../../../ir/index.js';
import { routines } from '../routines/set.js';
import { field } from '../state.js';
import { cr4, descriptor, eflag, seg, systemType, vector } from './bits.js';
import { deliverFast, eventFlag } from './deliver-fast.js';
import { asWhom } from './guest-memory.js';
import { Stack, type StackSegment } from './stack.js';
import { switchTask } from './task-switch.js';
import {
  baseOf,
  type Descriptor,
  dplOf,
  isCode,
  isConformingCode,
  isPresent,
  isWritableData,
  limitOf,
  type Vcpu,
} from './vcpu.js';

/** An exception, an interrupt or an INT instruction. */
export interface CpuEvent {
  readonly vector: number;
  /** Caused by INT n, INT3 or INTO: the gate's DPL is checked, and EXT is 0 in error codes. */
  readonly software: boolean;
  /** It is INT n itself, which CR4.VME may redirect in virtual-8086 mode. */
  readonly redirectable: boolean;
  readonly errorCode: number | undefined;
  /** The pushed image of EFLAGS has RF set. */
  readonly resume: boolean;
  /** What the handler returns to. */
  readonly returnPc: bigint;
}

/** Codes of `software_interrupt`: how the instruction came about. */
export const softwareKind = { int: 0, int3: 1, into: 2, icebp: 3 } as const;

const softwareInterruptSlow = routines.host('software_interrupt_slow', ['i32', 'i32', 'i64'], ['i32'], {
  vars: 'write',
  mayFault: true,
});

const softwareInterruptEvent = routines.host('software_interrupt_event', ['i32'], [], { vars: 'read' });

/** INT n and kin: (vector, softwareKind, address of the next instruction) → fault. The pc has been written. */
export const softwareInterrupt = routines.define(
  'software_interrupt',
  ['i32', 'i32', 'i64'],
  ['i32'],
  { vars: 'write', mayFault: true },
  (r, number, kind, returnPc) => {
    // INTO passes vector 0 where there is no overflow.
    r.if(r.i32_and(r.i32_eq(kind, r.i32(softwareKind.into)), r.i32_eqz(number)), () => {
      r.i64_store(r.state(), returnPc, header.pc);
      r.ret(r.i32(0));
    });
    r.if(r.i32_load(r.state(), field.traceEvents), () => r.call(softwareInterruptEvent, number));
    const flags = r.select(r.i32_eq(kind, r.i32(softwareKind.icebp)), r.i32(0), r.i32(eventFlag.software));
    // A handler entered by an instruction is not stepped into. A data breakpoint that MOV SS hit right before it is still due: INT1's own
    // #DB tells of it, any other handler is interrupted at its first instruction.
    const held = r.i32_and(r.i32_load(r.state(), field.debugPending), r.i32(15));
    const isTold = r.i32_eq(kind, r.i32(softwareKind.icebp));
    r.i32_store(r.state(), r.select(isTold, r.i32(0), held), field.debugPending);
    r.if(isTold, () => {
      const status = r.i32_load(r.state(), field.dr + 8 * 6);
      r.i32_store(r.state(), r.i32_or(status, held), field.dr + 8 * 6);
    });
    const [, slow] = r.call(deliverFast, number, flags, r.i32(0), returnPc);
    r.if(slow, () => r.call(softwareInterruptSlow, number, kind, returnPc));
    r.ret(r.i32(0));
  },
);

/** Enters the handler; faults of the delivery itself are thrown. */
export function deliverEvent(cpu: Vcpu, event: CpuEvent): void {
  const ext = event.software ? 0 : 1;
  if (!cpu.isProtected) deliverReal(cpu, event);
  else if (cpu.isLong) deliverLong(cpu, event, ext);
  else {
    if (cpu.isVm86 && event.redirectable) {
      if (cpu.get32(field.cr4) & cr4.VME && !isRedirected(cpu, event.vector)) {
        deliverVirtual(cpu, event);
        return;
      }
      if (cpu.iopl < 3) cpu.raiseGp(0);
    }
    deliverProtected(cpu, event, ext);
  }
}

/** Real mode: through the interrupt vector table. */
function deliverReal(cpu: Vcpu, event: CpuEvent): void {
  const offset = event.vector * 4;
  if (offset + 3 > cpu.get32(field.idtLimit)) cpu.raiseGp(0);
  const entry = cpu.load32((cpu.get64(field.idtBase) + BigInt(offset)) & 0xffffffffn);
  enterReal(cpu, entry, cpu.getFlags(), event.returnPc, eflag.IF | eflag.TF | eflag.RF | eflag.AC);
}

/** Pushes FLAGS, CS and IP and goes to segment:offset. */
function enterReal(cpu: Vcpu, entry: number, image: number, returnPc: bigint, cleared: number): void {
  const stack = Stack.current(cpu);
  stack.push(BigInt(image & 0xffff), 2);
  stack.push(BigInt(cpu.getSelector(seg.CS)), 2);
  stack.push(returnPc & 0xffffn, 2);
  stack.commit();
  const selector = entry >>> 16;
  cpu.setSegment(seg.CS, selector, BigInt(selector << 4), cpu.getLimit(seg.CS), cpu.getAttributes(seg.CS));
  cpu.set32(field.eflags, cpu.get32(field.eflags) & ~cleared);
  cpu.set32(field.interruptShadow, 0);
  cpu.pc = BigInt(entry & 0xffff);
  cpu.updateMode();
}

/** The TSS's redirection bitmap sends INT n of virtual-8086 mode to the protected-mode handler. */
function isRedirected(cpu: Vcpu, number: number): boolean {
  const base = cpu.get64(field.trBase);
  const limit = cpu.get32(field.trLimit);
  if (limit < 0x67) cpu.raiseGp(0);
  const at = cpu.load16((base + 0x66n) & 0xffffffffn) - 32 + (number >>> 3);
  if (at > limit) cpu.raiseGp(0);
  return ((Number(cpu.load((base + BigInt(at)) & 0xffffffffn, 1, asWhom.system)) >>> (number & 7)) & 1) !== 0;
}

/** INT n of virtual-8086 mode to a virtual-8086 handler. */
function deliverVirtual(cpu: Vcpu, event: CpuEvent): void {
  const entry = cpu.load32(BigInt(event.vector * 4), asWhom.current);
  let image = cpu.getFlags();
  let cleared: number = eflag.TF | eflag.RF;
  if (cpu.iopl === 3) cleared |= eflag.IF;
  else {
    image = (image & ~eflag.IF) | (image & eflag.VIF ? eflag.IF : 0) | eflag.IOPL;
    cleared |= eflag.VIF;
  }
  enterReal(cpu, entry, image, event.returnPc, cleared);
}

/** The stack for an inner privilege level, from the TSS. */
export function readInnerStack(
  cpu: Vcpu,
  level: number,
  ext: number,
): { selector: number; pointer: bigint; d: Descriptor } {
  const wide = (cpu.get32(field.trAttributes) & (8 << descriptor.typeShift)) !== 0;
  const offset = wide ? level * 8 + 4 : level * 4 + 2;
  if (offset + (wide ? 5 : 3) > cpu.get32(field.trLimit))
    cpu.raise(vector.TS, (cpu.get32(field.trSelector) & 0xfffc) | ext);
  const at = cpu.get64(field.trBase) + BigInt(offset);
  const cut = (address: bigint) => address & 0xffffffffn;
  const pointer = cpu.load(cut(at), wide ? 4 : 2, asWhom.system);
  const selector = cpu.load16(cut(at + (wide ? 4n : 2n)));
  if ((selector & 0xfffc) === 0) cpu.raise(vector.TS, ext);
  const code = (selector & 0xfffc) | ext;
  const d = cpu.readDescriptor(selector, vector.TS, ext);
  if ((selector & 3) !== level || dplOf(d.high) !== level || !isWritableData(d.high)) cpu.raise(vector.TS, code);
  if (!isPresent(d.high)) cpu.raise(vector.SS, code);
  return { selector, pointer, d };
}

export function stackSegmentOf(d: Descriptor): StackSegment {
  return { base: BigInt(baseOf(d)), limit: limitOf(d), attributes: d.high };
}

/** The gate's code segment, checked: descriptor and the new CPL. */
function readHandlerCode(cpu: Vcpu, selector: number, ext: number): { d: Descriptor; level: number } {
  const code = (selector & 0xfffc) | ext;
  if ((selector & 0xfffc) === 0) cpu.raiseGp(ext);
  const d = cpu.readDescriptor(selector, vector.GP, ext);
  if (!isCode(d.high) || dplOf(d.high) > cpu.cpl) cpu.raiseGp(code);
  if (!isPresent(d.high)) cpu.raise(vector.NP, code);
  return { d, level: isConformingCode(d.high) ? cpu.cpl : dplOf(d.high) };
}

/** What a handler's entry does to EFLAGS. */
function enterFlags(cpu: Vcpu, isTrapGate: boolean): void {
  const cleared = eflag.TF | eflag.NT | eflag.RF | eflag.VM | (isTrapGate ? 0 : eflag.IF);
  cpu.set32(field.eflags, cpu.get32(field.eflags) & ~cleared);
  cpu.set32(field.interruptShadow, 0);
}

function deliverProtected(cpu: Vcpu, event: CpuEvent, ext: number): void {
  const offset = event.vector * 8;
  const code = offset | 2 | ext;
  if (offset + 7 > cpu.get32(field.idtLimit)) cpu.raiseGp(code);
  const gateAt = cpu.get64(field.idtBase) + BigInt(offset);
  const low = cpu.load32(gateAt & 0xffffffffn);
  const high = cpu.load32((gateAt + 4n) & 0xffffffffn);
  const type = (high >>> descriptor.typeShift) & 31;
  const known: readonly number[] = [
    systemType.taskGate,
    systemType.interruptGate16,
    systemType.trapGate16,
    systemType.interruptGate32,
    systemType.trapGate32,
  ];
  if (!known.includes(type)) cpu.raiseGp(code);
  if (event.software && dplOf(high) < cpu.cpl) cpu.raiseGp(code);
  if (!isPresent(high)) cpu.raise(vector.NP, code);
  if (type === systemType.taskGate) {
    switchTask(cpu, low >>> 16, 'interrupt', event.returnPc, ext, event.errorCode);
    return;
  }
  const wide = (type & 8) !== 0;
  const size = wide ? 4 : 2;
  const selector = low >>> 16;
  const { d, level } = readHandlerCode(cpu, selector, ext);
  const { cpl } = cpu;
  const vm86 = cpu.isVm86;
  if (vm86 && level !== 0) cpu.raiseGp((selector & 0xfffc) | ext);
  const image = cpu.getFlags() | (event.resume ? eflag.RF : 0);
  const oldStack = cpu.getGpr(4);
  let stack: Stack;
  let inner: ReturnType<typeof readInnerStack> | undefined;
  if (level < cpl) {
    inner = readInnerStack(cpu, level, ext);
    const whom = asWhom.system;
    stack = new Stack(cpu, stackSegmentOf(inner.d), inner.pointer, whom, (inner.selector & 0xfffc) | ext, false);
    if (vm86) for (const n of [seg.GS, seg.FS, seg.DS, seg.ES]) stack.push(BigInt(cpu.getSelector(n)), size);
    stack.push(BigInt(cpu.getSelector(seg.SS)), size);
    stack.push(oldStack, size);
  } else stack = Stack.current(cpu, ext);
  stack.push(BigInt(image >>> 0), size);
  stack.push(BigInt(cpu.getSelector(seg.CS)), size);
  stack.push(event.returnPc, size);
  if (event.errorCode !== undefined) stack.push(BigInt(event.errorCode), size);
  const codeSegment = cpu.markAccessed(d);
  if (inner) {
    const stackSegment = cpu.markAccessed(inner.d);
    if (vm86) for (const n of [seg.GS, seg.FS, seg.DS, seg.ES]) cpu.setSegment(n, 0, 0n, 0, 0);
    cpu.setSegmentFrom(seg.SS, inner.selector, stackSegment);
  }
  stack.commit();
  cpu.setSegmentFrom(seg.CS, (selector & 0xfffc) | level, codeSegment);
  cpu.cpl = level;
  enterFlags(cpu, (type & 1) !== 0);
  const entry = ((high & 0xffff0000) | (low & 0xffff)) >>> 0;
  cpu.pc = BigInt(wide ? entry : entry & 0xffff);
  cpu.updateMode();
}

function deliverLong(cpu: Vcpu, event: CpuEvent, ext: number): void {
  const offset = event.vector * 16;
  const code = (event.vector * 8) | 2 | ext;
  if (offset + 15 > cpu.get32(field.idtLimit)) cpu.raiseGp(code);
  const gateAt = cpu.get64(field.idtBase) + BigInt(offset);
  const gate = cpu.load(gateAt, 8, asWhom.system);
  const upper = cpu.load(gateAt + 8n, 8, asWhom.system);
  const low = Number(gate & 0xffffffffn);
  const high = Number(gate >> 32n);
  const type = (high >>> descriptor.typeShift) & 31;
  if (type !== systemType.interruptGate32 && type !== systemType.trapGate32) cpu.raiseGp(code);
  if (event.software && dplOf(high) < cpu.cpl) cpu.raiseGp(code);
  if (!isPresent(high)) cpu.raise(vector.NP, code);
  const selector = low >>> 16;
  const { d, level } = readHandlerCode(cpu, selector, ext);
  if ((d.high & (descriptor.long | descriptor.big)) !== descriptor.long) cpu.raiseGp((selector & 0xfffc) | ext);
  const ist = high & 7;
  const inner = level < cpu.cpl;
  let pointer = cpu.getGpr(4);
  if (ist || inner) {
    const at = ist ? 0x1c + 8 * ist : 4 + 8 * level;
    if (at + 7 > cpu.get32(field.trLimit)) cpu.raise(vector.TS, (cpu.get32(field.trSelector) & 0xfffc) | ext);
    pointer = cpu.load(cpu.get64(field.trBase) + BigInt(at), 8, asWhom.system);
  }
  const none: StackSegment = { base: 0n, limit: 0, attributes: 0 };
  const stack = new Stack(cpu, none, pointer & ~15n, level === 3 ? asWhom.user : asWhom.system, ext, true);
  stack.push(BigInt(cpu.getSelector(seg.SS)), 8);
  stack.push(cpu.getGpr(4), 8);
  stack.push(BigInt((cpu.getFlags() | (event.resume ? eflag.RF : 0)) >>> 0), 8);
  stack.push(BigInt(cpu.getSelector(seg.CS)), 8);
  stack.push(event.returnPc, 8);
  if (event.errorCode !== undefined) stack.push(BigInt(event.errorCode), 8);
  const codeSegment = cpu.markAccessed(d);
  stack.commit();
  if (inner) cpu.setSegment(seg.SS, level, 0n, 0, level << descriptor.dplShift);
  cpu.setSegmentFrom(seg.CS, (selector & 0xfffc) | level, codeSegment);
  cpu.cpl = level;
  enterFlags(cpu, (type & 1) !== 0);
  cpu.pc = ((upper & 0xffffffffn) << 32n) | BigInt(((high & 0xffff0000) | (low & 0xffff)) >>> 0);
  cpu.updateMode();
}
