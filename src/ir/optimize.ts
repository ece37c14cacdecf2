/**
 * What both tiers do to a block before it is lowered: guest-variable writes that nobody can see are dropped (above all
 * flags that the next instruction overwrites), then ops whose results are unused. One backward pass and a compaction.
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

export class BlockOptimizer {
  readonly #routines: readonly Routine[];
  #positions = new Int32Array(1024);
  #uses = new Int32Array(1024);
  readonly #dead: Float64Array;
  #mark = 0;

  constructor(vars: GuestVars, routines: readonly Routine[]) {
    this.#routines = routines;
    this.#dead = new Float64Array(vars.vars.length);
  }

  run(b: BlockBuilder): void {
    const { words, length } = b;
    if (this.#uses.length < b.temps) this.#uses = new Int32Array(b.temps * 2);
    const uses = this.#uses;
    let count = 0;
    for (let at = 0; at < length; ) {
      if (count === this.#positions.length) {
        const grown = new Int32Array(count * 2);
        grown.set(this.#positions);
        this.#positions = grown;
      }
      this.#positions[count++] = at;
      const op = words[at];
      if (op === Op.call) {
        const routine = this.#routines[words[at + 1]];
        const first = at + 3 + routine.results.length;
        for (let i = at + 3; i < first; i++) uses[words[i]] = 0;
        for (let i = 0; i < routine.params.length; i++) uses[words[first + i]]++;
        at += words[at + 2];
      } else {
        let first = at + 1;
        if (hasResult[op]) uses[words[first++]] = 0;
        for (let i = 0; i < paramCount[op]; i++) uses[words[first + i]]++;
        at += opWords[op];
      }
    }
    // A variable is dead where its mark is the current number: making all live again is a new number.
    const dead = this.#dead;
    let mark = ++this.#mark;
    let dropped = 0;
    for (let i = count - 1; i >= 0; i--) {
      const at = this.#positions[i];
      const op = words[at];
      if (op >= Op.get_i32 && op <= Op.get_v128) {
        if (uses[words[at + 1]] === 0) {
          this.#positions[i] = -1;
          dropped++;
        } else dead[words[at + 2]] = 0;
      } else if (op >= Op.set_i32 && op <= Op.set_v128) {
        const id = words[at + 2];
        if (dead[id] !== mark) dead[id] = mark;
        else {
          uses[words[at + 1]]--;
          this.#positions[i] = -1;
          dropped++;
        }
      } else if (op === Op.call) {
        const { effects, params, results } = this.#routines[words[at + 1]];
        if (effects.pure && this.#unused(words, at + 3, results.length)) {
          for (let k = 0; k < params.length; k++) uses[words[at + 3 + results.length + k]]--;
          this.#positions[i] = -1;
          dropped++;
        } else if (effects.vars !== 'none' || effects.mayFault) mark = ++this.#mark;
      } else if (removable[op] && uses[words[at + 1]] === 0) {
        for (let k = 0; k < paramCount[op]; k++) uses[words[at + 2 + k]]--;
        this.#positions[i] = -1;
        dropped++;
      } else if (mayExit[op]) mark = ++this.#mark;
    }
    if (dropped > 0) this.#compact(b, count);
  }

  #unused(words: Int32Array, first: number, count: number): boolean {
    for (let i = 0; i < count; i++) if (this.#uses[words[first + i]] !== 0) return false;
    return true;
  }

  #compact(b: BlockBuilder, count: number): void {
    const { words } = b;
    let to = 0;
    for (let i = 0; i < count; i++) {
      const at = this.#positions[i];
      if (at < 0) continue;
      const op = words[at];
      const size = op === Op.call ? words[at + 2] : opWords[op];
      assert(size > 0, 'op of no size in a block');
      // By hand: for so few words a call of copyWithin costs more.
      if (to === at) to += size;
      else for (let end = at + size, from = at; from < end; from++) words[to++] = words[from];
    }
    b.length = to;
  }
}
