/** QED headers: after the QED Image File Format specification 1.0 (docs/interop/qed_spec.txt of QEMU). All fields are little-endian. */
import { BlockError } from '../../errors.js';

export const headerBytes = 64;
const magic = 0x00444551;
export const minClusterBytes = 4096;
export const maxClusterBytes = 2 ** 26;
export const maxTableClusters = 16;
const maxNameBytes = 4095;

export const Feature = {
  backingFile: 1,
  needCheck: 2,
  /** The backing file is raw: its format is not to be guessed. */
  rawBacking: 4,
  known: 7,
} as const;

export interface QedHeader {
  readonly clusterBytes: number;
  readonly tableClusters: number;
  readonly headerClusters: number;
  features: number;
  readonly compatFeatures: bigint;
  autoclearFeatures: bigint;
  readonly l1Offset: number;
  sizeBytes: number;
  backingFile: string | undefined;
}

function fail(message: string, code = 'EINVAL'): never {
  throw new BlockError(code, message);
}

export function get64(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 2 ** 32;
}

export function set64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value % 2 ** 32, true);
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
}

export function isPowerOf2Within(value: number, least: number, most: number): boolean {
  return value >= least && value <= most && Number.isInteger(Math.log2(value));
}

/** What two levels of tables can map. */
export function maxDiskBytes(clusterBytes: number, tableClusters: number): number {
  const entries = (clusterBytes * tableClusters) / 8;
  return Math.min(entries * entries * clusterBytes, Number.MAX_SAFE_INTEGER);
}

/** `bytes`: the start of the file, `fileBytes` its whole length. The backing file's name is read by the caller. */
export function parseHeader(
  bytes: Uint8Array,
  fileBytes: number,
): { readonly header: QedHeader; readonly name: { readonly offset: number; readonly length: number } | undefined } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, true) !== magic) fail('Image not in QED format');
  const features = view.getBigUint64(16, true);
  const unknown = features & ~BigInt(Feature.known);
  if (unknown !== 0n) fail(`Unsupported QED features: ${unknown.toString(16)}`, 'ENOTSUP');
  const clusterBytes = view.getUint32(4, true);
  if (!isPowerOf2Within(clusterBytes, minClusterBytes, maxClusterBytes)) fail('QED cluster size is invalid');
  const tableClusters = view.getUint32(8, true);
  if (!isPowerOf2Within(tableClusters, 1, maxTableClusters)) fail('QED table size is invalid');
  const sizeBytes = get64(view, 48);
  if (sizeBytes % 512 !== 0 || sizeBytes > maxDiskBytes(clusterBytes, tableClusters)) fail('QED image size is invalid');
  const headerClusters = view.getUint32(12, true);
  const l1Offset = get64(view, 40);
  const first = headerClusters * clusterBytes;
  if (l1Offset % clusterBytes !== 0 || l1Offset < Math.max(first, 1)) fail('QED table offset is invalid');
  if (l1Offset + tableClusters * clusterBytes > fileBytes) fail('QED table offset is invalid');
  let name: { readonly offset: number; readonly length: number } | undefined;
  if (Number(features) & Feature.backingFile) {
    name = { offset: view.getUint32(56, true), length: view.getUint32(60, true) };
    if (name.offset + name.length > first) fail('QED backing filename offset is invalid');
    if (name.length > maxNameBytes) fail('QED backing filename is too long');
  }
  return {
    header: {
      clusterBytes,
      tableClusters,
      headerClusters,
      features: Number(features),
      compatFeatures: view.getBigUint64(24, true),
      autoclearFeatures: view.getBigUint64(32, true),
      l1Offset,
      sizeBytes,
      backingFile: undefined,
    },
    name,
  };
}

/** Header and, right behind it, the backing file's name. */
export function serializeHeader(header: QedHeader): Uint8Array {
  const name = new TextEncoder().encode(header.backingFile ?? '');
  const bytes = new Uint8Array(headerBytes + name.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic, true);
  view.setUint32(4, header.clusterBytes, true);
  view.setUint32(8, header.tableClusters, true);
  view.setUint32(12, header.headerClusters, true);
  view.setBigUint64(16, BigInt(header.features), true);
  view.setBigUint64(24, header.compatFeatures, true);
  view.setBigUint64(32, header.autoclearFeatures, true);
  set64(view, 40, header.l1Offset);
  set64(view, 48, header.sizeBytes);
  if (name.length > 0) {
    view.setUint32(56, headerBytes, true);
    view.setUint32(60, name.length, true);
    bytes.set(name, headerBytes);
  }
  if (bytes.length > header.headerClusters * header.clusterBytes || name.length > maxNameBytes)
    throw new BlockError('ENOSPC');
  return bytes;
}
