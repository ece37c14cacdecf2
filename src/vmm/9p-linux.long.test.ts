/** Linux's own 9P driver on a folder of the host. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openDebian, VringError } from './index.js';

const limitMs = 300_000;
const folder = mkdtempSync(join(tmpdir(), 'vring-9p-linux-'));
after(() => rmSync(folder, { recursive: true }));

test('Debian mounts a folder, and what both write there is whole', {
  timeout: limitMs,
  skip: process.platform !== 'linux' && 'folders are shared on Linux',
}, async (t) => {
  const share = join(folder, 'share');
  mkdirSync(share);
  const content = randomBytes(3_000_000);
  writeFileSync(join(share, 'ours'), content);
  writeFileSync(join(folder, 'secret'), 'secret');
  symlinkSync(join(folder, 'secret'), join(share, 'out'));
  const hash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  const lines = [
    'modprobe 9pnet_virtio && modprobe 9p && mkdir -p /m',
    'mount -t 9p -o trans=virtio,version=9p2000.L,msize=131072 share /m && echo mounted',
    'cd /m; echo ours $(sha256sum < ours); cat out 2> /dev/null || echo no way out',
    'head -c 5000000 /dev/urandom > theirs; echo theirs $(sha256sum < theirs)',
    'mkdir -p a/b; echo line > a/b/c; mv a d; echo more >> d/b/c; echo names $(ls d/b); chmod 640 d/b/c; ln -s b/c d/l; echo link $(cat d/l)',
    'for i in $(seq 300); do : > d/b/f$i; done; echo count $(ls d/b | wc -l); rm d/b/f*; ln theirs twin; echo links $(stat -c %h twin)',
    'truncate -s 1000 twin; echo size $(stat -c %s theirs); df /m > /dev/null && echo df; sync; cd /; umount /m && echo done',
  ];
  let session: Awaited<ReturnType<typeof openDebian>>;
  try {
    session = await openDebian({
      suite: 'bookworm',
      flavour: 'amd64',
      machine: { devices: [{ type: 'virtio-9p', path: share, tag: 'share', security: 'none' }] },
      command: ['sh', '-c', lines.join('\n')],
    });
  } catch (error) {
    if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code)) return t.skip(error.message);
    throw error;
  }
  await using running = session;
  let text = '';
  running.stream('stdout').onData((bytes) => {
    text += Buffer.from(bytes).toString('latin1');
  });
  await running.start();
  assert.equal(await running.exited, 0, `${text}\n${running.kernelLog}`);
  await running.machine.ended;
  const theirs = /^theirs (\w+) -$/m.exec(text)?.[1];
  assert.deepEqual(
    text.split('\n').filter((line) => line !== ''),
    [
      ...['mounted', `ours ${hash(content)} -`, 'no way out', `theirs ${theirs} -`, 'names c', 'link line more'],
      ...['count 301', 'links 2', 'size 1000', 'df', 'done'],
    ],
    running.kernelLog,
  );
  assert.deepEqual(
    [lstatSync(join(share, 'theirs')).size, lstatSync(join(share, 'd/b/c')).mode & 0o777],
    [1000, 0o640],
  );
  assert.equal(readFileSync(join(share, 'd/b/c'), 'utf8'), 'line\nmore\n');
  assert.deepEqual([existsSync(join(share, 'a')), readFileSync(join(folder, 'secret'), 'utf8')], [false, 'secret']);
});
