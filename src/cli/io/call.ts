/** What a command of `vring io` is, how it is called, and the reading of its arguments. */
import { number } from './numbers.js';
import type { IoSession } from './session.js';

export const maxLength = 2147483136;

export interface IoCommand {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly args: string;
  readonly oneLine: string;
  /** Bounds on the number of arguments; -1: none. */
  readonly min: number;
  readonly max: number;
  readonly needsFile: boolean;
  /** Option letters; those followed by `:` take a value. */
  readonly letters?: string;
  run(session: IoSession, call: IoCall): Promise<number>;
}

export interface IoCall {
  readonly command: IoCommand;
  readonly flags: ReadonlyMap<string, string>;
  readonly operands: readonly string[];
}

function parsingError(session: IoSession, text: string): undefined {
  session.out(`Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ${text}\n`);
  return undefined;
}

export function parseNumber(session: IoSession, text: string): number | undefined {
  return number(text) ?? parsingError(session, text);
}

/** `unless`: the flag that lifts the bound, as the message tells it. */
export function parseLength(session: IoSession, text: string, unless = ''): number | undefined {
  const value = parseNumber(session, text);
  if (value !== undefined && value > maxLength) {
    session.out(`length cannot exceed ${maxLength}${unless}, given ${text}\n`);
    return undefined;
  }
  return value;
}

export function parsePattern(session: IoSession, text: string): number | undefined {
  const value = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
  if (!(value >= 0 && value <= 255)) {
    session.out(`${text} is not a valid pattern byte\n`);
    return undefined;
  }
  return value;
}

export function usage(session: IoSession, command: IoCommand): number {
  session.out(`${command.name} ${command.args} -- ${command.oneLine}\n`);
  return -1;
}
