/** Exclusive accesses and SWP (A3.4, A5.2.10, A6.3.6). The monitor is AArch64's (../../arm/table/atomic.ts). */
import { access, type I64 } from '../../../ir/index.js';
import { isHeld, monitor } from '../../arm/table/atomic.js';
import { UPDATE } from '../../arm/table/shared.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { field } from '../state.js';
import { type Log, load, low, plus, rows, store } from './shared.js';

const [words, bytes, halves, pairs] = [2, 0, 1, 3] as const satisfies readonly Log[];

function loadExclusive(t: Translator, i: Fields, log: Log): void {
  const { b } = t;
  const address = plus(t, t.r(i.rn), i.imm);
  t.aligned(address, 1 << log, false);
  const value = load(t, address, log, false, access.locked);
  monitor(t, address, value, b.i64(0));
  t.setLow(i.rd, value);
  if (log === pairs) t.setR(i.ra, b.i64_shr_u(value, b.i64(32)));
}

/** rd: whether it happened (0) or not (1); rm, and ra for two: what is stored. */
function storeExclusive(t: Translator, i: Fields, log: Log): void {
  const { b } = t;
  const address = plus(t, t.r(i.rn), i.imm);
  t.aligned(address, 1 << log, true);
  const now = load(t, address, log, false, UPDATE);
  const held = isHeld(t, address, now);
  const value: I64 = log === pairs ? b.i64_or(t.r(i.rm), b.i64_shl(t.r(i.ra), b.i64(32))) : t.r(i.rm);
  store(t, address, log, b.select(held, value, now), access.locked);
  b.i64_store(b.state(), b.i64(-1), field.monitor);
  t.setR(i.rd, b.i64_extend_i32_u(b.i32_eqz(held)));
}

const suffix = (log: Log): string => ['b', 'h', '', 'd'][log];
/** By their codes in A32. */
const sizes = [words, pairs, bytes, halves] as const;
const armRows = sizes.flatMap((log, code) => {
  const op = code.toString(2).padStart(2, '0');
  const isPair = log === pairs;
  return [
    ...rows(
      `ldrex${suffix(log)}`,
      { a: `00011 ${op} 1 rn rd 1111 1001 1111` },
      ['rd', '[rn]'],
      (t, i) => loadExclusive(t, isPair ? { ...i, ra: i.rd + 1 } : i, log),
      { bytes: 1 << log, where: (i) => i.rn !== 15 && i.rd !== 15 && (!isPair || ((i.rd & 1) === 0 && i.rd !== 14)) },
    ),
    ...rows(
      `strex${suffix(log)}`,
      { a: `00011 ${op} 0 rn rd 1111 1001 rm` },
      ['rd', 'rm', '[rn]'],
      (t, i) => storeExclusive(t, isPair ? { ...i, ra: i.rm + 1 } : i, log),
      {
        bytes: 1 << log,
        where: (i) =>
          i.rn !== 15 &&
          i.rd !== 15 &&
          i.rm !== 15 &&
          i.rd !== i.rn &&
          i.rd !== i.rm &&
          (!isPair || ((i.rm & 1) === 0 && i.rm !== 14 && i.rd !== i.rm + 1)),
      },
    ),
  ];
});
const thumbSizes = [
  [bytes, '0100', '1111'],
  [halves, '0101', '1111'],
  [pairs, '0111', 'ra'],
] as const;
const distinct = (i: Fields, isPair: boolean): boolean =>
  i.rn !== 15 && i.rd !== 15 && i.rm !== 15 && i.rd !== i.rn && i.rd !== i.rm && !(isPair && i.rd === i.ra);
const thumbRows = [
  ...rows(
    'ldrex',
    { t: '111010000101 rn rd 1111 uimm[9:2]' },
    ['rd', '[rn, imm]'],
    (t, i) => loadExclusive(t, i, words),
    {
      bytes: 4,
      where: (i) => i.rn !== 15 && i.rd !== 15,
    },
  ),
  ...rows(
    'strex',
    { t: '111010000100 rn rm rd uimm[9:2]' },
    ['rd', 'rm', '[rn, imm]'],
    (t, i) => storeExclusive(t, i, words),
    {
      bytes: 4,
      where: (i) => distinct(i, false),
    },
  ),
  ...thumbSizes.flatMap(([log, op, second]) => [
    ...rows(
      `ldrex${suffix(log)}`,
      { t: `111010001101 rn rd ${second} ${op} 1111` },
      ['rd', '[rn]'],
      (t, i) => loadExclusive(t, i, log),
      {
        bytes: 1 << log,
        where: (i) => i.rn !== 15 && i.rd !== 15,
      },
    ),
    ...rows(
      `strex${suffix(log)}`,
      { t: `111010001100 rn rm ${second} ${op} rd` },
      ['rd', 'rm', '[rn]'],
      (t, i) => storeExclusive(t, i, log),
      { bytes: 1 << log, where: (i) => distinct(i, log === pairs) },
    ),
  ]),
];

/** A word must be aligned. */
const swap = (name: string, op: number, log: Log): InsnRow[] =>
  rows(
    name,
    { a: `00010 ${op} 00 rn rd 0000 1001 rm` },
    ['rd', 'rm', '[rn]'],
    (t, i) => {
      if (t.mode.swapUndefined) {
        t.undefined();
        return;
      }
      const address = t.r(i.rn);
      t.aligned(address, 1 << log, true);
      const old = load(t, address, log, false, UPDATE);
      store(t, address, log, t.r(i.rm), access.locked);
      t.setR(i.rd, low(t, old));
    },
    { bytes: 1 << log, where: (i) => i.rd !== 15 && i.rn !== 15 && i.rm !== 15 && i.rn !== i.rm && i.rn !== i.rd },
  );

// --- Armv8: with acquire or release, which one thread need not tell apart

function loadAcquire(t: Translator, i: Fields, log: Log): void {
  const address = t.r(i.rn);
  t.aligned(address, 1 << log, false);
  t.setR(i.rd, load(t, address, log));
}
function storeRelease(t: Translator, i: Fields, log: Log): void {
  const address = t.r(i.rn);
  t.aligned(address, 1 << log, true);
  store(t, address, log, t.r(i.rm));
}
const codes = { [words]: ['00', '10'], [pairs]: ['01', '11'], [bytes]: ['10', '00'], [halves]: ['11', '01'] } as const;
const orderedRows = sizes.flatMap((log): InsnRow[] => {
  const [code, low2] = codes[log];
  const isPair = log === pairs;
  const rest = { bytes: 1 << log, isV8: true } as const;
  const ra = isPair ? 'ra' : '1111';
  const isEven = (n: number): boolean => !isPair || ((n & 1) === 0 && n !== 14);
  const apart = (i: Fields): boolean => distinct(i, false) && !(isPair && i.rd === i.rm + 1) && isEven(i.rm);
  const notPc = (i: Fields): boolean => i.rn !== 15 && i.rd !== 15;
  const exclusive = [
    ...rows(
      `ldaex${suffix(log)}`,
      { a: `00011 ${code} 1 rn rd 1110 1001 1111` },
      ['rd', '[rn]'],
      (t, i) => loadExclusive(t, { ...i, ra: i.rd + 1 }, log),
      { ...rest, where: (i) => notPc(i) && isEven(i.rd) },
    ),
    ...rows(
      `stlex${suffix(log)}`,
      { a: `00011 ${code} 0 rn rd 1110 1001 rm` },
      ['rd', 'rm', '[rn]'],
      (t, i) => storeExclusive(t, { ...i, ra: i.rm + 1 }, log),
      { ...rest, where: apart },
    ),
    ...rows(
      `ldaex${suffix(log)}`,
      { t: `111010001101 rn rd ${ra} 11${low2} 1111` },
      ['rd', '[rn]'],
      (t, i) => loadExclusive(t, i, log),
      { ...rest, where: notPc },
    ),
    ...rows(
      `stlex${suffix(log)}`,
      { t: `111010001100 rn rm ${ra} 11${low2} rd` },
      ['rd', 'rm', '[rn]'],
      (t, i) => storeExclusive(t, i, log),
      { ...rest, where: (i) => distinct(i, isPair) },
    ),
  ];
  if (isPair) return exclusive;
  return [
    ...exclusive,
    ...rows(
      `lda${suffix(log)}`,
      { a: `00011 ${code} 1 rn rd 1100 1001 1111`, t: `111010001101 rn rd 1111 10${low2} 1111` },
      ['rd', '[rn]'],
      (t, i) => loadAcquire(t, i, log),
      { ...rest, where: notPc },
    ),
    ...rows(
      `stl${suffix(log)}`,
      { a: `00011 ${code} 0 rn 1111 1100 1001 rm`, t: `111010001100 rn rm 1111 10${low2} 1111` },
      ['rm', '[rn]'],
      (t, i) => storeRelease(t, i, log),
      { ...rest, where: (i) => i.rn !== 15 && i.rm !== 15 },
    ),
  ];
});

export const atomicRows: readonly InsnRow[] = [
  ...armRows,
  ...thumbRows,
  ...orderedRows,
  ...swap('swp', 0, words),
  ...swap('swpb', 1, bytes),
  ...rows(
    'clrex',
    { a: '1111 0101 0111 1111 1111 0000 0001 1111', t: '111100111011 1111 1000 1111 0010 1111' },
    [],
    ({ b }) => b.i64_store(b.state(), b.i64(-1), field.monitor),
  ),
];
