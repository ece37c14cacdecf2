/** Numbers in network byte order, and the Internet checksum (RFC 1071). */

export function getU16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}

export function getU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

export function putU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function putU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** So many bytes are summed before the carries are added, so that sums stay small integers. */
const FOLD_BYTES = 8192;

/** One's complement sum of the 16-bit words in [start, end), with what was summed before. Below 2^16. */
export function sumWords(bytes: Uint8Array, start: number, end: number, before = 0): number {
  let sum = before;
  let at = start;
  while (at < end) {
    const stop = Math.min(end, at + FOLD_BYTES);
    for (; at + 7 < stop; at += 8) {
      sum +=
        ((bytes[at] << 8) | bytes[at + 1]) +
        ((bytes[at + 2] << 8) | bytes[at + 3]) +
        ((bytes[at + 4] << 8) | bytes[at + 5]) +
        ((bytes[at + 6] << 8) | bytes[at + 7]);
    }
    for (; at + 1 < stop; at += 2) sum += (bytes[at] << 8) | bytes[at + 1];
    if (at < stop) sum += bytes[at++] << 8;
    sum = (sum & 0xffff) + (sum >>> 16);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

/** The checksum of [start, end): what its field holds while it counts as zero. */
export function checksum(bytes: Uint8Array, start: number, end: number, before = 0): number {
  return ~sumWords(bytes, start, end, before) & 0xffff;
}

/** Sum of the pseudo header of TCP, UDP and ICMPv6 (RFC 9293, 3.1; RFC 8200, 8.1). */
export function pseudoHeaderSum(
  source: Uint8Array,
  destination: Uint8Array,
  protocol: number,
  lengthBytes: number,
): number {
  const sum = sumWords(source, 0, source.length, protocol + (lengthBytes & 0xffff) + (lengthBytes >>> 16));
  return sumWords(destination, 0, destination.length, sum);
}
