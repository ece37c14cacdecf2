export * from './address-space.js';
export * from './irq-line.js';
