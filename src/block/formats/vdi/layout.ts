/**
 * The header of a VirtualBox disk image (VDI), version 1.1, as VirtualBox and QEMU write it. All fields are little-endian. The block map
 * is an array of 32-bit block numbers; block n lies at `dataOffset + n * blockBytes`.
 */
import { BlockError } from '../../errors.js';

export const sectorBytes = 512;
export const headerBytes = 512;
export const blockBytes = 2 ** 20;
export const vdiSignature = 0xbeda107f;
export const signatureOffset = 0x40;
const version11 = 0x00010001;

export const ImageType = { dynamic: 1, static: 2 } as const;
/** Map entries from here on are no block numbers: discarded (reads as zero), never written. */
export const firstUnallocated = 0xfffffffe;
export const unallocated = 0xffffffff;

/** The map may have 2^31 bytes, less the header sector. */
const maxBlocks = (2 ** 31 - sectorBytes) / 4;
export const maxDiskBytes = maxBlocks * blockBytes;

const field = {
  headerSize: 0x48,
  imageType: 0x4c,
  mapOffset: 0x154,
  dataOffset: 0x158,
  sectorSize: 0x168,
  diskSize: 0x170,
  blockSize: 0x178,
  blocks: 0x180,
  blocksAllocated: 0x184,
  uuidImage: 0x188,
  uuidLastSnapshot: 0x198,
  uuidLink: 0x1a8,
  uuidParent: 0x1b8,
} as const;

export interface VdiHeader {
  /** As it is in the file, kept up to date. */
  readonly bytes: Uint8Array;
  readonly isStatic: boolean;
  readonly mapOffset: number;
  readonly dataOffset: number;
  readonly diskBytes: number;
  readonly blocks: number;
}

function refuse(message: string, code = 'ENOTSUP'): never {
  throw new BlockError(code, message);
}

/** The sentence about a disk's size, at opening and at creation. */
export function refuseSize(sizeBytes: bigint): never {
  return refuse(
    `Unsupported VDI image size (size is 0x${sizeBytes.toString(16)}, max supported is 0x${maxDiskBytes.toString(16)})`,
  );
}

export function parseHeader(bytes: Uint8Array): VdiHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u32 = (at: number): number => view.getUint32(at, true);
  const exactSize = view.getBigUint64(field.diskSize, true);
  if (exactSize > maxDiskBytes) refuseSize(exactSize);
  // VBoxManage convertfromraw makes disks of any size; a disk here is whole sectors.
  const diskBytes = Math.ceil(Number(exactSize) / sectorBytes) * sectorBytes;
  const signature = u32(signatureOffset);
  if (signature !== vdiSignature)
    refuse(`Image not in VDI format (bad signature ${signature.toString(16).padStart(8, '0')})`, 'EINVAL');
  const version = u32(0x44);
  if (version !== version11) refuse(`unsupported VDI image (version ${version >>> 16}.${version & 0xffff})`);
  const mapOffset = u32(field.mapOffset);
  if (mapOffset % sectorBytes !== 0)
    refuse(`unsupported VDI image (unaligned block map offset 0x${mapOffset.toString(16)})`);
  const dataOffset = u32(field.dataOffset);
  if (dataOffset % sectorBytes !== 0)
    refuse(`unsupported VDI image (unaligned data offset 0x${dataOffset.toString(16)})`);
  const sectorSize = u32(field.sectorSize);
  if (sectorSize !== sectorBytes) refuse(`unsupported VDI image (sector size ${sectorSize} is not ${sectorBytes})`);
  const blockSize = u32(field.blockSize);
  if (blockSize !== blockBytes) refuse(`unsupported VDI image (block size ${blockSize} is not ${blockBytes})`);
  const blocks = u32(field.blocks);
  if (diskBytes > blocks * blockBytes)
    refuse(`unsupported VDI image (disk size ${diskBytes}, image bitmap has room for ${blocks * blockBytes})`);
  const isNull = (at: number): boolean => bytes.subarray(at, at + 16).every((byte) => byte === 0);
  if (!isNull(field.uuidLink)) refuse('unsupported VDI image (non-NULL link UUID)');
  if (!isNull(field.uuidParent)) refuse('unsupported VDI image (non-NULL parent UUID)');
  if (blocks > maxBlocks) refuse(`unsupported VDI image (too many blocks ${blocks}, max is ${maxBlocks})`);
  return { bytes, isStatic: u32(field.imageType) === ImageType.static, mapOffset, dataOffset, diskBytes, blocks };
}

export function getBlocksAllocated(header: VdiHeader): number {
  return new DataView(header.bytes.buffer, header.bytes.byteOffset).getUint32(field.blocksAllocated, true);
}

export function setBlocksAllocated(header: VdiHeader, count: number): void {
  new DataView(header.bytes.buffer, header.bytes.byteOffset).setUint32(field.blocksAllocated, count, true);
}

/** `uuids`: 32 random bytes. */
export function serializeHeader(diskBytes: number, isStatic: boolean, uuids: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(headerBytes);
  const view = new DataView(bytes.buffer);
  const blocks = Math.ceil(diskBytes / blockBytes);
  bytes.set(new TextEncoder().encode('<<< vring VM Virtual Disk Image >>>\n'));
  view.setUint32(signatureOffset, vdiSignature, true);
  view.setUint32(0x44, version11, true);
  view.setUint32(field.headerSize, 0x180, true);
  view.setUint32(field.imageType, isStatic ? ImageType.static : ImageType.dynamic, true);
  view.setUint32(field.mapOffset, headerBytes, true);
  view.setUint32(field.dataOffset, headerBytes + mapBytes(blocks), true);
  view.setUint32(field.sectorSize, sectorBytes, true);
  view.setBigUint64(field.diskSize, BigInt(diskBytes), true);
  view.setUint32(field.blockSize, blockBytes, true);
  view.setUint32(field.blocks, blocks, true);
  view.setUint32(field.blocksAllocated, isStatic ? blocks : 0, true);
  for (const [index, at] of [field.uuidImage, field.uuidLastSnapshot].entries()) {
    bytes.set(uuids.subarray(index * 16, index * 16 + 16), at);
    // Version 4, variant of RFC 4122; the first three fields are little-endian.
    bytes[at + 7] = (bytes[at + 7]! & 0x0f) | 0x40;
    bytes[at + 8] = (bytes[at + 8]! & 0x3f) | 0x80;
  }
  return bytes;
}

/** Space that the map of so many blocks takes. */
export function mapBytes(blocks: number): number {
  return Math.ceil((blocks * 4) / sectorBytes) * sectorBytes;
}
