/** Guest CPUs: the contract with the engine, x86 and RISC-V. */

export { header } from '../ir/index.js';
export * from './guest-cpu.js';
export { riscvCode } from './riscv/code.js';
export { RiscvCpu } from './riscv/system/cpu.js';
export type { RiscvBoard } from './riscv/system/hart.js';
export { type Assembly, AssemblyError, type AssemblyOptions, assemble } from './x86/assembler/index.js';
export { x86Code } from './x86/code.js';
export { type CpuModel as X86CpuModel, CpuOptionError, cpuHelp, parseCpuOption } from './x86/models.js';
export { STATE_BYTES } from './x86/state.js';
export { X86Cpu, type X86CpuOptions } from './x86/system/cpu.js';
export {
  type BootState as X86BootState,
  type RegisterView as X86RegisterView,
  registerViews as x86RegisterViews,
} from './x86/system/cpu-state.js';
export type { X86Board } from './x86/system/vcpu.js';
