/**
 * The AArch64 CPU's state in memory: where each register has its home. Arm Architecture Reference Manual (DDI 0487), B1.2
 * (registers), D1 (process state), D19 (system registers).
 */
import { type GuestVars, HEADER_BYTES, header, type TypeName, type Var } from '../../ir/index.js';

const vars: Var[] = [];
let offset = HEADER_BYTES;

function variable<const T extends TypeName>(name: string, type: T): Var<T> {
  const made = { id: vars.length, name, type, offset: take(type === 'v128' ? 16 : 8) };
  vars.push(made);
  return made;
}

/** Takes `bytes` of the state, aligned to 8. */
function take(bytes: number): number {
  const at = offset;
  offset += Math.ceil(bytes / 8) * 8;
  return at;
}

/** V0 to V31. */
export const vreg: readonly Var<'v128'>[] = Array.from({ length: 32 }, (_, n) => variable(`v${n}`, 'v128'));
/** X0 to X30. */
export const xreg: readonly Var<'i64'>[] = Array.from({ length: 31 }, (_, n) => variable(`x${n}`, 'i64'));
/** The stack pointer that is selected now; the others wait in `field.sp`. */
export const stackPointer = variable('sp', 'i64');
/** The flags: kind of the operation that they are of (flags.ts), and what it worked on. */
export const flagOp = variable('flagOp', 'i32');
export const flagA = variable('flagA', 'i64');
export const flagB = variable('flagB', 'i64');
export const flagC = variable('flagC', 'i64');

/** Values of the deferred variable. `conditional`: of a subtraction where C is negative, else C's low half. */
export const flagKind = {
  bits: 0,
  logic: 1,
  sub32: 2,
  sub64: 3,
  add32: 4,
  add64: 5,
  conditional32: 6,
  conditional64: 7,
} as const;

/** Breakpoints, of which so many know contexts, and watchpoints (ID_AA64DFR0_EL1). */
export const BREAKPOINTS = 6;
export const CONTEXT_BREAKPOINTS = 2;
export const WATCHPOINTS = 4;

/** Bytes of what each of EL1 to EL3 has: 16 registers. */
export const BANK_BYTES = 8 * 16;
/** Where a register of EL1's bank is at another exception level. */
export const ofLevel = (home: number, el: number): number => home + BANK_BYTES * (el - 1);

/** What was computed last by pointer authentication (routines/pac.ts): entries of five words. */
export const PAC_ENTRIES = 256;
export const PAC_ENTRY_BYTES = 40;

/** Plain fields: byte offsets into the state. i64 unless said otherwise. */
export const field = {
  pc: header.pc,
  /** i32: process state as an SPSR has it, without the flags (`pstate`). */
  pstate: take(4),
  /** i32: 1 while the CPU waits in WFI. */
  halted: take(4),
  /** i32: interrupt lines that devices hold up (`line`). */
  lines: take(4),
  /** i32. */
  fpcr: take(4),
  fpsr: take(4),
  /** SP_EL0 to SP_EL3, but for the one that is selected. */
  sp: take(8 * 4),
  /** From here on what each of EL1 to EL3 has, by EL1's names; the others' are BANK_BYTES on. `cpacr` of EL2 and EL3 is CPTR. */
  elr: take(8),
  spsr: take(8),
  esr: take(8),
  far: take(8),
  vbar: take(8),
  afsr0: take(8),
  afsr1: take(8),
  sctlr: take(8),
  cpacr: take(8),
  tcr: take(8),
  ttbr0: take(8),
  ttbr1: take(8),
  mair: take(8),
  amair: take(8),
  contextidr: take(8),
  tpidr1: take(8),
  upperBanks: take(2 * BANK_BYTES),
  par: take(8),
  csselr: take(8),
  tpidr0: take(8),
  tpidrro0: take(8),
  mdscr: take(8),
  mdccint: take(8),
  cntkctl: take(8),
  /** Control and compare value of each timer: physical, virtual, EL2's physical, EL2's virtual, EL3's. */
  timers: take(8 * 2 * 5),
  mpidr: take(8),
  /** EL2. */
  hcr: take(8),
  hpfar: take(8),
  vttbr: take(8),
  vtcr: take(8),
  vpidr: take(8),
  vmpidr: take(8),
  cnthctl: take(8),
  cntvoff: take(8),
  mdcr2: take(8),
  /** FEAT_RAS: DISR_EL1; EL2's VDISR_EL2, and VSESR_EL2, the syndrome of a virtual SError. */
  disr: take(8),
  vdisr: take(8),
  vsesr: take(8),
  hstr: take(8),
  /** EL3. */
  scr: take(8),
  mdcr3: take(8),
  /** HCR_EL2 as it works now: 0 where there is no EL2 (in secure state). */
  hcrNow: take(8),
  /** i32: bit 0 the CPU has EL2, bit 1 EL3. */
  levels: take(4),
  /** i32: rights that a guarded page has, or 0: without FEAT_BTI there are none. */
  guards: take(4),
  /** i32: translation regime of the exception level (system/regime.ts). */
  regime: take(4),
  /** i32: regimes that the translation contexts of EL0 and EL1, and that of EL2 and EL3, hold pages of; -1: of none. */
  lowerRegime: take(4),
  upperRegime: take(4),
  /** i32: exception level that the exception in header.trapCode goes to, 0: as its class says; and what stage 2 could not translate. */
  trapTo: take(4),
  faultIpa: take(8),
  /** Value and control of each breakpoint and of the watchpoint with its number. */
  debug: take(8 * 4 * BREAKPOINTS),
  /** i32: bit 0 the OS lock, bit 1 the OS double lock. */
  osLock: take(4),
  /** i32: what has been stepped (`stepped` of debug-exceptions.ts): PSTATE.SS counts no more. */
  stepped: take(4),
  /** What debug-exceptions.ts makes of those. i32 for each exception level: bits of the mode key; breakpoints; watchpoints of loads, then of stores. */
  debugOf: take(16),
  breakBits: take(16),
  watchBits: take(32),
  /** Where breakpoints are; first and last address of watchpoints. */
  breakAddress: take(8 * BREAKPOINTS),
  watchRange: take(16 * WATCHPOINTS),
  /** The exclusive monitor: address (-1: open) and what was found there. */
  monitor: take(8),
  monitorLow: take(8),
  monitorHigh: take(8),
  /** Where the last indirect branch went, plus the BTYPE that it left: PSTATE.BTYPE is that while the pc is there (system/branch-type.ts). */
  branched: take(8),
  /** First and last address that TLBI of a page answers by flushing all: where pages are large or addresses tagged. */
  widePages: take(16),
  /** i32: 1 where a global page of the lower half of the address space may be in the TLB. */
  lowGlobal: take(4),
  /** i32: somebody is told of every exception. */
  watched: take(4),
  /** i32: 1 while it waits for another CPU to start it. */
  stopped: take(4),
  /** i32: bits of the mode key that the board sets. */
  modeBits: take(4),
  /** i32: interrupts that are pending, in the places of PSTATE's masks. */
  pendingMasks: take(4),
  /** i32: syndrome, and i64: address of the exception that header.trapCode announces. */
  syndrome: take(4),
  faultAddress: take(8),
  /** Keys of pointer authentication: IA, IB, DA, DB, GA, each with its low half first. */
  keys: take(16 * 5),
  pacs: take(PAC_ENTRIES * PAC_ENTRY_BYTES),
  /**
   * Where codes lie in pointers (routines/pac.ts): i32, of which translation regime plus one this is; i32, where in the state its TCR
   * is, and what that was; for data and for instructions, i32: TBI of the two ranges; i64 each: bits that are no address in the lower and upper one.
   */
  pacRegime: take(4),
  pacControlAt: take(4),
  pacControl: take(8),
  pacTags: take(4 * 2),
  pacMasks: take(8 * 2 * 2),
  /** i32: those that SCTLR enables now, bit 0 IA, then IB, DA, DB; 1 if it says that BR to PACIASP or PACIBSP is no landing (BT0, BT1). */
  enabledKeys: take(4),
  strictLanding: take(4),
  /** i32: floating point and SIMD are trapped at the exception level, if not 0. In AArch32 bits in the places of the mode key. */
  floatTrapped: take(4),
  /** i64s of the performance monitors, by `place` in system/performance.ts. */
  performance: take(168),
} as const;

/** Bytes of the state, a multiple of 64. */
export const STATE_BYTES = Math.ceil(offset / 64) * 64;

export const armVars: GuestVars = { vars, deferred: flagOp, pcOffset: header.pc };

/**
 * header.trapCode: an exception whose syndrome is in the state, that returns to the instruction, or to the one behind it.
 * `branchTarget`: at the instruction, whose syndrome has PSTATE.BTYPE; `step`: a step has ended.
 */
export const trapCode = { here: 1, after: 2, branchTarget: 3, step: 4 } as const;

/** What a TLBI that all CPUs hear is about. */
export const flushed = { all: 0, space: 1, address: 2, guest: 3, range: 4 } as const;

/** header.leaveReason: what the CPU wants JavaScript to do. `call`: firmware may have stopped it. */
export const leaveReason = { wait: 0, pause: 1, call: 2 } as const;

/** Bits of PSTATE as an SPSR has them (C5.2.20). */
export const pstate = {
  /** EL in bits 2-3, SPSel in bit 0; bit 4: AArch32. */
  SPSEL: 1,
  AARCH32: 1 << 4,
  EL_SHIFT: 2,
  MODE: 0x1f,
  F: 1 << 6,
  I: 1 << 7,
  A: 1 << 8,
  D: 1 << 9,
  BTYPE_SHIFT: 10,
  BTYPE: 3 << 10,
  DAIF: 0x3c0,
  SSBS: 1 << 12,
  IL: 1 << 20,
  SS: 1 << 21,
  PAN: 1 << 22,
  UAO: 1 << 23,
  DIT: 1 << 24,
} as const;

/** Bits of SCTLR_EL1 that something depends on (D19.2.130). */
export const sctlr = {
  M: 1,
  UMA: 1 << 9,
  EnRCTX: 1 << 10,
  EnDB: 1 << 13,
  DZE: 1 << 14,
  UCT: 1 << 15,
  nTWI: 1 << 16,
  WXN: 1 << 19,
  SPAN: 1 << 23,
  UCI: 1 << 26,
  EnDA: 1 << 27,
  EnIB: 1 << 30,
  EnIA: 1 << 31,
} as const;

/** And of its upper half: PSTATE.SSBS as exceptions leave it; BR to PACIASP is no landing for EL0, and for the exception level itself. */
export const DSSBS = 1n << 44n;
export const BT0 = 1n << 35n;
export const BT1 = 1n << 36n;

/** Bits of FPCR (C5.2.8). */
export const fpcr = { FZ16: 1 << 19, RMODE_SHIFT: 22, FZ: 1 << 24, DN: 1 << 25, AHP: 1 << 26 } as const;

/** Bits of HCR_EL2 (D19.2.48). */
export const hcr = {
  VM: 1n << 0n,
  FMO: 1n << 3n,
  IMO: 1n << 4n,
  AMO: 1n << 5n,
  VF: 1n << 6n,
  VI: 1n << 7n,
  VSE: 1n << 8n,
  FB: 1n << 9n,
  DC: 1n << 12n,
  TWI: 1n << 13n,
  TWE: 1n << 14n,
  TID1: 1n << 16n,
  TID2: 1n << 17n,
  TID3: 1n << 18n,
  TSC: 1n << 19n,
  TIDCP: 1n << 20n,
  TACR: 1n << 21n,
  TSW: 1n << 22n,
  TPC: 1n << 23n,
  TPU: 1n << 24n,
  TTLB: 1n << 25n,
  TVM: 1n << 26n,
  TGE: 1n << 27n,
  TDZ: 1n << 28n,
  HCD: 1n << 29n,
  TRVM: 1n << 30n,
  RW: 1n << 31n,
  PTW: 1n << 2n,
  E2H: 1n << 34n,
  TLOR: 1n << 35n,
  TERR: 1n << 36n,
  TEA: 1n << 37n,
  APK: 1n << 40n,
  API: 1n << 41n,
  AT: 1n << 44n,
} as const;

/** Bits of SCR_EL3 (D19.2.117). */
export const scr = {
  NS: 1n << 0n,
  IRQ: 1n << 1n,
  FIQ: 1n << 2n,
  EA: 1n << 3n,
  SMD: 1n << 7n,
  HCE: 1n << 8n,
  RW: 1n << 10n,
  ST: 1n << 11n,
  TWI: 1n << 12n,
  TWE: 1n << 13n,
  TLOR: 1n << 14n,
  TERR: 1n << 15n,
  APK: 1n << 16n,
  API: 1n << 17n,
} as const;

/** Interrupt inputs of the CPU: physical ones, and those of a virtual machine. */
export const line = { irq: 1, fiq: 2, virtualIrq: 4, virtualFiq: 8 } as const;
/** A virtual SError, which no line but HCR_EL2.VSE brings: beside `line`. */
export const VIRTUAL_ERROR = 16;

/** Exception classes (ESR_ELx.EC, D19.2.37). */
export const exceptionClass = {
  unknown: 0x00,
  wfx: 0x01,
  floatingPoint: 0x07,
  pointerAuthentication: 0x09,
  branchTarget: 0x0d,
  illegalState: 0x0e,
  svc: 0x15,
  hvc: 0x16,
  smc: 0x17,
  system: 0x18,
  /** Aborts: from a lower exception level; from the same one is one more. */
  instructionAbort: 0x20,
  pcAlignment: 0x22,
  dataAbort: 0x24,
  serror: 0x2f,
  /** Debug exceptions: from a lower exception level; from the same one is one more. */
  breakpoint: 0x30,
  softwareStep: 0x32,
  watchpoint: 0x34,
  brk: 0x3c,
} as const;

/** Fault status codes of aborts; the level of a walk is added. */
export const fault = {
  addressSize: 0x00,
  translation: 0x04,
  accessFlag: 0x08,
  permission: 0x0c,
  /** An external abort, of the access itself. */
  bus: 0x10,
  external: 0x14,
  alignment: 0x21,
} as const;
/** Bits of a data abort's syndrome: a write; stage 2 of a walk of stage 1's tables; a cache maintenance instruction. */
export const abort = { WNR: 1 << 6, S1PTW: 1 << 7, CM: 1 << 8 } as const;

/** A syndrome: class, IL, and what the class says of the instruction. */
export const syndromeOf = (ec: number, iss = 0): number => (ec << 26) | (1 << 25) | iss;
