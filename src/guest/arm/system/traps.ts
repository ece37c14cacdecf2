/** What EL2 and EL3 trap of lower exception levels' system registers and maintenance (D1.3.5): by HCR_EL2, CPTR, CNTHCTL_EL2, MDCR, SCR_EL3. */
import { field, hcr, ofLevel, scr } from '../state.js';
import type { Core } from './core.js';
import { gicRegisters, groupsOf } from './gic-registers.js';
import { performanceRows } from './performance.js';
import { codeOf, parse } from './register-row.js';

type Access = 'read' | 'write';
interface Trap {
  /** Bits of HCR_EL2 and of SCR_EL3 that trap it; the kind of access, if one only. */
  readonly hcr?: bigint;
  readonly scr?: bigint;
  /** They trap where they are clear. */
  readonly ifClear?: true;
  readonly access?: Access;
  /** Another register does. */
  readonly by?: (core: Core) => number;
}

const TCPAC = 1 << 31;
/** CPACR_EL1, by CPTR. */
function byCptr(core: Core): number {
  if (core.el2Enabled && core.get32(ofLevel(field.cpacr, 2)) & TCPAC) return 2;
  return core.hasEl3 && core.get32(ofLevel(field.cpacr, 3)) & TCPAC ? 3 : 0;
}
/** The physical counter and timer: EL1PCTEN and EL1PCEN are elsewhere where there is a host. */
const byCounterControl =
  (bit: bigint) =>
  (core: Core): number => {
    if (!core.el2Enabled || core.inHost) return 0;
    const place = core.hcr(hcr.E2H) ? bit + 10n : bit;
    return (core.get64(field.cnthctl) >> place) & 1n ? 0 : 2;
  };
const TDA = 1 << 9;
const TDOSA = 1 << 10;
const TDE = 1 << 8;
const byDebugControl =
  (bits: number, upper: number) =>
  (core: Core): number => {
    if (core.el2Enabled && core.get32(field.mdcr2) & bits) return 2;
    return core.hasEl3 && core.get32(field.mdcr3) & upper ? 3 : 0;
  };

const traps = new Map<number, Trap[]>();
const add = (
  trap: Trap,
  ...list: readonly (readonly [op0: number, op1: number, crn: number, crm: number, op2: number])[]
) => {
  for (const parts of list) {
    const code = codeOf(...parts);
    traps.set(code, [...(traps.get(code) ?? []), trap]);
  }
};
const el1 = (crn: number, crm: number, ...op2s: readonly number[]) => op2s.map((op2) => [3, 0, crn, crm, op2] as const);

const memoryControl = [
  ...el1(1, 0, 0),
  ...el1(2, 0, 0, 1, 2),
  ...el1(5, 1, 0, 1),
  ...el1(5, 2, 0),
  ...el1(6, 0, 0),
  ...el1(10, 2, 0),
  ...el1(10, 3, 0),
  ...el1(13, 0, 1),
];
add({ hcr: hcr.TVM, access: 'write' }, ...memoryControl);
add({ hcr: hcr.TRVM, access: 'read' }, ...memoryControl);
add({ hcr: hcr.TACR }, ...el1(1, 0, 1));
add({ by: byCptr }, ...el1(1, 0, 2));
add({ hcr: hcr.TID1 }, [3, 1, 0, 0, 7], ...el1(0, 0, 6));
add({ hcr: hcr.TID2 }, [3, 1, 0, 0, 0], [3, 1, 0, 0, 1], [3, 2, 0, 0, 0], [3, 3, 0, 0, 1]);
add({ hcr: hcr.TID3 }, ...[1, 2, 3, 4, 5, 6, 7].flatMap((crm) => el1(0, crm, 0, 1, 2, 3, 4, 5, 6, 7)));
add({ hcr: hcr.TERR, scr: scr.TERR }, ...el1(5, 3, 0));
add({ hcr: hcr.TLOR, scr: scr.TLOR }, ...el1(10, 4, 0, 1, 2, 3, 7));
add(
  { hcr: hcr.APK, scr: scr.APK, ifClear: true },
  ...el1(2, 1, 0, 1, 2, 3),
  ...el1(2, 2, 0, 1, 2, 3),
  ...el1(2, 3, 0, 1),
);
add({ by: byCounterControl(0n) }, [3, 3, 14, 0, 1]);
add({ by: byCounterControl(1n) }, [3, 3, 14, 2, 0], [3, 3, 14, 2, 1], [3, 3, 14, 2, 2]);
add({ by: byDebugControl(TDOSA | TDE, TDOSA) }, [2, 0, 1, 0, 4], [2, 0, 1, 1, 4], [2, 0, 1, 3, 4]);
add(
  { by: byDebugControl(TDA | TDE, TDA) },
  [2, 0, 0, 2, 0],
  [2, 0, 0, 2, 2],
  [2, 3, 0, 1, 0],
  ...[0, 1, 2, 3, 4, 5].flatMap((crm) => [4, 5, 6, 7].map((op2) => [2, 0, 0, crm, op2] as const)),
);
// Maintenance: caches by set and way, to the point of coherency, to that of unification; DC ZVA; the TLB; AT.
add({ hcr: hcr.TSW }, [1, 0, 7, 6, 2], [1, 0, 7, 10, 2], [1, 0, 7, 14, 2]);
add({ hcr: hcr.TPC }, [1, 0, 7, 6, 1], [1, 3, 7, 10, 1], [1, 3, 7, 12, 1], [1, 3, 7, 14, 1]);
add({ hcr: hcr.TPU }, [1, 0, 7, 1, 0], [1, 0, 7, 5, 0], [1, 3, 7, 5, 1], [1, 3, 7, 11, 1]);
add({ hcr: hcr.TDZ }, [1, 3, 7, 4, 1]);
add({ hcr: hcr.TTLB }, ...[1, 3, 7].flatMap((crm) => [0, 1, 2, 3, 5, 7].map((op2) => [1, 0, 8, crm, op2] as const)));
// Of ranges.
add({ hcr: hcr.TTLB }, ...[2, 5, 6].flatMap((crm) => [1, 3, 5, 7].map((op2) => [1, 0, 8, crm, op2] as const)));
add({ hcr: hcr.AT }, ...[0, 1, 2, 3].map((op2) => [1, 0, 7, 8, op2] as const), [1, 0, 7, 9, 0], [1, 0, 7, 9, 1]);

// Performance monitors: TPM, and TPMCR of PMCR alone.
const TPM = 1 << 6;
const TPMCR = 1 << 5;
for (const { name, code } of performanceRows)
  traps.set(code, [{ by: byDebugControl(name === 'PMCR_EL0' ? TPM | TPMCR : TPM, TPM) }]);

// A GICv3's registers: by ICH_HCR_EL2 those that virtual machines find; what sends interrupts, by HCR_EL2.
const TDIR = 1 << 14;
const trapOf = { both: 1 << 10, 0: 1 << 11, 1: 1 << 12 } as const;
for (const [name, code] of gicRegisters) {
  const groups = groupsOf(name);
  if (groups === undefined) continue;
  const byHypervisor = (core: Core): number => {
    const virtual = core.board.gic?.virtual;
    if (core.el !== 1 || !virtual || !core.el2Enabled) return 0;
    if (groups === 'send') return core.hcr(hcr.IMO) || core.hcr(hcr.FMO) ? 2 : 0;
    return virtual.controlBits() & (trapOf[groups] | (name === 'DIR' ? TDIR : 0)) ? 2 : 0;
  };
  traps.set(parse(code), [{ by: byHypervisor }]);
}

/** It may be trapped. */
export const isTrappable = (code: number): boolean => traps.has(code);

/** The exception level that traps an access made at the current one; 0: none. */
export function trapTarget(core: Core, code: number, access: Access): number {
  const { el } = core;
  for (const trap of traps.get(code) ?? []) {
    if (trap.access !== undefined && trap.access !== access) continue;
    const isSet = (has: boolean): boolean => (trap.ifClear ? !has : has);
    if (trap.hcr !== undefined && el < 2 && core.el2Enabled && !(el === 0 && core.inHost) && isSet(core.hcr(trap.hcr)))
      return 2;
    if (trap.scr !== undefined && el < 3 && core.hasEl3 && isSet(core.scr(trap.scr))) return 3;
    const target = trap.by?.(core) ?? 0;
    if (target > el) return target;
  }
  return 0;
}
