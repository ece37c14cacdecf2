/** RISC-V guest CPUs. Whoever needs their code loads it from here, in the order that numbers their routines. */
export { riscvCode } from './code.js';
export * from './state.js';
export { RiscvCpu } from './system/cpu.js';
export type { RiscvBoard } from './system/hart.js';
