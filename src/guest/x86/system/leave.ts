/** header.leaveReason: why translated x86 code left with exitCode.leave; and what tells of a change of the ring. */
import { routines } from '../routines/set.js';

export const leaveReason = {
  /** HLT: wait for an interrupt; pc is past it. */
  halt: 1,
  /** MWAIT: the same, and an interrupt ends it even while IF is clear. */
  mwait: 2,
} as const;

/** X86Board.transfer: (the opcode's last byte). Called in the mode that keyBit.lens says. */
export const ringTransfer = routines.host('ring_transfer', ['i32'], [], { vars: 'read' });
