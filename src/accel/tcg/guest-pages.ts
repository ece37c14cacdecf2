/** Views of guest pages, for the translator: making one takes longer than translating an instruction. */

/** A power of two. */
const KEPT = 256;

export class GuestPages {
  readonly #bytes: Uint8Array;
  /** By the low bits of the page's number: the one that was asked for last. */
  readonly #views: Uint8Array[];

  constructor(buffer: SharedArrayBuffer) {
    this.#bytes = new Uint8Array(buffer);
    this.#views = Array.from({ length: KEPT }, () => this.#bytes.subarray(0, 4096));
  }

  /** The page that a host address is on. */
  at(hva: number): Uint8Array {
    const start = hva - (hva & 4095);
    const index = (hva >>> 12) & (KEPT - 1);
    const page = this.#views[index];
    if (page.byteOffset === start) return page;
    return (this.#views[index] = this.#bytes.subarray(start, start + 4096));
  }
}
