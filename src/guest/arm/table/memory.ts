/** Loads and stores of general and of SIMD registers (C4.1.92): ordinary ones, by every form of address, and pairs. */
import { access, type I64, type V128 } from '../../../ir/index.js';
import type { Fields, InsnRow, Translator } from '../row.js';
import { extended } from './data.js';
import { binary, joined, type Log, load, low, plus, store, unprivileged } from './shared.js';

/** A register's load or store. `bytes` as a power of 2; `signed`: the load is sign-extended to so many bits. */
interface Shape {
  readonly name: string;
  readonly size: number;
  readonly opc: string;
  readonly log: Log | 4;
  readonly vector: boolean;
  readonly isStore: boolean;
  readonly signed?: 32 | 64;
  readonly operand: string;
}
const general = (name: string, log: Log, opc: string, signed?: 32 | 64): Shape => ({
  name,
  size: log,
  opc,
  log,
  vector: false,
  isStore: name.startsWith('s'),
  ...(signed && { signed }),
  operand: signed === 64 || log === 3 ? 'xd' : 'wd',
});
const vector = (name: string, log: Log | 4, opc: string): Shape => ({
  name,
  size: log & 3,
  opc,
  log,
  vector: true,
  isStore: name.startsWith('s'),
  operand: `${'bhsdq'[log]}d`,
});
const shapes: readonly Shape[] = [
  general('strb', 0, '00'),
  general('ldrb', 0, '01'),
  general('ldrsb', 0, '10', 64),
  general('ldrsb', 0, '11', 32),
  general('strh', 1, '00'),
  general('ldrh', 1, '01'),
  general('ldrsh', 1, '10', 64),
  general('ldrsh', 1, '11', 32),
  general('str', 2, '00'),
  general('ldr', 2, '01'),
  general('ldrsw', 2, '10', 64),
  general('str', 3, '00'),
  general('ldr', 3, '01'),
  ...([0, 1, 2, 3] as const).flatMap((log) => [vector('str', log, '00'), vector('ldr', log, '01')]),
  vector('str', 4, '10'),
  vector('ldr', 4, '11'),
];

const zero = ({ b }: Translator): V128 => b.v128(0, 0, 0, 0);
/** A vector register's low bytes as a number, and a number as a vector whose other bytes are 0. */
const lowOf = (t: Translator, n: number): I64 => t.b.i64x2_extract_lane(t.v(n), 0);
const alone = (t: Translator, value: I64): V128 => t.b.i64x2_replace_lane(zero(t), value, 0);

type Value = { readonly whole: V128 } | { readonly bits: I64 };
function loadValue(t: Translator, { log, signed, vector: isVector }: Shape, address: I64, how = 0): Value {
  if (log === 4) return { whole: t.b.guest_load128(address, how) };
  const bits = load(t, address, log, signed, how);
  return isVector ? { whole: alone(t, bits) } : { bits };
}
function setRegister(t: Translator, n: number, value: Value): void {
  if ('whole' in value) t.setV(n, value.whole);
  else t.setX(n, value.bits);
}
function storeRegister(t: Translator, { log, vector: isVector }: Shape, n: number, address: I64, how = 0): void {
  if (log === 4) t.b.guest_store128(address, t.v(n), how);
  else store(t, address, log, isVector ? lowOf(t, n) : t.x(n), how);
}

function transfer(t: Translator, i: Fields, shape: Shape, address: I64, how = 0): void {
  if (shape.isStore) storeRegister(t, shape, i.rd, address, how);
  else setRegister(t, i.rd, loadValue(t, shape, address, how));
}

/** The base is written after the access, so that a fault leaves it; a load into the base is unpredictable and loads. */
function indexed(t: Translator, i: Fields, shape: Shape, after: boolean): void {
  const base = t.xsp(i.rn);
  const next = plus(t, base, i.imm);
  const address = after ? base : next;
  if (shape.isStore) {
    storeRegister(t, shape, i.rd, address);
    t.setXsp(i.rn, next);
    return;
  }
  const value = loadValue(t, shape, address);
  t.setXsp(i.rn, next);
  setRegister(t, i.rd, value);
}

function rowsOf(shape: Shape): InsnRow[] {
  const { log, name, opc, operand } = shape;
  const group = `${binary(shape.size, 2)} 111${shape.vector ? 1 : 0}`;
  const common = { bytes: 1 << log, ...(shape.vector && { float: true as const }) };
  const offset = (t: Translator, i: Fields) => transfer(t, i, shape, plus(t, t.xsp(i.rn), i.imm));
  const unprivilegedRow: InsnRow = {
    name: name.replace(/^(ld|st)r/, '$1tr'),
    enc: `${group}00 ${opc} 0 simm[8:0] 10 rn rd`,
    args: [operand, '[rn, imm]'],
    ...common,
    translate: (t, i) => transfer(t, i, shape, plus(t, t.xsp(i.rn), i.imm), unprivileged(t)),
  };
  return [
    {
      name,
      enc: `${group}01 ${opc} uimm[${11 + log}:${log}] rn rd`,
      args: [operand, '[rn, imm]'],
      ...common,
      translate: offset,
    },
    {
      name: name.replace(/^(ld|st)r/, '$1ur'),
      enc: `${group}00 ${opc} 0 simm[8:0] 00 rn rd`,
      args: [operand, '[rn, imm]'],
      ...common,
      translate: offset,
    },
    ...(shape.vector ? [] : [unprivilegedRow]),
    {
      name,
      enc: `${group}00 ${opc} 0 simm[8:0] 01 rn rd`,
      args: [operand, '[rn], imm'],
      ...common,
      translate: (t, i) => indexed(t, i, shape, true),
    },
    {
      name,
      enc: `${group}00 ${opc} 0 simm[8:0] 11 rn rd`,
      args: [operand, '[rn, imm]!'],
      ...common,
      translate: (t, i) => indexed(t, i, shape, false),
    },
    {
      name,
      enc: `${group}00 ${opc} 1 rm option s 10 rn rd`,
      args: [operand, '[rn, rm]'],
      where: (i) => (i.option & 2) !== 0,
      ...common,
      translate: (t, i) => transfer(t, i, shape, t.b.i64_add(t.xsp(i.rn), extended(t, t.x(i.rm), i.option, i.s * log))),
    },
  ];
}

type PairForm = 'offset' | 'before' | 'after' | 'nontemporal';
const pairForms: Readonly<Record<PairForm, string>> = { offset: '10', before: '11', after: '01', nontemporal: '00' };
const pairArgs: Readonly<Record<PairForm, string>> = {
  offset: '[rn, imm]',
  before: '[rn, imm]!',
  after: '[rn], imm',
  nontemporal: '[rn, imm]',
};

/** Both registers go in one access where that is 16 bytes at most. The first of two stores is made when the second can be. */
function storePair(t: Translator, i: Fields, shape: Shape, address: I64): void {
  const { b } = t;
  if (shape.log === 4) {
    const second = plus(t, address, 16);
    b.guest_load8(plus(t, second, 15), access.forWrite);
    b.guest_load8(second, access.forWrite);
    b.guest_store128(address, t.v(i.rd));
    b.guest_store128(second, t.v(i.ra));
    return;
  }
  const [x, y] = shape.vector ? [lowOf(t, i.rd), lowOf(t, i.ra)] : [t.x(i.rd), t.x(i.ra)];
  if (shape.log === 3) b.guest_store128(address, joined(t, x, y));
  else b.guest_store64(address, b.i64_or(low(t, x), b.i64_shl(y, b.i64(32))));
}

function loadPair(t: Translator, shape: Shape, address: I64): [Value, Value] {
  const { b } = t;
  const wrap = (bits: I64): Value => (shape.vector ? { whole: alone(t, bits) } : { bits });
  if (shape.log === 4) return [{ whole: b.guest_load128(address) }, { whole: b.guest_load128(plus(t, address, 16)) }];
  if (shape.log === 3) {
    const both = b.guest_load128(address);
    return [wrap(b.i64x2_extract_lane(both, 0)), wrap(b.i64x2_extract_lane(both, 1))];
  }
  const both = b.guest_load64(address);
  if (shape.signed) return [wrap(b.i64_extend32_s(both)), wrap(b.i64_shr_s(both, b.i64(32)))];
  return [wrap(low(t, both)), wrap(b.i64_shr_u(both, b.i64(32)))];
}

function pairs(shape: Shape): InsnRow[] {
  const bytes = 1 << shape.log;
  // LDPSW has no form without allocation.
  const forms = (Object.keys(pairForms) as PairForm[]).filter((form) => !(shape.signed && form === 'nontemporal'));
  return forms.map((form) => ({
    name: form === 'nontemporal' ? shape.name.replace('p', 'np') : shape.name,
    enc: `${shape.opc} 101 ${shape.vector ? 1 : 0} 0${pairForms[form]} ${shape.isStore ? 0 : 1} simm[${6 + shape.log}:${shape.log}] ra rn rd`,
    args: [shape.operand, shape.operand.replace(/d$/, 'a'), pairArgs[form]],
    bytes: 2 * bytes,
    ...(shape.vector && { float: true as const }),
    translate: (t, i) => {
      const base = t.xsp(i.rn);
      const next = plus(t, base, i.imm);
      const address = form === 'after' ? base : next;
      const writesBase = form === 'before' || form === 'after';
      if (shape.isStore) {
        storePair(t, i, shape, address);
        if (writesBase) t.setXsp(i.rn, next);
        return;
      }
      const [first, second] = loadPair(t, shape, address);
      if (writesBase) t.setXsp(i.rn, next);
      setRegister(t, i.rd, first);
      setRegister(t, i.ra, second);
    },
  }));
}

const literal = (shape: Shape): InsnRow => ({
  name: shape.name,
  enc: `${shape.opc} 011 ${shape.vector ? 1 : 0} 00 simm[20:2] rd`,
  args: [shape.operand, 'target'],
  ...(shape.vector && { float: true as const }),
  translate: (t, i) => setRegister(t, i.rd, loadValue(t, shape, t.pcPlus(i.imm))),
});

/** Prefetches do nothing. */
const prefetch = (name: string, enc: string): InsnRow => ({
  name,
  enc,
  args: ['imm2'],
  translate: () => {},
});

export const memoryRows: readonly InsnRow[] = [
  ...shapes.flatMap(rowsOf),
  ...pairs(general('stp', 2, '00')),
  ...pairs(general('ldp', 2, '00')),
  ...pairs(general('ldpsw', 2, '01', 64)),
  ...pairs(general('stp', 3, '10')),
  ...pairs(general('ldp', 3, '10')),
  ...(['00', '01', '10'] as const).flatMap((opc, n) =>
    ['stp', 'ldp'].flatMap((name) => pairs(vector(name, (n + 2) as 2 | 3 | 4, opc))),
  ),
  literal(general('ldr', 2, '00')),
  literal(general('ldr', 3, '01')),
  literal(general('ldrsw', 2, '10', 64)),
  literal(vector('ldr', 2, '00')),
  literal(vector('ldr', 3, '01')),
  literal(vector('ldr', 4, '10')),
  prefetch('prfm', '11 111001 10 uimm[14:3] rn imm2[4:0]'),
  prefetch('prfum', '11 111000 10 0 simm[8:0] 00 rn imm2[4:0]'),
  { ...prefetch('prfm', '11 111000 10 1 rm option s 10 rn imm2[4:0]'), where: (i) => (i.option & 2) !== 0 },
  prefetch('prfm', '11 011000 simm[20:2] imm2[4:0]'),
];
