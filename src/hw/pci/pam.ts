/** The PAM registers of Intel's host bridges: whether 0xC0000-0xFFFFF shows RAM, seven bytes from `first` on. */
import type { PciFunction } from './pci-function.js';

/** Whether accesses to a piece of 0xC0000-0xFFFFF go to RAM or to PCI (ROM). */
export interface ShadowRange {
  readonly start: number;
  readonly size: number;
  readonly readsRam: boolean;
  readonly writesRam: boolean;
}

const pamCount = 7;

export class Pam {
  readonly #function: PciFunction;
  readonly #first: number;

  constructor(fn: PciFunction, first: number) {
    this.#function = fn;
    this.#first = first;
    for (let i = 0; i < pamCount; i++) fn.define(first + i, 1, 0, 0x33);
  }

  isTouched(offset: number, size: number): boolean {
    return offset + size > this.#first && offset < this.#first + pamCount;
  }

  /** The first register has 0xF0000-0xFFFFF in its high nibble, the next six have 16 KiB in each nibble from 0xC0000. */
  ranges(): ShadowRange[] {
    const { config } = this.#function;
    const range = (start: number, size: number, nibble: number): ShadowRange => ({
      start,
      size,
      readsRam: (nibble & 1) !== 0,
      writesRam: (nibble & 2) !== 0,
    });
    const ranges: ShadowRange[] = [];
    for (let i = 0; i < 12; i++) {
      const value = config[this.#first + 1 + (i >> 1)]!;
      ranges.push(range(0xc0000 + i * 0x4000, 0x4000, (i & 1) === 0 ? value & 0xf : value >> 4));
    }
    ranges.push(range(0xf0000, 0x10000, config[this.#first]! >> 4));
    return ranges;
  }

  /** All of it is RAM: what direct boot leaves, as firmware would in the end. */
  open(): void {
    this.#function.write(this.#first, 1, 0x30);
    for (let i = 1; i < pamCount; i++) this.#function.write(this.#first + i, 1, 0x33);
  }
}
