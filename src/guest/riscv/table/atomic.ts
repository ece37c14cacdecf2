/**
 * A: atomic instructions (unprivileged specification ch. 14).
 *
 * The reservation is the address that LR loaded from and the value found there: SC succeeds at the same address while that
 * value is in memory, as in QEMU. An SC that fails stores what memory holds already, so that it faults as one that succeeds.
 */
import { access, type I64 } from '../../../ir/index.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { cause, field } from '../state.js';
import { type Bytes, loadValue, storeValue } from './shared.js';

const UPDATE = access.forWrite | access.locked;

/** The address, which must be a multiple of the size. */
function aligned(t: Translator, i: Fields, bytes: Bytes, code: number): I64 {
  const { b } = t;
  const address = t.x(i.rs1);
  const below = b.i64_and(address, b.i64(bytes - 1));
  t.trapIf(b.i32_eqz(b.i64_eqz(below)), code, address);
  return address;
}

type Update = (t: Translator, old: I64, operand: I64) => I64;

function amo(name: string, funct5: string, update: Update): InsnRow[] {
  return ([4, 8] as const).map((bytes) => ({
    name: `${name}.${bytes === 4 ? 'w' : 'd'}`,
    enc: `${funct5} aq rl rs2 rs1 ${bytes === 4 ? '010' : '011'} rd 0101111`,
    args: 'rd, rs2, (rs1)',
    bytes,
    translate: (t, i) => {
      const address = aligned(t, i, bytes, cause.storeMisaligned);
      const old = loadValue(t, address, bytes, true, UPDATE);
      const source = t.x(i.rs2);
      const operand = bytes === 4 ? t.b.i64_extend32_s(source) : source;
      storeValue(t, address, bytes, update(t, old, operand), access.locked);
      t.setX(i.rd, old);
    },
  }));
}

function reserve(name: string, funct3: string, bytes: 4 | 8): InsnRow {
  return {
    name,
    enc: `00010 aq rl 00000 rs1 ${funct3} rd 0101111`,
    args: 'rd, (rs1)',
    bytes,
    translate: (t, i) => {
      const { b } = t;
      const address = aligned(t, i, bytes, cause.loadMisaligned);
      const value = loadValue(t, address, bytes, true);
      b.i64_store(b.state(), address, field.reservation);
      b.i64_store(b.state(), value, field.reservedValue);
      t.setX(i.rd, value);
    },
  };
}

function storeConditional(name: string, funct3: string, bytes: 4 | 8): InsnRow {
  return {
    name,
    enc: `00011 aq rl rs2 rs1 ${funct3} rd 0101111`,
    args: 'rd, rs2, (rs1)',
    bytes,
    translate: (t, i) => {
      const { b } = t;
      const address = aligned(t, i, bytes, cause.storeMisaligned);
      const now = loadValue(t, address, bytes, true, UPDATE);
      const held = b.i32_and(
        b.i64_eq(address, b.i64_load(b.state(), field.reservation)),
        b.i64_eq(now, b.i64_load(b.state(), field.reservedValue)),
      );
      storeValue(t, address, bytes, b.select(held, t.x(i.rs2), now), access.locked);
      b.i64_store(b.state(), b.i64(-1), field.reservation);
      t.setX(i.rd, b.i64_extend_i32_u(b.i32_eqz(held)));
    },
  };
}

/** Sign extension keeps the order of unsigned words: both sizes compare all 64 bits. */
const unsignedChoice = (name: string, funct5: string, greater: boolean): InsnRow[] =>
  amo(name, funct5, ({ b }, x, y) => b.select(greater ? b.i64_gt_u(x, y) : b.i64_lt_u(x, y), x, y));

export const atomicRows: readonly InsnRow[] = [
  reserve('lr.w', '010', 4),
  reserve('lr.d', '011', 8),
  storeConditional('sc.w', '010', 4),
  storeConditional('sc.d', '011', 8),
  ...amo('amoswap', '00001', (_, __, y) => y),
  ...amo('amoadd', '00000', ({ b }, x, y) => b.i64_add(x, y)),
  ...amo('amoxor', '00100', ({ b }, x, y) => b.i64_xor(x, y)),
  ...amo('amoand', '01100', ({ b }, x, y) => b.i64_and(x, y)),
  ...amo('amoor', '01000', ({ b }, x, y) => b.i64_or(x, y)),
  ...amo('amomin', '10000', ({ b }, x, y) => b.select(b.i64_lt_s(x, y), x, y)),
  ...amo('amomax', '10100', ({ b }, x, y) => b.select(b.i64_gt_s(x, y), x, y)),
  ...unsignedChoice('amominu', '11000', false),
  ...unsignedChoice('amomaxu', '11100', true),
];
