export * from './e1000.js';
export * from './network-peer.js';
