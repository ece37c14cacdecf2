/** Rounding to what an integer holds (FEAT_FRINTTS), and a double to 32 bits as ECMAScript has it (FEAT_JSCVT). */
import { rounding } from '../../float/core.js';
import { roundTo, toScriptInteger } from '../routines/float-convert.js';
import type { InsnRow } from '../row.js';
import { double, eachLane, fits, floatRow, lane, modeOf, read, single, write } from './float-format.js';
import { row } from './vector.js';

const rounds = ([single, double] as const).flatMap((f) =>
  ([32, 64] as const).flatMap((width) =>
    [rounding.zero, undefined].flatMap((mode): InsnRow[] => {
      const name = `frint${width}${mode === undefined ? 'x' : 'z'}`;
      const u = mode === undefined ? 1 : 0;
      const routine = roundTo[f.letter as 's' | 'd'][width];
      const opcode = `0100${width === 64 ? 1 : 0}${u}`;
      const vectorCode = `1111${width === 64 ? 1 : 0}`;
      return [
        floatRow(f, name, `00011110 ${f.type} 1 ${opcode} 10000 rn rd`, [`${f.letter}d`, `${f.letter}n`], (t, i) =>
          write(t, f, i.rd, t.b.call(routine, read(t, f, i.rn), modeOf(t, f, mode))[0]),
        ),
        floatRow(
          f,
          name,
          `0 q ${u} 01110 0 ${f.size - 2} 10000 ${vectorCode} 10 rn rd`,
          ['vd', 'vn'],
          (t, i) => {
            const x = t.v(i.rn);
            eachLane(t, i, f, (n) => t.b.call(routine, lane(t, f, x, n), modeOf(t, f, mode))[0]);
          },
          fits(f),
        ),
      ].map((made) => ({ ...made, features: ['frintts'] }));
    }),
  ),
);

export const floatBoundedRows: readonly InsnRow[] = [
  ...rounds,
  {
    ...row('fjcvtzs', '0 0011110 01 1 11 110 000000 rn rd', ['wd', 'dn'], (t, i) => {
      const { b } = t;
      const [value, isExact] = b.call(toScriptInteger, read(t, double, i.rn), modeOf(t, double));
      t.flags.setBits(b.i32_shl(isExact, b.i32(30)));
      t.setX(i.rd, value);
    }),
    features: ['jscvt'],
  },
];
