/** Advanced SIMD: VEXT, VTBL, VTBX, VDUP, and moves between lanes and general registers (A7.4, A7.8). */
import { bytesOf, laneCount, lanesOf, type Size, splat } from '../../arm/table/vector.js';
import { extract, extractedBytes, insert, lookedUp } from '../../arm/table/vector-operations.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { joined, operand, pure, set, setD, simd } from './simd-format.js';
import { vfp } from './vfp-format.js';

const extractPair = simd(
  'vext',
  '0 1 rd[4] 11 rn[3:0] rd[3:0] uimm[3:0] rn[4] q rm[4] 0 rm[3:0]',
  ['xd', 'xn', 'xm', 'imm'],
  (t, i) => {
    const [x, y] = [operand(t, i.q, i.rn), operand(t, i.q, i.rm)];
    set(t, i.q, i.rd, bytesOf(t, x, y, extractedBytes(i.q, i.imm)));
  },
  { type: () => '.8', where: (i) => i.q === 1 || i.imm < 8, ...pure },
);

/** One to four D registers are the table: imm is one less. */
const tableRegisters = (i: Fields): number[] => Array.from({ length: i.imm + 1 }, (_, n) => i.rn + n);
function lookUp(t: Translator, i: Fields, keeps: boolean): void {
  const { b } = t;
  const registers = tableRegisters(i);
  const index = operand(t, 0, i.rm);
  const table = [0, 2]
    .filter((n) => n < registers.length)
    .map((n) => joined(t, registers[n], registers[n + 1] ?? registers[n]));
  const found = lookedUp(t, table, index);
  // Half of the last vector is no part of a table of one or three registers.
  const outside = b.i8x16_ge_u(index, b.i8x16_splat(b.i32(8 * registers.length)));
  if (keeps) setD(t, i.rd, b.v128_bitselect(operand(t, 0, i.rd), found, outside));
  else setD(t, i.rd, registers.length & 1 ? b.v128_andnot(found, outside) : found);
}
const lookup = (name: string, op: 0 | 1): InsnRow[] =>
  simd(
    name,
    `1 1 rd[4] 11 rn[3:0] rd[3:0] 10 uimm[1:0] rn[4] ${op} rm[4] 0 rm[3:0]`,
    ['dd', 'table', 'dm'],
    (t, i) => lookUp(t, i, op === 1),
    {
      type: () => '.8',
      text: (i) =>
        `d${i.rd}, {${tableRegisters(i)
          .map((n) => `d${n}`)
          .join(', ')}}, d${i.rm}`,
      where: (i) => i.rn + i.imm < 32,
      ...pure,
    },
  );

/** imm4: the lowest bit that is set tells the size, what is above it the lane. */
const duplicate = ([0, 1, 2] as const).flatMap((size: Size) =>
  simd(
    'vdup',
    `1 1 rd[4] 11 uimm[${2 - size}:0] 1${'0'.repeat(size)} rd[3:0] 11000 q rm[4] 0 rm[3:0]`,
    ['xd', 'dm[imm]'],
    (t, i) => {
      const x = t.v(i.rm >> 1);
      const lane = i.imm + (i.rm & 1) * laneCount(size, 0);
      set(t, i.q, i.rd, lanesOf(t, x, x, size, Array(laneCount(size, 1)).fill(lane)));
    },
    { type: () => `.${8 << size}`, ...pure },
  ),
);

/** VFP has the words (vfp-move.ts). `opc1`: of bits 22-21, the places above; `opc2`: of bits 6-5. */
const lanePlaces = [
  [0, '1 uimm[2]', 'uimm[1:0]'],
  [1, '0 uimm[1]', 'uimm[0] 1'],
] as const;
const place = (i: Fields, size: Size): number => i.imm + (i.rn & 1) * laneCount(size, 0);
const coreMoves = lanePlaces.flatMap(([size, opc1, opc2]) => {
  const simdOnly = { float: 'simd', ...pure } as const;
  return [
    ...vfp(
      `vmov`,
      `1110 0 ${opc1} 0 rn[3:0] rd 1011 rn[4] ${opc2} 1 0000`,
      ['dn[imm]', 'rd'],
      (t, i) => t.setV(i.rn >> 1, insert(t, t.v(i.rn >> 1), size, place(i, size), t.r(i.rd))),
      { ...simdOnly, type: () => `.${8 << size}` },
    ),
    ...(['s', 'u'] as const).flatMap((sign, u) =>
      vfp(
        `vmov`,
        `1110 ${u} ${opc1} 1 rn[3:0] rd 1011 rn[4] ${opc2} 1 0000`,
        ['rd', 'dn[imm]'],
        (t, i) => t.setLow(i.rd, extract(t, t.v(i.rn >> 1), size, place(i, size), sign === 's')),
        { ...simdOnly, type: () => `.${sign}${8 << size}` },
      ),
    ),
  ];
});
const toAll = ([2, 1, 0] as const).flatMap((size) => {
  const [upper, lower] = [
    ['1', '0'],
    ['0', '1'],
    ['0', '0'],
  ][size];
  return vfp(
    'vdup',
    `1110 1 ${upper} q 0 rn[3:0] rd 1011 rn[4] 0 ${lower} 1 0000`,
    ['xn', 'rd'],
    (t, i) => set(t, i.q, i.rn, splat(t, size, t.r(i.rd))),
    { float: 'simd', ...pure, type: () => `.${8 << size}`, where: (i) => i.q === 0 || (i.rn & 1) === 0 },
  );
});

export const simdMoveRows: readonly InsnRow[] = [
  ...extractPair,
  ...lookup('vtbl', 0),
  ...lookup('vtbx', 1),
  ...duplicate,
  ...coreMoves,
  ...toAll,
];
