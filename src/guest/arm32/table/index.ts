/** All instructions. */
import type { InsnRow } from '../row.js';
import { atomicRows } from './atomic.js';
import { blockRows } from './block.js';
import { branchRows } from './branch.js';
import { cryptoRows } from './crypto.js';
import { dataRows } from './data.js';
import { mediaRows } from './media.js';
import { memoryRows } from './memory.js';
import { multiplyRows } from './multiply.js';
import { simdFloatRows } from './simd-float.js';
import { simdLongRows } from './simd-long.js';
import { simdMoveRows } from './simd-move.js';
import { simdShiftRows } from './simd-shift.js';
import { simdStructureRows } from './simd-structure.js';
import { simdThreeRows } from './simd-three.js';
import { simdTwoRows } from './simd-two.js';
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
  ...simdThreeRows,
  ...simdLongRows,
  ...simdTwoRows,
  ...simdShiftRows,
  ...simdMoveRows,
  ...simdStructureRows,
  ...simdFloatRows,
  ...cryptoRows,
];
