/**
 * Where a region loads its guest variables, and which of them an exit stores. Many ways through a region are short, so a variable is
 * loaded no earlier than on the ways that need it, and an exit spills only what may have been written before it.
 */
import { commonDominator, type RegionGraph } from './region-graph.js';

/** Exits differ in how many of these groups of variables they spill. */
const MOST_GROUPS = 8;

/** First `begin`, then each use and write in the graph's order, then `finish`: the rest holds until the next `begin`. */
export class SpillPlan {
  /** By variable: the block at whose start it is loaded; -1: it is not used. */
  readonly loadedIn: Int32Array;
  /**
   * By variable: its spill group, by the block that writes it first; -1: it is not written. An exit at level n spills the groups up to
   * n: no variable of a later one has been written on a way to it.
   */
  readonly group: Int32Array;
  groups = 0;
  /** Level at the start of each block. */
  levelIn: number[] = [];
  #levelOut: number[] = [];
  /** Block that gives its own group to what it writes first, and that group. */
  #block = -1;
  #newGroup = 0;
  #graph: RegionGraph | undefined;

  constructor(vars: number) {
    this.loadedIn = new Int32Array(vars);
    this.group = new Int32Array(vars);
  }

  begin(graph: RegionGraph): void {
    this.#graph = graph;
    this.loadedIn.fill(-1);
    this.group.fill(-1);
    this.groups = 0;
    this.#block = -1;
    this.levelIn = graph.edges.map(() => -1);
    this.#levelOut = graph.edges.map(() => -1);
  }

  use(id: number, block: number): void {
    const loaded = this.loadedIn[id];
    if (loaded !== block) this.loadedIn[id] = this.#common(loaded, block);
  }

  write(id: number, block: number): void {
    this.use(id, block);
    if (this.group[id] < 0) {
      if (this.#block !== block) {
        this.#block = block;
        this.#newGroup = Math.min(this.groups, MOST_GROUPS - 1);
      }
      this.group[id] = this.#newGroup;
      this.groups = this.#newGroup + 1;
    }
    this.#levelOut[block] = Math.max(this.#levelOut[block], this.group[id]);
  }

  finish(): void {
    this.#findLevels();
    this.#placeLoads();
  }

  /** The nearest block on all ways to both; -1 stands for none yet. */
  #common(a: number, b: number): number {
    if (a < 0 || b < 0) return Math.max(a, b);
    const { dominator, position } = this.#graph as RegionGraph;
    return commonDominator(a, b, dominator, position);
  }

  #findLevels(): void {
    const { order, edges, position } = this.#graph as RegionGraph;
    const { levelIn } = this;
    const levelOut = this.#levelOut;
    for (let changed = true; changed; ) {
      changed = false;
      for (const index of order) {
        if (levelIn[index] > levelOut[index]) levelOut[index] = levelIn[index];
        for (const to of edges[index]) {
          if (to < 0 || levelIn[to] >= levelOut[index]) continue;
          levelIn[to] = levelOut[index];
          changed ||= position[to] <= position[index];
        }
      }
    }
  }

  /** Where a variable may be spilled it has been loaded, and none is loaded in a loop. */
  #placeLoads(): void {
    const graph = this.#graph as RegionGraph;
    // Of each group, the nearest block on all ways to those that may spill it.
    const spilled = new Array<number>(this.groups).fill(-1);
    for (const index of graph.order) {
      const level = this.#levelOut[index];
      if (level >= 0) spilled[level] = this.#common(spilled[level], index);
    }
    for (let group = this.groups - 2; group >= 0; group--)
      spilled[group] = this.#common(spilled[group], spilled[group + 1]);
    const isInLoop = loops(graph);
    for (let id = 0; id < this.loadedIn.length; id++) {
      let block = this.loadedIn[id];
      if (block < 0) continue;
      if (this.group[id] >= 0) block = this.#common(block, spilled[this.group[id]]);
      while (block !== 0 && isInLoop[graph.position[block]]) block = graph.dominator[block];
      this.loadedIn[id] = block;
    }
  }
}

/** By position in the order: whether it lies between the start of a loop and where the loop branches back. */
function loops({ order, edges, position }: RegionGraph): readonly boolean[] {
  const isInLoop = order.map(() => false);
  order.forEach((index, last) => {
    for (const to of edges[index]) {
      if (to < 0 || position[to] > last) continue;
      for (let i = position[to]; i <= last; i++) isInLoop[i] = true;
    }
  });
  return isInLoop;
}
