/** QED images under power cuts, injected errors and damage. */
import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { BlockGraph } from '../../graph.js';
import type { OptionDict } from '../../options.js';
import { workConcurrently } from '../../testing/concurrency.js';
import { injectFaults } from '../../testing/faults.js';
import { attackImage } from '../../testing/hostile.js';
import { memoryHost } from '../../testing/memory-host.js';
import { cutPower } from '../../testing/power-cut.js';

const real = new NodeBlockHost(() => undefined);
const small: OptionDict = { cluster_size: 4096, table_size: 1 };

for (const [name, options] of [
  ['4 KiB clusters', small],
  ['64 KiB clusters', {}],
  ['over a backing file', { ...small, backing_file: 'base', backing_fmt: 'raw' }],
] as const) {
  test(`QED: a power cut anywhere loses nothing flushed: ${name}`, async () => {
    const cuts = await cutPower(real, { format: 'qed', options, resizes: true, goesOn: true });
    assert.ok(cuts > 40, `the log gave only ${cuts} cuts`);
  });
}

const events = [
  'l2_load',
  'cluster_alloc',
  'l2_alloc_write',
  'write_aio',
  'flush_to_os',
  'l2_update',
  'l1_update',
  'none',
];
for (const code of ['ENOSPC', 'EIO'] as const) {
  test(`QED: ${code} in the middle of work leaves a sound image`, async () => {
    const hits = await injectFaults(real, { format: 'qed', options: small, events }, code);
    assert.ok(hits > 6, `the fault struck ${hits} times`);
  });
}

test('QED: a table that cannot be read fails the request and nothing else', async () => {
  const graph = new BlockGraph(memoryHost(real));
  await graph.create('qed', 'disk', { size: 2 ** 20, ...small });
  const l1Sector = 4096 / 512;
  const node = await graph.open({
    options: {
      driver: 'qed',
      'file.driver': 'blkdebug',
      'file.image.driver': 'file',
      'file.image.filename': 'disk',
      'file.inject-error.0.event': 'none',
      'file.inject-error.0.sector': l1Sector,
      'file.inject-error.0.once': 'on',
    },
  });
  const buffer = new Uint8Array(512).fill(1);
  // A promise that nobody waits for would fail the test by itself.
  await assert.rejects(node.read(0, buffer), { code: 'EIO' });
  await node.read(0, buffer);
  assert.deepEqual(buffer, new Uint8Array(512));
  await node.close();
});

test('QED: damaged images end in clear errors', async () => {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('qed', 'disk', { size: 2 ** 20, ...small, backing_file: 'base', backing_fmt: 'raw' });
  const node = await graph.open({ filename: 'disk', format: 'qed', flags: { readOnly: false, noBacking: true } });
  await node.write(0, new Uint8Array(100_000).fill(1));
  await node.writeZeroes(200_000, 70_000);
  await node.write(900_000, new Uint8Array(5000).fill(2));
  await node.close();
  const image = host.files.images.get('disk')!;
  const table = new DataView(image.bytes.slice().buffer).getUint32(4096, true);
  await attackImage(real, {
    format: 'qed',
    image,
    regions: [
      [0, 80],
      [4096, 64],
      [table, 2048],
    ],
  });
});

for (const [name, options] of [
  ['4 KiB clusters', small],
  ['64 KiB clusters over a backing file', { backing_file: 'base', backing_fmt: 'raw' }],
] as const) {
  test(`QED: many requests at once: ${name}`, async () => {
    for (let seed = 1; seed <= 3; seed++) await workConcurrently(real, { format: 'qed', options }, seed);
  });
}
