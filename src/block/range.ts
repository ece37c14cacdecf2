import { BlockError } from './errors.js';
import type { BlockNode } from './node.js';

export const maxRequestBytes = 2 ** 31 - 512;

/** Refuses a request that does not lie within the disk, as servers and devices must before they pass it on. */
export function checkRange(node: BlockNode, offset: number, length: number): void {
  if (
    !Number.isSafeInteger(offset) ||
    !Number.isSafeInteger(length) ||
    offset < 0 ||
    length < 0 ||
    length > maxRequestBytes ||
    offset + length > node.length
  ) {
    throw new BlockError('EIO');
  }
}
