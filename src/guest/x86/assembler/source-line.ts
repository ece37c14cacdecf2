/** One line of assembly, read: labels, prefixes, mnemonic, operands. Intel's syntax (SDM vol. 2, 3.1.1.3), as the disassembler writes it. */
import { AssemblyError, evaluate, type Lookup } from './expression.js';
import { type MemoryOperand, type Operand, pointerBits, registerNamed, type Value } from './operands.js';

export interface SourceLine {
  readonly labels: readonly string[];
  /** In lower case; '' for none. A directive begins with a dot; `=` defines a name. */
  readonly word: string;
  readonly lock: boolean;
  readonly rep: 0 | 0xf2 | 0xf3;
  /** Texts of the operands, or of a directive's arguments. */
  readonly operands: readonly string[];
}

const repeats: Readonly<Record<string, 0xf2 | 0xf3>> = { rep: 0xf3, repe: 0xf3, repz: 0xf3, repne: 0xf2, repnz: 0xf2 };

/** Cuts at commas outside quotes and brackets. */
function split(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let quote = '';
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quote !== '') {
      if (c === '\\') i++;
      else if (c === quote) quote = '';
    } else if (c === '"' || c === "'") quote = c;
    else if (c === '[' || c === '(') depth++;
    else if (c === ']' || c === ')') depth--;
    else if (c === ',' && depth === 0) {
      parts.push(text.slice(from, i).trim());
      from = i + 1;
    }
  }
  const last = text.slice(from).trim();
  if (last !== '' || parts.length > 0) parts.push(last);
  return parts;
}

/** The line without its comment, which begins with a semicolon. */
function withoutComment(line: string): string {
  let quote = '';
  for (let i = 0; i < line.length; i++) {
    const c = line[i];
    if (quote !== '') {
      if (c === '\\') i++;
      else if (c === quote) quote = '';
    } else if (c === '"' || c === "'") quote = c;
    else if (c === ';') return line.slice(0, i);
  }
  return line;
}

export function readLine(text: string): SourceLine {
  let rest = withoutComment(text).trim();
  const labels: string[] = [];
  for (;;) {
    const label = /^([a-z_.$][a-z0-9_.$]*):(?!\S*\[)\s*/i.exec(rest);
    if (!label || registerNamed(label[1].toLowerCase())) break;
    labels.push(label[1]);
    rest = rest.slice(label[0].length);
  }
  const definition = /^([a-z_.$][a-z0-9_.$]*)\s*=\s*(.+)$/i.exec(rest);
  if (definition) return { labels, word: '=', lock: false, rep: 0, operands: [definition[1], definition[2]] };
  let lock = false;
  let rep: SourceLine['rep'] = 0;
  for (;;) {
    const [, word, after] = /^(\S*)\s*(.*)$/s.exec(rest) as RegExpExecArray;
    const lower = word.toLowerCase();
    if (lower === 'lock') lock = true;
    else if (repeats[lower]) rep = repeats[lower];
    else return { labels, word: lower, lock, rep, operands: split(after) };
    rest = after;
  }
}

/** Throws AssemblyError. */
export function readOperand(text: string, lookup: Lookup): Operand {
  const register = registerNamed(text.toLowerCase().replaceAll(' ', ''));
  if (register) return register;
  const memory = /^(?:([a-z]+)\s+ptr\s*)?(?:([c-gs]s)\s*:\s*)?\[(.*)\]$/is.exec(text);
  if (memory) {
    const bits = memory[1] === undefined ? undefined : pointerBits[memory[1].toLowerCase()];
    if (memory[1] !== undefined && bits === undefined) throw new AssemblyError(`'${memory[1]}' is no size`);
    const segment = memory[2] === undefined ? undefined : registerNamed(memory[2].toLowerCase())?.number;
    return readAddress(memory[3], bits, segment, lookup);
  }
  const far = /^(?:(d?word)\s+ptr\s+)?([^:']+):([^:']+)$/i.exec(text);
  if (far) {
    const bits = far[1] === undefined ? undefined : pointerBits[far[1].toLowerCase()];
    return { kind: 'far', bits, selector: evaluate(far[2], lookup), offset: evaluate(far[3], lookup) };
  }
  return { kind: 'immediate', value: evaluate(text, lookup) };
}

/** Terms with their signs: `rbx + rcx*4 - 8`. */
function readAddress(
  text: string,
  bits: number | undefined,
  segment: number | undefined,
  lookup: Lookup,
): MemoryOperand {
  let base = -1;
  let index = -1;
  let scale: 0 | 1 | 2 | 3 = 0;
  let addressBits: 16 | 32 | 64 | undefined;
  const rest: string[] = [];
  for (const [, sign, term] of text.matchAll(/([-+]?)\s*((?:\([^)]*\)|[^-+()])+)/g)) {
    const scaled = /^([a-z0-9]+)\s*(?:\*\s*([1248]))?\s*$/i.exec(term.trim());
    const register = scaled ? registerNamed(scaled[1].toLowerCase()) : undefined;
    if (scaled && scaled[1].toLowerCase() === 'rip') {
      base = -2;
      continue;
    }
    if (!scaled || register?.file !== 'gpr') {
      rest.push(`${sign === '-' ? '-' : '+'}(${term})`);
      continue;
    }
    if (sign === '-' || register.bits === 8 || (addressBits !== undefined && addressBits !== register.bits))
      throw new AssemblyError(`'[${text}]' is no address`);
    addressBits = register.bits as 16 | 32 | 64;
    if (scaled[2] === undefined && base === -1) base = register.number;
    else if (index === -1) {
      index = register.number;
      scale = (31 - Math.clz32(Number(scaled[2] ?? 1))) as 0 | 1 | 2 | 3;
    } else throw new AssemblyError(`'[${text}]' has too many registers`);
  }
  const displacement: Value = rest.length > 0 ? evaluate(`0${rest.join('')}`, lookup) : { number: 0n, movable: false };
  return { kind: 'memory', bits, segment, base, index, scale, displacement, addressBits };
}
