/**
 * The mode key: every bit of state that translated code assumes.
 *
 *   bits 0-1   privilege mode
 *   bits 2-3   FS: 0 off, 1 on but not dirty yet, 2 dirty
 *   bits 4-6   frm
 *   bit 7      WFI is illegal (U-mode, or TW)
 *   bit 8      SRET is illegal (U-mode, or S-mode with TSR)
 *   bit 9      SFENCE.VMA and satp are illegal (U-mode, or S-mode with TVM)
 *   bit 10     other harts take turns with this one in its thread
 *   bits 11-12 VS, as FS
 *   bits 13-15 vlmul
 *   bits 16-18 vsew
 *   bit 19     vill
 *   bit 20     vl is as large as vtype lets it be, and vstart is 0
 *
 *   bit 21     a debugger hears of every data access: each instruction is a block of its own
 *
 * Bits 10 and 13 to 21 are kept in field.modeBits.
 */
import { mstatus, privilege } from './state.js';

export const mmuIndex = { user: 0, supervisor: 1, supervisorSum: 2, machine: 3 } as const;

export interface Mode {
  readonly privilege: number;
  readonly fs: 0 | 1 | 2;
  readonly frm: number;
  readonly wfiIllegal: boolean;
  readonly sretIllegal: boolean;
  readonly fenceIllegal: boolean;
  readonly vs: 0 | 1 | 2;
  readonly vector: VectorMode;
  /** PAUSE ends the hart's turn. */
  readonly shared: boolean;
  readonly watched: boolean;
}

export const SHARED = 1 << 10;
export const WATCHED = 1 << 21;
export const VS_SHIFT = 11;
export const VTYPE_SHIFT = 13;
export const VILL = 1 << 19;
export const VECTOR_FULL = 1 << 20;
/** Bits of field.modeBits that vtype, vl and vstart make. */
export const VECTOR_BITS = 0xff << VTYPE_SHIFT;

/** vtype. `sew`: logarithm of an element's bytes; `lmul`: of the registers in a group. */
export interface VectorMode {
  readonly sew: number;
  readonly lmul: number;
  readonly isIllegal: boolean;
  /** All elements of the group are worked on. */
  readonly isFull: boolean;
  /** Elements may be numbers in half precision: the model has it. */
  readonly hasHalf: boolean;
}

export const FS_SHIFT = 2;

/** `bits`: field.modeBits. */
export function encodeMode(level: number, status: bigint, frm: number, bits: number): number {
  const fs = Number((status & mstatus.FS) >> 13n);
  const has = (bit: bigint) => (status & bit) !== 0n;
  const vs = Number((status & mstatus.VS) >> 9n);
  const inS = level === privilege.S;
  const inU = level === privilege.U;
  return (
    bits |
    level |
    ((fs === 3 ? 2 : fs === 0 ? 0 : 1) << FS_SHIFT) |
    ((vs === 3 ? 2 : vs === 0 ? 0 : 1) << VS_SHIFT) |
    (frm << 4) |
    (Number(inU || (inS && has(mstatus.TW))) << 7) |
    (Number(inU || (inS && has(mstatus.TSR))) << 8) |
    (Number(inU || (inS && has(mstatus.TVM))) << 9)
  );
}

/** `hasHalf`: of VectorMode. */
export function decodeMode(key: number, hasHalf = false): Mode {
  return {
    privilege: key & 3,
    fs: ((key >> FS_SHIFT) & 3) as 0 | 1 | 2,
    frm: (key >> 4) & 7,
    wfiIllegal: (key & (1 << 7)) !== 0,
    sretIllegal: (key & (1 << 8)) !== 0,
    fenceIllegal: (key & (1 << 9)) !== 0,
    shared: (key & SHARED) !== 0,
    watched: (key & WATCHED) !== 0,
    vs: ((key >> VS_SHIFT) & 3) as 0 | 1 | 2,
    vector: {
      // Fractions are negative.
      lmul: ((key >> VTYPE_SHIFT) << 29) >> 29,
      sew: (key >> (VTYPE_SHIFT + 3)) & 7,
      isIllegal: (key & VILL) !== 0,
      isFull: (key & VECTOR_FULL) !== 0,
      hasHalf,
    },
  };
}

/** The translation context of loads, stores and fetches. */
export function mmuOf(level: number, status: bigint): number {
  if (level === privilege.M) return mmuIndex.machine;
  if (level === privilege.U) return mmuIndex.user;
  return (status & mstatus.SUM) === 0n ? mmuIndex.supervisor : mmuIndex.supervisorSum;
}

/** How M-mode's loads and stores are translated: MPRV, and with it MPP and SUM. 0: not at all. */
export function dataContext(status: bigint): number {
  if ((status & mstatus.MPRV) === 0n) return 0;
  return 1 | (Number((status & mstatus.MPP) >> 11n) << 1) | (Number((status & mstatus.SUM) !== 0n) << 3);
}
