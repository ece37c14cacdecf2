/**
 * VRECPS and VRSQRTS of AArch32 (FPRecipStep, FPRSqrtStep): their product is rounded before it is subtracted, which AArch64's FRECPS and
 * FRSQRTS do not do.
 */
import { type FloatRoutines, f16, f32 } from '../../arm/routines/float.js';
import { isInfinite, isZero, operand } from '../../arm/routines/float-common.js';
import { routines } from '../../arm/routines/set.js';
import { type Format, half, single } from '../../float/pack.js';

const own = (f: Format): FloatRoutines => (f === half ? f16 : f32);

function defineStep(f: Format, isRoot: boolean) {
  return routines.define(
    `${f.name}_${isRoot ? 'rsqrts' : 'recps'}_unfused`,
    ['i64', 'i64', 'i32'],
    ['i64'],
    {},
    (r, x0, y0, mode) => {
      const [x, y] = [operand(r, f, x0, mode), operand(r, f, y0, mode)];
      const one = BigInt(f.bias) << BigInt(f.fraction);
      const two = one + (1n << BigInt(f.fraction));
      const [half1, three] = [1n << BigInt(f.fraction - 1), two | (1n << BigInt(f.fraction - 1))];
      const meaningless = r.i32_or(
        r.i32_and(isInfinite(r, f, x), isZero(r, f, y)),
        r.i32_and(isZero(r, f, x), isInfinite(r, f, y)),
      );
      r.if(meaningless, () => r.ret(r.i64(isRoot ? one | half1 : two)));
      const [product] = r.call(own(f).mul, x, y, mode);
      const [difference] = r.call(own(f).sub, r.i64(isRoot ? three : two), product, mode);
      r.ret(isRoot ? r.call(own(f).div, difference, r.i64(two), mode)[0] : difference);
    },
  );
}

const defineSteps = (f: Format) => ({ recps: defineStep(f, false), rsqrts: defineStep(f, true) }) as const;
export const steps = { f16: defineSteps(half), f32: defineSteps(single) } as const;
