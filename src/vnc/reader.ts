/** Bytes of a client in the pieces that the protocol asks for. */
import { BlockError } from '../block/errors.js';
import type { ByteStream } from '../block/host.js';

const CHUNK = 16384;

export class ClientReader {
  readonly #stream: ByteStream;
  #chunk: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #at = 0;

  constructor(stream: ByteStream) {
    this.#stream = stream;
  }

  async #fill(): Promise<void> {
    this.#chunk = new Uint8Array(await this.#stream.read(CHUNK));
    this.#at = 0;
    if (this.#chunk.length === 0) throw new BlockError('ECONNRESET');
  }

  /** Nothing has come that has not been asked for. */
  get isEmpty(): boolean {
    return this.#at === this.#chunk.length;
  }

  /** `count` is small: the caller's own numbers, not a client's. */
  async bytes(count: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(count);
    for (let at = 0; at < count; ) {
      if (this.#at === this.#chunk.length) await this.#fill();
      const part = this.#chunk.subarray(this.#at, this.#at + count - at);
      bytes.set(part, at);
      at += part.length;
      this.#at += part.length;
    }
    return bytes;
  }

  async view(count: number): Promise<DataView> {
    return new DataView((await this.bytes(count)).buffer);
  }

  async u8(): Promise<number> {
    return (await this.bytes(1))[0]!;
  }

  /** At least one byte and at most `most`, as they come; a copy. */
  async some(most: number): Promise<Uint8Array> {
    if (this.#at === this.#chunk.length) await this.#fill();
    const bytes = this.#chunk.slice(this.#at, this.#at + most);
    this.#at += bytes.length;
    return bytes;
  }

  /** Drops bytes, however many, without keeping them. */
  async skip(count: number): Promise<void> {
    for (let left = count; left > 0; ) {
      if (this.#at === this.#chunk.length) await this.#fill();
      const part = Math.min(left, this.#chunk.length - this.#at);
      this.#at += part;
      left -= part;
    }
  }
}
