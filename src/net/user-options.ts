/** What a user-mode network is made of. Addresses are bytes; `completeOptions` fills in what is not given, as QEMU does. */
import { VringError } from '../base/index.js';
import { formatIp, parseIpv4, parseIpv6, sameBytes, samePrefix } from './addresses.js';
import type { HostPlace } from './host.js';
import { getU32, putU32 } from './wire.js';

export interface HostForward {
  readonly protocol: 'tcp' | 'udp';
  /** Of the host's addresses that one; all unless given. */
  readonly hostAddress: Uint8Array | undefined;
  readonly hostPort: number;
  /** The first lease unless given. */
  readonly guestAddress: Uint8Array | undefined;
  readonly guestPort: number;
}

/** TCP connections of the guest to an address of its network lead there. */
export interface GuestForward {
  readonly address: Uint8Array;
  readonly port: number;
  readonly target:
    | ({ readonly kind: 'stream' } & HostPlace)
    /** Run for each connection, which is its standard input and output. */
    | { readonly kind: 'command'; readonly command: string };
}

export interface UserNetworkOptions {
  readonly ipv4?: boolean | undefined;
  readonly ipv6?: boolean | undefined;
  /** The guest reaches nothing outside but what is forwarded. */
  readonly restrict?: boolean | undefined;
  readonly network?: Uint8Array | undefined;
  readonly netmask?: Uint8Array | undefined;
  /** The address that stands for the host: the network's second unless given. */
  readonly hostAddress?: Uint8Array | undefined;
  readonly firstLease?: Uint8Array | undefined;
  readonly nameServer?: Uint8Array | undefined;
  readonly ipv6Prefix?: Uint8Array | undefined;
  readonly ipv6PrefixBits?: number | undefined;
  readonly ipv6Host?: Uint8Array | undefined;
  readonly ipv6NameServer?: Uint8Array | undefined;
  /** By DHCP. */
  readonly hostname?: string | undefined;
  readonly domainName?: string | undefined;
  readonly domainSearch?: readonly string[] | undefined;
  readonly tftpFolder?: string | undefined;
  readonly bootFile?: string | undefined;
  readonly tftpServerName?: string | undefined;
  readonly hostForwards?: readonly HostForward[] | undefined;
  readonly guestForwards?: readonly GuestForward[] | undefined;
}

export interface CompleteUserOptions extends UserNetworkOptions {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly restrict: boolean;
  readonly network: Uint8Array;
  readonly netmask: Uint8Array;
  readonly hostAddress: Uint8Array;
  readonly firstLease: Uint8Array;
  readonly nameServer: Uint8Array;
  readonly ipv6Prefix: Uint8Array;
  readonly ipv6PrefixBits: number;
  readonly ipv6Host: Uint8Array;
  readonly ipv6NameServer: Uint8Array;
  readonly linkLocal: Uint8Array;
}

const invalid = (message: string) => new VringError('network-option', message);

/** `10.0.2.0`, `10.0.2.0/24`, `10.0.2.0/255.255.255.0`. Throws VringError `network-option`. */
export function parseNetwork(text: string): { network: Uint8Array; netmask: Uint8Array | undefined } {
  const [address, mask] = text.split('/');
  const network = parseIpv4(address);
  if (!network) throw invalid(`'${text}' is no IPv4 network`);
  if (mask === undefined) return { network, netmask: undefined };
  if (/^\d{1,2}$/.test(mask)) {
    const bits = Number(mask);
    if (bits < 4 || bits > 32) throw invalid(`'${text}' is no IPv4 network`);
    return { network, netmask: maskOf(bits) };
  }
  const netmask = parseIpv4(mask);
  if (!netmask) throw invalid(`'${text}' is no IPv4 network`);
  return { network, netmask };
}

function maskOf(bits: number): Uint8Array {
  const mask = new Uint8Array(4);
  putU32(mask, 0, bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0);
  return mask;
}

function bitsOf(mask: Uint8Array): number {
  const value = getU32(mask, 0);
  const bits = Math.clz32(~value);
  if (bits < 32 && value << bits !== 0) throw invalid(`'${formatIp(mask)}' is no network mask`);
  return bits;
}

/** Networks whose mask is not given have QEMU's, by how they begin; the first that fits counts. */
const defaultMasks: readonly (readonly [prefix: string, bits: number, mask: number])[] = [
  ['0.0.0.0', 1, 8],
  ['172.16.0.0', 12, 12],
  ['128.0.0.0', 2, 16],
  ['192.168.0.0', 16, 16],
  ['198.18.0.0', 15, 15],
  ['224.0.0.0', 3, 24],
  ['0.0.0.0', 0, 28],
];

function defaultMask(network: Uint8Array): Uint8Array {
  const [, , mask] = defaultMasks.find(([prefix, bits]) =>
    samePrefix(network, parseIpv4(prefix) as Uint8Array, bits),
  ) as (typeof defaultMasks)[number];
  return maskOf(mask);
}

/** As much of `offset` as the network has room for is the host's part of the address. */
function addressIn(network: Uint8Array, netmask: Uint8Array, offset: number): Uint8Array {
  const address = new Uint8Array(4);
  putU32(address, 0, (getU32(network, 0) | (offset & ~getU32(netmask, 0))) >>> 0);
  return address;
}

function withTail(prefix: Uint8Array, tail: number): Uint8Array {
  const address = prefix.slice();
  address[15] = tail;
  return address;
}

/** A DHCP option has a byte for its length. */
function checkName(name: string, text: string | undefined): void {
  if (text === undefined) return;
  if (text === '') throw invalid(`${name}= is empty`);
  if (new TextEncoder().encode(text).length > 255)
    throw invalid(`${name}= is longer than the 255 bytes that DHCP has room for`);
}

/** Throws VringError `network-option`. */
export function completeOptions(options: UserNetworkOptions): CompleteUserOptions {
  const ipv4 = options.ipv4 ?? true;
  const ipv6 = options.ipv6 ?? true;
  if (!ipv4 && !ipv6) throw invalid('a network with neither IPv4 nor IPv6 is of no use');
  if (!ipv4 && (options.network || options.hostAddress || options.nameServer))
    throw invalid('net=, host= and dns= are of no use with ipv4=off');
  if (!ipv6 && (options.ipv6Prefix || options.ipv6Host || options.ipv6NameServer))
    throw invalid('ipv6-net=, ipv6-prefix=, ipv6-host= and ipv6-dns= are of no use with ipv6=off');
  const restrict = options.restrict ?? false;
  const given = options.network ?? (options.hostAddress && options.netmask ? options.hostAddress : undefined);
  const base = given ?? Uint8Array.of(10, 0, 2, 0);
  const netmask = options.netmask ?? (given ? defaultMask(base) : maskOf(24));
  const bits = bitsOf(netmask);
  const network = base.map((byte, i) => byte & netmask[i]);
  // Where the network is wide enough, they end in 2.2, 2.3 and 2.15, which is what 10.0.2.0/24 makes of them too.
  const hostAddress = options.hostAddress ?? addressIn(network, netmask, 0x202);
  const nameServer = options.nameServer ?? addressIn(network, netmask, 0x203);
  const firstLease = options.firstLease ?? addressIn(network, netmask, 0x20f);
  const inside = (name: string, address: Uint8Array) => {
    if (!samePrefix(address, network, bits))
      throw invalid(`${name}=${formatIp(address)} is not in the network ${formatIp(network)}/${bits}`);
  };
  inside('host', hostAddress);
  inside('dhcpstart', firstLease);
  // The host answers for a name server that is elsewhere too, but not where the guest reaches nothing outside.
  if (restrict) inside('dns', nameServer);
  if (sameBytes(hostAddress, nameServer)) throw invalid('host= and dns= are the same address');
  if (sameBytes(hostAddress, firstLease) || sameBytes(nameServer, firstLease))
    throw invalid('dhcpstart= is an address of the network itself');
  const ipv6Prefix = options.ipv6Prefix ?? (parseIpv6('fec0::') as Uint8Array);
  const ipv6PrefixBits = options.ipv6PrefixBits ?? 64;
  if (ipv6PrefixBits < 0 || ipv6PrefixBits > 126) throw invalid('ipv6-prefixlen is not between 0 and 126');
  const ipv6Host = options.ipv6Host ?? withTail(ipv6Prefix, 2);
  const ipv6NameServer = options.ipv6NameServer ?? withTail(ipv6Prefix, 3);
  if (!samePrefix(ipv6Host, ipv6Prefix, ipv6PrefixBits)) throw invalid('ipv6-host is not in the IPv6 network');
  if (restrict && !samePrefix(ipv6NameServer, ipv6Prefix, ipv6PrefixBits))
    throw invalid('ipv6-dns is not in the IPv6 network');
  checkName('hostname', options.hostname);
  checkName('domainname', options.domainName);
  checkName('tftp-server-name', options.tftpServerName);
  for (const { address, target } of options.guestForwards ?? []) {
    if (target.kind === 'stream' && 'path' in target && new TextEncoder().encode(target.path).length > 107)
      throw invalid(`guestfwd: the path of a unix socket has at most 107 bytes, unlike '${target.path}'`);
    if (!samePrefix(address, network, bits) || sameBytes(address, hostAddress) || sameBytes(address, nameServer))
      throw invalid(`guestfwd needs a free address of the network, which ${formatIp(address)} is not`);
  }
  return {
    ...options,
    ipv4,
    ipv6,
    restrict,
    network,
    netmask,
    hostAddress,
    firstLease,
    nameServer,
    ipv6Prefix,
    ipv6PrefixBits,
    ipv6Host,
    ipv6NameServer,
    linkLocal: withTail(parseIpv6('fe80::') as Uint8Array, 2),
  };
}
