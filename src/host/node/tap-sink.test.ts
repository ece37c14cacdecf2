/** Tap networks between this process and the host's own network: ARP and ICMP answered by the kernel. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { VringError } from '../../base/index.js';
import { type FrameOffload, type FrameSink, type GuestLink, noOffload, takes } from '../../net/index.js';
import { loadPosix } from './posix.js';
import { TapDevice } from './tap-device.js';
import { openTapSink, type TapBackend } from './tap-sink.js';

const SIOCSIFFLAGS = 0x8914;
const SIOCSIFADDR = 0x8916;
const AF_INET = 2;
const UP = 1;
const guestMac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
/** From the block for documentation: nobody's network. */
const [hostIp, guestIp] = [
  [203, 0, 113, 1],
  [203, 0, 113, 2],
];

/** Waits for a condition, not for a time. */
async function until<T>(condition: () => T | undefined, what: string): Promise<T> {
  for (const end = Date.now() + 60_000; Date.now() < end; ) {
    const found = condition();
    if (found !== undefined) return found;
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
  throw new Error(`${what} has not come`);
}

class Link implements GuestLink {
  takes = 0;
  readonly idle = true;
  readonly frames: { bytes: Uint8Array; offload: FrameOffload | undefined; queue: number | undefined }[] = [];
  hasRoom = true;
  refused = 0;
  #reserved = new Uint8Array(0);
  reserve(length: number): Uint8Array | undefined {
    if (!this.hasRoom) {
      this.refused++;
      return undefined;
    }
    this.#reserved = new Uint8Array(length);
    return this.#reserved;
  }
  commit(offload?: FrameOffload, queue?: number): void {
    this.frames.push({ bytes: this.#reserved, offload: offload && { ...offload }, queue });
  }
}

/** Gives the interface an address, and switches it on. */
function bringUp(name: string): void {
  const posix = loadPosix();
  assert.ok(posix);
  const socket = posix.socket(AF_INET, 2, 0);
  const request = new Uint8Array(40);
  request.set(new TextEncoder().encode(name));
  request.set([AF_INET, 0, 0, 0, ...(hostIp as number[])], 16);
  assert.equal(posix.ioctl(socket, SIOCSIFADDR, request), 0, 'address');
  request.fill(0, 16);
  request[16] = UP;
  assert.equal(posix.ioctl(socket, SIOCSIFFLAGS, request), 0, 'flags');
}

/** Skips by name where this process may make no interfaces. */
function mayUseTap(t: TestContext): boolean {
  if (!loadPosix()) {
    t.skip('koffi is not installed');
    return false;
  }
  try {
    TapDevice.open({ ifname: 'vrt%d' }).close();
    return true;
  } catch (error) {
    assert.ok(error instanceof VringError && error.code === 'network-tap', String(error));
    t.skip(error.message);
    return false;
  }
}

function open(link: Link, more: Partial<TapBackend> = {}): { sink: FrameSink; name: string } {
  const before = new Set(interfaces());
  const sink = openTapSink({ ifname: 'vrt%d', ...more }, link, () => {});
  const name = interfaces().find((each) => !before.has(each) && each.startsWith('vrt'));
  assert.ok(name);
  bringUp(name);
  return { sink, name };
}

const interfaces = () =>
  [...readFileSync('/proc/net/dev', 'latin1').matchAll(/^ *([^ :]+):/gm)].map(([, name]) => name as string);

const arpRequest = () =>
  Uint8Array.of(
    ...[255, 255, 255, 255, 255, 255, ...guestMac, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
    ...[...guestMac, ...(guestIp as number[]), 0, 0, 0, 0, 0, 0, ...(hostIp as number[])],
  );
const arpReply = (link: Link) =>
  link.frames.find(
    ({ bytes }) =>
      bytes[12] === 8 && bytes[13] === 6 && bytes[21] === 2 && bytes.subarray(0, 6).every((b, i) => b === guestMac[i]),
  );

/** An echo request, its ICMP checksum left to the other side where `offload` says so. */
function echo(hostMac: Uint8Array, isLeft: boolean): { frame: Uint8Array; offload: FrameOffload } {
  const frame = new Uint8Array(14 + 20 + 8 + 32);
  frame.set([...hostMac, ...guestMac, 8, 0, 0x45, 0, 0, 60, 0, 1, 0, 0, 64, 1, 0, 0]);
  frame.set([...(guestIp as number[]), ...(hostIp as number[])], 26);
  const put = (at: number, from: number, to: number) => {
    let sum = 0;
    for (let i = from; i < to; i += 2) sum += ((frame[i] as number) << 8) | (frame[i + 1] as number);
    sum = (sum & 0xffff) + (sum >>> 16);
    frame[at] = (~sum >>> 8) & 0xff;
    frame[at + 1] = ~sum & 0xff;
  };
  put(24, 14, 34);
  frame.set([8, 0, 0, 0, 0x12, 0x34, 0, 1], 34);
  const offload = noOffload();
  if (isLeft) Object.assign(offload, { flags: 1, checksumStart: 34, checksumOffset: 2 });
  else put(36, 34, frame.length);
  return { frame, offload };
}

for (const vnetHeader of [true, false])
  test(`tap ${vnetHeader ? 'with' : 'without'} header: the host answers ARP and an echo`, async (t) => {
    if (!mayUseTap(t)) return;
    const link = new Link();
    const { sink } = open(link, { vnetHeader });
    try {
      sink.receive(arpRequest(), noOffload(), 0);
      const reply = await until(() => arpReply(link), 'the answer to ARP');
      const hostMac = reply.bytes.slice(6, 12);
      for (const isLeft of [false, true]) {
        link.frames.length = 0;
        const { frame, offload } = echo(hostMac, isLeft);
        sink.receive(frame, offload, 0);
        const answer = await until(
          () =>
            link.frames.find(({ bytes }) => bytes[12] === 8 && bytes[13] === 0 && bytes[23] === 1 && bytes[34] === 0),
          'the answer to the echo',
        );
        assert.deepEqual([...answer.bytes.subarray(38, 42)], [0x12, 0x34, 0, 1]);
      }
      // Without room a frame waits, and comes when there is some.
      link.hasRoom = false;
      link.frames.length = 0;
      sink.receive(arpRequest(), noOffload(), 0);
      await until(() => (link.refused > 0 ? true : undefined), 'a frame');
      link.hasRoom = true;
      sink.linkReady();
      await until(() => arpReply(link), 'the frame that waited');
    } finally {
      await sink.close();
    }
  });

test('tap with several queues: frames come in those that are in use', async (t) => {
  if (!mayUseTap(t)) return;
  const link = new Link();
  const { sink, name } = open(link, { queues: 3 });
  try {
    sink.receive(arpRequest(), noOffload(), 0);
    await until(() => arpReply(link), 'the answer to ARP');
    sink.adapt?.(takes.checksum | takes.tcp4, 3);
    const seen = new Set<number | undefined>();
    // The system keeps to the queue in which it last saw a flow, and spreads others.
    await until(() => {
      for (const queue of [0, 1, 2]) sink.receive(arpRequest(), noOffload(), queue);
      for (const { queue } of link.frames) seen.add(queue);
      return link.frames.filter((frame) => frame.bytes[21] === 2).length > 3 || undefined;
    }, 'answers');
    assert.ok([...seen].every((queue) => queue !== undefined && queue < 3));
    sink.adapt?.(0, 1);
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    link.frames.length = 0;
    sink.receive(arpRequest(), noOffload(), 2);
    const reply = await until(() => arpReply(link), 'the answer in the queue that is left');
    assert.equal(reply.queue, 0);
  } finally {
    await sink.close();
  }
  assert.ok(!interfaces().includes(name), 'the interface goes with its last descriptor');
});

test('tap: descriptors of others, scripts, and what cannot be is said in one sentence', async (t) => {
  if (!mayUseTap(t)) return;
  const isTap = (pattern: RegExp) => (error: unknown) =>
    error instanceof VringError && error.code === 'network-tap' && pattern.test(error.message);
  assert.throws(
    () => TapDevice.open({ ifname: 'lo' }),
    isTap(/could not configure \/dev\/net\/tun \(lo\): Invalid argument/),
  );
  assert.throws(() => TapDevice.open({ descriptors: [0] }), isTap(/fd=0 is no tap device/));
  const link = new Link();
  assert.throws(
    () => openTapSink({ ifname: 'vrt%d', script: '/bin/false' }, link, () => {}),
    isTap(/\/bin\/false failed: it ended with status 1/),
  );
  const other = TapDevice.open({ ifname: 'vrt%d' });
  bringUp(other.name);
  const lines: string[] = [];
  // The descriptors are the sink's from here on.
  const sink = openTapSink(
    { descriptors: other.descriptors, script: '/bin/true', downScript: '/bin/false' },
    link,
    (line) => lines.push(line),
  );
  try {
    sink.receive(arpRequest(), noOffload(), 0);
    await until(() => arpReply(link), 'the answer to ARP');
  } finally {
    await sink.close();
  }
  assert.deepEqual(lines, ['network script /bin/false failed: it ended with status 1']);
  const user = process.geteuid?.();
  if (user === 0 && process.seteuid) {
    process.seteuid(65534);
    try {
      assert.throws(
        () => TapDevice.open({}),
        isTap(/^could not (configure|open) \/dev\/net\/tun.*: (Operation not permitted|Permission denied)$/),
      );
    } finally {
      process.seteuid(0);
    }
  }
});
