export * from './e1000.js';
export * from './ne2000-card.js';
export * from './network-peer.js';
export * from './rtl8139.js';
