import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BlockGraph, type ThrottleLimits } from '../block/index.js';
import { randomFrom } from '../block/testing/memory-host.js';
import { NodeBlockHost } from '../host/node/block-host.js';
import type { BlockRequest, JobEvent } from './block-protocol.js';
import { openDisksAt } from './testing/open-disks.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-jobs-'));
after(() => rmSync(folder, { recursive: true }));
const graph = new BlockGraph(new NodeBlockHost(() => {}));
const MiB = 2 ** 20;
const diskBytes = 4 * MiB;
const pieceBytes = 4096;
let images = 0;

async function image(format: string): Promise<string> {
  const path = join(folder, `image${images++}`);
  await graph.create(format, path, { size: diskBytes });
  return path;
}

async function contents(path: string, format: string): Promise<Buffer> {
  const node = await graph.open({ filename: path, format });
  const bytes = new Uint8Array(diskBytes);
  await node.read(0, bytes);
  if (node.instance.check) {
    const { corruptions, leaks } = await node.instance.check({ leaks: false, errors: false });
    assert.deepEqual([corruptions, leaks], [0, 0], path);
  }
  await node.close();
  return Buffer.from(bytes);
}

/** A disk `d`, a guest that writes to it, and what it must read. */
async function running(path: string, format: string, seed = 7, limits?: ThrottleLimits) {
  const at = await openDisksAt([{ id: 'd', path, format, discard: 'unmap', limits }]);
  const random = randomFrom(seed);
  const shadow = Buffer.alloc(diskBytes);
  const events: JobEvent[] = [];
  let heard: () => void = () => {};
  at.thread.onJobEvent((event) => {
    events.push(event);
    heard();
  });
  const guest = {
    ...{ shadow, events },
    write(offset: number, value: number, length = pieceBytes) {
      at.ram(4096, length).fill(value);
      at.disk.write(offset, [at.ram(4096, length)], at.done);
      assert.deepEqual(at.settle(), ['ok']);
      shadow.fill(value, offset, offset + length);
    },
    /** Writes here and there; what was read before it mostly does in place. */
    writeSome(count = 40) {
      for (let i = 0; i < count; i++) {
        const offset = random(diskBytes / pieceBytes) * pieceBytes;
        at.disk.read(offset, [at.ram(MiB, pieceBytes)], at.done);
        assert.deepEqual(at.settle(), ['ok']);
        assert.ok(shadow.subarray(offset, offset + pieceBytes).equals(at.ram(MiB, pieceBytes)), `at ${offset}`);
        if (random(8) === 0) {
          at.disk.discard!(offset, pieceBytes, at.done);
          assert.deepEqual(at.settle(), ['ok']);
          at.disk.writeZeroes!(offset, pieceBytes, true, at.done);
          assert.deepEqual(at.settle(), ['ok']);
          shadow.fill(0, offset, offset + pieceBytes);
        } else guest.write(offset, 1 + random(255));
      }
    },
    /** Goes on writing until the job is there. */
    async until(what: JobEvent['what'] | 'null'): Promise<void> {
      const isIt = (event: JobEvent) => event.what === what || (event.what === 'status' && event.status === what);
      while (!events.some(isIt)) {
        guest.writeSome(5);
        await new Promise<void>((resolve) => {
          heard = resolve;
          setTimeout(resolve, 1);
        });
      }
    },
    /** What the disk is on. */
    async place() {
      const [disk] = await at.thread.describe();
      return { file: disk!.filename, backing: disk!.backing };
    },
    block: <R extends BlockRequest>(request: R) => at.thread.block(request),
    /** The status of jobs, in order. */
    states: () => events.flatMap((event) => (event.what === 'status' ? [event.status] : [])),
  };
  return { at, guest, [Symbol.asyncDispose]: () => at[Symbol.asyncDispose]() };
}

const begun = ['created', 'running'];
const ended = ['waiting', 'pending', 'concluded', 'null'];

for (const [from, to] of [
  ['raw', 'qcow2'],
  ['qcow2', 'raw'],
  ['qcow2', 'qcow2'],
] as const)
  test(`a ${from} disk moves to ${to} while the guest writes, and nothing is lost`, async () => {
    const path = await image(from);
    const copy = join(folder, `copy-${from}-${to}`);
    let before: Buffer;
    {
      await using made = await running(path, from);
      const { guest } = made;
      guest.writeSome(200);
      await guest.block({ op: 'mirror', disk: 'd', sync: 'full', target: { file: copy, format: to, exists: false } });
      await guest.until('ready');
      guest.writeSome();
      assert.equal((await guest.block({ op: 'jobs' }))[0].isReady, true);
      await guest.block({ op: 'complete', job: 'd' });
      await guest.until('null');
      assert.equal((await guest.place()).file, copy);
      assert.deepEqual(guest.states(), [...begun, 'ready', ...ended]);
      before = await contents(path, from);
      guest.writeSome();
      assert.ok((await contents(path, from)).equals(before), 'the old image is left alone');
      before = guest.shadow;
    }
    assert.ok((await contents(copy, to)).equals(before));
  });

test('a mirror that is cancelled when it is ready leaves a copy of that moment, and the disk where it was', async () => {
  const path = await image('qcow2');
  const copy = await image('raw');
  await using made = await running(path, 'qcow2');
  const { guest } = made;
  guest.writeSome(100);
  await guest.block({
    op: 'mirror',
    disk: 'd',
    id: 'm',
    sync: 'full',
    target: { file: copy, format: 'raw', exists: true },
  });
  await guest.until('ready');
  await guest.block({ op: 'cancel', job: 'm', force: false });
  while (!guest.states().includes('null')) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok((await contents(copy, 'raw')).equals(guest.shadow));
  assert.equal((await guest.place()).file, path);
  assert.equal(
    guest.events.some(({ what }) => what === 'completed'),
    true,
  );
  guest.writeSome();
});

test('a backup has the disk as it was when it began', async () => {
  const path = await image('qcow2');
  const copy = join(folder, 'backup');
  await using made = await running(path, 'qcow2', 11);
  const { guest } = made;
  guest.writeSome(200);
  const moment = Buffer.from(guest.shadow);
  const target = { file: copy, format: 'qcow2', exists: false };
  await guest.block({ op: 'backup', disk: 'd', sync: 'full', speed: 8 * MiB, target });
  guest.writeSome();
  await guest.until('null');
  assert.ok((await contents(copy, 'qcow2')).equals(moment));
  assert.ok(!moment.equals(guest.shadow));
  assert.deepEqual(guest.states(), [...begun, ...ended]);
});

test('a bitmap tells of writes in place too, and an incremental backup copies those alone', async () => {
  const path = await image('raw');
  const full = join(folder, 'full');
  const part = join(folder, 'part');
  await using made = await running(path, 'raw', 12);
  const { guest, at } = made;
  guest.writeSome(100);
  await guest.block({
    op: 'transaction',
    actions: [
      { op: 'add-bitmap', disk: 'd', name: 'b', granularity: 4096 },
      { op: 'backup', disk: 'd', sync: 'full', target: { file: full, format: 'raw', exists: false } },
    ],
  });
  await guest.until('null');
  const count = async () => (await at.thread.describeNodes()).nodes.flatMap(({ bitmaps }) => bitmaps)[0];
  assert.ok((await count()).countBytes > 0);
  await guest.block({ op: 'transaction', actions: [{ op: 'clear-bitmap', disk: 'd', name: 'b' }] });
  guest.events.length = 0;
  guest.write(0x5000, 77);
  guest.write(0x5000, 78);
  assert.deepEqual(await count(), {
    ...{ name: 'b', granularity: 4096, countBytes: 4096, isRecording: true, isBusy: false },
    ...{ isPersistent: false, isInconsistent: false },
  });
  const target = { file: part, format: 'raw', exists: false };
  await guest.block({ op: 'backup', disk: 'd', sync: 'incremental', bitmap: 'b', target });
  while (!guest.states().includes('null')) await new Promise((resolve) => setTimeout(resolve, 5));
  const copied = await contents(part, 'raw');
  assert.deepEqual([copied[0x5000], (await count()).countBytes], [78, 0]);
  // A granule of the backup, and nothing beyond.
  assert.ok(copied.subarray(0x10000).every((byte) => byte === 0));
});

test('snapshots keep what was; commit and stream make one image of them again', async () => {
  const base = await image('qcow2');
  const [one, two] = [join(folder, 'one'), join(folder, 'two')];
  const moments: Buffer[] = [];
  let shadow: Buffer;
  {
    await using made = await running(base, 'qcow2', 13);
    const { guest } = made;
    shadow = guest.shadow;
    const snapshot = (file: string) =>
      guest.block({
        op: 'transaction',
        actions: [{ op: 'snapshot', disk: 'd', overlay: { file, exists: false, nodeName: `n-${images++}` } }],
      });
    for (const file of [one, two]) {
      guest.writeSome(100);
      moments.push(Buffer.from(shadow));
      await snapshot(file);
      assert.equal((await guest.place()).file, file);
    }
    guest.writeSome(100);
    assert.ok((await contents(base, 'qcow2')).equals(moments[0]));
    assert.ok((await contents(one, 'qcow2')).equals(moments[1]));
    // `one` goes down into `base`, below the disk.
    await guest.block({ op: 'commit', disk: 'd', top: { file: one } });
    await guest.until('null');
    assert.deepEqual(await guest.place(), { file: two, backing: base });
    assert.ok((await contents(base, 'qcow2')).equals(moments[1]));
    guest.events.length = 0;
    guest.writeSome();
    // Then the disk itself does.
    await guest.block({ op: 'commit', disk: 'd' });
    await guest.until('ready');
    guest.writeSome();
    await guest.block({ op: 'complete', job: 'd' });
    await guest.until('null');
    assert.deepEqual(await guest.place(), { file: base, backing: undefined });
    guest.writeSome();
    // The other way round: a snapshot that takes all from below.
    const three = join(folder, 'three');
    await snapshot(three);
    guest.writeSome();
    guest.events.length = 0;
    await guest.block({ op: 'stream', disk: 'd' });
    await guest.until('null');
    assert.deepEqual(await guest.place(), { file: three, backing: undefined });
    guest.writeSome();
  }
  assert.ok((await contents(join(folder, 'three'), 'qcow2')).equals(shadow));
});

test('a transaction that fails has changed nothing', async () => {
  const path = await image('qcow2');
  await using made = await running(path, 'qcow2', 14);
  const { guest, at } = made;
  guest.writeSome();
  const overlay = { file: join(folder, 'never'), exists: false };
  await guest.block({ op: 'transaction', actions: [{ op: 'add-bitmap', disk: 'd', name: 'old' }] });
  guest.write(0, 5);
  const bitmaps = async () =>
    (await at.thread.describeNodes()).nodes.flatMap((node) =>
      node.bitmaps.map(({ name, countBytes }) => [name, countBytes]),
    );
  const before = await bitmaps();
  await assert.rejects(
    guest.block({
      op: 'transaction',
      actions: [
        { op: 'add-bitmap', disk: 'd', name: 'new' },
        { op: 'clear-bitmap', disk: 'd', name: 'old' },
        { op: 'remove-bitmap', disk: 'd', name: 'new' },
        { op: 'internal-snapshot', disk: 'd', name: 's' },
        { op: 'snapshot', disk: 'd', overlay },
        { op: 'abort' },
      ],
    }),
    { code: 'block', message: 'Transaction aborted using Abort action' },
  );
  assert.deepEqual(await bitmaps(), before);
  assert.deepEqual(await guest.place(), { file: path, backing: undefined });
  await assert.rejects(guest.block({ op: 'delete-internal-snapshot', disk: 'd', name: 's' }), { code: 'block' });
  guest.writeSome();
});

test('a job waits where it is told to, and its target may fail for a while', async () => {
  const path = await image('raw');
  const copy = await image('raw');
  const failing = {
    ...{ driver: 'blkdebug', 'node-name': 't', 'image.driver': 'file', 'image.filename': copy },
    ...{ 'inject-error.0.event': 'none', 'inject-error.0.iotype': 'write', 'inject-error.0.errno': 28 },
    'inject-error.0.once': true,
  };
  await using made = await running(path, 'raw', 15);
  const { guest, at } = made;
  guest.writeSome();
  await at.thread.addNode(failing);
  const how = { id: 'j', autoFinalize: false, autoDismiss: false, onTargetError: 'enospc' } as const;
  await guest.block({ op: 'mirror', disk: 'd', sync: 'full', target: { node: 't' }, ...how });
  await guest.until('error');
  await guest.until('paused' as never);
  const [job] = await guest.block({ op: 'jobs' });
  assert.deepEqual([job.status, job.ioStatus, job.isPaused], ['paused', 'nospace', true]);
  assert.deepEqual(
    guest.events.filter(({ what }) => what === 'error'),
    [{ what: 'error', id: 'j', operation: 'write', action: 'stop' }],
  );
  const refused = (message: string) => ({ code: 'block', message });
  await assert.rejects(
    guest.block({ op: 'complete', job: 'j' }),
    refused("Job 'j' in state 'paused' cannot accept command verb 'complete'"),
  );
  await assert.rejects(guest.block({ op: 'resume', job: 'x' }), { code: 'no-such-job', message: 'Job not found' });
  await guest.block({ op: 'resume', job: 'j' });
  await guest.until('ready');
  await guest.block({ op: 'complete', job: 'j' });
  await guest.until('pending');
  guest.writeSome();
  assert.equal((await guest.place()).file, path, 'not before it is finalized');
  await guest.block({ op: 'finalize', job: 'j' });
  await guest.until('completed');
  guest.writeSome();
  assert.equal((await guest.block({ op: 'jobs' }))[0].status, 'concluded');
  await guest.block({ op: 'dismiss', job: 'j' });
  assert.deepEqual(await guest.block({ op: 'jobs' }), []);
});

test('a target that fails ends the job, and the disk stays', async () => {
  const path = await image('raw');
  const copy = await image('raw');
  const failing = {
    ...{ driver: 'blkdebug', 'node-name': 't', 'image.driver': 'file', 'image.filename': copy },
    ...{ 'inject-error.0.event': 'none', 'inject-error.0.iotype': 'write', 'inject-error.0.errno': 5 },
  };
  await using made = await running(path, 'raw', 16);
  const { guest, at } = made;
  guest.writeSome();
  await at.thread.addNode(failing);
  await guest.block({ op: 'mirror', disk: 'd', sync: 'full', target: { node: 't' } });
  await guest.until('null');
  assert.deepEqual(guest.states(), [...begun, 'aborting', 'concluded', 'null']);
  const told = guest.events.find(({ what }) => what === 'completed');
  assert.equal(told?.what === 'completed' && told.job.error, 'Input/output error');
  assert.equal((await guest.place()).file, path);
  await at.thread.removeNode('t');
});

test('a machine that ends in the middle of jobs leaves sound images', async () => {
  const path = await image('qcow2');
  const copy = join(folder, 'cut');
  let shadow: Buffer;
  {
    await using made = await running(path, 'qcow2', 17);
    const { guest } = made;
    shadow = guest.shadow;
    guest.writeSome(100);
    await guest.block({
      op: 'mirror',
      disk: 'd',
      sync: 'full',
      speed: 1,
      target: { file: copy, format: 'qcow2', exists: false },
    });
    guest.writeSome();
  }
  assert.ok((await contents(path, 'qcow2')).equals(shadow));
  await contents(copy, 'qcow2');
});

test('a disk may be slowed down, and let go again', async () => {
  const path = await image('raw');
  await using made = await running(path, 'raw', 18, { 'iops-total': 20 });
  const { guest, at } = made;
  const time = () => {
    const start = performance.now();
    for (let i = 0; i < 12; i++) guest.write(i * pieceBytes, i);
    return performance.now() - start;
  };
  assert.deepEqual((await at.thread.describe())[0]!.limits, { 'iops-total': 20 });
  const slow = time();
  await guest.block({ op: 'throttle', disk: 'd', limits: {} });
  assert.ok(slow > 300, `12 requests at 20 a second took ${slow} ms`);
  assert.ok(time() < slow);
  guest.writeSome();
  await guest.block({ op: 'throttle', disk: 'd', limits: { 'bps-write': 20 * pieceBytes } });
  assert.ok(time() > 300);
  await assert.rejects(guest.block({ op: 'throttle', disk: 'x', limits: {} }), { code: 'no-such-disk' });
});

test("a drive that is taken away: its device's requests fail, its image is let go, and its name is free", async () => {
  const path = await image('qcow2');
  await using made = await running(path, 'qcow2', 19);
  const { guest, at } = made;
  guest.writeSome();
  const copy = { file: join(folder, 'gone'), format: 'raw', exists: false };
  await guest.block({ op: 'mirror', disk: 'd', sync: 'full', target: copy });
  await assert.rejects(at.thread.detach(0), { code: 'block', message: /is busy: .* in use by block job: mirror/ });
  await guest.block({ op: 'cancel', job: 'd', force: true });
  await guest.until('null');
  guest.writeSome();
  await at.thread.detach(0);
  const refused = () => {
    at.disk.read(0, [at.ram(4096, pieceBytes)], at.done);
    at.disk.write(0, [at.ram(4096, pieceBytes)], at.done);
    assert.deepEqual(at.settle(), ['io', 'io']);
    assert.deepEqual([at.disk.inserted, at.disk.sizeBytes], [false, 0]);
  };
  refused();
  assert.ok((await contents(path, 'qcow2')).equals(guest.shadow));
  const [gone] = await at.thread.describe();
  assert.deepEqual([gone!.id, gone!.inserted, gone!.nodeName], ['', false, '']);
  await assert.rejects(guest.block({ op: 'throttle', disk: '', limits: {} }), { code: 'no-such-disk' });
  await assert.rejects(guest.block({ op: 'resize', disk: '', sizeBytes: 1 }), { code: 'no-such-disk' });
  // Another of that name is not the device's.
  assert.equal(await at.thread.add({ id: 'd', path, format: 'qcow2' }), 1);
  refused();
  await at.thread.remove(1);
});
