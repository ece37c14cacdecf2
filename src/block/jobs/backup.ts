/**
 * Backup: copies a disk as it is at this moment to a target, while it goes on being written: what is about to be overwritten is
 * copied first.
 */
import type { SparseBitmap } from '../dirty-bitmap.js';
import { SparseBitmap as Bitmap } from '../dirty-bitmap.js';
import { BlockError } from '../errors.js';
import type { GraphNode } from '../graph-node.js';
import type { BlockNode } from '../node.js';
import { RequestFlag } from '../node.js';
import { type JobOptions, jobRequest, RateLimit } from './job.js';

const minGrainBytes = 65536;

export interface BackupOptions extends JobOptions {
  /** `full`, `top` (what the top layer has), `incremental` (what `bitmap` says), `none` (only what gets overwritten). */
  readonly sync?: 'full' | 'top' | 'incremental' | 'none';
  /** For `incremental`: emptied when the backup begins, so that it tells what is written from then on; a backup that fails gives back what it had. */
  readonly bitmap?: SparseBitmap;
  /** What is copied is stored compressed, in pieces of whole clusters: `grainBytes`, a power of two, is one of the target's at least. */
  readonly compresses?: boolean;
  readonly grainBytes?: number;
}

export class BackupJob {
  readonly #source: GraphNode;
  readonly #target: BlockNode;
  readonly #options: BackupOptions;
  /** What is still to be copied. */
  readonly #todo: SparseBitmap;
  readonly #grain: number;
  readonly #busy = new Map<number, Promise<void>>();
  readonly #hook: (offset: number, length: number) => Promise<void> | undefined;
  #failure: unknown;
  #done = 0;
  /** What the bitmap had. */
  readonly #wanted: SparseBitmap | undefined;
  readonly #total: number;

  constructor(source: GraphNode, target: BlockNode, options: BackupOptions = {}) {
    if (target.length < source.length) throw new BlockError('EINVAL', 'Source and target image have different sizes');
    if ((options.sync === 'incremental') !== (options.bitmap !== undefined))
      throw new BlockError('EINVAL', "sync mode 'incremental' needs a bitmap, and only that");
    this.#source = source;
    this.#target = target;
    this.#options = options;
    this.#grain = Math.max(minGrainBytes, options.grainBytes ?? 0);
    this.#todo = new Bitmap('backup', this.#grain, source.length);
    if (options.bitmap) {
      const { granularity } = options.bitmap;
      this.#wanted = new Bitmap('wanted', granularity, source.length);
      this.#wanted.merge(options.bitmap);
      this.#todo.merge(options.bitmap);
      options.bitmap.clearAll();
    } else this.#todo.setAll();
    this.#total = Math.min(this.#todo.countBytes(), source.length);
    this.#hook = (offset, length) => this.#beforeWrite(offset, length);
    source.beforeWrite.push(this.#hook);
  }

  /** Copies everything. With `none`, returns at once: call `finish` to end the backup. */
  async run(): Promise<void> {
    const { sync = 'full' } = this.#options;
    if (sync === 'none') return;
    try {
      const limit = new RateLimit(this.#source.host, this.#options);
      const total = this.#source.length;
      for (let at = 0; at < total; ) {
        this.#options.signal?.throwIfAborted();
        if (this.#failure !== undefined) throw this.#failure;
        const run = this.#todo.run(at, total - at);
        if (!run.dirty) {
          at += run.length;
          continue;
        }
        if (sync === 'top') {
          const status = await this.#source.skipFilters().blockStatus(at, run.length, false);
          if (!status.allocated) {
            // Whole grains only: a grain of which any part is allocated is copied.
            const skip = status.length - (status.length % this.#grain);
            if (skip > 0) {
              this.#todo.clear(at, skip);
              at += skip;
              continue;
            }
          }
        }
        const size = Math.min(this.#grain, total - at);
        await this.#copyGrain(at / this.#grain);
        at += size;
        await limit.spend(size);
        this.#options.progress?.(Math.min(this.#done, this.#total), this.#total);
      }
      await this.finish();
      this.#options.progress?.(this.#total, this.#total);
    } catch (error) {
      this.cancel();
      throw error;
    }
  }

  async finish(): Promise<void> {
    this.#detach();
    await Promise.all(this.#busy.values());
    if (this.#failure !== undefined) throw this.#failure;
    await jobRequest('write', this.#target.flush());
  }

  cancel(): void {
    this.#detach();
    if (this.#wanted) this.#options.bitmap?.merge(this.#wanted);
  }

  #detach(): void {
    const index = this.#source.beforeWrite.indexOf(this.#hook);
    if (index >= 0) this.#source.beforeWrite.splice(index, 1);
  }

  #beforeWrite(offset: number, length: number): Promise<void> | undefined {
    const first = Math.floor(offset / this.#grain);
    const last = Math.floor((offset + length - 1) / this.#grain);
    const copies: Promise<void>[] = [];
    for (let grain = first; grain <= last; grain++) {
      if (this.#todo.get(grain * this.#grain)) {
        // A target that fails must not fail the guest: the backup ends instead.
        copies.push(
          this.#copyGrain(grain).catch((error) => {
            this.#failure ??= error;
          }),
        );
      } else if (this.#busy.has(grain)) copies.push(this.#busy.get(grain)!.catch(() => undefined));
    }
    return copies.length === 0 ? undefined : Promise.all(copies).then(() => undefined);
  }

  #copyGrain(grain: number): Promise<void> {
    const offset = grain * this.#grain;
    const running = this.#busy.get(grain);
    if (running) return running;
    if (!this.#todo.get(offset)) return Promise.resolve();
    this.#todo.clear(offset, this.#grain);
    const work = this.#copy(offset, Math.min(this.#grain, this.#source.length - offset)).finally(() =>
      this.#busy.delete(grain),
    );
    this.#busy.set(grain, work);
    return work;
  }

  async #copy(offset: number, length: number): Promise<void> {
    const status = await this.#source.chainStatus(offset, length);
    if (status.zero && status.length >= length)
      await jobRequest('write', this.#target.writeZeroes(offset, length, RequestFlag.mayUnmap));
    else {
      const buffer = this.#source.host.allocate(length);
      await jobRequest('read', this.#source.read(offset, buffer));
      await jobRequest(
        'write',
        this.#target.write(offset, buffer, this.#options.compresses ? RequestFlag.compressed : 0),
      );
    }
    this.#done += length;
  }

  /** Why it cannot be finished. */
  get failure(): unknown {
    return this.#failure;
  }

  get bytesCopied(): number {
    return this.#done;
  }
}
