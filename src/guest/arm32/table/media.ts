/** Armv6's parallel arithmetic, extension, saturation, bit fields and reversal (A5.4, A6.3.11 to A6.3.15). */
import type { I32, I64 } from '../../../ir/index.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { field } from '../state.js';
import { setQ } from './multiply.js';
import { binary, low, plain, signed } from './shared.js';

const args3 = ['rd', 'rn', 'rm'];

/** Lane `n` of `width` bits, sign- or zero-extended to 64. */
function lane(t: Translator, value: I64, n: number, width: 8 | 16, isSigned: boolean): I64 {
  const { b } = t;
  const moved = n === 0 ? value : b.i64_shr_u(value, b.i64(n * width));
  if (!isSigned) return b.i64_and(moved, b.i64(2 ** width - 1));
  return width === 8 ? b.i64_extend8_s(moved) : b.i64_extend16_s(moved);
}
function clamp(t: Translator, value: I64, least: number, most: number): I64 {
  const { b } = t;
  const below = b.select(b.i64_lt_s(value, b.i64(least)), b.i64(least), value);
  return b.select(b.i64_gt_s(below, b.i64(most)), b.i64(most), below);
}

type Variant = 's' | 'q' | 'sh' | 'u' | 'uq' | 'uh';
/** By op1. */
const variants: readonly (readonly [Variant, number])[] = [
  ['s', 1],
  ['q', 2],
  ['sh', 3],
  ['u', 5],
  ['uq', 6],
  ['uh', 7],
];
/** Name, code in A32, code in T32; lanes' width; what each lane is: true where it is a difference; the other's lane crossed. */
const parallels: readonly (readonly [string, number, number, 8 | 16, readonly boolean[], boolean])[] = [
  ['add16', 0, 1, 16, [false, false], false],
  ['asx', 1, 2, 16, [true, false], true],
  ['sax', 2, 6, 16, [false, true], true],
  ['sub16', 3, 5, 16, [true, true], false],
  ['add8', 4, 0, 8, [false, false, false, false], false],
  ['sub8', 7, 4, 8, [true, true, true, true], false],
];

function parallel(
  t: Translator,
  i: Fields,
  variant: Variant,
  width: 8 | 16,
  subtracts: readonly boolean[],
  crossed: boolean,
): void {
  const { b } = t;
  const isSigned = !variant.startsWith('u');
  const [x, y] = [t.r(i.rn), t.r(i.rm)];
  let result: I64 | undefined;
  let ge: I32 | undefined;
  for (const [n, subtract] of subtracts.entries()) {
    const p = lane(t, x, n, width, isSigned);
    const q = lane(t, y, crossed ? 1 - n : n, width, isSigned);
    const exact = subtract ? b.i64_sub(p, q) : b.i64_add(p, q);
    let value = exact;
    if (variant === 'q') value = clamp(t, exact, -(2 ** (width - 1)), 2 ** (width - 1) - 1);
    else if (variant === 'uq') value = clamp(t, exact, 0, 2 ** width - 1);
    else if (variant.endsWith('h')) value = b.i64_shr_u(exact, b.i64(1));
    else {
      // GE: a signed result is not negative; an unsigned sum carries, a difference does not borrow.
      const bound = variant === 'u' && !subtract ? 2 ** width : 0;
      const holds = b.i64_ge_s(exact, b.i64(bound));
      const perLane = width / 8;
      const bits = b.i32_mul(holds, b.i32((2 ** perLane - 1) << (16 + n * perLane)));
      ge = ge === undefined ? bits : b.i32_or(ge, bits);
    }
    const placed = b.i64_shl(b.i64_and(value, b.i64(2 ** width - 1)), b.i64(n * width));
    result = result === undefined ? placed : b.i64_or(result, placed);
  }
  if (ge !== undefined) t.setField(field.ge, ge);
  if (result !== undefined) t.setR(i.rd, result);
}
const parallelRows = variants.flatMap(([variant, op1]) =>
  parallels.flatMap(([name, op2, thumb, width, subtracts, crossed]) =>
    plain(
      variant + name,
      {
        a: `01100 ${binary(op1, 3)} rn rd 1111 ${binary(op2, 3)} 1 rm`,
        t: `111110101 ${binary(thumb, 3)} rn 1111 rd 0 ${op1 >> 2}${binary((op1 & 3) - 1, 2)} rm`,
      },
      args3,
      (t, i) => parallel(t, i, variant, width, subtracts, crossed),
    ),
  ),
);

/** Rm rotated right by imm2 bytes. */
const rotated = (t: Translator, i: Fields): I64 => {
  const { b } = t;
  const value = t.r(i.rm);
  return i.imm2 === 0 ? value : b.i64_extend_i32_u(b.i32_rotr(b.i32_wrap_i64(value), b.i32(8 * i.imm2)));
};
type Extend = (t: Translator, value: I64) => I64;
const byPairs =
  (extend: Extend): Extend =>
  (t, value) => {
    const { b } = t;
    const upper = b.i64_shl(extend(t, b.i64_shr_u(value, b.i64(16))), b.i64(16));
    return b.i64_or(b.i64_and(extend(t, value), b.i64(0xffff)), b.i64_and(upper, b.i64(0xffff0000)));
  };
const toByte: Extend = ({ b }, value) => b.i64_and(value, b.i64(0xff));
const toHalf: Extend = ({ b }, value) => b.i64_and(value, b.i64(0xffff));
const signedByte: Extend = (t, value) => low(t, t.b.i64_extend8_s(value));
const signedHalf: Extend = (t, value) => low(t, t.b.i64_extend16_s(value));
/** Name, code in A32, in T32, of 16 bits; adds by halves. */
const extensions: readonly (readonly [string, string, string, string, Extend, boolean])[] = [
  ['b16', '000', '010', '', byPairs(signedByte), true],
  ['b', '010', '100', '01', signedByte, false],
  ['h', '011', '000', '00', signedHalf, false],
  ['b16', '100', '011', '', byPairs(toByte), true],
  ['b', '110', '101', '11', toByte, false],
  ['h', '111', '001', '10', toHalf, false],
];
/** Sums of halves, or of words. */
function add(t: Translator, x: I64, y: I64, byHalves: boolean): I64 {
  const { b } = t;
  const sum = b.i64_add(x, y);
  if (!byHalves) return low(t, sum);
  const upper = b.i64_add(b.i64_and(x, b.i64(0xffff0000)), b.i64_and(y, b.i64(0xffff0000)));
  return b.i64_or(b.i64_and(sum, b.i64(0xffff)), b.i64_and(upper, b.i64(0xffff0000)));
}
const extensionRows = extensions.flatMap(([name, op, thumb, short, extend, byHalves]) => {
  const letter = op[0] === '0' ? 's' : 'u';
  return [
    ...plain(
      `${letter}xta${name}`,
      { a: `01101 ${op} rn rd imm2[1:0] 00 0111 rm`, t: `111110100 ${thumb} rn 1111 rd 10 imm2[1:0] rm` },
      args3,
      (t, i) => t.setR(i.rd, add(t, t.r(i.rn), extend(t, rotated(t, i)), byHalves)),
      { where: (i) => i.rn !== 15 },
    ),
    ...plain(
      `${letter}xt${name}`,
      { a: `01101 ${op} 1111 rd imm2[1:0] 00 0111 rm`, t: `111110100 ${thumb} 1111 1111 rd 10 imm2[1:0] rm` },
      ['rd', 'rm'],
      (t, i) => t.setR(i.rd, extend(t, rotated(t, i))),
    ),
    ...(short === ''
      ? []
      : plain(`${letter}xt${name}`, { t: `10110010 ${short} rm[2:0] rd[2:0]` }, ['rd', 'rm'], (t, i) =>
          t.setR(i.rd, extend(t, t.r(i.rm))),
        )),
  ];
});

/** SSAT and USAT of Rn (in A32's manual Rn is bits 3-0), shifted by imm2; to `bits` bits. */
function saturateTo(t: Translator, value: I64, bits: number, isSigned: boolean): I64 {
  const least = isSigned ? -(2 ** (bits - 1)) : 0;
  const most = isSigned ? 2 ** (bits - 1) - 1 : 2 ** bits - 1;
  return clamp(t, value, least, most);
}
const saturationRows = [true, false].flatMap((isSigned) => {
  const letter = isSigned ? 's' : 'u';
  const op = isSigned ? '01101 01' : '01101 11';
  const extra = isSigned ? 1 : 0;
  const thumb = isSigned ? '11110 0 1100' : '11110 0 1110';
  const saturate = (t: Translator, i: Fields, kind: number, amount: number): void => {
    const { b } = t;
    const value = signed(t, t.r(i.rn));
    const places = kind === 2 && amount === 0 ? 32 : amount;
    const shifted = kind === 2 ? b.i64_shr_s(value, b.i64(places)) : signed(t, b.i64_shl(value, b.i64(places)));
    const result = saturateTo(t, shifted, i.imm + extra, isSigned);
    setQ(t, b.i64_ne(result, shifted));
    t.setLow(i.rd, result);
  };
  return [
    ...[0, 2].flatMap((kind) => {
      const args = ['rd', 'imm', 'rn', 'imm2'];
      const make = (t: Translator, i: Fields): void => saturate(t, i, kind, i.imm2);
      return [
        ...plain(`${letter}sat`, { a: `${op} uimm[4:0] rd imm2[4:0] ${kind >> 1} 01 rn` }, args, make),
        ...plain(
          `${letter}sat`,
          { t: `${thumb} ${kind >> 1} 0 rn 0 imm2[4:2] rd imm2[1:0] 0 uimm[4:0]` },
          args,
          make,
          // With no shift to the right it is SSAT16 or USAT16.
          { where: (i) => kind === 0 || i.imm2 !== 0 },
        ),
      ];
    }),
    ...plain(
      `${letter}sat16`,
      { a: `${op}0 uimm[3:0] rd 1111 0011 rn`, t: `${thumb} 1 0 rn 0000 rd 0000 uimm[3:0]` },
      ['rd', 'imm', 'rn'],
      (t, i) => {
        const { b } = t;
        const x = t.r(i.rn);
        const [lower, upper] = [lane(t, x, 0, 16, true), lane(t, x, 1, 16, true)];
        const [p, q] = [lower, upper].map((value) => saturateTo(t, value, i.imm + extra, isSigned));
        setQ(t, b.i32_or(b.i64_ne(p, lower), b.i64_ne(q, upper)));
        t.setR(i.rd, b.i64_or(b.i64_and(p, b.i64(0xffff)), b.i64_shl(b.i64_and(q, b.i64(0xffff)), b.i64(16))));
      },
    ),
  ];
});

/** Of imm (lowest bit) and imm2 (width less 1, or highest bit). */
const extractRows = [true, false].flatMap((isSigned) =>
  plain(
    isSigned ? 'sbfx' : 'ubfx',
    {
      a: `0111 1${isSigned ? '01' : '11'} imm2[4:0] rd uimm[4:0] 101 rn`,
      t: `11110 0 ${isSigned ? '1101' : '1111'} 0 0 rn 0 uimm[4:2] rd uimm[1:0] 0 imm2[4:0]`,
    },
    ['rd', 'rn', 'imm', 'imm2'],
    (t, i) => {
      const { b } = t;
      const top = b.i64_shl(t.r(i.rn), b.i64(63 - i.imm - i.imm2));
      const shift = isSigned ? b.i64_shr_s : b.i64_shr_u;
      t.setLow(i.rd, shift.call(b, top, b.i64(63 - i.imm2)));
    },
    { where: (i) => i.imm + i.imm2 < 32 },
  ),
);
/** BFI; of Rn 15 it is BFC. */
function insert(t: Translator, i: Fields, value: I64): void {
  const { b } = t;
  const width = i.imm2 - i.imm + 1;
  const mask = (2 ** width - 1) * 2 ** i.imm;
  const kept = b.i64_and(t.r(i.rd), b.i64(0xffffffff - mask));
  t.setR(i.rd, b.i64_or(kept, b.i64_and(b.i64_shl(value, b.i64(i.imm)), b.i64(mask))));
}
const fieldRows = [
  ...plain(
    'bfi',
    { a: '0111110 imm2[4:0] rd uimm[4:0] 001 rn', t: '11110 0 1101 1 0 rn 0 uimm[4:2] rd uimm[1:0] 0 imm2[4:0]' },
    ['rd', 'rn', 'imm', 'imm2'],
    (t, i) => insert(t, i, t.r(i.rn)),
    { where: (i) => i.rn !== 15 && i.imm2 >= i.imm },
  ),
  ...plain(
    'bfc',
    { a: '0111110 imm2[4:0] rd uimm[4:0] 001 1111', t: '11110 0 1101 1 0 1111 0 uimm[4:2] rd uimm[1:0] 0 imm2[4:0]' },
    ['rd', 'imm', 'imm2'],
    (t, i) => insert(t, i, t.b.i64(0)),
    { where: (i) => i.imm2 >= i.imm },
  ),
];

/** Neighbouring pieces of `bits` bits change places. */
const swap = ({ b }: Translator, x: I64, bits: number, mask: number): I64 =>
  b.i64_or(b.i64_and(b.i64_shr_u(x, b.i64(bits)), b.i64(mask)), b.i64_shl(b.i64_and(x, b.i64(mask)), b.i64(bits)));
const rev16 = (t: Translator, x: I64): I64 => swap(t, x, 8, 0x00ff00ff);
const rev = (t: Translator, x: I64): I64 => swap(t, rev16(t, x), 16, 0xffff);
const rbit = (t: Translator, x: I64): I64 =>
  rev(t, swap(t, swap(t, swap(t, x, 1, 0x55555555), 2, 0x33333333), 4, 0x0f0f0f0f));
const one = (name: string, a: string, t32: string, make: Extend): InsnRow[] =>
  plain(name, { a, t: t32 }, ['rd', 'rm'], (t, i) => t.setR(i.rd, make(t, t.r(i.rm))));
const short = (name: string, code: string, make: Extend): InsnRow[] =>
  plain(name, { t: `10111010 ${code} rm[2:0] rd[2:0]` }, ['rd', 'rm'], (t, i) => t.setR(i.rd, make(t, t.r(i.rm))));
const revsh: Extend = (t, x) => low(t, t.b.i64_extend16_s(rev16(t, x)));

/** The sum of the distances between bytes. */
function distances(t: Translator, i: Fields): I64 {
  const { b } = t;
  const [x, y] = [t.r(i.rn), t.r(i.rm)];
  let sum: I64 | undefined;
  for (let n = 0; n < 4; n++) {
    const difference = b.i64_sub(lane(t, x, n, 8, false), lane(t, y, n, 8, false));
    const sign = b.i64_shr_s(difference, b.i64(63));
    const distance = b.i64_sub(b.i64_xor(difference, sign), sign);
    sum = sum === undefined ? distance : b.i64_add(sum, distance);
  }
  return sum ?? b.i64(0);
}

export const mediaRows: readonly InsnRow[] = [
  ...parallelRows,
  ...extensionRows,
  ...saturationRows,
  ...extractRows,
  ...fieldRows,
  ...one('rev', '01101011 1111 rd 1111 0011 rm', '111110101 001 xxxx 1111 rd 1000 rm', rev),
  ...one('rev16', '01101011 1111 rd 1111 1011 rm', '111110101 001 xxxx 1111 rd 1001 rm', rev16),
  ...one('rbit', '01101111 1111 rd 1111 0011 rm', '111110101 001 xxxx 1111 rd 1010 rm', rbit),
  ...one('revsh', '01101111 1111 rd 1111 1011 rm', '111110101 001 xxxx 1111 rd 1011 rm', revsh),
  ...one('clz', '00010110 1111 rd 1111 0001 rm', '111110101 011 xxxx 1111 rd 1000 rm', ({ b }, x) =>
    b.i64_extend_i32_u(b.i32_clz(b.i32_wrap_i64(x))),
  ),
  ...short('rev', '00', rev),
  ...short('rev16', '01', rev16),
  ...short('revsh', '11', revsh),
  ...[0, 1].flatMap((top) =>
    plain(
      top ? 'pkhtb' : 'pkhbt',
      {
        a: `01101000 rn rd imm2[4:0] ${top} 01 rm`,
        t: `1110101 0110 0 rn 0 imm2[4:2] rd imm2[1:0] ${top} 0 rm`,
      },
      ['rd', 'rn', 'rm', 'imm2'],
      (t, i) => {
        const { b } = t;
        const [x, y] = [t.r(i.rn), t.r(i.rm)];
        const shifted = top
          ? b.i64_shr_s(signed(t, y), b.i64(i.imm2 === 0 ? 32 : i.imm2))
          : b.i64_shl(y, b.i64(i.imm2));
        const [lower, upper] = top ? [shifted, x] : [x, shifted];
        t.setR(i.rd, b.i64_or(b.i64_and(lower, b.i64(0xffff)), b.i64_and(upper, b.i64(0xffff0000))));
      },
    ),
  ),
  ...plain('sel', { a: '01101000 rn rd 1111 1011 rm', t: '111110101 010 rn 1111 rd 1000 rm' }, args3, (t, i) => {
    const { b } = t;
    const ge = b.i64_load32_u(b.state(), field.ge);
    let mask = b.i64(0);
    for (let n = 0; n < 4; n++) {
      const bit = b.i64_and(b.i64_shr_u(ge, b.i64(16 + n)), b.i64(1));
      mask = b.i64_or(mask, b.i64_mul(bit, b.i64(255 * 2 ** (8 * n))));
    }
    const [x, y] = [t.r(i.rn), t.r(i.rm)];
    t.setR(i.rd, b.i64_xor(y, b.i64_and(b.i64_xor(x, y), mask)));
  }),
  ...plain('usad8', { a: '01111000 rd 1111 rm 0001 rn', t: '111110110 111 rn 1111 rd 0000 rm' }, args3, (t, i) =>
    t.setR(i.rd, distances(t, i)),
  ),
  ...plain(
    'usada8',
    { a: '01111000 rd ra rm 0001 rn', t: '111110110 111 rn ra rd 0000 rm' },
    [...args3, 'ra'],
    (t, i) => t.setLow(i.rd, t.b.i64_add(distances(t, i), t.r(i.ra))),
    { where: (i) => i.ra !== 15 },
  ),
];
