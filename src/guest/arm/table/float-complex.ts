/** Complex numbers in vectors, their real part first (FEAT_FCMA, C7.2.70 and after): sums and products turned by quarters. */
import type { I64, V128 } from '../../../ir/index.js';
import { type Fields, type InsnRow, needing, type Translator } from '../row.js';
import {
  call,
  double,
  eachLane,
  type Format,
  fits,
  floatRow,
  formats,
  fused,
  half,
  lane,
  negate,
} from './float-format.js';
import { lanesOf } from './vector.js';

const sizes = (f: Format): string => ({ h: '01', s: '10', d: '11' })[f.letter];

const complexAdd = (f: Format): InsnRow =>
  floatRow(
    f,
    'fcadd',
    `0 q 1 01110 ${sizes(f)} 0 rm 111 s 01 rn rd`,
    ['vd', 'vn', 'vm', 's'],
    (t, i) => {
      const [x, y] = [t.v(i.rn), t.v(i.rm)];
      eachLane(t, i, f, (n) => {
        const other = lane(t, f, y, n ^ 1);
        // By a quarter i * y is added: its real part is minus the imaginary one.
        const isNegative = (n & 1) === i.s;
        return call('add')(t, f, lane(t, f, x, n), isNegative ? negate(t, f, other) : other, other);
      });
    },
    fits(f),
  );

/** Adds the product with the real or, turned by a quarter or three, the imaginary part of the first factor. */
function multiplyAdd(t: Translator, i: Fields, f: Format, y: V128): void {
  const rotation = i.imm2;
  const [x, d] = [t.v(i.rn), t.v(i.rd)];
  eachLane(t, i, f, (n): I64 => {
    const part = n & 1;
    const factor = lane(t, f, x, (n & ~1) | (rotation & 1));
    const other = lane(t, f, y, rotation & 1 ? n ^ 1 : n);
    const isNegative = rotation === 2 || (rotation === 1 && part === 0) || (rotation === 3 && part === 1);
    return fused(t, f, factor, isNegative ? negate(t, f, other) : other, lane(t, f, d, n));
  });
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
