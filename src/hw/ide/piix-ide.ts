/**
 * The IDE function of the PIIX3 (Intel 290550, 82371SB): two channels at their fixed ports, and bus master registers in BAR 4. As on
 * QEMU the channels answer whatever the timing registers say.
 */
import type { Device, IoHandler, IrqLine, Mapping, PortSpace } from '../../bus/index.js';
import { type StateArena, StateError } from '../../schema/index.js';
import type { AtaDrive } from '../ata/index.js';
import { PciFunction } from '../pci/pci-function.js';
import type { PciRoot } from '../pci/pci-root.js';
import { loadParts, saveParts } from '../pci/saved-parts.js';
import { IdeChannel } from './ide-channel.js';

const channelPorts = [
  { command: 0x1f0, control: 0x3f6 },
  { command: 0x170, control: 0x376 },
] as const;
const timing = 0x40;
const decodeEnable = 0x8000;

export interface PiixIdeOptions {
  readonly root: PciRoot;
  /** Interrupts 14 and 15. */
  readonly irqs: readonly [IrqLine, IrqLine];
  /** Primary master and slave, secondary master and slave. */
  readonly drives: readonly (AtaDrive | undefined)[];
  readonly slot?: number;
  readonly arena?: StateArena | undefined;
}

export class PiixIde implements Device {
  readonly name = 'piix3-ide';
  readonly function: PciFunction;
  readonly channels: readonly IdeChannel[];

  constructor(options: PiixIdeOptions) {
    const { root, drives, irqs } = options;
    this.channels = channelPorts.map(
      (_, i) =>
        new IdeChannel({
          name: `ide${i}`,
          irq: irqs[i]!,
          dma: root.spaces.memory.dma,
          busMasterEnabled: () => this.function.busMaster,
          drives: [drives[2 * i], drives[2 * i + 1]],
          arena: options.arena,
        }),
    );
    this.function = new PciFunction({
      name: this.name,
      vendorId: 0x8086,
      deviceId: 0x7010,
      classCode: 0x010180,
      bars: [{ index: 4, kind: 'io', size: 16, handler: this.#busMasterPorts }],
      arena: options.arena,
    });
    this.function.define(0x06, 2, 0x0280);
    // Timing of both channels: kept for the guest, of no effect.
    this.function.define(timing, 4, 0, 0xffffffff);
    this.function.define(timing + 4, 4, 0, 0x00ff_ffff);
    root.bus.add(this.function, options.slot ?? 1, 1);
    this.reset();
  }

  mapPorts(ports: PortSpace): Mapping[] {
    return channelPorts.flatMap(({ command, control }, i) => {
      const channel = this.channels[i]!;
      return [
        ports.add({ name: channel.name, start: command, size: 8, handler: commandBlock(channel) }),
        ports.add({
          name: channel.name,
          start: control,
          size: 1,
          handler: {
            read: () => channel.readAlternateStatus(),
            write: (_offset, _size, value) => channel.writeControl(value),
          },
        }),
      ];
    });
  }

  /** What firmware does at start, without BARs: the channels are told to answer. */
  configure(): void {
    this.function.write(timing, 2, decodeEnable);
    this.function.write(timing + 2, 2, decodeEnable);
    this.function.setCommand(this.function.command | 5);
  }

  /** BAR 4: eight bytes for each channel, command, status and the table's address. */
  readonly #busMasterPorts: IoHandler = {
    read: (offset, size) => {
      let value = 0;
      for (let i = 0; i < size; i++) value |= this.#readByte(offset + i) << (8 * i);
      return value >>> 0;
    },
    write: (offset, size, value) => {
      for (let i = 0; i < size; i++) this.#writeByte(offset + i, (value >>> (8 * i)) & 0xff);
    },
  };

  #readByte(offset: number): number {
    const channel = this.channels[offset >> 3]!;
    const at = offset & 7;
    return at < 4 ? channel.readBusMaster(at) : (channel.busMaster.table >>> (8 * (at - 4))) & 0xff;
  }

  #writeByte(offset: number, value: number): void {
    const channel = this.channels[offset >> 3]!;
    const at = offset & 7;
    if (at < 4) {
      channel.writeBusMaster(at, value);
      return;
    }
    const shift = 8 * (at - 4);
    const kept = channel.busMaster.table & ~(0xff << shift);
    channel.busMaster.table = ((kept | (value << shift)) & ~3) >>> 0;
  }

  reset(): void {
    this.function.reset();
    for (const channel of this.channels) channel.reset();
  }

  /** A drive that has been plugged in, by channel and unit. */
  drive(channel: number, unit: number): AtaDrive | undefined {
    return this.channels[channel]?.drives[unit];
  }

  get #parts() {
    return [this.function.part, ...this.channels.flatMap((channel) => channel.parts)];
  }
  save(): Uint8Array {
    return saveParts(this.#parts);
  }
  load(saved: Uint8Array): void {
    loadParts(this.#parts, saved, this.name, () => {
      if (!this.function.hasOwnIdentity())
        throw new StateError('state-field', `The saved state of ${this.name} is of another PCI function.`);
    });
    this.function.restore();
    for (const channel of this.channels) channel.restored();
  }
}

/** The command block: a data register as wide as the access, and bytes. */
function commandBlock(channel: IdeChannel): IoHandler {
  return {
    read: (offset, size) => {
      if (offset === 0 && size > 1) return channel.readData(size);
      let value = 0;
      for (let i = 0; i < size; i++) value |= channel.readRegister(offset + i) << (8 * i);
      return value >>> 0;
    },
    write: (offset, size, value) => {
      if (offset === 0) {
        channel.writeData(size, value);
        return;
      }
      for (let i = 0; i < size; i++) channel.writeRegister(offset + i, (value >>> (8 * i)) & 0xff);
    },
  };
}
