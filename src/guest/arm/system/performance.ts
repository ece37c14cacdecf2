/**
 * The performance monitors (FEAT_PMUv3, D11 and D19.5): a cycle counter of 1 GHz of the system counter's time, and event counters for cycles
 * and software increments; no other event is counted. An overflow interrupts when the board's time gets there. Filters count for all exception
 * levels at once: a counter that counts neither EL0 nor EL1 stands still.
 */
import { field } from '../state.js';
import type { Core } from './core.js';
import { active, constant, plain, type SystemRegister } from './register-row.js';

/** Event counters, and the number of the cycle counter in sets of counters. */
export const EVENT_COUNTERS = 6;
const CYCLES = 31;
const COUNTERS = [...Array(EVENT_COUNTERS).keys(), CYCLES];
const SET = COUNTERS.reduce((all, n) => all | (1n << BigInt(n)), 0n);

/** PMCR_EL0. LC is one: the cycle counter has 64 bits; in AArch32 it has 32. */
const control = { E: 1n, P: 2n, C: 4n, D: 8n, LC: 0x40n } as const;
/** Of Cortex-A15: who made it. */
const MAKER = 0x410f0000n;
const CONTROL_WRITABLE = 0x39n;
/** PMUSERENR_EL0. */
const user = { EN: 1n, SW: 2n, CR: 4n, ER: 8n } as const;
const event = { softwareIncrement: 0n, cycles: 0x11n } as const;
/** PMEVTYPER: P and U, NSK to M, and the event; PMCCFILTR has no event. */
const EVENT = 0xffffn;
const FILTERS = 0xfc000000n;
const NO_LEVEL = 0xc0000000n;
const CYCLES_HZ = 1_000_000_000n;

/** In the state, i64 each. */
const place = {
  control: 0,
  enabled: 8,
  overflow: 16,
  interrupts: 24,
  select: 32,
  user: 40,
  /** Cycles that have been counted up to. */
  since: 48,
  cycles: 56,
  cycleFilter: 64,
  counts: 72,
  types: 72 + 8 * EVENT_COUNTERS,
} as const;
const get = (core: Core, at: number): bigint => core.get64(field.performance + at);
const set = (core: Core, at: number, value: bigint): void => core.set64(field.performance + at, value);
const bit = (n: number): bigint => 1n << BigInt(n);
const countAt = (n: number): number => (n === CYCLES ? place.cycles : place.counts + 8 * n);
const typeAt = (n: number): number => (n === CYCLES ? place.cycleFilter : place.types + 8 * n);
const widthOf = (core: Core, n: number): number => (n === CYCLES && !core.isNarrow ? 64 : 32);

const now = (core: Core): bigint => (core.board.time() * CYCLES_HZ) / BigInt(core.board.counterFrequency);
const isEnabled = (core: Core, n: number): boolean =>
  (get(core, place.control) & control.E) !== 0n && (get(core, place.enabled) & bit(n)) !== 0n;
/** It counts cycles now. */
function counts(core: Core, n: number): boolean {
  const type = get(core, typeAt(n));
  const isCycles = n === CYCLES || (type & EVENT) === event.cycles;
  return isEnabled(core, n) && isCycles && (type & NO_LEVEL) !== NO_LEVEL;
}
function add(core: Core, n: number, more: bigint): void {
  const sum = get(core, countAt(n)) + more;
  const value = BigInt.asUintN(widthOf(core, n), sum);
  set(core, countAt(n), value);
  if (value !== sum) set(core, place.overflow, get(core, place.overflow) | bit(n));
}

/** Places by which the cycle counter of 32 bits counts less (D). */
const dividedBy = (core: Core): bigint => (core.isNarrow && (get(core, place.control) & control.D) !== 0n ? 6n : 0n);

/** Brings all counters up to now. */
function catchUp(core: Core): void {
  const at = now(core);
  const since = get(core, place.since);
  set(core, place.since, at);
  for (const n of COUNTERS) {
    const places = n === CYCLES ? dividedBy(core) : 0n;
    if (counts(core, n)) add(core, n, (at >> places) - (since >> places));
  }
}
/** Says when the interrupt is to come, if any. */
function announce(core: Core): void {
  const { board } = core;
  const wanted = get(core, place.interrupts);
  if ((get(core, place.control) & control.E) === 0n || wanted === 0n) {
    board.setTimer('performance', undefined);
    return;
  }
  if ((get(core, place.overflow) & wanted) !== 0n) {
    board.setTimer('performance', board.time());
    return;
  }
  const waits = COUNTERS.filter((n) => (wanted & bit(n)) !== 0n && counts(core, n)).map(
    (n) => (bit(widthOf(core, n)) - get(core, countAt(n))) << (n === CYCLES ? dividedBy(core) : 0n),
  );
  const [first] = waits.sort((a, b) => (a < b ? -1 : 1));
  if (first === undefined) board.setTimer('performance', undefined);
  else {
    const ticks = ((get(core, place.since) + first) * BigInt(board.counterFrequency)) / CYCLES_HZ + 1n;
    // Nobody waits for hundreds of years.
    board.setTimer('performance', ticks < 1n << 53n ? ticks : undefined);
  }
}
/** A change of what is counted, at this moment. */
function change(core: Core, make: () => void): void {
  catchUp(core);
  make();
  announce(core);
}

/** Not by EL0, unless PMUSERENR has EN or, for that kind of access, another bit. */
const userAccess =
  (reading = 0n, writing = 0n) =>
  (core: Core, access: 'read' | 'write'): boolean =>
    (get(core, place.user) & (user.EN | (access === 'read' ? reading : writing))) === 0n;

const pmu = (
  name: string,
  code: string,
  read: ((core: Core) => bigint) | undefined,
  write?: (core: Core, value: bigint) => void,
  trapped = userAccess(),
): SystemRegister => active(name, code, read, write, { feature: 'pmu', trapped });

/** A set of counters: one register sets bits of it, one clears them. */
function sets(
  [setName, setCode]: readonly [string, string],
  [clearName, clearCode]: readonly [string, string],
  at: number,
): SystemRegister[] {
  const read = (core: Core): bigint => {
    catchUp(core);
    return get(core, at);
  };
  return [
    pmu(setName, setCode, read, (core, value) => change(core, () => set(core, at, get(core, at) | (value & SET)))),
    pmu(clearName, clearCode, read, (core, value) => change(core, () => set(core, at, get(core, at) & ~value))),
  ];
}

const readCount = (core: Core, n: number): bigint => {
  catchUp(core);
  return get(core, countAt(n));
};
const writeCount = (core: Core, n: number, value: bigint): void =>
  change(core, () => set(core, countAt(n), BigInt.asUintN(widthOf(core, n), value)));
const writeType = (core: Core, n: number, value: bigint): void =>
  change(core, () => set(core, typeAt(n), value & (n === CYCLES ? FILTERS : FILTERS | EVENT)));
/** What PMSELR chooses; undefined: no counter. */
const selected = (core: Core): number | undefined => {
  const n = Number(get(core, place.select));
  return n < EVENT_COUNTERS || n === CYCLES ? n : undefined;
};

export const performanceRows: readonly SystemRegister[] = [
  pmu(
    'PMCR_EL0',
    '3 3 9 12 0',
    (core) => get(core, place.control) | (core.isNarrow ? MAKER : control.LC) | BigInt(EVENT_COUNTERS << 11),
    (core, value) =>
      change(core, () => {
        set(core, place.control, value & CONTROL_WRITABLE);
        if (value & control.P) for (let n = 0; n < EVENT_COUNTERS; n++) set(core, countAt(n), 0n);
        if (value & control.C) set(core, place.cycles, 0n);
      }),
  ),
  ...sets(['PMCNTENSET_EL0', '3 3 9 12 1'], ['PMCNTENCLR_EL0', '3 3 9 12 2'], place.enabled),
  ...sets(['PMOVSSET_EL0', '3 3 9 14 3'], ['PMOVSCLR_EL0', '3 3 9 12 3'], place.overflow),
  ...sets(['PMINTENSET_EL1', '3 0 9 14 1'], ['PMINTENCLR_EL1', '3 0 9 14 2'], place.interrupts),
  pmu(
    'PMSWINC_EL0',
    '3 3 9 12 4',
    undefined,
    (core, value) =>
      change(core, () => {
        for (let n = 0; n < EVENT_COUNTERS; n++) {
          const type = get(core, typeAt(n));
          const isIncrement = (type & EVENT) === event.softwareIncrement && (type & NO_LEVEL) !== NO_LEVEL;
          if ((value & bit(n)) !== 0n && isEnabled(core, n) && isIncrement) add(core, n, 1n);
        }
      }),
    userAccess(0n, user.SW),
  ),
  pmu(
    'PMSELR_EL0',
    '3 3 9 12 5',
    (core) => get(core, place.select),
    (core, value) => set(core, place.select, value & 31n),
    userAccess(user.ER, user.ER),
  ),
  pmu('PMCEID0_EL0', '3 3 9 12 6', () => (1n << event.softwareIncrement) | (1n << event.cycles)),
  pmu('PMCEID1_EL0', '3 3 9 12 7', () => 0n),
  pmu(
    'PMCCNTR_EL0',
    '3 3 9 13 0',
    (core) => readCount(core, CYCLES),
    (core, value) => writeCount(core, CYCLES, value),
    userAccess(user.CR),
  ),
  pmu(
    'PMXEVTYPER_EL0',
    '3 3 9 13 1',
    (core) => {
      const n = selected(core);
      return n === undefined ? 0n : get(core, typeAt(n));
    },
    (core, value) => {
      const n = selected(core);
      if (n !== undefined) writeType(core, n, value);
    },
  ),
  pmu(
    'PMXEVCNTR_EL0',
    '3 3 9 13 2',
    (core) => {
      const n = selected(core);
      return n === undefined || n === CYCLES ? 0n : readCount(core, n);
    },
    (core, value) => {
      const n = selected(core);
      if (n !== undefined && n !== CYCLES) writeCount(core, n, value);
    },
    userAccess(user.ER),
  ),
  {
    ...plain('PMUSERENR_EL0', '3 3 9 14 0', field.performance + place.user, 15n),
    userReadOnly: true,
    feature: 'pmu',
  },
  pmu(
    'PMCCFILTR_EL0',
    '3 3 14 15 7',
    (core) => get(core, place.cycleFilter),
    (core, value) => writeType(core, CYCLES, value),
  ),
  ...Array.from({ length: EVENT_COUNTERS }, (_, n) => [
    pmu(
      `PMEVCNTR${n}_EL0`,
      `3 3 14 8 ${n}`,
      (core) => readCount(core, n),
      (core, value) => writeCount(core, n, value),
      userAccess(user.ER),
    ),
    pmu(
      `PMEVTYPER${n}_EL0`,
      `3 3 14 12 ${n}`,
      (core) => get(core, typeAt(n)),
      (core, value) => writeType(core, n, value),
    ),
  ]).flat(),
  { ...constant('PMMIR_EL1', '3 0 9 14 6', 0n), feature: 'pmu' },
];
