/** `vring/block`: open a disk image or a graph of block nodes, read, write, map, and run jobs on it. */
export * from './errors.js';
export { BlockGraph, type CacheMode, cacheFlags, type OpenRequest } from './graph.js';
export { checkRange } from './graph-node.js';
export * from './host.js';
export * from './node.js';
export * from './options.js';
export { type RegistryRow, registryRows } from './registry.js';
