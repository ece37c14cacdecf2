/** System registers, process state, cache and TLB maintenance, exception return and calls (C4.1.65, C5). */
import type { I64 } from '../../../ir/index.js';
import type { Feature } from '../features.js';
import { routines } from '../routines/set.js';
import { type Fields, type InsnRow, needing, type Translator } from '../row.js';
import { exceptionClass, field, flushed, leaveReason, ofLevel, pstate, sctlr, syndromeOf } from '../state.js';
import { flushAddress, flushRange, flushTlb, forgetGuest } from '../system/page-walk.js';
import { isAlias, redirected } from '../system/redirect.js';
import { codeOf, hasRegister, levelOf, registerByCode, type SystemRegister } from '../system/registers.js';
import { exceptionReturn, setDebugMask, setPstate, updateMode } from '../system/state-change.js';
import { translateAddress, translationOf } from '../system/translate-address.js';
import { isTrappable } from '../system/traps.js';
import { plus } from './shared.js';

const effects = { vars: 'write', mayFault: true } as const;
/** (register, syndrome if EL0 may not) → (fault, value). */
export const systemRead = routines.host('system_read', ['i32', 'i32'], ['i32', 'i64'], {
  vars: 'read',
  mayFault: true,
});
/** (register, value, syndrome if EL0 may not) → fault. */
export const systemWrite = routines.host('system_write', ['i32', 'i64', 'i32'], ['i32'], effects);
/** (instruction, syndrome) → fault: a higher exception level traps it. */
const upperTrap = routines.host('upper_trap', ['i32', 'i32'], ['i32'], { mayFault: true });
/** (bit of SCTLR_EL1 that allows it, syndrome) → fault. */
const userTrap = routines.host('user_trap', ['i32', 'i32'], ['i32'], { mayFault: true });
/** (what, the operand of TLBI): of the other CPUs. */
const flushOthers = routines.host('flush_others', ['i32', 'i64'], [], {});
/** (is SMC, number) → fault. */
export const firmwareCall = routines.host('firmware_call', ['i32', 'i32'], ['i32'], effects);

const NZCV = codeOf(3, 3, 4, 2, 0);

/** The syndrome of a trapped system instruction. */
const systemSyndrome = (code: number, rt: number, isRead: boolean): number => {
  const [op0, op1, crn, crm, op2] = [code >> 14, (code >> 11) & 7, (code >> 7) & 15, (code >> 3) & 15, code & 7];
  const iss = (op0 << 20) | (op2 << 17) | (op1 << 14) | (crn << 10) | (rt << 5) | (crm << 1) | Number(isRead);
  return syndromeOf(exceptionClass.system, iss);
};

/** The row of a register's code at this exception level; undefined: there is none. */
function rowOf(t: Translator, given: number): { readonly code: number; readonly row: SystemRegister } | undefined {
  const { hostKernel, el } = t.mode;
  if (isAlias(given) && !hostKernel) return undefined;
  const code = hostKernel ? redirected(given) : given;
  const row = registerByCode.get(code);
  return row && el >= levelOf(given) && hasRegister(t.model, row) ? { code, row } : undefined;
}
/** A higher exception level may trap it: what follows is JavaScript's. */
const mayTrap = ({ mode }: Translator, code: number, { virtual }: SystemRegister): boolean =>
  mode.trapped && (isTrappable(code) || (virtual !== undefined && mode.el === 1));

function readRegister(t: Translator, i: Fields): void {
  const { b } = t;
  const given = i.imm | 0x8000;
  const found = rowOf(t, given);
  if (!found) {
    t.undefined();
    return;
  }
  const { code, row } = found;
  if (row.float && t.floatTraps()) return;
  if (mayTrap(t, code, row)) {
    const [, value] = b.call(systemRead, b.i32(code), b.i32(systemSyndrome(given, i.rd, true)));
    t.setX(i.rd, value);
  } else if (code === NZCV) {
    t.setX(i.rd, b.i64_and(b.i64_extend_i32_u(t.flags.bits()), b.i64(0xf0000000)));
  } else if (row.constant !== undefined || row.identify) {
    t.setX(i.rd, b.i64(row.identify?.(t.model) ?? row.constant ?? 0n));
  } else if (row.load && (t.mode.el > 0 || !row.read)) {
    t.setX(i.rd, row.load(t));
  } else if (row.home !== undefined) {
    t.setX(i.rd, row.narrow ? b.i64_load32_u(b.state(), row.home) : b.i64_load(b.state(), row.home));
  } else if (row.read) {
    const [, value] = b.call(systemRead, b.i32(code), b.i32(systemSyndrome(given, i.rd, true)));
    t.setX(i.rd, value);
  } else t.undefined();
}

const isReadOnly = ({ constant, identify, writable }: SystemRegister): boolean =>
  constant !== undefined || identify !== undefined || writable === 0n;
function writeRegister(t: Translator, i: Fields): void {
  const { b } = t;
  const given = i.imm | 0x8000;
  const found = rowOf(t, given);
  if (!found || isReadOnly(found.row) || (found.row.userReadOnly && t.mode.el === 0)) {
    t.undefined();
    return;
  }
  const { code, row } = found;
  const value = t.x(i.rd);
  if (row.float && t.floatTraps()) return;
  if (code === NZCV) {
    t.flags.setBits(b.i32_wrap_i64(b.i64_and(value, b.i64(0xf0000000))));
  } else if (mayTrap(t, code, row)) {
    b.call(systemWrite, b.i32(code), value, b.i32(systemSyndrome(given, i.rd, false)));
    t.endBlock(true);
  } else if (row.store && (t.mode.el > 0 || !row.write)) {
    row.store(t, value);
  } else if (row.home !== undefined) {
    const kept = b.i64_and(value, b.i64(row.writable ?? 0n));
    if (row.narrow) b.i64_store32(b.state(), kept, row.home);
    else b.i64_store(b.state(), kept, row.home);
  } else if (row.write) {
    b.call(systemWrite, b.i32(code), value, b.i32(systemSyndrome(given, i.rd, false)));
    t.endBlock(true);
  } else t.undefined();
}

/** MSR (immediate): a field of PSTATE. */
const processState = (name: string, code: string, write: (t: Translator, i: Fields) => void): InsnRow => {
  const [op1, op2] = code.split(' ');
  return {
    name: `msr.${name}`,
    enc: `1101010100000 ${op1} 0100 uimm[3:0] ${op2} 11111`,
    args: ['imm'],
    translate: write,
  };
};
/** DAIF, which EL0 may only change with SCTLR_EL1.UMA. */
function masks(t: Translator, i: Fields, set: boolean): void {
  const { b } = t;
  if (t.mode.el === 0) {
    const iss = systemSyndrome(codeOf(0, 3, 4, i.imm, set ? 6 : 7), 31, false);
    b.call(userTrap, b.i32(sctlr.UMA), b.i32(iss));
  }
  const state = b.state();
  const bits = i.imm << 6;
  const old = b.i32_load(state, field.pstate);
  const next = set ? b.i32_or(old, b.i32(bits)) : b.i32_and(old, b.i32(~bits));
  if (t.mode.ownDebug && (bits & pstate.D) !== 0) setDebugMask(t, next);
  else if (set) b.i32_store(state, next, field.pstate);
  else t.setMasks(next);
}
/** SSBS and DIT, which EL0 may change and nothing depends on: there is no speculation, and no promise of timing is given. */
function setFree({ b }: Translator, i: Fields, bit: number): void {
  const old = b.i32_load(b.state(), field.pstate);
  const next = i.imm & 1 ? b.i32_or(old, b.i32(bit)) : b.i32_and(old, b.i32(~bit));
  b.i32_store(b.state(), next, field.pstate);
}
/** One bit, at EL1: the translation or the mode depends on it. */
function oneBit(t: Translator, i: Fields, bit: number): void {
  const { b } = t;
  if (t.mode.el === 0) {
    t.undefined();
    return;
  }
  const old = b.i32_load(b.state(), field.pstate);
  const next = i.imm & 1 ? b.i32_or(old, b.i32(bit)) : b.i32_and(old, b.i32(~bit));
  if (bit === pstate.SPSEL) b.call(setPstate, next);
  else {
    b.i32_store(b.state(), next, field.pstate);
    b.call(updateMode);
  }
  t.endBlock();
}

// --- SYS: maintenance

type Maintenance = (t: Translator, i: Fields, operand: I64) => void;
interface SystemInstruction {
  readonly name: string;
  readonly level: 0 | 1 | 2 | 3;
  /** The extensions that it takes. */
  readonly features: readonly Feature[];
  readonly translate: Maintenance;
}
const codeText = (text: string): number => {
  const [op1, crn, crm, op2] = text.split(' ').map(Number);
  return codeOf(1, op1, crn, crm, op2);
};

const flushAll: Maintenance = ({ b }) => b.call(flushTlb, b.i32(0));
const flushOne: Maintenance = ({ b }, _, operand) => b.call(flushAddress, operand);
const flushSome: Maintenance = ({ b }, _, operand) => b.call(flushRange, operand);
/** By ASID: entries of the current one only are there, and pages that are not global. */
const flushSpace: Maintenance = ({ b }) => b.call(flushTlb, b.i32(1));
/** The same on all CPUs. */
const everywhere =
  (flush: Maintenance): Maintenance =>
  (t, i, operand) => {
    flush(t, i, operand);
    if (!t.mode.shared) return;
    t.b.call(flushOthers, t.b.i32(whatIsFlushed.get(flush) ?? flushed.all), operand);
  };
const nothing: Maintenance = () => {};
/** Of EL1's and EL0's pages, by a hypervisor. */
const flushGuest: Maintenance = ({ b }) => b.call(forgetGuest);
const whatIsFlushed: ReadonlyMap<Maintenance, number> = new Map([
  [flushOne, flushed.address],
  [flushSome, flushed.range],
  [flushSpace, flushed.space],
  [flushGuest, flushed.guest],
]);

/** Maintenance of caches to the point of coherency or unification needs no work; EL0's needs SCTLR_EL1.UCI. */
const userCache: Maintenance = (t, i, operand) => {
  const { b } = t;
  const iss = systemSyndrome(i.imm | 0x4000, i.rd, false);
  if (t.mode.el === 0) b.call(userTrap, b.i32(sctlr.UCI), b.i32(iss));
  // It must be readable at least.
  b.guest_load8(operand);
};
/** What has been predicted is forgotten: nothing ever is. */
const restrict: Maintenance = (t, i) => {
  const { b } = t;
  const iss = systemSyndrome(i.imm | 0x4000, i.rd, false);
  if (t.mode.el === 0) b.call(userTrap, b.i32(sctlr.EnRCTX), b.i32(iss));
};
const BLOCK = 64;
const zeroBlock: Maintenance = (t, i, operand) => {
  const { b } = t;
  if (t.mode.zeroTrapped) {
    t.exception(systemSyndrome(i.imm | 0x4000, i.rd, false));
    return;
  }
  const start = b.i64_and(operand, b.i64(-BLOCK));
  for (let at = 0; at < BLOCK; at += 16) b.guest_store128(plus(t, start, at), b.v128(0, 0, 0, 0));
};
const translation = (write: boolean, user: boolean, pan: boolean, more = 0): Maintenance => {
  const { WRITE, USER, PAN } = translationOf;
  const how = (write ? WRITE : 0) | (user ? USER : 0) | (pan ? PAN : 0) | more;
  return ({ b }, _, operand) => b.call(translateAddress, operand, b.i32(how));
};

const named = (
  text: string,
  name: string,
  level: 0 | 1 | 2 | 3,
  translate: Maintenance,
  ...features: readonly Feature[]
): [number, SystemInstruction] => [codeText(text), { name, level, translate, features }];
/** By op1, CRn, CRm, op2. */
const instructions: ReadonlyMap<number, SystemInstruction> = new Map([
  named('0 7 1 0', 'ic ialluis', 1, nothing),
  named('0 7 5 0', 'ic iallu', 1, nothing),
  named('3 7 5 1', 'ic ivau', 0, userCache),
  named('3 7 4 1', 'dc zva', 0, zeroBlock),
  named('0 7 6 1', 'dc ivac', 1, nothing),
  named('0 7 6 2', 'dc isw', 1, nothing),
  named('0 7 10 2', 'dc csw', 1, nothing),
  named('0 7 14 2', 'dc cisw', 1, nothing),
  named('3 7 10 1', 'dc cvac', 0, userCache),
  named('3 7 11 1', 'dc cvau', 0, userCache),
  named('3 7 12 1', 'dc cvap', 0, userCache, 'dpb'),
  named('3 7 13 1', 'dc cvadp', 0, userCache, 'dpb2'),
  named('3 7 14 1', 'dc civac', 0, userCache),
  named('3 7 3 4', 'cfp rctx', 0, restrict, 'specres'),
  named('3 7 3 5', 'dvp rctx', 0, restrict, 'specres'),
  named('3 7 3 7', 'cpp rctx', 0, restrict, 'specres'),
  named('0 7 8 0', 'at s1e1r', 1, translation(false, false, false)),
  named('0 7 8 1', 'at s1e1w', 1, translation(true, false, false)),
  named('0 7 8 2', 'at s1e0r', 1, translation(false, true, false)),
  named('0 7 8 3', 'at s1e0w', 1, translation(true, true, false)),
  named('0 7 9 0', 'at s1e1rp', 1, translation(false, false, true), 'pan'),
  named('0 7 9 1', 'at s1e1wp', 1, translation(true, false, true), 'pan'),
  // For this CPU, for all, and for all of an outer domain, which there is none of beyond them. CRm of one address (and what has none), of
  // a range, of addresses of a virtual machine.
  ...[
    { crm: 7, range: 6, guest: 4, suffix: '', on: (flush: Maintenance) => flush },
    { crm: 3, range: 2, guest: 0, suffix: 'is', on: everywhere },
    { crm: 1, range: 5, guest: 4, suffix: 'os', on: everywhere },
  ].flatMap(({ crm, range, guest, suffix, on }): [number, SystemInstruction][] => {
    const isOuter = suffix === 'os';
    const rows: readonly (readonly [string, string, 1 | 2 | 3, Maintenance, Feature?])[] = [
      [`0 8 ${crm} 0`, 'vmalle1', 1, flushAll],
      [`0 8 ${crm} 1`, 'vae1', 1, flushOne],
      [`0 8 ${crm} 2`, 'aside1', 1, flushSpace],
      [`0 8 ${crm} 3`, 'vaae1', 1, flushOne],
      [`0 8 ${crm} 5`, 'vale1', 1, flushOne],
      [`0 8 ${crm} 7`, 'vaale1', 1, flushOne],
      [`4 8 ${crm} 0`, 'alle2', 2, flushAll, 'el2'],
      [`4 8 ${crm} 1`, 'vae2', 2, flushOne, 'el2'],
      [`4 8 ${crm} 4`, 'alle1', 2, flushGuest, 'el2'],
      [`4 8 ${crm} 5`, 'vale2', 2, flushOne, 'el2'],
      [`4 8 ${crm} 6`, 'vmalls12e1', 2, flushGuest, 'el2'],
      [`4 8 ${guest} ${isOuter ? 0 : 1}`, 'ipas2e1', 2, flushGuest, 'el2'],
      [`4 8 ${guest} ${isOuter ? 4 : 5}`, 'ipas2le1', 2, flushGuest, 'el2'],
      [`6 8 ${crm} 0`, 'alle3', 3, flushAll, 'el3'],
      [`6 8 ${crm} 1`, 'vae3', 3, flushOne, 'el3'],
      [`6 8 ${crm} 5`, 'vale3', 3, flushOne, 'el3'],
    ];
    const ranges: typeof rows = [
      [`0 8 ${range} 1`, 'rvae1', 1, flushSome],
      [`0 8 ${range} 3`, 'rvaae1', 1, flushSome],
      [`0 8 ${range} 5`, 'rvale1', 1, flushSome],
      [`0 8 ${range} 7`, 'rvaale1', 1, flushSome],
      [`4 8 ${range} 1`, 'rvae2', 2, flushSome, 'el2'],
      [`4 8 ${range} 5`, 'rvale2', 2, flushSome, 'el2'],
      [`4 8 ${guest} ${isOuter ? 3 : 2}`, 'ripas2e1', 2, flushGuest, 'el2'],
      [`4 8 ${guest} ${isOuter ? 7 : 6}`, 'ripas2le1', 2, flushGuest, 'el2'],
      [`6 8 ${range} 1`, 'rvae3', 3, flushSome, 'el3'],
      [`6 8 ${range} 5`, 'rvale3', 3, flushSome, 'el3'],
    ];
    const made = (list: typeof rows, extension?: Feature) =>
      list.map(([code, name, level, flush, feature]) =>
        named(
          code,
          `tlbi ${name}${suffix}`,
          level,
          on(flush),
          ...[feature, extension].filter((each) => each !== undefined),
        ),
      );
    return [...made(rows, isOuter ? 'tlbios' : undefined), ...made(ranges, 'tlbirange')];
  }),
  named('4 7 8 0', 'at s1e2r', 2, translation(false, false, false, translationOf.EL2), 'el2'),
  named('4 7 8 1', 'at s1e2w', 2, translation(true, false, false, translationOf.EL2), 'el2'),
  named('4 7 8 4', 'at s12e1r', 2, translation(false, false, false, translationOf.BOTH), 'el2'),
  named('4 7 8 5', 'at s12e1w', 2, translation(true, false, false, translationOf.BOTH), 'el2'),
  named('4 7 8 6', 'at s12e0r', 2, translation(false, true, false, translationOf.BOTH), 'el2'),
  named('4 7 8 7', 'at s12e0w', 2, translation(true, true, false, translationOf.BOTH), 'el2'),
  named('6 7 8 0', 'at s1e3r', 3, translation(false, false, false, translationOf.EL3), 'el3'),
  named('6 7 8 1', 'at s1e3w', 3, translation(true, false, false, translationOf.EL3), 'el3'),
]);

function systemInstruction(t: Translator, i: Fields): void {
  const instruction = instructions.get(i.imm | 0x4000);
  const isThere = instruction?.features.every((feature) => t.model.features.has(feature));
  if (!instruction || !isThere || t.mode.el < instruction.level) {
    t.undefined();
    return;
  }
  if (t.mode.trapped && isTrappable(i.imm | 0x4000)) {
    const { b } = t;
    b.call(upperTrap, b.i32(i.imm | 0x4000), b.i32(systemSyndrome(i.imm | 0x4000, i.rd, false)));
  }
  instruction.translate(t, i, t.x(i.rd));
  // After a TLBI, translation may be another for what follows.
  const TLBI = 8;
  if (((i.imm >> 7) & 15) === TLBI) t.endBlock();
}

const call = (name: string, enc: string, isSmc: boolean): InsnRow => ({
  name,
  enc,
  args: ['imm'],
  translate: (t, i) => {
    const { b } = t;
    if (t.mode.el === 0) {
      t.undefined();
      return;
    }
    b.call(firmwareCall, b.i32(isSmc ? 1 : 0), b.i32(i.imm));
    t.leave(leaveReason.call);
  },
});

/** ELR of the exception level. */
export const returnAddress = ({ b, mode }: Translator): I64 => b.i64_load(b.state(), ofLevel(field.elr, mode.el));
/** ERET to an address. */
export function returnFrom(t: Translator, target: I64): void {
  const { features } = t.model;
  const bits = [
    pstate.DAIF | pstate.IL,
    features.has('pan') ? pstate.PAN : 0,
    features.has('uao') ? pstate.UAO : 0,
    features.has('ssbs') ? pstate.SSBS : 0,
    features.has('bti') ? pstate.BTYPE : 0,
    features.has('dit') ? pstate.DIT : 0,
    pstate.SS,
  ].reduce((all, bit) => all | bit);
  const [nzcv] = t.b.call(exceptionReturn, t.b.i32(bits), target);
  t.flags.setBits(nzcv);
  t.resume();
}

export const systemRows: readonly InsnRow[] = [
  { name: 'mrs', enc: '11010101001 1 uimm[14:0] rd', args: ['xd', 'imm'], translate: readRegister },
  { name: 'msr', enc: '11010101000 1 uimm[14:0] rd', args: ['imm', 'xd'], translate: writeRegister },
  { name: 'sys', enc: '1101010100001 uimm[13:0] rd', args: ['imm', 'xd'], translate: systemInstruction },
  processState('daifset', '011 110', (t, i) => masks(t, i, true)),
  processState('daifclr', '011 111', (t, i) => masks(t, i, false)),
  processState('spsel', '000 101', (t, i) => oneBit(t, i, pstate.SPSEL)),
  ...needing('pan', [processState('pan', '000 100', (t, i) => oneBit(t, i, pstate.PAN))]),
  ...needing('uao', [processState('uao', '000 011', (t, i) => oneBit(t, i, pstate.UAO))]),
  ...needing('ssbs', [processState('ssbs', '011 001', (t, i) => setFree(t, i, pstate.SSBS))]),
  ...needing('dit', [processState('dit', '011 010', (t, i) => setFree(t, i, pstate.DIT))]),
  {
    name: 'eret',
    enc: '11010110100111110000001111100000',
    args: [],
    translate: (t) => {
      if (t.mode.el === 0) t.undefined();
      else returnFrom(t, returnAddress(t));
    },
  },
  call('hvc', '11010100000 uimm[15:0] 00010', false),
  call('smc', '11010100000 uimm[15:0] 00011', true),
];
