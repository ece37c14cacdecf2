/** Disassembly from the instruction rows, without the manual's aliases: for `-d in_asm`. */
import { type DecoderTables, newFields } from './encoding.js';
import type { Fields } from './row.js';

const conditions = 'eq ne cs cc mi pl vs vc hi ls ge lt gt le al nv'.split(' ');
const shifts = ['lsl', 'lsr', 'asr', 'ror'];
const extensions = ['uxtb', 'uxth', 'uxtw', 'uxtx', 'sxtb', 'sxth', 'sxtw', 'sxtx'];
const wide = (n: number) => (n === 31 ? 'xzr' : `x${n}`);
const narrow = (n: number) => (n === 31 ? 'wzr' : `w${n}`);
const general = (n: number, sf: number) => (sf ? wide(n) : narrow(n));
const orStack = (n: number, sf: number) => (n === 31 ? (sf ? 'sp' : 'wsp') : general(n, sf));
const hex = (n: number) => `#0x${(n >>> 0).toString(16)}`;

/** Advanced SIMD registers with their lanes, as far as size and Q tell them. */
const vectorText = (n: number, i: Fields): string =>
  `v${n}.${(i.q ? ['16b', '8h', '4s', '2d'] : ['8b', '4h', '2s', '1d'])[i.size]}`;
/** Scalar SIMD registers of a width: bd, bn, bm, ba and so on. */
const vectorOperands = (letter: string): [string, (i: Fields) => string][] =>
  (['rd', 'rn', 'rm', 'ra'] as const).map((name) => [letter + name[1], (i) => letter + i[name]]);

/** An operand's text: `rd` by sf, `xd` and `wd` always so wide, `|sp` where 31 is the stack pointer. */
const writers: Readonly<Record<string, (i: Fields, pc: bigint) => string>> = {
  rd: (i) => general(i.rd, i.sf),
  rn: (i) => general(i.rn, i.sf),
  rm: (i) => general(i.rm, i.sf),
  ra: (i) => general(i.ra, i.sf),
  xd: (i) => wide(i.rd),
  xn: (i) => wide(i.rn),
  xm: (i) => wide(i.rm),
  xa: (i) => wide(i.ra),
  wa: (i) => narrow(i.ra),
  ed: (i) => 'bhsd'[i.size] + i.rd,
  en: (i) => 'bhsd'[i.size] + i.rn,
  em: (i) => 'bhsd'[i.size] + i.rm,
  ...Object.fromEntries([...'bhsdq'].flatMap((letter) => vectorOperands(letter))),
  wd: (i) => narrow(i.rd),
  wn: (i) => narrow(i.rn),
  wm: (i) => narrow(i.rm),
  vd: (i) => vectorText(i.rd, i),
  vn: (i) => vectorText(i.rn, i),
  vm: (i) => vectorText(i.rm, i),
  va: (i) => vectorText(i.ra, i),
  'rd|sp': (i) => orStack(i.rd, i.sf),
  'rn|sp': (i) => orStack(i.rn, i.sf),
  'xd|sp': (i) => orStack(i.rd, 1),
  'xn|sp': (i) => orStack(i.rn, 1),
  'xm|sp': (i) => orStack(i.rm, 1),
  imm: (i) => `#${i.imm}`,
  imm2: (i) => `#${i.imm2}`,
  turn: (i) => `#${i.s ? 270 : 90}`,
  mask: (i) => `${hex(i.s)}:${hex(i.imm)}:${hex(i.imm2)}`,
  cond: (i) => conditions[i.cond],
  shift: (i) => `${shifts[i.shift]} #${i.imm}`,
  lsl: (i) => `lsl #${12 * i.shift}`,
  hw: (i) => `lsl #${16 * i.shift}`,
  extend: (i) => `${extensions[i.option]} #${i.imm}`,
  '[rn]': (i) => `[${orStack(i.rn, 1)}]`,
  '[rn, imm]': (i) => `[${orStack(i.rn, 1)}, #${i.imm}]`,
  '[rn, imm]!': (i) => `[${orStack(i.rn, 1)}, #${i.imm}]!`,
  '[rn], imm': (i) => `[${orStack(i.rn, 1)}], #${i.imm}`,
  '[rn, rm]': (i) => `[${orStack(i.rn, 1)}, ${general(i.rm, i.option & 1)}, ${extensions[i.option]} #${i.s}]`,
  target: (i, pc) => `0x${BigInt.asUintN(64, pc + BigInt(i.imm)).toString(16)}`,
};

export function disassemble(tables: DecoderTables, word: number, pc: bigint): { text: string; bytes: number } {
  const fields = newFields();
  const encoding = tables.decode(word, fields);
  if (!encoding) return { text: `.inst 0x${(word >>> 0).toString(16).padStart(8, '0')}`, bytes: 4 };
  const { name, args } = encoding.row;
  const operands = args.map((operand) => writers[operand](fields, pc)).join(', ');
  return { text: operands === '' ? name : `${name} ${operands}`, bytes: 4 };
}
