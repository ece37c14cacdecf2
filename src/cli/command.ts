/** What a command of `vring` is to the program. */
import type { CommandRow } from './options/option-row.js';
import type { ProcessIo } from './process-io.js';

export interface Command extends CommandRow {
  /** Loads the command's code, which nothing else waits for. */
  load(): Promise<(argv: readonly string[], io: ProcessIo) => Promise<number>>;
  /** Names by which the program itself may be called, as `vring link` makes them. */
  readonly programName?: string;
  readonly otherNames?: readonly string[];
  /** The command reads its own options: what it takes is told by its own help. */
  readonly ownOptions?: boolean;
}
