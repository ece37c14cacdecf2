/**
 * Hostile qcow2 images: valid images with tables, headers and bitmaps damaged by a seeded generator. Every operation must end soon, with
 * success or a BlockError; no file but the named one may be opened; memory stays bounded.
 */
import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { SparseBitmap } from '../../dirty-bitmap.js';
import { BlockError } from '../../errors.js';
import { BlockGraph } from '../../graph.js';
import { RequestFlag } from '../../node.js';
import type { OptionDict } from '../../options.js';
import { type MemoryImage, memoryHost, randomFrom } from '../../testing/memory-host.js';

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

const special = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0x40000000, 0x10000, 0x200, 0xfffffe00];

function damage(
  image: MemoryImage,
  clusters: readonly number[],
  clusterBytes: number,
  random: (below: number) => number,
): MemoryImage {
  const copy = image.clone();
  const { bytes } = copy;
  const rounds = 1 + random(4);
  for (let round = 0; round < rounds; round++) {
    const cluster = clusters[random(clusters.length)]!;
    // Most of a table is empty: aim at its used beginning.
    const span = random(3) === 0 ? clusterBytes : Math.min(clusterBytes, cluster === 0 ? 400 : 256);
    const at = Math.min(copy.size - 4, cluster * clusterBytes + random(span));
    switch (random(4)) {
      case 0:
        bytes[at] = random(256);
        break;
      case 1:
        bytes[at]! ^= 1 << random(8);
        break;
      case 2:
        new DataView(bytes.buffer, bytes.byteOffset).setUint32(at - (at % 4), special[random(special.length)]!);
        break;
      default:
        // One table entry over another.
        bytes.copyWithin(
          at - (at % 8),
          Math.max(0, at - (at % 8) - 8 * (1 + random(4))),
          at - (at % 8) + 8 > copy.size ? undefined : Math.max(8, at - (at % 8)),
        );
    }
  }
  if (random(20) === 0) copy.apply({ kind: 'truncate', path: '', size: random(copy.size) });
  return copy;
}

async function expectClean(what: string, work: () => Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: hangs`)), 20_000);
  });
  try {
    await Promise.race([work(), late]);
  } catch (error) {
    assert.ok(error instanceof BlockError, `${what}: ${(error as Error).stack}`);
  } finally {
    clearTimeout(timer);
  }
}

async function attack(image: MemoryImage, what: string): Promise<void> {
  const host = memoryHost(real);
  host.files.images.set('disk', image);
  const opened = new Set<string>();
  const { open } = host.files;
  host.files.open = (path, flags) => {
    opened.add(path);
    return open.call(host.files, path, flags);
  };
  const graph = new BlockGraph(host);
  const buffer = new Uint8Array(131072);
  await expectClean(`${what}, read`, async () => {
    const node = await graph.open({ filename: 'disk', format: 'qcow2', flags: { noBacking: true } });
    try {
      for (const offset of [0, 65536, 393216, 900_000]) {
        await expectClean(`${what}, read at ${offset}`, () => node.read(offset, buffer));
        await expectClean(`${what}, status at ${offset}`, () => node.chainStatus(offset, 65536));
      }
      await node.instance.specificInfo?.();
    } finally {
      await node.close();
    }
  });
  await expectClean(`${what}, check`, async () => {
    const node = await graph.open({ filename: 'disk', format: 'qcow2', flags: { check: true, noBacking: true } });
    try {
      await node.instance.check!({ leaks: false, errors: false });
    } finally {
      await node.close();
    }
  });
  const repaired = image.clone();
  await expectClean(`${what}, write`, async () => {
    const node = await graph.open({ filename: 'disk', format: 'qcow2', flags: { readOnly: false, unmap: true } });
    try {
      await expectClean(`${what}, write`, () => node.write(1000, buffer.subarray(0, 5000)));
      await expectClean(`${what}, write`, () => node.write(500_000, buffer));
      await expectClean(`${what}, discard`, () => node.discard(0, 65536));
      await expectClean(`${what}, snapshot`, () => node.instance.snapshots!.remove(undefined, 'one'));
      await expectClean(`${what}, flush`, () => node.flush());
      await expectClean(`${what}, resize`, () => node.resize(2 * diskBytes));
    } finally {
      await node.close();
    }
  });
  host.files.images.set('disk', repaired);
  await expectClean(`${what}, repair`, async () => {
    const node = await graph.open({
      filename: 'disk',
      format: 'qcow2',
      flags: { readOnly: false, check: true, noBacking: true },
    });
    try {
      await node.instance.check!({ leaks: true, errors: true });
    } finally {
      await node.close();
    }
  });
  for (const path of opened) assert.equal(path, 'disk', `${what}: opened ${path}`);
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
    for (let seed = 1; seed <= mutations; seed++) {
      await attack(damage(image, clusters, clusterBytes, randomFrom(seed)), `${name}, seed ${seed}`);
    }
    assert.ok(process.memoryUsage().rss - before < 1.5 * 2 ** 30, 'memory stays bounded');
  });
}
