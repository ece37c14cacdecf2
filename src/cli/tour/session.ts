/** A machine with the built-in guest for the tour: what is typed at its prompt, and what the lens says it cost. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createMachine, type LensReport, type Machine, type MachineOptions, VringError } from '../../vmm/index.js';

const PROMPT = 'vring> ';
const DISK_BYTES = 1 << 20;
const LOOK_MS = 1000;
/**
 * The guest is given up after so many looks in which it did nothing that shows and the process had less processor time than this: a
 * slow or busy host makes it late, but does not leave it idle.
 */
const MOST_IDLE_LOOKS = 120;
const IDLE_MS = 5000;

/** What happened between two looks: every number is a difference. */
export interface Measured {
  /** What the guest wrote, without the echo and the prompt. */
  readonly text: string;
  readonly wallNs: number;
  readonly timeNs: Readonly<Record<string, number>>;
  readonly exits: Readonly<Record<string, number>>;
  readonly devices: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly crossings: Readonly<Record<string, number>> | undefined;
  readonly exceptions: Readonly<Record<string, number>>;
  readonly interrupts: Readonly<Record<string, number>>;
  readonly systemCalls: number | undefined;
  /** Of the translator: `refills` of the TLB, blocks `translated`, `singleSteps`. */
  readonly counters: Readonly<Record<string, number>>;
}

type Numbers = Readonly<Record<string, number | undefined>>;

function difference(after: Numbers, before: Numbers): Record<string, number> {
  const result: Record<string, number> = {};
  for (const [name, value] of Object.entries(after)) {
    const by = (value ?? 0) - (before[name] ?? 0);
    if (by !== 0) result[name] = by;
  }
  return result;
}

/** Crossings of all kinds by border and kind: `3>0 exception`. */
function flat(crossings: LensReport['crossings']): Record<string, number> {
  const result: Record<string, number> = {};
  for (const [border, kinds] of Object.entries(crossings ?? {}))
    for (const [kind, count] of Object.entries(kinds)) result[`${border} ${kind}`] = count;
  return result;
}

function removeFolder(folder: string): void {
  try {
    rmSync(folder, { recursive: true, force: true });
  } catch {
    // Windows keeps the name of a file that is open.
  }
}

function spentByProcessMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** All that a guest has done so far that shows, but for what looks at it bring about. */
const eventsOf = ({ exits: { kick: _, ...exits }, exceptions, systemCalls, crossings }: LensReport): string =>
  JSON.stringify([exits, exceptions, systemCalls, crossings]);

/** What may differ between two machines of the tour. */
export type TourMachine = Pick<MachineOptions, 'accelerators' | 'translator' | 'hotThreshold' | 'kernelIrqchip'>;

export class TourSession {
  readonly machine: Machine;
  readonly #folder: string;
  #text = '';
  #heard = () => {};

  private constructor(machine: Machine, folder: string) {
    this.machine = machine;
    this.#folder = folder;
    // The disk is open: where the system lets go of its name now, nothing is left however the process ends.
    removeFolder(folder);
    void this.#listen();
  }

  /** Builds the machine: a disk of 1 MiB in a temporary file, an entropy device, a balloon. Throws what createMachine throws. */
  static async open(options: TourMachine = {}): Promise<TourSession> {
    const folder = mkdtempSync(join(tmpdir(), 'vring-tour-'));
    try {
      const path = join(folder, 'disk.raw');
      writeFileSync(
        path,
        Uint8Array.from({ length: DISK_BYTES }, (_, i) => i % 251),
      );
      const machine = await createMachine({
        ...options,
        builtInGuest: true,
        lens: 'time',
        ramBytes: 32 << 20,
        devices: [
          { type: 'virtio-blk', image: { path, format: 'raw' } },
          { type: 'virtio-rng' },
          { type: 'virtio-balloon' },
        ],
      });
      return new TourSession(machine, folder);
    } catch (error) {
      removeFolder(folder);
      throw error;
    }
  }

  async #listen(): Promise<void> {
    for await (const bytes of this.machine.serial(0)) {
      this.#text += new TextDecoder('latin1').decode(bytes);
      this.#heard();
    }
    this.#heard();
  }

  /** The next prompt. Throws VringError `tour-guest` where it does not come. */
  async #prompt(): Promise<string> {
    let [idleLooks, done, spentMs] = [0, '', spentByProcessMs()];
    while (!this.#text.endsWith(PROMPT)) {
      if (idleLooks === MOST_IDLE_LOOKS || this.machine.state === 'ended')
        throw new VringError('tour-guest', 'The built-in guest does not answer.');
      const isSilent = await new Promise<boolean>((resolve) => {
        const timer = setTimeout(() => resolve(true), LOOK_MS);
        this.#heard = () => {
          clearTimeout(timer);
          resolve(false);
        };
      });
      const now = isSilent ? eventsOf(await this.#report()) : '';
      if (!isSilent || now !== done || spentByProcessMs() - spentMs > IDLE_MS)
        [idleLooks, done, spentMs] = [0, now, spentByProcessMs()];
      else idleLooks++;
    }
    const text = this.#text.slice(0, -PROMPT.length);
    this.#text = '';
    return text;
  }

  async #report(): Promise<LensReport> {
    const report = await this.machine.lens();
    if (!report) throw new VringError('tour-guest', 'The machine has no lens.');
    return report;
  }

  /** Starts the machine and waits for its first prompt. */
  async boot(): Promise<Measured> {
    const before = await this.#report();
    const counters = await this.#counters();
    await this.machine.start();
    const text = await this.#prompt();
    return this.#measured(text, before, await this.#report(), counters, await this.#counters());
  }

  /** Types a line. */
  async run(line: string): Promise<Measured> {
    const counters = await this.#counters();
    const before = await this.#report();
    await this.machine.serial(0).write(new TextEncoder().encode(`${line}\r`));
    const text = await this.#prompt();
    const shown = text.replaceAll('\r', '').split('\n').slice(1).join('\n').trimEnd();
    const after = await this.#report();
    return this.#measured(shown, before, after, counters, await this.#counters());
  }

  async #counters(): Promise<Numbers> {
    return (await this.machine.statistics())['engine'] ?? {};
  }

  #measured(
    text: string,
    before: LensReport,
    after: LensReport,
    countersBefore: Numbers,
    countersAfter: Numbers,
  ): Measured {
    const devices: Record<string, Record<string, number>> = {};
    for (const [name, totals] of Object.entries(after.devices)) {
      const by = difference({ ...totals }, { ...before.devices[name] });
      if (Object.keys(by).length > 0) devices[name] = by;
    }
    return {
      text,
      wallNs: after.wallNs - before.wallNs,
      timeNs: difference(after.timeNs, before.timeNs),
      exits: difference(after.exits, before.exits),
      devices,
      crossings: after.crossings && difference(flat(after.crossings), flat(before.crossings)),
      exceptions: difference(after.exceptions ?? {}, before.exceptions ?? {}),
      interrupts: difference(after.interrupts ?? {}, before.interrupts ?? {}),
      counters: difference(countersAfter, countersBefore),
      systemCalls: after.systemCalls && after.systemCalls - (before.systemCalls ?? 0),
    };
  }

  async close(): Promise<void> {
    await this.machine.close();
    removeFolder(this.#folder);
  }
}

/** Time that something took while the machine had work: all owners but those that wait. */
export function busyNs({ timeNs }: Measured): number {
  const { halted = 0, stopped = 0, ...rest } = timeNs;
  return Object.values(rest).reduce((sum, ns) => sum + ns, 0);
}

/** Guest code alone. */
export function guestNs({ timeNs }: Measured): number {
  return ['ring0', 'ring1', 'ring2', 'ring3', 'guest'].reduce((sum, ring) => sum + (timeNs[ring] ?? 0), 0);
}

export function formatNs(ns: number): string {
  if (ns < 1e3) return `${ns.toFixed(0)} ns`;
  if (ns < 1e6) return `${(ns / 1e3).toFixed(ns < 1e4 ? 2 : 1)} µs`;
  if (ns < 1e9) return `${(ns / 1e6).toFixed(1)} ms`;
  return `${(ns / 1e9).toFixed(2)} s`;
}
