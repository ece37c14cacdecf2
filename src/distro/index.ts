/** Distributions ready to boot: everything that `vring run debian` needs before the machine starts. */

export { chooseArchitecture, type DebianArchitecture, debianArchitectures } from './architectures.js';
export type { FetchProgress } from './archive.js';
export {
  type CachedSystem,
  type CacheListing,
  type CacheOptions,
  listCache,
  type PruneOptions,
  pruneCache,
} from './cache.js';
export { type PrepareDebianOptions, type PreparedDebian, parseDebianName, prepareDebian } from './debian.js';
export * from './guest-protocol.js';
