import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BlockGraph, type GraphNode } from '../block/index.js';
import { NodeBlockHost } from '../host/node/block-host.js';
import { openDisksAt } from './testing/open-disks.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-exports-'));
after(() => rmSync(folder, { recursive: true }));
const graph = new BlockGraph(new NodeBlockHost(() => {}));
const MiB = 2 ** 20;
const socket = join(folder, 'nbd');
const start = { op: 'start', address: { type: 'unix', path: socket }, maxConnections: 3 } as const;
const exported = { id: 'e', name: 'the disk', disk: 'd' };

async function image(format: string): Promise<string> {
  const path = join(folder, format);
  await graph.create(format, path, { size: 4 * MiB });
  return path;
}

const client = (writable: boolean): Promise<GraphNode> =>
  graph.open({
    options: { driver: 'nbd', 'server.type': 'unix', 'server.path': socket, export: exported.name },
    flags: { readOnly: !writable, unmap: true },
  });

async function byteAt(node: GraphNode, offset: number): Promise<number> {
  const bytes = new Uint8Array(512);
  await node.read(offset, bytes);
  return bytes[511];
}

for (const format of ['raw', 'qcow2'])
  test(`clients read a ${format} disk as the guest has written it, in place and not`, async () => {
    await using at = await openDisksAt([{ id: 'd', path: await image(format), format }]);
    await at.thread.nbd(start);
    await at.thread.nbd({ op: 'add', exported });
    const node = await client(false);
    assert.deepEqual([node.length, node.readOnly], [4 * MiB, true]);
    // The second write is one of those that the vCPU's thread does itself.
    for (const value of [5, 6, 7]) {
      at.ram(4096, 512).fill(value);
      at.disk.write(0x10000, [at.ram(4096, 512)], at.done);
      assert.deepEqual(at.settle(), ['ok']);
      assert.equal(await byteAt(node, 0x10000), value);
    }
    await node.close();
  });

test('who may write, and that the disk and its clients then see one thing', async () => {
  const path = join(folder, 'qcow2');
  {
    await using at = await openDisksAt([{ id: 'd', path, format: 'qcow2' }]);
    await at.thread.nbd(start);
    const writable = { ...exported, writable: true };
    await assert.rejects(at.thread.nbd({ op: 'add', exported: writable }), { code: 'nbd', message: /'write'/ });
    const none = { op: 'add', exported: { ...exported, disk: 'x' } } as const;
    await assert.rejects(at.thread.nbd(none), { code: 'nbd', message: "Cannot find device='x' nor node-name='x'" });
    assert.deepEqual((await at.thread.describeNodes()).exports, []);
  }
  await using at = await openDisksAt([{ id: 'd', path, format: 'qcow2', discard: 'unmap', shareWrites: true }]);
  await at.thread.nbd(start);
  const read = () => {
    at.disk.read(0x10000, [at.ram(8192, 512)], at.done);
    assert.deepEqual(at.settle(), ['ok']);
    return at.ram(8192, 512)[511];
  };
  // From here on its places are known.
  assert.equal(read(), 7);
  await at.thread.nbd({ op: 'add', exported: { ...exported, writable: true } });
  const node = await client(true);
  // Discarded clusters are given to other places of the disk: what the vCPU's thread remembered of them would be wrong.
  await node.discard(0, 4 * MiB);
  await node.write(0x80000, new Uint8Array(0x10000).fill(9));
  assert.equal(read(), 0);
  at.ram(4096, 512).fill(8);
  at.disk.write(0x10000, [at.ram(4096, 512)], at.done);
  assert.deepEqual(at.settle(), ['ok']);
  assert.deepEqual([await byteAt(node, 0x10000), await byteAt(node, 0x80000)], [8, 9]);
  await node.close();
});

test('exports and the server come and go; an end with clients on it does not wait for them', async () => {
  const path = join(folder, 'raw');
  let node: GraphNode;
  {
    await using at = await openDisksAt([{ id: 'd', path, format: 'raw' }]);
    const { thread } = at;
    await assert.rejects(thread.nbd({ op: 'stop' }), { code: 'nbd', message: 'NBD server not running' });
    await assert.rejects(thread.nbd({ op: 'add', exported }), { code: 'nbd', message: 'NBD server not running' });
    await assert.rejects(
      thread.nbd({ ...start, address: { type: 'unix', path: join(folder, 'no', 'socket') } }),
      /Failed to bind socket/,
    );
    await thread.nbd(start);
    await assert.rejects(thread.nbd(start), { code: 'nbd', message: 'NBD server already running' });
    await thread.nbd({ op: 'add', exported });
    await assert.rejects(thread.nbd({ op: 'add', exported }), { message: "Block export id 'e' is already in use" });
    const [{ nodeName }] = await thread.describe().then(([disk]) => [disk!]);
    assert.deepEqual((await thread.describeNodes()).exports, [{ id: 'e', nodeName }]);
    node = await client(false);
    await assert.rejects(thread.nbd({ op: 'remove', id: 'e', force: false }), { message: "export 'e' still in use" });
    await thread.nbd({ op: 'remove', id: 'e', force: true });
    await assert.rejects(thread.nbd({ op: 'remove', id: 'e', force: true }), { message: "Export 'e' is not found" });
    await assert.rejects(byteAt(node, 0));
    await node.close();
    await thread.nbd({ op: 'stop' });
    await thread.nbd(start);
    await thread.nbd({ op: 'add', exported });
    node = await client(false);
    assert.equal(await byteAt(node, 0x10000), 7);
  }
  await assert.rejects(byteAt(node, 0), 'the machine has ended');
  await node.close();
});
