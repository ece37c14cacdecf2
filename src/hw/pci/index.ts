export * from './assign-resources.js';
export * from './gpex.js';
export * from './i440fx.js';
export * from './msi.js';
export * from './msix.js';
export * from './pci-function.js';
export * from './pci-root.js';
export * from './saved-parts.js';
