/** The RISC-V CPU's routines. The files here and the system's page walk define them. */
import { declareEngineRoutines, RoutineSet } from '../../../ir/index.js';

export const routines = new RoutineSet();
export const engine = declareEngineRoutines(routines);
routines.optimizedAtOnce.add('page_walk');
