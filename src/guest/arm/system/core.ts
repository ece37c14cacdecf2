/** The CPU's state as JavaScript sees it: system registers, exceptions, timers. */
import { header } from '../../../ir/index.js';
import type { CpuContext } from '../../guest-cpu.js';
import { elOf } from '../mode.js';
import type { ArmModel } from '../models.js';
import { field, flagA, flagB, flagC, flagKind, flagOp, line, pstate, stackPointer, trapCode } from '../state.js';
import type { GicPort } from './gic-registers.js';

export type TimerName = 'physical' | 'virtual';
export const timerNames: readonly TimerName[] = ['physical', 'virtual'];
/** Bits of a timer's control register. */
const timerControl = { ENABLE: 1n, IMASK: 2n, ISTATUS: 4n } as const;

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
  /** The other CPUs of the machine, where there are any. */
  readonly others?: (() => Iterable<Core>) | undefined;
  /** A data access by an instruction, before it, while `setWatching` is on. */
  readonly dataAccess?: ((address: bigint, bytes: number, write: boolean) => void) | undefined;
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

  /** NZCV in bits 31 to 28. */
  get nzcv(): number {
    const operands = [flagA, flagB, flagC].map(({ offset }) => BigInt.asIntN(64, this.get64(offset)));
    const bits = this.call('compute_nzcv', this.get32(flagOp.offset), ...operands);
    return (bits as number) & 0xf0000000;
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
  getStack(n: 0 | 1): bigint {
    return this.get64((this.pstate & pstate.SPSEL) === n ? stackPointer.offset : stackHome(n));
  }
  setStack(n: 0 | 1, value: bigint): void {
    this.set64((this.pstate & pstate.SPSEL) === n ? stackPointer.offset : stackHome(n), value);
  }

  /** After a change of what the mode key or the translation context is made of. */
  updateMode(): void {
    this.call('update_mode');
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

  /** Takes an exception to EL1. `vector`: what kind it is, 0 for a synchronous one. */
  enter(vector: number, returnTo: bigint): void {
    const hasPan = this.model.features.has('pan') ? 1 : 0;
    const from = this.el;
    this.call('take_exception', vector, BigInt.asIntN(64, returnTo), this.nzcv, hasPan);
    this.board.exceptionTaken?.(this, vector, from);
  }

  // --- interrupts and timers

  setLine(which: number, level: boolean): void {
    const lines = this.get32(field.lines);
    this.set32(field.lines, level ? lines | which : lines & ~which);
    const now = this.get32(field.lines);
    this.set32(header.interruptPending, now === 0 ? 0 : 1);
    this.set32(field.pendingMasks, (now & line.irq ? pstate.I : 0) | (now & line.fiq ? pstate.F : 0));
  }

  /** Takes an interrupt if one may be taken. True: it did, or it has ended a wait. */
  takeInterrupt(): boolean {
    const lines = this.get32(field.lines);
    if (lines === 0 || this.get32(field.stopped) !== 0) return false;
    const wasHalted = this.get32(field.halted) !== 0;
    this.set32(field.halted, 0);
    const state = this.pstate;
    if (lines & line.fiq && !(state & pstate.F)) this.enter(0x100, this.pc);
    else if (lines & line.irq && !(state & pstate.I)) this.enter(0x80, this.pc);
    else return wasHalted;
    return true;
  }

  timerControl(n: number): bigint {
    const control = this.get64(field.timers + 16 * n);
    const met = (control & timerControl.ENABLE) !== 0n && this.board.time() >= this.timerCompare(n);
    return control | (met ? timerControl.ISTATUS : 0n);
  }
  timerCompare(n: number): bigint {
    return this.get64(field.timers + 16 * n + 8);
  }
  setTimer(n: number, control: bigint, compare: bigint): void {
    const enabled = control & (timerControl.ENABLE | timerControl.IMASK);
    this.set64(field.timers + 16 * n, enabled);
    this.set64(field.timers + 16 * n + 8, BigInt.asUintN(64, compare));
    const counts = enabled === timerControl.ENABLE;
    this.board.setTimer(timerNames[n], counts ? BigInt.asUintN(64, compare) : undefined);
  }
}

const stackHome = (state: number): number => field.sp + 8 * (state & pstate.SPSEL);
