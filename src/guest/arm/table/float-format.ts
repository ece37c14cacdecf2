/** What rows of floating point share: the formats, FPCR's part of a routine's mode, lanes of vectors. */
import type { BlockBuilder, F32, F64, I32, I64, V128 } from '../../../ir/index.js';
import { rounding } from '../../float/core.js';
import * as binary from '../../float/pack.js';
import { hasQuickWay, numberBehind, type QuickName, type QuickRoutines, quickly } from '../../float/quick.js';
import type { Mode } from '../mode.js';
import { type FloatRoutines, f16, f32, f64 } from '../routines/float.js';
import { flag, floatMode } from '../routines/float-common.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { field } from '../state.js';
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
/** What a routine is told, with FPCR's rounding or another one. */
export function modeOf(t: FloatTranslator, f: Format, mode = roundingModes[t.mode.roundingMode]): I32 {
  const { defaultNaN, flushToZero, flushHalf } = t.mode;
  const flushes = f === half ? flushHalf : flushToZero;
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

/** On a format's numbers; d: what the destination has. */
export type Operation = (t: FloatTranslator, f: Format, x: I64, y: I64, d: I64) => I64;
type Two = 'add' | 'sub' | 'mul' | 'mulx' | 'div' | 'min' | 'max' | 'minnm' | 'maxnm' | 'recps' | 'rsqrts';
export const call =
  (name: Two): Operation =>
  (t, f, x, y) =>
    isQuick(name) && mayBeQuick(t, f, name)
      ? quick(t, f, name, [x, y])
      : t.b.call(f.routines[name], x, y, modeOf(t, f))[0];
export const callOne =
  (name: 'sqrt' | 'recpe' | 'rsqrte' | 'recpx'): Operation =>
  (t, f, x) =>
    isQuick(name) && mayBeQuick(t, f, name) ? quick(t, f, name, [x]) : t.b.call(f.routines[name], x, modeOf(t, f))[0];

const isQuick = (name: string): name is QuickName => Object.hasOwn(single.routines.quick ?? {}, name);
/** Rounding to nearest, and nothing is flushed. */
const mayBeQuick = ({ mode }: FloatTranslator, f: Format, name: QuickName): boolean =>
  f !== half && mode.roundingMode === 0 && !mode.flushToZero && hasQuickWay(name);
function quick(t: FloatTranslator, f: Format, name: QuickName, operands: readonly I64[]): I64 {
  const { b } = t;
  const inexact = b.i32_shr_u(b.i32_load(b.state(), field.fpsr), b.i32(Math.log2(flag.IXC)));
  return quickly(b, f.binary, name, f.routines.quick as QuickRoutines, operands, inexact, modeOf(t, f));
}
export const fused = (t: FloatTranslator, f: Format, x: I64, y: I64, z: I64): I64 =>
  mayBeQuick(t, f, 'fma') ? quick(t, f, 'fma', [x, y, z]) : t.b.call(f.routines.fma, x, y, z, modeOf(t, f))[0];
/** NZCV in bits 31 to 28. */
export const compared = (t: FloatTranslator, f: Format, x: I64, y: I64, signals: boolean): I32 =>
  t.b.call(f.routines.compare, x, y, t.b.i32(signals ? 1 : 0), modeOf(t, f))[0];
export const rounded = (t: FloatTranslator, f: Format, x: I64, mode: number | undefined, exact: boolean): I64 =>
  t.b.call(f.routines.round, x, t.b.i32(exact ? 1 : 0), modeOf(t, f, mode))[0];

/** To an integer of so many bits, zero-extended. `places`: of the fraction that it has. */
export function toInteger(
  t: FloatTranslator,
  f: Format,
  x: I64,
  mode: number,
  isSigned: boolean,
  bits: number,
  places = 0,
): I64 {
  const { b } = t;
  const all = 1n << BigInt(bits);
  const [lowest, highest] = isSigned ? [all >> 1n, (all >> 1n) - 1n] : [0n, all - 1n];
  const [value] = b.call(f.routines.toInteger, x, modeOf(t, f, mode), b.i64(lowest), b.i64(highest), b.i32(places));
  return bits === 64 ? value : bits === 32 ? b.i64_low32(value) : b.i64_and(value, b.i64(all - 1n));
}
/** From the low bits of an integer. */
export function fromInteger(t: FloatTranslator, f: Format, x: I64, isSigned: boolean, bits: number, places = 0): I64 {
  const { b } = t;
  const all = (1n << BigInt(bits)) - 1n;
  const extend = bits === 16 ? b.i64_extend16_s : b.i64_extend32_s;
  const value = bits === 64 ? x : isSigned ? extend.call(b, x) : b.i64_and(x, b.i64(all));
  return b.call(f.routines.fromInteger, value, b.i32(isSigned ? 1 : 0), b.i32(places), modeOf(t, f))[0];
}

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
