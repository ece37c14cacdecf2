import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Answer, Client } from './testing/qmp-client.js';
import { missingOracle, names, SideBySide } from './testing/side-by-side.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-qmp-block-'));
after(() => rmSync(folder, { recursive: true }));

test('nodes, exports and named devices are told as QEMU tells them', {
  skip: missingOracle && `no ${missingOracle}`,
  timeout: 150_000,
}, async () => {
  for (const name of names) {
    const [base, top] = [join(folder, `${name}-base`), join(folder, name)];
    writeFileSync(base, new Uint8Array(1 << 20).fill(3));
    const made = spawnSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', top]);
    assert.equal(made.status, 0, String(made.stderr));
  }
  const top = join(folder, 'NAME');
  await using machines = new SideBySide(folder);
  await machines.start([
    ...['-blockdev', `driver=file,filename=${top}-base,node-name=base-file,read-only=on`],
    ...['-blockdev', 'driver=raw,file=base-file,node-name=base,read-only=on'],
    ...['-blockdev', `driver=file,filename=${top},node-name=top-file,cache.no-flush=on`],
    ...['-blockdev', 'driver=qcow2,file=top-file,node-name=top,backing=base,cache.no-flush=on,detect-zeroes=on'],
    ...['-device', 'virtio-blk-pci,drive=top,id=disk,share-rw=on', '-device', 'VGA,id=screen,vgamem_mb=32'],
  ]);
  const { ours, theirs } = machines;
  const both = (execute: string, given?: object) => machines.ask(execute, given);
  const byName = (a: Answer, b: Answer) => (a['node-name'] < b['node-name'] ? -1 : 1);
  for (const node of ['top', 'base-file', 'no-such'])
    assert.deepEqual(...(await both('block-set-write-threshold', { 'node-name': node, 'write-threshold': 4096 })));
  for (const flat of [true, false]) {
    const answers = await both('query-named-block-nodes', { flat });
    const [our, their] = answers.map((answer) => answer.return.sort(byName));
    for (const node of [...our, ...their]) {
      // What the file system gives a file; and a graph's filename, which is none where options say what no name can.
      delete node.image['actual-size'];
      delete node.image['backing-image']?.['actual-size'];
      if (node['node-name'] === 'top') {
        delete node.file;
        delete node.image.filename;
      }
    }
    assert.deepEqual(our, their);
  }
  const devices = (answer: Answer) => answer.return.map(({ device, qdev }: Answer) => [device, qdev]);
  const [ourBlocks, theirBlocks] = await both('query-block');
  assert.deepEqual(devices(ourBlocks), devices(theirBlocks));
  const [ourCounts, theirCounts] = await both('query-blockstats');
  assert.deepEqual(devices(ourCounts), devices(theirCounts));
  for (const [i, { stats }] of ourCounts.return.entries())
    assert.deepEqual({ ...theirCounts.return[i].stats, ...stats }, theirCounts.return[i].stats);
  const [ourNodes, theirNodes] = (await both('query-blockstats', { 'query-nodes': true })).map((answer) =>
    answer.return.sort(byName),
  );
  for (const node of ourNodes) {
    const their = theirNodes.find((each: Answer) => each['node-name'] === node['node-name']);
    assert.deepEqual({ ...their.stats, ...node.stats }, their.stats);
  }
  const address = { addr: { type: 'unix', data: { path: join(folder, 'NAME.socket') } } };
  for (const [execute, given] of [
    ['query-block-jobs'],
    ['query-jobs'],
    ['nbd-server-stop'],
    ['nbd-server-start', {}],
    ['nbd-server-start', address],
    ['nbd-server-start', address],
    ['nbd-server-add', { device: 'no' }],
    ['nbd-server-add', { device: 'top', writable: true }],
    ['nbd-server-add', { device: 'base', name: 'below' }],
    ['block-export-add', { type: 'nbd', id: 'e', 'node-name': 'base-file' }],
    ['block-export-add', { type: 'nbd', id: 'e', 'node-name': 'base-file' }],
    ['block-export-del', { id: 'x' }],
    ['block-export-del', { id: 'e' }],
    ['nbd-server-remove', { name: 'below', mode: 'hard' }],
    ['query-block-exports'],
    ['qom-get', { path: '/machine/peripheral/screen', property: 'vgamem_mb' }],
    ['qom-get', { path: '/machine/peripheral/screen', property: 'type' }],
    ['qom-get', { path: '/machine/peripheral/screen', property: 'x' }],
    ['qom-get', { path: '/machine/peripheral/x', property: 'x' }],
  ] as const) {
    const [our, their] = await both(execute, given);
    assert.deepEqual(our, their, `${execute} ${JSON.stringify(given)}`);
  }
  const [our, their] = (await both('qom-list', { path: '/machine/peripheral' })).map(({ return: list }) =>
    list.filter(({ type }: { type: string }) => type.startsWith('child<')).sort(),
  );
  const sorted = (list: Answer) => list.map(({ name, type }: Answer) => `${name} ${type}`).sort();
  assert.deepEqual(sorted(our), sorted(their));

  // Another program reads and writes the disk of the machine.
  const url = `nbd+unix:///top?socket=${join(folder, 'ours.socket')}`;
  const copy = join(folder, 'copy');
  const io = spawnSync('qemu-io', ['-f', 'raw', '-c', 'write -P 9 4096 512', url], { encoding: 'utf8' });
  assert.equal(io.status, 0, io.stderr);
  const copied = spawnSync('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', url, copy], { encoding: 'utf8' });
  assert.equal(copied.status, 0, copied.stderr);
  const expected = new Uint8Array(1 << 20).fill(3).fill(9, 4096, 4608);
  assert.ok(Buffer.from(expected).equals(readFileSync(copy)));
  await both('nbd-server-stop');
  const gone = ({ events }: Client) =>
    events.filter(({ event }) => event === 'BLOCK_EXPORT_DELETED').map(({ data }) => data.id);
  assert.deepEqual(gone(ours), ['e', 'below', 'top']);
  assert.deepEqual(gone(ours), gone(theirs));
});
