/** TCP segments (RFC 9293, 3.1) as they lie in a packet. */
import { getU16, getU32 } from './wire.js';

export const tcpFlag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const;
export const TCP_HEADER_BYTES = 20;

export interface TcpSegment {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly seq: number;
  readonly ack: number;
  readonly flags: number;
  /** Not scaled. */
  readonly window: number;
  /** Of the SYN; undefined: the option is not there. */
  readonly mss: number | undefined;
  readonly windowShift: number | undefined;
  readonly payload: Uint8Array;
}

/** Undefined: it is none. The payload is a view. */
export function parseTcp(bytes: Uint8Array): TcpSegment | undefined {
  if (bytes.length < TCP_HEADER_BYTES) return undefined;
  const header = (bytes[12] >> 4) * 4;
  if (header < TCP_HEADER_BYTES || header > bytes.length) return undefined;
  let mss: number | undefined;
  let windowShift: number | undefined;
  if ((bytes[13] & tcpFlag.syn) !== 0) {
    for (let at = TCP_HEADER_BYTES; at < header; ) {
      const kind = bytes[at];
      if (kind === 0) break;
      if (kind === 1) {
        at++;
        continue;
      }
      const length = bytes[at + 1];
      if (at + 2 > header || length < 2 || at + length > header) break;
      if (kind === 2 && length === 4) mss = getU16(bytes, at + 2);
      if (kind === 3 && length === 3) windowShift = Math.min(bytes[at + 2], 14);
      at += length;
    }
  }
  return {
    sourcePort: getU16(bytes, 0),
    destinationPort: getU16(bytes, 2),
    seq: getU32(bytes, 4) | 0,
    ack: getU32(bytes, 8) | 0,
    flags: bytes[13],
    window: getU16(bytes, 14),
    mss,
    windowShift,
    payload: bytes.subarray(header),
  };
}
