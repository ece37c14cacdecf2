/** A machine with nothing but PIIX3's IDE function, and the steps that a driver takes, for tests. */
import { MemorySpace, PortSpace } from '../../bus/index.js';
import { AtaDisk, type AtaDrive, AtapiDrive } from '../ata/index.js';
import type { MemoryDrive } from '../disk/testing.js';
import { PciRoot } from '../pci/pci-root.js';
import { TestLine } from '../testing.js';
import { PiixIde } from './piix-ide.js';

export const ramBytes = 0x400000;
export const busMasterBase = 0xc000;

export const testDisk = (backend: MemoryDrive, more: { queueDepth?: number } = {}) =>
  new AtaDisk({ backend, model: 'VRING HARDDISK', serial: 'VR00001', version: '1.0', ...more });
export const testCd = (backend: MemoryDrive) =>
  new AtapiDrive({ backend, model: 'VRING DVD-ROM', serial: 'VR00003', version: '1.0' });

export function ideMachine(drives: readonly (AtaDrive | undefined)[]) {
  const memory = new MemorySpace(new ArrayBuffer(ramBytes));
  memory.addRam({ name: 'ram', gpa: 0, size: ramBytes, hva: 0, readonly: false });
  const ports = new PortSpace();
  const published: [number, number][] = [];
  memory.onPublish = (gpa, length) => void published.push([gpa, length]);
  const root = new PciRoot({ spaces: { memory, ports, msi: { send() {} } }, route: () => 0 });
  const lines = [new TestLine(), new TestLine()] as const;
  const ide = new PiixIde({ root, irqs: lines, drives });
  ide.mapPorts(ports);
  root.mapPorts(ports);
  ide.function.write(0x20, 4, busMasterBase);
  ide.function.setCommand(5);
  return {
    memory,
    ports,
    root,
    ide,
    lines,
    published,
    ram: new Uint8Array(memory.dma.view(0, ramBytes, true)!.buffer),
  };
}
export type IdeMachine = ReturnType<typeof ideMachine>;

/** The steps of a driver; the same on another machine through its ports. */
export class IdeDriver {
  readonly machine: IdeMachine;
  readonly base: number;
  readonly busMaster: number;
  readonly channel: number;
  constructor(machine: IdeMachine, channel = 0) {
    this.machine = machine;
    this.channel = channel;
    this.base = channel === 0 ? 0x1f0 : 0x170;
    this.busMaster = busMasterBase + 8 * channel;
  }
  get status(): number {
    return this.machine.ports.read(this.base + 7, 1);
  }
  get alternateStatus(): number {
    return this.machine.ports.read(this.base + 0x206, 1);
  }
  register(at: number): number {
    return this.machine.ports.read(this.base + at, 1);
  }
  set(at: number, value: number): void {
    this.machine.ports.write(this.base + at, 1, value);
  }
  control(value: number): void {
    this.machine.ports.write(this.base + 0x206, 1, value);
  }
  /** Registers of a 28-bit command. */
  command(code: number, lba = 0, count = 0, feature = 0, unit = 0): void {
    this.set(6, 0xe0 | (unit << 4) | ((lba >>> 24) & 15));
    this.set(1, feature);
    this.set(2, count & 0xff);
    this.set(3, lba & 0xff);
    this.set(4, (lba >>> 8) & 0xff);
    this.set(5, (lba >>> 16) & 0xff);
    this.set(7, code);
  }
  /** Registers of a 48-bit command. */
  command48(code: number, lba: number, count: number, feature = 0): void {
    const high = Math.floor(lba / 2 ** 24);
    this.set(6, 0xe0);
    for (const [at, before, last] of [
      [1, feature >> 8, feature & 0xff],
      [2, count >> 8, count & 0xff],
      [3, high & 0xff, lba & 0xff],
      [4, (high >> 8) & 0xff, (lba >>> 8) & 0xff],
      [5, (high >> 16) & 0xff, (lba >>> 16) & 0xff],
    ] as const) {
      this.set(at, before);
      this.set(at, last);
    }
    this.set(7, code);
  }
  takeData(bytes: number, size: 2 | 4 = 2): Uint8Array {
    const out = new Uint8Array(bytes);
    for (let i = 0; i < bytes; i += size) {
      const value = this.machine.ports.read(this.base, size);
      for (let k = 0; k < size && i + k < bytes; k++) out[i + k] = (value >>> (8 * k)) & 0xff;
    }
    return out;
  }
  giveData(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i += 2)
      this.machine.ports.write(this.base, 2, bytes[i]! | ((bytes[i + 1] ?? 0) << 8));
  }
  /** Puts a table of [gpa, length] at 0x1000 and starts the bus master. */
  startDma(pieces: readonly (readonly [number, number])[], toMemory: boolean): void {
    const { dma } = this.machine.memory;
    pieces.forEach(([gpa, length], i) => {
      dma.writeU32(0x1000 + i * 8, gpa);
      dma.writeU32(0x1004 + i * 8, (length & 0xffff) | (i + 1 === pieces.length ? 0x80000000 : 0));
    });
    const { ports } = this.machine;
    ports.write(this.busMaster + 4, 4, 0x1000);
    ports.write(this.busMaster, 1, toMemory ? 8 : 0);
    ports.write(this.busMaster, 1, toMemory ? 9 : 1);
  }
  get busMasterStatus(): number {
    return this.machine.ports.read(this.busMaster + 2, 1);
  }
  stopDma(): void {
    const { ports } = this.machine;
    ports.write(this.busMaster, 1, 0);
    ports.write(this.busMaster + 2, 1, 6);
  }
  /** Sends a command packet to a drive; `limit`: bytes at once by PIO. */
  packet(packet: readonly number[], options: { dma?: boolean; unit?: number; limit?: number } = {}): void {
    this.set(6, 0xa0 | ((options.unit ?? 0) << 4));
    this.set(1, options.dma ? 1 : 0);
    this.set(4, (options.limit ?? 0xfffe) & 0xff);
    this.set(5, (options.limit ?? 0xfffe) >> 8);
    this.set(7, 0xa0);
    const bytes = new Uint8Array(12);
    bytes.set(packet);
    this.giveData(bytes);
  }
  /** All that a packet gives by PIO. */
  takeAll(): Uint8Array {
    const parts: number[] = [];
    while ((this.status & 0x88) === 8 && (this.register(2) & 3) === 2) {
      parts.push(...this.takeData(this.register(4) | (this.register(5) << 8)));
    }
    return Uint8Array.from(parts);
  }
}
