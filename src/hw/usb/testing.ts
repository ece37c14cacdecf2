/** What tests of USB share: drivers of the controllers, as small as can be, and a bus with RAM for their lists. */
import { assert } from '../../base/index.js';
import { MemoryDrive } from '../disk/testing.js';
import { emptyBus, plugIn } from '../network/testing.js';
import { ScsiDisk } from '../scsi/scsi-disk.js';
import { UhciController } from './uhci.js';
import type { UsbToken } from './usb-codes.js';
import type { UsbDevice } from './usb-device.js';
import { UsbStorage } from './usb-storage.js';
import { XhciController } from './xhci.js';

const pids: Readonly<Record<UsbToken, number>> = { setup: 0x2d, in: 0x69, out: 0xe1 };

/** A disk behind USB whose bytes are its block numbers. */
export function testStorage(speed: 'full' | 'high', drive = numberedDrive()) {
  const names = { vendor: 'VRING', product: 'DISK', serial: 'S', version: '1.0', deviceId: 'd', wwn: undefined };
  return { drive, device: new UsbStorage({ unit: new ScsiDisk({ ...names, backend: drive }), speed, id: 'disk' }) };
}

export function numberedDrive(bytes = 1 << 20, options: { later?: boolean } = {}): MemoryDrive {
  const content = new Uint8Array(bytes);
  for (let i = 0; i < bytes; i += 512) content.fill((i / 512) & 0xff, i, i + 512);
  return new MemoryDrive(content, options);
}

export const setupBytes = (kind: number, request: number, value: number, index: number, length: number): Uint8Array =>
  Uint8Array.of(kind, request, value & 0xff, value >> 8, index & 0xff, index >> 8, length & 0xff, length >> 8);

/** The 31 bytes that begin a command of a disk. */
export function commandBlock(tag: number, length: number, isIn: boolean, cdb: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(31);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x43425355, true);
  view.setUint32(4, tag, true);
  view.setUint32(8, length, true);
  bytes.set([isIn ? 0x80 : 0, 0, cdb.length, ...cdb], 12);
  return bytes;
}

const frameList = 0x1000;
const queueHead = 0x2000;
const descriptors = 0x3000;
const buffers = 0x8000;

export function uhciWith(devices: readonly (UsbDevice | undefined)[], shared?: SharedArrayBuffer) {
  const bus = emptyBus(shared);
  const { memory, ports, time } = bus;
  const host = new UhciController({ dma: memory.dma, clock: time, devices });
  plugIn(bus, host.function);
  const base = host.function.barAddress(host.function.barSpecs[0]!) as number;
  if (!shared) host.reset();
  if (!shared) plugInAgain(host.function, base);
  const { dma } = memory;
  const write = (at: number, value: number) => ports.write(base + at, 2, value);
  const read = (at: number) => ports.read(base + at, 2);
  /** Runs the controller, with one queue in all frames. */
  const begin = () => {
    for (let i = 0; i < 1024; i++) dma.writeU32(frameList + i * 4, queueHead | 2);
    dma.writeU32(queueHead, 1);
    dma.writeU32(queueHead + 4, 1);
    ports.write(base + 8, 4, frameList);
    write(0, 1);
  };
  const resetPort = (index: number) => {
    write(16 + index * 2, 0x200);
    write(16 + index * 2, 0);
    write(16 + index * 2, 4);
  };
  /** Descriptors, each with a packet. Gives their words of status, when `frames` have passed. */
  const queue = (
    packets: readonly { token: UsbToken; address: number; endpoint: number; bytes: Uint8Array; length: number }[],
    frames = 4,
  ): number[] => {
    let buffer = buffers;
    for (const [i, { token, address, endpoint, bytes, length }] of packets.entries()) {
      const at = descriptors + i * 16;
      dma.writeU32(at, i === packets.length - 1 ? 1 : (at + 16) | 4);
      dma.writeU32(at + 4, 0x00800000 | (i === packets.length - 1 ? 1 << 24 : 0) | (token === 'in' ? 1 << 29 : 0));
      dma.writeU32(at + 8, (pids[token] | (address << 8) | (endpoint << 15) | (((length - 1) & 0x7ff) << 21)) >>> 0);
      dma.writeU32(at + 12, buffer);
      dma.write(buffer, bytes);
      buffer += 0x800;
    }
    dma.writeU32(queueHead + 4, descriptors);
    time.advance(frames * 1_000_000);
    return packets.map((_, i) => dma.readU32(descriptors + i * 16 + 4));
  };
  const control = (address: number, setup: Uint8Array, data?: Uint8Array): Uint8Array | 'stall' => {
    const isIn = (setup[0]! & 0x80) !== 0;
    const none = new Uint8Array(0);
    const length = setup[6]! | (setup[7]! << 8);
    const packets = [{ token: 'setup' as UsbToken, address, endpoint: 0, bytes: setup, length: 8 }];
    for (let at = 0; at < length; at += 64) {
      const count = Math.min(64, length - at);
      const bytes = isIn ? none : (data as Uint8Array).subarray(at, at + count);
      packets.push({ token: isIn ? 'in' : 'out', address, endpoint: 0, bytes, length: count });
    }
    const words = queue(packets);
    if (words.some((word) => (word & 0x00400000) !== 0)) return 'stall';
    const result: number[] = [];
    for (const [i, word] of words.entries()) {
      const count = ((word & 0x7ff) + 1) & 0x7ff;
      if (i > 0 && isIn && (word & 0x00800000) === 0) result.push(...readBytes(buffers + i * 0x800, count));
    }
    const end = queue([{ token: isIn ? 'out' : 'in', address, endpoint: 0, bytes: none, length: 0 }]);
    return (end[0]! & 0x00400000) !== 0 ? 'stall' : Uint8Array.from(result);
  };
  const readBytes = (gpa: number, count: number) => {
    const bytes = new Uint8Array(count);
    dma.read(gpa, bytes);
    return bytes;
  };
  /** One packet of an endpoint. Gives its status word and, to the host, its bytes. */
  const packet = (token: 'in' | 'out', address: number, endpoint: number, bytes: Uint8Array, frames = 4) => {
    const [word] = queue([{ token, address, endpoint, bytes, length: bytes.length }], frames) as [number];
    const isActive = (word & 0x00800000) !== 0;
    return { word, isActive, bytes: readBytes(buffers, isActive ? 0 : ((word & 0x7ff) + 1) & 0x7ff) };
  };
  return { ...bus, host, dma, read, write, begin, resetPort, control, packet };
}

/** A reset took the place from the function that firmware had given it. */
function plugInAgain(fn: UhciController['function'], base: number): void {
  fn.write(0x10 + fn.barSpecs[0]!.index * 4, 4, base);
  fn.setCommand(7);
}

const layout = {
  contexts: 0x1000,
  commandRing: 0x2000,
  eventRing: 0x3000,
  segments: 0x4000,
  input: 0x5000,
  device: 0x6000,
  rings: 0x10000,
  data: 0x40000,
} as const;
const EVENTS = 64;

export function xhciWith(devices: readonly (UsbDevice | undefined)[], shared?: SharedArrayBuffer) {
  const bus = emptyBus(shared);
  const { memory, time } = bus;
  const host = new XhciController({ dma: memory.dma, clock: time, devices });
  plugIn(bus, host.function);
  const { dma } = memory;
  const base = host.function.barAddress(host.function.barSpecs[0]!) as number;
  const write = (at: number, value: number) => memory.write(base + at, 4, value);
  const read = (at: number) => memory.read(base + at, 4);
  const events: number[][] = [];
  let eventAt = 0;
  let commandAt = 0;
  const ringAt = new Map<number, number>();

  const begin = () => {
    dma.writeU64(layout.segments, layout.eventRing);
    dma.writeU32(layout.segments + 8, EVENTS);
    write(0x1028, 1);
    write(0x1030, layout.segments);
    write(0x1034, 0);
    write(0x1038, layout.eventRing);
    write(0x103c, 0);
    write(0x1020, 2);
    write(0x58, layout.commandRing | 1);
    write(0x5c, 0);
    write(0x70, layout.contexts);
    write(0x74, 0);
    write(0x78, 64);
    write(0x40, 5);
  };
  /** Events since the last call, four words each; the controller hears how far they are read. */
  const take = (): number[][] => {
    for (;;) {
      const at = layout.eventRing + (eventAt % EVENTS) * 16;
      const words = [0, 4, 8, 12].map((offset) => dma.readU32(at + offset));
      const cycle = Math.floor(eventAt / EVENTS) % 2 === 0 ? 1 : 0;
      if ((words[3]! & 1) !== cycle) break;
      events.push(words);
      eventAt++;
    }
    write(0x1038, (layout.eventRing + (eventAt % EVENTS) * 16) | 8);
    write(0x103c, 0);
    return events.splice(0);
  };
  /** A command. Gives its completion code, and the slot. */
  const command = (type: number, gpa: number, control = 0): { code: number; slot: number } => {
    const at = layout.commandRing + commandAt++ * 16;
    dma.writeU64(at, gpa);
    dma.writeU32(at + 8, 0);
    dma.writeU32(at + 12, ((type << 10) | control | 1) >>> 0);
    write(0x2000, 0);
    const event = take().find((words) => ((words[3]! >>> 10) & 63) === 33);
    assert(event, `command ${type} ends`);
    return { code: event[2]! >>> 24, slot: event[3]! >>> 24 };
  };
  const context = (index: number, words: readonly number[]) => {
    for (const [i, word] of words.entries()) dma.writeU32(layout.input + (index + 1) * 32 + i * 4, word);
  };
  const ringOf = (dci: number): number => layout.rings + dci * 0x1000;
  /** A slot for what is in a port, from 1 on; its address is the slot's number. */
  const address = (port: number): number => {
    write(0x440 + (port - 1) * 16, 0x210);
    const { slot } = command(9, 0);
    dma.writeU64(layout.contexts + slot * 8, layout.device + slot * 0x400);
    dma.writeU32(layout.input, 0);
    dma.writeU32(layout.input + 4, 3);
    context(0, [(1 << 27) | (3 << 20), port << 16]);
    context(1, [0, (64 << 16) | (4 << 3) | 6, ringOf(1) | 1, 0]);
    assert(command(11, layout.input, slot << 24).code === 1, 'the device has an address');
    return slot;
  };
  /** More endpoints: index of the context, type as of 6.2.3, size of packets. */
  const configure = (slot: number, endpoints: readonly (readonly [dci: number, type: number, size: number])[]) => {
    dma.writeU32(layout.input, 0);
    dma.writeU32(
      layout.input + 4,
      endpoints.reduce((bits, [dci]) => bits | (1 << dci), 1),
    );
    context(0, [((31 << 27) | (3 << 20)) >>> 0, 1 << 16]);
    for (const [dci, type, size] of endpoints) context(dci, [0, (size << 16) | (type << 3) | 6, ringOf(dci) | 1, 0]);
    assert(command(12, layout.input, slot << 24).code === 1, 'the endpoints are there');
  };
  /** Puts TRBs on an endpoint's ring, four words each without the cycle bit, and rings. */
  const post = (slot: number, dci: number, trbs: readonly (readonly [number, number, number, number])[]) => {
    for (const words of trbs) {
      const index = ringAt.get(dci) ?? 0;
      for (const [i, word] of words.entries())
        dma.writeU32(ringOf(dci) + index * 16 + i * 4, (i === 3 ? word | 1 : word) >>> 0);
      ringAt.set(dci, index + 1);
    }
    write(0x2000 + slot * 4, dci);
  };
  const control = (slot: number, setup: Uint8Array, data?: Uint8Array): Uint8Array | number => {
    const isIn = (setup[0]! & 0x80) !== 0;
    const length = setup[6]! | (setup[7]! << 8);
    const view = new DataView(setup.buffer);
    if (data) dma.write(layout.data, data);
    const stages: (readonly [number, number, number, number])[] = [
      [view.getUint32(0, true), view.getUint32(4, true), 8, (2 << 10) | 0x40],
    ];
    if (length > 0) stages.push([layout.data, 0, length, (3 << 10) | (isIn ? 0x1_0004 : 0)]);
    stages.push([0, 0, 0, (4 << 10) | 0x20 | (isIn && length > 0 ? 0 : 0x1_0000)]);
    post(slot, 1, stages);
    const told = take().filter((words) => ((words[3]! >>> 10) & 63) === 32);
    const bad = told.find((words) => ![1, 13].includes(words[2]! >>> 24));
    if (bad) return bad[2]! >>> 24;
    const short = told.find((words) => words[2]! >>> 24 === 13);
    const bytes = new Uint8Array(isIn ? length - (short ? short[2]! & 0xffffff : 0) : 0);
    dma.read(layout.data, bytes);
    return bytes;
  };
  return { ...bus, host, dma, base, read, write, begin, take, command, address, configure, post, control };
}

export const xhciData = layout.data;
export const xhciDevices = layout.device;
