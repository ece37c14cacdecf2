/** VNC inside TLS: VeNCrypt with a client of our own and with gtk-vnc's, and websockets; clients that get it wrong. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as tls from 'node:tls';
import type { ByteStream } from '../block/host.js';
import type { TlsCredentials } from '../block/index.js';
import { loadX509 } from '../block/protocols/nbd/credentials.js';
import { makeCertificates } from '../dev/certificates.js';
import { RfbClient } from '../dev/rfb-client.js';
import { Surface } from '../display/index.js';
import { NodeBlockHost } from '../host/node/block-host.js';
import { NodeByteStream } from '../host/node/block-network.js';
import { NodeServerTls } from '../host/node/server-tls.js';
import { listenForVnc, nodeVncHost } from '../host/node/vnc-host.js';
import { type VncScreen, VncServer } from './index.js';

const has = (program: string) => spawnSync(program, ['version']).error === undefined;
const skip = has('openssl') ? false : 'openssl is not installed';
const folder = mkdtempSync(join(tmpdir(), 'vring-vnc-tls-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const directory = skip ? '' : makeCertificates(join(folder, 'tls'));
const host = new NodeBlockHost();

const screen = (): VncScreen => {
  const surface = new Surface();
  return {
    surface,
    refresh: () => {
      surface.resize(64, 48);
      surface.fill(0x123456);
    },
    leds: () => 0,
    key: () => {},
    move: () => {},
    isAbsolute: false,
    point: () => {},
    pointerChanges: 0,
    pointer: undefined,
    resize: undefined,
  };
};

async function bed(credentials: TlsCredentials, password?: string) {
  const acceptor = new NodeServerTls(credentials);
  const server = new VncServer({
    host: nodeVncHost,
    screen: screen(),
    name: 'inside',
    needsPassword: password !== undefined,
    tls: { kind: credentials.kind === 'anon' ? 'anon' : 'x509', accept: (stream) => acceptor.accept(stream) },
  });
  server.setPassword(password === undefined ? undefined : Buffer.from(password));
  const listen = (websocket: boolean) =>
    listenForVnc({ type: 'inet', host: '127.0.0.1', port: 0 }, (stream, onEntered) =>
      server.serve(stream, { onEntered, websocket }),
    );
  const [plain, web] = await Promise.all([listen(false), listen(true)]);
  const connect = async () => {
    const socket = net.connect(plain.port as number, '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    return new NodeByteStream(socket);
  };
  return {
    server,
    port: plain.port as number,
    webPort: web.port as number,
    connect,
    close: () => {
      server.close();
      plain.close();
      web.close();
    },
  };
}

const encryptBy = (options: tls.ConnectionOptions) => async (stream: ByteStream) => {
  const { socket } = stream as NodeByteStream;
  socket.removeAllListeners('readable');
  const secure = tls.connect({ ...options, socket, checkServerIdentity: () => undefined });
  await new Promise((resolve, reject) => {
    secure.once('secureConnect', resolve);
    secure.once('error', reject);
    secure.once('close', () => reject(new Error('closed')));
  });
  return new NodeByteStream(secure);
};

const pem = (name: string) => readFileSync(join(directory, name));

function response(password: string, challenge: Uint8Array): Buffer {
  const reverse = (byte: number) => Number.parseInt([...byte.toString(2).padStart(8, '0')].reverse().join(''), 2);
  const key = Buffer.from(Array.from({ length: 8 }, (_, i) => reverse(Buffer.from(password)[i] ?? 0)));
  const cipher = createCipheriv('des-ede3-ecb', Buffer.concat([key, key, key]), null).setAutoPadding(false);
  return Buffer.concat([cipher.update(challenge), cipher.final()]);
}

test('VeNCrypt with a certificate: what is shown is what the screen has, and without a password or with one', {
  skip,
}, async () => {
  for (const password of [undefined, 'geheim']) {
    const { connect, close } = await bed(await loadX509(host, directory, 'server', false), password);
    for (const version of ['003.008', '003.007']) {
      const client = new RfbClient(await connect());
      const kind = await client.handshake({
        version,
        encrypt: encryptBy({ ca: pem('ca-cert.pem') }),
        respond: (challenge) => response('geheim', challenge),
      });
      assert.equal(kind, password === undefined ? 260 : 261);
      assert.equal(client.name, 'inside');
      await client.setEncodings(0);
      await client.request(false);
      await client.update();
      assert.ok(client.pixels.every((pixel) => pixel === 0x123456));
      client.close();
    }
    if (password !== undefined) {
      const wrong = new RfbClient(await connect());
      const shaken = wrong.handshake({
        encrypt: encryptBy({ ca: pem('ca-cert.pem') }),
        respond: (challenge) => response('falsch', challenge),
      });
      await assert.rejects(shaken, /refused: Authentication failed/);
      wrong.close();
    }
    close();
  }
});

test('a client has to show a certificate where peers are verified', { skip }, async () => {
  const { connect, close, server } = await bed(await loadX509(host, directory, 'server', true));
  const good = new RfbClient(await connect());
  const [ca, cert, key] = ['ca-cert.pem', 'client-cert.pem', 'client-key.pem'].map(pem);
  assert.equal(await good.handshake({ encrypt: encryptBy({ ca, cert, key }) }), 260);
  const bad = new RfbClient(await connect());
  await assert.rejects(bad.handshake({ encrypt: encryptBy({ ca }) }));
  assert.equal(server.clientCount, 1);
  good.close();
  bad.close();
  close();
});

test('anonymous TLS, and clients that do not keep to VeNCrypt', { skip }, async () => {
  const { connect, close, server } = await bed({ kind: 'anon', endpoint: 'server' });
  const client = new RfbClient(await connect());
  const encrypt = encryptBy({ ciphers: 'ADH+AES:@SECLEVEL=0', maxVersion: 'TLSv1.2', rejectUnauthorized: false });
  assert.equal(await client.handshake({ encrypt }), 257);
  client.close();
  const ends = async (what: string, ...messages: readonly (readonly number[])[]) => {
    const stream = await connect();
    await stream.write(Buffer.from('RFB 003.008\n'));
    for (const message of messages) {
      await new Promise((resolve) => setTimeout(resolve, 30));
      await stream.write(Uint8Array.from(message)).catch(() => undefined);
    }
    let last = Buffer.alloc(0);
    for (;;) {
      const more = await stream.read(4096);
      if (more.length === 0) break;
      last = Buffer.concat([last, more]);
    }
    stream.destroy();
    assert.ok(last.length < 64, what);
    return last;
  };
  await ends('another kind of security', [1]);
  assert.equal((await ends('another version', [19], [0, 1])).at(-1), 255);
  assert.equal((await ends('another kind of VeNCrypt', [19], [0, 2], [0, 0, 1, 4])).at(-1), 0);
  await ends('TLS before it is agreed on', [19], [0, 2], [0, 0, 1, 1, 22, 3, 1, 0, 5]);
  await ends('no TLS at all', [19], [0, 2], [0, 0, 1, 1], new Array(64).fill(65));
  const old = await connect();
  await old.write(Buffer.from('RFB 003.003\n'));
  const said = new RfbClient(old);
  await said.read(12);
  assert.equal((await said.read(4)).readUInt32BE(), 0);
  assert.match((await said.read((await said.read(4)).readUInt32BE())).toString(), /TLS/);
  said.close();
  assert.equal(server.clientCount, 0);
  close();
});

test('a websocket is inside TLS from the start', { skip }, async () => {
  const { webPort, close } = await bed(await loadX509(host, directory, 'server', false));
  const secure = tls.connect({ port: webPort, host: '127.0.0.1', ca: pem('ca-cert.pem') });
  secure.write(
    'GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n\r\n',
  );
  let text = '';
  for await (const chunk of secure) {
    text += (chunk as Buffer).toString('latin1');
    if (text.includes('RFB 003.008')) break;
  }
  assert.match(text, /^HTTP\/1\.1 101 /);
  secure.destroy();
  close();
});

const hasGtk = spawnSync('gvnccapture', ['--help']).error === undefined;
test('gvnccapture comes in by anonymous TLS', {
  skip: skip || (hasGtk ? false : 'gvnccapture is not installed'),
}, async () => {
  const { port, close } = await bed({ kind: 'anon', endpoint: 'server' });
  const file = join(folder, 'shot.png');
  const child = spawn('gvnccapture', [`127.0.0.1:${port - 5900}`, file], { stdio: 'ignore' });
  const code = await new Promise((resolve) => child.once('close', resolve));
  assert.equal(code, 0);
  assert.deepEqual([...readFileSync(file).subarray(16, 24)], [0, 0, 0, 64, 0, 0, 0, 48]);
  close();
});
