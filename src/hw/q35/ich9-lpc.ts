/**
 * The LPC bridge of Intel's ICH9 (Intel 316972, chapter 13): routing of eight PCI interrupt lines to ISA interrupts and to the I/O APIC's
 * inputs 16 to 23, the power management block at PMBASE, and the chip configuration registers at RCBA.
 *
 * Deviations: chip configuration registers are read-only, so that devices 25 to 31 keep the interrupt lines that they have after reset;
 * general-purpose I/O and the TCO timer are absent (their registers read as zero); there is no system management mode, and SMI_EN says
 * that firmware has set it up, as on QEMU without it.
 */
import type { Device, IoHandler, IrqLine, Mapping } from '../../bus/index.js';
import type { StateArena } from '../../schema/index.js';
import type { AcpiPm } from '../acpi-pm/acpi-pm.js';
import { checkIdentity, PciFunction } from '../pci/pci-function.js';
import type { PciRoot, PinRouting } from '../pci/pci-root.js';
import { PirqRouter } from '../pci/pirq-router.js';
import { loadParts, saveParts } from '../pci/saved-parts.js';

export const ICH9_PIRQS = 8;
/** The I/O APIC's input of PIRQA; the others follow. */
export const ICH9_PIRQ_GSI = 16;
export const ICH9_LPC_SLOT = 0x1f;

const pmBase = 0x40;
const acpiControl = 0x44;
const acpiEnable = 0x80;
const rcba = 0xf0;
const rcbaEnable = 1;
const pmBytes = 0x80;
const chipBytes = 0x4000;

/** Offsets in the power management block (13.8.3). */
const pmAt = { events: 0, generalStatus: 0x20, generalEnable: 0x28, smiEnable: 0x30, smiEnd: 0x34 } as const;
/** SMIs by the command port are on: nothing is left for firmware to set up. */
const smiEnableValue = 0x20;

/** Chip configuration registers that are not zero: which line each pin of devices 31 to 25 drives, and where the firmware lies. */
const chipRegisters: ReadonlyMap<number, number> = new Map([
  [0x3140, 0x3210],
  [0x3144, 0x32103210],
  [0x3148, 0x3210],
  [0x314c, 0x3210],
  [0x3150, 0x3210],
  [0x3410, 0x20],
]);

/**
 * The line that a pin of a device on bus 0 drives: PIRQE to H in turn, for those of the chip set (25 to 31) PIRQA to D; for pins behind
 * the bridge in slot 30 PIRQE to H.
 */
export const ich9Route: PinRouting = (slot, pin) => {
  if (slot === 30) return 4 + pin;
  return slot >= 25 ? pin : 4 + ((slot + pin) & 3);
};

export interface Ich9LpcOptions {
  readonly root: PciRoot;
  /** By number; those from 16 on are the I/O APIC's alone. */
  readonly irqs: readonly IrqLine[];
  readonly pm: AcpiPm;
  readonly arena?: StateArena | undefined;
}

export class Ich9Lpc implements Device {
  readonly name = 'ich9-lpc';
  readonly function: PciFunction;
  readonly #router: PirqRouter;
  readonly #pm: Mapping;
  readonly #chip: Mapping;

  constructor({ root, irqs, pm, arena }: Ich9LpcOptions) {
    const { ports, memory } = root.spaces;
    this.#pm = ports.add({ name: 'ich9-pm', start: 0x10000, size: pmBytes, maxAccess: 4, handler: powerBlock(pm) });
    const handler: IoHandler = {
      read: (offset, size) => {
        const word = (chipRegisters.get(offset & ~3) ?? 0) >>> (8 * (offset & 3));
        return size === 4 ? word >>> 0 : word & (2 ** (8 * size) - 1);
      },
      write: () => {},
    };
    this.#chip = memory.addWindow({ name: 'ich9-rcrb', start: 2 ** 52, size: chipBytes, handler });
    this.function = new PciFunction({
      name: this.name,
      vendorId: 0x8086,
      deviceId: 0x2918,
      revision: 2,
      classCode: 0x060100,
      arena,
      configWritten: (offset, size) => {
        if (this.#router.isTouched(offset, size)) this.#router.updateAll();
        this.#follow();
      },
    });
    this.#router = new PirqRouter({ fn: this.function, root, irqs, lines: ICH9_PIRQS, arena });
    // It has always decoded and mastered: the bits stay as a guest sets them, and nothing depends on them.
    this.function.define(0x04, 2, 0, 7);
    this.function.define(pmBase, 4, 1, 0xff80);
    this.function.define(acpiControl, 1, 0, 0x87);
    this.function.define(0x48, 4, 0, 0xff80); // GPIOBASE
    this.function.define(0x4c, 1, 0, 0x10);
    this.function.define(0x80, 4, 0, 0x3f0f1377); // LPC decode ranges
    this.function.define(0xa0, 4, 0, 0x0000ffff); // GEN_PMCON
    this.function.define(0xdc, 1, 0, 0x0f); // BIOS_CNTL
    this.function.define(rcba, 4, 0, 0xffffc001);
    root.bus.add(this.function, ICH9_LPC_SLOT, 0);
    root.onLine = (line) => {
      this.#router.update(line);
      irqs[ICH9_PIRQ_GSI + line]?.set(root.lineLevel(line));
    };
  }

  /** What firmware does at start: places the power management block and opens it. */
  configure(port: number): void {
    this.function.write(pmBase, 4, port);
    this.function.write(acpiControl, 1, acpiEnable);
  }

  #follow(): void {
    const { config } = this.function;
    const port = this.function.read(pmBase, 4) & 0xff80;
    const open = (config[acpiControl]! & acpiEnable) !== 0 && port !== 0 ? port : undefined;
    if (this.#pm.start !== open) this.#pm.move(open);
    const base = this.function.read(rcba, 4);
    const at = (base & rcbaEnable) !== 0 ? (base & 0xffffc000) >>> 0 : undefined;
    if (this.#chip.start !== at) this.#chip.move(at);
  }

  reset(): void {
    this.function.reset();
    this.#router.updateAll();
    this.#follow();
  }
  get #parts() {
    return [this.function.part, this.#router.part];
  }
  save(): Uint8Array {
    return saveParts(this.#parts);
  }
  load(saved: Uint8Array): void {
    this.#router.aroundLoad(() => {
      loadParts(this.#parts, saved, this.name, () => checkIdentity(this.function));
      this.function.restore();
    });
    this.#follow();
  }
}

/** Event registers and timer as the PIIX4 has them; general-purpose events with status and enable bits eight bytes apart. */
function powerBlock(pm: AcpiPm): IoHandler {
  const generalBytes = 2;
  const isIn = (offset: number, start: number, bytes: number) => offset >= start && offset < start + bytes;
  const readByte = (offset: number): number => {
    if (isIn(offset, pmAt.generalStatus, generalBytes)) return pm.gpeBlock.read(offset - pmAt.generalStatus, 1);
    if (isIn(offset, pmAt.generalEnable, generalBytes))
      return pm.gpeBlock.read(offset - pmAt.generalEnable + generalBytes, 1);
    return isIn(offset, pmAt.smiEnable, 4) ? (smiEnableValue >>> (8 * (offset - pmAt.smiEnable))) & 0xff : 0;
  };
  const writeByte = (offset: number, value: number): void => {
    if (isIn(offset, pmAt.generalStatus, generalBytes)) pm.gpeBlock.write(offset - pmAt.generalStatus, 1, value);
    else if (isIn(offset, pmAt.generalEnable, generalBytes))
      pm.gpeBlock.write(offset - pmAt.generalEnable + generalBytes, 1, value);
  };
  return {
    read: (offset, size) => {
      if (offset < pmAt.generalStatus) return pm.eventBlock.read(offset, size);
      let value = 0;
      for (let i = 0; i < size; i++) value |= readByte(offset + i) << (8 * i);
      return value >>> 0;
    },
    write: (offset, size, value) => {
      if (offset < pmAt.generalStatus) pm.eventBlock.write(offset, size, value);
      else for (let i = 0; i < size; i++) writeByte(offset + i, (value >>> (8 * i)) & 0xff);
    },
  };
}
