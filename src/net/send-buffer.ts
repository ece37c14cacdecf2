/** Bytes on the way to the guest: kept until it has acknowledged them. */

const BLOCK_BYTES = 16384;
/** Smaller pieces are gathered, so that what is kept costs about what it counts. */
const SMALL_BYTES = 2048;

export class SendBuffer {
  length = 0;
  readonly #pieces: Uint8Array[] = [];
  /** Of the first piece this much is gone. */
  #gone = 0;
  /** The block that the last piece lies in, when it is one of our own, and its filled bytes. */
  #block: Uint8Array | undefined;
  #filled = 0;

  append(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.length += bytes.length;
    if (bytes.length > SMALL_BYTES) {
      this.#pieces.push(bytes);
      this.#block = undefined;
      return;
    }
    if (this.#block === undefined || this.#filled + bytes.length > BLOCK_BYTES) {
      this.#block = new Uint8Array(BLOCK_BYTES);
      this.#filled = 0;
      this.#pieces.push(this.#block.subarray(0, 0));
    }
    this.#block.set(bytes, this.#filled);
    const last = this.#pieces[this.#pieces.length - 1];
    const start = last.byteOffset - this.#block.byteOffset;
    this.#filled += bytes.length;
    this.#pieces[this.#pieces.length - 1] = this.#block.subarray(start, this.#filled);
  }

  /** Forgets the first `count` bytes. */
  drop(count: number): void {
    this.length -= count;
    let left = count + this.#gone;
    let pieces = 0;
    while (pieces < this.#pieces.length && left >= this.#pieces[pieces].length) left -= this.#pieces[pieces++].length;
    this.#pieces.splice(0, pieces);
    this.#gone = left;
    if (this.#pieces.length === 0) this.#block = undefined;
  }

  /** Copies `length` bytes from `offset` on. */
  copy(offset: number, length: number, target: Uint8Array, at: number): void {
    let skip = offset + this.#gone;
    let to = at;
    let left = length;
    for (const piece of this.#pieces) {
      if (left === 0) return;
      if (skip >= piece.length) {
        skip -= piece.length;
        continue;
      }
      const count = Math.min(left, piece.length - skip);
      target.set(skip === 0 && count === piece.length ? piece : piece.subarray(skip, skip + count), to);
      skip = 0;
      to += count;
      left -= count;
    }
  }
}
