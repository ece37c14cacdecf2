/**
 * Floating point on numbers' bits: by routines (../routines/float.ts), or by the host's own instructions and a routine only where those do
 * not settle it (../../float/quick.ts). Shared by AArch64's and AArch32's rows.
 */
import type { BlockBuilder, I32, I64 } from '../../../ir/index.js';
import { bitsOf, hasQuickWay, type QuickName, quickly, unlessFound } from '../../float/quick.js';
import {
  chosen,
  demoted,
  fromInteger as foundFromInteger,
  toInteger as foundToInteger,
  promoted,
  related,
  roundedToWhole,
} from '../../float/quick-conversions.js';
import type { FloatRoutines } from '../routines/float.js';
import { flag } from '../routines/float-common.js';
import { convert, fromAlternative, quickConvert, toAlternative } from '../routines/float-convert.js';
import { field } from '../state.js';
import { double, type FloatTranslator, type Format, half, modeOf, roundingOf, single } from './float-format.js';

/** On a format's numbers; d: what the destination has. */
export type Operation = (t: FloatTranslator, f: Format, x: I64, y: I64, d: I64) => I64;

type Arithmetic = Exclude<QuickName, 'sqrt' | 'fma'>;
type Choice = 'min' | 'max' | 'minnm' | 'maxnm';
type Two = Arithmetic | Choice | 'mulx' | 'recps' | 'rsqrts';
const isArithmetic = (name: Two): name is Arithmetic => ['add', 'sub', 'mul', 'div'].includes(name);
const isChoice = (name: Two): name is Choice => /^(min|max)/.test(name);

/** The routines that a quick way may settle, where it is allowed: nothing is flushed. */
const quickOf = ({ mode }: FloatTranslator, f: Format): FloatRoutines['quick'] =>
  f === half || mode.flushToZero ? undefined : f.routines.quick;
/** Arithmetic on singles or doubles, whose results are rounded, may have a quick way: to nearest. */
export const mayBeQuick = ({ mode }: FloatTranslator, f: Format): boolean =>
  f !== half && mode.roundingMode === 0 && !mode.flushToZero;
const quickRounded = (t: FloatTranslator, f: Format): FloatRoutines['quick'] =>
  mayBeQuick(t, f) ? f.routines.quick : undefined;
/** IXC in the lowest bit. */
export const inexact = (b: BlockBuilder): I32 =>
  b.i32_shr_u(b.i32_load(b.state(), field.fpsr), b.i32(Math.log2(flag.IXC)));

function calculated(t: FloatTranslator, f: Format, name: QuickName, operands: readonly I64[]): I64 | undefined {
  const quick = quickRounded(t, f);
  if (!quick || !hasQuickWay(name)) return undefined;
  return quickly(t.b, f.binary, name, quick[name], operands, inexact(t.b), modeOf(t, f));
}

export const call =
  (name: Two): Operation =>
  (t, f, x, y) => {
    const { b } = t;
    const quick = quickOf(t, f);
    if (quick && isChoice(name)) {
      const found = chosen(b, f.binary, name.slice(0, 3) as 'min' | 'max', x, y);
      return bitsOf(b, f.binary, unlessFound(b, quick[name], found, [x, y, modeOf(t, f)]));
    }
    const value = isArithmetic(name) ? calculated(t, f, name, [x, y]) : undefined;
    return value ?? b.call(f.routines[name], x, y, modeOf(t, f))[0];
  };
export const callOne =
  (name: 'sqrt' | 'recpe' | 'rsqrte' | 'recpx'): Operation =>
  (t, f, x) =>
    (name === 'sqrt' ? calculated(t, f, name, [x]) : undefined) ?? t.b.call(f.routines[name], x, modeOf(t, f))[0];
export const fused = (t: FloatTranslator, f: Format, x: I64, y: I64, z: I64): I64 =>
  calculated(t, f, 'fma', [x, y, z]) ?? t.b.call(f.routines.fma, x, y, z, modeOf(t, f))[0];

/** NZCV in bits 31 to 28. */
export function compared(t: FloatTranslator, f: Format, x: I64, y: I64, signals: boolean): I32 {
  const { b } = t;
  const quick = quickOf(t, f);
  const rest = [b.i32(signals ? 1 : 0), modeOf(t, f)] as const;
  if (!quick) return b.call(f.routines.compare, x, y, ...rest)[0];
  const { less, equal, greater } = related(b, f.binary, x, y);
  const ordered = b.select(less, b.i32(0x80000000 | 0), b.i32(0x20000000));
  const value = b.select(equal, b.i32(0x60000000), ordered);
  const isSettled = b.i32_or(less, b.i32_or(equal, greater));
  return unlessFound(b, quick.compare, { isSettled, value }, [x, y, ...rest]);
}

/** To a whole number of the same format, with FPCR's rounding where there is no mode. `exact`: what is lost raises IXC. */
export function rounded(t: FloatTranslator, f: Format, x: I64, mode: number | undefined, exact: boolean): I64 {
  const { b } = t;
  const quick = quickOf(t, f);
  const by = modeOf(t, f, mode);
  const found = quick && roundedToWhole(b, f.binary, x, roundingOf(t, mode), exact ? inexact(b) : undefined);
  if (!found) return b.call(f.routines.round, x, b.i32(exact ? 1 : 0), by)[0];
  return bitsOf(b, f.binary, unlessFound(b, quick.round, found, [x, b.i32(exact ? 1 : 0), by]));
}

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
  const operands = [x, modeOf(t, f, mode), b.i64(lowest), b.i64(highest), b.i32(places)] as const;
  const quick = places === 0 ? quickOf(t, f) : undefined;
  const found = quick && foundToInteger(b, f.binary, x, mode, isSigned, bits, inexact(b));
  const value = found ? unlessFound(b, quick.toInteger, found, operands) : b.call(f.routines.toInteger, ...operands)[0];
  return bits === 64 ? value : bits === 32 ? b.i64_low32(value) : b.i64_and(value, b.i64(all - 1n));
}

/** From the low bits of an integer. */
export function fromInteger(t: FloatTranslator, f: Format, x: I64, isSigned: boolean, bits: number, places = 0): I64 {
  const { b } = t;
  const all = (1n << BigInt(bits)) - 1n;
  const extend = bits === 16 ? b.i64_extend16_s : b.i64_extend32_s;
  const value = bits === 64 ? x : isSigned ? extend.call(b, x) : b.i64_and(x, b.i64(all));
  const operands = [value, b.i32(isSigned ? 1 : 0), b.i32(places), modeOf(t, f)] as const;
  const quick = places === 0 ? quickRounded(t, f) : undefined;
  if (!quick) return b.call(f.routines.fromInteger, ...operands)[0];
  const found = foundFromInteger(b, f.binary, value, isSigned, bits, inexact(b));
  return bitsOf(b, f.binary, unlessFound(b, quick.fromInteger, found, operands));
}

/** A number in another format. FPCR.FZ is about singles and doubles, FZ16 is not about conversions. */
export function converted(t: FloatTranslator, from: Format, to: Format, x: I64): I64 {
  const { b } = t;
  const mode = modeOf(t, single);
  const wider = to === double ? 'f64' : 'f32';
  if (from === half) {
    return b.call(t.mode.alternativeHalf ? fromAlternative[wider] : convert.f16[wider], x, mode)[0];
  }
  const source = from === double ? 'f64' : 'f32';
  if (to === half) return b.call(t.mode.alternativeHalf ? toAlternative[source] : convert[source].f16, x, mode)[0];
  if (from === single) {
    if (!quickOf(t, from)) return b.call(convert.f32.f64, x, mode)[0];
    return bitsOf(b, to.binary, unlessFound(b, quickConvert.promote, promoted(b, from.binary, x), [x, mode]));
  }
  if (!quickRounded(t, from)) return b.call(convert.f64.f32, x, mode)[0];
  return bitsOf(b, to.binary, unlessFound(b, quickConvert.demote, demoted(b, to.binary, x, inexact(b)), [x, mode]));
}
