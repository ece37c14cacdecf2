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
  d: singleAt('rd'),
  n: singleAt('rn'),
  m: singleAt('rm'),
};
export const doubles: Places = {
  format: double,
  sz: 1,
  suffix: '.f64',
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

/** Both instruction sets have the same bits behind the condition, which T32 has not. */
export const vfp = (
  name: string,
  enc: string,
  args: readonly string[],
  translate: (t: Translator, i: Fields) => void,
  rest: Partial<InsnRow> = {},
): InsnRow[] => rows(name, { a: enc, t: `1110 ${enc}` }, args, translate, { float: 'vfp', ...rest });
