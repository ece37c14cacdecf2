import assert from 'node:assert';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import test from 'node:test';
import { NodeBlockHost } from '../../host/node/block-host.js';
import { BlockGraph } from '../graph.js';

test('http: reads ranges, follows redirects, refuses writes and servers without ranges', async () => {
  const disk = new Uint8Array(300_000).map((_byte, index) => index % 251);
  let requests = 0;
  const server = createServer((request, response) => {
    if (request.url === '/moved') {
      response.writeHead(302, { location: '/disk' }).end();
      return;
    }
    const isWhole = request.url === '/plain';
    if (request.method === 'HEAD') {
      response
        .writeHead(200, { 'content-length': disk.length, ...(isWhole ? {} : { 'accept-ranges': 'bytes' }) })
        .end();
      return;
    }
    requests++;
    const range = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '');
    const [start, end] = [Number(range?.[1]), Number(range?.[2]) + 1];
    response
      .writeHead(206, { 'content-length': end - start, 'content-range': `bytes ${start}-${end - 1}/${disk.length}` })
      .end(disk.subarray(start, end));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const graph = new BlockGraph(new NodeBlockHost(() => undefined));
    const node = await graph.open({ filename: `${base}/moved`, format: 'raw' });
    // In whole sectors; what the file lacks reads as zero.
    assert.equal(node.length, 300_032);
    const tail = new Uint8Array(64).fill(1);
    await node.read(disk.length - 32, tail);
    assert.deepEqual(tail, Uint8Array.from([...disk.slice(-32), ...new Uint8Array(32)]));
    const bytes = new Uint8Array(1000);
    for (let at = 100_000; at < 110_000; at += 1000) {
      await node.read(at, bytes);
      assert.deepEqual(bytes, disk.slice(at, at + 1000));
    }
    assert.ok(requests <= 2, `ten small reads took ${requests} requests`);
    const whole = new Uint8Array(disk.length);
    await node.read(0, whole);
    assert.deepEqual(whole, disk);
    await assert.rejects(node.write(0, bytes), { code: 'EPERM' });
    await node.close();
    await assert.rejects(
      graph.open({ filename: `${base}/disk`, format: 'raw', flags: { readOnly: false } }),
      /does not support writes/,
    );
    await assert.rejects(graph.open({ filename: `${base}/plain`, format: 'raw' }), /does not support 'range'/);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
