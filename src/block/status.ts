/** Block status of one layer and along a backing chain: what QEMU does in `bdrv_co_block_status` and `bdrv_common_block_status_above`. */
import { assert } from '../base/index.js';
import { alignDown, alignUp } from './alignment.js';
import { BlockError } from './errors.js';
import type { BlockNode, BlockStatus, ChainStatus } from './node.js';

/** One layer's answer before it is brought together with that of the node below, where one is to be asked. */
interface Asked {
  /** Bytes that the answer holds for. */
  readonly size: number;
  readonly answer: BlockStatus;
  readonly below?: { readonly node: BlockNode; readonly offset: number };
}

/** What a layer without a status of its own says; undefined: ask `node.file`. */
function plainStatus(node: BlockNode, offset: number, length: number): BlockStatus | undefined {
  if (offset >= node.length) return { length, data: false, zero: true, allocated: false };
  if (node.instance.blockStatus || (node.driver.kind === 'filter' && node.file)) return undefined;
  return {
    length: Math.min(length, node.length - offset),
    data: true,
    zero: false,
    allocated: true,
    ...(node.driver.kind === 'protocol' ? { offset, file: node } : {}),
  };
}

function alignedRange(
  node: BlockNode,
  offset: number,
  length: number,
): { readonly start: number; readonly length: number } {
  const alignment = node.limits.requestAlignment;
  const start = alignDown(offset, alignment);
  const end = alignUp(offset + Math.min(length, node.length - offset), alignment);
  return { start, length: end - start };
}

function examine(
  node: BlockNode,
  offset: number,
  length: number,
  start: number,
  answer: BlockStatus,
  wantZero: boolean,
): Asked {
  const size = Math.min(length, node.length - offset, answer.length - (offset - start));
  assert(size > 0, `${node.driver.name} gave an empty block status`);
  const isRecursive = answer.recurse && wantZero && answer.data && answer.file !== node;
  if (!answer.file || answer.offset === undefined || !(answer.passthrough || isRecursive)) return { size, answer };
  return { size, answer, below: { node: answer.file, offset: answer.offset + (offset - start) } };
}

function conclude(node: BlockNode, offset: number, start: number, asked: Asked, inner?: BlockStatus): BlockStatus {
  const { answer, below } = asked;
  if (answer.passthrough && inner) return inner;
  let { size } = asked;
  const { data, allocated, file, compressed } = answer;
  let { zero } = answer;
  if (!data && !zero && !allocated) {
    const { backing } = node;
    if (!backing || offset >= backing.length) zero = true;
  }
  if (inner && below) {
    if (below.offset >= below.node.length) zero = true;
    else {
      size = Math.min(size, inner.length);
      if (inner.zero) zero = true;
    }
  }
  if (compressed) return { length: size, data, zero, allocated, compressed };
  if (answer.offset === undefined || !file) return { length: size, data, zero, allocated };
  return { length: size, data, zero, allocated, offset: answer.offset + (offset - start), file };
}

/** The state of one layer from `offset` on (BlockNode.blockStatus), from what its driver and, for raw and filters, its child say. */
export async function layerStatus(
  node: BlockNode,
  offset: number,
  length: number,
  wantZero: boolean,
): Promise<BlockStatus> {
  const plain = plainStatus(node, offset, length);
  if (plain) return plain;
  const { instance } = node;
  if (!instance.blockStatus) return node.file!.blockStatus(offset, Math.min(length, node.length - offset), wantZero);
  const range = alignedRange(node, offset, length);
  const answer = await instance.blockStatus(range.start, range.length, wantZero);
  const asked = examine(node, offset, length, range.start, answer, wantZero);
  const inner = asked.below && (await asked.below.node.blockStatus(asked.below.offset, asked.size, wantZero));
  return conclude(node, offset, range.start, asked, inner);
}

/** The same where all that is asked have their answer at hand. */
export function layerStatusNow(
  node: BlockNode,
  offset: number,
  length: number,
  wantZero: boolean,
): BlockStatus | undefined {
  const plain = plainStatus(node, offset, length);
  if (plain) return plain;
  const { instance } = node;
  if (!instance.blockStatus)
    return layerStatusNow(node.file!, offset, Math.min(length, node.length - offset), wantZero);
  if (!instance.statusNow) return undefined;
  const range = alignedRange(node, offset, length);
  const answer = instance.statusNow(range.start, range.length, wantZero);
  if (!answer) return undefined;
  const asked = examine(node, offset, length, range.start, answer, wantZero);
  const inner = asked.below && layerStatusNow(asked.below.node, asked.below.offset, asked.size, wantZero);
  return asked.below && !inner ? undefined : conclude(node, offset, range.start, asked, inner);
}

/** Plain literals: spreading costs several times as much, and a map asks a hundred thousand times. */
function atDepth(status: BlockStatus, length: number, depth: number, node: BlockNode): ChainStatus {
  const { data, zero, allocated, offset, file } = status;
  if (status.compressed) return { length, data, zero, allocated, compressed: true, depth, node };
  if (offset === undefined || !file) return { length, data, zero, allocated, depth, node };
  return { length, data, zero, allocated, offset, file, depth, node };
}

/** What lies at `offset`, looking down the backing chain (BlockNode.chainStatus). */
export async function statusAlongChain(
  top: BlockNode,
  offset: number,
  length: number,
  base?: BlockNode,
): Promise<ChainStatus> {
  if (!Number.isSafeInteger(offset) || offset < 0) throw new BlockError('EIO');
  let node = top;
  let size = Math.min(length, Math.max(0, top.length - offset));
  if (size === 0) return { length, data: false, zero: true, allocated: false, depth: 0, node: top };
  let depth = 0;
  for (;;) {
    if (depth > 0 && offset >= node.length) {
      // The layer above deferred to this one, which ends before: zeroes that belong here.
      return { length: size, data: false, zero: true, allocated: true, depth, node };
    }
    const status = layerStatusNow(node, offset, size, true) ?? (await node.blockStatus(offset, size));
    size = Math.min(size, status.length);
    if (status.allocated) return atDepth(status, size, depth, node);
    const below: BlockNode | undefined = node.skipFilters().backing;
    if (!below || below === base) return atDepth(status, size, depth, node);
    node = below;
    depth++;
  }
}
