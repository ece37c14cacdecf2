/** The AArch64 CPU's routines: the engine's, the flags and CRC32; the other files here and the system's page walk define more. */
import { declareEngineRoutines, type I32, type I64, RoutineSet } from '../../../ir/index.js';
import { flagKind } from '../state.js';

export const routines = new RoutineSet();
export const engine = declareEngineRoutines(routines);

routines.optimizedAtOnce.add('page_walk');

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

/** One step of a CRC in the reflected order, 64 bits of data at most: (crc, data, bits, polynomial). */
export const crc32 = routines.define(
  'crc32_bits',
  ['i32', 'i64', 'i32', 'i32'],
  ['i32'],
  { pure: true },
  (r, crc, data, bits, polynomial) => {
    const rest = r.local('i64', r.i64_xor(data, r.i64_extend_i32_u(crc)));
    const left = r.local('i32', bits);
    const wide = r.i64_extend_i32_u(polynomial);
    r.loop((again) => {
      const value = r.read(rest);
      const mask = r.i64_sub(r.i64(0), r.i64_and(value, r.i64(1)));
      r.assign(rest, r.i64_xor(r.i64_shr_u(value, r.i64(1)), r.i64_and(wide, mask)));
      r.assign(left, r.i32_sub(r.read(left), r.i32(1)));
      r.brIf(again, r.read(left));
    });
    r.ret(r.i32_wrap_i64(r.read(rest)));
  },
);
