/**
 * System registers of coprocessors 14 and 15 as one table (B3.17, B4): Cortex-A15's, but for what it has of debugging,
 * the security extensions and virtualization, which are absent and named by no identification register.
 */

import type { Routine } from '../../../ir/index.js';
import { performanceRows } from '../../arm/system/performance.js';
import type { Arm32Model } from '../models.js';
import { codeOf, field, sctlr, wideCode } from '../state.js';
import type { Core32 } from './core.js';
import { identification } from './identification.js';
import { flushAddress, flushAll, flushAsid, setContext, setDacr, setTtbr } from './state-change.js';

export interface RegisterRow {
  readonly name: string;
  readonly code: number;
  /** What User mode may do; `userAllowed`: the same where another register allows it. */
  readonly user?: 'read' | 'write';
  readonly userAllowed?: (core: Core32) => boolean;
  /** A field of the state (i32; i64 where `wide`) that is read, and written if there is no `write`. */
  readonly home?: number;
  readonly wide?: true;
  /** By the CPU's model. */
  readonly constant?: (model: Arm32Model) => number;
  readonly read?: (core: Core32) => bigint;
  readonly write?: (core: Core32, value: bigint) => void;
  /** What a write does where no JavaScript is needed: it takes the value. `everywhere`: for all CPUs. */
  readonly routine?: Routine<readonly ['i64'], readonly []>;
  readonly everywhere?: true;
  /** Writes do nothing. */
  readonly nothing?: true;
}

type Rest = Omit<RegisterRow, 'name' | 'code'>;
/** Named as in assembly: `CRn op1 CRm op2`. */
function row(name: string, place: string, rest: Rest): RegisterRow {
  const [crn, op1, crm, op2] = place.split(' ').map(Number);
  return { name, code: codeOf(15, crn, op1, crm, op2), ...rest };
}
const wide = (name: string, op1: number, crm: number, rest: Rest): RegisterRow => ({
  name,
  code: wideCode(15, op1, crm),
  wide: true,
  ...rest,
});
const home = (name: string, place: string, at: number, rest: Rest = {}): RegisterRow =>
  row(name, place, { home: at, ...rest });

/** SCTLR's bits that may be written; the others read as Cortex-A15's. */
const SCTLR_WRITABLE =
  sctlr.M |
  sctlr.A |
  (1 << 2) |
  sctlr.SW |
  (1 << 11) |
  (1 << 12) |
  sctlr.V |
  sctlr.WXN |
  sctlr.UWXN |
  sctlr.EE |
  sctlr.TRE |
  sctlr.AFE |
  sctlr.TE;
export const RESET_SCTLR = 0x00c50078;

const control: readonly RegisterRow[] = [
  home('sctlr', '1 0 0 0', field.sctlr, {
    write: (core, value) => {
      core.set32(field.sctlr, (Number(value) & SCTLR_WRITABLE) | (RESET_SCTLR & ~SCTLR_WRITABLE));
      core.flushTlb();
      core.updateMode();
    },
  }),
  home('actlr', '1 0 0 1', field.actlr),
  home('cpacr', '1 0 0 2', field.cpacr, {
    // Coprocessors 10 and 11, D32DIS, ASEDIS; D32DIS is not there.
    write: (core, value) => {
      const two = (Number(value) >> 20) & 3;
      core.set32(field.cpacr, (two << 20) | (two << 22) | (Number(value) & 0x80000000));
      core.updateMode();
    },
  }),
  home('ttbcr', '2 0 0 2', field.ttbcr, {
    // What there is depends on EAE.
    write: (core, value) => {
      core.set32(field.ttbcr, Number(value) & (value & (1n << 31n) ? 0xbfc73f87 : 0x37));
      core.flushTlb();
    },
  }),
  ...(['ttbr0', 'ttbr1'] as const).flatMap((name, n) => {
    const routine = setTtbr[name];
    return [
      home(name, `2 0 0 ${n}`, field[name], { routine }),
      wide(`${name}_64`, n, 2, { home: field[name], routine }),
    ];
  }),
  home('dacr', '3 0 0 0', field.dacr, { routine: setDacr }),
  home('dfsr', '5 0 0 0', field.dfsr),
  home('ifsr', '5 0 0 1', field.ifsr),
  home('adfsr', '5 0 1 0', field.adfsr),
  home('aifsr', '5 0 1 1', field.aifsr),
  home('dfar', '6 0 0 0', field.dfar),
  home('ifar', '6 0 0 2', field.ifar),
  home('par', '7 0 4 0', field.par),
  wide('par_64', 0, 7, { home: field.par }),
  home('prrr', '10 0 2 0', field.prrr),
  home('nmrr', '10 0 2 1', field.nmrr),
  home('amair0', '10 0 3 0', field.amair0),
  home('amair1', '10 0 3 1', field.amair1),
  home('vbar', '12 0 0 0', field.vbar, { write: (core, value) => core.set32(field.vbar, Number(value) & ~31) }),
  row('isr', '12 0 1 0', { read: (core) => BigInt(core.pendingBits) }),
  row('fcseidr', '13 0 0 0', { read: () => 0n, write: () => {} }),
  home('contextidr', '13 0 0 1', field.contextidr, { routine: setContext }),
  home('tpidrurw', '13 0 0 2', field.tpidrurw, { user: 'write' }),
  home('tpidruro', '13 0 0 3', field.tpidruro, { user: 'read' }),
  home('tpidrprw', '13 0 0 4', field.tpidrprw),
];

const nothing = (name: string, place: string, rest: Rest = {}): RegisterRow =>
  row(name, place, { nothing: true, write: () => {}, ...rest });
/** Caches hold nothing that memory has not, and translated code follows memory. */
const caches: readonly RegisterRow[] = [
  nothing('icialluis', '7 0 1 0'),
  nothing('bpiallis', '7 0 1 6'),
  nothing('iciallu', '7 0 5 0'),
  nothing('icimvau', '7 0 5 1'),
  nothing('cp15isb', '7 0 5 4', { user: 'write' }),
  nothing('bpiall', '7 0 5 6'),
  nothing('bpimva', '7 0 5 7'),
  nothing('dcimvac', '7 0 6 1'),
  nothing('dcisw', '7 0 6 2'),
  nothing('dccmvac', '7 0 10 1'),
  nothing('dccsw', '7 0 10 2'),
  nothing('cp15dsb', '7 0 10 4', { user: 'write' }),
  nothing('cp15dmb', '7 0 10 5', { user: 'write' }),
  nothing('dccmvau', '7 0 11 1'),
  nothing('pfi', '7 0 13 1'),
  nothing('dccimvac', '7 0 14 1'),
  nothing('dccisw', '7 0 14 2'),
];
const ats = (['ats1cpr', 'ats1cpw', 'ats1cur', 'ats1cuw'] as const).map((name, n) =>
  row(name, `7 0 8 ${n}`, { write: (core, value) => core.translateTo(Number(value), (n & 1) === 1, n < 2) }),
);

/** By CRm: inner shareable, instruction, data, unified TLB; by op2: all, by address, by ASID, by address of any ASID. */
const tlb: readonly RegisterRow[] = [3, 5, 6, 7].flatMap((crm) => {
  const one = (name: string, op2: number, routine: Routine<readonly ['i64'], readonly []>) =>
    row(`${name}${crm}`, `8 0 ${crm} ${op2}`, { routine, ...(crm === 3 ? { everywhere: true } : {}) });
  return [
    one('tlbiall', 0, flushAll),
    one('tlbimva', 1, flushAddress),
    one('tlbiasid', 2, flushAsid),
    one('tlbimvaa', 3, flushAddress),
  ];
});

/** CNTKCTL lets User mode read counters (bits 0 and 1) and use timers (bits 9 and 8). */
const allowedBy =
  (bit: number) =>
  (core: Core32): boolean =>
    (core.get32(field.cntkctl) & (1 << bit)) !== 0;
const timers: readonly RegisterRow[] = [
  row('cntfrq', '14 0 0 0', {
    read: (core) => BigInt(core.board.counterFrequency),
    write: () => {},
    userAllowed: (core) => (core.get32(field.cntkctl) & 3) !== 0,
  }),
  home('cntkctl', '14 0 1 0', field.cntkctl),
  ...(['p', 'v'] as const).flatMap((letter, n): RegisterRow[] => [
    row(`cnt${letter}_tval`, `14 0 ${2 + n} 0`, {
      read: (core) => BigInt.asUintN(32, core.timerCompare(n) - core.board.time()),
      write: (core, value) => core.setTimer(n, core.timerControl(n), core.board.time() + BigInt.asIntN(32, value)),
      userAllowed: allowedBy(n ? 8 : 9),
    }),
    row(`cnt${letter}_ctl`, `14 0 ${2 + n} 1`, {
      read: (core) => core.timerControl(n),
      write: (core, value) => core.setTimer(n, value, core.timerCompare(n)),
      userAllowed: allowedBy(n ? 8 : 9),
    }),
    wide(`cnt${letter}ct`, n, 14, { read: (core) => core.board.time(), userAllowed: allowedBy(n) }),
    wide(`cnt${letter}_cval`, 2 + n, 14, {
      read: (core) => core.timerCompare(n),
      write: (core, value) => core.setTimer(n, core.timerControl(n), value),
      userAllowed: allowedBy(n ? 8 : 9),
    }),
  ]),
];

/** Of the performance monitors version 2 has those in CRn 9; AArch64 calls them the same. */
const performance: readonly RegisterRow[] = performanceRows.flatMap(
  ({ name, code, home: at, read, write, trapped }): RegisterRow[] => {
    const [crn, crm, op2] = [(code >> 7) & 15, (code >> 3) & 15, code & 7];
    if (crn !== 9 || (!read && !write && at === undefined)) return [];
    const short = name.toLowerCase().replace(/_el\d$/, '');
    const place = `9 0 ${crm} ${op2}`;
    if (at !== undefined)
      return [
        row(short, place, { home: at, user: 'read', write: (core, value) => core.set32(at, Number(value & 1n)) }),
      ];
    const isUsers = trapped !== undefined && !short.startsWith('pminten');
    return [
      row(short, place, {
        ...(read && { read: (core) => BigInt.asUintN(32, read(core)) }),
        ...(write && { write: (core, value) => write(core, BigInt.asUintN(32, value)) }),
        ...(isUsers && { userAllowed: (core) => !trapped(core, 'write') }),
      }),
    ];
  },
);

/** A debug architecture of 0: there is none. */
const debug: readonly RegisterRow[] = [
  { name: 'dbgdidr', code: codeOf(14, 0, 0, 0, 0), user: 'read', constant: () => 0 },
];

/** By CSSELR: level and instruction or data. */
const cacheSizes = [0x701fe00a, 0x201fe00a, 0x711fe07a];
const identificationRows: readonly RegisterRow[] = [
  home('midr', '0 0 0 0', field.midr, { write: () => {} }),
  home('mpidr', '0 0 0 5', field.mpidr, { write: () => {} }),
  ...identification.map(([name, place, constant]) => row(name, place, { constant })),
  row('ccsidr', '0 1 0 0', { read: (core) => BigInt(cacheSizes[core.get32(field.csselr) & 7] ?? 0) }),
  home('csselr', '0 2 0 0', field.csselr),
];

export const registers: readonly RegisterRow[] = [
  ...identificationRows,
  ...control,
  ...caches,
  ...ats,
  ...tlb,
  ...timers,
  ...performance,
  ...debug,
];
export const registerByCode: ReadonlyMap<number, RegisterRow> = new Map(registers.map((one) => [one.code, one]));
