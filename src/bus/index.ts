export * from './address-space.js';
export * from './device.js';
export * from './interrupt-controller.js';
export * from './irq-line.js';
export * from './manual-time.js';
export * from './memory-space.js';
export * from './port-space.js';
export * from './registers.js';
