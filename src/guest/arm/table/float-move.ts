/** Floating point: moves of numbers, constants, selection, and what works on signs alone (C4.1.95, C4.1.96). */
import type { V128 } from '../../../ir/index.js';
import type { InsnRow, Translator } from '../row.js';
import { double, type Format, fits, floatRow, formats, half, magnitude, negate, read, write } from './float-format.js';
import { row, setVector, splat } from './vector.js';

const exponentBits = (f: Format): number => ({ 16: 5, 32: 8, 64: 11 })[f.bits];
/** VFPExpandImm (J1): sign, three bits of exponent, four of fraction. */
function expandNumber(imm: number, f: Format): bigint {
  const exponent = BigInt(exponentBits(f));
  const fraction = BigInt(f.bits - 1) - exponent;
  const top = (imm >> 6) & 1;
  const bits =
    (BigInt(top ^ 1) << (exponent - 1n)) | ((top ? (1n << (exponent - 3n)) - 1n : 0n) << 2n) | BigInt((imm >> 4) & 3);
  return (BigInt(imm >> 7) << BigInt(f.bits - 1)) | (bits << fraction) | (BigInt(imm & 15) << (fraction - 4n));
}

/** To or from a general register of `sf`. */
function generalMoves(f: Format, sf: 0 | 1): InsnRow[] {
  const general = sf ? 'x' : 'w';
  return [
    floatRow(f, 'fmov', `${sf} 0011110 ${f.type} 100 110 000000 rn rd`, [`${general}d`, `${f.letter}n`], (t, i) =>
      t.setX(i.rd, read(t, f, i.rn)),
    ),
    floatRow(f, 'fmov', `${sf} 0011110 ${f.type} 100 111 000000 rn rd`, [`${f.letter}d`, `${general}n`], (t, i) =>
      write(t, f, i.rd, t.x(i.rn)),
    ),
  ];
}

function signs(t: Translator, f: Format, x: V128, negative: boolean): V128 {
  const { b } = t;
  if (f === half) {
    const sign = splat(t, 1, b.i64(f.sign));
    return negative ? b.v128_xor(x, sign) : b.v128_andnot(x, sign);
  }
  const [abs, neg] = f === double ? [b.f64x2_abs, b.f64x2_neg] : [b.f32x4_abs, b.f32x4_neg];
  return (negative ? neg : abs).call(b, x);
}

function rowsOf(f: Format): InsnRow[] {
  const { letter, type } = f;
  const [d, n, m] = ['d', 'n', 'm'].map((place) => letter + place);
  const vectorSize = f === half ? '111100' : `${f.size - 2} 10000`;
  return [
    floatRow(f, 'fmov', `00011110 ${type} 1 000000 10000 rn rd`, [d, n], (t, i) => write(t, f, i.rd, read(t, f, i.rn))),
    floatRow(f, 'fabs', `00011110 ${type} 1 000001 10000 rn rd`, [d, n], (t, i) =>
      write(t, f, i.rd, magnitude(t, f, read(t, f, i.rn))),
    ),
    floatRow(f, 'fneg', `00011110 ${type} 1 000010 10000 rn rd`, [d, n], (t, i) =>
      write(t, f, i.rd, negate(t, f, read(t, f, i.rn))),
    ),
    ...(f === double ? [] : generalMoves(f, 0)),
    ...(f === double || f === half ? generalMoves(f, 1) : []),
    floatRow(f, 'fmov', `00011110 ${type} 1 uimm[7:0] 100 00000 rd`, [d, 'imm'], (t, i) =>
      write(t, f, i.rd, t.b.i64(expandNumber(i.imm, f))),
    ),
    floatRow(f, 'fcsel', `00011110 ${type} 1 rm cond 11 rn rd`, [d, n, m, 'cond'], (t, i) =>
      write(t, f, i.rd, t.b.select(t.flags.condition(i.cond), read(t, f, i.rn), read(t, f, i.rm))),
    ),
    ...([0, 1] as const).map((u) =>
      floatRow(
        f,
        u ? 'fneg' : 'fabs',
        `0 q ${u} 01110 1 ${vectorSize} 01111 10 rn rd`,
        ['vd', 'vn'],
        (t, i) => setVector(t, i, signs(t, f, t.v(i.rn), u === 1)),
        fits(f),
      ),
    ),
    floatRow(
      f,
      'fmov',
      `0 q ${f === double ? 1 : 0} 0111100000 uimm[7:5] 1111 ${f === half ? 1 : 0}1 uimm[4:0] rd`,
      ['vd', 'imm'],
      (t, i) => setVector(t, i, splat(t, f.size, t.b.i64(expandNumber(i.imm, f)))),
      fits(f),
    ),
  ];
}

export const floatMoveRows: readonly InsnRow[] = [
  ...formats.flatMap(rowsOf),
  row('fmov', '1 0011110 10 101 110 000000 rn rd', ['xd', 'vn'], (t, i) =>
    t.setX(i.rd, t.b.i64x2_extract_lane(t.v(i.rn), 1)),
  ),
  row('fmov', '1 0011110 10 101 111 000000 rn rd', ['vd', 'xn'], (t, i) =>
    t.setV(i.rd, t.b.i64x2_replace_lane(t.v(i.rd), t.x(i.rn), 1)),
  ),
];
