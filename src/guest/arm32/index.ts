/** AArch32 guest CPUs. Whoever needs their code loads it from here, in the order that numbers their routines. */
export { parseArm32Cpu } from './models.js';
export { cpsr, field, reg, STATE_BYTES, vreg } from './state.js';
export { Core32 } from './system/core.js';
export { Arm32Cpu } from './system/cpu.js';
