import type { FloppyKind } from '../floppy/floppy-format.js';

/** What the ACPI tables say of a board: all of it comes from here, so that tables and devices cannot disagree. */
export interface AcpiBoard {
  readonly cpus: readonly { readonly apicId: number }[];
  readonly localApicGpa: number;
  readonly ioApic: { readonly id: number; readonly gpa: number; readonly gsiBase: number };
  /** ISA interrupts that do not reach the I/O APIC as edge, active high, on the input of the same number. */
  readonly interruptOverrides: readonly { readonly irq: number; readonly gsi: number; readonly level: boolean }[];
  readonly pm: {
    readonly sciIrq: number;
    /** 0: the machine is always in ACPI mode. */
    readonly smiCommandPort: number;
    readonly acpiEnable: number;
    readonly acpiDisable: number;
    readonly pm1aEventPort: number;
    readonly pm1aControlPort: number;
    readonly pmTimerPort: number;
    readonly gpe0Port: number;
    readonly gpe0Bytes: number;
    /** SLP_TYP value of S5. */
    readonly s5SleepType: number;
  };
  /** Port and value that reset the machine. */
  readonly reset?: { readonly port: number; readonly value: number };
  readonly hpetGpa?: number;
  readonly pci: {
    /** I/O and memory that the host bridge passes on, both ends included. */
    readonly memoryWindows: readonly { readonly first: number; readonly last: number }[];
    /** Where the board has it: base of the memory-mapped configuration space of bus 0 to `lastBus`. */
    readonly ecam?: { readonly gpa: number; readonly lastBus: number };
    /** The function that routes PIRQs, and where its registers for each four of them lie. */
    readonly isaBridge: { readonly device: number; readonly function: number };
    readonly pirqRegisters: readonly number[];
    /** The PIRQ (0: A) that pin `pin` (0: A) of device `slot` on bus 0 drives. */
    route(slot: number, pin: number): number;
    /** Where PIRQs have inputs of the I/O APIC to themselves: that of PIRQA; the others follow. */
    readonly pirqGsi?: number;
    /** The device whose pin A is the SCI. */
    readonly sciSlot?: number;
    /** Where devices of bus 0 come and go by ACPI: the first slot that is not the board's own. */
    readonly hotplugFrom?: number;
    /** Interrupts that the PIRQ links may be set to. */
    readonly linkIrqs: readonly number[];
  };
  readonly isa: {
    readonly serial: readonly { readonly port: number; readonly irq: number }[];
    readonly rtc: boolean;
    readonly pit: boolean;
    readonly ps2: boolean;
    readonly fwCfgPort?: number;
    /** Of pvpanic. */
    readonly panicPort?: number;
    /** Kinds of the drives of the floppy controller, where there is one. */
    readonly floppies?: readonly (FloppyKind | undefined)[];
  };
  readonly vga: boolean;
}

/** The PM block of QEMU's `pc` (PIIX4). */
export const piix4Pm: AcpiBoard['pm'] = {
  sciIrq: 9,
  smiCommandPort: 0xb2,
  acpiEnable: 0xf1,
  acpiDisable: 0xf0,
  pm1aEventPort: 0x600,
  pm1aControlPort: 0x604,
  pmTimerPort: 0x608,
  gpe0Port: 0xafe0,
  gpe0Bytes: 4,
  s5SleepType: 0,
};

/** The PM block of QEMU's `q35` (ICH9). */
export const ich9Pm: AcpiBoard['pm'] = { ...piix4Pm, gpe0Port: 0x620, gpe0Bytes: 16 };

/** What is the same on every `pc`: interrupts as its PIIX3 and I/O APIC wire them. */
export const pcInterruptOverrides: AcpiBoard['interruptOverrides'] = [
  { irq: 0, gsi: 2, level: false },
  { irq: 5, gsi: 5, level: true },
  { irq: 9, gsi: 9, level: true },
  { irq: 10, gsi: 10, level: true },
  { irq: 11, gsi: 11, level: true },
];
