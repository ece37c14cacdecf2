/**
 * Intel's 82540EM as QEMU's e1000: a gigabit Ethernet card on PCI. Large TCP frames go to the peer whole. Not there: statistics
 * other than two, wake on LAN, delays of single interrupts (RDTR, TIDV) beside ITR.
 */
import type { Timer, TimerService } from '../../base/index.js';
import { type Device, type DmaSpace, type IoHandler, RegisterBank, registerFields } from '../../bus/index.js';
import { gsoType, MAX_FRAME_BYTES, noOffload, offloadFlag } from '../../net/index.js';
import { bool, bytes, defineState, type StateArena, type StateOf, u16s, u32, u32s } from '../../schema/index.js';
import { type OptionRom, PciFunction, romBars } from '../pci/pci-function.js';
import { loadParts, type StatePart, saveParts, statePart } from '../pci/saved-parts.js';
import { e1000Cause, e1000Registers, rctl } from './e1000-registers.js';
import { EEPROM_WORDS, eepromFields, MicrowireEeprom } from './microwire-eeprom.js';
import type { NetworkCard, NetworkPeer } from './network-peer.js';

const windowBytes = 0x20000;
const ctrlReset = 0x4000000;
const ctrlVlanMode = 0x40000000;
const statusBits = 0x80080781;
const statusLinkUp = 2;
const causeAsserted = 0x80000000;
const tctlEnable = 2;
const itrUnitNs = 256;

const eecd = { clock: 1, select: 2, dataIn: 4, dataOut: 8, request: 0x40, grant: 0x80, present: 0x100 } as const;
const eepromSum = 0xbaba;

const mdic = { write: 0x4000000, read: 0x8000000, ready: 0x10000000, error: 0x40000000 } as const;
/** Registers of the PHY, an 88E1011, after reset. */
const phyReset: readonly (readonly [number, number])[] = [
  [0, 0x1140],
  [1, 0x7969],
  [2, 0x0141],
  [3, 0x0c20],
  [4, 0x0de1],
  [5, 0x41e1],
  [6, 1],
  [9, 0x0e00],
  [10, 0x3c00],
  [15, 0x3000],
  [16, 0x0360],
  [17, 0xa800],
  [20, 0x0d60],
];
const phyWritable: ReadonlySet<number> = new Set([0, 4, 7, 9, 16, 18, 20, 29, 30]);
const phyStatus = { register: 1, link: 4 } as const;
const phySpecific = { register: 17, link: 0x400 } as const;
const phyControl = { register: 0, reset: 0x8000, restart: 0x200 } as const;

const descriptorBytes = 16;
/** The chip has no longer rings. */
const maxDescriptors = 4096;
const txCommand = { end: 0x1000000, checksum: 0x4000000, segment: 0x4000000, report: 0x8000000, extended: 0x20000000 };
const txVlan = 0x40000000;
const txTypeMask = 0xf00000;
const txTypeData = 0x100000;
const context4 = 0x2000000;
const contextTcp = 0x1000000;
const done = 1;
const rxStatus = { done: 1, end: 2, ignoreChecksums: 4, vlan: 8 } as const;

const E1000State = defineState('e1000', 1, {
  ...registerFields(e1000Registers),
  cause: u32(),
  mask: u32(),
  line: bool(),
  linkDown: bool(false, { keep: true }),
  phy: u16s(32),
  mdicValue: u32(mdic.ready),
  eerdValue: u32(),
  eecdValue: u32(),
  ...eepromFields,
  ioAddress: u32(),
  received: u32(),
  sent: u32(),
  /** Of a frame that is not whole the beginning has been taken: it is lost when the state is loaded. */
  amidFrame: bool(),
  /** Multicast table, receive addresses, VLAN filter: 0x5200 to 0x57ff. */
  tables: u32s(0x180),
  /** The last two context descriptors: for large frames, and for others. */
  contexts: bytes(32),
});
const tableStart = 0x5200;
const tableEnd = 0x5800;
const raIndex = 0x80;
const vftaIndex = 0x100;

export interface E1000Options {
  readonly name: string;
  readonly peer: NetworkPeer;
  readonly mac: Uint8Array;
  readonly dma: DmaSpace;
  readonly clock: TimerService;
  readonly rom?: OptionRom | undefined;
  readonly arena?: StateArena | undefined;
}

export class E1000 implements Device, NetworkCard {
  readonly name: string;
  readonly function: PciFunction;
  readonly #state: StateOf<typeof E1000State>;
  readonly #parts: readonly StatePart[];
  readonly #peer: NetworkPeer;
  readonly #dma: DmaSpace;
  readonly #clock: TimerService;
  readonly #eeprom: MicrowireEeprom;
  readonly #mac: Uint8Array;
  readonly #registers: RegisterBank<E1000>;
  readonly #throttle: Timer;
  readonly #frame = new Uint8Array(MAX_FRAME_BYTES);
  #length = 0;
  #tooLong = false;
  /** The frame is whole, and the peer had no room for it. */
  #held = false;
  readonly #offload = noOffload();
  readonly #descriptor = new Uint8Array(descriptorBytes);
  readonly #view = new DataView(this.#descriptor.buffer);

  constructor(options: E1000Options) {
    const { name, peer, mac, dma, clock, rom, arena } = options;
    this.name = name;
    this.#peer = peer;
    this.#dma = dma;
    this.#clock = clock;
    this.#mac = mac.slice();
    this.#state = E1000State.allocate(arena);
    this.#registers = new RegisterBank(windowBytes, e1000Registers, this, this.#state);
    this.#throttle = clock.createTimer(`${name} itr`, () => this.#updateLine());
    this.#eeprom = new MicrowireEeprom(this.#state);
    const { words } = this.#eeprom;
    for (let i = 0; i < 3; i++) words[i] = mac[2 * i] | (mac[2 * i + 1] << 8);
    words.set([0x1100, 0x1af4, 0x100e, 0x8086], 0x0b);
    let sum = 0;
    for (let i = 0; i < EEPROM_WORDS - 1; i++) sum += words[i];
    words[EEPROM_WORDS - 1] = eepromSum - sum;
    const memory: IoHandler = {
      read: (offset, size) => this.#read(offset, size),
      write: (offset, size, value) => this.#write(offset, size, value),
    };
    this.function = new PciFunction({
      name,
      vendorId: 0x8086,
      deviceId: 0x100e,
      revision: 3,
      classCode: 0x020000,
      interruptPin: 1,
      bars: [
        { index: 0, kind: 'memory32', size: windowBytes, handler: memory },
        { index: 1, kind: 'io', size: 0x40, handler: this.#ioWindow() },
        ...romBars(rom),
      ],
      arena,
    });
    this.#parts = [this.function.part, statePart(E1000State, this.#state)];
    if (!arena?.attached) this.#resetChip();
    peer.attach(this);
  }

  // Registers

  #read(offset: number, size: 1 | 2 | 4): number {
    if (offset < tableStart || offset >= tableEnd) return this.#registers.read(offset, size);
    const word = this.#state.tables[(offset - tableStart) >> 2];
    const mask = size === 4 ? 0xffffffff : (1 << (8 * size)) - 1;
    return ((word >>> (8 * (offset & 3))) & mask) >>> 0;
  }

  #write(offset: number, size: 1 | 2 | 4, value: number): void {
    // The tables take whole words.
    if (offset < tableStart || offset >= tableEnd) this.#registers.write(offset, size, value);
    else if (size === 4) this.#state.tables[(offset - tableStart) >> 2] = value;
  }

  /** Two ports: an address, and what is there. */
  #ioWindow(): IoHandler {
    return {
      read: (offset) => {
        const { ioAddress } = this.#state;
        if (offset === 0) return ioAddress;
        return offset === 4 && ioAddress < windowBytes ? this.#read(ioAddress & ~3, 4) : 0;
      },
      write: (offset, size, value) => {
        if (size !== 4) return;
        if (offset === 0) this.#state.ioAddress = value;
        else if (offset === 4 && this.#state.ioAddress < windowBytes) this.#write(this.#state.ioAddress & ~3, 4, value);
      },
    };
  }

  controlWritten(): void {
    if ((this.#state.CTRL & ctrlReset) !== 0) this.#resetChip();
  }

  status(): number {
    return (statusBits | (this.#state.linkDown ? 0 : statusLinkUp)) >>> 0;
  }

  takeCount(which: 'received' | 'sent'): number {
    const count = this.#state[which];
    this.#state[which] = 0;
    return count;
  }

  // EEPROM and PHY

  readEecd(): number {
    const { eecdValue } = this.#state;
    const grant = (eecdValue & eecd.request) !== 0 ? eecd.grant : 0;
    return eecdValue | eecd.present | grant | (this.#eeprom.dataOut ? eecd.dataOut : 0);
  }

  writeEecd(value: number): void {
    this.#state.eecdValue = value & (eecd.clock | eecd.select | eecd.dataIn | eecd.request);
    this.#eeprom.drive((value & eecd.select) !== 0, (value & eecd.clock) !== 0, (value & eecd.dataIn) !== 0);
  }

  readEerd(): number {
    return this.#state.eerdValue;
  }

  writeEerd(value: number): void {
    const address = (value >> 8) & 0xff;
    const isStart = (value & 1) !== 0;
    const word = address < EEPROM_WORDS ? this.#eeprom.words[address] : 0;
    this.#state.eerdValue = isStart ? ((word << 16) | (address << 8) | 0x10) >>> 0 : value & ~0x10;
  }

  readMdic(): number {
    return this.#state.mdicValue;
  }

  writeMdic(value: number): void {
    const state = this.#state;
    const register = (value >> 16) & 31;
    let result = (value & 0x3ffffff) | mdic.ready;
    if (((value >> 21) & 31) !== 1) result |= mdic.error;
    else if ((value & mdic.read) !== 0) result = (result & ~0xffff) | this.#readPhy(register);
    else if ((value & mdic.write) !== 0 && phyWritable.has(register)) {
      state.phy[register] = value;
      if (register === phyControl.register) {
        if ((value & phyControl.reset) !== 0) this.#resetPhy();
        // Both ends agree at once.
        if ((value & phyControl.restart) !== 0) this.raiseCause(e1000Cause.link);
        state.phy[register] &= ~(phyControl.reset | phyControl.restart);
      }
    }
    state.mdicValue = result >>> 0;
  }

  #readPhy(register: number): number {
    const value = this.#state.phy[register];
    if (this.#state.linkDown) return value;
    if (register === phyStatus.register) return value | phyStatus.link;
    return register === phySpecific.register ? value | phySpecific.link : value;
  }

  #resetPhy(): void {
    this.#state.phy.fill(0);
    for (const [register, value] of phyReset) this.#state.phy[register] = value;
  }

  // Interrupts

  get mask(): number {
    return this.#state.mask;
  }

  setMask(value: number): void {
    this.#state.mask = value >>> 0;
    this.#updateLine();
  }

  raiseCause(bits: number): void {
    this.#state.cause = (this.#state.cause | bits) >>> 0;
    this.#updateLine();
  }

  readCause(): number {
    const { cause, mask } = this.#state;
    this.#state.cause = 0;
    this.#updateLine();
    return ((cause & mask) !== 0 ? cause | causeAsserted : cause) >>> 0;
  }

  clearCause(bits: number): void {
    this.#state.cause = (this.#state.cause & ~bits) >>> 0;
    this.#updateLine();
  }

  /** Between two interrupts ITR has to pass. */
  #updateLine(): void {
    const state = this.#state;
    const wanted = (state.cause & state.mask) !== 0;
    if (wanted === state.line) return;
    if (wanted) {
      const now = this.#clock.nowNs();
      if (this.#throttle.deadlineNs !== Infinity && this.#throttle.deadlineNs > now) return;
      if (state.ITR !== 0) this.#throttle.arm(now + state.ITR * itrUnitNs);
    }
    state.line = wanted;
    this.function.setIntx(wanted);
  }

  // From the guest

  sendReady(): void {
    this.transmit();
  }

  transmit(): void {
    const state = this.#state;
    if ((state.TCTL & tctlEnable) === 0 || !this.function.busMaster) return;
    const count = Math.min(Math.floor(state.TDLEN / descriptorBytes), maxDescriptors);
    if (count === 0) return;
    const base = state.TDBAH * 2 ** 32 + state.TDBAL;
    let causes = 0;
    for (let budget = count; budget > 0 && state.TDH !== state.TDT && state.TDH < count; budget--) {
      const at = base + state.TDH * descriptorBytes;
      this.#dma.read(at, this.#descriptor);
      const lower = this.#view.getUint32(8, true);
      if (!this.#held) this.#gather(lower);
      if ((lower & txCommand.end) !== 0 && this.#isFrame(lower) && !this.#send()) {
        this.#held = true;
        break;
      }
      this.#held = false;
      if ((lower & txCommand.report) !== 0) {
        this.#dma.writeU32(at + 12, this.#view.getUint32(12, true) | done);
        this.#dma.publish(at + 12, 4);
        causes |= e1000Cause.txDone;
      }
      state.TDH = state.TDH + 1 >= count ? 0 : state.TDH + 1;
    }
    if (state.TDH === state.TDT) causes |= e1000Cause.txEmpty;
    if (causes !== 0) this.raiseCause(causes);
  }

  #isFrame(lower: number): boolean {
    return (lower & txCommand.extended) === 0 || (lower & txTypeMask) === txTypeData;
  }

  /** Adds a descriptor's bytes to the frame, or keeps a context. */
  #gather(lower: number): void {
    if (!this.#isFrame(lower)) {
      if ((lower & txTypeMask) !== 0) return;
      this.#state.contexts.set(this.#descriptor, (lower & txCommand.segment) !== 0 ? 0 : descriptorBytes);
      return;
    }
    const isExtended = (lower & txCommand.extended) !== 0;
    const length = lower & (isExtended ? 0xfffff : 0xffff);
    if (!this.#state.amidFrame) this.#begin(lower);
    this.#state.amidFrame = true;
    if (this.#length + length > MAX_FRAME_BYTES - 4) this.#tooLong = true;
    if (this.#tooLong || length === 0) return;
    const gpa = this.#view.getUint32(4, true) * 2 ** 32 + this.#view.getUint32(0, true);
    this.#dma.read(gpa, this.#frame.subarray(this.#length, this.#length + length));
    this.#length += length;
  }

  #wantsIpSum = false;
  #wantsSum = false;
  #segments = false;

  /** The first descriptor of a frame says what is to be done with it. */
  #begin(lower: number): void {
    const isExtended = (lower & txCommand.extended) !== 0;
    const upper = this.#view.getUint32(12, true);
    this.#tooLong = false;
    this.#segments = isExtended && (lower & txCommand.segment) !== 0;
    this.#wantsIpSum = isExtended && (upper & 0x100) !== 0;
    this.#wantsSum = isExtended && (upper & 0x200) !== 0;
  }

  /** The frame is whole. False: the peer has no room. */
  #send(): boolean {
    const frame = this.#frame;
    if (!this.#held) this.#finish();
    const length = this.#length;
    if (!this.#tooLong && length >= 14 && !this.#state.linkDown) {
      if (!this.#peer.send([frame.subarray(0, length)], length, this.#offload)) return false;
      this.#state.sent = (this.#state.sent + 1) >>> 0;
    }
    this.#length = 0;
    this.#state.amidFrame = false;
    return true;
  }

  /** Checksums, lengths that the driver leaves out, and the VLAN tag. */
  #finish(): void {
    const offload = this.#offload;
    const frame = this.#frame;
    const length = this.#length;
    offload.flags = offload.gsoType = offload.headerLength = offload.gsoSize = 0;
    offload.checksumStart = offload.checksumOffset = 0;
    const lower = this.#view.getUint32(8, true);
    if ((lower & txCommand.extended) === 0) {
      const start = (this.#view.getUint32(12, true) >> 8) & 0xff;
      const at = (lower >> 16) & 0xff;
      if ((lower & txCommand.checksum) !== 0 && at >= start && start >= 14) this.#leaveSum(start, at);
    } else {
      const context = this.#state.contexts.subarray(this.#segments ? 0 : descriptorBytes);
      const [ipStart, ipAt] = context;
      const [start, at] = context.subarray(4);
      const kind = (context[11] << 24) >>> 0;
      if (this.#segments) {
        const mss = context[14] | (context[15] << 8);
        const isIpv4 = (kind & context4) !== 0;
        if ((kind & contextTcp) === 0 || mss === 0 || ipStart < 14 || start < ipStart + 20 || start + 20 > length) {
          this.#tooLong = true;
          return;
        }
        const size = length - ipStart;
        if (isIpv4) frame.set([size >> 8, size], ipStart + 2);
        else frame.set([(size - 40) >> 8, size - 40], ipStart + 4);
        if (length - start - 20 > mss) {
          offload.gsoType = isIpv4 ? gsoType.tcp4 : gsoType.tcp6;
          offload.gsoSize = mss;
          offload.headerLength = context[13];
        }
        // The driver's sum of the pseudo header is without the length.
        let sum = ((frame[start + 16] << 8) | frame[start + 17]) + length - start;
        sum = (sum & 0xffff) + (sum >>> 16);
        frame.set([sum >> 8, sum], start + 16);
        this.#leaveSum(start, start + 16);
      } else if (this.#wantsSum && at >= start && start >= 14) this.#leaveSum(start, at);
      if (this.#wantsIpSum && ipStart >= 14 && ipAt >= ipStart && ipAt + 2 <= length && start > ipStart) {
        frame.set([0, 0], ipAt);
        let sum = 0;
        const end = Math.min(start, length);
        for (let i = ipStart; i < end; i++) sum += ((i - ipStart) & 1) === 0 ? frame[i] << 8 : frame[i];
        while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
        frame.set([(~sum >> 8) & 0xff, ~sum & 0xff], ipAt);
      }
    }
    if ((lower & txVlan) !== 0 && (this.#state.CTRL & ctrlVlanMode) !== 0 && length >= 14) {
      const tag = this.#view.getUint16(14, true);
      frame.copyWithin(16, 12, length);
      frame.set([this.#state.VET >> 8, this.#state.VET, tag >> 8, tag], 12);
      this.#length = length + 4;
      if (offload.checksumStart !== 0) offload.checksumStart += 4;
    }
  }

  #leaveSum(start: number, at: number): void {
    this.#offload.flags = offloadFlag.needsChecksum;
    this.#offload.checksumStart = start;
    this.#offload.checksumOffset = at - start;
  }

  // For the guest

  receiveReady(): void {
    const state = this.#state;
    if ((state.RCTL & rctl.enable) === 0 || !this.function.busMaster) return;
    let causes = 0;
    for (let budget = 256; budget > 0; budget--) {
      const frame = this.#peer.receive();
      if (frame === undefined) break;
      if (!state.linkDown && frame.offload.gsoType === gsoType.none && this.#wants(frame.bytes)) {
        if (!this.#deliver(frame.bytes)) break;
        state.received = (state.received + 1) >>> 0;
        causes |= e1000Cause.rxTimer;
      }
      this.#peer.consume();
    }
    if (causes !== 0) this.raiseCause(causes);
  }

  /** False: there are not enough descriptors; a write of the tail says when there are. */
  #deliver(frame: Uint8Array): boolean {
    const state = this.#state;
    const count = Math.min(Math.floor(state.RDLEN / descriptorBytes), maxDescriptors);
    if (count === 0 || state.RDH >= count || state.RDT >= count) return false;
    const free = (state.RDT - state.RDH + count) % count;
    const isExtended = (state.RCTL & rctl.sizeExtension) !== 0;
    const code = (state.RCTL >> 16) & 3;
    const size = isExtended && code !== 0 ? 32768 >> code : 2048 >> code;
    // Short frames are filled up; the sum at the end is there, but nobody looks at it.
    const content = Math.max(frame.length, 60);
    const total = content + ((state.RCTL & rctl.stripCrc) !== 0 ? 0 : 4);
    const needed = Math.ceil(total / size);
    if (needed > count - 1) return true;
    if (needed > free) return false;
    const base = state.RDBAH * 2 ** 32 + state.RDBAL;
    const whole = new Uint8Array(total);
    whole.set(frame);
    for (let at = 0; at < total; at += size) {
      const gpa = base + state.RDH * descriptorBytes;
      this.#dma.read(gpa, this.#descriptor);
      const buffer = this.#view.getUint32(4, true) * 2 ** 32 + this.#view.getUint32(0, true);
      const piece = whole.subarray(at, at + size);
      this.#dma.write(buffer, piece);
      this.#view.setUint16(8, piece.length, true);
      this.#view.setUint16(10, 0, true);
      const isLast = at + size >= total;
      this.#view.setUint32(12, rxStatus.done | rxStatus.ignoreChecksums | (isLast ? rxStatus.end : 0), true);
      // The status is what the driver looks at: it comes last.
      this.#dma.write(gpa + 8, this.#descriptor.subarray(8));
      state.RDH = state.RDH + 1 >= count ? 0 : state.RDH + 1;
    }
    return true;
  }

  #wants(frame: Uint8Array): boolean {
    const { RCTL, tables } = this.#state;
    if (frame[12] === 0x81 && frame[13] === 0 && (RCTL & rctl.vlanFilter) !== 0) {
      const id = ((frame[14] & 15) << 8) | frame[15];
      if (((tables[vftaIndex + (id >> 5)] >>> (id & 31)) & 1) === 0) return false;
    }
    const isGroup = (frame[0] & 1) !== 0;
    if (isGroup) {
      if (frame.subarray(0, 6).every((byte) => byte === 0xff)) return (RCTL & rctl.broadcast) !== 0;
      if ((RCTL & rctl.multicastAll) !== 0) return true;
    } else if ((RCTL & rctl.unicastAll) !== 0) return true;
    const low = (frame[0] | (frame[1] << 8) | (frame[2] << 16) | (frame[3] << 24)) >>> 0;
    const high = frame[4] | (frame[5] << 8);
    for (let i = 0; i < 16; i++) {
      const top = tables[raIndex + 2 * i + 1];
      if (top >>> 31 === 1 && tables[raIndex + 2 * i] === low && (top & 0xffff) === high) return true;
    }
    if (!isGroup) return false;
    const hash = (high >> [4, 3, 2, 0][(RCTL >> 12) & 3]) & 0xfff;
    return ((tables[hash >> 5] >>> (hash & 31)) & 1) !== 0;
  }

  // Life

  setLink(up: boolean): void {
    if (this.#state.linkDown === !up) return;
    this.#state.linkDown = !up;
    this.raiseCause(e1000Cause.link);
  }

  #resetChip(): void {
    const state = this.#state;
    this.#throttle.cancel();
    E1000State.reset(state);
    this.#resetPhy();
    this.#length = 0;
    this.#held = this.#tooLong = false;
    const mac = this.#mac;
    state.tables[raIndex] = mac[0] | (mac[1] << 8) | (mac[2] << 16) | (mac[3] << 24);
    state.tables[raIndex + 1] = mac[4] | (mac[5] << 8) | 0x80000000;
    this.function?.setIntx(false);
    this.#peer.setTakes(0);
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
    this.#throttle.cancel();
    this.#length = 0;
    this.#held = false;
    this.#tooLong = true;
    this.function.restore();
    this.#peer.setTakes(0);
    this.#updateLine();
    this.transmit();
    this.receiveReady();
  }
}
