/** VHDX images under power cuts, injected errors and damage. */
import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { BlockGraph } from '../../graph.js';
import { workConcurrently } from '../../testing/concurrency.js';
import { injectFaults } from '../../testing/faults.js';
import { attackImage } from '../../testing/hostile.js';
import { type MemoryImage, memoryHost } from '../../testing/memory-host.js';
import { cutPower } from '../../testing/power-cut.js';
import { crc32c } from './crc32c.js';
import { headerBytes, headerOffsets, regionTableBytes, regionTableOffsets } from './layout.js';

const real = new NodeBlockHost(() => undefined);
const mebibyte = 2 ** 20;

test('CRC-32C of the digits', () => {
  // The check value of the catalogue of parametrised CRC algorithms.
  const digits = new TextEncoder().encode('123456789');
  assert.equal(crc32c(digits, digits.length), 0xe3069283);
});

test('VHDX: a power cut anywhere loses nothing flushed', async () => {
  const cuts = await cutPower(real, {
    format: 'vhdx',
    options: { block_size: mebibyte },
    diskBytes: 4 * mebibyte,
    steps: 15,
    isReplayed: true,
    goesOn: true,
  });
  assert.ok(cuts > 30, `the log gave only ${cuts} cuts`);
});

const events = ['cluster_alloc', 'write_aio', 'flush_to_os', 'l1_update', 'l2_update', 'none'];
for (const code of ['ENOSPC', 'EIO'] as const) {
  test(`VHDX: ${code} in the middle of work leaves a sound image`, async () => {
    const hits = await injectFaults(
      real,
      {
        format: 'vhdx',
        options: { block_size: mebibyte },
        diskBytes: 6 * mebibyte,
        events,
        isReplayed: true,
        steps: 40,
      },
      code,
    );
    assert.ok(hits >= 4, `the fault struck ${hits} times`);
  });
}

/** Right checksums over wrong contents, three times out of four. */
function mend(image: MemoryImage, random: (below: number) => number): void {
  const seal = (offset: number, length: number): void => {
    if (offset + length > image.size || random(4) === 0) return;
    const bytes = image.bytes.subarray(offset, offset + length);
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(4, crc32c(bytes, 4), true);
  };
  for (const offset of headerOffsets) seal(offset, headerBytes);
  for (const offset of regionTableOffsets) seal(offset, regionTableBytes);
  seal(mebibyte, 8192);
}

test('VHDX: damaged images end in clear errors', async () => {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('vhdx', 'disk', { size: 4 * mebibyte, block_size: mebibyte });
  const node = await graph.open({ filename: 'disk', format: 'vhdx', flags: { readOnly: false } });
  host.files.log.length = 0;
  await node.write(0, new Uint8Array(65536).fill(1));
  await node.write(3 * mebibyte, new Uint8Array(65536).fill(2));
  await node.close();
  const image = host.files.images.get('disk')!;
  // The log is named again, so that what is in it is looked at: the header of the cut before the last one.
  const named = host.files.log.filter((entry) => entry.kind === 'write' && entry.offset < mebibyte).at(-2);
  assert.ok(named?.kind === 'write');
  for (const offset of headerOffsets) image.apply({ ...named, offset });
  await attackImage(real, {
    format: 'vhdx',
    image,
    regions: [
      [0, 16],
      [headerOffsets[0], 80],
      [headerOffsets[1], 80],
      [regionTableOffsets[0], 80],
      [regionTableOffsets[1], 80],
      [mebibyte, 128],
      [mebibyte + 4096, 4096],
      [2 * mebibyte, 64],
      [3 * mebibyte, 192],
      [3 * mebibyte + 65536, 40],
    ],
    mend,
    mutations: 40,
  });
});

test('VHDX: many requests at once', async () => {
  const options = { block_size: mebibyte };
  for (let seed = 1; seed <= 3; seed++)
    await workConcurrently(real, { format: 'vhdx', options, diskBytes: 5 * mebibyte + 512 }, seed);
});
