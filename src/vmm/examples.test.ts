/** The programs in examples/ run as they stand, against the package by its name. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { openDebian, VringError } from './index.js';

const run = promisify(execFile);
const example = (name: string) => fileURLToPath(new URL(`../examples/${name}.js`, import.meta.url));

test('examples/serial', async () => {
  const { stdout, stderr } = await run(process.execPath, [example('serial')]);
  const [text, place, end] = stdout.split('\n');
  assert.equal(text, '"hello, guest\\r"');
  assert.match(place, /^paused at 0x10003\w: \w{4}$/);
  assert.equal(end, "{ why: 'quit' }");
  assert.equal(stderr, '');
});

test('examples/command', { timeout: 600_000 }, async (t) => {
  try {
    await using session = await openDebian({ offline: true });
    assert.match(session.system.kernelVersion, /^\d/);
  } catch (error) {
    if (error instanceof VringError && error.code === 'offline-missing') return t.skip('Debian is not in the cache');
    throw error;
  }
  const { stdout } = await run(process.execPath, [example('command'), 'sh', '-c', 'cat; uname -s']);
  assert.equal(stdout, 'what the command reads\nLinux\n');
});
