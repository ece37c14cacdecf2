/** qcow (version 1) images under power cuts, injected errors and damage. */
import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { BlockGraph } from '../../graph.js';
import { RequestFlag } from '../../node.js';
import { workConcurrently } from '../../testing/concurrency.js';
import { injectFaults } from '../../testing/faults.js';
import { attackImage } from '../../testing/hostile.js';
import { memoryHost } from '../../testing/memory-host.js';
import { cutPower } from '../../testing/power-cut.js';

const real = new NodeBlockHost(() => undefined);
real.secrets.set('s', new TextEncoder().encode('secret words'));

for (const [name, options] of [
  ['4 KiB clusters', {}],
  ['over a backing file', { backing_file: 'base', backing_fmt: 'raw' }],
] as const) {
  test(`qcow: a power cut anywhere loses nothing flushed: ${name}`, async () => {
    const cuts = await cutPower(real, { format: 'qcow', options, compresses: true, goesOn: true });
    assert.ok(cuts > 40, `the log gave only ${cuts} cuts`);
  });
}

const events = ['cluster_alloc', 'l2_alloc_write', 'write_aio', 'flush_to_os', 'l2_update', 'l1_update', 'none'];
for (const code of ['ENOSPC', 'EIO'] as const) {
  test(`qcow: ${code} in the middle of work leaves a sound image`, async () => {
    const hits = await injectFaults(real, { format: 'qcow', options: {}, diskBytes: 2 ** 23, events }, code);
    assert.ok(hits > 5, `the fault struck ${hits} times`);
  });
}

test('qcow: damaged images end in clear errors', async () => {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('qcow', 'disk', { size: 2 ** 20, backing_file: 'base', backing_fmt: 'raw' });
  const node = await graph.open({ filename: 'disk', format: 'qcow', flags: { readOnly: false, noBacking: true } });
  await node.write(0, new Uint8Array(100_000).fill(1));
  for (let at = 393216; at < 425984; at += 512)
    await node.write(at, new Uint8Array(512).fill(2), RequestFlag.compressed);
  await node.close();
  const image = host.files.images.get('disk')!;
  const table = new DataView(image.bytes.slice().buffer).getUint32(60);
  assert.ok(table > 0, 'the second level table');
  await attackImage(real, {
    format: 'qcow',
    image,
    regions: [
      [0, 64],
      [table, 2048],
      [table + 6144, 512],
    ],
  });
});

for (const [name, options, openOptions] of [
  ['4 KiB clusters', {}, {}],
  ['512 byte clusters over a backing file', { backing_file: 'base', backing_fmt: 'raw' }, {}],
  ['encrypted', { 'encrypt.format': 'aes', 'encrypt.key-secret': 's' }, { 'encrypt.key-secret': 's' }],
] as const) {
  test(`qcow: many requests at once: ${name}`, async () => {
    for (let seed = 1; seed <= 3; seed++)
      await workConcurrently(
        real,
        { format: 'qcow', options, openOptions, compresses: !('encrypt.format' in options) },
        seed,
      );
  });
}
