/**
 * Threads that decompress, on memory that they share with the caller. They start when a process has decompressed so much that more is
 * likely to come, and until they are up, and where none can be had, callers do the work themselves.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { PackedPiece } from '../../block/host.js';

/** `input` and `output` are shared memory. */
export interface DecompressJob {
  readonly kind: 'deflate' | 'zstd';
  readonly input: Uint8Array;
  readonly output: Uint8Array;
  readonly pieces: readonly PackedPiece[];
  readonly size: number;
}

interface QueuedJob {
  readonly job: DecompressJob;
  done(isDone: boolean): void;
}

interface Thread {
  readonly worker: Worker;
  isReady: boolean;
  running: QueuedJob | undefined;
}

/** As many as QEMU has for one image. */
const maxThreads = 4;
/** Bytes decompressed before threads are worth their start (some 40 ms each). */
const warmUpBytes = 4 * 2 ** 20;

class DecompressThreads {
  #threads: Thread[] | undefined;
  readonly #queue: QueuedJob[] = [];
  #doneBytes = 0;

  /** Tells of work done without threads. */
  note(bytes: number): void {
    this.#doneBytes += bytes;
    if (this.#threads || this.#doneBytes < warmUpBytes) return;
    const count = Math.min(maxThreads, availableParallelism());
    this.#threads = [];
    if (count < 2) return;
    for (let index = 0; index < count; index++) this.#start(this.#threads);
  }

  get isReady(): boolean {
    return this.#threads?.some((thread) => thread.isReady) ?? false;
  }

  /** False: it could not be done, or not here. */
  run(job: DecompressJob): Promise<boolean> {
    return new Promise((done) => {
      this.#queue.push({ job, done });
      this.#next();
    });
  }

  #start(threads: Thread[]): void {
    const worker = new Worker(new URL('./decompress-worker.js', import.meta.url), {
      // Results are short-lived and outside the heap: a small nursery lets go of them soon.
      resourceLimits: { maxYoungGenerationSizeMb: 1 },
    });
    const thread: Thread = { worker, isReady: false, running: undefined };
    threads.push(thread);
    worker.on('message', (isDone: boolean) => {
      const finished = thread.running;
      thread.running = undefined;
      thread.isReady = true;
      worker.unref();
      this.#next();
      finished?.done(isDone);
    });
    const lost = () => {
      const index = threads.indexOf(thread);
      if (index >= 0) threads.splice(index, 1);
      thread.isReady = false;
      thread.running?.done(false);
      thread.running = undefined;
      if (!this.isReady) for (const { done } of this.#queue.splice(0)) done(false);
    };
    worker.on('error', lost);
    worker.on('exit', lost);
    // Work under way keeps the process alive, threads alone do not: last, as listeners hold it too.
    worker.unref();
  }

  #next(): void {
    for (const thread of this.#threads ?? []) {
      if (this.#queue.length === 0) return;
      if (!thread.isReady || thread.running) continue;
      thread.running = this.#queue.shift()!;
      thread.worker.ref();
      thread.worker.postMessage(thread.running.job);
    }
  }
}

export const decompressThreads = new DecompressThreads();
