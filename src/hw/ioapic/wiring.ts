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
 * The board's global system interrupts: 0-15 go to the 8259s and the I/O APIC, 16-23 to the I/O APIC alone. GSI 0, the
 * timer, is pin 2 there (as the MADT's interrupt source override says).
 */
export class GlobalInterrupts {
  readonly lines: readonly IrqLine[];
  /** Controllers that lie elsewhere (in the host's kernel) hear of every change of a line, instead of the board's. */
  divert: ((gsi: number, level: boolean) => void) | undefined;
  readonly #pic: PicPair;
  readonly #ioapic: IoApic;

  constructor(pic: PicPair, ioapic: IoApic) {
    this.#pic = pic;
    this.#ioapic = ioapic;
    this.lines = Array.from({ length: IOAPIC_PINS }, (_, gsi) => {
      const pin = ioapic.inputs[gsi === 0 ? 2 : gsi]!;
      const legacy = pic.inputs[gsi];
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
  }

  /** Levels of the lines as the board's controllers know them, a bit each. */
  get levels(): number {
    const [master, slave] = this.#pic.state.chips;
    return (this.#ioapic.state.lines & 0xff0000) | (slave!.lines << 8) | (master!.lines & 0xfb);
  }
}
