/** Floating point: scalar arithmetic, comparison and conversion (C4.1.96). */
import { rounding } from '../../float/core.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import {
  call,
  callOne,
  compared,
  converted,
  fromInteger,
  fused,
  type Operation,
  rounded,
  toInteger,
} from './float-calls.js';
import { type Format, floatRow, formats, negate, read, write } from './float-format.js';
import { row } from './vector.js';

const integerModes: readonly (readonly [string, string, number])[] = [
  ['n', '00 00', rounding.nearest],
  ['p', '01 00', rounding.up],
  ['m', '10 00', rounding.down],
  ['z', '11 00', rounding.zero],
  ['a', '00 10', rounding.tiesAway],
];

function scalarRows(f: Format): InsnRow[] {
  const { letter, type } = f;
  const [d, n, m] = ['d', 'n', 'm'].map((place) => letter + place);
  const start = `00011110 ${type} 1`;
  const two = (name: string, opcode: string, operation: Operation) =>
    floatRow(f, name, `${start} rm ${opcode} 10 rn rd`, [d, n, m], (t, i) =>
      write(t, f, i.rd, operation(t, f, read(t, f, i.rn), read(t, f, i.rm), read(t, f, i.rd))),
    );
  const fusedRow = (name: string, o1: 0 | 1, o0: 0 | 1, product: boolean, addend: boolean) =>
    floatRow(f, name, `00011111 ${type} ${o1} rm ${o0} ra rn rd`, [d, n, m, `${letter}a`], (t, i) => {
      const [x, y, z] = [i.rn, i.rm, i.ra].map((register) => read(t, f, register));
      write(t, f, i.rd, fused(t, f, product ? negate(t, f, x) : x, y, addend ? negate(t, f, z) : z));
    });
  const rounds = (name: string, opcode: string, mode: number | undefined, exact: boolean) =>
    floatRow(f, `frint${name}`, `${start} 001${opcode} 10000 rn rd`, [d, n], (t, i) =>
      write(t, f, i.rd, rounded(t, f, read(t, f, i.rn), mode, exact)),
    );
  const compares = (name: string, signals: boolean, withZero: boolean) =>
    floatRow(
      f,
      name,
      `${start} ${withZero ? '00000' : 'rm'} 00 1000 rn ${signals ? 1 : 0}${withZero ? 1 : 0} 000`,
      withZero ? [n] : [n, m],
      (t, i) => {
        const y = withZero ? t.b.i64(0) : read(t, f, i.rm);
        t.flags.setBits(compared(t, f, read(t, f, i.rn), y, signals));
      },
    );
  const general = (i: Fields): number => (i.sf === 1 ? 64 : 32);
  const fits = (i: Fields): boolean => i.sf === 1 || i.imm >= 32;
  const conversions = [true, false].flatMap((isSigned): InsnRow[] => {
    const u = isSigned ? 0 : 1;
    const sign = isSigned ? 's' : 'u';
    return [
      ...integerModes.map(([name, code, mode]) =>
        floatRow(f, `fcvt${name}${sign}`, `sf 0011110 ${type} 1 ${code}${u} 000000 rn rd`, ['rd', n], (t, i) =>
          t.setX(i.rd, toInteger(t, f, read(t, f, i.rn), mode, isSigned, general(i))),
        ),
      ),
      floatRow(
        f,
        `fcvtz${sign}`,
        `sf 0011110 ${type} 0 11 00${u} uimm[5:0] rn rd`,
        ['rd', n, 'imm'],
        (t, i) => t.setX(i.rd, toInteger(t, f, read(t, f, i.rn), rounding.zero, isSigned, general(i), 64 - i.imm)),
        fits,
      ),
      floatRow(f, `${sign}cvtf`, `sf 0011110 ${type} 1 00 01${u} 000000 rn rd`, [d, 'rn'], (t, i) =>
        write(t, f, i.rd, fromInteger(t, f, t.x(i.rn), isSigned, general(i))),
      ),
      floatRow(
        f,
        `${sign}cvtf`,
        `sf 0011110 ${type} 0 00 01${u} uimm[5:0] rn rd`,
        [d, 'rn', 'imm'],
        (t, i) => write(t, f, i.rd, fromInteger(t, f, t.x(i.rn), isSigned, general(i), 64 - i.imm)),
        fits,
      ),
    ];
  });
  return [
    two('fmul', '0000', call('mul')),
    two('fdiv', '0001', call('div')),
    two('fadd', '0010', call('add')),
    two('fsub', '0011', call('sub')),
    two('fmax', '0100', call('max')),
    two('fmin', '0101', call('min')),
    two('fmaxnm', '0110', call('maxnm')),
    two('fminnm', '0111', call('minnm')),
    two('fnmul', '1000', (t, _, x, y, z) => negate(t, f, call('mul')(t, f, x, y, z))),
    floatRow(f, 'fsqrt', `${start} 000011 10000 rn rd`, [d, n], (t, i) => {
      const x = read(t, f, i.rn);
      write(t, f, i.rd, callOne('sqrt')(t, f, x, x, x));
    }),
    fusedRow('fmadd', 0, 0, false, false),
    fusedRow('fmsub', 0, 1, true, false),
    fusedRow('fnmadd', 1, 0, true, true),
    fusedRow('fnmsub', 1, 1, false, true),
    rounds('n', '000', rounding.nearest, false),
    rounds('p', '001', rounding.up, false),
    rounds('m', '010', rounding.down, false),
    rounds('z', '011', rounding.zero, false),
    rounds('a', '100', rounding.tiesAway, false),
    rounds('x', '110', undefined, true),
    rounds('i', '111', undefined, false),
    compares('fcmp', false, false),
    compares('fcmp', false, true),
    compares('fcmpe', true, false),
    compares('fcmpe', true, true),
    ...[false, true].map((signals) =>
      floatRow(
        f,
        signals ? 'fccmpe' : 'fccmp',
        `${start} rm cond 01 rn ${signals ? 1 : 0} imm2[3:0]`,
        [n, m, 'imm2', 'cond'],
        (t, i) => conditionalCompare(t, i, f, signals),
      ),
    ),
    ...conversions,
  ];
}

/** What is not compared raises nothing: 0 is compared with itself instead. */
function conditionalCompare(t: Translator, i: Fields, f: Format, signals: boolean): void {
  const { b } = t;
  const holds = t.flags.condition(i.cond);
  const [x, y] = [i.rn, i.rm].map((n) => b.select(holds, read(t, f, n), b.i64(0)));
  const bits = compared(t, f, x, y, signals);
  t.flags.setBits(b.select(holds, bits, b.i32(i.imm2 << 28)));
}

export const floatRows: readonly InsnRow[] = [
  ...formats.flatMap(scalarRows),
  ...formats.flatMap((from) =>
    formats
      .filter((to) => to !== from)
      .map((to) => {
        const enc = `00011110 ${from.type} 1 0001${to.type} 10000 rn rd`;
        return row('fcvt', enc, [`${to.letter}d`, `${from.letter}n`], (t, i) =>
          write(t, to, i.rd, converted(t, from, to, read(t, from, i.rn))),
        );
      }),
  ),
];
