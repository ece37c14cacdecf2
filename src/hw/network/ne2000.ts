/**
 * National Semiconductor's DP8390 on a NE2000 (DP8390D data sheet): an Ethernet card with 32 KiB of its own memory, a ring of
 * pages for what comes and a data port by which the driver reads and writes it. As QEMU's, on ISA and (Realtek's RTL8029) on PCI.
 *
 * Deviations: a frame is sent at once; collisions, loopback and the counters of errors are not there; a frame that the ring has
 * no room for waits outside.
 */
import { type IoHandler, RegisterBank, registerFields } from '../../bus/index.js';
import { noOffload } from '../../net/index.js';
import { bool, bytes, defineState, type StateArena, type StateOf, u8, u16 } from '../../schema/index.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import { isBroadcast, multicastBit } from './multicast-filter.js';
import { ne2000Cause, ne2000Command, ne2000Pages } from './ne2000-registers.js';
import type { NetworkCard, NetworkPeer } from './network-peer.js';

/** Registers, the data port and the reset port. */
export const NE2000_PORTS = 0x20;
const DATA_PORT = 0x10;
const RESET_PORT = 0x1f;
const REGISTERS = 0x10;

/** The card's memory: below its address, twice each byte; then RAM. */
const PROM_BYTES = 32;
const RAM_START = 0x4000;
const RAM_END = 0xc000;
const PAGE_SHIFT = 8;

const HEADER_BYTES = 4;
const CRC_BYTES = 4;
const MIN_FRAME = 60;
const MAX_FRAME = 1514;

const dcr = { word: 1 } as const;
const rcr = { broadcast: 4, multicast: 8, promiscuous: 0x10 } as const;
const rsr = { received: 1, group: 0x20 } as const;
const tsr = { sent: 1 } as const;

export const Ne2000State = defineState('ne2000', 1, {
  ...registerFields(ne2000Pages[0]),
  ...registerFields(ne2000Pages[1]),
  command: u8(ne2000Command.stop | ne2000Command.noDma),
  PSTART: u8(),
  PSTOP: u8(),
  BNRY: u8(),
  TPSR: u8(),
  TBCR: u16(),
  TSR: u8(),
  RSR: u8(),
  ISR: u8(ne2000Cause.reset),
  IMR: u8(),
  RCR: u8(),
  DCR: u8(),
  /** Remote DMA: address in the card's memory, and bytes that are left. */
  remoteAddress: u16(),
  remoteCount: u16(),
  linkDown: bool(false, { keep: true }),
  ram: bytes(RAM_END - RAM_START),
});

export interface Ne2000Options {
  readonly peer: NetworkPeer;
  readonly mac: Uint8Array;
  readonly interrupt: (level: boolean) => void;
  readonly arena?: StateArena | undefined;
}

export class Ne2000 implements NetworkCard {
  readonly state: StateOf<typeof Ne2000State>;
  readonly part: StatePart;
  /** What answers at the ports, NE2000_PORTS of them. */
  readonly io: IoHandler;
  readonly #peer: NetworkPeer;
  readonly #prom = new Uint8Array(PROM_BYTES);
  readonly #interrupt: (level: boolean) => void;
  readonly #pages: readonly RegisterBank<Ne2000>[];
  /** The frame waits: the peer has no room for it. */
  #held = false;
  /** A frame waits: the ring has no room for it. */
  #isFull = false;

  constructor({ peer, mac, interrupt, arena }: Ne2000Options) {
    this.#peer = peer;
    this.#interrupt = interrupt;
    this.state = Ne2000State.allocate(arena);
    this.part = statePart(Ne2000State, this.state);
    this.#pages = ne2000Pages.map((rows) => new RegisterBank(REGISTERS, rows, this, this.state));
    // Each byte is there twice, for a bus of either width; behind the address the letters that a driver looks for.
    const prom = [...mac, 0, 0, 0, 0, 0, 0, 0, 0, 0x57, 0x57];
    for (const [i, byte] of prom.entries()) this.#prom.fill(byte, 2 * i, 2 * i + 2);
    this.io = {
      read: (offset, size) => this.#read(offset, size),
      write: (offset, size, value) => this.#write(offset, size, value),
    };
    if (!arena?.attached) this.reset();
    peer.attach(this);
  }

  get #page(): RegisterBank<Ne2000> {
    return this.#pages[this.state.command >> 6];
  }

  #read(offset: number, size: 1 | 2 | 4): number {
    if (offset < REGISTERS) return this.#page.read(offset, size);
    if (offset < DATA_PORT + 8) return this.#readData(size);
    if (offset === RESET_PORT) this.#resetChip();
    return 0;
  }

  #write(offset: number, size: 1 | 2 | 4, value: number): void {
    if (offset < REGISTERS) this.#page.write(offset, size, value);
    else if (offset < DATA_PORT + 8) this.#writeData(size, value);
  }

  // The data port

  #peek(address: number): number {
    if (address < PROM_BYTES) return this.#prom[address];
    return address >= RAM_START && address < RAM_END ? this.state.ram[address - RAM_START] : 0xff;
  }

  #poke(address: number, byte: number): void {
    if (address >= RAM_START && address < RAM_END) this.state.ram[address - RAM_START] = byte;
  }

  /** Bytes that one access moves: a card that is set to bytes moves one of them, whatever the bus does. */
  #width(size: 1 | 2 | 4): 1 | 2 | 4 {
    if (size === 4) return 4;
    return (this.state.DCR & dcr.word) !== 0 ? 2 : 1;
  }

  #readData(size: 1 | 2 | 4): number {
    const width = this.#width(size);
    const from = width === 1 ? this.state.remoteAddress : this.state.remoteAddress & ~1;
    let value = 0;
    for (let i = 0; i < width; i++) value |= this.#peek(from + i) << (8 * i);
    this.#remoteMoved(width);
    return value >>> 0;
  }

  #writeData(size: 1 | 2 | 4, value: number): void {
    if (this.state.remoteCount === 0) return;
    const width = this.#width(size);
    const to = width === 1 ? this.state.remoteAddress : this.state.remoteAddress & ~1;
    for (let i = 0; i < width; i++) this.#poke(to + i, (value >>> (8 * i)) & 0xff);
    this.#remoteMoved(width);
  }

  #remoteMoved(count: number): void {
    const { state } = this;
    const next = state.remoteAddress + count;
    state.remoteAddress = next === state.PSTOP << PAGE_SHIFT ? state.PSTART << PAGE_SHIFT : next & 0xffff;
    if (state.remoteCount > count) {
      state.remoteCount -= count;
      return;
    }
    state.remoteCount = 0;
    this.raise(ne2000Cause.remoteDone);
  }

  // Registers

  writeCommand(value: number): void {
    const { state } = this;
    state.command = value;
    if ((value & ne2000Command.stop) !== 0) return;
    state.ISR &= ~ne2000Cause.reset;
    if ((value & (ne2000Command.remoteRead | ne2000Command.remoteWrite)) !== 0 && state.remoteCount === 0)
      this.raise(ne2000Cause.remoteDone);
    if ((value & ne2000Command.transmit) !== 0) this.#transmit();
    this.receiveReady();
  }

  raise(bits: number): void {
    this.state.ISR |= bits;
    this.updateInterrupt();
  }

  clear(bits: number): void {
    this.state.ISR &= ~(bits & 0x7f);
    if (this.#isFull) this.state.ISR |= ne2000Cause.received;
    this.updateInterrupt();
  }

  updateInterrupt(): void {
    this.#interrupt((this.state.ISR & this.state.IMR & 0x7f) !== 0);
  }

  // From the guest

  sendReady(): void {
    if (this.#held) this.#transmit();
  }

  #transmit(): void {
    const { state } = this;
    let at = state.TPSR << PAGE_SHIFT;
    // Some drivers count pages from the start of the RAM's mirror above it.
    if (at >= RAM_END) at -= RAM_END - RAM_START;
    const length = state.TBCR;
    this.#held = false;
    if (at >= RAM_START && at + length <= RAM_END && length >= 14 && length <= MAX_FRAME + 4 && !state.linkDown) {
      const frame = state.ram.subarray(at - RAM_START, at - RAM_START + length);
      if (!this.#peer.send([frame], length, noOffload())) {
        this.#held = true;
        return;
      }
    }
    state.TSR = tsr.sent;
    state.command &= ~ne2000Command.transmit;
    this.raise(ne2000Cause.sent);
  }

  // For the guest

  receiveReady(): void {
    const { state } = this;
    this.#isFull = false;
    if ((state.command & ne2000Command.stop) !== 0) return;
    for (let budget = 64; budget > 0; budget--) {
      const frame = this.#peer.receive();
      if (frame === undefined) return;
      if (!state.linkDown && frame.bytes.length <= MAX_FRAME + 4 && this.#wants(frame.bytes)) {
        this.#isFull = !this.#deliver(frame.bytes);
        if (this.#isFull) {
          // The driver may have stopped before the ring's end, as Linux's does after ten frames, and wait for the next.
          if ((state.ISR & ne2000Cause.received) === 0) this.raise(ne2000Cause.received);
          return;
        }
      }
      this.#peer.consume();
    }
  }

  #wants(frame: Uint8Array): boolean {
    const { RCR, PAR, MAR } = this.#addresses();
    if ((RCR & rcr.promiscuous) !== 0) return true;
    if (isBroadcast(frame)) return (RCR & rcr.broadcast) !== 0;
    if ((frame[0] & 1) === 0) return PAR.every((byte, i) => byte === frame[i]);
    const bit = multicastBit(frame);
    return (RCR & rcr.multicast) !== 0 && ((MAR[bit >> 3] >> (bit & 7)) & 1) !== 0;
  }

  #addresses() {
    const { RCR, PAR0, PAR1, PAR2, PAR3, PAR4, PAR5, MAR0, MAR1, MAR2, MAR3, MAR4, MAR5, MAR6, MAR7 } = this.state;
    return {
      RCR,
      PAR: [PAR0, PAR1, PAR2, PAR3, PAR4, PAR5],
      MAR: [MAR0, MAR1, MAR2, MAR3, MAR4, MAR5, MAR6, MAR7],
    };
  }

  /** False: the ring has no room; a write of BNRY makes some. A ring outside of the card's RAM takes nothing, and loses frames. */
  #deliver(frame: Uint8Array): boolean {
    const { state } = this;
    const start = state.PSTART << PAGE_SHIFT;
    const stop = state.PSTOP << PAGE_SHIFT;
    let at = state.CURR << PAGE_SHIFT;
    if (start < RAM_START || stop > RAM_END || start >= stop || at < start || at >= stop) return true;
    const boundary = state.BNRY << PAGE_SHIFT;
    const free = at < boundary ? boundary - at : stop - start - (at - boundary);
    const length = Math.max(frame.length, MIN_FRAME) + HEADER_BYTES;
    const need = (length + CRC_BYTES + 255) & ~255;
    // A ring that is full to the last page would look as an empty one.
    if (need >= free) return need >= stop - start;
    let next = at + need;
    if (next >= stop) next -= stop - start;
    state.RSR = rsr.received | ((frame[0] & 1) !== 0 ? rsr.group : 0);
    const record = new Uint8Array(length);
    record.set([state.RSR, next >> PAGE_SHIFT, length & 0xff, length >> 8]);
    record.set(frame, HEADER_BYTES);
    for (let done = 0; done < length; ) {
      const piece = record.subarray(done, done + stop - at);
      state.ram.set(piece, at - RAM_START);
      done += piece.length;
      at = start;
    }
    state.CURR = next >> PAGE_SHIFT;
    this.raise(ne2000Cause.received);
    return true;
  }

  // Life

  setLink(up: boolean): void {
    this.state.linkDown = !up;
    if (up) this.receiveReady();
  }

  #resetChip(): void {
    this.#held = false;
    this.state.ISR = ne2000Cause.reset;
    this.updateInterrupt();
  }

  reset(): void {
    this.#held = false;
    Ne2000State.reset(this.state);
    this.#peer.setTakes(0);
    this.updateInterrupt();
  }

  /** The state was loaded. */
  restored(): void {
    this.#peer.setTakes(0);
    this.updateInterrupt();
    const { command } = this.state;
    // A frame that was held is still to be sent.
    this.#held = (command & ne2000Command.transmit) !== 0 && (command & ne2000Command.stop) === 0;
    this.sendReady();
    this.receiveReady();
  }
}
