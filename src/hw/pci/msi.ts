/** MSI (PCI Local Bus 3.0, 6.8.1) with 64-bit addresses and per-vector masks. */
import { assert } from '../../base/index.js';
import { capabilityId } from './config-registers.js';
import type { PciFunction } from './pci-function.js';

const length = 24;
/** Without masks the data word is the last. */
const lengthUnmasked = 14;
const controlEnable = 0x0001;
const control64Bit = 0x0080;
const controlPerVectorMask = 0x0100;
const at = { control: 2, addressLow: 4, addressHigh: 8, data: 12, mask: 16, pending: 20 } as const;

/** State lies in the function's configuration space. `configWritten` of the function calls `configChanged`. */
export class Msi {
  readonly vectors: number;
  readonly #function: PciFunction;
  readonly #capability: number;
  readonly #masks: boolean;

  /** `vectors` is a power of two up to 32. `at`: where the capability lies. `masks`: each vector can be masked, as it can unless given. */
  constructor(fn: PciFunction, vectors: number, { at: place, masks = true }: { at?: number; masks?: boolean } = {}) {
    const order = Math.log2(vectors);
    assert(Number.isInteger(order) && order <= 5, 'MSI has 1, 2, 4, 8, 16 or 32 vectors');
    this.vectors = vectors;
    this.#function = fn;
    const base = fn.addCapability(capabilityId.msi, masks ? length : lengthUnmasked, place);
    this.#masks = masks;
    this.#capability = base;
    const all = vectors === 32 ? 0xffffffff : 2 ** vectors - 1;
    const control = control64Bit | (masks ? controlPerVectorMask : 0) | (order << 1);
    fn.define(base + at.control, 2, control, controlEnable | 0x70);
    fn.define(base + at.addressLow, 4, 0, 0xfffffffc);
    fn.define(base + at.addressHigh, 4, 0, 0xffffffff);
    fn.define(base + at.data, 2, 0, 0xffff);
    if (!masks) return;
    fn.define(base + at.mask, 4, 0, all);
    fn.define(base + at.pending, 4, 0);
    fn.keep(base + at.pending, 4);
  }

  #u32(offset: number): number {
    const { config } = this.#function;
    const i = this.#capability + offset;
    return (config[i]! | (config[i + 1]! << 8) | (config[i + 2]! << 16) | (config[i + 3]! << 24)) >>> 0;
  }

  #setPending(value: number): void {
    const { config } = this.#function;
    for (let i = 0; i < 4; i++) config[this.#capability + at.pending + i] = (value >>> (8 * i)) & 0xff;
  }

  get #control(): number {
    return this.#u32(0) >>> 16;
  }

  get enabled(): boolean {
    return (this.#control & controlEnable) !== 0;
  }

  /** Vectors that the guest allotted: never more than there are. */
  get allotted(): number {
    return Math.min(1 << ((this.#control >> 4) & 7), this.vectors);
  }

  notify(vector: number): void {
    if (!this.enabled) return;
    const v = vector % this.allotted;
    if (this.#masks && ((this.#u32(at.mask) >>> v) & 1) !== 0) {
      this.#setPending(this.#u32(at.pending) | (1 << v));
      return;
    }
    this.#send(v);
  }

  #send(vector: number): void {
    const high = this.#u32(at.addressHigh);
    if (high >= 0x100000) return;
    // The low bits of the data tell the vectors apart.
    const data = (this.#u32(at.data) & ~(this.allotted - 1)) | vector;
    this.#function.sendMsi(high * 2 ** 32 + this.#u32(at.addressLow), data & 0xffff);
  }

  /** After a configuration write: sends what was pending and is no longer masked. */
  configChanged(): void {
    if (!this.enabled || !this.#masks) return;
    const ready = this.#u32(at.pending) & ~this.#u32(at.mask);
    if (ready === 0) return;
    this.#setPending(this.#u32(at.pending) & ~ready);
    for (let v = 0; v < this.allotted; v++) if (((ready >>> v) & 1) !== 0) this.#send(v);
  }
}
