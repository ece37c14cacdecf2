/** What rows of floating point share: the formats, FPCR's part of a routine's mode, lanes of vectors. */
import type { BlockBuilder, F32, F64, I32, I64, V128 } from '../../../ir/index.js';
import { rounding } from '../../float/core.js';
import * as binary from '../../float/pack.js';
import { numberBehind } from '../../float/quick.js';
import type { Mode } from '../mode.js';
import { type FloatRoutines, f16, f32, f64 } from '../routines/float.js';
import { floatMode } from '../routines/float-common.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { row, zero } from './vector.js';

export interface Format {
  readonly letter: 'h' | 's' | 'd';
  /** Field `ftype` of scalar instructions. */
  readonly type: '11' | '00' | '01';
  /** Of a lane, as a power of 2 in bytes. */
  readonly size: 1 | 2 | 3;
  readonly bits: 16 | 32 | 64;
  readonly binary: binary.Format;
  readonly routines: FloatRoutines;
  readonly sign: bigint;
}
const format = (
  letter: Format['letter'],
  type: Format['type'],
  size: Format['size'],
  own: binary.Format,
  routines: FloatRoutines,
): Format => ({
  letter,
  type,
  size,
  bits: (8 << size) as Format['bits'],
  binary: own,
  routines,
  sign: binary.signBit(own),
});
export const half = format('h', '11', 1, binary.half, f16);
export const single = format('s', '00', 2, binary.single, f32);
export const double = format('d', '01', 3, binary.double, f64);
export const formats: readonly Format[] = [half, single, double];

/** What a translator has at hand for arithmetic, of AArch64 or AArch32. */
export interface FloatTranslator {
  readonly b: BlockBuilder;
  readonly mode: Pick<Mode, 'roundingMode' | 'defaultNaN' | 'flushToZero' | 'flushHalf' | 'alternativeHalf'>;
}

/** FPCR.RMode in the order of the float routines. */
const roundingModes: readonly number[] = [rounding.nearest, rounding.up, rounding.down, rounding.zero];
/** Another rounding, or FPCR's. */
export const roundingOf = (t: FloatTranslator, mode: number | undefined): number =>
  mode ?? roundingModes[t.mode.roundingMode];
/** What a routine is told, with FPCR's rounding or another one. */
export function modeOf(t: FloatTranslator, f: Format, given?: number): I32 {
  const { defaultNaN, flushToZero, flushHalf } = t.mode;
  const flushes = f === half ? flushHalf : flushToZero;
  const mode = roundingOf(t, given);
  return t.b.i32(mode | (defaultNaN ? floatMode.defaultNaN : 0) | (flushes ? floatMode.flushToZero : 0));
}

export function lane({ b }: FloatTranslator, f: Format, x: V128, n: number): I64 {
  if (f === double) return b.i64x2_extract_lane(x, n);
  return b.i64_extend_i32_u(f === single ? b.i32x4_extract_lane(x, n) : b.i16x8_extract_lane_u(x, n));
}
export function withLane({ b }: FloatTranslator, f: Format, x: V128, n: number, value: I64): V128 {
  const number = f === half ? undefined : numberBehind(b, f.binary, value);
  if (f === double)
    return number !== undefined ? b.f64x2_replace_lane(x, number as F64, n) : b.i64x2_replace_lane(x, value, n);
  if (number !== undefined) return b.f32x4_replace_lane(x, number as F32, n);
  return (f === single ? b.i32x4_replace_lane : b.i16x8_replace_lane).call(b, x, b.i32_wrap_i64(value), n);
}
export const read = (t: Translator, f: Format, n: number): I64 => lane(t, f, t.v(n), 0);
export const write = (t: Translator, f: Format, n: number, value: I64): void =>
  t.setV(n, withLane(t, f, zero(t), 0, value));

export const negate = ({ b }: FloatTranslator, f: Format, x: I64): I64 => b.i64_xor(x, b.i64(f.sign));
export const magnitude = ({ b }: FloatTranslator, f: Format, x: I64): I64 => b.i64_and(x, b.i64(f.sign - 1n));

/** Lanes of a vector by their numbers: `count` of them. */
export function setLanes(t: Translator, i: Fields, f: Format, count: number, operation: (n: number) => I64): void {
  const values = Array.from({ length: count }, (_, n) => operation(n));
  t.setV(
    i.rd,
    values.reduce((all, value, n) => withLane(t, f, all, n, value), zero(t)),
  );
}
export function eachLane(t: Translator, i: Fields, f: Format, operation: (n: number) => I64): void {
  setLanes(t, i, f, (i.q ? 16 : 8) >> f.size, operation);
}
/** Doubles fill a register. */
export const fits =
  (f: Format) =>
  (i: Fields): boolean =>
    f !== double || i.q === 1;
/** A row of a format; half precision is an extension. */
export const floatRow = (
  f: Format,
  name: string,
  enc: string,
  args: readonly string[],
  translate: (t: Translator, i: Fields) => void,
  where?: (i: Fields) => boolean,
): InsnRow => ({ ...row(name, enc, args, translate, where), ...(f === half && { features: ['fp16'] }) });
