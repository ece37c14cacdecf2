/**
 * An assembler whose instructions are the instruction rows (`../table`): what the decoder knows can be written. Intel's syntax, as
 * the disassembler writes it; comments begin with `;`, labels that begin with a dot belong to the label before them.
 *
 * Directives: `.bits 16|32|64`, `.byte`, `.word`, `.long`, `.quad`, `.ascii "…"`, `.asciz "…"`, `.align N`, `.fill COUNT[, BYTE]`,
 * `.org ADDRESS`, `NAME = EXPRESSION`. `$` is the address of the line.
 */
import { readMnemonic, type Size } from '../mnemonics.js';
import { allRows } from '../table/index.js';
import { EncodableRow, type Encoded, type EncodeRequest, encode } from './encode.js';
import { AssemblyError, evaluate, type Lookup, plainText } from './expression.js';
import type { Operand, Value } from './operands.js';
import { readLine, readOperand, type SourceLine } from './source-line.js';

export interface AssemblyOptions {
  /** Address of the first byte. */
  readonly origin: bigint;
  readonly codeSize?: Size;
  /** Names that are known beforehand. */
  readonly symbols?: Readonly<Record<string, bigint | number>>;
}

export interface Assembly {
  readonly bytes: Uint8Array;
  readonly symbols: ReadonlyMap<string, bigint>;
}

/** Passes until no address moves; each may lengthen jumps and nothing gets shorter, so that there is an end. */
const MAX_PASSES = 64;
/** What one `.align`, `.fill` or `.org` may make. */
const MAX_FILL = 1 << 24;

let rowsByName: Map<string, EncodableRow[]> | undefined;

/** The rows of a name with so many operands. */
function rowsOf(name: string, operands: number): readonly EncodableRow[] {
  if (!rowsByName) {
    rowsByName = new Map();
    for (const row of allRows) {
      const encodable = new EncodableRow(row);
      const key = `${row.name} ${encodable.words.length}`;
      const rows = rowsByName.get(key);
      if (rows) rows.push(encodable);
      else rowsByName.set(key, [encodable]);
    }
  }
  return rowsByName.get(`${name} ${operands}`) ?? [];
}

/** The shortest encoding of an instruction. Throws AssemblyError. */
export function encodeInstruction(
  word: string,
  operands: readonly Operand[],
  request: Omit<EncodeRequest, 'operands' | 'opSize'>,
): readonly number[] {
  const { name, opSize, fits, bytes } = readMnemonic(word, operands.length);
  if (bytes) return bytes;
  const rows = rowsOf(name, operands.length).filter(({ row }) => fits === undefined || fits(row));
  if (rows.length === 0 && !allRows.some((row) => row.name === name))
    throw new AssemblyError(`there is no instruction '${word}'`);
  const all = rows
    .map((row) => encode(row, { ...request, operands, opSize }))
    .filter((encoded) => encoded !== undefined);
  if (all.length === 0) throw new AssemblyError(`'${word}' does not go with these operands`);
  const sizes = new Set(all.filter(({ memoryBits }) => memoryBits !== undefined).map(({ memoryBits }) => memoryBits));
  const unsaid = operands.some((operand) => operand.kind === 'memory' && operand.bits === undefined);
  if (unsaid && (sizes.size > 1 || all.every(({ sizeKnown }) => !sizeKnown)))
    throw new AssemblyError(`'${word}': the size of the memory operand is not said`);
  return all.reduce((best: Encoded, each) => (each.bytes.length < best.bytes.length ? each : best)).bytes;
}

function dependsOnAddresses(operand: Operand): boolean {
  switch (operand.kind) {
    case 'register':
      return false;
    case 'memory':
      return operand.displacement.movable || operand.base === -2;
    case 'immediate':
      return operand.value.movable;
    case 'far':
      return operand.offset.movable || operand.selector.movable;
  }
}

/** One pass over the source, with the addresses of the pass before. */
class Pass {
  readonly bytes: number[] = [];
  readonly symbols = new Map<string, Value>();
  readonly #origin: bigint;
  readonly #before: ReadonlyMap<string, Value> | undefined;
  readonly #long: Set<number>;
  /** Encodings of lines that no address is part of: they are the same in all passes. */
  readonly #settled: Map<number, readonly number[]>;
  #codeSize: Size;
  #scope = '';

  constructor(
    options: AssemblyOptions,
    before: ReadonlyMap<string, Value> | undefined,
    long: Set<number>,
    settled: Map<number, readonly number[]>,
  ) {
    this.#settled = settled;
    this.#origin = options.origin;
    this.#codeSize = options.codeSize ?? 64;
    this.#before = before;
    this.#long = long;
    for (const [name, number] of Object.entries(options.symbols ?? {}))
      this.symbols.set(name, { number: BigInt(number), movable: false });
  }

  get here(): bigint {
    return this.#origin + BigInt(this.bytes.length);
  }

  readonly lookup: Lookup = (name) => {
    if (name === '$') return { number: this.here, movable: true };
    const scoped = this.#scoped(name);
    const known = this.symbols.get(scoped) ?? this.#before?.get(scoped);
    if (known) return known;
    // The first pass does not know what follows: jumps are short until they prove too long.
    if (!this.#before) return { number: this.here, movable: true };
    throw new AssemblyError(`there is no '${name}'`);
  };

  #scoped(name: string): string {
    return name.startsWith('.') ? this.#scope + name : name;
  }

  line(line: SourceLine, index: number): void {
    for (const label of line.labels) {
      if (!label.startsWith('.')) this.#scope = label;
      this.#define(this.#scoped(label), { number: this.here, movable: true });
    }
    const { word, operands } = line;
    if (word === '') return;
    if (word === '=') this.#define(this.#scoped(operands[0]), evaluate(operands[1], this.lookup));
    else if (word.startsWith('.')) this.#directive(word, operands);
    else this.#instruction(line, index);
  }

  #define(name: string, value: Value): void {
    if (this.symbols.has(name)) throw new AssemblyError(`'${name}' is defined twice`);
    this.symbols.set(name, value);
  }

  #instruction({ word, lock, rep, operands }: SourceLine, index: number): void {
    const settled = this.#settled.get(index);
    if (settled) {
      this.bytes.push(...settled);
      return;
    }
    const request = { codeSize: this.#codeSize, pc: this.here, lock, rep };
    const values = operands.map((text) => readOperand(text, this.lookup));
    if (!this.#long.has(index)) {
      try {
        const encoded = encodeInstruction(word, values, { ...request, allowShort: true });
        this.bytes.push(...encoded);
        // A jump's target may be a plain number.
        if (!values.some(dependsOnAddresses) && !/^(j|call|loop)/.test(word)) this.#settled.set(index, encoded);
        return;
      } catch (error) {
        if (!(error instanceof AssemblyError)) throw error;
        // A short jump that does not reach stays long in all passes that follow.
        this.#long.add(index);
      }
    }
    this.bytes.push(...encodeInstruction(word, values, { ...request, allowShort: false }));
  }

  #directive(word: string, operands: readonly string[]): void {
    const number = (i: number): number => {
      const value = Number(evaluate(operands[i] ?? '', this.lookup).number);
      if (!Number.isSafeInteger(value)) throw new AssemblyError(`${word} ${operands[i]}: out of range`);
      return value;
    };
    const fill = (count: number, byte: number) => {
      if (count < 0 || count > MAX_FILL) throw new AssemblyError(`${word}: cannot fill ${count} bytes`);
      for (let i = 0; i < count; i++) this.bytes.push(byte & 0xff);
    };
    const width = ({ '.byte': 1, '.word': 2, '.long': 4, '.quad': 8 } as Readonly<Record<string, number>>)[word];
    if (width !== undefined) {
      for (const operand of operands) {
        const { number: value, movable } = evaluate(operand, this.lookup);
        if (movable && !this.#before) {
          this.bytes.push(...new Array(width).fill(0));
          continue;
        }
        if (value < -(1n << BigInt(8 * width - 1)) || value >= 1n << BigInt(8 * width))
          throw new AssemblyError(`${operand} does not fit ${word}`);
        for (let i = 0; i < width; i++) this.bytes.push(Number((value >> BigInt(8 * i)) & 255n));
      }
      return;
    }
    switch (word) {
      case '.bits': {
        const size = number(0);
        if (size !== 16 && size !== 32 && size !== 64) throw new AssemblyError('.bits is 16, 32 or 64');
        this.#codeSize = size;
        return;
      }
      case '.ascii':
      case '.asciz':
        for (const operand of operands) {
          const text = /^"(.*)"$/s.exec(operand);
          if (!text) throw new AssemblyError(`${word} takes text in quotes`);
          this.bytes.push(...new TextEncoder().encode(plainText(text[1])));
        }
        if (word === '.asciz') this.bytes.push(0);
        return;
      case '.align': {
        const multiple = number(0);
        if (multiple < 1) throw new AssemblyError('.align takes a positive number');
        fill(Number((BigInt(multiple) - (this.here % BigInt(multiple))) % BigInt(multiple)), 0);
        return;
      }
      case '.fill':
        fill(number(0), operands.length > 1 ? number(1) : 0);
        return;
      case '.org':
        fill(number(0) - Number(this.here), 0);
        return;
      default:
        throw new AssemblyError(`there is no directive ${word}`);
    }
  }
}

/** Assembles a program. Throws AssemblyError with the line's number and text. */
export function assemble(source: string, options: AssemblyOptions): Assembly {
  const texts = source.split('\n');
  const lines = texts.map(readLine);
  const long = new Set<number>();
  const settledLines = new Map<number, readonly number[]>();
  let before: ReadonlyMap<string, Value> | undefined;
  for (let count = 0; count < MAX_PASSES; count++) {
    const pass = new Pass(options, before, long, settledLines);
    for (const [i, line] of lines.entries()) {
      try {
        pass.line(line, i);
      } catch (error) {
        if (!(error instanceof AssemblyError)) throw error;
        throw new AssemblyError(`line ${i + 1}: ${error.message}: ${texts[i].trim()}`);
      }
    }
    const settled =
      before !== undefined && [...pass.symbols].every(([name, { number }]) => before?.get(name)?.number === number);
    if (settled) {
      const symbols = new Map([...pass.symbols].map(([name, { number }]) => [name, number]));
      return { bytes: Uint8Array.from(pass.bytes), symbols };
    }
    before = pass.symbols;
  }
  throw new AssemblyError('the addresses do not settle');
}
