/**
 * FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1: the stack and the flags here; the functions on usual
 * operands in x87-series.ts, on all others in JavaScript (x87-functions.ts). Intel SDM vol. 1 ch. 8.3.7, 8.3.8, 8.3.10.
 */
import type { I32, I64, RoutineBuilder } from '../../../ir/index.js';
import { BIAS, flag, SIGN, TOP_BIT, within } from '../../float/core.js';
import { exponentOf, isNormal, signOf } from './float80.js';
import { cc } from './float80-remainder.js';
import { routines } from './set.js';
import {
  quickArctangent,
  quickLogarithm,
  quickLogarithmPlusOne,
  quickPower,
  quickSine,
  quickTangent,
} from './x87-series.js';
import {
  beginPair,
  commit,
  endPush,
  isEmpty,
  loadControl,
  loadEmpty,
  loadSe,
  loadSig,
  loadTop,
  pop,
  slot,
  storeSlot,
  underflowIf,
  waitForPending,
} from './x87-stack.js';

const faults = { mayFault: true } as const;

/** The numbers by which JavaScript knows the functions. */
export const functionNumber = {
  fsin: 0,
  fcos: 1,
  fsincos: 2,
  fptan: 3,
  fpatan: 4,
  f2xm1: 5,
  fyl2x: 6,
  fyl2xp1: 7,
} as const;
export type Transcendental = keyof typeof functionNumber;

/**
 * (function, ST(0), ST(1), control word) to (first result, second result, flags with C1 and C2): C2 set means that the operand is out
 * of range and nothing changes.
 */
const compute = routines.host(
  'x87_function',
  ['i32', 'i64', 'i32', 'i64', 'i32', 'i32'],
  ['i64', 'i32', 'i64', 'i32', 'i32'],
  { pure: true },
);

type Number80 = readonly [sig: I64, se: I32];
/** First result, second result, flags. */
type Results = readonly [I64, I32, I64, I32, I32];

/** Exponent (unbiased) from..from+count-1, of a normal number. */
function exponentWithin(r: RoutineBuilder, [sig, se]: Number80, from: number, count: number): I32 {
  const normal = r.i64_lt_s(sig, r.i64(0));
  return r.i32_and(normal, within(r, exponentOf(r, se), from + BIAS, count));
}

/** -0.29 with an exponent of -2: from there on FYL2XP1's series is too long. */
const LOWEST = 0x95f619980c4336f7n;

/** Whether the operands are those of x87-series.ts. */
function isQuick(r: RoutineBuilder, name: Transcendental, a: Number80, b: Number80): I32 {
  switch (name) {
    case 'f2xm1':
      return exponentWithin(r, a, -64, 64);
    case 'fyl2x': {
      const positive = r.i32_and(isNormal(r, a[0], a[1]), r.i32_eqz(signOf(r, a[1])));
      return r.i32_and(r.i32_and(positive, isNormal(r, b[0], b[1])), r.i64_ne(a[0], r.i64(TOP_BIT)));
    }
    case 'fyl2xp1': {
      const low = r.i32_and(r.i32_eq(a[1], r.i32(SIGN | (BIAS - 2))), r.i64_gt_u(a[0], r.i64(LOWEST)));
      return r.i32_and(r.i32_and(exponentWithin(r, a, -64, 63), isNormal(r, b[0], b[1])), r.i32_eqz(low));
    }
    case 'fpatan': {
      const distance = r.i32_sub(exponentOf(r, a[1]), exponentOf(r, b[1]));
      const normal = r.i32_and(isNormal(r, a[0], a[1]), isNormal(r, b[0], b[1]));
      return r.i32_and(normal, within(r, distance, -60, 121));
    }
    default:
      return exponentWithin(r, a, -34, 97);
  }
}

function computeQuick(r: RoutineBuilder, name: Transcendental, a: Number80, b: Number80): Results {
  const one = ([sig, se, flags]: readonly [I64, I32, I32]): Results => [sig, se, r.i64(TOP_BIT), r.i32(BIAS), flags];
  switch (name) {
    case 'fsin':
      return one(r.call(quickSine, a[0], a[1], r.i32(0)));
    case 'fcos':
      return one(r.call(quickSine, a[0], a[1], r.i32(1)));
    case 'fsincos': {
      const [sig, se, flags] = r.call(quickSine, a[0], a[1], r.i32(0));
      const [sig2, se2, flags2] = r.call(quickSine, a[0], a[1], r.i32(1));
      return [sig, se, sig2, se2, r.i32_or(r.i32_and(flags, r.i32(~flag.C1)), flags2)];
    }
    case 'fptan':
      return one(r.call(quickTangent, a[0], a[1]));
    case 'fpatan':
      return one(r.call(quickArctangent, a[0], a[1], b[0], b[1]));
    case 'f2xm1':
      return one(r.call(quickPower, a[0], a[1]));
    case 'fyl2x':
      return one(r.call(quickLogarithm, a[0], a[1], b[0], b[1]));
    default:
      return one(r.call(quickLogarithmPlusOne, a[0], a[1], b[0], b[1]));
  }
}

function call(r: RoutineBuilder, name: Transcendental, a: Number80, b: Number80): Results {
  const [sig, se, sig2, se2, flags] = [r.local('i64'), r.local('i32'), r.local('i64'), r.local('i32'), r.local('i32')];
  const take = (results: Results) => {
    r.assign(sig, results[0]);
    r.assign(se, results[1]);
    r.assign(sig2, results[2]);
    r.assign(se2, results[3]);
    r.assign(flags, results[4]);
  };
  r.if(
    isQuick(r, name, a, b),
    () => take(computeQuick(r, name, a, b)),
    () => take(r.call(compute, r.i32(functionNumber[name]), a[0], a[1], b[0], b[1], loadControl(r))),
  );
  return [r.read(sig), r.read(se), r.read(sig2), r.read(se2), r.read(flags)];
}

/** C2 set: the operand stays. */
const returnOutOfRange = (r: RoutineBuilder, flags: I32): void =>
  r.if(r.i32_and(flags, r.i32(cc.C2)), () => {
    commit(r, flags, () => undefined, { cleared: cc.C1 | cc.C2 });
    r.ret(r.i32(0));
  });

/** ST(0) := f(ST(0)). */
function defineUnary(name: Transcendental, cleared: number) {
  return routines.define(`x87_${name}`, [], ['i32'], faults, (r) => {
    waitForPending(r);
    const s = slot(r, loadTop(r));
    underflowIf(r, isEmpty(r, loadEmpty(r), s), s, undefined, cleared & cc.C2);
    const [sig, se, , , flags] = call(r, name, [loadSig(r, s), loadSe(r, s)], [r.i64(0), r.i32(0)]);
    returnOutOfRange(r, flags);
    commit(r, flags, () => storeSlot(r, s, sig, se), { cleared });
    r.ret(r.i32(0));
  });
}

/** ST(0) := first result; pushes the second. */
function defineTwoResults(name: Transcendental) {
  return routines.define(`x87_${name}`, [], ['i32'], faults, (r) => {
    waitForPending(r);
    const s = slot(r, loadTop(r));
    const above = beginPair(r, s, cc.C2);
    const [sig, se, sig2, se2, flags] = call(r, name, [loadSig(r, s), loadSe(r, s)], [r.i64(0), r.i32(0)]);
    returnOutOfRange(r, flags);
    commit(
      r,
      flags,
      () => {
        storeSlot(r, s, sig, se);
        endPush(r, above, sig2, se2);
      },
      { cleared: cc.C1 | cc.C2 },
    );
    r.ret(r.i32(0));
  });
}

/** ST(1) := f(ST(0), ST(1)); pops. */
function defineTwoOperands(name: Transcendental) {
  return routines.define(`x87_${name}`, [], ['i32'], faults, (r) => {
    waitForPending(r);
    const top = loadTop(r);
    const a = slot(r, top);
    const b = slot(r, top, r.i32(1));
    const empty = loadEmpty(r);
    underflowIf(r, r.i32_or(isEmpty(r, empty, a), isEmpty(r, empty, b)), b, r.i32(1));
    const [sig, se, , , flags] = call(r, name, [loadSig(r, a), loadSe(r, a)], [loadSig(r, b), loadSe(r, b)]);
    commit(r, flags, () => storeSlot(r, b, sig, se), { cleared: flag.C1 });
    pop(r);
    r.ret(r.i32(0));
  });
}

export const transcendental = {
  fsin: defineUnary('fsin', cc.C1 | cc.C2),
  fcos: defineUnary('fcos', cc.C1 | cc.C2),
  fsincos: defineTwoResults('fsincos'),
  fptan: defineTwoResults('fptan'),
  fpatan: defineTwoOperands('fpatan'),
  f2xm1: defineUnary('f2xm1', cc.C1),
  fyl2x: defineTwoOperands('fyl2x'),
  fyl2xp1: defineTwoOperands('fyl2xp1'),
} as const;
