/** Advanced SIMD: integers, three registers of the same length (A7.4.1). */
import type { V128 } from '../../../ir/index.js';
import { lanes } from '../../arm/routines/lanes.js';
import { apply, type Binary, byLanes, lanesOf, native, type Size, zero } from '../../arm/table/vector.js';
import {
  distance,
  doublingHigh,
  halved,
  halvedDifference,
  multiply,
  pairNumbers,
  saturating,
  shifted,
} from '../../arm/table/vector-operations.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import {
  bytesOnly,
  doubling,
  exact,
  fixedType,
  operand,
  pure,
  set,
  signs,
  simd,
  sizeOf,
  three,
  typed,
  upTo32,
} from './simd-format.js';

type Bit = 0 | 1;
const REGISTERS = ['xd', 'xn', 'xm'];
const enc = (u: Bit, size: string, opcode: string, o1: Bit): string => `${u} 0 ${three(size, opcode, o1)}`;

interface Options {
  readonly where?: (i: Fields) => boolean;
  /** May set FPSCR.QC. */
  readonly saturates?: true;
}
/** `letter`: of the elements' type. */
const binary = (
  name: string,
  letter: string,
  u: Bit,
  opcode: string,
  o1: Bit,
  operation: Binary,
  { where, saturates }: Options = {},
): InsnRow[] =>
  simd(
    name,
    enc(u, 'size', opcode, o1),
    REGISTERS,
    (t, i) => {
      const read = saturates ? exact : operand;
      set(t, i.q, i.rd, operation(t, read(t, i.q, i.rn), read(t, i.q, i.rm), sizeOf(i)));
    },
    { type: typed(letter), ...(where && { where }), ...(!saturates && pure) },
  );
/** Adds to the destination, or subtracts from it. */
const accumulating = (
  name: string,
  letter: string,
  u: Bit,
  opcode: string,
  o1: Bit,
  operation: Binary,
  change: 'add' | 'sub',
): InsnRow[] =>
  simd(
    name,
    enc(u, 'size', opcode, o1),
    REGISTERS,
    (t, i) => {
      const value = operation(t, operand(t, i.q, i.rn), operand(t, i.q, i.rm), sizeOf(i));
      set(t, i.q, i.rd, apply(t, change, sizeOf(i), operand(t, i.q, i.rd), value));
    },
    { type: typed(letter), where: upTo32, ...pure },
  );
/** Neighbours of both D registers, one after the other. */
const pairwise = (name: string, letter: string, u: Bit, opcode: string, o1: Bit, operation: Binary): InsnRow[] =>
  simd(
    name,
    enc(u, 'size', opcode, o1),
    ['dd', 'dn', 'dm'],
    (t, i) => {
      const size = sizeOf(i);
      const [x, y] = [operand(t, 0, i.rn), operand(t, 0, i.rm)];
      const half = (odd: Bit) => lanesOf(t, x, y, size, pairNumbers(size, 0, odd));
      set(t, 0, i.rd, operation(t, half(0), half(1), size));
    },
    { type: typed(letter), where: (i) => i.q === 0 && i.size < 3, ...pure },
  );

type Logic = (t: Translator, x: V128, y: V128, d: V128) => V128;
const logic = (name: string, u: Bit, size: string, operation: Logic): InsnRow[] =>
  simd(
    name,
    enc(u, size, '0001', 1),
    REGISTERS,
    (t, i) => {
      const [x, y, d] = [i.rn, i.rm, i.rd].map((n) => operand(t, i.q, n));
      set(t, i.q, i.rd, operation(t, x, y, d));
    },
    pure,
  );

/** VQRDMLAH and VQRDMLSH (FEAT_RDM). */
const doublingSum = (name: 'sqrdmlah' | 'sqrdmlsh', opcode: string): InsnRow[] =>
  simd(
    `v${name.slice(1)}`,
    enc(1, 'size', opcode, 1),
    REGISTERS,
    (t, i) => {
      const [x, y, d] = [i.rn, i.rm, i.rd].map((n) => exact(t, i.q, n));
      set(t, i.q, i.rd, t.b.call(lanes[name], x, y, d, t.b.i32(8 << i.size))[0]);
    },
    { type: typed('s'), where: doubling, features: ['rdm'] },
  );

const test: Binary = (t, x, y, size: Size) => apply(t, 'ne', size, t.b.v128_and(x, y), zero(t));
const saturates = { saturates: true } as const;

export const simdThreeRows: readonly InsnRow[] = [
  ...signs.flatMap((sign, n) => {
    const u = n as Bit;
    return [
      ...binary('vhadd', sign, u, '0000', 0, halved(sign, false), { where: upTo32 }),
      ...binary('vqadd', sign, u, '0000', 1, saturating('add', sign), saturates),
      ...binary('vrhadd', sign, u, '0001', 0, halved(sign, true), { where: upTo32 }),
      ...binary('vhsub', sign, u, '0010', 0, halvedDifference(sign), { where: upTo32 }),
      ...binary('vqsub', sign, u, '0010', 1, saturating('sub', sign), saturates),
      ...binary('vcgt', sign, u, '0011', 0, native(`gt_${sign}`), { where: upTo32 }),
      ...binary('vcge', sign, u, '0011', 1, native(`ge_${sign}`), { where: upTo32 }),
      ...binary('vmax', sign, u, '0110', 0, native(`max_${sign}`), { where: upTo32 }),
      ...binary('vmin', sign, u, '0110', 1, native(`min_${sign}`), { where: upTo32 }),
      ...binary('vabd', sign, u, '0111', 0, distance(sign), { where: upTo32 }),
      ...accumulating('vaba', sign, u, '0111', 1, distance(sign), 'add'),
      ...pairwise('vpmax', sign, u, '1010', 0, native(`max_${sign}`)),
      ...pairwise('vpmin', sign, u, '1010', 1, native(`min_${sign}`)),
      // The second operand is shifted by the first.
      ...(
        [
          ['shl', '0100', 0, shifted(sign)],
          ['qshl', '0100', 1, byLanes(lanes[`${sign}qshl`])],
          ['rshl', '0101', 0, byLanes(lanes[`${sign}rshl`])],
          ['qrshl', '0101', 1, byLanes(lanes[`${sign}qrshl`])],
        ] as const
      ).flatMap(([name, opcode, o1, operation]) =>
        simd(
          `v${name}`,
          enc(u, 'size', opcode, o1),
          ['xd', 'xm', 'xn'],
          (t, i) => {
            const [x, by] = [exact(t, i.q, i.rm), exact(t, i.q, i.rn)];
            set(t, i.q, i.rd, operation(t, x, by, sizeOf(i)));
          },
          { type: typed(sign) },
        ),
      ),
    ];
  }),
  ...logic('vand', 0, '00', ({ b }, x, y) => b.v128_and(x, y)),
  ...logic('vbic', 0, '01', ({ b }, x, y) => b.v128_andnot(x, y)),
  ...logic('vorr', 0, '10', ({ b }, x, y) => b.v128_or(x, y)),
  ...logic('vorn', 0, '11', ({ b }, x, y) => b.v128_or(x, b.v128_not(y))),
  ...logic('veor', 1, '00', ({ b }, x, y) => b.v128_xor(x, y)),
  ...logic('vbsl', 1, '01', ({ b }, x, y, d) => b.v128_bitselect(x, y, d)),
  ...logic('vbit', 1, '10', ({ b }, x, y, d) => b.v128_bitselect(x, d, y)),
  ...logic('vbif', 1, '11', ({ b }, x, y, d) => b.v128_bitselect(d, x, y)),
  ...binary('vadd', 'i', 0, '1000', 0, native('add')),
  ...binary('vsub', 'i', 1, '1000', 0, native('sub')),
  ...simd(
    'vtst',
    enc(0, 'size', '1000', 1),
    REGISTERS,
    (t, i) => set(t, i.q, i.rd, test(t, operand(t, i.q, i.rn), operand(t, i.q, i.rm), sizeOf(i))),
    { type: (i) => `.${8 << i.size}`, where: upTo32, ...pure },
  ),
  ...binary('vceq', 'i', 1, '1000', 1, native('eq'), { where: upTo32 }),
  ...accumulating('vmla', 'i', 0, '1001', 0, multiply, 'add'),
  ...accumulating('vmls', 'i', 1, '1001', 0, multiply, 'sub'),
  ...binary('vmul', 'i', 0, '1001', 1, multiply, { where: upTo32 }),
  ...simd(
    'vmul',
    enc(1, 'size', '1001', 1),
    REGISTERS,
    (t, i) => set(t, i.q, i.rd, byLanes(lanes.pmul)(t, operand(t, i.q, i.rn), operand(t, i.q, i.rm), 0)),
    { type: fixedType('.p8'), where: bytesOnly },
  ),
  ...binary('vqdmulh', 's', 0, '1011', 0, doublingHigh(false), { where: doubling, ...saturates }),
  ...binary('vqrdmulh', 's', 1, '1011', 0, doublingHigh(true), { where: doubling, ...saturates }),
  ...pairwise('vpadd', 'i', 0, '1011', 1, native('add')),
  ...doublingSum('sqrdmlah', '1011'),
  ...doublingSum('sqrdmlsh', '1100'),
];
