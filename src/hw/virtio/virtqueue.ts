/**
 * The virtqueue, device side: split (Virtual I/O Device 1.2, 2.7) or packed (`packed-ring.ts`), with indirect descriptors and event indexes.
 *
 * The rings are hostile. A ring that lies outside RAM, a loop, a buffer outside RAM or one that breaks the rules makes the
 * queue report an error: the device then needs a reset and touches no ring until it gets one. Work per chain is bounded by
 * the queue's size (direct) or 1024 descriptors (indirect).
 *
 * Device and driver may run in different threads. The order of accesses that 2.7.13 asks for is kept by `fence`.
 */
import type { DmaSpace } from '../../bus/index.js';
import { bool, u16, u32 } from '../../schema/index.js';
import { DescriptorChain } from './descriptor-chain.js';
import { PackedRing, readDescriptor } from './packed-ring.js';

/** State of one queue, as declared in the device's schema. */
export const queueFields = {
  size: u16(0, { max: 1024 }),
  ready: bool(),
  descLow: u32(),
  descHigh: u32(),
  availLow: u32(),
  availHigh: u32(),
  usedLow: u32(),
  usedHigh: u32(),
  /** Goes up with every reset, in whichever thread it happens: what was looked up before is stale then. */
  epoch: u32(),
  /** Next available entry to take, next used entry to write, and the used index at the last interrupt. */
  nextAvail: u16(),
  nextUsed: u16(),
  signalled: u16(),
  signalledValid: bool(),
  /** Wrap counters of a packed ring. */
  availWrap: bool(true),
  usedWrap: bool(true),
};

export interface QueueState {
  size: number;
  ready: boolean;
  descLow: number;
  descHigh: number;
  availLow: number;
  availHigh: number;
  usedLow: number;
  usedHigh: number;
  epoch: number;
  nextAvail: number;
  nextUsed: number;
  signalled: number;
  signalledValid: boolean;
  availWrap: boolean;
  usedWrap: boolean;
}

/** Halves of the rings' addresses. */
export type QueueAddress = 'descLow' | 'descHigh' | 'availLow' | 'availHigh' | 'usedLow' | 'usedHigh';

/** What a register holds after a write of some of its bits. */
export function mergeBits(before: number, value: number, mask: number): number {
  return ((before & ~mask) | value) >>> 0;
}

const split = (address: number): [number, number] => [address % 2 ** 32, Math.floor(address / 2 ** 32) >>> 0];

const descNext = 1;
const descWrite = 2;
const descIndirect = 4;
const availNoInterrupt = 1;
const maxIndirect = 1024;
/** No device takes buffers beyond this (2.7.4: 2^32 bytes). */
const maxChainBytes = 0xffffffff;

/** A lock-prefixed operation: neither compiler nor processor moves an access across it. */
const fenceWord = new Int32Array(new ArrayBuffer(4));
function fence(): void {
  Atomics.add(fenceWord, 0, 0);
}

export interface Ring {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly gpa: number;
}

export interface QueueOwner {
  /** The ring is broken: the device needs a reset. */
  ringError(queue: Virtqueue, reason: string): void;
  /** Tell the driver that the used ring has grown. */
  queueInterrupt(queue: Virtqueue): void;
  readonly eventIndex: boolean;
  readonly indirectDescriptors: boolean;
  readonly packedRing: boolean;
  /** An error was reported: no ring is touched until reset. */
  readonly broken: boolean;
}

export class Virtqueue {
  readonly index: number;
  readonly maxSize: number;
  readonly state: QueueState;
  readonly #dma: DmaSpace;
  readonly #owner: QueueOwner;
  #desc: Ring | undefined;
  #avail: Ring | undefined;
  #used: Ring | undefined;
  /** In place of these three. */
  #packed: PackedRing | undefined;
  /** Places of the buffer that `peek` gave. */
  #peeked = 0;
  #usedGpa = 0;
  #attachedEpoch = 0;
  #loads = 0;
  readonly #spare: DescriptorChain[] = [];

  constructor(index: number, maxSize: number, state: QueueState, dma: DmaSpace, owner: QueueOwner) {
    this.index = index;
    this.maxSize = maxSize;
    this.state = state;
    this.#dma = dma;
    this.#owner = owner;
  }

  get descGpa(): number {
    return this.state.descHigh * 2 ** 32 + this.state.descLow;
  }
  get availGpa(): number {
    return this.state.availHigh * 2 ** 32 + this.state.availLow;
  }
  get usedGpa(): number {
    return this.state.usedHigh * 2 ** 32 + this.state.usedLow;
  }

  /** Differs after every reset and load; chains of an earlier one are dropped when they come back. */
  get generation(): number {
    return this.#loads * 2 ** 32 + this.state.epoch;
  }

  /** Chains that are out become stale. */
  invalidate(): void {
    this.state.epoch = (this.state.epoch + 1) >>> 0;
  }

  /** Power-on state: not ready, full size. */
  reset(): void {
    const { state } = this;
    this.invalidate();
    state.size = this.maxSize;
    state.ready = false;
    state.descLow = state.descHigh = state.availLow = state.availHigh = state.usedLow = state.usedHigh = 0;
    state.nextAvail = state.nextUsed = state.signalled = 0;
    state.signalledValid = false;
    state.availWrap = state.usedWrap = true;
  }

  /** Sets half of a ring's address; while the queue is ready its addresses stand (4.1.4.3.2, 4.2.2.2). */
  setAddress(field: QueueAddress, value: number, mask: number): void {
    const { state } = this;
    if (!state.ready) state[field] = mergeBits(state[field], value, mask);
  }

  /** The legacy layout (2.7.2): descriptors, available ring, and at the next multiple of `align` the used ring. It is ready then. */
  placeLegacy(desc: number, align: number): void {
    const { state } = this;
    const avail = desc + state.size * 16;
    const used = Math.ceil((avail + 6 + state.size * 2) / align) * align;
    [state.descLow, state.descHigh] = split(desc);
    [state.availLow, state.availHigh] = split(avail);
    [state.usedLow, state.usedHigh] = split(used);
    state.ready = true;
  }

  /** Anything but a power of two within the maximum is no size; the old one stays. */
  setSize(value: number, mask: number): void {
    const { state } = this;
    const size = mergeBits(state.size, value, mask);
    if (!state.ready && size > 0 && size <= this.maxSize && (size & (size - 1)) === 0) state.size = size;
  }

  /** The state was loaded: rings are looked up again at the next use. */
  loaded(): void {
    this.#loads++;
    this.#used = undefined;
  }

  #ring(gpa: number, length: number, forWrite: boolean): Ring | undefined {
    const bytes = this.#dma.view(gpa, length, forWrite);
    if (bytes === undefined) return undefined;
    return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), gpa };
  }

  /** Finds the rings in RAM. False: not ready, or an error was reported. */
  #attach(): boolean {
    if (this.#owner.broken) return false;
    const { state } = this;
    if (this.#used !== undefined && this.#attachedEpoch === state.epoch) return true;
    if (!state.ready) return false;
    const { size } = state;
    if (size === 0 || (size & (size - 1)) !== 0 || size > this.maxSize) {
      return this.#error(`its size is ${size}`);
    }
    const isPacked = this.#owner.packedRing;
    const desc = this.#ring(this.descGpa, size * 16, isPacked);
    const avail = this.#ring(this.availGpa, isPacked ? 4 : 6 + size * 2, false);
    const used = this.#ring(this.usedGpa, isPacked ? 4 : 6 + size * 8, true);
    if (desc === undefined || avail === undefined || used === undefined) return this.#error('its rings are not in RAM');
    this.#desc = desc;
    this.#avail = avail;
    this.#used = used;
    this.#usedGpa = this.usedGpa;
    this.#packed = isPacked ? new PackedRing(state, this.#dma, desc, avail, used) : undefined;
    if (this.#packed && !this.#packed.isFit) {
      this.#used = undefined;
      return this.#error('its indices are beyond its size');
    }
    this.#attachedEpoch = state.epoch;
    return true;
  }

  #error(reason: string): false {
    this.#owner.ringError(this, reason);
    return false;
  }

  /** Buffers waiting in the available ring; 0 for a queue that is not ready or broken. */
  waiting(): number {
    if (!this.#attach()) return 0;
    if (this.#packed) return this.#packed.waiting();
    const count = (this.#avail!.view.getUint16(2, true) - this.state.nextAvail) & 0xffff;
    if (count > this.state.size) {
      this.#error(`its available index moved by ${count}`);
      return 0;
    }
    return count;
  }

  /** Takes the next buffer, or gives undefined when there is none (or the ring is broken). */
  pop(): DescriptorChain | undefined {
    const chain = this.peek();
    if (chain !== undefined) this.advance();
    return chain;
  }

  /** As `pop`, but the buffer stays next until `advance`. `release` it if it is not advanced. */
  peek(): DescriptorChain | undefined {
    if (!this.#attach()) return undefined;
    if (this.#packed) return this.#peekPacked(this.#packed);
    if (this.waiting() === 0) return undefined;
    fence();
    const { state } = this;
    const head = this.#avail!.view.getUint16(4 + (state.nextAvail & (state.size - 1)) * 2, true);
    if (head >= state.size) {
      this.#error(`its available ring names descriptor ${head}`);
      return undefined;
    }
    const chain = this.#spare.pop() ?? new DescriptorChain();
    chain.head = head;
    chain.generation = this.generation;
    if (this.#collect(chain)) return chain;
    this.release(chain);
    return undefined;
  }

  #peekPacked(ring: PackedRing): DescriptorChain | undefined {
    if (!ring.hasNext) return undefined;
    fence();
    const chain = this.#spare.pop() ?? new DescriptorChain();
    chain.generation = this.generation;
    if (this.#collectPacked(ring, chain)) {
      this.#peeked = chain.places;
      return chain;
    }
    this.release(chain);
    return undefined;
  }

  #collectPacked(ring: PackedRing, chain: DescriptorChain): boolean {
    for (let places = 1; ; places++) {
      if (places > this.state.size) return this.#error('a descriptor chain loops');
      const descriptor = ring.descriptor(places - 1);
      if (descriptor.isIndirect) {
        if (places > 1 || descriptor.goesOn) return this.#error('an indirect table lies where none may');
        if (!this.#collectTable(descriptor.gpa, descriptor.length, chain)) return false;
      } else if (!this.#add(chain, descriptor.gpa, descriptor.length, descriptor.isWritable)) return false;
      if (descriptor.goesOn) continue;
      chain.head = descriptor.identifier;
      chain.places = places;
      return true;
    }
  }

  /** An indirect table of a packed ring: its descriptors follow each other. */
  #collectTable(gpa: number, length: number, chain: DescriptorChain): boolean {
    if (!this.#owner.indirectDescriptors) return this.#error('an indirect table was not agreed upon');
    const entries = length / 16;
    if (length === 0 || length % 16 !== 0 || entries > maxIndirect)
      return this.#error(`an indirect table has ${length} bytes`);
    const table = this.#ring(gpa, length, false);
    if (table === undefined) return this.#error('an indirect table is not in RAM');
    for (let i = 0; i < entries; i++) {
      const entry = readDescriptor(table.view, i);
      if (!this.#add(chain, entry.gpa, entry.length, entry.isWritable)) return false;
    }
    return true;
  }

  /** The buffer that `peek` gave is taken. */
  advance(): void {
    const { state } = this;
    if (this.#packed) {
      this.#packed.advance(this.#peeked, this.#owner.eventIndex);
      fence();
      return;
    }
    state.nextAvail = (state.nextAvail + 1) & 0xffff;
    if (this.#owner.eventIndex) {
      // The driver kicks when it goes past this: for every buffer added after the last one taken.
      const at = 4 + state.size * 8;
      this.#used!.view.setUint16(at, state.nextAvail, true);
      this.#dma.publish(this.#usedGpa + at, 2);
      fence();
    }
  }

  /** Gives a chain object back that is not going to be pushed. */
  release(chain: DescriptorChain): void {
    chain.clear();
    if (this.#spare.length < 64) this.#spare.push(chain);
  }

  #collect(chain: DescriptorChain): boolean {
    const { size } = this.state;
    let table = this.#desc!.view;
    let count = size;
    let index = chain.head;
    let indirect = false;
    for (let steps = 0; ; steps++) {
      if (steps >= count) return this.#error('a descriptor chain loops');
      const at = index * 16;
      const flags = table.getUint16(at + 12, true);
      const gpa = table.getUint32(at, true) + table.getUint32(at + 4, true) * 2 ** 32;
      const length = table.getUint32(at + 8, true);
      if ((flags & descIndirect) !== 0) {
        if (indirect || steps > 0) return this.#error('an indirect table lies where none may');
        if (!this.#owner.indirectDescriptors) return this.#error('an indirect table was not agreed upon');
        const entries = length / 16;
        if (length === 0 || length % 16 !== 0 || entries > maxIndirect) {
          return this.#error(`an indirect table has ${length} bytes`);
        }
        const ring = this.#ring(gpa, length, false);
        if (ring === undefined) return this.#error('an indirect table is not in RAM');
        table = ring.view;
        count = entries;
        index = 0;
        indirect = true;
        steps = -1;
        continue;
      }
      if (!this.#add(chain, gpa, length, (flags & descWrite) !== 0)) return false;
      if ((flags & descNext) === 0) return true;
      index = table.getUint16(at + 14, true);
      if (index >= count) return this.#error(`a descriptor chain names descriptor ${index}`);
    }
  }

  #add(chain: DescriptorChain, gpa: number, length: number, forWrite: boolean): boolean {
    if (length === 0) return this.#error('a buffer has no bytes');
    if (chain.readableBytes + chain.writableBytes + length > maxChainBytes) return this.#error('a buffer is too large');
    const bytes = this.#dma.view(gpa, length, forWrite);
    if (bytes === undefined) return this.#error('a buffer is not in RAM');
    if (forWrite) {
      chain.writable.push(bytes);
      chain.writableGpas.push(gpa);
      chain.writableBytes += length;
    } else {
      if (chain.writable.length > 0) return this.#error('a readable piece follows a writable one');
      chain.readable.push(bytes);
      chain.readableBytes += length;
    }
    return true;
  }

  /** Buffers that were taken last, in order, are next again. */
  putBack(chains: readonly DescriptorChain[]): void {
    const isCurrent = chains.length > 0 && chains[0].generation === this.generation;
    if (isCurrent && this.#packed) this.#packed.back(chains.reduce((sum, { places }) => sum + places, 0));
    else if (isCurrent) this.state.nextAvail = (this.state.nextAvail - chains.length) & 0xffff;
    for (const chain of chains) this.release(chain);
  }

  /**
   * Gives a buffer back with its first `written` writable bytes filled. They are published before the used ring shows it.
   * The chain object must not be used afterwards.
   */
  push(chain: DescriptorChain, written: number): void {
    const places = this.#fill(chain, written, 0);
    if (places > 0) this.#showUsed(places);
    this.release(chain);
  }

  /** As `push` for several buffers, which the driver sees all at once. */
  pushAll(chains: readonly DescriptorChain[], written: readonly number[]): void {
    let count = 0;
    for (const [i, chain] of chains.entries()) count += this.#fill(chain, written[i], count);
    if (count > 0) this.#showUsed(count);
    for (const chain of chains) this.release(chain);
  }

  /** Writes a used entry so many behind the next. Gives the places that it takes; 0: the queue has been reset meanwhile. */
  #fill(chain: DescriptorChain, written: number, ahead: number): number {
    if (chain.generation !== this.generation || !this.#attach()) return 0;
    let left = written;
    for (let i = 0; i < chain.writable.length && left > 0; i++) {
      const count = Math.min(left, chain.writable[i].length);
      this.#dma.publish(chain.writableGpas[i], count);
      left -= count;
    }
    if (this.#packed) {
      this.#packed.fill(chain.head, written, ahead);
      return chain.places;
    }
    const { state } = this;
    const used = this.#used!.view;
    const at = 4 + ((state.nextUsed + ahead) & (state.size - 1)) * 8;
    used.setUint32(at, chain.head, true);
    used.setUint32(at + 4, written, true);
    this.#dma.publish(this.#usedGpa + at, 8);
    return 1;
  }

  #showUsed(count: number): void {
    const { state } = this;
    fence();
    if (this.#packed) {
      this.#packed.show(count);
      return;
    }
    state.nextUsed = (state.nextUsed + count) & 0xffff;
    this.#used!.view.setUint16(2, state.nextUsed, true);
    this.#dma.publish(this.#usedGpa + 2, 2);
  }

  /** Publishes all writable bytes of a chain, for devices that wrote elsewhere than at its start. */
  publishAll(chain: DescriptorChain): void {
    for (let i = 0; i < chain.writable.length; i++) {
      this.#dma.publish(chain.writableGpas[i]!, chain.writable[i]!.length);
    }
  }

  /** After `push`, once for any number of buffers: interrupts the driver if it wants to be (2.7.7). */
  signal(): void {
    if (!this.#attach()) return;
    const { state } = this;
    fence();
    let wanted: boolean;
    if (this.#packed) wanted = this.#packed.wantsSignal(this.#owner.eventIndex);
    else if (this.#owner.eventIndex) {
      const event = this.#avail!.view.getUint16(4 + state.size * 2, true);
      const grown = (state.nextUsed - state.signalled) & 0xffff;
      wanted = !state.signalledValid || ((state.nextUsed - event - 1) & 0xffff) < grown;
      state.signalled = state.nextUsed;
      state.signalledValid = true;
    } else {
      wanted = (this.#avail!.view.getUint16(0, true) & availNoInterrupt) === 0;
    }
    if (wanted) this.#owner.queueInterrupt(this);
  }
}
