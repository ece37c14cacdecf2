/**
 * The 8254 programmable interval timer (Intel 8254 data sheet, order 231164) at 1.193182 MHz, and port 61h's share of it
 * (82371AB data sheet, "NMI status and control").
 *
 * Counters are not stepped: count and OUT are computed from the virtual time since the count was loaded. The CLK pulse that
 * a load takes on the real chip is not counted.
 *
 * Deviation: the interrupt line falls and rises together at OUT's rising edge (nothing on a PC sees its level between).
 */
import type { Timer, TimerService } from '../../base/index.js';
import type { Device, IrqLine } from '../../bus/index.js';
import { bool, defineState, f64, list, type StateArena, type StateOf, u8, u32 } from '../../schema/index.js';

export const PIT_HZ = 1193182;
/** How far interrupts may lag behind before the missed ones are dropped. */
const MAX_LAG_TICKS = PIT_HZ;

/** How exactly two agree when a tick is due: a millisecond. */
const GRACE_TICKS = Math.ceil(PIT_HZ / 1000);

const TICKS = { min: 0, max: 2 ** 52, integer: true };

export const PitState = defineState('i8254', 1, {
  channels: list(3, {
    mode: u8(0, { max: 5 }),
    bcd: bool(),
    /** Access: 1 low byte, 2 high byte, 3 low then high. */
    access: u8(3, { min: 1, max: 3 }),
    /** The count in use, 1 to 65536; 0 before the first load. */
    count: u32(0, { max: 65536 }),
    /** Tick at which counting from `count` began. */
    startTick: f64(0, TICKS),
    /** Ticks counted when the gate stopped it, or -1 while it runs. */
    frozenTicks: f64(-1, { ...TICKS, min: -1 }),
    /** A count was loaded (and, in modes 1 and 5, triggered). */
    running: bool(),
    /** Modes 2 and 3: the count to use from tick `nextFrom` on; 0 for none. */
    nextCount: u32(0, { max: 65536 }),
    nextFrom: f64(0, TICKS),
    gate: bool(true),
    lowByte: u8(),
    writesHigh: bool(),
    readsHigh: bool(),
    latched: u32(0, { max: 0xffff }),
    /** Bytes of `latched` still to be read. */
    latchedBytes: u8(0, { max: 2 }),
    status: u8(),
    statusLatched: bool(),
    nullCount: bool(true),
  }),
  /** Tick of channel 0's next rising edge. */
  nextRise: f64(Infinity, { min: 0 }),
  /** Port 61h bits 0 to 3 as written. */
  control: u8(0, { max: 15 }),
});

type Channel = StateOf<typeof PitState>['channels'][number];

/** The tick of the timer's clock at a time. */
export function ticksAt(ns: number): number {
  const seconds = Math.floor(ns / 1e9);
  return seconds * PIT_HZ + Math.floor(((ns - seconds * 1e9) * PIT_HZ) / 1e9);
}
/** The first nanosecond at which ticksAt gives `tick`. */
function nsOfTick(tick: number): number {
  const seconds = Math.floor(tick / PIT_HZ);
  return seconds * 1e9 + Math.ceil(((tick - seconds * PIT_HZ) * 1e9) / PIT_HZ);
}

const fromBcd = (v: number) => (v & 15) + ((v >> 4) & 15) * 10 + ((v >> 8) & 15) * 100 + ((v >> 12) & 15) * 1000;
const toBcd = (v: number) =>
  (v % 10) | ((Math.floor(v / 10) % 10) << 4) | ((Math.floor(v / 100) % 10) << 8) | ((Math.floor(v / 1000) % 10) << 12);

export class Pit implements Device {
  readonly name: string;
  readonly state: StateOf<typeof PitState>;
  readonly #clock: TimerService;
  readonly #irq: IrqLine;
  readonly #timer: Timer;

  /** `irq` is channel 0's OUT: IRQ 0. */
  constructor(options: { clock: TimerService; irq: IrqLine; arena?: StateArena; name?: string }) {
    this.name = options.name ?? 'i8254';
    this.state = PitState.allocate(options.arena);
    this.#clock = options.clock;
    this.#irq = options.irq;
    this.#timer = options.clock.createTimer(this.name, (now) => this.#expire(now));
    if (!options.arena?.attached) this.#resetGates();
  }

  #resetGates(): void {
    this.state.channels[2]!.gate = false;
  }
  reset(): void {
    PitState.reset(this.state);
    this.#resetGates();
    this.#timer.cancel();
    this.#irq.set(false);
  }
  save(): Uint8Array {
    return PitState.save(this.state);
  }
  load(saved: Uint8Array): void {
    PitState.load(this.state, saved);
    this.#arm();
    this.#irq.set(this.#out(this.state.channels[0]!, this.#now()));
  }

  /** Another keeps this timer's time from here on, until `goOn`. */
  standBy(): void {
    this.#timer.cancel();
  }

  /**
   * The state is back here. `timePassed`: ticks that fell due meanwhile have been given, but for a single one that fell due just now,
   * which rather comes twice than never.
   */
  goOn(timePassed: boolean): void {
    const channel = this.state.channels[0]!;
    const now = this.#now();
    const periodic = channel.mode === 2 || channel.mode === 3;
    if (timePassed) this.state.nextRise = this.#riseAfter(channel, periodic ? now : now - GRACE_TICKS);
    this.#arm();
  }

  #now(): number {
    return ticksAt(this.#clock.nowNs());
  }

  /** Ticks counted so far from `count`. */
  #elapsed(channel: Channel, now: number): number {
    if (channel.nextCount !== 0 && now >= channel.nextFrom && channel.frozenTicks < 0) {
      channel.count = channel.nextCount;
      channel.startTick = channel.nextFrom;
      channel.nextCount = 0;
    }
    return channel.frozenTicks >= 0 ? channel.frozenTicks : Math.max(0, now - channel.startTick);
  }

  #counter(channel: Channel, now: number): number {
    const elapsed = this.#elapsed(channel, now);
    const { count, mode } = channel;
    if (count === 0) return 0;
    const wrap = channel.bcd ? 10000 : 65536;
    let value: number;
    if (!channel.running) value = count;
    else if (mode === 2) value = count - (elapsed % count);
    else if (mode === 3) value = count - ((2 * elapsed) % count);
    else value = (((count - elapsed) % wrap) + wrap) % wrap;
    value %= wrap;
    return channel.bcd ? toBcd(value) : value;
  }

  #out(channel: Channel, now: number): boolean {
    const elapsed = this.#elapsed(channel, now);
    const { count, mode, running } = channel;
    switch (mode) {
      case 0:
        return running && elapsed >= count;
      case 1:
        return !running || elapsed >= count;
      case 2:
        return !running || !channel.gate || elapsed % count !== count - 1;
      case 3:
        return !running || !channel.gate || elapsed % count < (count + 1) >> 1;
      default:
        return !running || elapsed !== count;
    }
  }

  /** Tick of OUT's first rising edge after `now`. */
  #riseAfter(channel: Channel, now: number): number {
    const elapsed = this.#elapsed(channel, now);
    if (!channel.running || channel.frozenTicks >= 0 || channel.count === 0) return Infinity;
    const { count, mode, startTick } = channel;
    switch (mode) {
      case 0:
      case 1:
        return elapsed < count ? startTick + count : Infinity;
      case 2:
      case 3:
        return startTick + (Math.floor(elapsed / count) + 1) * count;
      default:
        return elapsed < count + 1 ? startTick + count + 1 : Infinity;
    }
  }

  #schedule(from: number): void {
    this.state.nextRise = this.#riseAfter(this.state.channels[0]!, from);
    this.#arm();
  }
  #arm(): void {
    const at = this.state.nextRise;
    if (at === Infinity) this.#timer.cancel();
    else this.#timer.arm(nsOfTick(at));
  }

  #expire(nowNs: number): void {
    const rise = this.state.nextRise;
    if (rise === Infinity) return;
    this.#irq.set(false);
    this.#irq.set(true);
    // From the edge itself and not from now: a late timer loses no interrupt, unless it is hopelessly late.
    const now = ticksAt(nowNs);
    this.#schedule(now - rise > MAX_LAG_TICKS ? now : rise);
  }

  /** OUT is changed by a write or a gate: the line follows at once. */
  #changed(index: number, now: number): void {
    if (index !== 0) return;
    this.#irq.set(this.#out(this.state.channels[0]!, now));
    this.#schedule(now);
  }

  #load(channel: Channel, index: number, written: number): void {
    const now = this.#now();
    const value = channel.bcd ? fromBcd(written) : written;
    const count = value === 0 ? (channel.bcd ? 10000 : 65536) : value;
    const periodic = channel.mode === 2 || channel.mode === 3;
    channel.nullCount = false;
    if (periodic && channel.running && channel.frozenTicks < 0) {
      // A count written while counting takes effect at the end of the cycle.
      const elapsed = this.#elapsed(channel, now);
      channel.nextFrom = channel.startTick + (Math.floor(elapsed / channel.count) + 1) * channel.count;
      channel.nextCount = count;
      return;
    }
    channel.count = count;
    channel.nextCount = 0;
    channel.startTick = now;
    if (channel.mode === 1 || channel.mode === 5) channel.running = false;
    else {
      channel.running = true;
      channel.frozenTicks = channel.gate ? -1 : 0;
    }
    this.#changed(index, now);
  }

  /** Ports 40h to 42h. */
  writeCounter(index: number, value: number): void {
    const channel = this.state.channels[index]!;
    switch (channel.access) {
      case 1:
        this.#load(channel, index, value);
        return;
      case 2:
        this.#load(channel, index, value << 8);
        return;
      default:
        if (channel.writesHigh) {
          channel.writesHigh = false;
          this.#load(channel, index, channel.lowByte | (value << 8));
        } else {
          channel.writesHigh = true;
          channel.lowByte = value;
          if (channel.mode === 0) {
            // The first byte of a new count stops mode 0 and lowers OUT.
            channel.running = false;
            this.#changed(index, this.#now());
          }
        }
    }
  }

  readCounter(index: number): number {
    const channel = this.state.channels[index]!;
    if (channel.statusLatched) {
      channel.statusLatched = false;
      return channel.status;
    }
    if (channel.latchedBytes > 0) {
      channel.latchedBytes--;
      const high = channel.access === 2 || (channel.access === 3 && channel.latchedBytes === 0);
      return high ? channel.latched >> 8 : channel.latched & 0xff;
    }
    const value = this.#counter(channel, this.#now());
    if (channel.access === 1) return value & 0xff;
    if (channel.access === 2) return value >> 8;
    channel.readsHigh = !channel.readsHigh;
    return channel.readsHigh ? value & 0xff : value >> 8;
  }

  #latchCount(channel: Channel): void {
    if (channel.latchedBytes > 0) return;
    channel.latched = this.#counter(channel, this.#now());
    channel.latchedBytes = channel.access === 3 ? 2 : 1;
  }

  /** Port 43h. */
  writeControl(value: number): void {
    const select = value >> 6;
    const access = (value >> 4) & 3;
    if (select === 3) {
      for (let i = 0; i < 3; i++) {
        if ((value & (2 << i)) === 0) continue;
        const channel = this.state.channels[i]!;
        if ((value & 0x20) === 0) this.#latchCount(channel);
        if ((value & 0x10) === 0 && !channel.statusLatched) {
          channel.statusLatched = true;
          channel.status =
            (this.#out(channel, this.#now()) ? 0x80 : 0) |
            (channel.nullCount ? 0x40 : 0) |
            (channel.access << 4) |
            (channel.mode << 1) |
            (channel.bcd ? 1 : 0);
        }
      }
      return;
    }
    const channel = this.state.channels[select]!;
    if (access === 0) {
      this.#latchCount(channel);
      return;
    }
    const mode = (value >> 1) & 7;
    channel.access = access;
    channel.mode = mode > 5 ? mode - 4 : mode;
    channel.bcd = (value & 1) !== 0;
    channel.running = false;
    channel.frozenTicks = -1;
    channel.nextCount = 0;
    channel.nullCount = true;
    channel.writesHigh = false;
    channel.readsHigh = false;
    channel.latchedBytes = 0;
    channel.statusLatched = false;
    this.#changed(select, this.#now());
  }

  setGate(index: number, level: boolean): void {
    const channel = this.state.channels[index]!;
    if (channel.gate === level) return;
    const now = this.#now();
    const elapsed = this.#elapsed(channel, now);
    channel.gate = level;
    if (channel.count === 0) return;
    switch (channel.mode) {
      case 0:
      case 4:
        if (!level) channel.frozenTicks = elapsed;
        else if (channel.frozenTicks >= 0) {
          channel.startTick = now - channel.frozenTicks;
          channel.frozenTicks = -1;
        }
        break;
      case 1:
      case 5:
        if (level && !channel.nullCount) {
          channel.startTick = now;
          channel.running = true;
        }
        break;
      default:
        if (!level) channel.frozenTicks = elapsed;
        else {
          if (channel.nextCount !== 0) channel.count = channel.nextCount;
          channel.nextCount = 0;
          channel.startTick = now;
          channel.frozenTicks = -1;
        }
    }
    this.#changed(index, now);
  }

  out(index: number): boolean {
    return this.#out(this.state.channels[index]!, this.#now());
  }

  /** Port 61h: speaker gate and data, refresh toggle (every 15 µs), channel 2's OUT. */
  readControlB(): number {
    const refresh = Math.floor(this.#clock.nowNs() / 15085) & 1;
    return this.state.control | (refresh << 4) | (this.out(2) ? 0x20 : 0);
  }
  writeControlB(value: number): void {
    this.state.control = value & 15;
    this.setGate(2, (value & 1) !== 0);
  }
}
