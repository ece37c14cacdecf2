/** The chip set of the board `q35`: MCH, and ICH9's LPC bridge, AHCI controller and SMBus. */
import type { Device } from '../../bus/index.js';
import {
  ICH9_LPC_SLOT,
  ICH9_PIRQ_GSI,
  ICH9_PIRQS,
  Ich9Ahci,
  Ich9Lpc,
  Ich9Smbus,
  ich9Pm,
  ich9Route,
  Mch,
  PciRoot,
  PM_BASE,
  wirePowerPorts,
} from '../../hw/index.js';
import type { ChipsetParts, DrivePlaces, PcChipset } from './pc-chipset.js';

/** Where configuration space lies in memory without firmware: SeaBIOS's place. */
const ECAM_GPA = 0xb000_0000;
/** Configuration space of a bus. */
const BUS_BYTES = 0x10_0000;
const AHCI_FUNCTION = 2;
const PCI_START = 0x8000_0000;
const PCI_LAST = 0xfebf_ffff;

export class Q35Chipset implements PcChipset {
  readonly product = 'Standard PC (Q35 + ICH9, 2009)';
  readonly version = 'q35';
  readonly pciHost = 'q35-pcihost';
  readonly isaPath = `/isa@${ICH9_LPC_SLOT.toString(16)}`;
  readonly firstSlot = 1;
  readonly pci: PciRoot;
  readonly devices: readonly Device[];
  /** Behind root ports alone, by PCI Express. */
  readonly hotplug = undefined;
  readonly drivePlaces: DrivePlaces = {
    drives: new Array(6).fill(undefined),
    queueDepth: 32,
    bootPath: (place) => `/pci8086,2922@${ICH9_LPC_SLOT.toString(16)},${AHCI_FUNCTION}/drive@${place}/disk@0`,
  };
  readonly #parts: ChipsetParts;
  readonly #mch: Mch;
  readonly #lpc: Ich9Lpc;

  constructor(parts: ChipsetParts) {
    this.#parts = parts;
    const { memory, ports, msi, irqs, pm } = parts;
    this.pci = new PciRoot({ spaces: { memory, ports, msi }, route: ich9Route, lines: ICH9_PIRQS });
    this.#mch = new Mch(this.pci);
    this.pci.mapPorts(ports);
    this.#lpc = new Ich9Lpc({ root: this.pci, irqs, pm });
    wirePowerPorts(ports, pm);
    this.devices = [this.#mch, this.#lpc, new Ich9Smbus(this.pci)];
  }

  get onShadow() {
    return this.#mch.onShadow;
  }
  set onShadow(listener) {
    this.#mch.onShadow = listener;
  }
  get onChange() {
    return this.#mch.onEcam;
  }
  set onChange(listener) {
    this.#mch.onEcam = listener;
  }

  addDiskController(): Device {
    const ahci = new Ich9Ahci({ dma: this.#parts.memory.dma, drives: this.drivePlaces.drives });
    this.pci.bus.add(ahci.function, ICH9_LPC_SLOT, AHCI_FUNCTION);
    return ahci;
  }

  configure() {
    this.#mch.pam.open();
    this.#mch.placeEcam(ECAM_GPA);
    this.#lpc.configure(PM_BASE);
    const first = ECAM_GPA + 0x100 * BUS_BYTES;
    const windows = {
      io: { first: 0xc000, last: 0xffff },
      memory: { first, last: PCI_LAST },
      lineIrqs: [10, 10, 11, 11, 10, 10, 11, 11],
    };
    return { windows, isaBridge: this.#lpc.function };
  }

  /** Firmware learns the tables' sizes before it places configuration space: they do not depend on where. */
  describe() {
    const ecam = this.#mch.ecam ?? { gpa: ECAM_GPA, lastBus: 0xff };
    const first = Math.max(this.#parts.lowRamEnd, PCI_START);
    const end = ecam.gpa + (ecam.lastBus + 1) * BUS_BYTES;
    const inside = ecam.gpa > first && end <= PCI_LAST;
    return {
      pm: ich9Pm,
      pci: {
        memoryWindows: [
          { first, last: (inside ? ecam.gpa : ECAM_GPA) - 1 },
          { first: inside ? end : ECAM_GPA, last: PCI_LAST },
        ],
        ecam,
        isaBridge: { device: ICH9_LPC_SLOT, function: 0 },
        pirqRegisters: [0x60, 0x68],
        pirqGsi: ICH9_PIRQ_GSI,
        linkIrqs: [5, 10, 11],
        route: ich9Route,
      },
    };
  }
}
