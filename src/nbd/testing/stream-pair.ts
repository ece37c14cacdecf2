/** Two byte streams joined in memory, for tests of both ends of a connection. */
import { BlockError } from '../../block/errors.js';
import type { ByteStream } from '../../block/host.js';

class MemoryStream implements ByteStream {
  peer!: MemoryStream;
  #chunks: Uint8Array[] = [];
  #isEnded = false;
  #isDestroyed = false;
  #wake: (() => void) | undefined;

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  async read(limit: number): Promise<Uint8Array> {
    for (;;) {
      if (this.#isDestroyed) throw new BlockError('ECONNRESET');
      const first = this.#chunks[0];
      if (first) {
        if (first.length <= limit) {
          this.#chunks.shift();
          return first;
        }
        this.#chunks[0] = first.subarray(limit);
        return first.subarray(0, limit);
      }
      if (this.#isEnded) return new Uint8Array(0);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  receive(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#chunks.push(bytes);
    this.#notify();
  }

  receiveEnd(): void {
    this.#isEnded = true;
    this.#notify();
  }

  async write(...parts: readonly Uint8Array[]): Promise<void> {
    if (this.#isDestroyed || this.peer.#isDestroyed) throw new BlockError('EPIPE');
    for (const part of parts) this.peer.receive(part.slice());
  }

  async end(): Promise<void> {
    this.peer.receiveEnd();
  }

  destroy(): void {
    this.#isDestroyed = true;
    this.#notify();
    this.peer.receiveEnd();
  }
}

export function streamPair(): [ByteStream, ByteStream] {
  const [a, b] = [new MemoryStream(), new MemoryStream()];
  a.peer = b;
  b.peer = a;
  return [a, b];
}
