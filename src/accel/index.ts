export * from './tcg/engine.js';
export { MAX_GUEST_BYTES } from './tcg/layout.js';
