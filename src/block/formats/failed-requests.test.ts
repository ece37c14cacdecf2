/**
 * Each request in turn on an image's files fails, once or from there on, while the image is made, written, zeroed, discarded, resized and
 * closed, in each format that can be written: either somebody is told, or the disk holds all that it was to hold.
 */
import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../host/node/block-host.js';
import { BlockGraph } from '../graph.js';
import type { GraphNode } from '../graph-node.js';
import type { OptionDict } from '../options.js';
import { failRequests, memoryHost } from '../testing/memory-host.js';

const real = new NodeBlockHost(() => undefined);
const diskBytes = 2 ** 18;

const filling = new Uint8Array(100_000).fill(7);

const layouts: readonly { readonly name: string; readonly format: string; readonly options?: OptionDict }[] = [
  { name: 'raw', format: 'raw' },
  { name: 'raw, preallocated', format: 'raw', options: { preallocation: 'full' } },
  { name: 'qcow2', format: 'qcow2' },
  { name: 'qcow2, preallocated', format: 'qcow2', options: { preallocation: 'full' } },
  { name: 'qcow2, data file', format: 'qcow2', options: { data_file: 'data', data_file_raw: 'on' } },
  { name: 'qcow', format: 'qcow' },
  { name: 'qed', format: 'qed' },
  { name: 'vdi', format: 'vdi' },
  { name: 'vdi, static', format: 'vdi', options: { static: 'on' } },
  { name: 'vpc', format: 'vpc' },
  { name: 'vpc, fixed', format: 'vpc', options: { subformat: 'fixed' } },
  { name: 'vhdx', format: 'vhdx', options: { block_size: 2 ** 20 } },
  { name: 'parallels', format: 'parallels' },
  ...['monolithicSparse', 'monolithicFlat', 'twoGbMaxExtentSparse'].map((subformat) => ({
    name: `vmdk, ${subformat}`,
    format: 'vmdk',
    options: { subformat },
  })),
];

const works: readonly { readonly name: string; run(node: GraphNode): Promise<void> }[] = [
  { name: 'write', run: (node) => node.write(20_000, filling) },
  {
    name: 'write and flush',
    run: async (node) => {
      await node.write(20_000, filling);
      await node.flush();
    },
  },
  { name: 'zeroes', run: (node) => node.writeZeroes(0, diskBytes / 2) },
  { name: 'discard', run: (node) => node.discard(0, diskBytes / 2) },
  { name: 'grow', run: (node) => (node.instance.resize ? node.resize(2 * diskBytes) : Promise.resolve()) },
];

for (const { name, format, options = {} } of layouts) {
  test(`no failed request goes unnoticed: ${name}`, async () => {
    const host = memoryHost(real);
    const graph = new BlockGraph(host);
    const { images } = host.files;
    const open = (flags: object) => graph.open({ filename: 'disk', format, flags });
    const create = () => graph.create(format, 'disk', { size: diskBytes, ...options });
    const contents = async () => {
      const node = await open({});
      const bytes = new Uint8Array(node.length);
      await node.read(0, bytes);
      await node.close();
      return `${node.length} ${Buffer.from(bytes).toString('base64')}`;
    };
    const wrong: string[] = [];
    const sweep = async (what: string, reset: () => void, run: () => Promise<void>) => {
      const attempt = async (failing: number, isLasting: boolean) => {
        reset();
        const seen = failRequests(host.files, failing, isLasting);
        const failure = await run().then(
          () => undefined,
          (error: Error) => error.message,
        );
        host.files.onRequest = undefined;
        return { ...seen, failure };
      };
      const { count, failure } = await attempt(0, false);
      assert.strictEqual(failure, undefined);
      const after = await contents();
      // What a large request is split into fails like its first parts.
      const most = Math.min(count, 40);
      for (const isLasting of [false, true])
        for (let failing = 1; failing <= most; failing++) {
          const told = await attempt(failing, isLasting);
          if (told.failure !== undefined) continue;
          const now = await contents().catch((error) => error.message);
          if (now !== after) wrong.push(`${what} ${failing}/${count} ${told.kind} ${isLasting} ${now.slice(0, 50)}`);
        }
    };
    await sweep('create', () => images.clear(), create);
    images.clear();
    await create();
    const fresh = await open({ readOnly: false });
    await fresh.write(1000, new Uint8Array(70_000).fill(3));
    await fresh.close();
    const start = [...images].map(([path, image]) => [path, image.clone()] as const);
    const reset = () => {
      images.clear();
      for (const [path, image] of start) images.set(path, image.clone());
    };
    for (const work of works)
      await sweep(work.name, reset, async () => {
        const node = await open({ readOnly: false, unmap: true });
        try {
          await work.run(node);
        } finally {
          await node.close();
        }
      });
    assert.deepStrictEqual(wrong, []);
  });
}
