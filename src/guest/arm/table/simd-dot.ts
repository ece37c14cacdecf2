/**
 * Advanced SIMD of Armv8.1 to Armv8.6: SQRDMLAH and SQRDMLSH (FEAT_RDM), sums of four products of bytes (FEAT_DotProd), the same of bytes
 * of two kinds, and products of matrices of bytes (FEAT_I8MM).
 */
import type { V128 } from '../../../ir/index.js';
import { lanes } from '../routines/lanes.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { element, elementEnc } from './simd-element.js';
import { apply, lanesOf, ONE_LANE, row, type Size, setVector, sizeOf, used } from './vector.js';
import { dotProduct, type Sign } from './vector-operations.js';

const isDoubling = (i: Fields): boolean => i.size === 1 || i.size === 2;

/** Adds the rounded upper half of a doubled product to the destination, or subtracts it. */
function multiplyAdd(name: 'sqrdmlah' | 'sqrdmlsh', opcode: string, elementOpcode: string): InsnRow[] {
  const run = (t: Translator, i: Fields, y: V128) => {
    const [d, x] = [i.rd, i.rn].map((n) => used(t, i, t.v(n)));
    const [value] = t.b.call(lanes[name], x, used(t, i, y), d, t.b.i32(8 << i.size));
    setVector(t, i, value);
  };
  const whole = (t: Translator, i: Fields) => run(t, i, t.v(i.rm));
  const one = (t: Translator, i: Fields) => run(t, i, element(t, i, sizeOf(i)));
  const scalar = (translate: typeof whole) => (t: Translator, i: Fields) => translate(t, { ...i, q: ONE_LANE });
  return [
    row(name, `0 q 1 01110 size 0 rm ${opcode} 1 rn rd`, ['vd', 'vn', 'vm'], whole, isDoubling),
    row(name, `01 1 11110 size 0 rm ${opcode} 1 rn rd`, ['ed', 'en', 'em'], scalar(whole), isDoubling),
    row(name, elementEnc('0 q 1 01111', 'size', elementOpcode), ['vd', 'vn', 'imm', 'imm2'], one, isDoubling),
    row(name, elementEnc('01 1 11111', 'size', elementOpcode), ['ed', 'en', 'imm', 'imm2'], scalar(one), isDoubling),
  ].map((made) => ({ ...made, features: ['rdm'] }));
}

const dot = (name: string, u: 0 | 1): InsnRow[] => {
  const sign = u ? 'u' : 's';
  const add = (t: Translator, i: Fields, y: V128) =>
    setVector(t, i, apply(t, 'add', 2 as Size, t.v(i.rd), dotProduct(t, t.v(i.rn), y, sign)));
  return [
    row(name, `0 q ${u} 01110 10 0 rm 1001 01 rn rd`, ['vd', 'vn', 'vm'], (t, i) => add(t, i, t.v(i.rm))),
    row(name, elementEnc(`0 q ${u} 01111`, '10', '1110'), ['vd', 'vn', 'imm', 'imm2'], (t, i) =>
      add(t, i, element(t, i, 2)),
    ),
  ].map((made) => ({ ...made, features: ['dotprod'] }));
};

/** `signs`: of the elements of Rn and of Rm. */
const mixedDot = (t: Translator, i: Fields, y: V128, ...signs: readonly [Sign, Sign]): void =>
  setVector(t, i, apply(t, 'add', 2, t.v(i.rd), dotProduct(t, t.v(i.rn), y, ...signs)));

/** Two rows of eight bytes times two columns of eight: a square of sums of 32 bits. */
const matrixProduct = (name: string, u: 0 | 1, opcode: string, ...signs: readonly [Sign, Sign]): InsnRow =>
  row(name, `0 1 ${u} 01110 10 0 rm ${opcode} rn rd`, ['vd', 'vn', 'vm'], (t, i) => {
    const [x, y] = [t.v(i.rn), t.v(i.rm)];
    const [first, second] = [0, 1].map((half) => dotProduct(t, lanesOf(t, x, x, 3, [half, half]), y, ...signs));
    const [even, odd] = [0, 1].map((part) => lanesOf(t, first, second, 2, [part, part + 2, part + 4, part + 6]));
    t.setV(i.rd, apply(t, 'add', 2, t.v(i.rd), apply(t, 'add', 2, even, odd)));
  });

const mixedRows: readonly InsnRow[] = [
  row('usdot', '0 q 0 01110 10 0 rm 1001 11 rn rd', ['vd', 'vn', 'vm'], (t, i) => mixedDot(t, i, t.v(i.rm), 'u', 's')),
  row('usdot', elementEnc('0 q 0 01111', '10', '1111'), ['vd', 'vn', 'imm', 'imm2'], (t, i) =>
    mixedDot(t, i, element(t, i, 2), 'u', 's'),
  ),
  row('sudot', elementEnc('0 q 0 01111', '00', '1111'), ['vd', 'vn', 'imm', 'imm2'], (t, i) =>
    mixedDot(t, i, element(t, i, 2), 's', 'u'),
  ),
  matrixProduct('smmla', 0, '101001', 's', 's'),
  matrixProduct('ummla', 1, '101001', 'u', 'u'),
  matrixProduct('usmmla', 0, '101011', 'u', 's'),
].map((made) => ({ ...made, features: ['i8mm'] }));

export const simdDotRows: readonly InsnRow[] = [
  ...multiplyAdd('sqrdmlah', '10000', '1101'),
  ...multiplyAdd('sqrdmlsh', '10001', '1111'),
  ...dot('sdot', 0),
  ...dot('udot', 1),
  ...mixedRows,
];
