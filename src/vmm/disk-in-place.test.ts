import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BlockGraph, type OptionDict } from '../block/index.js';
import { NodeBlockHost } from '../host/node/block-host.js';
import { loadVectoredIo } from '../host/node/vectored.js';
import type { BlockDone, BlockFailure } from '../hw/index.js';
import { Patience } from './disk-in-place.js';
import { openDisksAt } from './testing/open-disks.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-in-place-'));
after(() => rmSync(folder, { recursive: true }));
const graph = new BlockGraph(new NodeBlockHost(() => {}));
const MiB = 2 ** 20;
const TMPFS = 0x01021994;

/** Here reads without waiting are known, so that what has just been written is read in place. */
const io = loadVectoredIo();
const probe = join(folder, 'probe');
writeFileSync(probe, new Uint8Array(4096));
const probed = openSync(probe, 'r');
const target = new Uint8Array(new SharedArrayBuffer(65536));
const knows = io !== undefined && io.transfer(false, probed, 0, [target.subarray(0, 512)], true, 0, 512, false) !== -2;
closeSync(probed);
const skip = !knows && statfsSync(folder).type !== TMPFS && 'reads without waiting are unknown here';

let images = 0;
async function image(format: string, sizeBytes: number, options: OptionDict = {}): Promise<string> {
  const path = join(folder, `disk ${images++}`);
  await graph.create(format, path, { size: sizeBytes, ...options });
  return path;
}

/** Whether a request has ended when the call that begins it returns. */
function isAtOnce(begin: (done: BlockDone) => void): boolean {
  let ended = false;
  begin((failure?: BlockFailure) => {
    assert.equal(failure, undefined);
    ended = true;
  });
  return ended;
}

type OpenDisks = Awaited<ReturnType<typeof openDisksAt>>;
const reads = ({ disk, ram }: OpenDisks, offset: number, length = 4096) =>
  isAtOnce((done) => disk.read(offset, [ram(4 * MiB, length)], done));
const writes = ({ disk, ram }: OpenDisks, offset: number, length = 4096) =>
  isAtOnce((done) => disk.write(offset, [ram(5 * MiB, length)], done));

/** How many writes the other thread gets before the next is tried here. */
function away(patience: Patience): number {
  let count = 0;
  while (!patience.allows) count++;
  return count;
}

test('a write that waited once is let pass; after the second, others go to the other thread, each time more', () => {
  const patience = new Patience();
  const slow = 20;
  patience.took(slow);
  assert.equal(away(patience), 0);
  for (let i = 0; i < 64; i++) patience.took(0.1);
  patience.took(slow);
  assert.equal(away(patience), 0, 'the first is forgotten');
  patience.took(slow);
  assert.equal(away(patience), 64);
  patience.took(slow);
  assert.equal(away(patience), 128);
  for (let i = 0; i < 64; i++) patience.took(0.1);
  patience.took(slow);
  patience.took(slow);
  assert.equal(away(patience), 64);
});

/** The first request of a disk tells where its bytes lie. */
function learn(at: OpenDisks, offset = 0): void {
  reads(at, offset);
  at.settle();
}

test('a raw image is read and written in place after the first request, in any pieces', { skip }, async () => {
  const path = join(folder, 'raw');
  const content = new Uint8Array(2 * MiB).map((_, i) => (i * 7 + (i >> 9)) & 0xff);
  writeFileSync(path, content);
  {
    await using at = await openDisksAt([{ id: 'd', path, format: 'raw' }]);
    assert.equal(reads(at, 0), false);
    at.settle();
    const pieces = [at.ram(100, 1), at.ram(8192, 3000), at.ram(300, 1095), at.ram(65536, 512 * 1024)];
    assert.ok(isAtOnce((done) => at.disk.read(1024, pieces, done)));
    assert.deepEqual(Buffer.concat(pieces), Buffer.from(content.subarray(1024, 1024 + 4096 + 512 * 1024)));
    assert.ok(isAtOnce((done) => at.disk.write(512, pieces, done)));
    content.set(content.slice(1024, 1024 + 4096 + 512 * 1024), 512);
    at.disk.flush(at.done);
    assert.deepEqual(at.settle(), ['ok']);
    // The buffer of a drive, which is not guest memory.
    const own = at.disk.allocate(65536);
    assert.ok(isAtOnce((done) => at.disk.read(0, [own], done)));
    assert.deepEqual(own, content.slice(0, 65536));
    // Holes, and the other thread's zeroes, are seen.
    at.disk.writeZeroes?.(0, 4096, false, at.done);
    at.settle();
    content.fill(0, 0, 4096);
    assert.ok(reads(at, 0));
    assert.ok(at.ram(4 * MiB, 4096).every((byte) => byte === 0));
  }
  assert.deepEqual(new Uint8Array(readFileSync(path)), content);
});

test('what lies in no whole sector at the end of a file reads as zero', { skip }, async () => {
  const path = join(folder, 'odd');
  writeFileSync(path, new Uint8Array(1000).fill(1));
  await using at = await openDisksAt([{ id: 'd', path, format: 'raw' }]);
  learn(at);
  assert.ok(reads(at, 0, 512));
  assert.equal(reads(at, 512, 512), false);
  at.settle();
  assert.deepEqual([...at.ram(4 * MiB + 486, 4)], [1, 1, 0, 0]);
});

test('a qcow2 image is overwritten in place only where a cluster is its own', { skip }, async () => {
  const base = join(folder, 'base');
  writeFileSync(base, new Uint8Array(MiB).fill(1));
  const path = await image('qcow2', MiB, { backing_file: base, backing_fmt: 'raw' });
  {
    await using at = await openDisksAt([{ id: 'd', path, format: 'qcow2', discard: 'unmap' }]);
    learn(at);
    assert.ok(reads(at, 0), 'in the backing file');
    assert.equal(at.ram(4 * MiB, 1)[0], 1);
    at.ram(5 * MiB, 4096).fill(2);
    assert.equal(writes(at, 8192), false, 'there is no cluster yet');
    at.settle();
    assert.ok(writes(at, 16384), 'now there is');
    assert.ok(reads(at, 8192));
    assert.equal(at.ram(4 * MiB, 1)[0], 2);
    assert.equal(writes(at, 65536), false, 'the next cluster is still the backing file’s');
    at.settle();
    assert.ok(reads(at, 131072), 'so is the one behind, for reading');
    at.disk.discard?.(0, 65536, at.done);
    assert.equal(reads(at, 8192), false, 'a discard under way is not overtaken');
    at.settle();
    reads(at, 8192);
    at.settle();
    assert.equal(at.ram(4 * MiB, 1)[0], 0);
    assert.equal(writes(at, 8192), false);
    at.settle();
  }
  assert.ok(readFileSync(base).every((byte) => byte === 1));
  const node = await graph.open({ filename: path, format: 'qcow2', flags: { readOnly: true } });
  const found = await node.instance.check?.({ leaks: false, errors: false });
  assert.deepEqual([found?.corruptions, found?.leaks], [0, 0]);
  await node.close();
});

test('after an internal snapshot the first write to a cluster is not in place', { skip }, async () => {
  const path = await image('qcow2', MiB);
  const node = await graph.open({ filename: path, format: 'qcow2', flags: { readOnly: false } });
  await node.write(0, new Uint8Array(131072).fill(1));
  await node.instance.snapshots?.create({
    name: 's',
    vmStateBytes: 0,
    dateSeconds: 0,
    dateNanoseconds: 0,
    vmClockNs: 0,
  });
  await node.close();
  await using at = await openDisksAt([{ id: 'd', path, format: 'qcow2' }]);
  learn(at);
  assert.ok(reads(at, 4096));
  assert.equal(writes(at, 4096), false);
  at.settle();
  assert.ok(writes(at, 8192));
  assert.equal(writes(at, 65536), false);
  at.settle();
});

test('random requests, in place and not, on an image of small clusters', { skip }, async () => {
  const SIZE = 256 * 1024;
  const UNIT = 512;
  const base = join(folder, 'random base');
  const model = new Uint8Array(SIZE).map((_, i) => i >> 9);
  writeFileSync(base, model);
  const path = await image('qcow2', SIZE, { backing_file: base, backing_fmt: 'raw', cluster_size: 4096 });
  let state = 12345;
  const random = (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
  let inPlace = 0;
  {
    await using at = await openDisksAt([{ id: 'd', path, format: 'qcow2', discard: 'unmap' }]);
    for (let round = 0; round < 600; round++) {
      const checks: (() => void)[] = [];
      // Requests of a round touch the same clusters, but not the same sectors.
      let sector = random(SIZE / UNIT - 64);
      for (let i = 0; i <= random(5); i++) {
        const count = 1 + random(12);
        const [offset, length] = [sector * UNIT, count * UNIT];
        sector += count;
        const memory = at.ram(65536 * (i + 1), length);
        const kind = random(10);
        const begin = (done: BlockDone) => {
          if (kind < 5) {
            const expected = model.slice(offset, offset + length);
            checks.push(() => assert.deepEqual(memory.slice(), expected, `round ${round}, ${offset}+${length}`));
            at.disk.read(offset, [memory.subarray(0, 300), memory.subarray(300)], done);
          } else if (kind < 9) {
            memory.fill(random(256));
            model.set(memory, offset);
            at.disk.write(offset, [memory], done);
          } else {
            model.fill(0, offset, offset + length);
            at.disk.writeZeroes?.(offset, length, random(2) === 1, done);
          }
        };
        if (isAtOnce(begin)) inPlace++;
      }
      at.settle();
      for (const check of checks) check();
    }
  }
  assert.ok(inPlace > 200, `${inPlace} in place`);
  const node = await graph.open({ filename: path, format: 'qcow2', flags: { readOnly: true } });
  const bytes = new Uint8Array(SIZE);
  await node.read(0, bytes);
  assert.deepEqual(bytes, model);
  const found = await node.instance.check?.({ leaks: false, errors: false });
  assert.deepEqual([found?.corruptions, found?.leaks], [0, 0]);
  await node.close();
});

test('nothing is in place where something stands between: filters, encryption, the host’s cache left out', {
  skip,
}, async () => {
  const path = join(folder, 'between');
  writeFileSync(path, new Uint8Array(MiB).fill(1));
  const file = { driver: 'file', filename: path };
  const flat = (prefix: string, dict: OptionDict) =>
    Object.fromEntries(Object.entries(dict).map(([key, value]) => [`${prefix}.${key}`, value])) as OptionDict;
  const graphs: Record<string, OptionDict> = {
    blkdebug: { driver: 'blkdebug', ...flat('image', file) },
    'raw over blkdebug': { driver: 'raw', 'file.driver': 'blkdebug', ...flat('file.image', file) },
    'copy-on-read': { driver: 'copy-on-read', ...flat('file', file) },
  };
  for (const [name, options] of Object.entries(graphs)) {
    await using at = await openDisksAt([{ id: 'd', options }]);
    for (let i = 0; i < 2; i++) {
      assert.equal(reads(at, 0), false, name);
      at.settle();
    }
  }
  for (const [name, more] of Object.entries({
    writethrough: { cache: 'writethrough' },
    'detect-zeroes': { options: { 'detect-zeroes': 'on' } },
    'a guessed format': { format: undefined },
  } as const)) {
    await using at = await openDisksAt([{ id: 'd', path, format: 'raw', ...more }]);
    learn(at);
    assert.ok(reads(at, 0), name);
    at.ram(5 * MiB, 4096).fill(2);
    assert.equal(writes(at, 0), false, name);
    at.settle();
    // Of a guessed image only the first block is watched.
    if (name === 'a guessed format') assert.ok(writes(at, 4096));
  }
  await using readonly = await openDisksAt([{ id: 'd', path, format: 'raw', readonly: true }]);
  learn(readonly);
  assert.ok(reads(readonly, 0));
});

test('another medium: what was known of the one before is forgotten', { skip }, async () => {
  const paths = [1, 2].map((value) => {
    const path = join(folder, `medium ${value}`);
    writeFileSync(path, new Uint8Array(65536).fill(value));
    return path;
  });
  await using at = await openDisksAt([{ id: 'd', path: paths[0], format: 'raw', removable: true }]);
  learn(at);
  assert.ok(writes(at, 4096));
  await at.thread.change(0, { path: paths[1], format: 'raw' });
  assert.equal(reads(at, 0), false);
  at.settle();
  assert.equal(at.ram(4 * MiB, 1)[0], 2);
  assert.ok(reads(at, 8192));
  assert.equal(at.ram(4 * MiB, 1)[0], 2);
  await at.thread.change(0, undefined);
  at.disk.read(0, [at.ram(4 * MiB, 512)], at.done);
  assert.deepEqual(at.settle(), ['io']);
});

test('what another process writes to a shared file is seen', { skip }, async () => {
  const path = join(folder, 'shared');
  writeFileSync(path, new Uint8Array(65536));
  await using at = await openDisksAt([{ id: 'd', path, format: 'raw', shareWrites: true }]);
  learn(at);
  const fd = openSync(path, 'r+');
  writeSync(fd, new Uint8Array(512).fill(9), 0, 512, 512);
  closeSync(fd);
  assert.ok(reads(at, 512, 512));
  assert.equal(at.ram(4 * MiB, 1)[0], 9);
});
