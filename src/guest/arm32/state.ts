/**
 * The CPU's state in AArch32: where each register has its home. Arm Architecture Reference Manual, Armv7-A and R (DDI 0406), B1.3
 * (modes, registers, CPSR), B3.18 (system registers).
 *
 * It is AArch64's state (../arm/state.ts) and what AArch32 has beside it: R0 to R14 of the current mode lie in X0 to X14, zero-extended;
 * D0 to D31 in V0 to V15; CPSR's mode and masks in PSTATE.
 *
 * header.pc holds more than the address. Bit 0 is set in Thumb state, so that whatever compares addresses compares the instruction set
 * too. In ARM state bit 1 is set where an instruction is executed whose condition has been found to hold (block-translator.ts).
 */
import { MMU_CONTEXTS } from '../../ir/index.js';
import {
  STATE_BYTES as AARCH64_BYTES,
  field as armField,
  armVars,
  flagA,
  flagB,
  flagC,
  flagOp,
  leaveReason,
  vreg,
  xreg,
} from '../arm/state.js';

export { armVars, flagA, flagB, flagC, flagOp, leaveReason, vreg };
/** R0 to R14. */
export const reg = xreg.slice(0, 15);

let offset = AARCH64_BYTES;
/** Takes `bytes` of the state, aligned to 4. */
function take(bytes: number): number {
  const at = offset;
  offset += Math.ceil(bytes / 4) * 4;
  return at;
}

function take8(): number {
  offset = Math.ceil(offset / 8) * 8;
  return take(8);
}

/** Banks of registers: of User and System mode, and of each mode with exceptions. */
export const bank = { user: 0, fiq: 1, irq: 2, supervisor: 3, abort: 4, undefined: 5 } as const;
export const BANKS = 6;

/** Values of DACR that have translation contexts. */
export const DACR_SLOTS = MMU_CONTEXTS / 2;

/** Plain fields: byte offsets into the state, i32 unless said otherwise. */
export const field = {
  ...armField,
  /** CPSR.Q in bit 27, CPSR.GE in bits 19-16. */
  q: take(4),
  ge: take(4),
  /** FPSCR.NZCV in bits 31-28. */
  fpscrFlags: take(4),
  fpexc: take(4),
  /** R13, R14 and SPSR of each bank, but for R13 and R14 of the current one; SPSR of `user` is none. */
  banked13: take(4 * BANKS),
  banked14: take(4 * BANKS),
  banked15: take(4 * BANKS),
  /** R8 to R12 of FIQ mode, and of the others, whichever is not the current one. */
  high: take(4 * 5 * 2),
  sctlr: take(4),
  actlr: take(4),
  cpacr: take(4),
  ttbcr: take(4),
  /** i64. */
  ttbr0: take8(),
  ttbr1: take8(),
  par: take8(),
  /** DACR: the values in use, of which the mode key says which is the current one; that one. */
  dacrs: take(4 * DACR_SLOTS),
  dacrSlot: take(4),
  dacr: take(4),
  dfsr: take(4),
  ifsr: take(4),
  adfsr: take(4),
  aifsr: take(4),
  dfar: take(4),
  ifar: take(4),
  prrr: take(4),
  nmrr: take(4),
  amair0: take(4),
  amair1: take(4),
  vbar: take(4),
  contextidr: take(4),
  tpidrurw: take(4),
  tpidruro: take(4),
  tpidrprw: take(4),
  csselr: take(4),
  cntkctl: take(4),
  mpidr: take(4),
  pmuserenr: take(4),
  midr: take(4),
} as const;

/** Bytes of the state, a multiple of 64. */
export const STATE_BYTES = Math.ceil(offset / 64) * 64;

/** Offsets of the vectors (B1.8.1). */
export const vector = { undefined: 4, svc: 8, prefetchAbort: 0xc, dataAbort: 0x10, irq: 0x18, fiq: 0x1c } as const;

/** Modes (CPSR.M). */
export const cpuMode = {
  user: 0x10,
  fiq: 0x11,
  irq: 0x12,
  supervisor: 0x13,
  abort: 0x17,
  undefined: 0x1b,
  system: 0x1f,
} as const;

/** The bank of each mode's registers. */
export const bankOfMode: Readonly<Partial<Record<number, number>>> = {
  [cpuMode.user]: bank.user,
  [cpuMode.system]: bank.user,
  [cpuMode.fiq]: bank.fiq,
  [cpuMode.irq]: bank.irq,
  [cpuMode.supervisor]: bank.supervisor,
  [cpuMode.abort]: bank.abort,
  [cpuMode.undefined]: bank.undefined,
};

/** Bits of CPSR (B1.3.3). */
export const cpsr = {
  M: 0x1f,
  T: 1 << 5,
  F: 1 << 6,
  I: 1 << 7,
  A: 1 << 8,
  E: 1 << 9,
  IT: 0x0600fc00,
  GE: 0xf << 16,
  J: 1 << 24,
  Q: 1 << 27,
  FLAGS: 0xf0000000 | 0,
} as const;

/** What an SPSR and CPSR hold beside the flags, in field.pstate. */
export const CONTROL = cpsr.M | cpsr.F | cpsr.I | cpsr.A | cpsr.E;

/** Bits of SCTLR that something depends on (B4.1.130). */
export const sctlr = {
  M: 1,
  A: 1 << 1,
  SW: 1 << 10,
  V: 1 << 13,
  UWXN: 1 << 20,
  WXN: 1 << 19,
  EE: 1 << 25,
  TRE: 1 << 28,
  AFE: 1 << 29,
  TE: 1 << 30,
} as const;

/** TTBCR.EAE: translation with long descriptors. */
export const EAE = 1 << 31;
/** Fault status codes of the long form; the level is added. */
export const fault = { translation: 0x04, accessFlag: 0x08, permission: 0x0c, domain: 0x3c } as const;
/** Rights that a walk gives, as the engine has them. */
export const prot = { read: 1, write: 2, exec: 4, all: 7, global: 8 } as const;

/** Bits of FPSCR (A2.5.3) but for the flags: modes lie where FPCR has them, cumulative bits where FPSR has them. */
export const fpscr = { MODES: 0x07c00000, STATUS: 0x0800009f, FLAGS: 0xf0000000 | 0 } as const;
export const FPEXC_EN = 1 << 30;

/** What exception field.syndrome is of, in its low byte. Aborts: a fault status of the long form in bits 8-13, WnR in bit 19. */
export const exception = { undefined: 1, svc: 2, prefetchAbort: 3, dataAbort: 4, hvc: 5, smc: 6 } as const;
export const STATUS_SHIFT = 8;
export const WNR = 1 << 19;

/**
 * header.trapCode: an exception whose syndrome is in the state and that returns to the instruction, or to the one behind it; an access
 * that is not aligned as it must be, its address in field.faultAddress.
 */
export const trapCode = { here: 1, after: 2, unalignedLoad: 3, unalignedStore: 4 } as const;

/** A system register's code: coprocessor, CRn, op1, CRm, op2; one of 64 bits has `WIDE` set and no CRn and op2. */
export const codeOf = (cp: number, crn: number, op1: number, crm: number, op2: number): number =>
  (cp << 16) | (crn << 12) | (op1 << 8) | (crm << 4) | op2;
export const WIDE = 1 << 20;
export const wideCode = (cp: number, op1: number, crm: number): number => WIDE | codeOf(cp, 0, op1, crm, 0);
/** Codes of what is no system register, but is read and written by JavaScript as one. Banked registers' follow by number. */
export const special = {
  /** FPSCR, and FPEXC, of which the mode depends. */
  fpscr: 1 << 21,
  fpexc: (1 << 21) | 1,
  /** Plus SYSm of MRS and MSR (banked register), plus 32 for an SPSR. */
  banked: (1 << 21) | 64,
} as const;
