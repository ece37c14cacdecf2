/**
 * Units of the processor that the system may switch off (SDM 3, 2.5, 13.1 and 14.3.1): which exception their instructions then raise.
 *
 * At CPL 3 the mode key says what is on. Below, where a kernel hardly uses them and switches them on only when it is half up, or at
 * every change of its processes, code looks at `field.units` instead, so that none is translated twice for them.
 */
import type { BlockBuilder } from '../../ir/index.js';
import { keyBit } from './mode.js';
import { field, trapCode } from './state.js';
import { vector } from './system/bits.js';

const EM = 1 << keyBit.em;
const TS = 1 << keyBit.ts;
const MP = 1 << keyBit.mp;
const OSFXSR = 1 << keyBit.osfxsr;
const OSXSAVE = 1 << keyBit.osxsave;

/** An exception, raised if these bits have this value. */
type Rule = readonly [vector: number, mask: number, value: number];

/** In the order in which they are looked at. `control`: XGETBV and XSETBV. */
const rules = {
  fpu: [
    [vector.NM, EM, EM],
    [vector.NM, TS, TS],
  ],
  wait: [[vector.NM, MP | TS, MP | TS]],
  mmx: [
    [vector.UD, EM, EM],
    [vector.NM, TS, TS],
  ],
  sse: [
    [vector.UD, EM, EM],
    [vector.UD, OSFXSR, 0],
    [vector.NM, TS, TS],
  ],
  xsave: [
    [vector.UD, OSXSAVE, 0],
    [vector.NM, TS, TS],
  ],
  control: [[vector.UD, OSXSAVE, 0]],
} as const satisfies Record<string, readonly Rule[]>;

export type Unit = keyof typeof rules;

/** The vector of the exception that a unit's instructions raise with a mode key of CPL 3, or 0. */
export function unitFault(unit: Unit, key: number): number {
  return rules[unit].find(([, mask, value]) => (key & mask) === value)?.[0] ?? 0;
}

/** Raises the exception if one is due at another CPL. */
export function checkUnit(b: BlockBuilder, unit: Unit): void {
  const units = b.i32_load(b.state(), field.units);
  for (const [number, mask, value] of rules[unit]) {
    const bits = b.i32_and(units, b.i32(mask));
    const isOff = value === 0 ? b.i32_eqz(bits) : b.i32_eq(bits, b.i32(value));
    b.trap_if(isOff, trapCode(number));
  }
}
