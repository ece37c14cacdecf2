/** The rearrangement of lanes between memory's order and registers, for loads and stores of structures of AArch64 and AArch32. */
import type { V128 } from '../../../ir/index.js';
import { laneCount, lanesOf, type Size, type VectorTranslator } from './vector.js';

/**
 * Vectors whose lanes come from others: `from` gives for vector v and lane n which one's lane it is. Lanes
 * that no source has are left open.
 */
export function rearranged(
  t: VectorTranslator,
  sources: readonly V128[],
  count: number,
  size: Size,
  from: (v: number, n: number) => [number, number],
): V128[] {
  const whole = laneCount(size, 1);
  return Array.from({ length: count }, (_, v) => {
    const wanted = Array.from({ length: whole }, (__, n) => from(v, n));
    const needed = sources.map((__, s) => s).filter((s) => wanted.some(([source]) => source === s));
    // The first two at once, each other one added to what is there.
    const [first = 0, second = first, ...others] = needed;
    const place = ([source, lane]: [number, number], n: number): number =>
      source === first ? lane : source === second ? whole + lane : n;
    const start = lanesOf(t, sources[first], sources[second], size, wanted.map(place));
    return others.reduce<V128>(
      (done, s) =>
        lanesOf(
          t,
          done,
          sources[s],
          size,
          wanted.map(([source, lane], n) => (source === s ? whole + lane : n)),
        ),
      start,
    );
  });
}
