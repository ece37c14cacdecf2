/** Disassembly from the instruction rows, in the usual assembler's syntax: for `-d in_asm`. */
import type { DecoderTables, Encoding } from './encoding.js';
import { newFields } from './encoding.js';
import type { Fields } from './row.js';
import { floatNames, integerNames } from './state.js';
import { csrByNumber } from './system/csr.js';

const roundingNames = ['rne', 'rtz', 'rdn', 'rup', 'rmm', '5', '6', 'dyn'];

const writers: Readonly<Record<string, (i: Fields, pc: bigint) => string>> = {
  rd: (i) => integerNames[i.rd],
  rs1: (i) => integerNames[i.rs1],
  rs2: (i) => integerNames[i.rs2],
  fd: (i) => floatNames[i.rd],
  fs1: (i) => floatNames[i.rs1],
  fs2: (i) => floatNames[i.rs2],
  fs3: (i) => floatNames[i.rs3],
  sp: () => 'sp',
  imm: (i) => String(i.imm),
  imm20: (i) => `0x${(i.imm >>> 12).toString(16)}`,
  uimm5: (i) => String(i.rs1),
  mem: (i) => `${i.imm}(${integerNames[i.rs1]})`,
  'sp-mem': (i) => `${i.imm}(sp)`,
  '(rs1)': (i) => `(${integerNames[i.rs1]})`,
  target: (i, pc) => `0x${BigInt.asUintN(64, pc + BigInt(i.imm)).toString(16)}`,
  csr: (i) => csrByNumber.get(i.csr)?.name ?? `0x${i.csr.toString(16)}`,
  rm: (i) => roundingNames[i.rm],
  vd: (i) => `v${i.rd}`,
  vs1: (i) => `v${i.rs1}`,
  vs2: (i) => `v${i.rs2}`,
  v0: () => 'v0',
  vm: () => 'v0.t',
  vtype: (i) => vtypeText(i.imm),
};

function vtypeText(imm: number): string {
  const lmul = ['m1', 'm2', 'm4', 'm8', '', 'mf8', 'mf4', 'mf2'][imm & 7];
  const sew = (imm >> 3) & 7;
  if (lmul === '' || sew > 3 || imm > 255) return String(imm);
  return [`e${8 << sew}`, lmul, imm & 64 ? 'ta' : 'tu', imm & 128 ? 'ma' : 'mu'].join(', ');
}

function textOf({ row }: Encoding, i: Fields, pc: bigint): string {
  const order = (i.aq ? 'aq' : '') + (i.rl ? 'rl' : '');
  // A segment of several fields is told by nf.
  const segment = i.nf > 0 ? row.name.replace(/^(v[ls](?:s(?=e\d)|[uo]x)?)(?=ei?\d)/, `$1seg${i.nf + 1}`) : row.name;
  const name = order ? `${segment}.${order}` : segment;
  // The dynamic rounding mode goes without saying.
  const operands =
    row.args === ''
      ? []
      : row.args.split(', ').filter((word) => (word !== 'rm' || i.rm !== 7) && (word !== 'vm' || i.vm === 0));
  return [name, operands.map((word) => writers[word](i, pc)).join(', ')].filter((part) => part !== '').join(' ');
}

/** The instruction in a word (a compressed one in its lower half). */
export function disassemble(tables: DecoderTables, word: number, pc: bigint): { text: string; bytes: number } {
  const fields = newFields();
  const bytes = (word & 3) === 3 ? 4 : 2;
  const encoding = tables.decode(word, fields);
  if (encoding) return { text: textOf(encoding, fields, pc), bytes };
  const value = bytes === 2 ? word & 0xffff : word >>> 0;
  return { text: `.${bytes === 2 ? 'half' : 'word'} 0x${value.toString(16)}`, bytes };
}
