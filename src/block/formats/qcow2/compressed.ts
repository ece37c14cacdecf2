/**
 * Compressed clusters of a qcow2 image: each is one raw deflate stream or zstd frame, somewhere in the file and in whole sectors only as
 * far as its L2 entry tells. New ones are laid one behind the other, so that neighbours are read and written together.
 */
import { BlockError } from '../../errors.js';
import type { CachedTable } from '../table-cache.js';
import type { Qcow2Image, Run } from './image.js';
import { compressedBit, copiedBit } from './layout.js';

/** Contents of the compressed cluster decompressed last: small reads come in rows. */
interface Decompressed {
  readonly high: number;
  readonly low: number;
  readonly bytes: Uint8Array;
}

/** A compressed cluster that is read as a whole, and where in the buffer. */
export interface PackedCluster {
  readonly place: number;
  readonly bytes: number;
  readonly at: number;
}

/** Neighbouring compressed clusters are read together up to this. */
export const packedBytes = 2 ** 20;
/** Buffers of that size kept for the next reads. */
const maxScratch = 8;

export class CompressedClusters {
  readonly #image: Qcow2Image;
  readonly #writePlain: (offset: number, buffer: Uint8Array) => Promise<void>;
  #decompressed: Decompressed | undefined;
  readonly #scratch: Uint8Array[] = [];

  constructor(image: Qcow2Image, writePlain: (offset: number, buffer: Uint8Array) => Promise<void>) {
    this.#image = image;
    this.#writePlain = writePlain;
  }

  // ---- reading

  /** A part of one cluster. */
  async read(run: Run, offset: number, part: Uint8Array): Promise<void> {
    const image = this.#image;
    const inCluster = offset % image.clusterBytes;
    let known = this.#decompressed;
    if (!known || known.high !== run.high || known.low !== run.low) {
      const { offset: place, bytes } = image.compressedPlace(run.high, run.low);
      const plain = new Uint8Array(image.clusterBytes);
      await this.readPacked([{ place, bytes, at: 0 }], plain);
      known = { high: run.high, low: run.low, bytes: plain };
      this.#decompressed = known;
    }
    part.set(known.bytes.subarray(inCluster, inCluster + part.length));
  }

  /** If the cluster was decompressed last. */
  readNow(run: Run, offset: number, part: Uint8Array): boolean {
    const known = this.#decompressed;
    if (!known || known.high !== run.high || known.low !== run.low) return false;
    const inCluster = offset % this.#image.clusterBytes;
    part.set(known.bytes.subarray(inCluster, inCluster + part.length));
    return true;
  }

  /** Reads the bytes of all in one request and decompresses each to its place in `buffer`. */
  async readPacked(clusters: readonly PackedCluster[], buffer: Uint8Array): Promise<void> {
    const image = this.#image;
    const { clusterBytes } = image;
    const start = clusters[0]!.place;
    const end = clusters.reduce((most, { place, bytes }) => Math.max(most, place + bytes), start);
    const isMany = clusters.length > 1 && end - start <= packedBytes;
    const raw = isMany
      ? (this.#scratch.pop() ?? image.host.allocateShared(packedBytes)).subarray(0, end - start)
      : image.host.allocate(end - start);
    try {
      await image.event('read_compressed');
      await image.file.read(start, raw);
      const compression = await image.host.compression();
      await compression.decompressAll(
        image.header.compressionType === 1 ? 'zstd' : 'deflate',
        raw,
        buffer,
        clusters.map(({ place, bytes, at }) => ({ from: place - start, length: bytes, to: at })),
        clusterBytes,
      );
    } finally {
      if (isMany && this.#scratch.length < maxScratch) this.#scratch.push(new Uint8Array(raw.buffer));
    }
  }

  /** A compressed cluster's place was given to something else. */
  forget(): void {
    this.#decompressed = undefined;
  }

  // ---- writing

  /** Whole clusters, or up to the end of the disk; those that don't become smaller are written plainly. */
  async write(offset: number, buffer: Uint8Array): Promise<void> {
    const image = this.#image;
    const { clusterBytes } = image;
    if (image.hasDataFile || image.isEncrypted) throw new BlockError('ENOTSUP');
    if (offset % clusterBytes !== 0) throw new BlockError('EINVAL');
    if (buffer.length % clusterBytes !== 0 && offset + buffer.length !== image.node.length)
      throw new BlockError('EINVAL');
    const compression = await image.host.compression();
    const jobs: Promise<{ readonly source: Uint8Array; readonly packed: Uint8Array | undefined }>[] = [];
    for (let at = 0; at < buffer.length; at += clusterBytes) {
      let source = buffer.subarray(at, at + clusterBytes);
      if (source.length < clusterBytes) {
        const padded = new Uint8Array(clusterBytes);
        padded.set(source);
        source = padded;
      }
      const limit = clusterBytes - 1;
      const packing =
        image.header.compressionType === 1
          ? compression.zstdCompress(source, limit)
          : compression.deflateRaw(source, { windowBits: 12, limit });
      jobs.push(packing.then((packed) => ({ source: buffer.subarray(at, at + clusterBytes), packed })));
    }
    const results = await Promise.all(jobs);
    for (let index = 0; index < results.length; ) {
      const at = offset + index * clusterBytes;
      const packed: Uint8Array[] = [];
      for (; index < results.length && results[index]!.packed; index++) packed.push(results[index]!.packed!);
      if (packed.length > 0) await this.#storeCompressed(at, packed);
      else await this.#writePlain(at, results[index++]!.source);
    }
  }

  /** Stores compressed clusters that follow each other; their bytes mostly lie one behind the other, and are then written at once. */
  async #storeCompressed(offset: number, packed: readonly Uint8Array[]): Promise<void> {
    const image = this.#image;
    const { clusterBytes } = image;
    const first = offset / clusterBytes;
    const end = offset + packed.length * clusterBytes;
    const release = await image.holdExclusively(offset, end);
    try {
      const places: number[] = [];
      await image.mutex.run(async () => {
        for (const [index, { length }] of packed.entries()) {
          const slice = await image.sliceForWrite(first + index);
          // A compressed cluster can't take the place of one that is this image's alone: it would have to be freed first.
          if (slice.view.getUint32(image.entryAt(first + index)) & copiedBit) throw new BlockError('EIO');
          if (image.isLazy) await image.markDirty();
          const place = await this.#allocateBytes(length);
          image.checkOverlap(place, length);
          places.push(place);
        }
      });
      for (let index = 0; index < packed.length; ) {
        const from = index;
        const start = places[from]!;
        let next = start;
        while (index < packed.length && places[index] === next) next += packed[index++]!.length;
        let bytes = packed[from]!;
        if (index > from + 1) {
          bytes = image.host.allocate(next - start);
          for (let at = from; at < index; at++) bytes.set(packed[at]!, places[at]! - start);
        }
        await image.event('write_compressed');
        await image.file.write(start, bytes);
      }
      await image.mutex.run(async () => {
        for (const [index, { length }] of packed.entries()) {
          const slice = await image.sliceForWrite(first + index);
          this.#linkCompressed(slice, first + index, places[index]!, length);
        }
        await image.relieve();
      });
    } finally {
      release();
    }
  }

  #linkCompressed(slice: CachedTable, cluster: number, place: number, length: number): void {
    const image = this.#image;
    const at = image.entryAt(cluster);
    const [oldHigh, oldLow] = [slice.view.getUint32(at), slice.view.getUint32(at + 4)];
    const shift = 62 - (image.clusterBits - 8);
    const sectors = Math.floor((place + length - 1) / 512) - Math.floor(place / 512);
    slice.view.setUint32(at, (compressedBit | (sectors << (shift - 32)) | Math.floor(place / 2 ** 32)) >>> 0);
    slice.view.setUint32(at + 4, place % 2 ** 32);
    if (image.isExtended) {
      slice.view.setUint32(at + 8, 0);
      slice.view.setUint32(at + 12, 0);
    }
    image.freeEntry(oldHigh, oldLow, 'never');
    image.l2.markDirty(slice);
  }

  /** Room for compressed bytes: after the previous ones in the same cluster, and over its end where the next cluster follows. */
  async #allocateBytes(size: number): Promise<number> {
    const image = this.#image;
    const { clusterBytes, refcounts } = image;
    await image.event('cluster_alloc_bytes');
    const current = image.freeByteOffset;
    const room = current === 0 ? 0 : clusterBytes - (current % clusterBytes);
    let place: number;
    if (current !== 0 && room >= size && (await this.#canShare(current))) {
      await refcounts.add(Math.floor(current / clusterBytes), 1, 1);
      place = current;
    } else {
      const fresh = await refcounts.allocate(1);
      if (
        current !== 0 &&
        room > 0 &&
        room < clusterBytes &&
        fresh === current + room &&
        (await this.#canShare(current))
      ) {
        await refcounts.add(Math.floor(current / clusterBytes), 1, 1);
        place = current;
      } else place = fresh;
    }
    const end = place + size;
    image.freeByteOffset = end % clusterBytes === 0 ? 0 : end;
    return place;
  }

  async #canShare(offset: number): Promise<boolean> {
    const count = await this.#image.refcounts.get(Math.floor(offset / this.#image.clusterBytes));
    return count > 0 && count < this.#image.refcounts.maxCount;
  }
}
