/** Host routines of CPUID, XSETBV and INVPCID. */
import { routines } from '../routines/set.js';

/** CPUID: reads EAX and ECX, writes EAX to EDX in their homes. */
export const cpuidRoutine = routines.host('cpuid', [], [], { vars: 'write' });
/** XSETBV: (index, value) → fault. */
export const writeExtendedControl = routines.host('write_xcr', ['i32', 'i64'], ['i32'], { mayFault: true });
