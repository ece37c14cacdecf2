/** Numbers from 0 up to below what is asked for, the same for each start (xorshift32). For tests. */
export function generator(start: number): (below: number) => number {
  let state = Math.imul(start + 1, 2654435761) >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
