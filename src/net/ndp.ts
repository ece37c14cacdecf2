/** Neighbour discovery (RFC 4861): router advertisements, solicitations of both sides. */
import { parseIpv6 } from './addresses.js';
import { sendIcmp } from './icmp.js';
import type { IpOutput } from './ip-output.js';
import type { Neighbours } from './neighbours.js';
import { putU16, putU32 } from './wire.js';

const ndpType = { routerSolicit: 133, routerAdvert: 134, neighbourSolicit: 135, neighbourAdvert: 136 } as const;
const option = { sourceMac: 1, targetMac: 2, prefix: 3, mtu: 5, nameServers: 25 } as const;
/** No router has passed it on. */
const HOP_LIMIT = 255;
const ROUTER_LIFE_S = 1800;
/** As libslirp's: a day, and four hours. */
const PREFIX_VALID_S = 86400;
const PREFIX_PREFERRED_S = 14400;
const INTERVAL_MS = 600_000;

const allNodes = parseIpv6('ff02::1') as Uint8Array;

export interface NdpOptions {
  readonly output: IpOutput;
  readonly neighbours: Neighbours;
  readonly prefix: Uint8Array;
  readonly prefixBits: number;
  readonly linkLocal: Uint8Array;
  /** Undefined: the guest is told of none. */
  readonly nameServer: Uint8Array | undefined;
  readonly isRouter: boolean;
  readonly isOurs: (address: Uint8Array) => boolean;
  readonly isGuests: (address: Uint8Array) => boolean;
  readonly nowMs: () => number;
}

export class Ndp {
  readonly #options: NdpOptions;
  /** When the next advertisement is due that nobody asks for. Infinity until a guest has shown itself. */
  nextAdvertMs = Infinity;

  constructor(options: NdpOptions) {
    this.#options = options;
  }

  /** An ICMPv6 message of the guest's. True: it was for neighbour discovery. */
  receive(source: Uint8Array, bytes: Uint8Array, hopLimit: number): boolean {
    const [type, code] = bytes;
    if (type < ndpType.routerSolicit || type > 137) return false;
    if (hopLimit !== HOP_LIMIT || code !== 0) return true;
    switch (type) {
      case ndpType.routerSolicit:
        if (bytes.length >= 8) {
          this.#learn(source, bytes, 8, option.sourceMac);
          this.advertise();
        }
        break;
      case ndpType.neighbourSolicit:
        if (bytes.length >= 24) this.#solicited(source, bytes);
        break;
      case ndpType.neighbourAdvert:
        if (bytes.length >= 24) this.#learn(bytes.slice(8, 24), bytes, 24, option.targetMac);
        break;
    }
    return true;
  }

  #learn(address: Uint8Array, bytes: Uint8Array, from: number, kind: number): void {
    const { isGuests, neighbours } = this.#options;
    for (let at = from; at + 8 <= bytes.length; ) {
      const length = bytes[at + 1] * 8;
      if (length === 0 || at + length > bytes.length) return;
      if (bytes[at] === kind && isGuests(address)) neighbours.learn(address.slice(), bytes.slice(at + 2, at + 8));
      at += length;
    }
  }

  #solicited(source: Uint8Array, bytes: Uint8Array): void {
    const target = bytes.slice(8, 24);
    this.#learn(source, bytes, 24, option.sourceMac);
    const { isOurs, isRouter, output } = this.#options;
    if (!isOurs(target)) return;
    const fromNobody = source.every((byte) => byte === 0);
    const answer = new Uint8Array(32);
    answer[0] = ndpType.neighbourAdvert;
    // Router, solicited, override.
    answer[4] = (isRouter ? 0x80 : 0) | (fromNobody ? 0 : 0x40) | 0x20;
    answer.set(target, 8);
    answer[24] = option.targetMac;
    answer[25] = 1;
    answer.set(output.mac, 26);
    const guest = fromNobody ? allNodes : source.slice();
    sendIcmp(output, { version: 6, guest, outside: target }, answer, HOP_LIMIT);
  }

  solicit(address: Uint8Array): void {
    const { output, linkLocal } = this.#options;
    const bytes = new Uint8Array(32);
    bytes[0] = ndpType.neighbourSolicit;
    bytes.set(address, 8);
    bytes[24] = option.sourceMac;
    bytes[25] = 1;
    bytes.set(output.mac, 26);
    // The group of those whose addresses end so (RFC 4291, 2.7.1).
    const group = parseIpv6('ff02::1:ff00:0') as Uint8Array;
    group.set(address.subarray(13), 13);
    sendIcmp(output, { version: 6, guest: group, outside: linkLocal }, bytes, HOP_LIMIT);
  }

  /** Tells all nodes of the prefix. */
  advertise(): void {
    const { output, linkLocal, prefix, prefixBits, nameServer, isRouter, nowMs } = this.#options;
    this.nextAdvertMs = nowMs() + INTERVAL_MS;
    const bytes = new Uint8Array(16 + 8 + 32 + (nameServer ? 24 : 0));
    bytes[0] = ndpType.routerAdvert;
    bytes[4] = 64;
    // Other configuration is to be had by DHCP.
    bytes[5] = 0x40;
    putU16(bytes, 6, isRouter ? ROUTER_LIFE_S : 0);
    let at = 16;
    bytes[at] = option.sourceMac;
    bytes[at + 1] = 1;
    bytes.set(output.mac, at + 2);
    at += 8;
    bytes[at] = option.prefix;
    bytes[at + 1] = 4;
    bytes[at + 2] = prefixBits;
    // On this link; addresses may be made of it.
    bytes[at + 3] = 0xc0;
    putU32(bytes, at + 4, PREFIX_VALID_S);
    putU32(bytes, at + 8, PREFIX_PREFERRED_S);
    bytes.set(prefix, at + 16);
    at += 32;
    if (nameServer) {
      bytes[at] = option.nameServers;
      bytes[at + 1] = 3;
      putU32(bytes, at + 4, 2 * (INTERVAL_MS / 1000));
      bytes.set(nameServer, at + 8);
    }
    sendIcmp(output, { version: 6, guest: allNodes, outside: linkLocal }, bytes, HOP_LIMIT);
  }
}
