/**
 * What a network card leaves to the other side: checksums and the segmentation of large TCP frames. The fields are those of
 * `struct virtio_net_hdr` (Virtual I/O Device 1.2, 5.1.6). `finishFrame` does the work where nobody else takes it.
 */
import { getU16, getU32, putU16, putU32, sumWords } from './wire.js';

export const offloadFlag = { needsChecksum: 1, dataValid: 2 } as const;
export const gsoType = { none: 0, tcp4: 1, udp: 3, tcp6: 4, ecn: 0x80 } as const;

export interface FrameOffload {
  /** Bits of `offloadFlag`. */
  flags: number;
  /** One of `gsoType`, perhaps with `ecn`. */
  gsoType: number;
  /** Bytes of all headers, where a large frame says so; not to be relied on. */
  headerLength: number;
  /** Bytes of payload in each segment. */
  gsoSize: number;
  /** From here on to the end the checksum reaches. */
  checksumStart: number;
  /** Its place, from `checksumStart`; it holds the sum of the pseudo header. */
  checksumOffset: number;
}

export function noOffload(): FrameOffload {
  return { flags: 0, gsoType: gsoType.none, headerLength: 0, gsoSize: 0, checksumStart: 0, checksumOffset: 0 };
}

/** What a card takes in: bits. */
export const takes = { checksum: 1, tcp4: 2, tcp6: 4 } as const;

export const MAX_FRAME_BYTES = 65535 + 18;
export const ETHERNET_HEADER = 14;

/** Puts the checksum in that a frame leaves out. False: its fields make no sense. */
export function completeChecksum(frame: Uint8Array, { checksumStart, checksumOffset }: FrameOffload): boolean {
  const at = checksumStart + checksumOffset;
  if (checksumStart < ETHERNET_HEADER || at + 2 > frame.length) return false;
  const sum = ~sumWords(frame, checksumStart, frame.length) & 0xffff;
  // UDP says 0xffff for 0, and to TCP both are the same.
  putU16(frame, at, sum === 0 ? 0xffff : sum);
  return true;
}

/**
 * Gives the frames that go onto a wire for one that a card sent, each complete. The frame itself is changed. Frames whose fields
 * make no sense are dropped. What `emit` gets is valid during the call only.
 */
export function finishFrame(frame: Uint8Array, offload: FrameOffload, emit: (frame: Uint8Array) => void): void {
  const kind = offload.gsoType & ~gsoType.ecn;
  if (kind === gsoType.none) {
    if ((offload.flags & offloadFlag.needsChecksum) !== 0 && !completeChecksum(frame, offload)) return;
    emit(frame);
    return;
  }
  if ((kind !== gsoType.tcp4 && kind !== gsoType.tcp6) || offload.gsoSize === 0) return;
  segment(frame, kind, offload.gsoSize, emit);
}

function segment(frame: Uint8Array, kind: number, size: number, emit: (frame: Uint8Array) => void): void {
  const ip = ETHERNET_HEADER;
  const is4 = kind === gsoType.tcp4;
  if (frame.length < ip + 40 || frame[ip] >> 4 !== (is4 ? 4 : 6)) return;
  const tcp = ip + (is4 ? (frame[ip] & 15) * 4 : 40);
  if (tcp < ip + 20 || tcp + 20 > frame.length || (is4 ? frame[ip + 9] : frame[ip + 6]) !== 6) return;
  const headers = tcp + (frame[tcp + 12] >> 4) * 4;
  if (headers < tcp + 20 || headers > frame.length) return;
  const payload = frame.length - headers;
  const seq = getU32(frame, tcp + 4);
  const flags = frame[tcp + 13];
  const id = getU16(frame, ip + 4);
  const out = new Uint8Array(headers + Math.min(size, payload));
  out.set(frame.subarray(0, headers));
  let at = 0;
  let index = 0;
  do {
    const count = Math.min(size, payload - at);
    const last = at + count >= payload;
    const length = headers + count;
    out.set(frame.subarray(headers + at, headers + at + count), headers);
    if (is4) {
      putU16(out, ip + 2, length - ip);
      putU16(out, ip + 4, id + index);
      putU16(out, ip + 10, 0);
      putU16(out, ip + 10, ~sumWords(out, ip, tcp) & 0xffff);
    } else putU16(out, ip + 4, length - tcp);
    putU32(out, tcp + 4, seq + at);
    // FIN and PSH belong to the last, CWR to the first (RFC 3168, 6.1.2).
    out[tcp + 13] = (last ? flags : flags & ~9) & (index === 0 ? 0xff : ~0x80);
    putU16(out, tcp + 16, 0);
    const pseudo = sumWords(out, is4 ? ip + 12 : ip + 8, is4 ? ip + 20 : ip + 40, 6 + length - tcp);
    putU16(out, tcp + 16, ~sumWords(out, tcp, length, pseudo) & 0xffff);
    emit(out.subarray(0, length));
    at += count;
    index++;
  } while (at < payload);
}
