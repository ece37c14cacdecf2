/**
 * Conversions between floating point and integers and between the two precisions: SSE's with MMX registers and all of
 * SSE2's. Intel SDM vol. 1 sections 10.4.4, 11.4.1.6. Those that may be inexact or invalid are routines
 * (routines/float-sse.ts); an operand in an MMX register makes the instruction enter MMX.
 */
import type { BlockBuilder, F32, F64, I32, I64, V128 } from '../../../ir/index.js';
import { convert, f32, f32x4, f64, f64x2, type PackedFloat } from '../routines/float-sse.js';
import type { DecodedInsn, InsnRow, Translator } from '../translator.js';
import { packed1 } from './sse-arithmetic.js';
import { f32FromI32, f32ToF64, f64ToF32, fromI64, truncated } from './sse-quick.js';
import { toMm, zeros } from './vector.js';

const unit = 'sse';

/** The low half, the upper lanes zero. */
function lowHalf(t: Translator, x: V128): V128 {
  return t.insn.isReg ? t.b.v128_and(x, t.b.v128(-1, -1, 0, 0)) : x;
}

// --- with MMX registers

/** CVTPI2PS, CVTPI2PD: two 32-bit integers. An operand in memory does not enter MMX, as processors do it in both. */
function fromMm(
  name: string,
  enc: string,
  cpuid: string,
  args: string,
  op: (t: Translator, integers: V128, insn: DecodedInsn) => V128,
): InsnRow {
  return {
    name,
    enc,
    args,
    cpuid,
    unit,
    translate(t, insn) {
      if (insn.isReg) t.enterMmx();
      const b = t.b;
      const integers = b.i64x2_replace_lane(zeros(b), t.readMmRm(), 0);
      const result = op(t, integers, insn);
      t.writeXmm(insn.reg, result);
    },
  };
}

/** CVT(T)PS2PI, CVT(T)PD2PI: two numbers to 32-bit integers in an MMX register. */
function toMmRow(
  name: string,
  enc: string,
  cpuid: string,
  wide: boolean,
  packed: PackedFloat,
  truncate: 0 | 1,
): InsnRow {
  return {
    name,
    enc,
    args: wide ? 'Pq:w, Wdq:r' : 'Pq:w, Wq:r',
    cpuid,
    unit,
    translate(t, insn) {
      t.enterMmx();
      const x = wide ? t.readXmmRm() : lowHalf(t, t.readXmmRmLow(64));
      const [, integers] = t.b.call(packed.toI32, x, t.b.i32(truncate));
      t.writeMm(insn.reg & 7, toMm(t.b, integers));
    },
  };
}

const withMmx: InsnRow[] = [
  fromMm('CVTPI2PS', 'NP 0F 2A /r', 'sse', 'Vdq:rw, Qq:r', (t, integers, insn) => {
    const [, floats] = t.b.call(convert.f32x4FromI32, integers);
    return t.b.i64x2_replace_lane(t.readXmm(insn.reg), t.b.i64x2_extract_lane(floats, 0), 0);
  }),
  fromMm('CVTPI2PD', '66 0F 2A /r', 'sse2', 'Vdq:w, Qq:r', (t, integers) => t.b.f64x2_convert_low_i32x4_s(integers)),
  toMmRow('CVTTPS2PI', 'NP 0F 2C /r', 'sse', false, f32x4, 1),
  toMmRow('CVTPS2PI', 'NP 0F 2D /r', 'sse', false, f32x4, 0),
  toMmRow('CVTTPD2PI', '66 0F 2C /r', 'sse2', true, f64x2, 1),
  toMmRow('CVTPD2PI', '66 0F 2D /r', 'sse2', true, f64x2, 0),
];

// --- with general registers

/** To an integer as MXCSR says. */
function rounded(b: BlockBuilder, type: 'f32' | 'f64', x: F32 | F64, to: 32 | 64): I32 | I64 {
  const mode = b.i32(0);
  if (type === 'f32') return to === 64 ? b.call(f32.toI64, x as F32, mode)[1] : b.call(f32.toI32, x as F32, mode)[1];
  return to === 64 ? b.call(f64.toI64, x as F64, mode)[1] : b.call(f64.toI32, x as F64, mode)[1];
}

/** CVT(T)SS2SI, CVT(T)SD2SI. */
function toGpr(name: string, enc: string, cpuid: string, bits: 32 | 64, truncate: 0 | 1): InsnRow {
  return {
    name,
    enc,
    args: bits === 32 ? 'Gy:w, Wss:r' : 'Gy:w, Wsd:r',
    cpuid,
    unit,
    translate(t, insn) {
      const b = t.b;
      const x = t.readXmmRmLow(bits);
      const to = insn.rexW ? 64 : 32;
      const value = bits === 32 ? b.f32x4_extract_lane(x, 0) : b.f64x2_extract_lane(x, 0);
      t.writeGpr(to, insn.reg, (truncate ? truncated : rounded)(b, bits === 32 ? 'f32' : 'f64', value, to));
    },
  };
}

const withGpr: InsnRow[] = [
  {
    name: 'CVTSI2SS',
    enc: 'F3 0F 2A /r',
    args: 'Vss:rw, Ey:r',
    cpuid: 'sse',
    unit,
    translate(t, insn) {
      const b = t.b;
      const value = insn.rexW ? fromI64(b, 'f32', t.readRm(64) as I64) : f32FromI32(b, t.readRm(32) as I32);
      t.writeXmm(insn.reg, b.f32x4_replace_lane(t.readXmm(insn.reg), value as F32, 0));
    },
  },
  {
    name: 'CVTSI2SD',
    enc: 'F2 0F 2A /r',
    args: 'Vsd:rw, Ey:r',
    cpuid: 'sse2',
    unit,
    translate(t, insn) {
      const b = t.b;
      // 32-bit integers are exact
      const value = insn.rexW ? fromI64(b, 'f64', t.readRm(64) as I64) : b.f64_convert_i32_s(t.readRm(32) as I32);
      t.writeXmm(insn.reg, b.f64x2_replace_lane(t.readXmm(insn.reg), value as F64, 0));
    },
  },
  toGpr('CVTTSS2SI', 'F3 0F 2C /r', 'sse', 32, 1),
  toGpr('CVTSS2SI', 'F3 0F 2D /r', 'sse', 32, 0),
  toGpr('CVTTSD2SI', 'F2 0F 2C /r', 'sse2', 64, 1),
  toGpr('CVTSD2SI', 'F2 0F 2D /r', 'sse2', 64, 0),
];

// --- between vector registers

/** A packed conversion to 32-bit integers. */
function toIntegers(name: string, enc: string, packed: PackedFloat, truncate: 0 | 1): InsnRow {
  return {
    name,
    enc,
    args: 'Vdq:w, Wdq:r',
    cpuid: 'sse2',
    unit,
    translate(t, insn) {
      const x = t.readXmmRm();
      t.writeXmm(insn.reg, t.b.call(packed.toI32, x, t.b.i32(truncate))[1]);
    },
  };
}

const withVectors: InsnRow[] = [
  {
    name: 'CVTPS2PD',
    enc: 'NP 0F 5A /r',
    args: 'Vdq:w, Wq:r',
    cpuid: 'sse2',
    unit,
    translate(t, insn) {
      const x = t.readXmmRmLow(64);
      t.writeXmm(insn.reg, t.b.call(convert.f32x4ToF64x2, x)[1]);
    },
  },
  {
    name: 'CVTPD2PS',
    enc: '66 0F 5A /r',
    args: 'Vdq:w, Wdq:r',
    cpuid: 'sse2',
    unit,
    translate: packed1(convert.f64x2ToF32x4),
  },
  {
    name: 'CVTSS2SD',
    enc: 'F3 0F 5A /r',
    args: 'Vsd:rw, Wss:r',
    cpuid: 'sse2',
    unit,
    translate(t, insn) {
      const b = t.b;
      const x = b.f32x4_extract_lane(t.readXmmRmLow(32), 0);
      t.writeXmm(insn.reg, b.f64x2_replace_lane(t.readXmm(insn.reg), f32ToF64(b, x), 0));
    },
  },
  {
    name: 'CVTSD2SS',
    enc: 'F2 0F 5A /r',
    args: 'Vss:rw, Wsd:r',
    cpuid: 'sse2',
    unit,
    translate(t, insn) {
      const b = t.b;
      const x = b.f64x2_extract_lane(t.readXmmRmLow(64), 0);
      t.writeXmm(insn.reg, b.f32x4_replace_lane(t.readXmm(insn.reg), f64ToF32(b, x), 0));
    },
  },
  {
    name: 'CVTDQ2PS',
    enc: 'NP 0F 5B /r',
    args: 'Vdq:w, Wdq:r',
    cpuid: 'sse2',
    unit,
    translate: packed1(convert.f32x4FromI32),
  },
  {
    name: 'CVTDQ2PD',
    enc: 'F3 0F E6 /r',
    args: 'Vdq:w, Wq:r',
    cpuid: 'sse2',
    unit,
    translate(t, insn) {
      t.writeXmm(insn.reg, t.b.f64x2_convert_low_i32x4_s(t.readXmmRmLow(64)));
    },
  },
  toIntegers('CVTPS2DQ', '66 0F 5B /r', f32x4, 0),
  toIntegers('CVTTPS2DQ', 'F3 0F 5B /r', f32x4, 1),
  toIntegers('CVTPD2DQ', 'F2 0F E6 /r', f64x2, 0),
  toIntegers('CVTTPD2DQ', '66 0F E6 /r', f64x2, 1),
];

export const conversionRows: readonly InsnRow[] = [...withMmx, ...withGpr, ...withVectors];
