/** EIO and ENOSPC in the middle of qcow2 work: reported with their code, the image sound afterwards, other data untouched. */
import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { injectFaults } from '../../testing/faults.js';

const real = new NodeBlockHost(() => undefined);
const events = [
  'l2_alloc_write',
  'l2_update',
  'l2_load',
  'l1_update',
  'cluster_alloc',
  'refblock_alloc',
  'refblock_update',
  'refblock_alloc_hookup',
  'write_aio',
  'cow_read',
  'cow_write',
  'write_compressed',
  'flush_to_os',
  'l1_grow_write_table',
  'none',
];

for (const code of ['ENOSPC', 'EIO'] as const) {
  test(`${code} at each point of an allocation leaves a sound image`, async () => {
    const what = { format: 'qcow2', options: { cluster_size: 512 }, events, places: 20 };
    const hits = await injectFaults(real, what, code);
    assert.ok(hits > 6, `the fault struck ${hits} times`);
  });
}
