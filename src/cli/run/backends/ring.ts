/** A character device that keeps the last bytes that were written to it, until a monitor reads them. */
import type { Backend, BackendEvents } from './backend.js';

export class RingBackend implements Backend {
  readonly ready = Promise.resolve();
  readonly filename: string;
  readonly #bytes: Uint8Array;
  /** Counts of bytes since it was made. */
  #written = 0;
  #read = 0;

  /** `sizeBytes`: how much is kept. `filename`: what the kind is called. */
  constructor(sizeBytes: number, filename: string) {
    this.#bytes = new Uint8Array(sizeBytes);
    this.filename = filename;
  }

  attach(events: BackendEvents): void {
    events.opened();
  }

  async write(bytes: Uint8Array | string): Promise<void> {
    const ring = this.#bytes;
    const data = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
    this.#written += data.length;
    const kept = data.subarray(Math.max(0, data.length - ring.length));
    const at = (this.#written - kept.length) % ring.length;
    const first = Math.min(kept.length, ring.length - at);
    ring.set(kept.subarray(0, first), at);
    ring.set(kept.subarray(first), 0);
    this.#read = Math.max(this.#read, this.#written - ring.length);
  }

  /** Takes out the oldest bytes, so many at most. */
  take(most: number): Uint8Array {
    const ring = this.#bytes;
    const count = Math.min(most, this.#written - this.#read);
    const taken = Uint8Array.from({ length: count }, (_, i) => ring[(this.#read + i) % ring.length]!);
    this.#read += count;
    return taken;
  }

  /** Nothing ever comes in. */
  pause(): void {}
  resume(): void {}
  hangUp(): void {}
  async close(): Promise<void> {}
}
