/**
 * The Interrupt Translation Service of a GICv3 (IHI 0069, chapter 5 and 12.18 to 12.20): who writes an event's number to GITS_TRANSLATER
 * is known by its device ID, and both together name an LPI and the redistributor that gets it. Software fills the tables by commands
 * in a queue. Device IDs, events and collections have 16 bits; redistributors are named by number.
 *
 * A command that is wrong is skipped, as the architecture allows (5.3.1, "command errors"): the queue goes on behind it.
 */
import type { Device, DmaSpace, IoHandler } from '../../bus/index.js';
import { defineState, type StateArena, type StateOf, u8, u32, u32s } from '../../schema/index.js';
import type { GicV3 } from './gicv3.js';
import { IDENTIFICATION, IIDR, identification, part, widen } from './gicv3-bit-files.js';
import { FIRST_LPI, ID_BITS } from './gicv3-state.js';
import { ItsTables } from './its-tables.js';

/** A frame of control registers, and one with GITS_TRANSLATER. */
export const ITS_BYTES = 0x2_0000;
export const ITS_TRANSLATER = 0x1_0040;

const reg = {
  CTLR: 0x0000,
  IIDR: 0x0004,
  TYPER: 0x0008,
  CBASER: 0x0080,
  CWRITER: 0x0088,
  CREADR: 0x0090,
  BASER: 0x0100,
  baserEnd: 0x0110,
} as const;
const ENABLED = 1;
const QUIESCENT = 0x8000_0000;
/** GITS_TYPER: physical LPIs, entries of eight bytes, 16 bits of interrupts, devices and collections. */
const TYPER_LOW = 1 | (7 << 4) | ((ID_BITS - 1) << 8) | (15 << 13);
const TYPER_HIGH = 15 | (1 << 4);
/** Halves of GITS_CBASER: what can be written. */
const CBASER_BITS = [0xffff_fcff, 0xb8ef_ffff] as const;
/** Of GITS_BASER<n>, and what tables they are: devices and collections, with entries of eight bytes. */
const BASER_BITS = [0xffff_ffff, 0xf8e0_ffff] as const;
const PAGES_64K = 2 << 8;
const BASER_TYPES = [(1 << 24) | (7 << 16), (4 << 24) | (7 << 16)] as const;
const VALID = 0x8000_0000;
const COMMAND_BYTES = 32;
const idBytes = identification(0x94);

const command = {
  MOVI: 0x01,
  INT: 0x03,
  CLEAR: 0x04,
  MAPD: 0x08,
  MAPC: 0x09,
  MAPTI: 0x0a,
  MAPI: 0x0b,
  INV: 0x0c,
  INVALL: 0x0d,
  MOVALL: 0x0e,
  DISCARD: 0x0f,
} as const;

export const ItsState = defineState('gicv3-its', 1, {
  ctlr: u8(0, { max: 1 }),
  /** Halves of GITS_CBASER. */
  queue: u32s(2),
  /** Bytes from the queue's start: where software writes, and where commands are taken. */
  CWRITER: u32(0, { max: 0xf_ffe0 }),
  CREADR: u32(0, { max: 0xf_ffe0 }),
  /** Halves of GITS_BASER0 and GITS_BASER1, without what they are. */
  bases: u32s(4),
});

export interface ItsOptions {
  readonly gic: GicV3;
  readonly dma: DmaSpace;
  readonly arena?: StateArena;
}

/** A command's eight words. */
type Words = readonly number[];

export class Its implements Device {
  readonly name = 'gicv3-its';
  readonly state: StateOf<typeof ItsState>;
  readonly #gic: GicV3;
  readonly #dma: DmaSpace;
  readonly #tables: ItsTables;
  /** CPUs whose LPIs have changed. */
  readonly #touched = new Set<number>();

  readonly registers: IoHandler = {
    read: (offset, size) => part(this.#read(offset & ~3), offset, size),
    write: (offset, size, value) => {
      if (offset === ITS_TRANSLATER) this.translate(0, size === 4 ? value : value & 0xffff);
      else this.#write(offset & ~3, ...widen(offset, size, value));
    },
  };

  constructor({ gic, dma, arena }: ItsOptions) {
    this.#gic = gic;
    this.#dma = dma;
    this.state = ItsState.allocate(arena);
    this.#setPages();
    this.#tables = new ItsTables(dma, this.state.bases);
  }

  /** A device writes to GITS_TRANSLATER. */
  translate(deviceId: number, event: number): void {
    if ((this.state.ctlr & ENABLED) === 0) return;
    const target = this.#target(deviceId, event);
    if (target) this.#gic.lpis[target.cpu].set(target.irq);
    this.#tell();
  }

  /** What an event leads to. */
  #target(deviceId: number, event: number): { readonly irq: number; readonly cpu: number } | undefined {
    const device = this.#tables.device(deviceId);
    const entry = device && this.#tables.event(device, event);
    const cpu = entry && this.#cpuOf(entry.collection);
    if (entry === undefined || cpu === undefined) return undefined;
    this.#touched.add(cpu);
    return { irq: entry.irq, cpu };
  }

  #cpuOf(collection: number): number | undefined {
    const cpu = this.#tables.collection(collection);
    return cpu !== undefined && cpu < this.#gic.cpus ? cpu : undefined;
  }

  #tell(): void {
    for (const cpu of this.#touched) this.#gic.refresh(cpu);
    this.#touched.clear();
  }

  // --- registers

  #read(offset: number): number {
    const { state } = this;
    const half = (offset >> 2) & 1;
    switch (offset) {
      case reg.CTLR:
        return (state.ctlr & ENABLED) !== 0 ? ENABLED : QUIESCENT;
      case reg.IIDR:
        return IIDR;
      case reg.TYPER:
        return TYPER_LOW;
      case reg.TYPER + 4:
        return TYPER_HIGH;
      case reg.CBASER:
      case reg.CBASER + 4:
        return state.queue[half];
      case reg.CWRITER:
        return state.CWRITER;
      case reg.CREADR:
        return state.CREADR;
    }
    if (offset >= reg.BASER && offset < reg.baserEnd) {
      const at = (offset - reg.BASER) >> 2;
      return (state.bases[at] | (half === 1 ? BASER_TYPES[at >> 1] : 0)) >>> 0;
    }
    return offset >= IDENTIFICATION && offset < IDENTIFICATION + 0x30 ? idBytes[(offset - IDENTIFICATION) >> 2] : 0;
  }

  #write(offset: number, value: number, mask: number): void {
    const { state } = this;
    const half = (offset >> 2) & 1;
    const isOn = (state.ctlr & ENABLED) !== 0;
    switch (offset) {
      case reg.CTLR:
        if ((mask & 1) === 0) return;
        state.ctlr = value & ENABLED;
        this.#work();
        return;
      case reg.CBASER:
      case reg.CBASER + 4:
        if (isOn) return;
        state.queue[half] = ((state.queue[half] & ~mask) | value) & CBASER_BITS[half];
        state.CREADR = 0;
        return;
      case reg.CWRITER:
        // Bit 0 asks for a command that has stalled to be tried again: none ever stalls.
        state.CWRITER = ((state.CWRITER & ~mask) | value) & 0xf_ffe0;
        this.#work();
        return;
    }
    if (offset < reg.BASER || offset >= reg.baserEnd || isOn) return;
    const at = (offset - reg.BASER) >> 2;
    state.bases[at] = ((state.bases[at] & ~mask) | value) & BASER_BITS[half];
  }

  // --- the queue

  /** Carries out what is in the queue: at most all of it once. */
  #work(): void {
    const { state } = this;
    const [low, high] = state.queue;
    if ((state.ctlr & ENABLED) === 0 || (high & VALID) === 0) return;
    const base = (high & 0xfffff) * 2 ** 32 + (low - (low & 0xfff));
    const bytes = ((low & 0xff) + 1) * 0x1000;
    if (state.CWRITER >= bytes || state.CREADR >= bytes) return;
    while (state.CREADR !== state.CWRITER) {
      const taken = this.#dma.view(base + state.CREADR, COMMAND_BYTES, false);
      if (taken) {
        const view = new DataView(taken.buffer, taken.byteOffset, COMMAND_BYTES);
        this.#execute([0, 1, 2, 3, 4, 5, 6, 7].map((n) => view.getUint32(4 * n, true)));
      }
      state.CREADR = (state.CREADR + COMMAND_BYTES) % bytes;
    }
    this.#tell();
  }

  /** SYNC and what is not known do nothing: every command has its effect at once. */
  #execute(words: Words): void {
    const [, deviceId, event, irq, low, high] = words;
    const collection = low & 0xffff;
    switch (words[0] & 0xff) {
      case command.MAPD:
        this.#mapDevice(deviceId, words);
        break;
      case command.MAPC:
        this.#tables.setCollection(collection, (high & VALID) !== 0 ? low >>> 16 : undefined);
        break;
      case command.MAPTI:
        this.#mapEvent(deviceId, event, irq, collection);
        break;
      case command.MAPI:
        this.#mapEvent(deviceId, event, event, collection);
        break;
      case command.MOVI:
        this.#moveEvent(deviceId, event, collection);
        break;
      case command.INT: {
        const target = this.#target(deviceId, event);
        if (target) this.#gic.lpis[target.cpu].set(target.irq);
        break;
      }
      case command.CLEAR: {
        const target = this.#target(deviceId, event);
        if (target) this.#gic.lpis[target.cpu].clear(target.irq);
        break;
      }
      case command.DISCARD:
        this.#discard(deviceId, event);
        break;
      case command.INV: {
        const target = this.#target(deviceId, event);
        if (target) this.#gic.lpis[target.cpu].changed();
        break;
      }
      case command.INVALL: {
        const cpu = this.#cpuOf(collection);
        if (cpu === undefined) return;
        this.#gic.lpis[cpu].changed();
        this.#touched.add(cpu);
        break;
      }
      case command.MOVALL:
        this.#moveAll(low >>> 16, words[6] >>> 16);
        break;
    }
  }

  #mapDevice(deviceId: number, [, , size, , low, high]: Words): void {
    if ((high & VALID) === 0) {
      this.#tables.setDevice(deviceId, undefined);
      return;
    }
    const eventBits = (size & 31) + 1;
    if (eventBits > ID_BITS) return;
    this.#tables.setDevice(deviceId, { ittGpa: (high & 0xfffff) * 2 ** 32 + (low - (low & 0xff)), eventBits });
  }

  #mapEvent(deviceId: number, event: number, irq: number, collection: number): void {
    const device = this.#tables.device(deviceId);
    if (device && irq >= FIRST_LPI && irq < 2 ** ID_BITS) this.#tables.setEvent(device, event, { irq, collection });
  }

  /** A pending interrupt goes with its event. */
  #moveEvent(deviceId: number, event: number, collection: number): void {
    const device = this.#tables.device(deviceId);
    const entry = device && this.#tables.event(device, event);
    const to = this.#cpuOf(collection);
    if (!device || !entry || to === undefined) return;
    const from = this.#cpuOf(entry.collection);
    this.#tables.setEvent(device, event, { irq: entry.irq, collection });
    if (from !== undefined) this.#move(from, to, [entry.irq]);
  }

  #moveAll(from: number, to: number): void {
    const { lpis } = this.#gic;
    if (from < lpis.length && to < lpis.length) this.#move(from, to, lpis[from].all);
  }

  #move(from: number, to: number, irqs: readonly number[]): void {
    const { lpis } = this.#gic;
    if (from === to) return;
    for (const irq of irqs) {
      if (!lpis[from].isPending(irq)) continue;
      lpis[from].clear(irq);
      lpis[to].set(irq);
    }
    this.#touched.add(from).add(to);
  }

  #discard(deviceId: number, event: number): void {
    const device = this.#tables.device(deviceId);
    const entry = device && this.#tables.event(device, event);
    if (!device || !entry) return;
    const cpu = this.#cpuOf(entry.collection);
    if (cpu !== undefined) {
      this.#gic.lpis[cpu].clear(entry.irq);
      this.#touched.add(cpu);
    }
    this.#tables.setEvent(device, event, undefined);
  }

  /** Tables have pages of 64 KiB until software says otherwise, as QEMU's. */
  #setPages(): void {
    for (const low of [0, 2]) this.state.bases[low] = PAGES_64K;
  }

  reset(): void {
    ItsState.reset(this.state);
    this.#setPages();
  }
  save(): Uint8Array {
    return ItsState.save(this.state);
  }
  load(saved: Uint8Array): void {
    ItsState.load(this.state, saved);
  }
}
