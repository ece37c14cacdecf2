/** VMDK images under power cuts, injected errors and damage. */
import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { BlockError } from '../../errors.js';
import { BlockGraph } from '../../graph.js';
import type { OptionDict } from '../../options.js';
import { workConcurrently } from '../../testing/concurrency.js';
import { injectFaults } from '../../testing/faults.js';
import { attackImage, type Region } from '../../testing/hostile.js';
import { MemoryImage, memoryHost } from '../../testing/memory-host.js';
import { cutPower, type PowerCutCase } from '../../testing/power-cut.js';

const real = new NodeBlockHost(() => undefined);
/** More of both are for a long night. */
const mutations = Number(process.env['VRING_MUTATIONS'] ?? 40);
const seeds = (process.env['VRING_SEEDS'] ?? '1').split(',').map(Number);
const diskBytes = 2 ** 19;
const backingValue = 77;

/** Overlays stand on VMDK images only. */
async function makeParent(graph: BlockGraph): Promise<void> {
  await graph.create('vmdk', 'parent', { size: diskBytes });
  const node = await graph.open({ filename: 'parent', format: 'vmdk', flags: { readOnly: false } });
  await node.write(0, new Uint8Array(diskBytes).fill(backingValue));
  await node.close();
}

const overlay: OptionDict = { backing_file: 'parent', backing_fmt: 'vmdk' };

const cases: readonly (Omit<PowerCutCase, 'format'> & { readonly name: string })[] = [
  { name: 'monolithicSparse', options: {}, goesOn: true },
  { name: 'zeroed grains', options: { zeroed_grain: 'on' }, maxSectors: 400, goesOn: true },
  { name: 'twoGbMaxExtentSparse', options: { subformat: 'twoGbMaxExtentSparse' } },
  { name: 'monolithicFlat', options: { subformat: 'monolithicFlat' } },
  { name: 'streamOptimized', options: { subformat: 'streamOptimized' }, writesOnce: true },
  { name: 'an overlay', options: overlay, prepare: makeParent, backingValue, goesOn: true },
];

for (const { name, ...what } of cases) {
  test(`vmdk, ${name}: a power cut anywhere loses nothing flushed`, async () => {
    for (const seed of seeds) {
      const cuts = await cutPower(real, { format: 'vmdk', diskBytes, ...what }, seed);
      assert.ok(cuts > 40, `the log gave only ${cuts} cuts`);
    }
  });
}

for (const { name, options, prepare, writesOnce } of cases) {
  // Requests of any size and place; what has to be made first is not for this harness.
  if (writesOnce || prepare) continue;
  test(`vmdk, ${name}: requests at once, answered late and out of order`, async () => {
    for (const seed of seeds) await workConcurrently(real, { format: 'vmdk', options, diskBytes }, seed);
  });
}

for (const code of ['ENOSPC', 'EIO'] as const) {
  for (const { name, options, prepare, writesOnce = false } of cases) {
    // Faults are put into the first file only, which has no data here.
    if (name.includes('twoGb') || name.includes('Flat')) continue;
    test(`vmdk, ${name}: ${code} in the middle of work leaves a sound image`, async () => {
      const backing = prepare && {
        options: { 'backing.driver': 'vmdk', 'backing.file.filename': 'parent' },
        value: backingValue,
      };
      const hits = await injectFaults(
        real,
        {
          format: 'vmdk',
          options,
          diskBytes,
          events: ['none', 'write_aio'],
          places: 20,
          writesOnce,
          ...(prepare && backing ? { prepare, backing } : {}),
        },
        code,
      );
      assert.ok(hits >= 4, `the fault struck ${hits} times`);
    });
  }
}

/** Headers, the descriptor, directories and the used beginnings of the tables of a 1 MiB extent. */
const sparseRegions: readonly Region[] = [
  [0, 80],
  [512, 400],
  [21 * 512, 8],
  [22 * 512, 80],
  [26 * 512, 8],
  [27 * 512, 80],
];
const descriptorRegions: readonly Region[] = [[0, 350]];
const grainRegion: Region = [65536, 100];

async function makeFiles(options: OptionDict): Promise<ReadonlyMap<string, MemoryImage>> {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('vmdk', 'disk', { size: diskBytes, ...options });
  const node = await graph.open({ filename: 'disk', format: 'vmdk', flags: { readOnly: false } });
  for (const at of [0, diskBytes / 2]) await node.write(at, new Uint8Array(65536).fill(1 + at));
  await node.close();
  return host.files.images;
}

const attacks: readonly (readonly [string, OptionDict, string, readonly Region[]])[] = [
  ['monolithicSparse', {}, 'disk', sparseRegions],
  ['zeroed grains', { zeroed_grain: 'on' }, 'disk', sparseRegions],
  ['streamOptimized', { subformat: 'streamOptimized' }, 'disk', [...sparseRegions, grainRegion]],
  ['a descriptor', { subformat: 'twoGbMaxExtentSparse' }, 'disk', descriptorRegions],
  ['an extent', { subformat: 'twoGbMaxExtentSparse' }, 'disk-s001', sparseRegions],
  ['monolithicFlat', { subformat: 'monolithicFlat' }, 'disk', descriptorRegions],
];

for (const [name, options, path, regions] of attacks) {
  test(`vmdk, ${name}: damaged images end in clear errors`, async () => {
    const files = await makeFiles(options);
    await attackImage(real, {
      format: 'vmdk',
      image: files.get(path)!,
      path,
      others: new Map([...files].filter(([other]) => other !== path)),
      regions,
      mutations,
      // Whatever damage makes of an extent's name, it is a file beside the descriptor or an absolute path.
      mayOpen: (opened) => !opened.includes(':') || opened.startsWith('./') || opened.startsWith('/'),
    });
  });
}

test('vmdk, seSparse: damaged images end in clear errors', async () => {
  const words: readonly (readonly [number, readonly number[]])[] = [
    [0, [0xcafebabe, 0, 1, 2, 70_000, 0, 8, 0, 64, 0]],
    [80, [1, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 8, 0, 1, 0, 16, 0, 128, 0, 4, 0, 1, 0, 5, 0, 1, 0, 192, 0, 64, 0]],
    [512, [0xcafecafe, 0]],
    [8 * 512, [0, 0x10000000, 1, 0x10000000]],
    [16 * 512, [0, 0x30000000, 0, 0x30010000, 0, 0, 0, 0x20000000, 0, 0x10000000, 0, 0x30020000]],
  ];
  const image = MemoryImage.from(new Uint8Array(256 * 1024));
  for (const [offset, values] of words) {
    const bytes = new Uint8Array(new Uint32Array(values).buffer);
    image.apply({ kind: 'write', path: 'se', offset, bytes });
  }
  const text = 'version=1\nCID=1\nparentCID=ffffffff\ncreateType="seSparse"\nRW 70000 SESPARSE "se"\n';
  const others = new Map([['disk', MemoryImage.from(new TextEncoder().encode(text))]]);
  const regions: readonly Region[] = [
    [0, 208],
    [512, 40],
    [8 * 512, 24],
    [16 * 512, 64],
  ];
  await attackImage(real, { format: 'vmdk', image, path: 'se', others, regions, isReadOnly: true, mutations });
});

test('vmdk: a new content id that could not be written is written with the next request', async () => {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('vmdk', 'disk', { size: diskBytes });
  const idOf = () => /CID=\w+/.exec(new TextDecoder().decode(host.files.images.get('disk')!.bytes))![0];
  const before = idOf();
  const { open } = host.files;
  let faults = 1;
  host.files.open = async (path, flags) => {
    const file = await open.call(host.files, path, flags);
    const write = file.writeSync.bind(file);
    file.writeSync = (offset, buffer) => {
      if (offset >= 512 && offset < 21 * 512 && faults-- > 0) throw new BlockError('EIO');
      write(offset, buffer);
    };
    return file;
  };
  const node = await graph.open({ filename: 'disk', format: 'vmdk', flags: { readOnly: false } });
  await assert.rejects(node.write(0, new Uint8Array(512).fill(1)), { code: 'EIO' });
  assert.equal(idOf(), before);
  await node.write(512, new Uint8Array(512).fill(2));
  await node.close();
  assert.notEqual(idOf(), before);
});

test('vmdk: an image with its header at the end stays as it is', async () => {
  const files = await makeFiles({ subformat: 'streamOptimized' });
  const host = memoryHost(real);
  const image = files.get('disk')!.clone();
  host.files.images.set('disk', image);
  const end = Math.ceil(image.size / 512) * 512;
  const footer = new Uint8Array(3 * 512);
  // Marker of a footer, the header that counts, marker of the end.
  footer.set([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
  footer.set(image.bytes.subarray(0, 512), 512);
  image.apply({ kind: 'write', path: 'disk', offset: end, bytes: footer });
  image.apply({ kind: 'write', path: 'disk', offset: 56, bytes: new Uint8Array(8).fill(0xff) });
  const before = image.bytes.slice();
  const node = await new BlockGraph(host).open({ filename: 'disk', format: 'vmdk', flags: { readOnly: false } });
  const grain = new Uint8Array(65536);
  await node.read(0, grain);
  assert.ok(grain.every((byte) => byte === 1));
  await assert.rejects(node.write(131072, grain), { code: 'ENOTSUP' });
  await node.close();
  assert.deepEqual(image.bytes, before);
});

test('vmdk: extent names never lead to another protocol', async () => {
  const host = memoryHost(real);
  const opened: string[] = [];
  const { open } = host.files;
  host.files.open = (path, flags) => {
    opened.push(path);
    return open.call(host.files, path, flags);
  };
  const files = await makeFiles({ subformat: 'monolithicFlat' });
  for (const [path, image] of files) host.files.images.set(path, image.clone());
  const text = new TextDecoder().decode(files.get('disk')!.bytes).replace('disk-flat', 'nbd:unix:/socket');
  const image = host.files.images.get('disk')!;
  image.apply({ kind: 'truncate', path: 'disk', size: 0 });
  image.apply({ kind: 'write', path: 'disk', offset: 0, bytes: new TextEncoder().encode(text) });
  await assert.rejects(new BlockGraph(host).open({ filename: 'disk', format: 'vmdk' }), { code: 'ENOENT' });
  assert.deepEqual(opened, ['disk', './nbd:unix:/socket']);
});
