/**
 * Stage 1 of address translation with long descriptors (DDI 0406, B3.6): two ranges of addresses, blocks of 1 GiB and 2 MiB, pages, 40 bits
 * of physical address, hierarchical permissions, the access flag, XN and PXN, WXN and UWXN. Memory types have no effect; the contiguous
 * bit is a hint that is not taken.
 */
import type { I32, I64, RoutineBuilder } from '../../../ir/index.js';
import { engine, routines } from '../../arm/routines/set.js';
import { noteWidePage } from '../../arm/system/wide-pages.js';
import { mmuIndex } from '../mode.js';
import { fault, field, prot, sctlr } from '../state.js';

const entryBit = {
  VALID: 1n,
  TABLE: 2n,
  USER: 1n << 6n,
  READONLY: 1n << 7n,
  AF: 1n << 10n,
  NG: 1n << 11n,
  PXN: 1n << 53n,
  XN: 1n << 54n,
  PXN_TABLE: 1n << 59n,
  XN_TABLE: 1n << 60n,
  NO_USER_TABLE: 1n << 61n,
  READONLY_TABLE: 1n << 62n,
} as const;
const ADDRESS = 0xff_ffff_f000n;
const LAST_LEVEL = 3;
/** TTBCR: walks of the lower and of the upper range are off. */
const [EPD0, EPD1] = [1 << 7, 1 << 23];

const has = (r: RoutineBuilder, value: I64, bits: bigint): I32 => r.i64_ne(r.i64_and(value, r.i64(bits)), r.i64(0));
const some = (r: RoutineBuilder, value: I32, bits: number): I32 => r.i32_ne(r.i32_and(value, r.i32(bits)), r.i32(0));

/** (address, kind, context) → (0, physical address, rights), or (fault status of the long form, 0, 0). */
export const walkLong = routines.define(
  'walk_long',
  ['i32', 'i32', 'i32'],
  ['i32', 'i64', 'i32'],
  {},
  (r, va, kind, mmu) => {
    const s = r.state();
    const control = r.i32_load(s, field.sctlr);
    const ttbcr = r.i32_load(s, field.ttbcr);
    const size0 = r.i32_and(ttbcr, r.i32(7));
    const size1 = r.i32_and(r.i32_shr_u(ttbcr, r.i32(16)), r.i32(7));
    const status = r.local('i32', r.i32(fault.translation));
    const level = r.local('i32', r.i32(1));
    const address = r.i64_extend_i32_u(va);
    r.block((failed) => {
      // The lower range begins with T0SZ zeros, the upper one with T1SZ ones; where T1SZ is 0 it is what the lower one leaves.
      const begins = (value: I64, count: I32): I32 =>
        r.i64_eqz(r.i64_shr_u(value, r.i64_extend_i32_u(r.i32_sub(r.i32(32), count))));
      const lower = begins(address, size0);
      const ones = begins(r.i64_xor(address, r.i64(0xffffffff)), size1);
      const upper = r.select(size1, ones, r.i32_eqz(lower));
      r.brIf(failed, r.i32_eqz(r.i32_or(upper, lower)));
      r.brIf(failed, r.select(upper, some(r, ttbcr, EPD1), some(r, ttbcr, EPD0)));

      const inputBits = r.i64_extend_i32_u(r.i32_sub(r.i32(32), r.select(upper, size1, size0)));
      // The first level is left out where the second has room for all.
      const begin = r.select(r.i64_gt_u(inputBits, r.i64(30)), r.i32(1), r.i32(2));
      r.assign(level, begin);
      const shift = r.local('i64', r.select(r.i32_eq(begin, r.i32(1)), r.i64(30), r.i64(21)));
      const input = r.i64_and(address, r.i64_sub(r.i64_shl(r.i64(1), inputBits), r.i64(1)));
      const base = r.select(upper, r.i64_load(s, field.ttbr1), r.i64_load(s, field.ttbr0));
      // A table is aligned to its size.
      const tableBits = r.i64_add(r.i64_sub(inputBits, r.read(shift)), r.i64(3));
      const aligned = r.i64_and(base, r.i64_sub(r.i64(0), r.i64_shl(r.i64(1), tableBits)));
      const table = r.local('i64', r.i64_and(aligned, r.i64(0xff_ffff_fff8n)));
      const inherited = r.local('i64', r.i64(0));
      r.loop((next) => {
        const index = r.i64_and(r.i64_shr_u(input, r.read(shift)), r.i64(511));
        const [entry] = r.call(engine.physLoad64, r.i64_or(r.read(table), r.i64_shl(index, r.i64(3))));
        r.brIf(failed, r.i32_eqz(has(r, entry, entryBit.VALID)));
        const isLast = r.i32_eq(r.read(level), r.i32(LAST_LEVEL));
        const isTable = has(r, entry, entryBit.TABLE);
        // At the last level what is no page is reserved.
        r.brIf(failed, r.i32_and(isLast, r.i32_eqz(isTable)));
        r.if(r.i32_and(isTable, r.i32_eqz(isLast)), () => {
          r.assign(inherited, r.i64_or(r.read(inherited), entry));
          r.assign(table, r.i64_and(entry, r.i64(ADDRESS)));
          r.assign(level, r.i32_add(r.read(level), r.i32(1)));
          r.assign(shift, r.i64_sub(r.read(shift), r.i64(9)));
          r.br(next);
        });

        r.assign(status, r.i32(fault.accessFlag));
        r.brIf(failed, r.i32_eqz(has(r, entry, entryBit.AF)));
        r.assign(status, r.i32(fault.permission));
        const isPrivileged = some(r, mmu, mmuIndex.privileged);
        const either = (own: bigint, tables: bigint): I32 =>
          r.i32_or(has(r, entry, own), has(r, r.read(inherited), tables));
        const isWritable = r.i32_eqz(either(entryBit.READONLY, entryBit.READONLY_TABLE));
        const forUser = r.i32_and(
          has(r, entry, entryBit.USER),
          r.i32_eqz(has(r, r.read(inherited), entryBit.NO_USER_TABLE)),
        );
        const readable = r.i32_or(isPrivileged, forUser);
        const writable = r.i32_and(readable, isWritable);
        const kernelDenied = r.i32_or(
          either(entryBit.PXN, entryBit.PXN_TABLE),
          r.i32_and(some(r, control, sctlr.UWXN), r.i32_and(forUser, isWritable)),
        );
        const denied = r.i32_or(
          r.i32_or(either(entryBit.XN, entryBit.XN_TABLE), r.i32_and(some(r, control, sctlr.WXN), writable)),
          r.i32_and(isPrivileged, kernelDenied),
        );
        const executable = r.i32_and(readable, r.i32_eqz(denied));
        const rights = r.i32_or(r.i32_or(readable, r.i32_shl(writable, r.i32(1))), r.i32_shl(executable, r.i32(2)));
        r.brIf(failed, r.i32_eqz(r.i32_and(rights, r.i32_shl(r.i32(1), kind))));
        const within = r.i64_sub(r.i64_shl(r.i64(1), r.read(shift)), r.i64(1));
        const outside = r.i64_xor(within, r.i64(-1));
        r.if(r.i32_eqz(isLast), () => r.call(noteWidePage, r.i64_and(address, outside), r.i64_or(address, within)));
        const page = r.i64_and(r.i64_and(entry, r.i64(ADDRESS)), outside);
        const global = r.select(has(r, entry, entryBit.NG), r.i32(0), r.i32(prot.global));
        r.ret(r.i32(0), r.i64_or(page, r.i64_and(address, within)), r.i32_or(rights, global));
      });
    });
    r.ret(r.i32_or(r.read(status), r.read(level)), r.i64(0), r.i32(0));
  },
);
