export * from './function-emitter.js';
export * from './module.js';
export * from './routine-emitter.js';
export * from './routine-module.js';
