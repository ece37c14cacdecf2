/** FEAT_FlagM and FEAT_FlagM2: the flags themselves (C6.2: CFINV, RMIF, SETF8, SETF16, AXFLAG, XAFLAG). */
import type { I32 } from '../../../ir/index.js';
import { type InsnRow, needing, type Translator } from '../row.js';

const [N, Z, C, V] = [31, 30, 29, 28];
const isSet = ({ b }: Translator, bits: I32, place: number): I32 =>
  b.i32_and(b.i32_shr_u(bits, b.i32(place)), b.i32(1));
const placed = ({ b }: Translator, bit: I32, place: number): I32 => b.i32_shl(bit, b.i32(place));

const setFrom = (name: string, size: string, width: number): InsnRow => ({
  name,
  enc: `00111010000000000 ${size} 0010 rn 01101`,
  args: ['wn'],
  translate: (t, i) => {
    const { b } = t;
    const value = b.i32_wrap_i64(t.x(i.rn));
    const low = b.i32_and(value, b.i32(2 ** width - 1));
    const sign = b.i32_and(b.i32_shr_u(value, b.i32(width - 1)), b.i32(1));
    const above = b.i32_and(b.i32_shr_u(value, b.i32(width)), b.i32(1));
    const carry = b.i32_and(t.flags.bits(), b.i32(1 << C));
    const nz = b.i32_or(placed(t, sign, N), placed(t, b.i32_eqz(low), Z));
    t.flags.setBits(b.i32_or(b.i32_or(nz, carry), placed(t, b.i32_xor(above, sign), V)));
  },
});
const convert = (name: string, op2: string, make: (t: Translator, bits: I32) => I32): InsnRow => ({
  name,
  enc: `11010101000000000100 0000 ${op2} 11111`,
  args: [],
  translate: (t) => t.flags.setBits(make(t, t.flags.bits())),
});

const second: readonly InsnRow[] = [
  convert('xaflag', '001', (t, bits) => {
    const { b } = t;
    const [z, c] = [isSet(t, bits, Z), isSet(t, bits, C)];
    const [noZ, noC] = [b.i32_eqz(z), b.i32_eqz(c)];
    const nz = b.i32_or(placed(t, b.i32_and(noC, noZ), N), placed(t, b.i32_and(z, c), Z));
    return b.i32_or(b.i32_or(nz, placed(t, b.i32_or(c, z), C)), placed(t, b.i32_and(noC, z), V));
  }),
  convert('axflag', '010', (t, bits) => {
    const { b } = t;
    const [z, c, v] = [isSet(t, bits, Z), isSet(t, bits, C), isSet(t, bits, V)];
    return b.i32_or(placed(t, b.i32_or(z, v), Z), placed(t, b.i32_and(c, b.i32_eqz(v)), C));
  }),
];
const first: readonly InsnRow[] = [
  convert('cfinv', '000', ({ b }, bits) => b.i32_xor(bits, b.i32(1 << C))),
  setFrom('setf8', '0', 8),
  setFrom('setf16', '1', 16),
  {
    name: 'rmif',
    enc: '10111010000 uimm[5:0] 00001 rn 0 imm2[3:0]',
    args: ['xn', 'imm', 'imm2'],
    translate: (t, i) => {
      const { b } = t;
      const rotated = b.i32_shl(b.i32_wrap_i64(b.i64_rotr(t.x(i.rn), b.i64(i.imm))), b.i32(28));
      const chosen = i.imm2 << 28;
      const kept = b.i32_and(t.flags.bits(), b.i32(~chosen & 0xf0000000));
      t.flags.setBits(b.i32_or(kept, b.i32_and(rotated, b.i32(chosen))));
    },
  },
];
export const flagRows: readonly InsnRow[] = [...needing('flagm', first), ...needing('flagm2', second)];
