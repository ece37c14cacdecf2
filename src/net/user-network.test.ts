import assert from 'node:assert/strict';
import test from 'node:test';
import { seededRandom } from '../hw/testing.js';
import {
  completeOptions,
  finishFrame,
  formatIp,
  parseIpv6,
  parseNetwork,
  UserNetwork,
  type UserNetworkOptions,
} from './index.js';
import {
  at16,
  at32,
  decode,
  ethernet,
  guestIp,
  guestMac,
  icmp6,
  internetSum,
  ipv4,
  ipv6,
  plain,
  TestHost,
  TestLink,
  tcp,
  u16,
  u32,
  udp,
  udpBytes,
} from './testing/guest.js';

const gateway = [10, 0, 2, 2];
const names = [10, 0, 2, 3];
const far = [198, 51, 100, 9];
const FIN = 1;
const SYN = 2;
const RST = 4;
const PSH = 8;
const ACK = 16;

async function setUp(options: UserNetworkOptions = {}) {
  const host = new TestHost();
  const link = new TestLink();
  const network = new UserNetwork(host, link, options);
  await network.open();
  const send = (frame: Uint8Array, offload = plain) => {
    network.receive(frame, offload);
    network.flush();
  };
  // The guest makes itself known.
  send(ethernet(0x0806, [0, 1, 8, 0, 6, 4, 0, 1, ...guestMac, ...guestIp, 0, 0, 0, 0, 0, 0, ...gateway]));
  link.frames.length = 0;
  return { host, link, network, send };
}

function arpRequest(target: number[]): Uint8Array {
  return ethernet(0x0806, [0, 1, 8, 0, 6, 4, 0, 1, ...guestMac, ...guestIp, 0, 0, 0, 0, 0, 0, ...target]);
}

test('ARP answers for the host and the name server, and for nobody else', async () => {
  const { link, send } = await setUp();
  for (const address of [gateway, names]) {
    send(arpRequest(address));
    const [{ payload }] = link.take();
    assert.deepEqual(payload.slice(0, 8), [0, 1, 8, 0, 6, 4, 0, 2]);
    assert.deepEqual(payload.slice(8, 18), [0x52, 0x55, ...address, ...address]);
    assert.deepEqual(payload.slice(18), [...guestMac, ...guestIp]);
  }
  for (const address of [guestIp, [10, 0, 2, 77], far]) send(arpRequest(address));
  assert.equal(link.frames.length, 0);
});

/** A DHCP message of the client's, and the reply's options. */
function dhcpMessage(type: number, options: number[] = [], mac = guestMac): Uint8Array {
  const fixed = [1, 1, 6, 0, ...u32(0x12345678), 0, 0, 0, 0, ...new Array<number>(16).fill(0), ...mac];
  while (fixed.length < 236) fixed.push(0);
  const payload = [...fixed, 0x63, 0x82, 0x53, 0x63, 53, 1, type, ...options, 255];
  return udp(68, [255, 255, 255, 255], 67, payload, [0, 0, 0, 0]);
}

function dhcpReply(link: TestLink) {
  const [frame] = link.frames;
  const { from, to, payload } = link.take()[0];
  const options = new Map<number, number[]>();
  const dhcp = payload.slice(8);
  assert.equal(at16(payload, 0), 67);
  assert.equal(at16(payload, 2), 68);
  for (let at = 240; dhcp[at] !== 255; at += 2 + dhcp[at + 1])
    options.set(dhcp[at], dhcp.slice(at + 2, at + 2 + dhcp[at + 1]));
  return { frame, from, to, address: dhcp.slice(16, 20), server: dhcp.slice(20, 24), xid: at32(dhcp, 4), options };
}

test('DHCP: offer, acknowledgement, options as QEMU gives them; another address is refused', async () => {
  const { link, send } = await setUp({ hostname: 'vm', domainName: 'example.org', bootFile: 'pxe.0' });
  send(dhcpMessage(1));
  const offer = dhcpReply(link);
  assert.deepEqual(offer.options.get(53), [2]);
  assert.deepEqual(offer.address, guestIp);
  assert.deepEqual(offer.server, gateway);
  assert.equal(offer.xid, 0x12345678);
  assert.deepEqual(offer.options.get(1), [255, 255, 255, 0]);
  assert.deepEqual(offer.options.get(3), gateway);
  assert.deepEqual(offer.options.get(6), names);
  assert.deepEqual(offer.options.get(51), u32(86400));
  assert.deepEqual(offer.options.get(54), gateway);
  assert.equal(String.fromCharCode(...(offer.options.get(12) ?? [])), 'vm');
  assert.equal(String.fromCharCode(...(offer.options.get(15) ?? [])), 'example.org');
  send(dhcpMessage(3, [50, 4, ...guestIp]));
  assert.deepEqual(dhcpReply(link).options.get(53), [5]);
  send(dhcpMessage(3, [50, 4, 192, 168, 1, 1]));
  const refusal = dhcpReply(link);
  assert.deepEqual(refusal.options.get(53), [6]);
  assert.deepEqual(refusal.to, [255, 255, 255, 255]);
  send(dhcpMessage(1, [], [2, 0, 0, 0, 0, 1]));
  assert.deepEqual(dhcpReply(link).address, [10, 0, 2, 16]);
});

test('ICMP: the host and the name server answer an echo, what leads nowhere is told', async () => {
  const { link, send } = await setUp();
  const echo = [8, 0, 0, 0, 1, 2, 0, 3, ...new Array<number>(60).fill(0xab)];
  echo.splice(2, 2, ...u16(65535 - internetSum(echo)));
  for (const address of [gateway, names]) {
    send(ipv4(1, address, echo));
    const [{ from, payload }] = link.take();
    assert.deepEqual(from, address);
    assert.equal(payload[0], 0);
    assert.deepEqual(payload.slice(4), echo.slice(4));
  }
  send(ipv4(1, far, echo));
  const [{ payload }] = link.take();
  assert.deepEqual(payload.slice(0, 2), [3, 0]);
  assert.deepEqual(payload.slice(8 + 20, 8 + 28), echo.slice(0, 8));
});

test('ICMP: an echo of the outside is asked for by the host, where that may', async () => {
  const { host, link, send } = await setUp();
  const asked: { to: number[]; payload: number[]; reply: (payload: Uint8Array) => void }[] = [];
  Object.assign(host, {
    echoTo: (version: number) =>
      version === 4
        ? (to: Uint8Array, payload: Uint8Array, reply: (payload: Uint8Array) => void) =>
            void asked.push({ to: [...to], payload: [...payload], reply })
        : undefined,
  });
  const echo = [8, 0, 0, 0, 1, 2, 0, 3, 7, 8, 9];
  echo.splice(2, 2, ...u16(65535 - internetSum(echo)));
  for (let i = 0; i < 70; i++) send(ipv4(1, far, echo));
  assert.equal(asked.length, 64, 'so many at a time');
  assert.deepEqual([asked[0].to, asked[0].payload], [far, [7, 8, 9]]);
  assert.equal(link.take().length, 0);
  asked[0].reply(Uint8Array.of(7, 8, 9));
  asked[0].reply(Uint8Array.of(7, 8, 9));
  const [reply, ...others] = link.take();
  assert.equal(others.length, 0, 'one answer');
  assert.deepEqual([reply.from, reply.payload[0], reply.payload.slice(4)], [far, 0, [1, 2, 0, 3, 7, 8, 9]]);
  assert.equal(internetSum(reply.payload), 65535);
  send(ipv4(1, far, echo));
  assert.equal(asked.length, 65);
});

test('UDP goes out and comes back; the host is 10.0.2.2, the name server 10.0.2.3', async () => {
  const { host, link, send, network } = await setUp();
  send(udp(4000, far, 9, [1, 2, 3]));
  send(udp(4000, names, 53, [4]));
  send(udp(4000, gateway, 77, [5]));
  const [socket] = host.sockets;
  assert.equal(host.sockets.length, 1);
  assert.deepEqual(
    socket.sent.map(({ bytes, to }) => [bytes, [...to.address], to.port]),
    [
      [[1, 2, 3], far, 9],
      [[4], [192, 0, 2, 53], 53],
      [[5], [127, 0, 0, 1], 77],
    ],
  );
  host.advance(1000);
  const any = { address: undefined, port: 0 };
  assert.deepEqual(network.flows, [
    { protocol: 'UDP', state: '239 sec', source: { address: '10.0.2.15', port: 4000 }, destination: any },
  ]);
  socket.received(Uint8Array.of(9), { address: Uint8Array.of(192, 0, 2, 53), port: 53 });
  socket.received(Uint8Array.of(8), { address: Uint8Array.of(127, 0, 0, 1), port: 77 });
  socket.received(Uint8Array.of(7), { address: Uint8Array.from(far), port: 9 });
  assert.deepEqual(
    link.take().map(({ from, payload }) => [from, at16(payload, 0), at16(payload, 2), payload.slice(8)]),
    [
      [names, 53, 4000, [9]],
      [gateway, 77, 4000, [8]],
      [far, 9, 4000, [7]],
    ],
  );
  host.advance(300_000);
  assert.equal(network.counts().udp, 0);
  assert.ok(socket.isClosed);
  assert.equal(host.timers, 0);
});

test('UDP: large datagrams go in fragments, and come in fragments in any order', async () => {
  const { host, link, send } = await setUp();
  const random = seededRandom(3);
  const payload = Array.from({ length: 5000 }, () => random(256));
  const whole = udpBytes(4000, 9, payload, guestIp, far);
  const pieces = [0, 1480, 2960, 4440].map((at) =>
    ipv4(17, far, whole.slice(at, at + 1480), { fragment: (at < 4440 ? 0x2000 : 0) | (at / 8), id: 99 }),
  );
  for (const index of [3, 0, 2, 1]) send(pieces[index]);
  assert.deepEqual(host.sockets[0].sent[0].bytes, payload);
  host.sockets[0].received(Uint8Array.from(payload), { address: Uint8Array.from(far), port: 9 });
  const parts = link.take();
  assert.ok(parts.length > 3);
  const back: number[] = [];
  for (const { fragment, payload: part } of parts) back.splice((fragment & 0x1fff) * 8, part.length, ...part);
  assert.deepEqual(back.slice(8), payload);
  assert.equal(at16(back, 4), 5008);
});

/** A guest's end of one connection, far from complete: it acknowledges what is in order and resends what is not acknowledged. */
class GuestTcp {
  readonly received: number[] = [];
  una: number;
  next = 0;
  rcv = 0;
  window = 65535;
  shift = 0;
  gotFin = false;
  reset = false;
  readonly #to: number[];
  readonly #port: number;
  constructor(to: number[], port: number, isn = 0xfffffff0) {
    this.#to = to;
    this.#port = port;
    this.una = isn;
  }
  frame(flags: number, seq: number, payload: number[] = [], options: number[] = []): Uint8Array {
    return tcp(this.#to, { from: 5555, to: this.#port, seq: seq >>> 0, ack: this.rcv >>> 0, flags, payload, options });
  }
  /** Takes a segment; true: it is to be acknowledged. */
  take(payload: number[]): boolean {
    const flags = payload[13];
    const seq = at32(payload, 4);
    if (flags & RST) this.reset = true;
    if (flags & ACK) {
      const ack = at32(payload, 8);
      if ((ack - this.una) << 0 > 0) this.una = ack;
    }
    this.window = at16(payload, 14) << (flags & SYN ? 0 : this.shift);
    if (flags & SYN) {
      const options = payload.slice(20, (payload[12] >> 4) * 4);
      assert.deepEqual(options.slice(0, 2), [2, 4]);
      if (options.length > 4) this.shift = options[7];
      this.rcv = (seq + 1) >>> 0;
      return true;
    }
    const bytes = payload.slice((payload[12] >> 4) * 4);
    const skip = (this.rcv - seq) | 0;
    if (skip < 0) return true;
    const fresh = bytes.slice(skip);
    this.received.push(...fresh);
    this.rcv = (this.rcv + fresh.length) >>> 0;
    if (flags & FIN && (seq + bytes.length) >>> 0 === this.rcv && !this.gotFin) {
      this.gotFin = true;
      this.rcv = (this.rcv + 1) >>> 0;
    }
    return bytes.length > 0 || (flags & FIN) !== 0;
  }
}

const wideOptions = [2, 4, ...u16(1460), 1, 3, 3, 7];

test('TCP: a connection of the guest, data both ways, half close', async () => {
  const { host, link, send, network } = await setUp();
  const guest = new GuestTcp(far, 80);
  send(guest.frame(SYN, guest.una, [], wideOptions));
  assert.equal(link.frames.length, 0, 'no answer before the host is connected');
  const [{ to, stream }] = host.connections;
  assert.deepEqual([...to.address, to.port], [...far, 80]);
  stream.events.connected();
  const [answer] = link.take();
  assert.equal(answer.payload[13], SYN | ACK);
  guest.take(answer.payload);
  const seq = (0xfffffff0 + 1) >>> 0;
  send(guest.frame(ACK, seq));
  send(guest.frame(ACK | PSH, seq, [1, 2, 3]));
  assert.deepEqual(stream.written, [1, 2, 3]);
  for (const { payload } of link.take()) guest.take(payload);
  assert.equal(guest.una, (seq + 3) >>> 0);
  stream.events.data(Uint8Array.of(7, 8, 9));
  for (const { payload } of link.take()) guest.take(payload);
  assert.deepEqual(guest.received, [7, 8, 9]);
  // The guest has said all; the host has not.
  send(guest.frame(ACK | FIN, seq + 3));
  assert.ok(stream.isEnded);
  link.take();
  stream.events.data(Uint8Array.of(10));
  stream.events.ended();
  const last = link.take();
  for (const { payload } of last) guest.take(payload);
  assert.ok(guest.gotFin);
  assert.deepEqual(guest.received, [7, 8, 9, 10]);
  send(guest.frame(ACK, seq + 4));
  host.advance(10_000);
  assert.equal(network.counts().tcp, 0);
  assert.equal(host.timers, 0);
});

test('TCP: refused and unreachable connections, segments of none, resets of both sides', async () => {
  const { host, link, send, network } = await setUp();
  send(new GuestTcp(far, 80).frame(SYN, 100, [], wideOptions));
  host.connections[0].stream.events.closed('refused');
  let [frame] = link.take();
  assert.equal(frame.payload[13], RST | ACK);
  assert.equal(at32(frame.payload, 8), 101);
  send(new GuestTcp(far, 81).frame(SYN, 100, [], wideOptions));
  host.connections[1].stream.events.closed('unreachable');
  assert.deepEqual(
    link.take().map(({ protocol, payload }) => [protocol, payload[0]]),
    [
      [1, 3],
      [6, 0],
    ],
  );
  send(new GuestTcp(far, 82).frame(ACK, 500));
  [frame] = link.take();
  assert.equal(frame.payload[13], RST);
  assert.equal(network.counts().tcp, 0);
  // A reset at the next byte ends it, one elsewhere in the window does not.
  const guest = new GuestTcp(far, 83);
  send(guest.frame(SYN, 100, [], wideOptions));
  const { stream } = host.connections[2];
  stream.events.connected();
  guest.take(link.take()[0].payload);
  send(guest.frame(ACK, 101));
  send(guest.frame(RST | ACK, 150));
  assert.deepEqual(network.flows, [
    {
      protocol: 'TCP',
      state: 'ESTABLISHED',
      source: { address: '10.0.2.15', port: 5555 },
      destination: { address: far.join('.'), port: 83 },
    },
  ]);
  send(guest.frame(RST | ACK, 101));
  assert.equal(network.counts().tcp, 0);
  assert.ok(stream.isDestroyed);
});

test('TCP: the window closes when the host takes nothing, and opens when it does', async () => {
  const { host, link, send } = await setUp();
  const guest = new GuestTcp(far, 80, 1000);
  send(guest.frame(SYN, 1000, [], wideOptions));
  const { stream } = host.connections[0];
  stream.events.connected();
  guest.take(link.take()[0].payload);
  stream.holds = true;
  let seq = 1001;
  send(guest.frame(ACK, seq));
  guest.take(link.take()[0]?.payload ?? new Array<number>(20).fill(0));
  guest.window = 65535;
  for (let i = 0; i < 2000 && guest.window > 0; i++) {
    const count = Math.min(1460, guest.window);
    send(guest.frame(ACK, seq, new Array<number>(count).fill(i & 255)));
    seq += count;
    for (const { payload } of link.take()) guest.take(payload);
  }
  assert.equal(guest.window, 0);
  assert.equal(stream.written.length, seq - 1001);
  assert.ok(Math.abs(stream.written.length - (1 << 20)) < 100, String(stream.written.length));
  // What comes now is not taken.
  const before = stream.written.length;
  send(guest.frame(ACK, seq, new Array<number>(1000).fill(1)));
  // But for less than the window's unit.
  assert.ok(stream.written.length - before < 32);
  link.take();
  stream.backlogBytes = 0;
  stream.events.drained();
  const [update] = link.take();
  guest.take(update.payload);
  assert.equal(guest.window, 1 << 20, 'all of it');
});

test('TCP: back pressure towards the guest, which takes nothing', async () => {
  const { host, link, send } = await setUp();
  link.takes = 3;
  const guest = new GuestTcp(far, 80, 1000);
  send(guest.frame(SYN, 1000, [], wideOptions));
  const { stream } = host.connections[0];
  stream.events.connected();
  link.frames.length = 0;
  send(guest.frame(ACK, 1001));
  const random = seededRandom(8);
  const bytes = Uint8Array.from({ length: 100_000 }, () => random(256));
  let sent = 0;
  while (!stream.isPaused && sent < 100) {
    stream.events.data(bytes);
    sent++;
  }
  assert.ok(stream.isPaused, 'the host is told to wait');
  assert.ok(sent < 20);
});

test('a large frame and the frames that it is cut into carry the same bytes', async () => {
  const { host, link, send } = await setUp();
  link.takes = 3;
  const guest = new GuestTcp(far, 80, 1000);
  send(guest.frame(SYN, 1000, [], wideOptions));
  const { stream } = host.connections[0];
  stream.events.connected();
  const [answer] = link.frames.splice(0);
  link.offloads.length = 0;
  guest.rcv = (at32(answer, 14 + 20 + 4) + 1) >>> 0;
  send(guest.frame(ACK, 1001));
  const random = seededRandom(8);
  const bytes = Uint8Array.from({ length: 20_000 }, () => random(256));
  stream.events.data(bytes);
  assert.equal(link.frames.length, 1);
  const [offload] = link.offloads;
  assert.equal(offload.gsoType, 1);
  assert.equal(offload.gsoSize, 1460);
  let count = 0;
  finishFrame(link.frames[0], offload, (frame) => {
    guest.take(decode(frame.slice()).payload);
    count++;
  });
  assert.equal(count, 14);
  assert.deepEqual(guest.received, [...bytes]);
});

for (const seed of [1, 2, 3, 4]) {
  test(`TCP: nothing is lost or doubled when frames are lost, doubled and out of order (seed ${seed})`, async () => {
    const { host, link, send, network } = await setUp();
    const random = seededRandom(seed);
    const guest = new GuestTcp(far, 80, 0xffffff00);
    send(guest.frame(SYN, guest.una, [], wideOptions));
    const { stream } = host.connections[0];
    stream.events.connected();
    guest.take(link.take()[0].payload);
    const base = 0xffffff01;
    send(guest.frame(ACK, base));
    link.take();
    guest.una = base;
    const out = Array.from({ length: 40_000 }, () => random(256));
    const back = Uint8Array.from({ length: 60_000 }, () => random(256));
    stream.events.data(back);
    stream.events.ended();
    let stuck = 0;
    for (let round = 0; round < 4000; round++) {
      let acks = 0;
      for (const { payload } of link.take()) if (random(10) > 0 && guest.take(payload)) acks++;
      while (acks-- > 0) if (random(10) > 0) send(guest.frame(ACK, guest.una));
      const offset = (guest.una - base) >>> 0;
      const done = offset >= out.length && guest.gotFin && guest.received.length === back.length;
      if (done) break;
      const frames: Uint8Array[] = [];
      for (let at = offset; at < Math.min(offset + 8000, out.length); at += 1000)
        frames.push(guest.frame(ACK, base + at, out.slice(at, at + 1000)));
      while (frames.length > 0) {
        const [frame] = frames.splice(random(frames.length), 1);
        if (random(8) > 0) send(frame);
        if (random(8) === 0) send(frame);
      }
      host.advance(120);
      stuck = round;
    }
    assert.ok(stuck < 3999);
    assert.deepEqual(stream.written, out);
    assert.deepEqual(guest.received, [...back]);
    assert.equal(network.counts().tcp, 1);
  });
}

test('a forwarded TCP port calls the guest; one for UDP answers from where it was asked', async () => {
  const guestAddress = Uint8Array.from(guestIp);
  const { host, link, send } = await setUp({
    hostForwards: [
      { protocol: 'tcp', hostAddress: undefined, hostPort: 2222, guestAddress: undefined, guestPort: 22 },
      { protocol: 'udp', hostAddress: undefined, hostPort: 5353, guestAddress, guestPort: 53 },
    ],
    restrict: true,
  });
  const stream = host.call(2222, { address: Uint8Array.of(127, 0, 0, 1), port: 40000 });
  const [syn] = link.take();
  assert.deepEqual(syn.from, gateway);
  assert.deepEqual([at16(syn.payload, 0), at16(syn.payload, 2), syn.payload[13]], [40000, 22, SYN]);
  const ack = at32(syn.payload, 4) + 1;
  const options = wideOptions;
  send(tcp(gateway, { from: 22, to: 40000, seq: 9000, ack, flags: SYN | ACK, options }));
  send(tcp(gateway, { from: 22, to: 40000, seq: 9001, ack, flags: ACK | PSH, payload: [5, 6] }));
  assert.deepEqual(stream.written, [5, 6]);
  link.take();
  stream.events.data(Uint8Array.of(1));
  assert.deepEqual(link.take()[0].payload.slice(20), [1]);
  host.bound[0].socket.received(Uint8Array.of(3), { address: Uint8Array.of(127, 0, 0, 1), port: 999 });
  const [asked] = link.take();
  assert.deepEqual([asked.from, at16(asked.payload, 0), at16(asked.payload, 2)], [gateway, 999, 53]);
  send(udp(53, gateway, 999, [4]));
  assert.deepEqual(host.bound[0].socket.sent[0].bytes, [4]);
  assert.deepEqual([...host.bound[0].socket.sent[0].to.address], [127, 0, 0, 1]);
});

test('ports are forwarded, and no longer, while the network runs', async () => {
  const { host, link, network, send } = await setUp({});
  const rule = { protocol: 'tcp', hostAddress: undefined, hostPort: 8080 } as const;
  const whole = { ...rule, guestAddress: undefined, guestPort: 80 };
  await network.addForward(whole);
  await network.addForward({ ...whole, protocol: 'udp', hostPort: 53, guestPort: 5353 });
  const stream = host.call(8080, { address: Uint8Array.of(127, 0, 0, 1), port: 40000 });
  const [syn] = link.take();
  assert.equal(at16(syn.payload, 2), 80);
  assert.equal(network.removeForward({ ...rule, hostAddress: Uint8Array.of(127, 0, 0, 1) }), false);
  assert.equal(network.removeForward({ ...rule, protocol: 'udp' }), false);
  assert.equal(network.removeForward(rule), true);
  assert.equal(network.removeForward(rule), false);
  // What was connected stays.
  const ack = at32(syn.payload, 4) + 1;
  send(tcp(gateway, { from: 80, to: 40000, seq: 9000, ack, flags: SYN | ACK, options: wideOptions }));
  send(tcp(gateway, { from: 80, to: 40000, seq: 9001, ack, flags: ACK | PSH, payload: [7] }));
  assert.deepEqual(stream.written, [7]);
  assert.equal(network.counts().udp, 1);
  assert.equal(network.removeForward({ ...rule, protocol: 'udp', hostPort: 53 }), true);
  assert.equal(network.counts().udp, 0);
});

test('a forwarded connection to a guest that nobody knows yet waits for ARP', async () => {
  const host = new TestHost();
  const link = new TestLink();
  const network = new UserNetwork(host, link, {
    hostForwards: [{ protocol: 'tcp', hostAddress: undefined, hostPort: 80, guestAddress: undefined, guestPort: 80 }],
  });
  await network.open();
  host.call(80, { address: Uint8Array.of(127, 0, 0, 1), port: 40000 });
  const [asked] = link.take();
  assert.equal(asked.type, 0x0806);
  assert.deepEqual(asked.payload.slice(24), guestIp);
  network.receive(
    ethernet(0x0806, [0, 1, 8, 0, 6, 4, 0, 2, ...guestMac, ...guestIp, ...[0x52, 0x55, 10, 0, 2, 2], ...gateway]),
    plain,
  );
  network.flush();
  assert.equal(link.take()[0].payload[13], SYN);
});

test('restrict: DHCP without router, and nothing outside', async () => {
  const { host, link, send } = await setUp({ restrict: true });
  send(dhcpMessage(1));
  const offer = dhcpReply(link);
  assert.equal(offer.options.has(3), false);
  assert.equal(offer.options.has(6), false);
  send(udp(4000, far, 9, [1]));
  send(udp(4000, names, 53, [1]));
  send(new GuestTcp(far, 80).frame(SYN, 1, [], wideOptions));
  send(new GuestTcp(gateway, 80).frame(SYN, 1, [], wideOptions));
  assert.equal(host.sockets.length, 0);
  assert.equal(host.connections.length, 0);
});

test('TFTP: blocks, options, what is not there and what lies elsewhere', async () => {
  const { host, link, send } = await setUp({ tftpFolder: '/srv' });
  const random = seededRandom(4);
  const file = Uint8Array.from({ length: 1300 }, () => random(256));
  host.files.set('boot/a', file);
  const text = (value: string) => [...value].map((each) => each.charCodeAt(0));
  const ask = async (name: string, extra = '') => {
    send(udp(3000, gateway, 69, [0, 1, ...text(`${name}\0octet\0${extra}`)]));
    await new Promise((resolve) => setImmediate(resolve));
    return link.take().map(({ payload }) => payload.slice(8));
  };
  const got: number[] = [];
  let [reply] = await ask('/boot/a');
  for (let block = 1; ; block++) {
    assert.deepEqual(reply.slice(0, 4), [0, 3, 0, block]);
    got.push(...reply.slice(4));
    send(udp(3000, gateway, 69, [0, 4, 0, block]));
    if (reply.length < 516) break;
    await new Promise((resolve) => setImmediate(resolve));
    [reply] = link.take().map(({ payload }) => payload.slice(8));
  }
  assert.deepEqual(got, [...file]);
  [reply] = await ask('boot/a', 'blksize\x001024\0tsize\x000\0');
  assert.deepEqual(reply, [0, 6, ...text('blksize\x001024\0tsize\x001300\0')]);
  [reply] = await ask('none');
  assert.deepEqual(reply.slice(0, 4), [0, 5, 0, 1]);
  [reply] = await ask('../etc/passwd');
  assert.deepEqual(reply.slice(0, 4), [0, 5, 0, 2]);
});

const linkLocal = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0x12, 0x34, 0x56];
const guest6 = [0xfe, 0xc0, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0x12, 0x34, 0x56];
const host6 = [...(parseIpv6('fec0::2') as Uint8Array)];

test('IPv6: router advertisement, neighbour discovery, echo, TCP', async () => {
  const { host, link, send } = await setUp();
  const allRouters = [...(parseIpv6('ff02::2') as Uint8Array)];
  send(icmp6(linkLocal, allRouters, [133, 0, 0, 0, 0, 0, 0, 0, 1, 1, ...guestMac]));
  const [advert] = link.take();
  assert.equal(advert.payload[0], 134);
  const prefix = advert.payload.slice(24, 56);
  assert.deepEqual(prefix.slice(0, 4), [3, 4, 64, 0xc0]);
  assert.deepEqual(prefix.slice(16, 24), [0xfe, 0xc0, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual(advert.payload.slice(56, 58), [25, 3]);
  send(icmp6(guest6, host6, [135, 0, 0, 0, 0, 0, 0, 0, ...host6, 1, 1, ...guestMac]));
  const [neighbour] = link.take();
  assert.equal(neighbour.payload[0], 136);
  assert.deepEqual(neighbour.payload.slice(8, 24), host6);
  assert.deepEqual(neighbour.payload.slice(24, 26), [2, 1]);
  send(icmp6(guest6, host6, [128, 0, 0, 0, 1, 2, 3, 4, 9, 9], 64));
  const [echo] = link.take();
  assert.equal(echo.payload[0], 129);
  assert.deepEqual(echo.payload.slice(4), [1, 2, 3, 4, 9, 9]);
  const syn = [...u16(5555), ...u16(80), ...u32(1), ...u32(0), 0x50, SYN, 0xff, 0xff, 0, 0, 0, 0];
  const pseudo = [...guest6, ...host6, ...u32(20), 0, 0, 0, 6];
  syn.splice(16, 2, ...u16(65535 - internetSum([...pseudo, ...syn])));
  send(ethernet(0x86dd, [0x60, 0, 0, 0, 0, 20, 6, 64, ...guest6, ...host6, ...syn]));
  assert.equal(host.connections[0].to.address.length, 16);
  host.connections[0].stream.events.connected();
  assert.equal(link.take()[0].payload[13], SYN | ACK);
});

test('DHCPv6 tells name servers, domains and the boot file, and nothing else', async () => {
  const { link, send } = await setUp({ domainSearch: ['a.example'], bootFile: '/boot/x' });
  const group = [...(parseIpv6('ff02::1:2') as Uint8Array)];
  const ask = (message: number[]) => {
    send(ipv6(17, linkLocal, group, udpBytes(546, 547, message, linkLocal, group)));
    return link.take().filter(({ protocol }) => protocol === 17);
  };
  const clientId = [0, 1, 0, 3, 9, 8, 7];
  const [reply] = ask([11, 1, 2, 3, ...clientId, 0, 6, 0, 6, 0, 23, 0, 24, 0, 59, 0, 8, 0, 2, 0, 0]);
  assert.deepEqual([at16(reply.payload, 0), at16(reply.payload, 2)], [547, 546]);
  const url = [...'tftp://[fec0:0:0:0:0:0:0:2]/boot/x'].map((each) => each.charCodeAt(0));
  const names = [...(parseIpv6('fec0::3') as Uint8Array)];
  assert.deepEqual(reply.payload.slice(8), [
    ...[7, 1, 2, 3, ...clientId],
    ...[0, 2, 0, 10, 0, 3, 0, 1, 0x52, 0x55, 10, 0, 2, 2],
    ...[0, 23, 0, 16, ...names],
    ...[0, 24, 0, 11, 1, 97, 7, ...[...'example'].map((each) => each.charCodeAt(0)), 0],
    ...[0, 59, 0, url.length, ...url],
  ]);
  assert.equal(ask([1, 1, 2, 3, ...clientId]).length, 0, 'addresses are not given');
  assert.equal(ask([11, 1, 2, 3, 0, 2, 0, 1, 7]).length, 0, 'for another server');
  assert.equal(ask([11, 1, 2, 3, 0, 6, 0, 200, 1]).length, 1, 'an option that is cut off is none');
});

test('networks and their hosts are where QEMU 7.2 has them, whatever the mask', () => {
  // What udhcpc was told by qemu-system-x86_64 -netdev user,net=….
  const cases = [
    ['10.0.0.0/8', '255.0.0.0', '10.0.2.2', '10.0.2.3', '10.0.2.15'],
    ['10.0.2.0', '255.0.0.0', '10.0.2.2', '10.0.2.3', '10.0.2.15'],
    ['50.0.0.0', '255.0.0.0', '50.0.2.2', '50.0.2.3', '50.0.2.15'],
    ['172.16.0.0', '255.240.0.0', '172.16.2.2', '172.16.2.3', '172.16.2.15'],
    ['128.5.0.0', '255.255.0.0', '128.5.2.2', '128.5.2.3', '128.5.2.15'],
    ['192.168.5.0', '255.255.0.0', '192.168.2.2', '192.168.2.3', '192.168.2.15'],
    ['198.18.0.0', '255.254.0.0', '198.18.2.2', '198.18.2.3', '198.18.2.15'],
    ['200.1.2.0', '255.255.255.240', '200.1.2.2', '200.1.2.3', '200.1.2.15'],
    ['192.168.76.0/24', '255.255.255.0', '192.168.76.2', '192.168.76.3', '192.168.76.15'],
    ['192.168.5.64/26', '255.255.255.192', '192.168.5.66', '192.168.5.67', '192.168.5.79'],
    ['192.168.5.0/255.255.255.240', '255.255.255.240', '192.168.5.2', '192.168.5.3', '192.168.5.15'],
  ];
  for (const [text, ...expected] of cases) {
    const { netmask, hostAddress, nameServer, firstLease } = completeOptions(parseNetwork(text));
    assert.deepEqual([netmask, hostAddress, nameServer, firstLease].map(formatIp), expected, text);
  }
  const small = { ...parseNetwork('192.168.0.0/30'), firstLease: Uint8Array.of(192, 168, 0, 1) };
  assert.equal(formatIp(completeOptions(small).hostAddress), '192.168.0.2');
});

test('a name server that is elsewhere is told of, and the host answers for it', async () => {
  const elsewhere = [1, 1, 1, 1];
  const { host, send } = await setUp({ nameServer: Uint8Array.from(elsewhere) });
  send(udp(4000, elsewhere, 53, [4]));
  assert.deepEqual(
    host.sockets[0].sent.map(({ to }) => [[...to.address], to.port]),
    [[[192, 0, 2, 53], 53]],
  );
});

test('malformed options are refused in one sentence', () => {
  const link = new TestLink();
  const host = new TestHost();
  const bad: UserNetworkOptions[] = [
    { ipv4: false, ipv6: false },
    { hostAddress: Uint8Array.of(192, 168, 0, 1) },
    { nameServer: Uint8Array.of(10, 0, 2, 2) },
    { firstLease: Uint8Array.of(10, 0, 3, 9) },
    { netmask: Uint8Array.of(255, 0, 255, 0) },
    { nameServer: Uint8Array.of(1, 1, 1, 1), restrict: true },
    { ipv4: false, network: Uint8Array.of(10, 0, 0, 0) },
    { ipv6: false, ipv6Prefix: parseIpv6('fec1::') },
    { domainName: '' },
    { hostname: 'a'.repeat(256) },
  ];
  for (const options of bad) assert.throws(() => new UserNetwork(host, link, options), { code: 'network-option' });
});

test('hostile frames: no throw, nothing grows without bound', async () => {
  const { host, link, send, network } = await setUp({ tftpFolder: '/srv' });
  const random = seededRandom(77);
  const guest = new GuestTcp(far, 80, 1000);
  const seeds = [
    arpRequest(gateway),
    dhcpMessage(1),
    dhcpMessage(3, [50, 4, ...guestIp]),
    ipv4(1, gateway, [8, 0, 0xf7, 0xff, 0, 0, 0, 0]),
    udp(4000, far, 9, [1, 2, 3]),
    udp(4000, gateway, 69, [0, 1, 65, 0, 111, 0]),
    guest.frame(SYN, 1000, [], wideOptions),
    guest.frame(ACK | PSH, 1001, [1, 2, 3, 4]),
    icmp6(guest6, host6, [135, 0, 0, 0, 0, 0, 0, 0, ...host6, 1, 1, ...guestMac]),
    ipv4(17, far, [1, 2, 3, 4, 5, 6, 7, 8], { fragment: 0x2001 }),
  ];
  for (let round = 0; round < 20_000; round++) {
    let frame = seeds[random(seeds.length)].slice();
    for (let count = random(6); count > 0; count--) frame[random(frame.length)] = random(256);
    if (random(8) === 0) frame = frame.slice(0, random(frame.length + 1));
    // Checksums that are right let what is behind them be reached.
    const offload = { ...plain, flags: random(3), gsoType: random(12) === 0 ? random(256) : 0, gsoSize: random(65536) };
    if (frame.length > 34 && frame[12] === 8 && frame[13] === 0 && random(2) === 0) {
      const size = Math.min(Math.max(frame[14] & 15, 5) * 4, frame.length - 14);
      frame.set([0, 0], 24);
      frame.set(u16(65535 - internetSum(frame.subarray(14, 14 + size))), 24);
    }
    send(frame, offload);
    if (random(16) === 0) host.advance(random(500));
    const stream = host.connections[random(Math.max(host.connections.length, 1))]?.stream;
    if (stream && random(4) === 0) stream.events.connected();
    if (stream && !stream.isPaused && random(4) === 0) stream.events.data(new Uint8Array(random(3000)));
    if (stream && random(64) === 0) stream.events.ended();
    link.frames.length = 0;
    link.offloads.length = 0;
    const { tcp: connections, udp: flows, fragments } = network.counts();
    assert.ok(connections <= 512 && flows <= 256 && fragments <= 16);
  }
  // It still works.
  send(arpRequest(gateway));
  assert.equal(link.take().at(-1)?.payload[7], 2);
});
