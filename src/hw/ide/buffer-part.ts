/** A buffer's bytes as part of a saved state: those in use, u32 length first. */
import { StateError } from '../../schema/index.js';
import type { StatePart } from '../pci/saved-parts.js';

export function bufferPart(buffer: Uint8Array, used: () => number): StatePart {
  return {
    save: () => {
      const length = Math.min(used(), buffer.length);
      const saved = new Uint8Array(4 + length);
      new DataView(saved.buffer).setUint32(0, length, true);
      saved.set(buffer.subarray(0, length), 4);
      return saved;
    },
    load: (saved) => {
      const length = saved.length - 4;
      const view = new DataView(saved.buffer, saved.byteOffset, saved.length);
      if (length < 0 || length > buffer.length || view.getUint32(0, true) !== length)
        throw new StateError('state-truncated', 'The saved state of a buffer is cut short or damaged.');
      buffer.set(saved.subarray(4));
    },
  };
}
