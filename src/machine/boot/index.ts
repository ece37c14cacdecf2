export * from './bios-remains.js';
export * from './boot-state.js';
export * from './e820.js';
export { loadKernel } from './load-kernel.js';
