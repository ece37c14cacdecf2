/** Character devices that come and go, against QEMU. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Answer } from './testing/qmp-client.js';
import { missingOracle, names, SideBySide } from './testing/side-by-side.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-chardevs-'));
after(() => rmSync(folder, { recursive: true }));
const skip = missingOracle && `no ${missingOracle}`;
const path = (file: string) => join(folder, `NAME-${file}`);

test('they come, are written and read, and go', { skip, timeout: 100_000 }, async () => {
  await using machines = new SideBySide(folder);
  await machines.start(['-serial', 'null']);
  const same = async (execute: string, given?: object) => {
    const [our, their] = await machines.ask(execute, given);
    assert.deepEqual(our, their, `${execute} ${JSON.stringify(given)}`);
  };
  const add = (id: string, type: string, data: object = {}) => same('chardev-add', { id, backend: { type, data } });
  const unix = (file: string, more: object = {}) => ({ addr: { type: 'unix', data: { path: path(file) } }, ...more });
  await add('r1', 'ringbuf', { size: 4096 });
  await add('r1', 'ringbuf');
  await add('r2', 'ringbuf', { size: 5 });
  await add('r3', 'ringbuf', { size: 'x' });
  await same('ringbuf-write', { device: 'r1', data: 'hello' });
  await same('ringbuf-read', { device: 'r1', size: 10 });
  await add('n1', 'null');
  await add('f1', 'file', { out: path('file') });
  await add('s1', 'socket', unix('socket', { wait: false }));
  await add('s2', 'socket', { addr: { type: 'unix', data: {} } });
  await add('u1', 'udp', { remote: { type: 'inet', data: { host: '127.0.0.1', port: '9' } } });
  await add('x', 'no-such-kind');
  for (const name of names) assert.ok(existsSync(join(folder, `${name}-socket`)), `${name} listens`);
  const [ours, theirs] = (await machines.ask('query-chardev')).map((answer: Answer) =>
    answer.return
      .filter(({ label }: Answer) => /^[nsu]1$|^serial0$/.test(label))
      .toSorted((a: Answer, b: Answer) => (a.label < b.label ? -1 : 1)),
  );
  assert.deepEqual(ours, theirs);
  assert.equal(ours.length, 4);
  for (const id of ['r1', 'r1', 'serial0', 's1', 'u1', 'f1', 'n1']) await same('chardev-remove', { id });
  await same('chardev-send-break', { id: 'serial0' });
  await same('chardev-send-break', { id: 'none' });
  for (const line of ['chardev-add ringbuf,id=h1', 'chardev-remove h1', 'chardev-remove h1', 'chardev-send-break x'])
    await same('human-monitor-command', { 'command-line': line });
});
