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

const order = ['rd', 'rn', 'rm', 'ra', 'sf', 'imm', 'imm2', 'cond', 'shift', 'option', 'size', 's', 'q'];
function put(fields: Fields, number: number, value: number): void {
  switch (number) {
    case 0:
      fields.rd = value;
      break;
    case 1:
      fields.rn = value;
      break;
    case 2:
      fields.rm = value;
      break;
    case 3:
      fields.ra = value;
      break;
    case 4:
      fields.sf = value;
      break;
    case 5:
      fields.imm = value;
      break;
    case 6:
      fields.imm2 = value;
      break;
    case 7:
      fields.cond = value;
      break;
    case 8:
      fields.shift = value;
      break;
    case 9:
      fields.option = value;
      break;
    case 10:
      fields.size = value;
      break;
    case 11:
      fields.s = value;
      break;
    default:
      fields.q = value;
  }
}

const form: encoding.FieldForm<Fields> = {
  widths: { rd: 5, rn: 5, rm: 5, ra: 5, sf: 1, s: 1, q: 1, cond: 4, shift: 2, size: 2, option: 3 },
  order,
  put,
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
