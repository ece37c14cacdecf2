import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { expectedFile, generateAll } from './golden.js';

/** The first lines that differ, with what is around them. */
function difference(actual: string, expected: string): string {
  const [ours, theirs] = [actual.split('\n'), expected.split('\n')];
  const at = ours.findIndex((line, i) => line !== theirs[i]);
  const around = (lines: readonly string[], mark: string) =>
    lines.slice(Math.max(0, at - 3), at + 6).map((line) => `${mark} ${line}`);
  return [`line ${at + 1}, expected:`, ...around(theirs, '-'), 'now:', ...around(ours, '+')].join('\n');
}

test('generated code is what it was', () => {
  for (const [name, text] of generateAll()) {
    const expected = readFileSync(expectedFile(name), 'utf8');
    if (text === expected) continue;
    assert.fail(
      `${name} differs. If that is meant: node dist/dev/golden/golden.js, and read git diff src/dev/golden.\n${difference(text, expected)}`,
    );
  }
});
