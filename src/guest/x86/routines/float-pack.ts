/** Rounding in the x86's set of routines: to single and double precision, and the x87's mode. Intel SDM vol. 1 ch. 4.8.4, 8.1.5. */
import type { I32, RoutineBuilder } from '../../../ir/index.js';
import { and } from '../../float/core.js';
import { definePack, double, single } from '../../float/pack.js';
import { field } from '../state.js';
import { routines } from './set.js';

export const packF32 = definePack(routines, single);
export const packF64 = definePack(routines, double);

/** The x87's rounding mode. */
export function roundingMode(r: RoutineBuilder): I32 {
  return and(r, r.i32_shr_u(r.i32_load(r.state(), field.fpControl), r.i32(10)), 3);
}
