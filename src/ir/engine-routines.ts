/**
 * The routines that the engine gives to every guest CPU. A guest declares them in its own RoutineSet, first; the engine
 * provides their bodies (in IR or from JavaScript) by these names when it compiles the set.
 */
import type { RoutineSet } from './builder.js';

/** What translated code and routines of a guest may ask of the engine. */
export function declareEngineRoutines(set: RoutineSet) {
  return {
    /** Guest-physical loads and stores, for page tables: RAM; elsewhere ones are read and writes dropped. */
    physLoad32: set.declare('phys_load32', ['i64'], ['i32'], {}),
    physLoad64: set.declare('phys_load64', ['i64'], ['i64'], {}),
    physStore32: set.declare('phys_store32', ['i64', 'i32'], [], {}),
    physStore64: set.declare('phys_store64', ['i64', 'i64'], [], {}),
    /** Flushes all TLBs of the vCPU; the operand not 0: entries of global pages stay. */
    flushTlb: set.declare('flush_tlb', ['i32'], [], {}),
    /** Flushes one page's entries (any size of page: the guest CPU flushes all for a large one if it must). */
    flushPage: set.declare('flush_page', ['i64'], [], {}),
    /** Makes an MMU index (0..7) the current one. */
    selectMmu: set.declare('select_mmu', ['i32'], [], {}),
    /** Port space: port, size 1, 2 or 4. */
    pioRead: set.host('pio_read', ['i32', 'i32'], ['i32'], {}),
    pioWrite: set.host('pio_write', ['i32', 'i32', 'i32'], [], {}),
    /** Virtual time in ticks of the guest's time-stamp counter, before any offset. */
    readTsc: set.host('read_tsc', [], ['i64'], {}),
    /** 64 random bits (seeded with -icount). */
    randomBits: set.host('random_bits', [], ['i64'], {}),
    /** High halves of 64x64-bit products. */
    mulHighU: set.declare('mul_high_u', ['i64', 'i64'], ['i64'], { pure: true }),
    mulHighS: set.declare('mul_high_s', ['i64', 'i64'], ['i64'], { pure: true }),
  } as const;
}
