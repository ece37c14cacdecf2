/**
 * Driver `vdi`: VirtualBox disk images, dynamic and static, read and write. No snapshots or differencing images (as QEMU).
 *
 * A new block is written whole before the map names it, and the header's count of blocks reaches the disk together with the map or before
 * it: the count is where the next block goes, and a block must never be given out twice.
 */
import { BlockError } from '../../errors.js';
import type {
  BlockDriver,
  BlockNode,
  BlockStatus,
  CheckFix,
  CheckResult,
  CreateContext,
  DriverNode,
  NodeInfo,
} from '../../node.js';
import { Mutex } from '../locks.js';
import { TableCache } from '../table-cache.js';
import {
  blockBytes,
  firstUnallocated,
  getBlocksAllocated,
  headerBytes,
  mapBytes,
  maxDiskBytes,
  parseHeader,
  refuseSize,
  sectorBytes,
  serializeHeader,
  setBlocksAllocated,
  unallocated,
  type VdiHeader,
} from './layout.js';

const entriesPerSector = sectorBytes / 4;
const cacheBytes = 2 ** 20;
/** Header and map up to here go to the file in one write, so that they agree even after a power cut. */
const atomicBytes = 2 ** 20;
/** Lines of one check; a broken map could give millions. */
const maxCheckLines = 10_000;

interface Run {
  readonly isAllocated: boolean;
  readonly length: number;
  readonly host: number;
}

class VdiNode implements DriverNode {
  readonly length: number;
  readonly #file: BlockNode;
  readonly #header: VdiHeader;
  readonly #map: TableCache;
  readonly #mutex = new Mutex();
  /** End of the last map sector that changed. */
  #dirtyEnd = 0;

  constructor(file: BlockNode, header: VdiHeader) {
    this.#file = file;
    this.#header = header;
    this.length = header.diskBytes;
    this.#map = new TableCache(file, sectorBytes, cacheBytes);
  }

  get zeroInit(): boolean {
    return !this.#header.isStatic || this.#file.instance.zeroInit === true;
  }

  #sectorOffset(block: number): number {
    return this.#header.mapOffset + Math.floor(block / entriesPerSector) * sectorBytes;
  }

  async #run(offset: number, most: number): Promise<Run> {
    const limit = Math.min(most, this.length - offset);
    const first = Math.floor(offset / blockBytes);
    let entry = 0;
    let length = -(offset % blockBytes);
    for (let block = first; length < limit; block++) {
      const place = this.#sectorOffset(block);
      const { view } = this.#map.peek(place) ?? (await this.#map.load(place));
      const value = view.getUint32((block % entriesPerSector) * 4, true);
      if (block === first) entry = value;
      else if (entry >= firstUnallocated ? value < firstUnallocated : value !== entry + (block - first)) break;
      length += blockBytes;
    }
    const isAllocated = entry < firstUnallocated;
    return {
      isAllocated,
      length: Math.min(limit, length),
      host: isAllocated ? this.#header.dataOffset + entry * blockBytes + (offset % blockBytes) : 0,
    };
  }

  async read(offset: number, buffer: Uint8Array): Promise<void> {
    for (let at = 0; at < buffer.length; ) {
      const run = await this.#run(offset + at, buffer.length - at);
      const part = buffer.subarray(at, at + run.length);
      if (run.isAllocated) await this.#file.read(run.host, part);
      else part.fill(0);
      at += run.length;
    }
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
      const run = await this.#run(offset, buffer.length);
      const part = buffer.subarray(0, run.length);
      if (run.isAllocated) {
        this.#mutex.unlock();
        isLocked = false;
        await this.#file.write(run.host, part);
      } else await this.#allocate(offset, part);
      return run.length;
    } finally {
      if (isLocked) this.#mutex.unlock();
    }
  }

  /** Appends the blocks that `buffer` touches. With the mutex held. */
  async #allocate(offset: number, buffer: Uint8Array): Promise<void> {
    const first = Math.floor(offset / blockBytes);
    const end = Math.ceil((offset + buffer.length) / blockBytes);
    const index = getBlocksAllocated(this.#header);
    if (index + (end - first) > firstUnallocated) throw new BlockError('EIO');
    let whole = buffer;
    if (buffer.length < (end - first) * blockBytes) {
      whole = new Uint8Array((end - first) * blockBytes);
      whole.set(buffer, offset - first * blockBytes);
    }
    await this.#file.write(this.#header.dataOffset + index * blockBytes, whole);
    for (let block = first; block < end; block++) await this.#map.load(this.#sectorOffset(block));
    for (let block = first; block < end; block++) {
      const place = this.#sectorOffset(block);
      const sector = this.#map.peek(place) ?? (await this.#map.load(place));
      sector.view.setUint32((block % entriesPerSector) * 4, index + (block - first), true);
      this.#map.markDirty(sector);
      this.#dirtyEnd = Math.max(this.#dirtyEnd, place + sectorBytes);
    }
    setBlocksAllocated(this.#header, index + (end - first));
    if (this.#map.isPressed) await this.#writeMap();
  }

  flush(): Promise<void> {
    return this.#mutex.run(() => this.#writeMap());
  }

  async #writeMap(): Promise<void> {
    if (!this.#map.hasDirty) return;
    await this.#file.flush();
    if (this.#header.mapOffset === headerBytes && this.#dirtyEnd <= atomicBytes) {
      const bytes = new Uint8Array(this.#dirtyEnd);
      bytes.set(this.#header.bytes);
      for (let at = headerBytes; at < bytes.length; at += sectorBytes)
        bytes.set((this.#map.peek(at) ?? (await this.#map.load(at))).bytes, at);
      await this.#file.write(0, bytes);
      this.#map.clear();
    } else {
      await this.#file.write(0, this.#header.bytes);
      await this.#file.flush();
      await this.#map.writeDirty();
    }
    this.#dirtyEnd = 0;
  }

  async blockStatus(offset: number, length: number): Promise<BlockStatus> {
    const run = await this.#run(offset, length);
    if (!run.isAllocated) return { length: run.length, data: false, zero: true, allocated: true };
    return {
      length: run.length,
      data: true,
      zero: false,
      allocated: true,
      offset: run.host,
      file: this.#file,
      ...(this.#header.isStatic ? { recurse: true } : {}),
    };
  }

  async getInfo(): Promise<NodeInfo> {
    return { clusterSizeBytes: blockBytes };
  }

  /** Finds blocks used twice or past the count, as qemu-img does; it repairs nothing either. */
  async check(fix: CheckFix): Promise<CheckResult> {
    if (fix.leaks || fix.errors) throw new BlockError('ENOTSUP');
    const { blocks, mapOffset } = this.#header;
    const lines: string[] = [];
    let corruptions = 0;
    const report = (line: string): void => {
      corruptions++;
      if (lines.length < maxCheckLines) lines.push(line);
      else if (lines.length === maxCheckLines) lines.push('Further errors are counted, not shown');
    };
    const used = new Uint8Array(Math.ceil(blocks / 8));
    let allocated = 0;
    // What lies past the end of the file reads as zero: block 0, again and again.
    const held = Math.min(blocks, Math.max(0, Math.ceil((this.#file.length - mapOffset) / 4)));
    for (let block = 0; block < held; block++) {
      const place = this.#sectorOffset(block);
      const { view } = this.#map.peek(place) ?? (await this.#map.load(place));
      const entry = view.getUint32((block % entriesPerSector) * 4, true);
      if (entry >= firstUnallocated) continue;
      if (entry >= blocks) {
        report(`ERROR: block index ${block} too large, is ${entry}`);
        continue;
      }
      allocated++;
      if (used[entry >> 3]! & (1 << (entry & 7))) report(`ERROR: block index ${entry} also used by ${entry}`);
      used[entry >> 3]! |= 1 << (entry & 7);
    }
    if (held < blocks) {
      allocated += blocks - held;
      corruptions += blocks - held - (used[0]! & 1 ? 0 : 1);
      lines.push(`ERROR: block map ends after ${held} of ${blocks} entries`);
    }
    const counted = getBlocksAllocated(this.#header);
    if (allocated !== counted) report(`ERROR: allocated blocks mismatch, is ${allocated}, should be ${counted}`);
    return { corruptions, leaks: 0, checkErrors: 0, corruptionsFixed: 0, leaksFixed: 0, lines };
  }

  async reopen(): Promise<void> {}

  /** What a failed flush left in memory gets one more chance. */
  async close(): Promise<void> {
    await this.flush();
  }
}

async function create(context: CreateContext): Promise<void> {
  const sizeBytes = context.options.number('size') ?? 0;
  if (sizeBytes > maxDiskBytes) refuseSize(BigInt(sizeBytes));
  const isStatic = context.options.boolean('static') ?? false;
  const blocks = Math.ceil(sizeBytes / blockBytes);
  await context.createFile(context.filename, 0);
  const file = await context.openProtocol(context.filename);
  try {
    const dataOffset = headerBytes + mapBytes(blocks);
    const step = 2 ** 18;
    for (let at = 0; at < blocks; at += step) {
      const count = Math.min(step, blocks - at);
      const view = new DataView(new ArrayBuffer(mapBytes(count)));
      for (let index = 0; index < count; index++) view.setUint32(index * 4, isStatic ? at + index : unallocated, true);
      await file.write(headerBytes + at * 4, new Uint8Array(view.buffer));
    }
    if (isStatic) await file.resize(dataOffset + blocks * blockBytes);
    const random = (await context.host.crypto()).randomBytes(32);
    await file.write(0, serializeHeader(sizeBytes, isStatic, random));
  } finally {
    await file.close();
  }
}

export const vdiDriver: BlockDriver = {
  name: 'vdi',
  kind: 'format',
  openOptions: [],
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    { name: 'static', type: 'boolean', default: false, help: 'All blocks have their place from the start' },
  ],
  async open(context) {
    const file = await context.openFile();
    const bytes = new Uint8Array(headerBytes);
    await file.read(0, bytes);
    return new VdiNode(file, parseHeader(bytes));
  },
  create,
};
