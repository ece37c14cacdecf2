/**
 * The flags while a block is translated: what is known of the operation that set them last, so that a condition becomes a comparison
 * of its operands. Most logical operations leave C and V, so N and Z are kept apart from them (routines/flags.ts).
 */
import type { BlockBuilder, I32, I64 } from '../../ir/index.js';
import { carryOverflow, flagKind } from './routines/flags.js';
import { flagA, flagB, flagC, flagOp } from './state.js';

const UNKNOWN = -1;
const CARRY_SHIFT = 29;
const OVERFLOW_SHIFT = 28;

/** The operands of a sum or difference, zero-extended; `constant`: what the second one is known to be. */
interface Operands {
  readonly x: I64;
  readonly y: I64;
  readonly constant: number | undefined;
}

export class LazyFlags {
  #b!: BlockBuilder;
  /** Of what the state has C and V, and its operands. */
  #kind = UNKNOWN;
  #a: I64 | undefined;
  #operand: I64 | undefined;
  /** All flags are those of this difference, or of this sum. */
  #compared: Operands | undefined;
  #added: Operands | undefined;
  /** Sign-extended: N and Z are those of this value. */
  #nz: I64 | undefined;
  /** C, 0 or 1; V is clear. */
  #carry: I64 | undefined;
  #noOverflow = false;
  /** Not undefined: what is set is set only if this holds. */
  #guard: I32 | undefined;

  /** A block starts: what set the flags is not known. */
  begin(b: BlockBuilder): void {
    this.#b = b;
    this.#kind = UNKNOWN;
    this.#a = this.#operand = this.#nz = this.#guard = undefined;
    this.#forget();
  }

  #forget(): void {
    this.#compared = this.#added = this.#carry = undefined;
    this.#noOverflow = false;
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

  /** C and V, under the guard if there is one; what else is known of the flags is forgotten. */
  #setCarryOverflow(bits: I64): void {
    const b = this.#b;
    const chosen =
      this.#guard === undefined ? bits : b.select(this.#guard, bits, b.i64_extend_i32_u(this.#carryOverflow()));
    b.set(flagA, chosen);
    this.#setKind(flagKind.bits, chosen, undefined);
    this.#forget();
  }

  #setKind(kind: number, a: I64, operand: I64 | undefined): void {
    if (kind !== this.#kind) this.#b.setDeferred(kind);
    this.#kind = kind;
    this.#a = a;
    this.#operand = operand;
  }

  /** The flags of a sum or difference, whatever the guard says. `result`: of its low 32 bits are N and Z. */
  #setOperation(kind: number, { x, y }: Operands, result: I64): void {
    const b = this.#b;
    const nz = b.i64_extend32_s(result);
    b.set(flagC, nz);
    b.set(flagA, x);
    b.set(flagB, y);
    this.#setKind(kind, x, y);
    this.#forget();
    this.#nz = nz;
  }

  /** Of x - y, both zero-extended from 32 bits; `constant`: what y is known to be; `difference`: x - y in 64 bits. */
  setSub(x: I64, y: I64, difference: I64, constant?: number): void {
    const b = this.#b;
    const operands = { x, y, constant };
    if (this.#guard !== undefined) {
      const old = this.#compared;
      if (!old) {
        const nz = b.i64_extend32_s(difference);
        const exact = b.i64_sub(this.#signed(x), this.#signed(y, constant));
        this.setAll(nz, b.i64_extend_i32_u(b.i64_ge_u(x, y)), b.i64_ne(nz, exact));
        return;
      }
      const chosenX = b.select(this.#guard, x, old.x);
      const chosenY = b.select(this.#guard, y, old.y);
      this.#setOperation(flagKind.sub, { x: chosenX, y: chosenY, constant: undefined }, b.i64_sub(chosenX, chosenY));
      this.#compared = { x: chosenX, y: chosenY, constant: undefined };
      return;
    }
    if (constant === 0) {
      // Nothing is borrowed, nothing overflows.
      this.#setCarryOverflow(b.i64(1 << CARRY_SHIFT));
      this.#setNz(b.i64_extend32_s(x));
      this.#carry = b.i64(1);
      this.#noOverflow = true;
    } else this.#setOperation(flagKind.sub, operands, difference);
    this.#compared = operands;
  }

  /** Of x + y, both zero-extended from 32 bits; `sum`: x + y in 64 bits. */
  setAdd(x: I64, y: I64, sum: I64, constant?: number): void {
    const b = this.#b;
    if (this.#guard !== undefined) {
      const nz = b.i64_extend32_s(sum);
      const exact = b.i64_add(this.#signed(x), this.#signed(y, constant));
      this.setAll(nz, b.i64_shr_u(sum, b.i64(32)), b.i64_ne(nz, exact));
      return;
    }
    const operands = { x, y, constant };
    this.#setOperation(flagKind.add, operands, sum);
    this.#added = operands;
    this.#carry = b.i64_shr_u(sum, b.i64(32));
  }

  /** N and Z of the value's low 32 bits; C, if it is given, 0 or 1. The others stay. */
  setLogic(value: I64, carry?: I32): void {
    const b = this.#b;
    if (carry !== undefined) {
      const wide = b.i64_extend_i32_u(carry);
      const ofCarry = b.i64_shl(wide, b.i64(CARRY_SHIFT));
      const noOverflow = this.#noOverflow;
      if (noOverflow) this.#setCarryOverflow(ofCarry);
      else {
        const overflow = b.i32_and(this.#carryOverflow(), b.i32(1 << OVERFLOW_SHIFT));
        this.#setCarryOverflow(b.i64_or(ofCarry, b.i64_extend_i32_u(overflow)));
      }
      if (this.#guard === undefined) {
        this.#carry = wide;
        this.#noOverflow = noOverflow;
      }
    }
    this.#compared = this.#added = undefined;
    this.#setNz(b.i64_extend32_s(value));
  }

  /** N and Z of a sign-extended value, C and V as given, 0 or 1. */
  setAll(nz: I64, carry: I64, overflow: I32): void {
    const b = this.#b;
    const ofCarry = b.i64_shl(carry, b.i64(CARRY_SHIFT));
    const ofOverflow = b.i64_shl(b.i64_extend_i32_u(overflow), b.i64(OVERFLOW_SHIFT));
    this.#setCarryOverflow(b.i64_or(ofCarry, ofOverflow));
    if (this.#guard === undefined) this.#carry = carry;
    this.#setNz(nz);
  }

  /** NZCV in bits 31 to 28. */
  setBits(bits: I32): void {
    const b = this.#b;
    const wide = b.i64_extend_i32_u(bits);
    this.#setCarryOverflow(wide);
    const negative = b.i64_shl(b.i64_and(wide, b.i64(0x80000000)), b.i64(32));
    const notZero = b.i64_and(b.i64_xor(b.i64_shr_u(wide, b.i64(30)), b.i64(1)), b.i64(1));
    this.#setNz(b.i64_or(negative, notZero));
    // Both may be set, which no value has.
    this.#nz = undefined;
  }

  /** NZCV in bits 31 to 28. */
  bits(): I32 {
    const b = this.#b;
    const negative = b.i32_shl(this.#isNegative(false), b.i32(31));
    const zero = b.i32_shl(this.#isZero(false), b.i32(30));
    const rest = b.i32_and(this.#carryOverflow(), b.i32(0x30000000));
    return b.i32_or(b.i32_or(negative, zero), rest);
  }

  /** C, 0 or 1. */
  carry(): I64 {
    this.#carry ??= this.#findCarry();
    return this.#carry;
  }
  #findCarry(): I64 {
    const b = this.#b;
    switch (this.#kind) {
      case flagKind.sub:
        return b.i64_extend_i32_u(b.i64_ge_u(this.#first(), this.#second()));
      case flagKind.add:
        return b.i64_shr_u(b.i64_add(this.#first(), this.#second()), b.i64(32));
      default: {
        const bits = this.#kind === flagKind.bits ? this.#first() : b.i64_extend_i32_u(this.#carryOverflow());
        return b.i64_and(b.i64_shr_u(bits, b.i64(CARRY_SHIFT)), b.i64(1));
      }
    }
  }

  /** A condition (A8.3): 0 or 1. */
  condition(code: number): I32 {
    const b = this.#b;
    if (code >= 14) return b.i32(1);
    const opposite = (code & 1) === 1;
    const pair = code >> 1;
    if (this.#compared) {
      const holds = this.#ofDifference(pair, opposite, this.#compared);
      if (holds !== undefined) return holds;
    } else if (this.#added) {
      const holds = this.#ofSum(pair, opposite, this.#added);
      if (holds !== undefined) return holds;
    }
    return this.#byBits(pair, opposite);
  }

  // --- what is known

  #first(): I64 {
    return this.#a ?? this.#b.get(flagA);
  }
  #second(): I64 {
    return this.#operand ?? this.#b.get(flagB);
  }
  #signed(value: I64, constant?: number): I64 {
    return constant === undefined ? this.#b.i64_extend32_s(value) : this.#b.i64(constant | 0);
  }
  #carryOverflow(): I32 {
    const b = this.#b;
    if (this.#kind === flagKind.bits) return b.i32_wrap_i64(this.#first());
    if (this.#kind > 0) {
      const carry = b.i32_shl(b.i32_wrap_i64(this.carry()), b.i32(CARRY_SHIFT));
      return b.i32_or(carry, b.i32_shl(this.#overflowOfResult(false), b.i32(OVERFLOW_SHIFT)));
    }
    return b.call(carryOverflow, b.get(flagOp), this.#first(), b.get(flagB))[0];
  }
  /** Of a sum or difference whose kind is known: the exact result is not what 32 bits hold. */
  #overflowOfResult(opposite: boolean): I32 {
    const b = this.#b;
    const constant = (this.#compared ?? this.#added)?.constant;
    const [x, y] = [this.#signed(this.#first()), this.#signed(this.#second(), constant)];
    const exact = this.#kind === flagKind.sub ? b.i64_sub(x, y) : b.i64_add(x, y);
    const held = b.i64_extend32_s(exact);
    return opposite ? b.i64_eq(held, exact) : b.i64_ne(held, exact);
  }
  #overflow(opposite: boolean): I32 {
    const b = this.#b;
    if (this.#noOverflow) return b.i32(opposite ? 1 : 0);
    if (this.#kind > 0) return this.#overflowOfResult(opposite);
    const bit = b.i32_and(b.i32_shr_u(this.#carryOverflow(), b.i32(OVERFLOW_SHIFT)), b.i32(1));
    return opposite ? b.i32_eqz(bit) : bit;
  }
  #isNegative(opposite: boolean): I32 {
    const b = this.#b;
    const value = this.#nz ?? b.get(flagC);
    return opposite ? b.i64_ge_s(value, b.i64(0)) : b.i64_lt_s(value, b.i64(0));
  }
  #isZero(opposite: boolean): I32 {
    const b = this.#b;
    if (this.#nz !== undefined) return opposite ? b.i64_ne(this.#nz, b.i64(0)) : b.i64_eqz(this.#nz);
    const value = b.i32_wrap_i64(b.get(flagC));
    return opposite ? b.i32_ne(value, b.i32(0)) : b.i32_eqz(value);
  }

  /** The condition as a comparison of the operands of a difference. */
  #ofDifference(pair: number, opposite: boolean, { x, y, constant }: Operands): I32 | undefined {
    const b = this.#b;
    if (pair === 0) {
      if (constant === 0) return this.#isZero(opposite);
      return opposite ? b.i64_ne(x, y) : b.i64_eq(x, y);
    }
    if (pair === 1) {
      if (constant === 0) return b.i32(opposite ? 0 : 1);
      return opposite ? b.i64_lt_u(x, y) : b.i64_ge_u(x, y);
    }
    if (pair === 4) {
      if (constant === 0) return this.#isZero(!opposite);
      return opposite ? b.i64_le_u(x, y) : b.i64_gt_u(x, y);
    }
    if (pair < 5) return undefined;
    const [p, q] =
      constant === 0 && this.#nz !== undefined ? [this.#nz, y] : [this.#signed(x), this.#signed(y, constant)];
    if (pair === 5) return opposite ? b.i64_lt_s(p, q) : b.i64_ge_s(p, q);
    return opposite ? b.i64_le_s(p, q) : b.i64_gt_s(p, q);
  }

  /** The same of a sum: the sign of the exact one is N xor V; it is above 0 only where the low half is not 0. */
  #ofSum(pair: number, opposite: boolean, { x, y, constant }: Operands): I32 | undefined {
    if (pair < 5) return undefined;
    const b = this.#b;
    const exact = b.i64_add(this.#signed(x), this.#signed(y, constant));
    const zero = b.i64(0);
    if (pair === 5) return opposite ? b.i64_lt_s(exact, zero) : b.i64_ge_s(exact, zero);
    return opposite ? b.i64_le_s(exact, zero) : b.i64_gt_s(exact, zero);
  }

  #byBits(pair: number, opposite: boolean): I32 {
    const b = this.#b;
    const not = (holds: I32): I32 => (opposite ? b.i32_eqz(holds) : holds);
    switch (pair) {
      case 0:
        return this.#isZero(opposite);
      case 1:
        return opposite ? b.i64_eqz(this.carry()) : b.i32_wrap_i64(this.carry());
      case 2:
        return this.#isNegative(opposite);
      case 3:
        return this.#overflow(opposite);
      case 4:
        return not(b.i32_and(b.i32_wrap_i64(this.carry()), this.#isZero(true)));
      case 5:
        return this.#noOverflow ? this.#isNegative(!opposite) : this.#signsAgree(opposite);
      default:
        return not(b.i32_and(this.#isZero(true), this.#signsAgree(false)));
    }
  }
  /** N equals V. */
  #signsAgree(opposite: boolean): I32 {
    const b = this.#b;
    const [n, v] = [this.#isNegative(false), this.#overflow(false)];
    return opposite ? b.i32_ne(n, v) : b.i32_eq(n, v);
  }
}
