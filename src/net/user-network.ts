/**
 * A network of the guest's own with nothing behind it but this program, as libslirp's: a host that stands for the host, a name
 * server, DHCP, TFTP, and a way to the outside by sockets of the host. It needs no rights.
 *
 * The guest is hostile: frames that are malformed are dropped, and everything kept for it is bounded.
 */

import {
  addressKey,
  isLoopback,
  limitedBroadcast,
  loopback4,
  loopback6,
  sameBytes,
  samePrefix,
  versionOf,
} from './addresses.js';
import { Arp } from './arp.js';
import { Dhcp } from './dhcp.js';
import { DHCP6_SERVER_PORT, Dhcp6, dhcp6Group } from './dhcp6.js';
import type { FrameSink, GuestLink } from './guest-link.js';
import type { AcceptedStream, Endpoint, HostStream, NetHost, StreamEvents } from './host.js';
import { isEchoRequest, sendEchoReply, sendUnreachable, type Unreachable } from './icmp.js';
import { ETHERNET_BYTES, etherType, IpOutput, type IpPath, ipProtocol, ownMac } from './ip-output.js';
import { Ndp } from './ndp.js';
import { Neighbours } from './neighbours.js';
import { type FrameOffload, gsoType, offloadFlag } from './offload.js';
import { Reassembly } from './reassembly.js';
import { Tcp } from './tcp.js';
import { Tftp } from './tftp.js';
import { checkUdp, Udp } from './udp.js';
import { flowEnd, type UserFlow } from './user-flow.js';
import {
  type CompleteUserOptions,
  completeOptions,
  type HostForward,
  type UserNetworkOptions,
} from './user-options.js';
import { checksum, getU16, getU32, putU32, sumWords } from './wire.js';

const port = { dns: 53, dhcpServer: 67, dhcpClient: 68, tftp: 69 } as const;
/** How often deadlines are looked at: of TCP, and of what is only forgotten. */
const TCP_TICK_MS = 100;
const SLOW_TICK_MS = 1000;
const MAX_ECHOES = 64;
const MAX_EXTENSIONS = 8;

export class UserNetwork implements FrameSink {
  readonly options: CompleteUserOptions;
  readonly #host: NetHost;
  readonly #output: IpOutput;
  readonly #neighbours: Neighbours;
  readonly #arp: Arp;
  readonly #ndp: Ndp;
  readonly #tcp: Tcp;
  readonly #udp: Udp;
  readonly #dhcp: Dhcp;
  readonly #dhcp6: Dhcp6;
  readonly #tftp: Tftp | undefined;
  readonly #reassembly = new Reassembly();
  readonly #forwards: { readonly forward: HostForward; close(): void }[] = [];
  readonly #broadcast: Uint8Array;
  readonly #maskBits: number;
  #cancelTick: (() => void) | undefined;
  #tickMs = Infinity;
  #echoes = 0;
  #closed = false;

  /** Throws VringError `network-option`. `open` makes the forwarded ports. */
  constructor(host: NetHost, link: GuestLink, given: UserNetworkOptions = {}) {
    const options = completeOptions(given);
    this.options = options;
    this.#host = host;
    const { hostAddress, network, netmask, ipv6Prefix, ipv6PrefixBits, restrict } = options;
    this.#maskBits = Math.clz32(~getU32(netmask, 0));
    this.#broadcast = new Uint8Array(4);
    putU32(this.#broadcast, 0, (getU32(network, 0) | ~getU32(netmask, 0)) >>> 0);
    const nowMs = () => host.nowMs();
    const armed = () => this.#tick();
    this.#neighbours = new Neighbours((address) => {
      if (address.length === 4) this.#arp.request(address);
      else this.#ndp.solicit(address);
    });
    const output = new IpOutput(link, ownMac(hostAddress), this.#neighbours, nowMs);
    this.#output = output;
    const common = { output, neighbours: this.#neighbours };
    const isGuests = (address: Uint8Array) => this.#isGuests(address);
    this.#arp = new Arp({ ...common, ownAddress: hostAddress, isOurs: (address) => this.#isOurs(address), isGuests });
    this.#ndp = new Ndp({
      ...common,
      prefix: ipv6Prefix,
      prefixBits: ipv6PrefixBits,
      linkLocal: options.linkLocal,
      nameServer: restrict ? undefined : options.ipv6NameServer,
      isRouter: !restrict,
      isOurs: (address) => this.#isOurs(address),
      isGuests,
      nowMs,
    });
    this.#tcp = new Tcp({
      ...common,
      host,
      link,
      route: (path, to) => this.#routeTcp(path, to),
      unreachable: (path, guestPort, outsidePort) => this.#tcpUnreachable(path, guestPort, outsidePort),
      armed,
    });
    this.#udp = new Udp({
      host,
      output,
      route: (path, to, isForwarded) => this.#routeUdp(path, to, isForwarded),
      hostAddress: (version) => (version === 4 ? hostAddress : options.ipv6Host),
      nameAddress: (version) => (version === 4 ? options.nameServer : options.ipv6NameServer),
      armed,
    });
    this.#dhcp = new Dhcp({
      serverAddress: hostAddress,
      netmask,
      firstLease: options.firstLease,
      router: restrict ? undefined : hostAddress,
      nameServer: restrict ? undefined : options.nameServer,
      hostname: options.hostname,
      domainName: options.domainName,
      domainSearch: options.domainSearch ?? [],
      tftpServerName: options.tftpServerName,
      bootFile: options.bootFile,
      leased: (address, mac) => this.#neighbours.learn(address, mac),
    });
    this.#dhcp6 = new Dhcp6({
      mac: output.mac,
      nameServer: restrict ? undefined : options.ipv6NameServer,
      domainSearch: options.domainSearch ?? [],
      bootFile: options.bootFile,
      tftpServer: options.ipv6Host,
    });
    this.#tftp =
      options.tftpFolder === undefined
        ? undefined
        : new Tftp({
            host,
            folder: options.tftpFolder,
            send: (path, toPort, bytes) => this.#udp.send(path, port.tftp, toPort, bytes),
            armed,
          });
  }

  /** Opens the forwarded ports. Rejects with the VringError of the first that cannot be had. */
  async open(): Promise<void> {
    for (const forward of this.options.hostForwards ?? []) await this.addForward(forward);
  }

  /** A port of the host's leads to the guest from here on. Rejects with VringError `network-port`. */
  async addForward(forward: HostForward): Promise<void> {
    const { protocol, hostAddress, hostPort, guestPort } = forward;
    const guest = forward.guestAddress ?? this.options.firstLease;
    const opened =
      protocol === 'udp'
        ? await this.#udp.forward(hostAddress, hostPort, guest, guestPort)
        : await this.#host.listen(hostAddress, hostPort, (accepted) => this.#accept(accepted, guest, guestPort));
    this.#forwards.push({ forward, close: () => opened.close() });
    if (this.#closed) opened.close();
  }

  /** The port is closed; connections that were made by it stay. False: there is no such forwarding. */
  removeForward({ protocol, hostAddress, hostPort }: Omit<HostForward, 'guestAddress' | 'guestPort'>): boolean {
    const key = (address: Uint8Array | undefined) => (address ? addressKey(address) : '');
    const index = this.#forwards.findIndex(
      ({ forward }) =>
        forward.protocol === protocol && forward.hostPort === hostPort && key(forward.hostAddress) === key(hostAddress),
    );
    if (index < 0) return false;
    const [found] = this.#forwards.splice(index, 1);
    found.close();
    return true;
  }

  #accept(accepted: AcceptedStream, guest: Uint8Array, guestPort: number): void {
    const { hostAddress, ipv6Host } = this.options;
    const { address } = accepted.remote;
    const version = versionOf(guest);
    // Who is here, or speaks the other version, is the host to the guest.
    const isStranger = versionOf(address) !== version || isLoopback(address) || this.#isInside(address);
    const outside = isStranger ? (version === 4 ? hostAddress : ipv6Host) : address;
    this.#tcp.accept(accepted, { version, guest, outside }, guestPort);
  }

  // Addresses

  #isOurs(address: Uint8Array): boolean {
    const { hostAddress, nameServer, ipv4, ipv6, ipv6Host, ipv6NameServer, linkLocal, guestForwards } = this.options;
    if (address.length === 4) {
      if (!ipv4) return false;
      if (sameBytes(address, hostAddress) || sameBytes(address, nameServer)) return true;
      return guestForwards?.some((forward) => sameBytes(address, forward.address)) ?? false;
    }
    return (
      ipv6 && (sameBytes(address, ipv6Host) || sameBytes(address, ipv6NameServer) || sameBytes(address, linkLocal))
    );
  }

  #isInside(address: Uint8Array): boolean {
    const { network, ipv6Prefix, ipv6PrefixBits } = this.options;
    if (address.length === 4) return samePrefix(address, network, this.#maskBits);
    return samePrefix(address, ipv6Prefix, ipv6PrefixBits) || (address[0] === 0xfe && (address[1] & 0xc0) === 0x80);
  }

  /** An address that an interface of the guest's may have. */
  #isGuests(address: Uint8Array): boolean {
    if (!this.#isInside(address) || this.#isOurs(address)) return false;
    return address.length === 16 || !sameBytes(address, this.#broadcast);
  }

  /** Where a destination leads by itself: the host's own loopback, its name server, or itself. Undefined: nowhere. */
  #outside(address: Uint8Array, toPort: number): Endpoint | undefined {
    const { hostAddress, nameServer, ipv6Host, ipv6NameServer, linkLocal } = this.options;
    const version = versionOf(address);
    const isNames = sameBytes(address, version === 4 ? nameServer : ipv6NameServer);
    if (isNames) return toPort === port.dns ? this.#host.nameServer(version) : undefined;
    if (sameBytes(address, version === 4 ? hostAddress : ipv6Host) || sameBytes(address, linkLocal))
      return { address: version === 4 ? loopback4 : loopback6, port: toPort };
    // The guest reaches no loopback but by the address that stands for it.
    if (this.#isInside(address) || isLoopback(address)) return undefined;
    const isGroup = version === 4 ? address[0] >= 224 || address[0] === 0 : address[0] === 0xff;
    return isGroup ? undefined : { address: address.slice(), port: toPort };
  }

  #routeTcp({ outside }: IpPath, toPort: number): ((events: StreamEvents) => HostStream) | undefined {
    const { guestForwards, restrict } = this.options;
    const forward = guestForwards?.find((each) => each.port === toPort && sameBytes(each.address, outside));
    if (forward) {
      const { target } = forward;
      return (events) =>
        target.kind === 'command' ? this.#host.spawn(target.command, events) : this.#host.connect(target, events);
    }
    if (restrict) return undefined;
    const to = this.#outside(outside, toPort);
    return to && ((events) => this.#host.connect(to, events));
  }

  /** What a forwarded port answers goes where it was asked from, whatever else is forbidden. */
  #routeUdp({ outside }: IpPath, toPort: number, isForwarded: boolean): Endpoint | undefined {
    return this.options.restrict && !isForwarded ? undefined : this.#outside(outside, toPort);
  }

  // Frames of the guest

  receive(frame: Uint8Array, offload: FrameOffload): void {
    if (this.#closed || frame.length < ETHERNET_BYTES) return;
    // A large frame's segments are taken as the one that they are cut from; UDP has no such frames here.
    const kind = offload.gsoType & ~gsoType.ecn;
    if (kind !== gsoType.none && kind !== gsoType.tcp4 && kind !== gsoType.tcp6) return;
    const isChecked = (offload.flags & (offloadFlag.needsChecksum | offloadFlag.dataValid)) !== 0;
    const payload = frame.subarray(ETHERNET_BYTES);
    switch (getU16(frame, 12)) {
      case etherType.arp:
        if (this.options.ipv4) this.#arp.receive(payload);
        break;
      case etherType.ipv4:
        if (this.options.ipv4) this.#receiveIpv4(payload, frame.subarray(6, 12), isChecked);
        break;
      case etherType.ipv6:
        if (this.options.ipv6) this.#receiveIpv6(payload, frame.subarray(6, 12), isChecked);
        break;
    }
  }

  #receiveIpv4(bytes: Uint8Array, mac: Uint8Array, isChecked: boolean): void {
    if (bytes.length < 20 || bytes[0] >> 4 !== 4) return;
    const header = (bytes[0] & 15) * 4;
    const length = getU16(bytes, 2);
    if (header < 20 || length < header || length > bytes.length) return;
    if (sumWords(bytes, 0, header) !== 0xffff) return;
    const source = bytes.subarray(12, 16);
    const destination = bytes.subarray(16, 20);
    const protocol = bytes[9];
    // Everything but DHCP comes from an address of the network.
    if (this.#isGuests(source)) this.#learn(source, mac);
    else if (protocol !== ipProtocol.udp) return;
    const path: IpPath = { version: 4, guest: source, outside: destination };
    const packet = bytes.subarray(0, length);
    let payload = packet.subarray(header);
    const fragment = getU16(bytes, 6);
    let whole = isChecked;
    if ((fragment & 0x3fff) !== 0) {
      const key = `${addressKey(bytes.subarray(12, 20))}${protocol}:${getU16(bytes, 4)}`;
      const offset = (fragment & 0x1fff) * 8;
      const complete = this.#reassembly.add(key, offset, (fragment & 0x2000) !== 0, payload, this.#host.nowMs());
      this.#tick();
      if (!complete) return;
      payload = complete;
      whole = false;
    }
    switch (protocol) {
      case ipProtocol.tcp:
        if (!sameBytes(destination, this.#broadcast)) this.#tcp.receive(path, payload, whole);
        break;
      case ipProtocol.udp:
        this.#receiveUdp(path, payload, packet, whole);
        break;
      case ipProtocol.icmp:
        if (checksum(payload, 0, payload.length) === 0) this.#receiveEcho(path, payload, packet);
        break;
    }
  }

  #receiveIpv6(bytes: Uint8Array, mac: Uint8Array, isChecked: boolean): void {
    if (bytes.length < 40 || bytes[0] >> 4 !== 6) return;
    const length = getU16(bytes, 4);
    if (length === 0 || 40 + length > bytes.length) return;
    const source = bytes.subarray(8, 24);
    const destination = bytes.subarray(24, 40);
    const packet = bytes.subarray(0, 40 + length);
    const fromNobody = source.every((byte) => byte === 0);
    if (!fromNobody && !this.#isGuests(source)) return;
    let next = bytes[6];
    let payload = packet.subarray(40);
    let whole = isChecked;
    for (let count = 0; ; count++) {
      if (count > MAX_EXTENSIONS) return;
      if (next === ipProtocol.hopByHop || next === ipProtocol.options || next === ipProtocol.routing) {
        if (payload.length < 8) return;
        const size = (payload[1] + 1) * 8;
        // A routing header with segments left asks to be passed on.
        if (size > payload.length || (next === ipProtocol.routing && payload[3] !== 0)) return;
        next = payload[0];
        payload = payload.subarray(size);
      } else if (next === ipProtocol.fragment) {
        if (payload.length < 8) return;
        const field = getU16(payload, 2);
        const key = `6${addressKey(bytes.subarray(8, 40))}${payload[0]}:${getU32(payload, 4)}`;
        const piece = payload.subarray(8);
        next = payload[0];
        const now = this.#host.nowMs();
        const complete = this.#reassembly.add(key, field & 0xfff8, (field & 1) !== 0, piece, now);
        this.#tick();
        if (!complete) return;
        payload = complete;
        whole = false;
      } else break;
    }
    const path: IpPath = { version: 6, guest: source, outside: destination };
    if (next === ipProtocol.icmp6) {
      if (payload.length < 8) return;
      const pseudo = [8, 24].reduce((sum, at) => sumWords(bytes, at, at + 16, sum), next + payload.length);
      if (sumWords(payload, 0, payload.length, pseudo) !== 0xffff) return;
      if (!this.#ndp.receive(source, payload, bytes[7])) this.#receiveEcho(path, payload, packet);
      this.#tick();
      return;
    }
    if (fromNobody) return;
    this.#learn(source, mac);
    if (next === ipProtocol.tcp) this.#tcp.receive(path, payload, whole);
    else if (next === ipProtocol.udp) this.#receiveUdp(path, payload, packet, whole);
  }

  /** Where a packet came from, answers go; a guest that changes its card's address is heard at once. */
  #learn(source: Uint8Array, mac: Uint8Array): void {
    const known = this.#neighbours.peek(source);
    if (!known || !sameBytes(known, mac)) this.#neighbours.learn(source, mac);
  }

  #receiveUdp(path: IpPath, payload: Uint8Array, packet: Uint8Array, isChecked: boolean): void {
    const bytes = checkUdp(path, payload, isChecked);
    if (!bytes) return;
    const from = getU16(bytes, 0);
    const to = getU16(bytes, 2);
    const { hostAddress, ipv6Host } = this.options;
    if (path.version === 4) {
      const isHere = [limitedBroadcast, hostAddress, this.#broadcast].some((each) => sameBytes(path.outside, each));
      if (isHere && to === port.dhcpServer) {
        this.#answerDhcp(bytes.subarray(8));
        return;
      }
      if (!this.#isGuests(path.guest)) return;
    } else if (to === DHCP6_SERVER_PORT && sameBytes(path.outside, dhcp6Group)) {
      const reply = this.#dhcp6.receive(bytes.subarray(8));
      const own: IpPath = { version: 6, guest: path.guest.slice(), outside: this.options.linkLocal };
      if (reply) this.#udp.send(own, DHCP6_SERVER_PORT, from, reply);
      return;
    }
    const isHost = sameBytes(path.outside, path.version === 4 ? hostAddress : ipv6Host);
    if (isHost && to === port.tftp && this.#tftp) {
      this.#tftp.receive(path, from, bytes.subarray(8));
      return;
    }
    if (this.#udp.receive(path, bytes)) return;
    const isGroup = path.version === 4 ? path.outside[0] >= 224 : path.outside[0] === 0xff;
    if (isGroup || sameBytes(path.outside, this.#broadcast)) return;
    this.#unreachable(path, this.#isOurs(path.outside) ? 'port' : 'host', packet);
  }

  #answerDhcp(bytes: Uint8Array): void {
    const reply = this.#dhcp.receive(bytes);
    if (!reply) return;
    const path: IpPath = { version: 4, guest: reply.to, outside: this.options.hostAddress };
    this.#udp.send(path, port.dhcpServer, port.dhcpClient, reply.bytes);
  }

  #receiveEcho(path: IpPath, bytes: Uint8Array, packet: Uint8Array): void {
    if (!isEchoRequest(path.version, bytes)) return;
    if (this.#isOurs(path.outside)) {
      sendEchoReply(this.#output, ownPath(path), bytes);
      return;
    }
    const to = this.#routeUdp(path, 0, false);
    const echo = to && this.#host.echoTo?.(versionOf(to.address));
    if (!to || !echo) {
      const isGroup = path.version === 4 ? path.outside[0] >= 224 : path.outside[0] === 0xff;
      if (!isGroup) this.#unreachable(path, 'network', packet);
      return;
    }
    if (this.#echoes >= MAX_ECHOES) return;
    this.#echoes++;
    const request = bytes.slice();
    const own = ownPath(path);
    let open = true;
    const done = () => {
      if (open) this.#echoes--;
      open = false;
    };
    const cancel = this.#host.after(10_000, done);
    echo(to.address, request.subarray(8), (payload) => {
      if (!open || this.#closed) return;
      cancel();
      done();
      sendEchoReply(this.#output, own, request, payload);
    });
  }

  #unreachable(path: IpPath, why: Unreachable, packet: Uint8Array): void {
    const { hostAddress, ipv6Host } = this.options;
    const outside = path.version === 4 ? hostAddress : ipv6Host;
    sendUnreachable(this.#output, { ...ownPath(path), outside }, why, packet);
  }

  /** The packet that came to nothing is gone: its header and ports are written anew. */
  #tcpUnreachable(path: IpPath, guestPort: number, outsidePort: number): void {
    const header = path.version === 4 ? 20 : 40;
    const packet = new Uint8Array(header + 20);
    if (path.version === 4) {
      packet.set([0x45, 0, 0, packet.length, 0, 0, 0, 0, 64, ipProtocol.tcp]);
      packet.set(path.guest, 12);
      packet.set(path.outside, 16);
    } else {
      packet.set([0x60, 0, 0, 0, 0, 20, ipProtocol.tcp, 64]);
      packet.set(path.guest, 8);
      packet.set(path.outside, 24);
    }
    packet.set([guestPort >> 8, guestPort, outsidePort >> 8, outsidePort], header);
    this.#unreachable(path, 'network', packet);
  }

  flush(): void {
    this.#tcp.flush();
  }

  linkReady(): void {
    this.#tcp.linkReady();
  }

  // Time

  /** A deadline was set, or may have been: it is looked at in time. */
  #tick(): void {
    if (this.#closed) return;
    let wait = Infinity;
    if (this.#tcp.nextDeadlineMs < Infinity) wait = TCP_TICK_MS;
    else if (
      this.#reassembly.waiting > 0 ||
      this.#udp.hasMortals ||
      this.#tftp?.hasSessions ||
      this.#ndp.nextAdvertMs < Infinity
    )
      wait = SLOW_TICK_MS;
    if (wait >= this.#tickMs) return;
    this.#cancelTick?.();
    this.#tickMs = wait;
    this.#cancelTick = this.#host.after(wait, () => this.#look());
  }

  #look(): void {
    this.#tickMs = Infinity;
    this.#cancelTick = undefined;
    const now = this.#host.nowMs();
    this.#tcp.expire(now);
    this.#udp.expire(now);
    this.#tftp?.expire(now);
    this.#reassembly.expire(now);
    if (this.#ndp.nextAdvertMs <= now) this.#ndp.advertise();
    this.#tick();
  }

  close(): void {
    this.#closed = true;
    this.#cancelTick?.();
    for (const forward of this.#forwards) forward.close();
    this.#tcp.close();
    this.#udp.close();
    this.#tftp?.close();
  }

  /** Ports that are forwarded, and what goes on. */
  get flows(): readonly UserFlow[] {
    const waiting = this.#forwards.map(({ forward }): UserFlow => {
      const { protocol, hostAddress, hostPort, guestAddress, guestPort } = forward;
      return {
        protocol: protocol === 'udp' ? 'UDP' : 'TCP',
        state: 'HOST_FORWARD',
        source: flowEnd(hostAddress, hostPort),
        destination: flowEnd(guestAddress ?? this.options.firstLease, guestPort),
      };
    });
    return [...waiting, ...this.#tcp.flows, ...this.#udp.flows(this.#host.nowMs())];
  }

  /** What is kept, for tests and for a person. */
  counts(): { readonly tcp: number; readonly udp: number; readonly fragments: number } {
    return { tcp: this.#tcp.count, udp: this.#udp.count, fragments: this.#reassembly.waiting };
  }
}

const ownPath = ({ version, guest, outside }: IpPath): IpPath => ({
  version,
  guest: guest.slice(),
  outside: outside.slice(),
});
