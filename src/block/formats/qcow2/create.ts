/** Creating a qcow2 image: the smallest valid one first, then what the options ask for by the ordinary operations on an open image. */
import { BlockError, errorCode, errorText } from '../../errors.js';
import type { CreateContext, Preallocation } from '../../node.js';
import type { OptionValues } from '../../options.js';
import {
  AutoclearFeature,
  CompatibleFeature,
  CryptMethod,
  IncompatibleFeature,
  maxL1Bytes,
  type Qcow2Header,
  serializeHeader,
  set64,
} from './layout.js';
import { setRefcount } from './refcounts.js';

export interface CreateSettings {
  readonly sizeBytes: number;
  readonly version: number;
  readonly clusterBytes: number;
  readonly refcountBits: number;
  readonly isLazy: boolean;
  readonly isExtended: boolean;
  readonly compressionType: number;
  readonly preallocation: Preallocation;
  readonly backingFile: string | undefined;
  readonly backingFormat: string | undefined;
  readonly dataFile: string | undefined;
  readonly isRawDataFile: boolean;
  readonly encryption: string | undefined;
}

function fail(message: string): never {
  throw new BlockError('EINVAL', message);
}

/** Checks the options against each other, with qemu-img's sentences. */
export function createSettings(options: OptionValues): CreateSettings {
  const compat = options.string('compat') ?? '1.1';
  const version =
    compat === '0.10' || compat === 'v2'
      ? 2
      : compat === '1.1' || compat === 'v3'
        ? 3
        : fail(`Parameter 'version' does not accept value '${compat}'`);
  const clusterBytes = options.number('cluster_size') ?? 65536;
  const bits = Math.log2(clusterBytes);
  if (!Number.isInteger(bits) || bits < 9 || bits > 21)
    fail('Cluster size must be a power of two between 512 and 2048k');
  const isExtended = options.boolean('extended_l2') ?? false;
  if (isExtended && clusterBytes < 16384)
    fail('Extended L2 entries are only supported with cluster sizes of at least 16384 bytes');
  const preallocation = (options.string('preallocation') ?? 'off') as Preallocation;
  if (!['off', 'metadata', 'falloc', 'full'].includes(preallocation))
    fail(`Parameter 'preallocation' does not accept value '${preallocation}'`);
  const backingFile = options.string('backing_file');
  if (backingFile && preallocation !== 'off' && !isExtended) {
    fail('Backing file and preallocation can only be used at the same time if extended_l2 is on');
  }
  const backingFormat = options.string('backing_fmt');
  if (backingFormat && !backingFile) fail('Backing format cannot be used without backing file');
  const isLazy = options.boolean('lazy_refcounts') ?? false;
  if (version < 3 && isLazy)
    fail('Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or greater)');
  if (version < 3 && isExtended)
    fail('Extended L2 entries are only supported with compatibility level 1.1 and above (use version=v3 or greater)');
  const refcountBits = options.number('refcount_bits') ?? 16;
  const order = Math.log2(refcountBits);
  if (!Number.isInteger(order) || refcountBits > 64)
    fail('Refcount width must be a power of two and may not exceed 64 bits');
  if (version < 3 && refcountBits !== 16) {
    fail('Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)');
  }
  const dataFile = options.string('data_file');
  const isRawDataFile = options.boolean('data_file_raw') ?? false;
  if (isRawDataFile && dataFile === undefined) fail('data-file-raw requires data-file');
  if (isRawDataFile && backingFile) fail('Backing file and data-file-raw cannot be used at the same time');
  if (dataFile !== undefined && version < 3)
    fail('External data files are only supported with compatibility level 1.1 and above (use version=v3 or greater)');
  const compression = options.string('compression_type') ?? 'zlib';
  if (compression !== 'zlib' && compression !== 'zstd')
    fail(`Parameter 'compression-type' does not accept value '${compression}'`);
  if (compression === 'zstd' && version < 3)
    fail(
      'Non-zlib compression type is only supported with compatibility level 1.1 and above (use version=v3 or greater)',
    );
  const encryption = options.string('encrypt.format') ?? (options.boolean('encryption') ? 'aes' : undefined);
  const sizeBytes = options.number('size') ?? 0;
  const span = (clusterBytes / (isExtended ? 16 : 8)) * clusterBytes;
  if ((sizeBytes / span) * 8 > maxL1Bytes || sizeBytes > Number.MAX_SAFE_INTEGER)
    throw new BlockError('EFBIG', 'The image size is too large (try using a larger cluster size)');
  return {
    sizeBytes: Math.ceil(sizeBytes / 512) * 512,
    version,
    clusterBytes,
    refcountBits,
    isLazy,
    isExtended,
    compressionType: compression === 'zstd' ? 1 : 0,
    // A raw data file must be readable without the tables: every cluster has its place from the start.
    preallocation: isRawDataFile && preallocation === 'off' ? 'metadata' : preallocation,
    backingFile: backingFile === '' ? undefined : backingFile,
    backingFormat: backingFormat === '' ? undefined : backingFormat,
    dataFile,
    isRawDataFile,
    encryption,
  };
}

/** The first three clusters: header, refcount table, refcount block. */
export function emptyImage(settings: CreateSettings): { readonly header: Qcow2Header; readonly bytes: Uint8Array } {
  const { clusterBytes } = settings;
  const header: Qcow2Header = {
    version: settings.version,
    backingFile: undefined,
    backingFormat: undefined,
    clusterBits: Math.log2(clusterBytes),
    sizeBytes: 0,
    cryptMethod: CryptMethod.none,
    l1Entries: 0,
    l1Offset: 0,
    refcountTableOffset: clusterBytes,
    refcountTableClusters: 1,
    snapshotCount: 0,
    snapshotsOffset: 0,
    incompatible:
      (settings.dataFile === undefined ? 0 : IncompatibleFeature.dataFile) |
      (settings.compressionType === 0 ? 0 : IncompatibleFeature.compression) |
      (settings.isExtended ? IncompatibleFeature.extendedL2 : 0),
    compatible: settings.isLazy ? CompatibleFeature.lazyRefcounts : 0,
    compatibleHigh: 0,
    autoclearHigh: 0,
    autoclear: settings.isRawDataFile ? AutoclearFeature.rawDataFile : 0,
    refcountOrder: Math.log2(settings.refcountBits),
    compressionType: settings.compressionType,
    headerBytes: settings.version === 2 ? 72 : 112,
    unknownFields: new Uint8Array(0),
    bitmaps: undefined,
    hasStaleBitmaps: false,
    encryption: undefined,
    dataFile: settings.dataFile,
    unknownExtensions: [],
  };
  const bytes = new Uint8Array(3 * clusterBytes);
  bytes.set(serializeHeader(header));
  const view = new DataView(bytes.buffer);
  set64(view, clusterBytes, 2 * clusterBytes);
  const block = bytes.subarray(2 * clusterBytes);
  const blockView = new DataView(bytes.buffer, 2 * clusterBytes);
  for (let cluster = 0; cluster < 3; cluster++) setRefcount(block, blockView, settings.refcountBits, cluster, 1);
  return { header, bytes };
}

/** Creates the file and writes the empty image. */
export async function writeEmptyImage(context: CreateContext, settings: CreateSettings): Promise<void> {
  const { bytes } = emptyImage(settings);
  await context.createFile(context.filename, 0);
  if (settings.dataFile !== undefined) await context.createFile(settings.dataFile, 0);
  const file = await context.openProtocol(context.filename);
  try {
    // The refcounts before the header that leads to them.
    await file.write(settings.clusterBytes, bytes.subarray(settings.clusterBytes));
    await file.write(0, bytes.subarray(0, settings.clusterBytes));
  } catch (error) {
    const code = errorCode(error);
    throw new BlockError(code, `Could not write qcow2 header: ${errorText(code)}`, { cause: error });
  } finally {
    await file.close();
  }
}
