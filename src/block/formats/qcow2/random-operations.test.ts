/**
 * Random requests on qcow2 images of every layout, against a plain array of what the disk must hold; then qemu-img, where
 * installed, must find the image sound and its contents the same.
 */
import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import test from 'node:test';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { BlockGraph } from '../../graph.js';
import { RequestFlag } from '../../node.js';
import type { OptionDict } from '../../options.js';

const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;
const diskBytes = 3 * 2 ** 20 + 512;
const backingBytes = 2 * 2 ** 20 + 1024;

/** mulberry32: a small generator with a fixed seed, so that a failure repeats. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const layouts: readonly (OptionDict & { readonly label: string })[] = [
  { label: 'default' },
  { label: 'cluster 512', cluster_size: 512 },
  { label: 'version 2', compat: '0.10' },
  { label: 'extended L2', extended_l2: 'on' },
  { label: 'refcount 1 bit', refcount_bits: 1 },
  { label: 'refcount 64 bits', refcount_bits: 64, cluster_size: 4096 },
  { label: 'refcount 2 bits', refcount_bits: 2, cluster_size: 1024 },
  { label: 'lazy refcounts', lazy_refcounts: 'on' },
  { label: 'cluster 2M', cluster_size: '2M' },
  { label: 'data file', data_file: 'data' },
  { label: 'raw data file', data_file: 'data', data_file_raw: 'on' },
  { label: 'preallocated', preallocation: 'metadata' },
  { label: 'preallocated falloc', preallocation: 'falloc', cluster_size: 4096 },
  { label: 'preallocated full', preallocation: 'full', extended_l2: 'on' },
  { label: 'zstd', compression_type: 'zstd' },
  { label: 'backing', backing_file: 'base.raw', backing_fmt: 'raw' },
  { label: 'backing, extended L2', backing_file: 'base.raw', backing_fmt: 'raw', extended_l2: 'on' },
  { label: 'luks', 'encrypt.format': 'luks', 'encrypt.key-secret': 's', 'encrypt.iter-time': 10 },
  { label: 'aes', 'encrypt.format': 'aes', 'encrypt.key-secret': 's' },
];

async function exercise(directory: string, layout: OptionDict, seed: number): Promise<void> {
  const random = randomFrom(seed);
  const host = new NodeBlockHost(() => undefined);
  host.secrets.set('s', Buffer.from('secret words'));
  const graph = new BlockGraph(host);
  const file = path.join(directory, 'disk.qcow2');
  const options: OptionDict = { ...layout, size: diskBytes };
  if (options['data_file']) options['data_file'] = path.join(directory, 'disk.data');
  const isEncrypted = options['encrypt.format'] !== undefined;
  await graph.create('qcow2', file, options);
  let expected = new Uint8Array(diskBytes);
  if (options['backing_file']) expected.fill(0x55, 0, backingBytes);
  const secret: OptionDict = isEncrypted ? { 'encrypt.key-secret': 's' } : {};
  const node = await graph.open({
    filename: file,
    format: 'qcow2',
    options: secret,
    flags: { readOnly: false, unmap: true },
  });
  const { clusterSizeBytes = 0 } = await node.getInfo();
  const canSnapshot = !options['data_file'] && options['refcount_bits'] !== 1 && options['refcount_bits'] !== 2;
  const snapshots: { readonly name: string; readonly contents: Uint8Array<ArrayBuffer> }[] = [];
  for (let step = 0; step < 100; step++) {
    const offset = random(diskBytes);
    const length = Math.min(diskBytes - offset, random(4) === 0 ? random(400_000) + 1 : random(6000) + 1);
    switch (random(10)) {
      case 5:
        await node.writeZeroes(offset, length, random(2) === 0 ? RequestFlag.mayUnmap : 0);
        expected.fill(0, offset, offset + length);
        break;
      case 6: {
        const start = Math.ceil(offset / clusterSizeBytes) * clusterSizeBytes;
        const end = Math.floor((offset + length) / clusterSizeBytes) * clusterSizeBytes;
        // Over a backing file a version 2 image can't say "zero"; a raw data file keeps its bytes.
        if (end <= start || options['data_file_raw'] || options['compat']) break;
        await node.discard(start, end - start);
        expected.fill(0, start, end);
        break;
      }
      case 7: {
        const bytes = new Uint8Array(length);
        if (random(2) === 0 || !node.readNow(offset, bytes)) await node.read(offset, bytes);
        assert.equal(
          Buffer.compare(bytes, expected.subarray(offset, offset + length)),
          0,
          `read at ${offset} in step ${step}`,
        );
        break;
      }
      case 8: {
        if (options['data_file'] || isEncrypted) break;
        const start = offset - (offset % clusterSizeBytes);
        const bytes = new Uint8Array(Math.min(clusterSizeBytes, diskBytes - start)).fill(random(250) + 1);
        try {
          await node.write(start, bytes, RequestFlag.compressed);
          expected.set(bytes, start);
        } catch (error) {
          // A cluster of its own can't become compressed.
          assert.equal((error as { code: string }).code, 'EIO');
        }
        break;
      }
      case 9: {
        if (random(3) === 0) await node.flush();
        if (!canSnapshot || random(4) !== 0) break;
        const chosen = snapshots.length > 0 && random(2) === 0 ? random(snapshots.length) : -1;
        if (chosen < 0) {
          const name = `s${step}`;
          await node.instance.snapshots!.create({
            name,
            vmStateBytes: 0,
            dateSeconds: 1,
            dateNanoseconds: 0,
            vmClockNs: 0,
          });
          snapshots.push({ name, contents: expected.slice() });
        } else if (random(2) === 0) {
          await node.instance.snapshots!.apply(snapshots[chosen]!.name);
          expected = snapshots[chosen]!.contents.slice();
        } else await node.instance.snapshots!.remove(undefined, snapshots.splice(chosen, 1)[0]!.name);
        break;
      }
      default: {
        const bytes = new Uint8Array(length).fill(random(255) + 1);
        if (random(2) === 0 || !node.writeNow(offset, bytes)) await node.write(offset, bytes);
        expected.set(bytes, offset);
      }
    }
  }
  const all = new Uint8Array(diskBytes);
  await node.read(0, all);
  assert.equal(Buffer.compare(all, expected), 0, 'contents at the end');
  await node.close();

  const again = await graph.open({ filename: file, format: 'qcow2', options: secret, flags: { check: true } });
  const result = await again.instance.check!({ leaks: false, errors: false });
  await again.close();
  assert.deepEqual(
    [result.corruptions, result.leaks, result.checkErrors],
    [0, 0, 0],
    result.lines.slice(0, 5).join('\n'),
  );
  if (!hasQemu) return;
  fs.writeFileSync(path.join(directory, 'expected.raw'), expected);
  const object = ['--object', 'secret,id=s,data=secret words'];
  const image = isEncrypted
    ? `driver=qcow2,file.filename=${file},encrypt.key-secret=s`
    : `driver=qcow2,file.filename=${file}`;
  const check = spawnSync('qemu-img', ['check', ...object, '--image-opts', image], {
    encoding: 'utf8',
    cwd: directory,
  });
  assert.equal(check.status, 0, check.stdout + check.stderr);
  const compare = spawnSync(
    'qemu-img',
    ['compare', ...object, '--image-opts', image, `driver=raw,file.filename=${path.join(directory, 'expected.raw')}`],
    {
      encoding: 'utf8',
      cwd: directory,
    },
  );
  assert.equal(compare.status, 0, compare.stdout + compare.stderr);
}

for (const { label, ...layout } of layouts) {
  test(`qcow2 (${label}): random operations keep contents and metadata${hasQemu ? ', qemu-img agrees' : ''}`, async () => {
    const directory = fs.mkdtempSync(path.join(tmpdir(), 'vring-qcow2-'));
    try {
      fs.writeFileSync(path.join(directory, 'base.raw'), new Uint8Array(backingBytes).fill(0x55));
      for (const seed of (process.env.VRING_SEEDS ?? '1').split(',')) await exercise(directory, layout, Number(seed));
    } finally {
      fs.rmSync(directory, { recursive: true, force: true });
    }
  });
}
