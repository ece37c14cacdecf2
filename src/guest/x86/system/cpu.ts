/**
 * One x86 vCPU: what the engine calls on faults, interrupts and exits, and what the board does to it. Exceptions during
 * exceptions: Intel SDM vol. 3, 6.15 (double fault) and table 6-5.
 */
import { header } from '../../../ir/index.js';
import type { CpuContext, GuestCpu, GuestTranslator, VmExit } from '../../guest-cpu.js';
import { cpuid } from '../cpuid.js';
import { keyBit } from '../mode.js';
import type { CpuModel } from '../models.js';
import { type MsrContext, msr, readMsr, writeMsr } from '../msr.js';
import { routines } from '../routines/set.js';
import { x87Function } from '../routines/x87-functions.js';
import { x87HostRoutines } from '../routines/x87-stack.js';
import { field, NON_CANONICAL, x86Vars } from '../state.js';
import { createTranslator } from '../translate.js';
import { cr0, dr7, eflag, seg, vector } from './bits.js';
import {
  readDebugRegister,
  writeControlRegister,
  writeCr3Pae,
  writeDebugRegister,
  writeXcr0,
} from './control-registers.js';
import { dumpRegisters } from './cpu-dump.js';
import { applyBootState, type BootState, enableMtrrs, keptByInit, registerViews, resetState } from './cpu-state.js';
import { debugTranslate } from './debug-walk.js';
import { eventFlag } from './deliver-fast.js';
import { type CpuEvent, deliverEvent, softwareKind } from './interrupts.js';
import { leaveReason, WAIT_FOR_SIPI } from './leave.js';
import { descriptorAnswer, lldt, ltr } from './protection.js';
import { loadDataSegment } from './segments.js';
import { isStackAccess } from './stack-fault.js';
import { callFar, iret, jumpFar, returnFar } from './transfers.js';
import { Vcpu, type X86Board } from './vcpu.js';

/** IA32_APIC_BASE.EN. */
const APIC_ENABLED = 1n << 11n;

export interface X86CpuOptions {
  readonly model: CpuModel;
  readonly board: X86Board;
  /** 0 is the bootstrap processor, the default; the others wait for a start-up IPI after a reset. */
  readonly apicId?: number | undefined;
  /** vCPUs of the machine, which take turns; 1 unless given. */
  readonly cpus?: number | undefined;
}

const LONGEST_INSTRUCTION = 15;
const viewsByName = new Map(registerViews.map((view) => [view.name, view]));

/** Exceptions that make a double fault of another of them (table 6-5). */
const contributory = new Set<number>([vector.DE, vector.TS, vector.NP, vector.SS, vector.GP]);
const pushesErrorCode = new Set<number>([vector.DF, vector.TS, vector.NP, vector.SS, vector.GP, vector.PF, vector.AC]);

/** Two exceptions, the second while the first is delivered, are a double fault. */
function isDoubleFault(first: number, second: number): boolean {
  if (first === vector.PF) return second === vector.PF || contributory.has(second);
  return contributory.has(first) && contributory.has(second);
}

type DeliverFast = (
  state: number,
  vector: number,
  flags: number,
  errorCode: number,
  pc: bigint,
) => readonly [number, number];

export class X86Cpu implements GuestCpu {
  readonly architecture = 'x86';
  readonly vars = x86Vars;
  readonly routines = routines;
  #translator: GuestTranslator | undefined;
  #model: CpuModel;
  readonly #board: X86Board;
  readonly #apicId: number;
  readonly #cpus: number;
  #cpu!: Vcpu;
  #msrs!: MsrContext;
  #deliverFast!: DeliverFast;
  /** A triple fault has stopped the CPU until it is reset. */
  #shutDown = false;
  #watching = false;
  #lens = false;

  constructor(options: X86CpuOptions) {
    this.#model = options.model;
    this.#board = options.board;
    this.#apicId = options.apicId ?? 0;
    this.#cpus = options.cpus ?? 1;
  }

  get translator(): GuestTranslator {
    this.#translator ??= createTranslator(this.#model.features);
    return this.#translator;
  }

  get model(): CpuModel {
    return this.#model;
  }

  /** Another model, before the guest has run. */
  setModel(model: CpuModel): void {
    this.#model = model;
    this.#translator = undefined;
    this.#msrs = { cpu: this.#cpu, model, board: this.#board };
  }

  attach(context: CpuContext): void {
    this.#cpu = new Vcpu(context);
    this.#msrs = { cpu: this.#cpu, model: this.model, board: this.#board };
    this.#deliverFast = context.routines['deliver_fast'] as DeliverFast;
  }

  // --- the board's side

  /** The state behind the routines: for tests, debuggers and monitors. */
  get vcpu(): Vcpu {
    return this.#cpu;
  }

  get hasLongMode(): boolean {
    return this.model.features.has('lm');
  }

  /** A triple fault has stopped it. */
  get isShutDown(): boolean {
    return this.#shutDown;
  }

  /** It sleeps in HLT or MWAIT, or waits for a start-up IPI. */
  /** An event of its own, not the interrupt controller's, waits to be delivered. */
  get hasEventPending(): boolean {
    const cpu = this.#cpu;
    return [field.injectedInterrupt, field.debugPending, field.nmiPending].some((at) => cpu.get32(at) !== 0);
  }

  get isHalted(): boolean {
    return this.#cpu.get32(field.halted) !== 0;
  }

  reset(): void {
    this.#shutDown = false;
    resetState(this.#cpu, this.model);
    if (this.#board.event) this.#cpu.set32(field.traceEvents, 1);
    if (this.#watching) this.#cpu.set32(field.watching, 1);
    if (this.#apicId !== 0) this.#cpu.set32(field.halted, WAIT_FOR_SIPI);
    this.#setOwnerBits();
  }

  /** INIT of a vCPU that is not the bootstrap processor: SDM vol. 3, table 9-1. */
  init(): void {
    const caching = this.#cpu.get32(field.cr0) & (cr0.CD | cr0.NW);
    const kept = keptByInit.map(([at, bytes]) => this.#cpu.bytes(at, bytes).slice());
    this.reset();
    for (const [i, [at]] of keptByInit.entries()) this.#cpu.bytes(at, kept[i].length).set(kept[i]);
    this.#cpu.set32(field.cr0, cr0.ET | caching);
  }

  /** Start-up IPI: only a vCPU that waits for it heeds it. */
  startUp(vector: number): void {
    const cpu = this.#cpu;
    if (cpu.get32(field.halted) !== WAIT_FOR_SIPI) return;
    cpu.set32(field.halted, 0);
    cpu.setSegment(seg.CS, vector << 8, BigInt(vector << 12), 0xffff, 0x9b00);
    cpu.pc = 0n;
    cpu.updateMode();
  }

  /** The bits of the mode key that are not the guest's to choose. */
  #setOwnerBits(): void {
    const bits = (this.#lens ? 1 : 0) | (this.#cpus > 1 ? 1 << (keyBit.shared - keyBit.lens) : 0);
    this.#cpu.set32(field.ownerBits, bits);
    this.#cpu.updateMode();
  }

  /** As firmware and a boot loader would leave the CPU: called after reset(). Without `state`: one that still waits to be started. */
  setBootState(state?: BootState): void {
    enableMtrrs(this.#cpu);
    if (state) applyBootState(this.#cpu, state);
  }

  setA20(open: boolean): void {
    const mask = open ? 0xffffffff : 0xffefffff;
    if (this.#cpu.get32(field.a20Mask) === mask) return;
    this.#cpu.set32(field.a20Mask, mask);
    this.#cpu.call('flush_tlb_pages', 0);
  }

  /** The caller kicks the engine. */
  raiseNmi(): void {
    this.#cpu.set32(field.nmiPending, 1);
  }

  /** The time-stamp counter as the guest sees it. */
  tscNow(): bigint {
    return BigInt.asUintN(64, this.#board.tsc() + this.#cpu.get64(field.tscOffset));
  }

  /** Guest-physical address of a linear one, for debuggers; undefined where nothing is mapped. */
  translate(linear: bigint): bigint | undefined {
    return debugTranslate(this.#cpu, linear);
  }

  /** Every register by its name (cpu-state.ts has the list). */
  registers(): Readonly<Record<string, bigint>> {
    return Object.fromEntries(registerViews.map((view) => [view.name, view.read(this.#cpu)]));
  }

  /** Whether `X86Board.dataAccess` is called; blocks are single instructions meanwhile. */
  setWatching(on: boolean): void {
    this.#watching = on;
    this.#cpu.set32(field.watching, on ? 1 : 0);
    this.#cpu.updateMode();
  }

  /** A model-specific register as RDMSR would give it; undefined: #GP(0). */
  readMsr(index: number): bigint | undefined {
    return readMsr(this.#msrs, index);
  }

  /** As WRMSR; false: #GP(0). */
  writeMsr(index: number, value: bigint): boolean {
    return writeMsr(this.#msrs, index, value);
  }

  /** Whether `X86Board.transfer` is called: part of what translated code assumes. */
  setLens(on: boolean): void {
    this.#lens = on;
    this.#setOwnerBits();
  }

  /** The ring that the vCPU is in; 0 in real mode. */
  get ring(): number {
    return this.#cpu.cpl;
  }

  /** A register by its name, as in `registers`. */
  register(name: string): bigint | undefined {
    return viewsByName.get(name)?.read(this.#cpu);
  }

  /** Where it is: what a block of code is known by. */
  get place(): { readonly codeBase: bigint; readonly pc: bigint; readonly modeKey: number } {
    const cpu = this.#cpu;
    const codeBase = cpu.codeSize === 64 ? 0n : cpu.getBase(seg.CS);
    return { codeBase, pc: cpu.pc, modeKey: cpu.get32(header.modeKey) >>> 0 };
  }

  /** The registers that say how addresses are translated; `a20`: 1 when the line is open. */
  get translationControls(): Record<'cr0' | 'cr3' | 'cr4' | 'a20', bigint> {
    const cpu = this.#cpu;
    return {
      cr0: cpu.get64(field.cr0),
      cr3: cpu.get64(field.cr3),
      cr4: cpu.get64(field.cr4),
      a20: BigInt((cpu.get32(field.a20Mask) >>> 20) & 1),
    };
  }

  /** The registers as text, laid out as QEMU's; `float`: with those of the FPU and SSE. */
  dump(parts: { readonly float: boolean }): string {
    return dumpRegisters(this.#cpu, parts);
  }

  // --- the engine's side

  deliverFault(): VmExit | undefined {
    const cpu = this.#cpu;
    const code = cpu.get32(header.trapCode);
    cpu.set32(header.trapCode, 0);
    // A fault takes the place of the trap that would have followed the instruction.
    cpu.set32(field.debugPending, 0);
    const number = code & NON_CANONICAL && this.#isStackAccess() ? vector.SS : code & 0xff;
    if (number === vector.DB) this.#endGeneralDetect();
    return this.#deliver(number, code & 0x100 ? code >>> 16 : undefined, number !== vector.DB);
  }

  /** Whether the instruction at pc, whose access was not canonical, made it through SS. */
  #isStackAccess(): boolean {
    const cpu = this.#cpu;
    if (cpu.codeSize !== 64) return false;
    const code = new Uint8Array(LONGEST_INSTRUCTION);
    for (let i = 0; i < code.length; i++) {
      const gpa = debugTranslate(cpu, cpu.pc + BigInt(i));
      if (gpa === undefined)
        return isStackAccess(code.subarray(0, i), (n) => cpu.getGpr(n), cpu.get64(field.nonCanonical));
      const word = cpu.call('phys_load32', gpa & ~3n) as number;
      code[i] = word >>> (8 * Number(gpa & 3n));
    }
    return isStackAccess(code, (n) => cpu.getGpr(n), cpu.get64(field.nonCanonical));
  }

  deliverPending(): boolean {
    const cpu = this.#cpu;
    if (this.#shutDown || cpu.get32(field.halted) === WAIT_FOR_SIPI) return false;
    const injected = cpu.get32(field.injectedInterrupt);
    if (injected !== 0) {
      cpu.set32(field.injectedInterrupt, 0);
      this.#wake();
      this.#deliver(injected - 1, undefined, false, false);
      return true;
    }
    const traps = cpu.get32(field.debugPending);
    if (traps !== 0 && cpu.get32(field.debugHeld) !== 0) {
      cpu.set32(field.debugHeld, 0);
      this.#askAgain();
      return false;
    }
    if (traps !== 0) {
      cpu.set32(field.debugPending, 0);
      cpu.set32(field.dr + 8 * 6, cpu.get32(field.dr + 8 * 6) | traps);
      this.#wake();
      this.#endGeneralDetect();
      this.#deliver(vector.DB, undefined, false);
      return true;
    }
    if (cpu.get32(field.interruptShadow) !== 0) {
      if (cpu.get32(field.nmiPending) !== 0) this.#askAgain();
      return false;
    }
    if (cpu.get32(field.nmiPending) !== 0 && cpu.get32(field.nmiBlocked) === 0) {
      cpu.set32(field.nmiPending, 0);
      cpu.set32(field.nmiBlocked, 1);
      this.#wake();
      this.#deliver(vector.NMI, undefined, false);
      return true;
    }
    const { interrupts } = this.#board;
    if (!(cpu.get32(field.eflags) & eflag.IF)) {
      // MWAIT ends on an interrupt that is masked by IF.
      if (cpu.get32(field.halted) !== leaveReason.mwait || !interrupts.pending()) return false;
      this.#wake();
      return true;
    }
    if (!interrupts.pending()) {
      cpu.set32(header.interruptPending, 0);
      return false;
    }
    this.#wake();
    const taken = interrupts.acknowledge();
    if (!interrupts.pending()) cpu.set32(header.interruptPending, 0);
    this.#deliver(taken, undefined, false, false);
    return true;
  }

  /** The end of the instruction in the shadow makes the engine ask for what is pending, though no line is raised. */
  #askAgain(): void {
    this.#cpu.set32(header.interruptPending, 1);
  }

  handleLeave(): VmExit | 'yield' | undefined {
    const cpu = this.#cpu;
    const reason = cpu.get32(header.leaveReason);
    cpu.set32(header.leaveReason, 0);
    // MWAIT may end for any reason: another vCPU could write what it waits for.
    if (this.#cpus > 1 && reason !== leaveReason.halt) return 'yield';
    cpu.set32(field.halted, reason);
    if (this.deliverPending()) return this.#shutDown ? 'shutdown' : undefined;
    return 'halt';
  }

  /** The handler of #DB may touch the debug registers. */
  #endGeneralDetect(): void {
    this.#cpu.set32(field.dr + 8 * 7, this.#cpu.get32(field.dr + 8 * 7) & ~dr7.GD);
  }

  goOn(): boolean {
    const halted = this.#cpu.get32(field.halted);
    if (halted !== 0 && halted !== WAIT_FOR_SIPI) this.#wake();
    return halted !== WAIT_FOR_SIPI;
  }

  #wake(): void {
    this.#cpu.set32(field.halted, 0);
    this.#cpu.set32(field.monitorArmed, 0);
  }

  /**
   * Enters a handler; exceptions on the way become double faults or replace it. An interrupt that is replaced so has been
   * acknowledged and does not come again: processors do the same.
   */
  #deliver(first: number, firstError: number | undefined, resume: boolean, exception = true): VmExit | undefined {
    const cpu = this.#cpu;
    this.#board.event?.({ vector: first, errorCode: firstError, kind: exception ? 'exception' : 'interrupt' });
    let isException = exception;
    let number = first;
    let errorCode = firstError;
    let isFault = resume;
    // Each round ends in a handler, or goes on to a worse exception: real tables end after a few.
    for (let round = 0; round < 16; round++) {
      if (this.#attempt(number, errorCode, isFault)) return undefined;
      const code = cpu.get32(header.trapCode);
      cpu.set32(header.trapCode, 0);
      if (code === 0) continue; // translated code was in the way of a store: it is gone now
      // Of what a delivery touches only the stack may lie at such an address.
      const badStack = (code & NON_CANONICAL) !== 0;
      const second = badStack ? vector.SS : code & 0xff;
      if (isException && number === vector.DF) break;
      if (isException && isDoubleFault(number, second)) {
        number = vector.DF;
        errorCode = 0;
      } else {
        number = second;
        errorCode = badStack ? 1 : code & 0x100 ? code >>> 16 : undefined;
      }
      isFault = true;
      isException = true;
    }
    this.#shutDown = true;
    return 'shutdown';
  }

  /** One try; false: an exception on the way is recorded. */
  #attempt(number: number, errorCode: number | undefined, resume: boolean): boolean {
    const cpu = this.#cpu;
    // Real mode's exceptions push no error codes.
    const pushed = cpu.isProtected && pushesErrorCode.has(number) ? (errorCode ?? 0) : undefined;
    const given = errorCode === undefined ? undefined : pushed;
    const { pc } = cpu;
    const flags = (given === undefined ? 0 : eventFlag.errorCode) | (resume ? eventFlag.resume : 0);
    const [fault, slow] = this.#deliverFast(cpu.state, number, flags, given ?? 0, BigInt.asIntN(64, pc));
    if (slow === 0) return fault === 0;
    const event: CpuEvent = {
      vector: number,
      software: false,
      redirectable: false,
      errorCode: given,
      resume,
      returnPc: pc,
    };
    return cpu.guarded(() => deliverEvent(cpu, event)) === 0;
  }

  // --- host routines

  hostRoutines(): Readonly<Record<string, (...args: never[]) => unknown>> {
    const guarded = (body: () => void): number => this.#cpu.guarded(body);
    const unsigned = (value: bigint): bigint => BigInt.asUintN(64, value);
    return {
      ...x87HostRoutines(() => this.#board.floatError?.()),
      x87_function: x87Function,
      load_segment_slow: (_s: number, n: number, selector: number) =>
        guarded(() => {
          loadDataSegment(this.#cpu, n, selector);
          this.#cpu.updateMode();
        }),
      write_control: (_s: number, n: number, value: bigint) => guarded(() => this.#writeControl(n, unsigned(value))),
      read_cr8: () => BigInt(this.#board.interrupts.cr8),
      write_cr3_slow: (_s: number, value: bigint) => guarded(() => writeCr3Pae(this.#cpu, unsigned(value))),
      read_debug: (_s: number, n: number) => {
        let value = 0n;
        const fault = guarded(() => {
          value = readDebugRegister(this.#cpu, n);
        });
        return [fault, BigInt.asIntN(64, value)];
      },
      write_debug: (_s: number, n: number, value: bigint) =>
        guarded(() => writeDebugRegister(this.#cpu, n, unsigned(value))),
      far_jump: (_s: number, selector: number, offset: bigint, _size: number, next: bigint) =>
        guarded(() => jumpFar(this.#cpu, selector & 0xffff, unsigned(offset), unsigned(next))),
      far_call: (_s: number, selector: number, offset: bigint, size: number, next: bigint) =>
        guarded(() => callFar(this.#cpu, selector & 0xffff, unsigned(offset), size, unsigned(next))),
      far_return: (_s: number, size: number, drop: number) => guarded(() => returnFar(this.#cpu, size, drop)),
      iret_slow: (_s: number, size: number, next: bigint) => guarded(() => iret(this.#cpu, size, unsigned(next))),
      data_access: (_s: number, at: bigint, bytes: number, write: number) =>
        this.#board.dataAccess?.(unsigned(at), bytes, write !== 0),
      ring_transfer: (_s: number, opcode: number) => this.#board.transfer?.(opcode),
      software_interrupt_event: (_s: number, number: number) =>
        this.#board.event?.({ vector: number, errorCode: undefined, kind: 'software' }),
      software_interrupt_slow: (_s: number, number: number, kind: number, next: bigint) =>
        guarded(() =>
          deliverEvent(this.#cpu, {
            vector: number,
            software: kind !== softwareKind.icebp,
            redirectable: kind === softwareKind.int,
            errorCode: undefined,
            resume: false,
            returnPc: unsigned(next),
          }),
        ),
      load_ldt: (_s: number, selector: number) => guarded(() => lldt(this.#cpu, selector)),
      load_task_register: (_s: number, selector: number) => guarded(() => ltr(this.#cpu, selector)),
      query_descriptor: (_s: number, query: number, selector: number) => {
        let answer: number | undefined;
        const fault = guarded(() => {
          answer = descriptorAnswer(this.#cpu, query, selector);
        });
        return [fault, answer === undefined ? 0 : 1, answer ?? 0];
      },
      cpuid: () => this.#cpuid(),
      write_xcr: (_s: number, index: number, value: bigint) =>
        guarded(() => {
          if (index !== 0) this.#cpu.raiseGp(0);
          writeXcr0(this.#cpu, unsigned(value), this.model);
        }),
      read_msr_slow: (_s: number, index: number) => {
        let value: bigint | undefined;
        const fault = guarded(() => {
          value = readMsr(this.#msrs, index >>> 0);
          if (value === undefined) this.#cpu.raiseGp(0);
        });
        return [fault, BigInt.asIntN(64, value ?? 0n)];
      },
      write_msr_slow: (_s: number, index: number, value: bigint) =>
        guarded(() => {
          if (!writeMsr(this.#msrs, index >>> 0, unsigned(value))) this.#cpu.raiseGp(0);
        }),
    };
  }

  #writeControl(n: number, value: bigint): void {
    if (n === 8) {
      if (value >> 4n) this.#cpu.raiseGp(0);
      this.#cpu.set64(field.cr8, value);
      this.#board.interrupts.cr8 = Number(value);
    } else writeControlRegister(this.#cpu, n, value, this.model);
  }

  #cpuid(): void {
    const cpu = this.#cpu;
    const result = cpuid(this.model, cpu.getGpr32(0), cpu.getGpr32(1), {
      cr4: cpu.get32(field.cr4),
      xcr0: cpu.get64(field.xcr0),
      xss: cpu.get64(field.xss),
      apicId: this.#apicId,
      apicEnabled: ((this.#board.interrupts.readMsr(msr.APIC_BASE) ?? 0n) & APIC_ENABLED) !== 0n,
      cpus: this.#cpus,
      tscHz: this.#board.tscHz,
    });
    cpu.setGpr32(0, result.eax);
    cpu.setGpr32(3, result.ebx);
    cpu.setGpr32(1, result.ecx);
    cpu.setGpr32(2, result.edx);
  }

  /** CS:EIP as a linear address, for logs. */
  get linearPc(): bigint {
    return this.#cpu.codeSize === 64 ? this.#cpu.pc : this.#cpu.pc + this.#cpu.getBase(seg.CS);
  }
}
