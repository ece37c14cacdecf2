/**
 * The control flow of a region: blocks joined by direct edges, as structured WebAssembly needs it (dominators, loops).
 * Ramsey, "Beyond Relooper" (ICFP 2022): reverse postorder, merge nodes, loop headers. An edge that would make the graph
 * irreducible leaves the region instead.
 */

/** Where an edge goes: index of a block of the region, or -1 to leave. */
export type EdgeTargets = readonly [number, number];

export interface RegionGraph {
  /** Block indices in reverse postorder; only reachable ones. */
  readonly order: readonly number[];
  /** Position of each block in `order`, or -1. */
  readonly position: Int32Array;
  /** Children in the dominator tree that several forward edges reach, by block, latest first. */
  readonly mergeChildren: readonly (readonly number[])[];
  readonly isMerge: Uint8Array;
  readonly isLoopHeader: Uint8Array;
  /** Edges of each block after irreducible ones have been cut. */
  readonly edges: readonly EdgeTargets[];
  /** For each block its only forward predecessor, or -1 when there are several (or none). */
  readonly singlePredecessor: Int32Array;
}

/** `edges[i]`: the two targets of block i (equal, or the second -1, if it has one). Block 0 is the head. */
export function analyseRegion(given: readonly EdgeTargets[]): RegionGraph {
  const count = given.length;
  const edges = given.map(([a, b]) => [a, b] as [number, number]);
  const position = new Int32Array(count).fill(-1);
  const order: number[] = [];
  // Postorder by an explicit stack; the second target is visited first so that the first one follows its source.
  const seen = new Uint8Array(count);
  const stack: [number, number][] = [[0, 0]];
  seen[0] = 1;
  while (stack.length > 0) {
    const top = stack[stack.length - 1];
    const [block, next] = top;
    if (next === 2) {
      stack.pop();
      order.push(block);
      continue;
    }
    top[1]++;
    const target = edges[block][1 - next];
    if (target >= 0 && !seen[target]) {
      seen[target] = 1;
      stack.push([target, 0]);
    }
  }
  order.reverse();
  order.forEach((block, i) => {
    position[block] = i;
  });

  // Immediate dominators (Cooper, Harvey, Kennedy).
  const predecessors: number[][] = edges.map(() => []);
  for (const block of order)
    for (const target of new Set(edges[block])) if (target >= 0) predecessors[target].push(block);
  const dominator = new Int32Array(count).fill(-1);
  dominator[0] = 0;
  const intersect = (x: number, y: number): number => {
    let a = x;
    let b = y;
    while (a !== b) {
      while (position[a] > position[b]) a = dominator[a];
      while (position[b] > position[a]) b = dominator[b];
    }
    return a;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (const block of order) {
      if (block === 0) continue;
      let dom = -1;
      for (const from of predecessors[block]) {
        if (dominator[from] < 0) continue;
        dom = dom < 0 ? from : intersect(from, dom);
      }
      if (dominator[block] !== dom) {
        dominator[block] = dom;
        changed = true;
      }
    }
  }
  const dominates = (a: number, b: number): boolean => {
    for (let at = b; ; at = dominator[at]) {
      if (at === a) return true;
      if (at === 0) return false;
    }
  };

  const isLoopHeader = new Uint8Array(count);
  const forward = new Int32Array(count);
  const singlePredecessor = new Int32Array(count).fill(-1);
  for (const block of order) {
    const pair = edges[block];
    for (let i = 0; i < 2; i++) {
      const target = pair[i];
      if (target < 0 || (i === 1 && target === pair[0])) continue;
      if (position[target] > position[block]) {
        singlePredecessor[target] = forward[target] === 0 ? block : -1;
        forward[target]++;
      } else if (dominates(target, block)) isLoopHeader[target] = 1;
      else {
        // Into the middle of a loop from elsewhere: through the dispatcher.
        if (pair[0] === target) pair[0] = -1;
        if (pair[1] === target) pair[1] = -1;
      }
    }
  }
  const isMerge = Uint8Array.from(forward, (n) => (n > 1 ? 1 : 0));
  const mergeChildren: number[][] = edges.map(() => []);
  for (const block of order) if (block !== 0 && isMerge[block]) mergeChildren[dominator[block]].push(block);
  for (const children of mergeChildren) children.sort((a, b) => position[b] - position[a]);
  return { order, position, mergeChildren, isMerge, isLoopHeader, edges, singlePredecessor };
}
