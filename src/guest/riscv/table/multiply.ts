/** M: multiplication and division (unprivileged specification ch. 13). */
import type { I32, I64 } from '../../../ir/index.js';
import { engine } from '../routines/set.js';
import type { InsnRow, Translator } from '../row.js';
import { low } from './shared.js';

type Binary = (t: Translator, a: I64, b: I64) => I64;

const row = (name: string, funct3: string, opcode: string, operation: Binary): InsnRow => ({
  name,
  enc: `0000001 rs2 rs1 ${funct3} rd ${opcode}`,
  args: 'rd, rs1, rs2',
  translate: (t, i) => t.setX(i.rd, operation(t, t.x(i.rs1), t.x(i.rs2))),
});

/**
 * Division by 0 gives all ones and the dividend as the remainder; the most negative number by -1 itself and 0. The IR's
 * division has neither case: the divisor is replaced there, and the remainder of division by 1 is right for -1.
 */
function divide(t: Translator, x: I64, y: I64, signed: boolean, remainder: boolean): I64 {
  const { b } = t;
  const zero = b.i64_eqz(y);
  const overflow: I32 = b.i32_and(b.i64_eq(y, b.i64(-1)), b.i64_eq(x, b.i64(1n << 63n)));
  const special = signed ? b.i32_or(zero, overflow) : zero;
  const divisor = b.select(special, b.i64(1), y);
  if (remainder) {
    const rest = signed ? b.i64_rem_s(x, divisor) : b.i64_rem_u(x, divisor);
    return b.select(zero, x, rest);
  }
  const quotient = signed ? b.i64_div_s(x, divisor) : b.i64_div_u(x, divisor);
  return b.select(zero, b.i64(-1), quotient);
}

/** On the low words, extended to 64 bits, where nothing overflows. */
function divideWord(t: Translator, x: I64, y: I64, signed: boolean, remainder: boolean): I64 {
  const { b } = t;
  const extend = (value: I64) => (signed ? b.i64_extend32_s(value) : low(t, value));
  return b.i64_extend32_s(divide(t, extend(x), extend(y), signed, remainder));
}

const OP = '0110011';
const OP_32 = '0111011';

export const multiplyRows: readonly InsnRow[] = [
  row('mul', '000', OP, ({ b }, x, y) => b.i64_mul(x, y)),
  row('mulh', '001', OP, ({ b }, x, y) => b.call(engine.mulHighS, x, y)[0]),
  row('mulhsu', '010', OP, ({ b }, x, y) => {
    const [high] = b.call(engine.mulHighU, x, y);
    return b.i64_sub(high, b.i64_and(b.i64_shr_s(x, b.i64(63)), y));
  }),
  row('mulhu', '011', OP, ({ b }, x, y) => b.call(engine.mulHighU, x, y)[0]),
  row('div', '100', OP, (t, x, y) => divide(t, x, y, true, false)),
  row('divu', '101', OP, (t, x, y) => divide(t, x, y, false, false)),
  row('rem', '110', OP, (t, x, y) => divide(t, x, y, true, true)),
  row('remu', '111', OP, (t, x, y) => divide(t, x, y, false, true)),
  row('mulw', '000', OP_32, ({ b }, x, y) => b.i64_extend32_s(b.i64_mul(x, y))),
  row('divw', '100', OP_32, (t, x, y) => divideWord(t, x, y, true, false)),
  row('divuw', '101', OP_32, (t, x, y) => divideWord(t, x, y, false, false)),
  row('remw', '110', OP_32, (t, x, y) => divideWord(t, x, y, true, true)),
  row('remuw', '111', OP_32, (t, x, y) => divideWord(t, x, y, false, true)),
];
