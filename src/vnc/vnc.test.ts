/** The VNC server with a client of our own (`src/dev/rfb-client.ts`) at the other end, well-behaved and otherwise. */
import assert from 'node:assert/strict';
import { createCipheriv, createHash } from 'node:crypto';
import test from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import type { ByteStream } from '../block/host.js';
import { type ClientFormat, plainFormat, RfbClient } from '../dev/rfb-client.js';
import { Surface } from '../display/index.js';
import { nodeVncHost } from '../host/node/vnc-host.js';
import { seededRandom } from '../hw/testing.js';
import { streamPair } from '../nbd/testing/stream-pair.js';
import { type VncScreen, VncServer, type VncServerOptions } from './index.js';

type Event =
  | readonly ['key', code: number, down: boolean]
  | readonly ['move' | 'point', number, number, number, number]
  | readonly ['resize', number, number];

class TestScreen implements VncScreen {
  readonly surface = new Surface();
  readonly events: Event[] = [];
  ledBits = 0;
  draws = 0;
  /** What is drawn: 0xRRGGBB at a place. */
  picture: (x: number, y: number) => number = (x, y) => x * 0x010203 + y * 0x050301;
  width = 200;
  height = 100;
  refresh(): void {
    this.draws++;
    const { surface, width, height, picture } = this;
    surface.resize(width, height);
    for (let y = 0; y < height; y++)
      surface.putRow(
        y,
        Uint32Array.from({ length: width }, (_, x) => picture(x, y)),
      );
  }
  leds(): number {
    return this.ledBits;
  }
  key(code: number, down: boolean): void {
    this.events.push(['key', code, down]);
  }
  move(dx: number, dy: number, dz: number, buttons: number): void {
    // A negative zero is a zero.
    this.events.push(['move', dx + 0, dy + 0, dz + 0, buttons]);
  }
  isAbsolute = false;
  point(x: number, y: number, dz: number, buttons: number): void {
    this.events.push(['point', x, y, dz, buttons]);
  }
  pointerChanges = 0;
  pointer: VncScreen['pointer'];
  resize: VncScreen['resize'];
  take(): Event[] {
    return this.events.splice(0);
  }
}

interface Bed {
  readonly screen: TestScreen;
  readonly server: VncServer;
  connect(format?: ClientFormat): RfbClient;
  /** The raw stream of one more client, and the end of its service. */
  raw(websocket?: boolean): { readonly stream: ByteStream; readonly served: Promise<void> };
}

function bed(options: Partial<VncServerOptions> = {}): Bed {
  const screen = new TestScreen();
  const host = { ...nodeVncHost, after: (ms: number, work: () => void) => nodeVncHost.after(ms / 10, work) };
  const server = new VncServer({ host, screen, name: 'test', needsPassword: false, ...options });
  const raw = (websocket = false) => {
    const [ours, theirs] = streamPair();
    return { stream: ours, served: server.serve(theirs, { websocket }) };
  };
  return { screen, server, raw, connect: (format) => new RfbClient(raw().stream, format) };
}

const soon = async (done: () => boolean, what: string) => {
  for (let i = 0; i < 400 && !done(); i++) await wait(5);
  assert.ok(done(), what);
};

const formats: Readonly<Record<string, ClientFormat>> = {
  rgb888: plainFormat,
  'bgr888 big-endian': { bits: 32, depth: 24, bigEndian: true, max: [255, 255, 255], shift: [0, 8, 16] },
  'rgb888 in the upper bytes': { bits: 32, depth: 24, bigEndian: false, max: [255, 255, 255], shift: [24, 16, 8] },
  'rgb with ten bits': { bits: 32, depth: 30, bigEndian: false, max: [1023, 1023, 1023], shift: [20, 10, 0] },
  rgb565: { bits: 16, depth: 16, bigEndian: false, max: [31, 63, 31], shift: [11, 5, 0] },
  'rgb555 big-endian': { bits: 16, depth: 15, bigEndian: true, max: [31, 31, 31], shift: [10, 5, 0] },
  bgr233: { bits: 8, depth: 8, bigEndian: false, max: [7, 7, 3], shift: [0, 3, 6] },
};

function expected({ max, shift }: ClientFormat, rgb: number): number {
  let value = 0;
  [rgb >> 16, (rgb >> 8) & 255, rgb & 255].forEach((part, i) => {
    const bits = Math.log2(max[i] + 1);
    const scaled = bits <= 8 ? (part & 255) >> (8 - bits) : Math.round(((part & 255) * max[i]) / 255);
    value += scaled * 2 ** shift[i];
  });
  return value;
}

const random = seededRandom(41);
const noise = Uint32Array.from({ length: 200 * 100 }, () => random(1 << 24));
const pictures: Readonly<Record<string, (x: number, y: number) => number>> = {
  'one colour': () => 0x336699,
  'two colours': (x, y) => ((x * 7 + y * 3) % 11 < 3 ? 0xffffff : 0x000080),
  'letters of few colours': (x, y) => [0, 0, 0, 0xaaaaaa, 0xff5555, 0, 0x55ff55][(((x >> 1) * (y >> 2)) % 13) % 7],
  'long runs': (x, y) => ((y * 200 + x) % 331 < 300 ? (y >> 3) * 0x030507 : x * 0x010101),
  gradient: (x, y) => (x & 255) * 0x010000 + (y & 255) * 0x000100 + ((x + y) & 255),
  noise: (x, y) => noise[y * 200 + x],
};

for (const [code, name] of [
  [0, 'raw'],
  [5, 'hextile'],
  [6, 'zlib'],
  [7, 'tight'],
  [16, 'zrle'],
] as const) {
  test(`${name}: every picture arrives in every pixel format`, async () => {
    for (const [formatName, format] of Object.entries(formats)) {
      const { screen, connect } = bed();
      const client = connect(format);
      await client.handshake();
      await client.setFormat();
      await client.setEncodings(code, -254);
      // The streams go on from one picture to the next.
      for (const [pictureName, picture] of Object.entries(pictures)) {
        screen.picture = picture;
        screen.refresh();
        await client.request(false);
        const received = await client.update();
        assert.ok(received.every(({ encoding }) => encoding === code));
        for (let y = 0; y < 100; y++) {
          for (let x = 0; x < 200; x++) {
            const want = expected(format, picture(x, y) & 0xffffff);
            if (client.pixels[y * 200 + x] !== want)
              assert.fail(`${pictureName}, ${formatName}: ${x},${y} is ${client.pixels[y * 200 + x]}, not ${want}`);
          }
        }
      }
      client.close();
    }
  });
}

test('colour maps are told before the first pixel', async () => {
  const { screen, connect } = bed();
  screen.picture = () => 0xff0000;
  const client = connect({ bits: 8, depth: 8, bigEndian: false, max: [7, 7, 3], shift: [0, 3, 6] });
  await client.handshake();
  await client.write([0, 0, 0, 0, 8, 8, 0, 0, ...new Array(12).fill(0)]);
  await client.request(false);
  const head = await client.read(6);
  assert.deepEqual([...head], [1, 0, 0, 0, 1, 0]);
  const entries = await client.read(256 * 6);
  await client.update();
  const at = client.pixels[0] * 6;
  assert.deepEqual(
    [0, 2, 4].map((part) => entries.readUInt16BE(at + part)),
    [0xffff, 0, 0],
  );
  client.close();
});

test('only what has changed is sent, once, and only when asked for', async () => {
  const { screen, connect } = bed();
  const client = connect();
  await client.handshake();
  await client.request(true);
  const whole = await client.update();
  assert.equal(
    whole.reduce((sum, { width, height }) => sum + width * height, 0),
    200 * 100,
  );
  await client.request(true);
  const { picture } = screen;
  screen.picture = (x, y) => (x === 50 && y === 40 ? 0xabcdef : picture(x, y));
  assert.deepEqual(await client.update(), [{ encoding: 0, x: 48, y: 32, width: 16, height: 16 }]);
  assert.equal(client.pixels[40 * 200 + 50], 0xabcdef);
  // Nobody waits: nothing is drawn.
  await wait(20);
  const { draws } = screen;
  await wait(60);
  assert.equal(screen.draws, draws);
  // A client that waits for what does not come is looked after, ever seldomer.
  await client.request(true, 0, 0, 10, 10);
  await wait(300);
  assert.ok(screen.draws - draws < 60, `${screen.draws - draws} times in 300 ms`);
  client.close();
});

test('versions 3.3, 3.7 and 3.8, and what is no version', async () => {
  for (const version of ['003.003', '003.005', '003.007', '003.008']) {
    const { connect, screen } = bed();
    const client = connect();
    assert.equal(await client.handshake({ version }), 1);
    assert.deepEqual([client.width, client.height, client.name], [screen.width, screen.height, 'test']);
    client.close();
  }
  const { raw } = bed();
  const { stream, served } = raw();
  await stream.write(new TextEncoder().encode('GET / HTTP/1.'));
  await served;
});

/** VNC's response as OpenSSL computes it: DES with the key's bits turned round. */
function response(password: string, challenge: Buffer): Buffer {
  const key = Buffer.alloc(8);
  Buffer.from(password, 'latin1').copy(key, 0, 0, 8);
  for (let i = 0; i < 8; i++) key[i] = Number.parseInt([...key[i].toString(2).padStart(8, '0')].reverse().join(''), 2);
  const cipher = createCipheriv('des-ede3-ecb', Buffer.concat([key, key, key]), null).setAutoPadding(false);
  return Buffer.concat([cipher.update(challenge), cipher.final()]);
}

test('a password: the right one, a wrong one, none set; the example of FIPS 81', async () => {
  const { server, connect } = bed({ needsPassword: true });
  await assert.rejects(connect().handshake({ respond: (c) => response('', c) }), /refused: Authentication failed/);
  server.setPassword(new TextEncoder().encode('geheimnis'));
  for (const version of ['003.003', '003.007', '003.008']) {
    const client = connect();
    assert.equal(await client.handshake({ version, respond: (c) => response('geheimni', c) }), 2);
    client.close();
    await assert.rejects(connect().handshake({ version, respond: (c) => response('falsch', c) }), /refused/);
  }
  const challenges = new Set<string>();
  const wrong = (challenge: Buffer) => {
    challenges.add(challenge.toString('hex'));
    return Buffer.alloc(16);
  };
  for (let i = 0; i < 3; i++) await assert.rejects(connect().handshake({ respond: wrong }));
  assert.equal(challenges.size, 3);
  const key = Buffer.from('0123456789abcdef', 'hex');
  const text = Buffer.from('Now is the time for all ', 'latin1');
  assert.equal(
    Buffer.from(nodeVncHost.desEncrypt(key, text)).toString('hex'),
    '3fa40e8a984d48156a271787ab8883f9893d51ec4b563b53',
  );
});

test('a new size: told in either way, or kept from those who know neither', async () => {
  for (const code of [-223, -308]) {
    const { screen, connect } = bed();
    const client = connect();
    await client.handshake();
    await client.setEncodings(0, code);
    await client.request(true);
    await client.update();
    screen.width = 320;
    screen.height = 240;
    await client.request(true);
    const [told] = await client.update();
    assert.deepEqual([told.encoding, told.width, told.height], [code, 320, 240]);
    if (code === -308) assert.deepEqual([...told.content!.subarray(4)], [0, 0, 0, 0, 1, 64, 0, 240, 0, 0, 0, 0]);
    await client.request(true);
    await client.update();
    assert.equal(client.pixels[239 * 320 + 319], screen.picture(319, 239) & 0xffffff);
    if (code === -308) {
      // A client's own wish is refused: reason 1, status 1.
      await client.write([251, 0, 1, 0, 1, 0, 1, 0, ...new Array(16).fill(0)]);
      await client.request(true);
      const [refused] = await client.update();
      assert.deepEqual([refused.x, refused.y, refused.width], [1, 1, 320]);
    }
    client.close();
  }
  // Between what a client says it can and its first request.
  const other = bed();
  const late = other.connect();
  await late.handshake();
  await late.setEncodings(0, -308);
  await wait(20);
  other.screen.width = 640;
  for (let i = 0; i < 4; i++) {
    await late.request(i > 0);
    await late.update();
    other.screen.picture = () => i;
    assert.equal(late.width, 640);
  }
  late.close();
  const { screen, connect } = bed();
  const client = connect();
  await client.handshake();
  await client.request(true);
  await client.update();
  screen.width = 320;
  screen.height = 50;
  await client.request(true);
  await client.update();
  assert.equal(client.pixels[49 * 200 + 199], screen.picture(199, 49) & 0xffffff);
  client.close();
});

test('keysyms become keys, with shift held or let go where the guest needs it', async () => {
  const { screen, connect } = bed();
  const client = connect();
  await client.handshake();
  const keys = async (...presses: (readonly [number, boolean])[]) => {
    for (const [keysym, down] of presses) await client.key(keysym, down);
    await soon(() => screen.events.length > 0, 'keys arrive');
    await wait(10);
    return screen.take().map(([, code, down]) => `${down ? '+' : '-'}${Number(code).toString(16)}`);
  };
  const tap = (keysym: number) => [[keysym, true] as const, [keysym, false] as const];
  assert.deepEqual(await keys(...tap(0x61)), ['+1e', '-1e']);
  assert.deepEqual(await keys(...tap(0x41)), ['+2a', '+1e', '-2a', '-1e'], 'A by itself');
  assert.deepEqual(await keys([0xffe1, true], ...tap(0x41), [0xffe1, false]), ['+2a', '+1e', '-1e', '-2a']);
  assert.deepEqual(await keys([0xffe1, true], ...tap(0x2f), [0xffe1, false]), [
    '+2a',
    '-2a',
    '+35',
    '+2a',
    '-35',
    '-2a',
  ]);
  assert.deepEqual(await keys(...tap(0x7c)), ['+2a', '+2b', '-2a', '-2b']);
  assert.deepEqual(await keys(...tap(0xff0d), ...tap(0xff51), ...tap(0xffc9)), [
    '+1c',
    '-1c',
    '+e04b',
    '-e04b',
    '+58',
    '-58',
  ]);
  assert.deepEqual(await keys(...tap(0xffb4)), ['+45', '-45', '+4b', '-4b'], 'a digit of the keypad needs NumLock');
  screen.ledBits = 2 | 4;
  assert.deepEqual(await keys(...tap(0xffb4)), ['+4b', '-4b']);
  assert.deepEqual(await keys(...tap(0x61)), ['+2a', '+1e', '-2a', '-1e'], 'the guest has caps lock on');
  assert.deepEqual(await keys(...tap(0x41)), ['+1e', '-1e']);
  // Scan codes as they are; 0 means that the keysym counts.
  await client.scanCode(0x7a, 0x15, true);
  await client.scanCode(0x7a, 0x15, false);
  await client.scanCode(0xff8d, 0x9c, true);
  await client.scanCode(0x61, 0, true);
  await soon(() => screen.events.length === 6, 'scan codes arrive');
  assert.deepEqual(
    screen.take().map(([, code]) => code),
    [0x15, 0x15, 0xe01c, 0x2a, 0x1e, 0x2a],
  );
  // What was held is let go when the client has gone.
  client.close();
  await soon(() => screen.events.length >= 2, 'keys are let go');
  assert.deepEqual(
    screen
      .take()
      .slice(-2)
      .map(([, code, down]) => [code, down]),
    [
      [0xe01c, false],
      [0x1e, false],
    ],
  );
});

test('the pointer: by its place, by steps where the client can, with buttons and wheel', async () => {
  const { screen, connect } = bed();
  const client = connect();
  await client.handshake();
  await client.pointer(0, 100, 50);
  await client.pointer(1, 110, 45);
  await client.pointer(4, 110, 45);
  await client.pointer(8, 110, 45);
  await client.pointer(16, 110, 45);
  await soon(() => screen.events.length === 5, 'the pointer moves');
  assert.deepEqual(screen.take(), [
    ['move', 0, 0, 0, 0],
    ['move', 10, 5, 0, 1],
    ['move', 0, 0, 0, 2],
    ['move', 0, 0, 1, 0],
    ['move', 0, 0, -1, 0],
  ]);
  await client.setEncodings(0, -257, -258, -261);
  screen.ledBits = 5;
  await client.request(true);
  const told = await client.update();
  assert.deepEqual(
    told.filter(({ encoding }) => encoding < 0).map(({ encoding, x, content }) => [encoding, x, content?.[0]]),
    [
      [-258, 0, undefined],
      [-257, 0, undefined],
      [-261, 0, 5],
    ],
  );
  await client.pointer(2, 0x7fff - 3, 0x7fff + 8);
  await soon(() => screen.events.length === 1, 'the pointer steps');
  assert.deepEqual(screen.take(), [['move', -3, -8, 0, 4]]);
  client.close();
  await soon(() => screen.events.length === 1, 'buttons are let go');
  assert.deepEqual(screen.take(), [['move', 0, 0, 0, 0]]);
});

test('a client that wants the screen for itself', async () => {
  const { connect, server } = bed();
  const first = connect();
  await first.handshake();
  const second = connect();
  await second.handshake();
  assert.equal(server.clientCount, 2);
  const third = connect();
  await third.handshake({ shared: false });
  await soon(() => server.clientCount === 1, 'the others have gone');
  await assert.rejects(first.read(1));
  third.close();
});

const inside = [...new TextEncoder().encode('RFB 003.008\n'), 1, 1];
const lies: Readonly<Record<string, readonly number[]>> = {
  'text of two gigabytes': [6, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff],
  'text of the extended clipboard, which is not offered': [6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc, 1, 0, 0, 0],
  'more encodings than there are': [2, 0, 0xff, 0xff],
  'pixels of 24 bits': [0, 0, 0, 0, 24, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0],
  'colours beyond the pixel': [0, 0, 0, 0, 16, 16, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0],
  'a greatest colour that is no mask': [0, 0, 0, 0, 32, 24, 0, 1, 0, 100, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0],
  'a message that is none': [77],
  'another message of QEMU': [255, 1, 0, 0],
};

test('clients that lie are let go, and others see the screen all the same', async () => {
  const { raw, connect, server } = bed();
  for (const [name, message] of Object.entries(lies)) {
    const { stream, served } = raw();
    await stream.write(Uint8Array.from([...inside, ...message]));
    const late = wait(2000, 'late', { ref: false });
    assert.notEqual(await Promise.race([served, late]), 'late', name);
  }
  const { stream } = raw();
  await stream.write(new TextEncoder().encode('RFB 003.008\n'));
  // Text within bounds is dropped as it comes.
  const polite = connect();
  await polite.handshake();
  await polite.write([6, 0, 0, 0, 0, 1, 0, 0, ...new Array(65536).fill(65)]);
  await polite.request(false);
  assert.ok((await polite.update()).length > 0);
  polite.close();
  stream.destroy();
  await soon(() => server.clientCount === 0, 'nobody is left');
});

test('random bytes, at every stage of the protocol', async () => {
  const { raw, connect, server } = bed();
  const next = seededRandom(7);
  for (let round = 0; round < 200; round++) {
    const { stream, served } = raw();
    if (round % 4 !== 0) await stream.write(Uint8Array.from(inside.slice(0, 12 + next(3))));
    const bytes = Uint8Array.from({ length: 1 + next(300) }, () => (next(3) === 0 ? next(8) : next(256)));
    await stream.write(bytes).catch(() => {});
    await wait(round % 20 === 0 ? 10 : 0);
    stream.destroy();
    await served;
  }
  assert.equal(server.clientCount, 0);
  const client = connect();
  await client.handshake();
  await client.request(false);
  await client.update();
  client.close();
});

test('a client that asks and does not read holds no more than one update', async () => {
  const { screen, server } = bed();
  let [written, stuck] = [0, false];
  // Takes the handshake, and then nothing more.
  const [ours, theirs] = streamPair();
  const slow: ByteStream = {
    read: (limit) => theirs.read(limit),
    write: async (...parts) => {
      if (stuck) await new Promise(() => {});
      written += parts.reduce((sum, part) => sum + part.length, 0);
      await theirs.write(...parts);
    },
    end: () => theirs.end(),
    destroy: () => theirs.destroy(),
  };
  void server.serve(slow);
  const client = new RfbClient(ours);
  await client.handshake();
  stuck = true;
  const before = written;
  for (let i = 0; i < 500; i++) {
    screen.picture = () => i;
    await client.setEncodings(0, ...(i % 2 === 0 ? [-308, -257, -258] : []));
    await client.request(false);
    await client.write([251, 0, 1, 0, 1, 0, 1, 0, ...new Array(16).fill(0)]);
  }
  await wait(50);
  assert.equal(written, before);
  assert.ok(screen.draws < 100, `${screen.draws} pictures were drawn for nobody`);
  client.close();
});

const socketKey = 'dGhlIHNhbXBsZSBub25jZQ==';
const upgrade = (more = '') =>
  `GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n${more}\r\n`;

/** Text and binary frames of a client. */
function frame(kind: number, content: Uint8Array, { final = true, masked = true } = {}): Buffer {
  const mask = Buffer.of(1, 2, 3, 4);
  const { length } = content;
  const head = length < 126 ? [length] : [126, length >> 8, length & 255];
  head[0] |= masked ? 0x80 : 0;
  const body = masked ? Buffer.from(content.map((byte, i) => byte ^ mask[i & 3])) : Buffer.from(content);
  return Buffer.concat([Buffer.of((final ? 0x80 : 0) | kind, ...head), masked ? mask : Buffer.alloc(0), body]);
}

test('a websocket: the answer of RFC 6455, frames in pieces, ping and close', async () => {
  const { raw } = bed();
  const { stream, served } = raw(true);
  const client = new RfbClient(stream);
  await client.write(
    Buffer.from(upgrade(`Sec-WebSocket-Key: ${socketKey}\r\nSec-WebSocket-Protocol: chat, binary\r\n`)),
  );
  let head = '';
  while (!head.endsWith('\r\n\r\n')) head += (await client.read(1)).toString('latin1');
  assert.match(head, /^HTTP\/1\.1 101 /);
  assert.match(head, /Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/);
  assert.match(head, /Sec-WebSocket-Protocol: binary\r\n/);
  const sha1 = createHash('sha1').update(`${socketKey}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  assert.ok(head.includes(sha1));
  const next = async () => {
    const [kind, short] = await client.read(2);
    const length =
      short === 126
        ? (await client.read(2)).readUInt16BE()
        : short === 127
          ? (await client.read(8)).readUInt32BE(4)
          : short;
    return { kind: kind & 15, content: await client.read(length) };
  };
  assert.equal((await next()).content.toString(), 'RFB 003.008\n');
  await client.write(frame(2, Buffer.from('RFB 00'), { final: false }));
  await client.write(frame(9, Buffer.from('ping')));
  await client.write(frame(0, Buffer.from('3.008\n')));
  assert.deepEqual(await next(), { kind: 10, content: Buffer.from('ping') });
  assert.deepEqual([...(await next()).content], [1, 1]);
  await client.write(frame(2, Buffer.of(1, 1)));
  assert.deepEqual([...(await next()).content], [0, 0, 0, 0]);
  const init = (await next()).content;
  assert.deepEqual([init.readUInt16BE(0), init.readUInt16BE(2)], [200, 100]);
  await client.write(frame(8, Buffer.of(3, 232)));
  assert.deepEqual(await next(), { kind: 8, content: Buffer.of(3, 232) });
  await served;
});

test('what is no websocket is refused, and frames that break the rules end it', async () => {
  const requests = [
    'GET / HTTP/1.1\r\n\r\n',
    upgrade(),
    upgrade('Sec-WebSocket-Key: short\r\n'),
    `${'x'.repeat(5000)}`,
    'POST / HTTP/1.1\r\n\r\n',
  ];
  for (const request of requests) {
    const { raw } = bed();
    const { stream, served } = raw(true);
    const client = new RfbClient(stream);
    await client.write(Buffer.from(request));
    assert.equal((await client.read(12)).toString('latin1'), 'HTTP/1.1 400');
    await served;
  }
  for (const bad of [
    frame(2, Buffer.from('RFB 003.008\n'), { masked: false }),
    frame(1, Buffer.from('RFB 003.008\n')),
    Buffer.concat([Buffer.of(0x89, 0xfe, 1, 0, 1, 2, 3, 4), Buffer.alloc(256)]),
    Buffer.of(0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0),
    Buffer.of(0xc2, 0x80, 0, 0, 0, 0),
  ]) {
    const { raw } = bed();
    const { stream, served } = raw(true);
    await stream.write(Buffer.from(upgrade(`Sec-WebSocket-Key: ${socketKey}\r\n`)));
    await stream.write(bad);
    const late = wait(2000, 'late', { ref: false });
    assert.notEqual(await Promise.race([served, late]), 'late', bad.toString('hex'));
  }
});

test('a guest that takes places of the pointer is given them, and the client is told which it takes', async () => {
  const { screen, connect } = bed();
  const client = connect();
  await client.handshake();
  await client.setEncodings(0, -257);
  await client.request(true);
  assert.equal((await client.update()).find(({ encoding }) => encoding === -257)?.x, 0);
  screen.isAbsolute = true;
  await client.request(true);
  assert.equal((await client.update()).find(({ encoding }) => encoding === -257)?.x, 1);
  screen.take();
  await client.pointer(1, 0, 0);
  await client.pointer(1 | 8, 199, 99);
  await client.pointer(4, 60000, 0);
  await soon(() => screen.events.length === 3, 'three places');
  assert.deepEqual(screen.take(), [
    ['point', 0, 0, 0, 1],
    ['point', 1, 1, 1, 1],
    ['point', 1, 0, 0, 2],
  ]);
  client.close();
});

test("the guest's pointer, with alpha or with a mask, in the client's format; and none", async () => {
  const pixels = Uint32Array.from({ length: 64 * 64 }, (_, at) => (at % 3 === 0 ? 0xff102030 + at : 0));
  for (const code of [-239, -314]) {
    const { screen, connect } = bed();
    const client = connect();
    await client.handshake();
    await client.setEncodings(0, code);
    await client.request(true);
    assert.ok(
      (await client.update()).every(({ encoding }) => encoding !== code),
      'none so far',
    );
    screen.pointer = { pixels, hotX: 5, hotY: 6 };
    screen.pointerChanges++;
    await client.request(true);
    const told = (await client.update()).find(({ encoding }) => encoding === code);
    assert.deepEqual([told?.x, told?.y, told?.width, told?.height], [5, 6, 64, 64]);
    const content = told?.content as Buffer;
    pixels.forEach((pixel, at) => {
      if (code === -314) assert.equal(content.readUInt32BE(at * 4), ((pixel << 8) | (pixel >>> 24)) >>> 0);
      else {
        assert.equal(content.readUInt32LE(at * 4), pixel & 0xffffff);
        assert.equal((content[64 * 64 * 4 + (at >> 3)] >> (7 - (at & 7))) & 1, at % 3 === 0 ? 1 : 0);
      }
    });
    screen.pointer = undefined;
    screen.pointerChanges++;
    await client.request(true);
    const gone = (await client.update()).find(({ encoding }) => encoding === code);
    assert.deepEqual([gone?.width, gone?.height], [0, 0]);
    client.close();
  }
});

test('a size that a client asks for is passed on where the guest can be asked', async () => {
  const { screen, connect } = bed();
  screen.resize = (width, height) => void screen.events.push(['resize', width, height]);
  const client = connect();
  await client.handshake();
  await client.setEncodings(0, -308);
  await client.request(true);
  await client.update();
  await client.write([251, 0, 4, 0, 3, 0, 1, 0, ...new Array(16).fill(0)]);
  await client.request(true);
  const answer = (await client.update()).find(({ encoding, x }) => encoding === -308 && x === 1);
  assert.deepEqual([answer?.y, answer?.width, answer?.height], [4, 200, 100]);
  assert.deepEqual(screen.take(), [['resize', 1024, 768]]);
  client.close();
});
