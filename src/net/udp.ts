/**
 * UDP of the guest's network: each of its ports that sends to the outside has a socket of the host's, until it is quiet for
 * long. What comes back to the socket goes to that port, whoever sent it.
 */

import { addressKey, isLoopback, sameBytes, versionOf } from './addresses.js';
import type { Endpoint, HostDatagrams, NetHost } from './host.js';
import { type IpOutput, type IpPath, ipProtocol } from './ip-output.js';
import { flowEnd, type UserFlow } from './user-flow.js';
import { getU16, pseudoHeaderSum, putU16, sumWords } from './wire.js';

export const MAX_UDP_FLOWS = 256;
/** A socket lives so long after its last datagram; one that only asked for names, so long. */
const LIFE_MS = 240_000;
const NAME_LIFE_MS = 10_000;
const HEADER_BYTES = 8;
const DNS_PORT = 53;
/** What a socket may keep for the system before datagrams are dropped. */
const MAX_BACKLOG = 1 << 20;

export interface UdpOptions {
  readonly host: NetHost;
  readonly output: IpOutput;
  /** Where a datagram to this address leads. Undefined: nowhere. */
  readonly route: (path: IpPath, port: number, isForwarded: boolean) => Endpoint | undefined;
  /** Whom the guest is to see as the sender: the address of the network that stands for the host. */
  readonly hostAddress: (version: 4 | 6) => Uint8Array;
  readonly nameAddress: (version: 4 | 6) => Uint8Array;
  readonly armed: () => void;
}

interface Flow {
  readonly guest: Uint8Array;
  readonly port: number;
  socket: HostDatagrams;
  /** Stays, whatever time passes: a forwarded port. */
  readonly isForwarded: boolean;
  usedMs: number;
  /** The name server that was asked, whom the guest knows by another address. */
  nameServer: Endpoint | undefined;
  namesOnly: boolean;
}

/** Without a datagram. */
const keptMs = ({ namesOnly }: Flow): number => (namesOnly ? NAME_LIFE_MS : LIFE_MS);

export class Udp {
  readonly #options: UdpOptions;
  readonly #flows = new Map<string, Flow>();

  constructor(options: UdpOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#flows.size;
  }

  /** Those of the guest's; ports that are forwarded are not among them. */
  flows(nowMs: number): UserFlow[] {
    return [...this.#flows.values()]
      .filter(({ isForwarded }) => !isForwarded)
      .map((flow) => ({
        protocol: 'UDP',
        state: `${Math.max(0, Math.ceil((keptMs(flow) - (nowMs - flow.usedMs)) / 1000))} sec`,
        source: flowEnd(flow.guest, flow.port),
        destination: flowEnd(undefined, 0),
      }));
  }

  /** A datagram of the guest's, header included, that is for none of the network's own services. False: it leads nowhere. */
  receive(path: IpPath, bytes: Uint8Array): boolean {
    const { host } = this.#options;
    const port = getU16(bytes, 0);
    const toPort = getU16(bytes, 2);
    const key = flowKey(path.guest, port);
    let flow = this.#flows.get(key);
    const target = this.#options.route(path, toPort, flow?.isForwarded ?? false);
    if (!target) return false;
    if (!flow) {
      this.#makeRoom();
      const guest = path.guest.slice();
      flow = {
        guest,
        port,
        socket: undefined as unknown as HostDatagrams,
        isForwarded: false,
        usedMs: 0,
        nameServer: undefined,
        namesOnly: true,
      };
      const made = flow;
      made.socket = host.openDatagrams(path.version, (payload, from) => this.#answer(made, payload, from));
      this.#flows.set(key, made);
    } else {
      // The map is in the order of use.
      this.#flows.delete(key);
      this.#flows.set(key, flow);
    }
    flow.usedMs = host.nowMs();
    if (toPort === DNS_PORT && sameBytes(path.outside, this.#options.nameAddress(path.version)))
      flow.nameServer = target;
    else flow.namesOnly = false;
    this.#options.armed();
    if (flow.socket.backlogBytes < MAX_BACKLOG) flow.socket.send(bytes.slice(HEADER_BYTES), target);
    return true;
  }

  #makeRoom(): void {
    if (this.#flows.size < MAX_UDP_FLOWS) return;
    for (const [key, flow] of this.#flows) {
      if (flow.isForwarded) continue;
      this.#flows.delete(key);
      flow.socket.close();
      return;
    }
  }

  /** A port of the host's leads to the guest until it is closed. Rejects with a VringError. */
  async forward(
    address: Uint8Array | undefined,
    port: number,
    guest: Uint8Array,
    guestPort: number,
  ): Promise<{ close(): void }> {
    const socket = await this.#options.host.bindDatagrams(address, port, (payload, from) =>
      this.#answer(flow, payload, from),
    );
    const flow: Flow = {
      guest,
      port: guestPort,
      socket,
      isForwarded: true,
      usedMs: 0,
      nameServer: undefined,
      namesOnly: false,
    };
    const key = flowKey(guest, guestPort);
    this.#flows.get(key)?.socket.close();
    this.#flows.set(key, flow);
    return {
      close: () => {
        socket.close();
        if (this.#flows.get(key) === flow) this.#flows.delete(key);
      },
    };
  }

  #answer(flow: Flow, payload: Uint8Array, from: Endpoint): void {
    const version = versionOf(flow.guest);
    let outside = from.address;
    const { nameServer } = flow;
    if (nameServer && from.port === nameServer.port && sameBytes(from.address, nameServer.address))
      outside = this.#options.nameAddress(version);
    else if (isLoopback(from.address)) outside = this.#options.hostAddress(version);
    if (versionOf(outside) !== version) return;
    flow.usedMs = this.#options.host.nowMs();
    this.send({ version, guest: flow.guest, outside }, from.port, flow.port, payload);
  }

  /** To the guest. */
  send(path: IpPath, fromPort: number, toPort: number, payload: Uint8Array): void {
    const bytes = new Uint8Array(HEADER_BYTES + payload.length);
    if (bytes.length > 65507) return;
    putU16(bytes, 0, fromPort);
    putU16(bytes, 2, toPort);
    putU16(bytes, 4, bytes.length);
    bytes.set(payload, HEADER_BYTES);
    this.#options.output.send(path, ipProtocol.udp, bytes, 6);
  }

  expire(nowMs: number): void {
    for (const [key, flow] of this.#flows) {
      if (flow.isForwarded || nowMs - flow.usedMs < keptMs(flow)) continue;
      this.#flows.delete(key);
      flow.socket.close();
    }
  }

  /** Whether something will expire. */
  get hasMortals(): boolean {
    for (const { isForwarded } of this.#flows.values()) if (!isForwarded) return true;
    return false;
  }

  close(): void {
    for (const { socket } of this.#flows.values()) socket.close();
    this.#flows.clear();
  }
}

/** The datagram, cut to what its header says; undefined when it is none, or its checksum is wrong. */
export function checkUdp(path: IpPath, bytes: Uint8Array, isChecked: boolean): Uint8Array | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const length = getU16(bytes, 4);
  if (length < HEADER_BYTES || length > bytes.length) return undefined;
  const datagram = bytes.subarray(0, length);
  const sum = getU16(bytes, 6);
  if (isChecked || (sum === 0 && path.version === 4)) return datagram;
  const pseudo = pseudoHeaderSum(path.outside, path.guest, ipProtocol.udp, length);
  return sum !== 0 && sumWords(datagram, 0, length, pseudo) === 0xffff ? datagram : undefined;
}

const flowKey = (address: Uint8Array, port: number) => `${addressKey(address)}${port}`;
