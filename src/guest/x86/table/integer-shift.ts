/** Shifts and rotates: Intel SDM vol. 1 section 7.3.6. */
import type { I64 } from '../../../ir/index.js';
import { flagKind } from '../flags.js';
import { rotateThroughCarry } from '../routines/bits.js';
import type { DecodedInsn, InsnRow, OperandSize, Translator } from '../translator.js';
import { byteAndWord, reg, sizeOf } from './integer-helpers.js';

const names = ['ROL', 'ROR', 'RCL', 'RCR', 'SHL', 'SHR', 'SHL', 'SAR'] as const;

const countMask = (size: OperandSize) => (size === 64 ? 63 : 31);

/** Group 2 by a constant. */
function shiftBy(t: Translator, digit: number, size: OperandSize, count: number): void {
  const { b, wide, flags } = t;
  const x = t.readRmWide(size, true);
  const by = count & countMask(size);
  if (by === 0) {
    t.writeRmWide(size, x);
    return;
  }
  switch (digit) {
    case 0: {
      const r = rotateLeft(t, size, x, by % size);
      t.writeRmWide(size, r);
      flags.setCarryOverflow(rotatedLeftFlags(t, size, r));
      break;
    }
    case 1: {
      const r = rotateLeft(t, size, x, (size - (by % size)) % size);
      t.writeRmWide(size, r);
      flags.setCarryOverflow(b.i64_shr_u(r, wide.small(size - 2)));
      break;
    }
    case 2:
    case 3:
      if (by === 1) throughCarryOnce(t, digit === 2, size, x);
      else throughCarry(t, digit === 2, size, x, wide.small(by));
      break;
    case 5: {
      const clean = wide.clean(size, x);
      const r = wide.noteWidth(b.i64_shr_u(clean, wide.small(by)), size);
      t.writeRmWide(size, r);
      flags.set(flagKind.shr, size, r, by === 1 ? clean : b.i64_shr_u(clean, wide.small(by - 1)));
      break;
    }
    case 7: {
      const signed = wide.signed(size, x);
      const r = b.i64_shr_s(signed, wide.small(by));
      t.writeRmWide(size, r);
      flags.set(flagKind.shr, size, r, by === 1 ? signed : b.i64_shr_s(signed, wide.small(by - 1)));
      break;
    }
    default: {
      const r = b.i64_shl(x, wide.small(by));
      t.writeRmWide(size, r);
      flags.set(flagKind.shl, size, r, by === 1 ? x : b.i64_shl(x, wide.small(by - 1)));
    }
  }
}

/** Group 2 by CL. */
function shiftByCl(t: Translator, digit: number, size: OperandSize): void {
  const { b, wide, flags } = t;
  const x = t.readRmWide(size, true);
  const count = b.i64_and(t.readWide(8, reg.CX), wide.small(countMask(size)));
  const less = () => b.i64_sub(count, wide.small(1));
  switch (digit) {
    case 0:
    case 1: {
      const left = digit === 0;
      const r = rotateByVariable(t, size, x, count, left);
      t.writeRmWide(size, r);
      const made = left ? rotatedLeftFlags(t, size, r) : b.i64_shr_u(r, wide.small(size - 2));
      flags.setCarryOverflow(b.select(b.i64_eqz(count), flags.carryOverflow(), made));
      break;
    }
    case 2:
    case 3:
      throughCarry(t, digit === 2, size, x, count);
      break;
    case 5: {
      const clean = wide.clean(size, x);
      const r = wide.noteWidth(b.i64_shr_u(clean, count), size);
      t.writeRmWide(size, r);
      flags.setShift(false, size, count, r, b.i64_shr_u(clean, less()));
      break;
    }
    case 7: {
      const signed = wide.signed(size, x);
      const r = b.i64_shr_s(signed, count);
      t.writeRmWide(size, r);
      flags.setShift(false, size, count, r, b.i64_shr_s(signed, less()));
      break;
    }
    default: {
      const r = b.i64_shl(x, count);
      t.writeRmWide(size, r);
      flags.setShift(true, size, count, r, b.i64_shl(x, less()));
    }
  }
}

/** Rotation by 0..size-1. */
function rotateLeft(t: Translator, size: OperandSize, x: I64, by: number): I64 {
  const { b, wide } = t;
  if (by === 0) return x;
  if (size === 64) return b.i64_rotl(x, wide.small(by));
  if (size === 32) return wide.widen(b.i32_rotl(wide.narrow(x), b.i32(by)), 32);
  const clean = wide.clean(size, x);
  return b.i64_or(b.i64_shl(clean, wide.small(by)), b.i64_shr_u(clean, wide.small(size - by)));
}

function rotateByVariable(t: Translator, size: OperandSize, x: I64, count: I64, left: boolean): I64 {
  const { b, wide } = t;
  if (size === 64) return left ? b.i64_rotl(x, count) : b.i64_rotr(x, count);
  if (size === 32) {
    const narrow = wide.narrow(x);
    const by = wide.narrow(count);
    return wide.widen(left ? b.i32_rotl(narrow, by) : b.i32_rotr(narrow, by), 32);
  }
  const clean = wide.clean(size, x);
  const by = b.i64_and(count, wide.small(size - 1));
  const rest = b.i64_sub(wide.small(size), by);
  const [up, down] = left ? [by, rest] : [rest, by];
  return b.i64_or(b.i64_shl(clean, up), b.i64_shr_u(clean, down));
}

/** CF is the result's lowest bit, CF xor OF its highest. */
function rotatedLeftFlags(t: Translator, size: OperandSize, r: I64): I64 {
  const { b, wide } = t;
  if (size === 64) return b.i64_rotl(r, wide.small(1));
  const top = b.i64_and(b.i64_shr_u(r, wide.small(size - 1)), wide.small(1));
  return b.i64_or(b.i64_shl(r, wide.small(1)), top);
}

/** RCL and RCR by 1. */
function throughCarryOnce(t: Translator, left: boolean, size: OperandSize, x: I64): void {
  const { b, wide, flags } = t;
  const carry = wide.widen(flags.carry(), 1);
  if (left) {
    t.writeRmWide(size, b.i64_or(b.i64_shl(x, wide.small(1)), carry));
    // CF is x's top bit, CF xor OF the result's, which is the next of x
    flags.setCarryOverflow(b.i64_shr_u(x, wide.small(size - 2)));
    return;
  }
  const clean = wide.clean(size, x);
  t.writeRmWide(size, b.i64_or(b.i64_shr_u(clean, wide.small(1)), b.i64_shl(carry, wide.small(size - 1))));
  const out = b.i64_and(clean, wide.small(1));
  const overflow = b.i64_xor(carry, b.i64_shr_u(clean, wide.small(size - 1)));
  flags.setCarryOverflow(b.i64_or(b.i64_shl(out, wide.small(1)), b.i64_xor(out, overflow)));
}

function throughCarry(t: Translator, left: boolean, size: OperandSize, x: I64, count: I64): void {
  const { b, wide, flags } = t;
  const [r, extra] = b.call(
    rotateThroughCarry,
    wide.clean(size, x),
    wide.narrow(count),
    flags.carryOverflow(),
    b.i32(size),
    b.i32(left ? 1 : 0),
  );
  t.writeRmWide(size, r);
  flags.setCarryOverflow(extra);
}

const flagsOf = (digit: number) => (digit < 4 ? { ...(digit < 2 ? {} : { r: 'C' }), w: 'OC' } : { w: 'OSZPC', u: 'A' });

const groupRows: InsnRow[] = names.flatMap((name, digit): InsnRow[] => [
  ...byteAndWord((byte) => ({
    name,
    enc: `${byte ? 'C0' : 'C1'} /${digit} ib`,
    args: byte ? 'Eb:rw, Ib' : 'Ev:rw, Ib',
    flags: flagsOf(digit),
    translate: (t, insn) => shiftBy(t, digit, sizeOf(byte, insn), insn.immLow),
  })),
  ...byteAndWord((byte) => ({
    name,
    enc: `${byte ? 'D0' : 'D1'} /${digit}`,
    args: byte ? 'Eb:rw, 1' : 'Ev:rw, 1',
    flags: flagsOf(digit),
    translate: (t, insn) => shiftBy(t, digit, sizeOf(byte, insn), 1),
  })),
  ...byteAndWord((byte) => ({
    name,
    enc: `${byte ? 'D2' : 'D3'} /${digit}`,
    args: byte ? 'Eb:rw, CL:r' : 'Ev:rw, CL:r',
    flags: flagsOf(digit),
    translate: (t, insn) => shiftByCl(t, digit, sizeOf(byte, insn)),
  })),
]);

/** SHLD and SHRD. Of 16 bits by more than 16 the result is undefined; this takes the bits of dest:source:dest, as processors do. */
function doubleShift(t: Translator, insn: DecodedInsn, left: boolean, count?: I64): void {
  const { b, wide, flags } = t;
  const size = insn.opSize;
  const x = t.readRmWide(size, true);
  const y = t.readWide(size, insn.reg);
  const constant = count === undefined;
  const by = constant ? insn.immLow & countMask(size) : 0;
  if (constant && by === 0) {
    t.writeRmWide(size, x);
    return;
  }
  const amount = constant ? wide.small(by) : b.i64_and(count, wide.small(countMask(size)));
  const less = constant ? wide.small(by - 1) : b.i64_sub(amount, wide.small(1));
  let r: I64;
  let last: I64;
  if (size === 64) {
    // the other operand's bits; a shift by 64 would be one by 0, so it is done in two steps
    const rest = constant ? wide.small(63 - by) : b.i64_xor(amount, wide.small(63));
    const one = wide.small(1);
    if (left) {
      r = b.i64_or(b.i64_shl(x, amount), b.i64_shr_u(b.i64_shr_u(y, one), rest));
      last = b.i64_shl(x, less);
    } else {
      r = b.i64_or(b.i64_shr_u(x, amount), b.i64_shl(b.i64_shl(y, one), rest));
      last = b.i64_shr_u(x, less);
    }
  } else if (size === 32) {
    const both = left
      ? b.i64_or(b.i64_shl(x, wide.small(32)), wide.clean(32, y))
      : b.i64_or(b.i64_shl(y, wide.small(32)), wide.clean(32, x));
    if (left) {
      r = b.i64_shr_u(b.i64_shl(both, amount), wide.small(32));
      last = b.i64_shr_u(b.i64_shl(both, less), wide.small(32));
    } else {
      r = b.i64_shr_u(both, amount);
      last = b.i64_shr_u(both, less);
    }
  } else {
    // 48 bits: dest, source, dest
    const cleanX = wide.clean(16, x);
    const cleanY = wide.clean(16, y);
    const middle = b.i64_or(b.i64_shl(cleanY, wide.small(16)), cleanX);
    const all = b.i64_or(b.i64_shl(cleanX, wide.small(32)), middle);
    if (left) {
      r = b.i64_shr_u(b.i64_shl(all, amount), wide.small(32));
      last = b.i64_shr_u(b.i64_shl(all, less), wide.small(32));
    } else {
      r = b.i64_shr_u(all, amount);
      last = b.i64_shr_u(all, less);
    }
  }
  t.writeRmWide(size, r);
  if (constant) flags.set(left ? flagKind.shl : flagKind.shr, size, r, last);
  else flags.setShift(left, size, amount, r, last);
}

const doubleRows: InsnRow[] = [true, false].flatMap((left): InsnRow[] => [
  {
    name: left ? 'SHLD' : 'SHRD',
    enc: `0F ${left ? 'A4' : 'AC'} /r ib`,
    args: 'Ev:rw, Gv:r, Ib',
    flags: { w: 'OSZPC', u: 'A' },
    translate: (t, insn) => doubleShift(t, insn, left),
  },
  {
    name: left ? 'SHLD' : 'SHRD',
    enc: `0F ${left ? 'A5' : 'AD'} /r`,
    args: 'Ev:rw, Gv:r, CL:r',
    flags: { w: 'OSZPC', u: 'A' },
    translate: (t, insn) => doubleShift(t, insn, left, t.readWide(8, reg.CX)),
  },
]);

export const integerShiftRows: readonly InsnRow[] = [...groupRows, ...doubleRows];
