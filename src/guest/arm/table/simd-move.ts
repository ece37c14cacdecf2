/** Advanced SIMD: copies, permutations, table lookup, modified immediates, shifts by a constant (C4.1.95). */
import type { V128 } from '../../../ir/index.js';
import { lanes } from '../routines/lanes.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import {
  apply,
  byLanes,
  bytesOf,
  laneCount,
  lanesOf,
  row,
  type Size,
  setNarrow,
  setVector,
  sizeOf,
  splat,
  used,
  zero,
} from './vector.js';
import {
  add,
  constantShift,
  expand,
  extract,
  extractedBytes,
  insert,
  left,
  leftBy,
  lookedUp,
  narrow,
  ones,
  type Permutation,
  permutationNumbers,
  right,
  rightBy,
  rounded,
  shiftSize,
} from './vector-operations.js';

/** imm5 of the copies: the lowest bit that is set tells the size, what is above it the lane. */
const copySize = (i: Fields): Size => (31 - Math.clz32(i.imm & -i.imm)) as Size;
const copyLane = (i: Fields): number => i.imm >> (copySize(i) + 1);
const isCopy = (i: Fields): boolean => (i.imm & 15) !== 0 && (copySize(i) < 3 || i.q === 1);

const copies: readonly InsnRow[] = [
  row(
    'dup',
    '0 q 0 01110000 uimm[4:0] 0 0000 1 rn rd',
    ['vd', 'vn', 'imm'],
    (t, i) => {
      const size = copySize(i);
      const x = t.v(i.rn);
      setVector(t, i, lanesOf(t, x, x, size, Array(laneCount(size, 1)).fill(copyLane(i))));
    },
    isCopy,
  ),
  row(
    'dup',
    '0 q 0 01110000 uimm[4:0] 0 0001 1 rn rd',
    ['vd', 'xn', 'imm'],
    (t, i) => setVector(t, i, splat(t, copySize(i), t.x(i.rn))),
    isCopy,
  ),
  row(
    'dup',
    '01 0 11110000 uimm[4:0] 0 0000 1 rn rd',
    ['vd', 'vn', 'imm'],
    (t, i) => {
      const value = extract(t, t.v(i.rn), copySize(i), copyLane(i), false);
      t.setV(i.rd, t.b.i64x2_replace_lane(zero(t), value, 0));
    },
    (i) => (i.imm & 15) !== 0,
  ),
  row(
    'smov',
    '0 q 0 01110000 uimm[4:0] 0 0101 1 rn rd',
    ['xd', 'vn', 'imm'],
    (t, i) => {
      const value = extract(t, t.v(i.rn), copySize(i), copyLane(i), true);
      t.setX(i.rd, i.q ? value : t.b.i64_low32(value));
    },
    (i) => (i.imm & 15) !== 0 && copySize(i) < (i.q ? 3 : 2),
  ),
  row(
    'umov',
    '0 q 0 01110000 uimm[4:0] 0 0111 1 rn rd',
    ['xd', 'vn', 'imm'],
    (t, i) => t.setX(i.rd, extract(t, t.v(i.rn), copySize(i), copyLane(i), false)),
    (i) => (i.imm & 15) !== 0 && (i.q ? copySize(i) === 3 : copySize(i) < 3),
  ),
  row(
    'ins',
    '0 1 0 01110000 uimm[4:0] 0 0011 1 rn rd',
    ['vd', 'imm', 'xn'],
    (t, i) => t.setV(i.rd, insert(t, t.v(i.rd), copySize(i), copyLane(i), t.x(i.rn))),
    (i) => (i.imm & 15) !== 0,
  ),
  row(
    'ins',
    '0 1 1 01110000 uimm[4:0] 0 imm2[3:0] 1 rn rd',
    ['vd', 'imm', 'vn', 'imm2'],
    (t, i) => {
      const size = copySize(i);
      const value = extract(t, t.v(i.rn), size, i.imm2 >> size, false);
      t.setV(i.rd, insert(t, t.v(i.rd), size, copyLane(i), value));
    },
    (i) => (i.imm & 15) !== 0,
  ),
];

const permute = (name: Permutation, opcode: string, part: 0 | 1): InsnRow =>
  row(
    `${name}${part + 1}`,
    `0 q 001110 size 0 rm 0 ${opcode} 10 rn rd`,
    ['vd', 'vn', 'vm'],
    (t, i) => {
      const size = sizeOf(i);
      const numbers = permutationNumbers(name, part, size, i.q);
      setVector(t, i, lanesOf(t, t.v(i.rn), t.v(i.rm), size, numbers));
    },
    (i) => i.size < 3 || i.q === 1,
  );

const extractPair = row(
  'ext',
  '0 q 101110 000 rm 0 uimm[3:0] 0 rn rd',
  ['vd', 'vn', 'vm', 'imm'],
  (t, i) => setVector(t, i, bytesOf(t, t.v(i.rn), t.v(i.rm), extractedBytes(i.q, i.imm))),
  (i) => i.q === 1 || i.imm < 8,
);

/** Bytes by their numbers in one to four registers; those beyond them are 0, or what the destination has. */
const lookup = (name: string, op: 0 | 1): InsnRow =>
  row(name, `0 q 001110 000 rm 0 uimm[1:0] ${op} 00 rn rd`, ['vd', 'vn', 'vm', 'imm'], (t, i) => {
    const { b } = t;
    const index = t.v(i.rm);
    const table = Array.from({ length: i.imm + 1 }, (_, n) => t.v((i.rn + n) & 31));
    let value = lookedUp(t, table, index);
    if (op) {
      const outside = b.i8x16_ge_u(index, b.i8x16_splat(b.i32(16 * (i.imm + 1))));
      value = b.v128_bitselect(t.v(i.rd), value, outside);
    }
    setVector(t, i, value);
  });

const immediate = (
  name: string,
  op: 0 | 1,
  where: (cmode: number) => boolean,
  change: (t: Translator, d: V128, x: V128) => V128,
) =>
  row(
    name,
    `0 q ${op} 0111100000 uimm[7:5] imm2[3:0] 01 uimm[4:0] rd`,
    ['vd', 'imm', 'imm2'],
    (t, i) => {
      const x = t.b.i64x2_splat(t.b.i64(expand(i.imm, i.imm2, op)));
      setVector(t, i, change(t, t.v(i.rd), x));
    },
    (i) => where(i.imm2),
  );
const isModify = (cmode: number): boolean => cmode < 12 && (cmode & 1) === 1;

// --- shifts by a constant: immh:immb tells the size and the count

const isShift = (i: Fields): boolean => i.imm >= 8 && (i.imm < 64 || i.q === 1);

type Shift = (t: Translator, x: V128, size: Size, i: Fields, d: V128) => V128;
const shift = (name: string, u: 0 | 1, opcode: string, operation: Shift): InsnRow =>
  row(
    name,
    `0 q ${u} 011110 uimm[6:0] ${opcode} 1 rn rd`,
    ['vd', 'vn', 'imm'],
    (t, i) => setVector(t, i, operation(t, t.v(i.rn), shiftSize(i), i, t.v(i.rd)), shiftSize(i)),
    isShift,
  );
const shiftLong = (sign: 's' | 'u', u: 0 | 1): InsnRow =>
  row(
    `${sign}shll`,
    `0 q ${u} 011110 uimm[6:0] 10100 1 rn rd`,
    ['vd', 'vn', 'imm'],
    (t, i) => {
      const size = shiftSize(i);
      const name = `extend_${i.q ? 'high' : 'low'}_${['i8x16', 'i16x8', 'i32x4'][size]}_${sign}`;
      const wide = (size + 1) as Size;
      t.setV(i.rd, left(t, apply(t, name, wide, t.v(i.rn)), wide, leftBy(i)));
    },
    (i) => i.imm >= 8 && i.imm < 64,
  );
const shiftNarrow = (name: string, opcode: string, round: boolean): InsnRow =>
  row(
    name,
    `0 q 0 011110 uimm[6:0] ${opcode} 1 rn rd`,
    ['vd', 'vn', 'imm'],
    (t, i) => {
      const size = shiftSize(i);
      const wide = (size + 1) as Size;
      const by = rightBy(i);
      const moved = (round ? rounded : right)(t, t.v(i.rn), wide, by, 'u');
      setNarrow(t, i, narrow(t, moved, size), size);
    },
    (i) => i.imm >= 8 && i.imm < 64,
  );

const shifts: readonly InsnRow[] = [
  ...(['s', 'u'] as const).flatMap((sign) => {
    const u = sign === 'u' ? 1 : 0;
    return [
      shift(`${sign}shr`, u, '00000', (t, x, size, i) => right(t, x, size, rightBy(i), sign)),
      shift(`${sign}sra`, u, '00010', (t, x, size, i, d) => add(t, d, right(t, x, size, rightBy(i), sign), size)),
      shift(`${sign}rshr`, u, '00100', (t, x, size, i) => rounded(t, x, size, rightBy(i), sign)),
      shift(`${sign}rsra`, u, '00110', (t, x, size, i, d) => add(t, d, rounded(t, x, size, rightBy(i), sign), size)),
      shift(`${sign}qshl`, u, '01110', (t, x, size, i) =>
        byLanes(lanes[`${sign}qshl`])(t, used(t, i, x, size), constantShift(leftBy(i), size, t), size),
      ),
      shiftLong(sign, u),
    ];
  }),
  shift('sqshlu', 1, '01100', (t, x, size, i) =>
    byLanes(lanes.sqshlu)(t, used(t, i, x, size), constantShift(leftBy(i), size, t), size),
  ),
  shift('shl', 0, '01010', (t, x, size, i) => left(t, x, size, leftBy(i))),
  shift('sli', 1, '01010', (t, x, size, i, d) =>
    t.b.v128_or(left(t, x, size, leftBy(i)), t.b.v128_and(d, ones(t, size, leftBy(i), false))),
  ),
  shift('sri', 1, '01000', (t, x, size, i, d) =>
    t.b.v128_or(right(t, x, size, rightBy(i), 'u'), t.b.v128_and(d, ones(t, size, rightBy(i), true))),
  ),
  shiftNarrow('shrn', '10000', false),
  shiftNarrow('rshrn', '10001', true),
];

export const simdMoveRows: readonly InsnRow[] = [
  ...copies,
  ...(
    [
      ['uzp', '01'],
      ['trn', '10'],
      ['zip', '11'],
    ] as const
  ).flatMap(([name, code]) => [permute(name, `0${code}`, 0), permute(name, `1${code}`, 1)]),
  extractPair,
  lookup('tbl', 0),
  lookup('tbx', 1),
  immediate(
    'movi',
    0,
    (cmode) => !isModify(cmode) && cmode < 15,
    (_, __, x) => x,
  ),
  immediate(
    'movi',
    1,
    (cmode) => cmode === 14,
    (_, __, x) => x,
  ),
  immediate(
    'mvni',
    1,
    (cmode) => !isModify(cmode) && cmode < 14,
    ({ b }, _, x) => b.v128_not(x),
  ),
  immediate('orr', 0, isModify, ({ b }, d, x) => b.v128_or(d, x)),
  immediate('bic', 1, isModify, ({ b }, d, x) => b.v128_andnot(d, x)),
  ...shifts,
];
