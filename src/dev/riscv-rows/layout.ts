/** Where the RISC-V row tests' cases lie in memory, in a user program and on the translator, and the form of a case and of its result. */

/** The runner's own code, which no jump of a case may hit, and its variables. */
export const TEXT = 0x10000000;
export const TEXT_BYTES = 0x1000;
export const STATE = 0x11000000;
export const STATE_BYTES = 0x20000;
/** C.EBREAK throughout, but for the instructions. */
export const CODE_PAGE = 0x10080000;
export const CODE_AT = CODE_PAGE + 0x800;
export const CODE_BYTES = 16;
/** Two pages; cases fill and compare a window around the border, and the rest is 0. */
export const DATA = 0x30000000;
export const DATA_BYTES = 8192;
export const WINDOW = DATA + 4096 - 256;
export const WINDOW_BYTES = 512;

/** Bytes of a vector register, and of all. */
export const VLENB = 16;
export const VECTORS_BYTES = 32 * VLENB;

/** A case: x0 to x31, f0 to f31, fcsr, code, v0 to v31, vtype, length wanted, vcsr, vstart; then the window. */
export const caseField = {
  x: 0,
  f: 256,
  fcsr: 512,
  code: 520,
  v: 536,
  vtype: 536 + VECTORS_BYTES,
  vl: 544 + VECTORS_BYTES,
  vcsr: 552 + VECTORS_BYTES,
  vstart: 560 + VECTORS_BYTES,
  bytes: 568 + VECTORS_BYTES,
} as const;
export const CASE_BYTES = caseField.bytes + WINDOW_BYTES;

/**
 * A result: the signal; the registers as a signal frame has them (pc in x0's place); vstart, vl, vtype, vcsr, v0 to v31; then the
 * window.
 */
export const resultField = {
  signal: 0,
  x: 8,
  f: 264,
  fcsr: 520,
  vstart: 528,
  vl: 536,
  vtype: 544,
  vcsr: 552,
  v: 560,
  bytes: 560 + VECTORS_BYTES,
} as const;
export const RESULT_BYTES = resultField.bytes + WINDOW_BYTES;
