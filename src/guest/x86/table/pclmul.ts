/** PCLMULQDQ. Intel SDM vol. 1 section 12.13.4. */
import { carrylessProduct } from '../routines/pclmul.js';
import type { InsnRow } from '../translator.js';
import { xmmImm } from './vector.js';

export const pclmulRows: readonly InsnRow[] = [
  {
    name: 'PCLMULQDQ',
    enc: '66 0F 3A 44 /r ib',
    args: 'Vdq:rw, Wdq:r, Ib',
    cpuid: 'pclmulqdq',
    unit: 'sse',
    translate: xmmImm((b, x, y, imm) => {
      const left = b.i64x2_extract_lane(x, imm & 1);
      const right = b.i64x2_extract_lane(y, (imm >> 4) & 1);
      const [low, high] = b.call(carrylessProduct, left, right);
      return b.i64x2_replace_lane(b.i64x2_splat(low), high, 1);
    }),
  },
];
