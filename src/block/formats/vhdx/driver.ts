/**
 * Format `vhdx`, dynamic and fixed: its options, and what happens at open, close and creation. On disk: layout.ts; the log: log.ts; an open
 * image: image.ts.
 *
 * Left out, refused by name as QEMU does: differencing disks, logical sectors of 4096 bytes. Block status is not given, as QEMU gives
 * none: all counts as data.
 */
import { BlockError } from '../../errors.js';
import type { BlockHost } from '../../host.js';
import type {
  BlockDriver,
  BlockNode,
  CheckFix,
  CheckResult,
  CreateContext,
  DriverNode,
  NodeInfo,
  OpenContext,
} from '../../node.js';
import { RequestFlag } from '../../node.js';
import type { OptionRow } from '../../options.js';
import { checkTable } from './check.js';
import { newGuid, VhdxImage, type VhdxLayout, writeNextHeader } from './image.js';
import {
  ascii,
  BlockState,
  batEntries,
  checkLogPlace,
  chooseHeader,
  chunkRatio,
  fail,
  Guid,
  headerBytes,
  headerOffsets,
  maxBlockBytes,
  maxDiskBytes,
  mebibyte,
  metadataTableBytes,
  minBlockBytes,
  overlaps,
  parseHeader,
  parseMetadata,
  parseRegionTable,
  type Region,
  regionTableBytes,
  regionTableOffsets,
  serializeHeader,
  serializeMetadata,
  serializeRegionTable,
  set64,
  setAscii,
  type VhdxHeader,
  type VhdxMetadata,
  viewOf,
} from './layout.js';
import { hasPendingLog, replayLog } from './log.js';

const creator = 'vring';
const maxCheckedTableBytes = 8 * mebibyte;
/** BAT bytes handled at once by check and creation. */
const pieceBytes = mebibyte;
/** Room between the metadata and the first block, as QEMU leaves it. */
const payloadGap = 4 * mebibyte;

const createOptions: readonly OptionRow[] = [
  { name: 'size', type: 'size', help: 'Virtual disk size; max of 64TB.' },
  { name: 'log_size', type: 'size', default: mebibyte, help: 'Log size; min 1MB.' },
  {
    name: 'block_size',
    type: 'size',
    default: 0,
    help: 'Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size.',
  },
  {
    name: 'subformat',
    type: 'string',
    help: "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'.",
  },
  {
    name: 'block_state_zero',
    type: 'boolean',
    help: "Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do not set to 'off' when using 'qemu-img convert' with subformat=dynamic.",
  },
];

class VhdxNode implements DriverNode {
  readonly image: VhdxImage;
  readonly zeroFlags = RequestFlag.mayUnmap;
  readonly #host: BlockHost;
  readonly #wasReplayed: boolean;

  constructor(host: BlockHost, image: VhdxImage, wasReplayed: boolean) {
    this.#host = host;
    this.image = image;
    this.#wasReplayed = wasReplayed;
  }

  get length(): number {
    return this.image.layout.metadata.diskBytes;
  }

  get limits() {
    return { zeroAlignment: this.image.clusterBytes, requestAlignment: 512 };
  }

  get zeroInit(): boolean {
    return this.image.zeroFills;
  }

  read(offset: number, buffer: Uint8Array): Promise<void> {
    return this.image.requests.read(offset, buffer);
  }

  async write(offset: number, buffer: Uint8Array): Promise<void> {
    await this.image.begin();
    await this.image.event('write_aio');
    await this.image.requests.write(offset, buffer);
  }

  async writeZeroes(offset: number, length: number, flags: number): Promise<void> {
    await this.image.begin();
    await this.image.requests.writeZeroes(offset, length, flags, this.length);
  }

  flush(): Promise<void> {
    return this.image.flush();
  }

  async getInfo(): Promise<NodeInfo> {
    return { clusterSizeBytes: this.image.clusterBytes };
  }

  /** Every entry of the table must lead to a place for a block; a log replayed at open counts as repaired. */
  async check(_fix: CheckFix): Promise<CheckResult> {
    await this.image.flush();
    return {
      corruptions: await checkTable(this.#host, this.image, false),
      leaks: 0,
      checkErrors: 0,
      corruptionsFixed: this.#wasReplayed ? 1 : 0,
      leaksFixed: 0,
      lines: [],
    };
  }

  async reopen(readOnly: boolean): Promise<void> {
    if (!readOnly) requireLog(this.image.layout.header);
  }

  async close(): Promise<void> {}
}

/** Without a log no change of the table can be made safely. */
function requireLog(header: VhdxHeader): void {
  if (header.logBytes < mebibyte) fail('EINVAL');
}

async function readPart(file: BlockNode, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  await file.read(offset, bytes);
  return bytes;
}

async function readLayout(file: BlockNode, header: VhdxHeader, slot: 0 | 1): Promise<VhdxLayout> {
  let regions: ReturnType<typeof parseRegionTable>;
  try {
    regions = parseRegionTable(await readPart(file, regionTableOffsets[0], regionTableBytes));
  } catch {
    // The copy is there for when the first is damaged.
    regions = parseRegionTable(await readPart(file, regionTableOffsets[1], regionTableBytes));
  }
  const { bat, metadata: metadataRegion } = regions;
  const log: Region = { offset: header.logOffset, length: header.logBytes };
  if (overlaps(log, bat) || overlaps(log, metadataRegion)) fail();
  if (metadataRegion.length < metadataTableBytes) fail();
  const metadata = await parseMetadata(metadataRegion, (offset, length) =>
    readPart(file, metadataRegion.offset + offset, length),
  );
  if (batEntries(metadata) * 8 > bat.length) fail();
  return { header, slot, bat, metadataRegion, metadata };
}

async function open(context: OpenContext): Promise<DriverNode> {
  const file = await context.openFile();
  const isReadOnly = context.flags.readOnly;
  const identifier = await readPart(file, 0, 8);
  if (ascii(identifier, 0, 8) !== 'vhdxfile') fail();
  const first = parseHeader(await readPart(file, headerOffsets[0], headerBytes));
  const second = parseHeader(await readPart(file, headerOffsets[1], headerBytes));
  const state: { header: VhdxHeader; slot: 0 | 1 } = chooseHeader(first, second);
  checkLogPlace(state.header);
  let wasReplayed = false;
  if (state.header.logGuid !== Guid.none) {
    const isPending = await hasPendingLog(file, state.header);
    if (isPending && isReadOnly) {
      const name = context.filename;
      throw new BlockError(
        'EPERM',
        `VHDX image file '${name}' opened read-only, but contains a log that needs to be replayed\nTo replay the log, run:\nqemu-img check -r all '${name}'`,
      );
    }
    if (isPending) {
      await replayLog(file, state.header);
      wasReplayed = true;
    }
    if (!isReadOnly) {
      await writeNextHeader(file, state, { logGuid: Guid.none });
      await file.flush();
    }
  }
  if (!isReadOnly) requireLog(state.header);
  const layout = await readLayout(file, state.header, state.slot);
  const image = new VhdxImage(context.host, context.node, file, layout);
  // Larger tables are not gone over at each open: their entries are looked at as they are used, here as there.
  const isSmall = batEntries(layout.metadata) * 8 <= maxCheckedTableBytes;
  if (isSmall && !context.flags.check && (await checkTable(context.host, image, true)) > 0) fail();
  return new VhdxNode(context.host, image, wasReplayed);
}

function blockBytesFor(diskBytes: number, given: number): number {
  let block = given;
  if (block === 0) {
    if (diskBytes > 32 * 2 ** 40) block = 64 * mebibyte;
    else if (diskBytes > 100 * 2 ** 30) block = 32 * mebibyte;
    else if (diskBytes > 2 ** 30) block = 16 * mebibyte;
    else block = 8 * mebibyte;
  }
  block = Math.min(maxBlockBytes, Math.ceil(block / minBlockBytes) * minBlockBytes);
  if (!Number.isInteger(Math.log2(block))) fail('EINVAL', 'Block size must be a power of two');
  return block;
}

async function create(context: CreateContext): Promise<void> {
  const { options } = context;
  const diskBytes = options.number('size') ?? 0;
  const subformat = options.string('subformat') ?? 'dynamic';
  if (subformat !== 'dynamic' && subformat !== 'fixed')
    fail('EINVAL', `Parameter 'subformat' does not accept value '${subformat}'`);
  const isFixed = subformat === 'fixed';
  if (diskBytes > maxDiskBytes) fail('EINVAL', 'Image size too large; max of 64TB');
  const logGiven = options.number('log_size') ?? mebibyte;
  if (logGiven >= 2 ** 32) fail('EINVAL', 'Log size must be smaller than 4 GB');
  const logBytes = Math.ceil(logGiven / mebibyte) * mebibyte;
  if (logBytes === 0) fail('EINVAL', 'Log size must be a multiple of 1 MB');
  if (logBytes >= 2 ** 32) fail('EINVAL', 'Log size must be smaller than 4 GB');
  const blockBytes = blockBytesFor(diskBytes, options.number('block_size') ?? 0);
  const metadata: VhdxMetadata = { blockBytes, leavesBlocksAllocated: isFixed, diskBytes, sectorBytes: 512 };
  const entries = batEntries(metadata);
  // QEMU takes the blocks of an empty disk less one for 2^32 - 1 and opens no image whose table has no room for their bitmaps.
  const room = diskBytes === 0 ? Math.floor((2 ** 32 - 1) / chunkRatio(metadata)) : entries;
  const bat: Region = {
    offset: mebibyte + logBytes,
    length: Math.max(1, Math.ceil((room * 8) / mebibyte)) * mebibyte,
  };
  const metadataRegion: Region = { offset: bat.offset + bat.length, length: mebibyte };
  const payload = metadataRegion.offset + metadataRegion.length + payloadGap;
  const random = (await context.host.crypto()).randomBytes;
  const header: VhdxHeader = {
    sequence: 1n,
    fileWriteGuid: newGuid(random),
    dataWriteGuid: newGuid(random),
    logGuid: Guid.none,
    logBytes,
    logOffset: mebibyte,
  };

  await context.createFile(context.filename, 0);
  const file = await context.openProtocol(context.filename);
  try {
    await file.resize(payload + (isFixed ? diskBytes : 0));
    if (!(file.instance.zeroInit ?? false)) await file.writeZeroes(mebibyte, payload - mebibyte);
    const state = isFixed
      ? BlockState.fullyPresent
      : (options.boolean('block_state_zero') ?? true)
        ? BlockState.zero
        : 0;
    if (state !== 0) await writeTable(file, metadata, bat, entries, isFixed ? payload : undefined);
    await file.write(metadataRegion.offset, serializeMetadata(metadata, newGuid(random)));
    const table = serializeRegionTable(bat, metadataRegion);
    for (const offset of regionTableOffsets) await file.write(offset, table);
    await file.write(headerOffsets[0], serializeHeader(header));
    await file.write(headerOffsets[1], serializeHeader({ ...header, sequence: 2n }));
    // The identifier last: it makes the file a VHDX file.
    const identifier = new Uint8Array(8 + 512);
    setAscii(identifier, 0, 'vhdxfile');
    const view = viewOf(identifier);
    for (let index = 0; index < creator.length; index++) view.setUint16(8 + index * 2, creator.charCodeAt(index), true);
    await file.write(0, identifier);
  } finally {
    await file.close();
  }
}

/** The table of a new image: all zero blocks, or blocks one behind the other from `payload`. */
async function writeTable(
  file: BlockNode,
  metadata: VhdxMetadata,
  bat: Region,
  entries: number,
  payload: number | undefined,
): Promise<void> {
  const ratio = chunkRatio(metadata);
  for (let at = 0; at < entries * 8; at += pieceBytes) {
    const piece = new Uint8Array(Math.min(pieceBytes, entries * 8 - at));
    const view = viewOf(piece);
    for (let index = 0; index < piece.length; index += 8) {
      const entry = (at + index) / 8;
      if (entry % (ratio + 1) === ratio) continue;
      const block = entry - Math.floor(entry / (ratio + 1));
      if (payload === undefined) view.setUint32(index, BlockState.zero, true);
      else {
        set64(view, index, payload + block * metadata.blockBytes);
        view.setUint32(index, view.getUint32(index, true) | BlockState.fullyPresent, true);
      }
    }
    await file.write(bat.offset + at, piece);
  }
}

export const vhdxDriver: BlockDriver = {
  name: 'vhdx',
  kind: 'format',
  openOptions: [],
  createOptions,
  open,
  create,
};
