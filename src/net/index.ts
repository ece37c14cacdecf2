export * from './addresses.js';
export * from './guest-link.js';
export * from './host.js';
export * from './offload.js';
export * from './pcap.js';
export * from './user-flow.js';
export * from './user-network.js';
export * from './user-options.js';
