/**
 * Paging: Intel SDM vol. 3 ch. 4. 32-bit with PSE-36, PAE, 4-level and 5-level.
 *
 * Deviations: an access to a non-canonical address raises #GP(0) even if it goes through SS (the walk does not know the
 * segment; #SS(0) would tell no operating system anything else). A non-leaf entry's accessed bit is set when the walk passes
 * it, even if the walk then fails. There is no memory type: PWT, PCD and PAT are ignored.
 */
import { header, type I32, type I64, type RoutineBuilder } from '../../../ir/index.js';
import { mmuIndex } from '../mode.js';
import { engine, routines } from '../routines/set.js';
import { field, NON_CANONICAL, trapCode } from '../state.js';
import { cr0, cr4, efer, vector } from './bits.js';

/** What page_walk is asked for. */
export const walkKind = { read: 0, write: 1, fetch: 2 } as const;
/** What it grants. */
export const prot = { read: 1, write: 2, exec: 4, global: 8 } as const;

/** Bits of a page fault's error code. */
export const pageFault = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16 } as const;

const entry = { P: 1, RW: 2, US: 4, A: 0x20, D: 0x40, PS: 0x80, G: 0x100 } as const;
const NX = 1n << 63n;
const addressBits = 0x000ffffffffff000n;

/** Records a page fault: CR2 and the trap code. */
const recordPageFault = routines.define(
  'record_page_fault',
  ['i64', 'i32', 'i32', 'i32'],
  [],
  {},
  (r, va, error, kind, mmu) => {
    const s = r.state();
    const control4 = r.i32_load(s, field.cr4);
    const nxe = r.i32_and(
      r.i32_ne(r.i32_and(control4, r.i32(cr4.PAE)), r.i32(0)),
      r.i32_ne(r.i32_and(r.i32_load(s, field.efer), r.i32(efer.NXE)), r.i32(0)),
    );
    const tellsFetch = r.i32_or(nxe, r.i32_ne(r.i32_and(control4, r.i32(cr4.SMEP)), r.i32(0)));
    const fetch = r.i32_and(r.i32_eq(kind, r.i32(walkKind.fetch)), tellsFetch);
    const code = r.i32_or(
      r.i32_or(error, r.select(r.i32_eq(kind, r.i32(walkKind.write)), r.i32(pageFault.write), r.i32(0))),
      r.i32_or(
        r.select(r.i32_eq(mmu, r.i32(mmuIndex.user)), r.i32(pageFault.user), r.i32(0)),
        r.i32_shl(fetch, r.i32(4)),
      ),
    );
    r.i64_store(s, va, field.cr2);
    r.i32_store(s, r.i32_or(r.i32(trapCode(vector.PF, 0)), r.i32_shl(code, r.i32(16))), header.trapCode);
    r.ret();
  },
);

/**
 * What a page grants to an MMU index. `rights`: bits RW and US allowed at every level; `executable`: 1 if no level has NX.
 * The write right does not look at the dirty bit.
 */
function rightsOf(r: RoutineBuilder, rights: I32, executable: I32, control0: I32, control4: I32, mmu: I32): I32 {
  const one = (value: I32, mask: number): I32 => r.i32_ne(r.i32_and(value, r.i32(mask)), r.i32(0));
  const userPage = one(rights, entry.US);
  const writable = one(rights, entry.RW);
  const isUser = r.i32_eqz(mmu);
  const writeProtect = one(control0, cr0.WP);
  const smap = r.i32_and(one(control4, cr4.SMAP), r.i32_eq(mmu, r.i32(mmuIndex.supervisor)));
  const smep = one(control4, cr4.SMEP);
  const not = (value: I32): I32 => r.i32_eqz(value);
  const readable = r.select(isUser, userPage, not(r.i32_and(userPage, smap)));
  const mayWrite = r.i32_and(readable, r.select(isUser, writable, r.i32_or(writable, not(writeProtect))));
  const mayFetch = r.i32_and(executable, r.select(isUser, userPage, not(r.i32_and(userPage, smep))));
  return r.i32_or(readable, r.i32_or(r.i32_shl(mayWrite, r.i32(1)), r.i32_shl(mayFetch, r.i32(2))));
}

/** Widens the range of addresses that INVLPG answers by flushing all: [low, high] at `at` in the state. */
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

/** The end of every walk: A20 gate. */
function gated(r: RoutineBuilder, gpa: I64): I64 {
  return r.i64_and(gpa, r.i64_load32_s(r.state(), field.a20Mask));
}

/** 32-bit paging (4.3). */
const walk32 = routines.define('page_walk_32', ['i64', 'i32', 'i32'], ['i32', 'i64', 'i32'], {}, (r, va, kind, mmu) => {
  const s = r.state();
  const control0 = r.i32_load(s, field.cr0);
  const control4 = r.i32_load(s, field.cr4);
  const linear = r.i32_wrap_i64(va);
  const error = r.local('i32', r.i32(0));
  const leaf = r.local('i32');
  const leafAt = r.local('i64');
  const page = r.local('i64');
  const upper = r.local('i32', r.i32(-1));
  r.block((fail) => {
    r.block((found) => {
      const pdeAt = r.i64_extend_i32_u(
        r.i32_or(
          r.i32_and(r.i32_load(s, field.cr3), r.i32(~0xfff)),
          r.i32_and(r.i32_shr_u(linear, r.i32(20)), r.i32(0xffc)),
        ),
      );
      const [pde] = r.call(engine.physLoad32, pdeAt);
      r.brIf(fail, r.i32_eqz(r.i32_and(pde, r.i32(entry.P))));
      const large = r.i32_and(r.i32_and(pde, r.i32(entry.PS)), r.i32_shl(control4, r.i32(3)));
      r.if(large, () => {
        // PSE-36: bits 13-20 are address bits 32-39.
        const high = r.i64_shl(r.i64_extend_i32_u(r.i32_and(pde, r.i32(0x1fe000))), r.i64(19));
        const base = r.i64_or(high, r.i64_extend_i32_u(r.i32_and(pde, r.i32(0xffc00000 | 0))));
        r.assign(error, r.i32(pageFault.present | pageFault.reserved));
        r.brIf(fail, r.i32_and(pde, r.i32(1 << 21)));
        r.brIf(fail, r.i64_ne(r.i64_and(base, r.i64_load(s, field.physReserved)), r.i64(0)));
        r.assign(page, r.i64_or(base, r.i64_and(va, r.i64(0x3fffff))));
        r.assign(leaf, pde);
        r.assign(leafAt, pdeAt);
        r.call(noteLargePage, r.i64_extend_i32_u(linear), r.i64(0x3fffff), r.i32_and(pde, r.i32(entry.US)));
        r.br(found);
      });
      r.if(r.i32_eqz(r.i32_and(pde, r.i32(entry.A))), () => {
        r.call(engine.physStore32, pdeAt, r.i32_or(pde, r.i32(entry.A)));
      });
      r.assign(upper, pde);
      const pteAt = r.i64_extend_i32_u(
        r.i32_or(r.i32_and(pde, r.i32(~0xfff)), r.i32_and(r.i32_shr_u(linear, r.i32(10)), r.i32(0xffc))),
      );
      const [pte] = r.call(engine.physLoad32, pteAt);
      r.brIf(fail, r.i32_eqz(r.i32_and(pte, r.i32(entry.P))));
      r.assign(leaf, pte);
      r.assign(leafAt, pteAt);
      r.assign(page, r.i64_extend_i32_u(r.i32_or(r.i32_and(pte, r.i32(~0xfff)), r.i32_and(linear, r.i32(0xfff)))));
    });
    const last = r.read(leaf);
    const granted = rightsOf(r, r.i32_and(last, r.read(upper)), r.i32(1), control0, control4, mmu);
    r.assign(error, r.i32(pageFault.present));
    r.brIf(fail, r.i32_eqz(r.i32_and(granted, r.i32_shl(r.i32(1), kind))));
    const isWrite = r.i32_eq(kind, r.i32(walkKind.write));
    const marked = r.i32_or(last, r.select(isWrite, r.i32(entry.A | entry.D), r.i32(entry.A)));
    r.if(r.i32_ne(marked, last), () => {
      r.call(engine.physStore32, r.read(leafAt), marked);
    });
    const clean = r.i32_eqz(r.i32_and(marked, r.i32(entry.D)));
    const global = r.i32_and(r.i32_shr_u(marked, r.i32(5)), r.i32_shr_u(control4, r.i32(4)));
    r.ret(
      r.i32(0),
      gated(r, r.read(page)),
      r.i32_or(
        r.i32_and(granted, r.select(clean, r.i32(~prot.write), r.i32(-1))),
        r.i32_and(global, r.i32(prot.global)),
      ),
    );
  });
  r.call(recordPageFault, r.i64_extend_i32_u(linear), r.read(error), kind, mmu);
  r.ret(r.i32(1), r.i64(0), r.i32(0));
});

/**
 * Translates a linear address for an access of one kind by an MMU index. Results: 1 if it faults (the fault is then in the
 * state); the guest-physical address; what the page grants to that index (prot), without the write right until the page
 * is dirty, so that the first write walks again.
 */
export const pageWalk = routines.define(
  'page_walk',
  ['i64', 'i32', 'i32'],
  ['i32', 'i64', 'i32'],
  {},
  (r, va, kind, mmu) => {
    const s = r.state();
    const control0 = r.i32_load(s, field.cr0);
    const control4 = r.i32_load(s, field.cr4);
    const extended = r.i32_load(s, field.efer);
    r.if(r.i32_ge_s(control0, r.i32(0)), () => {
      r.ret(r.i32(0), gated(r, r.i64_and(va, r.i64(0xffffffff))), r.i32(prot.read | prot.write | prot.exec));
    });
    r.if(r.i32_eqz(r.i32_and(control4, r.i32(cr4.PAE))), () => {
      const [fault, gpa, granted] = r.call(walk32, va, kind, mmu);
      r.ret(fault, gpa, granted);
    });
    const error = r.local('i32', r.i32(0));
    const table = r.local('i64', r.i64_and(r.i64_load(s, field.cr3), r.i64(addressBits)));
    // RW and US of all levels anded, and NX inverted.
    const rights = r.local('i64', r.i64(-1));
    const leaf = r.local('i64');
    const leafAt = r.local('i64');
    const offsetMask = r.local('i64', r.i64(0xfff));
    const linear = r.local('i64', va);
    const nxReserved = r.i64_shl(r.i64_extend_i32_u(r.i32_eqz(r.i32_and(extended, r.i32(efer.NXE)))), r.i64(63));
    const reserved = r.local('i64', r.i64_or(r.i64_load(s, field.physReserved), nxReserved));

    r.block((fail) => {
      const failReserved = () => {
        r.assign(error, r.i32(pageFault.present | pageFault.reserved));
        r.br(fail);
      };
      r.block((found) => {
        const load = (shift: number): { at: I64; value: I64 } => {
          const index = r.i64_and(r.i64_shr_u(va, r.i64(shift - 3)), r.i64(0xff8));
          const at = r.i64_or(r.read(table), index);
          const [value] = r.call(engine.physLoad64, at);
          return { at, value };
        };
        /** Passes through an entry that points to a table. */
        const descend = (at: I64, value: I64, alsoReserved: I64): void => {
          const present = r.i64(entry.P | entry.A);
          const probe = r.i64_and(value, r.i64_or(r.i64_or(r.read(reserved), alsoReserved), present));
          r.if(r.i64_ne(probe, present), () => {
            r.brIf(fail, r.i64_eqz(r.i64_and(value, r.i64(entry.P))));
            r.if(r.i64_ne(r.i64_and(value, r.i64_or(r.read(reserved), alsoReserved)), r.i64(0)), failReserved);
            r.call(engine.physStore64, at, r.i64_or(value, r.i64(entry.A)));
          });
          r.assign(rights, r.i64_and(r.read(rights), r.i64_xor(value, r.i64(NX))));
          r.assign(table, r.i64_and(value, r.i64(addressBits)));
        };
        /** Ends at an entry with PS set, if this one has it. `within`: offset bits of such a page. */
        const maybeLarge = (at: I64, value: I64, within: number): void => {
          const both = r.i64(entry.PS | entry.P);
          r.if(r.i64_eq(r.i64_and(value, both), both), () => {
            // Bit 12 is PAT.
            const low = r.i64(within & ~0x1fff);
            r.if(r.i64_ne(r.i64_and(value, r.i64_or(r.read(reserved), low)), r.i64(0)), failReserved);
            r.assign(leaf, value);
            r.assign(leafAt, at);
            r.assign(offsetMask, r.i64(within));
            r.call(
              noteLargePage,
              r.read(linear),
              r.i64(within),
              r.i32_and(r.i32_wrap_i64(r.i64_and(value, r.read(rights))), r.i32(entry.US)),
            );
            r.br(found);
          });
        };

        r.if(
          r.i32_and(extended, r.i32(efer.LMA)),
          () => {
            const unused = r.select(r.i32_and(control4, r.i32(cr4.LA57)), r.i64(7), r.i64(16));
            r.if(r.i64_ne(r.i64_shr_s(r.i64_shl(va, unused), unused), va), () => {
              r.i64_store(s, va, field.nonCanonical);
              r.i32_store(s, r.i32(trapCode(vector.GP, 0) | NON_CANONICAL), header.trapCode);
              r.ret(r.i32(1), r.i64(0), r.i32(0));
            });
            r.if(r.i32_and(control4, r.i32(cr4.LA57)), () => {
              const pml5e = load(48);
              descend(pml5e.at, pml5e.value, r.i64(entry.PS));
            });
            const pml4e = load(39);
            descend(pml4e.at, pml4e.value, r.i64(entry.PS));
            const pdpte = load(30);
            // Without 1 GiB pages PS is reserved here.
            const noHuge = r.i64_load(s, field.hugeReserved);
            r.if(r.i64_eqz(noHuge), () => maybeLarge(pdpte.at, pdpte.value, 0x3fffffff));
            descend(pdpte.at, pdpte.value, noHuge);
          },
          () => {
            r.assign(linear, r.i64_and(va, r.i64(0xffffffff)));
            r.assign(reserved, r.i64_or(r.read(reserved), r.i64(0x7ff0000000000000n)));
            const index = r.i32_and(r.i32_wrap_i64(r.i64_shr_u(va, r.i64(27))), r.i32(0x18));
            const pdpte = r.i64_load(r.i32_add(s, index), field.pdpte);
            r.brIf(fail, r.i64_eqz(r.i64_and(pdpte, r.i64(entry.P))));
            r.assign(table, r.i64_and(pdpte, r.i64(addressBits)));
          },
        );
        const pde = load(21);
        maybeLarge(pde.at, pde.value, 0x1fffff);
        descend(pde.at, pde.value, r.i64(0));
        const pte = load(12);
        r.brIf(fail, r.i64_eqz(r.i64_and(pte.value, r.i64(entry.P))));
        r.if(r.i64_ne(r.i64_and(pte.value, r.read(reserved)), r.i64(0)), failReserved);
        r.assign(leaf, pte.value);
        r.assign(leafAt, pte.at);
      });
      const last = r.read(leaf);
      const all = r.i64_and(r.read(rights), r.i64_xor(last, r.i64(NX)));
      const executable = r.i32_wrap_i64(r.i64_shr_u(all, r.i64(63)));
      const granted = rightsOf(r, r.i32_wrap_i64(all), executable, control0, control4, mmu);
      r.assign(error, r.i32(pageFault.present));
      r.brIf(fail, r.i32_eqz(r.i32_and(granted, r.i32_shl(r.i32(1), kind))));
      const isWrite = r.i32_eq(kind, r.i32(walkKind.write));
      const marked = r.i64_or(last, r.select(isWrite, r.i64(entry.A | entry.D), r.i64(entry.A)));
      r.if(r.i64_ne(marked, last), () => {
        r.call(engine.physStore64, r.read(leafAt), marked);
      });
      const flags = r.i32_wrap_i64(marked);
      const clean = r.i32_eqz(r.i32_and(flags, r.i32(entry.D)));
      const global = r.i32_and(r.i32_shr_u(flags, r.i32(5)), r.i32_shr_u(control4, r.i32(4)));
      const within = r.read(offsetMask);
      const base = r.i64_and(last, r.i64_and(r.i64(addressBits), r.i64_xor(within, r.i64(-1))));
      r.ret(
        r.i32(0),
        gated(r, r.i64_or(base, r.i64_and(va, within))),
        r.i32_or(
          r.i32_and(granted, r.select(clean, r.i32(~prot.write), r.i32(-1))),
          r.i32_and(global, r.i32(prot.global)),
        ),
      );
    });
    r.call(recordPageFault, r.read(linear), r.read(error), kind, mmu);
    r.ret(r.i32(1), r.i64(0), r.i32(0));
  },
);

/** Flushes the whole TLB; `keepGlobal` not 0: entries of global pages stay. */
export const flushTlb = routines.define('flush_tlb_pages', ['i32'], [], {}, (r, keepGlobal) => {
  const s = r.state();
  r.call(engine.flushTlb, keepGlobal);
  r.i64_store(s, r.i64(-1), field.largePages);
  r.i64_store(s, r.i64(0), field.largePages + 8);
  r.if(r.i32_eqz(keepGlobal), () => {
    r.i64_store(s, r.i64(-1), field.largePages + 16);
    r.i64_store(s, r.i64(0), field.largePages + 24);
  });
  r.ret();
});

/** INVLPG: one page's entries, or all if a large page may hold the address. */
export const invalidatePage = routines.define('invalidate_page', ['i64'], [], {}, (r, va) => {
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
