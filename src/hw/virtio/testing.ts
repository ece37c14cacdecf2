/**
 * A virtio driver for tests: finds the device behind its PCI function, negotiates, sets up split queues in RAM and moves
 * buffers, with the register accesses that a guest would make.
 */
import { MemorySpace, PortSpace } from '../../bus/index.js';
import { assignResources } from '../pci/assign-resources.js';
import { PciRoot } from '../pci/pci-root.js';
import type { VirtioModel } from './virtio-device.js';
import { VirtioDevice } from './virtio-device.js';
import { VirtioPci, type VirtioPciOptions } from './virtio-pci.js';

export const ramBytes = 0x400000;

export interface Piece {
  readonly gpa: number;
  readonly length: number;
  readonly write?: boolean;
}

/** A machine with one virtio device in slot 4 and nothing else. */
export function testMachine(
  model: VirtioModel,
  options: Omit<VirtioPciOptions, 'device'> & { readonly packed?: boolean } = {},
  ram: ArrayBufferLike = new SharedArrayBuffer(ramBytes),
) {
  const memory = new MemorySpace(ram);
  memory.addRam({ name: 'ram', gpa: 0, size: ramBytes, hva: 0, readonly: false });
  const ports = new PortSpace();
  const messages: number[] = [];
  const published: [number, number][] = [];
  memory.onPublish = (gpa, length) => void published.push([gpa, length]);
  const root = new PciRoot({
    spaces: { memory, ports, msi: { send: (_gpa, data) => void messages.push(data) } },
    route: (slot, pin) => (slot + pin - 1) & 3,
  });
  const log: string[] = [];
  const device = new VirtioDevice(model, {
    name: 'virtio0',
    dma: memory.dma,
    packed: options.packed,
    arena: options.arena,
    log: (message) => void log.push(message),
  });
  const pci = new VirtioPci({ ...options, device });
  root.bus.add(pci.function, 4);
  assignResources(root, {
    io: { first: 0xc000, last: 0xffff },
    memory: { first: 0xe0000000, last: 0xfebfffff },
    lineIrqs: [10, 10, 11, 11],
  });
  pci.function.setCommand(pci.function.command | 4);
  return { memory, ports, root, device, pci, messages, published, log, ram: new Uint8Array(ram) };
}

export type TestMachine = ReturnType<typeof testMachine>;

const queueSpace = 0x10000;

/** One split queue as the driver sees it, at a fixed place in RAM. */
export class DriverQueue {
  readonly size: number;
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
  /** Indirect tables are written here. */
  readonly indirect: number;
  #nextDesc = 0;
  #nextAvail = 0;
  #seenUsed = 0;
  readonly #machine: TestMachine;
  readonly index: number;

  constructor(machine: TestMachine, index: number, size: number) {
    this.#machine = machine;
    this.index = index;
    this.size = size;
    this.desc = 0x100000 + index * queueSpace;
    this.avail = this.desc + size * 16;
    this.used = Math.ceil((this.avail + 6 + size * 2) / 0x1000) * 0x1000;
    this.indirect = this.desc + 0x8000;
    machine.ram.fill(0, this.desc, this.desc + queueSpace);
  }

  writeDescriptor(table: number, index: number, piece: Piece, flags: number, next: number): void {
    const { memory } = this.#machine;
    const at = table + index * 16;
    memory.dma.writeU64(at, piece.gpa);
    memory.dma.writeU32(at + 8, piece.length);
    memory.dma.writeU16(at + 12, flags | (piece.write ? 2 : 0));
    memory.dma.writeU16(at + 14, next);
  }

  /** Makes a chain available without kicking; returns the head. */
  add(pieces: readonly Piece[], indirect = false): number {
    const { memory } = this.#machine;
    const head = this.#nextDesc;
    if (indirect) {
      pieces.forEach((piece, i) => {
        this.writeDescriptor(this.indirect, i, piece, i + 1 < pieces.length ? 1 : 0, i + 1);
      });
      this.writeDescriptor(this.desc, head, { gpa: this.indirect, length: pieces.length * 16 }, 4, 0);
      this.#nextDesc = (head + 1) % this.size;
    } else {
      pieces.forEach((piece, i) => {
        const at = (head + i) % this.size;
        this.writeDescriptor(this.desc, at, piece, i + 1 < pieces.length ? 1 : 0, (at + 1) % this.size);
      });
      this.#nextDesc = (head + pieces.length) % this.size;
    }
    memory.dma.writeU16(this.avail + 4 + (this.#nextAvail % this.size) * 2, head);
    this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
    memory.dma.writeU16(this.avail + 2, this.#nextAvail);
    return head;
  }

  /** What the device gave back since the last call. */
  completions(): { head: number; length: number }[] {
    const { dma } = this.#machine.memory;
    const out: { head: number; length: number }[] = [];
    const index = dma.readU16(this.used + 2);
    while (this.#seenUsed !== index) {
      const at = this.used + 4 + (this.#seenUsed % this.size) * 8;
      out.push({ head: dma.readU32(at), length: dma.readU32(at + 4) });
      this.#seenUsed = (this.#seenUsed + 1) & 0xffff;
    }
    return out;
  }
  get availIndex(): number {
    return this.#nextAvail;
  }
  /** used_event: ask for an interrupt when the used index passes this. */
  setUsedEvent(value: number): void {
    this.#machine.memory.dma.writeU16(this.avail + 4 + this.size * 2, value);
  }
  get availEvent(): number {
    return this.#machine.memory.dma.readU16(this.used + 4 + this.size * 8);
  }
}

/** The modern interface, found through the capability list. */
export class ModernDriver {
  readonly machine: TestMachine;
  readonly queues: DriverQueue[] = [];
  readonly common: number;
  readonly isr: number;
  readonly config: number;
  readonly notify: number;
  readonly multiplier: number;

  constructor(machine: TestMachine) {
    this.machine = machine;
    const { function: fn } = machine.pci;
    const found = new Map<number, number>();
    let multiplier = 0;
    for (let at = fn.read(0x34, 1); at !== 0; at = fn.read(at + 1, 1)) {
      if (fn.read(at, 1) !== 9) continue;
      const type = fn.read(at + 3, 1);
      if (type > 4) continue;
      const bar = fn.barAddress(fn.barSpecs.find((spec) => spec.index === fn.read(at + 4, 1))!)!;
      found.set(type, bar + fn.read(at + 8, 4));
      if (type === 2) multiplier = fn.read(at + 16, 4);
    }
    this.common = found.get(1)!;
    this.notify = found.get(2)!;
    this.isr = found.get(3)!;
    this.config = found.get(4)!;
    this.multiplier = multiplier;
  }

  get status(): number {
    return this.machine.memory.read(this.common + 20, 1);
  }
  set status(value: number) {
    this.machine.memory.write(this.common + 20, 1, value);
  }

  features(): bigint {
    const { memory } = this.machine;
    memory.write(this.common, 4, 0);
    const low = memory.read(this.common + 4, 4);
    memory.write(this.common, 4, 1);
    return (BigInt(memory.read(this.common + 4, 4)) << 32n) | BigInt(low);
  }

  /** Resets, accepts what is offered except `without`, sets up the queues and starts. Returns the accepted features. */
  start(options: { without?: readonly number[]; queues?: number; msix?: boolean } = {}): bigint {
    const { memory } = this.machine;
    this.status = 0;
    this.status = 3;
    let accepted = this.features();
    for (const bit of options.without ?? []) accepted &= ~(1n << BigInt(bit));
    memory.write(this.common + 8, 4, 0);
    memory.write(this.common + 12, 4, Number(accepted & 0xffffffffn));
    memory.write(this.common + 8, 4, 1);
    memory.write(this.common + 12, 4, Number(accepted >> 32n));
    this.status = 11;
    if ((this.status & 8) === 0) throw new Error('features were refused');
    if (options.msix) enableMsix(this.machine);
    const count = options.queues ?? memory.read(this.common + 18, 2);
    this.queues.length = 0;
    if (options.msix) memory.write(this.common + 16, 2, 0);
    for (let q = 0; q < count; q++) {
      memory.write(this.common + 22, 2, q);
      const size = memory.read(this.common + 24, 2);
      const queue = new DriverQueue(this.machine, q, size);
      for (const [at, gpa] of [
        [32, queue.desc],
        [40, queue.avail],
        [48, queue.used],
      ] as const) {
        memory.write(this.common + at, 4, gpa);
        memory.write(this.common + at + 4, 4, 0);
      }
      if (options.msix) memory.write(this.common + 26, 2, q + 1);
      memory.write(this.common + 28, 2, 1);
      this.queues.push(queue);
    }
    this.status = 15;
    return accepted;
  }

  kick(queue: number): void {
    this.machine.memory.write(this.notify + queue * this.multiplier, 2, queue);
  }
}

/** The legacy interface in BAR 0. */
export class LegacyDriver {
  readonly machine: TestMachine;
  readonly queues: DriverQueue[] = [];
  readonly base: number;

  constructor(machine: TestMachine) {
    this.machine = machine;
    const { function: fn } = machine.pci;
    this.base = fn.barAddress(fn.barSpecs.find((spec) => spec.index === 0)!)!;
  }

  start(options: { features?: number; queues?: number } = {}): number {
    const { ports } = this.machine;
    ports.write(this.base + 18, 1, 0);
    ports.write(this.base + 18, 1, 3);
    const accepted = options.features ?? ports.read(this.base, 4);
    ports.write(this.base + 4, 4, accepted);
    for (let q = 0; q < (options.queues ?? 1); q++) {
      ports.write(this.base + 14, 2, q);
      const queue = new DriverQueue(this.machine, q, ports.read(this.base + 12, 2));
      ports.write(this.base + 8, 4, queue.desc / 0x1000);
      this.queues.push(queue);
    }
    ports.write(this.base + 18, 1, 7);
    return accepted;
  }

  kick(queue: number): void {
    this.machine.ports.write(this.base + 16, 2, queue);
  }
}

/** Vector v of the MSI-X table sends message v. */
export function enableMsix(machine: TestMachine): void {
  const { memory, pci } = machine;
  const fn = pci.function;
  const bar = fn.barAddress(fn.barSpecs.find((spec) => spec.index === 1)!)!;
  for (let at = fn.read(0x34, 1); at !== 0; at = fn.read(at + 1, 1)) {
    if (fn.read(at, 1) !== 0x11) continue;
    const vectors = (fn.read(at + 2, 2) & 0x7ff) + 1;
    for (let v = 0; v < vectors; v++) {
      memory.write(bar + v * 16, 4, 0xfee00000);
      memory.write(bar + v * 16 + 4, 4, 0);
      memory.write(bar + v * 16 + 8, 4, v);
      memory.write(bar + v * 16 + 12, 4, 0);
    }
    fn.write(at + 2, 2, 0x8000);
  }
}
