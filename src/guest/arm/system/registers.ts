/**
 * System registers (D19, C5.2): one row each. A register with a home is that place in the state, of which a mask can be written:
 * translated code reads and writes it itself; a constant needs no home. The others are JavaScript.
 *
 * What is not in the table is undefined, as a register of an absent extension is. The registers of breakpoints and watchpoints hold
 * what is written to them, and nothing compares it: self-hosted debugging by hardware is not there.
 */

import type { I64 } from '../../../ir/index.js';
import type { Feature } from '../features.js';
import type { ArmModel } from '../models.js';
import type { Translator } from '../row.js';
import { DEBUG_PAIRS, field, fpcr, pstate, sctlr } from '../state.js';
import type { Core } from './core.js';
import { acknowledging, gicRegisters } from './gic-registers.js';
import { identification } from './identification.js';
import { tcr } from './page-walk.js';
import { updateMode } from './state-change.js';

export interface SystemRegister {
  readonly name: string;
  /** op0, op1, CRn, CRm, op2 in the order that an instruction has them (16 bits). */
  readonly code: number;
  /** In the state; the bits that can be written; the bits that are always one. */
  readonly home?: number;
  readonly writable?: bigint;
  /** The home has 32 bits. */
  readonly narrow?: true;
  readonly constant?: bigint;
  /** A constant of the CPU's model. */
  readonly identify?: (model: ArmModel) => bigint;
  /** The extension that it is part of. */
  readonly feature?: Feature;
  /** What translated code does itself, at EL1 (at EL0 too where there is no `read` and `write`). */
  readonly load?: (t: Translator) => I64;
  readonly store?: (t: Translator, value: I64) => void;
  readonly read?: (core: Core) => bigint;
  readonly write?: (core: Core, value: bigint) => void;
  /** EL0 may use it but for this. */
  readonly trapped?: (core: Core) => boolean;
  /** EL0 may read what only EL1 writes. */
  readonly userReadOnly?: true;
  /** Trapped as floating point is. */
  readonly float?: true;
  /** Whether the board has it; undefined: it does. */
  readonly present?: (core: Core) => boolean;
  /** Reading it does something: it is not shown. */
  readonly consuming?: true;
  /** Interrupts, the mode key or what the clock shows may have changed by a write: the block ends. */
  readonly ends?: true;
}

export const codeOf = (op0: number, op1: number, crn: number, crm: number, op2: number): number =>
  (op0 << 14) | (op1 << 11) | (crn << 7) | (crm << 3) | op2;
const parse = (code: string): number => {
  const [op0, op1, crn, crm, op2] = code.split(' ').map(Number);
  return codeOf(op0, op1, crn, crm, op2);
};
/** The lowest exception level that has the register. */
export const levelOf = (code: number): number => {
  const op1 = (code >> 11) & 7;
  return op1 === 3 ? 0 : op1 === 4 || op1 === 5 ? 2 : op1 === 6 ? 3 : 1;
};

const ALL = (1n << 64n) - 1n;
const WORD = 0xffffffffn;

const plain = (name: string, code: string, home: number, writable = ALL): SystemRegister => ({
  name,
  code: parse(code),
  home,
  writable,
});
const constant = (name: string, code: string, value: bigint): SystemRegister => ({
  name,
  code: parse(code),
  constant: value,
});
const active = (
  name: string,
  code: string,
  read: ((core: Core) => bigint) | undefined,
  write?: (core: Core, value: bigint) => void,
  more: Partial<SystemRegister> = {},
): SystemRegister => ({ name, code: parse(code), ...(read && { read }), ...(write && { write }), ends: true, ...more });

const loadHome =
  (home: number) =>
  ({ b }: Translator): I64 =>
    b.i64_load(b.state(), home);

/** A field of the state that something else must learn of when it is written. */
const watched = (
  name: string,
  code: string,
  home: number,
  writableOf: (model: ArmModel) => bigint,
  changed: (core: Core, old: bigint, value: bigint) => void,
): SystemRegister =>
  active(
    name,
    code,
    (core) => core.get64(home),
    (core, value) => {
      const old = core.get64(home);
      const writable = writableOf(core.model);
      const next = (old & ~writable) | (value & writable);
      core.set64(home, next);
      changed(core, old, next);
    },
    { load: loadHome(home) },
  );

/** Bits that are one: EOS, TSCXT, EIS, LSMAOE, nTLSMD; and what an OS finds at reset. */
const SCTLR_ONES = (1n << 11n) | (1n << 22n) | (1n << 28n) | (1n << 29n);
export const RESET_SCTLR = Number(SCTLR_ONES);
const SCTLR_WRITABLE =
  BigInt(sctlr.M | sctlr.UMA | sctlr.DZE | sctlr.UCT | sctlr.nTWI | sctlr.WXN | sctlr.SPAN | sctlr.UCI) |
  // A, C, SA, SA0, I, nTWE: kept, and without effect: caches are coherent, and neither alignment is checked.
  (1n << 1n) |
  (1n << 2n) |
  (1n << 3n) |
  (1n << 4n) |
  (1n << 12n) |
  (1n << 18n);
const sctlrWritable = ({ features }: ArmModel): bigint => {
  const absent = features.has('pan') ? 0n : BigInt(sctlr.SPAN);
  const keys = features.has('pauth') ? (1n << 13n) | (1n << 27n) | (1n << 30n) | (1n << 31n) : 0n;
  return (SCTLR_WRITABLE & ~absent) | keys | (features.has('ssbs') ? 1n << 44n : 0n);
};
/** Bits of extensions that a model lacks are zero. */
const tcrWritable = ({ features }: ArmModel): bigint => {
  let bits = ALL;
  if (!features.has('hafdbs')) bits &= ~(tcr.HA | tcr.HD);
  if (!features.has('hpds')) bits &= ~(3n << BigInt(tcr.HPD));
  if (!features.has('e0pd')) bits &= ~(3n << BigInt(tcr.E0PD));
  if (!features.has('pauth')) bits &= ~(3n << BigInt(tcr.TBID));
  return bits;
};
const ASID = 0xffffn << 48n;

/** The ASID by which the translation goes now. */
const asidOf = (core: Core): bigint => {
  const control = core.get64(field.tcr);
  const asid = core.get64(control & tcr.A1 ? field.ttbr1 : field.ttbr0) >> 48n;
  return control & tcr.AS ? asid : asid & 0xffn;
};
const translationBase = (name: string, code: string, home: number): SystemRegister =>
  active(
    name,
    code,
    (core) => core.get64(home),
    (core, value) => {
      const old = core.get64(home);
      if (old === value) return;
      const before = asidOf(core);
      core.set64(home, value);
      // Nothing of an address space outlives its ASID here. Without one, software invalidates what it must.
      if (asidOf(core) !== before || ((old ^ value) & ~ASID) !== 0n) core.flushTlb(true);
    },
    { load: loadHome(home) },
  );

const timerAccess =
  (bit: bigint) =>
  (core: Core): boolean =>
    (core.get64(field.cntkctl) & (1n << bit)) === 0n;
const counter = (name: string, code: string, bit: bigint): SystemRegister =>
  active(name, code, (core) => BigInt.asUintN(64, core.board.time()), undefined, { trapped: timerAccess(bit) });
function timerRows(letter: 'P' | 'V', n: number, crm: number, bit: bigint): SystemRegister[] {
  const trapped = timerAccess(bit);
  const compare = (core: Core) => core.timerCompare(n);
  const control = (core: Core) => core.timerControl(n);
  return [
    active(
      `CNT${letter}_TVAL_EL0`,
      `3 3 14 ${crm} 0`,
      (core) => BigInt.asUintN(32, compare(core) - core.board.time()),
      (core, value) => core.setTimer(n, control(core), core.board.time() + BigInt.asIntN(32, value)),
      { trapped },
    ),
    active(
      `CNT${letter}_CTL_EL0`,
      `3 3 14 ${crm} 1`,
      control,
      (core, value) => core.setTimer(n, value, compare(core)),
      { trapped },
    ),
    active(
      `CNT${letter}_CVAL_EL0`,
      `3 3 14 ${crm} 2`,
      compare,
      (core, value) => core.setTimer(n, control(core), value),
      { trapped },
    ),
  ];
}

/** Lines of 64 bytes. Code needs no maintenance to be seen after it is written: `max` says so (DIC, IDC), as no model before it did. */
const cacheType = ({ name }: ArmModel): bigint => 0x8444c004n | (name === 'max' ? 3n << 28n : 0n);
const userCache = (core: Core): boolean => (core.get32(field.sctlr) & sctlr.UCT) === 0;
const userMasks = (core: Core): boolean => (core.get32(field.sctlr) & sctlr.UMA) === 0;

const loadMasks = ({ b }: Translator): I64 =>
  b.i64_extend_i32_u(b.i32_and(b.i32_load(b.state(), field.pstate), b.i32(pstate.DAIF)));
function storeMasks(t: Translator, value: I64): void {
  const { b } = t;
  const kept = b.i32_and(b.i32_load(b.state(), field.pstate), b.i32(~pstate.DAIF));
  t.setMasks(b.i32_or(kept, b.i32_and(b.i32_wrap_i64(value), b.i32(pstate.DAIF))));
}

/** FPCR's bits that are there. */
const FPCR = BigInt(fpcr.FZ16 | (3 << fpcr.RMODE_SHIFT) | fpcr.FZ | fpcr.DN | fpcr.AHP);

const debugRows: SystemRegister[] = Array.from({ length: DEBUG_PAIRS }, (_, n) =>
  ['DBGBVR', 'DBGBCR', 'DBGWVR', 'DBGWCR'].map((name, kind) =>
    plain(`${name}${n}_EL1`, `2 0 0 ${n} ${4 + kind}`, field.debug + 8 * (4 * n + kind)),
  ),
).flat();

const gicRows: SystemRegister[] = gicRegisters.map(([name, code, access]) =>
  active(
    `ICC_${name}_EL1`,
    code,
    access === 'w' ? undefined : (core) => BigInt(core.board.gic?.read(name) ?? 0),
    access === 'r' ? undefined : (core, value) => core.board.gic?.write(name, value),
    {
      present: ({ board }) => board.gic !== undefined,
      ...(acknowledging.includes(name) && { consuming: true }),
    },
  ),
);

/** ID_AA64PFR0_EL1 says whether there are a GICv3's registers, which is the board's to know. */
const GIC_FIELD = 24n;
const identificationRow = (name: string, code: string, identify: (model: ArmModel) => bigint): SystemRegister =>
  name === 'ID_AA64PFR0_EL1'
    ? active(name, code, ({ model, board }) => identify(model) | (board.gic ? 1n << GIC_FIELD : 0n))
    : { name, code: parse(code), identify };

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

export const registers: readonly SystemRegister[] = [
  ...identification.map((row) => identificationRow(...row)),
  plain('MPIDR_EL1', '3 0 0 0 5', field.mpidr, 0n),
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
  translationBase('TTBR0_EL1', '3 0 2 0 0', field.ttbr0),
  translationBase('TTBR1_EL1', '3 0 2 0 1', field.ttbr1),
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
  active('ISR_EL1', '3 0 12 1 0', (core) => {
    const lines = core.get32(field.lines);
    return BigInt(((lines & 1) << 7) | ((lines & 2) << 5));
  }),
  plain('CONTEXTIDR_EL1', '3 0 13 0 1', field.contextidr, WORD),
  plain('TPIDR_EL1', '3 0 13 0 4', field.tpidr1),
  plain('TPIDR_EL0', '3 3 13 0 2', field.tpidr0),
  { ...plain('TPIDRRO_EL0', '3 3 13 0 3', field.tpidrro0), userReadOnly: true },

  plain('CNTKCTL_EL1', '3 0 14 1 0', field.cntkctl, 0x3ffn),
  active('CNTFRQ_EL0', '3 3 14 0 0', (core) => BigInt(core.board.counterFrequency), undefined, {
    trapped: (core) => (core.get64(field.cntkctl) & 3n) === 0n,
  }),
  counter('CNTPCT_EL0', '3 3 14 0 1', 0n),
  counter('CNTVCT_EL0', '3 3 14 0 2', 1n),
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
    (core, value) => core.set32(field.pstate, (core.pstate & ~pstate.DAIF) | Number(value & BigInt(pstate.DAIF))),
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
  plain('MDSCR_EL1', '2 0 0 2 2', field.mdscr, 0xf000n),
  active('OSLAR_EL1', '2 0 1 0 4', undefined, () => {}),
  // The OS lock is there, and open.
  constant('OSLSR_EL1', '2 0 1 1 4', 8n),
  active(
    'OSDLR_EL1',
    '2 0 1 3 4',
    () => 0n,
    () => {},
  ),
  constant('MDCCSR_EL0', '2 3 0 1 0', 0n),
  ...debugRows,
  ...gicRows,
  ...keyRows,
];

export const hasRegister = (model: ArmModel, { feature }: SystemRegister): boolean =>
  feature === undefined || model.features.has(feature);
export const registerByCode: ReadonlyMap<number, SystemRegister> = new Map(registers.map((row) => [row.code, row]));
