/** Writes packets for the guest: Ethernet and IP headers, fragments of what is too large. */
import { broadcastMac, type IpVersion, limitedBroadcast, sameBytes } from './addresses.js';
import type { GuestLink } from './guest-link.js';
import type { Neighbours } from './neighbours.js';
import type { FrameOffload } from './offload.js';
import { checksum, pseudoHeaderSum, putU16, putU32 } from './wire.js';

export const etherType = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd } as const;
export const ipProtocol = { hopByHop: 0, icmp: 1, tcp: 6, udp: 17, routing: 43, fragment: 44, icmp6: 58, options: 60 };

export const MTU = 1500;
export const ETHERNET_BYTES = 14;
const HOP_LIMIT = 64;

/** Who speaks to whom, as the guest sees it. */
export interface IpPath {
  readonly version: IpVersion;
  /** The guest's. */
  readonly guest: Uint8Array;
  readonly outside: Uint8Array;
}

export const ipHeaderBytes = (version: IpVersion) => (version === 4 ? 20 : 40);

/** Ethernet address of the network's own hosts, as libslirp makes it: 52:55 and the IPv4 address. */
export function ownMac(address: Uint8Array): Uint8Array {
  if (address.length === 4) return Uint8Array.of(0x52, 0x55, ...address);
  return Uint8Array.of(0x52, 0x56, ...address.subarray(12));
}

export class IpOutput {
  /** What `begin` has reserved. */
  frame!: Uint8Array;
  readonly #link: GuestLink;
  readonly #mac: Uint8Array;
  readonly #neighbours: Neighbours;
  readonly #nowMs: () => number;
  #nextId = 1;

  /** `mac`: the sender of all frames. */
  constructor(link: GuestLink, mac: Uint8Array, neighbours: Neighbours, nowMs: () => number) {
    this.#link = link;
    this.#mac = mac;
    this.#neighbours = neighbours;
    this.#nowMs = nowMs;
  }

  get mac(): Uint8Array {
    return this.#mac;
  }

  /** Where the guest's interface is; undefined: it has been asked for. */
  macOf(address: Uint8Array): Uint8Array | undefined {
    if (address.length === 4 && sameBytes(address, limitedBroadcast)) return broadcastMac;
    // RFC 2464, 7.
    if (address.length === 16 && address[0] === 0xff) return Uint8Array.of(0x33, 0x33, ...address.subarray(12));
    return this.#neighbours.find(address, this.#nowMs());
  }

  /** An Ethernet frame; gives where its payload goes, or -1 when there is no room. */
  beginFrame(to: Uint8Array, type: number, length: number): number {
    const frame = this.#link.reserve(ETHERNET_BYTES + length);
    if (!frame) return -1;
    this.frame = frame;
    frame.set(to, 0);
    frame.set(this.#mac, 6);
    putU16(frame, 12, type);
    return ETHERNET_BYTES;
  }

  /**
   * A packet of `length` bytes behind the IP header; gives where they go. -1: there is no room. `mac` unless it is to be looked
   * up, which must succeed.
   */
  begin(path: IpPath, protocol: number, length: number, mac: Uint8Array, hopLimit = HOP_LIMIT): number {
    return this.#beginPart(path, protocol, length, mac, hopLimit, 0, false, 0);
  }

  #beginPart(
    { version, guest, outside }: IpPath,
    protocol: number,
    length: number,
    mac: Uint8Array,
    hopLimit: number,
    offset: number,
    more: boolean,
    id: number,
  ): number {
    const header = ipHeaderBytes(version);
    const at = this.beginFrame(mac, version === 4 ? etherType.ipv4 : etherType.ipv6, header + length);
    if (at < 0) return -1;
    const { frame } = this;
    if (version === 4) {
      putU16(frame, at, 0x4500);
      putU16(frame, at + 2, header + length);
      putU16(frame, at + 4, id === 0 ? this.#id() : id);
      putU16(frame, at + 6, (more ? 0x2000 : 0) | (offset >> 3));
      frame[at + 8] = hopLimit;
      frame[at + 9] = protocol;
      putU16(frame, at + 10, 0);
      frame.set(outside, at + 12);
      frame.set(guest, at + 16);
      putU16(frame, at + 10, checksum(frame, at, at + header));
    } else {
      putU32(frame, at, 0x60000000);
      putU16(frame, at + 4, length);
      frame[at + 6] = protocol;
      frame[at + 7] = hopLimit;
      frame.set(outside, at + 8);
      frame.set(guest, at + 24);
    }
    return at + header;
  }

  #id(): number {
    this.#nextId = (this.#nextId + 1) & 0xffff || 1;
    return this.#nextId;
  }

  commit(offload?: FrameOffload): void {
    this.#link.commit(offload);
  }

  /**
   * Sends a payload whose checksum, for UDP and ICMP over IPv6, is still to be put in at `checksumAt`; -1: there is none. What is
   * too large goes in fragments. Packets are lost when there is no room, as on any network; the address is asked for first.
   */
  send(path: IpPath, protocol: number, payload: Uint8Array, checksumAt: number, hopLimit = HOP_LIMIT): void {
    const mac = this.macOf(path.guest);
    if (!mac) {
      this.#neighbours.whenKnown(path.guest, () => {
        if (this.macOf(path.guest)) this.send(path, protocol, payload, checksumAt, hopLimit);
      });
      return;
    }
    if (checksumAt >= 0) {
      putU16(payload, checksumAt, 0);
      const pseudo = pseudoHeaderSum(path.outside, path.guest, protocol, payload.length);
      const sum = checksum(payload, 0, payload.length, pseudo);
      putU16(payload, checksumAt, sum === 0 ? 0xffff : sum);
    }
    const room = MTU - ipHeaderBytes(path.version);
    if (payload.length <= room) {
      const at = this.begin(path, protocol, payload.length, mac, hopLimit);
      if (at < 0) return;
      this.frame.set(payload, at);
      this.commit();
      return;
    }
    const is4 = path.version === 4;
    const step = (is4 ? room : room - 8) & ~7;
    const id = this.#id();
    for (let offset = 0; offset < payload.length; offset += step) {
      const piece = payload.subarray(offset, offset + step);
      const more = offset + step < payload.length;
      const at = is4
        ? this.#beginPart(path, protocol, piece.length, mac, hopLimit, offset, more, id)
        : this.begin(path, ipProtocol.fragment, piece.length + 8, mac, hopLimit);
      if (at < 0) return;
      if (is4) this.frame.set(piece, at);
      else {
        this.frame[at] = protocol;
        this.frame[at + 1] = 0;
        putU16(this.frame, at + 2, offset | (more ? 1 : 0));
        putU32(this.frame, at + 4, id);
        this.frame.set(piece, at + 8);
      }
      this.commit();
    }
  }
}
