/** Disassembly from the instruction rows, without the manual's aliases: for `-d in_asm`. */
import { type DecoderTables, isShort, newFields } from './encoding.js';
import type { Fields } from './row.js';

const conditions = 'eq ne cs cc mi pl vs vc hi ls ge lt gt le'.split(' ');
const shifts = ['lsl', 'lsr', 'asr', 'ror'];
const names = [...Array.from({ length: 13 }, (_, n) => `r${n}`), 'sp', 'lr', 'pc'];
const hex = (n: number): string => `#0x${(n >>> 0).toString(16)}`;
const offset = (i: Fields, what: string): string => `${i.u ? '' : '-'}${what}`;

/** An operand's text; those that are not here are written as they are. */
const writers: Readonly<Record<string, (i: Fields, pc: number) => string>> = {
  rd: (i) => names[i.rd],
  rn: (i) => names[i.rn],
  rm: (i) => names[i.rm],
  ra: (i) => names[i.ra],
  vd: (i) => `v${i.rd}`,
  vn: (i) => `v${i.rn}`,
  vm: (i) => `v${i.rm}`,
  'vm+1': (i) => `v${i.rm + 1}`,
  'vn[x]': (i) => `d${i.rn}[${i.op}]`,
  imm: (i) => `#${i.imm}`,
  imm2: (i) => `#${i.imm2}`,
  const: (i) => `const ${hex(i.imm)}`,
  cond: (i) => conditions[i.cond] ?? 'al',
  shift: (i) => `${shifts[i.shift]} #${i.imm2}`,
  'rm, shift': (i) => `${names[i.rm]}, ${shifts[i.shift]} #${i.imm2}`,
  'rm, shift ra': (i) => `${names[i.rm]}, ${shifts[i.shift]} ${names[i.ra]}`,
  '[rn]': (i) => `[${names[i.rn]}]`,
  '[rn, imm]': (i) => `[${names[i.rn]}, ${offset(i, `#${i.imm}`)}]`,
  '[rn, rm]': (i) => `[${names[i.rn]}, ${offset(i, names[i.rm])}]`,
  '[rn, rm, shift]': (i) => `[${names[i.rn]}, ${offset(i, names[i.rm])}, ${shifts[i.shift]} #${i.imm2}]`,
  '[pc, imm]': (i) => `[pc, ${offset(i, `#${i.imm}`)}]`,
  '[sp, imm]': (i) => `[sp, #${i.imm}]`,
  list: (i) => `{${names.filter((_, n) => (i.imm >> n) & 1).join(', ')}}`,
  target: (i, pc) => `0x${((pc + i.imm) >>> 0).toString(16)}`,
  psr: (i) => (i.op ? 'spsr' : 'cpsr'),
  banked: (i) => `${i.op ? 'spsr' : 'reg'}:${i.imm}`,
  coproc: (i) => `p${14 + i.q}, ${i.size * 2 + i.s}, c${i.rn}, c${i.rm}, ${i.imm}`,
};

/** `word`: of T32 the first halfword is the upper one. */
export function disassemble(
  tables: DecoderTables,
  thumb: boolean,
  word: number,
  pc: bigint,
): { text: string; bytes: number } {
  const fields = newFields();
  const bytes = thumb && isShort(word >>> 16) ? 2 : 4;
  const encoding = thumb ? tables.thumb(word, fields) : tables.arm(word, fields);
  const bits = (bytes === 2 ? word >>> 16 : word >>> 0).toString(16).padStart(2 * bytes, '0');
  if (!encoding) return { text: `.inst 0x${bits}`, bytes };
  const { name, args } = encoding.row;
  const read = Number(pc) + (thumb ? 4 : 8);
  const operands = args.map((operand) => writers[operand]?.(fields, read) ?? operand).join(', ');
  const condition = thumb || args[0] === 'cond' ? '' : (conditions[fields.cond] ?? '');
  return { text: operands === '' ? name + condition : `${name}${condition} ${operands}`, bytes };
}
