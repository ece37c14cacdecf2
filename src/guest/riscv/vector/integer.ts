/** Integer and fixed-point vector arithmetic, element by element (unprivileged specification 31.11, 31.12, 31.14). */
import type { I32, I64, RoutineBuilder } from '../../../ir/index.js';
import { engine } from '../routines/set.js';
import { field } from '../state.js';
import { defineVector, type Elements, second } from './elements.js';

/** An operation on two elements and that of the destination: of what it gives the low bits count. */
export interface ElementOperation {
  readonly r: RoutineBuilder;
  readonly e: Elements;
  readonly x: I64;
  readonly y: I64;
  readonly d: I64;
  /** Bits of an element of vs2. */
  readonly bits: I64;
}
type Operation = (o: ElementOperation) => I64;

/** How x (vs2) and y (vs1 or the scalar) are extended. */
type Extension = 'uu' | 'ss' | 'su' | 'us';

function elementwise(name: string, extension: Extension, operation: Operation, accumulates = false) {
  return defineVector(name, (o) => {
    const { r, e, vd, vs2 } = o;
    const [signedX, signedY] = [extension[0] === 's', extension[1] === 's'];
    const bits = e.bits('vs2');
    // A scalar has the width of an element, whatever the register holds.
    const narrow = r.i64_sub(r.i64(64), e.bits('vs1'));
    const shift = signedY ? r.i64_shr_s : r.i64_shr_u;
    const scalar = shift.call(r, r.i64_shl(o.scalar, narrow), narrow);
    e.each((n) => {
      const x = e.get('vs2', vs2, n, signedX);
      const y = second({ ...o, scalar }, n, signedY);
      const d = accumulates ? e.get('vd', vd, n, false) : x;
      e.put(vd, n, operation({ r, e, x, y, d, bits }));
    });
  });
}

const not = (r: RoutineBuilder, value: I64): I64 => r.i64_xor(value, r.i64(-1));
const isNegative = (r: RoutineBuilder, value: I64): I32 => r.i64_lt_s(value, r.i64(0));
const lowest = ({ r, bits }: ElementOperation): I64 => r.i64_shl(r.i64(-1), r.i64_sub(bits, r.i64(1)));
const highest = (o: ElementOperation): I64 => not(o.r, lowest(o));
const highestUnsigned = ({ r, bits }: ElementOperation): I64 => r.i64_shr_u(r.i64(-1), r.i64_sub(r.i64(64), bits));
const amount = ({ r, y, bits }: ElementOperation): I64 => r.i64_and(y, r.i64_sub(bits, r.i64(1)));

/** `instead` where the result is out of bounds, which vxsat notes. */
function saturate({ r }: { readonly r: RoutineBuilder }, over: I32, instead: I64, value: I64): I64 {
  const s = r.state();
  r.i32_store(s, r.i32_or(r.i32_load(s, field.vxsat), over), field.vxsat);
  return r.select(over, instead, value);
}
const boundOf = (o: ElementOperation, value: I64): I64 => o.r.select(isNegative(o.r, value), lowest(o), highest(o));
const outOfBounds = (o: ElementOperation, value: I64): I32 =>
  o.r.i32_or(o.r.i64_gt_s(value, highest(o)), o.r.i64_lt_s(value, lowest(o)));

/**
 * What rounding by vxrm adds to a number whose `count` low bits go (31.12.1): by the last bit kept, the first that goes and those
 * below. 0: to nearest, up; 1: to nearest, even; 2: down; 3: to odd.
 */
function increment(r: RoutineBuilder, value: I64, count: I64): I64 {
  const mode = r.i32_load(r.state(), field.vxrm);
  const bit = (place: I64): I64 => r.i64_and(r.i64_shr_u(value, place), r.i64(1));
  const kept = bit(count);
  const first = bit(r.i64_sub(count, r.i64(1)));
  const ones = (places: I64): I64 => r.i64_sub(r.i64_shl(r.i64(1), places), r.i64(1));
  const flag = (value2: I64): I64 => r.i64_extend_i32_u(r.i64_ne(value2, r.i64(0)));
  const below = flag(r.i64_and(value, ones(r.i64_sub(count, r.i64(1)))));
  const any = flag(r.i64_and(value, ones(count)));
  const even = r.i64_and(first, r.i64_or(below, kept));
  const odd = r.i64_and(r.i64_xor(kept, r.i64(1)), any);
  const isOdd = r.i32_eq(mode, r.i32(3));
  const added = r.select(
    r.i32_eqz(mode),
    first,
    r.select(r.i32_eq(mode, r.i32(1)), even, r.select(isOdd, odd, r.i64(0))),
  );
  return r.select(r.i64_eqz(count), r.i64(0), added);
}

/** A number shifted right by 0 to 63, rounded. */
function roundedShift(o: ElementOperation, signed: boolean): I64 {
  const { r, x } = o;
  const count = amount(o);
  const shifted = (signed ? r.i64_shr_s : r.i64_shr_u).call(r, x, count);
  return r.i64_add(shifted, increment(r, x, count));
}

/** (x ± y) / 2, rounded: the sum has 65 bits. */
function average({ r, x, y }: ElementOperation, signed: boolean, subtracts: boolean): I64 {
  const sum = subtracts ? r.i64_sub(x, y) : r.i64_add(x, y);
  let top: I64;
  if (signed) {
    const wrapped = subtracts
      ? r.i64_and(r.i64_xor(x, y), r.i64_xor(x, sum))
      : r.i64_and(r.i64_xor(x, sum), r.i64_xor(y, sum));
    top = r.i64_shr_u(r.i64_xor(sum, r.i64_and(wrapped, r.i64(1n << 63n))), r.i64(63));
  } else top = r.i64_extend_i32_u(subtracts ? r.i64_lt_u(x, y) : r.i64_lt_u(sum, x));
  const half = r.i64_or(r.i64_shr_u(sum, r.i64(1)), r.i64_shl(top, r.i64(63)));
  return r.i64_add(half, increment(r, sum, r.i64(1)));
}

/** x * y / 2^(bits - 1), rounded and saturated. */
function fractionalProduct(o: ElementOperation): I64 {
  const { r, x, y, bits } = o;
  const both = r.i32_and(r.i64_eq(x, lowest(o)), r.i64_eq(y, lowest(o)));
  const product = r.i64_mul(x, y);
  const places = r.i64_sub(bits, r.i64(1));
  const short = r.i64_add(r.i64_shr_s(product, places), increment(r, product, places));
  // 126 bits: the high half, and the top bit of the low one.
  const [high] = r.call(engine.mulHighS, x, y);
  const kept = r.i64_or(r.i64_shl(high, r.i64(1)), r.i64_shr_u(product, r.i64(63)));
  // Rounding looks at the bit above what goes as well: it is put where the product has it no more.
  const long = r.i64_add(kept, incrementOf64(r, kept, product));
  return saturate(o, both, highest(o), r.select(r.i64_eq(bits, r.i64(64)), long, short));
}
/** As `increment` for a number whose 63 low bits go. */
function incrementOf64(r: RoutineBuilder, kept: I64, low: I64): I64 {
  return increment(r, r.i64_or(r.i64_shl(kept, r.i64(63)), r.i64_and(low, r.i64((1n << 63n) - 1n))), r.i64(63));
}

function signedSum(o: ElementOperation): I64 {
  const { r, x, y } = o;
  const sum = r.i64_add(x, y);
  const wraps = isNegative(r, r.i64_and(r.i64_xor(x, sum), r.i64_xor(y, sum)));
  return saturate(o, r.i32_or(wraps, outOfBounds(o, sum)), boundOf(o, x), sum);
}
function signedDifference(o: ElementOperation): I64 {
  const { r, x, y } = o;
  const difference = r.i64_sub(x, y);
  const wraps = isNegative(r, r.i64_and(r.i64_xor(x, y), r.i64_xor(x, difference)));
  return saturate(o, r.i32_or(wraps, outOfBounds(o, difference)), boundOf(o, x), difference);
}
function unsignedSum(o: ElementOperation): I64 {
  const { r, x, y } = o;
  const sum = r.i64_add(x, y);
  const bound = highestUnsigned(o);
  return saturate(o, r.i32_or(r.i64_lt_u(sum, x), r.i64_gt_u(sum, bound)), bound, sum);
}

/** Division by 0 gives all ones and the dividend as the remainder; the lowest number by -1 itself and 0. */
function divide({ r, x, y }: ElementOperation, signed: boolean, remainder: boolean): I64 {
  const zero = r.i64_eqz(y);
  const overflow = r.i32_and(r.i64_eq(y, r.i64(-1)), r.i64_eq(x, r.i64(1n << 63n)));
  const divisor = r.select(signed ? r.i32_or(zero, overflow) : zero, r.i64(1), y);
  if (remainder) return r.select(zero, x, signed ? r.i64_rem_s(x, divisor) : r.i64_rem_u(x, divisor));
  return r.select(zero, r.i64(-1), signed ? r.i64_div_s(x, divisor) : r.i64_div_u(x, divisor));
}

/** The upper half of a product of numbers of 64 bits; of narrower ones it is in the product. */
function highProduct({ r, x, y, bits }: ElementOperation, long: I64): I64 {
  return r.select(r.i64_eq(bits, r.i64(64)), long, r.i64_shr_u(r.i64_mul(x, y), r.i64_and(bits, r.i64(63))));
}
const unsignedHigh = ({ r, x, y }: ElementOperation): I64 => r.call(engine.mulHighU, x, y)[0];

/** Saturates a number of twice the bits to those of the destination. */
function clip(o: ElementOperation, signed: boolean): I64 {
  const { r, e } = o;
  const value = roundedShift(o, signed);
  const narrow = { ...o, bits: e.bits('vd') };
  if (signed) return saturate(o, outOfBounds(narrow, value), boundOf(narrow, value), value);
  const bound = highestUnsigned(narrow);
  return saturate(o, r.i64_gt_u(value, bound), bound, value);
}

const choice =
  (name: 'i64_lt_s' | 'i64_lt_u' | 'i64_gt_s' | 'i64_gt_u'): Operation =>
  ({ r, x, y }) =>
    r.select(r[name](x, y), x, y);
const product: Operation = ({ r, x, y }) => r.i64_mul(x, y);
const add: Operation = ({ r, x, y }) => r.i64_add(x, y);
const sub: Operation = ({ r, x, y }) => r.i64_sub(x, y);
const accumulate: Operation = ({ r, x, y, d }) => r.i64_add(d, r.i64_mul(x, y));

export const integers = {
  add: elementwise('add', 'uu', add),
  addSigned: elementwise('add_s', 'ss', add),
  sub: elementwise('sub', 'uu', sub),
  subSigned: elementwise('sub_s', 'ss', sub),
  rsub: elementwise('rsub', 'uu', ({ r, x, y }) => r.i64_sub(y, x)),
  and: elementwise('and', 'uu', ({ r, x, y }) => r.i64_and(x, y)),
  or: elementwise('or', 'uu', ({ r, x, y }) => r.i64_or(x, y)),
  xor: elementwise('xor', 'uu', ({ r, x, y }) => r.i64_xor(x, y)),
  minu: elementwise('minu', 'uu', choice('i64_lt_u')),
  min: elementwise('min', 'ss', choice('i64_lt_s')),
  maxu: elementwise('maxu', 'uu', choice('i64_gt_u')),
  max: elementwise('max', 'ss', choice('i64_gt_s')),
  sll: elementwise('sll', 'uu', (o) => o.r.i64_shl(o.x, amount(o))),
  srl: elementwise('srl', 'uu', (o) => o.r.i64_shr_u(o.x, amount(o))),
  sra: elementwise('sra', 'su', (o) => o.r.i64_shr_s(o.x, amount(o))),
  mul: elementwise('mul', 'uu', product),
  mulSigned: elementwise('mul_s', 'ss', product),
  mulSignedUnsigned: elementwise('mul_su', 'su', product),
  mulhu: elementwise('mulhu', 'uu', (o) => highProduct(o, unsignedHigh(o))),
  mulh: elementwise('mulh', 'ss', (o) => highProduct(o, o.r.call(engine.mulHighS, o.x, o.y)[0])),
  mulhsu: elementwise('mulhsu', 'su', (o) => {
    const { r, x, y } = o;
    return highProduct(o, r.i64_sub(unsignedHigh(o), r.i64_and(r.i64_shr_s(x, r.i64(63)), y)));
  }),
  divu: elementwise('divu', 'uu', (o) => divide(o, false, false)),
  div: elementwise('div', 'ss', (o) => divide(o, true, false)),
  remu: elementwise('remu', 'uu', (o) => divide(o, false, true)),
  rem: elementwise('rem', 'ss', (o) => divide(o, true, true)),
  macc: elementwise('macc', 'uu', accumulate, true),
  maccSigned: elementwise('macc_s', 'ss', accumulate, true),
  maccSignedUnsigned: elementwise('macc_su', 'us', accumulate, true),
  maccUnsignedSigned: elementwise('macc_us', 'su', accumulate, true),
  nmsac: elementwise('nmsac', 'uu', ({ r, x, y, d }) => r.i64_sub(d, r.i64_mul(x, y)), true),
  madd: elementwise('madd', 'uu', ({ r, x, y, d }) => r.i64_add(r.i64_mul(d, y), x), true),
  nmsub: elementwise('nmsub', 'uu', ({ r, x, y, d }) => r.i64_sub(x, r.i64_mul(d, y)), true),
  saddu: elementwise('saddu', 'uu', unsignedSum),
  sadd: elementwise('sadd', 'ss', signedSum),
  ssubu: elementwise('ssubu', 'uu', (o) => saturate(o, o.r.i64_lt_u(o.x, o.y), o.r.i64(0), o.r.i64_sub(o.x, o.y))),
  ssub: elementwise('ssub', 'ss', signedDifference),
  aaddu: elementwise('aaddu', 'uu', (o) => average(o, false, false)),
  aadd: elementwise('aadd', 'ss', (o) => average(o, true, false)),
  asubu: elementwise('asubu', 'uu', (o) => average(o, false, true)),
  asub: elementwise('asub', 'ss', (o) => average(o, true, true)),
  smul: elementwise('smul', 'ss', fractionalProduct),
  ssrl: elementwise('ssrl', 'uu', (o) => roundedShift(o, false)),
  ssra: elementwise('ssra', 'su', (o) => roundedShift(o, true)),
  nclipu: elementwise('nclipu', 'uu', (o) => clip(o, false)),
  nclip: elementwise('nclip', 'su', (o) => clip(o, true)),
  /** vs2 alone, extended: VZEXT, VSEXT. */
  extend: elementwise('zext', 'uu', ({ x }) => x),
  extendSigned: elementwise('sext', 'su', ({ x }) => x),
} as const;

/** What becomes a mask register's bits. */
function comparison(name: string, signed: boolean, holds: (r: RoutineBuilder, x: I64, y: I64) => I32) {
  return defineVector(name, (o) => {
    const { r, e, vd, vs2 } = o;
    const narrow = r.i64_sub(r.i64(64), e.bits('vs1'));
    const shift = signed ? r.i64_shr_s : r.i64_shr_u;
    const scalar = shift.call(r, r.i64_shl(o.scalar, narrow), narrow);
    e.each((n) => {
      const x = e.get('vs2', vs2, n, signed);
      e.putMaskBit(vd, n, holds(r, x, second({ ...o, scalar }, n, signed)));
    });
  });
}

export const comparisons = {
  eq: comparison('eq', false, (r, x, y) => r.i64_eq(x, y)),
  ne: comparison('ne', false, (r, x, y) => r.i64_ne(x, y)),
  ltu: comparison('ltu', false, (r, x, y) => r.i64_lt_u(x, y)),
  lt: comparison('lt', true, (r, x, y) => r.i64_lt_s(x, y)),
  leu: comparison('leu', false, (r, x, y) => r.i64_le_u(x, y)),
  le: comparison('le', true, (r, x, y) => r.i64_le_s(x, y)),
  gtu: comparison('gtu', false, (r, x, y) => r.i64_gt_u(x, y)),
  gt: comparison('gt', true, (r, x, y) => r.i64_gt_s(x, y)),
} as const;

/** With the carry or borrow that v0 holds: the mask is an operand. `carryOut`: into a mask register. */
function withCarry(name: string, subtracts: boolean, carryOut: boolean) {
  return defineVector(name, (o) => {
    const { r, e, vd, vs2 } = o;
    const unused = r.i64_sub(r.i64(64), e.bits('vs1'));
    const scalar = r.i64_shr_u(r.i64_shl(o.scalar, unused), unused);
    e.each((n) => {
      const x = e.get('vs2', vs2, n, false);
      const y = second({ ...o, scalar }, n, false);
      const isIn = carryOut ? r.i32_and(r.i32_ne(e.isMasked, r.i32(0)), e.carry(n)) : e.carry(n);
      const c = r.i64_extend_i32_u(isIn);
      if (!carryOut) {
        const result = subtracts ? r.i64_sub(r.i64_sub(x, y), c) : r.i64_add(r.i64_add(x, y), c);
        e.put(vd, n, result);
      } else if (subtracts) {
        e.putMaskBit(vd, n, r.select(isIn, r.i64_le_u(x, y), r.i64_lt_u(x, y)));
      } else {
        const sum = r.i64_add(r.i64_add(x, y), c);
        const wraps = r.select(isIn, r.i64_le_u(sum, x), r.i64_lt_u(sum, x));
        const isShort = r.i64_ne(unused, r.i64(0));
        const over = r.i64_ne(r.i64_shr_u(sum, r.i64_and(e.bits('vs2'), r.i64(63))), r.i64(0));
        e.putMaskBit(vd, n, r.select(isShort, over, wraps));
      }
    }, false);
  });
}

export const carries = {
  adc: withCarry('adc', false, false),
  sbc: withCarry('sbc', true, false),
  madc: withCarry('madc', false, true),
  msbc: withCarry('msbc', true, true),
} as const;

/** vd[0] becomes vs1[0] and all active elements of vs2 together. */
function reduction(name: string, signed: boolean, operation: (r: RoutineBuilder, x: I64, y: I64) => I64) {
  return defineVector(name, ({ r, e, vd, vs2, vs1 }) => {
    const zero = r.i32(0);
    r.if(e.field(field.vl), () => {
      const sum = r.local('i64', e.get('vs1', vs1, zero, signed));
      e.each((n) => r.assign(sum, operation(r, r.read(sum), e.get('vs2', vs2, n, signed))));
      e.put(vd, zero, r.read(sum));
    });
  });
}
export const reductions = {
  sum: reduction('redsum', false, (r, x, y) => r.i64_add(x, y)),
  sumSigned: reduction('redsum_s', true, (r, x, y) => r.i64_add(x, y)),
  and: reduction('redand', false, (r, x, y) => r.i64_and(x, y)),
  or: reduction('redor', false, (r, x, y) => r.i64_or(x, y)),
  xor: reduction('redxor', false, (r, x, y) => r.i64_xor(x, y)),
  minu: reduction('redminu', false, (r, x, y) => r.select(r.i64_lt_u(x, y), x, y)),
  min: reduction('redmin', true, (r, x, y) => r.select(r.i64_lt_s(x, y), x, y)),
  maxu: reduction('redmaxu', false, (r, x, y) => r.select(r.i64_gt_u(x, y), x, y)),
  max: reduction('redmax', true, (r, x, y) => r.select(r.i64_gt_s(x, y), x, y)),
} as const;
