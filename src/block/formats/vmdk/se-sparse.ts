/**
 * Space-efficient sparse extents (seSparse) of ESX server 5.5 and later, read only. VMware publishes no specification: this is what QEMU
 * and libvmdk know of version 2.1. 64-bit entries, little-endian; grains of 4 KiB, tables of 32 KiB.
 */
import { BlockError, errorCode } from '../../errors.js';
import type { BlockNode } from '../../node.js';
import { TableCache } from '../table-cache.js';
import type { Extent, ExtentRun } from './extents.js';
import { maxDirectoryEntries, sectorBytes } from './layout.js';

const constantMagic = 0xcafebaben;
const volatileMagic = 0xcafecafen;
const version = 0x0000000200000001n;
const grainSectors = 8;
const tableSectors = 64;
const tableBytes = tableSectors * sectorBytes;
const entriesPerTable = tableBytes / 8;
const grainBytes = grainSectors * sectorBytes;
const cacheBytes = 2 ** 20;

/** What the top four bits of a grain table entry say. */
const GrainKind = { none: 0, unmapped: 1, zero: 2, allocated: 3 } as const;
/** Directory entries: no table; not to be understood. Else the sector of a table. */
const noTable = 0;
const badTable = -1;

function fail(message: string, code = 'EINVAL'): never {
  throw new BlockError(code, message);
}

function hex(value: bigint): string {
  return `0x${value.toString(16).padStart(16, '0')}`;
}

interface SeSparseHeader {
  readonly capacitySectors: number;
  readonly directoryOffset: number;
  readonly directoryEntries: number;
  readonly tablesSector: number;
  readonly grainsSector: number;
  readonly volatileOffset: number;
}

function parseConstantHeader(bytes: Uint8Array): SeSparseHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const field = (index: number): bigint => view.getBigUint64(index * 8, true);
  if (field(0) !== constantMagic) fail(`Bad const header magic: ${hex(field(0))}`, 'ENOTSUP');
  if (field(1) !== version) fail(`Unsupported version: ${hex(field(1))}`, 'ENOTSUP');
  if (field(3) !== BigInt(grainSectors)) fail(`Unsupported grain size: ${field(3)}`, 'ENOTSUP');
  if (field(4) !== BigInt(tableSectors)) fail(`Unsupported grain table size: ${field(4)}`, 'ENOTSUP');
  if (field(5) !== 0n) fail(`Unsupported flags: ${hex(field(5))}`, 'ENOTSUP');
  const reserved = [6, 7, 8, 9].map(field);
  if (reserved.some((value) => value !== 0n))
    fail(`Unsupported reserved bits: ${reserved.map(hex).join(' ')}`, 'ENOTSUP');
  const isPadded = bytes.subarray(26 * 8).every((byte) => byte === 0);
  if (!isPadded) fail('Unsupported non-zero const header padding', 'ENOTSUP');
  const number = (index: number): number => Number(field(index));
  const header = {
    capacitySectors: number(2),
    volatileOffset: number(10) * sectorBytes,
    directoryOffset: number(16) * sectorBytes,
    directoryEntries: (number(17) * sectorBytes) / 8,
    tablesSector: number(18),
    grainsSector: number(24),
  };
  if (header.directoryEntries > maxDirectoryEntries) fail('L1 size too big', 'EFBIG');
  const isSafe =
    [header.volatileOffset, header.directoryOffset].every(Number.isSafeInteger) &&
    [header.capacitySectors, header.grainsSector].every((sectors) => Number.isSafeInteger(sectors * sectorBytes));
  if (!isSafe) throw new BlockError('EFBIG');
  return header;
}

function checkVolatileHeader(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = view.getBigUint64(0, true);
  if (magic !== volatileMagic) fail(`Bad volatile header magic: ${hex(magic)}`, 'ENOTSUP');
  if (view.getBigUint64(24, true) !== 0n) fail('Image is dirty, Replaying journal not supported', 'ENOTSUP');
  const isPadded = bytes.subarray(32).every((byte) => byte === 0);
  if (!isPadded) fail('Unsupported non-zero volatile header padding', 'ENOTSUP');
}

async function readPart(file: BlockNode, offset: number, bytes: number, what: string): Promise<Uint8Array> {
  const buffer = new Uint8Array(bytes);
  try {
    await file.read(offset, buffer);
  } catch (error) {
    throw new BlockError(errorCode(error), `Could not read ${what} from file '${file.filename}'`, { cause: error });
  }
  return buffer;
}

export class SeSparseExtent implements Extent {
  readonly file: BlockNode;
  readonly type: string;
  readonly start: number;
  readonly length: number;
  readonly isFlat = false;
  readonly isCompressed = false;
  readonly grainBytes = grainBytes;
  readonly #grainsSector: number;
  readonly #directory: Float64Array;
  readonly #tables: TableCache;

  static async open(file: BlockNode, type: string, start: number): Promise<SeSparseExtent> {
    const header = parseConstantHeader(await readPart(file, 0, sectorBytes, 'const header'));
    checkVolatileHeader(await readPart(file, header.volatileOffset, sectorBytes, 'volatile header'));
    // What lies past the end of the file says "no table".
    const held = Math.max(0, Math.ceil((file.length - header.directoryOffset) / 8));
    const directory = new Float64Array(Math.min(header.directoryEntries, held));
    const step = 2 ** 17;
    for (let at = 0; at < directory.length; at += step) {
      const count = Math.min(step, directory.length - at);
      const bytes = await readPart(file, header.directoryOffset + at * 8, count * 8, 'l1 table');
      const view = new DataView(bytes.buffer);
      for (let index = 0; index < count; index++) {
        const [low, high] = [view.getUint32(index * 8, true), view.getUint32(index * 8 + 4, true)];
        const sector = header.tablesSector + low * tableSectors;
        if (high !== 0 || low !== 0)
          directory[at + index] = high === 0x10000000 && sector < 2 ** 32 ? sector : badTable;
      }
    }
    return new SeSparseExtent(file, type, start, header, directory);
  }

  private constructor(file: BlockNode, type: string, start: number, header: SeSparseHeader, directory: Float64Array) {
    this.file = file;
    this.type = type;
    this.start = start;
    this.length = header.capacitySectors * sectorBytes;
    this.#grainsSector = header.grainsSector;
    this.#directory = directory;
    this.#tables = new TableCache(file, tableBytes, cacheBytes);
  }

  async map(offset: number, most: number): Promise<ExtentRun> {
    const limit = Math.min(most, this.length - offset);
    const span = entriesPerTable * grainBytes;
    const index = Math.floor(offset / span);
    const sector = this.#directory[index] ?? noTable;
    if (sector === badTable) throw new BlockError('EIO');
    if (sector === noTable) {
      let end = index + 1;
      while (end < this.#directory.length && this.#directory[end] === noTable) end++;
      const length = end >= this.#directory.length ? limit : Math.min(limit, end * span - offset);
      return { state: 'unallocated', length, host: 0 };
    }
    const { view } = await this.#tables.load(sector * sectorBytes);
    const first = Math.floor(offset / grainBytes) % entriesPerTable;
    const head = this.#grain(view, first);
    let length = grainBytes - (offset % grainBytes);
    for (let at = first + 1; at < entriesPerTable && length < limit; at++) {
      const next = this.#grain(view, at, true);
      if (next?.state !== head.state) break;
      if (head.state === 'data' && next.host !== head.host + (at - first) * grainBytes) break;
      length += grainBytes;
    }
    const host = head.state === 'data' ? head.host + (offset % grainBytes) : 0;
    return { state: head.state, length: Math.min(limit, length), host };
  }

  #grain(view: DataView, index: number): { readonly state: ExtentRun['state']; readonly host: number };
  #grain(view: DataView, index: number, isAhead: true): { state: ExtentRun['state']; host: number } | undefined;
  /** Looking ahead, an entry that makes no sense ends the run; asked for itself, it is an error. */
  #grain(view: DataView, index: number, isAhead = false) {
    const [low, high] = [view.getUint32(index * 8, true), view.getUint32(index * 8 + 4, true)];
    switch (high >>> 28) {
      case GrainKind.none:
        if (low === 0 && high === 0) return { state: 'unallocated' as const, host: 0 };
        break;
      case GrainKind.unmapped:
      case GrainKind.zero:
        return { state: 'zero' as const, host: 0 };
      case GrainKind.allocated: {
        // The low 12 bits of the grain's number stand above the other 48.
        const grain = ((high & 0xffff) * 2 ** 32 + low) * 2 ** 12 + ((high >>> 16) & 0xfff);
        const host = (this.#grainsSector + grain * grainSectors) * sectorBytes;
        if (Number.isSafeInteger(host + grainBytes)) return { state: 'data' as const, host };
        break;
      }
    }
    if (isAhead) return undefined;
    throw new BlockError('EIO');
  }

  readRun(run: ExtentRun, _offset: number, buffer: Uint8Array): Promise<void> {
    return this.file.read(run.host, buffer);
  }

  async write(): Promise<void> {
    throw new BlockError('ENOTSUP');
  }

  canZero(): boolean {
    return false;
  }

  async writeZeroes(): Promise<void> {
    throw new BlockError('ENOTSUP');
  }

  async flush(): Promise<void> {}
}
