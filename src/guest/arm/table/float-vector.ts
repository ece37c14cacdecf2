/** Floating point in vectors, lane by lane, and the scalar forms that lie among Advanced SIMD's instructions (C4.1.95). */
import type { I64, V128 } from '../../../ir/index.js';
import { rounding } from '../../float/core.js';
import { f64ToF32Odd } from '../routines/float-convert.js';
import { unsignedReciprocal, unsignedReciprocalRoot } from '../routines/float-estimate.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { call, callOne, converted, fromInteger, type Operation, rounded, toInteger } from './float-calls.js';
import {
  double,
  eachLane,
  type Format,
  fits,
  floatRow,
  formats,
  half,
  lane,
  magnitude,
  modeOf,
  read,
  setLanes,
  single,
  withLane,
  write,
} from './float-format.js';
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
  type One,
  ofMagnitudes,
  one,
  toIntegers,
  type Whole,
  wholes,
  withZero,
  zeroWith,
} from './float-operations.js';
import { element, elementEnc } from './simd-element.js';
import { lanesOf, row, setVector, zero } from './vector.js';

type Bit = 0 | 1;
const VECTORS = ['vd', 'vn', 'vm'];

/** `form`: the bits before U and behind it, of vectors or scalars. */
const vectors = (u: Bit): string => `0 q ${u} 01110`;
const scalars = (u: Bit): string => `01 ${u} 11110`;
/** Three registers: half precision has fewer bits of opcode. */
const threeEnc = (f: Format, form: string, high: Bit, opcode: string): string =>
  f === half
    ? `${form} ${high} 10 rm 00 ${opcode.slice(2)} 1 rn rd`
    : `${form} ${high} ${f.size - 2} 1 rm ${opcode} 1 rn rd`;
const twoEnc = (f: Format, form: string, high: Bit, opcode: string): string =>
  `${form} ${high} ${f === half ? '111100' : `${f.size - 2} 10000`} ${opcode} 10 rn rd`;
const scalarArgs = (f: Format, places: string): string[] => [...places].map((place) => f.letter + place);

/** The lower half twice, where the upper one does not count: it must not be what an exception comes from. */
const counted = (t: Translator, i: Fields, x: V128): V128 => (i.q ? x : lanesOf(t, x, x, 3, [0, 0]));
const atOnce = (t: Translator, i: Fields, f: Format, whole: Whole, y: V128): V128 =>
  whole(t, f, counted(t, i, t.v(i.rn)), counted(t, i, y), () => counted(t, i, t.v(i.rd)));
/** `scalar`: there is a form for one number too. */
function three(
  f: Format,
  name: string,
  u: Bit,
  high: Bit,
  opcode: string,
  operation: Operation,
  { scalar = false, whole }: { readonly scalar?: boolean; readonly whole?: Whole } = {},
): InsnRow[] {
  const vector = floatRow(
    f,
    name,
    threeEnc(f, vectors(u), high, opcode),
    VECTORS,
    (t, i) => {
      if (whole && f !== half) {
        setVector(t, i, atOnce(t, i, f, whole, t.v(i.rm)));
        return;
      }
      const [x, y, d] = [t.v(i.rn), t.v(i.rm), t.v(i.rd)];
      eachLane(t, i, f, (n) => operation(t, f, lane(t, f, x, n), lane(t, f, y, n), lane(t, f, d, n)));
    },
    fits(f),
  );
  if (!scalar) return [vector];
  const one = floatRow(f, name, threeEnc(f, scalars(u), high, opcode), scalarArgs(f, 'dnm'), (t, i) =>
    write(t, f, i.rd, operation(t, f, read(t, f, i.rn), read(t, f, i.rm), read(t, f, i.rd))),
  );
  return [vector, one];
}
const scalarTwo = (f: Format, name: string, u: Bit, high: Bit, opcode: string, operation: One): InsnRow =>
  floatRow(f, name, twoEnc(f, scalars(u), high, opcode), scalarArgs(f, 'dn'), (t, i) =>
    write(t, f, i.rd, operation(t, f, read(t, f, i.rn))),
  );
function two(
  f: Format,
  name: string,
  u: Bit,
  high: Bit,
  opcode: string,
  operation: One,
  scalar = false,
  whole?: (t: Translator, x: V128) => V128,
): InsnRow[] {
  const vector = floatRow(
    f,
    name,
    twoEnc(f, vectors(u), high, opcode),
    ['vd', 'vn'],
    (t, i) => {
      const x = t.v(i.rn);
      if (whole && f === single) setVector(t, i, whole(t, counted(t, i, x)));
      else eachLane(t, i, f, (n) => operation(t, f, lane(t, f, x, n)));
    },
    fits(f),
  );
  return scalar ? [vector, scalarTwo(f, name, u, high, opcode, operation)] : [vector];
}

/** Neighbours of both vectors, one after the other; of one register's two numbers, as a scalar. */
function pairs(
  f: Format,
  name: string,
  high: Bit,
  vectorCode: string,
  scalarCode: string,
  operation: Operation,
): InsnRow[] {
  return [
    floatRow(
      f,
      name,
      threeEnc(f, vectors(1), high, vectorCode),
      VECTORS,
      (t, i) => {
        const [x, y] = [t.v(i.rn), t.v(i.rm)];
        const count = (i.q ? 16 : 8) >> f.size;
        eachLane(t, i, f, (n) => {
          const [source, at] = 2 * n < count ? [x, 2 * n] : [y, 2 * n - count];
          const [low, up] = [lane(t, f, source, at), lane(t, f, source, at + 1)];
          return operation(t, f, low, up, low);
        });
      },
      fits(f),
    ),
    floatRow(
      f,
      name,
      f === half
        ? `01 0 11110 ${high} 0 11000 ${scalarCode} 10 rn rd`
        : `01 1 11110 ${high} ${f.size - 2} 11000 ${scalarCode} 10 rn rd`,
      [`${f.letter}d`, 'vn'],
      (t, i) => {
        const x = t.v(i.rn);
        const [low, up] = [lane(t, f, x, 0), lane(t, f, x, 1)];
        write(t, f, i.rd, operation(t, f, low, up, low));
      },
    ),
  ];
}

/** All lanes to one: each half to one, then those two. */
function across(f: Format, name: string, high: Bit, opcode: string, operation: Operation): InsnRow {
  const reduce = (t: Translator, x: V128, from: number, count: number): I64 => {
    if (count === 1) return lane(t, f, x, from);
    const low = reduce(t, x, from, count / 2);
    const up = reduce(t, x, from + count / 2, count / 2);
    return operation(t, f, low, up, low);
  };
  return floatRow(
    f,
    name,
    `0 q ${f === half ? 0 : 1} 01110 ${high} 0 11000 ${opcode} 10 rn rd`,
    [`${f.letter}d`, 'vn'],
    (t, i) => write(t, f, i.rd, reduce(t, t.v(i.rn), 0, (i.q ? 16 : 8) >> f.size)),
    (i) => f === half || i.q === 1,
  );
}

/** To and from numbers with a fraction: the upper bits of the immediate tell the format, all of it the places. */
function fixedPoint(
  f: Format,
  name: string,
  u: Bit,
  opcode: string,
  operation: (t: Translator, x: I64, places: number) => I64,
) {
  const placesOf = (i: Fields): number => 2 * f.bits - i.imm;
  const isFormat = (i: Fields): boolean => i.imm >= f.bits && i.imm < 2 * f.bits;
  return [
    floatRow(
      f,
      name,
      `0 q ${u} 011110 uimm[6:0] ${opcode} 1 rn rd`,
      ['vd', 'vn', 'imm'],
      (t, i) => {
        const x = t.v(i.rn);
        eachLane(t, i, f, (n) => operation(t, lane(t, f, x, n), placesOf(i)));
      },
      (i) => isFormat(i) && fits(f)(i),
    ),
    floatRow(
      f,
      name,
      `01 ${u} 111110 uimm[6:0] ${opcode} 1 rn rd`,
      [...scalarArgs(f, 'dn'), 'imm'],
      (t, i) => write(t, f, i.rd, operation(t, read(t, f, i.rn), placesOf(i))),
      isFormat,
    ),
  ];
}

/** With one number of a vector. */
function byElement(f: Format, name: string, u: Bit, opcode: string, operation: Operation, whole?: Whole): InsnRow[] {
  const sizes = f === half ? '00' : `1${f.size - 2}`;
  // The lower bit of a lane's number is no part of it with doubles.
  const isLane = (i: Fields): boolean => f !== double || (i.imm2 & 2) === 0;
  return [
    floatRow(
      f,
      name,
      elementEnc(`0 q ${u} 01111`, sizes, opcode),
      ['vd', 'vn', 'imm', 'imm2'],
      (t, i) => {
        if (whole && f !== half) {
          setVector(t, i, atOnce(t, i, f, whole, element(t, i, f.size)));
          return;
        }
        const [x, d] = [t.v(i.rn), t.v(i.rd)];
        const y = lane(t, f, element(t, i, f.size), 0);
        eachLane(t, i, f, (n) => operation(t, f, lane(t, f, x, n), y, lane(t, f, d, n)));
      },
      (i) => isLane(i) && fits(f)(i),
    ),
    floatRow(
      f,
      name,
      elementEnc(`01 ${u} 11111`, sizes, opcode),
      [...scalarArgs(f, 'dn'), 'imm', 'imm2'],
      (t, i) => {
        const y = lane(t, f, element(t, i, f.size), 0);
        write(t, f, i.rd, operation(t, f, read(t, f, i.rn), y, read(t, f, i.rd)));
      },
      isLane,
    ),
  ];
}

const roots = (f: Format): InsnRow[] =>
  two(f, 'fsqrt', 1, 1, '11111', one(callOne('sqrt'))).map((made) =>
    f === half
      ? made
      : {
          ...made,
          translate: (t, i) => setVector(t, i, t.b.call(wholes(f).sqrt, counted(t, i, t.v(i.rn)), modeOf(t, f))[0]),
        },
  );

function rowsOf(f: Format): InsnRow[] {
  const conversions = ([0, 1] as const).flatMap((u) => {
    const isSigned = u === 0;
    const sign = isSigned ? 's' : 'u';
    const roundings = (
      [
        ['n', 0, '11010', rounding.nearest],
        ['m', 0, '11011', rounding.down],
        ['p', 1, '11010', rounding.up],
        ['z', 1, '11011', rounding.zero],
        ['a', 0, '11100', rounding.tiesAway],
      ] as const
    ).flatMap(([name, high, opcode, mode]) =>
      two(
        f,
        `fcvt${name}${sign}`,
        u,
        high,
        opcode,
        (t, _, x) => toInteger(t, f, x, mode, isSigned, f.bits),
        true,
        mode === rounding.zero ? (t, x) => toIntegers(t, sign, x) : undefined,
      ),
    );
    return [
      ...roundings,
      ...two(
        f,
        `${sign}cvtf`,
        u,
        0,
        '11101',
        (t, _, x) => fromInteger(t, f, x, isSigned, f.bits),
        true,
        (t, x) => fromIntegers(t, sign, x),
      ),
      ...fixedPoint(f, `${sign}cvtf`, u, '11100', (t, x, places) => fromInteger(t, f, x, isSigned, f.bits, places)),
      ...fixedPoint(f, `fcvtz${sign}`, u, '11111', (t, x, places) =>
        toInteger(t, f, x, rounding.zero, isSigned, f.bits, places),
      ),
    ];
  });
  const rounds = (
    [
      ['n', 0, 0, '11000', rounding.nearest, false],
      ['m', 0, 0, '11001', rounding.down, false],
      ['p', 0, 1, '11000', rounding.up, false],
      ['z', 0, 1, '11001', rounding.zero, false],
      ['a', 1, 0, '11000', rounding.tiesAway, false],
      ['x', 1, 0, '11001', undefined, true],
      ['i', 1, 1, '11001', undefined, false],
    ] as const
  ).flatMap(([name, u, high, opcode, mode, exact]) =>
    two(f, `frint${name}`, u, high, opcode, (t, _, x) => rounded(t, f, x, mode, exact)),
  );
  const elements = (
    [
      ['fmla', 0, '0001', multiplyAdd, fusedWhole(false)],
      ['fmls', 0, '0101', multiplySubtract, fusedWhole(true)],
      ['fmul', 0, '1001', call('mul'), byRoutine('mul')],
      ['fmulx', 1, '1001', call('mulx'), undefined],
    ] as const
  ).flatMap(([name, u, opcode, operation, whole]) => byElement(f, name, u, opcode, operation, whole));
  return [
    ...three(f, 'fadd', 0, 0, '11010', call('add'), { whole: byRoutine('add') }),
    ...three(f, 'fsub', 0, 1, '11010', call('sub'), { whole: byRoutine('sub') }),
    ...three(f, 'fmul', 1, 0, '11011', call('mul'), { whole: byRoutine('mul') }),
    ...three(f, 'fmulx', 0, 0, '11011', call('mulx'), { scalar: true }),
    ...three(f, 'fdiv', 1, 0, '11111', call('div'), { whole: byRoutine('div') }),
    ...three(f, 'fmla', 0, 0, '11001', multiplyAdd, { whole: fusedWhole(false) }),
    ...three(f, 'fmls', 0, 1, '11001', multiplySubtract, { whole: fusedWhole(true) }),
    ...three(f, 'fmax', 0, 0, '11110', call('max'), { whole: byRoutine('max') }),
    ...three(f, 'fmin', 0, 1, '11110', call('min'), { whole: byRoutine('min') }),
    ...three(f, 'fmaxnm', 0, 0, '11000', call('maxnm'), { whole: byRoutine('maxnm') }),
    ...three(f, 'fminnm', 0, 1, '11000', call('minnm'), { whole: byRoutine('minnm') }),
    ...three(f, 'frecps', 0, 0, '11111', call('recps'), { scalar: true }),
    ...three(f, 'frsqrts', 0, 1, '11111', call('rsqrts'), { scalar: true }),
    ...three(f, 'fcmeq', 0, 0, '11100', mask(false, isEqual), { scalar: true, whole: byRoutine('eq') }),
    ...three(f, 'fcmge', 1, 0, '11100', mask(true, isEither), { scalar: true, whole: byRoutine('ge') }),
    ...three(f, 'fcmgt', 1, 1, '11100', mask(true, isGreater), { scalar: true, whole: byRoutine('gt') }),
    ...three(f, 'facge', 1, 0, '11101', ofMagnitudes(mask(true, isEither)), {
      scalar: true,
      whole: (t, g, x, y, d) => byRoutine('ge')(t, g, magnitudes(t, g, x), magnitudes(t, g, y), d),
    }),
    ...three(f, 'facgt', 1, 1, '11101', ofMagnitudes(mask(true, isGreater)), {
      scalar: true,
      whole: (t, g, x, y, d) => byRoutine('gt')(t, g, magnitudes(t, g, x), magnitudes(t, g, y), d),
    }),
    ...three(f, 'fabd', 1, 1, '11010', (t, _, x, y, d) => magnitude(t, f, call('sub')(t, f, x, y, d)), {
      scalar: true,
      whole: (t, g, x, y, d) => magnitudes(t, g, byRoutine('sub')(t, g, x, y, d)),
    }),
    ...pairs(f, 'faddp', 0, '11010', '01101', call('add')),
    ...pairs(f, 'fmaxp', 0, '11110', '01111', call('max')),
    ...pairs(f, 'fminp', 1, '11110', '01111', call('min')),
    ...pairs(f, 'fmaxnmp', 0, '11000', '01100', call('maxnm')),
    ...pairs(f, 'fminnmp', 1, '11000', '01100', call('minnm')),
    ...(f === double
      ? []
      : [
          across(f, 'fmaxv', 0, '01111', call('max')),
          across(f, 'fminv', 1, '01111', call('min')),
          across(f, 'fmaxnmv', 0, '01100', call('maxnm')),
          across(f, 'fminnmv', 1, '01100', call('minnm')),
        ]),
    ...two(f, 'fcmgt0', 0, 1, '01100', withZero(mask(true, isGreater)), true),
    ...two(f, 'fcmge0', 1, 1, '01100', withZero(mask(true, isEither)), true),
    ...two(f, 'fcmeq0', 0, 1, '01101', withZero(mask(false, isEqual)), true),
    ...two(f, 'fcmle0', 1, 1, '01101', zeroWith(mask(true, isEither)), true),
    ...two(f, 'fcmlt0', 0, 1, '01110', zeroWith(mask(true, isGreater)), true),
    ...roots(f),
    ...two(f, 'frecpe', 0, 1, '11101', one(callOne('recpe')), true),
    ...two(f, 'frsqrte', 1, 1, '11101', one(callOne('rsqrte')), true),
    scalarTwo(f, 'frecpx', 0, 1, '11111', one(callOne('recpx'))),
    ...rounds,
    ...conversions,
    ...elements,
  ];
}

/** FCVTL, FCVTN: to twice as many bits, from the lower or (with Q) the upper half, and back. */
function lengthRows(narrow: Format, wide: Format): InsnRow[] {
  const sz = wide.size - 2;
  const count = 16 >> wide.size;
  const into = (t: Translator, i: Fields, values: readonly I64[]) => {
    const start = i.q ? t.v(i.rd) : zero(t);
    t.setV(
      i.rd,
      values.reduce((all, value, n) => withLane(t, narrow, all, n + (i.q ? count : 0), value), start),
    );
  };
  const narrowed = (t: Translator, i: Fields, operation: (x: I64) => I64) => {
    const x = t.v(i.rn);
    into(
      t,
      i,
      Array.from({ length: count }, (_, n) => operation(lane(t, wide, x, n))),
    );
  };
  const toOdd = (t: Translator, x: I64): I64 => t.b.call(f64ToF32Odd, x, modeOf(t, double))[0];
  return [
    row('fcvtl', `0 q 0 01110 0 ${sz} 10000 10111 10 rn rd`, ['vd', 'vn'], (t, i) => {
      const x = t.v(i.rn);
      setLanes(t, i, wide, count, (n) => converted(t, narrow, wide, lane(t, narrow, x, n + (i.q ? count : 0))));
    }),
    row('fcvtn', `0 q 0 01110 0 ${sz} 10000 10110 10 rn rd`, ['vd', 'vn'], (t, i) =>
      narrowed(t, i, (x) => converted(t, wide, narrow, x)),
    ),
    ...(wide === double
      ? [
          row('fcvtxn', '0 q 1 01110 0 1 10000 10110 10 rn rd', ['vd', 'vn'], (t, i) =>
            narrowed(t, i, (x) => toOdd(t, x)),
          ),
          row('fcvtxn', '01 1 11110 0 1 10000 10110 10 rn rd', ['sd', 'dn'], (t, i) =>
            write(t, single, i.rd, toOdd(t, read(t, double, i.rn))),
          ),
        ]
      : []),
  ];
}

const unsignedEstimates: readonly InsnRow[] = [
  ...two(single, 'urecpe', 0, 1, '11100', ({ b }, _, x) => b.call(unsignedReciprocal, x)[0]),
  ...two(single, 'ursqrte', 1, 1, '11100', ({ b }, _, x) => b.call(unsignedReciprocalRoot, x)[0]),
];

export const floatVectorRows: readonly InsnRow[] = [
  ...formats.flatMap(rowsOf),
  ...lengthRows(half, single),
  ...lengthRows(single, double),
  ...unsignedEstimates,
];
