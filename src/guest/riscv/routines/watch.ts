/** Data accesses as a debugger with watchpoints hears of them. */
import { routines } from './set.js';

/** (address, bytes, 1: it is a store). */
export const dataAccess = routines.host('data_access', ['i64', 'i32', 'i32'], [], {});
