/**
 * MMX and what SSE2 made of it: packed integer arithmetic, comparison, logic, shifts, packing and interleaving, each in
 * its 64-bit and its 128-bit form; moves and EMMS. Intel SDM vol. 1 ch. 9 and sections 11.4.2, 10.4.4; vol. 3 ch. 12.
 */
import type { BlockBuilder, I32, I64, V128 } from '../../../ir/index.js';
import { field } from '../state.js';
import type { InsnRow, Translator } from '../translator.js';
import {
  type Binary,
  bothRows,
  byWidth,
  enterMmxAndStore,
  evenProducts,
  idiom,
  joined,
  op2,
  type ShiftOp,
  shuffle,
  shuffled,
  swapped,
  toMm,
  toVector,
  two,
  xmmRow,
  zeros,
} from './vector.js';

// --- lanewise operations

/** High halves of 16-bit products. */
function highProducts(
  low: 'i32x4_extmul_low_i16x8_s' | 'i32x4_extmul_low_i16x8_u',
  high: 'i32x4_extmul_high_i16x8_s' | 'i32x4_extmul_high_i16x8_u',
): Binary {
  return (b, x, y) => shuffle(b, b[low](x, y), b[high](x, y), 2, [1, 3, 5, 7, 9, 11, 13, 15]);
}

/** Sum of absolute differences of bytes: one 16-bit sum in each 64-bit lane. */
function sumOfDifferences(b: BlockBuilder, x: V128, y: V128): V128 {
  const difference = b.v128_or(b.i8x16_sub_sat_u(x, y), b.i8x16_sub_sat_u(y, x));
  const sums = b.i32x4_extadd_pairwise_i16x8_u(b.i16x8_extadd_pairwise_i8x16_u(difference));
  return b.i64x2_add(b.i64x2_shr_u(sums, b.i32(32)), b.v128_and(sums, b.v128(-1, 0, -1, 0)));
}

const lanewise: readonly (readonly [name: string, opcode: string, op: Binary])[] = [
  ['PADDB', 'FC', op2('i8x16_add')],
  ['PADDW', 'FD', op2('i16x8_add')],
  ['PADDD', 'FE', op2('i32x4_add')],
  ['PADDSB', 'EC', op2('i8x16_add_sat_s')],
  ['PADDSW', 'ED', op2('i16x8_add_sat_s')],
  ['PADDUSB', 'DC', op2('i8x16_add_sat_u')],
  ['PADDUSW', 'DD', op2('i16x8_add_sat_u')],
  ['PSUBB', 'F8', idiom('i8x16_sub', 0)],
  ['PSUBW', 'F9', idiom('i16x8_sub', 0)],
  ['PSUBD', 'FA', idiom('i32x4_sub', 0)],
  ['PSUBSB', 'E8', op2('i8x16_sub_sat_s')],
  ['PSUBSW', 'E9', op2('i16x8_sub_sat_s')],
  ['PSUBUSB', 'D8', op2('i8x16_sub_sat_u')],
  ['PSUBUSW', 'D9', op2('i16x8_sub_sat_u')],
  ['PMULLW', 'D5', op2('i16x8_mul')],
  ['PMULHW', 'E5', highProducts('i32x4_extmul_low_i16x8_s', 'i32x4_extmul_high_i16x8_s')],
  ['PMADDWD', 'F5', op2('i32x4_dot_i16x8_s')],
  ['PCMPEQB', '74', idiom('i8x16_eq', -1)],
  ['PCMPEQW', '75', idiom('i16x8_eq', -1)],
  ['PCMPEQD', '76', idiom('i32x4_eq', -1)],
  ['PCMPGTB', '64', op2('i8x16_gt_s')],
  ['PCMPGTW', '65', op2('i16x8_gt_s')],
  ['PCMPGTD', '66', op2('i32x4_gt_s')],
  ['PAND', 'DB', op2('v128_and')],
  ['PANDN', 'DF', swapped('v128_andnot')],
  ['POR', 'EB', op2('v128_or')],
  ['PXOR', 'EF', idiom('v128_xor', 0)],
];

/** Their MMX form came with SSE. */
const lanewiseOfSse: typeof lanewise = [
  ['PAVGB', 'E0', op2('i8x16_avgr_u')],
  ['PAVGW', 'E3', op2('i16x8_avgr_u')],
  ['PMAXSW', 'EE', op2('i16x8_max_s')],
  ['PMAXUB', 'DE', op2('i8x16_max_u')],
  ['PMINSW', 'EA', op2('i16x8_min_s')],
  ['PMINUB', 'DA', op2('i8x16_min_u')],
  ['PMULHUW', 'E4', highProducts('i32x4_extmul_low_i16x8_u', 'i32x4_extmul_high_i16x8_u')],
  ['PSADBW', 'F6', sumOfDifferences],
];

/** Both their forms came with SSE2. */
const lanewiseOfSse2: typeof lanewise = [
  ['PADDQ', 'D4', op2('i64x2_add')],
  ['PSUBQ', 'FB', op2('i64x2_sub')],
  ['PMULUDQ', 'F4', evenProducts('i64x2_extmul_low_i32x4_u')],
];

// --- packing and interleaving

/** Narrows destination and source to half their lanes' width, with saturation. */
function packRows(
  name: string,
  opcode: string,
  op: 'i8x16_narrow_i16x8_s' | 'i8x16_narrow_i16x8_u' | 'i16x8_narrow_i32x4_s',
): InsnRow[] {
  return bothRows(name, opcode, 'mmx', 'sse2', op2(op), (b, x, y) => {
    const both = joined(b, x, y);
    return b[op](both, both);
  });
}

const interleaveLow: Record<1 | 2 | 4 | 8, readonly number[]> = {
  1: [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23],
  2: [0, 8, 1, 9, 2, 10, 3, 11],
  4: [0, 4, 1, 5],
  8: [0, 2],
};

/** Lanes of the low or the high halves in turn. */
function unpackRows(name: string, opcode: string, bytes: 1 | 2 | 4, high: boolean): InsnRow[] {
  const low = interleaveLow[bytes];
  const half = 8 / bytes;
  const xmm = shuffled(bytes, high ? low.map((lane) => lane + half) : low);
  // in MMX the low half of all eight pairs is the "low" result, the high half the "high" one
  const mm: Binary = (b, x, y) => {
    const pairs = shuffle(b, x, y, bytes, low);
    return high ? shuffle(b, pairs, pairs, 8, [1, 1]) : pairs;
  };
  const rows = bothRows(name, opcode, 'mmx', 'sse2', xmm, mm);
  // the low forms read 32 bits of memory in MMX
  return high ? rows : [{ ...rows[0], args: 'Pq:rw, Qd:r', translate: mmUnpackLow(mm) }, rows[1]];
}

function mmUnpackLow(op: Binary): InsnRow['translate'] {
  return (t, insn) => {
    t.enterMmx();
    const b = t.b;
    const y = insn.isReg ? t.readMm(insn.rm & 7) : b.i64_extend_i32_u(t.load(32, t.address()));
    t.writeMm(insn.reg & 7, toMm(b, op(b, toVector(b, t.readMm(insn.reg & 7)), toVector(b, y))));
  };
}

// --- shifts

/** Shifts every lane by a count of 64 bits: counts of the width and above give zeros, or copies of the sign. */
function shiftBy(b: BlockBuilder, op: ShiftOp, bits: number, x: V128, count: I64): V128 {
  const beyond = b.i64_ge_u(count, b.i64(bits));
  const low = b.i32_wrap_i64(count);
  if (op.endsWith('_s')) return b[op](x, b.select(beyond, b.i32(bits - 1), low));
  return b.select(beyond, zeros(b), b[op](x, low));
}

/** The same by a constant. */
function shiftByConstant(b: BlockBuilder, op: ShiftOp, bits: number, x: V128, count: number): V128 {
  if (op.endsWith('_s')) return b[op](x, b.i32(Math.min(count, bits - 1)));
  return count >= bits ? zeros(b) : b[op](x, b.i32(count));
}

/** Rows of one shift: count in a register or memory, count immediate; MMX and XMM. */
function shiftRows(name: string, opcode: string, group: string, op: ShiftOp, bits: number): InsnRow[] {
  const xmm: Binary = (b, x, y) => shiftBy(b, op, bits, x, b.i64x2_extract_lane(y, 0));
  const [low, extension] = group.split(' ');
  return [
    ...bothRows(name, opcode, 'mmx', 'sse2', xmm),
    {
      name,
      enc: `NP 0F ${low} ${extension} ib r`,
      args: 'Nq:rw, Ib',
      cpuid: 'mmx',
      unit: 'mmx',
      translate(t, insn) {
        t.enterMmx();
        const b = t.b;
        const x = toVector(b, t.readMm(insn.rm & 7));
        t.writeMm(insn.rm & 7, toMm(b, shiftByConstant(b, op, bits, x, insn.immLow & 0xff)));
      },
    },
    {
      name,
      enc: `66 0F ${low} ${extension} ib r`,
      args: 'Udq:rw, Ib',
      cpuid: 'sse2',
      unit: 'sse',
      translate(t, insn) {
        t.writeXmm(insn.rm, shiftByConstant(t.b, op, bits, t.readXmm(insn.rm), insn.immLow & 0xff));
      },
    },
  ];
}

/** PSLLDQ, PSRLDQ: the whole register by bytes. */
function byteShiftRow(name: string, enc: string, left: boolean): InsnRow {
  return {
    name,
    enc,
    args: 'Udq:rw, Ib',
    cpuid: 'sse2',
    unit: 'sse',
    translate(t, insn) {
      const b = t.b;
      const count = Math.min(insn.immLow & 0xff, 16);
      const lanes = Array.from({ length: 16 }, (_, i) => (left ? 16 - count + i : count + i));
      const x = t.readXmm(insn.rm);
      t.writeXmm(insn.rm, left ? shuffle(b, zeros(b), x, 1, lanes) : shuffle(b, x, zeros(b), 1, lanes));
    },
  };
}

// --- moves

/** MOVD/MOVQ between general registers or memory and MMX. */
function mmToRm(t: Translator, bits: 32 | 64, value: I64): void {
  t.writeRm(bits, bits === 64 ? value : t.b.i32_wrap_i64(value));
}

/** The x87 status word's summary of unmasked exceptions; #MF. */
const ERROR_SUMMARY = 0x80;
const MF = 16;

const moves: InsnRow[] = [
  ...byWidth('MOVQ', {
    name: 'MOVD',
    enc: 'NP 0F 6E /r',
    args: 'Pq:w, Ey:r',
    cpuid: 'mmx',
    unit: 'mmx',
    translate(t, insn) {
      t.enterMmx();
      const value = insn.rexW ? (t.readRm(64) as I64) : t.b.i64_extend_i32_u(t.readRm(32) as I32);
      t.writeMm(insn.reg & 7, value);
    },
  }),
  ...byWidth('MOVQ', {
    name: 'MOVD',
    enc: 'NP 0F 7E /r',
    args: 'Ey:w, Pq:r',
    cpuid: 'mmx',
    unit: 'mmx',
    translate(t, insn) {
      enterMmxAndStore(t);
      mmToRm(t, insn.rexW ? 64 : 32, t.readMm(insn.reg & 7));
    },
  }),
  {
    name: 'MOVQ',
    enc: 'NP 0F 6F /r',
    args: 'Pq:w, Qq:r',
    cpuid: 'mmx',
    unit: 'mmx',
    translate(t, insn) {
      t.enterMmx();
      const value = t.readMmRm();
      t.writeMm(insn.reg & 7, value);
    },
  },
  {
    name: 'MOVQ',
    enc: 'NP 0F 7F /r',
    args: 'Qq:w, Pq:r',
    cpuid: 'mmx',
    unit: 'mmx',
    translate(t, insn) {
      enterMmxAndStore(t);
      const value = t.readMm(insn.reg & 7);
      if (!insn.isReg) t.store(64, t.address(), value);
      if (insn.isReg) t.writeMm(insn.rm & 7, value);
    },
  },
  {
    name: 'EMMS',
    enc: 'NP 0F 77',
    args: '',
    cpuid: 'mmx',
    unit: 'mmx',
    translate(t) {
      const b = t.b;
      const pending = b.i32_and(b.i32_load(b.state(), field.fpStatus), b.i32(ERROR_SUMMARY));
      t.faultIf(pending, MF);
      b.i32_store(b.state(), b.i32(0), field.fpTop);
      b.i32_store(b.state(), b.i32(0xff), field.fpEmpty);
    },
  },
  {
    name: 'MOVNTQ',
    enc: 'NP 0F E7 /r m',
    args: 'Mq:w, Pq:r',
    cpuid: 'sse',
    unit: 'mmx',
    translate(t, insn) {
      enterMmxAndStore(t);
      t.store(64, t.address(), t.readMm(insn.reg & 7));
    },
  },
];

// --- lanes by immediate or mask

/** Words of an MMX register by two-bit selectors. */
function pshufw(b: BlockBuilder, x: V128, imm: number): V128 {
  return shuffle(b, x, x, 2, [two(imm, 0), two(imm, 1), two(imm, 2), two(imm, 3), 0, 0, 0, 0]);
}

const selections: InsnRow[] = [
  {
    name: 'PSHUFW',
    enc: 'NP 0F 70 /r ib',
    args: 'Pq:w, Qq:r, Ib',
    cpuid: 'sse',
    unit: 'mmx',
    translate(t, insn) {
      t.enterMmx();
      const b = t.b;
      const y = toVector(b, t.readMmRm());
      t.writeMm(insn.reg & 7, toMm(b, pshufw(b, y, insn.immLow & 0xff)));
    },
  },
  {
    name: 'PMOVMSKB',
    enc: 'NP 0F D7 /r r',
    args: 'Gd:w, Nq:r',
    cpuid: 'sse',
    unit: 'mmx',
    translate(t, insn) {
      t.enterMmx();
      const b = t.b;
      t.writeGpr(32, insn.reg, b.i32_and(b.i8x16_bitmask(toVector(b, t.readMm(insn.rm & 7))), b.i32(0xff)));
    },
  },
  {
    name: 'PMOVMSKB',
    enc: '66 0F D7 /r r',
    args: 'Gd:w, Udq:r',
    cpuid: 'sse2',
    unit: 'sse',
    translate: (t, insn) => t.writeGpr(32, insn.reg, t.b.i8x16_bitmask(t.readXmm(insn.rm))),
  },
  {
    name: 'PEXTRW',
    enc: 'NP 0F C5 /r ib r',
    args: 'Gd:w, Nq:r, Ib',
    cpuid: 'sse',
    unit: 'mmx',
    translate(t, insn) {
      t.enterMmx();
      const b = t.b;
      t.writeGpr(32, insn.reg, b.i16x8_extract_lane_u(toVector(b, t.readMm(insn.rm & 7)), insn.immLow & 3));
    },
  },
  {
    name: 'PEXTRW',
    enc: '66 0F C5 /r ib r',
    args: 'Gd:w, Udq:r, Ib',
    cpuid: 'sse2',
    unit: 'sse',
    translate: (t, insn) => t.writeGpr(32, insn.reg, t.b.i16x8_extract_lane_u(t.readXmm(insn.rm), insn.immLow & 7)),
  },
  {
    name: 'PINSRW',
    enc: 'NP 0F C4 /r ib',
    args: 'Pq:rw, Ew:r, Ib',
    cpuid: 'sse',
    unit: 'mmx',
    translate(t, insn) {
      t.enterMmx();
      const b = t.b;
      const word = insertedWord(t);
      const x = toVector(b, t.readMm(insn.reg & 7));
      t.writeMm(insn.reg & 7, toMm(b, b.i16x8_replace_lane(x, word, insn.immLow & 3)));
    },
  },
  {
    name: 'PINSRW',
    enc: '66 0F C4 /r ib',
    args: 'Vdq:rw, Ew:r, Ib',
    cpuid: 'sse2',
    unit: 'sse',
    translate(t, insn) {
      const word = insertedWord(t);
      t.writeXmm(insn.reg, t.b.i16x8_replace_lane(t.readXmm(insn.reg), word, insn.immLow & 7));
    },
  },
];

/** The 16-bit source of PINSRW; of a register the low 16 bits count. */
function insertedWord(t: Translator): I32 {
  return t.insn.isReg ? t.readGpr(32, t.insn.rm) : t.load(16, t.address());
}

export const mmxRows: readonly InsnRow[] = [
  ...lanewise.flatMap(([name, opcode, op]) => bothRows(name, opcode, 'mmx', 'sse2', op)),
  ...lanewiseOfSse.flatMap(([name, opcode, op]) => bothRows(name, opcode, 'sse', 'sse2', op)),
  ...lanewiseOfSse2.flatMap(([name, opcode, op]) => bothRows(name, opcode, 'sse2', 'sse2', op)),
  ...packRows('PACKSSWB', '63', 'i8x16_narrow_i16x8_s'),
  ...packRows('PACKUSWB', '67', 'i8x16_narrow_i16x8_u'),
  ...packRows('PACKSSDW', '6B', 'i16x8_narrow_i32x4_s'),
  ...unpackRows('PUNPCKLBW', '60', 1, false),
  ...unpackRows('PUNPCKLWD', '61', 2, false),
  ...unpackRows('PUNPCKLDQ', '62', 4, false),
  ...unpackRows('PUNPCKHBW', '68', 1, true),
  ...unpackRows('PUNPCKHWD', '69', 2, true),
  ...unpackRows('PUNPCKHDQ', '6A', 4, true),
  xmmRow({ name: 'PUNPCKLQDQ', cpuid: 'sse2' }, '6C', shuffled(8, [0, 2])),
  xmmRow({ name: 'PUNPCKHQDQ', cpuid: 'sse2' }, '6D', shuffled(8, [1, 3])),
  ...shiftRows('PSRLW', 'D1', '71 /2', 'i16x8_shr_u', 16),
  ...shiftRows('PSRAW', 'E1', '71 /4', 'i16x8_shr_s', 16),
  ...shiftRows('PSLLW', 'F1', '71 /6', 'i16x8_shl', 16),
  ...shiftRows('PSRLD', 'D2', '72 /2', 'i32x4_shr_u', 32),
  ...shiftRows('PSRAD', 'E2', '72 /4', 'i32x4_shr_s', 32),
  ...shiftRows('PSLLD', 'F2', '72 /6', 'i32x4_shl', 32),
  ...shiftRows('PSRLQ', 'D3', '73 /2', 'i64x2_shr_u', 64),
  ...shiftRows('PSLLQ', 'F3', '73 /6', 'i64x2_shl', 64),
  byteShiftRow('PSRLDQ', '66 0F 73 /3 ib r', false),
  byteShiftRow('PSLLDQ', '66 0F 73 /7 ib r', true),
  ...moves,
  ...selections,
];
