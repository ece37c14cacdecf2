/** Blocks of a CD with the frame around them that READ CD gives: Mode 1 sectors of 2352 bytes (ECMA-130, clause 14). */
import { cdBlockBytes } from '../scsi/cd-unit.js';

export const rawBlockBytes = 2352;
const headerBytes = 16;
const binaryCoded = (value: number) => ((Math.floor(value / 10) << 4) | (value % 10)) & 0xff;

/**
 * Spreads `count` blocks of 2048 bytes at the start of `buffer` to raw ones, from the last on. Gives their bytes. Error detection
 * and correction codes are zero, as from drives that have none.
 */
export function rawBlocks(buffer: Uint8Array, firstBlock: number, count: number): number {
  for (let i = count - 1; i >= 0; i--) {
    const at = i * rawBlockBytes;
    buffer.copyWithin(at + headerBytes, i * cdBlockBytes, (i + 1) * cdBlockBytes);
    const frame = firstBlock + i + 150;
    buffer[at] = 0;
    buffer.fill(0xff, at + 1, at + 11);
    buffer[at + 11] = 0;
    buffer[at + 12] = binaryCoded(Math.floor(frame / (75 * 60)));
    buffer[at + 13] = binaryCoded(Math.floor(frame / 75) % 60);
    buffer[at + 14] = binaryCoded(frame % 75);
    buffer[at + 15] = 1;
    buffer.fill(0, at + headerBytes + cdBlockBytes, at + rawBlockBytes);
  }
  return count * rawBlockBytes;
}
