/**
 * x87 control: the control and status words, the environment and the whole state in memory. Intel SDM vol. 1 ch. 8.1.10 and
 * figures 8-9 to 8-12; vol. 2 FNINIT, FLDCW, FNSTENV, FLDENV, FNSAVE, FRSTOR.
 *
 * FCS and FDS are kept by 16- and 32-bit code only; instructions of 64-bit code leave them alone.
 */
import { access, type I32, type I64, type RoutineBuilder } from '../../../ir/index.js';
import { addTo, and, EXP_MASK, flag, or } from '../../float/core.js';
import { field } from '../state.js';
import { routines } from './set.js';
import { loadSe, loadSig, slotAt, storeSlot, waitForPending } from './x87-stack.js';

const faults = { mayFault: true } as const;
/** The current MMU context. */
const HERE = 0;
const REGISTER_BYTES = 80;

/** Bits of the control word that exist; bit 6 is always 1. */
const CONTROL_BITS = 0x1f3f;
const CONTROL_ONES = 0x40;

/** Status word as programs see it. */
export function statusWord(r: RoutineBuilder): I32 {
  const state = r.state();
  return r.i32_or(r.i32_load(state, field.fpStatus), r.i32_shl(r.i32_load(state, field.fpTop), r.i32(11)));
}

/** ES and B from the exception flags and their masks, other bits of the status word as given. */
function withSummary(r: RoutineBuilder, status: I32, control: I32): I32 {
  const pending = and(r, r.i32_and(status, r.i32_xor(control, r.i32(-1))), 0x3f);
  const summary = r.select(pending, r.i32(flag.ES | flag.B), r.i32(0));
  return r.i32_or(and(r, status, 0x477f), summary);
}

/** Loads control and status word, with TOP, as memory has them. */
export function loadWords(r: RoutineBuilder, control: I32, status: I32): void {
  const state = r.state();
  const made = or(r, and(r, control, CONTROL_BITS), CONTROL_ONES);
  r.i32_store(state, made, field.fpControl);
  r.i32_store(state, withSummary(r, status, made), field.fpStatus);
  r.i32_store(state, and(r, r.i32_shr_u(status, r.i32(11)), 7), field.fpTop);
}

/** Two bits a register: 0 valid, 1 zero, 2 special, 3 empty; R7's uppermost. */
const fullTags = routines.define('x87_full_tags', [], ['i32'], {}, (r) => {
  const empty = r.i32_load(r.state(), field.fpEmpty);
  const tags = r.local('i32', r.i32(0));
  const n = r.local('i32', r.i32(7));
  r.loop((again) => {
    const s = slotAt(r, r.read(n));
    const sig = loadSig(r, s);
    const exp = and(r, loadSe(r, s), EXP_MASK);
    const ordinary = r.i32_and(r.i32_lt_u(addTo(r, exp, -1), r.i32(EXP_MASK - 1)), r.i64_lt_s(sig, r.i64(0)));
    const isZero = r.i32_and(r.i32_eqz(exp), r.i64_eqz(sig));
    const full = r.select(ordinary, r.i32(0), r.select(isZero, r.i32(1), r.i32(2)));
    const tag = r.select(and(r, r.i32_shr_u(empty, s.number), 1), r.i32(3), full);
    r.assign(tags, r.i32_or(r.i32_shl(r.read(tags), r.i32(2)), tag));
    const next = addTo(r, s.number, -1);
    r.assign(n, next);
    r.brIf(again, r.i32_ge_s(next, r.i32(0)));
  });
  r.ret(r.read(tags));
});

/** Empty bits of a full tag word. */
function emptyFromTags(r: RoutineBuilder, tags: I32): I32 {
  const both = and(r, r.i32_and(tags, r.i32_shr_u(tags, r.i32(1))), 0x5555);
  const a = and(r, r.i32_or(both, r.i32_shr_u(both, r.i32(1))), 0x3333);
  const b = and(r, r.i32_or(a, r.i32_shr_u(a, r.i32(2))), 0x0f0f);
  return and(r, r.i32_or(b, r.i32_shr_u(b, r.i32(4))), 0xff);
}

/** FNINIT. */
export function initialize(r: RoutineBuilder): void {
  const state = r.state();
  const zero = r.i32(0);
  r.i32_store(state, r.i32(0x37f), field.fpControl);
  r.i32_store(state, zero, field.fpStatus);
  r.i32_store(state, zero, field.fpTop);
  r.i32_store(state, r.i32(0xff), field.fpEmpty);
  clearPointers(r);
}

/** Forgets the last instruction. */
export function clearPointers(r: RoutineBuilder): void {
  const state = r.state();
  for (const offset of [field.fpOpcode, field.fpCs, field.fpDs]) r.i32_store(state, r.i32(0), offset);
  for (const offset of [field.fpIp, field.fpDp]) r.i64_store(state, r.i64(0), offset);
}

export const fninit = routines.define('x87_fninit', [], [], {}, (r) => initialize(r));

export const fnclex = routines.define('x87_fnclex', [], [], {}, (r) => {
  const state = r.state();
  r.i32_store(state, and(r, r.i32_load(state, field.fpStatus), 0x4700), field.fpStatus);
});

/** (control word) */
export const fldcw = routines.define('x87_fldcw', ['i32'], ['i32'], faults, (r, value) => {
  const status = waitForPending(r);
  const state = r.state();
  const control = or(r, and(r, value, CONTROL_BITS), CONTROL_ONES);
  r.i32_store(state, control, field.fpControl);
  r.i32_store(state, withSummary(r, status, control), field.fpStatus);
  r.ret(r.i32(0));
});

/** Layout of the environment: bit 0: 32-bit, bit 1: real-address form (real and virtual-8086 mode). */
export const environmentFormat = { wide: 1, real: 2 } as const;

/** Touches an area's first bytes, then its last, as processors do: where it crosses into a page that faults nothing changes. */
function touchEnds(r: RoutineBuilder, address: I64, format: I32, registers: number, how: number): void {
  r.guest_load32(address, how);
  const wide = and(r, format, environmentFormat.wide);
  const last = r.select(wide, r.i64(27 + registers), r.i64(13 + registers));
  r.guest_load8(r.i64_add(address, last), how);
}

/** Writes the environment; gives the address after it. */
const storeEnvironment = routines.define(
  'x87_store_environment',
  ['i64', 'i32'],
  ['i32', 'i64'],
  faults,
  (r, address, format) => {
    const state = r.state();
    const control = r.i32_load(state, field.fpControl);
    const status = statusWord(r);
    const [tags] = r.call(fullTags);
    const opcode = r.i32_load(state, field.fpOpcode);
    const real = and(r, format, environmentFormat.real);
    const cs = r.i32_load(state, field.fpCs);
    const ds = r.i32_load(state, field.fpDs);
    // The real-address form has linear addresses.
    const pointer = (offset: number, selector: I32) =>
      r.i32_add(r.i32_load(state, offset), r.select(real, r.i32_shl(selector, r.i32(4)), r.i32(0)));
    const ip = pointer(field.fpIp, cs);
    const dp = pointer(field.fpDp, ds);
    const at = (bytes: number) => r.i64_add(address, r.i64(bytes));
    const high = (pointer: I32, places: number, mask: number) =>
      r.i32_shl(and(r, r.i32_shr_u(pointer, r.i32(16)), mask), r.i32(places));
    r.if(
      and(r, format, environmentFormat.wide),
      () => {
        const ones = (value: I32) => or(r, value, -65536);
        r.guest_store32(at(0), ones(control), HERE);
        r.guest_store32(at(4), ones(status), HERE);
        r.guest_store32(at(8), ones(tags), HERE);
        const selectorWord = r.i32_or(r.i32_shl(opcode, r.i32(16)), cs);
        r.guest_store32(at(12), r.select(real, ones(ip), ip), HERE);
        r.guest_store32(at(16), r.select(real, r.i32_or(high(ip, 12, 0xffff), opcode), selectorWord), HERE);
        r.guest_store32(at(20), r.select(real, ones(dp), dp), HERE);
        r.guest_store32(at(24), r.select(real, high(dp, 12, 0xffff), or(r, ds, -65536)), HERE);
        r.ret(r.i32(0), at(28));
      },
      () => {
        r.guest_store16(at(0), control, HERE);
        r.guest_store16(at(2), status, HERE);
        r.guest_store16(at(4), tags, HERE);
        r.guest_store16(at(6), ip, HERE);
        r.guest_store16(at(8), r.select(real, r.i32_or(high(ip, 12, 15), opcode), cs), HERE);
        r.guest_store16(at(10), dp, HERE);
        r.guest_store16(at(12), r.select(real, high(dp, 12, 15), ds), HERE);
        r.ret(r.i32(0), at(14));
      },
    );
    r.ret(r.i32(0), address);
  },
);

/** (address, format): FNSTENV; masks all exceptions. */
export const fnstenv = routines.define('x87_fnstenv', ['i64', 'i32'], ['i32'], faults, (r, address, format) => {
  touchEnds(r, address, format, 0, access.forWrite);
  r.call(storeEnvironment, address, format);
  const state = r.state();
  const control = or(r, r.i32_load(state, field.fpControl), 0x3f);
  r.i32_store(state, control, field.fpControl);
  r.i32_store(state, withSummary(r, r.i32_load(state, field.fpStatus), control), field.fpStatus);
  r.ret(r.i32(0));
});

/** (address, format): FNSAVE; then as FNINIT. */
export const fnsave = routines.define('x87_fnsave', ['i64', 'i32'], ['i32'], faults, (r, address, format) => {
  touchEnds(r, address, format, REGISTER_BYTES, access.forWrite);
  const [, after] = r.call(storeEnvironment, address, format);
  const top = r.i32_load(r.state(), field.fpTop);
  for (let i = 0; i < 8; i++) {
    const s = slotAt(r, and(r, addTo(r, top, i), 7));
    r.guest_store64(r.i64_add(after, r.i64(10 * i)), loadSig(r, s), HERE);
    r.guest_store16(r.i64_add(after, r.i64(10 * i + 8)), loadSe(r, s), HERE);
  }
  initialize(r);
  r.ret(r.i32(0));
});

interface Environment {
  readonly control: I32;
  readonly status: I32;
  readonly tags: I32;
  readonly opcode: I32;
  readonly ip: I32;
  readonly dp: I32;
  readonly cs: I32;
  readonly ds: I32;
}

/** Reads the environment at the address, in both widths; gives its size too. */
function readEnvironment(r: RoutineBuilder, address: I64, format: I32): Environment & { readonly after: I64 } {
  const [control, status, tags, opcode, ip, dp, cs, ds] = Array.from({ length: 8 }, () => r.local('i32'));
  const after = r.local('i64');
  const real = and(r, format, environmentFormat.real);
  const at = (bytes: number) => r.i64_add(address, r.i64(bytes));
  const low16 = (value: I32) => and(r, value, 0xffff);
  r.if(
    and(r, format, environmentFormat.wide),
    () => {
      const word = (bytes: number) => r.guest_load32(at(bytes), HERE);
      r.assign(control, low16(word(0)));
      r.assign(status, low16(word(4)));
      r.assign(tags, low16(word(8)));
      const [ipLow, codes, dpLow, dpHigh] = [word(12), word(16), word(20), word(24)];
      const upper = (value: I32) => r.i32_shl(and(r, r.i32_shr_u(value, r.i32(12)), 0xffff), r.i32(16));
      r.assign(ip, r.select(real, r.i32_or(low16(ipLow), upper(codes)), ipLow));
      r.assign(dp, r.select(real, r.i32_or(low16(dpLow), upper(dpHigh)), dpLow));
      r.assign(opcode, and(r, r.select(real, codes, r.i32_shr_u(codes, r.i32(16))), 0x7ff));
      r.assign(cs, codes);
      r.assign(ds, dpHigh);
      r.assign(after, at(28));
    },
    () => {
      const word = (bytes: number) => r.guest_load16(at(bytes), HERE);
      r.assign(control, word(0));
      r.assign(status, word(2));
      r.assign(tags, word(4));
      const [ipLow, codes, dpLow, dpHigh] = [word(6), word(8), word(10), word(12)];
      const upper = (value: I32) => r.select(real, r.i32_shl(r.i32_shr_u(value, r.i32(12)), r.i32(16)), r.i32(0));
      r.assign(ip, r.i32_or(ipLow, upper(codes)));
      r.assign(dp, r.i32_or(dpLow, upper(dpHigh)));
      const old = r.i32_load(r.state(), field.fpOpcode);
      r.assign(opcode, r.select(real, and(r, codes, 0x7ff), old));
      r.assign(cs, codes);
      r.assign(ds, dpHigh);
      r.assign(after, at(14));
    },
  );
  return {
    control: r.read(control),
    status: r.read(status),
    tags: r.read(tags),
    opcode: r.read(opcode),
    ip: r.read(ip),
    dp: r.read(dp),
    cs: r.select(real, r.i32(0), low16(r.read(cs))),
    ds: r.select(real, r.i32(0), low16(r.read(ds))),
    after: r.read(after),
  };
}

function applyEnvironment(r: RoutineBuilder, e: Environment): void {
  const state = r.state();
  loadWords(r, e.control, e.status);
  r.i32_store(state, emptyFromTags(r, e.tags), field.fpEmpty);
  r.i32_store(state, e.opcode, field.fpOpcode);
  r.i64_store(state, r.i64_extend_i32_u(e.ip), field.fpIp);
  r.i64_store(state, r.i64_extend_i32_u(e.dp), field.fpDp);
  r.i32_store(state, e.cs, field.fpCs);
  r.i32_store(state, e.ds, field.fpDs);
}

/** (address, format): FLDENV. */
export const fldenv = routines.define('x87_fldenv', ['i64', 'i32'], ['i32'], faults, (r, address, format) => {
  waitForPending(r);
  touchEnds(r, address, format, 0, HERE);
  applyEnvironment(r, readEnvironment(r, address, format));
  r.ret(r.i32(0));
});

/** (address, format): FRSTOR. */
export const frstor = routines.define('x87_frstor', ['i64', 'i32'], ['i32'], faults, (r, address, format) => {
  waitForPending(r);
  touchEnds(r, address, format, REGISTER_BYTES, HERE);
  const e = readEnvironment(r, address, format);
  const registers = Array.from({ length: 8 }, (_, i) => ({
    sig: r.guest_load64(r.i64_add(e.after, r.i64(10 * i)), HERE),
    se: r.guest_load16(r.i64_add(e.after, r.i64(10 * i + 8)), HERE),
  }));
  applyEnvironment(r, e);
  const top = r.i32_load(r.state(), field.fpTop);
  for (const [i, { sig, se }] of registers.entries()) storeSlot(r, slotAt(r, and(r, addTo(r, top, i), 7)), sig, se);
  r.ret(r.i32(0));
});
