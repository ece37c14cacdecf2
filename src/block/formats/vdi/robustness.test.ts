/** VDI images under power cuts, injected errors and damage. */
import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { BlockGraph } from '../../graph.js';
import { workConcurrently } from '../../testing/concurrency.js';
import { injectFaults } from '../../testing/faults.js';
import { attackImage, type Region } from '../../testing/hostile.js';
import { type MemoryImage, memoryHost } from '../../testing/memory-host.js';
import { cutPower, type PowerCutCase } from '../../testing/power-cut.js';

const real = new NodeBlockHost(() => undefined);
/** More of both are for a long night. */
const mutations = Number(process.env['VRING_MUTATIONS'] ?? 40);
const seeds = (process.env['VRING_SEEDS'] ?? '1').split(',').map(Number);

const common = { format: 'vdi', diskBytes: 3 * 2 ** 20, maxSectors: 3000, steps: 22, goesOn: true };
const cases: readonly (PowerCutCase & { readonly name: string })[] = [
  { ...common, name: 'dynamic', options: {} },
  { ...common, name: 'static', options: { static: 'on' } },
];

for (const { name, ...what } of cases) {
  test(`vdi, ${name}: a power cut anywhere loses nothing flushed`, async () => {
    for (const seed of seeds) {
      const cuts = await cutPower(real, what, seed);
      assert.ok(cuts > 20, `the log gave only ${cuts} cuts`);
    }
  });
  for (const code of ['ENOSPC', 'EIO'] as const) {
    test(`vdi, ${name}: ${code} in the middle of work leaves a sound image`, async () => {
      const hits = await injectFaults(real, { ...what, steps: 60, events: ['none'], places: 20 }, code);
      assert.ok(hits >= 4, `the fault struck ${hits} times`);
    });
  }
  test(`vdi, ${name}: requests at once, answered late and out of order`, async () => {
    const { format, options, diskBytes = 0 } = what;
    for (const seed of seeds) await workConcurrently(real, { format, options, diskBytes }, seed);
  });
  test(`vdi, ${name}: damaged images end in clear errors`, async () => {
    const image = await makeImage(what);
    await attackImage(real, { format: 'vdi', image, regions: regions(image), mutations });
  });
}

async function makeImage(what: PowerCutCase): Promise<MemoryImage> {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('vdi', 'disk', { size: what.diskBytes!, ...what.options });
  const node = await graph.open({ filename: 'disk', format: 'vdi', flags: { readOnly: false } });
  for (const at of [0, what.diskBytes! / 2]) await node.write(at, new Uint8Array(65536).fill(1 + at));
  await node.close();
  return host.files.images.get('disk')!;
}

function regions(_image: MemoryImage): readonly Region[] {
  return [
    [0x40, 16],
    [0x150, 0x80],
    [0x200, 32],
  ];
}
