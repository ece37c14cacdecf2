/** Vector integer and fixed-point arithmetic, and their reductions (unprivileged specification 31.11, 31.12, 31.14.1). */
import type { Fields, InsnRow } from '../row.js';
import type { VectorRoutine } from '../vector/elements.js';
import { carries, comparisons, integers, reductions } from '../vector/integer.js';
import { allNarrow, extending, isAligned, narrowing, toMask, widening } from '../vector/legality.js';
import { copy, merge } from '../vector/permute.js';
import { quick, quickly } from './vector-quick.js';
import { type Category, callVector, type Form, suffixOf, vectorRow, type Widths } from './vector-shared.js';

type Forms = readonly Form[];

/** What can be done inline, by the routine that does it otherwise. */
const inlineOf = new Map(
  (Object.keys(quick) as (keyof typeof quick)[])
    .filter((name) => name !== 'copy')
    .map((name) => [integers[name as keyof typeof integers], quick[name]] as const),
);

/** One width. */
const plain = (
  name: string,
  funct6: string,
  forms: Forms,
  routine: VectorRoutine,
  category: Category = 'integer',
): InsnRow[] => {
  const inline = inlineOf.get(routine);
  return forms.map((form) =>
    vectorRow({
      name: `${name}.v${suffixOf(form)}`,
      category,
      funct6,
      form,
      legal: (i, v) => allNarrow(i, v, form === 'v'),
      translate: (t, i) => {
        if (!inline || !quickly(t, i, form, inline)) callVector(t, i, form, routine);
      },
    }),
  );
};
const multiply = (name: string, funct6: string, routine: VectorRoutine): InsnRow[] =>
  plain(name, funct6, ['v', 'x'], routine, 'multiply');
/** The order in which assembly names the operands of what accumulates. */
const accumulating = (name: string, funct6: string, routine: VectorRoutine): InsnRow[] =>
  multiply(name, funct6, routine).map((row) => ({ ...row, args: row.args.replace(/vs2, (\w+)/, '$1, vs2') }));

const comparing = (name: string, funct6: string, forms: Forms, routine: VectorRoutine): InsnRow[] =>
  forms.map((form) =>
    vectorRow({
      name: `${name}.v${suffixOf(form)}`,
      category: 'integer',
      funct6,
      form,
      legal: (i, v) => toMask(i, v, form === 'v'),
      translate: (t, i) => callVector(t, i, form, routine),
    }),
  );

const mixed = (
  name: string,
  funct6: string,
  forms: Forms,
  category: Category,
  routine: VectorRoutine,
  widths: Widths,
  legal: (i: Fields, v: Parameters<typeof widening>[1], vs1: boolean) => boolean,
): InsnRow[] =>
  forms.map((form) =>
    vectorRow({
      name: `${name}${suffixOf(form)}`,
      category,
      funct6,
      form,
      legal: (i, v) => legal(i, v, form === 'v'),
      translate: (t, i) => callVector(t, i, form, routine, widths),
    }),
  );
const wider = (name: string, funct6: string, routine: VectorRoutine, forms: Forms = ['v', 'x']): InsnRow[] =>
  mixed(`${name}.v`, funct6, forms, 'multiply', routine, { vd: 1 }, (i, v, vs1) => widening(i, v, vs1, false));
const widerOfWide = (name: string, funct6: string, routine: VectorRoutine): InsnRow[] =>
  mixed(`${name}.w`, funct6, ['v', 'x'], 'multiply', routine, { vd: 1, vs2: 1 }, (i, v, vs1) =>
    widening(i, v, vs1, true),
  );
const widerAccumulating = (...args: Parameters<typeof wider>): InsnRow[] =>
  wider(...args).map((row) => ({ ...row, args: row.args.replace(/vs2, (\w+)/, '$1, vs2') }));
const narrower = (name: string, funct6: string, routine: VectorRoutine): InsnRow[] =>
  mixed(`${name}.w`, funct6, ['v', 'x', 'u'], 'integer', routine, { vs2: 1 }, narrowing);

const extended = (letter: 's' | 'z', places: 1 | 2 | 3): InsnRow =>
  vectorRow({
    name: `v${letter}ext.vf${1 << places}`,
    category: 'multiply',
    funct6: '010010',
    form: 'v',
    vs1: { 3: '0001', 2: '0010', 1: '0011' }[places] + (letter === 's' ? '1' : '0'),
    args: 'vd, vs2',
    legal: (i, v) => extending(i, v, places),
    translate: (t, i) =>
      callVector(t, i, 'x', letter === 's' ? integers.extendSigned : integers.extend, { vs2: -places }),
  });

/** With v0's carry; the sum, or the carry out. `masked`: whether there is a carry in. */
const carrying = (name: string, funct6: string, forms: Forms, routine: VectorRoutine): InsnRow[] =>
  forms.map((form) =>
    vectorRow({
      name: `${name}.v${suffixOf(form)}m`,
      category: 'integer',
      funct6,
      form,
      vm: '0',
      args: `vd, vs2, ${form === 'v' ? 'vs1' : form === 'x' ? 'rs1' : 'imm'}, v0`,
      legal: (i, v) => allNarrow(i, v, form === 'v'),
      translate: (t, i) => callVector(t, i, form, routine),
    }),
  );
const carryOut = (name: string, funct6: string, forms: Forms, routine: VectorRoutine): InsnRow[] =>
  forms.flatMap((form) =>
    (['0', '1'] as const).map((vm) => {
      const second = form === 'v' ? 'vs1' : form === 'x' ? 'rs1' : 'imm';
      return vectorRow({
        name: `${name}.v${suffixOf(form)}${vm === '0' ? 'm' : ''}`,
        category: 'integer',
        funct6,
        form,
        vm,
        args: `vd, vs2, ${second}${vm === '0' ? ', v0' : ''}`,
        legal: (i, v) => toMask(i, v, form === 'v'),
        translate: (t, i) => callVector(t, i, form, routine),
      });
    }),
  );

const moves = (['v', 'x', 'i'] as const).flatMap((form) => [
  vectorRow({
    name: `vmerge.v${suffixOf(form)}m`,
    category: 'integer',
    funct6: '010111',
    form,
    vm: '0',
    args: `vd, vs2, ${form === 'v' ? 'vs1' : form === 'x' ? 'rs1' : 'imm'}, v0`,
    legal: (i, v) => allNarrow(i, v, form === 'v'),
    translate: (t, i) => callVector(t, i, form, merge),
  }),
  vectorRow({
    name: `vmv.v.${form}`,
    category: 'integer',
    funct6: '010111',
    form,
    vm: '1',
    vs2: '00000',
    args: `vd, ${form === 'v' ? 'vs1' : form === 'x' ? 'rs1' : 'imm'}`,
    legal: (i, { lmul }) => isAligned(i.rd, lmul) && (form !== 'v' || isAligned(i.rs1, lmul)),
    translate: (t, i) => {
      if (!quickly(t, i, form, quick.copy)) callVector(t, i, form, copy);
    },
  }),
]);

const reducing = (name: string, funct6: string, routine: VectorRoutine): InsnRow =>
  vectorRow({
    name: `${name}.vs`,
    category: 'multiply',
    funct6,
    form: 'v',
    legal: (i, { lmul }) => isAligned(i.rs2, lmul),
    fromStart: true,
    translate: (t, i) => callVector(t, i, 'v', routine),
  });
/** Into an element of twice the width. */
const reducingWider = (name: string, funct6: string, routine: VectorRoutine): InsnRow =>
  vectorRow({
    name: `${name}.vs`,
    category: 'integer',
    funct6,
    form: 'v',
    legal: (i, { lmul, sew }) => sew < 3 && isAligned(i.rs2, lmul),
    fromStart: true,
    translate: (t, i) => callVector(t, i, 'v', routine, { vd: 1, vs1: 1 }),
  });

export const vectorIntegerRows: readonly InsnRow[] = [
  ...plain('vadd', '000000', ['v', 'x', 'i'], integers.add),
  ...plain('vsub', '000010', ['v', 'x'], integers.sub),
  ...plain('vrsub', '000011', ['x', 'i'], integers.rsub),
  ...plain('vminu', '000100', ['v', 'x'], integers.minu),
  ...plain('vmin', '000101', ['v', 'x'], integers.min),
  ...plain('vmaxu', '000110', ['v', 'x'], integers.maxu),
  ...plain('vmax', '000111', ['v', 'x'], integers.max),
  ...plain('vand', '001001', ['v', 'x', 'i'], integers.and),
  ...plain('vor', '001010', ['v', 'x', 'i'], integers.or),
  ...plain('vxor', '001011', ['v', 'x', 'i'], integers.xor),
  ...carrying('vadc', '010000', ['v', 'x', 'i'], carries.adc),
  ...carryOut('vmadc', '010001', ['v', 'x', 'i'], carries.madc),
  ...carrying('vsbc', '010010', ['v', 'x'], carries.sbc),
  ...carryOut('vmsbc', '010011', ['v', 'x'], carries.msbc),
  ...moves,
  ...comparing('vmseq', '011000', ['v', 'x', 'i'], comparisons.eq),
  ...comparing('vmsne', '011001', ['v', 'x', 'i'], comparisons.ne),
  ...comparing('vmsltu', '011010', ['v', 'x'], comparisons.ltu),
  ...comparing('vmslt', '011011', ['v', 'x'], comparisons.lt),
  ...comparing('vmsleu', '011100', ['v', 'x', 'i'], comparisons.leu),
  ...comparing('vmsle', '011101', ['v', 'x', 'i'], comparisons.le),
  ...comparing('vmsgtu', '011110', ['x', 'i'], comparisons.gtu),
  ...comparing('vmsgt', '011111', ['x', 'i'], comparisons.gt),
  ...plain('vsaddu', '100000', ['v', 'x', 'i'], integers.saddu),
  ...plain('vsadd', '100001', ['v', 'x', 'i'], integers.sadd),
  ...plain('vssubu', '100010', ['v', 'x'], integers.ssubu),
  ...plain('vssub', '100011', ['v', 'x'], integers.ssub),
  ...plain('vsll', '100101', ['v', 'x', 'u'], integers.sll),
  ...plain('vsmul', '100111', ['v', 'x'], integers.smul),
  ...plain('vsrl', '101000', ['v', 'x', 'u'], integers.srl),
  ...plain('vsra', '101001', ['v', 'x', 'u'], integers.sra),
  ...plain('vssrl', '101010', ['v', 'x', 'u'], integers.ssrl),
  ...plain('vssra', '101011', ['v', 'x', 'u'], integers.ssra),
  ...narrower('vnsrl', '101100', integers.srl),
  ...narrower('vnsra', '101101', integers.sra),
  ...narrower('vnclipu', '101110', integers.nclipu),
  ...narrower('vnclip', '101111', integers.nclip),
  reducingWider('vwredsumu', '110000', reductions.sum),
  reducingWider('vwredsum', '110001', reductions.sumSigned),

  reducing('vredsum', '000000', reductions.sum),
  reducing('vredand', '000001', reductions.and),
  reducing('vredor', '000010', reductions.or),
  reducing('vredxor', '000011', reductions.xor),
  reducing('vredminu', '000100', reductions.minu),
  reducing('vredmin', '000101', reductions.min),
  reducing('vredmaxu', '000110', reductions.maxu),
  reducing('vredmax', '000111', reductions.max),
  ...multiply('vaaddu', '001000', integers.aaddu),
  ...multiply('vaadd', '001001', integers.aadd),
  ...multiply('vasubu', '001010', integers.asubu),
  ...multiply('vasub', '001011', integers.asub),
  ...(['s', 'z'] as const).flatMap((letter) => ([1, 2, 3] as const).map((places) => extended(letter, places))),
  ...multiply('vdivu', '100000', integers.divu),
  ...multiply('vdiv', '100001', integers.div),
  ...multiply('vremu', '100010', integers.remu),
  ...multiply('vrem', '100011', integers.rem),
  ...multiply('vmulhu', '100100', integers.mulhu),
  ...multiply('vmul', '100101', integers.mul),
  ...multiply('vmulhsu', '100110', integers.mulhsu),
  ...multiply('vmulh', '100111', integers.mulh),
  ...accumulating('vmadd', '101001', integers.madd),
  ...accumulating('vnmsub', '101011', integers.nmsub),
  ...accumulating('vmacc', '101101', integers.macc),
  ...accumulating('vnmsac', '101111', integers.nmsac),
  ...wider('vwaddu', '110000', integers.add),
  ...wider('vwadd', '110001', integers.addSigned),
  ...wider('vwsubu', '110010', integers.sub),
  ...wider('vwsub', '110011', integers.subSigned),
  ...widerOfWide('vwaddu', '110100', integers.add),
  ...widerOfWide('vwadd', '110101', integers.addSigned),
  ...widerOfWide('vwsubu', '110110', integers.sub),
  ...widerOfWide('vwsub', '110111', integers.subSigned),
  ...wider('vwmulu', '111000', integers.mul),
  ...wider('vwmulsu', '111010', integers.mulSignedUnsigned),
  ...wider('vwmul', '111011', integers.mulSigned),
  ...widerAccumulating('vwmaccu', '111100', integers.macc),
  ...widerAccumulating('vwmacc', '111101', integers.maccSigned),
  ...widerAccumulating('vwmaccus', '111110', integers.maccUnsignedSigned, ['x']),
  ...widerAccumulating('vwmaccsu', '111111', integers.maccSignedUnsigned),
];
