/** Expressions of numbers and names: `+ - * << >> & | ^ ~ ( )` and parentheses, with C's precedence. */
import type { Value } from './operands.js';

/** A mistake in the source, for a person. */
export class AssemblyError extends Error {}

const TOKEN = /\s*(0x[0-9a-f_]+|0b[01_]+|[0-9][0-9_]*|'(?:\\.|[^\\'])'|[a-z_.$][a-z0-9_.$]*|<<|>>|[-+*&|^~()])/iy;
const precedence: Readonly<Record<string, number>> = {
  '|': 1,
  '^': 2,
  '&': 3,
  '<<': 4,
  '>>': 4,
  '+': 5,
  '-': 5,
  '*': 6,
};
const escapes: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', 0: '\0' };

/** Text between quotes, with escapes \n \r \t \0 \\ \". */
export const plainText = (text: string): string => text.replace(/\\(.)/g, (_, c: string) => escapes[c] ?? c);

/** What a name stands for; throws AssemblyError. */
export type Lookup = (name: string) => Value;

/** Throws AssemblyError. */
export function evaluate(text: string, lookup: Lookup): Value {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  for (let at = 0; at < text.trimEnd().length; at = TOKEN.lastIndex) {
    TOKEN.lastIndex = at;
    const token = TOKEN.exec(text);
    if (!token) throw new AssemblyError(`'${text.trim()}' is no expression`);
    tokens.push(token[1]);
  }
  let next = 0;
  const binary = (least: number): Value => {
    let left = unary();
    for (;;) {
      const operator = tokens[next];
      const binding = precedence[operator] ?? 0;
      if (binding < least || binding === 0) return left;
      next++;
      left = apply(operator, left, binary(binding + 1));
    }
  };
  const unary = (): Value => {
    const token = tokens[next++];
    if (token === undefined) throw new AssemblyError(`'${text.trim()}' is no whole expression`);
    if (token === '-' || token === '~') {
      const { number, movable } = unary();
      return { number: token === '-' ? -number : ~number, movable };
    }
    if (token === '(') {
      const inner = binary(1);
      if (tokens[next++] !== ')') throw new AssemblyError(`'${text.trim()}': a parenthesis is missing`);
      return inner;
    }
    if (/^[0-9]/.test(token)) return { number: BigInt(token.replaceAll('_', '')), movable: false };
    if (token.startsWith("'")) return { number: BigInt(plainText(token.slice(1, -1)).charCodeAt(0)), movable: false };
    if (/^[a-z_.$]/i.test(token)) return lookup(token);
    throw new AssemblyError(`'${text.trim()}' is no expression`);
  };
  const value = binary(1);
  if (next < tokens.length) throw new AssemblyError(`'${text.trim()}' is no expression`);
  return value;
}

function apply(operator: string, a: Value, b: Value): Value {
  // The distance between two addresses is as settled as they are: it stays movable until the last pass.
  const movable = a.movable || b.movable;
  const x = a.number;
  const y = b.number;
  switch (operator) {
    case '+':
      return { number: x + y, movable };
    case '-':
      return { number: x - y, movable };
    case '*':
      return { number: x * y, movable };
    case '&':
      return { number: x & y, movable };
    case '|':
      return { number: x | y, movable };
    case '^':
      return { number: x ^ y, movable };
  }
  if (y < 0n || y > 64n) throw new AssemblyError(`a shift by ${y}`);
  return { number: operator === '<<' ? x << y : x >> y, movable };
}
