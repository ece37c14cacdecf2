/** Disassembly from the instruction rows, without the manual's aliases: for `-d in_asm`. */
import { leftBy, rightBy } from '../arm/table/vector-operations.js';
import { type DecoderTables, isShort, newFields } from './encoding.js';
import type { Fields } from './row.js';
import { registerName } from './table/shared.js';
import { scalarPlace } from './table/simd-long.js';

const conditions = 'eq ne cs cc mi pl vs vc hi ls ge lt gt le'.split(' ');
const shifts = ['lsl', 'lsr', 'asr', 'ror'];
const names = Array.from({ length: 16 }, (_, n) => registerName(n));
const hex = (n: number): string => `#0x${(n >>> 0).toString(16)}`;
const distance = (i: Fields): string => `#${i.u ? '' : '-'}${i.imm}`;
const offset = (i: Fields, what: string): string => `${i.u ? '' : '-'}${what}`;

/** Registers of floating point: singles, doubles, Q registers, doubles or (by Q) Q registers. */
const places = ['d', 'n', 'm'] as const;
const vectorWriters: Readonly<Record<string, (i: Fields) => string>> = Object.fromEntries(
  places.flatMap((place) => {
    const number = (i: Fields): number => i[`r${place}`];
    return [
      [`s${place}`, (i: Fields) => `s${number(i)}`],
      [`d${place}`, (i: Fields) => `d${number(i)}`],
      [`q${place}`, (i: Fields) => `q${number(i) >> 1}`],
      [`x${place}`, (i: Fields) => (i.q ? `q${number(i) >> 1}` : `d${number(i)}`)],
      [`d${place}[imm]`, (i: Fields) => `d${number(i)}[${i.imm}]`],
    ];
  }),
);
const scalarText = (i: Fields): string => {
  const [register, lane] = scalarPlace(i);
  return `d${register}[${lane}]`;
};

/** An operand's text; those that are not here are written as they are. */
const writers: Readonly<Record<string, (i: Fields, pc: number) => string>> = {
  rd: (i) => names[i.rd],
  rn: (i) => names[i.rn],
  rm: (i) => names[i.rm],
  ra: (i) => names[i.ra],
  ...vectorWriters,
  'sm+1': (i) => `s${i.rm + 1}`,
  'dn[op]': (i) => `d${i.rn}[${i.op}]`,
  'dm[x]': scalarText,
  left: (i) => `#${leftBy(i)}`,
  right: (i) => `#${rightBy(i)}`,
  places: (i) => `#${64 - i.imm}`,
  size: (i) => `#${8 << i.size}`,
  imm: (i) => `#${i.imm}`,
  imm2: (i) => `#${i.imm2}`,
  const: (i) => `const ${hex(i.imm)}`,
  cond: (i) => conditions[i.cond] ?? 'al',
  shift: (i) => `${shifts[i.shift]} #${i.imm2}`,
  'rm, shift': (i) => `${names[i.rm]}, ${shifts[i.shift]} #${i.imm2}`,
  'rm, shift ra': (i) => `${names[i.rm]}, ${shifts[i.shift]} ${names[i.ra]}`,
  '[rn]': (i) => `[${names[i.rn]}]`,
  '[rn, imm]': (i) => `[${names[i.rn]}${i.imm || !i.u ? `, ${distance(i)}` : ''}]`,
  '[rn, rm]': (i) => `[${names[i.rn]}, ${offset(i, names[i.rm])}]`,
  '[rn, rm, shift]': (i) => `[${names[i.rn]}, ${offset(i, names[i.rm])}, ${shifts[i.shift]} #${i.imm2}]`,
  '[pc, imm]': (i) => `[pc, ${distance(i)}]`,
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
  const { name, args, type, text } = encoding.row;
  const read = Number(pc) + (thumb ? 4 : 8);
  const operands = text?.(fields) ?? args.map((operand) => writers[operand]?.(fields, read) ?? operand).join(', ');
  const condition = thumb || args[0] === 'cond' ? '' : (conditions[fields.cond] ?? '');
  // The condition stands behind the mnemonic, before the elements' type.
  const [, mnemonic, suffix] = /^([^.]*)(.*)$/.exec(name) ?? [];
  const whole = `${mnemonic}${condition}${suffix}${type?.(fields) ?? ''}`;
  return { text: operands === '' ? whole : `${whole} ${operands}`, bytes };
}
