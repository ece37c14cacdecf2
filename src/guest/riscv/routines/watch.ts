/** Data accesses as a debugger with watchpoints hears of them: on RISC-V it takes for granted that the instruction has not been executed. */
import { routines } from './set.js';

/** (address, bytes, 1: it is a store) → fault: the machine stops before it. */
export const dataAccess = routines.host('data_access', ['i64', 'i32', 'i32'], ['i32'], { mayFault: true });
