/**
 * Pointer authentication (D8.10): the architected algorithm, which is QARMA with five rounds on 64 bits (R. Avanzi, "The QARMA Block
 * Cipher Family", 2017; ComputePAC of the Arm ARM), and one of our own for `pauth-impdef`; codes put into addresses, checked, taken out.
 *
 * The cipher's sixteen cells of four bits are the bytes of a vector: boxes and rotations of cells are lookups, permutations are shuffles.
 * Functions authenticate what they have signed, and are called again from the same place: what was computed last is kept.
 */
import type { I32, I64, RoutineBuilder, V128 } from '../../../ir/index.js';
import { field, PAC_ENTRIES, PAC_ENTRY_BYTES } from '../state.js';
import { bankOfRegime, regimeControl } from '../system/regime.js';
import { routines } from './set.js';

/** Flags of the routines below. */
export const pacFlag = { instruction: 1, own: 2, keyB: 4 } as const;

const cells = Array.from({ length: 16 }, (_, n) => n);
const word = (bytes: readonly number[], n: number): number =>
  bytes[4 * n] | (bytes[4 * n + 1] << 8) | (bytes[4 * n + 2] << 16) | (bytes[4 * n + 3] << 24);
const vector = (r: RoutineBuilder, bytes: readonly number[]): V128 =>
  r.v128(word(bytes, 0), word(bytes, 1), word(bytes, 2), word(bytes, 3));
const moved = (r: RoutineBuilder, x: V128, from: readonly number[]): V128 =>
  r.i8x16_shuffle(x, x, word(from, 0), word(from, 1), word(from, 2), word(from, 3));
const inverse = (of: readonly number[]): number[] => cells.map((n) => of.indexOf(n));
/** Each cell by a table. */
const looked = (r: RoutineBuilder, x: V128, table: readonly number[]): V128 => r.i8x16_swizzle(vector(r, table), x);

const SUBSTITUTE = [0xb, 0x6, 0x8, 0xf, 0xc, 0x0, 0x9, 0xe, 0x3, 0x7, 0x4, 0x5, 0xd, 0x2, 0x1, 0xa];
const SUBSTITUTE_BACK = inverse(SUBSTITUTE);
/** Which cell goes to each place. */
const SHUFFLE = [13, 6, 11, 0, 7, 12, 1, 10, 8, 3, 14, 5, 2, 9, 4, 15];
const SHUFFLE_BACK = inverse(SHUFFLE);
const TWEAK = [4, 5, 6, 7, 11, 2, 3, 8, 12, 13, 14, 15, 0, 1, 10, 9];
/** Places whose cell goes through the tweak's shift register. */
const SHIFTED = cells.map((n) => ([2, 4, 7, 11, 12, 14, 15].includes(n) ? 0xff : 0));
const REGISTER = cells.map((x) => (x >> 1) | (((x ^ (x >> 1)) & 1) << 3));
const rotation = (n: number): number[] => cells.map((x) => ((x << n) | (x >> (4 - n))) & 15);
const ROUND = [
  0x0000000000000000n,
  0x13198a2e03707344n,
  0xa4093822299f31d0n,
  0x082efa98ec4e6c89n,
  0x452821e638d01377n,
] as const;
const ALPHA = 0xc0ac29b7c97c50ddn;
const cellsOf = (value: bigint): number[] => cells.map((n) => Number((value >> BigInt(4 * n)) & 15n));

/** Multiplication by the matrix, of permuted cells, and permuted. */
function mixed(r: RoutineBuilder, x: V128, before: readonly number[], after: readonly number[]): V128 {
  const rows = (distance: number) =>
    moved(
      r,
      x,
      after.map((n) => before[4 * (((n >> 2) + distance) & 3) + (n & 3)]),
    );
  const once = looked(r, r.v128_xor(rows(1), rows(3)), rotation(1));
  return r.v128_xor(once, looked(r, rows(2), rotation(2)));
}

/** Nibbles as bytes, and back. */
function spread(r: RoutineBuilder, x: I64): V128 {
  const wide = r.i16x8_extend_low_i8x16_u(r.i64x2_splat(x));
  return r.v128_and(r.v128_or(wide, r.i16x8_shl(wide, r.i32(4))), vector(r, Array(16).fill(15)));
}
function gathered(r: RoutineBuilder, x: V128): I64 {
  const bytes = r.v128_and(
    r.v128_or(x, r.i16x8_shr_u(x, r.i32(4))),
    vector(
      r,
      cells.map((n) => (n & 1 ? 0 : 0xff)),
    ),
  );
  return r.i64x2_extract_lane(r.i8x16_narrow_i16x8_u(bytes, bytes), 0);
}

/** (data, modifier, low and high half of the key): the architected algorithm. */
const qarma = routines.define(
  'qarma5',
  ['i64', 'i64', 'i64', 'i64'],
  ['i64'],
  { pure: true },
  (r, data, modifier, low, high) => {
    const xor = (...parts: readonly V128[]): V128 => parts.reduce((a, b) => r.v128_xor(a, b));
    const key0 = spread(r, high);
    const key1 = spread(r, low);
    const reflected = spread(r, r.i64_xor(r.i64_rotr(high, r.i64(1)), r.i64_shr_u(high, r.i64(63))));
    const tweaks = [spread(r, modifier)];
    for (const tweak of ROUND.map((_, n) => n)) {
      const next = moved(r, tweaks[tweak], TWEAK);
      tweaks.push(r.v128_bitselect(looked(r, next, REGISTER), next, vector(r, SHIFTED)));
    }
    let x = xor(spread(r, data), key0);
    for (const [n, constant] of ROUND.entries()) {
      x = xor(x, tweaks[n], xor(key1, vector(r, cellsOf(constant))));
      if (n > 0) x = mixed(r, x, SHUFFLE, cells);
      x = looked(r, x, SUBSTITUTE);
    }
    x = xor(x, reflected, tweaks[5]);
    x = looked(r, mixed(r, x, SHUFFLE, cells), SUBSTITUTE);
    x = xor(mixed(r, x, SHUFFLE, cells), key1);
    x = looked(r, moved(r, x, SHUFFLE_BACK), SUBSTITUTE_BACK);
    x = xor(mixed(r, x, cells, SHUFFLE_BACK), key0, tweaks[5]);
    for (const n of [4, 3, 2, 1, 0]) {
      x = looked(r, x, SUBSTITUTE_BACK);
      if (n > 0) x = mixed(r, x, cells, SHUFFLE_BACK);
      x = xor(x, tweaks[n], xor(key1, vector(r, cellsOf(ROUND[n] ^ ALPHA))));
    }
    r.ret(gathered(r, xor(x, reflected)));
  },
);

/** Odd constants that mix well: the fractions of the golden ratio and of roots. */
const MIX = [0x9e3779b97f4a7c15n, 0xbf58476d1ce4e5b9n, 0x94d049bb133111ebn] as const;
const product = (r: RoutineBuilder, x: I64, n: 0 | 1 | 2): I64 => r.i64_mul(x, r.i64(BigInt.asIntN(64, MIX[n])));
const folded = (r: RoutineBuilder, x: I64, places: number): I64 => r.i64_xor(x, r.i64_shr_u(x, r.i64(places)));

/** Of the key whose offset in the state is given: how data, modifier and its low half are mixed; and its two halves. */
function keyed(r: RoutineBuilder, data: I64, modifier: I64, keyAt: I32) {
  const key = r.i32_add(r.state(), keyAt);
  const [low, high] = [r.i64_load(key), r.i64_load(key, 8)];
  const hash = r.i64_add(product(r, data, 0), product(r, r.i64_xor(modifier, low), 1));
  return { low, high, hash };
}

/** (data, modifier, offset of the key in the state): 64 bits by the architected algorithm. */
const architectedPac = routines.define(
  'architected_pac',
  ['i64', 'i64', 'i32'],
  ['i64'],
  {},
  (r, data, modifier, keyAt) => {
    const s = r.state();
    const { low, high, hash } = keyed(r, data, modifier, keyAt);
    const index = r.i32_wrap_i64(r.i64_shr_u(hash, r.i64(64 - Math.log2(PAC_ENTRIES))));
    const entry = r.i32_add(s, r.i32_mul(index, r.i32(PAC_ENTRY_BYTES)));
    const differs = [data, modifier, low, high]
      .map((value, n) => r.i64_xor(r.i64_load(entry, field.pacs + 8 * n), value))
      .reduce((a, b) => r.i64_or(a, b));
    // Entries that nothing was written to hold 0: the answer is told from none by its complement.
    r.if(r.i32_and(r.i64_eqz(differs), r.i64_ne(r.i64_load(entry, field.pacs + 32), r.i64(0))), () =>
      r.ret(r.i64_xor(r.i64_load(entry, field.pacs + 32), r.i64(-1))),
    );
    const [pac] = r.call(qarma, data, modifier, low, high);
    for (const [n, value] of [data, modifier, low, high].entries()) r.i64_store(entry, value, field.pacs + 8 * n);
    r.i64_store(entry, r.i64_xor(pac, r.i64(-1)), field.pacs + 32);
    r.ret(pac);
  },
);

/** 64 bits of code. Our own algorithm stands here in place: a kernel signs in each function, and a call would cost more than it does. */
function codeOf(r: RoutineBuilder, data: I64, modifier: I64, keyAt: I32, flags: I32): I64 {
  const { high, hash } = keyed(r, data, modifier, keyAt);
  const once = product(r, folded(r, r.i64_xor(hash, high), 29), 2);
  const code = r.local('i64', folded(r, product(r, folded(r, once, 32), 0), 31));
  r.if(r.i32_eqz(r.i32_and(flags, r.i32(pacFlag.own))), () =>
    r.assign(code, r.call(architectedPac, data, modifier, keyAt)[0]),
  );
  return r.read(code);
}

/** (data, modifier, offset of the key in the state, flags): 64 bits. */
export const computePac = routines.define(
  'compute_pac',
  ['i64', 'i64', 'i32', 'i32'],
  ['i64'],
  { keepsAddresses: true },
  (r, data, modifier, keyAt, flags) => r.ret(codeOf(r, data, modifier, keyAt, flags)),
);

/** TCR: where TBI and TBID lie, of two ranges each; and how far from one another the sizes of the ranges. */
const TBI = 37;
const TBID = 51;
const SIZES = 16;

/** Notes where codes lie in the pointers of the current translation regime. */
const placeCodes = routines.define('place_codes', [], [], {}, (r) => {
  const s = r.state();
  const which = r.i32_load(s, field.regime);
  const [control] = r.call(regimeControl, which);
  const controlAt = r.i32_add(bankOfRegime(r, which), r.i32(field.tcr));
  r.i32_store(s, r.i32_add(which, r.i32(1)), field.pacRegime);
  r.i32_store(s, controlAt, field.pacControlAt);
  r.i64_store(s, r.i64_load(r.i32_add(s, controlAt)), field.pacControl);
  const two = (place: number) => r.i32_wrap_i64(r.i64_and(r.i64_shr_u(control, r.i64(place)), r.i64(3)));
  for (const kind of [0, pacFlag.instruction]) {
    const tags = kind === 0 ? two(TBI) : r.i32_and(two(TBI), r.i32_xor(two(TBID), r.i32(3)));
    r.i32_store(s, tags, field.pacTags + 4 * kind);
    for (const range of [0, 1]) {
      const given = r.i64_and(r.i64_shr_u(control, r.i64(range * SIZES)), r.i64(63));
      const small = r.select(r.i64_lt_u(given, r.i64(16)), r.i64(16), given);
      const unused = r.select(r.i64_gt_u(small, r.i64(39)), r.i64(39), small);
      const above = r.i64_xor(r.i64_shr_u(r.i64(-1), unused), r.i64(-1));
      const isTagged = r.i32_and(r.i32_shr_u(tags, r.i32(range)), r.i32(1));
      const below = r.select(isTagged, r.i64((1n << 56n) - 1n), r.i64(-1));
      r.i64_store(s, r.i64_and(above, below), field.pacMasks + 16 * kind + 8 * range);
    }
  }
  r.ret();
});

interface Layout {
  /** The pointer without its code; the bits of the code; whether the top byte is a tag; what extends the address. */
  readonly original: I64;
  readonly code: I64;
  readonly extension: I64;
  readonly tagged: I32;
}

/** Where the code lies in a pointer whose address is extended by bit 55, or the topmost one where nothing is tagged (AddPAC). */
function layoutOf(r: RoutineBuilder, pointer: I64, flags: I32, signs: boolean): Layout {
  const s = r.state();
  const isOther = r.i32_ne(r.i32_load(s, field.pacRegime), r.i32_add(r.i32_load(s, field.regime), r.i32(1)));
  const control = r.i64_load(r.i32_add(s, r.i32_load(s, field.pacControlAt)));
  r.if(r.i32_or(isOther, r.i64_ne(control, r.i64_load(s, field.pacControl))), () => r.call(placeCodes));
  const kind = r.i32_and(flags, r.i32(pacFlag.instruction));
  const tags = r.i32_load(r.i32_add(s, r.i32_shl(kind, r.i32(2))), field.pacTags);
  const bit = (place: number) => r.i32_wrap_i64(r.i64_and(r.i64_shr_u(pointer, r.i64(place)), r.i64(1)));
  const bit55 = bit(55);
  const upper = signs ? r.select(r.i32_eqz(tags), bit(63), bit55) : bit55;
  const masks = r.i32_add(s, r.i32_add(r.i32_shl(kind, r.i32(4)), r.i32_shl(upper, r.i32(3))));
  const extension = r.i64_load(masks, field.pacMasks);
  const original = r.i64_or(
    r.i64_and(pointer, r.i64_xor(extension, r.i64(-1))),
    r.i64_and(r.i64_sub(r.i64(0), r.i64_extend_i32_u(upper)), extension),
  );
  const tagged = r.i32_and(r.i32_shr_u(tags, bit55), r.i32(1));
  return { original, code: r.i64_and(extension, r.i64(~(1n << 55n))), extension, tagged };
}

const signature = ['i64', 'i64', 'i32', 'i32'] as const;

/** A pointer stays as it is while the key, whose offset in the state is given, is disabled. */
function unlessEnabled(r: RoutineBuilder, pointer: I64, keyAt: I32): void {
  const key = r.i32_shr_u(r.i32_sub(keyAt, r.i32(field.keys)), r.i32(4));
  const isEnabled = r.i32_and(r.i32_shr_u(r.i32_load(r.state(), field.enabledKeys), key), r.i32(1));
  r.if(r.i32_eqz(isEnabled), () => r.ret(pointer));
}

/** (pointer, modifier, offset of the key in the state, flags): the pointer with its code. */
export const signPointer = routines.define(
  'sign_pointer',
  signature,
  ['i64'],
  { keepsAddresses: true },
  (r, pointer, modifier, key, flags) => {
    unlessEnabled(r, pointer, key);
    const { original, code, extension, tagged } = layoutOf(r, pointer, flags, true);
    const pac = codeOf(r, original, modifier, key, flags);
    const given = r.i64_and(pointer, extension);
    const isAddress = r.i32_or(r.i64_eqz(given), r.i64_eq(given, extension));
    // Of what is no address already the code is wrong.
    const wrong = r.i64_shl(r.i64(1), r.select(tagged, r.i64(54), r.i64(62)));
    const made = r.i64_xor(pac, r.select(isAddress, r.i64(0), wrong));
    r.ret(r.i64_or(r.i64_and(original, r.i64_xor(code, r.i64(-1))), r.i64_and(made, code)));
  },
);
/** The same of a pointer with a code: the pointer, made no address where the code is not right. */
export const checkPointer = routines.define(
  'check_pointer',
  signature,
  ['i64'],
  { keepsAddresses: true },
  (r, pointer, modifier, key, flags) => {
    unlessEnabled(r, pointer, key);
    const { original, code, tagged } = layoutOf(r, pointer, flags, false);
    const pac = codeOf(r, original, modifier, key, flags);
    r.if(r.i64_eqz(r.i64_and(r.i64_xor(pac, pointer), code)), () => r.ret(original));
    const place = r.select(tagged, r.i64(53), r.i64(61));
    const error = r.select(r.i32_and(flags, r.i32(pacFlag.keyB)), r.i64(2), r.i64(1));
    const cleared = r.i64_and(original, r.i64_xor(r.i64_shl(r.i64(3), place), r.i64(-1)));
    r.ret(r.i64_or(cleared, r.i64_shl(error, place)));
  },
);
/** (pointer, flags): the pointer without its code. */
export const stripPointer = routines.define(
  'strip_pointer',
  ['i64', 'i32'],
  ['i64'],
  { keepsAddresses: true },
  (r, pointer, flags) => r.ret(layoutOf(r, pointer, flags, false).original),
);
