/** `vring tour --without NAME`: the same work with a part and without it, side by side. */
import { probeKvm } from '../../host/node/kvm/probe.js';
import { VringError } from '../../vmm/index.js';
import { busyNs, formatNs, type Measured, type TourMachine, TourSession } from './session.js';

interface Part {
  readonly name: string;
  /** What it is for. */
  readonly sentence: string;
  readonly with: TourMachine;
  readonly without: TourMachine;
  /** What is typed, of what the time is shown, and how often that happens in it. Where the guest must do it otherwise, the other way. */
  readonly work: readonly {
    readonly line: string;
    readonly each: string;
    readonly count: number;
    readonly otherwise?: string;
  }[];
  /** A counter that tells the story. */
  readonly shows?: (measured: Measured) => string;
}

/** Runs of each piece of work, of which the quickest counts. */
const RUNS = 4;
const tcg = { accelerators: ['tcg'] } as const;
const exitsOf = ({ exits }: Measured): number =>
  ['pioRead', 'pioWrite', 'mmioRead', 'mmioWrite'].reduce((sum, reason) => sum + (exits[reason] ?? 0), 0);

export const parts: readonly Part[] = [
  {
    name: 'kvm',
    sentence: 'KVM runs the guest on the processor itself; without it everything is translated.',
    with: { accelerators: ['kvm'] },
    without: tcg,
    work: [
      { line: 'work 20', each: 'a step of a loop', count: 20_000_000 },
      { line: 'syscall 20000', each: 'a system call', count: 20_000 },
      { line: 'fault 5000', each: 'a page fault', count: 5_000 },
      { line: 'port 5000', each: 'a write to a port', count: 5_000 },
    ],
  },
  {
    name: 'translation-cache',
    sentence:
      'The translation cache keeps what was translated; without it each instruction is translated every time it runs.',
    with: tcg,
    without: { ...tcg, translator: { codeCache: false }, hotThreshold: 0 },
    work: [
      { line: 'syscall 300', each: 'a system call', count: 300 },
      { line: 'fault 100', each: 'a page fault', count: 100 },
      { line: 'port 300', each: 'a write to a port', count: 300 },
    ],
    shows: ({ counters }) => `${(counters['translated'] ?? 0) + (counters['singleSteps'] ?? 0)} translations`,
  },
  {
    name: 'tlb',
    sentence: 'The TLB remembers where pages lie; with one entry nearly every access walks the page tables.',
    with: tcg,
    without: { ...tcg, translator: { tlbEntries: 1 } },
    work: [
      { line: 'walk 1000', each: 'a load', count: 1_000_000 },
      { line: 'syscall 20000', each: 'a system call', count: 20_000 },
      { line: 'fault 5000', each: 'a page fault', count: 5_000 },
    ],
    shows: ({ counters }) => `${counters['refills'] ?? 0} page walks`,
  },
  {
    name: 'virtio',
    sentence:
      'Virtio moves a whole request with one exit; without it (here fw_cfg, as old disks did) each byte is an exit.',
    with: {},
    without: {},
    work: [{ line: 'disk 500', each: 'a sector', count: 500, otherwise: 'pio 500' }],
    shows: (measured) => `${exitsOf(measured)} exits`,
  },
  {
    name: 'irqchip',
    sentence:
      "With KVM the interrupt controllers can be in the kernel; without that every access to them, and every interrupt, is the device models'.",
    with: { accelerators: ['kvm'] },
    without: { accelerators: ['kvm'], kernelIrqchip: 'off' },
    work: [
      { line: 'random 500', each: 'a request', count: 500 },
      { line: 'tick 100', each: 'a tick', count: 100 },
    ],
    shows: (measured) => `${exitsOf(measured) + (measured.exits['interruptWindow'] ?? 0)} exits`,
  },
];

/** Throws what createMachine throws where the accelerator that the part is about cannot run. */
export async function runWithout(part: Part, say: (line: string) => Promise<void>): Promise<void> {
  if (part.name !== 'irqchip') return await compareRuns(part, say);
  try {
    await compareRuns(part, say);
  } catch (error) {
    if (!(error instanceof VringError)) throw error;
    await say(`${error.message}.`);
    await showChips(say);
  }
}

async function compareRuns(part: Part, say: (line: string) => Promise<void>): Promise<void> {
  await say(`${part.sentence} Time of the vCPU's thread for each, the least of ${RUNS} runs:`);
  const rows: { line: string; each: string; count: number; measured: Measured[] }[] = part.work.map(
    ({ line, each, count, otherwise }) => ({
      line: otherwise === undefined ? line : `${line} / ${otherwise}`,
      each,
      count,
      measured: [],
    }),
  );
  for (const [i, options] of [part.with, part.without].entries()) {
    const session = await TourSession.open(options);
    try {
      await session.boot();
      for (const [k, { line, otherwise }] of part.work.entries())
        rows[k].measured.push(await quickest(session, i === 1 ? (otherwise ?? line) : line));
    } finally {
      await session.close();
    }
  }
  const width = Math.max(...rows.map(({ each }) => each.length)) + 2;
  await say(
    `${'typed in the guest'.padEnd(20)}${'time of'.padEnd(width)}${'with'.padStart(10)}${'without'.padStart(10)}   times as long`,
  );
  for (const { line, each, count, measured } of rows) {
    const [a, b] = measured;
    const [x, y] = [busyNs(a), busyNs(b)];
    const more = part.shows ? `   ${part.shows(a)} / ${part.shows(b)}` : '';
    await say(
      `${line.padEnd(20)}${each.padEnd(width)}${formatNs(x / count).padStart(10)}${formatNs(y / count).padStart(10)}   ${ratio(y / x).padStart(7)}${more}`,
    );
  }
  if (part.with.accelerators?.[0] !== 'kvm') return;
  const { objection } = probeKvm();
  if (objection !== undefined) await say(`KVM is not taken here unless it is asked for: ${objection}.`);
}

const ratio = (value: number) =>
  value >= 10 ? value.toFixed(1) : value >= 0.1 ? value.toFixed(2) : value.toPrecision(1);

/** The run of several in which the vCPU's thread was disturbed least; the first ones also warm up. */
async function quickest(session: TourSession, line: string): Promise<Measured> {
  let best = await session.run(line);
  for (let i = 1; i < RUNS; i++) {
    const next = await session.run(line);
    if (busyNs(next) < busyNs(best)) best = next;
  }
  return best;
}

/** Where there is no KVM: what its local APIC would have answered. */
async function showChips(say: (line: string) => Promise<void>): Promise<void> {
  const session = await TourSession.open({ accelerators: ['tcg'] });
  try {
    await session.boot();
    const requests = 500;
    const run = await session.run(`random ${requests}`);
    const { timeNs = 0, mmioWrite = 0, mmioRead = 0 } = run.devices['lapic0'] ?? {};
    await say(
      `Under tcg the local APIC is a device model: ${mmioRead + mmioWrite} accesses for the interrupts of ${requests} requests, ${formatNs(timeNs)} in its code.`,
    );
  } finally {
    await session.close();
  }
}
