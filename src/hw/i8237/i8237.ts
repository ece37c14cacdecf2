/**
 * A PC's two DMA controllers (Intel 8237A; as the PIIX3, 290550, has them) with their page registers: channels 0 to 3 move bytes
 * within 64 KiB pages, 5 to 7 words within 128 KiB, 4 is the cascade. A device that has a channel says that it wants service, and
 * moves its data by `toMemory` and `fromMemory` as soon as the channel lets it.
 *
 * Deviations: a transfer takes no time and is not arbitrated, so that priorities, compressed timing and the levels of DREQ and DACK have
 * no effect, and the mask and mode of channel 4 hold nothing back, as on QEMU. Memory to memory is not there, as on the PIIX3.
 */
import type { Device, DmaSpace } from '../../bus/index.js';
import { bool, bytes, defineState, list, type StateArena, type StateOf, u8, u16 } from '../../schema/index.js';

const CHANNELS = 4;
const command = { memoryToMemory: 0x01, disable: 0x04 } as const;
const mode = { typeMask: 0x0c, write: 0x04, read: 0x08, autoInitialize: 0x10, decrement: 0x20, cascade: 0xc0 } as const;
/** Channel of each page register at 81h-83h and 87h, 89h-8Bh and 8Fh. */
const PAGE_CHANNELS: Readonly<Record<number, number>> = { 1: 2, 2: 3, 3: 1, 7: 0 };

const controllerFields = {
  command: u8(),
  /** Channels that have reached terminal count since the last look. */
  reached: u8(0, { max: 15 }),
  /** Channels that are asked for: by devices, and by the request register. */
  requested: u8(0, { max: 15 }),
  softRequested: u8(0, { max: 15 }),
  mask: u8(15, { max: 15 }),
  /** The next byte of an address or count is the high one. */
  high: bool(),
  page: bytes(CHANNELS),
  mode: bytes(CHANNELS),
};
const channelFields = { baseAddress: u16(), baseCount: u16(), address: u16(), count: u16() };

export const DmaControllersState = defineState('i8237', 1, {
  controllers: list(2, controllerFields),
  channels: list(2 * CHANNELS, channelFields),
});

/** A channel as the device on it sees it. */
export interface DmaChannel {
  /** DREQ. */
  request(wanted: boolean): void;
  /** The channel is open, so that a transfer would move something. */
  readonly isOpen: boolean;
  /**
   * From the device to memory, or back. Gives how many bytes were moved: less than all when the channel is closed, or reaches terminal
   * count; `ended` tells that it has.
   */
  toMemory(source: Uint8Array): number;
  fromMemory(target: Uint8Array): number;
  /** The last transfer has reached terminal count. */
  readonly ended: boolean;
}

export class DmaControllers implements Device {
  readonly name = 'i8237';
  readonly state: StateOf<typeof DmaControllersState>;
  readonly #dma: DmaSpace;
  /** By channel: who hears that it may have been opened. */
  readonly #listeners: ((() => void) | undefined)[] = [];

  constructor(options: { readonly dma: DmaSpace; readonly arena?: StateArena | undefined }) {
    this.#dma = options.dma;
    this.state = DmaControllersState.allocate(options.arena);
  }

  reset(): void {
    DmaControllersState.reset(this.state);
  }
  save(): Uint8Array {
    return DmaControllersState.save(this.state);
  }
  load(saved: Uint8Array): void {
    DmaControllersState.load(this.state, saved);
  }

  /** Channel 0 to 3, or 5 to 7, for a device. `opened` is called when the guest may have opened it while it is asked for. */
  channel(number: number, opened: () => void): DmaChannel {
    this.#listeners[number] = opened;
    const [controller, bit] = [number >> 2, 1 << (number & 3)];
    let ended = false;
    const move = (moving: Uint8Array, intoMemory: boolean): number => {
      const moved = this.#move(number, moving, intoMemory);
      ended = moved.ended;
      return moved.bytes;
    };
    const isOpen = () => this.#isOpen(number);
    return {
      request: (wanted) => {
        const state = this.state.controllers[controller]!;
        state.requested = wanted ? state.requested | bit : state.requested & ~bit;
      },
      get isOpen() {
        return isOpen();
      },
      toMemory: (source) => move(source, true),
      fromMemory: (target) => move(target, false),
      get ended() {
        return ended;
      },
    };
  }

  #isOpen(number: number): boolean {
    const { command: commands, mask, mode: modes } = this.state.controllers[number >> 2]!;
    const closed = (commands & command.disable) !== 0 || (mask & (1 << (number & 3))) !== 0;
    return !closed && (modes[number & 3]! & mode.cascade) !== mode.cascade;
  }

  #move(number: number, moving: Uint8Array, intoMemory: boolean): { bytes: number; ended: boolean } {
    if (!this.#isOpen(number)) return { bytes: 0, ended: false };
    const shift = number >> 2;
    const controller = this.state.controllers[shift]!;
    const channel = this.state.channels[number]!;
    const setting = controller.mode[number & 3]!;
    const unit = 1 << shift;
    const left = channel.count + 1;
    const units = Math.min(Math.floor(moving.length / unit), left);
    const page = (shift === 0 ? controller.page[number & 3]! : controller.page[number & 3]! & 0xfe) << 16;
    const type = setting & mode.typeMask;
    const fits = type === (intoMemory ? mode.write : mode.read);
    const down = (setting & mode.decrement) !== 0;
    for (let at = 0; at < units; ) {
      // Up to the end of the page, behind which the address starts again at its beginning.
      const step = down ? 1 : Math.min(units - at, 0x10000 - channel.address);
      const piece = moving.subarray(at * unit, (at + step) * unit);
      if (fits) {
        const gpa = page + channel.address * unit;
        if (intoMemory) this.#dma.write(gpa, piece);
        else this.#dma.read(gpa, piece);
      } else if (!intoMemory) piece.fill(0xff);
      channel.address = (channel.address + (down ? -step : step)) & 0xffff;
      at += step;
    }
    channel.count = (channel.count - units) & 0xffff;
    const ended = units === left;
    if (ended) this.#terminate(number);
    return { bytes: units * unit, ended };
  }

  #terminate(number: number): void {
    const controller = this.state.controllers[number >> 2]!;
    const channel = this.state.channels[number]!;
    const bit = 1 << (number & 3);
    controller.reached |= bit;
    controller.softRequested &= ~bit;
    if ((controller.mode[number & 3]! & mode.autoInitialize) !== 0) {
      channel.address = channel.baseAddress;
      channel.count = channel.baseCount;
    } else controller.mask |= bit;
  }

  /** Devices whose channel may have been opened go on. */
  #opened(controller: number): void {
    for (let i = 0; i < CHANNELS; i++) {
      const number = controller * CHANNELS + i;
      if ((this.state.controllers[controller]!.requested & (1 << i)) !== 0 && this.#isOpen(number))
        this.#listeners[number]?.();
    }
  }

  // ---- registers: `at` is 0 to 15, whatever lies between two of them

  read(index: number, at: number): number {
    const controller = this.state.controllers[index]!;
    if (at < 8) {
      const channel = this.state.channels[index * CHANNELS + (at >> 1)]!;
      return this.#half(index, (at & 1) === 0 ? channel.address : channel.count);
    }
    switch (at) {
      case 8: {
        const status = controller.reached | ((controller.requested | controller.softRequested) << 4);
        controller.reached = 0;
        return status;
      }
      case 15:
        return controller.mask;
      default:
        // The temporary register (13) is that of memory to memory.
        return 0;
    }
  }

  #half(index: number, value: number): number {
    const controller = this.state.controllers[index]!;
    controller.high = !controller.high;
    return controller.high ? value & 0xff : value >> 8;
  }

  write(index: number, at: number, value: number): void {
    const controller = this.state.controllers[index]!;
    if (at < 8) {
      this.#writeChannel(index, at, value);
      return;
    }
    const bit = 1 << (value & 3);
    switch (at) {
      case 8:
        controller.command = value & ~command.memoryToMemory;
        break;
      case 9:
        controller.softRequested = (value & 4) !== 0 ? controller.softRequested | bit : controller.softRequested & ~bit;
        break;
      case 10:
        controller.mask = (value & 4) !== 0 ? controller.mask | bit : controller.mask & ~bit;
        break;
      case 11:
        controller.mode[value & 3] = value & 0xfc;
        break;
      case 12:
        controller.high = false;
        break;
      case 13:
        controller.high = false;
        controller.command = 0;
        controller.reached = 0;
        controller.softRequested = 0;
        controller.mask = 15;
        break;
      case 14:
        controller.mask = 0;
        break;
      case 15:
        controller.mask = value & 15;
        break;
    }
    this.#opened(index);
  }

  /** Base and current value are written together, a byte at a time. */
  #writeChannel(index: number, at: number, value: number): void {
    const controller = this.state.controllers[index]!;
    const channel = this.state.channels[index * CHANNELS + (at >> 1)]!;
    const { high } = controller;
    controller.high = !high;
    const merge = (before: number) => (high ? (before & 0xff) | (value << 8) : (before & 0xff00) | value);
    if ((at & 1) === 0) {
      channel.baseAddress = merge(channel.baseAddress);
      channel.address = merge(channel.address);
    } else {
      channel.baseCount = merge(channel.baseCount);
      channel.count = merge(channel.count);
    }
  }

  /** A page register by its port below 90h, less that of its controller's first. */
  readPage(index: number, at: number): number {
    const channel = PAGE_CHANNELS[at];
    return channel === undefined ? 0xff : this.state.controllers[index]!.page[channel]!;
  }
  writePage(index: number, at: number, value: number): void {
    const channel = PAGE_CHANNELS[at];
    if (channel !== undefined) this.state.controllers[index]!.page[channel] = value;
  }
}
