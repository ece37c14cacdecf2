/** LUKS images under power cuts, injected errors and damage. */
import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { BlockGraph } from '../../graph.js';
import { takeOptions } from '../../options.js';
import { workConcurrently } from '../../testing/concurrency.js';
import { injectFaults } from '../../testing/faults.js';
import { attackImage } from '../../testing/hostile.js';
import { memoryHost } from '../../testing/memory-host.js';
import { cutPower } from '../../testing/power-cut.js';

const real = new NodeBlockHost(() => undefined);
real.secrets.set('s', new TextEncoder().encode('secret words'));
const what = {
  format: 'luks',
  options: { 'key-secret': 's', 'iter-time': 1, 'cipher-alg': 'aes-128' },
  openOptions: { 'key-secret': 's' },
};

test('LUKS: measure tells what a new image takes', async () => {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('luks', 'disk', { size: 10_240, ...what.options });
  const { luksDriver } = await import('./driver.js');
  const values = takeOptions(luksDriver.createOptions!, { size: 10_240, ...what.options });
  const { size } = host.files.images.get('disk')!;
  // qemu-img measure, which takes seconds to say so: 1052672 bytes of header and key slots for a 256 bit XTS key.
  assert.equal(size, 1_052_672 + 10_240);
  assert.deepEqual(await luksDriver.measure!(values, undefined, host), { required: size, fullyAllocated: size });
});

test('LUKS: a power cut anywhere loses nothing flushed', async () => {
  const cuts = await cutPower(real, { ...what, resizes: true, diskBytes: 65536, steps: 20 });
  assert.ok(cuts > 20, `the log gave only ${cuts} cuts`);
});

for (const code of ['ENOSPC', 'EIO'] as const) {
  test(`LUKS: ${code} in the middle of work leaves a sound image`, async () => {
    const hits = await injectFaults(real, { ...what, events: ['none'], diskBytes: 2 ** 18 }, code);
    assert.ok(hits >= 2, `the fault struck ${hits} times`);
  });
}

test('LUKS: damaged images end in clear errors', { timeout: 120_000 }, async () => {
  const host = memoryHost(real);
  await new BlockGraph(host).create('luks', 'disk', { size: 2 ** 20, ...what.options });
  await attackImage(real, {
    format: 'luks',
    image: host.files.images.get('disk')!,
    openOptions: what.openOptions,
    // Iteration counts are left alone: large ones are legal, and slow.
    regions: [
      [0, 160],
      [168, 44],
      [216, 40],
      [4096, 4096],
    ],
    mutations: 30,
  });
});

test('LUKS: many requests at once', async () => {
  for (let seed = 1; seed <= 2; seed++) await workConcurrently(real, { ...what, requests: 150 }, seed);
});
