/** Linux (Debian's kernel) on a tap device of the host's: ping and TCP both ways, several queues, a change of their number. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as net from 'node:net';
import { type TestContext, test } from 'node:test';
import { openDebian, VringError } from './index.js';

const limitMs = 300_000;
const hostAddress = '203.0.113.1';
const guestAddress = '203.0.113.2';

/** A program of a few system calls that does what `ethtool -L eth0 combined N` does; ends with the error's number. */
function setChannels(count: number): string {
  const base = 0x400000;
  const codeAt = 120;
  const dataAt = 184;
  const program = new DataView(new ArrayBuffer(dataAt + 40 + 36));
  const bytes = new Uint8Array(program.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  program.setUint16(16, 2, true);
  program.setUint16(18, 62, true);
  program.setUint32(20, 1, true);
  program.setUint32(24, base + codeAt, true);
  program.setUint32(32, 64, true);
  program.setUint16(52, 64, true);
  program.setUint16(54, 56, true);
  program.setUint16(56, 1, true);
  // One segment: the whole file, read, written and run.
  program.setUint32(64, 1, true);
  program.setUint32(68, 7, true);
  for (const at of [80, 88]) program.setUint32(at, base, true);
  for (const at of [96, 104]) program.setUint32(at, bytes.length, true);
  program.setUint32(112, 4096, true);
  const u32 = (value: number) => [value & 255, (value >> 8) & 255, (value >> 16) & 255, value >>> 24];
  bytes.set(
    [
      // socket(AF_INET, SOCK_DGRAM, 0)
      ...[0xb8, ...u32(41), 0xbf, ...u32(2), 0xbe, ...u32(2), 0x31, 0xd2, 0x0f, 0x05],
      // ioctl(it, SIOCETHTOOL, request)
      ...[0x89, 0xc7, 0xb8, ...u32(16), 0xbe, ...u32(0x8946), 0xba, ...u32(base + dataAt), 0x0f, 0x05],
      // exit(-result)
      ...[0xf7, 0xd8, 0x89, 0xc7, 0xb8, ...u32(60), 0x0f, 0x05],
    ],
    codeAt,
  );
  bytes.set(new TextEncoder().encode('eth0'), dataAt);
  program.setUint32(dataAt + 16, base + dataAt + 40, true);
  // ETHTOOL_SCHANNELS, and its last field.
  program.setUint32(dataAt + 40, 0x3d, true);
  program.setUint32(dataAt + 40 + 32, count, true);
  return Buffer.from(bytes).toString('base64');
}

const ip = (...words: string[]) => spawnSync('ip', words, { encoding: 'utf8' });

/** An interface with an address, for this test alone; undefined: there is none to be had. */
function makeInterface(t: TestContext, name: string, isMulti: boolean): boolean {
  const made = ip('tuntap', 'add', 'dev', name, 'mode', 'tap', ...(isMulti ? ['multi_queue', 'vnet_hdr'] : []));
  if (made.error || made.status !== 0) {
    t.skip(`no tap device can be made here: ${made.error?.message ?? made.stderr.trim()}`);
    return false;
  }
  t.after(() => ip('link', 'del', name));
  assert.equal(ip('addr', 'add', `${hostAddress}/24`, 'dev', name).status, 0);
  assert.equal(ip('link', 'set', name, 'up').status, 0);
  return true;
}

/** Frames of an interface, by its queues in /proc: total packets. */
const received = (name: string) => Number(readFileSync(`/sys/class/net/${name}/statistics/rx_packets`, 'latin1'));

for (const { type, queues, flavour, mebibytes } of [
  { type: 'virtio-net', queues: 2, flavour: undefined, mebibytes: 32 },
  { type: 'e1000', queues: 1, flavour: 'amd64', mebibytes: 8 },
] as const)
  test(`${type} on a tap device: ping, ${mebibytes} MiB each way`, { timeout: limitMs }, async (t) => {
    const name = `vrl${process.pid % 10000}${queues}`;
    if (!makeInterface(t, name, queues > 1)) return;
    const bytes = randomBytes(mebibytes << 20);
    const hash = createHash('sha256').update(bytes).digest('hex');
    const back = createHash('sha256');
    const giver = net.createServer((socket) => void socket.end(bytes));
    const taker = net.createServer((socket) => void socket.on('data', (piece) => back.update(piece)));
    for (const server of [giver, taker]) {
      server.listen(0, hostAddress);
      await once(server, 'listening');
      t.after(() => server.close());
    }
    const [inPort, outPort] = [giver, taker].map((server) => (server.address() as net.AddressInfo).port);
    const channels = (count: number) =>
      `echo ${setChannels(count)} | base64 -d > /tmp/channels; chmod +x /tmp/channels; /tmp/channels; echo "channels ${count}: $?"`;
    const script = [
      `ip link set eth0 up; ip addr add ${guestAddress}/24 dev eth0; mkdir -p /tmp`,
      'echo queues $(ls /sys/class/net/eth0/queues)',
      `busybox ping -c 3 -w 60 ${hostAddress}`,
      `busybox nc ${hostAddress} ${inPort} < /dev/null > /tmp/blob; sha256sum < /tmp/blob`,
      ...(queues > 1 ? [channels(1), `busybox ping -c 1 -w 60 ${hostAddress}`, channels(2), channels(3)] : []),
      `busybox nc ${hostAddress} ${outPort} < /tmp/blob`,
      // The host asks, too.
      'echo ready; busybox nc -l -p 7 -e busybox cat; echo done',
    ].join('\n');
    let session: Awaited<ReturnType<typeof openDebian>>;
    try {
      session = await openDebian({
        flavour,
        command: ['sh', '-c', script],
        machine: {
          cpus: queues,
          networks: [{ id: 'n', kind: 'tap', ifname: name, queues }],
          devices: [
            type === 'virtio-net' ? { type, network: 'n', features: { multiQueue: true } } : { type, network: 'n' },
          ],
        },
      });
    } catch (error) {
      if (error instanceof VringError && /^(network|offline|mirror|http)-/.test(error.code))
        return t.skip(error.message);
      throw error;
    }
    await using running = session;
    const out = running.stream('stdout');
    let text = '';
    out.onData((piece) => {
      text += Buffer.from(piece).toString('latin1');
    });
    await running.start();
    await out.waitForText('ready', { timeoutMs: 200_000 });
    // A connection from the host to the guest, and its words back.
    const heard = await new Promise<string>((resolve, reject) => {
      const attempt = () => {
        const socket = net.connect(7, guestAddress);
        let answer = '';
        socket.on('connect', () => socket.write('from the host'));
        socket.on('data', (piece) => {
          answer += piece;
          if (answer === 'from the host') socket.end();
        });
        socket.on('error', (error) => {
          if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') setTimeout(attempt, 200);
          else reject(error);
        });
        socket.on('close', (failed) => failed || resolve(answer));
      };
      attempt();
    });
    assert.equal(heard, 'from the host');
    assert.equal(await running.exited, 0, text);
    assert.match(text, /3 packets received/);
    assert.ok(text.includes(hash), text);
    assert.equal(back.digest('hex'), hash);
    assert.ok(received(name) > 0);
    if (queues === 1) return;
    assert.match(text, /^queues rx-0 rx-1 tx-0 tx-1$/m);
    assert.match(text, /^channels 1: 0$[\s\S]*1 packets received[\s\S]*^channels 2: 0$/m);
    // More than there are: EINVAL.
    assert.match(text, /^channels 3: 22$/m);
  });
