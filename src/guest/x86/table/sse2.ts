/**
 * SSE2: double-precision moves, logic and shuffles, moves and shuffles of packed integers. Intel SDM vol. 1 ch. 11.
 * Packed integer operations, which widen MMX's: mmx.ts. Floating-point arithmetic: sse-arithmetic.ts; conversions:
 * sse-conversions.ts.
 */
import type { InsnRow } from '../translator.js';
import { maskedStore } from './masked-store.js';
import { doubleRows } from './sse-arithmetic.js';
import { conversionRows } from './sse-conversions.js';
import { byWidth, gprAsVector, idiom, op2, shuffle, shuffled, swapped, two, xmmBinary, xmmImm } from './vector.js';

const sse2 = { cpuid: 'sse2', unit: 'sse' } as const;

/** A load and a store of 128 bits. */
function wholeMoves(name: string, load: string, store: string, aligned: boolean): InsnRow[] {
  return [
    {
      ...sse2,
      name,
      enc: `${load} /r`,
      args: 'Vdq:w, Wdq:r',
      translate: (t, insn) => t.writeXmm(insn.reg, t.readXmmRm(!aligned)),
    },
    {
      ...sse2,
      name,
      enc: `${store} /r`,
      args: 'Wdq:w, Vdq:r',
      translate(t, insn) {
        const x = t.readXmm(insn.reg);
        if (insn.isReg) t.writeXmm(insn.rm, x);
        else t.store128(t.address(), x, aligned);
      },
    },
  ];
}

/** A non-temporal store. */
function streamRow(name: string, enc: string): InsnRow {
  return {
    ...sse2,
    name,
    enc,
    args: 'Mdq:w, Vdq:r',
    translate: (t, insn) => t.store128(t.address(), t.readXmm(insn.reg), true),
  };
}

const moves: InsnRow[] = [
  ...wholeMoves('MOVUPD', '66 0F 10', '66 0F 11', false),
  ...wholeMoves('MOVAPD', '66 0F 28', '66 0F 29', true),
  ...wholeMoves('MOVDQA', '66 0F 6F', '66 0F 7F', true),
  ...wholeMoves('MOVDQU', 'F3 0F 6F', 'F3 0F 7F', false),
  streamRow('MOVNTPD', '66 0F 2B /r m'),
  streamRow('MOVNTDQ', '66 0F E7 /r m'),
  {
    name: 'MOVNTI',
    enc: 'NP 0F C3 /r m',
    args: 'My:w, Gy:r',
    cpuid: 'sse2',
    translate(t, insn) {
      const size = insn.rexW ? 64 : 32;
      t.store(size, t.address(), t.readGpr(size, insn.reg));
    },
  },
  {
    ...sse2,
    name: 'MOVSD',
    enc: 'F2 0F 10 /r r',
    args: 'Vsd:rw, Usd:r',
    translate: (t, insn) => t.writeXmm(insn.reg, shuffle(t.b, t.readXmm(insn.rm), t.readXmm(insn.reg), 8, [0, 3])),
  },
  {
    ...sse2,
    name: 'MOVSD',
    enc: 'F2 0F 10 /r m',
    args: 'Vdq:w, Mq:r',
    translate: (t, insn) => t.writeXmm(insn.reg, t.readXmmRmLow(64)),
  },
  {
    ...sse2,
    name: 'MOVSD',
    enc: 'F2 0F 11 /r',
    args: 'Wsd:w, Vsd:r',
    translate(t, insn) {
      const x = t.readXmm(insn.reg);
      if (insn.isReg) t.writeXmm(insn.rm, shuffle(t.b, x, t.readXmm(insn.rm), 8, [0, 3]));
      else t.store(64, t.address(), t.b.i64x2_extract_lane(x, 0));
    },
  },
  {
    ...sse2,
    name: 'MOVLPD',
    enc: '66 0F 12 /r m',
    args: 'Vdq:rw, Mq:r',
    translate(t, insn) {
      const low = t.load(64, t.address());
      t.writeXmm(insn.reg, t.b.i64x2_replace_lane(t.readXmm(insn.reg), low, 0));
    },
  },
  {
    ...sse2,
    name: 'MOVLPD',
    enc: '66 0F 13 /r m',
    args: 'Mq:w, Vq:r',
    translate: (t, insn) => t.store(64, t.address(), t.b.i64x2_extract_lane(t.readXmm(insn.reg), 0)),
  },
  {
    ...sse2,
    name: 'MOVHPD',
    enc: '66 0F 16 /r m',
    args: 'Vdq:rw, Mq:r',
    translate(t, insn) {
      const high = t.load(64, t.address());
      t.writeXmm(insn.reg, t.b.i64x2_replace_lane(t.readXmm(insn.reg), high, 1));
    },
  },
  {
    ...sse2,
    name: 'MOVHPD',
    enc: '66 0F 17 /r m',
    args: 'Mq:w, Vdq:r',
    translate: (t, insn) => t.store(64, t.address(), t.b.i64x2_extract_lane(t.readXmm(insn.reg), 1)),
  },
  ...byWidth('MOVQ', {
    ...sse2,
    name: 'MOVD',
    enc: '66 0F 6E /r',
    args: 'Vdq:w, Ey:r',
    translate: (t, insn) => t.writeXmm(insn.reg, gprAsVector(t, insn)),
  }),
  ...byWidth('MOVQ', {
    ...sse2,
    name: 'MOVD',
    enc: '66 0F 7E /r',
    args: 'Ey:w, Vdq:r',
    translate(t, insn) {
      const x = t.readXmm(insn.reg);
      if (insn.rexW) t.writeRm(64, t.b.i64x2_extract_lane(x, 0));
      else t.writeRm(32, t.b.i32x4_extract_lane(x, 0));
    },
  }),
  {
    ...sse2,
    name: 'MOVQ',
    enc: 'F3 0F 7E /r',
    args: 'Vdq:w, Wq:r',
    translate(t, insn) {
      const b = t.b;
      const x = t.readXmmRmLow(64);
      t.writeXmm(insn.reg, insn.isReg ? b.v128_and(x, b.v128(-1, -1, 0, 0)) : x);
    },
  },
  {
    ...sse2,
    name: 'MOVQ',
    enc: '66 0F D6 /r',
    args: 'Wq:w, Vq:r',
    translate(t, insn) {
      const b = t.b;
      const x = t.readXmm(insn.reg);
      if (insn.isReg) t.writeXmm(insn.rm, b.v128_and(x, b.v128(-1, -1, 0, 0)));
      else t.store(64, t.address(), b.i64x2_extract_lane(x, 0));
    },
  },
  {
    ...sse2,
    name: 'MOVQ2DQ',
    enc: 'F3 0F D6 /r r',
    args: 'Vdq:w, Nq:r',
    translate(t, insn) {
      const b = t.b;
      t.enterMmx();
      t.writeXmm(insn.reg, b.i64x2_replace_lane(b.v128(0, 0, 0, 0), t.readMm(insn.rm & 7), 0));
    },
  },
  {
    ...sse2,
    name: 'MOVDQ2Q',
    enc: 'F2 0F D6 /r r',
    args: 'Pq:w, Uq:r',
    translate(t, insn) {
      t.enterMmx();
      t.writeMm(insn.reg & 7, t.b.i64x2_extract_lane(t.readXmm(insn.rm), 0));
    },
  },
  {
    ...sse2,
    name: 'MOVMSKPD',
    enc: '66 0F 50 /r r',
    args: 'Gd:w, Udq:r',
    translate: (t, insn) => t.writeGpr(32, insn.reg, t.b.i64x2_bitmask(t.readXmm(insn.rm))),
  },
  { ...sse2, name: 'MASKMOVDQU', enc: '66 0F F7 /r r', args: 'Vdq:r, Udq:r', translate: maskedStore(16) },
];

/** PSHUFD and kin: lanes of the source alone. */
function selectRow(name: string, enc: string, bytes: number, lanes: (imm: number) => readonly number[]): InsnRow {
  return {
    ...sse2,
    name,
    enc,
    args: 'Vdq:w, Wdq:r, Ib',
    translate(t, insn) {
      const y = t.readXmmRm();
      t.writeXmm(insn.reg, shuffle(t.b, y, y, bytes, lanes(insn.immLow & 0xff)));
    },
  };
}

const logicAndShuffles: InsnRow[] = [
  { ...sse2, name: 'ANDPD', enc: '66 0F 54 /r', args: 'Vdq:rw, Wdq:r', translate: xmmBinary(op2('v128_and')) },
  { ...sse2, name: 'ANDNPD', enc: '66 0F 55 /r', args: 'Vdq:rw, Wdq:r', translate: xmmBinary(swapped('v128_andnot')) },
  { ...sse2, name: 'ORPD', enc: '66 0F 56 /r', args: 'Vdq:rw, Wdq:r', translate: xmmBinary(op2('v128_or')) },
  { ...sse2, name: 'XORPD', enc: '66 0F 57 /r', args: 'Vdq:rw, Wdq:r', translate: xmmBinary(idiom('v128_xor', 0)) },
  { ...sse2, name: 'UNPCKLPD', enc: '66 0F 14 /r', args: 'Vdq:rw, Wdq:r', translate: xmmBinary(shuffled(8, [0, 2])) },
  { ...sse2, name: 'UNPCKHPD', enc: '66 0F 15 /r', args: 'Vdq:rw, Wdq:r', translate: xmmBinary(shuffled(8, [1, 3])) },
  {
    ...sse2,
    name: 'SHUFPD',
    enc: '66 0F C6 /r ib',
    args: 'Vdq:rw, Wdq:r, Ib',
    translate: xmmImm((b, x, y, imm) => shuffle(b, x, y, 8, [imm & 1, 2 + ((imm >> 1) & 1)])),
  },
  selectRow('PSHUFD', '66 0F 70 /r ib', 4, (imm) => [two(imm, 0), two(imm, 1), two(imm, 2), two(imm, 3)]),
  selectRow('PSHUFLW', 'F2 0F 70 /r ib', 2, (imm) => [two(imm, 0), two(imm, 1), two(imm, 2), two(imm, 3), 4, 5, 6, 7]),
  selectRow('PSHUFHW', 'F3 0F 70 /r ib', 2, (imm) => [
    ...[0, 1, 2, 3],
    ...[4 + two(imm, 0), 4 + two(imm, 1), 4 + two(imm, 2), 4 + two(imm, 3)],
  ]),
];

export const sse2Rows: readonly InsnRow[] = [...moves, ...logicAndShuffles, ...doubleRows, ...conversionRows];
