/** Commit: the contents of an overlay (and of all layers between) go down into a node below it. */
import { BlockError, errorCode, errorText } from '../errors.js';
import type { GraphNode } from '../graph-node.js';
import { type JobOptions, RateLimit } from './job.js';

const stepBytes = 2 ** 21;

export interface CommitOptions extends JobOptions {
  /** Deallocate the overlay's own clusters afterwards, as they now equal the base's. */
  readonly emptyTop: boolean;
}

/** Copies what lies above `base` into it; the base is opened for writing meanwhile. `top` must not be written concurrently. */
export async function commitChain(top: GraphNode, base: GraphNode, options: CommitOptions): Promise<void> {
  const wasReadOnly = base.readOnly;
  await base.setReadOnly(false);
  try {
    if (base.length < top.length) await base.resize(top.length);
    try {
      await copyDown(top, base, options);
    } catch (error) {
      options.signal?.throwIfAborted();
      throw new BlockError(errorCode(error), `Block job failed: ${errorText(errorCode(error))}`);
    }
    // A format that can't be emptied keeps what it has: the same that is in its backing file now.
    if (options.emptyTop && top.instance.makeEmpty) {
      try {
        await top.instance.makeEmpty();
        await top.flush();
      } catch (error) {
        throw new BlockError(errorCode(error), `Failed to empty ${top.filename}: ${errorText(errorCode(error))}`);
      }
    }
  } catch (error) {
    // What fails in the same way once more is not what is to be told.
    if (wasReadOnly) await base.setReadOnly(true).catch(() => undefined);
    throw error;
  }
  if (wasReadOnly) await base.setReadOnly(true);
}

async function copyDown(top: GraphNode, base: GraphNode, options: CommitOptions): Promise<void> {
  const buffer = top.host.allocate(stepBytes);
  const limit = new RateLimit(top.host, options);
  const total = top.length;
  for (let at = 0; at < total; ) {
    options.signal?.throwIfAborted();
    const status = await top.chainStatus(at, Math.min(total - at, 2 ** 30), base);
    let size = status.length;
    if (status.allocated || (status.zero && status.node !== top && at >= base.length)) {
      if (status.zero) await base.writeZeroes(at, size, 2);
      else {
        size = Math.min(size, stepBytes);
        const part = buffer.subarray(0, size);
        await top.read(at, part);
        if (top.host.isZero(part)) await base.writeZeroes(at, size, 0);
        else await base.write(at, part);
        await limit.spend(size);
      }
    }
    at += size;
    options.progress?.(at, total);
  }
  await base.flush();
}
