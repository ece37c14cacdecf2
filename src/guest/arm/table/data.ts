/** Data processing on general registers (C4.1.93, C4.1.94). */
import type { I64 } from '../../../ir/index.js';
import { crc32, crc32c, engine } from '../routines/set.js';
import { type Fields, type InsnRow, needing, type Translator } from '../row.js';
import { low, not } from './shared.js';

type Unary = (t: Translator, i: Fields, x: I64) => I64;
type Binary = (t: Translator, x: I64, y: I64) => I64;

/** An operand as the flags want it: sign-extended where it has 32 bits. */
const signed = ({ b }: Translator, i: Fields, value: I64): I64 => (i.sf ? value : b.i64_extend32_s(value));
/** All bits of an operand. */
const ofSize = (i: Fields): bigint => (i.sf ? 2n ** 64n : 2n ** 32n) - 1n;
/** An operand, zero-extended where it has 32 bits. */
const sized = (t: Translator, i: Fields, value: I64): I64 => (i.sf ? value : low(t, value));
const set = (t: Translator, i: Fields, value: I64): void => t.setX(i.rd, sized(t, i, value));
const setSp = (t: Translator, i: Fields, value: I64): void => t.setXsp(i.rd, sized(t, i, value));

/** The operation's flags, from operands of its size; the result. */
function addOrSub(t: Translator, i: Fields, subtract: boolean, flags: boolean, x: I64, y: I64): I64 {
  if (flags) setArithmeticFlags(t, i, subtract, signed(t, i, x), signed(t, i, y));
  return subtract ? t.b.i64_sub(x, y) : t.b.i64_add(x, y);
}
function setArithmeticFlags(t: Translator, i: Fields, subtract: boolean, x: I64, y: I64): void {
  if (subtract) t.flags.setSub(i.sf === 1, x, y);
  else t.flags.setAdd(i.sf === 1, x, y);
}
/** The same with a constant from 0 to 2^24. */
function addOrSubImmediate(t: Translator, i: Fields, subtract: boolean, flags: boolean): void {
  const { b } = t;
  const x = t.xsp(i.rn);
  const y = b.i64(i.imm);
  if (flags) setArithmeticFlags(t, i, subtract, signed(t, i, x), y);
  const result = i.imm === 0 ? x : subtract ? b.i64_sub(x, y) : b.i64_add(x, y);
  (flags ? set : setSp)(t, i, result);
}

/** Rm shifted: LSL, LSR, ASR, ROR. */
function shifted(t: Translator, i: Fields): I64 {
  const value = t.x(i.rm);
  return i.imm === 0 ? value : shiftBy(t, i, i.shift, value, t.b.i64(i.imm));
}
function shiftBy(t: Translator, i: Fields, kind: number, value: I64, by: I64): I64 {
  const { b } = t;
  if (i.sf) return [b.i64_shl, b.i64_shr_u, b.i64_shr_s, b.i64_rotr][kind].call(b, value, by);
  const operation = [b.i32_shl, b.i32_shr_u, b.i32_shr_s, b.i32_rotr][kind];
  return b.i64_extend_i32_u(operation.call(b, b.i32_wrap_i64(value), b.i32_wrap_i64(by)));
}

/** Rm extended by `option`, then shifted left. */
export function extended({ b }: Translator, value: I64, option: number, places: number): I64 {
  const narrowed = [
    () => b.i64_and(value, b.i64(0xff)),
    () => b.i64_and(value, b.i64(0xffff)),
    () => b.i64_low32(value),
    () => value,
    () => b.i64_extend8_s(value),
    () => b.i64_extend16_s(value),
    () => b.i64_extend32_s(value),
    () => value,
  ][option]();
  return places === 0 ? narrowed : b.i64_shl(narrowed, b.i64(places));
}

const fits = (i: Fields): boolean => i.sf === 1 || i.imm < 32;

const arithmetic = (name: string, op: string, subtract: boolean, flags: boolean): InsnRow[] => [
  {
    name,
    enc: `sf ${op} 100010 0 uimm[11:0] rn rd`,
    args: [flags ? 'rd' : 'rd|sp', 'rn|sp', 'imm'],
    translate: (t, i) => addOrSubImmediate(t, i, subtract, flags),
  },
  {
    name,
    enc: `sf ${op} 100010 1 uimm[23:12] rn rd`,
    args: [flags ? 'rd' : 'rd|sp', 'rn|sp', 'imm'],
    translate: (t, i) => addOrSubImmediate(t, i, subtract, flags),
  },
  {
    name,
    enc: `sf ${op} 01011 shift 0 rm uimm[5:0] rn rd`,
    args: ['rd', 'rn', 'rm', 'shift'],
    where: (i) => i.shift !== 3 && fits(i),
    translate: (t, i) => set(t, i, addOrSub(t, i, subtract, flags, t.x(i.rn), shifted(t, i))),
  },
  {
    name,
    enc: `sf ${op} 01011 00 1 rm option uimm[2:0] rn rd`,
    args: [flags ? 'rd' : 'rd|sp', 'rn|sp', 'rm', 'extend'],
    where: (i) => i.imm <= 4,
    translate: (t, i) => {
      const y = extended(t, t.x(i.rm), i.option, i.imm);
      (flags ? set : setSp)(t, i, addOrSub(t, i, subtract, flags, t.xsp(i.rn), y));
    },
  },
];

const withCarry = (name: string, op: string, subtract: boolean, flags: boolean): InsnRow => ({
  name,
  enc: `sf ${op} 11010000 rm 000000 rn rd`,
  args: ['rd', 'rn', 'rm'],
  translate: (t, i) => {
    const { b } = t;
    const carry = b.i64_extend_i32_u(t.flags.carry());
    const x = t.x(i.rn);
    const y = subtract ? not(t, t.x(i.rm)) : t.x(i.rm);
    const sum = b.i64_add(b.i64_add(x, y), carry);
    if (flags) {
      const up = (value: I64) => (i.sf ? value : b.i64_shl(value, b.i64(32)));
      const [a, c, r] = [up(x), up(y), up(sum)];
      const isNegative = (value: I64) => b.i64_lt_s(value, b.i64(0));
      // The carry out of the top bit: of three bits there the majority, by the sum's bit.
      const out = b.i64_or(b.i64_and(a, c), b.i64_and(b.i64_or(a, c), not(t, r)));
      const overflow = b.i64_and(b.i64_xor(a, r), b.i64_xor(c, r));
      const nz = b.i32_or(b.i32_shl(isNegative(r), b.i32(31)), b.i32_shl(b.i64_eqz(r), b.i32(30)));
      const cv = b.i32_or(b.i32_shl(isNegative(out), b.i32(29)), b.i32_shl(isNegative(overflow), b.i32(28)));
      t.flags.setBits(b.i32_or(nz, cv));
    }
    set(t, i, sum);
  },
});

/** A bitmask immediate (C6.2.2, DecodeBitMasks); undefined: reserved. */
export function bitMask(i: Fields): bigint | undefined {
  const length = 31 - Math.clz32((i.s << 6) | (~i.imm & 63));
  if (length < 1 || (i.sf === 0 && i.s === 1)) return undefined;
  const size = 1 << length;
  const [ones, rotation] = [i.imm & (size - 1), i.imm2 & (size - 1)];
  if (ones === size - 1) return undefined;
  const run = (1n << BigInt(ones + 1)) - 1n;
  const element = ((run >> BigInt(rotation)) | (run << BigInt(size - rotation))) & ((1n << BigInt(size)) - 1n);
  let mask = 0n;
  for (let at = 0; at < 64; at += size) mask |= element << BigInt(at);
  return i.sf ? mask : mask & 0xffffffffn;
}

/** One of the operations on all bits. `clears`: the result has no bit that the second operand lacks. */
interface LogicalKind {
  readonly flags: boolean;
  readonly clears: boolean;
  readonly operation: Binary;
}
/** With the zero register it is a move: of a register, of its inverse, or of a mask. */
const logicalResult = (t: Translator, i: Fields, { clears, operation }: LogicalKind, y: I64): I64 =>
  i.rn === 31 && !clears ? y : operation(t, t.x(i.rn), y);

const logical = (name: string, inverted: string, op: string, kind: LogicalKind): InsnRow[] => [
  {
    name,
    enc: `sf ${op} 100100 s imm2[5:0] uimm[5:0] rn rd`,
    args: [kind.flags ? 'rd' : 'rd|sp', 'rn', 'mask'],
    where: (i) => bitMask(i) !== undefined,
    translate: (t, i) => {
      const mask = bitMask(i) ?? 0n;
      const result = logicalResult(t, i, kind, t.b.i64(mask));
      // The mask of 32 bits has no others.
      const value = kind.clears || i.rn === 31 ? result : sized(t, i, result);
      if (!kind.flags) t.setXsp(i.rd, value);
      else {
        t.flags.setLogic(mask < 2n ** 31n ? result : signed(t, i, result));
        t.setX(i.rd, value);
      }
    },
  },
  ...[0, 1].map(
    (n): InsnRow => ({
      name: n ? inverted : name,
      enc: `sf ${op} 01010 shift ${n} rm uimm[5:0] rn rd`,
      args: ['rd', 'rn', 'rm', 'shift'],
      where: fits,
      translate: (t, i) => {
        const y = shifted(t, i);
        const result = logicalResult(t, i, kind, n ? not(t, y) : y);
        if (kind.flags) t.flags.setLogic(signed(t, i, result));
        set(t, i, result);
      },
    }),
  ),
];

/**
 * The field of a bitfield instruction, in its place in 64 bits, zero- or sign-extended: with imms >= immr it is taken out of the
 * register, else it is put `place` bits up.
 */
function placedField({ b }: Translator, i: Fields, x: I64, place: number, extend: boolean): I64 {
  const [low, high] = [i.imm2, i.imm];
  const taken = high >= low;
  if (taken && !extend && (high === 63 || high - low < 31)) {
    const down = low === 0 ? x : b.i64_shr_u(x, b.i64(low));
    return high === 63 ? down : b.i64_and(down, b.i64(2 ** (high - low + 1) - 1));
  }
  if (extend && taken && low === 0 && high === 7) return b.i64_extend8_s(x);
  if (extend && taken && low === 0 && high === 15) return b.i64_extend16_s(x);
  if (extend && taken && low === 0 && high === 31) return b.i64_extend32_s(x);
  const top = high === 63 ? x : b.i64_shl(x, b.i64(63 - high));
  const down = 63 - high + (taken ? low : -place);
  if (down === 0) return top;
  return extend ? b.i64_shr_s(top, b.i64(down)) : b.i64_shr_u(top, b.i64(down));
}

/** SBFM, BFM, UBFM. */
const bitfield = (name: string, op: string, keep: boolean, extend: boolean): InsnRow => ({
  name,
  enc: `sf ${op} 100110 s imm2[5:0] uimm[5:0] rn rd`,
  args: ['rd', 'rn', 'imm2', 'imm'],
  where: (i) => i.s === i.sf && (i.sf === 1 || (i.imm < 32 && i.imm2 < 32)),
  translate: (t, i) => {
    const { b } = t;
    const taken = i.imm >= i.imm2;
    const place = taken ? 0 : (i.sf ? 64 : 32) - i.imm2;
    const field = placedField(t, i, t.x(i.rn), place, extend);
    if (extend) set(t, i, field);
    else if (!keep) t.setX(i.rd, field);
    else {
      const width = taken ? i.imm - i.imm2 + 1 : i.imm + 1;
      const mask = ((1n << BigInt(width)) - 1n) << BigInt(place);
      t.setX(i.rd, b.i64_or(b.i64_and(t.x(i.rd), b.i64(~mask & ofSize(i))), field));
    }
  },
});

const two = (name: string, op: string, translate: (t: Translator, i: Fields, x: I64, y: I64) => I64): InsnRow => ({
  name,
  enc: `sf 0011010110 rm ${op} rn rd`,
  args: ['rd', 'rn', 'rm'],
  translate: (t, i) => set(t, i, translate(t, i, t.x(i.rn), t.x(i.rm))),
});
const one = (name: string, op: string, where: (i: Fields) => boolean, operation: Unary): InsnRow => ({
  name,
  enc: `sf 101101011000000 ${op} rn rd`,
  args: ['rd', 'rn'],
  where,
  translate: (t, i) => set(t, i, operation(t, i, t.x(i.rn))),
});

/** Neighbouring pieces of `bits` bits change places. */
const swap = ({ b }: Translator, x: I64, bits: number, mask: bigint): I64 =>
  b.i64_or(b.i64_and(b.i64_shr_u(x, b.i64(bits)), b.i64(mask)), b.i64_shl(b.i64_and(x, b.i64(mask)), b.i64(bits)));
const rev16 = (t: Translator, x: I64): I64 => swap(t, x, 8, 0x00ff00ff00ff00ffn);
const rev32 = (t: Translator, x: I64): I64 => swap(t, rev16(t, x), 16, 0x0000ffff0000ffffn);
const rev64 = (t: Translator, x: I64): I64 => t.b.i64_rotl(rev32(t, x), t.b.i64(32));
const always = (): boolean => true;

/** Division by 0 gives 0; the most negative number by -1 itself. The IR's division has neither case. */
function divide(t: Translator, i: Fields, x: I64, y: I64, isSigned: boolean): I64 {
  const { b } = t;
  const [a, d] = isSigned ? [signed(t, i, x), signed(t, i, y)] : [sized(t, i, x), sized(t, i, y)];
  const zero = b.i64_eqz(d);
  if (!isSigned) return b.select(zero, b.i64(0), b.i64_div_u(a, b.select(zero, b.i64(1), d)));
  const negated = b.i64_eq(d, b.i64(-1));
  const quotient = b.i64_div_s(a, b.select(b.i32_or(zero, negated), b.i64(1), d));
  return b.select(zero, b.i64(0), b.select(negated, b.i64_sub(b.i64(0), a), quotient));
}

const multiply = (name: string, enc: string, subtract: boolean, factor: (t: Translator, x: I64) => I64): InsnRow => ({
  name,
  enc,
  args: enc.startsWith('sf') ? ['rd', 'rn', 'rm', 'ra'] : ['xd', 'wn', 'wm', 'xa'],
  translate: (t, i) => {
    const product = t.b.i64_mul(factor(t, t.x(i.rn)), factor(t, t.x(i.rm)));
    set(t, i, subtract ? t.b.i64_sub(t.x(i.ra), product) : t.b.i64_add(t.x(i.ra), product));
  },
});
const high = (name: string, enc: string, routine: typeof engine.mulHighS): InsnRow => ({
  name,
  enc,
  args: ['xd', 'xn', 'xm'],
  translate: (t, i) => t.setX(i.rd, t.b.call(routine, t.x(i.rn), t.x(i.rm))[0]),
});

const crcRows = [crc32, crc32c].flatMap((routine, c) =>
  ['b', 'h', 'w', 'x'].map(
    (letter, log): InsnRow => ({
      name: `crc32${c ? 'c' : ''}${letter}`,
      enc: `${log === 3 ? 1 : 0} 0011010110 rm 010 ${c} ${log.toString(2).padStart(2, '0')} rn rd`,
      args: ['wd', 'wn', log === 3 ? 'xm' : 'wm'],
      translate: (t, i) => {
        const { b } = t;
        const bits = 8 << log;
        const data = log === 3 ? t.x(i.rm) : b.i64_and(t.x(i.rm), b.i64(2 ** bits - 1));
        const [crc] = b.call(routine, b.i32_wrap_i64(t.x(i.rn)), data, b.i32(bits));
        t.setX(i.rd, b.i64_extend_i32_u(crc));
      },
    }),
  ),
);

const select = (name: string, op: string, op2: string, otherwise: (t: Translator, x: I64) => I64): InsnRow => ({
  name,
  enc: `sf ${op} 11010100 rm cond ${op2} rn rd`,
  args: ['rd', 'rn', 'rm', 'cond'],
  translate: (t, i) => set(t, i, t.b.select(t.flags.condition(i.cond), t.x(i.rn), otherwise(t, t.x(i.rm)))),
});
const compare = (name: string, op: string, subtract: boolean, immediate: boolean): InsnRow => ({
  name,
  enc: `sf ${op} 111010010 ${immediate ? 'uimm[4:0]' : 'rm'} cond ${immediate ? '10' : '00'} rn 0 imm2[3:0]`,
  args: ['rn', immediate ? 'imm' : 'rm', 'imm2', 'cond'],
  translate: (t, i) => {
    const { b } = t;
    const holds = t.flags.condition(i.cond);
    const x = signed(t, i, t.x(i.rn));
    const y = immediate ? b.i64(i.imm) : signed(t, i, t.x(i.rm));
    if (subtract) {
      t.flags.setConditional(i.sf === 1, holds, x, y, i.imm2);
      return;
    }
    t.flags.setAdd(i.sf === 1, x, y);
    t.flags.setBits(b.select(holds, t.flags.bits(), b.i32(i.imm2 << 28)));
  },
});

/** `make` gives no bits but those of the operand's size. */
const moveWide = (name: string, op: string, make: (t: Translator, i: Fields) => I64): InsnRow => ({
  name,
  enc: `sf ${op} 100101 shift uimm[15:0] rd`,
  args: ['rd', 'imm', 'hw'],
  where: (i) => i.sf === 1 || i.shift < 2,
  translate: (t, i) => t.setX(i.rd, make(t, i)),
});
const placedWide = (i: Fields): bigint => BigInt(i.imm) << BigInt(16 * i.shift);

export const dataRows: readonly InsnRow[] = [
  ...arithmetic('add', '00', false, false),
  ...arithmetic('adds', '01', false, true),
  ...arithmetic('sub', '10', true, false),
  ...arithmetic('subs', '11', true, true),
  withCarry('adc', '00', false, false),
  withCarry('adcs', '01', false, true),
  withCarry('sbc', '10', true, false),
  withCarry('sbcs', '11', true, true),
  ...logical('and', 'bic', '00', { flags: false, clears: true, operation: ({ b }, x, y) => b.i64_and(x, y) }),
  ...logical('orr', 'orn', '01', { flags: false, clears: false, operation: ({ b }, x, y) => b.i64_or(x, y) }),
  ...logical('eor', 'eon', '10', { flags: false, clears: false, operation: ({ b }, x, y) => b.i64_xor(x, y) }),
  ...logical('ands', 'bics', '11', { flags: true, clears: true, operation: ({ b }, x, y) => b.i64_and(x, y) }),
  moveWide('movn', '00', (t, i) => t.b.i64(~placedWide(i) & ofSize(i))),
  moveWide('movz', '10', (t, i) => t.b.i64(placedWide(i))),
  moveWide('movk', '11', (t, i) => {
    const { b } = t;
    const kept = b.i64_and(t.x(i.rd), b.i64(~(0xffffn << BigInt(16 * i.shift)) & ofSize(i)));
    return b.i64_or(kept, b.i64(placedWide(i)));
  }),
  bitfield('sbfm', '00', false, true),
  bitfield('bfm', '01', true, false),
  bitfield('ubfm', '10', false, false),
  {
    name: 'extr',
    enc: 'sf 00100111 s 0 rm uimm[5:0] rn rd',
    args: ['rd', 'rn', 'rm', 'imm'],
    where: (i) => i.s === i.sf && fits(i),
    translate: (t, i) => {
      const { b } = t;
      if (i.imm === 0) return set(t, i, t.x(i.rm));
      const below = b.i64_shr_u(sized(t, i, t.x(i.rm)), b.i64(i.imm));
      set(t, i, b.i64_or(below, b.i64_shl(t.x(i.rn), b.i64((i.sf ? 64 : 32) - i.imm))));
    },
  },
  {
    name: 'adr',
    enc: '0 simm[1:0] 10000 simm[20:2] rd',
    args: ['xd', 'target'],
    translate: (t, i) => t.setX(i.rd, t.pcPlus(i.imm)),
  },
  {
    name: 'adrp',
    enc: '1 simm[1:0] 10000 simm[20:2] rd',
    args: ['xd', 'imm'],
    translate: (t, i) => t.setX(i.rd, t.pcPlus(i.imm * 4096 - t.offsetInPage)),
  },
  two('udiv', '000010', (t, i, x, y) => divide(t, i, x, y, false)),
  two('sdiv', '000011', (t, i, x, y) => divide(t, i, x, y, true)),
  ...['lslv', 'lsrv', 'asrv', 'rorv'].map((name, kind) =>
    two(name, `0010${kind.toString(2).padStart(2, '0')}`, (t, i, x, y) => shiftBy(t, i, kind, x, y)),
  ),
  one('rbit', '000000', always, (t, i, x) => {
    const bits = swap(t, swap(t, swap(t, x, 1, 0x5555555555555555n), 2, 0x3333333333333333n), 4, 0x0f0f0f0f0f0f0f0fn);
    return i.sf ? rev64(t, bits) : rev32(t, bits);
  }),
  one('rev16', '000001', always, (t, _, x) => rev16(t, x)),
  one('rev32', '000010', always, (t, _, x) => rev32(t, x)),
  one(
    'rev64',
    '000011',
    (i) => i.sf === 1,
    (t, _, x) => rev64(t, x),
  ),
  one('clz', '000100', always, ({ b }, i, x) =>
    i.sf ? b.i64_clz(x) : b.i64_extend_i32_u(b.i32_clz(b.i32_wrap_i64(x))),
  ),
  one('cls', '000101', always, (t, i, x) => {
    const { b } = t;
    const value = signed(t, i, x);
    const run = b.i64_clz(b.i64_xor(value, b.i64_shr_s(value, b.i64(63))));
    return b.i64_sub(run, b.i64(i.sf ? 1 : 33));
  }),
  multiply('madd', 'sf 0011011000 rm 0 ra rn rd', false, (_, x) => x),
  multiply('msub', 'sf 0011011000 rm 1 ra rn rd', true, (_, x) => x),
  multiply('smaddl', '10011011001 rm 0 ra rn rd', false, ({ b }, x) => b.i64_extend32_s(x)),
  multiply('smsubl', '10011011001 rm 1 ra rn rd', true, ({ b }, x) => b.i64_extend32_s(x)),
  multiply('umaddl', '10011011101 rm 0 ra rn rd', false, low),
  multiply('umsubl', '10011011101 rm 1 ra rn rd', true, low),
  high('smulh', '10011011010 rm 0 xxxxx rn rd', engine.mulHighS),
  high('umulh', '10011011110 rm 0 xxxxx rn rd', engine.mulHighU),
  ...needing('crc32', crcRows),
  select('csel', '00', '00', (_, x) => x),
  select('csinc', '00', '01', ({ b }, x) => b.i64_add(x, b.i64(1))),
  select('csinv', '10', '00', not),
  select('csneg', '10', '01', ({ b }, x) => b.i64_sub(b.i64(0), x)),
  compare('ccmn', '0', false, false),
  compare('ccmn', '0', false, true),
  compare('ccmp', '1', true, false),
  compare('ccmp', '1', true, true),
];
