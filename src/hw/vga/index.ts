export * from './vga.js';
export * from './vga-renderer.js';
export * from './vga-state.js';
export * from './wiring.js';
