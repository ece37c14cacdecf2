import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BlockGraph, type OptionDict } from '../block/index.js';
import { NodeBlockHost } from '../host/node/block-host.js';
import { diskSlots } from './disk-ring.js';
import { createMachine } from './machine.js';
import { openDisksAt } from './testing/open-disks.js';
import { programs } from './testing/programs.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-disks-'));
after(() => rmSync(folder, { recursive: true }));
const host = new NodeBlockHost(() => {});
const graph = new BlockGraph(host);
const MiB = 2 ** 20;

let images = 0;
async function image(format: string, sizeBytes: number): Promise<string> {
  const path = join(folder, `disk ${images++}`);
  await graph.create(format, path, { size: sizeBytes });
  return path;
}

async function contents(path: string, format: string, offset: number, length: number): Promise<Uint8Array> {
  const node = await graph.open({ filename: path, format, flags: { readOnly: true } });
  const bytes = new Uint8Array(length);
  await node.read(offset, bytes);
  await node.close();
  return bytes;
}

test('a qcow2 image takes more requests at once than there are slots, and holds what was written', async () => {
  const path = await image('qcow2', 64 * MiB);
  const count = 2 * diskSlots + 3;
  {
    await using at = await openDisksAt([{ id: 'd', path }]);
    assert.deepEqual([at.disk.sizeBytes, at.disk.readonly], [64 * MiB, false]);
    for (let i = 0; i < count; i++) {
      const bytes = at.ram(65536 + i * 4096, 4096);
      bytes.fill(i % 251);
      // In two pieces that do not touch, and one that goes on where the first ends.
      const pieces = [bytes.subarray(0, 1024), bytes.subarray(1024, 2048), bytes.subarray(2048)];
      at.disk.write(i * 128 * 1024, i % 2 ? pieces : [bytes], at.done);
    }
    assert.deepEqual(at.settle(), new Array(count).fill('ok'));
    assert.equal(at.kicked(), 1, 'the vCPU was told');
    at.disk.flush(at.done);
    assert.deepEqual(at.settle(), ['ok']);
    at.disk.read(5 * 128 * 1024, [at.ram(4096, 100), at.ram(8192, 412)], at.done);
    at.disk.read(0x20000 + 4096, [at.ram(16384, 512)], at.done);
    assert.deepEqual(at.settle(), ['ok', 'ok']);
    assert.deepEqual([at.ram(4096, 1)[0], at.ram(4195, 1)[0], at.ram(8603, 1)[0], at.ram(8604, 1)[0]], [5, 5, 5, 0]);
    assert.equal(at.ram(16384, 1)[0], 0);
  }
  for (const i of [0, 1, 200, count - 1]) {
    assert.deepEqual(await contents(path, 'qcow2', i * 128 * 1024, 4096), new Uint8Array(4096).fill(i % 251));
  }
});

test('zeroes are written, and discarded space is given back where that was asked for', async () => {
  const path = await image('qcow2', 4 * MiB);
  await using at = await openDisksAt([{ id: 'd', path, discard: 'unmap' }]);
  at.ram(65536, 65536).fill(7);
  at.disk.write(0, [at.ram(65536, 65536)], at.done);
  at.disk.write(65536, [at.ram(65536, 65536)], at.done);
  assert.deepEqual(at.settle(), ['ok', 'ok']);
  at.disk.writeZeroes?.(0, 65536, true, at.done);
  at.disk.discard?.(65536, 65536, at.done);
  assert.deepEqual(at.settle(), ['ok', 'ok']);
  at.disk.read(0, [at.ram(65536, 65536)], at.done);
  at.disk.read(65536, [at.ram(262144, 65536)], at.done);
  at.settle();
  assert.ok(host.isZero(at.ram(65536, 65536)));
  assert.ok(host.isZero(at.ram(262144, 65536)));
});

test('an image that another has open for writing is refused by name', {
  skip: host.files.missing.has('ofd-locks') && 'koffi is missing',
}, async () => {
  const path = await image('qcow2', MiB);
  await using _first = await openDisksAt([{ id: 'd', path }]);
  await assert.rejects(openDisksAt([{ id: 'e', path }]), { code: 'disk-open', message: /"write" lock/ });
  await using reader = await openDisksAt([{ id: 'r', path: await image('raw', MiB), readonly: true, format: 'raw' }]);
  assert.equal(reader.disk.readonly, true);
});

test('with snapshot the image stays as it was', async () => {
  const path = await image('raw', MiB);
  {
    await using at = await openDisksAt([{ id: 'd', path, format: 'raw', snapshot: true }]);
    at.ram(4096, 512).fill(9);
    at.disk.write(0, [at.ram(4096, 512)], at.done);
    at.disk.read(0, [at.ram(8192, 512)], at.done);
    assert.deepEqual(at.settle().slice(0, 1), ['ok']);
    at.disk.read(0, [at.ram(8192, 512)], at.done);
    at.settle();
    assert.equal(at.ram(8192, 1)[0], 9);
    const [description] = await at.thread.describe();
    assert.deepEqual([description?.id, description?.format, description?.backing], ['d', 'qcow2', path]);
  }
  assert.equal((await contents(path, 'raw', 0, 1))[0], 0);
});

test('a full host stops the machine, and the request is tried again; other errors are the guest’s', async () => {
  const path = await image('raw', MiB);
  const failing = (errno: number) => ({
    driver: 'blkdebug',
    'image.driver': 'file',
    'image.filename': path,
    'inject-error.0.event': 'none',
    'inject-error.0.iotype': 'write',
    'inject-error.0.errno': errno,
    'inject-error.0.once': true,
  });
  const ENOSPC = 28;
  const EIO = 5;
  {
    await using at = await openDisksAt([{ id: 'full', options: failing(ENOSPC) }]);
    at.ram(4096, 512).fill(3);
    at.disk.write(512, [at.ram(4096, 512)], at.done);
    assert.deepEqual([at.settle(), at.failed], [[], ['full']]);
    at.disks.retry();
    assert.deepEqual(at.settle(), ['ok']);
  }
  assert.equal((await contents(path, 'raw', 512, 1))[0], 3);
  for (const [onWriteError, outcome] of [
    ['report', 'io'],
    ['ignore', 'ok'],
    ['enospc', 'io'],
  ] as const) {
    await using at = await openDisksAt([{ id: 'd', options: failing(EIO), onWriteError }]);
    at.disk.write(0, [at.ram(4096, 512)], at.done);
    assert.deepEqual([at.settle(), at.failed], [[outcome], []], onWriteError);
    const [disk] = await at.thread.describe();
    assert.equal(disk?.statistics.writes.failures, outcome === 'io' ? 1 : 0);
  }
  await using at = await openDisksAt([{ id: 'd', options: failing(EIO), onWriteError: 'stop' }]);
  at.disk.write(0, [at.ram(4096, 512)], at.done);
  assert.deepEqual([at.settle(), at.failed], [[], ['d']]);
  at.disks.reset();
  assert.deepEqual(at.settle(), ['io'], 'a reset leaves nothing under way');
});

test('what a disk has done is counted, in place and not; another disk at its place begins anew', async () => {
  await using at = await openDisksAt([{ id: 'd', path: await image('raw', MiB), format: 'raw' }]);
  // The first of a kind goes to the thread of the disks, which tells the places for the next.
  for (let i = 0; i < 3; i++) at.disk.write(4096, [at.ram(4096, 1024)], at.done);
  at.settle();
  for (let i = 0; i < 2; i++) {
    at.disk.read(0, [at.ram(4096, 512), at.ram(8192, 512)], at.done);
    at.settle();
  }
  at.disk.flush(at.done);
  at.settle();
  at.disk.discard?.(8192, 4096, at.done);
  at.disk.writeZeroes?.(65536, 512, true, at.done);
  at.settle();
  const [statistics] = (await at.thread.describe()).map((disk) => disk!.statistics);
  const kinds = [statistics.reads, statistics.writes, statistics.flushes, statistics.discards];
  assert.deepEqual(
    kinds.map(({ bytes, count, failures }) => [bytes, count, failures]),
    [
      [2048, 2, 0],
      [3584, 4, 0],
      [0, 1, 0],
      [4096, 1, 0],
    ],
  );
  assert.equal(statistics.highestWrittenByte, 66048);
  for (const { ns } of kinds) assert.ok(ns > 0 && ns < 60e9, String(ns));
  assert.ok(statistics.idleNs !== undefined && statistics.idleNs < 60e9, String(statistics.idleNs));
  await at.thread.remove(0);
  assert.equal(await at.thread.add({ id: 'e', path: await image('raw', MiB), format: 'raw' }), 0);
  assert.deepEqual((await at.thread.describe())[0]?.statistics.reads.count, 0);
});

test('a disk on a block node by its name', async () => {
  const path = await image('qcow2', MiB);
  const blockNodes: OptionDict[] = [
    { driver: 'file', filename: path, 'node-name': 'file0' },
    { driver: 'qcow2', file: 'file0', 'node-name': 'disk0' },
  ];
  await using at = await openDisksAt([{ id: 'd', node: 'disk0' }], { blockNodes });
  assert.equal(at.disk.sizeBytes, MiB);
  await assert.rejects(openDisksAt([{ id: 'd', node: 'disk1' }]), { code: 'disk-open', message: /disk1/ });
});

test('machines with disks', async () => {
  const path = join(folder, 'guessed.img');
  writeFileSync(path, new Uint8Array(1000));
  {
    await using machine = await createMachine({
      kernel: programs.halt,
      ramBytes: 16 * MiB,
      devices: [{ type: 'virtio-blk', image: { path }, id: 'root' }],
    });
    assert.match(machine.warnings.join(), /guessed raw/);
    const [disk] = await machine.disks();
    assert.deepEqual([disk.id, disk.sizeBytes, disk.format, disk.cache], ['root', 1024, 'raw', 'writeback']);
  }
  const build = (image: { path: string; format?: string; option?: string }) =>
    createMachine({ kernel: programs.halt, ramBytes: 16 * MiB, devices: [{ type: 'virtio-blk', image }] });
  await assert.rejects(build({ path: join(folder, 'missing') }), { code: 'disk-open', message: /No such file/ });
  await assert.rejects(build({ path: join(folder, 'missing'), option: '-hda x' }), {
    code: 'disk-open',
    message: /^-hda x: .*: No such file/,
  });
  await assert.rejects(build({ path, format: 'qcow2' }), { code: 'disk-open', message: /not in qcow2 format/i });
});

test('a write beyond a threshold is told of, once', async () => {
  await using at = await openDisksAt([{ id: 'd', path: await image('raw', MiB), format: 'raw' }]);
  const told: object[] = [];
  at.thread.onThresholdExceeded((exceeded) => told.push(exceeded));
  const write = (offset: number) => {
    at.disk.write(offset, [at.ram(4096, 1024)], at.done);
    at.settle();
  };
  // The vCPU's thread knows by then where bytes lie, and forgets it.
  for (let i = 0; i < 3; i++) write(16384);
  for (const driver of ['raw', 'file']) {
    const threshold = async () => {
      const { nodes } = await at.thread.describeNodes();
      return nodes.find((node) => node.driver === driver);
    };
    const nodeName = (await threshold())?.nodeName as string;
    await at.thread.block({ op: 'write-threshold', node: nodeName, bytes: 8192 });
    assert.equal((await threshold())?.writeThreshold, 8192);
    write(4096);
    write(7168);
    assert.equal((await threshold())?.writeThreshold, 8192);
    write(7680);
    write(7680);
    assert.equal((await threshold())?.writeThreshold, 0);
    assert.deepEqual(told.splice(0), [{ nodeName, thresholdBytes: 8192, exceededBytes: 512 }]);
    await at.thread.block({ op: 'write-threshold', node: nodeName, bytes: 8192 });
    await at.thread.block({ op: 'write-threshold', node: nodeName, bytes: 0 });
    write(7680);
    await threshold();
    assert.deepEqual(told, []);
  }
  await assert.rejects(at.thread.block({ op: 'write-threshold', node: 'no', bytes: 1 }), { code: 'no-such-disk' });
});
