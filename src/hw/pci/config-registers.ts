/** Offsets and bits of the type 0 configuration header (PCI Local Bus 3.0, chapter 6). */
export const reg = {
  vendorId: 0x00,
  deviceId: 0x02,
  command: 0x04,
  status: 0x06,
  revision: 0x08,
  classCode: 0x09,
  cacheLineSize: 0x0c,
  latencyTimer: 0x0d,
  headerType: 0x0e,
  bar0: 0x10,
  subsystemVendorId: 0x2c,
  subsystemId: 0x2e,
  rom: 0x30,
  capabilities: 0x34,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
} as const;

/** What a type 1 header has in place of BARs 2 to 5 and what follows (PCI-to-PCI Bridge 1.2, 3.2). */
export const bridgeReg = {
  primary: 0x18,
  secondary: 0x19,
  subordinate: 0x1a,
  ioBase: 0x1c,
  secondaryStatus: 0x1e,
  memoryBase: 0x20,
  memoryLimit: 0x22,
  prefetchableBase: 0x24,
  prefetchableHighBase: 0x28,
  control: 0x3e,
} as const;

export const command = {
  io: 0x0001,
  memory: 0x0002,
  busMaster: 0x0004,
  parity: 0x0040,
  serr: 0x0100,
  intxDisable: 0x0400,
} as const;

export const status = { intx: 0x0008, capabilities: 0x0010 } as const;

export const capabilityId = { powerManagement: 0x01, msi: 0x05, vendor: 0x09, express: 0x10, msix: 0x11 } as const;

export const multiFunction = 0x80;
export const configSize = 256;
