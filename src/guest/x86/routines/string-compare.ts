/**
 * The comparison of two short strings behind PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM. Intel SDM vol. 2 section 4.1.
 *
 * The control byte: bit 0 words instead of bytes; bit 1 signed; bits 2-3 how it is compared (any of a set, ranges, each with
 * each, ordered substring); bit 4 the result is complemented, with bit 5 only where the second string has elements.
 * Sets of elements are kept as one bit an element.
 */
import type { I32, RoutineBuilder, V128 } from '../../../ir/index.js';
import { routines } from './set.js';

/** Ops of one element width. */
interface Width {
  readonly elements: 8 | 16;
  readonly equal: (r: RoutineBuilder, x: V128, y: V128) => V128;
  readonly notAbove: (r: RoutineBuilder, x: V128, y: V128) => V128;
  readonly bits: (r: RoutineBuilder, x: V128) => I32;
  /** What flips the elements' sign bits. */
  readonly signs: number;
  /** Element number i in all lanes. */
  readonly spread: (r: RoutineBuilder, x: V128, i: I32) => V128;
}

const bytes: Width = {
  elements: 16,
  equal: (r, x, y) => r.i8x16_eq(x, y),
  notAbove: (r, x, y) => r.i8x16_le_s(x, y),
  bits: (r, x) => r.i8x16_bitmask(x),
  signs: 0x80808080 | 0,
  spread: (r, x, i) => r.i8x16_swizzle(x, r.i8x16_splat(i)),
};

const words: Width = {
  elements: 8,
  equal: (r, x, y) => r.i16x8_eq(x, y),
  notAbove: (r, x, y) => r.i16x8_le_s(x, y),
  bits: (r, x) => r.i16x8_bitmask(x),
  signs: 0x80008000 | 0,
  spread: (r, x, i) => r.i8x16_swizzle(x, r.i16x8_splat(r.i32_add(r.i32_mul(i, r.i32(0x0202)), r.i32(0x0100)))),
};

/** The elements below a length. */
function below(r: RoutineBuilder, length: I32): I32 {
  return r.i32_sub(r.i32_shl(r.i32(1), length), r.i32(1));
}

/** IntRes1: one bit an element of the second string. */
function compare(r: RoutineBuilder, width: Width, a: V128, b: V128, lengthA: I32, lengthB: I32, control: I32): I32 {
  const all = r.i32((1 << width.elements) - 1);
  const inA = below(r, lengthA);
  const inB = below(r, lengthB);
  const result = r.local('i32', r.i32(0));
  const kind = r.i32_and(control, r.i32(12));
  const index = r.local('i32', r.i32(0));

  /** Runs the body for each element (or pair) of the first string. */
  const forEach = (step: 1 | 2, body: (i: I32) => void) => {
    r.block((done) => {
      r.loop((next) => {
        const i = r.read(index);
        r.brIf(done, r.i32_ge_u(r.i32_add(i, r.i32(step - 1)), lengthA));
        body(i);
        r.assign(index, r.i32_add(i, r.i32(step)));
        r.br(next);
      });
    });
  };
  const matches = (i: I32) => width.bits(r, width.equal(r, width.spread(r, a, i), b));

  r.block((done) => {
    r.if(r.i32_eqz(kind), () => {
      forEach(1, (i) => r.assign(result, r.i32_or(r.read(result), matches(i))));
      r.assign(result, r.i32_and(r.read(result), inB));
      r.br(done);
    });
    r.if(r.i32_eq(kind, r.i32(4)), () => {
      // unsigned ranges are compared as signed ones with the signs flipped
      const flip = r.select(r.i32_and(control, r.i32(2)), r.i32(0), r.i32(width.signs));
      const flips = r.i32x4_splat(flip);
      const low = r.v128_xor(a, flips);
      const text = r.v128_xor(b, flips);
      forEach(2, (i) => {
        const aboveLow = width.notAbove(r, width.spread(r, low, i), text);
        const belowHigh = width.notAbove(r, text, width.spread(r, low, r.i32_add(i, r.i32(1))));
        r.assign(result, r.i32_or(r.read(result), width.bits(r, r.v128_and(aboveLow, belowHigh))));
      });
      r.assign(result, r.i32_and(r.read(result), inB));
      r.br(done);
    });
    r.if(r.i32_eq(kind, r.i32(8)), () => {
      const equal = r.i32_and(width.bits(r, width.equal(r, a, b)), r.i32_and(inA, inB));
      const pastBoth = r.i32_xor(r.i32_or(inA, inB), all);
      r.assign(result, r.i32_or(equal, pastBoth));
      r.br(done);
    });
    // ordered: element i of the first string must match at j + i, unless that lies past the register
    r.assign(result, all);
    forEach(1, (i) => {
      const found = r.i32_shr_u(r.i32_and(matches(i), inB), i);
      const past = r.i32_xor(r.i32_shr_u(all, i), r.i32(-1));
      r.assign(result, r.i32_and(r.read(result), r.i32_or(found, past)));
    });
  });
  return r.read(result);
}

const AS_FLAG = { cf: 0, zf: 6, sf: 7, of: 11 } as const;

/** IntRes2 and the status flags. */
function finish(r: RoutineBuilder, width: Width, a: V128, b: V128, lengthA: I32, lengthB: I32, control: I32): void {
  const count = r.i32(width.elements);
  const plain = compare(r, width, a, b, lengthA, lengthB, control);
  const masked = r.i32_and(control, r.i32(0x20));
  const flipped = r.select(masked, below(r, lengthB), r.i32((1 << width.elements) - 1));
  const result = r.i32_xor(plain, r.select(r.i32_and(control, r.i32(0x10)), flipped, r.i32(0)));
  const flag = (bit: I32, at: number) => r.i32_shl(bit, r.i32(at));
  const cf = r.i32_ne(result, r.i32(0));
  const zf = flag(r.i32_lt_u(lengthB, count), AS_FLAG.zf);
  const sf = flag(r.i32_lt_u(lengthA, count), AS_FLAG.sf);
  const of = flag(r.i32_and(result, r.i32(1)), AS_FLAG.of);
  r.ret(result, r.i32_or(r.i32_or(cf, zf), r.i32_or(sf, of)));
}

/** Both widths of a routine. */
function byWidth(r: RoutineBuilder, control: I32, body: (width: Width) => void): void {
  r.if(
    r.i32_and(control, r.i32(1)),
    () => body(words),
    () => body(bytes),
  );
}

/**
 * Strings that end at their first zero element. First string, second string, control byte; gives IntRes2 (a bit an element)
 * and the status flags.
 */
export const compareImplicit = routines.define(
  'string_compare_implicit',
  ['v128', 'v128', 'i32'],
  ['i32', 'i32'],
  { pure: true },
  (r, a, b, control) => {
    byWidth(r, control, (width) => {
      const length = (x: V128) => {
        const ends = width.bits(r, width.equal(r, x, r.v128(0, 0, 0, 0)));
        return r.i32_ctz(r.i32_or(ends, r.i32(1 << width.elements)));
      };
      finish(r, width, a, b, length(a), length(b), control);
    });
    // both sides have returned
    r.ret(r.i32(0), r.i32(0));
  },
);

/** The same with the strings' lengths given: signed, their magnitude counts, and no more than the register holds. */
export const compareExplicit = routines.define(
  'string_compare_explicit',
  ['v128', 'v128', 'i64', 'i64', 'i32'],
  ['i32', 'i32'],
  { pure: true },
  (r, a, b, countA, countB, control) => {
    byWidth(r, control, (width) => {
      const limit = r.i64(width.elements);
      const length = (count: typeof countA) => {
        const magnitude = r.select(r.i64_lt_s(count, r.i64(0)), r.i64_sub(r.i64(0), count), count);
        return r.i32_wrap_i64(r.select(r.i64_lt_u(magnitude, limit), magnitude, limit));
      };
      finish(r, width, a, b, length(countA), length(countB), control);
    });
    r.ret(r.i32(0), r.i32(0));
  },
);
