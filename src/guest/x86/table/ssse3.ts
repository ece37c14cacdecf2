/** SSSE3: horizontal integer arithmetic, byte shuffles, sign operations; in MMX and XMM registers. Intel SDM vol. 1 section 12.5. */
import type { BlockBuilder, V128 } from '../../../ir/index.js';
import type { InsnRow } from '../translator.js';
import {
  type Binary,
  type BinaryOp,
  bothRows,
  joined,
  op1,
  shuffle,
  toMm,
  toVector,
  type UnaryOp,
  words,
  zeros,
} from './vector.js';

/** Pairs of neighbours in destination and source, combined; the MMX form has both in one vector. */
function horizontalRows(name: string, opcode: string, bytes: 2 | 4, op: Exclude<BinaryOp, 'i8x16_shuffle'>): InsnRow[] {
  const lanes = 16 / bytes;
  const even = Array.from({ length: lanes }, (_, i) => 2 * i);
  const odd = even.map((lane) => lane + 1);
  const xmm: Binary = (b, x, y) => b[op](shuffle(b, x, y, bytes, even), shuffle(b, x, y, bytes, odd));
  return bothRows(name, opcode, 'ssse3', 'ssse3', xmm, (b, x, y) => {
    const both = joined(b, x, y);
    return xmm(b, both, both);
  });
}

/** Byte shuffle: an index with its top bit set gives zero, else its low bits count. */
function byteShuffle(kept: number): Binary {
  return (b, x, y) => b.i8x16_swizzle(x, b.v128_and(y, words(b, kept * 0x01010101)));
}

/** Sums of products of unsigned with signed bytes, saturated. */
function unsignedBySigned(b: BlockBuilder, x: V128, y: V128): V128 {
  const eight = b.i32(8);
  const even = b.i16x8_mul(b.v128_and(x, words(b, 0x00ff00ff)), b.i16x8_shr_s(b.i16x8_shl(y, eight), eight));
  const odd = b.i16x8_mul(b.i16x8_shr_u(x, eight), b.i16x8_shr_s(y, eight));
  return b.i16x8_add_sat_s(even, odd);
}

/** Rounded high products; WebAssembly's saturates -1 * -1, here it wraps. */
function roundedHighProducts(b: BlockBuilder, x: V128, y: V128): V128 {
  const bothLowest = b.i16x8_eq(b.i16x8_max_s(x, y), words(b, 0x80008000 | 0));
  return b.v128_xor(b.i16x8_q15mulr_sat_s(x, y), bothLowest);
}

/** The destination with the sign of the source: negated, zero or as it is. */
function signRows(name: string, opcode: string, lane: 'i8x16' | 'i16x8' | 'i32x4'): InsnRow[] {
  return bothRows(name, opcode, 'ssse3', 'ssse3', (b, x, y) => {
    const zero = zeros(b);
    const negative = b[`${lane}_lt_s`](y, zero);
    const signed = b[`${lane}_sub`](b.v128_xor(x, negative), negative);
    return b.v128_andnot(signed, b[`${lane}_eq`](y, zero));
  });
}

/** PABSB and kin do not read their destination. */
function absoluteRows(name: string, opcode: string, op: UnaryOp): InsnRow[] {
  const absolute = op1(op);
  const rows = bothRows(name, opcode, 'ssse3', 'ssse3', (b, _, y) => absolute(b, y));
  return rows.map((row) => ({ ...row, args: row.args.replace(':rw', ':w') }));
}

/** Sixteen bytes of source and destination joined (source below), from a byte on; beyond them zeros. */
function align(b: BlockBuilder, x: V128, y: V128, from: number): V128 {
  const lanes = Array.from({ length: 16 }, (_, i) => i + (from & 15));
  if (from < 16) return shuffle(b, y, x, 1, lanes);
  return from < 32 ? shuffle(b, x, zeros(b), 1, lanes) : zeros(b);
}

const alignRows: InsnRow[] = [
  {
    name: 'PALIGNR',
    enc: 'NP 0F 3A 0F /r ib',
    args: 'Pq:rw, Qq:r, Ib',
    cpuid: 'ssse3',
    unit: 'mmx',
    translate(t, insn) {
      t.enterMmx();
      const b = t.b;
      const y = t.readMmRm();
      const from = Math.min(insn.immLow & 0xff, 16);
      // source below, destination above, in one vector
      const both = joined(b, toVector(b, y), toVector(b, t.readMm(insn.reg & 7)));
      t.writeMm(insn.reg & 7, toMm(b, align(b, zeros(b), both, from)));
    },
  },
  {
    name: 'PALIGNR',
    enc: '66 0F 3A 0F /r ib',
    args: 'Vdq:rw, Wdq:r, Ib',
    cpuid: 'ssse3',
    unit: 'sse',
    translate(t, insn) {
      const y = t.readXmmRm();
      t.writeXmm(insn.reg, align(t.b, t.readXmm(insn.reg), y, insn.immLow & 0xff));
    },
  },
];

export const ssse3Rows: readonly InsnRow[] = [
  ...bothRows('PSHUFB', '38 00', 'ssse3', 'ssse3', byteShuffle(0x8f), byteShuffle(0x87)),
  ...horizontalRows('PHADDW', '38 01', 2, 'i16x8_add'),
  ...horizontalRows('PHADDD', '38 02', 4, 'i32x4_add'),
  ...horizontalRows('PHADDSW', '38 03', 2, 'i16x8_add_sat_s'),
  ...bothRows('PMADDUBSW', '38 04', 'ssse3', 'ssse3', unsignedBySigned),
  ...horizontalRows('PHSUBW', '38 05', 2, 'i16x8_sub'),
  ...horizontalRows('PHSUBD', '38 06', 4, 'i32x4_sub'),
  ...horizontalRows('PHSUBSW', '38 07', 2, 'i16x8_sub_sat_s'),
  ...signRows('PSIGNB', '38 08', 'i8x16'),
  ...signRows('PSIGNW', '38 09', 'i16x8'),
  ...signRows('PSIGND', '38 0A', 'i32x4'),
  ...bothRows('PMULHRSW', '38 0B', 'ssse3', 'ssse3', roundedHighProducts),
  ...absoluteRows('PABSB', '38 1C', 'i8x16_abs'),
  ...absoluteRows('PABSW', '38 1D', 'i16x8_abs'),
  ...absoluteRows('PABSD', '38 1E', 'i32x4_abs'),
  ...alignRows,
];
