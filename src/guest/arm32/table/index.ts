/** All instructions. */
import type { InsnRow } from '../row.js';
import { atomicRows } from './atomic.js';
import { blockRows } from './block.js';
import { branchRows } from './branch.js';
import { dataRows } from './data.js';
import { mediaRows } from './media.js';
import { memoryRows } from './memory.js';
import { multiplyRows } from './multiply.js';
import { systemRows } from './system.js';
import { vfpRows } from './vfp.js';
import { vfpMoveRows } from './vfp-move.js';

export const allRows: readonly InsnRow[] = [
  ...dataRows,
  ...multiplyRows,
  ...mediaRows,
  ...memoryRows,
  ...blockRows,
  ...atomicRows,
  ...branchRows,
  ...systemRows,
  ...vfpRows,
  ...vfpMoveRows,
];
