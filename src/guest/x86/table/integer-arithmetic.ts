/** Integer arithmetic and logic: Intel SDM vol. 1 sections 7.3.2 to 7.3.5, 7.3.11. */
import type { I32, I64 } from '../../../ir/index.js';
import { flagKind } from '../flags.js';
import { asciiAdjust, decimalAdjust } from '../routines/decimal.js';
import { divideSigned128, divideUnsigned128 } from '../routines/divide.js';
import { engine } from '../routines/set.js';
import type { InsnRow, OperandSize, Translator } from '../translator.js';
import {
  ALL_FLAGS,
  alu,
  aluNames,
  byteAndWord,
  hex,
  NONE,
  reg,
  sizeOf,
  TEST,
  TO_RM,
  vector,
} from './integer-helpers.js';

/** Clearing and subtracting a register by itself needs no operand. */
const clears = (op: number) => op === 5 || op === 6;

const binaryRows: InsnRow[] = aluNames.flatMap((name, op): InsnRow[] => {
  const writes = op !== 7;
  const access = writes ? 'rw' : 'r';
  const flags =
    op === 2 || op === 3
      ? { r: 'C', w: 'OSZAPC' }
      : op === 1 || op === 4 || op === 6
        ? { w: 'OSZPC', u: 'A' }
        : ALL_FLAGS;
  const common = { name, flags };
  const lockable = writes ? { lock: true as const } : {};
  return byteAndWord((byte) => {
    const v = byte ? 'b' : 'v';
    return {
      ...common,
      ...lockable,
      enc: `${hex(op * 8 + (byte ? 0 : 1))} /r`,
      args: `E${v}:${access}, G${v}:r`,
      translate(t, insn) {
        const size = sizeOf(byte, insn);
        if (clears(op) && insn.isReg && insn.reg === insn.rm) return clearRegister(t, size, insn.rm);
        alu(t, op, size, t.readRmWide(size, writes), t.readWide(size, insn.reg), TO_RM);
      },
    };
  }).concat(
    byteAndWord((byte) => {
      const v = byte ? 'b' : 'v';
      return {
        ...common,
        enc: `${hex(op * 8 + (byte ? 2 : 3))} /r`,
        args: `G${v}:${access}, E${v}:r`,
        translate(t, insn) {
          const size = sizeOf(byte, insn);
          if (clears(op) && insn.isReg && insn.reg === insn.rm) return clearRegister(t, size, insn.rm);
          const y = t.readRmWide(size);
          alu(t, op, size, t.readWide(size, insn.reg), y, insn.reg);
        },
      };
    }),
    byteAndWord((byte) => ({
      ...common,
      enc: byte ? `${hex(op * 8 + 4)} ib` : `${hex(op * 8 + 5)} iz`,
      args: byte ? `AL:${access}, Ib` : `rAX:${access}, Iz`,
      translate(t, insn) {
        const size = sizeOf(byte, insn);
        alu(t, op, size, t.readWide(size, reg.AX), t.immediate(), reg.AX);
      },
    })),
    [
      { bytes: '80', imm: 'ib', args: 'Eb', imm2: 'Ib', byte: true, mode: '' },
      { bytes: '82', imm: 'ib', args: 'Eb', imm2: 'Ib', byte: true, mode: ' I64' },
      { bytes: '81', imm: 'iz', args: 'Ev', imm2: 'Iz', byte: false, mode: '' },
      { bytes: '83', imm: 'ib', args: 'Ev', imm2: 'Ibs', byte: false, mode: '' },
    ].map(
      ({ bytes, imm, args, imm2, byte, mode }): InsnRow => ({
        ...common,
        ...lockable,
        enc: `${bytes} /${op} ${imm}${mode}`,
        args: `${args}:${access}, ${imm2}`,
        translate(t, insn) {
          const size = sizeOf(byte, insn);
          alu(t, op, size, t.readRmWide(size, writes), t.immediate(), TO_RM);
        },
      }),
    ),
  );
});

function clearRegister(t: Translator, size: OperandSize, n: number): void {
  const zero = t.wide.small(0);
  t.writeWide(size, n, zero);
  t.flags.set(flagKind.logic, size, zero);
}

const testFlags = { w: 'OSZPC', u: 'A' } as const;
const testRows: InsnRow[] = byteAndWord((byte) => ({
  name: 'TEST',
  enc: `${byte ? '84' : '85'} /r`,
  args: byte ? 'Eb:r, Gb:r' : 'Ev:r, Gv:r',
  flags: testFlags,
  translate(t, insn) {
    const size = sizeOf(byte, insn);
    const x = t.readRmWide(size);
    if (insn.isReg && insn.reg === insn.rm) t.flags.set(flagKind.logic, size, x);
    else alu(t, TEST, size, x, t.readWide(size, insn.reg), TO_RM);
  },
})).concat(
  byteAndWord((byte) => ({
    name: 'TEST',
    enc: byte ? 'A8 ib' : 'A9 iz',
    args: byte ? 'AL:r, Ib' : 'rAX:r, Iz',
    flags: testFlags,
    translate(t, insn) {
      const size = sizeOf(byte, insn);
      alu(t, TEST, size, t.readWide(size, reg.AX), t.immediate(), TO_RM);
    },
  })),
  [0, 1].flatMap((digit) =>
    byteAndWord((byte) => ({
      name: 'TEST',
      enc: byte ? `F6 /${digit} ib` : `F7 /${digit} iz`,
      args: byte ? 'Eb:r, Ib' : 'Ev:r, Iz',
      flags: testFlags,
      translate(t, insn) {
        const size = sizeOf(byte, insn);
        alu(t, TEST, size, t.readRmWide(size), t.immediate(), TO_RM);
      },
    })),
  ),
);

function increment(t: Translator, size: OperandSize, x: I64, decrement: boolean, to: number): void {
  const { b, wide, flags } = t;
  const carry = wide.widen(flags.carry(), 1);
  const r = b.i64_add(x, wide.small(decrement ? -1 : 1));
  if (to === TO_RM) t.writeRmWide(size, r);
  else t.writeWide(size, to, r);
  flags.set(decrement ? flagKind.dec : flagKind.inc, size, r, carry);
}

const incDecFlags = { w: 'OSZAP' } as const;
const unaryRows: InsnRow[] = [false, true]
  .flatMap((decrement): InsnRow[] => [
    {
      name: decrement ? 'DEC' : 'INC',
      enc: `${decrement ? '48' : '40'}+r I64`,
      args: 'Zv:rw',
      flags: incDecFlags,
      translate: (t, insn) => increment(t, insn.opSize, t.readWide(insn.opSize, insn.rm), decrement, insn.rm),
    },
    ...byteAndWord((byte) => ({
      name: decrement ? 'DEC' : 'INC',
      enc: `${byte ? 'FE' : 'FF'} /${decrement ? 1 : 0}`,
      args: byte ? 'Eb:rw' : 'Ev:rw',
      flags: incDecFlags,
      lock: true,
      translate(t, insn) {
        const size = sizeOf(byte, insn);
        increment(t, size, t.readRmWide(size, true), decrement, TO_RM);
      },
    })),
  ])
  .concat(
    byteAndWord((byte) => ({
      name: 'NOT',
      enc: `${byte ? 'F6' : 'F7'} /2`,
      args: byte ? 'Eb:rw' : 'Ev:rw',
      lock: true,
      translate(t, insn) {
        const size = sizeOf(byte, insn);
        t.writeRmWide(size, t.b.i64_xor(t.readRmWide(size, true), t.wide.small(-1)));
      },
    })),
    byteAndWord((byte) => ({
      name: 'NEG',
      enc: `${byte ? 'F6' : 'F7'} /3`,
      args: byte ? 'Eb:rw' : 'Ev:rw',
      flags: ALL_FLAGS,
      lock: true,
      translate(t, insn) {
        const size = sizeOf(byte, insn);
        const x = t.readRmWide(size, true);
        const zero = t.wide.small(0);
        const r = t.b.i64_sub(zero, x);
        t.writeRmWide(size, r);
        t.flags.set(flagKind.sub, size, zero, x, NONE, r);
      },
    })),
  );

const multiplyFlags = { w: 'OC', u: 'SZAP' } as const;

/** MUL and IMUL of the accumulator: the double-width product in AX, DX:AX, EDX:EAX or RDX:RAX. */
function multiply(t: Translator, size: OperandSize, signed: boolean): void {
  const { b, wide, flags } = t;
  const widen = (value: I64) => (signed ? wide.signed(size, value) : wide.clean(size, value));
  const y = widen(t.readRmWide(size));
  const x = widen(t.readWide(size, reg.AX));
  const low = b.i64_mul(x, y);
  if (size === 64) {
    const [high] = b.call(signed ? engine.mulHighS : engine.mulHighU, x, y);
    t.writeWide(64, reg.AX, low);
    t.writeWide(64, reg.DX, high);
    flags.set(flagKind.mul, 64, low, signed ? b.i64_xor(high, b.i64_shr_s(low, wide.small(63))) : high);
    return;
  }
  const high = b.i64_shr_u(low, wide.small(size));
  if (size === 8) t.writeWide(16, reg.AX, low);
  else {
    t.writeWide(size, reg.AX, low);
    t.writeWide(size, reg.DX, high);
  }
  flags.set(flagKind.mul, size, low, signed ? b.i64_xor(low, wide.signed(size, low)) : high);
}

/** IMUL with two or three operands. */
function multiplyTo(t: Translator, size: OperandSize, to: number, left: I64, right: I64): void {
  const { b, wide, flags } = t;
  if (size === 64) {
    const low = b.i64_mul(left, right);
    const [high] = b.call(engine.mulHighS, left, right);
    t.writeWide(64, to, low);
    flags.set(flagKind.mul, 64, low, b.i64_xor(high, b.i64_shr_s(low, wide.small(63))));
    return;
  }
  const product = b.i64_mul(wide.signed(size, left), wide.signed(size, right));
  t.writeWide(size, to, product);
  flags.set(flagKind.mul, size, product, b.i64_xor(product, wide.signed(size, product)));
}

function divide(t: Translator, size: OperandSize, signed: boolean): void {
  const { b, wide } = t;
  const divisor = t.readRmWide(size);
  if (size === 64) {
    const routine = signed ? divideSigned128 : divideUnsigned128;
    const [, quotient, remainder] = b.call(routine, t.readWide(64, reg.DX), t.readWide(64, reg.AX), divisor);
    t.writeWide(64, reg.AX, quotient);
    t.writeWide(64, reg.DX, remainder);
    return;
  }
  const by = signed ? wide.signed(size, divisor) : wide.clean(size, divisor);
  let dividend: I64;
  if (size === 8) {
    const ax = t.readWide(16, reg.AX);
    dividend = signed ? wide.signed(16, ax) : wide.clean(16, ax);
  } else {
    const low = wide.clean(size, t.readWide(size, reg.AX));
    const high = t.readWide(size, reg.DX);
    const upper = signed ? wide.signed(size, high) : wide.clean(size, high);
    dividend = b.i64_or(low, b.i64_shl(upper, wide.small(size)));
  }
  let bad: I32 = b.i64_eqz(by);
  if (signed && size === 32) {
    // the one quotient that 64 bits cannot hold
    const least = b.i64_eq(dividend, b.i64pair(0, -0x80000000));
    bad = b.i32_or(bad, b.i32_and(least, b.i64_eq(by, wide.small(-1))));
  }
  t.faultIf(bad, vector.DE);
  const quotient = signed ? b.i64_div_s(dividend, by) : b.i64_div_u(dividend, by);
  const remainder = signed ? b.i64_rem_s(dividend, by) : b.i64_rem_u(dividend, by);
  t.faultIf(b.i64_ne(quotient, signed ? wide.signed(size, quotient) : wide.clean(size, quotient)), vector.DE);
  if (size === 8) {
    const both = b.i64_or(wide.clean(8, quotient), b.i64_shl(remainder, wide.small(8)));
    t.writeWide(16, reg.AX, both);
  } else {
    t.writeWide(size, reg.AX, quotient);
    t.writeWide(size, reg.DX, remainder);
  }
}

const multiplyRows: InsnRow[] = [false, true]
  .flatMap((signed) =>
    byteAndWord((byte) => ({
      name: signed ? 'IMUL' : 'MUL',
      enc: `${byte ? 'F6' : 'F7'} /${signed ? 5 : 4}`,
      args: byte ? 'Eb:r, AX:rw' : 'Ev:r, rAX:rw, rDX:w',
      flags: multiplyFlags,
      translate: (t, insn) => multiply(t, sizeOf(byte, insn), signed),
    })).concat(
      byteAndWord((byte) => ({
        name: signed ? 'IDIV' : 'DIV',
        enc: `${byte ? 'F6' : 'F7'} /${signed ? 7 : 6}`,
        args: byte ? 'Eb:r, AX:rw' : 'Ev:r, rAX:rw, rDX:rw',
        flags: { u: 'OSZAPC' },
        translate: (t, insn) => divide(t, sizeOf(byte, insn), signed),
      })),
    ),
  )
  .concat([
    {
      name: 'IMUL',
      enc: '0F AF /r',
      args: 'Gv:rw, Ev:r',
      flags: multiplyFlags,
      translate(t, insn) {
        const y = t.readRmWide(insn.opSize);
        multiplyTo(t, insn.opSize, insn.reg, t.readWide(insn.opSize, insn.reg), y);
      },
    },
    ...[
      { enc: '69 /r iz', args: 'Gv:w, Ev:r, Iz' },
      { enc: '6B /r ib', args: 'Gv:w, Ev:r, Ibs' },
    ].map(
      (form): InsnRow => ({
        name: 'IMUL',
        ...form,
        flags: multiplyFlags,
        translate: (t, insn) => multiplyTo(t, insn.opSize, insn.reg, t.readRmWide(insn.opSize), t.immediate()),
      }),
    ),
  ]);

const signRows: InsnRow[] = [
  {
    name: 'CBW',
    enc: '98',
    args: 'rAX:rw',
    translate(t, insn) {
      const half = insn.opSize === 64 ? 32 : insn.opSize === 32 ? 16 : 8;
      t.writeWide(insn.opSize, reg.AX, t.wide.signed(half, t.readWide(half, reg.AX)));
    },
  },
  {
    name: 'CWD',
    enc: '99',
    args: 'rDX:w, rAX:r',
    translate(t, insn) {
      const { wide, b } = t;
      const value = wide.signed(insn.opSize, t.readWide(insn.opSize, reg.AX));
      t.writeWide(insn.opSize, reg.DX, b.i64_shr_s(value, wide.small(63)));
    },
  },
];

/** ADCX and ADOX: a carry chain in CF or OF alone. */
const adxRow = (name: string, prefix: string, throughOverflow: boolean): InsnRow => ({
  name,
  enc: `${prefix} 0F 38 F6 /r`,
  args: 'Gy:rw, Ey:r',
  cpuid: 'adx',
  flags: throughOverflow ? { r: 'O', w: 'O' } : { r: 'C', w: 'C' },
  translate(t, insn) {
    const { b, wide, flags } = t;
    const size = insn.rexW ? 64 : 32;
    const y = t.readRmWide(size);
    const x = t.readWide(size, insn.reg);
    const carry = flags.carry();
    const overflow = flags.overflow();
    const into = throughOverflow ? overflow : carry;
    const sum = b.i64_add(b.i64_add(x, y), wide.widen(into, 1));
    const same = wide.equal(size, sum, y, false);
    const out = b.i32_or(wide.below(size, sum, y, false, false), b.i32_and(same, into));
    t.writeWide(size, insn.reg, sum);
    const [c, o] = throughOverflow ? [carry, out] : [out, overflow];
    flags.setCarryOverflow(wide.widen(b.i32_or(b.i32_shl(c, b.i32(1)), b.i32_xor(c, o)), 2));
  },
});

/** AAA, AAS, DAA, DAS by a routine of AX and the flags; AAM and AAD inline. */
const decimalRows: InsnRow[] = [
  ...(
    [
      ['DAA', '27', decimalAdjust, 0, { r: 'AC', w: 'SZAPC', u: 'O' }],
      ['DAS', '2F', decimalAdjust, 1, { r: 'AC', w: 'SZAPC', u: 'O' }],
      ['AAA', '37', asciiAdjust, 0, { r: 'A', w: 'AC', u: 'OSZP' }],
      ['AAS', '3F', asciiAdjust, 1, { r: 'A', w: 'AC', u: 'OSZP' }],
    ] as const
  ).map(
    ([name, byte, routine, subtract, flags]): InsnRow => ({
      name,
      enc: `${byte} I64`,
      args: 'AX:rw',
      flags,
      translate(t) {
        const { b } = t;
        const [ax, bits] = b.call(routine, t.readGpr(16, reg.AX), t.readStatusFlags(), b.i32(subtract));
        t.writeGpr(16, reg.AX, ax);
        t.writeStatusFlags(bits);
      },
    }),
  ),
  {
    name: 'AAM',
    enc: 'D4 ib I64',
    args: 'AX:rw, Ib',
    flags: { w: 'SZP', u: 'OAC' },
    translate(t, insn) {
      const { b, wide } = t;
      if (insn.immLow === 0) return t.fault(vector.DE);
      const al = t.readGpr(8, reg.AX);
      const base = b.i32(insn.immLow);
      const low = wide.widen(b.i32_rem_u(al, base), 8);
      const high = b.i64_shl(wide.widen(b.i32_div_u(al, base), 8), wide.small(8));
      t.writeWide(16, reg.AX, b.i64_or(low, high));
      t.flags.set(flagKind.logic, 8, low);
    },
  },
  {
    name: 'AAD',
    enc: 'D5 ib I64',
    args: 'AX:rw, Ib',
    flags: { w: 'SZP', u: 'OAC' },
    translate(t, insn) {
      const { b, wide } = t;
      const ax = t.readGpr(16, reg.AX);
      const tens = b.i32_mul(b.i32_shr_u(ax, b.i32(8)), b.i32(insn.immLow));
      const low = wide.widen(b.i32_and(b.i32_add(ax, tens), b.i32(0xff)), 8);
      t.writeWide(16, reg.AX, low);
      t.flags.set(flagKind.logic, 8, low);
    },
  },
];

export const integerArithmeticRows: readonly InsnRow[] = [
  ...binaryRows,
  ...testRows,
  ...unaryRows,
  ...multiplyRows,
  ...signRows,
  ...decimalRows,
  adxRow('ADCX', '66', false),
  adxRow('ADOX', 'F3', true),
];
