/** Every instruction that there is, one row each. */
import type { InsnRow } from '../translator.js';
import { aesRows } from './aes.js';
import { integerArithmeticRows } from './integer-arithmetic.js';
import { integerBitRows } from './integer-bits.js';
import { integerFlowRows } from './integer-flow.js';
import { integerMiscRows } from './integer-misc.js';
import { integerMoveRows } from './integer-move.js';
import { integerShiftRows } from './integer-shift.js';
import { integerStringRows } from './integer-string.js';
import { mmxRows } from './mmx.js';
import { pclmulRows } from './pclmul.js';
import { shaRows } from './sha.js';
import { sseRows } from './sse.js';
import { sse2Rows } from './sse2.js';
import { sse3Rows } from './sse3.js';
import { sse41Rows } from './sse41.js';
import { sse42Rows } from './sse42.js';
import { ssse3Rows } from './ssse3.js';
import { systemRows } from './system.js';
import { systemIoRows } from './system-io.js';
import { systemSegmentRows } from './system-segments.js';
import { x87Rows } from './x87.js';
import { xsaveRows } from './xsave.js';

export const integerRows: readonly InsnRow[] = [
  ...integerMoveRows,
  ...integerArithmeticRows,
  ...integerShiftRows,
  ...integerBitRows,
  ...integerStringRows,
  ...integerFlowRows,
  ...integerMiscRows,
];

/** Floating point and vectors. */
export const vectorRows: readonly InsnRow[] = [
  ...x87Rows,
  ...mmxRows,
  ...sseRows,
  ...sse2Rows,
  ...sse3Rows,
  ...ssse3Rows,
  ...sse41Rows,
  ...sse42Rows,
  ...aesRows,
  ...pclmulRows,
  ...shaRows,
];

export const allRows: readonly InsnRow[] = [
  ...integerRows,
  ...systemRows,
  ...systemSegmentRows,
  ...systemIoRows,
  ...vectorRows,
  ...xsaveRows,
];
