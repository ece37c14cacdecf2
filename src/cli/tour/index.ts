/** `vring tour`: through the rings of a running machine, step by step. */
import { createInterface, type Interface } from 'node:readline/promises';
import { type AcceleratorName, VringError } from '../../vmm/index.js';
import { tourCommand } from '../commands.js';
import { commandHelp } from '../help.js';
import { parseLine } from '../options/parse.js';
import { complain, type ProcessIo, print } from '../process-io.js';
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { type TourMachine, TourSession } from './session.js';
import { steps } from './steps.js';
import { parts, runWithout } from './without.js';

/** Columns at most; of a terminal that has fewer, those it has. */
const WIDTH = 100;
const LEAST_WIDTH = 40;

/** A word and what it stands for, or a line of the guest's. */
const labelled = /^( {2}(?:guest \||\S+(?: -?\d+)?) +)(.*)$/;

/** Breaks a line at spaces; what begins with spaces, or a label, goes on below its text. Rows of figures stay as they are. */
function wrap(line: string, width: number): string[] {
  if (line.length <= width) return [line];
  const [, label, text] = labelled.exec(line) ?? [];
  const isRow = label !== undefined && (label.includes('|') || label.endsWith('  '));
  if (!isRow && /\S {3}/.test(line)) return [line];
  const first = isRow ? label : (/^ */.exec(line)?.[0] ?? '');
  const further = first.replaceAll(/[^ |]/g, ' ');
  const lines: string[] = [];
  let current = first;
  for (const word of (isRow ? text : line).trim().split(' ')) {
    const isFirst = current.length === first.length;
    if (!isFirst && current.length + word.length + 1 > width) {
      lines.push(current);
      current = further + word;
    } else current += isFirst ? word : ` ${word}`;
  }
  lines.push(current);
  return lines;
}

export async function tour(argv: readonly string[], io: ProcessIo): Promise<number> {
  const { given, operands } = parseLine(tourCommand, argv);
  if (given.some(({ row }) => row.name === 'help')) {
    await print(io.stdout, commandHelp(tourCommand));
    return 0;
  }
  if (operands.length > 0) throw new UsageError(`tour: '${operands[0]}' is too much`);
  const without = given.find(({ row }) => row.name === 'without')?.value;
  const accel = given.find(({ row }) => row.name === 'accel')?.value;
  if (without !== undefined && accel !== undefined)
    throw new UsageError('--accel and --without cannot be given both: a comparison says itself what it needs');
  const width = io.stdout.isTTY ? Math.max(LEAST_WIDTH, Math.min(WIDTH, io.stdout.columns || WIDTH)) : WIDTH;
  const say = (line: string) => print(io.stdout, `${wrap(line, width).join('\n')}\n`);
  try {
    if (without === undefined)
      await walk(accel === undefined ? {} : { accelerators: [acceleratorNamed(accel)] }, io, say);
    else await compare(without, say);
    return 0;
  } catch (error) {
    if (!(error instanceof VringError) || error instanceof UsageError) throw error;
    await complain(io, error.message);
    return 1;
  }
}

async function compare(name: string, say: (line: string) => Promise<void>): Promise<void> {
  const part = parts.find((each) => each.name === name);
  if (!part) {
    const names = parts.map((each) => each.name);
    throw new UsageError(`--without ${name}: there is ${names.join(', ')}${didYouMean(name, names)}`);
  }
  await runWithout(part, say);
}

function acceleratorNamed(name: string): AcceleratorName {
  if (name === 'kvm' || name === 'tcg') return name;
  throw new UsageError(`--accel ${name}: there are kvm and tcg${didYouMean(name, ['kvm', 'tcg'])}`);
}

/** Whoever walks at a terminal: asked between the steps, and may leave at any time by Ctrl+C or Ctrl+D. */
class Walker {
  readonly #lines: Interface;
  readonly #left: Promise<undefined>;

  constructor({ stdin, stdout }: ProcessIo) {
    this.#lines = createInterface({ input: stdin, output: stdout });
    this.#left = new Promise((resolve) => void this.#lines.once('close', () => resolve(undefined)));
  }

  /** What a step gives, or undefined: the walker has left meanwhile. */
  follow<T>(step: Promise<T>): Promise<T | undefined> {
    // The machine ends under a step that nobody waits for any more.
    step.catch(() => {});
    return Promise.race([step, this.#left]);
  }

  async goesOn(): Promise<boolean> {
    const answer = await this.follow(this.#lines.question('Enter goes on, q ends. '));
    return answer !== undefined && !/^q/i.test(answer);
  }

  close(): void {
    this.#lines.close();
  }
}

async function walk(options: TourMachine, io: ProcessIo, say: (line: string) => Promise<void>): Promise<void> {
  const walker = io.stdin.isTTY === true && io.stdout.isTTY === true ? new Walker(io) : undefined;
  const session = await TourSession.open(options);
  try {
    for (const [i, step] of steps.entries()) {
      await say(`${i > 0 ? '\n' : ''}${i + 1}. ${step.title}`);
      const running = step.run(session);
      const shown = await (walker ? walker.follow(running) : running);
      if (shown === undefined) return;
      for (const line of shown) await say(line);
      if (walker && i + 1 < steps.length && !(await walker.goesOn())) return;
    }
    const names = parts.map(({ name }) => name).join(', ');
    await say(`\nWhat if a part were not there? vring tour --without NAME shows it; a NAME is one of ${names}.`);
  } finally {
    walker?.close();
    await session.close();
  }
}
