/** At least 200 cases of every row, a million in all: `npm test -- --long rows`. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { integerRows, vectorRows } from '../../guest/x86/table/index.js';
import { untestedRows } from './allowed-differences.js';
import { NativeRunner, nativeUnavailable } from './native-runner.js';
import { RowMachine } from './row-machine.js';
import { rowSeed, testRow } from './row-test.js';

const seed = Number(process.env['VRING_SEED'] ?? Date.now() % 1_000_000);
const skip = nativeUnavailable() ?? false;
const CASES_IN_ALL = 1_000_000;
/** Cases that are written to a file at a time. */
const PORTION = 300;

const native = skip ? undefined : new NativeRunner();
after(() => native?.close());

test(`a million random cases on both tiers (seed ${seed})`, { skip }, () => {
  assert.ok(native);
  const machines = [
    { name: 'cold tier', machine: new RowMachine(0), hot: false, share: 1 },
    { name: 'compiled code', machine: new RowMachine(2), hot: true, share: 0.1 },
  ];
  const rows = [...integerRows, ...vectorRows].filter(
    (row) => !untestedRows.some((entry) => entry.rows.test(row.name)),
  );
  const portions = Math.ceil(CASES_IN_ALL / rows.length / PORTION);
  const failures: string[] = [];
  let cases = 0;
  for (const row of rows) {
    for (let i = 0; i < portions; i++) {
      const report = testRow(row, rowSeed(row, seed + i), PORTION, native, machines);
      cases += report.cases;
      failures.push(...report.failures);
    }
  }
  assert.ok(cases >= CASES_IN_ALL, `${cases} cases`);
  assert.equal(failures.length, 0, `${failures.length} differences, the first:\n${failures.slice(0, 10).join('\n')}`);
});
