/**
 * Format `qcow`, version 1, on disk and open: QEMU's first copy-on-write format. All fields are big-endian.
 *
 * Header (48 bytes): magic `QFI\xfb`, version 1, backing name's offset (8) and length (4), modification time (4), disk size (8), cluster
 * bits (1), second level bits (1), 2 unused, encryption (4), offset of the first level table (8). Entries of both tables are file
 * offsets; in the second level bit 63 marks a compressed cluster, whose length in bytes lies in the bits below, above the offset.
 *
 * New clusters go to the end of the file. A flush brings data to disk, then second level entries, then first level entries.
 */
import { BlockError } from '../../errors.js';
import type { BlockHost } from '../../host.js';
import type { BlockNode } from '../../node.js';
import { type ClusterMap, ClusterRequests, Place } from '../cluster-map/requests.js';
import { type CachedTable, TableCache } from '../table-cache.js';

export const headerBytes = 48;
const magic = 0x514649fb;
const maxNameBytes = 1023;
/** Bounds what opening reads into memory: enough for 32 TiB in the layouts that QEMU makes. */
export const maxL1Bytes = 2 ** 27;
const sliceBytes = 4096;
const l2CacheBytes = 2 ** 23;

export interface QcowHeader {
  readonly sizeBytes: number;
  readonly clusterBits: number;
  readonly l2Bits: number;
  readonly isEncrypted: boolean;
  readonly l1Offset: number;
  readonly name: { readonly offset: number; readonly length: number } | undefined;
}

function fail(message: string, code = 'EINVAL'): never {
  throw new BlockError(code, message);
}

function get64(view: DataView, offset: number): number {
  return view.getUint32(offset) * 2 ** 32 + view.getUint32(offset + 4);
}

function set64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, Math.floor(value / 2 ** 32));
  view.setUint32(offset + 4, value % 2 ** 32);
}

export function l1EntryCount(sizeBytes: number, clusterBits: number, l2Bits: number): number {
  return Math.ceil(sizeBytes / 2 ** (clusterBits + l2Bits));
}

export function parseHeader(bytes: Uint8Array): QcowHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0) !== magic) fail('Image not in qcow format');
  const version = view.getUint32(4);
  if (version !== 1) {
    const hint = version === 2 || version === 3 ? "\nTry the 'qcow2' driver instead." : '';
    fail(`qcow (v1) does not support qcow version ${version}${hint}`, 'ENOTSUP');
  }
  const sizeBytes = get64(view, 24);
  if (sizeBytes <= 1) fail('Image size is too small (must be at least 2 bytes)');
  const clusterBits = view.getUint8(32);
  if (clusterBits < 9 || clusterBits > 16) fail('Cluster size must be between 512 and 64k');
  const l2Bits = view.getUint8(33);
  if (l2Bits < 6 || l2Bits > 13) fail('L2 table size must be between 512 and 64k');
  const crypt = view.getUint32(36);
  if (crypt > 1) fail('invalid encryption method in qcow header');
  if (sizeBytes > Number.MAX_SAFE_INTEGER || l1EntryCount(sizeBytes, clusterBits, l2Bits) * 8 > maxL1Bytes)
    fail('Image too large');
  const nameOffset = get64(view, 8);
  const nameBytes = view.getUint32(16);
  if (nameOffset !== 0 && nameBytes > maxNameBytes) fail('Backing file name too long');
  return {
    // Whole sectors only.
    sizeBytes: sizeBytes - (sizeBytes % 512),
    clusterBits,
    l2Bits,
    isEncrypted: crypt === 1,
    l1Offset: get64(view, 40),
    name: nameOffset === 0 ? undefined : { offset: nameOffset, length: nameBytes },
  };
}

/** Header and backing file's name of a new image; the first level table follows. */
export function serializeHeader(
  sizeBytes: number,
  clusterBits: number,
  l2Bits: number,
  isEncrypted: boolean,
  backingFile: string | undefined,
): Uint8Array {
  const name = new TextEncoder().encode(backingFile ?? '');
  if (name.length > maxNameBytes) fail('Backing file name too long');
  const bytes = new Uint8Array(Math.ceil((headerBytes + name.length) / 8) * 8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic);
  view.setUint32(4, 1);
  if (name.length > 0) {
    set64(view, 8, headerBytes);
    view.setUint32(16, name.length);
    bytes.set(name, headerBytes);
  }
  set64(view, 24, sizeBytes);
  view.setUint8(32, clusterBits);
  view.setUint8(33, l2Bits);
  view.setUint32(36, isEncrypted ? 1 : 0);
  set64(view, 40, bytes.length);
  return bytes;
}

export class QcowImage implements ClusterMap {
  readonly file: BlockNode;
  readonly #host: BlockHost;
  readonly header: QcowHeader;
  readonly clusterBytes: number;
  readonly requests: ClusterRequests;
  cipher?: NonNullable<ClusterMap['cipher']>;
  /** File offsets of second level tables. */
  readonly #l1: Float64Array;
  readonly #changedL1 = new Set<number>();
  readonly #l2: TableCache;
  readonly #entries: number;
  readonly #sliceBytes: number;
  #end: number;
  #decompressed: { readonly cluster: number; readonly bytes: Uint8Array } | undefined;

  constructor(host: BlockHost, node: BlockNode, file: BlockNode, header: QcowHeader, l1: Float64Array) {
    this.#host = host;
    this.file = file;
    this.header = header;
    this.clusterBytes = 2 ** header.clusterBits;
    this.#entries = 2 ** header.l2Bits;
    this.#sliceBytes = Math.min(sliceBytes, this.#entries * 8);
    this.#l1 = l1;
    this.#l2 = new TableCache(file, this.#sliceBytes, l2CacheBytes);
    this.#end = Math.max(file.length, this.#l1End);
    this.requests = new ClusterRequests(node, file, this);
  }

  static async open(host: BlockHost, node: BlockNode, file: BlockNode, header: QcowHeader): Promise<QcowImage> {
    const count = l1EntryCount(header.sizeBytes, header.clusterBits, header.l2Bits);
    // The table must be there: no more memory than the file has bytes for.
    const end = header.l1Offset + count * 8;
    if (header.l1Offset < headerBytes || end > Math.ceil(file.length / 512) * 512) throw new BlockError('EIO');
    const bytes = new Uint8Array(count * 8);
    await file.read(header.l1Offset, bytes);
    const view = new DataView(bytes.buffer);
    const l1 = new Float64Array(count);
    for (let index = 0; index < count; index++) l1[index] = get64(view, index * 8);
    return new QcowImage(host, node, file, header, l1);
  }

  event(name: string): void | Promise<void> {
    return this.file.instance.onEvent?.(name);
  }

  get #l1End(): number {
    return this.header.l1Offset + this.#l1.length * 8;
  }

  #slice(cluster: number): CachedTable | Promise<CachedTable> | undefined {
    const table = this.#l1[Math.floor(cluster / this.#entries)];
    if (table === undefined) throw new BlockError('EIO');
    if (table === 0) return undefined;
    if (table < headerBytes || table >= this.#end) throw new BlockError('EIO');
    const index = cluster % this.#entries;
    const offset = table + Math.floor((index * 8) / this.#sliceBytes) * this.#sliceBytes;
    return this.#l2.peek(offset) ?? this.#l2.load(offset);
  }

  #at(cluster: number): number {
    return ((cluster % this.#entries) * 8) % this.#sliceBytes;
  }

  #placeIn(slice: CachedTable, cluster: number): number {
    const high = slice.view.getUint32(this.#at(cluster));
    if (high >>> 31) return Place.special;
    const place = high * 2 ** 32 + slice.view.getUint32(this.#at(cluster) + 4);
    if (place === 0) return Place.none;
    if (place < headerBytes || place >= this.#end) throw new BlockError('EIO');
    return place;
  }

  find(cluster: number): number | Promise<number> {
    const slice = this.#slice(cluster);
    if (slice === undefined) return Place.none;
    return slice instanceof Promise
      ? slice.then((loaded) => this.#placeIn(loaded, cluster))
      : this.#placeIn(slice, cluster);
  }

  emptyRun(cluster: number): number {
    const table = this.#l1[Math.floor(cluster / this.#entries)];
    return table === 0 ? this.#entries - (cluster % this.#entries) : 1;
  }

  async allocate(_cluster: number, count: number): Promise<number> {
    await this.event('cluster_alloc');
    const place = Math.ceil(this.#end / this.clusterBytes) * this.clusterBytes;
    this.#end = place + count * this.clusterBytes;
    return place;
  }

  link(cluster: number, place: number): Promise<void> {
    return this.#setEntry(cluster, Math.floor(place / 2 ** 32), place % 2 ** 32);
  }

  async #setEntry(cluster: number, high: number, low: number): Promise<void> {
    const index = Math.floor(cluster / this.#entries);
    if (this.#l1[index] === 0) {
      const bytes = this.#entries * 8;
      const table = Math.ceil(this.#end / this.clusterBytes) * this.clusterBytes;
      this.#end = table + bytes;
      await this.event('l2_alloc_write');
      await this.file.writeZeroes(table, bytes);
      this.#l1[index] = table;
      this.#changedL1.add(index);
    }
    const slice = (await this.#slice(cluster))!;
    slice.view.setUint32(this.#at(cluster), high);
    slice.view.setUint32(this.#at(cluster) + 4, low);
    this.#l2.markDirty(slice);
    if (this.#decompressed?.cluster === cluster) this.#decompressed = undefined;
    if (this.#l2.isPressed) await this.#writeTables();
  }

  async readSpecial(cluster: number, within: number, buffer: Uint8Array): Promise<void> {
    let bytes = this.#decompressed?.cluster === cluster ? this.#decompressed.bytes : undefined;
    if (!bytes) {
      const slice = (await this.#slice(cluster))!;
      const entry =
        BigInt(slice.view.getUint32(this.#at(cluster))) * 2n ** 32n +
        BigInt(slice.view.getUint32(this.#at(cluster) + 4));
      const bits = 63 - this.header.clusterBits;
      const offset = Number(BigInt.asUintN(bits, entry));
      const length = Number((entry >> BigInt(bits)) & BigInt(this.clusterBytes - 1));
      if (offset >= this.#end) throw new BlockError('EIO');
      const packed = new Uint8Array(length);
      await this.file.read(offset, packed);
      bytes = await (await this.#host.compression()).inflate('raw', packed, this.clusterBytes);
      this.#decompressed = { cluster, bytes };
    }
    buffer.set(bytes.subarray(within, within + buffer.length));
  }

  /** Whole clusters, the last one up to the disk's end. */
  async writeCompressed(offset: number, buffer: Uint8Array): Promise<void> {
    if (offset % this.clusterBytes !== 0) throw new BlockError('EINVAL');
    for (let at = 0; at < buffer.length; at += this.clusterBytes)
      await this.#writeCompressedCluster(offset + at, buffer.subarray(at, at + this.clusterBytes));
  }

  async #writeCompressedCluster(offset: number, buffer: Uint8Array): Promise<void> {
    const { clusterBytes } = this;
    if (this.cipher) throw new BlockError('ENOTSUP');
    const whole = new Uint8Array(clusterBytes);
    whole.set(buffer);
    const compression = await this.#host.compression();
    const packed = await compression.deflateRaw(whole, { windowBits: 12, limit: clusterBytes - 1 });
    if (!packed) {
      await this.requests.write(offset, buffer);
      return;
    }
    const cluster = offset / clusterBytes;
    const release = await this.requests.lock(cluster, cluster + 1, true);
    try {
      const { mutex } = this.requests;
      const place = await mutex.run(async () => {
        const start = this.#end;
        this.#end += packed.length;
        return start;
      });
      await this.event('write_compressed');
      await this.file.write(place, packed);
      // Length above the offset; both fit as the offset is far below 2^47.
      const entry = (1n << 63n) | (BigInt(packed.length) << BigInt(63 - this.header.clusterBits)) | BigInt(place);
      await mutex.run(() => this.#setEntry(cluster, Number(entry >> 32n), Number(entry & 0xffffffffn)));
    } finally {
      release();
    }
  }

  /** With the mutex held. */
  async #writeTables(): Promise<void> {
    if (!this.#l2.hasDirty && this.#changedL1.size === 0) return;
    await this.event('flush_to_os');
    await this.file.flush();
    await this.event('l2_update');
    await this.#l2.writeDirty();
    if (this.#changedL1.size === 0) return;
    await this.file.flush();
    await this.event('l1_update');
    const entry = new Uint8Array(8);
    const view = new DataView(entry.buffer);
    for (const index of [...this.#changedL1]) {
      set64(view, 0, this.#l1[index]!);
      await this.file.write(this.header.l1Offset + index * 8, entry);
      this.#changedL1.delete(index);
    }
  }

  async flush(): Promise<void> {
    await this.requests.mutex.run(() => this.#writeTables());
  }

  /** Nothing is stored any more: all shows the backing file again. */
  async makeEmpty(): Promise<void> {
    await this.requests.mutex.run(async () => {
      this.#l1.fill(0);
      this.#changedL1.clear();
      this.#l2.clear();
      this.#decompressed = undefined;
      await this.file.writeZeroes(this.header.l1Offset, this.#l1.length * 8);
      // Clusters go only when nothing on disk points to them.
      await this.file.flush();
      await this.file.resize(this.#l1End, { exact: true });
      this.#end = this.#l1End;
    });
  }
}
