/** Advanced SIMD: operations with one lane of a vector (C4.1.95, vector x indexed element). */
import type { V128 } from '../../../ir/index.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { laneCount, lanesOf, row, type Size, saturates, setVector, sizeOf, used } from './vector.js';
import { doublingHigh } from './vector-operations.js';

/** M:Rm is `imm`, H:L are bits 2 and 1 of `imm2`. Lanes of 16 bits lie in V0 to V15: M is the number's last bit. */
export function element(t: Translator, i: Fields, size: Size): V128 {
  const [register, lane] =
    size === 1 ? [i.imm & 15, (i.imm2 & 6) | (i.imm >> 4)] : size === 2 ? [i.imm, i.imm2 >> 1] : [i.imm, i.imm2 >> 2];
  const x = t.v(register);
  return lanesOf(t, x, x, size, Array(laneCount(size, 1)).fill(lane));
}
/** `form`: the bits before the size, of vectors or scalars. */
export const elementEnc = (form: string, size: string, opcode: string): string =>
  `${form} ${size} imm2[1] uimm[4:0] ${opcode} imm2[2] 0 rn rd`;

export type ElementOperation = (t: Translator, i: Fields, x: V128, y: V128, size: Size) => V128;
/** Of integers with 16 or 32 bits. */
export const byElement = (name: string, u: 0 | 1, opcode: string, operation: ElementOperation): InsnRow =>
  row(
    name,
    elementEnc(`0 q ${u} 01111`, 'size', opcode),
    ['vd', 'vn', 'imm', 'imm2'],
    (t, i) => {
      const x = saturates(name) ? used(t, i, t.v(i.rn)) : t.v(i.rn);
      setVector(t, i, operation(t, i, x, element(t, i, sizeOf(i)), sizeOf(i)));
    },
    (i) => i.size === 1 || i.size === 2,
  );
/** Of widened integers: all of the register is written. */
export const longByElement = (name: string, u: 0 | 1, opcode: string, operation: ElementOperation): InsnRow => ({
  ...byElement(name, u, opcode, operation),
  translate: (t, i) => t.setV(i.rd, operation(t, i, t.v(i.rn), element(t, i, sizeOf(i)), sizeOf(i))),
});
const product = ({ b }: Translator, x: V128, y: V128, size: Size): V128 =>
  (size === 1 ? b.i16x8_mul : b.i32x4_mul).call(b, x, y);
const sum = (t: Translator, i: Fields, x: V128, size: Size, subtract: boolean): V128 => {
  const { b } = t;
  const d = t.v(i.rd);
  if (subtract) return (size === 1 ? b.i16x8_sub : b.i32x4_sub).call(b, d, x);
  return (size === 1 ? b.i16x8_add : b.i32x4_add).call(b, d, x);
};

export const simdElementRows: readonly InsnRow[] = [
  byElement('mul', 0, '1000', (t, _, x, y, size) => product(t, x, y, size)),
  byElement('mla', 1, '0000', (t, i, x, y, size) => sum(t, i, product(t, x, y, size), size, false)),
  byElement('mls', 1, '0100', (t, i, x, y, size) => sum(t, i, product(t, x, y, size), size, true)),
  byElement('sqdmulh', 0, '1100', (t, i, x, y, size) => doublingHigh(false)(t, x, used(t, i, y), size)),
  byElement('sqrdmulh', 0, '1101', (t, i, x, y, size) => doublingHigh(true)(t, x, used(t, i, y), size)),
];
