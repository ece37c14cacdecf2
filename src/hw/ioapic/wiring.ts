import type { IrqLine, Mapping, MemorySpace } from '../../bus/index.js';
import type { PicPair } from '../i8259/i8259.js';
import { IOAPIC_GPA, IOAPIC_PINS, type IoApic } from './ioapic.js';

const IOREGSEL = 0x00;
const IOWIN = 0x10;
const IOEOI = 0x40;

/** Index, data and EOI register, accessed by 32-bit words (a byte suffices for the index). */
export function wireIoApic(space: MemorySpace, ioapic: IoApic, gpa: number = IOAPIC_GPA): Mapping {
  return space.addWindow({
    name: ioapic.name,
    start: gpa,
    size: 0x1000,
    deferrable: [{ offset: IOREGSEL, size: 4 }],
    handler: {
      read: (offset) => {
        if ((offset & 0xff) === IOREGSEL) return ioapic.state.select;
        return (offset & 0xff) === IOWIN ? ioapic.readSelected() : 0;
      },
      write: (offset, size, value) => {
        if ((offset & 0xff) === IOREGSEL) ioapic.writeSelect(value);
        else if ((offset & 0xff) === IOWIN && size === 4) ioapic.writeSelected(value);
        else if ((offset & 0xff) === IOEOI) ioapic.endOfInterrupt(value & 0xff);
      },
    },
  });
}

/**
 * The board's global system interrupts: 0-15 go to the 8259s, where there are some, and the I/O APIC, 16-23 to the I/O APIC alone, and
 * those from 24 on to a second one. GSI 0, the timer, is pin 2 of the first (as the MADT's interrupt source override says).
 */
export class GlobalInterrupts {
  readonly lines: readonly IrqLine[];
  /** Controllers that lie elsewhere (in the host's kernel) hear of every change of a line below 24, instead of the board's. */
  divert: ((gsi: number, level: boolean) => void) | undefined;
  readonly #pic: PicPair | undefined;
  readonly #ioapic: IoApic;

  constructor(pic: PicPair | undefined, ioapic: IoApic, second?: IoApic) {
    this.#pic = pic;
    this.#ioapic = ioapic;
    const first = Array.from({ length: IOAPIC_PINS }, (_, gsi): IrqLine => {
      const pin = ioapic.inputs[gsi === 0 ? 2 : gsi]!;
      const legacy = pic?.inputs[gsi];
      return {
        set: (level) => {
          if (this.divert) {
            this.divert(gsi, level);
            return;
          }
          legacy?.set(level);
          pin.set(level);
        },
      };
    });
    this.lines = [...first, ...(second?.inputs ?? [])];
  }

  /** Levels of the lines below 24 as the board's controllers know them, a bit each. */
  get levels(): number {
    const { lines } = this.#ioapic.state;
    if (!this.#pic) return lines;
    const [master, slave] = this.#pic.state.chips;
    return (lines & 0xff0000) | (slave!.lines << 8) | (master!.lines & 0xfb);
  }
}
