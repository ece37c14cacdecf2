/**
 * Self-hosted debugging (D2): software step, breakpoints and watchpoints. Which of them there are at each exception level is worked out
 * when a register says so (`updateDebug`), and the mode key has it: what is not in use costs nothing. A step is a block of one
 * instruction, and so is every instruction while a breakpoint is enabled; with a watchpoint each access is preceded by a look.
 *
 * Deviations: a watchpoint goes before an abort that the same access would have; cache maintenance by address counts as a load.
 */
import type { I32 } from '../../../ir/index.js';
import { modeBit } from '../mode.js';
import { routines } from '../routines/set.js';
import {
  abort,
  BREAKPOINTS,
  exceptionClass,
  field,
  hcr,
  ofLevel,
  pstate,
  scr,
  syndromeOf,
  WATCHPOINTS,
} from '../state.js';
import type { Core } from './core.js';

/** Bits of MDSCR_EL1, MDCR_EL2, MDCR_EL3. */
const mdscr = { SS: 1, KDE: 1 << 13, MDE: 1 << 15 } as const;
const TDE = 1 << 8;
const SDD = 1 << 16;
/** The fault status of debug exceptions; of a step, that it says whether an exclusive load was stepped, and that. */
const STATUS = 0x22;
const iss = { ISV: 1 << 24, EX: 1 << 6 } as const;
/** `field.stepped`. */
export const stepped = { DONE: 1, EXCLUSIVE: 2 } as const;

/** Registers of a breakpoint or a watchpoint: value and control. */
const place = { BVR: 0, BCR: 8, WVR: 16, WCR: 24 } as const;
const registerOf = (core: Core, n: number, which: keyof typeof place): bigint =>
  core.get64(field.debug + 32 * n + place[which]);
/** Addresses have 49 bits, with the sign. */
const addressOf = (value: bigint): bigint => BigInt.asIntN(49, value) & ~3n;

const bits = (value: bigint, low: number, count: number): number =>
  Number((value >> BigInt(low)) & ((1n << BigInt(count)) - 1n));

/** The exception level that debug exceptions go to. */
function targetLevel(core: Core): number {
  return core.el2Enabled && (core.hcr(hcr.TGE) || (core.get32(field.mdcr2) & TDE) !== 0) ? 2 : 1;
}

/** Debug exceptions are there at an exception level; at the one they go to unless PSTATE.D is set. */
function isEnabledAt(core: Core, el: number): boolean {
  if (el === 3 || core.get32(field.osLock) !== 0) return false;
  if (core.hasEl3 && !core.scr(scr.NS) && (core.get32(field.mdcr3) & SDD) !== 0) return false;
  const target = targetLevel(core);
  return el < target || (el === target && (core.get32(field.mdscr) & mdscr.KDE) !== 0);
}

/** SSC, HMC and PMC or PAC of a control register have an exception level (StateMatch of the manual). */
function matchesLevel(core: Core, control: bigint, el: number): boolean {
  const [ssc, hmc, levels] = [bits(control, 14, 2), bits(control, 13, 1), bits(control, 1, 2)];
  const isSecure = core.hasEl3 && !core.scr(scr.NS);
  if (ssc === 1 && isSecure) return false;
  if (ssc === 2 && !isSecure) return false;
  if (ssc === 3 && hmc === 0 && !isSecure) return false;
  if (el === 3) return hmc === 1 && (ssc & 1) === 0;
  if (el === 2) return (hmc === 1 && !(ssc === 2 && levels === 0)) || ssc === 3;
  return ((levels >> (el === 1 ? 0 : 1)) & 1) !== 0;
}

/** First and last address that a watchpoint is about; undefined: none. */
function rangeOf(core: Core, n: number): readonly [bigint, bigint] | undefined {
  const control = registerOf(core, n, 'WCR');
  const start = addressOf(registerOf(core, n, 'WVR'));
  const mask = bits(control, 24, 5);
  if (mask === 1 || mask === 2) return undefined;
  if (mask > 0) {
    const size = 1n << BigInt(mask);
    return [start & -size, (start & -size) + size - 1n];
  }
  // Bytes of a doubleword, or of its upper word.
  const select = bits(control, 5, 8) & ((start & 4n) === 0n ? 0xff : 0xf);
  if (select === 0) return undefined;
  const first = 31 - Math.clz32(select & -select);
  const count = 31 - Math.clz32(~(select >> first) & -~(select >> first));
  return [start + BigInt(first), start + BigInt(first + count - 1)];
}

/** After a change of whatever debug exceptions depend on, but for PSTATE. */
export function updateDebug(core: Core): void {
  const control = core.get32(field.mdscr);
  for (let n = 0; n < BREAKPOINTS; n++) core.set64(field.breakAddress + 8 * n, addressOf(registerOf(core, n, 'BVR')));
  for (let n = 0; n < WATCHPOINTS; n++) {
    const [first, last] = rangeOf(core, n) ?? [0n, 0n];
    core.set64(field.watchRange + 16 * n, BigInt.asUintN(64, first));
    core.set64(field.watchRange + 16 * n + 8, BigInt.asUintN(64, last));
  }
  const target = targetLevel(core);
  for (let el = 0; el < 4; el++) {
    const isOn = isEnabledAt(core, el);
    let [breaks, loads, stores] = [0, 0, 0];
    for (let n = 0; isOn && (control & mdscr.MDE) !== 0 && n < BREAKPOINTS; n++) {
      const bcr = registerOf(core, n, 'BCR');
      // By address, alone or linked; by context.
      const type = bits(bcr, 20, 4);
      if ((bcr & 1n) === 0n || type > 2 || !matchesLevel(core, bcr, el)) continue;
      breaks |= (1 << n) | (type === 2 ? 0x100 << n : 0);
    }
    for (let n = 0; isOn && (control & mdscr.MDE) !== 0 && n < WATCHPOINTS; n++) {
      const wcr = registerOf(core, n, 'WCR');
      if ((wcr & 1n) === 0n || !rangeOf(core, n) || !matchesLevel(core, wcr, el)) continue;
      loads |= bits(wcr, 3, 1) << n;
      stores |= bits(wcr, 4, 1) << n;
    }
    core.set32(field.breakBits + 4 * el, breaks);
    core.set32(field.watchBits + 4 * el, loads);
    core.set32(field.watchBits + 16 + 4 * el, stores);
    const isStepped = isOn && (control & mdscr.SS) !== 0;
    const some = [
      isStepped ? 1 << modeBit.step : 0,
      breaks !== 0 ? 1 << modeBit.breakpoints : 0,
      (loads | stores) !== 0 ? 1 << modeBit.watchpoints : 0,
    ].reduce((a, b) => a | b);
    core.set32(field.debugOf + 4 * el, some | (some !== 0 && el === target ? 1 << modeBit.ownDebug : 0));
  }
  core.updateMode();
}

/** A breakpoint that is linked to matches the context. */
function linkMatches(core: Core, link: number): boolean {
  if (link >= BREAKPOINTS) return false;
  const control = registerOf(core, link, 'BCR');
  return (control & 1n) !== 0n && bits(control, 20, 4) === 3 && contextMatches(core, link);
}
function contextMatches(core: Core, n: number): boolean {
  const context = core.get32(core.inHost || core.el === 2 ? ofLevel(field.contextidr, 2) : field.contextidr);
  return context >>> 0 === Number(registerOf(core, n, 'BVR') & 0xffffffffn);
}

/** A breakpoint's address is the pc's, or it is one by context. Gives 1 for an exception. */
export function breakpointHit(core: Core, n: number): number {
  const control = registerOf(core, n, 'BCR');
  const type = bits(control, 20, 4);
  if (type === 1 && !linkMatches(core, bits(control, 16, 4))) return 0;
  if (type === 2 && !contextMatches(core, n)) return 0;
  return core.raise(syndromeOf(exceptionClass.breakpoint, STATUS));
}
/** An access is in a watchpoint's range. Gives 1 for an exception. */
export function watchpointHit(core: Core, n: number, address: bigint, isStore: boolean): number {
  const control = registerOf(core, n, 'WCR');
  if (bits(control, 20, 1) === 1 && !linkMatches(core, bits(control, 16, 4))) return 0;
  core.set64(field.faultAddress, BigInt.asUintN(64, address));
  return core.raise(syndromeOf(exceptionClass.watchpoint, STATUS | (isStore ? abort.WNR : 0)));
}

/** A step is to be told of before anything else happens: an instruction has been stepped, or none was to be. */
export const isStepPending = (core: Core): boolean =>
  (core.modeKey & (1 << modeBit.step)) !== 0 && ((core.pstate & pstate.SS) === 0 || core.get32(field.stepped) !== 0);

export function stepSyndrome(core: Core): number {
  const what = core.get32(field.stepped);
  const valid = what === 0 ? 0 : iss.ISV | (what & stepped.EXCLUSIVE ? iss.EX : 0);
  return syndromeOf(exceptionClass.softwareStep, STATUS | valid);
}

const onBreakpoint = routines.host('breakpoint_hit', ['i32'], ['i32'], {});
const onWatchpoint = routines.host('watchpoint_hit', ['i32', 'i64', 'i32'], ['i32'], {});

/** (pc) → fault. */
export const checkBreakpoints = routines.define('check_breakpoints', ['i64'], ['i32'], { mayFault: true }, (r, pc) => {
  const s = r.state();
  const el = r.i32_and(r.i32_load(s, field.pstate), r.i32(3 << pstate.EL_SHIFT));
  const enabled = r.i32_load(r.i32_add(s, el), field.breakBits);
  const has = (bit: number): I32 => r.i32_and(enabled, r.i32(bit));
  for (let n = 0; n < BREAKPOINTS; n++) {
    const here = r.i64_eq(r.i64_load(s, field.breakAddress + 8 * n), pc);
    r.if(r.i32_and(r.i32_ne(has(1 << n), r.i32(0)), r.i32_or(here, r.i32_ne(has(0x100 << n), r.i32(0)))), () => {
      const [hit] = r.call(onBreakpoint, r.i32(n));
      r.if(hit, () => r.ret(r.i32(1)));
    });
  }
  r.ret(r.i32(0));
});

/** (address, bytes, 1: it is a store) → fault. */
export const checkWatchpoints = routines.define(
  'check_watchpoints',
  ['i64', 'i32', 'i32'],
  ['i32'],
  { mayFault: true },
  (r, given, size, isStore) => {
    const s = r.state();
    const el = r.i32_and(r.i32_load(s, field.pstate), r.i32(3 << pstate.EL_SHIFT));
    const enabled = r.i32_load(r.i32_add(r.i32_add(s, el), r.i32_shl(isStore, r.i32(4))), field.watchBits);
    r.if(r.i32_eqz(enabled), () => r.ret(r.i32(0)));
    // Without the tag.
    const first = r.i64_shr_s(r.i64_shl(given, r.i64(8)), r.i64(8));
    const last = r.i64_sub(r.i64_add(first, r.i64_extend_i32_u(size)), r.i64(1));
    for (let n = 0; n < WATCHPOINTS; n++) {
      const low = r.i64_load(s, field.watchRange + 16 * n);
      const high = r.i64_load(s, field.watchRange + 16 * n + 8);
      const overlaps = r.i32_and(r.i64_le_s(low, last), r.i64_ge_s(high, first));
      r.if(r.i32_and(r.i32_ne(r.i32_and(enabled, r.i32(1 << n)), r.i32(0)), overlaps), () => {
        const [hit] = r.call(onWatchpoint, r.i32(n), r.select(r.i64_gt_s(low, first), low, first), isStore);
        r.if(hit, () => r.ret(r.i32(1)));
      });
    }
    r.ret(r.i32(0));
  },
);
