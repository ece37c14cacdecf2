/** AArch64 guest CPUs. Whoever needs their code loads it from here, in the order that numbers their routines. */
export type { Semihosting } from '../semihosting.js';
export { type ArmModel, defaultModel, parseArmCpu } from './models.js';
export { field, line, ofLevel, pstate, STATE_BYTES, vreg, xreg } from './state.js';
export type { ArmBoard, Core as ArmCore, TimerName } from './system/core.js';
export { ArmCpu } from './system/cpu.js';
export { forEachMapping, type Mapping } from './system/debug-translate.js';
export { wholePstate } from './system/dump.js';
