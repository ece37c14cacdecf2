/**
 * Address translation and protection: Sv39, Sv48, Sv57 (privileged specification 12.3 to 12.6), with Svade and, where
 * menvcfg.ADUE says so, Svadu; physical memory protection (3.7).
 *
 * PMP's grain is a page (G = 10), so that a page has one set of rights and the TLB may hold it. A page that is outside RAM has
 * no attributes of its own: a device answers there, or the access faults.
 */
import { header, type I32, type I64, type RoutineBuilder } from '../../../ir/index.js';
import { mmuIndex } from '../mode.js';
import { engine, routines } from '../routines/set.js';
import { cause, envcfg, field, mstatus, privilege, trapCode } from '../state.js';

const walkKind = { read: 0, write: 1, fetch: 2 } as const;
/** What a walk grants; PMP's R, W and X are the same bits. */
const prot = { read: 1, write: 2, exec: 4, all: 7, global: 8 } as const;
const pte = { V: 1, R: 2, W: 4, X: 8, U: 0x10, G: 0x20, A: 0x40, D: 0x80 } as const;
/** N and PBMT, which the hart does not have, and reserved bits. */
const RESERVED = 0xffc0000000000000n;
const PPN = 0x003ffffffffffc00n;

/** (physical address, privilege): the rights that PMP gives. The lowest entry that matches decides. */
const pmpRights = routines.define('pmp_rights', ['i64', 'i32'], ['i32'], {}, (r, address, level) => {
  const s = r.state();
  const inM = r.i32_eq(level, r.i32(privilege.M));
  const i = r.local('i32', r.i32(0));
  const count = r.i32_load(s, field.pmpCount);
  r.loop((again) => {
    r.if(r.i32_lt_u(r.read(i), count), () => {
      const range = r.i32_add(s, r.i32_shl(r.read(i), r.i32(4)));
      const first = r.i64_load(range, field.pmpRange);
      const last = r.i64_load(range, field.pmpRange + 8);
      r.if(r.i32_and(r.i64_ge_u(address, first), r.i64_le_u(address, last)), () => {
        const config = r.i32_load8_u(r.i32_add(s, r.read(i)), field.pmpConfig);
        const locked = r.i32_and(config, r.i32(0x80));
        r.if(r.i32_and(inM, r.i32_eqz(locked)), () => r.ret(r.i32(prot.all)));
        r.ret(r.i32_and(config, r.i32(prot.all)));
      });
      r.assign(i, r.i32_add(r.read(i), r.i32(1)));
      r.br(again);
    });
  });
  r.ret(r.select(inM, r.i32(prot.all), r.i32(0)));
});

/** Records a fault: causes by kind of access. */
function recordFault(r: RoutineBuilder, va: I64, kind: I32, causes: readonly [number, number, number]): void {
  const [read, write, fetch] = causes.map((code) => r.i32(trapCode(code)));
  const code = r.select(r.i32_eqz(kind), read, r.select(r.i32_eq(kind, r.i32(walkKind.write)), write, fetch));
  r.i32_store(r.state(), code, header.trapCode);
  r.i64_store(r.state(), va, field.trapValue);
}

/** The same, as a walk ends. */
function fails(r: RoutineBuilder, va: I64, kind: I32, causes: readonly [number, number, number]): void {
  recordFault(r, va, kind, causes);
  r.ret(r.i32(1), r.i64(0), r.i32(0));
}
const pageCauses = [cause.loadPage, cause.storePage, cause.instructionPage] as const;
const accessCauses = [cause.loadAccess, cause.storeAccess, cause.instructionAccess] as const;

/** Widens the range of addresses that SFENCE.VMA answers by flushing all: [low, high] at `at` in the state. */
const noteLargePage = routines.define(
  'note_large_page',
  ['i64', 'i64', 'i32'],
  [],
  {},
  (r, va, offsetMask, userPage) => {
    const at = r.i32_add(r.state(), r.select(userPage, r.i32(field.largePages), r.i32(field.largePages + 16)));
    const low = r.i64_and(va, r.i64_xor(offsetMask, r.i64(-1)));
    const high = r.i64_or(va, offsetMask);
    r.if(r.i64_lt_u(low, r.i64_load(at, 0)), () => r.i64_store(at, low, 0));
    r.if(r.i64_gt_u(high, r.i64_load(at, 8)), () => r.i64_store(at, high, 8));
    r.ret();
  },
);

/** (address, kind, privilege): the page tables' walk. */
const walkTables = routines.define(
  'walk_tables',
  ['i64', 'i32', 'i32'],
  ['i32', 'i64', 'i32'],
  {},
  (r, va, kind, level) => {
    const s = r.state();
    const status = r.i64_load(s, field.mstatus);
    const satp = r.i64_load(s, field.satp);
    const has = (value: I64, bit: bigint | number): I32 => r.i64_ne(r.i64_and(value, r.i64(bit)), r.i64(0));
    // Modes 8, 9 and 10 have 3, 4 and 5 levels of 9 bits.
    const levels = r.i32_sub(r.i32_wrap_i64(r.i64_shr_u(satp, r.i64(60))), r.i32(5));
    const shift = r.local('i64', r.i64_extend_i32_u(r.i32_add(r.i32_mul(levels, r.i32(9)), r.i32(3))));
    const table = r.local('i64', r.i64_shl(r.i64_and(satp, r.i64(0xfffffffffffn)), r.i64(12)));
    r.block((pageFault) => {
      const unused = r.i64_sub(r.i64(64 - 9), r.read(shift));
      r.brIf(pageFault, r.i64_ne(r.i64_shr_s(r.i64_shl(va, unused), unused), va));
      r.loop((next) => {
        const index = r.i64_and(r.i64_shr_u(va, r.read(shift)), r.i64(511));
        const at = r.i64_or(r.read(table), r.i64_shl(index, r.i64(3)));
        const [tableRights] = r.call(pmpRights, at, r.i32(privilege.S));
        r.if(r.i32_eqz(r.i32_and(tableRights, r.i32(prot.read))), () => fails(r, va, kind, accessCauses));
        const [entry] = r.call(engine.physLoad64, at);
        r.brIf(pageFault, r.i32_eqz(has(entry, pte.V)));
        r.brIf(pageFault, has(entry, RESERVED));
        const base = r.i64_shl(r.i64_and(entry, r.i64(PPN)), r.i64(2));
        r.if(r.i32_eqz(has(entry, pte.R | pte.W | pte.X)), () => {
          r.brIf(pageFault, has(entry, pte.D | pte.A | pte.U));
          r.brIf(pageFault, r.i64_eq(r.read(shift), r.i64(12)));
          r.assign(table, base);
          r.assign(shift, r.i64_sub(r.read(shift), r.i64(9)));
          r.br(next);
        });
        // Writable without readable is reserved.
        r.brIf(pageFault, r.i32_and(has(entry, pte.W), r.i32_eqz(has(entry, pte.R))));
        const within = r.i64_sub(r.i64_shl(r.i64(1), r.read(shift)), r.i64(1));
        r.brIf(pageFault, r.i64_ne(r.i64_and(base, within), r.i64(0)));

        const userPage = has(entry, pte.U);
        const isUser = r.i32_eqz(level);
        const fetchable = r.i32_eq(userPage, isUser);
        const sum = has(status, mstatus.SUM);
        const reachable = r.select(isUser, userPage, r.i32_or(r.i32_eqz(userPage), sum));
        const readable = r.i32_or(has(entry, pte.R), r.i32_and(has(entry, pte.X), has(status, mstatus.MXR)));
        const may = r.i32_or(
          r.i32_and(readable, reachable),
          r.i32_or(
            r.i32_shl(r.i32_and(has(entry, pte.W), reachable), r.i32(1)),
            r.i32_shl(r.i32_and(has(entry, pte.X), fetchable), r.i32(2)),
          ),
        );
        r.brIf(pageFault, r.i32_eqz(r.i32_and(may, r.i32_shl(r.i32(1), kind))));

        const isWrite = r.i32_eq(kind, r.i32(walkKind.write));
        const marked = r.i64_or(entry, r.select(isWrite, r.i64(pte.A | pte.D), r.i64(pte.A)));
        r.if(r.i64_ne(marked, entry), () => {
          r.brIf(pageFault, r.i32_eqz(has(r.i64_load(s, field.menvcfg), envcfg.ADUE)));
          r.if(r.i32_eqz(r.i32_and(tableRights, r.i32(prot.write))), () => fails(r, va, kind, accessCauses));
          r.call(engine.physStore64, at, marked);
        });
        r.if(r.i64_ne(r.read(shift), r.i64(12)), () => r.call(noteLargePage, va, within, userPage));
        // The first store to a clean page walks again.
        const clean = r.i32_eqz(has(marked, pte.D));
        const rights = r.i32_and(may, r.select(clean, r.i32(~prot.write), r.i32(-1)));
        const global = r.select(has(entry, pte.G), r.i32(prot.global), r.i32(0));
        r.ret(r.i32(0), r.i64_or(base, r.i64_and(va, within)), r.i32_or(rights, global));
      });
    });
    fails(r, va, kind, pageCauses);
  },
);

routines.define('page_walk', ['i64', 'i32', 'i32'], ['i32', 'i64', 'i32'], {}, (r, va, kind, mmu) => {
  const s = r.state();
  const status = r.i64_load(s, field.mstatus);
  const level = r.local('i32', r.i32(privilege.S));
  r.if(r.i32_eqz(mmu), () => r.assign(level, r.i32(privilege.U)));
  r.if(r.i32_eq(mmu, r.i32(mmuIndex.machine)), () => {
    const asOther = r.i64_ne(r.i64_and(status, r.i64(mstatus.MPRV)), r.i64(0));
    const isData = r.i32_ne(kind, r.i32(walkKind.fetch));
    const previous = r.i32_and(r.i32_wrap_i64(r.i64_shr_u(status, r.i64(11))), r.i32(3));
    r.assign(level, r.select(r.i32_and(asOther, isData), previous, r.i32(privilege.M)));
  });
  const gpa = r.local('i64', va);
  const rights = r.local('i32', r.i32(prot.all | prot.global));
  const inM = r.i32_eq(r.read(level), r.i32(privilege.M));
  const bare = r.i64_eqz(r.i64_shr_u(r.i64_load(s, field.satp), r.i64(60)));
  r.if(r.i32_eqz(r.i32_or(inM, bare)), () => {
    const [fault, address, granted] = r.call(walkTables, va, kind, r.read(level));
    r.if(fault, () => r.ret(r.i32(1), r.i64(0), r.i32(0)));
    r.assign(gpa, address);
    r.assign(rights, granted);
  });
  // Physical addresses have 56 bits.
  const [allowed] = r.call(pmpRights, r.read(gpa), r.read(level));
  const tooHigh = r.i64_ne(r.i64_shr_u(r.read(gpa), r.i64(56)), r.i64(0));
  const refused = r.i32_eqz(r.i32_and(allowed, r.i32_shl(r.i32(1), kind)));
  r.if(r.i32_or(tooHigh, refused), () => fails(r, va, kind, accessCauses));
  // What the TLB holds for M-mode by MPRV serves fetches too, which go by other rules: those rights are not given.
  const data = r.i32_and(r.i32_eq(mmu, r.i32(mmuIndex.machine)), r.i32_ne(r.i32_load(s, field.dataContext), r.i32(0)));
  const kinds = r.select(
    r.i32_eq(kind, r.i32(walkKind.fetch)),
    r.i32(prot.exec | prot.global),
    r.i32(prot.read | prot.write | prot.global),
  );
  const kept = r.select(data, kinds, r.i32(-1));
  r.ret(r.i32(0), r.read(gpa), r.i32_and(r.i32_and(r.read(rights), r.i32_or(allowed, r.i32(prot.global))), kept));
});

/** Nothing answers at the physical address that the walk gave: an access fault. */
routines.define('bus_fault', ['i64', 'i32', 'i32'], [], {}, (r, va, kind) => {
  recordFault(r, va, kind, accessCauses);
  r.ret();
});

/** Flushes the whole TLB; `keepGlobal` not 0: entries of global pages stay. */
export const flushTlb = routines.define('flush_tlb_pages', ['i32'], [], {}, (r, keepGlobal) => {
  const s = r.state();
  r.call(engine.flushTlb, keepGlobal);
  r.if(r.i32_eqz(keepGlobal), () => {
    for (const at of [field.largePages, field.largePages + 16]) {
      r.i64_store(s, r.i64(-1), at);
      r.i64_store(s, r.i64(0), at + 8);
    }
  });
  r.ret();
});

/** SFENCE.VMA with an address: one page's entries, or all if a large page may hold it. */
export const fencePage = routines.define('fence_page', ['i64'], [], {}, (r, va) => {
  const s = r.state();
  const within = (at: number): I32 =>
    r.i32_and(r.i64_ge_u(va, r.i64_load(s, at)), r.i64_le_u(va, r.i64_load(s, at + 8)));
  r.if(
    r.i32_or(within(field.largePages), within(field.largePages + 16)),
    () => r.call(flushTlb, r.i32(0)),
    () => r.call(engine.flushPage, va),
  );
  r.ret();
});
