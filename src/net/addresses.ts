/** Ethernet and IP addresses: bytes in network order, 6, 4 or 16 of them, and how they are written. */

export type IpVersion = 4 | 6;

export function versionOf(address: Uint8Array): IpVersion {
  return address.length === 4 ? 4 : 6;
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Whether the first `bits` bits are the same. */
export function samePrefix(a: Uint8Array, b: Uint8Array, bits: number): boolean {
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (a[i] !== b[i]) return false;
  const rest = bits & 7;
  return rest === 0 || ((a[whole] ^ b[whole]) & (0xff00 >> rest) & 0xff) === 0;
}

/** For maps. */
export function addressKey(address: Uint8Array): string {
  return String.fromCharCode(...address);
}

/** `10.0.2.15`, four decimal numbers; undefined for anything else. */
export function parseIpv4(text: string): Uint8Array | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (!match) return undefined;
  const numbers = match.slice(1).map(Number);
  return numbers.every((number) => number < 256) ? Uint8Array.from(numbers) : undefined;
}

/** RFC 4291, 2.2, without a zone. */
export function parseIpv6(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const words = (part: string): number[] | undefined => {
    if (part === '') return [];
    const out: number[] = [];
    const pieces = part.split(':');
    for (const [i, piece] of pieces.entries()) {
      if (piece.includes('.') && i === pieces.length - 1) {
        const tail = parseIpv4(piece);
        if (!tail) return undefined;
        out.push((tail[0] << 8) | tail[1], (tail[2] << 8) | tail[3]);
      } else if (/^[0-9a-f]{1,4}$/i.test(piece)) out.push(Number.parseInt(piece, 16));
      else return undefined;
    }
    return out;
  };
  const head = words(halves[0]);
  const tail = halves.length === 2 ? words(halves[1]) : [];
  if (!head || !tail) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const bytes = new Uint8Array(16);
  [...head, ...new Array<number>(missing).fill(0), ...tail].forEach((word, i) => {
    bytes[2 * i] = word >> 8;
    bytes[2 * i + 1] = word;
  });
  return bytes;
}

export function parseIp(text: string): Uint8Array | undefined {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text);
}

/** `52:54:00:12:34:56`, also with hyphens or single digits. */
export function parseMac(text: string): Uint8Array | undefined {
  const pieces = text.split(/[:-]/);
  if (pieces.length !== 6 || !pieces.every((piece) => /^[0-9a-f]{1,2}$/i.test(piece))) return undefined;
  return Uint8Array.from(pieces, (piece) => Number.parseInt(piece, 16));
}

export function formatMac(mac: Uint8Array): string {
  return [...mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** IPv6 addresses are written in full: eight groups without zeros in front. */
export function formatIp(address: Uint8Array): string {
  if (address.length === 4) return address.join('.');
  const words: string[] = [];
  for (let i = 0; i < 16; i += 2) words.push(((address[i] << 8) | address[i + 1]).toString(16));
  return words.join(':');
}

const MAPPED_PREFIX = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff);

/** An IPv4 address that an IPv6 socket shows (::ffff:1.2.3.4) as IPv4. */
export function unmapped(address: Uint8Array): Uint8Array {
  return address.length === 16 && samePrefix(address, MAPPED_PREFIX, 96) ? address.subarray(12) : address;
}

export const loopback4 = Uint8Array.of(127, 0, 0, 1);
export const loopback6 = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);

export function isLoopback(address: Uint8Array): boolean {
  return address.length === 4 ? address[0] === 127 : sameBytes(address, loopback6);
}

export const broadcastMac: Uint8Array = new Uint8Array(6).fill(0xff);
export const limitedBroadcast: Uint8Array = new Uint8Array(4).fill(0xff);
