/**
 * System registers (D19, C5.2): one row each. A register with a home is that place in the state, of which a mask can be written:
 * translated code reads and writes it itself; a constant needs no home. The others are JavaScript.
 *
 * What is not in the table is undefined, as a register of an absent extension is.
 */

import type { I64 } from '../../../ir/index.js';
import type { ArmModel } from '../models.js';
import { engine } from '../routines/set.js';
import type { Translator } from '../row.js';
import { BREAKPOINTS, field, fpcr, hcr, line, pstate, sctlr, VIRTUAL_ERROR, WATCHPOINTS } from '../state.js';
import { sctlrWritable, tcrWritable } from './control-bits.js';
import type { Core } from './core.js';
import { updateDebug } from './debug-exceptions.js';
import { acknowledging, type GicRegister, gicRegisters, groupsOf, hypervisorRegisters } from './gic-registers.js';
import { identification } from './identification.js';
import { performanceRows } from './performance.js';
import {
  ALL,
  active,
  codeOf,
  constant,
  levelOf,
  parse,
  plain,
  type SystemRegister,
  WORD,
  watched,
} from './register-row.js';
import { setDebugMask, updateMode } from './state-change.js';
import { errorRegisters, timerRegisters, translationBase, upperRegisters } from './upper-registers.js';

/** The register that EL0's rights to counters and timers are in. */
const userCounters = (core: Core): bigint => core.get64(core.inHost ? field.cnthctl : field.cntkctl);
const timerAccess =
  (bit: bigint) =>
  (core: Core): boolean =>
    (userCounters(core) & (1n << bit)) === 0n;
/** A host at EL2, and EL0 of it, have no virtual offset; its EL0 has EL2's timers. */
const isHost = (core: Core): boolean =>
  (core.el === 0 && core.inHost) || (core.el === 2 && (core.get64(field.hcr) & hcr.E2H) !== 0n);
const VIRTUAL = 1;
const OF_EL2 = 2;
const counter = (name: string, code: string, n: 0 | 1): SystemRegister =>
  active(name, code, (core) => core.countOf(n === VIRTUAL && isHost(core) ? 0 : n), undefined, {
    trapped: timerAccess(BigInt(n)),
  });
function timerRows(letter: 'P' | 'V', n: number, crm: number, bit: bigint): SystemRegister[] {
  const rows = timerRegisters(`CNT${letter}`, 'EL0', `3 3 14 ${crm}`, (core) =>
    core.el === 0 && core.inHost ? n + OF_EL2 : n,
  );
  return rows.map((row) => ({ ...row, trapped: timerAccess(bit) }));
}

/** Lines of 64 bytes. Code needs no maintenance to be seen after it is written: `max` says so (DIC, IDC), as no model before it did. */
const cacheType = ({ name }: ArmModel): bigint => 0x8444c004n | (name === 'max' ? 3n << 28n : 0n);
const userCache = (core: Core): boolean => (core.userControl & sctlr.UCT) === 0;
const userMasks = (core: Core): boolean => (core.userControl & sctlr.UMA) === 0;

const loadMasks = ({ b }: Translator): I64 =>
  b.i64_extend_i32_u(b.i32_and(b.i32_load(b.state(), field.pstate), b.i32(pstate.DAIF)));
function storeMasks(t: Translator, value: I64): void {
  const { b } = t;
  const kept = b.i32_and(b.i32_load(b.state(), field.pstate), b.i32(~pstate.DAIF));
  const next = b.i32_or(kept, b.i32_and(b.i32_wrap_i64(value), b.i32(pstate.DAIF)));
  if (t.mode.ownDebug) setDebugMask(t, next);
  else t.setMasks(next);
}

/** FPCR's bits that are there. */
const FPCR = BigInt(fpcr.FZ16 | (3 << fpcr.RMODE_SHIFT) | fpcr.FZ | fpcr.DN | fpcr.AHP);

/** What debug exceptions depend on. */
const debugging = (name: string, code: string, home: number, writable: bigint): SystemRegister =>
  watched(name, code, home, () => writable, updateDebug);
/** Breakpoints: type, linked one, SSC, HMC, BAS, PMC, E; watchpoints: mask, WT, linked one, SSC, HMC, BAS, LSC, PAC, E. */
const debugRows: SystemRegister[] = [
  ['DBGBVR', BREAKPOINTS, ALL],
  ['DBGBCR', BREAKPOINTS, 0xffe1e7n],
  ['DBGWVR', WATCHPOINTS, ALL & ~3n],
  ['DBGWCR', WATCHPOINTS, 0x1f1fffffn],
].flatMap(([name, count, writable], kind) =>
  Array.from({ length: Number(count) }, (_, n) =>
    debugging(`${name}${n}_EL1`, `2 0 0 ${n} ${4 + kind}`, field.debug + 8 * (4 * n + kind), BigInt(writable)),
  ),
);
const osLock = (bit: number) => (core: Core, value: bigint) => {
  core.set32(field.osLock, (core.get32(field.osLock) & ~bit) | (value & 1n ? bit : 0));
  updateDebug(core);
};

/** What answers for a register of the interrupt controller: at EL1 of a virtual machine its own. */
function gicOf(core: Core, name: GicRegister) {
  const { gic } = core.board;
  const groups = groupsOf(name);
  if (core.el !== 1 || groups === undefined || !gic?.virtual) return gic;
  const isVirtual = (groups !== 0 && core.hcr(hcr.IMO)) || (groups !== 1 && core.hcr(hcr.FMO));
  return isVirtual ? gic.virtual : gic;
}
const gicRows: SystemRegister[] = gicRegisters.map(([name, code, access]) =>
  active(
    `ICC_${name}_EL1`,
    code,
    access === 'w' ? undefined : (core) => BigInt(gicOf(core, name)?.read(name) ?? 0),
    access === 'r' ? undefined : (core, value) => gicOf(core, name)?.write(name, value),
    {
      present: ({ board }) => board.gic !== undefined,
      ...(acknowledging.includes(name) && { consuming: true }),
    },
  ),
);

const isVirtualGic = ({ board }: Core): boolean => board.gic?.virtual !== undefined;
const hypervisorGicRows: SystemRegister[] = [
  ...hypervisorRegisters.map(([name, code, access]) =>
    active(
      `ICH_${name}_EL2`,
      code,
      (core) => core.board.gic?.virtual?.readControl(name) ?? 0n,
      access === 'r' ? undefined : (core, value) => core.board.gic?.virtual?.writeControl(name, value),
      { present: isVirtualGic, feature: 'el2' },
    ),
  ),
  // System registers alone, and EL1 may say so.
  active(
    'ICC_SRE_EL2',
    '3 4 12 9 5',
    () => 15n,
    () => {},
    { present: isVirtualGic, feature: 'el2' },
  ),
];

/** ID_AA64PFR0_EL1 says whether there are a GICv3's registers, which is the board's to know. */
const GIC_FIELD = 24n;
const identificationRow = (name: string, code: string, identify: (model: ArmModel) => bigint): SystemRegister =>
  name === 'ID_AA64PFR0_EL1'
    ? active(name, code, ({ model, board }) => identify(model) | (board.gic ? 1n << GIC_FIELD : 0n))
    : { name, code: parse(code), identify, ...(name === 'MIDR_EL1' && { virtual: field.vpidr }) };

/** Keys of pointer authentication, in the order that the state has them. */
const keyRows: SystemRegister[] = [
  ['APIA', '3 0 2 1', 0],
  ['APIB', '3 0 2 1', 2],
  ['APDA', '3 0 2 2', 0],
  ['APDB', '3 0 2 2', 2],
  ['APGA', '3 0 2 3', 0],
].flatMap(([name, code, op2], n) =>
  ['Lo', 'Hi'].map((half, k) => ({
    ...plain(`${name}Key${half}_EL1`, `${code} ${Number(op2) + k}`, field.keys + 16 * n + 8 * k),
    feature: 'pauth' as const,
  })),
);

export { codeOf, levelOf, type SystemRegister };

export const registers: readonly SystemRegister[] = [
  ...identification.map((row) => identificationRow(...row)),
  { ...plain('MPIDR_EL1', '3 0 0 0 5', field.mpidr, 0n), virtual: field.vmpidr },
  // One level of each cache, 64 bytes a line: what a size is does not matter to anyone.
  constant('CLIDR_EL1', '3 1 0 0 1', 0x09000003n),
  constant('CCSIDR_EL1', '3 1 0 0 0', 0x700fe01an),
  plain('CSSELR_EL1', '3 2 0 0 0', field.csselr, 0xfn),
  active('CTR_EL0', '3 3 0 0 1', ({ model }) => cacheType(model), undefined, {
    trapped: userCache,
    load: ({ b, model }) => b.i64(cacheType(model)),
  }),
  // Blocks of 64 bytes; bit 4: DC ZVA is not for this level.
  active('DCZID_EL0', '3 3 0 0 7', undefined, undefined, { load: ({ b, mode }) => b.i64(mode.zeroTrapped ? 20 : 4) }),

  watched('SCTLR_EL1', '3 0 1 0 0', field.sctlr, sctlrWritable, (core, old, value) => {
    if ((old ^ value) & BigInt(sctlr.M | sctlr.WXN)) core.flushTlb();
    core.updateMode();
  }),
  constant('ACTLR_EL1', '3 0 1 0 1', 0n),
  watched(
    'CPACR_EL1',
    '3 0 1 0 2',
    field.cpacr,
    () => 3n << 20n,
    (core) => core.updateMode(),
  ),
  translationBase('TTBR0_EL1', '3 0 2 0 0', field.ttbr0, 1),
  translationBase('TTBR1_EL1', '3 0 2 0 1', field.ttbr1, 1),
  watched('TCR_EL1', '3 0 2 0 2', field.tcr, tcrWritable, (core, old, value) => {
    if (old !== value) core.flushTlb();
  }),
  plain('SPSR_EL1', '3 0 4 0 0', field.spsr, WORD),
  plain('ELR_EL1', '3 0 4 0 1', field.elr),
  active(
    'SP_EL0',
    '3 0 4 1 0',
    (core) => core.getStack(0),
    (core, value) => core.setStack(0, value),
    {
      load: (t) => (t.mode.ownStack ? t.b.i64_load(t.b.state(), field.sp) : t.xsp(31)),
      store: (t, value) => {
        if (t.mode.ownStack) t.b.i64_store(t.b.state(), value, field.sp);
        else t.setXsp(31, value);
      },
    },
  ),
  plain('AFSR0_EL1', '3 0 5 1 0', field.afsr0, WORD),
  plain('AFSR1_EL1', '3 0 5 1 1', field.afsr1, WORD),
  plain('ESR_EL1', '3 0 5 2 0', field.esr, WORD),
  plain('FAR_EL1', '3 0 6 0 0', field.far),
  plain('PAR_EL1', '3 0 7 4 0', field.par),
  plain('MAIR_EL1', '3 0 10 2 0', field.mair),
  plain('AMAIR_EL1', '3 0 10 3 0', field.amair),
  plain('VBAR_EL1', '3 0 12 0 0', field.vbar, ALL & ~0x7ffn),
  constant('RVBAR_EL1', '3 0 12 0 1', 0n),
  // At EL1 of a virtual machine, those of its own.
  active('ISR_EL1', '3 0 12 1 0', (core) => {
    const lines = core.pendingLines;
    const seen = (physical: number, virtual: number, toEl2: bigint) =>
      (lines & (core.el === 1 && core.hcr(toEl2) ? virtual : physical)) !== 0;
    const irq = seen(line.irq, line.virtualIrq, hcr.IMO) ? pstate.I : 0;
    const error = seen(0, VIRTUAL_ERROR, hcr.AMO) ? pstate.A : 0;
    return BigInt(irq | error | (seen(line.fiq, line.virtualFiq, hcr.FMO) ? pstate.F : 0));
  }),
  plain('CONTEXTIDR_EL1', '3 0 13 0 1', field.contextidr, WORD),
  plain('TPIDR_EL1', '3 0 13 0 4', field.tpidr1),
  plain('TPIDR_EL0', '3 3 13 0 2', field.tpidr0),
  { ...plain('TPIDRRO_EL0', '3 3 13 0 3', field.tpidrro0), userReadOnly: true },

  plain('CNTKCTL_EL1', '3 0 14 1 0', field.cntkctl, 0x3ffn),
  active('CNTFRQ_EL0', '3 3 14 0 0', (core) => BigInt(core.board.counterFrequency), undefined, {
    trapped: (core) => (userCounters(core) & 3n) === 0n,
  }),
  counter('CNTPCT_EL0', '3 3 14 0 1', 0),
  counter('CNTVCT_EL0', '3 3 14 0 2', 1),
  ...timerRows('P', 0, 2, 9n),
  ...timerRows('V', 1, 3, 8n),

  // --- process state
  active('CurrentEL', '3 0 4 2 2', (core) => BigInt(core.el << 2), undefined, {
    load: (t) => t.b.i64(t.mode.el << 2),
  }),
  active(
    'SPSel',
    '3 0 4 2 0',
    (core) => BigInt(core.pstate & pstate.SPSEL),
    (core, value) => core.setPstate((core.pstate & ~pstate.SPSEL) | Number(value & 1n)),
  ),
  active(
    'PAN',
    '3 0 4 2 3',
    (core) => BigInt(core.pstate & pstate.PAN),
    (core, value) => core.setPstate((core.pstate & ~pstate.PAN) | Number(value & BigInt(pstate.PAN))),
    { feature: 'pan' },
  ),
  active(
    'UAO',
    '3 0 4 2 4',
    (core) => BigInt(core.pstate & pstate.UAO),
    (core, value) => core.setPstate((core.pstate & ~pstate.UAO) | Number(value & BigInt(pstate.UAO))),
    { feature: 'uao' },
  ),
  active(
    'SSBS',
    '3 3 4 2 6',
    (core) => BigInt(core.pstate & pstate.SSBS),
    (core, value) => core.set32(field.pstate, (core.pstate & ~pstate.SSBS) | Number(value & BigInt(pstate.SSBS))),
    { feature: 'ssbs' },
  ),
  active(
    'DIT',
    '3 3 4 2 5',
    (core) => BigInt(core.pstate & pstate.DIT),
    (core, value) => core.set32(field.pstate, (core.pstate & ~pstate.DIT) | Number(value & BigInt(pstate.DIT))),
    { feature: 'dit' },
  ),
  // Random numbers, which there always are: the flags say so.
  ...['RNDR', 'RNDRRS'].map((name, n) =>
    active(name, `3 3 2 4 ${n}`, undefined, undefined, {
      feature: 'rng',
      load: (t) => {
        t.flags.setBits(t.b.i32(0));
        return t.b.call(engine.randomBits)[0];
      },
    }),
  ),
  // No limited ordering regions: every access is ordered as much as that asks.
  ...['LORSA', 'LOREA', 'LORN', 'LORC'].map((name, n) =>
    active(
      `${name}_EL1`,
      `3 0 10 4 ${n}`,
      () => 0n,
      () => {},
      { feature: 'lor' },
    ),
  ),
  { ...constant('LORID_EL1', '3 0 10 4 7', 0n), feature: 'lor' },
  active(
    'NZCV',
    '3 3 4 2 0',
    (core) => BigInt(core.nzcv >>> 0),
    (core, value) => {
      core.nzcv = Number(value & 0xf0000000n);
    },
  ),
  active(
    'DAIF',
    '3 3 4 2 1',
    (core) => BigInt(core.pstate & pstate.DAIF),
    (core, value) => core.setPstate((core.pstate & ~pstate.DAIF) | Number(value & BigInt(pstate.DAIF))),
    { trapped: userMasks, load: loadMasks, store: storeMasks },
  ),
  {
    ...plain('FPCR', '3 3 4 4 0', field.fpcr, FPCR),
    narrow: true,
    float: true,
    store: (t, value) => {
      const { b } = t;
      b.i32_store(b.state(), b.i32_and(b.i32_wrap_i64(value), b.i32(Number(FPCR))), field.fpcr);
      b.call(updateMode);
      t.endBlock();
    },
  },
  { ...plain('FPSR', '3 3 4 4 1', field.fpsr, 0x0800009fn), narrow: true, float: true },

  // --- debug
  // SS, TDCC, KDE, HDE, MDE.
  debugging('MDSCR_EL1', '2 0 0 2 2', field.mdscr, 0xf001n),
  active('OSLAR_EL1', '2 0 1 0 4', undefined, osLock(1)),
  active('OSLSR_EL1', '2 0 1 1 4', (core) => 8n | (core.get32(field.osLock) & 1 ? 2n : 0n)),
  active('OSDLR_EL1', '2 0 1 3 4', (core) => BigInt((core.get32(field.osLock) >> 1) & 1), osLock(2)),
  // No external debugger: the communication channel is empty.
  plain('MDCCINT_EL1', '2 0 0 2 0', field.mdccint, 0x60000000n),
  constant('MDRAR_EL1', '2 0 1 0 0', 0n),
  constant('MDCCSR_EL0', '2 3 0 1 0', 0n),
  ...debugRows,
  ...performanceRows,
  ...keyRows,
  ...gicRows,
  ...hypervisorGicRows,
  ...errorRegisters,
  ...upperRegisters,
];

export const hasRegister = ({ features }: ArmModel, { feature, alsoNeeds }: SystemRegister): boolean =>
  (feature === undefined || features.has(feature)) && (alsoNeeds === undefined || features.has(alsoNeeds));
export const registerByCode: ReadonlyMap<number, SystemRegister> = new Map(registers.map((row) => [row.code, row]));

/** The register's value, whatever the row has for it. */
export function currentValue(core: Core, row: SystemRegister): bigint | undefined {
  if (row.constant !== undefined) return row.constant;
  if (row.identify) return row.identify(core.model);
  if (row.home === undefined) return row.read?.(core);
  return row.narrow ? BigInt(core.get32(row.home) >>> 0) : core.get64(row.home);
}
/** False: it cannot be written. */
export function setValue(core: Core, row: SystemRegister, value: bigint): boolean {
  if (row.write) row.write(core, value);
  else if (row.home !== undefined && row.writable !== 0n && !row.narrow)
    core.set64(row.home, value & (row.writable ?? 0n));
  else return false;
  return true;
}
