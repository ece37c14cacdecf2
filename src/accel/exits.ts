/** VM exits by reason: where every accelerator counts them, and who wants to know reads them. */

export const exitReasons = [
  'pioRead',
  'pioWrite',
  'mmioRead',
  'mmioWrite',
  /** RDMSR or WRMSR that the board answers. */
  'msr',
  'halt',
  /** The vCPU has become ready to take an interrupt that waits. */
  'interruptWindow',
  /** Somebody wanted to be heard: another thread, or a timer was due. */
  'kick',
  'shutdown',
  'debug',
  /** An end of interrupt that an I/O APIC outside the accelerator hears. */
  'ioapicEoi',
  'other',
] as const;
export type ExitReason = (typeof exitReasons)[number];

/** Place of each reason in the counters. */
export const exitIndex = Object.fromEntries(exitReasons.map((name, i) => [name, i])) as Readonly<
  Record<ExitReason, number>
>;

export class ExitCounters {
  /** One count a reason, by `exitIndex`; whole numbers. */
  readonly counts: Float64Array;

  /** `buffer`: shared memory of `ExitCounters.sizeBytes` for counts that another thread reads. */
  constructor(buffer?: ArrayBufferLike) {
    this.counts = buffer ? new Float64Array(buffer, 0, exitReasons.length) : new Float64Array(exitReasons.length);
  }

  static readonly sizeBytes = exitReasons.length * 8;

  /** Counts by reason, without those that are 0. */
  toRecord(): Readonly<Record<string, number>> {
    return Object.fromEntries(exitReasons.map((name, i) => [name, this.counts[i]]).filter(([, count]) => count !== 0));
  }
}
