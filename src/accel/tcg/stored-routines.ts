import { fusesMultiply } from '../../ir/index.js';

/** What the module of the routines depends on: its key in a `ModuleCache` or `RoutineStore`. */
export function routinesKey(architecture: string, hotThreshold: number, countInstructions: boolean): string {
  return `routines ${architecture} ${hotThreshold} ${countInstructions}${fusesMultiply() ? ' fused' : ''}`;
}

/** Compiles the module's bytes in the background. */
export function compileRoutinesModule(bytes: Uint8Array): Promise<WebAssembly.Module> {
  return WebAssembly.compile(bytes);
}
