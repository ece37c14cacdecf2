/**
 * The flags while a block is translated: what is known of the operation that set them last, so that a condition becomes a
 * comparison of its operands. Operands of 32 bits are held sign-extended, which keeps every order.
 */
import type { BlockBuilder, I32, I64 } from '../../ir/index.js';
import { computeFlags } from './routines/set.js';
import { flagA, flagB, flagC, flagKind, flagOp } from './state.js';

const UNKNOWN = -1;

/** A pair of conditions, by bits 3 to 1 of their code, of flags that are known: N is bit 3. */
function ofConstant(pair: number, nzcv: number): boolean {
  const [n, z, c, v] = [3, 2, 1, 0].map((place) => ((nzcv >> place) & 1) === 1);
  return [z, c, n, v, c && !z, n === v, !z && n === v][pair];
}

/** Of a result with C and V clear. */
function ofLogic(b: BlockBuilder, pair: number, opposite: boolean, result: I64): I32 {
  const zero = b.i64(0);
  switch (pair) {
    case 0:
      return opposite ? b.i64_ne(result, zero) : b.i64_eqz(result);
    case 2:
      return opposite ? b.i64_ge_s(result, zero) : b.i64_lt_s(result, zero);
    case 5:
      return opposite ? b.i64_lt_s(result, zero) : b.i64_ge_s(result, zero);
    case 6:
      return opposite ? b.i64_le_s(result, zero) : b.i64_gt_s(result, zero);
    default:
      return b.i32(opposite ? 1 : 0);
  }
}

/** Of x - y: sign-extended where they have 32 bits, so that the order is that of 64. */
function ofDifference(b: BlockBuilder, pair: number, opposite: boolean, wide: boolean, x: I64, y: I64): I32 {
  switch (pair) {
    case 0:
      return opposite ? b.i64_ne(x, y) : b.i64_eq(x, y);
    case 1:
      return opposite ? b.i64_lt_u(x, y) : b.i64_ge_u(x, y);
    case 2:
      return isNegative(b, opposite, wide, b.i64_sub(x, y));
    case 3: {
      const difference = b.i64_sub(x, y);
      if (!wide) return overflows(b, opposite, difference);
      return isNegative(b, opposite, true, b.i64_and(b.i64_xor(x, y), b.i64_xor(x, difference)));
    }
    case 4:
      return opposite ? b.i64_le_u(x, y) : b.i64_gt_u(x, y);
    case 5:
      return opposite ? b.i64_lt_s(x, y) : b.i64_ge_s(x, y);
    default:
      return opposite ? b.i64_le_s(x, y) : b.i64_gt_s(x, y);
  }
}

/** Of x + y; undefined for what needs more than a comparison. */
function ofSum(b: BlockBuilder, pair: number, opposite: boolean, wide: boolean, x: I64, y: I64): I32 | undefined {
  const sum = b.i64_add(x, y);
  const zero = b.i64(0);
  switch (pair) {
    case 0: {
      const result = wide ? sum : b.i64_extend32_s(sum);
      return opposite ? b.i64_ne(result, zero) : b.i64_eqz(result);
    }
    case 1: {
      // The upper halves of 32 bits carry into nothing.
      const [total, part] = wide ? [sum, x] : [b.i64_shl(sum, b.i64(32)), b.i64_shl(x, b.i64(32))];
      return opposite ? b.i64_ge_u(total, part) : b.i64_lt_u(total, part);
    }
    case 2:
      return isNegative(b, opposite, wide, sum);
    case 3:
      if (!wide) return overflows(b, opposite, sum);
      return isNegative(b, opposite, true, b.i64_and(b.i64_xor(x, sum), b.i64_xor(y, sum)));
    case 5:
      // 64 bits hold the sum of 32, whose sign is N xor V.
      if (wide) return undefined;
      return opposite ? b.i64_lt_s(sum, zero) : b.i64_ge_s(sum, zero);
    case 6:
      if (wide) return undefined;
      return opposite ? b.i64_le_s(sum, zero) : b.i64_gt_s(sum, zero);
    default:
      return undefined;
  }
}

function isNegative(b: BlockBuilder, opposite: boolean, wide: boolean, value: I64): I32 {
  const result = wide ? value : b.i64_extend32_s(value);
  return opposite ? b.i64_ge_s(result, b.i64(0)) : b.i64_lt_s(result, b.i64(0));
}

/** V of 32 bits: the exact result is not what they hold. */
function overflows(b: BlockBuilder, opposite: boolean, exact: I64): I32 {
  const held = b.i64_extend32_s(exact);
  return opposite ? b.i64_eq(exact, held) : b.i64_ne(exact, held);
}

export class LazyFlags {
  #b!: BlockBuilder;
  #kind = UNKNOWN;
  #a: I64 | undefined;
  #operand: I64 | undefined;
  #bits: I32 | undefined;
  /** Of a conditional comparison: the condition, and NZCV in bits 3 to 0 where it does not hold. */
  #holds: I32 | undefined;
  #otherwise = 0;

  /** A block starts: what set the flags is not known. */
  begin(b: BlockBuilder): void {
    this.#b = b;
    this.#kind = UNKNOWN;
    this.#a = this.#operand = this.#bits = this.#holds = undefined;
  }

  #set(kind: number, a: I64, operand?: I64, third?: I64): void {
    const b = this.#b;
    b.set(flagA, a);
    if (operand !== undefined) b.set(flagB, operand);
    if (third !== undefined) b.set(flagC, third);
    if (kind !== this.#kind) b.setDeferred(kind);
    this.#kind = kind;
    this.#a = a;
    this.#operand = operand;
    this.#bits = this.#holds = undefined;
  }

  /** Of `result`, C and V clear. */
  setLogic(result: I64): void {
    this.#set(flagKind.logic, result);
  }
  /** Of x - y. */
  setSub(wide: boolean, x: I64, y: I64): void {
    this.#set(wide ? flagKind.sub64 : flagKind.sub32, x, y);
  }
  setAdd(wide: boolean, x: I64, y: I64): void {
    this.#set(wide ? flagKind.add64 : flagKind.add32, x, y);
  }
  /** NZCV in bits 31 to 28. */
  setBits(bits: I32): void {
    this.#set(flagKind.bits, this.#b.i64_extend_i32_u(bits));
    this.#bits = bits;
  }
  /** Of x - y if the condition holds, else the constant (NZCV in bits 3 to 0). */
  setConditional(wide: boolean, holds: I32, x: I64, y: I64, nzcv: number): void {
    const b = this.#b;
    const otherwise = b.select(holds, b.i64(-1), b.i64(nzcv * 2 ** 28));
    this.#set(wide ? flagKind.conditional64 : flagKind.conditional32, x, y, otherwise);
    this.#holds = holds;
    this.#otherwise = nzcv;
  }

  /** NZCV in bits 31 to 28. */
  bits(): I32 {
    const b = this.#b;
    if (this.#bits === undefined) {
      if (this.#kind === flagKind.bits) this.#bits = b.i32_wrap_i64(this.#first());
      else {
        const kind = this.#kind < 0 ? b.get(flagOp) : b.i32(this.#kind);
        [this.#bits] = b.call(computeFlags, kind, b.get(flagA), b.get(flagB), b.get(flagC));
      }
    }
    return this.#bits;
  }

  /** C, 0 or 1. */
  carry(): I32 {
    return this.#known(1) ?? this.#flag(29);
  }

  #flag(place: number): I32 {
    const b = this.#b;
    return b.i32_and(b.i32_shr_u(this.bits(), b.i32(place)), b.i32(1));
  }

  /** A condition (C1.2.4): 0 or 1. */
  condition(code: number): I32 {
    const b = this.#b;
    if (code >= 14) return b.i32(1);
    const pair = code >> 1;
    const opposite = (code & 1) === 1;
    const known = this.#known(pair, opposite);
    if (known !== undefined) return known;
    const holds = this.#byBits(pair);
    return opposite ? b.i32_eqz(holds) : holds;
  }

  /** The condition, or its opposite, of the operation's operands; undefined where that takes the flags themselves. */
  #known(pair: number, opposite = false): I32 | undefined {
    const b = this.#b;
    switch (this.#kind) {
      case flagKind.logic:
        return ofLogic(b, pair, opposite, this.#first());
      case flagKind.sub32:
      case flagKind.sub64:
        return ofDifference(b, pair, opposite, this.#kind === flagKind.sub64, this.#first(), this.#second());
      case flagKind.add32:
      case flagKind.add64:
        return ofSum(b, pair, opposite, this.#kind === flagKind.add64, this.#first(), this.#second());
      case flagKind.conditional32:
      case flagKind.conditional64: {
        if (this.#holds === undefined) return undefined;
        const wide = this.#kind === flagKind.conditional64;
        const compared = ofDifference(b, pair, opposite, wide, this.#first(), this.#second());
        return b.select(this.#holds, compared, b.i32(ofConstant(pair, this.#otherwise) === opposite ? 0 : 1));
      }
      default:
        return undefined;
    }
  }

  #first(): I64 {
    return this.#a ?? this.#b.get(flagA);
  }
  #second(): I64 {
    return this.#operand ?? this.#b.get(flagB);
  }

  #byBits(pair: number): I32 {
    const b = this.#b;
    switch (pair) {
      case 0:
        return this.#flag(30);
      case 1:
        return this.#flag(29);
      case 2:
        return this.#flag(31);
      case 3:
        return this.#flag(28);
      case 4:
        return b.i32_and(this.#flag(29), b.i32_eqz(this.#flag(30)));
      case 5:
        return b.i32_eq(this.#flag(31), this.#flag(28));
      default:
        return b.i32_and(b.i32_eqz(this.#flag(30)), b.i32_eq(this.#flag(31), this.#flag(28)));
    }
  }
}
