/**
 * FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1: the stack and the flags here; the functions in JavaScript
 * (x87-functions.ts), as they are rare. Intel SDM vol. 1 ch. 8.3.7, 8.3.8, 8.3.10.
 */
import type { I32, I64, RoutineBuilder } from '../../../ir/index.js';
import { flag } from './float-core.js';
import { cc } from './float80-remainder.js';
import { routines } from './set.js';
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

function call(r: RoutineBuilder, name: Transcendental, a: readonly [I64, I32], b: readonly [I64, I32]) {
  return r.call(compute, r.i32(functionNumber[name]), a[0], a[1], b[0], b[1], loadControl(r));
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
