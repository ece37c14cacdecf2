/** Advanced SIMD of Armv8.1 and Armv8.2: SQRDMLAH and SQRDMLSH (FEAT_RDM), sums of four products of bytes (FEAT_DotProd). */
import type { V128 } from '../../../ir/index.js';
import { lanes } from '../routines/lanes.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { element, elementEnc } from './simd-element.js';
import { apply, ONE_LANE, row, type Size, setVector, sizeOf, used } from './vector.js';
import { dotProduct } from './vector-operations.js';

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

export const simdDotRows: readonly InsnRow[] = [
  ...multiplyAdd('sqrdmlah', '10000', '1101'),
  ...multiplyAdd('sqrdmlsh', '10001', '1111'),
  ...dot('sdot', 0),
  ...dot('udot', 1),
];
