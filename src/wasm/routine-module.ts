/**
 * Compiles a set of routines into one WebAssembly instance, every routine exported by name. Host routines are imported
 * from `host`: called with the state address first, i64 as bigint.
 */
import { assert } from '../base/index.js';
import type { GuestVars, Routine, RoutineSet } from '../ir/index.js';
import { ModuleWriter } from './module.js';
import { RoutineEmitter } from './routine-emitter.js';

export type HostFunction = (...args: never[]) => unknown;

export interface RoutineInstance {
  /** Exported functions by routine name. The first argument is the state's address. */
  readonly exports: Readonly<Record<string, (...args: unknown[]) => unknown>>;
  /** What another module imports to call a routine: the exports, and JavaScript's for host routines. */
  readonly importable: Readonly<Record<string, unknown>>;
}

/** The names of the slow memory path's routines, which the set must define if any routine accesses guest memory. */
export const slowPath = {
  load: 'slow_load',
  store: 'slow_store',
  store128: 'slow_store128',
  span: 'slow_span',
  verifyEdge: 'verify_edge',
} as const;

/** Ids of the slow path's routines in a set, or -1 where it lacks them. */
export function slowPathIds(routines: readonly Routine[]): {
  slowLoad: number;
  slowStore: number;
  slowStore128: number;
  slowSpan: number;
  verifyEdge: number;
} {
  const id = (name: string) => routines.findIndex((routine) => routine.name === name);
  return {
    slowLoad: id(slowPath.load),
    slowStore: id(slowPath.store),
    slowStore128: id(slowPath.store128),
    slowSpan: id(slowPath.span),
    verifyEdge: id(slowPath.verifyEdge),
  };
}

/** More functions for the module, beside the routines. */
export interface ModuleExtension {
  /** The declared routine whose function `define` writes. */
  readonly routine: string;
  /** Defines that one function, after the routines' indices are known. */
  define(module: ModuleWriter, functionIndex: (routine: number) => number): void;
}

export interface RoutineModuleOptions {
  readonly set: RoutineSet;
  readonly vars: GuestVars;
  readonly memory: WebAssembly.Memory;
  readonly memoryPages: { readonly initial: number; readonly maximum: number };
  /** JavaScript for host routines, by name. A missing one throws when it is called: tests need not give all. */
  readonly host: Readonly<Record<string, HostFunction>>;
  /** The table of translated code; given to the one module that has the dispatcher. */
  readonly table?: WebAssembly.Table;
  readonly extension?: ModuleExtension;
  /** Makes the module of its bytes; may give one that was made of the same routines before, and then needs no bytes. */
  readonly compile?: ((write: () => Uint8Array) => WebAssembly.Module) | undefined;
}

/** Throws only for a mistake in a routine. */
export function compileRoutines(options: RoutineModuleOptions): RoutineInstance {
  const { set, vars, memory, memoryPages, host, table, extension } = options;
  const module = new ModuleWriter();
  const list = set.list;
  const types = list.map((routine) => module.type(['i32', ...routine.params], routine.results));
  const codeType = module.type(['i32'], ['i32']);
  module.importSharedMemory('e', 'm', memoryPages.initial, memoryPages.maximum);
  if (table) module.importTable('e', 't', 1);
  const index = new Map<number, number>();
  const imports: Record<string, HostFunction> = {};
  for (const routine of list) {
    if (routine.build || routine.name === extension?.routine) continue;
    index.set(routine.id, module.importFunction('h', routine.name, types[routine.id]));
    imports[routine.name] =
      host[routine.name] ??
      (() => {
        throw new Error(`vring invariant broken: routine ${routine.name} has no body`);
      });
  }
  let next = module.nextFunction;
  for (const routine of list) if (routine.build) index.set(routine.id, next++);
  const extended = extension ? list.findIndex((routine) => routine.name === extension.routine) : -1;
  if (extended >= 0) index.set(extended, next);
  const functionIndex = (routine: number) => {
    const at = index.get(routine);
    assert(at !== undefined, `routine ${routine}`);
    return at;
  };
  const write = () => {
    const emitter = new RoutineEmitter({ routines: list, functionIndex, ...slowPathIds(list) }, vars);
    emitter.codeType = codeType;
    for (const routine of list) {
      if (!routine.build) continue;
      const compiled = set.optimizedAtOnce.has(routine.name) ? 'optimized' : 'lazy';
      const at = module.define(types[routine.id], emitter.emit(routine), routine.name, compiled);
      assert(at === functionIndex(routine.id), routine.name);
    }
    extension?.define(module, functionIndex);
    return module.finish();
  };
  const compiled = options.compile ? options.compile(write) : new WebAssembly.Module(write());
  const instance = new WebAssembly.Instance(compiled, { e: { m: memory, ...(table ? { t: table } : {}) }, h: imports });
  return { exports: instance.exports as RoutineInstance['exports'], importable: { ...imports, ...instance.exports } };
}
