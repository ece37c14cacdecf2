/** Advanced SIMD: shifts by a constant (A7.4.4), modified immediates (A7.4.6). */
import type { V128 } from '../../../ir/index.js';
import { lanes } from '../../arm/routines/lanes.js';
import { single } from '../../arm/table/float-format.js';
import { byLanes, type Size } from '../../arm/table/vector.js';
import {
  add,
  constantShift,
  expand,
  left,
  leftBy,
  type Narrowing,
  narrow,
  narrowSaturated,
  ones,
  right,
  rightBy,
  rounded,
  type Sign,
  shiftSize,
  widened,
  wider,
} from '../../arm/table/vector-operations.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { exact, operand, pure, set, setD, signs, simd } from './simd-format.js';
import { expanded, numberText } from './vfp-format.js';

type Bit = 0 | 1;
/** L and imm6 tell the size and the count, as AArch64's immh:immb. */
export const shiftEnc = (u: Bit, opcode: string, l: string, q: string): string =>
  `${u} 1 rd[4] uimm[5:0] rd[3:0] ${opcode} ${l} ${q} rm[4] 1 rm[3:0]`;
const typed =
  (letter: string, of = 8) =>
  (i: Fields): string =>
    `.${letter}${of << shiftSize(i)}`;

type Shift = (t: Translator, x: V128, size: Size, i: Fields, d: V128) => V128;
const shift = (
  name: string,
  letter: string,
  u: Bit,
  opcode: string,
  by: 'left' | 'right',
  operation: Shift,
  saturates = false,
): InsnRow[] =>
  simd(
    name,
    shiftEnc(u, opcode, 'uimm[6]', 'q'),
    ['xd', 'xm', by],
    (t, i) => {
      const read = saturates ? exact : operand;
      set(t, i.q, i.rd, operation(t, read(t, i.q, i.rm), shiftSize(i), i, operand(t, i.q, i.rd)));
    },
    { type: typed(letter), where: (i) => i.imm >= 8, ...(!saturates && pure) },
  );

const shiftNarrow = (
  name: string,
  letter: string,
  u: Bit,
  opcode: string,
  q: Bit,
  sign: Sign,
  kind: Narrowing | undefined,
): InsnRow[] =>
  simd(
    name,
    shiftEnc(u, opcode, '0', String(q)),
    ['dd', 'qm', 'right'],
    (t, i) => {
      const size = shiftSize(i);
      const moved = (q ? rounded : right)(t, t.v(i.rm >> 1), wider(size), rightBy(i), sign);
      setD(t, i.rd, kind ? narrowSaturated(t, moved, size, kind) : narrow(t, moved, size));
    },
    { type: typed(letter, 16), where: (i) => i.imm >= 8, ...(!kind && pure) },
  );
const shiftLong = (name: string, sign: Sign, u: Bit, isMove: boolean): InsnRow[] =>
  simd(
    name,
    shiftEnc(u, '1010', '0', '0'),
    isMove ? ['qd', 'dm'] : ['qd', 'dm', 'left'],
    (t, i) => {
      const size = shiftSize(i);
      const wide = widened(t, t.v(i.rm >> 1), size, i.rm & 1, sign);
      set(t, 1, i.rd, isMove ? wide : left(t, wide, wider(size), leftBy(i)));
    },
    { type: typed(sign), where: (i) => i.imm >= 8 && (leftBy(i) === 0) === isMove, ...pure },
  );

const shifts: readonly InsnRow[] = [
  ...signs.flatMap((sign, n) => {
    const u = n as Bit;
    return [
      ...shift('vshr', sign, u, '0000', 'right', (t, x, size, i) => right(t, x, size, rightBy(i), sign)),
      ...shift('vsra', sign, u, '0001', 'right', (t, x, size, i, d) =>
        add(t, d, right(t, x, size, rightBy(i), sign), size),
      ),
      ...shift('vrshr', sign, u, '0010', 'right', (t, x, size, i) => rounded(t, x, size, rightBy(i), sign)),
      ...shift('vrsra', sign, u, '0011', 'right', (t, x, size, i, d) =>
        add(t, d, rounded(t, x, size, rightBy(i), sign), size),
      ),
      ...shift(
        'vqshl',
        sign,
        u,
        '0111',
        'left',
        (t, x, size, i) => byLanes(lanes[`${sign}qshl`])(t, x, constantShift(leftBy(i), size, t), size),
        true,
      ),
      ...shiftNarrow('vqshrn', sign, u, '1001', 0, sign, sign === 's' ? 'sqxtn' : 'uqxtn'),
      ...shiftNarrow('vqrshrn', sign, u, '1001', 1, sign, sign === 's' ? 'sqxtn' : 'uqxtn'),
      ...shiftLong('vshll', sign, u, false),
      ...shiftLong('vmovl', sign, u, true),
    ];
  }),
  ...shift('vsri', '', 1, '0100', 'right', (t, x, size, i, d) =>
    t.b.v128_or(right(t, x, size, rightBy(i), 'u'), t.b.v128_and(d, ones(t, size, rightBy(i), true))),
  ),
  ...shift('vshl', 'i', 0, '0101', 'left', (t, x, size, i) => left(t, x, size, leftBy(i))),
  ...shift('vsli', '', 1, '0101', 'left', (t, x, size, i, d) =>
    t.b.v128_or(left(t, x, size, leftBy(i)), t.b.v128_and(d, ones(t, size, leftBy(i), false))),
  ),
  ...shift(
    'vqshlu',
    's',
    1,
    '0110',
    'left',
    (t, x, size, i) => byLanes(lanes.sqshlu)(t, x, constantShift(leftBy(i), size, t), size),
    true,
  ),
  ...shiftNarrow('vshrn', 'i', 0, '1000', 0, 'u', undefined),
  ...shiftNarrow('vrshrn', 'i', 0, '1000', 1, 'u', undefined),
  ...shiftNarrow('vqshrun', 's', 1, '1000', 0, 's', 'sqxtun'),
  ...shiftNarrow('vqrshrun', 's', 1, '1000', 1, 's', 'sqxtun'),
];

// --- modified immediates: imm2 is cmode

/** The elements' bits by cmode, for integers. */
const elementBits = (i: Fields, op: Bit): number =>
  i.imm2 < 8 ? 32 : i.imm2 < 12 ? 16 : i.imm2 < 14 ? 32 : op === 1 ? 64 : 8;
const immediate = (
  name: string,
  op: Bit,
  where: (cmode: number) => boolean,
  change: (t: Translator, d: V128, x: V128) => V128,
): InsnRow[] => {
  const elements = (i: Fields): bigint => expand(i.imm, i.imm2, op);
  return simd(
    name,
    `uimm[7] 1 rd[4] 000 uimm[6:4] rd[3:0] imm2[3:0] 0 q ${op} 1 uimm[3:0]`,
    ['xd', 'imm'],
    (t, i) => set(t, i.q, i.rd, change(t, operand(t, i.q, i.rd), t.b.i64x2_splat(t.b.i64(elements(i))))),
    {
      type: (i) => `.i${elementBits(i, op)}`,
      text: (i) =>
        `${i.q ? `q${i.rd >> 1}` : `d${i.rd}`}, #0x${BigInt.asUintN(elementBits(i, op), elements(i)).toString(16)}`,
      where: (i) => where(i.imm2),
      ...pure,
    },
  );
};
const isModify = (cmode: number): boolean => cmode < 12 && (cmode & 1) === 1;
const value = (i: Fields): bigint => expanded(single, i.imm);
export const simdShiftRows: readonly InsnRow[] = [
  ...shifts,
  ...immediate(
    'vmov',
    0,
    (cmode) => !isModify(cmode) && cmode < 15,
    (_, __, x) => x,
  ),
  ...immediate(
    'vmov',
    1,
    (cmode) => cmode === 14,
    (_, __, x) => x,
  ),
  ...immediate(
    'vmvn',
    1,
    (cmode) => !isModify(cmode) && cmode < 14,
    ({ b }, _, x) => b.v128_not(x),
  ),
  ...immediate('vorr', 0, isModify, ({ b }, d, x) => b.v128_or(d, x)),
  ...immediate('vbic', 1, isModify, ({ b }, d, x) => b.v128_andnot(d, x)),
  ...simd(
    'vmov',
    'uimm[7] 1 rd[4] 000 uimm[6:4] rd[3:0] 1111 0 q 0 1 uimm[3:0]',
    ['xd', 'imm'],
    (t, i) => set(t, i.q, i.rd, t.b.i32x4_splat(t.b.i32(Number(value(i)) | 0))),
    {
      type: () => '.f32',
      text: (i) => `${i.q ? `q${i.rd >> 1}` : `d${i.rd}`}, ${numberText(i.imm)}`,
      ...pure,
    },
  ),
];
