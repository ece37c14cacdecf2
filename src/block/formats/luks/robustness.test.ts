/** LUKS images under power cuts, injected errors and damage. */
import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { BlockGraph } from '../../graph.js';
import { type OptionDict, takeOptions } from '../../options.js';
import { workConcurrently } from '../../testing/concurrency.js';
import { injectFaults } from '../../testing/faults.js';
import { attackImage } from '../../testing/hostile.js';
import { type MemoryImage, memoryHost, randomFrom } from '../../testing/memory-host.js';
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

/** Does this secret open the image? */
async function opens(image: MemoryImage, secret: string): Promise<boolean> {
  const host = memoryHost(real);
  host.files.images.set('disk', image);
  const graph = new BlockGraph(host);
  try {
    await (await graph.open({ filename: 'disk', format: 'luks', options: { 'key-secret': secret } })).close();
    return true;
  } catch (error) {
    assert.match((error as Error).message, /Invalid password/);
    return false;
  }
}

test('LUKS: a power cut while key slots change locks nobody out', async () => {
  real.secrets.set('t', new TextEncoder().encode('other words'));
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('luks', 'disk', { size: 65536, ...what.options });
  const { luksDriver } = await import('./driver.js');
  const changes: readonly {
    readonly options: OptionDict;
    readonly stays: string;
    readonly gains: string | undefined;
  }[] = [
    { options: { state: 'active', 'new-secret': 't', 'iter-time': 1 }, stays: 's', gains: 't' },
    { options: { state: 'inactive', 'old-secret': 's' }, stays: 't', gains: undefined },
  ];
  const random = randomFrom(1);
  for (const { options, stays, gains } of changes) {
    const before = host.files.images.get('disk')!.clone();
    host.files.log.length = 0;
    const node = await graph.open({
      filename: 'disk',
      format: 'luks',
      options: what.openOptions,
      flags: { readOnly: false },
    });
    await node.instance.amend!(takeOptions(luksDriver.amendOptions!, { ...options }), { force: false });
    const { log } = host.files;
    assert.ok(log.length >= 2, 'several writes');
    for (let cut = 0; cut <= log.length; cut++) {
      const [whole, partly] = [before.clone(), before.clone()];
      for (const entry of log.slice(0, cut)) {
        whole.apply(entry);
        if (random(2) === 0) partly.apply(entry);
      }
      assert.ok(await opens(whole, stays), `${stays} after ${cut} writes`);
      assert.ok(await opens(partly, stays), `${stays} after ${cut} writes in part`);
    }
    await node.close();
    if (gains !== undefined)
      assert.ok(await opens(host.files.images.get('disk')!.clone(), gains), `${gains} at the end`);
  }
  assert.ok(!(await opens(host.files.images.get('disk')!.clone(), 's')), 'the erased secret at the end');
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
