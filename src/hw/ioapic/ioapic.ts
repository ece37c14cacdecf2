/**
 * The 82093AA I/O APIC with 24 pins (Intel data sheet, order 290566), version 0x20: with the EOI register of its successors.
 *
 * Deviation: the polarity bit is stored and means nothing; a line's level is "asserted" whatever its voltage.
 */
import type { Device, IrqLine } from '../../bus/index.js';
import { defineState, type StateArena, type StateOf, u8, u32, u32s } from '../../schema/index.js';
import { type ApicBus, FIXED, LOWEST_PRIORITY } from '../lapic/apic-bus.js';

export const IOAPIC_GPA = 0xfec00000;
/** Where QEMU's microvm has a second one. */
export const SECOND_IOAPIC_GPA = 0xfec10000;
export const IOAPIC_PINS = 24;
const VERSION = 0x20 | ((IOAPIC_PINS - 1) << 16);

const MASKED = 0x10000;
const LEVEL = 0x8000;
const REMOTE_IRR = 0x4000;
const LOGICAL = 0x800;
/** All but delivery status and remote IRR. */
const WRITABLE_LOW = 0x1afff;

export const IoApicState = defineState('ioapic', 1, {
  /** IOREGSEL */
  select: u8(),
  ID: u8(0, { max: 15 }),
  /** Levels of the pins. */
  lines: u32(0, { max: 0xffffff }),
  /** Edges that wait for delivery. */
  edges: u32(0, { max: 0xffffff }),
  /** The redirection table: low halves, high halves (destination in bits 31:24). */
  low: u32s(IOAPIC_PINS, {}, MASKED),
  high: u32s(IOAPIC_PINS),
});

export class IoApic implements Device {
  readonly name: string;
  readonly state: StateOf<typeof IoApicState>;
  readonly inputs: readonly IrqLine[];
  /** An entry of the redirection table was written. */
  onRedirection: (() => void) | undefined;
  readonly #bus: ApicBus;

  constructor(options: { bus: ApicBus; arena?: StateArena; name?: string }) {
    this.name = options.name ?? 'ioapic';
    this.#bus = options.bus;
    this.state = IoApicState.allocate(options.arena);
    this.inputs = Array.from({ length: IOAPIC_PINS }, (_, pin) => ({
      set: (level: boolean) => this.#setInput(pin, level),
    }));
    options.bus.attachIoApic(this);
  }

  reset(): void {
    const { lines } = this.state;
    IoApicState.reset(this.state);
    this.state.lines = lines;
  }
  save(): Uint8Array {
    return IoApicState.save(this.state);
  }
  load(saved: Uint8Array): void {
    IoApicState.load(this.state, saved);
  }

  #setInput(pin: number, level: boolean): void {
    const { state } = this;
    const bit = 1 << pin;
    const before = state.lines;
    state.lines = level ? before | bit : before & ~bit;
    if (!level || (before & bit) !== 0) return;
    const entry = state.low[pin]!;
    // An edge on a masked pin is lost.
    if ((entry & (LEVEL | MASKED)) === 0) state.edges |= bit;
    this.#service(pin);
  }

  #service(pin: number): void {
    const { state } = this;
    const entry = state.low[pin]!;
    if ((entry & MASKED) !== 0) return;
    const bit = 1 << pin;
    const level = (entry & LEVEL) !== 0;
    if (level ? (state.lines & bit) === 0 || (entry & REMOTE_IRR) !== 0 : (state.edges & bit) === 0) return;
    state.edges &= ~bit;
    const mode = (entry >> 8) & 7;
    const taken = this.#bus.deliver(state.high[pin]! >>> 24, (entry & LOGICAL) !== 0, mode, entry & 0xff, level);
    if (level && taken && (mode === FIXED || mode === LOWEST_PRIORITY)) state.low[pin] = entry | REMOTE_IRR;
  }

  /** A local APIC, or a write to the EOI register, ended the level-triggered interrupts of this vector. */
  endOfInterrupt(vector: number): void {
    const { low } = this.state;
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      const entry = low[pin]!;
      if ((entry & REMOTE_IRR) === 0 || (entry & 0xff) !== vector) continue;
      low[pin] = entry & ~REMOTE_IRR;
      this.#service(pin);
    }
  }

  writeSelect(value: number): void {
    this.state.select = value & 0xff;
  }

  readSelected(): number {
    const { state } = this;
    const { select } = state;
    if (select === 1) return VERSION;
    if (select === 0 || select === 2) return state.ID << 24;
    const pin = (select - 0x10) >> 1;
    if (pin < 0 || pin >= IOAPIC_PINS) return 0;
    return (select & 1) === 0 ? state.low[pin]! : state.high[pin]!;
  }

  writeSelected(value: number): void {
    const { state } = this;
    const { select } = state;
    if (select === 0) state.ID = (value >>> 24) & 15;
    const pin = (select - 0x10) >> 1;
    if (pin < 0 || pin >= IOAPIC_PINS) return;
    if ((select & 1) !== 0) {
      state.high[pin] = value & 0xff000000;
      this.onRedirection?.();
      return;
    }
    let entry = (value & WRITABLE_LOW) | (state.low[pin]! & REMOTE_IRR);
    // Edge-triggered entries have no remote IRR; software clears a stuck one by switching there and back.
    if ((entry & LEVEL) === 0) entry &= ~REMOTE_IRR;
    else state.edges &= ~(1 << pin);
    state.low[pin] = entry;
    this.onRedirection?.();
    this.#service(pin);
  }
}
