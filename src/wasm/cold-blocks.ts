/** How the cold tier's inner function goes from block to block: by the links in the code, and by the jump cache. */
import {
  DEFERRED_UNCHANGED,
  exitCode,
  exitWord,
  header,
  JUMP_CACHE_PAGE_BYTES,
  JUMP_CACHE_PAGES,
  JUMP_CACHE_PER_PAGE_SHIFT,
  JUMP_ENTRY_SHIFT,
  jumpEntry,
  jumpHash,
} from '../ir/index.js';
import { COLD_HEADER_BYTES, coldHeader } from './cold-code.js';
import { ADDRESS, CODE, type ColdFunction, ENTRY, HOST, SCRATCH, STATE } from './cold-function.js';
import { wasmOp } from './function-emitter.js';

export interface ColdTierOptions {
  /** Address of the jump cache. */
  readonly jumpCache: number;
  /** Entries of a block at which it asks to be compiled, and at each multiple: a power of two, or 0: never. */
  readonly hotThreshold: number;
  /** Keeps header.instructions (-icount). */
  readonly countInstructions: boolean;
}

/** A block begins at CODE: counts, and asks to be compiled or stops if it is time. */
export function enterBlock(f: ColdFunction, options: ColdTierOptions): void {
  const w = f.w;
  const { hotThreshold, countInstructions } = options;
  f.get(CODE);
  f.get(CODE);
  f.memory(0x28, coldHeader.count);
  f.i32(1);
  w.u8(0x6a);
  f.tee(SCRATCH);
  f.memory(0x36, coldHeader.count);
  if (hotThreshold > 0) {
    f.get(SCRATCH);
    f.i32(hotThreshold - 1);
    w.raw([0x71, 0x45]);
    f.rarely(() => {
      f.get(STATE);
      f.get(CODE);
      f.memory(0x36, header.currentCode);
      f.i32(exitWord(exitCode.hot, 0, 255));
      f.returnWord();
    });
  }
  if (countInstructions) {
    f.get(STATE);
    f.memory(0x29, header.instructions);
    f.get(CODE);
    f.memory(0x35, coldHeader.instructions);
    w.u8(0x7c);
    f.get(STATE);
    f.memory(0x29, header.instructionLimit);
    w.u8(0x56); // i64.gt_u
    f.rarely(() => {
      f.i32(exitWord(exitCode.budget, 0, 255));
      f.returnWord();
    });
  }
  f.advance(COLD_HEADER_BYTES);
}

/** SCRATCH is the address of an exit word and a link. */
export function follow(f: ColdFunction): void {
  f.get(STATE);
  f.memory(0x29, header.pc);
  f.get(SCRATCH);
  f.memory(0x28, 0);
  f.tee(HOST);
  f.w.raw([0xac, 0xc3, 0x7c]); // i64.extend_i32_s, i64.extend16_s, i64.add
  f.set(ADDRESS);
  f.get(SCRATCH);
  f.memory(0x28, 4);
  f.set(CODE);
}

/**
 * Goes on at the pc in ADDRESS, with the exit word in HOST: to the block that CODE is the link to, or that the jump cache knows; else
 * returns, with the exit word applied.
 */
export function hop(f: ColdFunction, options: ColdTierOptions, deferredOffset: number): void {
  const w = f.w;
  const stop = () => {
    f.i32(exitWord(exitCode.next, 0, DEFERRED_UNCHANGED));
    f.returnWord();
  };
  // pc
  f.get(STATE);
  f.get(ADDRESS);
  f.get(STATE);
  f.memory(0x29, header.pcMask);
  w.u8(0x83);
  f.tee(ADDRESS);
  f.memory(0x37, header.pc);
  // the deferred variable
  f.get(HOST);
  f.i32(16);
  w.u8(0x76);
  f.tee(HOST);
  f.i32(DEFERRED_UNCHANGED);
  w.raw([0x47, wasmOp.if, 0x40]);
  f.get(STATE);
  f.get(HOST);
  f.memory(0x36, deferredOffset);
  w.u8(wasmOp.end);
  // the link
  w.raw([wasmOp.block, 0x40, wasmOp.block, 0x40]);
  f.get(CODE);
  f.i32(0);
  w.raw([0x4c, wasmOp.brIf, 0]); // i32.le_s
  f.get(CODE);
  f.memory(0x28, coldHeader.key);
  f.get(STATE);
  f.memory(0x28, header.modeKey);
  w.raw([0x46, wasmOp.brIf, 1, wasmOp.end]); // i32.eq
  lookUp(f, options);
  f.get(CODE);
  f.i32(0);
  w.raw([0x4e, wasmOp.if, 0x40]); // i32.ge_s
  stop();
  w.u8(wasmOp.end);
  f.get(CODE);
  f.i32(0x7fffffff);
  w.u8(0x71);
  f.set(CODE);
  w.u8(wasmOp.end);
  // Somebody wants to be heard, or it is time to look at the clock.
  f.get(STATE);
  f.memory(0x28, header.kick);
  f.rarely(stop);
  f.get(STATE);
  f.get(STATE);
  f.memory(0x28, header.hops);
  f.i32(1);
  w.u8(0x6b);
  f.tee(SCRATCH);
  f.memory(0x36, header.hops);
  f.get(SCRATCH);
  f.i32(0);
  w.u8(0x48); // i32.lt_s
  f.rarely(stop);
  enterBlock(f, options);
}

/** CODE: the target of the jump cache's entry for the pc in ADDRESS, or 0 if there is none (jumpCacheEntry). */
function lookUp(f: ColdFunction, options: ColdTierOptions): void {
  const w = f.w;
  const { jumpCache } = options;
  // linear address
  f.get(ADDRESS);
  f.get(STATE);
  f.memory(0x29, header.pcBase);
  w.u8(0x7c);
  f.tee(ADDRESS);
  w.raw([wasmOp.i64Const, 12, 0x88, 0xa7]); // i64.shr_u, i32.wrap_i64
  f.tee(ENTRY);
  // Only bits that both shifts leave in the low word count.
  f.get(ENTRY);
  f.i32(jumpHash.page);
  w.raw([0x76, 0x73]); // i32.shr_u, i32.xor
  f.i32(JUMP_CACHE_PAGES - 1);
  w.u8(0x71);
  f.i32(Math.log2(JUMP_CACHE_PAGE_BYTES));
  w.u8(0x74);
  f.get(ADDRESS);
  w.u8(0xa7);
  f.tee(HOST);
  f.get(HOST);
  f.i32(jumpHash.within);
  w.raw([0x76, 0x73]);
  f.i32((1 << JUMP_CACHE_PER_PAGE_SHIFT) - 1);
  w.u8(0x71);
  f.i32(JUMP_ENTRY_SHIFT);
  w.raw([0x74, 0x6a]);
  f.tee(ENTRY);
  f.memory(0x28, jumpCache + jumpEntry.target);
  f.i32(0);
  f.get(ENTRY);
  f.memory(0x29, jumpCache + jumpEntry.pc);
  f.get(ADDRESS);
  w.u8(0x51); // i64.eq
  f.get(ENTRY);
  f.memory(0x29, jumpCache + jumpEntry.key);
  f.get(STATE);
  f.memory(0x29, header.modeKey);
  w.raw([0x51, 0x71, wasmOp.select]);
  f.set(CODE);
}
