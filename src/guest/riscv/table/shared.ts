/** What rows of several chapters do. */
import type { I32, I64 } from '../../../ir/index.js';
import { dataAccess } from '../routines/watch.js';
import type { Translator } from '../row.js';

export type Bytes = 1 | 2 | 4 | 8;

/** Tells a debugger that watches accesses of this one. */
export function announce({ b, mode }: Translator, address: I64, bytes: number, isStore: boolean): void {
  if (mode.watched) b.call(dataAccess, address, b.i32(bytes), b.i32(isStore ? 1 : 0));
}

/** A load, extended to 64 bits. `how`: access (ir layer). */
export function loadValue(t: Translator, address: I64, bytes: Bytes, signed: boolean, how = 0): I64 {
  const { b } = t;
  announce(t, address, bytes, false);
  if (bytes === 8) return b.guest_load64(address, how);
  if (bytes === 4) {
    const value = b.guest_load32(address, how);
    return signed ? b.i64_extend_i32_s(value) : b.i64_extend_i32_u(value);
  }
  const value = b.i64_extend_i32_u(bytes === 2 ? b.guest_load16(address, how) : b.guest_load8(address, how));
  if (!signed) return value;
  return bytes === 2 ? b.i64_extend16_s(value) : b.i64_extend8_s(value);
}

export function storeValue(t: Translator, address: I64, bytes: Bytes, value: I64, how = 0): void {
  const { b } = t;
  announce(t, address, bytes, true);
  if (bytes === 8) b.guest_store64(address, value, how);
  else if (bytes === 4) b.guest_store32(address, b.i32_wrap_i64(value), how);
  else if (bytes === 2) b.guest_store16(address, b.i32_wrap_i64(value), how);
  else b.guest_store8(address, b.i32_wrap_i64(value), how);
}

/** An operation on the low word and another one, its result sign-extended. */
export function word({ b }: Translator, x: I64, y: I32, operation: (x: I32, y: I32) => I32): I64 {
  return b.i64_extend_i32_s(operation.call(b, b.i32_wrap_i64(x), y));
}

/** The low 32 bits, zero-extended. */
export const low = ({ b }: Translator, value: I64): I64 => b.i64_low32(value);
