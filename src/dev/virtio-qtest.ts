/** A driver's steps on our virtio devices and on QEMU's, through its qtest socket, for tests: what both see is compared. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemorySpace, PortSpace } from '../bus/index.js';
import { FwCfg, wireFwCfg } from '../hw/fw-cfg/index.js';
import { I440fx, PciRoot, Piix3, Piix4Pm } from '../hw/pci/index.js';
import type { VirtioModel } from '../hw/virtio/virtio-device.js';
import { createVirtioPci } from '../hw/virtio/virtio-pci.js';
import { QemuMachine } from './qtest.js';

export const slot = 4;
const ramBytes = 16 << 20;

/** A machine from the outside: ports and memory. */
export interface Machine {
  in(port: number, size: 1 | 2 | 4): Promise<number>;
  out(port: number, size: 1 | 2 | 4, value: number): Promise<void>;
  read(gpa: number, size: 1 | 2 | 4): Promise<number>;
  write(gpa: number, size: 1 | 2 | 4, value: number): Promise<void>;
  readHex(gpa: number, length: number): Promise<string>;
  writeHex(gpa: number, digits: string): Promise<void>;
}

function ourMachine(model: VirtioModel): Machine {
  const memory = new MemorySpace(new ArrayBuffer(ramBytes));
  memory.addRam({ name: 'ram', gpa: 0, size: ramBytes, hva: 0, readonly: false });
  const ports = new PortSpace();
  const root = new PciRoot({
    spaces: { memory, ports, msi: { send() {} } },
    route: (at, pin) => (at + pin - 1) & 3,
  });
  new I440fx(root);
  new Piix3({ root, irqs: [] });
  new Piix4Pm({ root, block: { read: () => 0, write() {} } });
  root.bus.add(createVirtioPci(model, { name: 'virtio0', dma: memory.dma }).function, slot);
  root.mapPorts(ports);
  const fwCfg = new FwCfg({ dma: memory.dma });
  fwCfg.setFile('opt/vring/text', new TextEncoder().encode('firmware configuration'));
  wireFwCfg(ports, fwCfg);
  return {
    in: async (port, size) => ports.read(port, size),
    out: async (port, size, value) => ports.write(port, size, value),
    read: async (gpa, size) => memory.read(gpa, size),
    write: async (gpa, size, value) => memory.write(gpa, size, value),
    readHex: async (gpa, length) => Buffer.from(memory.dma.view(gpa, length, false)!).toString('hex'),
    writeHex: async (gpa, digits) => memory.dma.view(gpa, digits.length / 2, true)!.set(Buffer.from(digits, 'hex')),
  };
}

// Driver steps

export const barIo = 0xc000;
const barMsix = 0xfe000000;
const barModern = 0xfe010000;
export const [common, isr, config, notify] = [barModern, barModern + 0x1000, barModern + 0x2000, barModern + 0x3000];

const configAddress = (fn: number, at: number) => (0x80000000 | (fn << 8) | (at & 0xfc)) >>> 0;

export async function pciRead(m: Machine, fn: number, at: number, size: 1 | 2 | 4) {
  await m.out(0xcf8, 4, configAddress(fn, at));
  return m.in(0xcfc + (at & 3), size);
}
export async function pciWrite(m: Machine, fn: number, at: number, size: 1 | 2 | 4, value: number) {
  await m.out(0xcf8, 4, configAddress(fn, at));
  await m.out(0xcfc + (at & 3), size, value);
}

export const virtioFn = slot << 3;
export type Log = (what: string, value: unknown) => void;

/** Identity, BAR sizes and what can be written in the header. */
export async function pciHeader(m: Machine, fn: number, log: Log) {
  for (const at of [0x00, 0x08, 0x2c]) log(`config ${at}`, await pciRead(m, fn, at, 4));
  log('header type', await pciRead(m, fn, 0x0e, 1));
  log('pin', await pciRead(m, fn, 0x3d, 1));
  for (let bar = 0; bar < 6; bar++) {
    await pciWrite(m, fn, 0x10 + bar * 4, 4, 0xffffffff);
    log(`bar ${bar}`, await pciRead(m, fn, 0x10 + bar * 4, 4));
    await pciWrite(m, fn, 0x10 + bar * 4, 4, 0);
  }
  await pciWrite(m, fn, 0x3c, 1, 0xa5);
  log('line', await pciRead(m, fn, 0x3c, 1));
}

/** The structures that vendor capabilities name, and the size of the MSI-X table, in order of kind. */
export async function capabilities(m: Machine, log: Log) {
  const found: string[] = [];
  for (let at = await pciRead(m, virtioFn, 0x34, 1); at !== 0; at = await pciRead(m, virtioFn, at + 1, 1)) {
    const id = await pciRead(m, virtioFn, at, 1);
    if (id === 0x11) {
      const words = [];
      for (const i of [0, 4, 8]) words.push((await pciRead(m, virtioFn, at + i, 4)) >>> (i === 0 ? 16 : 0));
      found.push(`msix ${words.join(' ')}`);
    } else if (id === 9) {
      const type = await pciRead(m, virtioFn, at + 3, 1);
      const words = [];
      for (const i of [4, 8, 12]) words.push(await pciRead(m, virtioFn, at + i, i === 4 ? 1 : 4));
      if (type === 2) words.push(await pciRead(m, virtioFn, at + 16, 4));
      found.push(`virtio ${type}: ${words.join(' ')}`);
    }
  }
  log('capabilities', found.sort());
}

export async function mapBars(m: Machine) {
  await pciWrite(m, virtioFn, 0x10, 4, barIo);
  await pciWrite(m, virtioFn, 0x14, 4, barMsix);
  await pciWrite(m, virtioFn, 0x20, 4, barModern);
  await pciWrite(m, virtioFn, 0x24, 4, 0);
  await pciWrite(m, virtioFn, 4, 2, 7);
}

/** One queue of 256 entries at most, at a place of its own. */
export class Queue {
  readonly desc: number;
  readonly avail: number;
  readonly used: number;
  #available = 0;
  #descriptors = 0;
  #seen = 0;
  readonly m: Machine;
  readonly index: number;
  readonly size: number;
  constructor(m: Machine, index: number, size: number) {
    this.m = m;
    this.index = index;
    this.size = size;
    this.desc = 0x200000 + index * 0x4000;
    this.avail = this.desc + 0x1000;
    this.used = this.desc + 0x2000;
  }
  async descriptor(i: number, gpa: number, length: number, flags: number, next: number) {
    const bytes = new DataView(new ArrayBuffer(16));
    bytes.setBigUint64(0, BigInt(gpa), true);
    bytes.setUint32(8, length, true);
    bytes.setUint16(12, flags, true);
    bytes.setUint16(14, next, true);
    await this.m.writeHex(this.desc + i * 16, Buffer.from(bytes.buffer).toString('hex'));
  }
  async offer(head: number) {
    await this.m.write(this.avail + 4 + (this.#available % this.size) * 2, 2, head);
    this.#available = (this.#available + 1) & 0xffff;
    await this.m.write(this.avail + 2, 2, this.#available);
  }
  /** [gpa, length, written by the device] */
  async add(pieces: readonly (readonly [number, number, boolean])[]) {
    const head = this.#descriptors;
    for (const [i, [gpa, length, write]] of pieces.entries()) {
      const last = i + 1 === pieces.length;
      await this.descriptor(head + i, gpa, length, (last ? 0 : 1) | (write ? 2 : 0), last ? 0 : head + i + 1);
    }
    this.#descriptors = (head + pieces.length) % (this.size - 8);
    await this.offer(head);
  }
  async kick() {
    await this.m.write(notify + this.index * 4, 2, this.index);
  }
  /** Waits for `count` used entries; gives [head, length] of each. */
  async take(count: number): Promise<[number, number][]> {
    const out: [number, number][] = [];
    for (let tries = 0; tries < 2000 && out.length < count; tries++) {
      const index = await this.m.read(this.used + 2, 2);
      while (this.#seen !== index) {
        const at = this.used + 4 + (this.#seen % this.size) * 8;
        out.push([await this.m.read(at, 4), await this.m.read(at + 4, 4)]);
        this.#seen = (this.#seen + 1) & 0xffff;
      }
    }
    return out;
  }
}

/** Negotiates `features` (bits below 32) and VERSION_1, and sets queues up. */
export async function start(m: Machine, features: number, queues: readonly number[], log: Log): Promise<Queue[]> {
  await m.write(common + 20, 1, 0);
  log('status after reset', await m.read(common + 20, 1));
  await m.write(common + 20, 1, 3);
  await m.write(common, 4, 0);
  log('offered', (await m.read(common + 4, 4)) & features);
  await m.write(common, 4, 1);
  log('offered, version 1', (await m.read(common + 4, 4)) & 1);
  await m.write(common, 4, 7);
  log('offered, beyond', await m.read(common + 4, 4));
  await m.write(common + 8, 4, 0);
  await m.write(common + 12, 4, features >>> 0);
  await m.write(common + 8, 4, 1);
  await m.write(common + 12, 4, 1);
  await m.write(common + 20, 1, 11);
  log('status', await m.read(common + 20, 1));
  const made: Queue[] = [];
  for (const q of queues) {
    await m.write(common + 22, 2, q);
    const size = await m.read(common + 24, 2);
    const queue = new Queue(m, q, size);
    for (let at = queue.desc; at < queue.desc + 0x4000; at += 4) {
      if (at === queue.avail || at === queue.used) await m.write(at, 4, 0);
    }
    for (const [at, gpa] of [
      [32, queue.desc],
      [40, queue.avail],
      [48, queue.used],
    ] as const) {
      await m.write(common + at, 4, gpa);
      await m.write(common + at + 4, 4, 0);
      log(`queue ${q} address`, await m.read(common + at, 4));
    }
    log(`queue ${q}`, [size, await m.read(common + 30, 2), await m.read(common + 28, 2)]);
    await m.write(common + 28, 2, 1);
    log(`queue ${q} enabled`, await m.read(common + 28, 2));
    made.push(queue);
  }
  await m.write(common + 22, 2, 1000);
  log('queue 1000', await m.read(common + 24, 2));
  await m.write(common + 20, 1, 15);
  log('status', await m.read(common + 20, 1));
  return made;
}

export async function bytes(m: Machine, gpa: number, length: number): Promise<string> {
  return length === 0 ? '' : m.readHex(gpa, length);
}

/** Runs the steps on both machines and compares what they logged. */
export async function compare(
  model: VirtioModel,
  args: readonly string[],
  steps: (m: Machine, log: Log) => Promise<void>,
) {
  const ours: string[] = [];
  const theirs: string[] = [];
  await steps(ourMachine(model), (what, value) => void ours.push(`${what}: ${JSON.stringify(value)}`));
  const dir = mkdtempSync(join(tmpdir(), 'vring-qemu-'));
  const qemu = new QemuMachine(args, dir);
  try {
    await steps(qemu, (what, value) => void theirs.push(`${what}: ${JSON.stringify(value)}`));
  } finally {
    qemu.close();
    rmSync(dir, { recursive: true });
  }
  // What differs, and no more: logs are long.
  const lines = ours.flatMap((line, i) => (line === theirs[i] ? [] : [`ours   ${line}`, `QEMU's ${theirs[i]}`]));
  assert.deepEqual(lines, []);
  assert.equal(ours.length, theirs.length);
}
