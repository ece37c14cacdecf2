/** Guest memory that a transfer goes to or comes from: views of RAM in order, from what a device's descriptors name. */
import type { DmaSpace } from '../../bus/index.js';

const PAGE = 4096;

export class ScatterList {
  /** Bytes in all. */
  length = 0;
  readonly #dma: DmaSpace;
  readonly #intoGuest: boolean;
  readonly #views: Uint8Array[] = [];
  readonly #gpas: number[] = [];

  /** `intoGuest`: the transfer writes guest memory. */
  constructor(dma: DmaSpace, intoGuest: boolean) {
    this.#dma = dma;
    this.#intoGuest = intoGuest;
  }

  get pieces(): readonly Uint8Array[] {
    return this.#views;
  }

  /** Appends a range. False: some of it is not RAM that the device may use; what lies before that is in the list. */
  add(gpa: number, length: number): boolean {
    for (let at = gpa, left = length; left > 0; ) {
      const last = this.#views.length - 1;
      // Neighbours become one piece.
      if (last >= 0 && this.#gpas[last]! + this.#views[last]!.length === at) {
        const joined = this.#dma.view(this.#gpas[last]!, this.#views[last]!.length + left, this.#intoGuest);
        if (joined) {
          this.#views[last] = joined;
          this.length += left;
          return true;
        }
      }
      const whole = this.#dma.view(at, left, this.#intoGuest);
      const step = whole ? left : Math.min(left, PAGE - (at % PAGE));
      const view = whole ?? this.#dma.view(at, step, this.#intoGuest);
      if (!view) return false;
      this.#views.push(view);
      this.#gpas.push(at);
      this.length += step;
      at += step;
      left -= step;
    }
    return true;
  }

  /** Cuts it to its first bytes. */
  truncate(length: number): void {
    if (length >= this.length) return;
    let before = 0;
    for (let i = 0; i < this.#views.length; i++) {
      const view = this.#views[i]!;
      if (before + view.length >= length) {
        const keep = length - before;
        this.#views[i] = view.subarray(0, keep);
        const count = keep === 0 ? i : i + 1;
        this.#views.length = count;
        this.#gpas.length = count;
        break;
      }
      before += view.length;
    }
    this.length = length;
  }

  /** Bytes into guest memory, `from` the start of the list on, as many as fit. They are published. */
  fill(source: Uint8Array, from = 0): void {
    let at = 0;
    for (const view of this.#views) {
      const low = Math.max(from, at);
      const high = Math.min(from + source.length, at + view.length);
      if (low < high) view.set(source.subarray(low - from, high - from), low - at);
      at += view.length;
    }
    this.publish(from, from + source.length);
  }

  /** Bytes out of guest memory, as many as there are and fit. */
  take(target: Uint8Array): number {
    let at = 0;
    for (const view of this.#views) {
      if (at >= target.length) break;
      target.set(view.subarray(0, target.length - at), at);
      at += view.length;
    }
    return Math.min(at, target.length);
  }

  /** Guest memory in [from, to) of the list was written. */
  publish(from = 0, to = this.length): void {
    const views = this.#views;
    const gpas = this.#gpas;
    for (let i = 0, at = 0; i < views.length && at < to; i++) {
      const end = at + views[i]!.length;
      const low = Math.max(from, at);
      const high = Math.min(to, end);
      if (low < high) this.#dma.publish(gpas[i]! + low - at, high - low);
      at = end;
    }
  }
}
