import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../host/node/block-host.js';
import { BlockGraph } from '../graph.js';
import { memoryHost } from '../testing/memory-host.js';

const real = new NodeBlockHost(() => undefined);

test('copy-on-read stores what was read from the backing file', async () => {
  const graph = new BlockGraph(memoryHost(real));
  await graph.create('raw', 'base', { size: 2 ** 20 });
  const base = await graph.open({ filename: 'base', format: 'raw', flags: { readOnly: false } });
  await base.write(0, new Uint8Array(2 ** 20).fill(4));
  await base.close();
  await graph.create('qcow2', 'top', { size: 2 ** 20, backing_file: 'base', backing_fmt: 'raw' });
  const node = await graph.open({
    options: { driver: 'copy-on-read', 'file.driver': 'qcow2', 'file.file.filename': 'top', 'file.node-name': 'top' },
    flags: { readOnly: false },
  });
  const top = graph.find('top')!;
  const bytes = new Uint8Array(1000);
  await node.read(100_000, bytes);
  assert.equal(bytes[0], 4);
  assert.equal((await top.blockStatus(65536, 65536)).allocated, true);
  assert.equal((await top.blockStatus(131072, 65536)).allocated, false);
  await node.close();
});

test('throttle holds the rate', async () => {
  const graph = new BlockGraph(memoryHost(real));
  const node = await graph.open({
    options: { driver: 'throttle', 'limits.bps-total': 2 ** 20, 'file.driver': 'null-co', 'file.size': 2 ** 30 },
    flags: { readOnly: false },
  });
  const start = performance.now();
  for (let round = 0; round < 4; round++) await node.write(0, new Uint8Array(131072));
  const seconds = (performance.now() - start) / 1000;
  // Half a mebibyte at one a second, the first tenth of a second free.
  assert.ok(seconds > 0.35 && seconds < 3, `took ${seconds} s`);
  await node.close();
});

test('blkdebug fails the chosen request once', async () => {
  const graph = new BlockGraph(memoryHost(real));
  const node = await graph.open({
    options: {
      driver: 'blkdebug',
      'image.driver': 'memory',
      'image.size': 65536,
      'inject-error.0.event': 'none',
      'inject-error.0.errno': 28,
      'inject-error.0.sector': 3,
      'inject-error.0.once': true,
    },
    flags: { readOnly: false },
  });
  await node.write(0, new Uint8Array(512));
  await assert.rejects(node.write(1024, new Uint8Array(1024)), { code: 'ENOSPC' });
  await node.write(1024, new Uint8Array(1024));
  await node.close();
});

test('blkverify reports where two images differ', async () => {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  for (const name of ['raw', 'test']) await graph.create('raw', name, { size: 65536 });
  const options = {
    driver: 'blkverify',
    'raw.driver': 'raw',
    'raw.file.filename': 'raw',
    'test.driver': 'raw',
    'test.file.filename': 'test',
  };
  const node = await graph.open({ options, flags: { readOnly: false } });
  await node.write(0, new Uint8Array(4096).fill(3));
  await node.read(0, new Uint8Array(4096));
  host.files.images.get('test')!.bytes[700] = 99;
  await assert.rejects(node.read(512, new Uint8Array(512)), /contents mismatch at offset 700/);
  await node.close();
});

test('requests are aligned for a driver that asks for it', async () => {
  const graph = new BlockGraph(memoryHost(real));
  const node = await graph.open({
    options: { driver: 'blkdebug', align: 4096, 'image.driver': 'memory', 'image.size': 65536 },
    flags: { readOnly: false },
  });
  await node.write(0, new Uint8Array(65536).fill(1));
  // Unaligned writes next to each other, all at once: each reads, changes and writes its block without losing the others.
  await Promise.all(
    Array.from({ length: 16 }, (_none, index) => node.write(4000 + index * 12, new Uint8Array(12).fill(index + 10))),
  );
  const bytes = new Uint8Array(12);
  for (let index = 0; index < 16; index++) {
    await node.read(4000 + index * 12, bytes);
    assert.deepEqual([...bytes], Array(12).fill(index + 10));
  }
  await node.writeZeroes(5000, 10_000);
  const all = new Uint8Array(65536);
  await node.read(0, all);
  assert.equal(all[4999], 1);
  assert.ok(all.subarray(5000, 15_000).every((byte) => byte === 0));
  assert.equal(all[15_000], 1);
  await node.close();
});
