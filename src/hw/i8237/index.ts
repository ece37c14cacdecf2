export * from './i8237.js';
export * from './wiring.js';
