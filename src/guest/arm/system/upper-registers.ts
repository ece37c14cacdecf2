/** System registers of EL2 and EL3, and what rows of theirs and of EL1's have in common. */
import type { ArmModel } from '../models.js';
import { field, hcr, ofLevel, scr, sctlr } from '../state.js';
import { sctlrWritable, tcrWritable } from './control-bits.js';
import type { Core } from './core.js';
import { updateDebug } from './debug-exceptions.js';
import { tcr } from './page-walk.js';
import { ALL, active, constant, loadHome, plain, type SystemRegister, WORD, watched } from './register-row.js';

const ASID = 0xffffn << 48n;

/** The ASID by which translation goes at EL1, or at EL2 of a host. */
const asidOf = (core: Core, el: number): bigint => {
  const control = core.get64(ofLevel(field.tcr, el));
  const asid = core.get64(ofLevel(control & tcr.A1 ? field.ttbr1 : field.ttbr0, el)) >> 48n;
  return control & tcr.AS ? asid : asid & 0xffn;
};
/** TTBR of an exception level; `home` is EL1's. */
export const translationBase = (name: string, code: string, home: number, el: number): SystemRegister =>
  active(
    name,
    code,
    (core) => core.get64(ofLevel(home, el)),
    (core, value) => {
      const old = core.get64(ofLevel(home, el));
      if (old === value) return;
      const before = asidOf(core, el);
      core.set64(ofLevel(home, el), value);
      // Nothing of an address space outlives its ASID here. Without one, software invalidates what it must.
      if (asidOf(core, el) !== before || ((old ^ value) & ~ASID) !== 0n) core.flushTlb(true);
    },
    { load: loadHome(ofLevel(home, el)) },
  );

/** TVAL, CTL and CVAL of a timer. `code`: op0 to CRm. */
export function timerRegisters(
  name: string,
  level: string,
  code: string,
  numberOf: (core: Core) => number,
): SystemRegister[] {
  const compare = (core: Core) => core.timerCompare(numberOf(core));
  const control = (core: Core) => core.timerControl(numberOf(core));
  const now = (core: Core) => core.countOf(numberOf(core));
  return [
    active(
      `${name}_TVAL_${level}`,
      `${code} 0`,
      (core) => BigInt.asUintN(32, compare(core) - now(core)),
      (core, value) => core.setTimer(numberOf(core), control(core), now(core) + BigInt.asIntN(32, value)),
    ),
    active(`${name}_CTL_${level}`, `${code} 1`, control, (core, value) =>
      core.setTimer(numberOf(core), value, compare(core)),
    ),
    active(`${name}_CVAL_${level}`, `${code} 2`, compare, (core, value) =>
      core.setTimer(numberOf(core), control(core), value),
    ),
  ];
}

const hcrWritable = ({ features }: ArmModel): bigint => {
  let bits = (1n << 34n) - 1n;
  if (features.has('vhe')) bits |= hcr.E2H;
  if (features.has('lor')) bits |= hcr.TLOR;
  if (features.has('ras')) bits |= hcr.TERR | hcr.TEA;
  if (features.has('pauth')) bits |= hcr.APK | hcr.API;
  return bits;
};
const scrWritable = ({ features }: ArmModel): bigint => {
  let bits = 0x398fn | scr.RW;
  if (features.has('lor')) bits |= scr.TLOR;
  if (features.has('ras')) bits |= scr.TERR;
  if (features.has('pauth')) bits |= scr.APK | scr.API;
  return bits;
};
/** Lower exception levels are AArch64. */
export const RESET_HCR = hcr.RW;
export const RESET_SCR = scr.RW;
/** What is one in CPTR_EL2 without E2H. */
export const RESET_CPTR_EL2 = 0x33ffn;

/** Registers that EL2 and EL3 have alike, of EL1's names. `code`: op0 and op1. */
function bank(el: 2 | 3, code: string): SystemRegister[] {
  const at = (home: number) => ofLevel(home, el);
  return [
    watched(`SCTLR_EL${el}`, `${code} 1 0 0`, at(field.sctlr), sctlrWritable, (core, old, value) => {
      if ((old ^ value) & BigInt(sctlr.M | sctlr.WXN)) core.flushTlb();
      core.updateMode();
    }),
    active(
      `ACTLR_EL${el}`,
      `${code} 1 0 1`,
      () => 0n,
      () => {},
    ),
    watched(
      `CPTR_EL${el}`,
      `${code} 1 1 2`,
      at(field.cpacr),
      () => WORD,
      (core) => core.updateMode(),
    ),
    translationBase(`TTBR0_EL${el}`, `${code} 2 0 0`, field.ttbr0, el),
    watched(`TCR_EL${el}`, `${code} 2 0 2`, at(field.tcr), tcrWritable, (core, old, value) => {
      if (old !== value) core.flushTlb();
    }),
    plain(`SPSR_EL${el}`, `${code} 4 0 0`, at(field.spsr), WORD),
    plain(`ELR_EL${el}`, `${code} 4 0 1`, at(field.elr)),
    // The stack pointer of the exception level below, which is not the one in use.
    plain(`SP_EL${el - 1}`, `${code} 4 1 0`, field.sp + 8 * (el - 1)),
    plain(`AFSR0_EL${el}`, `${code} 5 1 0`, at(field.afsr0), WORD),
    plain(`AFSR1_EL${el}`, `${code} 5 1 1`, at(field.afsr1), WORD),
    plain(`ESR_EL${el}`, `${code} 5 2 0`, at(field.esr), WORD),
    plain(`FAR_EL${el}`, `${code} 6 0 0`, at(field.far)),
    plain(`MAIR_EL${el}`, `${code} 10 2 0`, at(field.mair)),
    plain(`AMAIR_EL${el}`, `${code} 10 3 0`, at(field.amair)),
    plain(`VBAR_EL${el}`, `${code} 12 0 0`, at(field.vbar), ALL & ~0x7ffn),
    constant(`RVBAR_EL${el}`, `${code} 12 0 1`, 0n),
    plain(`TPIDR_EL${el}`, `${code} 13 0 2`, at(field.tpidr1)),
  ].map((row) => ({ ...row, feature: `el${el}` as const }));
}

const levels = (core: Core): void => core.updateLevels();
const stage2 = (name: string, code: string, home: number): SystemRegister =>
  watched(
    name,
    code,
    home,
    () => ALL,
    (core, old, value) => {
      if (old !== value) core.forgetLower();
    },
  );

const el2: SystemRegister[] = [
  plain('VPIDR_EL2', '3 4 0 0 0', field.vpidr, WORD),
  plain('VMPIDR_EL2', '3 4 0 0 5', field.vmpidr),
  watched('HCR_EL2', '3 4 1 1 0', field.hcr, hcrWritable, levels),
  watched('MDCR_EL2', '3 4 1 1 1', field.mdcr2, () => WORD, updateDebug),
  plain('HSTR_EL2', '3 4 1 1 3', field.hstr, WORD),
  active(
    'HACR_EL2',
    '3 4 1 1 7',
    () => 0n,
    () => {},
  ),
  stage2('VTTBR_EL2', '3 4 2 1 0', field.vttbr),
  stage2('VTCR_EL2', '3 4 2 1 2', field.vtcr),
  plain('HPFAR_EL2', '3 4 6 0 4', field.hpfar, 0x00000ffffffffff0n),
  active(
    'CNTVOFF_EL2',
    '3 4 14 0 3',
    (core) => core.get64(field.cntvoff),
    (core, value) => core.setVirtualOffset(value),
  ),
  plain('CNTHCTL_EL2', '3 4 14 1 0', field.cnthctl, 0xfffn),
  ...timerRegisters('CNTHP', 'EL2', '3 4 14 2', () => 2),
];
/** What an SError's syndrome may say, and DISR: A, IDS, ISS. */
const ERROR_SYNDROME = 0x01ffffffn;
const DEFERRED = (1n << 31n) | ERROR_SYNDROME;
const ras: SystemRegister[] = [
  plain('VSESR_EL2', '3 4 5 2 3', field.vsesr, ERROR_SYNDROME),
  plain('VDISR_EL2', '3 4 12 1 1', field.vdisr, DEFERRED),
];
const deferredOf = (core: Core): number => (core.el === 1 && core.hcr(hcr.AMO) ? field.vdisr : field.disr);
/** FEAT_RAS of EL1: there are no error records, so their registers are undefined. A virtual machine has its DISR where it has its SErrors. */
export const errorRegisters: readonly SystemRegister[] = [
  constant('ERRIDR_EL1', '3 0 5 3 0', 0n),
  active(
    'DISR_EL1',
    '3 0 12 1 1',
    (core) => core.get64(deferredOf(core)),
    (core, value) => core.set64(deferredOf(core), value & DEFERRED),
  ),
].map((row) => ({ ...row, feature: 'ras' }));
const vhe: SystemRegister[] = [
  translationBase('TTBR1_EL2', '3 4 2 0 1', field.ttbr1, 2),
  plain('CONTEXTIDR_EL2', '3 4 13 0 1', ofLevel(field.contextidr, 2), WORD),
  ...timerRegisters('CNTHV', 'EL2', '3 4 14 3', () => 3),
];
const el3: SystemRegister[] = [
  watched('SCR_EL3', '3 6 1 1 0', field.scr, scrWritable, levels),
  watched('MDCR_EL3', '3 6 1 3 1', field.mdcr3, () => WORD, updateDebug),
  // EL3 has it, and secure EL1 where EL3 lets it.
  ...timerRegisters('CNTPS', 'EL1', '3 7 14 2', () => 4).map((row) => ({
    ...row,
    present: (core: Core) => core.el === 3 || (core.el === 1 && !core.scr(scr.NS) && core.scr(scr.ST)),
  })),
];

export const upperRegisters: readonly SystemRegister[] = [
  ...bank(2, '3 4'),
  ...bank(3, '3 6'),
  ...el2.map((row) => ({ ...row, feature: 'el2' as const })),
  ...ras.map((row) => ({ ...row, feature: 'el2' as const, alsoNeeds: 'ras' as const })),
  ...vhe.map((row) => ({ ...row, feature: 'el2' as const, alsoNeeds: 'vhe' as const })),
  ...el3.map((row) => ({ ...row, feature: 'el3' as const })),
];
