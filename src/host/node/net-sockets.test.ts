/** Networks over sockets, between two of our own and against bare sockets that lie. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import * as dgram from 'node:dgram';
import * as fs from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { type FrameOffload, type FrameSink, type GuestLink, gsoType, noOffload } from '../../net/index.js';
import { descriptorCalls } from './descriptors.js';
import { loadKoffi } from './koffi.js';
import { openSocketSink, type SocketBackend } from './net-sockets.js';
import { loadPosix } from './posix.js';
import { socketDescriptor } from './socket-descriptor.js';
import { freePort } from './testing/free-port.js';

class TestLink implements GuestLink {
  readonly takes = 0;
  readonly idle = true;
  hasRoom = true;
  readonly frames: Uint8Array[] = [];
  #reserved: Uint8Array | undefined;
  #waiting: (() => void)[] = [];

  reserve(length: number): Uint8Array | undefined {
    this.#reserved = this.hasRoom ? new Uint8Array(length) : undefined;
    return this.#reserved;
  }

  commit(): void {
    this.frames.push(this.#reserved as Uint8Array);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async count(frames: number): Promise<void> {
    while (this.frames.length < frames) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}

const frameOf = (length: number, seed = 0) => Uint8Array.from({ length }, (_, i) => (i * 13 + seed) & 0xff);
const plain: FrameOffload = noOffload();
const local = (port: number) => ({ host: '127.0.0.1', port });

const reports: string[] = [];
async function open(backend: SocketBackend): Promise<{ link: TestLink; sink: FrameSink }> {
  const link = new TestLink();
  return { link, sink: await openSocketSink(backend, link, (line) => reports.push(line)) };
}

test('listen and connect: frames of all lengths both ways; a large one is cut', async () => {
  const port = await freePort();
  const a = await open({ kind: 'listen', place: local(port) });
  const b = await open({ kind: 'connect', place: local(port) });
  b.sink.receive(frameOf(60, 1), plain);
  await a.link.count(1);
  for (const length of [14, 1514, 9000, 60]) a.sink.receive(frameOf(length, 2), plain);
  await b.link.count(4);
  assert.deepEqual(a.link.frames, [frameOf(60, 1)]);
  assert.deepEqual(
    b.link.frames,
    [14, 1514, 9000, 60].map((length) => frameOf(length, 2)),
  );
  // TCP over IPv4 with 3000 bytes in segments of 1000.
  const large = new Uint8Array(54 + 3000);
  large.set([0x08, 0x00, 0x45], 12);
  large[23] = 6;
  large[46] = 0x50;
  a.sink.receive(large, {
    ...plain,
    flags: 1,
    gsoType: gsoType.tcp4,
    gsoSize: 1000,
    checksumStart: 34,
    checksumOffset: 16,
  });
  await b.link.count(7);
  assert.deepEqual(
    b.link.frames.slice(4).map(({ length }) => length),
    [1054, 1054, 1054],
  );
  // A card that takes nothing loses frames, and hears the next.
  b.link.hasRoom = false;
  a.sink.receive(frameOf(100), plain);
  await new Promise((resolve) => setTimeout(resolve, 50));
  b.link.hasRoom = true;
  a.sink.receive(frameOf(101), plain);
  await b.link.count(8);
  assert.equal(b.link.frames[7].length, 101);
  b.sink.close();
  a.sink.close();
});

test('listen: one peer at a time, and the next when it has gone; what it says in pieces is put together', async () => {
  const port = await freePort();
  const { link, sink } = await open({ kind: 'listen', place: local(port) });
  const connect = async () => {
    const socket = net.connect(port, '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    return socket;
  };
  const first = await connect();
  const record = Buffer.concat([Buffer.from([0, 0, 0, 20]), frameOf(20)]);
  for (const byte of record) {
    first.write(Buffer.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await link.count(1);
  assert.deepEqual(link.frames[0], frameOf(20));
  const second = await connect();
  await new Promise((resolve) => second.once('close', resolve));
  // A length that no frame has ends the connection.
  const gone = new Promise((resolve) => first.once('close', resolve));
  first.on('error', () => {});
  first.write(Buffer.from([0x7f, 0xff, 0xff, 0xff, 1, 2, 3]));
  await gone;
  const third = await connect();
  // Shorter than a header: dropped. Then a frame.
  third.write(Buffer.concat([Buffer.from([0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0]), record]));
  await link.count(2);
  assert.deepEqual(link.frames[1], frameOf(20));
  third.destroy();
  sink.close();
});

test('connect says in one sentence that nobody is there, and later that the peer has gone', async () => {
  const port = await freePort();
  await assert.rejects(open({ kind: 'connect', place: local(port) }), {
    code: 'network-connect',
    message: `can't connect to 127.0.0.1:${port}: Connection refused`,
  });
  const a = await open({ kind: 'listen', place: local(port) });
  await assert.rejects(open({ kind: 'listen', place: local(port) }), {
    code: 'network-port',
    message: "can't bind ip=127.0.0.1 to socket: Address already in use",
  });
  const b = await open({ kind: 'connect', place: local(port) });
  b.sink.receive(frameOf(60), plain);
  await a.link.count(1);
  reports.length = 0;
  a.sink.close();
  while (reports.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.deepEqual(reports, [`The network's peer at 127.0.0.1:${port} is gone.`]);
  b.sink.receive(frameOf(60), plain);
  b.sink.close();
});

test('a socket that others have opened; what is none is told apart', { skip: !loadPosix() && 'no koffi' }, async () => {
  const port = await freePort();
  const a = await open({ kind: 'listen', place: local(port) });
  const peer = net.connect({ ...local(port) });
  await new Promise((resolve) => peer.once('connect', resolve));
  const fd = descriptorCalls().duplicate(socketDescriptor(peer) as number);
  peer.destroy();
  const b = await open({ kind: 'descriptor', fd });
  b.sink.receive(frameOf(60, 3), plain);
  await a.link.count(1);
  a.sink.receive(frameOf(80, 4), plain);
  await b.link.count(1);
  assert.deepEqual([a.link.frames, b.link.frames], [[frameOf(60, 3)], [frameOf(80, 4)]]);
  a.sink.close();
  b.sink.close();
  await assert.rejects(open({ kind: 'descriptor', fd: 8191 }), {
    message: /file descriptor 8191: Bad file descriptor/,
  });
  const file = fs.openSync('/dev/null', 'r');
  await assert.rejects(open({ kind: 'descriptor', fd: file }), { message: "can't get socket option SO_TYPE" });
  fs.closeSync(file);
});

test('a unix socket: one that was left behind is no hindrance, one that is missing is told', async () => {
  const folder = fs.mkdtempSync(join(tmpdir(), 'vring-net-'));
  const place = { path: join(folder, 's') };
  await assert.rejects(open({ kind: 'connect', place }), {
    code: 'network-connect',
    message: /can't connect to .*\/s: /,
  });
  const child = `require('net').createServer().listen(${JSON.stringify(place.path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', child]);
  assert.ok(fs.lstatSync(place.path).isSocket());
  const a = await open({ kind: 'listen', place });
  const b = await open({ kind: 'connect', place });
  b.sink.receive(frameOf(1514, 1), plain);
  await a.link.count(1);
  a.sink.receive(frameOf(60, 2), plain);
  await b.link.count(1);
  assert.deepEqual([a.link.frames, b.link.frames], [[frameOf(1514, 1)], [frameOf(60, 2)]]);
  b.sink.close();
  a.sink.close();
  fs.writeFileSync(join(folder, 'file'), '');
  await assert.rejects(open({ kind: 'listen', place: { path: join(folder, 'file') } }), { code: 'network-port' });
  fs.rmSync(folder, { recursive: true });
});

/** socket(7): a pair of unix sockets, of datagrams or streams. */
function socketPair(type: 1 | 2): [number, number] {
  const pair = loadKoffi().load(null).func('int socketpair(int domain, int type, int protocol, _Out_ int *pair)');
  const fds = [0, 0] as [number, number];
  assert.equal(pair(1, type, 0, fds), 0);
  return fds;
}

test('datagram sockets that others have opened', { skip: !loadPosix() && 'no koffi' }, async () => {
  const [one, two] = socketPair(2);
  const a = await open({ kind: 'descriptor', fd: one });
  const b = await open({ kind: 'descriptor', fd: two, isDatagram: true });
  b.sink.receive(frameOf(1514, 3), plain);
  b.sink.receive(frameOf(60, 4), plain);
  await a.link.count(2);
  // A card without room: the frame waits for it.
  b.link.hasRoom = false;
  a.sink.receive(frameOf(9000, 5), plain);
  a.sink.receive(frameOf(14, 6), plain);
  await new Promise((resolve) => setTimeout(resolve, 50));
  b.link.hasRoom = true;
  b.sink.linkReady();
  await b.link.count(2);
  assert.deepEqual(
    [a.link.frames, b.link.frames],
    [
      [frameOf(1514, 3), frameOf(60, 4)],
      [frameOf(9000, 5), frameOf(14, 6)],
    ],
  );
  // Too short for a frame, or nothing at all.
  fs.writeSync(two, frameOf(13));
  fs.writeSync(two, frameOf(0));
  b.sink.receive(frameOf(61, 7), plain);
  await a.link.count(3);
  assert.deepEqual(a.link.frames[2], frameOf(61, 7));
  await b.sink.close();
  for (let i = 0; i < 3; i++) a.sink.receive(frameOf(60), plain);
  await a.sink.close();
  const [three, four] = socketPair(1);
  await assert.rejects(open({ kind: 'descriptor', fd: three, isDatagram: true }), {
    message: `socket type=1 for fd=${three} must be SOCK_DGRAM`,
  });
  for (const fd of [three, four]) fs.closeSync(fd);
});

test('datagrams: two machines, whatever else comes to the port, and a port in use', async () => {
  const [one, two] = [await freePort(), await freePort()];
  const a = await open({ kind: 'datagram', local: local(one), remote: local(two) });
  const b = await open({ kind: 'datagram', local: local(two), remote: local(one) });
  a.sink.receive(frameOf(1514), plain);
  await b.link.count(1);
  b.sink.receive(frameOf(60, 3), plain);
  await a.link.count(1);
  assert.deepEqual([b.link.frames[0], a.link.frames[0]], [frameOf(1514), frameOf(60, 3)]);
  const stranger = dgram.createSocket('udp4');
  for (const length of [0, 5, 13]) stranger.send(frameOf(length), one, '127.0.0.1');
  stranger.send(frameOf(14, 9), one, '127.0.0.1');
  await a.link.count(2);
  assert.deepEqual(a.link.frames[1], frameOf(14, 9));
  stranger.close();
  await assert.rejects(open({ kind: 'datagram', local: local(one), remote: local(two) }), {
    code: 'network-port',
    message: `can't bind ip=127.0.0.1:${one} to socket: Address already in use`,
  });
  a.sink.close();
  b.sink.close();
});

test('a multicast group: all hear, and nobody hears himself', async (t) => {
  const remote = { host: '230.77.3.1', port: 20_000 + (process.pid % 20_000) };
  const group: SocketBackend = { kind: 'datagram', local: { host: '127.0.0.1', port: 0 }, remote };
  let members: Awaited<ReturnType<typeof open>>[];
  try {
    members = [await open(group), await open(group), await open(group)];
  } catch (error) {
    return t.skip(`no multicast here: ${(error as Error).message}`);
  }
  const [a, b, c] = members;
  a.sink.receive(frameOf(60, 1), plain);
  const heard = await Promise.race([
    Promise.all([b.link.count(1), c.link.count(1)]).then(() => true),
    new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 3000)),
  ]);
  for (const { sink } of members) sink.close();
  if (!heard) return t.skip('multicast does not come back to this host');
  assert.deepEqual([a.link.frames.length, b.link.frames, c.link.frames], [0, [frameOf(60, 1)], [frameOf(60, 1)]]);
});
