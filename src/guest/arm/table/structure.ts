/** LD1 to LD4 and ST1 to ST4: loads and stores of structures (C4.1.92): of whole registers, of one lane, to all lanes. */
import { access, type I64 } from '../../../ir/index.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { type Log, load, plus, store } from './shared.js';
import { rearranged } from './structure-lanes.js';
import { laneCount, type Size, setVector, sizeOf, splat, used, zero } from './vector.js';
import { extract, insert } from './vector-operations.js';

/** The base moves by what was accessed, or by a register. */
function moveBase(t: Translator, i: Fields, base: I64, bytes: number): void {
  t.setXsp(i.rn, i.rm === 31 ? plus(t, base, bytes) : t.b.i64_add(base, t.x(i.rm)));
}
/** Where the first of several stores must not be made unless the last one can be. */
function checkWritable(t: Translator, address: I64, bytes: number): void {
  t.b.guest_load8(plus(t, address, bytes - 1), access.forWrite);
  t.b.guest_load8(address, access.forWrite);
}
/** A row without and one with a change of the base. */
function withForms(
  name: string,
  group: string,
  isLoad: boolean,
  r: 0 | 1,
  rest: string,
  more: Pick<InsnRow, 'args' | 'bytes' | 'where'>,
  translate: (t: Translator, i: Fields, base: I64) => number,
): InsnRow[] {
  const start = `0 q 001${group}`;
  const direction = isLoad ? 1 : 0;
  return [
    {
      ...more,
      name,
      enc: `${start}0 ${direction} ${r} 00000 ${rest} rn rd`,
      float: true,
      translate: (t, i) => {
        translate(t, i, t.xsp(i.rn));
      },
    },
    {
      ...more,
      name,
      args: [...more.args, 'xm'],
      enc: `${start}1 ${direction} ${r} rm ${rest} rn rd`,
      float: true,
      translate: (t, i) => {
        const base = t.xsp(i.rn);
        const bytes = translate(t, i, base);
        moveBase(t, i, base, bytes);
      },
    },
  ];
}

const registerBytes = (i: Fields): number => (i.q ? 16 : 8);
const numbered = (i: Fields, n: number): number => (i.rd + n) & 31;

/** `registers` in all; `elements` of a structure: 1, or as many. */
function multiple(isLoad: boolean, elements: number, registers: number, opcode: string): InsnRow[] {
  const bytes = (i: Fields) => registers * registerBytes(i);
  return withForms(
    `${isLoad ? 'ld' : 'st'}${elements}`,
    '100',
    isLoad,
    0,
    `${opcode} size`,
    { args: ['vd', '[rn]'], bytes, where: (i) => elements === 1 || i.size < 3 || i.q === 1 },
    (t, i, base) => {
      const { b } = t;
      const size = sizeOf(i);
      const step = registerBytes(i);
      const count = laneCount(size, i.q);
      const at = (n: number) => plus(t, base, n * step);
      if (isLoad) {
        const chunks = Array.from({ length: registers }, (_, n) =>
          i.q ? b.guest_load128(at(n)) : b.i64x2_replace_lane(zero(t), b.guest_load64(at(n)), 0),
        );
        const values =
          elements === 1
            ? chunks
            : rearranged(t, chunks, registers, size, (v, n) => {
                const place = (n % count) * elements + v;
                return [Math.floor(place / count), place % count];
              });
        for (const [n, value] of values.entries()) t.setV(numbered(i, n), elements === 1 ? value : used(t, i, value));
      } else {
        const values = Array.from({ length: registers }, (_, n) => t.v(numbered(i, n)));
        const chunks =
          elements === 1
            ? values
            : rearranged(t, values, registers, size, (v, n) => {
                const place = v * count + (n % count);
                return [place % elements, Math.floor(place / elements)];
              });
        if (registers > 1) checkWritable(t, base, bytes(i));
        for (const [n, chunk] of chunks.entries()) {
          if (i.q) b.guest_store128(at(n), chunk);
          else b.guest_store64(at(n), b.i64x2_extract_lane(chunk, 0));
        }
      }
      return bytes(i);
    },
  );
}

/** One lane of each register. `fixed`: bits of the size field that are not part of the lane's number. */
function single(isLoad: boolean, elements: number, size: Size): InsnRow[] {
  const high = elements > 2 ? 1 : 0;
  const r = (elements - 1) & 1 ? 1 : 0;
  const opcode = `${['00', '01', '10', '10'][size]}${high}`;
  const rest = ['imm2[2:0]', 'imm2[2:1] 0', 'imm2[2] 00', '0 01'][size];
  const lane = (i: Fields): number => (((i.q << 3) | i.imm2) >> size) & 15;
  const log = size as Log;
  const bytes = elements << size;
  return withForms(
    `${isLoad ? 'ld' : 'st'}${elements}`,
    '101',
    isLoad,
    r as 0 | 1,
    `${opcode} ${rest}`,
    { args: [['bd', 'hd', 'sd', 'dd'][size], 'imm2', '[rn]'], bytes },
    (t, i, base) => {
      const places = Array.from({ length: elements }, (_, n) => plus(t, base, n << size));
      const registers = places.map((_, n) => numbered(i, n));
      if (isLoad) {
        const values = places.map((at) => load(t, at, log));
        for (const [n, value] of values.entries()) {
          const register = registers[n];
          t.setV(register, insert(t, t.v(register), size, lane(i), value));
        }
      } else {
        if (elements > 1) checkWritable(t, base, bytes);
        for (const [n, at] of places.entries()) store(t, at, log, extract(t, t.v(registers[n]), size, lane(i), false));
      }
      return bytes;
    },
  );
}

function replicated(elements: number): InsnRow[] {
  const r = (elements - 1) & 1 ? 1 : 0;
  return withForms(
    `ld${elements}r`,
    '101',
    true,
    r as 0 | 1,
    `11${elements > 2 ? 1 : 0} 0 size`,
    { args: ['vd', '[rn]'], bytes: (i) => elements << i.size },
    (t, i, base) => {
      const size = sizeOf(i);
      const values = Array.from({ length: elements }, (_, n) => load(t, plus(t, base, n << size), size as Log));
      for (const [n, value] of values.entries()) setVector(t, { ...i, rd: numbered(i, n) }, splat(t, size, value));
      return elements << size;
    },
  );
}

export const structureRows: readonly InsnRow[] = [true, false].flatMap((isLoad) => [
  ...multiple(isLoad, 1, 1, '0111'),
  ...multiple(isLoad, 1, 2, '1010'),
  ...multiple(isLoad, 1, 3, '0110'),
  ...multiple(isLoad, 1, 4, '0010'),
  ...multiple(isLoad, 2, 2, '1000'),
  ...multiple(isLoad, 3, 3, '0100'),
  ...multiple(isLoad, 4, 4, '0000'),
  ...[1, 2, 3, 4].flatMap((elements) => ([0, 1, 2, 3] as const).flatMap((size) => single(isLoad, elements, size))),
  ...(isLoad ? [1, 2, 3, 4].flatMap(replicated) : []),
]);
