/** All instructions. */
import type { Arm32Model } from '../models.js';
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
import { simdV8Rows } from './simd-v8.js';
import { systemRows } from './system.js';
import { vfpRows } from './vfp.js';
import { vfpMoveRows } from './vfp-move.js';
import { vfpV8Rows } from './vfp-v8.js';

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
  ...vfpV8Rows,
  ...simdThreeRows,
  ...simdLongRows,
  ...simdTwoRows,
  ...simdShiftRows,
  ...simdMoveRows,
  ...simdStructureRows,
  ...simdFloatRows,
  ...simdV8Rows,
  ...cryptoRows,
];

/** Those that a CPU has. */
export const rowsOf = (model: Arm32Model): InsnRow[] =>
  allRows.filter(
    ({ features, isV8 }) =>
      (!isV8 || model.isV8) && (features?.every((feature) => model.features.has(feature)) ?? true),
  );
