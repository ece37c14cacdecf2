import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { apiReport } from './testing/api-report.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

test('the public types are those of api/vring.api.md', () => {
  const report = apiReport('Public types of `vring`', join(root, 'dist/vmm/index.d.ts'), join(root, 'dist'));
  const file = join(root, 'api/vring.api.md');
  if (process.env['VRING_UPDATE']) {
    mkdirSync(join(root, 'api'), { recursive: true });
    writeFileSync(file, report);
  }
  for (const name of ['createMachine', 'Machine', 'runCommand', 'VringError']) {
    assert.match(report, new RegExp(`(interface|function|class) ${name}\\b`), name);
  }
  assert.equal(
    report,
    readFileSync(file, 'utf8'),
    'a change of the interface: read the difference, then write the file anew',
  );
});
