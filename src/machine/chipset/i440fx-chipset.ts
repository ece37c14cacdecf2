/** The chip set of the board `pc`: i440FX, PIIX3 with IDE, the power management function of the PIIX4. */
import type { Device } from '../../bus/index.js';
import {
  AcpiPciHotplug,
  I440fx,
  PCI_HOTPLUG_EVENT,
  PciRoot,
  Piix3,
  Piix4Pm,
  PiixIde,
  PM_BASE,
  pcWindows,
  piix4Pm,
  wireAcpiPm,
} from '../../hw/index.js';
import type { ChipsetParts, DrivePlaces, PcChipset } from './pc-chipset.js';

/** Line of a pin: pin A of device 0 is PIRQD. */
const route = (slot: number, pin: number): number => (slot + pin - 1) & 3;

export class I440fxChipset implements PcChipset {
  readonly product = 'Standard PC (i440FX + PIIX, 1996)';
  readonly version = 'pc';
  readonly pciHost = 'i440FX-pcihost';
  readonly isaPath = '/isa@1';
  readonly firstSlot = 2;
  readonly pci: PciRoot;
  readonly devices: readonly Device[];
  readonly hotplug: AcpiPciHotplug;
  readonly drivePlaces: DrivePlaces = {
    drives: [undefined, undefined, undefined, undefined],
    queueDepth: 0,
    bootPath: (place) => `/ide@1,1/drive@${place >> 1}/disk@${place & 1}`,
  };
  onChange: (() => void) | undefined;
  readonly #parts: ChipsetParts;
  readonly #bridge: I440fx;
  readonly #piix3: Piix3;
  readonly #piix4: Piix4Pm;
  #ide: PiixIde | undefined;

  constructor(parts: ChipsetParts) {
    this.#parts = parts;
    const { memory, ports, msi, irqs, pm } = parts;
    this.pci = new PciRoot({ spaces: { memory, ports, msi }, route });
    this.#bridge = new I440fx(this.pci);
    this.pci.mapPorts(ports);
    this.#piix3 = new Piix3({ root: this.pci, irqs });
    this.#piix3.onReset = () => parts.reset();
    this.#piix3.mapPorts(ports);
    wireAcpiPm(ports, pm);
    this.#piix4 = new Piix4Pm({ root: this.pci, block: pm.eventBlock });
    this.hotplug = new AcpiPciHotplug({
      firstSlot: this.firstSlot,
      events: { changed: () => pm.raiseGpe(PCI_HOTPLUG_EVENT), ejected: (slot) => parts.ejected(slot) },
    });
    this.hotplug.mapPorts(ports);
    this.devices = [this.hotplug, this.#bridge, this.#piix3, this.#piix4];
  }

  get onShadow() {
    return this.#bridge.onShadow;
  }
  set onShadow(listener) {
    this.#bridge.onShadow = listener;
  }

  addDiskController(): Device {
    const { irqs, ports } = this.#parts;
    this.#ide = new PiixIde({ root: this.pci, irqs: [irqs[14], irqs[15]], drives: this.drivePlaces.drives });
    this.#ide.mapPorts(ports);
    return this.#ide;
  }

  configure() {
    this.#bridge.pam.open();
    this.#piix4.configure(PM_BASE, 9);
    this.#ide?.configure();
    return { windows: pcWindows(this.#parts.lowRamEnd), isaBridge: this.#piix3.function };
  }

  describe() {
    const { memory } = pcWindows(this.#parts.lowRamEnd);
    return {
      pm: piix4Pm,
      pci: {
        memoryWindows: [memory],
        isaBridge: { device: 1, function: 0 },
        pirqRegisters: [0x60],
        linkIrqs: [5, 10, 11],
        hotplugFrom: this.firstSlot,
        route,
        // The power management function's pin A is the SCI, which no PIRQ register routes.
        sciSlot: 1,
      },
    };
  }
}
