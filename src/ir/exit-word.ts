/**
 * The exit word: the one i32 with which translated code returns to the dispatcher. It describes itself, so that an exit
 * costs a constant and a jump, and no table is needed.
 *
 *   bits 0-15   signed distance from the address at which the code was entered to the guest's next pc
 *   bits 16-23  value for the deferred variable, or 255: it is in its home already
 *   bits 24-30  exit code
 */
export const exitCode = {
  /** Go on at the new pc. */
  next: 0,
  /** A loop has used up its budget; go on, but look at the clock soon. */
  budget: 1,
  /**
   * A guest fault is described in the state; pc is the faulting instruction's. With no trap code there: a store hit translated
   * code and was turned back; nothing of the instruction at pc has happened yet.
   */
  fault: 2,
  /** Something that interrupts depend on has changed (e.g. they were enabled): look at them before going on. */
  checkInterrupts: 4,
  /** JavaScript must act: the reason is in the state (`leaveReason`). pc is past the instruction. */
  leave: 5,
  /** This cold block has become hot; nothing of it has run. */
  hot: 6,
  /** The dispatcher found no code at pc. */
  missing: 7,
  /** The kick word was set. */
  kick: 8,
  /** This code has been dropped or replaced, nothing of it has run: look the pc up again. */
  stale: 9,
  /** The dispatcher has entered this region very often; nothing of it has run this time. */
  busy: 10,
} as const;

/**
 * As the trap code of trap_if: no fault. Code leaves before the current instruction as it does behind one with checkInterrupts: the
 * mode or what may interrupt has changed. So a block need not end where that is possible, but seldom happens.
 */
export const LOOK_AGAIN = -1;

/**
 * As a trap code: no fault. The access that the code begins the current instruction with could not speak for those behind it
 * (wasm/access-spans.ts): the instruction is to run by itself.
 */
export const APART = -2;

export const DEFERRED_UNCHANGED = 255;

/** Does a distance fit an exit word? Others are added to the pc's home by the code itself, and the word says 0. */
export function fitsExitWord(delta: number): boolean {
  return delta === (delta << 16) >> 16;
}

/** `delta` is -32768..32767, `deferred` 0..254 or DEFERRED_UNCHANGED. */
export function exitWord(code: number, delta: number, deferred: number): number {
  return (code << 24) | (deferred << 16) | (delta & 0xffff);
}
