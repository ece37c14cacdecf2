/** Format `qed`: its options, and what happens at open, close and creation. The format: layout.ts; its workings: image.ts. */
import { BlockError, toBlockError } from '../../errors.js';
import type {
  BlockDriver,
  BlockStatus,
  CheckFix,
  CheckResult,
  CreateContext,
  DriverNode,
  NodeInfo,
  OpenContext,
  ResizeOptions,
} from '../../node.js';
import { RequestFlag } from '../../node.js';
import type { OptionRow } from '../../options.js';
import { QedImage } from './image.js';
import {
  Feature,
  headerBytes,
  isPowerOf2Within,
  maxClusterBytes,
  maxDiskBytes,
  maxTableClusters,
  minClusterBytes,
  parseHeader,
  type QedHeader,
  serializeHeader,
} from './layout.js';

const createOptions: readonly OptionRow[] = [
  { name: 'size', type: 'size', help: 'Virtual disk size' },
  { name: 'backing_file', type: 'string', help: 'File name of a base image' },
  { name: 'backing_fmt', type: 'string', help: 'Image format of the base image' },
  { name: 'cluster_size', type: 'size', default: 65536, help: 'Cluster size (in bytes)' },
  { name: 'table_size', type: 'size', help: 'L1/L2 table size (in clusters)' },
];

class QedNode implements DriverNode {
  readonly image: QedImage;
  readonly zeroFlags = RequestFlag.mayUnmap;
  readonly zeroInit = true;

  constructor(image: QedImage) {
    this.image = image;
  }

  get length(): number {
    return this.image.header.sizeBytes;
  }

  get limits() {
    return { zeroAlignment: this.image.clusterBytes };
  }

  get backingFile(): string | undefined {
    return this.image.header.backingFile;
  }

  get backingFormat(): string | undefined {
    const { header } = this.image;
    return header.backingFile !== undefined && header.features & Feature.rawBacking ? 'raw' : undefined;
  }

  read(offset: number, buffer: Uint8Array): Promise<void> {
    return this.image.requests.read(offset, buffer);
  }

  async write(offset: number, buffer: Uint8Array): Promise<void> {
    await this.image.event('write_aio');
    await this.image.requests.write(offset, buffer);
  }

  writeZeroes(offset: number, length: number, flags: number): Promise<void> {
    return this.image.requests.writeZeroes(offset, length, flags, this.length);
  }

  flush(): Promise<void> {
    return this.image.flush();
  }

  blockStatus(offset: number, length: number): Promise<BlockStatus> {
    return this.image.requests.blockStatus(offset, length);
  }

  async resize(length: number, options: ResizeOptions): Promise<void> {
    const { header } = this.image;
    const { preallocation = 'off' } = options;
    if (preallocation !== 'off') throw new BlockError('ENOTSUP', `Unsupported preallocation mode '${preallocation}'`);
    if (length % 512 !== 0 || length > maxDiskBytes(header.clusterBytes, header.tableClusters))
      throw new BlockError('EINVAL', 'Invalid image size specified');
    const before = header.sizeBytes;
    if (length < before) throw new BlockError('ENOTSUP', 'Shrinking images is currently not supported');
    header.sizeBytes = length;
    try {
      if (options.zero) await this.#zero(before, length);
      await this.image.writeHeader();
    } catch (error) {
      header.sizeBytes = before;
      throw error;
    }
  }

  /** Marks what was gained as zero, where a longer backing file would show. */
  async #zero(from: number, to: number): Promise<void> {
    const { requests, clusterBytes } = this.image;
    const edge = Math.min(to, Math.ceil(from / clusterBytes) * clusterBytes);
    if (edge > from) await requests.write(from, new Uint8Array(edge - from));
    if (to > edge) await requests.writeZeroes(edge, to - edge, 0, to);
    await this.image.flush();
    await this.image.file.flush();
  }

  async getInfo(): Promise<NodeInfo> {
    return { clusterSizeBytes: this.image.clusterBytes };
  }

  async check(fix: CheckFix): Promise<CheckResult> {
    const { checkImage } = await import('./check.js');
    return checkImage(this.image, fix);
  }

  async changeBackingFile(file: string | undefined, format: string | undefined): Promise<void> {
    const { image } = this;
    const before = { features: image.header.features, backingFile: image.header.backingFile };
    setBacking(image.header, file, format);
    try {
      await image.writeHeader();
      await image.file.flush();
    } catch (error) {
      Object.assign(image.header, before);
      throw error;
    }
  }

  async reopen(readOnly: boolean): Promise<void> {
    if (!readOnly) await prepareWriting(this.image);
  }

  async close(): Promise<void> {}
}

function setBacking(header: QedHeader, file: string | undefined, format: string | undefined): void {
  header.backingFile = file;
  header.features &= ~(Feature.backingFile | Feature.rawBacking);
  if (file === undefined) return;
  header.features |= Feature.backingFile | (format === 'raw' ? Feature.rawBacking : 0);
}

/** What opening for writing changes: an image not closed cleanly is repaired, unknown autoclear bits go. */
async function prepareWriting(image: QedImage): Promise<void> {
  const { header } = image;
  if (header.autoclearFeatures !== 0n) {
    header.autoclearFeatures = 0n;
    await image.writeHeader();
    await image.file.flush();
  }
  if (header.features & Feature.needCheck) {
    const { checkImage } = await import('./check.js');
    await checkImage(image, { leaks: true, errors: true });
  }
}

async function open(context: OpenContext): Promise<DriverNode> {
  const file = await context.openFile();
  const head = new Uint8Array(headerBytes);
  await file.read(0, head);
  const { header, name } = parseHeader(head, file.length);
  if (name) {
    const bytes = new Uint8Array(name.length);
    await file.read(name.offset, bytes);
    header.backingFile = new TextDecoder().decode(bytes);
  }
  const image = new QedImage(context.node, file, header);
  const { flags } = context;
  if (!flags.readOnly && !flags.check && !flags.noIo) await prepareWriting(image);
  return new QedNode(image);
}

async function create(context: CreateContext): Promise<void> {
  const { options } = context;
  const fail = (message: string): never => {
    throw new BlockError('EINVAL', message);
  };
  const clusterBytes = options.number('cluster_size') ?? 65536;
  const tableClusters = options.number('table_size') ?? 4;
  if (!isPowerOf2Within(clusterBytes, minClusterBytes, maxClusterBytes))
    fail(`QED cluster size must be within range [${minClusterBytes}, ${maxClusterBytes}] and power of 2`);
  if (!isPowerOf2Within(tableClusters, 1, maxTableClusters))
    fail(`QED table size must be within range [1, ${maxTableClusters}] and power of 2`);
  const sizeBytes = options.number('size') ?? 0;
  const most = maxDiskBytes(clusterBytes, tableClusters);
  if (sizeBytes % 512 !== 0 || sizeBytes > most)
    fail(`QED image size must be a non-zero multiple of cluster size and less than ${most} bytes`);
  const header: QedHeader = {
    clusterBytes,
    tableClusters,
    headerClusters: 1,
    features: 0,
    compatFeatures: 0n,
    autoclearFeatures: 0n,
    l1Offset: clusterBytes,
    sizeBytes,
    backingFile: undefined,
  };
  setBacking(header, options.string('backing_file') || undefined, options.string('backing_fmt'));
  let bytes: Uint8Array;
  try {
    bytes = serializeHeader(header);
  } catch (error) {
    throw new BlockError('EINVAL', 'Backing file name is too long for the header', { cause: toBlockError(error) });
  }
  await context.createFile(context.filename, 0);
  const file = await context.openProtocol(context.filename);
  try {
    // The table before the header that leads to it.
    await file.writeZeroes(clusterBytes, clusterBytes * tableClusters);
    await file.write(0, bytes);
  } finally {
    await file.close();
  }
}

export const qedDriver: BlockDriver = {
  name: 'qed',
  kind: 'format',
  openOptions: [],
  createOptions,
  supportsBacking: true,
  open,
  create,
};
