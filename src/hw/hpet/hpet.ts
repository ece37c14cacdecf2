/**
 * The high-precision event timer (IA-PC HPET specification 1.0a): a 64-bit counter at 100 MHz and three comparators, each
 * periodic, 64 bits wide and able to send message-signalled (FSB) interrupts.
 *
 * Deviation: a comparator whose interrupt is disabled does not advance in periodic mode until it is enabled.
 */
import type { Timer, TimerService } from '../../base/index.js';
import type { Device, IoHandler, IrqLine, MsiTarget } from '../../bus/index.js';
import {
  bool,
  deadlineNs,
  defineState,
  list,
  type StateArena,
  type StateOf,
  timeNs,
  u32,
  u64,
} from '../../schema/index.js';

export const HPET_GPA = 0xfed00000;
const TIMERS = 3;
const TICK_NS = 10;
/** Vendor 8086h, legacy replacement, 64 bits, three timers, revision 1; the period is in femtoseconds. */
const CAPABILITIES = 0x8086a201n | (BigInt(TICK_NS * 1_000_000) << 32n);
/** Interrupts that a comparator may be routed to unless the board says otherwise: I/O APIC pins 2, 8 and 16 to 23. */
const ROUTES = 0xff0104;
/** How far a periodic comparator may lag behind before missed interrupts are dropped. */
const MAX_LAG_NS = 1e9;

const ENABLE = 1;
const LEGACY = 2;

const T_LEVEL = 0x0002;
const T_ENABLE = 0x0004;
const T_PERIODIC = 0x0008;
const T_PERIODIC_CAPABLE = 0x0010;
const T_SIZE_64 = 0x0020;
const T_SET_VALUE = 0x0040;
const T_32BIT = 0x0100;
const T_FSB_ENABLE = 0x4000;
const T_FSB_CAPABLE = 0x8000;
const T_WRITABLE = T_LEVEL | T_ENABLE | T_PERIODIC | T_SET_VALUE | T_32BIT | 0x3e00 | T_FSB_ENABLE;

const ALL_ONES = 0xffffffffffffffffn;

export const HpetState = defineState('hpet', 1, {
  configuration: u32(0, { max: 3 }),
  /** General interrupt status. */
  ISR: u32(0, { max: 7 }),
  /** The counter's value at `baseNs`, or while it stands. */
  counter: u64(),
  baseNs: timeNs(),
  timers: list(TIMERS, {
    configuration: u32(0, { max: 0xffff }),
    comparator: u64(ALL_ONES),
    period: u64(),
    /** FSB interrupt route: value in the low half, address in the high one. */
    route: u64(),
    deadlineNs: deadlineNs(),
  }),
  /** Levels of the interrupt lines of the PIT and the RTC, which pass through here. */
  pitLevel: bool(),
  rtcLevel: bool(),
});

type Comparator = StateOf<typeof HpetState>['timers'][number];

export class Hpet implements Device, IoHandler {
  readonly name: string;
  readonly state: StateOf<typeof HpetState>;
  /** The PIT's and the RTC's interrupt lines end here: legacy replacement takes IRQ 0 and 8 from them. */
  readonly pitInput: IrqLine;
  readonly rtcInput: IrqLine;
  readonly #clock: TimerService;
  readonly #gsi: readonly IrqLine[];
  readonly #msi: MsiTarget | undefined;
  readonly #timers: Timer[];
  readonly #routes: number;
  /** The read-only bits of each comparator's configuration. */
  readonly #capabilities: number;

  /**
   * `gsi`: the global system interrupts, of which 0, 8 and those in the bit mask `routes` are used. Without `msi` the
   * comparators cannot send messages.
   */
  constructor(options: {
    clock: TimerService;
    gsi: readonly IrqLine[];
    msi?: MsiTarget | undefined;
    routes?: number;
    arena?: StateArena;
    name?: string;
  }) {
    this.name = options.name ?? 'hpet';
    this.state = HpetState.allocate(options.arena);
    this.#clock = options.clock;
    this.#gsi = options.gsi;
    this.#msi = options.msi;
    this.#routes = options.routes ?? ROUTES;
    this.#capabilities = T_PERIODIC_CAPABLE | T_SIZE_64 | (options.msi === undefined ? 0 : T_FSB_CAPABLE);
    this.#timers = Array.from({ length: TIMERS }, (_, n) =>
      options.clock.createTimer(`${this.name}.${n}`, (now) => this.#expire(n, now)),
    );
    this.pitInput = {
      set: (level) => {
        this.state.pitLevel = level;
        if (!this.#legacy()) this.#gsi[0]!.set(level);
      },
    };
    this.rtcInput = {
      set: (level) => {
        this.state.rtcLevel = level;
        if (!this.#legacy()) this.#gsi[8]!.set(level);
      },
    };
  }

  reset(): void {
    for (let n = 0; n < TIMERS; n++) {
      this.#lower(n);
      this.#timers[n]!.cancel();
    }
    const { pitLevel, rtcLevel } = this.state;
    HpetState.reset(this.state);
    this.pitInput.set(pitLevel);
    this.rtcInput.set(rtcLevel);
  }
  save(): Uint8Array {
    return HpetState.save(this.state);
  }
  load(saved: Uint8Array): void {
    HpetState.load(this.state, saved);
    for (let n = 0; n < TIMERS; n++) {
      const at = this.state.timers[n]!.deadlineNs;
      if (at === Infinity) this.#timers[n]!.cancel();
      else this.#timers[n]!.arm(at);
      if ((this.state.ISR & (1 << n)) !== 0) this.#line(n)?.set(true);
    }
    if (!this.#legacy()) {
      this.#gsi[0]!.set(this.state.pitLevel);
      this.#gsi[8]!.set(this.state.rtcLevel);
    }
  }

  /** It has taken IRQ 0 from the 8254. */
  get replacesPit(): boolean {
    return this.#legacy();
  }

  #legacy(): boolean {
    return (this.state.configuration & LEGACY) !== 0;
  }
  #running(): boolean {
    return (this.state.configuration & ENABLE) !== 0;
  }

  #counter(): bigint {
    const { counter, baseNs } = this.state;
    if (!this.#running()) return counter;
    return BigInt.asUintN(64, counter + BigInt(Math.floor((this.#clock.nowNs() - baseNs) / TICK_NS)));
  }

  // ---- interrupts

  /** The line that a comparator drives, or undefined when it sends messages or is routed to a line it cannot have. */
  #line(n: number): IrqLine | undefined {
    if (this.#legacy() && n < 2) return this.#gsi[n === 0 ? 0 : 8];
    const { configuration } = this.state.timers[n]!;
    if ((configuration & T_FSB_ENABLE) !== 0) return undefined;
    const route = (configuration >> 9) & 31;
    return ((this.#routes >>> route) & 1) !== 0 ? this.#gsi[route] : undefined;
  }

  #raise(n: number): void {
    const { configuration, route } = this.state.timers[n]!;
    if ((configuration & T_ENABLE) === 0) return;
    const line = this.#line(n);
    if (line === undefined) {
      if ((configuration & T_FSB_ENABLE) === 0) return;
      this.#msi?.send(Number(route >> 32n), Number(route & 0xffffffffn));
    } else if ((configuration & T_LEVEL) !== 0) {
      this.state.ISR |= 1 << n;
      line.set(true);
    } else {
      line.set(false);
      line.set(true);
      line.set(false);
    }
  }

  #lower(n: number): void {
    if ((this.state.ISR & (1 << n)) === 0) return;
    this.state.ISR &= ~(1 << n);
    this.#line(n)?.set(false);
  }

  // ---- comparators

  #width(timer: Comparator): number {
    return (timer.configuration & T_32BIT) !== 0 ? 32 : 64;
  }
  #isPeriodic(timer: Comparator): boolean {
    return (timer.configuration & T_PERIODIC) !== 0 && timer.period !== 0n;
  }

  /** Finds when the counter meets the comparator, and arms for it. */
  #arm(n: number): void {
    const timer = this.state.timers[n]!;
    if (!this.#running() || (timer.configuration & T_ENABLE) === 0) {
      timer.deadlineNs = Infinity;
      this.#timers[n]!.cancel();
      return;
    }
    const now = this.#counter();
    const width = this.#width(timer);
    if (this.#isPeriodic(timer)) {
      // A comparator that fell behind while it was disabled goes on with its next period.
      const behind = BigInt.asUintN(width, now - timer.comparator);
      if (behind >> BigInt(width - 1) === 0n) {
        timer.comparator = BigInt.asUintN(width, timer.comparator + (behind / timer.period + 1n) * timer.period);
      }
    }
    const ticks = BigInt.asUintN(width, timer.comparator - now);
    const { counter, baseNs } = this.state;
    const sinceBase = Number(BigInt.asUintN(64, now - counter)) + Number(ticks);
    timer.deadlineNs = baseNs + sinceBase * TICK_NS;
    this.#timers[n]!.arm(timer.deadlineNs);
  }
  #armAll(): void {
    for (let n = 0; n < TIMERS; n++) this.#arm(n);
  }

  #expire(n: number, nowNs: number): void {
    const timer = this.state.timers[n]!;
    const deadline = timer.deadlineNs;
    if (deadline === Infinity) return;
    const width = this.#width(timer);
    if (this.#isPeriodic(timer)) {
      // From the deadline and not from now: a late timer loses no interrupt, unless it is hopelessly late.
      const periodNs = Number(timer.period) * TICK_NS;
      const behind = nowNs - deadline;
      const skipped = behind > MAX_LAG_NS ? Math.floor(behind / periodNs) : 0;
      timer.comparator = BigInt.asUintN(width, timer.comparator + BigInt(skipped + 1) * timer.period);
      timer.deadlineNs = deadline + (skipped + 1) * periodNs;
    } else timer.deadlineNs = deadline + 2 ** width * TICK_NS;
    this.#timers[n]!.arm(timer.deadlineNs);
    this.#raise(n);
  }

  // ---- registers

  #writeConfiguration(value: number): void {
    const { state } = this;
    const before = state.configuration;
    const after = value & (ENABLE | LEGACY);
    if (((before ^ after) & LEGACY) !== 0) for (let n = 0; n < TIMERS; n++) this.#lower(n);
    if ((after & ~before & ENABLE) !== 0) state.baseNs = this.#clock.nowNs();
    else if ((before & ~after & ENABLE) !== 0) state.counter = this.#counter();
    state.configuration = after;
    if (((before ^ after) & LEGACY) !== 0) {
      const legacy = (after & LEGACY) !== 0;
      this.#gsi[0]!.set(!legacy && state.pitLevel);
      this.#gsi[8]!.set(!legacy && state.rtcLevel);
    }
    if (((before ^ after) & ENABLE) !== 0) this.#armAll();
  }

  #writeTimer(n: number, value: number): void {
    const timer = this.state.timers[n]!;
    const before = timer.configuration;
    const after = value & (this.#msi === undefined ? T_WRITABLE & ~T_FSB_ENABLE : T_WRITABLE);
    // A level-triggered line falls when its comparator is disabled, made edge-triggered or routed elsewhere.
    const kept = T_LEVEL | T_ENABLE | T_FSB_ENABLE | 0x3e00;
    if (((before ^ after) & kept) !== 0) this.#lower(n);
    timer.configuration = after;
    if ((after & T_32BIT) !== 0) {
      timer.comparator &= 0xffffffffn;
      timer.period &= 0xffffffffn;
    }
    if (((before ^ after) & (T_ENABLE | T_32BIT | T_PERIODIC)) !== 0) this.#arm(n);
  }

  #writeComparator(n: number, value: bigint): void {
    const timer = this.state.timers[n]!;
    const width = this.#width(timer);
    const periodic = (timer.configuration & T_PERIODIC) !== 0;
    const written = BigInt.asUintN(width, value);
    if (!periodic || (timer.configuration & T_SET_VALUE) !== 0) timer.comparator = written;
    if (periodic) timer.period = written;
    timer.configuration &= ~T_SET_VALUE;
    this.#arm(n);
  }

  /** The aligned 64-bit register at `offset`. */
  read64(offset: number): bigint {
    const { state } = this;
    const timer = state.timers[(offset - 0x100) >> 5];
    if (offset >= 0x100 && timer !== undefined) {
      switch (offset & 0x1f) {
        case 0x00:
          return BigInt(timer.configuration | this.#capabilities) | (BigInt(this.#routes) << 32n);
        case 0x08:
          return timer.comparator;
        case 0x10:
          return timer.route;
        default:
          return 0n;
      }
    }
    switch (offset) {
      case 0x00:
        return CAPABILITIES;
      case 0x10:
        return BigInt(state.configuration);
      case 0x20:
        return BigInt(state.ISR);
      case 0xf0:
        return this.#counter();
      default:
        return 0n;
    }
  }

  /** `mask` has ones for the bits that the access carried. */
  #write(offset: number, value: bigint, mask: bigint): void {
    const { state } = this;
    const n = (offset - 0x100) >> 5;
    const timer = state.timers[n];
    if (offset >= 0x100 && timer !== undefined) {
      switch (offset & 0x1f) {
        case 0x00:
          if ((mask & 0xffffn) !== 0n) {
            this.#writeTimer(n, Number((BigInt(timer.configuration) & ~mask & 0xffffn) | (value & 0xffffn)));
          }
          return;
        case 0x08: {
          const periodic = (timer.configuration & (T_PERIODIC | T_SET_VALUE)) === T_PERIODIC;
          this.#writeComparator(n, ((periodic ? timer.period : timer.comparator) & ~mask) | value);
          return;
        }
        case 0x10:
          timer.route = (timer.route & ~mask) | value;
          return;
        default:
          return;
      }
    }
    switch (offset) {
      case 0x10:
        if ((mask & 0xffn) !== 0n) this.#writeConfiguration(Number(value & 0xffn));
        return;
      case 0x20:
        for (let i = 0; i < TIMERS; i++) if ((value & (1n << BigInt(i))) !== 0n) this.#lower(i);
        return;
      case 0xf0:
        // Software stops the counter before it writes it; a running one goes on from what was written.
        state.counter = (this.#counter() & ~mask) | value;
        state.baseNs = this.#clock.nowNs();
        this.#armAll();
    }
  }

  write64(offset: number, value: bigint): void {
    if ((offset & 7) === 0) this.#write(offset, value, ALL_ONES);
    else {
      this.write(offset, 4, Number(value & 0xffffffffn));
      this.write(offset + 4, 4, Number(value >> 32n));
    }
  }

  read(offset: number, size: 1 | 2 | 4): number {
    const low = this.read64(offset & ~7) >> BigInt(8 * (offset & 7));
    const value =
      (offset & 7) + size <= 8 ? low : low | (this.read64((offset & ~7) + 8) << BigInt(64 - 8 * (offset & 7)));
    return Number(value & ((1n << BigInt(8 * size)) - 1n));
  }

  write(offset: number, size: 1 | 2 | 4, value: number): void {
    const shift = BigInt(8 * (offset & 7));
    const mask = ((1n << BigInt(8 * size)) - 1n) << shift;
    const bits = BigInt(value >>> 0) << shift;
    this.#write(offset & ~7, bits & mask & ALL_ONES, mask & ALL_ONES);
    if (mask >> 64n !== 0n) this.#write((offset & ~7) + 8, bits >> 64n, mask >> 64n);
  }
}
