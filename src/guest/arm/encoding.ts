/**
 * A64's encodings (../encoding.ts). Fields: `rd`, `rn`, `rm`, `ra` have five bits; `sf`, `s`, `q` one; `cond` four; `shift`, `size` two;
 * `option` three.
 */
import * as encoding from '../encoding.js';
import type { Fields, InsnRow } from './row.js';

export type Encoding = encoding.EncodingOf<InsnRow>;

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

function copy(to: Fields, from: Fields): void {
  to.rd = from.rd;
  to.rn = from.rn;
  to.rm = from.rm;
  to.ra = from.ra;
  to.sf = from.sf;
  to.imm = from.imm;
  to.imm2 = from.imm2;
  to.cond = from.cond;
  to.shift = from.shift;
  to.option = from.option;
  to.size = from.size;
  to.s = from.s;
  to.q = from.q;
}

const form: encoding.FieldForm<Fields> = {
  widths: { rd: 5, rn: 5, rm: 5, ra: 5, sf: 1, s: 1, q: 1, cond: 4, shift: 2, size: 2, option: 3 },
  create: newFields,
  copy,
  /** A row without `sf` has it 1. */
  clear: (fields) => {
    fields.rd = fields.rn = fields.rm = fields.ra = fields.imm = fields.imm2 = 0;
    fields.cond = fields.shift = fields.option = fields.size = fields.s = fields.q = 0;
    fields.sf = 1;
  },
  key: (word) => word >>> 21,
  keyBits: 11,
};

export const parseEncoding = (row: InsnRow): Encoding => encoding.parseEncoding(row, form);
/** Takes an instruction apart; false: the row's own conditions do not hold. */
export const decodeFields = (from: Encoding, word: number, fields: Fields): boolean =>
  encoding.decodeFields(from, word, fields, form);
/** The instruction with these fields, which must fit. */
export const encodeFields = (to: Encoding, fields: Partial<Fields>): number => encoding.encodeFields(to, fields);

/** Finds an instruction's row. */
export class DecoderTables extends encoding.EncodingTables<Fields, InsnRow> {
  constructor(rows: readonly InsnRow[]) {
    super(rows, form);
  }
}
