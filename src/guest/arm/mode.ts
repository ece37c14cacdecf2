/**
 * The mode key: every bit of state that translated code assumes.
 * The exception level is in bits 0 and 1, the others have the places of `modeBit`; state-change.ts puts it together.
 */
import { pstate } from './state.js';

/**
 * Translation contexts: EL0's pages, EL1's, and EL1's where PAN forbids it EL0's (or those of a host at EL2 in place of EL1); and EL3's or
 * EL2's where that has no EL0.
 */
export const mmuIndex = { el0: 0, el1: 1, el1Pan: 2, upper: 3 } as const;

export const modeBit = {
  /**
   * Floating point and SIMD are trapped (CPACR_EL1.FPEN). Never at EL1, where there is hardly any: what is looks at `field.floatTrapped`,
   * and a kernel that enables it only when it is half up is not translated anew.
   */
  floatTrapped: 2,
  /** FPCR: RMode (two bits), FZ, DN, FZ16, AHP. */
  roundingMode: 3,
  flushToZero: 5,
  defaultNaN: 6,
  flushHalf: 7,
  alternativeHalf: 8,
  /** Unprivileged loads and stores are ordinary ones: EL0, or UAO. */
  ordinaryUnprivileged: 9,
  /** DC ZVA is trapped (EL0 with SCTLR_EL1.DZE clear). */
  zeroTrapped: 10,
  /** WFI is trapped (EL0 with SCTLR_EL1.nTWI clear). */
  wfiTrapped: 11,
  /** Illegal execution state (PSTATE.IL). */
  illegalState: 12,
  /** The stack pointer is that of the exception level (PSTATE.SP), not SP_EL0. */
  ownStack: 13,
  /** There are more CPUs, which take turns with this one in one thread. */
  shared: 14,
  /**
   * Some key of pointer authentication is enabled: which ones is in `field.enabledKeys`, for they may differ from process to process.
   * Always at EL1, for the same reason as floatTrapped never.
   */
  pointerKeys: 15,
  /** A higher exception level may trap what is done here, or the keys' use. */
  trapped: 19,
  keysTrapped: 20,
  /** EL2 of a host (HCR_EL2.E2H): names of EL1's registers are those of EL2. */
  hostKernel: 21,
  /** EL0 of such a host. */
  hostUser: 22,
  /** Software step: each instruction is a block; PSTATE.SS, by which one is executed before the exception (debug-exceptions.ts). */
  step: 24,
  stepArmed: 25,
  /** Breakpoints are enabled: each instruction is a block. Watchpoints are. */
  breakpoints: 26,
  watchpoints: 27,
  /** Some of these are of the exception level that they go to: PSTATE.D masks them. */
  ownDebug: 28,
  /** A debugger hears of data accesses: every block is one instruction. */
  watched: 30,
  /** Not of the mode: the block lies on a guarded page, as the page walk says (FEAT_BTI). */
  guarded: 31,
} as const;

/** In field.modeBits. */
export const WATCHED = 1 << modeBit.watched;

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
  readonly ownStack: boolean;
  readonly shared: boolean;
  readonly pointerKeys: boolean;
  readonly trapped: boolean;
  readonly keysTrapped: boolean;
  readonly hostKernel: boolean;
  readonly step: boolean;
  readonly stepArmed: boolean;
  readonly breakpoints: boolean;
  readonly watchpoints: boolean;
  readonly ownDebug: boolean;
  readonly watched: boolean;
  readonly guarded: boolean;
}

export const elOf = (state: number): number => (state >> pstate.EL_SHIFT) & 3;

export function decodeMode(key: number): Mode {
  const bit = (place: number) => ((key >> place) & 1) !== 0;
  return {
    el: key & 3,
    floatTrapped: bit(modeBit.floatTrapped),
    roundingMode: (key >> modeBit.roundingMode) & 3,
    flushToZero: bit(modeBit.flushToZero),
    defaultNaN: bit(modeBit.defaultNaN),
    flushHalf: bit(modeBit.flushHalf),
    alternativeHalf: bit(modeBit.alternativeHalf),
    ordinaryUnprivileged: bit(modeBit.ordinaryUnprivileged),
    zeroTrapped: bit(modeBit.zeroTrapped),
    wfiTrapped: bit(modeBit.wfiTrapped),
    illegalState: bit(modeBit.illegalState),
    ownStack: bit(modeBit.ownStack),
    shared: bit(modeBit.shared),
    pointerKeys: bit(modeBit.pointerKeys),
    trapped: bit(modeBit.trapped),
    keysTrapped: bit(modeBit.keysTrapped),
    hostKernel: bit(modeBit.hostKernel),
    step: bit(modeBit.step),
    stepArmed: bit(modeBit.stepArmed),
    breakpoints: bit(modeBit.breakpoints),
    watchpoints: bit(modeBit.watchpoints),
    ownDebug: bit(modeBit.ownDebug),
    watched: bit(modeBit.watched),
    guarded: bit(modeBit.guarded),
  };
}
