/** SSE4.2: comparison of strings, PCMPGTQ. Intel SDM vol. 1 section 12.12. CRC32 is an integer instruction. */
import type { I32, I64, V128 } from '../../../ir/index.js';
import { compareExplicit, compareImplicit } from '../routines/string-compare.js';
import { xmm } from '../state.js';
import type { DecodedInsn, InsnRow, Translator } from '../translator.js';
import { op2, shuffle, xmmRow, zeros } from './vector.js';

const RAX = 0;
const RCX = 1;
const RDX = 2;

/** EAX or EDX, or with REX.W RAX or RDX, as a signed count. */
function count(t: Translator, insn: DecodedInsn, n: number): I64 {
  return insn.rexW ? t.readGpr(64, n) : t.b.i64_extend_i32_s(t.readGpr(32, n));
}

/** The index of the lowest or highest element found, or the number of elements. */
function foundIndex(t: Translator, found: I32, control: number): I32 {
  const b = t.b;
  const elements = control & 1 ? 8 : 16;
  if (control & 0x40) return b.select(found, b.i32_sub(b.i32(31), b.i32_clz(found)), b.i32(elements));
  return b.i32_ctz(b.i32_or(found, b.i32(1 << elements)));
}

/** The elements found as bits, or as lanes of all ones. */
function foundMask(t: Translator, found: I32, control: number): V128 {
  const b = t.b;
  if (!(control & 0x40)) return b.i32x4_replace_lane(zeros(b), found, 0);
  const spread = b.i16x8_splat(found);
  if (control & 1) {
    const bits = b.v128(0x0002_0001, 0x0008_0004, 0x0020_0010, 0x0080_0040);
    return b.i16x8_eq(b.v128_and(spread, bits), bits);
  }
  // the low byte of the bits in the low half, the high byte in the high half
  const lanes = shuffle(b, spread, spread, 1, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
  const bits = b.v128(0x0804_0201, 0x8040_2010 | 0, 0x0804_0201, 0x8040_2010 | 0);
  return b.i8x16_eq(b.v128_and(lanes, bits), bits);
}

/** Memory operands need no alignment. */
function stringRow(name: string, opcode: string, explicit: boolean, index: boolean): InsnRow {
  return {
    name,
    enc: `66 0F 3A ${opcode} /r ib`,
    args: 'Vdq:r, Wdq:r, Ib',
    cpuid: 'sse4_2',
    unit: 'sse',
    flags: { w: 'OSZAPC' },
    translate(t, insn) {
      const b = t.b;
      const control = insn.immLow & 0xff;
      const y = t.readXmmRm(true);
      const x = t.readXmm(insn.reg);
      const [found, flags] = explicit
        ? b.call(compareExplicit, x, y, count(t, insn, RAX), count(t, insn, RDX), b.i32(control))
        : b.call(compareImplicit, x, y, b.i32(control));
      if (index) t.writeGpr(32, RCX, foundIndex(t, found, control));
      else b.set(xmm[0], foundMask(t, found, control));
      t.writeStatusFlags(flags);
    },
  };
}

export const sse42Rows: readonly InsnRow[] = [
  xmmRow({ name: 'PCMPGTQ', cpuid: 'sse4_2' }, '38 37', op2('i64x2_gt_s')),
  stringRow('PCMPESTRM', '60', true, false),
  stringRow('PCMPESTRI', '61', true, true),
  stringRow('PCMPISTRM', '62', false, false),
  stringRow('PCMPISTRI', '63', false, true),
];
