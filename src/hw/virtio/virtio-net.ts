/**
 * Network device (Virtual I/O Device 1.2, 5.1): several queue pairs, buffers that a frame is spread over, checksums and
 * segmentation left to the other side, and the control queue. UDP segmentation, RSS and hash reports are not offered.
 */
import type { Timer, TimerService } from '../../base/index.js';
import { gsoType, MAX_FRAME_BYTES, noOffload, offloadFlag, takes } from '../../net/index.js';
import { bool, bytes, defineState, type StateArena, type StateOf, u8, u16, u32s } from '../../schema/index.js';
import type { NetworkCard, NetworkPeer } from '../network/network-peer.js';
import { type StatePart, statePart } from '../pci/saved-parts.js';
import { ConfigBytes } from './config-bytes.js';
import { DescriptorChain } from './descriptor-chain.js';
import { ringFeature } from './feature-bits.js';
import { type VirtioDevice, type VirtioModel, virtioType } from './virtio-device.js';
import { type NetFeatureName, netFeature, offeredNetFeatures } from './virtio-net-features.js';
import type { Virtqueue } from './virtqueue.js';

const feature = netFeature;

/** struct virtio_net_config (5.1.4). */
const configField = { mac: 0, status: 6, maxPairs: 8, mtu: 10, speed: 12, duplex: 16 } as const;
const plainConfigBytes = 12;
const configBytesWithSpeed = 17;
const unknownSpeed = 0xffffffff;
const duplexCode = { half: 0, full: 1, unknown: 0xff } as const;
const statusBit = { linkUp: 1, announce: 2 } as const;

/** struct virtio_net_hdr (5.1.6); the last field is there in version 1, or with mergeable buffers. */
const headerField = { flags: 0, gso: 1, headerLength: 2, gsoSize: 4, start: 6, offset: 8, buffers: 10 } as const;

const control = { rx: 0, mac: 1, vlan: 2, announce: 3, multiQueue: 4, offloads: 5 } as const;
const rxCommand = { promiscuous: 0, allMulti: 1, allUni: 2, noMulti: 3, noUni: 4, noBroadcast: 5 } as const;
const controlOk = 0;
const controlError = 1;
/** Longer tables let everything through, as QEMU's. */
const maxTable = 64;
/** A control command is hardly longer than two full tables. */
const maxCommandBytes = 2 * (4 + maxTable * 6 * 16) + 2;

export const maxQueuePairs = 128;

/** Frames to send are waited for so long after the first: a driver that has several kicks once, and is interrupted once. */
const transmitDelayNs = 150_000;

export interface VirtioNetOptions {
  readonly peer: NetworkPeer;
  readonly mac: Uint8Array;
  /** Queues of the network: so many pairs it can use. */
  readonly queuePairs?: number;
  /** Entries of the queues for frames that come, and for those that go, 256 unless given. */
  readonly rxQueueSize?: number | undefined;
  readonly txQueueSize?: number | undefined;
  readonly mtu?: number | undefined;
  /** What it offers, where that is not as usual. */
  readonly features?: Readonly<Partial<Record<NetFeatureName, boolean>>> | undefined;
  /** What the driver is told of the wire: megabits a second. */
  readonly speed?: number | undefined;
  readonly duplex?: 'half' | 'full' | undefined;
  /** Without one, frames are sent at every kick. */
  readonly clock?: TimerService | undefined;
  readonly arena?: StateArena | undefined;
}

const VirtioNetState = defineState('virtio-net', 1, {
  mac: bytes(6),
  /** The cable is pulled: what the host does stays, whatever the guest resets. */
  linkDown: bool(false, { keep: true }),
  announce: bool(),
  promiscuous: bool(true),
  allMulti: bool(),
  allUni: bool(),
  noMulti: bool(),
  noUni: bool(),
  noBroadcast: bool(),
  tableUsed: u8(0, { max: maxTable }),
  /** Of the table the first so many are unicast addresses. */
  tableUni: u8(0, { max: maxTable }),
  uniOverflow: bool(),
  multiOverflow: bool(),
  table: bytes(maxTable * 6),
  vlans: u32s(128),
  pairs: u16(1, { min: 1, max: maxQueuePairs }),
  /** What the driver takes in of what was agreed upon: bits of `takes`. */
  taking: u8(0, { max: 7 }),
});

export class VirtioNet implements VirtioModel, NetworkCard {
  readonly type = virtioType.net;
  readonly queueSizes: readonly number[];
  readonly features: readonly number[];
  readonly config: ConfigBytes;
  readonly configBytes: number;
  readonly parts: readonly StatePart[];
  readonly #state: StateOf<typeof VirtioNetState>;
  readonly #peer: NetworkPeer;
  readonly #mac: Uint8Array;
  readonly #maxPairs: number;
  readonly #header = new Uint8Array(12);
  readonly #headerView = new DataView(this.#header.buffer);
  readonly #offload = noOffload();
  readonly #chains: DescriptorChain[] = [];
  readonly #written: number[] = [];
  readonly #transmitTimer: Timer | undefined;
  readonly #clock: TimerService | undefined;
  #device!: VirtioDevice;

  constructor(options: VirtioNetOptions) {
    const { peer, mac, queuePairs = 1, rxQueueSize = 256, txQueueSize = 256, mtu, clock, speed, duplex } = options;
    this.#clock = clock;
    this.#transmitTimer = clock?.createTimer('virtio-net transmit', () => this.sendReady(), { beforeSleep: true });
    this.#peer = peer;
    this.#mac = mac.slice();
    this.#maxPairs = queuePairs;
    this.#state = VirtioNetState.allocate(options.arena);
    this.parts = [statePart(VirtioNetState, this.#state)];
    const sizes = Array.from({ length: queuePairs }, () => [rxQueueSize, txQueueSize]);
    this.queueSizes = [...sizes.flat(), 64];
    const tellsSpeed = speed !== undefined || duplex !== undefined;
    this.features = [
      ...offeredNetFeatures(options.features ?? {}),
      ...(mtu === undefined ? [] : [feature.mtu]),
      ...(tellsSpeed ? [feature.speedDuplex] : []),
    ];
    this.configBytes = tellsSpeed ? configBytesWithSpeed : plainConfigBytes;
    const written = (offset: number, size: number, value: number) => this.#configWritten(offset, size, value);
    this.config = new ConfigBytes(this.configBytes, written, () => this.#show());
    const { view } = this.config;
    view.setUint16(configField.maxPairs, queuePairs, true);
    view.setUint16(configField.mtu, mtu ?? 0, true);
    if (tellsSpeed) {
      view.setUint32(configField.speed, speed ?? unknownSpeed, true);
      view.setUint8(configField.duplex, duplexCode[duplex ?? 'unknown']);
    }
    if (!options.arena?.attached) this.#state.mac.set(this.#mac);
    peer.attach(this);
  }

  attach(device: VirtioDevice): void {
    this.#device = device;
  }

  #show(): void {
    const { mac, linkDown, announce } = this.#state;
    this.config.bytes.set(mac, configField.mac);
    const status = (linkDown ? 0 : statusBit.linkUp) | (announce ? statusBit.announce : 0);
    this.config.view.setUint16(configField.status, status, true);
  }

  /** Before version 1 the driver sets its address so (5.1.4.1). */
  #configWritten(offset: number, size: number, value: number): void {
    if (this.#device.hasFeature(ringFeature.version1)) return;
    for (let i = 0; i < size; i++) if (offset + i < 6) this.#state.mac[offset + i] = (value >>> (8 * i)) & 0xff;
  }

  get #controlIndex(): number {
    return this.#device.hasFeature(feature.multiQueue) ? 2 * this.#maxPairs : 2;
  }

  get #headerBytes(): number {
    const device = this.#device;
    return device.hasFeature(ringFeature.version1) || device.hasFeature(feature.mergeableBuffers) ? 12 : 10;
  }

  // Life

  reset(): void {
    VirtioNetState.reset(this.#state);
    this.#state.mac.set(this.#mac);
    this.#peer.setTakes(0);
    this.#peer.setQueues(1);
  }

  started(): void {
    const device = this.#device;
    let taking = 0;
    if (device.hasFeature(feature.guestChecksum)) {
      taking = takes.checksum;
      if (device.hasFeature(feature.guestTso4)) taking |= takes.tcp4;
      if (device.hasFeature(feature.guestTso6)) taking |= takes.tcp6;
    }
    this.#state.taking = taking;
    this.#peer.setTakes(taking);
    this.receiveReady();
  }

  restored(): void {
    this.#state.pairs = Math.min(this.#state.pairs, this.#maxPairs);
    this.#peer.setTakes(this.#state.taking);
    this.#peer.setQueues(this.#state.pairs);
    if (!this.#device.running) return;
    this.receiveReady();
    for (const queue of this.#device.queues) if (queue.state.ready) this.#device.kick(queue.index);
  }

  setLink(up: boolean): void {
    if (this.#state.linkDown === !up) return;
    this.#state.linkDown = !up;
    // Who comes back tells its neighbours where it is now (5.1.6.5.4).
    if (up && this.#device.hasFeature(feature.announce)) this.#state.announce = true;
    this.#device.configChanged();
    if (up) this.receiveReady();
  }

  queueKicked(queue: Virtqueue): void {
    if (queue.index === this.#controlIndex) this.#command(queue);
    else if ((queue.index & 1) === 0) this.receiveReady();
    else if (!this.#clock || !this.#transmitTimer) this.#transmit(queue);
    else if (this.#transmitTimer.deadlineNs === Infinity)
      this.#transmitTimer.arm(this.#clock.nowNs() + transmitDelayNs);
  }

  // From the guest

  sendReady(): void {
    if (!this.#device.running) return;
    for (let pair = 0; pair < this.#maxPairs; pair++) {
      const queue = this.#device.queues[2 * pair + 1];
      if (queue.index !== this.#controlIndex && queue.state.ready) this.#transmit(queue);
    }
  }

  #transmit(queue: Virtqueue): void {
    const headerBytes = this.#headerBytes;
    const header = this.#headerView;
    const offload = this.#offload;
    let took = false;
    for (let budget = queue.state.size; budget > 0; budget--) {
      const chain = queue.peek();
      if (chain === undefined) break;
      if (chain.copyOut(0, this.#header.subarray(0, headerBytes)) < headerBytes) {
        queue.release(chain);
        this.#device.fail('a frame to send lacks its header');
        return;
      }
      const length = chain.readableBytes - headerBytes;
      offload.flags = this.#header[headerField.flags] & offloadFlag.needsChecksum;
      offload.gsoType = this.#header[headerField.gso];
      offload.headerLength = header.getUint16(headerField.headerLength, true);
      offload.gsoSize = header.getUint16(headerField.gsoSize, true);
      offload.checksumStart = header.getUint16(headerField.start, true);
      offload.checksumOffset = header.getUint16(headerField.offset, true);
      // Without a cable, and when they are too large or too small, frames are lost.
      if (!this.#state.linkDown && length >= 14 && length <= MAX_FRAME_BYTES) {
        const pieces = DescriptorChain.slice(chain.readable, headerBytes, chain.readableBytes);
        if (!this.#peer.send(pieces, length, offload, queue.index >> 1)) {
          queue.release(chain);
          break;
        }
      }
      queue.advance();
      queue.push(chain, 0);
      took = true;
    }
    if (took) queue.signal();
  }

  // For the guest

  receiveReady(): void {
    if (!this.#device.running) return;
    const toSignal = new Set<Virtqueue>();
    // As many frames as a ring has buffers: then the guest has its turn.
    for (let budget = 1024; budget > 0; budget--) {
      const frame = this.#peer.receive();
      if (frame === undefined) break;
      if (
        !this.#state.linkDown &&
        this.#wants(frame.bytes) &&
        this.#canTake(frame.offload.gsoType, frame.offload.flags)
      ) {
        // The network chose its queue; where it has not heard yet of fewer, any will do.
        const queue = this.#device.queues[2 * (frame.queue % this.#state.pairs)];
        const { offload } = frame;
        this.#header.fill(0);
        this.#header[headerField.flags] = offload.flags;
        if ((offload.flags & offloadFlag.needsChecksum) !== 0) {
          this.#headerView.setUint16(headerField.start, offload.checksumStart, true);
          this.#headerView.setUint16(headerField.offset, offload.checksumOffset, true);
        }
        if (offload.gsoType !== gsoType.none) {
          this.#header[headerField.gso] = offload.gsoType;
          this.#headerView.setUint16(headerField.headerLength, offload.headerLength, true);
          this.#headerView.setUint16(headerField.gsoSize, offload.gsoSize, true);
        }
        if (!this.#deliver(queue, frame.bytes)) break;
        toSignal.add(queue);
      }
      this.#peer.consume();
    }
    for (const queue of toSignal) queue.signal();
  }

  /** A frame that was made for the driver before, which took more in. */
  #canTake(gso: number, flags: number): boolean {
    const { taking } = this.#state;
    if ((flags & offloadFlag.needsChecksum) !== 0 && (taking & takes.checksum) === 0) return false;
    const kind = gso & ~gsoType.ecn;
    if (kind === gsoType.none) return true;
    return (taking & (kind === gsoType.tcp4 ? takes.tcp4 : takes.tcp6)) !== 0;
  }

  /** False: the driver has no buffers for it now, and will kick. */
  #deliver(queue: Virtqueue, frame: Uint8Array): boolean {
    const headerBytes = this.#headerBytes;
    const total = headerBytes + frame.length;
    const mergeable = this.#device.hasFeature(feature.mergeableBuffers);
    const chains = this.#chains;
    const written = this.#written;
    chains.length = written.length = 0;
    let room = 0;
    while (room < total) {
      const chain = queue.state.ready ? queue.pop() : undefined;
      if (chain === undefined) {
        queue.putBack(chains);
        return false;
      }
      chains.push(chain);
      room += chain.writableBytes;
      if (chains.length === 1 && chain.writableBytes < headerBytes) {
        queue.putBack(chains);
        this.#device.fail('a buffer for frames has no room for a header');
        return false;
      }
      if (!mergeable && room < total) {
        // The frame is lost, and the buffer stays.
        queue.putBack(chains);
        return true;
      }
    }
    this.#headerView.setUint16(headerField.buffers, chains.length, true);
    chains[0].copyIn(0, this.#header.subarray(0, headerBytes));
    let at = 0;
    for (const [i, chain] of chains.entries()) {
      const skip = i === 0 ? headerBytes : 0;
      const count = chain.copyIn(skip, frame.subarray(at));
      written.push(skip + count);
      at += count;
    }
    queue.pushAll(chains, written);
    return true;
  }

  /** The receive filter (5.1.6.5.1 to 5.1.6.5.3), as QEMU's. */
  #wants(frame: Uint8Array): boolean {
    const state = this.#state;
    if (state.promiscuous) return true;
    if (frame[12] === 0x81 && frame[13] === 0 && this.#device.hasFeature(feature.controlVlan)) {
      const id = ((frame[14] & 15) << 8) | frame[15];
      if ((state.vlans[id >> 5] & (1 << (id & 31))) === 0) return false;
    }
    if ((frame[0] & 1) !== 0) {
      if (frame.subarray(0, 6).every((byte) => byte === 0xff)) return !state.noBroadcast;
      if (state.noMulti) return false;
      return state.allMulti || state.multiOverflow || this.#inTable(frame, state.tableUni, state.tableUsed);
    }
    if (state.noUni) return false;
    if (state.allUni || state.uniOverflow || sameMac(frame, state.mac, 0)) return true;
    return this.#inTable(frame, 0, state.tableUni);
  }

  #inTable(frame: Uint8Array, from: number, to: number): boolean {
    for (let i = from; i < to; i++) if (sameMac(frame, this.#state.table, i * 6)) return true;
    return false;
  }

  // The control queue

  #command(queue: Virtqueue): void {
    for (let budget = queue.state.size; budget > 0; budget--) {
      const chain = queue.pop();
      if (chain === undefined) break;
      if (chain.readableBytes < 2 || chain.writableBytes < 1) {
        queue.release(chain);
        this.#device.fail('a control command lacks its header or status');
        return;
      }
      const command = new Uint8Array(Math.min(chain.readableBytes, maxCommandBytes));
      chain.copyOut(0, command);
      const isDone = chain.readableBytes <= maxCommandBytes && this.#obey(command[0], command[1], command.subarray(2));
      chain.copyIn(0, Uint8Array.of(isDone ? controlOk : controlError));
      queue.push(chain, 1);
    }
    queue.signal();
  }

  #obey(kind: number, command: number, data: Uint8Array): boolean {
    const state = this.#state;
    const word = () => data[0] | (data[1] << 8);
    switch (kind) {
      case control.rx:
        return data.length === 1 && this.#setMode(command, data[0] !== 0);
      case control.mac:
        if (command === 0) return this.#setTable(data);
        if (command !== 1 || data.length !== 6) return false;
        state.mac.set(data);
        return true;
      case control.vlan: {
        if (data.length !== 2 || word() > 4095 || command > 1) return false;
        const bit = 1 << (word() & 31);
        if (command === 0) state.vlans[word() >> 5] |= bit;
        else state.vlans[word() >> 5] &= ~bit;
        return true;
      }
      case control.announce:
        if (command !== 0 || !state.announce) return false;
        state.announce = false;
        return true;
      case control.multiQueue: {
        if (command !== 0 || data.length !== 2 || !this.#device.hasFeature(feature.multiQueue)) return false;
        if (word() < 1 || word() > this.#maxPairs) return false;
        state.pairs = word();
        this.#peer.setQueues(state.pairs);
        return true;
      }
      case control.offloads:
        return command === 0 && data.length === 8 && this.#setOffloads(data);
      default:
        return false;
    }
  }

  #setMode(command: number, on: boolean): boolean {
    const state = this.#state;
    switch (command) {
      case rxCommand.promiscuous:
        state.promiscuous = on;
        return true;
      case rxCommand.allMulti:
        state.allMulti = on;
        return true;
      case rxCommand.allUni:
        state.allUni = on;
        return true;
      case rxCommand.noMulti:
        state.noMulti = on;
        return true;
      case rxCommand.noUni:
        state.noUni = on;
        return true;
      case rxCommand.noBroadcast:
        state.noBroadcast = on;
        return true;
      default:
        return false;
    }
  }

  /** Two tables: unicast, multicast addresses, each with its number of entries in front. */
  #setTable(data: Uint8Array): boolean {
    const state = this.#state;
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    const table = new Uint8Array(maxTable * 6);
    let used = 0;
    let uni = 0;
    const overflows = [false, false];
    let at = 0;
    for (const which of [0, 1]) {
      if (at + 4 > data.length) return false;
      const count = view.getUint32(at, true);
      at += 4;
      if (count * 6 > data.length - at) return false;
      if (used + count <= maxTable) {
        table.set(data.subarray(at, at + count * 6), used * 6);
        used += count;
      } else overflows[which] = true;
      if (which === 0) uni = used;
      at += count * 6;
    }
    if (at !== data.length) return false;
    state.table.set(table);
    state.tableUsed = used;
    state.tableUni = uni;
    [state.uniOverflow, state.multiOverflow] = overflows;
    return true;
  }

  #setOffloads(data: Uint8Array): boolean {
    const bits = data[0] | (data[1] << 8);
    const agreed = [feature.guestChecksum, feature.guestTso4, feature.guestTso6, feature.guestEcn];
    let allowed = 0;
    for (const bit of agreed) if (this.#device.hasFeature(bit)) allowed |= 1 << bit;
    if ((bits & ~allowed) !== 0 || data.subarray(2).some((byte) => byte !== 0)) return false;
    let taking = 0;
    if ((bits & (1 << feature.guestChecksum)) !== 0) {
      taking = takes.checksum;
      if ((bits & (1 << feature.guestTso4)) !== 0) taking |= takes.tcp4;
      if ((bits & (1 << feature.guestTso6)) !== 0) taking |= takes.tcp6;
    }
    this.#state.taking = taking;
    this.#peer.setTakes(taking);
    return true;
  }
}

function sameMac(frame: Uint8Array, table: Uint8Array, at: number): boolean {
  for (let i = 0; i < 6; i++) if (frame[i] !== table[at + i]) return false;
  return true;
}
