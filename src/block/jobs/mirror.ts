/**
 * Mirror: makes a target equal to a source that is being written, and keeps it so until told to stop. What is written meanwhile is
 * noted in a dirty bitmap and copied again.
 */
import { SparseBitmap } from '../dirty-bitmap.js';
import { BlockError } from '../errors.js';
import type { GraphNode } from '../graph-node.js';
import type { BlockNode } from '../node.js';
import { RequestFlag } from '../node.js';
import { type JobOptions, jobRequest, RateLimit } from './job.js';

const stepBytes = 2 ** 20;
const parallelCopies = 4;

export interface MirrorOptions extends JobOptions {
  /** `full`: everything; `top`: what the layers above `base` have; `none`: only what is written from now on. */
  readonly sync?: 'full' | 'top' | 'none';
  /** For `top`: below the source; by default its backing node. */
  readonly base?: GraphNode;
  readonly granularity?: number;
  /** Bitmap that says what to copy at first, in place of `sync`. */
  readonly bitmap?: SparseBitmap;
}

export class MirrorJob {
  readonly #source: GraphNode;
  readonly #target: BlockNode;
  readonly #options: MirrorOptions;
  readonly #dirty: SparseBitmap;
  readonly #limit: RateLimit;
  #done = 0;
  #isMarked = false;
  #isReady = false;

  constructor(source: GraphNode, target: BlockNode, options: MirrorOptions = {}) {
    if (target.length < source.length) throw new BlockError('EINVAL', 'Source and target image have different sizes');
    this.#source = source;
    this.#target = target;
    this.#options = options;
    this.#dirty = new SparseBitmap('mirror', options.granularity ?? 65536, source.length);
    this.#limit = new RateLimit(source.host, options);
    source.addBitmap(this.#dirty);
  }

  /** True once source and target were equal; from then on only new writes are copied. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** Bytes that are known to differ. */
  get dirtyBytes(): number {
    return this.#dirty.countBytes();
  }

  /** Copies until both are equal. Writes to the source may go on; call again to catch up with them, or to try again after an error. */
  async run(): Promise<void> {
    if (!this.#isMarked) await this.#markInitial();
    this.#isMarked = true;
    this.#options.progress?.(this.#done, this.#done + this.dirtyBytes);
    while (this.#dirty.countBytes() > 0) await this.#pass(true);
    this.#isReady = true;
  }

  async #markInitial(): Promise<void> {
    const { sync = 'full', bitmap } = this.#options;
    const source = this.#source;
    if (bitmap) this.#dirty.merge(bitmap);
    else if (sync === 'full') this.#dirty.setAll();
    else if (sync === 'top') {
      const top = source.skipFilters();
      const base = this.#options.base ?? top.backing;
      for (let at = 0; at < source.length; ) {
        const status = await top.chainStatus(at, Math.min(source.length - at, 2 ** 30), base);
        if (status.allocated) this.#dirty.set(at, status.length);
        at += status.length;
      }
    }
  }

  async #pass(isLimited: boolean): Promise<void> {
    const source = this.#source;
    const running = new Set<Promise<void>>();
    let failure: unknown;
    let at = 0;
    const total = source.length;
    while (at < total && failure === undefined) {
      this.#options.signal?.throwIfAborted();
      const run = this.#dirty.run(at, total - at);
      if (!run.dirty) {
        at += run.length;
        continue;
      }
      const offset = at;
      const size = Math.min(run.length, stepBytes);
      // Cleared before the read: a write that comes while it lasts marks it again.
      this.#dirty.clear(offset, size);
      while (running.size >= parallelCopies) await Promise.race(running);
      const copy: Promise<void> = this.#copy(offset, size)
        .catch((error) => {
          failure ??= error;
          this.#dirty.set(offset, size);
        })
        .finally(() => running.delete(copy));
      running.add(copy);
      at += size;
      if (isLimited) await this.#limit.spend(size);
    }
    await Promise.all(running);
    if (failure !== undefined) throw failure;
  }

  async #copy(offset: number, size: number): Promise<void> {
    const source = this.#source;
    const target = this.#target;
    for (let at = offset; at < offset + size; ) {
      const status = await source.chainStatus(at, offset + size - at);
      const length = Math.min(status.length, offset + size - at);
      if (status.zero) await jobRequest('write', target.writeZeroes(at, length, RequestFlag.mayUnmap));
      else {
        const buffer = source.host.allocate(length);
        await jobRequest('read', source.read(at, buffer));
        await jobRequest('write', target.write(at, buffer));
      }
      at += length;
    }
    this.#done += size;
    this.#options.progress?.(this.#done, this.#done + this.#dirty.countBytes());
  }

  /** Waits for the source's requests, copies the last of them at full speed, flushes the target. The source must not be written after. */
  async complete(): Promise<void> {
    try {
      await this.#source.drain();
      while (this.#dirty.countBytes() > 0) await this.#pass(false);
      await jobRequest('write', this.#target.flush());
    } finally {
      this.#stop();
    }
  }

  cancel(): void {
    this.#stop();
  }

  #stop(): void {
    this.#source.removeBitmap(this.#dirty);
  }
}
