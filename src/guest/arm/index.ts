/** AArch64 guest CPUs. Whoever needs their code loads it from here, in the order that numbers their routines. */
export { aarch64Code } from './code.js';
export { type ArmModel, defaultModel, parseArmCpu } from './models.js';
export { STATE_BYTES } from './state.js';
export type { ArmBoard } from './system/core.js';
export { ArmCpu } from './system/cpu.js';
