/** Block status of one layer and along a backing chain: what QEMU does in `bdrv_co_block_status` and `bdrv_common_block_status_above`. */
import { assert } from '../base/index.js';
import { alignDown, alignUp } from './alignment.js';
import type { BlockNode, BlockStatus, ChainStatus } from './node.js';

/** The state of one layer from `offset` on (BlockNode.blockStatus), from what its driver and, for raw and filters, its child say. */
export async function layerStatus(
  node: BlockNode,
  offset: number,
  length: number,
  wantZero: boolean,
): Promise<BlockStatus> {
  const total = node.length;
  if (offset >= total) return { length, data: false, zero: true, allocated: false };
  const instance = node.instance;
  let size = Math.min(length, total - offset);
  const alignment = node.limits.requestAlignment;
  const start = alignDown(offset, alignment);
  if (!instance.blockStatus) {
    const below = node.driver.kind === 'filter' ? node.file : undefined;
    if (below) return below.blockStatus(offset, size, wantZero);
    return {
      length: size,
      data: true,
      zero: false,
      allocated: true,
      ...(node.driver.kind === 'protocol' ? { offset, file: node } : {}),
    };
  }
  const answer = await instance.blockStatus(start, alignUp(offset + size, alignment) - start, wantZero);
  size = Math.min(size, answer.length - (offset - start));
  assert(size > 0, `${node.driver.name} gave an empty block status`);
  if (answer.passthrough) {
    const status = await answer.file!.blockStatus(answer.offset! + (offset - start), size, wantZero);
    return status;
  }
  let { data, zero, allocated } = answer;
  if (data || zero) allocated = answer.allocated;
  else if (!allocated) {
    const below = node.backing;
    if (!below) zero = true;
    else if (offset >= below.length) zero = true;
  }
  const mapped = answer.offset === undefined ? {} : { offset: answer.offset + (offset - start), file: answer.file! };
  if (answer.recurse && wantZero && data && answer.offset !== undefined && answer.file && answer.file !== node) {
    const inner = await answer.file.blockStatus(answer.offset + (offset - start), size, true);
    if (answer.offset + (offset - start) >= answer.file.length) zero = true;
    else {
      size = Math.min(size, inner.length);
      if (inner.zero) zero = true;
    }
  }
  return { length: size, data, zero, allocated, ...mapped, ...(answer.compressed ? { compressed: true } : {}) };
}

/** What lies at `offset`, looking down the backing chain (BlockNode.chainStatus). */
export async function statusAlongChain(
  top: BlockNode,
  offset: number,
  length: number,
  base?: BlockNode,
): Promise<ChainStatus> {
  let node = top;
  let size = Math.min(length, Math.max(0, top.length - offset));
  if (size === 0) return { length, data: false, zero: true, allocated: false, depth: 0, node: top };
  let depth = 0;
  for (;;) {
    if (depth > 0 && offset >= node.length) {
      // The layer above deferred to this one, which ends before: zeroes that belong here.
      return { length: size, data: false, zero: true, allocated: true, depth, node };
    }
    const status = await node.blockStatus(offset, size);
    size = Math.min(size, status.length);
    if (status.allocated) return { ...status, length: size, depth, node };
    const below: BlockNode | undefined = node.skipFilters().backing;
    if (!below || below === base) return { ...status, length: size, depth, node };
    node = below;
    depth++;
  }
}
