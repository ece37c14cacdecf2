/**
 * SSE: single-precision moves, logic, shuffles, comparison and conversion, MXCSR, and the moves of integers that came
 * with it. Intel SDM vol. 1 ch. 10. Arithmetic in all its four formats: sse-arithmetic.ts.
 */
import type { I32 } from '../../../ir/index.js';
import { field } from '../state.js';
import type { InsnRow } from '../translator.js';
import { maskedStore } from './masked-store.js';
import { singleRows } from './sse-arithmetic.js';
import { idiom, op2, shuffle, shuffled, swapped, two, xmmBinary, xmmImm } from './vector.js';

const sse = { cpuid: 'sse', unit: 'sse' } as const;

const moves: InsnRow[] = [
  {
    ...sse,
    name: 'MOVUPS',
    enc: 'NP 0F 10 /r',
    args: 'Vdq:w, Wdq:r',
    translate: (t, insn) => t.writeXmm(insn.reg, t.readXmmRm(true)),
  },
  {
    ...sse,
    name: 'MOVUPS',
    enc: 'NP 0F 11 /r',
    args: 'Wdq:w, Vdq:r',
    translate(t, insn) {
      const x = t.readXmm(insn.reg);
      if (insn.isReg) t.writeXmm(insn.rm, x);
      else t.store128(t.address(), x, false);
    },
  },
  {
    ...sse,
    name: 'MOVAPS',
    enc: 'NP 0F 28 /r',
    args: 'Vdq:w, Wdq:r',
    translate: (t, insn) => t.writeXmm(insn.reg, t.readXmmRm()),
  },
  {
    ...sse,
    name: 'MOVAPS',
    enc: 'NP 0F 29 /r',
    args: 'Wdq:w, Vdq:r',
    translate(t, insn) {
      const x = t.readXmm(insn.reg);
      if (insn.isReg) t.writeXmm(insn.rm, x);
      else t.store128(t.address(), x, true);
    },
  },
  {
    ...sse,
    name: 'MOVNTPS',
    enc: 'NP 0F 2B /r m',
    args: 'Mdq:w, Vdq:r',
    translate: (t, insn) => t.store128(t.address(), t.readXmm(insn.reg), true),
  },
  {
    ...sse,
    name: 'MOVSS',
    enc: 'F3 0F 10 /r r',
    args: 'Vss:rw, Uss:r',
    translate(t, insn) {
      t.writeXmm(insn.reg, shuffle(t.b, t.readXmm(insn.rm), t.readXmm(insn.reg), 4, [0, 5, 6, 7]));
    },
  },
  {
    ...sse,
    name: 'MOVSS',
    enc: 'F3 0F 10 /r m',
    args: 'Vdq:w, Md:r',
    translate: (t, insn) => t.writeXmm(insn.reg, t.readXmmRmLow(32)),
  },
  {
    ...sse,
    name: 'MOVSS',
    enc: 'F3 0F 11 /r',
    args: 'Wss:w, Vss:r',
    translate(t, insn) {
      const x = t.readXmm(insn.reg);
      if (insn.isReg) t.writeXmm(insn.rm, shuffle(t.b, x, t.readXmm(insn.rm), 4, [0, 5, 6, 7]));
      else t.store(32, t.address(), t.b.i32x4_extract_lane(x, 0));
    },
  },
  {
    ...sse,
    name: 'MOVLPS',
    enc: 'NP 0F 12 /r m',
    args: 'Vdq:rw, Mq:r',
    translate(t, insn) {
      const low = t.load(64, t.address());
      t.writeXmm(insn.reg, t.b.i64x2_replace_lane(t.readXmm(insn.reg), low, 0));
    },
  },
  {
    ...sse,
    name: 'MOVHLPS',
    enc: 'NP 0F 12 /r r',
    args: 'Vdq:rw, Udq:r',
    translate: xmmBinary(shuffled(8, [3, 1])),
  },
  {
    ...sse,
    name: 'MOVLPS',
    enc: 'NP 0F 13 /r m',
    args: 'Mq:w, Vq:r',
    translate: (t, insn) => t.store(64, t.address(), t.b.i64x2_extract_lane(t.readXmm(insn.reg), 0)),
  },
  {
    ...sse,
    name: 'MOVHPS',
    enc: 'NP 0F 16 /r m',
    args: 'Vdq:rw, Mq:r',
    translate(t, insn) {
      const high = t.load(64, t.address());
      t.writeXmm(insn.reg, t.b.i64x2_replace_lane(t.readXmm(insn.reg), high, 1));
    },
  },
  {
    ...sse,
    name: 'MOVLHPS',
    enc: 'NP 0F 16 /r r',
    args: 'Vdq:rw, Uq:r',
    translate: xmmBinary(shuffled(8, [0, 2])),
  },
  {
    ...sse,
    name: 'MOVHPS',
    enc: 'NP 0F 17 /r m',
    args: 'Mq:w, Vdq:r',
    translate: (t, insn) => t.store(64, t.address(), t.b.i64x2_extract_lane(t.readXmm(insn.reg), 1)),
  },
  {
    ...sse,
    name: 'MOVMSKPS',
    enc: 'NP 0F 50 /r r',
    args: 'Gd:w, Udq:r',
    translate: (t, insn) => t.writeGpr(32, insn.reg, t.b.i32x4_bitmask(t.readXmm(insn.rm))),
  },
  {
    name: 'MASKMOVQ',
    enc: 'NP 0F F7 /r r',
    args: 'Pq:r, Nq:r',
    cpuid: 'sse',
    unit: 'mmx',
    translate: maskedStore(8),
  },
];

const logicAndShuffles: InsnRow[] = [
  { ...sse, name: 'ANDPS', enc: 'NP 0F 54 /r', args: 'Vdq:rw, Wdq:r', translate: xmmBinary(op2('v128_and')) },
  { ...sse, name: 'ANDNPS', enc: 'NP 0F 55 /r', args: 'Vdq:rw, Wdq:r', translate: xmmBinary(swapped('v128_andnot')) },
  { ...sse, name: 'ORPS', enc: 'NP 0F 56 /r', args: 'Vdq:rw, Wdq:r', translate: xmmBinary(op2('v128_or')) },
  { ...sse, name: 'XORPS', enc: 'NP 0F 57 /r', args: 'Vdq:rw, Wdq:r', translate: xmmBinary(idiom('v128_xor', 0)) },
  {
    ...sse,
    name: 'UNPCKLPS',
    enc: 'NP 0F 14 /r',
    args: 'Vdq:rw, Wdq:r',
    translate: xmmBinary(shuffled(4, [0, 4, 1, 5])),
  },
  {
    ...sse,
    name: 'UNPCKHPS',
    enc: 'NP 0F 15 /r',
    args: 'Vdq:rw, Wdq:r',
    translate: xmmBinary(shuffled(4, [2, 6, 3, 7])),
  },
  {
    ...sse,
    name: 'SHUFPS',
    enc: 'NP 0F C6 /r ib',
    args: 'Vdq:rw, Wdq:r, Ib',
    translate: xmmImm((b, x, y, imm) =>
      shuffle(b, x, y, 4, [two(imm, 0), two(imm, 1), 4 + two(imm, 2), 4 + two(imm, 3)]),
    ),
  },
];

/** Bits of MXCSR that exist; MXCSR_MASK as FXSAVE stores it. */
const MXCSR_MASK = 0xffff;

const control: InsnRow[] = [
  {
    ...sse,
    name: 'LDMXCSR',
    enc: 'NP 0F AE /2 m',
    args: 'Md:r',
    translate(t) {
      const b = t.b;
      const value = t.load(32, t.address()) as I32;
      t.faultIf(b.i32_and(value, b.i32(~MXCSR_MASK)), 13, 0);
      b.i32_store(b.state(), value, field.mxcsr);
    },
  },
  {
    ...sse,
    name: 'STMXCSR',
    enc: 'NP 0F AE /3 m',
    args: 'Md:w',
    translate: (t) => t.store(32, t.address(), t.b.i32_load(t.b.state(), field.mxcsr)),
  },
];

export const sseRows: readonly InsnRow[] = [...moves, ...logicAndShuffles, ...singleRows, ...control];
