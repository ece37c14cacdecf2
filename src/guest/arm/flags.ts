/**
 * The flags while a block is translated: what is known of the operation that set them last, so that a condition becomes a
 * comparison of its operands. Operands of 32 bits are held sign-extended, which keeps every order.
 */
import type { BlockBuilder, I32, I64 } from '../../ir/index.js';
import { computeFlags } from './routines/set.js';
import { flagA, flagB, flagC, flagKind, flagOp } from './state.js';

const UNKNOWN = -1;

export class LazyFlags {
  #b!: BlockBuilder;
  #kind = UNKNOWN;
  #a: I64 | undefined;
  #operand: I64 | undefined;
  #bits: I32 | undefined;

  /** A block starts; `known`: the deferred variable then. */
  begin(b: BlockBuilder, known = UNKNOWN): void {
    this.#b = b;
    this.#kind = known;
    this.#a = this.#operand = this.#bits = undefined;
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
    this.#bits = undefined;
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
  }

  /** NZCV in bits 31 to 28. */
  bits(): I32 {
    const b = this.#b;
    if (this.#bits === undefined) {
      const kind = this.#kind < 0 ? b.get(flagOp) : b.i32(this.#kind);
      [this.#bits] = b.call(computeFlags, kind, b.get(flagA), b.get(flagB), b.get(flagC));
    }
    return this.#bits;
  }

  /** C, 0 or 1. */
  carry(): I32 {
    return this.#flag(29);
  }

  #flag(place: number): I32 {
    const b = this.#b;
    return b.i32_and(b.i32_shr_u(this.bits(), b.i32(place)), b.i32(1));
  }

  /** A condition (C1.2.4): 0 or 1. */
  condition(code: number): I32 {
    const b = this.#b;
    if (code >= 14) return b.i32(1);
    const quick = this.#compare(code);
    if (quick !== undefined) return quick;
    const holds = this.#byBits(code >> 1);
    return code & 1 ? b.i32_eqz(holds) : holds;
  }

  /** The condition as a comparison of the operands of a subtraction. */
  #compare(code: number): I32 | undefined {
    if (this.#kind !== flagKind.sub32 && this.#kind !== flagKind.sub64) return undefined;
    const b = this.#b;
    const x = this.#a ?? b.get(flagA);
    const y = this.#operand ?? b.get(flagB);
    switch (code) {
      case 0:
        return b.i64_eq(x, y);
      case 1:
        return b.i64_ne(x, y);
      case 2:
        return b.i64_ge_u(x, y);
      case 3:
        return b.i64_lt_u(x, y);
      case 8:
        return b.i64_gt_u(x, y);
      case 9:
        return b.i64_le_u(x, y);
      case 10:
        return b.i64_ge_s(x, y);
      case 11:
        return b.i64_lt_s(x, y);
      case 12:
        return b.i64_gt_s(x, y);
      case 13:
        return b.i64_le_s(x, y);
      default:
        return undefined;
    }
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
