/** header.leaveReason: why translated x86 code left with exitCode.leave; and what tells of a change of the ring. */
import { exitCode, header } from '../../../ir/index.js';
import { updateMode } from '../mode.js';
import { routines } from '../routines/set.js';
import { field } from '../state.js';
import type { Translator } from '../translator.js';

export const leaveReason = {
  /** HLT: wait for an interrupt; pc is past it. */
  halt: 1,
  /** MWAIT: the same, and an interrupt ends it even while IF is clear. */
  mwait: 2,
  /** PAUSE where other vCPUs wait for their turn. */
  pause: 3,
} as const;

/** field.halted while the vCPU waits for a start-up IPI; otherwise it is the leave reason of what it sleeps in, or 0. */
export const WAIT_FOR_SIPI = 4;

/** X86Board.transfer: (the opcode's last byte). Called in the mode that keyBit.lens says. */
export const ringTransfer = routines.host('ring_transfer', ['i32'], [], { vars: 'read' });

/** Ends the block with the instruction: the engine acts on the reason. */
export function leaveFor(t: Translator, reason: number): void {
  const { b } = t;
  if (t.mode.shadow) {
    b.i32_store(b.state(), b.i32(0), field.interruptShadow);
    b.call(updateMode);
  }
  b.i32_store(b.state(), b.i32(reason), header.leaveReason);
  b.leave(exitCode.leave, t.nextDelta);
  t.blockEnded();
}
