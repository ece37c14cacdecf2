export * from './board-items.js';
export * from './fw-cfg.js';
export * from './wiring.js';
