/** All instructions. */
import type { InsnRow } from '../row.js';
import { atomicRows } from './atomic.js';
import { brainFloatRows } from './brain-float.js';
import { branchRows } from './branch.js';
import { cryptoRows } from './crypto.js';
import { dataRows } from './data.js';
import { flagRows } from './flag.js';
import { floatRows } from './float.js';
import { floatBoundedRows } from './float-bounded.js';
import { floatComplexRows } from './float-complex.js';
import { floatLongRows } from './float-long.js';
import { floatMoveRows } from './float-move.js';
import { floatVectorRows } from './float-vector.js';
import { memoryRows } from './memory.js';
import { pauthRows } from './pauth.js';
import { simdRows } from './simd.js';
import { simdDotRows } from './simd-dot.js';
import { simdElementRows } from './simd-element.js';
import { simdLongRows } from './simd-long.js';
import { simdMoveRows } from './simd-move.js';
import { simdScalarRows } from './simd-scalar.js';
import { structureRows } from './structure.js';
import { systemRows } from './system.js';

export const allRows: readonly InsnRow[] = [
  ...dataRows,
  ...flagRows,
  ...memoryRows,
  ...atomicRows,
  ...branchRows,
  ...simdRows,
  ...simdMoveRows,
  ...simdLongRows,
  ...simdElementRows,
  ...structureRows,
  ...simdScalarRows,
  ...floatRows,
  ...floatMoveRows,
  ...floatVectorRows,
  ...floatBoundedRows,
  ...floatComplexRows,
  ...floatLongRows,
  ...brainFloatRows,
  ...simdDotRows,
  ...cryptoRows,
  ...systemRows,
  ...pauthRows,
];
