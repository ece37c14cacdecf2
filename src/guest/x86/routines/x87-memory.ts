/**
 * x87 loads and stores: every memory format, constants, registers. Intel SDM vol. 1 ch. 8.3.1 to 8.3.4. The routines access
 * memory themselves, after the check for a pending exception, and write the stack after the last access that can fault.
 */
import type { I32, I64, RoutineBuilder } from '../../../ir/index.js';
import { addTo, and, BIAS, flag, rounding, TOP_BIT, within } from '../../float/core.js';
import { double, exponentOfBits, type Format, signOfBits, signToBits, single } from '../../float/pack.js';
import { field } from '../state.js';
import { roundingMode } from './float-pack.js';
import { exponentOf, INDEFINITE_SE, INDEFINITE_SIG, isNormal, signOf } from './float80.js';
import {
  fromDecimal,
  fromInteger,
  narrowF32,
  narrowF64,
  toDecimal,
  toInteger,
  widenF32,
  widenF64,
} from './float80-convert.js';
import { routines } from './set.js';
import {
  beginPush,
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
/** The current MMU context. */
const HERE = 0;

function pushNumber(r: RoutineBuilder, sig: I64, se: I32, flags: I32): void {
  const s = beginPush(r);
  commit(r, flags, () => endPush(r, s, sig, se));
  r.ret(r.i32(0));
}

function defineLoad(f: Format, widen: typeof widenF64) {
  return routines.define(`x87_fld_${f.name}`, ['i64'], ['i32'], faults, (r, address) => {
    waitForPending(r);
    const bits = f.fraction === 52 ? r.guest_load64(address, HERE) : r.i64_extend_i32_u(r.guest_load32(address, HERE));
    const exp = exponentOfBits(r, f, bits);
    const s = beginPush(r);
    r.if(within(r, exp, 1, 2 * f.bias), () => {
      const sig = r.i64_or(r.i64_shl(bits, r.i64(63 - f.fraction)), r.i64(TOP_BIT));
      const se = r.i32_or(signOfBits(r, f, bits), addTo(r, exp, BIAS - f.bias));
      commit(r, r.i32(0), () => endPush(r, s, sig, se));
      r.ret(r.i32(0));
    });
    const [sig, se, flags] = r.call(widen, bits);
    // Even an unmasked DE does not keep the number from being loaded.
    commit(r, flags, () => endPush(r, s, sig, se), { stops: flag.IE });
    r.ret(r.i32(0));
  });
}

/** (address): FLD m32, m64. */
export const fldF32 = defineLoad(single, widenF32);
export const fldF64 = defineLoad(double, widenF64);

/** (address): FLD m80. */
export const fldF80 = routines.define('x87_fld_f80', ['i64'], ['i32'], faults, (r, address) => {
  waitForPending(r);
  const sig = r.guest_load64(address, HERE);
  const se = r.guest_load16(r.i64_add(address, r.i64(8)), HERE);
  pushNumber(r, sig, se, r.i32(0));
});

/** (address): FBLD. */
export const fbld = routines.define('x87_fbld', ['i64'], ['i32'], faults, (r, address) => {
  waitForPending(r);
  const low = r.guest_load64(address, HERE);
  const upper = r.guest_load16(r.i64_add(address, r.i64(8)), HERE);
  const [sig, se] = r.call(fromDecimal, low, upper);
  pushNumber(r, sig, se, r.i32(0));
});

/** (value): FILD, the integer sign-extended. */
export const fild = routines.define('x87_fild', ['i64'], ['i32'], faults, (r, value) => {
  waitForPending(r);
  const { sig, se } = fromInteger(r, value);
  pushNumber(r, sig, se, r.i32(0));
});

/** (ST): FLD ST(i). */
export const fldRegister = routines.define('x87_fld_st', ['i32'], ['i32'], faults, (r, i) => {
  waitForPending(r);
  const from = slot(r, loadTop(r), i);
  const sig = loadSig(r, from);
  const se = loadSe(r, from);
  const isFree = isEmpty(r, loadEmpty(r), from);
  // With nothing to load the indefinite is pushed.
  r.if(isFree, () => {
    const [masked] = r.call(stackFault, r.i32(0), r.i32(0));
    r.if(masked, () => {
      const top = and(r, addTo(r, loadTop(r), 7), 7);
      const s = slot(r, top);
      storeIndefinite(r, s);
      fill(r, s);
      r.i32_store(r.state(), top, field.fpTop);
    });
    r.ret(r.i32(0));
  });
  pushNumber(r, sig, se, r.i32(0));
});

/** FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ: significand rounded to nearest, whether that is above the true value, exponent. */
const constants: readonly (readonly [sig: bigint, rounded: 'up' | 'down' | 'exact', exp: number])[] = [
  [TOP_BIT, 'exact', BIAS],
  [0xd49a784bcd1b8afen, 'down', BIAS + 1],
  [0xb8aa3b295c17f0bcn, 'up', BIAS],
  [0xc90fdaa22168c235n, 'up', BIAS + 1],
  [0x9a209a84fbcff799n, 'up', BIAS - 2],
  [0xb17217f7d1cf79acn, 'up', BIAS - 1],
  [0n, 'exact', 0],
];

/** (number of the constant, as in D9 E8+n). */
export const fldConstant = routines.define('x87_fld_constant', ['i32'], ['i32'], faults, (r, n) => {
  waitForPending(r);
  const sig = r.local('i64');
  const exp = r.local('i32');
  const mode = roundingMode(r);
  for (const [i, [nearest, rounded, exponent]] of constants.entries()) {
    r.if(r.i32_eq(n, r.i32(i)), () => {
      r.assign(exp, r.i32(exponent));
      r.assign(sig, r.i64(nearest));
      // All are positive: down and zero go the same way.
      if (rounded === 'up') {
        const down = and(r, mode, rounding.down);
        r.assign(sig, r.i64_sub(r.i64(nearest), r.i64_extend_i32_u(down)));
      } else if (rounded === 'down') {
        const up = r.i32_eq(mode, r.i32(rounding.up));
        r.assign(sig, r.i64_add(r.i64(nearest), r.i64_extend_i32_u(up)));
      }
    });
  }
  pushNumber(r, r.read(sig), r.read(exp), r.i32(0));
});

/** (ST, pop): FST ST(i), FSTP ST(i). */
export const fstRegister = routines.define('x87_fst_st', ['i32', 'i32'], ['i32'], faults, (r, i, pops) => {
  waitForPending(r);
  const top = loadTop(r);
  const from = slot(r, top);
  const to = slot(r, top, i);
  underflowIf(r, isEmpty(r, loadEmpty(r), from), to, pops);
  const sig = loadSig(r, from);
  const se = loadSe(r, from);
  commit(r, r.i32(0), () => storeSlot(r, to, sig, se));
  fill(r, to);
  popTimes(r, pops);
  r.ret(r.i32(0));
});

/** (ST): FSTPNCE, the alias D9 D8+i: with an empty ST(0) it only pops. */
export const fstpNoCheck = routines.define('x87_fstpnce', ['i32'], ['i32'], faults, (r, i) => {
  clearC1(r, waitForPending(r));
  const top = loadTop(r);
  const from = slot(r, top);
  r.if(r.i32_eqz(isEmpty(r, loadEmpty(r), from)), () => {
    const to = slot(r, top, i);
    storeSlot(r, to, loadSig(r, from), loadSe(r, from));
    fill(r, to);
  });
  popTimes(r, r.i32(1));
  r.ret(r.i32(0));
});

/** What an unmasked exception keeps from being stored in memory. */
const STOPS = flag.IE | flag.OE | flag.UE;

/** The end of a store to memory: `store` writes unless an unmasked exception forbids; flags and stack change after it. */
function endStore(r: RoutineBuilder, flags: I32, pops: I32, store: () => void): void {
  const stopped = and(r, r.i32_and(flags, r.i32_xor(loadControl(r), r.i32(-1))), STOPS);
  r.if(r.i32_eqz(stopped), store);
  commit(r, flags, () => undefined, { stops: STOPS });
  popTimes(r, pops);
  r.ret(r.i32(0));
}

/** An empty ST(0): the masked response stores the indefinite. */
function storeUnderflow(r: RoutineBuilder, from: Slot, pops: I32, store: () => void): void {
  r.if(isEmpty(r, loadEmpty(r), from), () => {
    r.if(and(r, loadControl(r), flag.IE), store);
    const [masked] = r.call(stackFault, r.i32(0), r.i32(0));
    r.if(masked, () => popTimes(r, pops));
    r.ret(r.i32(0));
  });
}

function defineStore(f: Format, narrow: typeof narrowF64, indefinite: bigint) {
  return routines.define(`x87_fst_${f.name}`, ['i64', 'i32'], ['i32'], faults, (r, address, pops) => {
    waitForPending(r);
    const from = slot(r, loadTop(r));
    const store = (bits: I64) => {
      if (f.fraction === 52) r.guest_store64(address, bits, HERE);
      else r.guest_store32(address, r.i32_wrap_i64(bits), HERE);
    };
    storeUnderflow(r, from, pops, () => store(r.i64(indefinite)));
    const sig = loadSig(r, from);
    const se = loadSe(r, from);
    const exp = addTo(r, exponentOf(r, se), f.bias - BIAS);
    const inRange = within(r, exp, 1, 2 * f.bias - 1);
    const usual = r.i32_and(isNormal(r, sig, se), r.i32_and(inRange, r.i32_eqz(roundingMode(r))));
    r.if(usual, () => {
      // Nearest even: half an ulp less one is added, and one more when the last bit is set.
      const dropped = 63 - f.fraction;
      const kept = r.i64_shr_u(r.i64_shl(sig, r.i64(1)), r.i64(dropped + 1));
      const base = r.i64_or(kept, r.i64_shl(r.i64_extend_i32_u(exp), r.i64(f.fraction)));
      const below = r.i64_and(sig, r.i64((1n << BigInt(dropped)) - 1n));
      const even = r.i64_xor(r.i64_and(kept, r.i64(1)), r.i64(1));
      const up = r.i64_shr_u(r.i64_add(below, r.i64_sub(r.i64(1n << BigInt(dropped - 1)), even)), r.i64(dropped));
      const bits = r.i64_or(r.i64_add(base, up), signToBits(r, f, signOf(r, se)));
      const inexact = r.i64_ne(below, r.i64(0));
      const flags = r.i32_or(r.i32_shl(inexact, r.i32(5)), r.i32_shl(r.i32_wrap_i64(up), r.i32(9)));
      endStore(r, flags, pops, () => store(bits));
    });
    const [bits, flags] = r.call(narrow, sig, se);
    endStore(r, flags, pops, () => store(bits));
  });
}

/** (address, pop): FST, FSTP m32 and m64. */
export const fstF32 = defineStore(single, narrowF32, 0xffc00000n);
export const fstF64 = defineStore(double, narrowF64, 0xfff8000000000000n);

/** (address): FSTP m80. */
export const fstpF80 = routines.define('x87_fstp_f80', ['i64'], ['i32'], faults, (r, address) => {
  waitForPending(r);
  const from = slot(r, loadTop(r));
  const one = r.i32(1);
  const store = (sig: I64, se: I32) => {
    r.guest_store64(address, sig, HERE);
    r.guest_store16(r.i64_add(address, r.i64(8)), se, HERE);
  };
  storeUnderflow(r, from, one, () => store(r.i64(INDEFINITE_SIG), r.i32(INDEFINITE_SE)));
  const sig = loadSig(r, from);
  const se = loadSe(r, from);
  endStore(r, r.i32(0), one, () => store(sig, se));
});

/** (address): FBSTP. */
export const fbstp = routines.define('x87_fbstp', ['i64'], ['i32'], faults, (r, address) => {
  waitForPending(r);
  const from = slot(r, loadTop(r));
  const one = r.i32(1);
  const store = (low: I64, upper: I32) => {
    r.guest_store64(address, low, HERE);
    r.guest_store16(r.i64_add(address, r.i64(8)), upper, HERE);
  };
  storeUnderflow(r, from, one, () => store(r.i64(INDEFINITE_SIG), r.i32(INDEFINITE_SE)));
  const [low, upper, flags] = r.call(toDecimal, loadSig(r, from), loadSe(r, from));
  endStore(r, flags, one, () => store(low, upper));
});

/** (address, pop, mode): mode 0-3 rounds so; FISTTP gives zero. The word size is in the name. */
function defineIntegerStore(bits: 16 | 32 | 64) {
  const limit = 1n << BigInt(bits - 1);
  return routines.define(`x87_fist_${bits}`, ['i64', 'i32', 'i32'], ['i32'], faults, (r, address, pops, truncate) => {
    waitForPending(r);
    const from = slot(r, loadTop(r));
    const store = (value: I64) => {
      if (bits === 64) r.guest_store64(address, value, HERE);
      else if (bits === 32) r.guest_store32(address, r.i32_wrap_i64(value), HERE);
      else r.guest_store16(address, r.i32_wrap_i64(value), HERE);
    };
    storeUnderflow(r, from, pops, () => store(r.i64(-limit)));
    const mode = r.select(truncate, r.i32(rounding.zero), roundingMode(r));
    const [value, flags] = r.call(toInteger, loadSig(r, from), loadSe(r, from), mode, r.i64(limit));
    endStore(r, flags, pops, () => store(value));
  });
}

/** (address, pop, truncate): FIST, FISTP, FISTTP. */
export const fist16 = defineIntegerStore(16);
export const fist32 = defineIntegerStore(32);
export const fist64 = defineIntegerStore(64);
