/**
 * Stage 1 of address translation: with long descriptors in long-walk.ts, here with short ones (DDI 0406, B3.5): sections, supersections, large and small pages, domains, the access
 * flag, XN and PXN, WXN and UWXN. Memory types have no effect, so TEX remap has none either.
 *
 * The TLB does not know ASIDs and domains: a change of ASID drops what is not global, and the rights of each value of DACR in use are kept in
 * translation contexts of their own (mode.ts).
 */
import { header, type I32, type I64, type RoutineBuilder } from '../../../ir/index.js';
import { engine, routines } from '../../arm/routines/set.js';
import { noteWidePage } from '../../arm/system/wide-pages.js';
import { mmuIndex } from '../mode.js';
import { EAE, exception, fault, field, prot, STATUS_SHIFT, sctlr, trapCode, WNR } from '../state.js';
import { walkLong } from './long-walk.js';

const walkKind = { read: 0, write: 1, fetch: 2 } as const;
/** Where a syndrome has the domain of an abort. */
export const DOMAIN_SHIFT = 20;

const has = (r: RoutineBuilder, value: I32, bit: number): I32 => r.i32_ne(r.i32_and(value, r.i32(bit)), r.i32(0));
const bits = (r: RoutineBuilder, value: I32, place: number, mask: number): I32 =>
  r.i32_and(r.i32_shr_u(value, r.i32(place)), r.i32(mask));

/** Records an abort. `status`: as the long form has it. */
export function recordAbort32(r: RoutineBuilder, va: I64, kind: I32, status: I32, domain: I32): void {
  const s = r.state();
  const isFetch = r.i32_eq(kind, r.i32(walkKind.fetch));
  const isWrite = r.i32_eq(kind, r.i32(walkKind.write));
  const data = r.i32_or(r.i32(exception.dataAbort), r.select(isWrite, r.i32(WNR), r.i32(0)));
  const base = r.select(isFetch, r.i32(exception.prefetchAbort), data);
  const details = r.i32_or(r.i32_shl(status, r.i32(STATUS_SHIFT)), r.i32_shl(domain, r.i32(DOMAIN_SHIFT)));
  r.i32_store(s, r.i32_or(base, details), field.syndrome);
  r.i64_store(s, va, field.faultAddress);
  r.i32_store(s, r.i32(trapCode.here), header.trapCode);
}

/** (address, kind, context) → (fault, physical address, rights). */
export const walkAArch32 = routines.define(
  'walk_aarch32',
  ['i64', 'i32', 'i32'],
  ['i32', 'i64', 'i32'],
  {},
  (r, address, kind, mmu) => {
    const s = r.state();
    const va = r.i32_wrap_i64(address);
    const control = r.i32_load(s, field.sctlr);
    r.if(r.i32_eqz(has(r, control, sctlr.M)), () =>
      r.ret(r.i32(0), r.i64_extend_i32_u(va), r.i32(prot.all | prot.global)),
    );
    const status = r.local('i32', r.i32(fault.translation | 1));
    const domain = r.local('i32', r.i32(0));
    const isPrivileged = r.i32_and(mmu, r.i32(mmuIndex.privileged));
    const ttbcr = r.i32_load(s, field.ttbcr);
    r.block((failed) => {
      r.if(has(r, ttbcr, EAE), () => {
        const [failure, gpa, rights] = r.call(walkLong, va, kind, mmu);
        r.if(r.i32_eqz(failure), () => r.ret(r.i32(0), gpa, rights));
        r.assign(status, failure);
        r.br(failed);
      });
      const n = r.i32_and(ttbcr, r.i32(7));
      const above = r.i64_shr_u(r.i64_extend_i32_u(va), r.i64_extend_i32_u(r.i32_sub(r.i32(32), n)));
      const upper = r.i64_ne(above, r.i64(0));
      r.brIf(failed, r.select(upper, bits(r, ttbcr, 5, 1), bits(r, ttbcr, 4, 1)));
      const base = r.select(upper, r.i64_load32_u(s, field.ttbr1), r.i64_load32_u(s, field.ttbr0));
      const sizeBits = r.select(upper, r.i32(14), r.i32_sub(r.i32(14), n));
      const tableMask = r.i32_sub(r.i32_shl(r.i32(1), sizeBits), r.i32(1));
      const offset = r.i32_and(r.i32_and(r.i32_shr_u(va, r.i32(18)), r.i32(0x3ffc)), tableMask);
      const tableAt = r.i32_and(r.i32_wrap_i64(base), r.i32_xor(tableMask, r.i32(-1)));
      const [first] = r.call(engine.physLoad32, r.i64_extend_i32_u(r.i32_or(tableAt, offset)));
      const type = r.i32_and(first, r.i32(3));
      r.brIf(failed, r.i32_eqz(type));
      r.assign(domain, bits(r, first, 5, 15));

      /** AP[2:0], XN, PXN, nG; the page's address, bits of the offset in it, the level. */
      const ap = r.local('i32');
      const never = r.local('i32');
      const kernelNever = r.local('i32');
      const notGlobal = r.local('i32');
      const page = r.local('i64');
      const within = r.local('i32');
      const level = r.local('i32');
      r.if(
        r.i32_eq(type, r.i32(1)),
        () => {
          r.assign(status, r.i32(fault.translation | 2));
          r.assign(level, r.i32(2));
          r.assign(kernelNever, bits(r, first, 2, 1));
          const index = r.i32_and(r.i32_shr_u(va, r.i32(10)), r.i32(0x3fc));
          const secondAt = r.i32_or(r.i32_and(first, r.i32(-1024)), index);
          const [second] = r.call(engine.physLoad32, r.i64_extend_i32_u(secondAt));
          const kindOfPage = r.i32_and(second, r.i32(3));
          r.brIf(failed, r.i32_eqz(kindOfPage));
          const large = r.i32_eq(kindOfPage, r.i32(1));
          r.assign(ap, r.i32_or(bits(r, second, 4, 3), r.i32_shl(bits(r, second, 9, 1), r.i32(2))));
          r.assign(never, r.select(large, bits(r, second, 15, 1), r.i32_and(second, r.i32(1))));
          r.assign(notGlobal, bits(r, second, 11, 1));
          r.assign(within, r.select(large, r.i32(0xffff), r.i32(0xfff)));
          r.assign(page, r.i64_extend_i32_u(second));
        },
        () => {
          r.assign(level, r.i32(1));
          const isSuper = has(r, first, 1 << 18);
          r.assign(ap, r.i32_or(bits(r, first, 10, 3), r.i32_shl(bits(r, first, 15, 1), r.i32(2))));
          r.assign(never, bits(r, first, 4, 1));
          r.assign(kernelNever, r.i32_and(first, r.i32(1)));
          r.assign(notGlobal, bits(r, first, 17, 1));
          r.assign(within, r.select(isSuper, r.i32(0xffffff), r.i32(0xfffff)));
          // Bits 32 to 39 of a supersection's address.
          const high = r.i32_or(bits(r, first, 20, 15), r.i32_shl(bits(r, first, 5, 15), r.i32(4)));
          const extended = r.i64_shl(r.i64_extend_i32_u(r.select(isSuper, high, r.i32(0))), r.i64(32));
          r.assign(page, r.i64_or(r.i64_extend_i32_u(first), extended));
          r.if(isSuper, () => r.assign(domain, r.i32(0)));
        },
      );

      const manages = has(r, control, sctlr.AFE);
      r.if(r.i32_and(manages, r.i32_eqz(r.i32_and(r.read(ap), r.i32(1)))), () => {
        r.assign(status, r.i32_or(r.i32(fault.accessFlag), r.read(level)));
        r.br(failed);
      });
      const slot = r.i32_shl(r.i32_shr_u(mmu, r.i32(1)), r.i32(2));
      const dacr = r.i32_load(r.i32_add(s, slot), field.dacrs);
      const access = r.i32_and(r.i32_shr_u(dacr, r.i32_shl(r.read(domain), r.i32(1))), r.i32(3));
      r.if(r.i32_eqz(r.i32_and(access, r.i32(1))), () => {
        r.assign(status, r.i32_or(r.i32(fault.domain), r.read(level)));
        r.br(failed);
      });

      // By AP[2:0], two bits each: readable and writable by all; by privileged code.
      const table = (rights: readonly number[]): number =>
        rights.reduce((sum, right, n) => sum | (right << (2 * n)), 0);
      const look = (rights: number): I32 =>
        r.i32_and(r.i32_shr_u(r.i32(rights), r.i32_shl(r.read(ap), r.i32(1))), r.i32(3));
      const userRights = table([0, 0, 1, 3, 0, 0, 1, 1]);
      const privilegedRights = table([0, 3, 3, 3, 0, 1, 1, 1]);
      const ofUser = look(userRights);
      const ofPrivileged = look(privilegedRights);
      // With the access flag AP[0] is no right: as if it were 1.
      const rw = r.select(isPrivileged, ofPrivileged, ofUser);
      const writable = r.i32_shr_u(rw, r.i32(1));
      const readable = r.i32_and(rw, r.i32(1));
      const wxn = r.i32_and(has(r, control, sctlr.WXN), writable);
      const uwxn = r.i32_and(r.i32_and(has(r, control, sctlr.UWXN), isPrivileged), r.i32_shr_u(ofUser, r.i32(1)));
      const denied = r.i32_or(
        r.i32_or(r.read(never), r.i32_and(isPrivileged, r.read(kernelNever))),
        r.i32_or(wxn, uwxn),
      );
      const executable = r.i32_and(readable, r.i32_eqz(denied));
      const checked = r.i32_or(rw, r.i32_shl(executable, r.i32(2)));
      // A manager's accesses are not checked.
      const may = r.select(r.i32_eq(access, r.i32(3)), r.i32(prot.all), checked);
      r.if(r.i32_eqz(r.i32_and(may, r.i32_shl(r.i32(1), kind))), () => {
        r.assign(status, r.i32_or(r.i32(fault.permission), r.read(level)));
        r.br(failed);
      });
      const mask = r.i64_extend_i32_u(r.read(within));
      const from = r.i64_extend_i32_u(va);
      r.if(r.i32_ne(r.read(within), r.i32(0xfff)), () =>
        r.call(noteWidePage, r.i64_and(from, r.i64_xor(mask, r.i64(-1))), r.i64_or(from, mask)),
      );
      const gpa: I64 = r.i64_or(r.i64_and(r.read(page), r.i64_xor(mask, r.i64(-1))), r.i64_and(from, mask));
      const global = r.select(r.read(notGlobal), r.i32(0), r.i32(prot.global));
      r.ret(r.i32(0), gpa, r.i32_or(may, global));
    });
    recordAbort32(r, r.i64_extend_i32_u(va), kind, r.read(status), r.read(domain));
    r.ret(r.i32(1), r.i64(0), r.i32(0));
  },
);
