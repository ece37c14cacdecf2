/**
 * What both tiers do to a block before it is lowered: guest-variable writes that nobody can see are dropped (above all
 * flags that the next instruction overwrites), and so are ops whose results are unused. One backward pass and a compaction.
 */
import { assert } from '../base/index.js';
import type { BlockBuilder } from './builder.js';
import { Op, opList, opWords } from './ops.js';
import type { GuestVars, Routine } from './types.js';

const paramCount = Uint8Array.from(opList, (row) => row.params.length);
const hasResult = Uint8Array.from(opList, (row) => (row.result ? 1 : 0));
const mayExit = Uint8Array.from(opList, (row) => (row.effects.mayExit ? 1 : 0));
/** Removed when its result is unused. */
const removable = Uint8Array.from(opList, (row) =>
  row.result !== undefined && !row.effects.writes && !row.effects.mayExit && !row.effects.control ? 1 : 0,
);

/** An op that never comes. */
const NEVER = 0x7fffffff;

/** What is known of an optimized block. Ops go by their number in the builder, those that were dropped counted too. */
export interface BlockUses {
  /** Of each temp: the last op that uses it, or -1. */
  readonly lastUse: Int32Array;
  /** Of each get and set of a guest variable: the next op behind it that writes the variable; greater than all where there is none. */
  readonly nextSet: Int32Array;
}

export class BlockOptimizer implements BlockUses {
  readonly #routines: readonly Routine[];
  lastUse = new Int32Array(1024);
  nextSet = new Int32Array(1024);
  readonly #dead: Float64Array;
  #mark = 0;
  /** Of each variable: the first op seen so far that writes it, plus #base; less than #base: none in this block. */
  readonly #lastSet: Int32Array;
  /** Grows with every block, so that what earlier ones left in #lastSet need not be cleared. */
  #base = 1;

  constructor(vars: GuestVars, routines: readonly Routine[]) {
    this.#routines = routines;
    this.#dead = new Float64Array(vars.vars.length);
    this.#lastSet = new Int32Array(vars.vars.length);
  }

  run(b: BlockBuilder): void {
    const { words, starts, ops, temps } = b;
    if (this.lastUse.length < temps) this.lastUse = new Int32Array(temps * 2);
    if (this.nextSet.length < ops) this.nextSet = new Int32Array(ops * 2);
    const { lastUse, nextSet } = this;
    lastUse.fill(-1, 0, temps);
    const lastSet = this.#lastSet;
    const base = this.#base;
    // The first op seen so far that writes all variables.
    let allSet = NEVER;
    // A variable is dead where its mark is the current number: making all live again is a new number.
    const dead = this.#dead;
    let mark = ++this.#mark;
    let dropped = 0;
    for (let i = ops - 1; i >= 0; i--) {
      const at = starts[i];
      const op = words[at];
      // Operands that the op uses.
      let first = at + 1;
      let count = 0;
      if (op >= Op.get_i32 && op <= Op.get_v128) {
        if (lastUse[words[at + 1]] < 0) {
          starts[i] = -1;
          dropped++;
          continue;
        }
        const id = words[at + 2];
        dead[id] = 0;
        const seen = lastSet[id] - base;
        nextSet[i] = seen >= 0 && seen < allSet ? seen : allSet;
      } else if (op >= Op.set_i32 && op <= Op.set_v128) {
        const id = words[at + 2];
        if (dead[id] === mark) {
          starts[i] = -1;
          dropped++;
          continue;
        }
        dead[id] = mark;
        const seen = lastSet[id] - base;
        nextSet[i] = seen >= 0 && seen < allSet ? seen : allSet;
        lastSet[id] = i + base;
        count = 1;
      } else if (op === Op.call) {
        const { effects, params, results } = this.#routines[words[at + 1]];
        if (effects.pure && this.#unused(words, at + 3, results.length)) {
          starts[i] = -1;
          dropped++;
          continue;
        }
        if (effects.vars !== 'none' || effects.mayFault) mark = ++this.#mark;
        if (effects.vars === 'write') allSet = i;
        first = at + 3 + results.length;
        count = params.length;
      } else {
        if (removable[op] && lastUse[words[at + 1]] < 0) {
          starts[i] = -1;
          dropped++;
          continue;
        }
        if (mayExit[op]) mark = ++this.#mark;
        first += hasResult[op];
        count = paramCount[op];
      }
      for (let k = 0; k < count; k++) {
        const temp = words[first + k];
        if (lastUse[temp] < 0) lastUse[temp] = i;
      }
    }
    this.#base += ops;
    if (this.#base > 0x3fffffff) {
      this.#base = 1;
      lastSet.fill(0);
    }
    if (dropped > 0) this.#compact(b);
  }

  #unused(words: Int32Array, first: number, count: number): boolean {
    for (let i = 0; i < count; i++) if (this.lastUse[words[first + i]] >= 0) return false;
    return true;
  }

  #compact(b: BlockBuilder): void {
    const { words, starts, ops } = b;
    let to = 0;
    for (let i = 0; i < ops; i++) {
      const at = starts[i];
      if (at < 0) continue;
      const op = words[at];
      const size = op === Op.call ? words[at + 2] : opWords[op];
      assert(size > 0, 'op of no size in a block');
      starts[i] = to;
      // By hand: for so few words a call of copyWithin costs more.
      if (to === at) to += size;
      else for (let end = at + size, from = at; from < end; from++) words[to++] = words[from];
    }
    b.length = to;
  }
}
