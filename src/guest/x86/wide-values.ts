/**
 * What the translator knows about the I64 temps of a block: constants, temps that widen an I32, and how many low bits may be
 * other than zero. With it a value is cut to its size only where that matters and has not been done already.
 */
import type { BlockBuilder, I32, I64 } from '../../ir/index.js';
import type { OperandSize } from './translator.js';

const CONSTANT = 1;

export class WideValues {
  b!: BlockBuilder;
  /** By temp: I32 temp + 1 that it widens, or 0. */
  #narrow = new Int32Array(1024);
  /** By temp: bits above this many are zero; 0: not known. */
  #width = new Uint8Array(1024);
  #known = new Uint8Array(1024);
  #low = new Int32Array(1024);
  #high = new Int32Array(1024);
  #top = 0;

  begin(b: BlockBuilder): void {
    this.#narrow.fill(0, 0, this.#top);
    this.#width.fill(0, 0, this.#top);
    this.#known.fill(0, 0, this.#top);
    this.#top = 0;
    this.b = b;
  }

  #note(temp: number): void {
    if (temp < this.#top) return;
    this.#top = temp + 1;
    if (this.#top <= this.#narrow.length) return;
    const size = this.#top * 2;
    const grow = <T extends Int32Array | Uint8Array>(old: T, made: T): T => {
      made.set(old);
      return made;
    };
    this.#narrow = grow(this.#narrow, new Int32Array(size));
    this.#width = grow(this.#width, new Uint8Array(size));
    this.#known = grow(this.#known, new Uint8Array(size));
    this.#low = grow(this.#low, new Int32Array(size));
    this.#high = grow(this.#high, new Int32Array(size));
  }

  /** A constant by its halves. */
  constant(low: number, high: number): I64 {
    const temp = this.b.i64pair(low, high);
    this.#note(temp);
    this.#known[temp] = CONSTANT;
    this.#low[temp] = low;
    this.#high[temp] = high;
    return temp;
  }

  /** A constant, sign-extended from 32 bits. */
  small(value: number): I64 {
    return this.constant(value, value >> 31);
  }

  isConstant(value: I64): boolean {
    return this.#known[value] === CONSTANT;
  }

  /** Low half of a constant. */
  constantLow(value: I64): number {
    return this.#low[value];
  }

  /** Widens 32 bits with zeros; bits at and above `width` are known to be 0. */
  widen(value: I32, width: number): I64 {
    const temp = this.b.i64_extend_i32_u(value);
    this.#note(temp);
    this.#narrow[temp] = value + 1;
    this.#width[temp] = width;
    return temp;
  }

  /** Says that bits at and above `width` are 0. */
  noteWidth(value: I64, width: number): I64 {
    this.#note(value);
    this.#width[value] = width;
    return value;
  }

  /** The low 32 bits as an I32. */
  narrow(value: I64): I32 {
    const b = this.b;
    if (this.#known[value] === CONSTANT) return b.i32(this.#low[value]);
    const narrow = this.#narrow[value];
    return narrow !== 0 ? ((narrow - 1) as I32) : b.i32_wrap_i64(value);
  }

  /** Whether bits at and above `size` are known to be 0. */
  isClean(value: I64, size: number): boolean {
    if (size === 64) return true;
    if (this.#known[value] === CONSTANT) {
      return this.#high[value] === 0 && (size === 32 || this.#low[value] >>> size === 0);
    }
    const width = this.#width[value];
    return width !== 0 && width <= size;
  }

  /** The value with bits at and above `size` cleared. */
  clean(size: OperandSize, value: I64): I64 {
    if (this.isClean(value, size)) return value;
    const b = this.b;
    if (this.#known[value] === CONSTANT) {
      const low = this.#low[value];
      return this.constant(size === 32 ? low : low & ((1 << size) - 1), 0);
    }
    if (size === 32) return this.noteWidth(b.i64_low32(value), 32);
    return this.noteWidth(b.i64_and(value, b.i64pair((1 << size) - 1, 0)), size);
  }

  /** The value as an I32 with bits at and above `size` (8, 16 or 32) cleared. */
  cleanNarrow(size: OperandSize, value: I64): I32 {
    const b = this.b;
    if (this.#known[value] === CONSTANT) {
      const low = this.#low[value];
      return b.i32(size >= 32 ? low : low & ((1 << size) - 1));
    }
    const narrow = this.narrow(value);
    return size >= 32 || this.isClean(value, size) ? narrow : b.i32_and(narrow, b.i32((1 << size) - 1));
  }

  /** The value as an I32, sign-extended from 8, 16 or 32 bits. */
  signedNarrow(size: OperandSize, value: I64): I32 {
    const b = this.b;
    if (this.#known[value] === CONSTANT) {
      const low = this.#low[value];
      return b.i32(size === 8 ? (low << 24) >> 24 : size === 16 ? (low << 16) >> 16 : low);
    }
    const narrow = this.narrow(value);
    return size === 8 ? b.i32_extend8_s(narrow) : size === 16 ? b.i32_extend16_s(narrow) : narrow;
  }

  /** Sign-extended to all 64 bits. */
  signed(size: OperandSize, value: I64): I64 {
    const b = this.b;
    if (size === 64) return value;
    if (this.#known[value] === CONSTANT) {
      const low = this.#low[value];
      return this.small(size === 8 ? (low << 24) >> 24 : size === 16 ? (low << 16) >> 16 : low);
    }
    if (size === 32) {
      const narrow = this.#narrow[value];
      return narrow !== 0 ? b.i64_extend_i32_s((narrow - 1) as I32) : b.i64_extend32_s(value);
    }
    return size === 16 ? b.i64_extend16_s(value) : b.i64_extend8_s(value);
  }

  // --- comparisons at a size; all give 0 or 1

  isZero(size: OperandSize, value: I64): I32 {
    return size === 64 ? this.b.i64_eqz(value) : this.b.i32_eqz(this.cleanNarrow(size, value));
  }

  isNonZero(size: OperandSize, value: I64): I32 {
    const b = this.b;
    return size === 64 ? b.i64_ne(value, b.i64pair(0, 0)) : b.i32_ne(this.cleanNarrow(size, value), b.i32(0));
  }

  isNegative(size: OperandSize, value: I64): I32 {
    const b = this.b;
    if (size === 64) return b.i64_lt_s(value, b.i64pair(0, 0));
    const narrow = this.narrow(value);
    if (size === 32) return b.i32_shr_u(narrow, b.i32(31));
    return b.i32_and(b.i32_shr_u(narrow, b.i32(size - 1)), b.i32(1));
  }

  equal(size: OperandSize, x: I64, y: I64, negate: boolean): I32 {
    const b = this.b;
    if (this.#known[y] === CONSTANT && this.#low[y] === 0 && this.#high[y] === 0) {
      return negate ? this.isNonZero(size, x) : this.isZero(size, x);
    }
    if (size === 64) return negate ? b.i64_ne(x, y) : b.i64_eq(x, y);
    const left = this.cleanNarrow(size, x);
    const right = this.cleanNarrow(size, y);
    return negate ? b.i32_ne(left, right) : b.i32_eq(left, right);
  }

  /** x < y, or with `orEqual` x <= y; unsigned. `negate`: the opposite. */
  below(size: OperandSize, x: I64, y: I64, orEqual: boolean, negate: boolean): I32 {
    const b = this.b;
    if (size === 64) {
      if (orEqual) return negate ? b.i64_gt_u(x, y) : b.i64_le_u(x, y);
      return negate ? b.i64_ge_u(x, y) : b.i64_lt_u(x, y);
    }
    const left = this.cleanNarrow(size, x);
    const right = this.cleanNarrow(size, y);
    if (orEqual) return negate ? b.i32_gt_u(left, right) : b.i32_le_u(left, right);
    return negate ? b.i32_ge_u(left, right) : b.i32_lt_u(left, right);
  }

  /** x < y, or with `orEqual` x <= y; signed. */
  less(size: OperandSize, x: I64, y: I64, orEqual: boolean, negate: boolean): I32 {
    const b = this.b;
    if (size === 64) {
      if (orEqual) return negate ? b.i64_gt_s(x, y) : b.i64_le_s(x, y);
      return negate ? b.i64_ge_s(x, y) : b.i64_lt_s(x, y);
    }
    const left = this.signedNarrow(size, x);
    const right = this.signedNarrow(size, y);
    if (orEqual) return negate ? b.i32_gt_s(left, right) : b.i32_le_s(left, right);
    return negate ? b.i32_ge_s(left, right) : b.i32_lt_s(left, right);
  }
}
