/**
 * Stage 2 of address translation (D8.2 and on): from a virtual machine's addresses to physical ones, by VTTBR_EL2 and VTCR_EL2, with
 * granules of 4, 16 and 64 KiB, concatenated tables, and management of the access flag and of dirty state by hardware.
 */
import type { I32, I64, RoutineBuilder } from '../../../ir/index.js';
import { header } from '../../../ir/index.js';
import { engine, routines } from '../routines/set.js';
import { abort, exceptionClass, fault, field, hcr, syndromeOf, trapCode } from '../state.js';
import { hasHcr } from './regime.js';

const kinds = { write: 1, fetch: 2 } as const;
const vtcr = { SL0: 6, TG0: 14, PS: 16, HA: 1n << 21n, HD: 1n << 22n } as const;
const entryBit = {
  VALID: 1n,
  TABLE: 2n,
  NORMAL: 3n << 4n,
  READ: 1n << 6n,
  WRITE: 1n << 7n,
  AF: 1n << 10n,
  DBM: 1n << 51n,
  XN: 1n << 54n,
} as const;
const ADDRESS = 0x0000fffffffff000n;

const has = (r: RoutineBuilder, value: I64, bit: bigint): I32 => r.i64_ne(r.i64_and(value, r.i64(bit)), r.i64(0));

/** Bits of a physical address by TCR_EL1.IPS and its like. */
export const physicalBits = (r: RoutineBuilder, size: I64): I64 => {
  let bits = r.i64(48);
  for (const [code, width] of [32, 36, 40, 42, 44, 48].entries())
    bits = r.select(r.i64_eq(size, r.i64(code)), r.i64(width), bits);
  return bits;
};

/**
 * (address of the virtual machine, kind of access, virtual address, whether it is of stage 1's tables and the kind of access that those
 * are walked for in bits 1-2) → (fault, physical address, rights: bit 0 read, 1 write, 2 execute).
 */
export const walkStage2 = routines.define(
  'walk_stage2',
  ['i64', 'i32', 'i64', 'i32'],
  ['i32', 'i64', 'i32'],
  {},
  (r, ipa, kind, va, ofWalk) => {
    const s = r.state();
    const control = r.i64_load(s, field.vtcr);
    const level = r.local('i32', r.i32(0));
    const status = r.local('i32', r.i32(fault.translation));
    const isWalk = r.i32_and(ofWalk, r.i32(1));
    r.block((failed) => {
      const given = r.i64_and(control, r.i64(63));
      const small = r.select(r.i64_lt_u(given, r.i64(16)), r.i64(16), given);
      const unused = r.select(r.i64_gt_u(small, r.i64(39)), r.i64(39), small);
      const inputBits = r.i64_sub(r.i64(64), unused);
      r.brIf(failed, r.i64_ne(r.i64_shr_u(ipa, inputBits), r.i64(0)));
      const code = r.i64_and(r.i64_shr_u(control, r.i64(vtcr.TG0)), r.i64(3));
      const is4 = r.i64_eqz(code);
      const grain = r.select(is4, r.i64(12), r.select(r.i64_eq(code, r.i64(1)), r.i64(16), r.i64(14)));
      const stride = r.i64_sub(grain, r.i64(3));
      // Where the walk begins: level 2, 1, 0 with the smallest granule, 3, 2, 1 with the others.
      const start = r.i64_and(r.i64_shr_u(control, r.i64(vtcr.SL0)), r.i64(3));
      const first = r.i64_sub(r.select(is4, r.i64(2), r.i64(3)), start);
      r.brIf(failed, r.i64_eq(start, r.i64(3)));
      const shift = r.local('i64', r.i64_add(grain, r.i64_mul(stride, r.i64_sub(r.i64(3), first))));
      // Up to sixteen tables of the first level lie together.
      const width = r.i64_sub(inputBits, r.read(shift));
      r.brIf(failed, r.i64_lt_s(width, r.i64(1)));
      r.brIf(failed, r.i64_gt_s(width, r.i64_add(stride, r.i64(4))));
      const outputBits = physicalBits(r, r.i64_and(r.i64_shr_u(control, r.i64(vtcr.PS)), r.i64(7)));
      const tooHigh = (address: I64): I32 => r.i64_ne(r.i64_shr_u(address, outputBits), r.i64(0));
      const below = r.i64_sub(r.i64_shl(r.i64(1), r.i64_add(width, r.i64(3))), r.i64(1));
      const base = r.i64_and(
        r.i64_load(s, field.vttbr),
        r.i64_and(r.i64(0x0000fffffffffffen), r.i64_xor(below, r.i64(-1))),
      );
      const table = r.local('i64', base);
      const entries = r.local('i64', r.i64_sub(r.i64_shl(r.i64(1), width), r.i64(1)));
      r.if(tooHigh(base), () => {
        r.assign(status, r.i32(fault.addressSize));
        r.br(failed);
      });
      r.assign(level, r.i32_wrap_i64(first));

      r.loop((next) => {
        const index = r.i64_and(r.i64_shr_u(ipa, r.read(shift)), r.read(entries));
        const at = r.i64_or(r.read(table), r.i64_shl(index, r.i64(3)));
        const [entry] = r.call(engine.physLoad64, at);
        r.brIf(failed, r.i32_eqz(has(r, entry, entryBit.VALID)));
        const isLast = r.i32_eq(r.read(level), r.i32(3));
        const isTable = has(r, entry, entryBit.TABLE);
        const address = r.i64_and(entry, r.i64(ADDRESS));
        r.if(r.i32_and(isTable, r.i32_eqz(isLast)), () => {
          const following = r.i64_and(address, r.i64_sub(r.i64(0), r.i64_shl(r.i64(1), grain)));
          r.if(tooHigh(following), () => {
            r.assign(status, r.i32(fault.addressSize));
            r.br(failed);
          });
          r.assign(table, following);
          r.assign(entries, r.i64_sub(r.i64_shl(r.i64(1), stride), r.i64(1)));
          r.assign(shift, r.i64_sub(r.read(shift), stride));
          r.assign(level, r.i32_add(r.read(level), r.i32(1)));
          r.br(next);
        });
        r.brIf(failed, r.i32_and(isLast, r.i32_eqz(isTable)));
        r.brIf(failed, r.i32_lt_s(r.read(level), r.select(is4, r.i32(1), r.i32(2))));
        const within = r.i64_sub(r.i64_shl(r.i64(1), r.read(shift)), r.i64(1));
        const page = r.i64_and(address, r.i64_xor(within, r.i64(-1)));
        r.if(tooHigh(page), () => {
          r.assign(status, r.i32(fault.addressSize));
          r.br(failed);
        });
        const marked = r.local('i64', entry);
        r.if(r.i32_eqz(has(r, entry, entryBit.AF)), () => {
          r.assign(status, r.i32(fault.accessFlag));
          r.brIf(failed, r.i32_eqz(has(r, control, vtcr.HA)));
          r.assign(marked, r.i64_or(r.read(marked), r.i64(entryBit.AF)));
        });
        const manages = r.i32_and(has(r, control, vtcr.HD), has(r, control, vtcr.HA));
        const clean = r.i32_and(
          r.i32_and(manages, has(r, entry, entryBit.DBM)),
          r.i32_eqz(has(r, entry, entryBit.WRITE)),
        );
        const may = r.i32_or(
          r.i32_or(has(r, entry, entryBit.READ), r.i32_shl(r.i32_or(has(r, entry, entryBit.WRITE), clean), r.i32(1))),
          r.i32_shl(r.i32_eqz(has(r, entry, entryBit.XN)), r.i32(2)),
        );
        // Tables of stage 1 in device memory, where that is forbidden.
        const isDevice = r.i32_eqz(has(r, entry, entryBit.NORMAL));
        const protectedWalk = r.i32_and(r.i32_and(isWalk, isDevice), hasHcr(r, hcr.PTW));
        r.if(r.i32_or(r.i32_eqz(r.i32_and(may, r.i32_shl(r.i32(1), kind))), protectedWalk), () => {
          r.assign(status, r.i32(fault.permission));
          r.br(failed);
        });
        const isWrite = r.i32_eq(kind, r.i32(kinds.write));
        r.if(r.i32_and(isWrite, clean), () => r.assign(marked, r.i64_or(r.read(marked), r.i64(entryBit.WRITE))));
        r.if(r.i64_ne(r.read(marked), entry), () => r.call(engine.physStore64, at, r.read(marked)));
        const stillClean = r.i32_and(clean, r.i32_eqz(isWrite));
        const rights = r.i32_and(may, r.select(stillClean, r.i32(~2), r.i32(-1)));
        r.ret(r.i32(0), r.i64_or(page, r.i64_and(ipa, within)), rights);
      });
    });
    // The syndrome is of the access, not of the walk for it.
    const origin = r.select(isWalk, r.i32_shr_u(ofWalk, r.i32(1)), kind);
    const isFetch = r.i32_eq(origin, r.i32(kinds.fetch));
    const data = r.i32_or(
      r.i32(syndromeOf(exceptionClass.dataAbort)),
      r.select(r.i32_eq(origin, r.i32(kinds.write)), r.i32(abort.WNR), r.i32(0)),
    );
    const base = r.select(isFetch, r.i32(syndromeOf(exceptionClass.instructionAbort)), data);
    const walked = r.select(isWalk, r.i32(abort.S1PTW), r.i32(0));
    r.i32_store(s, r.i32_or(r.i32_or(base, walked), r.i32_or(r.read(status), r.read(level))), field.syndrome);
    r.i64_store(s, va, field.faultAddress);
    r.i64_store(s, ipa, field.faultIpa);
    r.i32_store(s, r.i32(2), field.trapTo);
    r.i32_store(s, r.i32(trapCode.here), header.trapCode);
    r.ret(r.i32(1), r.i64(0), r.i32(0));
  },
);
