/** SSE3: horizontal and alternating arithmetic, duplicating moves, LDDQU. Intel SDM vol. 1 section 12.3. */
import type { InsnRow } from '../translator.js';
import { packedArithmetic } from './sse-arithmetic.js';
import { packed } from './sse-quick.js';
import { shuffle } from './vector.js';

const sse3 = { cpuid: 'sse3', unit: 'sse' } as const;

/** HADD and HSUB: neighbours in the destination, then in the source. */
function horizontalRow(name: string, enc: string, type: 'f32x4' | 'f64x2', op: 'add' | 'sub'): InsnRow {
  const [bytes, even, odd] = type === 'f32x4' ? [4, [0, 2, 4, 6], [1, 3, 5, 7]] : [8, [0, 2], [1, 3]];
  return {
    ...sse3,
    name,
    enc,
    args: 'Vdq:rw, Wdq:r',
    translate(t, insn) {
      const b = t.b;
      const y = t.readXmmRm();
      const x = t.readXmm(insn.reg);
      t.writeXmm(insn.reg, packed(b, type, op, shuffle(b, x, y, bytes, even), shuffle(b, x, y, bytes, odd)));
    },
  };
}

/** MOVSLDUP, MOVSHDUP. */
function duplicateRow(name: string, enc: string, lanes: readonly number[]): InsnRow {
  return {
    ...sse3,
    name,
    enc,
    args: 'Vdq:w, Wdq:r',
    translate(t, insn) {
      const y = t.readXmmRm();
      t.writeXmm(insn.reg, shuffle(t.b, y, y, 4, lanes));
    },
  };
}

export const sse3Rows: readonly InsnRow[] = [
  {
    ...sse3,
    name: 'ADDSUBPD',
    enc: '66 0F D0 /r',
    args: 'Vdq:rw, Wdq:r',
    translate: packedArithmetic('f64x2', 'addsub'),
  },
  {
    ...sse3,
    name: 'ADDSUBPS',
    enc: 'F2 0F D0 /r',
    args: 'Vdq:rw, Wdq:r',
    translate: packedArithmetic('f32x4', 'addsub'),
  },
  horizontalRow('HADDPD', '66 0F 7C /r', 'f64x2', 'add'),
  horizontalRow('HADDPS', 'F2 0F 7C /r', 'f32x4', 'add'),
  horizontalRow('HSUBPD', '66 0F 7D /r', 'f64x2', 'sub'),
  horizontalRow('HSUBPS', 'F2 0F 7D /r', 'f32x4', 'sub'),
  duplicateRow('MOVSLDUP', 'F3 0F 12 /r', [0, 0, 2, 2]),
  duplicateRow('MOVSHDUP', 'F3 0F 16 /r', [1, 1, 3, 3]),
  {
    ...sse3,
    name: 'MOVDDUP',
    enc: 'F2 0F 12 /r',
    args: 'Vdq:w, Wq:r',
    translate(t, insn) {
      const low = insn.isReg ? t.b.i64x2_extract_lane(t.readXmm(insn.rm), 0) : t.load(64, t.address());
      t.writeXmm(insn.reg, t.b.i64x2_splat(low));
    },
  },
  {
    ...sse3,
    name: 'LDDQU',
    enc: 'F2 0F F0 /r m',
    args: 'Vdq:w, Mdq:r',
    translate: (t, insn) => t.writeXmm(insn.reg, t.load128(t.address(), false)),
  },
];
