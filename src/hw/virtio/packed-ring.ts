/**
 * The packed virtqueue, device side (Virtual I/O Device 1.2, 2.8): one ring of descriptors, in which buffers are offered and given
 * back; two bits of each descriptor tell whose it is. What a buffer may be is `Virtqueue`'s to judge.
 */
import type { DmaSpace } from '../../bus/index.js';
import type { QueueState, Ring } from './virtqueue.js';

const flag = { next: 1, write: 2, indirect: 4, available: 0x80, used: 0x8000 } as const;
const event = { enable: 0, disable: 1, descriptor: 2 } as const;
const wrapBit = 0x8000;
const entryBytes = 16;

/** A descriptor as it stood when it was read. */
export interface PackedDescriptor {
  readonly gpa: number;
  readonly length: number;
  readonly identifier: number;
  readonly isWritable: boolean;
  readonly isIndirect: boolean;
  readonly goesOn: boolean;
}

export class PackedRing {
  readonly #state: QueueState;
  readonly #dma: DmaSpace;
  readonly #ring: Ring;
  readonly #driver: Ring;
  readonly #device: Ring;
  /** Flags of the first buffer that is given back with others: they are written last. */
  #firstFlags = 0;

  constructor(state: QueueState, dma: DmaSpace, ring: Ring, driver: Ring, device: Ring) {
    this.#state = state;
    this.#dma = dma;
    this.#ring = ring;
    this.#driver = driver;
    this.#device = device;
  }

  /** Indices that a loaded state may hold. */
  get isFit(): boolean {
    const { size, nextAvail, nextUsed } = this.#state;
    return nextAvail < size && nextUsed < size;
  }

  #isAvailable(index: number, wrap: boolean): boolean {
    const flags = this.#ring.view.getUint16(index * entryBytes + 14, true);
    return ((flags & flag.available) !== 0) === wrap && ((flags & flag.used) !== 0) !== wrap;
  }

  get hasNext(): boolean {
    return this.#isAvailable(this.#state.nextAvail, this.#state.availWrap);
  }

  /** Buffers that are offered: descriptors that end one. */
  waiting(): number {
    const { size, nextAvail, availWrap } = this.#state;
    let count = 0;
    for (let i = 0; i < size; i++) {
      const index = (nextAvail + i) % size;
      if (!this.#isAvailable(index, nextAvail + i < size ? availWrap : !availWrap)) break;
      if ((this.#ring.view.getUint16(index * entryBytes + 14, true) & flag.next) === 0) count++;
    }
    return count;
  }

  /** The descriptor so many behind the next one. */
  descriptor(behind: number): PackedDescriptor {
    return readDescriptor(this.#ring.view, (this.#state.nextAvail + behind) % this.#state.size);
  }

  /** So many descriptors are taken. With event indexes the driver is to kick when it offers the next one. */
  advance(count: number, eventIndex: boolean): void {
    const state = this.#state;
    state.nextAvail += count;
    if (state.nextAvail >= state.size) {
      state.nextAvail -= state.size;
      state.availWrap = !state.availWrap;
    }
    if (!eventIndex) return;
    const { view, gpa } = this.#device;
    view.setUint16(0, state.nextAvail | (state.availWrap ? wrapBit : 0), true);
    view.setUint16(2, event.descriptor, true);
    this.#dma.publish(gpa, 4);
  }

  /** So many that were taken last are next again. */
  back(count: number): void {
    const state = this.#state;
    if (count > state.nextAvail) {
      state.nextAvail += state.size - count;
      state.availWrap = !state.availWrap;
    } else state.nextAvail -= count;
  }

  /** Writes a used descriptor so many behind the next. The first one is the driver's only after `show`. */
  fill(identifier: number, written: number, behind: number): void {
    const { size, nextUsed, usedWrap } = this.#state;
    const index = (nextUsed + behind) % size;
    const wrap = nextUsed + behind < size ? usedWrap : !usedWrap;
    const { view, gpa } = this.#ring;
    const at = index * entryBytes;
    view.setUint32(at + 8, written, true);
    view.setUint16(at + 12, identifier, true);
    const flags = (wrap ? flag.available | flag.used : 0) | (written > 0 ? flag.write : 0);
    if (behind === 0) this.#firstFlags = flags;
    else view.setUint16(at + 14, flags, true);
    this.#dma.publish(gpa + at, entryBytes);
  }

  /** What was filled, so many descriptors, is the driver's. */
  show(count: number): void {
    const state = this.#state;
    const at = state.nextUsed * entryBytes + 14;
    this.#ring.view.setUint16(at, this.#firstFlags, true);
    this.#dma.publish(this.#ring.gpa + at, 2);
    state.nextUsed += count;
    if (state.nextUsed < state.size) return;
    state.nextUsed -= state.size;
    state.usedWrap = !state.usedWrap;
  }

  /** Whether the driver is to be interrupted for what it has been shown since the last time (2.8.10). */
  wantsSignal(eventIndex: boolean): boolean {
    const state = this.#state;
    const [before, wasValid] = [state.signalled, state.signalledValid];
    state.signalled = state.nextUsed;
    state.signalledValid = true;
    const flags = this.#driver.view.getUint16(2, true);
    if (flags === event.disable) return false;
    if (flags !== event.descriptor || !eventIndex || !wasValid) return true;
    const place = this.#driver.view.getUint16(0, true);
    const isSameLap = ((place & wrapBit) !== 0) === state.usedWrap;
    const wanted = (place & ~wrapBit) - (isSameLap ? 0 : state.size);
    return ((state.nextUsed - wanted - 1) & 0xffff) < ((state.nextUsed - before) & 0xffff);
  }
}

export function readDescriptor(view: DataView, index: number): PackedDescriptor {
  const at = index * entryBytes;
  const flags = view.getUint16(at + 14, true);
  return {
    gpa: view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32,
    length: view.getUint32(at + 8, true),
    identifier: view.getUint16(at + 12, true),
    isWritable: (flags & flag.write) !== 0,
    isIndirect: (flags & flag.indirect) !== 0,
    goesOn: (flags & flag.next) !== 0,
  };
}
