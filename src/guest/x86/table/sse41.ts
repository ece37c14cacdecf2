/**
 * SSE4.1: blends, extensions, minima and maxima, insertion and extraction, rounding, dot products, PTEST.
 * Intel SDM vol. 1 section 12.9.
 */
import type { BlockBuilder, I32, I64, V128 } from '../../../ir/index.js';
import { f32, f32x4, f64, f64x2, type PackedFloat } from '../routines/float-sse.js';
import { xmm } from '../state.js';
import type { InsnRow, Translator } from '../translator.js';
import { packed } from './sse-quick.js';
import {
  type Binary,
  byWidth,
  evenProducts,
  op2,
  shuffle,
  two,
  type UnaryOp,
  xmmImm,
  xmmRow,
  xmmUnary,
  zeros,
} from './vector.js';

const sse41 = { cpuid: 'sse4_1', unit: 'sse' } as const;

// --- lanewise

const lanewise: readonly (readonly [name: string, opcode: string, op: Binary])[] = [
  ['PMULDQ', '38 28', evenProducts('i64x2_extmul_low_i32x4_s')],
  ['PCMPEQQ', '38 29', op2('i64x2_eq')],
  ['PACKUSDW', '38 2B', op2('i16x8_narrow_i32x4_u')],
  ['PMINSB', '38 38', op2('i8x16_min_s')],
  ['PMINSD', '38 39', op2('i32x4_min_s')],
  ['PMINUW', '38 3A', op2('i16x8_min_u')],
  ['PMINUD', '38 3B', op2('i32x4_min_u')],
  ['PMAXSB', '38 3C', op2('i8x16_max_s')],
  ['PMAXSD', '38 3D', op2('i32x4_max_s')],
  ['PMAXUW', '38 3E', op2('i16x8_max_u')],
  ['PMAXUD', '38 3F', op2('i32x4_max_u')],
  ['PMULLD', '38 40', op2('i32x4_mul')],
];

/** The smallest of eight unsigned words and its place: both are minimised as one 32-bit key. */
function smallestWord(b: BlockBuilder, x: V128): V128 {
  const sixteen = b.i32(16);
  const low = b.v128_or(b.i32x4_shl(b.i32x4_extend_low_i16x8_u(x), sixteen), b.v128(0, 1, 2, 3));
  const high = b.v128_or(b.i32x4_shl(b.i32x4_extend_high_i16x8_u(x), sixteen), b.v128(4, 5, 6, 7));
  const four = b.i32x4_min_u(low, high);
  const pair = b.i32x4_min_u(four, shuffle(b, four, four, 8, [1, 0]));
  const key = b.i32x4_extract_lane(b.i32x4_min_u(pair, shuffle(b, pair, pair, 4, [1, 0, 3, 2])), 0);
  return b.i32x4_replace_lane(zeros(b), b.i32_rotl(key, sixteen), 0);
}

// --- sign and zero extension

/** Reads a memory operand of 2, 4 or 8 bytes, or a register. */
function lowBytes(t: Translator, bytes: 2 | 4 | 8): V128 {
  if (bytes === 8) return t.readXmmRmLow(64);
  if (bytes === 4) return t.readXmmRmLow(32);
  if (t.insn.isReg) return t.readXmm(t.insn.rm);
  return t.b.i32x4_replace_lane(zeros(t.b), t.load(16, t.address()), 0);
}

const memoryLetter = { 2: 'Ww', 4: 'Wd', 8: 'Wq' } as const;

/** Extends the low lanes by one op after the other. */
function extendRow(name: string, opcode: string, bytes: 2 | 4 | 8, ...ops: UnaryOp[]): InsnRow {
  return {
    ...sse41,
    name,
    enc: `66 0F 38 ${opcode} /r`,
    args: `Vdq:w, ${memoryLetter[bytes]}:r`,
    translate(t, insn) {
      let x = lowBytes(t, bytes);
      for (const op of ops) x = t.b[op](x);
      t.writeXmm(insn.reg, x);
    },
  };
}

function extendRows(signed: boolean): InsnRow[] {
  const s = signed ? 's' : 'u';
  const [stem, group] = signed ? ['PMOVSX', '2'] : ['PMOVZX', '3'];
  const byte = `i16x8_extend_low_i8x16_${s}` as const;
  const word = `i32x4_extend_low_i16x8_${s}` as const;
  const dword = `i64x2_extend_low_i32x4_${s}` as const;
  return [
    extendRow(`${stem}BW`, `${group}0`, 8, byte),
    extendRow(`${stem}BD`, `${group}1`, 4, byte, word),
    extendRow(`${stem}BQ`, `${group}2`, 2, byte, word, dword),
    extendRow(`${stem}WD`, `${group}3`, 8, word),
    extendRow(`${stem}WQ`, `${group}4`, 4, word, dword),
    extendRow(`${stem}DQ`, `${group}5`, 8, dword),
  ];
}

// --- blends

/** The sign of each lane of XMM0 chooses the source. */
function variableBlend(name: string, opcode: string, sign: (b: BlockBuilder, mask: V128) => V128): InsnRow {
  return {
    ...sse41,
    name,
    enc: `66 0F 38 ${opcode} /r`,
    args: 'Vdq:rw, Wdq:r, XMM0:r',
    translate(t, insn) {
      const b = t.b;
      const y = t.readXmmRm();
      t.writeXmm(insn.reg, b.v128_bitselect(y, t.readXmm(insn.reg), sign(b, b.get(xmm[0]))));
    },
  };
}

/** A bit of the immediate for each lane chooses the source. */
function immediateBlend(name: string, opcode: string, bytes: 2 | 4 | 8): InsnRow {
  const lanes = Array.from({ length: 16 / bytes }, (_, i) => i);
  return {
    ...sse41,
    name,
    enc: `66 0F 3A ${opcode} /r ib`,
    args: 'Vdq:rw, Wdq:r, Ib',
    translate: xmmImm((b, x, y, imm) =>
      shuffle(
        b,
        x,
        y,
        bytes,
        lanes.map((lane) => ((imm >> lane) & 1 ? lane + lanes.length : lane)),
      ),
    ),
  };
}

const blends: InsnRow[] = [
  variableBlend('PBLENDVB', '10', (b, mask) => b.i8x16_lt_s(mask, zeros(b))),
  variableBlend('BLENDVPS', '14', (b, mask) => b.i32x4_lt_s(mask, zeros(b))),
  variableBlend('BLENDVPD', '15', (b, mask) => b.i64x2_lt_s(mask, zeros(b))),
  immediateBlend('BLENDPS', '0C', 4),
  immediateBlend('BLENDPD', '0D', 8),
  immediateBlend('PBLENDW', '0E', 2),
];

// --- insertion and extraction

/** A lane to a register (zero-extended) or to memory of the lane's own size. */
function extractRow(
  name: string,
  opcode: string,
  args: string,
  bits: 8 | 16 | 32,
  lane: (b: BlockBuilder, x: V128, imm: number) => I32,
): InsnRow {
  return {
    ...sse41,
    name,
    enc: `66 0F 3A ${opcode} /r ib`,
    args,
    translate(t, insn) {
      const value = lane(t.b, t.readXmm(insn.reg), insn.immLow & 0xff);
      if (insn.isReg) t.writeGpr(32, insn.rm, value);
      else t.store(bits, t.address(), value);
    },
  };
}

const extractAndInsert: InsnRow[] = [
  extractRow('PEXTRB', '14', 'Eb:w, Vdq:r, Ib', 8, (b, x, imm) => b.i8x16_extract_lane_u(x, imm & 15)),
  extractRow('PEXTRW', '15', 'Ew:w, Vdq:r, Ib', 16, (b, x, imm) => b.i16x8_extract_lane_u(x, imm & 7)),
  extractRow('EXTRACTPS', '17', 'Ed:w, Vdq:r, Ib', 32, (b, x, imm) => b.i32x4_extract_lane(x, imm & 3)),
  ...byWidth('PEXTRQ', {
    ...sse41,
    name: 'PEXTRD',
    enc: '66 0F 3A 16 /r ib',
    args: 'Ey:w, Vdq:r, Ib',
    translate(t, insn) {
      const b = t.b;
      const x = t.readXmm(insn.reg);
      if (insn.rexW) t.writeRm(64, b.i64x2_extract_lane(x, insn.immLow & 1));
      else t.writeRm(32, b.i32x4_extract_lane(x, insn.immLow & 3));
    },
  }),
  {
    ...sse41,
    name: 'PINSRB',
    enc: '66 0F 3A 20 /r ib',
    args: 'Vdq:rw, Eb:r, Ib',
    translate(t, insn) {
      const value = insn.isReg ? t.readGpr(32, insn.rm) : t.load(8, t.address());
      t.writeXmm(insn.reg, t.b.i8x16_replace_lane(t.readXmm(insn.reg), value, insn.immLow & 15));
    },
  },
  ...byWidth('PINSRQ', {
    ...sse41,
    name: 'PINSRD',
    enc: '66 0F 3A 22 /r ib',
    args: 'Vdq:rw, Ey:r, Ib',
    translate(t, insn) {
      const b = t.b;
      if (insn.rexW) {
        const value = t.readRm(64) as I64;
        t.writeXmm(insn.reg, b.i64x2_replace_lane(t.readXmm(insn.reg), value, insn.immLow & 1));
      } else {
        const value = t.readRm(32) as I32;
        t.writeXmm(insn.reg, b.i32x4_replace_lane(t.readXmm(insn.reg), value, insn.immLow & 3));
      }
    },
  }),
  {
    ...sse41,
    name: 'INSERTPS',
    enc: '66 0F 3A 21 /r ib',
    args: 'Vdq:rw, Wd:r, Ib',
    translate(t, insn) {
      const b = t.b;
      const imm = insn.immLow & 0xff;
      const y = t.readXmmRmLow(32);
      // of memory there is but one lane
      const from = 4 + (insn.isReg ? imm >> 6 : 0);
      const lanes = [0, 1, 2, 3];
      lanes[two(imm, 2)] = from;
      const inserted = shuffle(b, t.readXmm(insn.reg), y, 4, lanes);
      t.writeXmm(insn.reg, keepLanes(b, inserted, ~imm));
    },
  },
];

/** Zeros the 32-bit lanes whose bit is 0. */
function keepLanes(b: BlockBuilder, x: V128, bits: number): V128 {
  if ((bits & 15) === 15) return x;
  const mask = (lane: number) => -((bits >> lane) & 1);
  return b.v128_and(x, b.v128(mask(0), mask(1), mask(2), mask(3)));
}

// --- floating point

function roundPacked(packed: PackedFloat): InsnRow['translate'] {
  return (t, insn) => {
    const y = t.readXmmRm();
    t.writeXmm(insn.reg, t.b.call(packed.round, y, t.b.i32(insn.immLow & 15))[1]);
  };
}

/**
 * Dot products: the products of the lanes that the immediate's upper half names, added in pairs, and the pairs' sums
 * added; the sum goes to the lanes of the lower half. Lanes left out are +0, which raises nothing.
 *
 * Each lane adds its own partial sum and its neighbour's, in the order of Intel's processors: it shows where both are NaNs,
 * of which the first operand is kept.
 */
function dotProduct(b: BlockBuilder, x: V128, y: V128, imm: number): V128 {
  const products = packed(b, 'f32x4', 'mul', keepLanes(b, x, imm >> 4), keepLanes(b, y, imm >> 4));
  const pairs = packed(b, 'f32x4', 'add', shuffle(b, products, products, 4, [1, 0, 3, 2]), products);
  const sums = packed(b, 'f32x4', 'add', pairs, shuffle(b, pairs, pairs, 4, [2, 3, 0, 1]));
  return keepLanes(b, sums, imm);
}

function dotProduct64(b: BlockBuilder, x: V128, y: V128, imm: number): V128 {
  const wide = (bits: number) => ((bits & 1) * 3) | (((bits >> 1) & 1) * 12);
  const products = packed(b, 'f64x2', 'mul', keepLanes(b, x, wide(imm >> 4)), keepLanes(b, y, wide(imm >> 4)));
  const sums = packed(b, 'f64x2', 'add', products, shuffle(b, products, products, 8, [1, 0]));
  return keepLanes(b, sums, wide(imm));
}

const floatingPoint: InsnRow[] = [
  { ...sse41, name: 'ROUNDPS', enc: '66 0F 3A 08 /r ib', args: 'Vdq:w, Wdq:r, Ib', translate: roundPacked(f32x4) },
  { ...sse41, name: 'ROUNDPD', enc: '66 0F 3A 09 /r ib', args: 'Vdq:w, Wdq:r, Ib', translate: roundPacked(f64x2) },
  {
    ...sse41,
    name: 'ROUNDSS',
    enc: '66 0F 3A 0A /r ib',
    args: 'Vss:rw, Wss:r, Ib',
    translate(t, insn) {
      const b = t.b;
      const y = b.f32x4_extract_lane(t.readXmmRmLow(32), 0);
      const [, value] = b.call(f32.round, y, b.i32(insn.immLow & 15));
      t.writeXmm(insn.reg, b.f32x4_replace_lane(t.readXmm(insn.reg), value, 0));
    },
  },
  {
    ...sse41,
    name: 'ROUNDSD',
    enc: '66 0F 3A 0B /r ib',
    args: 'Vsd:rw, Wsd:r, Ib',
    translate(t, insn) {
      const b = t.b;
      const y = b.f64x2_extract_lane(t.readXmmRmLow(64), 0);
      const [, value] = b.call(f64.round, y, b.i32(insn.immLow & 15));
      t.writeXmm(insn.reg, b.f64x2_replace_lane(t.readXmm(insn.reg), value, 0));
    },
  },
  { ...sse41, name: 'DPPS', enc: '66 0F 3A 40 /r ib', args: 'Vdq:rw, Wdq:r, Ib', translate: xmmImm(dotProduct) },
  { ...sse41, name: 'DPPD', enc: '66 0F 3A 41 /r ib', args: 'Vdq:rw, Wdq:r, Ib', translate: xmmImm(dotProduct64) },
];

// --- the rest

/** MPSADBW: eight sums of absolute differences of four bytes, the destination's window sliding by one byte. */
function slidingSums(b: BlockBuilder, x: V128, y: V128, imm: number): V128 {
  const zero = zeros(b);
  const widened = (at: (lane: number) => number) => Array.from({ length: 16 }, (_, i) => (i & 1 ? 16 : at(i >> 1)));
  const start = (imm & 4) === 0 ? 0 : 4;
  const block = two(imm, 0) * 4;
  let sum = zero;
  for (let i = 0; i < 4; i++) {
    const window = shuffle(
      b,
      x,
      zero,
      1,
      widened((lane) => start + lane + i),
    );
    const fixed = shuffle(
      b,
      y,
      zero,
      1,
      widened(() => block + i),
    );
    const difference = b.i16x8_abs(b.i16x8_sub(window, fixed));
    sum = i === 0 ? difference : b.i16x8_add(sum, difference);
  }
  return sum;
}

const ZF = 6;

const others: InsnRow[] = [
  {
    ...sse41,
    name: 'PTEST',
    enc: '66 0F 38 17 /r',
    args: 'Vdq:r, Wdq:r',
    flags: { w: 'OSZAPC' },
    translate(t, insn) {
      const b = t.b;
      const y = t.readXmmRm();
      const x = t.readXmm(insn.reg);
      const zf = b.i32_eqz(b.v128_any_true(b.v128_and(y, x)));
      const cf = b.i32_eqz(b.v128_any_true(b.v128_andnot(y, x)));
      t.writeStatusFlags(b.i32_or(b.i32_shl(zf, b.i32(ZF)), cf));
    },
  },
  {
    ...sse41,
    name: 'MOVNTDQA',
    enc: '66 0F 38 2A /r m',
    args: 'Vdq:w, Mdq:r',
    translate: (t, insn) => t.writeXmm(insn.reg, t.load128(t.address(), true)),
  },
  {
    ...sse41,
    name: 'PHMINPOSUW',
    enc: '66 0F 38 41 /r',
    args: 'Vdq:w, Wdq:r',
    translate: xmmUnary(smallestWord),
  },
  { ...sse41, name: 'MPSADBW', enc: '66 0F 3A 42 /r ib', args: 'Vdq:rw, Wdq:r, Ib', translate: xmmImm(slidingSums) },
];

export const sse41Rows: readonly InsnRow[] = [
  ...lanewise.map(([name, opcode, op]) => xmmRow({ name, cpuid: 'sse4_1' }, opcode, op)),
  ...extendRows(true),
  ...extendRows(false),
  ...blends,
  ...extractAndInsert,
  ...floatingPoint,
  ...others,
];
