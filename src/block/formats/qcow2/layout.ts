/**
 * The qcow2 format's fixed parts: header, feature bits, header extensions, table entries. After docs/interop/qcow2.txt of QEMU
 * (the format's specification), versions 2 and 3. All fields are big-endian.
 */
import { BlockError } from '../../errors.js';

export const qcow2Magic = 0x514649fb;

export const IncompatibleFeature = {
  dirty: 1,
  corrupt: 2,
  dataFile: 4,
  compression: 8,
  extendedL2: 16,
  known: 31,
} as const;
export const CompatibleFeature = { lazyRefcounts: 1, known: 1 } as const;
export const AutoclearFeature = { bitmaps: 1, rawDataFile: 2, known: 3 } as const;

/** Names in the feature name table: [kind, bit, name]; kind 0 incompatible, 1 compatible, 2 autoclear. */
export const featureNames: readonly (readonly [number, number, string])[] = [
  [0, 0, 'dirty bit'],
  [0, 1, 'corrupt bit'],
  [0, 2, 'external data file'],
  [0, 3, 'compression type'],
  [0, 4, 'extended L2 entries'],
  [1, 0, 'lazy refcounts'],
  [2, 0, 'bitmaps'],
  [2, 1, 'raw external data'],
];

export const Extension = {
  end: 0,
  backingFormat: 0xe2792aca,
  featureNames: 0x6803f857,
  bitmaps: 0x23852875,
  encryption: 0x0537be77,
  dataFile: 0x44415441,
} as const;

export const CryptMethod = { none: 0, aes: 1, luks: 2 } as const;

/** High word of an L1 or L2 entry: bit 63, refcount is exactly one; bit 62, compressed. */
export const copiedBit = 0x80000000;
export const compressedBit = 0x40000000;
/** Low word: reads as zero. */
export const zeroBit = 1;
/** Bits 9 to 55 of an entry are the host offset. */
export const offsetHighMask = 0x00ffffff;
export const offsetLowMask = 0xfffffe00;

/** Bounds on what is loaded whole; as QEMU's. */
export const maxL1Bytes = 32 * 2 ** 20;
export const maxRefcountTableBytes = 8 * 2 ** 20;
export const maxSnapshots = 65536;
export const maxSnapshotTableBytes = 64 * 2 ** 20;
/** Most bytes of extra data kept per snapshot. */
export const maxSnapshotExtraBytes = 1024;

export interface HeaderExtension {
  readonly type: number;
  readonly bytes: Uint8Array;
}

export interface BitmapsExtension {
  readonly count: number;
  readonly directoryBytes: number;
  readonly directoryOffset: number;
}

export interface Qcow2Header {
  version: number;
  backingFile: string | undefined;
  backingFormat: string | undefined;
  clusterBits: number;
  sizeBytes: number;
  cryptMethod: number;
  l1Entries: number;
  l1Offset: number;
  refcountTableOffset: number;
  refcountTableClusters: number;
  snapshotCount: number;
  snapshotsOffset: number;
  incompatible: number;
  compatible: number;
  autoclear: number;
  /** Bits 32 to 63 of both, all of them unknown. */
  compatibleHigh: number;
  autoclearHigh: number;
  refcountOrder: number;
  /** 0 zlib, 1 zstd. */
  compressionType: number;
  headerBytes: number;
  /** Header bytes past the fields known here, kept as they were. */
  unknownFields: Uint8Array;
  bitmaps: BitmapsExtension | undefined;
  /** Bitmaps were stored, and the image was changed since by a program that doesn't know them. */
  hasStaleBitmaps: boolean;
  encryption: { readonly offset: number; readonly length: number } | undefined;
  dataFile: string | undefined;
  unknownExtensions: HeaderExtension[];
}

const knownHeaderBytes = 112;
/** Smaller clusters have no table of names. */
const minFeatureNamesBytes = 4096;

const decoder = new TextDecoder();
const encoder = new TextEncoder();

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A 64-bit number that must be exact in a double; larger ones fail every bound they are checked against. */
export function get64(view: DataView, offset: number): number {
  return view.getUint32(offset) * 2 ** 32 + view.getUint32(offset + 4);
}

export function set64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, Math.floor(value / 2 ** 32));
  view.setUint32(offset + 4, value % 2 ** 32);
}

function fail(message: string, code = 'EINVAL'): never {
  throw new BlockError(code, message);
}

/** Names of unknown incompatible feature bits, from the image's own table where it has them. */
function unknownFeatureText(bits: number, high: number, table: Uint8Array | undefined): string {
  const names: string[] = [];
  let left = bits;
  let leftHigh = high;
  if (table) {
    // The last entry may be cut short; one without a name is behind the last.
    for (let at = 0; at + 2 < table.length && table[at + 2] !== 0; at += 48) {
      const bit = table[at + 1]!;
      const isSet = bit < 32 ? (left >>> bit) & 1 : bit < 64 ? (leftHigh >>> (bit - 32)) & 1 : 0;
      if (table[at] !== 0 || !isSet) continue;
      const name = table.subarray(at + 2, at + 48);
      const end = name.indexOf(0);
      names.push(decoder.decode(name.slice(0, end < 0 ? name.length : end)));
      if (bit < 32) left = (left & ~(1 << bit)) >>> 0;
      else leftHigh = (leftHigh & ~(1 << (bit - 32))) >>> 0;
    }
  }
  if (left !== 0 || leftHigh !== 0) {
    const hex = leftHigh ? leftHigh.toString(16) + left.toString(16).padStart(8, '0') : left.toString(16);
    names.push(`Unknown incompatible feature: ${hex}`);
  }
  return names.join(', ');
}

/** Reads and checks the header; `bytes` is the first cluster (or at least 64 KiB, or the whole file when shorter). */
export function parseHeader(bytes: Uint8Array, fileBytes: number): Qcow2Header {
  if (bytes.length < 72) fail('Image is not in qcow2 format');
  const view = viewOf(bytes);
  if (view.getUint32(0) !== qcow2Magic) fail('Image is not in qcow2 format');
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) fail(`Unsupported qcow2 version ${version}`, 'ENOTSUP');
  const clusterBits = view.getUint32(20);
  if (clusterBits < 9 || clusterBits > 21) fail(`Unsupported cluster size: 2^${clusterBits}`);
  const clusterBytes = 2 ** clusterBits;
  let headerBytes = 72;
  let [incompatible, compatible, autoclear, refcountOrder] = [0, 0, 0, 4];
  let [incompatibleHigh, compatibleHigh, autoclearHigh] = [0, 0, 0];
  if (version === 3) {
    if (bytes.length < 104) fail('qcow2 header too short');
    incompatibleHigh = view.getUint32(72);
    incompatible = view.getUint32(76);
    compatibleHigh = view.getUint32(80);
    compatible = view.getUint32(84);
    autoclearHigh = view.getUint32(88);
    autoclear = view.getUint32(92);
    refcountOrder = view.getUint32(96);
    headerBytes = view.getUint32(100);
    if (headerBytes < 104) fail('qcow2 header too short');
  }
  if (headerBytes > clusterBytes) fail('qcow2 header exceeds cluster size');
  if (headerBytes > bytes.length) fail('qcow2 header too short');
  const unknownFields = headerBytes > knownHeaderBytes ? bytes.slice(knownHeaderBytes, headerBytes) : new Uint8Array(0);
  const compressionType = headerBytes > 104 ? bytes[104]! : 0;
  const backingOffset = get64(view, 8);
  const backingBytes = view.getUint32(16);
  if (backingOffset > clusterBytes) fail('Invalid backing file offset');
  const header: Qcow2Header = {
    version,
    backingFile: undefined,
    backingFormat: undefined,
    clusterBits,
    sizeBytes: get64(view, 24),
    cryptMethod: view.getUint32(32),
    l1Entries: view.getUint32(36),
    l1Offset: get64(view, 40),
    refcountTableOffset: get64(view, 48),
    refcountTableClusters: view.getUint32(56),
    snapshotCount: view.getUint32(60),
    snapshotsOffset: get64(view, 64),
    incompatible,
    compatible,
    autoclear,
    compatibleHigh,
    autoclearHigh,
    refcountOrder,
    compressionType,
    headerBytes,
    unknownFields,
    bitmaps: undefined,
    hasStaleBitmaps: false,
    encryption: undefined,
    dataFile: undefined,
    unknownExtensions: [],
  };
  const extensionsEnd =
    backingOffset > 0 ? Math.min(backingOffset, bytes.length) : Math.min(clusterBytes, bytes.length);
  const featureTable = parseExtensions(header, bytes, extensionsEnd, fileBytes);
  const unknownIncompatible = (incompatible & ~IncompatibleFeature.known) >>> 0;
  if (unknownIncompatible || incompatibleHigh) {
    fail(
      `Unsupported qcow2 feature(s): ${unknownFeatureText(unknownIncompatible, incompatibleHigh, featureTable)}`,
      'ENOTSUP',
    );
  }
  if (refcountOrder > 6) fail('Reference count entry width too large; may not exceed 64 bits');
  if (header.cryptMethod > CryptMethod.luks) fail(`Unsupported encryption method ${header.cryptMethod}`);
  if (compressionType > 1) fail(`qcow2: unknown compression type: ${compressionType}`, 'ENOTSUP');
  if ((incompatible & IncompatibleFeature.compression ? 1 : 0) !== (compressionType === 0 ? 0 : 1)) {
    fail(
      compressionType === 0
        ? 'qcow2: Compression type incompatible feature bit must not be set'
        : 'qcow2: Compression type incompatible feature bit must be set',
    );
  }
  if (backingOffset > 0 && backingBytes > 0) {
    if (backingBytes > Math.min(1023, clusterBytes - backingOffset) || backingOffset + backingBytes > bytes.length)
      fail('Backing file name too long');
    header.backingFile = decoder.decode(bytes.slice(backingOffset, backingOffset + backingBytes));
  }
  return header;
}

/** Fills `header` from the extensions; returns the feature name table. */
function parseExtensions(
  header: Qcow2Header,
  bytes: Uint8Array,
  end: number,
  fileBytes: number,
): Uint8Array | undefined {
  const view = viewOf(bytes);
  let features: Uint8Array | undefined;
  let at = header.headerBytes;
  while (at < end && at + 8 <= bytes.length) {
    const type = view.getUint32(at);
    const length = view.getUint32(at + 4);
    at += 8;
    if (length > end - at) fail('Header extension too large');
    if (type === Extension.end) return features;
    const content = bytes.slice(at, at + length);
    const own = viewOf(content);
    switch (type) {
      case Extension.backingFormat:
        if (length >= 16) fail(`ERROR: ext_backing_format: len=${length} too large (>=16)`);
        header.backingFormat = decoder.decode(content);
        break;
      case Extension.featureNames:
        features = content;
        break;
      case Extension.encryption: {
        if (header.cryptMethod !== CryptMethod.luks)
          fail('CRYPTO header extension only expected with LUKS encryption method');
        if (length !== 16) fail(`CRYPTO header extension size ${length}, but expected size 16`);
        const encryption = { offset: get64(own, 0), length: get64(own, 8) };
        if (encryption.offset % 2 ** header.clusterBits !== 0)
          fail('Encryption header offset is not a multiple of cluster size');
        if (encryption.offset + encryption.length > fileBytes) fail('Encryption header lies outside the image file');
        header.encryption = encryption;
        break;
      }
      case Extension.bitmaps: {
        if (length !== 24) fail('bitmaps_ext: Invalid extension length');
        if (header.version < 3 || !(header.autoclear & AutoclearFeature.bitmaps)) {
          header.hasStaleBitmaps = true;
          break;
        }
        const bitmaps = { count: own.getUint32(0), directoryBytes: get64(own, 8), directoryOffset: get64(own, 16) };
        if (own.getUint32(4) !== 0) fail('bitmaps_ext: Reserved field is not zero');
        if (bitmaps.count > 65535)
          fail(`bitmaps_ext: image has ${bitmaps.count} bitmaps, exceeding the QEMU supported maximum of 65535`);
        if (bitmaps.count === 0) fail('found bitmaps extension with zero bitmaps');
        if (bitmaps.directoryOffset % 2 ** header.clusterBits !== 0)
          fail('bitmaps_ext: invalid bitmap directory offset');
        if (bitmaps.directoryBytes > 65535 * 1024 || bitmaps.directoryOffset + bitmaps.directoryBytes > fileBytes) {
          fail(
            `bitmaps_ext: bitmap directory size (${bitmaps.directoryBytes}) exceeds the maximum supported size (${65535 * 1024})`,
          );
        }
        header.bitmaps = bitmaps;
        break;
      }
      case Extension.dataFile:
        header.dataFile = decoder.decode(content);
        break;
      default:
        header.unknownExtensions.push({ type, bytes: content });
    }
    at += Math.ceil(length / 8) * 8;
  }
  return features;
}

/** The header cluster's used bytes, padded with zeroes to `clusterBytes`. */
export function serializeHeader(header: Qcow2Header): Uint8Array {
  const clusterBytes = 2 ** header.clusterBits;
  const result = new Uint8Array(clusterBytes);
  const view = viewOf(result);
  view.setUint32(0, qcow2Magic);
  view.setUint32(4, header.version);
  view.setUint32(20, header.clusterBits);
  set64(view, 24, header.sizeBytes);
  view.setUint32(32, header.cryptMethod);
  view.setUint32(36, header.l1Entries);
  set64(view, 40, header.l1Offset);
  set64(view, 48, header.refcountTableOffset);
  view.setUint32(56, header.refcountTableClusters);
  view.setUint32(60, header.snapshotCount);
  set64(view, 64, header.snapshotsOffset);
  let at = 72;
  if (header.version >= 3) {
    view.setUint32(76, header.incompatible);
    view.setUint32(80, header.compatibleHigh);
    view.setUint32(84, header.compatible);
    view.setUint32(88, header.autoclearHigh);
    view.setUint32(92, header.autoclear);
    view.setUint32(96, header.refcountOrder);
    at = knownHeaderBytes + header.unknownFields.length;
    view.setUint32(100, at);
    result[104] = header.compressionType;
    if (at > clusterBytes) fail('Header does not fit in one cluster', 'ENOSPC');
    result.set(header.unknownFields, knownHeaderBytes);
  }
  const add = (type: number, content: Uint8Array): void => {
    const padded = Math.ceil(content.length / 8) * 8;
    if (at + 8 + padded > clusterBytes) throw new BlockError('ENOSPC');
    view.setUint32(at, type);
    view.setUint32(at + 4, content.length);
    result.set(content, at + 8);
    at += 8 + padded;
  };
  if (header.backingFormat !== undefined) add(Extension.backingFormat, encoder.encode(header.backingFormat));
  if (header.dataFile !== undefined && header.incompatible & IncompatibleFeature.dataFile)
    add(Extension.dataFile, encoder.encode(header.dataFile));
  if (header.encryption) {
    const content = new Uint8Array(16);
    set64(viewOf(content), 0, header.encryption.offset);
    set64(viewOf(content), 8, header.encryption.length);
    add(Extension.encryption, content);
  }
  // As in QEMU's own images, where there is room; a program that meets a bit it does not know can name it.
  if (header.version >= 3 && clusterBytes > minFeatureNamesBytes) {
    const table = new Uint8Array(48 * featureNames.length);
    featureNames.forEach(([kind, bit, name], index) => {
      table[index * 48] = kind;
      table[index * 48 + 1] = bit;
      table.set(encoder.encode(name), index * 48 + 2);
    });
    add(Extension.featureNames, table);
  }
  if (header.bitmaps && header.version >= 3 && header.bitmaps.count > 0) {
    const content = new Uint8Array(24);
    const own = viewOf(content);
    own.setUint32(0, header.bitmaps.count);
    set64(own, 8, header.bitmaps.directoryBytes);
    set64(own, 16, header.bitmaps.directoryOffset);
    add(Extension.bitmaps, content);
  }
  for (const extension of header.unknownExtensions) add(extension.type, extension.bytes);
  if (at + 8 > clusterBytes) throw new BlockError('ENOSPC');
  at += 8;
  if (header.backingFile !== undefined) {
    const name = encoder.encode(header.backingFile);
    if (name.length > 1023 || at + name.length > clusterBytes) throw new BlockError('ENOSPC');
    set64(view, 8, at);
    view.setUint32(16, name.length);
    result.set(name, at);
  }
  return result;
}
