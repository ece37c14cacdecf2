/** Bit and byte instructions, BMI1, BMI2, POPCNT, LZCNT, CRC32: Intel SDM vol. 1 section 7.3.7, vol. 2. */
import type { I32, I64 } from '../../../ir/index.js';
import { flagKind, statusFlag } from '../flags.js';
import { crc32c, depositBits, extractBits } from '../routines/bits.js';
import { engine } from '../routines/set.js';
import type { DecodedInsn, InsnRow, OperandSize, Translator } from '../translator.js';
import { hex, reg } from './integer-helpers.js';

/** BT, BTS, BTR, BTC: what happens to the bit. */
const testNames = ['BT', 'BTS', 'BTR', 'BTC'] as const;

function bitTest(t: Translator, which: number, bitOffset: I64, offsetInRegister: boolean): void {
  const { b, wide, insn } = t;
  const size = insn.opSize;
  const bit = b.i64_and(bitOffset, wide.small(size - 1));
  const write = which !== 0;
  let address: I64 | undefined;
  if (!insn.isReg) {
    if (offsetInRegister) {
      // A bit string: the offset is signed and may lie anywhere.
      const element = b.i64_shr_s(wide.signed(size, bitOffset), wide.small(Math.log2(size)));
      address = t.addressAt(b.i64_shl(element, wide.small(Math.log2(size >> 3))));
    } else address = t.address();
  }
  const x = address === undefined ? t.readWide(size, insn.rm) : t.loadWide(size, address, write);
  const found = b.i32_and(b.i32_wrap_i64(b.i64_shr_u(x, bit)), b.i32(1));
  if (write) {
    const mask = b.i64_shl(wide.small(1), bit);
    const r =
      which === 1
        ? b.i64_or(x, mask)
        : which === 2
          ? b.i64_and(x, b.i64_xor(mask, wide.small(-1)))
          : b.i64_xor(x, mask);
    if (address === undefined) t.writeWide(size, insn.rm, r);
    else t.storeWide(size, address, r);
  }
  t.flags.setCarry(found);
}

const bitTestFlags = { w: 'C', u: 'OSAP' } as const;
const bitTestRows: InsnRow[] = testNames.flatMap((name, which): InsnRow[] => [
  {
    name,
    enc: `0F ${hex(0xa3 + 8 * which)} /r`,
    args: which ? 'Ev:rw, Gv:r' : 'Ev:r, Gv:r',
    flags: bitTestFlags,
    ...(which ? { lock: true } : {}),
    translate: (t, insn) => bitTest(t, which, t.readWide(insn.opSize, insn.reg), true),
  },
  {
    name,
    enc: `0F BA /${4 + which} ib`,
    args: which ? 'Ev:rw, Ib' : 'Ev:r, Ib',
    flags: bitTestFlags,
    ...(which ? { lock: true } : {}),
    translate: (t, insn) => bitTest(t, which, t.wide.small(insn.immLow), false),
  },
]);

/** Zeros below the lowest one, or above the highest one, of a value; the size itself where it is 0. */
function countZeros(t: Translator, size: OperandSize, x: I64, leading: boolean): I64 {
  const { b, wide } = t;
  if (size === 64) return leading ? b.i64_clz(x) : b.i64_ctz(x);
  if (leading) {
    const zeros = b.i64_clz(wide.clean(size, x));
    return b.i64_sub(zeros, wide.small(64 - size));
  }
  // a one above the operand stops the count there
  return b.i64_ctz(b.i64_or(x, size === 32 ? b.i64pair(0, 1) : wide.small(1 << size)));
}

/** Where the source is 0 the destination keeps its value, as Intel and AMD processors do. */
function scan(t: Translator, insn: DecodedInsn, reverse: boolean): void {
  const { b, wide } = t;
  const size = insn.opSize;
  const x = t.readRmWide(size);
  const zeros = countZeros(t, size, x, reverse);
  const found = reverse ? b.i64_sub(wide.small(size - 1), zeros) : zeros;
  const none = wide.isZero(size, x);
  // Where the source is 0, not even the upper half of a 32-bit destination is written.
  if (size === 16) t.writeWide(16, insn.reg, b.select(none, t.readWide(16, insn.reg), found));
  else t.writeWide(64, insn.reg, b.select(none, t.readWide(64, insn.reg), found));
  t.flags.set(flagKind.logic, size, x);
}

function countRow(name: string, enc: string, cpuid: string, leading: boolean): InsnRow {
  return {
    name,
    enc,
    args: 'Gv:w, Ev:r',
    cpuid,
    flags: { w: 'ZC', u: 'OSAP' },
    translate(t, insn) {
      const x = t.readRmWide(insn.opSize);
      const zeros = countZeros(t, insn.opSize, x, leading);
      const carry = t.wide.widen(t.wide.isZero(insn.opSize, x), 1);
      t.writeWide(insn.opSize, insn.reg, zeros);
      t.flags.set(flagKind.result, insn.opSize, zeros, carry);
    },
  };
}

const scanFlags = { w: 'Z', u: 'OSAPC' } as const;
const scanRows: InsnRow[] = [
  { name: 'BSF', enc: '0F BC /r', args: 'Gv:rw, Ev:r', flags: scanFlags, translate: (t, insn) => scan(t, insn, false) },
  { name: 'BSR', enc: '0F BD /r', args: 'Gv:rw, Ev:r', flags: scanFlags, translate: (t, insn) => scan(t, insn, true) },
  countRow('TZCNT', 'F3 0F BC /r', 'bmi1', false),
  countRow('LZCNT', 'F3 0F BD /r', 'abm', true),
  {
    name: 'POPCNT',
    enc: 'F3 0F B8 /r',
    args: 'Gv:w, Ev:r',
    cpuid: 'popcnt',
    flags: { w: 'OSZAPC' },
    translate(t, insn) {
      const { b, wide } = t;
      const x = wide.clean(insn.opSize, t.readRmWide(insn.opSize));
      t.writeWide(insn.opSize, insn.reg, wide.noteWidth(b.i64_popcnt(x), 8));
      t.writeStatusFlags(b.i32_shl(b.i64_eqz(x), b.i32(6)));
    },
  },
];

/** CRC32 by operand: a byte, or the operand size. */
const crcRows: InsnRow[] = [true, false].map((byte) => ({
  name: 'CRC32',
  enc: `F2 0F 38 ${byte ? 'F0' : 'F1'} /r`,
  args: byte ? 'Gd:rw, Eb:r' : 'Gd:rw, Ev:r',
  cpuid: 'sse4_2',
  translate(t, insn) {
    const { b, wide } = t;
    const size = byte ? 8 : insn.opSize;
    const value = t.readRmWide(size);
    const [sum] = b.call(crc32c, t.readGpr(32, insn.reg), value, b.i32(size));
    t.writeWide(insn.rexW ? 64 : 32, insn.reg, wide.widen(sum, 32));
  },
}));

const randomRows: InsnRow[] = [
  { name: 'RDRAND', digit: 6, cpuid: 'rdrand' },
  { name: 'RDSEED', digit: 7, cpuid: 'rdseed' },
].map(({ name, digit, cpuid }) => ({
  name,
  enc: `NP 0F C7 /${digit} r`,
  args: 'Rv:w',
  cpuid,
  flags: { w: 'OSZAPC' },
  translate(t, insn) {
    const [bits] = t.b.call(engine.randomBits);
    t.writeWide(insn.opSize, insn.rm, bits);
    t.writeStatusFlags(t.b.i32(statusFlag.CF));
  },
}));
/** The same with an operand-size prefix, which chooses 16 bits here. */
const randomRows16: InsnRow[] = randomRows.map((row) => ({
  ...row,
  enc: row.enc.replace('NP', '66'),
  translate(t, insn) {
    const [bits] = t.b.call(engine.randomBits);
    t.writeWide(insn.rexW ? 64 : 16, insn.rm, bits);
    t.writeStatusFlags(t.b.i32(statusFlag.CF));
  },
}));

const vexSize = (insn: DecodedInsn): 32 | 64 => (insn.rexW ? 64 : 32);

/** BLSR, BLSMSK, BLSI: group 17. */
const lowestBitRows: InsnRow[] = (['BLSR', 'BLSMSK', 'BLSI'] as const).map((name, i) => ({
  name,
  enc: `VEX.LZ.NP.0F38 F3 /${i + 1}`,
  args: 'By:w, Ey:r',
  cpuid: 'bmi1',
  flags: { w: 'OSZC', u: 'AP' },
  translate(t, insn) {
    const { b, wide } = t;
    const size = vexSize(insn);
    const x = t.readRmWide(size);
    const zero: I32 = wide.isZero(size, x);
    let r: I64;
    if (name === 'BLSI') r = b.i64_and(x, b.i64_sub(wide.small(0), x));
    else {
      const less = b.i64_sub(x, wide.small(1));
      r = name === 'BLSR' ? b.i64_and(x, less) : b.i64_xor(x, less);
    }
    t.writeWide(size, insn.vvvv, r);
    t.flags.set(flagKind.result, size, r, wide.widen(name === 'BLSI' ? b.i32_eqz(zero) : zero, 1));
  },
}));

const bmiRows: InsnRow[] = [
  {
    name: 'ANDN',
    enc: 'VEX.LZ.NP.0F38 F2 /r',
    args: 'Gy:w, By:r, Ey:r',
    cpuid: 'bmi1',
    flags: { w: 'OSZC', u: 'AP' },
    translate(t, insn) {
      const { b, wide } = t;
      const size = vexSize(insn);
      const y = t.readRmWide(size);
      const r = b.i64_and(b.i64_xor(t.readWide(size, insn.vvvv), wide.small(-1)), y);
      t.writeWide(size, insn.reg, r);
      t.flags.set(flagKind.logic, size, r);
    },
  },
  ...lowestBitRows,
  {
    name: 'BEXTR',
    enc: 'VEX.LZ.NP.0F38 F7 /r',
    args: 'Gy:w, Ey:r, By:r',
    cpuid: 'bmi1',
    flags: { w: 'OZC', u: 'SAP' },
    translate(t, insn) {
      const { b, wide } = t;
      const size = vexSize(insn);
      const x = wide.clean(size, t.readRmWide(size));
      const control = t.readWide(16, insn.vvvv);
      const start = b.i64_and(control, wide.small(0xff));
      const length = b.i64_and(b.i64_shr_u(control, wide.small(8)), wide.small(0xff));
      const far = b.i64_gt_u(start, wide.small(63));
      const shifted = b.select(far, wide.small(0), b.i64_shr_u(x, start));
      const mask = b.i64_sub(b.i64_shl(wide.small(1), length), wide.small(1));
      const all = b.i64_gt_u(length, wide.small(63));
      const r = b.select(all, shifted, b.i64_and(shifted, mask));
      t.writeWide(size, insn.reg, r);
      t.flags.set(flagKind.logic, size, r);
    },
  },
  {
    name: 'BZHI',
    enc: 'VEX.LZ.NP.0F38 F5 /r',
    args: 'Gy:w, Ey:r, By:r',
    cpuid: 'bmi2',
    flags: { w: 'OSZC', u: 'AP' },
    translate(t, insn) {
      const { b, wide } = t;
      const size = vexSize(insn);
      const x = t.readRmWide(size);
      const index = wide.clean(8, t.readWide(64, insn.vvvv));
      const whole = b.i64_gt_u(index, wide.small(size - 1));
      const mask = b.i64_sub(b.i64_shl(wide.small(1), index), wide.small(1));
      const r = b.select(whole, x, b.i64_and(x, mask));
      t.writeWide(size, insn.reg, r);
      t.flags.set(flagKind.result, size, r, wide.widen(whole, 1));
    },
  },
  ...(
    [
      ['PDEP', 'F2', depositBits],
      ['PEXT', 'F3', extractBits],
    ] as const
  ).map(
    ([name, prefix, routine]): InsnRow => ({
      name,
      enc: `VEX.LZ.${prefix}.0F38 F5 /r`,
      args: 'Gy:w, By:r, Ey:r',
      cpuid: 'bmi2',
      translate(t, insn) {
        const size = vexSize(insn);
        const mask = t.wide.clean(size, t.readRmWide(size));
        const [r] = t.b.call(routine, t.readWide(size, insn.vvvv), mask);
        t.writeWide(size, insn.reg, r);
      },
    }),
  ),
  {
    name: 'MULX',
    enc: 'VEX.LZ.F2.0F38 F6 /r',
    args: 'Gy:w, By:w, Ey:r, rDX:r',
    cpuid: 'bmi2',
    translate(t, insn) {
      const { b, wide } = t;
      const size = vexSize(insn);
      const x = wide.clean(size, t.readRmWide(size));
      const y = wide.clean(size, t.readWide(size, reg.DX));
      const low = b.i64_mul(x, y);
      const high = size === 64 ? b.call(engine.mulHighU, x, y)[0] : b.i64_shr_u(low, wide.small(32));
      t.writeWide(size, insn.vvvv, low);
      t.writeWide(size, insn.reg, high);
    },
  },
  {
    name: 'RORX',
    enc: 'VEX.LZ.F2.0F3A F0 /r ib',
    args: 'Gy:w, Ey:r, Ib',
    cpuid: 'bmi2',
    translate(t, insn) {
      const { b, wide } = t;
      const size = vexSize(insn);
      const x = t.readRmWide(size);
      const r =
        size === 64
          ? b.i64_rotr(x, wide.small(insn.immLow & 63))
          : wide.widen(b.i32_rotr(wide.narrow(x), b.i32(insn.immLow & 31)), 32);
      t.writeWide(size, insn.reg, r);
    },
  },
  ...(
    [
      ['SHLX', '66'],
      ['SARX', 'F3'],
      ['SHRX', 'F2'],
    ] as const
  ).map(
    ([name, prefix]): InsnRow => ({
      name,
      enc: `VEX.LZ.${prefix}.0F38 F7 /r`,
      args: 'Gy:w, Ey:r, By:r',
      cpuid: 'bmi2',
      translate(t, insn) {
        const { b, wide } = t;
        const size = vexSize(insn);
        const x = t.readRmWide(size);
        const count = b.i64_and(t.readWide(size, insn.vvvv), wide.small(size - 1));
        let r: I64;
        if (name === 'SHLX') r = b.i64_shl(x, count);
        else if (name === 'SHRX') r = b.i64_shr_u(wide.clean(size, x), count);
        else r = b.i64_shr_s(wide.signed(size, x), count);
        t.writeWide(size, insn.reg, r);
      },
    }),
  ),
];

export const integerBitRows: readonly InsnRow[] = [
  ...bitTestRows,
  ...scanRows,
  ...crcRows,
  ...randomRows,
  ...randomRows16,
  ...bmiRows,
];
