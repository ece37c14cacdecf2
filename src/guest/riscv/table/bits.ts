/** Zba, Zbb, Zbc, Zbs: bit manipulation (unprivileged specification ch. 29), and Zicond (ch. 12). */
import type { I64 } from '../../../ir/index.js';
import type { Extension } from '../models.js';
import { carrylessMultiply } from '../routines/carryless.js';
import type { InsnRow, Translator } from '../row.js';
import { low, word } from './shared.js';

type Unary = (t: Translator, a: I64) => I64;
type Binary = (t: Translator, a: I64, b: I64) => I64;

const OP = '0110011';
const OP_32 = '0111011';

const two = (name: string, funct7: string, funct3: string, opcode: string, operation: Binary): InsnRow => ({
  name,
  enc: `${funct7} rs2 rs1 ${funct3} rd ${opcode}`,
  args: 'rd, rs1, rs2',
  translate: (t, i) => t.setX(i.rd, operation(t, t.x(i.rs1), t.x(i.rs2))),
});
const one = (name: string, funct12: string, funct3: string, opcode: string, operation: Unary): InsnRow => ({
  name,
  enc: `${funct12} rs1 ${funct3} rd ${opcode}`,
  args: 'rd, rs1',
  translate: (t, i) => t.setX(i.rd, operation(t, t.x(i.rs1))),
});
const withImmediate = (name: string, enc: string, operation: Binary): InsnRow => ({
  name,
  enc,
  args: 'rd, rs1, imm',
  translate: (t, i) => t.setX(i.rd, operation(t, t.x(i.rs1), t.b.i64(i.imm))),
});

const shiftAdd =
  (places: number): Binary =>
  ({ b }, x, y) =>
    b.i64_add(b.i64_shl(x, b.i64(places)), y);
const shiftAddWord =
  (places: number): Binary =>
  (t, x, y) =>
    t.b.i64_add(t.b.i64_shl(low(t, x), t.b.i64(places)), y);
const bit = ({ b }: Translator, n: I64): I64 => b.i64_shl(b.i64(1), n);
const not = ({ b }: Translator, value: I64): I64 => b.i64_xor(value, b.i64(-1));

const bclr: Binary = (t, x, n) => t.b.i64_and(x, not(t, bit(t, n)));
const bext: Binary = ({ b }, x, n) => b.i64_and(b.i64_shr_u(x, n), b.i64(1));
const binv: Binary = (t, x, n) => t.b.i64_xor(x, bit(t, n));
const bset: Binary = (t, x, n) => t.b.i64_or(x, bit(t, n));
const ror: Binary = ({ b }, x, n) => b.i64_rotr(x, n);
const rorw: Binary = (t, x, n) => word(t, x, t.b.i32_wrap_i64(n), t.b.i32_rotr);

/** Bytes swapped: halves, then 16-bit units, then bytes. */
const rev8: Unary = ({ b }, x) => {
  const swap = (value: I64, places: number, mask: bigint) =>
    b.i64_or(
      b.i64_and(b.i64_shr_u(value, b.i64(places)), b.i64(mask)),
      b.i64_shl(b.i64_and(value, b.i64(mask)), b.i64(places)),
    );
  return b.i64_rotl(swap(swap(x, 8, 0x00ff00ff00ff00ffn), 16, 0x0000ffff0000ffffn), b.i64(32));
};
/** Each byte that is not 0 becomes 0xff. Bit 7 of a byte of `some`: it is not 0. */
const orcb: Unary = ({ b }, x) => {
  const seven = b.i64(0x7f7f7f7f7f7f7f7fn);
  const carried = b.i64_add(b.i64_and(x, seven), seven);
  const some = b.i64_and(b.i64_or(carried, x), b.i64(0x8080808080808080n));
  return b.i64_mul(b.i64_shr_u(some, b.i64(7)), b.i64(0xff));
};

const of = (extension: Extension, rows: readonly InsnRow[]): InsnRow[] => rows.map((row) => ({ ...row, extension }));

export const bitRows: readonly InsnRow[] = [
  ...of('zba', [
    two('sh1add', '0010000', '010', OP, shiftAdd(1)),
    two('sh2add', '0010000', '100', OP, shiftAdd(2)),
    two('sh3add', '0010000', '110', OP, shiftAdd(3)),
    two('add.uw', '0000100', '000', OP_32, shiftAddWord(0)),
    two('sh1add.uw', '0010000', '010', OP_32, shiftAddWord(1)),
    two('sh2add.uw', '0010000', '100', OP_32, shiftAddWord(2)),
    two('sh3add.uw', '0010000', '110', OP_32, shiftAddWord(3)),
    withImmediate('slli.uw', '000010 shamt[5:0] rs1 001 rd 0011011', (t, x, n) => t.b.i64_shl(low(t, x), n)),
  ]),
  ...of('zbb', [
    two('andn', '0100000', '111', OP, (t, x, y) => t.b.i64_and(x, not(t, y))),
    two('orn', '0100000', '110', OP, (t, x, y) => t.b.i64_or(x, not(t, y))),
    two('xnor', '0100000', '100', OP, (t, x, y) => not(t, t.b.i64_xor(x, y))),
    one('clz', '011000000000', '001', '0010011', ({ b }, x) => b.i64_clz(x)),
    one('ctz', '011000000001', '001', '0010011', ({ b }, x) => b.i64_ctz(x)),
    one('cpop', '011000000010', '001', '0010011', ({ b }, x) => b.i64_popcnt(x)),
    one('clzw', '011000000000', '001', '0011011', ({ b }, x) => b.i64_extend_i32_u(b.i32_clz(b.i32_wrap_i64(x)))),
    one('ctzw', '011000000001', '001', '0011011', ({ b }, x) => b.i64_extend_i32_u(b.i32_ctz(b.i32_wrap_i64(x)))),
    one('cpopw', '011000000010', '001', '0011011', (t, x) => t.b.i64_popcnt(low(t, x))),
    two('max', '0000101', '110', OP, ({ b }, x, y) => b.select(b.i64_gt_s(x, y), x, y)),
    two('maxu', '0000101', '111', OP, ({ b }, x, y) => b.select(b.i64_gt_u(x, y), x, y)),
    two('min', '0000101', '100', OP, ({ b }, x, y) => b.select(b.i64_lt_s(x, y), x, y)),
    two('minu', '0000101', '101', OP, ({ b }, x, y) => b.select(b.i64_lt_u(x, y), x, y)),
    one('sext.b', '011000000100', '001', '0010011', ({ b }, x) => b.i64_extend8_s(x)),
    one('sext.h', '011000000101', '001', '0010011', ({ b }, x) => b.i64_extend16_s(x)),
    one('zext.h', '000010000000', '100', OP_32, ({ b }, x) => b.i64_and(x, b.i64(0xffff))),
    two('rol', '0110000', '001', OP, ({ b }, x, n) => b.i64_rotl(x, n)),
    two('rolw', '0110000', '001', OP_32, (t, x, n) => word(t, x, t.b.i32_wrap_i64(n), t.b.i32_rotl)),
    two('ror', '0110000', '101', OP, ror),
    two('rorw', '0110000', '101', OP_32, rorw),
    withImmediate('rori', '011000 shamt[5:0] rs1 101 rd 0010011', ror),
    {
      name: 'roriw',
      enc: '0110000 shamt[4:0] rs1 101 rd 0011011',
      args: 'rd, rs1, imm',
      translate: (t, i) => t.setX(i.rd, word(t, t.x(i.rs1), t.b.i32(i.imm), t.b.i32_rotr)),
    },
    one('orc.b', '001010000111', '101', '0010011', orcb),
    one('rev8', '011010111000', '101', '0010011', rev8),
  ]),
  ...of('zbs', [
    two('bclr', '0100100', '001', OP, bclr),
    two('bext', '0100100', '101', OP, bext),
    two('binv', '0110100', '001', OP, binv),
    two('bset', '0010100', '001', OP, bset),
    withImmediate('bclri', '010010 shamt[5:0] rs1 001 rd 0010011', bclr),
    withImmediate('bexti', '010010 shamt[5:0] rs1 101 rd 0010011', bext),
    withImmediate('binvi', '011010 shamt[5:0] rs1 001 rd 0010011', binv),
    withImmediate('bseti', '001010 shamt[5:0] rs1 001 rd 0010011', bset),
  ]),
  ...of('zbc', [
    two('clmul', '0000101', '001', OP, ({ b }, x, y) => b.call(carrylessMultiply, x, y)[0]),
    two('clmulh', '0000101', '011', OP, ({ b }, x, y) => b.call(carrylessMultiply, x, y)[1]),
    // Bits 63 to 126 of the product.
    two('clmulr', '0000101', '010', OP, ({ b }, x, y) => {
      const [low, high] = b.call(carrylessMultiply, x, y);
      return b.i64_or(b.i64_shl(high, b.i64(1)), b.i64_shr_u(low, b.i64(63)));
    }),
  ]),
  ...of('zicond', [
    two('czero.eqz', '0000111', '101', OP, ({ b }, x, y) => b.select(b.i64_eqz(y), b.i64(0), x)),
    two('czero.nez', '0000111', '111', OP, ({ b }, x, y) => b.select(b.i64_eqz(y), x, b.i64(0))),
  ]),
];
