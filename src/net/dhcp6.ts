/**
 * Stateless DHCP for IPv6 (RFC 8415, 6.1), as libslirp's: addresses come from the router's prefix, and whoever asks for the rest of the
 * configuration is told name servers, domains to search, and where a file to boot is.
 */
import { formatIp, sameBytes } from './addresses.js';
import { encodeNames } from './dhcp.js';
import { getU16, putU16 } from './wire.js';

export const DHCP6_SERVER_PORT = 547;
/** All_DHCP_Relay_Agents_and_Servers: ff02::1:2. */
export const dhcp6Group = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2);

const messageType = { reply: 7, informationRequest: 11 } as const;
const option = { clientId: 1, serverId: 2, request: 6, nameServers: 23, domainSearch: 24, bootFile: 59 } as const;
const HEADER_BYTES = 4;
/** DUID-LL (RFC 8415, 11.4) of an Ethernet card. */
const DUID_LINK_LAYER = [0, 3, 0, 1] as const;
const MAX_CLIENT_ID = 130;

export interface Dhcp6Options {
  readonly mac: Uint8Array;
  /** Undefined: the guest is told of none. */
  readonly nameServer: Uint8Array | undefined;
  readonly domainSearch: readonly string[];
  /** Its place on the network's TFTP server. */
  readonly bootFile: string | undefined;
  readonly tftpServer: Uint8Array;
}

export class Dhcp6 {
  readonly #options: Dhcp6Options;

  constructor(options: Dhcp6Options) {
    this.#options = options;
  }

  /** A message to the servers' port. Gives what is to be sent back, or undefined. */
  receive(bytes: Uint8Array): Uint8Array | undefined {
    if (bytes.length < HEADER_BYTES || bytes[0] !== messageType.informationRequest) return undefined;
    const { mac, nameServer, domainSearch, bootFile, tftpServer } = this.#options;
    const serverId = Uint8Array.of(...DUID_LINK_LAYER, ...mac);
    const parts: [code: number, value: Uint8Array][] = [];
    let wanted = new Set<number>();
    for (const [code, value] of optionsOf(bytes)) {
      if (code === option.clientId && value.length <= MAX_CLIENT_ID) parts.push([code, value]);
      // For another server.
      if (code === option.serverId && !sameBytes(value, serverId)) return undefined;
      if (code === option.request) wanted = new Set(wordsOf(value));
    }
    parts.push([option.serverId, serverId]);
    if (wanted.has(option.nameServers) && nameServer) parts.push([option.nameServers, nameServer]);
    if (wanted.has(option.domainSearch) && domainSearch.length > 0)
      parts.push([option.domainSearch, encodeNames(domainSearch)]);
    if (wanted.has(option.bootFile) && bootFile !== undefined) {
      const url = `tftp://[${formatIp(tftpServer)}]/${bootFile.replace(/^\/+/, '')}`;
      parts.push([option.bootFile, new TextEncoder().encode(url)]);
    }
    const reply = new Uint8Array(HEADER_BYTES + parts.reduce((sum, [, value]) => sum + 4 + value.length, 0));
    reply[0] = messageType.reply;
    reply.set(bytes.subarray(1, HEADER_BYTES), 1);
    let at = HEADER_BYTES;
    for (const [code, value] of parts) {
      putU16(reply, at, code);
      putU16(reply, at + 2, value.length);
      reply.set(value, at + 4);
      at += 4 + value.length;
    }
    return reply;
  }
}

function* optionsOf(bytes: Uint8Array): Generator<readonly [code: number, value: Uint8Array]> {
  for (let at = HEADER_BYTES; at + 4 <= bytes.length; ) {
    const length = getU16(bytes, at + 2);
    if (at + 4 + length > bytes.length) return;
    yield [getU16(bytes, at), bytes.slice(at + 4, at + 4 + length)];
    at += 4 + length;
  }
}

const wordsOf = (bytes: Uint8Array): number[] =>
  Array.from({ length: bytes.length >> 1 }, (_, i) => getU16(bytes, 2 * i));
