/** How large a qcow2 file would become: `qemu-img measure`. */
import { BlockError } from '../../errors.js';
import type { BlockHost } from '../../host.js';
import type { BlockNode, MeasureResult } from '../../node.js';
import type { OptionValues } from '../../options.js';
import { createSettings } from './create.js';
import { maxL1Bytes } from './layout.js';

/** Clusters of refcount table and blocks that count `clusters` clusters and themselves. */
function refcountMetadataBytes(clusters: number, clusterBytes: number, refcountBits: number): number {
  const perBlock = (clusterBytes * 8) / refcountBits;
  const entriesPerTable = clusterBytes / 8;
  let blocks = 0;
  let tables = 0;
  let total = 0;
  for (;;) {
    const last = total;
    blocks = Math.ceil((clusters + tables + blocks) / perBlock);
    tables = Math.ceil(blocks / entriesPerTable);
    total = clusters + blocks + tables;
    if (total === last) return (blocks + tables) * clusterBytes;
  }
}

export async function measureImage(
  options: OptionValues,
  source: BlockNode | undefined,
  host: BlockHost,
): Promise<MeasureResult> {
  const settings = createSettings(options);
  const { clusterBytes } = settings;
  let size = source ? source.length : settings.sizeBytes;
  size = Math.ceil(size / clusterBytes) * clusterBytes;
  const entryBytes = settings.isExtended ? 16 : 8;
  if ((size / clusterBytes / (clusterBytes / entryBytes)) * 8 > maxL1Bytes) {
    throw new BlockError('EINVAL', 'The image size is too large (try using a larger cluster size)');
  }
  let bitmapBytes: number | undefined;
  if (settings.version >= 3 && source?.skipFilters().instance.persistentBitmaps?.isSupported) {
    bitmapBytes = measureBitmaps(source, clusterBytes);
  }
  let encryptionBytes = 0;
  if (settings.encryption === 'luks') {
    const secret = options.string('encrypt.key-secret');
    if (secret === undefined) throw new BlockError('EINVAL', "Parameter 'encrypt.key-secret' is required for cipher");
    await host.secret(secret);
    const { luksHeaderBytes } = await import('./encryption.js');
    encryptionBytes = Math.ceil((await luksHeaderBytes(host, options)) / clusterBytes) * clusterBytes;
  }
  // Header, then L2 tables, then L1, then what counts all that.
  let data = 0;
  // How much a backing file would hold is not known: all of it may have to be stored.
  if (source && options.given('backing_file')) data = size;
  else if (source) {
    let at = 0;
    while (at < source.length) {
      const status = await source.chainStatus(at, Math.min(source.length - at, 2 ** 30));
      if (status.zero) {
        at += status.length;
        continue;
      }
      if (status.data) {
        // A cluster is needed for each that the run touches; the next run starts past it.
        const length = Math.ceil((at + status.length) / clusterBytes) * clusterBytes - at;
        data += (at % clusterBytes) + length;
        at += length;
      } else at += status.length;
    }
  }
  const clusters = size / clusterBytes;
  const entriesPerTable = clusterBytes / entryBytes;
  const l2Clusters = Math.ceil(clusters / entriesPerTable);
  const l1Clusters = Math.ceil((l2Clusters * 8) / clusterBytes);
  const metadata = clusterBytes + (l1Clusters + l2Clusters) * clusterBytes;
  const whole =
    metadata + refcountMetadataBytes((metadata + size) / clusterBytes, clusterBytes, settings.refcountBits) + size;
  const fully = whole + encryptionBytes;
  const isPreallocated = settings.preallocation === 'full' || settings.preallocation === 'falloc';
  const required = isPreallocated ? fully : fully - size + (source ? data : 0);
  return { required, fullyAllocated: fully, ...(bitmapBytes === undefined ? {} : { bitmaps: bitmapBytes }) };
}

/** Tables, data and directory of the source's persistent bitmaps in an image with these clusters. */
function measureBitmaps(source: BlockNode, clusterBytes: number): number {
  let total = 0;
  let directory = 0;
  for (const bitmap of source.skipFilters().bitmaps) {
    if (!bitmap.persistent || bitmap.inconsistent) continue;
    const bits = Math.ceil(source.length / bitmap.granularity);
    const clusters = Math.ceil(Math.ceil(bits / 8) / clusterBytes);
    total += clusters * clusterBytes + Math.ceil((clusters * 8) / clusterBytes) * clusterBytes;
    directory += Math.ceil((24 + bitmap.name.length) / 8) * 8;
  }
  return total + Math.ceil(directory / clusterBytes) * clusterBytes;
}
