/** How V8 compiles WebAssembly: flags that can be set at run time. */
import { setFlagsFromString } from 'node:v8';

/** Compiles WebAssembly modules made in `make` with the optimizing compiler at once, instead of when they prove hot. */
export function compileOptimized<T>(make: () => T): T {
  // From here on V8 also reads which branches a module says are unlikely; newer versions do so anyway.
  setFlagsFromString('--experimental-wasm-branch-hinting');
  setFlagsFromString('--no-liftoff');
  setFlagsFromString('--no-wasm-lazy-compilation');
  try {
    return make();
  } finally {
    setFlagsFromString('--liftoff');
    setFlagsFromString('--wasm-lazy-compilation');
  }
}
