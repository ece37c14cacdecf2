/** `vring/block`: open a disk image or a graph of block nodes, read, write, map, and run jobs on it. */
export * from './errors.js';
export * from './host.js';
export * from './node.js';
export * from './options.js';
