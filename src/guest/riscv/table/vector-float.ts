/** Vector floating point and its reductions (unprivileged specification 31.13, 31.14.3). Elements of 16 bits need Zvfh. */
import { rounding } from '../../float/core.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import type { VectorRoutine } from '../vector/elements.js';
import { floatComparisons, floatReductions, floats, floatUnaries } from '../vector/float.js';
import { allNarrow, isAligned, narrowing, toMask, widening } from '../vector/legality.js';
import { copy, merge } from '../vector/permute.js';
import { callVector, type Form, isFloatWidth, suffixOf, vectorRow, type Widths } from './vector-shared.js';

type Forms = readonly Form[];
const both: Forms = ['v', 'f'];
/** frm's modes in the order of the float routines'. */
const modes = [rounding.nearest, rounding.zero, rounding.down, rounding.up, rounding.tiesAway];
const modeOf = (t: Translator): number => modes[t.mode.frm];

interface Row {
  readonly widths?: Widths;
  readonly legal: (i: Fields, v: Translator['mode']['vector'], vs1: boolean) => boolean;
  readonly args?: string;
  /** How it rounds whatever frm says. */
  readonly mode?: number;
}
const rows = (name: string, funct6: string, forms: Forms, routine: VectorRoutine, row: Row): InsnRow[] =>
  forms.map((form) =>
    vectorRow({
      name: `${name}${suffixOf(form)}`,
      category: 'float',
      funct6,
      form,
      ...(row.args ? { args: row.args.replace('S', form === 'v' ? 'vs1' : 'fs1') } : {}),
      legal: (i, v) => row.legal(i, v, form === 'v'),
      rounds: true,
      translate: (t, i) => callVector(t, i, form, routine, row.widths, row.mode ?? modeOf(t)),
    }),
  );

const plain = (name: string, funct6: string, routine: VectorRoutine, forms: Forms = both): InsnRow[] =>
  rows(`${name}.v`, funct6, forms, routine, {
    legal: (i, v, vs1) => isFloatWidth(v) && allNarrow(i, v, vs1),
  });
const accumulating = (name: string, funct6: string, routine: VectorRoutine): InsnRow[] =>
  rows(`${name}.v`, funct6, both, routine, {
    args: 'vd, S, vs2',
    legal: (i, v, vs1) => isFloatWidth(v) && allNarrow(i, v, vs1),
  });
const comparing = (name: string, funct6: string, routine: VectorRoutine, forms: Forms = both): InsnRow[] =>
  rows(`${name}.v`, funct6, forms, routine, { legal: (i, v, vs1) => isFloatWidth(v) && toMask(i, v, vs1) });
const wider = (name: string, funct6: string, routine: VectorRoutine, args?: string): InsnRow[] =>
  rows(`${name}.v`, funct6, both, routine, {
    widths: { vd: 1 },
    ...(args ? { args } : {}),
    legal: (i, v, vs1) => isFloatWidth(v) && widening(i, v, vs1, false),
  });
const widerOfWide = (name: string, funct6: string, routine: VectorRoutine): InsnRow[] =>
  rows(`${name}.w`, funct6, both, routine, {
    widths: { vd: 1, vs2: 1 },
    legal: (i, v, vs1) => isFloatWidth(v) && widening(i, v, vs1, true),
  });
const reducing = (name: string, funct6: string, routine: VectorRoutine, isWider = false): InsnRow =>
  vectorRow({
    name: `${name}.vs`,
    category: 'float',
    funct6,
    form: 'v',
    legal: (i, v) => isFloatWidth(v) && (!isWider || v.sew < 3) && isAligned(i.rs2, v.lmul),
    fromStart: true,
    rounds: true,
    translate: (t, i) => callVector(t, i, 'v', routine, isWider ? { vd: 1, vs1: 1 } : {}, modeOf(t)),
  });

type Legal = Row['legal'];
const one: Legal = (i, v) => isFloatWidth(v) && allNarrow(i, v, false);
/** Of vs2 alone. */
const unary = (
  name: string,
  funct6: string,
  vs1: string,
  routine: VectorRoutine,
  legal: Legal = one,
  widths: Widths = {},
  mode?: number,
): InsnRow =>
  vectorRow({
    name,
    category: 'float',
    funct6,
    form: 'v',
    vs1,
    args: 'vd, vs2',
    legal: (i, v) => legal(i, v, false),
    rounds: true,
    translate: (t, i) => callVector(t, i, 'f', routine, widths, mode ?? modeOf(t)),
  });

const { toSigned, toUnsigned, fromSigned, fromUnsigned } = floatUnaries;
/** Numbers are those whose elements are so much wider than vtype says: its own, twice that, or both. */
const wideOf =
  (...numbers: readonly number[]): Legal =>
  (i, v) =>
    numbers.every((wider) => isFloatWidth(v, wider)) && widening(i, v, false, false);
const narrowOf =
  (...numbers: readonly number[]): Legal =>
  (i, v) =>
    numbers.every((wider) => isFloatWidth(v, wider)) && narrowing(i, v, false);
const toWide = { vd: 1 } as const;
const fromWide = { vs2: 1 } as const;
const zero = rounding.zero;
const convert = (
  name: string,
  vs1: string,
  routine: VectorRoutine,
  legal: Legal = one,
  widths: Widths = {},
  mode?: number,
) => unary(name, '010010', vs1, routine, legal, widths, mode);

const conversions: readonly InsnRow[] = [
  convert('vfcvt.xu.f.v', '00000', toUnsigned),
  convert('vfcvt.x.f.v', '00001', toSigned),
  convert('vfcvt.f.xu.v', '00010', fromUnsigned),
  convert('vfcvt.f.x.v', '00011', fromSigned),
  convert('vfcvt.rtz.xu.f.v', '00110', toUnsigned, one, {}, zero),
  convert('vfcvt.rtz.x.f.v', '00111', toSigned, one, {}, zero),
  convert('vfwcvt.xu.f.v', '01000', toUnsigned, wideOf(0), toWide),
  convert('vfwcvt.x.f.v', '01001', toSigned, wideOf(0), toWide),
  convert('vfwcvt.f.xu.v', '01010', fromUnsigned, wideOf(1), toWide),
  convert('vfwcvt.f.x.v', '01011', fromSigned, wideOf(1), toWide),
  convert('vfwcvt.f.f.v', '01100', floatUnaries.widen, wideOf(0, 1), toWide),
  convert('vfwcvt.rtz.xu.f.v', '01110', toUnsigned, wideOf(0), toWide, zero),
  convert('vfwcvt.rtz.x.f.v', '01111', toSigned, wideOf(0), toWide, zero),
  convert('vfncvt.xu.f.w', '10000', toUnsigned, narrowOf(1), fromWide),
  convert('vfncvt.x.f.w', '10001', toSigned, narrowOf(1), fromWide),
  convert('vfncvt.f.xu.w', '10010', fromUnsigned, narrowOf(0), fromWide),
  convert('vfncvt.f.x.w', '10011', fromSigned, narrowOf(0), fromWide),
  convert('vfncvt.f.f.w', '10100', floatUnaries.narrow, narrowOf(0, 1), fromWide),
  convert('vfncvt.rod.f.f.w', '10101', floatUnaries.narrowToOdd, narrowOf(0, 1), fromWide),
  convert('vfncvt.rtz.xu.f.w', '10110', toUnsigned, narrowOf(1), fromWide, zero),
  convert('vfncvt.rtz.x.f.w', '10111', toSigned, narrowOf(1), fromWide, zero),
];

export const vectorFloatRows: readonly InsnRow[] = [
  ...plain('vfadd', '000000', floats.add),
  reducing('vfredusum', '000001', floatReductions.sum),
  ...plain('vfsub', '000010', floats.sub),
  reducing('vfredosum', '000011', floatReductions.sum),
  ...plain('vfmin', '000100', floats.min),
  reducing('vfredmin', '000101', floatReductions.min),
  ...plain('vfmax', '000110', floats.max),
  reducing('vfredmax', '000111', floatReductions.max),
  ...plain('vfsgnj', '001000', floats.sgnj),
  ...plain('vfsgnjn', '001001', floats.sgnjn),
  ...plain('vfsgnjx', '001010', floats.sgnjx),
  ...conversions,
  unary('vfsqrt.v', '010011', '00000', floatUnaries.sqrt),
  unary('vfrsqrt7.v', '010011', '00100', floatUnaries.rsqrt7),
  unary('vfrec7.v', '010011', '00101', floatUnaries.rec7),
  unary('vfclass.v', '010011', '10000', floatUnaries.classify),
  vectorRow({
    name: 'vfmerge.vfm',
    category: 'float',
    funct6: '010111',
    form: 'f',
    vm: '0',
    args: 'vd, vs2, fs1, v0',
    legal: (i, v) => isFloatWidth(v) && allNarrow(i, v, false),
    rounds: true,
    translate: (t, i) => callVector(t, i, 'f', merge),
  }),
  vectorRow({
    name: 'vfmv.v.f',
    category: 'float',
    funct6: '010111',
    form: 'f',
    vm: '1',
    vs2: '00000',
    args: 'vd, fs1',
    legal: (i, v) => isFloatWidth(v) && isAligned(i.rd, v.lmul),
    rounds: true,
    translate: (t, i) => callVector(t, i, 'f', copy),
  }),
  ...comparing('vmfeq', '011000', floatComparisons.eq),
  ...comparing('vmfle', '011001', floatComparisons.le),
  ...comparing('vmflt', '011011', floatComparisons.lt),
  ...comparing('vmfne', '011100', floatComparisons.ne),
  ...comparing('vmfgt', '011101', floatComparisons.gt, ['f']),
  ...comparing('vmfge', '011111', floatComparisons.ge, ['f']),
  ...plain('vfdiv', '100000', floats.div),
  ...plain('vfrdiv', '100001', floats.rdiv, ['f']),
  ...plain('vfmul', '100100', floats.mul),
  ...plain('vfrsub', '100111', floats.rsub, ['f']),
  ...accumulating('vfmadd', '101000', floats.madd),
  ...accumulating('vfnmadd', '101001', floats.nmadd),
  ...accumulating('vfmsub', '101010', floats.msub),
  ...accumulating('vfnmsub', '101011', floats.nmsub),
  ...accumulating('vfmacc', '101100', floats.macc),
  ...accumulating('vfnmacc', '101101', floats.nmacc),
  ...accumulating('vfmsac', '101110', floats.msac),
  ...accumulating('vfnmsac', '101111', floats.nmsac),
  ...wider('vfwadd', '110000', floats.add),
  reducing('vfwredusum', '110001', floatReductions.sum, true),
  ...wider('vfwsub', '110010', floats.sub),
  reducing('vfwredosum', '110011', floatReductions.sum, true),
  ...widerOfWide('vfwadd', '110100', floats.add),
  ...widerOfWide('vfwsub', '110110', floats.sub),
  ...wider('vfwmul', '111000', floats.mul),
  ...wider('vfwmacc', '111100', floats.macc, 'vd, S, vs2'),
  ...wider('vfwnmacc', '111101', floats.nmacc, 'vd, S, vs2'),
  ...wider('vfwmsac', '111110', floats.msac, 'vd, S, vs2'),
  ...wider('vfwnmsac', '111111', floats.nmsac, 'vd, S, vs2'),
];
