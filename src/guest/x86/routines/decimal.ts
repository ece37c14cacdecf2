/** Decimal adjustments: DAA, DAS, AAA, AAS. Intel SDM vol. 2; undefined flags are cleared or follow the result. */
import type { I32, RoutineBuilder } from '../../../ir/index.js';
import { statusFlag } from '../flags.js';
import { routines } from './set.js';

function resultFlags(r: RoutineBuilder, al: I32): I32 {
  const odd = r.i32_and(r.i32_popcnt(r.i32_and(al, r.i32(0xff))), r.i32(1));
  const zero = r.i32_eqz(r.i32_and(al, r.i32(0xff)));
  return r.i32_or(
    r.i32_or(r.i32_shl(r.i32_eqz(odd), r.i32(2)), r.i32_shl(zero, r.i32(6))),
    r.i32_and(al, r.i32(statusFlag.SF)),
  );
}

/** (AX, status flags, 1 to adjust after subtraction) → (AX, status flags). */
export const decimalAdjust = routines.define(
  'decimal_adjust',
  ['i32', 'i32', 'i32'],
  ['i32', 'i32'],
  { pure: true },
  (r, ax, flags, subtract) => {
    const old = r.i32_and(ax, r.i32(0xff));
    const al = r.local('i32', old);
    const carry = r.i32_and(flags, r.i32(statusFlag.CF));
    const outCarry = r.local('i32', r.i32(0));
    const low = r.i32_or(
      r.i32_gt_u(r.i32_and(old, r.i32(15)), r.i32(9)),
      r.i32_ne(r.i32_and(flags, r.i32(statusFlag.AF)), r.i32(0)),
    );
    const high = r.i32_or(r.i32_gt_u(old, r.i32(0x99)), carry);
    const by = (amount: number) => r.select(subtract, r.i32(-amount), r.i32(amount));
    r.if(low, () => {
      r.assign(al, r.i32_add(r.read(al), by(6)));
      // a borrow out of the low adjustment counts for DAS
      r.assign(outCarry, r.i32_or(carry, r.i32_and(subtract, r.i32_lt_u(old, r.i32(6)))));
    });
    r.if(high, () => {
      r.assign(al, r.i32_add(r.read(al), by(0x60)));
      r.assign(outCarry, r.i32(1));
    });
    // DAA's carry is the second step's alone; the first step's can only be set where the second is taken.
    const result = r.i32_and(r.read(al), r.i32(0xff));
    const bits = r.i32_or(resultFlags(r, result), r.i32_or(r.read(outCarry), r.i32_shl(low, r.i32(4))));
    r.ret(r.i32_or(r.i32_and(ax, r.i32(0xff00)), result), bits);
  },
);

export const asciiAdjust = routines.define(
  'ascii_adjust',
  ['i32', 'i32', 'i32'],
  ['i32', 'i32'],
  { pure: true },
  (r, ax, flags, subtract) => {
    const adjust = r.i32_or(
      r.i32_gt_u(r.i32_and(ax, r.i32(15)), r.i32(9)),
      r.i32_ne(r.i32_and(flags, r.i32(statusFlag.AF)), r.i32(0)),
    );
    const moved = r.i32_add(ax, r.select(subtract, r.i32(-0x106), r.i32(0x106)));
    const result = r.i32_and(r.select(adjust, moved, ax), r.i32(0xff0f));
    const carries = r.select(adjust, r.i32(statusFlag.CF | statusFlag.AF), r.i32(0));
    r.ret(result, r.i32_or(resultFlags(r, result), carries));
  },
);
