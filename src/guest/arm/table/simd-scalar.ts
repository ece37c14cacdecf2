/** Advanced SIMD: forms for one lane of what other rows do with vectors (C4.1.95). */
import type { Fields, InsnRow } from '../row.js';
import { simdRows } from './simd.js';
import { simdElementRows } from './simd-element.js';
import { simdLongRows } from './simd-long.js';
import { simdMoveRows } from './simd-move.js';
import { ONE_LANE, saturates } from './vector.js';

/** Of lanes of 64 bits only. */
const wideNames = new Set(
  'add sub cmgt cmge cmhi cmhs cmtst cmeq sshl ushl srshl urshl cmgt0 cmge0 cmeq0 cmle0 cmlt0 abs neg sshr ushr ssra usra srshr urshr srsra ursra shl sli sri'.split(
    ' ',
  ),
);
const isShift = (row: InsnRow): boolean => row.enc.includes('011110 uimm[6:0]');
const hasFields = (row: InsnRow): boolean => isShift(row) || /^0 q [01] 0111[01] size/.test(row.enc);
const scalarEnc = (enc: string): string => enc.replace(/^0 q ([01]) 0/, '01 $1 1');
const isWide = (row: InsnRow) => (i: Fields) => (isShift(row) ? i.imm >= 64 : i.size === 3);

const vectors = [...simdRows, ...simdMoveRows, ...simdLongRows, ...simdElementRows].filter(hasFields);

export const simdScalarRows: readonly InsnRow[] = vectors.flatMap((vector): InsnRow[] => {
  const { name, enc, where } = vector;
  const isWideOnly = wideNames.has(name);
  if (!isWideOnly && !saturates(name)) return [];
  const allowed: (i: Fields) => boolean = isWideOnly
    ? isWide(vector)
    : // Whatever a vector of 128 bits may have.
      (i) => where?.({ ...i, q: 1 }) ?? true;
  return [
    {
      ...vector,
      enc: scalarEnc(enc),
      args: vector.args.map((operand) => operand.replace(/^v/, isWideOnly ? 'd' : 'e')),
      where: allowed,
      translate: (t, i) => vector.translate(t, { ...i, q: ONE_LANE }),
    },
  ];
});
