/** Driver `qcow2`: its options, and what happens at open, close and creation. The format: layout.ts; its workings: image.ts. */
import { BlockError, errorText, toBlockError } from '../../errors.js';
import type {
  AmendRequest,
  BlockDriver,
  BlockNode,
  ChangeableOptions,
  CheckFix,
  CheckResult,
  CreateContext,
  DriverNode,
  HostPlace,
  MeasureResult,
  NodeInfo,
  OpenContext,
  PersistentBitmapCapability,
  ResizeOptions,
  SnapshotCapability,
  SpecificInfo,
  StatusRuns,
} from '../../node.js';
import { RequestFlag } from '../../node.js';
import type { OptionRow, OptionValues } from '../../options.js';
import { parseL1, Qcow2Image } from './image.js';
import {
  AutoclearFeature,
  CryptMethod,
  get64,
  IncompatibleFeature,
  maxL1Bytes,
  maxRefcountTableBytes,
  maxSnapshots,
  parseHeader,
  type Qcow2Header,
} from './layout.js';
import { checkOpenOptions, openOptions, replacedOptions } from './open-options.js';
import type { FreeKind } from './refcounts.js';
import { Qcow2Requests } from './requests.js';
import type { Snapshot } from './snapshots.js';

const encryptCreateRows: readonly OptionRow[] = [
  {
    name: 'encryption',
    type: 'boolean',
    help: "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)",
  },
  { name: 'encrypt.format', type: 'string', help: "Encrypt the image, format choices: 'aes', 'luks'" },
  { name: 'encrypt.key-secret', type: 'string', help: 'ID of secret providing qcow AES key or LUKS passphrase' },
  { name: 'encrypt.cipher-alg', type: 'string', help: 'Name of encryption cipher algorithm' },
  { name: 'encrypt.cipher-mode', type: 'string', help: 'Name of encryption cipher mode' },
  { name: 'encrypt.ivgen-alg', type: 'string', help: 'Name of IV generator algorithm' },
  { name: 'encrypt.ivgen-hash-alg', type: 'string', help: 'Name of IV generator hash algorithm' },
  { name: 'encrypt.hash-alg', type: 'string', help: 'Name of encryption hash algorithm' },
  { name: 'encrypt.iter-time', type: 'number', help: 'Time to spend in PBKDF in milliseconds' },
];

/** In the order in which `create` prints them. */
const createOptions: readonly OptionRow[] = [
  ...encryptCreateRows,
  { name: 'cluster_size', type: 'size', default: 65536, help: 'qcow2 cluster size' },
  { name: 'extended_l2', type: 'boolean', default: false, help: 'Extended L2 tables' },
  { name: 'preallocation', type: 'string', help: 'Preallocation mode (allowed values: off, metadata, falloc, full)' },
  {
    name: 'compression_type',
    type: 'string',
    default: 'zlib',
    help: 'Compression method used for image cluster compression',
  },
  { name: 'size', type: 'size', help: 'Virtual disk size' },
  { name: 'compat', type: 'string', help: 'Compatibility level (v2 [0.10] or v3 [1.1])' },
  { name: 'backing_file', type: 'string', help: 'File name of a base image' },
  { name: 'backing_fmt', type: 'string', help: 'Image format of the base image' },
  { name: 'data_file', type: 'string', help: 'File name of an external data file' },
  { name: 'data_file_raw', type: 'boolean', help: 'The external data file must stay valid as a raw image' },
  { name: 'lazy_refcounts', type: 'boolean', default: false, help: 'Postpone refcount updates' },
  { name: 'refcount_bits', type: 'number', default: 16, help: 'Width of a reference count entry in bits' },
];

const amendOptions: readonly OptionRow[] = [
  { name: 'size', type: 'size', help: 'Virtual disk size' },
  { name: 'compat', type: 'string', help: 'Compatibility level (v2 [0.10] or v3 [1.1])' },
  { name: 'backing_file', type: 'string', help: 'File name of a base image' },
  { name: 'backing_fmt', type: 'string', help: 'Image format of the base image' },
  { name: 'data_file', type: 'string', help: 'File name of an external data file' },
  { name: 'data_file_raw', type: 'boolean', help: 'The external data file must stay valid as a raw image' },
  { name: 'lazy_refcounts', type: 'boolean', help: 'Postpone refcount updates' },
  { name: 'refcount_bits', type: 'number', help: 'Width of a reference count entry in bits' },
  { name: 'encrypt.state', type: 'string', help: 'Select new state of affected keyslots (active/inactive)' },
  {
    name: 'encrypt.new-secret',
    type: 'string',
    help: 'New secret to set in the matching keyslots. Empty string to erase',
  },
  { name: 'encrypt.old-secret', type: 'string', help: 'Select all keyslots that match this password' },
  { name: 'encrypt.keyslot', type: 'number', help: 'Select a single keyslot to modify explicitly' },
  { name: 'encrypt.iter-time', type: 'number', help: 'Time to spend in PBKDF in milliseconds' },
];

/** An entry of the snapshot table without names. */
const minSnapshotBytes = 40;
/** The format's limit. */
const maxBackingNameBytes = 1023;

function fail(message: string, code = 'EINVAL'): never {
  throw new BlockError(code, message);
}

/** A table named by the header: offset, entry count and size must be possible. */
function checkTable(header: Qcow2Header, offset: number, bytes: number, most: number, name: string): void {
  if (bytes > most) fail(`${name} too large`, 'EFBIG');
  if (offset > Number.MAX_SAFE_INTEGER - bytes || offset % 2 ** header.clusterBits !== 0)
    fail(`${name} offset invalid`);
}

export class Qcow2Node implements DriverNode {
  readonly image: Qcow2Image;
  readonly requests: Qcow2Requests;
  readonly writeFlags = 0;
  readonly zeroFlags = RequestFlag.mayUnmap;
  /** Preallocated clusters read as whatever lies in the file; what is made of them by deciphering zeroes is none. */
  get zeroInit(): boolean {
    const { image } = this;
    if (!image.l1[0]) return true;
    return !image.isEncrypted && (image.dataFile.instance.zeroInit ?? false);
  }

  snapshotList: Snapshot[] = [];
  /** Of the table in the file. */
  snapshotTableBytes = 0;
  /** Why the table could not be read, in an image that is opened to be checked. */
  snapshotFailure: BlockError | undefined;
  /** Set by `load` of a snapshot: its disk size. */
  loadedSize: number | undefined;
  #isPreallocated: boolean | undefined;

  readonly changeable: ChangeableOptions = {
    rows: openOptions,
    replaced: replacedOptions,
    prepare: (options, flags) => {
      const { header, clusterBytes } = this.image;
      checkOpenOptions(options, header.version, clusterBytes);
      return () => {
        const passed = new Set<FreeKind>();
        if (options.boolean('pass-discard-request') ?? flags.unmap) passed.add('request');
        if (options.boolean('pass-discard-snapshot')) passed.add('snapshot');
        if (options.boolean('pass-discard-other')) passed.add('other');
        this.image.passDiscards = passed;
        this.image.lazyOption = options.boolean('lazy-refcounts');
      };
    },
  };

  constructor(image: Qcow2Image) {
    this.image = image;
    this.requests = new Qcow2Requests(image);
    image.onFreed = () => this.requests.compressed.forget();
  }

  get length(): number {
    return this.loadedSize ?? this.image.header.sizeBytes;
  }

  get limits() {
    const unit = this.image.isEncrypted ? 512 : 1;
    return {
      requestAlignment: unit,
      zeroAlignment: this.image.subclusterBytes,
      discardAlignment: this.image.clusterBytes,
    };
  }

  get encrypted(): boolean {
    return this.image.isEncrypted;
  }

  get backingFile(): string | undefined {
    return this.image.header.backingFile;
  }

  get backingFormat(): string | undefined {
    return this.image.header.backingFormat;
  }

  read(offset: number, buffer: Uint8Array): Promise<void> {
    return this.requests.read(offset, buffer);
  }

  write(offset: number, buffer: Uint8Array): Promise<void> {
    return this.requests.write(offset, buffer);
  }

  readNow(offset: number, buffer: Uint8Array): boolean {
    return this.requests.readNow(offset, buffer);
  }

  writeNow(offset: number, buffer: Uint8Array): boolean {
    return this.requests.writeNow(offset, buffer);
  }

  readonly movesPlaces = true;

  place(offset: number, length: number): HostPlace | undefined {
    return this.requests.place(offset, length);
  }

  async writeCompressed(offset: number, buffer: Uint8Array): Promise<void> {
    if (buffer.length > 0) await this.requests.compressed.write(offset, buffer);
  }

  writeZeroes(offset: number, length: number, flags: number): Promise<void> {
    return this.requests.writeZeroes(offset, length, flags);
  }

  discard(offset: number, length: number): Promise<void> {
    return this.requests.discard(offset, length, 'request');
  }

  async flush(): Promise<void> {
    if (this.image.mustNotWrite) return;
    await this.image.event('flush_to_os');
    await this.image.mutex.run(() => this.image.flushMetadata());
    if (this.image.hasDataFile) await this.image.dataFile.flush();
  }

  blockStatus(offset: number, length: number) {
    return this.requests.blockStatus(
      offset,
      length,
      async () => (this.#isPreallocated ??= await this.#detectPreallocation()),
    );
  }

  statusNow(offset: number, length: number) {
    return this.requests.statusNow(offset, length, this.#isPreallocated);
  }

  runsNow(offset: number, length: number, runs: StatusRuns): void {
    this.requests.runsNow(offset, length, runs, this.#isPreallocated);
  }

  /** More clusters counted than the file has blocks: metadata is preallocated, and what is data must be asked of the file. */
  async #detectPreallocation(): Promise<boolean> {
    const { image } = this;
    const allocated = (await image.file.instance.allocatedBytes?.()) ?? undefined;
    if (allocated === undefined) return false;
    const real = Math.floor(allocated / image.clusterBytes);
    const threshold = Math.max(Math.floor((real * 10) / 9), real + 2);
    const end = Math.ceil(image.file.length / image.clusterBytes);
    return (await image.refcounts.countUsed(end, threshold)) >= threshold;
  }

  async resize(length: number, options: ResizeOptions): Promise<void> {
    const { resizeImage } = await import('./resize.js');
    await resizeImage(this.image, this.requests, length, options);
  }

  async getInfo(): Promise<NodeInfo> {
    const { image } = this;
    return {
      clusterSizeBytes: image.clusterBytes,
      subclusterSizeBytes: image.subclusterBytes,
      vmStateOffset: Math.ceil(image.header.sizeBytes / image.tableSpan) * image.tableSpan,
      isDirty: (image.header.incompatible & IncompatibleFeature.dirty) !== 0,
    };
  }

  async specificInfo(): Promise<SpecificInfo> {
    const { header } = this.image;
    const isV3 = header.version >= 3;
    const data: Record<string, unknown> = { compat: isV3 ? '1.1' : '0.10' };
    data['compression-type'] = header.compressionType === 1 ? 'zstd' : 'zlib';
    if (isV3) data['lazy-refcounts'] = (header.compatible & 1) !== 0;
    if (isV3 && header.bitmaps) {
      const { bitmapInfos } = await import('./bitmaps.js');
      data['bitmaps'] = await bitmapInfos(this.image);
    }
    data['refcount-bits'] = 1 << header.refcountOrder;
    if (header.cryptMethod !== CryptMethod.none) {
      const { encryptionInfo } = await import('./encryption.js');
      data['encrypt'] = await encryptionInfo(this.image);
    }
    if (isV3) {
      if (header.dataFile !== undefined) data['data-file'] = header.dataFile;
      if (header.incompatible & IncompatibleFeature.dataFile)
        data['data-file-raw'] = (header.autoclear & AutoclearFeature.rawDataFile) !== 0;
      data['corrupt'] = (header.incompatible & IncompatibleFeature.corrupt) !== 0;
      data['extended-l2'] = this.image.isExtended;
    }
    return { type: 'qcow2', data };
  }

  async check(fix: CheckFix): Promise<CheckResult> {
    const { checkImage } = await import('./check.js');
    return checkImage(this, fix);
  }

  async amend(options: OptionValues, request: AmendRequest): Promise<void> {
    const { amendImage } = await import('./amend.js');
    await amendImage(this, options, request);
  }

  async changeBackingFile(file: string | undefined, format: string | undefined): Promise<void> {
    const { image } = this;
    if (file !== undefined && image.header.autoclear & AutoclearFeature.rawDataFile)
      fail('Backing file and data-file-raw cannot be used at the same time');
    if (file !== undefined && new TextEncoder().encode(file).length > maxBackingNameBytes)
      throw new BlockError('EINVAL');
    const before = [image.header.backingFile, image.header.backingFormat] as const;
    image.header.backingFile = file;
    image.header.backingFormat = file === undefined ? undefined : format;
    try {
      await image.writeHeader();
    } catch (error) {
      [image.header.backingFile, image.header.backingFormat] = before;
      throw error;
    }
    await image.barrier();
  }

  async makeEmpty(): Promise<void> {
    const { image } = this;
    await image.event('empty_image_prepare');
    const step = 2 ** 30;
    for (let at = 0; at < this.length; at += step)
      await this.requests.discard(at, Math.min(step, this.length - at), 'snapshot', true);
    await image.mutex.run(() => image.flushMetadata());
  }

  get snapshots(): SnapshotCapability {
    const lazily = async () => import('./snapshots.js');
    return {
      list: async () => this.snapshotList,
      create: async (info) => (await lazily()).createSnapshot(this, info),
      remove: async (id, name) => (await lazily()).removeSnapshot(this, id, name),
      apply: async (idOrName) => (await lazily()).applySnapshot(this, idOrName),
      load: async (id, name) => (await lazily()).loadSnapshot(this, id, name),
    };
  }

  get persistentBitmaps(): PersistentBitmapCapability {
    const lazily = async () => import('./bitmaps.js');
    return {
      isSupported: this.image.header.version >= 3,
      canStore: async (name, granularity) => (await lazily()).canStoreBitmap(this.image, name, granularity),
      remove: async (name) => (await lazily()).removeStoredBitmap(this.image, name),
      store: async () => (await lazily()).storeBitmaps(this.image),
    };
  }

  readVmState(offset: number, buffer: Uint8Array): Promise<void> {
    const base = Math.ceil(this.image.header.sizeBytes / this.image.tableSpan) * this.image.tableSpan;
    return this.requests.read(base + offset, buffer);
  }

  async writeVmState(offset: number, buffer: Uint8Array): Promise<void> {
    const { image } = this;
    const base = Math.ceil(image.header.sizeBytes / image.tableSpan) * image.tableSpan;
    const { growL1, l1EntriesFor } = await import('./resize.js');
    await image.mutex.run(() => growL1(image, l1EntriesFor(image, base + offset + buffer.length)));
    await this.requests.write(base + offset, buffer);
  }

  async reopen(readOnly: boolean): Promise<void> {
    if (readOnly) await this.#storeState();
    else if (this.image.header.incompatible & IncompatibleFeature.corrupt)
      fail('qcow2: Image is corrupt; cannot be opened read/write', 'EACCES');
  }

  async #storeState(): Promise<void> {
    const { image } = this;
    if (image.node.readOnly) return;
    await image.markedCorrupt;
    if (image.mustNotWrite) return;
    let failure: BlockError | undefined;
    if (image.node.bitmaps.some((bitmap) => bitmap.persistent)) {
      const { storeBitmaps } = await import('./bitmaps.js');
      try {
        await storeBitmaps(image);
      } catch (error) {
        const { code, message } = toBlockError(error);
        const lost = `Lost persistent bitmaps during inactivation of node '${image.node.nodeName}'`;
        failure = new BlockError(code, `${lost}: ${message}`, { cause: error });
      }
    }
    await image.mutex.run(async () => {
      try {
        // The second round writes the refcounts that the first one's frees lowered.
        await image.flushMetadata(true);
        await image.flushMetadata(true);
      } catch (error) {
        if (failure !== undefined) image.host.report('error', failure.message);
        throw image.unwrittenTables(error);
      }
      await image.clearDirty();
    });
    if (failure !== undefined) throw failure;
  }

  async close(): Promise<void> {
    await this.#storeState();
  }
}

async function readTable(file: BlockNode, offset: number, bytes: number, name: string): Promise<Uint8Array> {
  const table = new Uint8Array(bytes);
  try {
    if (bytes > 0) await file.read(offset, table);
  } catch (error) {
    throw new BlockError((error as BlockError).code ?? 'EIO', `Could not read ${name}`, { cause: error });
  }
  return table;
}

async function open(context: OpenContext): Promise<Qcow2Node> {
  const file = await context.openFile();
  const { flags } = context;
  // Most headers fit in the first 64 KiB; the rest of the first cluster only where it is larger.
  let head = new Uint8Array(Math.min(file.length, 65536));
  await file.read(0, head);
  if (head.length >= 24 && new DataView(head.buffer).getUint32(20) > 16 && file.length > head.length) {
    head = new Uint8Array(Math.min(file.length, 2 ** 21));
    await file.read(0, head);
  }
  const header = parseHeader(head, file.length);
  if (header.hasStaleBitmaps) reportStaleBitmaps(context, header.version);
  const clusterBytes = 2 ** header.clusterBits;
  if (header.sizeBytes > Number.MAX_SAFE_INTEGER) fail('Image is too big');
  if (header.incompatible & IncompatibleFeature.corrupt && !flags.check && !flags.readOnly) {
    fail('qcow2: Image is corrupt; cannot be opened read/write', 'EACCES');
  }
  const refcountBytes = header.refcountTableClusters * clusterBytes;
  if (header.refcountTableClusters === 0 && !flags.check) fail('Image does not contain a reference count table');
  checkTable(header, header.refcountTableOffset, refcountBytes, maxRefcountTableBytes, 'Reference count table');
  checkTable(header, header.l1Offset, header.l1Entries * 8, maxL1Bytes, 'Active L1 table');
  const snapshotBytes = header.snapshotCount * minSnapshotBytes;
  checkTable(header, header.snapshotsOffset, snapshotBytes, maxSnapshots * minSnapshotBytes, 'Snapshot table');
  const isExtended = (header.incompatible & IncompatibleFeature.extendedL2) !== 0;
  if (isExtended && clusterBytes < 16384) fail('Extended L2 entries need clusters of at least 16384 bytes');
  const span = (clusterBytes / (isExtended ? 16 : 8)) * clusterBytes;
  const entries = Math.ceil(header.sizeBytes / span);
  if (entries > 2 ** 31 - 1) fail('Image is too big', 'EFBIG');
  if (header.l1Entries < entries) fail('L1 table is too small');
  const tableBytes = await readTable(file, header.refcountTableOffset, refcountBytes, 'refcount table');
  const table = new Float64Array(refcountBytes / 8);
  const view = new DataView(tableBytes.buffer);
  for (let index = 0; index < table.length; index++) {
    const offset = get64(view, index * 8);
    // The low 9 bits are reserved; what else is misaligned is refused on use.
    if (offset !== 0) table[index] = offset - (offset % 512);
  }
  const l1 = parseL1(await readTable(file, header.l1Offset, header.l1Entries * 8, 'L1 table'));
  const image = new Qcow2Image(context.host, context.node, file, header, l1, table);
  const instance = new Qcow2Node(image);
  instance.changeable.prepare(context.options, flags)();

  // Who asks for metadata alone gets it from the image itself: a file that it names is not touched, and may be missing.
  if (flags.noIo) context.takePrefix('data-file');
  else await openDataFile(context, image);
  if (header.cryptMethod !== CryptMethod.none && !flags.noIo) {
    const { openCipher } = await import('./encryption.js');
    await openCipher(image, context.options);
  }
  if (header.snapshotCount > 0) {
    const { readSnapshots } = await import('./snapshots.js');
    await readSnapshots(instance, flags.check);
  }
  if (!flags.readOnly && !flags.noIo) {
    // A check mends a dirty image itself, and tells what it finds.
    if (header.incompatible & IncompatibleFeature.dirty && !flags.check) await repairDirty(instance, context);
    await clearUnknown(image, flags.check);
  }
  if (header.bitmaps) {
    const { loadBitmaps } = await import('./bitmaps.js');
    await loadBitmaps(image, flags.readOnly || flags.noIo || flags.check);
  }
  return instance;
}

function reportStaleBitmaps(context: OpenContext, version: number): void {
  context.host.report(
    'warning',
    version < 3
      ? 'This qcow2 v2 image contains bitmaps, but they may have been modified by a program without persistent bitmap support; so now they must all be considered inconsistent'
      : 'a program lacking bitmap support modified this file, so all bitmaps are now considered inconsistent',
  );
  context.host.report('plain', "Some clusters may be leaked, run 'qemu-img check -r' on the image file to fix.");
}

async function openDataFile(context: OpenContext, image: Qcow2Image): Promise<void> {
  const { header } = image;
  const hasBit = (header.incompatible & IncompatibleFeature.dataFile) !== 0;
  let child = await context.openOptionalChild('data-file', 'data', {});
  // The name in the header counts where the options have none.
  if (!child && hasBit && header.dataFile !== undefined)
    child = await context.openOptionalChild('data-file', 'data', { filename: header.dataFile });
  if (!child) {
    if (hasBit) fail("'data-file' is required for this image");
    return;
  }
  if (!hasBit) fail("'data-file' can only be set for images with an external data file");
  image.dataFile = child;
  image.hasDataFile = true;
}

async function repairDirty(instance: Qcow2Node, context: OpenContext): Promise<void> {
  const { checkImage } = await import('./check.js');
  const result = await checkImage(instance, { leaks: true, errors: true });
  if (result.checkErrors > 0 || result.corruptions > 0) fail('Could not repair dirty image', 'EIO');
  for (const line of result.lines) context.host.report('plain', line);
}

/** Autoclear bits say what only those who know them keep true; stale bitmaps' clusters are leaked until a check frees them. */
async function clearUnknown(image: Qcow2Image, isCheck: boolean): Promise<void> {
  const { header } = image;
  const known = header.autoclear & AutoclearFeature.known;
  const isStale = header.hasStaleBitmaps && !isCheck;
  if (known === header.autoclear && header.autoclearHigh === 0 && !isStale) return;
  header.autoclear = known;
  header.autoclearHigh = 0;
  if (isStale) header.hasStaleBitmaps = false;
  await image.writeHeader();
  await image.barrier();
}

async function create(context: CreateContext): Promise<void> {
  const { createSettings, writeEmptyImage } = await import('./create.js');
  const settings = createSettings(context.options);
  if (settings.encryption !== undefined) {
    const { checkEncryptionOptions } = await import('./encryption.js');
    await checkEncryptionOptions(context.host, settings, context.options);
  }
  await writeEmptyImage(context, settings);
  const node = await context.openImage(context.filename, 'qcow2', {
    readOnly: false,
    noBacking: true,
    noFlush: true,
    noIo: false,
  });
  try {
    const instance = node.instance as Qcow2Node;
    const { image } = instance;
    if (settings.dataFile !== undefined) image.header.dataFile = settings.dataFile;
    if (settings.backingFile !== undefined) {
      image.header.backingFile = settings.backingFile;
      image.header.backingFormat = settings.backingFormat;
    }
    if (settings.encryption !== undefined) {
      const { createEncryption } = await import('./encryption.js');
      await createEncryption(image, settings, context.options);
    }
    if (settings.dataFile !== undefined || settings.backingFile !== undefined || settings.encryption !== undefined) {
      await image.writeHeader().catch((error) => {
        if (error.code !== 'ENOSPC') throw error;
        const code = (settings.backingFile?.length ?? 0) > maxBackingNameBytes ? 'EINVAL' : 'ENOSPC';
        throw new BlockError(
          code,
          `Could not assign backing file '${settings.backingFile}' with format '${settings.backingFormat ?? ''}': ${errorText(code)}`,
        );
      });
    }
    if (settings.sizeBytes > 0) {
      try {
        await node.resize(settings.sizeBytes, { preallocation: settings.preallocation });
      } catch (error) {
        const { code, message } = toBlockError(error);
        throw new BlockError(code, `Could not resize image: ${message}`, { cause: error });
      }
    }
  } finally {
    await node.close();
  }
}

export const qcow2Driver: BlockDriver = {
  name: 'qcow2',
  kind: 'format',
  openOptions,
  createOptions,
  amendOptions,
  supportsBacking: true,
  open,
  create,
  async measure(options, source, host): Promise<MeasureResult> {
    const { measureImage } = await import('./measure.js');
    return measureImage(options, source, host);
  },
};
