/**
 * The first bytes of every vCPU's state: what the engine and all guests share. The guest's own fields follow at
 * HEADER_BYTES. Offsets are in bytes; the state is 64-byte aligned.
 */
export const header = {
  /** i32, set to 1 (atomically) by any thread that wants the vCPU's attention; the dispatcher looks at every hop. */
  kick: 0,
  /** i32: an interrupt controller has something deliverable. */
  interruptPending: 4,
  /** i32: every mode bit that translated code assumes, as the guest CPU packs it. Code is found by (physical pc, key). */
  modeKey: 8,
  /**
   * i32: bumped by a flush of the whole TLB and whenever code is dropped: with modeKey (one 64-bit load) it says whether an
   * entry of the jump cache still holds.
   */
  generation: 12,
  /** i32: the guest fault, as the guest CPU packs it; 0: none. */
  trapCode: 16,
  /** i32: current MMU index. */
  mmu: 20,
  /** i32: host address of the current MMU index's TLB, and its index mask shifted left by TLB_ENTRY_SHIFT. */
  tlb: 24,
  tlbMask: 28,
  /** i64: the guest's pc (x86: RIP/EIP without the segment's base). See GuestVars.pcOffset. */
  pc: 32,
  /** i64: what pc is masked with after an exit (all ones; 0xffffffff; 0xffff). */
  pcMask: 40,
  /** i64: what is added to pc to give the address that instruction fetch translates (x86: the base of CS). */
  pcBase: 48,
  /** i64: guest instructions begun, kept only with -icount. */
  instructions: 56,
  /** i64: with -icount no block may begin that would take `instructions` past this. */
  instructionLimit: 80,
  /** i32: why code left with exitCode.leave; the guest CPU numbers its reasons. */
  leaveReason: 64,
  /** i32: hops from code to code until the dispatcher returns to look at the clock. */
  hops: 68,
  /** i32: address of the cold code that has become hot, or index of the region that is busy. */
  currentCode: 72,
  /** i32 counters: TLB flushes; misses of the jump cache; TLB refills. */
  flushes: 76,
  lookups: 88,
  refills: 92,
  /** i32 host addresses of the tables of each MMU index (MMU_CONTEXTS of up to 8), then their masks. */
  tlbs: 96,
  tlbMasks: 128,
  /** 16 bytes where the slow path puts a loaded value that has no host address (MMIO, two pages). */
  bounce: 160,
  /** Space for results that JavaScript hands back to routines. */
  scratch: 176,
} as const;

export const HEADER_BYTES = 256;
/** Translation contexts, each with a TLB of its own: what an MMU index is below. */
export const MMU_CONTEXTS = 4;

/** A TLB entry: three tags (page address, or -1), then what is added to the low 32 bits of an address. */
export const tlbEntry = { readTag: 0, writeTag: 8, execTag: 16, addend: 24 } as const;
export const TLB_ENTRY_SHIFT = 5;

/**
 * Index of a 32-bit word of a vCPU's state in a view of the machine's memory, by its offset: a field of `header` or of the guest. Addresses
 * from 2^31 on are there too, so the shift has no sign.
 */
export const stateWord = (state: number, offset: number): number => (state + offset) >>> 2;
