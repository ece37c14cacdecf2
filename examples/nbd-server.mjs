// Serves a disk image to NBD clients over TCP, and reads it back through a client of its own.
//
//   node examples/nbd-server.mjs disk.qcow2 [PORT]
//
// With a port the server stays until it is interrupted: nbdinfo nbd://localhost:PORT/disk
import { createServer } from 'node:net';
import { BlockGraph } from 'vring/block';
import { NbdConnection, NbdServer } from 'vring/nbd';
import { NodeBlockHost, NodeByteStream } from 'vring/node';

const [filename, port] = process.argv.slice(2);
if (!filename) {
  console.error('usage: nbd-server.mjs IMAGE [PORT]');
  process.exit(2);
}

const host = new NodeBlockHost();
const graph = new BlockGraph(host);
const node = await graph.open({ filename, flags: { readOnly: true } });
const server = new NbdServer();
await server.addExport({ node, name: 'disk', description: filename });
// The export keeps the node open.
await node.close();

const listener = createServer((socket) => server.serve(new NodeByteStream(socket)));
await new Promise((resolve) => listener.listen(Number(port ?? 0), '127.0.0.1', resolve));
const address = listener.address();
console.log(`nbd://127.0.0.1:${address.port}/disk`);

if (port === undefined) {
  const client = await NbdConnection.open({
    network: await host.network(),
    address: { type: 'inet', host: '127.0.0.1', port: address.port },
    exportName: 'disk',
    contexts: ['base:allocation'],
  });
  console.log(`${client.info.lengthBytes} bytes, ${client.mode} headers`);
  const extents = await client.blockStatus(0, client.info.lengthBytes);
  for (const { length, flags } of extents.get(client.contextId('base:allocation')))
    console.log(`${length} bytes of ${flags & 1 ? 'hole' : 'data'}`);
  const sector = new Uint8Array(512);
  await client.read(0, sector);
  console.log(`begins with ${Buffer.from(sector.subarray(0, 4)).toString('hex')}`);
  await client.close();
  listener.close();
  await server.close();
}
