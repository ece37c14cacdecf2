/** One AArch64 CPU: what the engine calls on exceptions, interrupts and exits, and what the board does to it. */
import { header } from '../../../ir/index.js';
import type { CpuContext, GuestCpu, GuestTranslator, VmExit } from '../../guest-cpu.js';
import { createTranslator } from '../block-translator.js';
import { modeBit, WATCHED } from '../mode.js';
import { type ArmModel, defaultModel } from '../models.js';
import { routines } from '../routines/set.js';
import {
  armVars,
  exceptionClass,
  field,
  flushed,
  leaveReason,
  line,
  ofLevel,
  pstate,
  STATE_BYTES,
  scr,
  syndromeOf,
  trapCode,
  xreg,
} from '../state.js';
import { RESET_SCTLR } from './control-bits.js';
import { type ArmBoard, Core, timerNames } from './core.js';
import { breakpointHit, isStepPending, stepped, stepSyndrome, updateDebug, watchpointHit } from './debug-exceptions.js';
import { debugTranslate } from './debug-translate.js';
import { dumpRegisters, namedRegisters } from './dump.js';
import { GUARDED } from './page-walk.js';
import { currentValue, hasRegister, registerByCode, setValue } from './registers.js';
import { accessSyndrome, callHypervisor, callMonitor, exceptionTarget, waitTarget } from './routing.js';
import { trapTarget } from './traps.js';
import { RESET_CPTR_EL2, RESET_HCR, RESET_SCR } from './upper-registers.js';

const NONE = (1n << 64n) - 1n;

export class ArmCpu implements GuestCpu {
  readonly architecture: string = 'aarch64';
  readonly vars = armVars;
  readonly routines = routines;
  readonly translator: GuestTranslator;
  readonly model: ArmModel;
  readonly #board: ArmBoard;
  readonly #makeCore: typeof Core;
  #core!: Core;
  #watching = false;

  /** `makeCore`: what is behind it, AArch64's or AArch32's. */
  constructor(board: ArmBoard, model: ArmModel = defaultModel, makeCore: typeof Core = Core) {
    this.#board = board;
    this.model = model;
    this.#makeCore = makeCore;
    this.translator = createTranslator(model);
  }

  attach(context: CpuContext): void {
    this.#core = new this.#makeCore(context, this.#board, this.model);
  }

  // --- the board's side

  /** The state behind the routines: for tests, debuggers and boards. */
  get core(): Core {
    return this.#core;
  }

  /** Guest-virtual address of the next instruction. */
  get linearPc(): bigint {
    return this.#core.pc;
  }

  /** Where it is: what a block of code is known by. */
  get place(): { readonly codeBase: bigint; readonly pc: bigint; readonly modeKey: number } {
    return { codeBase: 0n, pc: this.#core.pc, modeKey: this.#core.modeKey };
  }

  /** Every register by the manual's name. */
  registers(): Readonly<Record<string, bigint>> {
    return namedRegisters(this.#core);
  }

  /** The registers as text, laid out as QEMU's; `float`: with those of floating point and SIMD. */
  dump(parts: { readonly float: boolean }): string {
    return dumpRegisters(this.#core, parts);
  }

  /** Guest-physical address of a guest-virtual one, for debuggers; undefined where nothing is mapped. */
  translate(gva: bigint): bigint | undefined {
    return debugTranslate(this.#core, gva);
  }

  /** It waits in WFI, or to be started. */
  get isHalted(): boolean {
    return this.#core.get32(field.halted) !== 0;
  }

  /** It waits for another CPU to start it. */
  get isStopped(): boolean {
    return this.#core.get32(field.stopped) !== 0;
  }

  /** It does nothing until it is started. */
  stop(): void {
    this.#core.set32(field.halted, 1);
    this.#core.set32(field.stopped, 1);
  }

  /** What it is doing ends with a wait for an interrupt. */
  wait(): void {
    this.#core.set32(field.halted, 1);
  }

  /** As after power-on, with an argument in X0; its interrupt inputs stay as they are. */
  start(pc: bigint, affinity: number, argument: bigint): void {
    const core = this.#core;
    const lines = core.get32(field.lines);
    this.reset(pc, affinity);
    this.leaveSecure();
    for (const which of Object.values(line)) if (lines & which) core.setLine(which, true);
    core.set64(xreg[0].offset, argument);
  }

  /** False: it waits to be started. */
  goOn(): boolean {
    if (this.isStopped) return false;
    this.#core.set32(field.halted, 0);
    return true;
  }

  /** As after power-on, at the highest exception level, with exceptions masked. What the manual leaves open is 0. `affinity`: Aff0 to Aff3. */
  reset(pc: bigint, affinity = 0): void {
    const core = this.#core;
    const { features } = this.model;
    for (const { offset, type } of armVars.vars) {
      core.set64(offset, 0n);
      if (type === 'v128') core.set64(offset + 8, 0n);
    }
    for (let at = field.pstate; at < STATE_BYTES; at += 4) core.set32(at, 0);
    core.set64(header.pcMask, NONE);
    core.set64(header.pcBase, 0n);
    core.set32(header.interruptPending, 0);
    if (core.board.exceptionTaken) core.set32(field.watched, 1);
    core.set32(field.modeBits, this.modeBits);
    for (const el of [1, 2, 3]) core.set64(ofLevel(field.sctlr, el), BigInt(RESET_SCTLR));
    core.set64(field.monitor, NONE);
    core.set32(field.osLock, 1);
    core.set32(field.guards, features.has('bti') ? GUARDED : 0);
    core.set64(field.mpidr, (1n << 31n) | BigInt(affinity));
    for (const timer of timerNames) core.board.setTimer(timer, undefined);
    const [hasEl2, hasEl3] = [features.has('el2'), features.has('el3')];
    core.set32(field.levels, Number(hasEl2) | (Number(hasEl3) << 1));
    if (hasEl2) {
      core.set64(field.hcr, RESET_HCR);
      core.set64(ofLevel(field.cpacr, 2), RESET_CPTR_EL2);
      core.set64(field.vpidr, BigInt(this.model.midr));
      core.set64(field.vmpidr, core.get64(field.mpidr));
      core.set64(field.cnthctl, 3n);
    }
    if (hasEl3) core.set64(field.scr, RESET_SCR);
    core.updateLevels();
    updateDebug(core);
    const highest = hasEl3 ? 3 : hasEl2 ? 2 : 1;
    core.setPstate(pstate.DAIF | (highest << pstate.EL_SHIFT) | pstate.SPSEL);
    core.flushTlb();
    core.pc = pc;
  }

  /** Bits of the mode key that are not the guest's. */
  protected get modeBits(): number {
    return (this.#board.others ? 1 << modeBit.shared : 0) | (this.#watching ? WATCHED : 0);
  }

  /** The board's `dataAccess` hears of every data access. */
  setWatching(on: boolean): void {
    this.#watching = on;
    this.#core.set32(field.modeBits, this.modeBits);
    this.#core.updateMode();
  }

  /** Leaves EL3, where no firmware does so: non-secure, at EL2 or EL1, with nothing trapped. */
  leaveSecure(): void {
    const core = this.#core;
    if (!core.hasEl3) return;
    core.set64(field.scr, RESET_SCR | scr.NS | scr.HCE | (this.model.features.has('pauth') ? scr.APK | scr.API : 0n));
    core.updateLevels();
    core.setPstate(pstate.DAIF | ((core.hasEl2 ? 2 : 1) << pstate.EL_SHIFT) | pstate.SPSEL);
  }

  /** Where a kernel finds the device tree when it starts. */
  setTree(gpa: number): void {
    this.#core.set64(xreg[0].offset, BigInt(gpa));
  }

  /** A device raises or lowers an interrupt input (`line`). The caller kicks the engine. */
  setLine(which: number, level: boolean): void {
    this.#core.setLine(which, level);
  }

  /** An interrupt input is up, whether or not it may be taken. */
  get isCalled(): boolean {
    return this.#core.pendingLines !== 0;
  }

  // --- the engine's side

  deliverFault(): VmExit | undefined {
    const core = this.#core;
    const trap = core.get32(header.trapCode);
    const after = trap === trapCode.after;
    core.set32(header.trapCode, 0);
    const given = this.#syndrome(trap);
    const code = given >>> 26;
    const trapped = core.get32(field.trapTo);
    core.set32(field.trapTo, 0);
    const isStep = code === exceptionClass.softwareStep;
    const target = (isStep ? 0 : trapped) || exceptionTarget(core, code);
    const isAbort = code === exceptionClass.dataAbort || code === exceptionClass.instructionAbort;
    const isStage2 = trapped === 2 && isAbort;
    if (isStage2) core.set64(field.hpfar, (core.get64(field.faultIpa) >> 8n) & 0x00000ffffffffff0n);
    const described = isStage2 && code === exceptionClass.dataAbort ? given | accessSyndrome(core, given) : given;
    const isDebug = isStep || code === exceptionClass.breakpoint || code === exceptionClass.watchpoint;
    const syndrome = (isAbort || isDebug) && core.el === target ? described + (1 << 26) : described;
    core.set64(ofLevel(field.esr, target), BigInt(syndrome >>> 0));
    if (isAbort || code === exceptionClass.pcAlignment || code === exceptionClass.watchpoint)
      core.set64(ofLevel(field.far, target), core.get64(field.faultAddress));
    if (after) core.set32(field.stepped, stepped.DONE);
    core.enter(0, core.pc + (after ? 4n : 0n), target);
    return undefined;
  }

  /** The syndrome of what has been raised. */
  #syndrome(trap: number): number {
    const core = this.#core;
    const given = core.get32(field.syndrome);
    if (trap === trapCode.branchTarget) return syndromeOf(exceptionClass.branchTarget, core.branchType);
    // That the next instruction cannot be fetched is of no interest yet.
    const isFetch = trap === trapCode.here && given >>> 26 === exceptionClass.instructionAbort;
    return trap === trapCode.step || (isFetch && isStepPending(core)) ? stepSyndrome(core) : given;
  }

  deliverPending(): boolean {
    return this.#core.takeInterrupt();
  }

  handleLeave(): VmExit | 'yield' | undefined {
    const core = this.#core;
    const reason = core.get32(header.leaveReason);
    core.set32(header.leaveReason, 0);
    if (reason === leaveReason.pause) return 'yield';
    if (reason === leaveReason.call && !this.isHalted) {
      this.deliverPending();
      return undefined;
    }
    core.set32(field.halted, 1);
    return this.deliverPending() ? undefined : 'halt';
  }

  hostRoutines(): Readonly<Record<string, (...args: never[]) => unknown>> {
    return {
      system_read: (_state: number, code: number, syndrome: number) => {
        const core = this.#core;
        const row = this.#register(code);
        if (!row) return [core.raise(syndromeOf(exceptionClass.unknown)), 0n];
        if (core.el === 0 && row.trapped?.(core, 'read')) return [core.trapTo(core.synchronousTarget, syndrome), 0n];
        const target = trapTarget(core, code, 'read');
        if (target !== 0) return [core.trapTo(target, syndrome), 0n];
        const isVirtual = row.virtual !== undefined && core.el === 1 && core.el2Enabled;
        const value = isVirtual ? core.get64(row.virtual) : currentValue(core, row);
        if (value === undefined) return [core.raise(syndromeOf(exceptionClass.unknown)), 0n];
        return [0, BigInt.asIntN(64, value)];
      },
      system_write: (_state: number, code: number, value: bigint, syndrome: number) => {
        const core = this.#core;
        const row = this.#register(code);
        if (!row) return core.raise(syndromeOf(exceptionClass.unknown));
        if (core.el === 0 && row.trapped?.(core, 'write')) return core.trapTo(core.synchronousTarget, syndrome);
        const target = trapTarget(core, code, 'write');
        if (target !== 0) return core.trapTo(target, syndrome);
        if (setValue(core, row, BigInt.asUintN(64, value))) return 0;
        return core.raise(syndromeOf(exceptionClass.unknown));
      },
      /** Of an instruction that EL0 may be denied by a bit of SCTLR. */
      user_trap: (_state: number, bit: number, syndrome: number) => {
        const core = this.#core;
        return core.userControl & bit ? 0 : core.trapTo(core.synchronousTarget, syndrome);
      },
      upper_trap: (_state: number, code: number, syndrome: number) => {
        const target = trapTarget(this.#core, code, 'write');
        return target === 0 ? 0 : this.#core.trapTo(target, syndrome);
      },
      wait_trap: (_state: number, isEvent: number, syndrome: number) => {
        const target = waitTarget(this.#core, isEvent !== 0);
        return target === 0 ? 0 : this.#core.trapTo(target, syndrome);
      },
      synchronize_errors: () => this.#core.synchronizeErrors(),
      breakpoint_hit: (_state: number, n: number) => breakpointHit(this.#core, n),
      watchpoint_hit: (_state: number, n: number, address: bigint, isStore: number) =>
        watchpointHit(this.#core, n, address, isStore !== 0),
      data_access: (_state: number, address: bigint, bytes: number, write: number) =>
        this.#core.accessed(BigInt.asUintN(64, address), bytes, write !== 0),
      flush_others: (_state: number, what: number, operand: bigint) => {
        for (const other of this.#board.others?.() ?? []) {
          if (other === this.#core) continue;
          if (what === flushed.address) other.call('flush_address', operand);
          else if (what === flushed.range) other.call('flush_range', operand);
          else if (what === flushed.guest) other.flushGuest();
          else other.flushTlb(what === flushed.space);
        }
      },
      semihosting_call: () => (this.semihost(8) ? 0 : this.#core.raise(syndromeOf(exceptionClass.unknown))),
      firmware_call: (_state: number, isSmc: number, number: number) =>
        isSmc ? callMonitor(this.#core, number) : callHypervisor(this.#core, number),
    };
  }

  /** The host answers what is asked of it (operation and parameter in X0 and X1). Gives whether it does. */
  protected semihost(wordBytes: 4 | 8): boolean {
    const { core } = this;
    const { semihosting } = this.#board;
    if (!semihosting || (core.el === 0 && !semihosting.userspace)) return false;
    const [operation, parameter] = [0, 1].map((n) => BigInt.asUintN(8 * wordBytes, core.get64(xreg[n].offset)));
    const result = semihosting.call({
      operation: Number(operation & 0xffffffffn),
      parameter,
      wordBytes,
      translate: (gva) => this.translate(gva),
    });
    core.set64(xreg[0].offset, BigInt.asUintN(8 * wordBytes, result));
    return true;
  }

  /** The register's row, if this CPU and its board have it. */
  #register(code: number) {
    const row = registerByCode.get(code);
    return row && hasRegister(this.model, row) && row.present?.(this.#core) !== false ? row : undefined;
  }
}
