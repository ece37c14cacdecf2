/** Complex numbers in vectors, their real part first (FEAT_FCMA, C7.2.70 and after): sums and products turned by quarters. */
import type { V128 } from '../../../ir/index.js';
import { type Fields, type InsnRow, needing, type Translator } from '../row.js';
import { double, type Format, fits, floatRow, formats, half } from './float-format.js';
import { complexProduct, complexSum } from './float-operations.js';
import { lanesOf } from './vector.js';

const count = (f: Format, i: Fields): number => (i.q ? 16 : 8) >> f.size;
const sizes = (f: Format): string => ({ h: '01', s: '10', d: '11' })[f.letter];

const complexAdd = (f: Format): InsnRow =>
  floatRow(
    f,
    'fcadd',
    `0 q 1 01110 ${sizes(f)} 0 rm 111 s 01 rn rd`,
    ['vd', 'vn', 'vm', 'turn'],
    (t, i) => {
      t.setV(i.rd, complexSum(t, f, count(f, i), t.v(i.rn), t.v(i.rm), i.s));
    },
    fits(f),
  );

function multiplyAdd(t: Translator, i: Fields, f: Format, y: V128): void {
  t.setV(i.rd, complexProduct(t, f, count(f, i), t.v(i.rn), y, t.v(i.rd), i.imm2));
}
const complexMultiply = (f: Format): InsnRow =>
  floatRow(
    f,
    'fcmla',
    `0 q 1 01110 ${sizes(f)} 0 rm 110 imm2[1:0] 1 rn rd`,
    ['vd', 'vn', 'vm', 'imm2'],
    (t, i) => multiplyAdd(t, i, f, t.v(i.rm)),
    fits(f),
  );

/** With one complex number of a vector, two neighbouring lanes: L is `s`, H is `sf`, M is the number's upper bit. */
const complexElement = (f: Format): InsnRow =>
  floatRow(
    f,
    'fcmla',
    `0 q 1 01111 ${sizes(f)} s rm 0 imm2[1:0] 1 sf 0 rn rd`,
    ['vd', 'vn', 'vm', 'imm2'],
    (t, i) => {
      const y = t.v(i.rm);
      const at = f === half ? 2 * i.sf + i.s : i.sf;
      const whole = Array.from({ length: 8 >> f.size }, () => [2 * at, 2 * at + 1]).flat();
      multiplyAdd(t, i, f, lanesOf(t, y, y, f.size, whole));
    },
    (i) => (f === half ? i.q === 1 || i.sf === 0 : i.q === 1 && i.s === 0),
  );

export const floatComplexRows: readonly InsnRow[] = needing(
  'fcma',
  formats.flatMap((f) => [complexAdd(f), complexMultiply(f), ...(f === double ? [] : [complexElement(f)])]),
);
