/**
 * The jump cache: where the code at a guest address lies, in the address space and mode that it was entered in. Direct-mapped, by
 * pc; a page's entries lie together, so that they can be dropped quickly.
 */
import type { RoutineBuilder } from './builder.js';
import type { I32, I64 } from './types.js';

/**
 * `pc`: i64, linear address. `key`: i64, mode key and generation of the vCPU (vcpu-header.ts). `target`: i32, index in the code
 * table of a region, or address of cold code with the sign bit set.
 */
export const jumpEntry = { pc: 0, key: 8, target: 16 } as const;
export const JUMP_ENTRY_SHIFT = 5;
export const JUMP_CACHE_PER_PAGE_SHIFT = 8;
export const JUMP_CACHE_PAGES = 128;
export const JUMP_CACHE_PAGE_BYTES = 1 << (JUMP_CACHE_PER_PAGE_SHIFT + JUMP_ENTRY_SHIFT);
export const JUMP_CACHE_BYTES = JUMP_CACHE_PAGES * JUMP_CACHE_PAGE_BYTES;

/** By how much the low word of an address, and the address, are shifted right to be XORed with themselves (with 12 less). */
export const jumpHash = { within: 8, page: 6 } as const;

/** Offset in the jump cache of the entries of an address's page. */
export function jumpCachePage(r: RoutineBuilder, pc: I64): I32 {
  const page = r.i64_shr_u(pc, r.i64(12));
  const hash = r.i64_xor(page, r.i64_shr_u(page, r.i64(jumpHash.page)));
  return r.i32_mul(r.i32_and(r.i32_wrap_i64(hash), r.i32(JUMP_CACHE_PAGES - 1)), r.i32(JUMP_CACHE_PAGE_BYTES));
}

/** Offset in the jump cache of the entry for a pc. The cold tier computes the same by itself (src/wasm/cold-blocks.ts). */
export function jumpCacheEntry(r: RoutineBuilder, pc: I64): I32 {
  const low = r.i32_wrap_i64(pc);
  const hash = r.i32_xor(low, r.i32_shr_u(low, r.i32(jumpHash.within)));
  const within = r.i32_and(hash, r.i32((1 << JUMP_CACHE_PER_PAGE_SHIFT) - 1));
  return r.i32_add(jumpCachePage(r, pc), r.i32_shl(within, r.i32(JUMP_ENTRY_SHIFT)));
}
