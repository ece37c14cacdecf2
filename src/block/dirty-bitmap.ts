/** Dirty bitmaps in memory: one bit per `granularity` bytes of a disk, in pages that exist only where a bit is set. */
import type { DirtyBitmap } from './node.js';

/** Bits per page. */
const pageBits = 32768;

export class SparseBitmap implements DirtyBitmap {
  readonly name: string;
  readonly granularity: number;
  enabled = true;
  persistent = false;
  inconsistent = false;
  readOnly = false;
  busy = false;
  #length: number;
  readonly #pages = new Map<number, Uint8Array>();

  constructor(name: string, granularity: number, length: number) {
    this.name = name;
    this.granularity = granularity;
    this.#length = length;
  }

  get length(): number {
    return this.#length;
  }

  set length(value: number) {
    if (value < this.#length) {
      const first = Math.ceil(value / this.granularity);
      this.#change(first, Math.ceil(this.#length / this.granularity), false);
    }
    this.#length = value;
  }

  set(offset: number, length: number): void {
    if (length > 0)
      this.#change(Math.floor(offset / this.granularity), Math.ceil((offset + length) / this.granularity), true);
  }

  /** Only whole granules are cleared; the disk's last, shorter one counts as whole. */
  clear(offset: number, length: number): void {
    const end =
      offset + length >= this.#length
        ? Math.ceil(this.#length / this.granularity)
        : Math.floor((offset + length) / this.granularity);
    const first = Math.ceil(offset / this.granularity);
    if (end > first) this.#change(first, end, false);
  }

  #change(first: number, end: number, value: boolean): void {
    let bit = first;
    while (bit < end) {
      const index = Math.floor(bit / pageBits);
      const stop = Math.min(end, (index + 1) * pageBits);
      let page = this.#pages.get(index);
      if (!page) {
        if (!value) {
          bit = stop;
          continue;
        }
        page = new Uint8Array(pageBits / 8);
        this.#pages.set(index, page);
      }
      if (!value && bit % pageBits === 0 && stop === (index + 1) * pageBits) {
        this.#pages.delete(index);
        bit = stop;
        continue;
      }
      while (bit < stop) {
        const at = bit % pageBits;
        if (at % 8 === 0 && stop - bit >= 8) {
          const bytes = Math.floor((stop - bit) / 8);
          page.fill(value ? 0xff : 0, at / 8, at / 8 + bytes);
          bit += bytes * 8;
          continue;
        }
        if (value) page[at >> 3]! |= 1 << (at & 7);
        else page[at >> 3]! &= ~(1 << (at & 7));
        bit++;
      }
    }
  }

  #bit(bit: number): boolean {
    const page = this.#pages.get(Math.floor(bit / pageBits));
    return page !== undefined && ((page[(bit % pageBits) >> 3]! >> (bit & 7)) & 1) !== 0;
  }

  get(offset: number): boolean {
    return this.#bit(Math.floor(offset / this.granularity));
  }

  run(offset: number, length: number): { readonly dirty: boolean; readonly length: number } {
    const dirty = this.get(offset);
    let bit = Math.floor(offset / this.granularity) + 1;
    const end = Math.ceil((offset + length) / this.granularity);
    while (bit < end) {
      const index = Math.floor(bit / pageBits);
      const page = this.#pages.get(index);
      if (!page) {
        if (dirty) break;
        bit = (index + 1) * pageBits;
        continue;
      }
      const at = bit % pageBits;
      const whole = dirty ? 0xff : 0;
      if (at % 8 === 0 && page[at >> 3] === whole) {
        bit += 8;
        continue;
      }
      if (((page[at >> 3]! >> (at & 7)) & 1) !== (dirty ? 1 : 0)) break;
      bit++;
    }
    return { dirty, length: Math.min(length, Math.min(bit, end) * this.granularity - offset) };
  }

  countBytes(): number {
    let bits = 0;
    for (const page of this.#pages.values()) {
      for (const byte of page) {
        let left = byte;
        while (left !== 0) {
          bits++;
          left &= left - 1;
        }
      }
    }
    return bits * this.granularity;
  }

  /** The bits as bytes, least significant bit first (qcow2's and QEMU's form), from byte `first`. Undefined when all are clear. */
  serialize(firstByte: number, bytes: number): Uint8Array | undefined {
    let result: Uint8Array | undefined;
    const pageBytes = pageBits / 8;
    for (let index = Math.floor(firstByte / pageBytes); index * pageBytes < firstByte + bytes; index++) {
      const page = this.#pages.get(index);
      if (!page) continue;
      const from = Math.max(firstByte, index * pageBytes);
      const to = Math.min(firstByte + bytes, (index + 1) * pageBytes);
      const part = page.subarray(from - index * pageBytes, to - index * pageBytes);
      if (!result && !part.some((byte) => byte !== 0)) continue;
      result ??= new Uint8Array(bytes);
      result.set(part, from - firstByte);
    }
    return result;
  }

  deserialize(firstByte: number, bytes: Uint8Array): void {
    const lastBit = Math.ceil(this.#length / this.granularity);
    bytes.forEach((byte, index) => {
      if (byte === 0) return;
      for (let bit = 0; bit < 8; bit++) {
        const at = (firstByte + index) * 8 + bit;
        if ((byte >> bit) & 1 && at < lastBit) this.#change(at, at + 1, true);
      }
    });
  }

  setAll(): void {
    this.set(0, this.#length);
  }

  clearAll(): void {
    this.#pages.clear();
  }

  /** Adds all bits of another bitmap, whatever its granularity. */
  merge(other: DirtyBitmap): void {
    let at = 0;
    const length = Math.min(this.#length, other.length);
    while (at < length) {
      const run = other.run(at, length - at);
      if (run.dirty) this.set(at, run.length);
      at += run.length;
    }
  }
}
