/**
 * The AHCI controller of Intel's ICH9 (Intel 316972, chapter 15) with six ports: host bus adapter registers in BAR 5, an index and data
 * pair in BAR 4, one MSI vector. As on QEMU there is no legacy IDE interface, no staggered spin-up and no hot-plug of drives.
 */
import type { Device, DmaSpace, IoHandler } from '../../bus/index.js';
import { RegisterBank } from '../../bus/index.js';
import type { StateArena, StateOf } from '../../schema/index.js';
import type { AtaDrive } from '../ata/index.js';
import { Msi } from '../pci/msi.js';
import { checkIdentity, PciFunction } from '../pci/pci-function.js';
import { loadParts, saveParts, statePart } from '../pci/saved-parts.js';
import { AhciPort } from './ahci-port.js';
import { ghcBit, globalRegisters, Ich9AhciState, portCount } from './registers.js';

const globalBytes = 0x100;
const portShift = 7;
const windowBytes = 0x1000;
const pair = { sizeBytes: 32, index: 0x10, data: 0x14 } as const;
const capabilityAt = { msi: 0x80, sata: 0xa8 } as const;
const sataCapability = 0x12;
const mapRegister = 0x90;
const mapAhci = 0x40;

export interface Ich9AhciOptions {
  readonly name?: string | undefined;
  readonly dma: DmaSpace;
  /** By port. */
  readonly drives: readonly (AtaDrive | undefined)[];
  readonly arena?: StateArena | undefined;
}

export class Ich9Ahci implements Device {
  readonly name: string;
  readonly function: PciFunction;
  readonly state: StateOf<typeof Ich9AhciState>;
  readonly ports: readonly AhciPort[];
  readonly #bank: RegisterBank<Ich9Ahci>;
  readonly #msi: Msi;

  constructor({ name = 'ich9-ahci', dma, drives, arena }: Ich9AhciOptions) {
    this.name = name;
    this.state = Ich9AhciState.allocate(arena);
    this.#bank = new RegisterBank<Ich9Ahci>(globalBytes, globalRegisters, this, this.state);
    this.function = new PciFunction({
      name,
      vendorId: 0x8086,
      deviceId: 0x2922,
      revision: 2,
      classCode: 0x010601,
      interruptPin: 1,
      bars: [
        { index: 4, kind: 'io', size: pair.sizeBytes, handler: this.#pair },
        { index: 5, kind: 'memory32', size: windowBytes, handler: this.#window },
      ],
      arena,
      configWritten: () => {
        this.#msi.configChanged();
        for (const port of this.ports) port.run();
      },
    });
    this.#msi = new Msi(this.function, 1, { at: capabilityAt.msi, masks: false });
    const sata = this.function.addCapability(sataCapability, 8, capabilityAt.sata);
    this.function.define(sata + 2, 2, 0x10);
    // The pair lies in BAR 4, at its 16th byte.
    this.function.define(sata + 4, 4, 0x48);
    this.function.define(mapRegister, 1, mapAhci);
    this.ports = Array.from({ length: portCount }, (_, i) => {
      const host = {
        dma,
        busMasterEnabled: () => this.function.busMaster,
        interruptChanged: (event: boolean) => {
          this.#collect(i);
          this.#tell(event);
        },
      };
      return new AhciPort(host, drives[i], arena);
    });
    if (!arena?.attached) this.reset();
  }

  readonly #window: IoHandler = {
    read: (offset, size) => this.#read(offset, size),
    write: (offset, size, value) => this.#write(offset, size, value),
  };

  #read(offset: number, size: 1 | 2 | 4): number {
    if (offset < globalBytes) return this.#bank.read(offset, size);
    return this.#portAt(offset)?.bank.read(offset % (1 << portShift), size) ?? 0;
  }
  #write(offset: number, size: 1 | 2 | 4, value: number): void {
    if (offset < globalBytes) this.#bank.write(offset, size, value);
    else this.#portAt(offset)?.bank.write(offset % (1 << portShift), size, value);
  }
  #portAt(offset: number): AhciPort | undefined {
    return this.ports[(offset - globalBytes) >> portShift];
  }

  readonly #pair: IoHandler = {
    read: (offset, size) => {
      if (offset === pair.index && size === 4) return this.state.index;
      return offset === pair.data && size === 4 ? this.#read(this.state.index, 4) : 0;
    },
    write: (offset, size, value) => {
      if (size !== 4) return;
      if (offset === pair.index) this.state.index = value & (windowBytes - 4);
      else if (offset === pair.data) this.#write(this.state.index, 4, value);
    },
  };

  controlWritten(): void {
    const { state } = this;
    if ((state.GHC & ghcBit.reset) !== 0) {
      Ich9AhciState.reset(state);
      for (const port of this.ports) port.reset();
    }
    this.interruptChanged();
  }

  /** Global registers have changed. */
  interruptChanged(): void {
    for (let i = 0; i < portCount; i++) this.#collect(i);
    this.#tell(false);
  }

  /** Whether a port has an interrupt. */
  #collect(index: number): void {
    const { PxIS, PxIE } = this.ports[index]!.state;
    if ((PxIS & PxIE) !== 0) this.state.IS = (this.state.IS | (1 << index)) >>> 0;
  }

  /** `event`: something new has happened, of which a message tells. */
  #tell(event: boolean): void {
    const { state } = this;
    const level = state.IS !== 0 && (state.GHC & ghcBit.interruptEnable) !== 0;
    this.function.setIntx(level && !this.#msi.enabled);
    if (level && event) this.#msi.notify(0);
  }

  reset(): void {
    this.function.reset();
    Ich9AhciState.reset(this.state);
    for (const port of this.ports) port.powerOn();
    this.interruptChanged();
  }

  get #parts() {
    return [this.function.part, statePart(Ich9AhciState, this.state), ...this.ports.flatMap((port) => port.parts)];
  }
  save(): Uint8Array {
    return saveParts(this.#parts);
  }
  load(saved: Uint8Array): void {
    loadParts(this.#parts, saved, this.name, () => checkIdentity(this.function));
    this.function.restore();
    for (const port of this.ports) port.restored();
    this.interruptChanged();
  }
}
