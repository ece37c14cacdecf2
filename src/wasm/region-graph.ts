/**
 * The control flow of a region: blocks joined by direct edges, as structured WebAssembly needs it (dominators, loops).
 * Ramsey, "Beyond Relooper" (ICFP 2022): reverse postorder, merge nodes, loop headers. An edge that would make the graph
 * irreducible leaves the region instead. Arrays are plain ones: made for each region, typed ones would cost more than what is done with them.
 */

/** Where an edge goes: index of a block of the region, or -1 to leave. */
export type EdgeTargets = readonly [number, number];

export interface RegionGraph {
  /** Block indices in reverse postorder; only reachable ones. */
  readonly order: readonly number[];
  /** Position of each block in `order`, or -1. */
  readonly position: readonly number[];
  /** Immediate dominator of each block; the head's is itself. */
  readonly dominator: readonly number[];
  /** Children in the dominator tree that several forward edges reach, by block, latest first. */
  readonly mergeChildren: readonly (readonly number[])[];
  /** 0 or 1 for each block. */
  readonly isMerge: readonly number[];
  readonly isLoopHeader: readonly number[];
  /** Edges of each block after irreducible ones have been cut. */
  readonly edges: readonly EdgeTargets[];
  /** For each block its only forward predecessor, or -1 when there are several (or none). */
  readonly singlePredecessor: readonly number[];
}

/** `edges[i]`: the two targets of block i (equal, or the second -1, if it has one). Block 0 is the head. */
export function analyseRegion(given: readonly EdgeTargets[]): RegionGraph {
  const count = given.length;
  const targets: number[] = [];
  for (let block = 0; block < count; block++) {
    targets.push(given[block][0], given[block][1]);
  }
  const order = reversePostorder(targets);
  const position = filled(count, -1);
  for (let i = 0; i < order.length; i++) position[order[i]] = i;
  const dominator = immediateDominators(targets, order, position);
  const isLoopHeader = filled(count, 0);
  const singlePredecessor = filled(count, -1);
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
  return { order, position, dominator, mergeChildren, isMerge, isLoopHeader, edges, singlePredecessor };
}

const filled = (count: number, value: number): number[] => new Array<number>(count).fill(value);

/** By an explicit stack; the second target is visited first so that the first one follows its source. */
function reversePostorder(targets: number[]): number[] {
  const count = targets.length >> 1;
  const order: number[] = [];
  const visited = filled(count, 0);
  const stack = filled(count, 0);
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
function immediateDominators(targets: number[], order: readonly number[], position: readonly number[]): number[] {
  const dominator = filled(targets.length >> 1, -1);
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

/** The nearest block that lies on all ways to both. */
export function commonDominator(
  x: number,
  y: number,
  dominator: readonly number[],
  position: readonly number[],
): number {
  let a = x;
  let b = y;
  while (a !== b) {
    while (position[a] > position[b]) a = dominator[a];
    while (position[b] > position[a]) b = dominator[b];
  }
  return a;
}

function dominates(a: number, b: number, dominator: readonly number[]): boolean {
  for (let at = b; at !== a; at = dominator[at]) if (at === 0) return false;
  return true;
}

/** Finds loop headers and blocks that several forward edges reach (returned), and cuts what is irreducible. */
function classifyEdges(
  targets: number[],
  order: readonly number[],
  position: readonly number[],
  dominator: readonly number[],
  isLoopHeader: number[],
  singlePredecessor: number[],
): number[] {
  const isMerge = filled(isLoopHeader.length, 0);
  const reached = filled(isLoopHeader.length, 0);
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
