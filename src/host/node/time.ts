/** The host's clocks and entropy for a machine. */
import { randomFillSync } from 'node:crypto';
import { performance } from 'node:perf_hooks';

export const hostTime = {
  nowNs: (): number => performance.now() * 1e6,
  wallNs: (): number => (performance.timeOrigin + performance.now()) * 1e6,
};

const pool = new BigUint64Array(64);
let left = 0;

/** 64 bits from the host's cryptographic generator. */
export function hostRandomBits(): bigint {
  if (left === 0) {
    randomFillSync(pool);
    left = pool.length;
  }
  return pool[--left];
}
