/** Where the AArch32 row tests' cases lie in memory, in a user program and on the translator, and the form of a case and of its result. */

/** The runner's own code, which no jump of a case may hit, and its variables. */
export const TEXT = 0x10000000;
export const TEXT_BYTES = 0x1000;
export const STATE = 0x11000000;
export const STATE_BYTES = 0x20000;
/** BKPT throughout, but for the instructions: A32's in the one, T32's in the other. */
export const ARM_PAGE = 0x10080000;
export const THUMB_PAGE = 0x10090000;
/** Place of a case's code on its page. */
export const CODE_AT = 0x800;
export const CODE_BYTES = 16;
/** Two pages; cases fill and compare a window around the border, and the rest is 0. */
export const DATA = 0x30000000;
export const DATA_BYTES = 8192;
export const WINDOW = DATA + 4096 - 256;
export const WINDOW_BYTES = 512;

/** BKPT #0 of both instruction sets. */
export const ARM_BREAK = 0xe1200070;
export const THUMB_BREAK = 0xbe00be00;

/** A case: R0 to R14 and where it starts, CPSR, FPSCR, D0 to D31, code; then the window. */
export const caseField = { r: 0, cpsr: 64, fpscr: 68, v: 72, code: 328, bytes: 344 } as const;
export const CASE_BYTES = caseField.bytes + WINDOW_BYTES;

/** A result: the signal; R0 to R15 and CPSR, and floating point's part of a signal frame; then the window. */
export const resultField = { signal: 0, r: 4, cpsr: 68, v: 80, fpscr: 336, bytes: 344 } as const;
export const FRAME_REGISTERS = 68;
export const FRAME_FLOAT = 272;
export const RESULT_BYTES = resultField.bytes + WINDOW_BYTES;
