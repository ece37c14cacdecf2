/** Which registers a vector instruction may name (unprivileged specification 31.3.4, 31.5.2, 31.7.6 ff.): groups and their overlaps. */
import type { VectorMode } from '../mode.js';
import type { Fields } from '../row.js';

/** Logarithm of the largest element's bytes. */
const LARGEST = 3;
const registersIn = (lmul: number): number => (lmul <= 0 ? 1 : 1 << lmul);

/** A group begins at a multiple of its registers. */
export const isAligned = (register: number, lmul: number): boolean => register % registersIn(lmul) === 0;

export const overlap = (a: number, countA: number, b: number, countB: number): boolean =>
  a < b + countB && b < a + countA;

/** A destination does not touch a source of another width, but for the highest part of a wider one's group. */
export function isApart(to: number, toLmul: number, from: number, fromLmul: number): boolean {
  const [toCount, fromCount] = [registersIn(toLmul), registersIn(fromLmul)];
  if (toCount > fromCount && fromLmul >= 0 && to < from && overlap(to, toCount, from, fromCount)) {
    if (!overlap(to, toCount, from + fromCount, fromCount)) return true;
  }
  return !overlap(to, toCount, from, fromCount);
}

/** What is masked does not write the mask. */
export const mayMask = ({ vm, rd }: Fields): boolean => vm !== 0 || rd !== 0;

/** Operands of one width. `vs1` false: there is none. */
export const allNarrow = (i: Fields, { lmul }: VectorMode, vs1: boolean): boolean =>
  mayMask(i) && isAligned(i.rd, lmul) && isAligned(i.rs2, lmul) && (!vs1 || isAligned(i.rs1, lmul));

/** A mask register of operands of one width. */
export function toMask(i: Fields, { lmul }: VectorMode, vs1: boolean): boolean {
  const source = (register: number): boolean =>
    isAligned(register, lmul) && (register === i.rd || isApart(i.rd, 0, register, lmul));
  return source(i.rs2) && (!vs1 || source(i.rs1));
}

const canWiden = ({ sew, lmul }: VectorMode): boolean => lmul <= 2 && sew < LARGEST;

/** A destination of twice the width; `wide`: vs2 is as wide. */
export function widening(i: Fields, v: VectorMode, vs1: boolean, wide: boolean): boolean {
  const { lmul } = v;
  const narrow = (register: number): boolean => isAligned(register, lmul) && isApart(i.rd, lmul + 1, register, lmul);
  return (
    canWiden(v) &&
    isAligned(i.rd, lmul + 1) &&
    mayMask(i) &&
    (wide ? isAligned(i.rs2, lmul + 1) : narrow(i.rs2)) &&
    (!vs1 || narrow(i.rs1))
  );
}

/** vs2 has twice the width. */
export function narrowing(i: Fields, v: VectorMode, vs1: boolean): boolean {
  const { lmul } = v;
  return (
    canWiden(v) &&
    isAligned(i.rs2, lmul + 1) &&
    isAligned(i.rd, lmul) &&
    mayMask(i) &&
    (i.rd === i.rs2 || isApart(i.rd, lmul, i.rs2, lmul + 1)) &&
    (!vs1 || isAligned(i.rs1, lmul))
  );
}

/** vs2's elements are 1/2, 1/4 or 1/8 as wide (`places` 1 to 3). */
export const extending = (i: Fields, { sew, lmul }: VectorMode, places: number): boolean =>
  sew >= places &&
  lmul - places >= -3 &&
  i.rd !== i.rs2 &&
  isAligned(i.rd, lmul) &&
  isAligned(i.rs2, lmul - places) &&
  isApart(i.rd, lmul, i.rs2, lmul - places) &&
  mayMask(i);

/** `apart`: no element may be read behind where it is written. */
export const sliding = (i: Fields, { lmul }: Pick<VectorMode, 'lmul'>, apart: boolean): boolean =>
  mayMask(i) && isAligned(i.rd, lmul) && isAligned(i.rs2, lmul) && (!apart || i.rd !== i.rs2);

/** `indices`: logarithm of vs1's elements' bytes, undefined where a scalar names the element. */
export function gathering(i: Fields, { sew, lmul }: VectorMode, indices: number | undefined): boolean {
  if (!sliding(i, { lmul }, true)) return false;
  if (indices === undefined) return true;
  const group = indices - sew + lmul;
  if (group < -3 || group > 3 || !isAligned(i.rs1, group) || i.rd === i.rs1) return false;
  return group === lmul || isApart(i.rd, lmul, i.rs1, group);
}

/** A segment's groups fit the registers. `fields`: how many; `lmul`: of each group. */
const segmentsFit = (rd: number, fields: number, lmul: number): boolean =>
  registersIn(lmul) * fields <= 8 && rd + registersIn(lmul) * fields <= 32;

/** Loads and stores whose elements have the width that the instruction says. */
export function byWidth(i: Fields, { sew, lmul }: VectorMode, width: number, isLoad: boolean): boolean {
  const group = width - sew + lmul;
  if (group < -3 || group > 3) return false;
  return isAligned(i.rd, group) && segmentsFit(i.rd, i.nf + 1, group) && (!isLoad || mayMask(i));
}

/** Loads and stores whose indices have that width, and elements vtype's. */
export function byIndex(i: Fields, v: VectorMode, width: number, isLoad: boolean): boolean {
  const { sew, lmul } = v;
  const group = width - sew + lmul;
  const fields = i.nf + 1;
  if (group < -3 || group > 3 || !isAligned(i.rs2, group) || !isAligned(i.rd, lmul)) return false;
  if (!segmentsFit(i.rd, fields, lmul)) return false;
  if (!isLoad) return true;
  if (!mayMask(i)) return false;
  for (let n = 0; n < fields; n++) {
    const rd = i.rd + registersIn(lmul) * n;
    if (width > sew && rd !== i.rs2 && !isApart(rd, lmul, i.rs2, group)) return false;
    if (width < sew && !isApart(rd, lmul, i.rs2, group)) return false;
    if (fields > 1 && overlap(rd, registersIn(lmul), i.rs2, registersIn(group))) return false;
  }
  return true;
}
