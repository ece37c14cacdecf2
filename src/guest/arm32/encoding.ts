/**
 * A32's and T32's encodings (../encoding.ts). Fields: `rd`, `rn`, `rm`, `ra` have four bits; `s`, `p`, `u`, `w`, `q`, `op` one; `cond` four;
 * `shift`, `size` two.
 */
import * as encoding from '../encoding.js';
import type { Fields, InsnRow } from './row.js';

export type Encoding = encoding.EncodingOf<InsnRow>;

export const newFields = (): Fields => ({
  rd: 0,
  rn: 0,
  rm: 0,
  ra: 0,
  imm: 0,
  imm2: 0,
  cond: 14,
  shift: 0,
  size: 0,
  s: 0,
  p: 0,
  u: 0,
  w: 0,
  q: 0,
  op: 0,
});

const widths = { rd: 4, rn: 4, rm: 4, ra: 4, cond: 4, shift: 2, size: 2, s: 1, p: 1, u: 1, w: 1, q: 1, op: 1 };
function clear(fields: Fields): void {
  fields.rd = fields.rn = fields.rm = fields.ra = fields.imm = fields.imm2 = 0;
  fields.shift = fields.size = fields.s = fields.p = fields.u = fields.w = fields.q = fields.op = 0;
  fields.cond = 14;
}
const order = ['rd', 'rn', 'rm', 'ra', 'imm', 'imm2', 'cond', 'shift', 'size', 's', 'p', 'u', 'w', 'q', 'op'];
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
      fields.imm = value;
      break;
    case 5:
      fields.imm2 = value;
      break;
    case 6:
      fields.cond = value;
      break;
    case 7:
      fields.shift = value;
      break;
    case 8:
      fields.size = value;
      break;
    case 9:
      fields.s = value;
      break;
    case 10:
      fields.p = value;
      break;
    case 11:
      fields.u = value;
      break;
    case 12:
      fields.w = value;
      break;
    case 13:
      fields.q = value;
      break;
    default:
      fields.op = value;
  }
}
const common = { widths, order, put, clear };
/** A32 by bits 20-27 and 4-7, T32 by the upper 11 or, with 32 bits, by bits 20-28 and 4-7. */
const armForm: encoding.FieldForm<Fields> = {
  ...common,
  key: (word) => ((word >>> 16) & 0xff0) | ((word >>> 4) & 15),
  keyBits: 12,
};
const shortForm: encoding.FieldForm<Fields> = { ...common, key: (word) => word >>> 21, keyBits: 11 };
const longForm: encoding.FieldForm<Fields> = {
  ...common,
  key: (word) => ((word >>> 16) & 0x1ff0) | ((word >>> 4) & 15),
  keyBits: 13,
};

export const parseEncoding = (row: InsnRow): Encoding => encoding.parseEncoding(row, armForm);
export const decodeFields = (from: Encoding, word: number, fields: Fields): boolean =>
  encoding.decodeFields(from, word, fields, armForm);
/** The instruction with these fields, which must fit; one of 16 bits in the upper half. */
export const encodeFields = (to: Encoding, fields: Partial<Fields>): number => encoding.encodeFields(to, fields);

/** Is the instruction that begins with this halfword one of 16 bits? */
export const isShort = (first: number): boolean => first < 0xe800;

/** Finds an instruction's row: one table for A32 with a condition, one for A32 without, two for T32. */
export class DecoderTables {
  readonly #conditional: encoding.EncodingTables<Fields, InsnRow>;
  readonly #unconditional: encoding.EncodingTables<Fields, InsnRow>;
  readonly #short: encoding.EncodingTables<Fields, InsnRow>;
  readonly #long: encoding.EncodingTables<Fields, InsnRow>;
  readonly encodings: readonly Encoding[];

  constructor(rows: readonly InsnRow[]) {
    const arm = rows.filter(({ set }) => set === 'arm');
    const thumb = rows.filter(({ set }) => set === 'thumb');
    const hasCondition = ({ enc }: InsnRow): boolean => enc.startsWith('cond ');
    const isLong = (row: InsnRow): boolean => parseEncoding(row).bytes === 4;
    const tables = encoding.EncodingTables<Fields, InsnRow>;
    this.#conditional = new tables(arm.filter(hasCondition), armForm);
    this.#unconditional = new tables(
      arm.filter((row) => !hasCondition(row)),
      armForm,
    );
    this.#short = new tables(
      thumb.filter((row) => !isLong(row)),
      shortForm,
    );
    this.#long = new tables(thumb.filter(isLong), longForm);
    const all = [this.#conditional, this.#unconditional, this.#short, this.#long];
    this.encodings = all.flatMap(({ encodings }) => encodings);
  }

  /** A32. Undefined: no such instruction. */
  arm(word: number, fields: Fields): Encoding | undefined {
    return (word >>> 28 === 15 ? this.#unconditional : this.#conditional).decode(word, fields);
  }
  /** T32: the first halfword in the upper half. */
  thumb(word: number, fields: Fields): Encoding | undefined {
    return (isShort(word >>> 16) ? this.#short : this.#long).decode(word, fields);
  }
}
