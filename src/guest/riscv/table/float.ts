/** F, D, Zfh and Zfhmin: floating point (unprivileged specification ch. 21, 22, 25). The rows of all precisions are made from one list. */
import type { I32, I64 } from '../../../ir/index.js';
import { rounding } from '../../float/core.js';
import { double, type Format, half, single } from '../../float/pack.js';
import { bitsOf, hasQuickWay, type QuickName, quickly, unlessFound } from '../../float/quick.js';
import { chosen, compared, demoted, fromInteger, promoted, toInteger } from '../../float/quick-conversions.js';
import type { Extension } from '../models.js';
import { convert, type FloatRoutines, f16, f32, f64, quickConvert } from '../routines/float.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { field } from '../state.js';
import { loadValue, low, storeValue } from './shared.js';

interface Precision {
  readonly letter: 'h' | 's' | 'd';
  /** fmt in an encoding. */
  readonly code: string;
  readonly bytes: 2 | 4 | 8;
  readonly format: Format;
  readonly routines: FloatRoutines;
  readonly signBit: bigint;
  /** Width in a load's or store's encoding. */
  readonly funct3: string;
  /** Of moves, loads and stores; of all else. */
  readonly basic?: Extension;
  readonly extension?: Extension;
}
const halfPrecision: Precision = {
  letter: 'h',
  code: '10',
  bytes: 2,
  format: half,
  routines: f16,
  signBit: 1n << 15n,
  funct3: '001',
  basic: 'zfhmin',
  extension: 'zfh',
};
const singlePrecision: Precision = {
  letter: 's',
  code: '00',
  bytes: 4,
  format: single,
  routines: f32,
  signBit: 1n << 31n,
  funct3: '010',
};
const doublePrecision: Precision = {
  letter: 'd',
  code: '01',
  bytes: 8,
  format: double,
  routines: f64,
  signBit: 1n << 63n,
  funct3: '011',
};

const read = (t: Translator, { format }: Precision, n: number): I64 =>
  format === double ? t.f(n) : t.boxed(n, format);
const write = (t: Translator, { format }: Precision, n: number, value: I64): void => {
  if (format === double) t.setF(n, value);
  else t.setBoxed(n, value, format);
};

const OP_FP = '1010011';
const row = (name: string, enc: string, args: string, translate: (t: Translator, i: Fields) => void): InsnRow => ({
  name,
  enc,
  args,
  float: true,
  translate,
});

/** Rows of an extension that a model may lack. */
const of = (extension: Extension | undefined, rows: readonly InsnRow[]): InsnRow[] =>
  extension ? rows.map((each) => ({ ...each, extension })) : [...rows];

/** Integer formats: their code in an encoding, and their bounds. */
const integers = [
  { name: 'w', code: '00000', lowest: 1n << 31n, highest: (1n << 31n) - 1n },
  { name: 'wu', code: '00001', lowest: 0n, highest: (1n << 32n) - 1n },
  { name: 'l', code: '00010', lowest: 1n << 63n, highest: (1n << 63n) - 1n },
  { name: 'lu', code: '00011', lowest: 0n, highest: (1n << 64n) - 1n },
] as const;

/** NX is fflags' lowest bit. */
const inexact = ({ b }: Translator): I32 => b.i32_load(b.state(), field.fflags);
const isNearest = (t: Translator, i: Fields): boolean => t.roundingMode(i.rm) === rounding.nearest;

/** The quick way of arithmetic, where it is allowed. */
function quick(t: Translator, i: Fields, f: Precision, name: QuickName, operands: readonly I64[]): I64 | undefined {
  const routine = f.routines.quick?.[name];
  if (!routine || !isNearest(t, i) || !hasQuickWay(name)) return undefined;
  return quickly(t.b, f.format, name, routine, operands, inexact(t), t.rounding(i.rm));
}

function rowsOf(f: Precision): InsnRow[] {
  const { letter, code, bytes, routines } = f;
  const arithmetic = (name: 'add' | 'sub' | 'mul' | 'div', funct5: string) =>
    row(`f${name}.${letter}`, `${funct5}${code} rs2 rs1 rm rd ${OP_FP}`, 'fd, fs1, fs2, rm', (t, i) => {
      const [x, y] = [read(t, f, i.rs1), read(t, f, i.rs2)];
      write(t, f, i.rd, quick(t, i, f, name, [x, y]) ?? t.b.call(routines[name], x, y, t.rounding(i.rm))[0]);
    });
  /** fs1 * fs2 + fs3 with the product or the sum negated. */
  const fused = (name: string, opcode: string, negateProduct: boolean, negateAddend: boolean) =>
    row(`${name}.${letter}`, `rs3 ${code} rs2 rs1 rm rd ${opcode}`, 'fd, fs1, fs2, fs3, rm', (t, i) => {
      const { b } = t;
      const flip = (value: I64, negate: boolean) => (negate ? b.i64_xor(value, b.i64(f.signBit)) : value);
      const factor = flip(read(t, f, i.rs1), negateProduct);
      const other = read(t, f, i.rs2);
      const addend = flip(read(t, f, i.rs3), negateAddend);
      const value = quick(t, i, f, 'fma', [factor, other, addend]);
      write(t, f, i.rd, value ?? b.call(routines.fma, factor, other, addend, t.rounding(i.rm))[0]);
    });
  const signs = (name: string, funct3: string, sign: (t: Translator, a: I64, b: I64) => I64) =>
    row(`fsgnj${name}.${letter}`, `00100${code} rs2 rs1 ${funct3} rd ${OP_FP}`, 'fd, fs1, fs2', (t, i) => {
      const { b } = t;
      const a = read(t, f, i.rs1);
      const mask = b.i64(f.signBit);
      const bit = b.i64_and(sign(t, a, read(t, f, i.rs2)), mask);
      write(t, f, i.rd, b.i64_or(b.i64_and(a, b.i64(~f.signBit)), bit));
    });
  const choice = (name: 'min' | 'max', funct3: string) =>
    row(`f${name}.${letter}`, `00101${code} rs2 rs1 ${funct3} rd ${OP_FP}`, 'fd, fs1, fs2', (t, i) => {
      const [x, y] = [read(t, f, i.rs1), read(t, f, i.rs2)];
      const { b } = t;
      const value = routines.quick
        ? bitsOf(b, f.format, unlessFound(b, routines.quick[name], chosen(b, f.format, name, x, y), [x, y]))
        : b.call(routines[name], x, y)[0];
      write(t, f, i.rd, value);
    });
  const compare = (name: 'eq' | 'lt' | 'le', funct3: string) =>
    row(`f${name}.${letter}`, `10100${code} rs2 rs1 ${funct3} rd ${OP_FP}`, 'rd, fs1, fs2', (t, i) => {
      const [x, y] = [read(t, f, i.rs1), read(t, f, i.rs2)];
      const { b } = t;
      const value = routines.quick
        ? unlessFound(b, routines.quick[name], compared(b, f.format, name, x, y), [x, y])
        : b.call(routines[name], x, y)[0];
      t.setX(i.rd, value);
    });
  const width = { 2: 'h', 4: 'w', 8: 'd' }[bytes];
  const basic: InsnRow[] = [
    {
      name: `fl${width}`,
      enc: `imm[11:0] rs1 ${f.funct3} rd 0000111`,
      args: 'fd, mem',
      float: true,
      bytes,
      translate: (t, i) => write(t, f, i.rd, loadValue(t, t.address(i.rs1, i.imm), bytes, false)),
    },
    {
      name: `fs${width}`,
      enc: `imm[11:5] rs2 rs1 ${f.funct3} imm[4:0] 0100111`,
      args: 'fs2, mem',
      float: true,
      bytes,
      // What is stored of a register that holds no single is its low half as it is.
      translate: (t, i) => storeValue(t, t.address(i.rs1, i.imm), bytes, t.f(i.rs2)),
    },
    row(`fmv.x.${width}`, `11100${code} 00000 rs1 000 rd ${OP_FP}`, 'rd, fs1', (t, i) => {
      const bits = t.f(i.rs1);
      t.setX(i.rd, bytes === 8 ? bits : bytes === 4 ? t.b.i64_extend32_s(bits) : t.b.i64_extend16_s(bits));
    }),
    row(`fmv.${width}.x`, `11110${code} 00000 rs1 000 rd ${OP_FP}`, 'fd, rs1', (t, i) => {
      const bits = t.x(i.rs1);
      write(t, f, i.rd, bytes === 8 ? bits : t.b.i64_and(bits, t.b.i64(2n * f.signBit - 1n)));
    }),
  ];
  const all: InsnRow[] = [
    arithmetic('add', '00000'),
    arithmetic('sub', '00001'),
    arithmetic('mul', '00010'),
    arithmetic('div', '00011'),
    row(`fsqrt.${letter}`, `01011${code} 00000 rs1 rm rd ${OP_FP}`, 'fd, fs1, rm', (t, i) => {
      const x = read(t, f, i.rs1);
      write(t, f, i.rd, quick(t, i, f, 'sqrt', [x]) ?? t.b.call(routines.sqrt, x, t.rounding(i.rm))[0]);
    }),
    fused('fmadd', '1000011', false, false),
    fused('fmsub', '1000111', false, true),
    fused('fnmsub', '1001011', true, false),
    fused('fnmadd', '1001111', true, true),
    signs('', '000', (_, __, y) => y),
    signs('n', '001', ({ b }, _, y) => b.i64_xor(y, b.i64(-1))),
    signs('x', '010', ({ b }, x, y) => b.i64_xor(x, y)),
    choice('min', '000'),
    choice('max', '001'),
    compare('le', '000'),
    compare('lt', '001'),
    compare('eq', '010'),
    row(`fclass.${letter}`, `11100${code} 00000 rs1 001 rd ${OP_FP}`, 'rd, fs1', (t, i) =>
      t.setX(i.rd, t.b.call(routines.classify, read(t, f, i.rs1))[0]),
    ),
    ...integers.flatMap(({ name, code: integer, lowest, highest }) => {
      const isWord = name.startsWith('w');
      const signed = !name.endsWith('u');
      return [
        row(`fcvt.${name}.${letter}`, `11000${code} ${integer} rs1 rm rd ${OP_FP}`, 'rd, fs1, rm', (t, i) => {
          const { b } = t;
          const bounds = [b.i64(lowest), b.i64(highest)] as const;
          const x = read(t, f, i.rs1);
          const operands = [x, t.rounding(i.rm), ...bounds] as const;
          const mode = t.roundingMode(i.rm);
          const found = routines.quick && toInteger(b, f.format, x, mode, signed, isWord ? 32 : 64, inexact(t));
          const value = found
            ? unlessFound(b, routines.quick.toInteger, found, operands)
            : b.call(routines.toInteger, ...operands)[0];
          t.setX(i.rd, isWord ? b.i64_extend32_s(value) : value);
        }),
        row(`fcvt.${letter}.${name}`, `11010${code} ${integer} rs1 rm rd ${OP_FP}`, 'fd, rs1, rm', (t, i) => {
          const { b } = t;
          const whole = t.x(i.rs1);
          const value = !isWord ? whole : signed ? b.i64_extend32_s(whole) : low(t, whole);
          const operands = [value, b.i32(signed ? 1 : 0), t.rounding(i.rm)] as const;
          if (!routines.quick || !isNearest(t, i)) {
            write(t, f, i.rd, b.call(routines.fromInteger, ...operands)[0]);
            return;
          }
          const found = fromInteger(b, f.format, value, signed, isWord ? 32 : 64, inexact(t));
          write(t, f, i.rd, bitsOf(b, f.format, unlessFound(b, routines.quick.fromInteger, found, operands)));
        }),
      ];
    }),
  ];
  return [...of(f.basic, basic), ...of(f.extension, all)];
}

/** FCVT from one precision to another. */
const conversion = (to: Precision, from: Precision): InsnRow => {
  const routine = (convert[to.letter] as Readonly<Record<string, typeof convert.d.s>>)[from.letter];
  const enc = `01000${to.code} 000${from.code} rs1 rm rd ${OP_FP}`;
  return row(`fcvt.${to.letter}.${from.letter}`, enc, 'fd, fs1, rm', (t, i) => {
    const { b } = t;
    const x = read(t, from, i.rs1);
    const operands = [x, t.rounding(i.rm)] as const;
    if (from === singlePrecision && to === doublePrecision) {
      write(t, to, i.rd, bitsOf(b, double, unlessFound(b, quickConvert.promote, promoted(b, single, x), operands)));
    } else if (from === doublePrecision && to === singlePrecision && isNearest(t, i)) {
      const found = demoted(b, single, x, inexact(t));
      write(t, to, i.rd, bitsOf(b, single, unlessFound(b, quickConvert.demote, found, operands)));
    } else write(t, to, i.rd, b.call(routine, ...operands)[0]);
  });
};

export const floatRows: readonly InsnRow[] = [
  ...[singlePrecision, doublePrecision, halfPrecision].flatMap(rowsOf),
  conversion(singlePrecision, doublePrecision),
  conversion(doublePrecision, singlePrecision),
  ...of('zfhmin', [
    conversion(singlePrecision, halfPrecision),
    conversion(halfPrecision, singlePrecision),
    conversion(doublePrecision, halfPrecision),
    conversion(halfPrecision, doublePrecision),
  ]),
];
