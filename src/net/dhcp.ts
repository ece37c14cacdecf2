/** DHCP server (RFC 2131, 2132) of the guest's network, as libslirp's: sixteen addresses, leases of a day. */
import { addressKey, limitedBroadcast, sameBytes } from './addresses.js';
import { getU32, putU32 } from './wire.js';

const FIXED_BYTES = 236;
const MAGIC = 0x63825363;
/** The least that a client must take (RFC 2131, 2): an IP packet of 576 bytes. */
const MAX_REPLY_BYTES = 548;
const CLIENTS = 16;
const LEASE_S = 86400;

const messageType = { discover: 1, offer: 2, request: 3, decline: 4, ack: 5, nak: 6, release: 7, inform: 8 } as const;
const option = {
  pad: 0,
  netmask: 1,
  router: 3,
  nameServer: 6,
  hostname: 12,
  domainName: 15,
  requestedAddress: 50,
  leaseTime: 51,
  messageType: 53,
  serverId: 54,
  message: 56,
  tftpServer: 66,
  domainSearch: 119,
  end: 255,
} as const;

export interface DhcpOptions {
  readonly serverAddress: Uint8Array;
  readonly netmask: Uint8Array;
  readonly firstLease: Uint8Array;
  /** Undefined: the guest is told of none. */
  readonly router: Uint8Array | undefined;
  readonly nameServer: Uint8Array | undefined;
  readonly hostname: string | undefined;
  readonly domainName: string | undefined;
  readonly domainSearch: readonly string[];
  readonly tftpServerName: string | undefined;
  readonly bootFile: string | undefined;
  /** The client has this address from now on. */
  readonly leased: (address: Uint8Array, mac: Uint8Array) => void;
}

export interface DhcpReply {
  readonly to: Uint8Array;
  readonly mac: Uint8Array;
  readonly bytes: Uint8Array;
}

interface Asked {
  readonly type: number | undefined;
  readonly address: Uint8Array | undefined;
  readonly server: Uint8Array | undefined;
}

export class Dhcp {
  readonly #options: DhcpOptions;
  /** Owner of each address: the Ethernet address of whom it was last offered to. */
  readonly #owners: (string | undefined)[] = new Array<undefined>(CLIENTS).fill(undefined);

  constructor(options: DhcpOptions) {
    this.#options = options;
  }

  /** A message to port 67. Gives what is to be sent to port 68. */
  receive(bytes: Uint8Array): DhcpReply | undefined {
    if (bytes.length < FIXED_BYTES + 4 || bytes[0] !== 1 || bytes[1] !== 1 || bytes[2] !== 6) return undefined;
    if (getU32(bytes, FIXED_BYTES) !== MAGIC) return undefined;
    const asked = parseOptions(bytes.subarray(FIXED_BYTES + 4));
    const mac = bytes.slice(28, 34);
    const owner = addressKey(mac);
    const { serverAddress } = this.#options;
    const own = bytes.slice(12, 16);
    switch (asked.type) {
      case undefined:
      case messageType.discover: {
        const index = this.#find(owner, asked.address);
        if (index < 0) return undefined;
        this.#owners[index] = owner;
        // A client without the option speaks BOOTP (RFC 951): what it is told is its own.
        const type = asked.type === undefined ? undefined : messageType.offer;
        return this.#reply(bytes, mac, type, this.#address(index));
      }
      case messageType.request: {
        if (asked.server && !sameBytes(asked.server, serverAddress)) return undefined;
        const wanted = asked.address ?? own;
        const index = this.#indexOf(wanted);
        const free = index >= 0 && (this.#owners[index] === undefined || this.#owners[index] === owner);
        if (!free) return this.#reply(bytes, mac, messageType.nak, undefined);
        for (let i = 0; i < CLIENTS; i++) if (this.#owners[i] === owner) this.#owners[i] = undefined;
        this.#owners[index] = owner;
        return this.#reply(bytes, mac, messageType.ack, this.#address(index));
      }
      case messageType.inform:
        return this.#reply(bytes, mac, messageType.ack, undefined);
      case messageType.release:
      case messageType.decline:
        for (let i = 0; i < CLIENTS; i++) if (this.#owners[i] === owner) this.#owners[i] = undefined;
        return undefined;
      default:
        return undefined;
    }
  }

  #address(index: number): Uint8Array {
    const bytes = new Uint8Array(4);
    putU32(bytes, 0, getU32(this.#options.firstLease, 0) + index);
    return bytes;
  }

  #indexOf(address: Uint8Array): number {
    const index = getU32(address, 0) - getU32(this.#options.firstLease, 0);
    return index >= 0 && index < CLIENTS ? index : -1;
  }

  /** The client's own, the one it asks for if that is free, or the first free one; the last client gives way to nobody. */
  #find(owner: string, wanted: Uint8Array | undefined): number {
    const mine = this.#owners.indexOf(owner);
    if (mine >= 0) return mine;
    const index = wanted ? this.#indexOf(wanted) : -1;
    if (index >= 0 && this.#owners[index] === undefined) return index;
    return this.#owners.indexOf(undefined);
  }

  #reply(
    request: Uint8Array,
    mac: Uint8Array,
    type: number | undefined,
    address: Uint8Array | undefined,
  ): DhcpReply | undefined {
    const { serverAddress, bootFile } = this.#options;
    const fits = new ReplyOptions();
    const bytes = new Uint8Array(MAX_REPLY_BYTES);
    bytes[0] = 2;
    bytes[1] = 1;
    bytes[2] = 6;
    bytes.set(request.subarray(4, 8), 4);
    bytes.set(request.subarray(10, 12), 10);
    bytes.set(request.subarray(24, 44), 24);
    const inform = type === messageType.ack && address === undefined;
    if (inform) bytes.set(request.subarray(12, 16), 12);
    if (type !== undefined) fits.add(option.messageType, Uint8Array.of(type));
    fits.add(option.serverId, serverAddress);
    if (type === messageType.nak) fits.add(option.message, ascii('requested address not available'));
    else {
      if (address) bytes.set(address, 16);
      bytes.set(serverAddress, 20);
      if (bootFile !== undefined) bytes.set(ascii(bootFile).subarray(0, 127), 108);
      this.#addCommon(fits, !inform && type !== undefined);
      if (address) this.#options.leased(address, mac);
    }
    putU32(bytes, FIXED_BYTES, MAGIC);
    const length = fits.write(bytes, FIXED_BYTES + 4);
    // A client that has an address already is told there; the others all hear it.
    const to = inform ? request.slice(12, 16) : limitedBroadcast;
    return { to, mac, bytes: bytes.subarray(0, Math.max(length, 300)) };
  }

  #addCommon(fits: ReplyOptions, withLease: boolean): void {
    const { netmask, router, nameServer, hostname, domainName, domainSearch, tftpServerName } = this.#options;
    fits.add(option.netmask, netmask);
    if (router) fits.add(option.router, router);
    if (nameServer) fits.add(option.nameServer, nameServer);
    if (withLease) {
      const lease = new Uint8Array(4);
      putU32(lease, 0, LEASE_S);
      fits.add(option.leaseTime, lease);
    }
    if (hostname !== undefined) fits.add(option.hostname, ascii(hostname));
    if (domainName !== undefined) fits.add(option.domainName, ascii(domainName));
    if (tftpServerName !== undefined) fits.add(option.tftpServer, ascii(tftpServerName));
    if (domainSearch.length > 0) fits.add(option.domainSearch, encodeNames(domainSearch));
  }
}

/** Options one after the other, as many as there is room for. */
class ReplyOptions {
  readonly #list: [number, Uint8Array][] = [];
  #bytes = 1;

  add(code: number, value: Uint8Array): void {
    if (value.length === 0 || value.length > 255) return;
    if (this.#bytes + 2 + value.length > MAX_REPLY_BYTES - FIXED_BYTES - 4) return;
    this.#bytes += 2 + value.length;
    this.#list.push([code, value]);
  }

  /** Gives the end. */
  write(target: Uint8Array, from: number): number {
    let at = from;
    for (const [code, value] of this.#list) {
      target[at] = code;
      target[at + 1] = value.length;
      target.set(value, at + 2);
      at += 2 + value.length;
    }
    target[at++] = option.end;
    return at;
  }
}

function parseOptions(bytes: Uint8Array): Asked {
  let type: number | undefined;
  let address: Uint8Array | undefined;
  let server: Uint8Array | undefined;
  for (let at = 0; at < bytes.length; ) {
    const code = bytes[at];
    if (code === option.pad) {
      at++;
      continue;
    }
    if (code === option.end || at + 2 > bytes.length) break;
    const value = bytes.subarray(at + 2, at + 2 + bytes[at + 1]);
    if (value.length < bytes[at + 1]) break;
    if (code === option.messageType && value.length === 1) type = value[0];
    if (code === option.requestedAddress && value.length === 4) address = value.slice();
    if (code === option.serverId && value.length === 4) server = value.slice();
    at += 2 + value.length;
  }
  return { type, address, server };
}

const ascii = (text: string) => new TextEncoder().encode(text);

/** Domain names as in DNS (RFC 3397), without compression. */
export function encodeNames(names: readonly string[]): Uint8Array {
  const out: number[] = [];
  for (const name of names) {
    for (const label of name.split('.').filter((each) => each !== '')) {
      const bytes = ascii(label).subarray(0, 63);
      out.push(bytes.length, ...bytes);
    }
    out.push(0);
  }
  return Uint8Array.from(out);
}
