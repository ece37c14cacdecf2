/** Arm's PL031 real-time clock (DDI 0224): seconds since 1970, and an alarm. It runs always. */
import type { Timer, TimerService } from '../../base/index.js';
import { type Device, defineRegisters, type IrqLine, RegisterBank } from '../../bus/index.js';
import { defineState, type StateArena, type StateOf, u32 } from '../../schema/index.js';
import { PRIMECELL_BYTES, primeCellIds } from './identification.js';

const SECOND = 1e9;

export const Pl031State = defineState('pl031', 1, {
  /** What is added to the seconds of the clock's date, modulo 2^32; it outlives a reset. */
  offset: u32(0, { keep: true }),
  MR: u32(),
  LR: u32(),
  IMSC: u32(0, { max: 1 }),
  RIS: u32(0, { max: 1 }),
});

export class Pl031 implements Device {
  readonly name = 'pl031';
  readonly state: StateOf<typeof Pl031State>;
  readonly registers: RegisterBank<Pl031>;
  readonly #clock: TimerService;
  readonly #timer: Timer;
  readonly #irq: IrqLine;

  constructor(options: { clock: TimerService; irq: IrqLine; arena?: StateArena }) {
    this.state = Pl031State.allocate(options.arena);
    this.#clock = options.clock;
    this.#irq = options.irq;
    this.#timer = options.clock.createTimer(this.name, () => this.#expire());
    this.registers = new RegisterBank(PRIMECELL_BYTES, registers, this, this.state);
  }

  get seconds(): number {
    return (Math.floor(this.#clock.wallNs() / SECOND) + this.state.offset) % 2 ** 32;
  }

  load32(value: number): void {
    this.state.LR = value;
    this.state.offset = (this.state.offset + value - this.seconds) >>> 0;
    this.arm();
  }

  /** `loading`: what is due comes with the clock, not before. */
  arm(loading = false): void {
    const left = (this.state.MR - this.seconds) >>> 0;
    this.#timer.cancel();
    if (left === 0 && !loading) this.#expire();
    else this.#timer.arm(this.#clock.nowNs() + Math.max(0, left * SECOND - (this.#clock.wallNs() % SECOND)));
  }

  #expire(): void {
    this.state.RIS = 1;
    this.update();
  }

  clear(bits: number): void {
    if (bits & 1) this.state.RIS = 0;
    this.update();
  }

  update(): void {
    this.#irq.set((this.state.RIS & this.state.IMSC) !== 0);
  }

  reset(): void {
    Pl031State.reset(this.state);
    this.#timer.cancel();
    this.update();
  }
  save(): Uint8Array {
    return Pl031State.save(this.state);
  }
  load(saved: Uint8Array): void {
    Pl031State.load(this.state, saved);
    this.arm(true);
    this.update();
  }
}

const registers = defineRegisters<Pl031>()({
  DR: { offset: 0x00, width: 4, access: 'ro', read: (rtc) => rtc.seconds, meaning: 'seconds' },
  MR: { offset: 0x04, width: 4, access: 'rw', changed: (rtc) => rtc.arm(), meaning: 'the second of the alarm' },
  LR: {
    offset: 0x08,
    width: 4,
    access: 'rw',
    read: (rtc) => rtc.state.LR,
    write: (rtc, value) => rtc.load32(value),
    meaning: 'sets the seconds',
  },
  CR: { offset: 0x0c, width: 4, access: 'rw', read: () => 1, write: () => {}, meaning: 'it runs' },
  IMSC: {
    offset: 0x10,
    width: 4,
    access: 'rw',
    writable: 1,
    changed: (rtc) => rtc.update(),
    meaning: 'the alarm interrupts',
  },
  RIS: { offset: 0x14, width: 4, access: 'ro', meaning: 'the alarm has come' },
  MIS: { offset: 0x18, width: 4, access: 'ro', read: ({ state }) => state.RIS & state.IMSC, meaning: 'and interrupts' },
  ICR: {
    offset: 0x1c,
    width: 4,
    access: 'wo',
    write: (rtc, value) => rtc.clear(value),
    meaning: 'clears the interrupt',
  },
  ...primeCellIds(0x00141031),
});
