/** A block's IR as it was made is for a block that is entered by itself; in a region it lies at a distance from the region's head. */
import type { BlockBuilder } from './builder.js';
import { Op, opDistances, opList, opWords } from './ops.js';
import { type Routine, typeCode } from './types.js';

/** Type code of each op's result; NONE: it has none. */
const NONE = 255;
const resultType = Uint8Array.from(opList, ({ result }) => (result === undefined ? NONE : typeCode[result]));

/** What can be told of a block that has been moved. */
export interface MovedBlock {
  /** Where its last op is in the words. */
  terminator: number;
  /** It ends with a call: the distance that this returns to. */
  calls: number | undefined;
}

/**
 * Moves a block by a distance, once: its words are in the builder, as another one has left them for distance 0. The types of its
 * temps are found again.
 */
export function moveBlock(b: BlockBuilder, distance: number, routines: readonly Routine[], moved: MovedBlock): void {
  const { words, length } = b;
  moved.calls = undefined;
  b.temps = 0;
  for (let at = 0; at < length; ) {
    const op = words[at];
    moved.terminator = at;
    if (op === Op.call) {
      const { results } = routines[words[at + 1]];
      for (let i = 0; i < results.length; i++) b.knowTemp(words[at + 3 + i], typeCode[results[i]]);
      at += words[at + 2];
      continue;
    }
    if (resultType[op] !== NONE) b.knowTemp(words[at + 1], resultType[op]);
    at += opWords[op];
    for (let i = 1; i <= opDistances[op]; i++) words[at - i] += distance;
    if (op === Op.call_note) moved.calls = words[at - 1];
  }
}
