/**
 * What rows of Advanced SIMD share (A7.4): their encodings, D and Q registers as operands, the types that assembly writes.
 *
 * rd, rn and rm are numbers of D registers, of which two make a Q register and a vector of the state. A D register as an operand is
 * the lower half of a vector: whatever has effects beside its result sees the same in the upper half.
 */
import type { V128 } from '../../../ir/index.js';
import { lanesOf, type Size } from '../../arm/table/vector.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { rows } from './shared.js';

/** The upper bit of a register's number and the others lie apart. */
export const three = (size: string, opcode: string, o1: 0 | 1): string =>
  `rd[4] ${size} rn[3:0] rd[3:0] ${opcode} rn[4] q rm[4] ${o1} rm[3:0]`;
export const two = (size: string, opc1: string, opc2: string): string =>
  `1 1 rd[4] 11 ${size} ${opc1} rd[3:0] 0 ${opc2} rm[4] 0 rm[3:0]`;

/** The element's bits behind a letter. */
export const typed =
  (letter: string) =>
  (i: Fields): string =>
    `.${letter}${8 << i.size}`;
export const fixedType = (text: string) => (): string => text;
export type Sign = 's' | 'u';
export const signs: readonly Sign[] = ['s', 'u'];

/** Operands: `x…` is a D register or, with Q, a Q register; `d…` and `q…` are always that. */
const isEven: Readonly<Partial<Record<string, (i: Fields) => boolean>>> = Object.fromEntries(
  (['d', 'n', 'm'] as const).flatMap((place) => {
    const number = (i: Fields): number => i[`r${place}`] & 1;
    return [
      [`x${place}`, (i: Fields) => i.q === 0 || number(i) === 0],
      [`q${place}`, (i: Fields) => number(i) === 0],
    ];
  }),
);

type Rest = Partial<InsnRow>;
/** Where Q is set, numbers of Q registers must be even, else the instruction is undefined. */
function registers(args: readonly string[], rest: Rest): Rest {
  const checks = args.flatMap((operand) => isEven[operand] ?? []);
  const { where } = rest;
  return {
    float: 'simd',
    ...rest,
    where: (i) => (where?.(i) ?? true) && checks.every((check) => check(i)),
  };
}
/** Data processing: `enc` from the bit that is U on, which T32 has three bits higher. */
export function simd(
  name: string,
  enc: string,
  args: readonly string[],
  translate: (t: Translator, i: Fields) => void,
  rest: Rest = {},
): InsnRow[] {
  const [u, ...others] = enc.split(' ');
  const t = `111 ${u} 1111 ${others.join(' ')}`;
  return rows(name, { a: `1111 001 ${enc}`, t }, args, translate, registers(args, rest));
}
/** What both instruction sets encode alike. */
export const alike = (
  name: string,
  enc: string,
  args: readonly string[],
  translate: (t: Translator, i: Fields) => void,
  rest: Rest = {},
): InsnRow[] => rows(name, { a: enc, t: enc }, args, translate, registers(args, rest));
/** Sets registers and does nothing else. */
export const pure = { plain: true } as const;

// --- operands

/** Two D registers as a vector. */
export function joined(t: Translator, low: number, high: number): V128 {
  if (high === low + 1 && (low & 1) === 0) return t.v(low >> 1);
  return lanesOf(t, t.v(low >> 1), t.v(high >> 1), 3, [low & 1, 2 + (high & 1)]);
}
/** A D register in both halves. */
export const doubled = (t: Translator, n: number): V128 => joined(t, n, n);
/** A D or Q register, for what has no effect beside its result: anything lies above a D register. */
export const operand = (t: Translator, q: number, n: number): V128 =>
  q === 1 || (n & 1) === 0 ? t.v(n >> 1) : doubled(t, n);
/** A D or Q register, for what saturates or has exceptions. */
export const exact = (t: Translator, q: number, n: number): V128 => (q === 1 ? t.v(n >> 1) : doubled(t, n));

/** A D register becomes the value's lower half. */
export function setD(t: Translator, n: number, value: V128): void {
  const old = t.v(n >> 1);
  t.setV(n >> 1, n & 1 ? lanesOf(t, old, value, 3, [0, 2]) : lanesOf(t, value, old, 3, [0, 3]));
}
export function set(t: Translator, q: number, n: number, value: V128): void {
  if (q === 1) t.setV(n >> 1, value);
  else setD(t, n, value);
}

export const sizeOf = (i: Fields): Size => i.size as Size;
export const upTo32 = (i: Fields): boolean => i.size < 3;
export const bytesOnly = (i: Fields): boolean => i.size === 0;
export const doubling = (i: Fields): boolean => i.size === 1 || i.size === 2;
