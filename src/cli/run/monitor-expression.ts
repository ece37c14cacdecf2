/** Expressions of the monitor, as QEMU's: numbers, registers as $rip, + - * / % & | ^ ~ and parentheses, 64 bits wide. */
import type { Machine } from '../../vmm/index.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';

/** Operators by how tightly they bind, as in QEMU's monitor: sums the least, products the most. */
const levels: readonly (readonly string[])[] = [
  ['+', '-'],
  ['&', '|', '^'],
  ['*', '/', '%'],
];
const MAX_DEPTH = 64;

/** Throws UsageError. */
export async function evaluate(machine: Machine, text: string): Promise<bigint> {
  const tokens = text.match(/\$?\w+|[-+*/%&|^~()]|\S/g) ?? [];
  if (tokens.length === 0) throw new UsageError('The address is missing');
  const registers = tokens.some((token) => token.startsWith('$')) ? await machine.registers() : {};
  let at = 0;
  const operand = (depth: number): bigint => {
    if (depth > MAX_DEPTH) throw new UsageError('The expression is nested too deeply');
    const token = tokens[at++];
    switch (token) {
      case '-':
        return -operand(depth + 1);
      case '+':
        return operand(depth + 1);
      case '~':
        return ~operand(depth + 1);
      case '(': {
        const value = level(0, depth + 1);
        if (tokens[at++] !== ')') throw new UsageError("A ')' is missing");
        return value;
      }
      case undefined:
        throw new UsageError('The expression ends too early');
    }
    if (token.startsWith('$')) {
      const name = token.slice(1).toLowerCase();
      const value = registers[name === 'pc' || name === 'eip' ? 'rip' : name === 'sp' ? 'rsp' : name];
      if (value !== undefined) return value;
      throw new UsageError(`There is no register '${token}'${didYouMean(token.slice(1), Object.keys(registers), '$')}`);
    }
    if (/^(0x[0-9a-f]+|\d+)$/i.test(token)) return BigInt(token);
    throw new UsageError(`'${token}' is neither a number nor a register such as $rip`);
  };
  const level = (n: number, depth: number): bigint => {
    if (n === levels.length) return operand(depth);
    let value = level(n + 1, depth);
    while (at < tokens.length && levels[n].includes(tokens[at])) {
      const operator = tokens[at++];
      const right = level(n + 1, depth);
      if (right === 0n && (operator === '/' || operator === '%')) throw new UsageError('Division by zero');
      value = BigInt.asUintN(64, apply(operator, BigInt.asUintN(64, value), BigInt.asUintN(64, right)));
    }
    return value;
  };
  const value = level(0, 0);
  if (at < tokens.length) throw new UsageError(`'${tokens[at]}' is not expected here`);
  return BigInt.asUintN(64, value);
}

function apply(operator: string, a: bigint, b: bigint): bigint {
  switch (operator) {
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return a * b;
    case '/':
      return a / b;
    case '%':
      return a % b;
    case '&':
      return a & b;
    case '|':
      return a | b;
    default:
      return a ^ b;
  }
}
