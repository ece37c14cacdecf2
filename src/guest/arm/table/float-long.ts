/** Singles plus or minus products of half-precision numbers, which round once (FEAT_FHM, C7.2.121 FMLAL and after). */
import type { I64, V128 } from '../../../ir/index.js';
import { widenHalf } from '../routines/float-convert.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { fused } from './float-calls.js';
import { half, lane, modeOf, negate, setLanes, single } from './float-format.js';
import { element, elementEnc } from './simd-element.js';
import { row } from './vector.js';

type Bit = 0 | 1;

/** `upper`: of the upper half of the numbers; `factor`: the number of a lane to multiply by. */
function multiplyLong(t: Translator, i: Fields, upper: Bit, subtract: Bit, factor: (n: number) => I64): void {
  const [x, d] = [t.v(i.rn), t.v(i.rd)];
  const count = i.q ? 4 : 2;
  setLanes(t, i, single, count, (n) => {
    const at = n + upper * count;
    const [a, b] = [lane(t, half, x, at), factor(at)].map((bits) => t.b.call(widenHalf, bits, modeOf(t, half))[0]);
    return fused(t, single, subtract ? negate(t, single, a) : a, b, lane(t, single, d, n));
  });
}

function rowsOf(name: string, upper: Bit, subtract: Bit): InsnRow[] {
  const lanes = (t: Translator, y: V128) => (n: number) => lane(t, half, y, n);
  return [
    row(name, `0 q ${upper} 01110 ${subtract} 01 rm ${upper ? '110011' : '111011'} rn rd`, ['vd', 'vn', 'vm'], (t, i) =>
      multiplyLong(t, i, upper, subtract, lanes(t, t.v(i.rm))),
    ),
    row(name, elementEnc(`0 q ${upper} 01111`, '10', `${upper}${subtract}00`), ['vd', 'vn', 'imm', 'imm2'], (t, i) =>
      multiplyLong(t, i, upper, subtract, lanes(t, element(t, i, 1))),
    ),
  ];
}

export const floatLongRows: readonly InsnRow[] = [
  ...rowsOf('fmlal', 0, 0),
  ...rowsOf('fmlsl', 0, 1),
  ...rowsOf('fmlal2', 1, 0),
  ...rowsOf('fmlsl2', 1, 1),
].map((made) => ({ ...made, features: ['fhm'] }));
