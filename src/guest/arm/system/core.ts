/** The CPU's state as JavaScript sees it: system registers, exceptions, timers. */
import { header, LOOK_AGAIN } from '../../../ir/index.js';
import type { CpuContext } from '../../guest-cpu.js';
import type { Semihosting } from '../../semihosting.js';
import { elOf } from '../mode.js';
import type { ArmModel } from '../models.js';
import {
  exceptionClass,
  field,
  flagA,
  flagKind,
  flagOp,
  hcr,
  line,
  ofLevel,
  pstate,
  scr,
  stackPointer,
  syndromeOf,
  trapCode,
  VIRTUAL_ERROR,
} from '../state.js';
import { updateDebug } from './debug-exceptions.js';
import type { GicPort } from './gic-registers.js';

export type TimerName = 'physical' | 'virtual' | 'hypervisor' | 'hypervisorVirtual' | 'secure' | 'performance';
/** The timers in the order of the state; behind them the performance monitors' interrupt. */
export const timerNames: readonly TimerName[] = [
  'physical',
  'virtual',
  'hypervisor',
  'hypervisorVirtual',
  'secure',
  'performance',
];
const VIRTUAL = 1;
/** Bits of a timer's control register. */
const timerControl = { ENABLE: 1n, IMASK: 2n, ISTATUS: 4n } as const;

/** Bits of DISR_EL1: an error has been deferred. */
const deferredError = { A: 1n << 31n } as const;

/** What a CPU asks of its board. */
export interface ArmBoard {
  /** The system counter, and its frequency in Hz. */
  time(): bigint;
  readonly counterFrequency: number;
  /** The timer's output, a private interrupt of the CPU, is high from this count on. Undefined: it is low. */
  setTimer(timer: TimerName, at: bigint | undefined): void;
  /** System registers of the CPU's interrupt controller, where it has such. */
  readonly gic?: GicPort | undefined;
  /** HVC or SMC with this number. True: firmware has answered, in X0 to X3. False: there is none, the instruction is undefined. */
  firmwareCall(core: Core, by: 'hvc' | 'smc', number: number): boolean;
  /** What HLT 0xf000 asks of the host, where that answers. */
  readonly semihosting?: Semihosting | undefined;
  /** The other CPUs of the machine, where there are any. */
  readonly others?: (() => Iterable<Core>) | undefined;
  /** A data access by an instruction, before it, while `setWatching` is on. Gives whether the machine is to stop there. */
  readonly dataAccess?: ((address: bigint, bytes: number, write: boolean) => boolean | undefined) | undefined;
  /** An exception has been taken, where somebody wants to know. `vector`: 0 for a synchronous one, 0x80 IRQ, 0x100 FIQ. */
  readonly exceptionTaken?: ((core: Core, vector: number, fromEl: number) => void) | undefined;
}

export class Core {
  readonly board: ArmBoard;
  readonly model: ArmModel;
  readonly state: number;
  readonly #view: DataView;
  readonly #routines: CpuContext['routines'];

  constructor(context: CpuContext, board: ArmBoard, model: ArmModel) {
    this.board = board;
    this.model = model;
    this.state = context.state;
    this.#view = new DataView(context.buffer);
    this.#routines = context.routines;
  }

  get32(offset: number): number {
    return this.#view.getInt32(this.state + offset, true);
  }
  set32(offset: number, value: number): void {
    this.#view.setInt32(this.state + offset, value, true);
  }
  get64(offset: number): bigint {
    return this.#view.getBigUint64(this.state + offset, true);
  }
  set64(offset: number, value: bigint): void {
    this.#view.setBigUint64(this.state + offset, value, true);
  }
  call(name: string, ...args: readonly unknown[]): unknown {
    return this.#routines[name](this.state, ...args);
  }

  get pc(): bigint {
    return this.get64(header.pc);
  }
  set pc(value: bigint) {
    this.set64(header.pc, value);
  }
  /** It is one of AArch32. */
  readonly isNarrow: boolean = false;
  /** Process state as an SPSR has it, without the flags. */
  get pstate(): number {
    return this.get32(field.pstate);
  }
  get el(): number {
    return elOf(this.pstate);
  }
  /** What a block of code is known by beside its address (mode.ts). */
  get modeKey(): number {
    return this.get32(header.modeKey) >>> 0;
  }

  /** PSTATE.BTYPE, which an indirect branch has left (branch-type.ts). */
  get branchType(): number {
    const ahead = BigInt.asUintN(64, this.get64(field.branched) - this.pc);
    return ahead <= 3n ? Number(ahead) : 0;
  }

  /** NZCV in bits 31 to 28. */
  get nzcv(): number {
    return (this.call('current_nzcv') as number) & 0xf0000000;
  }
  set nzcv(bits: number) {
    this.set32(flagOp.offset, flagKind.bits);
    this.set64(flagA.offset, BigInt(bits >>> 0));
  }

  /** Makes a process state the current one: stack pointer, mode key and translation context follow (state-change.ts). */
  setPstate(value: number): void {
    this.call('set_pstate', value);
  }

  /** A stack pointer, selected or not. */
  getStack(n: number): bigint {
    return this.get64(n === this.selectedStack ? stackPointer.offset : field.sp + 8 * n);
  }
  setStack(n: number, value: bigint): void {
    this.set64(n === this.selectedStack ? stackPointer.offset : field.sp + 8 * n, value);
  }
  /** Number of the stack pointer in use. */
  get selectedStack(): number {
    return this.pstate & pstate.SPSEL ? this.el : 0;
  }

  /** After a change of what the mode key or the translation context is made of. */
  updateMode(): void {
    this.call('update_mode');
  }

  // --- EL2 and EL3

  get hasEl2(): boolean {
    return (this.get32(field.levels) & 1) !== 0;
  }
  get hasEl3(): boolean {
    return (this.get32(field.levels) & 2) !== 0;
  }
  /** A bit of HCR_EL2 as it works now. */
  hcr(bit: bigint): boolean {
    return (this.get64(field.hcrNow) & bit) !== 0n;
  }
  /** A bit of SCR_EL3; without EL3 none is set. */
  scr(bit: bigint): boolean {
    return (this.get64(field.scr) & bit) !== 0n;
  }
  /** EL2 is there, and not turned off by secure state. */
  get el2Enabled(): boolean {
    return this.hasEl2 && (!this.hasEl3 || this.scr(scr.NS));
  }
  /** EL0 belongs to a host whose kernel is at EL2. */
  get inHost(): boolean {
    return this.hcr(hcr.E2H) && this.hcr(hcr.TGE);
  }
  /** SCTLR that EL0's rights are in. */
  get userControl(): number {
    return this.get32(this.inHost ? ofLevel(field.sctlr, 2) : field.sctlr);
  }
  /** The exception level that a synchronous exception goes to by default. */
  get synchronousTarget(): number {
    return this.el === 0 ? (this.hcr(hcr.TGE) ? 2 : 1) : this.el;
  }

  /** After a change of HCR_EL2 or SCR_EL3. */
  updateLevels(): void {
    const before = this.get64(field.hcrNow);
    const now = this.el2Enabled ? this.get64(field.hcr) : 0n;
    this.set64(field.hcrNow, now);
    // What EL1's and EL0's contexts hold was translated otherwise.
    if ((before ^ now) & (hcr.VM | hcr.DC | hcr.TGE | hcr.E2H)) this.forgetLower();
    this.updateInterrupts();
    updateDebug(this);
  }
  /** Pages of EL1 and EL0 are to be translated anew, once they are used: stage 2 is another one. */
  forgetLower(): void {
    if (this.get32(field.lowerRegime) === 0) this.set32(field.lowerRegime, -1);
  }

  /** A hypervisor on another CPU says that a virtual machine's pages are others now. */
  flushGuest(): void {
    if (this.get32(field.lowerRegime) !== 0) return;
    if (this.el < 2) this.flushTlb();
    else this.set32(field.lowerRegime, -1);
  }

  flushTlb(keepGlobal = false): void {
    this.call('flush_tlb_pages', keepGlobal ? 1 : 0);
  }

  /** The current instruction raises an exception. Gives 1. */
  raise(syndrome: number): number {
    this.set32(field.syndrome, syndrome);
    this.set32(header.trapCode, trapCode.here);
    return 1;
  }

  /** A debugger hears of an access. Gives 1 where the instruction is not to be executed now. */
  accessed(address: bigint, bytes: number, write: boolean): number {
    if (!this.board.dataAccess?.(address, bytes, write)) return 0;
    this.set32(header.trapCode, LOOK_AGAIN);
    return 1;
  }

  /** No exception is announced. */
  clearTrap(): void {
    this.set32(header.trapCode, 0);
  }

  /** The current instruction is trapped to an exception level. Gives 1. */
  trapTo(el: number, syndrome: number, after = false): number {
    this.set32(field.trapTo, el);
    this.raise(syndrome);
    if (after) this.set32(header.trapCode, trapCode.after);
    return 1;
  }

  /** Takes an exception to an exception level. `vector`: what kind it is, 0 for a synchronous one. */
  enter(vector: number, returnTo: bigint, to: number): void {
    const hasPan = this.model.features.has('pan') ? 1 : 0;
    const from = this.el;
    this.call('take_exception', vector, BigInt.asIntN(64, returnTo), this.nzcv, hasPan, to);
    this.board.exceptionTaken?.(this, vector, from);
  }

  // --- interrupts and timers

  setLine(which: number, level: boolean): void {
    const lines = this.get32(field.lines);
    this.set32(field.lines, level ? lines | which : lines & ~which);
    this.updateInterrupts();
  }

  /** Interrupts that there are, as `line`: those of a virtual machine only where a hypervisor has one. */
  get pendingLines(): number {
    let lines = this.get32(field.lines);
    if (!this.hasEl2) return lines;
    if (this.hcr(hcr.VI)) lines |= line.virtualIrq;
    if (this.hcr(hcr.VF)) lines |= line.virtualFiq;
    if (this.hcr(hcr.VSE) && this.hcr(hcr.AMO) && !this.hcr(hcr.TGE)) lines |= VIRTUAL_ERROR;
    const isHost = this.hcr(hcr.TGE);
    if (isHost || !this.hcr(hcr.IMO)) lines &= ~line.virtualIrq;
    if (isHost || !this.hcr(hcr.FMO)) lines &= ~line.virtualFiq;
    return lines;
  }

  updateInterrupts(): void {
    const now = this.pendingLines;
    this.set32(header.interruptPending, now === 0 ? 0 : 1);
    const irq = line.irq | line.virtualIrq;
    const fiq = line.fiq | line.virtualFiq;
    const error = now & VIRTUAL_ERROR ? pstate.A : 0;
    this.set32(field.pendingMasks, (now & irq ? pstate.I : 0) | (now & fiq ? pstate.F : 0) | error);
  }

  /** Where a physical interrupt goes (D1.3.6). */
  #interruptTarget(toEl3: bigint, toEl2: bigint): number {
    if (this.hasEl3 && this.scr(toEl3)) return 3;
    return this.hcr(toEl2) || this.hcr(hcr.TGE) ? 2 : 1;
  }

  /** Takes an interrupt if one may be taken. True: it did, or it has ended a wait. */
  takeInterrupt(): boolean {
    const lines = this.pendingLines;
    if (lines === 0 || this.get32(field.stopped) !== 0) return false;
    const wasHalted = this.get32(field.halted) !== 0;
    this.set32(field.halted, 0);
    const state = this.pstate;
    const own = this.get32(field.levels) === 0 ? 1 : Math.max(1, this.el);
    // Of a lower exception level masks count for nothing; to a lower one nothing goes.
    const may = (which: number, target: number, mask: number): boolean =>
      (lines & which) !== 0 && (target > own || (target === own && (state & mask) === 0));
    const fiqTarget = this.#interruptTarget(scr.FIQ, hcr.FMO);
    const irqTarget = this.#interruptTarget(scr.IRQ, hcr.IMO);
    if (may(line.fiq, fiqTarget, pstate.F)) this.enter(0x100, this.pc, fiqTarget);
    else if (may(line.irq, irqTarget, pstate.I)) this.enter(0x80, this.pc, irqTarget);
    else if (may(line.virtualFiq, 1, pstate.F)) this.enter(0x100, this.pc, 1);
    else if (may(line.virtualIrq, 1, pstate.I)) this.enter(0x80, this.pc, 1);
    else if (may(VIRTUAL_ERROR, 1, pstate.A)) {
      const syndrome = syndromeOf(exceptionClass.serror, Number(this.#takeVirtualError()));
      this.set64(field.esr, BigInt(syndrome >>> 0));
      this.enter(0x180, this.pc, 1);
    } else return wasHalted;
    return true;
  }

  /** A virtual SError is no longer pending. Gives what its syndrome says. */
  #takeVirtualError(): bigint {
    this.set64(field.hcr, this.get64(field.hcr) & ~hcr.VSE);
    this.updateLevels();
    return this.model.features.has('ras') ? this.get64(field.vsesr) : 0n;
  }
  /** ESB (FEAT_RAS): a virtual SError that is masked is noted in VDISR_EL2 rather than taken later. There are no physical ones. */
  synchronizeErrors(): void {
    if (this.el > 1 || (this.pendingLines & VIRTUAL_ERROR) === 0 || (this.pstate & pstate.A) === 0) return;
    this.set64(field.vdisr, deferredError.A | this.#takeVirtualError());
  }

  /** The count that a timer goes by: the virtual one is behind by CNTVOFF_EL2. */
  countOf(n: number): bigint {
    return BigInt.asUintN(64, this.board.time() - this.#offsetOf(n));
  }
  #offsetOf(n: number): bigint {
    return n === VIRTUAL ? this.get64(field.cntvoff) : 0n;
  }

  timerControl(n: number): bigint {
    const control = this.get64(field.timers + 16 * n);
    const met = (control & timerControl.ENABLE) !== 0n && this.countOf(n) >= this.timerCompare(n);
    return control | (met ? timerControl.ISTATUS : 0n);
  }
  timerCompare(n: number): bigint {
    return this.get64(field.timers + 16 * n + 8);
  }
  setTimer(n: number, control: bigint, compare: bigint): void {
    this.set64(field.timers + 16 * n, control & (timerControl.ENABLE | timerControl.IMASK));
    this.set64(field.timers + 16 * n + 8, BigInt.asUintN(64, compare));
    this.#tellTimer(n);
  }
  #tellTimer(n: number): void {
    const name = timerNames[n];
    const compare = this.timerCompare(n);
    if (this.get64(field.timers + 16 * n) !== timerControl.ENABLE) this.board.setTimer(name, undefined);
    else if (this.#offsetOf(n) === 0n) this.board.setTimer(name, compare);
    else {
      const left = compare - this.countOf(n);
      this.board.setTimer(name, this.board.time() + (left > 0n ? left : 0n));
    }
  }
  /** The virtual count is behind the physical one by this. */
  setVirtualOffset(offset: bigint): void {
    this.set64(field.cntvoff, offset);
    this.#tellTimer(VIRTUAL);
  }
}
