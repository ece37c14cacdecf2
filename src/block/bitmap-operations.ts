/** What people do with the dirty bitmaps of a node: QEMU's rules and sentences, for `img bitmap` and for a running machine. */
import { SparseBitmap } from './dirty-bitmap.js';
import { BlockError } from './errors.js';
import type { GraphNode } from './graph-node.js';

const defaultGranularity = 65536;
const maxGranularity = 2 ** 31;

export interface NewBitmap {
  readonly name: string;
  /** Bytes, a power of two; by default a cluster, 4 KiB to 64 KiB. */
  readonly granularity?: number | undefined;
  /** Stored in the image. */
  readonly persistent?: boolean | undefined;
  readonly disabled?: boolean | undefined;
}

/** Throws BlockError `ENOENT`. */
export function findBitmap(node: GraphNode, name: string): SparseBitmap {
  const found = node.bitmaps.find((candidate) => candidate.name === name);
  if (!found) throw new BlockError('ENOENT', `Dirty bitmap '${name}' not found`);
  return found as SparseBitmap;
}

/** Throws BlockError where nothing may be done with it but to remove it, or nothing at all for now. */
function readable(bitmap: SparseBitmap): SparseBitmap {
  const { name } = bitmap;
  if (bitmap.busy)
    throw new BlockError('EBUSY', `Bitmap '${name}' is currently in use by another operation and cannot be used`);
  if (!bitmap.inconsistent) return bitmap;
  throw new BlockError(
    'EINVAL',
    `Bitmap '${name}' is inconsistent and cannot be used\nTry block-dirty-bitmap-remove to delete this bitmap from disk`,
  );
}

/** Throws BlockError where it may not be changed. */
export function usableBitmap(bitmap: SparseBitmap): SparseBitmap {
  readable(bitmap);
  if (bitmap.readOnly) throw new BlockError('EPERM', `Bitmap '${bitmap.name}' is readonly and cannot be modified`);
  return bitmap;
}

/** Rejects with BlockError. */
export async function addBitmap(
  node: GraphNode,
  { name, granularity, persistent, disabled }: NewBitmap,
): Promise<void> {
  if (name === '') throw new BlockError('EINVAL', 'Bitmap name cannot be empty');
  const size =
    granularity ||
    Math.max(4096, Math.min(defaultGranularity, (await node.getInfo()).clusterSizeBytes ?? defaultGranularity));
  if (size < 512 || size > maxGranularity || !Number.isInteger(Math.log2(size)))
    throw new BlockError('EINVAL', 'Granularity must be power of 2 and at least 512');
  if (persistent) {
    const { persistentBitmaps } = node.skipFilters().instance;
    if (!persistentBitmaps)
      throw new BlockError('ENOTSUP', `Can't store persistent bitmaps to ${node.nodeName}: Operation not supported`);
    await persistentBitmaps.canStore(name, size);
  }
  if (node.bitmaps.some((candidate) => candidate.name === name))
    throw new BlockError('EEXIST', `Bitmap already exists: ${name}`);
  const made = new SparseBitmap(name, size, node.length);
  made.persistent = persistent ?? false;
  made.enabled = !disabled;
  node.addBitmap(made);
}

/** From memory, and from the image. Rejects with BlockError. */
export async function removeBitmap(node: GraphNode, name: string): Promise<void> {
  const found = findBitmap(node, name);
  if (found.busy) readable(found);
  if (found.persistent) await node.skipFilters().instance.persistentBitmaps?.remove(name);
  node.removeBitmap(found);
}

/** Adds all bits of `from` to a bitmap. Throws BlockError. */
export function mergeBitmap(into: SparseBitmap, from: SparseBitmap): void {
  readable(from);
  if (from.length !== into.length) {
    throw new BlockError(
      'EINVAL',
      `Bitmaps are of different sizes (destination size is ${into.length}, source size is ${from.length}) and can't be merged`,
    );
  }
  usableBitmap(into).merge(from);
}
