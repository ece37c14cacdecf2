/** header.leaveReason: why translated x86 code left with exitCode.leave. */
export const leaveReason = {
  /** HLT: wait for an interrupt; pc is past it. */
  halt: 1,
  /** MWAIT: the same, and an interrupt ends it even while IF is clear. */
  mwait: 2,
} as const;
