/** `-lens`: live totals at the bottom of the terminal, JSON lines in a file, and a summary at the end. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { openFailure } from '../../host/node/open-failure.js';
import type { Terminal } from '../../host/node/terminal.js';
import { type LensReport, type Machine, VringError } from '../../vmm/index.js';
import { KeyValues } from '../options/key-values.js';
import { type ProcessIo, print } from '../process-io.js';

export interface LensPlan {
  readonly json: string | undefined;
  readonly intervalMs: number;
}

const DEFAULT_INTERVAL_MS = 1000;
/** Lines of the panel. */
const PANEL_ROWS = 6;
/** A window with fewer rows than this has no room for it. */
const LEAST_ROWS = 16;

/** Reads the option's argument. Throws UsageError. */
export function planLens(text: string): LensPlan {
  const values = text === '' ? new KeyValues('-lens', []) : KeyValues.parse(`-lens ${text}`, text);
  const plan = {
    json: values.text('json'),
    intervalMs: values.number('interval', 10, 3_600_000) ?? DEFAULT_INTERVAL_MS,
  };
  values.finish();
  return plan;
}

/** Follows a machine. Throws VringError `lens-open`. */
export class LensView {
  readonly #plan: LensPlan;
  readonly #machine: Machine;
  readonly #terminal: Terminal;
  readonly #io: ProcessIo;
  readonly #fd: number | undefined;
  #startMs = 0;
  #endMs: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #asking = false;
  /** Rows of the window while the panel is shown. */
  #shownRows = 0;

  constructor(plan: LensPlan, machine: Machine, terminal: Terminal, io: ProcessIo) {
    this.#plan = plan;
    this.#machine = machine;
    this.#terminal = terminal;
    this.#io = io;
    if (plan.json !== undefined) {
      try {
        this.#fd = openSync(plan.json, 'w');
      } catch (error) {
        throw new VringError('lens-open', `-lens json=${plan.json}: ${openFailure(error)}`, { cause: error });
      }
    }
  }

  /** Just before the machine starts. */
  start(): void {
    this.#startMs = performance.now();
    this.#machine.on('ended', () => {
      this.#endMs = performance.now();
    });
    this.#timer = setInterval(() => void this.#tick(), this.#plan.intervalMs);
  }

  async #tick(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    try {
      const report = await this.#machine.lens();
      if (report) {
        this.#write(report, false);
        this.#panel(report);
      }
    } catch {
      // The machine has ended meanwhile: `finish` tells the last totals.
    } finally {
      this.#asking = false;
    }
  }

  /** The last totals, after the machine's end. */
  async finish(): Promise<void> {
    clearInterval(this.#timer);
    this.#removePanel();
    const report = await this.#machine.lens().catch(() => undefined);
    if (report) {
      this.#write(report, true);
      await print(this.#io.stderr, `${lensLines(report).join('\n')}\n`);
    }
    if (this.#fd !== undefined) closeSync(this.#fd);
  }

  #write(report: LensReport, final: boolean): void {
    if (this.#fd === undefined) return;
    const processNs = ((this.#endMs ?? performance.now()) - this.#startMs) * 1e6;
    writeSync(this.#fd, `${JSON.stringify({ final, processNs, ...report })}\n`);
  }

  /** The window's last rows are the panel's: what the guest writes scrolls above them. */
  #panel(report: LensReport): void {
    const { size } = this.#terminal;
    if (!this.#terminal.outputIsTerminal || !size || size.rows < LEAST_ROWS) return;
    const top = size.rows - PANEL_ROWS;
    let text = '';
    // The cursor is kept out of the panel, then everything scrolls above it.
    if (this.#shownRows !== size.rows) text += `${'\n'.repeat(PANEL_ROWS)}\x1b[${PANEL_ROWS}A\x1b7\x1b[1;${top}r\x1b8`;
    this.#shownRows = size.rows;
    const lines = panelLines(report);
    text += '\x1b7';
    for (let i = 0; i < PANEL_ROWS; i++)
      text += `\x1b[${top + 1 + i};1H\x1b[2K\x1b[7m${(lines[i] ?? '').slice(0, size.columns).padEnd(size.columns)}\x1b[0m`;
    this.#io.stdout.write(`${text}\x1b8`);
  }

  #removePanel(): void {
    if (this.#shownRows === 0) return;
    this.#io.stdout.write(`\x1b7\x1b[r\x1b[${this.#shownRows - PANEL_ROWS + 1};1H\x1b[J\x1b8`);
    this.#shownRows = 0;
  }
}

const milliseconds = (ns: number): string => `${(ns / 1e6).toFixed(ns < 1e7 ? 2 : 0)} ms`;
const mebibytes = (bytes: number | undefined): string =>
  bytes === undefined ? '?' : `${(bytes / 2 ** 20).toFixed(1)} MiB`;
const list = (parts: readonly string[]): string => parts.join(', ');
const counts = (record: Readonly<Record<string, number | undefined>>): string =>
  list(Object.entries(record).map(([name, count]) => `${name} ${count}`)) || 'none';

function timeParts(report: LensReport): string[] {
  const all = Object.values(report.timeNs).reduce((a, b) => a + b, 0) || 1;
  return Object.entries(report.timeNs)
    .sort(([, a], [, b]) => b - a)
    .map(([owner, ns]) => `${owner} ${milliseconds(ns)} (${((100 * ns) / all).toFixed(1)} %)`);
}

const deviceExits = ({ pioRead, pioWrite, mmioRead, mmioWrite }: LensReport['devices'][string]): number =>
  pioRead + pioWrite + mmioRead + mmioWrite;

function deviceParts(report: LensReport): string[] {
  return Object.entries(report.devices)
    .sort(([, a], [, b]) => b.timeNs - a.timeNs)
    .map(([name, device]) => `${name} ${deviceExits(device)} in ${milliseconds(device.timeNs)}`);
}

function crossingParts({ crossings }: LensReport): string[] {
  if (!crossings) return ['not told by this accelerator'];
  return Object.entries(crossings).map(([border, kinds]) => `ring ${border}: ${counts(kinds)}`);
}

function memoryParts({ memory }: LensReport): string[] {
  return Object.entries(memory).map(
    ([owner, use]) => `${owner} ${mebibytes(use.residentBytes)} of ${mebibytes(use.bytes)}`,
  );
}

const share = (part: number): string => `${(100 * part).toFixed(1)} %`;

/** The live panel. */
export function panelLines(report: LensReport): string[] {
  return [
    ` lens: ${report.accelerator}, ${milliseconds(report.wallNs)}; guest code translated ${share(report.shares.translated)}, native ${share(report.shares.native)}`,
    ` time: ${list(timeParts(report))}`,
    ` crossings: ${crossingParts(report).join('; ')}`,
    ` exits: ${counts(report.exits)}`,
    ` devices: ${list(deviceParts(report))}`,
    ` memory: ${list(memoryParts(report))}`,
  ];
}

const untold = 'not told by this accelerator';
const countsIfTold = (numbers: Readonly<Record<string, number>> | undefined) => (numbers ? counts(numbers) : untold);

/** The summary. */
export function lensLines(report: LensReport): string[] {
  const lines = [`lens: ${report.accelerator}, ${milliseconds(report.wallNs)} of the vCPU's thread`];
  const section = (title: string, parts: readonly string[]) => {
    lines.push(`  ${title}`, ...parts.map((part) => `    ${part}`));
  };
  section('time', timeParts(report));
  section('crossings', crossingParts(report));
  section('events', [
    `system calls ${report.systemCalls ?? untold}`,
    `exceptions by vector: ${countsIfTold(report.exceptions)}`,
    `interrupts by vector: ${countsIfTold(report.interrupts)}`,
    `software interrupts by vector: ${countsIfTold(report.softwareInterrupts)}`,
  ]);
  section('VM exits', [counts(report.exits)]);
  section('exits by device, and the time they took', deviceParts(report));
  section('guest code', [`translated ${share(report.shares.translated)}, native ${share(report.shares.native)}`]);
  section('memory that the host has given out', memoryParts(report));
  return lines;
}
