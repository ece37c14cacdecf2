export * from './host.js';
export * from './server.js';
