/** What rows of vector instructions have in common (unprivileged specification ch. 31). */
import type { I64 } from '../../../ir/index.js';
import { double, type Format, half, single } from '../../float/pack.js';
import type { VectorMode } from '../mode.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { field } from '../state.js';
import { info, infoOf, type VectorRoutine } from '../vector/elements.js';

const OP_V = '1010111';
/** Where the second operand comes from: a vector, an integer register, an immediate with or without sign, a floating-point register. */
export type Form = 'v' | 'x' | 'i' | 'u' | 'f';
export type Category = 'integer' | 'multiply' | 'float';

const funct3: Readonly<Record<Category, Partial<Record<Form, string>>>> = {
  integer: { v: '000', x: '100', i: '011', u: '011' },
  multiply: { v: '010', x: '110' },
  float: { v: '001', f: '101' },
};
const operand: Readonly<Record<Form, { enc: string; args: string; suffix: string }>> = {
  v: { enc: 'rs1', args: 'vs1', suffix: 'v' },
  x: { enc: 'rs1', args: 'rs1', suffix: 'x' },
  i: { enc: 'imm[4:0]', args: 'imm', suffix: 'i' },
  u: { enc: 'uimm[4:0]', args: 'imm', suffix: 'i' },
  f: { enc: 'rs1', args: 'fs1', suffix: 'f' },
};
export const suffixOf = (form: Form): string => operand[form].suffix;

export interface VectorRow {
  readonly name: string;
  readonly category: Category;
  readonly funct6: string;
  readonly form: Form;
  /** Fields that the encoding fixes. */
  readonly vm?: '0' | '1';
  readonly vs2?: string;
  readonly vs1?: string;
  readonly rd?: 'vd' | 'rd' | 'fd';
  /** Operands, where they are not vd, vs2 and the form's. */
  readonly args?: string;
  /** Whether vtype and registers allow it. */
  readonly legal: (i: Fields, v: VectorMode) => boolean;
  /** vstart must be 0. */
  readonly fromStart?: boolean;
  /** The rounding mode in frm must be one. */
  readonly rounds?: boolean;
  /** vtype need not mean anything. */
  readonly anyType?: boolean;
  readonly translate: (t: Translator, i: Fields) => void;
}

/** An invalid frm makes the instruction illegal. */
const hasRounding = ({ mode }: Translator): boolean => mode.frm <= 4;
/** Floating point has elements of 32 and 64 bits, and of 16 where the model has Zvfh. `wider`: of elements so much wider than vtype says. */
export function isFloatWidth({ sew, hasHalf }: VectorMode, wider = 0): boolean {
  const width = sew + wider;
  return width === 2 || width === 3 || (width === 1 && hasHalf);
}

export function vectorRow(row: VectorRow): InsnRow {
  const { category, form, funct6, legal, vm, vs1, vs2 } = row;
  const second = vs1 ?? operand[form].enc;
  const destination = row.rd ?? 'vd';
  const operands = row.args ?? `${destination}, vs2, ${operand[form].args}`;
  return {
    name: row.name,
    enc: `${funct6} ${vm ?? 'vm'} ${vs2 ?? 'rs2'} ${second} ${funct3[category][form]} rd ${OP_V}`,
    args: vm === undefined ? `${operands}, vm` : operands,
    extension: 'v',
    vector: true,
    ...(category === 'float' ? { float: true as const } : {}),
    translate: (t, i) => {
      const fields = vm === '1' ? { ...i, vm: 1 } : i;
      const { vector } = t.mode;
      if ((vector.isIllegal && !row.anyType) || (row.rounds && !hasRounding(t)) || !legal(fields, vector)) {
        t.illegal();
        return;
      }
      if (row.fromStart && !vector.isFull) startsAtZero(t);
      t.dirtyVectors();
      row.translate(t, fields);
    },
  };
}

/** Illegal unless vstart is 0. */
export function startsAtZero(t: Translator): void {
  t.illegalIf(t.b.i32_load(t.b.state(), field.vstart));
}

/** Where a register lies in the state. */
export const placeOf = (t: Translator, register: number): number => field.vectors + register * t.vlenb;

/** A number in a floating-point register, as wide as the elements. */
export const floatScalar = (t: Translator, register: number, sew: number): I64 =>
  sew === 3 ? t.f(register) : t.boxed(register, floatFormat(sew));
export const floatFormat = (sew: number): Format => [half, half, single, double][sew];

export function scalarOf(t: Translator, i: Fields, form: Form): I64 {
  if (form === 'x') return t.x(i.rs1);
  if (form === 'f') return floatScalar(t, i.rs1, t.mode.vector.sew);
  return t.b.i64(form === 'v' ? 0 : i.imm);
}

export interface Widths {
  readonly vd?: number;
  readonly vs2?: number;
  readonly vs1?: number;
}

/** Calls an operation's routine. `widths`: by how much operands are wider than vtype says; `mode`: how it rounds, by frm unless given. */
export function callVector(
  t: Translator,
  i: Fields,
  form: Form,
  routine: VectorRoutine,
  { vd = 0, vs2 = 0, vs1 = 0 }: Widths = {},
  mode?: number,
): void {
  const { b } = t;
  const { sew } = t.mode.vector;
  const bits = infoOf({ vd: sew + vd, vs2: sew + vs2, vs1: sew + vs1 }, i.vm === 0);
  const rounding = mode === undefined ? 0 : mode << info.rounding;
  b.call(
    routine,
    b.i32(placeOf(t, i.rd)),
    b.i32(placeOf(t, i.rs2)),
    b.i32(form === 'v' ? placeOf(t, i.rs1) : 0),
    scalarOf(t, i, form),
    b.i32(bits | rounding),
  );
}
