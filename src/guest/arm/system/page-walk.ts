/**
 * Stage 1 of address translation (D8), for EL1&0, a host's EL2&0, EL2 and EL3: granules of 4, 16 and 64 KiB, two ranges of addresses, tagged addresses,
 * hardware management of the access flag and of dirty state, hierarchical permissions, WXN and PAN.
 *
 * The TLB's pages are of 4 KiB, and it does not know ASIDs: a change of ASID drops pages that are not global. A tagged address has
 * an entry under the address as it is, tag included. The contiguous bit is a hint that is not taken; memory types have no effect.
 */
import { header, type I32, type I64, type RoutineBuilder } from '../../../ir/index.js';
import { recordAbort32, walkAArch32 } from '../../arm32/system/page-walk.js';
import { mmuIndex } from '../mode.js';
import { engine, routines } from '../routines/set.js';
import { abort, exceptionClass, fault, field, hcr, pstate, sctlr, syndromeOf, trapCode } from '../state.js';
import { bankOfRegime, hasHcr, regime, regimeControl } from './regime.js';
import { physicalBits, walkStage2 } from './stage2.js';
import { flushPageAt, flushTlb, noteWidePage } from './wide-pages.js';

export { flushTlb, forgetGuest } from './wide-pages.js';

const walkKind = { read: 0, write: 1, fetch: 2 } as const;
/** Right of a guarded page: its code is translated otherwise. */
export const GUARDED = 16;
const prot = { read: 1, write: 2, exec: 4, all: 7, global: 8, guarded: GUARDED } as const;

/** TCR_EL1: bits of the lower range, and how far those of the upper one are away. */
export const tcr = {
  EPD: 7,
  TG: 14,
  UPPER: 16,
  A1: 1n << 22n,
  IPS: 32,
  AS: 1n << 36n,
  TBI: 37,
  HA: 1n << 39n,
  HD: 1n << 40n,
  HPD: 41,
  TBID: 51,
  E0PD: 55,
} as const;

/** Attributes of a descriptor. */
const entryBit = {
  VALID: 1n,
  TABLE: 2n,
  USER: 1n << 6n,
  READONLY: 1n << 7n,
  AF: 1n << 10n,
  NG: 1n << 11n,
  GP: 1n << 50n,
  DBM: 1n << 51n,
  PXN: 1n << 53n,
  UXN: 1n << 54n,
  PXN_TABLE: 1n << 59n,
  UXN_TABLE: 1n << 60n,
  NO_USER_TABLE: 1n << 61n,
  READONLY_TABLE: 1n << 62n,
} as const;
const ADDRESS = 0x0000fffffffff000n;
const TABLE_ATTRIBUTES = 0x7800000000000000n;

const has = (r: RoutineBuilder, value: I64, bit: bigint | number): I32 =>
  r.i64_ne(r.i64_and(value, r.i64(bit)), r.i64(0));
const bitAt = (r: RoutineBuilder, value: I64, place: I64): I32 =>
  r.i32_wrap_i64(r.i64_and(r.i64_shr_u(value, place), r.i64(1)));

/** Records an abort. `status`: fault status code, with the level. */
function recordAbort(r: RoutineBuilder, va: I64, kind: I32, status: I32): void {
  const isFetch = r.i32_eq(kind, r.i32(walkKind.fetch));
  const isWrite = r.i32_eq(kind, r.i32(walkKind.write));
  const data = r.i32_or(r.i32(syndromeOf(exceptionClass.dataAbort)), r.select(isWrite, r.i32(abort.WNR), r.i32(0)));
  const base = r.select(isFetch, r.i32(syndromeOf(exceptionClass.instructionAbort)), data);
  r.i32_store(r.state(), r.i32_or(base, status), field.syndrome);
  r.i64_store(r.state(), va, field.faultAddress);
  r.i32_store(r.state(), r.i32(trapCode.here), header.trapCode);
}

/** The same, as a walk ends. */
function fails(r: RoutineBuilder, va: I64, kind: I32, status: I32): void {
  recordAbort(r, va, kind, status);
  r.ret(r.i32(1), r.i64(0), r.i32(0));
}

/** Places of descriptors' bits that one range of addresses only has elsewhere, or not at all: without EL0 there is one XN. */
function withoutUser(r: RoutineBuilder, entry: I64, never: bigint, kernelNever: bigint, others: bigint): I64 {
  const cleared = r.i64_and(entry, r.i64(BigInt.asIntN(64, ~(kernelNever | others))));
  return r.select(has(r, entry, never), r.i64_or(cleared, r.i64(kernelNever)), cleared);
}

/** (address, kind, context, regime) → (fault, physical address, rights). */
const walkTables = routines.define(
  'walk_tables',
  ['i64', 'i32', 'i32', 'i32'],
  ['i32', 'i64', 'i32'],
  {},
  (r, va, kind, mmu, which) => {
    const s = r.state();
    const bank = r.i32_add(s, bankOfRegime(r, which));
    const isSingle = r.i32_ge_u(which, r.i32(regime.el2));
    const hasStage2 = r.i32_and(r.i32_eqz(which), r.i32_or(hasHcr(r, hcr.VM), hasHcr(r, hcr.DC)));
    const [control] = r.call(regimeControl, which);
    const level = r.local('i32', r.i32(0));
    const status = r.local('i32', r.i32(fault.translation));
    const upper = r.i64_and(r.i64_shr_u(va, r.i64(55)), r.i64(1));
    const isUpper = r.i32_wrap_i64(upper);
    const range = r.i64_shr_u(control, r.i64_mul(upper, r.i64(tcr.UPPER)));
    const isUser = r.i32_eq(mmu, r.i32(mmuIndex.el0));
    const guards = r.local('i32', r.i32_load(s, field.guards));

    r.block((failed) => {
      // What is above the address space must be all zeros or all ones; the tag need not.
      const given = r.i64_and(range, r.i64(63));
      const small = r.select(r.i64_lt_u(given, r.i64(16)), r.i64(16), given);
      const unused = r.select(r.i64_gt_u(small, r.i64(39)), r.i64(39), small);
      const inputBits = r.i64_sub(r.i64(64), unused);
      const tagged = bitAt(r, control, r.i64_add(upper, r.i64(tcr.TBI)));
      const canonical = r.i64_shr_s(r.i64_shl(va, r.i64(8)), r.i64(8));
      const checked = r.select(tagged, canonical, va);
      const fits = r.i64_eq(r.i64_shr_s(checked, inputBits), r.select(isUpper, r.i64(-1), r.i64(0)));
      r.brIf(failed, r.i32_eqz(fits));
      r.brIf(failed, has(r, range, 1 << tcr.EPD));
      r.brIf(failed, r.i32_and(isUser, bitAt(r, control, r.i64_add(upper, r.i64(tcr.E0PD)))));
      r.if(r.i64_ne(canonical, va), () => r.call(noteWidePage, r.i64(0), r.i64(-1)));

      // Bits of the offset in a page: 12, 14, 16; a table has one entry per 8 bytes of a page.
      const code = r.i64_and(r.i64_shr_u(range, r.i64(tcr.TG)), r.i64(3));
      const is64 = r.select(isUpper, r.i64_eq(code, r.i64(3)), r.i64_eq(code, r.i64(1)));
      const is16 = r.select(isUpper, r.i64_eq(code, r.i64(1)), r.i64_eq(code, r.i64(2)));
      const grain = r.select(is64, r.i64(16), r.select(is16, r.i64(14), r.i64(12)));
      const stride = r.i64_sub(grain, r.i64(3));
      const outputBits = physicalBits(r, r.i64_and(r.i64_shr_u(control, r.i64(tcr.IPS)), r.i64(7)));

      // As many levels as the address needs; the first may be narrower.
      const levels = r.i64_div_u(r.i64_sub(r.i64_add(r.i64_sub(inputBits, grain), stride), r.i64(1)), stride);
      r.assign(level, r.i32_wrap_i64(r.i64_sub(r.i64(4), levels)));
      const shift = r.local('i64', r.i64_add(grain, r.i64_mul(stride, r.i64_sub(levels, r.i64(1)))));
      const input = r.i64_and(va, r.i64_sub(r.i64_shl(r.i64(1), inputBits), r.i64(1)));
      const base = r.select(isUpper, r.i64_load(bank, field.ttbr1), r.i64_load(bank, field.ttbr0));
      const width = r.i64_add(r.i64_sub(inputBits, r.read(shift)), r.i64(3));
      const aligned = r.i64_and(base, r.i64_sub(r.i64(0), r.i64_shl(r.i64(1), width)));
      const table = r.local('i64', r.i64_and(aligned, r.i64(0x0000fffffffffffen)));
      const inherited = r.local('i64', r.i64(0));
      const ignoresHierarchy = bitAt(r, control, r.i64_add(upper, r.i64(tcr.HPD)));
      const tooHigh = (address: I64): I32 => r.i64_ne(r.i64_shr_u(address, outputBits), r.i64(0));
      r.if(tooHigh(r.read(table)), () => {
        r.assign(level, r.i32(0));
        r.assign(status, r.i32(fault.addressSize));
        r.br(failed);
      });

      r.loop((next) => {
        const mask = r.i64_sub(r.i64_shl(r.i64(1), stride), r.i64(1));
        const index = r.i64_and(r.i64_shr_u(input, r.read(shift)), mask);
        const of = r.i64_or(r.read(table), r.i64_shl(index, r.i64(3)));
        const place = r.local('i64', of);
        const forWalk = r.i32_or(r.i32_shl(kind, r.i32(1)), r.i32(1));
        r.if(hasStage2, () => {
          const [denied, gpa] = r.call(walkStage2, of, r.i32(walkKind.read), va, forWalk);
          r.if(denied, () => r.ret(r.i32(1), r.i64(0), r.i32(0)));
          r.assign(place, gpa);
        });
        const at = r.read(place);
        const [entry] = r.call(engine.physLoad64, at);
        r.brIf(failed, r.i32_eqz(has(r, entry, entryBit.VALID)));
        const isLast = r.i32_eq(r.read(level), r.i32(3));
        const isTable = has(r, entry, entryBit.TABLE);
        const address = r.i64_and(entry, r.i64(ADDRESS));
        r.if(r.i32_and(isTable, r.i32_eqz(isLast)), () => {
          const nextTable = r.i64_and(address, r.i64_sub(r.i64(0), r.i64_shl(r.i64(1), grain)));
          r.if(tooHigh(nextTable), () => {
            r.assign(status, r.i32(fault.addressSize));
            r.br(failed);
          });
          r.assign(table, nextTable);
          r.if(r.i32_eqz(ignoresHierarchy), () =>
            r.assign(inherited, r.i64_or(r.read(inherited), r.i64_and(entry, r.i64(TABLE_ATTRIBUTES)))),
          );
          r.assign(shift, r.i64_sub(r.read(shift), stride));
          r.assign(level, r.i32_add(r.read(level), r.i32(1)));
          r.br(next);
        });
        // Blocks are at level 2, and with the smallest granule at level 1.
        r.brIf(failed, r.i32_and(isLast, r.i32_eqz(isTable)));
        const lowestLevel = r.select(r.i64_eq(grain, r.i64(12)), r.i32(1), r.i32(2));
        r.brIf(failed, r.i32_lt_s(r.read(level), lowestLevel));
        const within = r.i64_sub(r.i64_shl(r.i64(1), r.read(shift)), r.i64(1));
        const page = r.i64_and(address, r.i64_xor(within, r.i64(-1)));
        r.if(tooHigh(page), () => {
          r.assign(status, r.i32(fault.addressSize));
          r.br(failed);
        });

        const marked = r.local('i64', entry);
        r.if(r.i32_eqz(has(r, entry, entryBit.AF)), () => {
          r.assign(status, r.i32(fault.accessFlag));
          r.brIf(failed, r.i32_eqz(has(r, control, tcr.HA)));
          r.assign(marked, r.i64_or(r.read(marked), r.i64(entryBit.AF)));
        });
        const tables = r.read(inherited);
        const table1 = r.select(
          isSingle,
          withoutUser(r, tables, entryBit.UXN_TABLE, entryBit.PXN_TABLE, entryBit.NO_USER_TABLE),
          tables,
        );
        const leaf = r.select(
          isSingle,
          withoutUser(r, entry, entryBit.UXN, entryBit.PXN, entryBit.USER | entryBit.NG),
          entry,
        );
        const userPage = r.i32_and(has(r, leaf, entryBit.USER), r.i32_eqz(has(r, table1, entryBit.NO_USER_TABLE)));
        // A page whose dirty state hardware keeps may be written though it says read-only: that means clean.
        const manages = r.i32_and(has(r, control, tcr.HD), has(r, control, tcr.HA));
        const cleanPage = r.i32_and(r.i32_and(manages, has(r, entry, entryBit.DBM)), has(r, entry, entryBit.READONLY));
        const readonly = r.i32_and(has(r, entry, entryBit.READONLY), r.i32_eqz(cleanPage));
        const writable = r.i32_eqz(r.i32_or(readonly, has(r, table1, entryBit.READONLY_TABLE)));
        const pan = r.i32_and(r.i32_eq(mmu, r.i32(mmuIndex.el1Pan)), userPage);
        const reachable = r.select(isUser, userPage, r.i32_eqz(pan));
        const userNever = r.i32_or(has(r, leaf, entryBit.UXN), has(r, table1, entryBit.UXN_TABLE));
        const kernelNever = r.i32_or(
          r.i32_or(has(r, leaf, entryBit.PXN), has(r, table1, entryBit.PXN_TABLE)),
          r.i32_and(userPage, writable),
        );
        const wxn = r.i32_and(has(r, r.i64_load(bank, field.sctlr), sctlr.WXN), writable);
        const never = r.i32_or(r.select(isUser, userNever, kernelNever), wxn);
        const may = r.i32_or(
          r.i32_or(reachable, r.i32_shl(r.i32_and(writable, reachable), r.i32(1))),
          r.i32_shl(r.i32_eqz(never), r.i32(2)),
        );
        r.if(r.i32_eqz(r.i32_and(may, r.i32_shl(r.i32(1), kind))), () => {
          r.assign(status, r.i32(fault.permission));
          r.br(failed);
        });
        const isWrite = r.i32_eq(kind, r.i32(walkKind.write));
        r.if(r.i32_and(isWrite, cleanPage), () =>
          r.assign(marked, r.i64_and(r.read(marked), r.i64(~entryBit.READONLY))),
        );
        r.if(r.i64_ne(r.read(marked), entry), () => {
          r.if(hasStage2, () => {
            const [denied] = r.call(walkStage2, of, r.i32(walkKind.write), va, forWalk);
            r.if(denied, () => r.ret(r.i32(1), r.i64(0), r.i32(0)));
          });
          r.call(engine.physStore64, at, r.read(marked));
        });
        r.if(r.i64_ne(r.read(shift), r.i64(12)), () =>
          r.call(noteWidePage, r.i64_and(va, r.i64_xor(within, r.i64(-1))), r.i64_or(va, within)),
        );
        // The first store to a clean page walks again.
        const stillClean = r.i32_and(cleanPage, r.i32_eqz(isWrite));
        const rights = r.i32_and(may, r.select(stillClean, r.i32(~prot.write), r.i32(-1)));
        const global = r.select(has(r, leaf, entryBit.NG), r.i32(0), r.i32(prot.global));
        r.if(r.i32_and(r.i32_ne(global, r.i32(0)), r.i32_eqz(isUpper)), () =>
          r.i32_store(s, r.i32(1), field.lowGlobal),
        );
        const guarded = r.select(has(r, leaf, entryBit.GP), r.read(guards), r.i32(0));
        r.ret(r.i32(0), r.i64_or(page, r.i64_and(va, within)), r.i32_or(r.i32_or(rights, global), guarded));
      });
    });
    fails(r, va, kind, r.i32_or(r.read(status), r.read(level)));
  },
);

/** (address, kind, context, regime) → (fault, physical address, rights): stage 1, which may be off. */
export const walkStage1 = routines.define(
  'walk_stage1',
  ['i64', 'i32', 'i32', 'i32'],
  ['i32', 'i64', 'i32'],
  {},
  (r, va, kind, mmu, which) => {
    const s = r.state();
    // A hypervisor can have its guests without one.
    const off = r.i32_and(r.i32_eqz(which), r.i32_or(hasHcr(r, hcr.DC), hasHcr(r, hcr.TGE)));
    const isOn = has(r, r.i64_load(r.i32_add(s, bankOfRegime(r, which)), field.sctlr), sctlr.M);
    r.if(r.i32_and(isOn, r.i32_eqz(off)), () => {
      const [fault1, gpa, rights] = r.call(walkTables, va, kind, mmu, which);
      r.ret(fault1, gpa, rights);
    });
    // Translation is off: the address is the physical one, of 48 bits.
    r.if(r.i64_ne(r.i64_shr_u(va, r.i64(48)), r.i64(0)), () => fails(r, va, kind, r.i32(fault.addressSize)));
    r.ret(r.i32(0), va, r.i32(prot.all | prot.global));
  },
);

/** The same with stage 2, where a virtual machine runs. */
export const walkRegime = routines.define(
  'walk_regime',
  ['i64', 'i32', 'i32', 'i32'],
  ['i32', 'i64', 'i32'],
  {},
  (r, va, kind, mmu, which) => {
    const [fault1, ipa, rights] = r.call(walkStage1, va, kind, mmu, which);
    r.if(fault1, () => r.ret(r.i32(1), r.i64(0), r.i32(0)));
    r.if(r.i32_and(r.i32_eqz(which), r.i32_or(hasHcr(r, hcr.VM), hasHcr(r, hcr.DC))), () => {
      const [fault2, gpa, rights2] = r.call(walkStage2, ipa, kind, va, r.i32(0));
      r.ret(fault2, gpa, r.i32_and(rights, r.i32_or(rights2, r.i32(prot.global | prot.guarded))));
    });
    r.ret(r.i32(0), ipa, rights);
  },
);

export const pageWalk = routines.define(
  'page_walk',
  ['i64', 'i32', 'i32'],
  ['i32', 'i64', 'i32'],
  {},
  (r, va, kind, mmu) => {
    const s = r.state();
    r.if(r.i32_and(r.i32_load(s, field.pstate), r.i32(pstate.AARCH32)), () => {
      const [fault32, gpa, rights] = r.call(walkAArch32, va, kind, mmu);
      r.ret(fault32, gpa, rights);
    });
    const [fault64, gpa, rights] = r.call(walkRegime, va, kind, mmu, r.i32_load(s, field.regime));
    r.ret(fault64, gpa, rights);
  },
);

/** AArch32's translated code leaves bits above the 32nd in the addresses of accesses. */
routines.define('narrow_address', ['i64'], ['i64'], {}, (r, va) => {
  const narrow = r.i32_and(r.i32_load(r.state(), field.pstate), r.i32(pstate.AARCH32));
  r.ret(r.select(narrow, r.i64_low32(va), va));
});

/** Nothing answers at the physical address that the walk gave: an external abort. */
routines.define('bus_fault', ['i64', 'i32', 'i32'], [], {}, (r, va, kind) => {
  r.if(r.i32_and(r.i32_load(r.state(), field.pstate), r.i32(pstate.AARCH32)), () => {
    recordAbort32(r, va, kind, r.i32(fault.bus), r.i32(0));
    r.ret();
  });
  recordAbort(r, va, kind, r.i32(fault.bus));
  r.ret();
});

/** So many pages of 4 KiB are flushed one by one; of more all are. */
const MOST_FLUSHED = 64;
/** TLBI by a range of addresses (FEAT_TLBIRANGE, D8.13): (NUM + 1) * 2^(5 * SCALE + 1) pages of the operand's granule. */
export const flushRange = routines.define('flush_range', ['i64'], [], {}, (r, operand) => {
  const bits = (from: number, count: number): I64 =>
    r.i64_and(r.i64_shr_u(operand, r.i64(from)), r.i64((1 << count) - 1));
  // Granules of 4, 16 and 64 KiB are 1, 2 and 3.
  const shift = r.i64_add(r.i64(10), r.i64_shl(bits(46, 2), r.i64(1)));
  const scale = r.i64_add(r.i64_mul(bits(44, 2), r.i64(5)), r.i64(1));
  const pages = r.i64_shl(r.i64_shl(r.i64_add(bits(39, 5), r.i64(1)), scale), r.i64_sub(shift, r.i64(12)));
  const base = r.i64_shr_s(r.i64_shl(operand, r.i64(27)), r.i64(27));
  r.if(r.i64_gt_u(pages, r.i64(MOST_FLUSHED)), () => {
    // A process's pages: those of the kernel, which are global, are not among them.
    const isLow = r.i64_ge_s(base, r.i64(0));
    const mayKeep = r.i32_and(isLow, r.i32_eqz(r.i32_load(r.state(), field.lowGlobal)));
    r.call(flushTlb, mayKeep);
    r.ret();
  });
  const at = r.local('i64', r.i64_shl(base, shift));
  const end = r.i64_add(r.read(at), r.i64_shl(pages, r.i64(12)));
  r.loop((again) => {
    r.call(flushPageAt, r.read(at));
    r.assign(at, r.i64_add(r.read(at), r.i64(4096)));
    r.brIf(again, r.i64_ne(r.read(at), end));
  });
  r.ret();
});

/** TLBI by address, as its operand gives it (D8.13). */
export const flushAddress = routines.define('flush_address', ['i64'], [], {}, (r, operand) => {
  r.call(flushPageAt, r.i64_shr_s(r.i64_shl(operand, r.i64(20)), r.i64(8)));
  r.ret();
});
