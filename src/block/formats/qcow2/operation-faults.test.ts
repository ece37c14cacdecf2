/**
 * Each request in turn of what tools do to a whole image fails, once or from there on. Either all was done that was to be done, and the
 * image is sound, or the tool is told; a repair then finds all contents, where the work is one step those from before it or after.
 */
import assert from 'node:assert';
import test from 'node:test';
import { NodeBlockHost } from '../../../host/node/block-host.js';
import { addBitmap } from '../../bitmap-operations.js';
import { BlockError } from '../../errors.js';
import { BlockGraph } from '../../graph.js';
import type { GraphNode } from '../../graph-node.js';
import { commitChain } from '../../jobs/commit.js';
import type { OptionDict } from '../../options.js';
import { failRequests, memoryHost } from '../../testing/memory-host.js';

const real = new NodeBlockHost(() => undefined);
const diskBytes = 256 * 1024;
const filled = { offset: 1000, bytes: new Uint8Array(150_000).fill(3) };
const noInfo = { vmStateBytes: 0, dateSeconds: 0, dateNanoseconds: 0, vmClockNs: 0 };

interface Operation {
  readonly name: string;
  readonly options?: OptionDict;
  /** Changes contents in several steps, any of which may be the last. */
  readonly isGradual?: boolean;
  prepare?(node: GraphNode): Promise<void>;
  run(node: GraphNode): Promise<void>;
}

const snapshots = (node: GraphNode) => node.instance.snapshots!;
const lazy = { lazy_refcounts: 'on' };

async function snapshotAndWrite(node: GraphNode): Promise<void> {
  await snapshots(node).create({ name: 'first', ...noInfo });
  await node.write(20_000, new Uint8Array(50_000).fill(5));
}

const operations: readonly Operation[] = [
  { name: 'creating a snapshot', run: (node) => snapshots(node).create({ name: 'first', ...noInfo }) },
  {
    name: 'creating a snapshot with lazy refcounts',
    options: lazy,
    run: (node) => snapshots(node).create({ name: 'first', ...noInfo }),
  },
  {
    name: 'removing a snapshot',
    prepare: snapshotAndWrite,
    run: (node) => snapshots(node).remove(undefined, 'first'),
  },
  { name: 'applying a snapshot', prepare: snapshotAndWrite, run: (node) => snapshots(node).apply('first') },
  {
    name: 'committing',
    options: { backing_file: 'base', backing_fmt: 'raw' },
    run: (node) => commitChain(node, node.backing!, { emptyTop: true }),
  },
  { name: 'growing', run: (node) => node.resize(4 * diskBytes) },
  ...(['metadata', 'full'] as const).map((preallocation) => ({
    name: `growing with ${preallocation}`,
    run: (node: GraphNode) => node.resize(2 * diskBytes, { preallocation }),
  })),
  { name: 'shrinking', isGradual: true, run: (node) => node.resize(diskBytes / 4) },
  { name: 'writing', isGradual: true, run: (node) => node.write(100_000, new Uint8Array(80_000).fill(9)) },
  {
    name: 'writing with lazy refcounts',
    options: lazy,
    isGradual: true,
    run: (node) => node.write(100_000, new Uint8Array(80_000).fill(9)),
  },
  { name: 'discarding', isGradual: true, run: (node) => node.discard(0, diskBytes) },
  { name: 'zeroing', isGradual: true, run: (node) => node.writeZeroes(0, diskBytes) },
  {
    name: 'adding a bitmap',
    run: (node) => addBitmap(node, { name: 'b', granularity: 4096, persistent: true }),
  },
];

for (const operation of operations) {
  test(`no failed request goes unnoticed: ${operation.name}`, async () => {
    const host = memoryHost(real);
    const graph = new BlockGraph(host);
    const { images } = host.files;
    const open = (flags: object) => graph.open({ filename: 'disk', format: 'qcow2', flags });
    /** Size, names and bytes. */
    const contents = async (): Promise<string> => {
      const node = await open({});
      const bytes = new Uint8Array(node.length);
      await node.read(0, bytes);
      const names = [...(await snapshots(node).list()), ...node.bitmaps].map(({ name }) => name);
      await node.close();
      return `${node.length} ${names} ${Buffer.from(bytes).toString('base64')}`;
    };
    const check = async (isRepairing: boolean) => {
      const node = await open({ check: true, readOnly: !isRepairing });
      const result = await node.instance.check!({ leaks: isRepairing, errors: isRepairing });
      await node.close();
      return result;
    };
    if (operation.options?.['backing_file']) await graph.create('raw', 'base', { size: diskBytes });
    await graph.create('qcow2', 'disk', { size: diskBytes, cluster_size: 1024, ...operation.options });
    const fresh = await open({ readOnly: false });
    await fresh.write(filled.offset, filled.bytes);
    await operation.prepare?.(fresh);
    await fresh.close();
    const start = [...images].map(([name, image]) => [name, image.clone()] as const);
    const before = await contents();
    /** Gives the number of requests and what was said of failures. */
    const attempt = async (failing: number, isLasting: boolean) => {
      images.clear();
      for (const [name, image] of start) images.set(name, image.clone());
      const seen = failRequests(host.files, failing, isLasting);
      const failures: string[] = [];
      const note = (error: Error): undefined => void failures.push(error.message);
      const node = await open({ readOnly: false, unmap: true }).catch(note);
      if (node) {
        await operation.run(node).catch(note);
        await node.close().catch(note);
      }
      host.files.onRequest = undefined;
      return { ...seen, failures };
    };
    const { count } = await attempt(0, false);
    const after = await contents();
    const wrong: string[] = [];
    for (const isLasting of [false, true]) {
      for (let failing = 1; failing <= count; failing++) {
        const { kind, failures } = await attempt(failing, isLasting);
        if (failures.length > 0) await check(true);
        const found = await check(false);
        const now = await contents();
        const isWhole = failures.length > 0 ? operation.isGradual || now === before || now === after : now === after;
        const isSound = found.corruptions === 0 && found.leaks === 0;
        if (!isWhole || !isSound)
          wrong.push(`${failing} of ${count}, ${kind}, ${isLasting}: ${failures}; ${isWhole}; ${found.lines[0]}`);
      }
    }
    assert.deepStrictEqual(wrong, []);
  });
}

test('a dirty mark that could not be written is written by the next request', async () => {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('qcow2', 'disk', { size: diskBytes, ...lazy });
  const open = () => graph.open({ filename: 'disk', format: 'qcow2', flags: { readOnly: false } });
  // The L2 table is there: what comes first is the mark.
  const fresh = await open();
  await fresh.write(0, new Uint8Array(512).fill(1));
  await fresh.close();
  const node = await open();
  host.files.onRequest = (kind) => {
    if (kind === 'write') throw new BlockError('EIO');
  };
  await assert.rejects(node.write(diskBytes / 2, filled.bytes.subarray(0, 512)), { code: 'EIO' });
  host.files.onRequest = undefined;
  await node.write(diskBytes / 2, filled.bytes.subarray(0, 512));
  const incompatibleFeatures = host.files.images.get('disk')!.bytes[79]!;
  await node.close();
  assert.strictEqual(incompatibleFeatures, 1);
});

test('closing tells what could not be written', async () => {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('qcow2', 'disk', { size: diskBytes });
  const node = await graph.open({ filename: 'disk', format: 'qcow2', flags: { readOnly: false } });
  await node.write(filled.offset, filled.bytes);
  host.files.onRequest = (kind) => {
    if (kind === 'write') throw new BlockError('ENOSPC');
  };
  const text = 'No space left on device';
  await assert.rejects(node.close(), { message: `Failed to flush the refcount block cache: ${text}` });
  assert.deepStrictEqual(host.reports, [`Failed to flush the L2 table cache: ${text}`]);
});

/** What fails, and the sentence, as qemu-img gives it on a full file system. */
const sentences: readonly {
  readonly run: (node: GraphNode) => Promise<void>;
  readonly failing: string;
  readonly told: string;
}[] = [
  {
    run: (node) => node.resize(2 * diskBytes, { preallocation: 'falloc' }),
    failing: 'truncate',
    told: 'Failed to resize underlying file: Could not preallocate new data',
  },
  {
    run: (node) => node.resize(2 * diskBytes, { preallocation: 'full' }),
    failing: 'write',
    told: 'Failed to resize underlying file: Could not write zeros for preallocation',
  },
  { run: (node) => node.resize(2 ** 40), failing: 'write', told: 'Failed to grow the L1 table' },
  {
    run: async (node) => {
      await addBitmap(node, { name: 'b', persistent: true });
      await node.close();
    },
    failing: 'write',
    told: "Lost persistent bitmaps during inactivation of node 'top': Failed to write bitmap 'b' to file",
  },
];

for (const { run, failing, told } of sentences) {
  test(`a full disk is told of: ${told}`, async () => {
    const host = memoryHost(real);
    const graph = new BlockGraph(host);
    await graph.create('qcow2', 'disk', { size: diskBytes });
    const options = { driver: 'qcow2', 'node-name': 'top', 'file.driver': 'file', 'file.filename': 'disk' };
    const node = await graph.open({ options, flags: { readOnly: false } });
    await node.write(0, new Uint8Array(512).fill(1));
    await node.flush();
    host.files.onRequest = (kind) => {
      if (kind !== failing) return;
      host.files.onRequest = undefined;
      throw new BlockError('ENOSPC');
    };
    await assert.rejects(run(node), { message: `${told}: No space left on device` });
  });
}

test('an image that could not be made as large as asked is told of', async () => {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  host.files.onRequest = (kind) => {
    // The header is there before the file grows.
    if (kind === 'truncate' && host.files.images.get('disk')!.size > 0) throw new BlockError('ENOSPC');
  };
  const create = graph.create('qcow2', 'disk', { size: diskBytes, preallocation: 'full' });
  const told = 'Could not resize image: Failed to resize underlying file: No space left on device';
  await assert.rejects(create, { message: told });
});

test('a commit that fails to write and to close is told of by its first failure', async () => {
  const host = memoryHost(real);
  const graph = new BlockGraph(host);
  await graph.create('qcow2', 'base', { size: diskBytes });
  await graph.create('qcow2', 'disk', { size: diskBytes, backing_file: 'base', backing_fmt: 'qcow2' });
  const node = await graph.open({ filename: 'disk', format: 'qcow2', flags: { readOnly: false } });
  await node.write(filled.offset, filled.bytes);
  await node.flush();
  host.files.onRequest = (kind) => {
    if (kind === 'sync') throw new BlockError('ENOSPC');
  };
  await assert.rejects(commitChain(node, node.backing!, { emptyTop: true }), {
    message: 'Block job failed: No space left on device',
  });
});
