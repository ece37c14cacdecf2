/** Reads a command line by its rows. */
import { didYouMean } from '../suggest.js';
import { UsageError } from '../usage-error.js';
import { type CommandRow, type OptionRow, spelled } from './option-row.js';

/** One option as it was given, in order. */
export interface GivenOption {
  readonly row: OptionRow;
  readonly value: string | undefined;
  /** `FILE:LINE` where it was read from a file. */
  readonly place?: string | undefined;
}

export interface ParsedLine {
  readonly given: readonly GivenOption[];
  readonly operands: readonly string[];
  /** What follows `--`, or undefined when there is none. */
  readonly rest: readonly string[] | undefined;
}

export interface ParseHints {
  /** Names that QEMU has and vring does not yet: refused by name. */
  readonly unsupported?: ReadonlyMap<string, string> | undefined;
}

/** Throws UsageError. */
export function parseLine(command: CommandRow, argv: readonly string[], hints: ParseHints = {}): ParsedLine {
  const rows = new Map<string, OptionRow>();
  for (const row of command.options) for (const name of [row.name, ...(row.aliases ?? [])]) rows.set(name, row);
  const given: GivenOption[] = [];
  const operands: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i];
    if (word === '--') return { given, operands, rest: argv.slice(i + 1) };
    if (!word.startsWith('-') || word === '-') {
      operands.push(word);
      continue;
    }
    const equals = command.dashes === 'double' ? word.indexOf('=') : -1;
    const dashed = equals < 0 ? word : word.slice(0, equals);
    const name = dashed.replace(/^--?/, '');
    const row = rows.get(name);
    if (!row || (command.dashes === 'double' && !dashed.startsWith('--') && name.length > 1)) {
      const reason = hints.unsupported?.get(name);
      if (reason !== undefined) throw new UsageError(`${word} ${reason}`);
      const prefix = command.dashes === 'single' ? '-' : '--';
      const hint = didYouMean(name, [...rows.keys(), ...(hints.unsupported?.keys() ?? [])], prefix);
      throw new UsageError(`${word}: there is no such option${hint}`);
    }
    if (row.argument === undefined) {
      if (equals >= 0) throw new UsageError(`${spelled(row, command)} takes no argument`);
      given.push({ row, value: undefined });
      continue;
    }
    if (equals >= 0) {
      given.push({ row, value: word.slice(equals + 1) });
      continue;
    }
    const next = argv[i + 1];
    if (row.argumentOptional) {
      const fits = (value: string) => next === value || (value.endsWith('=') && next?.startsWith(value));
      const takes = next !== undefined && (row.values?.some(fits) ?? false);
      given.push({ row, value: takes ? next : undefined });
      if (takes) i++;
      continue;
    }
    if (next === undefined) throw new UsageError(`${word}: the argument ${row.argument} is missing`);
    given.push({ row, value: next });
    i++;
  }
  return { given, operands, rest: undefined };
}
