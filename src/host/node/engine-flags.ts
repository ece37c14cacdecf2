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
const TIERING_BUDGET = 40_000_000;

/**
 * The same for a guest that has started. What becomes hot then is more often what it goes on to do: a program, a driver's way of a
 * request, some hundred regions of like heat. Optimized that much sooner, writes to a disk take a quarter less time in their first second;
 * a boot would take 3 % more.
 */
const STARTED_TIERING_BUDGET = 6_000_000;

/** The version of V8 from which on it has no hints for single functions, and would complain of the flag. */
const V8_WITHOUT_HINTS = 14;

/** The version of V8 from which on relaxed SIMD needs no flag: 11.4. */
const hasRelaxedSimd = (([major, minor]) => major > 11 || (major === 11 && minor >= 4))(
  process.versions.v8.split('.').map(Number) as [number, number],
);

const engineFlags = [
  // Multiplication and addition rounded once are one instruction there.
  ...(hasRelaxedSimd ? [] : ['--experimental-wasm-relaxed-simd']),
  // V8 also reads which branches a module says are unlikely; newer versions do so anyway.
  '--experimental-wasm-branch-hinting',
  // A module says which of its functions are to be optimized at once, and which compiled only when they are called.
  ...(Number.parseInt(process.versions.v8, 10) < V8_WITHOUT_HINTS ? ['--experimental-wasm-compilation-hints'] : []),
  // Others are compiled with their module, in whatever thread makes it, not by the thread that first calls them.
  '--no-wasm-lazy-compilation',
  `--wasm-tiering-budget=${TIERING_BUDGET}`,
];

/** For whatever compiles translated code, before it does. */
export function setEngineFlags(set: (flag: string) => void = setFlagsFromString): void {
  for (const flag of engineFlags) set(flag);
}

/**
 * The same for a region that takes the place of one that was entered very often: at once, but in the background. While the thread that
 * writes regions optimizes one itself, some ten milliseconds, blocks that have become hot wait.
 */
const BUSY_TIERING_BUDGET = 200_000;

/** Compiles modules of translated code, in the thread that writes them. */
export class TieringCompiler {
  #budget = TIERING_BUDGET;

  /** `busy`: its functions are to be optimized at once. Throws as WebAssembly.Module does. */
  compile(bytes: Uint8Array<ArrayBuffer>, busy: boolean): WebAssembly.Module {
    if (!busy) return new WebAssembly.Module(bytes);
    // V8 gives each function its budget with its module.
    setTieringBudget(BUSY_TIERING_BUDGET);
    const module = new WebAssembly.Module(bytes);
    setTieringBudget(this.#budget);
    return module;
  }

  /** Once the guest has started. It holds for the process until a machine starts anew. */
  tierUpSooner(): void {
    this.#budget = STARTED_TIERING_BUDGET;
    setTieringBudget(this.#budget);
  }
}

function setTieringBudget(bytes: number): void {
  setFlagsFromString(`--wasm-tiering-budget=${bytes}`);
}

/**
 * For a process that does nothing but run a machine, before it starts threads. V8 inlines less into the functions of the
 * translator, which are large: it spends a third less time on optimizing them, and they run as fast. New objects get 1 MiB, not
 * 16, before they are collected: a boot is as fast, some 8 MB smaller, and memory that is used again soon is neither fetched from the
 * host nor far from the cache, which an interrupt would wait for.
 */
export function tuneForMachines(set: (flag: string) => void = setFlagsFromString): void {
  setEngineFlags(set);
  set('--max-inlined-bytecode-size-cumulative=300');
  set('--max-semi-space-size=1');
}

/**
 * For a process that copies for a second or so, with little computing: a function has to run eight times as long as usual before the
 * optimizing compiler takes it up, whose threads would otherwise use as much CPU as they spare and keep it from the ones that read ahead.
 * Few new objects live on: waking threads to collect them takes longer than doing it.
 */
export function tuneForCopying(): void {
  setFlagsFromString('--interrupt-budget=1000000');
  setFlagsFromString('--no-parallel-scavenge');
}
