/** Bit operations too long for blocks: rotation through carry, PDEP, PEXT, CRC32. Intel SDM vol. 2. */
import { routines } from './set.js';

/**
 * RCL (left) and RCR: value (clean), count (0-63), CF and OF as ccExtra has them, operand size, 1 for left → result, CF and OF.
 * OF is as after the last single step.
 */
export const rotateThroughCarry = routines.define(
  'rotate_through_carry',
  ['i64', 'i32', 'i64', 'i32', 'i32'],
  ['i64', 'i64'],
  { pure: true },
  (r, start, count, startExtra, size, left) => {
    const value = r.local('i64', start);
    const extra = r.local('i64', startExtra);
    const steps = r.local('i32', r.i32_rem_u(count, r.i32_add(size, r.i32(1))));
    const topBit = r.i64_extend_i32_u(r.i32_sub(size, r.i32(1)));
    const one = r.i64(1);
    r.block((done) => {
      r.loop((again) => {
        r.brIf(done, r.i32_eqz(r.read(steps)));
        const x = r.read(value);
        const carry = r.i64_and(r.i64_shr_u(r.read(extra), one), one);
        const top = r.i64_and(r.i64_shr_u(x, topBit), one);
        r.if(
          left,
          () => {
            const moved = r.i64_or(r.i64_shl(x, one), carry);
            r.assign(value, moved);
            r.assign(extra, r.i64_or(r.i64_shl(top, one), r.i64_and(r.i64_shr_u(moved, topBit), one)));
          },
          () => {
            const out = r.i64_and(x, one);
            r.assign(value, r.i64_or(r.i64_shr_u(x, one), r.i64_shl(carry, topBit)));
            r.assign(extra, r.i64_or(r.i64_shl(out, one), r.i64_xor(out, r.i64_xor(carry, top))));
          },
        );
        // RCL leaves what it pushed out above the operand
        r.assign(value, r.i64_and(r.read(value), r.i64_shr_u(r.i64(-1), r.i64_sub(r.i64(63), topBit))));
        r.assign(steps, r.i32_sub(r.read(steps), r.i32(1)));
        r.br(again);
      });
    });
    r.ret(r.read(value), r.read(extra));
  },
);

/** PDEP: the low bits of a value go to the places of the mask's ones. */
export const depositBits = routines.define(
  'deposit_bits',
  ['i64', 'i64'],
  ['i64'],
  { pure: true },
  (r, value, mask) => {
    const left = r.local('i64', mask);
    const source = r.local('i64', value);
    const result = r.local('i64', r.i64(0));
    r.block((done) => {
      r.loop((again) => {
        const bits = r.read(left);
        r.brIf(done, r.i64_eqz(bits));
        const lowest = r.i64_and(bits, r.i64_sub(r.i64(0), bits));
        r.if(r.i32_wrap_i64(r.i64_and(r.read(source), r.i64(1))), () =>
          r.assign(result, r.i64_or(r.read(result), lowest)),
        );
        r.assign(source, r.i64_shr_u(r.read(source), r.i64(1)));
        r.assign(left, r.i64_xor(bits, lowest));
        r.br(again);
      });
    });
    r.ret(r.read(result));
  },
);

/** PEXT: the bits at the places of the mask's ones, gathered. */
export const extractBits = routines.define(
  'extract_bits',
  ['i64', 'i64'],
  ['i64'],
  { pure: true },
  (r, value, mask) => {
    const left = r.local('i64', mask);
    const place = r.local('i64', r.i64(1));
    const result = r.local('i64', r.i64(0));
    r.block((done) => {
      r.loop((again) => {
        const bits = r.read(left);
        r.brIf(done, r.i64_eqz(bits));
        const lowest = r.i64_and(bits, r.i64_sub(r.i64(0), bits));
        r.if(r.i64_ne(r.i64_and(value, lowest), r.i64(0)), () =>
          r.assign(result, r.i64_or(r.read(result), r.read(place))),
        );
        r.assign(place, r.i64_shl(r.read(place), r.i64(1)));
        r.assign(left, r.i64_xor(bits, lowest));
        r.br(again);
      });
    });
    r.ret(r.read(result));
  },
);

/** The reflected CRC-32C polynomial 11EDC6F41. */
const CASTAGNOLI = 0x82f63b78 | 0;

/** CRC32: the sum so far, the value, its bits (8-64). */
export const crc32c = routines.define(
  'crc32c',
  ['i32', 'i64', 'i32'],
  ['i32'],
  { pure: true },
  (r, start, value, bits) => {
    const sum = r.local('i32', start);
    const rest = r.local('i64', value);
    const left = r.local('i32', bits);
    r.loop((again) => {
      r.assign(sum, r.i32_xor(r.read(sum), r.i32_and(r.i32_wrap_i64(r.read(rest)), r.i32(0xff))));
      for (let i = 0; i < 8; i++) {
        const now = r.read(sum);
        const low = r.i32_sub(r.i32(0), r.i32_and(now, r.i32(1)));
        r.assign(sum, r.i32_xor(r.i32_shr_u(now, r.i32(1)), r.i32_and(low, r.i32(CASTAGNOLI))));
      }
      r.assign(rest, r.i64_shr_u(r.read(rest), r.i64(8)));
      r.assign(left, r.i32_sub(r.read(left), r.i32(8)));
      r.brIf(again, r.read(left));
    });
    r.ret(r.read(sum));
  },
);
