/** Block status of one layer and along a backing chain: what QEMU does in `bdrv_co_block_status` and `bdrv_common_block_status_above`. */
import { assert } from '../base/index.js';
import { alignDown, alignUp } from './alignment.js';
import { BlockError } from './errors.js';
import { type BlockNode, type BlockStatus, type ChainStatus, RunKind, type StatusRuns } from './node.js';

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

/** Must the node that an answer names be asked too? */
function asksBelow(node: BlockNode, answer: BlockStatus, wantZero: boolean): boolean {
  if (!answer.file || answer.offset === undefined) return false;
  return answer.passthrough === true || (answer.recurse === true && wantZero && answer.data && answer.file !== node);
}

/** Bytes from `offset` on that the answer holds for, which was given for the range from `start` on. */
function sizeOf(node: BlockNode, offset: number, length: number, start: number, answer: BlockStatus): number {
  const size = Math.min(length, node.length - offset, answer.length - (offset - start));
  assert(size > 0, `${node.driver.name} gave an empty block status`);
  return size;
}

/** A layer's answer brought together with that of the node below, where that was asked. */
function conclude(
  node: BlockNode,
  offset: number,
  start: number,
  size: number,
  answer: BlockStatus,
  inner?: BlockStatus,
): BlockStatus {
  if (answer.passthrough && inner) return inner;
  const { data, allocated, file, compressed } = answer;
  let { zero } = answer;
  if (!data && !zero && !allocated) {
    const { backing } = node;
    if (!backing || offset >= backing.length) zero = true;
  }
  if (inner) {
    if (answer.offset! + (offset - start) >= file!.length) zero = true;
    else {
      size = Math.min(size, inner.length);
      if (inner.zero) zero = true;
    }
  }
  // Most answers stand as they are.
  if (size === answer.length && zero === answer.zero && offset === start && !answer.recurse && !answer.passthrough)
    return answer;
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
  const size = sizeOf(node, offset, length, range.start, answer);
  const inner = asksBelow(node, answer, wantZero)
    ? await answer.file!.blockStatus(answer.offset! + (offset - range.start), size, wantZero)
    : undefined;
  return conclude(node, offset, range.start, size, answer, inner);
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
  const isAligned = node.limits.requestAlignment === 1 && offset + length <= node.length;
  const range = isAligned ? undefined : alignedRange(node, offset, length);
  const start = range ? range.start : offset;
  const answer = instance.statusNow(start, range ? range.length : length, wantZero);
  if (!answer) return undefined;
  const size = sizeOf(node, offset, length, start, answer);
  if (!asksBelow(node, answer, wantZero)) return conclude(node, offset, start, size, answer);
  const inner = layerStatusNow(answer.file!, answer.offset! + (offset - start), size, wantZero);
  return inner && conclude(node, offset, start, size, answer, inner);
}

export function newStatusRuns(capacity: number): StatusRuns {
  return {
    lengths: new Float64Array(capacity),
    offsets: new Float64Array(capacity),
    kinds: new Uint8Array(capacity),
    count: 0,
    file: undefined,
  };
}

/** `layerStatusNow` for many runs at once: those from `offset` on are in `runs` then. None: ask for one. */
export function layerRunsNow(node: BlockNode, offset: number, length: number, runs: StatusRuns): void {
  const { instance } = node;
  runs.count = 0;
  if (!instance.runsNow || node.limits.requestAlignment !== 1 || offset + length > node.length) return;
  instance.runsNow(offset, length, runs);
  const backingLength = node.backing?.length ?? 0;
  for (let index = 0, at = offset; index < runs.count; index++) {
    // As in `conclude`: nothing here, and nothing below that could show through.
    if (runs.kinds[index] === 0 && at >= backingLength) runs.kinds[index] = RunKind.zero;
    at += runs.lengths[index]!;
  }
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
