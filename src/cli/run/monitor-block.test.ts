import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BlockRequest } from '../../vmm/index.js';
import { Monitor } from './monitor.js';
import { monitoredRun } from './testing/monitored-run.js';

test('jobs, snapshots and sizes by the monitor', async () => {
  const asked: BlockRequest[] = [];
  const job = { id: 'd', type: 'stream', offset: 1, length: 2, speed: 3 };
  const machine = {
    block: async (request: BlockRequest) => {
      if (request.op === 'jobs') return asked.length === 0 ? [] : [job, { ...job, type: 'mirror' }, { type: 'create' }];
      asked.push(request);
      return undefined;
    },
  };
  const monitor = new Monitor({ ...monitoredRun(machine as never), write: () => {} });
  const run = (line: string) => monitor.execute(line);
  assert.equal(await run('info block-jobs'), 'No active jobs');
  const target = (file: string, exists = false, format?: string) => ({ file, format, exists });
  for (const [line, request] of [
    ['drive_mirror -n -f d "a b" raw', { op: 'mirror', disk: 'd', sync: 'full', target: target('a b', true, 'raw') }],
    ['drive_mirror d a', { op: 'mirror', disk: 'd', sync: 'top', target: target('a') }],
    ['drive_backup -f d a', { op: 'backup', disk: 'd', sync: 'full', target: target('a') }],
    ['block_stream d', { op: 'stream', disk: 'd' }],
    ['block_stream d 1k base', { op: 'stream', disk: 'd', speed: 1024, base: { file: 'base' } }],
    ['block_job_set_speed d 2', { op: 'set-speed', job: 'd', speed: 2 << 20 }],
    ['block_job_cancel d', { op: 'cancel', job: 'd', force: false }],
    ['block_job_cancel -f d', { op: 'cancel', job: 'd', force: true }],
    ['block_job_complete d', { op: 'complete', job: 'd' }],
    ['block_resize d 8', { op: 'resize', disk: 'd', sizeBytes: 8 << 20 }],
    [
      'snapshot_blkdev d new qcow2',
      { op: 'transaction', actions: [{ op: 'snapshot', disk: 'd', overlay: target('new', false, 'qcow2') }] },
    ],
    ['snapshot_delete_blkdev_internal d s', { op: 'delete-internal-snapshot', disk: 'd', name: 's', id: undefined }],
  ] as const) {
    assert.equal(await run(line), '', line);
    assert.deepEqual(asked.at(-1), request, line);
  }
  const before = asked.length;
  for (const line of ['drive_mirror d', 'block_resize d', 'block_resize d x', 'block_job_cancel'])
    assert.notEqual(await run(line), '', line);
  assert.equal(asked.length, before);
  const progress = 'Completed 1 of 2 bytes, speed limit 3 bytes/s';
  assert.equal(await run('info block-jobs'), `Streaming device d: ${progress}\nType mirror, device d: ${progress}`);
});
