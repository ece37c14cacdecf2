/**
 * Requests on formats that map each guest cluster to a place in the file and append new clusters: what qed, vhdx and qcow share. The format
 * gives a `ClusterMap`; here are splitting, copy-on-write, block status, and the locks between requests.
 *
 * A new cluster is written whole before the map points to it, so that whoever flushes the map after the data loses nothing.
 */
import { BlockError } from '../../errors.js';
import type { BlockNode, BlockStatus } from '../../node.js';
import { Mutex, RangeLocks } from '../locks.js';

/** Where a cluster lies: a file offset, or one of these. */
export const Place = {
  /** Not stored in this layer. */
  none: 0,
  zero: -1,
  /** Stored in a way that only the format can read (compressed, encrypted): `readSpecial`. */
  special: -2,
} as const;

export interface ClusterMap {
  readonly clusterBytes: number;
  /** Place of a guest cluster. Bad entries throw. At once when the table is in memory. */
  find(cluster: number): number | Promise<number>;
  /** Clusters from here, at least 1, that are known not to be stored when `find` says so of the first. */
  emptyRun?(cluster: number): number;
  /** Space for guest clusters, in one piece; called with the mutex held. */
  allocate(cluster: number, count: number): Promise<number>;
  /** Points the map to written data, or to `Place.zero`; called with the mutex held. */
  link(cluster: number, place: number): Promise<void>;
  /** Space from `allocate` reads as zero, so that only what is not zero needs writing. */
  readonly zeroFills?: boolean;
  readSpecial?(cluster: number, within: number, buffer: Uint8Array): Promise<void>;
  /** Turns guest bytes into stored ones and back, in multiples of 512 bytes. */
  readonly cipher?: {
    encrypt(offset: number, bytes: Uint8Array): Uint8Array;
    decrypt(offset: number, bytes: Uint8Array): void;
  };
}

/** New clusters made by one request at most; also the largest piece filled at once around it. */
const stepBytes = 2 ** 20;
/** Clusters looked at by one block status at most, so that a query of a huge disk ends soon. */
const maxStatusClusters = 65536;

export class ClusterRequests {
  readonly node: BlockNode;
  readonly file: BlockNode;
  readonly map: ClusterMap;
  readonly mutex = new Mutex();
  readonly #locks = new RangeLocks();

  constructor(node: BlockNode, file: BlockNode, map: ClusterMap) {
    this.node = node;
    this.file = file;
    this.map = map;
  }

  /** Guest clusters [first, end) as one lock. */
  async lock(first: number, end: number, isExclusive: boolean): Promise<() => void> {
    for (;;) {
      const conflict = this.#locks.conflict(first, end, isExclusive);
      if (!conflict) return this.#locks.hold(first, end, isExclusive);
      await conflict;
    }
  }

  /** The first cluster's place and how many clusters go on like it: contiguous data, or all not stored, or all zero. */
  async run(cluster: number, most: number): Promise<{ readonly place: number; readonly count: number }> {
    const { map } = this;
    const found = map.find(cluster);
    const place = typeof found === 'number' ? found : await found;
    let count = 1;
    if (place === Place.special) return { place, count };
    if (place === Place.none && map.emptyRun) count = Math.min(most, map.emptyRun(cluster));
    while (count < most) {
      const next = map.find(cluster + count);
      const other = typeof next === 'number' ? next : await next;
      if (other !== (place > 0 ? place + count * map.clusterBytes : place)) break;
      count += other === Place.none && map.emptyRun ? Math.min(most - count, map.emptyRun(cluster + count)) : 1;
    }
    return { place, count };
  }

  async read(offset: number, buffer: Uint8Array): Promise<void> {
    const { clusterBytes } = this.map;
    for (let at = 0; at < buffer.length; ) {
      const cluster = Math.floor((offset + at) / clusterBytes);
      const within = (offset + at) % clusterBytes;
      const { place, count } = await this.run(cluster, Math.ceil((within + buffer.length - at) / clusterBytes));
      const size = Math.min(buffer.length - at, count * clusterBytes - within);
      await this.#readPlace(place, cluster, within, buffer.subarray(at, at + size));
      at += size;
    }
  }

  async #readPlace(place: number, cluster: number, within: number, buffer: Uint8Array): Promise<void> {
    const { clusterBytes, cipher } = this.map;
    if (place > 0) {
      await this.file.read(place + within, buffer);
      cipher?.decrypt(cluster * clusterBytes + within, buffer);
    } else if (place === Place.special) await this.map.readSpecial!(cluster, within, buffer);
    else if (place === Place.none && this.node.backing)
      await this.node.backing.read(cluster * clusterBytes + within, buffer);
    else buffer.fill(0);
  }

  async write(offset: number, buffer: Uint8Array): Promise<void> {
    const { clusterBytes } = this.map;
    for (let at = 0; at < buffer.length; ) {
      const cluster = Math.floor((offset + at) / clusterBytes);
      const within = (offset + at) % clusterBytes;
      const most = Math.ceil((within + buffer.length - at) / clusterBytes);
      at += await this.#writeRun(cluster, within, most, buffer.subarray(at));
    }
  }

  /** Writes a first part of `buffer` and gives its length. */
  async #writeRun(cluster: number, within: number, most: number, buffer: Uint8Array): Promise<number> {
    const { map, file } = this;
    const { clusterBytes } = map;
    for (;;) {
      const seen = await this.run(cluster, most);
      const isNew = seen.place <= 0;
      const wanted = isNew ? Math.min(most, Math.max(1, Math.floor(stepBytes / clusterBytes))) : seen.count;
      const release = await this.lock(cluster, cluster + wanted, isNew);
      try {
        // What waited for the lock looks again.
        const now = await this.run(cluster, wanted);
        if (now.place <= 0 !== isNew) continue;
        const count = isNew ? await this.#newRun(cluster, wanted) : now.count;
        const size = Math.min(buffer.length, count * clusterBytes - within);
        const part = buffer.subarray(0, size);
        if (!isNew)
          await file.write(
            now.place + within,
            map.cipher ? map.cipher.encrypt(cluster * clusterBytes + within, part) : part,
          );
        else await this.#writeNew(cluster, count, within, part);
        return size;
      } finally {
        release();
      }
    }
  }

  /** How many clusters from here are to be made new: all but plain data. */
  async #newRun(cluster: number, most: number): Promise<number> {
    let count = 1;
    while (count < most && (await this.map.find(cluster + count)) <= 0) count++;
    return count;
  }

  async #writeNew(cluster: number, count: number, within: number, part: Uint8Array): Promise<void> {
    const { map } = this;
    const { clusterBytes } = map;
    const total = count * clusterBytes;
    const end = within + part.length;
    const place = await this.mutex.run(() => map.allocate(cluster, count));
    const last = cluster + count - 1;
    if (total <= 2 * stepBytes && !map.zeroFills) {
      const whole = new Uint8Array(total);
      if (within > 0) await this.#readOld(cluster, 0, whole.subarray(0, within));
      if (end < total) await this.#readOld(last, end - (count - 1) * clusterBytes, whole.subarray(end));
      whole.set(part, within);
      await this.#writeStored(cluster, 0, place, whole);
    } else {
      await this.#fill(cluster, 0, within, place);
      await this.#fill(last, end - (count - 1) * clusterBytes, total - end, place + end);
      await this.#writeStored(cluster, within, place + within, part);
    }
    await this.mutex.run(async () => {
      for (let index = 0; index < count; index++) await map.link(cluster + index, place + index * clusterBytes);
    });
  }

  async #readOld(cluster: number, within: number, buffer: Uint8Array): Promise<void> {
    await this.#readPlace(await this.map.find(cluster), cluster, within, buffer);
  }

  async #writeStored(cluster: number, within: number, place: number, bytes: Uint8Array): Promise<void> {
    const { cipher, clusterBytes } = this.map;
    await this.file.write(place, cipher ? cipher.encrypt(cluster * clusterBytes + within, bytes) : bytes);
  }

  /** Copies the old contents of a part of a cluster to its new place. */
  async #fill(cluster: number, within: number, length: number, place: number): Promise<void> {
    if (length === 0) return;
    const old = await this.map.find(cluster);
    const isZero = old === Place.zero || (old === Place.none && !this.node.backing);
    if (isZero && this.map.zeroFills) return;
    const bounce = new Uint8Array(Math.min(length, stepBytes));
    for (let at = 0; at < length; at += bounce.length) {
      const part = bounce.subarray(0, Math.min(bounce.length, length - at));
      await this.#readPlace(old, cluster, within + at, part);
      await this.#writeStored(cluster, within + at, place + at, part);
    }
  }

  /**
   * Makes whole clusters read as zero by marks in the map; clusters with data are zeroed where they lie. Parts of clusters that don't
   * read as zero already are refused with ENOTSUP: the caller writes zero bytes then.
   */
  async writeZeroes(offset: number, length: number, flags: number, diskBytes: number): Promise<void> {
    const { map } = this;
    const { clusterBytes } = map;
    for (let at = offset; at < offset + length; ) {
      const cluster = Math.floor(at / clusterBytes);
      const end = Math.min((cluster + 1) * clusterBytes, offset + length);
      const isWhole = at === cluster * clusterBytes && (end === (cluster + 1) * clusterBytes || end === diskBytes);
      const release = await this.lock(cluster, cluster + 1, true);
      try {
        const place = await map.find(cluster);
        if (place > 0 && !map.cipher) await this.file.writeZeroes(place + at - cluster * clusterBytes, end - at, flags);
        else if (isWhole && place <= 0 && place !== Place.zero)
          await this.mutex.run(() => map.link(cluster, Place.zero));
        else if (!(place === Place.zero || (place === Place.none && !this.node.backing)))
          throw new BlockError('ENOTSUP');
      } finally {
        release();
      }
      at = end;
    }
  }

  async blockStatus(offset: number, length: number): Promise<BlockStatus> {
    const { clusterBytes } = this.map;
    const cluster = Math.floor(offset / clusterBytes);
    const within = offset % clusterBytes;
    const most = Math.min(maxStatusClusters, Math.ceil((within + length) / clusterBytes));
    const { place, count } = await this.run(cluster, most);
    const size = Math.min(length, count * clusterBytes - within);
    if (place === Place.none) return { length: size, data: false, zero: false, allocated: false };
    if (place === Place.zero) return { length: size, data: false, zero: true, allocated: true };
    const status = { length: size, data: true, zero: false, allocated: true };
    if (place === Place.special) return { ...status, compressed: true };
    return this.map.cipher ? status : { ...status, offset: place + within, file: this.file };
  }
}
