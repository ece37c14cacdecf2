/** Jobs of a transaction that end together, and backups that are compressed, against QEMU. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Answer } from './testing/qmp-client.js';
import { missingOracle, names, SideBySide } from './testing/side-by-side.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-transaction-'));
after(() => rmSync(folder, { recursive: true }));
const skip = missingOracle && `no ${missingOracle}`;
const path = (file: string) => join(folder, `NAME-${file}`);

function run(program: string, ...words: string[]): string {
  const { status, stderr, stdout } = spawnSync(program, words, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout;
}

/** What each job went through, in its order. QEMU has a backup pause for a moment when it begins. */
function byJob(events: Answer[]): Record<string, string[]> {
  const told: Record<string, string[]> = {};
  for (const { event, data } of events.splice(0)) {
    const id = data.id ?? data.device;
    const list = (told[id] ??= []);
    list.push(data.status ?? event);
    if (list.at(-2) === 'paused' && list.at(-1) === 'running') list.splice(-2);
  }
  return told;
}

test('jobs of a group end well together, or not at all; backups are compressed', {
  skip,
  timeout: 200_000,
}, async () => {
  for (const name of names) {
    const at = (file: string) => join(folder, `${name}-${file}`);
    run('qemu-img', 'create', '-q', '-f', 'raw', at('d0'), '2M');
    run('qemu-io', '-f', 'raw', '-c', 'write -P 7 0 2M', at('d0'));
    run('qemu-img', 'create', '-q', '-f', 'raw', at('d1'), '1M');
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'cluster_size=2M', at('large'), '2M');
  }
  await using machines = new SideBySide(folder);
  await machines.start([
    ...['d0', 'd1'].flatMap((id) => ['-drive', `file=${path(id)},format=raw,if=none,id=${id}`]),
    ...['d0', 'd1'].flatMap((id) => ['-device', `virtio-blk-pci,drive=${id}`]),
    ...[
      '-blockdev',
      'driver=blkdebug,node-name=bad,inject-error.0.event=pwritev,image.driver=null-co,image.size=1048576',
    ],
    ...['-blockdev', 'driver=null-co,node-name=plain,size=2097152'],
    ...['-blockdev', `driver=qcow2,node-name=large,file.driver=file,file.filename=${path('large')}`],
  ]);
  const same = async (execute: string, given?: object) => {
    const [our, their] = await machines.ask(execute, given);
    assert.deepEqual(our, their, `${execute} ${JSON.stringify(given)}`);
  };
  const until = async (isThere: (jobs: Answer[]) => boolean) => {
    for (;;) {
      const [our, their] = await machines.ask('query-jobs');
      if (isThere(our.return) && isThere(their.return)) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const ended = async () => {
    await until((jobs) => jobs.every(({ status }) => status === 'concluded'));
    assert.deepEqual(byJob(machines.ours.events), byJob(machines.theirs.events));
  };
  const waits = (jobs: Answer[]) => jobs.some(({ status }) => status === 'waiting');
  const pending = (jobs: Answer[]) => jobs.every(({ status }) => status === 'pending');
  const backup = (device: string, more: object = {}) => ({
    type: 'drive-backup',
    data: { device, sync: 'full', target: path(`to-${device}`), format: 'qcow2', ...more },
  });
  const group = (...actions: object[]) =>
    same('transaction', { actions, properties: { 'completion-mode': 'grouped' } });
  const slow = { speed: 65536 };
  await group(backup('d0'), backup('d1'));
  await ended();
  for (const device of ['d0', 'd1']) {
    await group(backup('d0', slow), backup('d1'));
    await until(waits);
    await same('block-job-cancel', { device });
    await ended();
  }
  for (const id of ['d0', 'd1']) {
    await group(backup('d0'), backup('d1', { 'auto-finalize': false }));
    await until(pending);
    await same('job-finalize', { id });
    await ended();
  }
  await group(backup('d0', { 'auto-dismiss': false }), backup('d1'));
  await ended();
  await same('job-dismiss', { id: 'd0' });
  await ended();
  // One fails, and takes the other with it.
  await group(backup('d0', slow), { type: 'blockdev-backup', data: { device: 'd1', sync: 'full', target: 'bad' } });
  await ended();
  for (const type of ['block-dirty-bitmap-add', 'block-dirty-bitmap-clear'])
    await group({ type, data: { node: 'd0', name: 'x' } });
  await same('transaction', { actions: [], properties: { 'completion-mode': 'x' } });
  await same('transaction', { actions: [], properties: { frob: 1 } });
  const packed = { device: 'd0', sync: 'full', compress: true };
  await same('drive-backup', { ...packed, target: path('packed'), format: 'qcow2' });
  await ended();
  await same('blockdev-backup', { ...packed, target: 'large' });
  await ended();
  await same('blockdev-backup', { ...packed, target: 'plain' });
  await same('quit');
});

test('what was stored compressed is what it should be', { skip, timeout: 60_000 }, () => {
  for (const name of names)
    for (const [file, clusters] of [
      ['packed', 32],
      ['large', 1],
    ] as const) {
      const image = join(folder, `${name}-${file}`);
      const check = JSON.parse(run('qemu-img', 'check', '--output=json', image));
      assert.equal(check['compressed-clusters'], clusters, image);
      run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', join(folder, `${name}-d0`), image);
    }
});
