/** The x86 CPU's routines. Each file here defines some; importing them all (index.ts) completes the set. */
import { declareEngineRoutines, RoutineSet } from '../../../ir/index.js';

export const routines = new RoutineSet();
export const engine = declareEngineRoutines(routines);
for (const name of [
  'page_walk',
  'plain_flags',
  'compute_flags',
  'compute_carry',
  'kept_flags',
  'update_mode_64',
  'rep_movs8',
  'rep_movs64',
  'rep_stos8',
  'rep_stos64',
]) {
  routines.optimizedAtOnce.add(name);
}
