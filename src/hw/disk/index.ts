export * from './block-backend.js';
export * from './disk-transfer.js';
export * from './scatter-list.js';
