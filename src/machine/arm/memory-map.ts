/** Where things lie on the board `virt`, and their shared interrupts at the GIC: as on QEMU's. */
export const map = {
  flash: { gpa: 0, banks: 2, bytes: 0x400_0000 },
  distributor: { gpa: 0x800_0000, bytes: 0x1_0000 },
  cpuInterface: { gpa: 0x801_0000, bytes: 0x1_0000 },
  /** A GICv2's interfaces for hypervisors and their virtual machines. */
  hypervisorInterface: { gpa: 0x803_0000 },
  virtualInterface: { gpa: 0x804_0000 },
  msiFrame: { gpa: 0x802_0000, spi: 48, spis: 64 },
  its: { gpa: 0x808_0000, bytes: 0x2_0000 },
  redistributors: { gpa: 0x80a_0000, bytes: 0xf6_0000 },
  uart: { gpa: 0x900_0000, spi: 1 },
  rtc: { gpa: 0x901_0000, spi: 2 },
  fwCfg: { gpa: 0x902_0000 },
  gpio: { gpa: 0x903_0000, spi: 7, powerPin: 3 },
  /** What there is for secure state. */
  secureUart: { gpa: 0x904_0000, spi: 8 },
  secureGpio: { gpa: 0x90b_0000, spi: 0, powerOffPin: 0, resetPin: 1 },
  secureRam: { gpa: 0xe00_0000, bytes: 0x100_0000 },
  virtio: { gpa: 0xa00_0000, stride: 0x200, slots: 32, spi: 16 },
  pciMemory: { gpa: 0x1000_0000, bytes: 0x2eff_0000 },
  pciPorts: { gpa: 0x3eff_0000, bytes: 0x1_0000 },
  pciEcam: { gpa: 0x40_1000_0000, bytes: 0x1000_0000, buses: 256 },
  /** The same where nothing lies beyond 4 GiB, or a CPU's addresses have 32 bits. */
  pciLowEcam: { gpa: 0x3f00_0000, bytes: 0x100_0000, buses: 16 },
  /** Memory of 64 bits: above all RAM that a machine can have. */
  pciHighMemory: { gpa: 0x80_0000_0000, bytes: 0x80_0000_0000 },
  pci: { spi: 3 },
  ram: { gpa: 0x4000_0000 },
} as const;

/** Where the PCI Express host's parts lie. */
export function pciPlaces({ narrow, highmem }: { readonly narrow: boolean; readonly highmem: boolean }) {
  return {
    ecam: narrow || !highmem ? map.pciLowEcam : map.pciEcam,
    ports: map.pciPorts,
    memory: map.pciMemory,
    highMemory: highmem ? map.pciHighMemory : undefined,
  };
}
export type PciPlaces = ReturnType<typeof pciPlaces>;

/** Private interrupts of each CPU: outputs of its timers. */
export const timerInterrupts = {
  secure: 29,
  physical: 30,
  virtual: 27,
  hypervisor: 26,
  hypervisorVirtual: 28,
  performance: 23,
} as const;
/** Private too: a hypervisor's list registers want to be looked at. */
export const MAINTENANCE_INTERRUPT = 25;
/** Of the system counter, as QEMU's. */
export const COUNTER_HZ = 62_500_000;
export const COUNTER_PERIOD_NS = 16;
