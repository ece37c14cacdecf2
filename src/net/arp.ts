/** ARP (RFC 826) for IPv4 over Ethernet. */
import { broadcastMac, sameBytes } from './addresses.js';
import { etherType, type IpOutput, ownMac } from './ip-output.js';
import type { Neighbours } from './neighbours.js';
import { getU16, putU16, putU32 } from './wire.js';

const ARP_BYTES = 28;
const operation = { request: 1, reply: 2 } as const;

export interface ArpOptions {
  readonly output: IpOutput;
  readonly neighbours: Neighbours;
  /** Address that requests are sent from. */
  readonly ownAddress: Uint8Array;
  /** Whether the network has this address, so that a request is answered. */
  readonly isOurs: (address: Uint8Array) => boolean;
  /** Whether guests may have it. */
  readonly isGuests: (address: Uint8Array) => boolean;
}

export class Arp {
  readonly #options: ArpOptions;

  constructor(options: ArpOptions) {
    this.#options = options;
  }

  receive(bytes: Uint8Array): void {
    if (bytes.length < ARP_BYTES || getU16(bytes, 0) !== 1 || getU16(bytes, 2) !== etherType.ipv4) return;
    if (bytes[4] !== 6 || bytes[5] !== 4) return;
    const op = getU16(bytes, 6);
    const sender = bytes.subarray(14, 18);
    const target = bytes.subarray(24, 28);
    const { isGuests, isOurs, neighbours } = this.#options;
    if (op !== operation.request && op !== operation.reply) return;
    const mac = bytes.slice(8, 14);
    if (isGuests(sender)) neighbours.learn(sender.slice(), mac);
    // An address that a guest asks for to see if it is free is its own business (RFC 5227).
    if (op !== operation.request || !isOurs(target) || sameBytes(sender, target)) return;
    this.#send(mac, operation.reply, ownMac(target), target, mac, sender);
  }

  request(address: Uint8Array): void {
    const { output, ownAddress } = this.#options;
    this.#send(broadcastMac, operation.request, output.mac, ownAddress, new Uint8Array(6), address);
  }

  #send(
    to: Uint8Array,
    op: number,
    senderMac: Uint8Array,
    sender: Uint8Array,
    targetMac: Uint8Array,
    target: Uint8Array,
  ): void {
    const { output } = this.#options;
    const at = output.beginFrame(to, etherType.arp, ARP_BYTES);
    if (at < 0) return;
    const { frame } = output;
    putU16(frame, at, 1);
    putU16(frame, at + 2, etherType.ipv4);
    putU32(frame, at + 4, 0x06040000 | op);
    frame.set(senderMac, at + 8);
    frame.set(sender, at + 14);
    frame.set(targetMac, at + 18);
    frame.set(target, at + 24);
    output.commit();
  }
}
