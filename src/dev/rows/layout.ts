/** Where the row tests' cases lie in memory, natively and on the translator, and the form of a case and of its result. */
export interface Region {
  readonly start: number;
  readonly bytes: number;
}

/** The instruction; the rest of the page is HLT, which ends every run. */
export const codeRegion: Region = { start: 0x20000000, bytes: 4096 };
/** Where the instruction lies, and room for its bytes. */
export const CODE_AT = codeRegion.start + 0x800;
export const CODE_BYTES = 32;
/** Data and stack; the pages around are not mapped. */
export const dataRegion: Region = { start: 0x30000000, bytes: 8192 };
export const CASE_REGIONS: readonly Region[] = [codeRegion, dataRegion];
/** The parts of the data that cases fill and that are compared (all else is 0 at a case's start): around the pages' border, and before the end. */
export const dataWindows: readonly Region[] = [
  { start: dataRegion.start + 0xe00, bytes: 1024 },
  { start: dataRegion.start + 0x1f00, bytes: 256 },
];
export const DATA_BYTES = dataWindows.reduce((sum, window) => sum + window.bytes, 0);

/** Where the instruction lies as the code sees it: 16-bit code has segments of its own, that begin at the regions' starts. */
export const codeAt = (codeSize: 16 | 32 | 64): number => (codeSize === 16 ? CODE_AT - codeRegion.start : CODE_AT);
export const codeBase = (codeSize: 16 | 32 | 64): number => (codeSize === 16 ? codeRegion.start : 0);
export const dataBase = (codeSize: 16 | 32 | 64): number => (codeSize === 16 ? dataRegion.start : 0);
/** Bases of FS and GS in 64-bit code. */
export const FS_BASE = 0x12345000;
export const GS_BASE = 0x2abcd000;
/** Selectors in a user program on Linux: flat 32-bit code and data; in the local descriptor table 16-bit code and data. */
export const selector = { code32: 0x23, data: 0x2b, code16: 0x07, data16: 0x0f } as const;

/**
 * A case's header: 16 registers, RFLAGS, entry, far pointer for code that is not 64-bit (offset, selector), what code it is
 * (0: 64 bits, 1: 32, 2: 16).
 */
export const caseHeader = { gprs: 0, rflags: 128, entry: 136, far: 144, kind: 152, bytes: 160 } as const;
export const codeKind = { 64: 0, 32: 1, 16: 2 } as const;
/** The FXSAVE image follows, then the code, then the data windows. */
export const FX_BYTES = 512;
export const CASE_BYTES = caseHeader.bytes + FX_BYTES + CODE_BYTES + DATA_BYTES;

/** A result: the registers as a signal frame has them, the FXSAVE image, the data windows. */
export const signalRegister = {
  /** Where each general register is in the frame, by its number. */
  gprs: [13, 14, 12, 11, 15, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7],
  rip: 16,
  eflags: 17,
  error: 19,
  trap: 20,
  cr2: 22,
  count: 23,
} as const;
export const RESULT_HEADER_BYTES = 8 * signalRegister.count;
export const RESULT_BYTES = RESULT_HEADER_BYTES + FX_BYTES + DATA_BYTES;

/** FXSAVE image (SDM vol. 1 table 10-2). */
export const fx = { control: 0, status: 2, tags: 4, mxcsr: 24, st: 32, xmm: 160 } as const;
