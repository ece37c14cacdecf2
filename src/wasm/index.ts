export * from './cold-code.js';
export * from './cold-serializer.js';
export * from './cold-tier.js';
export * from './function-emitter.js';
export * from './module.js';
export { printModule } from './print.js';
export * from './region-emitter.js';
export * from './routine-emitter.js';
export * from './routine-module.js';
