import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { integerRows, vectorRows } from '../../guest/x86/table/index.js';
import type { InsnRow } from '../../guest/x86/translator.js';
import { untestedRows } from './allowed-differences.js';
import { NativeRunner, nativeUnavailable } from './native-runner.js';
import { RowMachine } from './row-machine.js';
import { rowSeed, testRows } from './row-test.js';
import { STORED_CASES, StoredRunner, storedRows } from './stored-results.js';

/** A fresh seed each day; `VRING_SEED` repeats a run. */
const seed = Number(process.env['VRING_SEED'] ?? Math.floor(Date.now() / 86_400_000));
const skip = nativeUnavailable() ?? false;

const native = skip ? undefined : new NativeRunner();
const machines = [
  { name: 'cold tier', machine: new RowMachine(0), hot: false, share: 1 },
  { name: 'compiled code', machine: new RowMachine(2), hot: true, share: 0.25 },
];
after(() => native?.close());

const families = new Map<string, InsnRow[]>();
for (const row of [...integerRows, ...vectorRows]) {
  if (untestedRows.some((entry) => entry.rows.test(row.name))) continue;
  const family = row.unit ?? 'integer';
  families.set(family, [...(families.get(family) ?? []), row]);
}

for (const [family, rows] of families) {
  test(`${family} instructions do what the processor does (seed ${seed})`, { skip }, () => {
    assert.ok(native);
    const seeded = rows.map((row) => ({ row, seed: rowSeed(row, seed) }));
    const failures = testRows(seeded, 12, native, machines).flatMap((report) => report.failures);
    assert.equal(failures.length, 0, `${failures.length} differences, the first:\n${failures.slice(0, 3).join('\n')}`);
  });
}

// Everywhere: where there is no processor to ask, this is all that is compared.
test('a set of cases has the results that a processor gave when they were recorded', () => {
  const reports = testRows(storedRows(), STORED_CASES, new StoredRunner(), machines);
  assert.equal(reports.filter(({ missing }) => missing).length, 0);
  const failures = reports.flatMap((report) => report.failures);
  assert.equal(failures.length, 0, `${failures.length} differences, the first:\n${failures.slice(0, 3).join('\n')}`);
});
