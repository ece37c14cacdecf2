/** What tests of network cards share: a peer that keeps what is sent, and a bus with RAM behind it. */
import { ManualTime, MemorySpace, PortSpace } from '../../bus/index.js';
import type { FrameOffload } from '../../net/index.js';
import { assignResources } from '../pci/assign-resources.js';
import type { PciFunction } from '../pci/pci-function.js';
import { PciRoot } from '../pci/pci-root.js';
import type { NetworkCard, NetworkPeer, WaitingFrame } from './network-peer.js';

export const testMac = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
export const plainOffload: FrameOffload = {
  flags: 0,
  gsoType: 0,
  headerLength: 0,
  gsoSize: 0,
  checksumStart: 0,
  checksumOffset: 0,
};

export class TestPeer implements NetworkPeer {
  card!: NetworkCard;
  takes = 0;
  /** It takes so many frames. */
  room = Infinity;
  readonly sent: { bytes: number[]; offload: FrameOffload }[] = [];
  readonly waiting: WaitingFrame[] = [];
  attach(card: NetworkCard): void {
    this.card = card;
  }
  send(pieces: readonly Uint8Array[], _length: number, offload: FrameOffload): boolean {
    if (this.sent.length >= this.room) return false;
    this.sent.push({ bytes: pieces.flatMap((piece) => [...piece]), offload: { ...offload } });
    return true;
  }
  receive() {
    return this.waiting[0];
  }
  consume(): void {
    this.waiting.shift();
  }
  setTakes(bits: number): void {
    this.takes = bits;
  }
  setQueues(): void {}
  give(bytes: Uint8Array, offload: FrameOffload = plainOffload): void {
    this.waiting.push({ bytes, offload, queue: 0 });
    this.card.receiveReady();
  }
}

const RAM_BYTES = 0x100000;

/** A machine with RAM, a bus and a clock, and nothing on them. */
export function emptyBus(ram: SharedArrayBuffer = new SharedArrayBuffer(RAM_BYTES)) {
  const memory = new MemorySpace(ram);
  memory.addRam({ name: 'ram', gpa: 0, size: RAM_BYTES, hva: 0, readonly: false });
  const ports = new PortSpace();
  const root = new PciRoot({
    spaces: { memory, ports, msi: { send() {} } },
    route: (slot, pin) => (slot + pin - 1) & 3,
  });
  return { memory, ports, root, time: new ManualTime(), peer: new TestPeer(), ram: new Uint8Array(ram) };
}

/** The function goes into slot 3, its BARs where firmware would put them, and may be a bus master. */
export function plugIn({ root }: ReturnType<typeof emptyBus>, fn: PciFunction): void {
  root.bus.add(fn, 3);
  assignResources(root, {
    io: { first: 0xc000, last: 0xffff },
    memory: { first: 0xe0000000, last: 0xfebfffff },
    lineIrqs: [10, 10, 11, 11],
  });
  fn.setCommand(fn.command | 4);
}

/** A frame of `length` bytes for the card, unless `to` says for whom. */
export function testFrame(length: number, to: ArrayLike<number> = testMac): Uint8Array {
  const frame = Uint8Array.from({ length }, (_, i) => (i * 7) & 0xff);
  frame.set(Array.from(to).slice(0, 6), 0);
  return frame;
}
