/** ICMP (RFC 792) and the echo and error messages of ICMPv6 (RFC 4443). */
import type { IpOutput, IpPath } from './ip-output.js';
import { ipProtocol } from './ip-output.js';
import { putU16 } from './wire.js';

const icmp4 = { echoReply: 0, unreachable: 3, echoRequest: 8 } as const;
const icmp6 = { unreachable: 1, echoRequest: 128, echoReply: 129 } as const;
export const unreachableCode = { network: 'network', host: 'host', port: 'port' } as const;
export type Unreachable = keyof typeof unreachableCode;

/** Codes of "destination unreachable". */
const codes4: Readonly<Record<Unreachable, number>> = { network: 0, host: 1, port: 3 };
const codes6: Readonly<Record<Unreachable, number>> = { network: 0, host: 3, port: 4 };

/** Of what came to nothing this much is quoted: the IP header and 8 bytes, or, in IPv6, as much as fits into 1280. */
const QUOTE_BYTES = { 4: 68, 6: 1232 } as const;

export const isEchoRequest = (version: 4 | 6, bytes: Uint8Array) =>
  bytes.length >= 8 && bytes[0] === (version === 4 ? icmp4.echoRequest : icmp6.echoRequest) && bytes[1] === 0;

/** Answers a request for an echo, which may be changed. `payload`: what came back, after identifier and sequence number. */
export function sendEchoReply(output: IpOutput, path: IpPath, request: Uint8Array, payload?: Uint8Array): void {
  const reply = new Uint8Array(8 + (payload ?? request.subarray(8)).length);
  reply.set(request.subarray(0, 8));
  reply.set(payload ?? request.subarray(8), 8);
  reply[0] = path.version === 4 ? icmp4.echoReply : icmp6.echoReply;
  sendIcmp(output, path, reply);
}

/** Tells the guest that a packet of its came nowhere. `packet` starts with its IP header. */
export function sendUnreachable(output: IpOutput, path: IpPath, why: Unreachable, packet: Uint8Array): void {
  const quote = packet.subarray(0, QUOTE_BYTES[path.version]);
  const bytes = new Uint8Array(8 + quote.length);
  bytes[0] = path.version === 4 ? icmp4.unreachable : icmp6.unreachable;
  bytes[1] = (path.version === 4 ? codes4 : codes6)[why];
  bytes.set(quote, 8);
  sendIcmp(output, path, bytes);
}

export function sendIcmp(output: IpOutput, path: IpPath, bytes: Uint8Array, hopLimit?: number): void {
  putU16(bytes, 2, 0);
  if (path.version === 6) {
    output.send(path, ipProtocol.icmp6, bytes, 2, hopLimit);
    return;
  }
  // No pseudo header in IPv4.
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) sum += (i & 1) === 0 ? bytes[i] << 8 : bytes[i];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  putU16(bytes, 2, ~sum & 0xffff);
  output.send(path, ipProtocol.icmp, bytes, -1, hopLimit);
}
