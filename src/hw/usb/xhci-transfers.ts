/**
 * Transfer rings of an xHCI (4.9.2, 4.11.2): a transfer descriptor is a chain of TRBs, and is moved packet by packet. What a device has
 * no answer to yet waits: how far it has come is kept in the endpoint context, in a word that is the controller's.
 */
import type { DmaSpace } from '../../bus/index.js';
import { answer, type UsbToken } from './usb-codes.js';
import type { UsbDevice } from './usb-device.js';
import { completion, endpointState, trbBit, trbType } from './xhci-codes.js';
import type { XhciEvents } from './xhci-events.js';

export const trbBytes = 16;
/** Of one descriptor, and link TRBs one after the other. */
const mostTrbs = 1024;
const mostLinks = 16;
/** Descriptors at a time: a ring that has no end is not followed for ever. */
const mostDescriptors = 1024;
const maxPacket = 1024;

export interface Trb {
  readonly gpa: number;
  readonly low: number;
  readonly high: number;
  readonly status: number;
  readonly control: number;
  readonly type: number;
}

export interface RingPlace {
  gpa: number;
  cycle: boolean;
}

/** The next TRB that is no link; undefined: there is none yet, or the ring leads nowhere. Moves `place` beyond it. */
export function nextTrb(dma: DmaSpace, place: RingPlace): Trb | undefined {
  for (let links = 0; links < mostLinks; links++) {
    const { gpa } = place;
    const view = dma.view(gpa, trbBytes, false);
    if (!view) return undefined;
    const words = new DataView(view.buffer, view.byteOffset, trbBytes);
    const control = words.getUint32(12, true);
    if (((control & trbBit.cycle) !== 0) !== place.cycle) return undefined;
    const [low, high, status] = [words.getUint32(0, true), words.getUint32(4, true), words.getUint32(8, true)];
    const type = (control >>> 10) & 63;
    if (type !== trbType.link) {
      place.gpa = gpa + trbBytes;
      return { gpa, low, high, status, control, type };
    }
    place.gpa = high * 2 ** 32 + ((low & ~15) >>> 0);
    if ((control & trbBit.toggle) !== 0) place.cycle = !place.cycle;
  }
  return undefined;
}

/** Words of an endpoint context (6.2.3). */
class EndpointContext {
  readonly #dma: DmaSpace;
  readonly #gpa: number;

  constructor(dma: DmaSpace, gpa: number) {
    this.#dma = dma;
    this.#gpa = gpa;
  }
  get state(): number {
    return this.#dma.readU32(this.#gpa) & 7;
  }
  set state(value: number) {
    this.#dma.writeU32(this.#gpa, ((this.#dma.readU32(this.#gpa) & ~7) | value) >>> 0);
  }
  get packetBytes(): number {
    const size = (this.#dma.readU32(this.#gpa + 4) >>> 16) & 0xffff;
    return Math.max(1, Math.min(size, maxPacket));
  }
  get place(): RingPlace {
    const low = this.#dma.readU32(this.#gpa + 8);
    return { gpa: this.#dma.readU32(this.#gpa + 12) * 2 ** 32 + ((low & ~15) >>> 0), cycle: (low & 1) !== 0 };
  }
  set place({ gpa, cycle }: RingPlace) {
    this.#dma.writeU32(this.#gpa + 8, ((gpa % 2 ** 32) | (cycle ? 1 : 0)) >>> 0);
    this.#dma.writeU32(this.#gpa + 12, Math.floor(gpa / 2 ** 32));
  }
  /** Bytes of the descriptor at hand that have been moved. */
  get moved(): number {
    return this.#dma.readU32(this.#gpa + 20);
  }
  set moved(value: number) {
    this.#dma.writeU32(this.#gpa + 20, value);
  }
}

export function endpointContext(dma: DmaSpace, gpa: number): EndpointContext {
  return new EndpointContext(dma, gpa);
}

interface Piece {
  readonly trb: Trb;
  readonly length: number;
  /** Of its first byte in the descriptor. */
  readonly start: number;
}

export interface TransferHost {
  readonly dma: DmaSpace;
  readonly events: XhciEvents;
}

/** Works an endpoint's ring off. False: there was no room for events. `dci`: the endpoint's context index. */
export function runEndpoint(
  host: TransferHost,
  contextGpa: number,
  slot: number,
  dci: number,
  device: UsbDevice,
): boolean {
  const { dma } = host;
  const context = endpointContext(dma, contextGpa);
  for (let i = 0; i < mostDescriptors; i++) {
    if (context.state !== endpointState.running) return true;
    const place = context.place;
    const descriptor = collect(dma, place);
    if (descriptor === undefined) return true;
    const first = descriptor[0]?.trb;
    const interrupter = (first?.status ?? 0) >>> 22;
    if (
      !host.events.hasRoom(
        interrupter,
        2 + descriptor.filter(({ trb }) => (trb.control & trbBit.onComplete) !== 0).length,
      )
    )
      return false;
    if (!first) {
      context.state = endpointState.error;
      return true;
    }
    const transfer = new Transfer(host, descriptor, slot, dci, device, context.packetBytes, context.moved);
    const code = transfer.run();
    context.moved = code === undefined ? transfer.moved : 0;
    if (code === undefined) return true;
    transfer.report(code);
    if (code !== completion.success && code !== completion.shortPacket) {
      context.state = endpointState.halted;
      return true;
    }
    context.place = place;
  }
  return true;
}

/** The TRBs of the next descriptor; undefined: it is not all there yet; none: it has no end. */
function collect(dma: DmaSpace, place: RingPlace): Piece[] | undefined {
  const pieces: Piece[] = [];
  let start = 0;
  for (let i = 0; i < mostTrbs; i++) {
    const trb = nextTrb(dma, place);
    if (!trb) return undefined;
    const hasData = trb.type === trbType.normal || trb.type === trbType.data;
    const length = hasData ? trb.status & 0x1ffff : 0;
    pieces.push({ trb, length, start });
    start += length;
    if ((trb.control & trbBit.chain) === 0) return pieces;
  }
  return [];
}

const packet = new Uint8Array(maxPacket);

class Transfer {
  /** Bytes so far. */
  moved: number;
  readonly #host: TransferHost;
  readonly #pieces: readonly Piece[];
  readonly #slot: number;
  readonly #dci: number;
  readonly #device: UsbDevice;
  readonly #packetBytes: number;
  readonly #total: number;

  constructor(
    host: TransferHost,
    pieces: readonly Piece[],
    slot: number,
    dci: number,
    device: UsbDevice,
    packetBytes: number,
    moved: number,
  ) {
    this.#host = host;
    this.#pieces = pieces;
    this.#slot = slot;
    this.#dci = dci;
    this.#device = device;
    this.#packetBytes = packetBytes;
    this.#total = pieces.reduce((sum, { length }) => sum + length, 0);
    this.moved = Math.min(moved, this.#total);
  }

  /** Moves what can be moved. Gives a completion code; undefined: the device has nothing to say yet. */
  run(): number | undefined {
    const { trb } = this.#pieces[0]!;
    const isIn = (trb.control & trbBit.isIn) !== 0;
    switch (trb.type) {
      case trbType.setup: {
        const bytes = packet.subarray(0, 8);
        const words = new DataView(packet.buffer);
        words.setUint32(0, trb.low, true);
        words.setUint32(4, trb.high, true);
        return this.#code(this.#device.packet('setup', 0, bytes));
      }
      case trbType.status:
        return this.#code(this.#device.packet(isIn ? 'in' : 'out', 0, packet.subarray(0, 0)));
      case trbType.data:
        return this.#dci === 1 ? this.#move(isIn ? 'in' : 'out', 0) : completion.trb;
      case trbType.normal:
        return this.#dci > 1 ? this.#move((this.#dci & 1) !== 0 ? 'in' : 'out', this.#dci >> 1) : completion.trb;
      case trbType.noOp:
      case trbType.eventData:
        return completion.success;
      default:
        return completion.trb;
    }
  }

  #code(result: number): number | undefined {
    if (result === answer.nak) return undefined;
    return result >= 0 ? completion.success : result === answer.stall ? completion.stall : completion.transaction;
  }

  #move(token: UsbToken, endpoint: number): number | undefined {
    do {
      const count = Math.min(this.#packetBytes, this.#total - this.moved);
      const bytes = packet.subarray(0, count);
      if (token === 'out') this.#copy(bytes, false);
      const result = this.#device.packet(token, endpoint, bytes);
      if (result < 0) return this.#code(result);
      if (token === 'in') this.#copy(bytes.subarray(0, result), true);
      this.moved += token === 'in' ? result : count;
      if (token === 'in' && result < count) return completion.shortPacket;
    } while (this.moved < this.#total);
    return completion.success;
  }

  /** Bytes between the packet and the guest's memory, from `moved` on. */
  #copy(bytes: Uint8Array, intoGuest: boolean): void {
    const { dma } = this.#host;
    for (const { trb, length, start } of this.#pieces) {
      const from = Math.max(this.moved, start);
      const to = Math.min(this.moved + bytes.length, start + length);
      if (from >= to) continue;
      const part = bytes.subarray(from - this.moved, to - this.moved);
      if ((trb.control & trbBit.immediate) !== 0) {
        for (let i = 0; i < part.length && !intoGuest; i++) {
          const at = from - start + i;
          part[i] = at < 8 ? ((at < 4 ? trb.low : trb.high) >>> (8 * (at & 3))) & 0xff : 0;
        }
        continue;
      }
      const gpa = trb.high * 2 ** 32 + trb.low + from - start;
      if (intoGuest) dma.write(gpa, part);
      else dma.read(gpa, part);
    }
  }

  /** Events of the descriptor (4.10): of TRBs that ask for one, of a short packet, of an error. */
  report(code: number): void {
    let before = 0;
    for (const { trb, length, start } of this.#pieces) {
      const { control, type } = trb;
      const wants = (control & trbBit.onComplete) !== 0;
      if (type === trbType.eventData) {
        if (wants) this.#send(trb, code, this.moved - before, trb.low, trb.high, trbBit.eventData);
        before = this.moved;
        continue;
      }
      const end = start + length;
      const isWhole = this.moved >= end && code !== completion.stall && code !== completion.transaction;
      if (isWhole && (code !== completion.trb || this.moved > end)) {
        if (wants) this.#send(trb, completion.success, 0, trb.gpa % 2 ** 32, Math.floor(trb.gpa / 2 ** 32));
        continue;
      }
      if (this.moved >= end && this.moved > start && this.moved !== this.#total) continue;
      // Here it ended; what is behind is left out, but for what tells of all.
      const isShort = code === completion.shortPacket;
      if (!isShort || wants || (control & trbBit.shortEvent) !== 0)
        this.#send(trb, code, end - this.moved, trb.gpa % 2 ** 32, Math.floor(trb.gpa / 2 ** 32));
      const last = this.#pieces.at(-1)!.trb;
      if (isShort && last.type === trbType.eventData && (last.control & trbBit.onComplete) !== 0)
        this.#send(last, code, this.moved - before, last.low, last.high, trbBit.eventData);
      return;
    }
  }

  #send(trb: Trb, code: number, length: number, low: number, high: number, flags = 0): void {
    this.#host.events.send(trb.status >>> 22, {
      type: trbType.transferEvent,
      ...{ low, high },
      status: (code << 24) | (Math.max(0, length) & 0xffffff),
      control: (this.#slot << 24) | (this.#dci << 16) | flags,
    });
  }
}
