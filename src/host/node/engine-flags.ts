/**
 * How V8 compiles: flags that can be set at run time. A code cache (`bundles.ts`) is good under the flags it was made under, so
 * those that stay are set before any thread starts.
 */
import { setFlagsFromString } from 'node:v8';

/**
 * Bytes of code that a function runs in the baseline tier before the optimizing compiler takes it up, in the background: some ten
 * milliseconds, about as long as optimizing it takes. With V8's own figure, 1.8 million, a boot spends more time on optimizing
 * than it saves.
 */
const TIERING_BUDGET = 100_000_000;

/** What every thread that makes or runs translated code needs. */
const engineFlags = [
  // V8 also reads which branches a module says are unlikely; newer versions do so anyway.
  '--experimental-wasm-branch-hinting',
  // Functions are compiled with their module, in whatever thread makes it, not by the thread that first calls them.
  '--no-wasm-lazy-compilation',
  `--wasm-tiering-budget=${TIERING_BUDGET}`,
];

/**
 * Compiles WebAssembly modules made in `make` with the optimizing compiler at once, instead of when they prove hot. Modules made
 * later start in the baseline tier.
 */
export function compileOptimized<T>(make: () => T): T {
  for (const flag of engineFlags) setFlagsFromString(flag);
  setFlagsFromString('--no-liftoff');
  try {
    return make();
  } finally {
    setFlagsFromString('--liftoff');
    // Without Liftoff V8 also gives up waiting for functions to prove hot, and does not come back to it by itself.
    setFlagsFromString('--wasm-dynamic-tiering');
  }
}

/**
 * For a process that does nothing but run a machine, before it starts threads. V8 inlines less into the functions of the
 * translator, which are large: it spends a third less time on optimizing them, and they run as fast.
 */
export function tuneForMachines(set: (flag: string) => void = setFlagsFromString): void {
  for (const flag of engineFlags) set(flag);
  set('--max-inlined-bytecode-size-cumulative=300');
}
