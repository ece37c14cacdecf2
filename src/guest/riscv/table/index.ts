/** All instructions. */
import type { InsnRow } from '../row.js';
import { atomicRows } from './atomic.js';
import { bitRows } from './bits.js';
import { cacheBlockRows } from './cache-blocks.js';
import { compressedRows } from './compressed.js';
import { floatRows } from './float.js';
import { integerRows } from './integer.js';
import { multiplyRows } from './multiply.js';
import { systemRows } from './system.js';
import { vectorFloatRows } from './vector-float.js';
import { vectorIntegerRows } from './vector-integer.js';
import { vectorMemoryRows } from './vector-memory.js';
import { vectorOtherRows } from './vector-other.js';

export const allRows: readonly InsnRow[] = [
  ...integerRows,
  ...multiplyRows,
  ...atomicRows,
  ...floatRows,
  ...compressedRows,
  ...bitRows,
  ...cacheBlockRows,
  ...systemRows,
  ...vectorOtherRows,
  ...vectorMemoryRows,
  ...vectorIntegerRows,
  ...vectorFloatRows,
];
