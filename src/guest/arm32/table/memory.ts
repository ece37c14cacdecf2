/** Loads and stores of single registers and of pairs, preloads (A5.2.8, A5.3, A6.3.6 to A6.3.10). */
import { type I64, jumpKind } from '../../../ir/index.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { LOOSE, shiftByConstant } from './data.js';
import { type Log, load, low, place, plus, rows, store, unprivileged } from './shared.js';

interface Shape {
  readonly name: string;
  readonly log: Log;
  readonly isStore: boolean;
  readonly isSigned?: true;
}
const shape = (name: string, log: Log, isSigned?: true): Shape => ({
  name,
  log,
  isStore: name.startsWith('s'),
  ...(isSigned && { isSigned }),
});
const [str, ldr, strb, ldrb] = [shape('str', 2), shape('ldr', 2), shape('strb', 0), shape('ldrb', 0)];
const [strh, ldrh, ldrsb, ldrsh] = [
  shape('strh', 1),
  shape('ldrh', 1),
  shape('ldrsb', 0, true),
  shape('ldrsh', 1, true),
];

/** A loaded word is written; to the pc it is a jump, a return where it comes from the stack. */
function setLoaded(t: Translator, i: Fields, value: I64): void {
  if (i.rd === 15) t.exchange(value, i.rn === 13 ? jumpKind.return : jumpKind.indirect);
  else t.setR(i.rd, value);
}

const writesBack = (i: Fields): boolean => i.p === 0 || i.w === 1;

/** The base moved by an offset, up or down by U; where it is not written back, as the place of an access. */
const movedBy = (t: Translator, i: Fields, base: I64, offset: I64): I64 =>
  low(t, i.u ? t.b.i64_add(base, offset) : t.b.i64_sub(base, offset));
const moved = (t: Translator, i: Fields, base: I64): I64 =>
  (writesBack(i) ? plus : place)(t, base, i.u ? i.imm : -i.imm);

/** The access; the base is written after it, so that a fault leaves all as it was. `next`: the base, moved. */
function access(t: Translator, i: Fields, what: Shape, base: I64, next: I64, how = 0): void {
  const address = i.p ? next : base;
  if (what.isStore) {
    store(t, address, what.log, t.r(i.rd), how);
    if (writesBack(i)) t.setR(i.rn, next);
    return;
  }
  const value = load(t, address, what.log, what.isSigned, how);
  if (writesBack(i)) t.setR(i.rn, next);
  setLoaded(t, i, value);
}
/** With the immediate as offset. */
const direct = (t: Translator, i: Fields, what: Shape, base: I64, how = 0): void =>
  access(t, i, what, base, moved(t, i, base), how);
/** The same with the pc, rounded down to a word, as base. */
function fromLiteral(t: Translator, i: Fields, what: Shape): void {
  const place = t.literalPlace(i.u ? i.imm : -i.imm);
  access(t, { ...i, p: 1, w: 0 }, what, place, place);
}
/** With Rm as offset, shifted. */
function indexed(t: Translator, i: Fields, what: Shape, how = 0): void {
  const base = t.r(i.rn);
  const offset = shiftByConstant(t, t.r(i.rm), i.shift, i.imm2, LOOSE).value;
  access(t, i, what, base, movedBy(t, i, base, offset), how);
}

const armHow = (t: Translator, i: Fields): number => (i.p === 0 && i.w === 1 ? unprivileged(t) : 0);
/** Written back to the pc, or to what is loaded: unpredictable. Here it is undefined, as the former is in QEMU. */
const writesGood = (i: Fields): boolean => (i.p === 1 && i.w === 0) || i.rn !== 15;

const armWords = [str, ldr, strb, ldrb].flatMap((what): InsnRow[] => {
  const bits = `p u ${what.log === 0 ? 1 : 0} w ${what.isStore ? 0 : 1} rn rd`;
  const bytes = 1 << what.log;
  return [
    ...rows(
      what.name,
      { a: `010 ${bits} uimm[11:0]` },
      ['rd', '[rn, imm]'],
      (t, i) => {
        if (i.rn === 15 && i.p === 1 && i.w === 0) fromLiteral(t, i, what);
        else direct(t, i, what, t.r(i.rn), armHow(t, i));
      },
      { bytes, where: writesGood },
    ),
    ...rows(
      what.name,
      { a: `011 ${bits} imm2[4:0] shift 0 rm` },
      ['rd', '[rn, rm, shift]'],
      (t, i) => indexed(t, i, what, armHow(t, i)),
      { bytes, where: writesGood },
    ),
  ];
});
const armHalves = (
  [
    [strh, '01'],
    [ldrh, '01'],
    [ldrsb, '10'],
    [ldrsh, '11'],
  ] as const
).flatMap(([what, op]): InsnRow[] => {
  const l = what.isStore ? 0 : 1;
  const bytes = 1 << what.log;
  return [
    ...rows(
      what.name,
      { a: `000 p u 1 w ${l} rn rd uimm[7:4] 1 ${op} 1 uimm[3:0]` },
      ['rd', '[rn, imm]'],
      (t, i) => direct(t, i, what, t.r(i.rn), armHow(t, i)),
      { bytes, where: writesGood },
    ),
    ...rows(
      what.name,
      { a: `000 p u 0 w ${l} rn rd 0000 1 ${op} 1 rm` },
      ['rd', '[rn, rm]'],
      (t, i) => indexed(t, i, what, armHow(t, i)),
      { bytes, where: writesGood },
    ),
  ];
});

// --- pairs: eight bytes at a multiple of four

const joined = ({ b }: Translator, x: I64, y: I64): I64 => b.i64_or(x, b.i64_shl(y, b.i64(32)));
function pair(t: Translator, i: Fields, isStore: boolean, base: I64, next: I64): void {
  const { b } = t;
  const address = i.p ? next : base;
  t.aligned(address, 4, isStore);
  if (isStore) {
    b.guest_store64(address, joined(t, t.r(i.rd), t.r(i.ra)));
    if (writesBack(i)) t.setR(i.rn, next);
    return;
  }
  const both = b.guest_load64(address);
  if (writesBack(i)) t.setR(i.rn, next);
  t.setLow(i.rd, both);
  t.setR(i.ra, b.i64_shr_u(both, b.i64(32)));
}
const armPairs = (['ldrd', 'strd'] as const).flatMap((name): InsnRow[] => {
  const isStore = name === 'strd';
  const op = isStore ? '11' : '10';
  const where = (i: Fields): boolean => (i.rd & 1) === 0 && i.rd !== 14 && !(i.p === 0 && i.w === 1) && writesGood(i);
  return [
    ...rows(
      name,
      { a: `000 p u 1 w 0 rn rd uimm[7:4] 1 ${op} 1 uimm[3:0]` },
      ['rd', '[rn, imm]'],
      (t, i) => pair(t, { ...i, ra: i.rd + 1 }, isStore, t.r(i.rn), moved(t, i, t.r(i.rn))),
      { bytes: 8, where },
    ),
    ...rows(
      name,
      { a: `000 p u 0 w 0 rn rd 0000 1 ${op} 1 rm` },
      ['rd', '[rn, rm]'],
      (t, i) => pair(t, { ...i, ra: i.rd + 1 }, isStore, t.r(i.rn), movedBy(t, i, t.r(i.rn), t.r(i.rm))),
      { bytes: 8, where },
    ),
  ];
});
const thumbPairs = (['ldrd', 'strd'] as const).flatMap((name) => {
  const isStore = name === 'strd';
  return rows(
    name,
    { t: `1110100 p u 1 w ${isStore ? 0 : 1} rn rd ra uimm[9:2]` },
    ['rd', 'ra', '[rn, imm]'],
    (t, i) => {
      const base = i.rn === 15 ? t.literal(0) : t.r(i.rn);
      pair(t, i, isStore, base, moved(t, i, base));
    },
    { bytes: 8, where: (i) => (i.p | i.w) === 1 && writesGood(i) },
  );
});

// --- T32

/** What an address without its own P, U and W bits is: base plus offset. */
const offsetForm = (i: Fields): Fields => ({ ...i, p: 1, u: 1, w: 0 });
/** Loads of bytes and halves to the pc are preloads. */
const isRegister = (what: Shape) => (i: Fields) => what.log === 2 || what.isStore || i.rd !== 15;

const thumbLong = [strb, ldrb, ldrsb, strh, ldrh, ldrsh, str, ldr].flatMap((what): InsnRow[] => {
  const s = what.isSigned ? 1 : 0;
  const op = `${what.log.toString(2).padStart(2, '0')} ${what.isStore ? 0 : 1}`;
  const bytes = 1 << what.log;
  const base = (i: Fields): boolean => i.rn !== 15 && isRegister(what)(i);
  const list = [
    ...rows(
      what.name,
      { t: `1111100 ${s} 1 ${op} rn rd uimm[11:0]` },
      ['rd', '[rn, imm]'],
      (t, i) => direct(t, offsetForm(i), what, t.r(i.rn)),
      { bytes, where: base },
    ),
    ...rows(
      what.name,
      { t: `1111100 ${s} 0 ${op} rn rd 1 p u w uimm[7:0]` },
      ['rd', '[rn, imm]'],
      (t, i) => {
        // P, U without W: LDRT and the like.
        const isUnprivileged = i.p === 1 && i.u === 1 && i.w === 0;
        direct(t, i, what, t.r(i.rn), isUnprivileged ? unprivileged(t) : 0);
      },
      // Loads of bytes and halves to the pc with a negative offset are preloads.
      { bytes, where: (i) => i.rn !== 15 && (i.p | i.w) === 1 && (isRegister(what)(i) || i.w === 1) },
    ),
    ...rows(
      what.name,
      { t: `1111100 ${s} 0 ${op} rn rd 000000 imm2[1:0] rm` },
      ['rd', '[rn, rm, shift]'],
      (t, i) => indexed(t, offsetForm(i), what),
      { bytes, where: base },
    ),
  ];
  if (what.isStore) return list;
  return [
    ...list,
    ...rows(
      what.name,
      { t: `1111100 ${s} u ${op} 1111 rd uimm[11:0]` },
      ['rd', '[pc, imm]'],
      (t, i) => fromLiteral(t, { ...i, rn: 15 }, what),
      { where: isRegister(what) },
    ),
  ];
});

const shortIndexed = [str, strh, strb, ldrsb, ldr, ldrh, ldrb, ldrsh].flatMap((what, code) =>
  rows(
    what.name,
    { t: `0101 ${code.toString(2).padStart(3, '0')} rm[2:0] rn[2:0] rd[2:0]` },
    ['rd', '[rn, rm]'],
    (t, i) => indexed(t, offsetForm(i), what),
    { bytes: 1 << what.log },
  ),
);
const shortOffset = (
  [
    [str, '0110 0'],
    [ldr, '0110 1'],
    [strb, '0111 0'],
    [ldrb, '0111 1'],
    [strh, '1000 0'],
    [ldrh, '1000 1'],
  ] as const
).flatMap(([what, code]) =>
  rows(
    what.name,
    { t: `${code} uimm[${4 + what.log}:${what.log}] rn[2:0] rd[2:0]` },
    ['rd', '[rn, imm]'],
    (t, i) => direct(t, offsetForm(i), what, t.r(i.rn)),
    { bytes: 1 << what.log },
  ),
);
const shortStack = [str, ldr].flatMap((what, code) =>
  rows(what.name, { t: `1001 ${code} rd[2:0] uimm[9:2]` }, ['rd', '[sp, imm]'], (t, i) =>
    direct(t, { ...offsetForm(i), rn: 13 }, what, t.r(13)),
  ),
);

/** Preloads do nothing. */
const preload = (name: string, encodings: Parameters<typeof rows>[1], where?: (i: Fields) => boolean): InsnRow[] =>
  rows(name, encodings, [], () => {}, where ? { where } : {});

export const memoryRows: readonly InsnRow[] = [
  ...armWords,
  ...armHalves,
  ...armPairs,
  ...thumbPairs,
  ...thumbLong,
  ...shortIndexed,
  ...shortOffset,
  ...shortStack,
  ...rows('ldr', { t: '01001 rd[2:0] uimm[9:2]' }, ['rd', '[pc, imm]'], (t, i) =>
    fromLiteral(t, { ...offsetForm(i), rn: 15 }, ldr),
  ),
  ...preload('pld', {
    a: ['1111 0101 u q 01 rn 1111 uimm[11:0]', '1111 0111 u q 01 rn 1111 imm2[4:0] shift 0 rm'],
    t: [
      '11111000 1 0 w 1 rn 1111 uimm[11:0]',
      '11111000 0 0 w 1 rn 1111 1100 uimm[7:0]',
      '11111000 0 0 w 1 rn 1111 000000 imm2[1:0] rm',
      '11111000 u 0 w 1 1111 1111 uimm[11:0]',
    ],
  }),
  ...preload('pli', {
    a: ['1111 0100 u 101 rn 1111 uimm[11:0]', '1111 0110 u 101 rn 1111 imm2[4:0] shift 0 rm'],
    t: [
      '11111001 1 0 0 1 rn 1111 uimm[11:0]',
      '11111001 0 0 0 1 rn 1111 1100 uimm[7:0]',
      '11111001 0 0 0 1 rn 1111 000000 imm2[1:0] rm',
      '11111001 u 0 0 1 1111 1111 uimm[11:0]',
    ],
  }),
];
