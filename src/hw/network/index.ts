export * from './network-peer.js';
