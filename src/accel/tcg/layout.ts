/**
 * The machine's memory: what lies where in the one shared WebAssembly memory. Everything below guestRam belongs to the
 * translator; only pages that are touched cost host memory.
 */
import { TLB_ENTRY_SHIFT } from '../../ir/index.js';
import { TEMP_SLOTS } from '../../wasm/index.js';
import { GUEST_RAM_START, VCPU_BYTES } from '../guest-limit.js';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Entries of each context's TLB. */
export const TLB_ENTRIES = 4096;
export const TLB_BYTES = TLB_ENTRIES << TLB_ENTRY_SHIFT;

/**
 * Code hash: open addressing, by (host address of the code, mode key). `target`: address of the cold code with the sign bit set,
 * or 0. `second`: host address of the page on which the code
 * ends, if that is another one: it must still be what follows.
 */
export const CODE_HASH_ENTRIES = 1 << 18;
export const CODE_HASH_BYTES = 16;
export const hashEntry = { hva: 0, key: 4, target: 8, second: 12 } as const;
/** In the key of a block's code beside the mode: its page is guarded (`prot` of the page walk). No mode key has this bit. */
export const GUARDED_KEY = 0x80000000 | 0;

/** What each vCPU has for itself, from the address of its state on. */
export const vcpuLayout = {
  /** Count (i32), then addresses of the TLB entries of pages that are not global, filled since the last flush. */
  flushLog: 128 * KIB,
  /** Count (i32), then addresses of words to be zeroed at the next flush: what leads to code by way of pages that are not global. */
  edgeLog: 136 * KIB,
  tlbs: 160 * KIB,
  bytes: VCPU_BYTES,
} as const;

export const layout = {
  /** The first vCPU's state, then its temp slots and the rest of what it has for itself. Further vCPUs lie behind guest RAM. */
  state: 64 * KIB,
  /** How often the dispatcher has entered each region: an i32 for each index in the code table (modulo their number). */
  regionEntries: 768 * KIB,
  /** Count of RAM blocks (i32, at +0), then the blocks from +64, 32 bytes each. */
  ramBlocks: 1024 * KIB,
  /** How often all translated code has been dropped (i32): whoever reads it in another thread looks here before and after. */
  codeEpoch: 1026 * KIB,
  /** A page of ones: what instruction fetch sees where there is no RAM. */
  noCodePage: 1028 * KIB,
  /** Blocks on their way to be compiled (region-queue.ts). */
  regionQueue: 1032 * KIB,
  /** Instructions that make their accesses one by one (apart-sites.ts): host addresses, or 0. */
  apartSites: 1056 * KIB,
  apartSitesEnd: 1072 * KIB,
  /** Of regions' edges between pages: the generation in which an edge was last seen to hold, and at which page (two i32). */
  edgeCells: 1536 * KIB,
  edgeCellsEnd: 2048 * KIB,
  /** A byte for each host page: 1 while the dirty log is kept and the page has not been written. */
  cleanPages: 2 * MIB,
  jumpCache: 3 * MIB,
  codeHash: 4 * MIB,
  /** One i64 a host page: which 64-byte pieces of it hold translated code. */
  codeMasks: 8 * MIB,
  coldCode: 16 * MIB,
  coldCodeEnd: 110 * MIB,
  /** A byte for each host page: 0 while no TLB can have an entry that stores to it in place. */
  storedPages: 110 * MIB,
  /** Code of an instruction that is executed once. */
  singleStep: 111 * MIB,
  guestRam: GUEST_RAM_START,
} as const;

/**
 * Guest instructions in a block, in both tiers: blocks begin at the same places whether code is cold or hot, so that with
 * -icount interrupts are taken at the same instructions.
 */
export const MAX_BLOCK_INSTRUCTIONS = 48;

/** Counters of entries into regions. */
export const REGION_COUNTERS = 1 << 16;

/** Bytes of edge cells that a batch of regions may need. */
export const EDGE_CELL_RESERVE = 96 * KIB;

/** Entries in the flush log; more than that, and a flush looks at every TLB entry. */
export const FLUSH_LOG_ENTRIES = 1023;
/** Entries in the edge log; more than that, and a flush forgets all ways from code to code. */
export const EDGE_LOG_ENTRIES = 4095;

/**
 * RAM block in the table: guest-physical start and end, host address of the start, flags. Before the table, at `storedPages`: how many
 * of layout.storedPages a flush of a vCPU's whole TLB clears (i32): all, or none where there are more vCPUs.
 */
export const ramBlock = {
  storedPages: 4,
  start: 0,
  end: 8,
  hva: 16,
  flags: 20,
  bytes: 32,
  first: 64,
  most: 32,
} as const;
/** `logged`: what is written to it goes into the dirty log. */
export const ramFlag = { readonly: 1, logged: 2 } as const;

/** Where a state's temp slots start, given the size of the guest's part. */
export function tempBase(stateBytes: number): number {
  const base = Math.ceil(stateBytes / 64) * 64;
  if (base + TEMP_SLOTS * 16 > 128 * KIB) throw new Error('vring invariant broken: the vCPU state is too large');
  return base;
}

/**
 * By how much a vCPU's generation grows: what is left over when it is divided by this is the vCPU's number and 1. So no vCPU takes
 * another's entry of the jump cache, or edge between pages, for its own, and all can share them.
 */
export const GENERATION_STEP = 256;
/** The most vCPUs of a machine. */
export const MAX_VCPUS = GENERATION_STEP - 1;

export const PAGE_BYTES = 65536;
/** Pages of 64 KiB that a machine with `ramBytes` of guest RAM and ROM and so many vCPUs needs. */
export function memoryPages(ramBytes: number, vcpus: number): number {
  return Math.ceil((layout.guestRam + ramBytes) / PAGE_BYTES) + ((vcpus - 1) * vcpuLayout.bytes) / PAGE_BYTES;
}
