/** The goldfish real-time clock (Android emulator, "Goldfish virtual hardware"): nanoseconds since 1970, and an alarm. */
import type { Timer, TimerService } from '../../base/index.js';
import { type Device, defineRegisters, type IrqLine, RegisterBank } from '../../bus/index.js';
import { bool, defineState, type StateArena, type StateOf, u32, u64 } from '../../schema/index.js';

export const GOLDFISH_RTC_BYTES = 0x24;

export const GoldfishRtcState = defineState('goldfish-rtc', 1, {
  /** What is added to the clock's date; it outlives a reset. */
  offset: u64(0n, { keep: true }),
  /** High half as it was when the low one was read. */
  timeHigh: u32(),
  alarm: u64(),
  armed: bool(),
  enabled: u32(0, { max: 1 }),
  pending: bool(),
});

export class GoldfishRtc implements Device {
  readonly name = 'goldfish-rtc';
  readonly state: StateOf<typeof GoldfishRtcState>;
  readonly registers: RegisterBank<GoldfishRtc>;
  readonly #clock: TimerService;
  readonly #timer: Timer;
  readonly #irq: IrqLine;

  constructor(options: { clock: TimerService; irq: IrqLine; arena?: StateArena }) {
    this.state = GoldfishRtcState.allocate(options.arena);
    this.#clock = options.clock;
    this.#irq = options.irq;
    this.#timer = options.clock.createTimer(this.name, () => this.#expire());
    this.registers = new RegisterBank(GOLDFISH_RTC_BYTES, registers, this, this.state);
  }

  #now(): bigint {
    return BigInt.asUintN(64, BigInt(Math.floor(this.#clock.wallNs())) + this.state.offset);
  }

  readLow(): number {
    const now = this.#now();
    this.state.timeHigh = Number(now >> 32n);
    return Number(now & 0xffffffffn);
  }

  setTime(half: 'low' | 'high', value: number): void {
    const now = this.#now();
    const next = half === 'low' ? (now & ~0xffffffffn) | BigInt(value) : (now & 0xffffffffn) | (BigInt(value) << 32n);
    this.state.offset = BigInt.asUintN(64, this.state.offset + next - now);
    this.#arm();
  }

  setAlarm(half: 'low' | 'high', value: number): void {
    const { state } = this;
    if (half === 'high') {
      state.alarm = (state.alarm & 0xffffffffn) | (BigInt(value) << 32n);
      return;
    }
    state.alarm = (state.alarm & ~0xffffffffn) | BigInt(value);
    state.armed = true;
    this.#arm();
  }

  clearAlarm(): void {
    this.state.armed = false;
    this.#arm();
  }

  clearInterrupt(): void {
    this.state.pending = false;
    this.update();
  }

  /** `loading`: what is due comes with the clock, not before. */
  #arm(loading = false): void {
    const left = Number(BigInt.asIntN(64, this.state.alarm - this.#now()));
    this.#timer.cancel();
    if (!this.state.armed) return;
    if (left <= 0 && !loading) this.#expire();
    else this.#timer.arm(this.#clock.nowNs() + Math.max(0, left));
  }

  #expire(): void {
    this.state.armed = false;
    this.state.pending = true;
    this.update();
  }

  update(): void {
    this.#irq.set(this.state.pending && this.state.enabled !== 0);
  }

  reset(): void {
    GoldfishRtcState.reset(this.state);
    this.#timer.cancel();
    this.update();
  }
  save(): Uint8Array {
    return GoldfishRtcState.save(this.state);
  }
  load(saved: Uint8Array): void {
    GoldfishRtcState.load(this.state, saved);
    this.#arm(true);
    this.update();
  }
}

const registers = defineRegisters<GoldfishRtc>()({
  timeLow: {
    offset: 0x00,
    width: 4,
    access: 'rw',
    read: (rtc) => rtc.readLow(),
    write: (rtc, value) => rtc.setTime('low', value),
    meaning: 'nanoseconds, low half; reading keeps the high one for the next read',
  },
  timeHigh: {
    offset: 0x04,
    width: 4,
    access: 'rw',
    read: (rtc) => rtc.state.timeHigh,
    write: (rtc, value) => rtc.setTime('high', value),
    meaning: 'high half',
  },
  alarmLow: {
    offset: 0x08,
    width: 4,
    access: 'rw',
    read: (rtc) => Number(rtc.state.alarm & 0xffffffffn),
    write: (rtc, value) => rtc.setAlarm('low', value),
    meaning: 'when the alarm comes; writing the low half sets it',
  },
  alarmHigh: {
    offset: 0x0c,
    width: 4,
    access: 'rw',
    read: (rtc) => Number(rtc.state.alarm >> 32n),
    write: (rtc, value) => rtc.setAlarm('high', value),
    meaning: 'high half',
  },
  enabled: {
    offset: 0x10,
    width: 4,
    access: 'rw',
    writable: 1,
    changed: (rtc) => rtc.update(),
    meaning: 'bit 0: the alarm interrupts',
  },
  clearAlarm: {
    offset: 0x14,
    width: 4,
    access: 'wo',
    write: (rtc) => rtc.clearAlarm(),
    meaning: 'takes the alarm back',
  },
  alarmStatus: {
    offset: 0x18,
    width: 4,
    access: 'ro',
    read: (rtc) => (rtc.state.armed ? 1 : 0),
    meaning: 'an alarm is set',
  },
  clearInterrupt: {
    offset: 0x1c,
    width: 4,
    access: 'wo',
    write: (rtc) => rtc.clearInterrupt(),
    meaning: 'takes the interrupt back',
  },
});
