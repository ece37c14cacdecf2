/**
 * Writes IR ops into a growing buffer; the base of both builders. One method per row of the op table, with the row's
 * types, taking operand temps and then immediates: `e.i64_add(a, b)`, `e.i64_load(host, 16)`.
 */
import { assert } from '../base/index.js';
import { Op, type OpName, opList, opNames, type opRows } from './ops.js';
import {
  type F32,
  type F64,
  type I32,
  type I64,
  type Routine,
  type TempOf,
  type TempsOf,
  type TypeName,
  typeCode,
  type V128,
  type Var,
} from './types.js';

type Hidden =
  | 'call'
  | 'ret'
  | 'else'
  | 'end'
  | 'br'
  | 'br_if'
  | 'block'
  | 'loop'
  | 'if'
  | `get_${string}`
  | `set_${string}`
  | `local_${string}`
  | `assign_${string}`
  | `const_${string}`;

/** The methods derived from the op table. Immediates come last; a memory access's offset may be left out. */
export type OpMethods = {
  [K in Exclude<OpName, Hidden>]: (
    ...args: [...TempsOf<(typeof opRows)[K]['params']>, ...immediates: number[]]
  ) => (typeof opRows)[K]['result'] extends TypeName ? TempOf<(typeof opRows)[K]['result']> : undefined;
};

const bits = new DataView(new ArrayBuffer(8));
/** How far back `definition` looks. */
const RECENT_OPS = 32;

// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: the methods are made from the table below
export class Emitter {
  /** The ops, one after another: opcode, result, operands, immediates (ops.ts, `opWords`). */
  words = new Int32Array(4096);
  length = 0;
  /** Where each op begins in `words`; -1: the optimizer has dropped it. */
  starts = new Int32Array(1024);
  ops = 0;
  /** Type code of each temp. */
  tempTypes = new Uint8Array(1024);
  temps = 0;

  /** Forgets everything, keeps the buffers. */
  clear(): void {
    this.length = 0;
    this.ops = 0;
    this.temps = 0;
  }

  /** Makes room for an op of `count` words and returns where they start. */
  protected reserve(count: number): number {
    const at = this.length;
    if (at + count > this.words.length) {
      const grown = new Int32Array(Math.max(this.words.length * 2, at + count));
      grown.set(this.words);
      this.words = grown;
    }
    this.length = at + count;
    if (this.ops === this.starts.length) {
      const grown = new Int32Array(this.ops * 2);
      grown.set(this.starts);
      this.starts = grown;
    }
    this.starts[this.ops++] = at;
    return at;
  }

  /** A new temp of the type. */
  protected temp(type: number): number {
    const temp = this.temps++;
    if (temp === this.tempTypes.length) {
      const grown = new Uint8Array(temp * 2);
      grown.set(this.tempTypes);
      this.tempTypes = grown;
    }
    this.tempTypes[temp] = type;
    return temp;
  }

  /** Where the op that defines a temp begins in `words`, if it is one of the last few; else -1. A call's results are not found. */
  definition(temp: number): number {
    for (let i = this.ops - 1; i >= 0 && i > this.ops - RECENT_OPS; i--) {
      const at = this.starts[i];
      if (opList[this.words[at]].result && this.words[at + 1] === temp) return at;
    }
    return -1;
  }

  /** An op by its opcode, for code that derives ops from tables: operands and immediates in order. */
  emit(op: number, operands: readonly number[]): number {
    const result = opList[op].result;
    const at = this.reserve(1 + (result ? 1 : 0) + operands.length);
    const words = this.words;
    let next = at;
    words[next++] = op;
    let temp = -1;
    if (result) {
      temp = this.temp(typeCode[result]);
      words[next++] = temp;
    }
    for (const operand of operands) words[next++] = operand;
    return temp;
  }

  i32(value: number): I32 {
    const at = this.reserve(3);
    const temp = this.temp(0);
    this.words[at] = Op.const_i32;
    this.words[at + 1] = temp;
    this.words[at + 2] = value;
    return temp as I32;
  }

  /** A 64-bit constant from a safe integer (sign-extended) or a bigint (modulo 2^64). */
  i64(value: number | bigint): I64 {
    if (typeof value === 'bigint')
      return this.i64pair(Number(value & 0xffffffffn), Number((value >> 32n) & 0xffffffffn));
    return this.i64pair(
      value | 0,
      value >= -0x80000000 && value < 0x80000000 ? value >> 31 : Math.floor(value / 4294967296),
    );
  }

  /** A 64-bit constant from its halves. */
  i64pair(low: number, high: number): I64 {
    const at = this.reserve(4);
    const temp = this.temp(1);
    this.words[at] = Op.const_i64;
    this.words[at + 1] = temp;
    this.words[at + 2] = low;
    this.words[at + 3] = high;
    return temp as I64;
  }

  f32(value: number): F32 {
    bits.setFloat32(0, value, true);
    return this.emit(Op.const_f32, [bits.getInt32(0, true)]) as F32;
  }

  f64(value: number): F64 {
    bits.setFloat64(0, value, true);
    return this.emit(Op.const_f64, [bits.getInt32(0, true), bits.getInt32(4, true)]) as F64;
  }

  /** A 128-bit constant from four words, lowest first. */
  v128(a: number, b: number, c: number, d: number): V128 {
    return this.emit(Op.const_v128, [a, b, c, d]) as V128;
  }

  /** Value of a guest variable. In a routine: read from its home. */
  get<T extends TypeName>(variable: Var<T>): TempOf<T> {
    const at = this.reserve(3);
    const type = typeCode[variable.type];
    const temp = this.temp(type);
    this.words[at] = GET[type];
    this.words[at + 1] = temp;
    this.words[at + 2] = variable.id;
    return temp as unknown as TempOf<T>;
  }

  set<T extends TypeName>(variable: Var<T>, value: TempOf<T>): void {
    const at = this.reserve(3);
    this.words[at] = SET[typeCode[variable.type]];
    this.words[at + 1] = value as number;
    this.words[at + 2] = variable.id;
  }

  /** `select` by the operands' type. */
  select<T extends I32 | I64 | F32 | F64 | V128>(condition: I32, ifTrue: T, ifFalse: T): T {
    const type = this.tempTypes[ifTrue];
    assert(type === this.tempTypes[ifFalse], 'select of two types');
    const at = this.reserve(5);
    const temp = this.temp(type);
    this.words[at] = SELECT[type];
    this.words[at + 1] = temp;
    this.words[at + 2] = ifTrue;
    this.words[at + 3] = ifFalse;
    this.words[at + 4] = condition;
    return temp as unknown as T;
  }

  /** Calls a routine; gives its results in order (an empty list, one or several temps). */
  call<P extends readonly TypeName[], R extends readonly TypeName[]>(
    routine: Routine<P, R>,
    ...args: TempsOf<P>
  ): TempsOf<R> {
    const { results, params } = routine;
    assert(args.length === params.length, `arguments of ${routine.name}`);
    const at = this.reserve(3 + results.length + params.length);
    const words = this.words;
    words[at] = Op.call;
    words[at + 1] = routine.id;
    words[at + 2] = 3 + results.length + params.length;
    let next = at + 3;
    const temps: number[] = [];
    for (const type of results) {
      const temp = this.temp(typeCode[type]);
      temps.push(temp);
      words[next++] = temp;
    }
    for (let i = 0; i < params.length; i++) {
      const arg = args[i] as number;
      assert(this.tempTypes[arg] === typeCode[params[i]], `type of argument ${i} of ${routine.name}`);
      words[next++] = arg;
    }
    return temps as unknown as TempsOf<R>;
  }
}

export interface Emitter extends OpMethods {}

const types = ['i32', 'i64', 'f32', 'f64', 'v128'] as const;
const GET = types.map((type) => Op[`get_${type}`]);
const SET = types.map((type) => Op[`set_${type}`]);
const SELECT = types.map((type) => Op[`select_${type}`]);

/** One method per row, specialised by shape so that the common ones allocate nothing. */
function methodFor(op: number): (this: Emitter, ...args: number[]) => unknown {
  const row = opList[op];
  const operands = row.params.length;
  const total = operands + row.immediates;
  const type = row.result ? typeCode[row.result] : -1;
  type Inner = { reserve(count: number): number; temp(type: number): number; words: Int32Array };
  if (type >= 0 && total === 1) {
    return function (a) {
      const self = this as unknown as Inner;
      const at = self.reserve(3);
      const temp = self.temp(type);
      self.words[at] = op;
      self.words[at + 1] = temp;
      self.words[at + 2] = a;
      return temp;
    };
  }
  if (type >= 0 && total === 2) {
    return function (a, b) {
      const self = this as unknown as Inner;
      const at = self.reserve(4);
      const temp = self.temp(type);
      self.words[at] = op;
      self.words[at + 1] = temp;
      self.words[at + 2] = a;
      self.words[at + 3] = b; // a missing immediate becomes 0
      return temp;
    };
  }
  if (type >= 0 && total === 3) {
    return function (a, b, c) {
      const self = this as unknown as Inner;
      const at = self.reserve(5);
      const temp = self.temp(type);
      self.words[at] = op;
      self.words[at + 1] = temp;
      self.words[at + 2] = a;
      self.words[at + 3] = b;
      self.words[at + 4] = c;
      return temp;
    };
  }
  if (type < 0 && total > 0 && total <= 3) {
    return function (a, b, c) {
      const self = this as unknown as Inner;
      const at = self.reserve(1 + total);
      self.words[at] = op;
      self.words[at + 1] = a;
      if (total > 1) self.words[at + 2] = b;
      if (total > 2) self.words[at + 3] = c;
      return undefined;
    };
  }
  return function (...args) {
    while (args.length < total) args.push(0);
    return this.emit(op, args);
  };
}

const hidden = /^(call|ret|else|end|br|br_if|block|loop|if|(get|set|local|assign|const)_(?!deferred).*)$/;
for (const [op, name] of opNames.entries()) {
  if (!hidden.test(name)) Object.defineProperty(Emitter.prototype, name, { value: methodFor(op) });
}
