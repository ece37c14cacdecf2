import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { coveragePage } from './coverage.js';
import { allRows } from './table/index.js';

test('docs/x86-instructions.md is what the rows say', () => {
  const path = fileURLToPath(new URL('../../../docs/x86-instructions.md', import.meta.url));
  const page = coveragePage(allRows);
  if (process.env['VRING_UPDATE']) writeFileSync(path, page);
  assert.equal(readFileSync(path, 'utf8'), page, 'run this test with VRING_UPDATE=1');
});

test('every row of the one-byte map that the manual defines has a row', () => {
  const line = coveragePage(allRows)
    .split('\n')
    .find((text) => text.startsWith('- one-byte opcodes: '));
  // SDM vol. 2 table A-2: all are used in one mode or another, but for the VEX and EVEX prefixes' own meaning.
  assert.equal(line, '- one-byte opcodes: none');
});
