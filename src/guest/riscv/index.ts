/** RISC-V guest CPUs. Whoever needs their code loads it from here, in the order that numbers their routines. */
export type { Semihosting } from '../semihosting.js';
export { parseRiscvCpu, type RiscvModel } from './models.js';
export * from './state.js';
export { RiscvCpu } from './system/cpu.js';
export { csrRows, readCsr, writeCsr } from './system/csr.js';
export type { Hart, RiscvBoard } from './system/hart.js';
