import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Answer } from './testing/qmp-client.js';
import { missingOracle, names, SideBySide } from './testing/side-by-side.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-qmp-jobs-'));
after(() => rmSync(folder, { recursive: true }));
const skip = missingOracle && `no ${missingOracle}`;

function run(program: string, ...words: string[]): string {
  const { status, stderr, stdout } = spawnSync(program, words, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout;
}

/** In the folder of each machine: `base`, raw and full of threes; `mid` and `top` over it, with some fives. */
function makeImages(): void {
  for (const name of names) {
    const at = (file: string) => join(folder, `${name}-${file}`);
    run('qemu-img', 'create', '-q', '-f', 'raw', at('base'), '4M');
    run('qemu-io', '-f', 'raw', '-c', 'write -P 3 0 4M', at('base'));
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', at('base'), '-F', 'raw', at('mid'));
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', at('mid'), '-F', 'qcow2', at('top'));
    run('qemu-io', '-c', 'write -P 5 1M 1M', at('top'));
  }
}

const path = (file: string) => join(folder, `NAME-${file}`);
/** An event of that name, or a job's change to that state. */
const isStatus = (wanted: string) => (event: Answer) =>
  event.event === wanted || (event.event === 'JOB_STATUS_CHANGE' && event.data.status === wanted);

/** QEMU has a backup pause for a moment when it begins. */
function withoutPauses(events: Answer[]): Answer[] {
  const kept: Answer[] = [];
  for (let i = 0; i < events.length; i++) {
    if (isStatus('paused')(events[i]) && isStatus('running')(events[i + 1])) i++;
    else kept.push(events[i]);
  }
  return kept;
}

test('jobs, snapshots and bitmaps are answered and told of as QEMU does', { skip, timeout: 200_000 }, async () => {
  makeImages();
  await using machines = new SideBySide(folder);
  await machines.start([
    ...['-drive', `file=${path('top')},format=qcow2,if=none,id=d0,node-name=n0`],
    ...['-device', 'virtio-blk-pci,drive=d0,id=vd', '-drive', 'if=none,id=cd0,media=cdrom'],
    ...['-device', 'ide-cd,drive=cd0,id=cdrom'],
    ...['-blockdev', `driver=file,filename=${path('base')},node-name=bf,read-only=on`],
  ]);
  /** `until`: the event that is waited for, or the state. */
  const same = async (execute: string, given?: object, until?: string) => {
    const [our, their] = await machines.ask(execute, given);
    const what = `${execute} ${JSON.stringify(given)}`;
    assert.deepEqual(our, their, what);
    if (until === undefined) return;
    const [ourEvents, theirEvents] = await machines.events(isStatus(until));
    assert.deepEqual(withoutPauses(ourEvents), withoutPauses(theirEvents), what);
  };
  await same('block-stream', { device: 'd0', 'job-id': 's1', base: path('base') }, 'null');
  await same('query-block-jobs');
  const mirror = { device: 'd0', target: path('copy'), sync: 'full', format: 'qcow2' };
  await same('drive-mirror', mirror, 'BLOCK_JOB_READY');
  await same('query-block-jobs');
  await same('query-jobs');
  await same('block-job-pause', { device: 'd0' }, 'standby');
  await same('query-block-jobs');
  await same('block-job-pause', { device: 'd0' });
  await same('block-job-resume', { device: 'd0' }, 'ready');
  await same('block-job-resume', { device: 'd0' });
  await same('block-job-set-speed', { device: 'd0', speed: 1000 });
  await same('block-job-complete', { device: 'd0' }, 'null');
  const kept = { 'auto-finalize': false, 'auto-dismiss': false, 'job-id': 'm2' };
  await same('drive-mirror', { ...mirror, target: path('copy2'), format: 'raw', ...kept }, 'BLOCK_JOB_READY');
  await same('job-complete', { id: 'm2' }, 'BLOCK_JOB_PENDING');
  await same('query-jobs');
  await same('job-finalize', { id: 'm2' }, 'concluded');
  await same('query-jobs');
  await same('job-finalize', { id: 'm2' });
  await same('job-dismiss', { id: 'm2' }, 'null');
  const snapshot = (file: string) => ({ device: 'd0', 'snapshot-file': path(file), 'snapshot-node-name': file });
  for (const file of ['s1', 's2']) await same('blockdev-snapshot-sync', snapshot(file));
  await same('block-commit', { device: 'd0', 'job-id': 'c1' }, 'BLOCK_JOB_READY');
  await same('block-job-complete', { device: 'c1' }, 'null');
  for (const file of ['s3', 's4']) await same('blockdev-snapshot-sync', snapshot(file));
  await same('block-commit', { device: 'd0', 'job-id': 'c1', 'top-node': 's3' }, 'null');
  await same('drive-backup', { device: 'd0', target: path('backup'), sync: 'full', format: 'qcow2' }, 'null');
  await same('drive-mirror', { ...mirror, target: path('copy3'), format: 'raw' }, 'BLOCK_JOB_READY');
  await same('block-job-cancel', { device: 'd0' }, 'null');
  const bitmap = { node: 'd0', name: 'b' };
  const limits = { bps: 1000, bps_rd: 0, bps_wr: 0, iops: 0, iops_rd: 0, iops_wr: 0 };
  const step = (type: string, data: object) => ({ type, data });
  for (const [execute, given] of [
    ['block-job-cancel', { device: 'x' }],
    ['job-cancel', { id: 'x' }],
    ['job-dismiss', { id: 'x' }],
    ['block-job-set-speed', { device: 'x', speed: 1 }],
    ['drive-mirror', { ...mirror, device: 'x' }],
    ['drive-mirror', { device: 'd0', sync: 'full' }],
    ['blockdev-mirror', { ...mirror, format: undefined, target: 'y' }],
    ['block-stream', { device: 'x' }],
    ['block-stream', { device: 'd0', base: 'zz' }],
    ['block-commit', { device: 'x' }],
    ['block-commit', { device: 'd0', top: 'zz' }],
    ['block-commit', { device: 'd0', base: 'zz' }],
    ['blockdev-snapshot-sync', { device: 'x', 'snapshot-file': 'f' }],
    ['blockdev-snapshot', { node: 'x', overlay: 'y' }],
    ['block_resize', { device: 'x', size: 1 }],
    ['block_resize', { device: 'd0', size: -1 }],
    ['block_resize', { device: 'd0', size: 8 << 20 }],
    ['block-dirty-bitmap-add', bitmap],
    ['block-dirty-bitmap-add', bitmap],
    ['block-dirty-bitmap-add', { node: 'd0', name: 'c', granularity: 100 }],
    ['block-dirty-bitmap-add', { node: 'x', name: 'c' }],
    ['block-dirty-bitmap-remove', { node: 'd0', name: 'zz' }],
    ['block-dirty-bitmap-clear', bitmap],
    ['block-dirty-bitmap-disable', bitmap],
    ['block-dirty-bitmap-add', { node: 'd0', name: 'p', persistent: true, disabled: true }],
    ['block-dirty-bitmap-merge', { node: 'd0', target: 'b', bitmaps: ['p'] }],
    ['block-dirty-bitmap-merge', { node: 'd0', target: 'b', bitmaps: ['q'] }],
    ['transaction', { actions: [step('block-dirty-bitmap-remove', bitmap), step('abort', {})] }],
    ['transaction', { actions: [step('blockdev-snapshot-sync', snapshot('s5')), step('abort', {})] }],
    ['blockdev-snapshot-internal-sync', { device: 'd0', name: 'i' }],
    ['blockdev-snapshot-internal-sync', { device: 'd0', name: 'i' }],
    ['blockdev-snapshot-delete-internal-sync', { device: 'd0', name: 'x' }],
    ['block_set_io_throttle', { device: 'd0', ...limits }],
    ['block_set_io_throttle', { device: 'd0', ...limits, bps_rd: 5 }],
    ['block_set_io_throttle', { device: 'x', ...limits }],
    ['blockdev-del', { 'node-name': 's4' }],
    ['blockdev-del', { 'node-name': 'zz' }],
    ['blockdev-open-tray', { id: 'zz' }],
    ['blockdev-open-tray', { id: 'cdrom' }],
    ['blockdev-remove-medium', { id: 'cdrom' }],
    ['blockdev-insert-medium', { id: 'cdrom', 'node-name': 'zz' }],
    ['blockdev-insert-medium', { id: 'cdrom', 'node-name': 'bf' }],
    ['blockdev-close-tray', { id: 'cdrom' }],
    ['blockdev-remove-medium', { id: 'cdrom' }],
    ['blockdev-close-tray', { device: 'zz' }],
    ['blockdev-reopen', { options: [{ driver: 'file', 'node-name': 'zz', filename: 'x' }] }],
  ] as const)
    await same(execute, given);
  const blocks = (await machines.ask('query-block')).map(({ return: list }) => {
    const disk = list.find(({ device }: Answer) => device === 'd0');
    const { 'dirty-bitmaps': bitmaps, bps, group, backing_file: backing, image } = disk.inserted;
    return [bitmaps, bps, group, backing, image['virtual-size']];
  });
  assert.deepEqual(blocks[0], blocks[1]);
  const created = { driver: 'file', filename: path('new'), size: 1 << 20 };
  await same('blockdev-create', { 'job-id': 'new', options: created }, 'concluded');
  await same('query-jobs');
  await same('job-dismiss', { id: 'new' }, 'null');
  // As libvirt makes overlays: a file, a node, a format on it, and then the snapshot.
  await same('blockdev-add', { driver: 'file', filename: path('new'), 'node-name': 'nf' });
  const format = { driver: 'qcow2', file: 'nf', size: 8 << 20, 'backing-file': path('s4'), 'backing-fmt': 'qcow2' };
  await same('blockdev-create', { 'job-id': 'format', options: format }, 'concluded');
  await same('query-jobs');
  await same('job-dismiss', { id: 'format' }, 'null');
  await same('blockdev-add', { driver: 'qcow2', file: 'nf', 'node-name': 'nn', backing: null });
  await same('transaction', { actions: [step('blockdev-snapshot', { node: 'd0', overlay: 'nn' })] });
  await same('blockdev-snapshot', { node: 'nn', overlay: 'nn' });
});

test('what the jobs have made is what it should be', { skip, timeout: 60_000 }, () => {
  for (const file of ['copy', 'copy2', 'copy3', 'backup']) {
    const [ours, theirs] = names.map((name) => join(folder, `${name}-${file}`));
    run('qemu-img', 'compare', ours, theirs);
  }
  const [ours, theirs] = names.map((name) => {
    const info = JSON.parse(run('qemu-img', 'info', '-U', '--output=json', join(folder, `${name}-s4`)));
    return [info['backing-filename'].replace(name, ''), info['virtual-size'], info['format-specific'].data.bitmaps];
  });
  assert.deepEqual(ours, theirs);
});
