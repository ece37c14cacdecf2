/** The immediate of a guest memory access. */
export const access = {
  /** Bits 0-3: MMU index (which of the vCPU's translation contexts; the guest CPU numbers them). */
  mmuMask: 15,
  /** A load that belongs to a read-modify-write: faults as a write does. */
  forWrite: 1 << 4,
  /** Part of a locked read-modify-write: atomic between vCPUs. While vCPUs take turns in one thread a plain access is that already. */
  locked: 1 << 5,
} as const;

/** How an indirect jump came about: what the predictors of the engine may make of it. */
export const jumpKind = { indirect: 0, call: 1, return: 2 } as const;
