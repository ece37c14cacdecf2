/** Feature bits that belong to no single device (Virtual I/O Device 1.2, chapter 6), as bit numbers. */
export const ringFeature = {
  anyLayout: 27,
  indirectDescriptors: 28,
  eventIndex: 29,
  version1: 32,
  packedRing: 34,
} as const;

/** Feature bits as two 32-bit halves, as every transport shows them. */
export interface FeatureSet {
  readonly low: number;
  readonly high: number;
}

export function featureSet(bits: Iterable<number>): FeatureSet {
  let low = 0;
  let high = 0;
  for (const bit of bits) {
    if (bit < 32) low |= 2 ** bit;
    else high |= 2 ** (bit - 32);
  }
  return { low: low >>> 0, high: high >>> 0 };
}
