/**
 * The flags while a block is translated: what is known of the operation that set them last, so that a condition becomes a comparison
 * of its operands. Most logical operations leave C and V, so N and Z are kept apart from them (routines/flags.ts).
 */
import type { BlockBuilder, I32, I64 } from '../../ir/index.js';
import { carryOverflow, flagKind } from './routines/flags.js';
import { flagA, flagB, flagC, flagOp } from './state.js';

const UNKNOWN = -1;

export class LazyFlags {
  #b!: BlockBuilder;
  #kind = UNKNOWN;
  #a: I64 | undefined;
  #operand: I64 | undefined;
  /** All flags are those of a subtraction, whose operands are known. */
  #isCompared = false;
  /** Sign-extended: N and Z are those of this value. */
  #nz: I64 | undefined;
  /** Not undefined: what is set is set only if this holds. */
  #guard: I32 | undefined;

  /** A block starts: what set the flags is not known. */
  begin(b: BlockBuilder): void {
    this.#b = b;
    this.#kind = UNKNOWN;
    this.#a = this.#operand = this.#nz = this.#guard = undefined;
    this.#isCompared = false;
  }

  /** From here on flags are set only if the condition holds. */
  guard(condition: I32 | undefined): void {
    this.#guard = condition;
  }

  #setNz(value: I64): void {
    const b = this.#b;
    const nz = this.#guard === undefined ? value : b.select(this.#guard, value, b.get(flagC));
    b.set(flagC, nz);
    this.#nz = this.#guard === undefined ? nz : undefined;
  }

  #setKind(kind: number): void {
    if (kind !== this.#kind) this.#b.setDeferred(kind);
    this.#kind = kind;
  }

  /** C and V in bits 29 and 28, under the guard if there is one. */
  #setCarryOverflow(bits: I32): void {
    const b = this.#b;
    const chosen = this.#guard === undefined ? bits : b.select(this.#guard, bits, this.#carryOverflow());
    const wide = b.i64_extend_i32_u(chosen);
    b.set(flagA, wide);
    this.#setKind(flagKind.bits);
    this.#a = wide;
    this.#operand = undefined;
    this.#isCompared = false;
  }

  #setOperation(kind: number, x: I64, y: I64): void {
    const b = this.#b;
    const result = kind === flagKind.sub ? b.i64_sub(x, y) : b.i64_add(x, y);
    const nz = b.i64_extend32_s(result);
    if (this.#guard !== undefined) {
      const carry = kind === flagKind.sub ? b.i64_ge_u(x, y) : this.#carryOfSum(x, y);
      this.setAll(nz, carry, b.i64_ne(nz, result));
      return;
    }
    this.#setNz(nz);
    b.set(flagA, x);
    b.set(flagB, y);
    this.#setKind(kind);
    this.#a = x;
    this.#operand = y;
    this.#isCompared = kind === flagKind.sub;
  }

  /** Of x - y, both sign-extended from 32 bits. */
  setSub(x: I64, y: I64): void {
    this.#setOperation(flagKind.sub, x, y);
  }
  setAdd(x: I64, y: I64): void {
    this.#setOperation(flagKind.add, x, y);
  }

  /** N and Z of the value's low 32 bits; C, if it is given, 0 or 1. The others stay. */
  setLogic(value: I64, carry?: I32): void {
    const b = this.#b;
    if (carry !== undefined) {
      const overflow = b.i32_and(this.#carryOverflow(), b.i32(1 << 28));
      this.#setCarryOverflow(b.i32_or(b.i32_shl(carry, b.i32(29)), overflow));
    }
    this.#isCompared = false;
    this.#setNz(b.i64_extend32_s(value));
  }

  /** N and Z of a sign-extended value, C and V as given, 0 or 1. */
  setAll(nz: I64, carry: I32, overflow: I32): void {
    const b = this.#b;
    this.#setCarryOverflow(b.i32_or(b.i32_shl(carry, b.i32(29)), b.i32_shl(overflow, b.i32(28))));
    this.#setNz(nz);
  }

  /** NZCV in bits 31 to 28. */
  setBits(bits: I32): void {
    const b = this.#b;
    this.#setCarryOverflow(bits);
    const wide = b.i64_extend_i32_u(bits);
    const negative = b.i64_shl(b.i64_and(wide, b.i64(0x80000000)), b.i64(32));
    const notZero = b.i64_and(b.i64_xor(b.i64_shr_u(wide, b.i64(30)), b.i64(1)), b.i64(1));
    this.#setNz(b.i64_or(negative, notZero));
    // Both may be set, which no value has.
    this.#nz = undefined;
  }

  /** NZCV in bits 31 to 28. */
  bits(): I32 {
    const b = this.#b;
    const negative = b.i32_shl(this.#isNegative(), b.i32(31));
    const zero = b.i32_shl(this.#isZero(), b.i32(30));
    const rest = b.i32_and(this.#carryOverflow(), b.i32(0x30000000));
    return b.i32_or(b.i32_or(negative, zero), rest);
  }

  /** C, 0 or 1. */
  carry(): I32 {
    const b = this.#b;
    switch (this.#kind) {
      case flagKind.sub:
        return b.i64_ge_u(this.#first(), this.#second());
      case flagKind.add:
        return this.#carryOfSum(this.#first(), this.#second());
      default:
        return b.i32_and(b.i32_shr_u(this.#carryOverflow(), b.i32(29)), b.i32(1));
    }
  }

  /** A condition (A8.3): 0 or 1. */
  condition(code: number): I32 {
    const b = this.#b;
    if (code >= 14) return b.i32(1);
    const holds = (this.#isCompared ? this.#compare(code >> 1) : undefined) ?? this.#byBits(code >> 1);
    return code & 1 ? b.i32_eqz(holds) : holds;
  }

  // --- what is known

  #first(): I64 {
    return this.#a ?? this.#b.get(flagA);
  }
  #second(): I64 {
    return this.#operand ?? this.#b.get(flagB);
  }
  #carryOfSum(x: I64, y: I64): I32 {
    const b = this.#b;
    return b.i32_wrap_i64(b.i64_shr_u(b.i64_add(b.i64_low32(x), b.i64_low32(y)), b.i64(32)));
  }
  #carryOverflow(): I32 {
    const b = this.#b;
    if (this.#kind === flagKind.bits) return b.i32_wrap_i64(this.#first());
    if (this.#kind > 0)
      return b.i32_or(b.i32_shl(this.carry(), b.i32(29)), b.i32_shl(this.#overflowOfResult(), b.i32(28)));
    const kind = this.#kind < 0 ? b.get(flagOp) : b.i32(this.#kind);
    return b.call(carryOverflow, kind, this.#first(), b.get(flagB))[0];
  }
  /** Of a sum or difference whose kind is known. */
  #overflowOfResult(): I32 {
    const b = this.#b;
    const [x, y] = [this.#first(), this.#second()];
    const result = this.#kind === flagKind.sub ? b.i64_sub(x, y) : b.i64_add(x, y);
    return b.i64_ne(b.i64_extend32_s(result), result);
  }
  #overflow(): I32 {
    const b = this.#b;
    if (this.#kind > 0) return this.#overflowOfResult();
    return b.i32_and(b.i32_shr_u(this.#carryOverflow(), b.i32(28)), b.i32(1));
  }
  #isNegative(): I32 {
    const b = this.#b;
    return b.i64_lt_s(this.#nz ?? b.get(flagC), b.i64(0));
  }
  #isZero(): I32 {
    const b = this.#b;
    return this.#nz !== undefined ? b.i64_eqz(this.#nz) : b.i32_eqz(b.i32_wrap_i64(b.get(flagC)));
  }

  /** The condition as a comparison of the operands of a subtraction. */
  #compare(pair: number): I32 | undefined {
    const b = this.#b;
    const [x, y] = [this.#first(), this.#second()];
    switch (pair) {
      case 0:
        return b.i64_eq(x, y);
      case 1:
        return b.i64_ge_u(x, y);
      case 4:
        return b.i64_gt_u(x, y);
      case 5:
        return b.i64_ge_s(x, y);
      case 6:
        return b.i64_gt_s(x, y);
      default:
        return undefined;
    }
  }

  #byBits(pair: number): I32 {
    const b = this.#b;
    switch (pair) {
      case 0:
        return this.#isZero();
      case 1:
        return this.carry();
      case 2:
        return this.#isNegative();
      case 3:
        return this.#overflow();
      case 4:
        return b.i32_and(this.carry(), b.i32_eqz(this.#isZero()));
      case 5:
        return b.i32_eq(this.#isNegative(), this.#overflow());
      default:
        return b.i32_and(b.i32_eqz(this.#isZero()), b.i32_eq(this.#isNegative(), this.#overflow()));
    }
  }
}
