/** Advanced SIMD: integers, three registers of different lengths, two registers and a scalar (A7.4.2, A7.4.3). */
import type { V128 } from '../../../ir/index.js';
import { lanes } from '../../arm/routines/lanes.js';
import { apply, byLanes, laneCount, lanesOf, type Size } from '../../arm/table/vector.js';
import {
  distance,
  doubled,
  doublingHigh,
  highHalves,
  multiply,
  product,
  type Sign,
  saturating,
  widened,
  wider,
} from '../../arm/table/vector-operations.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { doubling, exact, operand, pure, set, setD, signs, simd, sizeOf, typed, upTo32 } from './simd-format.js';

type Bit = 0 | 1;
/** `kind`: 0 with a register, 1 with a scalar. */
export const longEnc = (u: Bit | 'q', size: string, opcode: string, kind: Bit): string =>
  `${u} 1 rd[4] ${size} rn[3:0] rd[3:0] ${opcode} rn[4] ${kind} rm[4] 0 rm[3:0]`;

/** A D register's lanes, twice as wide. */
const wide = (t: Translator, n: number, size: Size, sign: Sign): V128 => widened(t, t.v(n >> 1), size, n & 1, sign);
const q = (t: Translator, n: number): V128 => t.v(n >> 1);

// --- three registers

type Long = (t: Translator, i: Fields, size: Size, sign: Sign) => V128;
const long = (name: string, opcode: string, operation: Long, args = ['qd', 'dn', 'dm']): InsnRow[] =>
  signs.flatMap((sign, u) =>
    simd(
      name,
      longEnc(u as Bit, 'size', opcode, 0),
      args,
      (t, i) => set(t, 1, i.rd, operation(t, i, sizeOf(i), sign)),
      { type: typed(sign), where: upTo32, ...pure },
    ),
  );
const both =
  (name: 'add' | 'sub'): Long =>
  (t, i, size, sign) =>
    apply(t, name, wider(size), wide(t, i.rn, size, sign), wide(t, i.rm, size, sign));
const one =
  (name: 'add' | 'sub'): Long =>
  (t, i, size, sign) =>
    apply(t, name, wider(size), q(t, i.rn), wide(t, i.rm, size, sign));
const accumulate =
  (name: 'add' | 'sub', operation: Long): Long =>
  (t, i, size, sign) =>
    apply(t, name, wider(size), q(t, i.rd), operation(t, i, size, sign));
const times: Long = (t, i, size, sign) => {
  // Both in upper halves, or both moved to lower ones.
  if ((i.rn & i.rm & 1) === 1) return product(t, q(t, i.rn), q(t, i.rm), size, 1, sign);
  return product(t, operand(t, 0, i.rn), operand(t, 0, i.rm), size, 0, sign);
};
/** The distance is never negative. */
const far: Long = (t, i, size, sign) =>
  widened(t, distance(sign)(t, operand(t, 0, i.rn), operand(t, 0, i.rm), size), size, 0, 'u');

const highHalf = (name: 'add' | 'sub', u: Bit, opcode: string): InsnRow[] =>
  simd(
    `v${u ? 'r' : ''}${name}hn`,
    longEnc(u, 'size', opcode, 0),
    ['dd', 'qn', 'qm'],
    (t, i) => {
      const value = apply(t, name, wider(sizeOf(i)), q(t, i.rn), q(t, i.rm));
      setD(t, i.rd, highHalves(t, value, sizeOf(i), u === 1));
    },
    { type: (i) => `.i${16 << i.size}`, where: upTo32, ...pure },
  );

// --- with a scalar

/** Of 16 bits: one of D0 to D7; of 32 bits: one of D0 to D15. */
export const scalarPlace = (i: Fields, size = i.size): [register: number, lane: number] =>
  size === 1 ? [i.rm & 7, i.rm >> 3] : [i.rm & 15, i.rm >> 4];
export function scalar(t: Translator, i: Fields, size = sizeOf(i)): V128 {
  const [n, lane] = scalarPlace(i, size);
  const whole = laneCount(size, 1);
  const at = lane + (n & 1) * (whole >> 1);
  return lanesOf(t, q(t, n), q(t, n), size, Array(whole).fill(at));
}
const SCALAR = ['xd', 'xn', 'dm[x]'];
type Same = (t: Translator, d: V128, x: V128, y: V128, size: Size) => V128;
const byScalar = (
  name: string,
  letter: string,
  opcode: string,
  operation: Same,
  rest: Partial<InsnRow> = pure,
): InsnRow[] =>
  simd(
    name,
    longEnc('q', 'size', opcode, 1),
    SCALAR,
    (t, i) => {
      const [d, x] = [exact(t, i.q, i.rd), exact(t, i.q, i.rn)];
      set(t, i.q, i.rd, operation(t, d, x, scalar(t, i), sizeOf(i)));
    },
    { type: typed(letter), where: doubling, ...rest },
  );
const longByScalar = (name: string, opcode: string, change?: 'add' | 'sub'): InsnRow[] =>
  signs.flatMap((sign, u) =>
    simd(
      name,
      longEnc(u as Bit, 'size', opcode, 1),
      ['qd', 'dn', 'dm[x]'],
      (t, i) => {
        const size = sizeOf(i);
        const value = product(t, q(t, i.rn), scalar(t, i), size, i.rn & 1, sign);
        set(t, 1, i.rd, change ? apply(t, change, wider(size), q(t, i.rd), value) : value);
      },
      { type: typed(sign), where: doubling, ...pure },
    ),
  );

/** Twice the product, saturated; added to the destination, or subtracted from it, which saturates too. */
const doublings = (
  [
    ['vqdmlal', '1001', '0011', saturating('add', 's')],
    ['vqdmlsl', '1011', '0111', saturating('sub', 's')],
    ['vqdmull', '1101', '1011', undefined],
  ] as const
).flatMap(([name, opcode, scalarOpcode, change]): InsnRow[] => {
  const run = (t: Translator, i: Fields, y: V128) => {
    const size = sizeOf(i);
    const value = doubled(t, operand(t, 0, i.rn), y, size, 0);
    set(t, 1, i.rd, change ? change(t, q(t, i.rd), value, wider(size)) : value);
  };
  const rest = { type: typed('s'), where: doubling };
  return [
    ...simd(name, longEnc(0, 'size', opcode, 0), ['qd', 'dn', 'dm'], (t, i) => run(t, i, operand(t, 0, i.rm)), rest),
    ...simd(name, longEnc(0, 'size', scalarOpcode, 1), ['qd', 'dn', 'dm[x]'], (t, i) => run(t, i, scalar(t, i)), rest),
  ];
});

const sum =
  (change: 'add' | 'sub'): Same =>
  (t, d, x, y, size) =>
    apply(t, change, size, d, multiply(t, x, y, size));
const highOfProduct =
  (round: boolean): Same =>
  (t, _, x, y, size) =>
    doublingHigh(round)(t, x, y, size);
const doublingSum =
  (name: 'sqrdmlah' | 'sqrdmlsh'): Same =>
  (t, d, x, y, size) =>
    t.b.call(lanes[name], x, y, d, t.b.i32(8 << size))[0];

export const simdLongRows: readonly InsnRow[] = [
  ...long('vaddl', '0000', both('add')),
  ...long('vaddw', '0001', one('add'), ['qd', 'qn', 'dm']),
  ...long('vsubl', '0010', both('sub')),
  ...long('vsubw', '0011', one('sub'), ['qd', 'qn', 'dm']),
  ...highHalf('add', 0, '0100'),
  ...highHalf('add', 1, '0100'),
  ...long('vabal', '0101', accumulate('add', far)),
  ...highHalf('sub', 0, '0110'),
  ...highHalf('sub', 1, '0110'),
  ...long('vabdl', '0111', far),
  ...long('vmlal', '1000', accumulate('add', times)),
  ...long('vmlsl', '1010', accumulate('sub', times)),
  ...long('vmull', '1100', times),
  ...doublings,
  ...simd(
    'vmull',
    longEnc(0, '00', '1110', 0),
    ['qd', 'dn', 'dm'],
    (t, i) => set(t, 1, i.rd, byLanes(lanes.pmul)(t, wide(t, i.rn, 0, 'u'), wide(t, i.rm, 0, 'u'), 1)),
    { type: () => '.p8' },
  ),
  ...byScalar('vmla', 'i', '0000', sum('add')),
  ...byScalar('vmls', 'i', '0100', sum('sub')),
  ...byScalar('vmul', 'i', '1000', (t, _, x, y, size) => multiply(t, x, y, size)),
  ...longByScalar('vmlal', '0010', 'add'),
  ...longByScalar('vmlsl', '0110', 'sub'),
  ...longByScalar('vmull', '1010'),
  ...byScalar('vqdmulh', 's', '1100', highOfProduct(false), {}),
  ...byScalar('vqrdmulh', 's', '1101', highOfProduct(true), {}),
  ...byScalar('vqrdmlah', 's', '1110', doublingSum('sqrdmlah'), { features: ['rdm'] }),
  ...byScalar('vqrdmlsh', 's', '1111', doublingSum('sqrdmlsh'), { features: ['rdm'] }),
];
