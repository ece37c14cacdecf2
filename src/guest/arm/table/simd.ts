/** Advanced SIMD: integers, three registers and two (C4.1.95). */
import type { V128 } from '../../../ir/index.js';
import { type LaneRoutine, lanes } from '../routines/lanes.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import {
  all,
  apply,
  type Binary,
  byLanes,
  bytesOnly,
  laneCount,
  lanesOf,
  native,
  nativeUnary,
  row,
  type Size,
  saturates,
  setNarrow,
  setVector,
  sizeOf,
  type Unary,
  unaryByLanes,
  upTo32,
  used,
  zero,
} from './vector.js';
import {
  addPairs,
  distance,
  doublingHigh,
  halved,
  halvedDifference,
  multiply,
  narrow,
  pairNumbers,
  reversed,
  reversedBits,
  saturating,
  shifted,
  swapped,
  unsignedOr,
  withZero,
} from './vector-operations.js';

const THREE = ['vd', 'vn', 'vm'];
const three = (
  name: string,
  u: 0 | 1,
  opcode: string,
  operation: Binary,
  where: (i: Fields) => boolean = all,
): InsnRow =>
  row(
    name,
    `0 q ${u} 01110 size 1 rm ${opcode} 1 rn rd`,
    THREE,
    (t, i) => {
      const operand = (n: number) => (saturates(name) ? used(t, i, t.v(n)) : t.v(n));
      setVector(t, i, operation(t, operand(i.rn), operand(i.rm), sizeOf(i)));
    },
    where,
  );
/** Adds to the destination, or subtracts from it. */
const accumulating = (name: string, u: 0 | 1, opcode: string, operation: Binary, change: 'add' | 'sub'): InsnRow =>
  row(
    name,
    `0 q ${u} 01110 size 1 rm ${opcode} 1 rn rd`,
    THREE,
    (t, i) => {
      const value = operation(t, t.v(i.rn), t.v(i.rm), sizeOf(i));
      setVector(t, i, apply(t, change, sizeOf(i), t.v(i.rd), value));
    },
    upTo32,
  );

/** Neighbours of both vectors, one after the other. */
const pairwise = (name: string, u: 0 | 1, opcode: string, operation: Binary, where: (i: Fields) => boolean): InsnRow =>
  row(
    name,
    `0 q ${u} 01110 size 1 rm ${opcode} 1 rn rd`,
    THREE,
    (t, i) => {
      const size = sizeOf(i);
      const half = (odd: 0 | 1) => lanesOf(t, t.v(i.rn), t.v(i.rm), size, pairNumbers(size, i.q, odd));
      setVector(t, i, operation(t, half(0), half(1), size));
    },
    where,
  );

type Logic = (t: Translator, x: V128, y: V128, d: V128) => V128;
const logic = (name: string, u: 0 | 1, size: string, operation: Logic): InsnRow =>
  row(name, `0 q ${u} 01110 ${size} 1 rm 00011 1 rn rd`, THREE, (t, i) =>
    setVector(t, i, operation(t, t.v(i.rn), t.v(i.rm), t.v(i.rd))),
  );

const two = (name: string, u: 0 | 1, opcode: string, operation: Unary, where: (i: Fields) => boolean): InsnRow =>
  row(
    name,
    `0 q ${u} 01110 size 10000 ${opcode} 10 rn rd`,
    ['vd', 'vn'],
    (t, i) => setVector(t, i, operation(t, saturates(name) ? used(t, i, t.v(i.rn)) : t.v(i.rn), sizeOf(i))),
    where,
  );
/** Adds to the destination, which is the first operand. */
const accumulated = (name: string, u: 0 | 1, routine: LaneRoutine): InsnRow =>
  row(
    name,
    `0 q ${u} 01110 size 10000 00011 10 rn rd`,
    ['vd', 'vn'],
    (t, i) => {
      const [d, x] = [i.rd, i.rn].map((n) => used(t, i, t.v(n)));
      setVector(t, i, byLanes(routine)(t, d, x, sizeOf(i)));
    },
    all,
  );
const longPairs = (name: string, u: 0 | 1, opcode: string, accumulates: boolean): InsnRow =>
  row(
    name,
    `0 q ${u} 01110 size 10000 ${opcode} 10 rn rd`,
    ['vd', 'vn'],
    (t, i) => {
      const sums = addPairs(u ? 'u' : 's', t.v(i.rn), t, sizeOf(i));
      const wide = (i.size + 1) as Size;
      setVector(t, i, accumulates ? apply(t, 'add', wide, t.v(i.rd), sums) : sums);
    },
    upTo32,
  );
/** The low half of each lane, into the low half of the register or (`q`) the high one. */
const narrowRow = row(
  'xtn',
  '0 q 0 01110 size 10000 10010 10 rn rd',
  ['vd', 'vn'],
  (t, i) => setNarrow(t, i, narrow(t, t.v(i.rn), sizeOf(i))),
  upTo32,
);

/** All lanes to one, by halves. */
const across = (name: string, u: 0 | 1, opcode: string, operation: Binary): InsnRow =>
  row(
    name,
    `0 q ${u} 01110 size 11000 ${opcode} 10 rn rd`,
    ['vd', 'vn'],
    (t, i) => {
      const size = sizeOf(i);
      const whole = laneCount(size, 1);
      let value = t.v(i.rn);
      for (let step = laneCount(size, i.q) >> 1; step >= 1; step >>= 1) {
        const numbers = Array.from({ length: whole }, (_, n) => (n + step) % whole);
        value = operation(t, value, lanesOf(t, value, value, size, numbers), size);
      }
      const numbers = Array.from({ length: whole }, (_, n) => (n === 0 ? 0 : whole + n));
      t.setV(i.rd, lanesOf(t, value, zero(t), size, numbers));
    },
    (i) => i.size < 2 || (i.size === 2 && i.q === 1),
  );

const doubling = (i: Fields): boolean => i.size === 1 || i.size === 2;

export const simdRows: readonly InsnRow[] = [
  three('add', 0, '10000', native('add')),
  three('sub', 1, '10000', native('sub')),
  three('mul', 0, '10011', multiply, upTo32),
  accumulating('mla', 0, '10010', multiply, 'add'),
  accumulating('mls', 1, '10010', multiply, 'sub'),
  three('cmgt', 0, '00110', native('gt_s')),
  three('cmge', 0, '00111', native('ge_s')),
  three('cmhi', 1, '00110', unsignedOr('gt_u', lanes.cmhi)),
  three('cmhs', 1, '00111', unsignedOr('ge_u', lanes.cmhs)),
  three('cmtst', 0, '10001', (t, x, y, size) => apply(t, 'ne', size, t.b.v128_and(x, y), zero(t))),
  three('cmeq', 1, '10001', native('eq')),
  three('smax', 0, '01100', native('max_s'), upTo32),
  three('umax', 1, '01100', native('max_u'), upTo32),
  three('smin', 0, '01101', native('min_s'), upTo32),
  three('umin', 1, '01101', native('min_u'), upTo32),
  three('sabd', 0, '01110', distance('s'), upTo32),
  three('uabd', 1, '01110', distance('u'), upTo32),
  accumulating('saba', 0, '01111', distance('s'), 'add'),
  accumulating('uaba', 1, '01111', distance('u'), 'add'),
  three('sshl', 0, '01000', shifted('s')),
  three('ushl', 1, '01000', shifted('u')),
  ...(
    [
      ['qshl', '01001'],
      ['rshl', '01010'],
      ['qrshl', '01011'],
    ] as const
  ).flatMap(([name, opcode]) => [
    three(`s${name}`, 0, opcode, byLanes(lanes[`s${name}`])),
    three(`u${name}`, 1, opcode, byLanes(lanes[`u${name}`])),
  ]),
  ...(['s', 'u'] as const).flatMap((sign) => {
    const u = sign === 'u' ? 1 : 0;
    return [
      three(`${sign}hadd`, u, '00000', halved(sign, false), upTo32),
      three(`${sign}rhadd`, u, '00010', halved(sign, true), upTo32),
      three(`${sign}hsub`, u, '00100', halvedDifference(sign), upTo32),
      three(`${sign}qadd`, u, '00001', saturating('add', sign), all),
      three(`${sign}qsub`, u, '00101', saturating('sub', sign), all),
    ];
  }),
  three('pmul', 1, '10011', byLanes(lanes.pmul), bytesOnly),
  three('sqdmulh', 0, '10110', doublingHigh(false), doubling),
  three('sqrdmulh', 1, '10110', doublingHigh(true), doubling),
  pairwise('addp', 0, '10111', native('add'), all),
  pairwise('smaxp', 0, '10100', native('max_s'), upTo32),
  pairwise('umaxp', 1, '10100', native('max_u'), upTo32),
  pairwise('sminp', 0, '10101', native('min_s'), upTo32),
  pairwise('uminp', 1, '10101', native('min_u'), upTo32),
  logic('and', 0, '00', ({ b }, x, y) => b.v128_and(x, y)),
  logic('bic', 0, '01', ({ b }, x, y) => b.v128_andnot(x, y)),
  logic('orr', 0, '10', ({ b }, x, y) => b.v128_or(x, y)),
  logic('orn', 0, '11', ({ b }, x, y) => b.v128_or(x, b.v128_not(y))),
  logic('eor', 1, '00', ({ b }, x, y) => b.v128_xor(x, y)),
  logic('bsl', 1, '01', ({ b }, x, y, d) => b.v128_bitselect(x, y, d)),
  logic('bit', 1, '10', ({ b }, x, y, d) => b.v128_bitselect(x, d, y)),
  logic('bif', 1, '11', ({ b }, x, y, d) => b.v128_bitselect(d, x, y)),

  two('rev64', 0, '00000', reversed(8), upTo32),
  two('rev32', 1, '00000', reversed(4), (i) => i.size < 2),
  two('rev16', 0, '00001', reversed(2), bytesOnly),
  two('cls', 0, '00100', unaryByLanes(lanes.cls), upTo32),
  two('clz', 1, '00100', unaryByLanes(lanes.clz), upTo32),
  two('cnt', 0, '00101', nativeUnary('popcnt'), bytesOnly),
  two('not', 1, '00101', ({ b }, x) => b.v128_not(x), bytesOnly),
  two('rbit', 1, '00101', reversedBits, (i) => i.size === 1),
  accumulated('suqadd', 0, lanes.suqadd),
  accumulated('usqadd', 1, lanes.usqadd),
  two('sqabs', 0, '00111', unaryByLanes(lanes.sqabs), all),
  two('sqneg', 1, '00111', unaryByLanes(lanes.sqneg), all),
  two('cmgt0', 0, '01000', withZero(native('gt_s')), all),
  two('cmge0', 1, '01000', withZero(native('ge_s')), all),
  two('cmeq0', 0, '01001', withZero(native('eq')), all),
  two('cmle0', 1, '01001', withZero(swapped(native('ge_s'))), all),
  two('cmlt0', 0, '01010', withZero(swapped(native('gt_s'))), all),
  two('abs', 0, '01011', nativeUnary('abs'), all),
  two('neg', 1, '01011', nativeUnary('neg'), all),
  longPairs('saddlp', 0, '00010', false),
  longPairs('uaddlp', 1, '00010', false),
  longPairs('sadalp', 0, '00110', true),
  longPairs('uadalp', 1, '00110', true),
  narrowRow,
  across('addv', 0, '11011', native('add')),
  across('smaxv', 0, '01010', native('max_s')),
  across('umaxv', 1, '01010', native('max_u')),
  across('sminv', 0, '11010', native('min_s')),
  across('uminv', 1, '11010', native('min_u')),
];
