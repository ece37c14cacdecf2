/** Process state, system registers, and calls of a hypervisor and of a monitor (A5.7, A6.3.4, B9.3). */
import type { Emitter, I32, I64 } from '../../../ir/index.js';
import { routines } from '../../arm/routines/set.js';
import { firmwareCall, systemRead, systemWrite } from '../../arm/table/system.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { CONTROL, codeOf, cpsr, exception, field, leaveReason, special, wideCode } from '../state.js';
import { registerByCode } from '../system/registers.js';
import { setPstate, spsrPlace } from '../system/state-change.js';
import { armImmediate } from './data.js';
import { low, place, plus, rows } from './shared.js';

// --- CPSR and SPSR

/** Not 0: an interrupt waits that these masks let pass. */
const pendingIn = (b: Emitter, masks: I32): I32 =>
  b.i32_and(b.i32_load(b.state(), field.pendingMasks), b.i32_xor(masks, b.i32(-1)));

/** (value, bits) → what follows is to be looked for again: writes CPSR's mode and masks. */
const writeControl = routines.define('write_cpsr', ['i32', 'i32'], ['i32'], { vars: 'write' }, (r, value, bits) => {
  const s = r.state();
  const old = r.i32_load(s, field.pstate);
  const next = r.i32_or(r.i32_and(old, r.i32_xor(bits, r.i32(-1))), r.i32_and(value, bits));
  const changes = r.i32_and(r.i32_xor(old, next), r.i32(cpsr.M | cpsr.E));
  r.if(r.i32_eqz(changes), () => {
    r.i32_store(s, next, field.pstate);
    r.ret(pendingIn(r, next));
  });
  r.call(setPstate, next);
  r.ret(r.i32(1));
});

/** The bits of a program status register that MSR's mask names. */
const maskOf = (fields: number): number =>
  (fields & 1 ? 0xff : 0) | (fields & 2 ? 0xff00 : 0) | (fields & 4 ? 0xff0000 : 0) | (fields & 8 ? 0xff000000 | 0 : 0);

function readCpsr(t: Translator): I64 {
  const { b } = t;
  const state = b.state();
  const control = b.i32_and(b.i32_load(state, field.pstate), b.i32(CONTROL));
  const middle = b.i32_or(b.i32_load(state, field.q), b.i32_load(state, field.ge));
  return b.i64_extend_i32_u(b.i32_or(b.i32_or(t.flags.bits(), middle), control));
}

function writeStatus(t: Translator, i: Fields, value: I64): void {
  const { b } = t;
  if (i.op) {
    if (t.mode.noSpsr) t.undefined();
    else {
      const mask = maskOf(i.imm2);
      const [place] = b.call(spsrPlace);
      const kept = b.i32_and(b.i32_load(place, field.banked15), b.i32(~mask));
      b.i32_store(place, b.i32_or(kept, b.i32_and(b.i32_wrap_i64(value), b.i32(mask))), field.banked15);
    }
    return;
  }
  const bits = b.i32_wrap_i64(value);
  if (i.imm2 & 8) {
    t.flags.setBits(b.i32_and(bits, b.i32(cpsr.FLAGS)));
    b.i32_store(b.state(), b.i32_and(bits, b.i32(cpsr.Q)), field.q);
  }
  if (i.imm2 & 4) b.i32_store(b.state(), b.i32_and(bits, b.i32(cpsr.GE)), field.ge);
  const control = maskOf(i.imm2) & CONTROL;
  if (control === 0 || t.mode.user) return;
  t.leaveIf(b.call(writeControl, bits, b.i32(control))[0]);
}

function readStatus(t: Translator, i: Fields): void {
  const { b } = t;
  if (!i.op) t.setR(i.rd, readCpsr(t));
  else if (t.mode.noSpsr) t.undefined();
  else t.setR(i.rd, b.i64_load32_u(b.call(spsrPlace)[0], field.banked15));
}

/** Registers of other modes: op is R, imm is SYSm. */
const bankedCode = (i: Fields): number => special.banked + i.imm + 32 * i.op;
function readBanked(t: Translator, i: Fields): void {
  const { b } = t;
  if (t.mode.user) t.undefined();
  else t.setLow(i.rd, b.call(systemRead, b.i32(bankedCode(i)), b.i32(exception.undefined))[1]);
}
function writeBanked(t: Translator, i: Fields): void {
  const { b } = t;
  if (t.mode.user) {
    t.undefined();
    return;
  }
  b.call(systemWrite, b.i32(bankedCode(i)), t.r(i.rn), b.i32(exception.undefined));
  // It may have been one of the current registers.
  t.endBlock();
}

/** CPS: `size` is imod, `w` says that the mode in imm changes; imm2: the masks that are set or cleared. User mode ignores it. */
function changeState(t: Translator, i: Fields): void {
  const { b } = t;
  if (t.mode.user) return;
  const masks = i.size & 2 ? i.imm2 : 0;
  const disables = (i.size & 1) === 1;
  if (i.w) {
    const value = b.i32((disables ? masks : 0) | i.imm);
    t.leaveIf(b.call(writeControl, value, b.i32(masks | cpsr.M))[0]);
    return;
  }
  const state = b.state();
  const old = b.i32_load(state, field.pstate);
  const next = disables ? b.i32_or(old, b.i32(masks)) : b.i32_and(old, b.i32(~masks));
  b.i32_store(state, next, field.pstate);
  if (!disables) t.leaveIf(pendingIn(b, next));
}

// --- SRS and RFE

/** Two words at rn, by P and U as LDM's: the lower one's address; what is written back. */
const addresses = (i: Fields): [number, number] => {
  const next = i.u ? 8 : -8;
  return [(i.u ? 0 : -8) + (i.p === i.u ? 4 : 0), next];
};
function returnFrom(t: Translator, i: Fields): void {
  const { b } = t;
  if (t.mode.user) {
    t.undefined();
    return;
  }
  const base = t.r(i.rn);
  const [first, next] = addresses(i);
  const address = place(t, base, first);
  t.aligned(address, 4, false);
  const both = b.guest_load64(address);
  if (i.w) t.setR(i.rn, plus(t, base, next));
  t.returnTo(b.i32_wrap_i64(b.i64_shr_u(both, b.i64(32))), low(t, both));
}
/** The stack pointer of the mode in imm: SYSm of R13 is an entry of its own (B9.2.3). */
const stackCode: Readonly<Partial<Record<number, number>>> = { 16: 5, 17: 13, 18: 17, 19: 19, 23: 21, 27: 23, 31: 5 };
function storeReturn(t: Translator, i: Fields): void {
  const { b } = t;
  const code = stackCode[i.imm];
  if (t.mode.noSpsr || code === undefined) {
    t.undefined();
    return;
  }
  const bankedAt = b.i32(special.banked + code);
  const [, base] = b.call(systemRead, bankedAt, b.i32(exception.undefined));
  const [first, next] = addresses(i);
  const address = place(t, base, first);
  t.aligned(address, 4, true);
  const spsr = b.i64_load32_u(b.call(spsrPlace)[0], field.banked15);
  b.guest_store64(address, b.i64_or(t.r(14), b.i64_shl(spsr, b.i64(32))));
  if (i.w) b.call(systemWrite, bankedAt, plus(t, base, next), b.i32(exception.undefined));
}

// --- coprocessors 14 and 15

const coprocessor = (i: Fields): number => 14 + i.q;
const narrowCode = (i: Fields): number => codeOf(coprocessor(i), i.rn, i.size * 2 + i.s, i.rm, i.imm);

function readRegister(t: Translator, code: number, set: (value: I64) => void): void {
  const { b } = t;
  const row = registerByCode.get(code);
  if (!row || (t.mode.user && !row.user && !row.userAllowed)) t.undefined();
  else if (row.constant !== undefined) set(b.i64(row.constant(t.model) >>> 0));
  else if (row.home !== undefined && !(t.mode.user && row.userAllowed))
    set(row.wide ? b.i64_load(b.state(), row.home) : b.i64_load32_u(b.state(), row.home));
  else if (row.read ?? row.home) set(b.call(systemRead, b.i32(code), b.i32(exception.undefined))[1]);
  else t.undefined();
}
function writeRegister(t: Translator, code: number, value: () => I64): void {
  const { b } = t;
  const row = registerByCode.get(code);
  const denied = t.mode.user && row?.user !== 'write' && !row?.userAllowed;
  if (!row || denied || row.constant !== undefined) t.undefined();
  else if (row.nothing) return;
  else if (row.routine && !(row.everywhere && t.mode.shared)) {
    b.call(row.routine, value());
    t.endBlock();
  } else if (row.home !== undefined && !row.write && !row.routine) {
    if (row.wide) b.i64_store(b.state(), value(), row.home);
    else b.i64_store32(b.state(), value(), row.home);
  } else if (row.write ?? row.routine) {
    b.call(systemWrite, b.i32(code), value(), b.i32(exception.undefined));
    t.endBlock(true);
  } else t.undefined();
}
const joined = ({ b }: Translator, x: I64, y: I64): I64 => b.i64_or(x, b.i64_shl(y, b.i64(32)));
/** The pc as destination: the flags are the upper four bits. */
function setFlagsOrRegister(t: Translator, n: number, value: I64): void {
  const { b } = t;
  if (n === 15) t.flags.setBits(b.i32_and(b.i32_wrap_i64(value), b.i32(cpsr.FLAGS)));
  else t.setLow(n, value);
}

const both = (bits: string): { a: string; t: string } => ({ a: bits, t: `1110 ${bits}` });

function firmware(t: Translator, isSmc: number, i: Fields): void {
  const { b } = t;
  if (t.mode.user) {
    t.undefined();
    return;
  }
  b.call(firmwareCall, b.i32(isSmc), b.i32(i.imm));
  t.leave(leaveReason.call);
}

export const systemRows: readonly InsnRow[] = [
  ...rows(
    'mrs',
    { a: '00010 op 00 1111 rd 0000 0000 0000', t: '11110011111 op 1111 1000 rd 0000 0000' },
    ['rd', 'psr'],
    readStatus,
  ),
  ...rows(
    'msr',
    { a: '00010 op 10 imm2[3:0] 1111 0000 0000 rn', t: '11110011100 op rn 1000 imm2[3:0] 0000 0000' },
    ['psr', 'rn'],
    (t, i) => writeStatus(t, i, t.r(i.rn)),
    { where: (i) => i.imm2 !== 0 },
  ),
  ...rows(
    'msr',
    { a: '00110 op 10 imm2[3:0] 1111 uimm[11:0]' },
    ['psr', 'const'],
    (t, i) => writeStatus(t, i, t.b.i64(armImmediate(i.imm))),
    { where: (i) => i.imm2 !== 0 },
  ),
  ...rows(
    'mrs',
    { a: '00010 op 00 uimm[3:0] rd 001 uimm[4] 0000 0000', t: '11110011111 op uimm[3:0] 1000 rd 001 uimm[4] 0000' },
    ['rd', 'banked'],
    readBanked,
  ),
  ...rows(
    'msr',
    { a: '00010 op 10 uimm[3:0] 1111 001 uimm[4] 0000 rn', t: '11110011100 op rn 1000 uimm[3:0] 001 uimm[4] 0000' },
    ['banked', 'rn'],
    writeBanked,
  ),
  ...rows(
    'cps',
    {
      a: '1111 00010000 size w 0 0000000 imm2[8:6] 0 uimm[4:0]',
      t: ['111100111010 1111 1000 0 size w imm2[8:6] uimm[4:0]'],
    },
    ['imod', 'imm2', 'imm'],
    changeState,
    { where: (i) => (i.size & 2) !== 0 || i.w === 1 },
  ),
  ...[0, 1].flatMap((disables) =>
    rows(disables ? 'cpsid' : 'cpsie', { t: `10110110011 ${disables} 0 imm2[8:6]` }, ['imm2'], (t, i) =>
      changeState(t, { ...i, size: 2 + disables, w: 0 }),
    ),
  ),
  // SETEND LE. Big-endian data are not supported: SETEND BE is undefined.
  ...rows('setend', { a: '1111 00010000 0001 0000 0000 0000 0000', t: '10110110010 1 0 000' }, [], () => {}),
  ...rows('rfe', { a: '1111 100 p u 0 w 1 rn 0000 1010 0000 0000' }, ['rn'], returnFrom, { where: (i) => i.rn !== 15 }),
  ...rows('rfe', { t: ['1110100 0 0 0 w 1 rn 1100 0000 0000 0000'] }, ['rn'], (t, i) =>
    returnFrom(t, { ...i, p: 1, u: 0 }),
  ),
  ...rows('rfe', { t: ['1110100 1 1 0 w 1 rn 1100 0000 0000 0000'] }, ['rn'], (t, i) =>
    returnFrom(t, { ...i, p: 0, u: 1 }),
  ),
  ...rows('srs', { a: '1111 100 p u 1 w 0 1101 0000 0101 000 uimm[4:0]' }, ['imm'], storeReturn),
  ...rows('srs', { t: ['1110100 0 0 0 w 0 1101 1100 0000 000 uimm[4:0]'] }, ['imm'], (t, i) =>
    storeReturn(t, { ...i, p: 1, u: 0 }),
  ),
  ...rows('srs', { t: ['1110100 1 1 0 w 0 1101 1100 0000 000 uimm[4:0]'] }, ['imm'], (t, i) =>
    storeReturn(t, { ...i, p: 0, u: 1 }),
  ),
  ...rows('mrc', both('1110 size s 1 rn rd 111 q uimm[2:0] 1 rm'), ['rd', 'coproc'], (t, i) =>
    readRegister(t, narrowCode(i), (value) => setFlagsOrRegister(t, i.rd, value)),
  ),
  ...rows('mcr', both('1110 size s 0 rn rd 111 q uimm[2:0] 1 rm'), ['coproc', 'rd'], (t, i) =>
    writeRegister(t, narrowCode(i), () => t.r(i.rd)),
  ),
  ...rows('mrrc', both('1100 0101 ra rd 111 q uimm[3:0] rm'), ['rd', 'ra', 'coproc'], (t, i) =>
    readRegister(t, wideCode(coprocessor(i), i.imm, i.rm), (value) => {
      t.setLow(i.rd, value);
      t.setR(i.ra, t.b.i64_shr_u(value, t.b.i64(32)));
    }),
  ),
  ...rows('mcrr', both('1100 0100 ra rd 111 q uimm[3:0] rm'), ['coproc', 'rd', 'ra'], (t, i) =>
    writeRegister(t, wideCode(coprocessor(i), i.imm, i.rm), () => joined(t, t.r(i.rd), t.r(i.ra))),
  ),
  ...rows(
    'hvc',
    { a: '00010100 uimm[15:4] 0111 uimm[3:0]', t: '111101111110 uimm[15:12] 1000 uimm[11:0]' },
    ['imm'],
    (t, i) => firmware(t, 0, i),
  ),
  ...rows(
    'smc',
    { a: '00010110 0000 0000 0000 0111 uimm[3:0]', t: '111101111111 uimm[3:0] 1000 0000 0000 0000' },
    ['imm'],
    (t, i) => firmware(t, 1, i),
  ),
];
