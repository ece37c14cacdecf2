/** What rows of several chapters do. */
import { access, type I64, type V128 } from '../../../ir/index.js';
import { mmuIndex } from '../mode.js';
import type { Translator } from '../row.js';
import { abort, exceptionClass, fault, syndromeOf } from '../state.js';

/** Bytes as a power of 2. */
export type Log = 0 | 1 | 2 | 3;

export const low = ({ b }: Translator, value: I64): I64 => b.i64_low32(value);
export const not = ({ b }: Translator, value: I64): I64 => b.i64_xor(value, b.i64(-1));

export const plus = ({ b }: Translator, base: I64, displacement: number): I64 =>
  displacement === 0 ? base : b.i64_add(base, b.i64(displacement));

/** A load, zero-extended, or sign-extended to 64 or to 32 bits. `how`: access (ir layer). */
export function load({ b }: Translator, address: I64, log: Log, signed?: 32 | 64, how = 0): I64 {
  if (log === 3) return b.guest_load64(address, how);
  const bits = b.i64_extend_i32_u([b.guest_load8, b.guest_load16, b.guest_load32][log].call(b, address, how));
  if (!signed) return bits;
  const value = [b.i64_extend8_s, b.i64_extend16_s, b.i64_extend32_s][log].call(b, bits);
  return signed === 64 ? value : b.i64_low32(value);
}
export function store({ b }: Translator, address: I64, log: Log, value: I64, how = 0): void {
  if (log === 3) b.guest_store64(address, value, how);
  else [b.guest_store8, b.guest_store16, b.guest_store32][log].call(b, address, b.i32_wrap_i64(value), how);
}

/** What an access by LDTR and the like says of its context: EL0's, unless it is an ordinary one. */
export const unprivileged = (t: Translator): number => (t.mode.ordinaryUnprivileged ? 0 : mmuIndex.el0 + 1);

/** Two halves as one value of 16 bytes. */
export const joined = ({ b }: Translator, first: I64, second: I64): V128 =>
  b.i64x2_replace_lane(b.i64x2_splat(first), second, 1);

/** An alignment fault unless the address is a multiple of `bytes`. */
export function checkAligned(t: Translator, address: I64, bytes: number, isStore: boolean): void {
  if (bytes === 1) return;
  const { b } = t;
  const below = b.i64_and(address, b.i64(bytes - 1));
  const iss = fault.alignment | (isStore ? abort.WNR : 0);
  t.exceptionIf(b.i32_eqz(b.i64_eqz(below)), syndromeOf(exceptionClass.dataAbort, iss), address);
}

/** How the load of a read-modify-write is made. */
export const UPDATE = access.forWrite | access.locked;

export const binary = (value: number, digits: number): string => value.toString(2).padStart(digits, '0');
