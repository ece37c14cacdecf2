/** What a PS/2 device has to send, in order. */
import { bytes, type StructOf, u8 } from '../../schema/index.js';

const SIZE = 64;

export const queueFields = {
  queue: bytes(SIZE),
  queueHead: u8(0, { max: SIZE - 1 }),
  queueCount: u8(0, { max: SIZE }),
};

export class Ps2Queue {
  readonly #queue: StructOf<typeof queueFields>;
  constructor(queue: StructOf<typeof queueFields>) {
    this.#queue = queue;
  }
  hasRoom(count: number): boolean {
    return this.#queue.queueCount + count <= SIZE;
  }
  /** Without room the byte is lost. */
  push(byte: number): void {
    const q = this.#queue;
    if (q.queueCount === SIZE) return;
    q.queue[(q.queueHead + q.queueCount) % SIZE] = byte;
    q.queueCount++;
  }
  /** The next byte, or -1. */
  pull(): number {
    const q = this.#queue;
    if (q.queueCount === 0) return -1;
    const byte = q.queue[q.queueHead]!;
    q.queueHead = (q.queueHead + 1) % SIZE;
    q.queueCount--;
    return byte;
  }
  clear(): void {
    this.#queue.queueCount = 0;
  }
}
