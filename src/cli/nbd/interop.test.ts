/** `vring nbd` and the nbd block protocol against other implementations: libnbd's tools, QEMU's, nbdkit. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import test from 'node:test';
import { BlockError } from '../../block/errors.js';
import { BlockGraph } from '../../block/graph.js';
import { NbdConnection } from '../../block/protocols/nbd/client.js';
import { makeCertificates } from '../../dev/certificates.js';
import { NodeBlockHost } from '../../host/node/block-host.js';
import { nodeNetwork } from '../../host/node/block-network.js';
import { runImg } from '../img/index.js';
import { runNbd } from './index.js';

function missing(...tools: string[]): string | false {
  const absent = tools.filter(
    (tool) => !(process.env['PATH'] ?? '').split(':').some((directory) => fs.existsSync(path.join(directory, tool))),
  );
  return absent.length > 0 ? `${absent.join(', ')} not installed` : false;
}

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function run(command: string, args: readonly string[], timeoutMs = 20_000): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(command, args, { timeout: timeoutMs }, (error, out, err) => {
      const code = error ? (typeof error.code === 'number' ? error.code : -1) : 0;
      resolve({ code, out, err });
    });
  });
}

async function succeed(command: string, ...args: string[]): Promise<string> {
  const ran = await run(command, args);
  assert.equal(ran.code, 0, `${command} ${args.join(' ')}: ${ran.out}${ran.err}`);
  return ran.out;
}

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'vring-nbd-'));
test.after(() => fs.rmSync(directory, { recursive: true, force: true }));
let serial = 0;
const place = (name: string) => path.join(directory, `${serial++}-${name}`);

/** Between bind and listen the path of a socket is there, but nobody can connect. Linux tells the two apart. */
function isListening(socket: string): boolean {
  const table = '/proc/net/unix';
  if (!fs.existsSync(table)) return fs.existsSync(socket);
  const acceptsConnections = '00010000';
  return fs
    .readFileSync(table, 'utf8')
    .split('\n')
    .some((line) => line.endsWith(` ${socket}`) && line.split(/\s+/)[3] === acceptsConnections);
}

async function waitFor(socket: string): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (isListening(socket)) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`nobody listens at ${socket}`);
}

/** A server of ours in this process; it ends with its last client. */
async function serveOurs(args: readonly string[]): Promise<{ uri: string; socket: string; result: Promise<Ran> }> {
  const socket = place('sock');
  let [out, err] = ['', ''];
  const io = { out: (text: string) => (out += text), err: (text: string) => (err += text) };
  const result = runNbd(['-k', socket, ...args], io, 'qemu-nbd').then((code) => ({ code, out, err }));
  await Promise.race([waitFor(socket), result]);
  return { uri: `nbd+unix:///?socket=${socket}`, socket, result };
}

/** What a failed test leaves running would keep this file from ending. */
const servers: ChildProcess[] = [];
test.after(() => {
  for (const server of servers) server.kill('SIGKILL');
});

async function serveTheirs(command: string, args: readonly string[], socket: string): Promise<ChildProcess> {
  const child = spawn(command, args, { stdio: 'inherit' });
  servers.push(child);
  await waitFor(socket);
  return child;
}

function ended(child: ChildProcess): Promise<unknown> {
  return child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve()
    : new Promise((resolve) => child.once('exit', resolve));
}

function digest(file: string): string {
  return createHash('sha256').update(fs.readFileSync(file)).digest('hex');
}

/** Data, holes and a tail. */
function makeRaw(sizeBytes = 3 * 2 ** 20): string {
  const file = place('disk.raw');
  fs.writeFileSync(file, '');
  fs.truncateSync(file, sizeBytes);
  const fd = fs.openSync(file, 'r+');
  for (const [at, size] of [
    [0, 70_000],
    [2 ** 20, 2 ** 18],
    [sizeBytes - 5000, 5000],
  ] as const) {
    fs.writeSync(
      fd,
      Buffer.from(Uint8Array.from({ length: size }, (_, index) => (index * 7 + at + (index >> 8)) & 255)),
      0,
      size,
      at,
    );
  }
  fs.closeSync(fd);
  return file;
}

async function img(...args: string[]): Promise<Ran> {
  let [out, err] = ['', ''];
  const code = await runImg(args, { out: (text) => void (out += text), err: (text) => void (err += text) }, 'qemu-img');
  return { code, out, err };
}

test('nbdinfo tells of our server what it tells of qemu-nbd', { skip: missing('nbdinfo', 'qemu-nbd') }, async () => {
  const raw = makeRaw();
  for (const options of [
    ['-f', 'raw'],
    ['-f', 'raw', '-r'],
    ['-f', 'raw', '-e', '0'],
    ['-f', 'raw', '-o', '4096', '-A', '-D', 'some words'],
    // Direct access aligns its requests itself and asks no client to.
    ['-f', 'raw', '--cache=none'],
  ]) {
    const theirs = place('theirs');
    const child = await serveTheirs('qemu-nbd', ['-t', '-k', theirs, ...options, raw], theirs);
    const expected = {
      info: await succeed('nbdinfo', '--no-content', '--list', '--json', `nbd+unix:///?socket=${theirs}`),
      map: await succeed('nbdinfo', '--map', '--json', `nbd+unix:///?socket=${theirs}`),
    };
    child.kill();
    await ended(child);
    const ours = await serveOurs(['-t', ...options, raw]);
    const info = await succeed('nbdinfo', '--no-content', '--list', '--json', ours.uri);
    const map = await succeed('nbdinfo', '--map', '--json', ours.uri);
    const list = await run('qemu-nbd', ['-L', '-k', ours.socket]);
    process.emit('SIGTERM');
    assert.deepEqual(await ours.result, { code: 0, out: '', err: '' });
    assert.deepEqual(JSON.parse(info.replaceAll(ours.socket, theirs)), JSON.parse(expected.info));
    assert.deepEqual(JSON.parse(map), JSON.parse(expected.map));
    assert.match(list.out, /^exports available: 1\n export: ''\n/);
    assert.ok(!fs.existsSync(ours.socket), 'the socket goes with the server');
  }
});

test('our --list prints what qemu-nbd prints', { skip: missing('qemu-nbd', 'nbdkit') }, async () => {
  const socket = place('kit');
  const child = await serveTheirs('nbdkit', ['-f', '-U', socket, '-e', 'one', 'memory', '2M'], socket);
  const theirs = await run('qemu-nbd', ['-L', '-k', socket]);
  let out = '';
  const code = await runNbd(['-L', '-k', socket], { out: (text) => (out += text), err: () => undefined }, 'qemu-nbd');
  child.kill();
  await ended(child);
  assert.equal(code, 0);
  assert.equal(out, theirs.out);
});

test('nbdcopy copies through our server, both ways', { skip: missing('nbdcopy') }, async () => {
  const source = makeRaw();
  const target = place('copy.raw');
  fs.writeFileSync(target, '');
  fs.truncateSync(target, fs.statSync(source).size);
  const from = await serveOurs(['-e', '0', '-t', '-r', '-f', 'raw', source]);
  const to = await serveOurs(['-e', '0', '-t', '-f', 'raw', target]);
  await succeed('nbdcopy', '--flush', from.uri, to.uri);
  const viaFile = place('file.raw');
  await succeed('nbdcopy', from.uri, viaFile);
  process.emit('SIGTERM');
  assert.equal((await from.result).code, 0);
  assert.equal((await to.result).code, 0);
  assert.equal(digest(target), digest(source));
  assert.equal(digest(viaFile), digest(source));
});

test('qemu-io and qemu-img work on a qcow2 image that we serve', { skip: missing('qemu-io', 'qemu-img') }, async () => {
  const image = place('disk.qcow2');
  await succeed('qemu-img', 'create', '-q', '-f', 'qcow2', image, '8M');
  const ours = await serveOurs(['-t', '-f', 'qcow2', '--discard=unmap', image]);
  const commands = [
    'write -P 17 65536 200000',
    'write -z 100000 50000',
    'write -f -P 3 4M 64k',
    'discard 4M 32k',
    'flush',
    'read -P 17 65536 30000',
    'read -P 0 100000 50000',
    'read -P 17 150000 100000',
  ];
  const said = await succeed('qemu-io', '-f', 'raw', ...commands.flatMap((command) => ['-c', command]), ours.uri);
  assert.doesNotMatch(said, /failed|error/i);
  const mapped = JSON.parse(await succeed('qemu-img', 'map', '-f', 'raw', '--output=json', ours.uri)) as {
    length: number;
  }[];
  assert.equal(
    mapped.reduce((sum, { length }) => sum + length, 0),
    8 * 2 ** 20,
  );
  process.emit('SIGTERM');
  assert.equal((await ours.result).code, 0);
  assert.match(await succeed('qemu-img', 'check', image), /No errors were found/);
  const flat = place('flat.raw');
  await succeed('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', image, flat);
  const bytes = fs.readFileSync(flat);
  assert.equal(bytes[65_536], 17);
  assert.equal(bytes[100_000], 0);
  assert.equal(bytes[4 * 2 ** 20 + 65_535], 3);
});

test('a client that leaves ends a server that is not persistent', { skip: missing('nbdinfo') }, async () => {
  const ours = await serveOurs(['-f', 'raw', makeRaw()]);
  assert.equal((await succeed('nbdinfo', '--size', ours.uri)).trim(), String(3 * 2 ** 20));
  assert.deepEqual(await ours.result, { code: 0, out: '', err: '' });
});

test('with --shared=1 the second client waits for the first to leave', async () => {
  const ours = await serveOurs(['-t', '-f', 'raw', makeRaw()]);
  const address = { type: 'unix', path: ours.socket } as const;
  const first = await NbdConnection.open({ network: nodeNetwork, address });
  let isSecondIn = false;
  const second = NbdConnection.open({ network: nodeNetwork, address }).then((connection) => {
    isSecondIn = true;
    return connection;
  });
  await first.read(0, new Uint8Array(512));
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.equal(isSecondIn, false);
  await first.close();
  const admitted = await second;
  // Who still waits when the server ends is sent away, and keeps it from nothing.
  const third = NbdConnection.open({ network: nodeNetwork, address });
  await admitted.read(0, new Uint8Array(512));
  process.emit('SIGTERM');
  await assert.rejects(third, BlockError);
  assert.equal((await ours.result).code, 0);
  await admitted.close();
});

test('--snapshot leaves the image as it is; --load-snapshot and --bitmap show what is inside', {
  skip: missing('qemu-io', 'qemu-img', 'qemu-nbd', 'nbdinfo'),
}, async () => {
  const image = place('snap.qcow2');
  await succeed('qemu-img', 'create', '-q', '-f', 'qcow2', image, '1M');
  await succeed('qemu-io', '-f', 'qcow2', '-c', 'write -P 1 0 64k', image);
  await succeed('qemu-img', 'snapshot', '-c', 'before', image);
  await succeed('qemu-img', 'bitmap', '--add', '-g', '65536', image, 'dirty');
  await succeed('qemu-io', '-f', 'qcow2', '-c', 'write -P 2 0 128k', image);
  const was = digest(image);
  const over = await serveOurs(['-f', 'qcow2', '-s', image]);
  await succeed(
    'qemu-io',
    '-f',
    'raw',
    '-c',
    'read -P 2 0 128k',
    '-c',
    'write -P 9 0 1M',
    '-c',
    'read -P 9 0 1M',
    over.uri,
  );
  assert.equal((await over.result).code, 0);
  assert.equal(digest(image), was);
  const old = await serveOurs(['-f', 'qcow2', '-l', 'before', image]);
  await succeed('qemu-io', '-r', '-f', 'raw', '-c', 'read -P 1 0 64k', '-c', 'read -P 0 64k 64k', old.uri);
  assert.equal((await old.result).code, 0);
  const bits = await serveOurs(['-f', 'qcow2', '-r', '-B', 'dirty', image]);
  const map = JSON.parse(await succeed('nbdinfo', '--map=qemu:dirty-bitmap:dirty', '--json', bits.uri)) as object[];
  assert.deepEqual(
    map.map((row) => ({ ...row, description: undefined })),
    [
      { offset: 0, length: 131_072, type: 1, description: undefined },
      { offset: 131_072, length: 917_504, type: 0, description: undefined },
    ],
  );
  assert.equal((await bits.result).code, 0);
  // Several contexts are listed as qemu-nbd lists them: the last one named comes first.
  await succeed('qemu-img', 'bitmap', '--add', image, 'other');
  const named = ['-f', 'qcow2', '-r', '-A', '-B', 'dirty', '-B', 'other', image];
  const socket = place('two');
  const child = await serveTheirs('qemu-nbd', ['-k', socket, ...named], socket);
  const listed = JSON.parse(await succeed('nbdinfo', '--json', `nbd+unix:///?socket=${socket}`));
  await ended(child);
  const two = await serveOurs(named);
  const ours = JSON.parse(await succeed('nbdinfo', '--json', two.uri));
  assert.deepEqual(ours.exports[0].contexts, listed.exports[0].contexts);
  assert.equal((await two.result).code, 0);
});

test('our client reads, writes and maps what qemu-nbd and nbdkit serve', {
  skip: missing('qemu-nbd', 'nbdkit'),
}, async () => {
  const source = makeRaw();
  const theirs = place('qemu');
  const child = await serveTheirs('qemu-nbd', ['-t', '-k', theirs, '-x', 'a name', '-f', 'raw', source], theirs);
  const uri = `nbd+unix:///a%20name?socket=${theirs}`;
  const copy = place('copy.qcow2');
  assert.deepEqual(await img('convert', '-f', 'raw', '-O', 'qcow2', uri, copy), { code: 0, out: '', err: '' });
  assert.match((await img('compare', '-f', 'raw', '-F', 'qcow2', uri, copy)).out, /Images are identical/);
  const expected = await run('qemu-img', ['map', '-f', 'raw', '--output=json', uri]);
  assert.deepEqual(JSON.parse((await img('map', '-f', 'raw', '--output=json', uri)).out), JSON.parse(expected.out));
  const unknown = await img('info', `nbd+unix:///b?socket=${theirs}`);
  const unknownTheirs = await run('qemu-img', ['info', `nbd+unix:///b?socket=${theirs}`]);
  assert.deepEqual([unknown.code, unknown.err], [unknownTheirs.code, unknownTheirs.err]);
  const info = await img('info', uri);
  assert.equal(info.out, (await run('qemu-img', ['info', uri])).out);
  child.kill();
  await ended(child);
  // Holds requests to 4 KiB blocks, and has neither write-zeroes nor extents.
  const socket = place('kit');
  const kit = await serveTheirs(
    'nbdkit',
    [
      '-f',
      '-U',
      socket,
      '--filter=blocksize-policy',
      '--filter=nozero',
      '--filter=noextents',
      'memory',
      '3M',
      'blocksize-minimum=4096',
      'blocksize-preferred=4096',
      'blocksize-error-policy=error',
    ],
    socket,
  );
  const graph = new BlockGraph(new NodeBlockHost());
  const node = await graph.open({
    filename: `nbd:unix:${socket}`,
    format: 'raw',
    flags: { readOnly: false, unmap: true },
  });
  const bytes = fs.readFileSync(source);
  await node.write(100, bytes.subarray(100, 9999));
  await node.writeZeroes(5000, 100);
  await node.flush();
  const back = new Uint8Array(9999);
  await node.read(0, back);
  const should = Buffer.concat([Buffer.alloc(100), bytes.subarray(100, 9999)]);
  should.fill(0, 5000, 5100);
  assert.deepEqual(Buffer.from(back), should);
  await node.close();
  kit.kill('SIGKILL');
  await ended(kit);
});

test('errors of a server reach the caller as errno', { skip: missing('nbdkit') }, async () => {
  const socket = place('kit');
  const kit = await serveTheirs(
    'nbdkit',
    [
      '-f',
      '-U',
      socket,
      '--filter=error',
      'memory',
      '1M',
      'error-pwrite=ENOSPC',
      'error-pwrite-rate=100%',
      'error-pread=EIO',
      'error-pread-rate=100%',
    ],
    socket,
  );
  const graph = new BlockGraph(new NodeBlockHost());
  const node = await graph.open({ options: { driver: 'nbd', path: socket }, flags: { readOnly: false } });
  const fails = (code: string) => (error: unknown) => error instanceof BlockError && error.code === code;
  await assert.rejects(node.write(0, new Uint8Array(512)), fails('ENOSPC'));
  await assert.rejects(node.read(0, new Uint8Array(512)), fails('EIO'));
  kit.kill('SIGKILL');
  await ended(kit);
  await assert.rejects(node.read(0, new Uint8Array(512)), fails('EIO'));
  // The last flush could not be made, and that is told.
  await assert.rejects(node.close(), fails('EIO'));
});

test('requests wait for a new connection where reconnect-delay says so', { skip: missing('nbdkit') }, async () => {
  const socket = place('kit');
  const image = makeRaw();
  const args = ['-f', '-U', socket, 'file', image];
  let kit = await serveTheirs('nbdkit', args, socket);
  const graph = new BlockGraph(new NodeBlockHost());
  const node = await graph.open({
    options: { driver: 'nbd', path: socket, 'reconnect-delay': 15 },
    flags: { readOnly: false },
  });
  kit.kill('SIGKILL');
  await ended(kit);
  fs.rmSync(socket, { force: true });
  const reading = new Uint8Array(4096);
  const read = node.read(0, reading);
  kit = await serveTheirs('nbdkit', args, socket);
  await read;
  assert.deepEqual(Buffer.from(reading), fs.readFileSync(image).subarray(0, 4096));
  await node.close();
  kit.kill('SIGKILL');
  await ended(kit);
});

test('TLS with certificates: QEMU’s client and ours, and who has none is refused', {
  skip: missing('openssl', 'qemu-img', 'qemu-nbd'),
}, async () => {
  const tls = makeCertificates(place('tls'));
  const raw = makeRaw();
  const server = serveOurs([
    '-t',
    '-e',
    '0',
    '-f',
    'raw',
    '-r',
    '--object',
    `tls-creds-x509,id=t,dir=${tls},endpoint=server`,
    '--tls-creds',
    't',
    '--object',
    'authz-simple,id=a,identity=CN=client,,O=Vring',
    '--tls-authz',
    'a',
    raw,
  ]);
  const ours = await server;
  const client = ['--object', `tls-creds-x509,id=c,dir=${tls},endpoint=client`];
  const image = `driver=raw,file.driver=nbd,file.path=${ours.socket},file.tls-creds=c,file.tls-hostname=localhost`;
  const theirs = await run('qemu-img', ['map', ...client, '--image-opts', '--output=json', image]);
  assert.equal(theirs.code, 0, theirs.err);
  const our = await img('map', ...client, '--image-opts', '--output=json', image);
  assert.equal(our.code, 0, our.err);
  assert.deepEqual(JSON.parse(our.out), JSON.parse(theirs.out));
  assert.match(
    await succeed('qemu-nbd', '-L', '-k', ours.socket, ...client, '--tls-creds', 'c', '--tls-hostname', 'localhost'),
    /exports available: 1/,
  );
  const plain = await run('qemu-img', ['info', ours.uri]);
  assert.match(plain.err, /TLS/);
  assert.match((await img('info', ours.uri)).err, /Server requires TLS/);
  const wrong = await img('info', ...client, '--image-opts', image.replace('localhost', 'elsewhere'));
  assert.notEqual(wrong.code, 0);
  process.emit('SIGTERM');
  assert.equal((await ours.result).code, 0);
});

test('TLS with pre-shared keys, both ways', { skip: missing('qemu-img', 'qemu-nbd', 'nbdinfo') }, async () => {
  const keys = place('psk');
  fs.mkdirSync(keys);
  fs.writeFileSync(path.join(keys, 'keys.psk'), 'alice:00112233445566778899aabbccddeeff\n');
  const raw = makeRaw();
  const client = ['--object', `tls-creds-psk,id=c,dir=${keys},endpoint=client,username=alice`];
  const server = [
    '--object',
    `tls-creds-psk,id=t,dir=${keys},endpoint=server`,
    '--tls-creds',
    't',
    '-f',
    'raw',
    '-r',
    raw,
  ];
  const expected = JSON.parse(await succeed('qemu-img', 'map', '-f', 'raw', '--output=json', raw)) as {
    length: number;
    zero: boolean;
  }[];
  const shape = (text: string) =>
    (JSON.parse(text) as { length: number; zero: boolean }[]).map(({ length, zero }) => ({ length, zero }));
  const image = (socket: string) => `driver=raw,file.driver=nbd,file.path=${socket},file.tls-creds=c`;
  const ours = await serveOurs(['-t', ...server]);
  const theirs = await run('qemu-img', ['map', ...client, '--image-opts', '--output=json', image(ours.socket)]);
  const byUri = `nbds+unix://alice@/?socket=${ours.socket}&tls-psk-file=${keys}/keys.psk`;
  const ourOwn = await img('map', '-f', 'raw', '--output=json', byUri);
  const libnbd = await run('nbdinfo', ['--size', byUri]);
  assert.equal(theirs.code, 0, theirs.err);
  process.emit('SIGTERM');
  await ours.result;
  assert.deepEqual(
    shape(theirs.out),
    expected.map(({ length, zero }) => ({ length, zero })),
  );
  assert.equal(ourOwn.code, 0, ourOwn.err);
  assert.deepEqual(shape(ourOwn.out), shape(theirs.out));
  assert.equal(libnbd.out.trim(), String(3 * 2 ** 20), libnbd.err);
  const socket = place('qemu');
  const child = await serveTheirs('qemu-nbd', ['-t', '-k', socket, ...server], socket);
  const our = await img('map', ...client, '--image-opts', '--output=json', image(socket));
  child.kill();
  await ended(child);
  assert.equal(our.code, 0, our.err);
  assert.deepEqual(
    shape(our.out),
    expected.map(({ length, zero }) => ({ length, zero })),
  );
});

test('mistakes on the command line are told as qemu-nbd tells them', { skip: missing('qemu-nbd') }, async () => {
  const raw = makeRaw();
  const bad: string[][] = [
    [],
    ['-p', 'abc', raw],
    ['-e', '-1', raw],
    ['-e', 'abc', raw],
    ['--zork'],
    ['-q', raw],
    ['-p'],
    ['--port'],
    ['-o', 'abc', raw],
    ['-c', '/dev/nosuch', raw],
    ['a', 'b'],
    ['-k', 'relative', raw],
    ['--cache=foo', raw],
    ['--cache=none', '-n', raw],
    ['--aio=foo', raw],
    ['--aio=native', '-k', place('s'), '-f', 'raw', raw],
    ['--object', 'secret,id=s,data=x', '--tls-creds', 's', '-k', place('s'), raw],
    ['--discard=foo', raw],
    ['--detect-zeroes=foo', raw],
    ['--detect-zeroes=unmap', raw],
    ['-L', '-x', 'foo'],
    ['-L', 'a'],
    ['-L', '-k', '/nosuch'],
    ['-L', '--fork'],
    ['-L', '-p', '1', '-b', '127.0.0.1'],
    ['--tls-creds=foo', '-k', '/tmp/x', raw],
    ['--tls-hostname', 'foo', raw],
    ['--tls-authz', 'foo', raw],
    ['-d', '/dev/nosuch'],
    ['--object', 'foo,id=a', raw],
    ['-k', place('s'), '/nonexistent'],
    ['-k', place('s'), '-f', 'foo', raw],
    ['-k', place('s'), '--image-opts', '-f', 'raw', raw],
    ['-k', '/nonexistent/s', '-f', 'raw', raw],
    ['-k', place('s'), '-f', 'raw', '-o', '99999999', raw],
    ['-k', place('s'), '-f', 'raw', '-l', 'x', raw],
    ['-k', place('s'), '-f', 'raw', '-B', 'x', raw],
    ['--object', 'tls-creds-x509,id=t,dir=/nonexistent,endpoint=server', '--tls-creds', 't', '-k', place('s'), raw],
    ['--object', 'tls-creds-psk,id=t,dir=/nonexistent,endpoint=server', '--tls-creds', 't', '-k', place('s'), raw],
    ['--object', 'tls-creds-psk,id=t,dir=/nonexistent,endpoint=client', '--tls-creds', 't', '-k', place('s'), raw],
  ];
  for (const args of bad) {
    const theirs = await run('qemu-nbd', args);
    let [out, err] = ['', ''];
    const code = await runNbd(args, { out: (text) => (out += text), err: (text) => (err += text) }, 'qemu-nbd');
    assert.deepEqual({ args, code, text: out + err }, { args, code: theirs.code, text: theirs.err + theirs.out });
  }
});
