/** Multiplication and division (A5.2.5, A5.2.7, A5.4.4, A6.3.16, A6.3.17). */
import type { I32, I64 } from '../../../ir/index.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { field } from '../state.js';
import { binary, low, plain, signed } from './shared.js';

const args3 = ['rd', 'rn', 'rm'];
const args4 = ['rd', 'rn', 'rm', 'ra'];

/** CPSR.Q is set where the condition is 1. */
export function setQ(t: Translator, condition: I32): void {
  const { b } = t;
  const old = b.i32_load(b.state(), field.q);
  t.setField(field.q, b.i32_or(old, b.i32_shl(condition, b.i32(27))));
}
/** Bits 0 to 31 of a value that fits 32 bits if it equals itself sign-extended; else Q is set. */
function setQOnOverflow(t: Translator, value: I64): void {
  setQ(t, t.b.i64_ne(signed(t, value), value));
}

const multiply = (
  name: string,
  a: string,
  thumb: string,
  args: readonly string[],
  make: (t: Translator, i: Fields) => I64,
): InsnRow[] =>
  plain(name, { a, t: thumb }, args, (t, i) => {
    const result = low(t, make(t, i));
    if (i.s) t.flags.setLogic(result);
    t.setR(i.rd, result);
  });

/** RdHi:RdLo in rd and ra. */
function setLong(t: Translator, i: Fields, value: I64): void {
  const { b } = t;
  if (i.s) {
    // Z is of all 64 bits: a low half that is not 0 shows in the sign-extended value's lowest bit.
    const upper = b.i64_shr_s(value, b.i64(32));
    const lower = b.i64_extend_i32_u(b.i32_eqz(b.i64_eqz(low(t, value))));
    t.flags.setLogic(b.i64_or(upper, lower));
  }
  t.setLow(i.ra, value);
  t.setR(i.rd, b.i64_shr_u(value, b.i64(32)));
}
const long = (
  name: string,
  a: string,
  thumb: string,
  make: (t: Translator, x: I64, y: I64, sum: () => I64) => I64,
  isSigned: boolean,
): InsnRow[] =>
  plain(name, { a, t: thumb }, ['ra', 'rd', 'rn', 'rm'], (t, i) => {
    const { b } = t;
    const [x, y] = isSigned ? [signed(t, t.r(i.rn)), signed(t, t.r(i.rm))] : [t.r(i.rn), t.r(i.rm)];
    const sum = (): I64 => b.i64_or(t.r(i.ra), b.i64_shl(t.r(i.rd), b.i64(32)));
    setLong(t, i, make(t, x, y, sum));
  });

/** A half, sign-extended: the upper one where `top`. */
function half(t: Translator, value: I64, top: number): I64 {
  const { b } = t;
  return b.i64_extend16_s(top ? b.i64_shr_u(value, b.i64(16)) : value);
}
const letters = ['b', 't'];
const halves = [0, 1] as const;

/** SMLAxy, SMULxy, SMLALxy: in A32 by y and x in bits 6 and 5, in T32 by x and y in bits 5 and 4. */
const halfRows = halves.flatMap((x) =>
  halves.flatMap((y) => {
    const suffix = letters[x] + letters[y];
    const product = (t: Translator, i: Fields): I64 => t.b.i64_mul(half(t, t.r(i.rn), x), half(t, t.r(i.rm), y));
    return [
      ...plain(
        `smla${suffix}`,
        { a: `00010000 rd ra rm 1 ${y}${x} 0 rn`, t: `111110110 001 rn ra rd 00 ${x}${y} rm` },
        args4,
        (t, i) => {
          const { b } = t;
          const sum = b.i64_add(product(t, i), signed(t, t.r(i.ra)));
          setQOnOverflow(t, sum);
          t.setLow(i.rd, sum);
        },
      ),
      ...plain(
        `smul${suffix}`,
        { a: `00010110 rd 0000 rm 1 ${y}${x} 0 rn`, t: `111110110 001 rn 1111 rd 00 ${x}${y} rm` },
        args3,
        (t, i) => t.setLow(i.rd, product(t, i)),
      ),
      ...plain(
        `smlal${suffix}`,
        { a: `00010100 rd ra rm 1 ${y}${x} 0 rn`, t: `111110111 100 rn ra rd 10 ${x}${y} rm` },
        ['ra', 'rd', 'rn', 'rm'],
        (t, i) => {
          const { b } = t;
          const sum = b.i64_or(t.r(i.ra), b.i64_shl(t.r(i.rd), b.i64(32)));
          setLong(t, i, b.i64_add(sum, product(t, i)));
        },
      ),
    ];
  }),
);
/** A word by a half: the product's upper 32 of 48 bits. */
const wordRows = halves.flatMap((y) => {
  const product = (t: Translator, i: Fields): I64 =>
    t.b.i64_shr_s(t.b.i64_mul(signed(t, t.r(i.rn)), half(t, t.r(i.rm), y)), t.b.i64(16));
  return [
    ...plain(
      `smlaw${letters[y]}`,
      { a: `00010010 rd ra rm 1 ${y}00 rn`, t: `111110110 011 rn ra rd 000 ${y} rm` },
      args4,
      (t, i) => {
        const sum = t.b.i64_add(product(t, i), signed(t, t.r(i.ra)));
        setQOnOverflow(t, sum);
        t.setLow(i.rd, sum);
      },
    ),
    ...plain(
      `smulw${letters[y]}`,
      { a: `00010010 rd 0000 rm 1 ${y}10 rn`, t: `111110110 011 rn 1111 rd 000 ${y} rm` },
      args3,
      (t, i) => t.setLow(i.rd, product(t, i)),
    ),
  ];
});

/** SMLAD and the like: the sum or difference of two products of halves; with X those of Rm change places. */
const dualRows = halves.flatMap((x) =>
  [false, true].flatMap((subtract) => {
    const suffix = `${subtract ? 'sd' : 'ad'}${x ? 'x' : ''}`;
    const products = (t: Translator, i: Fields): I64 => {
      const { b } = t;
      const [n, m] = [t.r(i.rn), t.r(i.rm)];
      const first = b.i64_mul(half(t, n, 0), half(t, m, x));
      const second = b.i64_mul(half(t, n, 1), half(t, m, 1 - x));
      return subtract ? b.i64_sub(first, second) : b.i64_add(first, second);
    };
    const op = subtract ? 1 : 0;
    const thumb = subtract ? '100' : '010';
    return [
      ...plain(
        `sml${suffix}`,
        { a: `01110000 rd ra rm 0 ${op}${x} 1 rn`, t: `111110110 ${thumb} rn ra rd 000 ${x} rm` },
        args4,
        (t, i) => {
          const sum = t.b.i64_add(products(t, i), signed(t, t.r(i.ra)));
          setQOnOverflow(t, sum);
          t.setLow(i.rd, sum);
        },
        { where: (i) => i.ra !== 15 },
      ),
      ...plain(
        `smu${suffix}`,
        { a: `01110000 rd 1111 rm 0 ${op}${x} 1 rn`, t: `111110110 ${thumb} rn 1111 rd 000 ${x} rm` },
        args3,
        (t, i) => {
          const sum = products(t, i);
          if (!subtract) setQOnOverflow(t, sum);
          t.setLow(i.rd, sum);
        },
      ),
      ...plain(
        `smlal${subtract ? 's' : ''}d${x ? 'x' : ''}`.replace('smlalsd', 'smlsld'),
        { a: `01110100 rd ra rm 0 ${op}${x} 1 rn`, t: `111110111 ${subtract ? '101' : '100'} rn ra rd 110 ${x} rm` },
        ['ra', 'rd', 'rn', 'rm'],
        (t, i) => {
          const { b } = t;
          const sum = b.i64_or(t.r(i.ra), b.i64_shl(t.r(i.rd), b.i64(32)));
          setLong(t, i, b.i64_add(sum, products(t, i)));
        },
      ),
    ];
  }),
);

/** SMMLA and the like: the upper word of a product, rounded or not. */
const upperRows = halves.flatMap((round) => {
  const suffix = round ? 'r' : '';
  const upper = (t: Translator, value: I64): I64 => {
    const { b } = t;
    return b.i64_shr_u(round ? b.i64_add(value, b.i64(0x80000000)) : value, b.i64(32));
  };
  const product = (t: Translator, i: Fields): I64 => t.b.i64_mul(signed(t, t.r(i.rn)), signed(t, t.r(i.rm)));
  const accumulator = (t: Translator, i: Fields): I64 => t.b.i64_shl(t.r(i.ra), t.b.i64(32));
  return [
    ...plain(
      `smmla${suffix}`,
      { a: `01110101 rd ra rm 00 ${round} 1 rn`, t: `111110110 101 rn ra rd 000 ${round} rm` },
      args4,
      (t, i) => t.setR(i.rd, upper(t, t.b.i64_add(accumulator(t, i), product(t, i)))),
      { where: (i) => i.ra !== 15 },
    ),
    ...plain(
      `smmul${suffix}`,
      { a: `01110101 rd 1111 rm 00 ${round} 1 rn`, t: `111110110 101 rn 1111 rd 000 ${round} rm` },
      args3,
      (t, i) => t.setR(i.rd, upper(t, product(t, i))),
    ),
    ...plain(
      `smmls${suffix}`,
      { a: `01110101 rd ra rm 11 ${round} 1 rn`, t: `111110110 110 rn ra rd 000 ${round} rm` },
      args4,
      (t, i) => t.setR(i.rd, upper(t, t.b.i64_sub(accumulator(t, i), product(t, i)))),
    ),
  ];
});

/** Division by 0 gives 0; the most negative number by -1 itself, as the low half of the quotient in 64 bits. */
function divide(t: Translator, i: Fields, isSigned: boolean): void {
  const { b } = t;
  const [x, y] = isSigned ? [signed(t, t.r(i.rn)), signed(t, t.r(i.rm))] : [t.r(i.rn), t.r(i.rm)];
  const zero = b.i64_eqz(y);
  const divisor = b.select(zero, b.i64(1), y);
  const quotient = isSigned ? b.i64_div_s(x, divisor) : b.i64_div_u(x, divisor);
  t.setLow(i.rd, b.select(zero, b.i64(0), quotient));
}

const saturatingRows = ['qadd', 'qsub', 'qdadd', 'qdsub'].flatMap((name, code) =>
  plain(
    name,
    // In T32 the codes of QDADD and QSUB have changed places.
    {
      a: `00010 ${binary(code, 2)} 0 rn rd 0000 0101 rm`,
      t: `111110101 000 rn 1111 rd 10 ${binary([0, 2, 1, 3][code], 2)} rm`,
    },
    ['rd', 'rm', 'rn'],
    (t, i) => {
      const { b } = t;
      const m = signed(t, t.r(i.rm));
      let n = signed(t, t.r(i.rn));
      if (code & 2) n = saturate(t, b.i64_add(n, n));
      t.setLow(i.rd, saturate(t, code & 1 ? b.i64_sub(m, n) : b.i64_add(m, n)));
    },
  ),
);
/** To 32 bits, and Q if that changes the value. */
function saturate(t: Translator, value: I64): I64 {
  const { b } = t;
  const fits = b.i64_eq(signed(t, value), value);
  setQ(t, b.i32_eqz(fits));
  const bound = b.i64_xor(b.i64_shr_s(value, b.i64(63)), b.i64(0x7fffffff));
  return b.select(fits, value, bound);
}

export const multiplyRows: readonly InsnRow[] = [
  ...multiply('mul', '0000000 s rd 0000 rm 1001 rn', '111110110 000 rn 1111 rd 0000 rm', args3, (t, i) =>
    t.b.i64_mul(t.r(i.rn), t.r(i.rm)),
  ),
  ...plain(
    'mul',
    { t: '010000 1101 rm[2:0] rd[2:0]' },
    ['rd', 'rm'],
    (t, i) => {
      const result = low(t, t.b.i64_mul(t.r(i.rd), t.r(i.rm)));
      if (!t.inIt) t.flags.setLogic(result);
      t.setR(i.rd, result);
    },
    { flagsOutsideIt: true },
  ),
  ...multiply('mla', '0000001 s rd ra rm 1001 rn', '111110110 000 rn ra rd 0000 rm', args4, (t, i) =>
    t.b.i64_add(t.b.i64_mul(t.r(i.rn), t.r(i.rm)), t.r(i.ra)),
  ),
  ...multiply('mls', '00000110 rd ra rm 1001 rn', '111110110 000 rn ra rd 0001 rm', args4, (t, i) =>
    t.b.i64_sub(t.r(i.ra), t.b.i64_mul(t.r(i.rn), t.r(i.rm))),
  ),
  ...plain(
    'umaal',
    { a: '00000100 rd ra rm 1001 rn', t: '111110111 110 rn ra rd 0110 rm' },
    ['ra', 'rd', 'rn', 'rm'],
    (t, i) => {
      const { b } = t;
      const sum = b.i64_add(b.i64_mul(t.r(i.rn), t.r(i.rm)), b.i64_add(t.r(i.ra), t.r(i.rd)));
      setLong(t, i, sum);
    },
  ),
  ...long(
    'umull',
    '0000100 s rd ra rm 1001 rn',
    '111110111 010 rn ra rd 0000 rm',
    ({ b }, x, y) => b.i64_mul(x, y),
    false,
  ),
  ...long(
    'umlal',
    '0000101 s rd ra rm 1001 rn',
    '111110111 110 rn ra rd 0000 rm',
    ({ b }, x, y, sum) => b.i64_add(sum(), b.i64_mul(x, y)),
    false,
  ),
  ...long(
    'smull',
    '0000110 s rd ra rm 1001 rn',
    '111110111 000 rn ra rd 0000 rm',
    ({ b }, x, y) => b.i64_mul(x, y),
    true,
  ),
  ...long(
    'smlal',
    '0000111 s rd ra rm 1001 rn',
    '111110111 100 rn ra rd 0000 rm',
    ({ b }, x, y, sum) => b.i64_add(sum(), b.i64_mul(x, y)),
    true,
  ),
  ...halfRows,
  ...wordRows,
  ...dualRows,
  ...upperRows,
  ...plain('sdiv', { a: '01110001 rd 1111 rm 0001 rn', t: '111110111 001 rn 1111 rd 1111 rm' }, args3, (t, i) =>
    divide(t, i, true),
  ),
  ...plain('udiv', { a: '01110011 rd 1111 rm 0001 rn', t: '111110111 011 rn 1111 rd 1111 rm' }, args3, (t, i) =>
    divide(t, i, false),
  ),
  ...saturatingRows,
];
