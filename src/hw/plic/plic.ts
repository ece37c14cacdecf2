/**
 * RISC-V's platform-level interrupt controller (RISC-V PLIC specification 1.0.0): two contexts for each hart, M-mode's, then S-mode's; 95
 * sources with level-triggered gateways, priorities 0 to 7. Register offsets are those of QEMU's board `virt`.
 */
import { assert } from '../../base/index.js';
import type { Device, IoHandler, IrqLine } from '../../bus/index.js';
import { defineState, type StateArena, type StateOf, u32s } from '../../schema/index.js';

export const PLIC_BYTES = 0x600000;
export const PLIC_SOURCES = 95;
/** Words of a bit for each source. */
export const PLIC_WORDS = 3;
const WORDS = PLIC_WORDS;
/** Room for 64 harts. */
const MAX_CONTEXTS = 128;
const PRIORITY_MASK = 7;

const at = {
  pending: 0x1000,
  enable: 0x2000,
  enableStride: 0x80,
  context: 0x200000,
  contextStride: 0x1000,
} as const;

export const PlicState = defineState('plic', 2, {
  /** By source; number 0 is none. */
  priority: u32s(PLIC_SOURCES + 1, { max: PRIORITY_MASK }),
  /** Levels of the inputs; requests that wait; those that a context has claimed and not completed. */
  levels: u32s(WORDS),
  pending: u32s(WORDS),
  claimed: u32s(WORDS),
  enable: u32s(MAX_CONTEXTS * WORDS),
  threshold: u32s(MAX_CONTEXTS, { max: PRIORITY_MASK }),
});

const has = (words: Uint32Array, n: number): boolean => ((words[n >> 5] >>> (n & 31)) & 1) !== 0;
const put = (words: Uint32Array, n: number, on: boolean): void => {
  const bit = 1 << (n & 31);
  words[n >> 5] = on ? words[n >> 5] | bit : words[n >> 5] & ~bit;
};

export class Plic implements Device, IoHandler {
  readonly name = 'plic';
  readonly state: StateOf<typeof PlicState>;
  /** By source number; 0 is no source. */
  readonly inputs: readonly IrqLine[];
  readonly #outputs: readonly IrqLine[];

  /** `outputs`: of each hart in turn, the external interrupts of M-mode and S-mode. */
  constructor(options: { outputs: readonly IrqLine[]; arena?: StateArena }) {
    assert(options.outputs.length <= MAX_CONTEXTS, 'so many contexts fit');
    this.#outputs = options.outputs;
    this.state = PlicState.allocate(options.arena);
    this.inputs = Array.from({ length: PLIC_SOURCES + 1 }, (_, source) => ({
      set: (level: boolean) => this.#setInput(source, level),
    }));
  }

  #setInput(source: number, level: boolean): void {
    if (source === 0 || has(this.state.levels, source) === level) return;
    put(this.state.levels, source, level);
    // A request that nobody has claimed is gone with its line.
    if (!level || !has(this.state.claimed, source)) put(this.state.pending, source, level);
    this.#update();
  }

  /** The enabled source of the highest priority that waits, the lowest number among equals; 0: none above the threshold. */
  #best(context: number): number {
    const { pending, claimed, enable, priority, threshold } = this.state;
    let best = 0;
    let most = threshold[context];
    for (let word = 0; word < WORDS; word++) {
      let bits = (pending[word] & ~claimed[word] & enable[context * WORDS + word]) >>> 0;
      for (; bits !== 0; bits = (bits & (bits - 1)) >>> 0) {
        const source = 32 * word + 31 - Math.clz32(bits & -bits);
        if (priority[source] > most) {
          most = priority[source];
          best = source;
        }
      }
    }
    return best;
  }

  #update(): void {
    for (const [context, line] of this.#outputs.entries()) line.set(this.#best(context) !== 0);
  }

  #claim(context: number): number {
    const source = this.#best(context);
    if (source !== 0) {
      put(this.state.pending, source, false);
      put(this.state.claimed, source, true);
      this.#update();
    }
    return source;
  }

  /** A completion of a source that the context has not enabled is ignored (specification ch. 9). */
  #complete(context: number, source: number): void {
    const { enable, claimed, levels, pending } = this.state;
    if (source > PLIC_SOURCES || !has(enable.subarray(context * WORDS, (context + 1) * WORDS), source)) return;
    put(claimed, source, false);
    if (has(levels, source)) put(pending, source, true);
    this.#update();
  }

  /** Registers are words: other accesses give 0 and do nothing. */
  read(offset: number, size: number): number {
    const { state } = this;
    if (size !== 4 || offset % 4 !== 0) return 0;
    if (offset < at.pending) return state.priority[offset >> 2] ?? 0;
    if (offset < at.enable) return state.pending[(offset - at.pending) >> 2] ?? 0;
    if (offset < at.context) {
      const index = this.#enableIndex(offset);
      return index === undefined ? 0 : state.enable[index];
    }
    const context = Math.floor((offset - at.context) / at.contextStride);
    if (context >= this.#outputs.length) return 0;
    const register = offset & (at.contextStride - 4);
    return register === 0 ? state.threshold[context] : register === 4 ? this.#claim(context) : 0;
  }

  write(offset: number, size: number, value: number): void {
    const { state } = this;
    if (size !== 4 || offset % 4 !== 0) return;
    if (offset < at.pending) {
      const source = offset >> 2;
      if (source > 0 && source <= PLIC_SOURCES) state.priority[source] = value & PRIORITY_MASK;
    } else if (offset < at.enable) return;
    else if (offset < at.context) {
      const index = this.#enableIndex(offset);
      // There is no source 0.
      if (index !== undefined) state.enable[index] = index % WORDS === 0 ? value & ~1 : value;
    } else {
      const context = Math.floor((offset - at.context) / at.contextStride);
      const register = offset & (at.contextStride - 4);
      if (context >= this.#outputs.length) return;
      if (register === 0) state.threshold[context] = value & PRIORITY_MASK;
      else if (register === 4) {
        this.#complete(context, value);
        return;
      }
    }
    this.#update();
  }

  /** Place in `enable`, or undefined where no register is. */
  #enableIndex(offset: number): number | undefined {
    const context = Math.floor((offset - at.enable) / at.enableStride);
    const word = (offset & (at.enableStride - 1)) >> 2;
    return context < this.#outputs.length && word < WORDS ? context * WORDS + word : undefined;
  }

  /** Lines outside keep their levels. */
  reset(): void {
    const levels = Uint32Array.from(this.state.levels);
    PlicState.reset(this.state);
    this.state.levels.set(levels);
    this.state.pending.set(levels);
    this.#update();
  }
  save(): Uint8Array {
    return PlicState.save(this.state);
  }
  load(saved: Uint8Array): void {
    PlicState.load(this.state, saved);
    this.#update();
  }
}
