/** What a disk tool loads: a few dozen modules, none of the machine's. Each costs about a millisecond before the work begins. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));
// The single files that the bundle is made of.
const main = path.join(root, 'dist/cli/program.js');

test('a disk tool loads only what it uses', () => {
  const directory = fs.mkdtempSync(path.join(tmpdir(), 'vring-start-'));
  try {
    const image = path.join(directory, 'a.qcow2');
    assert.equal(spawnSync(process.execPath, [main, 'img', 'create', '-q', '-f', 'qcow2', image, '1M']).status, 0);
    const { status, stderr } = spawnSync(process.execPath, [main, 'img', 'info', image], {
      encoding: 'utf8',
      env: { ...process.env, NODE_DEBUG: 'esm' },
    });
    assert.equal(status, 0);
    const loaded = [...new Set(stderr.match(/file:\S*?\/dist\/[\w/-]+\.js/g))].map((url) =>
      url.replace(/.*\/dist\//, ''),
    );
    assert.ok(loaded.includes('block/formats/qcow2/driver.js'), 'the log of the module loader reads otherwise now');
    const allowed =
      /^(base|block|cli\/(img|options|run\/options\.js|[\w-]+\.js)|host\/node|machine\/(trace|architecture-names)\.js)/;
    assert.deepEqual(
      loaded.filter((file) => !allowed.test(file)),
      [],
    );
    assert.ok(loaded.length <= 50, `${loaded.length} modules`);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
});
