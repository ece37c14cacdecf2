/**
 * A GICv2m frame (Arm Server Base System Architecture, DEN 0029, appendix E): a write of a shared interrupt's number makes that interrupt
 * pending. It is how message-signalled interrupts reach a GICv2.
 */
import type { IoHandler, IrqLine } from '../../bus/index.js';

export const GICV2M_BYTES = 0x1000;
const TYPER = 0x008;
export const GICV2M_SETSPI = 0x040;

/** `lines`: the interrupts that the frame has, edge-triggered, from number `first` on. */
export function gicv2m(first: number, lines: readonly IrqLine[]): IoHandler {
  return {
    read: (offset, size) => {
      if (size !== 4) return 0;
      if (offset === TYPER) return (first << 16) | lines.length;
      return 0;
    },
    write: (offset, _size, value) => {
      if (offset !== GICV2M_SETSPI) return;
      const line = lines[(value & 1023) - first];
      line?.set(true);
      line?.set(false);
    },
  };
}
