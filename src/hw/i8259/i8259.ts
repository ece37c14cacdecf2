/**
 * The PC's pair of 8259A interrupt controllers: a master whose IR2 is the slave's INT (Intel 8259A data sheet, order
 * 231468), with the edge/level control registers of the PIIX (82371AB data sheet, 4D0h/4D1h).
 *
 * Deviation: an edge-triggered request stays latched when its line falls before it is acknowledged (the 8259A would give a
 * spurious IR7); devices may therefore pulse their lines.
 */
import type { Device, IrqLine } from '../../bus/index.js';
import { bool, defineState, list, type StateArena, type StateOf, u8 } from '../../schema/index.js';

export const PicState = defineState('i8259', 1, {
  chips: list(2, {
    IRR: u8(),
    IMR: u8(),
    ISR: u8(),
    /** ICW2: vector of IR0. */
    vectorBase: u8(),
    /** Levels of the input lines. */
    lines: u8(),
    /** Edge/level control: ones are level-triggered. */
    ELCR: u8(),
    /** The input of highest priority (rotation). */
    highest: u8(0, { max: 7 }),
    /** The initialization word awaited: 0 none, else ICW2 to ICW4. */
    awaited: u8(0, { max: 4 }),
    expectsIcw4: bool(),
    single: bool(),
    /** ICW1 LTIM: all inputs are level-triggered. */
    levelMode: bool(),
    readsIsr: bool(),
    poll: bool(),
    specialMask: bool(),
    autoEoi: bool(),
    rotateOnAutoEoi: bool(),
    specialFullyNested: bool(),
  }),
  INTR: bool(),
});

type Chip = StateOf<typeof PicState>['chips'][number];

const CASCADE = 2;
/** Inputs that can be level-triggered: not the timer, keyboard, cascade, RTC and coprocessor. */
const ELCR_WRITABLE = [0xf8, 0xde] as const;

export class PicPair implements Device {
  readonly name: string;
  readonly state: StateOf<typeof PicState>;
  /** The 16 ISA interrupt inputs; the one at 2 is wired to nothing (it is the cascade). */
  readonly inputs: readonly IrqLine[];
  readonly #output: IrqLine;
  readonly #master: Chip;
  readonly #slave: Chip;

  /** `output` is INTR, to the local APIC's LINT0 or the vCPU. */
  constructor(options: { output: IrqLine; arena?: StateArena; name?: string }) {
    this.name = options.name ?? 'i8259';
    this.state = PicState.allocate(options.arena);
    this.#output = options.output;
    this.#master = this.state.chips[0]!;
    this.#slave = this.state.chips[1]!;
    this.inputs = Array.from({ length: 16 }, (_, n) => ({
      set: (level: boolean) => {
        if (n !== CASCADE) this.#setInput(n < 8 ? this.#master : this.#slave, n & 7, level);
      },
    }));
  }

  reset(): void {
    // The wires keep their levels through a reset; the devices at the other end lower them in theirs.
    const [m, s] = [this.#master.lines, this.#slave.lines];
    PicState.reset(this.state);
    this.#master.lines = m & ~(1 << CASCADE);
    this.#slave.lines = s;
    this.#output.set(false);
  }
  save(): Uint8Array {
    return PicState.save(this.state);
  }
  load(saved: Uint8Array): void {
    PicState.load(this.state, saved);
    this.#output.set(this.state.INTR);
  }

  /** Another has kept the state meanwhile: what follows from it, the cascade and INTR, is worked out anew. */
  settle(): void {
    this.#master.lines |= 1 << CASCADE;
    this.#update();
  }

  #setInput(chip: Chip, n: number, level: boolean): void {
    const bit = 1 << n;
    const rises = level && (chip.lines & bit) === 0;
    chip.lines = level ? chip.lines | bit : chip.lines & ~bit;
    if (chip.levelMode || (chip.ELCR & bit) !== 0) chip.IRR = level ? chip.IRR | bit : chip.IRR & ~bit;
    else if (rises) chip.IRR |= bit;
    this.#update();
  }

  /** The input to serve: an unmasked request of higher priority than all in service, or -1. */
  #candidate(chip: Chip): number {
    const requests = chip.IRR & ~chip.IMR;
    if (requests === 0) return -1;
    let inService = chip.ISR;
    if (chip.specialMask) inService &= ~chip.IMR;
    if (chip.specialFullyNested && chip === this.#master) inService &= ~(1 << CASCADE);
    for (let i = 0; i < 8; i++) {
      const n = (chip.highest + i) & 7;
      if ((inService & (1 << n)) !== 0) return -1;
      if ((requests & (1 << n)) !== 0) return n;
    }
    return -1;
  }

  #update(): void {
    const master = this.#master;
    const cascade = 1 << CASCADE;
    const slaveAsks = this.#candidate(this.#slave) >= 0;
    const rises = slaveAsks && (master.lines & cascade) === 0;
    if (slaveAsks) master.lines |= cascade;
    else master.lines &= ~cascade;
    if (rises) master.IRR |= cascade;
    else if (!slaveAsks) master.IRR &= ~cascade;
    const asks = this.#candidate(master) >= 0;
    this.state.INTR = asks;
    this.#output.set(asks);
  }

  #serve(chip: Chip, n: number): void {
    const bit = 1 << n;
    if (!chip.autoEoi) chip.ISR |= bit;
    else if (chip.rotateOnAutoEoi) chip.highest = (n + 1) & 7;
    if (!chip.levelMode && (chip.ELCR & bit) === 0) chip.IRR &= ~bit;
  }

  /** The interrupt acknowledge cycles: the vector, IR7's if the request has gone (spurious). */
  acknowledge(): number {
    const master = this.#master;
    const slave = this.#slave;
    const n = this.#candidate(master);
    let vector: number;
    if (n < 0) vector = master.vectorBase + 7;
    else if (n === CASCADE) {
      const s = this.#candidate(slave);
      if (s >= 0) this.#serve(slave, s);
      vector = slave.vectorBase + (s >= 0 ? s : 7);
      this.#serve(master, n);
      // The slave's INT falls with the acknowledge; if it still asks, #update sees it rise again.
      master.lines &= ~(1 << CASCADE);
    } else {
      this.#serve(master, n);
      vector = master.vectorBase + n;
    }
    this.#update();
    return vector & 0xff;
  }

  /** chip 0 or 1, register 0 (command) or 1 (data). */
  readRegister(which: number, register: number): number {
    const chip = which === 0 ? this.#master : this.#slave;
    if (chip.poll) {
      chip.poll = false;
      const n = this.#candidate(chip);
      if (n < 0) return 0;
      this.#serve(chip, n);
      this.#update();
      return 0x80 | n;
    }
    if (register === 1) return chip.IMR;
    return chip.readsIsr ? chip.ISR : chip.IRR;
  }

  writeRegister(which: number, register: number, value: number): void {
    const chip = which === 0 ? this.#master : this.#slave;
    if (register === 1) this.#writeData(chip, value);
    else if ((value & 0x10) !== 0) this.#beginInitialization(chip, value);
    else if ((value & 0x08) !== 0) {
      if ((value & 0x04) !== 0) chip.poll = true;
      if ((value & 0x02) !== 0) chip.readsIsr = (value & 1) !== 0;
      if ((value & 0x40) !== 0) chip.specialMask = (value & 0x20) !== 0;
    } else this.#endOfInterrupt(chip, value);
    this.#update();
  }

  #beginInitialization(chip: Chip, icw1: number): void {
    chip.levelMode = (icw1 & 8) !== 0;
    // The edge sense is cleared: an edge-triggered line must rise anew.
    chip.IRR = chip.lines & (chip.levelMode ? 0xff : chip.ELCR);
    chip.IMR = 0;
    chip.ISR = 0;
    chip.highest = 0;
    chip.readsIsr = false;
    chip.poll = false;
    chip.specialMask = false;
    chip.autoEoi = false;
    chip.rotateOnAutoEoi = false;
    chip.specialFullyNested = false;
    chip.single = (icw1 & 2) !== 0;
    chip.expectsIcw4 = (icw1 & 1) !== 0;
    chip.awaited = 2;
  }

  #writeData(chip: Chip, value: number): void {
    switch (chip.awaited) {
      case 2:
        chip.vectorBase = value & 0xf8;
        chip.awaited = chip.single ? (chip.expectsIcw4 ? 4 : 0) : 3;
        return;
      case 3:
        // ICW3 says where the slave hangs: the board's wiring is fixed.
        chip.awaited = chip.expectsIcw4 ? 4 : 0;
        return;
      case 4:
        chip.specialFullyNested = (value & 0x10) !== 0;
        chip.autoEoi = (value & 0x02) !== 0;
        chip.awaited = 0;
        return;
      default:
        chip.IMR = value;
    }
  }

  /** OCW2. */
  #endOfInterrupt(chip: Chip, value: number): void {
    const level = value & 7;
    switch (value >> 5) {
      case 0:
      case 4:
        chip.rotateOnAutoEoi = value >> 5 === 4;
        return;
      case 1:
      case 5: {
        // In special mask mode a masked input's service bit is out of the non-specific EOI's reach.
        const reach = chip.specialMask ? chip.ISR & ~chip.IMR : chip.ISR;
        for (let i = 0; i < 8; i++) {
          const n = (chip.highest + i) & 7;
          if ((reach & (1 << n)) === 0) continue;
          chip.ISR &= ~(1 << n);
          if (value >> 5 === 5) chip.highest = (n + 1) & 7;
          break;
        }
        return;
      }
      case 3:
        chip.ISR &= ~(1 << level);
        return;
      case 6:
        chip.highest = (level + 1) & 7;
        return;
      case 7:
        chip.ISR &= ~(1 << level);
        chip.highest = (level + 1) & 7;
    }
  }

  readElcr(which: number): number {
    return this.state.chips[which & 1]!.ELCR;
  }
  writeElcr(which: number, value: number): void {
    const chip = this.state.chips[which & 1]!;
    chip.ELCR = value & ELCR_WRITABLE[which & 1]!;
    // A line that is now level-triggered and up is a request.
    chip.IRR |= chip.lines & chip.ELCR;
    this.#update();
  }
}
