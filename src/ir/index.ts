export * from './access.js';
export * from './builder.js';
export * from './emitter.js';
export * from './exit-word.js';
export * from './ops.js';
export * from './types.js';
export * from './vcpu-header.js';
export * from './engine-routines.js';
