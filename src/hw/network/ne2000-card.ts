/** The NE2000 on PCI, as Realtek's RTL8029, and on ISA. */
import type { Device, IoHandler, IrqLine, PortSpace } from '../../bus/index.js';
import type { StateArena } from '../../schema/index.js';
import { type OptionRom, PciFunction, romBars } from '../pci/pci-function.js';
import { loadParts, type StatePart, saveParts } from '../pci/saved-parts.js';
import { NE2000_PORTS, Ne2000 } from './ne2000.js';
import type { NetworkPeer } from './network-peer.js';

export interface NetworkCardOptions {
  readonly name: string;
  readonly peer: NetworkPeer;
  readonly mac: Uint8Array;
  /** On PCI. */
  readonly rom?: OptionRom | undefined;
  readonly arena?: StateArena | undefined;
}

const BAR_BYTES = 0x100;

export class Ne2000Pci implements Device {
  readonly name: string;
  readonly function: PciFunction;
  readonly chip: Ne2000;
  readonly #parts: readonly StatePart[];

  constructor({ name, peer, mac, rom, arena }: NetworkCardOptions) {
    this.name = name;
    this.chip = new Ne2000({ peer, mac, arena, interrupt: (level) => this.function?.setIntx(level) });
    const { io } = this.chip;
    // What lies behind the card's ports answers nothing.
    const handler: IoHandler = {
      read: (offset, size) => (offset < NE2000_PORTS ? io.read(offset, size) : 0),
      write: (offset, size, value) => {
        if (offset < NE2000_PORTS) io.write(offset, size, value);
      },
    };
    this.function = new PciFunction({
      name,
      vendorId: 0x10ec,
      deviceId: 0x8029,
      classCode: 0x020000,
      interruptPin: 1,
      bars: [{ index: 0, kind: 'io', size: BAR_BYTES, handler }, ...romBars(rom)],
      arena,
    });
    this.#parts = [this.function.part, this.chip.part];
  }

  reset(): void {
    this.function.reset();
    this.chip.reset();
  }

  save(): Uint8Array {
    return saveParts(this.#parts);
  }

  load(saved: Uint8Array): void {
    loadParts(this.#parts, saved, this.name);
    this.function.restore();
    this.chip.restored();
  }
}

export interface Ne2000IsaOptions extends NetworkCardOptions {
  readonly ports: PortSpace;
  readonly irq: IrqLine;
  /** First of its 32 ports. */
  readonly port: number;
}

export class Ne2000Isa implements Device {
  readonly name: string;
  readonly chip: Ne2000;

  constructor({ name, peer, mac, arena, ports, irq, port }: Ne2000IsaOptions) {
    this.name = name;
    this.chip = new Ne2000({ peer, mac, arena, interrupt: (level) => irq.set(level) });
    ports.add({ name, start: port, size: NE2000_PORTS, handler: this.chip.io });
  }

  reset(): void {
    this.chip.reset();
  }

  save(): Uint8Array {
    return saveParts([this.chip.part]);
  }

  load(saved: Uint8Array): void {
    loadParts([this.chip.part], saved, this.name);
    this.chip.restored();
  }
}
