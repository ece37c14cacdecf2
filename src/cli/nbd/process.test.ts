/** `vring nbd` as a process: --fork, --pid-file, a service manager's socket, signals; and the library's example. */
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as net from 'node:net';
import * as os from 'node:os';
import * as path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { NbdConnection } from '../../block/protocols/nbd/client.js';
import { nodeNetwork } from '../../host/node/block-network.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const program = path.join(root, 'dist/cli/main.js');
const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'vring-nbd-'));
test.after(() => fs.rmSync(directory, { recursive: true, force: true }));
const place = (name: string) => path.join(directory, name);

function run(args: readonly string[], options: object = {}): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, args, { timeout: 30_000, ...options }, (error, out, err) =>
      resolve({
        code: error ? (typeof error.code === 'number' ? error.code : -1) : 0,
        out: String(out),
        err: String(err),
      }),
    );
  });
}

function makeImage(name: string): string {
  const file = place(name);
  fs.writeFileSync(file, Buffer.alloc(65_536, 5));
  return file;
}

async function until(what: () => boolean): Promise<void> {
  for (let tries = 0; tries < 400 && !what(); tries++) await new Promise((resolve) => setTimeout(resolve, 25));
  assert.ok(what());
}

test('--fork returns when clients are served; SIGTERM ends the server and its socket', async () => {
  const image = makeImage('fork.raw');
  const [socket, pidFile] = [place('fork.sock'), place('fork.pid')];
  const forked = await run([program, 'nbd', '--fork', '-t', '-k', socket, `--pid-file=${pidFile}`, '-f', 'raw', image]);
  assert.deepEqual(forked, { code: 0, out: '', err: '' });
  const pid = Number(fs.readFileSync(pidFile, 'utf8'));
  const client = await NbdConnection.open({ network: nodeNetwork, address: { type: 'unix', path: socket } });
  const bytes = new Uint8Array(16);
  await client.read(0, bytes);
  assert.deepEqual(bytes, new Uint8Array(16).fill(5));
  await client.close();
  process.kill(pid, 'SIGTERM');
  await until(() => !fs.existsSync(socket));
});

test('a signal while a server stores its bitmaps does not cut that short', {
  skip: spawnSync('qemu-img', ['--version']).error !== undefined && 'qemu-img not installed',
}, async () => {
  const [image, socket] = [place('signals.qcow2'), place('signals.sock')];
  const img = (...args: readonly string[]): string => execFileSync('qemu-img', args, { encoding: 'utf8' });
  img('create', '-q', '-f', 'qcow2', image, '64M');
  for (let index = 0; index < 20; index++) img('bitmap', '--add', image, `bitmap${index}`);
  const server = spawn(process.execPath, [program, 'nbd', '-k', socket, '-f', 'qcow2', image], { stdio: 'ignore' });
  const ended = new Promise((resolve) => server.once('exit', (code, signal) => resolve(code ?? signal)));
  let client: NbdConnection | undefined;
  for (let tries = 0; tries < 400 && !client; tries++) {
    client = await NbdConnection.open({ network: nodeNetwork, address: { type: 'unix', path: socket } }).catch(
      () => undefined,
    );
    if (!client) await new Promise((resolve) => setTimeout(resolve, 25));
  }
  await client!.write(0, new Uint8Array(65_536));
  await client!.close();
  // The only client has gone: it ends by itself.
  const signals = setInterval(() => server.kill('SIGTERM'), 1);
  const how = await ended;
  clearInterval(signals);
  // Node gives up its signal handlers a moment before the process is gone: all is stored by then.
  assert.ok(how === 0 || how === 'SIGTERM', `ended by ${how}`);
  assert.doesNotMatch(img('info', image), /in-use/);
  assert.match(img('check', image), /^No errors/);
});

test('--fork tells why it failed', async () => {
  const forked = await run([program, 'nbd', '--fork', '-k', place('no.sock'), place('no.raw')]);
  assert.equal(forked.code, 1);
  assert.equal(
    forked.err,
    `vring nbd: Failed to blk_new_open '${place('no.raw')}': Could not open '${place('no.raw')}': No such file or directory\n`,
  );
});

test('serves on the socket that a service manager passes', {
  skip: spawnSync('nbdinfo', ['--version']).error !== undefined && 'nbdinfo not installed',
}, async () => {
  // libnbd starts the program in the brackets with a listening socket as descriptor 3.
  const args = ['--size', '--', '[', process.execPath, program, 'nbd', '-f', 'raw', '-r', makeImage('active.raw'), ']'];
  const out = await new Promise((resolve) => {
    execFile('nbdinfo', args, { timeout: 20_000 }, (_error, stdout, stderr) => resolve(stdout + stderr));
  });
  assert.equal(out, '65536\n');
});

test('says which options do not go with a socket that was passed', async () => {
  const listener = net.createServer().listen(place('passed.sock'));
  await new Promise((resolve) => listener.once('listening', resolve));
  const { fd } = (listener as unknown as { _handle: { fd: number } })._handle;
  for (const [args, sentence] of [
    [['-k', '/tmp/x'], "Unix socket can't be set when using socket activation"],
    [['-p', '1'], "TCP port number can't be set when using socket activation"],
  ] as const) {
    const script = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"';
    const child = spawn('/bin/sh', ['-c', script, process.execPath, program, 'nbd', ...args, place('x')], {
      stdio: ['ignore', 'ignore', 'pipe', fd],
    });
    let err = '';
    child.stderr!.on('data', (text) => (err += text));
    assert.equal(await new Promise((resolve) => child.once('close', resolve)), 1);
    assert.equal(err, `vring nbd: ${sentence}\n`);
  }
  listener.close();
});

test('the example serves an image and reads it back', async () => {
  const ran = await run([path.join(root, 'examples/nbd-server.mjs'), makeImage('example.raw')]);
  assert.equal(ran.code, 0, ran.err);
  assert.match(
    ran.out,
    /^nbd:\/\/127\.0\.0\.1:\d+\/disk\n65536 bytes, extended headers\n65536 bytes of data\nbegins with 05050505\n$/,
  );
});
