import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseLine } from '../options/parse.js';
import { planRun } from './configure.js';
import { runCommand, unsupportedRunOptions } from './options.js';

test('a PC is without ACPI where that is said, and only there', () => {
  const acpi = (...argv: string[]) =>
    planRun(parseLine(runCommand, ['-kernel', 'k', ...argv], { unsupported: unsupportedRunOptions }).given, {
      system: false,
      nowMs: 0,
    }).machine.acpi;
  assert.deepEqual([acpi(), acpi('-M', 'q35,acpi=auto'), acpi('-M', 'pc,acpi=on')], [true, true, true]);
  assert.deepEqual([acpi('-no-acpi'), acpi('-M', 'q35', '-no-acpi'), acpi('-M', 'pc,acpi=off')], [false, false, false]);
  assert.throws(() => acpi('-arch', 'riscv64', '-no-acpi'), /-no-acpi: only a PC/);
});
