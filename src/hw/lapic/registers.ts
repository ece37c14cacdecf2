/** The local APIC's registers (Intel SDM vol. 3, tables 11-1 and 11-6): one row each, by index (MMIO offset / 16). */

export interface ApicRegister {
  readonly index: number;
  readonly count?: number;
  readonly access: 'ro' | 'rw' | 'wo';
  /** Bits that software may set; others are reserved (dropped in xAPIC mode, #GP in x2APIC mode). */
  readonly writable?: number;
  /** Read-only bits that software may write back as it found them. */
  readonly ignored?: number;
  /** In which of the two modes it exists; both unless given. */
  readonly only?: 'xapic' | 'x2apic';
  readonly meaning: string;
}

export const APIC_REGISTERS = {
  ID: { index: 0x02, access: 'ro', meaning: 'APIC ID' },
  VERSION: { index: 0x03, access: 'ro', meaning: 'version and number of LVT entries' },
  TPR: { index: 0x08, access: 'rw', writable: 0xff, meaning: 'task priority' },
  APR: { index: 0x09, access: 'ro', only: 'xapic', meaning: 'arbitration priority' },
  PPR: { index: 0x0a, access: 'ro', meaning: 'processor priority' },
  EOI: { index: 0x0b, access: 'wo', writable: 0, meaning: 'end of interrupt' },
  RRD: { index: 0x0c, access: 'ro', only: 'xapic', meaning: 'remote read' },
  LDR: { index: 0x0d, access: 'rw', writable: 0xff000000, meaning: 'logical destination; read-only in x2APIC mode' },
  DFR: { index: 0x0e, access: 'rw', writable: 0xf0000000, only: 'xapic', meaning: 'destination format' },
  SVR: { index: 0x0f, access: 'rw', writable: 0x3ff, meaning: 'spurious vector, software enable' },
  ISR: { index: 0x10, count: 8, access: 'ro', meaning: 'in service' },
  TMR: { index: 0x18, count: 8, access: 'ro', meaning: 'trigger mode' },
  IRR: { index: 0x20, count: 8, access: 'ro', meaning: 'requests' },
  ESR: { index: 0x28, access: 'rw', writable: 0, meaning: 'error status' },
  ICR: { index: 0x30, access: 'rw', writable: 0xccfff, ignored: 0x1000, meaning: 'interrupt command, low half' },
  ICR_HIGH: {
    index: 0x31,
    access: 'rw',
    writable: 0xff000000,
    only: 'xapic',
    meaning: 'interrupt command, destination',
  },
  LVT_TIMER: { index: 0x32, access: 'rw', writable: 0x700ff, ignored: 0x1000, meaning: 'local vector: timer' },
  LVT_THERMAL: {
    index: 0x33,
    access: 'rw',
    writable: 0x107ff,
    ignored: 0x1000,
    meaning: 'local vector: thermal sensor',
  },
  LVT_PERFORMANCE: {
    index: 0x34,
    access: 'rw',
    writable: 0x107ff,
    ignored: 0x1000,
    meaning: 'local vector: performance counters',
  },
  LVT_LINT0: { index: 0x35, access: 'rw', writable: 0x1a7ff, ignored: 0x5000, meaning: 'local vector: LINT0 pin' },
  LVT_LINT1: { index: 0x36, access: 'rw', writable: 0x1a7ff, ignored: 0x5000, meaning: 'local vector: LINT1 pin' },
  LVT_ERROR: { index: 0x37, access: 'rw', writable: 0x100ff, ignored: 0x1000, meaning: 'local vector: errors' },
  INITIAL_COUNT: { index: 0x38, access: 'rw', writable: 0xffffffff, meaning: 'timer: initial count' },
  CURRENT_COUNT: { index: 0x39, access: 'ro', meaning: 'timer: current count' },
  DIVIDE: { index: 0x3e, access: 'rw', writable: 0x0b, meaning: 'timer: divide configuration' },
  SELF_IPI: { index: 0x3f, access: 'wo', writable: 0xff, only: 'x2apic', meaning: 'interrupt to oneself' },
} as const satisfies Record<string, ApicRegister>;

/** The row that each index 0x00-0x3f belongs to. */
export const ROW_AT: readonly (ApicRegister | undefined)[] = (() => {
  const rows = new Array<ApicRegister | undefined>(0x40).fill(undefined);
  for (const row of Object.values<ApicRegister>(APIC_REGISTERS)) {
    for (let i = 0; i < (row.count ?? 1); i++) rows[row.index + i] = row;
  }
  return rows;
})();
