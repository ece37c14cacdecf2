/**
 * Vector operations on all elements of whole registers, without a mask: inline, on 128 bits at a time, where WebAssembly has the
 * operation. Everything else goes by the routines (vector/).
 */
import type { BlockBuilder, I32, I64, V128 } from '../../../ir/index.js';
import type { Fields, Translator } from '../row.js';
import { type Form, placeOf, scalarOf } from './vector-shared.js';

const CHUNK = 16;
/** More than so many pieces are a routine's work. */
const MOST_CHUNKS = 8;
const shapes = ['i8x16', 'i16x8', 'i32x4', 'i64x2'] as const;
type Binary = (b: BlockBuilder, x: V128, y: V128, d: V128) => V128;
type Named = Readonly<Record<string, ((...args: number[]) => number) | undefined>>;

const method = (b: BlockBuilder, sew: number, name: string, ...args: number[]): V128 => {
  const emit = (b as unknown as Named)[`${shapes[sew]}_${name}`];
  if (!emit) throw new Error(`vring invariant broken: no ${shapes[sew]}_${name}`);
  return emit.call(b, ...args) as V128;
};

interface Quick {
  /** Logarithms of the bytes of elements that WebAssembly has it for. */
  readonly sews: readonly number[];
  readonly make: (sew: number) => Binary;
  readonly accumulates?: true;
  /** y is how far to shift, from a scalar alone. */
  readonly shift?: string;
}
const all = [0, 1, 2, 3];
const lanes = (name: string, sews: readonly number[] = all): Quick => ({
  sews,
  make: (sew) => (b, x, y) => method(b, sew, name, x, y),
});
const bits = (name: 'v128_and' | 'v128_or' | 'v128_xor'): Quick => ({
  sews: all,
  make: () => (b, x, y) => b[name](x, y),
});
const shift = (name: string): Quick => ({ sews: all, make: () => (_, x) => x, shift: name });
const short = [0, 1, 2];
const multiplied = [1, 2, 3];

/** By the routine that does the same. */
export const quick = {
  add: lanes('add'),
  sub: lanes('sub'),
  rsub: { sews: all, make: (sew) => (b, x, y) => method(b, sew, 'sub', y, x) },
  and: bits('v128_and'),
  or: bits('v128_or'),
  xor: bits('v128_xor'),
  minu: lanes('min_u', short),
  min: lanes('min_s', short),
  maxu: lanes('max_u', short),
  max: lanes('max_s', short),
  mul: lanes('mul', multiplied),
  macc: {
    sews: multiplied,
    make: (sew) => (b, x, y, d) => method(b, sew, 'add', d, method(b, sew, 'mul', x, y)),
    accumulates: true,
  },
  nmsac: {
    sews: multiplied,
    make: (sew) => (b, x, y, d) => method(b, sew, 'sub', d, method(b, sew, 'mul', x, y)),
    accumulates: true,
  },
  madd: {
    sews: multiplied,
    make: (sew) => (b, x, y, d) => method(b, sew, 'add', method(b, sew, 'mul', d, y), x),
    accumulates: true,
  },
  copy: { sews: all, make: () => (_b, _x, y) => y },
  sll: shift('shl'),
  srl: shift('shr_u'),
  sra: shift('shr_s'),
} as const satisfies Readonly<Record<string, Quick>>;

function splat(b: BlockBuilder, sew: number, scalar: I64): V128 {
  if (sew === 3) return b.i64x2_splat(scalar);
  const low: I32 = b.i32_wrap_i64(scalar);
  return sew === 2 ? b.i32x4_splat(low) : sew === 1 ? b.i16x8_splat(low) : b.i8x16_splat(low);
}

/** The registers of a group in pieces of 16 bytes; 0: it is not whole, masked, not all worked on, or too much. */
function chunksOf(t: Translator, i: Fields): number {
  const { vector } = t.mode;
  if (!vector.isFull || i.vm === 0 || vector.lmul < 0) return 0;
  const chunks = (t.vlenb << vector.lmul) / CHUNK;
  return chunks <= MOST_CHUNKS ? chunks : 0;
}

/** Does the operation inline. False: it cannot. */
export function quickly(t: Translator, i: Fields, form: Form, operation: Quick): boolean {
  const { b } = t;
  const { sew } = t.mode.vector;
  const chunks = chunksOf(t, i);
  if (chunks === 0 || !operation.sews.includes(sew) || (operation.shift && form === 'v')) return false;
  const state = b.state();
  const load = (register: number, chunk: number): V128 => b.v128_load(state, placeOf(t, register) + CHUNK * chunk);
  const scalar = form === 'v' ? undefined : scalarOf(t, i, form);
  const same = scalar === undefined || operation.shift ? undefined : splat(b, sew, scalar);
  const by = operation.shift && scalar !== undefined ? b.i32_wrap_i64(scalar) : undefined;
  const compute = operation.make(sew);
  for (let chunk = 0; chunk < chunks; chunk++) {
    const x = load(i.rs2, chunk);
    const result =
      operation.shift && by !== undefined
        ? method(b, sew, operation.shift, x, by)
        : compute(b, x, same ?? load(i.rs1, chunk), operation.accumulates ? load(i.rd, chunk) : x);
    b.v128_store(state, result, placeOf(t, i.rd) + CHUNK * chunk);
  }
  return true;
}
