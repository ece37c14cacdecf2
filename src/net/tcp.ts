/** TCP of the guest's network: which connection a segment belongs to, new ones from both sides, their timers. */

import { addressKey } from './addresses.js';
import type { GuestLink } from './guest-link.js';
import type { AcceptedStream, HostStream, NetHost, StreamEvents } from './host.js';
import { type IpOutput, type IpPath, ipHeaderBytes, ipProtocol } from './ip-output.js';
import type { Neighbours } from './neighbours.js';
import { gsoType, noOffload, offloadFlag, takes } from './offload.js';
import { type Outgoing, TcpConnection, type TcpOwner, type TcpState, WINDOW_SHIFT } from './tcp-connection.js';
import { parseTcp, TCP_HEADER_BYTES, type TcpSegment, tcpFlag } from './tcp-segment.js';
import { flowEnd, type UserFlow } from './user-flow.js';
import { checksum, pseudoHeaderSum, putU16, putU32, sumWords } from './wire.js';

export const MAX_TCP_CONNECTIONS = 512;
/** Our own: an Ethernet frame's, without IP and TCP headers. */
const OWN_MSS = { 4: 1460, 6: 1440 } as const;
/** Options of our SYN: MSS and window scale. */
const SYN_OPTIONS_BYTES = 8;
const MAX_IP_BYTES = 65535;

/** Where the guest's connection leads. Undefined: nowhere. */
export type TcpRoute = (path: IpPath, port: number) => ((events: StreamEvents) => HostStream) | undefined;

export interface TcpOptions {
  readonly host: NetHost;
  readonly link: GuestLink;
  readonly output: IpOutput;
  readonly neighbours: Neighbours;
  readonly route: TcpRoute;
  /** Tells the guest that what it sent to a path came nowhere. */
  readonly unreachable: (path: IpPath, guestPort: number, outsidePort: number) => void;
  /** A deadline was set: `expire` is to be called. */
  readonly armed: () => void;
}

const stateNames: Readonly<Record<TcpState, string>> = {
  connecting: 'SYN_RCVD',
  synReceived: 'SYN_RCVD',
  synSent: 'SYN_SENT',
  open: 'ESTABLISHED',
  timeWait: 'TIME_WAIT',
  closed: 'CLOSED',
};

export class Tcp implements TcpOwner {
  readonly #options: TcpOptions;
  readonly #connections = new Map<string, TcpConnection>();
  /** Those that owe an acknowledgement. */
  #toAck: TcpConnection[] = [];
  /** Those that had no room, and are to try again. */
  #blocked = new Set<TcpConnection>();
  #batching = false;
  readonly #offload = noOffload();
  #nextIsn = 1;

  constructor(options: TcpOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#connections.size;
  }

  get flows(): UserFlow[] {
    return [...this.#connections.values()].map(({ state, path, guestPort, outsidePort }) => ({
      protocol: 'TCP',
      state: stateNames[state],
      source: flowEnd(path.guest, guestPort),
      destination: flowEnd(path.outside, outsidePort),
    }));
  }

  // What connections ask

  nowMs(): number {
    return this.#options.host.nowMs();
  }

  get linkIdle(): boolean {
    return this.#options.link.idle;
  }

  armed(): void {
    this.#options.armed();
  }

  wantsAck(connection: TcpConnection): void {
    if (connection.ackPending) return;
    connection.ackPending = true;
    this.#toAck.push(connection);
    if (!this.#batching) this.#sendAcks();
  }

  largestSegment({ mss, path }: TcpConnection): number {
    const own = Math.min(mss, OWN_MSS[path.version]);
    const large = path.version === 4 ? takes.tcp4 : takes.tcp6;
    if ((this.#options.link.takes & large) === 0) return own;
    return Math.floor((MAX_IP_BYTES - ipHeaderBytes(path.version) - TCP_HEADER_BYTES) / own) * own;
  }

  closed(connection: TcpConnection): void {
    this.#connections.delete(connection.key);
    this.#blocked.delete(connection);
  }

  unreachable({ path, guestPort, outsidePort }: TcpConnection): void {
    this.#options.unreachable(path, guestPort, outsidePort);
  }

  refuse({ path, guestPort, outsidePort }: TcpConnection, seq: number, ack: number, flags: number): void {
    this.#sendReset(path, guestPort, outsidePort, seq, ack, flags);
  }

  transmit(connection: TcpConnection, { seq, flags, offset, length }: Outgoing): boolean {
    const { output, link, neighbours } = this.#options;
    const { path, mss } = connection;
    const mac = output.macOf(path.guest);
    if (!mac) {
      if (!this.#blocked.has(connection)) neighbours.whenKnown(path.guest, () => this.linkReady());
      this.#blocked.add(connection);
      return false;
    }
    const isSyn = (flags & tcpFlag.syn) !== 0;
    const options = isSyn ? (connection.offersScale ? SYN_OPTIONS_BYTES : 4) : 0;
    const header = TCP_HEADER_BYTES + options;
    const at = output.begin(path, ipProtocol.tcp, header + length, mac);
    if (at < 0) {
      this.#blocked.add(connection);
      return false;
    }
    const { frame } = output;
    putU16(frame, at, connection.outsidePort);
    putU16(frame, at + 2, connection.guestPort);
    putU32(frame, at + 4, seq);
    putU32(frame, at + 8, (flags & tcpFlag.ack) !== 0 ? connection.receiveNext : 0);
    frame[at + 12] = (header / 4) << 4;
    frame[at + 13] = flags;
    putU16(frame, at + 14, connection.advertise(isSyn));
    putU16(frame, at + 16, 0);
    putU16(frame, at + 18, 0);
    if (isSyn) {
      putU16(frame, at + 20, 0x0204);
      putU16(frame, at + 22, OWN_MSS[path.version]);
      if (options === SYN_OPTIONS_BYTES) putU32(frame, at + 24, 0x01030300 | WINDOW_SHIFT);
    }
    if (length > 0) connection.sendBuffer.copy(offset, length, frame, at + header);
    connection.ackPending = false;
    const pseudo = pseudoHeaderSum(path.outside, path.guest, ipProtocol.tcp, header + length);
    if ((link.takes & takes.checksum) === 0) {
      putU16(frame, at + 16, checksum(frame, at, at + header + length, pseudo));
      output.commit();
      return true;
    }
    putU16(frame, at + 16, pseudo);
    const offload = this.#offload;
    offload.flags = offloadFlag.needsChecksum;
    offload.checksumStart = at;
    offload.checksumOffset = 16;
    const own = Math.min(mss, OWN_MSS[path.version]);
    const isLarge = length > own;
    offload.gsoType = !isLarge ? gsoType.none : path.version === 4 ? gsoType.tcp4 : gsoType.tcp6;
    offload.gsoSize = isLarge ? own : 0;
    offload.headerLength = isLarge ? at + header : 0;
    output.commit(offload);
    return true;
  }

  #sendReset(path: IpPath, guestPort: number, outsidePort: number, seq: number, ack: number, flags: number): void {
    const bytes = new Uint8Array(TCP_HEADER_BYTES);
    putU16(bytes, 0, outsidePort);
    putU16(bytes, 2, guestPort);
    putU32(bytes, 4, seq);
    putU32(bytes, 8, (flags & tcpFlag.ack) !== 0 ? ack : 0);
    bytes[12] = (TCP_HEADER_BYTES / 4) << 4;
    bytes[13] = flags;
    this.#options.output.send(path, ipProtocol.tcp, bytes, 16);
  }

  // From the guest

  /** `isChecked`: the card vouches for the checksum. The bytes are valid during the call only. */
  receive(path: IpPath, bytes: Uint8Array, isChecked: boolean): void {
    this.#batching = true;
    const segment = parseTcp(bytes);
    if (!segment) return;
    if (!isChecked) {
      const pseudo = pseudoHeaderSum(path.outside, path.guest, ipProtocol.tcp, bytes.length);
      if (sumWords(bytes, 0, bytes.length, pseudo) !== 0xffff) return;
    }
    const key = keyOf(path, segment.sourcePort, segment.destinationPort);
    let connection = this.#connections.get(key);
    // The same ports again: the old connection is over.
    if (connection?.state === 'timeWait' && (segment.flags & (tcpFlag.syn | tcpFlag.ack)) === tcpFlag.syn) {
      connection.abort();
      connection = undefined;
    }
    if (connection) connection.receive(segment);
    else this.#receiveNew(path, key, segment);
  }

  #receiveNew(path: IpPath, key: string, segment: TcpSegment): void {
    const { flags, sourcePort, destinationPort } = segment;
    if ((flags & tcpFlag.rst) !== 0) return;
    if ((flags & (tcpFlag.syn | tcpFlag.ack | tcpFlag.fin)) !== tcpFlag.syn) {
      if ((flags & tcpFlag.ack) !== 0) {
        this.#sendReset(path, sourcePort, destinationPort, segment.ack, 0, tcpFlag.rst);
        return;
      }
      this.#refuseSegment(path, segment);
      return;
    }
    const connect = this.#options.route(path, destinationPort);
    if (!connect) {
      this.#refuseSegment(path, segment);
      return;
    }
    if (!this.#makeRoom()) return;
    const connection = this.#create(key, path, sourcePort, destinationPort);
    connection.openFromGuest(segment, connect);
  }

  #refuseSegment(path: IpPath, { sourcePort, destinationPort, seq, flags, payload }: TcpSegment): void {
    const length = payload.length + ((flags & tcpFlag.syn) !== 0 ? 1 : 0) + ((flags & tcpFlag.fin) !== 0 ? 1 : 0);
    this.#sendReset(path, sourcePort, destinationPort, 0, seq + length, tcpFlag.rst | tcpFlag.ack);
  }

  #create(key: string, path: IpPath, guestPort: number, outsidePort: number): TcpConnection {
    // The guest is the only one who could guess it.
    this.#nextIsn = (this.#nextIsn + 64_021) | 0;
    const isn = this.#nextIsn ^ Math.trunc(this.nowMs() * 250);
    const own: IpPath = { version: path.version, guest: path.guest.slice(), outside: path.outside.slice() };
    const connection = new TcpConnection(this, key, own, guestPort, outsidePort, isn);
    this.#connections.set(key, connection);
    return connection;
  }

  /** False: there are as many as may be, none of which is over. */
  #makeRoom(): boolean {
    if (this.#connections.size < MAX_TCP_CONNECTIONS) return true;
    for (const connection of this.#connections.values()) {
      if (connection.state !== 'timeWait') continue;
      connection.abort();
      return true;
    }
    return false;
  }

  // From outside

  /** Somebody has connected to a port that leads to the guest. `outside`: whom the guest is to see. */
  accept(accepted: AcceptedStream, path: IpPath, guestPort: number): void {
    if (!this.#makeRoom()) {
      accepted.stream.destroy();
      return;
    }
    let port = accepted.remote.port;
    let key = keyOf(path, guestPort, port);
    while (this.#connections.has(key)) {
      port = port >= 65535 ? 1024 : port + 1;
      key = keyOf(path, guestPort, port);
    }
    const connection = this.#create(key, path, guestPort, port);
    accepted.attach(connection);
    connection.openToGuest(accepted.stream);
  }

  // Time and room

  flush(): void {
    this.#batching = false;
    this.#sendAcks();
  }

  #sendAcks(): void {
    const due = this.#toAck;
    if (due.length === 0) return;
    this.#toAck = [];
    for (const connection of due) connection.sendAck();
  }

  linkReady(): void {
    const blocked = this.#blocked;
    if (blocked.size === 0) return;
    this.#blocked = new Set();
    // Whoever was first last time is last now.
    const [first, ...others] = blocked;
    for (const connection of others) connection.retry();
    first.retry();
  }

  expire(nowMs: number): void {
    for (const connection of this.#connections.values()) if (connection.deadlineMs <= nowMs) connection.expired();
  }

  get nextDeadlineMs(): number {
    let next = Infinity;
    for (const { deadlineMs } of this.#connections.values()) if (deadlineMs < next) next = deadlineMs;
    return next;
  }

  close(): void {
    for (const connection of [...this.#connections.values()]) connection.abort();
  }
}

function keyOf({ guest, outside }: IpPath, guestPort: number, outsidePort: number): string {
  return `${addressKey(guest)}${addressKey(outside)}${guestPort}:${outsidePort}`;
}
