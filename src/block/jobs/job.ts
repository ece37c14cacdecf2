/** What all block jobs share: progress, cancellation, pauses, and a limit on their speed. */
import { BlockError, toBlockError } from '../errors.js';
import type { BlockHost } from '../host.js';

export interface JobOptions {
  /** 0 or absent: as fast as it goes. A function is asked again and again: what it says may change while the job runs. */
  readonly bytesPerSecond?: number | (() => number);
  /** Bytes done of bytes known to be done in all; the total may grow. */
  progress?(done: number, total: number): void;
  /** Resolves when the job may go on; undefined: it may. */
  paused?(): Promise<void> | undefined;
  readonly signal?: AbortSignal;
}

/** A request of a job's own that failed: `read` of its source, or `write` to its target. */
export class JobIoError extends BlockError {
  readonly operation: 'read' | 'write';
  constructor(operation: 'read' | 'write', error: unknown) {
    const { code, message } = toBlockError(error);
    super(code, message, { cause: error });
    this.operation = operation;
  }
}

/** A request of a job. Rejects with JobIoError. */
export async function jobRequest<T>(operation: 'read' | 'write', request: Promise<T>): Promise<T> {
  try {
    return await request;
  } catch (error) {
    throw new JobIoError(operation, error);
  }
}

/** A wait ends so soon after the speed has changed, or the job has been cancelled. */
const sliceMs = 100;

/** Keeps an average rate over time slices of 100 ms, and a job's pauses. */
export class RateLimit {
  readonly #host: BlockHost;
  readonly #options: JobOptions;
  #rate = 0;
  #sliceStartNs = 0;
  #spent = 0;

  constructor(host: BlockHost, options: JobOptions) {
    this.#host = host;
    this.#options = options;
  }

  /** Counts bytes moved and waits when they were too many. Rejects when the job is cancelled. */
  async spend(bytes: number): Promise<void> {
    const options = this.#options;
    for (let pause = options.paused?.(); pause; pause = options.paused?.()) {
      await pause;
      options.signal?.throwIfAborted();
    }
    this.#spent += bytes;
    for (;;) {
      const now = this.#host.monotonicNs();
      const { bytesPerSecond: limit = 0 } = options;
      const rate = typeof limit === 'function' ? limit() : limit;
      if (rate !== this.#rate) {
        this.#rate = rate;
        this.#sliceStartNs = now;
        this.#spent = bytes;
      }
      if (rate <= 0) return;
      const dueNs = this.#sliceStartNs + (this.#spent / rate) * 1e9;
      if (dueNs - now <= sliceMs * 1e6) {
        // Long idle: what wasn't used is not saved up.
        if (now - dueNs > 1e9) {
          this.#sliceStartNs = now;
          this.#spent = 0;
        }
        return;
      }
      await this.#host.sleepMs(Math.min(sliceMs, (dueNs - now) / 1e6));
      options.signal?.throwIfAborted();
    }
  }
}
