/** Advanced SIMD of Armv8.2 and Armv8.3 in AArch32: sums of four products of bytes (FEAT_DotProd), complex numbers (FEAT_FCMA). */
import type { Feature } from '../../arm/features.js';
import { type Format, half, single } from '../../arm/table/float-format.js';
import { complexProduct, complexSum } from '../../arm/table/float-operations.js';
import { laneCount, lanesOf } from '../../arm/table/vector.js';
import { add, dotProduct } from '../../arm/table/vector-operations.js';
import type { Fields, InsnRow } from '../row.js';
import { standard } from './simd-float.js';
import { alike, exact, operand, pure, set, signs } from './simd-format.js';
import { scalar } from './simd-long.js';

/** As assembly writes a register, D or Q. */
const named = (word: string, i: Fields): string => {
  const n = { xd: i.rd, xn: i.rn, xm: i.rm }[word] ?? 0;
  return i.q ? `q${n >> 1}` : `d${n}`;
};
const VECTORS = ['xd', 'xn', 'xm'];
const registers = 'rn[4] q rm[4]';

const dotRows = signs.flatMap((sign, u) => {
  const rest = { type: () => `.${sign}8`, features: ['dotprod'], ...pure } as const;
  return [
    ...alike(
      `v${sign}dot`,
      `1111 1100 0 rd[4] 10 rn[3:0] rd[3:0] 1101 ${registers} ${u} rm[3:0]`,
      VECTORS,
      (t, i) => {
        const [d, x, y] = [i.rd, i.rn, i.rm].map((n) => operand(t, i.q, n));
        set(t, i.q, i.rd, add(t, d, dotProduct(t, x, y, sign), 2));
      },
      rest,
    ),
    ...alike(
      `v${sign}dot`,
      `1111 1110 0 rd[4] 10 rn[3:0] rd[3:0] 1101 ${registers} ${u} rm[3:0]`,
      ['xd', 'xn', 'dm[x]'],
      (t, i) => {
        const [d, x] = [i.rd, i.rn].map((n) => operand(t, i.q, n));
        set(t, i.q, i.rd, add(t, d, dotProduct(t, x, scalar(t, i, 2), sign), 2));
      },
      rest,
    ),
  ];
});

const complexRows = ([single, half] as const).flatMap((f: Format): InsnRow[] => {
  const s = f === half ? 0 : 1;
  const count = (q: number): number => (q ? 16 : 8) >> f.size;
  const features: readonly Feature[] = f === half ? ['fcma', 'fp16'] : ['fcma'];
  const rest = { type: () => `.f${f.bits}`, features };
  return [
    // The immediate is the rotation in quarters, for sums in halves.
    ...alike(
      'vcadd',
      `1111 110 uimm[0] 1 rd[4] 0 ${s} rn[3:0] rd[3:0] 1000 ${registers} 0 rm[3:0]`,
      [...VECTORS, 'imm'],
      (t, i) => {
        const [x, y] = [i.rn, i.rm].map((n) => exact(t, i.q, n));
        set(t, i.q, i.rd, complexSum(standard(t), f, count(i.q), x, y, i.imm));
      },
      { ...rest, text: (i) => `${VECTORS.map((word) => named(word, i)).join(', ')}, #${90 + 180 * i.imm}` },
    ),
    ...alike(
      'vcmla',
      `1111 110 uimm[1:0] rd[4] 1 ${s} rn[3:0] rd[3:0] 1000 ${registers} 0 rm[3:0]`,
      [...VECTORS, 'imm'],
      (t, i) => {
        const [x, y, d] = [i.rn, i.rm, i.rd].map((n) => exact(t, i.q, n));
        set(t, i.q, i.rd, complexProduct(standard(t), f, count(i.q), x, y, d, i.imm));
      },
      { ...rest, text: (i) => `${VECTORS.map((word) => named(word, i)).join(', ')}, #${90 * i.imm}` },
    ),
    // With one complex number: that of a D register, or one of two in D0 to D15.
    ...alike(
      'vcmla',
      `1111 1110 ${s} rd[4] uimm[1:0] rn[3:0] rd[3:0] 1000 ${registers} 0 rm[3:0]`,
      ['xd', 'xn', 'imm'],
      (t, i) => {
        const [register, place] = f === half ? [i.rm & 15, i.rm >> 4] : [i.rm, 0];
        const whole = operand(t, 0, register);
        const numbers = Array.from({ length: laneCount(f.size as 1 | 2, 1) }, (_, n) => 2 * place + (n & 1));
        const y = lanesOf(t, whole, whole, f.size as 1 | 2, numbers);
        const [x, d] = [i.rn, i.rd].map((n) => exact(t, i.q, n));
        set(t, i.q, i.rd, complexProduct(standard(t), f, count(i.q), x, y, d, i.imm));
      },
      {
        ...rest,
        text: (i) => {
          const [register, place] = f === half ? [i.rm & 15, i.rm >> 4] : [i.rm, 0];
          return `${named('xd', i)}, ${named('xn', i)}, d${register}[${place}], #${90 * i.imm}`;
        },
      },
    ),
  ];
});

export const simdV8Rows: readonly InsnRow[] = [...dotRows, ...complexRows];
