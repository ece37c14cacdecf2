/** What a PC's chip set is to its board: host bridge, ISA bridge, power management and the built-in disk controller. */
import type { Device, IrqLine, MemorySpace, MsiTarget, PortSpace } from '../../bus/index.js';
import type {
  AcpiBoard,
  AcpiPciHotplug,
  AcpiPm,
  AtaDrive,
  FloppyDrive,
  PciRoot,
  PciWindows,
  ShadowRange,
} from '../../hw/index.js';

/** Drives of the board's own disk controller. */
export interface DrivePlaces {
  /** By place, to be filled before the controller is made. */
  readonly drives: (AtaDrive | undefined)[];
  /** Commands that its disks queue. */
  readonly queueDepth: number;
  /** Firmware's path of a drive behind bus 0. */
  bootPath(place: number): string;
}

/** Drives of the board's floppy controller. */
export interface FloppyPlaces {
  /** A and B, to be filled before the controller is made. */
  readonly drives: (FloppyDrive | undefined)[];
  /** There is a controller even without drives. */
  isWanted: boolean;
  /** Firmware's path of a drive behind bus 0. */
  bootPath(place: number): string;
}

export interface ChipsetParts {
  readonly memory: MemorySpace;
  readonly ports: PortSpace;
  readonly msi: MsiTarget;
  /** Global interrupts by number. */
  readonly irqs: readonly IrqLine[];
  readonly pm: AcpiPm;
  /** End of RAM below 4 GiB. */
  readonly lowRamEnd: number;
  /** A device in a slot of bus 0 was let go. */
  ejected(slot: number): void;
  /** The guest asks for a reset. */
  reset(): void;
}

export interface PcChipset {
  /** As SMBIOS names the machine. */
  readonly product: string;
  readonly version: string;
  /** QEMU's name of the device that PCI hangs on. */
  readonly pciHost: string;
  /** Firmware's path of the ISA bus, behind bus 0. */
  readonly isaPath: string;
  readonly pci: PciRoot;
  /** The lowest PCI slot that the chip set does not use. */
  readonly firstSlot: number;
  readonly drivePlaces: DrivePlaces;
  readonly devices: readonly Device[];
  /** By which devices of bus 0 come and go; undefined: they do not. */
  readonly hotplug: AcpiPciHotplug | undefined;
  /** Hears of what 0xC0000-0xFFFFF shows. */
  onShadow: ((ranges: readonly ShadowRange[]) => void) | undefined;
  /** Hears that `describe` has changed. */
  onChange: (() => void) | undefined;
  /** Makes the disk controller, with the drives that there are now. */
  addDiskController(): Device;
  /** Without firmware: what it would do before it places PCI's resources. Gives the windows for them, and the bridge that routes. */
  configure(): { readonly windows: PciWindows; readonly isaBridge: Parameters<PciRoot['bus']['add']>[0] };
  /** What the ACPI tables say of it. */
  describe(): Pick<AcpiBoard, 'pm' | 'pci'>;
}

export type ChipsetName = 'i440fx' | 'q35';

/** End of RAM below 4 GiB; the rest starts there. */
export function lowRamEnd(chipset: ChipsetName, ramBytes: number): number {
  if (chipset === 'i440fx') return Math.min(ramBytes, 0xc000_0000);
  // Configuration space lies below 0xC0000000 in memory; a machine that reaches it anyway has room for large BARs.
  return ramBytes < 0xb000_0000 ? ramBytes : 0x8000_0000;
}
