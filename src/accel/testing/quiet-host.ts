/** A host without devices, time or requests, for tests of a vCPU alone. */
import type { EngineHost } from '../tcg/engine-options.js';

export const quietHost: EngineHost = {
  mmioRead: () => 0,
  mmioWrite: () => {},
  pioRead: () => 0,
  pioWrite: () => {},
  readTsc: () => 0n,
  randomBits: () => 0n,
  poll: () => false,
};
