/** VFP's loads, stores, moves to and from general registers, and its system registers (A7.6, A7.8, A7.9, B6.1). */
import { access, type I64 } from '../../../ir/index.js';
import { double, single } from '../../arm/table/float-format.js';
import { systemWrite } from '../../arm/table/system.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { exception, field, fpscr, special } from '../state.js';
import { low, place, plus, registerName, rows } from './shared.js';
import { both, type Places, read, vfp, write } from './vfp-format.js';

const wordsOf = (p: Places): number => (p.sz ? 2 : 1);

/** A double goes in one access. All must be aligned to a word. */
function loadOne(t: Translator, p: Places, address: I64): I64 {
  const { b } = t;
  return p.sz ? b.guest_load64(address) : b.i64_extend_i32_u(b.guest_load32(address));
}
function storeOne(t: Translator, p: Places, address: I64, n: number): void {
  const { b } = t;
  const value = read(t, p.format, n);
  if (p.sz) b.guest_store64(address, value);
  else b.guest_store32(address, b.i32_wrap_i64(value));
}

const singleAccess = (p: Places, isLoad: 0 | 1): InsnRow[] =>
  vfp(
    isLoad ? 'vldr' : 'vstr',
    `1101 u ${p.d[0]} 0 ${isLoad} rn ${p.d[1]} 10 ${p.cp} uimm[9:2]`,
    [`${p.letter}d`, '[rn, imm]'],
    (t, i) => {
      const base = i.rn === 15 ? t.literal(0) : t.r(i.rn);
      const address = place(t, base, i.u ? i.imm : -i.imm);
      t.aligned(address, 4, !isLoad);
      if (isLoad) write(t, p.format, i.rd, loadOne(t, p, address));
      else storeOne(t, p, address, i.rd);
    },
    { bytes: 4 * wordsOf(p) },
  );

/** Registers in a list: imm words. FLDMX and FSTMX, of an odd number of words, leave the last one out. */
const count = (p: Places, i: Fields): number => (p.sz ? i.imm >> 1 : i.imm);
/** Doubles that lie side by side in vectors: two at a time. */
function accessVectors(t: Translator, i: Fields, first: I64, isLoad: 0 | 1, vectors: readonly number[]): void {
  const { b } = t;
  const at = (n: number): I64 => place(t, first, 16 * n);
  if (isLoad) {
    const values = vectors.map((n) => b.guest_load128(at(n)));
    for (const n of vectors) t.setV((i.rd >> 1) + n, values[n]);
    return;
  }
  if (vectors.length > 1) b.guest_load8(place(t, first, 16 * vectors.length - 1), access.forWrite);
  for (const n of vectors) b.guest_store128(at(n), t.v((i.rd >> 1) + n));
}
/** Upwards from the base, or downwards, which always changes it. */
const multiple = (p: Places, isLoad: 0 | 1, isUp: boolean): InsnRow[] =>
  vfp(
    `${isLoad ? 'vldm' : 'vstm'}${isUp ? 'ia' : 'db'}`,
    `110 ${isUp ? '01' : '10'} ${p.d[0]} ${isUp ? 'w' : '1'} ${isLoad} rn ${p.d[1]} 10 ${p.cp} uimm[7:0]`,
    ['rn', `list.${p.letter}`],
    (t, i) => {
      const { b } = t;
      const base = i.rn === 15 ? t.literal(0) : t.r(i.rn);
      const bytes = 4 * i.imm;
      const next = plus(t, base, isUp ? bytes : -bytes);
      const first = isUp ? base : next;
      t.aligned(first, 4, !isLoad);
      const step = 4 * wordsOf(p);
      const list = Array.from({ length: count(p, i) }, (_, n) => n);
      const vectors = p.sz && (i.rd & 1) === 0 && count(p, i) % 2 === 0 ? list.slice(0, list.length / 2) : [];
      if (vectors.length > 0) accessVectors(t, i, first, isLoad, vectors);
      else if (isLoad) {
        const values = list.map((n) => loadOne(t, p, place(t, first, step * n)));
        for (const n of list) write(t, p.format, i.rd + n, values[n]);
      } else {
        // The last one can be stored before the first one is.
        if (list.length > 1) b.guest_load8(place(t, first, step * list.length - 1), access.forWrite);
        for (const n of list) storeOne(t, p, place(t, first, step * n), i.rd + n);
      }
      if (i.w || !isUp) t.setR(i.rn, next);
    },
    {
      bytes: (i) => 4 * i.imm,
      where: (i) => {
        const n = count(p, i);
        return n > 0 && (p.sz === 0 || n <= 16) && i.rd + n <= 32 && !(i.rn === 15 && (i.w === 1 || !isUp));
      },
      text: (i) => {
        const registers = Array.from({ length: count(p, i) }, (_, n) => `${p.letter}${i.rd + n}`);
        return `${registerName(i.rn)}${i.w || !isUp ? '!' : ''}, {${registers.join(', ')}}`;
      },
    },
  );

const plain = { plain: true } as const;

// --- between register files

const moves: readonly InsnRow[] = [
  ...vfp(
    'vmov',
    '1110 000 0 rn[4:1] rd 1010 rn[0] 00 1 0000',
    ['sn', 'rd'],
    (t, i) => write(t, single, i.rn, t.r(i.rd)),
    plain,
  ),
  ...vfp(
    'vmov',
    '1110 000 1 rn[4:1] rd 1010 rn[0] 00 1 0000',
    ['rd', 'sn'],
    (t, i) => t.setR(i.rd, read(t, single, i.rn)),
    plain,
  ),
  // Halves of a double: singles, which those of D16 to D31 are not.
  ...vfp(
    'vmov.32',
    '1110 00 op 0 rn[3:0] rd 1011 rn[4] 00 1 0000',
    ['dn[op]', 'rd'],
    (t, i) => {
      const { b } = t;
      const place = 2 * (i.rn & 1) + i.op;
      t.setV(i.rn >> 1, b.i32x4_replace_lane(t.v(i.rn >> 1), b.i32_wrap_i64(t.r(i.rd)), place));
    },
    plain,
  ),
  ...vfp(
    'vmov.32',
    '1110 00 op 1 rn[3:0] rd 1011 rn[4] 00 1 0000',
    ['rd', 'dn[op]'],
    (t, i) => t.setR(i.rd, t.b.i64_extend_i32_u(t.b.i32x4_extract_lane(t.v(i.rn >> 1), 2 * (i.rn & 1) + i.op))),
    plain,
  ),
  ...vfp(
    'vmov',
    '1100 0100 ra rd 1011 00 rm[4] 1 rm[3:0]',
    ['dm', 'rd', 'ra'],
    (t, i) => write(t, double, i.rm, t.b.i64_or(t.r(i.rd), t.b.i64_shl(t.r(i.ra), t.b.i64(32)))),
    plain,
  ),
  ...vfp(
    'vmov',
    '1100 0101 ra rd 1011 00 rm[4] 1 rm[3:0]',
    ['rd', 'ra', 'dm'],
    (t, i) => {
      const both64 = read(t, double, i.rm);
      t.setR(i.rd, low(t, both64));
      t.setR(i.ra, t.b.i64_shr_u(both64, t.b.i64(32)));
    },
    plain,
  ),
  ...vfp(
    'vmov',
    '1100 0100 ra rd 1010 00 rm[0] 1 rm[4:1]',
    ['sm', 'sm+1', 'rd', 'ra'],
    (t, i) => {
      write(t, single, i.rm, t.r(i.rd));
      write(t, single, i.rm + 1, t.r(i.ra));
    },
    { ...plain, where: (i) => i.rm < 31 },
  ),
  ...vfp(
    'vmov',
    '1100 0101 ra rd 1010 00 rm[0] 1 rm[4:1]',
    ['rd', 'ra', 'sm', 'sm+1'],
    (t, i) => {
      const [x, y] = [read(t, single, i.rm), read(t, single, i.rm + 1)];
      t.setR(i.rd, x);
      t.setR(i.ra, y);
    },
    { ...plain, where: (i) => i.rm < 31 },
  ),
];

// --- system registers: they are there where FPEXC.EN is clear too, but for FPSCR

/**
 * MVFR0: VFPv4 with 32 doubles, division, square roots, no exceptions that trap, all rounding modes. MVFR1: fused multiply-add, conversions of
 * half precision (with FEAT_FP16 arithmetic in it too), and Advanced SIMD. MVFR2: what Armv8 adds to both.
 */
const constants: Readonly<Record<string, (t: Translator) => number | undefined>> = {
  fpsid: ({ model }) => (model.name === 'cortex-a7' ? 0x41023075 : model.isV8 ? 0x41034070 : 0x410430f0),
  mvfr0: () => 0x10110222,
  mvfr1: ({ model }) => (model.features.has('fp16') ? 0x13211111 : 0x11111111),
  mvfr2: ({ model }) => (model.isV8 ? 0x43 : undefined),
};
function readConstant(t: Translator, i: Fields, name: string): void {
  const value = constants[name](t);
  if (value === undefined) t.undefined();
  else t.setR(i.rd, t.b.i64(value));
}

const system = (
  name: string,
  number: string,
  isRead: boolean,
  translate: (t: Translator, i: Fields) => void,
): InsnRow[] => {
  const enc = `1110 111 ${isRead ? 1 : 0} ${number} rd 1010 0001 0000`;
  const args = isRead ? ['rd', name] : [name, 'rd'];
  const isStatus = name === 'fpscr';
  return rows(isRead ? 'vmrs' : 'vmsr', { a: enc, t: `1110 ${enc}` }, args, (t, i) => {
    if (!isStatus && t.mode.user) t.undefined();
    else if (!t.lacksFloat(isStatus ? 'vfp' : 'control')) translate(t, i);
  });
};
function readStatus(t: Translator, i: Fields): void {
  const { b } = t;
  const state = b.state();
  const flags = b.i32_load(state, field.fpscrFlags);
  if (i.rd === 15) {
    t.flags.setBits(flags);
    return;
  }
  const rest = b.i32_or(b.i32_load(state, field.fpcr), b.i32_and(b.i32_load(state, field.fpsr), b.i32(fpscr.STATUS)));
  t.setR(i.rd, b.i64_extend_i32_u(b.i32_or(rest, flags)));
}
const writeSpecial =
  (code: number) =>
  (t: Translator, i: Fields): void => {
    const { b } = t;
    b.call(systemWrite, b.i32(code), t.r(i.rd), b.i32(exception.undefined));
    t.endBlock();
  };

export const vfpMoveRows: readonly InsnRow[] = [
  ...both.flatMap((p) =>
    ([0, 1] as const).flatMap((isLoad) => [
      ...singleAccess(p, isLoad),
      ...[true, false].flatMap((isUp) => multiple(p, isLoad, isUp)),
    ]),
  ),
  ...moves,
  ...system('fpscr', '0001', true, readStatus),
  ...system('fpscr', '0001', false, writeSpecial(special.fpscr)),
  ...system('fpexc', '1000', true, (t, i) => t.setR(i.rd, t.b.i64_load32_u(t.b.state(), field.fpexc))),
  ...system('fpexc', '1000', false, writeSpecial(special.fpexc)),
  ...Object.entries({ fpsid: '0000', mvfr0: '0111', mvfr1: '0110', mvfr2: '0101' }).flatMap(([name, number]) =>
    system(name, number, true, (t, i) => readConstant(t, i, name)),
  ),
  // FPSID is written without effect.
  ...system('fpsid', '0000', false, () => {}),
];
