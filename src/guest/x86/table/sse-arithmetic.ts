/**
 * SSE and SSE2 floating-point arithmetic and comparison in the four formats PS, PD, SS and SD. What is exact about it
 * (rounding, exceptions, NaNs) is in routines/float-sse.ts; here stands which routine and which operands.
 * Intel SDM vol. 1 sections 10.4.1, 11.4.1.
 */
import type { BlockBuilder, F32, F64, I32, Routine, TypeName, V128 } from '../../../ir/index.js';
import { f32x4, f64x2, type PackedFloat } from '../routines/float-sse.js';
import { rcp, rsqrt } from '../routines/sse-approximate.js';
import type { DecodedInsn, InsnRow, Translator } from '../translator.js';
import {
  arithmetic32,
  arithmetic64,
  chosen,
  compared,
  compareMask,
  packed,
  packedRoot,
  root32,
  root64,
} from './sse-quick.js';
import { shuffle } from './vector.js';

type Translate = InsnRow['translate'];
type Result2<T extends TypeName> = Routine<readonly [T, T], readonly ['i32', T]>;
type Result1<T extends TypeName> = Routine<readonly [T], readonly ['i32', T]>;

/** What differs between single and double precision in the rows. */
interface Precision {
  readonly cpuid: 'sse' | 'sse2';
  readonly packedPrefix: 'NP' | '66';
  readonly scalarPrefix: 'F3' | 'F2';
  readonly packedSuffix: 'PS' | 'PD';
  readonly scalarSuffix: 'SS' | 'SD';
  readonly vector: 'f32x4' | 'f64x2';
  readonly packed: PackedFloat;
  /** The scalar operation on the low lanes of two vectors; the result's upper lanes are those of x. */
  readonly low2: (t: Translator, name: 'add' | 'sub' | 'mul' | 'div', x: V128, y: V128) => V128;
  readonly lowChoice: (t: Translator, name: 'min' | 'max', x: V128, y: V128) => V128;
  readonly lowSqrt: (t: Translator, x: V128, y: V128) => V128;
  readonly lowCompare: (t: Translator, x: V128, y: V128, predicate: number) => V128;
  /** Status flags of the two low lanes compared. */
  readonly flags: (t: Translator, name: 'comi' | 'ucomi', x: V128, y: V128) => I32;
  readonly bits: 32 | 64;
  /** Operand letters of the scalar. */
  readonly scalarSource: string;
  readonly scalarTarget: string;
}

const first32 = (b: BlockBuilder, x: V128): F32 => b.f32x4_extract_lane(x, 0);
const first64 = (b: BlockBuilder, x: V128): F64 => b.f64x2_extract_lane(x, 0);

const precisions: Record<'single' | 'double', Precision> = {
  single: {
    cpuid: 'sse',
    packedPrefix: 'NP',
    scalarPrefix: 'F3',
    packedSuffix: 'PS',
    scalarSuffix: 'SS',
    vector: 'f32x4',
    packed: f32x4,
    low2: ({ b }, name, x, y) => b.f32x4_replace_lane(x, arithmetic32(b, name, first32(b, x), first32(b, y)), 0),
    lowChoice: ({ b }, name, x, y) => b.f32x4_replace_lane(x, chosen(b, 'f32', name, first32(b, x), first32(b, y)), 0),
    lowSqrt: ({ b }, x, y) => b.f32x4_replace_lane(x, root32(b, first32(b, y)), 0),
    lowCompare: ({ b }, x, y, predicate) =>
      b.i32x4_replace_lane(x, compareMask(b, 'f32', first32(b, x), first32(b, y), predicate), 0),
    flags: ({ b }, name, x, y) => compared(b, 'f32', name, first32(b, x), first32(b, y)),
    bits: 32,
    scalarSource: 'Wss:r',
    scalarTarget: 'Vss:rw',
  },
  double: {
    cpuid: 'sse2',
    packedPrefix: '66',
    scalarPrefix: 'F2',
    packedSuffix: 'PD',
    scalarSuffix: 'SD',
    vector: 'f64x2',
    packed: f64x2,
    low2: ({ b }, name, x, y) => b.f64x2_replace_lane(x, arithmetic64(b, name, first64(b, x), first64(b, y)), 0),
    lowChoice: ({ b }, name, x, y) => b.f64x2_replace_lane(x, chosen(b, 'f64', name, first64(b, x), first64(b, y)), 0),
    lowSqrt: ({ b }, x, y) => b.f64x2_replace_lane(x, root64(b, first64(b, y)), 0),
    lowCompare: ({ b }, x, y, predicate) => {
      const mask = compareMask(b, 'f64', first64(b, x), first64(b, y), predicate);
      return b.i64x2_replace_lane(x, b.i64_extend_i32_s(mask), 0);
    },
    flags: ({ b }, name, x, y) => compared(b, 'f64', name, first64(b, x), first64(b, y)),
    bits: 64,
    scalarSource: 'Wsd:r',
    scalarTarget: 'Vsd:rw',
  },
};

/** xmm := routine(xmm, xmm/m128) */
function packed2(routine: Result2<'v128'>): Translate {
  return (t, insn) => {
    const y = t.readXmmRm();
    t.writeXmm(insn.reg, t.b.call(routine, t.readXmm(insn.reg), y)[1]);
  };
}

/** xmm := xmm op xmm/m128 */
export function packedArithmetic(type: 'f32x4' | 'f64x2', name: 'add' | 'sub' | 'addsub' | 'mul' | 'div'): Translate {
  return (t, insn) => {
    const y = t.readXmmRm();
    t.writeXmm(insn.reg, packed(t.b, type, name, t.readXmm(insn.reg), y));
  };
}

/** xmm := routine(xmm/m128) */
export function packed1(routine: Result1<'v128'>): Translate {
  return (t, insn) => {
    const y = t.readXmmRm();
    t.writeXmm(insn.reg, t.b.call(routine, y)[1]);
  };
}

/** xmm's low lane := op(xmm, xmm/m32 or m64); the upper lanes stay. */
function scalar(p: Precision, op: (t: Translator, x: V128, y: V128, insn: DecodedInsn) => V128): Translate {
  return (t, insn) => {
    const y = t.readXmmRmLow(p.bits);
    t.writeXmm(insn.reg, op(t, t.readXmm(insn.reg), y, insn));
  };
}

/** The packed and the scalar row of one operation. */
function pair(p: Precision, stem: string, opcode: string, packed: Translate, low: Translate): InsnRow[] {
  const unit = 'sse';
  return [
    {
      name: stem + p.packedSuffix,
      enc: `${p.packedPrefix} 0F ${opcode} /r`,
      args: 'Vdq:rw, Wdq:r',
      cpuid: p.cpuid,
      unit,
      translate: packed,
    },
    {
      name: stem + p.scalarSuffix,
      enc: `${p.scalarPrefix} 0F ${opcode} /r`,
      args: `${p.scalarTarget}, ${p.scalarSource}`,
      cpuid: p.cpuid,
      unit,
      translate: low,
    },
  ];
}

const operations = [
  ['ADD', '58', 'add'],
  ['MUL', '59', 'mul'],
  ['SUB', '5C', 'sub'],
  ['DIV', '5E', 'div'],
] as const;
const choices = [
  ['MIN', '5D', 'min'],
  ['MAX', '5F', 'max'],
] as const;

/** xmm := root of xmm/m128 */
const packedSqrt =
  (p: Precision): Translate =>
  (t, insn) => {
    const y = t.readXmmRm();
    t.writeXmm(insn.reg, packedRoot(t.b, p.vector, y));
  };

function arithmeticRows(p: Precision): InsnRow[] {
  const unit = 'sse';
  const comparePacked: Translate = (t, insn) => {
    const y = t.readXmmRm();
    t.writeXmm(insn.reg, t.b.call(p.packed.cmp, t.readXmm(insn.reg), y, t.b.i32(insn.immLow & 7))[1]);
  };
  const flagRow = (stem: string, opcode: string, name: 'comi' | 'ucomi'): InsnRow => ({
    name: stem + p.scalarSuffix,
    enc: `${p.packedPrefix} 0F ${opcode} /r`,
    args: `${p.scalarTarget.replace(':rw', ':r')}, ${p.scalarSource}`,
    cpuid: p.cpuid,
    unit,
    flags: { w: 'OSZAPC' },
    translate(t, insn) {
      const y = t.readXmmRmLow(p.bits);
      t.writeStatusFlags(p.flags(t, name, t.readXmm(insn.reg), y));
    },
  });
  const compare = pair(
    p,
    'CMP',
    'C2',
    comparePacked,
    scalar(p, (t, x, y, insn) => p.lowCompare(t, x, y, insn.immLow & 7)),
  );
  return [
    ...operations.flatMap(([stem, opcode, name]) =>
      pair(
        p,
        stem,
        opcode,
        packedArithmetic(p.vector, name),
        scalar(p, (t, x, y) => p.low2(t, name, x, y)),
      ),
    ),
    ...choices.flatMap(([stem, opcode, name]) =>
      pair(
        p,
        stem,
        opcode,
        packed2(p.packed[name]),
        scalar(p, (t, x, y) => p.lowChoice(t, name, x, y)),
      ),
    ),
    ...pair(p, 'SQRT', '51', packedSqrt(p), scalar(p, p.lowSqrt)).map(sourceOnly),
    ...compare.map((row) => ({ ...row, enc: `${row.enc} ib`, args: `${row.args}, Ib` })),
    flagRow('UCOMI', '2E', 'ucomi'),
    flagRow('COMI', '2F', 'comi'),
  ];
}

/** The packed form of a one-operand operation does not read its destination. */
function sourceOnly(row: InsnRow): InsnRow {
  return row.args.startsWith('Vdq:rw') ? { ...row, args: row.args.replace('Vdq:rw', 'Vdq:w') } : row;
}

/** RCPPS and RSQRTPS and their scalar forms: without exceptions, to 12 bits. */
function approximateRows(stem: string, opcode: string, routine: typeof rcp): InsnRow[] {
  const rows = pair(
    precisions.single,
    stem,
    opcode,
    (t, insn) => {
      const y = t.readXmmRm();
      t.writeXmm(insn.reg, t.b.call(routine, y)[0]);
    },
    scalar(precisions.single, (t, x, y) => shuffle(t.b, t.b.call(routine, y)[0], x, 4, [0, 5, 6, 7])),
  );
  return rows.map(sourceOnly);
}

export const singleRows: readonly InsnRow[] = [
  ...arithmeticRows(precisions.single),
  ...approximateRows('RSQRT', '52', rsqrt),
  ...approximateRows('RCP', '53', rcp),
];

export const doubleRows: readonly InsnRow[] = arithmeticRows(precisions.double);
