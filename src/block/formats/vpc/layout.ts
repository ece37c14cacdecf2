/**
 * The fixed parts of a VHD ("vpc") image: footer, header of dynamic disks, geometry. After Microsoft's "Virtual Hard Disk Image Format
 * Specification", version 1.0. All fields are big-endian.
 */
import { BlockError } from '../../errors.js';

export const sectorBytes = 512;
export const footerBytes = 512;
export const dynamicHeaderBytes = 1024;
export const unallocated = 0xffffffff;
/** 2040 GiB: what the spec and Microsoft's programs allow. */
export const maxSectors = 0xff000000;
/** Largest geometry that cylinders, heads and sectors can name: then the size field counts. */
const maxGeometry = 65535 * 16 * 255;
/** Tables beyond this are no disk's: with the usual 2 MiB blocks they map 64 TiB. */
const maxTableEntries = 2 ** 25;

export const DiskType = { fixed: 2, dynamic: 3 } as const;

const cookie = 'conectix';
const dynamicCookie = 'cxsparse';
/** Seconds from 1970 to 2000. */
const epochSeconds = 946684800;
/** Programs that size a disk by the field and not by the geometry. `qem2` stands for `force_size`. */
const sizeFieldCreators = ['win ', 'qem2', 'd2v ', 'tap\0', 'CTXS', 'wa\0\0'];

function fail(message: string, code = 'EINVAL'): never {
  throw new BlockError(code, message);
}

function text(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length));
}

/** One's complement of the byte sum, the checksum field itself left out. */
function checksum(bytes: Uint8Array, at: number): number {
  let sum = 0;
  for (const [index, byte] of bytes.entries()) if (index < at || index >= at + 4) sum += byte;
  return ~sum >>> 0;
}

export function hasCookie(bytes: Uint8Array): boolean {
  return text(bytes, 0, 8) === cookie;
}

export interface VpcFooter {
  readonly type: number;
  readonly sectors: number;
  /** Where the dynamic header lies; beyond 2^53 for fixed disks. */
  readonly dataOffset: number;
}

export type SizeRule = 'current_size' | 'chs' | undefined;

export function footerType(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(60);
}

export function parseFooter(bytes: Uint8Array, rule: SizeRule): VpcFooter {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(64) !== checksum(bytes, 64)) fail('Incorrect header checksum');
  let sectors = view.getUint16(56) * view.getUint8(58) * view.getUint8(59);
  const usesGeometry = rule === 'chs' || !sizeFieldCreators.includes(text(bytes, 28, 4));
  if (!usesGeometry || sectors === maxGeometry || rule === 'current_size')
    sectors = Math.floor(Number(view.getBigUint64(48)) / sectorBytes);
  if (sectors > maxSectors) throw new BlockError('EFBIG');
  return { type: footerType(bytes), sectors, dataOffset: Number(view.getBigUint64(16)) };
}

export interface DynamicHeader {
  readonly blockBytes: number;
  /** A sector bitmap stands before each block. */
  readonly bitmapBytes: number;
  readonly tableEntries: number;
  readonly tableOffset: number;
}

export function parseDynamicHeader(bytes: Uint8Array, sectors: number): DynamicHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (text(bytes, 0, 8) !== dynamicCookie) fail('Invalid header magic');
  const blockBytes = view.getUint32(32);
  if (blockBytes < sectorBytes || !Number.isInteger(Math.log2(blockBytes))) fail(`Invalid block size ${blockBytes}`);
  const tableEntries = view.getUint32(28);
  if (tableEntries * blockBytes < sectors * sectorBytes) fail('Page table too small');
  if (tableEntries > maxTableEntries) fail(`Max Table Entries too large (${tableEntries | 0})`);
  return {
    blockBytes,
    bitmapBytes: Math.ceil(blockBytes / (8 * sectorBytes) / sectorBytes) * sectorBytes,
    tableEntries,
    tableOffset: Number(view.getBigUint64(16)),
  };
}

interface Geometry {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectorsPerTrack: number;
}

const largestGeometry: Geometry = { cylinders: 65535, heads: 16, sectorsPerTrack: 255 };

/** The specification's appendix "CHS Calculation", with cylinders rounded up. */
function geometryOf(sectors: number): Geometry {
  const total = Math.min(sectors, maxGeometry);
  let [sectorsPerTrack, heads] = [255, 16];
  let tracks = Math.floor(total / sectorsPerTrack);
  if (total < 65535 * 16 * 63) {
    sectorsPerTrack = 17;
    tracks = Math.floor(total / sectorsPerTrack);
    heads = Math.max(4, Math.ceil(tracks / 1024));
    for (const next of [31, 63]) {
      if (tracks < heads * 1024 && heads <= 16) break;
      sectorsPerTrack = next;
      heads = 16;
      tracks = Math.floor(total / sectorsPerTrack);
    }
  }
  return { cylinders: Math.ceil(tracks / heads), heads, sectorsPerTrack };
}

function sectorsOf(geometry: Geometry): number {
  return geometry.cylinders * geometry.heads * geometry.sectorsPerTrack;
}

export interface DiskSize {
  readonly sectors: number;
  readonly geometry: Geometry;
}

/** The smallest size that a geometry can say and that holds `sizeBytes`; or exactly that size, when forced or too large. */
export function chooseSize(sizeBytes: number, isForced: boolean): DiskSize {
  const wanted = Math.ceil(sizeBytes / sectorBytes);
  let geometry = isForced ? largestGeometry : { cylinders: 0, heads: 0, sectorsPerTrack: 0 };
  const least = Math.min(maxGeometry, wanted);
  for (let more = 0; sectorsOf(geometry) < least; more++) geometry = geometryOf(least + more);
  const sectors = sectorsOf(geometry) === maxGeometry ? wanted : sectorsOf(geometry);
  if (sectors > maxSectors) fail('Disk size is too large, max size is 2040 GiB', 'EFBIG');
  return { sectors, geometry };
}

export interface FooterContents extends DiskSize {
  readonly isDynamic: boolean;
  readonly isForced: boolean;
  readonly wallSeconds: number;
  /** 16 random bytes. */
  readonly uuid: Uint8Array;
}

export function serializeFooter(contents: FooterContents): Uint8Array {
  const bytes = new Uint8Array(footerBytes);
  const view = new DataView(bytes.buffer);
  const ascii = (at: number, value: string): void => bytes.set(new TextEncoder().encode(value), at);
  ascii(0, cookie);
  // Reserved feature bit, always set.
  view.setUint32(8, 2);
  view.setUint32(12, 0x00010000);
  view.setBigUint64(16, contents.isDynamic ? BigInt(footerBytes) : 2n ** 64n - 1n);
  view.setUint32(24, Math.max(0, contents.wallSeconds - epochSeconds));
  // Readers size a disk by who made it: these names say by the geometry, or by the field.
  ascii(28, contents.isForced ? 'qem2' : 'qemu');
  view.setUint32(32, 0x00050003);
  ascii(36, 'Wi2k');
  view.setBigUint64(40, BigInt(contents.sectors * sectorBytes));
  view.setBigUint64(48, BigInt(contents.sectors * sectorBytes));
  view.setUint16(56, contents.geometry.cylinders);
  view.setUint8(58, contents.geometry.heads);
  view.setUint8(59, contents.geometry.sectorsPerTrack);
  view.setUint32(60, contents.isDynamic ? DiskType.dynamic : DiskType.fixed);
  bytes.set(contents.uuid, 68);
  bytes[68 + 6] = (bytes[68 + 6]! & 0x0f) | 0x40;
  bytes[68 + 8] = (bytes[68 + 8]! & 0x3f) | 0x80;
  view.setUint32(64, checksum(bytes, 64));
  return bytes;
}

export const newBlockBytes = 2 ** 21;
/** Footer copy, dynamic header, then the table. */
export const newTableOffset = footerBytes + dynamicHeaderBytes;

export function newTableEntries(sectors: number): number {
  const perBlock = newBlockBytes / sectorBytes;
  return Math.floor((sectors + perBlock) / perBlock);
}

export function serializeDynamicHeader(sectors: number): Uint8Array {
  const bytes = new Uint8Array(dynamicHeaderBytes);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode(dynamicCookie));
  view.setBigUint64(8, 2n ** 64n - 1n);
  view.setBigUint64(16, BigInt(newTableOffset));
  view.setUint32(24, 0x00010000);
  view.setUint32(28, newTableEntries(sectors));
  view.setUint32(32, newBlockBytes);
  view.setUint32(36, checksum(bytes, 36));
  return bytes;
}
