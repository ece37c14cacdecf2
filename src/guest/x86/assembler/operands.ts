/** Operands of an instruction as a programmer writes them, and the names of registers (Intel SDM vol. 1, 3.4; vol. 2, 3.1.1.3). */

/** A number in an operand. */
export interface Value {
  readonly number: bigint;
  /** It depends on an address that is not settled yet: its field is as wide as any address needs. */
  readonly movable: boolean;
}

export type RegisterFile = 'gpr' | 'segment' | 'control' | 'debug' | 'mmx' | 'xmm' | 'x87';

export interface RegisterOperand {
  readonly kind: 'register';
  readonly file: RegisterFile;
  readonly number: number;
  /** Of general registers; 0 for others. */
  readonly bits: number;
  /** AH, CH, DH, BH: what 4 to 7 mean without REX. */
  readonly high: boolean;
}

export interface MemoryOperand {
  readonly kind: 'memory';
  /** As `dword ptr` says; undefined: not said. */
  readonly bits: number | undefined;
  /** Override: 0 to 5 for ES CS SS DS FS GS. */
  readonly segment: number | undefined;
  /** -1: none; -2: relative to RIP, and the displacement is the address meant. */
  readonly base: number;
  readonly index: number;
  readonly scale: 0 | 1 | 2 | 3;
  readonly displacement: Value;
  /** By the registers; undefined without any. */
  readonly addressBits: 16 | 32 | 64 | undefined;
}

export interface ImmediateOperand {
  readonly kind: 'immediate';
  readonly value: Value;
}

export interface FarOperand {
  readonly kind: 'far';
  /** Of the offset, as `dword ptr` says. */
  readonly bits: number | undefined;
  readonly selector: Value;
  readonly offset: Value;
}

export type Operand = RegisterOperand | MemoryOperand | ImmediateOperand | FarOperand;

const registers = new Map<string, RegisterOperand>();
function name(text: string, file: RegisterFile, number: number, bits = 0, high = false): void {
  registers.set(text, { kind: 'register', file, number, bits, high });
}

for (const [n, text] of ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'].entries()) {
  name(text, 'gpr', n, 16);
  name(`e${text}`, 'gpr', n, 32);
  name(`r${text}`, 'gpr', n, 64);
}
for (let n = 8; n < 16; n++) {
  for (const [suffix, bits] of [['b', 8], ['w', 16], ['d', 32], ['', 64]] as const) name(`r${n}${suffix}`, 'gpr', n, bits); // biome-ignore format: one line reads as a table
}
for (const [n, text] of ['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil'].entries()) name(text, 'gpr', n, 8);
for (const [n, text] of ['ah', 'ch', 'dh', 'bh'].entries()) name(text, 'gpr', n + 4, 8, true);
for (const [n, text] of ['es', 'cs', 'ss', 'ds', 'fs', 'gs'].entries()) name(text, 'segment', n);
for (let n = 0; n < 16; n++) {
  name(`cr${n}`, 'control', n);
  name(`dr${n}`, 'debug', n);
  name(`xmm${n}`, 'xmm', n);
}
for (let n = 0; n < 8; n++) {
  name(`mm${n}`, 'mmx', n);
  name(`st(${n})`, 'x87', n);
}

name('st', 'x87', 0);

/** The register of this name, in lower case. */
export const registerNamed = (text: string): RegisterOperand | undefined => registers.get(text);

/** What stands before `ptr`, in bits. */
export const pointerBits: Readonly<Record<string, number>> = {
  byte: 8,
  word: 16,
  dword: 32,
  fword: 48,
  qword: 64,
  tbyte: 80,
  xmmword: 128,
};

/** Bits that the size letters of an operand say (SDM vol. 2, A.2.2), by operand size; undefined where they say none. */
export function letterBits(letters: string, opSize: number): number | undefined {
  switch (letters) {
    case 'b':
    case 'bs':
      return 8;
    case 'w':
      return 16;
    case 'd':
    case 'ss':
      return 32;
    case 'q':
    case 'sd':
    case 'pi':
      return 64;
    case 'v':
      return opSize;
    case 'z':
      return opSize === 16 ? 16 : 32;
    case 'y':
      return opSize === 64 ? 64 : 32;
    case 'p':
      return opSize + 16;
    case 't':
      return 80;
    case 'dq':
    case 'x':
    case 'ps':
    case 'pd':
      return 128;
    default:
      return undefined;
  }
}
