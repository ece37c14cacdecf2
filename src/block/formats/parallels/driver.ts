/**
 * Driver `parallels`: Parallels expandable disks, read and write. The bitmaps of a format extension are not loaded.
 *
 * An image is marked as in use while it is open for writing, and unmarked once everything is on disk: after a crash it is opened for
 * writing only by a check that repairs it. A cluster's table entry reaches the disk after its contents, so that all the check finds
 * is the mark and unused space at the end.
 */
import { BlockError, errorCode } from '../../errors.js';
import type {
  BlockDriver,
  BlockNode,
  BlockStatus,
  CheckFix,
  CheckResult,
  CreateContext,
  DriverNode,
  OpenContext,
} from '../../node.js';
import { Mutex } from '../locks.js';
import { TableCache } from '../table-cache.js';
import {
  checkExtension,
  headerBytes,
  inUseMark,
  inUseOffset,
  type ParallelsHeader,
  parseHeader,
  planImage,
  sectorBytes,
  tableOffset,
} from './layout.js';

const cacheBytes = 2 ** 20;
/** What lies around data in a new cluster is written in pieces of at most this. */
const copyBytes = 4 * 2 ** 20;
/** Entries that one step changes: their sectors all stay in the cache. */
const maxRunEntries = 16384;
/** Lines of one check; a broken table could give millions. */
const maxCheckLines = 10_000;

function fail(message: string, code = 'EINVAL'): never {
  throw new BlockError(code, message);
}

interface Run {
  /** Offset in the file, or -1. */
  readonly host: number;
  readonly length: number;
}

class ParallelsNode implements DriverNode {
  readonly length: number;
  readonly zeroInit = true;
  readonly limits = { requestAlignment: sectorBytes };
  readonly #context: OpenContext;
  readonly #file: BlockNode;
  readonly #header: ParallelsHeader;
  /** Sectors of the file's start: header and table. */
  readonly #table: TableCache;
  readonly #mutex = new Mutex();
  readonly #clusterBytes: number;
  /** Where the next cluster goes. */
  #end = 0;
  /** Was not closed, and nobody has repaired it since. */
  #isUnclean: boolean;
  #isMarked = false;

  constructor(context: OpenContext, file: BlockNode, header: ParallelsHeader) {
    this.#context = context;
    this.#file = file;
    this.#header = header;
    this.#clusterBytes = header.clusterSectors * sectorBytes;
    this.length = header.sectors * sectorBytes;
    this.#isUnclean = header.isInUse;
    this.#table = new TableCache(file, sectorBytes, cacheBytes);
  }

  // ---- the table

  /** The entries that the file holds, in order; those past its end are zero. */
  async #eachEntry(work: (index: number, entry: number) => void): Promise<void> {
    const held = Math.min(this.#header.entries, Math.max(0, Math.floor((this.#file.length - headerBytes) / 4)));
    const step = new Uint8Array(Math.min(2 ** 20, held * 4));
    const view = new DataView(step.buffer);
    for (let at = 0; at < held; at += step.length / 4) {
      const count = Math.min(step.length / 4, held - at);
      await this.#file.read(tableOffset(at), step.subarray(0, count * 4));
      for (let index = 0; index < count; index++) work(at + index, view.getUint32(index * 4, true));
    }
  }

  async findEnd(): Promise<void> {
    const { unitSectors, clusterSectors, dataSector, extensionOffset } = this.#header;
    let highest = 0;
    await this.#eachEntry((_index, entry) => {
      if (entry > highest) highest = entry;
    });
    let end = Math.max(
      dataSector * sectorBytes,
      highest === 0 ? 0 : (highest * unitSectors + clusterSectors) * sectorBytes,
    );
    if (extensionOffset > 0) end = Math.max(end, extensionOffset + this.#clusterBytes);
    const unit = unitSectors * sectorBytes;
    this.#end = Math.ceil(end / unit) * unit;
  }

  async #entry(index: number): Promise<number> {
    if (index >= this.#header.entries) return 0;
    const at = tableOffset(index);
    const place = at - (at % sectorBytes);
    const { view } = this.#table.peek(place) ?? (await this.#table.load(place));
    return view.getUint32(at % sectorBytes, true);
  }

  async #setEntry(index: number, value: number): Promise<void> {
    const at = tableOffset(index);
    await this.#setField(at, value);
  }

  async #setField(at: number, value: number): Promise<void> {
    const sector = await this.#table.load(at - (at % sectorBytes));
    sector.view.setUint32(at % sectorBytes, value, true);
    this.#table.markDirty(sector);
  }

  async #run(offset: number, most: number): Promise<Run> {
    const clusterBytes = this.#clusterBytes;
    const limit = Math.min(most, this.length - offset);
    const { unitSectors, clusterSectors } = this.#header;
    const first = Math.floor(offset / clusterBytes);
    const entry = await this.#entry(first);
    let length = clusterBytes - (offset % clusterBytes);
    for (let index = first + 1; length < limit; index++) {
      if (index >= this.#header.entries) {
        if (entry === 0) length = limit;
        break;
      }
      const next = await this.#entry(index);
      if (entry === 0 ? next !== 0 : (next - entry) * unitSectors !== (index - first) * clusterSectors) break;
      length += clusterBytes;
    }
    const host = entry === 0 ? -1 : entry * unitSectors * sectorBytes + (offset % clusterBytes);
    if (host > Number.MAX_SAFE_INTEGER - limit) throw new BlockError('EIO');
    return { host, length: Math.min(limit, length) };
  }

  // ---- requests

  async read(offset: number, buffer: Uint8Array): Promise<void> {
    for (let at = 0; at < buffer.length; ) {
      const run = await this.#run(offset + at, buffer.length - at);
      const part = buffer.subarray(at, at + run.length);
      if (run.host >= 0) await this.#file.read(run.host, part);
      else await this.#readBelow(offset + at, part);
      at += run.length;
    }
  }

  async #readBelow(offset: number, buffer: Uint8Array): Promise<void> {
    const { backing } = this.#context.node;
    if (backing) await backing.read(offset, buffer);
    else buffer.fill(0);
  }

  async write(offset: number, buffer: Uint8Array): Promise<void> {
    for (let at = 0; at < buffer.length; )
      at += await this.#writeSome(offset + at, at === 0 ? buffer : buffer.subarray(at));
  }

  async #writeSome(offset: number, buffer: Uint8Array): Promise<number> {
    const wait = this.#mutex.lock();
    if (wait) await wait;
    let isLocked = true;
    try {
      const run = await this.#run(offset, Math.min(buffer.length, maxRunEntries * this.#clusterBytes));
      const part = buffer.subarray(0, run.length);
      if (run.host >= 0) {
        this.#mutex.unlock();
        isLocked = false;
        await this.#file.write(run.host, part);
      } else await this.#allocate(offset, part);
      return run.length;
    } finally {
      if (isLocked) this.#mutex.unlock();
    }
  }

  /** Puts the clusters that `buffer` touches at the end. With the mutex held. */
  async #allocate(offset: number, buffer: Uint8Array): Promise<void> {
    const clusterBytes = this.#clusterBytes;
    const first = Math.floor(offset / clusterBytes);
    const count = Math.ceil((offset + buffer.length) / clusterBytes) - first;
    const { unitSectors, entries } = this.#header;
    const unit = unitSectors * sectorBytes;
    const end = this.#end + count * clusterBytes;
    if (first + count > entries || end / unit > 2 ** 32 || !Number.isSafeInteger(end)) throw new BlockError('EINVAL');
    // Read before anything changes: a failure here costs nothing.
    for (let at = tableOffset(first); at < tableOffset(first + count); at += sectorBytes)
      await this.#table.load(at - (at % sectorBytes));
    const start = this.#end;
    const place = start - first * clusterBytes;
    await this.#fillAround(place, first * clusterBytes, offset);
    await this.#file.write(place + offset, buffer);
    await this.#fillAround(place, offset + buffer.length, (first + count) * clusterBytes);
    this.#end = end;
    for (let index = 0; index < count; index++)
      await this.#setEntry(first + index, (start + index * clusterBytes) / unit);
    if (this.#table.isPressed) await this.#writeTable();
  }

  /** The part of a new cluster that isn't written: what is below it, or zeroes. */
  async #fillAround(place: number, from: number, to: number): Promise<void> {
    if (to <= from) return;
    if (this.#context.node.backing) {
      for (let at = from; at < to; at += copyBytes) {
        const piece = new Uint8Array(Math.min(copyBytes, to - at));
        // Past the disk's end there is nothing below.
        const usable = Math.max(0, Math.min(piece.length, this.length - at));
        if (usable > 0) await this.#readBelow(at, piece.subarray(0, usable));
        await this.#file.write(place + at, piece);
      }
      return;
    }
    // Past the end of the file it is zero by itself; before it, a failed write or a crash may have left something.
    const held = Math.min(to, this.#file.length - place);
    if (held > from) await this.#file.writeZeroes(place + from, held - from);
  }

  flush(): Promise<void> {
    return this.#mutex.run(() => this.#writeTable());
  }

  async #writeTable(): Promise<void> {
    if (!this.#table.hasDirty) return;
    // A cluster is there in full before the table names it.
    if (this.#isMarked && this.#file.length < this.#end) await this.#file.resize(this.#end);
    await this.#file.flush();
    await this.#table.writeDirty();
  }

  async blockStatus(offset: number, length: number): Promise<BlockStatus> {
    const run = await this.#run(offset, length);
    if (run.host < 0) return { length: run.length, data: false, zero: false, allocated: false };
    return { length: run.length, data: true, zero: false, allocated: true, offset: run.host, file: this.#file };
  }

  // ---- check

  async check(fix: CheckFix): Promise<CheckResult> {
    return this.#mutex.run(() => this.#check(fix));
  }

  async #check(fix: CheckFix): Promise<CheckResult> {
    const { unitSectors, entries } = this.#header;
    const clusterBytes = this.#clusterBytes;
    const lines: string[] = [];
    const result = { corruptions: 0, leaks: 0, corruptionsFixed: 0, leaksFixed: 0 };
    const verb = (isFixed: boolean): string => (isFixed ? 'Repairing' : 'ERROR');
    const report = (line: string): void => {
      if (lines.length < maxCheckLines) lines.push(line);
      else if (lines.length === maxCheckLines) lines.push('Further errors are counted, not shown');
    };
    await this.#writeTable();
    const size = this.#file.length;
    if (this.#isUnclean) {
      report(`${verb(fix.errors)} image was not closed correctly`);
      result.corruptions++;
      if (fix.errors) result.corruptionsFixed++;
    }
    let [allocated, fragmented, highest, previous] = [0, 0, 0, 0];
    const outside: number[] = [];
    await this.#eachEntry((index, entry) => {
      const offset = entry * unitSectors * sectorBytes;
      if (offset === 0) {
        previous = 0;
        return;
      }
      if (offset > size) {
        report(`${verb(fix.errors)} cluster ${index} is outside image`);
        result.corruptions++;
        if (fix.errors) {
          outside.push(index);
          previous = 0;
          return;
        }
      }
      allocated++;
      highest = Math.max(highest, offset);
      if (previous !== 0 && previous + clusterBytes !== offset) fragmented++;
      previous = offset;
    });
    for (const index of outside) {
      await this.#setEntry(index, 0);
      result.corruptionsFixed++;
      if (this.#table.isPressed) await this.#table.writeDirty();
    }
    if (outside.length > 0) {
      await this.#table.writeDirty();
      await this.findEnd();
    }
    if (fix.errors) this.#isUnclean = false;
    // QEMU 7.2 takes the table of an image without clusters for leaked where it is longer than a cluster.
    const end = Math.max(highest + clusterBytes, this.#header.dataSector * sectorBytes);
    if (size > end) {
      report(
        `${verb(fix.leaks)} space leaked at the end of the image ${Math.ceil(size / sectorBytes) * sectorBytes - end}`,
      );
      const count = Math.ceil((size - end) / clusterBytes);
      result.leaks += count;
      if (fix.leaks) {
        await this.#file.resize(end, { exact: true });
        result.leaksFixed += count;
      }
    }
    return {
      ...result,
      checkErrors: 0,
      imageEndOffset: end,
      totalClusters: entries,
      allocatedClusters: allocated,
      fragmentedClusters: fragmented,
      compressedClusters: 0,
      lines,
    };
  }

  // ---- the mark

  async markInUse(): Promise<void> {
    await this.#setField(inUseOffset, inUseMark);
    await this.#table.writeDirty();
    await this.#file.flush();
    this.#isMarked = true;
  }

  async #unmark(): Promise<void> {
    if (!this.#isMarked) return;
    await this.#mutex.run(async () => {
      await this.#writeTable();
      if (this.#file.length > this.#end && this.#header.extensionOffset === 0)
        await this.#file.resize(this.#end, { exact: true });
      await this.#file.flush();
      // An image that nobody repaired stays marked.
      if (!this.#isUnclean) {
        await this.#setField(inUseOffset, 0);
        await this.#table.writeDirty();
      }
      this.#isMarked = false;
    });
  }

  async reopen(readOnly: boolean): Promise<void> {
    if (readOnly) await this.#unmark();
    else {
      if (this.#isUnclean) refuseUnclean();
      await this.markInUse();
    }
  }

  async close(): Promise<void> {
    await this.#unmark();
  }
}

function refuseUnclean(): never {
  return fail('parallels: Image was not closed correctly; cannot be opened read/write', 'EACCES');
}

async function open(context: OpenContext): Promise<ParallelsNode> {
  const file = await context.openFile();
  const mode = context.options.string('prealloc-mode');
  if (mode !== undefined && mode !== 'falloc' && mode !== 'truncate') fail(`invalid parameter value: ${mode}`);
  const bytes = new Uint8Array(headerBytes);
  await file.read(0, bytes);
  const header = parseHeader(bytes);
  const { flags } = context;
  const node = new ParallelsNode(context, file, header);
  try {
    await node.findEnd();
  } catch (error) {
    throw new BlockError(errorCode(error), undefined, { cause: error });
  }
  if (header.isInUse && !flags.readOnly && !flags.check) refuseUnclean();
  if (header.extensionOffset > 0) {
    if (!flags.readOnly) context.host.report('warning', 'Format Extension ignored in RW mode');
    else {
      const extension = new Uint8Array(8);
      if (Number.isSafeInteger(header.extensionOffset)) await file.read(header.extensionOffset, extension);
      checkExtension(extension);
    }
  }
  if (!flags.readOnly) await node.markInUse();
  return node;
}

async function create(context: CreateContext): Promise<void> {
  const { options } = context;
  // A cluster is whole sectors.
  const clusterBytes = Math.ceil((options.number('cluster_size') ?? 2 ** 20) / sectorBytes) * sectorBytes;
  const image = planImage(options.number('size') ?? 0, clusterBytes);
  await context.createFile(context.filename, 0);
  const file = await context.openProtocol(context.filename);
  try {
    await file.resize(image.dataOffset);
    await file.write(0, image.header);
  } finally {
    await file.close();
  }
}

export const parallelsDriver: BlockDriver = {
  name: 'parallels',
  kind: 'format',
  openOptions: [
    { name: 'prealloc-size', type: 'size', help: 'Accepted for compatibility: space is taken as it is needed' },
    { name: 'prealloc-mode', type: 'string', help: 'Accepted for compatibility: falloc or truncate' },
  ],
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    { name: 'cluster_size', type: 'size', default: 2 ** 20, help: 'Parallels image cluster size' },
  ],
  supportsBacking: true,
  open,
  create,
};
