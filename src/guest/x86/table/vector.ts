/**
 * What the vector rows share: shuffles by constant lanes, widths of shifts, and the functions that make a row's MMX and
 * XMM form from one operation on 128-bit vectors.
 *
 * An MMX operation is done on a vector whose halves both hold the 64-bit operand; the low half of the result counts.
 * `enterMmx` checks for a pending x87 exception, so it comes first; what it does to the x87 state happens last.
 */
import type { BlockBuilder, I32, I64, OpName, OpRow, opRows, V128 } from '../../../ir/index.js';
import { field } from '../state.js';
import type { DecodedInsn, InsnRow, Translator } from '../translator.js';

/** An operation on two vectors: destination and source. */
export type Binary = (b: BlockBuilder, x: V128, y: V128) => V128;
export type Unary = (b: BlockBuilder, x: V128) => V128;

type OpsOf<P extends readonly string[]> = {
  [K in OpName]: (typeof opRows)[K] extends OpRow<infer Q, 'v128'>
    ? Q extends P
      ? P extends Q
        ? K
        : never
      : never
    : never;
}[OpName];
export type BinaryOp = OpsOf<readonly ['v128', 'v128']> & `${'i' | 'f' | 'v'}${string}`;
export type UnaryOp = OpsOf<readonly ['v128']>;
export type ShiftOp = OpsOf<readonly ['v128', 'i32']> & `i${string}_sh${string}`;

/** The IR op of that name, as a Binary. */
export function op2(name: Exclude<BinaryOp, 'i8x16_shuffle'>): Binary {
  return (b, x, y) => b[name](x, y);
}

/** The same where a register with itself always gives zeros (0) or ones (-1): how programs make these. */
export function idiom(name: Exclude<BinaryOp, 'i8x16_shuffle'>, ofItself: 0 | -1): Binary {
  return (b, x, y) => (x === y ? words(b, ofItself) : b[name](x, y));
}

/** The same with destination and source exchanged. */
export function swapped(name: Exclude<BinaryOp, 'i8x16_shuffle'>): Binary {
  return (b, x, y) => b[name](y, x);
}

export function op1(name: UnaryOp): Unary {
  return (b, x) => b[name](x);
}

export function zeros(b: BlockBuilder): V128 {
  return b.v128(0, 0, 0, 0);
}

/** All four words the same. */
export function words(b: BlockBuilder, word: number): V128 {
  return b.v128(word, word, word, word);
}

/** Lanes of `bytes` bytes each, chosen by index from x (0..) and y (following), as a shuffle. */
export function shuffle(b: BlockBuilder, x: V128, y: V128, bytes: number, lanes: readonly number[]): V128 {
  const word = [0, 0, 0, 0];
  for (let i = 0; i < 16; i++) {
    const from = lanes[Math.floor(i / bytes)] * bytes + (i % bytes);
    word[i >> 2] |= from << ((i & 3) * 8);
  }
  return b.i8x16_shuffle(x, y, word[0], word[1], word[2], word[3]);
}

export function shuffled(bytes: number, lanes: readonly number[]): Binary {
  return (b, x, y) => shuffle(b, x, y, bytes, lanes);
}

/** Two bits of an immediate. */
export function two(imm: number, index: number): number {
  return (imm >> (2 * index)) & 3;
}

// --- MMX registers as vectors

/** Both halves hold the 64 bits. */
export function toVector(b: BlockBuilder, x: I64): V128 {
  return b.i64x2_splat(x);
}

/** The low half. */
export function toMm(b: BlockBuilder, x: V128): I64 {
  return b.i64x2_extract_lane(x, 0);
}

/** An MMX operand pair as one vector: destination below, source above. */
export function joined(b: BlockBuilder, x: V128, y: V128): V128 {
  return shuffle(b, x, y, 8, [0, 2]);
}

/** Products of the even 32-bit lanes. */
export function evenProducts(op: 'i64x2_extmul_low_i32x4_u' | 'i64x2_extmul_low_i32x4_s'): Binary {
  const even = [0, 2, 0, 2];
  return (b, x, y) => b[op](shuffle(b, x, x, 4, even), shuffle(b, y, y, 4, even));
}

/**
 * For a store of an MMX register: processors have set TOP to 0 even if the store then faults. (Elsewhere a fault of the
 * memory operand comes first and leaves the x87 state alone.)
 */
export function enterMmxAndStore(t: Translator): void {
  t.enterMmx();
  t.b.i32_store(t.b.state(), t.b.i32(0), field.fpTop);
}

// --- rows

type Translate = InsnRow['translate'];
type Features = Pick<InsnRow, 'name' | 'cpuid'>;

/** mm op= mm/m64 */
export function mmBinary(op: Binary): Translate {
  return (t, insn) => {
    t.enterMmx();
    const b = t.b;
    const y = toVector(b, t.readMmRm());
    t.writeMm(insn.reg & 7, toMm(b, op(b, toVector(b, t.readMm(insn.reg & 7)), y)));
  };
}

/** xmm op= xmm/m128 */
export function xmmBinary(op: Binary): Translate {
  return (t, insn) => {
    const y = t.readXmmRm();
    const x = insn.isReg && insn.rm === insn.reg ? y : t.readXmm(insn.reg);
    t.writeXmm(insn.reg, op(t.b, x, y));
  };
}

/** The row `66 0F … /r` for XMM registers. */
export function xmmRow({ name, cpuid }: Features, opcode: string, op: Binary): InsnRow {
  return { name, enc: `66 0F ${opcode} /r`, args: 'Vdq:rw, Wdq:r', cpuid, unit: 'sse', translate: xmmBinary(op) };
}

/** The row `NP 0F … /r` for MMX registers. */
export function mmRow({ name, cpuid }: Features, opcode: string, op: Binary): InsnRow {
  return { name, enc: `NP 0F ${opcode} /r`, args: 'Pq:rw, Qq:r', cpuid, unit: 'mmx', translate: mmBinary(op) };
}

/** Both forms of one operation that works on lanes alike in 64 and 128 bits; `mm`: the MMX form where it differs. */
export function bothRows(
  name: string,
  opcode: string,
  mmCpuid: string,
  xmmCpuid: string,
  op: Binary,
  mm: Binary = op,
): InsnRow[] {
  return [mmRow({ name, cpuid: mmCpuid }, opcode, mm), xmmRow({ name, cpuid: xmmCpuid }, opcode, op)];
}

/** xmm := op(xmm/m128) */
export function xmmUnary(op: Unary): Translate {
  return (t, insn) => t.writeXmm(insn.reg, op(t.b, t.readXmmRm()));
}

/** xmm op= xmm/m128, imm8 */
export function xmmImm(op: (b: BlockBuilder, x: V128, y: V128, imm: number) => V128): Translate {
  return (t, insn) => {
    const y = t.readXmmRm();
    t.writeXmm(insn.reg, op(t.b, t.readXmm(insn.reg), y, insn.immLow & 0xff));
  };
}

/** The rows without and with REX.W of an instruction between 32 or 64 bits (`Ey`) and a vector register. */
export function byWidth(wideName: string, row: InsnRow): InsnRow[] {
  return [
    { ...row, enc: `REX.W0 ${row.enc}`, args: row.args.replace('Ey', 'Ed') },
    { ...row, name: wideName, enc: `REX.W ${row.enc}`, args: row.args.replace('Ey', 'Eq') },
  ];
}

/** The r/m32 or, with REX.W, r/m64 operand's value as the low lane of a vector of zeros. */
export function gprAsVector(t: Translator, insn: DecodedInsn): V128 {
  const b = t.b;
  return insn.rexW
    ? b.i64x2_replace_lane(zeros(b), t.readRm(64) as I64, 0)
    : b.i32x4_replace_lane(zeros(b), t.readRm(32) as I32, 0);
}
