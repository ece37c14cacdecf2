/**
 * The guest-physical address space: RAM blocks and MMIO windows laid over one another by priority, flattened into a sorted
 * list of disjoint ranges that is rebuilt when something comes, goes or moves (PCI BARs, ROM/RAM switches).
 *
 * An access goes to whatever answers at its first byte; if the access fits that window it arrives there whole, even where
 * a window of higher priority covers some of its later bytes (a 4-byte write to 0xcf8 is one access although 0xcf9 is
 * another register), else it is carried out byte by byte.
 */

import { assert } from '../base/index.js';
import type { DeferrableRange, DmaSpace, IoWindow, NotifyRegister, RamBlock } from './address-space.js';

const PAGE = 4096;
/** Addresses from here on are nobody's: numbers stay exact. */
const LIMIT = 2 ** 52;
/** How many different unassigned addresses are reported. */
const REPORT_LIMIT = 256;

/** Something mapped into a space. */
export interface Mapping {
  /** First address, or undefined while unmapped. */
  readonly start: number | undefined;
  /** Moves it, or unmaps it with undefined. An address beyond the space unmaps it too (a BAR being sized). */
  move(start: number | undefined): void;
  /** Unmaps it for good. */
  remove(): void;
}

interface Region {
  readonly size: number;
  readonly priority: number;
  readonly order: number;
  readonly block: RamBlock | undefined;
  readonly window: IoWindow | undefined;
  start: number | undefined;
}

/** One piece of the flat view; the pieces cover [0, LIMIT). */
interface Range {
  readonly start: number;
  readonly end: number;
  readonly region: Region | undefined;
  readonly window: IoWindow | undefined;
  /** First address of the whole window. */
  readonly windowStart: number;
  /** For RAM: byte offset in memory of `start`; -1 elsewhere. */
  readonly hva: number;
  readonly writable: boolean;
}

export class MemorySpace {
  readonly dma: DmaSpace;
  /** Called once per unassigned address, for the first few hundred. */
  log: ((message: string) => void) | undefined;
  /** Called for every range that a device (or the bus itself) wrote in RAM. */
  onPublish: ((gpa: number, length: number) => void) | undefined;
  /** Called after every change of what answers where. */
  onWindows: (() => void) | undefined;

  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #regions: Region[] = [];
  readonly #listeners = new Set<() => void>();
  readonly #reported = new Set<number>();
  #nextOrder = 0;
  #ranges: Range[] = [];
  #starts = new Float64Array(0);
  #last!: Range;
  #blocks: readonly RamBlock[] = [];
  #transactions = 0;
  #dirty = false;

  /** `buffer` holds every RAM block: the machine's WebAssembly memory. */
  constructor(buffer: ArrayBufferLike) {
    this.#bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
    this.dma = new RamDma(this, this.#bytes, this.#view);
    this.#rebuild();
  }

  /** Maps RAM or ROM. Among equal priorities the later one lies on top. */
  addRam(block: RamBlock, priority = 0): Mapping {
    assert(
      block.gpa % PAGE === 0 && block.size % PAGE === 0 && block.size > 0,
      `RAM block ${block.name} is whole pages`,
    );
    assert(block.hva >= 0 && block.hva + block.size <= this.#bytes.length, `RAM block ${block.name} is in memory`);
    return this.#add(block.gpa, block.size, priority, block, undefined);
  }

  /** Maps a device's registers over whatever has a lower priority; RAM has 0 unless told otherwise. */
  addWindow(window: IoWindow, priority = 1): Mapping {
    return this.#add(window.start, window.size, priority, undefined, window);
  }

  #add(start: number, size: number, priority: number, block?: RamBlock, window?: IoWindow): Mapping {
    const region: Region = { size, priority, order: this.#nextOrder++, block, window, start: undefined };
    const space = this;
    const mapping: Mapping = {
      get start() {
        return region.start;
      },
      move(to) {
        const next = to !== undefined && to >= 0 && to + size <= LIMIT ? to : undefined;
        assert(block === undefined || next === undefined || next % PAGE === 0, 'RAM moves by whole pages');
        if (next === region.start) return;
        region.start = next;
        space.#changed();
      },
      remove() {
        const at = space.#regions.indexOf(region);
        if (at < 0) return;
        space.#regions.splice(at, 1);
        region.start = undefined;
        space.#changed();
      },
    };
    this.#regions.push(region);
    mapping.move(start);
    return mapping;
  }

  /** Several changes at once: one rebuild, one call of the listeners. */
  transaction(change: () => void): void {
    this.#transactions++;
    try {
      change();
    } finally {
      if (--this.#transactions === 0 && this.#dirty) this.#rebuild();
    }
  }

  /** `listener` is called after every change of `ramBlocks()`. Returns what ends it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * The visible RAM in order of address, whole pages only and without overlaps. A page that RAM shares with something
   * else is not in it: accesses there go through `read` and `write`.
   */
  ramBlocks(): readonly RamBlock[] {
    return this.#blocks;
  }

  /** Where writes may be handed over late, as it is now. */
  deferrable(): DeferrableRange[] {
    return this.#ranges.flatMap(({ start, end, window, windowStart }) =>
      (window?.deferrable ?? [])
        .map(({ offset, size }) => ({ space: 'memory' as const, start: windowStart + offset, size }))
        .filter((range) => range.start >= start && range.start + range.size <= end),
    );
  }

  /** The notify register that a write goes to, as it is now. */
  notifyRegister(gpa: number, size: number, value: number): NotifyRegister | undefined {
    if (!(gpa >= 0 && gpa < LIMIT)) return undefined;
    const { window, windowStart } = this.#find(gpa);
    return window?.notifies?.(gpa - windowStart, size, value);
  }

  #changed(): void {
    this.#dirty = true;
    if (this.#transactions === 0) this.#rebuild();
  }

  #rebuild(): void {
    this.#dirty = false;
    const mapped = this.#regions.filter((r) => r.start !== undefined);
    mapped.sort((a, b) => b.priority - a.priority || b.order - a.order);
    const cuts = new Set([0, LIMIT]);
    for (const r of mapped) cuts.add(r.start!).add(r.start! + r.size);
    const edges = [...cuts].sort((a, b) => a - b);
    const ranges: Range[] = [];
    let start = 0;
    for (let i = 0; i + 1 < edges.length; i++) {
      const at = edges[i]!;
      const top = mapped.find((r) => r.start! <= at && at < r.start! + r.size);
      const next =
        edges[i + 2] === undefined
          ? undefined
          : mapped.find((r) => r.start! <= edges[i + 1]! && edges[i + 1]! < r.start! + r.size);
      if (edges[i + 2] !== undefined && next === top) continue;
      ranges.push({
        start,
        end: edges[i + 1]!,
        region: top,
        window: top?.window,
        windowStart: top?.start ?? 0,
        hva: top?.block ? top.block.hva + (start - top.start!) : -1,
        writable: top?.block !== undefined && !top.block.readonly,
      });
      start = edges[i + 1]!;
    }
    this.#ranges = ranges;
    this.#starts = Float64Array.from(ranges, (r) => r.start);
    this.#last = ranges[0]!;
    this.onWindows?.();

    const blocks: RamBlock[] = [];
    for (const r of ranges) {
      if (r.hva < 0) continue;
      const gpa = Math.ceil(r.start / PAGE) * PAGE;
      const size = Math.floor(r.end / PAGE) * PAGE - gpa;
      if (size <= 0) continue;
      const { name, readonly } = r.region!.block!;
      blocks.push({ name, gpa, size, hva: r.hva + (gpa - r.start), readonly });
    }
    const same =
      blocks.length === this.#blocks.length &&
      blocks.every((b, i) => {
        const old = this.#blocks[i]!;
        return b.gpa === old.gpa && b.size === old.size && b.hva === old.hva && b.readonly === old.readonly;
      });
    if (same) return;
    this.#blocks = blocks;
    for (const listener of this.#listeners) listener();
  }

  /** The piece of the flat view that holds `gpa` (0 <= gpa < LIMIT). */
  #find(gpa: number): Range {
    const last = this.#last;
    if (gpa >= last.start && gpa < last.end) return last;
    const starts = this.#starts;
    let low = 0;
    let high = starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (starts[middle]! <= gpa) low = middle;
      else high = middle;
    }
    return (this.#last = this.#ranges[low]!);
  }

  /** Where `gpa` lies in memory and how far the RAM goes on from there, for DMA: hva -1 outside usable RAM. */
  locate(gpa: number, forWrite: boolean): { hva: number; length: number } {
    if (!(gpa >= 0 && gpa < LIMIT)) return { hva: -1, length: Infinity };
    const r = this.#find(gpa);
    const usable = r.hva >= 0 && (r.writable || !forWrite);
    return { hva: usable ? r.hva + (gpa - r.start) : -1, length: r.end - gpa };
  }

  /** As `locate`, for `length` bytes in one piece of RAM and without allocating: the byte offset in memory or -1. */
  hvaOf(gpa: number, length: number, forWrite: boolean): number {
    if (!(gpa >= 0 && gpa < LIMIT)) return -1;
    const r = this.#find(gpa);
    return r.hva >= 0 && (r.writable || !forWrite) && gpa + length <= r.end ? r.hva + (gpa - r.start) : -1;
  }

  /** The name of what answers at `gpa`, for messages and `info mtree`. */
  nameAt(gpa: number): string {
    if (!(gpa >= 0 && gpa < LIMIT)) return 'unassigned';
    const region = this.#find(gpa).region;
    return region?.block?.name ?? region?.window?.name ?? 'unassigned';
  }

  /** The flat view: one line per piece, as `info mtree -f` shows it. */
  describe(): { start: number; end: number; name: string; kind: 'ram' | 'rom' | 'mmio' }[] {
    return this.#ranges
      .filter((r) => r.region !== undefined)
      .map((r) => ({
        start: r.start,
        end: r.end,
        name: this.nameAt(r.start),
        kind: r.window ? 'mmio' : r.writable ? 'ram' : 'rom',
      }));
  }

  /** Something is mapped at `gpa`, or on the same page: what a device leaves of its page reads as ones, as do parts of its registers. */
  answers(gpa: number): boolean {
    if (!(gpa >= 0 && gpa < LIMIT)) return false;
    const { region, start, end } = this.#find(gpa);
    const page = gpa - (gpa % PAGE);
    return region !== undefined || (start > page && start > 0) || end < page + PAGE;
  }

  read(gpa: number, size: 1 | 2 | 4): number {
    if (!(gpa >= 0 && gpa < LIMIT)) return this.#unassigned(gpa, size);
    const r = this.#find(gpa);
    if (r.window !== undefined) {
      const offset = gpa - r.windowStart;
      if (offset + size <= r.window.size) return readWindow(r.window, offset, size);
    } else if (gpa + size <= r.end) {
      if (r.hva < 0) return this.#unassigned(gpa, size);
      const at = r.hva + (gpa - r.start);
      if (size === 4) return this.#view.getUint32(at, true);
      return size === 2 ? this.#view.getUint16(at, true) : this.#bytes[at]!;
    }
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.read(gpa + i, 1) << (8 * i);
    return value >>> 0;
  }

  write(gpa: number, size: 1 | 2 | 4, value: number): void {
    if (!(gpa >= 0 && gpa < LIMIT)) {
      this.#unassigned(gpa, size);
      return;
    }
    const r = this.#find(gpa);
    if (r.window !== undefined) {
      const offset = gpa - r.windowStart;
      if (offset + size <= r.window.size) {
        writeWindow(r.window, offset, size, value);
        return;
      }
    } else if (gpa + size <= r.end) {
      if (r.hva < 0) this.#unassigned(gpa, size);
      else if (r.writable) {
        const at = r.hva + (gpa - r.start);
        if (size === 4) this.#view.setUint32(at, value, true);
        else if (size === 2) this.#view.setUint16(at, value, true);
        else this.#bytes[at] = value;
        this.onPublish?.(gpa, size);
      } else r.region!.block!.stores?.write(gpa - r.region!.start!, size, value);
      return;
    }
    for (let i = 0; i < size; i++) this.write(gpa + i, 1, (value >>> (8 * i)) & 0xff);
  }

  read64(gpa: number): bigint {
    if (gpa >= 0 && gpa < LIMIT) {
      const r = this.#find(gpa);
      const offset = gpa - r.windowStart;
      if (r.window?.handler.read64 !== undefined && offset + 8 <= r.window.size) return r.window.handler.read64(offset);
    }
    const low = this.read(gpa, 4);
    return (BigInt(this.read(gpa + 4, 4)) << 32n) | BigInt(low);
  }

  write64(gpa: number, value: bigint): void {
    if (gpa >= 0 && gpa < LIMIT) {
      const r = this.#find(gpa);
      const offset = gpa - r.windowStart;
      if (r.window?.handler.write64 !== undefined && offset + 8 <= r.window.size) {
        r.window.handler.write64(offset, value);
        return;
      }
    }
    this.write(gpa, 4, Number(value & 0xffffffffn));
    this.write(gpa + 4, 4, Number((value >> 32n) & 0xffffffffn));
  }

  #unassigned(gpa: number, size: number): number {
    if (this.log !== undefined && this.#reported.size < REPORT_LIMIT && !this.#reported.has(gpa)) {
      this.#reported.add(gpa);
      this.log(`unassigned guest-physical address 0x${gpa.toString(16)} (${size} bytes)`);
    }
    return size === 4 ? 0xffffffff : size === 2 ? 0xffff : 0xff;
  }
}

/** An access that lies inside the window, cut to what the device takes. */
export function readWindow(window: IoWindow, offset: number, size: 1 | 2 | 4): number {
  const most = window.maxAccess ?? 4;
  if (size <= most) {
    const value = window.handler.read(offset, size);
    return size === 4 ? value >>> 0 : size === 2 ? value & 0xffff : value & 0xff;
  }
  const half = (size >> 1) as 1 | 2;
  const low = readWindow(window, offset, half);
  return (low | (readWindow(window, offset + half, half) << (8 * half))) >>> 0;
}

export function writeWindow(window: IoWindow, offset: number, size: 1 | 2 | 4, value: number): void {
  const most = window.maxAccess ?? 4;
  if (size <= most) {
    window.handler.write(offset, size, size === 4 ? value >>> 0 : size === 2 ? value & 0xffff : value & 0xff);
    return;
  }
  const half = (size >> 1) as 1 | 2;
  writeWindow(window, offset, half, value);
  writeWindow(window, offset + half, half, value >>> (8 * half));
}

/** DMA straight into RAM. Windows take no DMA: reads give ones, writes are dropped. */
class RamDma implements DmaSpace {
  readonly #space: MemorySpace;
  readonly #buffer: ArrayBufferLike;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  constructor(space: MemorySpace, bytes: Uint8Array, view: DataView) {
    this.#space = space;
    this.#buffer = bytes.buffer;
    this.#bytes = bytes;
    this.#view = view;
  }
  read(gpa: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const { hva, length } = this.#space.locate(gpa + done, false);
      const count = Math.min(length, target.length - done);
      if (hva < 0) target.fill(0xff, done, done + count);
      else target.set(this.#bytes.subarray(hva, hva + count), done);
      done += count;
    }
  }
  write(gpa: number, source: Uint8Array): void {
    for (let done = 0; done < source.length; ) {
      const { hva, length } = this.#space.locate(gpa + done, true);
      const count = Math.min(length, source.length - done);
      if (hva >= 0) {
        this.#bytes.set(source.subarray(done, done + count), hva);
        this.#space.onPublish?.(gpa + done, count);
      }
      done += count;
    }
  }
  #readByte(gpa: number): number {
    const hva = this.#space.hvaOf(gpa, 1, false);
    return hva < 0 ? 0xff : this.#bytes[hva]!;
  }
  readU16(gpa: number): number {
    const hva = this.#space.hvaOf(gpa, 2, false);
    return hva >= 0 ? this.#view.getUint16(hva, true) : this.#readByte(gpa) | (this.#readByte(gpa + 1) << 8);
  }
  readU32(gpa: number): number {
    const hva = this.#space.hvaOf(gpa, 4, false);
    if (hva >= 0) return this.#view.getUint32(hva, true);
    return (this.readU16(gpa) | (this.readU16(gpa + 2) << 16)) >>> 0;
  }
  readU64(gpa: number): number {
    return this.readU32(gpa) + (this.readU32(gpa + 4) & 0x1fffff) * 2 ** 32;
  }
  writeU8(gpa: number, value: number): void {
    const hva = this.#space.hvaOf(gpa, 1, true);
    if (hva < 0) return;
    this.#bytes[hva] = value;
    this.publish(gpa, 1);
  }
  writeU16(gpa: number, value: number): void {
    const hva = this.#space.hvaOf(gpa, 2, true);
    if (hva >= 0) {
      this.#view.setUint16(hva, value, true);
      this.publish(gpa, 2);
      return;
    }
    this.writeU8(gpa, value & 0xff);
    this.writeU8(gpa + 1, (value >>> 8) & 0xff);
  }
  writeU32(gpa: number, value: number): void {
    const hva = this.#space.hvaOf(gpa, 4, true);
    if (hva >= 0) {
      this.#view.setUint32(hva, value, true);
      this.publish(gpa, 4);
      return;
    }
    this.writeU16(gpa, value & 0xffff);
    this.writeU16(gpa + 2, value >>> 16);
  }
  writeU64(gpa: number, value: number): void {
    this.writeU32(gpa, value >>> 0);
    this.writeU32(gpa + 4, Math.floor(value / 2 ** 32) >>> 0);
  }
  view(gpa: number, length: number, forWrite: boolean): Uint8Array | undefined {
    if (!(length >= 0)) return undefined;
    const hva = this.#space.hvaOf(gpa, length, forWrite);
    return hva < 0 ? undefined : new Uint8Array(this.#buffer, hva, length);
  }
  publish(gpa: number, length: number): void {
    this.#space.onPublish?.(gpa, length);
  }
}
