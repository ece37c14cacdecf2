/** Hostile qcow2 images: headers, tables, snapshots and bitmaps damaged by a seeded generator; memory stays bounded too. */
import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { SparseBitmap } from '../../dirty-bitmap.js';
import { BlockGraph } from '../../graph.js';
import { RequestFlag } from '../../node.js';
import type { OptionDict } from '../../options.js';
import { attackImage, type Region } from '../../testing/hostile.js';
import { type MemoryImage, memoryHost } from '../../testing/memory-host.js';

const real = new NodeBlockHost(() => undefined);
const diskBytes = 2 ** 20;
const mutations = Number(process.env.VRING_MUTATIONS ?? 30);

async function makeImage(options: OptionDict): Promise<MemoryImage> {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('qcow2', 'disk', { size: diskBytes, ...options });
  const node = await graph.open({ filename: 'disk', format: 'qcow2', flags: { readOnly: false, unmap: true } });
  await node.write(0, new Uint8Array(100_000).fill(1));
  await node.write(393216, new Uint8Array(65536).fill(2), RequestFlag.compressed);
  await node.instance.snapshots!.create({
    name: 'one',
    vmStateBytes: 0,
    dateSeconds: 0,
    dateNanoseconds: 0,
    vmClockNs: 0,
  });
  await node.write(50_000, new Uint8Array(30_000).fill(3));
  await node.writeZeroes(200_000, 70_000);
  const bitmap = new SparseBitmap('dirty', 65536, diskBytes);
  bitmap.persistent = true;
  if (options['compat'] !== '0.10') node.addBitmap(bitmap);
  bitmap.set(0, 100);
  await node.close();
  return host.files.images.get('disk')!;
}

/** Offsets of clusters that hold metadata: where damage matters. */
async function metadataClusters(image: MemoryImage, clusterBytes: number): Promise<number[]> {
  const view = new DataView(image.bytes.slice().buffer);
  const found = new Set<number>([0]);
  const add = (offset: number): void => {
    if (offset > 0 && offset < image.size) found.add(Math.floor(offset / clusterBytes));
  };
  const u64 = (at: number): number => (view.getUint32(at) & 0xffffff) * 2 ** 32 + view.getUint32(at + 4);
  add(u64(40));
  add(u64(48));
  add(u64(64));
  const l1 = u64(40);
  for (let index = 0; index < view.getUint32(36); index++) add(u64(l1 + index * 8));
  add(u64(u64(48)));
  // The bitmap directory, by its header extension.
  for (let at = 104; at + 32 < Math.min(clusterBytes, 1024); at += 8)
    if (view.getUint32(at) === 0x23852875) add(u64(at + 24));
  return [...found];
}

const cases: readonly (readonly [string, OptionDict, number])[] = [
  ['64 KiB clusters', {}, 65536],
  ['4 KiB clusters', { cluster_size: 4096 }, 4096],
  ['extended L2', { cluster_size: 16384, extended_l2: 'on' }, 16384],
  ['version 2', { compat: '0.10' }, 65536],
];

for (const [name, options, clusterBytes] of cases) {
  test(`damaged qcow2 images end in clear errors: ${name}`, async () => {
    const image = await makeImage(options);
    const clusters = await metadataClusters(image, clusterBytes);
    const before = process.memoryUsage().rss;
    // Most of a table is empty: aim at its used beginning, and now and then at all of it.
    const regions = clusters.flatMap((cluster): Region[] => {
      const start = cluster * clusterBytes;
      const used: Region = [start, Math.min(clusterBytes, cluster === 0 ? 400 : 256)];
      return [used, used, [start, clusterBytes]];
    });
    await attackImage(real, {
      format: 'qcow2',
      image,
      regions,
      mutations,
      seeds: [9290],
      alsoWrite: (node) => node.instance.snapshots!.remove(undefined, 'one'),
    });
    assert.ok(process.memoryUsage().rss - before < 1.5 * 2 ** 30, 'memory stays bounded');
  });
}
