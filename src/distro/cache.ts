/**
 * What `vring cache list` shows and `vring cache prune` removes. Removing is safe while other processes use the cache: they
 * hold what they have read, and fetch again what they miss.
 */
import { CacheDirectory, type CacheFile, defaultCacheRoot } from '../host/node/cache-dir.js';
import type { Environment } from '../host/node/proxy.js';
import { parsePick } from './debian.js';

export interface CacheOptions {
  readonly cacheDirectory?: string | undefined;
  readonly env?: Environment | undefined;
}

export interface CachedSystem {
  /** `debian:SUITE`. */
  readonly name: string;
  readonly codename: string;
  readonly architecture: string;
  readonly flavour: string;
  /** Of the kernel and the initramfs, which several suites may share. */
  readonly bytes: number;
  readonly checkedMs: number;
  readonly usedMs: number;
}

export interface CacheListing {
  readonly root: string;
  readonly systems: readonly CachedSystem[];
  /** Everything, indexes and what nothing refers to included. */
  readonly totalBytes: number;
}

const systemKey = (name: string): string | undefined => /^debian\/systems\/([^/]+)\//.exec(name)?.[1];

function open(options: CacheOptions): CacheDirectory {
  return new CacheDirectory(options.cacheDirectory ?? defaultCacheRoot(options.env ?? process.env));
}

async function readPicks(cache: CacheDirectory, files: readonly CacheFile[]) {
  const picks = [];
  for (const file of files) {
    if (!file.name.startsWith('debian/picks/')) continue;
    const pick = parsePick(await cache.read(file.name));
    if (pick !== undefined) picks.push({ file, pick });
  }
  return picks;
}

export async function listCache(options: CacheOptions = {}): Promise<CacheListing> {
  const cache = open(options);
  const files = await cache.list();
  const systems = (await readPicks(cache, files)).map(({ file, pick }) => ({
    name: `debian:${pick.suite}`,
    codename: pick.codename,
    architecture: pick.architecture,
    flavour: pick.flavour,
    bytes: files.filter(({ name }) => systemKey(name) === pick.system).reduce((sum, { bytes }) => sum + bytes, 0),
    checkedMs: pick.checkedMs,
    usedMs: file.modifiedMs,
  }));
  return { root: cache.root, systems, totalBytes: files.reduce((sum, { bytes }) => sum + bytes, 0) };
}

export interface PruneOptions extends CacheOptions {
  /** Remove everything. */
  readonly all?: boolean | undefined;
  /** Remove systems that were not used for this long; 30 days by default. */
  readonly unusedForMs?: number | undefined;
}

/** Removes what is long unused and what nothing refers to: older kernels, package indexes, left-over temporary files. */
export async function pruneCache(
  options: PruneOptions = {},
): Promise<{ removed: readonly string[]; freedBytes: number }> {
  const cache = open(options);
  const files = await cache.list();
  const limitMs = Date.now() - (options.unusedForMs ?? 30 * 86_400_000);
  const kept = new Set<string>();
  if (options.all !== true) {
    for (const { file, pick } of await readPicks(cache, files)) {
      if (file.modifiedMs < limitMs) continue;
      kept.add(file.name);
      for (const { name } of files) if (systemKey(name) === pick.system) kept.add(name);
    }
  }
  const doomed = files.filter(({ name }) => !kept.has(name));
  // Picks first, so that nobody who looks meanwhile finds one whose system is gone.
  doomed.sort((a, b) => Number(b.name.startsWith('debian/picks/')) - Number(a.name.startsWith('debian/picks/')));
  await cache.remove(doomed.map(({ name }) => name));
  const leftOver = await cache.removeLeftOvers(options.all === true ? 3_600_000 : undefined);
  return {
    removed: doomed.map(({ name }) => name),
    freedBytes: doomed.reduce((sum, { bytes }) => sum + bytes, leftOver),
  };
}
