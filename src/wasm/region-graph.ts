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
  const targets = new Int32Array(2 * count);
  for (let block = 0; block < count; block++) {
    targets[2 * block] = given[block][0];
    targets[2 * block + 1] = given[block][1];
  }
  const order = reversePostorder(targets);
  const position = new Int32Array(count).fill(-1);
  for (let i = 0; i < order.length; i++) position[order[i]] = i;
  const dominator = immediateDominators(targets, order, position);
  const isLoopHeader = new Uint8Array(count);
  const singlePredecessor = new Int32Array(count).fill(-1);
  const isMerge = classifyEdges(targets, order, position, dominator, isLoopHeader, singlePredecessor);
  const mergeChildren: number[][] = [];
  const edges: EdgeTargets[] = [];
  for (let block = 0; block < count; block++) {
    mergeChildren.push([]);
    edges.push([targets[2 * block], targets[2 * block + 1]]);
  }
  // Against the order: the latest child comes first.
  for (let i = order.length - 1; i > 0; i--)
    if (isMerge[order[i]] === 1) mergeChildren[dominator[order[i]]].push(order[i]);
  return { order, position, mergeChildren, isMerge, isLoopHeader, edges, singlePredecessor };
}

/** By an explicit stack; the second target is visited first so that the first one follows its source. */
function reversePostorder(targets: Int32Array): number[] {
  const count = targets.length >> 1;
  const order: number[] = [];
  const visited = new Uint8Array(count);
  const stack = new Int32Array(count);
  let depth = 0;
  visited[0] = 1;
  while (depth >= 0) {
    const block = stack[depth];
    const tries = visited[block]++;
    if (tries > 2) {
      order.push(block);
      depth--;
      continue;
    }
    const target = targets[2 * block + 2 - tries];
    if (target >= 0 && visited[target] === 0) {
      visited[target] = 1;
      stack[++depth] = target;
    }
  }
  order.reverse();
  return order;
}

/** Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm": by block; -1 where nothing leads to it. */
function immediateDominators(targets: Int32Array, order: readonly number[], position: Int32Array): Int32Array {
  const dominator = new Int32Array(targets.length >> 1).fill(-1);
  dominator[0] = 0;
  // Each round hands on along all edges; a block's dominator begins as the first predecessor that has one.
  for (let changed = true; changed; ) {
    changed = false;
    for (let i = 0; i < order.length; i++) {
      for (let side = 0; side < 2; side++) {
        const target = targets[2 * order[i] + side];
        if (target <= 0) continue;
        const known = dominator[target];
        const dom = known < 0 ? order[i] : commonDominator(known, order[i], dominator, position);
        if (dom === known) continue;
        dominator[target] = dom;
        changed = true;
      }
    }
  }
  return dominator;
}

function commonDominator(x: number, y: number, dominator: Int32Array, position: Int32Array): number {
  let a = x;
  let b = y;
  while (a !== b) {
    while (position[a] > position[b]) a = dominator[a];
    while (position[b] > position[a]) b = dominator[b];
  }
  return a;
}

function dominates(a: number, b: number, dominator: Int32Array): boolean {
  for (let at = b; at !== a; at = dominator[at]) if (at === 0) return false;
  return true;
}

/** Finds loop headers and blocks that several forward edges reach (returned), and cuts what is irreducible. */
function classifyEdges(
  targets: Int32Array,
  order: readonly number[],
  position: Int32Array,
  dominator: Int32Array,
  isLoopHeader: Uint8Array,
  singlePredecessor: Int32Array,
): Uint8Array {
  const isMerge = new Uint8Array(isLoopHeader.length);
  const reached = new Uint8Array(isLoopHeader.length);
  for (let i = 0; i < order.length; i++) {
    const block = order[i];
    for (let side = 0; side < 2; side++) {
      const target = targets[2 * block + side];
      if (target < 0 || (side === 1 && target === targets[2 * block])) continue;
      if (position[target] > i) {
        singlePredecessor[target] = reached[target] === 0 ? block : -1;
        if (reached[target] === 1) isMerge[target] = 1;
        reached[target] = 1;
      } else if (dominates(target, block, dominator)) isLoopHeader[target] = 1;
      else {
        // Into the middle of a loop from elsewhere: through the dispatcher.
        if (targets[2 * block + 1] === target) targets[2 * block + 1] = -1;
        if (targets[2 * block] === target) targets[2 * block] = -1;
      }
    }
  }
  return isMerge;
}
