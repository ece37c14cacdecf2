/**
 * The generic event device of QEMU's microvm (ACPI 6.4, 5.6.9 and 4.8.3.7), by which a hardware-reduced machine tells of the power
 * button and is switched off or reset: a selector that says what has happened and is forgotten when it is read, and three bytes.
 */
import type { Device, IoHandler, IrqLine } from '../../bus/index.js';
import { defineState, type StateOf, u32 } from '../../schema/index.js';

/** Bits of the selector. */
export const gedEvent = { powerButton: 2 } as const;
/** Offsets among the three bytes. */
export const gedRegister = { sleepControl: 0, sleepStatus: 1, reset: 2 } as const;
export const GED_RESET_VALUE = 0x42;
/** SLP_TYP of S5. */
export const GED_S5 = 5;
const SLP_EN = 0x20;

export const AcpiGedState = defineState('acpi-ged', 1, {
  /** What has happened and was not asked for yet. */
  selector: u32(),
});

export interface AcpiGedOptions {
  readonly irq: IrqLine;
  readonly events: { powerOff(): void; reset(): void };
}

export class AcpiGed implements Device {
  readonly name = 'acpi-ged';
  readonly state: StateOf<typeof AcpiGedState> = AcpiGedState.allocate();
  readonly #options: AcpiGedOptions;

  constructor(options: AcpiGedOptions) {
    this.#options = options;
  }

  reset(): void {
    AcpiGedState.reset(this.state);
  }
  save(): Uint8Array {
    return AcpiGedState.save(this.state);
  }
  load(saved: Uint8Array): void {
    AcpiGedState.load(this.state, saved);
  }

  pressPowerButton(): void {
    this.state.selector |= gedEvent.powerButton;
    // An edge.
    this.#options.irq.set(true);
    this.#options.irq.set(false);
  }

  /** The selector: a word. */
  readonly selector: IoHandler = {
    read: () => {
      const { selector } = this.state;
      this.state.selector = 0;
      return selector;
    },
    write: () => {},
  };

  /** The three bytes; they read as zero. */
  readonly registers: IoHandler = {
    read: () => 0,
    write: (offset, _size, value) => {
      const isS5 = ((value >> 2) & 7) === GED_S5;
      if (offset === gedRegister.sleepControl && (value & SLP_EN) !== 0 && isS5) this.#options.events.powerOff();
      if (offset === gedRegister.reset && value === GED_RESET_VALUE) this.#options.events.reset();
    },
  };
}
