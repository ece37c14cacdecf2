/**
 * ACPI fixed hardware as the PIIX4 has it (ACPI specification 4.8; Intel 82371AB data sheet, power management I/O): PM1a
 * event and control block, the 3.579545 MHz timer, general-purpose events, the SMI command port, and the PIIX reset
 * control register 0CF9h.
 *
 * There is no system-management mode: a command written to port B2h is carried out at once as the firmware's SMI handler
 * would, and the status port B3h then reads 0, "done".
 */
import type { Timer, TimerService } from '../../base/index.js';
import { type Device, defineRegisters, type IrqLine, RegisterBank, registerFields } from '../../bus/index.js';
import { defineState, f64, type StateArena, type StateOf, u8, u16 } from '../../schema/index.js';

export const PM_TIMER_HZ = 3579545;
/** PM_TMR has 24 bits; TMR_STS is set whenever the topmost changes. */
const TIMER_BITS = 24;
const HALF_PERIOD = 2 ** (TIMER_BITS - 1);

/** What FADT must say to match. */
export const ACPI_ENABLE = 0xf1;
export const ACPI_DISABLE = 0xf0;
/** SLP_TYP of S5 in the DSDT's \_S5 package. */
export const SLEEP_TYPE_S5 = 0;

const TMR = 0x0001;
const GBL = 0x0020;
const PWRBTN = 0x0100;
const SLPBTN = 0x0200;
const RTC = 0x0400;
const WAK = 0x8000;
const SOURCES = TMR | GBL | PWRBTN | SLPBTN | RTC;

const SCI_EN = 0x0001;
const SLP_EN = 0x2000;

/** What the chip asks the machine to do. */
export interface PowerEvents {
  powerOff(): void;
  /** The guest writes the reset control register. */
  reset(): void;
  /** A sleep state other than S5; without it the request is ignored. */
  sleep?(type: number): void;
  /** A command on port B2h other than enabling and disabling ACPI. */
  smiCommand?(command: number): void;
}

const eventRegisters = defineRegisters<AcpiPm>()({
  PM1_STS: {
    offset: 0,
    width: 2,
    access: 'w1c',
    meaning: 'fixed event status',
    read: (pm) => pm.status(),
    write: (pm, value) => pm.clearStatus(value),
  },
  PM1_EN: {
    offset: 2,
    width: 2,
    access: 'rw',
    writable: SOURCES,
    meaning: 'fixed event enable',
    changed: (pm) => pm.update(),
  },
  PM1_CNT: {
    offset: 4,
    width: 2,
    access: 'rw',
    writable: 0x1c03 | SLP_EN,
    meaning: 'control: SCI_EN, SLP_TYP, SLP_EN',
    changed: (pm) => pm.controlWritten(),
  },
  PM_TMR: { offset: 8, width: 4, access: 'ro', meaning: 'power management timer', read: (pm) => pm.timerValue() },
});

const gpeRegisters = defineRegisters<AcpiPm>()({
  GPE0_STS: {
    offset: 0,
    width: 2,
    access: 'w1c',
    meaning: 'general-purpose event status',
    changed: (pm) => pm.update(),
  },
  GPE0_EN: {
    offset: 2,
    width: 2,
    access: 'rw',
    meaning: 'general-purpose event enable',
    changed: (pm) => pm.update(),
  },
});

export const AcpiPmState = defineState('acpi-pm', 1, {
  ...registerFields(eventRegisters),
  ...registerFields(gpeRegisters),
  /** PM1_STS as last evaluated, and up to which half period of the timer it is. */
  status: u16(),
  halfPeriods: f64(0, { min: 0, max: 2 ** 40, integer: true }),
  smiCommand: u8(),
  smiStatus: u8(),
  /** RCR: bit 1, hard reset. */
  resetControl: u8(),
});

function ticksAt(ns: number): number {
  const seconds = Math.floor(ns / 1e9);
  return seconds * PM_TIMER_HZ + Math.floor(((ns - seconds * 1e9) * PM_TIMER_HZ) / 1e9);
}
function nsOfTick(tick: number): number {
  const seconds = Math.floor(tick / PM_TIMER_HZ);
  return seconds * 1e9 + Math.ceil(((tick - seconds * PM_TIMER_HZ) * 1e9) / PM_TIMER_HZ);
}

export class AcpiPm implements Device {
  readonly name: string;
  readonly state: StateOf<typeof AcpiPmState>;
  /** The PM1a event and control block with the timer, 64 ports at PMBA. */
  readonly eventBlock: RegisterBank<AcpiPm>;
  /** GPE0, four ports. */
  readonly gpeBlock: RegisterBank<AcpiPm>;
  readonly #clock: TimerService;
  readonly #sci: IrqLine;
  readonly #events: PowerEvents;
  readonly #timer: Timer;

  /** `sci` is IRQ 9, level-triggered. */
  constructor(options: {
    clock: TimerService;
    sci: IrqLine;
    events: PowerEvents;
    arena?: StateArena;
    name?: string;
  }) {
    this.name = options.name ?? 'acpi-pm';
    this.state = AcpiPmState.allocate(options.arena);
    this.#clock = options.clock;
    this.#sci = options.sci;
    this.#events = options.events;
    this.#timer = options.clock.createTimer(this.name, () => this.update());
    this.eventBlock = new RegisterBank<AcpiPm>(0x40, eventRegisters, this, this.state);
    this.gpeBlock = new RegisterBank<AcpiPm>(4, gpeRegisters, this, this.state);
  }

  reset(): void {
    AcpiPmState.reset(this.state);
    this.state.halfPeriods = this.#halfPeriods();
    this.#timer.cancel();
    this.#sci.set(false);
  }
  save(): Uint8Array {
    return AcpiPmState.save(this.state);
  }
  load(saved: Uint8Array): void {
    AcpiPmState.load(this.state, saved);
    this.update();
  }

  // ---- what the machine tells the chip

  /** The power button is pressed: the guest may shut down. */
  pressPowerButton(): void {
    this.#setStatus(PWRBTN);
    this.update();
  }
  /** A general-purpose event, 0 to 15. */
  raiseGpe(event: number): void {
    this.state.GPE0_STS |= 1 << event;
    this.update();
  }
  /** The machine woke from a sleep state. */
  wake(): void {
    this.#setStatus(WAK);
    this.update();
  }

  // ---- registers

  #halfPeriods(): number {
    return Math.floor(ticksAt(this.#clock.nowNs()) / HALF_PERIOD);
  }
  timerValue(): number {
    return ticksAt(this.#clock.nowNs()) % 2 ** TIMER_BITS;
  }

  #setStatus(bits: number): void {
    this.state.status |= bits;
  }
  status(): number {
    const now = this.#halfPeriods();
    if (now !== this.state.halfPeriods) {
      this.state.halfPeriods = now;
      this.#setStatus(TMR);
    }
    return this.state.status;
  }
  clearStatus(bits: number): void {
    this.status();
    this.state.status &= ~bits;
    this.update();
  }

  /** Drives the SCI and arms the timer for the next change of PM_TMR's top bit if that would raise it. */
  update(): void {
    const { state } = this;
    const status = this.status();
    const fixed = (status & state.PM1_EN & SOURCES) !== 0;
    const general = (state.GPE0_STS & state.GPE0_EN) !== 0;
    this.#sci.set((state.PM1_CNT & SCI_EN) !== 0 && (fixed || general));
    if ((state.PM1_EN & TMR) !== 0 && (status & TMR) === 0) {
      this.#timer.arm(nsOfTick((state.halfPeriods + 1) * HALF_PERIOD));
    } else this.#timer.cancel();
  }

  controlWritten(): void {
    const { state } = this;
    const sleeps = (state.PM1_CNT & SLP_EN) !== 0;
    state.PM1_CNT &= ~SLP_EN;
    this.update();
    if (!sleeps) return;
    const type = (state.PM1_CNT >> 10) & 7;
    if (type === SLEEP_TYPE_S5) this.#events.powerOff();
    else this.#events.sleep?.(type);
  }

  /** Port B2h. */
  writeSmiCommand(value: number): void {
    const { state } = this;
    state.smiCommand = value;
    state.smiStatus = 0;
    if (value === ACPI_ENABLE) state.PM1_CNT |= SCI_EN;
    else if (value === ACPI_DISABLE) state.PM1_CNT &= ~SCI_EN;
    else this.#events.smiCommand?.(value);
    this.update();
  }

  /** Port CF9h: a write with bit 2 resets. */
  writeResetControl(value: number): void {
    this.state.resetControl = value & 2;
    if ((value & 4) !== 0) this.#events.reset();
  }
}
