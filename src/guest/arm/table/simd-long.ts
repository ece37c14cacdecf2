/** Advanced SIMD: operations whose results are wider or narrower than their operands, and scalar forms (C4.1.95). */
import type { V128 } from '../../../ir/index.js';
import { type LaneRoutine, lanes } from '../routines/lanes.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { addPairs, simdRows } from './simd.js';
import { longByElement } from './simd-element.js';
import { simdMoveRows } from './simd-move.js';
import {
  apply,
  laneCount,
  lanesOf,
  row,
  type Size,
  setVector,
  sizeOf,
  unaryByLanes,
  upTo32,
  used,
  zero,
} from './vector.js';

type Sign = 's' | 'u';
const signs: readonly Sign[] = ['s', 'u'];
const shapeName = (size: Size): string => ['i8x16', 'i16x8', 'i32x4'][size];
const wider = (size: Size): Size => (size + 1) as Size;

/** Half of a vector (the upper one with Q) with lanes twice as wide. */
const widened = (t: Translator, x: V128, size: Size, q: number, sign: Sign): V128 =>
  apply(t, `extend_${q ? 'high' : 'low'}_${shapeName(size)}_${sign}`, wider(size), x);
const product = (t: Translator, x: V128, y: V128, size: Size, q: number, sign: Sign): V128 =>
  apply(t, `extmul_${q ? 'high' : 'low'}_${shapeName(size)}_${sign}`, wider(size), x, y);
const distance = (t: Translator, x: V128, y: V128, size: Size, sign: Sign): V128 =>
  apply(t, 'sub', size, apply(t, `max_${sign}`, size, x, y), apply(t, `min_${sign}`, size, x, y));

type Long = (t: Translator, i: Fields, size: Size, sign: Sign) => V128;
const long = (name: string, opcode: string, operation: Long): InsnRow[] =>
  signs.map((sign, u) =>
    row(
      sign + name,
      `0 q ${u} 01110 size 1 rm ${opcode} 00 rn rd`,
      ['vd', 'vn', 'vm'],
      (t, i) => t.setV(i.rd, operation(t, i, sizeOf(i), sign)),
      upTo32,
    ),
  );
const both =
  (name: 'add' | 'sub'): Long =>
  (t, i, size, sign) =>
    apply(t, name, wider(size), widened(t, t.v(i.rn), size, i.q, sign), widened(t, t.v(i.rm), size, i.q, sign));
const one =
  (name: 'add' | 'sub'): Long =>
  (t, i, size, sign) =>
    apply(t, name, wider(size), t.v(i.rn), widened(t, t.v(i.rm), size, i.q, sign));
const accumulate =
  (name: 'add' | 'sub', operation: Long): Long =>
  (t, i, size, sign) =>
    apply(t, name, wider(size), t.v(i.rd), operation(t, i, size, sign));
const multiply: Long = (t, i, size, sign) => product(t, t.v(i.rn), t.v(i.rm), size, i.q, sign);
/** The distance is never negative. */
const far: Long = (t, i, size, sign) => widened(t, distance(t, t.v(i.rn), t.v(i.rm), size, sign), size, i.q, 'u');

/** The lower or (`odd`) the upper half of each lane of `value`, which are wide, into half of the register. */
function setNarrow(t: Translator, i: Fields, value: V128, odd: 0 | 1): void {
  const size = sizeOf(i);
  const count = laneCount(size, 0);
  const taken = Array.from({ length: count }, (_, n) => 2 * n + odd);
  const other = Array.from({ length: count }, (_, n) => 2 * count + n);
  if (i.q) t.setV(i.rd, lanesOf(t, value, t.v(i.rd), size, [...other, ...taken]));
  else t.setV(i.rd, lanesOf(t, value, zero(t), size, [...taken, ...other]));
}
const highHalf = (name: 'add' | 'sub', u: 0 | 1, opcode: string): InsnRow =>
  row(
    `${u ? 'r' : ''}${name}hn`,
    `0 q ${u} 01110 size 1 rm ${opcode} 00 rn rd`,
    ['vd', 'vn', 'vm'],
    (t, i) => {
      const wide = wider(sizeOf(i));
      const value = apply(t, name, wide, t.v(i.rn), t.v(i.rm));
      const half = 1n << BigInt((8 << i.size) - 1);
      let constant = 0n;
      for (let at = 0; at < 64; at += 16 << i.size) constant |= half << BigInt(at);
      const near = u ? apply(t, 'add', wide, value, t.b.i64x2_splat(t.b.i64(constant))) : value;
      setNarrow(t, i, near, 1);
    },
    upTo32,
  );
const saturatingNarrow = (name: string, u: 0 | 1, opcode: string, routine: LaneRoutine): InsnRow =>
  row(
    name,
    `0 q ${u} 01110 size 10000 ${opcode} 10 rn rd`,
    ['vd', 'vn'],
    (t, i) => setNarrow(t, i, unaryByLanes(routine)(t, t.v(i.rn), wider(sizeOf(i))), 0),
    upTo32,
  );
const sumAcross = (sign: Sign, u: 0 | 1): InsnRow =>
  row(
    `${sign}addlv`,
    `0 q ${u} 01110 size 11000 00011 10 rn rd`,
    ['vd', 'vn'],
    (t, i) => {
      const size = sizeOf(i);
      const wide = wider(size);
      const whole = laneCount(wide, 1);
      let value = addPairs(sign, used(t, i, t.v(i.rn)), t, size);
      for (let step = whole >> 1; step >= 1; step >>= 1) {
        const numbers = Array.from({ length: whole }, (_, n) => (n + step) % whole);
        value = apply(t, 'add', wide, value, lanesOf(t, value, value, wide, numbers));
      }
      const numbers = Array.from({ length: whole }, (_, n) => (n === 0 ? 0 : whole + n));
      t.setV(i.rd, lanesOf(t, value, zero(t), wide, numbers));
    },
    (i) => i.size < 2 || (i.size === 2 && i.q === 1),
  );

/** Forms for one lane of 64 bits of what rows for vectors do. */
const scalarNames = new Set(
  'add sub cmgt cmge cmhi cmhs cmtst cmeq sshl ushl srshl urshl sqadd uqadd sqsub uqsub sqshl uqshl sqrshl uqrshl cmgt0 cmge0 cmeq0 cmle0 cmlt0 abs neg sqabs sqneg sshr ushr ssra usra srshr urshr srsra ursra shl sli sri'.split(
    ' ',
  ),
);
const scalars = [...simdRows, ...simdMoveRows].flatMap((vector): InsnRow[] => {
  const { name, enc } = vector;
  if (!scalarNames.has(name)) return [];
  const isShift = enc.includes('011110 uimm');
  const scalar = enc
    .replace(/^0 q ([01]) 01110 size/, '01 $1 11110 11')
    .replace(/^0 q ([01]) 011110 uimm\[6:0\]/, '01 $1 111110 1 uimm[5:0]');
  if (scalar === enc) return [];
  return [
    {
      ...vector,
      enc: scalar,
      args: vector.args.map((operand) => operand.replace(/^v/, 'd')),
      where: () => true,
      translate: (t, i) => vector.translate(t, { ...i, q: 0, size: 3, imm: isShift ? i.imm | 64 : i.imm }),
    },
  ];
});

// --- moves of numbers, and what works on their signs alone

/** Type bits of single and double, and the lowest 64 bits that a number has. */
const formats = [
  { letter: 's', type: '00', size: 2 as Size, mask: 0xffffffffn, sign: 1n << 31n, sf: 0 },
  { letter: 'd', type: '01', size: 3 as Size, mask: (1n << 64n) - 1n, sign: 1n << 63n, sf: 1 },
] as const;
/** VFPExpandImm (J1): sign, three bits of exponent, four of fraction. */
function expandNumber(imm: number, exponentBits: number, fractionBits: number): bigint {
  const sign = BigInt(imm >> 7);
  const top = (imm >> 6) & 1;
  const exponent =
    (BigInt(top ^ 1) << BigInt(exponentBits - 1)) |
    ((top ? (1n << BigInt(exponentBits - 3)) - 1n : 0n) << 2n) |
    BigInt((imm >> 4) & 3);
  return (
    (sign << BigInt(exponentBits + fractionBits)) |
    (exponent << BigInt(fractionBits)) |
    (BigInt(imm & 15) << BigInt(fractionBits - 4))
  );
}
const numberMoves = formats.flatMap(({ letter, type, mask, sign, sf }): InsnRow[] => {
  const bits = (t: Translator, n: number) => t.b.i64_and(t.b.i64x2_extract_lane(t.v(n), 0), t.b.i64(mask));
  const set = (t: Translator, n: number, value: ReturnType<typeof bits>) =>
    t.setV(n, t.b.i64x2_replace_lane(zero(t), value, 0));
  const general = sf ? 'x' : 'w';
  const [number, other] = [`${letter}d`, `${letter}n`];
  return [
    row('fmov', `00011110 ${type} 1 000000 10000 rn rd`, [number, other], (t, i) => set(t, i.rd, bits(t, i.rn))),
    row('fabs', `00011110 ${type} 1 000001 10000 rn rd`, [number, other], (t, i) =>
      set(t, i.rd, t.b.i64_and(bits(t, i.rn), t.b.i64(mask & ~sign))),
    ),
    row('fneg', `00011110 ${type} 1 000010 10000 rn rd`, [number, other], (t, i) =>
      set(t, i.rd, t.b.i64_xor(bits(t, i.rn), t.b.i64(sign))),
    ),
    row('fmov', `${sf} 0011110 ${type} 100 110 000000 rn rd`, [`${general}d`, other], (t, i) =>
      t.setX(i.rd, bits(t, i.rn)),
    ),
    row('fmov', `${sf} 0011110 ${type} 100 111 000000 rn rd`, [number, `${general}n`], (t, i) =>
      set(t, i.rd, t.b.i64_and(t.x(i.rn), t.b.i64(mask))),
    ),
    row('fmov', `00011110 ${type} 1 uimm[7:0] 100 00000 rd`, [number, 'imm'], (t, i) =>
      set(t, i.rd, t.b.i64(sf ? expandNumber(i.imm, 11, 52) : expandNumber(i.imm, 8, 23))),
    ),
    row('fcsel', `00011110 ${type} 1 rm cond 11 rn rd`, [number, other, `${letter}m`, 'cond'], (t, i) =>
      set(t, i.rd, t.b.select(t.flags.condition(i.cond), bits(t, i.rn), bits(t, i.rm))),
    ),
    row(
      'fabs',
      `0 q 0 01110 1 ${sf} 10000 01111 10 rn rd`,
      ['vd', 'vn'],
      (t, i) => setVector(t, i, (sf ? t.b.f64x2_abs : t.b.f32x4_abs).call(t.b, t.v(i.rn))),
      (i) => !sf || i.q === 1,
    ),
    row(
      'fneg',
      `0 q 1 01110 1 ${sf} 10000 01111 10 rn rd`,
      ['vd', 'vn'],
      (t, i) => setVector(t, i, (sf ? t.b.f64x2_neg : t.b.f32x4_neg).call(t.b, t.v(i.rn))),
      (i) => !sf || i.q === 1,
    ),
    row(
      'fmov',
      `0 q ${sf} 0111100000 uimm[7:5] 1111 01 uimm[4:0] rd`,
      ['vd', 'imm'],
      (t, i) => {
        const value = sf ? expandNumber(i.imm, 11, 52) : expandNumber(i.imm, 8, 23) * 0x100000001n;
        setVector(t, i, t.b.i64x2_splat(t.b.i64(value)));
      },
      (i) => !sf || i.q === 1,
    ),
  ];
});

export const simdLongRows: readonly InsnRow[] = [
  ...long('addl', '0000', both('add')),
  ...long('addw', '0001', one('add')),
  ...long('subl', '0010', both('sub')),
  ...long('subw', '0011', one('sub')),
  ...long('abal', '0101', accumulate('add', far)),
  ...long('abdl', '0111', far),
  ...long('mlal', '1000', accumulate('add', multiply)),
  ...long('mlsl', '1010', accumulate('sub', multiply)),
  ...long('mull', '1100', multiply),
  highHalf('add', 0, '0100'),
  highHalf('add', 1, '0100'),
  highHalf('sub', 0, '0110'),
  highHalf('sub', 1, '0110'),
  saturatingNarrow('sqxtn', 0, '10100', lanes.sqxtn),
  saturatingNarrow('uqxtn', 1, '10100', lanes.uqxtn),
  saturatingNarrow('sqxtun', 1, '10010', lanes.sqxtun),
  row(
    'shll',
    '0 q 1 01110 size 10000 10011 10 rn rd',
    ['vd', 'vn'],
    (t, i) => {
      const wide = wider(sizeOf(i));
      t.setV(i.rd, apply(t, 'shl', wide, widened(t, t.v(i.rn), sizeOf(i), i.q, 'u'), t.b.i32(8 << i.size)));
    },
    upTo32,
  ),
  sumAcross('s', 0),
  sumAcross('u', 1),
  row('addp', '01 0 11110 11 11000 11011 10 rn rd', ['dd', 'vn'], (t, i) => {
    const x = t.v(i.rn);
    const sum = t.b.i64_add(t.b.i64x2_extract_lane(x, 0), t.b.i64x2_extract_lane(x, 1));
    t.setV(i.rd, t.b.i64x2_replace_lane(zero(t), sum, 0));
  }),
  row('fmov', '1 0011110 10 101 110 000000 rn rd', ['xd', 'vn'], (t, i) =>
    t.setX(i.rd, t.b.i64x2_extract_lane(t.v(i.rn), 1)),
  ),
  row('fmov', '1 0011110 10 101 111 000000 rn rd', ['vd', 'xn'], (t, i) =>
    t.setV(i.rd, t.b.i64x2_replace_lane(t.v(i.rd), t.x(i.rn), 1)),
  ),
  ...signs.flatMap((sign, n) => {
    const u = n as 0 | 1;
    const multiplied = (t: Translator, i: Fields, x: V128, y: V128, size: Size) => product(t, x, y, size, i.q, sign);
    const added = (name: 'add' | 'sub') => (t: Translator, i: Fields, x: V128, y: V128, size: Size) =>
      apply(t, name, wider(size), t.v(i.rd), multiplied(t, i, x, y, size));
    return [
      longByElement(`${sign}mull`, u, '1010', multiplied),
      longByElement(`${sign}mlal`, u, '0010', added('add')),
      longByElement(`${sign}mlsl`, u, '0110', added('sub')),
    ];
  }),
  ...scalars,
  ...numberMoves,
];
