/**
 * Driver `vmdk`: VMware's disks. The header or the text descriptor says which files (extents) make the disk; see layout.ts and
 * extents.ts. Read and write: monolithicSparse, monolithicFlat, twoGbMaxExtentSparse, twoGbMaxExtentFlat, streamOptimized, vmfs and
 * vmfsSparse; read only: seSparse. Not supported: writing to stream-optimized images that end in a footer (VMware's; QEMU's and ours
 * don't).
 *
 * Extent names are taken as files beside the descriptor (or absolute): a name can't lead to another protocol.
 */
import { BlockError } from '../../errors.js';
import type {
  BlockDriver,
  BlockNode,
  BlockStatus,
  CheckFix,
  CheckResult,
  DriverNode,
  NodeInfo,
  OpenContext,
  SpecificInfo,
} from '../../node.js';
import { hasProtocol } from '../../registry.js';
import { type Extent, FlatExtent, SparseExtent } from './extents.js';
import {
  cowdMagic,
  decodeName,
  descriptorOffset,
  descriptorSectors,
  descriptorText,
  type ExtentLine,
  findContentId,
  HeaderFlag,
  headerOfFooter,
  hostedMagic,
  isDirectoryAtEnd,
  maxDescriptorBytes,
  parseCowdHeader,
  parseExtentLines,
  parseHostedHeader,
  peekHeader,
  quotedValue,
  sectorBytes,
} from './layout.js';
import { SeSparseExtent } from './se-sparse.js';

const supportedTypes = [
  'monolithicFlat',
  'vmfs',
  'vmfsSparse',
  'seSparse',
  'twoGbMaxExtentSparse',
  'twoGbMaxExtentFlat',
];

function fail(message: string, code = 'EINVAL'): never {
  throw new BlockError(code, message);
}

/** Grains that one answer about a compressed extent's status covers. */
const maxStatusGrains = 1024;
/** Grains decompressed at once: each has two buffers. */
const maxParallelGrains = 32;

/** Waits for all, also when one fails. */
async function settle(pending: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(pending)).find((outcome) => outcome.status === 'rejected');
  if (failed) throw failed.reason;
}

interface Descriptor {
  readonly createType: string;
  /** Where in `file` its text begins, and the text. */
  readonly offset: number;
  readonly text: string;
}

class VmdkNode implements DriverNode {
  readonly #context: OpenContext;
  readonly #file: BlockNode;
  readonly #extents: readonly Extent[];
  readonly #descriptor: Descriptor;
  readonly length: number;
  readonly backingFile: string | undefined;
  readonly backingFormat: string | undefined;
  /** Absent where the extents are of several kinds. */
  readonly getInfo?: () => Promise<NodeInfo>;
  readonly #parentId: number;
  #contentId: number;
  #isParentChecked = false;
  /** A new content id is written once per opening, when something else is. */
  #isMarked: Promise<void> | undefined;

  constructor(context: OpenContext, file: BlockNode, extents: readonly Extent[], descriptor: Descriptor) {
    this.#context = context;
    this.#file = file;
    this.#extents = extents;
    this.#descriptor = descriptor;
    const last = extents.at(-1);
    this.length = last ? last.start + last.length : 0;
    this.#contentId = findContentId(descriptor.text, false).value;
    this.#parentId = findContentId(descriptor.text, true).value;
    const parent = quotedValue(descriptor.text, 'parentFileNameHint');
    if (parent === undefined && descriptor.text.includes('parentFileNameHint')) throw new BlockError('EINVAL');
    if (parent !== undefined && parent.length > 1023) throw new BlockError('EINVAL');
    this.backingFile = parent === undefined ? undefined : decodeName(parent);
    this.backingFormat = parent === undefined ? undefined : 'vmdk';
    const [first] = extents;
    const isAlike = (extent: Extent): boolean =>
      extent.isCompressed === first?.isCompressed && extent.grainBytes === first.grainBytes;
    if (first && extents.every(isAlike)) {
      const details: NodeInfo = {
        ...(first.grainBytes === undefined ? {} : { clusterSizeBytes: first.grainBytes }),
        needsCompressedWrites: first.isCompressed,
      };
      this.getInfo = async () => details;
    }
  }

  /** What an overlay remembers of this image. */
  get contentId(): number {
    return this.#contentId;
  }

  /** seSparse extents can't be written. */
  get readOnly(): boolean {
    return this.#extents.some((extent) => extent instanceof SeSparseExtent);
  }

  get limits() {
    const grains = this.#extents.map((extent) => extent.grainBytes ?? 0);
    return { zeroAlignment: Math.max(0, ...grains) };
  }

  get zeroInit(): boolean {
    return this.#extents.every((extent) => !extent.isFlat || extent.file.instance.zeroInit === true);
  }

  // ---- requests

  #extentIndex(offset: number): number {
    let [low, high] = [0, this.#extents.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#extents[middle]!.start <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Calls `work` for each extent that a range touches, with offsets relative to the extent. */
  async #each(
    offset: number,
    length: number,
    work: (extent: Extent, within: number, at: number, size: number) => Promise<void>,
  ): Promise<void> {
    for (let at = 0, index = this.#extentIndex(offset); at < length; index++) {
      const extent = this.#extents[index];
      if (!extent) throw new BlockError('EIO');
      const within = offset + at - extent.start;
      const size = Math.min(length - at, extent.length - within);
      await work(extent, within, at, size);
      at += size;
    }
  }

  async read(offset: number, buffer: Uint8Array): Promise<void> {
    await this.#each(offset, buffer.length, async (extent, within, at, size) => {
      /** Grains that are being decompressed, side by side. */
      let pending: Promise<void>[] = [];
      for (let done = 0; done < size; ) {
        const run = await extent.map(within + done, size - done);
        const part = buffer.subarray(at + done, at + done + run.length);
        if (run.state === 'data') {
          const work = extent.readRun(run, within + done, part);
          if (extent.isCompressed) pending.push(work);
          else await work;
        } else if (run.state === 'zero') part.fill(0);
        else await this.#readBelow(offset + at + done, part);
        done += run.length;
        if (pending.length >= maxParallelGrains || done >= size) {
          await settle(pending);
          pending = [];
        }
      }
    });
  }

  async #readBelow(offset: number, buffer: Uint8Array): Promise<void> {
    const { backing } = this.#context.node;
    if (!backing) {
      buffer.fill(0);
      return;
    }
    await this.#checkParent(backing);
    await backing.read(offset, buffer);
  }

  /** A backing file that was written to since the overlay was made no longer fits. */
  async #checkParent(backing: BlockNode): Promise<void> {
    if (this.#isParentChecked) return;
    const parent = backing.instance;
    if (!(parent instanceof VmdkNode) || parent.contentId !== this.#parentId) throw new BlockError('EINVAL');
    this.#isParentChecked = true;
  }

  async write(offset: number, buffer: Uint8Array): Promise<void> {
    await this.#each(offset, buffer.length, (extent, within, at, size) =>
      extent.write(within, buffer.subarray(at, at + size), (place, piece) => this.#readBelow(place, piece)),
    );
    await this.#markChanged();
  }

  async writeCompressed(offset: number, buffer: Uint8Array): Promise<void> {
    const [first] = this.#extents;
    if (buffer.length === 0 && this.#extents.length === 1 && first!.isCompressed) {
      // The end: the file becomes whole sectors.
      const { file } = first!;
      await file.resize(Math.ceil(file.length / sectorBytes) * sectorBytes);
    } else if (buffer.length > 0) await this.write(offset, buffer);
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    await this.#each(offset, length, async (extent, within, _at, size) => {
      if (!extent.canZero(within, size)) throw new BlockError('ENOTSUP');
    });
    await this.#each(offset, length, (extent, within, _at, size) => extent.writeZeroes(within, size));
    await this.#markChanged();
  }

  #markChanged(): Promise<void> {
    this.#isMarked ??= this.#writeContentId().catch((error) => {
      this.#isMarked = undefined;
      throw error;
    });
    return this.#isMarked;
  }

  /** The new id has as many digits as the old one: nothing else in the descriptor moves. */
  async #writeContentId(): Promise<void> {
    const found = findContentId(this.#descriptor.text, false);
    const random = (await this.#context.host.crypto()).randomBytes(4);
    const digits = Math.min(8, found.digits);
    const value = new DataView(random.buffer, random.byteOffset).getUint32(0) % 16 ** digits;
    const text = value.toString(16).padStart(digits, '0');
    // All ones is "no parent" and can't be an id.
    if (text === 'ffffffff') return;
    await this.#file.write(this.#descriptor.offset + found.at + found.digits - digits, new TextEncoder().encode(text));
    this.#contentId = value;
  }

  async flush(): Promise<void> {
    for (const extent of this.#extents) if (!extent.file.readOnly) await extent.flush();
  }

  async blockStatus(offset: number, length: number): Promise<BlockStatus> {
    const extent = this.#extents[this.#extentIndex(offset)];
    if (!extent) throw new BlockError('EIO');
    const within = offset - extent.start;
    const run = await extent.map(within, length);
    if (run.state !== 'data')
      return { length: run.length, data: false, zero: run.state === 'zero', allocated: run.state === 'zero' };
    const status = { length: run.length, data: true, zero: false, allocated: true };
    if (!extent.isCompressed)
      return { ...status, offset: run.host, file: extent.file, ...(extent.isFlat ? { recurse: true } : {}) };
    // Compressed grains have no place to tell: like follows like, as far as one look at the tables is cheap.
    let size = run.length;
    for (let grains = 1; grains < maxStatusGrains && size < length && within + size < extent.length; grains++) {
      const next = await extent.map(within + size, length - size);
      if (next.state !== 'data') break;
      size += next.length;
    }
    return { ...status, length: size, compressed: true };
  }

  // ---- the rest

  async specificInfo(): Promise<SpecificInfo> {
    return {
      type: 'vmdk',
      data: {
        cid: this.#contentId,
        'parent-cid': this.#parentId,
        'create-type': this.#descriptor.createType,
        extents: this.#extents.map((extent) => ({
          compressed: extent.isCompressed ? true : undefined,
          'virtual-size': extent.length,
          filename: extent.file.filename,
          'cluster-size': extent.grainBytes,
          format: extent.type,
        })),
      },
    };
  }

  /** Finds grains that lie outside their file; there is nothing to repair. */
  async check(fix: CheckFix): Promise<CheckResult> {
    if (fix.leaks || fix.errors) throw new BlockError('ENOTSUP');
    for (const extent of this.#extents) {
      if (extent.isFlat) continue;
      for (let at = 0; at < extent.length; ) {
        const run = await extent.map(at, extent.length - at);
        // A run lies in one piece: its last grain is the first to lie past the end.
        const grain = extent.grainBytes!;
        const grains = Math.ceil(run.length / grain);
        const beyond =
          run.state === 'data' && run.host + (grains - 1) * grain >= extent.file.length
            ? Math.max(0, Math.ceil((extent.file.length - run.host) / grain))
            : undefined;
        if (beyond !== undefined) {
          const sector = (extent.start + at) / sectorBytes + (beyond * grain) / sectorBytes;
          this.#context.host.report('plain', `ERROR: cluster offset for sector ${sector} points after EOF`);
          throw new BlockError('EINVAL');
        }
        at += run.length;
      }
    }
    return { corruptions: 0, leaks: 0, checkErrors: 0, corruptionsFixed: 0, leaksFixed: 0, lines: [] };
  }

  async reopen(): Promise<void> {}

  /** What a failed flush left in memory gets one more chance. */
  async close(): Promise<void> {
    await this.flush();
  }
}

// ---- opening

async function readStart(file: BlockNode, offset: number, most: number): Promise<Uint8Array> {
  const held = Math.ceil(file.length / sectorBytes) * sectorBytes;
  const bytes = new Uint8Array(Math.max(0, Math.min(most, held - offset)));
  if (bytes.length > 0) await file.read(offset, bytes);
  return bytes;
}

function magicOf(bytes: Uint8Array): number {
  return bytes.length < 4 ? 0 : new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}

/** A sparse extent out of its own header. */
async function openSparse(context: OpenContext, file: BlockNode, type: string, start: number): Promise<SparseExtent> {
  const bytes = new Uint8Array(sectorBytes);
  bytes.set((await readStart(file, 0, sectorBytes)).subarray(0, sectorBytes));
  const magic = magicOf(bytes);
  const common = { host: context.host, file, type, start };
  if (magic === cowdMagic) {
    return SparseExtent.open({ ...common, header: parseCowdHeader(bytes), hasMarkers: false, hasZeroGrain: false });
  }
  if (magic !== hostedMagic) fail('Image not in VMDK format');
  const isAtEnd = isDirectoryAtEnd(bytes);
  let source: Uint8Array = bytes;
  if (isAtEnd) {
    const footer = new Uint8Array(3 * sectorBytes);
    const place = Math.ceil(file.length / sectorBytes) * sectorBytes - footer.length;
    if (place < 0) throw new BlockError('EINVAL', 'Failed to read footer');
    await file.read(place, footer);
    source = headerOfFooter(footer);
  }
  const header = parseHostedHeader(source, Math.ceil(file.length / sectorBytes), isAtEnd);
  if (header.version === 3 && !context.flags.readOnly && !context.flags.noIo && !header.isCompressed)
    fail('VMDK version 3 must be read only');
  return SparseExtent.open({
    ...common,
    header,
    hasMarkers: (header.flags & HeaderFlag.markers) !== 0,
    hasZeroGrain: (header.flags & HeaderFlag.zeroGrain) !== 0,
  });
}

async function openExtent(context: OpenContext, line: ExtentLine, index: number, start: number): Promise<Extent> {
  const isFlat = line.type === 'FLAT' || line.type === 'VMFS';
  let filename = line.name;
  if (!filename.startsWith('/')) {
    const directory = context.resolveRelative('.').slice(0, -1);
    filename = directory + filename;
    // A name beside the descriptor is a file, whatever it looks like.
    if (hasProtocol(filename) && !hasProtocol(directory)) filename = `./${filename}`;
  }
  const file = await context.openChild(`extents.${index}`, isFlat ? 'data' : 'storage', { filename });
  if (isFlat) return new FlatExtent(file, line.type, start, line.sectors, line.flatSector);
  if (line.type === 'SESPARSE') {
    if (!context.flags.readOnly && !context.flags.autoReadOnly)
      fail('No write support for seSparse images available', 'EACCES');
    return SeSparseExtent.open(file, line.type, start);
  }
  return openSparse(context, file, line.type, start);
}

async function openDescribed(context: OpenContext, file: BlockNode, text: string, offset: number): Promise<VmdkNode> {
  const createType = quotedValue(text, 'createType') ?? fail('invalid VMDK image descriptor');
  if (!supportedTypes.includes(createType)) fail(`Unsupported image type '${createType}'`, 'ENOTSUP');
  const extents: Extent[] = [];
  let start = 0;
  for (const [index, line] of parseExtentLines(text).entries()) {
    const extent = await openExtent(context, line, index, start);
    extents.push(extent);
    start += extent.length;
    if (start > Number.MAX_SAFE_INTEGER) fail('Image is too big', 'EFBIG');
  }
  return new VmdkNode(context, file, extents, { createType, offset, text });
}

async function open(context: OpenContext): Promise<VmdkNode> {
  const file = await context.openFile();
  const first = await readStart(file, 0, sectorBytes);
  const magic = magicOf(first);
  if (magic !== hostedMagic && magic !== cowdMagic)
    return openDescribed(context, file, descriptorText(await readStart(file, 0, maxDescriptorBytes)), 0);
  if (magic === hostedMagic && first.length >= 80) {
    const header = peekHeader(first);
    if (header.capacitySectors === 0 && header.descriptorSector > 0) {
      const offset = header.descriptorSector * sectorBytes;
      if (!Number.isSafeInteger(offset)) fail('invalid VMDK image descriptor');
      return openDescribed(context, file, descriptorText(await readStart(file, offset, maxDescriptorBytes)), offset);
    }
  }
  const extent = await openSparse(context, file, '', 0);
  const text = descriptorText(await readStart(file, descriptorOffset, descriptorSectors * sectorBytes));
  const createType = extent.isCompressed ? 'streamOptimized' : 'monolithicSparse';
  return new VmdkNode(context, file, [extent], { createType, offset: descriptorOffset, text });
}

export const vmdkDriver: BlockDriver = {
  name: 'vmdk',
  kind: 'format',
  openOptions: [],
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    { name: 'adapter_type', type: 'string', help: 'Disk adapter: ide (default), lsilogic, buslogic or legacyESX' },
    { name: 'backing_file', type: 'string', help: 'File name of a base image' },
    { name: 'backing_fmt', type: 'string', help: "Format of the base image: 'vmdk'" },
    { name: 'compat6', type: 'boolean', default: false, help: 'Image of hardware version 6' },
    { name: 'hwversion', type: 'string', default: 'undefined', help: 'Hardware version in the descriptor' },
    { name: 'toolsversion', type: 'string', help: 'Version of the guest tools in the descriptor' },
    {
      name: 'subformat',
      type: 'string',
      help: 'monolithicSparse (default), monolithicFlat, twoGbMaxExtentSparse, twoGbMaxExtentFlat or streamOptimized',
    },
    { name: 'zeroed_grain', type: 'boolean', help: 'Store zeroes as marks in the tables' },
  ],
  supportsBacking: true,
  open,
  async create(context) {
    const { createImage } = await import('./create.js');
    await createImage(context, async (backing) => {
      const { instance } = backing.skipFilters();
      if (!(instance instanceof VmdkNode)) fail('Invalid backing file');
      return instance.contentId;
    });
  },
};
