/** Where the AArch64 row tests' cases lie in memory, in a user program and on the translator, and the form of a case and of its result. */

/** The runner's own code, which no jump of a case may hit, and its variables. */
export const TEXT = 0x10000000;
export const TEXT_BYTES = 0x1000;
export const STATE = 0x11000000;
export const STATE_BYTES = 0x20000;
/** BRK throughout, but for the instructions. */
export const CODE_PAGE = 0x10080000;
export const CODE_AT = CODE_PAGE + 0x800;
export const CODE_BYTES = 16;
/** Two pages; cases fill and compare a window around the border, and the rest is 0. */
export const DATA = 0x30000000;
export const DATA_BYTES = 8192;
export const WINDOW = DATA + 4096 - 256;
export const WINDOW_BYTES = 512;

/** A case: X0 to X30 and SP, V0 to V31, NZCV, FPCR, FPSR, code; then the window. */
export const caseField = { x: 0, v: 256, nzcv: 768, fpcr: 776, fpsr: 784, code: 792, bytes: 808 } as const;
export const CASE_BYTES = caseField.bytes + WINDOW_BYTES;

/** A result: the signal; what a signal frame holds from the fault's address on; then the window. */
export const resultField = {
  signal: 0,
  context: 8,
  x: 16,
  pc: 272,
  pstate: 280,
  fpsr: 304,
  fpcr: 308,
  v: 312,
  bytes: 824,
} as const;
export const RESULT_BYTES = resultField.bytes + WINDOW_BYTES;
