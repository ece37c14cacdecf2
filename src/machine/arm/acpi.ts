/** What firmware hands on of the board `virt`: its ACPI and SMBIOS tables. */
import { acpiLoaderFiles, buildArmAcpiTables, FIRST_SPI, PRIMECELL_BYTES, smbiosFiles } from '../../hw/index.js';
import type { GicOptions } from './interrupts.js';
import { map, type PciPlaces, timerInterrupts } from './memory-map.js';

export interface VirtTables {
  readonly affinities: readonly number[];
  readonly gic: GicOptions;
  readonly pci: PciPlaces;
  /** There is a serial port. */
  readonly serial: boolean;
  readonly cpu: string;
  readonly ramBytes: number;
  readonly uuid: Uint8Array | undefined;
}

const gsi = (spi: number): number => FIRST_SPI + spi;

function gicOf({ version, its }: GicOptions) {
  const distributorGpa = map.distributor.gpa;
  if (version === 3)
    return { version, distributorGpa, redistributors: map.redistributors, itsGpa: its ? map.its.gpa : undefined };
  const { gpa, spi, spis } = map.msiFrame;
  return {
    version,
    distributorGpa,
    cpuInterfaceGpa: map.cpuInterface.gpa,
    msiFrame: { gpa, first: gsi(spi), count: spis },
  };
}

/** Files of fw_cfg. `acpi`: with ACPI tables, which take the device tree's place for an operating system. */
export function virtTableFiles(
  { affinities, gic, pci, serial, cpu, ramBytes, uuid }: VirtTables,
  acpi: boolean,
): { readonly name: string; readonly bytes: Uint8Array }[] {
  const smbios = smbiosFiles({
    product: 'Arm VirtIO board',
    version: 'virt',
    cpu,
    ramBytes,
    ram: [[map.ram.gpa, map.ram.gpa + ramBytes]],
    wide: true,
    uuid,
  });
  if (!acpi) return smbios;
  const { flash, uart, gpio, virtio } = map;
  const tables = buildArmAcpiTables({
    affinities,
    gic: gicOf(gic),
    timers: timerInterrupts,
    uart: serial ? { gpa: uart.gpa, bytes: PRIMECELL_BYTES, gsi: gsi(uart.spi) } : undefined,
    flash: Array.from({ length: flash.banks }, (_, n) => ({ gpa: flash.gpa + n * flash.bytes, bytes: flash.bytes })),
    fwCfgGpa: map.fwCfg.gpa,
    virtio: { ...virtio, gsi: gsi(virtio.spi) },
    gpio: { gpa: gpio.gpa, bytes: PRIMECELL_BYTES, gsi: gsi(gpio.spi), powerPin: gpio.powerPin },
    pci: { ...pci, gsi: gsi(map.pci.spi) },
  });
  return [...smbios, ...acpiLoaderFiles(tables)];
}
