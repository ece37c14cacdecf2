/**
 * Instruction encodings as the manual's diagrams write them, and what follows from them: decoding and encoding.
 *
 * A pattern is a list of words from bit 31 to bit 0: binary digits, where x is a bit that is ignored and should be one; a field
 * (`rd`, `rn`, `rm`, `ra`: five bits; `sf`, `s`, `q`: one; `cond`: four; `shift`, `size`: two; `option`: three); or part of an
 * immediate with the bits it holds, as `simm[1:0]`: `simm` is sign-extended from its highest bit, `uimm` is not, and `imm2`
 * is the second immediate.
 */
import type { Fields, InsnRow } from './row.js';

type Field = keyof Fields;

interface Part {
  readonly field: Field;
  /** Place in the instruction; width; place in the field. */
  readonly shift: number;
  readonly width: number;
  readonly to: number;
}

export interface Encoding {
  readonly row: InsnRow;
  /** Bits that are given, and what they are. */
  readonly mask: number;
  readonly match: number;
  /** Bits that should be one. */
  readonly ignored: number;
  readonly parts: readonly Part[];
  /** Unused upper bits of a signed immediate in 32; undefined: unsigned. */
  readonly signShift: number | undefined;
}

const widths: Readonly<Partial<Record<string, number>>> = {
  rd: 5,
  rn: 5,
  rm: 5,
  ra: 5,
  sf: 1,
  s: 1,
  q: 1,
  cond: 4,
  shift: 2,
  size: 2,
  option: 3,
};

export function parseEncoding(row: InsnRow): Encoding {
  let at = 32;
  let mask = 0;
  let match = 0;
  let ignored = 0;
  let signedBits = 0;
  const parts: Part[] = [];
  for (const word of row.enc.split(' ')) {
    const immediate = /^(simm|uimm|imm2)\[([\d:|]+)\]$/.exec(word);
    if (/^[01x]+$/.test(word)) {
      for (const digit of word) {
        at--;
        if (digit === 'x') ignored |= 1 << at;
        else {
          mask |= 1 << at;
          match |= Number(digit) << at;
        }
      }
    } else if (immediate) {
      const field = immediate[1] === 'imm2' ? 'imm2' : 'imm';
      for (const range of immediate[2].split('|')) {
        const [high, low = high] = range.split(':').map(Number);
        at -= high - low + 1;
        parts.push({ field, shift: at, width: high - low + 1, to: low });
        if (immediate[1] === 'simm') signedBits = Math.max(signedBits, high + 1);
      }
    } else {
      const width = widths[word];
      if (width === undefined) throw new Error(`vring invariant broken: ${row.name} has a field ${word}`);
      at -= width;
      parts.push({ field: word as Field, shift: at, width, to: 0 });
    }
  }
  if (at !== 0) throw new Error(`vring invariant broken: the encoding of ${row.name} leaves ${at} bits`);
  return {
    row,
    mask: mask >>> 0,
    match: match >>> 0,
    ignored: ignored >>> 0,
    parts,
    signShift: signedBits > 0 ? 32 - signedBits : undefined,
  };
}

export const newFields = (): Fields => ({
  rd: 0,
  rn: 0,
  rm: 0,
  ra: 0,
  sf: 1,
  imm: 0,
  imm2: 0,
  cond: 0,
  shift: 0,
  option: 0,
  size: 0,
  s: 0,
  q: 0,
});

/** Takes an instruction apart; false: the row's own conditions do not hold. A row without `sf` has it 1. */
export function decodeFields(encoding: Encoding, word: number, fields: Fields): boolean {
  fields.rd = fields.rn = fields.rm = fields.ra = fields.imm = fields.imm2 = 0;
  fields.cond = fields.shift = fields.option = fields.size = fields.s = fields.q = 0;
  fields.sf = 1;
  for (const { field, shift, width, to } of encoding.parts) {
    const value = (word >>> shift) & ((1 << width) - 1);
    if (field === 'imm' || field === 'imm2') fields[field] |= value << to;
    else fields[field] = value;
  }
  if (encoding.signShift !== undefined) fields.imm = (fields.imm << encoding.signShift) >> encoding.signShift;
  return encoding.row.where?.(fields) ?? true;
}

/** The instruction with these fields, which must fit. */
export function encodeFields(encoding: Encoding, fields: Partial<Fields>): number {
  let word = encoding.match | encoding.ignored;
  for (const { field, shift, width, to } of encoding.parts) {
    const value = (fields[field] ?? 0) >> to;
    word |= (value & ((1 << width) - 1)) << shift;
  }
  return word >>> 0;
}

/** Finds an instruction's row. */
export class DecoderTables {
  /** By bits 21 to 31. Encodings with more bits given come first. */
  readonly #lists: Encoding[][] = Array.from({ length: 2048 }, () => []);
  readonly encodings: readonly Encoding[];

  constructor(rows: readonly InsnRow[]) {
    this.encodings = rows.map(parseEncoding);
    const given = (value: number): number => value.toString(2).replaceAll('0', '').length;
    const ordered = [...this.encodings].sort((a, b) => given(b.mask) - given(a.mask));
    for (const encoding of ordered) {
      const mask = encoding.mask >>> 21;
      const match = encoding.match >>> 21;
      for (let key = 0; key < 2048; key++) if (((key ^ match) & mask) === 0) this.#lists[key].push(encoding);
    }
  }

  /** Undefined: no such instruction. */
  decode(word: number, fields: Fields): Encoding | undefined {
    for (const encoding of this.#lists[word >>> 21]) {
      if ((word & encoding.mask) >>> 0 === encoding.match && decodeFields(encoding, word, fields)) return encoding;
    }
    return undefined;
  }
}
