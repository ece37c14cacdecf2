/**
 * The mode key: every bit of state that translated code assumes, but for the instruction set, which is in the pc.
 *
 *   bits 0-7   ITSTATE (A2.5.2)
 *   bit 8      the condition of the first instruction in the IT block has been found to hold
 *   bit 9      User mode
 *   bit 10     User or System mode: there is no SPSR
 *   bit 11     in User mode: floating point and Advanced SIMD are off (CPACR), bit 12: FPEXC.EN is clear,
 *   bit 13     Advanced SIMD is off (CPACR.ASEDIS). In other modes, where a kernel hardly uses them and changes FPEXC.EN from process to
 *              process, these bits are in field.floatTrapped alone, and code looks there
 *   bits 14-18 FPSCR: RMode (two bits), FZ, DN, AHP
 *   bit 19     every access must be aligned (SCTLR.A)
 *   bit 20     SWP is undefined (SCTLR.SW is clear)
 *   bit 21     CPSR.E: data are big-endian, which is not supported; all instructions are undefined
 *   bit 22     FIQ mode, which has its own R8 to R12
 *   bits 23-24 which of the values of DACR in use is the current one: unprivileged accesses name their context
 *   bit 25     FPSCR.FZ16
 *   bit 26     there are more CPUs, which take turns with this one in one thread
 *   bit 27     a debugger hears of data accesses: each instruction is a block
 */
import { fpcr } from '../arm/state.js';
import { cpsr, cpuMode, FPEXC_EN, sctlr } from './state.js';

/** Translation contexts: unprivileged and privileged, for each value of DACR in use. */
export const mmuIndex = { user: 0, privileged: 1, perDacr: 2 } as const;

export const IT_BITS = 0xff;
export const PASSED = 1 << 8;
export const IT_KEY = IT_BITS | PASSED;

/** Places of what changes with CPSR and DACR. */
export const modeBit = {
  user: 9,
  noSpsr: 10,
  floatDenied: 11,
  floatDisabled: 12,
  simdDisabled: 13,
  bigEndian: 21,
  fiq: 22,
  dacrSlot: 23,
} as const;

export interface Mode {
  readonly it: number;
  readonly passed: boolean;
  readonly user: boolean;
  readonly noSpsr: boolean;
  readonly floatDenied: boolean;
  readonly floatDisabled: boolean;
  readonly simdDisabled: boolean;
  readonly roundingMode: number;
  readonly flushToZero: boolean;
  readonly defaultNaN: boolean;
  readonly flushHalf: boolean;
  readonly alternativeHalf: boolean;
  readonly alignmentChecked: boolean;
  readonly swapUndefined: boolean;
  readonly bigEndian: boolean;
  readonly fiq: boolean;
  readonly dacrSlot: number;
  readonly shared: boolean;
  readonly watched: boolean;
}

export interface ModeState {
  readonly it: number;
  readonly cpsr: number;
  readonly sctlr: number;
  readonly cpacr: number;
  readonly fpexc: number;
  readonly fpcr: number;
  readonly dacrSlot: number;
  readonly shared: boolean;
  readonly watched: boolean;
}

const bit = (condition: boolean, place: number): number => Number(condition) << place;

/** Which of them are off: field.floatTrapped. */
export function floatBits(s: ModeState): number {
  const access = (s.cpacr >> 20) & 3;
  const denied = access !== 3 && ((s.cpsr & cpsr.M) === cpuMode.user || access !== 1);
  return (
    bit(denied, modeBit.floatDenied) |
    bit((s.fpexc & FPEXC_EN) === 0, modeBit.floatDisabled) |
    bit(s.cpacr >>> 31 !== 0, modeBit.simdDisabled)
  );
}
export const FLOAT_BITS = (1 << modeBit.floatDenied) | (1 << modeBit.floatDisabled) | (1 << modeBit.simdDisabled);

export function encodeMode(s: ModeState): number {
  const mode = s.cpsr & cpsr.M;
  const user = mode === cpuMode.user;
  return (
    s.it |
    bit(user, modeBit.user) |
    bit(user || mode === cpuMode.system, modeBit.noSpsr) |
    (user ? floatBits(s) : 0) |
    (((s.fpcr >> fpcr.RMODE_SHIFT) & 3) << 14) |
    bit((s.fpcr & fpcr.FZ) !== 0, 16) |
    bit((s.fpcr & fpcr.DN) !== 0, 17) |
    bit((s.fpcr & fpcr.AHP) !== 0, 18) |
    bit((s.sctlr & sctlr.A) !== 0, 19) |
    bit((s.sctlr & sctlr.SW) === 0, 20) |
    bit((s.cpsr & cpsr.E) !== 0, modeBit.bigEndian) |
    bit(mode === cpuMode.fiq, modeBit.fiq) |
    (s.dacrSlot << modeBit.dacrSlot) |
    bit((s.fpcr & fpcr.FZ16) !== 0, 25) |
    bit(s.shared, 26) |
    bit(s.watched, 27)
  );
}

export function decodeMode(key: number): Mode {
  const bit = (place: number) => ((key >> place) & 1) !== 0;
  return {
    it: key & IT_BITS,
    passed: bit(8),
    user: bit(modeBit.user),
    noSpsr: bit(modeBit.noSpsr),
    floatDenied: bit(modeBit.floatDenied),
    floatDisabled: bit(modeBit.floatDisabled),
    simdDisabled: bit(modeBit.simdDisabled),
    roundingMode: (key >> 14) & 3,
    flushToZero: bit(16),
    defaultNaN: bit(17),
    flushHalf: bit(25),
    alternativeHalf: bit(18),
    alignmentChecked: bit(19),
    swapUndefined: bit(20),
    bigEndian: bit(modeBit.bigEndian),
    fiq: bit(modeBit.fiq),
    dacrSlot: (key >> modeBit.dacrSlot) & 3,
    shared: bit(26),
    watched: bit(27),
  };
}

/** ITSTATE behind an instruction of the block. */
export const advanceIt = (it: number): number => ((it & 7) === 0 ? 0 : (it & 0xe0) | ((it << 1) & 0x1f));
