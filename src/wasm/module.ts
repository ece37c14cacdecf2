/** Writes a WebAssembly binary module (Core Specification 2.0 §5, with the threads proposal's shared memories). */
import { type TypeName, typeNames } from '../ir/index.js';
import { ByteWriter } from './bytes.js';

/** Value type bytes by type code. */
export const valueTypes = [0x7f, 0x7e, 0x7d, 0x7c, 0x7b] as const;
const byName: Record<TypeName, number> = Object.fromEntries(
  typeNames.map((name, i) => [name, valueTypes[i]]),
) as Record<TypeName, number>;

export interface FunctionCode {
  /** Type codes of the locals after the parameters. */
  readonly locals: readonly number[];
  readonly body: ByteWriter;
  /** Offsets in the body of `if` and `br_if` instructions that are hardly ever taken. */
  readonly unlikely: readonly number[];
}

/**
 * When a function is compiled, and how: `lazy` when it is first called; `optimized` with the module in the baseline tier, so that it can be
 * used soon, and at once behind that by the optimizing compiler.
 */
export type CompileHint = 'default' | 'optimized' | 'lazy';
const compileHints: Readonly<Record<CompileHint, number>> = { default: 0, optimized: 2 | (1 << 2) | (2 << 4), lazy: 1 };

interface Defined {
  readonly type: number;
  readonly exportName: string | undefined;
  /** Offsets of unlikely branches from where the function's locals are declared. */
  readonly unlikely: readonly number[];
  readonly compiled: CompileHint;
}

export class ModuleWriter {
  readonly #types = new Map<string, number>();
  readonly #typeBytes = new ByteWriter(256);
  readonly #imports = new ByteWriter(256);
  #importCount = 0;
  #importedFunctions = 0;
  readonly #functions: Defined[] = [];
  /** Of each function: bytes, locals, body. */
  readonly #code = new ByteWriter(16384);
  /** Locals of a function, contents of a section: while it is written. */
  readonly #scratch = new ByteWriter(1024);

  type(params: readonly TypeName[], results: readonly TypeName[]): number {
    const key = `${params.join()}:${results.join()}`;
    let index = this.#types.get(key);
    if (index === undefined) {
      index = this.#types.size;
      this.#types.set(key, index);
      this.#typeBytes.u8(0x60);
      this.#typeBytes.u32(params.length);
      for (const type of params) this.#typeBytes.u8(byName[type]);
      this.#typeBytes.u32(results.length);
      for (const type of results) this.#typeBytes.u8(byName[type]);
    }
    return index;
  }

  #import(module: string, name: string, kind: number): void {
    this.#importCount++;
    this.#imports.name(module);
    this.#imports.name(name);
    this.#imports.u8(kind);
  }

  /** Imported functions come before all others; gives the function's index. */
  importFunction(module: string, name: string, type: number): number {
    this.#import(module, name, 0);
    this.#imports.u32(type);
    return this.#importedFunctions++;
  }

  importSharedMemory(module: string, name: string, initialPages: number, maximumPages: number): void {
    this.#import(module, name, 2);
    this.#imports.u8(3);
    this.#imports.u32(initialPages);
    this.#imports.u32(maximumPages);
  }

  importTable(module: string, name: string, initial: number): void {
    this.#import(module, name, 1);
    this.#imports.u8(0x70);
    this.#imports.u8(0);
    this.#imports.u32(initial);
  }

  /** Index that the next defined function will have. */
  get nextFunction(): number {
    return this.#importedFunctions + this.#functions.length;
  }

  /** Defines a function (its body without the closing `end`) and gives its index. */
  define(type: number, code: FunctionCode, exportName?: string, compiled: CompileHint = 'default'): number {
    const index = this.nextFunction;
    const locals = this.#scratch;
    locals.clear();
    writeLocals(locals, code.locals);
    const { length } = locals;
    this.#functions.push({ type, exportName, unlikely: code.unlikely.map((offset) => length + offset), compiled });
    this.#code.u32(length + code.body.length + 1);
    this.#code.raw(locals.view());
    this.#code.raw(code.body.view());
    this.#code.u8(0x0b);
    return index;
  }

  /** Custom section metadata.code.branch_hint (branch hinting proposal): which branches are unlikely. */
  #writeHints(out: ByteWriter): void {
    const hinted = this.#functions.flatMap((fn, i) => (fn.unlikely.length > 0 ? [{ fn, i }] : []));
    if (hinted.length === 0) return;
    this.#section(out, 0, (w) => {
      w.name('metadata.code.branch_hint');
      w.u32(hinted.length);
      for (const { fn, i } of hinted) {
        w.u32(this.#importedFunctions + i);
        w.u32(fn.unlikely.length);
        for (const offset of fn.unlikely) {
          w.u32(offset);
          w.u8(1);
          w.u8(0);
        }
      }
    });
  }

  /**
   * Custom section compilationHints (V8's `--experimental-wasm-compilation-hints`, up to version 13; others pass it over): a byte a
   * function, strategy (1 lazy, 2 eager), then in bits 2 and 4 baseline and top tier (2 optimized).
   */
  #writeCompileHints(out: ByteWriter): void {
    if (this.#functions.every(({ compiled }) => compiled === 'default')) return;
    this.#section(out, 0, (w) => {
      w.name('compilationHints');
      w.u32(this.#functions.length);
      for (const { compiled } of this.#functions) w.u8(compileHints[compiled]);
    });
  }

  #section(out: ByteWriter, id: number, fill: (w: ByteWriter) => void): void {
    const inner = this.#scratch;
    inner.clear();
    fill(inner);
    out.u8(id);
    out.sized(inner);
  }

  finish(): Uint8Array<ArrayBuffer> {
    const out = new ByteWriter(this.#code.length + 4096);
    out.raw([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
    this.#section(out, 1, (w) => {
      w.u32(this.#types.size);
      w.raw(this.#typeBytes.view());
    });
    this.#section(out, 2, (w) => {
      w.u32(this.#importCount);
      w.raw(this.#imports.view());
    });
    this.#section(out, 3, (w) => {
      w.u32(this.#functions.length);
      for (const { type } of this.#functions) w.u32(type);
    });
    this.#section(out, 7, (w) => {
      w.u32(this.#functions.reduce((count, { exportName }) => count + (exportName === undefined ? 0 : 1), 0));
      this.#functions.forEach(({ exportName }, i) => {
        if (exportName === undefined) return;
        w.name(exportName);
        w.u8(0);
        w.u32(this.#importedFunctions + i);
      });
    });
    this.#writeHints(out);
    this.#writeCompileHints(out);
    this.#section(out, 10, (w) => {
      w.u32(this.#functions.length);
      w.raw(this.#code.view());
    });
    return new Uint8Array(out.view());
  }
}

/** The prefix of a function body: its locals. */
function writeLocals(w: ByteWriter, locals: readonly number[]): void {
  let runs = 0;
  for (let i = 0; i < locals.length; i++) if (i === 0 || locals[i] !== locals[i - 1]) runs++;
  w.u32(runs);
  for (let i = 0; i < locals.length; ) {
    let end = i;
    while (end < locals.length && locals[end] === locals[i]) end++;
    w.u32(end - i);
    w.u8(valueTypes[locals[i]]);
    i = end;
  }
}
