import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { openFailure } from './open-failure.js';

test('a unix socket that cannot be listened on: why, as the system itself says', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vring-open-'));
  const failure = (path: string) =>
    new Promise<string>((resolve, reject) => {
      const server = net.createServer();
      server.once('error', (error) => resolve(openFailure(error)));
      server.listen(path, () => server.close(() => reject(new Error('it listens'))));
    });
  try {
    assert.equal(await failure(join(folder, 'none', 's')), 'No such file or directory');
    writeFileSync(join(folder, 'file'), '');
    assert.equal(await failure(join(folder, 'file', 's')), 'Not a directory');
    assert.equal(await failure(join(folder, 'file')), 'Address already in use');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
