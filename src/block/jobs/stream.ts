/** Stream: copies what an image shows of its backing chain into the image itself, so that it no longer needs the chain (down to `base`). */
import { BlockError } from '../errors.js';
import type { BlockGraph } from '../graph.js';
import type { GraphNode } from '../graph-node.js';
import { RequestFlag } from '../node.js';
import { type JobOptions, RateLimit } from './job.js';

const stepBytes = 512 * 1024;

export interface StreamOptions extends JobOptions {
  /** Stays as the backing file; none by default. */
  readonly base?: GraphNode;
  /** Stored as the backing file's name and format; by default the base's own. */
  readonly backingFile?: string;
  readonly backingFormat?: string;
}

/** The node may be used, read and written, meanwhile. */
export async function streamChain(graph: BlockGraph, top: GraphNode, options: StreamOptions = {}): Promise<void> {
  await copyUp(top, options);
  await leaveChain(graph, top, options);
}

/** The work of a stream; afterwards the layers between are of no use to the image. */
export async function copyUp(top: GraphNode, options: StreamOptions = {}): Promise<void> {
  const { base } = options;
  for (let at: GraphNode | undefined = top; base && at !== base; at = at.backing) {
    if (!at) throw new BlockError('EINVAL', 'The base is not in the backing chain');
  }
  const limit = new RateLimit(top.host, options);
  const buffer = top.host.allocate(stepBytes);
  const total = top.length;
  for (let at = 0; at < total; ) {
    options.signal?.throwIfAborted();
    const own = await top.blockStatus(at, Math.min(total - at, 2 ** 30), false);
    let size = own.length;
    if (!own.allocated) {
      const below = await top.chainStatus(at, Math.min(size, stepBytes), base);
      size = below.length;
      if (below.allocated || (!base && !below.zero)) {
        await top.read(at, buffer.subarray(0, size), RequestFlag.copyOnRead | RequestFlag.prefetch);
        await limit.spend(size);
      } else if (base === undefined) size = below.length;
    }
    at += size;
    options.progress?.(at, total);
  }
  await top.flush();
}

/** The end of a stream: the image stands on `base`, or on nothing. */
export async function leaveChain(graph: BlockGraph, top: GraphNode, options: StreamOptions = {}): Promise<void> {
  const { base } = options;
  await top.drain();
  await top.instance.changeBackingFile?.(
    base ? (options.backingFile ?? base.filename) : undefined,
    base ? (options.backingFormat ?? base.driver.name) : undefined,
  );
  await graph.setBacking(top, base?.retain());
}
