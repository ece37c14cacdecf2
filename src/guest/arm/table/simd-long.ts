/** Advanced SIMD: operations whose results are wider or narrower than their operands (C4.1.95). */
import type { V128 } from '../../../ir/index.js';
import { lanes } from '../routines/lanes.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { longByElement } from './simd-element.js';
import {
  apply,
  byLanes,
  laneCount,
  lanesOf,
  ONE_LANE,
  row,
  type Size,
  setNarrow,
  sizeOf,
  upTo32,
  used,
  zero,
} from './vector.js';
import {
  addPairs,
  distance,
  doubled,
  highHalves,
  type Narrowing,
  narrowSaturated,
  product,
  right,
  rightBy,
  rounded,
  type Sign,
  saturating,
  shiftSize,
  widened,
  wider,
} from './vector-operations.js';

const signs: readonly Sign[] = ['s', 'u'];

type Long = (t: Translator, i: Fields, size: Size, sign: Sign) => V128;
const long = (name: string, opcode: string, operation: Long): InsnRow[] =>
  signs.map((sign, u) =>
    row(
      sign + name,
      `0 q ${u} 01110 size 1 rm ${opcode} 00 rn rd`,
      ['vd', 'vn', 'vm'],
      (t, i) => t.setV(i.rd, operation(t, i, sizeOf(i), sign)),
      upTo32,
    ),
  );
const both =
  (name: 'add' | 'sub'): Long =>
  (t, i, size, sign) =>
    apply(t, name, wider(size), widened(t, t.v(i.rn), size, i.q, sign), widened(t, t.v(i.rm), size, i.q, sign));
const one =
  (name: 'add' | 'sub'): Long =>
  (t, i, size, sign) =>
    apply(t, name, wider(size), t.v(i.rn), widened(t, t.v(i.rm), size, i.q, sign));
const accumulate =
  (name: 'add' | 'sub', operation: Long): Long =>
  (t, i, size, sign) =>
    apply(t, name, wider(size), t.v(i.rd), operation(t, i, size, sign));
const multiply: Long = (t, i, size, sign) => product(t, t.v(i.rn), t.v(i.rm), size, i.q, sign);
/** The distance is never negative. */
const far: Long = (t, i, size, sign) => widened(t, distance(sign)(t, t.v(i.rn), t.v(i.rm), size), size, i.q, 'u');

const highHalf = (name: 'add' | 'sub', u: 0 | 1, opcode: string): InsnRow =>
  row(
    `${u ? 'r' : ''}${name}hn`,
    `0 q ${u} 01110 size 1 rm ${opcode} 00 rn rd`,
    ['vd', 'vn', 'vm'],
    (t, i) => {
      const wide = wider(sizeOf(i));
      const value = apply(t, name, wide, t.v(i.rn), t.v(i.rm));
      setNarrow(t, i, highHalves(t, value, sizeOf(i), u === 1));
    },
    upTo32,
  );
/** The whole operand, or its lane in a scalar form. */
const wideOperand = (t: Translator, i: Fields, size: Size): V128 =>
  i.q === ONE_LANE ? used(t, i, t.v(i.rn), wider(size)) : t.v(i.rn);
const saturatingNarrow = (name: Narrowing, u: 0 | 1, opcode: string): InsnRow =>
  row(
    name,
    `0 q ${u} 01110 size 10000 ${opcode} 10 rn rd`,
    ['vd', 'vn'],
    (t, i) => setNarrow(t, i, narrowSaturated(t, wideOperand(t, i, sizeOf(i)), sizeOf(i), name)),
    upTo32,
  );
const shiftNarrow = (
  name: string,
  u: 0 | 1,
  opcode: string,
  move: typeof right,
  sign: Sign,
  kind: Narrowing,
): InsnRow =>
  row(
    name,
    `0 q ${u} 011110 uimm[6:0] ${opcode} 1 rn rd`,
    ['vd', 'vn', 'imm'],
    (t, i) => {
      const size = shiftSize(i);
      const moved = move(t, wideOperand(t, i, size), wider(size), rightBy(i), sign);
      setNarrow(t, i, narrowSaturated(t, moved, size, kind), size);
    },
    (i) => i.imm >= 8 && i.imm < 64,
  );

type Accumulate = (t: Translator, d: V128, x: V128, size: Size) => V128;
const doublings: readonly (readonly [name: string, opcode: string, byElement: string, Accumulate])[] = [
  ['sqdmlal', '1001', '0011', saturating('add', 's')],
  ['sqdmlsl', '1011', '0111', saturating('sub', 's')],
  ['sqdmull', '1101', '1011', (_, __, x) => x],
];
/** The scalar forms have one lane, in which alone something may saturate. */
const ofLane = (t: Translator, i: Fields, value: V128, size: Size): V128 =>
  i.q === ONE_LANE ? used(t, i, value, size) : value;
const doublingRows = doublings.flatMap(([name, opcode, elementOpcode, accumulated]): InsnRow[] => {
  const operation = (t: Translator, i: Fields, x: V128, y: V128, size: Size): V128 => {
    const value = doubled(t, ofLane(t, i, x, size), ofLane(t, i, y, size), size, i.q);
    return accumulated(t, ofLane(t, i, t.v(i.rd), wider(size)), value, wider(size));
  };
  return [
    row(
      name,
      `0 q 0 01110 size 1 rm ${opcode} 00 rn rd`,
      ['vd', 'vn', 'vm'],
      (t, i) => t.setV(i.rd, operation(t, i, t.v(i.rn), t.v(i.rm), sizeOf(i))),
      (i) => i.size === 1 || i.size === 2,
    ),
    longByElement(name, 0, elementOpcode, operation),
  ];
});

/** Products of polynomials of 8 coefficients, in 16 bits. */
const polynomials = row(
  'pmull',
  '0 q 0 01110 size 1 rm 1110 00 rn rd',
  ['vd', 'vn', 'vm'],
  (t, i) => {
    const [x, y] = [i.rn, i.rm].map((n) => widened(t, t.v(n), 0, i.q, 'u'));
    t.setV(i.rd, byLanes(lanes.pmul)(t, x, y, 1));
  },
  (i) => i.size === 0,
);

const sumAcross = (sign: Sign, u: 0 | 1): InsnRow =>
  row(
    `${sign}addlv`,
    `0 q ${u} 01110 size 11000 00011 10 rn rd`,
    ['vd', 'vn'],
    (t, i) => {
      const size = sizeOf(i);
      const wide = wider(size);
      const whole = laneCount(wide, 1);
      let value = addPairs(sign, used(t, i, t.v(i.rn)), t, size);
      for (let step = whole >> 1; step >= 1; step >>= 1) {
        const numbers = Array.from({ length: whole }, (_, n) => (n + step) % whole);
        value = apply(t, 'add', wide, value, lanesOf(t, value, value, wide, numbers));
      }
      const numbers = Array.from({ length: whole }, (_, n) => (n === 0 ? 0 : whole + n));
      t.setV(i.rd, lanesOf(t, value, zero(t), wide, numbers));
    },
    (i) => i.size < 2 || (i.size === 2 && i.q === 1),
  );

export const simdLongRows: readonly InsnRow[] = [
  ...long('addl', '0000', both('add')),
  ...long('addw', '0001', one('add')),
  ...long('subl', '0010', both('sub')),
  ...long('subw', '0011', one('sub')),
  ...long('abal', '0101', accumulate('add', far)),
  ...long('abdl', '0111', far),
  ...long('mlal', '1000', accumulate('add', multiply)),
  ...long('mlsl', '1010', accumulate('sub', multiply)),
  ...long('mull', '1100', multiply),
  highHalf('add', 0, '0100'),
  highHalf('add', 1, '0100'),
  highHalf('sub', 0, '0110'),
  highHalf('sub', 1, '0110'),
  saturatingNarrow('sqxtn', 0, '10100'),
  saturatingNarrow('uqxtn', 1, '10100'),
  saturatingNarrow('sqxtun', 1, '10010'),
  shiftNarrow('sqshrn', 0, '10010', right, 's', 'sqxtn'),
  shiftNarrow('sqrshrn', 0, '10011', rounded, 's', 'sqxtn'),
  shiftNarrow('sqshrun', 1, '10000', right, 's', 'sqxtun'),
  shiftNarrow('sqrshrun', 1, '10001', rounded, 's', 'sqxtun'),
  shiftNarrow('uqshrn', 1, '10010', right, 'u', 'uqxtn'),
  shiftNarrow('uqrshrn', 1, '10011', rounded, 'u', 'uqxtn'),
  ...doublingRows,
  polynomials,
  row(
    'shll',
    '0 q 1 01110 size 10000 10011 10 rn rd',
    ['vd', 'vn'],
    (t, i) => {
      const wide = wider(sizeOf(i));
      t.setV(i.rd, apply(t, 'shl', wide, widened(t, t.v(i.rn), sizeOf(i), i.q, 'u'), t.b.i32(8 << i.size)));
    },
    upTo32,
  ),
  sumAcross('s', 0),
  sumAcross('u', 1),
  row('addp', '01 0 11110 11 11000 11011 10 rn rd', ['dd', 'vn'], (t, i) => {
    const x = t.v(i.rn);
    const sum = t.b.i64_add(t.b.i64x2_extract_lane(x, 0), t.b.i64x2_extract_lane(x, 1));
    t.setV(i.rd, t.b.i64x2_replace_lane(zero(t), sum, 0));
  }),
  ...signs.flatMap((sign, n) => {
    const u = n as 0 | 1;
    const multiplied = (t: Translator, i: Fields, x: V128, y: V128, size: Size) => product(t, x, y, size, i.q, sign);
    const added = (name: 'add' | 'sub') => (t: Translator, i: Fields, x: V128, y: V128, size: Size) =>
      apply(t, name, wider(size), t.v(i.rd), multiplied(t, i, x, y, size));
    return [
      longByElement(`${sign}mull`, u, '1010', multiplied),
      longByElement(`${sign}mlal`, u, '0010', added('add')),
      longByElement(`${sign}mlsl`, u, '0110', added('sub')),
    ];
  }),
];
