/**
 * Brain floating point (FEAT_BF16): a single without its lower half. Conversions are ordinary ones; dot products go by rules of their own
 * (J1.3, BFDotAdd): each operation rounds to odd, flushes subnormal numbers, gives the default NaN, and leaves FPSR alone.
 */
import type { I64, RoutineBuilder } from '../../../ir/index.js';
import { and, rounding } from '../../float/core.js';
import { definePack, type Format, infinityBits, signBit, signOfBits, signToBits, single } from '../../float/pack.js';
import { field } from '../state.js';
import { f32 } from './float.js';
import { flag, floatMode, holdsNaN, isInfinite, isZero, operand, packFlags, raise } from './float-common.js';
import { convertNaN, wideOf } from './float-convert.js';
import { routines } from './set.js';

/** Of the name nothing is made here: the routine that packs is given. */
const brain: Format = { ...single, fraction: 7 };
const packBrain = definePack(routines, brain, false, 'before', 'bf16_pack');

/** A single rounded to brain floating point (BFCVT). */
export const singleToBrain = routines.define('f32_to_bf16', ['i64', 'i32'], ['i64'], {}, (r, x0, mode) => {
  const bits = operand(r, single, x0, mode);
  const sign = signOfBits(r, single, bits);
  const signBits = signToBits(r, brain, sign);
  r.if(holdsNaN(r, single, bits), () => convertNaN(r, single, brain, bits, signBits, mode));
  r.if(isInfinite(r, single, bits), () => r.ret(r.i64_or(signBits, r.i64(infinityBits(brain)))));
  r.if(isZero(r, single, bits), () => r.ret(signBits));
  const w = wideOf(r, single, bits, sign);
  const [packed, flags] = r.call(packBrain, r.read(w.sign), r.read(w.exp), r.read(w.hi), r.read(w.lo), and(r, mode, 3));
  raise(r, packFlags(r, flags));
  r.ret(packed);
});

/** A sum or product of singles by the rules of dot products. */
function toOdd(r: RoutineBuilder, name: 'add' | 'mul', x: I64, y: I64): I64 {
  const s = r.state();
  r.i32_store(s, r.i32(0), field.fpsr);
  const mode = r.i32(rounding.zero | floatMode.defaultNaN | floatMode.flushToZero);
  const [bits] = r.call(f32[name], x, y, mode);
  const flags = r.i32_load(s, field.fpsr);
  const isFlushed = r.i32_ne(and(r, flags, flag.UFC), r.i32(0));
  const overflows = r.i32_ne(and(r, flags, flag.OFC), r.i32(0));
  const inexact = r.i32_and(r.i32_ne(and(r, flags, flag.IXC), r.i32(0)), r.i32_eqz(isFlushed));
  const odd = r.i64_or(bits, r.i64_extend_i32_u(inexact));
  const infinite = r.i64_or(r.i64_and(bits, r.i64(signBit(single))), r.i64(infinityBits(single)));
  return r.select(overflows, infinite, odd);
}

/** (sum, two pairs of brain numbers): the sum of singles with both products added. */
export const brainDotAdd = routines.define('bf16_dot_add', ['i64', 'i64', 'i64'], ['i64'], {}, (r, sum, x, y) => {
  const s = r.state();
  const kept = r.i32_load(s, field.fpsr);
  const low = (pair: I64) => r.i64_and(r.i64_shl(pair, r.i64(16)), r.i64(0xffff0000));
  const high = (pair: I64) => r.i64_and(pair, r.i64(0xffff0000));
  const products = toOdd(r, 'add', toOdd(r, 'mul', low(x), low(y)), toOdd(r, 'mul', high(x), high(y)));
  const result = toOdd(r, 'add', sum, products);
  r.i32_store(s, kept, field.fpsr);
  r.ret(result);
});
