/**
 * One row per option: the parser, `--help`, shell completion and the man page all come from it.
 */
export interface OptionRow {
  /** Without dashes. */
  readonly name: string;
  readonly aliases?: readonly string[];
  /** What follows the option, as help shows it; absent: the option stands alone. */
  readonly argument?: string;
  /** The argument may be missing; it is taken only when it is one of `values`, or starts with one that ends in `=`. */
  readonly argumentOptional?: boolean;
  /** Words that the argument can be, or can start with. */
  readonly values?: readonly string[];
  /** The argument is a file's name. */
  readonly isFile?: boolean;
  readonly default?: string;
  readonly sentence: string;
  /** Heading in the help. */
  readonly group: string;
  /** May be given more than once; otherwise the last one counts. */
  readonly repeats?: boolean;
}

export interface CommandRow {
  readonly name: string;
  /** What follows the name, as usage shows it. */
  readonly synopsis: string;
  readonly sentence: string;
  readonly options: readonly OptionRow[];
  /** `single`: -option as QEMU has it, and --option too. `double`: --option alone, short ones with one dash. */
  readonly dashes: 'single' | 'double';
  /** Words that the first operand can be. */
  readonly operands?: readonly string[];
  readonly examples?: readonly string[];
  /** Paragraphs for the man page. */
  readonly description?: readonly string[];
  /** What the exit status means, for the man page. */
  readonly exitStatus?: readonly (readonly [status: string, meaning: string])[];
}

/** The option as a person writes it. */
export function spelled(row: OptionRow, command: Pick<CommandRow, 'dashes'>, name = row.name): string {
  return command.dashes === 'single' || name.length === 1 ? `-${name}` : `--${name}`;
}
