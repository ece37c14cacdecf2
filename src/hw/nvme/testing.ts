/** A machine with nothing but an NVMe controller, and the steps that a driver takes, on it or on another machine, for tests. */
import { ManualTime, MemorySpace, PortSpace } from '../../bus/index.js';
import type { MemoryDrive } from '../disk/testing.js';
import { PciRoot } from '../pci/pci-root.js';
import { TestLine } from '../testing.js';
import { NvmeController } from './nvme-controller.js';
import { NvmeNamespace } from './nvme-namespace.js';

export const ramBytes = 0x800000;
export const barBase = 0xfe000000;
const slot = 4;

export function nvmeMachine(drives: readonly MemoryDrive[], blockBytes = 512) {
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
  const clock = new ManualTime(0);
  const nvme = new NvmeController({
    dma: memory.dma,
    clock,
    serial: 'N1',
    model: 'VRING NVMe Ctrl',
    firmware: '1.0',
    namespaces: drives.map((backend, i) => new NvmeNamespace({ backend, identifier: i + 1, blockBytes })),
  });
  root.bus.add(nvme.function, slot);
  root.mapPorts(ports);
  const machine = { memory, ports, root, nvme, line, messages, published, clock };
  return { ...machine, ram: new Uint8Array(memory.dma.view(0, ramBytes, true)!.buffer) };
}
export type NvmeMachine = ReturnType<typeof nvmeMachine>;

/** Memory and ports of a machine that may answer later. */
export interface NvmeAccess {
  out(port: number, size: 1 | 2 | 4, value: number): Promise<void>;
  in(port: number, size: 1 | 2 | 4): Promise<number>;
  read(gpa: number, size: 1 | 2 | 4): Promise<number>;
  write(gpa: number, size: 1 | 2 | 4, value: number): Promise<void>;
  readHex(gpa: number, length: number): Promise<string>;
  writeHex(gpa: number, digits: string): Promise<void>;
}

const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
const unhex = (digits: string) => Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

export function accessOf({ memory, ports }: NvmeMachine): NvmeAccess {
  return {
    in: async (port, size) => ports.read(port, size),
    out: async (port, size, value) => ports.write(port, size, value),
    read: async (gpa, size) => memory.read(gpa, size),
    write: async (gpa, size, value) => memory.write(gpa, size, value),
    readHex: async (gpa, length) => hex(memory.dma.view(gpa, length, false)!),
    writeHex: async (gpa, digits) => memory.dma.view(gpa, digits.length / 2, true)!.set(unhex(digits)),
  };
}

export interface Submission {
  readonly opcode: number;
  readonly namespace?: number;
  readonly prp1?: number;
  readonly prp2?: number;
  /** Bits of the second byte: kind of data pointer, fused operations. */
  readonly flags?: number;
  /** In place of the data pointer. */
  readonly sgl?: readonly [gpa: number, length: number, type: number];
  /** Command dwords from 10 on. */
  readonly dwords?: readonly number[];
}

export interface Completion {
  readonly status: number;
  readonly result: number;
  readonly identifier: number;
}

interface Pair {
  readonly size: number;
  readonly submission: number;
  readonly completion: number;
  tail: number;
  head: number;
  phase: number;
}

/** Rings lie here, a page and more for each pair. */
const ringBase = 0x10000;
const pairBytes = 0x2000;

export class NvmeDriver {
  readonly access: NvmeAccess;
  readonly #pairs: Pair[] = [];
  #next = 1;
  readonly #early: Completion[] = [];

  constructor(access: NvmeAccess) {
    this.access = access;
  }

  async config(at: number): Promise<number> {
    await this.access.out(0xcf8, 4, (0x80000000 | (slot << 11) | at) >>> 0);
    return this.access.in(0xcfc, 4);
  }
  async setConfig(at: number, value: number): Promise<void> {
    await this.access.out(0xcf8, 4, (0x80000000 | (slot << 11) | at) >>> 0);
    await this.access.out(0xcfc, 4, value);
  }
  get(at: number): Promise<number> {
    return this.access.read(barBase + at, 4);
  }
  set(at: number, value: number): Promise<void> {
    return this.access.write(barBase + at, 4, value);
  }
  async place(): Promise<void> {
    await this.setConfig(0x10, barBase);
    await this.setConfig(0x14, 0);
    await this.setConfig(0x04, 6);
  }
  #pair(index: number, size: number): Pair {
    const submission = ringBase + index * pairBytes;
    const pair = { size, submission, completion: submission + 0x1000, tail: 0, head: 0, phase: 1 };
    this.#pairs[index] = pair;
    return pair;
  }
  async clear(index: number): Promise<void> {
    await this.access.writeHex(ringBase + index * pairBytes, '00'.repeat(pairBytes));
  }
  async enable(size = 16): Promise<void> {
    await this.clear(0);
    const { submission, completion } = this.#pair(0, size);
    await this.set(0x24, (size - 1) | ((size - 1) << 16));
    await this.set(0x28, submission);
    await this.set(0x2c, 0);
    await this.set(0x30, completion);
    await this.set(0x34, 0);
    await this.set(0x14, 0x00460001);
  }
  async createPair(index: number, size = 16): Promise<Completion[]> {
    await this.clear(index);
    const { submission, completion } = this.#pair(index, size);
    const dword = index | ((size - 1) << 16);
    return [
      await this.admin({ opcode: 5, prp1: completion, dwords: [dword, 3] }),
      await this.admin({ opcode: 1, prp1: submission, dwords: [dword, 1 | (index << 16)] }),
    ];
  }
  /** Writes a command without ringing; gives its identifier. */
  async put(index: number, command: Submission): Promise<number> {
    const pair = this.#pairs[index]!;
    const { opcode, namespace = 0, prp1 = 0, prp2 = 0, flags = 0, sgl, dwords = [] } = command;
    const identifier = this.#next;
    this.#next = (this.#next % 0xfffe) + 1;
    const view = new DataView(new ArrayBuffer(64));
    view.setUint8(0, opcode);
    view.setUint8(1, flags);
    view.setUint16(2, identifier, true);
    view.setUint32(4, namespace, true);
    view.setBigUint64(24, BigInt(sgl ? sgl[0] : prp1), true);
    if (sgl) {
      view.setUint32(32, sgl[1], true);
      view.setUint8(39, sgl[2]);
    } else view.setBigUint64(32, BigInt(prp2), true);
    for (const [i, dword] of dwords.entries()) view.setUint32(40 + i * 4, dword >>> 0, true);
    await this.access.writeHex(pair.submission + pair.tail * 64, hex(new Uint8Array(view.buffer)));
    pair.tail = (pair.tail + 1) % pair.size;
    return identifier;
  }
  async ring(index: number): Promise<void> {
    await this.set(0x1000 + index * 8, this.#pairs[index]!.tail);
  }
  /** The next completion, taken; undefined: there is none now. */
  async poll(index: number, ring = true): Promise<Completion | undefined> {
    const pair = this.#pairs[index]!;
    const view = new DataView(unhex(await this.access.readHex(pair.completion + pair.head * 16, 16)).buffer);
    const last = view.getUint16(14, true);
    if ((last & 1) !== pair.phase) return undefined;
    pair.head = (pair.head + 1) % pair.size;
    if (pair.head === 0) pair.phase ^= 1;
    if (ring) await this.set(0x1004 + index * 8, pair.head);
    return { status: last >> 1, result: view.getUint32(0, true), identifier: view.getUint16(12, true) };
  }
  async run(index: number, command: Submission): Promise<Completion> {
    const identifier = await this.put(index, command);
    await this.ring(index);
    for (let tries = 0; tries < 20_000; tries++) {
      const found = await this.poll(index);
      if (found?.identifier === identifier) return found;
      if (found) this.#early.push(found);
    }
    throw new Error('a command does not end');
  }
  admin(command: Submission): Promise<Completion> {
    return this.run(0, command);
  }
  /** Completions of others that came while one was waited for. */
  takeEarly(): Completion[] {
    return this.#early.splice(0);
  }
}
