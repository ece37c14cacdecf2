/**
 * The RISC-V hart's state in memory: where each register has its home. Unprivileged specification 2.1 and 21.2 (registers),
 * privileged specification ch. 2 (CSRs), version 20240411.
 */
import { type GuestVars, HEADER_BYTES, header, type TypeName, type Var } from '../../ir/index.js';

const vars: Var[] = [];
let offset = HEADER_BYTES;

function variable<const T extends TypeName>(name: string, type: T): Var<T> {
  const made = { id: vars.length, name, type, offset: take(8) };
  vars.push(made);
  return made;
}

/** Takes `bytes` of the state, aligned to 8. */
function take(bytes: number): number {
  const at = offset;
  offset += Math.ceil(bytes / 8) * 8;
  return at;
}

/** The calling convention's names, as disassemblers print them. */
export const integerNames =
  'zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6'.split(' ');
export const floatNames =
  'ft0 ft1 ft2 ft3 ft4 ft5 ft6 ft7 fs0 fs1 fa0 fa1 fa2 fa3 fa4 fa5 fa6 fa7 fs2 fs3 fs4 fs5 fs6 fs7 fs8 fs9 fs10 fs11 ft8 ft9 ft10 ft11'.split(
    ' ',
  );

/** x0 to x31. x0's home stays 0: translated code neither reads nor writes it. */
export const xreg: readonly Var<'i64'>[] = integerNames.map((name) => variable(name, 'i64'));
/** f0 to f31 as bits: a single is NaN-boxed. */
export const freg: readonly Var<'i64'>[] = floatNames.map((name) => variable(name, 'i64'));
/** RISC-V has no flags to defer: the engine's deferred variable stays 0. */
const deferred = variable('deferred', 'i32');

export const PMP_ENTRIES = 16;
/** Bytes of the longest vector registers that a model may have. */
export const MAX_VLENB = 128;

/** Plain fields: byte offsets into the state. i64 unless said otherwise. */
export const field = {
  pc: header.pc,
  /** i32: privilege mode, 0 U, 1 S, 3 M. */
  privilege: take(4),
  /** i32 each: accrued exceptions (fflags) and rounding mode (frm). */
  fflags: take(4),
  frm: take(4),
  /** i32: 1 while the hart waits in WFI, or to be started. */
  halted: take(4),
  /** i32: 1 until somebody starts the hart: no interrupt wakes it. */
  stopped: take(4),
  /** i32: bits of the mode key that neither privilege nor mstatus nor frm tell (mode.ts). */
  modeBits: take(4),
  /** mhartid. */
  hartId: take(8),
  mstatus: take(8),
  medeleg: take(8),
  mideleg: take(8),
  mie: take(8),
  /** The bits of mip that software writes; `lines` are those that devices hold up. */
  mip: take(8),
  lines: take(8),
  mtvec: take(8),
  mcounteren: take(8),
  mcountinhibit: take(8),
  mscratch: take(8),
  mepc: take(8),
  mcause: take(8),
  mtval: take(8),
  menvcfg: take(8),
  stvec: take(8),
  scounteren: take(8),
  sscratch: take(8),
  sepc: take(8),
  scause: take(8),
  stval: take(8),
  senvcfg: take(8),
  satp: take(8),
  stimecmp: take(8),
  /** What is added to the clock to give mcycle and minstret. */
  cycleOffset: take(8),
  instretOffset: take(8),
  /** What the fault that header.trapCode names puts into mtval or stval. */
  trapValue: take(8),
  /** i64: what of sstatus software may write. */
  sstatusWritable: take(8),
  /** i32 each, of vectors: bytes of a register; vl; its largest value by vtype; vstart; vtype's low bits, vill being bit 31; vxrm; vxsat. */
  vlenb: take(4),
  vl: take(4),
  vlmax: take(4),
  vstart: take(4),
  vtype: take(4),
  vxrm: take(4),
  vxsat: take(4),
  /** i32: a load of the kind that only its first element faults (vleNff) is behind that one. */
  firstOnly: take(4),
  /** v0 to v31, each of vlenb bytes, one behind the other. */
  vectors: take(32 * MAX_VLENB),
  /** The reservation of LR: its address, or -1; and what was loaded. */
  reservation: take(8),
  reservedValue: take(8),
  /** pmpcfg by bytes; pmpaddr; then the ranges they make, first and last byte (first > last: none); i32: entries to look at. */
  pmpConfig: take(PMP_ENTRIES),
  pmpAddress: take(8 * PMP_ENTRIES),
  pmpRange: take(16 * PMP_ENTRIES),
  pmpCount: take(4),
  /** Lowest and highest address seen in large user pages, then in large supervisor pages, since the last TLB flush. */
  largePages: take(8 * 4),
  /** i32: somebody is told of every trap. */
  watchedTraps: take(4),
  /** i32: the effective mode of M-mode's loads and stores, as what the TLB holds for them was made (mode.ts, `dataContext`). */
  dataContext: take(4),
  /** What mireg and sireg stand for. */
  miselect: take(8),
  siselect: take(8),
  /** A byte for each of 64 interrupts: iprio of M-mode, and of S-mode. */
  machinePriorities: take(64),
  supervisorPriorities: take(64),
} as const;

/** Bytes of the state, a multiple of 64. */
export const STATE_BYTES = Math.ceil(offset / 64) * 64;

export const riscvVars: GuestVars = { vars, deferred, pcOffset: header.pc };

/** header.trapCode of an exception: its cause, and a bit so that cause 0 is not "none". */
export const trapCode = (cause: number): number => cause | TRAP;
const TRAP = 0x100;

/** Exception causes (privileged specification table 14). */
export const cause = {
  instructionMisaligned: 0,
  instructionAccess: 1,
  illegalInstruction: 2,
  breakpoint: 3,
  loadMisaligned: 4,
  loadAccess: 5,
  storeMisaligned: 6,
  storeAccess: 7,
  ecallU: 8,
  ecallS: 9,
  ecallM: 11,
  instructionPage: 12,
  loadPage: 13,
  storePage: 15,
} as const;

/** Bit numbers of mip and mie. */
export const irq = { SSI: 1, MSI: 3, STI: 5, MTI: 7, SEI: 9, MEI: 11 } as const;

/** header.leaveReason: what the hart wants JavaScript to do. */
export const leaveReason = { wait: 0, pause: 1 } as const;

export const privilege = { U: 0, S: 1, M: 3 } as const;

/** Bits of mstatus. */
export const mstatus = {
  SIE: 1n << 1n,
  MIE: 1n << 3n,
  SPIE: 1n << 5n,
  MPIE: 1n << 7n,
  SPP: 1n << 8n,
  VS: 3n << 9n,
  MPP: 3n << 11n,
  FS: 3n << 13n,
  MPRV: 1n << 17n,
  SUM: 1n << 18n,
  MXR: 1n << 19n,
  TVM: 1n << 20n,
  TW: 1n << 21n,
  TSR: 1n << 22n,
  UXL: 2n << 32n,
  SXL: 2n << 34n,
  SD: 1n << 63n,
} as const;

/** Bits of menvcfg and senvcfg. */
export const envcfg = {
  FIOM: 1n,
  CBIE: 3n << 4n,
  CBCFE: 1n << 6n,
  CBZE: 1n << 7n,
  ADUE: 1n << 61n,
  STCE: 1n << 63n,
} as const;

/** What Zicbom and Zicboz work on. */
export const CACHE_BLOCK_BYTES = 64;
