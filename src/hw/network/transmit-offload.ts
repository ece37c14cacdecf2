/**
 * Checksums and segmentation that a driver leaves to a card which finds the headers itself: turned into what the peer is told
 * (`FrameOffload`), for it does the work only where nobody else takes it.
 */
import { type FrameOffload, gsoType, offloadFlag } from '../../net/index.js';

const ETHERNET_BYTES = 14;
const TCP = 6;
const UDP = 17;

/** What the driver asks for. `mss`: payload of each segment of a large frame, or 0. */
export interface WantedChecksums {
  readonly ip: boolean;
  readonly tcp: boolean;
  readonly udp: boolean;
  readonly mss: number;
}

const wordAt = (bytes: Uint8Array, at: number) => (bytes[at] << 8) | bytes[at + 1];

function put(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 0xff;
}

function sum(bytes: Uint8Array, from: number, to: number, before: number): number {
  let total = before;
  for (let at = from; at < to; at += 2) total += wordAt(bytes, at);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

/** Changes headers of `frame` and sets `offload`. A frame that is not what the driver says stays as it is. */
export function leaveChecksums(frame: Uint8Array, offload: FrameOffload, wanted: WantedChecksums): void {
  offload.flags = offload.gsoType = offload.headerLength = offload.gsoSize = 0;
  offload.checksumStart = offload.checksumOffset = 0;
  const ip = ETHERNET_BYTES;
  if (frame.length < ip + 20 || wordAt(frame, 12) !== 0x0800 || frame[ip] >> 4 !== 4) return;
  const transport = ip + (frame[ip] & 15) * 4;
  const end = Math.min(ip + wordAt(frame, ip + 2), frame.length);
  if (transport < ip + 20 || transport > end) return;
  const protocol = frame[ip + 9];
  if (wanted.ip || wanted.mss > 0) {
    put(frame, ip + 10, 0);
    put(frame, ip + 10, ~sum(frame, ip, transport, 0) & 0xffff);
  }
  const isTcp = protocol === TCP && (wanted.tcp || wanted.mss > 0) && transport + 20 <= end;
  const isUdp = protocol === UDP && wanted.udp && transport + 8 <= end;
  if (!isTcp && !isUdp) return;
  const length = end - transport;
  const at = isTcp ? 16 : 6;
  put(frame, transport + at, sum(frame, ip + 12, ip + 20, protocol + length));
  // What fills a short frame up is no part of the sum.
  frame.fill(0, end);
  offload.flags = offloadFlag.needsChecksum;
  offload.checksumStart = transport;
  offload.checksumOffset = at;
  const headers = transport + (isTcp ? (frame[transport + 12] >> 4) * 4 : 8);
  if (!isTcp || wanted.mss === 0 || end - headers <= wanted.mss) return;
  offload.gsoType = gsoType.tcp4;
  offload.gsoSize = wanted.mss;
  offload.headerLength = headers;
}
