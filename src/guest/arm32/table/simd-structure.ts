/** Advanced SIMD: loads and stores of elements and structures (A7.7): of whole registers, of one lane, to all lanes. */
import { access, type I64, type V128 } from '../../../ir/index.js';
import { rearranged } from '../../arm/table/structure-lanes.js';
import { laneCount, type Size, splat, zero } from '../../arm/table/vector.js';
import { extract, insert } from '../../arm/table/vector-operations.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { type Log, load, plus, registerName, rows, store } from './shared.js';
import { operand, setD, sizeOf } from './simd-format.js';

type Bit = 0 | 1;
/** What a row accesses: registers, lane (-1: none, or all), bytes that the address must be a multiple of. */
interface Place {
  readonly registers: readonly number[];
  readonly lane?: string;
  readonly alignment: number;
  readonly size: number;
}

/** As assembly writes it; Rm is 13 where the base moves by what was accessed, 15 where it stays. */
const textOf =
  (placeOf: (i: Fields) => Place) =>
  (i: Fields): string => {
    const { registers, lane, alignment } = placeOf(i);
    const list = registers.map((n) => `d${n}${lane ?? ''}`).join(', ');
    const aligned = alignment > 1 ? `:${8 * alignment}` : '';
    const change = i.rm === 15 ? '' : i.rm === 13 ? '!' : `, ${registerName(i.rm)}`;
    return `{${list}}, [${registerName(i.rn)}${aligned}]${change}`;
  };

/** `enc`: behind Vd. `access`: gives the bytes that the base moves by. */
function structure(
  name: string,
  isLoad: boolean,
  group: Bit,
  enc: string,
  placeOf: (i: Fields) => Place,
  bytes: (i: Fields) => number,
  where: (i: Fields) => boolean,
  accessAll: (t: Translator, i: Fields, base: I64, place: Place) => void,
): InsnRow[] {
  const rest = `${group} rd[4] ${isLoad ? 1 : 0} 0 rn rd[3:0] ${enc} rm`;
  return rows(
    name,
    { a: `1111 0100 ${rest}`, t: `1111 1001 ${rest}` },
    ['[rn]'],
    (t, i) => {
      const base = t.r(i.rn);
      const place = placeOf(i);
      if (place.alignment > 1) t.aligned(base, place.alignment, !isLoad);
      else if (t.mode.alignmentChecked) t.aligned(base, 1 << place.size, !isLoad);
      accessAll(t, i, base, place);
      if (i.rm === 13) t.setR(i.rn, plus(t, base, bytes(i)));
      else if (i.rm !== 15) t.setLow(i.rn, t.b.i64_add(base, t.r(i.rm)));
    },
    {
      float: 'simd',
      type: (i) => `.${8 << placeOf(i).size}`,
      text: textOf(placeOf),
      bytes,
      where: (i) => i.rn !== 15 && where(i) && placeOf(i).registers.every((n) => n < 32),
    },
  );
}
/** The first of several stores must not be made unless the last one can be. */
function checkWritable(t: Translator, base: I64, bytes: number): void {
  t.b.guest_load8(plus(t, base, bytes - 1), access.forWrite);
  t.b.guest_load8(base, access.forWrite);
}
const sequence = (from: number, count: number, step = 1): number[] =>
  Array.from({ length: count }, (_, n) => from + n * step);

// --- whole registers

/** Registers that lie side by side in pairs are accessed 16 bytes at a time. */
function loadChunks(t: Translator, base: I64, registers: number, wide: boolean): V128[] {
  const { b } = t;
  if (wide) return sequence(0, registers / 2).map((n) => b.guest_load128(plus(t, base, 16 * n)));
  return sequence(0, registers).map((n) => b.i64x2_replace_lane(zero(t), b.guest_load64(plus(t, base, 8 * n)), 0));
}

/** `elements` of a structure: 1, or as many as lie in each group of registers; `step`: from one of these to the next. */
function multiple(
  isLoad: boolean,
  elements: number,
  groups: number,
  step: number,
  type: string,
  mostAlignment: number,
): InsnRow[] {
  const count = elements * groups;
  // Registers in the order of memory's pieces: those of a structure first.
  const registersOf = (i: Fields): number[] =>
    elements === 1
      ? sequence(i.rd, groups)
      : sequence(0, groups).flatMap((group) => sequence(i.rd + group, elements, step));
  // In the order of their numbers, as they are written.
  const placeOf = (i: Fields): Place => ({
    registers: [...registersOf(i)].sort((x, y) => x - y),
    alignment: i.imm2 === 0 ? 1 : 4 << i.imm2,
    size: i.size,
  });
  const bytes = 8 * count;
  return structure(
    `v${isLoad ? 'ld' : 'st'}${elements}`,
    isLoad,
    0,
    `${type} size imm2[1:0]`,
    placeOf,
    () => bytes,
    (i) => i.imm2 <= mostAlignment && (elements === 1 || i.size < 3),
    (t, i, base) => {
      const { b } = t;
      const size = sizeOf(i);
      const lanes = laneCount(size, 0);
      const registers = registersOf(i);
      if (elements === 1) {
        const wide = (i.rd & 1) === 0 && count % 2 === 0;
        if (isLoad) {
          for (const [n, chunk] of loadChunks(t, base, count, wide).entries()) {
            if (wide) t.setV((i.rd >> 1) + n, chunk);
            else setD(t, i.rd + n, chunk);
          }
          return;
        }
        if (count > 1) checkWritable(t, base, bytes);
        if (wide) for (const n of sequence(0, count / 2)) b.guest_store128(plus(t, base, 16 * n), t.v((i.rd >> 1) + n));
        else
          for (const [n, register] of registers.entries())
            b.guest_store64(plus(t, base, 8 * n), b.i64x2_extract_lane(t.v(register >> 1), register & 1));
        return;
      }
      // Each group's structures lie one behind the other: `elements` pieces of eight bytes.
      const pieces = (group: number) => plus(t, base, 8 * elements * group);
      const inGroup = (group: number) => registers.slice(group * elements, (group + 1) * elements);
      if (isLoad) {
        const values = sequence(0, groups).map((group) => loadChunks(t, pieces(group), elements, elements % 2 === 0));
        const perChunk = elements % 2 === 0 ? 2 * lanes : lanes;
        for (const [group, chunks] of values.entries()) {
          const loaded = rearranged(t, chunks, elements, size, (v, n) => {
            const place = (n % lanes) * elements + v;
            return [Math.floor(place / perChunk), place % perChunk];
          });
          for (const [v, register] of inGroup(group).entries()) setD(t, register, loaded[v]);
        }
        return;
      }
      checkWritable(t, base, bytes);
      for (const group of sequence(0, groups)) {
        const sources = inGroup(group).map((register) => operand(t, 0, register));
        // Two pieces at once where there is an even number of them.
        const wide = elements % 2 === 0;
        const perChunk = wide ? 2 * lanes : lanes;
        const chunks = rearranged(t, sources, (elements * lanes) / perChunk, size, (v, n) => {
          const place = v * perChunk + (n % perChunk);
          return [place % elements, Math.floor(place / elements)];
        });
        for (const [n, chunk] of chunks.entries()) {
          if (wide) b.guest_store128(plus(t, pieces(group), 16 * n), chunk);
          else b.guest_store64(plus(t, pieces(group), 8 * n), b.i64x2_extract_lane(chunk, 0));
        }
      }
    },
  );
}

// --- one lane

/** By elements and size: bits of index_align that must be as given, the registers' step, the alignment. */
function single(isLoad: boolean, elements: number, size: Size): InsnRow[] {
  const low = (i: Fields): number => i.imm2 & ((1 << size) - 1 || 1);
  const lane = (i: Fields): number => i.imm2 >> (size + 1);
  const step = (i: Fields): number => (size > 0 && elements > 1 && (i.imm2 >> size) & 1 ? 2 : 1);
  const whole = elements << size;
  const alignment = (i: Fields): number => {
    if (elements === 4 && size === 2) return (i.imm2 & 3) === 0 ? 1 : 4 << (i.imm2 & 3);
    return low(i) & 1 ? whole : 1;
  };
  const isForm = (i: Fields): boolean => {
    switch (elements) {
      case 1:
        if (size === 0) return (i.imm2 & 1) === 0;
        return size === 1 ? (i.imm2 & 2) === 0 : (i.imm2 & 4) === 0 && ((i.imm2 & 3) === 0 || (i.imm2 & 3) === 3);
      case 2:
        return size < 2 || (i.imm2 & 2) === 0;
      case 3:
        return size === 2 ? (i.imm2 & 3) === 0 : (i.imm2 & 1) === 0;
      default:
        return size < 2 || (i.imm2 & 3) !== 3;
    }
  };
  const placeOf = (i: Fields): Place => ({
    registers: sequence(i.rd, elements, step(i)),
    lane: `[${lane(i)}]`,
    alignment: alignment(i),
    size,
  });
  const log = size as Log;
  return structure(
    `v${isLoad ? 'ld' : 'st'}${elements}`,
    isLoad,
    1,
    `${['00', '01', '10'][size]} ${(elements - 1).toString(2).padStart(2, '0')} imm2[3:0]`,
    placeOf,
    () => whole,
    isForm,
    (t, i, base, { registers }) => {
      const at = (n: number): number => lane(i) + (n & 1) * laneCount(size, 0);
      const addresses = registers.map((_, n) => plus(t, base, n << size));
      if (isLoad) {
        const values = addresses.map((address) => load(t, address, log));
        for (const [n, value] of values.entries()) {
          const register = registers[n];
          t.setV(register >> 1, insert(t, t.v(register >> 1), size, at(register), value));
        }
        return;
      }
      if (elements > 1) checkWritable(t, base, whole);
      for (const [n, address] of addresses.entries())
        store(t, address, log, extract(t, t.v(registers[n] >> 1), size, at(registers[n]), false));
    },
  );
}

// --- all lanes: `q` is T

function replicated(elements: number): InsnRow[] {
  // VLD4 has a form of 32 bits that is aligned to 16 bytes.
  const sizeIn = (i: Fields): Size => (i.size === 3 ? 2 : (i.size as Size));
  const step = (i: Fields): number => (elements > 1 && i.q ? 2 : 1);
  const count = (i: Fields): number => (elements === 1 && i.q ? 2 : elements);
  const alignment = (i: Fields): number => {
    if (!i.op) return 1;
    if (elements === 4 && i.size >= 2) return i.size === 3 ? 16 : 8;
    return elements << i.size;
  };
  const isForm = (i: Fields): boolean => {
    if (elements === 4) return i.size < 3 || i.op === 1;
    if (elements === 3) return i.size < 3 && i.op === 0;
    return i.size < 3 && !(elements === 1 && i.size === 0 && i.op === 1);
  };
  return structure(
    `vld${elements}`,
    true,
    1,
    `11 ${(elements - 1).toString(2).padStart(2, '0')} size q op`,
    (i) => ({
      registers: sequence(i.rd, count(i), step(i)),
      lane: '[]',
      alignment: alignment(i),
      size: sizeIn(i),
    }),
    (i) => elements << sizeIn(i),
    isForm,
    (t, i, base, { registers }) => {
      const size = sizeIn(i);
      const values = sequence(0, elements).map((n) => splat(t, size, load(t, plus(t, base, n << size), size as Log)));
      for (const [n, register] of registers.entries()) setD(t, register, values[elements === 1 ? 0 : n]);
    },
  );
}

/** Elements, groups, step, type, the largest value of align. */
const forms: readonly (readonly [number, number, number, string, number])[] = [
  [1, 1, 1, '0111', 1],
  [1, 2, 1, '1010', 2],
  [1, 3, 1, '0110', 1],
  [1, 4, 1, '0010', 3],
  [2, 1, 1, '1000', 2],
  [2, 1, 2, '1001', 2],
  [2, 2, 2, '0011', 3],
  [3, 1, 1, '0100', 1],
  [3, 1, 2, '0101', 1],
  [4, 1, 1, '0000', 3],
  [4, 1, 2, '0001', 3],
];

export const simdStructureRows: readonly InsnRow[] = [true, false].flatMap((isLoad) => [
  ...forms.flatMap((form) => multiple(isLoad, ...form)),
  ...[1, 2, 3, 4].flatMap((elements) => ([0, 1, 2] as const).flatMap((size) => single(isLoad, elements, size))),
  ...(isLoad ? [1, 2, 3, 4].flatMap(replicated) : []),
]);
