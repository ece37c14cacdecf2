/** What the translator is made with. */
import type { GuestCpu } from '../../guest/guest-cpu.js';
import type { AcceleratorHost } from '../accelerator.js';
import type { RegionService } from './region-compiler.js';

export type CompiledModule = WebAssembly.Module;
export interface ModuleCache {
  get(key: string): WebAssembly.Module | undefined;
  set(key: string, module: WebAssembly.Module): void;
}

/** Bytes of the routines' module, written when the program was built, by what they depend on. */
export interface RoutineStore {
  get(key: string): Uint8Array | undefined;
  /** Called with what `get` did not have. */
  set?(key: string, bytes: Uint8Array): void;
}

/** What the machine gives to the engine beside what every accelerator gets. */
export interface EngineHost extends Omit<AcceleratorHost, 'untilDeadlineNs' | 'deferrable' | 'notifyRegister'> {
  /** Modules compiled before, by what they depend on: the same for all machines of a process. */
  readonly modules?: ModuleCache | undefined;
  readonly routineStore?: RoutineStore | undefined;
}

/** Who wants to see the translator at work (`-d`). What is not given costs nothing. */
export interface EngineTrace {
  /** Guest code that is translated: an instruction a line. */
  code?(lines: readonly string[]): void;
  /** The intermediate code made of it, optimized. */
  ir?(lines: readonly string[]): void;
  /** A module of regions. */
  wasm?(lines: readonly string[]): void;
  /**
   * A block is about to run, whose code for the cold tier lies at `target`. While this is given nothing is compiled, and blocks
   * run one at a time.
   */
  block?(target: number): void;
}

export interface EngineOptions {
  /** All of one model. */
  readonly cpus: readonly GuestCpu[];
  readonly host: EngineHost;
  /** Bytes of guest RAM and ROM to make room for. */
  readonly ramBytes: number;
  /** Bytes of the guest CPU's state. */
  readonly stateBytes: number;
  /** Entries of a block before it is compiled: a power of two from 2 on, or 0: never (cold tier only). */
  readonly hotThreshold?: number;
  readonly countInstructions?: boolean;
  /** Another thread that writes regions; without one the vCPU's own does. */
  readonly regionService?: RegionService | undefined;
  readonly trace?: EngineTrace | undefined;
  /** False: nothing translated is kept; each instruction is translated when it runs. To show what the cache is for. */
  readonly codeCache?: boolean | undefined;
  /** Entries of each TLB: a power of two. All there is room for unless given; fewer show what it is for. */
  readonly tlbEntries?: number | undefined;
}
