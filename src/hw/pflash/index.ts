export * from './cfi-flash.js';
export * from './wiring.js';
