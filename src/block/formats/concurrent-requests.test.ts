/**
 * Many requests at once, which share clusters but no bytes, on images of several formats, against a plain array of what the disk must
 * hold; then qemu-img, where installed, must find the image sound and its contents the same.
 */
import assert from 'node:assert';
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import * as path from 'node:path';
import test from 'node:test';
import { NodeBlockHost } from '../../host/node/block-host.js';
import { BlockGraph } from '../graph.js';
import type { OptionDict } from '../options.js';
import { randomFrom } from '../testing/memory-host.js';

const hasQemu = spawnSync('qemu-img', ['--version']).status === 0;
const diskBytes = 9 * 2 ** 20 + 512;

const cases: readonly (readonly [format: string, options: OptionDict])[] = [
  ['vmdk', {}],
  ['vmdk', { zeroed_grain: 'on' }],
  ['vmdk', { subformat: 'twoGbMaxExtentSparse' }],
  ['vmdk', { subformat: 'monolithicFlat' }],
  ['vmdk', { backing_file: 'base', backing_fmt: 'vmdk' }],
  ['vdi', {}],
  ['vdi', { static: 'on' }],
  ['vpc', { force_size: 'on' }],
  ['vpc', { subformat: 'fixed', force_size: 'on' }],
  ['parallels', { cluster_size: 65536 }],
  ['parallels', {}],
];

async function exercise(directory: string, format: string, options: OptionDict, seed: number): Promise<void> {
  const random = randomFrom(seed);
  const graph = new BlockGraph(new NodeBlockHost(() => undefined));
  const file = path.join(directory, 'disk');
  let expected = new Uint8Array(diskBytes);
  if (options['backing_file']) {
    await graph.create('vmdk', path.join(directory, 'base'), { size: diskBytes });
    const base = await graph.open({
      filename: path.join(directory, 'base'),
      format: 'vmdk',
      flags: { readOnly: false },
    });
    await base.write(0, expected.fill(0x55, 0, diskBytes / 2));
    await base.close();
  }
  await graph.create(format, file, { size: diskBytes, ...options });
  let node = await graph.open({ filename: file, format, flags: { readOnly: false, unmap: true } });
  for (let round = 0; round < 25; round++) {
    // Cuts of a part of the disk: pieces next to each other, not aligned to anything.
    const cuts = Array.from({ length: 9 }, () => random(diskBytes)).sort((a, b) => a - b);
    const next = expected.slice();
    const work: Promise<unknown>[] = [];
    for (let index = 1; index < cuts.length; index++) {
      const offset = cuts[index - 1]!;
      const length = Math.min(cuts[index]! - offset, random(400_000));
      if (length === 0) continue;
      const kind = random(8);
      if (kind < 5) {
        const value = 1 + random(255);
        next.fill(value, offset, offset + length);
        work.push(node.write(offset, new Uint8Array(length).fill(value)));
      } else if (kind === 5) {
        next.fill(0, offset, offset + length);
        work.push(node.writeZeroes(offset, length));
      } else if (kind === 6) {
        const buffer = new Uint8Array(length);
        const before = expected.subarray(offset, offset + length);
        work.push(node.read(offset, buffer).then(() => assert.equal(Buffer.compare(buffer, before), 0)));
      } else work.push(node.flush());
    }
    await Promise.all(work);
    expected = next;
    if (round % 10 === 9) {
      await node.close();
      node = await graph.open({ filename: file, format, flags: { readOnly: false, unmap: true } });
    }
  }
  const all = new Uint8Array(diskBytes);
  await node.read(0, all);
  assert.equal(Buffer.compare(all, expected), 0, 'contents at the end');
  if (node.instance.check) {
    const result = await node.instance.check({ leaks: false, errors: false });
    assert.deepEqual([result.corruptions, result.leaks, result.checkErrors], [0, 0, 0], result.lines.join('\n'));
  }
  await node.close();
  if (!hasQemu) return;
  fs.writeFileSync(path.join(directory, 'expected'), expected);
  const run = (...words: string[]): void => {
    const { status, stdout, stderr } = spawnSync('qemu-img', words, { cwd: directory, encoding: 'utf8' });
    assert.equal(status, 0, stdout + stderr);
  };
  run('compare', '-f', format, '-F', 'raw', 'disk', 'expected');
  if (format !== 'vpc') run('check', '-f', format, 'disk');
}

for (const [format, options] of cases) {
  const name = [format, ...Object.entries(options).map((entry) => entry.join('='))].join(' ');
  test(`${name}: requests at once that share clusters keep contents and metadata`, async () => {
    const directory = fs.mkdtempSync(path.join(tmpdir(), 'vring-formats-'));
    try {
      for (const seed of (process.env['VRING_SEEDS'] ?? '1').split(','))
        await exercise(directory, format, options, Number(seed));
    } finally {
      fs.rmSync(directory, { recursive: true, force: true });
    }
  });
}
