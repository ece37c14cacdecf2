import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createSocket as createDatagramSocket } from 'node:dgram';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { KeyValues } from '../options/key-values.js';
import type { Backend, BackendEvents } from './backends/backend.js';
import { PipeBackend } from './backends/pipe.js';
import { PtyBackend } from './backends/pty.js';
import { RingBackend } from './backends/ring.js';
import { SocketBackend } from './backends/socket.js';
import { TelnetInput, telnetEscape } from './backends/telnet.js';
import { UdpBackend } from './backends/udp.js';
import { planSocket } from './chardev-socket.js';
import { Chardevs } from './chardevs.js';

const folder = mkdtempSync(join(tmpdir(), 'vring-chardev-'));
after(() => rmSync(folder, { recursive: true }));

/** What a backend has told, and a way to wait for it. */
function listen(backend: Backend) {
  const told: string[] = [];
  const waiting: (() => void)[] = [];
  const tell = (what: string) => {
    told.push(what);
    for (const look of waiting.splice(0)) look();
  };
  const events: BackendEvents = {
    opened: () => tell('opened'),
    closed: () => tell('closed'),
    input: (bytes) => tell(Buffer.from(bytes).toString()),
    sendBreak: () => tell('break'),
    settled: () => Promise.resolve(),
  };
  backend.attach(events);
  const until = async (wanted: string) => {
    while (!told.join('|').includes(wanted)) await new Promise<void>((resolve) => waiting.push(resolve));
  };
  return { told, until };
}

/** A client that keeps what it is sent. */
function client(to: string | number) {
  const socket = typeof to === 'string' ? connect(to) : connect(to, '127.0.0.1');
  let text = '';
  const waiting: (() => void)[] = [];
  const look = () => {
    for (const each of waiting.splice(0)) each();
  };
  socket.on('data', (bytes) => {
    text += bytes.toString('latin1');
    look();
  });
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
  socket.on('error', () => {});
  const until = async (wanted: string) => {
    while (!text.includes(wanted)) await new Promise<void>((resolve) => waiting.push(resolve));
  };
  return { socket, until, closed, text: () => text };
}

const open = (text: string) => SocketBackend.open('-chardev', planSocket(KeyValues.parse('-chardev', text)));

test('a server has one client after the other; what is written without one is lost', { timeout: 30_000 }, async () => {
  const path = join(folder, 'a');
  const backend = await open(`path=${path},server=on,wait=off`);
  assert.equal(backend.filename, `disconnected:unix:${path},server=on`);
  await backend.write('lost');
  const early = client(path);
  const { told, until } = listen(backend);
  await until('opened');
  assert.equal(backend.filename, `unix:${path},server=on`);
  early.socket.write('one');
  await until('one');
  const second = client(path);
  await backend.write('hello');
  await early.until('hello');
  assert.equal(early.text(), 'hello');
  early.socket.end();
  await until('closed|opened');
  await backend.write('next');
  await second.until('next');
  second.socket.write('two');
  await until('two');
  await backend.close();
  await second.closed;
  assert.deepEqual(told.slice(0, 5), ['opened', 'one', 'closed', 'opened', 'two']);
  assert.notEqual(spawnSync('test', ['-e', path]).status, 0, 'the socket is taken away');
});

test('ports are tried up to the last; wait=on waits', { timeout: 30_000 }, async () => {
  const taken: Server = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const { port } = taken.address() as { port: number };
  await assert.rejects(open(`host=127.0.0.1,port=${port},server=on,wait=off`), /Address already in use/);
  const backend = await open(`host=127.0.0.1,port=${port},to=${port + 20},server=on`);
  const bound = Number(/:(\d+),server/.exec(backend.filename)?.[1]);
  assert.ok(bound > port);
  let ready = false;
  void backend.ready.then(() => {
    ready = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(ready, false);
  const { socket } = client(bound);
  await backend.ready;
  socket.destroy();
  await backend.close();
  taken.close();
});

test('a client connects at once, or again and again', { timeout: 30_000 }, async () => {
  const path = join(folder, 'b');
  await assert.rejects(open(`path=${path}`), /cannot be connected: No such file/);
  const backend = await open(`path=${path},reconnect=1`);
  const { until } = listen(backend);
  const came: Socket[] = [];
  const server = createServer((socket) => came.push(socket.on('error', () => {})));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  await until('opened');
  came[0].write('x');
  await until('x');
  came[0].destroy();
  await until('closed|opened');
  await backend.close();
  server.close();
});

test('telnet: options are told and taken out, a break is one, 255 is sent twice', { timeout: 30_000 }, async () => {
  const backend = await open('host=127.0.0.1,port=0,server=on,wait=off,telnet=on');
  const { until, told } = listen(backend);
  const { socket, until: shown, text } = client(Number(/:(\d+),server/.exec(backend.filename)?.[1]));
  await until('opened');
  await shown('\xff\xfd\x00');
  socket.write(Buffer.from([0xff, 0xfd, 1, 0x61, 0xff, 0xfa, 24, 0, 0xff, 0xf0, 0xff, 0xf3, 0x0d, 0, 0x62]));
  await until('b');
  assert.equal(told.filter((word) => word !== 'break').join(''), 'openeda\rb');
  assert.ok(told.includes('break'));
  await backend.write(Uint8Array.of(0x41, 0xff));
  await shown('A\xff\xff');
  assert.ok(text().startsWith('\xff\xfb\x01'));
  await backend.close();
  const input = new TelnetInput(() => {});
  assert.deepEqual([...input.decode(Uint8Array.of(0xff, 0xfb, 0, 13, 0, 0xff, 0xff))], [13, 0, 255]);
  assert.deepEqual([...telnetEscape(Uint8Array.of(1, 255))], [1, 255, 255]);
});

const noPipes = process.platform === 'win32' && 'named pipes are made by mkfifo';
test('pipe: what PATH.in gives, and PATH.out takes', { skip: noPipes, timeout: 30_000 }, async () => {
  const path = join(folder, 'p');
  assert.throws(() => new PipeBackend('-chardev', path), /mkfifo makes them/);
  writeFileSync(`${path}.in`, '');
  assert.throws(() => new PipeBackend('-chardev', path), /no named pipe/);
  rmSync(`${path}.in`);
  assert.equal(spawnSync('mkfifo', [`${path}.in`, `${path}.out`]).status, 0);
  const backend = new PipeBackend('-chardev', path);
  const { until } = listen(backend);
  const [into, from] = [openSync(`${path}.in`, 'r+'), openSync(`${path}.out`, 'r+')];
  writeSync(into, 'question');
  await until('question');
  await backend.write('answer');
  const bytes = Buffer.alloc(6);
  readSync(from, bytes);
  assert.equal(bytes.toString(), 'answer');
  await backend.close();
});

const noPty = process.platform !== 'linux' && 'pseudo-terminals are made on Linux alone';
test('pty: programs open it, leave it and come back', { skip: noPty, timeout: 30_000 }, async () => {
  const backend = new PtyBackend('-serial pty');
  const { until } = listen(backend);
  assert.match(backend.filename, /^pty:\/dev\/pts\/\d+$/);
  await backend.write('lost');
  for (const word of ['one', 'two']) {
    // A process of its own: its end closes the side that it has opened.
    const program = spawn('sh', [
      '-c',
      `exec <>${backend.path}; stty -a | grep -o -e -echo; printf ${word} >&0; head -c 3`,
    ]);
    const output = (async () => {
      let text = '';
      for await (const bytes of program.stdout) text += bytes;
      return text;
    })();
    await until(word);
    await backend.write('yes');
    assert.match(await output, /^-echo\nyes$/m);
    await until(`${word}|closed`);
  }
  await backend.close();
});

test('datagrams go to one place, and come from there alone', async () => {
  const peer = createDatagramSocket('udp4');
  const heard: string[] = [];
  const waiting: (() => void)[] = [];
  peer.on('message', (bytes) => {
    heard.push(bytes.toString());
    for (const look of waiting.splice(0)) look();
  });
  await new Promise<void>((resolve) => peer.bind(0, '127.0.0.1', resolve));
  const { port } = peer.address();
  const plan = { host: '127.0.0.1', port, localHost: '127.0.0.1', localPort: 0 };
  const backend = await UdpBackend.open('', plan);
  const { until, told } = listen(backend);
  assert.equal(backend.filename, 'udp');
  await backend.write('hello');
  while (heard.length < 1) await new Promise<void>((resolve) => waiting.push(resolve));
  const { port: from } = await new Promise<{ port: number }>((resolve) => {
    peer.once('message', (_, sender) => resolve(sender));
    void backend.write(new Uint8Array([65]));
  });
  const stranger = createDatagramSocket('udp4');
  await new Promise<void>((resolve) => stranger.send('lies', from, '127.0.0.1', () => resolve()));
  backend.pause();
  peer.send('lost', from, '127.0.0.1');
  await new Promise((resolve) => setTimeout(resolve, 100));
  backend.resume();
  peer.send('answer', from, '127.0.0.1');
  await until('answer');
  assert.deepEqual(told, ['opened', 'answer']);
  peer.close();
  stranger.close();
  // Nobody listens there now.
  for (let i = 0; i < 3; i++) await backend.write('x');
  await backend.close();
  await backend.write('y');
  await assert.rejects(UdpBackend.open('-serial u', { ...plan, localHost: '192.0.2.1' }), {
    code: 'chardev-open',
    message: /^-serial u: datagrams cannot be sent: /,
  });
});

test('a ring keeps the last bytes until they are taken', async () => {
  const ring = new RingBackend(8, 'ringbuf');
  const text = (most: number) => Buffer.from(ring.take(most)).toString();
  assert.equal(text(5), '');
  await ring.write('abcdef');
  assert.deepEqual([text(2), text(1)], ['ab', 'c']);
  await ring.write('ghijk');
  assert.equal(text(100), 'defghijk');
  await ring.write('0123456789abcdefghi');
  assert.deepEqual([text(3), text(3)], ['bcd', 'efg']);
  await ring.write('JKLMNOP');
  assert.deepEqual([text(7), text(7), text(7)], ['iJKLMNO', 'P', '']);
});

test('-serial, -qmp and -chardev: what they take', () => {
  const plan = (text: string) => new Chardevs().fromShorthand('-serial', text, 'serial0');
  assert.deepEqual(plan('tcp::4444,server,nowait')?.socket, {
    address: { type: 'inet', host: '', port: 4444, lastPort: 4444 },
    ...{ server: true, waits: false, telnet: false, reconnectMs: 0 },
  });
  assert.equal(plan('unix:/x,server=on')?.socket?.waits, true);
  assert.equal(plan('unix:/x')?.socket?.server, false);
  assert.equal(plan('mon:telnet:[::1]:23,server=on,wait=off')?.mux, true);
  assert.deepEqual(plan('mon:telnet:[::1]:23,server=on,wait=off')?.socket?.address, {
    ...{ type: 'inet', host: '::1', port: 23, lastPort: 23 },
  });
  assert.equal(plan('pipe:/tmp/x')?.path, '/tmp/x');
  const refused = (text: string) => assert.throws.bind(assert, () => plan(text));
  refused('tcp:x,server=on')(/HOST:PORT/);
  refused('unix:,server=on')(/path is missing/);
  refused('unix:/x,wait=off')(/server=on only/);
  refused('unix:/x,server=on,reconnect=1')(/without server=on/);
  refused('tcp:h:1,tls-creds=t')(/tls-creds= is not supported yet/);
  assert.deepEqual(plan('udp:h:1')?.udp, { host: 'h', port: 1, localHost: '', localPort: 0 });
  assert.deepEqual(plan('udp::5@[::1]:6')?.udp, { host: 'localhost', port: 5, localHost: '::1', localPort: 6 });
  refused('udp:h')(/HOST:PORT/);
  refused('udp:h:1@')(/HOST:PORT/);
  refused('udp:h:0')(/port= is missing/);
  refused('unx:/x')(/no such device/);
  const chardevs = new Chardevs();
  chardevs.addOption('socket,id=a,host=localhost,port=5,server=on,wait=off,telnet=on,mux=on');
  chardevs.addOption('socket,id=b,fd=7,server=on,wait=off');
  chardevs.addOption('pty,id=c');
  assert.deepEqual(chardevs.find('', 'b').socket?.address, { type: 'fd', fd: 7 });
  assert.throws(() => chardevs.addOption('socket,id=d,server=on'), /port= is missing/);
  chardevs.addOption('udp,id=e,port=5,localaddr=127.0.0.1,localport=6');
  assert.deepEqual(chardevs.find('', 'e').udp, { host: 'localhost', port: 5, localHost: '127.0.0.1', localPort: 6 });
  assert.throws(() => chardevs.addOption('udp,id=f,host=h'), /port= is missing/);
  for (const [size, bytes] of [
    ['', 65536],
    [',size=0', 65536],
    [',size=1k', 1024],
  ] as const) {
    chardevs.addOption(`ringbuf,id=ring${size.length}${size}`);
    assert.equal(chardevs.find('', `ring${size.length}`).ringBytes, bytes);
  }
  assert.throws(() => chardevs.addOption('ringbuf,id=g,size=7'), /power of two/);
  assert.throws(() => chardevs.addOption('ringbuf,id=g,size=4T'), /256 MiB at most/);
});

const noLinks = process.platform === 'win32' && 'the program is started by a link';
test('-daemonize: the machine goes on, and is asked and ended at its monitor', {
  skip: noLinks,
  timeout: 120_000,
}, async () => {
  const program = join(folder, 'qemu-system-x86_64');
  symlinkSync(fileURLToPath(new URL('../main.js', import.meta.url)), program);
  const [path, pidfile] = [join(folder, 'm'), join(folder, 'pid')];
  const line = ['-accel', 'tcg', '-display', 'none', '-m', '64', '-S', '-daemonize', '-pidfile', pidfile];
  const status = (words: string[]) => spawnSync(process.execPath, [program, ...words], { encoding: 'utf8' });
  assert.match(status([...line, '-nographic']).stderr, /-nographic cannot be used with -daemonize/);
  // Descriptors that are left open for it are the machine's too, under their numbers.
  const left = openSync('/dev/null', 'r');
  const stdio = ['ignore', 'pipe', 'pipe', left, left] as const;
  const words = [...line, '-monitor', `unix:${path},server,nowait`, '-serial', 'pty', '-add-fd', 'fd=3,set=7'];
  const more = ['-drive', 'if=none,id=d,file=/dev/fdset/7,format=raw,readonly=on', '-device', 'virtio-blk-pci,drive=d'];
  const started = spawnSync(process.execPath, [program, ...words, ...more], { encoding: 'utf8', stdio: [...stdio] });
  closeSync(left);
  assert.equal(started.status, 0, started.stderr);
  if (!noPty) assert.match(started.stdout, /^char device redirected to \/dev\/pts\/\d+ \(label serial0\)$/m);
  assert.equal(process.kill(Number(readFileSync(pidfile, 'utf8')), 0), true);
  const { socket, until, closed } = client(path);
  // Whoever hangs up after asking still hears the answer.
  socket.end('info status\ninfo block d\n');
  await until('QEMU 7.2.0 (vring');
  await until('VM status: paused (prelaunch)');
  await until('/dev/fdset/7 (raw, read-only)');
  await closed;
  const second = client(path);
  await second.until('(qemu) ');
  second.socket.write('quit\n');
  await second.closed;
  while (existsSync(pidfile)) await new Promise((resolve) => setTimeout(resolve, 20));
});

test('a client that reads late gets all of many small writes, and nobody listens for each of them', async () => {
  const warnings: string[] = [];
  const warned = (warning: Error) => void warnings.push(warning.name);
  process.on('warning', warned);
  const path = join(folder, 'late');
  const backend = await open(`path=${path},server=on,wait=off`);
  const { until } = listen(backend);
  const socket = connect(path);
  try {
    await until('opened');
    const count = 300_000;
    const taken: Promise<void>[] = [];
    for (let i = 0; i < count; i++) taken.push(backend.write('x'));
    let bytes = 0;
    const all = new Promise<void>((resolve) => {
      socket.on('data', (piece) => {
        bytes += piece.length;
        if (bytes === count) resolve();
      });
    });
    await Promise.all([all, ...taken]);
    assert.deepEqual(warnings, []);
  } finally {
    process.off('warning', warned);
    socket.destroy();
    await backend.close();
  }
});
