/** What Armv8's AArch32 adds to VFP (F6.1): selection, numbers' minimum and maximum, directed rounding, halves of doubles, FEAT_JSCVT. */
import { toScriptInteger } from '../../arm/routines/float-convert.js';
import { call, converted, rounded, toInteger } from '../../arm/table/float-calls.js';
import { double, half, modeOf, single } from '../../arm/table/float-format.js';
import { rounding } from '../../float/core.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { field } from '../state.js';
import { load, plus, rows, store } from './shared.js';
import { both, doubles, halves, needs, type Places, read, singles, vfp, write } from './vfp-format.js';

const isV8 = { isV8: true } as const;
/** Without a condition: alike in both instruction sets. */
const unconditional = (
  name: string,
  enc: string,
  args: readonly string[],
  translate: (t: Translator, i: Fields) => void,
  p?: Places,
): InsnRow[] => {
  const whole = `1111 1110 ${enc}`;
  return rows(name, { a: whole, t: whole }, args, translate, { float: 'vfp', ...isV8, ...(p && needs(p)) });
};
const registers = (p: Places): string[] => ['d', 'n', 'm'].map((place) => p.letter + place);
const threeEnc = (p: Places, high: string, op: 0 | 1): string =>
  `${high.replace('D', p.d[0])} ${p.n[1]} ${p.d[1]} 10 ${p.cp} ${p.n[0]} ${op} ${p.m[0]} 0 ${p.m[1]}`;

/** The conditions of VSEL. */
const selections = [
  ['eq', '00', 0],
  ['vs', '01', 6],
  ['ge', '10', 10],
  ['gt', '11', 12],
] as const;
/** By RM. */
const directed = [
  ['a', '00', rounding.tiesAway],
  ['n', '01', rounding.nearest],
  ['p', '10', rounding.up],
  ['m', '11', rounding.down],
] as const;

function rowsOf(p: Places): InsnRow[] {
  const { format: f, suffix } = p;
  const one = (name: string, opc2: string, opc3: string, mode: number | undefined, isExact: boolean): InsnRow[] =>
    vfp(
      name,
      `1110 1 ${p.d[0]} 11 ${opc2} ${p.d[1]} 10 ${p.cp} ${opc3} ${p.m[0]} 0 ${p.m[1]}`,
      [`${p.letter}d`, `${p.letter}m`],
      (t, i) => write(t, f, i.rd, rounded(t, f, read(t, f, i.rm), mode, isExact)),
      { ...isV8, ...needs(p) },
    );
  return [
    ...selections.flatMap(([name, cc, condition]) =>
      unconditional(
        `vsel${name}${suffix}`,
        threeEnc(p, `0 D ${cc}`, 0),
        registers(p),
        (t, i) => {
          const holds = t.flags.condition(condition);
          write(t, f, i.rd, t.b.select(holds, read(t, f, i.rn), read(t, f, i.rm)));
        },
        p,
      ),
    ),
    ...(['maxnm', 'minnm'] as const).flatMap((name, op) =>
      unconditional(
        `v${name}${suffix}`,
        threeEnc(p, '1 D 00', op as 0 | 1),
        registers(p),
        (t, i) => {
          const [x, y] = [read(t, f, i.rn), read(t, f, i.rm)];
          write(t, f, i.rd, call(name)(t, f, x, y, x));
        },
        p,
      ),
    ),
    ...directed.flatMap(([letter, rm, mode]) => [
      ...unconditional(
        `vrint${letter}${suffix}`,
        `1 ${p.d[0]} 1110 ${rm} ${p.d[1]} 10 ${p.cp} 01 ${p.m[0]} 0 ${p.m[1]}`,
        [`${p.letter}d`, `${p.letter}m`],
        (t, i) => write(t, f, i.rd, rounded(t, f, read(t, f, i.rm), mode, false)),
        p,
      ),
      ...[0, 1].flatMap((isSigned) =>
        unconditional(
          `vcvt${letter}.${isSigned ? 's' : 'u'}32${suffix}`,
          `1 ${singles.d[0]} 1111 ${rm} ${singles.d[1]} 10 ${p.cp} ${isSigned} 1 ${p.m[0]} 0 ${p.m[1]}`,
          ['sd', `${p.letter}m`],
          (t, i) => write(t, single, i.rd, toInteger(t, f, read(t, f, i.rm), mode, isSigned === 1, 32)),
          p,
        ),
      ),
    ]),
    ...one(`vrintr${suffix}`, '0110', '01', undefined, false),
    ...one(`vrintz${suffix}`, '0110', '11', rounding.zero, false),
    ...one(`vrintx${suffix}`, '0111', '01', undefined, true),
  ];
}

/** VCVTB and VCVTT between a double and a half in the lower or upper part of a single's register. */
const halfRows = [0, 1].flatMap((top) => {
  const name = top ? 'vcvtt' : 'vcvtb';
  return [
    ...vfp(
      `${name}.f64.f16`,
      `1110 1 ${doubles.d[0]} 11 0010 ${doubles.d[1]} 1011 ${top} 1 ${singles.m[0]} 0 ${singles.m[1]}`,
      ['dd', 'sm'],
      (t, i) => {
        const { b } = t;
        const word = read(t, single, i.rm);
        const bits = b.i64_and(top ? b.i64_shr_u(word, b.i64(16)) : word, b.i64(0xffff));
        write(t, double, i.rd, converted(t, half, double, bits));
      },
      isV8,
    ),
    ...vfp(
      `${name}.f16.f64`,
      `1110 1 ${singles.d[0]} 11 0011 ${singles.d[1]} 1011 ${top} 1 ${doubles.m[0]} 0 ${doubles.m[1]}`,
      ['sd', 'dm'],
      (t, i) => {
        const { b } = t;
        const bits = converted(t, double, half, read(t, double, i.rm));
        const kept = b.i64_and(read(t, single, i.rd), b.i64(top ? 0xffff : 0xffff0000));
        write(t, single, i.rd, b.i64_or(kept, top ? b.i64_shl(bits, b.i64(16)) : bits));
      },
      isV8,
    ),
  ];
});

/** A double to 32 bits as ECMAScript has it; FPSCR.Z says that nothing was lost. */
const scriptRows = vfp(
  'vjcvt.s32.f64',
  `1110 1 ${singles.d[0]} 11 1001 ${singles.d[1]} 1011 11 ${doubles.m[0]} 0 ${doubles.m[1]}`,
  ['sd', 'dm'],
  (t, i) => {
    const { b } = t;
    const [value, isExact] = b.call(toScriptInteger, read(t, double, i.rm), modeOf(t, double));
    b.i32_store(b.state(), b.i32_shl(isExact, b.i32(30)), field.fpscrFlags);
    write(t, single, i.rd, value);
  },
  { features: ['jscvt'] },
);

/** Loads, stores and moves of halves (FEAT_FP16). */
const halfMoves: readonly InsnRow[] = [
  ...([1, 0] as const).flatMap((isLoad) =>
    vfp(
      isLoad ? 'vldr' : 'vstr',
      `1101 u ${halves.d[0]} 0 ${isLoad} rn ${halves.d[1]} 10 01 uimm[8:1]`,
      ['sd', '[rn, imm]'],
      (t, i) => {
        const base = i.rn === 15 ? t.literal(0) : t.r(i.rn);
        const address = plus(t, base, i.u ? i.imm : -i.imm);
        t.aligned(address, 2, !isLoad);
        if (isLoad) write(t, half, i.rd, load(t, address, 1));
        else store(t, address, 1, read(t, half, i.rd));
      },
      { bytes: 2, type: () => '.16', ...needs(halves) },
    ),
  ),
  ...vfp(
    'vmov.f16',
    '1110 000 0 rn[4:1] rd 1001 rn[0] 00 1 0000',
    ['sn', 'rd'],
    (t, i) => write(t, half, i.rn, t.b.i64_and(t.r(i.rd), t.b.i64(0xffff))),
    needs(halves),
  ),
  ...vfp(
    'vmov.f16',
    '1110 000 1 rn[4:1] rd 1001 rn[0] 00 1 0000',
    ['rd', 'sn'],
    (t, i) => t.setR(i.rd, read(t, half, i.rn)),
    needs(halves),
  ),
  ...unconditional(
    'vmovx.f16',
    `1 ${singles.d[0]} 110000 ${singles.d[1]} 1010 01 ${singles.m[0]} 0 ${singles.m[1]}`,
    ['sd', 'sm'],
    (t, i) => write(t, half, i.rd, t.b.i64_shr_u(read(t, single, i.rm), t.b.i64(16))),
    halves,
  ),
  ...unconditional(
    'vins.f16',
    `1 ${singles.d[0]} 110000 ${singles.d[1]} 1010 11 ${singles.m[0]} 0 ${singles.m[1]}`,
    ['sd', 'sm'],
    (t, i) => {
      const upper = t.b.i64_shl(read(t, half, i.rm), t.b.i64(16));
      write(t, single, i.rd, t.b.i64_or(upper, read(t, half, i.rd)));
    },
    halves,
  ),
];

export const vfpV8Rows: readonly InsnRow[] = [
  ...[...both, halves].flatMap(rowsOf),
  ...halfRows,
  ...halfMoves,
  ...scriptRows,
];
