/** The x86 CPU's routines. Each file here defines some; importing them all (index.ts) completes the set. */
import { declareEngineRoutines, RoutineSet } from '../../../ir/index.js';

export const routines = new RoutineSet();
export const engine = declareEngineRoutines(routines);
