/** `vring/block`: open a disk image or a graph of block nodes, read, write, map, and run jobs on it. */

export {
  addBitmap,
  findBitmap,
  mergeBitmap,
  type NewBitmap,
  removeBitmap,
  usableBitmap,
} from './bitmap-operations.js';
export { SparseBitmap } from './dirty-bitmap.js';
export * from './errors.js';
export {
  checkThrottleLimits,
  forgetThrottleGroup,
  ThrottleGroup,
  type ThrottleLimit,
  type ThrottleLimits,
  throttleKinds,
} from './filters/throttle.js';
export {
  BlockGraph,
  blockdevRequest,
  type DriveRequest,
  driveRequest,
  type OpenRequest,
} from './graph.js';
export { GraphNode } from './graph-node.js';
export * from './host.js';
export { describeImage, type ImageInfo, imageInfoJson } from './image-info.js';
export { BackupJob, type BackupOptions } from './jobs/backup.js';
export { type CommitOptions, commitChain } from './jobs/commit.js';
export { JobIoError, type JobOptions } from './jobs/job.js';
export { MirrorJob, type MirrorOptions } from './jobs/mirror.js';
export { copyUp, leaveChain, type StreamOptions, streamChain } from './jobs/stream.js';
export * from './node.js';
export { type CacheMode, cacheFlags, cacheModeOf } from './node-flags.js';
export * from './options.js';
export { addTemporaryOverlay } from './overlay.js';
export type { TlsCredentials, TlsEndpoint } from './protocols/nbd/credentials.js';
export { checkRange } from './range.js';
export { type RegistryRow, registryRows } from './registry.js';
