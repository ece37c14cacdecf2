/**
 * How instructions are written where a row's name and operands say too much or too little (Intel SDM vol. 2; vol. 1 appendix B for
 * conditions): names that say the operand size, operands that are implied. For the assembler and the disassembler.
 */
import type { InsnRow } from './translator.js';

export type Size = 16 | 32 | 64;

/** Rows whose mnemonic goes by the operand size. */
const sizedNames: Readonly<Record<string, readonly [string, string, string]>> = {
  CBW: ['cbw', 'cwde', 'cdqe'],
  CWD: ['cwd', 'cdq', 'cqo'],
  IRET: ['iretw', 'iretd', 'iretq'],
  PUSHF: ['pushfw', 'pushfd', 'pushfq'],
  POPF: ['popfw', 'popfd', 'popfq'],
  PUSHA: ['pushaw', 'pushad', ''],
  POPA: ['popaw', 'popad', ''],
  RETF: ['retfw', 'retfd', 'retfq'],
  SYSRET: ['', 'sysretd', 'sysretq'],
  SYSEXIT: ['', 'sysexitd', 'sysexitq'],
};
const sizes: readonly Size[] = [16, 32, 64];

/** Rows whose registers are always these, and are not written; their other operands are. */
const impliesRegisters = /^(MUL|DIV|IMUL|IDIV|CMPXCHG|CBW|CWD|DAA|DAS|AAA|AAS|AAM|AAD|MULX|LAHF|SAHF|SALC|XLAT|F\w+)$/;
const registerWord = /^([A-D][LHX]|[re][A-D]X|ST[01])$/;
const stringRow = /^(INS|OUTS|MOVS|STOS|LODS|CMPS|SCAS)B?$/;

export const isStringRow = (row: InsnRow): boolean => stringRow.test(row.name) && /(^|[ ,])[XY]/.test(row.args);

/** The row's operands that are written, without their access. */
export function writtenOperands(row: InsnRow): readonly string[] {
  if (isStringRow(row)) return [];
  const words = row.args
    .split(',')
    .map((word) => word.trim().split(':')[0])
    .filter((word) => word !== '');
  if (!impliesRegisters.test(row.name) || words.includes('STi')) return words;
  return words.filter((word) => !registerWord.test(word));
}

/** The mnemonic of a row at an operand size. */
export function mnemonicOf(row: InsnRow, opSize: Size): string {
  if (isStringRow(row)) {
    const byte = row.name.endsWith('B') || /[XY]b/.test(row.args);
    return row.name.toLowerCase().replace(/b$/, '') + (byte ? 'b' : { 16: 'w', 32: 'd', 64: 'q' }[opSize]);
  }
  return sizedNames[row.name]?.[sizes.indexOf(opSize)] || row.name.toLowerCase();
}

export interface Mnemonic {
  /** Name of the rows. */
  readonly name: string;
  readonly opSize: Size | undefined;
  /** Which of them. */
  readonly fits?: (row: InsnRow) => boolean;
  /** The instruction itself, where it is another's special case. */
  readonly bytes?: readonly number[];
}

const sameCondition: Readonly<Record<string, string>> = {
  c: 'b', nae: 'b', nb: 'ae', nc: 'ae', z: 'e', nz: 'ne', na: 'be', nbe: 'a', pe: 'p', po: 'np', nge: 'l', nl: 'ge', ng: 'le', nle: 'g',
}; // biome-ignore format: one line reads as a table

const bySize = new Map<string, { readonly name: string; readonly opSize: Size }>();
for (const [name, words] of Object.entries(sizedNames)) {
  for (const [i, word] of words.entries()) if (word !== '') bySize.set(word, { name, opSize: sizes[i] });
}

/** What a word in a source means. */
export function readMnemonic(word: string, operands: number): Mnemonic {
  if (word === 'nop' && operands === 0) return { name: 'NOP', opSize: undefined, bytes: [0x90] };
  if (word === 'sal') return { name: 'SHL', opSize: undefined };
  if (word === 'xlatb') return { name: 'XLAT', opSize: undefined };
  const sized = bySize.get(word);
  if (sized) return sized;
  // With operands MOVSD and CMPSD are SSE2's.
  const string = operands === 0 ? /^(ins|outs|movs|stos|lods|cmps|scas)([bwdq])$/.exec(word) : null;
  if (string) {
    const [, base, letter] = string;
    const byte = letter === 'b';
    const ports = base === 'ins' || base === 'outs';
    const opSize = ({ w: 16, d: 32, q: 64 } as const)[letter];
    return {
      name: base.toUpperCase() + (byte && ports ? 'B' : ''),
      opSize,
      fits: (row) => isStringRow(row) && (ports || /[XY]b/.test(row.args) === byte),
    };
  }
  const condition = /^(j|set|cmov)([a-z]+)$/.exec(word);
  const same = condition ? sameCondition[condition[2]] : undefined;
  return { name: (condition && same ? condition[1] + same : word).toUpperCase(), opSize: undefined };
}
