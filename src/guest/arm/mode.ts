/**
 * The mode key: every bit of state that translated code assumes.
 *
 *   bits 0-1   exception level
 *   bit 2      floating point and SIMD are trapped (CPACR_EL1.FPEN)
 *   bits 3-8   FPCR: RMode (two bits), FZ, DN, FZ16, AHP
 *   bit 9      unprivileged loads and stores are ordinary ones: EL0, or UAO
 *   bit 10     DC ZVA is trapped (EL0 with SCTLR_EL1.DZE clear)
 *   bit 11     WFI is trapped (EL0 with SCTLR_EL1.nTWI clear)
 *   bit 12     illegal execution state (PSTATE.IL)
 */
import { fpcr, pstate, sctlr } from './state.js';

/** Translation contexts: EL0's pages, EL1's, and EL1's where PAN forbids it EL0's. */
export const mmuIndex = { el0: 0, el1: 1, el1Pan: 2 } as const;

export interface Mode {
  readonly el: number;
  readonly floatTrapped: boolean;
  readonly roundingMode: number;
  readonly flushToZero: boolean;
  readonly defaultNaN: boolean;
  readonly flushHalf: boolean;
  readonly alternativeHalf: boolean;
  readonly ordinaryUnprivileged: boolean;
  readonly zeroTrapped: boolean;
  readonly wfiTrapped: boolean;
  readonly illegalState: boolean;
}

export interface ModeState {
  readonly pstate: number;
  readonly sctlr: number;
  readonly cpacr: number;
  readonly fpcr: number;
}

export const elOf = (state: number): number => (state >> pstate.EL_SHIFT) & 3;

export function encodeMode(s: ModeState): number {
  const el = elOf(s.pstate);
  const user = el === 0;
  const enabled = (s.cpacr >> 20) & 3;
  const floatTrapped = enabled !== 3 && (user || enabled !== 1);
  const bit = (condition: boolean, place: number) => Number(condition) << place;
  return (
    el |
    bit(floatTrapped, 2) |
    (((s.fpcr >> fpcr.RMODE_SHIFT) & 3) << 3) |
    bit((s.fpcr & fpcr.FZ) !== 0, 5) |
    bit((s.fpcr & fpcr.DN) !== 0, 6) |
    bit((s.fpcr & fpcr.FZ16) !== 0, 7) |
    bit((s.fpcr & fpcr.AHP) !== 0, 8) |
    bit(user || (s.pstate & pstate.UAO) !== 0, 9) |
    bit(user && (s.sctlr & sctlr.DZE) === 0, 10) |
    bit(user && (s.sctlr & sctlr.nTWI) === 0, 11) |
    bit((s.pstate & pstate.IL) !== 0, 12)
  );
}

export function decodeMode(key: number): Mode {
  const bit = (place: number) => ((key >> place) & 1) !== 0;
  return {
    el: key & 3,
    floatTrapped: bit(2),
    roundingMode: (key >> 3) & 3,
    flushToZero: bit(5),
    defaultNaN: bit(6),
    flushHalf: bit(7),
    alternativeHalf: bit(8),
    ordinaryUnprivileged: bit(9),
    zeroTrapped: bit(10),
    wfiTrapped: bit(11),
    illegalState: bit(12),
  };
}

export function mmuOf(state: number): number {
  if (elOf(state) === 0) return mmuIndex.el0;
  return (state & pstate.PAN) === 0 ? mmuIndex.el1 : mmuIndex.el1Pan;
}
