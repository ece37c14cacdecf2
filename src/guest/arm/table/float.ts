/** Floating point: scalar arithmetic of singles and doubles, and of vectors of them (C4.1.95, C4.1.96). */
import type { I32, I64, V128 } from '../../../ir/index.js';
import { rounding } from '../../float/core.js';
import { type FloatRoutines, f32, f32ToF64, f64, f64ToF32, floatMode } from '../routines/float.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { floatByElement } from './simd-element.js';
import { row, setVector, zero } from './vector.js';

interface Format {
  readonly letter: 's' | 'd';
  readonly type: string;
  readonly isDouble: boolean;
  readonly routines: FloatRoutines;
  readonly sign: bigint;
}
const formats: readonly Format[] = [
  { letter: 's', type: '00', isDouble: false, routines: f32, sign: 1n << 31n },
  { letter: 'd', type: '01', isDouble: true, routines: f64, sign: 1n << 63n },
];

/** FPCR.RMode in the order of the float routines. */
const roundingModes: readonly number[] = [rounding.nearest, rounding.up, rounding.down, rounding.zero];
/** What a routine is told, with FPCR's rounding or another one. */
function modeOf(t: Translator, mode = roundingModes[t.mode.roundingMode]): I32 {
  const { defaultNaN, flushToZero } = t.mode;
  return t.b.i32(mode | (defaultNaN ? floatMode.defaultNaN : 0) | (flushToZero ? floatMode.flushToZero : 0));
}

const lane = ({ b }: Translator, f: Format, x: V128, n: number): I64 =>
  f.isDouble ? b.i64x2_extract_lane(x, n) : b.i64_extend_i32_u(b.i32x4_extract_lane(x, n));
const withLane = ({ b }: Translator, f: Format, x: V128, n: number, value: I64): V128 =>
  f.isDouble ? b.i64x2_replace_lane(x, value, n) : b.i32x4_replace_lane(x, b.i32_wrap_i64(value), n);
const read = (t: Translator, f: Format, n: number): I64 => lane(t, f, t.v(n), 0);
const write = (t: Translator, f: Format, n: number, value: I64): void => t.setV(n, withLane(t, f, zero(t), 0, value));

type Operation = (t: Translator, f: Format, x: I64, y: I64, d: I64) => I64;
const call =
  (name: 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max' | 'minnm' | 'maxnm'): Operation =>
  (t, f, x, y) =>
    t.b.call(f.routines[name], x, y, modeOf(t))[0];
const negate = ({ b }: Translator, f: Format, x: I64): I64 => b.i64_xor(x, b.i64(f.sign));
const fused = (t: Translator, f: Format, x: I64, y: I64, z: I64): I64 =>
  t.b.call(f.routines.fma, x, y, z, modeOf(t))[0];
const root: Operation = (t, f, x) => t.b.call(f.routines.sqrt, x, modeOf(t))[0];
const compared = (t: Translator, f: Format, x: I64, y: I64, signals: boolean): I32 =>
  t.b.call(f.routines.compare, x, y, t.b.i32(signals ? 1 : 0), modeOf(t))[0];

const bounds = (isSigned: boolean, wide: boolean): readonly [bigint, bigint] => {
  const bits = wide ? 64n : 32n;
  return isSigned ? [1n << (bits - 1n), (1n << (bits - 1n)) - 1n] : [0n, (1n << bits) - 1n];
};
function toInteger(t: Translator, f: Format, x: I64, mode: number, isSigned: boolean, wide: boolean, places = 0): I64 {
  const { b } = t;
  const [lowest, highest] = bounds(isSigned, wide);
  const range = [b.i64(lowest), b.i64(highest)] as const;
  const [value] = b.call(f.routines.toInteger, x, modeOf(t, mode), ...range, b.i32(places));
  return wide ? value : b.i64_low32(value);
}
function fromInteger(t: Translator, f: Format, x: I64, isSigned: boolean, wide: boolean, places = 0): I64 {
  const { b } = t;
  const value = wide ? x : isSigned ? b.i64_extend32_s(x) : b.i64_low32(x);
  return b.call(f.routines.fromInteger, value, b.i32(isSigned ? 1 : 0), b.i32(places), modeOf(t))[0];
}

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
    row(name, `${start} rm ${opcode} 10 rn rd`, [d, n, m], (t, i) =>
      write(t, f, i.rd, operation(t, f, read(t, f, i.rn), read(t, f, i.rm), read(t, f, i.rd))),
    );
  const fusedRow = (name: string, o1: 0 | 1, o0: 0 | 1, product: boolean, addend: boolean) =>
    row(name, `00011111 ${type} ${o1} rm ${o0} ra rn rd`, [d, n, m, `${letter}a`], (t, i) => {
      const [x, y, z] = [i.rn, i.rm, i.ra].map((register) => read(t, f, register));
      write(t, f, i.rd, fused(t, f, product ? negate(t, f, x) : x, y, addend ? negate(t, f, z) : z));
    });
  const rounds = (name: string, opcode: string, mode: number | undefined, exact: boolean) =>
    row(`frint${name}`, `${start} 001${opcode} 10000 rn rd`, [d, n], (t, i) => {
      const [value] = t.b.call(f.routines.round, read(t, f, i.rn), t.b.i32(exact ? 1 : 0), modeOf(t, mode));
      write(t, f, i.rd, value);
    });
  const compares = (name: string, signals: boolean, withZero: boolean) =>
    row(
      name,
      `${start} ${withZero ? '00000' : 'rm'} 00 1000 rn ${signals ? 1 : 0}${withZero ? 1 : 0} 000`,
      withZero ? [n] : [n, m],
      (t, i) => {
        const y = withZero ? t.b.i64(0) : read(t, f, i.rm);
        t.flags.setBits(compared(t, f, read(t, f, i.rn), y, signals));
      },
    );
  const general = (i: Fields): boolean => i.sf === 1;
  const fits = (i: Fields): boolean => i.sf === 1 || i.imm >= 32;
  const conversions = [true, false].flatMap((isSigned): InsnRow[] => {
    const u = isSigned ? 0 : 1;
    const sign = isSigned ? 's' : 'u';
    return [
      ...integerModes.map(([name, code, mode]) =>
        row(`fcvt${name}${sign}`, `sf 0011110 ${type} 1 ${code}${u} 000000 rn rd`, ['rd', n], (t, i) =>
          t.setX(i.rd, toInteger(t, f, read(t, f, i.rn), mode, isSigned, general(i))),
        ),
      ),
      row(
        `fcvtz${sign}`,
        `sf 0011110 ${type} 0 11 00${u} uimm[5:0] rn rd`,
        ['rd', n, 'imm'],
        (t, i) => t.setX(i.rd, toInteger(t, f, read(t, f, i.rn), rounding.zero, isSigned, general(i), 64 - i.imm)),
        fits,
      ),
      row(`${sign}cvtf`, `sf 0011110 ${type} 1 00 01${u} 000000 rn rd`, [d, 'rn'], (t, i) =>
        write(t, f, i.rd, fromInteger(t, f, t.x(i.rn), isSigned, general(i))),
      ),
      row(
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
    row('fsqrt', `${start} 000011 10000 rn rd`, [d, n], (t, i) => {
      const x = read(t, f, i.rn);
      write(t, f, i.rd, root(t, f, x, x, x));
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
    ...conversions,
  ];
}

// --- vectors: lane by lane

function eachLane(t: Translator, i: Fields, f: Format, operation: (n: number) => I64): void {
  const count = f.isDouble ? 2 : i.q ? 4 : 2;
  const values = Array.from({ length: count }, (_, n) => operation(n));
  setVector(
    t,
    i,
    values.reduce((all, value, n) => withLane(t, f, all, n, value), zero(t)),
  );
}
function vectorRows(f: Format): InsnRow[] {
  const sz = f.isDouble ? 1 : 0;
  const where = (i: Fields): boolean => !f.isDouble || i.q === 1;
  const three = (name: string, u: 0 | 1, high: 0 | 1, opcode: string, operation: Operation) =>
    row(
      name,
      `0 q ${u} 01110 ${high} ${sz} 1 rm ${opcode} 1 rn rd`,
      ['vd', 'vn', 'vm'],
      (t, i) => {
        const [x, y, d] = [t.v(i.rn), t.v(i.rm), t.v(i.rd)];
        eachLane(t, i, f, (n) => operation(t, f, lane(t, f, x, n), lane(t, f, y, n), lane(t, f, d, n)));
      },
      where,
    );
  const two = (name: string, u: 0 | 1, high: 0 | 1, opcode: string, operation: (t: Translator, x: I64) => I64) =>
    row(
      name,
      `0 q ${u} 01110 ${high} ${sz} 10000 ${opcode} 10 rn rd`,
      ['vd', 'vn'],
      (t, i) => {
        const x = t.v(i.rn);
        eachLane(t, i, f, (n) => operation(t, lane(t, f, x, n)));
      },
      where,
    );
  /** All ones where the comparison's flags, of which `bits` is a mask, are `value`. */
  const mask =
    (signals: boolean, holds: (t: Translator, nzcv: I32) => I32): Operation =>
    (t, _, x, y) =>
      t.b.i64_sub(t.b.i64(0), t.b.i64_extend_i32_u(holds(t, compared(t, f, x, y, signals))));
  const isGreater = ({ b }: Translator, nzcv: I32): I32 => b.i32_eq(nzcv, b.i32(0x20000000));
  const isEqual = ({ b }: Translator, nzcv: I32): I32 => b.i32_eq(nzcv, b.i32(0x60000000));
  const isEither = (t: Translator, nzcv: I32): I32 => t.b.i32_or(isGreater(t, nzcv), isEqual(t, nzcv));
  return [
    three('fadd', 0, 0, '11010', call('add')),
    three('fsub', 0, 1, '11010', call('sub')),
    three('fmul', 1, 0, '11011', call('mul')),
    three('fdiv', 1, 0, '11111', call('div')),
    three('fmla', 0, 0, '11001', (t, _, x, y, d) => fused(t, f, x, y, d)),
    three('fmls', 0, 1, '11001', (t, _, x, y, d) => fused(t, f, negate(t, f, x), y, d)),
    three('fmax', 0, 0, '11110', call('max')),
    three('fmin', 0, 1, '11110', call('min')),
    three('fmaxnm', 0, 0, '11000', call('maxnm')),
    three('fminnm', 0, 1, '11000', call('minnm')),
    three('fcmeq', 0, 0, '11100', mask(false, isEqual)),
    three('fcmge', 1, 0, '11100', mask(true, isEither)),
    three('fcmgt', 1, 1, '11100', mask(true, isGreater)),
    three('fabd', 1, 1, '11010', (t, _, x, y, d) => t.b.i64_and(call('sub')(t, f, x, y, d), t.b.i64(~f.sign))),
    ...(
      [
        ['n', 0, 0, '11000', rounding.nearest, false],
        ['m', 0, 0, '11001', rounding.down, false],
        ['p', 0, 1, '11000', rounding.up, false],
        ['z', 0, 1, '11001', rounding.zero, false],
        ['a', 1, 0, '11000', rounding.tiesAway, false],
        ['x', 1, 0, '11001', undefined, true],
        ['i', 1, 1, '11001', undefined, false],
      ] as const
    ).map(([name, u, high, opcode, mode, exact]) =>
      two(
        `frint${name}`,
        u,
        high,
        opcode,
        (t, x) => t.b.call(f.routines.round, x, t.b.i32(exact ? 1 : 0), modeOf(t, mode))[0],
      ),
    ),
    ...([0, 1] as const).flatMap((u) =>
      (
        [
          ['n', 0, '11010', rounding.nearest],
          ['m', 0, '11011', rounding.down],
          ['p', 1, '11010', rounding.up],
          ['a', 0, '11100', rounding.tiesAway],
        ] as const
      ).map(([name, high, opcode, mode]) =>
        two(`fcvt${name}${u ? 'u' : 's'}`, u, high, opcode, (t, x) => toInteger(t, f, x, mode, u === 0, f.isDouble)),
      ),
    ),
    ...(
      [
        ['fcmgt0', 0, '01100', true, isGreater],
        ['fcmge0', 1, '01100', true, isEither],
        ['fcmeq0', 0, '01101', false, isEqual],
      ] as const
    ).map(([name, u, opcode, signals, holds]) =>
      two(name, u, 1, opcode, (t, x) => mask(signals, holds)(t, f, x, t.b.i64(0), x)),
    ),
    two('fcmle0', 1, 1, '01101', (t, x) => mask(true, isEither)(t, f, t.b.i64(0), x, x)),
    two('fcmlt0', 0, 1, '01110', (t, x) => mask(true, isGreater)(t, f, t.b.i64(0), x, x)),
    floatByElement('fmul', '1001', f.isDouble, (t, i, x, y) =>
      eachLane(t, i, f, (n) => call('mul')(t, f, lane(t, f, x, n), lane(t, f, y, n), lane(t, f, y, n))),
    ),
    ...[false, true].map((subtract) =>
      floatByElement(subtract ? 'fmls' : 'fmla', subtract ? '0101' : '0001', f.isDouble, (t, i, x, y) => {
        const d = t.v(i.rd);
        eachLane(t, i, f, (n) => {
          const factor = lane(t, f, x, n);
          return fused(t, f, subtract ? negate(t, f, factor) : factor, lane(t, f, y, n), lane(t, f, d, n));
        });
      }),
    ),
    two('fsqrt', 1, 1, '11111', (t, x) => root(t, f, x, x, x)),
    ...[true, false].flatMap((isSigned) => {
      const u = isSigned ? 0 : 1;
      const sign = isSigned ? 's' : 'u';
      return [
        two(`${sign}cvtf`, u, 0, '11101', (t, x) => fromInteger(t, f, x, isSigned, f.isDouble)),
        two(`fcvtz${sign}`, u, 1, '11011', (t, x) => toInteger(t, f, x, rounding.zero, isSigned, f.isDouble)),
      ];
    }),
  ];
}

export const floatRows: readonly InsnRow[] = [
  ...formats.flatMap((f) => [...scalarRows(f), ...vectorRows(f)]),
  row('fcvt', '00011110 00 1 000101 10000 rn rd', ['dd', 'sn'], (t, i) =>
    write(t, formats[1], i.rd, t.b.call(f32ToF64, read(t, formats[0], i.rn), modeOf(t))[0]),
  ),
  row('fcvt', '00011110 01 1 000100 10000 rn rd', ['sd', 'dn'], (t, i) =>
    write(t, formats[0], i.rd, t.b.call(f64ToF32, read(t, formats[1], i.rn), modeOf(t))[0]),
  ),
  ...formats.flatMap((f) =>
    [false, true].map((signals) =>
      row(
        signals ? 'fccmpe' : 'fccmp',
        `00011110 ${f.type} 1 rm cond 01 rn ${signals ? 1 : 0} imm2[3:0]`,
        [`${f.letter}n`, `${f.letter}m`, 'imm2', 'cond'],
        (t, i) => conditionalCompare(t, i, f, signals),
      ),
    ),
  ),
];

/** What is not compared raises nothing: 0 is compared with itself instead. */
function conditionalCompare(t: Translator, i: Fields, f: Format, signals: boolean): void {
  const { b } = t;
  const holds = t.flags.condition(i.cond);
  const [x, y] = [i.rn, i.rm].map((n) => b.select(holds, read(t, f, n), b.i64(0)));
  const bits = compared(t, f, x, y, signals);
  t.flags.setBits(b.select(holds, bits, b.i32(i.imm2 << 28)));
}
