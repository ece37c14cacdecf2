/** The two builders: of guest code's blocks and of the translator's own routines. */
import { assert } from '../base/index.js';
import { Emitter } from './emitter.js';
import { Op } from './ops.js';
import { unpackWords } from './packed-words.js';
import { type Routine, type RoutineEffects, type TempOf, type TempsOf, type TypeName, typeCode } from './types.js';

/**
 * Builds the IR of one translation block: straight-line ops, `insn` before each guest instruction, side exits, and one
 * terminator (goto, branch, jump, leave, resume) at the end.
 */
export class BlockBuilder extends Emitter {
  /** The deferred variable's value from here on (0..254). */
  setDeferred(value: number): void {
    const at = this.reserve(2);
    this.words[at] = Op.set_deferred;
    this.words[at + 1] = value;
  }

  /** Takes over the words of a block that another builder has made, in one piece; they lie packed at `at`. */
  unpack(bytes: Uint8Array, at: number, count: number): void {
    this.clear();
    this.reserve(count);
    unpackWords(bytes, at, this.words, count);
  }

  /** A temp of a block whose words have been copied. */
  knowTemp(temp: number, type: number): void {
    while (this.temps <= temp) this.temp(type);
    this.tempTypes[temp] = type;
  }
}

/** A mutable local of a routine. */
export interface Local<T extends TypeName> {
  readonly type: T;
  readonly index: number;
}

/** How deep a `block` or `loop` lies; given to `br` and `brIf`. */
export type Label = { readonly depth: number };

/** Builds a routine: ops, and WebAssembly's structured control. Temps defined before a loop or an if may be used inside. */
export class RoutineBuilder extends Emitter {
  readonly localTypes: number[] = [];
  #depth = 0;

  local<T extends TypeName>(type: T, initial?: TempOf<T>): Local<T> {
    const index = this.localTypes.length;
    this.localTypes.push(typeCode[type]);
    const local = { type, index };
    if (initial !== undefined) this.assign(local, initial);
    return local;
  }

  /** The local's value now (a copy: later assignments do not change it). */
  read<T extends TypeName>(local: Local<T>): TempOf<T> {
    return this.emit(Op[`local_${local.type}`], [local.index]) as unknown as TempOf<T>;
  }

  assign<T extends TypeName>(local: Local<T>, value: TempOf<T>): void {
    this.emit(Op[`assign_${local.type}`], [value as number, local.index]);
  }

  if(condition: TempOf<'i32'>, then: () => void, otherwise?: () => void): void {
    this.emit(Op.if, [condition]);
    this.#depth++;
    then();
    if (otherwise) {
      this.emit(Op.else, []);
      otherwise();
    }
    this.#depth--;
    this.emit(Op.end, []);
  }

  /** `br`/`brIf` to the label goes past the block's end. */
  block(body: (label: Label) => void): void {
    this.#nest(Op.block, body);
  }

  /** `br`/`brIf` to the label goes to the loop's start; running off its end leaves it. */
  loop(body: (label: Label) => void): void {
    this.#nest(Op.loop, body);
  }

  br(label: Label): void {
    this.emit(Op.br, [this.#depth - label.depth]);
  }

  brIf(label: Label, condition: TempOf<'i32'>): void {
    this.emit(Op.br_if, [condition, this.#depth - label.depth]);
  }

  /** Returns from the routine with its results. */
  ret(...values: number[]): void {
    const at = this.reserve(2 + values.length);
    this.words[at] = Op.ret;
    this.words[at + 1] = 2 + values.length;
    this.words.set(values, at + 2);
  }

  #nest(op: number, body: (label: Label) => void): void {
    this.emit(op, []);
    const label = { depth: ++this.#depth };
    body(label);
    this.#depth--;
    this.emit(Op.end, []);
  }
}

const noEffects: RoutineEffects = {
  vars: 'none',
  mayFault: false,
  pure: false,
  keepsAddresses: false,
  settles: false,
};

/**
 * The routines of one translator: the engine's own and those of the guest CPUs. The back end compiles them once, at start,
 * into one module.
 */
export class RoutineSet {
  readonly list: Routine[] = [];
  readonly #names = new Set<string>();
  /** Called so often while a guest starts that they are optimized with their module; the others when they prove hot. */
  readonly optimizedAtOnce = new Set<string>();
  /** Declared, body not provided yet. */
  readonly #open = new Set<string>();

  /** Defines a routine in IR. It must end every path with `ret`, unless it has no results. */
  define<const P extends readonly TypeName[], const R extends readonly TypeName[]>(
    name: string,
    params: P,
    results: R,
    effects: Partial<RoutineEffects>,
    build: (r: RoutineBuilder, ...params: TempsOf<P>) => void,
  ): Routine<P, R> {
    return this.#add(name, params, results, effects, build as unknown as Routine['build']) as unknown as Routine<P, R>;
  }

  /** Declares a routine that JavaScript gives when the module is made (i64 values are bigints there). */
  host<const P extends readonly TypeName[], const R extends readonly TypeName[]>(
    name: string,
    params: P,
    results: R,
    effects: Partial<RoutineEffects>,
  ): Routine<P, R> {
    return this.#add(name, params, results, effects, undefined) as unknown as Routine<P, R>;
  }

  /** Declares a routine whose IR the engine provides. */
  declare<const P extends readonly TypeName[], const R extends readonly TypeName[]>(
    name: string,
    params: P,
    results: R,
    effects: Partial<RoutineEffects>,
  ): Routine<P, R> {
    const routine = this.#add(name, params, results, effects, undefined);
    this.#open.add(name);
    return routine as unknown as Routine<P, R>;
  }

  /** Provides the body of a declared routine. */
  provide(name: string, build: (r: RoutineBuilder, ...params: never[]) => void): void {
    const at = this.list.findIndex((routine) => routine.name === name);
    assert(this.#open.delete(name), `routine ${name} is not declared, or provided twice`);
    this.list[at] = { ...this.list[at], build: build as Routine['build'] };
  }

  #add(
    name: string,
    params: readonly TypeName[],
    results: readonly TypeName[],
    effects: Partial<RoutineEffects>,
    build: Routine['build'],
  ): Routine {
    assert(!this.#names.has(name), `routine ${name} defined twice`);
    const { vars, mayFault, settles }: RoutineEffects = { ...noEffects, ...effects };
    const given = [...(mayFault ? ['i32'] : []), params[1]];
    const maySettle = params[0] === 'i32' && results.join() === given.join() && vars === 'none';
    assert(!settles || maySettle, `${name} cannot be settled`);
    this.#names.add(name);
    const routine: Routine = {
      id: this.list.length,
      name,
      params,
      results,
      effects: { ...noEffects, ...effects },
      build,
    };
    this.list.push(routine);
    return routine;
  }
}
