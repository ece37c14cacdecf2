/** `vring tour --without NAME`: the same work with a part and without it, side by side. */
import { VringError } from '../../vmm/index.js';
import { busyNs, formatNs, type Measured, type TourMachine, TourSession } from './session.js';

interface Part {
  readonly name: string;
  /** What it is for. */
  readonly sentence: string;
  readonly with: TourMachine;
  readonly without: TourMachine;
  /** What is typed, and how often the thing in question happens in it. Where the guest must do it otherwise, the other way. */
  readonly work: readonly { readonly line: string; readonly count: number; readonly otherwise?: string }[];
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
      { line: 'work 20', count: 20_000_000 },
      { line: 'syscall 20000', count: 20_000 },
      { line: 'fault 5000', count: 5_000 },
      { line: 'port 5000', count: 5_000 },
    ],
  },
  {
    name: 'translation-cache',
    sentence:
      'The translation cache keeps what was translated; without it each instruction is translated every time it runs.',
    with: tcg,
    without: { ...tcg, translator: { codeCache: false }, hotThreshold: 0 },
    work: [
      { line: 'syscall 300', count: 300 },
      { line: 'fault 100', count: 100 },
      { line: 'port 300', count: 300 },
    ],
    shows: ({ counters }) => `${(counters['translated'] ?? 0) + (counters['singleSteps'] ?? 0)} translations`,
  },
  {
    name: 'tlb',
    sentence: 'The TLB remembers where pages lie; with one entry nearly every access walks the page tables.',
    with: tcg,
    without: { ...tcg, translator: { tlbEntries: 1 } },
    work: [
      { line: 'walk 1000', count: 1_000_000 },
      { line: 'syscall 20000', count: 20_000 },
      { line: 'fault 5000', count: 5_000 },
    ],
    shows: ({ counters }) => `${counters['refills'] ?? 0} page walks`,
  },
  {
    name: 'virtio',
    sentence:
      'Virtio moves a whole request with one exit; without it (here fw_cfg, as old disks did) each byte is an exit.',
    with: {},
    without: {},
    work: [{ line: 'disk 500', count: 500, otherwise: 'pio 500' }],
    shows: (measured) => `${exitsOf(measured)} exits`,
  },
  {
    name: 'irqchip',
    sentence:
      "With KVM the interrupt controllers can be in the kernel; without that every access to them, and every interrupt, is the device models'.",
    with: { accelerators: ['kvm'] },
    without: { accelerators: ['kvm'], kernelIrqchip: 'off' },
    work: [
      { line: 'random 500', count: 500 },
      { line: 'tick 100', count: 100 },
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
    await say(`KVM does not run here: ${error.message}`);
    await showChips(say);
  }
}

async function compareRuns(part: Part, say: (line: string) => Promise<void>): Promise<void> {
  await say(`${part.sentence} Time of the vCPU's thread for each, the least of ${RUNS} runs:`);
  const rows: { line: string; count: number; measured: (Measured | undefined)[] }[] = part.work.map(
    ({ line, count, otherwise }) => ({
      line: otherwise === undefined ? line : `${line} / ${otherwise}`,
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
  await say(`${''.padEnd(28)}${'with'.padStart(12)}${'without'.padStart(12)}   times as long`);
  for (const { line, count, measured } of rows) {
    const [a, b] = measured as [Measured, Measured];
    const [x, y] = [busyNs(a), busyNs(b)];
    const more = part.shows ? `   ${part.shows(a)} / ${part.shows(b)}` : '';
    await say(
      `${line.padEnd(28)}${formatNs(x / count).padStart(12)}${formatNs(y / count).padStart(12)}   ${(y / x).toFixed(2).padStart(7)}${more}`,
    );
  }
}

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
