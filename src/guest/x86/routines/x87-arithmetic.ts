/**
 * x87 arithmetic and comparison between registers, and with a number from memory. Intel SDM vol. 1 ch. 8.3.5, 8.3.6; vol. 2.
 */
import type { I32, I64, Routine, RoutineBuilder } from '../../../ir/index.js';
import { and, BIAS, emitAdd, emitMultiply, flag, or, QUIET_BIT, SIGN, TOP_BIT, within } from '../../float/core.js';
import { double, exponentOfBits, signOfBits } from '../../float/pack.js';
import { field } from '../state.js';
import {
  add80,
  div80,
  exponentOf,
  isDenormal,
  isInfinite,
  isNaN80,
  isUnsupported,
  mul80,
  rint80,
  sqrt80,
  sub80,
} from './float80.js';
import { fromInteger, widenF32, widenF64 } from './float80-convert.js';
import { cc, compare80, extract80, rem80, remNearest80, scale80 } from './float80-remainder.js';
import { routines } from './set.js';
import {
  beginPair,
  bitOf,
  clearC1,
  commit,
  endPush,
  fill,
  isEmpty,
  loadControl,
  loadEmpty,
  loadSe,
  loadSig,
  loadTop,
  popTimes,
  type Slot,
  slot,
  stackFault,
  storeIndefinite,
  storeSlot,
  underflowIf,
  waitForPending,
} from './x87-stack.js';

const faults = { mayFault: true } as const;

type Number80 = readonly [sig: I64, se: I32];
type Core = typeof add80;
/** (operand) to fault: the operand as its bits are in memory. */
type FromValue = Routine<readonly ['i64'], readonly ['i32']>;

export interface Arithmetic {
  /** (destination ST, source ST, pop): destination := destination op source. */
  readonly registers: Routine<readonly ['i32', 'i32', 'i32'], readonly ['i32']>;
  /** ST(0) := ST(0) op value: bits of a single or double, or an integer. */
  readonly f32: FromValue;
  readonly f64: FromValue;
  readonly integer: FromValue;
}

export type OperandKind = 'f32' | 'f64' | 'integer';

/** A memory operand as an 80-bit number and the flags that reading it raises. */
function widen(r: RoutineBuilder, kind: OperandKind, value: I64): { sig: I64; se: I32; flags: I32 } {
  if (kind === 'integer') return { ...fromInteger(r, value), flags: r.i32(0) };
  const [sig, se, flags] = r.call(kind === 'f32' ? widenF32 : widenF64, value);
  // A signaling NaN is to be seen as one: a quiet NaN in ST(0) is the result then.
  const signaling = r.i64_and(sig, r.i64(~QUIET_BIT));
  return { sig: r.select(and(r, flags, flag.IE), signaling, sig), se, flags };
}

/** A signaling NaN or a denormal of the memory format is one only there: its flags join the operation's, IE alone if there is one. */
function mergeOperandFlags(r: RoutineBuilder, operand: I32, flags: I32): I32 {
  return r.select(and(r, r.i32_or(operand, flags), flag.IE), r.i32(flag.IE), r.i32_or(operand, flags));
}

/** An operation as float-core has it, on numbers that are normal; `negate`: whose sign counts reversed. */
interface Quick {
  readonly emit: typeof emitAdd;
  readonly negate?: 'to' | 'from';
}

/**
 * The usual case at one go: nothing pending or empty, normal numbers, round to nearest, 64 bits, PE masked, and a result well
 * inside the range. Returns then; else nothing has happened.
 */
function tryQuick(r: RoutineBuilder, quick: Quick, target: Slot, others: I32, from: Operand, pops?: I32): void {
  const state = r.state();
  const status = r.i32_load(state, field.fpStatus);
  const control = r.i32_load(state, field.fpControl);
  const sig = loadSig(r, target);
  const se = loadSe(r, target);
  const exp = exponentOf(r, se);
  const unusual = r.i32_or(and(r, status, flag.ES), r.i32_xor(and(r, control, 0xf20), r.i32(0x320)));
  const topBits = r.i64_lt_s(r.i64_and(sig, from.sig), r.i64(0));
  const normal = r.i32_and(r.i32_and(within(r, exp, 1, 0x7ffe), from.normal), topBits);
  r.if(r.i32_and(r.i32_eqz(r.i32_or(unusual, and(r, others, 1))), normal), () => {
    const sign = and(r, se, SIGN);
    const opposite = (x: I32) => r.i32_xor(x, r.i32(SIGN));
    const toSign = quick.negate === 'to' ? opposite(sign) : sign;
    const fromSign = quick.negate === 'from' ? opposite(from.sign) : from.sign;
    const w = quick.emit(r, toSign, exp, sig, fromSign, from.exp, from.sig);
    const resultExp = r.read(w.exp);
    const hi = r.read(w.hi);
    const lo = r.read(w.lo);
    // A difference of 0 has no top bit.
    r.if(r.i32_and(within(r, resultExp, 1, 0x7ffd), r.i64_lt_s(hi, r.i64(0))), () => {
      const inexact = r.i64_ne(lo, r.i64(0));
      const even = r.i64_xor(r.i64_and(hi, r.i64(1)), r.i64(1));
      const up = r.i32_and(r.i32_wrap_i64(r.i64_shr_u(r.i64_sub(lo, even), r.i64(63))), inexact);
      const raised = r.i64_add(hi, r.i64_extend_i32_u(up));
      const carried = r.i64_eqz(raised);
      r.i64_store(target.address, r.i64_or(raised, r.i64_shl(r.i64_extend_i32_u(carried), r.i64(63))), field.fpr);
      r.i32_store16(target.address, r.i32_or(r.read(w.sign), r.i32_add(resultExp, carried)), field.fpr + 8);
      const flags = r.i32_or(r.i32_shl(inexact, r.i32(5)), r.i32_shl(up, r.i32(9)));
      r.i32_store(state, r.i32_or(and(r, status, ~flag.C1), flags), field.fpStatus);
      if (pops !== undefined) popTimes(r, pops);
      r.ret(r.i32(0));
    });
  });
}

/** The second operand of a quick operation. */
interface Operand {
  readonly sign: I32;
  readonly exp: I32;
  readonly sig: I64;
  /** Its exponent is that of a normal number. */
  readonly normal: I32;
}

function operandOfSlot(r: RoutineBuilder, s: Slot): Operand {
  const se = loadSe(r, s);
  const exp = exponentOf(r, se);
  return { sign: and(r, se, SIGN), exp, sig: loadSig(r, s), normal: within(r, exp, 1, 0x7ffe) };
}

function operandOfF64(r: RoutineBuilder, bits: I64): Operand {
  const exp = exponentOfBits(r, double, bits);
  return {
    sign: signOfBits(r, double, bits),
    exp: r.i32_add(exp, r.i32(BIAS - double.bias)),
    sig: r.i64_or(r.i64_shl(bits, r.i64(11)), r.i64(TOP_BIT)),
    normal: within(r, exp, 1, 0x7fe),
  };
}

function defineArithmetic(name: string, core: Core, reverse: boolean, quick?: Quick): Arithmetic {
  const apply = (r: RoutineBuilder, a: Number80, b: Number80) =>
    reverse ? r.call(core, b[0], b[1], a[0], a[1]) : r.call(core, a[0], a[1], b[0], b[1]);
  const registers = routines.define(`x87_${name}_st`, ['i32', 'i32', 'i32'], ['i32'], faults, (r, to, from, pops) => {
    const top = loadTop(r);
    const target = slot(r, top, to);
    const source = slot(r, top, from);
    const empty = loadEmpty(r);
    const missing = r.i32_or(isEmpty(r, empty, target), isEmpty(r, empty, source));
    if (quick) tryQuick(r, quick, target, missing, operandOfSlot(r, source), pops);
    waitForPending(r);
    underflowIf(r, missing, target, pops);
    const a = [loadSig(r, target), loadSe(r, target)] as const;
    const [sig, se, flags] = apply(r, a, [loadSig(r, source), loadSe(r, source)]);
    commit(r, flags, () => storeSlot(r, target, sig, se));
    popTimes(r, pops);
    r.ret(r.i32(0));
  });
  const value = (kind: OperandKind): FromValue =>
    routines.define(`x87_${name}_${kind}`, ['i64'], ['i32'], faults, (r, bits) => {
      const target = slot(r, loadTop(r));
      const missing = isEmpty(r, loadEmpty(r), target);
      if (quick && kind === 'f64') tryQuick(r, quick, target, missing, operandOfF64(r, bits));
      waitForPending(r);
      underflowIf(r, missing, target);
      const b = widen(r, kind, bits);
      const a = [loadSig(r, target), loadSe(r, target)] as const;
      const [sig, se, flags] = apply(r, a, [b.sig, b.se]);
      const all = kind === 'integer' ? flags : combineFlags(r, b.flags, flags, a[0], a[1]);
      commit(r, all, () => storeSlot(r, target, sig, se));
      r.ret(r.i32(0));
    });
  return { registers, f32: value('f32'), f64: value('f64'), integer: value('integer') };
}

/**
 * mergeOperandFlags for arithmetic: a denormal in memory goes unnoticed where the other operand is a NaN and where it is
 * divided by 0; unmasked, it stops the operation.
 */
function combineFlags(r: RoutineBuilder, operand: I32, flags: I32, sig: I64, se: I32): I32 {
  const nan = isNaN80(r, sig, exponentOf(r, se));
  const unnoticed = r.i32_or(nan, and(r, flags, flag.ZE));
  const noticed = r.select(unnoticed, and(r, operand, flag.IE), operand);
  const merged = mergeOperandFlags(r, noticed, flags);
  const stopped = and(r, r.i32_and(merged, r.i32_xor(loadControl(r), r.i32(-1))), flag.DE);
  return r.select(stopped, stopped, merged);
}

export const arithmetic = {
  add: defineArithmetic('add', add80, false, { emit: emitAdd }),
  mul: defineArithmetic('mul', mul80, false, { emit: emitMultiply }),
  sub: defineArithmetic('sub', sub80, false, { emit: emitAdd, negate: 'from' }),
  subr: defineArithmetic('subr', sub80, true, { emit: emitAdd, negate: 'to' }),
  div: defineArithmetic('div', div80, false),
  divr: defineArithmetic('divr', div80, true),
} as const;

/** Sets the condition codes of a comparison and pops. */
function endCompare(r: RoutineBuilder, codes: I32, flags: I32, pops: I32): void {
  const state = r.state();
  // The codes are there even with an unmasked exception; the pops are not.
  r.i32_store(state, r.i32_or(and(r, r.i32_load(state, field.fpStatus), ~cc.all), codes), field.fpStatus);
  commit(r, flags, () => undefined);
  popTimes(r, pops);
  r.ret(r.i32(0));
}

/** Stack underflow in a comparison: unordered. */
function compareUnderflow(r: RoutineBuilder, condition: I32, pops: I32): void {
  r.if(condition, () => {
    const [masked] = r.call(stackFault, r.i32(0), r.i32(0));
    const state = r.state();
    r.i32_store(state, or(r, r.i32_load(state, field.fpStatus), cc.C3 | cc.C2 | cc.C0), field.fpStatus);
    r.if(masked, () => popTimes(r, pops));
    r.ret(r.i32(0));
  });
}

/** (ST, pops, quiet): FCOM, FUCOM and their popping forms. */
export const compareRegisters = routines.define(
  'x87_com_st',
  ['i32', 'i32', 'i32'],
  ['i32'],
  faults,
  (r, i, pops, quiet) => {
    waitForPending(r);
    const top = loadTop(r);
    const a = slot(r, top);
    const b = slot(r, top, i);
    const empty = loadEmpty(r);
    compareUnderflow(r, r.i32_or(isEmpty(r, empty, a), isEmpty(r, empty, b)), pops);
    const [codes, flags] = r.call(compare80, loadSig(r, a), loadSe(r, a), loadSig(r, b), loadSe(r, b), quiet);
    endCompare(r, codes, flags, pops);
  },
);

const compareValue = (kind: OperandKind) =>
  routines.define(`x87_com_${kind}`, ['i64', 'i32'], ['i32'], faults, (r, bits, pops) => {
    waitForPending(r);
    const a = slot(r, loadTop(r));
    compareUnderflow(r, isEmpty(r, loadEmpty(r), a), pops);
    const b = widen(r, kind, bits);
    const [codes, flags] = r.call(compare80, loadSig(r, a), loadSe(r, a), b.sig, b.se, r.i32(0));
    endCompare(r, codes, mergeOperandFlags(r, b.flags, flags), pops);
  });

/** (value, pops): FCOM with memory. */
export const compare = {
  f32: compareValue('f32'),
  f64: compareValue('f64'),
  integer: compareValue('integer'),
} as const;

/** (ST, pop, quiet) to (fault, status flags as EFLAGS bits): FCOMI, FUCOMI. */
export const compareToFlags = routines.define(
  'x87_comi',
  ['i32', 'i32', 'i32'],
  ['i32', 'i32'],
  faults,
  (r, i, pops, quiet) => {
    waitForPending(r);
    const top = loadTop(r);
    const a = slot(r, top);
    const b = slot(r, top, i);
    const empty = loadEmpty(r);
    const unordered = () => [r.i32(0x45)];
    r.if(r.i32_or(isEmpty(r, empty, a), isEmpty(r, empty, b)), () => {
      const [masked] = r.call(stackFault, r.i32(0), r.i32(0));
      r.if(masked, () => popTimes(r, pops));
      r.ret(r.i32(0), ...unordered());
    });
    const [codes, flags] = r.call(compare80, loadSig(r, a), loadSe(r, a), loadSig(r, b), loadSe(r, b), quiet);
    // C3, C2, C0 are at ZF, PF, CF, eight places up.
    const eflags = r.i32_shr_u(codes, r.i32(8));
    commit(r, flags, () => undefined, { cleared: 0, more: () => [eflags] });
    popTimes(r, pops);
    r.ret(r.i32(0), eflags);
  },
);

export const ftst = routines.define('x87_ftst', [], ['i32'], faults, (r) => {
  waitForPending(r);
  const a = slot(r, loadTop(r));
  const none = r.i32(0);
  compareUnderflow(r, isEmpty(r, loadEmpty(r), a), none);
  const [codes, flags] = r.call(compare80, loadSig(r, a), loadSe(r, a), r.i64(0), none, none);
  endCompare(r, codes, flags, none);
});

export const fxam = routines.define('x87_fxam', [], ['i32'], faults, (r) => {
  const status = waitForPending(r);
  const s = slot(r, loadTop(r));
  const sig = loadSig(r, s);
  const se = loadSe(r, s);
  const exp = exponentOf(r, se);
  const kind = (codes: number, condition: I32, otherwise: I32) => r.select(condition, r.i32(codes), otherwise);
  let codes = r.i32(cc.C2); // normal
  codes = kind(cc.C3 | cc.C2, isDenormal(r, sig, exp), codes);
  codes = kind(cc.C3, r.i32_and(r.i32_eqz(exp), r.i64_eqz(sig)), codes);
  codes = kind(cc.C2 | cc.C0, isInfinite(r, exp), codes);
  codes = kind(cc.C0, isNaN80(r, sig, exp), codes);
  codes = kind(0, isUnsupported(r, sig, exp), codes);
  codes = kind(cc.C3 | cc.C0, isEmpty(r, loadEmpty(r), s), codes);
  const sign = r.i32_shr_u(and(r, se, SIGN), r.i32(6));
  r.i32_store(r.state(), r.i32_or(and(r, status, ~cc.all), r.i32_or(codes, sign)), field.fpStatus);
  r.ret(r.i32(0));
});

/** FCHS (flips the sign) and FABS (clears it): nothing but a stack underflow can arise. */
function defineSign(name: string, sign: (r: RoutineBuilder, se: I32) => I32) {
  return routines.define(name, [], ['i32'], faults, (r) => {
    const status = waitForPending(r);
    const s = slot(r, loadTop(r));
    underflowIf(r, isEmpty(r, loadEmpty(r), s), s);
    r.i32_store16(s.address, sign(r, loadSe(r, s)), field.fpr + 8);
    clearC1(r, status);
    r.ret(r.i32(0));
  });
}
export const fchs = defineSign('x87_fchs', (r, se) => r.i32_xor(se, r.i32(SIGN)));
export const fabs = defineSign('x87_fabs', (r, se) => and(r, se, ~SIGN));

function defineUnary(name: string, core: typeof sqrt80) {
  return routines.define(name, [], ['i32'], faults, (r) => {
    waitForPending(r);
    const s = slot(r, loadTop(r));
    underflowIf(r, isEmpty(r, loadEmpty(r), s), s);
    const [sig, se, flags] = r.call(core, loadSig(r, s), loadSe(r, s));
    commit(r, flags, () => storeSlot(r, s, sig, se));
    r.ret(r.i32(0));
  });
}
export const fsqrt = defineUnary('x87_fsqrt', sqrt80);
export const frndint = defineUnary('x87_frndint', rint80);

/** ST(0) := f(ST(0), ST(1)). */
function definePair(name: string, core: Core, cleared: number) {
  return routines.define(name, [], ['i32'], faults, (r) => {
    const before = waitForPending(r);
    const top = loadTop(r);
    const s = slot(r, top);
    const other = slot(r, top, r.i32(1));
    const empty = loadEmpty(r);
    underflowIf(r, r.i32_or(isEmpty(r, empty, s), isEmpty(r, empty, other)), s, undefined, cleared & cc.C2);
    const [sig, se, flags] = r.call(core, loadSig(r, s), loadSe(r, s), loadSig(r, other), loadSe(r, other));
    // A NaN for a result, or none at all, leaves C0 and C3 as they are.
    const stopped = and(r, r.i32_and(flags, r.i32_xor(loadControl(r), r.i32(-1))), flag.DE);
    const noQuotient = r.i32_or(r.i32_or(and(r, flags, flag.IE), stopped), isNaN80(r, sig, exponentOf(r, se)));
    const kept = r.select(noQuotient, and(r, before, cleared & (cc.C0 | cc.C3)), r.i32(0));
    commit(r, r.i32_or(flags, kept), () => storeSlot(r, s, sig, se), { cleared });
    r.ret(r.i32(0));
  });
}
export const fprem = definePair('x87_fprem', rem80, cc.all);
export const fprem1 = definePair('x87_fprem1', remNearest80, cc.all);
export const fscale = definePair('x87_fscale', scale80, flag.C1);

export const fxtract = routines.define('x87_fxtract', [], ['i32'], faults, (r) => {
  waitForPending(r);
  const s = slot(r, loadTop(r));
  const above = beginPair(r, s, 0);
  const [expSig, expSe, sig, se, flags] = r.call(extract80, loadSig(r, s), loadSe(r, s));
  commit(r, flags, () => {
    storeSlot(r, s, expSig, expSe);
    endPush(r, above, sig, se);
  });
  r.ret(r.i32(0));
});

/** (ST): exchanges with ST(0); an empty one counts as the indefinite. */
export const fxch = routines.define('x87_fxch', ['i32'], ['i32'], faults, (r, i) => {
  waitForPending(r);
  const top = loadTop(r);
  const a = slot(r, top);
  const b = slot(r, top, i);
  const empty = loadEmpty(r);
  r.if(r.i32_or(isEmpty(r, empty, a), isEmpty(r, empty, b)), () => {
    const [masked] = r.call(stackFault, r.i32(0), r.i32(0));
    r.if(r.i32_eqz(masked), () => r.ret(r.i32(0)));
    const fillIfEmpty = (s: Slot) =>
      r.if(isEmpty(r, empty, s), () => {
        storeIndefinite(r, s);
        fill(r, s);
      });
    fillIfEmpty(a);
    fillIfEmpty(b);
  });
  clearC1(r, r.i32_load(r.state(), field.fpStatus));
  const sig = loadSig(r, a);
  const se = loadSe(r, a);
  storeSlot(r, a, loadSig(r, b), loadSe(r, b));
  storeSlot(r, b, sig, se);
  r.ret(r.i32(0));
});

/** (ST, condition): copies ST(i) to ST(0) if the condition is not 0. */
export const fcmov = routines.define('x87_fcmov', ['i32', 'i32'], ['i32'], faults, (r, i, condition) => {
  waitForPending(r);
  const top = loadTop(r);
  const to = slot(r, top);
  const from = slot(r, top, i);
  const empty = loadEmpty(r);
  underflowIf(r, r.i32_or(isEmpty(r, empty, to), isEmpty(r, empty, from)), to);
  r.if(condition, () => storeSlot(r, to, loadSig(r, from), loadSe(r, from)));
  r.ret(r.i32(0));
});

/** (ST, pop): marks the register empty. */
export const ffree = routines.define('x87_ffree', ['i32', 'i32'], ['i32'], faults, (r, i, pops) => {
  clearC1(r, waitForPending(r));
  const s = slot(r, loadTop(r), i);
  r.i32_store(r.state(), r.i32_or(loadEmpty(r), bitOf(r, s)), field.fpEmpty);
  popTimes(r, pops);
  r.ret(r.i32(0));
});

/** (distance): FINCSTP with 1, FDECSTP with 7. */
export const moveTop = routines.define('x87_move_top', ['i32'], ['i32'], faults, (r, distance) => {
  const status = waitForPending(r);
  clearC1(r, status);
  r.i32_store(r.state(), and(r, r.i32_add(loadTop(r), distance), 7), field.fpTop);
  r.ret(r.i32(0));
});

/** FWAIT, and what only waits. */
export const fwait = routines.define('x87_fwait', [], ['i32'], faults, (r) => {
  waitForPending(r);
  r.ret(r.i32(0));
});
