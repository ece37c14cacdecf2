/**
 * VFPv4: arithmetic, comparison and conversion (A7.5). FPSCR.LEN and STRIDE do not exist, as on Cortex-A15: there are no short vectors.
 * The arithmetic is AArch64's (../../arm/routines/float.ts).
 */
import type { I64 } from '../../../ir/index.js';
import { call, callOne, compared, converted, fromInteger, fused, toInteger } from '../../arm/table/float-calls.js';
import { double, type Format, half, magnitude, negate, single } from '../../arm/table/float-format.js';
import { rounding } from '../../float/core.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { field, fpscr } from '../state.js';
import {
  both,
  doubles,
  expanded,
  halves,
  needs,
  numberText,
  type Places,
  read,
  singles,
  vfp,
  write,
} from './vfp-format.js';

type Three = (t: Translator, f: Format, x: I64, y: I64, d: I64) => I64;
const [add, sub, mul, div] = (['add', 'sub', 'mul', 'div'] as const).map((name) => call(name));
/** A product that is rounded before it is added to the destination. */
const accumulate =
  (negatesProduct: boolean, negatesSum: boolean): Three =>
  (t, f, x, y, d) => {
    const product = mul(t, f, x, y, d);
    const [a, p] = [negatesSum ? negate(t, f, d) : d, negatesProduct ? negate(t, f, product) : product];
    return add(t, f, a, p, d);
  };
const fuse =
  (negatesProduct: boolean, negatesSum: boolean): Three =>
  (t, f, x, y, d) =>
    fused(t, f, negatesProduct ? negate(t, f, x) : x, y, negatesSum ? negate(t, f, d) : d);

/** Name, opc1 (bit 23; bits 21-20), op. */
const threes: readonly (readonly [string, string, string, number, Three])[] = [
  ['vmla', '0', '00', 0, accumulate(false, false)],
  ['vmls', '0', '00', 1, accumulate(true, false)],
  ['vnmls', '0', '01', 0, accumulate(false, true)],
  ['vnmla', '0', '01', 1, accumulate(true, true)],
  ['vmul', '0', '10', 0, mul],
  ['vnmul', '0', '10', 1, (t, f, x, y, d) => negate(t, f, mul(t, f, x, y, d))],
  ['vadd', '0', '11', 0, add],
  ['vsub', '0', '11', 1, sub],
  ['vdiv', '1', '00', 0, div],
  ['vfnms', '1', '01', 0, fuse(false, true)],
  ['vfnma', '1', '01', 1, fuse(true, true)],
  ['vfma', '1', '10', 0, fuse(false, false)],
  ['vfms', '1', '10', 1, fuse(true, false)],
];
const threeRows = (p: Places): InsnRow[] =>
  threes.flatMap(([name, first, rest, op, operation]) =>
    vfp(
      name + p.suffix,
      `1110 ${first} ${p.d[0]} ${rest} ${p.n[1]} ${p.d[1]} 10 ${p.cp} ${p.n[0]} ${op} ${p.m[0]} 0 ${p.m[1]}`,
      ['d', 'n', 'm'].map((place) => p.letter + place),
      (t, i) => {
        const f = p.format;
        write(t, f, i.rd, operation(t, f, read(t, f, i.rn), read(t, f, i.rm), read(t, f, i.rd)));
      },
      needs(p),
    ),
  );

/** Of one operand: opc2 and bits 7-6; the operand's places. */
const one = (
  p: Places,
  name: string,
  opc2: string,
  opc3: string,
  translate: (t: Translator, i: Fields) => void,
  operand = p,
  destination = p,
  rest: Partial<InsnRow> = {},
): InsnRow[] =>
  vfp(
    name,
    `1110 1 ${destination.d[0]} 11 ${opc2} ${destination.d[1]} 10 ${p.cp} ${opc3} ${operand.m[0]} 0 ${operand.m[1]}`,
    [`${destination.letter}d`, `${operand.letter}m`],
    translate,
    { ...rest, ...needs(p) },
  );

/** NZCV of a comparison goes to FPSCR. */
function compare(t: Translator, f: Format, x: I64, y: I64, signals: boolean): void {
  const { b } = t;
  b.i32_store(b.state(), b.i32_and(compared(t, f, x, y, signals), b.i32(fpscr.FLAGS)), field.fpscrFlags);
}

function oneRows(p: Places): InsnRow[] {
  const f = p.format;
  const { suffix } = p;
  const plain = { plain: true } as const;
  const move = (name: string, opc2: string, opc3: string, make: (t: Translator, x: I64) => I64): InsnRow[] =>
    one(p, name + suffix, opc2, opc3, (t, i) => write(t, f, i.rd, make(t, read(t, f, i.rm))), p, p, plain);
  return [
    // Halves are moved as singles.
    ...(f === half ? [] : move('vmov', '0000', '01', (_, x) => x)),
    ...move('vabs', '0000', '11', (t, x) => magnitude(t, f, x)),
    ...move('vneg', '0001', '01', (t, x) => negate(t, f, x)),
    ...one(p, `vsqrt${suffix}`, '0001', '11', (t, i) => {
      const x = read(t, f, i.rm);
      write(t, f, i.rd, callOne('sqrt')(t, f, x, x, x));
    }),
    ...vfp(
      `vmov${suffix}`,
      `1110 1 ${p.d[0]} 11 uimm[7:4] ${p.d[1]} 10 ${p.cp} 0000 uimm[3:0]`,
      [`${p.letter}d`, 'imm'],
      (t, i) => write(t, f, i.rd, t.b.i64(expanded(f, i.imm))),
      { ...plain, ...needs(p), text: (i) => `${p.letter}${i.rd}, ${numberText(i.imm)}` },
    ),
    ...[0, 1].flatMap((signals) => [
      ...one(p, `vcmp${signals ? 'e' : ''}${suffix}`, '0100', `${signals}1`, (t, i) =>
        compare(t, f, read(t, f, i.rd), read(t, f, i.rm), signals === 1),
      ),
      ...vfp(
        `vcmp${signals ? 'e' : ''}${suffix}`,
        `1110 1 ${p.d[0]} 11 0101 ${p.d[1]} 10 ${p.cp} ${signals}1 0 0 0000`,
        [`${p.letter}d`, '#0'],
        (t, i) => compare(t, f, read(t, f, i.rd), t.b.i64(0), signals === 1),
        needs(p),
      ),
    ]),
    // Integers lie in a single's register.
    ...[0, 1].flatMap((isSigned) => [
      ...one(
        p,
        `vcvt${suffix}.${isSigned ? 's' : 'u'}32`,
        '1000',
        `${isSigned}1`,
        (t, i) => write(t, f, i.rd, fromInteger(t, f, read(t, single, i.rm), isSigned === 1, 32)),
        singles,
      ),
      ...[0, 1].flatMap((toZero) =>
        one(
          p,
          `vcvt${toZero ? '' : 'r'}.${isSigned ? 's' : 'u'}32${suffix}`,
          `110${isSigned}`,
          `${toZero}1`,
          (t, i) => {
            const mode = toZero ? rounding.zero : undefined;
            write(t, single, i.rd, toIntegerBy(t, f, read(t, f, i.rm), mode, isSigned === 1, 32, 0));
          },
          p,
          singles,
        ),
      ),
      ...[16, 32].flatMap((bits) => fixedRows(p, isSigned === 1, bits)),
    ]),
  ];
}

/** With FPSCR's rounding where there is no mode. */
function toIntegerBy(
  t: Translator,
  f: Format,
  x: I64,
  mode: number | undefined,
  isSigned: boolean,
  bits: number,
  places: number,
): I64 {
  const current = [rounding.nearest, rounding.up, rounding.down, rounding.zero][t.mode.roundingMode];
  return toInteger(t, f, x, mode ?? current, isSigned, bits, places);
}

/** To and from fixed point, in place; imm: the size less the places. */
function fixedRows(p: Places, isSigned: boolean, bits: number): InsnRow[] {
  const f = p.format;
  const kind = `${isSigned ? 's' : 'u'}${bits}`;
  const row = (name: string, to: number, translate: (t: Translator, i: Fields, places: number) => void): InsnRow[] =>
    vfp(
      name,
      `1110 1 ${p.d[0]} 11 1${to}1${isSigned ? 0 : 1} ${p.d[1]} 10 ${p.cp} ${bits === 32 ? 1 : 0} 1 uimm[0] 0 uimm[4:1]`,
      [`${p.letter}d`, 'imm'],
      (t, i) => translate(t, i, bits - i.imm),
      {
        ...needs(p),
        where: (i) => i.imm <= bits,
        text: (i) => `${p.letter}${i.rd}, ${p.letter}${i.rd}, #${bits - i.imm}`,
      },
    );
  const filled = (t: Translator, value: I64): I64 => {
    const { b } = t;
    // The result fills the register, sign-extended where it is signed.
    if (!isSigned) return value;
    const wide = bits === 16 ? b.i64_extend16_s(value) : b.i64_extend32_s(value);
    return f === double ? wide : b.i64_low32(wide);
  };
  return [
    ...row(`vcvt${p.suffix}.${kind}`, 0, (t, i, places) => {
      // Rounded to nearest, whatever FPSCR says.
      const nearest = { b: t.b, mode: { ...t.mode, roundingMode: 0 } };
      write(t, f, i.rd, fromInteger(nearest, f, read(t, f === half ? single : f, i.rd), isSigned, bits, places));
    }),
    ...row(`vcvt.${kind}${p.suffix}`, 1, (t, i, places) =>
      write(t, f, i.rd, filled(t, toInteger(t, f, read(t, f, i.rd), rounding.zero, isSigned, bits, places))),
    ),
  ];
}

/** VCVTB and VCVTT: a half in the lower or upper part of a single's register. */
const halfRows = [0, 1].flatMap((top) => {
  const name = top ? 'vcvtt' : 'vcvtb';
  return [
    ...one(singles, `${name}.f32.f16`, '0010', `${top}1`, (t, i) => {
      const { b } = t;
      const word = read(t, single, i.rm);
      const bits = b.i64_and(top ? b.i64_shr_u(word, b.i64(16)) : word, b.i64(0xffff));
      write(t, single, i.rd, converted(t, half, single, bits));
    }),
    ...one(singles, `${name}.f16.f32`, '0011', `${top}1`, (t, i) => {
      const { b } = t;
      const bits = converted(t, single, half, read(t, single, i.rm));
      const old = read(t, single, i.rd);
      const kept = b.i64_and(old, b.i64(top ? 0xffff : 0xffff0000));
      write(t, single, i.rd, b.i64_or(kept, top ? b.i64_shl(bits, b.i64(16)) : bits));
    }),
  ];
});

export const vfpRows: readonly InsnRow[] = [
  ...[...both, halves].flatMap((p) => [...threeRows(p), ...oneRows(p)]),
  ...halfRows,
  ...one(
    singles,
    'vcvt.f64.f32',
    '0111',
    '11',
    (t, i) => write(t, double, i.rd, converted(t, single, double, read(t, single, i.rm))),
    singles,
    doubles,
  ),
  ...one(
    doubles,
    'vcvt.f32.f64',
    '0111',
    '11',
    (t, i) => write(t, single, i.rd, converted(t, double, single, read(t, double, i.rm))),
    doubles,
    singles,
  ),
];
