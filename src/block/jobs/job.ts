/** What all block jobs share: progress, cancellation, and a limit on their speed. */
import type { BlockHost } from '../host.js';

export interface JobOptions {
  /** 0 or absent: as fast as it goes. */
  readonly bytesPerSecond?: number;
  /** Bytes done of bytes known to be done in all; the total may grow. */
  progress?(done: number, total: number): void;
  readonly signal?: AbortSignal;
}

/** Keeps an average rate over time slices of 100 ms. */
export class RateLimit {
  readonly #host: BlockHost;
  readonly #bytesPerSecond: number;
  #sliceStartNs = 0;
  #spent = 0;

  constructor(host: BlockHost, bytesPerSecond: number) {
    this.#host = host;
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Counts bytes moved and waits when they were too many. */
  async spend(bytes: number): Promise<void> {
    if (this.#bytesPerSecond <= 0) return;
    const now = this.#host.monotonicNs();
    if (this.#sliceStartNs === 0) this.#sliceStartNs = now;
    this.#spent += bytes;
    const dueNs = this.#sliceStartNs + (this.#spent / this.#bytesPerSecond) * 1e9;
    if (dueNs - now > 1e8) await this.#host.sleepMs((dueNs - now) / 1e6);
    else if (now - dueNs > 1e9) {
      // Long idle: what wasn't used is not saved up.
      this.#sliceStartNs = now;
      this.#spent = 0;
    }
  }
}
