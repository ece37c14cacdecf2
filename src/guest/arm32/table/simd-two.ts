/** Advanced SIMD: integers, two registers (A7.4.5, "two registers, miscellaneous"). */
import type { V128 } from '../../../ir/index.js';
import { lanes } from '../../arm/routines/lanes.js';
import { apply, lanesOf, native, nativeUnary, type Unary, unaryByLanes } from '../../arm/table/vector.js';
import {
  addPairs,
  type Narrowing,
  narrow,
  narrowSaturated,
  type Permutation,
  permutationNumbers,
  reversed,
  swapped,
  widened,
  wider,
  withZero,
} from '../../arm/table/vector-operations.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import {
  bytesOnly,
  exact,
  fixedType,
  operand,
  pure,
  set,
  setD,
  signs,
  simd,
  sizeOf,
  two,
  typed,
  upTo32,
} from './simd-format.js';

type Bit = 0 | 1;
const TWO = ['xd', 'xm'];
const unary = (
  name: string,
  letter: string,
  opc1: string,
  opc2: string,
  operation: Unary,
  rest: Partial<InsnRow> = {},
  read = operand,
): InsnRow[] =>
  simd(
    name,
    two('size', opc1, `${opc2} q`),
    TWO,
    (t, i) => set(t, i.q, i.rd, operation(t, read(t, i.q, i.rm), sizeOf(i))),
    { type: typed(letter), where: upTo32, ...(read === operand && pure), ...rest },
  );
/** `.8` and the like. */
const untyped = (i: Fields): string => `.${8 << i.size}`;

const longPairs = (name: string, opc2: string, accumulates: boolean): InsnRow[] =>
  signs.flatMap((sign, u) =>
    simd(
      name,
      two('size', '00', `${opc2}${u} q`),
      TWO,
      (t, i) => {
        const sums = addPairs(sign, operand(t, i.q, i.rm), t, sizeOf(i));
        const value = accumulates ? apply(t, 'add', wider(sizeOf(i)), operand(t, i.q, i.rd), sums) : sums;
        set(t, i.q, i.rd, value);
      },
      { type: typed(sign), where: upTo32, ...pure },
    ),
  );
const againstZero = (name: string, opc2: string, letter: string, operation: Unary): InsnRow[] =>
  simd(
    name,
    two('size', '01', `${opc2} q`),
    ['xd', 'xm', '#0'],
    (t, i) => set(t, i.q, i.rd, operation(t, operand(t, i.q, i.rm), sizeOf(i))),
    { type: typed(letter), where: upTo32, ...pure },
  );

/** Both registers are written, the second one last. */
function setBoth(t: Translator, i: Fields, make: (d: V128, m: V128) => [V128, V128]): void {
  const [d, m] = make(operand(t, i.q, i.rd), operand(t, i.q, i.rm));
  set(t, i.q, i.rd, d);
  set(t, i.q, i.rm, m);
}
const permute = (name: Permutation, opc2: string): InsnRow[] =>
  simd(
    `v${name}`,
    two('size', '10', `${opc2} q`),
    TWO,
    (t, i) =>
      setBoth(t, i, (d, m) => {
        const part = (n: Bit) => lanesOf(t, d, m, sizeOf(i), permutationNumbers(name, n, sizeOf(i), i.q));
        return [part(0), part(1)];
      }),
    // Two D registers with lanes of 32 bits are what VTRN does.
    { type: untyped, where: (i) => i.size < 3 && (name === 'trn' || i.q === 1 || i.size < 2), ...pure },
  );

const narrowing = (name: string, letter: string, opc2: string, kind: Narrowing | undefined): InsnRow[] =>
  simd(
    name,
    two('size', '10', opc2),
    ['dd', 'qm'],
    (t, i) => {
      const x = t.v(i.rm >> 1);
      setD(t, i.rd, kind ? narrowSaturated(t, x, sizeOf(i), kind) : narrow(t, x, sizeOf(i)));
    },
    { type: (i) => `.${letter}${16 << i.size}`, where: upTo32, ...(!kind && pure) },
  );

export const simdTwoRows: readonly InsnRow[] = [
  ...unary('vrev64', '', '00', '0000', reversed(8)),
  ...unary('vrev32', '', '00', '0001', reversed(4), { where: (i) => i.size < 2 }),
  ...unary('vrev16', '', '00', '0010', reversed(2), { where: bytesOnly }),
  ...longPairs('vpaddl', '010', false),
  ...unary('vcls', 's', '00', '1000', unaryByLanes(lanes.cls)),
  ...unary('vclz', 'i', '00', '1001', unaryByLanes(lanes.clz)),
  ...unary('vcnt', '', '00', '1010', nativeUnary('popcnt'), { where: bytesOnly }),
  ...unary('vmvn', '', '00', '1011', ({ b }, x) => b.v128_not(x), { where: bytesOnly, type: fixedType('') }),
  ...longPairs('vpadal', '110', true),
  ...unary('vqabs', 's', '00', '1110', unaryByLanes(lanes.sqabs), {}, exact),
  ...unary('vqneg', 's', '00', '1111', unaryByLanes(lanes.sqneg), {}, exact),
  ...againstZero('vcgt', '0000', 's', withZero(native('gt_s'))),
  ...againstZero('vcge', '0001', 's', withZero(native('ge_s'))),
  ...againstZero('vceq', '0010', 'i', withZero(native('eq'))),
  ...againstZero('vcle', '0011', 's', withZero(swapped(native('ge_s')))),
  ...againstZero('vclt', '0100', 's', withZero(swapped(native('gt_s')))),
  ...unary('vabs', 's', '01', '0110', nativeUnary('abs')),
  ...unary('vneg', 's', '01', '0111', nativeUnary('neg')),
  ...simd('vswp', two('00', '10', '0000 q'), TWO, (t, i) => setBoth(t, i, (d, m) => [m, d]), pure),
  ...permute('trn', '0001'),
  ...permute('uzp', '0010'),
  ...permute('zip', '0011'),
  ...narrowing('vmovn', 'i', '0100 0', undefined),
  ...narrowing('vqmovun', 's', '0100 1', 'sqxtun'),
  ...narrowing('vqmovn', 's', '0101 0', 'sqxtn'),
  ...narrowing('vqmovn', 'u', '0101 1', 'uqxtn'),
  ...simd(
    'vshll',
    two('size', '10', '0110 0'),
    ['qd', 'dm', 'size'],
    (t, i) => {
      const size = sizeOf(i);
      const x = widened(t, t.v(i.rm >> 1), size, i.rm & 1, 'u');
      set(t, 1, i.rd, apply(t, 'shl', wider(size), x, t.b.i32(8 << size)));
    },
    { type: typed('i'), where: upTo32, ...pure },
  ),
];
