/**
 * The status flags while a block is translated: what is known of the last operation that set them, so that a condition
 * becomes a comparison of its operands. flags.ts has the kinds.
 */
import type { BlockBuilder, I32, I64 } from '../../ir/index.js';
import { computeCarry, computeFlags, flagKind, keptFlags, OVERLAY, statusFlag } from './flags.js';
import { ccDst, ccExtra, ccOp, ccSrc, ccSrc2 } from './state.js';
import type { OperandSize } from './translator.js';
import type { WideValues } from './wide-values.js';

const NONE = -1 as I64;
const NO_BITS = -1 as I32;
const sizeLog: Readonly<Record<OperandSize, number>> = { 8: 0, 16: 1, 32: 2, 64: 3 };

/** Condition codes' upper three bits (SDM vol. 1 appendix B). */
const condition = { O: 0, B: 1, Z: 2, BE: 3, S: 4, P: 5, L: 6, LE: 7 } as const;

export class LazyFlags {
  b!: BlockBuilder;
  readonly #wide: WideValues;
  /** ccOp where it is known; -1: whatever the block was entered with. */
  #op = -1;
  /** Values of ccDst, ccSrc, ccSrc2, ccExtra; NONE: read the variable. */
  #dst = NONE;
  #src = NONE;
  #src2 = NONE;
  #extra = NONE;
  /** Result of a subtraction, and all flags, once computed. */
  #result = NONE;
  #bits = NO_BITS;

  constructor(wide: WideValues) {
    this.#wide = wide;
  }

  /** A block starts. */
  begin(b: BlockBuilder): void {
    this.b = b;
    this.#op = -1;
    this.#forget();
  }

  #forget(): void {
    this.#dst = this.#src = this.#src2 = this.#extra = this.#result = NONE;
    this.#bits = NO_BITS;
  }

  /** A routine has set the flags' variables behind the translator's back. */
  invalidate(): void {
    this.#op = -1;
    this.#forget();
  }

  // --- setting

  /** The flags are those of an operation (flagKind) of the size. `result`: of a subtraction, where it is at hand. */
  set(kind: number, size: OperandSize, dst: I64, src = NONE, src2 = NONE, result = NONE): void {
    const b = this.b;
    const op = kind * 4 + sizeLog[size];
    b.set(ccDst, dst);
    if (src !== NONE) b.set(ccSrc, src);
    if (src2 !== NONE) b.set(ccSrc2, src2);
    if (op !== this.#op) b.setDeferred(op);
    this.#op = op;
    this.#dst = dst;
    this.#src = src;
    this.#src2 = src2;
    this.#extra = NONE;
    this.#result = result;
    this.#bits = NO_BITS;
  }

  /** The flags are these bits. */
  setBits(bits: I32): void {
    const b = this.b;
    const wide = this.#wide.widen(bits, 32);
    b.set(ccSrc, wide);
    if (this.#op !== flagKind.eflags) b.setDeferred(flagKind.eflags);
    this.#op = flagKind.eflags;
    this.#forget();
    this.#src = wide;
    this.#bits = bits;
  }

  /** CF and OF change, the others stay. `extra`: bit 1 is CF, bit 0 CF xor OF, the rest anything. */
  setCarryOverflow(extra: I64): void {
    const b = this.b;
    if (this.#op > 3) {
      b.set(ccExtra, extra);
      if (this.#op < OVERLAY) {
        this.#op |= OVERLAY;
        b.setDeferred(this.#op);
      }
      this.#extra = extra;
      this.#bits = NO_BITS;
      return;
    }
    const low = this.#wide.narrow(extra);
    const carry = b.i32_and(b.i32_shr_u(low, b.i32(1)), b.i32(1));
    const overflow = b.i32_and(b.i32_xor(carry, low), b.i32(1));
    const rest = b.i32_and(this.bits(), b.i32(~(statusFlag.CF | statusFlag.OF)));
    this.setBits(b.i32_or(b.i32_or(rest, carry), b.i32_shl(overflow, b.i32(11))));
  }

  /** CF (0 or 1) changes, the others stay. */
  setCarry(carry: I32): void {
    const b = this.b;
    if (this.#op > 3) {
      const both = b.i32_or(b.i32_shl(carry, b.i32(1)), b.i32_xor(carry, this.overflow()));
      this.setCarryOverflow(this.#wide.widen(both, 2));
    } else this.setBits(b.i32_or(b.i32_and(this.bits(), b.i32(~statusFlag.CF)), carry));
  }

  /** Flags of a shift whose count is not known: they stay where it is 0. */
  setShift(left: boolean, size: OperandSize, count: I64, dst: I64, src: I64): void {
    const [kept] = this.b.call(keptFlags, count, this.#opTemp(), this.dst(), this.src(), this.src2(), this.extra());
    this.set(left ? flagKind.shlCount : flagKind.shrCount, size, dst, src, kept);
  }

  // --- reading

  #opTemp(): I32 {
    return this.#op < 0 ? this.b.get(ccOp) : this.b.i32(this.#op);
  }

  dst(): I64 {
    return this.#dst === NONE ? (this.#dst = this.b.get(ccDst)) : this.#dst;
  }

  src(): I64 {
    return this.#src === NONE ? (this.#src = this.b.get(ccSrc)) : this.#src;
  }

  src2(): I64 {
    return this.#src2 === NONE ? (this.#src2 = this.b.get(ccSrc2)) : this.#src2;
  }

  extra(): I64 {
    return this.#extra === NONE ? (this.#extra = this.b.get(ccExtra)) : this.#extra;
  }

  /** All six, as bits of EFLAGS. */
  bits(): I32 {
    if (this.#bits === NO_BITS) {
      if (this.#op === flagKind.eflags) this.#bits = this.#wide.narrow(this.src());
      else [this.#bits] = this.b.call(computeFlags, this.#opTemp(), this.dst(), this.src(), this.src2(), this.extra());
    }
    return this.#bits;
  }

  #flag(mask: number): I32 {
    const b = this.b;
    const bits = this.bits();
    if (mask === statusFlag.CF) return b.i32_and(bits, b.i32(1));
    return b.i32_and(b.i32_shr_u(bits, b.i32(31 - Math.clz32(mask))), b.i32(1));
  }

  get #kind(): number {
    return this.#op < 0 ? flagKind.eflags : (this.#op & (OVERLAY - 1)) >> 2;
  }

  get #size(): OperandSize {
    return (8 << (this.#op & 3)) as OperandSize;
  }

  /** The result that SF, ZF and PF describe; not for eflags and the shifts by count. */
  #value(): I64 {
    const kind = this.#kind;
    if (kind !== flagKind.sub && kind !== flagKind.sbb) return this.dst();
    if (this.#result === NONE) {
      const b = this.b;
      this.#result = b.i64_sub(this.dst(), this.src());
      if (kind === flagKind.sbb) this.#result = b.i64_sub(this.#result, this.src2());
    }
    return this.#result;
  }

  /** CF, 0 or 1. */
  carry(): I32 {
    const b = this.b;
    const wide = this.#wide;
    if (this.#bits !== NO_BITS) return this.#flag(statusFlag.CF);
    if (this.#op < 0) {
      const [carry] = b.call(computeCarry, this.#opTemp(), this.dst(), this.src(), this.src2(), this.extra());
      return carry;
    }
    if (this.#op >= OVERLAY) return b.i32_and(b.i32_shr_u(wide.narrow(this.extra()), b.i32(1)), b.i32(1));
    const size = this.#size;
    switch (this.#kind) {
      case flagKind.add:
        return wide.below(size, this.dst(), this.src(), false, false);
      case flagKind.sub:
        return wide.below(size, this.dst(), this.src(), false, false);
      case flagKind.adc:
      case flagKind.sbb: {
        const less = wide.below(size, this.dst(), this.src(), false, false);
        const same = wide.equal(size, this.dst(), this.src(), false);
        return b.i32_or(less, b.i32_and(same, wide.narrow(this.src2())));
      }
      case flagKind.logic:
        return b.i32(0);
      case flagKind.shl:
        return wide.isNegative(size, this.src());
      case flagKind.mul:
        return b.i64_ne(this.src(), b.i64pair(0, 0));
      case flagKind.shlCount:
      case flagKind.shrCount: {
        const left = this.#kind === flagKind.shlCount;
        const shifted = left ? wide.isNegative(size, this.src()) : b.i32_and(wide.narrow(this.src()), b.i32(1));
        return this.#unlessKept(statusFlag.CF, shifted);
      }
      default:
        return b.i32_and(wide.narrow(this.src()), b.i32(1));
    }
  }

  /** After a shift by count: a flag as the shift gives it, or as it was where the count was 0. */
  #unlessKept(mask: number, shifted: I32): I32 {
    const b = this.b;
    const kept = this.#wide.narrow(this.src2());
    const old = b.i32_and(b.i32_shr_u(kept, b.i32(31 - Math.clz32(mask))), b.i32(1));
    return b.select(kept, old, shifted);
  }

  /** CF and OF as setCarryOverflow takes them. */
  carryOverflow(): I64 {
    if (this.#op >= OVERLAY) return this.extra();
    const b = this.b;
    const carry = this.carry();
    const both = b.i32_or(b.i32_shl(carry, b.i32(1)), b.i32_xor(carry, this.overflow()));
    return this.#wide.widen(both, 2);
  }

  /** OF, 0 or 1. */
  overflow(): I32 {
    const b = this.b;
    const wide = this.#wide;
    if (this.#bits !== NO_BITS) return this.#flag(statusFlag.OF);
    if (this.#op >= OVERLAY) {
      const low = wide.narrow(this.extra());
      return b.i32_and(b.i32_xor(low, b.i32_shr_u(low, b.i32(1))), b.i32(1));
    }
    const size = this.#size;
    switch (this.#kind) {
      case flagKind.logic:
      case flagKind.result:
        return b.i32(0);
      case flagKind.sub:
      case flagKind.sbb: {
        const changed = b.i64_xor(this.dst(), this.#value());
        return wide.isNegative(size, b.i64_and(b.i64_xor(this.dst(), this.src()), changed));
      }
      case flagKind.add: {
        const a = b.i64_sub(this.dst(), this.src());
        return wide.isNegative(size, b.i64_and(b.i64_xor(a, this.dst()), b.i64_xor(this.src(), this.dst())));
      }
      case flagKind.mul:
        return b.i64_ne(this.src(), b.i64pair(0, 0));
      case flagKind.shl:
      case flagKind.shr:
        return wide.isNegative(size, b.i64_xor(this.src(), this.dst()));
      default:
        return this.#flag(statusFlag.OF);
    }
  }

  /** A condition code of Jcc, SETcc and CMOVcc (0-15): 0 or 1. */
  condition(code: number): I32 {
    const b = this.b;
    const wide = this.#wide;
    const negate = (code & 1) !== 0;
    const what = code >> 1;
    const invert = (value: I32): I32 => (negate ? b.i32_eqz(value) : value);
    const kind = this.#kind;
    const size = this.#size;
    const byResult = this.#bits === NO_BITS && kind !== flagKind.eflags && kind < flagKind.shlCount;
    const plain = byResult && this.#op < OVERLAY;
    const byCount = this.#bits === NO_BITS && (kind === flagKind.shlCount || kind === flagKind.shrCount);
    switch (what) {
      case condition.O:
        return invert(this.overflow());
      case condition.B:
        if (plain && (kind === flagKind.sub || kind === flagKind.add)) {
          return wide.below(size, this.dst(), this.src(), false, negate);
        }
        return invert(this.carry());
      case condition.Z:
        if (plain && kind === flagKind.sub) return wide.equal(size, this.dst(), this.src(), negate);
        if (byResult) return negate ? wide.isNonZero(size, this.#value()) : wide.isZero(size, this.#value());
        if (byCount) return invert(this.#unlessKept(statusFlag.ZF, wide.isZero(size, this.dst())));
        break;
      case condition.BE:
        if (plain && kind === flagKind.sub) return wide.below(size, this.dst(), this.src(), true, negate);
        if (plain && kind === flagKind.logic) {
          return negate ? wide.isNonZero(size, this.dst()) : wide.isZero(size, this.dst());
        }
        if (byResult) return invert(b.i32_or(this.carry(), wide.isZero(size, this.#value())));
        break;
      case condition.S:
        if (byResult) return invert(wide.isNegative(size, this.#value()));
        if (byCount) return invert(this.#unlessKept(statusFlag.SF, wide.isNegative(size, this.dst())));
        break;
      case condition.P:
        if (byResult) {
          const odd = b.i32_and(b.i32_popcnt(b.i32_and(wide.narrow(this.#value()), b.i32(0xff))), b.i32(1));
          return negate ? odd : b.i32_eqz(odd);
        }
        break;
      case condition.L:
        if (plain && kind === flagKind.sub) return wide.less(size, this.dst(), this.src(), false, negate);
        if (plain && (kind === flagKind.logic || kind === flagKind.result)) {
          return invert(wide.isNegative(size, this.dst()));
        }
        break;
      default:
        if (plain && kind === flagKind.sub) return wide.less(size, this.dst(), this.src(), true, negate);
        if (plain && (kind === flagKind.logic || kind === flagKind.result)) {
          return wide.less(size, this.dst(), wide.small(0), true, negate);
        }
    }
    return this.#byBits(what, negate);
  }

  /** A condition from the flags' bits. */
  #byBits(what: number, negate: boolean): I32 {
    const b = this.b;
    const bits = this.bits();
    const any = (mask: number): I32 => {
      const masked = b.i32_and(bits, b.i32(mask));
      return negate ? b.i32_eqz(masked) : b.i32_ne(masked, b.i32(0));
    };
    switch (what) {
      case condition.Z:
        return any(statusFlag.ZF);
      case condition.BE:
        return any(statusFlag.CF | statusFlag.ZF);
      case condition.S:
        return any(statusFlag.SF);
      case condition.P:
        return any(statusFlag.PF);
    }
    // OF moved onto SF: the flag SF then says SF != OF.
    const differ = b.i32_and(b.i32_xor(bits, b.i32_shr_u(bits, b.i32(4))), b.i32(statusFlag.SF));
    const truth = what === condition.L ? differ : b.i32_or(differ, b.i32_and(bits, b.i32(statusFlag.ZF)));
    return negate ? b.i32_eqz(truth) : b.i32_ne(truth, b.i32(0));
  }
}
