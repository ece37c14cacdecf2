/** What rows of Advanced SIMD share: sizes, lanes, the upper half of a register that a short vector clears. */
import type { BlockBuilder, I32, I64, V128 } from '../../../ir/index.js';
import type { LaneRoutine } from '../routines/lanes.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { field } from '../state.js';

/** Lanes of 8, 16, 32, 64 bits: as a power of 2 in bytes. */
export type Size = 0 | 1 | 2 | 3;
/** What describes vector operations, of AArch64 or AArch32. */
export interface VectorTranslator {
  readonly b: BlockBuilder;
}
export type Binary = (t: VectorTranslator, x: V128, y: V128, size: Size) => V128;
export type Unary = (t: VectorTranslator, x: V128, size: Size) => V128;

const shapes = ['i8x16', 'i16x8', 'i32x4', 'i64x2'] as const;
type Method = (this: BlockBuilder, ...operands: unknown[]) => V128;

/** WebAssembly's operation of this name on lanes of a size; undefined where it has none. */
function methodOf(b: BlockBuilder, name: string, size: Size): Method | undefined {
  return (b as unknown as Record<string, Method | undefined>)[`${shapes[size]}_${name}`];
}
export function apply({ b }: VectorTranslator, name: string, size: Size, ...operands: readonly unknown[]): V128 {
  const method = methodOf(b, name, size);
  if (!method) throw new Error(`vring invariant broken: there is no ${shapes[size]}_${name}`);
  return method.call(b, ...operands);
}
export const native =
  (name: string): Binary =>
  (t, x, y, size) =>
    apply(t, name, size, x, y);
export const nativeUnary =
  (name: string): Unary =>
  (t, x, size) =>
    apply(t, name, size, x);

export const zero = ({ b }: VectorTranslator): V128 => b.v128(0, 0, 0, 0);
export const byLanes =
  (routine: LaneRoutine): Binary =>
  (t, x, y, size) =>
    t.b.call(routine, x, y, zero(t), t.b.i32(8 << size))[0];
export const unaryByLanes =
  (routine: LaneRoutine): Unary =>
  (t, x, size) =>
    t.b.call(routine, x, zero(t), zero(t), t.b.i32(8 << size))[0];

/** The `q` of scalar forms: one lane of the instruction's size. */
export const ONE_LANE = -1;

/** Writes the register; a vector of 64 bits clears what is above it, a scalar what is above its lane. */
export function setVector(t: Translator, i: Fields, value: V128, size = i.size): void {
  t.setV(i.rd, used(t, i, value, size));
}

/** A short vector in both halves, into half of the register. */
export function setNarrow(t: Translator, i: Fields, value: V128, size = i.size): void {
  if (i.q === 1) t.setV(i.rd, lanesOf(t, t.v(i.rd), value, 3, [0, 2]));
  else setVector(t, i, value, size);
}
/** An operand whose unused part is 0, so that nothing in it saturates. */
export function used({ b }: VectorTranslator, i: Fields, value: V128, size = i.size): V128 {
  if (i.q === 1) return value;
  if (i.q === 0 || size === 3) return b.v128_and(value, b.v128(-1, -1, 0, 0));
  return b.v128_and(value, b.v128(size === 2 ? -1 : (1 << (8 << size)) - 1, 0, 0, 0));
}
/** All lanes the same. */
export function splat(t: VectorTranslator, size: Size, value: I64): V128 {
  return size === 3 ? t.b.i64x2_splat(value) : apply(t, 'splat', size, t.b.i32_wrap_i64(value));
}

/** FPSR.QC, if the condition (0 or 1) holds. */
export function noteSaturation({ b }: VectorTranslator, condition: I32): void {
  const s = b.state();
  b.i32_store(s, b.i32_or(b.i32_load(s, field.fpsr), b.i32_shl(condition, b.i32(27))), field.fpsr);
}
/** The names of what saturates. */
export const saturates = (name: string): boolean => /^([su]q|suq|usq)/.test(name);

/** Bytes of two vectors by their numbers, 0 to 31. */
export function bytesOf({ b }: VectorTranslator, x: V128, y: V128, bytes: readonly number[]): V128 {
  const word = (n: number) => bytes[n] | (bytes[n + 1] << 8) | (bytes[n + 2] << 16) | (bytes[n + 3] << 24);
  return b.i8x16_shuffle(x, y, word(0), word(4), word(8), word(12));
}
/** Lanes of two vectors by their numbers. */
export function lanesOf(t: VectorTranslator, x: V128, y: V128, size: Size, numbers: readonly number[]): V128 {
  const bytes = numbers.flatMap((lane) => Array.from({ length: 1 << size }, (_, n) => (lane << size) + n));
  return bytesOf(t, x, y, bytes);
}
/** Lanes of a vector of 16 bytes, or of 8. */
export const laneCount = (size: Size, q: number): number => (q ? 16 : 8) >> size;

export const row = (
  name: string,
  enc: string,
  args: readonly string[],
  translate: (t: Translator, i: Fields) => void,
  where?: (i: Fields) => boolean,
): InsnRow => ({ name, enc, args, float: true, translate, ...(where && { where }) });

export const sizeOf = (i: Fields): Size => i.size as Size;
/** No lanes of 64 bits. */
export const upTo32 = (i: Fields): boolean => i.size < 3;
/** Lanes of 64 bits in a whole register only. */
export const all = (i: Fields): boolean => i.size < 3 || i.q === 1;
export const bytesOnly = (i: Fields): boolean => i.size === 0;
