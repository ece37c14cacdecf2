/**
 * Instruction encodings as the manual's tables write them, and what follows from them: decoding, encoding, the assembly text.
 *
 * A pattern is a list of words from the highest bit to the lowest: binary digits; a field (`rd`, `rs1`, `rs2`, `rs3`, `rm`,
 * `csr`, `aq`, `rl`, `vm`, `nf`; `rd'` and the like: three bits that name x8 to x15); or part of the immediate with the bits it holds, as
 * `imm[20|10:1|11|19:12]`. `imm` and `nzimm` are sign-extended from their highest bit, `uimm`, `nzuimm` and `shamt` are not;
 * those with `nz` are not 0.
 */
import { sameShape } from '../../base/index.js';
import type { Fields, InsnRow } from './row.js';

type Register = 'rd' | 'rs1' | 'rs2' | 'rs3' | 'rm' | 'csr' | 'aq' | 'rl' | 'vm' | 'nf';

interface Part {
  readonly register: Register | undefined;
  /** Place in the instruction; width; place in the field. */
  readonly shift: number;
  readonly width: number;
  readonly to: number;
}

export interface Encoding {
  readonly row: InsnRow;
  /** 16 or 32. */
  readonly bits: number;
  /** Bits that are given, and what they are. */
  readonly mask: number;
  readonly match: number;
  readonly parts: readonly Part[];
  /** Fields that name one of x8 to x15. */
  readonly short: ReadonlySet<Register>;
  /** Bits of the immediate, 0: there is none; how it is extended. */
  readonly immBits: number;
  readonly signed: boolean;
  readonly nonZero: boolean;
}

const widths: Readonly<Record<Register, number>> = {
  rd: 5,
  rs1: 5,
  rs2: 5,
  rs3: 5,
  rm: 3,
  csr: 12,
  aq: 1,
  rl: 1,
  vm: 1,
  nf: 3,
};

export function parseEncoding(row: InsnRow): Encoding {
  const words = row.enc.split(' ');
  const bits = words.at(-1)?.endsWith('11') ? 32 : 16;
  let at = bits;
  let mask = 0;
  let match = 0;
  let immBits = 0;
  let immName = '';
  const parts: Part[] = [];
  const short = new Set<Register>();
  for (const word of words) {
    const immediate = /^(imm|nzimm|uimm|nzuimm|shamt)\[([\d:|]+)\]$/.exec(word);
    if (/^[01]+$/.test(word)) {
      at -= word.length;
      mask |= (word.length === 32 ? -1 : (1 << word.length) - 1) << at;
      match |= Number.parseInt(word, 2) << at;
    } else if (immediate) {
      immName = immediate[1];
      for (const range of immediate[2].split('|')) {
        const [high, low = high] = range.split(':').map(Number);
        const width = high - low + 1;
        at -= width;
        parts.push({ register: undefined, shift: at, width, to: low });
        immBits = Math.max(immBits, high + 1);
      }
    } else {
      const name = word.replace("'", '') as Register;
      const width = word.endsWith("'") ? 3 : widths[name];
      if (width === undefined) throw new Error(`vring invariant broken: ${row.name} has a field ${word}`);
      if (word.endsWith("'")) short.add(name);
      at -= width;
      parts.push({ register: name, shift: at, width, to: 0 });
    }
  }
  if (at !== 0) throw new Error(`vring invariant broken: the encoding of ${row.name} leaves ${at} bits`);
  return {
    row,
    bits,
    mask: mask >>> 0,
    match: match >>> 0,
    parts,
    short,
    immBits,
    signed: immName.endsWith('imm') && !immName.includes('u'),
    nonZero: immName.startsWith('nz'),
  };
}

/** Takes an instruction apart; false: the row's own conditions do not hold. */
export function decodeFields(encoding: Encoding, word: number, fields: Fields): boolean {
  let imm = 0;
  fields.rd =
    fields.rs1 =
    fields.rs2 =
    fields.rs3 =
    fields.rm =
    fields.aq =
    fields.rl =
    fields.csr =
    fields.vm =
    fields.nf =
      0;
  for (const { register, shift, width, to } of encoding.parts) {
    const value = (word >>> shift) & ((1 << width) - 1);
    if (register === undefined) imm |= value << to;
    else fields[register] = encoding.short.has(register) ? value + 8 : value;
  }
  if (encoding.nonZero && imm === 0) return false;
  const unused = 32 - encoding.immBits;
  fields.imm = encoding.signed ? (imm << unused) >> unused : imm;
  return encoding.row.where?.(fields) ?? true;
}

/** The instruction with these fields, which must fit. */
export function encodeFields(encoding: Encoding, fields: Partial<Fields>): number {
  let word = encoding.match;
  for (const { register, shift, width, to } of encoding.parts) {
    const value = register === undefined ? (fields.imm ?? 0) >> to : (fields[register] ?? 0);
    word |= (value & ((1 << width) - 1)) << shift;
  }
  return word >>> 0;
}

/** Finds an instruction's row. */
export class DecoderTables {
  /** By bits 0-1 and 13-15 of a compressed instruction; by bits 2-6 and 12-14 of another one. More bits given come first. */
  readonly #short: Encoding[][] = Array.from({ length: 32 }, () => []);
  readonly #long: Encoding[][] = Array.from({ length: 256 }, () => []);
  readonly encodings: readonly Encoding[];

  constructor(rows: readonly InsnRow[]) {
    this.encodings = sameShape(rows).map(parseEncoding);
    const given = (value: number): number => value.toString(2).replaceAll('0', '').length;
    const ordered = [...this.encodings].sort((a, b) => given(b.mask) - given(a.mask));
    for (const encoding of ordered) {
      const tables = encoding.bits === 16 ? this.#short : this.#long;
      for (let key = 0; key < tables.length; key++) {
        const bits = encoding.bits === 16 ? shortBits(key) : longBits(key);
        if (((bits.value ^ encoding.match) & bits.mask & encoding.mask) === 0) tables[key].push(encoding);
      }
    }
  }

  /** `word`: 32 bits, of which a compressed instruction is the lower half. Undefined: no such instruction. */
  decode(word: number, fields: Fields): Encoding | undefined {
    const isShort = (word & 3) !== 3;
    const list = isShort
      ? this.#short[(word & 3) | ((word >>> 11) & 0x1c)]
      : this.#long[((word >>> 2) & 31) | ((word >>> 7) & 0xe0)];
    const bits = isShort ? word & 0xffff : word >>> 0;
    for (const encoding of list) {
      if ((bits & encoding.mask) >>> 0 === encoding.match && decodeFields(encoding, bits, fields)) return encoding;
    }
    return undefined;
  }
}

const shortBits = (key: number) => ({ value: (key & 3) | ((key >> 2) << 13), mask: 0xe003 });
const longBits = (key: number) => ({ value: 3 | ((key & 31) << 2) | ((key >> 5) << 12), mask: 0x707f });

export const newFields = (): Fields => ({
  rd: 0,
  rs1: 0,
  rs2: 0,
  rs3: 0,
  rm: 0,
  imm: 0,
  aq: 0,
  rl: 0,
  csr: 0,
  vm: 0,
  nf: 0,
});
