/** Floating-point vector arithmetic in half, single and double precision, element by element (unprivileged specification 31.13, 31.14.3). */
import type { I32, I64, RoutineBuilder } from '../../../ir/index.js';
import { rounding } from '../../float/core.js';
import {
  double,
  exponentOfBits,
  type Format,
  fractionOfBits,
  half,
  infinityBits,
  magnitudeOfBits,
  quietBit,
  signBit,
  single,
} from '../../float/pack.js';
import { canonicalNaN, convert, type FloatRoutines, f16, f32, f64, fflag } from '../routines/float.js';
import { routines } from '../routines/set.js';
import { field } from '../state.js';
import { defineVector, type Operands, second } from './elements.js';

const formats = [
  { format: half, routines: f16, width: 1 },
  { format: single, routines: f32, width: 2 },
  { format: double, routines: f64, width: 3 },
] as const;
type Precision = (typeof formats)[number];
const [HALF, SINGLE, DOUBLE] = formats;
const isWidth = (r: RoutineBuilder, width: I32, { width: n }: Precision): I32 => r.i32_eq(width, r.i32(n));

/** What an operation gives in the precision of that width. */
function byWidth(r: RoutineBuilder, width: I32, give: (p: Precision) => I64): I64 {
  const out = r.local('i64');
  r.if(
    isWidth(r, width, DOUBLE),
    () => r.assign(out, give(DOUBLE)),
    () =>
      r.if(
        isWidth(r, width, SINGLE),
        () => r.assign(out, give(SINGLE)),
        () => r.assign(out, give(HALF)),
      ),
  );
  return r.read(out);
}

interface FloatOperation {
  readonly r: RoutineBuilder;
  readonly p: Precision;
  readonly f: FloatRoutines;
  readonly x: I64;
  readonly y: I64;
  readonly d: I64;
  readonly mode: I32;
}

/** A number of half the width that is calculated with becomes one of all of it. */
function promoted(o: Operands, operand: 'vs2' | 'vs1', bits: I64): I64 {
  const { r, e } = o;
  const value = r.local('i64', bits);
  const width = e.width(operand);
  r.if(r.i32_lt_u(width, e.width('vd')), () =>
    r.if(
      isWidth(r, width, SINGLE),
      () => r.assign(value, r.call(convert.d.s, bits, r.i32(0))[0]),
      () => r.assign(value, r.call(convert.s.h, bits, r.i32(0))[0]),
    ),
  );
  return r.read(value);
}

function elementwise(name: string, operation: (o: FloatOperation) => I64, accumulates = false) {
  return defineVector(`f_${name}`, (o) => {
    const { r, e, vd, vs2 } = o;
    const mode = e.rounding;
    const width = e.width('vd');
    e.each((n) => {
      const x = promoted(o, 'vs2', e.get('vs2', vs2, n, false));
      const y = promoted(o, 'vs1', second(o, n, false));
      const d = accumulates ? e.get('vd', vd, n, false) : x;
      e.put(
        vd,
        n,
        byWidth(r, width, (p) => operation({ r, p, f: p.routines, x, y, d, mode })),
      );
    });
  });
}

const flipped = (r: RoutineBuilder, { format }: Precision, bits: I64): I64 => r.i64_xor(bits, r.i64(signBit(format)));

/** a * b + c with product or sum negated. `fromD`: the destination is a factor, and vs2 is added. */
const fused = (name: string, fromD: boolean, negateProduct: boolean, negateAddend: boolean) =>
  elementwise(
    name,
    ({ r, p, f, x, y, d, mode }) => {
      const [factor, addend] = fromD ? [d, x] : [x, d];
      const a = negateProduct ? flipped(r, p, factor) : factor;
      const c = negateAddend ? flipped(r, p, addend) : addend;
      return r.call(f.fma, a, y, c, mode)[0];
    },
    true,
  );

const sign = (name: string, choose: (o: FloatOperation) => I64) =>
  elementwise(name, (o) => {
    const { r, p, x } = o;
    const mask = signBit(p.format);
    return r.i64_or(r.i64_and(x, r.i64(mask - 1n)), r.i64_and(choose(o), r.i64(mask)));
  });

export const floats = {
  add: elementwise('add', ({ r, f, x, y, mode }) => r.call(f.add, x, y, mode)[0]),
  sub: elementwise('sub', ({ r, f, x, y, mode }) => r.call(f.sub, x, y, mode)[0]),
  rsub: elementwise('rsub', ({ r, f, x, y, mode }) => r.call(f.sub, y, x, mode)[0]),
  mul: elementwise('mul', ({ r, f, x, y, mode }) => r.call(f.mul, x, y, mode)[0]),
  div: elementwise('div', ({ r, f, x, y, mode }) => r.call(f.div, x, y, mode)[0]),
  rdiv: elementwise('rdiv', ({ r, f, x, y, mode }) => r.call(f.div, y, x, mode)[0]),
  min: elementwise('min', ({ r, f, x, y }) => r.call(f.min, x, y)[0]),
  max: elementwise('max', ({ r, f, x, y }) => r.call(f.max, x, y)[0]),
  sgnj: sign('sgnj', ({ y }) => y),
  sgnjn: sign('sgnjn', ({ r, p, y }) => flipped(r, p, y)),
  sgnjx: sign('sgnjx', ({ r, x, y }) => r.i64_xor(x, y)),
  macc: fused('macc', false, false, false),
  nmacc: fused('nmacc', false, true, true),
  msac: fused('msac', false, false, true),
  nmsac: fused('nmsac', false, true, false),
  madd: fused('madd', true, false, false),
  nmadd: fused('nmadd', true, true, true),
  msub: fused('msub', true, false, true),
  nmsub: fused('nmsub', true, true, false),
} as const;

function comparison(name: string, holds: (r: RoutineBuilder, f: FloatRoutines, x: I64, y: I64) => I64) {
  return defineVector(`f_${name}`, (o) => {
    const { r, e, vd, vs2 } = o;
    const width = e.width('vs2');
    e.each((n) => {
      const x = e.get('vs2', vs2, n, false);
      const y = second(o, n, false);
      e.putMaskBit(vd, n, r.i32_wrap_i64(byWidth(r, width, (p) => holds(r, p.routines, x, y))));
    });
  });
}
export const floatComparisons = {
  eq: comparison('eq', (r, f, x, y) => r.call(f.eq, x, y)[0]),
  ne: comparison('ne', (r, f, x, y) => r.i64_xor(r.call(f.eq, x, y)[0], r.i64(1))),
  lt: comparison('lt', (r, f, x, y) => r.call(f.lt, x, y)[0]),
  le: comparison('le', (r, f, x, y) => r.call(f.le, x, y)[0]),
  gt: comparison('gt', (r, f, x, y) => r.call(f.lt, y, x)[0]),
  ge: comparison('ge', (r, f, x, y) => r.call(f.le, y, x)[0]),
} as const;

/** vd[0] becomes vs1[0] and all active elements of vs2, in order. */
function reduction(name: string, operation: (r: RoutineBuilder, f: FloatRoutines, x: I64, y: I64, mode: I32) => I64) {
  return defineVector(`f_${name}`, (o) => {
    const { r, e, vd, vs2, vs1 } = o;
    const mode = e.rounding;
    const zero = r.i32(0);
    r.if(e.field(field.vl), () => {
      const sum = r.local('i64', e.get('vs1', vs1, zero, false));
      e.each((n) => {
        const x = promoted(o, 'vs2', e.get('vs2', vs2, n, false));
        const before = r.read(sum);
        r.assign(
          sum,
          byWidth(r, e.width('vd'), (p) => operation(r, p.routines, before, x, mode)),
        );
      });
      e.put(vd, zero, r.read(sum));
    });
  });
}
export const floatReductions = {
  sum: reduction('redsum', (r, f, x, y, mode) => r.call(f.add, x, y, mode)[0]),
  min: reduction('redmin', (r, f, x, y) => r.call(f.min, x, y)[0]),
  max: reduction('redmax', (r, f, x, y) => r.call(f.max, x, y)[0]),
} as const;

const raise = (r: RoutineBuilder, flags: number): void =>
  r.i32_store(r.state(), r.i32_or(r.i32_load(r.state(), field.fflags), r.i32(flags)), field.fflags) as never;

/** NaNs, which signal if they do, to the canonical one. */
function returnNaN(r: RoutineBuilder, f: Format, bits: I64): void {
  r.if(r.i64_gt_u(magnitudeOfBits(r, f, bits), r.i64(infinityBits(f))), () => {
    r.if(r.i64_eqz(r.i64_and(bits, r.i64(quietBit(f)))), () => raise(r, fflag.NV));
    r.ret(r.i64(canonicalNaN(f)));
  });
}

/** Exponent (which may be negative) and fraction of a number that is not 0, as if it were normal. */
function normalized(r: RoutineBuilder, f: Format, bits: I64): { exp: I64; fraction: I64 } {
  const exp = r.local('i64', r.i64_extend_i32_u(exponentOfBits(r, f, bits)));
  const fraction = r.local('i64', fractionOfBits(r, f, bits));
  r.if(r.i64_eqz(r.read(exp)), () => {
    const zeros = r.i64_sub(r.i64_clz(r.read(fraction)), r.i64(63 - f.fraction));
    r.assign(exp, r.i64_sub(r.i64(1), zeros));
    const mask = r.i64((1n << BigInt(f.fraction)) - 1n);
    r.assign(fraction, r.i64_and(r.i64_shl(r.read(fraction), zeros), mask));
  });
  return { exp: r.read(exp), fraction: r.read(fraction) };
}

/** VFREC7's estimate: 7 bits of the reciprocal of the middle of the interval that 7 bits of the fraction name. */
function defineReciprocal(f: Format) {
  return routines.define(`v_${f.name}_rec7`, ['i64', 'i32'], ['i64'], {}, (r, bits, mode) => {
    returnNaN(r, f, bits);
    const negative = r.i64_and(bits, r.i64(signBit(f)));
    const magnitude = magnitudeOfBits(r, f, bits);
    r.if(r.i64_eq(magnitude, r.i64(infinityBits(f))), () => r.ret(negative));
    const infinite = r.i64_or(negative, r.i64(infinityBits(f)));
    r.if(r.i64_eqz(magnitude), () => {
      raise(r, fflag.DZ);
      r.ret(infinite);
    });
    const { exp, fraction } = normalized(r, f, bits);
    r.if(r.i64_lt_s(exp, r.i64(-1)), () => {
      raise(r, fflag.OF | fflag.NX);
      const isNegative = r.i64_ne(negative, r.i64(0));
      const towardZero = r.select(isNegative, r.i32_eq(mode, r.i32(rounding.up)), r.i32_eq(mode, r.i32(rounding.down)));
      const finite = r.i32_or(r.i32_eq(mode, r.i32(rounding.zero)), towardZero);
      r.ret(r.select(finite, r.i64_sub(infinite, r.i64(1)), infinite));
    });
    // 65536 / (257 + 2i), rounded, without its leading 1.
    const index = r.i64_shr_u(fraction, r.i64(f.fraction - 7));
    const divisor = r.i64_add(r.i64_shl(index, r.i64(1)), r.i64(257));
    const quotient = r.i64_div_u(r.i64_add(divisor, r.i64(131072)), r.i64_shl(divisor, r.i64(1)));
    const out = r.local('i64', r.i64_shl(r.i64_sub(quotient, r.i64(128)), r.i64(f.fraction - 7)));
    const outExp = r.local('i64', r.i64_sub(r.i64(2 * f.bias - 1), exp));
    // Subnormal, and exact in what it has.
    r.if(r.i64_le_s(r.read(outExp), r.i64(0)), () => {
      r.assign(out, r.i64_or(r.i64_shr_u(r.read(out), r.i64(1)), r.i64(quietBit(f))));
      r.assign(out, r.i64_shr_u(r.read(out), r.i64_sub(r.i64(0), r.read(outExp))));
      r.assign(outExp, r.i64(0));
    });
    r.ret(r.i64_or(negative, r.i64_or(r.i64_shl(r.read(outExp), r.i64(f.fraction)), r.read(out))));
  });
}

/** VFRSQRT7's estimate, from 6 bits of the fraction and the last of the exponent. */
function defineReciprocalRoot(f: Format) {
  return routines.define(`v_${f.name}_rsqrt7`, ['i64'], ['i64'], {}, (r, bits) => {
    returnNaN(r, f, bits);
    const negative = r.i64_and(bits, r.i64(signBit(f)));
    const magnitude = magnitudeOfBits(r, f, bits);
    r.if(r.i64_eqz(magnitude), () => {
      raise(r, fflag.DZ);
      r.ret(r.i64_or(negative, r.i64(infinityBits(f))));
    });
    r.if(r.i64_ne(negative, r.i64(0)), () => {
      raise(r, fflag.NV);
      r.ret(r.i64(canonicalNaN(f)));
    });
    r.if(r.i64_eq(magnitude, r.i64(infinityBits(f))), () => r.ret(r.i64(0)));
    const { exp, fraction } = normalized(r, f, bits);
    // The middle of the interval, in [1, 2), doubled where the exponent is odd, which is where its biased form is even.
    const middle = r.f64_add(
      r.f64(1),
      r.f64_div(r.f64_add(r.f64_convert_i64_u(r.i64_shr_u(fraction, r.i64(f.fraction - 6))), r.f64(0.5)), r.f64(64)),
    );
    const isEven = r.i64_eqz(r.i64_and(exp, r.i64(1)));
    const root = r.f64_sqrt(r.f64_mul(middle, r.select(isEven, r.f64(2), r.f64(1))));
    const estimate = r.i64_trunc_sat_f64_u(r.f64_nearest(r.f64_div(r.f64(256), root)));
    const out = r.i64_shl(r.i64_sub(estimate, r.i64(128)), r.i64(f.fraction - 7));
    const outExp = r.i64_shr_u(r.i64_sub(r.i64(3 * f.bias - 1), exp), r.i64(1));
    r.ret(r.i64_or(r.i64_shl(outExp, r.i64(f.fraction)), out));
  });
}
const reciprocals = formats.map(({ format }) => defineReciprocal(format));
const reciprocalRoots = formats.map(({ format }) => defineReciprocalRoot(format));
const place = ({ width }: Precision): number => width - 1;

/** Of vs2 alone, in its own precision, whose width the result has. */
const unary = (name: string, operation: (o: FloatOperation) => I64) => elementwise(name, operation);

function toInteger(name: string, signed: boolean) {
  return defineVector(`f_${name}`, ({ r, e, vd, vs2 }) => {
    const bits = e.bits('vd');
    const most = signed ? r.i64_sub(bits, r.i64(1)) : bits;
    const highest = r.i64_shr_u(r.i64(-1), r.i64_sub(r.i64(64), most));
    const lowest = signed ? r.i64_add(highest, r.i64(1)) : r.i64(0);
    const mode = e.rounding;
    e.each((n) => {
      const x = e.get('vs2', vs2, n, false);
      e.put(
        vd,
        n,
        byWidth(r, e.width('vs2'), ({ routines: f }) => r.call(f.toInteger, x, mode, lowest, highest)[0]),
      );
    });
  });
}
function fromInteger(name: string, signed: boolean) {
  return defineVector(`f_${name}`, ({ r, e, vd, vs2 }) => {
    const mode = e.rounding;
    e.each((n) => {
      const x = e.get('vs2', vs2, n, signed);
      const isSigned = r.i32(signed ? 1 : 0);
      e.put(
        vd,
        n,
        byWidth(r, e.width('vd'), ({ routines: f }) => r.call(f.fromInteger, x, isSigned, mode)[0]),
      );
    });
  });
}

/** To half the width. */
function narrowed({ r, e }: Operands, x: I64, mode: I32): I64 {
  const out = r.local('i64');
  r.if(
    isWidth(r, e.width('vd'), SINGLE),
    () => r.assign(out, r.call(convert.s.d, x, mode)[0]),
    () => r.assign(out, r.call(convert.h.s, x, mode)[0]),
  );
  return r.read(out);
}

/** The same rounded to odd: towards zero, with the last bit set where something was lost. */
function narrowToOdd(o: Operands, x: I64): I64 {
  const { r } = o;
  const s = r.state();
  const before = r.i32_load(s, field.fflags);
  r.i32_store(s, r.i32_and(before, r.i32(~fflag.NX)), field.fflags);
  const bits = narrowed(o, x, r.i32(rounding.zero));
  const after = r.i32_load(s, field.fflags);
  r.i32_store(s, r.i32_or(before, after), field.fflags);
  return r.i64_or(bits, r.i64_extend_i32_u(r.i32_and(after, r.i32(fflag.NX))));
}

export const floatUnaries = {
  sqrt: unary('sqrt', ({ r, f, x, mode }) => r.call(f.sqrt, x, mode)[0]),
  classify: unary('class', ({ r, f, x }) => r.call(f.classify, x)[0]),
  rec7: unary('rec7', ({ r, p, x, mode }) => r.call(reciprocals[place(p)], x, mode)[0]),
  rsqrt7: unary('rsqrt7', ({ r, p, x }) => r.call(reciprocalRoots[place(p)], x)[0]),
  toSigned: toInteger('to_s', true),
  toUnsigned: toInteger('to_u', false),
  fromSigned: fromInteger('from_s', true),
  fromUnsigned: fromInteger('from_u', false),
  /** To twice the width, as every operation of mixed width does it. */
  widen: elementwise('widen', ({ x }) => x),
  narrow: defineVector('f_narrow', (o) => {
    const { e, vd, vs2 } = o;
    const mode = e.rounding;
    e.each((n) => e.put(vd, n, narrowed(o, e.get('vs2', vs2, n, false), mode)));
  }),
  narrowToOdd: defineVector('f_narrow_odd', (o) => {
    const { e, vd, vs2 } = o;
    e.each((n) => e.put(vd, n, narrowToOdd(o, e.get('vs2', vs2, n, false))));
  }),
} as const;
