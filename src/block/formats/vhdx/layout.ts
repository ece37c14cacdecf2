/**
 * VHDX on disk: after the VHDX Format Specification 1.00 ([MS-VHDX]). All fields are little-endian.
 *
 * The first MiB holds the file identifier, two headers (the valid one with the higher sequence number counts) and two copies of the
 * region table, which says where the block allocation table (BAT) and the metadata lie. The headers say where the log is.
 */
import { BlockError } from '../../errors.js';
import { crc32c } from './crc32c.js';

export const mebibyte = 2 ** 20;
export const headerOffsets = [0x10000, 0x20000] as const;
export const headerBytes = 4096;
export const regionTableOffsets = [0x30000, 0x40000] as const;
export const regionTableBytes = 0x10000;
export const metadataTableBytes = 0x10000;
export const minBlockBytes = mebibyte;
export const maxBlockBytes = 256 * mebibyte;
export const maxDiskBytes = 64 * 2 ** 40;
const maxRegionEntries = 2047;
const maxMetadataEntries = 2047;
const maxLogBytes = 2 ** 32;

/** Identifiers by the hexadecimal of their bytes as stored. */
export const Guid = {
  none: '00000000000000000000000000000000',
  batRegion: '6677c22d23f600429d64115e9bfd4a08',
  metadataRegion: '06a27c8b90479a4bb8fe575f050f886e',
  fileParameters: '3767a1ca36fa434db3b633f0aa44e76b',
  diskSize: '2442a52f1bcd7648b2115dbed83bf4b8',
  page83: 'ab12cabee6b2234593efc309e000c746',
  logicalSector: '1dbf41816fa90947ba47f233a8faab5f',
  physicalSector: 'c748a3cd5d4471449cc9e9885251c556',
  parentLocator: '2d5fd3a80bb34d45abf7d3d84834ab0c',
} as const;

export interface VhdxHeader {
  sequence: bigint;
  fileWriteGuid: string;
  dataWriteGuid: string;
  logGuid: string;
  readonly logBytes: number;
  readonly logOffset: number;
}

export interface Region {
  readonly offset: number;
  readonly length: number;
}

export interface VhdxMetadata {
  readonly blockBytes: number;
  readonly leavesBlocksAllocated: boolean;
  readonly diskBytes: number;
  readonly sectorBytes: number;
}

export function fail(code = 'EINVAL', message?: string): never {
  throw new BlockError(code, message);
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function get64(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 2 ** 32;
}

export function set64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value % 2 ** 32, true);
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
}

export function ascii(bytes: Uint8Array, offset: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(offset, offset + length));
}

export function setAscii(bytes: Uint8Array, offset: number, text: string): void {
  for (let index = 0; index < text.length; index++) bytes[offset + index] = text.charCodeAt(index);
}

export function guidAt(bytes: Uint8Array, offset: number): string {
  let text = '';
  for (let index = 0; index < 16; index++) text += bytes[offset + index]!.toString(16).padStart(2, '0');
  return text;
}

export function setGuid(bytes: Uint8Array, offset: number, guid: string): void {
  for (let index = 0; index < 16; index++)
    bytes[offset + index] = Number.parseInt(guid.slice(index * 2, index * 2 + 2), 16);
}

/** Puts the checksum of a whole structure at its bytes 4 to 7. */
export function seal(bytes: Uint8Array): Uint8Array {
  viewOf(bytes).setUint32(4, crc32c(bytes, 4), true);
  return bytes;
}

export function isSealed(bytes: Uint8Array): boolean {
  return viewOf(bytes).getUint32(4, true) === crc32c(bytes, 4);
}

/** A header, or undefined where it isn't valid. */
export function parseHeader(bytes: Uint8Array): VhdxHeader | undefined {
  const view = viewOf(bytes);
  if (ascii(bytes, 0, 4) !== 'head' || !isSealed(bytes) || view.getUint16(66, true) !== 1) return undefined;
  return {
    sequence: view.getBigUint64(8, true),
    fileWriteGuid: guidAt(bytes, 16),
    dataWriteGuid: guidAt(bytes, 32),
    logGuid: guidAt(bytes, 48),
    logBytes: view.getUint32(68, true),
    logOffset: get64(view, 72),
  };
}

export function serializeHeader(header: VhdxHeader): Uint8Array {
  const bytes = new Uint8Array(headerBytes);
  const view = viewOf(bytes);
  setAscii(bytes, 0, 'head');
  view.setBigUint64(8, header.sequence, true);
  setGuid(bytes, 16, header.fileWriteGuid);
  setGuid(bytes, 32, header.dataWriteGuid);
  setGuid(bytes, 48, header.logGuid);
  view.setUint16(66, 1, true);
  view.setUint32(68, header.logBytes, true);
  set64(view, 72, header.logOffset);
  return seal(bytes);
}

/** Which of the two headers counts; both may be invalid. */
export function chooseHeader(
  first: VhdxHeader | undefined,
  second: VhdxHeader | undefined,
): { readonly header: VhdxHeader; readonly slot: 0 | 1 } {
  if (!first && !second) return fail('EINVAL', 'No valid VHDX header found');
  if (first && (!second || first.sequence >= second.sequence)) return { header: first, slot: 0 };
  return { header: second!, slot: 1 };
}

export function checkLogPlace(header: VhdxHeader): void {
  const { logBytes, logOffset } = header;
  if (logBytes === 0 && header.logGuid === Guid.none) return;
  if (logOffset < mebibyte || logOffset % mebibyte !== 0 || !Number.isSafeInteger(logOffset)) fail();
  if (logBytes < mebibyte || logBytes % mebibyte !== 0 || logBytes >= maxLogBytes) fail();
}

/** Regions by identifier. Those unknown that must be understood are refused. */
export function parseRegionTable(bytes: Uint8Array): { readonly bat: Region; readonly metadata: Region } {
  const view = viewOf(bytes);
  if (ascii(bytes, 0, 4) !== 'regi' || !isSealed(bytes)) fail();
  const count = view.getUint32(8, true);
  if (count > maxRegionEntries) fail();
  const regions: Region[] = [];
  let bat: Region | undefined;
  let metadata: Region | undefined;
  for (let index = 0; index < count; index++) {
    const at = 16 + index * 32;
    const region = { offset: get64(view, at + 16), length: view.getUint32(at + 24, true) };
    if (region.offset < mebibyte || region.offset % mebibyte !== 0 || !Number.isSafeInteger(region.offset)) fail();
    if (region.length % mebibyte !== 0) fail();
    // Two regions that overlap could be turned into each other by writing.
    for (const other of regions) if (overlaps(region, other)) fail();
    regions.push(region);
    const guid = guidAt(bytes, at);
    if (guid === Guid.batRegion) {
      if (bat) fail();
      bat = region;
    } else if (guid === Guid.metadataRegion) {
      if (metadata) fail();
      metadata = region;
    } else if (view.getUint32(at + 28, true) & 1) fail('ENOTSUP');
  }
  return bat && metadata ? { bat, metadata } : fail();
}

export function overlaps(a: Region, b: Region): boolean {
  return a.offset < b.offset + b.length && b.offset < a.offset + a.length;
}

export function serializeRegionTable(bat: Region, metadata: Region): Uint8Array {
  const bytes = new Uint8Array(regionTableBytes);
  const view = viewOf(bytes);
  setAscii(bytes, 0, 'regi');
  view.setUint32(8, 2, true);
  for (const [index, [guid, region]] of (
    [
      [Guid.batRegion, bat],
      [Guid.metadataRegion, metadata],
    ] as const
  ).entries()) {
    const at = 16 + index * 32;
    setGuid(bytes, at, guid);
    set64(view, at + 16, region.offset);
    view.setUint32(at + 24, region.length, true);
    view.setUint32(at + 28, 1, true);
  }
  return seal(bytes);
}

/** `read` gives bytes of the metadata region. */
export async function parseMetadata(
  region: Region,
  read: (offset: number, length: number) => Promise<Uint8Array>,
): Promise<VhdxMetadata> {
  const bytes = await read(0, metadataTableBytes);
  const view = viewOf(bytes);
  if (ascii(bytes, 0, 8) !== 'metadata') fail();
  const count = view.getUint16(10, true);
  if (count > maxMetadataEntries) fail();
  const items = new Map<string, number>();
  const known: ReadonlySet<string> = new Set([
    Guid.fileParameters,
    Guid.diskSize,
    Guid.page83,
    Guid.logicalSector,
    Guid.physicalSector,
    Guid.parentLocator,
  ]);
  for (let index = 0; index < count; index++) {
    const at = 32 + index * 32;
    const guid = guidAt(bytes, at);
    const offset = view.getUint32(at + 16, true);
    if (known.has(guid)) {
      if (items.has(guid)) fail();
      items.set(guid, offset);
    } else if (view.getUint32(at + 24, true) & 4) fail('ENOTSUP');
  }
  const item = async (guid: string, length: number): Promise<DataView> => {
    const offset = items.get(guid);
    if (offset === undefined) return fail('ENOTSUP');
    if (offset < metadataTableBytes || offset + length > region.length) return fail();
    return viewOf(await read(offset, length));
  };
  const parameters = await item(Guid.fileParameters, 8);
  const blockBytes = parameters.getUint32(0, true);
  const flags = parameters.getUint32(4, true);
  const size = get64(await item(Guid.diskSize, 8), 0);
  await item(Guid.page83, 16);
  const sectorBytes = (await item(Guid.logicalSector, 4)).getUint32(0, true);
  await item(Guid.physicalSector, 4);
  // A differencing disk.
  if (flags & 2) fail(items.has(Guid.parentLocator) ? 'ENOTSUP' : 'EINVAL');
  if (sectorBytes !== 512) fail('ENOTSUP');
  if (blockBytes < minBlockBytes || blockBytes > maxBlockBytes || !Number.isInteger(Math.log2(blockBytes))) fail();
  if (size > maxDiskBytes) fail();
  const diskBytes = size - (size % sectorBytes);
  return { blockBytes, leavesBlocksAllocated: (flags & 1) !== 0, diskBytes, sectorBytes };
}

/** Table of items, then the items; `page83` identifies the disk. */
export function serializeMetadata(metadata: VhdxMetadata, page83: string): Uint8Array {
  const bytes = new Uint8Array(metadataTableBytes + 64);
  const view = viewOf(bytes);
  setAscii(bytes, 0, 'metadata');
  view.setUint16(10, 5, true);
  /** Flags: 2 describes the virtual disk, 4 must be understood. */
  const items: readonly (readonly [string, number, number, number])[] = [
    [Guid.fileParameters, 0, 8, 4],
    [Guid.diskSize, 8, 8, 6],
    [Guid.page83, 16, 16, 6],
    [Guid.logicalSector, 32, 4, 6],
    [Guid.physicalSector, 36, 4, 6],
  ];
  items.forEach(([guid, offset, length, flags], index) => {
    const at = 32 + index * 32;
    setGuid(bytes, at, guid);
    view.setUint32(at + 16, metadataTableBytes + offset, true);
    view.setUint32(at + 20, length, true);
    view.setUint32(at + 24, flags, true);
  });
  view.setUint32(metadataTableBytes, metadata.blockBytes, true);
  view.setUint32(metadataTableBytes + 4, metadata.leavesBlocksAllocated ? 1 : 0, true);
  set64(view, metadataTableBytes + 8, metadata.diskBytes);
  setGuid(bytes, metadataTableBytes + 16, page83);
  view.setUint32(metadataTableBytes + 32, metadata.sectorBytes, true);
  view.setUint32(metadataTableBytes + 36, 512, true);
  return bytes;
}

/** States of a payload block, in the low three bits of its BAT entry; the place is in the bits from 20. */
export const BlockState = {
  notPresent: 0,
  undefined: 1,
  zero: 2,
  unmapped: 3,
  fullyPresent: 6,
  partiallyPresent: 7,
} as const;

/** Payload blocks between two sector bitmap entries of the BAT. */
export function chunkRatio(metadata: VhdxMetadata): number {
  return (2 ** 23 * metadata.sectorBytes) / metadata.blockBytes;
}

/** Entries of a BAT that has no parent: every chunk but the last is followed by a bitmap entry. */
export function batEntries(metadata: VhdxMetadata): number {
  const blocks = Math.ceil(metadata.diskBytes / metadata.blockBytes);
  return blocks === 0 ? 0 : blocks + Math.floor((blocks - 1) / chunkRatio(metadata));
}
