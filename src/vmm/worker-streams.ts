/** The machine's side of its byte streams. */
import { ByteRing } from './byte-ring.js';
import type { StreamRings } from './worker-protocol.js';

export interface StreamOwner {
  /** There is output that nobody has been told of. */
  output(stream: number): void;
  /** There is room for input again. */
  inputSpace(stream: number): void;
  /** Whether to give up waiting: the machine ends. */
  quitting(): boolean;
}

export class WorkerStream {
  readonly output: ByteRing;
  readonly input: ByteRing;
  readonly #index: number;
  readonly #owner: StreamOwner;
  #dirty = false;

  constructor(index: number, rings: StreamRings, owner: StreamOwner) {
    this.#index = index;
    this.#owner = owner;
    this.output = new ByteRing(rings.output);
    this.input = new ByteRing(rings.input);
  }

  /** Sends one byte; waits while nobody takes what was sent before, as QEMU's character devices do. */
  sendByte(byte: number): void {
    this.#dirty = true;
    while (!this.output.writeByte(byte)) {
      this.wake();
      if (this.#owner.quitting()) return;
      this.output.waitForSpace(100);
    }
  }

  /** Sends what finds room and gives how much that was; after less than all, the owner rings when there is more. */
  send(bytes: Uint8Array): number {
    let count = 0;
    do count += this.output.write(bytes.subarray(count));
    while (count < bytes.length && !this.output.block());
    this.#dirty = true;
    return count;
  }

  /** Tells the owner, once, that there is something to read. */
  wake(): void {
    if (!this.#dirty) return;
    this.#dirty = false;
    if (this.output.wake()) this.#owner.output(this.#index);
  }

  /** Takes up to `most` bytes of waiting input. */
  take(most: number): Uint8Array {
    const bytes = this.input.read(most);
    if (bytes.length > 0 && this.input.unblock()) this.#owner.inputSpace(this.#index);
    return bytes;
  }

  /** The owner will write no more, and all has been taken. */
  get inputEnded(): boolean {
    return this.input.closed && this.input.available === 0;
  }
}
