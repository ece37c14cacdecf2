/** What rows of several chapters do. */
import type { I32, I64 } from '../../../ir/index.js';
import { mmuIndex } from '../mode.js';
import type { Fields, InsnRow, Translator } from '../row.js';

/** Bytes as a power of 2. */
export type Log = 0 | 1 | 2 | 3;

/** As assembly writes a general register. */
export const registerName = (n: number): string => ['sp', 'lr', 'pc'][n - 13] ?? `r${n}`;

export const low = ({ b }: Translator, value: I64): I64 => b.i64_low32(value);
/** Sign-extended from 32 bits. */
export const signed = ({ b }: Translator, value: I64): I64 => b.i64_extend32_s(value);
export const not = (t: Translator, value: I64): I64 => t.b.i64_xor(value, t.b.i64(0xffffffff));
export const bitAt = ({ b }: Translator, value: I64, place: number): I32 =>
  b.i32_wrap_i64(b.i64_and(place === 0 ? value : b.i64_shr_u(value, b.i64(place)), b.i64(1)));

/** An address, in 32 bits. */
export const plus = (t: Translator, base: I64, displacement: number): I64 =>
  displacement === 0 ? base : low(t, t.b.i64_add(base, t.b.i64(displacement)));

/** The same as where an access is: bits above the 32nd do no harm there (narrow_address), and are hardly ever set. */
export const place = ({ b }: Translator, base: I64, displacement: number): I64 =>
  displacement === 0 ? base : b.i64_add(base, b.i64(displacement));

/** What an access by LDRT and the like says of its context. */
export const unprivileged = ({ mode }: Translator): number =>
  mode.user ? 0 : mode.dacrSlot * mmuIndex.perDacr + mmuIndex.user + 1;

/** A load, zero-extended, or sign-extended to 32 bits. `how`: access (ir layer). */
export function load(t: Translator, address: I64, log: Log, isSigned = false, how = 0): I64 {
  const { b } = t;
  if (t.mode.alignmentChecked) t.aligned(address, 1 << log, false);
  if (log === 3) return b.guest_load64(address, how);
  const bits = [b.guest_load8, b.guest_load16, b.guest_load32][log].call(b, address, how);
  if (!isSigned) return b.i64_extend_i32_u(bits);
  return b.i64_extend_i32_u((log === 0 ? b.i32_extend8_s : b.i32_extend16_s).call(b, bits));
}
export function store(t: Translator, address: I64, log: Log, value: I64, how = 0): void {
  const { b } = t;
  if (t.mode.alignmentChecked) t.aligned(address, 1 << log, true);
  if (log === 3) b.guest_store64(address, value, how);
  else [b.guest_store8, b.guest_store16, b.guest_store32][log].call(b, address, b.i32_wrap_i64(value), how);
}

export const binary = (value: number, digits: number): string => value.toString(2).padStart(digits, '0');

type Rest = Omit<InsnRow, 'name' | 'set' | 'enc' | 'args' | 'translate'>;

/** Rows of one instruction: its encodings in A32 (with a condition, unless they begin with 1111) and in T32. */
export function rows(
  name: string,
  encodings: { readonly a?: string | readonly string[]; readonly t?: string | readonly string[] },
  args: readonly string[],
  translate: (t: Translator, i: Fields) => void,
  rest: Rest = {},
): InsnRow[] {
  const list = (of: string | readonly string[] | undefined): readonly string[] =>
    of === undefined ? [] : typeof of === 'string' ? [of] : of;
  const arm = list(encodings.a).map((enc): InsnRow => {
    const whole = /^(1111|cond) /.test(enc) ? enc : `cond ${enc}`;
    return { name, set: 'arm', enc: whole, args, translate, ...rest };
  });
  return [...arm, ...list(encodings.t).map((enc): InsnRow => ({ name, set: 'thumb', enc, args, translate, ...rest }))];
}
/** The same of instructions that only set registers and flags. */
export const plain = (
  name: string,
  encodings: Parameters<typeof rows>[1],
  args: readonly string[],
  translate: (t: Translator, i: Fields) => void,
  rest: Rest = {},
): InsnRow[] => rows(name, encodings, args, translate, { plain: true, ...rest });
