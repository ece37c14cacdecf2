/**
 * Realtek's RTL8139C+ as QEMU's rtl8139: a Fast Ethernet card on PCI, with four transmit slots and a ring of bytes, or in C+ mode
 * with rings of descriptors, which leaves checksums and the segmentation of large TCP frames to the peer.
 *
 * Deviations: a frame that the driver has no room for waits outside instead of being lost; wake on LAN, power management and the
 * EEPROM's writing are not there.
 */
import type { Timer, TimerService } from '../../base/index.js';
import { type Device, type DmaSpace, type IoHandler, RegisterBank, registerFields } from '../../bus/index.js';
import { gsoType, MAX_FRAME_BYTES, noOffload } from '../../net/index.js';
import {
  bool,
  bytes,
  defineState,
  f64,
  type StateArena,
  type StateOf,
  u8,
  u16,
  u32,
  u32s,
} from '../../schema/index.js';
import { type OptionRom, PciFunction, romBars } from '../pci/pci-function.js';
import { loadParts, type StatePart, saveParts, statePart } from '../pci/saved-parts.js';
import { eepromFields, MicrowireEeprom } from './microwire-eeprom.js';
import { isBroadcast, multicastBit } from './multicast-filter.js';
import type { NetworkCard, NetworkPeer } from './network-peer.js';
import { rtl8139Registers, rtlCause, rtlCommand, rtlEeprom, rtlPlus, rtlRcr } from './rtl8139-registers.js';
import { leaveChecksums } from './transmit-offload.js';

const WINDOW_BYTES = 0x100;
const HARDWARE_ID = 0x74800000;
const TCR_WRITABLE = 0x030f07f0;
const TCR_LOOPBACK = 0x60000;
const PCI_HZ = 33_000_000;
const CRC_BYTES = 4;
const MIN_FRAME = 60;
/** Rings of bytes: 8 KiB to 64 KiB. */
const RING_BYTES = 8192;
const RING_HEADER = 4;
const RING_ALIGN = 4;

const tsd = { size: 0x1fff, owned: 0x2000, sent: 0x8000 } as const;
const ringStatus = { good: 1, broadcast: 0x2000, own: 0x4000, multicast: 0x8000 } as const;

/** Descriptors of C+ mode (data sheet 9.1 and 9.2): 16 bytes. */
const DESCRIPTOR_BYTES = 16;
/** No ring is longer; what has no end wraps there. */
const MAX_DESCRIPTORS = 1024;
const descriptor = { own: 0x80000000, ringEnd: 0x40000000, first: 0x20000000, last: 0x10000000 } as const;
const txBit = {
  large: 0x8000000,
  ipSum: 0x40000,
  udpSum: 0x20000,
  tcpSum: 0x10000,
  errors: 0x07f00000,
  tag: 0x20000,
} as const;
const rxBit = { multicast: 0x4000000, own: 0x2000000, broadcast: 0x1000000, errors: 0x003f0000 } as const;
const plusVlan = 0x40;
/** While frames wait for a descriptor, it is looked for so often: the driver tells nobody that there is one. */
const RETRY_NS = 1_000_000;

const Rtl8139State = defineState('rtl8139', 1, {
  ...registerFields(rtl8139Registers),
  ...eepromFields,
  address: bytes(6),
  multicast: bytes(8),
  slots: u32s(4),
  command: u8(),
  rxRead: u16(),
  rxWrite: u16(),
  IntrMask: u16(),
  IntrStatus: u16(),
  TxConfig: u32(),
  RxConfig: u32(),
  eepromMode: u8(),
  config: bytes(6),
  plus: u16(),
  txDescriptor: u16(0, { max: MAX_DESCRIPTORS - 1 }),
  rxDescriptor: u16(0, { max: MAX_DESCRIPTORS - 1 }),
  counterStartNs: f64(),
  linkDown: bool(false, { keep: true }),
  /** Frames sent and received, for the counters that the driver has written into its memory. */
  sent: u32(),
  received: u32(),
  /** Of a frame that is not whole the beginning has been taken: it is lost when the state is loaded. */
  amidFrame: bool(),
});

export interface Rtl8139Options {
  readonly name: string;
  readonly peer: NetworkPeer;
  readonly mac: Uint8Array;
  readonly dma: DmaSpace;
  readonly clock: TimerService;
  readonly rom?: OptionRom | undefined;
  readonly arena?: StateArena | undefined;
}

export class Rtl8139 implements Device, NetworkCard {
  readonly name: string;
  readonly function: PciFunction;
  readonly state: StateOf<typeof Rtl8139State>;
  readonly #parts: readonly StatePart[];
  readonly #peer: NetworkPeer;
  readonly #dma: DmaSpace;
  readonly #clock: TimerService;
  readonly #mac: Uint8Array;
  readonly #eeprom: MicrowireEeprom;
  readonly #retry: Timer;
  readonly #timeout: Timer;
  /** The frame that C+ descriptors have brought so far. */
  readonly #frame = new Uint8Array(MAX_FRAME_BYTES);
  #length = 0;
  #tooLong = false;
  /** The frame is whole, and the peer had no room for it. */
  #held = false;
  readonly #offload = noOffload();

  constructor({ name, peer, mac, dma, clock, rom, arena }: Rtl8139Options) {
    this.name = name;
    this.#peer = peer;
    this.#dma = dma;
    this.#clock = clock;
    this.#mac = mac.slice();
    this.state = Rtl8139State.allocate(arena);
    this.#eeprom = new MicrowireEeprom(this.state);
    this.#eeprom.words.set([0x8129, 0x10ec, 0x8139]);
    for (let i = 0; i < 3; i++) this.#eeprom.words[7 + i] = mac[2 * i] | (mac[2 * i + 1] << 8);
    this.#retry = clock.createTimer(`${name} retry`, () => this.receiveReady());
    this.#timeout = clock.createTimer(`${name} timer`, () => {
      this.#raise(rtlCause.timeout);
      this.timerChanged();
    });
    const registers: IoHandler = new RegisterBank(WINDOW_BYTES, rtl8139Registers, this, this.state);
    this.function = new PciFunction({
      name,
      vendorId: 0x10ec,
      deviceId: 0x8139,
      revision: 0x20,
      classCode: 0x020000,
      interruptPin: 1,
      bars: [
        { index: 0, kind: 'io', size: WINDOW_BYTES, handler: registers },
        { index: 1, kind: 'memory32', size: WINDOW_BYTES, handler: registers },
        ...romBars(rom),
      ],
      arena,
    });
    this.#parts = [this.function.part, statePart(Rtl8139State, this.state)];
    if (!arena?.attached) this.#resetChip();
    peer.attach(this);
  }

  // Registers

  readByte(index: number): number {
    return index < 8 ? this.state.address[index] : this.state.multicast[index - 8];
  }

  writeByte(index: number, value: number): void {
    if (index < 8) this.state.address[index] = value;
    else this.state.multicast[index - 8] = value;
  }

  get #canTransmit(): boolean {
    return (this.state.command & rtlCommand.transmit) !== 0;
  }

  get #canReceive(): boolean {
    return (this.state.command & rtlCommand.receive) !== 0;
  }

  get #usesTxRing(): boolean {
    return (this.state.plus & rtlPlus.transmit) !== 0;
  }

  get #usesRxRing(): boolean {
    return (this.state.plus & rtlPlus.receive) !== 0;
  }

  readCommand(): number {
    const isEmpty = this.state.rxRead === this.state.rxWrite;
    return this.state.command | (isEmpty ? rtlCommand.empty : 0);
  }

  writeCommand(value: number): void {
    if ((value & rtlCommand.reset) !== 0) {
      this.#resetChip();
      return;
    }
    const before = this.state.command;
    this.state.command = value & (rtlCommand.transmit | rtlCommand.receive);
    if ((value & ~before & rtlCommand.transmit) !== 0) this.state.txDescriptor = 0;
    if ((value & ~before & rtlCommand.receive) !== 0) this.state.rxDescriptor = 0;
    this.receiveReady();
  }

  get #ringBytes(): number {
    return RING_BYTES << ((this.state.RxConfig >> 11) & 3);
  }

  writeReadPointer(value: number): void {
    this.state.rxRead = (value + 0x10) % this.#ringBytes;
    this.receiveReady();
  }

  setMask(value: number): void {
    this.state.IntrMask = value & 0xe1ff;
    this.#updateLine();
  }

  acknowledge(bits: number): void {
    this.state.IntrStatus &= ~bits;
    this.#updateLine();
    this.receiveReady();
  }

  #raise(bits: number): void {
    this.state.IntrStatus |= bits;
    this.#updateLine();
  }

  #updateLine(): void {
    this.function?.setIntx((this.state.IntrStatus & this.state.IntrMask) !== 0);
  }

  readTcr(): number {
    return this.state.TxConfig;
  }

  /** Only while the transmitter is on. */
  writeTcr(value: number, mask: number): void {
    if (!this.#canTransmit) return;
    const reach = mask & TCR_WRITABLE;
    this.state.TxConfig = ((this.state.TxConfig & ~reach) | (value & reach)) >>> 0;
  }

  readRcr(): number {
    return this.state.RxConfig;
  }

  writeRcr(value: number, mask: number): void {
    const reach = mask & 0x0fffffff & ~0x00fc0040;
    const before = this.#ringBytes;
    this.state.RxConfig = ((this.state.RxConfig & ~reach) | (value & reach)) >>> 0;
    if (this.#ringBytes !== before) this.state.rxRead = this.state.rxWrite = 0;
    this.receiveReady();
  }

  readPlus(): number {
    return this.state.plus;
  }

  writePlus(value: number): void {
    this.state.plus = value & 0x7b;
    this.receiveReady();
  }

  poll(value: number): void {
    if ((value & 0x40) !== 0) this.#transmitRing();
  }

  // The counter, the EEPROM and the PHY

  readCounter(): number {
    return Math.floor(((this.#clock.nowNs() - this.state.counterStartNs) * PCI_HZ) / 1e9) >>> 0;
  }

  restartCounter(): void {
    this.state.counterStartNs = this.#clock.nowNs();
    this.timerChanged();
  }

  /** The counter wraps at 2^32 and passes TimerInt once in each round. */
  timerChanged(): void {
    const { TimerInt } = this.state;
    if (TimerInt === 0) {
      this.#timeout.cancel();
      return;
    }
    const ticks = (TimerInt - this.readCounter()) >>> 0;
    this.#timeout.arm(this.#clock.nowNs() + ((ticks === 0 ? 2 ** 32 : ticks) * 1e9) / PCI_HZ);
  }

  readEeprom(): number {
    const { eepromMode } = this.state;
    if ((eepromMode & rtlEeprom.mode) !== rtlEeprom.program) return eepromMode;
    return (eepromMode & ~rtlEeprom.dataOut) | (this.#eeprom.dataOut ? rtlEeprom.dataOut : 0);
  }

  writeEeprom(value: number): void {
    const mode = value & rtlEeprom.mode;
    if (mode === rtlEeprom.load) {
      this.#resetChip();
      return;
    }
    this.state.eepromMode = value & 0xce;
    const isOn = mode === rtlEeprom.program;
    this.#eeprom.drive(
      isOn && (value & rtlEeprom.select) !== 0,
      (value & rtlEeprom.clock) !== 0,
      (value & rtlEeprom.dataIn) !== 0,
    );
  }

  readConfig(which: 0 | 1 | 3 | 4 | 5): number {
    return this.state.config[which];
  }

  /** The first four only while the EEPROM's register says so. */
  writeConfig(which: 0 | 1 | 3 | 4 | 5, value: number): void {
    if (which !== 5 && (this.state.eepromMode & rtlEeprom.mode) !== rtlEeprom.mode) return;
    const fixedBits = { 0: 0xf8, 1: 0x0c, 3: 0x8f, 4: 0x0a, 5: 0x80 }[which];
    this.state.config[which] = (this.state.config[which] & fixedBits) | (value & ~fixedBits);
  }

  mediaStatus(): number {
    return 0xd0 | (this.state.linkDown ? 4 : 0);
  }

  readBmsr(): number {
    return this.state.linkDown ? 0x7809 : 0x782d;
  }

  // From the guest: four slots

  readTsd(index: number): number {
    return this.state.slots[index];
  }

  writeTsd(index: number, value: number): void {
    const { state } = this;
    if (this.#usesTxRing) {
      state.slots[index] = value;
      if (index === 0 && (value & 8) !== 0) this.#dumpCounters();
      return;
    }
    // What the chip says itself cannot be written.
    state.slots[index] = (value & ~0xff00c000) >>> 0;
    this.#transmitSlots();
  }

  /** Slots are sent in whatever order the driver gives them away. */
  #transmitSlots(): void {
    const { state } = this;
    if (!this.#canTransmit || this.#usesTxRing || !this.function.busMaster) return;
    const addresses = [state.TSAD0, state.TSAD1, state.TSAD2, state.TSAD3];
    for (const [i, gpa] of addresses.entries()) {
      const status = state.slots[i];
      if ((status & (tsd.owned | tsd.sent)) !== 0) continue;
      const length = status & tsd.size;
      if (length === 0) continue;
      const frame = new Uint8Array(length);
      this.#dma.read(gpa, frame);
      if (!this.#send(frame)) return;
      state.slots[i] = (status | tsd.owned | tsd.sent) >>> 0;
      this.#raise(rtlCause.sent);
    }
  }

  transmitSummary(): number {
    let value = 0;
    for (const [i, status] of this.state.slots.entries()) {
      if ((status & tsd.owned) !== 0) value |= 1 << i;
      if ((status & tsd.sent) !== 0) value |= 0x1000 << i;
    }
    return value;
  }

  /** False: the peer has no room. */
  #send(frame: Uint8Array): boolean {
    const { state } = this;
    const offload = this.#offload;
    if (frame.length >= 14) {
      // The card hears itself.
      if ((state.TxConfig & TCR_LOOPBACK) === TCR_LOOPBACK) this.#take(frame);
      else if (!state.linkDown && !this.#peer.send([frame], frame.length, offload)) return false;
    }
    state.sent = (state.sent + 1) >>> 0;
    return true;
  }

  /** 64 bytes (data sheet 6.3), of which two counters are kept. */
  #dumpCounters(): void {
    const { state } = this;
    const record = new Uint8Array(64);
    const view = new DataView(record.buffer);
    view.setUint32(0, state.sent, true);
    view.setUint32(8, state.received, true);
    if (this.function.busMaster) this.#dma.write(state.slots[1] * 2 ** 32 + ((state.slots[0] & ~0x3f) >>> 0), record);
    state.slots[0] = (state.slots[0] & ~8) >>> 0;
  }

  // From the guest: descriptors

  sendReady(): void {
    this.#transmitSlots();
    this.#transmitRing();
  }

  #transmitRing(): void {
    const { state } = this;
    if (!this.#canTransmit || !this.#usesTxRing || !this.function.busMaster) return;
    const base = state.TSAD1 * 2 ** 32 + state.TSAD0;
    let took = false;
    for (let budget = MAX_DESCRIPTORS; budget > 0; budget--) {
      const at = base + state.txDescriptor * DESCRIPTOR_BYTES;
      const word = this.#dma.readU32(at);
      if ((word & descriptor.own) === 0) break;
      if (!this.#held) this.#gather(word, at);
      if ((word & descriptor.last) !== 0 && !this.#finish(word, this.#dma.readU32(at + 4))) {
        this.#held = true;
        break;
      }
      this.#held = false;
      this.#dma.writeU32(at, (word & ~(descriptor.own | txBit.errors)) >>> 0);
      this.#dma.publish(at, 4);
      this.#next('txDescriptor', word);
      took = true;
    }
    if (took) this.#raise(rtlCause.sent);
  }

  #next(which: 'txDescriptor' | 'rxDescriptor', word: number): void {
    const isEnd = (word & descriptor.ringEnd) !== 0 || this.state[which] + 1 >= MAX_DESCRIPTORS;
    this.state[which] = isEnd ? 0 : this.state[which] + 1;
  }

  #gather(word: number, at: number): void {
    if ((word & descriptor.first) !== 0 || !this.state.amidFrame) {
      this.#length = 0;
      this.#tooLong = (word & descriptor.first) === 0;
    }
    this.state.amidFrame = true;
    const count = word & 0xffff;
    if (this.#length + count > MAX_FRAME_BYTES - 4) this.#tooLong = true;
    if (this.#tooLong || count === 0) return;
    const gpa = this.#dma.readU32(at + 12) * 2 ** 32 + this.#dma.readU32(at + 8);
    this.#dma.read(gpa, this.#frame.subarray(this.#length, this.#length + count));
    this.#length += count;
  }

  /** The frame is whole. False: the peer has no room. */
  #finish(word: number, tag: number): boolean {
    const frame = this.#frame;
    const offload = this.#offload;
    if (!this.#held) {
      leaveChecksums(frame.subarray(0, this.#length), offload, {
        ip: (word & txBit.ipSum) !== 0,
        tcp: (word & txBit.tcpSum) !== 0,
        udp: (word & txBit.udpSum) !== 0,
        mss: (word & txBit.large) !== 0 ? (word >> 16) & 0x7ff : 0,
      });
      if ((tag & txBit.tag) !== 0 && this.#length >= 14) {
        frame.copyWithin(16, 12, this.#length);
        frame.set([0x81, 0, tag & 0xff, (tag >> 8) & 0xff], 12);
        this.#length += 4;
        if (offload.checksumStart !== 0) offload.checksumStart += 4;
      }
    }
    const isSent = this.#tooLong || this.#send(frame.subarray(0, this.#length));
    if (!isSent) return false;
    this.#offload.flags = this.#offload.gsoType = 0;
    this.state.amidFrame = false;
    return true;
  }

  // For the guest

  receiveReady(): void {
    if (!this.#canReceive || !this.function.busMaster) return;
    for (let budget = 256; budget > 0; budget--) {
      const frame = this.#peer.receive();
      if (frame === undefined) return;
      if (!this.state.linkDown && frame.offload.gsoType === gsoType.none && !this.#take(frame.bytes)) {
        if (this.#retry.deadlineNs === Infinity) this.#retry.arm(this.#clock.nowNs() + RETRY_NS);
        return;
      }
      this.#peer.consume();
    }
  }

  /** False: there is no room for it now. */
  #take(frame: Uint8Array): boolean {
    const kind = this.#kindOf(frame);
    if (kind === undefined) return true;
    if (this.#usesRxRing) {
      if (!this.#takeDescriptor(frame, kind)) return false;
    } else if (!this.#takeRing(frame, kind)) return false;
    this.state.received = (this.state.received + 1) >>> 0;
    return true;
  }

  /** For whom a frame is; undefined: not for this card. */
  #kindOf(frame: Uint8Array): 'own' | 'broadcast' | 'multicast' | 'other' | undefined {
    const { RxConfig, address, multicast } = this.state;
    const all = (RxConfig & rtlRcr.all) !== 0;
    if (isBroadcast(frame)) return all || (RxConfig & rtlRcr.broadcast) !== 0 ? 'broadcast' : undefined;
    if ((frame[0] & 1) !== 0) {
      const bit = multicastBit(frame);
      const wanted = (RxConfig & rtlRcr.multicast) !== 0 && ((multicast[bit >> 3] >> (bit & 7)) & 1) !== 0;
      return all || wanted ? 'multicast' : undefined;
    }
    if (address.every((byte, i) => byte === frame[i])) return all || (RxConfig & rtlRcr.own) !== 0 ? 'own' : undefined;
    return all ? 'other' : undefined;
  }

  #takeRing(frame: Uint8Array, kind: 'own' | 'broadcast' | 'multicast' | 'other'): boolean {
    const { state } = this;
    const size = this.#ringBytes;
    const content = Math.max(frame.length, MIN_FRAME) + CRC_BYTES;
    const need = (RING_HEADER + content + RING_ALIGN - 1) & ~(RING_ALIGN - 1);
    // Larger than the ring, or than its length can say: lost.
    if (need >= size || content > 0xffff) return true;
    const free = state.rxRead === state.rxWrite ? size : (state.rxRead - state.rxWrite + size) % size;
    if (need >= free) return false;
    let status: number = ringStatus.good;
    if (kind !== 'other') status |= ringStatus[kind];
    const record = new Uint8Array(RING_HEADER + content);
    record.set([status & 0xff, status >> 8, content & 0xff, content >> 8]);
    record.set(frame, RING_HEADER);
    // With WRAP set a frame goes on behind the ring's end, where the driver has room for one; the longest ring has none.
    const goesOn = (state.RxConfig & rtlRcr.wrap) !== 0 && size < 65536;
    const toEnd = size - state.rxWrite;
    if (goesOn || record.length <= toEnd) this.#dma.write(state.RBSTART + state.rxWrite, record);
    else {
      this.#dma.write(state.RBSTART + state.rxWrite, record.subarray(0, toEnd));
      this.#dma.write(state.RBSTART, record.subarray(toEnd));
    }
    state.rxWrite = (state.rxWrite + need) % size;
    this.#raise(rtlCause.received);
    return true;
  }

  #takeDescriptor(frame: Uint8Array, kind: 'own' | 'broadcast' | 'multicast' | 'other'): boolean {
    const { state } = this;
    const at = state.RDSARH * 2 ** 32 + state.RDSARL + state.rxDescriptor * DESCRIPTOR_BYTES;
    const word = this.#dma.readU32(at);
    if ((word & descriptor.own) === 0) {
      if ((state.IntrStatus & rtlCause.overflow) === 0) this.#raise(rtlCause.overflow);
      return false;
    }
    let bytes: Uint8Array = new Uint8Array(Math.max(frame.length, MIN_FRAME) + CRC_BYTES);
    bytes.set(frame);
    let tag = 0;
    if ((state.plus & plusVlan) !== 0 && frame[12] === 0x81 && frame[13] === 0) {
      tag = 0x10000 | (frame[15] << 8) | frame[14];
      bytes.copyWithin(12, 16);
      bytes = bytes.subarray(0, Math.max(frame.length - 4, MIN_FRAME) + CRC_BYTES);
    }
    const room = word & 0x1fff;
    // The buffer is too small for it: lost, as on QEMU's.
    if (bytes.length > room) return true;
    const gpa = this.#dma.readU32(at + 12) * 2 ** 32 + this.#dma.readU32(at + 8);
    this.#dma.write(gpa, bytes);
    this.#dma.writeU32(at + 4, tag);
    let status = (word & descriptor.ringEnd) | descriptor.first | descriptor.last | bytes.length;
    if (kind !== 'other') status |= rxBit[kind];
    this.#dma.publish(at + 4, 4);
    // The first word is what the driver looks at: it comes last.
    this.#dma.writeU32(at, status >>> 0);
    this.#dma.publish(at, 4);
    this.#next('rxDescriptor', word);
    this.#raise(rtlCause.received);
    return true;
  }

  // Life

  setLink(up: boolean): void {
    if (this.state.linkDown === !up) return;
    this.state.linkDown = !up;
    this.#raise(rtlCause.link);
    if (up) this.receiveReady();
  }

  #resetChip(): void {
    const { state } = this;
    this.#retry.cancel();
    this.#timeout.cancel();
    Rtl8139State.reset(state);
    state.address.set(this.#mac);
    state.slots.fill(tsd.owned);
    state.TxConfig = HARDWARE_ID;
    state.config.set([0, 0x0c, 0, 1, 0, 0]);
    state.counterStartNs = this.#clock.nowNs();
    this.#length = 0;
    this.#held = this.#tooLong = false;
    this.#offload.flags = this.#offload.gsoType = 0;
    this.#peer.setTakes(0);
    this.#updateLine();
  }

  reset(): void {
    this.function.reset();
    this.#resetChip();
  }

  save(): Uint8Array {
    return saveParts(this.#parts);
  }

  load(saved: Uint8Array): void {
    loadParts(this.#parts, saved, this.name);
    this.#retry.cancel();
    this.timerChanged();
    this.#length = 0;
    this.#held = false;
    this.#tooLong = true;
    this.#offload.flags = this.#offload.gsoType = 0;
    this.function.restore();
    this.#peer.setTakes(0);
    this.#updateLine();
    this.sendReady();
    this.receiveReady();
  }
}
