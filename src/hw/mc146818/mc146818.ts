/**
 * The MC146818 real-time clock with its 128 bytes of battery-backed RAM (Motorola MC146818A data sheet; the century byte
 * at 32h is the PC's).
 *
 * The time is not stepped: it is the machine's wall clock plus an offset that the guest sets by writing the registers. It
 * stands still while SET (register B) or a divider reset (register A) holds it. Flags are brought up to date when register
 * C is read and when a timer that an enabled interrupt needs expires.
 *
 * Deviations: the 32.768 kHz time base is assumed whatever the divider says; daylight saving (DSE) and the square wave
 * (SQWE) are stored and do nothing.
 */
import type { Timer, TimerService } from '../../base/index.js';
import type { Device, IrqLine } from '../../bus/index.js';
import { bool, bytes, defineState, f64, type StateArena, type StateOf, timeNs, u8 } from '../../schema/index.js';

const SECONDS = 0x00;
const SECONDS_ALARM = 0x01;
const MINUTES = 0x02;
const MINUTES_ALARM = 0x03;
const HOURS = 0x04;
const HOURS_ALARM = 0x05;
const WEEKDAY = 0x06;
const DAY = 0x07;
const MONTH = 0x08;
const YEAR = 0x09;
const A = 0x0a;
const B = 0x0b;
const C = 0x0c;
const D = 0x0d;
const CENTURY = 0x32;

const A_UIP = 0x80;
const B_SET = 0x80;
const B_PIE = 0x40;
const B_AIE = 0x20;
const B_UIE = 0x10;
const B_DM_BINARY = 0x04;
const B_24H = 0x02;
const C_IRQF = 0x80;
const C_PF = 0x40;
const C_AF = 0x20;
const C_UF = 0x10;

const SECOND_NS = 1e9;
const DAY_SECONDS = 86400;
/** UIP is set from 244 µs before an update. */
const UIP_NS = 244141;
/** From the release of the divider to the first update. */
const DIVIDER_START_NS = 0.5e9;

export const RtcState = defineState('mc146818', 1, {
  /** Registers A to D, alarms and RAM; the time bytes hold the time only while it is held. */
  cmos: bytes(128, { keep: true }),
  /** Guest time = wall time + this. */
  offsetNs: f64(0, { min: -(2 ** 71), max: 2 ** 71, keep: true }),
  /** Up to which whole second of guest time flags are evaluated. */
  seenSecond: f64(-1, { min: -(2 ** 40), max: 2 ** 40, integer: true }),
  /** Virtual time from which periodic interrupts are counted, and how many of them are evaluated. */
  periodicBaseNs: timeNs(),
  periodicSeen: f64(0, { min: 0, max: 2 ** 52, integer: true }),
  index: u8(0, { max: 127 }),
  /** Bit 7 of port 70h: NMI is masked. */
  nmiMasked: bool(),
});

/** Days since 1970-01-01 of a date of the proleptic Gregorian calendar; months from 1. */
function daysFromDate(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  return era * 146097 + yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear - 719468;
}

function dateFromDays(days: number): { year: number; month: number; day: number } {
  const z = days + 719468;
  const era = Math.floor(z / 146097);
  const dayOfEra = z - era * 146097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36524) - Math.floor(dayOfEra / 146096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const m = Math.floor((5 * dayOfYear + 2) / 153);
  const month = m < 10 ? m + 3 : m - 9;
  return {
    year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0),
    month,
    day: dayOfYear - Math.floor((153 * m + 2) / 5) + 1,
  };
}

export class Rtc implements Device {
  readonly name: string;
  readonly state: StateOf<typeof RtcState>;
  readonly #clock: TimerService;
  readonly #irq: IrqLine;
  readonly #timer: Timer;

  /** `irq` is IRQ 8. */
  constructor(options: { clock: TimerService; irq: IrqLine; arena?: StateArena; name?: string }) {
    this.name = options.name ?? 'mc146818';
    this.state = RtcState.allocate(options.arena);
    this.#clock = options.clock;
    this.#irq = options.irq;
    this.#timer = options.clock.createTimer(this.name, () => this.#expire());
    if (options.arena?.attached) return;
    const { cmos } = this.state;
    cmos[A] = 0x26;
    cmos[B] = B_24H;
    cmos[D] = 0x80;
  }

  /** Battery-backed contents stay; interrupt enables and flags are cleared. */
  reset(): void {
    this.#timer.cancel();
    this.#irq.set(false);
    RtcState.reset(this.state);
    this.state.cmos[B]! &= ~(B_PIE | B_AIE | B_UIE | 0x08);
    this.state.cmos[C] = 0;
  }
  save(): Uint8Array {
    return RtcState.save(this.state);
  }
  load(saved: Uint8Array): void {
    RtcState.load(this.state, saved);
    this.#irq.set((this.state.cmos[C]! & C_IRQF) !== 0);
    this.#arm();
  }

  /** A byte of battery-backed RAM as the board's firmware set-up would store it (14-127). */
  setRam(index: number, value: number): void {
    this.state.cmos[index & 127] = value;
  }
  ram(index: number): number {
    return this.state.cmos[index & 127]!;
  }

  #held(): boolean {
    return (this.state.cmos[B]! & B_SET) !== 0 || (this.state.cmos[A]! & 0x60) === 0x60;
  }
  #guestNs(): number {
    return this.#clock.wallNs() + this.state.offsetNs;
  }
  #guestSecond(): number {
    return Math.floor(this.#guestNs() / SECOND_NS);
  }

  #encode(value: number): number {
    return (this.state.cmos[B]! & B_DM_BINARY) !== 0 ? value : Math.floor(value / 10) * 16 + (value % 10);
  }
  #decode(byte: number): number {
    return (this.state.cmos[B]! & B_DM_BINARY) !== 0 ? byte : (byte >> 4) * 10 + (byte & 15);
  }
  #encodeHours(hours: number): number {
    if ((this.state.cmos[B]! & B_24H) !== 0) return this.#encode(hours);
    return this.#encode(hours % 12 === 0 ? 12 : hours % 12) | (hours >= 12 ? 0x80 : 0);
  }
  #decodeHours(byte: number): number {
    if ((this.state.cmos[B]! & B_24H) !== 0) return this.#decode(byte);
    return (this.#decode(byte & 0x7f) % 12) + ((byte & 0x80) !== 0 ? 12 : 0);
  }

  /** Writes the time of a second since 1970 into the time registers. */
  #storeTime(second: number): void {
    const { cmos } = this.state;
    const days = Math.floor(second / DAY_SECONDS);
    const rest = second - days * DAY_SECONDS;
    const { year, month, day } = dateFromDays(days);
    cmos[SECONDS] = this.#encode(rest % 60);
    cmos[MINUTES] = this.#encode(Math.floor(rest / 60) % 60);
    cmos[HOURS] = this.#encodeHours(Math.floor(rest / 3600));
    cmos[WEEKDAY] = this.#encode(((((days + 4) % 7) + 7) % 7) + 1);
    cmos[DAY] = this.#encode(day);
    cmos[MONTH] = this.#encode(month);
    cmos[YEAR] = this.#encode(((year % 100) + 100) % 100);
    cmos[CENTURY] = this.#encode((Math.floor(year / 100) + 100) % 100);
  }

  /** The second since 1970 that the time registers say; nonsense in them gives some second, as on the chip. */
  #timeStored(): number {
    const { cmos } = this.state;
    const year = this.#decode(cmos[CENTURY]!) * 100 + this.#decode(cmos[YEAR]!);
    const days = daysFromDate(year, this.#decode(cmos[MONTH]!), this.#decode(cmos[DAY]!));
    const minutes = this.#decodeHours(cmos[HOURS]!) * 60 + this.#decode(cmos[MINUTES]!);
    return days * DAY_SECONDS + minutes * 60 + this.#decode(cmos[SECONDS]!);
  }

  /** Lets the clock run on from the time registers, `intoSecondNs` after the second began. */
  #resume(intoSecondNs: number): void {
    this.state.offsetNs = this.#timeStored() * SECOND_NS + intoSecondNs - this.#clock.wallNs();
    this.state.seenSecond = this.#guestSecond();
  }

  /** Seconds from second-of-day `from` to the next that the alarm registers match, 1 to 86400; Infinity if none. */
  #alarmAfter(from: number): number {
    const { cmos } = this.state;
    const wanted = (byte: number, decode: (b: number) => number) => (byte >= 0xc0 ? -1 : decode(byte));
    const second = wanted(cmos[SECONDS_ALARM]!, (b) => this.#decode(b));
    const minute = wanted(cmos[MINUTES_ALARM]!, (b) => this.#decode(b));
    const hour = wanted(cmos[HOURS_ALARM]!, (b) => this.#decodeHours(b));
    if (second > 59 || minute > 59 || hour > 23) return Infinity;
    let t = from + 1;
    // Each step moves to the next candidate of one unit, so there are at most 24 + 60 + 60 of them a day.
    while (t <= from + DAY_SECONDS) {
      const h = Math.floor(t / 3600) % 24;
      const m = Math.floor(t / 60) % 60;
      if (hour >= 0 && h !== hour) t += 3600 - (t % 3600);
      else if (minute >= 0 && m !== minute) t += 60 - (t % 60);
      else if (second >= 0 && t % 60 !== second) t++;
      else return t - from;
    }
    return Infinity;
  }

  #periodNs(): number {
    const rate = this.state.cmos[A]! & 15;
    if (rate === 0) return Infinity;
    const shift = rate <= 2 ? rate + 6 : rate - 1;
    return (2 ** shift * SECOND_NS) / 32768;
  }

  /** Restarts the periodic divider's phase after its rate changed. */
  #restartPeriodic(): void {
    this.state.periodicBaseNs = this.#clock.nowNs();
    this.state.periodicSeen = 0;
  }

  /** Sets the flags of everything that happened until now, and the line. */
  #sync(): void {
    const { state } = this;
    const { cmos } = state;
    let flags = cmos[C]! & (C_PF | C_AF | C_UF);
    const period = this.#periodNs();
    const periods = period === Infinity ? 0 : Math.floor((this.#clock.nowNs() - state.periodicBaseNs) / period);
    if (periods > state.periodicSeen) {
      state.periodicSeen = periods;
      flags |= C_PF;
    }
    if (!this.#held()) {
      const second = this.#guestSecond();
      if (state.seenSecond < 0) state.seenSecond = second;
      const passed = second - state.seenSecond;
      if (passed > 0) {
        flags |= C_UF;
        const from = ((state.seenSecond % DAY_SECONDS) + DAY_SECONDS) % DAY_SECONDS;
        if (this.#alarmAfter(from) <= passed) flags |= C_AF;
      }
      // A wall clock set back moves the mark back.
      state.seenSecond = second;
    }
    const asks = (flags & cmos[B]! & (C_PF | C_AF | C_UF)) !== 0;
    cmos[C] = flags | (asks ? C_IRQF : 0);
    this.#irq.set(asks);
  }

  /** Arms for the next event that an enabled interrupt waits for and whose flag is not set already. */
  #arm(): void {
    const { cmos } = this.state;
    const waits = cmos[B]! & ~cmos[C]!;
    let at = Infinity;
    if ((waits & B_PIE) !== 0) {
      const period = this.#periodNs();
      if (period !== Infinity) at = this.state.periodicBaseNs + (this.state.periodicSeen + 1) * period;
    }
    if ((waits & (B_UIE | B_AIE)) !== 0 && !this.#held()) {
      const guest = this.#guestNs();
      const second = Math.floor(guest / SECOND_NS);
      const ofDay = ((second % DAY_SECONDS) + DAY_SECONDS) % DAY_SECONDS;
      const seconds = (waits & B_UIE) !== 0 ? 1 : this.#alarmAfter(ofDay);
      // A microsecond more, for wall time is only that exact.
      at = Math.min(at, this.#clock.nowNs() + ((second + seconds) * SECOND_NS - guest) + 1000);
    }
    if (at === Infinity) this.#timer.cancel();
    else this.#timer.arm(Math.ceil(at));
  }

  #expire(): void {
    this.#sync();
    this.#arm();
  }

  /** Port 70h. */
  writeIndex(value: number): void {
    this.state.index = value & 0x7f;
    this.state.nmiMasked = (value & 0x80) !== 0;
  }
  readSelected(): number {
    return this.readRegister(this.state.index);
  }
  writeSelected(value: number): void {
    this.writeRegister(this.state.index, value);
  }

  readRegister(index: number): number {
    const { cmos } = this.state;
    if (index === C) {
      this.#sync();
      const value = cmos[C]!;
      cmos[C] = 0;
      this.#irq.set(false);
      this.#arm();
      return value;
    }
    if (index === A) {
      const guest = this.#guestNs();
      const toUpdate = SECOND_NS - (guest - Math.floor(guest / SECOND_NS) * SECOND_NS);
      return (cmos[A]! & 0x7f) | (!this.#held() && toUpdate <= UIP_NS ? A_UIP : 0);
    }
    if (isTime(index) && !this.#held()) this.#storeTime(this.#guestSecond());
    return cmos[index & 127]!;
  }

  writeRegister(index: number, value: number): void {
    const { cmos } = this.state;
    if (index === C || index === D) return;
    this.#sync();
    if (index === A || index === B) {
      const heldBefore = this.#held();
      const divided = (cmos[A]! & 0x60) === 0x60;
      if (!heldBefore) this.#storeTime(this.#guestSecond());
      const guest = this.#guestNs();
      const intoSecond = guest - Math.floor(guest / SECOND_NS) * SECOND_NS;
      if (index === A) {
        const rate = cmos[A]! & 15;
        cmos[A] = value & 0x7f;
        if ((value & 15) !== rate) this.#restartPeriodic();
      } else {
        cmos[B] = (value & B_SET) !== 0 ? value & ~B_UIE : value;
      }
      if (heldBefore && !this.#held()) this.#resume(divided ? SECOND_NS - DIVIDER_START_NS : intoSecond);
      this.#sync();
    } else if (isTime(index) && !this.#held()) {
      const guest = this.#guestNs();
      const second = Math.floor(guest / SECOND_NS);
      this.#storeTime(second);
      cmos[index] = value;
      this.#resume(guest - second * SECOND_NS);
    } else cmos[index & 127] = value;
    this.#arm();
  }
}

function isTime(index: number): boolean {
  return (index <= YEAR && (index >= WEEKDAY || (index & 1) === 0)) || index === CENTURY;
}
