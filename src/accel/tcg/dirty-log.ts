/**
 * Which pages have been written: a byte for each in the machine's memory, which the slow path of stores clears. While it is kept, a
 * clean page has no write tag in any TLB.
 */
import { layout } from './layout.js';

const PAGE_SHIFT = 12;

export class DirtyLog {
  isOn = false;
  readonly #first: number;
  /** By page from the first of guest RAM on; 1: clean. */
  readonly #clean: Uint8Array;

  /** For the pages from `start` to `end` of the memory. */
  constructor(buffer: SharedArrayBuffer, start: number, end: number) {
    this.#first = start >>> PAGE_SHIFT;
    this.#clean = new Uint8Array(buffer, layout.cleanPages + this.#first, (end - start) / 2 ** PAGE_SHIFT);
  }

  set(on: boolean): void {
    this.isOn = on;
    this.#clean.fill(on ? 1 : 0);
  }

  /** Somebody else than the guest has written. */
  mark(hva: number, size: number): void {
    if (!this.isOn || size <= 0) return;
    this.#clean.fill(0, (hva >>> PAGE_SHIFT) - this.#first, ((hva + size - 1) >>> PAGE_SHIFT) - this.#first + 1);
  }

  /** True: pages that were written are clean again. */
  take(page: (hva: number) => void): boolean {
    if (!this.isOn) return false;
    const clean = this.#clean;
    let any = false;
    for (let at = clean.indexOf(0); at >= 0; at = clean.indexOf(0, at + 1)) {
      any = true;
      clean[at] = 1;
      page((this.#first + at) * 2 ** PAGE_SHIFT);
    }
    return any;
  }
}
