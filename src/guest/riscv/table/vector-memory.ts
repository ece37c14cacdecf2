/** Vector loads and stores (unprivileged specification 31.7). */
import type { I32, I64 } from '../../../ir/index.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { field } from '../state.js';
import { infoOf } from '../vector/elements.js';
import { byIndex, byWidth } from '../vector/legality.js';
import { memory } from '../vector/memory.js';
import { placeOf } from './vector-shared.js';

const widths = [
  { width: 0, code: '000' },
  { width: 1, code: '101' },
  { width: 2, code: '110' },
  { width: 3, code: '111' },
] as const;
type Kind = 'l' | 's';
const opcode = { l: '0000111', s: '0100111' } as const;
const bitsOf = (width: number): number => 8 << width;

type Routine = (typeof memory.load)[number];

interface Access {
  readonly routine: Routine;
  readonly step: I64;
  /** Registers of each field. */
  readonly group: number;
  readonly fields: number;
  readonly count: I32;
  readonly bits: number;
}

function call(t: Translator, i: Fields, kind: Kind, { routine, step, group, fields, count, bits }: Access): void {
  const { b } = t;
  if (kind === 'l') t.dirtyVectors();
  b.call(
    routine,
    t.x(i.rs1),
    step,
    b.i32(placeOf(t, i.rd)),
    b.i32(placeOf(t, i.rs2)),
    b.i32(fields),
    b.i32(group * t.vlenb),
    count,
    b.i32(bits),
  );
}

const lengthOf = ({ b }: Translator): I32 => b.i32_load(b.state(), field.vl);
const groupOf = (t: Translator, width: number): number => {
  const { sew, lmul } = t.mode.vector;
  return 1 << Math.max(0, width - sew + lmul);
};
const isMasked = (i: Fields): boolean => i.vm === 0;

/** Elements in a row, or a stride apart; `mop` and what rs2's place holds. */
function byStride(kind: Kind, name: string, mop: string, rs2: string, args: string, first = false): InsnRow[] {
  return widths.map(({ width, code }) => ({
    name: `v${name.replace('#', String(bitsOf(width)))}.v`,
    enc: `nf 0 ${mop} vm ${rs2} rs1 ${code} rd ${opcode[kind]}`,
    args,
    extension: 'v',
    vector: true,
    bytes: 1 << width,
    translate: (t, i) => {
      const { vector } = t.mode;
      if (vector.isIllegal || !byWidth(i, vector, width, kind === 'l')) {
        t.illegal();
        return;
      }
      const routines = kind === 's' ? memory.store : first ? memory.loadFirst : memory.load;
      const fields = i.nf + 1;
      call(t, i, kind, {
        routine: routines[width],
        step: rs2 === 'rs2' ? t.x(i.rs2) : t.b.i64(fields << width),
        group: groupOf(t, width),
        fields,
        count: lengthOf(t),
        bits: infoOf({ vd: width, vs2: width, vs1: 0 }, isMasked(i)),
      });
      // The vector may be shorter now.
      if (first) t.endBlock();
    },
  }));
}

function byIndices(kind: Kind, name: string, mop: string): InsnRow[] {
  return widths.map(({ width, code }) => ({
    name: `v${name}ei${bitsOf(width)}.v`,
    enc: `nf 0 ${mop} vm rs2 rs1 ${code} rd ${opcode[kind]}`,
    args: 'vd, (rs1), vs2, vm',
    extension: 'v',
    vector: true,
    bytes: 1,
    translate: (t, i) => {
      const { vector } = t.mode;
      if (vector.isIllegal || !byIndex(i, vector, width, kind === 'l')) {
        t.illegal();
        return;
      }
      const routines = kind === 's' ? memory.storeIndexed : memory.loadIndexed;
      call(t, i, kind, {
        routine: routines[vector.sew],
        step: t.b.i64(0),
        group: groupOf(t, vector.sew),
        fields: i.nf + 1,
        count: lengthOf(t),
        bits: infoOf({ vd: vector.sew, vs2: width, vs1: 0 }, isMasked(i)),
      });
    },
  }));
}

/** Mask registers: as many bytes as hold vl bits. */
const mask = (kind: Kind): InsnRow => ({
  name: `v${kind}m.v`,
  enc: `000 0 00 1 01011 rs1 000 rd ${opcode[kind]}`,
  args: 'vd, (rs1)',
  extension: 'v',
  vector: true,
  bytes: 1,
  translate: (t, i) => {
    const { b } = t;
    if (t.mode.vector.isIllegal) {
      t.illegal();
      return;
    }
    call(t, i, kind, {
      routine: (kind === 's' ? memory.store : memory.load)[0],
      step: b.i64(1),
      group: 1,
      fields: 1,
      count: b.i32_shr_u(b.i32_add(lengthOf(t), b.i32(7)), b.i32(3)),
      bits: 0,
    });
  },
});

/** Whole registers, whatever vtype says. The width is a hint of what is in them, and that in which vstart counts. */
function whole(kind: Kind): InsnRow[] {
  const shapes = kind === 's' ? widths.slice(0, 1) : widths;
  return [1, 2, 4, 8].flatMap((count) =>
    shapes.map(
      ({ width, code }): InsnRow => ({
        name: kind === 's' ? `vs${count}r.v` : `vl${count}re${bitsOf(width)}.v`,
        enc: `${(count - 1).toString(2).padStart(3, '0')} 0 00 1 01000 rs1 ${code} rd ${opcode[kind]}`,
        args: 'vd, (rs1)',
        extension: 'v',
        vector: true,
        bytes: 1 << width,
        translate: (t, i) => {
          if (i.rd % count !== 0) {
            t.illegal();
            return;
          }
          call(t, i, kind, {
            routine: (kind === 's' ? memory.store : memory.load)[width],
            step: t.b.i64(1 << width),
            group: count,
            fields: 1,
            count: t.b.i32((count * t.vlenb) >> width),
            bits: infoOf({ vd: width, vs2: width, vs1: 0 }, false),
          });
        },
      }),
    ),
  );
}

export const vectorMemoryRows: readonly InsnRow[] = (['l', 's'] as const).flatMap((kind) => [
  ...byStride(kind, `${kind}e#`, '00', '00000', 'vd, (rs1), vm'),
  ...(kind === 'l' ? byStride(kind, 'le#ff', '00', '10000', 'vd, (rs1), vm', true) : []),
  ...byStride(kind, `${kind}se#`, '10', 'rs2', 'vd, (rs1), rs2, vm'),
  ...byIndices(kind, `${kind}ux`, '01'),
  ...byIndices(kind, `${kind}ox`, '11'),
  mask(kind),
  ...whole(kind),
]);
