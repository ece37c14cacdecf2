/** A machine with nothing but an AHCI controller, and the steps that a driver takes, on it or on another machine, for tests. */
import { MemorySpace, PortSpace } from '../../bus/index.js';
import { AtaDisk, type AtaDrive, AtapiDrive } from '../ata/index.js';
import type { MemoryDrive } from '../disk/testing.js';
import { PciRoot } from '../pci/pci-root.js';
import { TestLine } from '../testing.js';
import { Ich9Ahci } from './ich9-ahci.js';

export const ramBytes = 0x400000;
export const hbaBase = 0xe000_0000;
export const pairBase = 0xc000;

export const sataDisk = (backend: MemoryDrive) =>
  new AtaDisk({ backend, model: 'VRING HARDDISK', serial: 'VR00001', version: '1.0', queueDepth: 32 });
export const sataCd = (backend: MemoryDrive) =>
  new AtapiDrive({ backend, model: 'VRING DVD-ROM', serial: 'VR00003', version: '1.0' });

export function ahciMachine(drives: readonly (AtaDrive | undefined)[]) {
  const memory = new MemorySpace(new ArrayBuffer(ramBytes));
  memory.addRam({ name: 'ram', gpa: 0, size: ramBytes, hva: 0, readonly: false });
  const ports = new PortSpace();
  const messages: number[] = [];
  const published: [number, number][] = [];
  memory.onPublish = (gpa, length) => void published.push([gpa, length]);
  const root = new PciRoot({
    spaces: { memory, ports, msi: { send: (_gpa, data) => void messages.push(data) } },
    route: () => 0,
  });
  const line = new TestLine();
  root.onLine = (pin) => line.set(root.lineLevel(pin));
  const hba = new Ich9Ahci({ dma: memory.dma, drives });
  root.bus.add(hba.function, 4);
  root.mapPorts(ports);
  const machine = { memory, ports, root, hba, line, messages, published };
  return { ...machine, ram: new Uint8Array(memory.dma.view(0, ramBytes, true)!.buffer) };
}
export type AhciMachine = ReturnType<typeof ahciMachine>;

/** Memory and ports of a machine that may answer later. */
export interface AhciAccess {
  in(port: number, size: 1 | 2 | 4): Promise<number>;
  out(port: number, size: 1 | 2 | 4, value: number): Promise<void>;
  read(gpa: number, size: 1 | 2 | 4): Promise<number>;
  write(gpa: number, size: 1 | 2 | 4, value: number): Promise<void>;
}

export function accessOf({ memory, ports }: AhciMachine): AhciAccess {
  return {
    in: async (port, size) => ports.read(port, size),
    out: async (port, size, value) => ports.write(port, size, value),
    read: async (gpa, size) => memory.read(gpa, size),
    write: async (gpa, size, value) => memory.write(gpa, size, value),
  };
}

export const px = {
  list: 0x00,
  fis: 0x08,
  interrupt: 0x10,
  enable: 0x14,
  command: 0x18,
  taskFile: 0x20,
  signature: 0x24,
  link: 0x28,
  linkControl: 0x2c,
  linkError: 0x30,
  active: 0x34,
  issued: 0x38,
} as const;

export interface AhciCommand {
  readonly code: number;
  readonly lba?: number;
  readonly count?: number;
  readonly feature?: number;
  readonly device?: number;
  /** Pieces of memory: address and length. */
  readonly pieces?: readonly (readonly [number, number])[];
  readonly packet?: readonly number[];
  readonly write?: boolean;
  readonly interrupts?: boolean;
}

/** Where the driver has its structures: lists and received FISes of each port, tables of each slot. */
const listGpa = (port: number) => 0x10000 + port * 0x1000;
export const fisGpa = (port: number) => 0x18000 + port * 0x1000;
const tableGpa = (port: number, slot: number) => 0x20000 + port * 0x10000 + slot * 0x400;

export class AhciDriver {
  readonly access: AhciAccess;
  readonly port: number;
  readonly slotOfFunction: number;

  constructor(access: AhciAccess, port = 0, slotOfFunction = 4) {
    this.access = access;
    this.port = port;
    this.slotOfFunction = slotOfFunction;
  }

  config(at: number): Promise<number> {
    return this.#config(at).then(() => this.access.in(0xcfc + (at & 3), 4));
  }
  async setConfig(at: number, value: number): Promise<void> {
    await this.#config(at);
    await this.access.out(0xcfc, 4, value);
  }
  async #config(at: number): Promise<void> {
    await this.access.out(0xcf8, 4, (0x80000000 | (this.slotOfFunction << 11) | at) >>> 0);
  }

  /** Places the adapter's registers, and lets it master the bus. */
  async place(): Promise<void> {
    await this.setConfig(0x20, pairBase);
    await this.setConfig(0x24, hbaBase);
    await this.setConfig(0x04, 7);
  }

  get(register: number): Promise<number> {
    return this.access.read(hbaBase + 0x100 + this.port * 0x80 + register, 4);
  }
  set(register: number, value: number): Promise<void> {
    return this.access.write(hbaBase + 0x100 + this.port * 0x80 + register, 4, value);
  }

  /** FISes are received, and commands fetched. */
  async start(): Promise<void> {
    await this.set(px.list, listGpa(this.port));
    await this.set(px.fis, fisGpa(this.port));
    await this.set(px.command, 0x10);
    await this.set(px.command, 0x11);
  }
  async restart(): Promise<void> {
    await this.set(px.command, 0x10);
    await this.set(px.interrupt, 0xffffffff);
    await this.set(px.command, 0x11);
  }

  async prepare(slot: number, command: AhciCommand): Promise<void> {
    const { code, lba = 0, count = 0, feature = 0, device = 0x40, pieces = [], packet } = command;
    const { access, port } = this;
    const high = Math.floor(lba / 2 ** 24);
    const low = lba % 2 ** 24;
    const fis = [
      ...[0x27, 0x80, code, feature & 0xff],
      ...[low & 0xff, (low >> 8) & 0xff, low >> 16, device],
      ...[high & 0xff, (high >> 8) & 0xff, (high >> 16) & 0xff, feature >> 8],
      ...[count & 0xff, count >> 8, 0, 0],
      ...[0, 0, 0, 0],
    ];
    const table = tableGpa(port, slot);
    const put = async (gpa: number, list: readonly number[]) => {
      for (let i = 0; i < list.length; i += 4)
        await access.write(
          gpa + i,
          4,
          (list[i]! | ((list[i + 1] ?? 0) << 8) | ((list[i + 2] ?? 0) << 16) | ((list[i + 3] ?? 0) << 24)) >>> 0,
        );
    };
    await put(table, fis);
    if (packet) await put(table + 0x40, [...packet, ...new Array<number>(16 - packet.length).fill(0)]);
    for (const [i, [gpa, length]] of pieces.entries()) {
      const at = table + 0x80 + 16 * i;
      await access.write(at, 4, gpa);
      await access.write(at + 4, 4, 0);
      await access.write(at + 12, 4, ((length - 1) | (command.interrupts ? 0x80000000 : 0)) >>> 0);
    }
    const header = listGpa(port) + slot * 32;
    await access.write(header, 4, (5 | (command.write ? 0x40 : 0) | (packet ? 0x20 : 0) | (pieces.length << 16)) >>> 0);
    await access.write(header + 4, 4, 0x5555);
    await access.write(header + 8, 4, table);
    await access.write(header + 12, 4, 0);
  }

  /** A FIS without a command: the control register alone. */
  async control(value: number): Promise<void> {
    await this.prepare(0, { code: 0 });
    await this.access.write(tableGpa(this.port, 0), 4, 0x27);
    await this.access.write(tableGpa(this.port, 0) + 12, 4, (value << 24) >>> 0);
    await this.set(px.issued, 1);
  }

  byteCount(slot = 0): Promise<number> {
    return this.access.read(listGpa(this.port) + slot * 32 + 4, 4);
  }

  async issue(slot: number, command: AhciCommand): Promise<void> {
    await this.prepare(slot, command);
    if (command.code === 0x60 || command.code === 0x61) await this.set(px.active, (1 << slot) >>> 0);
    await this.set(px.issued, (1 << slot) >>> 0);
  }

  /** READ and WRITE FPDMA QUEUED. */
  queued(slot: number, command: Omit<AhciCommand, 'code' | 'feature'> & { sectors: number }): Promise<void> {
    const { sectors, ...rest } = command;
    return this.issue(slot, {
      ...rest,
      code: command.write ? 0x61 : 0x60,
      feature: sectors,
      count: slot << 3,
    });
  }

  /** The received FIS at a place. */
  async received(place: number, bytes: number): Promise<number[]> {
    const fis: number[] = [];
    for (let i = 0; i < bytes; i += 4) {
      const word = await this.access.read(fisGpa(this.port) + place + i, 4);
      for (let k = 0; k < 4; k++) fis.push((word >>> (8 * k)) & 0xff);
    }
    return fis;
  }
}
