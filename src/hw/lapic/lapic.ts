/**
 * The local APIC in xAPIC and x2APIC mode (Intel SDM vol. 3, chapter 11): interrupt acceptance and priorities, local
 * vectors, the timer (one-shot, periodic, TSC-deadline) and inter-processor interrupts.
 *
 * Deviations, all as common virtual machines have them: the timer's clock is 1 GHz; LINT0 of the bootstrap processor
 * comes out of reset in ExtINT mode and unmasked, as firmware leaves it, so that a kernel that is booted without firmware
 * gets the 8259's interrupts; arbitration among equal priorities goes to the first APIC; the delivery status bits are
 * always idle, for delivery is instantaneous. There is no CMCI and no suppression of EOI broadcasts.
 */
import type { Timer, TimerService } from '../../base/index.js';
import type { CpuInterruptController, CpuSignals, Device, IrqLine } from '../../bus/index.js';
import {
  bool,
  deadlineNs,
  defineState,
  f64,
  type StateArena,
  type StateOf,
  u8,
  u32,
  u32s,
  u64,
} from '../../schema/index.js';
import { type ApicBus, BROADCAST, EXTINT, FIXED, INIT, LOWEST_PRIORITY, NMI, SMI, STARTUP } from './apic-bus.js';
import { APIC_REGISTERS as R, ROW_AT } from './registers.js';

export const LAPIC_BASE = 0xfee00000;
/** Version 0x14, six LVT entries. */
const VERSION = 0x00050014;
/** Nanoseconds per timer clock before the divider. */
const BUS_NS = 1;
/** How far a periodic timer may lag behind before missed expirations are dropped. */
const MAX_LAG_NS = 1e9;

const LVT_TIMER = 0;
const LVT_THERMAL = 1;
const LVT_PERFORMANCE = 2;
const LVT_LINT0 = 3;
const LVT_LINT1 = 4;
const LVT_ERROR = 5;
const MASKED = 0x10000;
const LEVEL = 0x8000;
const REMOTE_IRR = 0x4000;

const PERIODIC = 1;
const TSC_DEADLINE = 2;

const SEND_ILLEGAL_VECTOR = 0x20;
const RECEIVE_ILLEGAL_VECTOR = 0x40;
const ILLEGAL_REGISTER = 0x80;

const MSR_APIC_BASE = 0x1b;
const MSR_TSC_DEADLINE = 0x6e0;
const BASE_BSP = 0x100n;
const BASE_EXTD = 0x400n;
const BASE_EN = 0x800n;

export const LapicState = defineState('lapic', 1, {
  enabled: bool(true),
  x2apic: bool(),
  baseGpa: f64(LAPIC_BASE, { min: 0, max: 2 ** 52 - 4096, integer: true }),
  TPR: u8(),
  LDR: u32(),
  DFR: u32(0xffffffff),
  SVR: u32(0xff),
  ISR: u32s(8),
  TMR: u32s(8),
  IRR: u32s(8),
  ESR: u8(),
  /** Errors since ESR was last written. */
  errors: u8(),
  ICR: u32(),
  ICR_HIGH: u32(),
  LVT: u32s(6, {}, MASKED),
  initialCount: u32(),
  divide: u8(0, { max: 0x0b }),
  /** Virtual time at which the timer expires; Infinity while it stands. */
  timerDeadlineNs: deadlineNs(),
  tscDeadline: u64(),
  /** Levels of the LINT pins, bit per pin. */
  lint: u8(0, { max: 3 }),
  /** An ExtINT message from the bus waits. */
  extInt: bool(),
});

function highestBit(words: Uint32Array): number {
  for (let i = 7; i >= 0; i--) {
    const word = words[i]!;
    if (word !== 0) return i * 32 + 31 - Math.clz32(word);
  }
  return -1;
}

export interface LocalApicOptions {
  readonly id: number;
  readonly bus: ApicBus;
  readonly clock: TimerService;
  readonly signals: CpuSignals;
  /** Acknowledges the 8259: the vector of an ExtINT. */
  readonly acknowledgeExtInt: () => number;
  /** Default: the APIC with ID 0. */
  readonly bootstrap?: boolean;
  /** The CPU model has x2APIC. Default true. */
  readonly x2apic?: boolean;
  readonly arena?: StateArena;
}

export class LocalApic implements Device, CpuInterruptController {
  readonly name: string;
  readonly id: number;
  readonly state: StateOf<typeof LapicState>;
  /** LINT0 takes the 8259's INTR, LINT1 the NMI. */
  readonly lint: readonly [IrqLine, IrqLine];
  /** The register page moved, came or went: `mmioGpa` says where it is. */
  onBaseChange: (() => void) | undefined;
  readonly #bus: ApicBus;
  readonly #clock: TimerService;
  readonly #signals: CpuSignals;
  readonly #acknowledgeExtInt: () => number;
  readonly #bootstrap: boolean;
  readonly #hasX2apic: boolean;
  readonly #timer: Timer;

  constructor(options: LocalApicOptions) {
    this.id = options.id;
    this.name = `lapic${options.id}`;
    this.#bus = options.bus;
    this.#clock = options.clock;
    this.#signals = options.signals;
    this.#acknowledgeExtInt = options.acknowledgeExtInt;
    this.#bootstrap = options.bootstrap ?? options.id === 0;
    this.#hasX2apic = options.x2apic ?? true;
    this.#timer = options.clock.createTimer(this.name, (now) => this.#expire(now));
    this.state = LapicState.allocate(options.arena);
    this.lint = [{ set: (level) => this.#setLint(0, level) }, { set: (level) => this.#setLint(1, level) }];
    if (!options.arena?.attached) this.#leaveLint0ToFirmware();
    options.bus.attach(this);
  }

  #leaveLint0ToFirmware(): void {
    if (this.#bootstrap) this.state.LVT[LVT_LINT0] = EXTINT << 8;
  }

  // ---- life cycle

  reset(): void {
    this.#resetRegisters();
    const { state } = this;
    const moved = !state.enabled || state.x2apic || state.baseGpa !== LAPIC_BASE;
    state.enabled = true;
    state.x2apic = false;
    state.baseGpa = LAPIC_BASE;
    if (moved) this.onBaseChange?.();
  }

  /** All but the ID and IA32_APIC_BASE, as INIT does. The pins keep their levels. */
  #resetRegisters(): void {
    const { state } = this;
    const { enabled, x2apic, baseGpa, lint } = state;
    LapicState.reset(state);
    state.enabled = enabled;
    state.x2apic = x2apic;
    state.baseGpa = baseGpa;
    state.lint = lint;
    this.#leaveLint0ToFirmware();
    this.#timer.cancel();
  }

  save(): Uint8Array {
    return LapicState.save(this.state);
  }
  load(saved: Uint8Array): void {
    LapicState.load(this.state, saved);
    this.#arm();
    this.onBaseChange?.();
    this.#signals.interruptChanged();
  }

  /** Another keeps this APIC's time and interrupts from here on, until `load`. */
  standBy(): void {
    this.#timer.cancel();
  }

  /** Where the register page lies, or undefined in x2APIC mode and while disabled. */
  mmioGpa(): number | undefined {
    return this.state.enabled && !this.state.x2apic ? this.state.baseGpa : undefined;
  }

  // ---- the vCPU's side

  #softwareEnabled(): boolean {
    return (this.state.SVR & 0x100) !== 0;
  }

  processorPriority(): number {
    const inService = highestBit(this.state.ISR);
    const task = this.state.TPR;
    return inService >= 0 && (inService & 0xf0) > (task & 0xf0) ? inService & 0xf0 : task;
  }

  /** The vector of the highest request above the processor priority, or -1. */
  #deliverable(): number {
    const vector = highestBit(this.state.IRR);
    return vector >= 0 && (vector & 0xf0) > (this.processorPriority() & 0xf0) ? vector : -1;
  }

  #extIntPending(): boolean {
    const { state } = this;
    if (!state.enabled) return (state.lint & 1) !== 0;
    if (state.extInt) return true;
    if (state.lint === 0) return false;
    for (let pin = 0; pin < 2; pin++) {
      const lvt = state.LVT[LVT_LINT0 + pin]!;
      if ((state.lint & (1 << pin)) !== 0 && (lvt & MASKED) === 0 && ((lvt >> 8) & 7) === EXTINT) return true;
    }
    return false;
  }

  pending(): boolean {
    return this.#deliverable() >= 0 || this.#extIntPending();
  }

  acknowledge(): number {
    const { state } = this;
    const vector = this.#deliverable();
    if (vector >= 0) {
      const bit = 1 << (vector & 31);
      state.IRR[vector >> 5]! &= ~bit;
      state.ISR[vector >> 5]! |= bit;
      return vector;
    }
    if (this.#extIntPending()) {
      state.extInt = false;
      return this.#acknowledgeExtInt();
    }
    return state.SVR & 0xff;
  }

  get cr8(): number {
    return this.state.TPR >> 4;
  }
  set cr8(value: number) {
    this.#setTpr((value & 15) << 4);
  }

  #setTpr(value: number): void {
    const lower = value < this.state.TPR;
    this.state.TPR = value;
    if (lower && this.pending()) this.#signals.interruptChanged();
  }

  // ---- the bus's side

  takesFixed(): boolean {
    return this.state.enabled && this.#softwareEnabled();
  }

  /** Whether a message for this (32-bit) destination is for this APIC. */
  isAddressed(destination: number, logical: boolean): boolean {
    if (destination === BROADCAST) return true;
    if (!logical) return destination === this.id;
    if (this.state.x2apic) {
      const mine = this.#x2apicLdr();
      return destination >>> 16 === mine >>> 16 && (destination & mine & 0xffff) !== 0;
    }
    const mine = this.state.LDR >>> 24;
    if (this.state.DFR >>> 28 === 0xf) return (destination & mine & 0xff) !== 0;
    return ((destination >>> 4) & 15) === mine >>> 4 && (destination & mine & 15) !== 0;
  }

  #x2apicLdr(): number {
    return (((this.id >>> 4) << 16) | (1 << (this.id & 15))) >>> 0;
  }

  /** A message arrives. False if the APIC does not take it. */
  receive(mode: number, vector: number, levelTriggered: boolean): boolean {
    if (!this.state.enabled) return false;
    switch (mode) {
      case FIXED:
      case LOWEST_PRIORITY:
        if (!this.#softwareEnabled()) return false;
        this.#accept(vector, levelTriggered);
        return true;
      case SMI:
        this.#signals.smi?.();
        return true;
      case NMI:
        this.#signals.nmi();
        return true;
      case INIT:
        this.#resetRegisters();
        this.#signals.init();
        return true;
      case STARTUP:
        this.#signals.sipi(vector);
        return true;
      case EXTINT:
        this.state.extInt = true;
        this.#signals.interruptChanged();
        return true;
      default:
        return false;
    }
  }

  #accept(vector: number, levelTriggered: boolean): void {
    if (vector < 16) {
      this.#error(RECEIVE_ILLEGAL_VECTOR);
      return;
    }
    const { IRR, TMR } = this.state;
    const bit = 1 << (vector & 31);
    const word = vector >> 5;
    IRR[word]! |= bit;
    if (levelTriggered) TMR[word]! |= bit;
    else TMR[word]! &= ~bit;
    if ((vector & 0xf0) > (this.processorPriority() & 0xf0)) this.#signals.interruptChanged();
  }

  #error(bit: number): void {
    if ((this.state.errors & bit) !== 0) return;
    this.state.errors |= bit;
    this.#deliverLocal(LVT_ERROR);
  }

  // ---- local vectors

  #deliverLocal(entry: number): void {
    const lvt = this.state.LVT[entry]!;
    if ((lvt & MASKED) !== 0) return;
    const pin = entry === LVT_LINT0 || entry === LVT_LINT1;
    const mode = (lvt >> 8) & 7;
    if (mode === EXTINT) this.#signals.interruptChanged();
    else if (mode === FIXED && pin && (lvt & LEVEL) !== 0) {
      if ((lvt & REMOTE_IRR) !== 0 || !this.takesFixed()) return;
      this.state.LVT[entry] = lvt | REMOTE_IRR;
      this.#accept(lvt & 0xff, true);
    } else this.receive(mode, lvt & 0xff, false);
  }

  thermalInterrupt(): void {
    this.#deliverLocal(LVT_THERMAL);
  }
  /** A performance counter overflowed: its local vector masks itself. */
  performanceInterrupt(): void {
    this.#deliverLocal(LVT_PERFORMANCE);
    this.state.LVT[LVT_PERFORMANCE]! |= MASKED;
  }

  #setLint(pin: 0 | 1, level: boolean): void {
    const { state } = this;
    const bit = 1 << pin;
    const rises = level && (state.lint & bit) === 0;
    state.lint = level ? state.lint | bit : state.lint & ~bit;
    if (!rises) return;
    if (state.enabled) this.#deliverLocal(LVT_LINT0 + pin);
    else if (pin === 0) this.#signals.interruptChanged();
    else this.#signals.nmi();
  }

  #writeLvt(entry: number, value: number): void {
    const { state } = this;
    const before = state.LVT[entry]!;
    const row = ROW_AT[R.LVT_TIMER.index + entry]!;
    let after = (value & row.writable!) | (before & REMOTE_IRR);
    if (!this.#softwareEnabled()) after |= MASKED;
    if ((after & LEVEL) === 0) after &= ~REMOTE_IRR;
    state.LVT[entry] = after;
    if (entry === LVT_TIMER) this.#timerModeChanged(before, after);
    else if (entry === LVT_LINT0 || entry === LVT_LINT1) {
      // A pin that is up asks through what it has now become: ExtINT and level-triggered vectors.
      const mode = (after >> 8) & 7;
      const asks = mode === EXTINT || (mode === FIXED && (after & LEVEL) !== 0);
      if (asks && (state.lint & (1 << (entry - LVT_LINT0))) !== 0) this.#deliverLocal(entry);
    }
  }

  #endOfInterrupt(): void {
    const { state } = this;
    const vector = highestBit(state.ISR);
    if (vector < 0) return;
    const bit = 1 << (vector & 31);
    state.ISR[vector >> 5]! &= ~bit;
    if ((state.TMR[vector >> 5]! & bit) !== 0) {
      for (let entry = LVT_LINT0; entry <= LVT_LINT1; entry++) {
        const lvt = state.LVT[entry]!;
        if ((lvt & REMOTE_IRR) === 0 || (lvt & 0xff) !== vector) continue;
        state.LVT[entry] = lvt & ~REMOTE_IRR;
        if ((state.lint & (1 << (entry - LVT_LINT0))) !== 0) this.#deliverLocal(entry);
      }
      this.#bus.broadcastEoi(vector);
    }
    if (this.pending()) this.#signals.interruptChanged();
  }

  // ---- the timer

  #timerMode(): number {
    return (this.state.LVT[LVT_TIMER]! >> 17) & 3;
  }
  #countNs(): number {
    const code = (this.state.divide & 3) | ((this.state.divide >> 1) & 4);
    return code === 7 ? BUS_NS : BUS_NS * (2 << code);
  }

  #setDeadline(ns: number): void {
    this.state.timerDeadlineNs = ns;
    this.#arm();
  }
  #arm(): void {
    const at = this.state.timerDeadlineNs;
    if (at === Infinity) this.#timer.cancel();
    else this.#timer.arm(at);
  }

  #writeInitialCount(value: number): void {
    if (this.#timerMode() === TSC_DEADLINE) return;
    this.state.initialCount = value;
    this.#setDeadline(value === 0 ? Infinity : this.#clock.nowNs() + value * this.#countNs());
  }

  /** What is left of the timer's count. */
  currentCount(): number {
    const { state } = this;
    if (state.timerDeadlineNs === Infinity || this.#timerMode() === TSC_DEADLINE) return 0;
    const step = this.#countNs();
    let left = state.timerDeadlineNs - this.#clock.nowNs();
    if (left <= 0) {
      if (this.#timerMode() !== PERIODIC) return 0;
      const period = state.initialCount * step;
      left = period - (-left % period);
    }
    return Math.min(Math.ceil(left / step), 0xffffffff);
  }

  #writeDivide(value: number): void {
    const left = this.currentCount();
    this.state.divide = value & 0x0b;
    // The count goes on from where it is, at the new pace.
    if (left !== 0) this.#setDeadline(this.#clock.nowNs() + left * this.#countNs());
  }

  #timerModeChanged(before: number, after: number): void {
    const [was, is] = [(before >> 17) & 3, (after >> 17) & 3];
    if (was === is || (was !== TSC_DEADLINE && is !== TSC_DEADLINE)) return;
    this.state.initialCount = 0;
    this.state.tscDeadline = 0n;
    this.#setDeadline(Infinity);
  }

  /** Arms for the TSC deadline, or fires if it has passed. */
  #armTscDeadline(): void {
    const counts = this.state.tscDeadline - this.#signals.tscNow();
    if (counts <= 0n) this.#fireTscDeadline();
    else {
      const ns = Math.ceil((Number(counts) * 1e9) / this.#signals.tscHz);
      this.#setDeadline(this.#clock.nowNs() + Math.max(1, ns));
    }
  }
  #fireTscDeadline(): void {
    this.state.tscDeadline = 0n;
    this.#setDeadline(Infinity);
    this.#deliverLocal(LVT_TIMER);
  }

  /** The vCPU's time-stamp counter was written: a TSC deadline lies elsewhere in time now. */
  tscChanged(): void {
    if (this.state.tscDeadline !== 0n) this.#armTscDeadline();
  }

  #expire(nowNs: number): void {
    const { state } = this;
    const deadline = state.timerDeadlineNs;
    if (deadline === Infinity) return;
    const mode = this.#timerMode();
    if (mode === TSC_DEADLINE) {
      this.#armTscDeadline();
      return;
    }
    if (mode === PERIODIC && state.initialCount !== 0) {
      // From the deadline and not from now, so that a late timer keeps its pace and loses no tick.
      const period = state.initialCount * this.#countNs();
      const behind = nowNs - deadline;
      const skipped = behind > MAX_LAG_NS ? Math.floor(behind / period) : 0;
      this.#setDeadline(deadline + (skipped + 1) * period);
    } else this.#setDeadline(Infinity);
    this.#deliverLocal(LVT_TIMER);
  }

  // ---- registers

  #writeSvr(value: number): void {
    const { state } = this;
    state.SVR = value & R.SVR.writable;
    if (this.#softwareEnabled()) return;
    for (let i = 0; i < state.LVT.length; i++) state.LVT[i]! |= MASKED;
  }

  #command(low: number, destination: number): void {
    const mode = (low >> 8) & 7;
    const vector = low & 0xff;
    const shorthand = (low >> 18) & 3;
    // INIT level de-assert did something on the 486's APIC bus only.
    if (mode === INIT && (low & LEVEL) !== 0 && (low & 0x4000) === 0) return;
    if ((mode === FIXED || mode === LOWEST_PRIORITY) && vector < 16) {
      this.#error(SEND_ILLEGAL_VECTOR);
      return;
    }
    this.#bus.interProcessor(this, shorthand, destination, (low & 0x800) !== 0, mode, vector);
  }

  #readIndex(index: number): number {
    const { state } = this;
    if (index >= R.ISR.index && index < R.ISR.index + 24) {
      const words = index < R.TMR.index ? state.ISR : index < R.IRR.index ? state.TMR : state.IRR;
      return words[index & 7]!;
    }
    switch (index) {
      case R.ID.index:
        return state.x2apic ? this.id : (this.id << 24) >>> 0;
      case R.VERSION.index:
        return VERSION;
      case R.TPR.index:
        return state.TPR;
      case R.APR.index:
      case R.PPR.index:
        return this.processorPriority();
      case R.LDR.index:
        return state.x2apic ? this.#x2apicLdr() : state.LDR;
      case R.DFR.index:
        return state.DFR;
      case R.SVR.index:
        return state.SVR;
      case R.ESR.index:
        return state.ESR;
      case R.ICR.index:
        return state.ICR;
      case R.ICR_HIGH.index:
        return state.ICR_HIGH;
      case R.INITIAL_COUNT.index:
        return state.initialCount;
      case R.CURRENT_COUNT.index:
        return this.currentCount();
      case R.DIVIDE.index:
        return state.divide;
      default:
        if (index >= R.LVT_TIMER.index && index <= R.LVT_ERROR.index) return state.LVT[index - R.LVT_TIMER.index]!;
        return 0;
    }
  }

  #writeIndex(index: number, value: number): void {
    const { state } = this;
    switch (index) {
      case R.TPR.index:
        this.#setTpr(value & 0xff);
        return;
      case R.EOI.index:
        this.#endOfInterrupt();
        return;
      case R.LDR.index:
        state.LDR = (value & R.LDR.writable) >>> 0;
        return;
      case R.DFR.index:
        state.DFR = (value | 0x0fffffff) >>> 0;
        return;
      case R.SVR.index:
        this.#writeSvr(value);
        return;
      case R.ESR.index:
        state.ESR = state.errors;
        state.errors = 0;
        return;
      case R.ICR.index: {
        state.ICR = value & R.ICR.writable;
        const destination = state.ICR_HIGH >>> 24;
        this.#command(state.ICR, destination === 0xff ? BROADCAST : destination);
        return;
      }
      case R.ICR_HIGH.index:
        state.ICR_HIGH = (value & R.ICR_HIGH.writable) >>> 0;
        return;
      case R.INITIAL_COUNT.index:
        this.#writeInitialCount(value);
        return;
      case R.DIVIDE.index:
        this.#writeDivide(value);
        return;
      case R.SELF_IPI.index:
        if (value < 16) this.#error(SEND_ILLEGAL_VECTOR);
        else this.receive(FIXED, value, false);
        return;
      default:
        if (index >= R.LVT_TIMER.index && index <= R.LVT_ERROR.index) this.#writeLvt(index - R.LVT_TIMER.index, value);
    }
  }

  /** An aligned 32-bit read of the register page; `offset` below 4096. */
  readMmio(offset: number): number {
    const row = ROW_AT[offset >> 4];
    if (row === undefined || row.only === 'x2apic' || row.access === 'wo') {
      if (row === undefined || row.only === 'x2apic') this.#error(ILLEGAL_REGISTER);
      return 0;
    }
    return this.#readIndex(offset >> 4);
  }

  writeMmio(offset: number, value: number): void {
    const row = ROW_AT[offset >> 4];
    if (row === undefined || row.only === 'x2apic') this.#error(ILLEGAL_REGISTER);
    else if (row.access !== 'ro') this.#writeIndex(offset >> 4, value >>> 0);
  }

  // ---- model-specific registers

  readMsr(index: number): bigint | undefined {
    const { state } = this;
    if (index === MSR_APIC_BASE) {
      const flags =
        (this.#bootstrap ? BASE_BSP : 0n) | (state.x2apic ? BASE_EXTD : 0n) | (state.enabled ? BASE_EN : 0n);
      return BigInt(state.baseGpa) | flags;
    }
    if (index === MSR_TSC_DEADLINE) return state.tscDeadline;
    if (!state.x2apic || index < 0x800 || index > 0x83f) return undefined;
    const row = ROW_AT[index - 0x800];
    if (row === undefined || row.only === 'xapic' || row.access === 'wo') return undefined;
    const low = BigInt(this.#readIndex(index - 0x800));
    return index - 0x800 === R.ICR.index ? (BigInt(state.ICR_HIGH) << 32n) | low : low;
  }

  writeMsr(index: number, value: bigint): boolean {
    if (index === MSR_APIC_BASE) return this.#writeBase(value);
    if (index === MSR_TSC_DEADLINE) {
      if (this.#timerMode() !== TSC_DEADLINE) return true;
      this.state.tscDeadline = value;
      if (value === 0n) this.#setDeadline(Infinity);
      else this.#armTscDeadline();
      return true;
    }
    if (!this.state.x2apic || index < 0x800 || index > 0x83f) return false;
    const at = index - 0x800;
    const row = ROW_AT[at];
    if (row === undefined || row.only === 'xapic' || row.access === 'ro' || at === R.LDR.index) return false;
    const low = Number(value & 0xffffffffn);
    const high = Number(value >> 32n);
    if ((low & ~((row.writable ?? 0xffffffff) | (row.ignored ?? 0))) !== 0) return false;
    if (at === R.ICR.index) {
      this.state.ICR = low & R.ICR.writable;
      this.state.ICR_HIGH = high;
      this.#command(low, high);
      return true;
    }
    if (high !== 0) return false;
    this.#writeIndex(at, low);
    return true;
  }

  #writeBase(value: bigint): boolean {
    const { state } = this;
    const enabled = (value & BASE_EN) !== 0n;
    const x2apic = (value & BASE_EXTD) !== 0n;
    const base = value & 0xffffffffff000n;
    if ((value & ~(base | BASE_EN | BASE_EXTD | BASE_BSP)) !== 0n) return false;
    if (x2apic && (!enabled || !this.#hasX2apic)) return false;
    // From x2APIC mode the way back leads through disabled, and into it through xAPIC mode (SDM vol. 3, figure 11-27).
    if (state.x2apic && enabled && !x2apic) return false;
    if (!state.enabled && x2apic) return false;
    if (state.enabled && !enabled) this.#resetRegisters();
    // In x2APIC mode the ICR holds a 32-bit destination.
    if (x2apic !== state.x2apic) state.ICR_HIGH = 0;
    state.enabled = enabled;
    state.x2apic = x2apic;
    state.baseGpa = Number(base);
    this.onBaseChange?.();
    this.#signals.interruptChanged();
    return true;
  }
}
