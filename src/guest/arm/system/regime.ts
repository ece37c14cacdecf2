/** Translation regimes (D8.1.2): whose registers say how addresses are translated. */
import type { I32, RoutineBuilder } from '../../../ir/index.js';
import { routines } from '../routines/set.js';
import { BANK_BYTES, field, hcr } from '../state.js';

/** `host`: EL2&0, of a host whose kernel is at EL2 (VHE). */
export const regime = { el1: 0, host: 1, el2: 2, el3: 3 } as const;

/** How far the regime's registers are from EL1's in the state: those of EL1, EL2, EL2, EL3. */
export const bankOfRegime = (r: RoutineBuilder, which: I32): I32 =>
  r.i32_mul(r.i32_shr_u(r.i32_add(which, r.i32(1)), r.i32(1)), r.i32(BANK_BYTES));

/** A bit of HCR_EL2 as it works now. */
export const hasHcr = (r: RoutineBuilder, bit: bigint): I32 =>
  r.i64_ne(r.i64_and(r.i64_load(r.state(), field.hcrNow), r.i64(BigInt.asIntN(64, bit))), r.i64(0));
/** EL0 belongs to a host at EL2. */
export const isHost = (r: RoutineBuilder): I32 => r.i32_and(hasHcr(r, hcr.E2H), hasHcr(r, hcr.TGE));

/**
 * TCR of a regime, laid out as TCR_EL1. Where there is one range of addresses only, the upper one has the same form and its walks are
 * disabled.
 */
export const regimeControl = routines.define('regime_control', ['i32'], ['i64'], {}, (r, which) => {
  const raw = r.i64_load(r.i32_add(r.state(), bankOfRegime(r, which)), field.tcr);
  r.if(r.i32_lt_u(which, r.i32(regime.el2)), () => r.ret(raw));
  const lower = r.i64_and(raw, r.i64(0xff3f));
  const part = (from: number, bits: number, to: number) =>
    r.i64_shl(r.i64_and(r.i64_shr_u(raw, r.i64(from)), r.i64(bits)), r.i64(to));
  const bit = (from: number, ...to: readonly number[]) =>
    to.map((place) => part(from, 1, place)).reduce((a, b) => r.i64_or(a, b));
  // Sizes and EPD1; TG1 does not matter. IPS, TBI, HA, HD, HPD, TBID.
  const upper = r.i64_or(part(0, 63, 16), r.i64(1 << 23));
  const parts = [part(16, 7, 32), bit(20, 37, 38), bit(21, 39), bit(22, 40), bit(24, 41, 42), bit(29, 51, 52)];
  r.ret(parts.reduce((all, one) => r.i64_or(all, one), r.i64_or(lower, upper)));
});
