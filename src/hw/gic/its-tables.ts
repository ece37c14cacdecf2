/**
 * The tables of an ITS (IHI 0069, 5.2), which lie in guest memory: devices, each with a table of its events, and collections. Their
 * entries have eight bytes here, in a format of vring's own, as the architecture leaves it open. All of them are the guest's to spoil:
 * what is read is checked where it is used, and an entry outside of RAM is not there.
 */
import type { DmaSpace } from '../../bus/index.js';

const ENTRY_BYTES = 8;
const VALID = 0x8000_0000;
/** GITS_BASER<n>, lower and upper half. */
const baser = { INDIRECT: 0x4000_0000, PAGE_SHIFT: 8, PAGES: 0xff } as const;

/** A device's events: two to the power of `eventBits` entries from an address on. */
export interface DeviceEntry {
  readonly ittGpa: number;
  readonly eventBits: number;
}
/** An event: the LPI that it makes pending, and whose collection that belongs to. */
export interface EventEntry {
  readonly irq: number;
  readonly collection: number;
}

export class ItsTables {
  readonly #dma: DmaSpace;
  /** Halves of GITS_BASER0 (devices) and GITS_BASER1 (collections). */
  readonly #bases: Uint32Array;

  constructor(dma: DmaSpace, bases: Uint32Array) {
    this.#dma = dma;
    this.#bases = bases;
  }

  #view(gpa: number, forWrite: boolean): DataView | undefined {
    const bytes = this.#dma.view(gpa, ENTRY_BYTES, forWrite);
    return bytes && new DataView(bytes.buffer, bytes.byteOffset, ENTRY_BYTES);
  }

  #set(gpa: number | undefined, low: number, high: number): boolean {
    const view = gpa === undefined ? undefined : this.#view(gpa, true);
    if (gpa === undefined || !view) return false;
    view.setUint32(0, low, true);
    view.setUint32(4, high, true);
    this.#dma.publish(gpa, ENTRY_BYTES);
    return true;
  }

  /** Address of an entry of a flat table, or of one of two levels; undefined where there is none. */
  #place(table: 0 | 1, index: number): number | undefined {
    const low = this.#bases[2 * table];
    const high = this.#bases[2 * table + 1];
    if ((high & VALID) === 0) return undefined;
    const kind = Math.min((low >>> baser.PAGE_SHIFT) & 3, 2);
    const pageBytes = [0x1000, 0x4000, 0x1_0000][kind];
    // With pages of 64 KiB the place of bits 12 to 15 has bits 48 to 51.
    const top = kind === 2 ? ((low >>> 12) & 15) * 2 ** 48 : 0;
    const base = top + (high & 0xffff) * 2 ** 32 + (low - (low % pageBytes));
    const bytes = ((low & baser.PAGES) + 1) * pageBytes;
    if ((high & baser.INDIRECT) === 0)
      return (index + 1) * ENTRY_BYTES <= bytes ? base + index * ENTRY_BYTES : undefined;
    const perPage = pageBytes / ENTRY_BYTES;
    const first = Math.floor(index / perPage) * ENTRY_BYTES;
    if (first + ENTRY_BYTES > bytes) return undefined;
    const view = this.#view(base + first, false);
    if (!view || (view.getUint32(4, true) & VALID) === 0) return undefined;
    const word = view.getUint32(0, true);
    return (
      (view.getUint32(4, true) & 0xfffff) * 2 ** 32 + (word - (word % pageBytes)) + (index % perPage) * ENTRY_BYTES
    );
  }

  device(id: number): DeviceEntry | undefined {
    const gpa = this.#place(0, id);
    const view = gpa === undefined ? undefined : this.#view(gpa, false);
    if (!view) return undefined;
    const [low, high] = [view.getUint32(0, true), view.getUint32(4, true)];
    if ((high & VALID) === 0) return undefined;
    return { ittGpa: (high & 0xfffff) * 2 ** 32 + (low - (low & 0xff)), eventBits: (low & 31) + 1 };
  }

  /** False: the table has no place for it. Undefined takes it out. */
  setDevice(id: number, entry: DeviceEntry | undefined): boolean {
    if (!entry) return this.#set(this.#place(0, id), 0, 0);
    const { ittGpa, eventBits } = entry;
    return this.#set(this.#place(0, id), (ittGpa % 2 ** 32) + (eventBits - 1), Math.floor(ittGpa / 2 ** 32) + VALID);
  }

  #eventPlace({ ittGpa, eventBits }: DeviceEntry, event: number): number | undefined {
    return event < 2 ** eventBits ? ittGpa + event * ENTRY_BYTES : undefined;
  }

  event(device: DeviceEntry, event: number): EventEntry | undefined {
    const gpa = this.#eventPlace(device, event);
    const view = gpa === undefined ? undefined : this.#view(gpa, false);
    if (!view || (view.getUint32(4, true) & VALID) === 0) return undefined;
    const low = view.getUint32(0, true);
    return { irq: low & 0xffff, collection: low >>> 16 };
  }

  setEvent(device: DeviceEntry, event: number, entry: EventEntry | undefined): boolean {
    const gpa = this.#eventPlace(device, event);
    return entry ? this.#set(gpa, entry.collection * 0x1_0000 + entry.irq, VALID) : this.#set(gpa, 0, 0);
  }

  /** Number of the redistributor of a collection. */
  collection(id: number): number | undefined {
    const gpa = this.#place(1, id);
    const view = gpa === undefined ? undefined : this.#view(gpa, false);
    return view && (view.getUint32(4, true) & VALID) !== 0 ? view.getUint32(0, true) & 0xffff : undefined;
  }

  setCollection(id: number, redistributor: number | undefined): boolean {
    return this.#set(this.#place(1, id), redistributor ?? 0, redistributor === undefined ? 0 : VALID);
  }
}
