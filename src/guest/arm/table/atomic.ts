/**
 * Exclusive, ordered and atomic accesses (C4.1.92; FEAT_LSE, FEAT_LOR, FEAT_LRCPC2). All must be aligned (FEAT_LSE2 is absent).
 *
 * The monitor is the address that was loaded from and the value found there: a store-exclusive succeeds at the same address
 * while that value is in memory, as in QEMU. One that fails stores what memory holds already, so that it faults as one that
 * succeeds (which the manual leaves open).
 */
import { access, type I32, type I64 } from '../../../ir/index.js';
import { type Fields, type InsnRow, needing, type Translator } from '../row.js';
import { field } from '../state.js';
import { binary, checkAligned, joined, type Log, load, low, not, plus, store, UPDATE } from './shared.js';

const logs = [0, 1, 2, 3] as const;
const suffix = (log: Log): string => ['b', 'h', '', ''][log];
const operand = (log: Log, letter: string): string => `${log === 3 ? 'x' : 'w'}${letter}`;

/** STLR and the like: an ordinary access that orders others. */
const ordered = (name: string, log: Log, bits: string, isStore: boolean): InsnRow => ({
  name: name + suffix(log),
  enc: `${binary(log, 2)} 001000 ${bits} xxxxx rn rd`,
  args: [operand(log, 'd'), '[rn]'],
  bytes: 1 << log,
  translate: (t, i) => {
    const address = t.xsp(i.rn);
    checkAligned(t, address, 1 << log, isStore);
    if (isStore) store(t, address, log, t.x(i.rd));
    else t.setX(i.rd, load(t, address, log));
  },
});

const orderedUnscaled = (name: string, log: Log, opc: string, signed?: 32 | 64): InsnRow => ({
  name,
  enc: `${binary(log, 2)} 011001 ${opc} 0 simm[8:0] 00 rn rd`,
  args: [signed === 64 ? 'xd' : operand(log, 'd'), '[rn, imm]'],
  bytes: 1 << log,
  translate: (t, i) => {
    const address = plus(t, t.xsp(i.rn), i.imm);
    const isStore = opc === '00';
    checkAligned(t, address, 1 << log, isStore);
    if (isStore) store(t, address, log, t.x(i.rd));
    else t.setX(i.rd, load(t, address, log, signed));
  },
});

/** A load-exclusive: where, and what was found there. */
export function monitor({ b }: Pick<Translator, 'b'>, address: I64, first: I64, second: I64): void {
  const state = b.state();
  b.i64_store(state, address, field.monitor);
  b.i64_store(state, first, field.monitorLow);
  b.i64_store(state, second, field.monitorHigh);
}

const loadExclusive = (log: Log, acquire: boolean): InsnRow => ({
  name: `ld${acquire ? 'a' : ''}xr${suffix(log)}`,
  enc: `${binary(log, 2)} 001000 010 xxxxx ${acquire ? 1 : 0} xxxxx rn rd`,
  args: [operand(log, 'd'), '[rn]'],
  bytes: 1 << log,
  translate: (t, i) => {
    const address = t.xsp(i.rn);
    checkAligned(t, address, 1 << log, false);
    const value = load(t, address, log, undefined, access.locked);
    monitor(t, address, value, t.b.i64(0));
    t.setX(i.rd, value);
  },
});

/** The store happened (0) or not (1). */
function finishStore(t: Translator, i: Fields, held: I32): void {
  t.b.i64_store(t.b.state(), t.b.i64(-1), field.monitor);
  t.setX(i.rm, t.b.i64_extend_i32_u(t.b.i32_eqz(held)));
}
/** A store-exclusive there, where this is in memory now, succeeds. */
export const isHeld = ({ b }: Pick<Translator, 'b'>, address: I64, now: I64): I32 =>
  b.i32_and(
    b.i64_eq(address, b.i64_load(b.state(), field.monitor)),
    b.i64_eq(now, b.i64_load(b.state(), field.monitorLow)),
  );

const storeExclusive = (log: Log, release: boolean): InsnRow => ({
  name: `st${release ? 'l' : ''}xr${suffix(log)}`,
  enc: `${binary(log, 2)} 001000 000 rm ${release ? 1 : 0} xxxxx rn rd`,
  args: ['wm', operand(log, 'd'), '[rn]'],
  bytes: 1 << log,
  translate: (t, i) => {
    const address = t.xsp(i.rn);
    checkAligned(t, address, 1 << log, true);
    const now = load(t, address, log, undefined, UPDATE);
    const held = isHeld(t, address, now);
    store(t, address, log, t.b.select(held, t.x(i.rd), now), access.locked);
    finishStore(t, i, held);
  },
});

/** A pair of registers in memory: 8 bytes of two words, or 16. */
const joinWords = ({ b }: Translator, x: I64, y: I64): I64 => b.i64_or(b.i64_low32(x), b.i64_shl(y, b.i64(32)));

const loadExclusivePair = (wide: boolean, acquire: boolean): InsnRow => ({
  name: `ld${acquire ? 'a' : ''}xp`,
  enc: `1 ${wide ? 1 : 0} 001000 011 xxxxx ${acquire ? 1 : 0} ra rn rd`,
  args: [wide ? 'xd' : 'wd', wide ? 'xa' : 'wa', '[rn]'],
  bytes: wide ? 16 : 8,
  translate: (t, i) => {
    const { b } = t;
    const address = t.xsp(i.rn);
    checkAligned(t, address, wide ? 16 : 8, false);
    if (!wide) {
      const both = b.guest_load64(address, access.locked);
      monitor(t, address, both, b.i64(0));
      t.setX(i.rd, low(t, both));
      t.setX(i.ra, b.i64_shr_u(both, b.i64(32)));
      return;
    }
    const both = b.guest_load128(address, access.locked);
    const [x, y] = [b.i64x2_extract_lane(both, 0), b.i64x2_extract_lane(both, 1)];
    monitor(t, address, x, y);
    t.setX(i.rd, x);
    t.setX(i.ra, y);
  },
});

const storeExclusivePair = (wide: boolean, release: boolean): InsnRow => ({
  name: `st${release ? 'l' : ''}xp`,
  enc: `1 ${wide ? 1 : 0} 001000 001 rm ${release ? 1 : 0} ra rn rd`,
  args: ['wm', wide ? 'xd' : 'wd', wide ? 'xa' : 'wa', '[rn]'],
  bytes: wide ? 16 : 8,
  translate: (t, i) => {
    const { b } = t;
    const address = t.xsp(i.rn);
    checkAligned(t, address, wide ? 16 : 8, true);
    const [x, y] = [t.x(i.rd), t.x(i.ra)];
    if (!wide) {
      const now = b.guest_load64(address, UPDATE);
      const held = isHeld(t, address, now);
      b.guest_store64(address, b.select(held, joinWords(t, x, y), now), access.locked);
      finishStore(t, i, held);
      return;
    }
    const now = b.guest_load128(address, UPDATE);
    const [first, second] = [b.i64x2_extract_lane(now, 0), b.i64x2_extract_lane(now, 1)];
    const sameHigh = b.i64_eq(second, b.i64_load(b.state(), field.monitorHigh));
    const held = b.i32_and(isHeld(t, address, first), sameHigh);
    b.guest_store128(address, joined(t, b.select(held, x, first), b.select(held, y, second)), access.locked);
    finishStore(t, i, held);
  },
});

type Update = (t: Translator, old: I64, operand: I64) => I64;

/** Acquire and release order accesses, which one vCPU's always are: bits A and R say nothing here. */
const atomic = (name: string, code: string, log: Log, signed: boolean, update: Update): InsnRow => ({
  name: name + suffix(log),
  enc: `${binary(log, 2)} 111000 xx 1 rm ${code} 00 rn rd`,
  args: [operand(log, 'm'), operand(log, 'd'), '[rn]'],
  bytes: 1 << log,
  translate: (t, i) => {
    const { b } = t;
    const address = t.xsp(i.rn);
    checkAligned(t, address, 1 << log, true);
    const old = load(t, address, log, undefined, UPDATE);
    const extend = (value: I64): I64 => {
      if (log === 3) return value;
      if (signed) return [b.i64_extend8_s, b.i64_extend16_s, b.i64_extend32_s][log].call(b, value);
      return b.i64_and(value, b.i64(2 ** (8 << log) - 1));
    };
    store(t, address, log, update(t, signed ? extend(old) : old, extend(t.x(i.rm))), access.locked);
    t.setX(i.rd, old);
  },
});
const atomics = (log: Log): InsnRow[] => [
  atomic('ldadd', '0000', log, false, ({ b }, x, y) => b.i64_add(x, y)),
  atomic('ldclr', '0001', log, false, (t, x, y) => t.b.i64_and(x, not(t, y))),
  atomic('ldeor', '0010', log, false, ({ b }, x, y) => b.i64_xor(x, y)),
  atomic('ldset', '0011', log, false, ({ b }, x, y) => b.i64_or(x, y)),
  atomic('ldsmax', '0100', log, true, ({ b }, x, y) => b.select(b.i64_gt_s(x, y), x, y)),
  atomic('ldsmin', '0101', log, true, ({ b }, x, y) => b.select(b.i64_lt_s(x, y), x, y)),
  atomic('ldumax', '0110', log, false, ({ b }, x, y) => b.select(b.i64_gt_u(x, y), x, y)),
  atomic('ldumin', '0111', log, false, ({ b }, x, y) => b.select(b.i64_lt_u(x, y), x, y)),
  atomic('swp', '1000', log, false, (_, __, y) => y),
];

const loadAcquirePc = (log: Log): InsnRow => ({
  name: `ldapr${suffix(log)}`,
  enc: `${binary(log, 2)} 111000 10 1 xxxxx 1100 00 rn rd`,
  args: [operand(log, 'd'), '[rn]'],
  bytes: 1 << log,
  translate: (t, i) => {
    const address = t.xsp(i.rn);
    checkAligned(t, address, 1 << log, false);
    t.setX(i.rd, load(t, address, log));
  },
});

/** `acquire`, `release`: bits L and o0, which order. */
const compareAndSwap = (log: Log): InsnRow => ({
  name: `cas${suffix(log)}`,
  enc: `${binary(log, 2)} 0010001 x 1 rm x 11111 rn rd`,
  args: [operand(log, 'm'), operand(log, 'd'), '[rn]'],
  bytes: 1 << log,
  translate: (t, i) => {
    const { b } = t;
    const address = t.xsp(i.rn);
    checkAligned(t, address, 1 << log, true);
    const old = load(t, address, log, undefined, UPDATE);
    const expected = log === 3 ? t.x(i.rm) : b.i64_and(t.x(i.rm), b.i64(2 ** (8 << log) - 1));
    store(t, address, log, b.select(b.i64_eq(old, expected), t.x(i.rd), old), access.locked);
    t.setX(i.rm, old);
  },
});

const compareAndSwapPair = (wide: boolean): InsnRow => ({
  name: 'casp',
  enc: `0 ${wide ? 1 : 0} 0010000 x 1 rm x 11111 rn rd`,
  args: [wide ? 'xm' : 'wm', wide ? 'xd' : 'wd', '[rn]'],
  bytes: wide ? 16 : 8,
  where: (i) => (i.rm & 1) === 0 && (i.rd & 1) === 0,
  translate: (t, i) => {
    const { b } = t;
    const address = t.xsp(i.rn);
    checkAligned(t, address, wide ? 16 : 8, true);
    const [expected, expectedNext, next, nextNext] = [t.x(i.rm), t.x(i.rm + 1), t.x(i.rd), t.x(i.rd + 1)];
    if (!wide) {
      const old = b.guest_load64(address, UPDATE);
      const equal = b.i64_eq(old, joinWords(t, expected, expectedNext));
      b.guest_store64(address, b.select(equal, joinWords(t, next, nextNext), old), access.locked);
      t.setX(i.rm, low(t, old));
      t.setX(i.rm + 1, b.i64_shr_u(old, b.i64(32)));
      return;
    }
    const old = b.guest_load128(address, UPDATE);
    const [first, second] = [b.i64x2_extract_lane(old, 0), b.i64x2_extract_lane(old, 1)];
    const equal = b.i32_and(b.i64_eq(first, expected), b.i64_eq(second, expectedNext));
    b.guest_store128(
      address,
      joined(t, b.select(equal, next, first), b.select(equal, nextNext, second)),
      access.locked,
    );
    t.setX(i.rm, first);
    t.setX(i.rm + 1, second);
  },
});

const both = [false, true] as const;

export const atomicRows: readonly InsnRow[] = [
  ...logs.flatMap((log) => [
    ...both.flatMap((order) => [loadExclusive(log, order), storeExclusive(log, order)]),
    ...needing('lor', [ordered('stllr', log, '100 xxxxx 0', true), ordered('ldlar', log, '110 xxxxx 0', false)]),
    ordered('stlr', log, '100 xxxxx 1', true),
    ordered('ldar', log, '110 xxxxx 1', false),
    ...needing('lse', [...atomics(log), compareAndSwap(log)]),
    ...needing('lrcpc', [loadAcquirePc(log)]),
    ...needing('lrcpc2', [
      orderedUnscaled(`stlur${suffix(log)}`, log, '00'),
      orderedUnscaled(`ldapur${suffix(log)}`, log, '01'),
    ]),
  ]),
  ...both.flatMap((wide) => [
    ...both.flatMap((order) => [loadExclusivePair(wide, order), storeExclusivePair(wide, order)]),
    ...needing('lse', [compareAndSwapPair(wide)]),
  ]),
  ...needing('lrcpc2', [
    orderedUnscaled('ldapursb', 0, '10', 64),
    orderedUnscaled('ldapursb', 0, '11', 32),
    orderedUnscaled('ldapursh', 1, '10', 64),
    orderedUnscaled('ldapursh', 1, '11', 32),
    orderedUnscaled('ldapursw', 2, '10', 64),
  ]),
  {
    name: 'clrex',
    enc: '11010101000000110011 xxxx 010 11111',
    args: [],
    translate: ({ b }) => b.i64_store(b.state(), b.i64(-1), field.monitor),
  },
];
