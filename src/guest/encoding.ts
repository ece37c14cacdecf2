/**
 * Instruction encodings as Arm's manuals draw them, and what follows from them: decoding and encoding.
 *
 * A pattern is a list of words from the highest bit down: binary digits, where x is a bit that is ignored and should be one; a field
 * of its usual width; or part of a field with the bits it holds, as `rd[2:0]`. Immediates are `simm[…]`, which is sign-extended from
 * its highest bit, `uimm[…]`, which is not, and `imm2[…]`. A pattern of 16 bits is of an instruction that lies in the upper half.
 */
import { sameShape } from '../base/index.js';

export interface EncodedRow<F> {
  readonly name: string;
  readonly enc: string;
  /** What the encoding's fields must be for it to be this instruction. */
  readonly where?: (i: F) => boolean;
}

/** What an instruction set calls its fields. */
export interface FieldForm<F> {
  readonly widths: Readonly<Partial<Record<string, number>>>;
  /** Makes all fields what they are where an encoding has them not. */
  clear(fields: F): void;
  /** The fields, numbered; and what gives one its value, by its number: a switch, which costs less than a property by its name. */
  readonly order: readonly string[];
  put(fields: F, number: number, value: number): void;
  /** The bits that a table is indexed by, so many of them. */
  key(word: number): number;
  readonly keyBits: number;
}

interface Part {
  readonly field: string;
  /** Place in the instruction; width; place in the field. */
  readonly shift: number;
  readonly width: number;
  readonly to: number;
}

export interface EncodingOf<R> {
  readonly row: R;
  /** Bits that are given, and what they are. */
  readonly mask: number;
  readonly match: number;
  /** Bits that should be one. */
  readonly ignored: number;
  readonly parts: readonly Part[];
  /**
   * The same for who takes instructions apart: the number of a signed field, or -1, and its unused upper bits in 32; then of each field its
   * number and how many parts it has, of each part shift, mask and `to`.
   */
  readonly steps: Int32Array;
  /** Bytes of the instruction. */
  readonly bytes: 2 | 4;
}

export function parseEncoding<F, R extends EncodedRow<F>>(row: R, { widths, order }: FieldForm<F>): EncodingOf<R> {
  let at = 32;
  let mask = 0;
  let match = 0;
  let ignored = 0;
  let signedBits = 0;
  const parts: Part[] = [];
  for (const word of row.enc.split(' ')) {
    const ranges = /^(\w+)\[([\d:|]+)\]$/.exec(word);
    if (/^[01x]+$/.test(word)) {
      for (const digit of word) {
        at--;
        if (digit === 'x') ignored |= 1 << at;
        else {
          mask |= 1 << at;
          match |= Number(digit) << at;
        }
      }
    } else if (ranges) {
      const field = /^[su]imm$/.test(ranges[1]) ? 'imm' : ranges[1];
      for (const range of ranges[2].split('|')) {
        const [high, low = high] = range.split(':').map(Number);
        at -= high - low + 1;
        parts.push({ field, shift: at, width: high - low + 1, to: low });
        if (ranges[1] === 'simm') signedBits = Math.max(signedBits, high + 1);
      }
    } else {
      const width = widths[word];
      if (width === undefined) throw new Error(`vring invariant broken: ${row.name} has a field ${word}`);
      at -= width;
      parts.push({ field: word, shift: at, width, to: 0 });
    }
  }
  if (at !== 0 && at !== 16) throw new Error(`vring invariant broken: the encoding of ${row.name} leaves ${at} bits`);
  return {
    row,
    mask,
    match,
    ignored,
    parts,
    steps: Int32Array.of(
      signedBits > 0 ? order.indexOf('imm') : -1,
      (32 - signedBits) & 31,
      ...[...new Set(parts.map(({ field }) => field))].flatMap((field) => {
        const own = parts.filter((part) => part.field === field);
        return [
          order.indexOf(field),
          own.length,
          ...own.flatMap(({ shift, width, to }) => [shift, (1 << width) - 1, to]),
        ];
      }),
    ),
    bytes: at === 0 ? 4 : 2,
  };
}

/** Gives the fields what an instruction says, by the steps (`EncodingOf.steps`) from `at` up to `end`. */
function takeApart<F>(steps: Int32Array, at: number, end: number, word: number, fields: F, form: FieldForm<F>): void {
  form.clear(fields);
  const signed = steps[at++];
  const signShift = steps[at++];
  while (at < end) {
    const number = steps[at++];
    let value = 0;
    for (let left = steps[at++]; left > 0; left--, at += 3)
      value |= ((word >>> steps[at]) & steps[at + 1]) << steps[at + 2];
    if (number === signed) value = (value << signShift) >> signShift;
    form.put(fields, number, value);
  }
}

/** Takes an instruction apart; false: the row's own conditions do not hold. */
export function decodeFields<F extends object>(
  { steps, row }: EncodingOf<EncodedRow<F>>,
  word: number,
  given: F,
  form: FieldForm<F>,
): boolean {
  takeApart(steps, 0, steps.length, word, given, form);
  return row.where?.(given) ?? true;
}

/** The instruction with these fields, which must fit. */
export function encodeFields<F extends object>(encoding: EncodingOf<EncodedRow<F>>, given: Partial<F>): number {
  const fields = given as unknown as Record<string, number | undefined>;
  let word = encoding.match | encoding.ignored;
  for (const { field, shift, width, to } of encoding.parts) {
    const value = (fields[field] ?? 0) >> to;
    word |= (value & ((1 << width) - 1)) << shift;
  }
  return word >>> 0;
}

/** Words of a candidate: mask, match, where its steps are (index of the encoding, end, then the steps themselves). */
const CANDIDATE_WORDS = 3;

/** Finds an instruction's row. What is looked at for each instruction lies together: most of it is not in the cache when code is new. */
export class EncodingTables<F extends object, R extends EncodedRow<F>> {
  /** By the form's key: where the candidates begin. Encodings with more bits given come first. */
  readonly #first: Int32Array;
  readonly #candidates: Int32Array;
  readonly #steps: Int32Array;
  readonly #form: FieldForm<F>;
  readonly encodings: readonly EncodingOf<R>[];

  constructor(rows: readonly R[], form: FieldForm<F>) {
    this.#form = form;
    this.encodings = sameShape(rows).map((row) => parseEncoding(row, form));
    const given = (value: number): number => {
      let count = 0;
      for (let rest = value; rest !== 0; rest &= rest - 1) count++;
      return count;
    };
    const steps: number[] = [];
    const ordered = this.encodings
      .map((encoding, index) => {
        const at = steps.length;
        steps.push(index, at + 2 + encoding.steps.length, ...encoding.steps);
        return { encoding, at, bits: given(encoding.mask) };
      })
      .sort((a, b) => b.bits - a.bits);
    this.#steps = Int32Array.from(steps);
    const all = (1 << form.keyBits) - 1;
    const lists = Array.from({ length: all + 1 }, (): number[] => []);
    for (const { encoding, at } of ordered) {
      const match = form.key(encoding.match);
      // Every key that has the bits that are given: those that are not take every value.
      const free = all & ~form.key(encoding.mask);
      for (let open = free; ; open = (open - 1) & free) {
        lists[match | open].push(encoding.mask, encoding.match, at);
        if (open === 0) break;
      }
    }
    let end = 0;
    this.#first = Int32Array.from([0, ...lists.map(({ length }) => (end += length))]);
    this.#candidates = new Int32Array(end);
    lists.forEach((list, key) => {
      this.#candidates.set(list, this.#first[key]);
    });
  }

  /** Undefined: no such instruction. */
  decode(word: number, fields: F): EncodingOf<R> | undefined {
    const candidates = this.#candidates;
    const steps = this.#steps;
    const key = this.#form.key(word);
    const end = this.#first[key + 1];
    for (let at = this.#first[key]; at < end; at += CANDIDATE_WORDS) {
      if ((word & candidates[at]) !== candidates[at + 1]) continue;
      const place = candidates[at + 2];
      takeApart(steps, place + 2, steps[place + 1], word, fields, this.#form);
      const encoding = this.encodings[steps[place]];
      if (encoding.row.where?.(fields) ?? true) return encoding;
    }
    return undefined;
  }
}
