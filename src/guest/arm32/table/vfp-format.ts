/** What rows of VFP share: registers of both widths, the places of their numbers in an encoding. */
import type { I64 } from '../../../ir/index.js';
import { double, type Format, lane, single, withLane } from '../../arm/table/float-format.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { rows } from './shared.js';

/** Words of a pattern: the upper four bits of a register's number and the odd one, which lie apart; `sz`. */
export interface Places {
  readonly format: Format;
  readonly sz: 0 | 1;
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
  suffix: '.f32',
  letter: 's',
  d: singleAt('rd'),
  n: singleAt('rn'),
  m: singleAt('rm'),
};
export const doubles: Places = {
  format: double,
  sz: 1,
  suffix: '.f64',
  letter: 'd',
  d: doubleAt('rd'),
  n: doubleAt('rn'),
  m: doubleAt('rm'),
};
export const both = [singles, doubles] as const;

/** A register's bits, zero-extended. */
export function read(t: Translator, f: Format, n: number): I64 {
  return f === double ? lane(t, f, t.v(n >> 1), n & 1) : lane(t, f, t.v(n >> 2), n & 3);
}
export function write(t: Translator, f: Format, n: number, value: I64): void {
  const [vector, place] = f === double ? [n >> 1, n & 1] : [n >> 2, n & 3];
  t.setV(vector, withLane(t, f, t.v(vector), place, value));
}

/** An immediate of eight bits (A7.5.1). */
export function expanded(f: Format, imm: number): bigint {
  const [sign, exponent, fraction] = [imm >> 7, (imm >> 4) & 7, BigInt(imm & 15)];
  const wide = f === double;
  const [exponentBits, fractionBits] = wide ? [11n, 52n] : [8n, 23n];
  const top = exponent & 4 ? 0n : 1n;
  const repeated = exponent & 4 ? (1n << (exponentBits - 3n)) - 1n : 0n;
  const whole = (top << (exponentBits - 1n)) | (repeated << 2n) | BigInt(exponent & 3);
  return (BigInt(sign) << (exponentBits + fractionBits)) | (whole << fractionBits) | (fraction << (fractionBits - 4n));
}

/** A number as assembly writes it: six digits behind the point, two of exponent. */
export function numberText(f: Format, bits: bigint): string {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, f === double ? bits : bits << 32n);
  const number = f === double ? view.getFloat64(0) : view.getFloat32(0);
  return `#${number.toExponential(6).replace(/e([+-])(\d)$/, 'e$10$2')}`;
}

/** Both instruction sets have the same bits behind the condition, which T32 has not. */
export const vfp = (
  name: string,
  enc: string,
  args: readonly string[],
  translate: (t: Translator, i: Fields) => void,
  rest: Partial<InsnRow> = {},
): InsnRow[] => rows(name, { a: enc, t: `1110 ${enc}` }, args, translate, { float: 'vfp', ...rest });
