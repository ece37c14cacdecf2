import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { openFailure } from './open-failure.js';
import { freshUnixPath, unixPath } from './unix-path.js';

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

test('a path that an address has no room for is refused, not cut', () => {
  const longest = `/tmp/${'a'.repeat(102)}`;
  assert.equal(freshUnixPath(longest), longest);
  for (const path of [`${longest}a`, `/tmp/${'ä'.repeat(52)}`]) {
    assert.throws(() => unixPath(path), { code: 'ENAMETOOLONG' });
    assert.throws(() => freshUnixPath(path), { code: 'ENAMETOOLONG' });
  }
});
