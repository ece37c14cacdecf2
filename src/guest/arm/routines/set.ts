/** The AArch64 CPU's routines: the engine's, the flags and CRC32; the other files here and the system's page walk define more. */
import { declareEngineRoutines, type I32, type I64, RoutineSet } from '../../../ir/index.js';
import { carrylessHalves } from '../../crypto/carryless.js';
import { flagA, flagB, flagC, flagKind, flagOp } from '../state.js';

export const routines = new RoutineSet();
export const engine = declareEngineRoutines(routines);

for (const name of ['page_walk', 'walk_aarch32', 'walk_long', 'carry_overflow32']) routines.optimizedAtOnce.add(name);

/** (kind, A, B, C): NZCV in bits 31 to 28. */
export const computeFlags = routines.define(
  'compute_nzcv',
  ['i32', 'i64', 'i64', 'i64'],
  ['i32'],
  { pure: true },
  (r, kind, a, b, c) => {
    const bit = (condition: I32, place: number) => r.i32_shl(condition, r.i32(place));
    const is = (which: number) => r.i32_eq(kind, r.i32(which));
    const flags = (result: I64, carry: I32, overflow: I64) =>
      r.i32_or(
        r.i32_or(bit(r.i64_lt_s(result, r.i64(0)), 31), bit(r.i64_eqz(result), 30)),
        r.i32_or(bit(carry, 29), bit(r.i64_lt_s(overflow, r.i64(0)), 28)),
      );
    r.if(is(flagKind.bits), () => r.ret(r.i32_wrap_i64(a)));
    r.if(is(flagKind.logic), () => r.ret(flags(a, r.i32(0), r.i64(0))));
    const narrow = r.i32_or(is(flagKind.sub32), r.i32_or(is(flagKind.add32), is(flagKind.conditional32)));
    // The flags of 32 bits are those of the upper half.
    const places = r.select(narrow, r.i64(32), r.i64(0));
    const x = r.i64_shl(a, places);
    const y = r.i64_shl(b, places);
    const adds = r.i32_or(is(flagKind.add32), is(flagKind.add64));
    r.if(adds, () => {
      const sum = r.i64_add(x, y);
      r.ret(flags(sum, r.i64_lt_u(sum, x), r.i64_and(r.i64_xor(x, sum), r.i64_xor(y, sum))));
    });
    const conditional = r.i32_or(is(flagKind.conditional32), is(flagKind.conditional64));
    r.if(r.i32_and(conditional, r.i64_ge_s(c, r.i64(0))), () => r.ret(r.i32_wrap_i64(c)));
    const difference = r.i64_sub(x, y);
    r.ret(flags(difference, r.i64_ge_u(x, y), r.i64_and(r.i64_xor(x, y), r.i64_xor(x, difference))));
  },
);

/** NZCV in bits 31 to 28, of what set the flags last. */
routines.define('current_nzcv', [], ['i32'], {}, (r) => {
  const state = r.state();
  const operand = ({ offset }: { readonly offset: number }) => r.i64_load(state, offset);
  const [nzcv] = r.call(computeFlags, r.i32_load(state, flagOp.offset), operand(flagA), operand(flagB), operand(flagC));
  r.ret(nzcv);
});

/**
 * CRCs in the reflected order by carry-less multiplication. Data with the CRC added is D; a multiple q of the polynomial P makes its low
 * `bits` zero, what is left above them is the new CRC. q is D / P as a power series, of which that many places count.
 */
function defineCrc(name: string, polynomial: number) {
  // P with its highest term in bit 0.
  const reflected = (BigInt(polynomial) << 1n) | 1n;
  let inverse = 0n;
  for (let n = 0n, rest = 1n; n < 64n; n++) {
    if (((rest >> n) & 1n) === 0n) continue;
    inverse |= 1n << n;
    rest ^= reflected << n;
  }
  return routines.define(name, ['i32', 'i64', 'i32'], ['i32'], { pure: true }, (r, crc, data, bits) => {
    const d = r.i64_xor(data, r.i64_extend_i32_u(crc));
    const [quotient] = carrylessHalves(r, d, r.i64(inverse));
    const unused = r.i64_extend_i32_u(r.i32_sub(r.i32(64), bits));
    const q = r.i64_shr_u(r.i64_shl(quotient, unused), unused);
    const [low, high] = carrylessHalves(r, q, r.i64(reflected));
    const above = r.i64_shr_u(r.i64_xor(low, d), r.i64_extend_i32_u(bits));
    r.ret(r.i32_wrap_i64(r.select(r.i32_eq(bits, r.i32(64)), high, above)));
  });
}
/** (crc, data, its bits: 8 to 64): CRC-32 of ISO 3309, and Castagnoli's. */
export const crc32 = defineCrc('crc32', 0xedb88320);
export const crc32c = defineCrc('crc32c', 0x82f63b78);
