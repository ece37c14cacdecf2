/** Vector configuration, masks and permutations (unprivileged specification 31.6, 31.15, 31.16). */
import { header } from '../../../ir/index.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { field } from '../state.js';
import { setVectorType } from '../vector/config.js';
import { info, infoOf, type VectorRoutine } from '../vector/elements.js';
import { gathering, isAligned, isApart, mayMask, overlap, sliding } from '../vector/legality.js';
import * as permute from '../vector/permute.js';
import {
  callVector,
  floatFormat,
  floatScalar,
  isFloatWidth,
  placeOf,
  suffixOf,
  type VectorRow,
  vectorRow,
} from './vector-shared.js';

const OP_V = '1010111';

/**
 * vtype is part of the mode key: the block goes on for when it stays as it was when it was translated, as in a loop, and is left
 * where it has changed.
 */
function setType(t: Translator, i: Fields, length: number | undefined, type: ReturnType<Translator['x']>): void {
  const { b } = t;
  t.dirtyVectors();
  const state = b.state();
  const before = b.i32_load(state, header.modeKey);
  const wanted =
    length !== undefined
      ? b.i64(length)
      : i.rs1 !== 0
        ? t.x(i.rs1)
        : i.rd !== 0
          ? b.i64(-1)
          : b.i64_extend_i32_u(b.i32_load(state, field.vl));
  const [vl] = b.call(setVectorType, wanted, type);
  t.setX(i.rd, vl);
  t.leaveIf(b.i32_xor(before, b.i32_load(state, header.modeKey)));
}

const configuration = (row: Omit<InsnRow, 'extension' | 'vector'>): InsnRow => ({
  ...row,
  extension: 'v',
  vector: true,
});

const logical = (name: string, funct6: string, routine: VectorRoutine): InsnRow =>
  vectorRow({
    name: `${name}.mm`,
    category: 'multiply',
    funct6,
    form: 'v',
    vm: '1',
    legal: () => true,
    translate: (t, i) => callVector(t, i, 'v', routine),
  });

/** Of a mask alone. */
const ofMask = (name: string, vs1: string, routine: VectorRoutine, row: Pick<VectorRow, 'legal'>): InsnRow =>
  vectorRow({
    name,
    category: 'multiply',
    funct6: '010100',
    form: 'v',
    vs1,
    args: 'vd, vs2',
    fromStart: true,
    translate: (t, i) => callVector(t, i, 'x', routine),
    ...row,
  });

const counting = (name: string, vs1: string, routine: typeof permute.population): InsnRow =>
  vectorRow({
    name,
    category: 'multiply',
    funct6: '010000',
    form: 'v',
    vs1,
    rd: 'rd',
    args: 'rd, vs2',
    legal: () => true,
    fromStart: true,
    translate: (t, i) => {
      const { b } = t;
      const masked = i.vm === 0 ? info.masked : 0;
      t.setX(i.rd, b.call(routine, b.i32(placeOf(t, i.rs2)), b.i32(masked))[0]);
    },
  });

/** Element 0 of vs2, sign-extended. */
function firstElement(t: Translator, i: Fields) {
  const { b } = t;
  const { sew } = t.mode.vector;
  return b.call(permute.getFirst, b.i32(placeOf(t, i.rs2)), b.i32(infoOf({ vd: 0, vs2: sew, vs1: 0 }, false)))[0];
}

const slide = (name: string, funct6: string, routine: VectorRoutine, up: boolean): InsnRow[] =>
  (['x', 'u'] as const).map((form) =>
    vectorRow({
      name: `${name}.v${suffixOf(form)}`,
      category: 'integer',
      funct6,
      form,
      legal: (i, v) => sliding(i, v, up),
      translate: (t, i) => callVector(t, i, form, routine),
    }),
  );
const slideOne = (name: string, funct6: string, routine: VectorRoutine, up: boolean): InsnRow[] => [
  vectorRow({
    name: `v${name}.vx`,
    category: 'multiply',
    funct6,
    form: 'x',
    legal: (i, v) => sliding(i, v, up),
    translate: (t, i) => callVector(t, i, 'x', routine),
  }),
  vectorRow({
    name: `vf${name}.vf`,
    category: 'float',
    funct6,
    form: 'f',
    legal: (i, v) => isFloatWidth(v) && sliding(i, v, up),
    rounds: true,
    translate: (t, i) => callVector(t, i, 'f', routine),
  }),
];

const gathers: readonly InsnRow[] = [
  vectorRow({
    name: 'vrgather.vv',
    category: 'integer',
    funct6: '001100',
    form: 'v',
    legal: (i, v) => gathering(i, v, v.sew),
    translate: (t, i) => callVector(t, i, 'v', permute.gather),
  }),
  ...(['x', 'u'] as const).map((form) =>
    vectorRow({
      name: `vrgather.v${suffixOf(form)}`,
      category: 'integer',
      funct6: '001100',
      form,
      legal: (i, v) => gathering(i, v, undefined),
      translate: (t, i) => callVector(t, i, form, permute.gather),
    }),
  ),
  vectorRow({
    name: 'vrgatherei16.vv',
    category: 'integer',
    funct6: '001110',
    form: 'v',
    legal: (i, v) => gathering(i, v, 1),
    translate: (t, i) => callVector(t, i, 'v', permute.gather, { vs1: 1 - t.mode.vector.sew }),
  }),
];

/** VMV1R.V to VMV8R.V. */
const wholeMoves: readonly InsnRow[] = [1, 2, 4, 8].map((count) =>
  vectorRow({
    name: `vmv${count}r.v`,
    category: 'integer',
    funct6: '100111',
    form: 'i',
    vm: '1',
    vs1: (count - 1).toString(2).padStart(5, '0'),
    args: 'vd, vs2',
    anyType: true,
    legal: (i) => i.rd % count === 0 && i.rs2 % count === 0,
    translate: (t, i) => {
      const { b } = t;
      const { sew, isIllegal } = t.mode.vector;
      const bits = infoOf({ vd: isIllegal ? 0 : sew, vs2: 0, vs1: 0 }, false);
      const bytes = b.i32(count * t.vlenb);
      b.call(permute.copyRegisters, b.i32(placeOf(t, i.rd)), b.i32(placeOf(t, i.rs2)), bytes, b.i32(bits));
    },
  }),
);

export const vectorOtherRows: readonly InsnRow[] = [
  configuration({
    name: 'vsetvli',
    enc: `0 uimm[10:0] rs1 111 rd ${OP_V}`,
    args: 'rd, rs1, vtype',
    translate: (t, i) => setType(t, i, undefined, t.b.i64(i.imm)),
  }),
  configuration({
    name: 'vsetivli',
    enc: `11 uimm[9:0] rs1 111 rd ${OP_V}`,
    args: 'rd, uimm5, vtype',
    translate: (t, i) => setType(t, i, i.rs1, t.b.i64(i.imm)),
  }),
  configuration({
    name: 'vsetvl',
    enc: `1000000 rs2 rs1 111 rd ${OP_V}`,
    args: 'rd, rs1, rs2',
    translate: (t, i) => setType(t, i, undefined, t.x(i.rs2)),
  }),
  logical('vmandn', '011000', permute.masks.andn),
  logical('vmand', '011001', permute.masks.and),
  logical('vmor', '011010', permute.masks.or),
  logical('vmxor', '011011', permute.masks.xor),
  logical('vmorn', '011100', permute.masks.orn),
  logical('vmnand', '011101', permute.masks.nand),
  logical('vmnor', '011110', permute.masks.nor),
  logical('vmxnor', '011111', permute.masks.xnor),
  counting('vcpop.m', '10000', permute.population),
  counting('vfirst.m', '10001', permute.first),
  ofMask('vmsbf.m', '00001', permute.setBefore.sbf, { legal: (i) => mayMask(i) && i.rd !== i.rs2 }),
  ofMask('vmsof.m', '00010', permute.setBefore.sof, { legal: (i) => mayMask(i) && i.rd !== i.rs2 }),
  ofMask('vmsif.m', '00011', permute.setBefore.sif, { legal: (i) => mayMask(i) && i.rd !== i.rs2 }),
  ofMask('viota.m', '10000', permute.iota, {
    legal: (i, { lmul }) => mayMask(i) && isAligned(i.rd, lmul) && !overlap(i.rd, 1 << Math.max(0, lmul), i.rs2, 1),
  }),
  vectorRow({
    name: 'vid.v',
    category: 'multiply',
    funct6: '010100',
    form: 'v',
    vs2: '00000',
    vs1: '10001',
    args: 'vd',
    legal: (i, { lmul }) => mayMask(i) && isAligned(i.rd, lmul),
    translate: (t, i) => callVector(t, i, 'x', permute.identity),
  }),
  vectorRow({
    name: 'vmv.x.s',
    category: 'multiply',
    funct6: '010000',
    form: 'v',
    vm: '1',
    vs1: '00000',
    args: 'rd, vs2',
    legal: () => true,
    translate: (t, i) => t.setX(i.rd, firstElement(t, i)),
  }),
  vectorRow({
    name: 'vmv.s.x',
    category: 'multiply',
    funct6: '010000',
    form: 'x',
    vm: '1',
    vs2: '00000',
    args: 'vd, rs1',
    legal: () => true,
    translate: (t, i) => callVector(t, i, 'x', permute.setFirst),
  }),
  vectorRow({
    name: 'vfmv.f.s',
    category: 'float',
    funct6: '010000',
    form: 'v',
    vm: '1',
    vs1: '00000',
    args: 'fd, vs2',
    legal: (_, v) => isFloatWidth(v),
    rounds: true,
    translate: (t, i) => {
      const { sew } = t.mode.vector;
      const value = firstElement(t, i);
      if (sew === 3) t.setF(i.rd, value);
      else t.setBoxed(i.rd, value, floatFormat(sew));
    },
  }),
  vectorRow({
    name: 'vfmv.s.f',
    category: 'float',
    funct6: '010000',
    form: 'f',
    vm: '1',
    vs2: '00000',
    args: 'vd, fs1',
    legal: (_, v) => isFloatWidth(v),
    rounds: true,
    translate: (t, i) => {
      const { b } = t;
      const { sew } = t.mode.vector;
      const bits = b.i32(infoOf({ vd: sew, vs2: sew, vs1: sew }, false));
      b.call(permute.setFirst, b.i32(placeOf(t, i.rd)), b.i32(0), b.i32(0), floatScalar(t, i.rs1, sew), bits);
    },
  }),
  ...slide('vslideup', '001110', permute.slides.up, true),
  ...slide('vslidedown', '001111', permute.slides.down, false),
  ...slideOne('slide1up', '001110', permute.slides.oneUp, true),
  ...slideOne('slide1down', '001111', permute.slides.oneDown, false),
  ...gathers,
  vectorRow({
    name: 'vcompress.vm',
    category: 'multiply',
    funct6: '010111',
    form: 'v',
    vm: '1',
    legal: (i, { lmul }) =>
      isAligned(i.rd, lmul) && isAligned(i.rs2, lmul) && i.rd !== i.rs2 && isApart(i.rd, lmul, i.rs1, 0),
    fromStart: true,
    translate: (t, i) => callVector(t, i, 'v', permute.compress),
  }),
  ...wholeMoves,
];
