/**
 * Advanced SIMD: floating point (A7.4). It works with the "standard FPSCR value" (A2.6.4): rounding to nearest, default NaNs, subnormal
 * numbers flushed to zero, whatever FPSCR says; exceptions are accrued there.
 */
import type { I64, V128 } from '../../../ir/index.js';
import { unsignedReciprocal, unsignedReciprocalRoot } from '../../arm/routines/float-estimate.js';
import {
  call,
  callOne,
  converted,
  fromInteger,
  type Operation,
  rounded,
  toInteger,
} from '../../arm/table/float-calls.js';
import {
  type FloatTranslator,
  type Format,
  half,
  lane,
  magnitude,
  modeOf,
  single,
  withLane,
} from '../../arm/table/float-format.js';
import {
  byRoutine,
  fromIntegers,
  fusedWhole,
  isEither,
  isEqual,
  isGreater,
  magnitudes,
  mask,
  multiplyAdd,
  multiplySubtract,
  toIntegers,
  type Whole,
} from '../../arm/table/float-operations.js';
import { zero } from '../../arm/table/vector.js';
import { rounding } from '../../float/core.js';
import { steps } from '../routines/float.js';
import type { InsnRow, Translator } from '../row.js';
import { exact, operand, pure, set, setD, simd, three, two } from './simd-format.js';
import { longEnc, scalar } from './simd-long.js';
import { shiftEnc } from './simd-shift.js';

type Bit = 0 | 1;
export const standard = ({ b, mode }: Translator): FloatTranslator => ({
  b,
  mode: { ...mode, roundingMode: 0, defaultNaN: true, flushToZero: true },
});
const REGISTERS = ['xd', 'xn', 'xm'];
const formats: readonly Format[] = [single, half];
/** The lower bit of the size field of three registers, and the field of two. */
const sz = (f: Format): Bit => (f === half ? 1 : 0);
const sizeField = (f: Format): string => (f === half ? '01' : '10');
const typeOf = (f: Format): string => `f${f.bits}`;
const ofFormat = (f: Format, rest: Partial<InsnRow> = {}): Partial<InsnRow> => ({
  type: () => `.${typeOf(f)}`,
  ...rest,
  ...(f === half && { features: ['fp16'] }),
});

/** Lane by lane, in all of a vector or in its lower half. */
function eachLane(t: FloatTranslator, f: Format, q: number, operation: (n: number) => I64): V128 {
  let value = zero(t);
  for (let n = 0; n < (q ? 16 : 8) >> f.size; n++) value = withLane(t, f, value, n, operation(n));
  return value;
}

// --- three registers, and two with a scalar

/** What a format has for whole vectors, and for numbers. */
interface Both {
  readonly whole?: Whole;
  readonly number: Operation;
}
function value(t: FloatTranslator, f: Format, q: number, { whole, number }: Both, x: V128, y: V128, d: V128): V128 {
  if (whole && f !== half) return whole(t, f, x, y, () => d);
  return eachLane(t, f, q, (n) => number(t, f, lane(t, f, x, n), lane(t, f, y, n), lane(t, f, d, n)));
}
const threeRows = (
  f: Format,
  name: string,
  u: Bit,
  high: Bit,
  opcode: string,
  o1: Bit,
  operation: Both,
  rest: Partial<InsnRow> = {},
): InsnRow[] =>
  simd(
    name,
    `${u} 0 ${three(`${high}${sz(f)}`, opcode, o1)}`,
    REGISTERS,
    (t, i) => {
      const [x, y, d] = [i.rn, i.rm, i.rd].map((n) => exact(t, i.q, n));
      set(t, i.q, i.rd, value(standard(t), f, i.q, operation, x, y, d));
    },
    ofFormat(f, rest),
  );
const scalarRows = (f: Format, name: string, opcode: string, operation: Both): InsnRow[] =>
  simd(
    name,
    longEnc('q', 'size', opcode, 1),
    ['xd', 'xn', 'dm[x]'],
    (t, i) => {
      const [x, d] = [i.rn, i.rd].map((n) => exact(t, i.q, n));
      set(t, i.q, i.rd, value(standard(t), f, i.q, operation, x, scalar(t, i), d));
    },
    ofFormat(f, { where: (i) => i.size === f.size }),
  );
/** Neighbours of both D registers, one after the other. */
const pairwise = (f: Format, name: string, high: Bit, opcode: string, operation: Operation): InsnRow[] =>
  simd(
    name,
    `1 0 ${three(`${high}${sz(f)}`, opcode, 0)}`,
    ['dd', 'dn', 'dm'],
    (t, i) => {
      const s = standard(t);
      const [x, y] = [operand(t, 0, i.rn), operand(t, 0, i.rm)];
      const count = 8 >> f.size;
      const sums = eachLane(s, f, 0, (n) => {
        const [source, at] = 2 * n < count ? [x, 2 * n] : [y, 2 * n - count];
        const [low, up] = [lane(s, f, source, at), lane(s, f, source, at + 1)];
        return operation(s, f, low, up, low);
      });
      setD(t, i.rd, sums);
    },
    ofFormat(f, { where: (i) => i.q === 0 }),
  );

const both = (name: Parameters<typeof byRoutine>[0] & Parameters<typeof call>[0]): Both => ({
  whole: byRoutine(name),
  number: call(name),
});
const relation = (name: 'eq' | 'ge' | 'gt'): Both => ({
  whole: byRoutine(name),
  number: { eq: mask(false, isEqual), ge: mask(true, isEither), gt: mask(true, isGreater) }[name],
});
/** The product is rounded before it is added or subtracted. */
const accumulate = (change: 'add' | 'sub'): Both => ({
  whole: (t, f, x, y, d) => byRoutine(change)(t, f, d(), byRoutine('mul')(t, f, x, y, d), d),
  number: (t, f, x, y, d) => call(change)(t, f, d, call('mul')(t, f, x, y, d), d),
});
const ofMagnitudes = ({ whole, number }: Both): Both => ({
  ...(whole && { whole: (t, f, x, y, d) => whole(t, f, magnitudes(t, f, x), magnitudes(t, f, y), d) }),
  number: (t, f, x, y, d) => number(t, f, magnitude(t, f, x), magnitude(t, f, y), d),
});
const distance: Both = {
  whole: (t, f, x, y, d) => magnitudes(t, f, byRoutine('sub')(t, f, x, y, d)),
  number: (t, f, x, y, d) => magnitude(t, f, call('sub')(t, f, x, y, d)),
};
const step = (name: 'recps' | 'rsqrts'): Both => ({
  number: (t, f, x, y) => t.b.call(steps[f === half ? 'f16' : 'f32'][name], x, y, modeOf(t, f))[0],
});

// --- two registers

type One = (t: FloatTranslator, f: Format, x: I64) => I64;
const twoRows = (
  f: Format,
  name: string,
  type: string,
  opc1: string,
  opc2: string,
  operation: One,
  rest: Partial<InsnRow> = {},
  whole?: (t: FloatTranslator, x: V128) => V128,
): InsnRow[] =>
  simd(
    name,
    two(sizeField(f), opc1, `${opc2} q`),
    ['xd', 'xm'],
    (t, i) => {
      const s = standard(t);
      const x = exact(t, i.q, i.rm);
      const byNumber = () => eachLane(s, f, i.q, (n) => operation(s, f, lane(s, f, x, n)));
      set(t, i.q, i.rd, whole && f === single ? whole(s, x) : byNumber());
    },
    ofFormat(f, { type: () => `.${type}`, ...rest }),
  );
/** `opc2`: behind the bit that says that it is of floating point. */
const againstZero = (f: Format, name: string, opc2: string, operation: Both, isSwapped: boolean): InsnRow[] =>
  simd(
    name,
    two(sizeField(f), '01', `1${opc2} q`),
    ['xd', 'xm', '#0'],
    (t, i) => {
      const s = standard(t);
      const [x, nothing] = [exact(t, i.q, i.rm), zero(t)];
      const [a, b] = isSwapped ? [nothing, x] : [x, nothing];
      set(t, i.q, i.rd, value(s, f, i.q, operation, a, b, x));
    },
    ofFormat(f),
  );
const sign = (f: Format, name: string, opc2: string, change: (t: FloatTranslator, x: V128, bit: V128) => V128) =>
  simd(
    name,
    two(sizeField(f), '01', `1${opc2} q`),
    ['xd', 'xm'],
    (t, i) => {
      const { b } = t;
      const bit = f === half ? b.i16x8_splat(b.i32(0x8000)) : b.i32x4_splat(b.i32(0x80000000 | 0));
      set(t, i.q, i.rd, change(t, operand(t, i.q, i.rm), bit));
    },
    ofFormat(f, pure),
  );

/** VCVT of fixed point: the immediate is 64 less the fraction's places. */
function fixedRows(f: Format, isSigned: boolean): InsnRow[] {
  const integer = `${isSigned ? 's' : 'u'}${f.bits}`;
  const u = isSigned ? 0 : 1;
  const row = (type: string, op: Bit, operation: (t: FloatTranslator, x: I64, places: number) => I64): InsnRow[] =>
    simd(
      'vcvt',
      shiftEnc(u, `11${sz(f) === 1 ? 0 : 1}${op}`, '0', 'q'),
      ['xd', 'xm', 'places'],
      (t, i) => {
        const s = standard(t);
        const x = operand(t, i.q, i.rm);
        set(
          t,
          i.q,
          i.rd,
          eachLane(s, f, i.q, (n) => operation(s, lane(s, f, x, n), 64 - i.imm)),
        );
      },
      ofFormat(f, { type: () => type, where: (i) => i.imm >= 64 - f.bits }),
    );
  return [
    ...row(`.${typeOf(f)}.${integer}`, 0, (t, x, places) => fromInteger(t, f, x, isSigned, f.bits, places)),
    ...row(`.${integer}.${typeOf(f)}`, 1, (t, x, places) =>
      toInteger(t, f, x, rounding.zero, isSigned, f.bits, places),
    ),
  ];
}

function rowsOf(f: Format): InsnRow[] {
  const type = typeOf(f);
  const modes = [
    ['a', '00', rounding.tiesAway],
    ['n', '01', rounding.nearest],
    ['p', '10', rounding.up],
    ['m', '11', rounding.down],
  ] as const;
  const conversions = ([true, false] as const).flatMap((isSigned): InsnRow[] => {
    const integer = `${isSigned ? 's' : 'u'}${f.bits}`;
    const op = isSigned ? 0 : 1;
    return [
      ...twoRows(
        f,
        'vcvt',
        `${type}.${integer}`,
        '11',
        `110${op}`,
        (t, _, x) => fromInteger(t, f, x, isSigned, f.bits),
        {},
        (t, x) => fromIntegers(t, isSigned ? 's' : 'u', x),
      ),
      ...twoRows(
        f,
        'vcvt',
        `${integer}.${type}`,
        '11',
        `111${op}`,
        (t, _, x) => toInteger(t, f, x, rounding.zero, isSigned, f.bits),
        {},
        (t, x) => toIntegers(t, isSigned ? 's' : 'u', x),
      ),
      ...modes.flatMap(([letter, code, mode]) =>
        twoRows(
          f,
          `vcvt${letter}`,
          `${integer}.${type}`,
          '11',
          `0${code}${op}`,
          (t, _, x) => toInteger(t, f, x, mode, isSigned, f.bits),
          { isV8: true },
        ),
      ),
      ...fixedRows(f, isSigned),
    ];
  });
  const rounds = (
    [
      ['n', '000', rounding.nearest, false],
      ['x', '001', rounding.nearest, true],
      ['a', '010', rounding.tiesAway, false],
      ['z', '011', rounding.zero, false],
      ['m', '101', rounding.down, false],
      ['p', '111', rounding.up, false],
    ] as const
  ).flatMap(([letter, code, mode, isExact]) =>
    twoRows(f, `vrint${letter}`, type, '10', `1${code}`, (t, _, x) => rounded(t, f, x, mode, isExact), {
      isV8: true,
    }),
  );
  return [
    ...threeRows(f, 'vfma', 0, 0, '1100', 1, { whole: fusedWhole(false), number: multiplyAdd }),
    ...threeRows(f, 'vfms', 0, 1, '1100', 1, { whole: fusedWhole(true), number: multiplySubtract }),
    ...threeRows(f, 'vadd', 0, 0, '1101', 0, both('add')),
    ...threeRows(f, 'vsub', 0, 1, '1101', 0, both('sub')),
    ...pairwise(f, 'vpadd', 0, '1101', call('add')),
    ...threeRows(f, 'vabd', 1, 1, '1101', 0, distance),
    ...threeRows(f, 'vmla', 0, 0, '1101', 1, accumulate('add')),
    ...threeRows(f, 'vmls', 0, 1, '1101', 1, accumulate('sub')),
    ...threeRows(f, 'vmul', 1, 0, '1101', 1, both('mul')),
    ...threeRows(f, 'vceq', 0, 0, '1110', 0, relation('eq')),
    ...threeRows(f, 'vcge', 1, 0, '1110', 0, relation('ge')),
    ...threeRows(f, 'vcgt', 1, 1, '1110', 0, relation('gt')),
    ...threeRows(f, 'vacge', 1, 0, '1110', 1, ofMagnitudes(relation('ge'))),
    ...threeRows(f, 'vacgt', 1, 1, '1110', 1, ofMagnitudes(relation('gt'))),
    ...threeRows(f, 'vmax', 0, 0, '1111', 0, both('max')),
    ...threeRows(f, 'vmin', 0, 1, '1111', 0, both('min')),
    ...pairwise(f, 'vpmax', 0, '1111', call('max')),
    ...pairwise(f, 'vpmin', 1, '1111', call('min')),
    ...threeRows(f, 'vrecps', 0, 0, '1111', 1, step('recps')),
    ...threeRows(f, 'vrsqrts', 0, 1, '1111', 1, step('rsqrts')),
    ...threeRows(f, 'vmaxnm', 1, 0, '1111', 1, both('maxnm'), { isV8: true }),
    ...threeRows(f, 'vminnm', 1, 1, '1111', 1, both('minnm'), { isV8: true }),
    ...scalarRows(f, 'vmla', '0001', accumulate('add')),
    ...scalarRows(f, 'vmls', '0101', accumulate('sub')),
    ...scalarRows(f, 'vmul', '1001', both('mul')),
    ...againstZero(f, 'vcgt', '000', relation('gt'), false),
    ...againstZero(f, 'vcge', '001', relation('ge'), false),
    ...againstZero(f, 'vceq', '010', relation('eq'), false),
    ...againstZero(f, 'vcle', '011', relation('ge'), true),
    ...againstZero(f, 'vclt', '100', relation('gt'), true),
    ...sign(f, 'vabs', '110', ({ b }, x, bit) => b.v128_andnot(x, bit)),
    ...sign(f, 'vneg', '111', ({ b }, x, bit) => b.v128_xor(x, bit)),
    ...twoRows(f, 'vrecpe', type, '11', '1010', (t, _, x) => callOne('recpe')(t, f, x, x, x)),
    ...twoRows(f, 'vrsqrte', type, '11', '1011', (t, _, x) => callOne('rsqrte')(t, f, x, x, x)),
    ...rounds,
    ...conversions,
  ];
}

/** Estimates for fixed point of 32 bits. */
const unsignedEstimates = [
  ...twoRows(single, 'vrecpe', 'u32', '11', '1000', ({ b }, _, x) => b.call(unsignedReciprocal, x)[0], {}),
  ...twoRows(single, 'vrsqrte', 'u32', '11', '1001', ({ b }, _, x) => b.call(unsignedReciprocalRoot, x)[0], {}),
];
/** Four halves in a D register and four singles in a Q register (the half-precision extension). */
const halves: readonly InsnRow[] = [
  ...simd(
    'vcvt',
    two('01', '10', '1100 0'),
    ['dd', 'qm'],
    (t, i) => {
      const s = standard(t);
      const x = t.v(i.rm >> 1);
      setD(
        t,
        i.rd,
        eachLane(s, half, 0, (n) => converted(s, single, half, lane(s, single, x, n))),
      );
    },
    { type: () => '.f16.f32' },
  ),
  ...simd(
    'vcvt',
    two('01', '10', '1110 0'),
    ['qd', 'dm'],
    (t, i) => {
      const s = standard(t);
      const x = operand(t, 0, i.rm);
      set(
        t,
        1,
        i.rd,
        eachLane(s, single, 1, (n) => converted(s, half, single, lane(s, half, x, n))),
      );
    },
    { type: () => '.f32.f16' },
  ),
];

export const simdFloatRows: readonly InsnRow[] = [...formats.flatMap(rowsOf), ...unsignedEstimates, ...halves];
