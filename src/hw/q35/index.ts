export * from './ich9-lpc.js';
export * from './ich9-smbus.js';
export * from './mch.js';
