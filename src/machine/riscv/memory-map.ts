/** Where things lie on the board `virt`, and their interrupts at the PLIC or APLIC: as on QEMU's. */
export const map = {
  rom: { gpa: 0x1000, bytes: 0xf000 },
  test: { gpa: 0x10_0000 },
  rtc: { gpa: 0x10_1000, irq: 11 },
  clint: { gpa: 0x200_0000 },
  pciPorts: { gpa: 0x300_0000, bytes: 0x1_0000 },
  plic: { gpa: 0xc00_0000 },
  /** In the PLIC's place: the domain of M-mode and its child. */
  aplicM: { gpa: 0xc00_0000 },
  aplicS: { gpa: 0xd00_0000 },
  uart: { gpa: 0x1000_0000, irq: 10 },
  virtio: { gpa: 0x1000_1000, stride: 0x1000, irq: 1, slots: 8 },
  fwCfg: { gpa: 0x1010_0000 },
  flash: { gpa: 0x2000_0000, banks: 2, bytes: 0x200_0000 },
  /** A page for each hart. */
  imsicM: { gpa: 0x2400_0000 },
  imsicS: { gpa: 0x2800_0000 },
  pciEcam: { gpa: 0x3000_0000, bytes: 0x1000_0000, buses: 256 },
  pciMemory: { gpa: 0x4000_0000, bytes: 0x4000_0000, irq: 32 },
  /** Memory of 64 bits: above all RAM that a machine can have. */
  pciHighMemory: { gpa: 0x4_0000_0000, bytes: 0x4_0000_0000 },
  ram: { gpa: 0x8000_0000 },
} as const;
