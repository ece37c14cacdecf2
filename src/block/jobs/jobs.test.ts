import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../host/node/block-host.js';
import { SparseBitmap } from '../dirty-bitmap.js';
import { BlockGraph } from '../graph.js';
import type { GraphNode } from '../graph-node.js';
import { memoryHost, randomFrom } from '../testing/memory-host.js';
import { BackupJob } from './backup.js';
import { commitChain } from './commit.js';
import { MirrorJob } from './mirror.js';
import { streamChain } from './stream.js';

const diskBytes = 2 ** 20;
const real = new NodeBlockHost(() => undefined);

async function contents(node: GraphNode): Promise<Uint8Array> {
  const bytes = new Uint8Array(node.length);
  await node.read(0, bytes);
  return bytes;
}

/** base (all 1 in its first half) <- top (2 in a quarter), both qcow2. */
async function chain() {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('qcow2', 'base', { size: diskBytes });
  const base = await graph.open({ filename: 'base', format: 'qcow2', flags: { readOnly: false } });
  await base.write(0, new Uint8Array(diskBytes / 2).fill(1));
  await base.close();
  await graph.create('qcow2', 'top', { size: diskBytes, backing_file: 'base', backing_fmt: 'qcow2' });
  const top = await graph.open({ filename: 'top', format: 'qcow2', flags: { readOnly: false, unmap: true } });
  await top.write(diskBytes / 4, new Uint8Array(diskBytes / 2).fill(2));
  return { host, graph, top };
}

async function target(graph: BlockGraph, name: string): Promise<GraphNode> {
  await graph.create('qcow2', name, { size: diskBytes });
  return graph.open({ filename: name, format: 'qcow2', flags: { readOnly: false, unmap: true } });
}

test('commit moves an overlay into its base and empties it', async () => {
  const { graph, top } = await chain();
  const expected = await contents(top);
  const seen: number[] = [];
  await commitChain(top, top.backing!, { emptyTop: true, progress: (done) => seen.push(done) });
  assert.equal(seen.at(-1), diskBytes);
  assert.equal((await top.blockStatus(diskBytes / 4, 512)).allocated, false);
  assert.deepEqual(await contents(top), expected);
  await top.close();
  const base = await graph.open({ filename: 'base', format: 'qcow2' });
  assert.deepEqual(await contents(base), expected);
  await base.close();
});

test('stream makes an image independent of its backing file, also while it is written', async () => {
  const { graph, top } = await chain();
  const expected = await contents(top);
  const writing = (async () => {
    for (let at = 0; at < diskBytes; at += 65536) {
      await top.write(at, new Uint8Array(512).fill(9));
      expected.fill(9, at, at + 512);
    }
  })();
  await streamChain(graph, top);
  await writing;
  assert.equal(top.backing, undefined);
  assert.deepEqual(await contents(top), expected);
  await top.close();
  const again = await graph.open({ filename: 'top', format: 'qcow2' });
  assert.equal(again.instance.backingFile, undefined);
  assert.deepEqual(await contents(again), expected);
  const result = await again.instance.check!({ leaks: false, errors: false });
  assert.deepEqual([result.corruptions, result.leaks], [0, 0]);
  await again.close();
});

test('mirror follows writes until it is completed', async () => {
  const { graph, top } = await chain();
  const copy = await target(graph, 'copy');
  const job = new MirrorJob(top, copy);
  const random = randomFrom(1);
  let isRunning = true;
  const writing = (async () => {
    while (isRunning) {
      await top.write(random(diskBytes / 512) * 512, new Uint8Array(512).fill(1 + random(255)));
      await real.sleepMs(0);
    }
  })();
  await job.run();
  assert.equal(job.isReady, true);
  isRunning = false;
  await writing;
  await job.complete();
  assert.deepEqual(await contents(copy), await contents(top));
  assert.equal(top.bitmaps.length, 0);
  await copy.close();
  await top.close();
});

test('backup holds the disk as it was when it began', async () => {
  const { graph, top } = await chain();
  const expected = await contents(top);
  const copy = await target(graph, 'copy');
  const job = new BackupJob(top, copy);
  const writing = (async () => {
    for (let at = 0; at < diskBytes; at += 32768) await top.write(at, new Uint8Array(32768).fill(7));
  })();
  await Promise.all([job.run(), writing]);
  assert.deepEqual(await contents(copy), expected);
  assert.notDeepEqual(await contents(top), expected);
  await copy.close();
  await top.close();
});

test('an incremental backup copies what its bitmap says', async () => {
  const { graph, top } = await chain();
  const bitmap = new SparseBitmap('b', 65536, diskBytes);
  top.addBitmap(bitmap);
  await top.write(65536, new Uint8Array(100).fill(5));
  const copy = await target(graph, 'copy');
  await new BackupJob(top, copy, { sync: 'incremental', bitmap }).run();
  const bytes = await contents(copy);
  assert.equal(bytes[65536], 5);
  assert.equal(bytes[0], 0, 'what was not written since is not copied');
  assert.equal(bitmap.countBytes(), 0);
  await copy.close();
  await top.close();
});

test('a failing target ends the backup, not the guest write', async () => {
  const { graph, top } = await chain();
  const copy = await graph.open({
    options: {
      driver: 'blkdebug',
      'image.driver': 'memory',
      'image.size': diskBytes,
      'inject-error.0.event': 'none',
      'inject-error.0.iotype': 'write',
      'inject-error.0.errno': 28,
    },
    flags: { readOnly: false },
  });
  const job = new BackupJob(top, copy, { sync: 'none' });
  await top.write(0, new Uint8Array(512).fill(8));
  await assert.rejects(job.finish(), { code: 'ENOSPC' });
  await copy.close();
  await top.close();
});
