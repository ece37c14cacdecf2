/** For tests: what command lines come to. */
import assert from 'node:assert/strict';
import { VringError } from '../../../vmm/index.js';
import { parseLine } from '../../options/parse.js';
import { planRun } from '../configure.js';
import { runCommand, unsupportedRunOptions } from '../options.js';

export const plan = (...argv: string[]) =>
  planRun(parseLine(runCommand, ['-kernel', 'k', ...argv], { unsupported: unsupportedRunOptions }).given, {
    system: false,
    nowMs: 0,
  });
export const systemPlan = (...argv: string[]) => planRun(parseLine(runCommand, argv).given, { system: true, nowMs: 0 });

/** The sentence that refuses a command line. */
export function refusal(...argv: string[]): string {
  try {
    plan(...argv);
  } catch (error) {
    assert.ok(error instanceof VringError, String(error));
    assert.doesNotMatch(error.message, /\n/);
    return error.message;
  }
  return assert.fail(`${argv.join(' ')} was taken`);
}
