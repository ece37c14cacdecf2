/**
 * An open VHDX file: its block allocation table as a map of clusters, headers, and the order of writes.
 *
 * New blocks go to the end of the file. A flush brings data to disk, then a log entry with the changed sectors of the table (and a header
 * that names the log), then those sectors themselves, and ends with a header that names no log: a power cut at any point leaves an
 * image that is whole, or will be when its log has been replayed.
 */
import { BlockError } from '../../errors.js';
import type { BlockHost } from '../../host.js';
import type { BlockNode } from '../../node.js';
import { type ClusterMap, ClusterRequests, Place } from '../cluster-map/requests.js';
import { Mutex } from '../locks.js';
import { type CachedTable, TableCache } from '../table-cache.js';
import {
  BlockState,
  chunkRatio,
  Guid,
  get64,
  guidAt,
  headerOffsets,
  mebibyte,
  overlaps,
  type Region,
  serializeHeader,
  set64,
  type VhdxHeader,
  type VhdxMetadata,
} from './layout.js';
import { logCapacity, logSectorBytes, serializeEntry } from './log.js';

const batCacheBytes = 2 ** 23;
/** Changed sectors kept at most, where the log is large enough for them. */
const maxLoggedSectors = 512;

export interface VhdxLayout {
  readonly header: VhdxHeader;
  /** Which of the two header places the current one is in. */
  readonly slot: 0 | 1;
  readonly bat: Region;
  readonly metadataRegion: Region;
  readonly metadata: VhdxMetadata;
}

export function newGuid(random: (count: number) => Uint8Array): string {
  const bytes = random(16).slice();
  // Version 4 of RFC 4122; the third field is little-endian.
  bytes[7] = (bytes[7]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return guidAt(bytes, 0);
}

/** Writes a header with the next sequence number to the place of the older one. */
export async function writeNextHeader(
  file: BlockNode,
  state: { header: VhdxHeader; slot: 0 | 1 },
  changes: Partial<VhdxHeader>,
): Promise<void> {
  const header = { ...state.header, ...changes, sequence: BigInt.asUintN(64, state.header.sequence + 1n) };
  const slot = state.slot === 0 ? 1 : 0;
  await file.write(headerOffsets[slot], serializeHeader(header));
  state.header = header;
  state.slot = slot;
}

export class VhdxImage implements ClusterMap {
  readonly file: BlockNode;
  readonly #host: BlockHost;
  readonly layout: VhdxLayout;
  readonly clusterBytes: number;
  readonly zeroFills: boolean;
  readonly requests: ClusterRequests;
  readonly #ratio: number;
  readonly #bat: TableCache;
  /** BAT sectors changed since they were last written: what goes through the log. */
  readonly #changed = new Set<CachedTable>();
  readonly #current: { header: VhdxHeader; slot: 0 | 1 };
  /** What one log entry holds. */
  readonly #maxChanged: number;
  #logSequence = 1;
  #isBegun = false;
  readonly #beginning = new Mutex();

  constructor(host: BlockHost, node: BlockNode, file: BlockNode, layout: VhdxLayout) {
    this.#host = host;
    this.file = file;
    this.layout = layout;
    this.clusterBytes = layout.metadata.blockBytes;
    this.#ratio = chunkRatio(layout.metadata);
    this.#bat = new TableCache(file, logSectorBytes, batCacheBytes);
    this.#current = { header: layout.header, slot: layout.slot };
    this.#maxChanged = Math.min(maxLoggedSectors, logCapacity(layout.header.logBytes));
    this.zeroFills = file.instance.zeroInit ?? false;
    this.requests = new ClusterRequests(node, file, this);
  }

  event(name: string): void | Promise<void> {
    return this.file.instance.onEvent?.(name);
  }

  /** File offset of a block's entry: every `ratio` blocks an entry for a sector bitmap lies between. */
  entryOffset(block: number): number {
    return this.layout.bat.offset + (block + Math.floor(block / this.#ratio)) * 8;
  }

  #sector(block: number): CachedTable | Promise<CachedTable> {
    const at = this.entryOffset(block);
    const offset = at - (at % logSectorBytes);
    return this.#bat.peek(offset) ?? this.#bat.load(offset);
  }

  /** Bytes of the disk that lie in this block. */
  #used(block: number): number {
    return Math.min(this.clusterBytes, this.layout.metadata.diskBytes - block * this.clusterBytes);
  }

  /** May a payload block lie here? */
  isPlace(block: number, place: number): boolean {
    const { header, bat, metadataRegion } = this.layout;
    const used = { offset: place, length: this.#used(block) };
    if (place < mebibyte || place + used.length > this.file.length) return false;
    const log = { offset: header.logOffset, length: header.logBytes };
    return !overlaps(used, log) && !overlaps(used, bat) && !overlaps(used, metadataRegion);
  }

  placeIn(view: DataView, at: number, block: number): number {
    const low = view.getUint32(at, true);
    switch (low & 7) {
      case BlockState.fullyPresent: {
        const place = get64(view, at) - (low & 0xfffff);
        if (!this.isPlace(block, place)) throw new BlockError('EIO');
        return place;
      }
      case BlockState.partiallyPresent:
      case 4:
        // Only where a parent exists.
        throw new BlockError('EIO');
      default:
        return Place.zero;
    }
  }

  find(block: number): number | Promise<number> {
    const sector = this.#sector(block);
    const at = this.entryOffset(block) % logSectorBytes;
    return sector instanceof Promise
      ? sector.then((loaded) => this.placeIn(loaded.view, at, block))
      : this.placeIn(sector.view, at, block);
  }

  /** Before the first change of the file in this session: new identifiers say that it changed. */
  async begin(): Promise<void> {
    if (this.#isBegun) return;
    await this.#beginning.run(async () => {
      if (this.#isBegun) return;
      const random = (await this.#host.crypto()).randomBytes;
      await writeNextHeader(this.file, this.#current, {
        fileWriteGuid: newGuid(random),
        dataWriteGuid: newGuid(random),
        logGuid: Guid.none,
      });
      await this.file.flush();
      this.#isBegun = true;
    });
  }

  async allocate(_block: number, count: number): Promise<number> {
    await this.event('cluster_alloc');
    const place = Math.ceil(this.file.length / mebibyte) * mebibyte;
    const end = place + count * this.clusterBytes;
    await this.file.resize(end);
    if (!this.zeroFills) await this.file.writeZeroes(place, end - place);
    return place;
  }

  async link(block: number, place: number): Promise<void> {
    const sector = await this.#sector(block);
    const at = this.entryOffset(block) % logSectorBytes;
    if (place > 0) {
      set64(sector.view, at, place);
      sector.view.setUint32(at, sector.view.getUint32(at, true) | BlockState.fullyPresent, true);
    } else set64(sector.view, at, BlockState.zero);
    // Marked in the cache too, so that it is kept there.
    this.#bat.markDirty(sector);
    this.#changed.add(sector);
    if (this.#changed.size >= this.#maxChanged) await this.#writeTable();
  }

  /** With the mutex held. */
  async #writeTable(): Promise<void> {
    if (this.#changed.size === 0) return;
    await this.event('flush_to_os');
    await this.file.flush();
    const sectors = [...this.#changed].sort((a, b) => a.offset - b.offset);
    await this.event('l1_update');
    await writeNextHeader(this.file, this.#current, { logGuid: newGuid((await this.#host.crypto()).randomBytes) });
    const entry = serializeEntry(this.#current.header, this.#logSequence++, this.file.length, sectors);
    await this.file.write(this.layout.header.logOffset, entry);
    await this.file.flush();
    await this.event('l2_update');
    await this.#bat.writeDirty();
    await this.file.flush();
    this.#changed.clear();
    await writeNextHeader(this.file, this.#current, { logGuid: Guid.none });
  }

  async flush(): Promise<void> {
    await this.requests.mutex.run(() => this.#writeTable());
  }
}
