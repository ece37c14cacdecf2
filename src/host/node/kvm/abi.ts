/**
 * Linux's KVM interface, as far as it is the same on every architecture: linux/kvm.h, Documentation/virt/kvm/api.rst. Numbers of
 * calls, capabilities and exits, and where things lie in the page that a vCPU shares with its thread (`struct kvm_run`).
 */

const io = (number: number) => 0xae00 | number;
const sized = (direction: number) => (number: number, bytes: number) =>
  ((direction << 30) | (bytes << 16) | 0xae00 | number) >>> 0;
const iow = sized(1);
const ior = sized(2);
const iowr = sized(3);

export const API_VERSION = 12;

export const call = {
  getApiVersion: io(0x00),
  createVm: io(0x01),
  getMsrIndexList: iowr(0x02, 4),
  checkExtension: io(0x03),
  getVcpuMmapSize: io(0x04),
  getSupportedCpuid: iowr(0x05, 8),
  // Of a VM
  createVcpu: io(0x41),
  getDirtyLog: iow(0x42, 16),
  setUserMemoryRegion: iow(0x46, 32),
  setTssAddress: io(0x47),
  setIdentityMapAddress: iow(0x48, 8),
  createIrqchip: io(0x60),
  irqLine: iow(0x61, 8),
  getIrqchip: iowr(0x62, 520),
  setIrqchip: ior(0x63, 520),
  registerCoalescedMmio: iow(0x67, 16),
  irqfd: iow(0x76, 32),
  ioeventfd: iow(0x79, 64),
  setGsiRouting: iow(0x6a, 8),
  createPit2: iow(0x77, 64),
  getPit2: ior(0x9f, 112),
  setPit2: iow(0xa0, 112),
  enableCapability: iow(0xa3, 104),
  signalMsi: iow(0xa5, 32),
  setMsrFilter: iow(0xc6, 0x188),
  // Of a vCPU
  run: io(0x80),
  getRegs: ior(0x81, 144),
  setRegs: iow(0x82, 144),
  getSregs: ior(0x83, 312),
  setSregs: iow(0x84, 312),
  interrupt: iow(0x86, 4),
  getMsrs: iowr(0x88, 8),
  setMsrs: iow(0x89, 8),
  setSignalMask: iow(0x8b, 4),
  getFpu: ior(0x8c, 416),
  setFpu: iow(0x8d, 416),
  getLapic: ior(0x8e, 1024),
  setLapic: iow(0x8f, 1024),
  setCpuid2: iow(0x90, 8),
  getMpState: ior(0x98, 4),
  setMpState: iow(0x99, 4),
  nmi: io(0x9a),
  setGuestDebug: iow(0x9b, 72),
  getVcpuEvents: ior(0x9f, 64),
  setVcpuEvents: iow(0xa0, 64),
  getDebugRegs: ior(0xa1, 128),
  setDebugRegs: iow(0xa2, 128),
  setTscKhz: io(0xa2),
  getTscKhz: io(0xa3),
  getXsave: ior(0xa4, 4096),
  setXsave: iow(0xa5, 4096),
  getXcrs: ior(0xa6, 392),
  setXcrs: iow(0xa7, 392),
  setDeviceAttribute: iow(0xe1, 24),
  getDeviceAttribute: iow(0xe2, 24),
  hasDeviceAttribute: iow(0xe3, 24),
} as const;

/** Capabilities by name, as `vring doctor` lists them. */
export const capability = {
  IRQCHIP: 0,
  USER_MEMORY: 3,
  EXT_CPUID: 7,
  NR_VCPUS: 9,
  NR_MEMSLOTS: 10,
  MP_STATE: 14,
  COALESCED_MMIO: 15,
  SET_GUEST_DEBUG: 23,
  IRQ_ROUTING: 25,
  IRQFD: 32,
  PIT2: 33,
  PIT_STATE2: 35,
  IOEVENTFD: 36,
  VCPU_EVENTS: 41,
  DEBUGREGS: 50,
  XSAVE: 55,
  XCRS: 56,
  TSC_CONTROL: 60,
  GET_TSC_KHZ: 61,
  MAX_VCPUS: 66,
  TSC_DEADLINE_TIMER: 72,
  SIGNAL_MSI: 77,
  READONLY_MEM: 81,
  SPLIT_IRQCHIP: 121,
  IOEVENTFD_ANY_LENGTH: 122,
  X2APIC_API: 129,
  IMMEDIATE_EXIT: 136,
  COALESCED_PIO: 162,
  X86_USER_SPACE_MSR: 188,
  X86_MSR_FILTER: 189,
} as const;
export type CapabilityName = keyof typeof capability;

export const exit = {
  unknown: 0,
  exception: 1,
  io: 2,
  hypercall: 3,
  debug: 4,
  hlt: 5,
  mmio: 6,
  irqWindowOpen: 7,
  shutdown: 8,
  failEntry: 9,
  intr: 10,
  setTpr: 11,
  tprAccess: 12,
  nmi: 16,
  internalError: 17,
  systemEvent: 24,
  ioapicEoi: 26,
  x86Rdmsr: 29,
  x86Wrmsr: 30,
} as const;

/** Byte offsets in `struct kvm_run`; the union of the exits' data begins at 32. */
export const runPage = {
  requestInterruptWindow: 0,
  immediateExit: 1,
  exitReason: 8,
  readyForInterruptInjection: 12,
  ifFlag: 13,
  cr8: 16,
  apicBase: 24,
  ioDirection: 32,
  ioSize: 33,
  ioPort: 34,
  ioCount: 36,
  ioDataOffset: 40,
  mmioAddress: 32,
  mmioData: 40,
  mmioLength: 48,
  mmioIsWrite: 52,
  msrError: 32,
  msrReason: 40,
  msrIndex: 44,
  msrData: 48,
  debugException: 32,
  debugPc: 40,
  debugDr6: 48,
  failReason: 32,
  internalSuberror: 32,
  internalDataCount: 36,
  internalData: 40,
  eoiVector: 32,
  systemEventType: 32,
} as const;

export const slotFlag = { logDirty: 1, readonly: 2 } as const;
/** Types of entries of the routing table of interrupts. */
export const routing = { entryBytes: 48, irqchip: 1, msi: 2 } as const;
/** Interrupt controllers in the kernel by the numbers that KVM gives them. */
export const irqchip = { picMaster: 0, picSlave: 1, ioapic: 2 } as const;
export const debugControl = { enable: 1, singleStep: 2, hardwareBreakpoints: 0x20000 } as const;
