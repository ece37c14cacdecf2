/**
 * OpenPGP packets as bytes: RFC 4880 section 4 (framing), 3.2 (multiprecision integers), 5.2.3.1 (subpackets), 6.2 (ASCII
 * armour) and 7 (cleartext signatures). Input is hostile: every length is checked against what is there, and whatever is
 * wrong becomes a VringError of code `openpgp-malformed`.
 *
 * Left out, by name in the error: partial body lengths and indeterminate lengths (no key or signature packet uses them).
 */
import { VringError } from '../../base/errors.js';

export function malformed(what: string): VringError {
  return new VringError('openpgp-malformed', `The OpenPGP text is malformed: ${what}.`);
}

/** Reads big-endian fields of one packet; running past its end throws `openpgp-malformed`. */
export class Reader {
  readonly bytes: Uint8Array;
  offset = 0;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get left(): number {
    return this.bytes.length - this.offset;
  }

  u8(): number {
    return this.take(1)[0]!;
  }

  u16(): number {
    const b = this.take(2);
    return (b[0]! << 8) | b[1]!;
  }

  u32(): number {
    const b = this.take(4);
    return ((b[0]! << 24) | (b[1]! << 16) | (b[2]! << 8) | b[3]!) >>> 0;
  }

  take(length: number): Uint8Array {
    if (length > this.left) throw malformed('a field runs past the end of its packet');
    const part = this.bytes.subarray(this.offset, this.offset + length);
    this.offset += length;
    return part;
  }

  /** A multiprecision integer's magnitude, without leading zero bytes. */
  mpi(): Uint8Array {
    const bits = this.u16();
    const magnitude = this.take((bits + 7) >> 3);
    let start = 0;
    while (start < magnitude.length && magnitude[start] === 0) start++;
    return magnitude.subarray(start);
  }
}

export interface Packet {
  readonly tag: number;
  readonly body: Uint8Array;
}

export const PacketTag = { signature: 2, publicKey: 6, userId: 13, publicSubkey: 14, userAttribute: 17 } as const;

const packetLimit = 20_000;

export function parsePackets(bytes: Uint8Array): Packet[] {
  const packets: Packet[] = [];
  const reader = new Reader(bytes);
  while (reader.left > 0) {
    if (packets.length >= packetLimit) throw malformed(`it has more than ${packetLimit} packets`);
    const header = reader.u8();
    if ((header & 0x80) === 0) throw malformed('a packet header lacks its marker bit');
    let tag: number;
    let length: number;
    if (header & 0x40) {
      tag = header & 0x3f;
      const first = reader.u8();
      if (first < 192) length = first;
      else if (first < 224) length = ((first - 192) << 8) + reader.u8() + 192;
      else if (first === 255) length = reader.u32();
      else throw malformed('a packet has a partial body length');
    } else {
      tag = (header >> 2) & 0x0f;
      const kind = header & 3;
      if (kind === 0) length = reader.u8();
      else if (kind === 1) length = reader.u16();
      else if (kind === 2) length = reader.u32();
      else throw malformed('a packet has an indeterminate length');
    }
    packets.push({ tag, body: reader.take(length) });
  }
  return packets;
}

export interface Subpacket {
  readonly type: number;
  readonly critical: boolean;
  readonly body: Uint8Array;
}

export function parseSubpackets(area: Uint8Array): Subpacket[] {
  const reader = new Reader(area);
  const found: Subpacket[] = [];
  while (reader.left > 0) {
    const first = reader.u8();
    const length =
      first < 192 ? first : first < 255 ? ((first - 192) << 8) + reader.u8() + 192 : /* five octets */ reader.u32();
    if (length === 0) throw malformed('a signature subpacket is empty');
    const type = reader.u8();
    found.push({ type: type & 0x7f, critical: (type & 0x80) !== 0, body: reader.take(length - 1) });
  }
  return found;
}

/** CRC-24 of section 6.1. */
function crc24(bytes: Uint8Array): number {
  let crc = 0xb704ce;
  for (const byte of bytes) {
    crc ^= byte << 16;
    for (let bit = 0; bit < 8; bit++) {
      crc <<= 1;
      if (crc & 0x1000000) crc ^= 0x1864cfb;
    }
  }
  return crc & 0xffffff;
}

/** The lines between BEGIN and END of one armoured block, decoded. `lines` has no line ends. */
function decodeArmourBody(lines: string[]): Uint8Array {
  let at = lines.findIndex((line) => line.trim() === '');
  if (at < 0) throw malformed('armour lacks the empty line after its headers');
  let base64 = '';
  let checksum: string | undefined;
  for (at++; at < lines.length; at++) {
    const line = lines[at]!.trim();
    if (line === '') continue;
    if (checksum !== undefined) throw malformed('armour goes on after its checksum');
    if (line.startsWith('=') && line.length === 5) checksum = line.slice(1);
    else base64 += line;
  }
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(base64) || base64.length % 4 !== 0) throw malformed('armour is not base64');
  const bytes = new Uint8Array(Buffer.from(base64, 'base64'));
  if (checksum !== undefined) {
    if (!/^[A-Za-z0-9+/]{4}$/.test(checksum)) throw malformed('the checksum of armour is not base64');
    const stated = Buffer.from(checksum, 'base64');
    if (stated.readUIntBE(0, 3) !== crc24(bytes)) throw malformed('the checksum of armour does not match');
  }
  return bytes;
}

/** One or more armoured blocks of `kind`, or binary packets as they are. */
export function decodeArmour(bytes: Uint8Array, kind: 'PUBLIC KEY BLOCK' | 'SIGNATURE'): Uint8Array {
  if (bytes.length === 0) throw malformed('it is empty');
  // Every binary packet starts with bit 7 set, which no armour has.
  if (bytes[0]! & 0x80) return bytes;
  const lines = Buffer.from(bytes).toString('latin1').split(/\r?\n/);
  const begin = `-----BEGIN PGP ${kind}-----`;
  const end = `-----END PGP ${kind}-----`;
  const blocks: Uint8Array[] = [];
  for (let at = 0; at < lines.length; at++) {
    if (lines[at]!.trimEnd() !== begin) continue;
    let stop = at + 1;
    while (stop < lines.length && lines[stop]!.trimEnd() !== end) stop++;
    if (stop === lines.length) throw malformed(`a ${kind.toLowerCase()} has no end line`);
    blocks.push(decodeArmourBody(lines.slice(at + 1, stop)));
    at = stop;
  }
  if (blocks.length === 0) throw malformed(`it has no ${kind.toLowerCase()}`);
  return new Uint8Array(Buffer.concat(blocks));
}

export interface Cleartext {
  /** What was signed: dash escapes undone, trailing blanks off, lines ended by CRLF but for the last. */
  readonly canonical: Uint8Array;
  /** The same with LF, for reading. Latin-1 decoded bytes are not interpreted: it is UTF-8 text. */
  readonly text: string;
  readonly signatures: Uint8Array;
}

/**
 * Splits a cleartext-signed document. As apt does, the document must consist of the signed message alone, so that nothing
 * that is outside the signature can be taken for its content.
 */
export function splitCleartext(document: Uint8Array): Cleartext {
  const lines = Buffer.from(document).toString('latin1').split('\n');
  const bare = (line: string): string => (line.endsWith('\r') ? line.slice(0, -1) : line);
  if (bare(lines[0]!) !== '-----BEGIN PGP SIGNED MESSAGE-----') {
    throw malformed('it does not start as a signed message');
  }
  let at = 1;
  while (at < lines.length && bare(lines[at]!) !== '') {
    if (!/^Hash: [A-Za-z0-9, -]+$/.test(bare(lines[at]!))) throw malformed('it has a header other than Hash');
    at++;
  }
  at++;
  const signed: string[] = [];
  for (; ; at++) {
    if (at >= lines.length) throw malformed('the signed message has no signature');
    const line = bare(lines[at]!);
    if (line === '-----BEGIN PGP SIGNATURE-----') break;
    if (line.startsWith('- ')) signed.push(line.slice(2).replace(/[ \t]+$/, ''));
    else if (line.startsWith('-')) throw malformed('a line of the signed message lacks its dash escape');
    else signed.push(line.replace(/[ \t]+$/, ''));
  }
  const start = at;
  while (at < lines.length && bare(lines[at]!).trimEnd() !== '-----END PGP SIGNATURE-----') at++;
  if (at >= lines.length) throw malformed('the signature has no end line');
  if (lines.slice(at + 1).some((line) => line.trim() !== '')) throw malformed('there is text after the signature');
  return {
    canonical: new Uint8Array(Buffer.from(signed.join('\r\n'), 'latin1')),
    text: Buffer.from(signed.join('\n') + '\n', 'latin1').toString('utf8'),
    signatures: decodeArmourBody(lines.slice(start + 1, at).map(bare)),
  };
}
