/**
 * Driver `vpc`: VHD images of Virtual PC, Hyper-V and Azure, fixed and dynamic, read and write; differencing disks are read without
 * their parent, as QEMU does.
 *
 * A fixed disk is the raw contents with a footer behind. A dynamic one maps blocks (2 MiB, each after its sector bitmap) through a
 * table; the footer moves with the end of the file, its copy at the start stays. The table names a block once the block is on disk.
 */
import { BlockError, errorCode } from '../../errors.js';
import type {
  BlockDriver,
  BlockNode,
  BlockStatus,
  CreateContext,
  DriverNode,
  NodeInfo,
  OpenContext,
} from '../../node.js';
import { Mutex } from '../locks.js';
import {
  chooseSize,
  DiskType,
  type DynamicHeader,
  dynamicHeaderBytes,
  footerBytes,
  footerType,
  hasCookie,
  newTableEntries,
  newTableOffset,
  parseDynamicHeader,
  parseFooter,
  type SizeRule,
  sectorBytes,
  serializeDynamicHeader,
  serializeFooter,
  unallocated,
} from './layout.js';

function fail(message: string, code = 'EINVAL'): never {
  throw new BlockError(code, message);
}

class FixedNode implements DriverNode {
  readonly length: number;
  readonly #file: BlockNode;

  constructor(file: BlockNode, sectors: number) {
    this.#file = file;
    this.length = sectors * sectorBytes;
  }

  get zeroInit(): boolean {
    return this.#file.instance.zeroInit ?? false;
  }

  read(offset: number, buffer: Uint8Array): Promise<void> {
    return this.#file.read(offset, buffer);
  }

  write(offset: number, buffer: Uint8Array): Promise<void> {
    return this.#file.write(offset, buffer);
  }

  async blockStatus(offset: number, length: number): Promise<BlockStatus> {
    return { length, data: true, zero: false, allocated: true, offset, file: this.#file, recurse: true };
  }

  async getInfo(): Promise<NodeInfo> {
    return {};
  }

  async reopen(): Promise<void> {}

  async close(): Promise<void> {}
}

const sectorsPerTableWrite = 128;
const entriesPerSector = sectorBytes / 4;

class DynamicNode implements DriverNode {
  readonly length: number;
  readonly zeroInit = true;
  readonly #file: BlockNode;
  readonly #footer: Uint8Array;
  readonly #header: DynamicHeader;
  readonly #table: Uint32Array;
  readonly #dirtySectors = new Set<number>();
  /** One bit per block: its sector bitmap is known to be full. */
  readonly #hasFullBitmap: Uint8Array;
  readonly #mutex = new Mutex();
  /** Where the next block goes and the footer stands. */
  #free: number;
  #isFooterDue = false;

  constructor(
    file: BlockNode,
    footer: Uint8Array,
    sectors: number,
    header: DynamicHeader,
    table: Uint32Array,
    free: number,
  ) {
    this.#file = file;
    this.#footer = footer;
    this.length = sectors * sectorBytes;
    this.#header = header;
    this.#table = table;
    this.#free = free;
    this.#hasFullBitmap = new Uint8Array(Math.ceil(table.length / 8));
  }

  /** Offset in the file, or -1. */
  #place(offset: number): number {
    const { blockBytes, bitmapBytes } = this.#header;
    const entry = this.#table[Math.floor(offset / blockBytes)];
    if (entry === undefined || entry === unallocated) return -1;
    return entry * sectorBytes + bitmapBytes + (offset % blockBytes);
  }

  #toBlockEnd(offset: number): number {
    return this.#header.blockBytes - (offset % this.#header.blockBytes);
  }

  async read(offset: number, buffer: Uint8Array): Promise<void> {
    for (let at = 0; at < buffer.length; ) {
      const size = Math.min(buffer.length - at, this.#toBlockEnd(offset + at));
      const part = buffer.subarray(at, at + size);
      const place = this.#place(offset + at);
      if (place < 0) part.fill(0);
      else await this.#file.read(place, part);
      at += size;
    }
  }

  async write(offset: number, buffer: Uint8Array): Promise<void> {
    for (let at = 0; at < buffer.length; ) {
      const size = Math.min(buffer.length - at, this.#toBlockEnd(offset + at));
      await this.#writeInBlock(offset + at, buffer.subarray(at, at + size));
      at += size;
    }
  }

  async #writeInBlock(offset: number, buffer: Uint8Array): Promise<void> {
    const block = Math.floor(offset / this.#header.blockBytes);
    const bit = 1 << (block & 7);
    if (this.#place(offset) < 0 || !(this.#hasFullBitmap[block >> 3]! & bit)) {
      const isWritten = await this.#mutex.run(async () => {
        if (this.#place(offset) < 0) {
          await this.#allocate(block, offset, buffer);
          return true;
        }
        await this.#fillBitmap(block);
        return false;
      });
      if (isWritten) return;
    }
    await this.#file.write(this.#place(offset), buffer);
  }

  /** Other programs take sectors for unused until their bit is set. */
  async #fillBitmap(block: number): Promise<void> {
    const bit = 1 << (block & 7);
    if (this.#hasFullBitmap[block >> 3]! & bit) return;
    const bitmap = new Uint8Array(this.#header.bitmapBytes);
    const place = this.#table[block]! * sectorBytes;
    await this.#file.read(place, bitmap);
    if (bitmap.some((byte) => byte !== 0xff)) await this.#file.write(place, bitmap.fill(0xff));
    this.#hasFullBitmap[block >> 3]! |= bit;
  }

  /** A new block at the end, where the footer was. With the mutex held. */
  async #allocate(block: number, offset: number, buffer: Uint8Array): Promise<void> {
    const { blockBytes, bitmapBytes } = this.#header;
    const place = this.#free;
    const end = place + bitmapBytes + blockBytes;
    if (block >= this.#table.length || place / sectorBytes >= unallocated) throw new BlockError('EIO');
    this.#isFooterDue = true;
    // The file may be longer after a crash or a failed write: what lies there must not show through.
    const isStale = this.#file.length > place + footerBytes;
    const data = place + bitmapBytes;
    const start = offset % blockBytes;
    await this.#file.write(place, new Uint8Array(bitmapBytes).fill(0xff));
    if (isStale) {
      if (start > 0) await this.#file.writeZeroes(data, start);
      const rest = blockBytes - start - buffer.length;
      if (rest > 0) await this.#file.writeZeroes(data + start + buffer.length, rest);
    }
    await this.#file.write(data + start, buffer);
    this.#table[block] = place / sectorBytes;
    this.#dirtySectors.add(Math.floor(block / entriesPerSector));
    this.#hasFullBitmap[block >> 3]! |= 1 << (block & 7);
    this.#free = end;
  }

  flush(): Promise<void> {
    return this.#mutex.run(async () => {
      if (this.#isFooterDue) {
        // Also makes the file reach past its last block, which the table may then name.
        await this.#file.write(this.#free, this.#footer);
        this.#isFooterDue = false;
      }
      if (this.#dirtySectors.size === 0) return;
      await this.#file.flush();
      const sectors = [...this.#dirtySectors].sort((a, b) => a - b);
      for (let at = 0; at < sectors.length; ) {
        let end = at + 1;
        while (end < sectors.length && end - at < sectorsPerTableWrite && sectors[end] === sectors[end - 1]! + 1) end++;
        await this.#writeTable(sectors[at]!, end - at);
        for (const sector of sectors.slice(at, end)) this.#dirtySectors.delete(sector);
        at = end;
      }
    });
  }

  async #writeTable(sector: number, count: number): Promise<void> {
    const first = sector * entriesPerSector;
    const entries = this.#table.subarray(first, first + count * entriesPerSector);
    const view = new DataView(new ArrayBuffer(entries.length * 4));
    for (const [index, entry] of entries.entries()) view.setUint32(index * 4, entry);
    await this.#file.write(this.#header.tableOffset + first * 4, new Uint8Array(view.buffer));
  }

  async blockStatus(offset: number, length: number): Promise<BlockStatus> {
    const place = this.#place(offset);
    let size = Math.min(length, this.#toBlockEnd(offset));
    if (place >= 0) return { length: size, data: true, zero: false, allocated: true, offset: place, file: this.#file };
    while (size < length && this.#place(offset + size) < 0)
      size = Math.min(length, size + this.#toBlockEnd(offset + size));
    return { length: size, data: false, zero: true, allocated: true };
  }

  async getInfo(): Promise<NodeInfo> {
    return { clusterSizeBytes: this.#header.blockBytes };
  }

  async reopen(): Promise<void> {}

  /** What a failed flush left in memory gets one more chance. */
  async close(): Promise<void> {
    await this.flush();
  }
}

async function readTable(file: BlockNode, header: DynamicHeader): Promise<{ table: Uint32Array; free: number }> {
  const { tableEntries, tableOffset, blockBytes, bitmapBytes } = header;
  let free = Math.ceil((tableOffset + tableEntries * 4) / sectorBytes) * sectorBytes;
  const refuse = (): never =>
    fail('block-vpc: free_data_block_offset points after the end of file. The image has been truncated.');
  if (!(free <= file.length)) refuse();
  const table = new Uint32Array(tableEntries);
  const step = new Uint8Array(Math.min(2 ** 20, tableEntries * 4));
  const view = new DataView(step.buffer);
  for (let at = 0; at < tableEntries; at += step.length / 4) {
    const count = Math.min(step.length / 4, tableEntries - at);
    try {
      await file.read(tableOffset + at * 4, step.subarray(0, count * 4));
    } catch (error) {
      throw new BlockError(errorCode(error), 'Error reading pagetable', { cause: error });
    }
    for (let index = 0; index < count; index++) {
      const entry = view.getUint32(index * 4);
      table[at + index] = entry;
      if (entry !== unallocated) free = Math.max(free, entry * sectorBytes + bitmapBytes + blockBytes);
    }
  }
  if (free > file.length) refuse();
  return { table, free };
}

async function readSector(file: BlockNode, offset: number, bytes: number, what: string): Promise<Uint8Array> {
  const buffer = new Uint8Array(bytes);
  try {
    await file.read(offset, buffer);
  } catch (error) {
    throw new BlockError(errorCode(error), what, { cause: error });
  }
  return buffer;
}

async function open(context: OpenContext): Promise<DriverNode> {
  const file = await context.openFile();
  const rule = context.options.string('force_size_calc');
  if (rule !== undefined && rule !== 'current_size' && rule !== 'chs') fail(`Invalid size calculation mode: '${rule}'`);
  let footer = await readSector(file, 0, footerBytes, 'Unable to read VHD header');
  const isDynamic = hasCookie(footer);
  if (!isDynamic) {
    if (file.length < footerBytes) fail('File too small for a VHD header');
    footer = await readSector(file, file.length - footerBytes, footerBytes, 'Failed to read VHD header');
    if (!hasCookie(footer) || footerType(footer) !== DiskType.fixed) fail('invalid VPC image');
  }
  const { sectors, dataOffset } = parseFooter(footer, rule as SizeRule);
  if (!isDynamic) return new FixedNode(file, sectors);
  if (!Number.isSafeInteger(dataOffset)) fail('Error reading dynamic VHD header');
  const bytes = await readSector(file, dataOffset, dynamicHeaderBytes, 'Error reading dynamic VHD header');
  const header = parseDynamicHeader(bytes, sectors);
  const { table, free } = await readTable(file, header);
  return new DynamicNode(file, footer, sectors, header, table, free);
}

async function create(context: CreateContext): Promise<void> {
  const { options } = context;
  const subformat = options.string('subformat') ?? 'dynamic';
  if (subformat !== 'dynamic' && subformat !== 'fixed')
    fail(`Parameter 'subformat' does not accept value '${subformat}'`);
  const isDynamic = subformat === 'dynamic';
  const isForced = options.boolean('force_size') ?? false;
  const size = chooseSize(options.number('size') ?? 0, isForced);
  const footer = serializeFooter({
    ...size,
    isDynamic,
    isForced,
    wallSeconds: Math.floor(context.host.wallNs() / 1e9),
    uuid: (await context.host.crypto()).randomBytes(16).slice(),
  });
  await context.createFile(context.filename, 0);
  const file = await context.openProtocol(context.filename);
  try {
    if (!isDynamic) {
      await file.resize(size.sectors * sectorBytes + footerBytes);
      await file.write(size.sectors * sectorBytes, footer);
      return;
    }
    const tableBytes = Math.ceil((newTableEntries(size.sectors) * 4) / sectorBytes) * sectorBytes;
    const step = new Uint8Array(Math.min(tableBytes, 2 ** 20)).fill(0xff);
    for (let at = 0; at < tableBytes; at += step.length)
      await file.write(newTableOffset + at, step.subarray(0, Math.min(step.length, tableBytes - at)));
    await file.write(newTableOffset + tableBytes, footer);
    await file.write(footerBytes, serializeDynamicHeader(size.sectors));
    await file.write(0, footer);
  } finally {
    await file.close();
  }
}

export const vpcDriver: BlockDriver = {
  name: 'vpc',
  kind: 'format',
  openOptions: [
    {
      name: 'force_size_calc',
      type: 'string',
      help: "Size by the footer's size field ('current_size') or by its geometry ('chs')",
      strong: true,
    },
  ],
  createOptions: [
    { name: 'size', type: 'size', help: 'Virtual disk size' },
    { name: 'subformat', type: 'string', help: 'dynamic (default) or fixed' },
    {
      name: 'force_size',
      type: 'boolean',
      help: 'Exactly the size asked for, not the nearest that a geometry can say',
    },
  ],
  open,
  create,
};
