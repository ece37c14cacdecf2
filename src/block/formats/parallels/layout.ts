/**
 * The header of a Parallels expandable disk image (.hds), versions 1 and 2. After docs/interop/parallels.txt of QEMU (the format's
 * specification). All fields are little-endian; the block allocation table (BAT) follows the header at once.
 */
import { BlockError } from '../../errors.js';

export const sectorBytes = 512;
export const headerBytes = 64;
/** Stands in the header while the image is open for writing. */
export const inUseMark = 0x746f6e59;
export const inUseOffset = 44;
const magicBySector = 'WithoutFreeSpace';
const magicByCluster = 'WithouFreSpacExt';
const version = 2;
/** BAT entries are signed 32-bit in some programs; their table ends at 2 GiB. */
const maxEntries = Math.floor((2 ** 31 - 1) / 4);
/** Sectors; with the BAT index a product below 2^31 bytes per cluster and its overhead. */
const maxClusterSectors = Math.floor((2 ** 31 - 1) / 513);
/** First eight bytes of a format extension. */
const extensionMagic = 0xab234cef23dcea87n;

export interface ParallelsHeader {
  readonly clusterSectors: number;
  readonly entries: number;
  readonly sectors: number;
  /** Sectors that one unit of a BAT entry stands for: 1, or a cluster. */
  readonly unitSectors: number;
  readonly isInUse: boolean;
  /** First sector that clusters may take. */
  readonly dataSector: number;
  /** Where a format extension lies; 0: none. */
  readonly extensionOffset: number;
}

function fail(message: string, code = 'EINVAL'): never {
  throw new BlockError(code, message);
}

export function parseHeader(bytes: Uint8Array): ParallelsHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = String.fromCharCode(...bytes.subarray(0, 16));
  const isBySector = magic === magicBySector;
  if (view.getUint32(16, true) !== version || (!isBySector && magic !== magicByCluster))
    fail('Image not in Parallels format');
  const clusterSectors = view.getUint32(28, true);
  if (clusterSectors === 0) fail('Invalid image: Zero sectors per track');
  if (clusterSectors > maxClusterSectors) fail('Invalid image: Too big cluster', 'EFBIG');
  const entries = view.getUint32(32, true);
  if (entries > maxEntries) fail('Catalog too large', 'EFBIG');
  // Version 1 has 32 bits for the size; what stands above them is garbage.
  const sectors = isBySector ? view.getUint32(36, true) : Number(view.getBigUint64(36, true));
  if (sectors * sectorBytes > Number.MAX_SAFE_INTEGER) throw new BlockError('EFBIG');
  const tableEnd = Math.ceil(tableOffset(entries) / sectorBytes);
  const extensionOffset = Number(view.getBigUint64(56, true)) * sectorBytes;
  return {
    clusterSectors,
    entries,
    sectors,
    unitSectors: isBySector ? 1 : clusterSectors,
    isInUse: view.getUint32(inUseOffset, true) === inUseMark,
    dataSector: Math.max(view.getUint32(48, true), tableEnd),
    extensionOffset,
  };
}

/** An image that says it has an extension must have one. */
export function checkExtension(bytes: Uint8Array): void {
  const magic = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(0, true);
  if (magic !== extensionMagic) {
    fail(`Wrong parallels Format Extension magic: 0x${magic.toString(16)}, expected: 0x${extensionMagic.toString(16)}`);
  }
}

/** Where a BAT entry stands. */
export function tableOffset(index: number): number {
  return headerBytes + 4 * index;
}

export interface NewImage {
  readonly header: Uint8Array;
  readonly dataOffset: number;
}

export function planImage(sizeBytes: number, clusterBytes: number): NewImage {
  if (clusterBytes >= 2 ** 31) fail('Cluster size is too large');
  if (sizeBytes >= clusterBytes * 2 ** 32) fail('Image size is too large for this cluster size');
  const entries = Math.ceil(sizeBytes / clusterBytes);
  if (entries > maxEntries) fail('Catalog too large', 'EFBIG');
  const dataOffset = Math.ceil(tableOffset(entries) / clusterBytes) * clusterBytes;
  const header = new Uint8Array(headerBytes);
  const view = new DataView(header.buffer);
  header.set(new TextEncoder().encode(magicByCluster));
  view.setUint32(16, version, true);
  // A geometry that nobody uses: 16 heads, 32 sectors.
  const sectors = Math.ceil(sizeBytes / sectorBytes);
  view.setUint32(20, 16, true);
  view.setUint32(24, Math.min(0xffffffff, Math.floor(sectors / 16 / 32)), true);
  view.setUint32(28, clusterBytes / sectorBytes, true);
  view.setUint32(32, entries, true);
  view.setBigUint64(36, BigInt(sectors), true);
  view.setUint32(48, dataOffset / sectorBytes, true);
  return { header, dataOffset };
}
