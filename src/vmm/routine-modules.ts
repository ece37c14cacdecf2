/**
 * Modules of the translator's routines, for all machines of the process: there are as many as ways to build the translator. What the
 * build has stored is compiled in V8's background while a machine's thread starts.
 */
import type { CompiledModule } from '../accel/index.js';
import { compileRoutinesModule, routinesKey } from '../accel/tcg/stored-routines.js';
import { setEngineFlags } from '../host/node/engine-flags.js';
import { readStoredRoutines } from '../host/node/routine-file.js';
import { type Architecture, DEFAULT_ARCHITECTURE } from './architectures.js';
import { DEFAULT_HOT_THRESHOLD } from './machine-options.js';

/** Those that are compiled. */
export const compiledModules = new Map<string, CompiledModule>();

export interface ComingModule {
  readonly key: string;
  /** Undefined: it could not be compiled. */
  readonly module: Promise<CompiledModule | undefined>;
}

const coming = new Map<string, ComingModule>();

/** A module that is being compiled, or undefined: it is there, or the machine's own thread is to make it. */
export function comingModule(
  { code }: Architecture,
  hotThreshold: number,
  countInstructions: boolean,
): ComingModule | undefined {
  setEngineFlags();
  const key = routinesKey(code, hotThreshold, countInstructions);
  const known = coming.get(key);
  if (known || compiledModules.has(key)) return known;
  const bytes = readStoredRoutines(key);
  if (!bytes) return undefined;
  const module = compileRoutinesModule(bytes).then(
    (compiled) => {
      compiledModules.set(key, compiled);
      coming.delete(key);
      return compiled;
    },
    () => undefined,
  );
  const begun = { key, module };
  coming.set(key, begun);
  return begun;
}

/** Begins with what the first machine will need. */
export function prepareMachines(architecture: Architecture = DEFAULT_ARCHITECTURE): void {
  comingModule(architecture, DEFAULT_HOT_THRESHOLD, false);
}
