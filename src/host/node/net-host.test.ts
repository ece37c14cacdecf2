/** The user-mode network over real sockets of this host. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { loopback4 } from '../../net/index.js';
import { NodeNetHost } from './net-host.js';

const silent = { connected() {}, data() {}, ended() {}, drained() {}, closed() {} };

test('a connection carries bytes both ways, half closes, and says why it failed', async () => {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    const got: Buffer[] = [];
    socket.on('data', (bytes) => got.push(bytes));
    socket.on('end', () => socket.end(Buffer.concat(got).reverse()));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const host = new NodeNetHost();
  const told: string[] = [];
  await new Promise<void>((resolve) => {
    const stream = host.connect(
      { address: loopback4, port },
      {
        connected: () => {
          stream.write(Uint8Array.of(1, 2, 3));
          stream.end();
        },
        data: (bytes) => void told.push(`data ${[...bytes]}`),
        ended: () => void told.push('ended'),
        drained: () => {},
        closed: (failure) => {
          told.push(`closed ${failure}`);
          resolve();
        },
      },
    );
  });
  assert.deepEqual(told, ['data 3,2,1', 'ended', 'closed undefined']);
  server.close();
  const failure = await new Promise((resolve) => {
    host.connect({ address: loopback4, port }, { ...silent, closed: resolve });
  });
  assert.equal(failure, 'refused');
});

test('a connection to a unix socket, to a host by its name, and to what is not there', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vring-net-'));
  const host = new NodeNetHost();
  const path = join(folder, 's');
  const server = net.createServer((socket) => void socket.end('hello'));
  try {
    const told = (place: { path: string } | { host: string; port: number }) =>
      new Promise<string>((resolve) => {
        let text = '';
        const data = (bytes: Uint8Array) => {
          text += Buffer.from(bytes).toString();
        };
        const stream = host.connect(place, {
          ...silent,
          data,
          ended: () => stream.end(),
          closed: (failure) => resolve(failure ?? text),
        });
      });
    assert.equal(await told({ path }), 'refused');
    await new Promise<void>((resolve) => server.listen(path, resolve));
    assert.equal(await told({ path }), 'hello');
    await new Promise((resolve) => server.close(resolve));
    await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
    assert.equal(await told({ host: 'localhost', port: (server.address() as net.AddressInfo).port }), 'hello');
  } finally {
    server.close();
    rmSync(folder, { recursive: true });
  }
});

test('a port in use is refused in one sentence, for TCP and UDP', async () => {
  const host = new NodeNetHost();
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
  const { port } = server.address() as net.AddressInfo;
  await assert.rejects(
    host.listen(undefined, port, () => {}),
    {
      code: 'network-port',
      message: `Could not set up host forwarding rule 'tcp::${port}': Address already in use`,
    },
  );
  server.close();
  const socket = host.openDatagrams(4, () => {});
  socket.close();
});

test('datagrams go and come', async () => {
  const host = new NodeNetHost();
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  server.close();
  const got: string[] = [];
  const bound = await host.bindDatagrams(loopback4, port, (bytes, from) => {
    got.push(`asked ${[...bytes]}`);
    bound.send(Uint8Array.of(2), from);
  });
  await new Promise<void>((resolve) => {
    const socket = host.openDatagrams(4, (bytes, from) => {
      got.push(`answered ${[...bytes]} ${[...from.address]}`);
      socket.close();
      bound.close();
      resolve();
    });
    socket.send(Uint8Array.of(1), { address: loopback4, port });
  });
  assert.deepEqual(got, ['asked 1', 'answered 2 127,0,0,1']);
});

test('files are below the folder, links included', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vring-tftp-'));
  try {
    const root = join(folder, 'root');
    mkdirSync(root);
    writeFileSync(join(root, 'a'), 'hello');
    writeFileSync(join(folder, 'secret'), 'no');
    symlinkSync(join(folder, 'secret'), join(root, 'out'));
    symlinkSync('a', join(root, 'in'));
    const host = new NodeNetHost();
    const file = await host.openFile(root, 'in');
    assert.equal(new TextDecoder().decode(await file.read(1, 100)), 'ello');
    file.close();
    spawnSync('mkfifo', [join(root, 'pipe')]);
    // Neither a link out of the folder nor a pipe, which would wait for somebody to write.
    for (const name of ['out', 'none', '.', 'pipe']) await assert.rejects(host.openFile(root, name));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
