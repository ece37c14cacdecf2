/** How V8 compiles WebAssembly: flags that can be set at run time. */
import { setFlagsFromString } from 'node:v8';

/**
 * Bytes of code that a function runs in the baseline tier before the optimizing compiler takes it up, in the background. With V8's
 * own figure, 1.8 million, a boot spends more time on optimizing than it saves.
 */
const TIERING_BUDGET = 8_000_000;

/**
 * Compiles WebAssembly modules made in `make` with the optimizing compiler at once, instead of when they prove hot. Modules made
 * later start in the baseline tier.
 */
export function compileOptimized<T>(make: () => T): T {
  // From here on V8 also reads which branches a module says are unlikely; newer versions do so anyway.
  setFlagsFromString('--experimental-wasm-branch-hinting');
  // Functions are compiled with their module, in whatever thread makes it, not by the thread that first calls them.
  setFlagsFromString('--no-wasm-lazy-compilation');
  setFlagsFromString('--no-liftoff');
  try {
    return make();
  } finally {
    setFlagsFromString('--liftoff');
    // Without Liftoff V8 also gives up waiting for functions to prove hot, and does not come back to it by itself.
    setFlagsFromString('--wasm-dynamic-tiering');
    setFlagsFromString(`--wasm-tiering-budget=${TIERING_BUDGET}`);
  }
}

/**
 * For a process that does nothing but run a machine: V8 inlines less into the functions of the translator, which are large. It
 * spends a third less time on optimizing them, and they run as fast.
 */
export function tuneForMachines(): void {
  setFlagsFromString('--max-inlined-bytecode-size-cumulative=300');
}
