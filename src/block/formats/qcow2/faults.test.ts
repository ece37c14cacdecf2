/** EIO and ENOSPC in the middle of qcow2 work: reported with their code, the image sound afterwards, other data untouched. */
import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { BlockGraph } from '../../graph.js';
import type { OptionDict } from '../../options.js';
import { memoryHost, randomFrom } from '../../testing/memory-host.js';

const real = new NodeBlockHost(() => undefined);
const diskBytes = 2 ** 20;
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

async function work(event: string, code: string, errno: number, seed: number): Promise<boolean> {
  const random = randomFrom(seed);
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('qcow2', 'disk', { size: diskBytes, cluster_size: 512 });
  const rule: OptionDict = {
    driver: 'qcow2',
    'file.driver': 'blkdebug',
    'file.image.driver': 'file',
    'file.image.filename': 'disk',
    'file.inject-error.0.event': event,
    'file.inject-error.0.errno': errno,
    'file.inject-error.0.once': true,
    'file.inject-error.0.iotype': random(2) === 0 ? 'write' : 'read',
  };
  let isHit = false;
  const expected = new Uint8Array(diskBytes);
  /** Sectors of a failed request: whole, part or none of it is there. */
  const unsure = new Uint8Array(diskBytes / 512);
  const node = await graph.open({ options: rule, flags: { readOnly: false, unmap: true } }).catch((error) => {
    assert.equal(error.code, code);
    return undefined;
  });
  if (!node) return true;
  for (let step = 0; step < 60; step++) {
    const first = random(unsure.length);
    const count = Math.min(unsure.length - first, 1 + random(60));
    const value = 1 + random(255);
    try {
      if (random(8) === 0) await node.flush();
      else {
        unsure.fill(1, first, first + count);
        await node.write(first * 512, new Uint8Array(count * 512).fill(value));
        expected.fill(value, first * 512, (first + count) * 512);
        unsure.fill(0, first, first + count);
      }
    } catch (error) {
      assert.equal((error as { code: string }).code, code, `${event}: ${(error as Error).message}`);
      isHit = true;
    }
  }
  await node.close().catch((error) => assert.equal(error.code, code));
  const again = await graph.open({ filename: 'disk', format: 'qcow2', flags: { check: true } });
  const result = await again.instance.check!({ leaks: false, errors: false });
  assert.deepEqual(
    [result.corruptions, result.checkErrors],
    [0, 0],
    `${event}: ${result.lines.slice(0, 3).join(' | ')}`,
  );
  const contents = new Uint8Array(diskBytes);
  await again.read(0, contents);
  await again.close();
  for (let sector = 0; sector < unsure.length; sector++) {
    if (unsure[sector]) continue;
    assert.equal(contents[sector * 512], expected[sector * 512], `${event}: sector ${sector}`);
  }
  return isHit;
}

for (const [code, errno] of [
  ['ENOSPC', 28],
  ['EIO', 5],
] as const) {
  test(`${code} at each point of an allocation leaves a sound image`, async () => {
    let hits = 0;
    for (const event of events) for (let seed = 1; seed <= 3; seed++) if (await work(event, code, errno, seed)) hits++;
    assert.ok(hits > 6, `the fault struck ${hits} times`);
  });
}
