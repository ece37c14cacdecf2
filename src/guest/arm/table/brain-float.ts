/** Brain floating point (FEAT_BF16, C7.2.18 BFCVT and after): a single without its lower half. */
import type { I64, V128 } from '../../../ir/index.js';
import { brainDotAdd, singleToBrain } from '../routines/brain-float.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { fused } from './float-calls.js';
import { half, lane, modeOf, read, setLanes, single, withLane, write } from './float-format.js';
import { element, elementEnc } from './simd-element.js';
import { row, zero } from './vector.js';

const converted = (t: Translator, x: I64): I64 => t.b.call(singleToBrain, x, modeOf(t, single))[0];
/** To the lower half of a vector, the upper one cleared, or to the upper one. */
function narrowed(t: Translator, i: Fields): void {
  const x = t.v(i.rn);
  const start = i.q ? t.v(i.rd) : zero(t);
  const lanes = [0, 1, 2, 3].map((n) => converted(t, lane(t, single, x, n)));
  t.setV(
    i.rd,
    lanes.reduce((all, value, n) => withLane(t, half, all, n + 4 * i.q, value), start),
  );
}

/** Pairs lie in lanes of 32 bits. */
function dot(t: Translator, i: Fields, y: V128): void {
  const [x, d] = [t.v(i.rn), t.v(i.rd)];
  setLanes(
    t,
    i,
    single,
    i.q ? 4 : 2,
    (n) => t.b.call(brainDotAdd, lane(t, single, d, n), lane(t, single, x, n), lane(t, single, y, n))[0],
  );
}
/** Two rows of four numbers times two columns of four. */
function matrixProduct(t: Translator, i: Fields): void {
  const [x, y, d] = [t.v(i.rn), t.v(i.rm), t.v(i.rd)];
  setLanes(t, i, single, 4, (n) => {
    const add = (sum: I64, pair: 0 | 1): I64 => {
      const [left, right] = [lane(t, single, x, 2 * (n >> 1) + pair), lane(t, single, y, 2 * (n & 1) + pair)];
      return t.b.call(brainDotAdd, sum, left, right)[0];
    };
    return add(add(lane(t, single, d, n), 0), 1);
  });
}
/** Q: of the numbers in the upper halves of the lanes. */
function multiplyLong(t: Translator, i: Fields, factor: (n: number) => I64): void {
  const [x, d] = [t.v(i.rn), t.v(i.rd)];
  const wide = (bits: I64): I64 => t.b.i64_shl(bits, t.b.i64(16));
  setLanes(t, i, single, 4, (n) => {
    const at = 2 * n + i.q;
    return fused(t, single, wide(lane(t, half, x, at)), wide(factor(at)), lane(t, single, d, n));
  });
}

const ELEMENT = ['vd', 'vn', 'imm', 'imm2'];
export const brainFloatRows: readonly InsnRow[] = [
  row('bfcvt', '0001111001 1 00011 010000 rn rd', ['hd', 'sn'], (t, i) =>
    write(t, half, i.rd, converted(t, read(t, single, i.rn))),
  ),
  row('bfcvtn', '0 q 0 01110 10 10000 10110 10 rn rd', ['vd', 'vn'], narrowed),
  row('bfdot', '0 q 1 01110 01 0 rm 111111 rn rd', ['vd', 'vn', 'vm'], (t, i) => dot(t, i, t.v(i.rm))),
  row('bfdot', elementEnc('0 q 0 01111', '01', '1111'), ELEMENT, (t, i) => dot(t, i, element(t, i, 2))),
  row('bfmmla', '0 1 1 01110 01 0 rm 111011 rn rd', ['vd', 'vn', 'vm'], matrixProduct),
  row('bfmlal', '0 q 1 01110 11 0 rm 111111 rn rd', ['vd', 'vn', 'vm'], (t, i) => {
    const y = t.v(i.rm);
    multiplyLong(t, i, (n) => lane(t, half, y, n));
  }),
  row('bfmlal', elementEnc('0 q 0 01111', '11', '1111'), ELEMENT, (t, i) => {
    const y = element(t, i, 1);
    multiplyLong(t, i, (n) => lane(t, half, y, n));
  }),
].map((made) => ({ ...made, features: ['bf16'] }));
