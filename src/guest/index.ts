/**
 * Guest CPUs: the contract with the engine, and x86. Whoever needs x86 code loads it from here, RISC-V's from riscv/index.ts: a
 * set's routines are numbered as their modules are loaded, so all threads load them in one order.
 */

export { header } from '../ir/index.js';
export * from './guest-cpu.js';
export { type Assembly, AssemblyError, type AssemblyOptions, assemble } from './x86/assembler/index.js';
export { type CpuModel as X86CpuModel, CpuOptionError, cpuHelp, parseCpuOption } from './x86/models.js';
export { STATE_BYTES } from './x86/state.js';
export { X86Cpu, type X86CpuOptions } from './x86/system/cpu.js';
export {
  type BootState as X86BootState,
  type RegisterView as X86RegisterView,
  registerViews as x86RegisterViews,
} from './x86/system/cpu-state.js';
export type { X86Board } from './x86/system/vcpu.js';
