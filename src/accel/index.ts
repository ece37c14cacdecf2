export * from './accelerator.js';
export * from './exits.js';
export { maxGuestBytes } from './guest-limit.js';
export * from './tcg/engine.js';
export type * from './tcg/engine-options.js';
export { type BuiltModule, RegionBuilder, type RegionSetup } from './tcg/region-builder.js';
export { InlineRegionService, type RegionService } from './tcg/region-compiler.js';
export { type HotBlock, RegionQueue } from './tcg/region-queue.js';
