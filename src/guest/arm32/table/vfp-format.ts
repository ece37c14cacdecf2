/** What rows of VFP share: registers of both widths, the places of their numbers in an encoding. */
import type { I64 } from '../../../ir/index.js';
import type { Feature } from '../../arm/features.js';
import { double, type Format, half, lane, single, withLane } from '../../arm/table/float-format.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { rows } from './shared.js';

/** Words of a pattern: the upper four bits of a register's number and the odd one, which lie apart; `sz`. */
export interface Places {
  readonly format: Format;
  readonly sz: 0 | 1;
  /** Bits 9 and 8: the lower half of the coprocessor's number. */
  readonly cp: '01' | '10' | '11';
  /** Extensions that arithmetic takes. */
  readonly features?: readonly Feature[];
  readonly suffix: string;
  /** Of the registers' names. */
  readonly letter: 's' | 'd';
  readonly d: readonly [string, string];
  readonly n: readonly [string, string];
  readonly m: readonly [string, string];
}
const singleAt = (name: string) => [`${name}[0]`, `${name}[4:1]`] as const;
const doubleAt = (name: string) => [`${name}[4]`, `${name}[3:0]`] as const;
export const singles: Places = {
  format: single,
  sz: 0,
  cp: '10',
  suffix: '.f32',
  letter: 's',
  d: singleAt('rd'),
  n: singleAt('rn'),
  m: singleAt('rm'),
};
export const doubles: Places = {
  format: double,
  sz: 1,
  cp: '11',
  suffix: '.f64',
  letter: 'd',
  d: doubleAt('rd'),
  n: doubleAt('rn'),
  m: doubleAt('rm'),
};
/** They lie in the lower half of a single's register, whose upper half they clear. */
export const halves: Places = { ...singles, format: half, cp: '01', features: ['fp16'], suffix: '.f16' };
export const both = [singles, doubles] as const;

/** What rows of the format take. */
export const needs = ({ features }: Places): Pick<InsnRow, 'features'> => (features ? { features } : {});

/** A register's bits, zero-extended. */
export function read(t: Translator, f: Format, n: number): I64 {
  if (f === double) return lane(t, f, t.v(n >> 1), n & 1);
  return lane(t, f, t.v(n >> 2), (n & 3) << (f === half ? 1 : 0));
}
export function write(t: Translator, f: Format, n: number, value: I64): void {
  const [vector, place] = f === double ? [n >> 1, n & 1] : [n >> 2, n & 3];
  t.setV(vector, withLane(t, f === double ? double : single, t.v(vector), place, value));
}

/** An immediate of eight bits (A7.5.1). */
export function expanded(f: Format, imm: number): bigint {
  const [sign, exponent, fraction] = [imm >> 7, (imm >> 4) & 7, BigInt(imm & 15)];
  const exponentBits = { 16: 5n, 32: 8n, 64: 11n }[f.bits];
  const fractionBits = BigInt(f.bits) - 1n - exponentBits;
  const top = exponent & 4 ? 0n : 1n;
  const repeated = exponent & 4 ? (1n << (exponentBits - 3n)) - 1n : 0n;
  const whole = (top << (exponentBits - 1n)) | (repeated << 2n) | BigInt(exponent & 3);
  return (BigInt(sign) << (exponentBits + fractionBits)) | (whole << fractionBits) | (fraction << (fractionBits - 4n));
}

/** A number as assembly writes it: six digits behind the point, two of exponent. */
export function numberText(imm: number): string {
  // All formats have the same numbers.
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, expanded(double, imm));
  return `#${view
    .getFloat64(0)
    .toExponential(6)
    .replace(/e([+-])(\d)$/, 'e$10$2')}`;
}

/** Both instruction sets have the same bits behind the condition, which T32 has not. */
export const vfp = (
  name: string,
  enc: string,
  args: readonly string[],
  translate: (t: Translator, i: Fields) => void,
  rest: Partial<InsnRow> = {},
): InsnRow[] => rows(name, { a: enc, t: `1110 ${enc}` }, args, translate, { float: 'vfp', ...rest });
