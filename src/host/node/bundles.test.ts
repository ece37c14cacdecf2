/** The build's bundles are those of the present code, and V8 takes their caches under the flags that they are loaded with. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { type BundleName, bundle } from './bundles.js';
import { tuneForMachines } from './engine-flags.js';

const check = `
const { readFileSync } = require('node:fs');
const { setFlagsFromString } = require('node:v8');
const { Script } = require('node:vm');
const [stem, ...flags] = process.argv.slice(1);
for (const flag of flags) setFlagsFromString(flag);
const cachedData = readFileSync(stem + '.cache');
const script = new Script(readFileSync(stem + '.js', 'latin1'), { filename: stem + '.js', cachedData });
process.exit(script.cachedDataRejected ? 3 : 0);
`;

/** Exit status 3: V8 refuses the cache. */
function cacheStatus(name: BundleName, flags: readonly string[]): number | null {
  const file = bundle(name);
  assert.ok(file, 'the bundles are of other code: npm run build makes them anew');
  return spawnSync(process.execPath, ['-e', check, file.replace(/\.cjs$/, ''), ...flags]).status;
}

test('the program starts from its code cache', () => {
  assert.equal(cacheStatus('vring', []), 0);
});

test("a machine's threads start from their code caches", () => {
  const flags: string[] = [];
  tuneForMachines((flag) => flags.push(flag));
  for (const name of ['machine-worker', 'region-worker', 'disk-worker'] as const) {
    assert.equal(cacheStatus(name, flags), 0, name);
    assert.equal(cacheStatus(name, []), 3, `${name}: V8 minds the flags`);
  }
});
