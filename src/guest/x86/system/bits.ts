/** Bits of the system registers. Intel SDM vol. 3, 2.3 (EFLAGS), 2.5 (CR0-CR4), 2.2.1 (EFER), 17.2 (DR6, DR7), 3.4.5 (descriptors). */

export const eflag = {
  CF: 1 << 0,
  PF: 1 << 2,
  AF: 1 << 4,
  ZF: 1 << 6,
  SF: 1 << 7,
  TF: 1 << 8,
  IF: 1 << 9,
  DF: 1 << 10,
  OF: 1 << 11,
  IOPL: 3 << 12,
  NT: 1 << 14,
  RF: 1 << 16,
  VM: 1 << 17,
  AC: 1 << 18,
  VIF: 1 << 19,
  VIP: 1 << 20,
  ID: 1 << 21,
} as const;

/** The six status flags, which the state keeps lazily and not in field.eflags. */
export const STATUS_FLAGS = eflag.CF | eflag.PF | eflag.AF | eflag.ZF | eflag.SF | eflag.OF;
export const IOPL_SHIFT = 12;

export const cr0 = {
  PE: 1 << 0,
  MP: 1 << 1,
  EM: 1 << 2,
  TS: 1 << 3,
  ET: 1 << 4,
  NE: 1 << 5,
  WP: 1 << 16,
  AM: 1 << 18,
  NW: 1 << 29,
  CD: 1 << 30,
  PG: 1 << 31,
} as const;

export const cr4 = {
  VME: 1 << 0,
  PVI: 1 << 1,
  TSD: 1 << 2,
  DE: 1 << 3,
  PSE: 1 << 4,
  PAE: 1 << 5,
  MCE: 1 << 6,
  PGE: 1 << 7,
  PCE: 1 << 8,
  OSFXSR: 1 << 9,
  OSXMMEXCPT: 1 << 10,
  UMIP: 1 << 11,
  LA57: 1 << 12,
  FSGSBASE: 1 << 16,
  PCIDE: 1 << 17,
  OSXSAVE: 1 << 18,
  SMEP: 1 << 20,
  SMAP: 1 << 21,
} as const;

export const efer = {
  SCE: 1 << 0,
  LME: 1 << 8,
  LMA: 1 << 10,
  NXE: 1 << 11,
  FFXSR: 1 << 14,
} as const;

/** Bits of a descriptor's second word (and of field.attributes). */
export const descriptor = {
  accessed: 1 << 8,
  /** Data: writable. Code: readable. */
  writable: 1 << 9,
  readable: 1 << 9,
  /** Data: expand-down. Code: conforming. */
  expandDown: 1 << 10,
  conforming: 1 << 10,
  code: 1 << 11,
  /** S: code or data, not a system segment. */
  notSystem: 1 << 12,
  DPL: 3 << 13,
  present: 1 << 15,
  long: 1 << 21,
  /** D/B. */
  big: 1 << 22,
  granular: 1 << 23,
  typeShift: 8,
  dplShift: 13,
} as const;

/** System descriptor types, bits 8-11 of the second word with S=0. */
export const systemType = {
  tss16: 1,
  ldt: 2,
  busyTss16: 3,
  callGate16: 4,
  taskGate: 5,
  interruptGate16: 6,
  trapGate16: 7,
  tss32: 9,
  busyTss32: 11,
  callGate32: 12,
  interruptGate32: 14,
  trapGate32: 15,
} as const;

/** Exception vectors, Intel SDM vol. 3 table 6-1. */
export const vector = {
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  BR: 5,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  MC: 18,
  XM: 19,
} as const;

export const dr6 = { BD: 1 << 13, BS: 1 << 14, BT: 1 << 15, fixed: 0xffff0ff0 | 0 } as const;
export const dr7 = { GD: 1 << 13, fixed: 0x400 } as const;

/** Segment registers by encoding. */
export const seg = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5 } as const;
